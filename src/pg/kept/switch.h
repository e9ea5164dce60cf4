/*
 * switch.h
 *		Another model's vectors beside a kept column, and the switch to them:
 *		what embed_refill and embed_switch share.
 *
 * embed_refill makes the column <vector>__next, which a trigger of its own
 * keeps, and fills it. embed_switch renames: <vector> becomes <vector>__prev,
 * <vector>__next becomes <vector>; again, and <vector> becomes <vector>__next,
 * <vector>__prev becomes <vector>. All that follows a column by its number
 * (views, constraints, ..) would follow the old vectors, so the switch refuses
 * it by name. All that follows it by its name is renamed with it.
 *
 * Example:
 *
 *		EmbedKeptColumn *from = embed_switch_kept(rel, "embedding");
 *		EmbedKeptColumn *to = embed_switch_kept(rel, embed_next_column(rel, "embedding"));
 *		List	   *pairs = embed_switch_pair_indexes(rel, from, to, &missing);
 *		if (missing != NULL)
 *			ereport(ERROR, (errmsg("no index"), errhint("%s", missing)));
 */
#ifndef EMBED_PG_KEPT_SWITCH_H
#define EMBED_PG_KEPT_SWITCH_H

#include "pg/glue.h"

#include "nodes/pg_list.h"
#include "utils/rel.h"

#include "pg/auto/kept_column.h"

/* ------------------------------------------------------------ switch_table.c */

/*
 * Names of the columns beside a vector column. Raises 42703 if there is no such
 * column, 42622 if the names would be too long, 22023 if it is such a name itself.
 */
extern char *embed_next_column(Relation rel, const char *vector);
extern char *embed_prev_column(Relation rel, const char *vector);

/* 42809 for partitions and tables in an inheritance tree, whose columns are those of others. */
extern void embed_switch_check_table(Relation rel);

/*
 * The trigger that keeps the column, and no other does. Raises 42704 if there
 * is none, 55000 if several do or some rows get past it.
 */
extern EmbedKeptColumn *embed_switch_kept(Relation rel, const char *vector);

/* A copy of the column's trigger, whatever it is like, or NULL: nothing keeps the column. */
extern const Trigger *embed_switch_trigger(Relation rel, const char *vector);

/* Rows that are to do; SPI is connected. */
extern int64 embed_switch_to_do(Relation rel, const EmbedKeptColumn *kept);

/* The table and its partitions, as OIDs, locked. */
extern List *embed_switch_tables(Relation rel, LOCKMODE lock);

/* 55000 with names if something would go on to use the vectors of column from; SPI is connected. */
extern void embed_switch_check_dependents(Relation rel, const char *from, const char *to);

/* Rights and comment of column from for column to; SPI is connected. */
extern void embed_switch_copy_rights(Relation rel, const char *from, const char *to);

/* A WARNING if the table is published. */
extern void embed_switch_warn_of_subscribers(Relation rel, const char *vector, const char *model);

/* ---------------------------------------------------------- switch_indexes.c */

/* Two indexes that are alike, one on each column. */
typedef struct EmbedIndexPair
{
	Oid			from;
	Oid			to;
	bool		is_to_do;
} EmbedIndexPair;

/*
 * The indexes of column from and their likes on column to, as EmbedIndexPair,
 * of the table and its partitions. *missing: the statement that makes the
 * first one that column to lacks, or NULL.
 */
extern List *embed_switch_pair_indexes(Relation rel, const EmbedKeptColumn *from, const EmbedKeptColumn *to, char **missing);

/* Each index of to takes the name of its like, which gets a new one for column name. SPI is connected. */
extern void embed_switch_rename_indexes(List *pairs, const char *name);

/* --------------------------------------------------------- switch_triggers.c */

/*
 * The triggers of column in keep column vector from now on, those of vector
 * column out; likewise in all partitions. The trigger of in takes the name of
 * that of vector.
 */
extern void embed_switch_triggers(Relation rel, const char *in, const char *vector, const char *out);

/* ------------------------------------------------------------ switch_guard.c */

/* Registers a hook of the executor; called by _PG_init. */
extern void embed_switch_guard_init(void);

#endif
