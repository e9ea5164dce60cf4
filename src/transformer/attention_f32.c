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

/* Queries of one head from a token on. */
typedef struct Queries
{
	const float *q;
	float	   *out;
	const float *bias;			/* of the head, or NULL */
	int32_t		first;
	int32_t		n;
} Queries;

/* L: keys, prefix included. */
typedef struct Scratch
{
	float	   *keys;			/* [ceil(L / 16)][d][16] */
	float	   *values;			/* [ceil(d / 16)][L][16] */
	float	   *scores;			/* [queries_per_block(L), 16 ceil(L / 16)] */
	float	   *out;			/* [QUERIES_MAX, 16 ceil(d / 16)] */

	/* disentangled attention; n: distances that the text has, rounded up to 16 */
	float	   *distances;		/* [n / 16][d][16] vectors of distances */
	float	   *of_keys;		/* [L, n] their products with the keys */
	float	   *of_queries;		/* [QUERIES_MAX, n] */
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
lay_out(float *base, int32_t head_size, int32_t n_tokens, int32_t span, Scratch *s)
{
	size_t		n_distances = emb_round_up(2 * (size_t) span, EMB_PANEL);
	size_t		relative = n_distances * (head_size + emb_round_up(n_tokens, EMB_PANEL) + QUERIES_MAX + EMB_PANEL);
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
		s->distances = s->out + out;
		s->of_keys = s->distances + n_distances * head_size;
		s->of_queries = s->of_keys + n_distances * emb_round_up(n_tokens, EMB_PANEL);
	}
	return keys + values + scores + out + emb_round_up(relative, EMB_PANEL);
}

size_t
emb_attention_f32_scratch_bytes(int32_t head_size, int32_t n_tokens, int32_t relative_span)
{
	return lay_out(NULL, head_size, n_tokens, relative_span, NULL) * sizeof(float);
}

static int32_t
count_keys(const EmbAttention *a)
{
	return a->n_prefix + a->n_tokens;
}

/* Tokens of the text, of which the keys come first. */
static int32_t
text_length(const EmbAttention *a)
{
	return count_keys(a) + a->n_unseen;
}

static const float *
key_row(const EmbAttention *a, int32_t t)
{
	return t < a->n_prefix ? a->prefix_k + t * a->key_stride : a->k + (t - a->n_prefix) * a->key_stride;
}

static const float *
value_row(const EmbAttention *a, int32_t t)
{
	return t < a->n_prefix ? a->prefix_v + t * a->key_stride : a->v + (t - a->n_prefix) * a->key_stride;
}

/* The panel in which the prefix ends; aside: scratch for its rows. */
static void
pack_mixed_panel(EmbWork *work, const EmbAttention *a, int32_t t, int32_t n_rows, float *aside, float *panel)
{
	for (int32_t i = 0; i < n_rows; i++)
		memcpy(aside + (size_t) i * a->head_size, key_row(a, t + i), a->head_size * sizeof(float));
	work->kernels->transpose_f32(aside, a->head_size, n_rows, a->head_size, panel);
}

static bool
pack_keys(EmbWork *work, const EmbAttention *a, const Scratch *s)
{
	int32_t		n_keys = count_keys(a);

	for (int32_t t = 0; t < n_keys; t += EMB_PANEL)
	{
		int32_t		n_rows = n_keys - t < EMB_PANEL ? n_keys - t : EMB_PANEL;
		float	   *panel = s->keys + (size_t) t * a->head_size;

		if (t < a->n_prefix && t + n_rows > a->n_prefix)
			pack_mixed_panel(work, a, t, n_rows, s->out, panel);
		else
			work->kernels->transpose_f32(key_row(a, t), a->key_stride, n_rows, a->head_size, panel);
		if (!emb_work_spend(work, (int64_t) EMB_PANEL * a->head_size))
			return false;
	}
	return true;
}

static bool
pack_values(EmbWork *work, const EmbAttention *a, const Scratch *s)
{
	int32_t		n_keys = count_keys(a);

	for (int32_t c = 0; c < a->head_size; c += EMB_PANEL)
	{
		int32_t		n = a->head_size - c < EMB_PANEL ? a->head_size - c : EMB_PANEL;

		for (int32_t t = 0; t < n_keys; t++)
		{
			float	   *to = s->values + ((size_t) c * n_keys + (size_t) t * EMB_PANEL);

			memcpy(to, value_row(a, t) + c, n * sizeof(float));
			memset(to + n, 0, (EMB_PANEL - n) * sizeof(float));
		}
		if (!emb_work_spend(work, (int64_t) EMB_PANEL * n_keys))
			return false;
	}
	return true;
}

/*
 * scores of token i's query += bias sqrt d, because the softmax divides by
 * sqrt d. The sums do not depend on the compiler's vectorization.
 */
