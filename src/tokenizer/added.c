/*
 * added.c
 *		Finds added tokens ("[MASK]", "<mask>") in the raw text. Tokens with
 *		normalized set are searched in the normalized text instead.
 *
 * The library searches leftmost-longest from left to right. A match that
 * single_word rejects is consumed nevertheless, and its characters are ordinary
 * text. A match with lstrip or rstrip also drops the spaces beside it.
 */
#include "tokenizer/encode.h"

#include <string.h>

typedef enum Found
{
	FOUND_NOTHING,
	FOUND_TOKEN,
	FOUND_REJECTED,				/* single_word rejects the match */
	FOUND_MORE,					/* depends on what follows the prefix */
	FOUND_FAIL
} Found;

static inline bool
is_space(uint32_t cp)
{
	return (emb_uni_record(cp)->flags & EMB_UNI_SPACE) != 0;
}

static inline bool
is_word(uint32_t cp)
{
	return (emb_uni_record(cp)->flags & EMB_UNI_WORD) != 0;
}

static EmbTokEvent
bad_text(EmbTokEncoder *e, size_t pos)
{
	if (e->text[pos] == 0)
		e->status = emb_error_at(e->err, EMB_ERR_TEXT, pos, "text contains U+0000 at byte %zu", pos);
	else
		e->status = emb_error_at(e->err, EMB_ERR_TEXT, pos, "text is not valid UTF-8 at byte %zu (0x%02x)",
								 pos, e->text[pos]);
	return EMB_TOK_FAIL;
}

/* Bytes of the character at pos < len; 0: e->status is set. */
static inline int
decode(EmbTokEncoder *e, size_t pos, uint32_t *cp)
{
	int			n = emb_utf8_decode(e->text + pos, e->len - pos, cp);

	if (n == 0 || *cp == 0)
	{
		bad_text(e, pos);
		return 0;
	}
	return n;
}

/*
 * Returns the length of the longest key of trie that text[0 .. n) starts with, or
 * 0. *alive: with more text a longer key may match.
 */
static size_t
longest_match(const EmbTrie *trie, const uint8_t *text, size_t n, uint32_t *value_node, bool *alive, size_t *n_read)
{
	uint32_t	node = 0;
	size_t		i,
				best = 0;

	for (i = 0; i < n; i++)
	{
		node = emb_trie_step(trie, node, text[i]);
		if (node == EMB_TRIE_NONE)
			break;
		if (emb_trie_has_value(trie, node))
		{
			best = i + 1;
			*value_node = node;
		}
	}
	*alive = node != EMB_TRIE_NONE;
	*n_read = i;
	return best;
}

/* Applies single_word to the match text[pos .. end) in the raw text. */
static Found
check_single_word(EmbTokEncoder *e, size_t pos, size_t end)
{
	uint32_t	cp;

	if (pos > 0 && emb_utf8_decode_before(e->text, pos, &cp) > 0 && is_word(cp))
		return FOUND_REJECTED;
	if (end == e->len)
		return e->complete ? FOUND_TOKEN : FOUND_MORE;
	if (decode(e, end, &cp) == 0)
		return FOUND_FAIL;
	return is_word(cp) ? FOUND_REJECTED : FOUND_TOKEN;
}

/* Matches a token at pos in the raw text. */
static Found
match_raw(EmbTokEncoder *e, size_t pos, const EmbTokBlockAdded **added, size_t *end)
{
	const EmbTokenizer *tok = e->tok;
	uint32_t	node = 0;
	bool		alive;
	size_t		n_read;
	size_t		n = longest_match(&tok->raw, e->text + pos, e->len - pos, &node, &alive, &n_read);
	uint32_t	index;

	if (emb_tok_work(e, n_read <= INT32_MAX / 2 ? (int32_t) n_read : INT32_MAX / 2))
		return FOUND_FAIL;
	if (alive && !e->complete)
		return FOUND_MORE;
	if (n == 0)
		return FOUND_NOTHING;
	index = (uint32_t) tok->raw.values[node];
	if (index >= tok->header->n_added)
	{
		emb_tok_corrupt(e);
		return FOUND_FAIL;
	}
	*added = &tok->added[index];
	*end = pos + n;
	return (*added)->flags & EMB_TOK_SINGLE_WORD ? check_single_word(e, pos, *end) : FOUND_TOKEN;
}

/*
 * Takes a match that ends at end, and drops the spaces after it if it has rstrip.
 * EMB_TOK_CHAR: the library drops the match, because its spaces already belong to
 * the token before.
 */
