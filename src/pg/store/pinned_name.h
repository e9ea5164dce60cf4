/*
 * pinned_name.h
 *		A model's name with a fingerprint: "name@731c8b3cdd28".
 *
 * A name stands for one content in one database, not on all servers. Who sends
 * a call to another server adds the first 8 to 64 hexadecimal digits of the
 * fingerprint, and the call raises 55000 where the name stands for other
 * content. Names have no "@", so the form is unambiguous. The digits are a
 * prefix of the fingerprint's text, so any number of them will do, even or odd.
 */
#ifndef EMBED_PG_STORE_PINNED_NAME_H
#define EMBED_PG_STORE_PINNED_NAME_H

#include "pg/glue.h"

#define EMBED_DIGITS_MIN	8
#define EMBED_DIGITS_MAX	(2 * EMB_HASH_SIZE)

/* The longest name with a fingerprint. */
#define EMBED_PINNED_MAX	(EMB_NAME_MAX + 1 + EMBED_DIGITS_MAX)

typedef struct EmbedPinnedName
{
	char		name[EMB_NAME_MAX + 1];
	char		digits[EMBED_DIGITS_MAX + 1];	/* lower case; "": none */
} EmbedPinnedName;

/* False, and an empty name, if s has neither of the two forms. */
extern bool embed_pinned_parse(const char *s, EmbedPinnedName *pinned);

/* All digits of a fingerprint, followed by '\0'. */
extern void embed_fingerprint_digits(const uint8 *fingerprint, char digits[EMBED_DIGITS_MAX + 1]);

/* Whether these digits begin a fingerprint; "" begins every one. */
extern bool embed_digits_match(const char *digits, const uint8 *fingerprint);

#endif
