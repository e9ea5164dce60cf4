/*
 * gemm_grouped_avx2.c
 *		C = act(scaled A B + bias) with scales by groups, AVX2: one ymm is one
 *		group of half a panel, 8 columns of 4 bytes.
 *
 * Codes of 4 bits minus zeros are within -15 .. 15, so vpmaddubsw never
 * saturates: two products are at most 7,650, and four such sums (16 inputs) fit 16
 * bits. So they need fewer instructions than codes of 8 bits, which are widened to
 * 16 bits for vpmaddwd, even and odd bytes apart, as in gemm_i8_avx2.c.
 *
 * 16 registers: 4 rows of one panel take 8 accumulators; half a panel of 16
 * inputs takes 4, and so do the even and odd bytes of 4 inputs.
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

/* Codes of 8 bits: even bytes of their columns go to a panel's first room, odd bytes to its second. */
static void
widen_ymm(const uint8_t *packed, int32_t n_groups, int32_t group, const uint8_t *zeros, EmbGroupedPanel *panel)
{
	(void) group;
	(void) zeros;
	for (int32_t i = 0; i < n_groups; i++, packed += EMB_PANEL * EMB_GROUP)
	{
		EMB_UNROLL
		for (int h = 0; h < 2; h++)
		{
			__m256i		codes = _mm256_loadu_si256((const __m256i *) (packed + h * 32));

			_mm256_store_si256((__m256i *) panel[0].b[i][h * 8], _mm256_srai_epi16(_mm256_slli_epi16(codes, 8), 8));
			_mm256_store_si256((__m256i *) panel[1].b[i][h * 8], _mm256_srai_epi16(codes, 8));
		}
	}
}

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

/* Adds the products of 16 inputs, with codes of 4 bits minus zeros. */
EMB_ALWAYS_INLINE void
multiply_narrow(const EmbTileGrouped *t, const uint8_t *a, const int8_t (*b)[EMB_PANEL][EMB_GROUP], __m256i acc_i32x8[ROWS_MAX][2],
				const int n_rows)
{
	EMB_UNROLL
	for (int h = 0; h < 2; h++)
	{
		__m256i		b_i8x32[STEP_GROUPS];

		EMB_UNROLL
		for (int k = 0; k < STEP_GROUPS; k++)
			b_i8x32[k] = _mm256_load_si256((const __m256i *) b[k][h * 8]);
		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
			acc_i32x8[r][h] = _mm256_add_epi32(acc_i32x8[r][h], dot_step(a + r * t->a_stride, b_i8x32));
	}
}

/* Barrier: a compiler that adds all products before it adds them to the sums runs out of registers. */
EMB_ALWAYS_INLINE __m256i
add_products(__m256i sum, __m256i a_i16x16, __m256i b_i16x16)
{
	sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a_i16x16, b_i16x16));
	__asm__("" : "+x"(sum));
	return sum;
}

/* The same with widened codes of 8 bits. */
EMB_ALWAYS_INLINE void
multiply_wide(const EmbTileGrouped *t, const uint8_t *a, const int8_t (*b)[EMB_PANEL][EMB_GROUP], __m256i acc_i32x8[ROWS_MAX][2],
			  const int n_rows)
{
	const int8_t (*odd)[EMB_PANEL][EMB_GROUP] = (const void *) ((const char *) b + sizeof(EmbGroupedPanel));

	EMB_UNROLL
	for (int k = 0; k < STEP_GROUPS; k++)
	{
		__m256i		even_i16x16[2] = {
			_mm256_load_si256((const __m256i *) b[k][0]), _mm256_load_si256((const __m256i *) b[k][8])
		};
		__m256i		odd_i16x16[2] = {
			_mm256_load_si256((const __m256i *) odd[k][0]), _mm256_load_si256((const __m256i *) odd[k][8])
		};

		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			__m256i		group = broadcast_group(a + r * t->a_stride + k * EMB_GROUP);
			__m256i		a_even = _mm256_and_si256(group, _mm256_set1_epi16(0xFF));
			__m256i		a_odd = _mm256_srli_epi16(group, 8);

			EMB_UNROLL
			for (int h = 0; h < 2; h++)
			{
				acc_i32x8[r][h] = add_products(acc_i32x8[r][h], a_even, even_i16x16[h]);
				acc_i32x8[r][h] = add_products(acc_i32x8[r][h], a_odd, odd_i16x16[h]);
			}
		}
	}
}

