/*
 * gemm_grouped_amx.c
 *		C = act(scaled A B + bias) with scales by groups, AMX: unpacked codes, and
 *		those of 8 bits, are tiles of B as in gemm_i8_amx.c.
 *
 * A unit is one group of inputs, one panel and 16 rows: one step of K, or two
 * for groups of 128; with groups of 32 the registers of A and B are half as
 * long. Its sums leave the tiles through memory and join the panel's 16 chains,
 * which stay in registers for a block of K, two units later: a load waits for a tile
 * that is being stored. A pass continues from panel to panel and from rows to
 * rows, and fetches the next block's bytes a few with each unit: all of them at
 * once occupied the buffers for lines on their way, 30 % of the time at 16 rows.
 * Measured on Granite Rapids, Qwen3-0.6B's products from memory in int4 with
 * groups of 128, one thread, GOPS at 16 and 128 rows: 580 and 1,414, with chains
 * in memory 380 and 1,014; avx512vnni 386 and 563.
 *
 * Whole rows as a group keep their sums in tiles. Tiles are configured again when
 * the number of rows changes, at most twice for each block. Few rows go to
 * AVX-512 VNNI.
 */
#include "kernels/target.h"

#if EMB_COMPILER_HAS_AMX

#include <immintrin.h>
#include <string.h>

#include "kernels/amx_tiles.h"
#include "kernels/gemm_grouped.h"

EMB_TARGET_BEGIN(EMB_TARGET_AMX)

#include "kernels/gemm_grouped_zmm.h"

#define DELAY		2			/* units between the store of sums and their chains */
#define RING		4			/* a power of two above DELAY */
#define PANELS_MAX	2
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

/* The only link of the chains, or one more, to state or C. */
static void
end_row(const EmbTileGrouped *t, int32_t sums[N_SUMS][TILE_ROWS][EMB_PANEL], int32_t n_panels)
{
	for (int32_t p = 0; p < n_panels; p++)
	{
		__m512		scale_f32x16 = _mm512_loadu_ps(t->b_scale + p * t->scale_stride);

		for (int32_t r = 0; r < t->n_rows; r++)
		{
			float	   *state = t->state + r * GROUPED_STATE_STRIDE + p * EMB_PANEL;
			__m512		y = t->first ? _mm512_setzero_ps() : _mm512_load_ps(state);

			y = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums[p][r])), scale_f32x16, y);
			if (t->last)
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

/* The whole row as a group: the sums of all panels stay in tiles. */
static void
tile_row(const EmbTileGrouped *t)
{
	_Alignas(64) int32_t sums[N_SUMS][TILE_ROWS][EMB_PANEL];
	int32_t		n_panels = t->n_panels < PANELS_MAX ? t->n_panels : PANELS_MAX;

	prefetch_block(t, n_panels);
	start_sums(t, n_panels);
	multiply_sums(t, t->a, t->b, t->n_groups, n_panels);
	if (t->carries_out)
	{
		store_sums(t->state, EMB_PANEL * sizeof(float), STATE_BYTES, n_panels);
		return;
	}
	store_sums(sums, sizeof(sums[0]), TILE_BYTES, n_panels);
	end_row(t, sums, n_panels);
}

/* Sums of a group and a panel on their way from the tiles to the chains. */
typedef struct Ring
{
	_Alignas(64) int32_t sums[RING][TILE_ROWS][EMB_PANEL];
} Ring;

/* The products of one group and panel: one step, or two. */
EMB_ALWAYS_INLINE void
multiply_unit(const uint8_t *a, size_t a_stride, const int8_t *b, bool has_second)
{
	_tile_zero(0);
	_tile_loadd(4, a, a_stride);
	_tile_loadd(6, b, TILE_BYTES);
	_tile_dpbusd(0, 4, 6);
	if (has_second)
	{
		_tile_loadd(5, a + STEP_GROUPS * EMB_GROUP, a_stride);
		_tile_loadd(7, b + STEP_BYTES, TILE_BYTES);
		_tile_dpbusd(0, 5, 7);
	}
}

EMB_ALWAYS_INLINE void
start_chains(const EmbTileGrouped *t, int32_t p, __m512 chain_f32x16[TILE_ROWS], const int n_rows)
{
	const float *state = t->state + p * EMB_PANEL;

	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
		chain_f32x16[r] = _mm512_setzero_ps();
	if (t->first)
		return;
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
		if (r < t->n_rows)
			chain_f32x16[r] = _mm512_load_ps(state + r * GROUPED_STATE_STRIDE);
}

