/*
 * trigger_arguments.c
 *		Changes an argument of triggers that there are, which no command does.
 *
 * A name that embed_drop(forget => true, force => true) frees may get other
 * content. A trigger that was made by hand has the name alone: it would go on
 * with the new model beside vectors of the old one. So the trigger gets the
 * fingerprint of the content that goes, in the same transaction.
 */
#include "pg/auto/trigger.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"

void
embed_trigger_set_argument(Oid oid, const Trigger *trigger, int i, const char *value)
{
	Relation	catalog = table_open(TriggerRelationId, RowExclusiveLock);
	Datum		values[Natts_pg_trigger] = {0};
	bool		nulls[Natts_pg_trigger] = {false};
	bool		replaces[Natts_pg_trigger] = {false};
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	HeapTuple	changed;
	StringInfoData arguments;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	scan = systable_beginscan(catalog, TriggerOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "could not find tuple for trigger %u", oid);
	initStringInfo(&arguments);
	/* each argument is followed by '\0' */
	for (int n = 0; n < trigger->tgnargs; n++)
	{
		const char *argument = n == i ? value : trigger->tgargs[n];

		appendBinaryStringInfo(&arguments, argument, (int) strlen(argument) + 1);
	}
	values[Anum_pg_trigger_tgargs - 1] = PointerGetDatum(cstring_to_text_with_len(arguments.data, arguments.len));
	replaces[Anum_pg_trigger_tgargs - 1] = true;
	changed = heap_modify_tuple(tuple, RelationGetDescr(catalog), values, nulls, replaces);
	CatalogTupleUpdate(catalog, &tuple->t_self, changed);
	CacheInvalidateRelcacheByRelid(((Form_pg_trigger) GETSTRUCT(changed))->tgrelid);
	systable_endscan(scan);
	table_close(catalog, RowExclusiveLock);
}

char *
embed_trigger_recorded(const char *name, const uint8 *fingerprint)
{
	char		digits[EMBED_RECORDED_DIGITS + 1];

	embed_trigger_digits(fingerprint, EMBED_RECORDED_DIGITS, digits);
	return psprintf("%s@%s", name, digits);
}

static bool
is_named(const Trigger *trigger, const char *model)
{
	return embed_is_trigger_function(trigger->tgfoid) && trigger->tgnargs > 2 && strcmp(trigger->tgargs[2], model) == 0;
}

/* A copy of the table's triggers, locked, if one of them names the model alone; else NULL. */
static TriggerDesc *
triggers_that_name(Oid relid, const char *model, LOCKMODE lock)
{
	Relation	rel = try_relation_open(relid, lock);
	TriggerDesc *all = rel != NULL ? CopyTriggerDesc(rel->trigdesc) : NULL;
	bool		found = false;

	for (int i = 0; !found && all != NULL && i < all->numtriggers; i++)
		found = is_named(&all->triggers[i], model);
	if (rel != NULL)
		relation_close(rel, found && lock != AccessShareLock ? NoLock : lock);
	return found ? all : NULL;
}

static void
pin_table(Oid relid, const char *model, const uint8 *fingerprint)
{
	TriggerDesc *all;

	/* looked at first: tables without such a trigger are locked by nobody's drop of a model */
	if (triggers_that_name(relid, model, AccessShareLock) == NULL)
		return;
	all = triggers_that_name(relid, model, ShareRowExclusiveLock);
	for (int i = 0; all != NULL && i < all->numtriggers; i++)
	{
		if (is_named(&all->triggers[i], model))
			embed_trigger_set_argument(all->triggers[i].tgoid, &all->triggers[i], 2, embed_trigger_recorded(model, fingerprint));
	}
}

/* Tables that have a trigger of embed, of every kind: partitioned ones, too. */
static List *
tables_with_triggers(void)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	List	   *oids = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		if (embed_is_trigger_function(form->tgfoid))
			oids = list_append_unique_oid(oids, form->tgrelid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	list_sort(oids, list_oid_cmp);
	return oids;
}

void
embed_triggers_pin(const char *model, const uint8 *fingerprint)
{
	ListCell   *cell;

	foreach(cell, tables_with_triggers())
	{
		CHECK_FOR_INTERRUPTS();
		pin_table(lfirst_oid(cell), model, fingerprint);
	}
}
