/*
 * linear.c
 *		A linear layer over a block of rows, for any form of weights.
 *
 * The form of a linear layer determines its input: fp32 rows, or rows
 * quantized to u8, each with its own scale and zero point, after
 * multiplication by the smoothing factors; weights with scales by groups may
 * take their inputs in an order of their own. An input is prepared once for all
 * linear layers that share it, in the worker's own buffers; a row that a norm
 * has written is then still in the first-level cache. A new form of weights
 * needs a case in emb_linear_prepare() and a case in emb_linear_multiply_with().
 */
#include <string.h>

#include "transformer/linear.h"

/*
 * n columns of rows of x, times factor (or NULL), each row with its own scale
 * and zero point: values after an activation are mostly above 0, and outliers
 * of other rows are on one side. (With zero point 128 for all layers except
 * FFN-down the five models of the golden tests lost 5 to 25 % more cosine.)
 */
static bool
quantize_rows(const EmbBlock *c, const EmbInput *in, const float *factor, int32_t n)
{
	EmbWorker  *w = c->w;

	c->pass->kernels->quantize_rows(&(EmbQuantRows) {
		.n_rows = c->n_rows, .n = n, .x = in->rows, .x_stride = in->stride, .factor = factor, .codes = in->codes,
		.code_stride = in->code_stride, .scales = w->scales, .zeros = w->zeros
	});
	return emb_work_spend(&w->work, 4 * (int64_t) c->n_rows * n);
}

/* The order that a linear layer takes its inputs in, or NULL. */
const uint16_t *
emb_linear_order(const EmbLinear *linear)
{
	return linear->form == EMB_LINEAR_GROUPED ? linear->groups->order : NULL;
}

/* Codes of a prepared input in the order of the weights; those of padding stay in place. */
bool
emb_linear_order_codes(const EmbBlock *c, const EmbLinear *linear, const EmbInput *in)
{
	EmbWorker  *w = c->w;
	const uint16_t *order = emb_linear_order(linear);

	if (order == NULL)
		return true;
	for (int32_t i = 0; i < c->n_rows; i++)
	{
		uint8_t    *codes = in->codes + i * in->code_stride;

		memcpy(w->unordered, codes, linear->n_in);
		for (int32_t k = 0; k < linear->n_in; k++)
			codes[k] = w->unordered[order[k]];
	}
	return emb_work_spend(&w->work, 8 * (int64_t) c->n_rows * linear->n_in);
}

/* Prepares in->rows for linear and all layers that share its input. */
bool
emb_linear_prepare(const EmbBlock *c, const EmbLinear *linear, const EmbInput *in)
{
	switch (linear->form)
	{
		case EMB_LINEAR_F32:
			break;
		case EMB_LINEAR_I8:
			return quantize_rows(c, in, linear->factor, linear->n_in);
		case EMB_LINEAR_GROUPED:
			return quantize_rows(c, in, linear->factor, linear->n_in) && emb_linear_order_codes(c, linear, in);
	}
	return true;
}

bool
emb_linear_is_prepared_by_norm(const EmbPass *pass, const EmbLinear *linear)
{
	return pass->arch->norm_kind == EMB_NORM_LAYER && linear->form != EMB_LINEAR_F32;
}

/* Rows between two charges of norms, a multiple of what any level norms together. */
#define NORM_ROWS_MAX 32

