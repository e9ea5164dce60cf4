/*
 * gemm_i8_avx2.c
 *		C = act(scaled A B + bias) in int8, AVX2, exact: vpmaddubsw saturates, so
 *		bytes become 16-bit numbers for vpmaddwd.
 *
 * A ymm of B is 8 columns of 4 bytes b0 b1 b2 b3. As 16-bit lanes its even
 * bytes (shifted up, then down with the sign) are b0 b2 of each column and its
 * odd bytes (shifted down) b1 b3; likewise a row's a0 a2 and a1 a3. Products
 * of even with even and odd with odd add up to the columns' sums without a
 * shuffle.
 *
 * Half of these multiplications are saved by an identity (Winograd 1968, "A New
 * Algorithm for Inner Product", IEEE Trans. Comput. C-17, 693-694):
 *
 *		(a0 + b1) (a1 + b0) = a0 b0 + a1 b1 + a0 a1 + b0 b1
 *
 * where a0 a1 depends on the row alone and b0 b1 on the column alone: their sums
 * are subtracted where the accumulators start. Sums modulo 2^32 are exact
 * because the result fits (kernels.h). a + b lies within -127 .. 382, two
 * products of them within 18 bits and a sign.
 *
 * It takes as many instructions, but additions, which every unit does. Zen 4
 * does 4 a cycle, 2 of them vpmaddwd: plain products reach 188 GOPS alone, in
 * any tile and order of some 60 tried, where the units' limit is 237; these 218.
 *
 * 16 registers: 4 rows of one panel take 8 accumulators, the even and odd bytes
 * of 2 halves of B 4, those of A 2, the sums 2. B is widened once per panel and
 * block of rows, into the first-level cache (4 % of the time at 128 rows, 14 %
 * at 16), A once per block.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels/gemm_i8.h"
#include "kernels/declare.h"
#include "kernels/target.h"

#define TILE_ROWS 4

/* Too few rows to widen B for: they use plain products directly. */
#define FEW_ROWS 2

/* Rows and groups that are widened at a time. */
#define BLOCK_ROWS 128
#define BLOCK_GROUPS 128

/* Pairs of 16-bit numbers: 128 KB of A in the second-level cache, 16 KB of a panel of B in the first. */
typedef struct WideBlock
{
	int16_t		b[BLOCK_GROUPS][4][16]; /* even bytes of columns 0 .. 7, of 8 .. 15, then odd bytes */
	uint32_t	a[BLOCK_ROWS][BLOCK_GROUPS][2];	/* even, odd bytes */
	int32_t		a_products[BLOCK_ROWS];	/* sums of a0 a1 of each row */
	int32_t		b_products[EMB_PANEL];	/* sums of b0 b1 of each column */
} WideBlock;

EMB_TARGET_BEGIN(EMB_TARGET_AVX2)

#include "kernels/gemm_i8_ymm.h"

/* ------------------------------------------------------------- widening */

/* Returns the sum of products of neighbours. */
static int32_t
widen_row(const uint8_t *a, int32_t n_groups, uint32_t wide[BLOCK_GROUPS][2])
{
	const __m256i low_bytes = _mm256_set1_epi16(0xFF);
	__m256i		sums = _mm256_setzero_si256();
	int32_t		products[8];
	int32_t		i = 0;

	for (; i + 8 <= n_groups; i += 8)
	{
		__m256i		groups = _mm256_loadu_si256((const __m256i *) (a + (size_t) i * EMB_GROUP));
		__m256i		even = _mm256_and_si256(groups, low_bytes);
		__m256i		odd = _mm256_srli_epi16(groups, 8);
		__m256i		lo = _mm256_unpacklo_epi32(even, odd);	/* groups 0 1, 4 5 */
		__m256i		hi = _mm256_unpackhi_epi32(even, odd);	/* groups 2 3, 6 7 */

		_mm256_storeu_si256((__m256i *) wide[i], _mm256_permute2x128_si256(lo, hi, 0x20));
		_mm256_storeu_si256((__m256i *) wide[i + 4], _mm256_permute2x128_si256(lo, hi, 0x31));
		sums = _mm256_add_epi32(sums, _mm256_madd_epi16(even, odd));
	}
	_mm256_storeu_si256((__m256i *) products, sums);
	for (; i < n_groups; i++)
	{
		const uint8_t *group = a + (size_t) i * EMB_GROUP;

		wide[i][0] = group[0] | (uint32_t) group[2] << 16;
		wide[i][1] = group[1] | (uint32_t) group[3] << 16;
		products[0] += group[0] * group[1] + group[2] * group[3];
	}
	for (int k = 1; k < 8; k++)
		products[0] += products[k];
	return products[0];
}

