/*
 * encode.h
 *		The stages between text and ids, each pulling from the one before:
 *
 *		raw			characters of the text, cut where an added token matches (added.c)
 *		normalized	cleaned, spaced, decomposed, stripped, lowercased (normalize.c)
 *		matched		cut again where an added token matches the normalized text (added.c)
 *		words		split at spaces and punctuation (pretokenize.c)
 *		ids			longest pieces first (wordpiece.c)
 *
 * Nothing is allocated; what must be kept of the text is bounded by the longest
 * word and the longest added token. Every position of the text is read a
 * bounded number of times.
 */
#ifndef EMB_TOKENIZER_ENCODE_H
#define EMB_TOKENIZER_ENCODE_H

#include "common/utf8.h"
#include "tokenizer/block.h"
#include "tokenizer/unicode.h"

/* Asked for a stop each time this many units of work (mostly characters) are done. */
#define EMB_TOK_STOP_WORK		65536

typedef enum EmbTokEvent
{
	EMB_TOK_CHAR,				/* a code point */
	EMB_TOK_TOKEN,				/* an added token; EmbTokEncoder.token_id */
	EMB_TOK_END,				/* of the text */
	EMB_TOK_MORE,				/* the prefix is used up: what comes next depends on the rest */
	EMB_TOK_FAIL				/* EmbTokEncoder.status and err are filled */
} EmbTokEvent;

/* A place in the raw text. Copying it and going on from the copy gives the same events again. */
typedef struct EmbTokRaw
{
	size_t		pos;
	size_t		no_match_before;	/* added tokens may match from here on */
	size_t		skip_before;		/* characters before it were eaten by an rstrip */
	size_t		looked_before;		/* no lstrip token follows the spaces up to here */
} EmbTokRaw;

/* A place in the decomposed text: the raw place after a character, and what is left of that character. */
typedef struct EmbTokPlace
{
	EmbTokRaw	raw;
	uint8_t		next;
	uint8_t		n_codes;
	uint32_t	codes[EMB_UNI_DECOMPOSED_MAX + 2];	/* with the two spaces around an ideograph */
} EmbTokPlace;

typedef struct EmbTokEncoder
{
	const EmbTokenizer *tok;
	const uint8_t *text;
	size_t		len;
	bool		complete;
	const EmbStop *stop;
	EmbError   *err;
	EmbStatus	status;
	int32_t		work_left;		/* until stop is asked */
	int32_t		token_id;

	/* normalize.c */
	EmbTokPlace place;
	bool		ordering;		/* a run of non-starters is read once per combining class */
	uint32_t	order_now;		/* the class of this pass */
	uint32_t	orders_left;	/* bit k: class k is still to come */
	EmbTokPlace run_start;
	uint8_t		n_lower;		/* lowercase code points still to give */
	uint8_t		next_lower;
	uint32_t	lower[EMB_UNI_LOWER_MAX];

	/* added.c: the window over the normalized text, used only where such tokens exist */
	uint32_t	window_start;
	uint32_t	window_end;
	bool		window_ended;	/* window_event follows */
	EmbTokEvent window_event;
	int32_t		window_token_id;	/* token_id of that event */
	uint32_t	window_no_match;	/* bytes at the start of the window where no token may match */
	bool		window_eaten;	/* only spaces lie between the window and a token with rstrip */
	uint32_t	window_before;	/* the character before the window; 0 at the start of a segment */

	/* wordpiece.c: where ids go */
	int32_t    *ids;			/* [max_ids]; those beyond are only counted */
	int32_t		max_ids;
	int64_t		n_ids;
	bool		done;			/* the text is used up */

	/* pretokenize.c: the word being read */
	int32_t		n_word_chars;
	uint32_t	n_word_bytes;
	uint8_t		word[EMB_TOK_MAX_WORD_CHARS * EMB_UTF8_MAX_BYTES];
	uint8_t		window[2 * (EMB_TOK_MAX_ADDED_BYTES + EMB_UTF8_MAX_BYTES)];
} EmbTokEncoder;

extern void emb_tok_encoder_init(EmbTokEncoder *e, const EmbTokenizer *tok, const char *text, size_t len,
								 bool complete, int32_t *ids, int32_t max_ids,
								 const EmbStop *stop, EmbError *err);

/*
 * Goes on until more than limit ids are certain (EMB_TOK_CHAR), the text is
 * used up (EMB_TOK_END; e->done), or EMB_TOK_MORE or EMB_TOK_FAIL. May be
 * called again with a higher limit after EMB_TOK_CHAR.
 */
extern EmbTokEvent emb_tok_encoder_run(EmbTokEncoder *e, int64_t limit);

extern EmbTokEvent emb_tok_next_raw(EmbTokEncoder *e, EmbTokRaw *at, uint32_t *cp);
extern EmbTokEvent emb_tok_next_normalized(EmbTokEncoder *e, uint32_t *cp);
extern EmbTokEvent emb_tok_next_matched(EmbTokEncoder *e, uint32_t *cp);

/* The word e->word, or e->token_id, to ids. False: e->status is set. */
extern bool emb_tok_emit_word(EmbTokEncoder *e);
extern bool emb_tok_emit_id(EmbTokEncoder *e, int32_t id);

extern EmbTokEvent emb_tok_stop_event(EmbTokEncoder *e);

/* Counts work; true: the caller asked to stop, e->status is set. */
static inline bool
emb_tok_work(EmbTokEncoder *e, int32_t amount)
{
	e->work_left -= amount;
	return e->work_left < 0 && emb_tok_stop_event(e) == EMB_TOK_FAIL;
}

/* Sets e->status. */
extern EmbTokEvent emb_tok_corrupt(EmbTokEncoder *e);

#endif
