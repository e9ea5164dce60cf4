/*
 * checkpoint.c
 *		Code that all checkpoints share.
 */
#include "import/checkpoint.h"

#include "import/hf_tokenizer.h"

void
emb_checkpoint_drop_tokenizer(EmbCheckpoint *c)
{
	if (c->tokenizer.storage != NULL)
		emb_tok_spec_free(&c->tokenizer, c->mem);
	c->tokenizer = (EmbTokSpec) {0};
}

void
emb_checkpoint_close(EmbCheckpoint *c)
{
	if (c->mem == NULL)
		return;
	emb_checkpoint_drop_tokenizer(c);
	if (c->source != NULL)
		c->source->close(c);
	emb_release(c->mem, c->query_prompt);
	emb_release(c->mem, c->document_prompt);
	*c = (EmbCheckpoint) {0};
}
