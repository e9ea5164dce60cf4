/*
 * gemm_i8_avx512vnni.c
 *		C = act(scaled A B + bias) in int8, AVX-512 VNNI: one zmm is one group of
 *		one panel, 16 columns of 4 bytes.
 *
 * A tile is R rows by P panels: R P <= 24 accumulators, P registers of B, and
 * 4 bytes of A broadcast from memory for P products. Measured on Zen 4, the
 * four products of a small BERT: 8 x 3 438 GOPS, 6 x 4 436, 12 x 2 432 to 435,
 * 5 x 5 418. 3 panels of K = 384 take 18 KB of the first-level cache, 4 take 24.
 *
 * On an Intel Xeon (family 6 model 167) the tile alone makes 98 % of two products
 * a cycle, but the clock follows the power that is drawn: 4.07 GHz for scalar
 * code, 3.77 for products of registers, 3.68 for this tile in the first-level
 * cache, 3.4 when B comes from the second level or every load is followed by a
 * prefetch, 3.2 to 3.3 for whole products. So nothing is prefetched twice, and a
 * long K is cut.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels/cpu.h"
#include "kernels/gemm_i8.h"
#include "kernels/declare.h"
#include "kernels/target.h"

#ifndef ROWS_MAX
#define ROWS_MAX 8
#define PANELS_MAX 3
#endif

/*
 * Where the first-level cache is large, 3 panels of so many groups, 24 KB, stay in it while all rows
 * pass: K = 1536, 64 rows, +6 % there (96 and 192 groups gain less, 16 rows nothing). With 32 KB K is
 * not cut: Zen 4 reads B from the second level at its full speed, and sums between would cost 4 %.
 */
#define LARGE_L1	(48 * 1024)
#define CUT_GROUPS	128
#define CUT_ROWS_MIN 32

EMB_TARGET_BEGIN(EMB_TARGET_AVX512VNNI)

#include "kernels/gemm_i8_zmm.h"

EMB_ALWAYS_INLINE __m512i
broadcast_group(const uint8_t *a)
{
	int32_t		group;

	memcpy(&group, a, sizeof(group));
	return _mm512_set1_epi32(group);
}

/*
 * Panel by panel, so that a panel's constants are loaded once; linear layers
 * have both bias and zero points, so without branches.
 */
EMB_ALWAYS_INLINE void
finish_tile(const EmbTileI8 *t, __m512i acc_i32x16[ROWS_MAX][PANELS_MAX], const bool has_zero, const bool has_bias,
			const int n_rows, const int n_panels)
{
	EMB_UNROLL
	for (int p = 0; p < n_panels; p++)
	{
		ColumnsZmm	columns = load_columns_zmm(t, p, has_zero, has_bias);

		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
			_mm512_storeu_ps(t->c + r * t->c_stride + p * EMB_PANEL,
							 scale_zmm(t, r, columns, acc_i32x16[r][p], has_zero, has_bias));
	}
}

/* The same for few groups of K, with zero points and bias. */
EMB_ALWAYS_INLINE void
finish_short_tile(const EmbTileI8 *t, __m512i acc_i32x16[ROWS_MAX][PANELS_MAX], const int n_rows, const int n_panels)
{
	float		zeros[8];

	_mm256_storeu_ps(zeros, _mm256_cvtepi32_ps(_mm256_maskz_loadu_epi32((__mmask8) ((1 << n_rows) - 1), t->a_zero)));
	EMB_UNROLL
	for (int p = 0; p < n_panels; p++)
	{
		ColumnsZmm	columns = load_columns_zmm(t, p, true, true);
		__m512		sums_f32x16 = _mm512_cvtepi32_ps(columns.sums);

		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
			_mm512_storeu_ps(t->c + r * t->c_stride + p * EMB_PANEL,
							 scale_short_zmm(t, r, columns, sums_f32x16, zeros, acc_i32x16[r][p]));
	}
}

/* Between C, which holds int32 sums while K is unfinished, and the accumulators. */
EMB_ALWAYS_INLINE void
copy_sums(const EmbTileI8 *t, __m512i acc_i32x16[ROWS_MAX][PANELS_MAX], const bool loads, const int n_rows, const int n_panels)
{
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int p = 0; p < n_panels; p++)
		{
			float	   *c = t->c + r * t->c_stride + p * EMB_PANEL;

			if (loads)
				acc_i32x16[r][p] = _mm512_loadu_si512(c);
			else
				_mm512_storeu_si512(c, acc_i32x16[r][p]);
		}
	}
}

