/*
 * ahead_merge.c
 *		The texts that a MERGE will embed: which action a row will meet, and the
 *		row that the action makes.
 *
 * A guess, as in ahead_target.c. Conditions are computed early only if nothing
 * can come of it: their functions are leakproof, so that they do not raise. An
 * expression of an action that is not of the kind that texts are put together
 * with counts as NULL.
 */
#include "pg/ahead/ahead_target.h"

#ifdef EMBED_HAS_MERGE

#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/clauses.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "pg/ahead/ahead_calls.h"

typedef struct Action
{
	bool		is_for_matched;
	bool		is_unclear;		/* whether a row meets it cannot be told early */
	ExprState  *condition;		/* NULL: none */
	EmbedAheadTarget *target;	/* NULL: nothing is written */
	int			n_columns;
	ExprState **columns;		/* [n_columns]; NULL: the column counts as NULL */
	TupleTableSlot *row;		/* as the plan of an INSERT or UPDATE would give it */
} Action;

typedef struct Table
{
	Relation	rel;
	List	   *actions;
	TupleTableSlot *old;
} Table;

struct EmbedAheadMerge
{
	ExprContext *econtext;
	Table	   *tables;
	int			n_tables;
	AttrNumber	ctid;
	AttrNumber	tableoid;
};

/* ----------------------------------------------------------------- set up */

static bool
is_clear(Node *condition)
{
	return !contain_leaked_vars(condition) && !contain_volatile_functions(condition) && !contain_subplans(condition);
}

/* The target list of the plan that an INSERT or UPDATE would have. */
static List *
plan_targetlist(const MergeAction *action, int *n_columns)
{
	List	   *result = NIL;
	ListCell   *cell;

	foreach(cell, action->targetList)
	{
		if (!((TargetEntry *) lfirst(cell))->resjunk)
			result = lappend(result, lfirst(cell));
	}
	*n_columns = list_length(result);
	if (action->commandType == CMD_UPDATE)
		result = lappend(result, makeTargetEntry((Expr *) makeNullConst(TIDOID, -1, InvalidOid), *n_columns + 1, "ctid", true));
	return result;
}

static Action *
set_up_action(EState *estate, MergeAction *merge_action, int table_no, EmbedAheadStore *store, List **texts)
{
	Action	   *action = palloc0(sizeof(Action));
	List	   *targetlist;

	action->is_for_matched = embed_merge_is_matched(merge_action);
	action->is_unclear = !is_clear(merge_action->qual);
	if (!action->is_unclear)
		action->condition = ExecInitQual((List *) merge_action->qual, NULL);
	if (merge_action->commandType != CMD_INSERT && merge_action->commandType != CMD_UPDATE)
		return action;
	targetlist = plan_targetlist(merge_action, &action->n_columns);
	action->columns = palloc0(Max(action->n_columns, 1) * sizeof(ExprState *));
	for (int i = 0; i < action->n_columns; i++)
	{
		Expr	   *expr = ((TargetEntry *) list_nth(targetlist, i))->expr;

		if (embed_ahead_is_early((Node *) expr))
			action->columns[i] = ExecInitExpr(expr, NULL);
	}
	action->row = ExecInitExtraTupleSlot(estate, ExecTypeFromTL(targetlist), &TTSOpsVirtual);
	action->target = embed_ahead_target(estate, merge_action->commandType, ONCONFLICT_NONE, list_make1_int(table_no),
										merge_action->commandType == CMD_UPDATE ? list_make1(merge_action->updateColnos) : NIL,
										targetlist, store, texts);
	return action;
}

