/*
 * gemm_i8_amx.c
 *		C = act(scaled A B + bias) in int8, AMX (Intel SDM volume 1, chapter
 *		18; optimization manual, chapter 20): tdpbusd adds 16 rows of 64 bytes
 *		of A by 64 rows of 16 columns of B, which is K = 64 of one packed
 *		panel.
 *
 * 8 tile registers: 2 x 2 of sums, 2 of A, 2 of B. A step of K = 64 loads 4
 * tiles (8 cycles each) for 4 products (16 each). A single tile of rows takes
 * 4 panels instead; this for all rows was no faster where 4 panels stay in the
 * first-level cache, and 10 % slower with K = 1536.
 *
 * Sums pass through memory, and rows become C between the products of the next
 * tiles: tile products leave AVX-512 as fast as it is alone (64 operations a
 * step of 64 cycles are free), but the CPU's window of 512 operations does not
 * reach over the products of 6 steps by itself. Measured on a Xeon with 48 KB
 * and 2 MB of caches a core, in cycles of the tile unit for a step of 2 x 2:
 * products of registers 64, with loads from the first level 76, with sums stored
 * 83. A line of C, which is in the second level, adds 5, with and without a
 * prefetch for writing before it.
 *
 * The third level yields 29 GB/s to a core in every pattern of reads, so a
 * product of 18 rows of K = 384 cannot pass 1,060 GOPS if B comes from there.
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

#define LINES_PER_TILE	(STEP_BYTES / 64)
#define GROUP_PANELS	4		/* panels that stay in the first-level cache while rows pass */
#define SUMS_ROWS		(N_SUMS * TILE_ROWS)

typedef const int32_t (*Sums)[EMB_PANEL];

/*
 * Rows row .. row + n_rows - 1 of C by n_panels panels, from their sums (panels
 * lie sums_stride rows apart), and from their zero points for scale_pairs_zmm.
 */
typedef void (*FinishRows) (const EmbGemmI8 *g, Sums sums, int32_t sums_stride, const int32_t *zeros, int32_t row,
							int32_t n_rows, int32_t panel, int32_t n_panels);

typedef struct Work Work;

/* Multiplies rows from a tile on by panels, and finishes the pending rows between the products. */
typedef void (*MultiplyTiles) (Work *w, int32_t tile, int32_t panel);

/* How sums become C: a function for any rows, and products that have it inlined. */
typedef struct Finish
{
	FinishRows	rows;
	MultiplyTiles multiply_2x2;
	MultiplyTiles multiply_1x4;
} Finish;

/*
 * What a product keeps, with the pending rows: those whose sums are not yet written to C. No struct is
 * copied while tiles are in flight: a copy reads 16 bytes where 8 were just
 * written, and such a load waits until all stores before it have left the core,
 * those of tiles too, which wait for their products.
 */
struct Work
{
	_Alignas(64) int32_t sums[SUMS_ROWS][EMB_PANEL];
	_Alignas(64) int32_t zeros[2 * TILE_ROWS];
	const EmbGemmI8 *g;
	const Finish *finish;
	int32_t		tile_rows;

	int32_t		row;
	int32_t		n_rows;			/* 0: none is pending */
	int32_t		begin;			/* earlier rows belong to another tile */
	int32_t		panel;
	int32_t		n_panels;
	int32_t		sums_stride;

	/* the next group's panels, and lines of them to prefetch at each step */
	const char *ahead;
	const char *ahead_end;
	int32_t		n_lines;
};

EMB_TARGET_BEGIN(EMB_TARGET_AMX)

#include "kernels/gemm_i8_zmm.h"
#include "kernels/v16_avx512.h"
#include "kernels/v16_act.h"

/* ------------------------------------------------------------ from sums to C */

/* Rows to finish, with the constants of their panels in registers. */
typedef struct Rows
{
	EmbTileI8	t;				/* scales; C and ranges of the next row */
	Sums		sums;			/* of the next row */
	const int32_t *zeros;
	int32_t		n_left;
	ColumnsZmm	columns[N_SUMS];
	v16			factor[N_SUMS];
} Rows;

