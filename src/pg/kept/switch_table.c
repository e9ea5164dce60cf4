/*
 * switch_table.c
 *		What a table must be like for embed_refill and embed_switch, and what
 *		stays with a column's number or goes with its name.
 */
#include "pg/kept/switch.h"

#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/kept/column_make.h"
#include "pg/kept/column_sql.h"
#include "pg/kept/fill.h"

#define NEXT	"__next"
#define PREV	"__prev"

/* Names of dependents in a message. */
#define SHOWN	10

/* ------------------------------------------------------------ names */

static bool
ends_in(const char *name, const char *end)
{
	return strlen(name) > strlen(end) && strcmp(name + strlen(name) - strlen(end), end) == 0;
}

static void
check_name(Relation rel, const char *vector)
{
	char	   *base = pstrdup(vector);

	if (strlen(vector) + strlen(NEXT) > NAMEDATALEN - 1)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("the name of column \"%s\" is too long: a column beside it needs %d bytes more", vector, (int) strlen(NEXT)),
				 errhint("ALTER TABLE ... RENAME COLUMN, then embed_column with the new name.")));
	if (get_attnum(RelationGetRelid(rel), vector) == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist", vector, RelationGetRelationName(rel))));
	if (!ends_in(vector, NEXT) && !ends_in(vector, PREV))
		return;
	base[strlen(vector) - strlen(NEXT)] = '\0';
	if (get_attnum(RelationGetRelid(rel), base) != InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" of table \"%s\" stands beside column \"%s\"", vector, RelationGetRelationName(rel), base),
				 errhint("Name column \"%s\".", base)));
}

char *
embed_next_column(Relation rel, const char *vector)
{
	check_name(rel, vector);
	return psprintf("%s%s", vector, NEXT);
}

char *
embed_prev_column(Relation rel, const char *vector)
{
	check_name(rel, vector);
	return psprintf("%s%s", vector, PREV);
}

/* ------------------------------------------------------------ the table */

void
embed_switch_check_table(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);

	if (rel->rd_rel->relispartition)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" is a partition, and has the columns of its partitioned table", RelationGetRelationName(rel)),
				 errhint("Name table \"%s\".", get_rel_name(llast_oid(get_partition_ancestors(relid))))));
	if (rel->rd_rel->relkind == RELKIND_RELATION &&
		(find_inheritance_children(relid, NoLock) != NIL || has_superclass(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" shares its columns with tables that inherit", RelationGetRelationName(rel)),
				 errdetail("A column would change its name in all of them, and its vectors are kept in one."),
				 errhint("ALTER TABLE ... NO INHERIT first, or add and fill a column of another name by embed_column.")));
}

List *
embed_switch_tables(Relation rel, LOCKMODE lock)
{
	return find_all_inheritors(RelationGetRelid(rel), lock, NULL);
}

/* ------------------------------------------------------------ the trigger */

/* Those of the column, as copies: a lookup in the catalogs may replace what the relation has. */
static List *
copy_triggers(Relation rel, const char *vector)
{
	TriggerDesc *all = CopyTriggerDesc(rel->trigdesc);
	List	   *list = NIL;

	for (int i = 0; all != NULL && i < all->numtriggers; i++)
	{
		Trigger    *trigger = &all->triggers[i];

		if (trigger->tgnargs > 0 && strcmp(trigger->tgargs[0], vector) == 0 && embed_is_trigger_function(trigger->tgfoid))
			list = lappend(list, trigger);
	}
	return list;
}

const Trigger *
embed_switch_trigger(Relation rel, const char *vector)
{
	List	   *triggers = copy_triggers(rel, vector);

	return triggers == NIL ? NULL : linitial(triggers);
}

