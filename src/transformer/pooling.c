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

/* Product and sum are rounded: the bits cannot depend on the vectorization. */
static void
add_weighted(float *y, const float *x, float weight, int32_t n)
{
	for (int32_t i = 0; i < n; i++)
		y[i] += x[i] * weight;
}

/* What the sum of the rows is divided by. n_before: rows of the text before them. */
static float
divisor_of(EmbPooling pooling, int32_t n_before, int32_t n_rows)
{
	switch (pooling)
	{
		case EMB_POOL_MEAN_SQRT_LEN:
			return sqrtf((float) n_rows);
		case EMB_POOL_WEIGHTED_MEAN:
			return (float) ((int64_t) n_rows * n_before + (int64_t) n_rows * (n_rows + 1) / 2);
		default:
			return (float) n_rows;
	}
}

static void
pool_rows(const EmbKernels *kernels, EmbPooling pooling, const float *rows, size_t stride, int32_t n_rows, int32_t n_before, int32_t n, float *out)
{
	if (pooling == EMB_POOL_WEIGHTED_MEAN)
		memset(out, 0, n * sizeof(float));
	else
		memcpy(out, rows + (pooling == EMB_POOL_LAST ? (n_rows - 1) * stride : 0), n * sizeof(float));
	if (pooling == EMB_POOL_CLS || pooling == EMB_POOL_LAST)
		return;
	for (int32_t i = pooling == EMB_POOL_WEIGHTED_MEAN ? 0 : 1; i < n_rows; i++)
	{
		if (pooling == EMB_POOL_MAX)
			keep_largest(out, rows + i * stride, n);
		else if (pooling == EMB_POOL_WEIGHTED_MEAN)
			add_weighted(out, rows + i * stride, (float) (n_before + i + 1), n);
		else
			kernels->add_f32(out, rows + i * stride, n);
	}
	if (pooling != EMB_POOL_MAX)
		kernels->div_f32(out, n, divisor_of(pooling, n_before, n_rows));
}

void
emb_pool_rows(const EmbKernels *kernels, const EmbArch *arch, const float *rows, size_t stride, int32_t n_rows, int32_t n_before, float *out)
{
	int			n_poolings = emb_arch_n_poolings(arch);

	for (int i = 0; i < n_poolings; i++)
		pool_rows(kernels, emb_arch_pooling(arch, i), rows, stride, n_rows, n_before, arch->hidden, out + (size_t) i * arch->hidden);
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
