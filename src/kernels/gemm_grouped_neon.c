/*
 * gemm_grouped_neon.c
 *		C = act(scaled A B + bias) with scales by groups, NEON with the dot product
 *		extension: one q register is one group of a quarter of a panel.
 *
 * A enters as A - 128 (gemm_sdot.h), and sums start at 128 times the sum of the
 * group's weights, which unpacking adds up. All panels of the block share a
 * tile's copy of its rows.
 */
#if defined(__aarch64__)

#include <string.h>

#include "kernels/gemm_grouped.h"
#include "kernels/target_neon.h"

#define ROWS_MAX 6
#define ROW_SLOTS 8

EMB_TARGET_BEGIN(EMB_TARGET_NEON)

#include "kernels/gemm_sdot.h"

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
widen_neon(const uint16_t *from, EmbScaleType type, int32_t n, float (*to)[EMB_PANEL])
{
	for (int32_t i = 0; i < 4 * n; i++)
	{
		uint16x4_t	halves = vld1_u16(from + i * 4);
		float32x4_t	scale_f32x4 = type == EMB_SCALE_F16 ? vcvt_f32_f16(vreinterpret_f16_u16(halves)) :
			vreinterpretq_f32_u32(vshll_n_u16(halves, 16));

		vst1q_f32(to[i / 4] + i % 4 * 4, scale_f32x4);
	}
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

/* Codes of 8 bits stay where they are. */
static void
sum_neon(const uint8_t *packed, int32_t n_groups, int32_t group, const uint8_t *zeros, EmbGroupedPanel *panel)
{
	(void) zeros;
	for (int32_t start = 0, g = 0; start < n_groups; start += group, g++)
		sum_columns((const int8_t *) packed + (size_t) start * EMB_PANEL * EMB_GROUP,
					n_groups - start < group ? n_groups - start : group, A_OFFSET, panel->sums[g]);
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

EMB_ALWAYS_INLINE void
panel_neon(const EmbTileGrouped *t, const uint32_t *rows, const int n_rows)
{
	const int8_t *b = t->b;
	const int32_t (*sums)[EMB_PANEL] = t->sums->sums;
	const float *scale = t->b_scale;
	bool		starts = t->first;

	for (int32_t left = t->n_groups; left > 0; left -= t->group, scale += EMB_PANEL, sums++)
	{
		int32_t		n_groups = left < t->group ? left : t->group;
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
		multiply_panel(rows, b, n_groups, acc_i32x4, n_rows);
		b += (size_t) n_groups * EMB_PANEL * EMB_GROUP;
		rows += (size_t) n_groups * ROW_SLOTS;
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
	copy_rows(t.a, t.a_stride, t.n_groups, n_rows, rows);
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
	static const EmbGroupedLevel four = {
		.rows_max = ROWS_MAX, .panels_max = GROUPED_PANELS_MAX, .rooms = 1, .pick = pick_neon, .widen = widen_neon, .unpack = unpack_neon,
		.activate = emb_activate_rows_neon, .gate = emb_gate_rows_neon
	};
	static const EmbGroupedLevel eight = {
		.rows_max = ROWS_MAX, .panels_max = GROUPED_PANELS_MAX, .pick = pick_neon, .widen = widen_neon, .unpack = sum_neon,
		.activate = emb_activate_rows_neon, .gate = emb_gate_rows_neon
	};

	grouped_walk(g, g->bits == 4 ? &four : &eight);
}

EMB_TARGET_END

#endif
