/*
 * attend_amx.c
 *		Attention in int8 with the tiles of AMX: 16 queries at a time. Packed keys
 *		and values are tiles of B as they are, also the start values of the
 *		products: a tile whose 16 rows are one.
 *
 * Scores lie by panels, [L / 16][16 queries][16 keys], as tiles of sums are
 * stored. The sums become scores where they are, and the codes of 64 keys lie
 * where the scores of the first 16 of them were: one tile of A.
 *
 * The tile unit works beside the arithmetic on floats if instructions that
 * wait for it do not fill the CPU's window. So the sums of a pair of panels are
 * stored one pair after their products, and read one pair later (also because
 * sums stored 4 kB after what is read hold up the reading); the codes of a block are
 * multiplied after the next block's are written; and the contexts of a tile of
 * queries are finished while the next tile's first keys multiply.
 *
 * Tiles are configured when the number of rows changes (40 queries are 14, 13
 * and 13) and released before the return.
 */
#include "kernels/target.h"

#if EMB_COMPILER_HAS_AMX

#include <float.h>
#include <immintrin.h>
#include <string.h>

#include "kernels/amx_tiles.h"
#include "kernels/declare.h"

#define BLOCK_PANELS	4		/* of keys whose codes are one tile of A */
#define BLOCK_KEYS		(BLOCK_PANELS * EMB_PANEL)
#define SCORE_PANELS	2		/* that are multiplied before others become scores */
#define BLOCK_SCORES	(BLOCK_KEYS * TILE_ROWS)
#define PANEL_SCORES	(EMB_PANEL * TILE_ROWS)
#define GROUP_BYTES		(EMB_PANEL * EMB_GROUP)
#define SEGMENT_PANELS	(EMB_ATTEND_SEGMENT / EMB_PANEL)

#define HEAD_SIZE_MAX	256
/* With fewer queries, or fewer scores, AVX-512 VNNI is as fast: configuring tiles takes 200 cycles. */
#ifndef QUERIES_MIN
#define QUERIES_MIN		7
#define SCORES_MIN		1024
#endif

/*
 * Tile registers: 0, 1, 6, 7 sums; 2 A and 4 B of 64 bytes of K; 3 and 5 what
 * is left of K when a head has no multiple of 64.
 */

EMB_TARGET_BEGIN(EMB_TARGET_AMX)

#include "kernels/v16_avx512.h"
#include "kernels/attend_zmm.h"
#include "kernels/v16_math.h"
#include "kernels/attend_weights.h"

typedef struct Attend
{
	_Alignas(64) int32_t sums[HEAD_SIZE_MAX / EMB_PANEL][TILE_ROWS][EMB_PANEL];	/* of codes and values */
	_Alignas(64) int8_t last_values[BLOCK_KEYS * HEAD_SIZE_MAX];	/* of an incomplete block, then zeros */
	v16			largest[TILE_ROWS];	/* of each query and lane in a segment */
	v16			weights[TILE_ROWS]; /* sums of the weights in a segment */
	v16			joined[TILE_ROWS];	/* sums of the weights of all segments so far, if there are several */
	float		origins[TILE_ROWS];	/* the maximum of each query in a segment */
	float		shares[TILE_ROWS];
	float		factors[TILE_ROWS];	/* of the scores of each query */
	const EmbAttendI8 *a;
	size_t		key_panel;		/* bytes */
	size_t		v_stride;
	size_t		s_stride;		/* of maxima and factors */
	int32_t		n_whole_steps;	/* of 64 bytes of K */
	int32_t		n_value_panels;
	int32_t		n_blocks;		/* complete ones of the head */
	int32_t		rows_configured;
	/* the tile of queries at hand */
	int32_t		first;
	int32_t		n_rows;
	int32_t		n_seen;			/* by its first query */
	int32_t		n_panels;
	int32_t		n_whole;		/* panels that all of its queries see */
	int32_t		n_segments;
} Attend;

