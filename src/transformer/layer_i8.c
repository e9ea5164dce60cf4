/*
 * layer_i8.c
 *		The steps of a BERT layer in int8: linear layers on integers, the
 *		residual stream and the norms in fp32.
 *
 * A linear layer's input is quantized row by row when it is needed, with the
 * smoothing factors on the way; its product is scaled back in the kernel. The
 * row that a norm leaves is still in the first-level cache then.
 */
#include <string.h>

#include "transformer/pass.h"

/* The zero point of quantized queries, as attend_i8 wants it. */
#define EMB_I8_ZERO 128

/*
 * n columns of rows of x, times factor (or NULL), each row with its own scale
 * and zero point: an activation is mostly above 0, and outliers of the others
 * lie to one side. (With zero point 128 for all but FFN-down the five models
 * of the golden tests lost 5 to 25 % more of their cosine.)
 */
static bool
quantize_rows(EmbBertPass *pass, EmbBertWorker *w, const float *x, size_t x_stride, const float *factor,
			  int32_t n, int32_t n_rows, uint8_t *q, size_t q_stride)
{
	for (int32_t i = 0; i < n_rows; i++)
		w->scales[i] = pass->kernels->quantize_u8(x + i * x_stride, factor, n, (int32_t) q_stride,
												  q + i * q_stride, &w->zeros[i]);
	return emb_work_spend(&w->work, 4 * (int64_t) n_rows * n);
}

/* Rows of x to the worker's q_in. */
static bool
quantize_hidden(EmbBertPass *pass, EmbBertWorker *w, const float *x, const float *factor, int32_t n_rows)
{
	return quantize_rows(pass, w, x, pass->stride, factor, pass->bert->hidden, n_rows, w->q_in, pass->q_stride);
}

/* x W^T + b of quantized rows. */
static EmbGemmI8
product(const EmbBertWorker *w, const EmbLinearI8 *linear, int32_t n_rows, const uint8_t *x, size_t x_stride,
		float *y, size_t y_stride)
{
	return (EmbGemmI8) {
		.n_rows = n_rows,
		.n_groups = (int32_t) (x_stride / 4),
		.n_panels = (int32_t) emb_pack_f32_panels(linear->n_out),
		.a = x,
		.a_stride = x_stride,
		.a_scale = w->scales,
		.a_zero = w->zeros,
		.b = linear->weight,
		.b_scale = linear->scale,
		.b_sums = linear->sums,
		.bias = linear->bias,
		.c = y,
		.c_stride = y_stride
	};
}

static bool
project(EmbBertWorker *w, const EmbLinearI8 *linear, int32_t n_rows, const uint8_t *x, size_t x_stride,
		float *y, size_t y_stride)
{
	EmbGemmI8	g = product(w, linear, n_rows, x, x_stride, y, y_stride);

	return emb_work_multiply_i8(&w->work, &g);
}

static EmbActKind
act_kind(EmbActivation activation)
{
	switch (activation)
	{
		case EMB_ACT_GELU:
			return EMB_ACT_KIND_GELU;
		case EMB_ACT_GELU_TANH:
			return EMB_ACT_KIND_GELU_TANH;
		case EMB_ACT_RELU:
			return EMB_ACT_KIND_RELU;
		case EMB_ACT_SILU:		/* behind gates, which are activated apart */
		case EMB_ACT_TANH:		/* of heads */
			break;
	}
	return EMB_ACT_KIND_NONE;
}

/*
 * One of query, key, value: the product of quantized rows, and at once its
 * codes for attention; rotated as of this layer, or with -1 not.
 */
