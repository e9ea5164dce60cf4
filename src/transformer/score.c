/*
 * score.c
 *		The head of a reranker.
 */
#include "transformer/score.h"

#include <math.h>

#include "transformer/work.h"

static size_t
pooled_stride(const EmbTransformer *transformer)
{
	return emb_pack_f32_panels(transformer->arch->hidden) * EMB_PANEL;
}

size_t
emb_transformer_score_scratch_bytes(const EmbTransformer *transformer, int32_t n_seqs)
{
	return n_seqs * (transformer->arch->hidden + pooled_stride(transformer)) * sizeof(float);
}

static EmbStatus
not_finite(EmbError *err)
{
	return emb_error(err, EMB_ERR_LIMIT, "the model's weights overflow single precision: a score is not finite");
}

/* rows: [n_rows, hidden] */
static EmbStatus
answer(const EmbScoreHead *head, const EmbKernels *kernels, const float *rows, int32_t n_rows, int32_t hidden,
	   float *logits, EmbError *err)
{
	for (int32_t i = 0; i < n_rows; i++)
	{
		const float *row = rows + (size_t) i * hidden;

		logits[i] = kernels->dot_f32(row, head->answers, hidden);
		if (head->n_answers > 1)
			logits[i] -= kernels->dot_f32(row, head->answers + hidden, hidden);
		if (!isfinite(logits[i]))
			return not_finite(err);
	}
	return EMB_OK;
}

static EmbStatus
classify(const EmbScoreHead *head, const EmbKernels *kernels, float *pooled, size_t stride,
		 int32_t n_rows, float *logits, EmbError *err)
{
	int32_t		hidden = head->pooler.n_out;

	for (int32_t i = 0; i < n_rows; i++)
	{
		float	   *row = pooled + i * stride;

		if (head->norm.gamma != NULL)
			kernels->add_norm_f32(row, NULL, head->norm.gamma, head->norm.beta, head->norm_eps, hidden, row);
		logits[i] = kernels->dot_f32(row, head->classifier, hidden) + head->classifier_bias[0];
		if (!isfinite(logits[i]))
			return not_finite(err);
	}
	return EMB_OK;
}

/* rows: [n_rows, hidden]; pooled: scratch for [n_rows, hidden rounded up to a panel]. */
static EmbStatus
run_score_head(const EmbScoreHead *head, const EmbKernels *kernels, const float *rows, int32_t n_rows,
			   float *pooled, size_t stride, const EmbStop *stop, float *logits, EmbError *err)
{
	_Atomic bool stopped = false;
	EmbWork		work;
	EmbGemmF32	g = {
		.n_rows = n_rows,
		.n_in = head->pooler.n_in,
		.n_panels = (int32_t) emb_pack_f32_panels(head->pooler.n_out),
		.a = rows,
		.a_stride = head->pooler.n_in,
		.b = head->pooler.weight,
		.bias = head->pooler.bias,
		.c = pooled,
		.c_stride = stride
	};
	EmbActivate activate = emb_work_activation(kernels, head->activation);

	if (activate == NULL)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "unknown activation %d", (int) head->activation);
	if (!emb_work_begin(&work, kernels, stop, &stopped) || !emb_work_multiply(&work, &g, activate))
		return emb_error(err, EMB_ERR_CANCELLED, "stopped while scoring a batch of %d pairs", (int) n_rows);
	return classify(head, kernels, pooled, stride, n_rows, logits, err);
}

static EmbStatus
run_head(const EmbTransformer *transformer, const EmbScoreHead *head, const EmbKernels *kernels, const float *rows,
		 int32_t n_rows, float *pooled, const EmbStop *stop, float *logits, EmbError *err)
{
	EmbFpState	fp = emb_fp_enter();
	EmbStatus	status;

	if (head->answers != NULL)
		status = answer(head, kernels, rows, n_rows, transformer->arch->hidden, logits, err);
	else
		status = run_score_head(head, kernels, rows, n_rows, pooled, pooled_stride(transformer), stop, logits, err);
	emb_fp_leave(fp);
	return status;
}

static EmbStatus
check_head(const EmbTransformer *transformer, EmbError *err)
{
	if (emb_arch_normalizes_pooled(transformer->arch))
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "a reranker needs its rows as they are");
	return EMB_OK;
}

EmbStatus
emb_transformer_score_rows(const EmbTransformer *transformer, const EmbScoreHead *head, const EmbKernels *kernels,
						   const float *rows, int32_t n_rows, const EmbAllocator *mem, const EmbStop *stop,
						   float *logits, EmbError *err)
{
	size_t		stride = pooled_stride(transformer);
	EmbStatus	status = check_head(transformer, err);
	float	   *pooled;

	if (status != EMB_OK)
		return status;
	pooled = emb_alloc_array(mem, n_rows, stride * sizeof(float));
	if (pooled == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %d pairs", (int) n_rows);
	status = run_head(transformer, head, kernels, rows, n_rows, pooled, stop, logits, err);
	emb_release(mem, pooled);
	return status;
}

EmbStatus
emb_transformer_score(const EmbTransformer *transformer, const EmbScoreHead *head, const EmbKernels *kernels,
				  const EmbBatch *batch, int32_t n_threads, const EmbAllocator *mem,
				  const EmbStop *stop, float *logits, EmbError *err)
{
	size_t		bytes = emb_transformer_score_scratch_bytes(transformer, batch->n_seqs);
	float	   *rows;
	EmbStatus	status;

	status = check_head(transformer, err);
	if (status != EMB_OK || batch->n_seqs <= 0)
		return status;
	rows = emb_alloc(mem, bytes);
	if (rows == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory: %zu bytes for %d pairs", bytes, (int) batch->n_seqs);
	status = emb_transformer_run(transformer, kernels, batch, n_threads, mem, stop, rows, err);
	if (status == EMB_OK)
		status = run_head(transformer, head, kernels, rows, batch->n_seqs,
						  rows + (size_t) batch->n_seqs * transformer->arch->hidden, stop, logits, err);
	emb_release(mem, rows);
	return status;
}
