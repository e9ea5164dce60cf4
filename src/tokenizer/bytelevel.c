/*
 * bytelevel.c
 *		Splits text by the patterns of byte-level BPE.
 *
 * The patterns are regular expressions in the files. Here one state machine
 * implements them all: runs of letters, numbers, white space or other characters,
 * and what may come before and after each run. The patterns differ little:
 *
 *		's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *		(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
 *			 ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 *
 * If something else follows white space, the last space is split off; it starts
 * the next word if the pattern allows that. If white space contains line ends, the
 * part after the last line end is split off.
 */
#include "tokenizer/encode.h"
#include "tokenizer/splitter.h"

#include <string.h>

typedef struct Pattern
{
	bool		splits;
	bool		folds_case;		/* contractions match in either case */
	bool		any_before;		/* any one character, not only U+0020, may come before letters */
	bool		line_ends;		/* line ends may follow other characters, and split white space */
	int64_t		numbers_max;	/* longest run of numbers; 0: any length, and U+0020 may come before */
} Pattern;

static const Pattern patterns[EMB_TOK_N_PATTERNS] = {
	[EMB_TOK_PATTERN_NONE] = {false, false, false, false, 0},
	[EMB_TOK_PATTERN_GPT2] = {true, false, false, false, 0},
	[EMB_TOK_PATTERN_QWEN2] = {true, true, true, true, 1},
	[EMB_TOK_PATTERN_LLAMA3] = {true, true, true, true, 3}
};

#define LONG_S				0x17F
/* A longer word is copied, so that the ids of its start can be emitted. */
#define WORD_IN_PLACE_MAX	4096

static inline const Pattern *
pattern_of(const EmbTokEncoder *e)
{
	return &patterns[e->tok->header->pattern];
}

static inline uint8_t
kind_of(uint32_t cp)
{
	uint32_t	flags = emb_uni_record(cp)->flags;

	return flags & EMB_UNI_LETTER ? EMB_TOK_IS_LETTER : flags & EMB_UNI_NUMBER ? EMB_TOK_IS_NUMBER
		: flags & EMB_UNI_SPACE ? EMB_TOK_IS_SPACE : EMB_TOK_IS_OTHER;
}

static inline bool
is_line_end(uint32_t cp)
{
	return cp == '\r' || cp == '\n';
}

/*
 * Number of letters in a contraction whose first letter is cp: 1 or 2. 0: cp starts
 * no contraction.
 */
static int
contraction_letters(const Pattern *p, uint32_t cp)
{
	if (p->folds_case)
		cp = cp == LONG_S ? 's' : cp < 0x80 ? cp | 0x20 : 0;
	return cp == 's' || cp == 't' || cp == 'm' || cp == 'd' ? 1 : cp == 'r' || cp == 'v' || cp == 'l' ? 2 : 0;
}

static bool
ends_contraction(const Pattern *p, uint8_t first, uint32_t cp)
{
	if (p->folds_case)
	{
		first |= 0x20;
		cp = cp < 0x80 ? cp | 0x20 : 0;
	}
	return cp == (first == 'l' ? 'l' : 'e');
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

/* How many of the kept bytes certainly belong to the word that starts there. */
static inline size_t
certain_bytes(const EmbTokEncoder *e)
{
	if (e->run.kind != EMB_TOK_RUN_SPACES)
		return e->n_word_bytes;
	return e->run.line_end > 0 ? e->run.line_end : e->run.held;
}

static bool
push_bytes(EmbTokEncoder *e, const uint8_t *bytes, size_t n)
{
	if (e->n_word_bytes + n > e->run.size && !grow_run(e, e->n_word_bytes + n))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!e->tok->drops || e->tok->bytes[bytes[i]] >= 0)
			e->run.bytes[e->n_word_bytes++] = bytes[i];
	return true;
}

static inline bool
push_char(EmbTokEncoder *e, uint32_t cp)
{
	uint8_t		bytes[EMB_UTF8_MAX_BYTES];

	return push_bytes(e, bytes, (size_t) emb_utf8_encode(cp, bytes));
}

