/*
 * references.h
 *		The reference section of an image: texts (pairs for a reranker), their
 *		unquantized vectors (logits), and hashes of the ids and vectors at
 *		import.
 *
 * Example:
 *
 *		parts.reference_bytes = emb_references_bytes(&parts.arch, &parts.config);
 *		emb_references_begin(&refs, model, false, parts.reference_bytes, &steps, err);
 *		// refs.exact and refs.own pass the layers (stream.h)
 *		emb_references_end(&refs, exact, model, &lm_head, &weights, &exact_view, &steps, err);	// refs.section is ready to be written
 *		emb_references_free(&refs);
 */
#ifndef EMB_CONVERT_REFERENCES_H
#define EMB_CONVERT_REFERENCES_H

#include "convert/calibration.h"
#include "convert/lm_head.h"
#include "convert/stream.h"

/* The texts (reference_texts.c): UTF-8; changing them changes every image. */
extern const char *const emb_reference_texts[];
extern const int emb_n_reference_texts;

extern const EmbTextPair emb_reference_pairs[]; /* for rerankers */
extern const int emb_n_reference_pairs;

extern uint64_t emb_references_bytes(const EmbArch *arch, const EmbImageConfig *config);

typedef struct EmbReferences
{
	EmbAllocator mem;
	EmbImageReferences *section;
	uint64_t	section_bytes;
	EmbStream	exact;			/* the texts, for the exact model */
	EmbStream	own;			/* the same for the image's model; no texts if it is the exact model */
	float	   *exact_out;		/* [n, hidden] pooled rows: to be written by the streams' last step */
	float	   *own_out;
} EmbReferences;

/*
 * section_bytes: emb_references_bytes. model has a tokenizer; is_exact: it is
 * the exact model. After an error, too: emb_references_free.
 */
extern EmbStatus emb_references_begin(EmbReferences *r, const EmbModel *model, bool is_exact, uint64_t section_bytes,
									  const EmbImportSteps *steps, EmbError *err);

/*
 * Fills the section from the pooled rows, and from the hidden states of a model
 * with outputs of tokens. lm_head reads the output over the vocabulary again,
 * of the checkpoint behind weights; exact_view: the fp32 plan.
 */
extern EmbStatus emb_references_end(EmbReferences *r, const EmbModel *exact, const EmbModel *model, EmbLmHead *lm_head,
									const EmbWeights *weights, const EmbImageView *exact_view, const EmbImportSteps *steps, EmbError *err);

/* Does nothing for zeros. */
extern void emb_references_free(EmbReferences *r);

#endif
