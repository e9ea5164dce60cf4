/*
 * chunk.c
 *		Cuts a text into pieces with a maximum number of tokens.
 *
 * The text itself shows where to cut; the tokenizer tells how much fits.
 * Nothing here knows how the tokenizer works. A piece is returned only after
 * the tokenizer has counted it alone, as embed() will read it. The cost of a
 * piece is a few tokenizations of the piece: once to see how far the tokens
 * reach, once or twice to verify, and a few times its overlap.
 */
#include "model/model.h"

#include <string.h>

#include "common/utf8.h"
#include "tokenizer/unicode.h"

/* How good a place between two characters is for a cut. */
typedef enum CutGrade
{
	CUT_ANYWHERE,				/* between a character and its combining mark */
	CUT_CHARACTER,				/* inside a word */
	CUT_BEHIND_PUNCT,			/* "this-|and|that" */
	CUT_WORD					/* beside a space or an ideograph; but not before punctuation */
} CutGrade;

/* This many candidates are tried in order, then bisection takes over. */
#define TRIES_IN_ORDER	3

/* First window of text, in bytes per token, to see how far the tokens reach. */
#define BYTES_PER_TOKEN	8
#define BYTES_AT_LEAST	1024

/* If a stretch of this length has no word end, the text does not show where the tokens end. */
#define WORD_BYTES_MAX	1024

#define STOP_CHARS		65536

typedef struct Cutter
{
	const EmbModel *model;
	const uint8_t *text;
	size_t		len;
	const char *prompt;
	size_t		prompt_bytes;
	int32_t		n_max;			/* tokens of a piece, including everything around it */
	int32_t		n_around;		/* tokens of the parts around a text alone */
	int32_t		overlap;
	const EmbAllocator *mem;
	const EmbStop *stop;
	EmbError   *err;
	int32_t		chars_left;		/* before the next poll of stop */
} Cutter;

/* ----------------------------------------------------------------- text */

/* A malformed byte counts as a character here; the tokenizer refuses the text later. */
static size_t
char_at(const Cutter *c, size_t pos, uint32_t *cp)
{
	int			n = emb_utf8_decode(c->text + pos, c->len - pos, cp);

	if (n == 0)
		*cp = 0xFFFD;
	return n > 0 ? (size_t) n : 1;
}

static size_t
char_before(const Cutter *c, size_t pos, uint32_t *cp)
{
	int			n = emb_utf8_decode_before(c->text, pos, cp);

	if (n == 0)
		*cp = 0xFFFD;
	return n > 0 ? (size_t) n : 1;
}

/* pos, or the start of the character that contains pos. */
static size_t
align_back(const Cutter *c, size_t pos)
{
	for (int i = 0; i < EMB_UTF8_MAX_BYTES - 1 && pos > 0 && pos < c->len && emb_utf8_is_inside(c->text[pos]); i++)
		pos--;
	return pos;
}

static bool
is_space(uint32_t cp)
{
	return (emb_uni_record(cp)->flags & EMB_UNI_SPACE) != 0;
}

/* Whether cp belongs to the character before it: marks, joiners, variants, skin tones. */
static bool
is_attached(uint32_t cp)
{
	return (emb_uni_record(cp)->flags & (EMB_UNI_MN | EMB_UNI_NONSTARTER)) != 0 ||
		cp == 0x200C || cp == 0x200D || (cp >= 0x1F3FB && cp <= 0x1F3FF);
}

/* The grade of the place before the character at pos. */
static CutGrade
grade_at(const Cutter *c, size_t pos)
{
	uint32_t	before,
				after;
	uint32_t	flags_before,
				flags_after;

	if (pos == 0 || pos >= c->len)
		return CUT_WORD;
	(void) char_before(c, pos, &before);
	(void) char_at(c, pos, &after);
	flags_before = emb_uni_record(before)->flags;
	flags_after = emb_uni_record(after)->flags;
	if (((flags_before | flags_after) & EMB_UNI_SPACE) != 0)
		return CUT_WORD;
	if (is_attached(after) || before == 0x200D)
		return CUT_ANYWHERE;
	if ((flags_after & EMB_UNI_PUNCT) != 0)
		return CUT_CHARACTER;
	if (((flags_before | flags_after) & EMB_UNI_CJK) != 0)
		return CUT_WORD;
	return (flags_before & EMB_UNI_PUNCT) != 0 ? CUT_BEHIND_PUNCT : CUT_CHARACTER;
}

static EmbStatus
ask_stop(Cutter *c)
{
	c->chars_left = STOP_CHARS;
	if (emb_should_stop(c->stop))
		return emb_error(c->err, EMB_ERR_CANCELLED, "cutting a text was cancelled");
	return EMB_OK;
}

