/*
 * pretokenize.c
 *		BertPreTokenizer: words end at spaces, at added tokens, and around
 *		each punctuation character.
 */
#include "tokenizer/encode.h"
#include "tokenizer/splitter.h"

/*
 * A word of more than max_word_chars characters is one unknown token. The token is
 * emitted as soon as the word is too long. n_word_chars then stays at
 * max_word_chars + 1, and the rest of the word is skipped.
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
	return e->tok->normalized.n_units == 0 && !e->normal.ordering && e->normal.next_lower == e->normal.n_lower &&
		e->place.next == e->place.n_codes && e->place.raw.pos >= e->place.raw.skip_before;
}

/*
 * Reads ASCII in place, until a byte that is left to the slow path, the end of the
 * text, or limit ids. False: e->status is set.
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

	while (ok && pos < end && e->out.n_ids <= limit)
	{
		uint8_t		kind = fast[text[pos]];

		if (kind > EMB_TOK_FAST_SPACE && e->n_word_chars < max)
		{
			/* The body of a word. One byte is one character. */
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
emb_tok_run_words(EmbTokEncoder *e, int64_t limit)
{
	return emb_tok_run_splitter(e, limit, is_at_plain_text, read_fast, take_char, end_word);
}
