/*
 * reimport.c
 *		embed_reimport: an image of another layout is made again under its name.
 *		What manage.c does for it besides an import.
 */
#include "pg/sql/reimport.h"

#include "access/relation.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "pg/auto/kept_column.h"
#include "pg/auto/trigger.h"
#include "pg/store/image_rows.h"
#include "pg/store/pinned_name.h"
#include "pg/store/registry.h"
#include "pg/store/storage.h"
#include "pg/store/sweep.h"
#include "pg/store/tables.h"

/* Vectors of each kept column that are computed again. */
#define SAMPLE	50

pg_noreturn static void
refuse(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s", message),
			 errhint("%s", hint)));
}

void
embed_replaced_find(EmbedReplaced *replaced, const char *name)
{
	char		head[EMB_IMAGE_HEAD_BYTES];
	EmbedModelRow row;
	int32_t		layout;
	int32_t		numerics;
	int32_t		our_layout;
	int32_t		our_numerics;

	if (!embed_storage_find_model(name, NULL, &row) || row.dropped)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" does not exist", embed_shown(name)),
				 errhint("Import it with SELECT embed_import(...).")));
	if (!embed_storage_image_head(row.fingerprint, head) || !emb_model_versions_of(head, &layout, &numerics))
		refuse(psprintf("the stored image of model \"%s\" is lost or damaged", name),
			   "SELECT * FROM embed_verify('name') reports what is wrong. Restore schema _embed from a backup, or import the model under another name.");
	emb_model_versions(&our_layout, &our_numerics);
	if (layout == our_layout && numerics == our_numerics)
		refuse(psprintf("the image of model \"%s\" has the layout of this version already", name),
			   "Nothing has to be done. Import other content under another name.");
	if (numerics != our_numerics)
		refuse(psprintf("the image of model \"%s\" has numerics version %d, and this version computes other bits (%d)", name, numerics, our_numerics),
			   "Import the model under another name. For each kept column: CALL embed_refill, then SELECT embed_switch.");
	replaced->name = name;
	memcpy(replaced->fingerprint, row.fingerprint, EMB_HASH_SIZE);
}

void
embed_replaced_lock(const EmbedReplaced *replaced)
{
	embed_triggers_rebind(replaced->fingerprint, NULL);
}

void
embed_replaced_check(const EmbedReplaced *replaced, const EmbModelInfo *info)
{
	const char *property = embed_storage_other_property(replaced->fingerprint, info);
	EmbedModelRow row;

	if (!embed_storage_find_model(replaced->name, NULL, &row) || row.dropped || memcmp(row.fingerprint, replaced->fingerprint, EMB_HASH_SIZE) != 0)
		refuse(psprintf("model \"%s\" was changed by another session in the meantime", replaced->name), "Call embed_reimport again.");
	if (property != NULL)
		refuse(psprintf("this is another model than \"%s\": its %s differs", replaced->name, property),
			   "Name the directory and the options that the model was imported with; embed_models shows its properties. "
			   "Import another model under another name.");
}

void
embed_replaced_rename(const EmbedReplaced *replaced, const uint8 *fingerprint)
{
	int64		size_bytes;

	embed_storage_rename_image(replaced->fingerprint, fingerprint);
	embed_triggers_rebind(replaced->fingerprint, fingerprint);
	embed_sweep_row_changes(replaced->fingerprint, embed_storage_find_image(replaced->fingerprint, NULL, &size_bytes));
	embed_storage_delete_image(replaced->fingerprint);
	embed_registry_dropped(replaced->fingerprint);
	embed_storage_plans_changed();
	CommandCounterIncrement();
}

/* ------------------------------------------------------------- columns */

/* Whether the column's trigger names this model; an alias is recorded beside the model's digits. */
static bool
is_of_model(const EmbedReplaced *replaced, const EmbedKeptColumn *column)
{
	EmbedModelRow row;

	if (!column->names_model || !embed_storage_find_model(replaced->name, NULL, &row))
		return false;
	return strcmp(column->model.name, replaced->name) == 0 ||
		(column->model.digits[0] != '\0' && embed_digits_match(column->model.digits, row.fingerprint));
}

static void
compare_column(const EmbedReplaced *replaced, const char *table, const char *vector)
{
	bool		isnull;
	int64		n;

	SPI_connect();
	if (SPI_execute(psprintf("SELECT pg_catalog.sum(c.n)::pg_catalog.int8 FROM %s(%s::pg_catalog.regclass, %s, %d) AS c"
							 " WHERE c.verdict OPERATOR(pg_catalog.=) 'wrong' AND c.tid IS NULL",
							 quote_qualified_identifier(replaced->schema, "embed_check"), quote_literal_cstr(table), quote_literal_cstr(vector), SAMPLE),
					false, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not check column \"%s\" of table %s", vector, table);
	n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	if (isnull || n == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("column \"%s\" of table %s has other vectors than the directory's model gives: " INT64_FORMAT " of a sample of %d",
					vector, table, n, SAMPLE),
			 errhint("Name the directory and the options that model \"%s\" was imported with. Otherwise import the model under another name, "
					 "CALL embed_refill and SELECT embed_switch.", replaced->name)));
}

static void
compare_table(const EmbedReplaced *replaced, Oid table)
{
	Relation	rel = try_relation_open(table, AccessShareLock);
	const char *name;
	List	   *columns;
	ListCell   *cell;

	if (rel == NULL)
		return;
	name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel));
	columns = embed_kept_columns(rel, 0);
	relation_close(rel, NoLock);
	foreach(cell, columns)
	{
		const EmbedKeptColumn *column = lfirst(cell);

		if (!is_of_model(replaced, column))
			continue;
		if (pg_class_aclcheck(table, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
			compare_column(replaced, name, NameStr(column->columns.vector.name));
		else
			ereport(NOTICE,
					(errmsg("vectors of column \"%s\" of table %s were not compared", NameStr(column->columns.vector.name), name),
					 errdetail("SELECT on the table is not granted to this role."),
					 errhint("SELECT * FROM embed_check(...) compares them.")));
	}
}

void
embed_replaced_compare(const EmbedReplaced *replaced)
{
	ListCell   *cell;

	foreach(cell, embed_kept_tables())
	{
		CHECK_FOR_INTERRUPTS();
		compare_table(replaced, lfirst_oid(cell));
	}
}
