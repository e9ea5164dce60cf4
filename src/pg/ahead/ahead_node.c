/*
 * ahead_node.c
 *		The executor node that looks ahead.
 *
 * It pulls rows of its input, 1, then 2, 4, .. at a time, embeds the texts of
 * a batch of them together, and returns the rows one by one. The first row
 * comes alone, so that a statement of one row costs what it did, and the row's
 * own call opens the model or raises what is wrong with it.
 *
 * The rows of a batch hold their values until the next batch. A batch of texts
 * ends at embed.batch_tokens for each thread, and rows and vectors take up to
 * 8 MB each.
 *
 * If fewer than half of the vectors of a batch were used, somebody changes
 * texts or skips rows between us and the call. Then the node gives up.
 *
 * A cursor may go backwards: then the input first goes back to the row that the
 * cursor is at, and rows come one by one. And it may be asked, for WHERE CURRENT
 * OF, which row of the table it is at: above the scan of a table the node keeps
 * the rows' places.
 */
#include "pg/ahead/ahead_node.h"

#include "access/htup_details.h"
#include "commands/explain.h"
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#endif
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/ahead/ahead_bounds.h"
#include "pg/ahead/ahead_calls.h"
#include "pg/ahead/ahead_plan.h"
#include "pg/ahead/ahead_target.h"

#define ROWS_MAX	1024
#define BYTES_MAX	((Size) 8 * 1024 * 1024)

/* A call of the target list. */
typedef struct Call
{
	ExprState  *text;
	EmbedAheadTexts *texts;
} Call;

typedef struct AheadState
{
	CustomScanState css;		/* first */
	EmbedAheadBounds bounds;
	ScanState  *scan;			/* of a table, just below; NULL: it is something else */

	bool		is_set_up;
	EmbedAheadStore *store;
	List	   *texts;			/* of EmbedAheadTexts, of calls and target */
	List	   *calls;			/* of a target list */
	EmbedAheadTarget *target;	/* of rows for ModifyTable */
	EmbedAheadMerge *merge;

	MemoryContext rows_cxt;
	MemoryContext batch_cxt;
	MinimalTuple rows[ROWS_MAX];
	ItemPointerData places[ROWS_MAX];	/* of the rows in the scanned table */
	int			n_rows;
	int			next;			/* the next row to return */
	int			n_examined;		/* the texts of the rows before were taken */
	bool		is_done;		/* the input has no more rows */
	bool		at_end;			/* and that was told */
	bool		gave_up;
	int			n_pull;			/* rows to pull next time */
	double		tokens_per_row;
	int64		n_ahead;		/* vectors computed ahead, and used, so far */
	int64		n_used;
} AheadState;

/* ------------------------------------------------------------------ set up */

/* The model argument: a constant or a parameter. NULL: there is no vector, either. */
static char *
model_name(AheadState *ahead, Expr *model)
{
	bool		isnull;
	Datum		value = ExecEvalExprSwitchContext(ExecInitExpr(model, &ahead->css.ss.ps), ahead->css.ss.ps.ps_ExprContext, &isnull);

	return isnull ? NULL : text_to_cstring(DatumGetTextPP(value));
}

static void
set_up_calls(AheadState *ahead, List *targetlist)
{
	ListCell   *cell;

	foreach(cell, embed_ahead_calls((Node *) targetlist))
	{
		EmbedAheadCall *found = lfirst(cell);
		Call	   *call = palloc0(sizeof(Call));
		char	   *name = found->model != NULL ? model_name(ahead, found->model) : NULL;

		if (found->model != NULL && name == NULL)
			continue;
		call->text = ExecInitExpr(found->text, &ahead->css.ss.ps);
		call->texts = embed_ahead_texts(CurrentMemoryContext, ahead->store, name, "", EMBED_NAME_ARGUMENT);
		ahead->calls = lappend(ahead->calls, call);
		ahead->texts = lappend(ahead->texts, call->texts);
	}
}

/* Behind the second row. */
static void
set_up(AheadState *ahead)
{
	EState	   *estate = ahead->css.ss.ps.state;
	CustomScan *scan = (CustomScan *) ahead->css.ss.ps.plan;
	List	   *action = list_nth(scan->custom_private, EMBED_AHEAD_ACTION);
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);

	ahead->store = embed_ahead_create(estate->es_query_cxt);
	ahead->rows_cxt = AllocSetContextCreate(estate->es_query_cxt, "embed rows ahead", ALLOCSET_DEFAULT_SIZES);
	ahead->batch_cxt = AllocSetContextCreate(estate->es_query_cxt, "embed batch ahead", ALLOCSET_DEFAULT_SIZES);
	if (action == NIL)
		set_up_calls(ahead, scan->scan.plan.targetlist);
