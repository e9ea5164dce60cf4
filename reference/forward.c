/*
 * forward.c
 *		The forward pass: embeddings, then layers.
 *
 *	post-norm	x = norm(x + attention(x)),		x = norm(x + ffn(x))			(Devlin et al. 2018)
 *	pre-norm	x = x + attention(norm(x)),		x = x + ffn(norm(x)), and a norm at the end
 *	around		x = x + norm(attention(norm(x))),	x = x + norm(ffn(norm(x))), and a norm at the end
 *
 *	attention	softmax(q k^T / sqrt d + bias) v Wo for each head, over the keys that a token sees
 *				(Vaswani et al. 2017); several heads of q may share one head of k and v (Ainslie et
 *				al. 2023)
 *	ffn			act(x Wu) Wd, or with a GLU (act(x Wg) * x Wu) Wd (Shazeer 2020), or experts (router.c)
 *
 * All texts go through a layer before the next layer is read.
 */
#include "reference/reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reference/matrices.h"

/* Queries whose scores are in memory at once. */
#define QUERY_BLOCK	256

/* A layer's weights. */
typedef struct Layer
{
	int32_t		index;
	EmbRefLinear query,
				key,
				value,
				attn_out,
				ffn_gate,
				ffn_up,
				ffn_down;
	EmbRefNorm	attn_norm,
				ffn_norm,
				second_norm,
				query_norm,
				key_norm,
				attn_end_norm,	/* of what a half adds */
				ffn_end_norm;
	EmbRefExperts experts;		/* in the place of ffn_up and ffn_down */
	const float *relative_keys; /* [2 relative_span, n_heads * head_size], or NULL */
	const float *relative_queries;
} Layer;

/* A text's activations, for the longest text. */
typedef struct Buffers
{
	float	   *normed;			/* [n, hidden] input of attention or FFN */
	float	   *q;				/* [n, n_heads * head_size] */
	float	   *k;				/* [n, n_kv_heads * head_size] */
	float	   *v;
	float	   *context;		/* [n, n_heads * head_size] */
	float	   *scores;			/* [QUERY_BLOCK, n] */
	float	   *wide;			/* [n, intermediate] */
	float	   *up;				/* the same */
	float	   *sum;			/* [n, hidden] what attention or FFN adds */
	int32_t		n_positions;	/* of the angles */
	const float *angles;		/* global layers */
	const float *local_angles;	/* layers with a sliding window */
	const float *distances;		/* [n_heads, EMB_DISTANCES], or NULL */
} Buffers;

/* ------------------------------------------------------------------ embeddings */

/* word * scale (+ type) (+ position), then a norm if there is one: rows of width elements. */
static void
embed_text(EmbRefRun *run, const EmbReferenceText *text, const float *types, const float *positions, EmbRefNorm norm, int32_t width, float *x)
{
	const EmbArch *arch = run->arch;
	int32_t		padding = arch->position_base - 1;	/* -1: none */
	int32_t		next = arch->position_base > 0;

	for (int32_t i = 0; i < text->n_ids && run->status == EMB_OK; i++)
	{
		float	   *row = x + (size_t) i * width;
		int32_t		type = text->type_ids != NULL ? text->type_ids[i] : 0;
		int32_t		position = text->ids[i] == padding ? 0 : next++;

		emb_ref_read_row(run, EMB_PART_WORDS, text->ids[i], width, row);
		for (int32_t k = 0; k < width; k++)
		{
			row[k] *= arch->embedding_scale;
			if (types != NULL)
				row[k] += types[(size_t) type * width + k];
			if (positions != NULL)
				row[k] += positions[(size_t) position * width + k];
		}
	}
	if (run->status == EMB_OK && arch->has_embedding_norm)
		emb_ref_norm(arch->norm_kind, norm, arch->norm_eps, text->n_ids, width, x, x, run->n_threads);
}

static void
keep_hidden(const EmbRefRun *run, const EmbReferenceText *text, int32_t layer, const float *x)
{
	size_t		n = (size_t) text->n_ids * run->arch->hidden;

	if (text->hidden != NULL)
		memcpy(text->hidden + layer * n, x, n * sizeof(float));
}

