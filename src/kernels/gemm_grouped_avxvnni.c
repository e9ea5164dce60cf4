/*
 * gemm_grouped_avxvnni.c
 *		C = act(scaled A B + bias) with scales by groups, AVX-VNNI (the VEX form):
 *		the tiles of gemm_i8_avxvnni.c over unpacked codes, or over those of 8 bits.
 */
#include "kernels/target.h"

#if EMB_COMPILER_HAS_AVXVNNI

#include <immintrin.h>
#include <string.h>

#include "kernels/gemm_grouped.h"

#define ROWS_MAX 6
#define PANELS_MAX 4

EMB_TARGET_BEGIN(EMB_TARGET_AVXVNNI)

#include "kernels/gemm_grouped_ymm.h"

/*
 * n_rows and n_panels are constants of each instance below. Half h of panel p
 * is column 2 p + h of registers.
 */
EMB_ALWAYS_INLINE void
one_tile(const EmbTileGrouped *t, const int n_rows, const int n_panels)
{
	const uint8_t *a = t->a;
	const int8_t *b = t->b;
	const uint8_t *ahead = t->ahead != NULL ? t->ahead : (const uint8_t *) b;
	const size_t ahead_stride = t->ahead != NULL ? t->ahead_stride : t->b_stride;
	const float *scale = t->b_scale;
	bool		starts = t->first;

	for (int32_t left = t->n_groups; left > 0; left -= t->group, scale += EMB_PANEL)
	{
		const int8_t *b_end = b + (size_t) (left < t->group ? left : t->group) * EMB_PANEL * EMB_GROUP;
		__m256i		acc_i32x8[ROWS_MAX][2 * PANELS_MAX];

		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			EMB_UNROLL
			for (int h = 0; h < 2 * n_panels; h++)
				acc_i32x8[r][h] = start_ymm(t, r, h);
		}
		for (; b < b_end; b += EMB_PANEL * EMB_GROUP, a += EMB_GROUP, ahead += t->ahead_step)
		{
			__m256i		b_i8x32[2 * PANELS_MAX];

			EMB_UNROLL
			for (int h = 0; h < 2 * n_panels; h++)
			{
				b_i8x32[h] = _mm256_loadu_si256((const __m256i *) (b + h / 2 * t->b_stride + h % 2 * 32));
				if (h % 2 == 0)
					_mm_prefetch((const char *) (ahead + h / 2 * ahead_stride), _MM_HINT_T1);
			}
			EMB_UNROLL
			for (int r = 0; r < n_rows; r++)
			{
				__m256i		a_u8x32 = broadcast_group(a + r * t->a_stride);

				EMB_UNROLL
				for (int h = 0; h < 2 * n_panels; h++)
					acc_i32x8[r][h] = _mm256_dpbusd_avx_epi32(acc_i32x8[r][h], a_u8x32, b_i8x32[h]);
			}
		}
		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			EMB_UNROLL
			for (int h = 0; h < 2 * n_panels; h++)
				end_ymm(t, r, h, acc_i32x8[r][h], scale, starts, t->last && left <= t->group);
		}
		starts = false;
	}
}

EMB_ALWAYS_INLINE void
tile_avxvnni(const EmbTileGrouped *tile, const int n_rows, const int n_panels)
{
	EmbTileGrouped t = *tile;	/* known not to change under stores */

	for (int32_t left = tile->n_tiles; left > 0; left--)
	{
		one_tile(&t, n_rows, n_panels);
		grouped_next_tile(&t, n_rows);
	}
}

EMB_TILES_NARROW(EmbTileGrouped, tile_avxvnni)
EMB_PICK_NARROW(EmbTileGroupedFn, pick_avxvnni)

void
emb_gemm_grouped_avxvnni(const EmbGemmGrouped *g)
{
	static const EmbGroupedLevel four = {
		.rows_max = ROWS_MAX, .panels_max = PANELS_MAX, .loops = true, .rooms = 1, .pick = pick_avxvnni, .widen = widen_scales_ymm, .unpack = unpack_ymm,
		.activate = emb_activate_rows_avx2, .gate = emb_gate_rows_avx2
	};
	static const EmbGroupedLevel eight = {
		.rows_max = ROWS_MAX, .panels_max = PANELS_MAX, .loops = true, .pick = pick_avxvnni, .widen = widen_scales_ymm,
		.activate = emb_activate_rows_avx2, .gate = emb_gate_rows_avx2
	};

	grouped_walk(g, g->bits == 4 ? &four : &eight);
}

EMB_TARGET_END

#endif
