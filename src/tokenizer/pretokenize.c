/*
 * pretokenize.c
 *		BertPreTokenizer and where an encoder starts: words end at spaces, at
 *		added tokens, and around each punctuation character.
 */
#include "tokenizer/encode.h"
#include "tokenizer/splitter.h"

#include <string.h>

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
	e->ordering = false;
	e->n_lower = e->next_lower = 0;
	e->window_start = e->window_end = 0;
	e->window_ended = false;
	e->window_no_match = 0;
	e->window_eaten = false;
	e->window_verdict = 0;
	e->window_before = 0;
	e->ids = ids;
	e->max_ids = max_ids;
	e->n_ids = 0;
	e->done = false;
	e->n_word_chars = 0;
	e->n_word_bytes = 0;
	e->in_segment = false;
	e->first_segment = true;
	e->n_nodes = 0;
	e->next_start = 0;
	e->unknown = false;
	e->n_ways = 0;
	e->ways = NULL;
	e->run = e->word;
	e->run_size = sizeof(e->word);
	e->run_kind = EMB_TOK_RUN_NONE;
	e->n_run = 0;
	e->run_held = e->run_line_end = 0;
	e->run_blank = false;
	e->run_letter = 0;
	e->run_parted = false;
	e->part_at = EMB_TOK_PART_BYTES;
	e->read_to = 0;
	e->symbols = NULL;
}

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

/*
 * A word of more than max_word_chars characters is one unknown token. It is
 * given as soon as the word is too long; n_word_chars then stays at
 * max_word_chars + 1 and the rest of the word is skipped.
 */
static inline bool
append_char(EmbTokEncoder *e, uint32_t cp)
{
	int32_t		max = e->tok->header->max_word_chars;

	if (e->n_word_chars > max)
		return true;
	if (e->n_word_chars++ == max)
		return emb_tok_emit_id(e, e->tok->header->unk_id);
	e->n_word_bytes += emb_utf8_encode(cp, e->word + e->n_word_bytes);
	return true;
}

static inline bool
end_word(EmbTokEncoder *e)
{
	bool		ok = true;

	if (e->n_word_chars > 0 && e->n_word_chars <= e->tok->header->max_word_chars)
		ok = emb_tok_emit_word(e);
	e->n_word_chars = 0;
	e->n_word_bytes = 0;
	return ok;
}

static inline bool
is_at_plain_text(const EmbTokEncoder *e)
{
	return e->tok->normalized.n_units == 0 && !e->ordering && e->next_lower == e->n_lower &&
		e->place.next == e->place.n_codes && e->place.raw.pos >= e->place.raw.skip_before;
}

/*
 * ASCII that means itself, until a byte that needs a closer look, the end of
 * the text, or limit. False: e->status is set.
 */
static bool
read_fast(EmbTokEncoder *e, int64_t limit)
{
	const uint8_t *fast = e->tok->fast;
	const uint8_t *text = e->text;
	const size_t start = e->place.raw.pos;
	const size_t end = e->len - start > EMB_TOK_STOP_WORK ? start + EMB_TOK_STOP_WORK : e->len;
	const int32_t max = e->tok->header->max_word_chars;
	size_t		pos = start;
	bool		ok = true;

	while (ok && pos < end && e->n_ids <= limit)
	{
		uint8_t		kind = fast[text[pos]];

		if (kind > EMB_TOK_FAST_SPACE && e->n_word_chars < max)
		{
			/* The body of a word; one byte is one character. */
			int32_t		room = max - e->n_word_chars;
			size_t		n = end - pos < (size_t) room ? end - pos : (size_t) room;
			uint8_t    *to = e->word + e->n_word_bytes;
			size_t		i = 0;

			do
				to[i++] = kind;
			while (i < n && (kind = fast[text[pos + i]]) > EMB_TOK_FAST_SPACE);
			e->n_word_bytes += (uint32_t) i;
			e->n_word_chars += (int32_t) i;
			pos += i;
			continue;
		}
		if (kind == EMB_TOK_FAST_SLOW)
			break;
		if (kind > EMB_TOK_FAST_SPACE)
			ok = append_char(e, kind);
		else if (kind != EMB_TOK_FAST_DROP)
			ok = end_word(e);
		if (kind == EMB_TOK_FAST_PUNCT)
			ok = ok && append_char(e, text[pos]) && end_word(e);
		pos++;
	}
	e->place.raw.pos = pos;
	return ok && !emb_tok_work(e, (int32_t) (pos - start));
}

static bool
take_char(EmbTokEncoder *e, uint32_t cp)
{
	uint32_t	flags = emb_uni_record(cp)->flags;

	if (flags & EMB_UNI_SPACE)
		return end_word(e);
	if (flags & EMB_UNI_PUNCT)
		return end_word(e) && append_char(e, cp) && end_word(e);
	return append_char(e, cp);
}

EmbTokEvent
emb_tok_encoder_run(EmbTokEncoder *e, int64_t limit)
{
	switch (e->tok->header->model)
	{
		case EMB_TOK_UNIGRAM:
			return emb_tok_run_metaspace(e, limit);
		case EMB_TOK_BPE:
			return emb_tok_run_bytelevel(e, limit);
		default:
			return emb_tok_run_splitter(e, limit, is_at_plain_text, read_fast, take_char, end_word);
	}
}
