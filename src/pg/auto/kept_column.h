/*
 * kept_column.h
 *		The columns of a table, and the tables of a database, that an
 *		embed_trigger keeps. pg_trigger is the only record of them.
 *
 * Example:
 *
 *		EmbedKeptColumn *kept = embed_kept_column(rel, "embedding", ERROR);
 *		if (kept == NULL)
 *			elog(ERROR, "nothing keeps the column");
 */
#ifndef EMBED_PG_AUTO_KEPT_COLUMN_H
#define EMBED_PG_AUTO_KEPT_COLUMN_H

#include "pg/auto/trigger.h"

#include "nodes/pg_list.h"

typedef struct EmbedKeptColumn
{
	Oid			table;
	Oid			trigger;
	NameData	trigger_name;
	int16		trigger_type;	/* tgtype */
	char		enabled;		/* tgenabled */
	bool		names_model;	/* false: whatever model is the default */
	EmbedTriggerModel model;
	bool		is_later;
	EmbedTriggerColumns columns;	/* their expressions live in the context of the call */
} EmbedKeptColumn;

/*
 * The embed_triggers of a table, as EmbedKeptColumn, in the current context.
 * Those with a defect are left out, and reported at elevel; 0: not reported.
 */
extern List *embed_kept_columns(Relation rel, int elevel);

/* An embed_trigger with a defect. */
typedef struct EmbedKeptDefect
{
	const Trigger *trigger;		/* a copy */
	char	   *reason;			/* the error of every row, with its hint */
} EmbedKeptDefect;

/* The embed_triggers that embed_kept_columns leaves out, as EmbedKeptDefect. Subtransactions find the reasons. */
extern List *embed_kept_defects(Relation rel);

/* The one that keeps this column, or NULL. */
extern EmbedKeptColumn *embed_kept_column(Relation rel, const char *vector, int elevel);

/*
 * OIDs of the plain tables of this database with an embed_trigger, partitions
 * among them, sorted. Nothing is locked: a table may be gone when it is opened.
 */
extern List *embed_kept_tables(void);

#endif
