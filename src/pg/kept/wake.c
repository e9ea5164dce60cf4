/*
 * wake.c
 *		Wakes or starts the filler of this database when a transaction has
 *		left something to do.
 */
#include "pg/kept/wake.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "storage/pg_shmem.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#include "pg/kept/filler.h"

/*
 * A registered worker connects within this time, or another one is registered.
 * Until then commits trust it: a thousand commits register one worker.
 */
#define START_MS	1000

/* Commits that left nothing to do try at most this often to start a filler for older work. */
#define TRY_MS		100

bool		embed_is_filler = false;

/* The nesting level of the outermost part of the transaction that left something to do; 0: none. */
static int	wanted_level = 0;

/* The first columns that the transaction left something to do in, each with the nesting level of its outermost part. */
#define WANTED_COLUMNS	32

static struct
{
	Oid			table;
	int			attnum;
	int			level;
} wanted_columns[WANTED_COLUMNS];
static int	n_wanted_columns = 0;

void
embed_filler_want(void)
{
	int			level = GetCurrentTransactionNestLevel();

	if (wanted_level == 0 || level < wanted_level)
		wanted_level = level;
}

void
embed_filler_want_column(Oid table, int attnum)
{
	int			level = GetCurrentTransactionNestLevel();

	embed_filler_want();
	/* the last one first: a statement writes row after row */
	for (int i = n_wanted_columns - 1; i >= 0; i--)
	{
		if (wanted_columns[i].table != table || wanted_columns[i].attnum != attnum)
			continue;
		wanted_columns[i].level = Min(wanted_columns[i].level, level);
		return;
	}
	if (n_wanted_columns == WANTED_COLUMNS)
		return;
	wanted_columns[n_wanted_columns].table = table;
	wanted_columns[n_wanted_columns].attnum = attnum;
	wanted_columns[n_wanted_columns++].level = level;
}

/* The running part ends: what it left is its parent's, or is undone. */
static void
end_part(int level, bool is_undone)
{
	int			n = 0;

	for (int i = 0; i < n_wanted_columns; i++)
	{
		if (wanted_columns[i].level >= level && is_undone)
			continue;
		wanted_columns[n] = wanted_columns[i];
		wanted_columns[n].level = Min(wanted_columns[n].level, level - 1);
		n++;
	}
	n_wanted_columns = n;
}

/* ----------------------------------------------------------- registering */

void
embed_worker_init(BackgroundWorker *worker, const char *type, const char *main_function)
{
	memset(worker, 0, sizeof(*worker));
	strlcpy(worker->bgw_type, type, BGW_MAXLEN);
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	strlcpy(worker->bgw_library_name, "$libdir/embed", sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, main_function, BGW_MAXLEN);
}

