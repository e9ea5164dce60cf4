/*
 * filler.c
 *		The filler: a background worker that fills the kept columns of one
 *		database.
 *
 * The order at the end: give up the place and the lock, then look once more at
 * the count, then exit. Anything else loses wake-ups.
 */
#include "pg/kept/filler.h"

#include <sys/resource.h>

#include "access/relation.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "pg/kept/column_lock.h"
#include "pg/kept/fill.h"
#include "pg/kept/filler_place.h"
#include "pg/kept/wake.h"
#include "pg/store/tables.h"

#define TURN_NS			UINT64CONST(1000000000)
#define LINGER_MS		2000
#define NO_SLOT_MS		1000
#define LOCKED_RETRY_NS	UINT64CONST(1000000000)
#define TAKEN_RETRY_NS	UINT64CONST(500000000)
#define NICE			10
#define LOCK_TIMEOUT	"1s"

/* What a filler found out about a column, as long as it lives. */
typedef struct FillerColumn
{
	EmbedFill  *fill;
	EmbedFillEnd end;
	bool		is_found;		/* by the last search */
} FillerColumn;

static struct
{
	MemoryContext cxt;
	List	   *columns;		/* of FillerColumn */
	uint64		locked_retry_ns;	/* when tables that were locked at the last search are looked at again; 0: none was */
} me;

/* ----------------------------------------------------------- columns */

static void
commit_and_begin(void)
{
	CommitTransactionCommand();
	pgstat_report_stat(false);
	CHECK_FOR_INTERRUPTS();
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
}

static const EmbedFillHost host = {commit_and_begin, true};

static FillerColumn *
find_column(const EmbedKeptColumn *column)
{
	ListCell   *cell;

	foreach(cell, me.columns)
	{
		FillerColumn *known = lfirst(cell);

		if (known->fill->column.trigger == column->trigger)
			return known;
	}
	return NULL;
}

static void
add_column(const EmbedKeptColumn *column)
{
	FillerColumn *known = find_column(column);
	MemoryContext old = MemoryContextSwitchTo(me.cxt);

	if (known == NULL)
	{
		known = palloc0(sizeof(FillerColumn));
		known->fill = embed_fill_new(&host, column, me.cxt);
		me.columns = lappend(me.columns, known);
	}
	known->is_found = true;
	MemoryContextSwitchTo(old);
}

/* No waiting behind an ALTER TABLE of one table while others have work. */
static void
pass_over(Oid table)
{
	ListCell   *cell;

	me.locked_retry_ns = embed_clock_ns() + LOCKED_RETRY_NS;
	foreach(cell, me.columns)
	{
		FillerColumn *known = lfirst(cell);

		if (known->fill->column.table != table)
			continue;
		known->is_found = true;
		known->fill->retry_ns = Max(known->fill->retry_ns, me.locked_retry_ns);
	}
}

static void
search_table(Oid table)
{
	Relation	rel;
	List	   *columns;
	ListCell   *cell;

	if (!ConditionalLockRelationOid(table, AccessShareLock))
	{
		pass_over(table);
		return;
	}
	rel = try_relation_open(table, NoLock);
	if (rel == NULL)
	{
		UnlockRelationOid(table, AccessShareLock);
		return;
	}
	columns = embed_kept_columns(rel, 0);
	foreach(cell, columns)
	{
		EmbedKeptColumn *column = lfirst(cell);

		if (embed_fill_left_alone(rel, column) == NULL)
			add_column(column);
	}
	relation_close(rel, AccessShareLock);
}

