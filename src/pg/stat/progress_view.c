/*
 * progress_view.c
 *		Rows of the view embed_progress.
 */
#include "pg/stat/progress_state.h"

#include "catalog/pg_authid.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/sql/rows.h"

EMBED_FUNCTION(embed_progress_rows);

enum
{
	PROGRESS_PID,
	PROGRESS_DATABASE,
	PROGRESS_COMMAND,
	PROGRESS_STAGE,
	PROGRESS_OBJECT,
	PROGRESS_DONE,
	PROGRESS_TOTAL,
	PROGRESS_UNIT,
	PROGRESS_STARTED,
	PROGRESS_LEFT,
	N_PROGRESS
};

/* A name comes from a database with an encoding of its own, and the file may hold garbage. */
static Datum
word_datum(char *word)
{
	if (!pg_verifymbstr(word, (int) strlen(word), true))
	{
		for (char *p = word; *p != '\0'; p++)
			*p = IS_HIGHBIT_SET(*p) ? '?' : *p;
	}
	return CStringGetTextDatum(word);
}

/* By the speed of the stage so far; negative: unknown. */
static double
seconds_left(const EmbedProgressState *state, TimestampTz now)
{
	double		took_s = (double) (now - state->staged) / USECS_PER_SEC;

	if (state->total < 0 || (state->done <= 0 && state->total > 0))
		return -1;
	return state->done >= state->total ? 0 : took_s * (double) (state->total - state->done) / (double) state->done;
}

/* Who may not see other sessions learns that there is one, as from pg_stat_progress_vacuum. */
static void
put_state(const EmbedRows *rows, EmbedProgressState *state, TimestampTz now)
{
	Datum		values[N_PROGRESS] = {0};
	bool		nulls[N_PROGRESS];
	bool		may_see = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) || has_privs_of_role(GetUserId(), state->role);
	double		left = seconds_left(state, now);

	memset(nulls, !may_see, sizeof(nulls));
	nulls[PROGRESS_PID] = nulls[PROGRESS_DATABASE] = false;
	values[PROGRESS_PID] = Int32GetDatum((int32) (state->owner >> 32));
	values[PROGRESS_DATABASE] = ObjectIdGetDatum(state->database);
	if (may_see)
	{
		values[PROGRESS_COMMAND] = word_datum(state->command);
		values[PROGRESS_STAGE] = word_datum(state->stage);
		values[PROGRESS_OBJECT] = word_datum(state->object);
		values[PROGRESS_DONE] = Int64GetDatum(state->done);
		values[PROGRESS_TOTAL] = Int64GetDatum(state->total);
		nulls[PROGRESS_TOTAL] = state->total < 0;
		values[PROGRESS_UNIT] = word_datum(state->unit);
		values[PROGRESS_STARTED] = TimestampTzGetDatum(state->started);
		values[PROGRESS_LEFT] = Float8GetDatum(left);
		nulls[PROGRESS_LEFT] = left < 0;
	}
	tuplestore_putvalues(rows->store, rows->desc, values, nulls);
}

/* _embed.progress() returns a row for each long work of this server */
Datum
embed_progress_rows(PG_FUNCTION_ARGS)
{
	EmbedRows	rows = embed_rows_begin(fcinfo);
	TimestampTz now = GetCurrentTimestamp();

	embed_control_refresh(embed_ns_to_ms(embed_clock_ns()));
	for (int i = 0; i < EMBED_PROGRESS_ENTRIES; i++)
	{
		EmbedProgressState state;

		if (embed_progress_read(i, &state))
			put_state(&rows, &state, now);
	}
	return (Datum) 0;
}
