/*
 * attend_impl.h
 *		Attention in int8, as kernels.h defines it, written once over vectors of
 *		16 and compiled for each level.
 *
 * Besides the requirements of v16_math.h, the includer defines
 *
 *		ATTEND_ROWS					queries of a tile, 1 .. 6
 *		ATTEND_PANELS				panels of keys or of value columns of a tile: 1 or 4
 *		i32x16						16 numbers of 32 bits, with
 *		i32x16_zero, _load, _store, _sub
 *		quads_u8, quads_s8			4 bytes for all lanes, 4 bytes for each
 *		quads_u8_load(p), quads_s8_load(p)
 *		i32x16_dot(sum, a, b)		sum + the products of 4 bytes a lane
 *		v16_from_i32(i)				conversion, to nearest even
 *		v16_exp2_split(x, lowest, &m)	i = max(rint(x), lowest); bits of m = (i & 0x7FFFFF) + bits of 1;
 *									returns i - (i & 0x7FFFFF)
 *		v16_add_bits(a, i)			bits of a + i
 *		v16_keep_above(a, x, limit)	a where x > limit, else 0
 *		v16_log2_split(x, &m)		x = m 2^n, m in sqrt 1/2 .. sqrt 2 by its bits; returns n
 *		interleave_rows(rows, to)	to[4 c + i] = rows[i][c] for c < 16, i < 4
 *		transpose_dwords			transpose_f32 of any level
 *
 * The tile of queries is what stays: its scores against all keys (12 KB for 6
 * queries of 512 keys) are in the first-level cache when they become codes, and
 * these when they meet the values.
 */
#include "kernels/v16_math.h"
#include "kernels/attend_weights.h"

#define GROUP_BYTES (EMB_PANEL * EMB_GROUP)
#define SEGMENT_PANELS (EMB_ATTEND_SEGMENT / EMB_PANEL)

/* -------------------------------------------------------------- packing */

/* log2 for x > 0; absolute error 2.2e-6 (a minimax fit of our own), rounding included. */
V16_INLINE v16
log2_v16(v16 x)
{
	v16			m;
	v16			n = v16_log2_split(x, &m);
	v16			f = v16_sub(m, v16_set(1.0f));
	v16			p = v16_set(-0x1.a71992p-3f);

	p = v16_fma(p, f, v16_set(0x1.49e2f2p-2f));
	p = v16_fma(p, f, v16_set(-0x1.784f4cp-2f));
	p = v16_fma(p, f, v16_set(0x1.eada34p-2f));
	p = v16_fma(p, f, v16_set(-0x1.713832p-1f));
	p = v16_fma(p, f, v16_set(0x1.7155acp+0f));
	return v16_fma(p, f, n);
}

/* One panel of keys and the start values of its products. */
V16_INLINE void
pack_keys(const int8_t *k, size_t stride, int32_t n_tokens, int32_t n_groups, int8_t *panel, int32_t *starts)
{
	static const uint8_t zeros[EMB_GROUP] = {128, 128, 128, 128};
	quads_u8	zero = quads_u8_load(zeros);
	i32x16		sum = i32x16_zero();

	/* a group is moved as a float; nothing is computed with it */
	transpose_dwords((const float *) k, stride / EMB_GROUP, n_tokens, n_groups, (float *) panel);
	for (int32_t i = 0; i < n_groups; i++)
		sum = i32x16_dot(sum, zero, quads_s8_load(panel + (size_t) i * GROUP_BYTES));
	i32x16_store(starts, i32x16_sub(i32x16_zero(), sum));
}

/* Scales of up to 16 tokens; for values also the derived logarithms and inverses. */
V16_INLINE void
pack_scales(const float *k_scales, const float *v_scales, int32_t n_tokens,
			float *key_scales, float *value_logs, float *value_inverses)
{
	int			n = n_tokens < EMB_PANEL ? n_tokens : EMB_PANEL;
	v16			v = v16_keep(v16_load_part(v_scales, n), n, 1.0f);

	v16_store(key_scales, v16_load_part(k_scales, n));
	v16_store(value_logs, v16_keep(v16_mul(log2_v16(v), v16_set(0x1p23f)), n, LOG_OF_NOTHING));
	v16_store(value_inverses, v16_keep(v16_div(v16_set(1.0f), v), n, 0.0f));
}

