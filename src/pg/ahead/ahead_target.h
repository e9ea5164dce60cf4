/*
 * ahead_target.h
 *		The texts that the triggers and generated columns of a statement's
 *		target tables will embed.
 */
#ifndef EMBED_PG_AHEAD_AHEAD_TARGET_H
#define EMBED_PG_AHEAD_AHEAD_TARGET_H

#include "pg/ahead/ahead_texts.h"

#include "nodes/execnodes.h"
#include "nodes/plannodes.h"

typedef struct EmbedAheadTarget EmbedAheadTarget;

/* Whether one of the statement's tables, by range table index, has such a trigger or column. */
extern bool embed_ahead_targets(const PlannedStmt *stmt, const List *tables, CmdType operation);

/*
 * tables, columns: as in EmbedAheadPrivate. targetlist: of the rows. The tables
 * are open in estate. *texts gets the texts that embed_ahead_target_add fills.
 */
extern EmbedAheadTarget *embed_ahead_target(EState *estate, CmdType operation, OnConflictAction on_conflict, List *tables,
											List *columns, List *targetlist, EmbedAheadStore *store, List **texts);

/*
 * The same for MERGE: a target for each of its actions. tables, actions: as in
 * EmbedAheadPrivate.
 */
typedef struct EmbedAheadMerge EmbedAheadMerge;

extern EmbedAheadMerge *embed_ahead_merge(EState *estate, List *tables, List *actions, List *targetlist, EmbedAheadStore *store, List **texts);
extern void embed_ahead_merge_add(EmbedAheadMerge *merge, TupleTableSlot *row);

/* Adds the texts that will be embedded for a row of the plan, whose values are in a virtual slot. */
extern void embed_ahead_target_add(EmbedAheadTarget *target, TupleTableSlot *row);

#endif
