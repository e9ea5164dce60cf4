/*
 * trigger_made.c
 *		The event trigger that checks a new embed_trigger at its creation.
 *
 * CREATE TRIGGER reports everything that the first row would report:
 * arguments, columns, types, the model. It adds the fingerprint of the model
 * to an alias (trigger.h), and warns if another trigger fires later and may
 * change the text. A missing model is a warning, because models may come after
 * tables. A session that loads a dump gets warnings instead of all errors.
 *
 * It also keeps the record of a kept column's columns (trigger_depends.h):
 * after CREATE TRIGGER, and around ALTER TABLE.
 */
#include "pg/auto/trigger.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "pg/auto/as_owner.h"
#include "pg/auto/trigger_depends.h"
#include "pg/call/callsite.h"
#include "pg/kept/wake.h"
#include "pg/store/restore.h"
#include "pg/store/storage.h"

EMBED_FUNCTION(embed_trigger_made);

/* State that all steps share. */
typedef struct Making
{
	FunctionCallInfo fcinfo;
	bool		is_rename;		/* ALTER TRIGGER: only the order may have changed */
	bool		in_restore;
} Making;

/* ------------------------------------------------------------------ order */

/* Built-in functions (tsvector_update_trigger, ..) change no text. */
static bool
may_change_text(const Trigger *trigger)
{
	return TRIGGER_FOR_ROW(trigger->tgtype) && TRIGGER_FOR_BEFORE(trigger->tgtype) &&
		(TRIGGER_FOR_INSERT(trigger->tgtype) || TRIGGER_FOR_UPDATE(trigger->tgtype)) &&
		trigger->tgfoid >= FirstNormalObjectId;
}

/* A name that sorts after the last trigger of the table. */
static const char *
last_name(Relation rel, const Trigger *ours)
{
	const char *last = rel->trigdesc->triggers[rel->trigdesc->numtriggers - 1].tgname;
	const char *name = psprintf("zz_%s", ours->tgname);

	return strcmp(name, last) > 0 ? name : psprintf("%s_embed", last);
}

static void
order_warning(Relation rel, const Trigger *ours, const Trigger *later)
{
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("trigger \"%s\" of table \"%s\" fires after trigger \"%s\"",
					later->tgname, RelationGetRelationName(rel), ours->tgname),
			 errdetail("Triggers fire in the order of their names. What \"%s\" changes in the text is not in the vector.",
					   later->tgname),
			 errhint("Rename \"%s\" to \"%s\": embed_trigger should fire last.", ours->tgname, last_name(rel, ours))));
}

static bool
has_trigger(Relation rel, const char *name)
{
	for (int i = 0; rel != NULL && rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		if (strcmp(rel->trigdesc->triggers[i].tgname, name) == 0)
			return true;
	}
	return false;
}

/*
 * Warns of wrongly ordered pairs with trigger i, except pairs that parent also
 * has; true if there was one. all: the relation's triggers in firing order, a
 * copy, because any lookup in the catalogs may replace what the relation has.
 */
static bool
check_order(Relation rel, const TriggerDesc *all, int i, Relation parent)
{
	bool		warned = false;

	for (int j = 0; j < all->numtriggers; j++)
	{
		const Trigger *first = &all->triggers[Min(i, j)];
		const Trigger *later = &all->triggers[Max(i, j)];

		if (i == j || !may_change_text(later) || !embed_is_trigger_function(first->tgfoid) ||
			embed_is_trigger_function(later->tgfoid) || has_trigger(parent, all->triggers[j].tgname))
			continue;
		order_warning(rel, first, later);
		warned = true;
	}
	return warned;
}

/*
 * The partitions' copies next to the partitions' own triggers: warns of the
 * first partition with a wrong pair.
 */
static void
check_order_in_partitions(Relation parent, const char *name)
{
	List	   *relids = find_all_inheritors(RelationGetRelid(parent), NoLock, NULL);
	ListCell   *cell;
	bool		warned = false;

	foreach(cell, relids)
	{
		Relation	part = relation_open(lfirst_oid(cell), AccessShareLock);
		TriggerDesc *all = CopyTriggerDesc(part->trigdesc);

		for (int i = 0; all != NULL && i < all->numtriggers; i++)
		{
			if (strcmp(all->triggers[i].tgname, name) == 0)
				warned |= check_order(part, all, i, parent);
		}
		relation_close(part, AccessShareLock);
		if (warned)
			break;
	}
}

/* ------------------------------------------------------------------ model */

/* A trigger's row of pg_trigger, by OID; valid until systable_endscan. */
static HeapTuple
find_trigger(Relation catalog, Oid oid, SysScanDesc *scan)
{
	ScanKeyData key;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	*scan = systable_beginscan(catalog, TriggerOidIndexId, true, NULL, 1, &key);
	return systable_getnext(*scan);
}

