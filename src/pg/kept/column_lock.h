/*
 * column_lock.h
 *		Who fills a column: one process at a time, and sessions before fillers.
 *
 * Example:
 *
 *		// a filler
 *		if (embed_column_lock_turn(table, attnum))
 *		{
 *			// batches, until embed_column_is_wanted(table, attnum)
 *			embed_column_unlock_turn(table, attnum);
 *		}
 *		// a session; lock = {0}
 *		while (!embed_column_lock_call(&lock, table, attnum))
 *			;	// a nap
 *		embed_column_unlock_call(&lock);
 *
 * None of them waits. The locks last through commits, and until the process
 * ends: after an error they have to be given back.
 */
#ifndef EMBED_PG_KEPT_COLUMN_LOCK_H
#define EMBED_PG_KEPT_COLUMN_LOCK_H

#include "pg/glue.h"

/* A session's, zeroed at first. */
typedef struct EmbedColumnLock
{
	Oid			table;
	int			attnum;
	bool		is_first;		/* fillers leave the column alone */
	bool		is_held;
} EmbedColumnLock;

/* Whether a session fills the column, or waits to do so. */
extern bool embed_column_is_wanted(Oid table, int attnum);

/* For a filler: false if anybody else fills the column. */
extern bool embed_column_lock_turn(Oid table, int attnum);
extern void embed_column_unlock_turn(Oid table, int attnum);

/* For a session: false while somebody else fills the column; try again soon. */
extern bool embed_column_lock_call(EmbedColumnLock *lock, Oid table, int attnum);
extern void embed_column_unlock_call(EmbedColumnLock *lock);

#endif
