/*
 * column_check.c
 *		embed_check: which vectors of a kept column are not those of their
 *		texts.
 *
 * A trigger that is disabled, that fires before another one changes the text,
 * or that session_replication_role silences leaves such rows. The check embeds
 * the texts anew, some hundred rows at a time, and compares bit for bit, in the
 * column's type.
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
#include "pg/auto/trigger_depends.h"
#include "pg/call/callsite.h"
#include "pg/call/text_batch.h"
#include "pg/kept/column_sql.h"
#include "pg/kept/column_table.h"
#include "pg/sql/rows.h"
#include "pg/sql/vector.h"

/* Rows that the cursor reads at a time, and the bytes of their texts that are computed together. */
#define FETCH_ROWS	256
#define TEXT_BYTES	(8 * 1024 * 1024)

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
	Datum		texts[FETCH_ROWS];	/* of the rows in work; 0: none */
	int32		n_texts;
	int32		dim;
	float	   *vectors;		/* of those that have a text: [n, dim] */
	float	   *next_vector;
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

static const EmbedModelRef *
resolve(Check *check)
{
	const char *name = check->kept->names_model ? check->kept->model.name : NULL;
	const EmbedModelRef *ref = embed_site_resolve_name(check->site, name, EMBED_NAME_ALIAS_TOO);

	if (!embed_digits_match(check->kept->model.digits, ref->fingerprint))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("trigger \"%s\": %s", NameStr(check->kept->trigger_name),
						embed_trigger_other_model(&check->kept->model, ref->fingerprint)),
				 errhint("The vectors are those of a model that is not here under this name. Import it, and give its name to embed_column.")));
	return ref;
}

/* Texts of the rows from first on, as many as are computed together; returns the row after them. */
static uint64
read_texts(Check *check, uint64 first, uint64 n_rows)
{
	Size		bytes = 0;
	uint64		row = first;

	check->n_texts = 0;
	for (; row < n_rows && bytes < TEXT_BYTES; row++)
	{
		bool		isnull;
		Datum		text = embed_column_text_of(&check->kept->columns, check->econtext, row, COLUMN_SOURCES, &isnull);

		CHECK_FOR_INTERRUPTS();
		check->texts[row] = isnull ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(text));
		if (!isnull)
		{
			bytes += VARSIZE(DatumGetPointer(check->texts[row]));
			check->n_texts++;
		}
		ResetExprContext(check->econtext);
	}
	return row;
}

static float *
reserve_vectors(void *ctx, pg_attribute_unused() int32 n)
{
	return ((Check *) ctx)->next_vector;
}

static void
take_vectors(void *ctx, pg_attribute_unused() const float *vectors, int32 n)
{
	Check	   *check = ctx;

	check->next_vector += (Size) n * check->dim;
}

/* Runs no SQL: conversions, which may, come before and after. */
static void
compute(Check *check, uint64 first, uint64 end)
{
	const EmbedModelRef *ref = resolve(check);
	uint64		begun = embed_stat_begin(ref->stat);
	EmbedBatchSink sink = {check, reserve_vectors, take_vectors};
	EmbedBatch	batch;

	check->dim = ref->info->dim;
	check->vectors = MemoryContextAllocHuge(CurrentMemoryContext, (Size) check->n_texts * check->dim * sizeof(float));
	check->next_vector = check->vectors;
	embed_batch_init(&batch, CurrentMemoryContext, &sink);
	for (uint64 row = first; row < end; row++)
	{
		EmbEncoded	encoded;

		CHECK_FOR_INTERRUPTS();
		if (check->texts[row] == (Datum) 0)
			continue;
		encoded = embed_site_read(check->site, ref, EMB_PROMPT_DOCUMENT, check->texts[row]);
		embed_batch_add(&batch, ref, check->site->ids, NULL, encoded.n_ids);
	}
	embed_batch_run(&batch, ref);
	embed_stat_call(ref->stat, begun);
}

/* Whether the row has this vector, as the trigger would store it. */
static bool
has_vector(Check *check, uint64 row, const float *elements)
{
	float	   *copy;
	ArrayType  *vector = embed_vector_new(check->dim, &copy);
	bool		stored_isnull;
	bool		isnull = false;
	Datum		stored = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, COLUMN_VECTOR, &stored_isnull);
	Datum		computed;

	memcpy(copy, elements, check->dim * sizeof(float));
	computed = embed_trigger_convert(&check->kept->columns.from_vector, check->econtext, PointerGetDatum(vector), &isnull);
	if (check->kept->columns.vector.typlen == -1)
	{
		stored = PointerGetDatum(PG_DETOAST_DATUM(stored));
		if (!isnull)
			computed = PointerGetDatum(PG_DETOAST_DATUM(computed));
	}
	return embed_known_is_same(&check->kept->columns.vector, stored, stored_isnull, computed, isnull);
}

/* verdict NULL: the row is right. */
static void
put_row(Check *check, uint64 row, const char *verdict)
{
	Datum		values[5];
	bool		nulls[5] = {false, true};

	if (verdict == NULL)
	{
		check->n_right++;
		return;
	}
	check->n_wrong++;
	values[0] = CStringGetTextDatum(verdict);
	values[1] = (Datum) 0;
	for (int i = COLUMN_PART; i <= COLUMN_KEY; i++)
		values[1 + i] = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, i, &nulls[1 + i]);
	tuplestore_putvalues(check->wrong, check->rows.desc, values, nulls);
}

static void
compare(Check *check, uint64 first, uint64 end)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "embed check of a row", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	const float *vector = check->vectors;

	for (uint64 row = first; row < end; row++)
	{
		CHECK_FOR_INTERRUPTS();
		if (check->texts[row] == (Datum) 0)
			put_row(check, row, "no text");
		else
		{
			put_row(check, row, has_vector(check, row, vector) ? NULL : "other vector");
			vector += check->dim;
		}
		MemoryContextReset(scratch);
		ResetExprContext(check->econtext);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}

static void
check_rows(Check *check, const char *query)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "embed check", ALLOCSET_DEFAULT_SIZES);
	SPIPlanPtr	plan = SPI_prepare(query, 0, NULL);
	Portal		cursor = plan != NULL ? SPI_cursor_open(NULL, plan, NULL, NULL, true) : NULL;
	uint64		n_rows;

	if (cursor == NULL)
		elog(ERROR, "could not run \"%s\"", query);
	do
	{
		SPI_cursor_fetch(cursor, true, FETCH_ROWS);
		n_rows = SPI_processed;
		for (uint64 first = 0, end; first < n_rows; first = end)
		{
			MemoryContext old = MemoryContextSwitchTo(scratch);

			end = read_texts(check, first, n_rows);
			if (check->n_texts > 0)
				compute(check, first, end);
			compare(check, first, end);
			MemoryContextSwitchTo(old);
			MemoryContextReset(scratch);
		}
		SPI_freetuptable(SPI_tuptable);
	} while (n_rows > 0);
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
	embed_column_lock_parents(PG_GETARG_OID(0));
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
	embed_trigger_record_columns(check.kept->trigger);
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