static bool
is_same_call(const Trigger *a, const Trigger *b)
{
	if (a->tgfoid != b->tgfoid || a->tgnargs != b->tgnargs || strcmp(a->tgname, b->tgname) != 0)
		return false;
	for (int i = 0; i < a->tgnargs; i++)
	{
		if (strcmp(a->tgargs[i], b->tgargs[i]) != 0)
			return false;
	}
	return true;
}

/* Updates the table, and the partitions with copies of the trigger. */
static void
record_model(Relation rel, const Trigger *trigger, const EmbedTriggerModel *model, const uint8 *fingerprint)
{
	char	   *recorded = embed_trigger_recorded(model->name, fingerprint);
	List	   *relids = list_make1_oid(RelationGetRelid(rel));
	ListCell   *cell;

	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		relids = find_all_inheritors(RelationGetRelid(rel), NoLock, NULL);
	foreach(cell, relids)
	{
		Relation	part = relation_open(lfirst_oid(cell), AccessShareLock);

		for (int i = 0; part->trigdesc != NULL && i < part->trigdesc->numtriggers; i++)
		{
			if (is_same_call(&part->trigdesc->triggers[i], trigger))
				embed_trigger_set_argument(part->trigdesc->triggers[i].tgoid, trigger, 2, recorded);
		}
		relation_close(part, AccessShareLock);
	}
	CommandCounterIncrement();
}

/* The fingerprint of an alias, or NULL if the name is not an alias. */
static uint8 *
find_alias(const char *name, EmbedModelRow *row)
{
	char	   *target;

	if (embed_storage_find_model(name, NULL, row))
		return NULL;
	target = embed_storage_find_alias(name, NULL);
	return target != NULL && embed_storage_find_model(target, NULL, row) ? row->fingerprint : NULL;
}

/* Models may come later: after tables in a script, with a dump, or on a subscriber. */
static void
missing_warning(Relation rel, const Trigger *trigger, const EmbedTriggerModel *model)
{
	ereport(WARNING,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("trigger \"%s\": model \"%s\" does not exist yet", trigger->tgname, model->name),
			 errhint("Import the model before rows are written to table \"%s\". If the name is an alias, set the alias first and then create the trigger.",
					 RelationGetRelationName(rel))));
}

static void
check_model(const Making *making, Relation rel, const Trigger *trigger)
{
	EmbedTriggerModel model = embed_trigger_model(trigger);
	EmbedModelRow row;
	uint8	   *fingerprint;
	bool		is_model;

	/* a dump's record stays unchanged: its model and the alias may come later or never */
	if (making->in_restore && model.digits[0] != '\0')
		return;
	fingerprint = find_alias(model.name, &row);
	is_model = fingerprint == NULL && embed_storage_find_model(model.name, NULL, &row) && !row.dropped;
	if (fingerprint == NULL && !is_model && (making->in_restore || emb_name_is_valid(model.name, strlen(model.name))))
	{
		missing_warning(rel, trigger, &model);
		return;
	}
	if (!making->in_restore)
	{
		const EmbedModelRef *ref = embed_site_resolve_name(embed_site(making->fcinfo), model.name, EMBED_NAME_ALIAS_TOO);

		if (model.digits[0] != '\0')
		{
			embed_trigger_check_model(rel, trigger, &model, ref);
			return;
		}
		memcpy(row.fingerprint, ref->fingerprint, EMB_HASH_SIZE);
	}
	if (!is_model)
		record_model(rel, trigger, &model, row.fingerprint);
}

/* ------------------------------------------------------------------ command */

static void
check_definition(const Making *making, Relation rel, const Trigger *trigger)
{
	int			elevel = making->in_restore ? WARNING : ERROR;
	EmbedTriggerColumns columns;
	EmbedCaller caller;
	bool		found;

	if (!embed_trigger_check_events(trigger, elevel) || !embed_trigger_check_arguments(trigger, elevel))
		return;
	caller = embed_as_owner(rel);
	found = embed_trigger_find_columns(rel, trigger, CurrentMemoryContext, elevel, &columns);
	embed_as_caller(&caller);
	if (!found)
		return;
	/* rows that were to do when they were dumped */
	if (embed_loads_dump())
		embed_filler_want();
	if (trigger->tgnargs > 2)
		check_model(making, rel, trigger);
	else if (!making->in_restore)
		ereport(NOTICE,
				(errmsg("trigger \"%s\" names no model: each statement uses the model set in embed.model or the current default",
						trigger->tgname),
				 errhint("Name a model as the third argument to keep column \"%s\" to one model.", trigger->tgargs[0])));
}

