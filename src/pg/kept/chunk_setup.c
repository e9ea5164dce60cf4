/*
 * chunk_setup.c
 *		Sets up a writer of chunks: the sources of its table, the key, and who
 *		writes.
 *
 * The chunk table's foreign key tells which columns are the key: it follows
 * renames, and partitions have a copy with their own column numbers.
 */
#include "pg/kept/chunk_statements.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "pg/auto/trigger.h"

/* ---------------------------------------------------------------- sources */

static bool
is_text(Oid type)
{
	Oid			function;

	return find_coercion_pathway(TEXTOID, getBaseType(type), COERCION_IMPLICIT, &function) != COERCION_PATH_NONE ||
		getBaseType(type) == TEXTOID;
}

static AttrNumber
find_source(Relation rel, const char *name, const char *who)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), name);
	Form_pg_attribute att;

	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("%s: table \"%s\" has no column \"%s\"", who, RelationGetRelationName(rel), name),
				 errhint("Name columns as SQL writes them, for example 'title, \"Full text\"'. If the column was renamed or dropped, call embed_chunk_table with the columns that there are.")));
	att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	if (!is_text(att->atttypid))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s: column \"%s\" is of type %s, not a text type", who, name, format_type_be(att->atttypid))));
	if (att->attgenerated != '\0' && att->attgenerated != 's')
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s: column \"%s\" is a virtual generated column", who, name),
				 errhint("Generate the column STORED.")));
	return attnum;
}

List *
embed_chunk_sources(Relation rel, const char *source, const char *who)
{
	List	   *names = embed_source_names(rel, source, who, ERROR);
	List	   *quoted = NIL;
	ListCell   *cell;

	foreach(cell, names)
	{
		(void) find_source(rel, lfirst(cell), who);
		quoted = lappend(quoted, pstrdup(quote_identifier(lfirst(cell))));
	}
	return quoted;
}

static void
find_sources(EmbedChunkWriter *writer, Relation rel, const Trigger *trigger)
{
	char	   *who = psprintf("trigger \"%s\"", trigger->tgname);
	List	   *names = embed_source_names(rel, writer->arguments[EMBED_CHUNK_SOURCE], who, ERROR);
	ListCell   *cell;

	writer->sources = palloc(list_length(names) * sizeof(AttrNumber));
	writer->source_types = palloc(list_length(names) * sizeof(Oid));
	writer->source_names = palloc(list_length(names) * sizeof(char *));
	foreach(cell, names)
	{
		int			i = writer->n_sources++;

		writer->sources[i] = find_source(rel, lfirst(cell), who);
		writer->source_types[i] = TupleDescAttr(RelationGetDescr(rel), writer->sources[i] - 1)->atttypid;
		writer->source_names[i] = pstrdup(quote_identifier(lfirst(cell)));
	}
}

/* -------------------------------------------------------------------- set up */

static char *
qualified_operator(Oid oid)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(oid));
	Form_pg_operator form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", oid);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)), NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return name;
}

static char *
column_name(Relation rel, AttrNumber attnum)
{
	return pstrdup(quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attname)));
}

static void
find_key(EmbedChunkWriter *writer, Relation rel, Relation chunks, const Trigger *trigger)
{
	List	   *all = RelationGetFKeyList(chunks);
	ListCell   *cell;

	foreach(cell, all)
	{
		ForeignKeyCacheInfo *key = lfirst(cell);

		if (key->confrelid != RelationGetRelid(rel))
			continue;
		writer->n_keys = key->nkeys;
		for (int i = 0; i < key->nkeys; i++)
		{
			writer->keys[i] = key->confkey[i];
			writer->key_types[i] = TupleDescAttr(RelationGetDescr(rel), key->confkey[i] - 1)->atttypid;
			writer->key_names[i] = column_name(rel, key->confkey[i]);
			writer->chunk_key_names[i] = column_name(chunks, key->conkey[i]);
			writer->key_operators[i] = qualified_operator(key->conpfeqop[i]);
		}
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("trigger \"%s\": table \"%s\" has no foreign key that references table \"%s\"", trigger->tgname,
					RelationGetRelationName(chunks), RelationGetRelationName(rel)),
			 errhint("Add the foreign key again, or drop table \"%s\" (the trigger goes with it) and call embed_chunk_table.",
					 RelationGetRelationName(chunks))));
}

