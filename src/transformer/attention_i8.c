/*
 * attention_i8.c
 *		Attention in int8: scratch for the kernels, and pieces with polls of
 *		stop between them.
 */
#include <math.h>

#include <string.h>

#include "transformer/attention.h"

/* Logarithms to base 2 in steps of 2^-23. */
#define LOG2_E 0x1.715476p+23f

/* An int8 multiply-add in the units of work.h, and the cost of a score besides its products. */
#define MACS_I8_PER_MAC	2
#define MACS_PER_SCORE	16

/*
 * Queries per block with a sliding window: 32 are no faster (160 keys against
 * 144 for a window of 64), and fewer fill no tiles.
 */
#define WINDOW_QUERIES	EMB_PANEL

/*
 * Size of the bias that the kernel reads: all distances between keys and
 * queries, including keys that fill the last panel.
 */
static size_t
bias_elems(int32_t n_tokens)
{
	return 2 * (emb_head_i8_tokens(n_tokens) + 2 * WINDOW_QUERIES);
}

/* The rows of the panel in which a prefix ends. */
typedef struct MixedPanel
{
	int8_t	   *k;				/* [16, d4] */
	int8_t	   *v;
	float	   *k_scales;		/* [16] */
	float	   *v_scales;
} MixedPanel;

/*
 * Places the arrays of the kernels from base on; only counts if base is NULL.
 * Returns the number of bytes.
 */
static size_t
lay_out(char *base, bool biased, int32_t n_text, EmbAttendI8 *a, float **bias, MixedPanel *mixed)
{
	EmbHeadI8  *head = &a->head;
	size_t		at = 0;
	size_t		n_tokens = emb_head_i8_tokens(head->n_tokens);

	head->keys = emb_reserve(base, &at, n_tokens * emb_round_up(head->head_size, EMB_GROUP));
	head->key_starts = emb_reserve(base, &at, n_tokens * sizeof(int32_t));
	head->key_scales = emb_reserve(base, &at, n_tokens * sizeof(float));
	head->value_logs = emb_reserve(base, &at, n_tokens * sizeof(float));
	head->value_inverses = emb_reserve(base, &at, n_tokens * sizeof(float));
	head->values = emb_reserve(base, &at, n_tokens * emb_head_i8_columns(head->head_size));
	a->scores = emb_reserve(base, &at, EMB_ATTEND_ROWS * n_tokens * sizeof(float));
	a->codes = emb_reserve(base, &at, EMB_ATTEND_ROWS * n_tokens);
	a->maxima = emb_reserve(base, &at, EMB_ATTEND_ROWS * emb_attend_segments(head->n_tokens) * sizeof(float));
	a->factors = emb_reserve(base, &at, EMB_ATTEND_ROWS * emb_attend_segments(head->n_tokens) * sizeof(float));
	*bias = biased ? emb_reserve(base, &at, bias_elems(n_text) * sizeof(float)) : NULL;
	mixed->k = emb_reserve(base, &at, EMB_PANEL * emb_round_up(head->head_size, EMB_GROUP));
	mixed->v = emb_reserve(base, &at, EMB_PANEL * emb_round_up(head->head_size, EMB_GROUP));
	mixed->k_scales = emb_reserve(base, &at, EMB_PANEL * sizeof(float));
	mixed->v_scales = emb_reserve(base, &at, EMB_PANEL * sizeof(float));
	return at;
}

size_t
emb_attention_i8_scratch_bytes(int32_t head_size, int32_t n_tokens, bool biased)
{
	EmbAttendI8 a = {.head = {.n_tokens = n_tokens, .head_size = head_size}};
	float	   *bias;
	MixedPanel	mixed;

	return lay_out(NULL, biased, n_tokens, &a, &bias, &mixed);
}

static int32_t
count_keys(const EmbAttentionI8 *a)
{
	return a->n_prefix + a->n_tokens;
}

/* Tokens of the text, of which the keys come first. */
static int32_t
text_length(const EmbAttentionI8 *a)
{
	return count_keys(a) + a->n_unseen;
}

/* The cost of a query that sees n_keys keys. */
static int64_t
macs_per_query(const EmbAttentionI8 *a, int64_t n_keys)
{
	return n_keys * (2 * (int64_t) a->head_size / MACS_I8_PER_MAC + MACS_PER_SCORE);
}

/*
 * Processes n queries from piece->q on, in pieces; moves on to the next. With
 * causal attention the cost is that of the last query.
 */