/* Embeddings of another size than the layers' are multiplied by a matrix. */
static void
embed_and_project(EmbRefRun *run, const EmbReferenceText *text, const float *types, const float *positions, EmbRefNorm norm, int32_t width,
				  const EmbRefLinear *projection, float *x)
{
	int			mark = run->n_blocks;
	float	   *narrow;

	if (run->arch->embedding_size == 0)
	{
		embed_text(run, text, types, positions, norm, width, x);
		return;
	}
	narrow = emb_ref_take(run, text->n_ids, width);
	embed_text(run, text, types, positions, norm, width, narrow);
	if (run->status == EMB_OK)
		emb_ref_multiply(run, projection, text->n_ids, narrow, x);
	emb_ref_release(run, mark);
}

static void
embed_texts(EmbRefRun *run, const EmbReferenceText *texts, int32_t n_texts, float *const *rows)
{
	const EmbArch *arch = run->arch;
	int			mark = run->n_blocks;
	int32_t		width = emb_arch_embedding_width(arch);
	bool		is_absolute = (arch->positions & EMB_POSITIONS_ABSOLUTE) != 0;
	const float *types = arch->n_types == 0 ? NULL
		: emb_ref_read(run, EMB_NO_LAYER, EMB_PART_TYPES, EMB_TENSOR_TABLE, arch->n_types, width);
	const float *positions = !is_absolute ? NULL
		: emb_ref_read(run, EMB_NO_LAYER, EMB_PART_POSITIONS, EMB_TENSOR_TABLE, emb_arch_position_rows(arch), width);
	EmbRefNorm	norm = {NULL, NULL};
	EmbRefLinear projection = {0};

	if (arch->has_embedding_norm)
		norm = emb_ref_read_norm(run, EMB_NO_LAYER, EMB_PART_EMBEDDING_NORM, width);
	if (arch->embedding_size > 0)
		projection = emb_ref_linear(run, EMB_NO_LAYER, EMB_PART_EMBEDDING_PROJECTION, arch->hidden, width, true);
	emb_ref_check_table(run, EMB_PART_WORDS, arch->n_vocab, width);
	for (int32_t i = 0; i < n_texts && run->status == EMB_OK; i++)
	{
		embed_and_project(run, &texts[i], types, positions, norm, width, &projection, rows[i]);
		if (arch->n_layers > 0)
			keep_hidden(run, &texts[i], 0, rows[i]);
	}
	emb_ref_release(run, mark);
}

/* ------------------------------------------------------------------- attention */

/* The keys that token i of n sees: first .. end - 1. */
static void
visible_keys(const EmbArch *arch, int32_t layer, int32_t i, int32_t n, int32_t *first, int32_t *end)
{
	*first = 0;
	*end = n;
	if (emb_arch_is_local(arch, layer))
	{
		*first = i > arch->window ? i - arch->window : 0;
		*end = n - i > arch->window ? i + arch->window + 1 : n;
	}
	if (arch->is_causal && *end > i + 1)
		*end = i + 1;
}

/* The relative position bias of a key at a distance (key - query) from its query. */
static float
distance_bias(const float *bias, int32_t distance)
{
	if (distance > EMB_DISTANCE_MAX)
		distance = EMB_DISTANCE_MAX;
	if (distance < -EMB_DISTANCE_MAX)
		distance = -EMB_DISTANCE_MAX;
	return bias[distance + EMB_DISTANCE_MAX];
}

/*
 * ALiBi's slope of a head: 2^-8/n, its square, .. for a power of two n; for other
 * numbers of heads n is the next one below, and the other heads have slopes 1,
 * 3, .. of those for 2 n.
 */
static double
alibi_slope(int32_t n_heads, int32_t head)
{
	int32_t		n = (int32_t) pow(2, floor(log2(n_heads)));

	return head < n ? pow(2, -8.0 * (head + 1) / n) : pow(2, -8.0 * (2 * (head - n) + 1) / (2 * n));
}

/* What disentangled attention adds to the products of query i: q_i . K'_b + k_t . Q'_b, b the bucket of i - t. */
static void
add_distances(const EmbRefRun *run, const Layer *layer, const Buffers *b, int32_t head, int32_t i, int32_t n, float *scores)
{
	const EmbArch *arch = run->arch;
	int32_t		d = arch->head_size;
	int32_t		stride = arch->n_heads * d;
	const float *query = b->q + (size_t) i * stride + (size_t) head * d;

	for (int32_t t = 0; t < n; t++)
	{
		size_t		at = (size_t) emb_arch_bucket(arch, i - t) * stride + (size_t) head * d;

		scores[t] += (float) (emb_ref_dot(query, layer->relative_keys + at, d) +
							  emb_ref_dot(b->k + (size_t) t * stride + (size_t) head * d, layer->relative_queries + at, d));
	}
}

