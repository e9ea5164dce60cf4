/*
 * ahead_plan.c
 *		Puts nodes that look ahead into a finished plan.
 *
 * There are two places. Below ModifyTable, where a target table has an
 * embed_trigger or a generated column that calls embed: the node passes rows
 * through. And above a scan or join whose target list calls embed: the scan
 * then returns the columns, and the node computes the target list.
 *
 * A node that looks ahead reads more rows than are needed at the moment. So on
 * the way down we note what ends the reading early: a Limit, the count of rows
 * that a cursor fetches, joins that skip the rest. The node obeys what is
 * noted; where we cannot tell how many rows are needed, there is no node.
 */
#include "pg/ahead/ahead_plan.h"

#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"

#include "pg/ahead/ahead_calls.h"
#include "pg/ahead/ahead_node.h"
#include "pg/ahead/ahead_target.h"
#include "pg/call/ahead_store.h"

/* What may end the reading of a plan node early. */
typedef struct Reading
{
	List	   *bounds;			/* of integers: pairs, see EMBED_AHEAD_BOUNDS */
	bool		is_unknown;		/* we cannot tell: nothing is read ahead */
} Reading;

typedef struct Walk
{
	PlannedStmt *stmt;
	bool		is_trial;		/* only find out whether there is a place */
	bool		may_be_current;
	bool		found;
	Reading    *ctes;			/* of each subplan that is a CTE, by the scans of it */
	bool	   *is_cte;
	int			n_nodes;
} Walk;

static Plan *visit(Walk *walk, Plan *plan, Reading reading);

/* ----------------------------------------------------------------- reading */

static const Reading whole = {NIL, false};
static const Reading unknown = {NIL, true};

/* A plan node that may return several rows for a row of its input. */
static Reading
multiplied(Reading reading)
{
	Reading		result = {NIL, reading.is_unknown};
	ListCell   *cell;

	for (cell = list_head(reading.bounds); cell != NULL; cell = lnext(reading.bounds, lnext(reading.bounds, cell)))
		result.bounds = lappend_int(lappend_int(result.bounds, lfirst_int(cell)), false);
	return result;
}

static Reading
limited(Reading reading, const Limit *limit)
{
	Reading		result = {list_copy(reading.bounds), reading.is_unknown};

	if (limit->limitCount != NULL)
		result.bounds = lappend_int(lappend_int(result.bounds, limit->plan.plan_node_id), true);
	return result;
}

/* How a plan node reads its inputs; NULL where it has none. */
static void
reading_of_inputs(Plan *plan, Reading reading, Reading *outer, Reading *inner)
{
	*outer = *inner = unknown;
	switch (nodeTag(plan))
	{
		case T_Limit:
			*outer = limited(reading, (Limit *) plan);
			break;
			/* at most a row for a row */
		case T_Result:
		case T_LockRows:
		case T_Material:
		case T_Unique:
		case T_Group:
		case T_IncrementalSort:
		case T_SubqueryScan:
		case T_Append:
			*outer = reading;
			break;
			/* everything, before the first row */
		case T_Sort:
		case T_Hash:
			*outer = whole;
			break;
		case T_Agg:
			*outer = ((Agg *) plan)->aggstrategy == AGG_SORTED ? reading : whole;
			break;
		case T_ProjectSet:
		case T_WindowAgg:
			*outer = multiplied(reading);
			break;
		case T_HashJoin:
			*outer = multiplied(reading);
			*inner = whole;
			break;
		case T_NestLoop:
			*outer = multiplied(reading);
			if (((Join *) plan)->jointype != JOIN_SEMI && ((Join *) plan)->jointype != JOIN_ANTI && !((Join *) plan)->inner_unique)
				*inner = multiplied(reading);
			break;
		default:
			break;
	}
}

/* ------------------------------------------------------------------- nodes */

/* Constants stay: ModifyTable looks at those of dropped and generated columns. */
static List *
numbered_vars(List *targetlist, int varno)
{
	List	   *result = NIL;
	ListCell   *cell;

	foreach(cell, targetlist)
	{
		TargetEntry *entry = lfirst(cell);
		Var		   *var = makeVar(varno, entry->resno, exprType((Node *) entry->expr), exprTypmod((Node *) entry->expr),
								  exprCollation((Node *) entry->expr), 0);
		TargetEntry *copy = flatCopyTargetEntry(entry);

		copy->expr = varno == INDEX_VAR && IsA(entry->expr, Const) ? embed_copy_node(entry->expr) : (Expr *) var;
		result = lappend(result, copy);
	}
	return result;
}