static void
add_bias(const EmbAttention *a, const float *bias, int32_t i, float *scores)
{
	float		root = sqrtf((float) a->head_size);
	int32_t		n_keys = count_keys(a);
	int32_t		first_near = i < EMB_DISTANCE_MAX ? 0 : i - EMB_DISTANCE_MAX;
	int32_t		near = first_near < n_keys ? first_near : n_keys;
	int32_t		far = n_keys - 1 - i < EMB_DISTANCE_MAX ? n_keys : i + EMB_DISTANCE_MAX;
	float		before = bias[0] * root;
	float		behind = bias[EMB_DISTANCES - 1] * root;

	for (int32_t t = 0; t < near; t++)
		scores[t] += before;
	for (int32_t t = near; t < far; t++)
		scores[t] += bias[t - i + EMB_DISTANCE_MAX] * root;
	for (int32_t t = far; t < n_keys; t++)
		scores[t] += behind;
}

/* scores of token i's query -= slope * distance * sqrt d. */
static void
add_slope(const EmbAttention *a, int32_t i, float *scores)
{
	float		slope = a->slope * sqrtf((float) a->head_size);
	int32_t		n_keys = count_keys(a);
	int32_t		n_before = i < n_keys ? i : n_keys;

	for (int32_t t = 0; t < n_before; t++)
		scores[t] -= (float) (i - t) * slope;
	for (int32_t t = n_before; t < n_keys; t++)
		scores[t] -= (float) (t - i) * slope;
}

/* ------------------------------------------------- disentangled attention */

/* The distances of a text: buckets first .. first + n - 1; n is rounded up to panels. */
typedef struct Range
{
	int32_t		first;
	int32_t		n;
} Range;

static Range
range_of(const EmbAttention *a)
{
	int32_t		last = a->buckets[text_length(a) - 1];
	int32_t		first = a->buckets[1 - text_length(a)];

	return (Range) {first, (int32_t) emb_round_up(last - first + 1, EMB_PANEL)};
}

/* Packs the vectors of a range of distances; rows behind the last one are zeros. */
static bool
pack_distances(EmbWork *work, const EmbAttention *a, const Scratch *s, Range range, const float *table)
{
	int32_t		n_rows = 2 * a->arch->relative_span - range.first;

	for (int32_t i = 0; i < range.n; i += EMB_PANEL)
	{
		int32_t		n = n_rows - i < EMB_PANEL ? n_rows - i : EMB_PANEL;

		work->kernels->transpose_f32(table + (range.first + i) * a->relative_stride, a->relative_stride, n, a->head_size,
									 s->distances + (size_t) i * a->head_size);
		if (!emb_work_spend(work, (int64_t) EMB_PANEL * a->head_size))
			return false;
	}
	return true;
}

/* c [n_rows, range] = rows x the packed vectors */
static bool
meet_distances(EmbWork *work, const EmbAttention *a, const Scratch *s, Range range, const float *rows, size_t stride, int32_t n_rows, float *c)
{
	EmbGemmF32	g = {
		.n_rows = n_rows, .n_in = a->head_size, .n_panels = range.n / EMB_PANEL,
		.a = rows, .a_stride = stride, .b = s->distances,
		.c = c, .c_stride = (size_t) range.n
	};

	return emb_work_multiply(work, &g, NULL);
}

/* What a head's queries need: products of keys with distances, and the vectors that queries will meet. */
static bool
begin_relative(EmbWork *work, const EmbAttention *a, const Scratch *s, int32_t head)
{
	Range		range = range_of(a);
	size_t		column = (size_t) head * a->head_size;

	return pack_distances(work, a, s, range, a->relative_queries + column) &&
		meet_distances(work, a, s, range, a->k, a->key_stride, a->n_tokens, s->of_keys) &&
		pack_distances(work, a, s, range, a->relative_keys + column);
}

/* scores [n, n_scores] += what distances add, in one order */
static bool
add_relative(EmbWork *work, const EmbAttention *a, const Scratch *s, const Queries *queries, size_t n_scores)
{
	Range		range = range_of(a);

	if (!meet_distances(work, a, s, range, queries->q, a->stride, queries->n, s->of_queries))
		return false;
	for (int32_t i = 0; i < queries->n; i++)
	{
		float	   *scores = s->scores + i * n_scores;
		const float *of_query = s->of_queries + (size_t) i * range.n;

		for (int32_t t = 0; t < a->n_tokens; t++)
		{
			int32_t		bucket = a->buckets[queries->first + i - t] - range.first;

			scores[t] = scores[t] + of_query[bucket] + s->of_keys[(size_t) t * range.n + bucket];
		}
	}
	return emb_work_spend(work, 4 * (int64_t) queries->n * a->n_tokens);
}

