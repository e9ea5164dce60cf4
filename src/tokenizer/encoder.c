/*
 * encoder.c
 *		An encoder: the stages of encode.h put together.
 */
#include "tokenizer/encode.h"

#include <string.h>

/* Leaves the buffers as they are, but sets the fields that tell how much of them is valid. */
void
emb_tok_encoder_init(EmbTokEncoder *e, const EmbTokenizer *tok, const EmbText *text,
					 int32_t *ids, int32_t max_ids, const EmbStop *stop, EmbError *err)
{
	e->tok = tok;
	e->text = (const uint8_t *) text->text;
	e->len = text->len;
	e->complete = text->complete;
	e->stop = stop;
	e->err = err;
	e->status = EMB_OK;
	e->work_left = EMB_TOK_STOP_WORK;
	e->token_id = 0;
	memset(&e->place, 0, sizeof(e->place));
	e->normal.ordering = false;
	e->normal.n_lower = e->normal.next_lower = 0;
	e->window.start = e->window.end = 0;
	e->window.ended = false;
	e->window.no_match = 0;
	e->window.eaten = false;
	e->window.verdict = 0;
	e->window.before = 0;
	e->segment = (EmbTokSegment) {.is_first = true};
	e->lattice = (EmbTokLattice) {0};
	e->run = (EmbTokByteRun) {.bytes = e->word, .size = sizeof(e->word), .state = EMB_TOK_STATE_START, .part_at = EMB_TOK_PART_BYTES};
	e->out = (EmbTokOut) {.ids = ids, .max_ids = max_ids};
	e->n_word_chars = 0;
	e->n_word_bytes = 0;
}

EmbTokEvent
emb_tok_encoder_run(EmbTokEncoder *e, int64_t limit)
{
	switch (e->tok->header->model)
	{
		case EMB_TOK_UNIGRAM:
			return emb_tok_run_metaspace(e, limit);
		case EMB_TOK_BPE:
			return e->tok->of_chars ? emb_tok_run_charlevel(e, limit) : emb_tok_run_bytelevel(e, limit);
		default:
			return emb_tok_run_words(e, limit);
	}
}
