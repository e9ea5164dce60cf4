/*
 * references.h
 *		The reference section of an image: texts (pairs for a reranker), their
 *		unquantized vectors (logits), and hashes of the ids and vectors at
 *		import.
 *
 * Example:
 *
 *		parts.reference_bytes = emb_references_bytes(&parts.arch, &parts.config);
 *		emb_image_build(&parts, mem, &image, &view, err);
 *		emb_references_place(image, &view);			// now the image can be opened
 *		emb_references_fill(exact, model, &steps, image, &view, err);
 */
#ifndef EMB_CONVERT_REFERENCES_H
#define EMB_CONVERT_REFERENCES_H

#include "convert/calibration.h"
#include "image/image.h"

/* The texts (reference_texts.c): UTF-8; changing them changes every image. */
extern const char *const emb_reference_texts[];
extern const int emb_n_reference_texts;

extern const EmbTextPair emb_reference_pairs[]; /* for rerankers */
extern const int emb_n_reference_pairs;

extern uint64_t emb_references_bytes(const EmbArch *arch, const EmbImageConfig *config);

/* Writes the texts or pairs and their sizes. */
extern void emb_references_place(uint8_t *image, const EmbImageView *view);

/* Writes the rest: model is the opened image, exact the unquantized model (or model). */
extern EmbStatus emb_references_fill(const EmbModel *exact, const EmbModel *model, const EmbImportSteps *steps,
									 uint8_t *image, const EmbImageView *view, EmbError *err);

#endif
