/*
 * reference_outputs.c
 *		Outputs of reference texts besides their vectors.
 */
#include "convert/reference_outputs.h"

#include <math.h>
#include <string.h>

#include "common/hash.h"
#include "model/token_outputs.h"

EmbStatus
emb_reference_outputs_begin(EmbReferenceOutputs *o, const EmbModel *model, const EmbSequence *seq, const EmbAllocator *mem, EmbError *err)
{
	*o = (EmbReferenceOutputs) {.model = model, .mem = *mem, .seq = *seq};
	if (model->info.has_sparse)
		o->outputs.sparse = &o->sparse;
	if (model->info.multi_dim == 0)
		return EMB_OK;
	o->n_rows = emb_model_n_vectors(model, seq);
	o->outputs.multi = o->multi = emb_alloc_array(mem, (size_t) o->n_rows + 1, model->info.multi_dim * sizeof(float));
	return o->multi != NULL ? EMB_OK : emb_error(err, EMB_ERR_NOMEM, "out of memory for the vectors of %d tokens", seq->n_ids);
}

void
emb_reference_outputs_end(EmbReferenceOutputs *o)
{
	if (o->mem.release == NULL)
		return;
	emb_sparse_free(&o->sparse, &o->mem);
	emb_release(&o->mem, o->multi);
	*o = (EmbReferenceOutputs) {0};
}

EmbStatus
emb_reference_outputs_of_rows(EmbReferenceOutputs *o, const float *rows, const float *maxima, const EmbStop *stop, EmbError *err)
{
	const int32_t member = 0;
	const int32_t offsets[] = {0, o->seq.n_ids};
	const EmbModel *model = o->model;
	EmbOutputPlan plan;
	EmbStatus	status = emb_outputs_begin(&plan, model, &o->seq, 1, &o->outputs, o->seq.n_ids, 1, &o->mem, err);

	if (status == EMB_OK)
	{
		emb_outputs_place(&plan, &member, 1, offsets);
		if (plan.tokens.maxima != NULL)
			memcpy(plan.tokens.maxima, maxima, plan.tokens.maxima_stride * sizeof(float));
		status = emb_transformer_token_rows(&model->transformer, emb_kernels(), rows, o->seq.n_ids, &o->mem, stop, &plan.tokens, err);
	}
	if (status == EMB_OK)
		status = emb_outputs_collect(&plan, &member, 1, offsets, err);
	emb_outputs_end(&plan, &o->mem);
	return status;
}

EmbStatus
emb_reference_outputs_replay(EmbReferenceOutputs *o, const EmbRun *run, float *dense, EmbError *err)
{
	EmbOutputs	outputs = o->outputs;

	outputs.dense = o->model->info.has_dense ? dense : NULL;
	return emb_model_embed_all(o->model, &o->seq, 1, run, &outputs, err);
}

/* ------------------------------------------------------------------ hashes */

static bool
add(EmbHash *h, const void *data, size_t size)
{
	return size == 0 || emb_hash_update(h, data, size);
}

static bool
hash_sparse(const EmbReferenceOutputs *o, EmbHash *h)
{
	size_t		n = o->sparse.n;

	return add(h, o->sparse.ids, n * sizeof(int32_t)) && add(h, o->sparse.weights, n * sizeof(float));
}

static bool
hash_multi(const EmbReferenceOutputs *o, EmbHash *h)
{
	return add(h, o->multi, (size_t) o->n_rows * o->model->info.multi_dim * sizeof(float));
}

static EmbStatus
hash(const EmbReferenceOutputs *o, bool has_output, bool (*add_all) (const EmbReferenceOutputs *o, EmbHash *h), uint8_t digest[EMB_HASH_SIZE],
	 EmbError *err)
{
	EmbHash    *h;
	bool		ok;

	memset(digest, 0, EMB_HASH_SIZE);
	if (!has_output)
		return EMB_OK;
	h = emb_hash_begin();
	ok = h != NULL && add_all(o, h);
	if (h != NULL)
		ok &= emb_hash_end(h, digest);
	return ok ? EMB_OK : emb_error(err, EMB_ERR_INTERNAL, "SHA-256 failed");
}

EmbStatus
emb_reference_outputs_hash(const EmbReferenceOutputs *o, uint8_t sparse_hash[EMB_HASH_SIZE], uint8_t multi_hash[EMB_HASH_SIZE], EmbError *err)
{
	EmbStatus	status = hash(o, o->outputs.sparse != NULL, hash_sparse, sparse_hash, err);

	return status == EMB_OK ? hash(o, o->outputs.multi != NULL, hash_multi, multi_hash, err) : status;
}

/* --------------------------------------------------------------- closeness */

/* The cosine of two lists of weights; 1 if both are empty. */
static double
compare_sparse(const EmbSparse *a, const EmbSparse *b)
{
	double		ab = 0;
	double		aa = 0;
	double		bb = 0;

	for (int32_t i = 0; i < a->n; i++)
		aa += (double) a->weights[i] * a->weights[i];
	for (int32_t i = 0; i < b->n; i++)
		bb += (double) b->weights[i] * b->weights[i];
	for (int32_t i = 0, k = 0; i < a->n && k < b->n;)
	{
		if (a->ids[i] == b->ids[k])
			ab += (double) a->weights[i++] * b->weights[k++];
		else if (a->ids[i] < b->ids[k])
			i++;
		else
			k++;
	}
	if (aa == 0 || bb == 0)
		return aa == bb;
	return ab / sqrt(aa * bb);
}

/* The mean cosine of rows; 1 without rows. */
static double
compare_multi(const float *a, const float *b, int32_t n_rows, int32_t n)
{
	double		sum = 0;

	for (int32_t i = 0; i < n_rows; i++)
		sum += emb_cosine(a + (size_t) i * n, b + (size_t) i * n, n);
	return n_rows > 0 ? sum / n_rows : 1;
}

void
emb_reference_outputs_compare(const EmbReferenceOutputs *a, const EmbReferenceOutputs *b, float *sparse, float *multi)
{
	double		s = a->outputs.sparse != NULL ? compare_sparse(&a->sparse, &b->sparse) : 0;
	double		m = a->outputs.multi != NULL ? compare_multi(a->multi, b->multi, a->n_rows, a->model->info.multi_dim) : 0;

	*sparse = (float) (s > 1 ? 1 : s);
	*multi = (float) (m > 1 ? 1 : m);
}