static EmbTokEvent
take_raw(EmbTokEncoder *e, EmbTokRaw *at, const EmbTokBlockAdded *added, size_t end)
{
	size_t		eaten = at->pos < at->skip_before ? at->skip_before : 0;

	at->pos = at->no_match_before = at->skip_before = end;
	if (added->flags & EMB_TOK_RSTRIP)
	{
		size_t		stop = end;
		uint32_t	cp;
		int			n;

		while (stop < e->len)
		{
			if ((n = decode(e, stop, &cp)) == 0 || emb_tok_work(e, 1))
				return EMB_TOK_FAIL;
			if (!is_space(cp))
				break;
			stop += n;
		}
		if (stop == e->len && !e->complete)
			return EMB_TOK_MORE;
		at->skip_before = stop;
	}
	if ((added->flags & EMB_TOK_LSTRIP) != 0 && at->skip_before <= eaten)
		return EMB_TOK_CHAR;
	e->token_id = added->id;
	return EMB_TOK_TOKEN;
}

/*
 * at is the first space of a run. If the next token follows the run (or is inside
 * it) and has lstrip, at moves to that token. Otherwise the spaces are ordinary
 * text.
 */
static EmbTokEvent
look_past_spaces(EmbTokEncoder *e, EmbTokRaw *at)
{
	size_t		no_match_before = at->no_match_before;
	size_t		pos = at->pos;
	uint32_t	cp;
	int			n;

	while (pos < e->len)
	{
		if (pos >= no_match_before && e->tok->raw_first[e->text[pos]])
		{
			const EmbTokBlockAdded *added = NULL;
			size_t		end = 0;
			Found		found = match_raw(e, pos, &added, &end);

			if (found == FOUND_FAIL)
				return EMB_TOK_FAIL;
			if (found == FOUND_MORE)
				return EMB_TOK_MORE;
			if (found == FOUND_REJECTED)
				no_match_before = end;
			if (found == FOUND_TOKEN)
			{
				if (added->flags & EMB_TOK_LSTRIP)
				{
					at->pos = pos;
					at->no_match_before = no_match_before;
				}
				break;
			}
		}
		if ((n = decode(e, pos, &cp)) == 0 || emb_tok_work(e, 1))
			return EMB_TOK_FAIL;
		if (!is_space(cp))
			break;
		pos += n;
	}
	if (pos == e->len && !e->complete)
		return EMB_TOK_MORE;
	at->looked_before = pos;
	return EMB_TOK_CHAR;
}

EmbTokEvent
emb_tok_next_raw(EmbTokEncoder *e, EmbTokRaw *at, uint32_t *cp)
{
	const EmbTokenizer *tok = e->tok;

	for (;;)
	{
		int			n;

		if (at->pos >= e->len)
			return e->complete ? EMB_TOK_END : EMB_TOK_MORE;
		if (tok->raw_first[e->text[at->pos]] && at->pos >= at->no_match_before)
		{
			const EmbTokBlockAdded *added = NULL;
			size_t		end = 0;
			Found		found = match_raw(e, at->pos, &added, &end);

			if (found == FOUND_FAIL)
				return EMB_TOK_FAIL;
			if (found == FOUND_MORE)
				return EMB_TOK_MORE;
			if (found == FOUND_TOKEN)
			{
				EmbTokEvent event = take_raw(e, at, added, end);

				if (event != EMB_TOK_CHAR)
					return event;
				continue;
			}
			if (found == FOUND_REJECTED)
				at->no_match_before = end;
		}
		n = decode(e, at->pos, cp);
		if (n == 0 || emb_tok_work(e, 1))
			return EMB_TOK_FAIL;
		if (at->pos < at->skip_before)
		{
			at->pos += n;
			continue;
		}
		if ((tok->header->flags & EMB_TOK_HAS_LSTRIP) != 0 && at->pos >= at->looked_before && is_space(*cp))
		{
			size_t		pos = at->pos;
			EmbTokEvent event = look_past_spaces(e, at);

			if (event != EMB_TOK_CHAR)
				return event;
			if (at->pos != pos)
				continue;
		}
		at->pos += n;
		return EMB_TOK_CHAR;
	}
}

/* Bytes needed in the window to decide on a match: the longest token and the character after it. */
static inline uint32_t
match_bytes(const EmbTokEncoder *e)
{
	return e->tok->header->normalized_max + EMB_UTF8_MAX_BYTES;
}

