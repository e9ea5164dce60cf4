/*
 * gemm_i8_avx2.c
 *		C = act(scaled A B + bias) in int8, AVX2, exact: vpmaddubsw saturates, so
 *		bytes become 16-bit numbers for vpmaddwd.
 *
 * A ymm of B is 8 columns of 4 bytes b0 b1 b2 b3. As 16-bit lanes its even
 * bytes (shifted up, then down with the sign) are b0 b2 of each column and its
 * odd bytes (shifted down) b1 b3, so both products add up to the 8 columns'
 * sums without a shuffle. The even and odd bytes of A are parted once per tile
 * of rows and call of the walk below, for all panels of a block.
 *
 * 16 registers: 6 rows of one panel take 12 accumulators, the even (or odd)
 * bytes of 2 halves of B, one broadcast and one product.
 *
 * Zen 4 does 2 vpmaddwd a cycle, or 4 instructions, but where every vpaddd waits
 * for a vpmaddwd 0.80 to 0.83 of that, whatever the tile, the order and the loads
 * (some 60 loops measured): 188 GOPS, of which this reaches 165 to 171. B widened
 * beforehand would give 2 % more. Bytes of A or B split so that vpmaddubsw cannot
 * saturate take as many multiplications and more additions.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels/gemm_i8.h"
#include "kernels/registry.h"
#include "kernels/target.h"

#define ROWS_MAX 6

/* Groups of A that are parted at a time: 6 rows of them, 24 KB, stay in the first-level cache. */
#define BLOCK_GROUPS 512

/* Bytes of B that rows pass by before the next are read: within a second-level cache. */
#define BLOCK_BYTES (192 * 1024)

#define PANELS_AHEAD 2

/* Even and odd bytes of the rows of a tile, as pairs of 16-bit numbers; rows not 2 KB apart, which would share cache sets. */
typedef struct PartedRows
{
	uint32_t	even[ROWS_MAX][BLOCK_GROUPS + 16];
	uint32_t	odd[ROWS_MAX][BLOCK_GROUPS + 16];
} PartedRows;

EMB_TARGET_BEGIN(EMB_TARGET_AVX2)

#include "kernels/gemm_i8_ymm.h"

static void
part_rows(const uint8_t *a, size_t a_stride, int32_t n_rows, int32_t n_groups, PartedRows *parted)
{
	const __m256i low_bytes = _mm256_set1_epi16(0xFF);

	for (int32_t r = 0; r < n_rows; r++, a += a_stride)
	{
		int32_t		i = 0;

		for (; i + 8 <= n_groups; i += 8)
		{
			__m256i		groups = _mm256_loadu_si256((const __m256i *) (a + (size_t) i * EMB_GROUP));

			_mm256_storeu_si256((__m256i *) &parted->even[r][i], _mm256_and_si256(groups, low_bytes));
			_mm256_storeu_si256((__m256i *) &parted->odd[r][i], _mm256_srli_epi16(groups, 8));
		}
		for (; i < n_groups; i++)
		{
			uint32_t	group;

			memcpy(&group, a + (size_t) i * EMB_GROUP, sizeof(group));
			parted->even[r][i] = group & 0x00FF00FF;
			parted->odd[r][i] = group >> 8 & 0x00FF00FF;
		}
	}
}

/* 16-bit numbers of the even or odd bytes. */
EMB_ALWAYS_INLINE __m256i
part_columns(const int8_t *b, const bool odd)
{
	__m256i		b_i16x16 = _mm256_loadu_si256((const __m256i *) b);

	return _mm256_srai_epi16(odd ? b_i16x16 : _mm256_slli_epi16(b_i16x16, 8), 8);
}

/*
 * acc_0 += a b_0, acc_1 += a b_1. In assembly for its order, both products
 * before both sums (5 % faster than in turn), and because gcc otherwise adds
 * products of several steps first, for which there are no registers (132 GOPS).
 */
EMB_ALWAYS_INLINE void
multiply_add(__m256i *acc_0, __m256i *acc_1, const uint32_t *a, __m256i b_0, __m256i b_1)
{
	__m256i		product_0,
				product_1;

	__asm__("vpbroadcastd %[a], %[p1]\n\t"
			"vpmaddwd %[b0], %[p1], %[p0]\n\t"
			"vpmaddwd %[b1], %[p1], %[p1]\n\t"
			"vpaddd %[p0], %[c0], %[c0]\n\t"
			"vpaddd %[p1], %[c1], %[c1]"
			: [c0] "+x" (*acc_0), [c1] "+x" (*acc_1), [p0] "=&x" (product_0), [p1] "=&x" (product_1)
			: [a] "m" (*a), [b0] "x" (b_0), [b1] "x" (b_1));
}