/*
 * Who may create triggers on a table must not thereby write the table as its
 * owner.
 */
static void
check_owner(Relation rel, Relation chunks, const Trigger *trigger)
{
	if (has_privs_of_role(rel->rd_rel->relowner, chunks->rd_rel->relowner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("trigger \"%s\": tables \"%s\" and \"%s\" belong to different roles", trigger->tgname,
					RelationGetRelationName(rel), RelationGetRelationName(chunks)),
			 errhint("ALTER TABLE %s OWNER TO %s.", quote_identifier(RelationGetRelationName(chunks)),
					 quote_identifier(GetUserNameFromId(rel->rd_rel->relowner, false)))));
}

static void
free_plans(void *arg)
{
	EmbedChunkWriter *writer = arg;

	for (int i = 0; i < EMBED_CHUNKS_STATEMENTS; i++)
	{
		if (writer->plans[i] != NULL)
			SPI_freeplan(writer->plans[i]);
	}
}

static void
check_arguments(const Trigger *trigger)
{
	if (trigger->tgnargs == EMBED_CHUNK_ARGUMENTS && OidIsValid(trigger->tgconstrrelid))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("trigger \"%s\": embed_chunk_trigger needs a chunk table and four arguments", trigger->tgname),
			 errhint("Let embed_chunk_table create the trigger: CREATE CONSTRAINT TRIGGER ... FROM chunk_table ... EXECUTE FUNCTION embed_chunk_trigger('columns', 'max_tokens', 'overlap', 'model').")));
}

EmbedChunkWriter *
embed_chunk_writer(Relation rel, const Trigger *trigger, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	EmbedChunkWriter *writer = palloc0(sizeof(EmbedChunkWriter));
	Relation	chunks;

	check_arguments(trigger);
	for (int i = 0; i < EMBED_CHUNK_ARGUMENTS; i++)
		writer->arguments[i] = pstrdup(trigger->tgargs[i]);
	/* it goes only with its trigger, whose table is locked */
	chunks = table_open(trigger->tgconstrrelid, RowExclusiveLock);
	check_owner(rel, chunks, trigger);
	writer->cxt = cxt;
	writer->owner = chunks->rd_rel->relowner;
	writer->table = pstrdup(RelationGetRelationName(rel));
	writer->chunk_table = pstrdup(RelationGetRelationName(chunks));
	writer->chunks = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(chunks)), RelationGetRelationName(chunks));
	writer->cutter = quote_qualified_identifier(get_namespace_name(get_func_namespace(trigger->tgfoid)), "embed_chunks");
	find_sources(writer, rel, trigger);
	find_key(writer, rel, chunks, trigger);
	table_close(chunks, NoLock);
	writer->callback.func = free_plans;
	writer->callback.arg = writer;
	MemoryContextRegisterResetCallback(cxt, &writer->callback);
	MemoryContextSwitchTo(old);
	return writer;
}

const char *
embed_chunk_writer_columns(const EmbedChunkWriter *writer)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < writer->n_keys; i++)
		appendStringInfo(&sql, "%st.%s", i == 0 ? "" : ", ", writer->key_names[i]);
	for (int i = 0; i < writer->n_sources; i++)
		appendStringInfo(&sql, ", t.%s", writer->source_names[i]);
	return sql.data;
}

const char *
embed_chunk_writer_missing(const EmbedChunkWriter *writer)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "NOT EXISTS (SELECT FROM %s c WHERE ", writer->chunks);
	for (int i = 0; i < writer->n_keys; i++)
		appendStringInfo(&sql, "%st.%s %s c.%s", i == 0 ? "" : " AND ", writer->key_names[i], writer->key_operators[i],
						 writer->chunk_key_names[i]);
	appendStringInfoChar(&sql, ')');
	return sql.data;
}
