/*
 * progress.c
 *		The NOTICEs of embed_import while it works on a large model.
 */
#include "pg/sql/progress.h"

#include "miscadmin.h"

/* Faster imports send no NOTICE. */
#define SILENT_MS		2000
#define SAY_EVERY_MS	5000

static double
ms_since(instr_time then)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, then);
	return INSTR_TIME_GET_MILLISEC(now);
}

void
embed_progress_begin(EmbedProgress *progress)
{
	memset(progress, 0, sizeof(*progress));
	INSTR_TIME_SET_CURRENT(progress->begin);
}

/*
 * ereport below ERROR may still raise (out of memory, a hook) or serve an
 * interrupt. Neither may leave this frame, because the core is above it. So
 * interrupts are held, and an error is caught and remembered.
 */
static void
say(EmbedProgress *progress, const char *message, const char *hint)
{
	MemoryContext cxt = CurrentMemoryContext;

	HOLD_INTERRUPTS();
	PG_TRY();
	{
		ereport(NOTICE,
				(errmsg_internal("%s", embed_message_for_server(message)),
				 hint != NULL ? errhint("%s", hint) : 0));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		FlushErrorState();
		progress->failed = true;
	}
	PG_END_TRY();
	RESUME_INTERRUPTS();
}

void
embed_progress_show(EmbedProgress *progress, const char *stage, int64 done, int64 total)
{
	char		message[128];

	if (progress->failed || ms_since(progress->begin) < SILENT_MS)
		return;
	if (progress->stage != NULL && strcmp(progress->stage, stage) == 0 && ms_since(progress->said) < SAY_EVERY_MS)
		return;
	progress->stage = stage;
	INSTR_TIME_SET_CURRENT(progress->said);
	snprintf(message, sizeof(message), "importing: %s, %.0f %% after %.0f s", stage,
			 total > 0 ? 100.0 * done / total : 0, ms_since(progress->begin) / 1000);
	say(progress, message, NULL);
}

void
embed_progress_note(EmbedProgress *progress, const char *message, const char *hint)
{
	if (!progress->failed)
		say(progress, message, hint);
}
