/*
 * gemm_f32_avx2.c
 *		C = A B + bias, AVX2 and FMA: two ymm are one row of one panel.
 *
 * 16 registers: 6 rows of one panel take 12 accumulators, 2 columns of B and
 * one broadcast. One or two rows take more panels at a time, for at least 8
 * chains in flight (latency 4, two units).
 */
#if defined(__x86_64__)

#include <immintrin.h>

#define EMB_ALWAYS_UNROLL
#include "kernels/gemm_f32.h"
#include "kernels/declare.h"
#include "kernels/target.h"

#define ROWS_MAX 6

EMB_TARGET_BEGIN(EMB_TARGET_AVX2)

EMB_ALWAYS_INLINE void
finish_avx2(const EmbGemmTile *t, float *c, const float *bias, __m256 sum)
{
	if (!t->first)
		sum = _mm256_add_ps(_mm256_loadu_ps(c), sum);
	if (t->bias != NULL)
		sum = _mm256_add_ps(sum, _mm256_loadu_ps(bias));
	_mm256_storeu_ps(c, sum);
}

/* n_rows and n_panels are constants of each instance below. Half h of panel p is b_f32x8[2 p + h]. */
EMB_ALWAYS_INLINE void
tile_avx2(const EmbGemmTile *t, const int n_rows, const int n_panels)
{
	__m256		acc_f32x8[ROWS_MAX][8];
	const float *a = t->a;
	const float *b = t->b;
	const float *b_end = b + (size_t) t->k * EMB_PANEL;

	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int h = 0; h < 2 * n_panels; h++)
			acc_f32x8[r][h] = _mm256_setzero_ps();
	}
	for (; b < b_end; b += EMB_PANEL, a++)
	{
		__m256		b_f32x8[8];

		EMB_UNROLL
		for (int h = 0; h < 2 * n_panels; h++)
			b_f32x8[h] = _mm256_loadu_ps(b + h / 2 * t->b_stride + h % 2 * 8);
		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			__m256		a_f32x8 = _mm256_set1_ps(a[r * t->a_stride]);

			EMB_UNROLL
			for (int h = 0; h < 2 * n_panels; h++)
				acc_f32x8[r][h] = _mm256_fmadd_ps(a_f32x8, b_f32x8[h], acc_f32x8[r][h]);
		}
	}
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int h = 0; h < 2 * n_panels; h++)
			finish_avx2(t, t->c + r * t->c_stride + h * 8,
						t->bias == NULL ? NULL : t->bias + h * 8, acc_f32x8[r][h]);
	}
}

EMB_TILES_NARROW(EmbGemmTile, tile_avx2)
EMB_PICK_NARROW(EmbGemmTileFn, pick_avx2)

void
emb_gemm_f32_avx2(const EmbGemmF32 *g)
{
	emb_gemm_walk(g, ROWS_MAX, pick_avx2);
}

EMB_TARGET_END

#endif
