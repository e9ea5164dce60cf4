/*
 * layer.c
 *		The steps of a layer, for any form of weights.
 *
 * The form of a linear layer determines its input: fp32 rows, or rows
 * quantized to u8, each with its own scale and zero point, after
 * multiplication by the smoothing factors. An input is prepared once for all
 * linear layers that share it, in the worker's own buffers; a row that a norm
 * has written is then still in the first-level cache. Residual stream and
 * norms are fp32. A new form of weights needs a case in prepare() and a case
 * in multiply().
 */
#include <string.h>

#include "transformer/pass.h"

/* The zero point of quantized queries, as attend_i8 requires. */
#define QUERY_ZERO	128

/* Rows of a layer that a worker processes. */
typedef struct Block
{
	EmbPass    *pass;
	EmbWorker  *w;
	const EmbLayer *l;
	int32_t		layer;
	int32_t		first;			/* row of the pass */
	int32_t		n_rows;
} Block;

/*
 * The input of linear layers: rows, and their prepared form. Scales and zero
 * points belong to the worker.
 */
typedef struct Input
{
	const float *rows;			/* [n_rows, n_in] */
	size_t		stride;
	uint8_t    *codes;			/* [n_rows, n_in], if the layers are int8 */
	size_t		code_stride;	/* bytes */
} Input;

static Block
block_of(EmbPass *pass, EmbWorker *w, int32_t layer, int32_t first, int32_t n_rows)
{
	return (Block) {pass, w, &pass->transformer->layers[layer], layer, first, n_rows};
}

/* -------------------------------------------------------------- linear layers */

bool
emb_layers_quantize(const EmbTransformer *transformer)
{
	for (int32_t i = 0; i < transformer->arch->n_layers; i++)
	{
		const EmbLayer *l = &transformer->layers[i];

		if (l->query.form != EMB_LINEAR_F32 || l->attn_out.form != EMB_LINEAR_F32 ||
			l->ffn_up.form != EMB_LINEAR_F32 || l->ffn_down.form != EMB_LINEAR_F32)
			return true;
	}
	return false;
}

/*
 * n columns of rows of x, times factor (or NULL), each row with its own scale
 * and zero point: values after an activation are mostly above 0, and outliers
 * of other rows are on one side. (With zero point 128 for all layers except
 * FFN-down the five models of the golden tests lost 5 to 25 % more cosine.)
 */
static bool
quantize_rows(const Block *c, const Input *in, const float *factor, int32_t n)
{
	EmbWorker  *w = c->w;

	for (int32_t i = 0; i < c->n_rows; i++)
		w->scales[i] = c->pass->kernels->quantize_u8(in->rows + i * in->stride, factor, n, (int32_t) in->code_stride,
													 in->codes + i * in->code_stride, &w->zeros[i]);
	return emb_work_spend(&w->work, 4 * (int64_t) c->n_rows * n);
}

/* Prepares in->rows for linear and all layers that share its input. */
static bool
prepare(const Block *c, const EmbLinear *linear, const Input *in)
{
	switch (linear->form)
	{
		case EMB_LINEAR_F32:
			break;
		case EMB_LINEAR_I8:
			return quantize_rows(c, in, linear->factor, linear->n_in);
	}
	return true;
}

/* An input with the width of the residual stream, and the input of ffn_down. */
static Input
hidden_input(const Block *c, const float *rows)
{
	return (Input) {rows, c->pass->stride, c->w->q_in, c->pass->q_stride};
}

static Input
wide_input(const Block *c)
{
	return (Input) {c->w->wide, c->pass->wide_stride, c->w->q_wide, c->pass->q_wide_stride};
}

static EmbActKind
act_kind(int32_t activation)
{
	switch (activation)
	{
		case EMB_ACT_GELU:
			return EMB_ACT_KIND_GELU;
		case EMB_ACT_GELU_TANH:
			return EMB_ACT_KIND_GELU_TANH;
		case EMB_ACT_RELU:
			return EMB_ACT_KIND_RELU;
		default:				/* for a GLU, which is activated separately, and for heads */
			return EMB_ACT_KIND_NONE;
	}
}

