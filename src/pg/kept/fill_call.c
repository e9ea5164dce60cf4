/*
 * fill_call.c
 *		CALL embed_fill([tab regclass [, seconds int]]) and embed_retry([tab
 *		regclass]).
 */
#include "pg/kept/fill_call.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "pg/kept/column_lock.h"
#include "pg/kept/column_table.h"
#include "pg/kept/fill.h"
#include "pg/kept/wake.h"
#include "pg/store/catalog_version.h"

#define TURN_NS		UINT64CONST(1000000000)
#define NOTICE_NS	UINT64CONST(2000000000)

/* Rows that others lock: so many more attempts. */
#define WAITS		50
#define WAIT_MS		100

/* Somebody else fills the column, a filler for a second at most. */
#define TAKEN_MS	20

EMBED_FUNCTION(embed_fill);
EMBED_FUNCTION(embed_retry);

/* A column that this call fills. */
typedef struct CallColumn
{
	EmbedFill  *fill;
	EmbedFillEnd end;
	EmbedColumnLock lock;
	uint64		waits_since;	/* for the lock; 0: it does not wait, PG_UINT64_MAX: it has told so */
	int64		to_do;			/* at the beginning */
	int			n_waits;		/* in a row, for rows that others lock */
	uint64		took_ns;
	uint64		told_ns;
} CallColumn;

static void
commit_and_begin(void)
{
	SPI_commit();
	SPI_start_transaction();
}

static const EmbedFillHost host = {commit_and_begin, false};

void
embed_fill_require_top_level(FunctionCallInfo fcinfo, const char *procedure)
{
	CallContext *context = (CallContext *) fcinfo->context;

	if (context != NULL && IsA(context, CallContext) && !context->atomic)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("%s cannot run inside a transaction block", procedure),
			 errdetail("It commits about once a second."),
			 errhint("CALL it outside of BEGIN, and not from a function.%s",
					 strcmp(procedure, "embed_fill") == 0 ? " Inside a transaction, UPDATE ... SET column = embed(...)." : "")));
}

/* Whether table is tab, or a partition of it. */
static bool
belongs_to(Oid table, Oid tab)
{
	return table == tab || (get_rel_relispartition(table) && list_member_oid(get_partition_ancestors(table), tab));
}

static int64
count_to_do(Relation rel, const EmbedKeptColumn *column)
{
	EmbedCaller caller = embed_fill_as_owner(rel);
	int64		n;
	bool		isnull;

	SPI_connect();
	if (SPI_execute(embed_fill_query(rel, column, "pg_catalog.count(*)"), false, 0) != SPI_OK_SELECT)
		elog(ERROR, "cannot count the rows to do");
	n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	embed_as_caller(&caller);
	return n;
}

static List *
add_column(List *columns, Relation rel, const EmbedKeptColumn *kept, bool is_named, MemoryContext cxt)
{
	const char *reason = embed_fill_left_alone(rel, kept);
	MemoryContext old;
	CallColumn *column;

	if (reason != NULL)
	{
		if (is_named)
			ereport(WARNING,
					(errcode(ERRCODE_WARNING),
					 errmsg("table \"%s\" is not filled: %s", RelationGetRelationName(rel), reason)));
		return columns;
	}
	old = MemoryContextSwitchTo(cxt);
	column = palloc0(sizeof(CallColumn));
	column->fill = embed_fill_new(&host, kept, cxt);
	columns = lappend(columns, column);
	MemoryContextSwitchTo(old);
	column->to_do = column->fill->to_do = count_to_do(rel, kept);
	return columns;
}

/*
 * The kept columns of tab, or of all tables that the caller may UPDATE; vector:
 * that column alone, or NULL. *is_all becomes false if others are left.
 */
static List *
find_columns(Oid tab, const char *vector, MemoryContext cxt, bool *is_all)
{
	List	   *columns = NIL;
	List	   *tables = embed_kept_tables();
	ListCell   *cell;

	foreach(cell, tables)
	{
		Oid			table = lfirst_oid(cell);
		Relation	rel;
		List	   *kept;
		ListCell   *one;

		CHECK_FOR_INTERRUPTS();
		if (OidIsValid(tab) ? !belongs_to(table, tab) : pg_class_aclcheck(table, GetUserId(), ACL_UPDATE) != ACLCHECK_OK)
		{
			*is_all = false;
			continue;
		}
		embed_column_lock_parents(table);
		rel = try_relation_open(table, AccessShareLock);
		if (rel == NULL)
			continue;
		kept = embed_kept_columns(rel, WARNING);
		foreach(one, kept)
		{
			EmbedKeptColumn *column = lfirst(one);

			if (vector == NULL || strcmp(NameStr(column->columns.vector.name), vector) == 0)
				columns = add_column(columns, rel, column, OidIsValid(tab), cxt);
		}
		relation_close(rel, NoLock);
		/* ends its locks: who changes several tables has them in another order */
		host.commit();
	}
	return columns;
}