/* A node above child. It has child's costs: what it saves is not planned with. */
static Plan *
make_node(Walk *walk, Plan *child, List *targetlist, List *private)
{
	CustomScan *scan = makeNode(CustomScan);
	Plan	   *plan = &scan->scan.plan;

	plan->startup_cost = child->startup_cost;
	plan->total_cost = child->total_cost;
	plan->plan_rows = child->plan_rows;
	plan->plan_width = child->plan_width;
	plan->parallel_safe = child->parallel_safe;
	/* no other node has such a number */
	plan->plan_node_id = PG_INT32_MAX - walk->n_nodes++;
	plan->targetlist = targetlist;
	plan->lefttree = child;
	plan->extParam = bms_copy(child->extParam);
	plan->allParam = bms_copy(child->allParam);
	scan->custom_scan_tlist = numbered_vars(child->targetlist, OUTER_VAR);
	scan->custom_private = private;
	scan->methods = &embed_ahead_scan_methods;
	return plan;
}

/* ------------------------------------------------------------ target lists */

/* What a target list reads: becomes the scan's own target list. */
static Node *
take_columns(Node *node, void *context)
{
	List	  **columns = context;
	ListCell   *cell;
	int			n = 0;
	Var		   *var = (Var *) node;

	if (node == NULL)
		return NULL;
	if (!IsA(node, Var))
		return expression_tree_mutator(node, take_columns, context);
	foreach(cell, *columns)
	{
		n++;
		if (equal(((TargetEntry *) lfirst(cell))->expr, var))
			return (Node *) makeVar(INDEX_VAR, n, var->vartype, var->vartypmod, var->varcollid, 0);
	}
	*columns = lappend(*columns, makeTargetEntry((Expr *) embed_copy_node(var), n + 1, NULL, false));
	return (Node *) makeVar(INDEX_VAR, n + 1, var->vartype, var->vartypmod, var->varcollid, 0);
}

/* A plan node that computes its target list from the rows that it reads, each on its own. */
static bool
projects(const Plan *plan)
{
	switch (nodeTag(plan))
	{
		case T_SeqScan:
		case T_SampleScan:
		case T_IndexScan:
		case T_IndexOnlyScan:
		case T_BitmapHeapScan:
		case T_TidScan:
#ifdef EMBED_HAS_TID_RANGE_SCAN
		case T_TidRangeScan:
#endif
		case T_SubqueryScan:
		case T_FunctionScan:
		case T_ValuesScan:
		case T_CteScan:
		case T_NamedTuplestoreScan:
		case T_NestLoop:
		case T_MergeJoin:
		case T_HashJoin:
			return true;
		case T_ForeignScan:
			return ((const ForeignScan *) plan)->operation == CMD_SELECT && !embed_plan_is_async(plan);
		case T_Result:
			return plan->lefttree != NULL;
		default:
			return false;
	}
}

/*
 * Whether WHERE CURRENT OF can ask a node above plan as it would ask plan: the
 * node has the places of the rows of a scan of a table (ahead_node.c), and is
 * not asked above others, but for these.
 */
static bool
tells_place(const Plan *plan)
{
	return !IsA(plan, IndexOnlyScan) && !IsA(plan, SubqueryScan) && !IsA(plan, ForeignScan) && !IsA(plan, Result);
}

static bool
list_is_volatile(List *targetlist)
{
	ListCell   *cell;

	foreach(cell, targetlist)
	{
		if (embed_ahead_is_volatile((Node *) ((TargetEntry *) lfirst(cell))->expr))
			return true;
	}
	return false;
}

static bool
list_has_calls(List *targetlist)
{
	ListCell   *cell;

	foreach(cell, targetlist)
	{
		if (embed_ahead_calls((Node *) ((TargetEntry *) lfirst(cell))->expr) != NIL)
			return true;
	}
	return false;
}

/*
 * Whether rows of plan can be read early without anybody seeing it. Rows that a
 * statement in WITH writes would be written early: triggers and the order of
 * rows show when.
 */