/* Emits ids of the start of a word, if the word is long already. */
static inline bool
part_run(EmbTokEncoder *e)
{
	return e->n_word_bytes < e->run.part_at || emb_tok_give_part(e, certain_bytes(e));
}

/* The first n kept bytes are a word, or the last part of a word. */
static bool
end_word_at(EmbTokEncoder *e, size_t n)
{
	bool		ok = n == 0 || (e->run.parted ? emb_tok_give_rest(e, e->run.bytes, n) : emb_tok_give_word(e, e->run.bytes, n));

	e->run.parted = false;
	e->run.part_at = EMB_TOK_PART_BYTES;
	e->n_word_bytes -= (uint32_t) n;
	memmove(e->run.bytes, e->run.bytes + n, e->n_word_bytes);
	return ok;
}

static bool
end_word(EmbTokEncoder *e)
{
	e->run.kind = EMB_TOK_RUN_NONE;
	return end_word_at(e, e->n_word_bytes);
}

/* --------------------------------------------------- one by one */

static bool
start_run(EmbTokEncoder *e, uint32_t cp, uint8_t kind)
{
	const Pattern *p = pattern_of(e);

	e->run.n_chars = 1;
	e->run.blank = cp == ' ';
	e->run.held = 0;
	e->run.line_end = 0;
	if (!push_char(e, cp))
		return false;
	switch (kind)
	{
		case EMB_TOK_IS_LETTER:
			e->run.kind = EMB_TOK_RUN_LETTERS;
			break;
		case EMB_TOK_IS_NUMBER:
			e->run.kind = EMB_TOK_RUN_NUMBERS;
			break;
		case EMB_TOK_IS_SPACE:
			e->run.kind = EMB_TOK_RUN_SPACES;
			if (p->line_ends && is_line_end(cp))
			{
				e->run.line_end = e->n_word_bytes;
				e->run.n_chars = 0;
			}
			break;
		default:
			e->run.kind = cp == '\'' ? EMB_TOK_RUN_QUOTE : EMB_TOK_RUN_OTHER;
			break;
	}
	return true;
}

static bool
more_spaces(EmbTokEncoder *e, uint32_t cp)
{
	size_t		start = e->n_word_bytes;

	if (!push_char(e, cp))
		return false;
	e->run.held = start;
	e->run.blank = cp == ' ';
	e->run.n_chars++;
	if (pattern_of(e)->line_ends && is_line_end(cp))
	{
		e->run.line_end = e->n_word_bytes;
		e->run.n_chars = 0;
	}
	return part_run(e);
}

/*
 * Something other than white space follows. Splits off the last space. *joins: the
 * last space starts the next word, and cp was added to that word.
 */
static bool
end_spaces(EmbTokEncoder *e, uint32_t cp, uint8_t kind, bool *joins)
{
	const Pattern *p = pattern_of(e);
	size_t		end = e->run.line_end;

	*joins = false;
	e->run.kind = EMB_TOK_RUN_NONE;
	if (end > 0 && !end_word_at(e, end))
		return false;
	if (e->run.n_chars == 0)
		return true;
	if (e->run.n_chars > 1 && !end_word_at(e, e->run.held - end))
		return false;
	if (kind == EMB_TOK_IS_LETTER ? e->run.blank || p->any_before
		: e->run.blank && (kind == EMB_TOK_IS_OTHER || p->numbers_max == 0))
	{
		*joins = true;
		e->run.kind = kind == EMB_TOK_IS_LETTER ? EMB_TOK_RUN_LETTERS : kind == EMB_TOK_IS_NUMBER ? EMB_TOK_RUN_NUMBERS
			: EMB_TOK_RUN_OTHERS;
		return push_char(e, cp);
	}
	return end_word(e);
}