EMB_ALWAYS_INLINE void
finish_chains(const EmbTileGrouped *t, int32_t p, const __m512 chain_f32x16[TILE_ROWS], const int n_rows, const bool has_zero,
			  const bool has_bias)
{
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
		if (r < t->n_rows)
			_mm512_storeu_ps(t->c + r * t->c_stride + p * EMB_PANEL, finish_zmm(t, r, p, chain_f32x16[r], has_zero, has_bias));
}

EMB_ALWAYS_INLINE void
end_chains(const EmbTileGrouped *t, int32_t p, const __m512 chain_f32x16[TILE_ROWS], const int n_rows)
{
	float	   *state = t->state + p * EMB_PANEL;

	if (!t->last)
	{
		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
			if (r < t->n_rows)
				_mm512_store_ps(state + r * GROUPED_STATE_STRIDE, chain_f32x16[r]);
	}
	else if (t->a_zero != NULL && t->bias != NULL)
		finish_chains(t, p, chain_f32x16, n_rows, true, true);
	else
		finish_chains(t, p, chain_f32x16, n_rows, t->a_zero != NULL, t->bias != NULL);
}

/* Fetches the next block's bytes, a few lines with each unit. */
typedef struct Ahead
{
	const uint8_t *from;		/* NULL: no more */
	size_t		at;				/* in a panel of panel_bytes */
	size_t		panel_bytes;
	size_t		stride;
	int32_t		panels_left;
	int32_t		n_lines;		/* with each unit */
} Ahead;

static Ahead
start_ahead(const EmbTileGrouped *t, int32_t n_panels, int32_t n_units)
{
	size_t		panel_bytes = t->n_groups * t->ahead_step;
	int32_t		n_lines = n_panels * (int32_t) (panel_bytes / 64);

	return (Ahead) {
		.from = t->ahead, .panel_bytes = panel_bytes, .stride = t->ahead_stride, .panels_left = n_panels,
		.n_lines = t->ahead != NULL ? (n_lines - 1) / n_units + 1 : 0
	};
}

EMB_ALWAYS_INLINE void
fetch_ahead(Ahead *ahead)
{
	for (int32_t i = 0; i < ahead->n_lines; i++)
	{
		_mm_prefetch((const char *) ahead->from + ahead->at, _MM_HINT_T1);
		ahead->at += 64;
		if (ahead->at < ahead->panel_bytes)
			continue;
		ahead->at = 0;
		ahead->from += ahead->stride;
		if (--ahead->panels_left == 0)
			ahead->n_lines = 0;
	}
}

/* The chains of up to n_rows rows, a constant, stay in registers: those of one panel at a time. */
EMB_ALWAYS_INLINE void
tile_groups(const EmbTileGrouped *tile, const int n_rows)
{
	Ring		ring;
	EmbTileGrouped	t = *tile;	/* where the chains are */
	const uint8_t *a = t.a;
	const size_t a_stride = t.a_stride;
	const int32_t n_panels = t.n_panels < PANELS_MAX ? t.n_panels : PANELS_MAX;
	const int32_t n_scales = (t.n_groups - 1) / t.group + 1;
	const int32_t n_units = n_scales * n_panels * t.n_tiles;
	int32_t		panel = 0, scale = 0, link_panel = 0, link_scale = 0;
	Ahead		ahead = start_ahead(&t, n_panels, n_units);
	__m512		chain_f32x16[TILE_ROWS];

	start_chains(&t, 0, chain_f32x16, n_rows);
	for (int32_t i = 0; i < n_units + DELAY; i++)
	{
		if (i < n_units)
		{
			int32_t		start = scale * t.group;

			multiply_unit(a + start * EMB_GROUP, a_stride, t.b + panel * t.b_stride + (size_t) start * EMB_PANEL * EMB_GROUP,
						  t.n_groups - start > STEP_GROUPS && t.group > STEP_GROUPS);
			fetch_ahead(&ahead);
		}
		if (i >= DELAY)
		{
			const int32_t (*sums)[EMB_PANEL] = (const int32_t (*)[EMB_PANEL]) ring.sums[(i - DELAY) % RING];
			__m512		scale_f32x16 = _mm512_loadu_ps(t.b_scale + link_panel * t.scale_stride + link_scale * EMB_PANEL);

			EMB_UNROLL
			for (int r = 0; r < n_rows; r++)
				chain_f32x16[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums[r])), scale_f32x16, chain_f32x16[r]);
			if (++link_scale == n_scales)
			{
				end_chains(&t, link_panel, chain_f32x16, n_rows);
				link_scale = 0;
				if (++link_panel == n_panels)
				{
					link_panel = 0;
					grouped_next_tile(&t, t.n_rows);
				}
				if (i + 1 < n_units + DELAY)
					start_chains(&t, link_panel, chain_f32x16, n_rows);
			}
		}
		if (i < n_units)
		{
			_tile_stored(0, ring.sums[i % RING], TILE_BYTES);
			if (++scale == n_scales)
			{
				scale = 0;
				if (++panel == n_panels)
				{
					panel = 0;
					a += t.n_rows * a_stride;
				}
			}
		}
	}
}

