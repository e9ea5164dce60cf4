/*
 * gemm_grouped_avx512vnni.c
 *		C = act(scaled A B + bias) with scales by groups, AVX-512 VNNI: one zmm is
 *		one group of one panel, as in gemm_i8_avx512vnni.c.
 *
 * A tile is 6 rows by 2 panels: 12 accumulators and 12 chains. Measured on Zen
 * 4, Qwen3-0.6B's products with 96 rows and groups of 128, relative to int8: 4 x 3
 * 0.94, 6 x 2 0.94, 8 x 3 with chains in memory 0.90. With groups of 32 the
 * last is 0.71, because a zmm store takes 2 cycles; the others 0.85.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels/gemm_grouped.h"
#include "kernels/target.h"

#define ROWS_MAX 6
#define PANELS_MAX 2

EMB_TARGET_BEGIN(EMB_TARGET_AVX512VNNI)

#include "kernels/gemm_grouped_zmm.h"

EMB_ALWAYS_INLINE __m512i
broadcast_group(const uint8_t *a)
{
	int32_t		group;

	memcpy(&group, a, sizeof(group));
	return _mm512_set1_epi32(group);
}

/*
 * Barriers: if gcc 12 sees how accumulators start and that they end in memory,
 * it carries a second copy of each through the loop.
 */
EMB_ALWAYS_INLINE __m512i
dot_zmm(__m512i sum, __m512i a_u8x64, __m512i b_i8x64)
{
	sum = _mm512_dpbusd_epi32(sum, a_u8x64, b_i8x64);
	__asm__("" : "+v"(sum));
	return sum;
}

EMB_ALWAYS_INLINE float *
state_of(const EmbTileGrouped *t, int r, int p)
{
	return t->state + r * GROUPED_STATE_STRIDE + p * EMB_PANEL;
}

EMB_ALWAYS_INLINE __m512i
start_zmm(const EmbTileGrouped *t, int r, int p)
{
	__m512i		sum = t->carries_in ? _mm512_load_si512(state_of(t, r, p)) : _mm512_setzero_si512();

	__asm__("" : "+v"(sum));
	return sum;
}

EMB_ALWAYS_INLINE void
store_sums(const EmbTileGrouped *t, __m512i acc_i32x16[ROWS_MAX][PANELS_MAX], const int n_rows, const int n_panels)
{
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int p = 0; p < n_panels; p++)
			_mm512_store_si512(state_of(t, r, p), acc_i32x16[r][p]);
	}
}

EMB_ALWAYS_INLINE void
store_chains(const EmbTileGrouped *t, __m512 chain_f32x16[ROWS_MAX][PANELS_MAX], const int n_rows, const int n_panels)
{
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int p = 0; p < n_panels; p++)
			_mm512_store_ps(state_of(t, r, p), chain_f32x16[r][p]);
	}
}

EMB_ALWAYS_INLINE void
finish_tile(const EmbTileGrouped *t, __m512 chain_f32x16[ROWS_MAX][PANELS_MAX], const bool has_zero, const bool has_bias,
			const int n_rows, const int n_panels)
{
	EMB_UNROLL
	for (int p = 0; p < n_panels; p++)
	{
		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
			_mm512_storeu_ps(t->c + r * t->c_stride + p * EMB_PANEL,
							 finish_zmm(t, r, p, chain_f32x16[r][p], has_zero, has_bias));
	}
}

/* Products of inputs from a, b on until b_end. */
EMB_ALWAYS_INLINE void
multiply_group(const EmbTileGrouped *t, const uint8_t *a, const int8_t *b, const int8_t *b_end, const uint8_t *ahead,
			   size_t ahead_stride, __m512i acc_i32x16[ROWS_MAX][PANELS_MAX], const int n_rows, const int n_panels)
{
	for (; b < b_end; b += EMB_PANEL * EMB_GROUP, a += EMB_GROUP, ahead += t->ahead_step)
	{
		__m512i		b_i8x64[PANELS_MAX];

		EMB_UNROLL
		for (int p = 0; p < n_panels; p++)
		{
			b_i8x64[p] = _mm512_loadu_si512(b + p * t->b_stride);
			_mm_prefetch((const char *) (ahead + p * ahead_stride), _MM_HINT_T1);
		}
		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			__m512i		a_u8x64 = broadcast_group(a + r * t->a_stride);

			EMB_UNROLL
			for (int p = 0; p < n_panels; p++)
				acc_i32x16[r][p] = dot_zmm(acc_i32x16[r][p], a_u8x64, b_i8x64[p]);
		}
	}
}