/* Four tokens' values, n_columns of them, in groups; rows past the last token are zeros. */
V16_INLINE void
pack_values(const int8_t *v, size_t stride, int32_t n_tokens, int32_t n_columns, int8_t *to)
{
	static const int8_t nothing[EMB_PANEL];
	int32_t		c = 0;

	for (; n_columns - c >= EMB_PANEL; c += EMB_PANEL)
	{
		const int8_t *rows[EMB_GROUP];

		for (int i = 0; i < EMB_GROUP; i++)
			rows[i] = i < n_tokens ? v + i * stride + c : nothing;
		interleave_rows(rows, to + c * EMB_GROUP);
	}
	if (c < n_columns)
	{
		int8_t		last[EMB_GROUP][EMB_PANEL] = {{0}};
		const int8_t *rows[EMB_GROUP] = {last[0], last[1], last[2], last[3]};

		for (int i = 0; i < EMB_GROUP && i < n_tokens; i++)
			memcpy(last[i], v + i * stride + c, n_columns - c);
		interleave_rows(rows, to + c * EMB_GROUP);
	}
}

void
EMB_NAME(pack_head_i8) (const EmbHeadRowsI8 *rows, const EmbHeadI8 *head)
{
	int32_t		n_groups = (head->head_size + EMB_GROUP - 1) / EMB_GROUP;
	size_t		v_group = emb_head_i8_columns(head->head_size) * EMB_GROUP;
	int32_t		n_padded = (int32_t) emb_head_i8_tokens(head->n_tokens);

	for (int32_t t = 0; t < n_padded; t += EMB_PANEL)
	{
		int32_t		left = head->n_tokens - t;

		pack_keys(rows->k + t * rows->stride, rows->stride, left < EMB_PANEL ? left : EMB_PANEL, n_groups,
				  head->keys + (size_t) t * n_groups * EMB_GROUP, head->key_starts + t);
		pack_scales(rows->k_scales + t, rows->v_scales + t, left, head->key_scales + t, head->value_logs + t,
					head->value_inverses + t);
	}
	for (int32_t t = 0; t < n_padded; t += EMB_GROUP)
		pack_values(rows->v + t * rows->stride, rows->stride, head->n_tokens - t, head->head_size,
					head->values + t / EMB_GROUP * v_group);
}

/* --------------------------------------------------------------- scores */

/* Queries that are processed together from the first key to the result. */
typedef struct AttendTile
{
	const EmbAttendI8 *a;
	const uint8_t *q;
	float	   *out;
	int32_t		n_keys;			/* that some query of the tile sees */
	size_t		first_masked;	/* all queries see the keys before this one, the first of a panel */
	size_t		n_tokens;		/* including the tokens that fill the last panel: the stride of scores and codes */
	float		factors[ATTEND_ROWS];	/* of the scores of each row */
	v16			largest[ATTEND_ROWS];	/* of each row and lane in a segment */
	int32_t		n_segments;		/* of keys with a maximum of their own */
	size_t		s_stride;		/* of maxima and factors */
	/* the segment at hand */
	int32_t		segment;
	size_t		from,
				to;				/* its keys, to: including those that fill the last panel */
	float		origins[ATTEND_ROWS];	/* the maximum of each row */
	v16			weights[ATTEND_ROWS];	/* sums of weights of all segments so far, if there are several */
	float		shares[ATTEND_ROWS];
} AttendTile;

/* One step over n_rows rows and n_panels panels from a panel on. */
typedef void (*AttendStep) (AttendTile *t, int32_t panel);

