/*
 * chunk_writer.c
 *		Keeps the chunks of a row in the chunk table of its table.
 *
 * The table's foreign key tells which columns are the key: it follows renames,
 * and partitions have a copy with their own column numbers. Reads and writes
 * are SQL, so that triggers (embed_trigger among them), indexes and foreign
 * keys of the chunk table work as for anybody's statement.
 */
#include "pg/kept/chunk_writer.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "pg/kept/chunk_match.h"

/* Rows of an INSERT: embed_trigger of the chunk table reads ahead in them. */
#define INSERT_ROWS		1000
#define INSERT_BYTES	(8 * 1024 * 1024)

/* The statements, prepared at first use. */
typedef enum Statement
{
	CUT,						/* sources -> chunks */
	READ,						/* key -> chunks */
	REMOVE,						/* key, ordinalities */
	CLEAR,						/* key */
	MOVE,						/* key, ordinality, new ordinality, start, end */
	PUT,						/* key, arrays of ordinality, start, end, chunk */
	N_STATEMENTS
} Statement;

struct EmbedChunkWriter
{
	MemoryContext cxt;
	MemoryContextCallback callback;
	Oid			owner;			/* of the chunk table */
	char	   *chunks;			/* its qualified name in SQL */
	char	   *cutter;			/* embed_chunks, qualified */
	char	   *table;			/* name, for messages */
	char	   *chunk_table;
	const char *arguments[EMBED_CHUNK_ARGUMENTS];
	int			n_keys;
	AttrNumber	keys[INDEX_MAX_KEYS];	/* of the table */
	Oid			key_types[INDEX_MAX_KEYS];
	char	   *key_names[INDEX_MAX_KEYS];	/* of the table, quoted */
	char	   *chunk_key_names[INDEX_MAX_KEYS];	/* of the chunk table, quoted */
	char	   *key_operators[INDEX_MAX_KEYS];	/* key = key of the chunk table */
	int			n_sources;
	AttrNumber *sources;
	Oid		   *source_types;
	char	  **source_names;
	SPIPlanPtr	plans[N_STATEMENTS];
};

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
	List	   *names;
	List	   *quoted = NIL;
	ListCell   *cell;

	if (!SplitIdentifierString(pstrdup(source), ',', &names) || names == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("%s: \"%s\" is not a list of columns", who, embed_shown(source)),
				 errhint("Name columns as SQL writes them, for example 'title, \"Full text\"'.")));
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
	List	   *names = embed_chunk_sources(rel, writer->arguments[EMBED_CHUNK_SOURCE], who);
	List	   *plain;
	ListCell   *cell;

	(void) SplitIdentifierString(pstrdup(writer->arguments[EMBED_CHUNK_SOURCE]), ',', &plain);
	writer->sources = palloc(list_length(names) * sizeof(AttrNumber));
	writer->source_types = palloc(list_length(names) * sizeof(Oid));
	writer->source_names = palloc(list_length(names) * sizeof(char *));
	foreach(cell, plain)
	{
		int			i = writer->n_sources++;

		writer->sources[i] = find_source(rel, lfirst(cell), who);
		writer->source_types[i] = TupleDescAttr(RelationGetDescr(rel), writer->sources[i] - 1)->atttypid;
		writer->source_names[i] = list_nth(names, i);
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

	for (int i = 0; i < N_STATEMENTS; i++)
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

bool
embed_chunk_writer_is_same(const EmbedChunkWriter *writer, HeapTuple a, HeapTuple b, TupleDesc desc)
{
	for (int i = 0; i < writer->n_sources; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, writer->sources[i] - 1);
		bool		a_isnull,
					b_isnull;
		Datum		x = heap_getattr(a, writer->sources[i], desc, &a_isnull);
		Datum		y = heap_getattr(b, writer->sources[i], desc, &b_isnull);

		if (a_isnull != b_isnull ||
			(!a_isnull && !datum_image_eq(x, y, att->attbyval, att->attlen)))
			return false;
	}
	return true;
}

/* -------------------------------------------------------------------- owner */

