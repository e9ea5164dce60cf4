/*
 * fill.c
 *		Fills the NULLs of a kept column: passes, batches and what becomes of
 *		errors.
 */
#include "pg/kept/fill.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "pg/kept/column_lock.h"
#include "pg/kept/fill_rows.h"
#include "pg/kept/wake.h"
#include "pg/stat/fill_state.h"
#include "pg/store/catalog_version.h"

#define BATCH_ROWS_FIRST	16
#define BATCH_ROWS_MAX		512
#define BATCH_NS			UINT64CONST(500000000)
#define BACKOFF_MAX_S		60
#define ROWS_WAIT_MS		100
#define ROWS_WAIT_MAX_MS	10000

/* Casts and triggers of one table must not stop the filler for all others. */
#define OWNER_TIMEOUT_MS	15000

/* A batch of this many rows that all fail: the column's fault, not the rows'. */
#define ALL_FAIL_ROWS		64

typedef void (*FillWork) (EmbedFill *fill, int32 from, int32 to);

bool
embed_fill_is_transient(int sqlerrcode)
{
	int			class = ERRCODE_TO_CATEGORY(sqlerrcode);

	return sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE || sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || sqlerrcode == ERRCODE_QUERY_CANCELED ||
		class == ERRCODE_INSUFFICIENT_RESOURCES || class == ERRCODE_SYSTEM_ERROR;
}

/* -------------------------------------------------------------- errors */

/* The steps that run code of the owner for a number of rows; a list may take as long as the table is large. */
static bool
may_time_out(const EmbedFill *fill, FillWork work)
{
	return fill->host->is_worker && (work == embed_fill_prepare || work == embed_fill_read || work == embed_fill_write);
}

static void
end_timeout(void)
{
	disable_timeout(STATEMENT_TIMEOUT, false);
	/* it came too late: it is nobody else's */
	QueryCancelPending = false;
}

/* Does the work in a subtransaction; returns its error, in batch memory, or NULL. */
static ErrorData *
attempt(EmbedFill *fill, FillWork work, int32 from, int32 to)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(fill->batch_cxt);
	PG_TRY();
	{
		if (may_time_out(fill, work))
			enable_timeout_after(STATEMENT_TIMEOUT, OWNER_TIMEOUT_MS);
		work(fill, from, to);
		ReleaseCurrentSubTransaction();
		if (may_time_out(fill, work))
			end_timeout();
	}
	PG_CATCH();
	{
		if (may_time_out(fill, work))
			end_timeout();
		MemoryContextSwitchTo(fill->batch_cxt);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	/* a user cancels embed_fill, not a batch of it */
	if (error != NULL && error->sqlerrcode == ERRCODE_QUERY_CANCELED && !fill->host->is_worker)
		ReThrowError(error);
	return error;
}

static void
keep_error(EmbedFill *fill, const ErrorData *error)
{
	EmbedFillColumn *state = embed_fill_column_of(fill->column.table, fill->column.columns.vector.attnum, true);
	StringInfoData all;

	initStringInfo(&all);
	appendStringInfoString(&all, error->message != NULL ? error->message : "missing error text");
	if (error->hint != NULL)
		appendStringInfo(&all, " (%s)", error->hint);
	if (fill->last_error != NULL)
		pfree(fill->last_error);
	fill->last_error = MemoryContextStrdup(fill->cxt, all.data);
	pfree(all.data);
	if (fill->host->is_worker)
		ereport(LOG,
				(errmsg("filler of database %u, column \"%s\" of table \"%s\": %s", MyDatabaseId,
						fill->vector_name, fill->table_name, fill->last_error)));
	if (state == NULL)
		return;
	state->error_at = state->used = GetCurrentTimestamp();
	strlcpy(state->message, fill->last_error, sizeof(state->message));
}

/* After an error that passes. The control file hands the wait on to the next filler. */
static EmbedFillEnd
wait_longer(EmbedFill *fill)
{
	EmbedFillColumn *state = embed_fill_column_of(fill->column.table, fill->column.columns.vector.attnum, true);

	fill->backoff_s = fill->backoff_s == 0 ? 1 : Min(2 * fill->backoff_s, BACKOFF_MAX_S);
	fill->retry_ns = embed_clock_ns() + (uint64) fill->backoff_s * 1000000000;
	fill->waits_for_rows = false;
	if (state != NULL && fill->host->is_worker)
	{
		state->used = GetCurrentTimestamp();
		state->backoff = (uint32) fill->backoff_s;
		state->retry_at = state->used + fill->backoff_s * USECS_PER_SEC;
	}
	return EMBED_FILL_WAIT;
}

