/*
 * column_report.c
 *		What embed_column says at its end: how many rows are to do, how long
 *		that takes, and who does it.
 */
#include "pg/kept/column_make.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/auto/as_owner.h"
#include "pg/kept/column_sql.h"
#include "pg/kept/column_time.h"
#include "pg/kept/column_type.h"
#include "pg/kept/wake.h"

/* The text of a row in SQL. */
static char *
text_in_sql(const EmbedTriggerColumns *columns)
{
	StringInfoData sql;

	if (columns->n_sources == 1)
		return pstrdup(quote_identifier(NameStr(columns->sources[0].name)));
	initStringInfo(&sql);
	appendStringInfoString(&sql, "array_to_string(ARRAY[");
	/* an array has one type of elements */
	for (int i = 0; i < columns->n_sources; i++)
		appendStringInfo(&sql, "%s%s%s", i > 0 ? ", " : "", quote_identifier(NameStr(columns->sources[i].name)),
						 columns->sources[i].type == TEXTOID ? "" : "::text");
	appendStringInfoString(&sql, "], E'\\n\\n')");
	return sql.data;
}

/* Qualified where the search_path does not have the extension's schema. */
static char *
function_in_sql(const char *schema, const char *function)
{
	if (list_member_oid(fetch_search_path(false), get_namespace_oid(schema, false)))
		return pstrdup(function);
	return quote_qualified_identifier(schema, function);
}

/* Fillers do neither rows that row security may hide from the owner, nor foreign ones. */
static bool
fillers_may(Relation rel)
{
	List	   *relids = find_all_inheritors(RelationGetRelid(rel), NoLock, NULL);
	bool		result = !rel->rd_rel->relrowsecurity || !rel->rd_rel->relforcerowsecurity;
	ListCell   *cell;

	foreach(cell, relids)
		result &= get_rel_relkind(lfirst_oid(cell)) != RELKIND_FOREIGN_TABLE;
	return result;
}

static char *
how_to_fill(const EmbedColumnWanted *wanted, const EmbedTriggerColumns *columns, const char *to_do)
{
	Relation	rel = relation_open(wanted->relid, NoLock);
	const char *table = embed_column_table(wanted->relid);
	bool		may = fillers_may(rel);
	bool		is_temporary = rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP;

	relation_close(rel, NoLock);
	if (!may)
		return psprintf("UPDATE %s SET %s = %s(%s, %s) WHERE %s", table, quote_identifier(wanted->vector),
						function_in_sql(wanted->schema, "embed"), text_in_sql(columns), quote_literal_cstr(wanted->model.model), to_do);
	if (is_temporary || !embed_guc_background)
		return psprintf("CALL %s(%s) fills them.", function_in_sql(wanted->schema, "embed_fill"), quote_literal_cstr(table));
	return psprintf("A background worker fills them after the commit. CALL %s(%s) fills them at once.",
					function_in_sql(wanted->schema, "embed_fill"), quote_literal_cstr(table));
}

/* The rows of all partitions are to do. */
static void
want_filler(const EmbedColumnWanted *wanted)
{
	ListCell   *cell;

	foreach(cell, find_all_inheritors(wanted->relid, NoLock, NULL))
	{
		AttrNumber	attnum = get_attnum(lfirst_oid(cell), wanted->vector);

		if (get_rel_relkind(lfirst_oid(cell)) == RELKIND_RELATION && attnum > 0)
			embed_filler_want_column(lfirst_oid(cell), attnum);
	}
}

/* As the table's owner, because his casts run. */
void
embed_column_report(const EmbedColumnWanted *wanted)
{
	Relation	rel = relation_open(wanted->relid, AccessShareLock);
	EmbedCaller caller = embed_as_owner(rel);
	const char *table = pstrdup(RelationGetRelationName(rel));
	EmbedTriggerColumns columns;
	char	   *to_do;
	char	   *time;
	int64		n;

	embed_column_find(rel, wanted, &columns);
	to_do = embed_column_to_do(rel, &columns);
	relation_close(rel, NoLock);
	embed_column_type_report(&columns.vector, embed_column_table(wanted->relid));
	n = embed_column_number(psprintf("SELECT pg_catalog.count(*) FROM %s WHERE %s", embed_column_rows(wanted->relid), to_do));
	if (n == 0)
	{
		ereport(NOTICE,
				(errmsg("column \"%s\" of table \"%s\" is kept by model \"%s\", and no row is to do",
						wanted->vector, table, wanted->model.model)));
		embed_as_caller(&caller);
		return;
	}
	want_filler(wanted);
	time = embed_column_time(&columns, embed_column_rows(wanted->relid), to_do, n, wanted->model.model, wanted->schema);
	embed_as_caller(&caller);
	ereport(NOTICE,
			(errmsg_plural("column \"%s\" of table \"%s\" is kept by model \"%s\", and " INT64_FORMAT " row is to do: %s of computing",
						   "column \"%s\" of table \"%s\" is kept by model \"%s\", and " INT64_FORMAT " rows are to do: %s of computing",
						   n, wanted->vector, table, wanted->model.model, n, time),
			 errhint("%s", how_to_fill(wanted, &columns, to_do))));
}
