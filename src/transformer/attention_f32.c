/*
 * attention_f32.c
 *		Attention in fp32, with the matrix product of the kernels.
 */
#include "transformer/attention.h"

#include <math.h>
#include <string.h>

/* Queries per block: their scores should stay in the second-level cache. */
#define QUERIES_MAX		60
#define QUERIES_MIN		24
#define SCORES_ELEMS	65536

#define MACS_PER_EXP	16		/* cost of a score in the softmax */

typedef struct Scratch
{
	float	   *keys;			/* [ceil(L / 16)][d][16] */
	float	   *values;			/* [ceil(d / 16)][L][16] */
	float	   *scores;			/* [queries_per_block(L), 16 ceil(L / 16)] */
	float	   *out;			/* [QUERIES_MAX, 16 ceil(d / 16)] */
} Scratch;

static int32_t
queries_per_block(int32_t n_tokens)
{
	size_t		n = SCORES_ELEMS / emb_round_up(n_tokens, EMB_PANEL);

	return n < QUERIES_MIN ? QUERIES_MIN : n < QUERIES_MAX ? (int32_t) n : QUERIES_MAX;
}

/*
 * Every part is a multiple of 16 floats, so all parts stay aligned. Every part
 * grows with n_tokens, so the size for the longest text is enough for all
 * texts: queries_per_block(L) rows of scores are at most this size for every
 * shorter L.
 */
static size_t
scores_elems(int32_t n_tokens)
{
	size_t		row = emb_round_up(n_tokens, EMB_PANEL);
	size_t		n = QUERIES_MIN * row > SCORES_ELEMS ? QUERIES_MIN * row : SCORES_ELEMS;

	return QUERIES_MAX * row < n ? QUERIES_MAX * row : n;
}

static size_t
lay_out(float *base, int32_t head_size, int32_t n_tokens, Scratch *s)
{
	size_t		keys = emb_round_up(n_tokens, EMB_PANEL) * head_size;
	size_t		values = emb_round_up(head_size, EMB_PANEL) * n_tokens;
	size_t		scores = scores_elems(n_tokens);
	size_t		out = QUERIES_MAX * emb_round_up(head_size, EMB_PANEL);

	if (s != NULL)
	{
		s->keys = base;
		s->values = s->keys + keys;
		s->scores = s->values + values;
		s->out = s->scores + scores;
	}
	return keys + values + scores + out;
}

size_t
emb_attention_f32_scratch_bytes(int32_t head_size, int32_t n_tokens)
{
	return lay_out(NULL, head_size, n_tokens, NULL) * sizeof(float);
}

static bool
pack_keys(EmbWork *work, const float *k, size_t stride, int32_t head_size, int32_t n_tokens, float *keys)
{
	for (int32_t t = 0; t < n_tokens; t += EMB_PANEL)
	{
		int32_t		n_rows = n_tokens - t < EMB_PANEL ? n_tokens - t : EMB_PANEL;

		work->kernels->transpose_f32(k + t * stride, stride, n_rows, head_size, keys + (size_t) t * head_size);
		if (!emb_work_spend(work, (int64_t) EMB_PANEL * head_size))
			return false;
	}
	return true;
}

static bool
pack_values(EmbWork *work, const float *v, size_t stride, int32_t head_size, int32_t n_tokens, float *values)
{
	for (int32_t c = 0; c < head_size; c += EMB_PANEL)
	{
		int32_t		n = head_size - c < EMB_PANEL ? head_size - c : EMB_PANEL;

		for (int32_t t = 0; t < n_tokens; t++)
		{
			float	   *to = values + ((size_t) c * n_tokens + (size_t) t * EMB_PANEL);

			if (n == EMB_PANEL)
				memcpy(to, v + t * stride + c, EMB_PANEL * sizeof(float));
			else
			{
				memcpy(to, v + t * stride + c, n * sizeof(float));
				memset(to + n, 0, (EMB_PANEL - n) * sizeof(float));
			}
		}
		if (!emb_work_spend(work, (int64_t) EMB_PANEL * n_tokens))
			return false;
	}
	return true;
}

