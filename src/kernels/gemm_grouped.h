/*
 * gemm_grouped.h
 *		The loop over blocks and tiles, shared by the implementations of gemm_grouped.
 *
 * A block is a few panels by 512 inputs. Codes of 4 bits are unpacked to int8
 * once, minus their zeros, into the first-level cache (16 KB for 2 panels); codes
 * of 8 bits are multiplied where they are, unless a level wants them otherwise.
 * Scales of 16 bits are widened once, too.
 * Then all rows pass, a tile at a time. The chains of all rows wait in `state`
 * between two blocks of K: 24 KB for 192 rows and 2 panels. While the first tiles
 * of rows are multiplied (on AMX: all of them), the next block's bytes are
 * prefetched into the second level.
 */
#ifndef EMB_KERNELS_GEMM_GROUPED_H
#define EMB_KERNELS_GEMM_GROUPED_H

#include "kernels/declare.h"
#include "kernels/gemm_tiles.h"

#define GROUPED_BLOCK_GROUPS	128		/* groups of 4 inputs in a block: a multiple of every group of inputs but the whole row */
/* For two blocks of 64 rows instead of one of 128, codes of 4 bits are unpacked twice: 3 % of the time. */
#define GROUPED_CHUNK_ROWS	192
#define GROUPED_RAW_ROWS		48			/* for steps after the product, at least of one tile */
#define GROUPED_FETCHERS	4			/* at most: one tile alone fills the buffers for lines on their way, 12 % of the time at 16 rows */
#define GROUPED_PANELS_MAX	4
#define GROUPED_STATE_STRIDE	(GROUPED_PANELS_MAX * EMB_PANEL)
#define GROUPED_SCALES_MAX	(GROUPED_BLOCK_GROUPS * EMB_GROUP / 32)

/*
 * Room for a panel of a block: what int8 tiles have, and for levels whose A is
 * signed the sums over each group of inputs.
 */
typedef struct EmbGroupedPanel
{
	_Alignas(64) int8_t b[GROUPED_BLOCK_GROUPS][EMB_PANEL][EMB_GROUP];
	int32_t		sums[GROUPED_SCALES_MAX][EMB_PANEL];
} EmbGroupedPanel;

/*
 * R rows by P panels of a block. The chains start if first, else continue from
 * state; they end in C if last, else in state. If one group of inputs spans
 * blocks (the whole row), state holds int32 sums instead: carries_in continues
 * them, carries_out leaves them, and the chain starts and ends in the last block.
 */
typedef struct EmbTileGrouped
{
	int32_t		n_rows;			/* R */
	int32_t		n_tiles;		/* so many tiles of R rows, one below the other, for levels that loop over them; else 1 */
	int32_t		n_panels;		/* P, or more: what is left of the block */
	int32_t		n_groups;		/* of 4 inputs */
	int32_t		group;			/* so many of them share a scale */
	const uint8_t *a;			/* [R, 4 n_groups] */
	size_t		a_stride;
	const int8_t *b;			/* [P][n_groups][16][4] */
	size_t		b_stride;		/* bytes from panel to panel */
	const EmbGroupedPanel *sums;	/* [P], for levels whose A is signed */
	const float *b_scale;		/* [P][16], and for each next group 16 floats further on */
	size_t		scale_stride;	/* from panel to panel */
	const uint8_t *ahead;		/* [P]: bytes to prefetch, ahead_step for each 4 inputs; NULL: none */
	size_t		ahead_step;
	size_t		ahead_stride;
	int32_t		n_fetchers;		/* so many tiles, this one included, fetch a share each */
	float	   *state;			/* [R][P][16], row stride GROUPED_STATE_STRIDE */
	const float *a_scale;		/* [R]; this and the following as in EmbGemmGrouped, for last */
	const int32_t *a_zero;		/* [R], or NULL */
	const float *b_sums;		/* [16 P], read only with a_zero */
	const float *bias;			/* [16 P], or NULL */
	float	   *c;				/* [R, 16 P] */
	size_t		c_stride;
	bool		gated;			/* C is the same for all rows: the caller takes the results from there */
	int32_t    *configured;		/* for amx: rows of the tile registers */
	bool		first;
	bool		last;
	bool		carries_in;
	bool		carries_out;
} EmbTileGrouped;