static void
widen_panel(const int8_t *b, int32_t n_groups, WideBlock *block)
{
	__m256i		sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};

	for (int32_t i = 0; i < n_groups; i++, b += EMB_PANEL * EMB_GROUP)
	{
		EMB_UNROLL
		for (int h = 0; h < 2; h++)
		{
			__m256i		bytes = _mm256_loadu_si256((const __m256i *) (b + h * 32));
			__m256i		even = _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8);
			__m256i		odd = _mm256_srai_epi16(bytes, 8);

			_mm256_storeu_si256((__m256i *) block->b[i][h], even);
			_mm256_storeu_si256((__m256i *) block->b[i][2 + h], odd);
			sums[h] = _mm256_add_epi32(sums[h], _mm256_madd_epi16(even, odd));
		}
	}
	_mm256_storeu_si256((__m256i *) block->b_products, sums[0]);
	_mm256_storeu_si256((__m256i *) (block->b_products + 8), sums[1]);
}

/* ----------------------------------------------------------------- tiles */

/* Even bytes of columns 0 .. 7, of 8 .. 15, odd bytes. */
typedef struct WideGroup
{
	__m256i		even[2],
				odd[2];
} WideGroup;

/*
 * acc_h += (a_even + b_odd) (a_odd + b_even) for both halves. In assembly for
 * its order, with both halves in parallel (2 % faster than one after the
 * other), and because a compiler that adds products first runs out of
 * registers.
 */
EMB_ALWAYS_INLINE void
multiply_add(__m256i acc[2], const uint32_t a[2], const WideGroup *b)
{
	__m256i		x,
				y,
				u,
				v;

	__asm__("vpbroadcastd %[a_even], %[x]\n\t"
			"vpbroadcastd %[a_odd], %[y]\n\t"
			"vpaddw %[odd0], %[x], %[u]\n\t"
			"vpaddw %[even0], %[y], %[v]\n\t"
			"vpaddw %[odd1], %[x], %[x]\n\t"
			"vpaddw %[even1], %[y], %[y]\n\t"
			"vpmaddwd %[u], %[v], %[u]\n\t"
			"vpmaddwd %[x], %[y], %[x]\n\t"
			"vpaddd %[u], %[acc0], %[acc0]\n\t"
			"vpaddd %[x], %[acc1], %[acc1]"
			: [acc0] "+x" (acc[0]), [acc1] "+x" (acc[1]), [x] "=&x" (x), [y] "=&x" (y), [u] "=&x" (u), [v] "=&x" (v)
			: [a_even] "m" (a[0]), [a_odd] "m" (a[1]),
			[even0] "x" (b->even[0]), [even1] "x" (b->even[1]), [odd0] "x" (b->odd[0]), [odd1] "x" (b->odd[1]));
}

/* The start value of a row's accumulators. C holds int32 sums between blocks of K. */
EMB_ALWAYS_INLINE __m256i
start_ymm(const EmbTileI8 *t, const WideBlock *block, int32_t row, int r, int h, bool first)
{
	__m256i		b_products = _mm256_loadu_si256((const __m256i *) (block->b_products + h * 8));
	__m256i		products = _mm256_add_epi32(b_products, _mm256_set1_epi32(block->a_products[row + r]));
	__m256i		before = first ? _mm256_setzero_si256() :
		_mm256_loadu_si256((const __m256i *) (t->c + r * t->c_stride + h * 8));

	return _mm256_sub_epi32(before, products);
}

/*
 * n_rows is a constant of each instance below. first starts the sums of C,
 * last converts them to the result. Each group also prefetches ahead_step
 * bytes.
 */