EmbedKeptColumn *
embed_switch_kept(Relation rel, const char *vector)
{
	/* a defect of another column's trigger is none of ours */
	EmbedKeptColumn *kept = embed_kept_column(rel, vector, 0);
	/* afterwards: another session may have made the trigger in between */
	List	   *triggers = copy_triggers(rel, vector);

	if (kept == NULL && triggers != NIL)
		kept = embed_kept_column(rel, vector, ERROR);
	if (kept == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no embed_trigger keeps column \"%s\" of table \"%s\"", vector, RelationGetRelationName(rel)),
				 errhint("SELECT embed_column(...) keeps a column. A generated column has to become a plain one before.")));
	if (list_length(triggers) != 1 || !embed_column_sees_all(linitial(triggers)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("trigger \"%s\" does not keep all rows of column \"%s\", or is not the only one", NameStr(kept->trigger_name), vector),
				 errdetail("It must be enabled, and fire BEFORE INSERT OR UPDATE without a condition and a list of columns."),
				 errhint("SELECT embed_column(...) for column \"%s\" makes it so.", vector)));
	return kept;
}

int64
embed_switch_to_do(Relation rel, const EmbedKeptColumn *kept)
{
	return embed_column_number(psprintf("SELECT pg_catalog.count(*) FROM %s WHERE %s",
										embed_column_rows(RelationGetRelid(rel)), embed_column_to_do(rel, &kept->columns)));
}

/* ------------------------------------------------------------ what goes by number */

/*
 * Objects with a dependency on a column. Left out are the trigger that keeps it
 * (trigger_depends.h), its indexes, its default, which the trigger replaces in
 * every row, and that it is NOT NULL (18+).
 */
static const char dependents_query[] =
"SELECT DISTINCT CASE WHEN d.classid = 'pg_rewrite'::regclass"
" THEN (SELECT pg_describe_object('pg_class'::regclass, r.ev_class, 0) FROM pg_rewrite r WHERE r.oid = d.objid)"
" WHEN d.classid = 'pg_attrdef'::regclass"
" THEN (SELECT pg_describe_object('pg_class'::regclass, a.adrelid, a.adnum) FROM pg_attrdef a WHERE a.oid = d.objid)"
" ELSE pg_describe_object(d.classid, d.objid, d.objsubid) END"
" FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = %u AND d.refobjsubid = %d"
" AND NOT (d.classid = 'pg_trigger'::regclass AND d.deptype = 'a')"
" AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_class c WHERE c.oid = d.objid AND c.relkind IN ('i', 'I')))"
" AND NOT (d.classid = 'pg_attrdef'::regclass AND EXISTS (SELECT FROM pg_attrdef a WHERE a.oid = d.objid AND a.adrelid = d.refobjid AND a.adnum = d.refobjsubid))"
" AND NOT (d.classid = 'pg_constraint'::regclass AND EXISTS (SELECT FROM pg_constraint c WHERE c.oid = d.objid AND (c.contype = 'n' OR c.coninhcount > 0)))"
" ORDER BY 1";

/* Runs a query of the catalogs, whose operators are pg_catalog's, as the table's owner. */
static void
query_catalogs(Relation rel, const char *query)
{
	EmbedCaller caller = embed_fill_as_owner(rel);

	if (SPI_execute(query, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\"", query);
	embed_as_caller(&caller);
}

static char *
first_column(void)
{
	StringInfoData names;

	initStringInfo(&names);
	for (uint64 i = 0; i < SPI_processed && i < SHOWN; i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	if (SPI_processed > SHOWN)
		appendStringInfo(&names, ", and " UINT64_FORMAT " more", SPI_processed - SHOWN);
	return names.data;
}

static void
check_not_null(Relation rel, const char *from, const char *to)
{
	AttrNumber	a = get_attnum(RelationGetRelid(rel), from);
	AttrNumber	b = get_attnum(RelationGetRelid(rel), to);

	if (!TupleDescAttr(RelationGetDescr(rel), a - 1)->attnotnull || TupleDescAttr(RelationGetDescr(rel), b - 1)->attnotnull)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("column \"%s\" of table \"%s\" is NOT NULL, and column \"%s\" is not", from, RelationGetRelationName(rel), to),
			 errhint("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL", embed_column_table(RelationGetRelid(rel)), quote_identifier(to))));
}