/* n_rows and n_panels are constants of each instance below. */
EMB_ALWAYS_INLINE void
tile_avx512vnni(const EmbTileI8 *t, const int n_rows, const int n_panels)
{
	__m512i		acc_i32x16[ROWS_MAX][PANELS_MAX];
	const uint8_t *a = t->a;
	const int8_t *b = t->b;
	const int8_t *b_end = b + (size_t) t->n_groups * EMB_PANEL * EMB_GROUP;
	const int8_t *ahead = t->ahead;

	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int p = 0; p < n_panels; p++)
			acc_i32x16[r][p] = _mm512_setzero_si512();
	}
	if (t->resumes)
		copy_sums(t, acc_i32x16, true, n_rows, n_panels);
	while (b < b_end)
	{
		const int8_t *stretch_end = emb_gemm_i8_stretch_end(t, b, b_end);

		for (; b < stretch_end; b += EMB_PANEL * EMB_GROUP, a += EMB_GROUP)
		{
			__m512i		b_i8x64[PANELS_MAX];

			EMB_UNROLL
			for (int p = 0; p < n_panels; p++)
				b_i8x64[p] = _mm512_loadu_si512(b + p * t->b_stride);
			EMB_UNROLL
			for (int r = 0; r < n_rows; r++)
			{
				__m512i		a_u8x64 = broadcast_group(a + r * t->a_stride);

				EMB_UNROLL
				for (int p = 0; p < n_panels; p++)
					acc_i32x16[r][p] = _mm512_dpbusd_epi32(acc_i32x16[r][p], a_u8x64, b_i8x64[p]);
			}
		}
		for (int32_t i = 0; i < t->n_ahead; i++, ahead += EMB_PANEL * EMB_GROUP)
		{
			EMB_UNROLL
			for (int p = 0; p < n_panels; p++)
				_mm_prefetch((const char *) (ahead + p * t->b_stride), _MM_HINT_T1);
		}
	}
	if (t->unfinished)
		copy_sums(t, acc_i32x16, false, n_rows, n_panels);
	else if (t->a_zero != NULL && t->bias != NULL && t->b_stride <= SHORT_GROUPS * EMB_PANEL * EMB_GROUP)
		finish_short_tile(t, acc_i32x16, n_rows, n_panels);
	else if (t->a_zero != NULL && t->bias != NULL)
		finish_tile(t, acc_i32x16, true, true, n_rows, n_panels);
	else
		finish_tile(t, acc_i32x16, t->a_zero != NULL, t->bias != NULL, n_rows, n_panels);
}

EMB_TILES_8(EmbTileI8, tile_avx512vnni, 1)
EMB_TILES_8(EmbTileI8, tile_avx512vnni, 2)
EMB_TILES_8(EmbTileI8, tile_avx512vnni, 3)

static EmbTileI8Fn
pick_avx512vnni(int32_t n_rows, int32_t n_panels, int32_t *n_taken)
{
	static const EmbTileI8Fn tiles[PANELS_MAX][ROWS_MAX] = {
		EMB_TILE_NAMES_8(1), EMB_TILE_NAMES_8(2), EMB_TILE_NAMES_8(3)
	};

	*n_taken = n_panels < PANELS_MAX ? n_panels : PANELS_MAX;
	return tiles[*n_taken - 1][n_rows - 1];
}

void
emb_gemm_i8_avx512vnni(const EmbGemmI8 *g)
{
	bool		cuts = g->n_rows >= CUT_ROWS_MIN && emb_cpu_l1_bytes() >= LARGE_L1;
	const EmbGemmI8Level level = {
		.rows_max = ROWS_MAX, .panels_max = PANELS_MAX, .groups_max = cuts ? CUT_GROUPS : g->n_groups, .pick = pick_avx512vnni,
		.activate = emb_activate_rows_avx512, .gate = emb_gate_rows_avx512
	};

	emb_gemm_i8_walk(g, &level);
}

EMB_TARGET_END

#endif