EMB_ALWAYS_INLINE void
tile_avx2(const EmbTileI8 *t, const WideBlock *block, int32_t row, size_t ahead_step,
		  bool first, bool last, const int n_rows)
{
	__m256i		acc_i32x8[TILE_ROWS][2];
	const uint32_t (*a)[2] = block->a[row];
	const int8_t *ahead = t->b + t->b_ahead;
	const EmbTileI8 tile = *t;	/* known not to change under stores to C */

	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		acc_i32x8[r][0] = start_ymm(t, block, row, r, 0, first);
		acc_i32x8[r][1] = start_ymm(t, block, row, r, 1, first);
	}
	for (int32_t i = 0; i < t->n_groups; i++, a++, ahead += ahead_step)
	{
		const int16_t (*b)[16] = block->b[i];
		WideGroup	wide = {
			.even = {_mm256_loadu_si256((const __m256i *) b[0]), _mm256_loadu_si256((const __m256i *) b[1])},
			.odd = {_mm256_loadu_si256((const __m256i *) b[2]), _mm256_loadu_si256((const __m256i *) b[3])}
		};

		_mm_prefetch((const char *) ahead, _MM_HINT_T0);
		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
			multiply_add(acc_i32x8[r], a[r * BLOCK_GROUPS], &wide);
	}
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int h = 0; h < 2; h++)
		{
			if (last)
				finish_ymm(&tile, r, h, acc_i32x8[r][h]);
			else
				_mm256_storeu_si256((__m256i *) (t->c + r * t->c_stride + h * 8), acc_i32x8[r][h]);
		}
	}
}

typedef void (*TileFn) (const EmbTileI8 *t, const WideBlock *block, int32_t row, size_t ahead_step, bool first, bool last);

#define TILE(rows) \
static void \
tile_##rows(const EmbTileI8 *t, const WideBlock *block, int32_t row, size_t ahead_step, bool first, bool last) \
{ \
	tile_avx2(t, block, row, ahead_step, first, last, rows); \
}

TILE(1) TILE(2) TILE(3) TILE(4)

/*
 * All rows of a block by one panel. Each tile also prefetches a part of the
 * panel b_ahead bytes further on.
 */
static void
panel_avx2(EmbTileI8 t, WideBlock *block, int32_t n_rows, bool first, bool last, bool gated)
{
	static const TileFn tiles[TILE_ROWS] = {tile_1, tile_2, tile_3, tile_4};
	EmbTileI8	panel = t;
	int32_t		n_tiles = (n_rows - 1) / TILE_ROWS + 1;
	size_t		ahead_step = (EMB_PANEL * EMB_GROUP + n_tiles - 1) / n_tiles;
	int32_t		row = 0;

	widen_panel(t.b, t.n_groups, block);
	for (int32_t i = 0; i < n_tiles; i++)
	{
		int32_t		n_tile_rows = emb_gemm_tile_rows(n_rows, n_tiles, i);

		tiles[n_tile_rows - 1] (&t, block, row, ahead_step, first, last);
		emb_gemm_i8_next_rows(&t, n_tile_rows);
		t.b_ahead += ahead_step * t.n_groups;
		row += n_tile_rows;
	}
	if (last && !gated)
		emb_gemm_i8_activate(&panel, emb_activate_rows_avx2, n_rows, 1);
}

/* Panels 2 pair and 2 pair + 1 of C to panel pair, whose columns are not needed any more. */
static void
gate_pair(const EmbTileI8 *rows, int32_t pair, int32_t n_rows)
{
	size_t		column = (size_t) pair * EMB_PANEL;

	emb_gate_rows_avx2(rows->act, rows->c + 2 * column, rows->c_stride, n_rows, 1,
					   rows->factor != NULL ? rows->factor + column : NULL, rows->range, rows->c + column, rows->c_stride);
}

