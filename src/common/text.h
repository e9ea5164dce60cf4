/*
 * text.h
 *		Texts that are read for their token ids, and where the ids go.
 *
 * Example:
 *
 *		EmbText text = {s, len, true, NULL};
 *		EmbTextReader reader = emb_text_reader(&text);
 *		EmbReading to = {.ids = ids, .max_ids = 512, .mem = &mem, .stop = &stop};
 */
#ifndef EMB_COMMON_TEXT_H
#define EMB_COMMON_TEXT_H

#include "common/error.h"
#include "common/mem.h"
#include "common/utf8.h"

/*
 * Token ids of the start of a text, without special tokens: as many as the
 * reader of the text can use.
 */
typedef struct EmbTextIds
{
	const int32_t *ids;
	int32_t		n_ids;
	bool		longer;			/* the text has more tokens */
} EmbTextIds;

/* A text in UTF-8, or, if not complete, a prefix of a text, cut between characters. */
typedef struct EmbText
{
	const char *text;
	size_t		len;
	bool		complete;
	const EmbTextIds *known;	/* ids of the first text of a pair, if they are known; else NULL */
} EmbText;

/*
 * A source that the tokenizer pulls a text from: a value that is compressed or
 * in another encoding, a text after a prompt. read returns the first want bytes
 * of the text, cut between characters, or the whole text if it is shorter. Each
 * call of read may free the bytes of the call before. The tokenizer calls read
 * with a growing want until the ids are certain. If read returns an incomplete
 * text that is no longer than before, the tokenizer stops with need_more.
 */
typedef struct EmbTextReader
{
	void	   *ctx;
	EmbStatus	(*read) (void *ctx, size_t want, EmbText *text, EmbError *err);
} EmbTextReader;

/* A reader for a text in memory; the text must outlive the reader. */
extern EmbTextReader emb_text_reader(const EmbText *text);

/* Number of bytes to take from s[0 .. len): want, or fewer so that no character is cut. */
extern size_t emb_text_clip(const char *s, size_t len, size_t want);

/* Where the ids of a text go, and what the functions that read it may use. */
typedef struct EmbReading
{
	int32_t    *ids;			/* [max_ids] */
	int32_t    *type_ids;		/* [max_ids] for a pair, else NULL */
	int32_t		max_ids;
	const EmbAllocator *mem;	/* for joining prompt or template and text; NULL if the model has neither */
	const EmbStop *stop;		/* NULL: never stops */
	const char *instruction;	/* for a query, instead of the model's own; NULL: the model's own */
	size_t		instruction_bytes;
} EmbReading;

#endif
