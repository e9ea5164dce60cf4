/*
 * layer.c
 *		The steps of a layer: norms, heads and residuals around its linear
 *		layers.
 *
 * Residual stream and norms are fp32.
 */
#include "transformer/experts.h"

/* The zero point of quantized queries, as attend_i8 requires. */
#define QUERY_ZERO	128

static EmbBlock
block_of(EmbPass *pass, EmbWorker *w, int32_t layer, int32_t first, int32_t n_rows)
{
	return (EmbBlock) {pass, w, &pass->transformer->layers[layer], layer, first, n_rows};
}

/* ------------------------------------------------------------ kinds of layers */

typedef bool (*LinearTest) (const EmbLinear *linear);

/* Whether any linear layer passes a test. */
static bool
any_linear(const EmbTransformer *transformer, LinearTest test)
{
	for (int32_t i = 0; i < transformer->arch->n_layers; i++)
	{
		const EmbLayer *l = &transformer->layers[i];

		if (test(&l->query) || test(&l->key) || test(&l->value) || test(&l->attn_out) || test(&l->ffn_up) || test(&l->ffn_down))
			return true;
		for (int32_t e = 0; l->experts != NULL && e < transformer->arch->n_experts; e++)
		{
			if (test(&l->experts[e].up) || test(&l->experts[e].down))
				return true;
		}
	}
	return false;
}

static bool
is_quantized(const EmbLinear *linear)
{
	return linear->form != EMB_LINEAR_F32;
}

static bool
has_groups(const EmbLinear *linear)
{
	return linear->form == EMB_LINEAR_GROUPED;
}

static bool
has_order(const EmbLinear *linear)
{
	return emb_linear_order(linear) != NULL;
}

bool
emb_layers_quantize(const EmbTransformer *transformer)
{
	return any_linear(transformer, is_quantized);
}

bool
emb_layers_have_groups(const EmbTransformer *transformer)
{
	return any_linear(transformer, has_groups);
}

bool
emb_layers_reorder(const EmbTransformer *transformer)
{
	return any_linear(transformer, has_order);
}

/* An input with the width of the residual stream, and the input of attn_out. */
static EmbInput
hidden_input(const EmbBlock *c, const float *rows)
{
	return (EmbInput) {rows, c->pass->stride, c->w->q_in, c->pass->q_stride};
}

static EmbInput
context_input(const EmbBlock *c)
{
	return (EmbInput) {c->pass->context + (c->first - c->pass->segment) * c->pass->context_stride, c->pass->context_stride, c->w->q_in, c->pass->q_context_stride};
}

/* ------------------------------------------------------- norms and residuals */

/* The input of a linear layer, and whether a norm has prepared it. */
typedef struct NormedInput
{
	EmbInput	in;
	bool		is_prepared;
} NormedInput;

/* y = norm(x + residual) of the block's rows, prepared for next unless it is NULL. */
static EmbNormRows
norm_of_block(const EmbBlock *c, const float *x, const float *residual, const EmbLayerNorm *norm, float *y)
{
	size_t		stride = c->pass->stride;

	return (EmbNormRows) {
		.n_rows = c->n_rows, .n = c->pass->arch->hidden, .x = x, .x_stride = stride, .residual = residual,
		.residual_stride = stride, .gamma = norm->gamma, .beta = norm->beta, .eps = c->pass->arch->norm_eps, .y = y,
		.y_stride = stride
	};
}

/*
 * The input of linear (NULL: it is not prepared) after a norm: rows of x, normed unless the norm comes
 * after the sum, where the sum's norm may have prepared them.
 */
static bool
norm_rows(const EmbBlock *c, const EmbLayerNorm *norm, const EmbLinear *linear, bool is_prepared, NormedInput *result)
{
	EmbPass    *pass = c->pass;
	const EmbArch *arch = pass->arch;
	const float *x = pass->x + c->first * pass->stride;

	*result = (NormedInput) {hidden_input(c, x), is_prepared};
	if (arch->norm_place == EMB_NORM_POST)
		return true;
	result->in.rows = c->w->normed;
	if (linear != NULL && emb_linear_is_prepared_by_norm(pass, linear))
	{
		EmbNormRows rows = norm_of_block(c, x, NULL, norm, c->w->normed);

		result->is_prepared = true;
		return emb_linear_norm(c, &rows, linear, &result->in);
	}
	for (int32_t i = 0; i < c->n_rows; i++)
		emb_pass_add_norm(pass, x + i * pass->stride, NULL, norm, c->w->normed + i * pass->stride);
	return emb_work_spend(&c->w->work, 8 * (int64_t) c->n_rows * arch->hidden);
}