/* Fills the window to want bytes or the segment's end. */
static void
fill_window(EmbTokEncoder *e, uint32_t want)
{
	if (e->window.start + want + EMB_UTF8_MAX_BYTES > sizeof(e->window.bytes))
	{
		memmove(e->window.bytes, e->window.bytes + e->window.start, e->window.end - e->window.start);
		e->window.end -= e->window.start;
		e->window.start = 0;
	}
	while (!e->window.ended && e->window.end - e->window.start < want)
	{
		uint32_t	cp;
		EmbTokEvent event = emb_tok_next_normalized(e, &cp);

		if (event == EMB_TOK_CHAR)
			e->window.end += emb_utf8_encode(cp, e->window.bytes + e->window.end);
		else
		{
			e->window.ended = true;
			e->window.event = event;
			e->window.token_id = e->token_id;
		}
	}
}

/*
 * Matches a token at the start of normalized text[0 .. n_text). before: the
 * preceding character, 0: none.
 */
static Found
match_normalized(EmbTokEncoder *e, const uint8_t *text, uint32_t n_text, uint32_t before,
				 const EmbTokBlockAdded **added, uint32_t *n)
{
	const EmbTokenizer *tok = e->tok;
	uint32_t	n_search = n_text < tok->header->normalized_max ? n_text : tok->header->normalized_max;
	uint32_t	node = 0;
	uint32_t	cp;
	bool		alive;
	size_t		n_read;
	uint32_t	index;

	*n = (uint32_t) longest_match(&tok->normalized, text, n_search, &node, &alive, &n_read);
	if (emb_tok_work(e, (int32_t) n_read))
		return FOUND_FAIL;
	if (*n == 0)
		return FOUND_NOTHING;
	index = (uint32_t) tok->normalized.values[node];
	if (index >= tok->header->n_added)
	{
		emb_tok_corrupt(e);
		return FOUND_FAIL;
	}
	*added = &tok->added[index];
	if (((*added)->flags & EMB_TOK_SINGLE_WORD) == 0)
		return FOUND_TOKEN;
	if (before != 0 && is_word(before))
		return FOUND_REJECTED;
	if (*n < n_text && emb_utf8_decode(text + *n, n_text - *n, &cp) > 0 && is_word(cp))
		return FOUND_REJECTED;
	return FOUND_TOKEN;
}

/* Passes the end of a segment on and starts the next one. */
static EmbTokEvent
end_segment(EmbTokEncoder *e)
{
	if (e->window.event == EMB_TOK_FAIL || e->window.event == EMB_TOK_MORE)
		return e->window.event;
	e->window.verdict = 0;
	e->window.ended = false;
	e->window.before = 0;
	e->window.no_match = 0;
	e->window.eaten = false;
	e->token_id = e->window.token_id;
	return e->window.event;
}

static bool
is_all_spaces(const uint8_t *text, uint32_t n)
{
	uint32_t	cp;

	for (uint32_t i = 0; i < n;)
	{
		int			len = emb_utf8_decode(text + i, n - i, &cp);

		if (len == 0 || !is_space(cp))
			return false;
		i += len;
	}
	return true;
}

/*
 * Takes a match of n bytes out of the window. With BERT there is no need to drop
 * spaces here, because the next stage drops them. But a token of spaces with
 * lstrip, among spaces that an rstrip has dropped, is dropped by the library.
 */
static EmbTokEvent
take_window(EmbTokEncoder *e, const EmbTokBlockAdded *added, uint32_t n)
{
	const uint8_t *match = e->window.bytes + e->window.start;
	bool		dropped = e->window.eaten && (added->flags & EMB_TOK_LSTRIP) != 0 && is_all_spaces(match, n);

	if (emb_utf8_decode_before(match, n, &e->window.before) == 0)
		return emb_tok_corrupt(e);
	e->window.start += n;
	e->window.eaten = (added->flags & EMB_TOK_RSTRIP) != 0;
	e->window.verdict = 0;
	e->token_id = added->id;
	return dropped ? EMB_TOK_CHAR : EMB_TOK_TOKEN;
}

/*
 * Sets the verdict on a run of white space: whether a token with lstrip follows
 * the run and drops it. Not needed with BERT, whose next stage drops white space.
 * The run may be longer than the window; it is read ahead once.
 */
