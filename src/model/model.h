/*
 * model.h
 *		An open model, as the files of model/ see it.
 */
#ifndef EMB_MODEL_MODEL_H
#define EMB_MODEL_MODEL_H

#include "transformer/dense.h"
#include "transformer/transformer.h"
#include "transformer/score.h"
#include "transformer/tokens.h"
#include "model/embed_core.h"
#include "image/image.h"
#include "tokenizer/tokenizer.h"

struct EmbModel
{
	EmbAllocator mem;			/* of emb_model_open */
	EmbImageView view;			/* its arch and config are the copies below */
	EmbArch		arch;			/* a copy: bounds must not change, whoever writes to the image's file */
	EmbImageConfig config;		/* likewise */
	EmbModelInfo info;			/* its strings lie in the image */
	EmbTokenizer *tok;
	EmbTransformer transformer; /* its weights lie in the image */
	EmbDense	dense;			/* after the pooling, likewise; n_layers 0: nothing */
	EmbScoreHead head;			/* of a reranker, likewise */
	EmbTokenHeads token_heads;	/* likewise, where it has them */
	EmbLayer   *layers;			/* [n_layers], owned */
	int32_t		dropped_id;		/* left out of texts; -1: none */
	size_t		query_prompt_bytes;
	size_t		document_prompt_bytes;
};

/* read_text.c: the prompt's text, not NULL, and its size. */
extern const char *emb_model_prompt(const EmbModel *model, EmbPrompt prompt, size_t *bytes);

#endif
