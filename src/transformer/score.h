/*
 * score.h
 *		The head of a reranker: computes one logit from the pooled pair of
 *		texts. x is pooled after the last layer.
 *
 *		EMB_HEAD_SCORE		logit = classifier . norm(act(pooler x + b)) + c
 *		EMB_HEAD_ANSWER		logit = yes . x - no . x, or yes . x without a "no"
 *		EMB_HEAD_MODULES	logit = the output of the modules (dense.h) for x
 *
 * The classifier, or the last module, may have several outputs z, one for each
 * label. The score of a label is its softmax, so its logit is
 *
 *		z[label] - log(sum of e^z[i] over all other labels)
 *
 * because the sigmoid of this logit is the softmax. With two labels this is
 * their difference.
 *
 * A decoder answers a question about the pair by its next token. yes and no
 * are the rows of these tokens in its output matrix. So the sigmoid of the
 * logit is the probability of "yes" among the two.
 *
 * With the first row, tanh and no norm the score head is transformers' BertPooler and
 * the classifier of BertForSequenceClassification with one label. Classes of
 * other families have the same structure with other parts. Always fp32,
 * because the head reads one row per text.
 */
#ifndef EMB_TRANSFORMER_SCORE_H
#define EMB_TRANSFORMER_SCORE_H

#include "transformer/dense.h"
#include "transformer/transformer.h"

typedef struct EmbScoreHead
{
	const float *answers;		/* [n_answers, hidden], yes first; NULL: a score head, or modules */
	int32_t		n_answers;		/* 1 or 2 */
	EmbLinear	pooler;			/* [hidden, hidden] */
	EmbActivation activation;
	EmbLayerNorm norm;			/* gamma NULL: none */
	float		norm_eps;			/* eps of norm */
	const float *classifier;	/* [n_labels, hidden] */
	const float *classifier_bias;	/* [n_labels] */
	const EmbDense *modules;	/* NULL: a head of the fields above; else they do not count */
	int32_t		n_labels;		/* outputs of classifier or modules, up to EMB_ARCH_MAX_LABELS; 0 counts as 1 */
	int32_t		label;			/* the output that is the score */
} EmbScoreHead;

/* The logit of a label among n outputs, see above. The same bits on every machine. */
extern float emb_label_logit(const float *outputs, int32_t n, int32_t label);

/*
 * logits: [n_seqs]. Only a head of modules reads normalized rows. All else as for
 * emb_transformer_run; EMB_ERR_LIMIT also if a logit is not finite.
 */
extern EmbStatus emb_transformer_score(const EmbTransformer *transformer, const EmbScoreHead *head, const EmbKernels *kernels,
								   const EmbBatch *batch, int32_t n_threads, const EmbAllocator *mem,
								   const EmbStop *stop, float *logits, EmbError *err);

/*
 * The head alone: rows [n_rows, pooled width], as emb_transformer_run writes them,
 * to logits [n_rows], with the bits of emb_transformer_score.
 */
extern EmbStatus emb_transformer_score_rows(const EmbTransformer *transformer, const EmbScoreHead *head, const EmbKernels *kernels,
											const float *rows, int32_t n_rows, const EmbAllocator *mem,
											const EmbStop *stop, float *logits, EmbError *err);

/* Scratch bytes in addition to emb_transformer_run. */
extern size_t emb_transformer_score_scratch_bytes(const EmbTransformer *transformer, int32_t n_seqs);

#endif