/* For rows that others have locked: a commit may free them at any time, and new rows need not wait for them. */
static EmbedFillEnd
wait_for_rows(EmbedFill *fill)
{
	fill->rows_wait_ms = fill->rows_wait_ms == 0 ? ROWS_WAIT_MS : Min(2 * fill->rows_wait_ms, ROWS_WAIT_MAX_MS);
	fill->retry_ns = embed_clock_ns() + (uint64) fill->rows_wait_ms * 1000000;
	fill->waits_for_rows = true;
	return EMBED_FILL_WAIT;
}

static void
end_wait(EmbedFill *fill, EmbedFillColumn *state)
{
	fill->backoff_s = 0;
	fill->rows_wait_ms = 0;
	if (state == NULL)
		return;
	state->backoff = 0;
	state->retry_at = 0;
}

/* The wait that the last filler began. */
static void
take_over_wait(EmbedFill *fill)
{
	EmbedFillColumn *state = embed_fill_column_of(fill->column.table, fill->column.columns.vector.attnum, false);
	int64		left_us;

	if (state == NULL || state->backoff == 0)
		return;
	left_us = state->retry_at - GetCurrentTimestamp();
	fill->backoff_s = (int) Min(state->backoff, BACKOFF_MAX_S);
	if (left_us > 0)
		fill->retry_ns = embed_clock_ns() + (uint64) Min(left_us, fill->backoff_s * USECS_PER_SEC) * 1000;
}

static EmbedFillEnd
end_by_error(EmbedFill *fill, const ErrorData *error)
{
	bool		is_transient = embed_fill_is_transient(error->sqlerrcode);
	EmbedFillColumn *state;

	keep_error(fill, error);
	state = embed_fill_column_of(fill->column.table, fill->column.columns.vector.attnum, false);
	if (state != NULL)
		state->is_failing = 1;
	return is_transient ? wait_longer(fill) : EMBED_FILL_STOPPED;
}

static void
note_failure(EmbedFill *fill, EmbedFillRow *row, const ErrorData *error)
{
	row->is_failed = true;
	row->error = error;
	fill->batch_failed++;
}

static void
put_failures(EmbedFill *fill, int32 from, int32 to)
{
	for (int32 i = from; i < to; i++)
	{
		const EmbedFillRow *row = &fill->rows[i];

		CHECK_FOR_INTERRUPTS();
		if (row->is_failed)
			embed_failures_put(fill->column.table, fill->vector_name, row->text_hash, row->error);
	}
}

/*
 * In a transaction of its own, without a lock of the table: embed_column has
 * that when it forgets failures. Who keeps the failures locked is waited for as
 * for rows: what is not recorded is tried again.
 */
static ErrorData *
record_failures(EmbedFill *fill)
{
	ErrorData  *error;

	if (fill->batch_failed == 0)
		return NULL;
	error = attempt(fill, put_failures, 0, fill->n_rows);
	if (error != NULL)
		fill->batch_failed = 0;
	fill->host->commit();
	return error;
}

/* More than embed.max_statement_tokens allows the role of embed_fill, where fewer texts may fit. */
static bool
is_too_much(const ErrorData *error, int32 n)
{
	return error->sqlerrcode == ERRCODE_CONFIGURATION_LIMIT_EXCEEDED && n > 1;
}

/*
 * Does the work for rows [from, to). An error that is a row's halves the rows
 * until it has found the row. Any other error is returned.
 */
static ErrorData *
halve(EmbedFill *fill, FillWork work, int32 from, int32 to)
{
	int64		written = fill->batch_written;
	int64		skipped = fill->batch_skipped;
	ErrorData  *error = attempt(fill, work, from, to);
	int32		middle = from + (to - from) / 2;

	if (error == NULL)
		return NULL;
	fill->batch_written = written;
	fill->batch_skipped = skipped;
	/* a library of another version is no text's fault */
	if (fill->is_about_column || !embed_catalog_version_fits() || (embed_fill_is_transient(error->sqlerrcode) && !is_too_much(error, to - from)))
		return error;
	if (to - from == 1)
	{
		note_failure(fill, &fill->rows[from], error);
		keep_error(fill, error);
		return NULL;
	}
	error = halve(fill, work, from, middle);
	return error != NULL ? error : halve(fill, work, middle, to);
}

