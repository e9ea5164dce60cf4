/*
 * text.c
 *		Readers for texts in memory.
 */
#include "common/text.h"

size_t
emb_text_clip(const char *s, size_t len, size_t want)
{
	size_t		n = want;

	if (want >= len)
		return len;
	while (n > 0 && want - n < EMB_UTF8_MAX_BYTES - 1 && emb_utf8_is_inside((uint8_t) s[n]))
		n--;
	return n;
}

static EmbStatus
read_memory(void *ctx, size_t want, EmbText *text, EmbError *err)
{
	const EmbText *whole = ctx;

	(void) err;
	*text = *whole;
	text->len = emb_text_clip(whole->text, whole->len, want);
	text->complete = whole->complete && text->len == whole->len;
	return EMB_OK;
}

EmbTextReader
emb_text_reader(const EmbText *text)
{
	/* the text is only read; ctx is not const because other readers write to theirs */
	return (EmbTextReader) {.ctx = (void *) text, .read = read_memory};
}
