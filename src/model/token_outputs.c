/*
 * token_outputs.c
 *		Sparse weights and token vectors of sequences.
 *
 * Of tokens they are as FlagEmbedding's BGEM3FlagModel has them. The weight of a token id is its
 * largest weight at any position. Special tokens and ids with weight 0 are
 * left out. Every token except the first, <s>, has a vector. With ColBERT's token vectors the first has one,
 * too, and tokens of skipped ids have none.
 */
#include "model/token_outputs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of logits in memory. */
#define MAXIMA_BYTES	(16 << 20)

int32_t
emb_outputs_max_seqs(const EmbModel *model, const EmbOutputs *outputs)
{
	const EmbArch *arch = model->view.arch;
	int32_t		n;

	if (outputs == NULL || outputs->sparse == NULL || arch->has_sparse != EMB_SPARSE_VOCABULARY)
		return INT32_MAX;
	n = (int32_t) (MAXIMA_BYTES / sizeof(float) / arch->n_vocab);
	return n > 1 ? n : 1;
}

EmbStatus
emb_outputs_begin(EmbOutputPlan *plan, const EmbModel *model, const EmbSequence *seqs, int32_t n_seqs,
				  const EmbOutputs *outputs, int32_t max_tokens, int32_t max_seqs, const EmbAllocator *mem, EmbError *err)
{
	const EmbArch *arch = model->view.arch;
	bool		wants_sparse = outputs->sparse != NULL && arch->has_sparse == EMB_SPARSE_TOKENS;
	bool		wants_maxima = outputs->sparse != NULL && arch->has_sparse == EMB_SPARSE_VOCABULARY;
	bool		wants_multi = outputs->multi != NULL;
	size_t		n_vectors = 0;

	*plan = (EmbOutputPlan) {.model = model, .seqs = seqs, .outputs = outputs, .mem = *mem, .tokens = {.heads = &model->token_heads}};
	plan->starts = emb_alloc_array(mem, n_seqs, sizeof(size_t));
	if (wants_sparse)
	{
		plan->keys = emb_alloc_array(mem, max_tokens, sizeof(uint64_t));
		plan->tokens.weights = emb_alloc_array(mem, max_tokens, sizeof(float));
	}
	if (wants_multi)
		plan->tokens.vectors = emb_alloc_array(mem, max_tokens, sizeof(float *));
	if (wants_maxima)
	{
		plan->tokens.maxima_stride = emb_pack_f32_panels(arch->n_vocab) * EMB_PANEL;
		plan->tokens.maxima = emb_alloc_array(mem, max_seqs, plan->tokens.maxima_stride * sizeof(float));
	}
	if (plan->starts == NULL || (wants_maxima && plan->tokens.maxima == NULL) || (wants_sparse && (plan->keys == NULL || plan->tokens.weights == NULL)) ||
		(wants_multi && plan->tokens.vectors == NULL))
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the results of a batch of %d tokens", max_tokens);
	for (int32_t i = 0; i < n_seqs; i++)
	{
		plan->starts[i] = n_vectors;
		n_vectors += wants_multi ? (size_t) emb_model_n_vectors(model, &seqs[i]) : 0;
	}
	return EMB_OK;
}

void
emb_outputs_end(EmbOutputPlan *plan, const EmbAllocator *mem)
{
	emb_release(mem, plan->starts);
	emb_release(mem, plan->keys);
	emb_release(mem, plan->tokens.weights);
	emb_release(mem, plan->tokens.vectors);
	emb_release(mem, plan->tokens.maxima);
}