static bool
reads_silently(const PlannedStmt *stmt, Plan *plan)
{
	ListCell   *cell;
	List	   *more = NIL;

	if (plan == NULL)
		return true;
	check_stack_depth();
	if (IsA(plan, ModifyTable) || list_is_volatile(plan->targetlist) || embed_ahead_is_volatile((Node *) plan->qual))
		return false;
	if (IsA(plan, SubqueryScan))
		more = list_make1(((SubqueryScan *) plan)->subplan);
	else if (IsA(plan, CteScan))
		more = list_make1(list_nth(stmt->subplans, ((CteScan *) plan)->ctePlanId - 1));
	else if (IsA(plan, Append))
		more = ((Append *) plan)->appendplans;
	else if (IsA(plan, MergeAppend))
		more = ((MergeAppend *) plan)->mergeplans;
	foreach(cell, more)
	{
		if (!reads_silently(stmt, lfirst(cell)))
			return false;
	}
	return reads_silently(stmt, plan->lefttree) && reads_silently(stmt, plan->righttree);
}

/* Puts a node above plan that computes its target list. */
static Plan *
compute_above(Walk *walk, Plan *plan, Reading reading)
{
	List	   *targetlist;
	List	   *columns = NIL;

	if (reading.is_unknown || !projects(plan) || (walk->may_be_current && !tells_place(plan)) || !list_has_calls(plan->targetlist) ||
		!reads_silently(walk->stmt, plan))
		return plan;
	walk->found = true;
	if (walk->is_trial)
		return plan;
	targetlist = (List *) take_columns((Node *) plan->targetlist, &columns);
	plan->targetlist = columns;
	return make_node(walk, plan, targetlist, list_make5(reading.bounds, NIL, NIL, NIL, NIL));
}

/* --------------------------------------------------------- target tables */

/* Puts a node below ModifyTable. child: its input, nth of several before 14. */
static Plan *
pass_through(Walk *walk, ModifyTable *modify, Plan *child, List *targets, List *columns, List *actions)
{
	List	   *action = list_make2_int(modify->operation, modify->onConflictAction);

	/* a single row has none ahead of it */
	if (child == NULL || (IsA(child, Result) && child->lefttree == NULL) ||
		!embed_ahead_targets(walk->stmt, targets, modify->operation) || !reads_silently(walk->stmt, child))
		return child;
	walk->found = true;
	if (walk->is_trial)
		return child;
	return make_node(walk, child, numbered_vars(child->targetlist, INDEX_VAR), list_make5(NIL, action, targets, columns, actions));
}

static bool
is_covered(const ModifyTable *modify)
{
	return (modify->operation == CMD_INSERT || modify->operation == CMD_UPDATE) && bms_is_empty(modify->fdwDirectModifyPlans);
}

#ifdef EMBED_HAS_MERGE

/* Rows that are only in the target are left alone: the plan tells them in another way. */
static bool
is_covered_merge(const ModifyTable *modify)
{
	ListCell   *table;
	ListCell   *cell;

	if (modify->operation != CMD_MERGE)
		return false;
	foreach(table, modify->mergeActionLists)
	{
		foreach(cell, (List *) lfirst(table))
		{
			if (embed_merge_is_by_source((MergeAction *) lfirst(cell)))
				return false;
		}
	}
	return true;
}

/* The target tables, and the one that INSERT names. */
static List *
merge_targets(const ModifyTable *modify)
{
	int			root = modify->rootRelation != 0 ? (int) modify->rootRelation : linitial_int(modify->resultRelations);

	return lappend_int(list_copy(modify->resultRelations), root);
}

#endif

static void
visit_modify(Walk *walk, ModifyTable *modify)
{
#ifdef EMBED_MODIFY_TABLE_HAS_PLANS
	ListCell   *cell;
	int			n = 0;

	foreach(cell, modify->plans)
	{
		Plan	   *child = visit(walk, lfirst(cell), whole);

		if (is_covered(modify))
			child = pass_through(walk, modify, child, list_make1_int(list_nth_int(modify->resultRelations, n)), NIL, NIL);
		lfirst(cell) = child;
		n++;
	}
#else
	Plan	   *child = visit(walk, outerPlan(modify), whole);

	if (is_covered(modify))
		child = pass_through(walk, modify, child, list_copy(modify->resultRelations), embed_copy_node(modify->updateColnosLists), NIL);
#ifdef EMBED_HAS_MERGE
	if (is_covered_merge(modify))
		child = pass_through(walk, modify, child, merge_targets(modify), NIL, embed_copy_node(modify->mergeActionLists));
#endif
	outerPlan(modify) = child;
#endif
}