/* Up to BLOCK_ROWS rows by all panels. */
static void
block_avx2(const EmbGemmI8 *g, const EmbTileI8 *rows, int32_t n_rows)
{
	WideBlock	block;

	for (int32_t k0 = 0; k0 < g->n_groups; k0 += BLOCK_GROUPS)
	{
		EmbTileI8	t = *rows;

		/* C holds all panels until they are gated */
		if (g->gated)
			t.factor = NULL;
		t.gated = false;
		t.n_groups = g->n_groups - k0 < BLOCK_GROUPS ? g->n_groups - k0 : BLOCK_GROUPS;
		t.b += (size_t) k0 * EMB_PANEL * EMB_GROUP;
		for (int32_t r = 0; r < n_rows; r++)
			block.a_products[r] = widen_row(t.a + r * t.a_stride + (size_t) k0 * EMB_GROUP, t.n_groups, block.a[r]);
		for (int32_t p = 0; p < g->n_panels; p++)
		{
			bool		last = k0 + t.n_groups == g->n_groups;

			t.b_ahead = p + 1 < g->n_panels ? t.b_stride : 0;
			panel_avx2(t, &block, n_rows, k0 == 0, last, g->gated);
			if (last && g->gated && p % 2 != 0)
				gate_pair(rows, p / 2, n_rows);
			emb_gemm_i8_next_panels(&t, 1);
		}
	}
}

/* -------------------------------------------------------------- few rows */

EMB_ALWAYS_INLINE void
few_avx2(const EmbTileI8 *t, const int n_rows)
{
	const __m256i low_bytes = _mm256_set1_epi16(0xFF);
	__m256i		acc_i32x8[FEW_ROWS][2][2];	/* of even and of odd bytes */
	const int8_t *b = t->b;
	size_t		b_ahead = t->n_ahead > 0 ? t->ahead - b : 0;	/* the only tile of rows prefetches all of the next panel */

	memset(acc_i32x8, 0, sizeof(acc_i32x8));
	for (int32_t i = 0; i < t->n_groups; i++, b += EMB_PANEL * EMB_GROUP)
	{
		_mm_prefetch((const char *) (b + b_ahead), _MM_HINT_T1);
		EMB_UNROLL
		for (int h = 0; h < 2; h++)
		{
			__m256i		bytes = _mm256_loadu_si256((const __m256i *) (b + h * 32));
			__m256i		b_even = _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8);
			__m256i		b_odd = _mm256_srai_epi16(bytes, 8);

			EMB_UNROLL
			for (int r = 0; r < n_rows; r++)
			{
				__m256i		group = broadcast_group(t->a + r * t->a_stride + (size_t) i * EMB_GROUP);
				__m256i		even = _mm256_madd_epi16(_mm256_and_si256(group, low_bytes), b_even);
				__m256i		odd = _mm256_madd_epi16(_mm256_srli_epi16(group, 8), b_odd);

				acc_i32x8[r][h][0] = _mm256_add_epi32(acc_i32x8[r][h][0], even);
				acc_i32x8[r][h][1] = _mm256_add_epi32(acc_i32x8[r][h][1], odd);
			}
		}
	}
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int h = 0; h < 2; h++)
			finish_ymm(t, r, h, _mm256_add_epi32(acc_i32x8[r][h][0], acc_i32x8[r][h][1]));
	}
}

static void
few_1(const EmbTileI8 *t)
{
	few_avx2(t, 1);
}

static void
few_2(const EmbTileI8 *t)
{
	few_avx2(t, 2);
}

static EmbTileI8Fn
pick_few(int32_t n_rows, int32_t n_panels, int32_t *n_taken)
{
	(void) n_panels;
	*n_taken = 1;
	return n_rows == 1 ? few_1 : few_2;
}

void
emb_gemm_i8_avx2(const EmbGemmI8 *g)
{
	const EmbGemmI8Level few = {
		.rows_max = FEW_ROWS, .panels_max = 1, .groups_max = g->n_groups, .pick = pick_few,
		.activate = emb_activate_rows_avx2, .gate = emb_gate_rows_avx2
	};
	EmbTileI8	t = emb_gemm_i8_first_tile(g);
	int32_t		n_blocks = (g->n_rows - 1) / BLOCK_ROWS + 1;

	if (g->n_rows <= FEW_ROWS)
	{
		emb_gemm_i8_walk(g, &few);
		return;
	}
	for (int32_t i = 0; i < n_blocks; i++)
	{
		int32_t		n_rows = emb_gemm_tile_rows(g->n_rows, n_blocks, i);

		block_avx2(g, &t, n_rows);
		emb_gemm_i8_next_rows(&t, n_rows);
	}
}

EMB_TARGET_END

#endif
