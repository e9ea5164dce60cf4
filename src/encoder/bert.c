/*
 * bert.c
 *		BERT (Devlin et al. 2018; the layout of transformers' BertModel without
 *		its pooler): word, type and position embeddings and a layer norm; then
 *		for each layer
 *
 *			c = attention(x Wq, x Wk, x Wv)
 *			x = norm(c Wo + x)
 *			x = norm(act(x Wu) Wd + x)
 *
 * All rows of the batch go through a projection together; attention goes text
 * by text. From the attention's output on, rows go through the rest of the
 * layer in chunks, so that the wide FFN rows stay in the cache.
 */
#include <string.h>

#include "encoder/attention.h"
#include "encoder/encoder.h"
#include "encoder/pooling.h"

#define CHUNK_ROWS 128

typedef struct Pass
{
	const EmbBert *bert;
	const EmbBatch *batch;
	EmbWork		work;
	EmbAttention attention;
	EmbActivate activate;
	size_t		stride;			/* of x, q, k, v, sum: hidden rounded up to a panel */
	size_t		wide_stride;	/* of wide: intermediate rounded up to a panel */
	float	   *x;				/* [n_tokens, hidden] */
	float	   *q;				/* [n_tokens, hidden], then what attention makes of it */
	float	   *k;				/* [n_tokens, hidden] */
	float	   *v;				/* [n_tokens, hidden] */
	float	   *sum;			/* [CHUNK_ROWS, hidden] */
	float	   *wide;			/* [CHUNK_ROWS, intermediate] */
	bool		compact;		/* x, q hold only the first row of each text */
} Pass;

static size_t
round_up(int32_t n)
{
	return emb_pack_f32_panels(n) * EMB_PANEL;
}

/* Places the buffers from base on; returns the floats they take. */
static size_t
lay_out(Pass *pass, const EmbBert *bert, int32_t n_tokens, int32_t n_longest, float *base)
{
	size_t		n_chunk = n_tokens < CHUNK_ROWS ? n_tokens : CHUNK_ROWS;
	size_t		rows,
				sum,
				wide;

	pass->stride = round_up(bert->hidden);
	pass->wide_stride = round_up(bert->intermediate);
	rows = (size_t) n_tokens * pass->stride;
	sum = n_chunk * pass->stride;
	wide = n_chunk * pass->wide_stride;
	if (base != NULL)
	{
		pass->x = base;
		pass->q = pass->x + rows;
		pass->k = pass->q + rows;
		pass->v = pass->k + rows;
		pass->sum = pass->v + rows;
		pass->wide = pass->sum + sum;
		pass->attention = (EmbAttention) {
			.n_heads = bert->n_heads,
			.head_size = bert->hidden / bert->n_heads,
			.stride = pass->stride,
			.scratch = pass->wide + wide
		};
	}
	return 4 * rows + sum + wide + emb_attention_scratch_elems(bert->hidden / bert->n_heads, n_longest);
}

size_t
emb_encoder_bert_scratch_bytes(const EmbBert *bert, int32_t n_tokens, int32_t n_longest)
{
	Pass		pass;

	return lay_out(&pass, bert, n_tokens, n_longest, NULL) * sizeof(float);
}

static int32_t
seq_length(const EmbBatch *batch, int32_t seq)
{
	return batch->offsets[seq + 1] - batch->offsets[seq];
}

static EmbStatus
check_lengths(const EmbBert *bert, const EmbBatch *batch, int32_t *n_longest, EmbError *err)
{
	*n_longest = 0;
	if (batch->n_seqs < 0 || (batch->n_seqs > 0 && batch->offsets[0] != 0))
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "malformed batch of %d texts", (int) batch->n_seqs);
	for (int32_t seq = 0; seq < batch->n_seqs; seq++)
	{
		int64_t		n = (int64_t) batch->offsets[seq + 1] - batch->offsets[seq];

		if (n < 1 || n > bert->n_positions)
			return emb_error(err, EMB_ERR_INVALID_ARGUMENT,
							 "text %d of the batch has %lld tokens, the model takes 1 to %d",
							 (int) seq, (long long) n, (int) bert->n_positions);
		if (n > *n_longest)
			*n_longest = (int32_t) n;
	}
	return EMB_OK;
}

static EmbStatus
check_ids(const EmbBert *bert, const EmbBatch *batch, EmbError *err)
{
	int32_t		n_tokens = batch->offsets[batch->n_seqs];

	for (int32_t i = 0; i < n_tokens; i++)
	{
		if (batch->ids[i] < 0 || batch->ids[i] >= bert->n_vocab)
			return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "token id %d is outside the vocabulary of %d",
							 (int) batch->ids[i], (int) bert->n_vocab);
		if (batch->type_ids != NULL && (batch->type_ids[i] < 0 || batch->type_ids[i] >= bert->n_types))
			return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "token type %d is outside the %d types of the model",
							 (int) batch->type_ids[i], (int) bert->n_types);
	}
	return EMB_OK;
}