/* n_panels is a constant, here and below. */
EMB_ALWAYS_INLINE Rows
start_rows(const EmbGemmI8 *g, Sums sums, const int32_t *zeros, int32_t row, int32_t n_rows, int32_t panel,
		   const int n_panels, const bool has_range)
{
	size_t		column = (size_t) panel * EMB_PANEL;
	Rows		rows = {
		.t = {
			.a_scale = g->a_scale + row, .b_scale = g->b_scale + column, .b_sums = g->b_sums + column,
			.bias = g->bias + column, .c = g->c + row * g->c_stride + column, .c_stride = g->c_stride,
			.range = has_range ? g->range + row * EMB_RANGE : NULL
		},
		.sums = sums, .zeros = zeros, .n_left = n_rows
	};

	EMB_UNROLL
	for (int p = 0; p < n_panels; p++)
	{
		rows.columns[p] = load_columns_zmm(&rows.t, p, true, true);
		rows.columns[p].sums = sum_pairs_zmm(rows.columns[p].sums);
		rows.factor[p] = has_range ? v16_load(g->factor + column + p * EMB_PANEL) : v16_set(0.0f);
	}
	return rows;
}

/* The next n rows, or as many as are left. */
EMB_ALWAYS_INLINE void
finish_next(Rows *rows, int32_t n, int32_t sums_stride, const int n_panels, const bool has_range, v16 (*f) (v16))
{
	EmbTileI8  *t = &rows->t;

	n = n < rows->n_left ? n : rows->n_left;
	rows->n_left -= n;
	for (; n > 0; n--)
	{
		Range		seen = has_range ? load_range(t->range) : no_range();

		EMB_UNROLL
		for (int p = 0; p < n_panels; p++)
		{
			__m512i		sum_i32x16 = _mm512_load_si512(rows->sums[p * sums_stride]);
			v16			y = f(scale_pairs_zmm(t, 0, rows->columns[p], *rows->zeros, sum_i32x16));

			if (has_range)
			{
				y = v16_mul(y, rows->factor[p]);
				widen_range(y, &seen);
			}
			v16_store(t->c + p * EMB_PANEL, y);
		}
		if (has_range)
		{
			store_range(t->range, seen);
			t->range += EMB_RANGE;
		}
		t->c += t->c_stride;
		t->a_scale++;
		rows->sums++;
		rows->zeros++;
	}
}

EMB_ALWAYS_INLINE void
finish_panels(const EmbGemmI8 *g, Sums sums, int32_t sums_stride, const int32_t *zeros, int32_t row, int32_t n_rows,
			  int32_t panel, const int n_panels, const bool has_range, v16 (*f) (v16))
{
	Rows		rows = start_rows(g, sums, zeros, row, n_rows, panel, n_panels, has_range);

	finish_next(&rows, n_rows, sums_stride, n_panels, has_range, f);
}

/* With zero points and bias, as linear layers have. */
EMB_ALWAYS_INLINE void
finish_rows(const EmbGemmI8 *g, Sums sums, int32_t sums_stride, const int32_t *zeros, int32_t row, int32_t n_rows,
			int32_t panel, int32_t n_panels, const bool has_range, v16 (*f) (v16))
{
	if (n_panels == 1)
		finish_panels(g, sums, sums_stride, zeros, row, n_rows, panel, 1, has_range, f);
	else
		for (int32_t p = 0; p < n_panels; p += 2)
			finish_panels(g, sums + p * sums_stride, sums_stride, zeros, row, n_rows, panel + p, 2, has_range, f);
}

/* What is left: gated products, those without bias or zero points, and very many inputs. */
static void
finish_any(const EmbGemmI8 *g, Sums sums, int32_t sums_stride, const int32_t *zeros, int32_t row, int32_t n_rows,
		   int32_t panel, int32_t n_panels)
{
	float		raw[SUMS_ROWS * EMB_PANEL];
	EmbTileI8	t = emb_gemm_i8_first_tile(g);
	EmbTileI8	product;

	(void) zeros;
	emb_gemm_i8_next_rows(&t, row);
	emb_gemm_i8_next_panels(&t, panel);
	product = g->gated ? emb_gemm_i8_ungated(&t, n_panels, raw) : t;
	for (int32_t p = 0; p < n_panels; p++)
	{
		const bool	has_zero = t.a_zero != NULL,
					has_bias = t.bias != NULL;
		ColumnsZmm	columns = load_columns_zmm(&product, p, has_zero, has_bias);

		for (int32_t r = 0; r < n_rows; r++)
			_mm512_storeu_ps(product.c + r * product.c_stride + p * EMB_PANEL,
							 scale_zmm(&product, r, columns, _mm512_load_si512(sums[p * sums_stride + r]), has_zero, has_bias));
	}
	if (g->gated)
		emb_gate_rows_avx512(t.act, raw, product.c_stride, n_rows, n_panels / 2, t.factor, t.range, t.c, t.c_stride);
	else
		emb_gemm_i8_activate(&t, emb_activate_rows_avx512, n_rows, n_panels);
}