static void
check_right(Oid tab)
{
	char	   *name = get_rel_name(tab);
	AclResult	right = pg_class_aclcheck(tab, GetUserId(), ACL_UPDATE);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("there is no table with OID %u", tab)));
	if (right != ACLCHECK_OK)
		aclcheck_error(right, get_relkind_objtype(get_rel_relkind(tab)), name);
}

/* Percent, and the time left by the speed so far. */
static void
tell(CallColumn *column, bool is_end)
{
	EmbedFill  *fill = column->fill;
	int64		n_done = fill->n_written + fill->n_failed;
	/* at the end of a complete column the rest is what others have filled */
	int64		n_all = is_end && column->end == EMBED_FILL_EMPTY ? n_done : Max(column->to_do, n_done);
	uint64		now = embed_clock_ns();
	double		left_s;

	if (n_all == 0 || (!is_end && now - column->told_ns < NOTICE_NS))
		return;
	column->told_ns = now;
	left_s = n_done == 0 ? 0 : (double) column->took_ns / 1e9 / (double) n_done * (double) (n_all - n_done);
	if (is_end)
		ereport(NOTICE,
				(errmsg("column \"%s\" of table \"%s\": filled " INT64_FORMAT " of " INT64_FORMAT " rows (%d %%) in %.1f s, " INT64_FORMAT " failed",
						fill->vector_name, fill->table_name, fill->n_written, n_all,
						(int) (n_done * 100 / n_all), (double) column->took_ns / 1e9, fill->n_failed),
				 fill->n_failed > 0 ? errhint("The view embed_failures says why; embed_retry tries again.") : 0));
	else
		ereport(NOTICE,
				(errmsg("column \"%s\" of table \"%s\": " INT64_FORMAT " of " INT64_FORMAT " rows (%d %%), about %.0f s left",
						fill->vector_name, fill->table_name, n_done, n_all, (int) (n_done * 100 / n_all), left_s)));
}

static void
end_column(CallColumn *column)
{
	EmbedFill  *fill = column->fill;

	tell(column, true);
	if (column->end == EMBED_FILL_STOPPED || (column->end == EMBED_FILL_WAIT && fill->last_error != NULL))
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("column \"%s\" of table \"%s\" is not complete: %s", fill->vector_name, fill->table_name, fill->last_error),
				 errhint("The rows stay to do: CALL embed_fill again.")));
	else if (column->end == EMBED_FILL_WAIT)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("column \"%s\" of table \"%s\" is not complete: other transactions hold rows locked", fill->vector_name, fill->table_name),
				 errhint("The rows stay to do: CALL embed_fill again.")));
}