/*
 * x = norm(sum + x), prepared for next unless next is NULL, or x += sum without a norm; sum itself is
 * normed before, if there is an end_norm.
 */
static bool
add_rows(const EmbBlock *c, const EmbLayerNorm *end_norm, const EmbLayerNorm *norm, const EmbLinear *next)
{
	EmbPass    *pass = c->pass;
	const EmbArch *arch = pass->arch;
	float	   *x = pass->x + c->first * pass->stride;
	bool		is_fused = norm != NULL && arch->norm_kind == EMB_NORM_LAYER;

	for (int32_t i = 0; i < c->n_rows; i++)
	{
		float	   *sum = c->w->sum + i * pass->stride;

		if (end_norm->gamma != NULL)
			emb_pass_add_norm(pass, sum, NULL, end_norm, sum);
		if (is_fused)
			continue;
		if (norm != NULL)
			emb_pass_add_norm(pass, sum, x + i * pass->stride, norm, x + i * pass->stride);
		else
			pass->kernels->add_f32(x + i * pass->stride, sum, arch->hidden);
	}
	if (is_fused)
	{
		EmbNormRows rows = norm_of_block(c, c->w->sum, x, norm, x);
		EmbInput	in = hidden_input(c, x);

		return emb_linear_norm(c, &rows, next, &in);
	}
	return emb_work_spend(&c->w->work, 8 * (int64_t) c->n_rows * arch->hidden);
}

/* w->sum = norm(w->sum + x), the input of another sum. */
static bool
norm_sum(const EmbBlock *c, const EmbLayerNorm *norm)
{
	EmbPass    *pass = c->pass;

	for (int32_t i = 0; i < c->n_rows; i++)
	{
		float	   *sum = c->w->sum + i * pass->stride;

		emb_pass_add_norm(pass, sum, pass->x + (c->first + i) * pass->stride, norm, sum);
	}
	return emb_work_spend(&c->w->work, 8 * (int64_t) c->n_rows * pass->arch->hidden);
}

/*
 * The norm after half of a layer: the layer's own in post-norm models, the
 * final norm at the end of the others.
 */
static const EmbLayerNorm *
norm_after(const EmbBlock *c, const EmbLayerNorm *own, bool is_end)
{
	if (c->pass->arch->norm_place == EMB_NORM_POST)
		return own;
	return is_end ? &c->pass->transformer->final_norm : NULL;
}

/* linear, if the norm of the sum before it prepares its input, else NULL. */
static const EmbLinear *
prepared_after_sum(const EmbPass *pass, const EmbLinear *linear)
{
	return pass->arch->norm_place == EMB_NORM_POST && emb_linear_is_prepared_by_norm(pass, linear) ? linear : NULL;
}

/* --------------------------------------------------------- queries, keys, values */

/* Rows of queries, keys or values that a worker makes. */
typedef struct Heads
{
	float	   *rows;			/* of the block's first row on, [n, head_size] each */
	size_t		stride;
	int32_t		n;				/* heads */
	bool		compact;		/* row i belongs to text i */
} Heads;

/* Applies RoPE to the heads of the block's rows at their tokens' positions. */
static bool
rotate(const EmbBlock *c, const Heads *heads)
{
	const EmbPass *pass = c->pass;
	const EmbArch *arch = pass->arch;
	const EmbBatch *batch = pass->batch;
	const float *table = emb_arch_is_local(arch, c->layer) ? pass->transformer->rotary_local : pass->transformer->rotary;
	int32_t		seq = heads->compact ? c->first : emb_pass_seq_of_row(batch, c->first);

	if (table == NULL)
		return true;
	for (int32_t i = c->first; i < c->first + c->n_rows; i++)
	{
		size_t		position;

		if (heads->compact)
			position = emb_pass_prefix(pass) + emb_pass_pooled_row(pass, i);
		else
		{
			while (i >= batch->offsets[seq + 1])
				seq++;
			position = emb_pass_prefix(pass) + i - batch->offsets[seq];
		}
		pass->kernels->rotate_f32(table + position * arch->head_size, heads->n, arch->head_size, heads->rows + (i - c->first) * heads->stride);
	}
	return emb_work_spend(&c->w->work, 4 * (int64_t) c->n_rows * heads->n * arch->head_size);
}

