/*
 * encode.c
 *		Functions that every stage between text and ids uses; see encode.h.
 */
#include "tokenizer/encode.h"

EmbTokEvent
emb_tok_stop_event(EmbTokEncoder *e)
{
	e->work_left = EMB_TOK_STOP_WORK;
	if (!emb_should_stop(e->stop))
		return EMB_TOK_CHAR;
	e->status = emb_error(e->err, EMB_ERR_CANCELLED, "tokenization was cancelled");
	return EMB_TOK_FAIL;
}

EmbTokEvent
emb_tok_corrupt(EmbTokEncoder *e)
{
	e->status = emb_error(e->err, EMB_ERR_FORMAT, "tokenizer tables are corrupt");
	return EMB_TOK_FAIL;
}