/* n_rows and bits are constants of each instance below. A tile has one panel. */
EMB_ALWAYS_INLINE void
one_tile(const EmbTileGrouped *t, const int n_rows, const int bits)
{
	const uint8_t *a = t->a;
	const int8_t (*b)[EMB_PANEL][EMB_GROUP] = (const void *) t->b;
	const uint8_t *ahead = t->ahead != NULL ? t->ahead : (const uint8_t *) b;
	const float *scale = t->b_scale;
	bool		starts = t->first;

	for (int32_t left = t->n_groups; left > 0; left -= t->group, scale += EMB_PANEL)
	{
		int32_t		n_groups = left < t->group ? left : t->group;
		__m256i		acc_i32x8[ROWS_MAX][2];

		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			acc_i32x8[r][0] = start_ymm(t, r, 0);
			acc_i32x8[r][1] = start_ymm(t, r, 1);
		}
		for (int32_t i = 0; i < n_groups; i += STEP_GROUPS)
		{
			EMB_UNROLL
			for (int k = 0; k < 32 * bits; k += 64)
				_mm_prefetch((const char *) (ahead + k), _MM_HINT_T1);
			if (bits == 4)
				multiply_narrow(t, a, b, acc_i32x8, n_rows);
			else
				multiply_wide(t, a, b, acc_i32x8, n_rows);
			a += STEP_GROUPS * EMB_GROUP;
			b += STEP_GROUPS;
			ahead += 32 * bits;
		}
		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			end_ymm(t, r, 0, acc_i32x8[r][0], scale, starts, t->last && left <= t->group);
			end_ymm(t, r, 1, acc_i32x8[r][1], scale, starts, t->last && left <= t->group);
		}
		starts = false;
	}
}

EMB_ALWAYS_INLINE void
tile_avx2(const EmbTileGrouped *tile, const int n_rows, const int bits)
{
	EmbTileGrouped t = *tile;	/* known not to change under stores */

	for (int32_t left = tile->n_tiles; left > 0; left--)
	{
		one_tile(&t, n_rows, bits);
		grouped_next_tile(&t, n_rows);
	}
}

/* tile_1x4 .. tile_4x8: rows by bits */
EMB_TILES_4(EmbTileGrouped, tile_avx2, 4)
EMB_TILES_4(EmbTileGrouped, tile_avx2, 8)

static EmbTileGroupedFn
pick_narrow(int32_t n_rows, int32_t n_panels, int32_t *n_taken)
{
	static const EmbTileGroupedFn tiles[] = EMB_TILE_NAMES_4(4);

	(void) n_panels;
	*n_taken = 1;
	return tiles[n_rows - 1];
}

static EmbTileGroupedFn
pick_wide(int32_t n_rows, int32_t n_panels, int32_t *n_taken)
{
	static const EmbTileGroupedFn tiles[] = EMB_TILE_NAMES_4(8);

	(void) n_panels;
	*n_taken = 1;
	return tiles[n_rows - 1];
}

void
emb_gemm_grouped_avx2(const EmbGemmGrouped *g)
{
	static const EmbGroupedLevel four = {
		.rows_max = ROWS_MAX, .panels_max = 2, .loops = true, .rooms = 1, .pick = pick_narrow, .widen = widen_scales_ymm, .unpack = unpack_ymm,
		.activate = emb_activate_rows_avx2, .gate = emb_gate_rows_avx2
	};
	static const EmbGroupedLevel eight = {
		.rows_max = ROWS_MAX, .panels_max = 2, .loops = true, .rooms = 2, .pick = pick_wide, .widen = widen_scales_ymm, .unpack = widen_ymm,
		.activate = emb_activate_rows_avx2, .gate = emb_gate_rows_avx2
	};

	grouped_walk(g, g->bits == 4 ? &four : &eight);
}

EMB_TARGET_END

#endif