/* ------------------------------------------------------------------ tiles */

static void
configure(Attend *w)
{
	TileConfig	config = {.palette = 1};
	int32_t		left = (w->a->head.head_size + EMB_GROUP - 1) / EMB_GROUP % STEP_GROUPS;

	if (w->rows_configured == w->n_rows)
		return;
	w->rows_configured = w->n_rows;
	for (int i = 0; i < N_TILES; i++)
	{
		config.row_bytes[i] = TILE_BYTES;
		config.rows[i] = (uint8_t) w->n_rows;
	}
	config.rows[4] = STEP_GROUPS;
	config.row_bytes[3] = (uint16_t) (left * EMB_GROUP);
	config.row_bytes[5] = left > 0 ? TILE_BYTES : 0;
	config.rows[3] = left > 0 ? (uint8_t) w->n_rows : 0;
	config.rows[5] = (uint8_t) left;
	load_tile_config(&config);
}

/* One panel of keys: start values and products with all of K. tile is a constant. */
#define MULTIPLY_KEYS(w, tile, panel) \
do { \
	const int8_t *k_ = (w)->a->head.keys + (panel) * (w)->key_panel; \
	const uint8_t *q_ = (w)->a->q + (w)->first * (w)->a->q_stride; \
\
	_tile_loadd(tile, (w)->a->head.key_starts + (panel) * EMB_PANEL, 0); \
	for (int32_t step_ = 0; step_ < (w)->n_whole_steps; step_++) \
	{ \
		if ((w)->n_whole_steps > 1) \
			_tile_loadd(2, q_ + step_ * TILE_BYTES, (w)->a->q_stride); \
		_tile_loadd(4, k_ + step_ * STEP_BYTES, TILE_BYTES); \
		_tile_dpbusd(tile, 2, 4); \
	} \
	if ((w)->key_panel % STEP_BYTES != 0) \
	{ \
		_tile_loadd(5, k_ + (w)->n_whole_steps * STEP_BYTES, TILE_BYTES); \
		_tile_dpbusd(tile, 3, 5); \
	} \
} while (0)

/* Queries that stay in their registers while keys pass. */
static void
load_queries(const Attend *w)
{
	const uint8_t *q = w->a->q + w->first * w->a->q_stride;

	if (w->n_whole_steps == 1)
		_tile_loadd(2, q, w->a->q_stride);
	if (w->key_panel % STEP_BYTES != 0)
		_tile_loadd(3, q + w->n_whole_steps * TILE_BYTES, w->a->q_stride);
}

/* A pair of panels, or what is left of it before end. Sums by turns in two pairs of registers. */
static void
multiply_pair(const Attend *w, int32_t panel, int32_t end)
{
	if (panel % (2 * SCORE_PANELS) == 0)
	{
		if (panel < end)
			MULTIPLY_KEYS(w, 0, panel);
		if (panel + 1 < end)
			MULTIPLY_KEYS(w, 1, panel + 1);
	}
	else
	{
		if (panel < end)
			MULTIPLY_KEYS(w, 6, panel);
		if (panel + 1 < end)
			MULTIPLY_KEYS(w, 7, panel + 1);
	}
}

/* The sums of a pair go where its scores will be. */
static void
store_pair(const Attend *w, int32_t panel, int32_t end)
{
	float	   *to = w->a->scores + (size_t) panel * PANEL_SCORES;

	if (panel % (2 * SCORE_PANELS) == 0)
	{
		if (panel < end)
			_tile_stored(0, to, TILE_BYTES);
		if (panel + 1 < end)
			_tile_stored(1, to + PANEL_SCORES, TILE_BYTES);
	}
	else
	{
		if (panel < end)
			_tile_stored(6, to, TILE_BYTES);
		if (panel + 1 < end)
			_tile_stored(7, to + PANEL_SCORES, TILE_BYTES);
	}
}