/* x = norm((word + type) + position) */
static bool
embed_tokens(Pass *pass)
{
	const EmbBert *bert = pass->bert;
	const EmbBatch *batch = pass->batch;
	const EmbKernels *kernels = pass->work.kernels;
	size_t		hidden = bert->hidden;

	for (int32_t seq = 0; seq < batch->n_seqs; seq++)
	{
		for (int32_t i = batch->offsets[seq]; i < batch->offsets[seq + 1]; i++)
		{
			size_t		type = batch->type_ids == NULL ? 0 : batch->type_ids[i];
			size_t		position = i - batch->offsets[seq];
			float	   *x = pass->x + i * pass->stride;

			memcpy(x, bert->word_embedding + batch->ids[i] * hidden, hidden * sizeof(float));
			kernels->add_f32(x, bert->type_embedding + type * hidden, bert->hidden);
			kernels->add_norm_f32(x, bert->position_embedding + position * hidden,
								  bert->embedding_norm.gamma, bert->embedding_norm.beta,
								  bert->ln_eps, bert->hidden, x);
			if (!emb_work_spend(&pass->work, 8 * (int64_t) hidden))
				return false;
		}
	}
	return true;
}

/* y = activate(x W^T + b), n_rows rows. */
static bool
project(Pass *pass, const EmbLinear *linear, int32_t n_rows, const float *x, size_t x_stride,
		EmbActivate activate, float *y, size_t y_stride)
{
	EmbGemmF32	g = {
		.n_rows = n_rows,
		.n_in = linear->n_in,
		.n_panels = (int32_t) emb_pack_f32_panels(linear->n_out),
		.a = x,
		.a_stride = x_stride,
		.b = linear->weight,
		.bias = linear->bias,
		.c = y,
		.c_stride = y_stride
	};

	return emb_work_multiply(&pass->work, &g, activate);
}

/* x = norm(sum + x) */
static bool
add_norm_rows(Pass *pass, const EmbLayerNorm *norm, int32_t n_rows, float *x)
{
	for (int32_t i = 0; i < n_rows; i++)
		pass->work.kernels->add_norm_f32(pass->sum + i * pass->stride, x + i * pass->stride,
										 norm->gamma, norm->beta, pass->bert->ln_eps,
										 pass->bert->hidden, x + i * pass->stride);
	return emb_work_spend(&pass->work, 8 * (int64_t) n_rows * pass->bert->hidden);
}

/*
 * Q, K and V of all rows. Where only the first row of each text is wanted
 * (the last layer under CLS pooling), x shrinks to these rows before Q: row
 * "seq" takes row offsets[seq], which is not before it.
 */
static bool
project_qkv(Pass *pass, const EmbBertLayer *layer)
{
	const EmbBatch *batch = pass->batch;
	int32_t		n_tokens = batch->offsets[batch->n_seqs];
	int32_t		n_queries = n_tokens;

	if (!project(pass, &layer->key, n_tokens, pass->x, pass->stride, NULL, pass->k, pass->stride) ||
		!project(pass, &layer->value, n_tokens, pass->x, pass->stride, NULL, pass->v, pass->stride))
		return false;
	if (pass->compact)
	{
		n_queries = batch->n_seqs;
		for (int32_t seq = 1; seq < batch->n_seqs; seq++)
			memmove(pass->x + seq * pass->stride, pass->x + batch->offsets[seq] * pass->stride,
					pass->bert->hidden * sizeof(float));
	}
	return project(pass, &layer->query, n_queries, pass->x, pass->stride, NULL, pass->q, pass->stride);
}

static bool
attend(Pass *pass)
{
	const EmbBatch *batch = pass->batch;

	for (int32_t seq = 0; seq < batch->n_seqs; seq++)
	{
		size_t		first = batch->offsets[seq] * pass->stride;
		float	   *q = pass->q + (pass->compact ? seq * pass->stride : first);
		int32_t		n_tokens = seq_length(batch, seq);

		if (!emb_attention_f32(&pass->work, &pass->attention, q, pass->compact ? 1 : n_tokens,
							   pass->k + first, pass->v + first, n_tokens, q))
			return false;
	}
	return true;
}

/* From the attention's output to the layer's, for a chunk of rows. */
static bool
finish_rows(Pass *pass, const EmbBertLayer *layer, int32_t first, int32_t n_rows)
{
	float	   *x = pass->x + first * pass->stride;
	const float *context = pass->q + first * pass->stride;

	return project(pass, &layer->attn_out, n_rows, context, pass->stride, NULL, pass->sum, pass->stride) &&
		add_norm_rows(pass, &layer->attn_norm, n_rows, x) &&
		project(pass, &layer->ffn_up, n_rows, x, pass->stride, pass->activate, pass->wide, pass->wide_stride) &&
		project(pass, &layer->ffn_down, n_rows, pass->wide, pass->wide_stride, NULL, pass->sum, pass->stride) &&
		add_norm_rows(pass, &layer->ffn_norm, n_rows, x);
}

