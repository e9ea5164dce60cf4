/*
 * column_table.h
 *		Which tables can have a kept column or a chunk table, who may make one,
 *		and in which transactions.
 *
 * The order of locks, for all who change kept columns or fill them: partitioned
 * tables before their partitions, partitions in the order of find_all_inheritors,
 * a table before its chunk table, tables before _embed.failure and _embed.model.
 * Each lock is as strong as it has to become: nobody waits for a stronger one while
 * he has it.
 */
#ifndef EMBED_PG_KEPT_COLUMN_TABLE_H
#define EMBED_PG_KEPT_COLUMN_TABLE_H

#include "pg/glue.h"

#include "storage/lockdefs.h"
#include "utils/rel.h"

/*
 * Opens a table whose kept columns or chunk table the caller may make, change
 * and end. Raises 42809 with a hint for views, foreign tables and catalogs,
 * 42501 for others than the owner. Partitions get the same lock, except
 * AccessShareLock. function: what the caller called, for messages.
 */
extern Relation embed_column_open(Oid relid, LOCKMODE lock, const char *function);

/*
 * Closes it and gives the locks back, those of the partitions as well: who wants a
 * stronger lock than the one he has closes first, holds nothing that others wait
 * for, and opens again.
 */
extern void embed_column_close(Relation rel, LOCKMODE lock);

/* As embed_column_open, for one that may have got foreign partitions since: its kept columns can be ended. */
extern Relation embed_column_open_any(Oid relid, LOCKMODE lock, const char *function);

/*
 * Before a partition is locked: the server opens the partitioned tables of one
 * whose rows it reads or writes, while who changes them has them and waits for
 * the partition.
 */
extern void embed_column_lock_parents(Oid relid);

/*
 * Does work(arg) and leaves none of the locks that its queries took: two
 * sessions that hold one would wait for each other, if both go on to change the
 * table. What it changes is rolled back; its errors are raised.
 */
extern void embed_column_look(void (*work) (void *arg), void *arg);

/* Raises where nothing can be written: read-only transactions, standbys, parallel workers. */
extern void embed_column_check_may_write(const char *function);

/*
 * Raises 25001 in a transaction whose snapshot would not show rows that others
 * wrote since it was taken. message: what cannot be done.
 */
extern void embed_column_check_isolation(const char *message);

#endif
