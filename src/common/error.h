/*
 * error.h
 *		Status codes and error reports of the core library.
 *
 * Every fallible core function returns an EmbStatus (EMB_OK is 0) and, on
 * failure, fills the caller's EmbError. The core never exits, prints or
 * longjmps.
 *
 * Example:
 *
 *		if (thing_is_wrong)
 *			return emb_error(err, EMB_ERR_FORMAT,
 *							 "tensor \"%s\" has %d dimensions, expected 2", name, n);
 *
 * err may be NULL: then only the code is returned.
 */
#ifndef EMB_COMMON_ERROR_H
#define EMB_COMMON_ERROR_H

#include <stdarg.h>
#include <stdint.h>

typedef enum EmbStatus
{
	EMB_OK = 0,
	EMB_ERR_NOMEM,				/* allocation failed */
	EMB_ERR_IO,					/* a system call failed; message has its errno text */
	EMB_ERR_DISK_FULL,			/* no space left where the image is written */
	EMB_ERR_NOT_FOUND,			/* a file or tensor that must exist does not */
	EMB_ERR_NOT_REGULAR,		/* a directory, FIFO, device, socket where a file is needed */
	EMB_ERR_FORMAT,				/* malformed, truncated, lying or corrupt input */
	EMB_ERR_UNSUPPORTED,		/* well-formed, but nothing we implement */
	EMB_ERR_INVALID_ARGUMENT,	/* a caller's value is out of its domain */
	EMB_ERR_LIMIT,				/* beyond a documented limit */
	EMB_ERR_TEXT,				/* input text is not valid UTF-8 */
	EMB_ERR_CANCELLED,			/* should_stop returned true */
	EMB_ERR_INTERNAL			/* an internal invariant is violated */
} EmbStatus;

typedef struct EmbError
{
	EmbStatus	code;
	int64_t		offset;			/* byte offset in the file at fault, or -1 */
	char		message[480];	/* one sentence, no full stop, UTF-8 */
	char		hint[240];		/* what to do, or empty */
} EmbError;

#ifdef __GNUC__
#define EMB_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define EMB_PRINTF(fmt, first)
#endif

/* Fills *err (offset -1, empty hint) and returns code. */
extern EmbStatus emb_error(EmbError *err, EmbStatus code, const char *fmt,...) EMB_PRINTF(3, 4);

/* As emb_error, with the byte offset of the fault. */
extern EmbStatus emb_error_at(EmbError *err, EmbStatus code, int64_t offset,
							  const char *fmt,...) EMB_PRINTF(4, 5);

/* Adds a hint to a report already filled; returns err->code (or code when err is NULL). */
extern EmbStatus emb_error_hint(EmbError *err, EmbStatus code, const char *fmt,...) EMB_PRINTF(3, 4);

#endif