/* The norm of queries or keys, if the model has one. */
static bool
norm_heads(const EmbBlock *c, const EmbLayerNorm *norm, const Heads *heads)
{
	const EmbArch *arch = c->pass->arch;

	if (norm == NULL || norm->gamma == NULL)
		return true;
	for (int32_t i = 0; i < c->n_rows; i++)
	{
		float	   *head = heads->rows + i * heads->stride;

		if (arch->has_qk_norm == EMB_QK_NORM_ROWS)
		{
			c->pass->kernels->add_norm_f32(head, NULL, norm->gamma, norm->beta, arch->norm_eps, heads->n * arch->head_size, head);
			continue;
		}
		for (int32_t k = 0; k < heads->n; k++, head += arch->head_size)
			c->pass->kernels->rms_norm_f32(head, norm->gamma, arch->norm_eps, arch->head_size, head);
	}
	return emb_work_spend(&c->w->work, 8 * (int64_t) c->n_rows * heads->n * arch->head_size);
}

/*
 * Attention of fp32 layers is fp32. So is attention in the first layer of a
 * model with a sliding window, because its error passes through all other
 * layers without a norm to damp it. Measured on the most sensitive tiny model
 * (16 texts): int8 everywhere lowers the cosine from 0.9979 to 0.9973, and the
 * worst cosine from 0.993 to 0.990; int8 in all layers except the first has
 * 0.9979 and 0.994. Disentangled attention is computed in fp32 only.
 */
bool
emb_layer_attends_f32(const EmbTransformer *transformer, int32_t layer)
{
	return transformer->layers[layer].query.form == EMB_LINEAR_F32 || (transformer->arch->window > 0 && layer == 0) ||
		transformer->arch->relative_span > 0;
}

bool
emb_layers_attend_f32(const EmbTransformer *transformer)
{
	for (int32_t i = 0; i < transformer->arch->n_layers; i++)
	{
		if (emb_layer_attends_f32(transformer, i))
			return true;
	}
	return false;
}

bool
emb_layers_attend_i8(const EmbTransformer *transformer)
{
	for (int32_t i = 0; i < transformer->arch->n_layers; i++)
	{
		if (!emb_layer_attends_f32(transformer, i))
			return true;
	}
	return false;
}

/* The heads of queries, keys or values in rows: the product, the norm, the rotation. */
static bool
project_heads(const EmbBlock *c, const EmbLinear *linear, const EmbLayerNorm *norm, bool is_rotated, const EmbInput *in, const Heads *heads)
{
	return emb_linear_multiply(c, linear, in, false, heads->rows, heads->stride) && norm_heads(c, norm, heads) &&
		(!is_rotated || rotate(c, heads));
}

/* The same as codes for int8 attention, from a row of codes on. */
static bool
project_codes(const EmbBlock *c, const EmbLinear *linear, const EmbLayerNorm *norm, bool is_rotated, const EmbInput *in,
			  bool compact, int32_t zero, const EmbHeadCodes *codes, size_t row)
{
	EmbPass    *pass = c->pass;
	int32_t		head_size = pass->arch->head_size;
	Heads		heads = {c->w->sum, emb_round_up(linear->n_out, EMB_PANEL), codes->n_heads, compact};

	if (!project_heads(c, linear, norm, is_rotated, in, &heads))
		return false;
	for (int32_t i = 0; i < c->n_rows; i++)
		pass->kernels->quantize_heads(heads.rows + i * heads.stride, heads.n, head_size, zero,
									  codes->codes + (row + i) * codes->stride, codes->scales + row + i,
									  codes->scale_stride);
	return emb_work_spend(&c->w->work, 4 * (int64_t) c->n_rows * linear->n_out);
}

static bool
project_keys(const EmbBlock *c, const EmbInput *in)
{
	const EmbPass *pass = c->pass;
	const EmbLayer *l = c->l;
	const EmbKeysValues *keys = emb_pass_keys(pass, c->layer);
	size_t		row = emb_pass_first_key(pass) + c->first;
	size_t		at = row * pass->key_stride;
	int32_t		n = pass->arch->n_kv_heads;

	if (emb_layer_attends_f32(pass->transformer, c->layer))
		return project_heads(c, &l->key, &l->key_norm, true, in, &(Heads) {keys->k + at, pass->key_stride, n, false}) &&
			project_heads(c, &l->value, NULL, false, in, &(Heads) {keys->v + at, pass->key_stride, n, false});
	return project_codes(c, &l->key, &l->key_norm, true, in, false, 0, &keys->k_heads, row) &&
		project_codes(c, &l->value, NULL, false, in, false, 0, &keys->v_heads, row);
}