/*
 * scores of token i's query += bias sqrt d, because the softmax divides by
 * sqrt d. The sums do not depend on the compiler's vectorization.
 */
static void
add_bias(const EmbAttention *a, int32_t i, float *scores)
{
	float		root = sqrtf((float) a->head_size);
	int32_t		near = i < EMB_DISTANCE_MAX ? 0 : i - EMB_DISTANCE_MAX;
	int32_t		far = a->n_tokens - 1 - i < EMB_DISTANCE_MAX ? a->n_tokens : i + EMB_DISTANCE_MAX;
	float		before = a->bias[0] * root;
	float		behind = a->bias[EMB_DISTANCES - 1] * root;

	for (int32_t t = 0; t < near; t++)
		scores[t] += before;
	for (int32_t t = near; t < far; t++)
		scores[t] += a->bias[t - i + EMB_DISTANCE_MAX] * root;
	for (int32_t t = far; t < a->n_tokens; t++)
		scores[t] += behind;
}

/*
 * Queries of one head, from token first on, against all keys. The division
 * comes last, where rows are short.
 */
static bool
attend_block(EmbWork *work, const EmbAttention *a, const Scratch *s,
			 const float *q, int32_t first, int32_t n_queries, float *out)
{
	int32_t		n_tokens = a->n_tokens;
	size_t		n_scores = emb_round_up(n_tokens, EMB_PANEL);
	size_t		n_out = emb_round_up(a->head_size, EMB_PANEL);
	float		scale = 1.0f / sqrtf((float) a->head_size);
	float		sums[QUERIES_MAX];
	EmbGemmF32	g = {
		.n_rows = n_queries, .n_in = a->head_size, .n_panels = (int32_t) (n_scores / EMB_PANEL),
		.a = q, .a_stride = a->stride, .b = s->keys, .c = s->scores, .c_stride = n_scores
	};

	if (!emb_work_multiply(work, &g, NULL))
		return false;
	for (int32_t i = 0; i < n_queries; i++)
	{
		if (a->bias != NULL)
			add_bias(a, first + i, s->scores + i * n_scores);
		sums[i] = work->kernels->softmax_f32(s->scores + i * n_scores, n_tokens, scale);
		if (!emb_work_spend(work, (int64_t) n_tokens * MACS_PER_EXP))
			return false;
	}
	g = (EmbGemmF32) {
		.n_rows = n_queries, .n_in = n_tokens, .n_panels = (int32_t) (n_out / EMB_PANEL),
		.a = s->scores, .a_stride = n_scores, .b = s->values, .c = s->out, .c_stride = n_out
	};
	if (!emb_work_multiply(work, &g, NULL))
		return false;
	for (int32_t i = 0; i < n_queries; i++)
	{
		work->kernels->div_f32(s->out + i * n_out, a->head_size, sums[i]);
		memcpy(out + i * a->stride, s->out + i * n_out, a->head_size * sizeof(float));
	}
	return true;
}

/*
 * With a sliding window, queries are processed in blocks of WINDOW_QUERIES,
 * counted from the text's start. So the keys that a block reads, and the order
 * of a query's sums, do not depend on the part of a text that a thread has.
 */
#define WINDOW_QUERIES	QUERIES_MIN

/*
 * Softmax of a query's scores for keys start, start + 1, .. inside its window;
 * the other scores become 0.
 */
static float
weigh_window(EmbWork *work, const EmbAttention *a, int32_t query, int32_t start, int32_t end, float *scores)
{
	int32_t		lo = query - a->window > start ? query - a->window - start : 0;
	int32_t		hi = (query + a->window < end - 1 ? query + a->window + 1 : end) - start;

	memset(scores, 0, lo * sizeof(float));
	memset(scores + hi, 0, (end - start - hi) * sizeof(float));
	return work->kernels->softmax_f32(scores + lo, hi - lo, 1.0f / sqrtf((float) a->head_size));
}

