/*
 * words.c
 *		The word embeddings of an import.
 */
#include "convert/words.h"

#include <math.h>
#include <string.h>

#include "convert/quantize.h"
#include "transformer/work.h"

#define NOT_KEPT	(-1)
#define KEPT		0

/* One reading of the table, block by block. */
typedef struct Reading
{
	EmbWords   *words;
	EmbWeights *weights;
	EmbWriter  *writer;
	const EmbImageTensor *table;	/* fp32, of the exact plan */
	EmbWork		work;
	_Atomic bool stopped;
	float	   *block;			/* [block_rows, hidden] */
	int8_t	   *codes;			/* [block_rows, hidden] */
	int64_t		block_rows;
	double	   *sums;			/* [hidden] of squares */
	int64_t		done_rows;		/* of all readings, for progress */
	int64_t		total_rows;
} Reading;

/* What a reading does with n rows of the table. */
typedef EmbStatus (*TakeRows) (Reading *r, int64_t row, int64_t n, EmbError *err);

EmbStatus
emb_words_begin(EmbWords *w, const EmbArch *arch, const EmbAllocator *mem, EmbError *err)
{
	*w = (EmbWords) {.mem = *mem, .n_vocab = arch->n_vocab, .hidden = emb_arch_embedding_width(arch)};
	w->kept = emb_alloc_array(mem, arch->n_vocab, sizeof(int32_t));
	if (w->kept == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a vocabulary of %d", arch->n_vocab);
	for (int32_t i = 0; i < arch->n_vocab; i++)
		w->kept[i] = i < arch->position_base ? KEPT : NOT_KEPT;
	return EMB_OK;
}

void
emb_words_free(EmbWords *w)
{
	if (w->mem.release == NULL)
		return;
	emb_release(&w->mem, w->kept);
	emb_release(&w->mem, w->exact);
	emb_release(&w->mem, w->codes);
	emb_release(&w->mem, w->kept_scales);
	emb_release(&w->mem, w->scales);
	emb_release(&w->mem, w->factors);
	*w = (EmbWords) {0};
}

void
emb_words_keep(EmbWords *w, const EmbStream *s)
{
	for (int32_t i = 0; i < emb_stream_n_tokens(s); i++)
		w->kept[s->ids[i]] = KEPT;
}

void
emb_words_map(const EmbWords *w, EmbStream *s)
{
	for (int32_t i = 0; i < emb_stream_n_tokens(s); i++)
		s->ids[i] = w->kept[s->ids[i]];
}

/* Numbers the kept rows in the order of their ids. */
static bool
allocate_rows(EmbWords *w, bool is_quantized)
{
	for (int32_t i = 0; i < w->n_vocab; i++)
	{
		if (w->kept[i] != NOT_KEPT)
			w->kept[i] = w->n_kept++;
	}
	w->exact = emb_alloc_array(&w->mem, w->n_kept, w->hidden * sizeof(float));
	if (!is_quantized)
		return w->exact != NULL;
	w->codes = emb_alloc_array(&w->mem, w->n_kept, w->hidden);
	w->kept_scales = emb_alloc_array(&w->mem, w->n_kept, sizeof(float));
	w->scales = emb_alloc_zero(&w->mem, 1, emb_image_align(w->n_vocab * sizeof(float)));
	w->factors = emb_alloc_zero(&w->mem, 1, emb_image_align(w->hidden * sizeof(float)));
	return w->exact != NULL && w->codes != NULL && w->kept_scales != NULL && w->scales != NULL && w->factors != NULL;
}

/* ----------------------------------------------------------------- readings */

/* Reads the whole table; take gets the rows in r->block. */
static EmbStatus
read_table(Reading *r, TakeRows take, EmbError *err)
{
	const EmbImportSteps *steps = r->writer->steps;

	for (int64_t row = 0; row < r->table->n_rows; row += r->block_rows)
	{
		int64_t		left = r->table->n_rows - row;
		int64_t		n = left < r->block_rows ? left : r->block_rows;
		EmbStatus	status;

		if (emb_should_stop(steps->stop))
			return emb_import_cancelled(err);
		emb_import_progress(steps, "read", r->done_rows, r->total_rows);
		if ((status = emb_weights_read_rows(r->weights, r->table, row, n, r->block, err)) != EMB_OK ||
			(status = take(r, row, n, err)) != EMB_OK)
			return status;
		r->done_rows += n;
	}
	emb_import_progress(steps, "read", r->done_rows, r->total_rows);
	return EMB_OK;
}

static void
keep_exact(Reading *r, int64_t row, int64_t n)
{
	EmbWords   *w = r->words;

	for (int64_t i = 0; i < n; i++)
	{
		if (w->kept[row + i] != NOT_KEPT)
			memcpy(w->exact + (size_t) w->kept[row + i] * w->hidden, r->block + i * w->hidden, w->hidden * sizeof(float));
	}
}

static EmbStatus
write_exact(Reading *r, int64_t row, int64_t n, EmbError *err)
{
	keep_exact(r, row, n);
	return emb_writer_put(r->writer, r->block, n * r->words->hidden * sizeof(float), err);
}

static EmbStatus
add_squares(Reading *r, int64_t row, int64_t n, EmbError *err)
{
	int32_t		hidden = r->words->hidden;

	keep_exact(r, row, n);
	for (int64_t i = 0; i < n; i++)
	{
		const float *x = r->block + i * hidden;

		for (int32_t k = 0; k < hidden; k++)
			r->sums[k] += (double) x[k] * x[k];
		if (!emb_work_spend(&r->work, 16 * (int64_t) hidden))
			return emb_import_cancelled(err);
	}
	return EMB_OK;
}

/*
 * factor[i] = root mean square of column i over all rows, at least 1/1024 of
 * the largest, because some models have a few columns much larger than the
 * others.
 */
static void
set_factors(Reading *r)
{
	EmbWords   *w = r->words;
	double		largest = 0;

	for (int32_t k = 0; k < w->hidden; k++)
	{
		r->sums[k] = sqrt(r->sums[k] / w->n_vocab);
		largest = r->sums[k] > largest ? r->sums[k] : largest;
	}
	for (int32_t k = 0; k < w->hidden; k++)
	{
		double		f = r->sums[k] > largest / 1024 ? r->sums[k] : largest / 1024;

		w->factors[k] = largest > 1e-30 ? (float) f : 1;
	}
}

static EmbStatus
overflow(EmbError *err)
{
	char		name[128];

	return emb_error(err, EMB_ERR_LIMIT, "the weights of %s are too large to quantize",
					 emb_tensor_name((EmbTensorKey) {EMB_NO_LAYER, EMB_PART_WORDS, EMB_TENSOR_TABLE}, name, sizeof(name)));
}

static EmbStatus
write_codes(Reading *r, int64_t row, int64_t n, EmbError *err)
{
	EmbWords   *w = r->words;

	for (int64_t i = 0; i < n; i++)
	{
		int8_t	   *codes = r->codes + i * w->hidden;
		float		scale = emb_quantize_row(r->block + i * w->hidden, w->factors, w->hidden, codes);
		int32_t		kept = w->kept[row + i];

		if (!isfinite(scale))
			return overflow(err);
		w->scales[row + i] = scale;
		if (kept != NOT_KEPT)
		{
			memcpy(w->codes + (size_t) kept * w->hidden, codes, w->hidden);
			w->kept_scales[kept] = scale;
		}
		if (!emb_work_spend(&r->work, 32 * (int64_t) w->hidden))
			return emb_import_cancelled(err);
	}
	return emb_writer_put(r->writer, r->codes, n * w->hidden, err);
}

/* ------------------------------------------------------------------ writing */

static const EmbImageTensor *
tensor(const EmbImageView *view, EmbTensorKind kind)
{
	return emb_image_find(view, EMB_NO_LAYER, EMB_PART_WORDS, kind);
}

/* The squares of all rows, then the codes; each reading takes all rows. */
static EmbStatus
write_quantized(Reading *r, const EmbImageView *view, EmbError *err)
{
	EmbWords   *w = r->words;
	EmbStatus	status;

	r->total_rows = 2 * (int64_t) r->table->n_rows;
	if ((status = read_table(r, add_squares, err)) != EMB_OK)
		return status;
	set_factors(r);
	if ((status = emb_writer_pad(r->writer, tensor(view, EMB_TENSOR_TABLE)->offset, err)) != EMB_OK ||
		(status = read_table(r, write_codes, err)) != EMB_OK ||
		(status = emb_writer_put_tensor(r->writer, tensor(view, EMB_TENSOR_SCALE), w->scales, err)) != EMB_OK ||
		(status = emb_writer_put_tensor(r->writer, tensor(view, EMB_TENSOR_FACTOR), w->factors, err)) != EMB_OK)
		return status;
	emb_image_place(view, tensor(view, EMB_TENSOR_TABLE), w->codes);
	emb_image_place(view, tensor(view, EMB_TENSOR_SCALE), w->kept_scales);
	emb_image_place(view, tensor(view, EMB_TENSOR_FACTOR), w->factors);
	return EMB_OK;
}

static EmbStatus
write_table(Reading *r, const EmbImageView *view, bool is_quantized, EmbError *err)
{
	EmbFpState	fp;
	EmbStatus	status;

	if (is_quantized)
	{
		fp = emb_fp_enter();
		status = emb_work_begin(&r->work, emb_kernels(), r->writer->steps->stop, &r->stopped)
			? write_quantized(r, view, err) : emb_import_cancelled(err);
		emb_fp_leave(fp);
		return status;
	}
	r->total_rows = r->table->n_rows;
	status = emb_writer_pad(r->writer, r->table->offset, err);
	return status == EMB_OK ? read_table(r, write_exact, err) : status;
}

EmbStatus
emb_words_write(EmbWords *w, EmbWeights *weights, EmbWriter *writer, const EmbImageView *exact,
				const EmbImageView *view, EmbError *err)
{
	bool		is_quantized = tensor(view, EMB_TENSOR_TABLE)->form != EMB_FORM_ROWS_F32;
	Reading		r = {.words = w, .weights = weights, .writer = writer, .table = tensor(exact, EMB_TENSOR_TABLE)};
	EmbStatus	status;

	r.block_rows = emb_weights_block_rows(r.table);
	r.block = emb_alloc_array(&w->mem, r.block_rows, w->hidden * sizeof(float));
	r.codes = emb_alloc_array(&w->mem, r.block_rows, w->hidden);
	r.sums = emb_alloc_zero(&w->mem, w->hidden, sizeof(double));
	if (r.block == NULL || r.codes == NULL || r.sums == NULL || !allocate_rows(w, is_quantized))
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory for word embeddings");
	else
		status = write_table(&r, view, is_quantized, err);
	if (status == EMB_OK)
		emb_image_place(exact, r.table, w->exact);
	emb_release(&w->mem, r.block);
	emb_release(&w->mem, r.codes);
	emb_release(&w->mem, r.sums);
	return status;
}
