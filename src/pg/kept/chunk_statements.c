/*
 * chunk_statements.c
 *		The statements that a writer of chunks runs, as SQL and as plans.
 */
#include "pg/kept/chunk_statements.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

static void
append_key_condition(StringInfo sql, const EmbedChunkWriter *writer)
{
	appendStringInfoString(sql, " WHERE ");
	for (int i = 0; i < writer->n_keys; i++)
		appendStringInfo(sql, "%s$%d %s %s", i == 0 ? "" : " AND ", i + 1, writer->key_operators[i], writer->chunk_key_names[i]);
}

static void
append_cut(StringInfo sql, const EmbedChunkWriter *writer)
{
	appendStringInfo(sql, "SELECT ordinality, start_char, end_char, chunk FROM %s(", writer->cutter);
	if (writer->n_sources == 1)
		appendStringInfoString(sql, "$1::pg_catalog.text");
	else
	{
		appendStringInfoString(sql, "pg_catalog.array_to_string(ARRAY[");
		for (int i = 0; i < writer->n_sources; i++)
			appendStringInfo(sql, "%s$%d::pg_catalog.text", i == 0 ? "" : ", ", i + 1);
		appendStringInfoString(sql, "], E'\\n\\n')");
	}
	appendStringInfo(sql, ", %s::pg_catalog.int4, %s::pg_catalog.int4, %s)",
					 quote_literal_cstr(writer->arguments[EMBED_CHUNK_MAX_TOKENS]),
					 quote_literal_cstr(writer->arguments[EMBED_CHUNK_OVERLAP]),
					 quote_literal_cstr(writer->arguments[EMBED_CHUNK_MODEL]));
}

static void
append_put(StringInfo sql, const EmbedChunkWriter *writer)
{
	int			n = writer->n_keys;

	appendStringInfo(sql, "INSERT INTO %s (", writer->chunks);
	for (int i = 0; i < n; i++)
		appendStringInfo(sql, "%s, ", writer->chunk_key_names[i]);
	appendStringInfoString(sql, "ordinality, start_char, end_char, chunk) SELECT ");
	for (int i = 0; i < n; i++)
		appendStringInfo(sql, "$%d, ", i + 1);
	appendStringInfo(sql, "u.* FROM ROWS FROM (pg_catalog.unnest($%d), pg_catalog.unnest($%d), pg_catalog.unnest($%d), pg_catalog.unnest($%d)) u",
					 n + 1, n + 2, n + 3, n + 4);
}

/* The statement's text; *types: of its parameters. */
static char *
statement_sql(const EmbedChunkWriter *writer, EmbedChunkStatement which, Oid *types, int *n_types)
{
	StringInfoData sql;
	int			n = writer->n_keys;

	initStringInfo(&sql);
	memcpy(types, writer->key_types, n * sizeof(Oid));
	switch (which)
	{
		case EMBED_CHUNKS_CUT:
			append_cut(&sql, writer);
			memcpy(types, writer->source_types, writer->n_sources * sizeof(Oid));
			n = writer->n_sources;
			break;
		case EMBED_CHUNKS_READ:
			appendStringInfo(&sql, "SELECT ordinality, start_char, end_char, chunk FROM %s", writer->chunks);
			append_key_condition(&sql, writer);
			appendStringInfoString(&sql, " ORDER BY ordinality");
			break;
		case EMBED_CHUNKS_REMOVE:
			appendStringInfo(&sql, "DELETE FROM %s", writer->chunks);
			append_key_condition(&sql, writer);
			appendStringInfo(&sql, " AND ordinality OPERATOR(pg_catalog.=) ANY ($%d)", n + 1);
			types[n++] = INT4ARRAYOID;
			break;
		case EMBED_CHUNKS_CLEAR:
			appendStringInfo(&sql, "DELETE FROM %s", writer->chunks);
			append_key_condition(&sql, writer);
			break;
		case EMBED_CHUNKS_MOVE:
			appendStringInfo(&sql, "UPDATE %s SET ordinality = $%d, start_char = $%d, end_char = $%d", writer->chunks, n + 2, n + 3, n + 4);
			append_key_condition(&sql, writer);
			appendStringInfo(&sql, " AND ordinality OPERATOR(pg_catalog.=) $%d", n + 1);
			for (int i = 0; i < 4; i++)
				types[n++] = INT4OID;
			break;
		default:
			append_put(&sql, writer);
			for (int i = 0; i < 3; i++)
				types[n++] = INT4ARRAYOID;
			types[n++] = TEXTARRAYOID;
	}
	*n_types = n;
	return sql.data;
}

void
embed_chunk_run(EmbedChunkWriter *writer, EmbedChunkStatement which, Datum *values, const char *nulls, int expected)
{
	int			result;

	if (writer->plans[which] == NULL)
	{
		Oid		   *types = palloc(sizeof(Oid) * (Max(writer->n_keys, writer->n_sources) + 4));
		int			n_types;
		char	   *sql = statement_sql(writer, which, types, &n_types);
		SPIPlanPtr	plan = SPI_prepare(sql, n_types, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
		writer->plans[which] = plan;
	}
	result = SPI_execute_plan(writer->plans[which], values, nulls, false, 0);
	if (result != expected)
		elog(ERROR, "unexpected result of a statement on a chunk table: %s", SPI_result_code_string(result));
}