static void
nap(int ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Whether this call fills the column now, and nobody else. No lock of a table is held here. */
static bool
take_column(CallColumn *column)
{
	uint64		now = embed_clock_ns();

	if (embed_column_lock_call(&column->lock, column->fill->column.table, column->fill->column.columns.vector.attnum))
		return true;
	if (column->waits_since == 0)
		column->waits_since = now;
	else if (column->waits_since != PG_UINT64_MAX && now - column->waits_since >= NOTICE_NS)
	{
		column->waits_since = PG_UINT64_MAX;
		ereport(NOTICE,
				(errmsg("column \"%s\" of table \"%s\" is being filled by another session: waiting",
						NameStr(column->fill->column.columns.vector.name), get_rel_name(column->fill->column.table))));
	}
	nap(TAKEN_MS);
	return false;
}

/* One turn of each column; whether any has more to do. */
static bool
fill_round(List *columns, uint64 deadline_ns)
{
	bool		is_busy = false;
	ListCell   *cell;

	foreach(cell, columns)
	{
		CallColumn *column = lfirst(cell);
		uint64		begun = embed_clock_ns();

		if (column->end != EMBED_FILL_TIME)
			continue;
		if (begun >= deadline_ns)
			return false;
		if (!take_column(column))
		{
			is_busy = true;
			continue;
		}
		column->end = embed_fill_turn(column->fill, Min(begun + TURN_NS, deadline_ns));
		column->took_ns += embed_clock_ns() - begun;
		if (column->end == EMBED_FILL_WAIT && column->fill->last_error == NULL && column->n_waits++ < WAITS)
		{
			nap(WAIT_MS);
			column->end = EMBED_FILL_TIME;
		}
		else if (column->end != EMBED_FILL_WAIT)
			column->n_waits = 0;
		if (column->end != EMBED_FILL_TIME)
			embed_column_unlock_call(&column->lock);
		is_busy |= column->end == EMBED_FILL_TIME;
		tell(column, false);
	}
	return is_busy;
}

static void
unlock_columns(List *columns)
{
	ListCell   *cell;

	foreach(cell, columns)
		embed_column_unlock_call(&((CallColumn *) lfirst(cell))->lock);
}

/* The locks are the session's: an error would leave them. */
static void
fill_columns(List *columns, uint64 deadline_ns)
{
	PG_TRY();
	{
		while (fill_round(columns, deadline_ns))
			;
	}
	PG_CATCH();
	{
		unlock_columns(columns);
		PG_RE_THROW();
	}
	PG_END_TRY();
	unlock_columns(columns);
}

bool
embed_fill_here(Oid tab, const char *vector, uint64 deadline_ns)
{
	/* SPI's memory of this connection lasts until SPI_finish, through all commits */
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "embed_fill", ALLOCSET_DEFAULT_SIZES);
	uint64		wanted = embed_filler_wanted();
	bool		is_all = !OidIsValid(tab);
	List	   *columns = find_columns(tab, vector, cxt, &is_all);
	bool		found = columns != NIL;
	ListCell   *cell;

	if (vector != NULL)
	{
		foreach(cell, columns)
			((CallColumn *) lfirst(cell))->fill->command = "embed_refill";
	}
	/* ends the snapshot of the CALL itself */
	host.commit();
	fill_columns(columns, deadline_ns);
	foreach(cell, columns)
	{
		CallColumn *column = lfirst(cell);

		end_column(column);
		is_all &= column->end == EMBED_FILL_EMPTY;
		embed_fill_free(column->fill);
	}
	if (is_all)
		embed_filler_done(wanted);
	return found;
}

/* embed_fill(tab regclass DEFAULT NULL, seconds int DEFAULT NULL), a procedure */
Datum
embed_fill(PG_FUNCTION_ARGS)
{
	Oid			tab = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	int32		seconds = PG_ARGISNULL(1) ? PG_INT32_MAX : PG_GETARG_INT32(1);
	uint64		deadline_ns = embed_clock_ns() + (uint64) Max(seconds, 0) * 1000000000;

	PreventCommandDuringRecovery("embed_fill()");
	embed_fill_require_top_level(fcinfo, "embed_fill");
	embed_check_catalog_version();
	if (seconds <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("embed_fill: seconds must be greater than 0, not %d", seconds)));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	if (OidIsValid(tab))
		check_right(tab);
	if (!embed_fill_here(tab, NULL, deadline_ns) && OidIsValid(tab))
		ereport(NOTICE,
				(errmsg("table \"%s\" has no column to fill", get_rel_name(tab)),
				 errhint("SELECT embed_column(...) makes one.")));
	SPI_finish();
	PG_RETURN_VOID();
}

/* embed_retry(tab regclass DEFAULT NULL) returns bigint: the number of failures forgotten */
Datum
embed_retry(PG_FUNCTION_ARGS)
{
	Oid			tab = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	int64		n = 0;
	List	   *tables = embed_kept_tables();
	ListCell   *cell;

	PreventCommandIfReadOnly("embed_retry()");
	if (OidIsValid(tab))
		check_right(tab);
	foreach(cell, tables)
	{
		Oid			table = lfirst_oid(cell);

		if (OidIsValid(tab) ? belongs_to(table, tab) : pg_class_aclcheck(table, GetUserId(), ACL_UPDATE) == ACLCHECK_OK)
			n += embed_failures_forget(table, NULL);
	}
	embed_filler_want();
	PG_RETURN_INT64(n);
}
