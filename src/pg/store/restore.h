/*
 * restore.h
 *		Tables that need a model before pg_restore has loaded it.
 *
 * A dump lists the tables of schema _embed first, and a serial restore loads
 * them first. With -j, pg_restore loads the largest data first. Then a
 * generated column, a CHECK or an index that calls embed meets a database
 * without models. So a restore session that lacks a model waits for the
 * sessions that may load it.
 *
 * Example:
 *
 *		EmbedRestoreWait wait = {.name = name};
 *		while (!model_is_there() && embed_restore_wait(&wait))
 *			;
 *
 * Two kinds of sessions may load models: sessions that hold or await a lock to
 * write tables of schema _embed, and, under pg_restore, its other active
 * sessions, which reach these tables later. A restore does not wait for other
 * sessions.
 */
#ifndef EMBED_PG_STORE_RESTORE_H
#define EMBED_PG_STORE_RESTORE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "miscadmin.h"

typedef struct EmbedRestoreWait
{
	const char *name;			/* name of the model, or NULL: the default */
	TimestampTz begun_at;		/* 0: not yet */
	TimestampTz helped_at;		/* when a session that may load the model was last seen */
} EmbedRestoreWait;

/*
 * Whether this is pg_upgrade, which creates the schema while tables are empty.
 * pg_upgrade computes no data, but the definition of an index or a partition
 * key folds calls with constants before their model exists. Such calls return
 * NULL. The value is discarded after the definition is checked.
 */
static inline bool
embed_in_upgrade(void)
{
	return IsBinaryUpgrade;
}

/* Whether this session loads a dump, judged by the settings at the beginning of every dump. */
extern bool embed_loads_dump(void);

/* The same, if waiting for a model may help. */
extern bool embed_in_restore(void);

/*
 * Waits a moment and serves interrupts. The first time a WARNING reports the
 * reason and the maximum time (a restore hides NOTICEs). Returns false, from
 * then on for the whole session, if no session is left that may load the
 * model, or all have used up their time.
 */
extern bool embed_restore_wait(EmbedRestoreWait *wait);

/* The hint of the ERROR for a missing model; NULL if this session loads no dump. */
extern const char *embed_restore_hint(void);

#endif
