/*
 * gemm_f32_avx512.c
 *		C = A B + bias, AVX-512: one zmm is one row of one panel.
 *
 * A tile is R rows by P panels: R P <= 24 accumulators, P columns of B, A
 * broadcast from memory. 12 x 2, 8 x 3 and 6 x 4 all reach the peak of Zen 4
 * (117 GFLOPS); 6 x 4 needs the fewest row pointers and loads, and keeps
 * enough chains in flight when a short text has only a few rows.
 */
#if defined(__x86_64__)

#include <immintrin.h>

#define EMB_ALWAYS_UNROLL
#include "kernels/gemm_f32.h"
#include "kernels/declare.h"
#include "kernels/target.h"

#define ROWS_MAX 6

EMB_TARGET_BEGIN(EMB_TARGET_AVX512)

EMB_ALWAYS_INLINE void
finish_avx512(const EmbGemmTile *t, float *c, const float *bias, __m512 sum)
{
	if (!t->first)
		sum = _mm512_add_ps(_mm512_loadu_ps(c), sum);
	if (t->bias != NULL)
		sum = _mm512_add_ps(sum, _mm512_loadu_ps(bias));
	_mm512_storeu_ps(c, sum);
}

/* n_rows and n_panels are constants of each instance below. */
EMB_ALWAYS_INLINE void
tile_avx512(const EmbGemmTile *t, const int n_rows, const int n_panels)
{
	__m512		acc_f32x16[ROWS_MAX][4];
	const float *a = t->a;
	const float *b = t->b;
	const float *b_end = b + (size_t) t->k * EMB_PANEL;

	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int p = 0; p < n_panels; p++)
			acc_f32x16[r][p] = _mm512_setzero_ps();
	}
	for (; b < b_end; b += EMB_PANEL, a++)
	{
		__m512		b_f32x16[4];

		EMB_UNROLL
		for (int p = 0; p < n_panels; p++)
			b_f32x16[p] = _mm512_loadu_ps(b + p * t->b_stride);
		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			__m512		a_f32x16 = _mm512_set1_ps(a[r * t->a_stride]);

			EMB_UNROLL
			for (int p = 0; p < n_panels; p++)
				acc_f32x16[r][p] = _mm512_fmadd_ps(a_f32x16, b_f32x16[p], acc_f32x16[r][p]);
		}
	}
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int p = 0; p < n_panels; p++)
			finish_avx512(t, t->c + r * t->c_stride + p * EMB_PANEL,
						  t->bias == NULL ? NULL : t->bias + p * EMB_PANEL, acc_f32x16[r][p]);
	}
}

EMB_TILES_6(EmbGemmTile, tile_avx512, 1)
EMB_TILES_6(EmbGemmTile, tile_avx512, 2)
EMB_TILES_6(EmbGemmTile, tile_avx512, 4)

static EmbGemmTileFn
pick_avx512(int32_t n_rows, int32_t n_panels, int32_t *n_taken)
{
	static const EmbGemmTileFn tiles[3][ROWS_MAX] = {EMB_TILE_NAMES_6(1), EMB_TILE_NAMES_6(2), EMB_TILE_NAMES_6(4)};
	int			log2_panels = n_panels >= 4 ? 2 : n_panels >= 2 ? 1 : 0;

	*n_taken = 1 << log2_panels;
	return tiles[log2_panels][n_rows - 1];
}

void
emb_gemm_f32_avx512(const EmbGemmF32 *g)
{
	emb_gemm_walk(g, ROWS_MAX, pick_avx512);
}

EMB_TARGET_END

#endif
