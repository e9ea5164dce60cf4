/*
 * gemm_grouped_avx2.c
 *		C = act(scaled A B + bias) with weights of 4 bits, AVX2: one ymm is one
 *		group of half a panel, 8 columns of 4 bytes.
 *
 * Codes minus zeros are within -15 .. 15, so vpmaddubsw never saturates: two
 * products are at most 7,650, and four such sums (16 inputs) fit 16 bits. So
 * int4 needs fewer instructions than int8, where bytes must be widened.
 *
 * 16 registers: 4 rows of one panel take 8 accumulators, half a panel of 16
 * inputs 4.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels/gemm_grouped.h"
#include "kernels/target.h"

#define ROWS_MAX 4
#define STEP_GROUPS 4			/* groups of 4 inputs whose products are added in 16 bits */

EMB_TARGET_BEGIN(EMB_TARGET_AVX2)

#include "kernels/gemm_grouped_ymm.h"

/* Products of 16 inputs, in int32. */
EMB_ALWAYS_INLINE __m256i
dot_step(const uint8_t *a, const __m256i b_i8x32[STEP_GROUPS])
{
	__m256i		sum_i16x16 = _mm256_maddubs_epi16(broadcast_group(a), b_i8x32[0]);

	EMB_UNROLL
	for (int i = 1; i < STEP_GROUPS; i++)
		sum_i16x16 = _mm256_add_epi16(sum_i16x16, _mm256_maddubs_epi16(broadcast_group(a + i * EMB_GROUP), b_i8x32[i]));
	return _mm256_madd_epi16(sum_i16x16, _mm256_set1_epi16(1));
}

/* n_rows is a constant of each instance below; n_panels is 1. */
EMB_ALWAYS_INLINE void
tile_avx2(const EmbTileGrouped *tile, const int n_rows, const int n_panels)
{
	const EmbTileGrouped t = *tile;	/* known not to change under stores */
	const uint8_t *a = t.a;
	const int8_t (*b)[EMB_PANEL][EMB_GROUP] = t.b->b;
	const uint8_t *ahead = t.ahead != NULL ? t.ahead : (const uint8_t *) b;
	const float *scale = t.b_scale;
	bool		starts = t.first;

	(void) n_panels;
	for (int32_t left = t.n_groups; left > 0; left -= t.group, scale += EMB_PANEL)
	{
		int32_t		n_groups = left < t.group ? left : t.group;
		__m256i		acc_i32x8[ROWS_MAX][2];

		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			acc_i32x8[r][0] = start_ymm(&t, r, 0);
			acc_i32x8[r][1] = start_ymm(&t, r, 1);
		}
		for (int32_t i = 0; i < n_groups; i += STEP_GROUPS)
		{
			_mm_prefetch((const char *) ahead, _MM_HINT_T1);
			_mm_prefetch((const char *) (ahead + 64), _MM_HINT_T1);
			EMB_UNROLL
			for (int h = 0; h < 2; h++)
			{
				__m256i		b_i8x32[STEP_GROUPS];

				EMB_UNROLL
				for (int k = 0; k < STEP_GROUPS; k++)
					b_i8x32[k] = _mm256_load_si256((const __m256i *) b[k][h * 8]);
				EMB_UNROLL
				for (int r = 0; r < n_rows; r++)
					acc_i32x8[r][h] = _mm256_add_epi32(acc_i32x8[r][h], dot_step(a + r * t.a_stride, b_i8x32));
			}
			a += STEP_GROUPS * EMB_GROUP;
			b += STEP_GROUPS;
			ahead += STEP_GROUPS * 32;
		}
		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			end_ymm(&t, r, 0, acc_i32x8[r][0], scale, starts, t.last && left <= t.group);
			end_ymm(&t, r, 1, acc_i32x8[r][1], scale, starts, t.last && left <= t.group);
		}
		starts = false;
	}
}

EMB_TILES_4(EmbTileGrouped, tile_avx2, 1)

static EmbTileGroupedFn
pick_avx2(int32_t n_rows, int32_t n_panels, int32_t *n_taken)
{
	static const EmbTileGroupedFn tiles[] = EMB_TILE_NAMES_4(1);

	(void) n_panels;
	*n_taken = 1;
	return tiles[n_rows - 1];
}

void
emb_gemm_grouped_avx2(const EmbGemmGrouped *g)
{
	static const EmbGroupedLevel level = {
		.rows_max = ROWS_MAX, .panels_max = 2, .pick = pick_avx2, .unpack = unpack_ymm,
		.activate = emb_activate_rows_avx2, .gate = emb_gate_rows_avx2
	};

	grouped_walk(g, &level);
}

EMB_TARGET_END

#endif
