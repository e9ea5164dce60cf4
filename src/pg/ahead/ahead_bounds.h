/*
 * ahead_bounds.h
 *		How many rows a node that looks ahead may read: what a Limit above it, or
 *		the client or a cursor, still needs.
 */
#ifndef EMBED_PG_AHEAD_AHEAD_BOUNDS_H
#define EMBED_PG_AHEAD_AHEAD_BOUNDS_H

#include "pg/glue.h"

#include "nodes/execnodes.h"

/* The statement's executor returns at most count rows of estate; 0: all. */
typedef struct EmbedAheadRun
{
	const EState *estate;
	uint64		count;
} EmbedAheadRun;

extern EmbedAheadRun embed_ahead_running;

/* What ends the reading early. */
typedef struct EmbedAheadBound
{
	int			limit;			/* the plan node of a Limit, or EMBED_AHEAD_ROOT */
	bool		is_exact;		/* each row of the Limit needs a row of the node */
	LimitState *state;
} EmbedAheadBound;

typedef struct EmbedAheadBounds
{
	EmbedAheadBound *all;
	int			n;
} EmbedAheadBounds;

/* list: of EMBED_AHEAD_BOUNDS (ahead_plan.h). */
extern void embed_ahead_read_bounds(EmbedAheadBounds *bounds, List *list);

/* After the start of the executor: the states of the Limits below root, into each of a list of EmbedAheadBounds. */
extern void embed_ahead_bind_limits(PlanState *root, List *list);

/* How many rows are needed in any case; at least 1. */
extern int64 embed_ahead_rows_needed(const EmbedAheadBounds *bounds, const EState *estate);

#endif