static bool
project_heads(EmbBertPass *pass, EmbBertWorker *w, const EmbLinearI8 *linear, int32_t zero, int32_t rotated_layer,
			  int32_t first, int32_t n_rows, const EmbBertHeads *heads)
{
	const EmbBert *bert = pass->bert;
	int32_t		n_tokens = pass->batch->offsets[pass->batch->n_seqs];

	if (!project(w, linear, n_rows, w->q_in, pass->q_stride, w->sum, pass->stride) ||
		(rotated_layer >= 0 && !emb_bert_rotate(pass, w, rotated_layer, first, n_rows, w->sum)))
		return false;
	for (int32_t i = 0; i < n_rows; i++)
		pass->kernels->quantize_heads(w->sum + i * pass->stride, bert->n_heads, bert->hidden / bert->n_heads, zero,
									  heads->codes + (first + i) * pass->heads_stride, heads->scales + first + i,
									  n_tokens);
	return emb_work_spend(&w->work, 4 * (int64_t) n_rows * bert->hidden);
}

/* For attention in fp32. */
static bool
project_qkv_exact(EmbBertPass *pass, EmbBertWorker *w, int32_t layer, int32_t first, int32_t n_rows,
				  bool keys_values, bool queries)
{
	const EmbBertLayerI8 *l = &pass->bert->layers_i8[layer];
	size_t		at = first * pass->stride;
	const float *x;

	return emb_bert_layer_input(pass, w, layer, first, n_rows, &x) &&
		quantize_hidden(pass, w, x, l->attn_in_factor, n_rows) &&
		(!keys_values ||
		 (project(w, &l->key, n_rows, w->q_in, pass->q_stride, pass->k + at, pass->stride) &&
		  emb_bert_rotate(pass, w, layer, first, n_rows, pass->k + at) &&
		  project(w, &l->value, n_rows, w->q_in, pass->q_stride, pass->v + at, pass->stride))) &&
		(!queries ||
		 (project(w, &l->query, n_rows, w->q_in, pass->q_stride, pass->q + at, pass->stride) &&
		  (!keys_values || emb_bert_rotate(pass, w, layer, first, n_rows, pass->q + at))));
}

static bool
project_qkv(EmbBertPass *pass, EmbBertWorker *w, int32_t layer, int32_t first, int32_t n_rows,
			bool keys_values, bool queries)
{
	const EmbBertLayerI8 *l = &pass->bert->layers_i8[layer];
	const float *x;

	if (emb_bert_attends_exactly(pass->bert, layer))
		return project_qkv_exact(pass, w, layer, first, n_rows, keys_values, queries);
	/* queries alone are those of first tokens, which no rotation turns */
	return emb_bert_layer_input(pass, w, layer, first, n_rows, &x) &&
		quantize_hidden(pass, w, x, l->attn_in_factor, n_rows) &&
		(!keys_values ||
		 (project_heads(pass, w, &l->key, 0, layer, first, n_rows, &pass->k_heads) &&
		  project_heads(pass, w, &l->value, 0, -1, first, n_rows, &pass->v_heads))) &&
		(!queries || project_heads(pass, w, &l->query, EMB_I8_ZERO, keys_values ? layer : -1, first, n_rows, &pass->q_heads));
}

static bool
attend(EmbBertPass *pass, EmbBertWorker *w, int32_t seq, int32_t head, int32_t first, int32_t n_queries)
{
	const int32_t *offsets = pass->batch->offsets;
	int32_t		head_size = pass->bert->hidden / pass->bert->n_heads;
	size_t		column = head * (pass->heads_stride / pass->bert->n_heads);
	size_t		query = emb_bert_query_row(pass, seq, first);
	size_t		codes = offsets[seq] * pass->heads_stride + column;
	size_t		scales = (size_t) head * offsets[pass->batch->n_seqs];
	EmbAttentionI8 a = {
		.head_size = head_size,
		.q = pass->q_heads.codes + query * pass->heads_stride + column,
		.q_scales = pass->q_heads.scales + scales + query,
		.n_queries = n_queries,
		.k = (const int8_t *) pass->k_heads.codes + codes,
		.v = (const int8_t *) pass->v_heads.codes + codes,
		.k_scales = pass->k_heads.scales + scales + offsets[seq],
		.v_scales = pass->v_heads.scales + scales + offsets[seq],
		.n_tokens = offsets[seq + 1] - offsets[seq],
		.bias = emb_bert_head_bias(pass, head),
		.first = first,
		.window = emb_bert_window(pass),
		.stride = pass->heads_stride,
		.out = pass->context + query * pass->stride + (size_t) head * head_size,
		.out_stride = pass->stride,
		.scratch = w->attention
	};

	if (emb_bert_attends_exactly(pass->bert, pass->layer))
		return emb_bert_attend_f32(pass, w, seq, head, first, n_queries);
	return emb_attention_i8(&w->work, &a);
}

