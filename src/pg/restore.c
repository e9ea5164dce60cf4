/*
 * restore.c
 *		Tables that need a model before pg_restore has loaded it.
 *
 * Nothing in a dump can say that a table's data needs that of ours: pg_dump
 * makes such a dependency of foreign keys only.
 */
#include "pg/restore.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "pg/compat.h"

#define POLL_MS			100

/* Between two tables a session of pg_restore is idle for a moment; waiting ones see each other awake. */
#define PATIENCE_MS		3000

static bool gave_up = false;

/* pg_restore's name may be hidden by PGAPPNAME; these three nobody sets together by chance. */
bool
embed_in_restore(void)
{
	return !check_function_bodies && !row_security && client_min_messages == WARNING && !gave_up;
}

/* Waiting here shows as an event of type Extension. */
static bool
others_are_at_work(void)
{
	static const char query[] =
		"SELECT FROM pg_catalog.pg_stat_clear_snapshot(), pg_catalog.pg_stat_activity"
		" WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()"
		" AND usename OPERATOR(pg_catalog.=) SESSION_USER"
		" AND application_name OPERATOR(pg_catalog.=) pg_catalog.current_setting('application_name')"
		" AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()"
		" AND state OPERATOR(pg_catalog.<>) 'idle'"
		" AND wait_event_type IS DISTINCT FROM 'Extension' LIMIT 1";
	bool		found;

	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(query, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read pg_stat_activity");
	found = SPI_processed > 0;
	SPI_finish();
	PopActiveSnapshot();
	return found;
}

bool
embed_restore_wait(EmbedRestoreWait *wait)
{
	TimestampTz now = GetCurrentTimestamp();

	if (wait->helped_at == 0 || others_are_at_work())
		wait->helped_at = now;
	else if (TimestampDifferenceExceeds(wait->helped_at, now, PATIENCE_MS))
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
