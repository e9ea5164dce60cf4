/*
 * known.h
 *		Vectors that embed_trigger takes from rows instead of computing them.
 *
 * A row of the table with the same source has the vector that is wanted: an
 * UPDATE keeps that vector on the same ground. Two kinds of INSERT meet such
 * a row: an UPDATE that moves its row to another partition, and an INSERT that
 * runs into a unique index (ON CONFLICT).
 */
#ifndef EMBED_PG_AUTO_KNOWN_H
#define EMBED_PG_AUTO_KNOWN_H

#include "pg/auto/trigger.h"

#include "commands/trigger.h"
#include "nodes/pg_list.h"

/* Same bits as stored or, where that does not show it, the same value. */
extern bool embed_known_is_same(const EmbedTriggerColumn *column, Datum a, bool a_isnull, Datum b, bool b_isnull);

/* The topmost partitioned table of a partition, InvalidOid for other tables. */
extern Oid	embed_known_root(Relation rel);

/* An UPDATE trigger of a partition of root leaves source and vector, both not NULL, as they are. */
extern void embed_known_passed(Oid root, const Trigger *trigger, const EmbedTriggerColumns *columns,
							   Datum source, Datum vector);

/* Whether that was the last such pair, under a trigger with the same arguments. */
extern bool embed_known_moved(Oid root, const Trigger *trigger, const EmbedTriggerColumns *columns,
							  Datum source, Datum vector);

/* The unique indexes of a table that can be asked; zeroed: not looked for yet. */
typedef struct EmbedKnownIndexes
{
	bool		is_ready;
	List	   *oids;
} EmbedKnownIndexes;

/*
 * The vector of a row with the same source that the tuple would conflict with,
 * detoasted. As the statement's snapshot sees that row: committed, or of an
 * earlier command of this transaction. The list lives in cxt.
 */
extern bool embed_known_twin(EmbedKnownIndexes *indexes, MemoryContext cxt, Relation rel, HeapTuple tuple,
							 const EmbedTriggerColumns *columns, Datum source, Datum *vector);

/* Registers callbacks; from _PG_init. */
extern void embed_known_init(void);

#endif
