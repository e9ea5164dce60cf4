/*
 * gemm_grouped_neon.c
 *		C = act(scaled A B + bias) with weights of 4 bits, NEON with the dot product
 *		extension: one q register is one group of a quarter of a panel.
 *
 * sdot is s8 by s8, so A enters as A - 128, and sums start at 128 times the
 * sum of the group's weights, which unpacking adds up. As in gemm_i8_neon.c a
 * tile works on a copy of its rows, a group of 4 inputs of all rows together;
 * all panels of the block share the copy.
 */
#if defined(__aarch64__)

#include <string.h>

#include "kernels/gemm_grouped.h"
#include "kernels/target_neon.h"

#define ROWS_MAX 6
#define ROW_SLOTS 8
#define A_OFFSET 128
#define FLIP_SIGNS 0x80808080u	/* u8 as s8: minus 128 */

EMB_TARGET_BEGIN(EMB_TARGET_NEON)

/* The zeros of 4 columns, in all 4 bytes of each. */
EMB_ALWAYS_INLINE int8x16_t
spread_zeros(const uint8_t *zeros)
{
	uint8_t		bytes[16];

	for (int i = 0; i < 16; i++)
		bytes[i] = zeros[i / 4] & 15;
	return vreinterpretq_s8_u8(vld1q_u8(bytes));
}

static void
unpack_neon(const uint8_t *packed, int32_t n_groups, int32_t group, const uint8_t *zeros, EmbGroupedPanel *panel)
{
	int32_t		(*sums)[EMB_PANEL] = panel->sums;

	for (int32_t start = 0; start < n_groups; start += group, zeros += EMB_PANEL, sums++)
	{
		int32_t		end = n_groups - start < group ? n_groups : start + group;
		int8x16_t	zero_i8x16[4];
		int32x4_t	sum_i32x4[4];

		EMB_UNROLL
		for (int h = 0; h < 4; h++)
		{
			zero_i8x16[h] = spread_zeros(zeros + 4 * h);
			sum_i32x4[h] = vdupq_n_s32(0);
		}
		for (int32_t i = start; i < end; i += 2, packed += EMB_PANEL * EMB_GROUP)
		{
			EMB_UNROLL
			for (int h = 0; h < 4; h++)
			{
				uint8x16_t	codes = vld1q_u8(packed + h * 16);
				int8x16_t	lower = vsubq_s8(vreinterpretq_s8_u8(vandq_u8(codes, vdupq_n_u8(15))), zero_i8x16[h]);
				int8x16_t	upper = vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(codes, 4)), zero_i8x16[h]);

				vst1q_s8(panel->b[i][h * 4], lower);
				vst1q_s8(panel->b[i + 1][h * 4], upper);
				sum_i32x4[h] = vdotq_s32(vdotq_s32(sum_i32x4[h], lower, vdupq_n_s8(1)), upper, vdupq_n_s8(1));
			}
		}
		EMB_UNROLL
		for (int h = 0; h < 4; h++)
			vst1q_s32(*sums + h * 4, vmulq_n_s32(sum_i32x4[h], A_OFFSET));
	}
}

/* [n_groups][ROW_SLOTS]; slots without a row repeat the last row, and their results are unused. */
static void
copy_rows(const EmbTileGrouped *t, int32_t n_rows, uint32_t *rows)
{
	for (int32_t r = 0; r < ROW_SLOTS; r++)
	{
		const uint8_t *a = t->a + (r < n_rows ? r : n_rows - 1) * t->a_stride;

		for (int32_t i = 0; i < t->n_groups; i++)
		{
			uint32_t	group;

			memcpy(&group, a + (size_t) i * EMB_GROUP, sizeof(group));
			rows[(size_t) i * ROW_SLOTS + r] = group ^ FLIP_SIGNS;
		}
	}
}

