/*
 * gemm_grouped_amx.c
 *		C = act(scaled A B + bias) with scales by groups, AMX: unpacked codes, and
 *		those of 8 bits, are tiles of B as in gemm_i8_amx.c. 16 rows by 4 panels: a step of K = 64 loads 5
 *		tiles (8 cycles each) for 4 products (16 each).
 *
 * Sums pass through memory after each group of inputs, where AVX-512 adds the
 * chains' links: so 16 rows of 4 panels with groups of 128 take 128 cycles of
 * products, and about as many instructions of AVX-512 that run beside the
 * next group's products. As for int8, no machine with AMX was available.
 *
 * Tiles are configured again when the number of rows changes, at most twice
 * for each block. Few rows, and groups of 32, go to AVX-512 VNNI.
 */
#include "kernels/target.h"

#if EMB_COMPILER_HAS_AMX

#include <immintrin.h>
#include <string.h>

#include "kernels/amx_tiles.h"
#include "kernels/gemm_grouped.h"

EMB_TARGET_BEGIN(EMB_TARGET_AMX)

#include "kernels/gemm_grouped_zmm.h"

#define STATE_BYTES	(GROUPED_STATE_STRIDE * sizeof(float))

/* Sums 0 .. n_panels - 1, from zero or from state. */
static void
start_sums(const EmbTileGrouped *t, int32_t n_panels)
{
	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
	if (!t->carries_in)
		return;
	_tile_loadd(0, t->state, STATE_BYTES);
	if (n_panels > 1)
		_tile_loadd(1, t->state + EMB_PANEL, STATE_BYTES);
	if (n_panels > 2)
		_tile_loadd(2, t->state + 2 * EMB_PANEL, STATE_BYTES);
	if (n_panels > 3)
		_tile_loadd(3, t->state + 3 * EMB_PANEL, STATE_BYTES);
}

/* Adds the products of n_groups groups of 4 inputs. */
static void
multiply_sums(const EmbTileGrouped *t, const uint8_t *a, const int8_t *b, int32_t n_groups, int32_t n_panels)
{
	for (; n_groups > 0; n_groups -= STEP_GROUPS, a += STEP_GROUPS * EMB_GROUP, b += STEP_BYTES)
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
		}
		if (n_panels > 3)
		{
			_tile_loadd(7, b + 3 * t->b_stride, TILE_BYTES);
			_tile_dpbusd(3, 4, 7);
		}
	}
}

/* row_bytes from row to row. */
static void
store_sums(void *sums, size_t panel_bytes, size_t row_bytes, int32_t n_panels)
{
	char	   *p = sums;

	_tile_stored(0, p, row_bytes);
	if (n_panels > 1)
		_tile_stored(1, p + panel_bytes, row_bytes);
	if (n_panels > 2)
		_tile_stored(2, p + 2 * panel_bytes, row_bytes);
	if (n_panels > 3)
		_tile_stored(3, p + 3 * panel_bytes, row_bytes);
}

/* The next link of the chains; after the last group C. */
static void
end_group(const EmbTileGrouped *t, int32_t sums[N_SUMS][TILE_ROWS][EMB_PANEL], const float *b_scale, bool starts, bool ends,
		  int32_t n_panels)
{
	for (int32_t p = 0; p < n_panels; p++)
	{
		__m512		scale_f32x16 = _mm512_loadu_ps(b_scale + p * t->scale_stride);

		for (int32_t r = 0; r < t->n_rows; r++)
		{
			float	   *state = t->state + r * GROUPED_STATE_STRIDE + p * EMB_PANEL;
			__m512		y = starts ? _mm512_setzero_ps() : _mm512_load_ps(state);

			y = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums[p][r])), scale_f32x16, y);
			if (ends)
				_mm512_storeu_ps(t->c + r * t->c_stride + p * EMB_PANEL,
								 finish_zmm(t, r, p, y, t->a_zero != NULL, t->bias != NULL));
			else
				_mm512_store_ps(state, y);
		}
	}
}

/* Fetches the block of the next panels while this one is multiplied. */
static void
prefetch_block(const EmbTileGrouped *t, int32_t n_panels)
{
	for (int32_t p = 0; t->ahead != NULL && p < n_panels; p++)
		for (size_t i = 0; i < t->n_groups * t->ahead_step; i += 64)
			_mm_prefetch((const char *) (t->ahead + p * t->ahead_stride + i), _MM_HINT_T1);
}

static void
tile_amx(const EmbTileGrouped *t)
{
	_Alignas(64) int32_t sums[N_SUMS][TILE_ROWS][EMB_PANEL];
	int32_t		n_panels = t->n_panels < N_SUMS ? t->n_panels : N_SUMS;
	const uint8_t *a = t->a;
	const int8_t *b = t->b;
	const float *scale = t->b_scale;

	if (*t->configured != t->n_rows)
	{
		configure_tiles(t->n_rows);
		*t->configured = t->n_rows;
	}
	prefetch_block(t, n_panels);
	for (int32_t left = t->n_groups; left > 0; left -= t->group, scale += EMB_PANEL)
	{
		int32_t		n_groups = left < t->group ? left : t->group;

		start_sums(t, n_panels);
		multiply_sums(t, a, b, n_groups, n_panels);
		if (t->carries_out)
		{
			store_sums(t->state, EMB_PANEL * sizeof(float), STATE_BYTES, n_panels);
			return;
		}
		store_sums(sums, sizeof(sums[0]), TILE_BYTES, n_panels);
		end_group(t, sums, scale, t->first && left == t->n_groups, t->last && left <= t->group, n_panels);
		a += n_groups * EMB_GROUP;
		b += (size_t) n_groups * EMB_PANEL * EMB_GROUP;
	}
}

static EmbTileGroupedFn
pick_amx(int32_t n_rows, int32_t n_panels, int32_t *n_taken)
{
	(void) n_rows;
	*n_taken = n_panels < N_SUMS ? n_panels : N_SUMS;
	return tile_amx;
}

void
emb_gemm_grouped_amx(const EmbGemmGrouped *g)
{
	static const EmbGroupedLevel four = {
		.rows_max = TILE_ROWS, .panels_max = N_SUMS, .rooms = 1, .pick = pick_amx, .widen = widen_zmm, .unpack = unpack_zmm,
		.activate = emb_activate_rows_avx512, .gate = emb_gate_rows_avx512
	};
	static const EmbGroupedLevel eight = {
		.rows_max = TILE_ROWS, .panels_max = N_SUMS, .pick = pick_amx, .widen = widen_zmm,
		.activate = emb_activate_rows_avx512, .gate = emb_gate_rows_avx512
	};

	if (g->n_rows < ROWS_MIN || g->group == 32)
	{
		emb_gemm_grouped_avx512vnni(g);
		return;
	}
	grouped_walk(g, g->bits == 4 ? &four : &eight);
	_tile_release();
}

EMB_TARGET_END

#endif