static float
scale_of(const EmbAttention *a)
{
	return 1.0f / sqrtf((float) (a->arch != NULL ? 3 * a->head_size : a->head_size));
}

/* -------------------------------------------------------------------- blocks */

/* The division comes last, where rows are short. */
static void
divide(EmbWork *work, const EmbAttention *a, const Scratch *s, const Queries *queries, const float *sums)
{
	size_t		n_out = emb_round_up(a->head_size, EMB_PANEL);

	for (int32_t i = 0; i < queries->n; i++)
	{
		work->kernels->div_f32(s->out + i * n_out, a->head_size, sums[i]);
		memcpy(queries->out + i * a->stride, s->out + i * n_out, a->head_size * sizeof(float));
	}
}

/* Scores of queries against the keys of n_panels panels from key start on. */
static bool
score(EmbWork *work, const EmbAttention *a, const Scratch *s, const Queries *queries, int32_t start, int32_t n_panels)
{
	EmbGemmF32	g = {
		.n_rows = queries->n, .n_in = a->head_size, .n_panels = n_panels,
		.a = queries->q, .a_stride = a->stride, .b = s->keys + (size_t) start * a->head_size,
		.c = s->scores, .c_stride = (size_t) n_panels * EMB_PANEL
	};

	return emb_work_multiply(work, &g, NULL);
}

/* s->out = the weights in s->scores of keys start .. start + n_keys - 1 times their values. */
static bool
combine(EmbWork *work, const EmbAttention *a, const Scratch *s, int32_t n_queries, size_t n_scores, int32_t start, int32_t n_keys)
{
	size_t		n_out = emb_round_up(a->head_size, EMB_PANEL);
	bool		all = n_keys == count_keys(a);

	/* panels of values lie end to end only as wholes */
	for (size_t c = 0; c < n_out; c += all ? n_out : EMB_PANEL)
	{
		EmbGemmF32	g = {
			.n_rows = n_queries, .n_in = n_keys, .n_panels = all ? (int32_t) (n_out / EMB_PANEL) : 1,
			.a = s->scores, .a_stride = n_scores, .b = s->values + c * count_keys(a) + (size_t) start * EMB_PANEL,
			.c = s->out + c, .c_stride = n_out
		};

		if (!emb_work_multiply(work, &g, NULL))
			return false;
	}
	return true;
}

static bool
attend_block(EmbWork *work, const EmbAttention *a, const Scratch *s, const Queries *queries)
{
	int32_t		n_keys = count_keys(a);
	size_t		n_scores = emb_round_up(n_keys, EMB_PANEL);
	float		scale = scale_of(a);
	float		sums[QUERIES_MAX];

	if (!score(work, a, s, queries, 0, (int32_t) (n_scores / EMB_PANEL)) ||
		(a->arch != NULL && !add_relative(work, a, s, queries, n_scores)))
		return false;
	for (int32_t i = 0; i < queries->n; i++)
	{
		if (queries->bias != NULL)
			add_bias(a, queries->bias, queries->first + i, s->scores + i * n_scores);
		if (a->slope != 0)
			add_slope(a, queries->first + i, s->scores + i * n_scores);
		sums[i] = work->kernels->softmax_f32(s->scores + i * n_scores, n_keys, scale);
		if (!emb_work_spend(work, (int64_t) n_keys * MACS_PER_EXP))
			return false;
	}
	if (!combine(work, a, s, queries->n, n_scores, 0, n_keys))
		return false;
	divide(work, a, s, queries, sums);
	return true;
}

/*
 * Causal attention: queries are processed in blocks of a panel, counted from
 * the text's start. The keys before the block meet the block's weights in a
 * matrix product. The keys of the block itself, of which each query sees other
 * ones, follow one by one. So no arithmetic touches a later value, which may
 * be infinite. With a window the product begins at the panel of the first key
 * that any query of the block sees, and earlier keys have the weight 0.
 */