/* -------------------------------------------------------------------- walk */

static void
visit_list(Walk *walk, List *plans, Reading reading)
{
	ListCell   *cell;

	foreach(cell, plans)
		lfirst(cell) = visit(walk, lfirst(cell), reading);
}

/* A CTE is read as its scans read it. */
static void
note_cte(Walk *walk, const CteScan *scan, Reading reading)
{
	Reading    *cte = &walk->ctes[scan->ctePlanId - 1];
	Reading		more = multiplied(reading);

	walk->is_cte[scan->ctePlanId - 1] = true;
	cte->is_unknown |= more.is_unknown;
	cte->bounds = list_concat(cte->bounds, more.bounds);
}

/* Returns plan, or the node above it. */
static Plan *
visit(Walk *walk, Plan *plan, Reading reading)
{
	Reading		outer;
	Reading		inner;

	/* parallel workers are left alone: each has one thread */
	if (plan == NULL || (walk->is_trial && walk->found) || IsA(plan, Gather) || IsA(plan, GatherMerge))
		return plan;
	check_stack_depth();
	if (IsA(plan, ModifyTable))
	{
		visit_modify(walk, (ModifyTable *) plan);
		return plan;
	}
	reading_of_inputs(plan, reading, &outer, &inner);
	if (IsA(plan, SubqueryScan))
		((SubqueryScan *) plan)->subplan = visit(walk, ((SubqueryScan *) plan)->subplan, outer);
	else if (IsA(plan, Append))
		visit_list(walk, ((Append *) plan)->appendplans, outer);
	else if (IsA(plan, MergeAppend))
		visit_list(walk, ((MergeAppend *) plan)->mergeplans, unknown);
	else if (IsA(plan, CteScan))
		note_cte(walk, (CteScan *) plan, reading);
	plan->lefttree = visit(walk, plan->lefttree, outer);
	plan->righttree = visit(walk, plan->righttree, inner);
	return embed_ahead_planned ? compute_above(walk, plan, reading) : plan;
}

/*
 * WITH, and statements in it. Other subplans run for one row, or until a row
 * is found. A CTE comes after those that it reads.
 */
static void
visit_subplans(Walk *walk)
{
	for (int i = list_length(walk->stmt->subplans) - 1; i >= 0; i--)
	{
		ListCell   *cell = list_nth_cell(walk->stmt->subplans, i);
		Plan	   *plan = lfirst(cell);

		if (plan != NULL && IsA(plan, ModifyTable))
			(void) visit(walk, plan, whole);
		else if (walk->is_cte[i])
			lfirst(cell) = visit(walk, plan, walk->ctes[i]);
	}
}

static void
walk_all(Walk *walk)
{
	Reading		root = {list_make2_int(EMBED_AHEAD_ROOT, true), false};
	int			n = list_length(walk->stmt->subplans);

	walk->ctes = palloc0(Max(n, 1) * sizeof(Reading));
	walk->is_cte = palloc0(Max(n, 1) * sizeof(bool));
	walk->stmt->planTree = visit(walk, walk->stmt->planTree, root);
	if (n > 0)
		visit_subplans(walk);
}

PlannedStmt *
embed_ahead_plan(PlannedStmt *stmt, bool may_be_current, MemoryContext cxt)
{
	Walk		trial = {.stmt = stmt, .is_trial = true, .may_be_current = may_be_current};
	Walk		walk = {.may_be_current = may_be_current};
	MemoryContext old;

	walk_all(&trial);
	if (!trial.found)
		return NULL;
	old = MemoryContextSwitchTo(cxt);
	walk.stmt = makeNode(PlannedStmt);
	memcpy(walk.stmt, stmt, sizeof(PlannedStmt));
	walk.stmt->planTree = embed_copy_node(stmt->planTree);
	walk.stmt->subplans = embed_copy_node(stmt->subplans);
	walk_all(&walk);
	MemoryContextSwitchTo(old);
	return walk.stmt;
}
