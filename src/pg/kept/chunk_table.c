/*
 * chunk_table.c
 *		embed_chunk_table: makes the chunk table of a table, or changes how its
 *		rows are cut.
 *
 * The state is the chunk table and the trigger of the table, nothing else:
 * arguments of the trigger say how rows are cut, and by which model's
 * tokenizer. All DDL is the caller's, so that the server checks the caller's
 * rights; the chunk table then belongs to the table's owner.
 *
 * The vectors of the chunks are a kept column as embed_column makes it. The
 * call cuts the rows that are there, which is quick, and leaves their vectors
 * to do, as embed_column does: the table's writers wait for it.
 */
#include "pg/kept/chunk_writer.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "pg/auto/trigger_depends.h"
#include "pg/kept/column_make.h"
#include "pg/kept/column_sql.h"
#include "pg/kept/column_table.h"

EMBED_FUNCTION(embed_chunk_table);

#define TRIGGER_NAME	"zz_embed_chunks"
#define READ_ROWS		100

/* Columns of every chunk table besides the key. */
static const char *const own_columns[] = {"ordinality", "start_char", "end_char", "chunk", "embedding"};

typedef struct Making
{
	Oid			table;
	Oid			owner;
	char		persistence;
	bool		is_partitioned;
	bool		has_policies;
	char	   *schema;
	char	   *name;
	char	   *qualified;		/* of the table, in SQL */
	char	   *extension;		/* its schema */
	Oid			function;		/* embed_chunk_trigger */
	const char *arguments[EMBED_CHUNK_ARGUMENTS];
	EmbedColumnWanted vectors;	/* of the chunk table */
	StringInfoData columns;		/* of the key: definitions */
	StringInfoData key;			/* names */

	/* the trigger that the table has */
	char	   *trigger;		/* NULL: none */
	bool		is_same;		/* it has these arguments */
	Oid			chunks;			/* the chunk table */
	char	   *chunk_name;
	char	   *chunk_qualified;
} Making;

static void
execute(int expected, const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result != expected)
		elog(ERROR, "unexpected result of \"%s\": %s", sql, SPI_result_code_string(result));
}

/* -------------------------------------------------------------- arguments */

static void
tell_policies(const Making *making)
{
	if (making->has_policies)
		ereport(NOTICE,
				(errmsg("table \"%s\" has row-level security, its chunk table has none", making->name),
				 errhint("Add policies to the chunk table before you grant SELECT on it.")));
}

static void
check_key_column(const Making *making, const char *name)
{
	for (int i = 0; i < (int) lengthof(own_columns); i++)
	{
		if (strcmp(name, own_columns[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("embed_chunk_table: column \"%s\" of the primary key of table \"%s\" has the name of a column of chunk tables", name, making->name),
					 errhint("Rename the column.")));
	}
}

/* The primary key's columns, as the chunk table defines them. */
static void
read_key(Making *making, Relation rel)
{
	Relation	index;

	list_free(RelationGetIndexList(rel));
	if (!OidIsValid(rel->rd_pkindex))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("embed_chunk_table: table \"%s\" has no primary key", making->name),
				 errdetail("Chunks refer to their row by its key."),
				 errhint("ALTER TABLE %s ADD PRIMARY KEY (...).", making->qualified)));
	index = index_open(rel->rd_pkindex, AccessShareLock);
	if (index->rd_index->indnkeyatts >= INDEX_MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("embed_chunk_table: the primary key of table \"%s\" has %d columns", making->name, index->rd_index->indnkeyatts),
				 errhint("The key of a chunk table has one column more, and keys have at most %d.", INDEX_MAX_KEYS)));
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), index->rd_index->indkey.values[i] - 1);
		const char *name = quote_identifier(NameStr(att->attname));

		check_key_column(making, NameStr(att->attname));
		appendStringInfo(&making->columns, "%s %s", name,
						 format_type_extended(att->atttypid, att->atttypmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
		if (OidIsValid(att->attcollation) && att->attcollation != get_typcollation(att->atttypid))
			appendStringInfo(&making->columns, " COLLATE %s", generate_collation_name(att->attcollation));
		appendStringInfoString(&making->columns, " NOT NULL, ");
		appendStringInfo(&making->key, "%s%s", i == 0 ? "" : ", ", name);
	}
	index_close(index, AccessShareLock);
}

static char *
join_names(List *names)
{
	StringInfoData joined;
	ListCell   *cell;

	initStringInfo(&joined);
	foreach(cell, names)
		appendStringInfo(&joined, "%s%s", joined.len == 0 ? "" : ", ", (char *) lfirst(cell));
	return joined.data;
}

/* ----------------------------------------------------------------- what is there */