#ifdef EMBED_HAS_MERGE
	else if (linitial_int(action) == CMD_MERGE)
		ahead->merge = embed_ahead_merge(estate, list_nth(scan->custom_private, EMBED_AHEAD_TARGETS),
										 list_nth(scan->custom_private, EMBED_AHEAD_ACTIONS), scan->scan.plan.targetlist,
										 ahead->store, &ahead->texts);
#endif
	else
		ahead->target = embed_ahead_target(estate, (CmdType) linitial_int(action), (OnConflictAction) lsecond_int(action),
										   list_nth(scan->custom_private, EMBED_AHEAD_TARGETS),
										   list_nth(scan->custom_private, EMBED_AHEAD_COLUMNS),
										   scan->scan.plan.targetlist, ahead->store, &ahead->texts);
	MemoryContextSwitchTo(old);
	ahead->is_set_up = true;
	ahead->gave_up = ahead->texts == NIL;
}

/* -------------------------------------------------------------------- rows */

static int64
tokens_max(void)
{
	return (int64) embed_guc_batch_tokens * embed_ahead_threads();
}

static int
rows_to_pull(const AheadState *ahead)
{
	int64		n = Min(ahead->n_pull, embed_ahead_rows_needed(&ahead->bounds, ahead->css.ss.ps.state));

	if (ahead->gave_up || !embed_guc_look_ahead || ahead->css.ss.ps.state->es_epq_active != NULL)
		return 1;
	if (ahead->tokens_per_row > 0)
		n = Min(n, (int64) (tokens_max() / ahead->tokens_per_row) + 1);
	return (int) n;
}

/* The scan slot has a row: at which place of its table. */
static void
set_place(AheadState *ahead, const ItemPointerData *place)
{
	TupleTableSlot *slot = ahead->css.ss.ss_ScanTupleSlot;

	if (ahead->scan == NULL)
		return;
	slot->tts_tid = *place;
	slot->tts_tableOid = RelationGetRelid(ahead->scan->ss_currentRelation);
}

/* The values of a buffered row into the scan slot; they stay until the next batch of rows. */
static void
load_row(AheadState *ahead, int i)
{
	TupleTableSlot *slot = ahead->css.ss.ss_ScanTupleSlot;
	HeapTupleData tuple;

	tuple.t_len = ahead->rows[i]->t_len + MINIMAL_TUPLE_OFFSET;
	tuple.t_data = (HeapTupleHeader) ((char *) ahead->rows[i] - MINIMAL_TUPLE_OFFSET);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	ExecClearTuple(slot);
	heap_deform_tuple(&tuple, slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull);
	ExecStoreVirtualTuple(slot);
	set_place(ahead, &ahead->places[i]);
}

static TupleTableSlot *
pull(AheadState *ahead)
{
	TupleTableSlot *slot = ahead->is_done ? NULL : ExecProcNode(outerPlanState(&ahead->css.ss.ps));

	ahead->is_done = TupIsNull(slot);
	return ahead->is_done ? NULL : slot;
}