static inline EmbStatus
count_work(Cutter *c)
{
	return --c->chars_left > 0 ? EMB_OK : ask_stop(c);
}

/* Adds the characters of text[from .. to) to *n. */
static EmbStatus
add_chars(Cutter *c, size_t from, size_t to, int64_t *n)
{
	while (from < to)
	{
		size_t		end = to - from > STOP_CHARS ? from + STOP_CHARS : to;
		EmbStatus	status = end < to ? ask_stop(c) : EMB_OK;

		if (status != EMB_OK)
			return status;
		for (; from < end; from++)
			*n += !emb_utf8_is_inside(c->text[from]);
	}
	return EMB_OK;
}

static EmbStatus
skip_spaces(Cutter *c, size_t *pos)
{
	uint32_t	cp;

	while (*pos < c->len)
	{
		size_t		n = char_at(c, *pos, &cp);
		EmbStatus	status = count_work(c);

		if (status != EMB_OK)
			return status;
		if (!is_space(cp))
			break;
		*pos += n;
	}
	return EMB_OK;
}

/* Whether a piece may end (or start) at pos: a piece never ends or starts with a space. */
static bool
is_cut(const Cutter *c, size_t pos, CutGrade grade, bool is_end)
{
	uint32_t	cp;

	if (is_end)
		(void) char_before(c, pos, &cp);
	else
		(void) char_at(c, pos, &cp);
	return !is_space(cp) && grade_at(c, pos) >= grade;
}

/*
 * The last place with from < *pos <= to, or from if there is none. from is the
 * start of a character.
 */
static EmbStatus
last_cut(Cutter *c, size_t from, size_t to, CutGrade grade, bool is_end, size_t *pos)
{
	uint32_t	cp;

	*pos = align_back(c, to);
	while (*pos > from)
	{
		EmbStatus	status = count_work(c);

		if (status != EMB_OK)
			return status;
		if ((is_end || *pos < c->len) && is_cut(c, *pos, grade, is_end))
			return EMB_OK;
		*pos -= char_before(c, *pos, &cp);
	}
	*pos = from;
	return EMB_OK;
}

/* The first place with from < *pos < to, or to if there is none. */
static EmbStatus
first_cut(Cutter *c, size_t from, size_t to, CutGrade grade, bool is_end, size_t *pos)
{
	uint32_t	cp;

	*pos = align_back(c, from);
	for (;;)
	{
		EmbStatus	status = count_work(c);

		if (status != EMB_OK)
			return status;
		*pos += char_at(c, *pos, &cp);
		if (*pos >= to)
			break;
		if (is_cut(c, *pos, grade, is_end))
			return EMB_OK;
	}
	*pos = to;
	return EMB_OK;
}

/* --------------------------------------------------------------- counts */

/*
 * Counts the tokens of the piece alone, as the model will read it. If there are
 * more than max, *n_tokens is some number above max.
 */
static EmbStatus
count_piece(Cutter *c, size_t start, size_t end, int64_t max, int64_t *n_tokens)
{
	size_t		len = end - start;
	size_t		n_read;
	char	   *joined;
	EmbStatus	status;

	if (c->prompt_bytes == 0)
		return emb_tok_count_up_to(c->model->tok, (const char *) c->text + start, len, max, c->stop, n_tokens, &n_read, c->err);
	if (len > SIZE_MAX - c->prompt_bytes || (joined = emb_alloc(c->mem, c->prompt_bytes + len)) == NULL)
		return emb_error(c->err, EMB_ERR_NOMEM, "out of memory for a prompt and %zu bytes of text", len);
	memcpy(joined, c->prompt, c->prompt_bytes);
	memcpy(joined + c->prompt_bytes, c->text + start, len);
	status = emb_tok_count_up_to(c->model->tok, joined, c->prompt_bytes + len, max, c->stop, n_tokens, &n_read, c->err);
	emb_release(c->mem, joined);
	return status;
}

/* Counts the tokens of a stretch of text, without prompt and special tokens. */
static EmbStatus
count_bare(Cutter *c, size_t start, size_t end, int64_t max, int64_t *n_tokens, size_t *n_read)
{
	int			n_special = emb_tok_n_special(c->model->tok, false);
	EmbStatus	status = emb_tok_count_up_to(c->model->tok, (const char *) c->text + start, end - start, max + n_special,
											 c->stop, n_tokens, n_read, c->err);

	if (status == EMB_OK)
		*n_tokens -= n_special;
	return status;
}

