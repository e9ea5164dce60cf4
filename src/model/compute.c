/*
 * compute.c
 *		From sequences to vectors or logits. Finds equal sequences, packs batches, and
 *		copies each row to its sequence's place.
 */
#include "model/model.h"
#include "model/prefix_memo.h"
#include "model/token_outputs.h"

#include <string.h>

#include "transformer/pooling.h"

/* More tokens would gain nothing, and could overflow 32-bit element counts of a batch. */
#define BATCH_TOKENS_MAX	(1 << 20)

/* One call's state. */
typedef struct Job
{
	const EmbModel *model;
	const EmbSequence *seqs;
	int32_t		n_seqs;
	const EmbRun *run;
	float	   *out;			/* [n_seqs, dim], or NULL; dim is 1 for a reranker */
	const EmbOutputs *outputs;	/* other outputs, or NULL */
	EmbOutputPlan plan;			/* of outputs */
	int32_t		row_width;		/* of the transformer's rows */
	int32_t		full_width;		/* of the rows after dense modules; an image with fewer dimensions cuts them */
	bool		has_types;		/* some sequence has type ids */
	bool		has_unseen;		/* some sequence has tokens that attention does not see */
	int32_t    *first;			/* [n_seqs] the first sequence equal to this one */
	EmbPrefixMemo *own_memo;	/* or NULL: the caller's is used, or none */
	EmbSharedPrefix shared;		/* what all sequences begin with; batches have the tokens after it */

	/* one batch; allocated for the largest batch */
	int32_t    *ids;
	int32_t    *type_ids;		/* or NULL */
	int32_t    *offsets;
	int32_t    *n_seen;			/* or NULL: all tokens */
	int32_t    *members;		/* the sequences of the batch */
	float	   *rows;			/* [members, row_width] */
	float	   *projected;		/* [members, full_width], or NULL: no dense modules */
} Job;

/* One batch. Batches take the sequences in input order. */
typedef struct Cut
{
	int32_t		n_seqs;			/* distinct sequences in the batch */
	int32_t		n_tokens;
	int32_t		end;			/* input index after the batch */
} Cut;

static int32_t
effective_batch_tokens(int32_t batch_tokens)
{
	if (batch_tokens == 0)
		return EMB_BATCH_TOKENS_DEFAULT;
	return batch_tokens < BATCH_TOKENS_MAX ? batch_tokens : BATCH_TOKENS_MAX;
}

bool
emb_batch_has_room(int32_t batch_tokens, int32_t n_seqs, int64_t n_tokens, int32_t n_ids)
{
	int32_t		limit = effective_batch_tokens(batch_tokens);

	/* sequences may have no tokens, so the limit of tokens also limits the sequences of a batch */
	return n_seqs == 0 || (n_tokens + n_ids <= limit && n_seqs < limit);
}

static EmbStatus
check_sequences(const EmbModel *model, const EmbSequence *seqs, int32_t n_seqs, EmbError *err)
{
	for (int32_t i = 0; i < n_seqs; i++)
	{
		int32_t		max = seqs[i].is_query ? model->info.max_query_tokens : model->info.max_tokens;

		if (seqs[i].n_ids < emb_arch_min_tokens(model->transformer.arch) || seqs[i].n_ids > max)
			return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "sequence %d has %d tokens, not 1 to %d", i, seqs[i].n_ids, max);
		if (seqs[i].n_expanded < 0 || (seqs[i].n_expanded > 0 && seqs[i].n_expanded >= seqs[i].n_ids))
			return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "sequence %d has %d tokens, of which %d expand it", i, seqs[i].n_ids,
							 seqs[i].n_expanded);
	}
	return EMB_OK;
}

/* FNV-1a over ids. A last mixing step makes the low bits good for an index. */
static uint64_t
hash_sequence(const EmbSequence *seq)
{
	uint64_t	h = UINT64_C(0xCBF29CE484222325) ^ (uint64_t) seq->n_ids;

	for (int32_t i = 0; i < seq->n_ids; i++)
		h = (h ^ (uint32_t) seq->ids[i]) * UINT64_C(0x100000001B3);
	for (int32_t i = 0; seq->type_ids != NULL && i < seq->n_ids; i++)
		h = (h ^ (uint32_t) seq->type_ids[i]) * UINT64_C(0x100000001B3);
	return h ^ h >> 32;
}

/*
 * Sequences with and without type ids never count as equal. At worst a sequence is
 * computed twice.
 */