/* The apostrophe and the r, v or l after it are no contraction. */
static bool
end_quoted(EmbTokEncoder *e)
{
	e->run.kind = EMB_TOK_RUN_LETTERS;
	return pattern_of(e)->any_before || end_word_at(e, e->run.held);
}

/* Whether cp continues a run of other characters. If so, run.kind is updated. */
static bool
others_go_on(EmbTokEncoder *e, uint32_t cp, uint8_t kind)
{
	const Pattern *p = pattern_of(e);

	if (kind == EMB_TOK_IS_LETTER && p->any_before && e->run.kind != EMB_TOK_RUN_OTHERS)
		e->run.kind = EMB_TOK_RUN_LETTERS;
	else if (kind == EMB_TOK_IS_OTHER)
		e->run.kind = EMB_TOK_RUN_OTHERS;
	else if (p->line_ends && is_line_end(cp))
		e->run.kind = EMB_TOK_RUN_LINE_ENDS;
	else
		return false;
	return true;
}

/*
 * Whether cp continues the run; if so, cp is taken. False and run.kind NONE: the
 * word ended before cp.
 */
static bool
goes_on(EmbTokEncoder *e, uint32_t cp, uint8_t kind, bool *ok)
{
	const Pattern *p = pattern_of(e);
	bool		more = false;

	switch (e->run.kind)
	{
		case EMB_TOK_RUN_NONE:
			return false;
		case EMB_TOK_RUN_LETTERS:
			more = kind == EMB_TOK_IS_LETTER;
			break;
		case EMB_TOK_RUN_NUMBERS:
			more = kind == EMB_TOK_IS_NUMBER && (p->numbers_max == 0 || e->run.n_chars < p->numbers_max);
			break;
		case EMB_TOK_RUN_QUOTE:
			if (contraction_letters(p, cp) == 1)
			{
				*ok = push_char(e, cp) && end_word(e);
				return true;
			}
			if (contraction_letters(p, cp) == 2)
			{
				e->run.kind = EMB_TOK_RUN_QUOTED;
				e->run.letter = (uint8_t) cp;
				e->run.held = e->n_word_bytes;
				*ok = push_char(e, cp);
				return true;
			}
			more = others_go_on(e, cp, kind);
			break;
		case EMB_TOK_RUN_OTHER:
		case EMB_TOK_RUN_OTHERS:
			more = others_go_on(e, cp, kind);
			break;
		case EMB_TOK_RUN_LINE_ENDS:
			more = is_line_end(cp);
			break;
		case EMB_TOK_RUN_SPACES:
			if (kind == EMB_TOK_IS_SPACE)
				*ok = more_spaces(e, cp);
			else
				*ok = end_spaces(e, cp, kind, &more);
			return more || kind == EMB_TOK_IS_SPACE;
		case EMB_TOK_RUN_QUOTED:
			if (ends_contraction(p, e->run.letter, cp))
			{
				*ok = push_char(e, cp) && end_word(e);
				return true;
			}
			*ok = end_quoted(e);
			more = kind == EMB_TOK_IS_LETTER;
			break;
	}
	if (*ok && more)
	{
		e->run.n_chars++;
		*ok = push_char(e, cp) && part_run(e);
	}
	else if (*ok)
		*ok = end_word(e);
	return more;
}

static bool
take_char(EmbTokEncoder *e, uint32_t cp)
{
	bool		ok = true;
	uint8_t		kind = pattern_of(e)->splits ? kind_of(cp) : EMB_TOK_IS_LETTER;

	if (!e->segment.inside)
	{
		e->segment.inside = true;
		if ((e->tok->header->flags & EMB_TOK_PREFIX_SPACE) != 0 && cp != ' ' &&
			!start_run(e, ' ', pattern_of(e)->splits ? EMB_TOK_IS_SPACE : EMB_TOK_IS_LETTER))
			return false;
	}
	if (goes_on(e, cp, kind, &ok) || !ok)
		return ok;
	return start_run(e, cp, kind);
}