/* Of a copy: any lookup in the catalogs may replace what the relation has. */
static const Trigger *
find_trigger(Making *making, Relation rel)
{
	TriggerDesc *all = CopyTriggerDesc(rel->trigdesc);

	making->trigger = NULL;
	making->chunks = InvalidOid;
	for (int i = 0; all != NULL && i < all->numtriggers; i++)
	{
		const Trigger *trigger = &all->triggers[i];

		if (trigger->tgfoid != making->function || !OidIsValid(trigger->tgconstrrelid))
			continue;
		making->trigger = pstrdup(trigger->tgname);
		making->chunks = trigger->tgconstrrelid;
		return trigger;
	}
	return NULL;
}

/* How the vectors are made: as given, else as they are. The model's tokenizer cuts. */
static void
choose_vectors(Making *making, const Trigger *trigger, const char *model, const char *mode)
{
	Relation	chunks = OidIsValid(making->chunks) ? table_open(making->chunks, AccessShareLock) : NULL;
	EmbedPinnedName pinned;

	making->vectors.vector = "embedding";
	making->vectors.source = "chunk";
	making->vectors.schema = making->extension;
	making->vectors.may_retype = true;
	if (model == NULL && trigger != NULL && trigger->tgnargs == EMBED_CHUNK_ARGUMENTS)
		model = embed_pinned_parse(trigger->tgargs[EMBED_CHUNK_MODEL], &pinned) ? embed_column_model_now(&pinned) :
			trigger->tgargs[EMBED_CHUNK_MODEL];
	embed_column_choose(&making->vectors, chunks, model, mode);
	making->arguments[EMBED_CHUNK_MODEL] = embed_column_model_argument(&making->vectors);
	if (chunks != NULL)
		table_close(chunks, AccessShareLock);
}

static bool
has_arguments(const Trigger *trigger, const char *const *arguments)
{
	if (trigger == NULL || trigger->tgnargs != EMBED_CHUNK_ARGUMENTS)
		return false;
	for (int i = 0; i < EMBED_CHUNK_ARGUMENTS; i++)
	{
		if (strcmp(trigger->tgargs[i], arguments[i]) != 0)
			return false;
	}
	return true;
}

static void
name_chunks(Making *making)
{
	char	   *schema = making->schema;

	if (OidIsValid(making->chunks))
	{
		making->chunk_name = get_rel_name(making->chunks);
		schema = get_namespace_name(get_rel_namespace(making->chunks));
	}
	else
		making->chunk_name = makeObjectName(making->name, NULL, "chunks");
	making->chunk_qualified = quote_qualified_identifier(schema, making->chunk_name);
}

/* Under the lock: before, another session may make the chunk table between two looks, at the triggers and at the name. */
static void
check_name_is_free(const Making *making)
{
	if (OidIsValid(making->chunks) || !OidIsValid(get_relname_relid(making->chunk_name, get_namespace_oid(making->schema, false))))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_TABLE),
			 errmsg("embed_chunk_table: relation %s already exists, and is not the chunk table of table \"%s\"", making->chunk_qualified, making->name),
			 errhint("Rename it, or drop it.")));
}

/* Of a partition whose partitioned table has chunks. */
static void
check_not_inherited(const Making *making)
{
	execute(SPI_OK_SELECT, psprintf("SELECT FROM pg_catalog.pg_trigger WHERE tgrelid OPERATOR(pg_catalog.=) %u AND tgfoid OPERATOR(pg_catalog.=) %u"
									" AND tgparentid OPERATOR(pg_catalog.<>) 0", making->table, making->function));
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("embed_chunk_table: the chunks of table \"%s\" are those of its partitioned table", making->name),
				 errhint("Call embed_chunk_table for the partitioned table.")));
}

/* ------------------------------------------------------------------------ DDL */

static void
create_table(const Making *making)
{
	const char *kind = making->persistence == RELPERSISTENCE_TEMP ? "TEMPORARY " :
		making->persistence == RELPERSISTENCE_UNLOGGED ? "UNLOGGED " : "";

	execute(SPI_OK_UTILITY,
			psprintf("CREATE %sTABLE %s (%sordinality pg_catalog.int4 NOT NULL, start_char pg_catalog.int4 NOT NULL,"
					 " end_char pg_catalog.int4 NOT NULL, chunk pg_catalog.text NOT NULL,"
					 " PRIMARY KEY (%s, ordinality), FOREIGN KEY (%s) REFERENCES %s (%s) ON UPDATE CASCADE ON DELETE CASCADE)",
					 kind, making->chunk_qualified, making->columns.data, making->key.data, making->key.data,
					 making->qualified, making->key.data));
	if (making->owner != GetUserId())
		execute(SPI_OK_UTILITY, psprintf("ALTER TABLE %s OWNER TO %s", making->chunk_qualified,
										 quote_identifier(GetUserNameFromId(making->owner, false))));
}

