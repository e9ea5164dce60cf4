/*
 * filler_place.h
 *		The place of a database's filler: who has it, and how it is left
 *		without losing a wake-up.
 *
 * Example:
 *
 *		embed_place_init(database);
 *		if (!embed_place_get())
 *			return;
 *		embed_place_take();
 *		// until embed_database_is_wanted() or nothing is left: work, embed_filler_nap(ms)
 *		embed_place_leave();
 *		// once more: who read the place before we left it has counted before
 *
 * All functions but embed_place_init, embed_place_wait and embed_filler_nap
 * want a connection to the database.
 */
#ifndef EMBED_PG_KEPT_FILLER_PLACE_H
#define EMBED_PG_KEPT_FILLER_PLACE_H

#include "pg/stat/fill_state.h"

/* Once a process. The place is left at its exit. */
extern void embed_place_init(Oid database);

/* Gets the lock of the database, or returns false: another filler does our work, and is awake. */
extern bool embed_place_get(void);

/* Names this process in the control file, and takes that back together with the lock. */
extern void embed_place_take(void);
extern void embed_place_leave(void);

/*
 * A successor has the place while it waits, so that commits wake it, and start
 * no other one. false: there is another filler, which waits as well if it must.
 */
extern bool embed_place_wait(int delay_ms);

/* This database's entry in the control file, or NULL. */
extern EmbedFiller *embed_place_entry(void);

/* Somebody drops, copies or moves this database, and waits for us to leave. */
extern bool embed_database_is_wanted(void);

/* Sleeps until the latch is set; rereads the configuration if it has changed. For the launcher, too. */
extern void embed_filler_nap(int ms);

#endif