/* ------------------------------------------------------------------ ends */

typedef struct Piece
{
	size_t		start;
	size_t		end;			/* == start: no piece found */
	int64_t		n_tokens;
} Piece;

/*
 * The longest piece from start that ends at a cut of that grade, at or before
 * reach. fails: an end with too many tokens; SIZE_MAX: none known. in_order: the
 * last cuts are the most likely ends.
 */
static EmbStatus
find_longest(Cutter *c, size_t reach, size_t fails, CutGrade grade, bool in_order, Piece *piece)
{
	size_t		start = piece->start;
	size_t		fits = start;
	int64_t		n_fails = 0;	/* number of tokens up to fails; 0: not counted */

	for (int n_tries = 0;; n_tries++)
	{
		size_t		highest = fails <= reach ? fails - 1 : reach;
		size_t		to = fits + (highest - fits + 1) / 2;
		size_t		end;
		int64_t		n_tokens;
		EmbStatus	status;

		in_order = in_order && n_tries < TRIES_IN_ORDER;
		if (in_order)
			to = highest;
		else if (n_fails > 0 && n_tries % 2 == 0)
			to = start + (size_t) ((double) (fails - start) * c->n_max / (double) n_fails);
		to = to < fits ? fits : to > highest ? highest : to;
		status = last_cut(c, fits, to, grade, true, &end);
		if (status == EMB_OK && end == fits && to < highest)
		{
			status = first_cut(c, to, highest + 1, grade, true, &end);
			if (end > highest)
				end = fits;
		}
		if (status != EMB_OK)
			return status;
		if (end == fits)
			break;
		if ((status = count_piece(c, start, end, c->n_max, &n_tokens)) != EMB_OK)
			return status;
		if (n_tokens <= c->n_max)
		{
			fits = end;
			piece->n_tokens = n_tokens;
			if (in_order)
				break;
		}
		else
		{
			fails = end;
			n_fails = n_tokens;
		}
	}
	piece->end = fits;
	return EMB_OK;
}

/*
 * The place where more than room tokens from start end (then *is_beyond), or the
 * end of the text if it has fewer. The tokenizer may have to read an endless word
 * as a whole before one of its tokens is certain ("aaaa..." with a unigram
 * tokenizer). So the text is read in growing windows, and inside such a word
 * the tokens of the window give an estimate (*is_about), rather too far.
 */
static EmbStatus
find_reach(Cutter *c, size_t start, int32_t room, size_t *reach, bool *is_beyond, bool *is_about)
{
	size_t		rest = c->len - start;
	size_t		window = (size_t) room * BYTES_PER_TOKEN + BYTES_AT_LEAST;

	*is_about = false;
	for (;; window *= 4)
	{
		size_t		end = window < rest ? align_back(c, start + window) : c->len;
		size_t		last_word = align_back(c, end > start + WORD_BYTES_MAX ? end - WORD_BYTES_MAX : start);
		size_t		n_read,
					word_end;
		int64_t		n_tokens;
		EmbStatus	status = count_bare(c, start, end, room, &n_tokens, &n_read);

		if (status != EMB_OK)
			return status;
		*reach = start + n_read;
		*is_beyond = n_tokens > room;
		if (!*is_beyond && end < c->len)
			continue;
		if (*reach < end || end == c->len)
			return EMB_OK;
		status = last_cut(c, last_word, end - 1, CUT_WORD, true, &word_end);
		if (status != EMB_OK || word_end == last_word)
		{
			size_t		about = (size_t) ((double) (end - start) / (double) n_tokens * room) * 2 + BYTES_PER_TOKEN;

			*reach = about < end - start ? align_back(c, start + about) : end;
			*is_beyond = false;
			*is_about = true;
			return status;
		}
	}
}

/* Characters left for text, if the model limits characters including the prompt. */
static int32_t
chars_room(const Cutter *c)
{
	int32_t		n_left = c->model->info.max_chars;

	for (size_t i = 0; i < c->prompt_bytes; i++)
		n_left -= !emb_utf8_is_inside((uint8_t) c->prompt[i]);
	return n_left;
}

/* If the model limits characters: lowers *reach to the end of these characters. */
static EmbStatus
cap_chars(Cutter *c, size_t start, size_t *reach, bool *is_beyond)
{
	int32_t		n_left = chars_room(c);
	size_t		pos = start;
	uint32_t	cp;

	if (c->model->info.max_chars == 0)
		return EMB_OK;
	while (pos < *reach && n_left > 0)
	{
		EmbStatus	status = count_work(c);

		if (status != EMB_OK)
			return status;
		pos += char_at(c, pos, &cp);
		n_left--;
	}
	if (pos < *reach)
	{
		*reach = pos;
		*is_beyond = false;
	}
	return EMB_OK;
}