typedef void (*EmbTileGroupedFn) (const EmbTileGrouped *t);

/* How a level multiplies with codes of 4 or of 8 bits. */
typedef struct EmbGroupedLevel
{
	int32_t		rows_max;		/* of a tile */
	int32_t		panels_max;		/* even, for pairs of gates and values */
	bool		loops;			/* its tiles take n_tiles: a call costs 4 % of the time of 6 rows by 2 panels, 10 % on AVX2 */
	bool		spreads_ahead;	/* its tiles heed ahead_step: the first few fetch a share of the next block each */
	bool		fetches_along;	/* a call spreads the next block's bytes over all its tiles */
	int32_t		rooms;			/* EmbGroupedPanel for each panel of codes that unpack writes; 0: B stays in place */
	/* The best tile of exactly n_rows rows and at most n_panels panels. */
	EmbTileGroupedFn (*pick) (int32_t n_rows, int32_t n_panels, int32_t *n_taken);
	/* n groups' scales of 16 bits. */
	void		(*widen) (const uint16_t *from, EmbScaleType type, int32_t n, float (*to)[EMB_PANEL]);
	/* n_groups groups of 4 inputs, zeros [..][16] for each `group` of them, read with 4 bits. NULL: nothing to do. */
	void		(*unpack) (const uint8_t *packed, int32_t n_groups, int32_t group, const uint8_t *zeros, EmbGroupedPanel *panel);
	emb_op_activate_rows *activate;
	emb_op_gate_rows *gate;
} EmbGroupedLevel;

typedef struct EmbGroupedWork
{
	int32_t		configured;
	EmbGroupedPanel	panels[GROUPED_PANELS_MAX];
	_Alignas(64) float scales[GROUPED_PANELS_MAX][GROUPED_SCALES_MAX][EMB_PANEL];
	_Alignas(64) float state[GROUPED_CHUNK_ROWS * GROUPED_STATE_STRIDE];
	float		raw[GROUPED_RAW_ROWS * GROUPED_STATE_STRIDE]; /* of gated tiles */
} EmbGroupedWork;

/* Of n_in inputs of a panel. */
static size_t
grouped_bytes(const EmbGemmGrouped *g, int32_t n_in)
{
	return (size_t) n_in * EMB_PANEL * g->bits / 8;
}

/* Scale i of g. */
static const void *
grouped_scale(const EmbGemmGrouped *g, size_t i)
{
	return (const char *) g->b_scale + i * emb_scale_bytes(g->scale_type);
}

/* n_panels panels from p on. */
static EmbGemmGrouped
grouped_panels(const EmbGemmGrouped *g, int32_t p, int32_t n_panels)
{
	EmbGemmGrouped	part = *g;
	size_t		columns = (size_t) p * EMB_PANEL;
	size_t		scales = columns * emb_pack_group_scales(g->n_in, g->group);

	part.n_panels = n_panels;
	part.b += p * grouped_bytes(g, g->n_in);
	part.b_scale = grouped_scale(g, scales);
	if (g->bits == 4)
		part.b_zero += scales;
	if (g->a_zero != NULL)
		part.b_sums += columns;
	if (g->bias != NULL)
		part.bias += columns;
	if (g->gated)
		columns /= 2;			/* of the result */
	if (g->factor != NULL)
		part.factor += columns;
	part.c += columns;
	return part;
}

/* n_rows rows from m on. */
static EmbGemmGrouped
grouped_rows(const EmbGemmGrouped *g, int32_t m, int32_t n_rows)
{
	EmbGemmGrouped	part = *g;

	part.n_rows = n_rows;
	part.a += m * g->a_stride;
	part.a_scale += m;
	if (g->a_zero != NULL)
		part.a_zero += m;
	if (g->factor != NULL)
		part.range += m * EMB_RANGE;
	part.c += m * g->c_stride;
	return part;
}

