/*
 * ffn.c
 *		The feed-forward network of a layer, or of an expert.
 */
#include <string.h>

#include "transformer/linear.h"

/* GLU: wide = act(gate) * up, in place of the gates. */
static bool
gate(const EmbBlock *c)
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
 * A quantized up for a quantized down. The product also returns the
 * ranges of its rows, so that quantizing needs one pass over wide, the largest
 * of all buffers.
 */
static bool
widen_quantized(const EmbBlock *c, const EmbLinear *up, const EmbLinear *down, const EmbInput *in, const EmbInput *mid)
{
	EmbWorker  *w = c->w;
	int32_t		n = c->pass->arch->intermediate;
	EmbSteps	steps = {.activates = true, .factor = down->factor, .range = w->ranges};

	memset(w->ranges, 0, c->n_rows * EMB_RANGE * sizeof(float));
	if (!emb_linear_multiply_with(c, up, in, &steps, w->wide, c->pass->wide_stride))
		return false;
	c->pass->kernels->quantize_rows(&(EmbQuantRows) {
		.n_rows = c->n_rows, .n = n, .x = mid->rows, .x_stride = mid->stride, .ranges = w->ranges, .codes = mid->codes,
		.code_stride = mid->code_stride, .scales = w->scales, .zeros = w->zeros
	});
	return emb_work_spend(&w->work, 2 * (int64_t) c->n_rows * n) && emb_linear_order_codes(c, down, mid);
}

/* mid, the prepared input of down, from the prepared input of up. */
static bool
widen(const EmbBlock *c, const EmbLinear *up, const EmbLinear *down, const EmbInput *in, const EmbInput *mid)
{
	EmbPass    *pass = c->pass;
	bool		is_quantized = up->form != EMB_LINEAR_F32;
	/* the fp32 activation of a GLU is a step of its own */
	bool		fused = !pass->arch->is_gated || (is_quantized && emb_arch_pairs_gates(pass->arch));

	/* the factors do not cover an incomplete last panel */
	if (fused && is_quantized && down->form != EMB_LINEAR_F32 && down->factor != NULL &&
		pass->arch->intermediate % EMB_PANEL == 0)
		return widen_quantized(c, up, down, in, mid);
	if (!emb_linear_multiply(c, up, in, fused, c->w->wide, pass->wide_stride) || (!fused && !gate(c)))
		return false;
	/* rows of experts are not those of the pass */
	if (!emb_arch_has_experts(pass->arch, c->layer))
		emb_pass_observe(pass, EMB_OBSERVE_FFN_MID, c->layer, c->first, c->n_rows, mid->rows, mid->stride);
	return emb_linear_prepare(c, down, mid);
}

bool
emb_ffn(const EmbBlock *c, const EmbLinear *up, const EmbLinear *down, const EmbInput *in, float *y, size_t y_stride)
{
	EmbInput	mid = {c->w->wide, c->pass->wide_stride, c->w->q_wide, c->pass->q_wide_stride};

	return widen(c, up, down, in, &mid) && emb_linear_multiply(c, down, &mid, false, y, y_stride);
}
