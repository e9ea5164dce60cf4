/*
 * kept_view.c
 *		Rows of the view embed_columns.
 */
#include "pg/kept/fill.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "pg/auto/as_owner.h"
#include "pg/kept/column_table.h"
#include "pg/kept/wake.h"
#include "pg/sql/rows.h"
#include "pg/store/storage.h"
#include "pg/store/names.h"
#include "pg/store/pinned_name.h"

EMBED_FUNCTION(embed_kept_rows);

enum
{
	KEPT_TAB,
	KEPT_SOURCE,
	KEPT_VECTOR,
	KEPT_MODEL,
	KEPT_FINGERPRINT,
	KEPT_MODE,
	KEPT_STATUS,
	KEPT_TO_DO,
	KEPT_FAILED,
	KEPT_FILLED,
	KEPT_RATE,
	KEPT_ETA,
	KEPT_OLDEST,
	KEPT_PID,
	KEPT_ERROR,
	KEPT_ERROR_AT,
	KEPT_SUCCESS_AT,
	KEPT_MIXED,
	N_KEPT
};

typedef struct Row
{
	Datum		values[N_KEPT];
	bool		nulls[N_KEPT];
} Row;

static void
put(Row *row, int i, Datum value)
{
	row->values[i] = value;
	row->nulls[i] = false;
}

static void
put_time(Row *row, int i, int64 at)
{
	if (at != 0)
		put(row, i, TimestampTzGetDatum(at));
}

/*
 * One number of a query about the table: row security applies to the caller. By
 * the to-do index, whatever the table's old statistics say.
 */
static int64
count(const char *sql)
{
	bool		isnull;
	int64		n;
	int			nest = NewGUCNestLevel();

	embed_set_for_now("enable_seqscan", "off");
	SPI_connect();
	if (SPI_execute(sql, false, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "cannot count the rows to do");
	n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	AtEOXact_GUC(true, nest);
	return isnull ? 0 : n;
}

static int64
count_to_do(Relation rel, const EmbedKeptColumn *column)
{
	/* the planner computes what is constant in predicates of the table's indexes */
	EmbedCaller caller = embed_as_owner(rel);
	int64		n = count(embed_fill_query(rel, column, "pg_catalog.count(*)"));

	embed_as_caller(&caller);
	return n;
}

static char *
source_names(const EmbedKeptColumn *column)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < column->columns.n_sources; i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", quote_identifier(NameStr(column->columns.sources[i].name)));
	return names.data;
}

/*
 * The model that the column is kept by. Returns why its vectors cannot be
 * computed now, or NULL: the name is gone, or stands for another model.
 */
static char *
put_model(Row *row, const EmbedKeptColumn *column)
{
	const EmbedTriggerModel *model = &column->model;
	const char *name;
	EmbedName	found;
	bool		dropped = false;
	bool		is_there;

	put(row, KEPT_MIXED, BoolGetDatum(false));
	if (!column->names_model)
		return NULL;
	is_there = embed_names_find(model->name, EMB_KIND_EMBEDDING, NULL, &found, &dropped);
	if (is_there && embed_digits_match(model->digits, found.fingerprint))
	{
		char		digits[EMBED_DIGITS_MAX + 1];

		embed_fingerprint_digits(found.fingerprint, digits);
		put(row, KEPT_MODEL, CStringGetTextDatum(found.model));
		put(row, KEPT_FINGERPRINT, CStringGetTextDatum(digits));
		return dropped ? psprintf("model \"%s\" was dropped", found.model) : NULL;
	}
	/* the model of its vectors, as far as it is known */
	name = model->digits[0] != '\0' ? embed_storage_name_of(model->digits) : NULL;
	put(row, KEPT_MODEL, CStringGetTextDatum(name != NULL ? name : model->name));
	if (model->digits[0] != '\0')
		put(row, KEPT_FINGERPRINT, CStringGetTextDatum(model->digits));
	put(row, KEPT_MIXED, BoolGetDatum(is_there));
	return is_there ? embed_trigger_other_model(model, found.fingerprint) : psprintf("model \"%s\" does not exist", model->name);
}

/* The message has bytes of whoever wrote the file last. */
static void
put_message(Row *row, const EmbedFillColumn *state)
{
	char		message[EMBED_FILL_MESSAGE];
	int			len;

	memcpy(message, state->message, sizeof(message));
	message[sizeof(message) - 1] = '\0';
	len = pg_mbcliplen(message, (int) strlen(message), (int) sizeof(message) - 1);
	message[len] = '\0';
	if (len > 0 && pg_verify_mbstr(GetDatabaseEncoding(), message, len, true))
		put(row, KEPT_ERROR, CStringGetTextDatum(message));
}

static void
put_state(Row *row, const EmbedFillColumn *state, int64 open)
{
	double		rate = (double) state->rate / 1000.0;

	put(row, KEPT_FILLED, Int64GetDatum((int64) Min(state->filled, (uint64) PG_INT64_MAX)));
	put_time(row, KEPT_ERROR_AT, state->error_at);
	put_time(row, KEPT_SUCCESS_AT, state->success_at);
	if (state->error_at != 0)
		put_message(row, state);
	if (rate <= 0)
		return;
	put(row, KEPT_RATE, Float8GetDatum(rate));
	if (open > 0)
	{
		Interval   *eta = palloc0(sizeof(Interval));

		eta->time = (int64) (Min((double) open / rate, 1e9) * USECS_PER_SEC);
		put(row, KEPT_ETA, IntervalPGetDatum(eta));
	}
}

