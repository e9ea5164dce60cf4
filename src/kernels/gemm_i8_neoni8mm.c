/*
 * gemm_i8_neoni8mm.c
 *		C = act(scaled A B + bias) in int8, NEON with the matrix multiply
 *		extension: usmmla is 2 rows by 2 columns over 8 bytes, u8 by s8.
 *
 * It does as much as two sdot. The two columns' 8 bytes are zipped from two
 * groups of B on the way, one zip for 3 products of 6 rows: 32 instructions of
 * the vector units where sdot takes 48. The copy of A holds 8 bytes of all rows
 * together.
 */
#if defined(__aarch64__)

#include <string.h>

#include "kernels/gemm_i8.h"
#include "kernels/target_neon.h"

EMB_TARGET_BEGIN(EMB_TARGET_NEONI8MM)

#include "kernels/gemm_i8_neon.h"

/* [pairs of groups][ROW_SLOTS][8]; half a pair at the end is filled up with zeros. */
static void
copy_rows_i8mm(const EmbTileI8 *t, int32_t n_rows, uint32_t *rows)
{
	for (int32_t r = 0; r < n_rows; r++)
	{
		const uint8_t *a = t->a + r * t->a_stride;
		uint32_t   *copy = rows + 2 * r;
		int32_t		i = 0;

		for (; t->n_groups - i >= 2; i += 2, copy += 2 * ROW_SLOTS)
			memcpy(copy, a + (size_t) i * EMB_GROUP, 2 * EMB_GROUP);
		if (i < t->n_groups)
		{
			memcpy(copy, a + (size_t) i * EMB_GROUP, EMB_GROUP);
			copy[1] = 0;
		}
	}
	/* the other half of a pair of rows */
	if (n_rows % 2 != 0)
		for (int32_t i = 0; i < t->n_groups; i += 2)
			memset(rows + (size_t) i * ROW_SLOTS + 2 * n_rows, 0, 2 * EMB_GROUP);
}

/* Two groups of 4 columns at b: acc[j][0] of the first two columns, acc[j][1] of the others. */
EMB_ALWAYS_INLINE void
multiply_quarter(int32x4_t acc_i32x4[][2], const uint8x16_t *a_u8x16, const int8_t *b, bool half, const int n_pairs)
{
	int32x4_t	even = vreinterpretq_s32_s8(vld1q_s8(b));
	int32x4_t	odd = half ? vdupq_n_s32(0) : vreinterpretq_s32_s8(vld1q_s8(b + EMB_PANEL * EMB_GROUP));
	int8x16_t	first_i8x16 = vreinterpretq_s8_s32(vzip1q_s32(even, odd));
	int8x16_t	second_i8x16 = vreinterpretq_s8_s32(vzip2q_s32(even, odd));

	EMB_UNROLL
	for (int j = 0; j < n_pairs; j++)
	{
		acc_i32x4[j][0] = vusmmlaq_s32(acc_i32x4[j][0], a_u8x16[j], first_i8x16);
		acc_i32x4[j][1] = vusmmlaq_s32(acc_i32x4[j][1], a_u8x16[j], second_i8x16);
	}
}

/* Two groups (one if half) of all rows and columns. */
EMB_ALWAYS_INLINE void
multiply_groups(int32x4_t acc_i32x4[4][ROWS_MAX / 2][2], const uint32_t *rows, const int8_t *b, bool half,
				const int n_pairs)
{
	uint8x16_t	a_u8x16[ROWS_MAX / 2];

	EMB_UNROLL
	for (int j = 0; j < n_pairs; j++)
		a_u8x16[j] = vreinterpretq_u8_u32(vld1q_u32(rows + 4 * j));
	EMB_UNROLL
	for (int h = 0; h < 4; h++)
	{
		multiply_quarter(acc_i32x4[h], a_u8x16, b + h * 16, half, n_pairs);
		EMB_LOADS_STAY;
	}
}

/* Two rows of 4 columns to and from 2 x 2 x 2. */
EMB_ALWAYS_INLINE int32x4_t
upper_halves(int32x4_t a, int32x4_t b)
{
	return vreinterpretq_s32_s64(vtrn2q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}

EMB_ALWAYS_INLINE int32x4_t
lower_halves(int32x4_t a, int32x4_t b)
{
	return vreinterpretq_s32_s64(vtrn1q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}

/* n_rows is a constant of each instance below. */
EMB_ALWAYS_INLINE void
tile_i8mm(const EmbTileI8 *t, const uint32_t *rows, bool first, bool last, const int n_rows)
{
	const int	n_pairs = (n_rows + 1) / 2;
	int32x4_t	acc_i32x4[4][ROWS_MAX / 2][2];
	const int8_t *b = t->b;
	int32_t		left = t->n_groups;

	EMB_UNROLL
	for (int i = 0; i < 4 * n_pairs; i++)
	{
		int			j = i / 4,
					h = i % 4;
		int32x4_t	upper = start_neon(t, 2 * j, h, first);
		int32x4_t	lower = 2 * j + 1 < n_rows ? start_neon(t, 2 * j + 1, h, first) : vdupq_n_s32(0);

		acc_i32x4[h][j][0] = lower_halves(upper, lower);
		acc_i32x4[h][j][1] = upper_halves(upper, lower);
	}
	for (; left >= 2; left -= 2, b += 2 * EMB_PANEL * EMB_GROUP, rows += 2 * ROW_SLOTS)
		multiply_groups(acc_i32x4, rows, b, false, n_pairs);
	if (left > 0)
		multiply_groups(acc_i32x4, rows, b, true, n_pairs);
	EMB_UNROLL
	for (int i = 0; i < 4 * n_pairs; i++)
	{
		int			j = i / 4,
					h = i % 4;

		finish_neon(t, 2 * j, h, lower_halves(acc_i32x4[h][j][0], acc_i32x4[h][j][1]), 0, last);
		if (2 * j + 1 < n_rows)
			finish_neon(t, 2 * j + 1, h, upper_halves(acc_i32x4[h][j][0], acc_i32x4[h][j][1]), 0, last);
	}
}

NEON_TILES(tile_i8mm)

void
emb_gemm_i8_neoni8mm(const EmbGemmI8 *g)
{
	static const NeonLevel level = {
		.copy_rows = copy_rows_i8mm,
		.tiles = NEON_TILE_NAMES
	};

	walk_neon(g, &level);
}

EMB_TARGET_END

#endif
