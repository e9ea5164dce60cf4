/*
 * wake.h
 *		Wakes or starts the filler of this database when a transaction has
 *		left something to do.
 *
 * Example:
 *
 *		// in embed_trigger, after it set the vector to NULL
 *		embed_filler_want_column(table, attnum);
 *
 * No wake-up is lost. The session counts EmbedFiller.wanted up after its commit
 * is visible, then reads the holder. The filler gives up its place as holder,
 * then reads wanted again. So either the session sees no holder and starts a
 * worker, or the filler sees the count and goes on. Without the control file
 * the session always starts a worker, and the lock of the database decides
 * (filler.c).
 */
#ifndef EMBED_PG_KEPT_WAKE_H
#define EMBED_PG_KEPT_WAKE_H

#include "pg/glue.h"

#include "postmaster/bgworker.h"

#include "pg/stat/fill_state.h"

/* Marks this transaction, or its running part: after its commit there is something to do. */
extern void embed_filler_want(void);

/*
 * The same, and since when the column's oldest row waits is recorded for the
 * view: of the first columns that a transaction changes.
 */
extern void embed_filler_want_column(Oid table, int attnum);

/* Whether the filler's process exists; clears a holder that does not. */
extern bool embed_filler_lives(EmbedFiller *filler, Oid database);

/* Wakes the filler's process; false: it does not exist. */
extern bool embed_filler_wake(EmbedFiller *filler, Oid database);

/* What all workers of ours have in common; without name, restart and arguments. */
extern void embed_worker_init(BackgroundWorker *worker, const char *type, const char *main_function);

/* Registers a worker for a database, which connects delay_ms later; false: no slot is free. Never raises. */
extern bool embed_filler_register(Oid database, int delay_ms);

/* The count of commits that left something to do, and that all they left until it was seen is done. */
extern uint64 embed_filler_wanted(void);
extern void embed_filler_done(uint64 seen);

/* Likewise for a column: the count before it was looked through, and that nothing it stood for is left to do. */
extern uint64 embed_column_wanted(Oid table, int attnum);
extern void embed_column_done(Oid table, int attnum, uint64 seen);

/* This process is a filler: its own commits start none. */
extern bool embed_is_filler;

/* Registers callbacks, and the launcher if the library is preloaded; called by _PG_init. */
extern void embed_wake_init(void);

#endif
