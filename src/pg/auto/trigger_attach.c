/*
 * trigger_attach.c
 *		A table with vectors becomes a partition of a table with a kept column.
 *
 * Its rows come without a statement that a trigger sees. Whether its vectors
 * are those of their texts, by the column's model, nothing shows, so a WARNING
 * says it. Its texts without a vector are to do.
 */
#include "pg/auto/trigger_depends.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "pg/auto/as_owner.h"
#include "pg/auto/kept_column.h"
#include "pg/kept/wake.h"

/* As the owner: predicates of the table's indexes are his code. */
static bool
has_vectors(Relation part, const char *vector)
{
	EmbedCaller caller = embed_as_owner(part);
	char	   *sql = psprintf("SELECT FROM %s AS t WHERE t.%s IS NOT NULL",
							   quote_qualified_identifier(get_namespace_name(RelationGetNamespace(part)), RelationGetRelationName(part)),
							   quote_identifier(vector));
	bool		found;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(sql, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\"", sql);
	found = SPI_processed > 0;
	SPI_finish();
	embed_as_caller(&caller);
	return found;
}

static void
attach_warning(Relation part, const EmbedKeptColumn *column)
{
	const char *vector = NameStr(column->columns.vector.name);
	char	   *table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(part)), RelationGetRelationName(part));

	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("table \"%s\" becomes a partition with vectors in column \"%s\"", RelationGetRelationName(part), vector),
			 column->names_model
			 ? errdetail("Nothing shows that they are those of their texts by model \"%s\".", column->model.name)
			 : errdetail("Nothing shows that they are those of their texts."),
			 errhint("SELECT * FROM embed_check(%s, %s) tells. UPDATE %s SET %s = NULL computes them anew.",
					 quote_literal_cstr(table), quote_literal_cstr(vector), table, quote_identifier(vector))));
}

void
embed_trigger_attached(Oid parent, Oid partition)
{
	Relation	rel = try_relation_open(parent, AccessShareLock);
	Relation	part = rel != NULL ? try_relation_open(partition, AccessShareLock) : NULL;
	ListCell   *cell;

	if (part != NULL && part->rd_rel->relkind != RELKIND_FOREIGN_TABLE)
	{
		foreach(cell, embed_kept_columns(rel, 0))
		{
			embed_filler_want();
			if (has_vectors(part, NameStr(((EmbedKeptColumn *) lfirst(cell))->columns.vector.name)))
				attach_warning(part, lfirst(cell));
		}
	}
	if (part != NULL)
		relation_close(part, NoLock);
	if (rel != NULL)
		relation_close(rel, NoLock);
}
