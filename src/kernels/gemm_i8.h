/*
 * gemm_i8.h
 *		The loop over tiles, shared by the implementations of gemm_i8.
 *
 * Groups of panels are outermost, then tiles of rows. B is read once from
 * memory, and stays in the first-level cache (18 KB for 3 panels of K = 384)
 * or the second while all rows pass. A is read again for every group, a few KB
 * a tile. While rows pass a group, the next group's panels are prefetched into
 * the second level, each tile its part: the third level gives 7 bytes a cycle on
 * a Xeon, and panels that were prefetched by the first tile alone would need 16.
 *
 * A tile is described by one EmbTileI8 that is changed in place, a member at a
 * time. To copy it for each tile cost 60 cycles or more: the copy's wide loads
 * wait until the members' narrow stores have left the store buffer, behind the
 * whole tile of C.
 */
#ifndef EMB_KERNELS_GEMM_I8_H
#define EMB_KERNELS_GEMM_I8_H

#include "kernels/declare.h"
#include "kernels/gemm_tiles.h"

/* R rows by P panels. */
typedef struct EmbTileI8
{
	int32_t		n_groups;
	const uint8_t *a;			/* [R, 4 n_groups] */
	size_t		a_stride;
	const float *a_scale;		/* [R] */
	const int32_t *a_zero;		/* [R], or NULL */
	const int8_t *b;			/* [P][n_groups][16][4] */
	size_t		b_stride;		/* bytes from panel to panel */
	size_t		b_ahead;		/* of levels with loops of their own: bytes from B to the prefetched data; 0: no prefetch */
	const int8_t *ahead;		/* [P][..][16][4], b_stride bytes from panel to panel: what this tile is to prefetch .. */
	int32_t		n_ahead;		/* .. so many groups of each panel after every stretch; 0: nothing */
	int32_t		stretch;		/* groups */
	const float *b_scale;		/* [16 P] */
	const int32_t *b_sums;		/* [16 P], read only with a_zero */
	const float *bias;			/* [16 P], or NULL */
	float	   *c;				/* [R, 16 P] */
	size_t		c_stride;
	EmbActKind	act;
	bool		gated;
	bool		resumes;		/* C holds the int32 sums of the groups before these .. */
	bool		unfinished;		/* .. and is to hold these sums for the groups that follow; else both false */
	const float *factor;		/* [16 P, half of it if gated], or NULL */
	float	   *range;			/* [R][EMB_RANGE], with factor */
} EmbTileI8;

typedef void (*EmbTileI8Fn) (const EmbTileI8 *t);

/* The best tile of exactly n_rows rows and at most n_panels panels. */
typedef EmbTileI8Fn (*EmbPickI8) (int32_t n_rows, int32_t n_panels, int32_t *n_taken);

/* The parameters of a level for the loop. */
typedef struct EmbGemmI8Level
{
	int32_t		rows_max;		/* of a tile */
	int32_t		panels_max;
	int32_t		groups_max;		/* of a tile; fewer than there are: only if it knows resumes and unfinished */
	EmbPickI8	pick;
	emb_op_activate_rows *activate;
	emb_op_gate_rows *gate;
} EmbGemmI8Level;

/* For the first panel and row. */
static inline EmbTileI8
emb_gemm_i8_first_tile(const EmbGemmI8 *g)
{
	return (EmbTileI8) {
		.n_groups = g->n_groups,
		.a = g->a,
		.a_stride = g->a_stride,
		.a_scale = g->a_scale,
		.a_zero = g->a_zero,
		.b = g->b,
		.ahead = g->b,
		.b_stride = (size_t) g->n_groups * EMB_PANEL * EMB_GROUP,
		.b_scale = g->b_scale,
		.b_sums = g->b_sums,
		.bias = g->bias,
		.c = g->c,
		.c_stride = g->c_stride,
		.act = g->act,
		.gated = g->gated,
		.factor = g->factor,
		.range = g->range
	};
}

/*
 * Groups of K after which a tile prefetches: 16 are 4 % faster than 4, whose loop ends too often; but
 * up to 3 tiles of rows have to prefetch many lines at a time, and then 16 are 6 to 13 % slower (one
 * tile of AVX-512, two and three of AVX-VNNI).
 */
#define EMB_STRETCH 16
#define EMB_STRETCH_FEW 4
#define EMB_TILES_FEW 3

static inline const int8_t *
emb_gemm_i8_stretch_end(const EmbTileI8 *t, const int8_t *b, const int8_t *b_end)
{
	ptrdiff_t	n = t->stretch * (ptrdiff_t) EMB_PANEL * EMB_GROUP;

	return b_end - b > n ? b + n : b_end;
}

/* Or back, for a negative number. */
static inline void
emb_gemm_i8_next_panels(EmbTileI8 *t, int32_t n_panels)
{
	ptrdiff_t	n_columns = (ptrdiff_t) n_panels * EMB_PANEL;
	ptrdiff_t	n_bytes = n_panels * (ptrdiff_t) t->b_stride;

	t->b += n_bytes;
	t->ahead += n_bytes;
	t->b_scale += n_columns;
	if (t->b_sums != NULL)
		t->b_sums += n_columns;
	if (t->bias != NULL)
		t->bias += n_columns;
	if (t->gated)
		n_columns /= 2;			/* of the result */
	if (t->factor != NULL)
		t->factor += n_columns;
	t->c += n_columns;
}

static inline void
emb_gemm_i8_next_rows(EmbTileI8 *t, int32_t n_rows)
{
	t->a += n_rows * (ptrdiff_t) t->a_stride;
	t->a_scale += n_rows;
	if (t->a_zero != NULL)
		t->a_zero += n_rows;
	if (t->factor != NULL)
		t->range += n_rows * EMB_RANGE;
	t->c += n_rows * (ptrdiff_t) t->c_stride;
}

