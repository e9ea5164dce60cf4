/*
 * pack_f32.c
 *		Weights [n_out, n_in] row-major into panels [n_out / 16][n_in][16].
 */
#include "kernels/kernels.h"

size_t
emb_pack_f32_panels(int32_t n_out)
{
	return ((size_t) n_out + EMB_PANEL - 1) / EMB_PANEL;
}

size_t
emb_pack_f32_bytes(int32_t n_out, int32_t n_in)
{
	return emb_pack_f32_panels(n_out) * EMB_PANEL * (size_t) n_in * sizeof(float);
}

void
emb_pack_f32_panel(const float *rows, int32_t n_rows, int32_t n_in, float *panel)
{
	emb_kernels()->transpose_f32(rows, n_in, n_rows, n_in, panel);
}
