/*
 * tokens.h
 *		The heads of a model that gives something for every token, BGE-M3's
 *		(Chen et al. 2024, "M3-Embedding"):
 *
 *			weight of a token = relu(sparse . x + b)			how much it counts
 *			vector of a token = y / max(|y|, 1e-12), y = multi x + c
 *
 * x being the token's row behind the last layer; in fp32 whatever the layers
 * are in. They are computed where the rows are, in the same pass and by the
 * same threads as the texts' vectors.
 */
#ifndef EMB_TRANSFORMER_TOKENS_H
#define EMB_TRANSFORMER_TOKENS_H

#include "transformer/transformer.h"

typedef struct EmbTokenHeads
{
	const float *sparse;		/* [hidden], or NULL: the model has no such head */
	const float *sparse_bias;	/* [1] */
	EmbLinear	multi;			/* [any number, hidden]; n_out 0: no such head */
} EmbTokenHeads;

/* Where results go, by the batch's tokens. What is NULL is not computed. */
typedef struct EmbTokenOutputs
{
	const EmbTokenHeads *heads;
	float	   *weights;		/* [n_tokens] */
	float	  **vectors;		/* [n_tokens], each [multi.n_out], or NULL: not this token's */
} EmbTokenOutputs;

/*
 * As emb_transformer_run, and what tokens asks for; out has the same bits. Every
 * row of the last layer is computed, whatever the pooling; no more scratch is
 * taken. EMB_ERR_LIMIT too where a weight or vector is not finite.
 */
extern EmbStatus emb_transformer_run_tokens(const EmbTransformer *transformer, const EmbKernels *kernels, const EmbBatch *batch,
										 int32_t n_threads, const EmbAllocator *mem, const EmbStop *stop,
										 float *out, const EmbTokenOutputs *tokens, EmbError *err);

#endif