static bool
attend_queries(EmbWork *work, const EmbAttentionI8 *a, EmbAttendI8 *piece, int32_t n)
{
	int64_t		macs = macs_per_query(a, piece->n_seen > 0 ? piece->n_seen + n - 1 : piece->head.n_tokens);
	int64_t		n_fitting = work->kernels->macs_per_piece / macs;
	int32_t		n_most = n_fitting < 1 ? 1 : n_fitting < n ? (int32_t) n_fitting : n;

	for (int32_t left = n; left > 0; left -= piece->n_queries)
	{
		piece->n_queries = left < n_most ? left : n_most;
		work->kernels->attend_i8(piece);
		if (!emb_work_spend(work, piece->n_queries * macs))
			return false;
		if (piece->n_seen > 0)
			piece->n_seen += piece->n_queries;
		piece->q += piece->n_queries * piece->q_stride;
		piece->q_scales += piece->n_queries;
		piece->out += piece->n_queries * piece->out_stride;
		if (piece->bias != NULL)
			piece->bias -= piece->n_queries;
	}
	return true;
}

/*
 * The bias of every distance, starting with the distance of the text's first
 * key and last query, in the kernel's units. Weights may have any size.
 */
static void
spread_bias(const EmbAttentionI8 *a, int32_t head, float *bias)
{
	int32_t		lowest = 1 - text_length(a);
	int32_t		end = (int32_t) emb_head_i8_tokens(count_keys(a));

	for (int32_t distance = lowest; distance < end; distance++)
	{
		int32_t		near = distance < -EMB_DISTANCE_MAX ? -EMB_DISTANCE_MAX
			: distance > EMB_DISTANCE_MAX ? EMB_DISTANCE_MAX : distance;
		float		b = (a->bias != NULL ? a->bias[(size_t) head * EMB_DISTANCES + near + EMB_DISTANCE_MAX]
						 : (float) (distance < 0 ? distance : -distance) * a->slope) * LOG2_E;

		bias[distance - lowest] = b < -EMB_BIAS_MAX ? -EMB_BIAS_MAX : b > EMB_BIAS_MAX ? EMB_BIAS_MAX : b;
	}
}

/* Tokens after a query that it sees. */
static int32_t
window_after(const EmbAttentionI8 *a)
{
	return a->is_causal ? 0 : a->window;
}

/*
 * 0 inside the window, nothing outside. Returns the place of distance 0. A
 * block's keys begin and end at a panel boundary, less than a block and a
 * panel away from the window's end for any of its queries.
 */
static const float *
spread_window(const EmbAttentionI8 *a, float *bias)
{
	int32_t		window = a->window < text_length(a) ? a->window : text_length(a);
	int32_t		n = window + WINDOW_QUERIES + EMB_PANEL;

	for (int32_t distance = -n; distance < n; distance++)
		bias[distance + n] = distance < -window || distance > window_after(a) ? EMB_BIAS_OF_NOTHING : 0.0f;
	return bias + n;
}

/*
 * The part of a packed head from a token (a multiple of a panel) up to another
 * token or the text's end.
 */
static EmbHeadI8
cut_head(const EmbHeadI8 *head, int32_t start, int32_t end)
{
	EmbHeadI8	part = *head;

	part.n_tokens = end - start;
	part.keys += start * emb_round_up(head->head_size, EMB_GROUP);
	part.key_starts += start;
	part.key_scales += start;
	part.value_logs += start;
	part.value_inverses += start;
	part.values += start * emb_head_i8_columns(head->head_size);
	return part;
}

static bool
attend_windows(EmbWork *work, const EmbAttentionI8 *a, EmbAttendI8 *piece, int32_t n_queries, const float *middle)
{
	const EmbHeadI8 head = piece->head;
	int32_t		end = a->first + n_queries;
	int32_t		next;

	for (int32_t i = a->first; i < end; i = next)
	{
		int32_t		block = i / WINDOW_QUERIES * WINDOW_QUERIES;
		int32_t		from = block > a->window ? (block - a->window) / EMB_PANEL * EMB_PANEL : 0;
		size_t		to = emb_head_i8_tokens(block + WINDOW_QUERIES + window_after(a));

		next = block + WINDOW_QUERIES < end ? block + WINDOW_QUERIES : end;
		piece->head = cut_head(&head, from, to < (size_t) count_keys(a) ? (int32_t) to : count_keys(a));
		piece->bias = middle + from - i;
		if (!attend_queries(work, a, piece, next - i))
			return false;
	}
	return true;
}

/* ----------------------------------------------------------------- packing */