/* From products of query i with all n keys to the weights of their values. */
static void
weigh_keys(const EmbArch *arch, int32_t layer, const float *bias, double slope, int32_t i, int32_t n, float *scores)
{
	float		scale = 1 / sqrtf((float) (arch->relative_span > 0 ? 3 * arch->head_size : arch->head_size));
	int32_t		first,
				end;

	visible_keys(arch, layer, i, n, &first, &end);
	for (int32_t t = first; t < end; t++)
	{
		scores[t] *= scale;
		if (bias != NULL)
			scores[t] += distance_bias(bias, t - i);
		scores[t] -= (float) (slope * abs(t - i));
	}
	emb_ref_softmax(scores, n, first, end);
}

static void
attend_head(const EmbRefRun *run, const Layer *layer, const Buffers *b, int32_t n, int32_t head)
{
	const EmbArch *arch = run->arch;
	int32_t		d = arch->head_size;
	int32_t		q_stride = arch->n_heads * d;
	int32_t		kv_stride = arch->n_kv_heads * d;
	int32_t		kv_head = head / (arch->n_heads / arch->n_kv_heads);
	const float *bias = b->distances == NULL ? NULL : b->distances + (size_t) head * EMB_DISTANCES;
	double		slope = arch->positions & EMB_POSITIONS_ALIBI ? alibi_slope(arch->n_heads, head) : 0;

	for (int32_t first = 0; first < n; first += QUERY_BLOCK)
	{
		int32_t		n_queries = n - first < QUERY_BLOCK ? n - first : QUERY_BLOCK;
		size_t		at = (size_t) first * q_stride + (size_t) head * d;

		emb_blas_multiply(run->blas, n_queries, n, d, b->q + at, q_stride, b->k + (size_t) kv_head * d, kv_stride,
						  0, b->scores, n);
#pragma omp parallel for num_threads(run->n_threads) if ((int64_t) n_queries * n >= EMB_REF_MIN_ELEMS)
		for (int32_t i = 0; i < n_queries; i++)
		{
			if (arch->relative_span > 0)
				add_distances(run, layer, b, head, first + i, n, b->scores + (size_t) i * n);
			weigh_keys(arch, layer->index, bias, slope, first + i, n, b->scores + (size_t) i * n);
		}
		emb_blas_combine(run->blas, n_queries, d, n, b->scores, n, b->v + (size_t) kv_head * d, kv_stride,
						 b->context + at, q_stride);
	}
}

/* sum = attention(x) */
static void
attend(EmbRefRun *run, const Layer *layer, const Buffers *b, int32_t n, const float *x)
{
	const EmbArch *arch = run->arch;
	const float *angles = emb_arch_is_local(arch, layer->index) ? b->local_angles : b->angles;

	emb_ref_multiply(run, &layer->query, n, x, b->q);
	emb_ref_multiply(run, &layer->key, n, x, b->k);
	emb_ref_multiply(run, &layer->value, n, x, b->v);
	if (arch->has_qk_norm)
	{
		/* of heads, or of all heads of a token */
		bool		is_row = arch->has_qk_norm == EMB_QK_NORM_ROWS;

		emb_ref_norm(arch->norm_kind, layer->query_norm, arch->norm_eps, (int64_t) n * (is_row ? 1 : arch->n_heads),
					 (is_row ? arch->n_heads : 1) * arch->head_size, b->q, b->q, run->n_threads);
		emb_ref_norm(arch->norm_kind, layer->key_norm, arch->norm_eps, (int64_t) n * (is_row ? 1 : arch->n_kv_heads),
					 (is_row ? arch->n_kv_heads : 1) * arch->head_size, b->k, b->k, run->n_threads);
	}
	if (angles != NULL)
	{
		emb_ref_rotate(angles, b->n_positions, n, arch->n_heads, arch->head_size, b->q, run->n_threads);
		emb_ref_rotate(angles, b->n_positions, n, arch->n_kv_heads, arch->head_size, b->k, run->n_threads);
	}
	for (int32_t head = 0; head < arch->n_heads; head++)
		attend_head(run, layer, b, n, head);
	emb_ref_multiply(run, &layer->attn_out, n, b->context, b->sum);
}

/* --------------------------------------------------------------------- layers */

