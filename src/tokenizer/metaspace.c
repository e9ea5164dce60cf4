/*
 * metaspace.c
 *		Metaspace, alone or after WhitespaceSplit. U+0020 becomes the meta character
 *		(U+2581). Each meta character starts a word. So does each segment: a meta
 *		character is put before it.
 */
#include "tokenizer/encode.h"
#include "tokenizer/splitter.h"

/* There is always room for one more character. */
#define WORD_BYTES_MAX	(EMB_TOK_OPEN_BYTES - EMB_UTF8_MAX_BYTES)

static inline bool
push_char(EmbTokEncoder *e, uint32_t cp)
{
	e->n_word_bytes += (uint32_t) emb_utf8_encode(cp, e->open + e->n_word_bytes);
	return e->n_word_bytes <= WORD_BYTES_MAX || emb_tok_open_word(e);
}

/*
 * The ids of all but the last characters may be emitted already. The last
 * characters are always kept.
 */
static inline bool
end_word(EmbTokEncoder *e)
{
	return e->n_word_bytes == 0 || emb_tok_end_open_word(e);
}

static bool
take_char(EmbTokEncoder *e, uint32_t cp)
{
	const EmbTokBlockHeader *h = e->tok->header;

	if ((h->flags & EMB_TOK_SPLIT_SPACES) != 0 && (emb_uni_record(cp)->flags & EMB_UNI_SPACE) != 0)
	{
		/* The space is dropped, and what follows no longer starts the text. */
		e->segment.inside = false;
		return end_word(e);
	}
	if (cp == ' ')
		cp = h->meta;
	if (!e->segment.inside)
	{
		e->segment.inside = true;
		if (cp != h->meta &&
			(h->prepend == EMB_TOK_PREPEND_ALWAYS || (h->prepend == EMB_TOK_PREPEND_FIRST && e->segment.is_first)) &&
			!push_char(e, h->meta))
			return false;
	}
	if (cp == h->meta && (h->flags & EMB_TOK_SPLIT_META) != 0 && !end_word(e))
		return false;
	return push_char(e, cp);
}

static bool
end_segment(EmbTokEncoder *e)
{
	e->segment.inside = false;
	e->segment.is_first = false;
	return end_word(e);
}

static inline bool
is_at_plain_text(const EmbTokEncoder *e)
{
	return e->place.raw.pos >= e->place.raw.skip_before && emb_tok_window_idle(&e->window) && emb_tok_steps_idle(e);
}

/*
 * Reads ASCII that the steps map one to one, and single spaces between, as long as
 * ASCII follows: any other character may belong to the same cluster. (A control may be
 * dropped, and a mark after it then composes with what comes before.) False:
 * e->status is set.
 */
static bool
read_fast(EmbTokEncoder *e, int64_t limit)
{
	const uint8_t *fast = e->tok->fast;
	const uint8_t *text = e->text;
	const size_t start = e->place.raw.pos;
	const size_t end = e->len - start > EMB_TOK_STOP_WORK ? start + EMB_TOK_STOP_WORK : e->len;
	size_t		pos = start;
	bool		ok = true;

	while (ok && pos + 1 < end && e->out.n_ids <= limit)
	{
		uint8_t		kind = fast[text[pos]];

		if (kind > EMB_TOK_FAST_SPACE && text[pos + 1] < 0x80 && (!e->tok->composes || fast[text[pos + 1]] != EMB_TOK_FAST_SLOW))
		{
			if (!e->segment.inside)
				ok = take_char(e, kind);
			else
			{
				e->open[e->n_word_bytes++] = kind;
				ok = e->n_word_bytes <= WORD_BYTES_MAX || emb_tok_open_word(e);
			}
		}
		else if (kind == EMB_TOK_FAST_SPACE && fast[text[pos + 1]] > EMB_TOK_FAST_SPACE)
			ok = take_char(e, ' ');
		else
			break;
		pos++;
	}
	if (pos > start)
	{
		e->place.raw.pos = pos;
		emb_tok_window_passed(&e->window, fast[text[pos - 1]] > EMB_TOK_FAST_SPACE ? fast[text[pos - 1]] : ' ');
		emb_tok_steps_passed(e);
	}
	return ok && !emb_tok_work(e, (int32_t) (pos - start));
}

EmbTokEvent
emb_tok_run_metaspace(EmbTokEncoder *e, int64_t limit)
{
	return emb_tok_run_splitter(e, limit, is_at_plain_text, read_fast, take_char, end_segment);
}