static bool
run_layer(Pass *pass, const EmbBertLayer *layer)
{
	int64_t		n_rows = pass->compact ? pass->batch->n_seqs : pass->batch->offsets[pass->batch->n_seqs];
	int64_t		n_chunks = (n_rows - 1) / CHUNK_ROWS + 1;

	if (!project_qkv(pass, layer) || !attend(pass))
		return false;
	for (int64_t i = 0; i < n_chunks; i++)
	{
		int32_t		first = (int32_t) (n_rows * i / n_chunks);
		int32_t		end = (int32_t) (n_rows * (i + 1) / n_chunks);

		if (!finish_rows(pass, layer, first, end - first))
			return false;
	}
	return true;
}

static bool
run_layers(Pass *pass, EmbObserve observe, void *observe_ctx)
{
	const EmbBert *bert = pass->bert;

	if (!embed_tokens(pass))
		return false;
	if (observe != NULL)
		observe(observe_ctx, 0, pass->x, pass->stride);
	for (int32_t i = 0; i < bert->n_layers; i++)
	{
		pass->compact = i == bert->n_layers - 1 && bert->pooling == EMB_POOL_CLS && observe == NULL;
		if (!run_layer(pass, &bert->layers[i]))
			return false;
		if (observe != NULL)
			observe(observe_ctx, i + 1, pass->x, pass->stride);
	}
	return true;
}

/* Finite weights can still overflow: then there is no vector, on any level. */
static EmbStatus
pool(const Pass *pass, float *out, EmbError *err)
{
	const EmbBert *bert = pass->bert;
	const EmbKernels *kernels = pass->work.kernels;
	const EmbBatch *batch = pass->batch;

	for (int32_t seq = 0; seq < batch->n_seqs; seq++)
	{
		int32_t		first = pass->compact ? seq : batch->offsets[seq];
		float	   *vector = out + (size_t) seq * bert->hidden;

		emb_pool_rows(kernels, bert->pooling, pass->x + first * pass->stride, pass->stride,
					  seq_length(batch, seq), bert->hidden, vector);
		if (!emb_pool_is_finite(vector, bert->hidden) ||
			(bert->normalize && !emb_pool_normalize(kernels, vector, bert->hidden)))
			return emb_error(err, EMB_ERR_LIMIT,
							 "the model's weights overflow single precision: the result is not finite");
	}
	return EMB_OK;
}

static EmbActivate
activation_kernel(const EmbKernels *kernels, EmbActivation activation)
{
	switch (activation)
	{
		case EMB_ACT_GELU:
			return kernels->gelu_f32;
		case EMB_ACT_GELU_TANH:
			return kernels->gelu_tanh_f32;
		case EMB_ACT_RELU:
			return kernels->relu_f32;
	}
	return NULL;
}

static EmbStatus
run_checked(const EmbBert *bert, const EmbKernels *kernels, const EmbBatch *batch, int32_t n_longest,
			const EmbAllocator *mem, const EmbStop *stop,
			EmbObserve observe, void *observe_ctx, float *out, EmbError *err)
{
	int32_t		n_tokens = batch->offsets[batch->n_seqs];
	Pass		pass = {
		.bert = bert,
		.batch = batch,
		.activate = activation_kernel(kernels, bert->activation)
	};
	size_t		bytes = lay_out(&pass, bert, n_tokens, n_longest, NULL) * sizeof(float);
	float	   *scratch = emb_alloc(mem, bytes);
	EmbStatus	status;
	EmbFpState	fp;

	if (scratch == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory: %zu bytes for a batch of %d tokens",
						 bytes, (int) n_tokens);
	lay_out(&pass, bert, n_tokens, n_longest, scratch);
	fp = emb_fp_enter();
	if (emb_work_begin(&pass.work, kernels, stop) && run_layers(&pass, observe, observe_ctx))
		status = pool(&pass, out, err);
	else
		status = emb_error(err, EMB_ERR_CANCELLED, "stopped while embedding a batch of %d tokens", (int) n_tokens);
	emb_fp_leave(fp);
	emb_release(mem, scratch);
	return status;
}

EmbStatus
emb_encoder_bert_observed(const EmbBert *bert, const EmbKernels *kernels, const EmbBatch *batch,
						  const EmbAllocator *mem, const EmbStop *stop,
						  EmbObserve observe, void *observe_ctx, float *out, EmbError *err)
{
	int32_t		n_longest;
	EmbStatus	status = check_lengths(bert, batch, &n_longest, err);

	if (status != EMB_OK || batch->n_seqs == 0)
		return status;
	if (activation_kernel(kernels, bert->activation) == NULL)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "unknown activation %d", (int) bert->activation);
	status = check_ids(bert, batch, err);
	if (status != EMB_OK)
		return status;
	return run_checked(bert, kernels, batch, n_longest, mem, stop, observe, observe_ctx, out, err);
}

EmbStatus
emb_encoder_bert(const EmbBert *bert, const EmbKernels *kernels, const EmbBatch *batch,
				 const EmbAllocator *mem, const EmbStop *stop, float *out, EmbError *err)
{
	return emb_encoder_bert_observed(bert, kernels, batch, mem, stop, NULL, NULL, out, err);
}
