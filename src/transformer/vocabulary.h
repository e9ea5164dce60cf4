/*
 * vocabulary.h
 *		The head over the vocabulary of a learned sparse model (Formal et al.
 *		2021, "SPLADE v2"; the head is BERT's for masked tokens):
 *
 *			y = norm(act(dense x + b))			x is a token's row after the last layer
 *			logit of an entry = out y + c
 *			weight of an entry = log(1 + max(0, its largest logit at any token))
 *
 * OpenSearch's models of 2025 take log(1 + w) of this weight once more (Shen et
 * al. 2025, "Exploring l0 sparsification"). The logarithm grows with its
 * argument, so it is taken once an entry, of the largest logit.
 *
 * The product has one output for each entry: 30,522 to 250,000. It goes in
 * slices of the vocabulary; of a slice only each text's largest logits are kept.
 *
 * Buffers are the caller's. Example:
 *
 *		emb_vocabulary_prepare(&head, &work, x, stride, n_rows, scratch, &rows, 0);
 *		for (p = 0; p < n_panels; p += EMB_VOCABULARY_SLICE)
 *			emb_vocabulary_maxima(&head, &work, &rows, offsets, n_seqs, p, n, c, c_rows, maxima, maxima_stride);
 *		weight = emb_vocabulary_weight(maxima[id], n_logs);
 */
#ifndef EMB_TRANSFORMER_VOCABULARY_H
#define EMB_TRANSFORMER_VOCABULARY_H

#include "transformer/transformer.h"
#include "transformer/work.h"

/* Panels of a slice: 196 KB of weights with 384 inputs, and as much for the logits of 96 rows. */
#define EMB_VOCABULARY_SLICE	32

typedef struct EmbVocabularyHead
{
	EmbLinear	dense;			/* fp32, [hidden, hidden]; n_out 0: the model has no such head */
	EmbActivation activation;
	EmbLayerNorm norm;
	float		norm_eps;
	EmbLinear	out;			/* fp32 or int8, [n_vocab, hidden] */
} EmbVocabularyHead;

/* The input of the product: rows in fp32, or codes. */
typedef struct EmbVocabularyRows
{
	float	   *rows;			/* [n_rows, hidden], for fp32 */
	size_t		stride;
	uint8_t    *codes;			/* [n_rows, hidden], for int8, like the next ones */
	size_t		code_stride;	/* bytes: hidden rounded up to 64, filled with zeros */
	float	   *scales;			/* [n_rows] */
	int32_t    *zeros;
} EmbVocabularyRows;

/*
 * y of n_rows rows of x, to row first of `to` and the next ones. scratch:
 * [n_rows, stride]. stride, also of to->rows: hidden rounded up to a panel.
 * False: stopped.
 */
extern bool emb_vocabulary_prepare(const EmbVocabularyHead *head, EmbWork *work, const float *x, size_t stride, int32_t n_rows,
								   float *scratch, const EmbVocabularyRows *to, int32_t first);

/*
 * maxima[seq * maxima_stride + i] = max(0, the largest logit of entry 16 panel + i at the rows
 * offsets[seq] .. offsets[seq + 1] - 1), for i < 16 n_panels. c: scratch,
 * [c_rows, 16 n_panels]. False: stopped.
 */
extern bool emb_vocabulary_maxima(const EmbVocabularyHead *head, EmbWork *work, const EmbVocabularyRows *rows, const int32_t *offsets,
								  int32_t n_seqs, int32_t panel, int32_t n_panels, float *c, int32_t c_rows,
								  float *maxima, size_t maxima_stride);

/* log(1 + x), n_logs times, x >= 0, with the same bits on every machine; 0 only for 0. */
extern float emb_vocabulary_weight(float x, int32_t n_logs);

#endif
