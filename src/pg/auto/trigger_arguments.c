/*
 * trigger_arguments.c
 *		Changes an argument of triggers that there are, which no command does.
 *
 * A name that embed_drop(forget => true, force => true) frees may get other
 * content. A trigger that was made by hand has the name alone: it would go on
 * with the new model beside vectors of the old one. So the trigger gets the
 * fingerprint of the content that goes, in the same transaction.
 *
 * An image that is made again in another layout has another fingerprint, and
 * computes what the old one did: triggers that record the old one record the
 * new one from then on.
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

#include "pg/store/pinned_name.h"

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

/* Argument i of a row of pg_trigger, or NULL: each is followed by '\0'. */
static const char *
argument_of(Relation catalog, HeapTuple tuple, int i)
{
	bool		isnull;
	Datum		datum = heap_getattr(tuple, Anum_pg_trigger_tgargs, RelationGetDescr(catalog), &isnull);
	bytea	   *all = isnull ? NULL : DatumGetByteaPP(datum);
	const char *argument = all != NULL ? VARDATA_ANY(all) : NULL;

	if (all == NULL || i < 0 || ((Form_pg_trigger) GETSTRUCT(tuple))->tgnargs <= i)
		return NULL;
	for (; i > 0; i--)
		argument += strlen(argument) + 1;
	return argument;
}

/* The argument that names the model, or -1. */
static int
model_argument(Oid function)
{
	return embed_is_trigger_function(function) ? 2 : embed_is_chunk_function(function) ? 3 : -1;
}

/* Whether an argument "model@digits" records the fingerprint. */
static bool
records(const char *argument, const uint8 *fingerprint)
{
	const char *at = argument != NULL ? strchr(argument, '@') : NULL;

	return at != NULL && at[1] != '\0' && embed_digits_match(at + 1, fingerprint);
}

static bool
is_wanted(Relation catalog, HeapTuple tuple, const char *model, const uint8 *fingerprint)
{
	Oid			function = ((Form_pg_trigger) GETSTRUCT(tuple))->tgfoid;
	const char *argument;

	if (fingerprint != NULL)
		return records(argument_of(catalog, tuple, model_argument(function)), fingerprint);
	argument = embed_is_trigger_function(function) ? argument_of(catalog, tuple, 2) : NULL;
	return argument != NULL && strcmp(argument, model) == 0;
}

/*
 * Tables that have a trigger of embed that names the model alone, or records the
 * fingerprint, of every kind: partitioned ones, too. Read in the catalog: a drop of a model locks no other
 * table, nor waits for who has it.
 */
static List *
tables_that_name(const char *model, const uint8 *fingerprint)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	List	   *oids = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (is_wanted(catalog, tuple, model, fingerprint))
			oids = list_append_unique_oid(oids, ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid);
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

	foreach(cell, tables_that_name(model, NULL))
		(void) locked_triggers(lfirst_oid(cell));
}

void
embed_triggers_pin(const char *model, const uint8 *fingerprint)
{
	ListCell   *cell;

	foreach(cell, tables_that_name(model, NULL))
	{
		CHECK_FOR_INTERRUPTS();
		pin_table(lfirst_oid(cell), model, fingerprint);
	}
}

/* As many digits of the fingerprint as the argument has, which may be an odd number. */
static char *
rebound(const char *argument, const uint8 *fingerprint)
{
	char		digits[2 * EMB_HASH_SIZE + 1];
	const char *at = strchr(argument, '@');

	embed_trigger_digits(fingerprint, 2 * EMB_HASH_SIZE, digits);
	return psprintf("%.*s@%.*s", (int) (at - argument), argument, (int) strlen(at + 1), digits);
}

static void
rebind_table(Oid relid, const uint8 *from, const uint8 *to)
{
	TriggerDesc *all = locked_triggers(relid);

	for (int i = 0; all != NULL && to != NULL && i < all->numtriggers; i++)
	{
		const Trigger *trigger = &all->triggers[i];
		int			n = model_argument(trigger->tgfoid);

		if (n >= 0 && trigger->tgnargs > n && records(trigger->tgargs[n], from))
			embed_trigger_set_argument(trigger->tgoid, trigger, n, rebound(trigger->tgargs[n], to));
	}
}

void
embed_triggers_rebind(const uint8 *from, const uint8 *to)
{
	ListCell   *cell;

	foreach(cell, tables_that_name(NULL, from))
	{
		CHECK_FOR_INTERRUPTS();
		rebind_table(lfirst_oid(cell), from, to);
	}
}