static EmbGemmF32
product_f32(const Block *c, const EmbLinear *linear, const Input *in, float *y, size_t y_stride)
{
	return (EmbGemmF32) {
		.n_rows = c->n_rows,
		.n_in = linear->n_in,
		.n_panels = (int32_t) emb_pack_f32_panels(linear->n_out),
		.a = in->rows,
		.a_stride = in->stride,
		.b = linear->weight,
		.bias = linear->bias,
		.c = y,
		.c_stride = y_stride
	};
}

static EmbGemmI8
product_i8(const Block *c, const EmbLinear *linear, const Input *in, float *y, size_t y_stride)
{
	return (EmbGemmI8) {
		.n_rows = c->n_rows,
		.n_groups = (int32_t) (in->code_stride / 4),
		.n_panels = (int32_t) emb_pack_f32_panels(linear->n_out),
		.a = in->codes,
		.a_stride = in->code_stride,
		.a_scale = c->w->scales,
		.a_zero = c->w->zeros,
		.b = linear->weight_i8,
		.b_scale = linear->scale,
		.b_sums = linear->sums,
		.bias = linear->bias,
		.c = y,
		.c_stride = y_stride
	};
}

/* y = x W^T + b for a prepared input, with the model's activation if requested. */
static bool
multiply(const Block *c, const EmbLinear *linear, const Input *in, bool activate, float *y, size_t y_stride)
{
	switch (linear->form)
	{
		case EMB_LINEAR_F32:
			{
				EmbGemmF32	g = product_f32(c, linear, in, y, y_stride);

				return emb_work_multiply(&c->w->work, &g, activate ? c->pass->activate : NULL);
			}
		case EMB_LINEAR_I8:
			{
				EmbGemmI8	g = product_i8(c, linear, in, y, y_stride);

				if (activate)
					g.act = act_kind(c->pass->arch->activation);
				return emb_work_multiply_i8(&c->w->work, &g);
			}
	}
	return false;
}

/* ------------------------------------------------------- norms and residuals */

/* The input of a linear layer after a norm: rows of x, normed in pre-norm models. */
static bool
norm_rows(const Block *c, const EmbLayerNorm *norm, const float **rows)
{
	EmbPass    *pass = c->pass;
	const EmbArch *arch = pass->arch;

	*rows = pass->x + c->first * pass->stride;
	if (arch->norm_place != EMB_NORM_PRE)
		return true;
	for (int32_t i = 0; i < c->n_rows; i++)
		pass->kernels->add_norm_f32(*rows + i * pass->stride, NULL, norm->gamma, norm->beta, arch->norm_eps, arch->hidden,
									c->w->normed + i * pass->stride);
	*rows = c->w->normed;
	return emb_work_spend(&c->w->work, 8 * (int64_t) c->n_rows * arch->hidden);
}

/* x = norm(sum + x), or x += sum without a norm. */
static bool
add_rows(const Block *c, const EmbLayerNorm *norm)
{
	EmbPass    *pass = c->pass;
	const EmbArch *arch = pass->arch;

	for (int32_t i = 0; i < c->n_rows; i++)
	{
		float	   *x = pass->x + (c->first + i) * pass->stride;
		float	   *sum = c->w->sum + i * pass->stride;

		if (norm != NULL)
			pass->kernels->add_norm_f32(sum, x, norm->gamma, norm->beta, arch->norm_eps, arch->hidden, x);
		else
			pass->kernels->add_f32(x, sum, arch->hidden);
	}
	return emb_work_spend(&c->w->work, 8 * (int64_t) c->n_rows * arch->hidden);
}

/*
 * The norm after half of a layer: the layer's own in post-norm models, the
 * final norm at the end of pre-norm models.
 */
static const EmbLayerNorm *
norm_after(const Block *c, const EmbLayerNorm *own, bool is_end)
{
	if (c->pass->arch->norm_place != EMB_NORM_PRE)
		return own;
	return is_end ? &c->pass->transformer->final_norm : NULL;
}