static void
tile_groups_8(const EmbTileGrouped *t)
{
	tile_groups(t, 8);
}

static void
tile_groups_16(const EmbTileGrouped *t)
{
	tile_groups(t, TILE_ROWS);
}

/* A step of K has 4 step_groups inputs: a whole tile register, or half of it for groups of 32. */
static void
configure_grouped(int32_t tile_rows, int32_t step_groups)
{
	TileConfig	config = {.palette = 1};

	for (int i = 0; i < N_TILES; i++)
	{
		config.row_bytes[i] = (uint16_t) (i == 4 || i == 5 ? step_groups * EMB_GROUP : TILE_BYTES);
		config.rows[i] = (uint8_t) (i < 6 ? tile_rows : step_groups);
	}
	/* some compilers believe that ldtilecfg reads 8 bytes, and tileloadd none */
	__asm__ volatile ("" : : "r" (&config) : "memory");
	_tile_loadconfig(&config);
}

static void
tile_amx(const EmbTileGrouped *t)
{
	if (*t->configured != t->n_rows)
	{
		configure_grouped(t->n_rows, t->group < STEP_GROUPS ? t->group : STEP_GROUPS);
		*t->configured = t->n_rows;
	}
	__asm__ volatile ("" : : : "memory");	/* some compilers believe that tileloadd reads no weights just unpacked */
	if (t->carries_in || t->carries_out || t->group >= t->n_groups)
	{
		EmbTileGrouped	row = *t;

		for (int32_t left = t->n_tiles; left > 0; left--)
		{
			tile_row(&row);
			grouped_next_tile(&row, t->n_rows);
			row.ahead = NULL;
		}
	}
	else if (t->n_rows <= 8)
		tile_groups_8(t);
	else
		tile_groups_16(t);
}

static EmbTileGroupedFn
pick_amx(int32_t n_rows, int32_t n_panels, int32_t *n_taken)
{
	(void) n_rows;
	*n_taken = n_panels < PANELS_MAX ? n_panels : PANELS_MAX;
	return tile_amx;
}

/*
 * From so many rows on tiles are faster than AVX-512 VNNI with weights from memory:
 * measured with 4, 8, 16, 32 and 128 rows.
 */
static int32_t
rows_min(const EmbGemmGrouped *g)
{
	if (g->group == 0)
		return 24;
	if (g->bits == 4)
		return g->group == 32 ? 8 : ROWS_MIN;
	return g->group == 128 ? 8 : 40;
}

void
emb_gemm_grouped_amx(const EmbGemmGrouped *g)
{
	static const EmbGroupedLevel four = {
		.rows_max = TILE_ROWS, .panels_max = PANELS_MAX, .loops = true, .fetches_along = true, .rooms = 1, .pick = pick_amx, .widen = widen_zmm, .unpack = unpack_zmm,
		.activate = emb_activate_rows_avx512, .gate = emb_gate_rows_avx512
	};
	static const EmbGroupedLevel eight = {
		.rows_max = TILE_ROWS, .panels_max = PANELS_MAX, .loops = true, .fetches_along = true, .pick = pick_amx, .widen = widen_zmm,
		.activate = emb_activate_rows_avx512, .gate = emb_gate_rows_avx512
	};

	if (g->n_rows < rows_min(g))
	{
		emb_gemm_grouped_avx512vnni(g);
		return;
	}
	grouped_walk(g, g->bits == 4 ? &four : &eight);
	_tile_release();
}

EMB_TARGET_END

#endif
