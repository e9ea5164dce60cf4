/*
 * gemm_i8_amx.c
 *		C = act(scaled A B + bias) in int8, AMX (Intel SDM volume 1, chapter
 *		18; optimization manual, chapter 20): tdpbusd adds 16 rows of 64 bytes
 *		of A by 64 rows of 16 columns of B, which is K = 64 of one packed
 *		panel.
 *
 * 8 tile registers: 2 x 2 of sums, 2 of A, 2 of B. A step of K = 64 loads 4
 * tiles (8 cycles each) for 4 products (16 each). A single tile of rows takes
 * 4 panels instead. No machine with AMX was available when this was written:
 * the unit tests run it on a model of the tiles, and the choices for speed
 * follow from Intel's figures.
 *
 * Tiles are configured once per call, all with the same number of rows, as
 * near to 16 as M allows: 40 rows are 14, 14 and 14; the last tile begins 2
 * rows early and does not finish these rows again. Reconfiguring for a shorter
 * tail would clear all tiles for every group of panels. The tiles are released
 * before the return, so that the operating system saves no tiles between
 * calls.
 *
 * Few rows, and a K that is no multiple of 64 (attention), go to AVX-512 VNNI.
 */
#include "kernels/target.h"

#if EMB_COMPILER_HAS_AMX

#include <immintrin.h>
#include <string.h>

#include "kernels/amx_tiles.h"
#include "kernels/gemm_i8.h"
#include "kernels/declare.h"

#define GROUP_PANELS	4		/* panels that stay in the first-level cache while rows pass */

/* A tile of rows by n_panels panels whose sums are in Work and not yet written to C. */
typedef struct Pending
{
	EmbTileI8	t;
	int32_t		first_row;		/* earlier rows belong to another tile */
	int32_t		n_panels;
} Pending;

typedef struct Work
{
	_Alignas(64) int32_t sums[N_SUMS][TILE_ROWS][EMB_PANEL];
	float		raw[TILE_ROWS * N_SUMS * EMB_PANEL];	/* of a gated tile */
	const EmbGemmI8 *g;
	int32_t		tile_rows;
	int32_t		n_pending;		/* its tiles' sums lie end to end */
	Pending		pending[2];
} Work;

/* One or two tiles of rows, one below the other. */
typedef struct Strip
{
	EmbTileI8	t[2];
	int32_t		first_row[2];
	int32_t		n_tiles;
} Strip;

EMB_TARGET_BEGIN(EMB_TARGET_AMX)

#include "kernels/gemm_i8_zmm.h"

/* bytes is a constant. */
EMB_ALWAYS_INLINE void
prefetch_ahead(const int8_t *b, size_t ahead)
{
	if (ahead != 0)
		for (int i = 0; i < STEP_BYTES; i += 64)
			_mm_prefetch((const char *) (b + ahead + i), _MM_HINT_T1);
}

/* Sums 0 and 1 of the upper tile of rows by 2 panels, 2 and 3 of the lower. */
static void
multiply_2x2(const EmbTileI8 *upper, const EmbTileI8 *lower)
{
	const uint8_t *a0 = upper->a,
			   *a1 = lower->a;
	const int8_t *b0 = upper->b,
			   *b1 = b0 + upper->b_stride;

	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
	for (int32_t left = upper->n_groups; left > 0; left -= STEP_GROUPS)
	{
		_tile_loadd(6, b0, TILE_BYTES);
		_tile_loadd(4, a0, upper->a_stride);
		_tile_dpbusd(0, 4, 6);
		_tile_loadd(7, b1, TILE_BYTES);
		_tile_dpbusd(1, 4, 7);
		_tile_loadd(5, a1, upper->a_stride);
		_tile_dpbusd(2, 5, 6);
		_tile_dpbusd(3, 5, 7);
		prefetch_ahead(b0, upper->b_ahead);
		prefetch_ahead(b1, upper->b_ahead);
		a0 += STEP_GROUPS * EMB_GROUP;
		a1 += STEP_GROUPS * EMB_GROUP;
		b0 += STEP_BYTES;
		b1 += STEP_BYTES;
	}
}

/* Sums 0 .. n_panels - 1 of one tile of rows; n_panels is 1, 2 or 4, a constant of each instance below. */
EMB_ALWAYS_INLINE void
multiply_1xn(const EmbTileI8 *t, const int n_panels)
{
	const uint8_t *a = t->a;
	const int8_t *b = t->b;

	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
	for (int32_t left = t->n_groups; left > 0; left -= STEP_GROUPS)
	{
		_tile_loadd(4, a, t->a_stride);
		_tile_loadd(6, b, TILE_BYTES);
		_tile_dpbusd(0, 4, 6);
		if (n_panels > 1)
		{
			_tile_loadd(7, b + t->b_stride, TILE_BYTES);
			_tile_dpbusd(1, 4, 7);
		}
		if (n_panels > 2)
		{
			_tile_loadd(6, b + 2 * t->b_stride, TILE_BYTES);
			_tile_dpbusd(2, 4, 6);
			_tile_loadd(7, b + 3 * t->b_stride, TILE_BYTES);
			_tile_dpbusd(3, 4, 7);
		}
		for (int p = 0; p < n_panels; p++)
			prefetch_ahead(b + p * t->b_stride, t->b_ahead);
		a += STEP_GROUPS * EMB_GROUP;
		b += STEP_BYTES;
	}
}

static void
multiply_1x1(const EmbTileI8 *t)
{
	multiply_1xn(t, 1);
}

