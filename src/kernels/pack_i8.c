/*
 * pack_i8.c
 *		Weights [n_out, n_in] row-major into panels [n_out / 16][K / 4][16][4],
 *		K = n_in padded to 64: the B operand of vpdpbusd (16 columns of 4 bytes),
 *		whose halves, quarters and stacks serve the other instruction sets.
 */
#include <string.h>

#include "kernels/kernels.h"

size_t
emb_pack_i8_padded(int32_t n_in)
{
	return ((size_t) n_in + EMB_PACK_I8_K - 1) / EMB_PACK_I8_K * EMB_PACK_I8_K;
}

size_t
emb_pack_i8_bytes(int32_t n_out, int32_t n_in)
{
	return emb_pack_f32_panels(n_out) * EMB_PANEL * emb_pack_i8_padded(n_in);
}

void
emb_pack_i8_panel(const int8_t *rows, int32_t n_rows, int32_t n_in, int8_t *panel)
{
	memset(panel, 0, EMB_PANEL * emb_pack_i8_padded(n_in));
	for (int32_t r = 0; r < n_rows; r++)
	{
		const int8_t *row = rows + (size_t) r * n_in;

		for (int32_t k = 0; k < n_in; k++)
			panel[((size_t) (k / EMB_GROUP) * EMB_PANEL + r) * EMB_GROUP + k % EMB_GROUP] = row[k];
	}
}