static bool
end_segment(EmbTokEncoder *e)
{
	e->segment.inside = false;
	if (e->run.kind == EMB_TOK_RUN_QUOTED && !end_quoted(e))
		return false;
	if (e->run.kind == EMB_TOK_RUN_SPACES && e->run.line_end > 0 && !end_word_at(e, e->run.line_end))
		return false;
	return end_word(e);
}

/* --------------------------------------------------- in place */

/*
 * The kind of the character at pos, and its length *n in bytes. Returns 0 if the
 * character before pos may still change: at the end of a prefix, or if the two
 * characters may compose. The end of the text counts as a character of 0 bytes
 * that ends any run.
 */
static inline uint8_t
look(const EmbTokEncoder *e, size_t pos, int *n)
{
	const EmbTokenizer *tok = e->tok;
	uint32_t	cp;
	uint32_t	flags;
	uint8_t		kind;

	*n = 0;
	if (pos >= e->len)
		return e->complete ? EMB_TOK_IS_END : 0;
	kind = tok->fast[e->text[pos]];
	*n = 1;
	if ((kind & EMB_TOK_IS_KIND) != EMB_TOK_IS_MULTIBYTE)
		return kind;
	*n = emb_utf8_decode_multibyte(e->text + pos, e->len - pos, &cp);
	if (*n == 0)
		return 0;
	flags = emb_uni_record(cp)->flags;
	if (tok->composes && (flags & EMB_UNI_COMPOSES) != 0)
		return 0;
	kind &= EMB_TOK_IS_SLOW;
	return kind | (flags & EMB_UNI_LETTER ? EMB_TOK_IS_LETTER : flags & EMB_UNI_NUMBER ? EMB_TOK_IS_NUMBER
				   : flags & EMB_UNI_SPACE ? EMB_TOK_IS_SPACE : EMB_TOK_IS_OTHER);
}

/*
 * The end of the run of kind that starts at pos. Stops after max characters, and
 * soon after end. *stop: the kind of the next character; equal to kind: the run goes
 * on; 0: see look. *stop has the bit SLOW only if the next character is of the same
 * kind. *read_to: how far the text was looked at.
 */
static size_t
run_end(const EmbTokEncoder *e, size_t pos, size_t end, uint8_t kind, int64_t max, uint8_t *stop, size_t *read_to)
{
	const uint8_t *fast = e->tok->fast;
	const uint8_t *text = e->text;
	uint8_t		next;
	int			n;

	for (;;)
	{
		size_t		start = pos;

		while (pos < end && pos - start < (size_t) max && fast[text[pos]] == kind)
			pos++;
		max -= (int64_t) (pos - start);
		next = look(e, pos, &n);
		if (next != kind || pos >= end || max == 0)
			break;
		pos += (size_t) n;
		max--;
	}
	*read_to = pos + (size_t) n;
	*stop = (next & EMB_TOK_IS_KIND) == kind ? next : next & EMB_TOK_IS_KIND;
	return pos;
}

/* Bytes of a contraction at an apostrophe; 0: there is none; -1: not ASCII. */
static int
contraction_bytes(const EmbTokEncoder *e, size_t pos)
{
	const Pattern *p = pattern_of(e);
	int			n;

	if (pos + 2 >= e->len || (e->text[pos + 1] | e->text[pos + 2]) >= 0x80 ||
		(e->tok->fast[e->text[pos + 1]] & EMB_TOK_IS_SLOW) != 0 || (e->tok->fast[e->text[pos + 2]] & EMB_TOK_IS_SLOW) != 0)
		return -1;
	n = contraction_letters(p, e->text[pos + 1]);
	if (n == 2 && (pos + 3 >= e->len || e->text[pos + 3] >= 0x80))
		return -1;
	return n == 2 ? (ends_contraction(p, e->text[pos + 1], e->text[pos + 2]) ? 3 : 0) : n == 1 ? 2 : 0;
}