/* n_panels is a constant: 1, 2 or 4. */
EMB_ALWAYS_INLINE void
zero_sums(const int n_panels)
{
	_tile_zero(0);
	if (n_panels > 1)
		_tile_zero(1);
	if (n_panels > 2)
	{
		_tile_zero(6);
		_tile_zero(7);
	}
}

/* Codes of a block of keys by values of n_panels panels from a panel on. */
EMB_ALWAYS_INLINE void
multiply_values(const Attend *w, int32_t block, int32_t panel, const int n_panels)
{
	const int8_t *v = (block < w->n_blocks ? w->a->head.values + block * (BLOCK_KEYS / EMB_GROUP) * w->v_stride
					   : w->last_values) + panel * GROUP_BYTES;

	__asm__ volatile ("" : : : "memory");	/* some compilers believe that tileloadd reads no codes */
	_tile_loadd(2, w->a->scores + (size_t) block * BLOCK_SCORES, TILE_BYTES);
	_tile_loadd(4, v, w->v_stride);
	_tile_dpbusd(0, 2, 4);
	if (n_panels > 1)
	{
		_tile_loadd(4, v + GROUP_BYTES, w->v_stride);
		_tile_dpbusd(1, 2, 4);
	}
	if (n_panels > 2)
	{
		_tile_loadd(4, v + 2 * GROUP_BYTES, w->v_stride);
		_tile_dpbusd(6, 2, 4);
		_tile_loadd(4, v + 3 * GROUP_BYTES, w->v_stride);
		_tile_dpbusd(7, 2, 4);
	}
}

EMB_ALWAYS_INLINE void
store_sums(Attend *w, int32_t panel, const int n_panels)
{
	_tile_stored(0, w->sums[panel], TILE_BYTES);
	if (n_panels > 1)
		_tile_stored(1, w->sums[panel + 1], TILE_BYTES);
	if (n_panels > 2)
	{
		_tile_stored(6, w->sums[panel + 2], TILE_BYTES);
		_tile_stored(7, w->sums[panel + 3], TILE_BYTES);
	}
}

/* ----------------------------------------------------------------- scores */

/*
 * Sums become scores, in n_panels panels; biased and causal (some query of the
 * tile does not see all of these keys) are constants.
 */
EMB_ALWAYS_INLINE void
score_panels(Attend *w, int32_t panel, const int n_panels, const bool biased, const bool causal)
{
	const EmbHeadI8 *head = &w->a->head;
	float	   *scores = w->a->scores + (size_t) panel * PANEL_SCORES;
	int32_t		column = panel * EMB_PANEL;
	v16			scales[SCORE_PANELS],
				logs[SCORE_PANELS];

	EMB_UNROLL
	for (int p = 0; p < n_panels; p++)
	{
		scales[p] = v16_load(head->key_scales + column + p * EMB_PANEL);
		logs[p] = v16_load(head->value_logs + column + p * EMB_PANEL);
	}
	for (int32_t r = 0; r < w->n_rows; r++)
	{
		v16			factor = v16_set(w->factors[r]);
		v16			largest = w->largest[r];

		EMB_UNROLL
		for (int p = 0; p < n_panels; p++)
		{
			float	   *at = scores + p * PANEL_SCORES + r * EMB_PANEL;
			v16			u = v16_fma(v16_from_i32(i32x16_load(at)), v16_mul(factor, scales[p]), logs[p]);

			if (biased)
				u = v16_add(u, v16_load(w->a->bias + column + p * EMB_PANEL - w->first - r));
			if (causal)
			{
				int32_t		n = w->n_seen + r - column - p * EMB_PANEL;

				u = v16_keep(u, n < 0 ? 0 : n < EMB_PANEL ? n : EMB_PANEL, LOG_OF_NOTHING);
			}
			v16_store(at, u);
			largest = v16_max(u, largest);
		}
		w->largest[r] = largest;
	}
}

static void
score_plain(Attend *w, int32_t panel)
{
	score_panels(w, panel, SCORE_PANELS, false, false);
}

