/*
 * score.c
 *		The head of a reranker.
 */
#include "transformer/score.h"

#include <math.h>

#include "transformer/work.h"

/* ---------------------------------------------------------------- labels */

/* e^x for x <= 0: Taylor's series for the rest that is left of x after whole ln 2. */
static double
exp_below(double x)
{
	const double ln2_high = 0x1.62e42feep-1;
	const double ln2_low = 0x1.a39ef35793c76p-33;
	double		whole = floor(x * 0x1.71547652b82fep+0 + 0.5);
	double		rest = (x - whole * ln2_high) - whole * ln2_low;
	double		sum = 1;

	if (x < -700)
		return 0;
	for (int i = 16; i > 0; i--)
		sum = 1 + rest / i * sum;
	return ldexp(sum, (int) whole);
}

/* log x for x >= 1: 2 artanh((m - 1) / (m + 1)) for the fraction m of x. */
static double
log_above(double x)
{
	int			exponent;
	double		m = frexp(x, &exponent);
	double		t;
	double		square;
	double		sum = 0;

	if (m < 0x1.6a09e667f3bcdp-1)
	{
		m *= 2;
		exponent--;
	}
	t = (m - 1) / (m + 1);
	square = t * t;
	for (int i = 23; i > 0; i -= 2)
		sum = 1.0 / i + square * sum;
	return exponent * 0x1.62e42fefa39efp-1 + 2 * t * sum;
}

/*
 * Plain arithmetic in double, because the C library's functions may differ by
 * machine. The result is rounded once, and is exact to a float's last bit.
 */
float
emb_label_logit(const float *outputs, int32_t n, int32_t label)
{
	double		largest = -INFINITY;
	double		sum = 0;

	if (n <= 1)
		return outputs[0];
	for (int32_t i = 0; i < n; i++)
		largest = i != label && outputs[i] > largest ? outputs[i] : largest;
	for (int32_t i = 0; i < n; i++)
		sum += i != label ? exp_below(outputs[i] - largest) : 0;
	return (float) (outputs[label] - largest - log_above(sum));
}

/* ------------------------------------------------------------------ heads */

/* Floats of scratch per row: a pooler's outputs in whole panels, or the labels of modules. */
static size_t
head_stride(const EmbTransformer *transformer)
{
	const EmbArch *arch = transformer->arch;

	return arch->head == EMB_HEAD_MODULES ? (size_t) arch->n_labels : emb_pack_f32_panels(arch->hidden) * EMB_PANEL;
}

size_t
emb_transformer_score_scratch_bytes(const EmbTransformer *transformer, int32_t n_seqs)
{
	return n_seqs * (emb_arch_pooled_width(transformer->arch) + head_stride(transformer)) * sizeof(float);
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
	int32_t		n_labels = head->n_labels > 0 ? head->n_labels : 1;
	float		outputs[EMB_ARCH_MAX_LABELS];

	for (int32_t i = 0; i < n_rows; i++)
	{
		float	   *row = pooled + i * stride;
		bool		is_finite = true;

		if (head->norm.gamma != NULL)
			kernels->add_norm_f32(row, NULL, head->norm.gamma, head->norm.beta, head->norm_eps, hidden, row);
		for (int32_t k = 0; k < n_labels; k++)
		{
			outputs[k] = kernels->dot_f32(row, head->classifier + (size_t) k * hidden, hidden) + head->classifier_bias[k];
			is_finite &= isfinite(outputs[k]);
		}
		if (!is_finite)
			return not_finite(err);
		logits[i] = emb_label_logit(outputs, n_labels, head->label);
	}
	return EMB_OK;
}

/* The modules check that their outputs are finite. rows: [n_rows, pooled width]; outputs: scratch for [n_rows, n_labels]. */
static EmbStatus
run_modules(const EmbScoreHead *head, const EmbKernels *kernels, const float *rows, int32_t n_rows, float *outputs,
			const EmbAllocator *mem, const EmbStop *stop, float *logits, EmbError *err)
{
	EmbStatus	status = emb_transformer_dense(head->modules, kernels, rows, n_rows, mem, stop, outputs, err);

	if (status != EMB_OK)
		return status;
	for (int32_t i = 0; i < n_rows; i++)
	{
		logits[i] = emb_label_logit(outputs + (size_t) i * head->n_labels, head->n_labels, head->label);
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
		 int32_t n_rows, float *scratch, const EmbAllocator *mem, const EmbStop *stop, float *logits, EmbError *err)
{
	EmbFpState	fp = emb_fp_enter();
	EmbStatus	status;

	if (head->modules != NULL)
		status = run_modules(head, kernels, rows, n_rows, scratch, mem, stop, logits, err);
	else if (head->answers != NULL)
		status = answer(head, kernels, rows, n_rows, transformer->arch->hidden, logits, err);
	else
		status = run_score_head(head, kernels, rows, n_rows, scratch, head_stride(transformer), stop, logits, err);
	emb_fp_leave(fp);
	return status;
}

static EmbStatus
check_head(const EmbTransformer *transformer, EmbError *err)
{
	if (transformer->arch->head != EMB_HEAD_MODULES && emb_arch_normalizes_pooled(transformer->arch))
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "a reranker needs its rows as they are");
	return EMB_OK;
}

EmbStatus
emb_transformer_score_rows(const EmbTransformer *transformer, const EmbScoreHead *head, const EmbKernels *kernels,
						   const float *rows, int32_t n_rows, const EmbAllocator *mem, const EmbStop *stop,
						   float *logits, EmbError *err)
{
	size_t		stride = head_stride(transformer);
	EmbStatus	status = check_head(transformer, err);
	float	   *scratch;

	if (status != EMB_OK)
		return status;
	scratch = emb_alloc_array(mem, n_rows, stride * sizeof(float));
	if (scratch == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %d pairs", (int) n_rows);
	status = run_head(transformer, head, kernels, rows, n_rows, scratch, mem, stop, logits, err);
	emb_release(mem, scratch);
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
						  rows + (size_t) batch->n_seqs * emb_arch_pooled_width(transformer->arch), mem, stop, logits, err);
	emb_release(mem, rows);
	return status;
}
