/*
 * lm_head.c
 *		The output over the vocabulary of an import.
 *
 * In int8 each entry's weights have one scale, and the input has smoothing
 * factors (quantize.h). The input is the output of a layer norm, y = gamma z +
 * beta with z about normal: so its range by channel needs no calibration texts.
 */
#include "convert/lm_head.h"

#include <math.h>
#include <string.h>

#include "convert/quantize.h"
#include "transformer/work.h"

/* Of z: one element of 16,000 of a normal distribution exceeds it. */
#define NORM_RANGE	4

/* Of 8, for the weights' share: 4, 5 and 6 differ by less than 2e-5 of the cosine. */
#define SMOOTHING	4

/* Rows that are transformed at a time. */
#define BLOCK_ROWS	96

static size_t
padded(int32_t n)
{
	return emb_pack_f32_panels(n) * EMB_PANEL;
}

EmbStatus
emb_lm_head_begin(EmbLmHead *h, const EmbArch *arch, bool is_quantized, const EmbImportSteps *steps, EmbError *err)
{
	const EmbAllocator *mem = steps->mem;
	int32_t		n_in = arch->hidden;
	bool		ok;

	*h = (EmbLmHead) {.mem = *mem};
	if (arch->has_sparse != EMB_SPARSE_VOCABULARY)
		return EMB_OK;
	h->n_in = n_in;
	h->n_out = arch->n_vocab;
	h->is_quantized = is_quantized;
	h->rows = emb_alloc_array(mem, (size_t) n_in * EMB_PANEL, sizeof(float));
	h->panels = emb_alloc_array(mem, (size_t) n_in * EMB_PANEL * EMB_VOCABULARY_SLICE, sizeof(float));
	h->bias = emb_alloc_zero(mem, padded(h->n_out), sizeof(float));
	ok = h->rows != NULL && h->panels != NULL && h->bias != NULL;
	if (is_quantized)
	{
		h->codes = emb_alloc_array(mem, n_in, EMB_PANEL);
		h->tiles = emb_alloc(mem, emb_pack_i8_bytes(EMB_PANEL * EMB_VOCABULARY_SLICE, n_in));
		h->smooth = emb_alloc_array(mem, n_in, sizeof(float));
		h->factor = emb_alloc_zero(mem, padded(n_in), sizeof(float));
		h->scale = emb_alloc_zero(mem, padded(h->n_out), sizeof(float));
		h->sums = emb_alloc_zero(mem, padded(h->n_out), sizeof(int32_t));
		ok &= h->codes != NULL && h->tiles != NULL && h->smooth != NULL && h->factor != NULL && h->scale != NULL && h->sums != NULL;
	}
	return ok ? EMB_OK : emb_error(err, EMB_ERR_NOMEM, "out of memory for the output over a vocabulary of %d", h->n_out);
}

void
emb_lm_head_free(EmbLmHead *h)
{
	if (h->mem.release == NULL)
		return;
	emb_release(&h->mem, h->rows);
	emb_release(&h->mem, h->panels);
	emb_release(&h->mem, h->codes);
	emb_release(&h->mem, h->tiles);
	emb_release(&h->mem, h->smooth);
	emb_release(&h->mem, h->factor);
	emb_release(&h->mem, h->scale);
	emb_release(&h->mem, h->sums);
	emb_release(&h->mem, h->bias);
	*h = (EmbLmHead) {0};
}

/* ------------------------------------------------------------------ reading */

static const EmbImageTensor *
tensor(const EmbImageView *view, EmbTensorKind kind)
{
	return emb_image_find(view, EMB_NO_LAYER, EMB_PART_LM_OUT, kind);
}