/* The tile of all rows and panels of g in the block of K from group k0 of 4 inputs on. */
static EmbTileGrouped
grouped_tile(const EmbGemmGrouped *g, const EmbGroupedLevel *level, int32_t k0, EmbGroupedWork *w)
{
	int32_t		n_all = g->n_in / EMB_GROUP;
	int32_t		n_groups = n_all - k0 < GROUPED_BLOCK_GROUPS ? n_all - k0 : GROUPED_BLOCK_GROUPS;
	int32_t		group = g->group == 0 ? n_all : g->group / EMB_GROUP;
	bool		last = k0 + n_groups == n_all;
	bool		is_wide = g->scale_type == EMB_SCALE_F32;

	return (EmbTileGrouped) {
		.n_panels = g->n_panels, .n_groups = n_groups, .group = group,
		.a = g->a + (size_t) k0 * EMB_GROUP, .a_stride = g->a_stride,
		.b = level->rooms > 0 ? w->panels[0].b[0][0] : (const int8_t *) g->b + grouped_bytes(g, k0 * EMB_GROUP),
		.b_stride = level->rooms > 0 ? level->rooms * sizeof(EmbGroupedPanel) : grouped_bytes(g, g->n_in),
		.sums = w->panels,
		.b_scale = is_wide ? grouped_scale(g, (size_t) (k0 / group) * EMB_PANEL) : w->scales[0][0],
		.scale_stride = (is_wide ? (size_t) emb_pack_group_scales(g->n_in, g->group) : GROUPED_SCALES_MAX) * EMB_PANEL,
		.state = w->state, .configured = &w->configured,
		.a_scale = g->a_scale, .a_zero = g->a_zero, .b_sums = g->b_sums, .bias = g->bias, 
		.c = g->gated ? w->raw : g->c, .c_stride = g->gated ? GROUPED_STATE_STRIDE : g->c_stride, .gated = g->gated,
		.first = k0 == 0 || g->group == 0, .last = last,
		.carries_in = g->group == 0 && k0 > 0, .carries_out = g->group == 0 && !last
	};
}

/* To the next of the tiles that one call takes. */
static inline void
grouped_next_tile(EmbTileGrouped *t, int32_t n_rows)
{
	t->a += n_rows * t->a_stride;
	t->a_scale += n_rows;
	if (t->a_zero != NULL)
		t->a_zero += n_rows;
	t->state += n_rows * GROUPED_STATE_STRIDE;
	t->c += n_rows * t->c_stride;
}

static void
grouped_next_rows(EmbTileGrouped *t, int32_t n_rows)
{
	float	   *c = t->c;

	grouped_next_tile(t, n_rows);
	if (t->gated)
		t->c = c;
	if (t->ahead != NULL)
		t->ahead = --t->n_fetchers > 0 ? t->ahead + t->n_groups * t->ahead_step : NULL;
}

/* Forwards, or with a negative number backwards. */
static void
grouped_move_panels(EmbTileGrouped *t, int32_t n_panels)
{
	ptrdiff_t	n_columns = (ptrdiff_t) n_panels * EMB_PANEL;

	t->n_panels -= n_panels;
	t->b += n_panels * (ptrdiff_t) t->b_stride;
	t->sums += n_panels;
	t->b_scale += n_panels * (ptrdiff_t) t->scale_stride;
	if (t->ahead != NULL)
		t->ahead += n_panels * (ptrdiff_t) t->ahead_stride;
	t->state += n_columns;
	if (t->a_zero != NULL)
		t->b_sums += n_columns;
	if (t->bias != NULL)
		t->bias += n_columns;
	t->c += n_columns;
}

/*
 * Tiles of rows by the panels of a block; an incomplete group of panels uses
 * smaller tiles. t is changed and restored, because a copy of fields that were
 * just written stalls: 6 % of the time at 96 rows.
 */
