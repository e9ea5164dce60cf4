/*
 * token_outputs_util.h
 *		Outputs of tokens in plain arrays: the weights of a sequence start at the
 *		index of its first token, for models whose weights are those of tokens.
 */
#ifndef EMB_TEST_TOKEN_OUTPUTS_UTIL_H
#define EMB_TEST_TOKEN_OUTPUTS_UTIL_H

#include "model_util.h"

typedef struct FlatOutputs
{
	float	   *dense;
	int32_t    *n_sparse;
	int32_t    *sparse_ids;
	float	   *sparse_weights;
	float	   *multi;
} FlatOutputs;

/* emb_model_embed_all, and its weights into the arrays. */
static inline EmbStatus
embed_flat(const EmbModel *model, const EmbSequence *seqs, int32_t n_seqs, const EmbRun *run, const FlatOutputs *flat, EmbError *err)
{
	EmbSparse  *sparse = calloc(n_seqs > 0 ? n_seqs : 1, sizeof(EmbSparse));
	EmbOutputs	outputs = {.dense = flat->dense, .sparse = flat->n_sparse != NULL ? sparse : NULL, .multi = flat->multi};
	EmbStatus	status = emb_model_embed_all(model, seqs, n_seqs, run, &outputs, err);
	size_t		at = 0;

	for (int32_t i = 0; i < n_seqs; at += seqs[i++].n_ids)
	{
		if (status == EMB_OK && flat->n_sparse != NULL)
		{
			flat->n_sparse[i] = sparse[i].n;
			memcpy(flat->sparse_ids + at, sparse[i].ids, sparse[i].n * sizeof(int32_t));
			memcpy(flat->sparse_weights + at, sparse[i].weights, sparse[i].n * sizeof(float));
		}
		emb_sparse_free(&sparse[i], run->mem);
	}
	free(sparse);
	return status;
}

#endif
