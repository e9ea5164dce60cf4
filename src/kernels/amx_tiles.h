/*
 * amx_tiles.h
 *		The tile registers of AMX as the matrix products use them: sums 0..3, A 4
 *		and 5, B 6 and 7. A step is K = 64, 64 bytes of a row of A by a tile of B.
 */
#ifndef EMB_KERNELS_AMX_TILES_H
#define EMB_KERNELS_AMX_TILES_H

#include <immintrin.h>

#include "kernels/kernels.h"
#include "kernels/target.h"

#define TILE_ROWS		16		/* at most, of a tile register */
#define TILE_BYTES		64		/* of a row of it */
#define STEP_GROUPS		16		/* of 4 inputs */
#define STEP_BYTES		(STEP_GROUPS * EMB_PANEL * EMB_GROUP)
#define N_SUMS			4
#define N_TILES			8

/*
 * Measured against AVX-512 VNNI, K = 384, B from the second level: 1 row 147 and
 * 152 GOPS, 2 rows 293 and 270, 3 rows 442 and 302, 4 rows 585 and 503. From the
 * third level, where a model has B, there is no difference up to 6 rows.
 */
#define ROWS_MIN		4

/* The operand of ldtilecfg, palette 1. */
typedef struct TileConfig
{
	uint8_t		palette;
	uint8_t		start_row;
	uint8_t		reserved[14];
	uint16_t	row_bytes[16];	/* 8 registers, then zeros */
	uint8_t		rows[16];
} TileConfig;

_Static_assert(sizeof(TileConfig) == 64, "ldtilecfg reads 64 bytes");

EMB_TARGET_BEGIN(EMB_TARGET_AMX)

static inline void
load_tile_config(const TileConfig *config)
{
	/* some compilers believe that ldtilecfg reads 8 bytes, and tileloadd none */
	__asm__ volatile ("" : : "r" (config) : "memory");
	_tile_loadconfig(config);
}

static inline void
configure_tiles(int32_t tile_rows)
{
	TileConfig	config = {.palette = 1};

	for (int i = 0; i < N_TILES; i++)
	{
		config.row_bytes[i] = TILE_BYTES;
		config.rows[i] = (uint8_t) (i < 6 ? tile_rows : STEP_GROUPS);
	}
	load_tile_config(&config);
}

EMB_TARGET_END

#endif
