/*
 * gemm_sdot.h
 *		Shared by the products of NEON with sdot, for a region with the dot product
 *		extension. The includer defines ROWS_MAX, of a tile, and ROW_SLOTS, in the
 *		copy of its rows.
 *
 * sdot is s8 by s8, so A enters as A - 128, and 128 times the sum of the weights
 * is added to the sum over (A - 128) B. The copy of A holds a group of 4 inputs
 * of all rows together: one load reads the 4 bytes of 4 rows, and sdot selects a
 * row by its lane.
 */
/* u8 as s8: minus 128, which flips the upper bit. */
#define A_OFFSET 128
#define FLIP_SIGNS 0x80808080u

/* 4 groups of 4 rows, from 4 rows of 4 groups. */
EMB_ALWAYS_INLINE void
copy_quarter(const uint8_t *const row[4], size_t at, uint32_t *groups)
{
	uint32x4_t	x[4];
	uint32x4_t	pair[4];

	EMB_UNROLL
	for (int r = 0; r < 4; r++)
		x[r] = veorq_u32(vreinterpretq_u32_u8(vld1q_u8(row[r] + at)), vdupq_n_u32(FLIP_SIGNS));
	pair[0] = vzip1q_u32(x[0], x[2]);
	pair[1] = vzip2q_u32(x[0], x[2]);
	pair[2] = vzip1q_u32(x[1], x[3]);
	pair[3] = vzip2q_u32(x[1], x[3]);
	vst1q_u32(groups, vzip1q_u32(pair[0], pair[2]));
	vst1q_u32(groups + ROW_SLOTS, vzip2q_u32(pair[0], pair[2]));
	vst1q_u32(groups + 2 * ROW_SLOTS, vzip1q_u32(pair[1], pair[3]));
	vst1q_u32(groups + 3 * ROW_SLOTS, vzip2q_u32(pair[1], pair[3]));
}

/*
 * [n_groups][ROW_SLOTS]; slots without a row repeat the last row, and their
 * results are unused.
 */
static void
copy_rows(const uint8_t *a, size_t a_stride, int32_t n_groups, int32_t n_rows, uint32_t *rows)
{
	for (int32_t first = 0; first < n_rows; first += 4)
	{
		const uint8_t *row[4];
		uint32_t   *groups = rows + first;
		int32_t		i = 0;

		for (int32_t r = 0; r < 4; r++)
			row[r] = a + (first + r < n_rows ? first + r : n_rows - 1) * a_stride;
		for (; n_groups - i >= 4; i += 4)
			copy_quarter(row, (size_t) i * EMB_GROUP, groups + (size_t) i * ROW_SLOTS);
		for (; i < n_groups; i++)
			for (int32_t r = 0; r < 4; r++)
			{
				uint32_t	group;

				memcpy(&group, row[r] + (size_t) i * EMB_GROUP, sizeof(group));
				groups[(size_t) i * ROW_SLOTS + r] = group ^ FLIP_SIGNS;
			}
	}
}

/* The lane has to be a literal. */
#define MULTIPLY_ROW(r, a_i8x16, lane) \
	if ((r) < n_rows) \
	{ \
		EMB_UNROLL \
		for (int h = 0; h < 4; h++) \
			acc_i32x4[r][h] = vdotq_laneq_s32(acc_i32x4[r][h], b_i8x16[h], a_i8x16, lane); \
	}

/* Adds the products of rows, a copy, with n_groups groups of a panel. */
EMB_ALWAYS_INLINE void
multiply_panel(const uint32_t *rows, const int8_t *b, int32_t n_groups, int32x4_t acc_i32x4[ROWS_MAX][4], const int n_rows)
{
	const int8_t *b_end = b + (size_t) n_groups * EMB_PANEL * EMB_GROUP;

	for (; b < b_end; b += EMB_PANEL * EMB_GROUP, rows += ROW_SLOTS)
	{
		int8x16_t	b_i8x16[4];
		int8x16_t	a_lo_i8x16 = vreinterpretq_s8_u32(vld1q_u32(rows));
		int8x16_t	a_hi_i8x16 = n_rows > 4 ? vreinterpretq_s8_u32(vld1q_u32(rows + 4)) : vdupq_n_s8(0);

		EMB_UNROLL
		for (int h = 0; h < 4; h++)
			b_i8x16[h] = vld1q_s8(b + h * 16);
		MULTIPLY_ROW(0, a_lo_i8x16, 0)
		MULTIPLY_ROW(1, a_lo_i8x16, 1)
		MULTIPLY_ROW(2, a_lo_i8x16, 2)
		MULTIPLY_ROW(3, a_lo_i8x16, 3)
		MULTIPLY_ROW(4, a_hi_i8x16, 0)
		MULTIPLY_ROW(5, a_hi_i8x16, 1)
	}
}

/* [16] sums of the columns over n_groups groups of a panel, times factor. */
EMB_ALWAYS_INLINE void
sum_columns(const int8_t *b, int32_t n_groups, int32_t factor, int32_t *sums)
{
	int32x4_t	sum_i32x4[4];

	EMB_UNROLL
	for (int h = 0; h < 4; h++)
		sum_i32x4[h] = vdupq_n_s32(0);
	for (int32_t i = 0; i < n_groups; i++, b += EMB_PANEL * EMB_GROUP)
	{
		EMB_UNROLL
		for (int h = 0; h < 4; h++)
			sum_i32x4[h] = vdotq_s32(sum_i32x4[h], vld1q_s8(b + h * 16), vdupq_n_s8(1));
	}
	EMB_UNROLL
	for (int h = 0; h < 4; h++)
		vst1q_s32(sums + h * 4, vmulq_n_s32(sum_i32x4[h], factor));
}
