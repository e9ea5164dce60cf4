/*
 * column_table.c
 *		Which tables can have a kept column, and who may make one.
 */
#include "pg/kept/column_table.h"

#include "access/relation.h"
#include "catalog/catalog.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

pg_noreturn static void
kind_error(const char *name, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s\" is no table that can have a kept column", name),
			 errhint("%s", hint)));
}

/* A foreign partition has its rows, and so its triggers, elsewhere. */
static void
check_partitions(Relation rel)
{
	List	   *relids = find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL);
	ListCell   *cell;

	foreach(cell, relids)
	{
		if (get_rel_relkind(lfirst_oid(cell)) == RELKIND_FOREIGN_TABLE)
			kind_error(get_rel_name(lfirst_oid(cell)),
					   "Call embed_column for it on the server that has its rows, and for the other partitions one by one.");
	}
}

static void
check_table(Relation rel)
{
	const char *name = RelationGetRelationName(rel);
	char		kind = rel->rd_rel->relkind;

	if (IsSystemRelation(rel))
		kind_error(name, "Tables of the system catalogs are left alone.");
	if (!embed_owns_table(RelationGetRelid(rel)))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(kind), name);
	if (kind == RELKIND_FOREIGN_TABLE)
		kind_error(name, "Call embed_column on the server that has its rows.");
	if (kind == RELKIND_VIEW || kind == RELKIND_MATVIEW)
		kind_error(name, "Call embed_column for the table below it.");
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		kind_error(name, "Name an ordinary or a partitioned table.");
	if (RELATION_IS_OTHER_TEMP(rel))
		kind_error(name, "It is a temporary table of another session.");
	if (kind == RELKIND_PARTITIONED_TABLE)
		check_partitions(rel);
}

Relation
embed_column_open(Oid relid, LOCKMODE lock)
{
	Relation	rel = try_relation_open(relid, lock);

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	check_table(rel);
	return rel;
}