/* The rows of panel p, in h->rows; *n of them. */
static EmbStatus
read_panel(const EmbLmHead *h, const EmbWeights *weights, const EmbImageView *exact, int32_t p, int32_t *n, EmbError *err)
{
	int32_t		left = h->n_out - p * EMB_PANEL;

	*n = left < EMB_PANEL ? left : EMB_PANEL;
	if (emb_should_stop(weights->steps->stop))
		return emb_import_cancelled(err);
	return emb_weights_read_rows(weights, tensor(exact, EMB_TENSOR_WEIGHT), (int64_t) p * EMB_PANEL, *n, h->rows, err);
}

/* Panels p .. p + *n - 1 in fp32, and as tiles if h is quantized and tiles are wanted. */
static EmbStatus
read_slice(EmbLmHead *h, const EmbWeights *weights, const EmbImageView *exact, int32_t p, bool wants_tiles, int32_t *n, EmbError *err)
{
	int32_t		left = (int32_t) emb_pack_f32_panels(h->n_out) - p;
	EmbStatus	status = EMB_OK;

	*n = left < EMB_VOCABULARY_SLICE ? left : EMB_VOCABULARY_SLICE;
	for (int32_t i = 0; status == EMB_OK && i < *n; i++)
	{
		float	   *panel = h->panels + (size_t) i * h->n_in * EMB_PANEL;
		size_t		column = (size_t) (p + i) * EMB_PANEL;
		int32_t		n_rows;

		status = read_panel(h, weights, exact, p + i, &n_rows, err);
		if (status != EMB_OK)
			break;
		memset(panel, 0, (size_t) h->n_in * EMB_PANEL * sizeof(float));
		emb_pack_f32_panel(h->rows, n_rows, h->n_in, panel);
		if (wants_tiles && !emb_quantize_panel(panel, n_rows, h->n_in, h->smooth, h->codes,
											   h->tiles + i * emb_pack_i8_bytes(EMB_PANEL, h->n_in), h->scale + column, h->sums + column))
			status = emb_error(err, EMB_ERR_LIMIT, "the weights of the output over the vocabulary are too large to quantize");
	}
	return status;
}

static EmbStatus
read_vector(const EmbWeights *weights, const EmbImageView *exact, EmbPart part, EmbTensorKind kind, float *to, EmbError *err)
{
	const EmbImageTensor *t = emb_image_find(exact, EMB_NO_LAYER, part, kind);

	return emb_weights_read_rows(weights, t, 0, 1, to, err);
}

/* ---------------------------------------------------------------- smoothing */

/* largest[k] = max |w[k]| over all entries */
static EmbStatus
find_largest(const EmbLmHead *h, const EmbWeights *weights, const EmbImageView *exact, float *largest, EmbError *err)
{
	int32_t		n_panels = (int32_t) emb_pack_f32_panels(h->n_out);

	memset(largest, 0, h->n_in * sizeof(float));
	for (int32_t p = 0; p < n_panels; p++)
	{
		int32_t		n;
		EmbStatus	status = read_panel(h, weights, exact, p, &n, err);

		if (status != EMB_OK)
			return status;
		for (int32_t i = 0; i < n * h->n_in; i++)
		{
			float		w = fabsf(h->rows[i]);

			largest[i % h->n_in] = w > largest[i % h->n_in] ? w : largest[i % h->n_in];
		}
	}
	return EMB_OK;
}