EmbedFill *
embed_fill_new(const EmbedFillHost *host, const EmbedKeptColumn *column, MemoryContext cxt)
{
	MemoryContext own = AllocSetContextCreate(cxt, "embed fill", ALLOCSET_DEFAULT_SIZES);
	EmbedFill  *fill = MemoryContextAllocZero(own, sizeof(EmbedFill));
	char	   *table = get_rel_name(column->table);

	fill->host = host;
	fill->cxt = own;
	fill->pass_cxt = AllocSetContextCreate(own, "embed fill pass", ALLOCSET_DEFAULT_SIZES);
	fill->batch_cxt = AllocSetContextCreate(own, "embed fill batch", ALLOCSET_DEFAULT_SIZES);
	fill->column = *column;
	/* for messages of what fails before the table is opened, which finds them again */
	strlcpy(fill->vector_name, NameStr(column->columns.vector.name), NAMEDATALEN);
	strlcpy(fill->table_name, table != NULL ? table : "", NAMEDATALEN);
	fill->site.cxt = own;
	fill->batch_rows = BATCH_ROWS_FIRST;
	fill->command = host->is_worker ? "filler" : "embed_fill";
	fill->to_do = EMBED_PROGRESS_UNKNOWN;
	if (host->is_worker)
		take_over_wait(fill);
	return fill;
}

void
embed_fill_free(EmbedFill *fill)
{
	embed_progress_leave(&fill->progress);
	if (fill->update != NULL)
		SPI_freeplan(fill->update);
	MemoryContextDelete(fill->cxt);
}

/* -------------------------------------------------------------- batches */

/* Batches grow and shrink to about half a second of work. */
static void
adapt_batch(EmbedFill *fill, uint64 took_ns)
{
	double		factor = (double) BATCH_NS / (double) Max(took_ns, 1);
	double		wanted = fill->batch_rows * Min(Max(factor, 0.25), 4.0);

	if (fill->n_rows == fill->batch_rows || wanted < fill->batch_rows)
		fill->batch_rows = (int32) Min(Max(wanted, 1), BATCH_ROWS_MAX);
}

static void
report_batch(EmbedFill *fill, uint64 took_ns)
{
	EmbedFillColumn *state = embed_fill_column_of(fill->column.table, fill->column.columns.vector.attnum, true);

	fill->pass_written += fill->batch_written;
	fill->pass_skipped += fill->batch_skipped;
	fill->n_written += fill->batch_written;
	fill->n_failed += fill->batch_failed;
	if (fill->batch_written > 0)
		end_wait(fill, state);
	if (state == NULL || fill->batch_written == 0)
		return;
	state->filled += (uint64) fill->batch_written;
	state->rate = (uint64) ((double) fill->batch_written * 1e12 / (double) Max(took_ns, 1));
	state->success_at = state->used = GetCurrentTimestamp();
	state->is_failing = 0;
}

/* Reads, computes and writes the next batch; *end is set where that ends the turn. */
static bool
fill_batch(EmbedFill *fill, EmbedFillEnd *end)
{
	uint64		begun = embed_clock_ns();
	ErrorData  *error;
	ErrorData  *unrecorded;

	MemoryContextReset(fill->batch_cxt);
	fill->n_rows = 0;
	fill->batch_written = fill->batch_failed = fill->batch_skipped = 0;
	/* what fails here is no row's text: casts of the owner do not see our batches */
	fill->is_about_column = true;
	error = attempt(fill, embed_fill_read, 0, 0);
	fill->is_about_column = false;
	fill->host->commit();
	if (error == NULL && fill->n_rows > 0)
	{
		error = halve(fill, embed_fill_compute, 0, fill->n_rows);
		fill->host->commit();
	}
	if (error == NULL && fill->n_rows > 0)
	{
		error = halve(fill, embed_fill_write, 0, fill->n_rows);
		fill->host->commit();
	}
	unrecorded = record_failures(fill);
	if (error == NULL)
		error = unrecorded;
	report_batch(fill, embed_clock_ns() - begun);
	adapt_batch(fill, embed_clock_ns() - begun);
	if (error != NULL)
		*end = end_by_error(fill, error);
	else if (fill->is_gone)
		*end = EMBED_FILL_GONE;
	else if (fill->batch_failed >= ALL_FAIL_ROWS && fill->batch_failed == fill->n_rows)
		*end = EMBED_FILL_STOPPED;
	else
		return true;
	return false;
}

/* ------------------------------------------------------------- progress */

