/*
 * progress.h
 *		What embed_import says while it works on a large model.
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
	instr_time	said;			/* when the last NOTICE went out */
	const char *stage;			/* of that NOTICE */
	bool		failed;			/* it could not be sent: the import shall end */
} EmbedProgress;

extern void embed_progress_begin(EmbedProgress *progress);

/*
 * A NOTICE where the import has taken a while: at a new stage, and every few
 * seconds. Called inside the core, so it returns whatever happens.
 */
extern void embed_progress_show(EmbedProgress *progress, const char *stage, int64 done, int64 total);

/* A NOTICE in the importer's words, UTF-8; likewise. */
extern void embed_progress_note(EmbedProgress *progress, const char *message, const char *hint);

#endif