/* Rows t .. t + n - 1 of one of both sources, to row `to` of the mixed panel. */
static void
copy_rows(const EmbHeadRowsI8 *rows, int32_t t, int32_t n, size_t row_bytes, const MixedPanel *mixed, int32_t to)
{
	for (int32_t i = 0; i < n; i++)
	{
		memcpy(mixed->k + (to + i) * row_bytes, rows->k + (t + i) * rows->stride, row_bytes);
		memcpy(mixed->v + (to + i) * row_bytes, rows->v + (t + i) * rows->stride, row_bytes);
	}
	memcpy(mixed->k_scales + to, rows->k_scales + t, n * sizeof(float));
	memcpy(mixed->v_scales + to, rows->v_scales + t, n * sizeof(float));
}

/* Packs keys start .. end - 1, rows t .. of a source. */
static void
pack(EmbWork *work, const EmbHeadRowsI8 *rows, int32_t t, const EmbHeadI8 *head, int32_t start, int32_t end)
{
	EmbHeadRowsI8 from;
	EmbHeadI8	part;

	if (start >= end)
		return;
	from = (EmbHeadRowsI8) {
		.k = rows->k + t * rows->stride, .v = rows->v + t * rows->stride, .stride = rows->stride,
		.k_scales = rows->k_scales + t, .v_scales = rows->v_scales + t
	};
	part = cut_head(head, start, end);
	work->kernels->pack_head_i8(&from, &part);
}

/* The prefix, then the text's own rows; the panel in which the prefix ends has rows of both. */
static void
pack_head(EmbWork *work, const EmbAttentionI8 *a, const EmbHeadI8 *head, const MixedPanel *mixed)
{
	size_t		row_bytes = emb_round_up(a->head_size, EMB_GROUP);
	int32_t		whole = a->n_prefix / EMB_PANEL * EMB_PANEL;
	int32_t		n_last = a->n_prefix - whole;
	int32_t		n_own = n_last == 0 ? 0 : a->n_tokens < EMB_PANEL - n_last ? a->n_tokens : EMB_PANEL - n_last;
	const EmbHeadRowsI8 rows = {
		.k = mixed->k, .v = mixed->v, .stride = row_bytes, .k_scales = mixed->k_scales, .v_scales = mixed->v_scales
	};

	pack(work, &a->prefix, 0, head, 0, whole);
	if (n_last > 0)
	{
		copy_rows(&a->prefix, whole, n_last, row_bytes, mixed, 0);
		copy_rows(&a->rows, 0, n_own, row_bytes, mixed, n_last);
		pack(work, &rows, 0, head, whole, a->n_prefix + n_own);
	}
	pack(work, &a->rows, n_own, head, a->n_prefix + n_own, count_keys(a));
}

static EmbAttendI8
head_queries(const EmbAttentionI8 *a, int32_t head, const EmbAttendI8 *packed)
{
	EmbAttendI8 piece = *packed;

	piece.q = a->q + head * emb_round_up(a->head_size, EMB_GROUP);
	piece.q_scales = a->q_scales + head * a->q_scale_stride;
	piece.out = a->out + (size_t) head * a->head_size;
	piece.n_seen = a->is_causal && a->window == 0 ? a->first + 1 : 0;
	return piece;
}

bool
emb_attention_i8(EmbWork *work, const EmbAttentionI8 *a)
{
	/* a causal text begins with the same bits whatever follows: so its length must not decide */
	bool		windowed = a->window > 0 && (a->is_causal || a->window < text_length(a) - 1);
	int32_t		n_seeing = emb_attention_n_seeing(a->first, a->n_queries, count_keys(a), a->window);
	EmbAttendI8 packed = {
		.q_stride = a->q_stride,
		.scale = LOG2_E / sqrtf((float) a->head_size),
		.head = {.n_tokens = count_keys(a), .head_size = a->head_size},
		.out_stride = a->out_stride
	};
	bool		biased = a->bias != NULL || a->slope != 0;
	const float *middle = NULL;
	MixedPanel	mixed;
	float	   *bias;

	lay_out(a->scratch, biased || windowed, text_length(a), &packed, &bias, &mixed);
	pack_head(work, a, &packed.head, &mixed);
	if (!emb_work_spend(work, 2 * (int64_t) count_keys(a) * a->head_size))
		return false;
	if (windowed)
		middle = spread_window(a, bias);
	for (int32_t head = 0; head < a->n_heads; head++)
	{
		EmbAttendI8 piece = head_queries(a, head, &packed);

		if (!windowed && biased)
		{
			spread_bias(a, head, bias);
			piece.bias = bias + text_length(a) - 1 - a->first;
		}
		for (int32_t i = n_seeing; i < a->n_queries; i++)
			memset(piece.out + i * a->out_stride, 0, a->head_size * sizeof(float));
		if (windowed ? !attend_windows(work, a, &piece, n_seeing, middle) : !attend_queries(work, a, &piece, n_seeing))
			return false;
	}
	return true;
}