/* n_rows and n_panels are constants of each instance below, here and in combine_panels. */
EMB_ALWAYS_INLINE void
score_panels(AttendTile *t, int32_t panel, const int n_rows, const int n_panels)
{
	const EmbHeadI8 *head = &t->a->head;
	size_t		stride = (size_t) (head->head_size + EMB_GROUP - 1) / EMB_GROUP * GROUP_BYTES;
	size_t		q_stride = t->a->q_stride;
	const int8_t *k = head->keys + panel * stride;
	const int8_t *k_end = k + stride;
	const uint8_t *q = t->q;
	v16			largest[ATTEND_ROWS];
	i32x16		sums[ATTEND_ROWS][ATTEND_PANELS];

	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int p = 0; p < n_panels; p++)
			sums[r][p] = i32x16_load(head->key_starts + (panel + p) * EMB_PANEL);
	}
	do
	{
		quads_s8	keys[ATTEND_PANELS];

		EMB_UNROLL
		for (int p = 0; p < n_panels; p++)
			keys[p] = quads_s8_load(k + p * stride);
		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			quads_u8	query = quads_u8_load(q + r * q_stride);

			EMB_UNROLL
			for (int p = 0; p < n_panels; p++)
				sums[r][p] = i32x16_dot(sums[r][p], query, keys[p]);
		}
		k += GROUP_BYTES;
		q += EMB_GROUP;
	} while (k < k_end);
	EMB_UNROLL
	for (int p = 0; p < n_panels; p++)
	{
		int32_t		column = (panel + p) * EMB_PANEL;
		v16			scale = v16_load(head->key_scales + column);
		v16			log = v16_load(head->value_logs + column);

		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			v16			factor = v16_mul(v16_set(t->factors[r]), scale);
			v16			u = v16_fma(v16_from_i32(sums[r][p]), factor, log);

			v16_store(t->a->scores + r * t->n_tokens + column, u);
			largest[r] = v16_max(u, p == 0 ? t->largest[r] : largest[r]);
		}
	}
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
		t->largest[r] = largest[r];
}

/*
 * The bias of n_rows queries from query first on, for the keys of panels from
 * .. end - 1, and their maxima. A separate pass, so that the scores of models
 * without a bias stay unchanged.
 */
static void
add_bias(AttendTile *t, int32_t first, int32_t n_rows, int32_t from, int32_t end)
{
	for (int32_t r = 0; r < n_rows; r++)
	{
		const float *bias = t->a->bias - first - r;
		float	   *u = t->a->scores + r * t->n_tokens;
		v16			largest = v16_set(-FLT_MAX);

		for (int32_t i = from * EMB_PANEL; i < end * EMB_PANEL; i += EMB_PANEL)
		{
			v16			sum = v16_add(v16_load(u + i), v16_load(bias + i));

			v16_store(u + i, sum);
			largest = v16_max(sum, largest);
		}
		t->largest[r] = largest;
	}
}

/* -------------------------------------------------------------- softmax */

static void
set_factors(const AttendTile *t, int32_t n_rows)
{
	for (int32_t r = 0; r < n_rows; r++)
		join_factors(t->a->maxima + r * t->s_stride, t->n_segments, t->a->factors + r * t->s_stride);
}

/* The panel behind segment s. */
V16_INLINE int32_t
segment_end(const AttendTile *t, int32_t s)
{
	return s + 1 < t->n_segments ? (s + 1) * SEGMENT_PANELS : (int32_t) (t->n_tokens / EMB_PANEL);
}

V16_INLINE void
begin_segment(AttendTile *t, int32_t s, int32_t n_rows)
{
	t->segment = s;
	t->from = (size_t) s * EMB_ATTEND_SEGMENT;
	t->to = (size_t) segment_end(t, s) * EMB_PANEL;
	for (int32_t r = 0; t->n_segments > 1 && r < n_rows; r++)
		t->origins[r] = t->a->maxima[r * t->s_stride + s];
}

/* --------------------------------------------------------------- values */