bool
emb_linear_norm(const EmbBlock *c, const EmbNormRows *rows, const EmbLinear *next, const EmbInput *in)
{
	EmbWorker  *w = c->w;

	for (int32_t i = 0; i < rows->n_rows; i += NORM_ROWS_MAX)
	{
		EmbNormRows part = *rows;

		part.n_rows = rows->n_rows - i < NORM_ROWS_MAX ? rows->n_rows - i : NORM_ROWS_MAX;
		part.x += i * rows->x_stride;
		if (rows->residual != NULL)
			part.residual += i * rows->residual_stride;
		part.y += i * rows->y_stride;
		if (next != NULL)
		{
			part.factor = next->factor;
			part.codes = in->codes + i * in->code_stride;
			part.code_stride = in->code_stride;
			part.scales = w->scales + i;
			part.zeros = w->zeros + i;
		}
		c->pass->kernels->norm_rows(&part);
		if (!emb_work_spend(&w->work, (next != NULL ? 12 : 8) * (int64_t) part.n_rows * rows->n))
			return false;
	}
	return next == NULL || emb_linear_order_codes(c, next, in);
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
		case EMB_ACT_SILU:
			return EMB_ACT_KIND_SILU;
		default:				/* for heads */
			return EMB_ACT_KIND_NONE;
	}
}

static EmbGemmF32
product_f32(const EmbBlock *c, const EmbLinear *linear, const EmbInput *in, float *y, size_t y_stride)
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
product_i8(const EmbBlock *c, const EmbLinear *linear, const EmbInput *in, float *y, size_t y_stride)
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

static EmbGemmGrouped
product_grouped(const EmbBlock *c, const EmbLinear *linear, const EmbInput *in, float *y, size_t y_stride)
{
	return (EmbGemmGrouped) {
		.n_rows = c->n_rows,
		.n_in = (int32_t) in->code_stride,
		.bits = linear->groups->bits,
		.group = linear->groups->group,
		.n_panels = (int32_t) emb_pack_f32_panels(linear->n_out),
		.a = in->codes,
		.a_stride = in->code_stride,
		.a_scale = c->w->scales,
		.a_zero = c->w->zeros,
		.b = linear->weight_grouped,
		.scale_type = linear->groups->scale_type,
		.b_scale = linear->groups->scales,
		.b_zero = linear->groups->zeros,
		.b_sums = linear->groups->sums,
		.bias = linear->bias,
		.c = y,
		.c_stride = y_stride
	};
}

static bool
multiply_i8(const EmbBlock *c, const EmbLinear *linear, const EmbInput *in, const EmbSteps *steps, float *y, size_t y_stride)
{
	EmbGemmI8	g = product_i8(c, linear, in, y, y_stride);

	if (steps->activates)
	{
		g.act = act_kind(c->pass->arch->activation);
		g.gated = c->pass->arch->is_gated != 0;
	}
	g.factor = steps->factor;
	g.range = steps->range;
	return emb_work_multiply_i8(&c->w->work, &g);
}

static bool
multiply_grouped(const EmbBlock *c, const EmbLinear *linear, const EmbInput *in, const EmbSteps *steps, float *y, size_t y_stride)
{
	EmbGemmGrouped	g = product_grouped(c, linear, in, y, y_stride);

	if (steps->activates)
	{
		g.act = act_kind(c->pass->arch->activation);
		g.gated = c->pass->arch->is_gated != 0;
	}
	g.factor = steps->factor;
	g.range = steps->range;
	return emb_work_multiply_grouped(&c->w->work, &g);
}

/* y = x W^T + b for a prepared input, then the steps; fp32 has neither gates nor factors. */
bool
emb_linear_multiply_with(const EmbBlock *c, const EmbLinear *linear, const EmbInput *in, const EmbSteps *steps, float *y, size_t y_stride)
{
	switch (linear->form)
	{
		case EMB_LINEAR_F32:
			{
				EmbGemmF32	g = product_f32(c, linear, in, y, y_stride);

				return emb_work_multiply(&c->w->work, &g, steps->activates ? c->pass->activate : NULL);
			}
		case EMB_LINEAR_I8:
			return multiply_i8(c, linear, in, steps, y, y_stride);
		case EMB_LINEAR_GROUPED:
			return multiply_grouped(c, linear, in, steps, y, y_stride);
	}
	return false;
}

bool
emb_linear_multiply(const EmbBlock *c, const EmbLinear *linear, const EmbInput *in, bool activates, float *y, size_t y_stride)
{
	return emb_linear_multiply_with(c, linear, in, &(EmbSteps) {.activates = activates}, y, y_stride);
}
