/*
 * pinned_name.c
 *		A model's name with a fingerprint: "name@731c8b3cdd28".
 */
#include "pg/store/pinned_name.h"

#include "utils/builtins.h"

bool
embed_pinned_parse(const char *s, EmbedPinnedName *pinned)
{
	size_t		len = strnlen(s, EMBED_PINNED_MAX + 1);
	const char *at = memchr(s, '@', len);
	size_t		n_name = at != NULL ? (size_t) (at - s) : len;
	size_t		n_digits = at != NULL ? len - n_name - 1 : 0;

	pinned->name[0] = '\0';
	pinned->digits[0] = '\0';
	if (len > EMBED_PINNED_MAX || !emb_name_is_valid(s, n_name))
		return false;
	if (at != NULL && (n_digits < EMBED_DIGITS_MIN || n_digits > EMBED_DIGITS_MAX ||
					   strspn(at + 1, "0123456789abcdefABCDEF") != n_digits))
		return false;
	strlcpy(pinned->name, s, n_name + 1);
	for (size_t i = 0; i < n_digits; i++)
		pinned->digits[i] = pg_ascii_tolower((unsigned char) at[1 + i]);
	pinned->digits[n_digits] = '\0';
	return true;
}

void
embed_fingerprint_digits(const uint8 *fingerprint, char digits[EMBED_DIGITS_MAX + 1])
{
	digits[hex_encode((const char *) fingerprint, EMB_HASH_SIZE, digits)] = '\0';
}

bool
embed_digits_match(const char *digits, const uint8 *fingerprint)
{
	char		all[EMBED_DIGITS_MAX + 1];

	if (digits[0] == '\0')
		return true;
	embed_fingerprint_digits(fingerprint, all);
	return strncmp(digits, all, strlen(digits)) == 0;
}
