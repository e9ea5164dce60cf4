/*
 * score.h
 *		The head of a reranker: from a pair of texts, pooled, to one logit.
 *
 *		logit = classifier . norm(act(pooler x + b)) + c,	x pooled behind the last layer
 *
 * With the first row, tanh and no norm this is transformers' BertPooler and
 * the classifier of BertForSequenceClassification with one label; what other
 * families' classes have is the same with other parts. In fp32 whatever the
 * layers are in, for it sees one row of a text.
 */
#ifndef EMB_TRANSFORMER_SCORE_H
#define EMB_TRANSFORMER_SCORE_H

#include "transformer/transformer.h"

typedef struct EmbScoreHead
{
	EmbLinear	pooler;			/* [hidden, hidden] */
	EmbActivation activation;
	EmbLayerNorm norm;			/* gamma NULL: none */
	float		norm_eps;			/* of norm */
	const float *classifier;	/* [hidden] */
	const float *classifier_bias;	/* [1] */
} EmbScoreHead;

/*
 * logits: [n_seqs]. The transformer does not normalize. All else as
 * emb_transformer_run; EMB_ERR_LIMIT too where a logit is not finite.
 */
extern EmbStatus emb_transformer_score(const EmbTransformer *transformer, const EmbScoreHead *head, const EmbKernels *kernels,
								   const EmbBatch *batch, int32_t n_threads, const EmbAllocator *mem,
								   const EmbStop *stop, float *logits, EmbError *err);

/* Bytes of scratch beside those of emb_transformer_run. */
extern size_t emb_transformer_score_scratch_bytes(const EmbTransformer *transformer, int32_t n_seqs);

#endif
