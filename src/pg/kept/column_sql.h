/*
 * column_sql.h
 *		What embed_column and embed_check say about a kept column in SQL, and
 *		what they find of it in the catalogs.
 *
 * Example:
 *
 *		char	   *table = embed_column_table(relid);
 *		SPI_execute(psprintf("SELECT count(*) FROM %s AS t WHERE %s", table, embed_column_to_do(rel, &columns)), true, 0);
 *
 * All names are quoted, and qualified where they can be: the search_path does
 * not matter. Results are in the current context.
 */
#ifndef EMBED_PG_KEPT_COLUMN_SQL_H
#define EMBED_PG_KEPT_COLUMN_SQL_H

#include "pg/glue.h"

#include "nodes/pg_list.h"
#include "utils/rel.h"

#include "pg/auto/trigger.h"

/* The table, as commands that change it name it. */
extern char *embed_column_table(Oid relid);

/* The table, as queries of its own rows name it: a partitioned table has those of its partitions, no other has its children's. */
extern char *embed_column_rows(Oid relid);

/* Whether row t is to do. */
extern char *embed_column_to_do(Relation rel, const EmbedTriggerColumns *columns);

/*
 * What a user names as source, as SQL writes it: the column of this very name,
 * if there is one, else the argument read as SQL. A trigger gets this form, so
 * that its meaning does not change with columns that come later.
 */
extern char *embed_column_source(Relation rel, const char *source);

/* The source columns of t, separated by commas. */
extern char *embed_column_sources(const EmbedTriggerColumns *columns);

/* The text of a row of the current SPI result; its sources begin at column first. */
extern Datum embed_column_text_of(const EmbedTriggerColumns *columns, ExprContext *econtext, uint64 row, int first, bool *isnull);

/* The embed_triggers of this vector column, as Trigger, those with a defect, too. They are part of rel. */
extern List *embed_column_triggers(Relation rel, const char *vector);

/* The names of those whose vector column is not there: it was dropped or renamed. */
extern List *embed_column_dead_triggers(Relation rel);

/*
 * The terms of an index's predicate, as they are stored: the server's own
 * function computes what is constant in them, which is code of the table's
 * owner.
 */
extern List *embed_column_index_terms(Relation index);

/*
 * Indexes whose rows are those with vector IS NULL and one of some sources
 * not NULL, as OIDs. columns: only those of exactly these sources; NULL: of
 * any.
 */
extern List *embed_column_indexes(Relation rel, AttrNumber vector, const EmbedTriggerColumns *columns);

/* Runs a command that returns no rows; SPI is connected. Returns the number of rows it changed. */
extern uint64 embed_column_run(const char *command, int expected);

/* The only number that a query returns. */
extern int64 embed_column_number(const char *query);

#endif
