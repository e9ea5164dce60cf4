/*
 * known.h
 *		Vectors that embed_trigger takes from rows instead of computing them.
 *
 * A row of the table with the same text already has the wanted vector; for
 * the same reason an UPDATE may keep its vector. Two kinds of INSERT meet such
 * a row: an UPDATE that moves its row to another partition, and an INSERT that
 * hits a unique index (ON CONFLICT).
 */
#ifndef EMBED_PG_AUTO_KNOWN_H
#define EMBED_PG_AUTO_KNOWN_H

#include "pg/auto/trigger.h"

#include "commands/trigger.h"
#include "nodes/pg_list.h"

/*
 * Whether the value has the same bits as the stored one, or, if that does not
 * show it, is equal.
 */
extern bool embed_known_is_same(const EmbedTriggerColumn *column, Datum a, bool a_isnull, Datum b, bool b_isnull);

/* Likewise for all source columns. */
extern bool embed_known_is_same_text(const EmbedTriggerColumns *columns, const EmbedSources *a, const EmbedSources *b);

/* The topmost partitioned table of a partition, InvalidOid for other tables. */
extern Oid	embed_known_root(Relation rel);

/*
 * Records that an UPDATE trigger on a partition of root left source and vector
 * unchanged; there is a text, and a vector.
 */
extern void embed_known_passed(Oid root, const Trigger *trigger, const EmbedTriggerColumns *columns,
							   const EmbedSources *sources, Datum vector);

/* Whether this pair was the last one recorded, under a trigger with the same arguments. */
extern bool embed_known_moved(Oid root, const Trigger *trigger, const EmbedTriggerColumns *columns,
							  const EmbedSources *sources, Datum vector);

/* The usable unique indexes of a table; zeroed: not searched yet. */
typedef struct EmbedKnownIndexes
{
	bool		is_ready;
	List	   *oids;
} EmbedKnownIndexes;

/*
 * The vector of a row with the same sources that conflicts with the tuple,
 * detoasted. The statement's snapshot must see the row: committed, or written
 * by an earlier command of this transaction. A row that somebody deleted or
 * updated since does not count. The list is allocated in cxt.
 */
extern bool embed_known_twin(EmbedKnownIndexes *indexes, MemoryContext cxt, Relation rel, HeapTuple tuple,
							 const EmbedTriggerColumns *columns, const EmbedSources *sources, Datum *vector);

/* Registers callbacks; called by _PG_init. */
extern void embed_known_init(void);

#endif