EmbedAheadMerge *
embed_ahead_merge(EState *estate, List *tables, List *actions, List *targetlist, EmbedAheadStore *store, List **texts)
{
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
	EmbedAheadMerge *merge = palloc0(sizeof(EmbedAheadMerge));

	merge->econtext = CreateExprContext(estate);
	merge->ctid = ExecFindJunkAttributeInTlist(targetlist, "ctid");
	merge->tableoid = ExecFindJunkAttributeInTlist(targetlist, "tableoid");
	merge->n_tables = list_length(actions);
	merge->tables = palloc0(Max(merge->n_tables, 1) * sizeof(Table));
	for (int i = 0; i < merge->n_tables; i++)
	{
		Table	   *table = &merge->tables[i];
		ListCell   *cell;

		table->rel = estate->es_relations[list_nth_int(tables, i) - 1];
		if (table->rel == NULL || table->rel->rd_rel->relkind != RELKIND_RELATION)
			continue;
		table->old = table_slot_create(table->rel, &estate->es_tupleTable);
		foreach(cell, (List *) list_nth(actions, i))
		{
			MergeAction *action = lfirst(cell);

			table->actions = lappend(table->actions,
									 set_up_action(estate, action, action->commandType == CMD_INSERT ? llast_int(tables) : list_nth_int(tables, i),
												   store, texts));
		}
	}
	MemoryContextSwitchTo(old);
	return merge;
}

/* -------------------------------------------------------------------- rows */

/* A row without a match goes by the actions of the first table. */
static Table *
table_of_row(EmbedAheadMerge *merge, const TupleTableSlot *row, bool is_matched)
{
	if (!is_matched || merge->tableoid == 0)
		return is_matched && merge->n_tables != 1 ? NULL : &merge->tables[0];
	for (int i = 0; i < merge->n_tables; i++)
	{
		if (!row->tts_isnull[merge->tableoid - 1] && merge->tables[i].rel != NULL &&
			RelationGetRelid(merge->tables[i].rel) == DatumGetObjectId(row->tts_values[merge->tableoid - 1]))
			return &merge->tables[i];
	}
	return NULL;
}

/* The action that the row in the context's slots will meet; NULL: none, or it cannot be told. */
static Action *
find_action(EmbedAheadMerge *merge, const Table *table, bool is_matched)
{
	ListCell   *cell;

	foreach(cell, table->actions)
	{
		Action	   *action = lfirst(cell);

		if (action->is_for_matched != is_matched)
			continue;
		if (action->is_unclear)
			return NULL;
		if (action->condition == NULL || ExecQual(action->condition, merge->econtext))
			return action;
	}
	return NULL;
}

static void
make_row(EmbedAheadMerge *merge, Action *action, const TupleTableSlot *from)
{
	TupleTableSlot *row = action->row;

	ExecClearTuple(row);
	memset(row->tts_isnull, true, row->tts_tupleDescriptor->natts * sizeof(bool));
	for (int i = 0; i < action->n_columns; i++)
	{
		if (action->columns[i] != NULL)
			row->tts_values[i] = ExecEvalExpr(action->columns[i], merge->econtext, &row->tts_isnull[i]);
	}
	/* an UPDATE has the old row's place behind its columns */
	if (row->tts_tupleDescriptor->natts > action->n_columns)
	{
		row->tts_values[action->n_columns] = from->tts_values[merge->ctid - 1];
		row->tts_isnull[action->n_columns] = false;
	}
	ExecStoreVirtualTuple(row);
}

void
embed_ahead_merge_add(EmbedAheadMerge *merge, TupleTableSlot *row)
{
	bool		is_matched = merge->ctid != 0 && !row->tts_isnull[merge->ctid - 1];
	Table	   *table = table_of_row(merge, row, is_matched);
	MemoryContext old;
	Action	   *action;

	if (table == NULL || table->actions == NIL)
		return;
	if (is_matched && !table_tuple_fetch_row_version(table->rel, (ItemPointer) DatumGetPointer(row->tts_values[merge->ctid - 1]),
													 SnapshotAny, table->old))
		return;
	old = MemoryContextSwitchTo(merge->econtext->ecxt_per_tuple_memory);
	merge->econtext->ecxt_innertuple = row;
	merge->econtext->ecxt_scantuple = is_matched ? table->old : NULL;
	action = find_action(merge, table, is_matched);
	if (action != NULL && action->target != NULL)
	{
		make_row(merge, action, row);
		embed_ahead_target_add(action->target, action->row);
	}
	MemoryContextSwitchTo(old);
	ResetExprContext(merge->econtext);
	ExecClearTuple(table->old);
}

#endif
