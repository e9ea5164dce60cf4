/*
 * ahead_plan.h
 *		Puts nodes that look ahead into a finished plan.
 */
#ifndef EMBED_PG_AHEAD_AHEAD_PLAN_H
#define EMBED_PG_AHEAD_AHEAD_PLAN_H

#include "pg/glue.h"

#include "nodes/plannodes.h"

/*
 * What a node has in custom_private: a list of these lists, most of integers. Bounds
 * are pairs: the plan node of a Limit, or EMBED_AHEAD_ROOT; and whether each
 * row of the Limit needs a row of the node.
 */
typedef enum EmbedAheadPrivate
{
	EMBED_AHEAD_BOUNDS,
	EMBED_AHEAD_ACTION,			/* CmdType and OnConflictAction, nothing for a select list */
	EMBED_AHEAD_TARGETS,		/* range table indexes of the target tables; of MERGE, behind them, the one that INSERT names */
	EMBED_AHEAD_COLUMNS,		/* a list of lists: the columns that UPDATE sets in each of them, in the plan's order */
	EMBED_AHEAD_ACTIONS			/* a list of lists: the actions of MERGE for each of them */
} EmbedAheadPrivate;

/* The count of rows that the client, or a cursor, asks for. */
#define EMBED_AHEAD_ROOT	(-1)

/*
 * A copy of the statement with nodes that look ahead, in cxt; NULL where there
 * is nothing to look ahead for. The statement itself is never changed: it may
 * be in the plan cache. may_be_current: WHERE CURRENT OF may ask for the row
 * that a scan is at.
 */
extern PlannedStmt *embed_ahead_plan(PlannedStmt *stmt, bool may_be_current, MemoryContext cxt);

#endif
