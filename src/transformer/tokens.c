/*
 * tokens.c
 *		Outputs per token of a pass.
 */
#include "transformer/tokens.h"

#include <math.h>
#include <string.h>

#include "transformer/pass.h"
#include "transformer/pooling.h"

/* Weights of rows first .. first + n_rows - 1. An overflow leaves a NaN, relu or not. */
static bool
weigh(EmbPass *pass, EmbWorker *w, int32_t first, int32_t n_rows)
{
	const EmbTokenHeads *heads = pass->tokens->heads;
	float	   *weights = pass->tokens->weights + pass->first_token + first;

	for (int32_t i = 0; i < n_rows; i++)
	{
		float		x = pass->kernels->dot_f32(pass->x + (first + i) * pass->stride, heads->sparse, pass->arch->hidden) +
			heads->sparse_bias[0];

		weights[i] = !isfinite(x) ? NAN : x > 0 ? x : 0;
	}
	return emb_work_spend(&w->work, (int64_t) n_rows * pass->arch->hidden);
}

/* n_panels columns from panel on of the rows' vectors, through the worker's FFN buffer. */
static bool
multiply_slab(EmbPass *pass, EmbWorker *w, int32_t first, int32_t n_rows, int32_t panel, int32_t n_panels)
{
	const EmbLinear *multi = &pass->tokens->heads->multi;
	float	  **vectors = pass->tokens->vectors + pass->first_token + first;
	int32_t		column = panel * EMB_PANEL;
	int32_t		n_left = multi->n_out - column;
	size_t		n = n_left < n_panels * EMB_PANEL ? n_left : n_panels * EMB_PANEL;
	EmbGemmF32	g = {
		.n_rows = n_rows,
		.n_in = multi->n_in,
		.n_panels = n_panels,
		.a = pass->x + first * pass->stride,
		.a_stride = pass->stride,
		.b = multi->weight + (size_t) column * multi->n_in,
		.bias = multi->bias + column,
		.c = w->wide,
		.c_stride = pass->wide_stride
	};

	if (!emb_work_multiply(&w->work, &g, NULL))
		return false;
	for (int32_t i = 0; i < n_rows; i++)
	{
		if (vectors[i] != NULL)
			memcpy(vectors[i] + column, w->wide + i * pass->wide_stride, n * sizeof(float));
	}
	return emb_work_spend(&w->work, n_rows * (int64_t) n);
}

/* A vector that overflows has a NaN as its first element. */
static bool
make_vectors(EmbPass *pass, EmbWorker *w, int32_t first, int32_t n_rows)
{
	const EmbLinear *multi = &pass->tokens->heads->multi;
	float	  **vectors = pass->tokens->vectors + pass->first_token + first;
	int32_t		n_panels = (int32_t) emb_pack_f32_panels(multi->n_out);
	int32_t		step = (int32_t) (pass->wide_stride / EMB_PANEL);

	for (int32_t p = 0; p < n_panels; p += step)
	{
		if (!multiply_slab(pass, w, first, n_rows, p, n_panels - p < step ? n_panels - p : step))
			return false;
	}
	for (int32_t i = 0; i < n_rows; i++)
	{
		if (vectors[i] != NULL && !emb_pool_normalize(pass->kernels, vectors[i], multi->n_out))
			vectors[i][0] = NAN;
	}
	return emb_work_spend(&w->work, 4 * (int64_t) n_rows * multi->n_out);
}

bool
emb_pass_tokens(EmbPass *pass, EmbWorker *w, int32_t first, int32_t n_rows)
{
	return (pass->tokens->weights == NULL || weigh(pass, w, first, n_rows)) &&
		(pass->tokens->vectors == NULL || make_vectors(pass, w, first, n_rows));
}

bool
emb_pass_tokens_are_finite(const EmbPass *pass)
{
	const EmbTokenOutputs *tokens = pass->tokens;
	int32_t		end = pass->first_token + pass->batch->offsets[pass->batch->n_seqs];

	for (int32_t i = pass->first_token; i < end; i++)
	{
		if ((tokens->weights != NULL && !isfinite(tokens->weights[i])) ||
			(tokens->vectors != NULL && tokens->vectors[i] != NULL && !isfinite(tokens->vectors[i][0])))
			return false;
	}
	return true;
}