/*
 * The maximum end of the piece from start. *is_beyond: a piece that ends there
 * has too many tokens. The last token of a prompt and the first token of the
 * text may merge into one, so that more text fits than there is room for.
 */
static EmbStatus
find_limit(Cutter *c, size_t start, size_t *reach, bool *is_beyond, bool *is_about)
{
	int32_t		room = c->n_max - c->n_around + (c->prompt_bytes > 0);
	uint32_t	cp;
	size_t		first = start + char_at(c, start, &cp);
	EmbStatus	status = find_reach(c, start, room, reach, is_beyond, is_about);

	if (status != EMB_OK)
		return status;
	if (*reach < first)			/* whatever was estimated, try the first character */
		*reach = first;
	return cap_chars(c, start, reach, is_beyond);
}

/*
 * The piece that starts at piece->start: as long as fits, with the best cut;
 * no piece if the first character does not fit. No end is rejected without
 * counting: an end before spaces at reach may have fewer tokens than reach.
 */
static EmbStatus
find_end(Cutter *c, Piece *piece)
{
	size_t		start = piece->start;
	size_t		reach = start;
	bool		is_beyond = false,
				is_about = false;
	EmbStatus	status = find_limit(c, start, &reach, &is_beyond, &is_about);

	piece->end = start;
	for (int grade = CUT_WORD; status == EMB_OK && piece->end == start && grade >= CUT_ANYWHERE; grade--)
		status = find_longest(c, reach, is_beyond && c->prompt_bytes == 0 ? reach : SIZE_MAX, (CutGrade) grade, !is_about, piece);
	return status;
}

/* ---------------------------------------------------------------- starts */

/*
 * The earliest start of the next piece. It is the last piece's start, except for
 * static models. They read a fixed number of characters, so a piece may end at that
 * limit with fewer tokens than the overlap. Such a piece overlaps the next by at
 * most the overlap's fraction of its characters.
 */
static size_t
find_repeatable(const Cutter *c, const Piece *last)
{
	int64_t		n_chars = (int64_t) chars_room(c) * c->overlap / (c->n_max - c->n_around);
	size_t		pos = last->end;
	uint32_t	cp;

	if (c->model->info.max_chars == 0)
		return last->start;
	for (; pos > last->start && n_chars >= 0; n_chars--)
		pos -= char_before(c, pos, &cp);
	return pos;
}

/*
 * The start of the next piece: the first cut, after the last piece's start, that
 * repeats at most c->overlap tokens of the last piece. Words stay whole, unless the
 * last piece ended inside a word.
 */
static EmbStatus
find_overlap(Cutter *c, const Piece *last, size_t *start)
{
	CutGrade	grade = grade_at(c, last->end);
	size_t		fails = find_repeatable(c, last);
	size_t		fits = last->end;
	bool		failed = false,
				fitted = false;
	int64_t		n_text = last->n_tokens > c->n_around ? last->n_tokens - c->n_around : 1;
	size_t		token_bytes = (last->end - last->start) / (size_t) n_text + 1;
	size_t		step = 4 * token_bytes;
	size_t		guess = c->overlap < (int64_t) ((last->end - last->start) / token_bytes)
		? last->end - c->overlap * token_bytes : last->start + 1;

	guess = guess > fails ? guess : fails + 1;
	/*
	 * The guess is usually close. The search goes from there in growing steps, then
	 * by bisection.
	 */
	while (c->overlap > 0)
	{
		size_t		n_read;
		size_t		at;
		int64_t		n_tokens;
		EmbStatus	status = first_cut(c, guess - 1, fits, grade, false, &at);

		if (status == EMB_OK && (at == fits || at <= fails))
		{
			status = last_cut(c, fails, guess, grade, false, &at);
			if (at == fails || at >= fits)
				break;
		}
		if (status == EMB_OK)
			status = count_bare(c, at, last->end, c->overlap, &n_tokens, &n_read);
		if (status != EMB_OK)
			return status;
		if (n_tokens <= c->overlap)
		{
			fits = at;
			fitted = true;
			guess = failed || fits - fails <= step ? fails + (fits - fails + 1) / 2 : fits - step;
		}
		else
		{
			fails = at;
			failed = true;
			guess = fitted || fits - fails <= step ? fails + (fits - fails + 1) / 2 : fails + step;
		}
		step *= 2;
	}
	*start = fits;
	return skip_spaces(c, start);
}

/* ---------------------------------------------------------------- chunks */

