/*
 * errors.c
 *		Reports of the core as PostgreSQL errors.
 */
#include "pg/glue.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

int
embed_sqlstate(EmbStatus status)
{
	switch (status)
	{
		case EMB_OK:
			return ERRCODE_SUCCESSFUL_COMPLETION;
		case EMB_ERR_NOMEM:
			return ERRCODE_OUT_OF_MEMORY;
		case EMB_ERR_IO:
			return ERRCODE_IO_ERROR;
		case EMB_ERR_DISK_FULL:
			return ERRCODE_DISK_FULL;
		case EMB_ERR_NOT_FOUND:
			return ERRCODE_UNDEFINED_FILE;
		case EMB_ERR_NOT_REGULAR:
			return ERRCODE_WRONG_OBJECT_TYPE;
		case EMB_ERR_FORMAT:
			return ERRCODE_INVALID_BINARY_REPRESENTATION;
		case EMB_ERR_UNSUPPORTED:
			return ERRCODE_FEATURE_NOT_SUPPORTED;
		case EMB_ERR_INVALID_ARGUMENT:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case EMB_ERR_LIMIT:
			return ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		case EMB_ERR_TEXT:
			return ERRCODE_CHARACTER_NOT_IN_REPERTOIRE;
		case EMB_ERR_CANCELLED:
			return ERRCODE_QUERY_CANCELED;
		case EMB_ERR_INTERNAL:
			return ERRCODE_INTERNAL_ERROR;
	}
	return ERRCODE_INTERNAL_ERROR;
}

/* Core messages may quote names from foreign files. */
const char *
embed_message_for_server(const char *message)
{
	char	   *copy = pstrdup(message);

	if (GetDatabaseEncoding() == PG_UTF8 &&
		pg_verify_mbstr(PG_UTF8, copy, strlen(copy), true))
		return copy;
	for (char *p = copy; *p != '\0'; p++)
	{
		if (IS_HIGHBIT_SET(*p))
			*p = '?';
	}
	return copy;
}

const char *
embed_shown(const char *s)
{
	size_t		len = strnlen(s, EMB_NAME_MAX + 1);

	return len <= EMB_NAME_MAX ? s : psprintf("%.*s...", pg_mbcliplen(s, (int) len, EMB_NAME_MAX), s);
}

void
embed_throw(EmbStatus status, const EmbError *err)
{
	/* err may be in memory that is freed with the error */
	const char *message;
	const char *hint;

	if (status == EMB_ERR_CANCELLED)
	{
		CHECK_FOR_INTERRUPTS();
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("canceling statement due to user request")));
	}

	message = embed_message_for_server(err->message);
	hint = embed_message_for_server(err->hint);
	ereport(ERROR,
			(errcode(embed_sqlstate(status)),
			 errmsg_internal("%s", message),
			 err->offset >= 0 ? errdetail("At byte offset %lld.", (long long) err->offset) : 0,
			 hint[0] != '\0' ? errhint("%s", hint) : 0));
	pg_unreachable();
}