static bool
is_skipped(const EmbModel *model, int32_t id)
{
	int32_t		lo = 0;
	int32_t		hi = model->view.arch->n_skipped;

	while (lo < hi)
	{
		int32_t		mid = (lo + hi) / 2;

		if (model->skipped[mid] < (float) id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < model->view.arch->n_skipped && model->skipped[lo] == (float) id;
}

/* Whether token i of a sequence has a vector. */
static bool
has_vector(const EmbModel *model, const EmbSequence *seq, int32_t i)
{
	const EmbArch *arch = model->view.arch;

	if (arch->multi_kind == EMB_MULTI_BGE)
		return i > 0;
	return (arch->skips & (seq->is_query ? EMB_SKIPS_QUERIES : EMB_SKIPS_DOCUMENTS)) == 0 || !is_skipped(model, seq->ids[i]);
}

int32_t
emb_model_n_vectors(const EmbModel *model, const EmbSequence *seq)
{
	int32_t		n = 0;

	for (int32_t i = 0; model->info.multi_dim > 0 && i < seq->n_ids; i++)
		n += has_vector(model, seq, i);
	return n;
}

/* The place of a sequence's first token vector. */
static float *
multi_of(const EmbOutputPlan *plan, int32_t seq)
{
	return plan->outputs->multi + plan->starts[seq] * plan->model->info.multi_dim;
}

void
emb_outputs_place(EmbOutputPlan *plan, const int32_t *members, int32_t n, const int32_t *offsets)
{
	size_t		dim = plan->model->info.multi_dim;

	for (int32_t i = 0; plan->tokens.vectors != NULL && i < n; i++)
	{
		float	  **vectors = plan->tokens.vectors + offsets[i];
		float	   *to = multi_of(plan, members[i]);

		for (int32_t k = 0; k < offsets[i + 1] - offsets[i]; k++)
		{
			bool		has = has_vector(plan->model, &plan->seqs[members[i]], k);

			vectors[k] = has ? to : NULL;
			to += has ? dim : 0;
		}
	}
}

static int
compare_keys(const void *a, const void *b)
{
	uint64_t	x = *(const uint64_t *) a;
	uint64_t	y = *(const uint64_t *) b;

	return (x > y) - (x < y);
}

static bool
counts(const EmbModel *model, int32_t id)
{
	/* a text may contain the padding token, which is special but not in the template */
	return id != model->transformer.arch->position_base - 1 && !emb_tok_is_special(model->tok, id);
}

/* Room for n weights. */
static EmbStatus
allocate_sparse(EmbOutputPlan *plan, int32_t seq, int32_t n, EmbError *err)
{
	EmbSparse  *sparse = &plan->outputs->sparse[seq];

	sparse->n = 0;
	sparse->ids = emb_alloc_array(&plan->mem, (size_t) n + 1, sizeof(int32_t) + sizeof(float));
	if (sparse->ids == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %d weights of a text", n);
	sparse->weights = (float *) (sparse->ids + n);
	return EMB_OK;
}

void
emb_sparse_free(EmbSparse *sparse, const EmbAllocator *mem)
{
	emb_release(mem, sparse->ids);
	*sparse = (EmbSparse) {0};
}

/*
 * The bits of non-negative floats sort like the floats. So the last of the sorted
 * keys of an id has the largest weight.
 */
static EmbStatus
collect_tokens(EmbOutputPlan *plan, int32_t seq, const float *weights, EmbError *err)
{
	const EmbSequence *s = &plan->seqs[seq];
	EmbSparse  *sparse = &plan->outputs->sparse[seq];
	int32_t		n_keys = 0;
	EmbStatus	status;

	for (int32_t i = 0; i < s->n_ids; i++)
	{
		uint32_t	bits;

		memcpy(&bits, &weights[i], sizeof(bits));
		if (weights[i] > 0)
			plan->keys[n_keys++] = (uint64_t) s->ids[i] << 32 | bits;
	}
	status = allocate_sparse(plan, seq, n_keys, err);
	if (status != EMB_OK)
		return status;
	qsort(plan->keys, n_keys, sizeof(uint64_t), compare_keys);
	for (int32_t i = 0; i < n_keys; i++)
	{
		uint32_t	bits = (uint32_t) plan->keys[i];
		int32_t		id = (int32_t) (plan->keys[i] >> 32);

		if ((i + 1 < n_keys && (int32_t) (plan->keys[i + 1] >> 32) == id) || !counts(plan->model, id))
			continue;
		sparse->ids[sparse->n] = id;
		memcpy(&sparse->weights[sparse->n++], &bits, sizeof(bits));
	}
	return EMB_OK;
}

static int
compare_weights(const void *a, const void *b)
{
	float		x = *(const float *) a;
	float		y = *(const float *) b;

	return (x < y) - (x > y);
}

/* Keeps the n largest weights; of equal ones those of smaller ids. */
static EmbStatus
keep_largest(EmbOutputPlan *plan, EmbSparse *sparse, int32_t n, EmbError *err)
{
	float	   *sorted;
	float		least;
	int32_t		n_equal = n;
	int32_t		kept = 0;

	if (n == 0 || sparse->n <= n)
		return EMB_OK;
	sorted = emb_alloc_array(&plan->mem, sparse->n, sizeof(float));
	if (sorted == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %d weights of a text", sparse->n);
	memcpy(sorted, sparse->weights, sparse->n * sizeof(float));
	qsort(sorted, sparse->n, sizeof(float), compare_weights);
	least = sorted[n - 1];
	for (int32_t i = 0; i < n; i++)
		n_equal -= sorted[i] > least;
	emb_release(&plan->mem, sorted);
	for (int32_t i = 0; i < sparse->n; i++)
	{
		if (sparse->weights[i] < least || (sparse->weights[i] == least && n_equal-- <= 0))
			continue;
		sparse->ids[kept] = sparse->ids[i];
		sparse->weights[kept++] = sparse->weights[i];
	}
	sparse->n = kept;
	return EMB_OK;
}

/* From the largest logits of all entries of the vocabulary. */
EmbStatus
emb_outputs_weigh(EmbOutputPlan *plan, int32_t seq, const float *maxima, EmbError *err)
{
	const EmbArch *arch = plan->model->view.arch;
	EmbSparse  *sparse = &plan->outputs->sparse[seq];
	int32_t		n = 0;
	EmbStatus	status;

	for (int32_t i = 0; i < arch->n_vocab; i++)
		n += maxima[i] > 0;
	status = allocate_sparse(plan, seq, n, err);
	if (status != EMB_OK)
		return status;
	for (int32_t i = 0; i < arch->n_vocab; i++)
	{
		if (!(maxima[i] > 0))
			continue;
		if (!isfinite(maxima[i]))
			return emb_error(err, EMB_ERR_LIMIT, "the model's weights overflow single precision: the result is not finite");
		sparse->ids[sparse->n] = i;
		sparse->weights[sparse->n++] = emb_vocabulary_weight(maxima[i], arch->sparse_logs);
	}
	return keep_largest(plan, sparse, arch->sparse_max, err);
}

EmbStatus
emb_outputs_collect(EmbOutputPlan *plan, const int32_t *members, int32_t n, const int32_t *offsets, EmbError *err)
{
	EmbStatus	status = EMB_OK;

	for (int32_t i = 0; status == EMB_OK && i < n; i++)
	{
		if (plan->tokens.weights != NULL)
			status = collect_tokens(plan, members[i], plan->tokens.weights + offsets[i], err);
		if (plan->tokens.maxima != NULL)
			status = emb_outputs_weigh(plan, members[i], plan->tokens.maxima + i * plan->tokens.maxima_stride, err);
	}
	return status;
}

EmbStatus
emb_outputs_copy(EmbOutputPlan *plan, int32_t from, int32_t to, EmbError *err)
{
	const EmbOutputs *out = plan->outputs;
	const EmbModel *model = plan->model;

	if (out->sparse != NULL)
	{
		const EmbSparse *source = &out->sparse[from];
		EmbSparse  *sparse = &out->sparse[to];
		EmbStatus	status = allocate_sparse(plan, to, source->n, err);

		if (status != EMB_OK)
			return status;
		sparse->n = source->n;
		memcpy(sparse->ids, source->ids, source->n * sizeof(int32_t));
		memcpy(sparse->weights, source->weights, source->n * sizeof(float));
	}
	if (out->multi != NULL)
		memcpy(multi_of(plan, to), multi_of(plan, from),
			   (size_t) emb_model_n_vectors(model, &plan->seqs[from]) * model->info.multi_dim * sizeof(float));
	return EMB_OK;
}

/* ------------------------------------------------------------------ queries */

static int
compare_ids(const void *a, const void *b)
{
	int32_t		x = *(const int32_t *) a;
	int32_t		y = *(const int32_t *) b;

	return (x > y) - (x < y);
}

EmbStatus
emb_model_query_weights(const EmbModel *model, const EmbSequence *seq, const EmbAllocator *mem, EmbSparse *sparse, EmbError *err)
{
	EmbOutputs	outputs = {.sparse = sparse};
	EmbOutputPlan plan = {.model = model, .seqs = seq, .outputs = &outputs, .mem = *mem};
	int32_t		n_leading = emb_tok_n_leading(model->tok);
	int32_t		n = seq->n_ids - emb_tok_n_special(model->tok, false);
	EmbStatus	status;

	*sparse = (EmbSparse) {0};
	if (model->query_weights == NULL)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model has no table of weights for queries");
	status = allocate_sparse(&plan, 0, n > 0 ? n : 0, err);
	if (status != EMB_OK || n <= 0)
		return status;
	memcpy(sparse->ids, seq->ids + n_leading, n * sizeof(int32_t));
	qsort(sparse->ids, n, sizeof(int32_t), compare_ids);
	for (int32_t i = 0; i < n; i++)
	{
		int32_t		id = sparse->ids[i];

		if (id < 0 || id >= model->view.arch->n_vocab)
			return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "token id %d is outside the vocabulary of %d", id, model->view.arch->n_vocab);
		if ((i + 1 < n && sparse->ids[i + 1] == id) || model->query_weights[id] == 0)
			continue;
		sparse->ids[sparse->n] = id;
		sparse->weights[sparse->n++] = model->query_weights[id];
	}
	return EMB_OK;
}