static EmbTokEvent
judge_spaces(EmbTokEncoder *e)
{
	const EmbTokenizer *tok = e->tok;
	EmbTokPlace ahead = e->place;
	EmbTokEvent event = e->window.event;
	bool		ended = e->window.ended;
	uint32_t	at = e->window.start;
	uint32_t	n = 0;
	uint32_t	cp;
	uint8_t		text[EMB_TOK_MAX_ADDED_BYTES + 2 * EMB_UTF8_MAX_BYTES];
	const EmbTokBlockAdded *added = NULL;

	e->window.verdict = 1;
	for (; at < e->window.end; at += emb_utf8_decode(e->window.bytes + at, e->window.end - at, &cp))
		if (emb_utf8_decode(e->window.bytes + at, e->window.end - at, &cp) == 0 || !is_space(cp))
			break;
	n = e->window.end - at < match_bytes(e) ? e->window.end - at : match_bytes(e);
	memcpy(text, e->window.bytes + at, n);
	while (!ended && n < match_bytes(e) && (n == 0 || tok->normalized_first[text[0]]))
	{
		event = emb_tok_next_step(e, &ahead, (int) tok->header->n_steps - 1, &cp);
		if (event != EMB_TOK_CHAR)
			ended = true;
		else if (n > 0 || !is_space(cp))
			n += (uint32_t) emb_utf8_encode(cp, text + n);
	}
	if (n > 0 && !tok->normalized_first[text[0]])
		return EMB_TOK_CHAR;
	if (ended && (event == EMB_TOK_MORE || event == EMB_TOK_FAIL))
		return event;
	if (n > 0)
		switch (match_normalized(e, text, n, ' ', &added, &n))
		{
			case FOUND_FAIL:
				return EMB_TOK_FAIL;
			case FOUND_TOKEN:
				if (added->flags & EMB_TOK_LSTRIP)
					e->window.verdict = 2;
				break;
			default:
				break;
		}
	return EMB_TOK_CHAR;
}

/* Whether a token drops the white space at the start of the window. EMB_TOK_CHAR: *eaten is set. */
static EmbTokEvent
eat_space(EmbTokEncoder *e, uint32_t cp, bool *eaten)
{
	uint32_t	flags = e->tok->header->flags;

	*eaten = false;
	if (e->tok->header->model == EMB_TOK_WORDPIECE)
		return EMB_TOK_CHAR;
	if (!is_space(cp))
	{
		e->window.verdict = 0;
		return EMB_TOK_CHAR;
	}
	*eaten = e->window.eaten;
	if (!*eaten && (flags & EMB_TOK_NORMALIZED_LSTRIP) != 0)
	{
		EmbTokEvent event = e->window.verdict == 0 ? judge_spaces(e) : EMB_TOK_CHAR;

		*eaten = e->window.verdict == 2;
		return event;
	}
	return EMB_TOK_CHAR;
}

EmbTokEvent
emb_tok_next_matched(EmbTokEncoder *e, uint32_t *cp)
{
	for (;;)
	{
		const EmbTokBlockAdded *added = NULL;
		uint32_t	n_match = 0;
		Found		found = FOUND_NOTHING;
		EmbTokEvent event;
		bool		eaten;
		int			n;

		fill_window(e, 1);
		if (e->window.start == e->window.end)
			return end_segment(e);
		if (e->window.no_match == 0 && e->tok->normalized_first[e->window.bytes[e->window.start]])
		{
			fill_window(e, match_bytes(e));
			if (e->window.ended && (e->window.event == EMB_TOK_FAIL || e->window.event == EMB_TOK_MORE))
				return e->window.event;
			found = match_normalized(e, e->window.bytes + e->window.start, e->window.end - e->window.start,
									 e->window.before, &added, &n_match);
		}
		if (found == FOUND_FAIL)
			return EMB_TOK_FAIL;
		if (found == FOUND_TOKEN)
		{
			event = take_window(e, added, n_match);
			if (event == EMB_TOK_CHAR)
				continue;
			return event;
		}
		if (found == FOUND_REJECTED)
			e->window.no_match = n_match;
		n = emb_utf8_decode(e->window.bytes + e->window.start, e->window.end - e->window.start, cp);
		if (n == 0)
			return emb_tok_corrupt(e);
		event = eat_space(e, *cp, &eaten);
		if (event != EMB_TOK_CHAR)
			return event;
		e->window.start += n;
		e->window.no_match -= e->window.no_match < (uint32_t) n ? e->window.no_match : (uint32_t) n;
		e->window.before = *cp;
		e->window.eaten = e->window.eaten && is_space(*cp);
		if (!eaten)
			return EMB_TOK_CHAR;
	}
}