static void
grouped_block_rows(const EmbGroupedLevel *level, int32_t n_rows, int32_t n_tiles, int32_t n_panels, EmbTileGrouped *t)
{
	int32_t		n_taken;

	t->n_rows = n_rows;
	t->n_tiles = n_tiles;
	level->pick(n_rows, n_panels, &n_taken) (t);
	for (int32_t done = n_taken; done < n_panels; done += n_taken)
	{
		grouped_move_panels(t, n_taken);
		level->pick(n_rows, n_panels - done, &n_taken) (t);
	}
	grouped_move_panels(t, t->n_panels - n_panels);
}

/* Fetches scales and zeros of a block: each miss would stall a tile. */
static void
grouped_fetch_scales(const EmbGemmGrouped *g, int32_t k0)
{
	int32_t		n_scales = emb_pack_group_scales(g->n_in, g->group);
	int32_t		n_block = g->group == 0 ? 1 : GROUPED_BLOCK_GROUPS * EMB_GROUP / g->group;
	int32_t		first = g->group == 0 ? 0 : k0 * EMB_GROUP / g->group;

	n_block = n_scales - first < n_block ? n_scales - first : n_block;
	for (int32_t p = 0; p < g->n_panels; p++)
	{
		size_t		at = ((size_t) p * n_scales + first) * EMB_PANEL;
		const char *scales = grouped_scale(g, at);
		size_t		n_bytes = n_block * EMB_PANEL * emb_scale_bytes(g->scale_type);

		for (size_t i = 0; i < n_bytes; i += 64)
			__builtin_prefetch(scales + i);
		for (int32_t i = 0; i < n_block && g->bits == 4; i += 4)
			__builtin_prefetch(g->b_zero + at + i * EMB_PANEL);
	}
}

/* Gives the level the panels of a block, and their scales, as it wants them. */
static void
grouped_unpack(const EmbGemmGrouped *g, const EmbGroupedLevel *level, int32_t k0, const EmbTileGrouped *t, EmbGroupedWork *w)
{
	const uint8_t *packed = g->b + grouped_bytes(g, k0 * EMB_GROUP);
	const uint8_t *zeros = g->bits == 4 ? g->b_zero + (size_t) (k0 / t->group) * EMB_PANEL : NULL;
	int32_t		rooms = level->rooms > 0 ? level->rooms : 1;
	int32_t		n_scales = emb_pack_group_scales(g->n_in, g->group);

	for (int32_t p = 0; g->scale_type != EMB_SCALE_F32 && p < g->n_panels; p++)
		level->widen(grouped_scale(g, ((size_t) p * n_scales + k0 / t->group) * EMB_PANEL), g->scale_type,
					 (t->n_groups - 1) / t->group + 1, w->scales[p]);
	for (int32_t p = 0; level->unpack != NULL && p < g->n_panels; p++)
	{
		level->unpack(packed, t->n_groups, t->group, zeros, &w->panels[p * rooms]);
		packed += grouped_bytes(g, g->n_in);
		if (zeros != NULL)
			zeros += (size_t) n_scales * EMB_PANEL;
	}
}

/* The steps after the product of n_rows rows from m on, while they are in the first-level cache. */
static void
grouped_finish(const EmbGemmGrouped *g, const EmbGroupedLevel *level, int32_t m, int32_t n_rows, const EmbGroupedWork *w)
{
	float	   *c = g->c + m * g->c_stride;
	float	   *range = g->factor != NULL ? g->range + m * EMB_RANGE : NULL;

	if (g->gated)
		level->gate(g->act, w->raw, GROUPED_STATE_STRIDE, n_rows, g->n_panels / 2, g->factor, range, c, g->c_stride);
	else
		level->activate(g->act, c, g->c_stride, n_rows, g->n_panels, g->factor, range);
}

/*
 * How many tiles from tile i on, of n_rows rows each, one call takes: the first
 * one alone, because it fetches the next block; a few if steps follow.
 */
