/*
 * gemm_i8_scalar.c
 *		C = act(scaled A B + bias) in int8, exactly as in kernels.h. The
 *		reference of all levels.
 */
#include <math.h>

#include "kernels/declare.h"

/* sums[j] = sum over k of a[k] B[k][j] */
static void
dot_columns(const uint8_t *a, const int8_t *panel, int32_t n_groups, int32_t sums[EMB_PANEL])
{
	for (int j = 0; j < EMB_PANEL; j++)
		sums[j] = 0;
	for (int32_t i = 0; i < n_groups; i++, a += EMB_GROUP, panel += EMB_PANEL * EMB_GROUP)
		for (int j = 0; j < EMB_PANEL; j++)
			for (int k = 0; k < EMB_GROUP; k++)
				sums[j] += a[k] * panel[j * EMB_GROUP + k];
}

static int32_t
subtract_zero(int32_t sum, int32_t zero, int32_t b_sum)
{
	return (int32_t) ((uint32_t) sum - (uint32_t) zero * (uint32_t) b_sum);
}

void
emb_gemm_i8_scalar(const EmbGemmI8 *g)
{
	for (int32_t m = 0; m < g->n_rows; m++)
	{
		float	   *c = g->c + m * g->c_stride;

		for (int32_t p = 0; p < g->n_panels; p++)
		{
			int32_t		sums[EMB_PANEL];

			dot_columns(g->a + m * g->a_stride, g->b + (size_t) p * g->n_groups * EMB_PANEL * EMB_GROUP,
						g->n_groups, sums);
			for (int32_t j = 0, n = p * EMB_PANEL; j < EMB_PANEL; j++, n++)
			{
				float		factor = g->a_scale[m] * g->b_scale[n];
				int32_t		sum = sums[j];

				if (g->a_zero != NULL)
					sum = subtract_zero(sum, g->a_zero[m], g->b_sums[n]);
				c[n] = g->bias != NULL ? fmaf((float) sum, factor, g->bias[n]) : (float) sum * factor;
			}
		}
	}
	if (g->gated)
		emb_gate_rows_scalar(g->act, g->c, g->c_stride, g->n_rows, g->n_panels / 2, g->factor, g->range, g->c, g->c_stride);
	else if (g->act != EMB_ACT_KIND_NONE || g->factor != NULL)
		emb_activate_rows_scalar(g->act, g->c, g->c_stride, g->n_rows, g->n_panels, g->factor, g->range);
}