/*
 * The worker's q_wide from its q_in. The product leaves the rows' ranges, so
 * quantizing them is one pass over wide, which is the largest of all buffers.
 */
static bool
widen(EmbBertPass *pass, EmbBertWorker *w, const EmbBertLayerI8 *l, int32_t n_rows)
{
	int32_t		n = pass->bert->intermediate;
	EmbGemmI8	g = product(w, &l->ffn_up, n_rows, w->q_in, pass->q_stride, w->wide, pass->wide_stride);

	if (pass->bert->gated)
		return emb_work_multiply_i8(&w->work, &g) && emb_bert_gate(pass, w, n_rows) &&
			quantize_rows(pass, w, w->wide, pass->wide_stride, l->ffn_mid_factor, n, n_rows, w->q_wide, pass->q_wide_stride);
	g.act = act_kind(pass->bert->activation);
	if (n % EMB_PANEL != 0)
		/* the factors do not reach to the end of the last panel */
		return emb_work_multiply_i8(&w->work, &g) &&
			quantize_rows(pass, w, w->wide, pass->wide_stride, l->ffn_mid_factor, n, n_rows, w->q_wide, pass->q_wide_stride);
	g.factor = l->ffn_mid_factor;
	g.range = w->ranges;
	memset(w->ranges, 0, n_rows * EMB_RANGE * sizeof(float));
	if (!emb_work_multiply_i8(&w->work, &g))
		return false;
	for (int32_t i = 0; i < n_rows; i++)
		w->scales[i] = pass->kernels->quantize_range_u8(w->wide + i * pass->wide_stride, w->ranges + i * EMB_RANGE, n,
														(int32_t) pass->q_wide_stride,
														w->q_wide + i * pass->q_wide_stride, &w->zeros[i]);
	return emb_work_spend(&w->work, 2 * (int64_t) n_rows * n);
}

static bool
finish(EmbBertPass *pass, EmbBertWorker *w, int32_t layer, int32_t first, int32_t n_rows)
{
	const EmbBertLayerI8 *l = &pass->bert->layers_i8[layer];
	const EmbBert *bert = pass->bert;
	const float *x;
	const float *context = pass->context + first * pass->stride;

	return quantize_hidden(pass, w, context, NULL, n_rows) &&
		project(w, &l->attn_out, n_rows, w->q_in, pass->q_stride, w->sum, pass->stride) &&
		(bert->norms_first ? emb_bert_add(pass, w, false, first, n_rows)
		 : emb_bert_add_norm(pass, w, &l->attn_norm, first, n_rows)) &&
		emb_bert_norm_rows(pass, w, &l->ffn_norm, first, n_rows, &x) &&
		quantize_hidden(pass, w, x, l->ffn_in_factor, n_rows) &&
		widen(pass, w, l, n_rows) &&
		project(w, &l->ffn_down, n_rows, w->q_wide, pass->q_wide_stride, w->sum, pass->stride) &&
		(bert->norms_first ? emb_bert_add(pass, w, layer == bert->n_layers - 1, first, n_rows)
		 : emb_bert_add_norm(pass, w, &l->ffn_norm, first, n_rows));
}

const EmbBertSteps emb_bert_steps_i8 = {project_qkv, finish, attend};
