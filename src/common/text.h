/*
 * text.h
 *		Texts that are read for their token ids.
 */
#ifndef EMB_COMMON_TEXT_H
#define EMB_COMMON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

#endif
