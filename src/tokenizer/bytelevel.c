/*
 * bytelevel.c
 *		Splits text by the pattern of byte-level BPE, a table of states that pattern.c
 *		compiled.
 *
 * Characters lead from state to state; some say that a word may end before them.
 * When no longer word is possible, the last place where one may end is its end. The
 * characters after that place are then read again, from the start. pattern.c refuses
 * patterns with which that would not stay linear.
 *
 * Text that needs no normalization is read in place. A word whose characters cannot
 * be kept in place (normalized, or too long) is copied.
 */
#include "tokenizer/encode.h"
#include "tokenizer/pattern.h"
#include "tokenizer/splitter.h"

#include <string.h>

/* A longer word is copied, so that the ids of its start can be emitted. */
#define WORD_IN_PLACE_MAX	4096

static inline uint8_t
target(uint16_t entry)
{
	return (uint8_t) entry;
}

static inline bool
is_match(uint16_t entry)
{
	return (entry & EMB_TOK_MATCH) != 0;
}

/* ------------------------------------------------------- what is kept */

static bool
grow_run(EmbTokEncoder *e, size_t n)
{
	const EmbAllocator *mem = &e->tok->mem;
	size_t		size = 2 * e->run.size > n ? 2 * e->run.size : 2 * n;
	uint8_t    *bigger = size < UINT32_MAX ? emb_alloc(mem, size) : NULL;

	if (bigger == NULL)
	{
		e->status = emb_error(e->err, EMB_ERR_NOMEM, "out of memory tokenizing a run of %u bytes", e->n_word_bytes);
		return false;
	}
	memcpy(bigger, e->run.bytes, e->n_word_bytes);
	if (e->run.bytes != e->word)
		emb_release(mem, e->run.bytes);
	e->run.bytes = bigger;
	e->run.size = size;
	return true;
}

bool
emb_tok_push_bytes(EmbTokEncoder *e, const uint8_t *bytes, size_t n)
{
	if (e->n_word_bytes + n > e->run.size && !grow_run(e, e->n_word_bytes + n))
		return false;
	memcpy(e->run.bytes + e->n_word_bytes, bytes, n);
	e->n_word_bytes += (uint32_t) n;
	return true;
}

/* The same for the few bytes of a character. */
static inline bool
push_char(EmbTokEncoder *e, const uint8_t *bytes, size_t n)
{
	if (e->n_word_bytes + n > e->run.size)
		return emb_tok_push_bytes(e, bytes, n);
	for (size_t i = 0; i < n; i++)
		e->run.bytes[e->n_word_bytes++] = bytes[i];
	return true;
}

/* Emits ids of the start of a word, if the word is long already. */
static inline bool
part_run(EmbTokEncoder *e)
{
	return e->n_word_bytes < e->run.part_at || emb_tok_give_part(e, e->run.held);
}

/*
 * A match ends at the place at in the kept bytes. Takes out of the match the bytes that
 * are dropped. Returns the place after that.
 */
static size_t
match_to(EmbTokEncoder *e, size_t at)
{
	size_t		n = e->run.held;

	/* A damaged table may have a match without a character. */
	e->run.matched |= at > 0;
	if (!e->tok->drops)
		return e->run.held = at;
	for (size_t i = n; i < at; i++)
		if (e->tok->bytes[e->run.bytes[i]] >= 0)
			e->run.bytes[n++] = e->run.bytes[i];
	memmove(e->run.bytes + n, e->run.bytes + at, e->n_word_bytes - at);
	e->n_word_bytes -= (uint32_t) (at - n);
	return e->run.held = n;
}

/* The match is a word, or the last part of a word. Forgets its bytes. */
static bool
give_match(EmbTokEncoder *e)
{
	size_t		n = e->run.held;
	bool		ok = n == 0 || (e->run.parted ? emb_tok_give_rest(e, e->run.bytes, n) : emb_tok_give_word(e, e->run.bytes, n));

	/* Patterns without a match for some text are refused, so the table is damaged. */
	if (!e->run.matched)
		ok = emb_tok_corrupt(e) != EMB_TOK_FAIL;
	e->run.parted = e->run.matched = false;
	e->run.part_at = EMB_TOK_PART_BYTES;
	e->run.held = 0;
	e->run.state = EMB_TOK_STATE_START;
	e->n_word_bytes -= (uint32_t) n;
	memmove(e->run.bytes, e->run.bytes + n, e->n_word_bytes);
	return ok;
}

