/*
 * filler.c
 *		The filler: a background worker that fills the kept columns of one
 *		database.
 *
 * One filler a database: it holds an advisory lock of a kind that SQL cannot
 * take. A second worker that finds the lock taken wakes the holder that the
 * control file names and ends: the holder reads the count of wanted work after
 * it gave up its place. If the control file names nobody, the second worker
 * waits for the lock, and a third one that finds a waiter ends: the waiter has
 * not looked yet.
 *
 * The order at the end: give up the place and the lock, then look once more at
 * the count, then exit. Anything else loses wake-ups.
 */
#include "pg/kept/filler.h"

#include <sys/resource.h>

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "pg/kept/fill.h"
#include "pg/kept/wake.h"
#include "pg/store/tables.h"

#define TURN_NS			UINT64CONST(1000000000)
#define LINGER_MS		2000
#define POLL_MS			50
#define NO_SLOT_MS		1000
#define LOCKED_RETRY_NS	UINT64CONST(1000000000)
#define NICE			10
#define LOCK_TIMEOUT	"1s"

/* "embd", in the advisory locks' space; SQL has kinds 1 and 2. */
#define LOCK_CLASS		0x656d6264
#define LOCK_KIND		3

enum
{
	LOCK_FILLER = 1,
	LOCK_WAITER = 2
};

/* What a filler found out about a column, as long as it lives. */
typedef struct FillerColumn
{
	EmbedFill  *fill;
	EmbedFillEnd end;
	bool		is_found;		/* by the last search */
} FillerColumn;

static struct
{
	Oid			database;
	MemoryContext cxt;
	List	   *columns;		/* of FillerColumn */
	uint64		locked_retry_ns;	/* when tables that were locked at the last search are looked at again; 0: none was */
	EmbedFiller *entry;
	uint64		mapping;
} me;

/* ----------------------------------------------------------- locks */

static void
set_tag(LOCKTAG *tag, uint32 which)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, LOCK_CLASS, which, LOCK_KIND);
}