/* The kept columns as they are now: new tables and partitions are found, dropped ones forgotten. */
static void
search_columns(void)
{
	List	   *tables;
	List	   *rest = NIL;
	ListCell   *cell;
	MemoryContext old;

	foreach(cell, me.columns)
		((FillerColumn *) lfirst(cell))->is_found = false;
	me.locked_retry_ns = 0;
	tables = embed_kept_tables();
	foreach(cell, tables)
		search_table(lfirst_oid(cell));
	old = MemoryContextSwitchTo(me.cxt);
	foreach(cell, me.columns)
	{
		FillerColumn *known = lfirst(cell);

		if (known->is_found)
			rest = lappend(rest, known);
		else
		{
			embed_fill_free(known->fill);
			pfree(known);
		}
	}
	list_free(me.columns);
	me.columns = rest;
	MemoryContextSwitchTo(old);
}

/* A second of work, unless a session fills the column. */
static EmbedFillEnd
take_turn(EmbedFill *fill, uint64 now)
{
	Oid			table = fill->column.table;
	int			attnum = fill->column.columns.vector.attnum;
	EmbedFillEnd end;

	if (!embed_column_lock_turn(table, attnum))
	{
		/* it is another session's now */
		embed_progress_leave(&fill->progress);
		fill->retry_ns = now + TAKEN_RETRY_NS;
		return EMBED_FILL_WAIT;
	}
	end = embed_fill_turn(fill, now + TURN_NS);
	embed_column_unlock_turn(table, attnum);
	return end;
}

/*
 * Goes through the columns until none has anything to do now. Returns whether
 * nothing is left but what waits: *retry_ns, 0 if nothing waits. false: the
 * filler has to leave. is_woken: there are new rows.
 */
static bool
fill_all(bool is_woken, uint64 *retry_ns)
{
	bool		is_busy = true;
	ListCell   *cell;

	search_columns();
	foreach(cell, me.columns)
	{
		FillerColumn *known = lfirst(cell);

		known->end = EMBED_FILL_TIME;
		if (is_woken && known->fill->waits_for_rows)
			known->fill->retry_ns = 0;
	}
	while (is_busy)
	{
		is_busy = false;
		*retry_ns = me.locked_retry_ns;
		foreach(cell, me.columns)
		{
			FillerColumn *known = lfirst(cell);
			uint64		now = embed_clock_ns();

			if (!embed_guc_background || embed_database_is_wanted())
				return false;
			if (known->end == EMBED_FILL_TIME && known->fill->retry_ns <= now)
				known->end = take_turn(known->fill, now);
			if (known->end == EMBED_FILL_TIME && known->fill->retry_ns <= embed_clock_ns())
				is_busy = true;
			else if ((known->end == EMBED_FILL_TIME || known->end == EMBED_FILL_WAIT) &&
					 (*retry_ns == 0 || known->fill->retry_ns < *retry_ns))
				*retry_ns = known->fill->retry_ns;
		}
	}
	return true;
}

/* ----------------------------------------------------------- the work */

static bool
is_installed(void)
{
	return OidIsValid(embed_storage_relid("failure"));
}

static bool
any_prepared(void)
{
	bool		found;

	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	found = SPI_execute("SELECT FROM pg_catalog.pg_prepared_xacts WHERE database OPERATOR(pg_catalog.=) pg_catalog.current_database()",
						false, 1) == SPI_OK_SELECT && SPI_processed > 0;
	SPI_finish();
	PopActiveSnapshot();
	return found;
}

static bool
database_exists(Oid database)
{
	return SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database));
}

/* A table that is locked now may keep its column. */
static bool
is_kept(Oid table, const char *vector)
{
	Relation	rel;
	bool		result;

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table)))
		return false;
	rel = ConditionalLockRelationOid(table, AccessShareLock) ? try_relation_open(table, NoLock) : NULL;
	if (rel == NULL)
		return true;
	result = embed_kept_column(rel, vector, 0) != NULL;
	relation_close(rel, AccessShareLock);
	return result;
}

/* What dropped tables, columns, triggers and databases have left behind. */
static void
tidy(void)
{
	static bool is_tidy = false;

	if (is_tidy)
		return;
	embed_fillers_forget(database_exists);
	is_tidy = embed_failures_forget_unkept(is_kept);
	/* who changes a column has its table when he forgets failures: nobody may wait for tables and keep these */
	commit_and_begin();
}

