/*
 * restore.c
 *		Tables that need a model before pg_restore has loaded it.
 *
 * A dump cannot express that a table's data needs the data of our tables:
 * pg_dump creates such a dependency only for foreign keys.
 */
#include "pg/store/restore.h"

#include "executor/spi.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "pg/compat.h"

#define POLL_MS			100

/*
 * A session of pg_restore is idle for a moment between two tables; waiting
 * sessions see each other as active.
 */
#define PATIENCE_S		3

/* Sessions that may load a model; the value is the maximum wait for them, in seconds. */
typedef enum Helper
{
	HELPER_NONE = PATIENCE_S,
	/*
	 * wrote to our tables and is idle in its transaction: a script commits at
	 * once, a person may never
	 */
	HELPER_IDLE = 30,
	/* writes to our tables: 2 GB, the largest models, at 4 MB/s */
	HELPER_WRITER = 600,
	/* under pg_restore -j: some other large table is loaded first */
	HELPER_SIBLING = 3600
} Helper;

static bool gave_up = false;

/*
 * PGAPPNAME may hide the name pg_restore; a user is unlikely to set these
 * three settings by chance.
 */
bool
embed_loads_dump(void)
{
	return !check_function_bodies && !row_security && client_min_messages == WARNING;
}

bool
embed_in_restore(void)
{
	return !gave_up && embed_loads_dump();
}

const char *
embed_restore_hint(void)
{
	if (!embed_loads_dump())
		return NULL;
	return "The dump may hold the model for a later step, or not at all. Import it first, or restore in steps: pg_restore "
		"--section=pre-data, then -a -n _embed, then --section=data -N _embed, then --section=post-data.";
}

/*
 * The sessions that may load the model: their kind, their number and one PID.
 * A role that may not see other sessions counts them as active. Siblings have
 * the application name that pg_restore, or PGAPPNAME, sets for all sessions of
 * a restore; psql restores alone. Sessions that wait here show an event of
 * type Extension, and load nothing.
 */
static Helper
find_helper(int *pid, int64 *n)
{
	static const char query[] =
		"SELECT h.kind, pg_catalog.min(h.pid), pg_catalog.count(*) FROM ("
		" SELECT DISTINCT l.pid, CASE WHEN a.state OPERATOR(pg_catalog.~~) 'idle%%' THEN %d ELSE %d END AS kind"
		" FROM pg_catalog.pg_locks l"
		" JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) l.relation"
		" JOIN pg_catalog.pg_namespace s ON s.oid OPERATOR(pg_catalog.=) c.relnamespace"
		" LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) l.pid"
		" WHERE l.locktype OPERATOR(pg_catalog.=) 'relation' AND s.nspname OPERATOR(pg_catalog.=) '_embed'"
		" AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d"
		" WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())"
		" AND l.mode OPERATOR(pg_catalog.=) ANY ('{RowExclusiveLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}')"
		" AND a.wait_event_type IS DISTINCT FROM 'Extension'"
		" UNION ALL"
		" SELECT a.pid, %d FROM pg_catalog.pg_stat_activity a"
		" WHERE a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()"
		" AND a.usename OPERATOR(pg_catalog.=) SESSION_USER"
		" AND a.application_name OPERATOR(pg_catalog.=) pg_catalog.current_setting('application_name')"
		" AND a.application_name OPERATOR(pg_catalog.<>) ALL ('{psql,\"\"}')"
		" AND a.backend_type OPERATOR(pg_catalog.=) 'client backend'"
		" AND a.state OPERATOR(pg_catalog.=) 'active'"
		" AND a.query OPERATOR(pg_catalog.~*) '^\\s*(copy|insert|create|alter|refresh|truncate)'"
		" AND a.wait_event_type IS DISTINCT FROM 'Extension') h"
		" WHERE h.pid OPERATOR(pg_catalog.<>) ALL ('{%d,%d}')"
		" GROUP BY h.kind ORDER BY h.kind DESC LIMIT 1";
	int			leader = MyProc->lockGroupLeader != NULL ? MyProc->lockGroupLeader->pid : MyProcPid;
	char	   *sql = psprintf(query, HELPER_IDLE, HELPER_WRITER, HELPER_SIBLING, MyProcPid, leader);
	Helper		helper = HELPER_NONE;

	pgstat_clear_snapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(sql, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read pg_locks and pg_stat_activity");
	if (SPI_processed > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		helper = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
		*pid = DatumGetInt32(SPI_getbinval(row, desc, 2, &isnull));
		*n = DatumGetInt64(SPI_getbinval(row, desc, 3, &isnull));
	}
	SPI_finish();
	PopActiveSnapshot();
	pfree(sql);
	return helper;
}

static char *
describe_wait(Helper helper, int pid, int64 n)
{
	switch (helper)
	{
		case HELPER_NONE:
			return psprintf("No other session loads models. Waiting %d seconds for one to begin.", PATIENCE_S);
		case HELPER_IDLE:
			return psprintf("Waiting at most %d seconds for the session with PID %d, which has written to schema _embed and is idle in its transaction.",
							helper, pid);
		case HELPER_WRITER:
			return psprintf("Waiting at most %d seconds for the session with PID %d, which writes to schema _embed.", helper, pid);
		case HELPER_SIBLING:
			return psprintf("Waiting at most %d seconds, while other sessions of this restore are at work, for one of them to load it: now %lld, PID %d among them.",
							helper, (long long) n, pid);
	}
	return NULL;
}

/* A restore sets client_min_messages = warning, which hides lower levels. */
static void
tell_wait(const char *name, Helper helper, int pid, int64 n)
{
	ereport(WARNING,
			(name != NULL ? errmsg("this restore needs model \"%s\", which is not in the database yet", name)
			 : errmsg("this restore needs a default model, and there is none in the database yet"),
			 errdetail("%s", describe_wait(helper, pid, n)),
			 errhint("%s", embed_restore_hint())));
}

bool
embed_restore_wait(EmbedRestoreWait *wait)
{
	TimestampTz now = GetCurrentTimestamp();
	int			pid = 0;
	int64		n = 0;
	Helper		helper = find_helper(&pid, &n);

	if (wait->begun_at == 0)
	{
		wait->begun_at = wait->helped_at = now;
		tell_wait(wait->name, helper, pid, n);
	}
	if (helper != HELPER_NONE && !TimestampDifferenceExceeds(wait->begun_at, now, helper * 1000))
		wait->helped_at = now;
	else if (TimestampDifferenceExceeds(wait->helped_at, now, PATIENCE_S * 1000))
	{
		gave_up = true;
		return false;
	}
	CHECK_FOR_INTERRUPTS();
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return true;
}