static void
score_biased(Attend *w, int32_t panel)
{
	score_panels(w, panel, SCORE_PANELS, true, false);
}

static void
score_plain_panel(Attend *w, int32_t panel)
{
	score_panels(w, panel, 1, false, false);
}

static void
score_biased_panel(Attend *w, int32_t panel)
{
	score_panels(w, panel, 1, true, false);
}

static void
score_causal_panel(Attend *w, int32_t panel)
{
	score_panels(w, panel, 1, false, true);
}

static void
score_pair(Attend *w, int32_t panel, int32_t end)
{
	bool		biased = w->a->bias != NULL;

	if (panel + SCORE_PANELS <= end && panel + SCORE_PANELS <= w->n_whole)
	{
		biased ? score_biased(w, panel) : score_plain(w, panel);
		return;
	}
	for (int32_t p = panel; p < panel + SCORE_PANELS && p < end; p++)
		if (p >= w->n_whole)
			score_causal_panel(w, p);
		else
			biased ? score_biased_panel(w, p) : score_plain_panel(w, p);
}

static int32_t
segment_end(const Attend *w, int32_t s)
{
	return s + 1 < w->n_segments ? (s + 1) * SEGMENT_PANELS : w->n_panels;
}

/* Panels of the block that begins with a panel. */
static int32_t
block_panels(int32_t panel, int32_t end)
{
	return end - panel < BLOCK_PANELS ? end - panel : BLOCK_PANELS;
}

static void
begin_segment(const Attend *w, int32_t s)
{
	int32_t		panel = s * SEGMENT_PANELS;
	int32_t		end = segment_end(w, s);

	multiply_pair(w, panel, end);
	multiply_pair(w, panel + SCORE_PANELS, end);
	store_pair(w, panel, end);
}

/* The scores of a segment, whose first block is multiplied already, and its maxima. */
static void
score_segment(Attend *w, int32_t s)
{
	int32_t		end = segment_end(w, s);

	for (int32_t r = 0; r < TILE_ROWS; r++)
		w->largest[r] = v16_set(r < w->n_rows ? -FLT_MAX : 0.0f);
	for (int32_t panel = s * SEGMENT_PANELS; panel < end; panel += SCORE_PANELS)
	{
		store_pair(w, panel + SCORE_PANELS, end);
		multiply_pair(w, panel + 2 * SCORE_PANELS, end);
		score_pair(w, panel, end);
	}
	v16_store(w->origins, v16_largest_each(w->largest, w->n_rows));
	for (int32_t r = 0; w->n_segments > 1 && r < w->n_rows; r++)
		w->a->maxima[r * w->s_stride + s] = w->origins[r];
}

/* ----------------------------------------------------------------- values */

/* Codes of 64 keys in a row, of which n_panels panels have scores. */
EMB_ALWAYS_INLINE void
weigh_row(Attend *w, float *scores, const float *inverses, int r, const int n_panels, const bool masked)
{
	const __m512i quarters = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
	v16			origin = v16_set(w->origins[r]);
	v16			weights = w->weights[r];
	__m512i		codes[BLOCK_PANELS];

	EMB_UNROLL
	for (int p = 0; p < BLOCK_PANELS; p++)
	{
		codes[p] = _mm512_setzero_si512();
		if (p < n_panels)
		{
			v16			e = weights_v16(v16_load(scores + p * PANEL_SCORES + r * EMB_PANEL), origin, masked);

			codes[p] = _mm512_cvtps_epi32(e);
			weights = v16_fma(e, v16_load(inverses + p * EMB_PANEL), weights);
		}
	}
	w->weights[r] = weights;
	codes[0] = _mm512_packus_epi32(codes[0], codes[1]);
	codes[2] = _mm512_packus_epi32(codes[2], codes[3]);
	_mm512_storeu_si512(scores + r * EMB_PANEL, _mm512_permutexvar_epi32(quarters, _mm512_packus_epi16(codes[0], codes[2])));
}