static bool
try_lock(uint32 which)
{
	LOCKTAG		tag;

	set_tag(&tag, which);
	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

static void
unlock(uint32 which)
{
	LOCKTAG		tag;

	set_tag(&tag, which);
	(void) LockRelease(&tag, ExclusiveLock, true);
}

/* Somebody drops, copies or moves this database, and waits for us to leave. */
static bool
database_is_wanted(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, MyDatabaseId, 0);
	if (LockAcquire(&tag, RowExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	(void) LockRelease(&tag, RowExclusiveLock, true);
	return false;
}

static void
nap(int ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/* ----------------------------------------------------------- the entry */

static EmbedFiller *
entry(void)
{
	embed_control_refresh(embed_ns_to_ms(embed_clock_ns()));
	if (embed_control_mapping() == 0)
		return NULL;
	if (me.entry == NULL || me.mapping != embed_control_mapping())
	{
		me.mapping = embed_control_mapping();
		me.entry = embed_filler_of(me.database, true);
	}
	return me.entry;
}

static uint64
own_holder(void)
{
	return (uint64) (uint32) MyProcPid << 32 | (uint32) (MyProc - ProcGlobal->allProcs);
}

static void
take_place(void)
{
	EmbedFiller *filler = entry();

	if (filler == NULL)
		return;
	atomic_store(&filler->holder, own_holder());
	atomic_store(&filler->starting, 0);
	filler->no_slot = 0;
}

static void
leave_place(void)
{
	uint64		own = own_holder();
	EmbedFiller *filler = embed_control_mapping() == me.mapping ? me.entry : NULL;

	if (filler != NULL)
		(void) atomic_compare_exchange_strong(&filler->holder, &own, 0);
}

static void
leave_at_exit(pg_attribute_unused() int code, pg_attribute_unused() Datum arg)
{
	leave_place();
}

/* Whether another process holds the place, woken. */
static bool
wake_other(void)
{
	EmbedFiller *filler = entry();
	uint64		holder = filler != NULL ? atomic_load(&filler->holder) : 0;

	if (holder == 0 || holder == own_holder() || !embed_filler_lives(filler, me.database))
		return false;
	SetLatch(&ProcGlobal->allProcs[(uint32) holder].procLatch);
	return true;
}

/* Becomes the filler of the database, or returns false: another one does our work. */
static bool
become_filler(void)
{
	bool		result = true;

	if (try_lock(LOCK_FILLER))
		return true;
	if (!try_lock(LOCK_WAITER))
		return false;
	while (result && !try_lock(LOCK_FILLER))
	{
		if (wake_other() || database_is_wanted())
			result = false;
		else
			nap(POLL_MS);
	}
	unlock(LOCK_WAITER);
	return result;
}

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

			if (!embed_guc_background || database_is_wanted())
				return false;
			if (known->end == EMBED_FILL_TIME && known->fill->retry_ns <= now)
				known->end = embed_fill_turn(known->fill, now + TURN_NS);
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
	embed_failures_forget_unkept(is_kept);
	embed_fillers_forget(database_exists);
	is_tidy = true;
}

/* Everything that the count of wanted work stood for when we looked is done. */
static void
note_done(uint64 seen, uint64 retry_ns)
{
	EmbedFiller *filler = entry();

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
	if (entry() == NULL && retry_ns == 0)
		return false;
	for (;;)
	{
		uint64		now = embed_clock_ns();

		if (embed_filler_wanted() != seen || (retry_ns != 0 && retry_ns <= now))
			return true;
		if (now >= until || (retry_ns > until) || !embed_guc_background || database_is_wanted())
			return false;
		nap((int) Max((Min(retry_ns != 0 ? retry_ns : until, until) - now) / 1000000, 1));
	}
}

/*
 * A successor has the place while it waits, so that commits wake it, and start
 * no other one. false: there is another filler, which waits as well if it must.
 */
static bool
wait_before_connecting(int delay_ms)
{
	uint64		until = embed_clock_ns() + (uint64) delay_ms * 1000000;
	EmbedFiller *filler = entry();
	uint64		seen = filler != NULL ? atomic_load(&filler->wanted) : 0;
	uint64		nobody = 0;

	if (filler != NULL && !atomic_compare_exchange_strong(&filler->holder, &nobody, own_holder()) &&
		embed_filler_lives(filler, me.database))
		return false;
	/* the latch of a new process is set */
	for (;;)
	{
		uint64		now = embed_clock_ns();

		filler = entry();
		if (now >= until || (filler != NULL && atomic_load(&filler->wanted) != seen))
			return true;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, (long) ((until - now) / 1000000 + 1), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Without a free slot this process waits for one, or for its time, itself. */
static void
leave_successor(uint64 retry_ns)
{
	for (;;)
	{
		uint64		now = embed_clock_ns();

		if (!embed_guc_background || database_is_wanted() ||
			embed_filler_register(MyDatabaseId, (int) (retry_ns > now ? (retry_ns - now) / 1000000 + 1 : 1)))
			return;
		nap(NO_SLOT_MS);
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
		take_place();
		while (work(&seen, &retry_ns))
		{
			if (!linger(seen, retry_ns))
				break;
		}
		leave_place();
		unlock(LOCK_FILLER);
		/* once more: who read the place before we left it has counted before */
		if (embed_filler_wanted() == seen || !embed_guc_background || database_is_wanted() || !become_filler())
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
	me.database = DatumGetObjectId(database);
	before_shmem_exit(leave_at_exit, (Datum) 0);
	if (begin.delay_ms > 0 && !wait_before_connecting(begin.delay_ms))
		return;
	BackgroundWorkerInitializeConnectionByOid(me.database, InvalidOid, 0);
	set_up_session();
	if (!become_filler())
		return;
	retry_ns = run();
	if (retry_ns != 0)
		leave_successor(retry_ns);
}