EmbedOwnerContext
embed_chunk_writer_enter(const EmbedChunkWriter *writer)
{
	EmbedOwnerContext before;

	GetUserIdAndSecContext(&before.user, &before.context);
	before.nest = NewGUCNestLevel();
	SetUserIdAndSecContext(writer->owner, before.context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return before;
}

/* After an error the end of the (sub)transaction does the same. */
void
embed_chunk_writer_leave(const EmbedOwnerContext *before)
{
	AtEOXact_GUC(false, before->nest);
	SetUserIdAndSecContext(before->user, before->context);
}

/* ---------------------------------------------------------------- statements */

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
statement_sql(const EmbedChunkWriter *writer, Statement which, Oid *types, int *n_types)
{
	StringInfoData sql;
	int			n = writer->n_keys;

	initStringInfo(&sql);
	memcpy(types, writer->key_types, n * sizeof(Oid));
	switch (which)
	{
		case CUT:
			append_cut(&sql, writer);
			memcpy(types, writer->source_types, writer->n_sources * sizeof(Oid));
			n = writer->n_sources;
			break;
		case READ:
			appendStringInfo(&sql, "SELECT ordinality, start_char, end_char, chunk FROM %s", writer->chunks);
			append_key_condition(&sql, writer);
			appendStringInfoString(&sql, " ORDER BY ordinality");
			break;
		case REMOVE:
			appendStringInfo(&sql, "DELETE FROM %s", writer->chunks);
			append_key_condition(&sql, writer);
			appendStringInfo(&sql, " AND ordinality OPERATOR(pg_catalog.=) ANY ($%d)", n + 1);
			types[n++] = INT4ARRAYOID;
			break;
		case CLEAR:
			appendStringInfo(&sql, "DELETE FROM %s", writer->chunks);
			append_key_condition(&sql, writer);
			break;
		case MOVE:
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

static void
run(EmbedChunkWriter *writer, Statement which, Datum *values, const char *nulls, int expected)
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

/* ------------------------------------------------------------------ a row */

/* The row in work, in memory of the SPI procedure. */
typedef struct Row
{
	EmbedChunkWriter *writer;
	Datum		keys[INDEX_MAX_KEYS + 4];	/* and room for parameters */
	Datum	   *sources;
	char	   *source_nulls;
	bool		has_text;
} Row;

static EmbedPiece *
read_pieces(int64 *n)
{
	SPITupleTable *table = SPI_tuptable;
	EmbedPiece *pieces;

	*n = (int64) SPI_processed;
	pieces = MemoryContextAllocHuge(CurrentMemoryContext, Max(*n, 1) * sizeof(EmbedPiece));
	for (int64 i = 0; i < *n; i++)
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		pieces[i].ordinality = DatumGetInt32(SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull));
		pieces[i].start_char = DatumGetInt32(SPI_getbinval(table->vals[i], table->tupdesc, 2, &isnull));
		pieces[i].end_char = DatumGetInt32(SPI_getbinval(table->vals[i], table->tupdesc, 3, &isnull));
		embed_piece_set_chunk(&pieces[i], DatumGetTextPP(SPI_getbinval(table->vals[i], table->tupdesc, 4, &isnull)));
	}
	return pieces;
}

pg_noreturn static void
changed_error(const EmbedChunkWriter *writer)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not move a chunk in table \"%s\"", writer->chunk_table),
			 errdetail("Another transaction deleted the chunk, or a trigger of the table skipped it."),
			 errhint("Rows of \"%s\" are written by the trigger of table \"%s\" only.", writer->chunk_table, writer->table)));
}

static void
move_row(int32 from, const EmbedPiece *to, void *arg)
{
	Row		   *row = arg;
	int			n = row->writer->n_keys;

	row->keys[n] = Int32GetDatum(from);
	row->keys[n + 1] = Int32GetDatum(to != NULL ? to->ordinality : -from);
	row->keys[n + 2] = Int32GetDatum(to != NULL ? to->start_char : 0);
	row->keys[n + 3] = Int32GetDatum(to != NULL ? to->end_char : 0);
	run(row->writer, MOVE, row->keys, NULL, SPI_OK_UPDATE);
	if (SPI_processed != 1)
		changed_error(row->writer);
}