EMB_ALWAYS_INLINE void
weigh_rows(Attend *w, int32_t panel, const int n_panels, const bool masked)
{
	float	   *scores = w->a->scores + (size_t) panel * PANEL_SCORES;
	const float *inverses = w->a->head.value_inverses + panel * EMB_PANEL;

	for (int32_t r = 0; r < w->n_rows; r++)
		weigh_row(w, scores, inverses, r, n_panels, masked);
}

static void
weigh_plain(Attend *w, int32_t panel)
{
	weigh_rows(w, panel, BLOCK_PANELS, false);
}

static void
weigh_masked(Attend *w, int32_t panel)
{
	weigh_rows(w, panel, BLOCK_PANELS, true);
}

/* With fewer panels than a block; as if masked, which costs little here. */
static void
weigh_part(Attend *w, int32_t panel, int32_t n_panels)
{
	if (n_panels == 1)
		weigh_rows(w, panel, 1, true);
	else if (n_panels == 2)
		weigh_rows(w, panel, 2, true);
	else
		weigh_rows(w, panel, 3, true);
}

static void
weigh_block(Attend *w, int32_t panel, int32_t n_panels)
{
	if (n_panels < BLOCK_PANELS)
		weigh_part(w, panel, n_panels);
	else if (w->a->bias != NULL || panel + BLOCK_PANELS > w->n_whole)
		weigh_masked(w, panel);
	else
		weigh_plain(w, panel);
}

/* Codes of a segment and their products with the first n_panels panels of values. */
EMB_ALWAYS_INLINE void
weigh_segment(Attend *w, int32_t s, const int n_panels)
{
	int32_t		end = segment_end(w, s);

	zero_sums(n_panels);
	for (int32_t r = 0; r < TILE_ROWS; r++)
		w->weights[r] = v16_set(0.0f);
	for (int32_t panel = s * SEGMENT_PANELS; panel < end; panel += BLOCK_PANELS)
	{
		weigh_block(w, panel, block_panels(panel, end));
		if (panel > s * SEGMENT_PANELS)
			multiply_values(w, panel / BLOCK_PANELS - 1, 0, n_panels);
	}
	multiply_values(w, (end - 1) / BLOCK_PANELS, 0, n_panels);
	store_sums(w, 0, n_panels);
}

/* Products of the codes with n_panels more panels of values. */
EMB_ALWAYS_INLINE void
combine_segment(Attend *w, int32_t s, int32_t first_panel, const int n_panels)
{
	int32_t		end = segment_end(w, s);

	zero_sums(n_panels);
	for (int32_t panel = s * SEGMENT_PANELS; panel < end; panel += BLOCK_PANELS)
		multiply_values(w, panel / BLOCK_PANELS, first_panel, n_panels);
	store_sums(w, first_panel, n_panels);
}

static void
process_values(Attend *w, int32_t s)
{
	int32_t		n = w->n_value_panels;
	int32_t		panel = n >= 4 ? 4 : n >= 2 ? 2 : 1;

	if (panel == 4)
		weigh_segment(w, s, 4);
	else if (panel == 2)
		weigh_segment(w, s, 2);
	else
		weigh_segment(w, s, 1);
	for (; n - panel >= 4; panel += 4)
		combine_segment(w, s, panel, 4);
	if (n - panel >= 2)
	{
		combine_segment(w, s, panel, 2);
		panel += 2;
	}
	if (n > panel)
		combine_segment(w, s, panel, 1);
}

/* --------------------------------------------------------------- contexts */