/*
 * The destination of a tile of contexts: its place, or a buffer if its last
 * panel is incomplete or there are several segments to join.
 */
typedef struct Contexts
{
	float	   *to;
	size_t		stride;
	float		aside[ATTEND_ROWS * ATTEND_PANELS * EMB_PANEL];
} Contexts;

EMB_ALWAYS_INLINE void
place_contexts(const AttendTile *t, int32_t panel, const int n_panels, Contexts *contexts)
{
	bool		whole = t->a->head.head_size - panel * EMB_PANEL >= n_panels * EMB_PANEL && t->n_segments == 1;

	contexts->to = whole ? t->out + panel * EMB_PANEL : contexts->aside;
	contexts->stride = whole ? t->a->out_stride : ATTEND_PANELS * EMB_PANEL;
}

/* Adds a row's sums of a segment to those of the segments before. */
static void
join_row(const AttendTile *t, int r, const float *sums, float *out, int32_t n_columns)
{
	v16			factor = v16_set(t->a->factors[r * t->s_stride + t->segment]);

	for (int32_t c = 0; c < n_columns; c += EMB_PANEL)
	{
		int			n = n_columns - c < EMB_PANEL ? n_columns - c : EMB_PANEL;
		v16			before = t->segment == 0 ? v16_set(0.0f) : v16_load_part(out + c, n);

		v16_store_part(out + c, v16_fma(v16_load(sums + c), factor, before), n);
	}
}

EMB_ALWAYS_INLINE void
copy_contexts(const AttendTile *t, int32_t panel, int n_rows, const int n_panels, const Contexts *contexts)
{
	int32_t		n_columns = t->a->head.head_size - panel * EMB_PANEL;

	if (contexts->to != contexts->aside)
		return;
	if (n_columns > n_panels * EMB_PANEL)
		n_columns = n_panels * EMB_PANEL;
	for (int r = 0; r < n_rows; r++)
	{
		float	   *out = t->out + panel * EMB_PANEL + r * t->a->out_stride;

		if (t->n_segments == 1)
			memcpy(out, contexts->aside + r * contexts->stride, n_columns * sizeof(float));
		else
			join_row(t, r, contexts->aside + r * contexts->stride, out, n_columns);
	}
}

/* Of one segment: 1 / the sum of a row's weights. Of several: 1, and the sum waits for the others. */
EMB_ALWAYS_INLINE float
end_weights(AttendTile *t, int r, v16 weights)
{
	if (t->n_segments == 1)
		return 1.0f / v16_sum(weights);
	t->weights[r] = v16_fma(weights, v16_set(t->a->factors[r * t->s_stride + t->segment]), t->segment == 0 ? v16_set(0.0f) : t->weights[r]);
	return 1.0f;
}

static void
share_out(const AttendTile *t, int32_t n_rows)
{
	int32_t		n_columns = t->a->head.head_size;

	for (int32_t r = 0; r < n_rows; r++)
	{
		v16			share = v16_set(1.0f / v16_sum(t->weights[r]));
		float	   *out = t->out + r * t->a->out_stride;

		for (int32_t c = 0; c < n_columns; c += EMB_PANEL)
		{
			int			n = n_columns - c < EMB_PANEL ? n_columns - c : EMB_PANEL;

			v16_store_part(out + c, v16_mul(v16_load_part(out + c, n), share), n);
		}
	}
}

