/*
 * ahead_bounds.c
 *		How many rows a node that looks ahead may read.
 */
#include "pg/ahead/ahead_bounds.h"

#include "nodes/nodeFuncs.h"

#include "pg/ahead/ahead_plan.h"

EmbedAheadRun embed_ahead_running = {NULL, 0};

void
embed_ahead_read_bounds(EmbedAheadBounds *bounds, List *list)
{
	bounds->n = list_length(list) / 2;
	bounds->all = palloc0(Max(bounds->n, 1) * sizeof(EmbedAheadBound));
	for (int i = 0; i < bounds->n; i++)
	{
		bounds->all[i].limit = list_nth_int(list, 2 * i);
		bounds->all[i].is_exact = list_nth_int(list, 2 * i + 1) != 0;
	}
}

/* Rows that a Limit still needs; it has counted those that it returned. */
static int64
needed_by_limit(const EmbedAheadBound *bound)
{
	const LimitState *limit = bound->state;

	if (limit == NULL)
		return 1;
	if (limit->noCount)
		return PG_INT64_MAX;
	return bound->is_exact ? limit->offset + limit->count - limit->position : 1;
}

static int64
needed_by_run(const EmbedAheadBound *bound, const EState *estate)
{
	if (embed_ahead_running.estate != estate || embed_ahead_running.count == 0)
		return PG_INT64_MAX;
	return bound->is_exact ? (int64) (embed_ahead_running.count - estate->es_processed) : 1;
}

int64
embed_ahead_rows_needed(const EmbedAheadBounds *bounds, const EState *estate)
{
	int64		n = PG_INT64_MAX;

	for (int i = 0; i < bounds->n; i++)
	{
		const EmbedAheadBound *bound = &bounds->all[i];

		n = Min(n, bound->limit == EMBED_AHEAD_ROOT ? needed_by_run(bound, estate) : needed_by_limit(bound));
	}
	return Max(n, 1);
}

static bool
collect_limits(PlanState *state, void *context)
{
	List	  **limits = context;

	if (IsA(state, LimitState))
		*limits = lappend(*limits, state);
	return planstate_tree_walker(state, collect_limits, context);
}

void
embed_ahead_bind_limits(PlanState *root, List *list)
{
	List	   *limits = NIL;
	ListCell   *cell;
	ListCell   *limit;

	(void) collect_limits(root, &limits);
	foreach(cell, list)
	{
		EmbedAheadBounds *bounds = lfirst(cell);

		for (int i = 0; i < bounds->n; i++)
		{
			foreach(limit, limits)
			{
				if (((PlanState *) lfirst(limit))->plan->plan_node_id == bounds->all[i].limit)
					bounds->all[i].state = lfirst(limit);
			}
		}
	}
	list_free(limits);
}
