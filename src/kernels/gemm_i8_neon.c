/*
 * gemm_i8_neon.c
 *		C = act(scaled A B + bias) in int8, NEON with the dot product
 *		extension: one q register is one group of a quarter of a panel, 4
 *		columns of 4 bytes.
 *
 * A enters as A - 128 (gemm_sdot.h), and 128 b_sums is added. If A has zero point
 * 128, the two cancel at no cost.
 */
#if defined(__aarch64__)

#include <string.h>

#include "kernels/gemm_i8.h"
#include "kernels/target_neon.h"

EMB_TARGET_BEGIN(EMB_TARGET_NEON)

#include "kernels/gemm_i8_neon.h"

#include "kernels/gemm_sdot.h"

static void
copy_rows_neon(const EmbTileI8 *t, int32_t n_rows, uint32_t *rows)
{
	copy_rows(t->a, t->a_stride, t->n_groups, n_rows, rows);
}

/* n_rows is a constant of each instance below. */
EMB_ALWAYS_INLINE void
tile_neon(const EmbTileI8 *t, const uint32_t *rows, bool first, bool last, const int n_rows)
{
	int32x4_t	acc_i32x4[ROWS_MAX][4];

	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int h = 0; h < 4; h++)
			acc_i32x4[r][h] = start_neon(t, r, h, first);
	}
	multiply_panel(rows, t->b, t->n_groups, acc_i32x4, n_rows);
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int h = 0; h < 4; h++)
			finish_neon(t, r, h, acc_i32x4[r][h], A_OFFSET, last);
	}
}

NEON_TILES(tile_neon)

static void
sum_panel_neon(const int8_t *b, int32_t n_groups, int32_t *sums)
{
	sum_columns(b, n_groups, 1, sums);
}

void
emb_gemm_i8_neon(const EmbGemmI8 *g)
{
	static const NeonLevel level = {
		.copy_rows = copy_rows_neon,
		.tiles = NEON_TILE_NAMES,
		.sum_panel = sum_panel_neon
	};

	walk_neon(g, &level);
}

EMB_TARGET_END

#endif