static EmbStatus
choose_smoothing(EmbLmHead *h, const EmbWeights *weights, const EmbImageView *exact, EmbError *err)
{
	float	   *range = emb_alloc_array(&h->mem, (size_t) h->n_in * 3, sizeof(float));
	float	   *beta = range + h->n_in;
	float	   *largest = beta + h->n_in;
	EmbStatus	status;

	if (range == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for smoothing factors");
	status = read_vector(weights, exact, EMB_PART_LM_NORM, EMB_TENSOR_GAMMA, range, err);
	if (status == EMB_OK)
		status = read_vector(weights, exact, EMB_PART_LM_NORM, EMB_TENSOR_BETA, beta, err);
	if (status == EMB_OK)
		status = find_largest(h, weights, exact, largest, err);
	for (int32_t k = 0; status == EMB_OK && k < h->n_in; k++)
		range[k] = fabsf(beta[k]) + NORM_RANGE * fabsf(range[k]);
	if (status == EMB_OK)
		emb_quantize_smoothing(range, largest, h->n_in, SMOOTHING, h->smooth);
	for (int32_t k = 0; status == EMB_OK && k < h->n_in; k++)
		h->factor[k] = 1 / h->smooth[k];
	emb_release(&h->mem, range);
	return status;
}

/* ------------------------------------------------------------------ writing */

EmbStatus
emb_lm_head_write(EmbLmHead *h, const EmbWeights *weights, EmbWriter *writer, const EmbImageView *exact,
				  const EmbImageView *view, EmbError *err)
{
	int32_t		n_panels = (int32_t) emb_pack_f32_panels(h->n_out);
	EmbStatus	status = EMB_OK;

	if (h->n_out == 0)
		return EMB_OK;
	if (h->is_quantized)
		status = choose_smoothing(h, weights, exact, err);
	if (status == EMB_OK)
		status = read_vector(weights, exact, EMB_PART_LM_OUT, EMB_TENSOR_BIAS, h->bias, err);
	if (status == EMB_OK)
		status = emb_writer_pad(writer, tensor(view, EMB_TENSOR_WEIGHT)->offset, err);
	for (int32_t p = 0; status == EMB_OK && p < n_panels; p += EMB_VOCABULARY_SLICE)
	{
		int32_t		n;

		emb_import_progress(weights->steps, "read", p, n_panels);
		status = read_slice(h, weights, exact, p, h->is_quantized, &n, err);
		if (status == EMB_OK && h->is_quantized)
			status = emb_writer_put(writer, h->tiles, n * emb_pack_i8_bytes(EMB_PANEL, h->n_in), err);
		else if (status == EMB_OK)
			status = emb_writer_put(writer, h->panels, (uint64_t) n * h->n_in * EMB_PANEL * sizeof(float), err);
	}
	if (status == EMB_OK && h->is_quantized &&
		(status = emb_writer_put_tensor(writer, tensor(view, EMB_TENSOR_SCALE), h->scale, err)) == EMB_OK &&
		(status = emb_writer_put_tensor(writer, tensor(view, EMB_TENSOR_SUMS), h->sums, err)) == EMB_OK)
		status = emb_writer_put_tensor(writer, tensor(view, EMB_TENSOR_FACTOR), h->factor, err);
	return status == EMB_OK ? emb_writer_put_tensor(writer, tensor(view, EMB_TENSOR_BIAS), h->bias, err) : status;
}

/* --------------------------------------------------------------- references */

/* The buffers of a run. */
typedef struct Run
{
	EmbVocabularyHead head;		/* its output: of a slice */
	EmbVocabularyRows rows;
	EmbWork		work;
	_Atomic bool stopped;
	float	   *scratch;		/* [BLOCK_ROWS, stride] */
	float	   *c;				/* [BLOCK_ROWS, 16 EMB_VOCABULARY_SLICE] */
} Run;

static EmbStatus
allocate_run(Run *run, const EmbLmHead *h, int32_t n_rows, bool is_exact, EmbError *err)
{
	const EmbAllocator *mem = &h->mem;
	EmbVocabularyRows *rows = &run->rows;
	bool		ok;

	rows->stride = padded(h->n_in);
	rows->code_stride = emb_pack_i8_padded(h->n_in);
	run->scratch = emb_alloc_array(mem, BLOCK_ROWS, rows->stride * sizeof(float));
	run->c = emb_alloc_array(mem, BLOCK_ROWS, EMB_PANEL * EMB_VOCABULARY_SLICE * sizeof(float));
	if (is_exact)
		rows->rows = emb_alloc_array(mem, n_rows, rows->stride * sizeof(float));
	else
	{
		rows->codes = emb_alloc_array(mem, n_rows, rows->code_stride);
		rows->scales = emb_alloc_array(mem, n_rows, sizeof(float));
		rows->zeros = emb_alloc_array(mem, n_rows, sizeof(int32_t));
	}
	ok = is_exact ? rows->rows != NULL : rows->codes != NULL && rows->scales != NULL && rows->zeros != NULL;
	return ok && run->scratch != NULL && run->c != NULL ? EMB_OK
		: emb_error(err, EMB_ERR_NOMEM, "out of memory for the logits of %d tokens", n_rows);
}

static void
free_run(Run *run, const EmbAllocator *mem)
{
	emb_release(mem, run->scratch);
	emb_release(mem, run->c);
	emb_release(mem, run->rows.rows);
	emb_release(mem, run->rows.codes);
	emb_release(mem, run->rows.scales);
	emb_release(mem, run->rows.zeros);
}

/* The slice from panel p on as the head's whole output. */
static void
point_slice(Run *run, const EmbLmHead *h, int32_t p, int32_t n, bool is_exact)
{
	size_t		column = (size_t) p * EMB_PANEL;
	EmbLinear  *out = &run->head.out;

	*out = (EmbLinear) {.form = is_exact ? EMB_LINEAR_F32 : EMB_LINEAR_I8, .n_out = n * EMB_PANEL, .n_in = h->n_in, .bias = h->bias + column};
	if (is_exact)
	{
		out->weight = h->panels;
		return;
	}
	out->weight_i8 = h->tiles;
	out->scale = h->scale + column;
	out->sums = h->sums + column;
	out->factor = h->factor;
}

static EmbStatus
run_slices(Run *run, EmbLmHead *h, const EmbWeights *weights, const EmbImageView *exact, const EmbStream *s, bool is_exact,
		   float *maxima, EmbError *err)
{
	int32_t		n_panels = (int32_t) emb_pack_f32_panels(h->n_out);
	int32_t		n_tokens = emb_stream_n_tokens(s);
	size_t		stride = run->rows.stride;

	/* the form and the factor of the output determine how its input is prepared */
	point_slice(run, h, 0, 0, is_exact);
	for (int32_t i = 0; i < n_tokens; i += BLOCK_ROWS)
	{
		if (!emb_vocabulary_prepare(&run->head, &run->work, s->x + i * stride, stride, n_tokens - i < BLOCK_ROWS ? n_tokens - i : BLOCK_ROWS,
									run->scratch, &run->rows, i))
			return emb_import_cancelled(err);
	}
	for (int32_t p = 0; p < n_panels; p += EMB_VOCABULARY_SLICE)
	{
		int32_t		n;
		EmbStatus	status = read_slice(h, weights, exact, p, !is_exact, &n, err);

		if (status != EMB_OK)
			return status;
		emb_import_progress(weights->steps, "verify", p, n_panels);
		point_slice(run, h, p, n, is_exact);
		if (!emb_vocabulary_maxima(&run->head, &run->work, &run->rows, s->offsets, s->n_seqs, 0, n, run->c, BLOCK_ROWS,
								   maxima + (size_t) p * EMB_PANEL, padded(h->n_out)))
			return emb_import_cancelled(err);
	}
	return EMB_OK;
}

EmbStatus
emb_lm_head_run(EmbLmHead *h, const EmbWeights *weights, const EmbImageView *exact, const EmbModel *model,
				const EmbStream *s, bool is_exact, float *maxima, EmbError *err)
{
	Run			run = {.head = model->token_heads.vocabulary};
	EmbFpState	fp = emb_fp_enter();
	EmbStatus	status = allocate_run(&run, h, emb_stream_n_tokens(s), is_exact, err);

	if (status == EMB_OK && !emb_work_begin(&run.work, emb_kernels(), weights->steps->stop, &run.stopped))
		status = emb_import_cancelled(err);
	if (status == EMB_OK)
		status = run_slices(&run, h, weights, exact, s, is_exact, maxima, err);
	free_run(&run, &h->mem);
	emb_fp_leave(fp);
	return status;
}