static void
create_trigger(const Making *making)
{
	if (making->trigger != NULL)
		execute(SPI_OK_UTILITY, psprintf("DROP TRIGGER %s ON %s", quote_identifier(making->trigger), making->qualified));
	execute(SPI_OK_UTILITY,
			psprintf("CREATE CONSTRAINT TRIGGER %s AFTER INSERT OR UPDATE%s ON %s FROM %s NOT DEFERRABLE FOR EACH ROW"
					 " EXECUTE FUNCTION %s(%s, %s, %s, %s)",
					 making->trigger != NULL ? quote_identifier(making->trigger) : TRIGGER_NAME,
					 making->is_partitioned ? " OR DELETE" : "", making->qualified, making->chunk_qualified,
					 quote_qualified_identifier(making->extension, "embed_chunk_trigger"),
					 quote_literal_cstr(making->arguments[EMBED_CHUNK_SOURCE]),
					 quote_literal_cstr(making->arguments[EMBED_CHUNK_MAX_TOKENS]),
					 quote_literal_cstr(making->arguments[EMBED_CHUNK_OVERLAP]),
					 quote_literal_cstr(making->arguments[EMBED_CHUNK_MODEL])));
}

/* ---------------------------------------------------------------------- rows */

static EmbedChunkWriter *
open_writer(const Making *making)
{
	Relation	rel = table_open(making->table, NoLock);
	TriggerDesc *all = CopyTriggerDesc(rel->trigdesc);
	EmbedChunkWriter *writer = NULL;

	for (int i = 0; all != NULL && writer == NULL && i < all->numtriggers; i++)
	{
		const Trigger *trigger = &all->triggers[i];

		if (trigger->tgfoid == making->function)
			writer = embed_chunk_writer(rel, trigger, CurrentMemoryContext);
	}
	if (writer == NULL)
		elog(ERROR, "table \"%s\" has no trigger for its chunks", making->name);
	table_close(rel, NoLock);
	return writer;
}

static int64
cut_rows(EmbedChunkWriter *writer, SPITupleTable *rows, uint64 n_rows)
{
	int64		n_chunks = 0;

	for (uint64 i = 0; i < n_rows; i++)
	{
		CHECK_FOR_INTERRUPTS();
		/* its memory is a row's */
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		n_chunks += embed_chunk_writer_put_values(writer, rows->vals[i], rows->tupdesc);
		SPI_finish();
	}
	return n_chunks;
}

/* Cuts the rows that are there: all, or those without chunks. Whether there are any. */
static bool
cut_table(const Making *making, bool only_missing)
{
	EmbedChunkWriter *writer = open_writer(making);
	EmbedCaller caller = embed_chunk_writer_enter(writer);
	const char *sql = psprintf("SELECT %s FROM %s t%s%s", embed_chunk_writer_columns(writer), making->qualified,
							   only_missing ? " WHERE " : "", only_missing ? embed_chunk_writer_missing(writer) : "");
	SPIPlanPtr	plan = SPI_prepare(sql, 0, NULL);
	Portal		cursor;
	uint64		n_rows = 0;
	int64		n_chunks = 0;

	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	embed_set_for_now("embed.defer", "on");
	cursor = SPI_cursor_open(NULL, plan, NULL, NULL, false);
	for (;;)
	{
		SPITupleTable *rows;
		uint64		n;

		SPI_cursor_fetch(cursor, true, READ_ROWS);
		rows = SPI_tuptable;
		n = SPI_processed;
		if (n == 0)
			break;
		n_chunks += cut_rows(writer, rows, n);
		n_rows += n;
		SPI_freetuptable(rows);
	}
	SPI_cursor_close(cursor);
	embed_as_caller(&caller);
	/* a row without a text has no chunks */
	if (n_rows == 0 || (only_missing && n_chunks == 0))
		return false;
	ereport(NOTICE,
			(errmsg("table \"%s\": rows of table \"%s\" cut: " UINT64_FORMAT ", chunks: " INT64_FORMAT,
					making->chunk_name, making->name, n_rows, n_chunks)));
	return true;
}

/* ------------------------------------------------------------------ embed_chunk_table */

static char *
text_argument(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argno));
}

static void
describe_table(Making *making, Relation rel)
{
	making->table = RelationGetRelid(rel);
	making->owner = rel->rd_rel->relowner;
	making->persistence = rel->rd_rel->relpersistence;
	making->is_partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	making->has_policies = rel->rd_rel->relrowsecurity;
	making->schema = get_namespace_name(RelationGetNamespace(rel));
	making->name = pstrdup(RelationGetRelationName(rel));
	making->qualified = quote_qualified_identifier(making->schema, making->name);
}

