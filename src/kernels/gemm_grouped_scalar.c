/*
 * gemm_grouped_scalar.c
 *		C = act(scaled A B + bias) with scales by groups, exactly as in kernels.h.
 *		The reference of all levels.
 */
#include <math.h>

#include "kernels/declare.h"

/* B[k][j] - b_zero of a panel. */
static int32_t
weight_of(const EmbGemmGrouped *g, const uint8_t *panel, int32_t k, int32_t j, size_t zero_at)
{
	int32_t		byte;

	if (g->bits == 8)
		return (int8_t) panel[((size_t) (k / 4) * EMB_PANEL + j) * EMB_GROUP + k % 4];
	byte = panel[((size_t) (k / 8) * EMB_PANEL + j) * EMB_GROUP + k % 4];
	return (k % 8 < 4 ? byte & 15 : byte >> 4) - (g->b_zero[zero_at] & 15);
}

/* The fused chain over the groups for column j of a panel. */
static float
chain(const EmbGemmGrouped *g, const uint8_t *a, int32_t p, int32_t j)
{
	int32_t		n_scales = emb_pack_group_scales(g->n_in, g->group);
	int32_t		length = g->group == 0 ? g->n_in : g->group;
	const uint8_t *panel = g->b + (size_t) p * g->n_in * EMB_PANEL * g->bits / 8;
	size_t		at = (size_t) p * n_scales * EMB_PANEL + j;	/* of the first group's scale and zero */
	float		acc = 0;

	for (int32_t start = 0; start < g->n_in; start += length, at += EMB_PANEL)
	{
		int32_t		sum = 0;

		for (int32_t k = start; k < g->n_in && k < start + length; k++)
			sum += a[k] * weight_of(g, panel, k, j, at);
		acc = fmaf((float) sum, emb_scale_at(g->b_scale, g->scale_type, at), acc);
	}
	return acc;
}

void
emb_gemm_grouped_scalar(const EmbGemmGrouped *g)
{
	for (int32_t m = 0; m < g->n_rows; m++)
	{
		for (int32_t n = 0; n < g->n_panels * EMB_PANEL; n++)
		{
			float		y = chain(g, g->a + m * g->a_stride, n / EMB_PANEL, n % EMB_PANEL);

			if (g->a_zero != NULL)
				y = fmaf(-(float) g->a_zero[m], g->b_sums[n], y);
			y = g->bias != NULL ? fmaf(y, g->a_scale[m], g->bias[n]) : y * g->a_scale[m];
			g->c[m * g->c_stride + n] = y;
		}
	}
	if (g->gated)
		emb_gate_rows_scalar(g->act, g->c, g->c_stride, g->n_rows, g->n_panels / 2, g->factor, g->range, g->c, g->c_stride);
	else if (g->act != EMB_ACT_KIND_NONE || g->factor != NULL)
		emb_activate_rows_scalar(g->act, g->c, g->c_stride, g->n_rows, g->n_panels, g->factor, g->range);
}
