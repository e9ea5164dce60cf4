/*
 * gemm_f32.h
 *		The loop over blocks, shared by the implementations of gemm_f32.
 *
 * K blocks are outermost, then tiles of rows, then groups of panels. The rows
 * of a tile stay in the first-level cache, and one K block of B (24 KB a
 * panel) in the second, if the caller passes not many more than
 * EMB_GEMM_PANELS panels at a time. C collects the block sums.
 */
#ifndef EMB_KERNELS_GEMM_F32_H
#define EMB_KERNELS_GEMM_F32_H

#include "kernels/gemm_tiles.h"
#include "kernels/kernels.h"

/* One K block of R rows by P panels. */
typedef struct EmbGemmTile
{
	int32_t		k;				/* 1 .. EMB_GEMM_K_BLOCK */
	bool		first;			/* first K block: C is overwritten, not added to */
	const float *a;				/* [R, k] */
	size_t		a_stride;
	const float *b;				/* [P][k][16] */
	size_t		b_stride;		/* from panel to panel */
	const float *bias;			/* [16 P] in the last K block, or NULL */
	float	   *c;				/* [R, 16 P] */
	size_t		c_stride;
} EmbGemmTile;

typedef void (*EmbGemmTileFn) (const EmbGemmTile *t);

/* The best tile of exactly n_rows rows and at most n_panels panels. */
typedef EmbGemmTileFn (*EmbGemmPick) (int32_t n_rows, int32_t n_panels, int32_t *n_taken);

static inline void
emb_gemm_row_tile(const EmbGemmF32 *g, int32_t n_rows, EmbGemmTile t, EmbGemmPick pick)
{
	int32_t		n_taken;

	for (int32_t left = g->n_panels; left > 0; left -= n_taken)
	{
		pick(n_rows, left, &n_taken) (&t);
		t.b += n_taken * t.b_stride;
		t.c += n_taken * EMB_PANEL;
		if (t.bias != NULL)
			t.bias += n_taken * EMB_PANEL;
	}
}

/* Rows are split evenly into tiles of at most rows_max. */
static inline void
emb_gemm_walk(const EmbGemmF32 *g, int32_t rows_max, EmbGemmPick pick)
{
	int32_t		n_tiles = (g->n_rows - 1) / rows_max + 1;

	for (int32_t k0 = 0; k0 < g->n_in; k0 += EMB_GEMM_K_BLOCK)
	{
		int32_t		k = g->n_in - k0 < EMB_GEMM_K_BLOCK ? g->n_in - k0 : EMB_GEMM_K_BLOCK;
		EmbGemmTile t = {
			.k = k,
			.first = k0 == 0,
			.a = g->a + k0,
			.a_stride = g->a_stride,
			.b = g->b + (size_t) k0 * EMB_PANEL,
			.b_stride = (size_t) g->n_in * EMB_PANEL,
			.bias = k0 + k == g->n_in ? g->bias : NULL,
			.c = g->c,
			.c_stride = g->c_stride
		};

		for (int32_t i = 0; i < n_tiles; i++)
		{
			int32_t		n_rows = emb_gemm_tile_rows(g->n_rows, n_tiles, i);

			emb_gemm_row_tile(g, n_rows, t, pick);
			t.a += n_rows * t.a_stride;
			t.c += n_rows * t.c_stride;
		}
	}
}

#endif