static EmbStatus
open_cutter(Cutter *c, const EmbModel *model, const EmbChunking *how, const char *text, size_t len,
			const EmbAllocator *mem, const EmbStop *stop, EmbError *err)
{
	int64_t		n_around;
	EmbStatus	status = emb_model_count_tokens(model, how->prompt, "", 0, mem, stop, &n_around, err);

	if (status != EMB_OK)
		return status;
	*c = (Cutter) {.model = model, .text = (const uint8_t *) text, .len = len, .overlap = how->overlap,
		.mem = mem, .stop = stop, .err = err, .chars_left = STOP_CHARS};
	c->prompt = emb_model_prompt(model, how->prompt, &c->prompt_bytes);
	c->n_max = how->max_tokens < model->info.max_tokens ? how->max_tokens : model->info.max_tokens;
	if (c->n_max <= n_around)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "chunks of %d tokens have no room beside the model's %lld tokens of prompt and special tokens",
						 c->n_max, (long long) n_around);
	c->n_around = (int32_t) n_around;
	if (model->info.max_chars > 0 && chars_room(c) <= 0)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "chunks have no room beside the prompt: the model reads %d characters, and the prompt has %d",
						 model->info.max_chars, model->info.max_chars - chars_room(c));
	if (how->overlap < 0 || how->overlap >= c->n_max - c->n_around)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "an overlap of %d tokens is not from 0 to %d: chunks of %d tokens have %d of text",
						 how->overlap, c->n_max - c->n_around - 1, c->n_max, c->n_max - c->n_around);
	return EMB_OK;
}

/*
 * Finds the piece after last; if last has no tokens, nothing is repeated. *piece is
 * empty if only spaces are left.
 */
static EmbStatus
next_piece(Cutter *c, const Piece *last, Piece *piece)
{
	EmbStatus	status;

	piece->start = last->end;
	piece->n_tokens = 0;
	status = skip_spaces(c, &piece->start);
	piece->end = piece->start;
	if (status != EMB_OK || piece->start == c->len)
		return status;
	if (c->overlap > 0 && last->n_tokens > 0)
	{
		size_t		behind = piece->start;

		status = find_overlap(c, last, &piece->start);
		if (status == EMB_OK)
			status = find_end(c, piece);
		if (status != EMB_OK || (piece->end > piece->start && piece->end > last->end))
			return status;
		/* the overlap leaves no room for the next word */
		piece->start = behind;
	}
	status = find_end(c, piece);
	if (status == EMB_OK && piece->end == piece->start)
		return emb_error(c->err, EMB_ERR_INVALID_ARGUMENT, "the character at byte %zu of the text has more tokens than the %d that a chunk has for text",
						 piece->start, c->n_max - c->n_around);
	return status;
}

/* Whether the piece has only characters that the tokenizer drops. */
static EmbStatus
is_void(Cutter *c, const Piece *piece, bool *result)
{
	int64_t		n_tokens = 1;
	size_t		n_read;
	EmbStatus	status = EMB_OK;

	/* a prompt may merge with the text, so a small count alone proves nothing */
	if (piece->n_tokens <= c->n_around)
		status = count_bare(c, piece->start, piece->end, 0, &n_tokens, &n_read);
	*result = n_tokens == 0;
	return status;
}

EmbStatus
emb_model_next_chunk(const EmbModel *model, const EmbChunking *how, const char *text, size_t len,
					 const EmbAllocator *mem, const EmbStop *stop, EmbChunk *chunk, EmbError *err)
{
	Piece		last = {chunk->start, chunk->end, chunk->n_tokens};
	Piece		piece;
	bool		is_dropped;
	Cutter		c;
	EmbStatus	status = open_cutter(&c, model, how, text, len, mem, stop, err);

	if (status != EMB_OK)
		return status;
	do
	{
		status = next_piece(&c, &last, &piece);
		if (status == EMB_OK && piece.end == piece.start)
		{
			chunk->n_tokens = 0;
			return EMB_OK;
		}
		if (status == EMB_OK)
			status = is_void(&c, &piece, &is_dropped);
		if (status != EMB_OK)
			return status;
		last = (Piece) {piece.start, piece.end, 0};
	} while (is_dropped);
	status = add_chars(&c, chunk->start, piece.start, &chunk->start_char);
	chunk->end_char = chunk->start_char;
	if (status == EMB_OK)
		status = add_chars(&c, piece.start, piece.end, &chunk->end_char);
	chunk->start = piece.start;
	chunk->end = piece.end;
	chunk->n_tokens = (int32_t) piece.n_tokens;
	return status;
}
