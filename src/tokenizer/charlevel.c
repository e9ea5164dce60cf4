/*
 * charlevel.c
 *		Splits text for BPE over characters, SentencePiece's kind: whole segments
 *		between added tokens, in which U+0020 became the meta character.
 *
 * A merge joins the last character of a piece to the first one of another. Where no merge
 * joins two characters (before the meta character after a letter, mostly), a segment is
 * cut into words without a change of its ids: no merge crosses the border, so the parts
 * merge by themselves. Most words are then looked up as a whole.
 */
#include "tokenizer/encode.h"
#include "tokenizer/splitter.h"

#include <string.h>

static bool
end_word(EmbTokEncoder *e)
{
	uint32_t	n = e->n_word_bytes;
	bool		ok = n == 0 || (e->run.parted ? emb_tok_give_rest(e, e->run.bytes, n) : emb_tok_give_word(e, e->run.bytes, n));

	e->n_word_bytes = 0;
	e->run.held = 0;
	e->run.parted = false;
	e->run.part_at = EMB_TOK_PART_BYTES;
	return ok;
}

/* Whether a merge may join the kept text and a character that starts with first. */
static inline bool
may_join(const EmbTokEncoder *e, uint8_t first)
{
	uint8_t		last = e->run.bytes[e->n_word_bytes - 1];

	return (e->tok->joints->bits[last][first / 8] >> first % 8 & 1) != 0;
}

/* Adds a character to the word, or starts another word with it. */
static inline bool
push_char(EmbTokEncoder *e, const uint8_t *bytes, size_t n)
{
	if (e->n_word_bytes > 0 && !may_join(e, bytes[0]) && !end_word(e))
		return false;
	if (e->n_word_bytes + n <= e->run.size)
	{
		for (size_t i = 0; i < n; i++)
			e->run.bytes[e->n_word_bytes++] = bytes[i];
	}
	else if (!emb_tok_push_bytes(e, bytes, n))
		return false;
	e->run.held = e->n_word_bytes;
	return e->n_word_bytes < e->run.part_at || emb_tok_give_part(e, e->n_word_bytes);
}

static bool
take_char(EmbTokEncoder *e, uint32_t cp)
{
	const EmbTokBlockHeader *h = e->tok->header;
	uint8_t		bytes[EMB_UTF8_MAX_BYTES];

	if (cp == ' ' && h->meta != 0)
		cp = h->meta;
	if (!e->segment.inside)
	{
		e->segment.inside = true;
		if (h->meta != 0 && cp != h->meta &&
			(h->prepend == EMB_TOK_PREPEND_ALWAYS || (h->prepend == EMB_TOK_PREPEND_FIRST && e->segment.is_first)) &&
			!push_char(e, bytes, (size_t) emb_utf8_encode(h->meta, bytes)))
			return false;
	}
	if (cp == h->meta && (h->flags & EMB_TOK_SPLIT_META) != 0 && !end_word(e))
		return false;
	return push_char(e, bytes, (size_t) emb_utf8_encode(cp, bytes));
}

static bool
end_segment(EmbTokEncoder *e)
{
	bool		ok = end_word(e);

	e->segment.inside = false;
	e->segment.is_first = false;
	e->run.unknown = false;
	return ok;
}

static inline bool
is_at_plain_text(const EmbTokEncoder *e)
{
	return e->tok->plain && e->segment.inside && e->place.raw.pos >= e->place.raw.skip_before &&
		e->place.raw.pos >= e->place.raw.no_match_before && emb_tok_window_idle(&e->window) && emb_tok_steps_idle(e);
}

/* The bytes of the U+0020 at pos; NULL: a token may follow that takes white space along. */
static inline const uint8_t *
blank_at(const EmbTokEncoder *e, size_t pos)
{
	if ((e->tok->header->flags & (EMB_TOK_HAS_LSTRIP | EMB_TOK_NORMALIZED_LSTRIP)) != 0 &&
		(pos + 1 >= e->len || e->tok->fast[e->text[pos + 1]] != EMB_TOK_FAST_CHAR))
		return NULL;
	return e->tok->blank;
}

/*
 * Reads characters that no step changes, except for U+0020, and that no added token starts
 * with. Not at the start of a segment. False: e->status is set.
 */
static bool
read_fast(EmbTokEncoder *e, int64_t limit)
{
	const uint8_t *fast = e->tok->fast;
	const uint8_t *text = e->text;
	const size_t start = e->place.raw.pos;
	const size_t end = e->len - start > EMB_TOK_STOP_WORK ? start + EMB_TOK_STOP_WORK : e->len;
	const bool splits = (e->tok->header->flags & EMB_TOK_SPLIT_META) != 0;
	size_t		pos = start;
	uint32_t	cp = 0;
	bool		ok = true;

	while (ok && pos < end && e->out.n_ids <= limit)
	{
		uint8_t		kind = fast[text[pos]];
		const uint8_t *bytes = text + pos;
		int			n = 1;

		cp = text[pos];
		if (kind == EMB_TOK_FAST_CHAR)
			ok = push_char(e, bytes, 1);
		else if (kind == EMB_TOK_FAST_BLANK)
		{
			bytes = blank_at(e, pos);
			if (bytes == NULL)
				break;
			ok = (!splits || end_word(e)) && push_char(e, bytes, e->tok->n_blank);
		}
		else
		{
			if (kind != EMB_TOK_FAST_MULTIBYTE || (n = emb_utf8_decode_multibyte(bytes, e->len - pos, &cp)) == 0 ||
				((emb_uni_record(cp)->flags & EMB_UNI_SPACE) != 0 &&
				 (e->tok->header->flags & (EMB_TOK_HAS_LSTRIP | EMB_TOK_NORMALIZED_LSTRIP)) != 0))
				break;
			ok = (!splits || cp != e->tok->header->meta || end_word(e)) && push_char(e, bytes, (size_t) n);
		}
		pos += (size_t) n;
	}
	if (pos > start)
	{
		e->place.raw.pos = pos;
		if (emb_utf8_decode_before(text, pos, &cp) == 0)
			return emb_tok_corrupt(e) != EMB_TOK_FAIL;
		emb_tok_window_passed(&e->window, cp);
	}
	return ok && !emb_tok_work(e, (int32_t) (pos - start));
}

EmbTokEvent
emb_tok_run_charlevel(EmbTokEncoder *e, int64_t limit)
{
	return emb_tok_run_splitter(e, limit, is_at_plain_text, read_fast, take_char, end_segment);
}
