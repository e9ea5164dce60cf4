/*
 * gemm_tiles.h
 *		Instances of a tile for constant numbers of rows and panels, shared by the
 *		matrix products.
 *
 *		EMB_TILES_6(EmbTileI8, tile_avxvnni, 1)			tile_1x1 .. tile_6x1
 *		EMB_TILE(EmbTileI8, tile_avxvnni, 1, 4)			tile_1x4
 *		static const EmbTileI8Fn tiles[] = EMB_TILE_NAMES_6(1);
 *
 * tile_RxP(t) is body(t, R, P), where body is an inlined function over const
 * type *t. EMB_TILES_NARROW and EMB_PICK_NARROW are for levels with registers
 * for the sums of 6 rows of one panel.
 */
#ifndef EMB_KERNELS_GEMM_TILES_H
#define EMB_KERNELS_GEMM_TILES_H

#include <stdint.h>

#define EMB_TILE(type, body, rows, panels) \
static void \
tile_##rows##x##panels(const type *t) \
{ \
	body(t, rows, panels); \
}

#define EMB_TILES_4(type, body, panels) \
	EMB_TILE(type, body, 1, panels) EMB_TILE(type, body, 2, panels) EMB_TILE(type, body, 3, panels) \
	EMB_TILE(type, body, 4, panels)

#define EMB_TILES_6(type, body, panels) \
	EMB_TILES_4(type, body, panels) EMB_TILE(type, body, 5, panels) EMB_TILE(type, body, 6, panels)

#define EMB_TILES_8(type, body, panels) \
	EMB_TILES_6(type, body, panels) EMB_TILE(type, body, 7, panels) EMB_TILE(type, body, 8, panels)

#define EMB_TILE_NAMES_4(panels) \
	{tile_1x##panels, tile_2x##panels, tile_3x##panels, tile_4x##panels}

#define EMB_TILE_NAMES_6(panels) \
	{tile_1x##panels, tile_2x##panels, tile_3x##panels, tile_4x##panels, tile_5x##panels, tile_6x##panels}

#define EMB_TILE_NAMES_8(panels) \
	{tile_1x##panels, tile_2x##panels, tile_3x##panels, tile_4x##panels, \
	 tile_5x##panels, tile_6x##panels, tile_7x##panels, tile_8x##panels}

/* One or two rows take more panels at a time: enough chains of additions must be in flight. */
#define EMB_TILES_NARROW(type, body) \
	EMB_TILES_6(type, body, 1) EMB_TILE(type, body, 1, 4) EMB_TILE(type, body, 2, 2)

/* The tile of n_rows rows, of EMB_TILES_NARROW, that takes at most n_panels panels. */
#define EMB_PICK_NARROW(fn_type, pick) \
static fn_type \
pick(int32_t n_rows, int32_t n_panels, int32_t *n_taken) \
{ \
	static const fn_type tiles[] = EMB_TILE_NAMES_6(1); \
\
	*n_taken = n_rows == 1 && n_panels >= 4 ? 4 : n_rows == 2 && n_panels >= 2 ? 2 : 1; \
	return *n_taken == 4 ? tile_1x4 : *n_taken == 2 ? tile_2x2 : tiles[n_rows - 1]; \
}

/* Rows of tile i of n_tiles, split evenly: 13 is 5 + 4 + 4, not 6 + 6 + 1. */
static inline int32_t
emb_gemm_tile_rows(int32_t n_rows, int32_t n_tiles, int32_t i)
{
	return n_rows / n_tiles + (i < n_rows % n_tiles);
}

#endif