/* Gives the word that ended, and reads the kept bytes after it again: they may be more words. */
static bool
end_word(EmbTokEncoder *e)
{
	const EmbTokPattern *p = e->tok->pattern;
	size_t		at = 0;

	if (!give_match(e))
		return false;
	while (at < e->n_word_bytes)
	{
		uint32_t	cp;
		int			n = emb_utf8_decode(e->run.bytes + at, e->n_word_bytes - at, &cp);
		uint16_t	entry = p->next[e->run.state][emb_tok_class(p, cp)];

		if (n == 0)
			return emb_tok_corrupt(e) != EMB_TOK_FAIL;
		if (emb_tok_work(e, 1))
			return false;
		if (is_match(entry))
			at = match_to(e, at);
		if (target(entry) == EMB_TOK_STATE_DEAD)
		{
			if (!give_match(e))
				return false;
			at = 0;
			continue;
		}
		e->run.state = target(entry);
		at += (size_t) n;
	}
	return true;
}

/* ---------------------------------------------------------- one by one */

/*
 * Moves to the state after a character of a class, which is not kept yet; gives words
 * until there is one. False: e->status is set.
 */
static inline bool
step(EmbTokEncoder *e, uint8_t klass)
{
	for (;;)
	{
		uint16_t	entry = e->tok->pattern->next[e->run.state][klass];

		if (is_match(entry))
			match_to(e, e->n_word_bytes);
		if (target(entry) != EMB_TOK_STATE_DEAD)
		{
			e->run.state = target(entry);
			return true;
		}
		if (!end_word(e))
			return false;
	}
}

static bool
read_char(EmbTokEncoder *e, uint32_t cp)
{
	uint8_t		bytes[EMB_UTF8_MAX_BYTES];

	return step(e, emb_tok_class(e->tok->pattern, cp)) && push_char(e, bytes, (size_t) emb_utf8_encode(cp, bytes)) && part_run(e);
}

static bool
take_char(EmbTokEncoder *e, uint32_t cp)
{
	if (!e->segment.inside)
	{
		e->segment.inside = true;
		if ((e->tok->header->flags & EMB_TOK_PREFIX_SPACE) != 0 && cp != ' ' && !read_char(e, ' '))
			return false;
	}
	return read_char(e, cp);
}

static bool
end_segment(EmbTokEncoder *e)
{
	e->segment.inside = false;
	while (e->run.state != EMB_TOK_STATE_START)
	{
		if (is_match(e->tok->pattern->next[e->run.state][EMB_TOK_CLASS_END]))
			match_to(e, e->n_word_bytes);
		if (!end_word(e))
			return false;
	}
	return true;
}

/* ------------------------------------------------------------ in place */

/* What look says beside the class: bits, but for the first, which is all. */
#define LOOK_UNKNOWN	0xFF	/* the character before may still change */
#define LOOK_BLANK		0x20	/* U+0020, with which some normalized added token starts */
#define LOOK_TOKEN		0x40	/* an added token may start here */

/* Whether some added token takes the white space before it along. */
static inline bool
takes_spaces(const EmbTokenizer *tok)
{
	return (tok->header->flags & (EMB_TOK_HAS_LSTRIP | EMB_TOK_NORMALIZED_LSTRIP)) != 0;
}

/*
 * The class of the character at pos, and its length *n in bytes. LOOK_UNKNOWN if the
 * character before pos may still change: at the end of a prefix, or if the two
 * characters may compose. The end of the text is a character of 0 bytes.
 */
