/*
 * gemm_i8_avxvnni.c
 *		C = act(scaled A B + bias) in int8, AVX-VNNI (the VEX form, for CPUs without
 *		AVX-512): one ymm is one group of half a panel, 8 columns of 4 bytes.
 *
 * 16 registers: 6 rows of one panel take 12 accumulators, 2 halves of B and one
 * broadcast. One or two rows take more panels at a time, for at least 8 chains
 * in flight (latency 5, two units).
 */
#include "kernels/target.h"

#if EMB_COMPILER_HAS_AVXVNNI

#include <immintrin.h>
#include <string.h>

#include "kernels/gemm_i8.h"
#include "kernels/declare.h"

#define ROWS_MAX 6
#define PANELS_MAX 4

EMB_TARGET_BEGIN(EMB_TARGET_AVXVNNI)

#include "kernels/gemm_i8_ymm.h"

/* n_rows and n_panels are constants of each instance below. Half h of panel p is b_i8x32[2 p + h]. */
EMB_ALWAYS_INLINE void
tile_avxvnni(const EmbTileI8 *t, const int n_rows, const int n_panels)
{
	__m256i		acc_i32x8[ROWS_MAX][2 * PANELS_MAX];
	const uint8_t *a = t->a;
	const int8_t *b = t->b;
	const int8_t *b_end = b + (size_t) t->n_groups * EMB_PANEL * EMB_GROUP;
	const int8_t *ahead = t->ahead;

	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int h = 0; h < 2 * n_panels; h++)
			acc_i32x8[r][h] = _mm256_setzero_si256();
	}
	while (b < b_end)
	{
		const int8_t *stretch_end = emb_gemm_i8_stretch_end(t, b, b_end);

		for (; b < stretch_end; b += EMB_PANEL * EMB_GROUP, a += EMB_GROUP)
		{
			__m256i		b_i8x32[2 * PANELS_MAX];

			EMB_UNROLL
			for (int h = 0; h < 2 * n_panels; h++)
				b_i8x32[h] = _mm256_loadu_si256((const __m256i *) (b + h / 2 * t->b_stride + h % 2 * 32));
			EMB_UNROLL
			for (int r = 0; r < n_rows; r++)
			{
				__m256i		a_u8x32 = broadcast_group(a + r * t->a_stride);

				EMB_UNROLL
				for (int h = 0; h < 2 * n_panels; h++)
					acc_i32x8[r][h] = _mm256_dpbusd_avx_epi32(acc_i32x8[r][h], a_u8x32, b_i8x32[h]);
			}
		}
		for (int32_t i = 0; i < t->n_ahead; i++, ahead += EMB_PANEL * EMB_GROUP)
		{
			EMB_UNROLL
			for (int p = 0; p < n_panels; p++)
				_mm_prefetch((const char *) (ahead + p * t->b_stride), _MM_HINT_T1);
		}
	}
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int h = 0; h < 2 * n_panels; h++)
			finish_ymm(t, r, h, acc_i32x8[r][h]);
	}
}

EMB_TILES_NARROW(EmbTileI8, tile_avxvnni)
EMB_PICK_NARROW(EmbTileI8Fn, pick_avxvnni)

void
emb_gemm_i8_avxvnni(const EmbGemmI8 *g)
{
	const EmbGemmI8Level level = {
		.rows_max = ROWS_MAX, .panels_max = PANELS_MAX, .groups_max = g->n_groups, .pick = pick_avxvnni,
		.activate = emb_activate_rows_avx2, .gate = emb_gate_rows_avx2
	};

	emb_gemm_i8_walk(g, &level);
}

EMB_TARGET_END

#endif
