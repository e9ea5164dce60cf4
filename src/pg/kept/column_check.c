/*
 * column_check.c
 *		embed_check: which vectors of a kept column are not those of their
 *		texts.
 *
 * A trigger that is disabled, that fires before another one changes the text,
 * or that session_replication_role silences leaves such rows. The check embeds
 * the texts anew and compares bit for bit, in the column's type.
 */
#include "pg/glue.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "pg/auto/as_owner.h"
#include "pg/auto/kept_column.h"
#include "pg/auto/known.h"
#include "pg/call/callsite.h"
#include "pg/kept/column_sql.h"
#include "pg/sql/rows.h"
#include "pg/sql/vector.h"

/* Rows that the cursor reads at a time. */
#define FETCH_ROWS	100

/* Columns of the cursor. */
enum
{
	COLUMN_PART = 1,
	COLUMN_TID,
	COLUMN_KEY,
	COLUMN_VECTOR,
	COLUMN_SOURCES
};

typedef struct Check
{
	EmbedRows	rows;
	EmbedKeptColumn *kept;
	EmbedSite  *site;
	ExprContext *econtext;
	int64		n_right;
	int64		n_wrong;
	Tuplestorestate *wrong;		/* after the counts */
} Check;

/* The primary key of t as an object, or NULL. */
static char *
key_in_sql(Relation rel)
{
	StringInfoData sql;
	Relation	index;

	list_free(RelationGetIndexList(rel));
	if (!OidIsValid(rel->rd_pkindex))
		return pstrdup("NULL::pg_catalog.jsonb");
	initStringInfo(&sql);
	appendStringInfoString(&sql, "pg_catalog.jsonb_build_object(");
	index = relation_open(rel->rd_pkindex, AccessShareLock);
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		const char *name = NameStr(TupleDescAttr(RelationGetDescr(rel), index->rd_index->indkey.values[i] - 1)->attname);

		appendStringInfo(&sql, "%s%s::pg_catalog.text, t.%s", i > 0 ? ", " : "", quote_literal_cstr(name), quote_identifier(name));
	}
	relation_close(index, AccessShareLock);
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/* The vector of the text in the column's type. */
static Datum
compute(Check *check, Datum text, bool *isnull)
{
	const char *name = check->kept->names_model ? check->kept->model.name : NULL;
	const EmbedModelRef *ref = embed_site_resolve_name(check->site, name, EMBED_NAME_ALIAS_TOO);
	float	   *elements;
	ArrayType  *vector;

	if (check->kept->model.digits[0] != '\0')
	{
		char		digits[2 * EMB_HASH_SIZE + 1];

		embed_trigger_digits(ref->fingerprint, 2 * EMB_HASH_SIZE, digits);
		if (strncmp(digits, check->kept->model.digits, strlen(check->kept->model.digits)) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("trigger \"%s\": alias \"%s\" stands for another model than when the trigger was created",
							NameStr(check->kept->trigger_name), check->kept->model.name)));
	}
	vector = embed_vector_new(ref->info->dim, &elements);
	embed_site_embed(check->site, ref, EMB_PROMPT_DOCUMENT, text, elements);
	*isnull = false;
	return embed_trigger_convert(&check->kept->columns.from_vector, check->econtext, PointerGetDatum(vector), isnull);
}

/* NULL: the row is right. */
static const char *
verdict(Check *check, uint64 row)
{
	bool		text_isnull;
	bool		stored_isnull;
	bool		isnull;
	Datum		text = embed_column_text_of(&check->kept->columns, check->econtext, row, COLUMN_SOURCES, &text_isnull);
	Datum		stored = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, COLUMN_VECTOR, &stored_isnull);
	Datum		computed;

	if (text_isnull)
		return "no text";
	computed = compute(check, text, &isnull);
	if (check->kept->columns.vector.typlen == -1)
	{
		stored = PointerGetDatum(PG_DETOAST_DATUM(stored));
		computed = PointerGetDatum(PG_DETOAST_DATUM(computed));
	}
	return embed_known_is_same(&check->kept->columns.vector, stored, stored_isnull, computed, isnull) ? NULL : "other vector";
}

