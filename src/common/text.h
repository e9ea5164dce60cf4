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

/* The start of a text as token ids without special tokens: as many as a reader of the text can use. */
typedef struct EmbTextIds
{
	const int32_t *ids;
	int32_t		n_ids;
	bool		longer;			/* the text has more tokens */
} EmbTextIds;

/* A text, or where it is not complete a prefix of one, cut between characters. UTF-8. */
typedef struct EmbText
{
	const char *text;
	size_t		len;
	bool		complete;
	const EmbTextIds *known;	/* the first text of a pair: its ids where they are known, else NULL */
} EmbText;

/*
 * A text that is pulled from where it lies: compressed, in another encoding,
 * after a prompt. read gives its first want bytes, cut between characters, or
 * all where it has no more; what it gave before is then gone. It is called with
 * a growing want until the ids are certain. A reader that is not complete and
 * gives no more than the last time has no more for now.
 */
typedef struct EmbTextReader
{
	void	   *ctx;
	EmbStatus	(*read) (void *ctx, size_t want, EmbText *text, EmbError *err);
} EmbTextReader;

/* Of a text in memory, which must outlive the reader. */
extern EmbTextReader emb_text_reader(const EmbText *text);

/* The first want bytes of s[0 .. len), fewer where that is inside a character. */
extern size_t emb_text_clip(const char *s, size_t len, size_t want);

/* Where ids go, and what reading them may use. */
typedef struct EmbReading
{
	int32_t    *ids;			/* [max_ids] */
	int32_t    *type_ids;		/* [max_ids], of pairs; else NULL */
	int32_t		max_ids;
	const EmbAllocator *mem;	/* for a text after a prompt; NULL where there is none */
	const EmbStop *stop;		/* NULL: never */
} EmbReading;

#endif
