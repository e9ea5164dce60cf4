/*
 * utf8.c
 *		Strict UTF-8 (RFC 3629).
 */
#include "common/utf8.h"

int
emb_utf8_decode_multibyte(const uint8_t *p, size_t n, uint32_t *cp)
{
	uint8_t		lead = p[0];
	uint32_t	c;

	if (lead < 0xC2)			/* continuation bytes; C0 and C1 are overlong */
		return 0;
	if (lead < 0xE0)
	{
		if (n < 2 || !emb_utf8_is_inside(p[1]))
			return 0;
		*cp = (uint32_t) (lead & 0x1F) << 6 | (p[1] & 0x3F);
		return 2;
	}
	if (lead < 0xF0)
	{
		if (n < 3 || !emb_utf8_is_inside(p[1]) || !emb_utf8_is_inside(p[2]))
			return 0;
		c = (uint32_t) (lead & 0x0F) << 12 | (uint32_t) (p[1] & 0x3F) << 6 | (p[2] & 0x3F);
		if (c < 0x800 || (c >= 0xD800 && c <= 0xDFFF))
			return 0;
		*cp = c;
		return 3;
	}
	if (lead > 0xF4 || n < 4 || !emb_utf8_is_inside(p[1]) || !emb_utf8_is_inside(p[2]) || !emb_utf8_is_inside(p[3]))
		return 0;
	c = (uint32_t) (lead & 0x07) << 18 | (uint32_t) (p[1] & 0x3F) << 12 |
		(uint32_t) (p[2] & 0x3F) << 6 | (p[3] & 0x3F);
	if (c < 0x10000 || c > 0x10FFFF)
		return 0;
	*cp = c;
	return 4;
}

int
emb_utf8_decode_before(const uint8_t *p, size_t end, uint32_t *cp)
{
	size_t		start = end - 1;

	while (start > 0 && end - start < EMB_UTF8_MAX_BYTES && emb_utf8_is_inside(p[start]))
		start--;
	return emb_utf8_decode(p + start, end - start, cp);
}

int
emb_utf8_encode(uint32_t cp, uint8_t out[EMB_UTF8_MAX_BYTES])
{
	if (cp < 0x80)
	{
		out[0] = (uint8_t) cp;
		return 1;
	}
	if (cp < 0x800)
	{
		out[0] = (uint8_t) (0xC0 | cp >> 6);
		out[1] = (uint8_t) (0x80 | (cp & 0x3F));
		return 2;
	}
	if (cp < 0x10000)
	{
		out[0] = (uint8_t) (0xE0 | cp >> 12);
		out[1] = (uint8_t) (0x80 | (cp >> 6 & 0x3F));
		out[2] = (uint8_t) (0x80 | (cp & 0x3F));
		return 3;
	}
	out[0] = (uint8_t) (0xF0 | cp >> 18);
	out[1] = (uint8_t) (0x80 | (cp >> 12 & 0x3F));
	out[2] = (uint8_t) (0x80 | (cp >> 6 & 0x3F));
	out[3] = (uint8_t) (0x80 | (cp & 0x3F));
	return 4;
}

bool
emb_utf8_is_text(const uint8_t *p, size_t n)
{
	size_t		i = 0;

	while (i < n)
	{
		uint32_t	cp;
		int			len = emb_utf8_decode(p + i, n - i, &cp);

		if (len == 0 || cp == 0)
			return false;
		i += len;
	}
	return true;
}
