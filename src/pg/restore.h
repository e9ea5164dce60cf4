/*
 * restore.h
 *		Tables that need a model before pg_restore has loaded it.
 *
 * A dump lists the tables of schema _embed first, and a serial restore loads
 * them first. With -j pg_restore loads the largest data first: a generated
 * column, a CHECK or an index that calls embed meets a database without models.
 * So a session of a restore that misses one waits for the others to bring it.
 *
 *		EmbedRestoreWait wait = {0};
 *		while (!model_is_there() && embed_restore_wait(&wait))
 *			;
 */
#ifndef EMBED_PG_RESTORE_H
#define EMBED_PG_RESTORE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "miscadmin.h"

typedef struct EmbedRestoreWait
{
	TimestampTz helped_at;		/* when another session was last seen at work */
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
extern bool embed_in_restore(void);

/*
 * Waits a moment, serving interrupts. False once no other session of the same
 * role and application_name in this database does anything but wait here as
 * well, and ever after in this session.
 */
extern bool embed_restore_wait(EmbedRestoreWait *wait);

#endif
