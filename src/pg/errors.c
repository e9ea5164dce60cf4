/*
 * errors.c
 *		Reports of the core as PostgreSQL errors.
 */
#include "pg/glue.h"

#include "lib/stringinfo.h"
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

/* Appends a character as the database writes it; false: the database's encoding lacks the character. */
static bool
append_character(StringInfo buf, pg_wchar character)
{
	MemoryContext old = CurrentMemoryContext;
	unsigned char bytes[MAX_UNICODE_EQUIVALENT_STRING + 1];
	volatile bool has_it = true;

	PG_TRY();
	{
		pg_unicode_to_server(character, bytes);
	}
	PG_CATCH();
	{
		int			sqlstate = geterrcode();

		MemoryContextSwitchTo(old);
		if (sqlstate != ERRCODE_UNTRANSLATABLE_CHARACTER && sqlstate != ERRCODE_FEATURE_NOT_SUPPORTED &&
			sqlstate != ERRCODE_SYNTAX_ERROR)
			PG_RE_THROW();
		FlushErrorState();
		has_it = false;
	}
	PG_END_TRY();
	if (has_it)
		appendStringInfoString(buf, (const char *) bytes);
	return has_it;
}

/* The bytes of the character of UTF-8 at p; 0: there is none. */
static int
character_bytes(const unsigned char *p)
{
	int			n = pg_utf_mblen(p);

	return strnlen((const char *) p, n) == (size_t) n && pg_utf8_islegal(p, n) ? n : 0;
}

const char *
embed_utf8_for_server(const char *utf8, bool escapes)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (const unsigned char *p = (const unsigned char *) utf8; *p != '\0';)
	{
		int			n = character_bytes(p);
		bool		is_shown = n > 0 && (*p < 0x80 || GetDatabaseEncoding() == PG_UTF8);
		if (is_shown)
			appendBinaryStringInfo(&buf, (const char *) p, n);
		else if (n > 0)
			is_shown = append_character(&buf, utf8_to_unicode(p));
		if (!is_shown && n > 0 && escapes)
			appendStringInfo(&buf, "\\u%04X", (unsigned) utf8_to_unicode(p));
		else if (!is_shown)
			appendStringInfoChar(&buf, '?');
		p += Max(n, 1);
	}
	return buf.data;
}

/* Messages may quote names from foreign files. */
const char *
embed_message_for_server(const char *message)
{
	return embed_utf8_for_server(message, false);
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
