/*
 * gemm_f32_scalar.c
 *		C = A B + bias, exactly as in kernels.h. The reference of all levels.
 */
#include <math.h>

#include "kernels/declare.h"

/* sums[j] = fma chain over k of a[k] b[k][j], from 0. */
static void
chain_scalar(const float *a, const float *b, int32_t k, float sums[EMB_PANEL])
{
	for (int j = 0; j < EMB_PANEL; j++)
		sums[j] = 0;
	for (int32_t i = 0; i < k; i++)
		for (int j = 0; j < EMB_PANEL; j++)
			sums[j] = fmaf(a[i], b[(size_t) i * EMB_PANEL + j], sums[j]);
}

static int32_t
block_length(int32_t n_left)
{
	return n_left < EMB_GEMM_K_BLOCK ? n_left : EMB_GEMM_K_BLOCK;
}

static void
row_scalar(const float *a, const float *panel, const float *bias, int32_t n_in, float *c)
{
	float		total[EMB_PANEL];
	float		block[EMB_PANEL];

	chain_scalar(a, panel, block_length(n_in), total);
	for (int32_t k0 = EMB_GEMM_K_BLOCK; k0 < n_in; k0 += EMB_GEMM_K_BLOCK)
	{
		chain_scalar(a + k0, panel + (size_t) k0 * EMB_PANEL, block_length(n_in - k0), block);
		for (int j = 0; j < EMB_PANEL; j++)
			total[j] = total[j] + block[j];
	}
	for (int j = 0; j < EMB_PANEL; j++)
		c[j] = bias != NULL ? total[j] + bias[j] : total[j];
}

void
emb_gemm_f32_scalar(const EmbGemmF32 *g)
{
	for (int32_t p = 0; p < g->n_panels; p++)
		for (int32_t m = 0; m < g->n_rows; m++)
			row_scalar(g->a + m * g->a_stride,
					   g->b + (size_t) p * g->n_in * EMB_PANEL,
					   g->bias == NULL ? NULL : g->bias + (size_t) p * EMB_PANEL,
					   g->n_in,
					   g->c + m * g->c_stride + (size_t) p * EMB_PANEL);
}
