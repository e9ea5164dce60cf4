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
	EmbAllocator mem;			/* from emb_model_open */
	void	   *meta;			/* a copy of what view points to, except for base; owned */
	EmbImageView view;
	EmbModelInfo info;			/* its strings are in meta */
	EmbTokenizer *tok;
	EmbTransformer transformer; /* its weights are in the image, its architecture in meta */
	EmbDense	dense;			/* dense modules after the pooling, weights in the image; n_layers 0: none */
	EmbScoreHead head;			/* for a reranker, weights in the image */
	EmbTokenHeads token_heads;	/* weights in the image, if the model has token heads */
	EmbLayer   *layers;			/* [n_layers], owned */
	int32_t		dropped_id;		/* token id left out of texts; -1: none */
	size_t		query_prompt_bytes;
	size_t		document_prompt_bytes;
};

/* read_text.c: the prompt, never NULL, and its size. */
extern const char *emb_model_prompt(const EmbModel *model, EmbPrompt prompt, size_t *bytes);

#endif