/* The codes of n_rows rows times n_panels panels of value columns. */
EMB_ALWAYS_INLINE void
combine_panels(AttendTile *t, int32_t panel, const int n_rows, const int n_panels)
{
	const EmbHeadI8 *head = &t->a->head;
	size_t		stride = emb_head_i8_columns(head->head_size) * EMB_GROUP;
	size_t		p_stride = t->n_tokens;
	const uint8_t *p = t->a->codes + t->from;
	const uint8_t *p_end = t->a->codes + (t->segment + 1 < t->n_segments ? t->to : (size_t) t->n_keys);
	const int8_t *v = head->values + t->from / EMB_GROUP * stride + panel * GROUP_BYTES;
	Contexts	contexts;
	i32x16		sums[ATTEND_ROWS][ATTEND_PANELS];

	place_contexts(t, panel, n_panels, &contexts);
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int c = 0; c < n_panels; c++)
			sums[r][c] = i32x16_zero();
	}
	do
	{
		quads_s8	values[ATTEND_PANELS];

		EMB_UNROLL
		for (int c = 0; c < n_panels; c++)
			values[c] = quads_s8_load(v + c * GROUP_BYTES);
		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			quads_u8	codes = quads_u8_load(p + r * p_stride);

			EMB_UNROLL
			for (int c = 0; c < n_panels; c++)
				sums[r][c] = i32x16_dot(sums[r][c], codes, values[c]);
		}
		v += stride;
		p += EMB_GROUP;
	} while (p < p_end);
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		v16			share = v16_set(t->shares[r]);

		EMB_UNROLL
		for (int c = 0; c < n_panels; c++)
			v16_store(contexts.to + r * contexts.stride + c * EMB_PANEL, v16_mul(v16_from_i32(sums[r][c]), share));
	}
	copy_contexts(t, panel, n_rows, n_panels, &contexts);
}

#if ATTEND_PANELS > 1

/* The position of a tile in the keys. */
typedef struct Weighing
{
	const float *u;				/* scores of the next keys to weigh */
	const float *inverses;
	uint8_t    *p;
	const int8_t *v;			/* of the next to combine */
	size_t		v_stride;
	float		origins[ATTEND_ROWS];
	v16			shares[ATTEND_ROWS];
	i32x16		sums[ATTEND_ROWS][ATTEND_PANELS];
} Weighing;

/* Codes of the next 16 keys, rows first .. end - 1. */
EMB_ALWAYS_INLINE void
weigh_rows(Weighing *w, size_t stride, const int first, const int end, const bool masked)
{
	EMB_UNROLL
	for (int r = first; r < end; r++)
	{
		v16			e = weights_v16(v16_load(w->u + r * stride), v16_set(w->origins[r]), masked);

		v16_store_bytes(w->p + r * stride, v16_add(e, v16_set(ROUNDER)));
		w->shares[r] = v16_fma(e, v16_load(w->inverses), w->shares[r]);
	}
}

/*
 * Multiplies the codes of 16 keys, from p on, with their values; during the
 * latency of these products the next 16 keys are weighed.
 */
EMB_ALWAYS_INLINE void
combine_keys(Weighing *w, const uint8_t *p, size_t stride, const int n_rows, const int n_panels, const bool masked, const bool more)
{
	EMB_UNROLL
	for (int i = 0; i < EMB_GROUP; i++)
	{
		quads_s8	values[ATTEND_PANELS];

		EMB_UNROLL
		for (int c = 0; c < n_panels; c++)
			values[c] = quads_s8_load(w->v + c * GROUP_BYTES);
		w->v += w->v_stride;
		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			quads_u8	codes = quads_u8_load(p + r * stride + i * EMB_GROUP);

			EMB_UNROLL
			for (int c = 0; c < n_panels; c++)
				w->sums[r][c] = i32x16_dot(w->sums[r][c], codes, values[c]);
		}
		if (more)
			weigh_rows(w, stride, i * n_rows / EMB_GROUP, (i + 1) * n_rows / EMB_GROUP, masked);
	}
}

/*
 * Weights, and the first panels of their products with the values, in one
 * loop: on Zen 4 they use different halves of the vector unit. Against two
 * loops 1.17 times as fast at 128 tokens for heads of 32, 1.12 at 512, and
 * 1.05 for heads of 64. Leaves codes and shares for the remaining panels.
 */
