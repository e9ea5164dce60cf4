/*
 * restore.h
 *		Tables that need a model before pg_restore has loaded it.
 *
 * A dump lists the tables of schema _embed first, and a serial restore loads
 * them first. With -j pg_restore loads the largest data first: a generated
 * column, a CHECK or an index that calls embed meets a database without models.
 * So a session of a restore that misses one waits for those that may bring it.
 *
 * Example:
 *
 *		EmbedRestoreWait wait = {.name = name};
 *		while (!model_is_there() && embed_restore_wait(&wait))
 *			;
 *
 * Two kinds of sessions may: those that hold or await a lock to write tables of
 * schema _embed, and, under pg_restore, its other sessions at work, which come
 * to these tables in their turn. Everybody else is no reason to wait.
 */
#ifndef EMBED_PG_STORE_RESTORE_H
#define EMBED_PG_STORE_RESTORE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "miscadmin.h"

typedef struct EmbedRestoreWait
{
	const char *name;			/* of the model, or NULL: the default */
	TimestampTz begun_at;		/* 0: not yet */
	TimestampTz helped_at;		/* when a session was last seen that may bring the model */
} EmbedRestoreWait;

/*
 * Whether this is pg_upgrade, which makes the schema while tables are empty. No
 * data is computed then, but defining an index or a partition key folds calls of
 * constants, and their model is not there yet: they give NULL, which is
 * forgotten as soon as the definition is checked.
 */
static inline bool
embed_in_upgrade(void)
{
	return IsBinaryUpgrade;
}

/* Whether this session loads a dump, by the settings that every dump begins with. */
extern bool embed_loads_dump(void);

/* The same, where waiting for a model may help. */
extern bool embed_in_restore(void);

/*
 * Waits a moment, serving interrupts; the first time a WARNING says for what,
 * and how long at most (a restore hides NOTICEs). False, in this session for
 * ever after, once no session is left that may bring the model, or all have had
 * their time.
 */
extern bool embed_restore_wait(EmbedRestoreWait *wait);

/* How to go on, for the ERROR about a model that is missing; NULL where this session loads no dump. */
extern const char *embed_restore_hint(void);

#endif