/* One tile; t is a copy that is known not to change under stores to state. */
EMB_ALWAYS_INLINE void
one_tile(const EmbTileGrouped *t, const int n_rows, const int n_panels)
{
	const uint8_t *a = t->a;
	const int8_t *b = t->b;
	const float *scale = t->b_scale;
	const uint8_t *ahead = t->ahead != NULL ? t->ahead : (const uint8_t *) b;
	const size_t ahead_stride = t->ahead != NULL ? t->ahead_stride : t->b_stride;
	__m512		chain_f32x16[ROWS_MAX][PANELS_MAX];

	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int p = 0; p < n_panels; p++)
			chain_f32x16[r][p] = t->first ? _mm512_setzero_ps() : _mm512_load_ps(state_of(t, r, p));
	}
	for (int32_t left = t->n_groups; left > 0; left -= t->group, scale += EMB_PANEL)
	{
		int32_t		n_groups = left < t->group ? left : t->group;
		__m512i		acc_i32x16[ROWS_MAX][PANELS_MAX];

		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			EMB_UNROLL
			for (int p = 0; p < n_panels; p++)
				acc_i32x16[r][p] = start_zmm(t, r, p);
		}
		multiply_group(t, a, b, b + (size_t) n_groups * EMB_PANEL * EMB_GROUP, ahead, ahead_stride, acc_i32x16, n_rows, n_panels);
		a += n_groups * EMB_GROUP;
		b += (size_t) n_groups * EMB_PANEL * EMB_GROUP;
		ahead += n_groups * t->ahead_step;
		if (t->carries_out)
		{
			store_sums(t, acc_i32x16, n_rows, n_panels);
			return;
		}
		EMB_UNROLL
		for (int p = 0; p < n_panels; p++)
		{
			__m512		scale_f32x16 = _mm512_loadu_ps(scale + p * t->scale_stride);

			EMB_UNROLL
			for (int r = 0; r < n_rows; r++)
				chain_f32x16[r][p] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc_i32x16[r][p]), scale_f32x16, chain_f32x16[r][p]);
		}
	}
	if (!t->last)
		store_chains(t, chain_f32x16, n_rows, n_panels);
	else if (t->a_zero != NULL && t->bias != NULL)
		finish_tile(t, chain_f32x16, true, true, n_rows, n_panels);
	else
		finish_tile(t, chain_f32x16, t->a_zero != NULL, t->bias != NULL, n_rows, n_panels);
}

/* n_rows and n_panels are constants of each instance below. */
EMB_ALWAYS_INLINE void
tile_avx512vnni(const EmbTileGrouped *tile, const int n_rows, const int n_panels)
{
	EmbTileGrouped t = *tile;

	for (int32_t left = tile->n_tiles; left > 0; left--)
	{
		one_tile(&t, n_rows, n_panels);
		grouped_next_tile(&t, n_rows);
	}
}

EMB_TILES_6(EmbTileGrouped, tile_avx512vnni, 1)
EMB_TILES_6(EmbTileGrouped, tile_avx512vnni, 2)

static EmbTileGroupedFn
pick_avx512vnni(int32_t n_rows, int32_t n_panels, int32_t *n_taken)
{
	static const EmbTileGroupedFn tiles[PANELS_MAX][ROWS_MAX] = {
		EMB_TILE_NAMES_6(1), EMB_TILE_NAMES_6(2)
	};

	*n_taken = n_panels < PANELS_MAX ? n_panels : PANELS_MAX;
	return tiles[*n_taken - 1][n_rows - 1];
}

void
emb_gemm_grouped_avx512vnni(const EmbGemmGrouped *g)
{
	static const EmbGroupedLevel four = {
		.rows_max = ROWS_MAX, .panels_max = PANELS_MAX, .loops = true, .spreads_ahead = true, .rooms = 1, .pick = pick_avx512vnni, .widen = widen_zmm, .unpack = unpack_zmm,
		.activate = emb_activate_rows_avx512, .gate = emb_gate_rows_avx512
	};
	static const EmbGroupedLevel eight = {
		.rows_max = ROWS_MAX, .panels_max = PANELS_MAX, .loops = true, .spreads_ahead = true, .pick = pick_avx512vnni, .widen = widen_zmm,
		.activate = emb_activate_rows_avx512, .gate = emb_gate_rows_avx512
	};

	grouped_walk(g, g->bits == 4 ? &four : &eight);
}

EMB_TARGET_END

#endif