static void
multiply_1x2(const EmbTileI8 *t)
{
	multiply_1xn(t, 2);
}

static void
multiply_1x4(const EmbTileI8 *t)
{
	multiply_1xn(t, 4);
}

static void
store_sums(Work *w)
{
	_tile_stored(0, w->sums[0], TILE_BYTES);
	_tile_stored(1, w->sums[1], TILE_BYTES);
	_tile_stored(2, w->sums[2], TILE_BYTES);
	_tile_stored(3, w->sums[3], TILE_BYTES);
}

static void
finish_pending(Work *w)
{
	for (int32_t i = 0; i < w->n_pending; i++)
	{
		const Pending *done = &w->pending[i];
		EmbTileI8	fresh = done->t;	/* without the rows that the tile before has finished */
		EmbTileI8	product = done->t;
		int32_t		n_rows = w->tile_rows - done->first_row;

		if (w->g->gated)
			product = emb_gemm_i8_ungated(&done->t, done->n_panels, w->raw);
		for (int32_t r = done->first_row; r < w->tile_rows; r++)
			for (int32_t p = 0; p < done->n_panels; p++)
				finish_zmm(&product, r, p, _mm512_load_si512(w->sums[i * done->n_panels + p][r]));
		emb_gemm_i8_next_rows(&fresh, done->first_row);
		if (w->g->gated)
			emb_gate_rows_avx512(fresh.act, w->raw + done->first_row * product.c_stride, product.c_stride, n_rows,
								 done->n_panels / 2, fresh.factor, fresh.range, fresh.c, fresh.c_stride);
		else
			emb_gemm_i8_activate(&fresh, emb_activate_rows_avx512, n_rows, done->n_panels);
	}
	w->n_pending = 0;
}

/*
 * Multiplies, finishes the previous tiles while the units are busy (the
 * products are tens of instructions and hundreds of cycles, and the window of
 * the CPU holds the following instructions), then becomes the pending tile.
 */
static void
multiply_strip(Work *w, const Strip *strip, int32_t first, int32_t n_tiles, int32_t n_panels)
{
	if (n_tiles == 2)
		multiply_2x2(&strip->t[0], &strip->t[1]);
	else if (n_panels == 4)
		multiply_1x4(&strip->t[first]);
	else if (n_panels == 2)
		multiply_1x2(&strip->t[first]);
	else
		multiply_1x1(&strip->t[first]);
	finish_pending(w);
	store_sums(w);
	w->n_pending = n_tiles;
	for (int32_t i = 0; i < n_tiles; i++)
		w->pending[i] = (Pending) {strip->t[first + i], strip->first_row[first + i], n_panels};
}

static void
strip_next_panels(Strip *strip, int32_t n_panels)
{
	for (int32_t i = 0; i < strip->n_tiles; i++)
		emb_gemm_i8_next_panels(&strip->t[i], n_panels);
}

/* A strip by a group of panels. */
static void
multiply_group(Work *w, Strip strip, int32_t n_panels)
{
	int32_t		n_taken;

	for (int32_t left = n_panels; left > 0; left -= n_taken)
	{
		n_taken = left >= 4 && strip.n_tiles == 1 ? 4 : left >= 2 ? 2 : 1;
		if (strip.n_tiles == 2 && n_taken == 1)
		{
			multiply_strip(w, &strip, 0, 1, 1);
			multiply_strip(w, &strip, 1, 1, 1);
		}
		else
			multiply_strip(w, &strip, 0, strip.n_tiles, n_taken);
		strip_next_panels(&strip, n_taken);
	}
}

/* Tiles i and i + 1 of rows that have n_tiles below them; t is at row 0. */
static Strip
make_strip(const Work *w, const EmbTileI8 *t, int32_t i, int32_t n_tiles)
{
	Strip		strip = {.n_tiles = n_tiles - i < 2 ? n_tiles - i : 2};

	for (int32_t j = 0; j < strip.n_tiles; j++)
	{
		int32_t		row = (i + j) * w->tile_rows;
		int32_t		start = row < w->g->n_rows - w->tile_rows ? row : w->g->n_rows - w->tile_rows;

		strip.t[j] = *t;
		emb_gemm_i8_next_rows(&strip.t[j], start);
		strip.first_row[j] = row - start;
	}
	return strip;
}

void
emb_gemm_i8_amx(const EmbGemmI8 *g)
{
	int32_t		n_tiles = (g->n_rows - 1) / TILE_ROWS + 1;
	EmbTileI8	group = emb_gemm_i8_first_tile(g);
	Work		w;

	if (g->n_rows < ROWS_MIN || g->n_groups % STEP_GROUPS != 0)
	{
		emb_gemm_i8_avx512vnni(g);
		return;
	}
	w.g = g;
	w.tile_rows = (g->n_rows - 1) / n_tiles + 1;
	w.n_pending = 0;
	configure_tiles(w.tile_rows);
	for (int32_t left = g->n_panels; left > 0; left -= GROUP_PANELS)
	{
		int32_t		n_panels = left < GROUP_PANELS ? left : GROUP_PANELS;

		for (int32_t i = 0; i < n_tiles; i += 2)
		{
			/* fetches the next group's panels, while the first rows pass this group's panels */
			group.b_ahead = i == 0 && left >= 2 * n_panels ? n_panels * group.b_stride : 0;
			multiply_group(&w, make_strip(&w, &group, i, n_tiles), n_panels);
		}
		emb_gemm_i8_next_panels(&group, n_panels);
	}
	finish_pending(&w);
	_tile_release();
}

EMB_TARGET_END

#endif