static inline uint8_t
look(const EmbTokEncoder *e, size_t pos, int *n)
{
	const EmbTokenizer *tok = e->tok;
	uint32_t	cp;
	uint8_t		kind;
	uint8_t		klass;

	*n = 0;
	if (pos >= e->len)
		return e->complete ? EMB_TOK_CLASS_END : LOOK_UNKNOWN;
	kind = tok->fast[e->text[pos]];
	*n = 1;
	if (kind < EMB_TOK_CLASSES)
		return kind;
	if (kind == EMB_TOK_FAST_BLANK)
		return tok->blank_class | LOOK_BLANK;
	*n = emb_utf8_decode(e->text + pos, e->len - pos, &cp);
	if (*n == 0 || cp == 0)
		return LOOK_UNKNOWN;
	klass = emb_tok_class_byte(tok->pattern, cp);
	if (tok->composes && (klass & EMB_TOK_CLASS_COMPOSES) != 0)
		return LOOK_UNKNOWN;
	return (klass & (EMB_TOK_CLASSES - 1)) | (kind == EMB_TOK_FAST_TOKEN ? LOOK_TOKEN : 0);
}

/* Whether a normalized added token may match at the U+0020 at pos. */
static inline bool
blank_may_match(const EmbTokEncoder *e, size_t pos)
{
	return pos + 1 == e->len || e->tok->blank_may[e->text[pos + 1]];
}

/*
 * A word in place. pos: how far it was read, to a character of class klass and n bytes;
 * state: there; end: of the longest match, if there is one.
 */
typedef struct InPlace
{
	size_t		pos;
	size_t		end;
	uint8_t		state;
	uint8_t		klass;
	int			n;
} InPlace;

/* Skips ASCII of the classes loops, up to limit. Returns the place after it. */
static inline size_t
skip_loop(const EmbTokEncoder *e, uint64_t loops, size_t pos, size_t limit)
{
	const uint8_t *fast = e->tok->fast;
	const uint8_t *text = e->text;

	while (pos < limit && (loops >> fast[text[pos]] & 1) != 0)
		pos++;
	return pos;
}

typedef enum Read
{
	READ_SLOW,					/* left to take_char */
	READ_WORD,
	READ_LONG					/* the word is long, or goes on beyond the limit */
} Read;

