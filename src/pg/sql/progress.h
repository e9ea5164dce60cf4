/*
 * progress.h
 *		The NOTICEs of embed_import while it works on a large model.
 *
 * Example:
 *
 *		EmbedProgress progress;
 *		embed_progress_begin(&progress);
 *		embed_progress_show(&progress, "quantize", 3, 12);		// from the sink's progress callback
 */
#ifndef EMBED_PG_SQL_PROGRESS_H
#define EMBED_PG_SQL_PROGRESS_H

#include "pg/glue.h"

#include "portability/instr_time.h"

typedef struct EmbedProgress
{
	instr_time	begin;
	instr_time	said;			/* time of the last NOTICE */
	const char *stage;			/* stage in the last NOTICE */
	bool		failed;			/* a NOTICE could not be sent: the import must end */
} EmbedProgress;

extern void embed_progress_begin(EmbedProgress *progress);

/*
 * Sends a NOTICE if the import takes long: at a new stage, and every few
 * seconds. Runs inside the core, so it always returns.
 */
extern void embed_progress_show(EmbedProgress *progress, const char *stage, int64 done, int64 total);

/* Sends the importer's message as a NOTICE, from UTF-8; always returns, too. */
extern void embed_progress_note(EmbedProgress *progress, const char *message, const char *hint);

#endif