static void
finish_pending(Work *w)
{
	if (w->n_rows > w->begin)
		w->finish->rows(w->g, (Sums) w->sums + w->begin, w->sums_stride, w->zeros + w->begin, w->row + w->begin,
						w->n_rows - w->begin, w->panel, w->n_panels);
	w->n_rows = 0;
	w->begin = 0;
}

/* -------------------------------------------------------------- tile products */

EMB_ALWAYS_INLINE void
prefetch_ahead(Work *w)
{
	const char *end = w->ahead + 64 * w->n_lines;

	if (end > w->ahead_end)
		end = w->ahead_end;
	for (; w->ahead < end; w->ahead += 64)
		_mm_prefetch(w->ahead, _MM_HINT_T1);
}

/* Row 0 of a tile: the last one begins early, with rows of the tile before. */
static inline int32_t
first_row(const Work *w, int32_t tile)
{
	int32_t		row = tile * w->tile_rows;
	int32_t		last = w->g->n_rows - w->tile_rows;

	return row < last ? row : last;
}

static inline const uint8_t *
a_tile(const Work *w, int32_t tile)
{
	return w->g->a + first_row(w, tile) * w->g->a_stride;
}

static inline size_t
panel_bytes(const EmbGemmI8 *g)
{
	return (size_t) g->n_groups * EMB_PANEL * EMB_GROUP;
}

/* The pending rows, to be finished; if they are of other panels than here they are finished at once. */
EMB_ALWAYS_INLINE Rows
take_pending(Work *w, int32_t panel, int32_t sums_stride, const int n_panels, const bool has_range)
{
	Rows		rows;

	if (w->n_panels != n_panels || w->sums_stride != sums_stride)
		finish_pending(w);
	rows = start_rows(w->g, (Sums) w->sums + w->begin, w->zeros + w->begin, w->row + w->begin, w->n_rows - w->begin,
					  w->n_rows > 0 ? w->panel : panel, n_panels, has_range);
	w->n_rows = 0;
	return rows;
}

/* Rows to finish at each step. */
EMB_ALWAYS_INLINE int32_t
rows_per_step(const Work *w, const Rows *rows)
{
	return (rows->n_left * STEP_GROUPS + w->g->n_groups - 1) / w->g->n_groups;
}

static inline void
zero_sums(void)
{
	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
}

/* n_tiles tiles whose sums are stored become pending. */
static inline void
become_pending(Work *w, int32_t tile, int32_t n_tiles, int32_t panel, int32_t n_panels, int32_t sums_stride)
{
	int32_t		row = first_row(w, tile);
	int32_t		last_row = first_row(w, tile + n_tiles - 1);

	w->row = row;
	w->n_rows = last_row - row + w->tile_rows;
	w->begin = tile * w->tile_rows - row;
	w->panel = panel;
	w->n_panels = n_panels;
	w->sums_stride = sums_stride;
	if (w->g->a_zero == NULL)
		return;
	store_zero_pairs(w->g->a_zero + row, w->tile_rows, w->zeros);
	if (n_tiles == 2)
		store_zero_pairs(w->g->a_zero + last_row, w->tile_rows, w->zeros + last_row - row);
}