/* --------------------------------------------------------- queries, keys, values */

/*
 * Rotates one row: each head's first half with its second. -ffp-contract=off:
 * no fused operations.
 */
static void
rotate_row(const float *angles, int32_t n_heads, int32_t head_size, float *row)
{
	int32_t		half = head_size / 2;
	const float *cosines = angles;
	const float *sines = angles + half;

	for (int32_t head = 0; head < n_heads; head++, row += head_size)
	{
		for (int32_t i = 0; i < half; i++)
		{
			float		a = row[i];
			float		b = row[half + i];

			row[i] = a * cosines[i] - b * sines[i];
			row[half + i] = b * cosines[i] + a * sines[i];
		}
	}
}

/* Applies RoPE to queries or keys of the block's tokens. */
static bool
rotate(const Block *c, float *rows)
{
	const EmbPass *pass = c->pass;
	const EmbArch *arch = pass->arch;
	const EmbBatch *batch = pass->batch;
	const float *table = emb_arch_is_local(arch, c->layer) ? pass->transformer->rotary_local : pass->transformer->rotary;
	int32_t		seq = emb_pass_seq_of_row(batch, c->first);

	if (table == NULL)
		return true;
	for (int32_t i = c->first; i < c->first + c->n_rows; i++)
	{
		while (i >= batch->offsets[seq + 1])
			seq++;
		rotate_row(table + (size_t) (i - batch->offsets[seq]) * arch->head_size, arch->n_heads, arch->head_size,
				   rows + (i - c->first) * pass->stride);
	}
	return emb_work_spend(&c->w->work, 4 * (int64_t) c->n_rows * arch->hidden);
}

/*
 * Attention of fp32 layers is fp32. So is attention in the first layer of a
 * model with a sliding window, because its error passes through all other
 * layers without a norm to damp it. Measured on the most sensitive tiny model
 * (16 texts): int8 everywhere lowers the cosine from 0.9979 to 0.9973, and the
 * worst cosine from 0.993 to 0.990; int8 in all layers except the first has
 * 0.9979 and 0.994.
 */
static bool
attends_f32(const EmbTransformer *transformer, int32_t layer)
{
	return transformer->layers[layer].query.form == EMB_LINEAR_F32 || (transformer->arch->window > 0 && layer == 0);
}

bool
emb_layers_attend_f32(const EmbTransformer *transformer)
{
	for (int32_t i = 0; i < transformer->arch->n_layers; i++)
	{
		if (attends_f32(transformer, i))
			return true;
	}
	return false;
}

bool
emb_layers_attend_i8(const EmbTransformer *transformer)
{
	for (int32_t i = 0; i < transformer->arch->n_layers; i++)
	{
		if (!attends_f32(transformer, i))
			return true;
	}
	return false;
}

/* One of query, key, value for fp32 attention: rows with all heads. */
static bool
project_rows(const Block *c, const EmbLinear *linear, const Input *in, bool is_rotated, float *all)
{
	float	   *rows = all + c->first * c->pass->stride;

	return multiply(c, linear, in, false, rows, c->pass->stride) && (!is_rotated || rotate(c, rows));
}

/* The same for int8 attention: the product, and at once its codes. */
static bool
project_codes(const Block *c, const EmbLinear *linear, const Input *in, bool is_rotated, int32_t zero,
			  const EmbHeadCodes *heads)
{
	EmbPass    *pass = c->pass;
	const EmbArch *arch = pass->arch;
	int32_t		n_tokens = pass->batch->offsets[pass->batch->n_seqs];
	float	   *rows = c->w->sum;

	if (!multiply(c, linear, in, false, rows, pass->stride) || (is_rotated && !rotate(c, rows)))
		return false;
	for (int32_t i = 0; i < c->n_rows; i++)
		pass->kernels->quantize_heads(rows + i * pass->stride, arch->n_heads, arch->head_size, zero,
									  heads->codes + (c->first + i) * pass->heads_stride, heads->scales + c->first + i,
									  n_tokens);
	return emb_work_spend(&c->w->work, 4 * (int64_t) c->n_rows * arch->hidden);
}