/* sum = ffn(x) */
static void
feed_forward(EmbRefRun *run, const Layer *layer, const Buffers *b, int32_t n, const float *x)
{
	const EmbArch *arch = run->arch;
	int64_t		n_elems = (int64_t) n * arch->intermediate;

	if (emb_arch_has_experts(arch, layer->index))
	{
		emb_ref_run_experts(run, &layer->experts, n, x, b->sum);
		return;
	}
	emb_ref_multiply(run, &layer->ffn_up, n, x, b->up);
	if (arch->is_gated)
	{
		emb_ref_multiply(run, &layer->ffn_gate, n, x, b->wide);
		emb_ref_gate(arch->activation, n_elems, b->wide, b->up, run->n_threads);
	}
	else
		emb_ref_activate(arch->activation, n_elems, b->up, run->n_threads);
	emb_ref_multiply(run, &layer->ffn_down, n, arch->is_gated ? b->wide : b->up, b->sum);
}

typedef void (*Half) (EmbRefRun *run, const Layer *layer, const Buffers *b, int32_t n, const float *x);

/* Attention or FFN with its norm and its residual; with a second norm x = second(x + norm(x + half(x))). */
static void
run_half(EmbRefRun *run, const Layer *layer, const Buffers *b, Half half, EmbRefNorm norm, EmbRefNorm end_norm, EmbRefNorm second_norm,
		 int32_t n, float *x)
{
	const EmbArch *arch = run->arch;
	bool		is_pre = arch->norm_place != EMB_NORM_POST;

	if (is_pre && norm.gamma != NULL)
		emb_ref_norm(arch->norm_kind, norm, arch->norm_eps, n, arch->hidden, x, b->normed, run->n_threads);
	half(run, layer, b, n, is_pre && norm.gamma != NULL ? b->normed : x);
	if (end_norm.gamma != NULL)
		emb_ref_norm(arch->norm_kind, end_norm, arch->norm_eps, n, arch->hidden, b->sum, b->sum, run->n_threads);
	if (second_norm.gamma != NULL)
	{
		emb_ref_add((int64_t) n * arch->hidden, b->sum, x, run->n_threads);
		emb_ref_norm(arch->norm_kind, norm, arch->norm_eps, n, arch->hidden, b->sum, b->sum, run->n_threads);
		norm = second_norm;
	}
	emb_ref_add((int64_t) n * arch->hidden, x, b->sum, run->n_threads);
	if (!is_pre)
		emb_ref_norm(arch->norm_kind, norm, arch->norm_eps, n, arch->hidden, x, x, run->n_threads);
}

/* Disentangled attention: the normed vectors of distances through a layer's queries or keys. */
static const float *
project_distances(EmbRefRun *run, const EmbRefLinear *linear)
{
	const EmbArch *arch = run->arch;
	int32_t		n = 2 * arch->relative_span;
	const float *rows = emb_ref_read(run, EMB_NO_LAYER, EMB_PART_RELATIVE, EMB_TENSOR_TABLE, n, arch->hidden);
	float	   *normed = emb_ref_take(run, n, arch->hidden);
	float	   *out = emb_ref_take(run, n, linear->n_out);

	if (run->status != EMB_OK)
		return NULL;
	memcpy(normed, rows, (size_t) n * arch->hidden * sizeof(float));
	if (arch->relative_normed)
	{
		EmbRefNorm	norm = emb_ref_read_norm(run, EMB_NO_LAYER, EMB_PART_RELATIVE_NORM, arch->hidden);

		if (run->status == EMB_OK)
			emb_ref_norm(EMB_NORM_LAYER, norm, arch->norm_eps, n, arch->hidden, normed, normed, run->n_threads);
	}
	if (run->status == EMB_OK)
		emb_ref_multiply(run, linear, n, normed, out);
	return out;
}