/* Sums 0 and 1 of the upper tile of rows by 2 panels, 2 and 3 of the lower. f NULL: no pending rows are finished. */
EMB_ALWAYS_INLINE void
multiply_2x2(Work *w, int32_t tile, int32_t panel, const bool has_range, v16 (*f) (v16))
{
	const int32_t sums_stride = 2 * TILE_ROWS;
	size_t		a_stride = w->g->a_stride;
	size_t		b_stride = panel_bytes(w->g);
	const uint8_t *a0 = a_tile(w, tile),
			   *a1 = a_tile(w, tile + 1);
	const int8_t *b = w->g->b + panel * b_stride;
	Rows		rows;
	int32_t		n_rows = 0;		/* gcc cannot tell that f decides both uses */
	int32_t    *lower;

	if (f != NULL)
	{
		rows = take_pending(w, panel, sums_stride, 2, has_range);
		n_rows = rows_per_step(w, &rows);
	}
	zero_sums();
	for (int32_t left = w->g->n_groups; left > 0; left -= STEP_GROUPS)
	{
		_tile_loadd(6, b, TILE_BYTES);
		_tile_loadd(4, a0, a_stride);
		_tile_dpbusd(0, 4, 6);
		_tile_loadd(7, b + b_stride, TILE_BYTES);
		_tile_dpbusd(1, 4, 7);
		_tile_loadd(5, a1, a_stride);
		_tile_dpbusd(2, 5, 6);
		_tile_dpbusd(3, 5, 7);
		prefetch_ahead(w);
		if (f != NULL)
			finish_next(&rows, n_rows, sums_stride, 2, has_range, f);
		a0 += STEP_GROUPS * EMB_GROUP;
		a1 += STEP_GROUPS * EMB_GROUP;
		b += STEP_BYTES;
	}
	if (f == NULL)
		finish_pending(w);
	lower = w->sums[first_row(w, tile + 1) - first_row(w, tile)];
	_tile_stored(0, w->sums[0], TILE_BYTES);
	_tile_stored(1, w->sums[sums_stride], TILE_BYTES);
	_tile_stored(2, lower, TILE_BYTES);
	_tile_stored(3, lower + sums_stride * EMB_PANEL, TILE_BYTES);
	become_pending(w, tile, 2, panel, 2, sums_stride);
}

/* Sums 0 .. n_panels - 1 of one tile of rows; n_panels is 1, 2 or 4. */
EMB_ALWAYS_INLINE void
multiply_1xn(Work *w, int32_t tile, int32_t panel, const int n_panels, const bool has_range, v16 (*f) (v16))
{
	size_t		a_stride = w->g->a_stride;
	size_t		b_stride = panel_bytes(w->g);
	const uint8_t *a = a_tile(w, tile);
	const int8_t *b = w->g->b + panel * b_stride;
	Rows		rows;
	int32_t		n_rows = 0;		/* gcc cannot tell that f decides both uses */

	if (f != NULL)
	{
		rows = take_pending(w, panel, TILE_ROWS, n_panels, has_range);
		n_rows = rows_per_step(w, &rows);
	}
	zero_sums();
	for (int32_t left = w->g->n_groups; left > 0; left -= STEP_GROUPS)
	{
		_tile_loadd(4, a, a_stride);
		_tile_loadd(6, b, TILE_BYTES);
		_tile_dpbusd(0, 4, 6);
		if (n_panels > 1)
		{
			_tile_loadd(7, b + b_stride, TILE_BYTES);
			_tile_dpbusd(1, 4, 7);
		}
		if (n_panels > 2)
		{
			_tile_loadd(6, b + 2 * b_stride, TILE_BYTES);
			_tile_dpbusd(2, 4, 6);
			_tile_loadd(7, b + 3 * b_stride, TILE_BYTES);
			_tile_dpbusd(3, 4, 7);
		}
		prefetch_ahead(w);
		if (f != NULL)
			finish_next(&rows, n_rows, TILE_ROWS, n_panels, has_range, f);
		a += STEP_GROUPS * EMB_GROUP;
		b += STEP_BYTES;
	}
	if (f == NULL)
		finish_pending(w);
	_tile_stored(0, w->sums[0], TILE_BYTES);
	_tile_stored(1, w->sums[TILE_ROWS], TILE_BYTES);
	_tile_stored(2, w->sums[2 * TILE_ROWS], TILE_BYTES);
	_tile_stored(3, w->sums[3 * TILE_ROWS], TILE_BYTES);
	become_pending(w, tile, 1, panel, n_panels, TILE_ROWS);
}

static void
multiply_1x1(Work *w, int32_t tile, int32_t panel)
{
	multiply_1xn(w, tile, panel, 1, false, NULL);
}

static void
multiply_1x2(Work *w, int32_t tile, int32_t panel)
{
	multiply_1xn(w, tile, panel, 2, false, NULL);
}

static void
multiply_1x4_any(Work *w, int32_t tile, int32_t panel)
{
	multiply_1xn(w, tile, panel, 4, false, NULL);
}

static void
multiply_2x2_any(Work *w, int32_t tile, int32_t panel)
{
	multiply_2x2(w, tile, panel, false, NULL);
}