/* Each lane r: v16_sum of rows[r]. The steps of v16_largest_each, which pair the same lanes. */
EMB_ALWAYS_INLINE v16
sum_each(const v16 rows[TILE_ROWS])
{
	const __m512i columns = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
	v16			by8[8],
				by4[4],
				by2[2];

	EMB_UNROLL
	for (int i = 0; i < 8; i++)
		by8[i] = v16_add(_mm512_shuffle_f32x4(rows[2 * i], rows[2 * i + 1], 0x44),
						 _mm512_shuffle_f32x4(rows[2 * i], rows[2 * i + 1], 0xEE));
	EMB_UNROLL
	for (int i = 0; i < 4; i++)
		by4[i] = v16_add(_mm512_shuffle_f32x4(by8[2 * i], by8[2 * i + 1], 0x88),
						 _mm512_shuffle_f32x4(by8[2 * i], by8[2 * i + 1], 0xDD));
	EMB_UNROLL
	for (int i = 0; i < 2; i++)
		by2[i] = v16_add(_mm512_unpacklo_ps(by4[2 * i], by4[2 * i + 1]), _mm512_unpackhi_ps(by4[2 * i], by4[2 * i + 1]));
	return _mm512_permutexvar_ps(columns, v16_add(_mm512_shuffle_ps(by2[0], by2[1], 0x44), _mm512_shuffle_ps(by2[0], by2[1], 0xEE)));
}

/* The sums of n_rows queries from query first on, of whose keys there is one segment. */
static void
finish_rows(Attend *w, int32_t first, int32_t n_rows)
{
	const EmbAttendI8 *a = w->a;

	v16_store(w->shares, v16_div(v16_set(1.0f), sum_each(w->weights)));
	for (int32_t r = 0; r < n_rows; r++)
	{
		v16			share = v16_set(w->shares[r]);
		float	   *out = a->out + (first + r) * a->out_stride;
		int32_t		c = 0;

		for (; (c + 1) * EMB_PANEL <= a->head.head_size; c++)
			v16_store(out + c * EMB_PANEL, v16_mul(v16_from_i32(i32x16_load(w->sums[c][r])), share));
		if (c < w->n_value_panels)
			v16_store_part(out + c * EMB_PANEL, v16_mul(v16_from_i32(i32x16_load(w->sums[c][r])), share),
						   a->head.head_size - c * EMB_PANEL);
	}
}

/* Adds the sums of a segment to those of the segments before; after the last one, divides. */
static void
join_segment(Attend *w, int32_t s)
{
	const EmbAttendI8 *a = w->a;

	for (int32_t r = 0; r < w->n_rows; r++)
	{
		v16			factor = v16_set(a->factors[r * w->s_stride + s]);
		float	   *out = a->out + (w->first + r) * a->out_stride;
		v16			share;

		w->joined[r] = v16_fma(w->weights[r], factor, s == 0 ? v16_set(0.0f) : w->joined[r]);
		share = v16_set(1.0f / v16_sum(w->joined[r]));
		for (int32_t c = 0; c < w->n_value_panels; c++)
		{
			int32_t		left = a->head.head_size - c * EMB_PANEL;
			int			n = left < EMB_PANEL ? left : EMB_PANEL;
			v16			before = s == 0 ? v16_set(0.0f) : v16_load_part(out + c * EMB_PANEL, n);
			v16			sum = v16_fma(v16_from_i32(i32x16_load(w->sums[c][r])), factor, before);

			v16_store_part(out + c * EMB_PANEL, s + 1 < w->n_segments ? sum : v16_mul(sum, share), n);
		}
	}
}

/* ---------------------------------------------------------------- queries */

static void
begin_rows(Attend *w, int32_t first, int32_t n_rows)
{
	const EmbAttendI8 *a = w->a;
	int32_t		n_keys;

	w->first = first;
	w->n_rows = n_rows;
	w->n_seen = a->n_seen > 0 ? a->n_seen + first : a->head.n_tokens;
	n_keys = a->n_seen > 0 ? w->n_seen + n_rows - 1 : w->n_seen;
	w->n_panels = (int32_t) (emb_head_i8_tokens(n_keys) / EMB_PANEL);
	w->n_whole = a->n_seen > 0 ? w->n_seen / EMB_PANEL : w->n_panels;
	w->n_segments = (n_keys - 1) / EMB_ATTEND_SEGMENT + 1;
	configure(w);
	load_queries(w);
	begin_segment(w, 0);
}