static inline bool
is_ascii_space(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline bool
is_space_at(const EmbTokEncoder *e, size_t pos)
{
	uint32_t	cp;

	if (pos >= e->len || e->text[pos] < 0x80)
		return pos < e->len && is_ascii_space(e->text[pos]);
	return emb_utf8_decode_multibyte(e->text + pos, e->len - pos, &cp) != 0 && (emb_uni_record(cp)->flags & EMB_UNI_SPACE) != 0;
}

/* pos > 0 */
static inline bool
is_space_before(const EmbTokEncoder *e, size_t pos)
{
	uint32_t	cp;

	if (e->text[pos - 1] < 0x80)
		return is_ascii_space(e->text[pos - 1]);
	return emb_utf8_decode_before(e->text, pos, &cp) != 0 && (emb_uni_record(cp)->flags & EMB_UNI_SPACE) != 0;
}

/* Whether a word that ended may lose white space at its end to an added token. */
static inline bool
may_lose_space(const EmbTokEncoder *e, const InPlace *w)
{
	return takes_spaces(e->tok) && is_space_before(e, w->end) && ((w->klass & LOOK_TOKEN) != 0 || is_space_at(e, w->pos));
}

/*
 * The loop of read_word over ASCII with which no added token starts. Returns whether the
 * word ended.
 */
static inline bool
read_ascii(const EmbTokEncoder *e, InPlace *w, size_t limit)
{
	const EmbTokPattern *p = e->tok->pattern;
	const uint8_t *fast = e->tok->fast;
	const uint8_t *text = e->text;
	const size_t stop = limit - w->pos > WORD_IN_PLACE_MAX ? w->pos + WORD_IN_PLACE_MAX : limit;
	size_t		pos = w->pos;
	size_t		end = w->end;
	uint8_t		state = w->state;
	uint8_t		kind;

	while (pos < stop)
	{
		uint16_t	entry;

		kind = fast[text[pos]];
		if (kind >= EMB_TOK_CLASSES)
		{
			if (kind != EMB_TOK_FAST_BLANK || blank_may_match(e, pos))
				break;
			kind = e->tok->blank_class;
		}
		entry = p->next[state][kind];
		if (is_match(entry))
			end = pos;
		if (target(entry) == state)
		{
			/* The first character of a run, mostly. */
			size_t		after = skip_loop(e, p->loops[state], pos + 1, stop);

			if (after > pos + 1)
				end = after - 1;
			pos = after;
			continue;
		}
		state = target(entry);
		if (state == EMB_TOK_STATE_DEAD)
			break;
		pos++;
	}
	w->pos = pos;
	w->end = end;
	w->state = state;
	return state == EMB_TOK_STATE_DEAD;
}

/* Reads a word that starts at w->pos, but not much beyond limit. */
static inline Read
read_word(const EmbTokEncoder *e, InPlace *w, size_t limit)
{
	const EmbTokPattern *p = e->tok->pattern;
	const size_t start = w->pos;

	for (;;)
	{
		uint16_t	entry;

		if (read_ascii(e, w, limit))
		{
			w->n = 1;
			w->klass = 0;
			return w->end <= start || may_lose_space(e, w) ? READ_SLOW : READ_WORD;
		}
		w->klass = look(e, w->pos, &w->n);
		if (w->klass == LOOK_UNKNOWN)
			return READ_SLOW;
		entry = p->next[w->state][w->klass & (EMB_TOK_CLASSES - 1)];
		if (is_match(entry))
			w->end = w->pos;
		/* An added token would end the segment. That matters unless the word ends here in any case. */
		if ((w->klass & (LOOK_TOKEN | LOOK_BLANK)) != 0 &&
			(target(entry) != EMB_TOK_STATE_DEAD || ((entry ^ p->next[w->state][EMB_TOK_CLASS_END]) & EMB_TOK_MATCH) != 0) &&
			((w->klass & LOOK_TOKEN) != 0 || blank_may_match(e, w->pos)))
			return READ_SLOW;
		if (target(entry) == EMB_TOK_STATE_DEAD)
			return w->end <= start || may_lose_space(e, w) ? READ_SLOW : READ_WORD;
		if (w->pos - start > WORD_IN_PLACE_MAX || w->pos >= limit)
			return w->pos == start || (takes_spaces(e->tok) && is_space_before(e, w->pos)) ? READ_SLOW : READ_LONG;
		w->state = target(entry);
		w->pos += (size_t) w->n;
	}
}

static inline bool
is_at_plain_text(const EmbTokEncoder *e)
{
	return e->tok->plain && e->place.raw.pos >= e->place.raw.skip_before && e->place.raw.pos >= e->place.raw.no_match_before &&
		emb_tok_window_idle(&e->window) && emb_tok_steps_idle(e);
}

/* Whether the kept bytes may lose white space at their end to an added token. */
static inline bool
run_may_lose_space(const EmbTokEncoder *e)
{
	uint32_t	cp;

	return takes_spaces(e->tok) && emb_utf8_decode_before(e->run.bytes, e->n_word_bytes, &cp) != 0 &&
		(emb_uni_record(cp)->flags & EMB_UNI_SPACE) != 0;
}

/*
 * Continues the kept word in place and advances *pos, until no bytes are kept, or the
 * next character is left to take_char. False: e->status is set.
 */
static bool
read_run(EmbTokEncoder *e, size_t *pos, size_t end)
{
	int			n;
	uint8_t		klass = look(e, *pos, &n);

	while (*pos < end && klass != EMB_TOK_CLASS_END && klass != LOOK_UNKNOWN)
	{
		const uint64_t loops = e->tok->pattern->loops[e->run.state] & ~(takes_spaces(e->tok) ? e->tok->space_classes : 0);
		size_t		after = skip_loop(e, loops, *pos, end < *pos + EMB_TOK_PART_BYTES ? end : *pos + EMB_TOK_PART_BYTES);
		int			n_next;
		uint8_t		next;

		/* An added token may start here, or take white space along: the word ends here in any case, or take_char reads on. */
		if (klass >= EMB_TOK_CLASSES || (after == *pos && takes_spaces(e->tok) && is_space_at(e, *pos)))
		{
			const uint16_t *row = e->tok->pattern->next[e->run.state];
			uint16_t	entry = row[klass & (EMB_TOK_CLASSES - 1)];

			if (target(entry) != EMB_TOK_STATE_DEAD || ((entry ^ row[EMB_TOK_CLASS_END]) & EMB_TOK_MATCH) != 0 || run_may_lose_space(e))
				break;
			if (is_match(entry))
				match_to(e, e->n_word_bytes);
			e->run.read_to = *pos + (size_t) n;
			if (!end_word(e))
				return false;
			if (e->run.state == EMB_TOK_STATE_START)
				break;
			continue;
		}
		if (after > *pos + 1)
		{
			/* The last of these characters may compose with what follows. */
			if (!emb_tok_push_bytes(e, e->text + *pos, after - 1 - *pos))
				return false;
			match_to(e, e->n_word_bytes - 1);
			*pos = after - 1;
			if (!part_run(e))
				return false;
			klass = look(e, *pos, &n);
		}
		next = look(e, *pos + (size_t) n, &n_next);
		if (next == LOOK_UNKNOWN)
			break;
		e->run.read_to = *pos + (size_t) n;
		if (!step(e, klass))
			return false;
		/* The word ended before this character. The caller reads the character in place. */
		if (e->n_word_bytes == 0)
		{
			e->run.state = EMB_TOK_STATE_START;
			break;
		}
		if (!push_char(e, e->text + *pos, (size_t) n) || !part_run(e))
			return false;
		*pos += (size_t) n;
		klass = next;
		n = n_next;
	}
	return true;
}

/* Keeps the text of a long word as far as it was read. */
static bool
keep_word(EmbTokEncoder *e, size_t pos, const InPlace *w)
{
	if (!emb_tok_push_bytes(e, e->text + pos, w->pos - pos))
		return false;
	e->run.state = w->state;
	if (w->end > pos)
		match_to(e, w->end - pos);
	return part_run(e);
}

/*
 * Reads words in place, as long as no added token may match and nothing is
 * normalized. False: e->status is set.
 */
static bool
read_fast(EmbTokEncoder *e, int64_t limit)
{
	const size_t start = e->place.raw.pos;
	const size_t end = e->len - start > EMB_TOK_STOP_WORK ? start + EMB_TOK_STOP_WORK : e->len;
	size_t		pos = start;
	bool		ok = true;

	if (!e->segment.inside && (e->tok->header->flags & EMB_TOK_PREFIX_SPACE) != 0)
		return true;
	while (ok && pos < end && e->out.n_ids <= limit)
	{
		InPlace		w = {.pos = pos, .state = EMB_TOK_STATE_START};
		Read		read;

		if (e->run.state != EMB_TOK_STATE_START)
		{
			size_t		before = pos;

			ok = read_run(e, &pos, end);
			if (!ok || (e->run.state != EMB_TOK_STATE_START && pos == before))
				break;
			continue;
		}
		read = read_word(e, &w, end);
		if (read == READ_SLOW)
			break;
		e->segment.inside = true;
		if (read == READ_LONG)
			ok = keep_word(e, pos, &w);
		else
		{
			e->run.read_to = w.pos + (size_t) w.n;
			ok = emb_tok_give_word(e, e->text + pos, w.end - pos);
		}
		pos = read == READ_LONG ? w.pos : w.end;
	}
	if (pos > start)
	{
		uint32_t	cp;

		e->place.raw.pos = pos;
		if (emb_utf8_decode_before(e->text, pos, &cp) == 0)
			return emb_tok_corrupt(e) != EMB_TOK_FAIL;
		emb_tok_window_passed(&e->window, cp);
	}
	return ok && !emb_tok_work(e, (int32_t) (pos - start));
}

EmbTokEvent
emb_tok_run_bytelevel(EmbTokEncoder *e, int64_t limit)
{
	return emb_tok_run_splitter(e, limit, is_at_plain_text, read_fast, take_char, end_segment);
}