bool
emb_layer_project(EmbPass *pass, EmbWorker *w, int32_t layer, int32_t first, int32_t n_rows, bool keys_values, bool queries)
{
	Block		c = block_of(pass, w, layer, first, n_rows);
	const EmbLayer *l = c.l;
	/* queries alone belong to first tokens, which RoPE does not change */
	bool		rotates_queries = keys_values;
	const float *x = pass->x + first * pass->stride;
	Input		in;

	if ((layer > 0 || pass->arch->has_first_norm) && !norm_rows(&c, &l->attn_norm, &x))
		return false;
	in = hidden_input(&c, x);
	if (keys_values)
		emb_pass_observe(pass, EMB_OBSERVE_ATTN_IN, layer, first, n_rows, x, pass->stride);
	if (!prepare(&c, &l->query, &in))
		return false;
	if (attends_f32(pass->transformer, layer))
		return (!keys_values || (project_rows(&c, &l->key, &in, true, pass->k) &&
								 project_rows(&c, &l->value, &in, false, pass->v))) &&
			(!queries || project_rows(&c, &l->query, &in, rotates_queries, pass->q));
	return (!keys_values || (project_codes(&c, &l->key, &in, true, 0, &pass->k_heads) &&
							 project_codes(&c, &l->value, &in, false, 0, &pass->v_heads))) &&
		(!queries || project_codes(&c, &l->query, &in, rotates_queries, QUERY_ZERO, &pass->q_heads));
}

/* ---------------------------------------------------------------- attention */

static bool
attend_f32(EmbPass *pass, EmbWorker *w, int32_t seq, int32_t head, int32_t first, int32_t n_queries)
{
	int32_t		head_size = pass->arch->head_size;
	const int32_t *offsets = pass->batch->offsets;
	size_t		column = (size_t) head * head_size;
	size_t		rows = offsets[seq] * pass->stride + column;
	float	   *q = pass->q + emb_pass_query_row(pass, seq, first) * pass->stride + column;
	EmbAttention a = {
		.head_size = head_size,
		.stride = pass->stride,
		.q = q,
		.n_queries = n_queries,
		.k = pass->k + rows,
		.v = pass->v + rows,
		.n_tokens = offsets[seq + 1] - offsets[seq],
		.bias = emb_pass_head_bias(pass, head),
		.first = first,
		.window = emb_pass_window(pass),
		.out = q,
		.scratch = w->attention
	};

	return emb_attention_f32(&w->work, &a);
}

static bool
attend_i8(EmbPass *pass, EmbWorker *w, int32_t seq, int32_t head, int32_t first, int32_t n_queries)
{
	const int32_t *offsets = pass->batch->offsets;
	int32_t		head_size = pass->arch->head_size;
	size_t		column = head * (pass->heads_stride / pass->arch->n_heads);
	size_t		query = emb_pass_query_row(pass, seq, first);
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
		.bias = emb_pass_head_bias(pass, head),
		.first = first,
		.window = emb_pass_window(pass),
		.stride = pass->heads_stride,
		.out = pass->context + query * pass->stride + (size_t) head * head_size,
		.out_stride = pass->stride,
		.scratch = w->attention
	};

	return emb_attention_i8(&w->work, &a);
}

bool
emb_layer_attend(EmbPass *pass, EmbWorker *w, int32_t seq, int32_t head, int32_t first, int32_t n_queries)
{
	if (attends_f32(pass->transformer, pass->layer))
		return attend_f32(pass, w, seq, head, first, n_queries);
	return attend_i8(pass, w, seq, head, first, n_queries);
}

/* ------------------------------------------------------ feed-forward network */

