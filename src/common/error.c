/*
 * error.c
 *		Fills error reports.
 */
#include "common/error.h"

#include <stdio.h>

#include "common/utf8.h"

/*
 * vsnprintf may cut a UTF-8 sequence at the end of the buffer. The incomplete
 * sequence is dropped, so that a server can show the message.
 */
static void EMB_PRINTF(3, 0)
format_utf8(char *buf, size_t size, const char *fmt, va_list args)
{
	int			n = vsnprintf(buf, size, fmt, args);
	size_t		end;

	if (n < 0)
	{
		buf[0] = '\0';
		return;
	}
	if ((size_t) n < size)
		return;
	end = size - 1;
	while (end > 0 && emb_utf8_is_inside((uint8_t) buf[end - 1]))
		end--;
	if (end > 0 && ((unsigned char) buf[end - 1] & 0x80) != 0)
		end--;
	buf[end] = '\0';
}

static void EMB_PRINTF(4, 0)
fill(EmbError *err, EmbStatus code, int64_t offset, const char *fmt, va_list args)
{
	if (err == NULL)
		return;
	err->code = code;
	err->offset = offset;
	err->hint[0] = '\0';
	format_utf8(err->message, sizeof(err->message), fmt, args);
}

EmbStatus
emb_error(EmbError *err, EmbStatus code, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	fill(err, code, -1, fmt, args);
	va_end(args);
	return code;
}

EmbStatus
emb_error_at(EmbError *err, EmbStatus code, int64_t offset, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	fill(err, code, offset, fmt, args);
	va_end(args);
	return code;
}

EmbStatus
emb_error_hint(EmbError *err, EmbStatus code, const char *fmt,...)
{
	va_list		args;

	if (err == NULL)
		return code;
	va_start(args, fmt);
	format_utf8(err->hint, sizeof(err->hint), fmt, args);
	va_end(args);
	return err->code;
}