/* Whether a normalized added token may match at the space at pos. pos is not the last byte. */
static inline bool
space_may_match(const EmbTokEncoder *e, size_t pos)
{
	const EmbTrie *trie = &e->tok->normalized;
	uint32_t	node = e->tok->normalized_first[' '] ? emb_trie_step(trie, 0, ' ') : EMB_TRIE_NONE;

	return node != EMB_TRIE_NONE && (emb_trie_has_value(trie, node) || emb_trie_step(trie, node, e->text[pos + 1]) != EMB_TRIE_NONE);
}

/* The end of the word of white space that starts at pos; 0: left to the state machine. */
static size_t
spaces_end(const EmbTokEncoder *e, size_t pos, size_t end, size_t *read_to)
{
	size_t		line_end = 0;
	size_t		at = pos;
	uint8_t		stop;
	int			n;

	for (; at < end && e->tok->fast[e->text[at]] == EMB_TOK_IS_SPACE; at++)
	{
		if (e->text[at] == ' ' && e->tok->normalized_first[' '])
			return 0;
		if (is_line_end(e->text[at]))
			line_end = at + 1;
	}
	stop = look(e, at, &n);
	if (n == 0 || stop == 0 || stop == EMB_TOK_IS_SPACE || (stop & EMB_TOK_IS_SLOW) != 0 || at - pos > WORD_IN_PLACE_MAX)
		return 0;
	*read_to = at + (size_t) n;
	if (line_end > 0 && pattern_of(e)->line_ends)
		return line_end;
	return at - pos > 1 ? at - 1 : at;
}

/*
 * The end of the word that starts at pos; 0: left to the state machine. For a long
 * word, the end of the part that was read; *kind is then the run that goes on.
 */
static size_t
word_end(const EmbTokEncoder *e, size_t pos, size_t end, EmbTokRun *kind, size_t *read_to)
{
	const Pattern *p = pattern_of(e);
	const uint8_t byte = e->text[pos];
	uint8_t		next,
				stop;
	size_t		at = pos;
	int			n;
	uint8_t		first = look(e, pos, &n);

	if (n == 0 || first == 0 || (first & EMB_TOK_IS_SLOW) != 0)
		return 0;
	if (first == EMB_TOK_IS_SPACE || first == EMB_TOK_IS_OTHER)
	{
		int			n_next;

		if (byte == '\'' && (n_next = contraction_bytes(e, pos)) != 0)
		{
			*read_to = pos + (size_t) n_next + 1;
			return n_next > 0 ? pos + (size_t) n_next : 0;
		}
		next = look(e, pos + (size_t) n, &n_next);
		if (n_next == 0 || next == 0 || (next & EMB_TOK_IS_SLOW) != 0 || (byte == ' ' && space_may_match(e, pos)))
			return 0;
		if (next == EMB_TOK_IS_LETTER ? byte == ' ' || (p->any_before && !is_line_end(byte))
			: byte == ' ' && (next == EMB_TOK_IS_OTHER || (next == EMB_TOK_IS_NUMBER && p->numbers_max == 0)))
		{
			at += (size_t) n;
			first = next;
		}
		else if (first == EMB_TOK_IS_SPACE)
			return spaces_end(e, pos, end, read_to);
	}
	*kind = first == EMB_TOK_IS_LETTER ? EMB_TOK_RUN_LETTERS : first == EMB_TOK_IS_NUMBER ? EMB_TOK_RUN_NUMBERS : EMB_TOK_RUN_OTHERS;
	if (first == EMB_TOK_IS_NUMBER && p->numbers_max > 0)
	{
		at = run_end(e, at, e->len, first, p->numbers_max, &stop, read_to);
		return stop == 0 || stop == (EMB_TOK_IS_NUMBER | EMB_TOK_IS_SLOW) ? 0 : at;
	}
	at = run_end(e, at, end, first, INT64_MAX, &stop, read_to);
	if (first == EMB_TOK_IS_OTHER && p->line_ends && stop == EMB_TOK_IS_SPACE)
		for (; at < end && is_line_end(e->text[at]); *read_to = at + (size_t) n)
		{
			*kind = EMB_TOK_RUN_LINE_ENDS;
			stop = look(e, ++at, &n);
			if (stop == 0 || (stop & EMB_TOK_IS_SLOW) != 0)
				return 0;
			/* A token after the white space may drop all of it. */
			if (stop == EMB_TOK_IS_SPACE && !is_line_end(e->text[at]) &&
				(e->tok->header->flags & (EMB_TOK_HAS_LSTRIP | EMB_TOK_NORMALIZED_LSTRIP)) != 0)
				return 0;
		}
	if (at - pos > WORD_IN_PLACE_MAX)
		return at;
	/* At end the run may go on, with characters of any kind. */
	return stop != 0 && stop != first && (stop & EMB_TOK_IS_SLOW) == 0 && (at < end || at == e->len) ? at : 0;
}