/* acc += the products of one parity of group i. */
EMB_ALWAYS_INLINE void
multiply_parity(__m256i acc_i32x8[ROWS_MAX][2], const uint32_t a[ROWS_MAX][BLOCK_GROUPS + 16], int32_t i, const int8_t *b,
				const bool odd, const int n_rows)
{
	__m256i		b0_i16x16 = part_columns(b, odd);
	__m256i		b1_i16x16 = part_columns(b + 32, odd);

	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
		multiply_add(&acc_i32x8[r][0], &acc_i32x8[r][1], &a[r][i], b0_i16x16, b1_i16x16);
}

/*
 * n_rows is a constant of each instance below. C holds int32 sums between
 * blocks of K: first starts them, last turns them into the result.
 */
EMB_ALWAYS_INLINE void
tile_avx2(const EmbTileI8 *t, const PartedRows *parted, bool first, bool last, const int n_rows)
{
	__m256i		acc_i32x8[ROWS_MAX][2];
	const int8_t *b = t->b;

	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int h = 0; h < 2; h++)
			acc_i32x8[r][h] = first ? _mm256_setzero_si256() :
				_mm256_loadu_si256((const __m256i *) (t->c + r * t->c_stride + h * 8));
	}
	for (int32_t i = 0; i < t->n_groups; i++, b += EMB_PANEL * EMB_GROUP)
	{
		_mm_prefetch((const char *) (b + t->b_ahead), _MM_HINT_T1);
		multiply_parity(acc_i32x8, parted->even, i, b, false, n_rows);
		multiply_parity(acc_i32x8, parted->odd, i, b, true, n_rows);
	}
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int h = 0; h < 2; h++)
		{
			if (last)
				finish_ymm(t, r, h, acc_i32x8[r][h]);
			else
				_mm256_storeu_si256((__m256i *) (t->c + r * t->c_stride + h * 8), acc_i32x8[r][h]);
		}
	}
}

typedef void (*TileFn) (const EmbTileI8 *t, const PartedRows *parted, bool first, bool last);

#define TILE(rows) \
static void \
tile_##rows(const EmbTileI8 *t, const PartedRows *parted, bool first, bool last) \
{ \
	tile_avx2(t, parted, first, last, rows); \
}

TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6)

/* A tile of rows by all panels of a block. Under the first n_ahead of them, panels further on are fetched. */
static void
block_avx2(const EmbGemmI8 *g, EmbTileI8 t, int32_t n_rows, int32_t n_panels, int32_t n_ahead)
{
	static const TileFn tiles[ROWS_MAX] = {tile_1, tile_2, tile_3, tile_4, tile_5, tile_6};
	PartedRows	parted;

	for (int32_t k0 = 0; k0 < g->n_groups; k0 += BLOCK_GROUPS)
	{
		EmbTileI8	part = t;

		part.n_groups = g->n_groups - k0 < BLOCK_GROUPS ? g->n_groups - k0 : BLOCK_GROUPS;
		part.b += (size_t) k0 * EMB_PANEL * EMB_GROUP;
		part_rows(t.a + (size_t) k0 * EMB_GROUP, t.a_stride, n_rows, part.n_groups, &parted);
		for (int32_t p = 0; p < n_panels; p++)
		{
			part.b_ahead = p < n_ahead ? PANELS_AHEAD * part.b_stride : 0;
			tiles[n_rows - 1] (&part, &parted, k0 == 0, k0 + part.n_groups == g->n_groups);
			emb_gemm_i8_next_panels(&part, 1);
		}
	}
	emb_gemm_i8_activate(&t, emb_activate_rows_avx2, n_rows, n_panels);
}

void
emb_gemm_i8_avx2(const EmbGemmI8 *g)
{
	EmbTileI8	group = emb_gemm_i8_first_tile(g);
	int32_t		n_tiles = (g->n_rows - 1) / ROWS_MAX + 1;
	int32_t		panels_max = (int32_t) (BLOCK_BYTES / group.b_stride) + 1;

	for (int32_t p = 0; p < g->n_panels; p += panels_max)
	{
		int32_t		n_panels = g->n_panels - p < panels_max ? g->n_panels - p : panels_max;
		EmbTileI8	t = group;

		for (int32_t i = 0; i < n_tiles; i++)
		{
			int32_t		n_rows = emb_gemm_i8_tile_rows(g->n_rows, n_tiles, i);

			block_avx2(g, t, n_rows, n_panels, i == 0 ? g->n_panels - p - PANELS_AHEAD : 0);
			emb_gemm_i8_next_rows(&t, n_rows);
		}
		emb_gemm_i8_next_panels(&group, n_panels);
	}
}

EMB_TARGET_END

#endif