/* The rest of a list that does not hold everything is counted, once: an index scan beside a minute of work. */
static void
enter_progress(EmbedFill *fill)
{
	char		object[EMBED_PROGRESS_OBJECT];
	int64		total;

	if (fill->progress.state != NULL || fill->n_tids == 0)
		return;
	if (fill->to_do == EMBED_PROGRESS_UNKNOWN && !fill->lists_rest)
	{
		ErrorData  *error = attempt(fill, embed_fill_count, 0, 0);

		if (error != NULL)
			FreeErrorData(error);
		fill->host->commit();
	}
	total = Max(fill->to_do, fill->lists_rest ? fill->n_tids : EMBED_PROGRESS_UNKNOWN);
	fill->to_do = EMBED_PROGRESS_UNKNOWN;
	snprintf(object, sizeof(object), "%s.%s", fill->table_name, fill->vector_name);
	embed_progress_enter(&fill->progress, fill->command, object);
	embed_progress_stage(&fill->progress, "fill", "rows", total);
	fill->progress_from = fill->n_written + fill->n_failed;
}

static void
show_progress(EmbedFill *fill)
{
	embed_progress_done(&fill->progress, fill->n_written + fill->n_failed - fill->progress_from);
}

/* -------------------------------------------------------------- passes */

/* The next list begins at the front. */
static void
drop_list(EmbedFill *fill)
{
	fill->tids = NULL;
	ItemPointerSet(&fill->last, 0, 0);
}

static bool
begin_pass(EmbedFill *fill, EmbedFillEnd *end)
{
	ErrorData  *error;

	MemoryContextReset(fill->batch_cxt);
	MemoryContextReset(fill->pass_cxt);
	fill->is_gone = false;
	fill->is_about_column = true;
	fill->n_tids = fill->next = 0;
	if (!ItemPointerIsValid(&fill->last))
	{
		fill->pass_written = fill->pass_skipped = 0;
		fill->pass_seen = embed_column_wanted(fill->column.table, fill->column.columns.vector.attnum);
	}
	error = attempt(fill, embed_fill_prepare, 0, 0);
	fill->host->commit();
	if (error == NULL && !fill->is_gone)
	{
		error = attempt(fill, embed_fill_list, 0, 0);
		fill->host->commit();
	}
	fill->is_about_column = false;
	if (error != NULL)
		*end = end_by_error(fill, error);
	else if (fill->is_gone)
		*end = EMBED_FILL_GONE;
	else
		return true;
	return false;
}

static void
forget_unseen(EmbedFill *fill, pg_attribute_unused() int32 from, pg_attribute_unused() int32 to)
{
	embed_failures_forget_unseen(fill->failures);
}

/* The list is done: is there more? */
static bool
end_pass(EmbedFill *fill, EmbedFillEnd *end)
{
	bool		is_idle = fill->pass_written == 0 && fill->lists_rest;

	fill->tids = NULL;
	if (!fill->lists_rest)
		return true;
	drop_list(fill);
	if (!is_idle)
		return true;
	if (fill->pass_skipped > 0)
		*end = wait_for_rows(fill);
	else if (!fill->lists_all)
		*end = EMBED_FILL_EMPTY;
	else
	{
		ErrorData  *error = attempt(fill, forget_unseen, 0, 0);

		fill->host->commit();
		*end = error != NULL ? end_by_error(fill, error) : EMBED_FILL_EMPTY;
	}
	if (*end == EMBED_FILL_EMPTY)
		embed_column_done(fill->column.table, fill->column.columns.vector.attnum, fill->pass_seen);
	return false;
}

/* A session in embed_fill goes on with what is left. */
static bool
is_asked_to_leave(const EmbedFill *fill)
{
	return fill->host->is_worker && embed_column_is_wanted(fill->column.table, fill->column.columns.vector.attnum);
}

static EmbedFillEnd
take_turn(EmbedFill *fill, uint64 deadline_ns)
{
	EmbedFillEnd end = EMBED_FILL_TIME;

	do
	{
		CHECK_FOR_INTERRUPTS();
		if (fill->tids == NULL && !begin_pass(fill, &end))
		{
			drop_list(fill);
			return end;
		}
		enter_progress(fill);
		if (fill->next >= fill->n_tids)
		{
			if (!end_pass(fill, &end))
				return end;
			continue;
		}
		if (!fill_batch(fill, &end))
		{
			drop_list(fill);
			return end;
		}
		show_progress(fill);
	} while (embed_clock_ns() < deadline_ns && !is_asked_to_leave(fill));
	return EMBED_FILL_TIME;
}

EmbedFillEnd
embed_fill_turn(EmbedFill *fill, uint64 deadline_ns)
{
	EmbedFillEnd end = take_turn(fill, deadline_ns);

	if (end != EMBED_FILL_TIME)
		embed_progress_leave(&fill->progress);
	return end;
}
