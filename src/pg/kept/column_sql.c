/*
 * column_sql.c
 *		What embed_column and embed_check say about a kept column in SQL, and
 *		what they find of it in the catalogs.
 */
#include "pg/kept/column_sql.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_index.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

char *
embed_column_table(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

char *
embed_column_rows(Oid relid)
{
	return psprintf("%s%s", get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE ? "" : "ONLY ", embed_column_table(relid));
}

static const char *
name_in(Relation rel, const EmbedTriggerColumn *column)
{
	return quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(rel), column->attnum - 1)->attname));
}

char *
embed_column_to_do(Relation rel, const EmbedTriggerColumns *columns)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "%s IS NULL AND (", name_in(rel, &columns->vector));
	for (int i = 0; i < columns->n_sources; i++)
		appendStringInfo(&sql, "%s%s IS NOT NULL", i > 0 ? " OR " : "", name_in(rel, &columns->sources[i]));
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

char *
embed_column_sources(const EmbedTriggerColumns *columns)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < columns->n_sources; i++)
		appendStringInfo(&sql, "%st.%s", i > 0 ? ", " : "", quote_identifier(NameStr(columns->sources[i].name)));
	return sql.data;
}

Datum
embed_column_text_of(const EmbedTriggerColumns *columns, ExprContext *econtext, uint64 row, int first, bool *isnull)
{
	EmbedSources sources = {.all_null = true};

	for (int i = 0; i < columns->n_sources; i++)
	{
		sources.values[i] = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, first + i, &sources.isnull[i]);
		sources.all_null &= sources.isnull[i];
	}
	return embed_trigger_text(columns, econtext, &sources, isnull);
}

char *
embed_column_source(Relation rel, const char *source)
{
	List	   *names = NIL;
	ListCell   *cell;
	StringInfoData sql;

	if (get_attnum(RelationGetRelid(rel), source) > 0)
		names = list_make1((char *) source);
	else if (!SplitIdentifierString(pstrdup(source), ',', &names) || names == NIL)
		return pstrdup(source);
	initStringInfo(&sql);
	foreach(cell, names)
		appendStringInfo(&sql, "%s%s", sql.len > 0 ? ", " : "", quote_identifier(lfirst(cell)));
	return sql.data;
}

List *
embed_column_triggers(Relation rel, const char *vector)
{
	/* a copy: any lookup in the catalogs may replace what the relation has */
	TriggerDesc *all = CopyTriggerDesc(rel->trigdesc);
	List	   *list = NIL;

	for (int i = 0; all != NULL && i < all->numtriggers; i++)
	{
		Trigger    *trigger = &all->triggers[i];

		if (embed_is_trigger_function(trigger->tgfoid) && trigger->tgnargs > 0 && strcmp(trigger->tgargs[0], vector) == 0)
			list = lappend(list, trigger);
	}
	return list;
}

List *
embed_column_dead_triggers(Relation rel)
{
	TriggerDesc *all = CopyTriggerDesc(rel->trigdesc);
	List	   *names = NIL;

	for (int i = 0; all != NULL && i < all->numtriggers; i++)
	{
		const Trigger *trigger = &all->triggers[i];

		if (embed_is_trigger_function(trigger->tgfoid) && trigger->tgnargs > 0 &&
			get_attnum(RelationGetRelid(rel), trigger->tgargs[0]) == InvalidAttrNumber)
			names = lappend(names, pstrdup(trigger->tgname));
	}
	return names;
}

/* ------------------------------------------------------------ index */

List *
embed_column_index_terms(Relation index)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(RelationGetRelid(index)));
	List	   *terms = NIL;
	bool		isnull;
	Datum		predicate;

	if (!HeapTupleIsValid(tuple))
		return NIL;
	predicate = SysCacheGetAttr(INDEXRELID, tuple, Anum_pg_index_indpred, &isnull);
	if (!isnull)
		terms = make_ands_implicit(stringToNode(TextDatumGetCString(predicate)));
	ReleaseSysCache(tuple);
	return terms;
}

/* The column of a test for NULL or NOT NULL, or 0. */
static AttrNumber
tested_column(const Node *node, NullTestType type)
{
	const NullTest *test = (const NullTest *) node;

	if (!IsA(node, NullTest) || test->nulltesttype != type || !IsA(test->arg, Var))
		return 0;
	return ((const Var *) test->arg)->varattno;
}

static bool
is_source(const EmbedTriggerColumns *columns, AttrNumber attnum)
{
	for (int i = 0; i < columns->n_sources; i++)
	{
		if (columns->sources[i].attnum == attnum)
			return true;
	}
	return false;
}

/* Whether a term demands that one of the sources is not NULL. */
static bool
demands_text(Node *term, const EmbedTriggerColumns *columns)
{
	BoolExpr   *any = (BoolExpr *) term;
	List	   *tests = IsA(term, BoolExpr) && any->boolop == OR_EXPR ? any->args : list_make1(term);
	ListCell   *cell;

	foreach(cell, tests)
	{
		AttrNumber	attnum = tested_column(lfirst(cell), IS_NOT_NULL);

		if (attnum == 0 || (columns != NULL && !is_source(columns, attnum)))
			return false;
	}
	return columns == NULL || list_length(tests) == columns->n_sources;
}

static bool
is_to_do_index(Relation index, AttrNumber vector, const EmbedTriggerColumns *columns)
{
	List	   *terms = embed_column_index_terms(index);

	return !index->rd_index->indisunique && list_length(terms) == 2 &&
		tested_column(linitial(terms), IS_NULL) == vector && demands_text(lsecond(terms), columns);
}

List *
embed_column_indexes(Relation rel, AttrNumber vector, const EmbedTriggerColumns *columns)
{
	List	   *all = RelationGetIndexList(rel);
	List	   *found = NIL;
	ListCell   *cell;

	foreach(cell, all)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if ((columns == NULL || index->rd_index->indisvalid) && is_to_do_index(index, vector, columns))
			found = lappend_oid(found, lfirst_oid(cell));
		index_close(index, AccessShareLock);
	}
	list_free(all);
	return found;
}

/* ------------------------------------------------------------ commands */

uint64
embed_column_run(const char *command, int expected)
{
	if (SPI_execute(command, false, 0) != expected)
		elog(ERROR, "could not run \"%s\"", command);
	return SPI_processed;
}

int64
embed_column_number(const char *query)
{
	bool		isnull;

	if (SPI_execute(query, false, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not run \"%s\"", query);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}
