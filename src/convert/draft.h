/*
 * draft.h
 *		An image in the making: its view and model, with the tensors of the
 *		whole model and of one layer in memory.
 *
 * An import has two drafts if it quantizes: the exact draft (fp32), whose
 * tensors only the import itself reads, and the draft of the image. Else the
 * exact draft is the image's.
 *
 * Example:
 *
 *		emb_draft_begin(&draft, &parts, mem, err);			// of the image: has its front
 *		emb_draft_begin_exact(&exact, &draft, mem, err);	// fp32, with the tokenizer of draft
 *		// emb_words_write places the words
 *		emb_draft_read_tables(&exact, &weights, err);
 *		emb_draft_read_layer(&exact, i, &weights, err);		// exact.model->transformer.layers[i] is there
 *		emb_draft_free(&exact);
 */
#ifndef EMB_CONVERT_DRAFT_H
#define EMB_CONVERT_DRAFT_H

#include "convert/weights.h"
#include "convert/writer.h"

typedef struct EmbDraft
{
	EmbAllocator mem;
	EmbImageView view;
	EmbModel   *model;
	uint8_t    *head;			/* the front of the image; NULL in an exact draft beside another */
	uint64_t	head_bytes;
	void	   *plan;			/* tensors and places of such a draft */
	uint8_t    *tables;			/* of the whole model, without what is streamed */
	uint8_t    *layer;			/* of one layer */
	uint64_t	layer_room;
	int32_t		layer_at;		/* the layer that is in place, or EMB_NO_LAYER */
} EmbDraft;

/* After an error, too: emb_draft_free. */
extern EmbStatus emb_draft_begin(EmbDraft *d, const EmbImageParts *parts, const EmbAllocator *mem, EmbError *err);
extern EmbStatus emb_draft_begin_exact(EmbDraft *d, const EmbDraft *image, const EmbAllocator *mem, EmbError *err);

/* Does nothing for zeros. */
extern void emb_draft_free(EmbDraft *d);

/* Reads the tensors of the whole model, except the words, which have places already, and the output over the vocabulary (lm_head.h). */
extern EmbStatus emb_draft_read_tables(EmbDraft *d, EmbWeights *weights, EmbError *err);

/* The same tensors of another draft, for tensors that no precision changes. */
extern EmbStatus emb_draft_share_tables(EmbDraft *d, const EmbDraft *exact, EmbError *err);

/* Makes room for a layer's tensors, zero-filled, in place of another layer's. */
extern EmbStatus emb_draft_begin_layer(EmbDraft *d, int32_t layer, const EmbStop *stop, EmbError *err);

/* The same, filled from the checkpoint. */
extern EmbStatus emb_draft_read_layer(EmbDraft *d, int32_t layer, EmbWeights *weights, EmbError *err);

/* Writes the tensors of a layer; EMB_NO_LAYER: of the whole model, except the words and the output over the vocabulary. */
extern EmbStatus emb_draft_write(const EmbDraft *d, int32_t layer, EmbWriter *writer, EmbError *err);

#endif
