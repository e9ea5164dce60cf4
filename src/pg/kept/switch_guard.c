/*
 * switch_guard.c
 *		Old snapshots and switched columns.
 *
 * A statement sees the names of columns as they are now, and rows, aliases and
 * the default as its snapshot has them. So a transaction whose snapshot is
 * older than a switch, and that did not touch the table before, would search
 * vectors of the new model with a vector of the old one. It gets a
 * serialization failure (40001) instead. That concerns transactions from
 * REPEATABLE READ on, and statements in STABLE functions, which have the
 * snapshot of their caller. All others take their snapshot after the table's
 * lock, for which the switch lets nobody pass.
 *
 * The row of pg_attribute tells when the column got its name.
 */
#include "pg/kept/switch.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "nodes/bitmapset.h"
#include "parser/parse_relation.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

static ExecutorStart_hook_type next_start = NULL;

pg_noreturn static void
switched_error(Relation rel, const char *column)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to a switch of column \"%s\" of table \"%s\"", column, RelationGetRelationName(rel)),
			 errdetail("The column got its name, and maybe vectors of another model, after the snapshot of this transaction was taken."),
			 errhint("The transaction might succeed if retried.")));
}

/* Whether the column's row is of a transaction that the snapshot does not see. */
static bool
is_newer(Relation rel, AttrNumber attnum, Snapshot snapshot)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(RelationGetRelid(rel)), Int16GetDatum(attnum));
	TransactionId xmin;

	if (!HeapTupleIsValid(tuple))
		return false;
	xmin = HeapTupleHeaderGetXmin(tuple->t_data);
	ReleaseSysCache(tuple);
	return TransactionIdIsNormal(xmin) && !TransactionIdIsCurrentTransactionId(xmin) && XidInMVCCSnapshot(xmin, snapshot);
}

static bool
is_read(const Bitmapset *columns, AttrNumber attnum)
{
	return bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, columns) ||
		bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, columns);
}

/* Without a lookup in the catalogs: most tables have no trigger with arguments. */
static bool
may_be_kept(const TriggerDesc *all)
{
	for (int i = 0; all != NULL && i < all->numtriggers; i++)
	{
		if (all->triggers[i].tgnargs >= 2)
			return true;
	}
	return false;
}

static void
check_table(Relation rel, const Bitmapset *columns, Snapshot snapshot)
{
	/* a lookup may replace what the relation has */
	TriggerDesc *all = CopyTriggerDesc(rel->trigdesc);

	for (int i = 0; i < all->numtriggers; i++)
	{
		const Trigger *trigger = &all->triggers[i];
		AttrNumber	attnum;

		if (trigger->tgnargs < 2 || !embed_is_trigger_function(trigger->tgfoid))
			continue;
		attnum = get_attnum(RelationGetRelid(rel), trigger->tgargs[0]);
		if (attnum > 0 && is_read(columns, attnum) && is_newer(rel, attnum, snapshot))
			switched_error(rel, trigger->tgargs[0]);
	}
	FreeTriggerDesc(all);
}

/* The statement holds its tables' locks. */
static void
check_statement(const PlannedStmt *statement, Snapshot snapshot)
{
	ListCell   *cell;

	foreach(cell, statement->rtable)
	{
		RangeTblEntry *entry = lfirst(cell);
		const Bitmapset *columns;
		Relation	rel;

		if (entry->rtekind != RTE_RELATION)
			continue;
		columns = embed_selected_columns(statement, entry);
		if (columns == NULL)
			continue;
		rel = RelationIdGetRelation(entry->relid);
		if (rel != NULL && may_be_kept(rel->trigdesc))
			check_table(rel, columns, snapshot);
		if (rel != NULL)
			RelationClose(rel);
	}
}

static void
executor_start(QueryDesc *query, int eflags)
{
	Snapshot	snapshot = query->snapshot;

	if (snapshot != NULL && snapshot->snapshot_type == SNAPSHOT_MVCC && !(eflags & EXEC_FLAG_EXPLAIN_ONLY) && !IsParallelWorker())
		check_statement(query->plannedstmt, snapshot);
	if (next_start != NULL)
		next_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

void
embed_switch_guard_init(void)
{
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
}