static inline bool
is_at_plain_text(const EmbTokEncoder *e)
{
	return e->tok->plain && e->place.raw.pos >= e->place.raw.skip_before && e->place.raw.pos >= e->place.raw.no_match_before &&
		emb_tok_window_idle(&e->window) && emb_tok_steps_idle(e);
}

/* The kind of character that continues the run; 0: left to the state machine. */
static uint8_t
run_goes_on_with(const EmbTokEncoder *e)
{
	switch (e->run.kind)
	{
		case EMB_TOK_RUN_LETTERS:
			return EMB_TOK_IS_LETTER;
		case EMB_TOK_RUN_NUMBERS:
			return pattern_of(e)->numbers_max == 0 ? EMB_TOK_IS_NUMBER : 0;
		case EMB_TOK_RUN_OTHERS:
			return EMB_TOK_IS_OTHER;
		default:
			return 0;
	}
}

/* Continues the kept run in place and advances *pos. False: e->status is set. */
static bool
read_run(EmbTokEncoder *e, size_t *pos, size_t end)
{
	uint8_t		kind = run_goes_on_with(e);
	uint8_t		stop;
	size_t		at,
				read_to;

	if (kind == 0)
		return true;
	at = run_end(e, *pos, end, kind, EMB_TOK_PART_BYTES, &stop, &read_to);
	/* The last character may compose with what follows, so it is left unread. */
	if (stop == 0)
	{
		uint32_t	cp;

		if (at > *pos)
			at -= (size_t) emb_utf8_decode_before(e->text, at, &cp);
	}
	if (at > *pos && (!push_bytes(e, e->text + *pos, at - *pos) || !part_run(e)))
		return false;
	*pos = at;
	if (stop == 0 || (stop & EMB_TOK_IS_KIND) == kind ||
		(stop == EMB_TOK_IS_SPACE && kind == EMB_TOK_IS_OTHER && pattern_of(e)->line_ends && is_line_end(e->text[at])))
		return true;
	e->run.read_to = read_to;
	return end_word(e);
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
		EmbTokRun	kind = EMB_TOK_RUN_NONE;
		size_t		read_to = 0;
		size_t		at;

		if (e->run.kind != EMB_TOK_RUN_NONE)
		{
			size_t		before = pos;

			ok = read_run(e, &pos, end);
			if (!ok || (e->run.kind != EMB_TOK_RUN_NONE && pos == before))
				break;
			continue;
		}
		at = word_end(e, pos, end, &kind, &read_to);
		if (at == 0)
			break;
		e->segment.inside = true;
		if (at - pos > WORD_IN_PLACE_MAX && kind != EMB_TOK_RUN_NONE)
		{
			/* Leaves the last character, which may not belong to the word. */
			uint32_t	cp;

			at -= (size_t) emb_utf8_decode_before(e->text, at, &cp);
			e->run.kind = kind;
			e->run.n_chars = 1;
			ok = push_bytes(e, e->text + pos, at - pos) && part_run(e);
		}
		else
		{
			e->run.read_to = read_to;
			ok = emb_tok_give_word(e, e->text + pos, at - pos);
		}
		pos = at;
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