static Layer
read_layer(EmbRefRun *run, int32_t i)
{
	const EmbArch *arch = run->arch;
	int32_t		n_q = arch->n_heads * arch->head_size;
	int32_t		n_kv = arch->n_kv_heads * arch->head_size;
	Layer		layer = {.index = i};

	layer.query = emb_ref_linear(run, i, EMB_PART_QUERY, n_q, arch->hidden, true);
	layer.key = emb_ref_linear(run, i, EMB_PART_KEY, n_kv, arch->hidden, true);
	layer.value = emb_ref_linear(run, i, EMB_PART_VALUE, n_kv, arch->hidden, true);
	layer.attn_out = emb_ref_linear(run, i, EMB_PART_ATTN_OUT, arch->hidden, n_q, true);
	if (arch->is_gated)
		layer.ffn_gate = emb_ref_linear(run, i, EMB_PART_FFN_GATE, arch->intermediate, arch->hidden, true);
	if (emb_arch_has_experts(arch, i))
		layer.experts = emb_ref_experts(run, i);
	else
	{
		layer.ffn_up = emb_ref_linear(run, i, EMB_PART_FFN_UP, arch->intermediate, arch->hidden, true);
		layer.ffn_down = emb_ref_linear(run, i, EMB_PART_FFN_DOWN, arch->hidden, arch->intermediate, true);
	}
	if (i > 0 || arch->has_first_norm)
		layer.attn_norm = emb_ref_read_norm(run, i, EMB_PART_ATTN_NORM, arch->hidden);
	layer.ffn_norm = emb_ref_read_norm(run, i, EMB_PART_FFN_NORM, arch->hidden);
	if (arch->has_qk_norm)
	{
		layer.query_norm = emb_ref_read_norm(run, i, EMB_PART_QUERY_NORM, emb_arch_qk_norm_width(arch, n_q));
		layer.key_norm = emb_ref_read_norm(run, i, EMB_PART_KEY_NORM, emb_arch_qk_norm_width(arch, n_kv));
	}
	if (arch->has_second_norm)
		layer.second_norm = emb_ref_read_norm(run, i, EMB_PART_SECOND_NORM, arch->hidden);
	if (arch->norm_place == EMB_NORM_AROUND)
	{
		layer.attn_end_norm = emb_ref_read_norm(run, i, EMB_PART_ATTN_END_NORM, arch->hidden);
		layer.ffn_end_norm = emb_ref_read_norm(run, i, EMB_PART_FFN_END_NORM, arch->hidden);
	}
	if (arch->relative_span > 0 && run->status == EMB_OK)
	{
		layer.relative_keys = project_distances(run, &layer.key);
		layer.relative_queries = project_distances(run, &layer.query);
	}
	return layer;
}

static void
run_layer(EmbRefRun *run, const Buffers *b, int32_t i, const EmbReferenceText *texts, int32_t n_texts, float *const *rows)
{
	const EmbArch *arch = run->arch;
	int			mark = run->n_blocks;
	Layer		layer = read_layer(run, i);
	bool		ends = i == arch->n_layers - 1 && arch->norm_place != EMB_NORM_POST;
	EmbRefNorm	final = {NULL, NULL};

	if (ends)
		final = emb_ref_read_norm(run, EMB_NO_LAYER, EMB_PART_FINAL_NORM, arch->hidden);
	for (int32_t k = 0; k < n_texts && run->status == EMB_OK; k++)
	{
		int32_t		n = texts[k].n_ids;

		run_half(run, &layer, b, attend, layer.attn_norm, layer.attn_end_norm, layer.second_norm, n, rows[k]);
		run_half(run, &layer, b, feed_forward, layer.ffn_norm, layer.ffn_end_norm, (EmbRefNorm) {NULL, NULL}, n, rows[k]);
		if (ends)
			emb_ref_norm(arch->norm_kind, final, arch->norm_eps, n, arch->hidden, rows[k], rows[k], run->n_threads);
		keep_hidden(run, &texts[k], i + 1, rows[k]);
	}
	emb_ref_release(run, mark);
}

/* ------------------------------------------------------------------------ run */

static const float *
take_angles(EmbRefRun *run, double base, int32_t n_positions)
{
	float	   *angles = emb_ref_take(run, n_positions, run->arch->head_size);

	if (angles != NULL)
		emb_ref_fill_angles(base, run->arch->rotary_scale, n_positions, run->arch->head_size, angles);
	return angles;
}

static Buffers
take_buffers(EmbRefRun *run, int32_t n)
{
	const EmbArch *arch = run->arch;
	int32_t		n_q = arch->n_heads * arch->head_size;
	int32_t		n_kv = arch->n_kv_heads * arch->head_size;
	Buffers		b = {
		.normed = emb_ref_take(run, n, arch->hidden),
		.q = emb_ref_take(run, n, n_q),
		.k = emb_ref_take(run, n, n_kv),
		.v = emb_ref_take(run, n, n_kv),
		.context = emb_ref_take(run, n, n_q),
		.scores = emb_ref_take(run, n < QUERY_BLOCK ? n : QUERY_BLOCK, n),
		.wide = emb_ref_take(run, n, arch->intermediate),
		.up = emb_ref_take(run, n, arch->intermediate),
		.sum = emb_ref_take(run, n, arch->hidden),
		.n_positions = n,
	};

	if (arch->positions & EMB_POSITIONS_ROTARY)
	{
		b.angles = take_angles(run, arch->rotary_base, n);
		if (arch->window > 0)
			b.local_angles = take_angles(run, arch->rotary_local_base, n);
	}
	if (arch->positions & EMB_POSITIONS_RELATIVE)
		b.distances = emb_ref_read(run, EMB_NO_LAYER, EMB_PART_DISTANCES, EMB_TENSOR_TABLE, arch->n_heads, EMB_DISTANCES);
	return b;
}