/* The floats that tiles of a gated product are written to before they are gated. */
#define EMB_GATED_ELEMS	(8 * 6 * EMB_PANEL)

/* The same tile without steps after the product, of n_panels panels written to raw. */
static inline EmbTileI8
emb_gemm_i8_ungated(const EmbTileI8 *t, int32_t n_panels, float *raw)
{
	EmbTileI8	product = *t;

	product.c = raw;
	product.c_stride = (size_t) n_panels * EMB_PANEL;
	product.act = EMB_ACT_KIND_NONE;
	product.gated = false;
	product.factor = NULL;
	return product;
}

/* The steps after a tile's product, while C is still in the first-level cache. */
static inline void
emb_gemm_i8_activate(const EmbTileI8 *t, emb_op_activate_rows *activate, int32_t n_rows, int32_t n_panels)
{
	if (!t->unfinished && (t->act != EMB_ACT_KIND_NONE || t->factor != NULL))
		activate(t->act, t->c, t->c_stride, n_rows, n_panels, t->factor, t->range);
}

/* A tile of rows by a group of panels; an incomplete group uses smaller tiles. Leaves t as it was. */
static inline void
emb_gemm_i8_block(const EmbGemmI8Level *level, int32_t n_rows, int32_t n_panels, EmbTileI8 *t)
{
	int32_t		n_taken;

	for (int32_t left = n_panels; ; left -= n_taken)
	{
		level->pick(n_rows, left, &n_taken) (t);
		emb_gemm_i8_activate(t, level->activate, n_rows, n_taken);
		if (n_taken == left)
		{
			if (left != n_panels)
				emb_gemm_i8_next_panels(t, left - n_panels);
			return;
		}
		emb_gemm_i8_next_panels(t, n_taken);
	}
}

/* The same for a gated product; n_panels is even. */
static inline void
emb_gemm_i8_gated_block(const EmbGemmI8Level *level, int32_t n_rows, int32_t n_panels, const EmbTileI8 *t)
{
	float		raw[EMB_GATED_ELEMS];
	EmbTileI8	product = emb_gemm_i8_ungated(t, n_panels, raw);

	emb_gemm_i8_block(level, n_rows, n_panels, &product);
	level->gate(t->act, raw, product.c_stride, n_rows, n_panels / 2, t->factor, t->range, t->c, t->c_stride);
}

/* All rows by a group of panels, t->n_groups of K. Leaves t as it was, but for what it prefetched. */
static inline void
emb_gemm_i8_rows(const EmbGemmI8 *g, const EmbGemmI8Level *level, int32_t n_panels, bool prefetches, EmbTileI8 *t)
{
	int32_t		n_tiles = (g->n_rows - 1) / level->rows_max + 1;
	int32_t		stretch = n_tiles <= EMB_TILES_FEW ? EMB_STRETCH_FEW : EMB_STRETCH;
	int32_t		n_ahead = (stretch - 1) / n_tiles + 1;
	int32_t		n_tile_ahead = ((t->n_groups - 1) / stretch + 1) * n_ahead;
	int32_t		ahead_left = prefetches ? t->n_groups : 0;

	t->stretch = stretch;
	for (int32_t i = 0; i < n_tiles; i++)
	{
		int32_t		n_rows = emb_gemm_tile_rows(g->n_rows, n_tiles, i);

		t->n_ahead = ahead_left > 0 ? n_ahead : 0;
		if (g->gated)
			emb_gemm_i8_gated_block(level, n_rows, n_panels, t);
		else
			emb_gemm_i8_block(level, n_rows, n_panels, t);
		emb_gemm_i8_next_rows(t, n_rows);
		ahead_left -= n_tile_ahead;
		t->ahead += (size_t) n_tile_ahead * EMB_PANEL * EMB_GROUP;
	}
	emb_gemm_i8_next_rows(t, -g->n_rows);
}

/* Or back. */
static inline void
emb_gemm_i8_next_groups(EmbTileI8 *t, int32_t n_groups)
{
	t->a += n_groups * (ptrdiff_t) EMB_GROUP;
	t->b += n_groups * (ptrdiff_t) EMB_PANEL * EMB_GROUP;
}

static inline void
emb_gemm_i8_walk(const EmbGemmI8 *g, const EmbGemmI8Level *level)
{
	EmbTileI8	t = emb_gemm_i8_first_tile(g);
	/* sums of a gated product have no place in C */
	int32_t		n_cuts = g->gated ? 1 : (g->n_groups - 1) / level->groups_max + 1;
	/* pairs of panels */
	int32_t		panels_max = g->gated && level->panels_max % 2 != 0 ? 2 * level->panels_max : level->panels_max;

	for (int32_t left = g->n_panels; left > 0; left -= panels_max)
	{
		int32_t		n_panels = left < panels_max ? left : panels_max;
		const int8_t *next_panels = t.b + n_panels * t.b_stride;

		for (int32_t i = 0; i < n_cuts; i++)
		{
			t.n_groups = emb_gemm_tile_rows(g->n_groups, n_cuts, i);
			t.resumes = i > 0;
			t.unfinished = i + 1 < n_cuts;
			t.ahead = t.unfinished ? t.b + (size_t) t.n_groups * EMB_PANEL * EMB_GROUP : next_panels;
			emb_gemm_i8_rows(g, level, n_panels, t.unfinished || left >= 2 * n_panels, &t);
			emb_gemm_i8_next_groups(&t, t.n_groups);
		}
		emb_gemm_i8_next_groups(&t, -g->n_groups);
		emb_gemm_i8_next_panels(&t, n_panels);
	}
}

#endif
