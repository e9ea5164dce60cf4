/*
 * token_outputs.c
 *		Sparse weights and token vectors of sequences.
 *
 * Works like FlagEmbedding's BGEM3FlagModel. The weight of a token id is its
 * largest weight at any position. Special tokens and ids with weight 0 are
 * left out. Every token except the first, <s>, has a vector.
 */
#include "model/token_outputs.h"

#include <stdlib.h>
#include <string.h>

EmbStatus
emb_outputs_begin(EmbOutputPlan *plan, const EmbModel *model, const EmbSequence *seqs, int32_t n_seqs,
				  const EmbOutputs *outputs, int32_t max_tokens, const EmbAllocator *mem, EmbError *err)
{
	bool		wants_sparse = outputs->n_sparse != NULL;
	bool		wants_multi = outputs->multi != NULL;
	size_t		n_tokens = 0;

	*plan = (EmbOutputPlan) {.model = model, .seqs = seqs, .outputs = outputs, .tokens = {.heads = &model->token_heads}};
	plan->starts = emb_alloc_array(mem, n_seqs, sizeof(size_t));
	if (wants_sparse)
	{
		plan->keys = emb_alloc_array(mem, max_tokens, sizeof(uint64_t));
		plan->tokens.weights = emb_alloc_array(mem, max_tokens, sizeof(float));
	}
	if (wants_multi)
		plan->tokens.vectors = emb_alloc_array(mem, max_tokens, sizeof(float *));
	if (plan->starts == NULL || (wants_sparse && (plan->keys == NULL || plan->tokens.weights == NULL)) ||
		(wants_multi && plan->tokens.vectors == NULL))
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the results of a batch of %d tokens", max_tokens);
	for (int32_t i = 0; i < n_seqs; i++)
	{
		plan->starts[i] = n_tokens;
		n_tokens += seqs[i].n_ids;
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
}

/*
 * The place of a sequence's first token vector. Each sequence before it has one
 * vector fewer than tokens.
 */
static float *
multi_of(const EmbOutputPlan *plan, int32_t seq)
{
	return plan->outputs->multi + (plan->starts[seq] - seq) * plan->model->info.multi_dim;
}

void
emb_outputs_place(EmbOutputPlan *plan, const int32_t *members, int32_t n, const int32_t *offsets)
{
	size_t		dim = plan->model->info.multi_dim;

	for (int32_t i = 0; plan->tokens.vectors != NULL && i < n; i++)
	{
		float	  **vectors = plan->tokens.vectors + offsets[i];
		float	   *to = multi_of(plan, members[i]);

		vectors[0] = NULL;
		for (int32_t k = 1; k < offsets[i + 1] - offsets[i]; k++, to += dim)
			vectors[k] = to;
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

/*
 * The bits of non-negative floats sort like the floats. So the last of the sorted
 * keys of an id has the largest weight.
 */
static void
collect_sparse(EmbOutputPlan *plan, int32_t seq, const float *weights)
{
	const EmbSequence *s = &plan->seqs[seq];
	int32_t    *ids = plan->outputs->sparse_ids + plan->starts[seq];
	float	   *largest = plan->outputs->sparse_weights + plan->starts[seq];
	int32_t		n_keys = 0;
	int32_t		n = 0;

	for (int32_t i = 0; i < s->n_ids; i++)
	{
		uint32_t	bits;

		memcpy(&bits, &weights[i], sizeof(bits));
		if (weights[i] > 0)
			plan->keys[n_keys++] = (uint64_t) s->ids[i] << 32 | bits;
	}
	qsort(plan->keys, n_keys, sizeof(uint64_t), compare_keys);
	for (int32_t i = 0; i < n_keys; i++)
	{
		uint32_t	bits = (uint32_t) plan->keys[i];
		int32_t		id = (int32_t) (plan->keys[i] >> 32);

		if ((i + 1 < n_keys && (int32_t) (plan->keys[i + 1] >> 32) == id) || !counts(plan->model, id))
			continue;
		ids[n] = id;
		memcpy(&largest[n++], &bits, sizeof(bits));
	}
	plan->outputs->n_sparse[seq] = n;
}

void
emb_outputs_collect(EmbOutputPlan *plan, const int32_t *members, int32_t n, const int32_t *offsets)
{
	for (int32_t i = 0; plan->tokens.weights != NULL && i < n; i++)
		collect_sparse(plan, members[i], plan->tokens.weights + offsets[i]);
}

void
emb_outputs_copy(EmbOutputPlan *plan, int32_t from, int32_t to)
{
	const EmbOutputs *out = plan->outputs;
	size_t		n_tokens = plan->seqs[from].n_ids;

	if (out->n_sparse != NULL)
	{
		size_t		n = out->n_sparse[from];

		out->n_sparse[to] = out->n_sparse[from];
		memcpy(out->sparse_ids + plan->starts[to], out->sparse_ids + plan->starts[from], n * sizeof(int32_t));
		memcpy(out->sparse_weights + plan->starts[to], out->sparse_weights + plan->starts[from], n * sizeof(float));
	}
	if (out->multi != NULL)
		memcpy(multi_of(plan, to), multi_of(plan, from), (n_tokens - 1) * plan->model->info.multi_dim * sizeof(float));
}