static EmbStatus
check_text(const EmbArch *arch, const EmbReferenceText *text, EmbError *err)
{
	if (text->n_ids < emb_arch_min_tokens(arch) || text->n_ids > arch->n_positions)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "a text has %d tokens, not 1 to %d", text->n_ids, arch->n_positions);
	for (int32_t i = 0; i < text->n_ids; i++)
	{
		if (text->ids[i] < 0 || text->ids[i] >= arch->n_vocab)
			return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "token id %d is outside the vocabulary of %d", text->ids[i], arch->n_vocab);
		if (text->type_ids != NULL && arch->n_types > 0 && (text->type_ids[i] < 0 || text->type_ids[i] >= arch->n_types))
			return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "token type %d is outside the model's %d", text->type_ids[i], arch->n_types);
	}
	return EMB_OK;
}

/* The architecture is computed whole or not at all. */
static EmbStatus
check_run(const EmbArch *arch, const EmbReferenceText *texts, int32_t n_texts, EmbError *err)
{
	EmbStatus	status = EMB_OK;

	if (arch->has_sparse == EMB_SPARSE_VOCABULARY)
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "the model has a head over the vocabulary, which the reference does not compute");
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "sentence-transformers' SparseEncoder computes it; test/tools/make_tiny_sparse.py shows how.");
	}
	if (arch->multi_kind == EMB_MULTI_COLBERT)
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "the model returns vectors of tokens as ColBERT has them, which the reference does not compute");
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "sentence-transformers' MultiVectorEncoder computes them; test/tools/make_tiny_colbert.py shows how.");
	}
	for (int32_t i = 0; i < n_texts && status == EMB_OK; i++)
	{
		if ((texts[i].weights != NULL && !arch->has_sparse) || (texts[i].vectors != NULL && arch->multi_dim == 0))
			return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model has no such output per token");
		status = check_text(arch, &texts[i], err);
	}
	return status;
}

static void
run_texts(EmbRefRun *run, const EmbReferenceText *texts, int32_t n_texts, float **rows)
{
	size_t		n_tokens = 0;
	int32_t		n_longest = 0;
	float	   *all;

	for (int32_t i = 0; i < n_texts; i++)
	{
		n_tokens += texts[i].n_ids;
		n_longest = texts[i].n_ids > n_longest ? texts[i].n_ids : n_longest;
	}
	all = emb_ref_take(run, n_tokens, run->arch->hidden);
	for (int32_t i = 0; i < n_texts && run->status == EMB_OK; i++)
	{
		rows[i] = all;
		all += (size_t) texts[i].n_ids * run->arch->hidden;
	}
	embed_texts(run, texts, n_texts, rows);
	if (run->arch->n_layers > 0)
	{
		Buffers		b = take_buffers(run, n_longest);

		for (int32_t i = 0; i < run->arch->n_layers && run->status == EMB_OK; i++)
			run_layer(run, &b, i, texts, n_texts, rows);
	}
	emb_ref_run_heads(run, texts, n_texts, rows);
}

EmbStatus
emb_reference_run(const EmbBlas *blas, const EmbCheckpoint *c, const EmbReferenceText *texts, int32_t n_texts, EmbError *err)
{
	EmbRefRun	run = {.c = c, .arch = &c->arch, .blas = blas, .n_threads = blas->n_threads, .err = err};
	float	  **rows = emb_alloc_array(c->mem, n_texts, sizeof(*rows));

	if (rows == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %d texts", n_texts);
	run.status = check_run(&c->arch, texts, n_texts, err);
	if (run.status == EMB_OK)
		run_texts(&run, texts, n_texts, rows);
	emb_ref_release(&run, 0);
	emb_release(c->mem, rows);
	return run.status;
}