#define FINISH(name, f, has_range) \
static void \
finish_##name(const EmbGemmI8 *g, Sums sums, int32_t sums_stride, const int32_t *zeros, int32_t row, int32_t n_rows, \
			  int32_t panel, int32_t n_panels) \
{ \
	finish_rows(g, sums, sums_stride, zeros, row, n_rows, panel, n_panels, has_range, f); \
} \
\
static void \
multiply_2x2_##name(Work *w, int32_t tile, int32_t panel) \
{ \
	multiply_2x2(w, tile, panel, has_range, f); \
} \
\
static void \
multiply_1x4_##name(Work *w, int32_t tile, int32_t panel) \
{ \
	multiply_1xn(w, tile, panel, 4, has_range, f); \
}

FINISH(none, identity_v16, false)
FINISH(none_range, identity_v16, true)
FINISH(gelu, coarse_gelu_v16, false)
FINISH(gelu_range, coarse_gelu_v16, true)
FINISH(gelu_tanh, coarse_gelu_tanh_v16, false)
FINISH(gelu_tanh_range, coarse_gelu_tanh_v16, true)
FINISH(relu, coarse_relu_v16, false)
FINISH(relu_range, coarse_relu_v16, true)
FINISH(silu, coarse_silu_v16, false)
FINISH(silu_range, coarse_silu_v16, true)

#define FINISH_OF(name) {finish_##name, multiply_2x2_##name, multiply_1x4_##name}

static const Finish *
pick_finish(const EmbGemmI8 *g)
{
	static const Finish any = FINISH_OF(any);
	static const Finish by_act[][2] = {
		[EMB_ACT_KIND_NONE] = {FINISH_OF(none), FINISH_OF(none_range)},
		[EMB_ACT_KIND_GELU] = {FINISH_OF(gelu), FINISH_OF(gelu_range)},
		[EMB_ACT_KIND_GELU_TANH] = {FINISH_OF(gelu_tanh), FINISH_OF(gelu_tanh_range)},
		[EMB_ACT_KIND_RELU] = {FINISH_OF(relu), FINISH_OF(relu_range)},
		[EMB_ACT_KIND_SILU] = {FINISH_OF(silu), FINISH_OF(silu_range)}
	};

	if (g->a_zero == NULL || g->bias == NULL || g->n_groups > PAIRS_GROUPS || g->gated)
		return &any;
	return &by_act[g->act][g->factor != NULL];
}

/* Tiles of rows by a group of panels, n_tiles (one or two) at a time. */
static void
multiply_group(Work *w, int32_t tile, int32_t n_tiles, int32_t panel, int32_t end_panel)
{
	while (panel < end_panel)
	{
		int32_t		left = end_panel - panel;

		if (n_tiles == 2 && left >= 2)
		{
			w->finish->multiply_2x2(w, tile, panel);
			panel += 2;
		}
		else if (n_tiles == 1 && left >= 4)
		{
			w->finish->multiply_1x4(w, tile, panel);
			panel += 4;
		}
		else if (n_tiles == 1 && left >= 2)
		{
			multiply_1x2(w, tile, panel);
			panel += 2;
		}
		else
		{
			for (int32_t i = 0; i < n_tiles; i++)
				multiply_1x1(w, tile + i, panel);
			panel++;
		}
	}
}

void
emb_gemm_i8_amx(const EmbGemmI8 *g)
{
	int32_t		n_tiles = (g->n_rows - 1) / TILE_ROWS + 1;
	size_t		b_stride = panel_bytes(g);
	Work		w;

	if (g->n_rows < ROWS_MIN || g->n_groups % STEP_GROUPS != 0)
	{
		emb_gemm_i8_avx512vnni(g);
		return;
	}
	w.g = g;
	w.finish = pick_finish(g);
	w.tile_rows = (g->n_rows - 1) / n_tiles + 1;
	w.row = w.n_rows = w.begin = 0;
	w.panel = w.n_panels = w.sums_stride = 0;
	w.n_lines = (GROUP_PANELS * LINES_PER_TILE - 1) / n_tiles + 1;
	configure_tiles(w.tile_rows);
	for (int32_t panel = 0, end; panel < g->n_panels; panel = end)
	{
		int32_t		next_end;

		end = g->n_panels - panel < GROUP_PANELS ? g->n_panels : panel + GROUP_PANELS;
		next_end = g->n_panels - end < GROUP_PANELS ? g->n_panels : end + GROUP_PANELS;
		w.ahead = (const char *) g->b + end * b_stride;
		w.ahead_end = (const char *) g->b + next_end * b_stride;
		for (int32_t i = 0; i < n_tiles; i += 2)
			multiply_group(&w, i, n_tiles - i < 2 ? 1 : 2, panel, end);
	}
	finish_pending(&w);
	_tile_release();
}

EMB_TARGET_END

#endif