static void
check_trigger(const Making *making, Oid relid, Oid oid)
{
	/* the command holds a stronger lock */
	Relation	rel = relation_open(relid, AccessShareLock);
	TriggerDesc *all = CopyTriggerDesc(rel->trigdesc);

	for (int i = 0; all != NULL && i < all->numtriggers; i++)
	{
		if (all->triggers[i].tgoid != oid)
			continue;
		if (!making->in_restore)
		{
			(void) check_order(rel, all, i, NULL);
			if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
				check_order_in_partitions(rel, all->triggers[i].tgname);
		}
		if (!making->is_rename && embed_is_trigger_function(all->triggers[i].tgfoid))
			check_definition(making, rel, &all->triggers[i]);
		break;
	}
	relation_close(rel, AccessShareLock);
	if (!making->is_rename)
		embed_trigger_record_columns(oid);
}

/*
 * Whether the command cannot concern us: a trigger on a table without triggers
 * of ours and without partitions. The check is cheap because it uses the
 * name in the command. If the name now means another table, the trigger is
 * checked at its first row.
 */
static bool
is_of_others(const Node *command)
{
	const CreateTrigStmt *made = (const CreateTrigStmt *) command;
	Oid			relid = IsA(command, CreateTrigStmt) ? RangeVarGetRelid(made->relation, AccessShareLock, true) : InvalidOid;
	bool		found = false;
	Relation	rel;

	if (!OidIsValid(relid))
		return false;
	rel = relation_open(relid, NoLock);
	found = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	for (int i = 0; !found && rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Oid			function = rel->trigdesc->triggers[i].tgfoid;

		found = embed_is_trigger_function(function) || embed_is_chunk_function(function);
	}
	relation_close(rel, NoLock);
	return !found;
}

/* OIDs of the triggers that the command created or changed. */
static List *
triggers_of_command(void)
{
	static const char query[] =
		"SELECT objid FROM pg_catalog.pg_event_trigger_ddl_commands()"
		" WHERE classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_trigger'::pg_catalog.regclass";
	MemoryContext cxt = CurrentMemoryContext;
	List	   *oids = NIL;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(query, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the commands of an event trigger");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		oid = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		MemoryContext old = MemoryContextSwitchTo(cxt);

		if (!isnull)
			oids = lappend_oid(oids, DatumGetObjectId(oid));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return oids;
}

static Oid
table_of_trigger(Oid oid)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	SysScanDesc scan;
	HeapTuple	tuple = find_trigger(catalog, oid, &scan);
	Oid			relid = HeapTupleIsValid(tuple) ? ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid : InvalidOid;

	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return relid;
}

/* ALTER TABLE, before (is_start) and after it. */
static void
alter_table(const Node *command, bool is_start)
{
	const RenameStmt *rename = (const RenameStmt *) command;

	if (IsA(command, AlterTableStmt))
	{
		if (is_start)
			embed_trigger_before_alter((const AlterTableStmt *) command);
		else
			embed_trigger_after_alter((const AlterTableStmt *) command);
	}
	else if (!is_start && IsA(command, RenameStmt) && rename->renameType == OBJECT_COLUMN && rename->relationType == OBJECT_TABLE)
	{
		Oid			relid = RangeVarGetRelid(rename->relation, AccessShareLock, true);

		if (OidIsValid(relid))
			embed_trigger_follow_rename(relid, rename->subname, rename->newname);
	}
}

/*
 * _embed.trigger_made() returns event_trigger: ON ddl_command_end, for CREATE
 * TRIGGER and other commands that create or rename triggers; before and after
 * ALTER TABLE
 */
Datum
embed_trigger_made(PG_FUNCTION_ARGS)
{
	EventTriggerData *event = (EventTriggerData *) fcinfo->context;
	Making		making = {.fcinfo = fcinfo};
	ListCell   *cell;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("embed_trigger_made: must be called as an event trigger")));
	if (!IsA(event->parsetree, CreateTrigStmt) && !IsA(event->parsetree, CreateSchemaStmt) &&
		!(IsA(event->parsetree, RenameStmt) && ((RenameStmt *) event->parsetree)->renameType == OBJECT_TRIGGER))
	{
		alter_table(event->parsetree, strcmp(event->event, "ddl_command_start") == 0);
		PG_RETURN_NULL();
	}
	if (is_of_others(event->parsetree))
		PG_RETURN_NULL();
	making.is_rename = IsA(event->parsetree, RenameStmt);
	making.in_restore = embed_loads_dump() || embed_in_upgrade();
	foreach(cell, triggers_of_command())
	{
		Oid			relid = table_of_trigger(lfirst_oid(cell));

		if (OidIsValid(relid))
			check_trigger(&making, relid, lfirst_oid(cell));
	}
	PG_RETURN_NULL();
}
