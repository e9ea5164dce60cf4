/*
 * pack_i4.c
 *		Codes of 4 bits [n_out, n_in] into panels [n_out / 16][K / 8][16][4], K =
 *		n_in padded to 64: two groups of 4 inputs share the bytes of an int8 tile.
 */
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

#define PAIR_K	(2 * EMB_GROUP) /* inputs of 4 bytes of a column */

size_t
emb_pack_i4_bytes(int32_t n_out, int32_t n_in)
{
	return emb_pack_i8_bytes(n_out, n_in) / 2;
}

int32_t
emb_pack_group_scales(int32_t n_in, int32_t group)
{
	int32_t		k = (int32_t) emb_pack_i8_padded(n_in);

	return group == 0 ? 1 : (k - 1) / group + 1;
}

void
emb_pack_i4_panel(const uint8_t *codes, int32_t n_rows, int32_t n_in, uint8_t *panel)
{
	memset(panel, 0, emb_pack_i4_bytes(EMB_PANEL, n_in));
	for (int32_t r = 0; r < n_rows; r++)
	{
		const uint8_t *row = codes + (size_t) r * n_in;

		for (int32_t k = 0; k < n_in; k++)
		{
			size_t		at = ((size_t) (k / PAIR_K) * EMB_PANEL + r) * EMB_GROUP + k % EMB_GROUP;

			panel[at] |= (uint8_t) ((row[k] & 15) << (k % PAIR_K < EMB_GROUP ? 0 : 4));
		}
	}
}

float
emb_pack_group_sum(const uint8_t *codes, int32_t n_in, int32_t bits, int32_t group, const float *scales, const uint8_t *zeros)
{
	int32_t		mask = (1 << bits) - 1;
	int32_t		length = group == 0 ? n_in : group;
	float		sum = 0;

	for (int32_t start = 0, g = 0; start < n_in; start += length, g++)
	{
		int32_t		of_group = 0;

		for (int32_t k = start; k < n_in && k < start + length; k++)
			of_group += (codes[k] & mask) - (zeros[g] & mask);
		sum = fmaf((float) of_group, scales[g], sum);
	}
	return sum;
}