/* The end of a group of inputs for row r, columns 4 h .. 4 h + 3 of the panel. */
EMB_ALWAYS_INLINE void
end_neon(const EmbTileGrouped *t, int r, int h, int32x4_t sum_i32x4, const float *scale, bool starts, bool ends)
{
	float	   *state = t->state + r * GROUPED_STATE_STRIDE + h * 4;
	float32x4_t y;

	if (t->carries_out)
	{
		vst1q_f32(state, vreinterpretq_f32_s32(sum_i32x4));
		return;
	}
	y = starts ? vdupq_n_f32(0.0f) : vld1q_f32(state);
	y = vfmaq_f32(y, vcvtq_f32_s32(sum_i32x4), vld1q_f32(scale + h * 4));
	if (!ends)
	{
		vst1q_f32(state, y);
		return;
	}
	if (t->a_zero != NULL)
		y = vfmaq_f32(y, vdupq_n_f32(-(float) t->a_zero[r]), vld1q_f32(t->b_sums + h * 4));
	y = t->bias != NULL ? vfmaq_f32(vld1q_f32(t->bias + h * 4), y, vdupq_n_f32(t->a_scale[r])) :
		vmulq_f32(y, vdupq_n_f32(t->a_scale[r]));
	vst1q_f32(t->c + r * t->c_stride + h * 4, y);
}

/* The lane has to be a literal. */
#define MULTIPLY_ROW(r, a_i8x16, lane) \
	if ((r) < n_rows) \
	{ \
		EMB_UNROLL \
		for (int h = 0; h < 4; h++) \
			acc_i32x4[r][h] = vdotq_laneq_s32(acc_i32x4[r][h], b_i8x16[h], a_i8x16, lane); \
	}

EMB_ALWAYS_INLINE void
panel_neon(const EmbTileGrouped *t, const uint32_t *rows, const int n_rows)
{
	const int8_t *b = t->b->b[0][0];
	const int32_t (*sums)[EMB_PANEL] = t->b->sums;
	const float *scale = t->b_scale;
	bool		starts = t->first;

	for (int32_t left = t->n_groups; left > 0; left -= t->group, scale += EMB_PANEL, sums++)
	{
		const int8_t *b_end = b + (size_t) (left < t->group ? left : t->group) * EMB_PANEL * EMB_GROUP;
		int32x4_t	acc_i32x4[ROWS_MAX][4];

		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			EMB_UNROLL
			for (int h = 0; h < 4; h++)
			{
				acc_i32x4[r][h] = vld1q_s32(*sums + h * 4);
				if (t->carries_in)
					acc_i32x4[r][h] = vaddq_s32(acc_i32x4[r][h], vreinterpretq_s32_f32(
												vld1q_f32(t->state + r * GROUPED_STATE_STRIDE + h * 4)));
			}
		}
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
		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			EMB_UNROLL
			for (int h = 0; h < 4; h++)
				end_neon(t, r, h, acc_i32x4[r][h], scale, starts, t->last && left <= t->group);
		}
		starts = false;
	}
}

/* n_rows is a constant of each instance below; all panels of the block, n_panels is 1. */
EMB_ALWAYS_INLINE void
tile_neon(const EmbTileGrouped *tile, const int n_rows, const int n_panels)
{
	uint32_t	rows[GROUPED_BLOCK_GROUPS * ROW_SLOTS];
	EmbTileGrouped	t = *tile;

	(void) n_panels;
	copy_rows(&t, n_rows, rows);
	while (t.n_panels > 0)
	{
		panel_neon(&t, rows, n_rows);
		grouped_move_panels(&t, 1);
	}
}

EMB_TILES_6(EmbTileGrouped, tile_neon, 1)

static EmbTileGroupedFn
pick_neon(int32_t n_rows, int32_t n_panels, int32_t *n_taken)
{
	static const EmbTileGroupedFn tiles[] = EMB_TILE_NAMES_6(1);

	*n_taken = n_panels;
	return tiles[n_rows - 1];
}

void
emb_gemm_grouped_neon(const EmbGemmGrouped *g)
{
	static const EmbGroupedLevel level = {
		.rows_max = ROWS_MAX, .panels_max = GROUPED_PANELS_MAX, .pick = pick_neon, .unpack = unpack_neon,
		.activate = emb_activate_rows_neon, .gate = emb_gate_rows_neon
	};

	grouped_walk(g, &level);
}

EMB_TARGET_END

#endif