/* n_queries queries from token first on, all in the block that begins at token block. */
static bool
attend_window(EmbWork *work, const EmbAttention *a, const Scratch *s,
			  const float *q, int32_t block, int32_t first, int32_t n_queries, float *out)
{
	int32_t		start = block > a->window ? (block - a->window) / EMB_PANEL * EMB_PANEL : 0;
	int64_t		beyond = (int64_t) block + WINDOW_QUERIES + a->window;
	int32_t		end = beyond < a->n_tokens ? (int32_t) beyond : a->n_tokens;
	size_t		n_scores = emb_round_up(end - start, EMB_PANEL);
	size_t		n_out = emb_round_up(a->head_size, EMB_PANEL);
	float		sums[WINDOW_QUERIES];
	EmbGemmF32	g = {
		.n_rows = n_queries, .n_in = a->head_size, .n_panels = (int32_t) (n_scores / EMB_PANEL),
		.a = q, .a_stride = a->stride, .b = s->keys + (size_t) start * a->head_size, .c = s->scores, .c_stride = n_scores
	};

	if (!emb_work_multiply(work, &g, NULL))
		return false;
	for (int32_t i = 0; i < n_queries; i++)
		sums[i] = weigh_window(work, a, first + i, start, end, s->scores + i * n_scores);
	if (!emb_work_spend(work, (int64_t) n_queries * (end - start) * MACS_PER_EXP))
		return false;
	for (size_t c = 0; c < n_out; c += EMB_PANEL)
	{
		g = (EmbGemmF32) {
			.n_rows = n_queries, .n_in = end - start, .n_panels = 1,
			.a = s->scores, .a_stride = n_scores, .b = s->values + c * a->n_tokens + (size_t) start * EMB_PANEL,
			.c = s->out + c, .c_stride = n_out
		};
		if (!emb_work_multiply(work, &g, NULL))
			return false;
	}
	for (int32_t i = 0; i < n_queries; i++)
	{
		work->kernels->div_f32(s->out + i * n_out, a->head_size, sums[i]);
		memcpy(out + i * a->stride, s->out + i * n_out, a->head_size * sizeof(float));
	}
	return true;
}

static bool
attend_windows(EmbWork *work, const EmbAttention *a, const Scratch *s)
{
	int32_t		end = a->first + a->n_queries;

	for (int32_t i = a->first; i < end;)
	{
		int32_t		block = i / WINDOW_QUERIES * WINDOW_QUERIES;
		int32_t		n = (block + WINDOW_QUERIES < end ? block + WINDOW_QUERIES : end) - i;
		size_t		at = (i - a->first) * a->stride;

		if (!attend_window(work, a, s, a->q + at, block, i, n, a->out + at))
			return false;
		i += n;
	}
	return true;
}

bool
emb_attention_f32(EmbWork *work, const EmbAttention *a)
{
	int32_t		block = queries_per_block(a->n_tokens);
	Scratch		s;

	lay_out(a->scratch, a->head_size, a->n_tokens, &s);
	if (!pack_keys(work, a->k, a->stride, a->head_size, a->n_tokens, s.keys) ||
		!pack_values(work, a->v, a->stride, a->head_size, a->n_tokens, s.values))
		return false;
	if (a->window > 0 && a->window < a->n_tokens)
		return attend_windows(work, a, &s);
	for (int32_t i = 0; i < a->n_queries; i += block)
	{
		int32_t		n = a->n_queries - i < block ? a->n_queries - i : block;

		if (!attend_block(work, a, &s, a->q + i * a->stride, a->first + i, n, a->out + i * a->stride))
			return false;
	}
	return true;
}