void
embed_switch_check_dependents(Relation rel, const char *from, const char *to)
{
	ListCell   *cell;

	check_not_null(rel, from, to);
	foreach(cell, embed_switch_tables(rel, NoLock))
	{
		Oid			relid = lfirst_oid(cell);

		query_catalogs(rel, psprintf(dependents_query, relid, get_attnum(relid, from)));
		if (SPI_processed == 0)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("other objects depend on column \"%s\" of table \"%s\"", from, get_rel_name(relid)),
				 errdetail("They would go on with the vectors of the old model: %s.", first_column()),
				 errhint("In one transaction: DROP them, SELECT embed_switch(...), and create them again.")));
	}
}

/* ------------------------------------------------------------ what goes by name */

/* Commands that give one column the rights and the comment of another; what it has already is left out. */
static const char rights_query[] =
"SELECT pg_catalog.format('GRANT %%s (%%I) ON %%s TO %%s%%s', a.privilege_type, %s, %s,"
" CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END,"
" CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)"
" FROM pg_attribute f CROSS JOIN pg_attribute t CROSS JOIN pg_catalog.aclexplode(f.attacl) a"
" WHERE f.attrelid = %u AND f.attname = %s AND t.attrelid = f.attrelid AND t.attname = %s"
" AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(t.attacl) h WHERE h.grantee = a.grantee"
" AND h.privilege_type = a.privilege_type AND (h.is_grantable OR NOT a.is_grantable))"
" UNION ALL SELECT pg_catalog.format('COMMENT ON COLUMN %%s.%%I IS %%L', %s, %s, pg_catalog.col_description(f.attrelid, f.attnum))"
" FROM pg_attribute f JOIN pg_attribute t ON t.attrelid = f.attrelid WHERE f.attrelid = %u AND f.attname = %s AND t.attname = %s"
" AND pg_catalog.col_description(f.attrelid, f.attnum) IS NOT NULL AND pg_catalog.col_description(t.attrelid, t.attnum) IS NULL";

void
embed_switch_copy_rights(Relation rel, const char *from, const char *to)
{
	ListCell   *cell;
	char	   *f = quote_literal_cstr(from);
	char	   *t = quote_literal_cstr(to);

	foreach(cell, embed_switch_tables(rel, NoLock))
	{
		Oid			relid = lfirst_oid(cell);
		char	   *table = quote_literal_cstr(embed_column_table(relid));
		SPITupleTable *rows;
		uint64		n;

		query_catalogs(rel, psprintf(rights_query, t, table, relid, f, t, table, t, relid, f, t));
		rows = SPI_tuptable;
		n = SPI_processed;
		for (uint64 i = 0; i < n; i++)
			embed_column_run(SPI_getvalue(rows->vals[i], rows->tupdesc, 1), SPI_OK_UTILITY);
	}
}

/* ------------------------------------------------------------ subscribers */

void
embed_switch_warn_of_subscribers(Relation rel, const char *vector, const char *model)
{
	StringInfoData oids;
	ListCell   *cell;

	initStringInfo(&oids);
	foreach(cell, embed_switch_tables(rel, NoLock))
		appendStringInfo(&oids, "%s%u", oids.len > 0 ? ", " : "", lfirst_oid(cell));
	query_catalogs(rel, psprintf("SELECT DISTINCT p.pubname FROM pg_publication_tables p JOIN pg_class c ON c.relname = p.tablename"
								 " JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = p.schemaname"
								 " WHERE c.oid IN (%s) ORDER BY 1", oids.data));
	if (SPI_processed > 0)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("table \"%s\" is published: %s", RelationGetRelationName(rel), first_column()),
				 errdetail("Subscribers know columns by their names. Rows that are written from now on bring vectors of model \"%s\" into their column \"%s\".",
						   model, vector),
				 errhint("Let subscribers catch up while nobody writes to the table, and rename their columns in the same way before you COMMIT.")));
}
