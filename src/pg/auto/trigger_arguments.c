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

/* The table's triggers, as a copy, once nobody changes them. */
static TriggerDesc *
locked_triggers(Oid relid)
{
	Relation	rel = try_relation_open(relid, ShareRowExclusiveLock);
	TriggerDesc *all = rel != NULL ? CopyTriggerDesc(rel->trigdesc) : NULL;

	if (rel != NULL)
		relation_close(rel, NoLock);
	return all;
}

static void
pin_table(Oid relid, const char *model, const uint8 *fingerprint)
{
	TriggerDesc *all = locked_triggers(relid);

	for (int i = 0; all != NULL && i < all->numtriggers; i++)
	{
		if (is_named(&all->triggers[i], model))
			embed_trigger_set_argument(all->triggers[i].tgoid, &all->triggers[i], 2, embed_trigger_recorded(model, fingerprint));
	}
}

/* Whether argument i of a row of pg_trigger is this one: each is followed by '\0'. */
static bool
has_argument(Relation catalog, HeapTuple tuple, int i, const char *value)
{
	bool		isnull;
	Datum		datum = heap_getattr(tuple, Anum_pg_trigger_tgargs, RelationGetDescr(catalog), &isnull);
	bytea	   *all = isnull ? NULL : DatumGetByteaPP(datum);
	const char *argument = all != NULL ? VARDATA_ANY(all) : NULL;

	if (all == NULL || ((Form_pg_trigger) GETSTRUCT(tuple))->tgnargs <= i)
		return false;
	for (; i > 0; i--)
		argument += strlen(argument) + 1;
	return strcmp(argument, value) == 0;
}

/*
 * Tables that have a trigger of embed that names the model alone, of every kind:
 * partitioned ones, too. Read in the catalog: a drop of a model locks no other
 * table, nor waits for who has it.
 */
static List *
tables_that_name(const char *model)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	List	   *oids = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		if (embed_is_trigger_function(form->tgfoid) && has_argument(catalog, tuple, 2, model))
			oids = list_append_unique_oid(oids, form->tgrelid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	list_sort(oids, list_oid_cmp);
	return oids;
}

void
embed_triggers_lock(const char *model)
{
	ListCell   *cell;

	foreach(cell, tables_that_name(model))
		(void) locked_triggers(lfirst_oid(cell));
}

void
embed_triggers_pin(const char *model, const uint8 *fingerprint)
{
	ListCell   *cell;

	foreach(cell, tables_that_name(model))
	{
		CHECK_FOR_INTERRUPTS();
		pin_table(lfirst_oid(cell), model, fingerprint);
	}
}
