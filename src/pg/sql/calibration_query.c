/*
 * calibration_query.c
 *		The option "calibration" of embed_import: calibration texts from a
 *		query.
 */
#include "pg/sql/calibration_query.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"

#define FETCH_ROWS 32

/* A portal over the query, which must return one column of text. */
static Portal
open_query(const char *query)
{
	SPIPlanPtr	plan = SPI_prepare(query, 0, NULL);
	Portal		portal;
	TupleDesc	desc;
	Oid			type = InvalidOid;

	if (plan == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the calibration query cannot be prepared: %s", SPI_result_code_string(SPI_result))));
	if (!SPI_is_cursor_plan(plan))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"calibration\" must be one query that returns rows"),
				 errhint("For example \"SELECT body FROM docs ORDER BY id LIMIT %d\".", EMBED_CALIBRATION_TEXTS_MAX)));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	desc = portal->tupDesc;
	if (desc != NULL && desc->natts == 1)
		type = getBaseType(TupleDescAttr(desc, 0)->atttypid);
	if (type != TEXTOID && type != VARCHAROID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the calibration query must return one column of type text")));
	return portal;
}

/* The value as UTF-8 in memory of cxt; long values are cut between characters. */
static char *
copy_text(Datum value, MemoryContext cxt)
{
	text	   *plain = DatumGetTextPP(value);
	const char *s = VARDATA_ANY(plain);
	int			len = VARSIZE_ANY_EXHDR(plain);
	char	   *utf8;

	if (len > EMBED_CALIBRATION_TEXT_BYTES_MAX)
		len = pg_mbcliplen(s, len, EMBED_CALIBRATION_TEXT_BYTES_MAX);
	utf8 = pnstrdup(s, len);
	if (GetDatabaseEncoding() != PG_UTF8)
		utf8 = pg_server_to_any(utf8, len, PG_UTF8);
	return MemoryContextStrdup(cxt, utf8);
}

static void
fetch_texts(Portal portal, const char **texts, EmbImportOptions *options, MemoryContext cxt)
{
	int32		n = 0;

	while (n < EMBED_CALIBRATION_TEXTS_MAX)
	{
		SPI_cursor_fetch(portal, true, Min(FETCH_ROWS, EMBED_CALIBRATION_TEXTS_MAX - n));
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			bool		isnull;
			Datum		value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

			if (!isnull)
				texts[n++] = copy_text(value, cxt);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	options->calibration_texts = texts;
	options->n_calibration_texts = n;
}

/*
 * SPI's read-only mode refuses commands that write. For functions of the query
 * that would write, the transaction is read-only in the meantime. The code
 * sets the variable itself, because since 16 the setting cannot be set for the
 * duration of a function. After an error the end of the (sub)transaction
 * restores it.
 */
void
embed_calibration_read(const char *query, EmbImportOptions *options)
{
	MemoryContext cxt = CurrentMemoryContext;
	const char **texts = palloc(EMBED_CALIBRATION_TEXTS_MAX * sizeof(char *));
	bool		was_read_only = XactReadOnly;
	Portal		portal;

	XactReadOnly = true;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	portal = open_query(query);
	fetch_texts(portal, texts, options, cxt);
	SPI_cursor_close(portal);
	SPI_finish();
	XactReadOnly = was_read_only;
	if (options->n_calibration_texts == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the calibration query returned no text")));
}