/* A row alone, without a copy; NULL: there is none. */
static bool
pass_row(AheadState *ahead, TupleTableSlot *row)
{
	TupleTableSlot *slot = ahead->css.ss.ss_ScanTupleSlot;

	ExecClearTuple(slot);
	if (TupIsNull(row))
		return false;
	slot_getallattrs(row);
	memcpy(slot->tts_values, row->tts_values, slot->tts_tupleDescriptor->natts * sizeof(Datum));
	memcpy(slot->tts_isnull, row->tts_isnull, slot->tts_tupleDescriptor->natts * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	if (ahead->scan != NULL)
		set_place(ahead, &ahead->scan->ss_ScanTupleSlot->tts_tid);
	return true;
}

/* row: what was pulled already, or NULL. */
static void
pull_rows(AheadState *ahead, int n, TupleTableSlot *row)
{
	Size		bytes = 0;

	ahead->n_rows = ahead->next = ahead->n_examined = 0;
	MemoryContextReset(ahead->rows_cxt);
	while (ahead->n_rows < n && bytes < BYTES_MAX)
	{
		MemoryContext old;

		if (row == NULL)
			row = pull(ahead);
		if (row == NULL)
			break;
		old = MemoryContextSwitchTo(ahead->rows_cxt);
		ahead->rows[ahead->n_rows] = ExecCopySlotMinimalTuple(row);
		MemoryContextSwitchTo(old);
		if (ahead->scan != NULL)
			ahead->places[ahead->n_rows] = ahead->scan->ss_ScanTupleSlot->tts_tid;
		bytes += ahead->rows[ahead->n_rows++]->t_len;
		row = NULL;
	}
}

/* ------------------------------------------------------------------- texts */

/* The batch before is over: were its vectors of use? */
static void
end_batch(AheadState *ahead)
{
	ahead->n_ahead += ahead->store->n_ready;
	ahead->n_used += ahead->store->n_used;
	ahead->gave_up |= 2 * ahead->store->n_used < ahead->store->n_ready;
	embed_ahead_clear(ahead->store);
}

static void
add_calls(AheadState *ahead)
{
	ExprContext *econtext = ahead->css.ss.ps.ps_ExprContext;
	ListCell   *cell;

	econtext->ecxt_scantuple = ahead->css.ss.ss_ScanTupleSlot;
	foreach(cell, ahead->calls)
	{
		Call	   *call = lfirst(cell);
		bool		isnull;
		Datum		text;

		if (call->texts->ref == NULL)
			continue;
		text = ExecEvalExprSwitchContext(call->text, econtext, &isnull);
		if (!isnull)
			embed_ahead_add(call->texts, text);
	}
	ResetExprContext(econtext);
}

static int64
count_tokens(const AheadState *ahead)
{
	int64		n = 0;
	ListCell   *cell;

	foreach(cell, ahead->texts)
		n += ((EmbedAheadTexts *) lfirst(cell))->n_tokens;
	return n;
}

/* Takes the texts of rows that were not examined, until they are enough, and embeds them. */
static void
embed_batch(AheadState *ahead)
{
	MemoryContext old = MemoryContextSwitchTo(ahead->batch_cxt);
	int			first = ahead->n_examined;
	int64		n_tokens = 0;
	int			n_refused = 0;
	ListCell   *cell;

	foreach(cell, ahead->texts)
		embed_ahead_begin(lfirst(cell));
	while (ahead->n_examined < ahead->n_rows && n_tokens < tokens_max() && ahead->store->bytes < BYTES_MAX)
	{
		load_row(ahead, ahead->n_examined++);
		if (ahead->target != NULL)
			embed_ahead_target_add(ahead->target, ahead->css.ss.ss_ScanTupleSlot);
#ifdef EMBED_HAS_MERGE
		else if (ahead->merge != NULL)
			embed_ahead_merge_add(ahead->merge, ahead->css.ss.ss_ScanTupleSlot);
#endif
		else
			add_calls(ahead);
		n_tokens = count_tokens(ahead);
	}
	foreach(cell, ahead->texts)
	{
		embed_ahead_run(lfirst(cell));
		n_refused += ((EmbedAheadTexts *) lfirst(cell))->n_refused;
	}
	ahead->tokens_per_row = (double) n_tokens / (ahead->n_examined - first);
	/* one thread, and texts that gain nothing */
	ahead->gave_up |= n_tokens == 0 && n_refused > 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(ahead->batch_cxt);
}

/* --------------------------------------------------------------- executor */

/* Puts the next row into the scan slot; false: there is none. */
static bool
next_row(AheadState *ahead)
{
	if (ahead->next == ahead->n_rows)
	{
		TupleTableSlot *row = NULL;
		int			n;

		if (ahead->is_set_up)
			end_batch(ahead);
		n = rows_to_pull(ahead);
		ahead->n_pull = Min(2 * ahead->n_pull, ROWS_MAX);
		if (n <= 1)
			return pass_row(ahead, pull(ahead));
		if (!ahead->is_set_up)
		{
			row = pull(ahead);
			/* statements of one row have no use for the rest */
			if (row == NULL)
				return pass_row(ahead, NULL);
			set_up(ahead);
		}
		if (ahead->gave_up)
			return pass_row(ahead, row != NULL ? row : pull(ahead));
		pull_rows(ahead, n, row);
		if (ahead->n_rows == 0)
			return false;
	}
	if (ahead->next == ahead->n_examined)
	{
		if (ahead->next > 0)
			end_batch(ahead);
		if (ahead->gave_up)
			ahead->n_examined = ahead->n_rows;
		else
			embed_batch(ahead);
	}
	load_row(ahead, ahead->next++);
	return true;
}

static void
start_over(AheadState *ahead)
{
	ahead->n_rows = ahead->next = ahead->n_examined = 0;
	ahead->is_done = ahead->at_end = false;
	ahead->n_pull = 1;
}

/* The row before the one that was returned last, for cursors. */
static bool
row_before(AheadState *ahead)
{
	PlanState  *outer = outerPlanState(&ahead->css.ss.ps);
	/* how far the input is ahead of us; behind its last row it is one step further */
	int			n = ahead->n_rows - ahead->next + (ahead->is_done && !ahead->at_end);

	while (n-- > 0)
		(void) ExecProcNode(outer);
	if (ahead->is_set_up)
		end_batch(ahead);
	start_over(ahead);
	return pass_row(ahead, ExecProcNode(outer));
}

static TupleTableSlot *
exec(CustomScanState *node)
{
	AheadState *ahead = (AheadState *) node;
	ExprContext *econtext = node->ss.ps.ps_ExprContext;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	bool		has_row;

	ResetExprContext(econtext);
	if (ScanDirectionIsBackward(node->ss.ps.state->es_direction))
		has_row = row_before(ahead);
	else
	{
		has_row = next_row(ahead);
		ahead->at_end = !has_row;
	}
	if (!has_row)
	{
		ExecClearTuple(slot);
		return NULL;
	}
	if (node->ss.ps.ps_ProjInfo == NULL)
		return slot;
	econtext->ecxt_scantuple = slot;
	return ExecProject(node->ss.ps.ps_ProjInfo);
}

/* A scan that has a place of the table in its slot. */
static bool
is_table_scan(const PlanState *state)
{
	switch (nodeTag(state))
	{
		case T_SeqScanState:
		case T_SampleScanState:
		case T_IndexScanState:
		case T_BitmapHeapScanState:
		case T_TidScanState:
#ifdef EMBED_HAS_TID_RANGE_SCAN
		case T_TidRangeScanState:
#endif
			return true;
		default:
			return false;
	}
}

static void
begin(CustomScanState *node, EState *estate, int eflags)
{
	AheadState *ahead = (AheadState *) node;
	CustomScan *scan = (CustomScan *) node->ss.ps.plan;
	PlanState  *outer = ExecInitNode(outerPlan(&scan->scan.plan), estate, eflags);

	embed_ahead_read_bounds(&ahead->bounds, list_nth(scan->custom_private, EMBED_AHEAD_BOUNDS));
	outerPlanState(&node->ss.ps) = outer;
	if (!is_table_scan(outer))
		return;
	ahead->scan = (ScanState *) outer;
	/* WHERE CURRENT OF looks here */
	node->ss.ss_currentRelation = ahead->scan->ss_currentRelation;
}

static void
end(CustomScanState *node)
{
	AheadState *ahead = (AheadState *) node;

	if (ahead->is_set_up)
		embed_ahead_clear(ahead->store);
	ExecEndNode(outerPlanState(&node->ss.ps));
}

static void
rescan(CustomScanState *node)
{
	AheadState *ahead = (AheadState *) node;
	PlanState  *outer = outerPlanState(&node->ss.ps);

	start_over(ahead);
	/* WHERE CURRENT OF finds no row here */
	ExecClearTuple(node->ss.ss_ScanTupleSlot);
	if (ahead->is_set_up)
		embed_ahead_clear(ahead->store);
	/* else the first ExecProcNode does it */
	if (outer->chgParam == NULL)
		ExecReScan(outer);
}

static void
explain(CustomScanState *node, pg_attribute_unused() List *ancestors, ExplainState *es)
{
	AheadState *ahead = (AheadState *) node;
	const EmbedAheadStore *store = ahead->store;

	if (!es->analyze || !es->costs)
		return;
	ExplainPropertyInteger("Texts Ahead", NULL, ahead->n_ahead + (store != NULL ? store->n_ready : 0), es);
	ExplainPropertyInteger("Texts Used", NULL, ahead->n_used + (store != NULL ? store->n_used : 0), es);
}

static const CustomExecMethods exec_methods = {
	.CustomName = "EmbedAhead",
	.BeginCustomScan = begin,
	.ExecCustomScan = exec,
	.EndCustomScan = end,
	.ReScanCustomScan = rescan,
	.ExplainCustomScan = explain,
};

static Node *
create_state(pg_attribute_unused() CustomScan *scan)
{
	AheadState *ahead = palloc0(sizeof(AheadState));

	NodeSetTag(ahead, T_CustomScanState);
	ahead->css.methods = &exec_methods;
	ahead->n_pull = 1;
	return (Node *) ahead;
}

const CustomScanMethods embed_ahead_scan_methods = {
	.CustomName = "EmbedAhead",
	.CreateCustomScanState = create_state,
};

/* ------------------------------------------------------------------- Limits */

static bool
collect_ours(PlanState *state, void *context)
{
	List	  **ours = context;

	if (IsA(state, CustomScanState) && ((CustomScanState *) state)->methods == &exec_methods)
		*ours = lappend(*ours, &((AheadState *) state)->bounds);
	return planstate_tree_walker(state, collect_ours, context);
}

void
embed_ahead_bind(PlanState *root)
{
	List	   *bounds = NIL;

	(void) collect_ours(root, &bounds);
	embed_ahead_bind_limits(root, bounds);
	list_free(bounds);
}