EMB_ALWAYS_INLINE void
weigh_and_combine(AttendTile *t, int32_t panel, const int n_rows, const int n_panels, const bool masked)
{
	const EmbHeadI8 *head = &t->a->head;
	const size_t stride = t->n_tokens;
	const size_t v_stride = emb_head_i8_columns(head->head_size) * EMB_GROUP;
	const float *u_end = t->a->scores + t->to;
	const float *u_masked = t->a->scores + (t->first_masked < t->to ? t->first_masked : t->to);
	Weighing	w = {
		.u = t->a->scores + t->from, .inverses = head->value_inverses + t->from, .p = t->a->codes + t->from,
		.v = head->values + t->from / EMB_GROUP * v_stride + panel * GROUP_BYTES, .v_stride = v_stride
	};
	Contexts	contexts;

	place_contexts(t, panel, n_panels, &contexts);
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		w.origins[r] = t->origins[r];
		w.shares[r] = v16_set(0.0f);
		EMB_UNROLL
		for (int c = 0; c < n_panels; c++)
			w.sums[r][c] = i32x16_zero();
	}
	weigh_rows(&w, stride, 0, n_rows, masked);
	for (w.u += EMB_PANEL; masked && w.u < u_masked; w.u += EMB_PANEL)
	{
		const uint8_t *p = w.p;

		w.p += EMB_PANEL;
		w.inverses += EMB_PANEL;
		combine_keys(&w, p, stride, n_rows, n_panels, false, true);
	}
	for (; w.u < u_end; w.u += EMB_PANEL)
	{
		const uint8_t *p = w.p;

		w.p += EMB_PANEL;
		w.inverses += EMB_PANEL;
		combine_keys(&w, p, stride, n_rows, n_panels, masked, true);
	}
	combine_keys(&w, w.p, stride, n_rows, n_panels, masked, false);
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		v16			share = v16_set(t->shares[r] = end_weights(t, r, w.shares[r]));

		EMB_UNROLL
		for (int c = 0; c < n_panels; c++)
			v16_store(contexts.to + r * contexts.stride + c * EMB_PANEL, v16_mul(v16_from_i32(w.sums[r][c]), share));
	}
	copy_contexts(t, panel, n_rows, n_panels, &contexts);
}

EMB_ALWAYS_INLINE void
weigh_panels(AttendTile *t, int32_t panel, const int n_rows, const int n_panels)
{
	weigh_and_combine(t, panel, n_rows, n_panels, false);
}

EMB_ALWAYS_INLINE void
weigh_masked_panels(AttendTile *t, int32_t panel, const int n_rows, const int n_panels)
{
	weigh_and_combine(t, panel, n_rows, n_panels, true);
}

#else

/*
 * Codes and share of one row, without products with the values. 16 registers
 * are too few for both at once: 0.96 times as fast on AVX2.
 */
EMB_ALWAYS_INLINE void
weigh_row_with(AttendTile *t, int r, const bool masked)
{
	const float *u = t->a->scores + r * t->n_tokens;
	const float *inverses = t->a->head.value_inverses;
	uint8_t    *p = t->a->codes + r * t->n_tokens;
	v16			origin = v16_set(t->origins[r]);
	v16			sum = v16_set(0.0f);

	for (size_t i = t->from; i < t->to; i += EMB_PANEL)
	{
		v16			e = weights_v16(v16_load(u + i), origin, masked);

		v16_store_bytes(p + i, v16_add(e, v16_set(ROUNDER)));
		sum = v16_fma(e, v16_load(inverses + i), sum);
	}
	t->shares[r] = end_weights(t, r, sum);
}

static void
weigh_row(AttendTile *t, int r)
{
	weigh_row_with(t, r, false);
}

static void
weigh_masked_row(AttendTile *t, int r)
{
	weigh_row_with(t, r, true);
}

#endif

/* ---------------------------------------------------------------- tiles */

#define STEP(step, rows, panels) \
static void \
step##_##rows##x##panels(AttendTile *t, int32_t panel) \
{ \
	step##_panels(t, panel, rows, panels); \
}