static Datum
int_array(const Datum *values, int n)
{
	return PointerGetDatum(construct_array((Datum *) values, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

static void
remove_unmatched(Row *row, const EmbedPiece *old, int64 n_old)
{
	Datum	   *ordinalities = MemoryContextAllocHuge(CurrentMemoryContext, Max(n_old, 1) * sizeof(Datum));
	int			n = 0;

	for (int64 i = 0; i < n_old; i++)
	{
		if (old[i].match < 0)
			ordinalities[n++] = Int32GetDatum(old[i].ordinality);
	}
	if (n > 0)
	{
		row->keys[row->writer->n_keys] = int_array(ordinalities, n);
		run(row->writer, REMOVE, row->keys, NULL, SPI_OK_DELETE);
	}
	pfree(ordinalities);
}

/* Inserts the next unmatched pieces from *next on. */
static void
insert_some(Row *row, const EmbedPiece *new, int64 n_new, int64 *next)
{
	Datum		columns[4][INSERT_ROWS];
	int			n_keys = row->writer->n_keys;
	Size		bytes = 0;
	int			n = 0;

	for (; *next < n_new && n < INSERT_ROWS && bytes < INSERT_BYTES; (*next)++)
	{
		const EmbedPiece *piece = &new[*next];

		if (piece->match >= 0)
			continue;
		columns[0][n] = Int32GetDatum(piece->ordinality);
		columns[1][n] = Int32GetDatum(piece->start_char);
		columns[2][n] = Int32GetDatum(piece->end_char);
		columns[3][n] = PointerGetDatum(piece->chunk);
		bytes += VARSIZE_ANY(piece->chunk);
		n++;
	}
	if (n == 0)
		return;
	for (int i = 0; i < 3; i++)
		row->keys[n_keys + i] = int_array(columns[i], n);
	row->keys[n_keys + 3] = PointerGetDatum(construct_array(columns[3], n, TEXTOID, -1, false, TYPALIGN_INT));
	run(row->writer, PUT, row->keys, NULL, SPI_OK_INSERT);
	for (int i = 0; i < 4; i++)
		pfree(DatumGetPointer(row->keys[n_keys + i]));
}

static int64
replace(Row *row, bool is_new)
{
	EmbedPiece *new = NULL;
	EmbedPiece *old = NULL;
	int64		n_new = 0,
				n_old = 0;

	if (row->has_text)
	{
		run(row->writer, CUT, row->sources, row->source_nulls, SPI_OK_SELECT);
		new = read_pieces(&n_new);
	}
	if (!is_new)
	{
		run(row->writer, READ, row->keys, NULL, SPI_OK_SELECT);
		old = read_pieces(&n_old);
	}
	if (n_old > 0)
	{
		embed_chunk_match(old, n_old, new, n_new);
		remove_unmatched(row, old, n_old);
		embed_chunk_moves(old, n_old, new, move_row, row);
	}
	for (int64 next = 0; next < n_new;)
		insert_some(row, new, n_new, &next);
	return n_new;
}

/* keys, sources: column numbers in tuple. */
static Row
read_row(EmbedChunkWriter *writer, HeapTuple tuple, TupleDesc desc, const AttrNumber *keys, const AttrNumber *sources)
{
	Row			row = {.writer = writer};
	bool		isnull;

	for (int i = 0; i < writer->n_keys; i++)
		row.keys[i] = heap_getattr(tuple, keys[i], desc, &isnull);
	row.sources = palloc(writer->n_sources * sizeof(Datum));
	row.source_nulls = palloc0(writer->n_sources + 1);
	for (int i = 0; i < writer->n_sources; i++)
	{
		row.sources[i] = heap_getattr(tuple, sources[i], desc, &isnull);
		row.source_nulls[i] = isnull ? 'n' : ' ';
		row.has_text |= !isnull;
	}
	return row;
}

int64
embed_chunk_writer_put(EmbedChunkWriter *writer, HeapTuple tuple, TupleDesc desc, bool is_new)
{
	Row			row = read_row(writer, tuple, desc, writer->keys, writer->sources);

	return replace(&row, is_new);
}

int64
embed_chunk_writer_put_values(EmbedChunkWriter *writer, HeapTuple tuple, TupleDesc desc)
{
	AttrNumber *numbers = palloc((writer->n_keys + writer->n_sources) * sizeof(AttrNumber));
	Row			row;

	for (int i = 0; i < writer->n_keys + writer->n_sources; i++)
		numbers[i] = i + 1;
	row = read_row(writer, tuple, desc, numbers, numbers + writer->n_keys);
	return replace(&row, false);
}

void
embed_chunk_writer_delete(EmbedChunkWriter *writer, HeapTuple tuple, TupleDesc desc)
{
	Row			row = read_row(writer, tuple, desc, writer->keys, writer->sources);

	run(writer, CLEAR, row.keys, NULL, SPI_OK_DELETE);
}
