/*
 * score.h
 *		The head of a reranker: from the first row of a pair of texts to one
 *		logit.
 *
 *		logit = classifier . tanh(pooler x + b) + c,	x the first row behind the last layer
 *
 * This is transformers' BertPooler and the classifier of
 * BertForSequenceClassification with one label; in fp32 whatever the layers
 * are in, for it sees one row of a text.
 */
#ifndef EMB_ENCODER_SCORE_H
#define EMB_ENCODER_SCORE_H

#include "encoder/encoder.h"

typedef struct EmbScoreHead
{
	EmbLinear	pooler;			/* [hidden, hidden] */
	const float *classifier;	/* [hidden] */
	const float *classifier_bias;	/* [1] */
} EmbScoreHead;

/*
 * logits: [n_seqs]. bert has CLS pooling and does not normalize. All else as
 * emb_encoder_bert; EMB_ERR_LIMIT too where a logit is not finite.
 */
extern EmbStatus emb_encoder_score(const EmbBert *bert, const EmbScoreHead *head, const EmbKernels *kernels,
								   const EmbBatch *batch, int32_t n_threads, const EmbAllocator *mem,
								   const EmbStop *stop, float *logits, EmbError *err);

/* Bytes of scratch beside those of emb_encoder_bert. */
extern size_t emb_encoder_score_scratch_bytes(const EmbBert *bert, int32_t n_seqs);

#endif