static void
set_row_factors(Attend *w)
{
	v16_store(w->factors, v16_mul(v16_load_part(w->a->q_scales + w->first, w->n_rows), v16_set(w->a->scale)));
}

static void
attend_segments(Attend *w)
{
	for (int32_t s = 0; s < w->n_segments; s++)
	{
		if (s > 0)
			begin_segment(w, s);
		score_segment(w, s);
	}
	for (int32_t r = 0; r < w->n_rows; r++)
		join_factors(w->a->maxima + r * w->s_stride, w->n_segments, w->a->factors + r * w->s_stride);
	for (int32_t s = 0; s < w->n_segments; s++)
	{
		for (int32_t r = 0; r < w->n_rows; r++)
			w->origins[r] = w->a->maxima[r * w->s_stride + s];
		process_values(w, s);
		join_segment(w, s);
	}
}

/* The values of the keys after the last complete block, with zeros up to a block. */
static void
copy_last_values(Attend *w)
{
	int32_t		n_tokens = (int32_t) emb_head_i8_tokens(w->a->head.n_tokens);
	size_t		n_left = (size_t) (n_tokens % BLOCK_KEYS / EMB_GROUP) * w->v_stride;

	memcpy(w->last_values, w->a->head.values + (size_t) w->n_blocks * (BLOCK_KEYS / EMB_GROUP) * w->v_stride, n_left);
	memset(w->last_values + n_left, 0, BLOCK_KEYS / EMB_GROUP * w->v_stride - n_left);
}

void
emb_attend_i8_amx(const EmbAttendI8 *a)
{
	int32_t		n_tiles = (a->n_queries - 1) / TILE_ROWS + 1;
	int32_t		first = 0;
	int32_t		n_pending = 0;	/* queries before first that are not finished */
	Attend		w;

	if (a->n_queries < QUERIES_MIN || (int64_t) a->n_queries * a->head.n_tokens < SCORES_MIN || a->head.head_size > HEAD_SIZE_MAX)
	{
		emb_attend_i8_avx512vnni(a);
		return;
	}
	w.a = a;
	w.key_panel = (size_t) (a->head.head_size + EMB_GROUP - 1) / EMB_GROUP * GROUP_BYTES;
	w.v_stride = emb_head_i8_columns(a->head.head_size) * EMB_GROUP;
	w.s_stride = emb_attend_segments(a->head.n_tokens);
	w.n_whole_steps = (int32_t) (w.key_panel / STEP_BYTES);
	w.n_value_panels = (int32_t) (emb_head_i8_columns(a->head.head_size) / EMB_PANEL);
	w.n_blocks = (int32_t) (emb_head_i8_tokens(a->head.n_tokens) / BLOCK_KEYS);
	w.rows_configured = 0;
	copy_last_values(&w);
	for (size_t i = 0; a->head.n_tokens > EMB_ATTEND_SEGMENT && i < TILE_ROWS * w.s_stride; i++)
		a->maxima[i] = LOG_OF_NOTHING;
	for (int32_t i = 0; i < n_tiles; i++)
	{
		begin_rows(&w, first, a->n_queries / n_tiles + (i < a->n_queries % n_tiles));
		if (n_pending > 0)
			finish_rows(&w, first - n_pending, n_pending);
		set_row_factors(&w);
		n_pending = 0;
		if (w.n_segments > 1)
			attend_segments(&w);
		else
		{
			score_segment(&w, 0);
			process_values(&w, 0);
			n_pending = w.n_rows;
		}
		first += w.n_rows;
	}
	if (n_pending > 0)
		finish_rows(&w, first - n_pending, n_pending);
	_tile_release();
}

EMB_TARGET_END

#endif