static const char *
status_of(const char *reason, const char *defect, int64 open, int64 failed, const EmbedFillColumn *state, bool lives)
{
	if (reason != NULL)
		return "off";
	if (defect != NULL)
		return "failing";
	if (open == 0)
		return failed > 0 ? "failing" : "complete";
	if (state != NULL && state->is_failing != 0 && (!lives || state->retry_at > GetCurrentTimestamp()))
		return "failing";
	if (lives)
		return "filling";
	return embed_guc_background ? "waiting for a worker" : "off";
}

static void
put_row(const EmbedRows *rows, Relation rel, const EmbedKeptColumn *column)
{
	EmbedFiller *filler = embed_filler_of(MyDatabaseId, false);
	EmbedFillColumn *state = embed_fill_column_of(column->table, column->columns.vector.attnum, false);
	bool		lives = filler != NULL && embed_filler_lives(filler, MyDatabaseId);
	const char *reason = embed_fill_left_alone(rel, column);
	int64		to_do = count_to_do(rel, column);
	int64		failed = embed_failures_count(column->table, NameStr(column->columns.vector.name));
	int64		open = Max(to_do - failed, 0);
	char	   *defect;
	Row			row;

	memset(row.nulls, true, sizeof(row.nulls));
	put(&row, KEPT_TAB, ObjectIdGetDatum(column->table));
	put(&row, KEPT_SOURCE, CStringGetTextDatum(source_names(column)));
	put(&row, KEPT_VECTOR, DirectFunctionCall1(namein, CStringGetDatum(NameStr(column->columns.vector.name))));
	defect = put_model(&row, column);
	put(&row, KEPT_MODE, CStringGetTextDatum(column->is_later ? "later" : "now"));
	put(&row, KEPT_STATUS, CStringGetTextDatum(status_of(reason, defect, open, failed, state, lives)));
	put(&row, KEPT_TO_DO, Int64GetDatum(to_do));
	put(&row, KEPT_FAILED, Int64GetDatum(failed));
	put(&row, KEPT_FILLED, Int64GetDatum(0));
	if (state != NULL)
		put_state(&row, state, open);
	if (reason != NULL || defect != NULL)
		put(&row, KEPT_ERROR, CStringGetTextDatum(reason != NULL ? reason : defect));
	if (open > 0 && state != NULL && state->since != 0)
		put_time(&row, KEPT_OLDEST, state->since);
	else if (open > 0 && filler != NULL)
		put_time(&row, KEPT_OLDEST, filler->since);
	if (lives)
		put(&row, KEPT_PID, Int32GetDatum((int32) (filler->holder >> 32)));
	tuplestore_putvalues(rows->store, rows->desc, row.values, row.nulls);
}

/* A trigger that fails at every row: what its arguments say, and why. Rows to do are not known. */
static void
put_defect(const EmbedRows *rows, Relation rel, const EmbedKeptDefect *defect)
{
	const Trigger *trigger = defect->trigger;
	EmbedPinnedName model;
	NameData	vector;
	Row			row;

	memset(row.nulls, true, sizeof(row.nulls));
	put(&row, KEPT_TAB, ObjectIdGetDatum(RelationGetRelid(rel)));
	if (trigger->tgnargs > 0)
	{
		namestrcpy(&vector, trigger->tgargs[0]);
		put(&row, KEPT_VECTOR, NameGetDatum(&vector));
	}
	if (trigger->tgnargs > 1)
		put(&row, KEPT_SOURCE, CStringGetTextDatum(trigger->tgargs[1]));
	if (trigger->tgnargs > 2 && embed_pinned_parse(trigger->tgargs[2], &model))
		put(&row, KEPT_MODEL, CStringGetTextDatum(model.name));
	put(&row, KEPT_MODE, CStringGetTextDatum(embed_trigger_is_later(trigger) ? "later" : "now"));
	put(&row, KEPT_STATUS, CStringGetTextDatum(trigger->tgenabled == TRIGGER_DISABLED ? "off" : "failing"));
	put(&row, KEPT_FAILED, Int64GetDatum(0));
	put(&row, KEPT_FILLED, Int64GetDatum(0));
	put(&row, KEPT_ERROR, CStringGetTextDatum(defect->reason));
	put(&row, KEPT_MIXED, BoolGetDatum(false));
	tuplestore_putvalues(rows->store, rows->desc, row.values, row.nulls);
}

typedef struct Look
{
	const EmbedRows *rows;
	Oid			table;
} Look;

static void
put_table(void *arg)
{
	const Look *look = arg;
	Relation	rel;
	List	   *columns;
	ListCell   *cell;

	embed_column_lock_parents(look->table);
	rel = try_relation_open(look->table, AccessShareLock);
	if (rel == NULL)
		return;
	columns = RELATION_IS_OTHER_TEMP(rel) ? NIL : embed_kept_columns(rel, 0);
	foreach(cell, columns)
		put_row(look->rows, rel, lfirst(cell));
	foreach(cell, RELATION_IS_OTHER_TEMP(rel) ? NIL : embed_kept_defects(rel))
		put_defect(look->rows, rel, lfirst(cell));
	relation_close(rel, AccessShareLock);
}

/* _embed.kept_columns() returns a row for each kept column of the tables that the caller may SELECT from */
Datum
embed_kept_rows(PG_FUNCTION_ARGS)
{
	EmbedRows	rows = embed_rows_begin(fcinfo);
	List	   *tables = embed_kept_tables();
	ListCell   *cell;

	embed_control_refresh(embed_ns_to_ms(embed_clock_ns()));
	foreach(cell, tables)
	{
		Look		look = {&rows, lfirst_oid(cell)};

		CHECK_FOR_INTERRUPTS();
		/* who reads the view holds one table at a time */
		if (pg_class_aclcheck(look.table, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
			embed_column_look(put_table, &look);
	}
	return (Datum) 0;
}