static int32_t
grouped_run(const EmbGemmGrouped *g, const EmbGroupedLevel *level, bool has_steps, int32_t i, int32_t n_tiles, int32_t n_rows)
{
	int32_t		n_taller = g->n_rows % n_tiles;
	int32_t		n = (i < n_taller ? n_taller : n_tiles) - i;
	int32_t		n_max = has_steps ? GROUPED_RAW_ROWS / n_rows : n;

	if (!level->loops || (i < (level->spreads_ahead ? GROUPED_FETCHERS : 1) && !level->fetches_along))
		return 1;
	return n < n_max ? n : n_max;
}

/* All rows of g by its panels, a block of K; next and next_k0 are the block after it, or next is NULL. */
static void
grouped_block(const EmbGemmGrouped *g, const EmbGroupedLevel *level, int32_t k0, const EmbGemmGrouped *next, int32_t next_k0, EmbGroupedWork *w)
{
	EmbTileGrouped	t = grouped_tile(g, level, k0, w);
	int32_t		n_tiles = (g->n_rows - 1) / level->rows_max + 1;
	bool		has_steps = t.last && (g->gated || g->act != EMB_ACT_KIND_NONE || g->factor != NULL);

	t.n_fetchers = !level->spreads_ahead ? 1 : n_tiles >= 4 ? 4 : n_tiles >= 2 ? 2 : 1;
	t.ahead_step = grouped_bytes(g, EMB_GROUP) / t.n_fetchers;
	t.ahead_stride = grouped_bytes(g, g->n_in);
	if (next != NULL && next->n_panels == g->n_panels)
		t.ahead = next->b + grouped_bytes(next, next_k0 * EMB_GROUP);
	grouped_unpack(g, level, k0, &t, w);
	if (next != NULL)
		grouped_fetch_scales(next, next_k0);
	for (int32_t i = 0, m = 0, n_run; i < n_tiles; i += n_run)
	{
		int32_t		n_rows = emb_gemm_tile_rows(g->n_rows, n_tiles, i);

		n_run = grouped_run(g, level, has_steps, i, n_tiles, n_rows);
		grouped_block_rows(level, n_rows, n_run, g->n_panels, &t);
		if (has_steps)
			grouped_finish(g, level, m, n_run * n_rows, w);
		grouped_next_rows(&t, n_run * n_rows);
		m += n_run * n_rows;
	}
}

/* Up to GROUPED_CHUNK_ROWS rows by all panels. */
static void
grouped_chunk(const EmbGemmGrouped *g, const EmbGroupedLevel *level, EmbGroupedWork *w)
{
	EmbGemmGrouped	part = grouped_panels(g, 0, g->n_panels < level->panels_max ? g->n_panels : level->panels_max);

	for (int32_t p = part.n_panels, left = g->n_panels; left > 0; p += part.n_panels)
	{
		int32_t		n_next = g->n_panels - p < level->panels_max ? g->n_panels - p : level->panels_max;
		EmbGemmGrouped	next = n_next > 0 ? grouped_panels(g, p, n_next) : part;

		for (int32_t k0 = 0; k0 < g->n_in / EMB_GROUP; k0 += GROUPED_BLOCK_GROUPS)
		{
			if (k0 + GROUPED_BLOCK_GROUPS < g->n_in / EMB_GROUP)
				grouped_block(&part, level, k0, &part, k0 + GROUPED_BLOCK_GROUPS, w);
			else
				grouped_block(&part, level, k0, n_next > 0 ? &next : NULL, 0, w);
		}
		left -= part.n_panels;
		part = next;
	}
}

static void
grouped_walk(const EmbGemmGrouped *g, const EmbGroupedLevel *level)
{
	EmbGroupedWork	w;				/* 96 KB, left as they are */
	int32_t		n_chunks = (g->n_rows - 1) / GROUPED_CHUNK_ROWS + 1;

	w.configured = 0;
	for (int32_t i = 0, m = 0; i < n_chunks; i++)
	{
		int32_t		n_rows = emb_gemm_tile_rows(g->n_rows, n_chunks, i);
		EmbGemmGrouped	chunk = grouped_rows(g, m, n_rows);

		grouped_chunk(&chunk, level, &w);
		m += n_rows;
	}
}

#endif
