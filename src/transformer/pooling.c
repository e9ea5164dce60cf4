/*
 * pooling.c
 *		Pooling and L2 normalization.
 */
#include "transformer/pooling.h"

#include <math.h>
#include <string.h>

/*
 * Written to vectorize with the same bits on every level. A NaN is kept, so
 * that an overflow is not lost.
 */
static void
keep_largest(float *y, const float *x, int32_t n)
{
	for (int32_t i = 0; i < n; i++)
		y[i] = x[i] <= y[i] || y[i] != y[i] ? y[i] : x[i];
}

void
emb_pool_rows(const EmbKernels *kernels, EmbPooling pooling,
			  const float *rows, size_t stride, int32_t n_rows, int32_t n, float *out)
{
	memcpy(out, rows + (pooling == EMB_POOL_LAST ? (n_rows - 1) * stride : 0), n * sizeof(float));
	if (pooling == EMB_POOL_CLS || pooling == EMB_POOL_LAST)
		return;
	for (int32_t i = 1; i < n_rows; i++)
	{
		if (pooling == EMB_POOL_MAX)
			keep_largest(out, rows + i * stride, n);
		else
			kernels->add_f32(out, rows + i * stride, n);
	}
	if (pooling != EMB_POOL_MAX)
		kernels->div_f32(out, n, pooling == EMB_POOL_MEAN ? (float) n_rows : sqrtf((float) n_rows));
}

bool
emb_pool_is_finite(const float *x, int32_t n)
{
	for (int32_t i = 0; i < n; i++)
		if (!isfinite(x[i]))
			return false;
	return true;
}

bool
emb_pool_normalize(const EmbKernels *kernels, float *x, int32_t n)
{
	float		norm = sqrtf(kernels->dot_f32(x, x, n));

	if (!isfinite(norm))
		return false;
	kernels->div_f32(x, n, norm > 1e-12f ? norm : 1e-12f);
	return true;
}