#if ATTEND_ROWS == 1
#define STEPS(step, panels) STEP(step, 1, panels)
#define STEP_NAMES(step, panels) {step##_1x##panels}
#elif ATTEND_ROWS == 4
#define STEPS(step, panels) STEP(step, 1, panels) STEP(step, 2, panels) STEP(step, 3, panels) STEP(step, 4, panels)
#define STEP_NAMES(step, panels) {step##_1x##panels, step##_2x##panels, step##_3x##panels, step##_4x##panels}
#else
#define STEPS(step, panels) STEP(step, 1, panels) STEP(step, 2, panels) STEP(step, 3, panels) \
	STEP(step, 4, panels) STEP(step, 5, panels) STEP(step, 6, panels)
#define STEP_NAMES(step, panels) {step##_1x##panels, step##_2x##panels, step##_3x##panels, \
	step##_4x##panels, step##_5x##panels, step##_6x##panels}
#endif

STEPS(score, 1)
STEPS(combine, 1)
#if ATTEND_PANELS == 4
STEPS(score, 2)
STEPS(score, 4)
STEPS(combine, 2)
STEPS(combine, 4)
STEPS(weigh, 1)
STEPS(weigh, 2)
STEPS(weigh, 4)
STEPS(weigh_masked, 1)
STEPS(weigh_masked, 2)
STEPS(weigh_masked, 4)
#define ALL_STEPS(step) {STEP_NAMES(step, 1), STEP_NAMES(step, 2), STEP_NAMES(step, 4)}
#else
#define ALL_STEPS(step) {STEP_NAMES(step, 1)}
#endif

static const AttendStep score[][ATTEND_ROWS] = ALL_STEPS(score);
#if ATTEND_PANELS > 1
static const AttendStep weigh[][ATTEND_ROWS] = ALL_STEPS(weigh);
static const AttendStep weigh_masked[][ATTEND_ROWS] = ALL_STEPS(weigh_masked);
#endif
static const AttendStep combine[][ATTEND_ROWS] = ALL_STEPS(combine);

/*
 * One step from a panel on, with 4, 2 or 1 panels if the level has them;
 * returns the next panel.
 */
static int32_t
run_step(AttendTile *t, const AttendStep steps[][ATTEND_ROWS], int32_t n_rows, int32_t panel, int32_t n_panels)
{
	int			log2_panels = n_panels - panel >= 4 ? 2 : n_panels - panel >= 2 ? 1 : 0;

	if (ATTEND_PANELS == 1)
		log2_panels = 0;
	steps[log2_panels][n_rows - 1] (t, panel);
	return panel + (1 << log2_panels);
}

/*
 * The scores of the keys of panels from .. end - 1, of which the queries of a
 * tile see only some: unseen scores become nothing. Row 0 sees n_seen keys.
 */
static void
score_diagonal(AttendTile *t, int32_t from, int32_t end, int32_t n_rows, int32_t n_seen)
{
	v16			largest[ATTEND_ROWS];

	memcpy(largest, t->largest, sizeof(largest));
	for (int32_t panel = from; panel < end; panel++)
	{
		int32_t		column = panel * EMB_PANEL;

		score[0][n_rows - 1] (t, panel);
		for (int32_t r = 0; r < n_rows; r++)
		{
			float	   *u = t->a->scores + r * t->n_tokens + column;
			int32_t		n = n_seen + r - column;

			if (n < EMB_PANEL)
				v16_store(u, v16_keep(v16_load(u), n > 0 ? n : 0, LOG_OF_NOTHING));
			t->largest[r] = largest[r] = v16_max(v16_load(u), largest[r]);
		}
	}
}

