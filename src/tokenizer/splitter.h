/*
 * splitter.h
 *		The loop that drives an encoder: from characters and added tokens to words.
 *		Each kind of splitting compiles the loop with its own functions. With calls
 *		through function pointers the loop took up to a tenth longer.
 */
#ifndef EMB_TOKENIZER_SPLITTER_H
#define EMB_TOKENIZER_SPLITTER_H

#include "tokenizer/encode.h"

/*
 * read_fast is called where is_at_plain_text is true. It may take any part of the
 * raw text that no stage changes, or nothing. end_segment is called before an added
 * token and at the end of the text. read_fast, take_char and end_segment return
 * false if e->status is set.
 */
static inline __attribute__((always_inline)) EmbTokEvent
emb_tok_run_splitter(EmbTokEncoder *e, int64_t limit, bool (*is_at_plain_text) (const EmbTokEncoder *e),
					 bool (*read_fast) (EmbTokEncoder *e, int64_t limit),
					 bool (*take_char) (EmbTokEncoder *e, uint32_t cp), bool (*end_segment) (EmbTokEncoder *e))
{
	bool		has_normalized = e->tok->normalized.n_units > 0;

	while (e->out.n_ids <= limit)
	{
		uint32_t	cp = 0;
		EmbTokEvent event;
		bool		ok = true;

		if (e->out.done)
			return EMB_TOK_END;
		if (is_at_plain_text(e))
		{
			if (!read_fast(e, limit))
				return EMB_TOK_FAIL;
			if (e->out.n_ids > limit)
				break;
		}
		event = has_normalized ? emb_tok_next_matched(e, &cp) : emb_tok_next_normalized(e, &cp);
		switch (event)
		{
			case EMB_TOK_CHAR:
				ok = take_char(e, cp);
				break;
			case EMB_TOK_TOKEN:
				ok = end_segment(e) && emb_tok_emit_id(e, e->token_id);
				break;
			case EMB_TOK_END:
				ok = end_segment(e);
				e->out.done = true;
				break;
			case EMB_TOK_MORE:
			case EMB_TOK_FAIL:
				return event;
		}
		if (!ok)
			return EMB_TOK_FAIL;
	}
	return e->out.done ? EMB_TOK_END : EMB_TOK_CHAR;
}

#endif
