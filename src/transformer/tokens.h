/*
 * tokens.h
 *		The heads of a model with outputs per token. As in BGE-M3 (Chen et al.
 *		2024, "M3-Embedding"):
 *
 *			weight of a token = relu(sparse . x + b)			how much it counts
 *			vector of a token = y / max(|y|, 1e-12), y = multi x + c
 *
 * x is the token's row after the last layer. Always fp32, whatever the form of
 * the layers. Or the head over the vocabulary of vocabulary.h. The heads run in the same pass and on the same threads as the
 * texts' vectors, where the rows are in cache.
 */
#ifndef EMB_TRANSFORMER_TOKENS_H
#define EMB_TRANSFORMER_TOKENS_H

#include "transformer/transformer.h"
#include "transformer/vocabulary.h"

typedef struct EmbTokenHeads
{
	const float *sparse;		/* [hidden], or NULL: the model has no such head */
	const float *sparse_bias;	/* [1] */
	EmbLinear	multi;			/* [any number, hidden]; n_out 0: no such head */
	EmbVocabularyHead vocabulary;
} EmbTokenHeads;

/* Destinations of the results, indexed by token or text of the batch. NULL outputs are not computed. */
typedef struct EmbTokenOutputs
{
	const EmbTokenHeads *heads;
	float	   *weights;		/* [n_tokens] */
	float	  **vectors;		/* [n_tokens], each [multi.n_out], or NULL for a token without output */
	float	   *maxima;			/* [n_seqs, maxima_stride]: of each vocabulary entry, as emb_vocabulary_maxima */
	size_t		maxima_stride;	/* n_vocab rounded up to a panel */
} EmbTokenOutputs;

/*
 * emb_transformer_run plus the token outputs; out has the same bits. Every row
 * of the last layer is computed, whatever the pooling. The scratch is the
 * same. EMB_ERR_LIMIT also if a weight or vector is not finite; maxima may be.
 */
extern EmbStatus emb_transformer_run_tokens(const EmbTransformer *transformer, const EmbKernels *kernels, const EmbBatch *batch,
										 int32_t n_threads, const EmbAllocator *mem, const EmbStop *stop,
										 float *out, const EmbTokenOutputs *tokens, EmbError *err);

/*
 * Weights and vectors of n_rows rows x after the last layer, with the bits of
 * a pass; tokens->maxima is not written. x: emb_transformer_stride apart.
 */
extern EmbStatus emb_transformer_token_rows(const EmbTransformer *transformer, const EmbKernels *kernels, const float *x, int32_t n_rows,
											const EmbAllocator *mem, const EmbStop *stop, const EmbTokenOutputs *tokens, EmbError *err);

#endif
