/*
 * attention_i8.c
 *		Attention in int8: scratch for the kernels, and pieces with polls of
 *		stop between them.
 */
#include <math.h>

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

/*
 * Places the arrays of the kernels from base on; only counts if base is NULL.
 * Returns the number of bytes.
 */
static size_t
lay_out(char *base, bool biased, EmbAttendI8 *a, float **bias)
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
	*bias = biased ? emb_reserve(base, &at, bias_elems(head->n_tokens) * sizeof(float)) : NULL;
	return at;
}

size_t
emb_attention_i8_scratch_bytes(int32_t head_size, int32_t n_tokens, bool biased)
{
	EmbAttendI8 a = {.head = {.n_tokens = n_tokens, .head_size = head_size}};
	float	   *bias;

	return lay_out(NULL, biased, &a, &bias);
}

/* The cost of a query that sees n_keys keys. */
static int64_t
macs_per_query(const EmbAttentionI8 *a, int64_t n_keys)
{
	return n_keys * (2 * (int64_t) a->head_size / MACS_I8_PER_MAC + MACS_PER_SCORE);
}

/* Processes n queries from piece->q on, in pieces; moves on to the next. */
static bool
attend_queries(EmbWork *work, const EmbAttentionI8 *a, EmbAttendI8 *piece, int32_t n)
{
	int64_t		macs = macs_per_query(a, piece->head.n_tokens);
	int64_t		n_fitting = work->kernels->macs_per_piece / macs;
	int32_t		n_most = n_fitting < 1 ? 1 : n_fitting < n ? (int32_t) n_fitting : n;

	for (int32_t left = n; left > 0; left -= piece->n_queries)
	{
		piece->n_queries = left < n_most ? left : n_most;
		work->kernels->attend_i8(piece);
		if (!emb_work_spend(work, piece->n_queries * macs))
			return false;
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
spread_bias(const EmbAttentionI8 *a, float *bias)
{
	int32_t		lowest = 1 - a->n_tokens;
	int32_t		end = (int32_t) emb_head_i8_tokens(a->n_tokens);

	for (int32_t distance = lowest; distance < end; distance++)
	{
		int32_t		near = distance < -EMB_DISTANCE_MAX ? -EMB_DISTANCE_MAX
			: distance > EMB_DISTANCE_MAX ? EMB_DISTANCE_MAX : distance;
		float		b = a->bias[near + EMB_DISTANCE_MAX] * LOG2_E;

		bias[distance - lowest] = b < -EMB_BIAS_MAX ? -EMB_BIAS_MAX : b > EMB_BIAS_MAX ? EMB_BIAS_MAX : b;
	}
}

/*
 * 0 inside the window, nothing outside. Returns the place of distance 0. A
 * block's keys begin and end at a panel boundary, less than a block and a
 * panel away from the window's end for any of its queries.
 */
static const float *
spread_window(const EmbAttentionI8 *a, float *bias)
{
	int32_t		n = a->window + WINDOW_QUERIES + EMB_PANEL;

	for (int32_t distance = -n; distance < n; distance++)
		bias[distance + n] = distance < -a->window || distance > a->window ? EMB_BIAS_OF_NOTHING : 0.0f;
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
attend_windows(EmbWork *work, const EmbAttentionI8 *a, EmbAttendI8 *piece, float *bias)
{
	const EmbHeadI8 head = piece->head;
	const float *middle = spread_window(a, bias);
	int32_t		end = a->first + a->n_queries;
	int32_t		next;

	for (int32_t i = a->first; i < end; i = next)
	{
		int32_t		block = i / WINDOW_QUERIES * WINDOW_QUERIES;
		int32_t		from = block > a->window ? (block - a->window) / EMB_PANEL * EMB_PANEL : 0;
		size_t		to = emb_head_i8_tokens(block + WINDOW_QUERIES + a->window);

		next = block + WINDOW_QUERIES < end ? block + WINDOW_QUERIES : end;
		piece->head = cut_head(&head, from, to < (size_t) a->n_tokens ? (int32_t) to : a->n_tokens);
		piece->bias = middle + from - i;
		if (!attend_queries(work, a, piece, next - i))
			return false;
	}
	return true;
}

bool
emb_attention_i8(EmbWork *work, const EmbAttentionI8 *a)
{
	const EmbHeadRowsI8 rows = {.k = a->k, .v = a->v, .stride = a->stride, .k_scales = a->k_scales, .v_scales = a->v_scales};
	bool		windowed = a->window > 0 && a->window < a->n_tokens - 1;
	EmbAttendI8 piece = {
		.q = a->q, .q_stride = a->stride, .q_scales = a->q_scales,
		.scale = LOG2_E / sqrtf((float) a->head_size),
		.head = {.n_tokens = a->n_tokens, .head_size = a->head_size},
		.out = a->out, .out_stride = a->out_stride
	};
	float	   *bias;

	lay_out(a->scratch, a->bias != NULL || windowed, &piece, &bias);
	work->kernels->pack_head_i8(&rows, &piece.head);
	if (!emb_work_spend(work, 2 * (int64_t) a->n_tokens * a->head_size))
		return false;
	if (windowed)
		return attend_windows(work, a, &piece, bias);
	if (a->bias != NULL)
	{
		spread_bias(a, bias);
		piece.bias = bias + a->n_tokens - 1 - a->first;
	}
	return attend_queries(work, a, &piece, a->n_queries);
}
