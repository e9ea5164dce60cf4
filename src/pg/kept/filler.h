/*
 * filler.h
 *		The filler: a background worker that fills the kept columns of one
 *		database, and the launcher that starts fillers after a restart of a
 *		server with the library in shared_preload_libraries.
 *
 * A filler is a dynamic background worker that a commit registers (wake.h), so
 * it needs no preload. It takes the lock of its database; goes through the
 * kept columns in turns of a second until nothing is to do; lingers two
 * seconds for more; and ends. Errors that pass make it wait up to a minute:
 * then it ends as well, and leaves a successor that waits without a connection
 * to the database, so that nobody who drops the database meets it.
 */
#ifndef EMBED_PG_KEPT_FILLER_H
#define EMBED_PG_KEPT_FILLER_H

#include "pg/glue.h"

/* bgw_extra of a filler. */
typedef struct EmbedFillerStart
{
	int32		delay_ms;		/* before it connects, unless it is woken */
} EmbedFillerStart;

extern PGDLLEXPORT void embed_filler_main(Datum database);
extern PGDLLEXPORT void embed_launcher_main(Datum unused);

/* Registers the launcher if the library is being preloaded. */
extern void embed_launcher_init(void);

#endif
