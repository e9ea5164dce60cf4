/*
 * linear.h
 *		A linear layer over a block of rows, for any form of weights.
 *
 * Example:
 *
 *		EmbInput	in = {rows, pass->stride, w->q_in, pass->q_stride};
 *		return emb_linear_prepare(c, &l->query, &in) &&				// once for all that read the input
 *			emb_linear_multiply(c, &l->query, &in, false, q, q_stride) &&
 *			emb_linear_multiply(c, &l->key, &in, false, k, k_stride);
 */
#ifndef EMB_TRANSFORMER_LINEAR_H
#define EMB_TRANSFORMER_LINEAR_H

#include "transformer/pass.h"

/* Rows of a layer that a worker processes. */
typedef struct EmbBlock
{
	EmbPass    *pass;
	EmbWorker  *w;
	const EmbLayer *l;
	int32_t		layer;
	int32_t		first;			/* row of the pass */
	int32_t		n_rows;
} EmbBlock;

/*
 * The input of linear layers: rows, and their prepared form. Scales and zero
 * points belong to the worker.
 */
typedef struct EmbInput
{
	const float *rows;			/* [n_rows, n_in] */
	size_t		stride;
	uint8_t    *codes;			/* [n_rows, n_in], if the layers are int8 */
	size_t		code_stride;	/* bytes */
} EmbInput;

/* The model's activation; a GLU's gates and values are multiplied, too. factor and range: as in EmbGemmI8. */
typedef struct EmbSteps
{
	bool		activates;
	const float *factor;
	float	   *range;
} EmbSteps;

/* The order that a linear layer takes its inputs in, or NULL. */
extern const uint16_t *emb_linear_order(const EmbLinear *linear);

/* Prepares in->rows for linear and all layers that share its input. False: stopped, also below. */
extern bool emb_linear_prepare(const EmbBlock *c, const EmbLinear *linear, const EmbInput *in);

/*
 * Norms rows; unless next is NULL also prepares the result for next and all layers that share its
 * input, in one pass, as emb_linear_prepare would. Only where the first function is true.
 */
extern bool emb_linear_is_prepared_by_norm(const EmbPass *pass, const EmbLinear *linear);
extern bool emb_linear_norm(const EmbBlock *c, const EmbNormRows *rows, const EmbLinear *next, const EmbInput *in);

/* Codes of a prepared input in the order of the weights; those of padding stay in place. */
extern bool emb_linear_order_codes(const EmbBlock *c, const EmbLinear *linear, const EmbInput *in);

/* y = x W^T + b for a prepared input, then the steps; fp32 has neither gates nor factors. */
extern bool emb_linear_multiply_with(const EmbBlock *c, const EmbLinear *linear, const EmbInput *in, const EmbSteps *steps,
									 float *y, size_t y_stride);
extern bool emb_linear_multiply(const EmbBlock *c, const EmbLinear *linear, const EmbInput *in, bool activates,
								float *y, size_t y_stride);

/* ffn.c: y = the feed-forward network of up and down, for the prepared input of up. */
extern bool emb_ffn(const EmbBlock *c, const EmbLinear *up, const EmbLinear *down, const EmbInput *in, float *y, size_t y_stride);

#endif