static bool
sequences_equal(const EmbSequence *a, const EmbSequence *b)
{
	size_t		size = a->n_ids * sizeof(int32_t);

	if (a->n_ids != b->n_ids || a->is_query != b->is_query || a->n_expanded != b->n_expanded || (size > 0 && memcmp(a->ids, b->ids, size) != 0))
		return false;
	if (size == 0)
		return true;
	if (a->type_ids == NULL || b->type_ids == NULL)
		return a->type_ids == b->type_ids;
	return memcmp(a->type_ids, b->type_ids, size) == 0;
}

/* Fills job->first, using an open hash table of input indexes that is at most half full. */
static EmbStatus
find_equals(Job *job, EmbError *err)
{
	const EmbAllocator *mem = job->run->mem;
	size_t		n_slots = 4;
	size_t		n_steps = 0;
	int32_t    *slots;

	while (n_slots < (size_t) job->n_seqs * 2)
		n_slots *= 2;
	slots = emb_alloc_array(mem, n_slots, sizeof(int32_t));
	if (slots == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %d texts", job->n_seqs);
	memset(slots, 0xFF, n_slots * sizeof(int32_t));
	for (int32_t i = 0; i < job->n_seqs; i++)
	{
		size_t		at = hash_sequence(&job->seqs[i]) & (n_slots - 1);

		for (;; at = (at + 1) & (n_slots - 1))
		{
			if (++n_steps % 1024 == 0 && emb_should_stop(job->run->stop))
			{
				emb_release(mem, slots);
				return emb_error(err, EMB_ERR_CANCELLED, "cancelled");
			}
			if (slots[at] < 0 || sequences_equal(&job->seqs[slots[at]], &job->seqs[i]))
				break;
		}
		if (slots[at] < 0)
			slots[at] = i;
		job->first[i] = slots[at];
	}
	emb_release(mem, slots);
	return EMB_OK;
}

/*
 * The number of distinct sequences, and the number of ids that all of them
 * begin with. At least one id of each sequence is left.
 */
static int32_t
count_common(const Job *job, int32_t *n_distinct)
{
	int32_t		n_common = INT32_MAX;

	*n_distinct = 0;
	for (int32_t i = 0; i < job->n_seqs; i++)
	{
		const EmbSequence *seq = &job->seqs[i];
		int32_t		n = seq->n_shared < seq->n_ids ? seq->n_shared : seq->n_ids - 1;

		if (job->first[i] != i)
			continue;
		(*n_distinct)++;
		n_common = n < n_common ? n : n_common;
		for (int32_t k = 0; k < n_common; k++)
			n_common = seq->ids[k] == job->seqs[0].ids[k] ? n_common : k;
		/* the next step sees the cancel, too */
		if (i % 256 == 255 && emb_should_stop(job->run->stop))
			return 0;
	}
	return n_common;
}

/* Sets job->shared. Outputs of tokens need all rows, so they have no prefix. */
static EmbStatus
share_prefix(Job *job, EmbError *err)
{
	const EmbRun *run = job->run;
	EmbPrefixMemo *memo = run->memo;
	int32_t		n_distinct;
	int32_t		n_common;
	EmbStatus	status;

	if (!emb_prefix_is_possible(job->model->transformer.arch) || job->outputs != NULL)
		return EMB_OK;
	n_common = count_common(job, &n_distinct);
	if (n_common < 1 || (memo == NULL && n_distinct < 2))
		return EMB_OK;
	if (memo == NULL)
		memo = job->own_memo = emb_prefix_memo_create(run->mem);
	if (memo == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %d texts", job->n_seqs);
	status = emb_prefix_memo_share(memo, job->model, job->seqs[0].ids, n_common, n_distinct, run, &job->shared, err);
	if (status == EMB_OK && run->n_reused != NULL && job->shared.n_tokens > 0)
		*run->n_reused += (int64_t) n_distinct * job->shared.n_tokens - job->shared.n_computed;
	return status;
}

/* Cuts the batch that begins at input index i. */
static Cut
next_cut(const Job *job, int32_t i)
{
	int32_t		n_seqs_max = emb_outputs_max_seqs(job->model, job->outputs);
	Cut			cut = {0};

	for (; i < job->n_seqs; i++)
	{
		int32_t		n_ids = job->seqs[i].n_ids - job->shared.n_tokens;

		if (job->first[i] != i)
			continue;
		if (!emb_batch_has_room(job->run->batch_tokens, cut.n_seqs, cut.n_tokens, n_ids) || cut.n_seqs >= n_seqs_max)
			break;
		cut.n_seqs++;
		cut.n_tokens += n_ids;
	}
	cut.end = i;
	return cut;
}

/* Whether modules follow the pooling of an embedding model; a reranker's are in its head. */
static bool
has_projection(const EmbModel *model)
{
	return model->info.kind == EMB_KIND_EMBEDDING && model->dense.n_layers > 0;
}

static EmbStatus
allocate_batch(Job *job, EmbError *err)
{
	const EmbAllocator *mem = job->run->mem;
	int32_t		max_tokens = 0;
	int32_t		max_seqs = 0;

	for (int32_t i = 0; i < job->n_seqs;)
	{
		Cut			cut = next_cut(job, i);

		max_tokens = cut.n_tokens > max_tokens ? cut.n_tokens : max_tokens;
		max_seqs = cut.n_seqs > max_seqs ? cut.n_seqs : max_seqs;
		i = cut.end;
	}
	job->ids = emb_alloc_array(mem, (size_t) max_tokens + 1, sizeof(int32_t));
	job->type_ids = job->has_types ? emb_alloc_array(mem, max_tokens, sizeof(int32_t)) : NULL;
	job->offsets = emb_alloc_array(mem, (size_t) max_seqs + 1, sizeof(int32_t));
	job->n_seen = job->has_unseen ? emb_alloc_array(mem, max_seqs, sizeof(int32_t)) : NULL;
	job->members = emb_alloc_array(mem, max_seqs, sizeof(int32_t));
	job->rows = emb_alloc_array(mem, (size_t) max_seqs * job->row_width, sizeof(float));
	if (has_projection(job->model))
		job->projected = emb_alloc_array(mem, (size_t) max_seqs * job->full_width, sizeof(float));
	if (job->ids == NULL || (job->has_types && job->type_ids == NULL) || (job->has_unseen && job->n_seen == NULL) || job->offsets == NULL || job->members == NULL ||
		job->rows == NULL || (has_projection(job->model) && job->projected == NULL))
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a batch of %d tokens", max_tokens);
	if (job->outputs == NULL)
		return EMB_OK;
	return emb_outputs_begin(&job->plan, job->model, job->seqs, job->n_seqs, job->outputs, max_tokens, max_seqs, mem, err);
}

static EmbStatus
run_encoder(Job *job, const EmbBatch *batch, EmbError *err)
{
	const EmbModel *model = job->model;
	const EmbRun *run = job->run;
	EmbStatus	status;

	if (model->info.kind == EMB_KIND_RERANKER)
		return emb_transformer_score(&model->transformer, &model->head, emb_kernels(), batch, run->n_threads,
								 run->mem, run->stop, job->rows, err);
	if (job->outputs == NULL)
		return emb_transformer_run(&model->transformer, emb_kernels(), batch, run->n_threads, run->mem, run->stop, job->rows, err);
	emb_outputs_place(&job->plan, job->members, batch->n_seqs, job->offsets);
	status = emb_transformer_run_tokens(&model->transformer, emb_kernels(), batch, run->n_threads, run->mem, run->stop,
									 job->rows, &job->plan.tokens, err);
	return status != EMB_OK ? status
		: emb_outputs_collect(&job->plan, job->members, batch->n_seqs, job->offsets, err);
}

/* What is subtracted before a cut: the mean of all n elements, if the model wants it. */
static float
cut_center(const EmbModel *model, const float *vector, int32_t n)
{
	double		sum = 0;

	for (int32_t i = 0; model->transformer.arch->centers_cut && i < n; i++)
		sum += vector[i];
	return (float) (sum / n);
}

/* The first n elements less center, divided by their norm. out may be vector. */
static EmbStatus
cut_vector(const float *vector, int32_t n, float center, float *out, EmbError *err)
{
	EmbFpState	fp = emb_fp_enter();
	bool		is_finite;

	for (int32_t i = 0; i < n; i++)
		out[i] = vector[i] - center;
	is_finite = emb_pool_normalize(emb_kernels(), out, n);
	emb_fp_leave(fp);
	return is_finite ? EMB_OK
		: emb_error(err, EMB_ERR_LIMIT, "the norm of a vector's first %d elements is not finite", n);
}

EmbStatus
emb_model_cut(const EmbModel *model, const float *vector, int32_t n, float *out, EmbError *err)
{
	int32_t		dim = model->info.dim;

	if (model->info.kind != EMB_KIND_EMBEDDING || n < 1 || n > dim)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "dimensions %d is outside 1..%d, the model's", n, dim);
	if (n < dim || !model->info.normalize)
		/* an image's own cut has subtracted it */
		return cut_vector(vector, n, n < dim && model->view.config->dimensions == 0 ? cut_center(model, vector, dim) : 0, out, err);
	memmove(out, vector, n * sizeof(float));
	return EMB_OK;
}

/* A row of full width, as the model gives it. */
static EmbStatus
finish_row(const EmbModel *model, const float *row, float *out, EmbError *err)
{
	size_t		dim = model->info.dim;

	if (model->view.config->dimensions > 0)
	{
		int32_t		width = emb_arch_width(model->view.arch);

		return cut_vector(row, (int32_t) dim, (int32_t) dim < width ? cut_center(model, row, width) : 0, out, err);
	}
	memcpy(out, row, dim * sizeof(float));
	return EMB_OK;
}

/* Applies dense modules and the cut to n rows, and copies each row to its sequence's place. */
static EmbStatus
finish_rows(const Job *job, int32_t n, EmbError *err)
{
	const EmbModel *model = job->model;
	const float *rows = job->projected != NULL ? job->projected : job->rows;
	EmbStatus	status = EMB_OK;

	if (job->projected != NULL)
		status = emb_transformer_dense(&model->dense, emb_kernels(), job->rows, n, job->run->mem, job->run->stop, job->projected, err);
	for (int32_t i = 0; status == EMB_OK && i < n; i++, rows += job->full_width)
		status = finish_row(model, rows, job->out + (size_t) job->members[i] * model->info.dim, err);
	return status;
}

EmbStatus
emb_model_finish(const EmbModel *model, const float *rows, int32_t n_rows, const EmbRun *run, float *out, EmbError *err)
{
	size_t		full_width = emb_arch_width(model->view.arch);
	const float *full = rows;
	float	   *projected = NULL;
	EmbStatus	status = EMB_OK;

	if (model->info.kind == EMB_KIND_EMBEDDING && !model->info.has_dense)
		return EMB_OK;
	if (model->info.kind == EMB_KIND_RERANKER)
		return emb_transformer_score_rows(&model->transformer, &model->head, emb_kernels(), rows, n_rows, run->mem, run->stop, out, err);
	if (model->dense.n_layers > 0)
	{
		full = projected = emb_alloc_array(run->mem, n_rows, full_width * sizeof(float));
		if (projected == NULL)
			return emb_error(err, EMB_ERR_NOMEM, "out of memory for %d vectors", n_rows);
		status = emb_transformer_dense(&model->dense, emb_kernels(), rows, n_rows, run->mem, run->stop, projected, err);
	}
	for (int32_t i = 0; status == EMB_OK && i < n_rows; i++)
		status = finish_row(model, full + i * full_width, out + (size_t) i * model->info.dim, err);
	emb_release(run->mem, projected);
	return status;
}

static EmbStatus
run_batch(Job *job, int32_t begin, Cut cut, EmbError *err)
{
	int32_t		n_prefix = job->shared.n_tokens;
	EmbBatch	batch = {
		.n_seqs = cut.n_seqs, .offsets = job->offsets, .ids = job->ids, .type_ids = job->type_ids,
		.prefix = n_prefix > 0 ? job->shared.prefix : NULL, .n_prefix = n_prefix,
		.n_unpooled = job->model->n_unpooled[job->run->prompt],
		.n_seen = job->n_seen
	};
	int32_t		n = 0;
	EmbStatus	status;

	job->offsets[0] = 0;
	for (int32_t i = begin; i < cut.end; i++)
	{
		const EmbSequence *seq = &job->seqs[i];
		int32_t		n_ids = seq->n_ids - n_prefix;

		if (job->first[i] != i)
			continue;
		if (n_ids > 0)
			memcpy(job->ids + job->offsets[n], seq->ids + n_prefix, n_ids * sizeof(int32_t));
		if (seq->type_ids != NULL)
			memcpy(job->type_ids + job->offsets[n], seq->type_ids + n_prefix, n_ids * sizeof(int32_t));
		else if (job->has_types)
			memset(job->type_ids + job->offsets[n], 0, n_ids * sizeof(int32_t));
		if (job->has_unseen)
			job->n_seen[n] = emb_model_n_seen(job->model, seq);
		job->members[n] = i;
		job->offsets[n + 1] = job->offsets[n] + n_ids;
		n++;
	}
	status = run_encoder(job, &batch, err);
	return status == EMB_OK && job->out != NULL ? finish_rows(job, n, err) : status;
}

static EmbStatus
run_job(Job *job, EmbError *err)
{
	size_t		dim = job->model->info.dim;
	EmbStatus	status = find_equals(job, err);

	if (status == EMB_OK)
		status = share_prefix(job, err);
	if (status == EMB_OK)
		status = allocate_batch(job, err);
	for (int32_t i = 0; status == EMB_OK && i < job->n_seqs;)
	{
		Cut			cut = next_cut(job, i);

		if (emb_should_stop(job->run->stop))
			return emb_error(err, EMB_ERR_CANCELLED, "cancelled");
		if (cut.n_seqs > 0)
			status = run_batch(job, i, cut, err);
		i = cut.end;
	}
	for (int32_t i = 0; status == EMB_OK && i < job->n_seqs; i++)
	{
		if (job->first[i] == i)
			continue;
		if (job->out != NULL)
			memcpy(job->out + i * dim, job->out + job->first[i] * dim, dim * sizeof(float));
		if (job->outputs != NULL)
			status = emb_outputs_copy(&job->plan, job->first[i], i, err);
	}
	return status;
}

static EmbStatus
run_model(const EmbModel *model, const EmbSequence *seqs, int32_t n_seqs,
		  const EmbRun *run, float *out, const EmbOutputs *outputs, EmbError *err)
{
	Job			job = {.model = model, .seqs = seqs, .n_seqs = n_seqs, .run = run, .out = out, .outputs = outputs};
	EmbStatus	status;

	if (n_seqs < 0 || run->batch_tokens < 0)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "%d sequences in batches of %d tokens", n_seqs, run->batch_tokens);
	if (n_seqs == 0)
		return EMB_OK;
	job.full_width = emb_arch_width(model->view.arch);
	job.row_width = model->info.kind == EMB_KIND_RERANKER ? 1 : emb_arch_pooled_width(model->transformer.arch);
	status = check_sequences(model, seqs, n_seqs, err);
	if (status != EMB_OK)
		return status;
	for (int32_t i = 0; i < n_seqs; i++)
	{
		job.has_types |= seqs[i].type_ids != NULL;
		job.has_unseen |= emb_model_n_seen(model, &seqs[i]) < seqs[i].n_ids;
	}
	job.first = emb_alloc_array(run->mem, n_seqs, sizeof(int32_t));
	if (job.first == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory for %d texts", n_seqs);
	else
		status = run_job(&job, err);
	emb_outputs_end(&job.plan, run->mem);
	emb_prefix_memo_free(job.own_memo);
	emb_release(run->mem, job.first);
	emb_release(run->mem, job.ids);
	emb_release(run->mem, job.type_ids);
	emb_release(run->mem, job.offsets);
	emb_release(run->mem, job.n_seen);
	emb_release(run->mem, job.members);
	emb_release(run->mem, job.rows);
	emb_release(run->mem, job.projected);
	return status;
}

EmbStatus
emb_model_embed(const EmbModel *model, const EmbSequence *seqs, int32_t n_seqs,
				const EmbRun *run, float *out, EmbError *err)
{
	if (model->info.kind != EMB_KIND_EMBEDDING)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model is a reranker and returns no vectors");
	if (!model->info.has_dense)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model returns no vector of a text");
	return run_model(model, seqs, n_seqs, run, out, NULL, err);
}

EmbStatus
emb_model_embed_all(const EmbModel *model, const EmbSequence *seqs, int32_t n_seqs,
					const EmbRun *run, const EmbOutputs *outputs, EmbError *err)
{
	bool		needs_tokens = outputs->sparse != NULL || outputs->multi != NULL;

	if (model->info.kind != EMB_KIND_EMBEDDING)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model is a reranker and returns no vectors");
	if (outputs->dense != NULL && !model->info.has_dense)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model returns no vector of a text");
	if (outputs->sparse != NULL && !model->info.has_sparse)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model returns no token weights");
	if (outputs->multi != NULL && model->info.multi_dim == 0)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model returns no token vectors");
	return run_model(model, seqs, n_seqs, run, outputs->dense, needs_tokens ? outputs : NULL, err);
}

EmbStatus
emb_model_rerank(const EmbModel *model, const EmbSequence *seqs, int32_t n_seqs,
				 const EmbRun *run, float *logits, EmbError *err)
{
	if (model->info.kind != EMB_KIND_RERANKER)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model is an embedding model, not a reranker");
	return run_model(model, seqs, n_seqs, run, logits, NULL, err);
}