static bool
project_queries(const EmbBlock *c, const EmbInput *in, bool compact)
{
	const EmbPass *pass = c->pass;
	const EmbLayer *l = c->l;
	float	   *rows = pass->q + c->first * pass->context_stride;

	if (emb_layer_attends_f32(pass->transformer, c->layer))
		return project_heads(c, &l->query, &l->query_norm, true, in,
							 &(Heads) {rows, pass->context_stride, pass->arch->n_heads, compact});
	return project_codes(c, &l->query, &l->query_norm, true, in, compact, QUERY_ZERO, &pass->q_heads, c->first);
}

bool
emb_layer_project(EmbPass *pass, EmbWorker *w, int32_t layer, int32_t first, int32_t n_rows, bool is_finished,
				  bool keys_values, bool queries)
{
	EmbBlock	c = block_of(pass, w, layer, first, n_rows);
	const EmbLayer *l = c.l;
	NormedInput input = {hidden_input(&c, pass->x + first * pass->stride), false};
	EmbInput   *in = &input.in;

	if ((layer > 0 || pass->arch->has_first_norm) &&
		!norm_rows(&c, &l->attn_norm, &l->query, is_finished && prepared_after_sum(pass, &l->query) != NULL, &input))
		return false;
	if (keys_values)
		emb_pass_observe(pass, EMB_OBSERVE_ATTN_IN, layer, first, n_rows, in->rows, pass->stride);
	/* queries without keys belong to a compact pass */
	return (input.is_prepared || emb_linear_prepare(&c, &l->query, in)) &&
		(!keys_values || project_keys(&c, in)) &&
		(!queries || project_queries(&c, in, !keys_values));
}

/* ---------------------------------------------------------------- attention */

/* The first query's token in its text, prefix included. */
static int32_t
query_token(const EmbPass *pass, int32_t seq, int32_t first)
{
	return emb_pass_prefix(pass) + (emb_pass_is_compact(pass) ? emb_pass_pooled_row(pass, seq) : first);
}

static bool
attend_f32(EmbPass *pass, EmbWorker *w, int32_t seq, int32_t key_head, int32_t first, int32_t n_queries)
{
	int32_t		head_size = pass->arch->head_size;
	int32_t		head = key_head * emb_arch_group(pass->arch);
	const int32_t *offsets = pass->batch->offsets;
	const EmbKeysValues *keys = emb_pass_keys(pass, pass->layer);
	size_t		column = (size_t) key_head * head_size;
	size_t		rows = (size_t) (emb_pass_first_key(pass) + offsets[seq]) * pass->key_stride + column;
	float	   *q = pass->q + emb_pass_query_row(pass, seq, first) * pass->context_stride + (size_t) head * head_size;
	EmbAttention a = {
		.head_size = head_size,
		.n_heads = emb_arch_group(pass->arch),
		.q = q,
		.stride = pass->context_stride,
		.n_queries = n_queries,
		.n_prefix = emb_pass_prefix(pass),
		.k = keys->k + rows,
		.v = keys->v + rows,
		.key_stride = pass->key_stride,
		.n_tokens = emb_pass_n_seen(pass, seq),
		.n_unseen = offsets[seq + 1] - offsets[seq] - emb_pass_n_seen(pass, seq),
		.bias = emb_pass_head_bias(pass, head),
		.slope = (pass->arch->positions & EMB_POSITIONS_ALIBI) != 0 ? emb_arch_slope(pass->arch, head) : 0,
		.first = query_token(pass, seq, first),
		.window = emb_pass_window(pass),
		.is_causal = pass->arch->is_causal != 0,
		.out = q,
		.scratch = w->attention
	};

	if (pass->arch->relative_span > 0)
	{
		const EmbLayer *layer = &pass->transformer->layers[pass->layer];

		a.arch = pass->arch;
		a.buckets = pass->transformer->buckets;
		a.relative_keys = layer->relative_keys + column;
		a.relative_queries = layer->relative_queries + column;
		a.relative_stride = emb_arch_query_width(pass->arch);
	}
	if (a.n_prefix > 0)
	{
		a.prefix_k = pass->batch->prefix->layers[pass->layer].k + column;
		a.prefix_v = pass->batch->prefix->layers[pass->layer].v + column;
	}
	return emb_attention_f32(&w->work, &a);
}

/* Keys and values of a key head, from a token on. */
static EmbHeadRowsI8
head_rows(const EmbPass *pass, const EmbKeysValues *keys, int32_t key_head, size_t first)
{
	const EmbHeadCodes *k = &keys->k_heads;
	const EmbHeadCodes *v = &keys->v_heads;
	size_t		column = key_head * emb_round_up(pass->arch->head_size, EMB_GROUP);

	return (EmbHeadRowsI8) {
		.k = (const int8_t *) k->codes + first * k->stride + column,
		.v = (const int8_t *) v->codes + first * v->stride + column,
		.stride = k->stride,
		.k_scales = k->scales + key_head * k->scale_stride + first,
		.v_scales = v->scales + key_head * v->scale_stride + first
	};
}

