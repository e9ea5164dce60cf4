/*
 * layer_f32.c
 *		The steps of a BERT layer in fp32.
 */
#include "transformer/pass.h"

/* y = activate(x W^T + b), n_rows rows. */
static bool
project(EmbWork *work, const EmbLinear *linear, int32_t n_rows, const float *x, size_t x_stride,
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

	return emb_work_multiply(work, &g, activate);
}

static bool
project_qkv(EmbBertPass *pass, EmbBertWorker *w, int32_t layer, int32_t first, int32_t n_rows,
			bool keys_values, bool queries)
{
	const EmbBertLayer *l = &pass->bert->layers[layer];
	size_t		at = first * pass->stride;
	const float *x;

	if (!emb_bert_layer_input(pass, w, layer, first, n_rows, &x))
		return false;
	if (keys_values)
		emb_bert_observe(pass, EMB_OBSERVE_ATTN_IN, layer, first, n_rows, x, pass->stride);
	return (!keys_values ||
			(project(&w->work, &l->key, n_rows, x, pass->stride, NULL, pass->k + at, pass->stride) &&
			 emb_bert_rotate(pass, w, layer, first, n_rows, pass->k + at) &&
			 project(&w->work, &l->value, n_rows, x, pass->stride, NULL, pass->v + at, pass->stride))) &&
		(!queries ||
		 (project(&w->work, &l->query, n_rows, x, pass->stride, NULL, pass->q + at, pass->stride) &&
		  /* queries alone are those of first tokens, which no rotation turns */
		  (!keys_values || emb_bert_rotate(pass, w, layer, first, n_rows, pass->q + at))));
}

static bool
finish(EmbBertPass *pass, EmbBertWorker *w, int32_t layer, int32_t first, int32_t n_rows)
{
	const EmbBertLayer *l = &pass->bert->layers[layer];
	const EmbBert *bert = pass->bert;
	const float *x;
	const float *context = pass->context + first * pass->stride;

	emb_bert_observe(pass, EMB_OBSERVE_ATTN_CONTEXT, layer, first, n_rows, context, pass->stride);
	if (!project(&w->work, &l->attn_out, n_rows, context, pass->stride, NULL, w->sum, pass->stride) ||
		!(bert->norms_first ? emb_bert_add(pass, w, false, first, n_rows)
		  : emb_bert_add_norm(pass, w, &l->attn_norm, first, n_rows)) ||
		!emb_bert_norm_rows(pass, w, &l->ffn_norm, first, n_rows, &x))
		return false;
	emb_bert_observe(pass, EMB_OBSERVE_FFN_IN, layer, first, n_rows, x, pass->stride);
	if (!project(&w->work, &l->ffn_up, n_rows, x, pass->stride, bert->gated ? NULL : pass->activate, w->wide, pass->wide_stride) ||
		(bert->gated && !emb_bert_gate(pass, w, n_rows)))
		return false;
	emb_bert_observe(pass, EMB_OBSERVE_FFN_MID, layer, first, n_rows, w->wide, pass->wide_stride);
	return project(&w->work, &l->ffn_down, n_rows, w->wide, pass->wide_stride, NULL, w->sum, pass->stride) &&
		(bert->norms_first ? emb_bert_add(pass, w, layer == bert->n_layers - 1, first, n_rows)
		 : emb_bert_add_norm(pass, w, &l->ffn_norm, first, n_rows));
}

bool
emb_bert_attend_f32(EmbBertPass *pass, EmbBertWorker *w, int32_t seq, int32_t head, int32_t first, int32_t n_queries)
{
	int32_t		head_size = pass->bert->hidden / pass->bert->n_heads;
	const int32_t *offsets = pass->batch->offsets;
	size_t		column = (size_t) head * head_size;
	size_t		rows = offsets[seq] * pass->stride + column;
	float	   *q = pass->q + emb_bert_query_row(pass, seq, first) * pass->stride + column;
	EmbAttention a = {
		.head_size = head_size,
		.stride = pass->stride,
		.q = q,
		.n_queries = n_queries,
		.k = pass->k + rows,
		.v = pass->v + rows,
		.n_tokens = offsets[seq + 1] - offsets[seq],
		.bias = emb_bert_head_bias(pass, head),
		.first = first,
		.window = emb_bert_window(pass),
		.out = q,
		.scratch = w->attention
	};

	return emb_attention_f32(&w->work, &a);
}

const EmbBertSteps emb_bert_steps_f32 = {project_qkv, finish, emb_bert_attend_f32};