/* Everything that the count of wanted work stood for when we looked is done. */
static void
note_done(uint64 seen, uint64 retry_ns)
{
	EmbedFiller *filler = embed_place_entry();

	if (filler == NULL || retry_ns != 0)
		return;
	if (filler->prepared != 0)
	{
		if (any_prepared())
			return;
		filler->prepared = 0;
	}
	embed_filler_done(seen);
}

/* One look at everything; false: leave now. */
static bool
work(uint64 *seen, uint64 *retry_ns)
{
	uint64		before = *seen;
	bool		stays;

	*seen = embed_filler_wanted();
	*retry_ns = 0;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "filling kept columns");
	stays = is_installed() && embed_guc_background;
	if (stays)
		tidy();
	stays = stays && fill_all(*seen != before, retry_ns);
	if (stays)
		note_done(*seen, *retry_ns);
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return stays;
}

/* Waits for more; false: nothing came. */
static bool
linger(uint64 seen, uint64 retry_ns)
{
	uint64		until = embed_clock_ns() + LINGER_MS * UINT64CONST(1000000);

	/* without the file nobody can wake us: let the waiter have the lock */
	if (embed_place_entry() == NULL && retry_ns == 0)
		return false;
	for (;;)
	{
		uint64		now = embed_clock_ns();

		if (embed_filler_wanted() != seen || (retry_ns != 0 && retry_ns <= now))
			return true;
		if (now >= until || (retry_ns > until) || !embed_guc_background || embed_database_is_wanted())
			return false;
		embed_filler_nap((int) Max((Min(retry_ns != 0 ? retry_ns : until, until) - now) / 1000000, 1));
	}
}

/* Without a free slot this process waits for one, or for its time, itself. */
static void
leave_successor(uint64 retry_ns)
{
	for (;;)
	{
		uint64		now = embed_clock_ns();

		if (!embed_guc_background || embed_database_is_wanted() ||
			embed_filler_register(MyDatabaseId, (int) (retry_ns > now ? (retry_ns - now) / 1000000 + 1 : 1)))
			return;
		embed_filler_nap(NO_SLOT_MS);
	}
}

static void
set_up_session(void)
{
	/* threads of a process have its priority when they start */
	(void) setpriority(PRIO_PROCESS, 0, NICE);
	embed_is_background = true;
	SetConfigOption("lock_timeout", LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("idle_in_transaction_session_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off", PGC_SUSET, PGC_S_OVERRIDE);
	/* every vector is needed once */
	SetConfigOption("embed.cache_entries", "0", PGC_SUSET, PGC_S_OVERRIDE);
	me.cxt = AllocSetContextCreate(TopMemoryContext, "embed filler", ALLOCSET_DEFAULT_SIZES);
}

/* Returns the time of the next attempt, or 0. */
static uint64
run(void)
{
	uint64		seen = 0;
	uint64		retry_ns = 0;

	for (;;)
	{
		embed_place_take();
		while (work(&seen, &retry_ns))
		{
			if (!linger(seen, retry_ns))
				break;
		}
		embed_place_leave();
		/* once more: who read the place before we left it has counted before */
		if (embed_filler_wanted() == seen || !embed_guc_background || embed_database_is_wanted() || !embed_place_get())
			return retry_ns;
	}
}

void
embed_filler_main(Datum database)
{
	EmbedFillerStart begin;
	uint64		retry_ns;

	memcpy(&begin, MyBgworkerEntry->bgw_extra, sizeof(begin));
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	embed_is_filler = true;
	embed_place_init(DatumGetObjectId(database));
	if (begin.delay_ms > 0 && !embed_place_wait(begin.delay_ms))
		return;
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0);
	set_up_session();
	if (!embed_place_get())
		return;
	retry_ns = run();
	if (retry_ns != 0)
		leave_successor(retry_ns);
}