static bool
attend_i8(EmbPass *pass, EmbWorker *w, int32_t seq, int32_t key_head, int32_t first, int32_t n_queries)
{
	const int32_t *offsets = pass->batch->offsets;
	const EmbHeadCodes *q = &pass->q_heads;
	int32_t		head_size = pass->arch->head_size;
	int32_t		head = key_head * emb_arch_group(pass->arch);
	size_t		query = emb_pass_query_row(pass, seq, first);
	EmbAttentionI8 a = {
		.head_size = head_size,
		.n_heads = emb_arch_group(pass->arch),
		.q = q->codes + query * q->stride + head * emb_round_up(head_size, EMB_GROUP),
		.q_stride = q->stride,
		.q_scales = q->scales + head * q->scale_stride + query,
		.q_scale_stride = q->scale_stride,
		.n_queries = n_queries,
		.n_prefix = emb_pass_prefix(pass),
		.rows = head_rows(pass, emb_pass_keys(pass, pass->layer), key_head, emb_pass_first_key(pass) + offsets[seq]),
		.n_tokens = emb_pass_n_seen(pass, seq),
		.n_unseen = offsets[seq + 1] - offsets[seq] - emb_pass_n_seen(pass, seq),
		.bias = emb_pass_head_bias(pass, head),
		.slope = (pass->arch->positions & EMB_POSITIONS_ALIBI) != 0 ? emb_arch_slope(pass->arch, head) : 0,
		.first = query_token(pass, seq, first),
		.window = emb_pass_window(pass),
		.is_causal = pass->arch->is_causal != 0,
		.out = pass->context + (query - pass->segment) * pass->context_stride + (size_t) head * head_size,
		.out_stride = pass->context_stride,
		.scratch = w->attention
	};

	if (a.n_prefix > 0)
		a.prefix = head_rows(pass, &pass->batch->prefix->layers[pass->layer], key_head, 0);
	return emb_attention_i8(&w->work, &a);
}

bool
emb_layer_attend(EmbPass *pass, EmbWorker *w, int32_t seq, int32_t key_head, int32_t first, int32_t n_queries)
{
	if (emb_layer_attends_f32(pass->transformer, pass->layer))
		return attend_f32(pass, w, seq, key_head, first, n_queries);
	return attend_i8(pass, w, seq, key_head, first, n_queries);
}

/* ------------------------------------------------------------------ the rest */

bool
emb_layer_finish(EmbPass *pass, EmbWorker *w, int32_t layer, int32_t first, int32_t n_rows, bool is_projected)
{
	EmbBlock	c = block_of(pass, w, layer, first, n_rows);
	const EmbLayer *l = c.l;
	bool		is_last = layer == pass->arch->n_layers - 1;
	const EmbLinear *up = l->experts == NULL ? prepared_after_sum(pass, &l->ffn_up) : NULL;
	const EmbLinear *next = is_projected ? prepared_after_sum(pass, &l[1].query) : NULL;
	EmbInput	in = context_input(&c);
	NormedInput mid;

	emb_pass_observe(pass, EMB_OBSERVE_ATTN_CONTEXT, layer, first, n_rows, in.rows, in.stride);
	if (!emb_linear_prepare(&c, &l->attn_out, &in) ||
		!emb_linear_multiply(&c, &l->attn_out, &in, false, w->sum, pass->stride) ||
		(l->second_norm.gamma != NULL && !norm_sum(&c, &l->attn_norm)) ||
		!add_rows(&c, &l->attn_end_norm, norm_after(&c, l->second_norm.gamma != NULL ? &l->second_norm : &l->attn_norm, false), up) ||
		!norm_rows(&c, &l->ffn_norm, l->experts == NULL ? &l->ffn_up : NULL, up != NULL, &mid))
		return false;
	emb_pass_observe(pass, EMB_OBSERVE_FFN_IN, layer, first, n_rows, mid.in.rows, pass->stride);
	return (l->experts != NULL ? emb_experts(&c, mid.in.rows)
			: (mid.is_prepared || emb_linear_prepare(&c, &l->ffn_up, &mid.in)) &&
			emb_ffn(&c, &l->ffn_up, &l->ffn_down, &mid.in, w->sum, pass->stride)) &&
		add_rows(&c, &l->ffn_end_norm, norm_after(&c, &l->ffn_norm, is_last), next);
}