/* GLU: wide = act(gate) * up, in place of the gates. */
static bool
gate(const Block *c)
{
	EmbPass    *pass = c->pass;
	int32_t		n = pass->arch->intermediate;

	for (int32_t i = 0; i < c->n_rows; i++)
	{
		float	   *gate = c->w->wide + i * pass->wide_stride;
		const float *up = gate + n;

		pass->activate(gate, n);
		/* only products, so any vectorization has the same bits */
		for (int32_t k = 0; k < n; k++)
			gate[k] *= up[k];
		if (!emb_work_spend(&c->w->work, 16 * (int64_t) n))
			return false;
	}
	return true;
}

/*
 * An int8 ffn_up for an int8 ffn_down. The product also returns the ranges of
 * its rows, so that quantizing needs one pass over wide, the largest of all
 * buffers.
 */
static bool
widen_quantized(const Block *c, const Input *in, const Input *mid)
{
	EmbWorker  *w = c->w;
	int32_t		n = c->pass->arch->intermediate;
	EmbGemmI8	g = product_i8(c, &c->l->ffn_up, in, w->wide, c->pass->wide_stride);

	g.act = act_kind(c->pass->arch->activation);
	g.factor = c->l->ffn_down.factor;
	g.range = w->ranges;
	memset(w->ranges, 0, c->n_rows * EMB_RANGE * sizeof(float));
	if (!emb_work_multiply_i8(&w->work, &g))
		return false;
	for (int32_t i = 0; i < c->n_rows; i++)
		w->scales[i] = c->pass->kernels->quantize_range_u8(mid->rows + i * mid->stride, w->ranges + i * EMB_RANGE, n,
														   (int32_t) mid->code_stride, mid->codes + i * mid->code_stride,
														   &w->zeros[i]);
	return emb_work_spend(&w->work, 2 * (int64_t) c->n_rows * n);
}

/* mid, the prepared input of ffn_down, from the prepared input of ffn_up. */
static bool
widen(const Block *c, const Input *in, const Input *mid)
{
	const EmbLinear *up = &c->l->ffn_up;
	const EmbLinear *down = &c->l->ffn_down;
	EmbPass    *pass = c->pass;
	bool		gated = pass->arch->is_gated != 0;

	/* the factors do not cover an incomplete last panel */
	if (!gated && up->form == EMB_LINEAR_I8 && down->form == EMB_LINEAR_I8 && down->factor != NULL &&
		pass->arch->intermediate % EMB_PANEL == 0)
		return widen_quantized(c, in, mid);
	if (!multiply(c, up, in, !gated, c->w->wide, pass->wide_stride) || (gated && !gate(c)))
		return false;
	emb_pass_observe(pass, EMB_OBSERVE_FFN_MID, c->layer, c->first, c->n_rows, mid->rows, mid->stride);
	return prepare(c, down, mid);
}

bool
emb_layer_finish(EmbPass *pass, EmbWorker *w, int32_t layer, int32_t first, int32_t n_rows)
{
	Block		c = block_of(pass, w, layer, first, n_rows);
	const EmbLayer *l = c.l;
	const float *context = pass->context + first * pass->stride;
	bool		is_last = layer == pass->arch->n_layers - 1;
	Input		in = hidden_input(&c, context);
	Input		mid = wide_input(&c);
	const float *x;

	emb_pass_observe(pass, EMB_OBSERVE_ATTN_CONTEXT, layer, first, n_rows, context, pass->stride);
	if (!prepare(&c, &l->attn_out, &in) ||
		!multiply(&c, &l->attn_out, &in, false, w->sum, pass->stride) ||
		!add_rows(&c, norm_after(&c, &l->attn_norm, false)) ||
		!norm_rows(&c, &l->ffn_norm, &x))
		return false;
	emb_pass_observe(pass, EMB_OBSERVE_FFN_IN, layer, first, n_rows, x, pass->stride);
	in = hidden_input(&c, x);
	return prepare(&c, &l->ffn_up, &in) &&
		widen(&c, &in, &mid) &&
		multiply(&c, &l->ffn_down, &mid, false, w->sum, pass->stride) &&
		add_rows(&c, norm_after(&c, &l->ffn_norm, is_last));
}
