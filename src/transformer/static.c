/*
 * static.c
 *		A static model: a transformer without layers.
 */
#include "transformer/static.h"

#include <string.h>

#include "transformer/pooling.h"
#include "transformer/work.h"

/* Elements per step of a vectorized loop: a constant helps the compiler. */
#define BLOCK	16

/*
 * y += byte * scale, with product and sum rounded: the bits cannot depend on
 * the vectorization.
 */
static void
add_bytes(const int8_t *restrict bytes, float scale, int32_t n, float *restrict y)
{
	int32_t		i = 0;

	for (; i + BLOCK <= n; i += BLOCK)
	{
		for (int32_t k = 0; k < BLOCK; k++)
			y[i + k] += (float) bytes[i + k] * scale;
	}
	for (; i < n; i++)
		y[i] += (float) bytes[i] * scale;
}

/* y += row; for s8 rows without the columns' factors, which all rows share. */
static void
add_row(const EmbTable *table, const EmbKernels *kernels, size_t row, int32_t n, float *y)
{
	if (table->rows_f32 != NULL)
		kernels->add_f32(y, table->rows_f32 + row * n, n);
	else
		add_bytes(table->rows_i8 + row * n, table->scales[row], n, y);
}

static EmbStatus
average_tokens(const EmbTransformer *transformer, EmbWork *work, const int32_t *ids, int32_t n_ids, float *vector, EmbError *err)
{
	const EmbTable *table = &transformer->word_embedding;
	int32_t		n = transformer->arch->hidden;

	memset(vector, 0, n * sizeof(float));
	for (int32_t i = 0; i < n_ids; i++)
	{
		if (ids[i] < 0 || ids[i] >= transformer->arch->n_vocab)
			return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "token id %d is outside the vocabulary of %d", (int) ids[i], (int) transformer->arch->n_vocab);
		add_row(table, work->kernels, ids[i], n, vector);
		if (!emb_work_spend(work, 8 * (int64_t) n))
			return emb_error(err, EMB_ERR_CANCELLED, "stopped in a text of %d tokens", (int) n_ids);
	}
	for (int32_t i = 0; table->rows_i8 != NULL && i < n; i++)
		vector[i] *= table->factors[i];
	if (n_ids > 0)
		work->kernels->div_f32(vector, n, (float) n_ids);
	if (!emb_pool_is_finite(vector, n) || (emb_arch_normalizes_pooled(transformer->arch) && !emb_pool_normalize(work->kernels, vector, n)))
		return emb_error(err, EMB_ERR_LIMIT, "the model's weights overflow single precision: the result is not finite");
	return EMB_OK;
}

EmbStatus
emb_transformer_run_static(const EmbTransformer *transformer, const EmbKernels *kernels, const EmbBatch *batch,
				   const EmbStop *stop, float *out, EmbError *err)
{
	_Atomic bool stopped = false;
	EmbStatus	status = EMB_OK;
	EmbWork		work;
	EmbFpState	fp = emb_fp_enter();

	if (!emb_work_begin(&work, kernels, stop, &stopped))
		status = emb_error(err, EMB_ERR_CANCELLED, "stopped before a batch of %d texts", (int) batch->n_seqs);
	for (int32_t seq = 0; status == EMB_OK && seq < batch->n_seqs; seq++)
		status = average_tokens(transformer, &work, batch->ids + batch->offsets[seq], batch->offsets[seq + 1] - batch->offsets[seq],
							out + (size_t) seq * transformer->arch->hidden, err);
	emb_fp_leave(fp);
	return status;
}
