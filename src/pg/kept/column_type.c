/*
 * column_type.c
 *		The type of a kept column.
 */
#include "pg/kept/column_type.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* The most dimensions of pgvector's vector, of its indexes on vector, and of those on halfvec. */
#define VECTOR_DIM_MAX	16000
#define INDEX_DIM_MAX	2000
#define HALF_INDEX_DIM_MAX	4000

char *
embed_column_type(int32 dim)
{
	static const char query[] =
		"SELECT pg_catalog.quote_ident(n.nspname) OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) pg_catalog.quote_ident(t.typname)"
		" FROM pg_catalog.pg_extension AS e"
		" JOIN pg_catalog.pg_depend AS d ON d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass"
		" AND d.refobjid OPERATOR(pg_catalog.=) e.oid AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass"
		" AND d.deptype OPERATOR(pg_catalog.=) 'e'"
		" JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) d.objid"
		" JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace"
		" WHERE e.extname OPERATOR(pg_catalog.=) 'vector' AND t.typname OPERATOR(pg_catalog.=) 'vector'";

	if (SPI_execute(query, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for the type of pgvector");
	if (SPI_processed == 0 || dim > VECTOR_DIM_MAX)
		return pstrdup("pg_catalog.float4[]");
	return psprintf("%s(%d)", SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1), dim);
}

void
embed_column_check_type(Relation rel, const EmbedTriggerColumn *vector)
{
	Oid			function;

	if (find_coercion_pathway(getBaseType(vector->type), FLOAT4ARRAYOID, COERCION_ASSIGNMENT, &function) != COERCION_PATH_COERCEVIAIO)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of table \"%s\" is of type %s, and cannot hold vectors",
					NameStr(vector->name), RelationGetRelationName(rel), format_type_be(vector->type)),
			 errhint("The second argument names all source columns, as in 'title, body'; the third names the column of the vectors.")));
}

/* Whether the base type bears this name. */
static bool
is_named(const EmbedTriggerColumn *vector, const char *name)
{
	const char *type = format_type_be(getBaseType(vector->type));
	const char *dot = strrchr(type, '.');

	return strcmp(dot != NULL ? dot + 1 : type, name) == 0;
}

int32
embed_column_type_dim(const EmbedTriggerColumn *vector)
{
	int32		typmod = vector->typmod;

	(void) getBaseTypeAndTypmod(vector->type, &typmod);
	return typmod > 0 && (is_named(vector, "vector") || is_named(vector, "halfvec")) ? typmod : 0;
}

bool
embed_column_type_has_other_dim(const EmbedTriggerColumn *vector, int32 dim)
{
	int32		its_dim = embed_column_type_dim(vector);

	return its_dim != 0 && its_dim != dim;
}

char *
embed_column_type_like(const EmbedTriggerColumn *vector, int32 dim)
{
	return psprintf("%s(%d)", format_type_extended(getBaseType(vector->type), -1, FORMAT_TYPE_FORCE_QUALIFY), dim);
}

void
embed_column_type_report(const EmbedTriggerColumn *vector, const char *table)
{
	int32		dim = embed_column_type_dim(vector);
	const char *name = quote_identifier(NameStr(vector->name));

	if (dim <= INDEX_DIM_MAX || !is_named(vector, "vector"))
		return;
	ereport(NOTICE,
			(errmsg("column %s of table %s has %d dimensions, and pgvector's indexes on vector take at most %d", name, table, dim, INDEX_DIM_MAX),
			 dim > HALF_INDEX_DIM_MAX ?
			 errhint("Keep fewer dimensions, by the import option \"dimensions\", where the model was trained for that.") :
			 errhint("CREATE INDEX ON %s USING hnsw ((%s::halfvec(%d)) halfvec_cosine_ops), and order by the same expression.", table, name, dim)));
}