/* What is wanted and what is there. */
static void
look(Making *making, Relation rel, FunctionCallInfo fcinfo)
{
	const Trigger *trigger;

	describe_table(making, rel);
	making->extension = get_namespace_name(get_func_namespace(fcinfo->flinfo->fn_oid));
	making->function = LookupFuncName(list_make2(makeString(making->extension), makeString("embed_chunk_trigger")), 0, NULL, false);
	making->arguments[EMBED_CHUNK_SOURCE] = join_names(embed_chunk_sources(rel, embed_column_source(rel, text_argument(fcinfo, 1)), "embed_chunk_table"));
	making->arguments[EMBED_CHUNK_MAX_TOKENS] = psprintf("%d", PG_GETARG_INT32(2));
	making->arguments[EMBED_CHUNK_OVERLAP] = psprintf("%d", PG_GETARG_INT32(3));
	initStringInfo(&making->columns);
	initStringInfo(&making->key);
	read_key(making, rel);
	trigger = find_trigger(making, rel);
	choose_vectors(making, trigger, text_argument(fcinfo, 4), text_argument(fcinfo, 5));
	making->is_same = has_arguments(trigger, making->arguments);
	name_chunks(making);
}

static LOCKMODE
lock_to_change(const Making *making)
{
	return making->trigger != NULL && !making->is_same ? AccessExclusiveLock : ShareRowExclusiveLock;
}

/*
 * Opened twice: who may not change the table does not wait with a lock that its
 * writers wait for. The second lock is all that the call needs: DROP TRIGGER
 * would wait for who reads the table, and who reads it may wait for us to write.
 */
static void
open_table(Making *making, FunctionCallInfo fcinfo)
{
	Relation	rel = embed_column_open(PG_GETARG_OID(0), AccessShareLock, "embed_chunk_table");
	LOCKMODE	lock;

	look(making, rel, fcinfo);
	lock = lock_to_change(making);
	table_close(rel, AccessShareLock);
	rel = embed_column_open(PG_GETARG_OID(0), lock, "embed_chunk_table");
	look(making, rel, fcinfo);
	/* another session has made a trigger since, and may wait for a partition */
	if (lock_to_change(making) > lock)
	{
		embed_column_close(rel, lock);
		rel = embed_column_open(PG_GETARG_OID(0), AccessExclusiveLock, "embed_chunk_table");
		look(making, rel, fcinfo);
	}
	check_name_is_free(making);
	/* DDL wants no other reference in this session */
	table_close(rel, NoLock);
}

/* Raises what embed_chunks says about numbers and model. */
static void
check_chunking(const Making *making)
{
	execute(SPI_OK_SELECT, psprintf("SELECT FROM %s('', %s, %s, %s)", quote_qualified_identifier(making->extension, "embed_chunks"),
									making->arguments[EMBED_CHUNK_MAX_TOKENS], making->arguments[EMBED_CHUNK_OVERLAP],
									quote_literal_cstr(making->arguments[EMBED_CHUNK_MODEL])));
}

/* Makes or changes table, column and triggers. False: all of it is so already. */
static bool
make_table(Making *making)
{
	bool		is_new = making->trigger == NULL;
	bool		changes;

	if (is_new)
	{
		create_table(making);
		making->chunks = get_relname_relid(making->chunk_name, get_namespace_oid(making->schema, false));
	}
	making->vectors.relid = making->chunks;
	changes = embed_column_make(&making->vectors);
	if (!making->is_same)
		create_trigger(making);
	/* where event triggers do not fire */
	embed_trigger_record_columns(get_trigger_oid(making->table, making->trigger != NULL ? making->trigger : TRIGGER_NAME, false));
	return changes || !making->is_same;
}

/*
 * embed_chunk_table(tab regclass, source text, max_tokens int, overlap int,
 *		model text DEFAULT NULL, mode text DEFAULT NULL) returns regclass
 */
Datum
embed_chunk_table(PG_FUNCTION_ARGS)
{
	Making		making = {0};
	bool		changes;

	for (int i = 0; i < 4; i++)
	{
		if (PG_ARGISNULL(i))
			PG_RETURN_NULL();
	}
	embed_column_check_may_write("embed_chunk_table()");
	embed_column_check_isolation("embed_chunk_table cannot cut the rows of a table");
	open_table(&making, fcinfo);
	tell_policies(&making);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	check_not_inherited(&making);
	check_chunking(&making);
	changes = make_table(&making);
	changes |= cut_table(&making, making.is_same);
	if (changes)
		embed_column_report(&making.vectors);
	else
		ereport(NOTICE,
				(errmsg("chunk table \"%s\" of table \"%s\" is kept so already, nothing changes", making.chunk_name, making.name)));
	SPI_finish();
	PG_RETURN_OID(making.chunks);
}