/* Scores and maxima of a segment. All queries see the first n_whole panels of keys. */
static void
score_segment(AttendTile *t, int32_t s, int32_t first, int32_t n_rows, int32_t n_whole, int32_t n_seen)
{
	int32_t		from = s * SEGMENT_PANELS;
	int32_t		end = segment_end(t, s);
	int32_t		whole = end < n_whole ? end : n_whole;
	int32_t		panel = from;

	for (int32_t r = 0; r < n_rows; r++)
		t->largest[r] = v16_set(-FLT_MAX);
	while (panel < whole)
		panel = run_step(t, score, n_rows, panel, whole);
	if (panel < end)
		score_diagonal(t, panel, end, n_rows, n_seen);
	if (t->a->bias != NULL)
		add_bias(t, first, n_rows, from, end);
	for (int32_t r = 0; r < n_rows; r++)
		t->origins[r] = v16_largest(t->largest[r]);
	for (int32_t r = 0; t->n_segments > 1 && r < n_rows; r++)
		t->a->maxima[r * t->s_stride + s] = t->origins[r];
}

/* Codes of a segment's weights, and their products with its values. */
static void
combine_segment(AttendTile *t, int32_t n_rows)
{
	int32_t		n_value_panels = (int32_t) (emb_head_i8_columns(t->a->head.head_size) / EMB_PANEL);
	bool		masked = t->a->n_seen > 0 || t->a->bias != NULL;
	int32_t		panel = 0;

#if ATTEND_PANELS > 1
	panel = run_step(t, masked ? weigh_masked : weigh, n_rows, 0, n_value_panels);
#else
	for (int r = 0; r < n_rows; r++)
		masked ? weigh_masked_row(t, r) : weigh_row(t, r);
#endif
	while (panel < n_value_panels)
		panel = run_step(t, combine, n_rows, panel, n_value_panels);
}

/* n_rows queries from query first on */
static void
attend_rows(AttendTile *t, int32_t first, int32_t n_rows)
{
	const EmbAttendI8 *a = t->a;
	int32_t		n_seen = a->n_seen > 0 ? a->n_seen + first : a->head.n_tokens;	/* by row 0 */
	int32_t		n_whole;

	t->n_keys = a->n_seen > 0 ? n_seen + n_rows - 1 : n_seen;
	t->n_tokens = emb_head_i8_tokens(t->n_keys);
	t->n_segments = (t->n_keys - 1) / EMB_ATTEND_SEGMENT + 1;
	n_whole = a->n_seen > 0 ? n_seen / EMB_PANEL : (int32_t) (t->n_tokens / EMB_PANEL);
	t->first_masked = a->n_seen > 0 ? (size_t) n_whole * EMB_PANEL : 0;
	t->q = a->q + first * a->q_stride;
	t->out = a->out + first * a->out_stride;
	for (int32_t r = 0; r < n_rows; r++)
		t->factors[r] = a->q_scales[first + r] * a->scale;
	for (int32_t s = 0; s < t->n_segments; s++)
		score_segment(t, s, first, n_rows, n_whole, n_seen);
	if (t->n_segments > 1)
		set_factors(t, n_rows);
	for (int32_t s = 0; s < t->n_segments; s++)
	{
		begin_segment(t, s, n_rows);
		combine_segment(t, n_rows);
	}
	if (t->n_segments > 1)
		share_out(t, n_rows);
}

void
EMB_NAME(attend_i8) (const EmbAttendI8 *a)
{
	int32_t		n_tiles = (a->n_queries - 1) / ATTEND_ROWS + 1;
	int32_t		first = 0;
	AttendTile	t;

	t.a = a;
	t.s_stride = emb_attend_segments(a->head.n_tokens);
	/* what fills the last 16 segments is below every score */
	for (size_t i = 0; a->head.n_tokens > EMB_ATTEND_SEGMENT && i < ATTEND_ROWS * t.s_stride; i++)
		a->maxima[i] = LOG_OF_NOTHING;
	for (int32_t i = 0; i < n_tiles; i++)
	{
		/* evenly: 13 is 5 + 4 + 4, not 6 + 6 + 1 */
		int32_t		n_rows = a->n_queries / n_tiles + (i < a->n_queries % n_tiles);

		attend_rows(&t, first, n_rows);
		first += n_rows;
	}
}
