/*
 * fill_table.c
 *		What a fill asks a table: its owner, its rows that are to do, and
 *		whether fillers leave it alone.
 */
#include "pg/kept/fill.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_subscription_rel.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "pg/kept/column_sql.h"

EmbedCaller
embed_fill_as_owner(Relation rel)
{
	EmbedCaller caller = embed_as_any_owner(rel->rd_rel->relowner, 0);

	/* a list follows the to-do index, whatever the table's old statistics say, and ctids */
	embed_set_for_now("enable_seqscan", "off");
	embed_set_for_now("synchronize_seqscans", "off");
	embed_set_for_now("max_parallel_workers_per_gather", "0");
	return caller;
}

char *
embed_fill_query(Relation rel, const EmbedKeptColumn *column, const char *what)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s FROM ONLY %s AS t WHERE t.%s IS NULL AND (", what,
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel)),
					 quote_identifier(NameStr(column->columns.vector.name)));
	for (int i = 0; i < column->columns.n_sources; i++)
		appendStringInfo(&sql, "%st.%s IS NOT NULL", i > 0 ? " OR " : "",
						 quote_identifier(NameStr(column->columns.sources[i].name)));
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/* Whether one of the predicate's terms is "vector IS NULL". */
static bool
demands_null(List *predicate, AttrNumber vector)
{
	ListCell   *cell;

	foreach(cell, predicate)
	{
		NullTest   *test = lfirst(cell);

		if (IsA(test, NullTest) && test->nulltesttype == IS_NULL && IsA(test->arg, Var) &&
			((Var *) test->arg)->varattno == vector)
			return true;
	}
	return false;
}

Oid
embed_to_do_index(Relation rel, const EmbedKeptColumn *column)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	Oid			found = InvalidOid;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (index->rd_index->indisvalid && demands_null(embed_column_index_terms(index), column->columns.vector.attnum))
			found = RelationGetRelid(index);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}

static bool
is_subscribed(Oid table)
{
	Relation	rel = table_open(SubscriptionRelRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	ScanKeyInit(&key, Anum_pg_subscription_rel_srrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

const char *
embed_fill_left_alone(Relation rel, const EmbedKeptColumn *column)
{
	if (rel->rd_rel->relkind != RELKIND_RELATION)
		return "the table is no ordinary table: call embed_column on the server that has it";
	if (RELATION_IS_OTHER_TEMP(rel))
		return "the table is a temporary table of another session";
	if (column->enabled != TRIGGER_FIRES_ON_ORIGIN && column->enabled != TRIGGER_FIRES_ALWAYS)
		return "the trigger is disabled: ALTER TABLE ... ENABLE TRIGGER, then call embed_check";
	if (rel->rd_rel->relrowsecurity && rel->rd_rel->relforcerowsecurity)
		return "the table has FORCE ROW LEVEL SECURITY, and its owner may not see all rows: fill it with UPDATE as a role that may";
	if (is_subscribed(RelationGetRelid(rel)))
		return "the table belongs to a subscription: its vectors come from the publisher";
	return NULL;
}