static void
check_row(Check *check, uint64 row)
{
	const char *found = verdict(check, row);
	Datum		values[5];
	bool		nulls[5] = {false, true};

	if (found == NULL)
	{
		check->n_right++;
		return;
	}
	check->n_wrong++;
	values[0] = CStringGetTextDatum(found);
	values[1] = (Datum) 0;
	for (int i = COLUMN_PART; i <= COLUMN_KEY; i++)
		values[1 + i] = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, i, &nulls[1 + i]);
	tuplestore_putvalues(check->wrong, check->rows.desc, values, nulls);
}

static void
check_rows(Check *check, const char *query)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "embed check", ALLOCSET_DEFAULT_SIZES);
	SPIPlanPtr	plan = SPI_prepare(query, 0, NULL);
	Portal		cursor = plan != NULL ? SPI_cursor_open(NULL, plan, NULL, NULL, true) : NULL;

	if (cursor == NULL)
		elog(ERROR, "could not run \"%s\"", query);
	do
	{
		SPI_cursor_fetch(cursor, true, FETCH_ROWS);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			MemoryContext old = MemoryContextSwitchTo(scratch);

			CHECK_FOR_INTERRUPTS();
			check_row(check, i);
			MemoryContextSwitchTo(old);
			MemoryContextReset(scratch);
			ResetExprContext(check->econtext);
		}
		SPI_freetuptable(SPI_tuptable);
	} while (SPI_processed > 0);
	SPI_cursor_close(cursor);
}

static void
put_count(Check *check, const char *name, int64 n)
{
	Datum		values[5] = {CStringGetTextDatum(name), Int64GetDatum(n)};
	bool		nulls[5] = {false, false, true, true, true};

	tuplestore_putvalues(check->rows.store, check->rows.desc, values, nulls);
}

static void
put_wrong(Check *check)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(check->rows.desc, &TTSOpsMinimalTuple);

	while (tuplestore_gettupleslot(check->wrong, true, false, slot))
		tuplestore_puttupleslot(check->rows.store, slot);
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(check->wrong);
}

/* embed_check(tab regclass, vector name, sample int) */
EMBED_CALL(embed_column_check)
{
	Check		check = {.rows = embed_rows_begin(fcinfo)};
	const char *vector;
	const char *from;
	const char *key;
	const char *to_do;
	Relation	rel;
	EmbedCaller caller;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	if (!PG_ARGISNULL(2) && PG_GETARG_INT32(2) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a sample of %d vectors", PG_GETARG_INT32(2)),
				 errhint("Give a number of 0 or more, or NULL for all vectors.")));
	vector = NameStr(*PG_GETARG_NAME(1));
	rel = try_relation_open(PG_GETARG_OID(0), AccessShareLock);
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", PG_GETARG_OID(0))));
	/* casts of the key, the sources and the vectors are the owner's code */
	caller = embed_as_owner(rel);
	check.kept = embed_kept_column(rel, vector, WARNING);
	if (check.kept == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no embed_trigger keeps column \"%s\" of table \"%s\"", vector, RelationGetRelationName(rel)),
				 errhint("SELECT embed_column(table, source, column) keeps it.")));
	key = key_in_sql(rel);
	to_do = embed_column_to_do(rel, &check.kept->columns);
	from = embed_column_rows(RelationGetRelid(rel));
	/* the lock stays until the transaction ends */
	relation_close(rel, NoLock);
	check.site = embed_site(fcinfo);
	check.econtext = CreateStandaloneExprContext();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	check.wrong = tuplestore_begin_heap(false, false, work_mem);
	check_rows(&check, psprintf("SELECT t.tableoid, t.ctid, %s, t.%s, %s FROM %s AS t WHERE t.%s IS NOT NULL%s",
								key, quote_identifier(vector), embed_column_sources(&check.kept->columns), from,
								quote_identifier(vector),
								PG_ARGISNULL(2) ? "" : psprintf(" ORDER BY pg_catalog.random() LIMIT %d", PG_GETARG_INT32(2))));
	put_count(&check, "right", check.n_right);
	put_count(&check, "wrong", check.n_wrong);
	put_count(&check, "to do", embed_column_number(psprintf("SELECT pg_catalog.count(*) FROM %s WHERE %s", from, to_do)));
	put_wrong(&check);
	SPI_finish();
	FreeExprContext(check.econtext, true);
	embed_as_caller(&caller);
	return (Datum) 0;
}
