/*
 * lm_head.h
 *		The output over the vocabulary of a learned sparse model: the largest
 *		matrix of an image beside the word embeddings. It is read, quantized
 *		and written slice by slice, and read again for the reference texts, so
 *		that an import never has it in memory.
 *
 * Example:
 *
 *		emb_lm_head_begin(&head, &arch, is_quantized, &steps, err);
 *		emb_lm_head_write(&head, &weights, &writer, &exact->view, &image->view, err);
 *		emb_lm_head_run(&head, &weights, &exact->view, model, &stream, is_exact, maxima, err);	// after the last layer
 *		emb_lm_head_free(&head);
 */
#ifndef EMB_CONVERT_LM_HEAD_H
#define EMB_CONVERT_LM_HEAD_H

#include "convert/weights.h"
#include "convert/writer.h"

typedef struct EmbLmHead
{
	EmbAllocator mem;
	int32_t		n_in;
	int32_t		n_out;			/* 0: the model has no such head */
	bool		is_quantized;
	float	   *rows;			/* [16, n_in] of a panel, as read */
	float	   *panels;			/* [EMB_VOCABULARY_SLICE][n_in][16] */
	int8_t	   *codes;			/* [16, n_in], for a quantized image, like the next ones */
	int8_t	   *tiles;			/* [EMB_VOCABULARY_SLICE] panels */
	float	   *smooth;			/* [n_in] */
	float	   *factor;			/* [n_in] 1 / smooth, zeros up to a panel, and so below */
	float	   *scale;			/* [n_out] */
	int32_t    *sums;			/* [n_out] */
	float	   *bias;			/* [n_out], of every image */
} EmbLmHead;

/* For a model without the head only zeros. After an error, too: emb_lm_head_free. */
extern EmbStatus emb_lm_head_begin(EmbLmHead *h, const EmbArch *arch, bool is_quantized, const EmbImportSteps *steps, EmbError *err);

/* Writes the head's tensors of view, which follow the words. exact: the fp32 plan. */
extern EmbStatus emb_lm_head_write(EmbLmHead *h, const EmbWeights *weights, EmbWriter *writer, const EmbImageView *exact,
								   const EmbImageView *view, EmbError *err);

/*
 * The largest logits of each text of s, behind the last layer, as
 * emb_vocabulary_maxima has them: [n_seqs, n_out rounded up to a panel]. With
 * the weights of the checkpoint if is_exact, else with those of the image.
 */
extern EmbStatus emb_lm_head_run(EmbLmHead *h, const EmbWeights *weights, const EmbImageView *exact, const EmbModel *model,
								 const EmbStream *s, bool is_exact, float *maxima, EmbError *err);

/* Does nothing for zeros. */
extern void emb_lm_head_free(EmbLmHead *h);

#endif