bool
embed_filler_register(Oid database, int delay_ms)
{
	BackgroundWorker worker;
	EmbedFillerStart start = {.delay_ms = delay_ms};

	embed_worker_init(&worker, "embed filler", "embed_filler_main");
	snprintf(worker.bgw_name, BGW_MAXLEN, "embed filler for database %u", database);
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	memcpy(worker.bgw_extra, &start, sizeof(start));
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

/* ----------------------------------------------------------- waking */

/* The PGPROC of the holder if it is still the same process, or NULL. */
static PGPROC *
holder_proc(uint64 holder, Oid database)
{
	uint32		number = (uint32) holder;
	PGPROC	   *proc;

	if (holder == 0 || number >= ProcGlobal->allProcCount)
		return NULL;
	proc = &ProcGlobal->allProcs[number];
	/* a filler that waits before it connects has no database */
	if (*(volatile int *) &proc->pid != (int) (holder >> 32) ||
		(proc->databaseId != database && OidIsValid(proc->databaseId)))
		return NULL;
	return proc;
}

bool
embed_filler_lives(EmbedFiller *filler, Oid database)
{
	uint64		holder = atomic_load(&filler->holder);

	if (holder == 0)
		return false;
	if (holder_proc(holder, database) != NULL)
		return true;
	(void) atomic_compare_exchange_strong(&filler->holder, &holder, 0);
	return false;
}

bool
embed_filler_wake(EmbedFiller *filler, Oid database)
{
	PGPROC	   *proc = holder_proc(atomic_load(&filler->holder), database);

	if (proc != NULL)
		SetLatch(&proc->procLatch);
	return proc != NULL;
}

/*
 * The time of a registration, and in 16 bits the life of the shared memory: it
 * is made anew after a crash, and a worker that was registered before never
 * starts.
 */
static uint64
starting_mark(uint64 now_ms)
{
	return now_ms << 16 | (((const PGShmemHeader *) UsedShmemSegAddr)->dsm_control >> 1 & 0xffff);
}

static bool
is_starting(EmbedFiller *filler, uint64 now_ms)
{
	uint64		mark = atomic_load(&filler->starting);

	return mark != 0 && starting_mark(mark >> 16) == mark && now_ms - (mark >> 16) < START_MS;
}

static void
start(EmbedFiller *filler)
{
	uint64		now_ms = embed_ns_to_ms(embed_clock_ns());

	if (!embed_guc_background || embed_is_filler || RecoveryInProgress() || IsBinaryUpgrade)
		return;
	if (filler == NULL)
	{
		(void) embed_filler_register(MyDatabaseId, 0);
		return;
	}
	if (embed_filler_wake(filler, MyDatabaseId) || is_starting(filler, now_ms))
		return;
	filler->tried = now_ms;
	filler->starting = starting_mark(now_ms);
	if (embed_filler_register(MyDatabaseId, 0))
		filler->no_slot = 0;
	else
	{
		filler->no_slot = 1;
		filler->starting = 0;
	}
}

static void
leave_mark(EmbedFiller *filler)
{
	int64		none = 0;

	if (filler == NULL)
		return;
	(void) atomic_compare_exchange_strong(&filler->since, &none, GetCurrentTimestamp());
	atomic_fetch_add(&filler->wanted, 1);
}

/* After leave_mark: the file is mapped. */
static void
leave_column_marks(void)
{
	for (int i = 0; i < n_wanted_columns; i++)
	{
		EmbedFillColumn *column = embed_fill_column_of(wanted_columns[i].table, wanted_columns[i].attnum, true);
		int64		none = 0;

		if (column == NULL)
			continue;
		column->used = GetCurrentTimestamp();
		(void) atomic_compare_exchange_strong(&column->since, &none, column->used);
		atomic_fetch_add(&column->wanted, 1);
	}
	n_wanted_columns = 0;
}

/* This database's entry; cheap for each commit of a session that has used the library. */
static EmbedFiller *
entry(bool create)
{
	static EmbedFiller *filler = NULL;
	static uint64 mapping = 0;

	if (create)
		embed_control_refresh(embed_ns_to_ms(embed_clock_ns()));
	if (embed_control_mapping() == 0)
		return NULL;
	if (filler == NULL || mapping != embed_control_mapping())
	{
		mapping = embed_control_mapping();
		filler = embed_filler_of(MyDatabaseId, create);
	}
	return filler;
}

uint64
embed_filler_wanted(void)
{
	EmbedFiller *filler = entry(true);

	return filler != NULL ? atomic_load(&filler->wanted) : 0;
}

void
embed_filler_done(uint64 seen)
{
	EmbedFiller *filler = entry(true);

	if (filler == NULL || filler->prepared != 0)
		return;
	filler->since = 0;
	atomic_store(&filler->done, seen);
	if (atomic_load(&filler->wanted) != seen)
		filler->since = GetCurrentTimestamp();
}

uint64
embed_column_wanted(Oid table, int attnum)
{
	EmbedFillColumn *column = embed_fill_column_of(table, attnum, false);

	return column != NULL ? atomic_load(&column->wanted) : 0;
}

void
embed_column_done(Oid table, int attnum, uint64 seen)
{
	EmbedFillColumn *column = embed_fill_column_of(table, attnum, false);

	if (column == NULL || column->since == 0)
		return;
	column->since = 0;
	if (atomic_load(&column->wanted) != seen)
		column->since = GetCurrentTimestamp();
}

/* Work that waits, and no filler: no worker slot was free, or the server was restarted. */
static void
look_for_old_work(void)
{
	EmbedFiller *filler = entry(false);
	uint64		now_ms;

	if (filler == NULL || likely(filler->wanted == filler->done))
		return;
	now_ms = embed_ns_to_ms(embed_clock_ns());
	if (now_ms - filler->tried < TRY_MS || embed_filler_lives(filler, MyDatabaseId))
		return;
	filler->tried = now_ms;
	start(filler);
}

static void
commit(void)
{
	EmbedFiller *filler;

	if (likely(wanted_level == 0))
	{
		look_for_old_work();
		return;
	}
	wanted_level = 0;
	filler = entry(true);
	leave_mark(filler);
	leave_column_marks();
	start(filler);
}

/* Its rows appear at COMMIT PREPARED, in whatever session: the mark stays until then. */
static void
prepare(void)
{
	EmbedFiller *filler;

	if (wanted_level == 0)
		return;
	wanted_level = 0;
	filler = entry(true);
	if (filler != NULL)
		filler->prepared = 1;
	leave_mark(filler);
	leave_column_marks();
}

/* At COMMIT the rows are visible to all; nothing may raise any more, and nothing here does. */
static void
xact_event(XactEvent event, pg_attribute_unused() void *arg)
{
	if (!IsUnderPostmaster || MyProc == NULL || !OidIsValid(MyDatabaseId))
		return;
	if (event == XACT_EVENT_COMMIT)
		commit();
	else if (event == XACT_EVENT_PREPARE)
		prepare();
	else if (event == XACT_EVENT_ABORT)
		wanted_level = n_wanted_columns = 0;
}

/* The parent takes over what a part has left; what is rolled back has left nothing. */
static void
subxact_event(SubXactEvent event, pg_attribute_unused() SubTransactionId mine,
			  pg_attribute_unused() SubTransactionId parent, pg_attribute_unused() void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (n_wanted_columns > 0 && (event == SUBXACT_EVENT_COMMIT_SUB || event == SUBXACT_EVENT_ABORT_SUB))
		end_part(level, event == SUBXACT_EVENT_ABORT_SUB);
	if (wanted_level < level)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		wanted_level = level - 1;
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		wanted_level = 0;
}

void
embed_wake_init(void)
{
	RegisterXactCallback(xact_event, NULL);
	RegisterSubXactCallback(subxact_event, NULL);
	embed_launcher_init();
}