static bool
attend_seen(EmbWork *work, const EmbAttention *a, const Scratch *s, const Queries *queries)
{
	int32_t		block = queries->first / EMB_PANEL * EMB_PANEL;
	int32_t		start = a->window > 0 && block > a->window ? (block - a->window) / EMB_PANEL * EMB_PANEL : 0;
	size_t		n_scores = block - start + EMB_PANEL;
	size_t		n_out = emb_round_up(a->head_size, EMB_PANEL);
	float		scale = 1.0f / sqrtf((float) a->head_size);
	float		sums[EMB_PANEL];

	if (!score(work, a, s, queries, start, (int32_t) (n_scores / EMB_PANEL)))
		return false;
	for (int32_t i = 0; i < queries->n; i++)
	{
		int32_t		query = queries->first + i;
		int32_t		lo = a->window > 0 && query - a->window > start ? query - a->window : start;

		memset(s->scores + i * n_scores, 0, (lo - start) * sizeof(float));
		sums[i] = work->kernels->softmax_f32(s->scores + i * n_scores + lo - start, query + 1 - lo, scale);
	}
	if (!emb_work_spend(work, (int64_t) queries->n * n_scores * MACS_PER_EXP))
		return false;
	if (block == start)
		memset(s->out, 0, queries->n * n_out * sizeof(float));
	else if (!combine(work, a, s, queries->n, n_scores, start, block - start))
		return false;
	for (int32_t i = 0; i < queries->n; i++)
	{
		int32_t		query = queries->first + i;
		int32_t		first = a->window > 0 && query - a->window > block ? query - a->window : block;

		for (int32_t t = first; t <= query; t++)
			work->kernels->muladd_f32(s->out + i * n_out, value_row(a, t), a->head_size, s->scores[i * n_scores + t - start]);
	}
	divide(work, a, s, queries, sums);
	return emb_work_spend(work, (int64_t) queries->n * EMB_PANEL * a->head_size);
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

/* The queries are all in the block that begins at token block. */
static bool
attend_window(EmbWork *work, const EmbAttention *a, const Scratch *s, int32_t block, const Queries *queries)
{
	int32_t		start = block > a->window ? (block - a->window) / EMB_PANEL * EMB_PANEL : 0;
	int64_t		beyond = (int64_t) block + WINDOW_QUERIES + a->window;
	int32_t		end = beyond < count_keys(a) ? (int32_t) beyond : count_keys(a);
	size_t		n_scores = emb_round_up(end - start, EMB_PANEL);
	float		sums[WINDOW_QUERIES];

	if (!score(work, a, s, queries, start, (int32_t) (n_scores / EMB_PANEL)))
		return false;
	for (int32_t i = 0; i < queries->n; i++)
		sums[i] = weigh_window(work, a, queries->first + i, start, end, s->scores + i * n_scores);
	if (!emb_work_spend(work, (int64_t) queries->n * (end - start) * MACS_PER_EXP) ||
		!combine(work, a, s, queries->n, n_scores, start, end - start))
		return false;
	divide(work, a, s, queries, sums);
	return true;
}

/* Queries from token i on in one block of n, counted from the text's start, or from the first query. */
static Queries
next_queries(const EmbAttention *a, const Queries *all, int32_t i, int32_t n, bool from_start)
{
	int32_t		origin = from_start ? 0 : all->first;
	int32_t		block_end = origin + ((i - origin) / n + 1) * n;
	int32_t		end = all->first + all->n;
	size_t		at = (i - all->first) * a->stride;

	return (Queries) {all->q + at, all->out + at, all->bias, i, (block_end < end ? block_end : end) - i};
}

static bool
attend_head(EmbWork *work, const EmbAttention *a, const Scratch *s, const Queries *all)
{
	bool		windowed = a->window > 0 && a->window < text_length(a);
	int32_t		n = a->is_causal ? EMB_PANEL : windowed ? WINDOW_QUERIES : queries_per_block(count_keys(a));
	int32_t		n_seeing = emb_attention_n_seeing(all->first, all->n, count_keys(a), a->window);

	for (int32_t i = n_seeing; i < all->n; i++)
		memset(all->out + i * a->stride, 0, a->head_size * sizeof(float));
	for (int32_t i = all->first; i < all->first + n_seeing;)
	{
		Queries		queries = next_queries(a, &(Queries) {all->q, all->out, all->bias, all->first, n_seeing}, i, n,
										   a->is_causal || windowed);
		bool		may_go_on;

		if (a->is_causal)
			may_go_on = attend_seen(work, a, s, &queries);
		else if (windowed)
			may_go_on = attend_window(work, a, s, i / WINDOW_QUERIES * WINDOW_QUERIES, &queries);
		else
			may_go_on = attend_block(work, a, s, &queries);
		if (!may_go_on)
			return false;
		i += queries.n;
	}
	return true;
}

bool
emb_attention_f32(EmbWork *work, const EmbAttention *a)
{
	Scratch		s;

	lay_out(a->scratch, a->head_size, count_keys(a), a->arch != NULL ? a->arch->relative_span : 0, &s);
	if (!pack_keys(work, a, &s) || !pack_values(work, a, &s))
		return false;
	for (int32_t head = 0; head < a->n_heads; head++)
	{
		Queries		all = {
			a->q + (size_t) head * a->head_size, a->out + (size_t) head * a->head_size,
			a->bias == NULL ? NULL : a->bias + (size_t) head * EMB_DISTANCES, a->first, a->n_queries
		};

		if ((a->arch != NULL && !begin_relative(work, a, &s, head)) || !attend_head(work, a, &s, &all))
			return false;
	}
	return true;
}
