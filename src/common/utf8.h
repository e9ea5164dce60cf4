/*
 * utf8.h
 *		Strict UTF-8: no surrogates, no overlong forms, nothing beyond U+10FFFF.
 */
#ifndef EMB_COMMON_UTF8_H
#define EMB_COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EMB_UTF8_MAX_BYTES	4

/* Whether a byte of UTF-8 continues a character. */
static inline bool
emb_utf8_is_inside(uint8_t byte)
{
	return (byte & 0xC0) == 0x80;
}

/*
 * Decodes the first character of p[0 .. n), n >= 1, into *cp and returns its
 * bytes; 0 if it is malformed or cut off.
 */
extern int	emb_utf8_decode_multibyte(const uint8_t *p, size_t n, uint32_t *cp);

static inline int
emb_utf8_decode(const uint8_t *p, size_t n, uint32_t *cp)
{
	if (p[0] < 0x80)
	{
		*cp = p[0];
		return 1;
	}
	return emb_utf8_decode_multibyte(p, n, cp);
}

/*
 * Decodes the character that ends just before p + end, end >= 1, in
 * well-formed UTF-8; 0 if it is malformed.
 */
extern int	emb_utf8_decode_before(const uint8_t *p, size_t end, uint32_t *cp);

/* Writes cp, a scalar value; returns the number of bytes, 1..4. */
extern int	emb_utf8_encode(uint32_t cp, uint8_t out[EMB_UTF8_MAX_BYTES]);

/* Whether all of p[0 .. n) is UTF-8 without U+0000. */
extern bool emb_utf8_is_text(const uint8_t *p, size_t n);

#endif
