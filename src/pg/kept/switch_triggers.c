/*
 * switch_triggers.c
 *		The triggers of two columns that change their names.
 *
 * A trigger has its column's name as an argument, and no command changes
 * arguments. DROP and CREATE would lose ENABLE ALWAYS, comments and what
 * depends on the trigger. So the rows of pg_trigger are changed, as embed's
 * event trigger does to record a model (trigger_made.c), in partitions as well:
 * servers before 15 do not rename the triggers of partitions.
 */
#include "pg/kept/switch.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_trigger.h"
#include "commands/defrem.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"

/* The arguments in the form of pg_trigger, the first of them changed: each is followed by '\0'. */
static Datum
arguments_for(const Trigger *trigger, const char *vector)
{
	StringInfoData arguments;

	initStringInfo(&arguments);
	for (int i = 0; i < trigger->tgnargs; i++)
	{
		const char *argument = i == 0 ? vector : trigger->tgargs[i];

		appendBinaryStringInfo(&arguments, argument, (int) strlen(argument) + 1);
	}
	return PointerGetDatum(cstring_to_text_with_len(arguments.data, arguments.len));
}

static void
change_trigger(Oid relid, const Trigger *trigger, const char *vector, const char *name)
{
	Relation	catalog = table_open(TriggerRelationId, RowExclusiveLock);
	Datum		values[Natts_pg_trigger] = {0};
	bool		nulls[Natts_pg_trigger] = {false};
	bool		replaces[Natts_pg_trigger] = {false};
	NameData	new_name;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger->tgoid));
	scan = systable_beginscan(catalog, TriggerOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "could not find tuple for trigger %u", trigger->tgoid);
	namestrcpy(&new_name, name);
	values[Anum_pg_trigger_tgname - 1] = NameGetDatum(&new_name);
	values[Anum_pg_trigger_tgargs - 1] = arguments_for(trigger, vector);
	replaces[Anum_pg_trigger_tgname - 1] = replaces[Anum_pg_trigger_tgargs - 1] = true;
	tuple = heap_modify_tuple(tuple, RelationGetDescr(catalog), values, nulls, replaces);
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	CacheInvalidateRelcacheByRelid(relid);
	systable_endscan(scan);
	table_close(catalog, RowExclusiveLock);
}

/* Those of the column: their column becomes vector; those named old_name are renamed. */
static void
change_triggers(Oid relid, const char *column, const char *vector, const char *old_name, const char *new_name)
{
	Relation	rel = relation_open(relid, NoLock);
	TriggerDesc *all = CopyTriggerDesc(rel->trigdesc);

	relation_close(rel, NoLock);
	for (int i = 0; all != NULL && i < all->numtriggers; i++)
	{
		const Trigger *trigger = &all->triggers[i];

		if (embed_is_trigger_function(trigger->tgfoid) && trigger->tgnargs > 0 && strcmp(trigger->tgargs[0], column) == 0)
			change_trigger(relid, trigger, vector, strcmp(trigger->tgname, old_name) == 0 ? new_name : trigger->tgname);
	}
	CommandCounterIncrement();
}

static bool
has_trigger(List *relids, const char *name)
{
	ListCell   *cell;
	bool		found = false;

	foreach(cell, relids)
	{
		Relation	rel = relation_open(lfirst_oid(cell), NoLock);

		for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
			found |= strcmp(rel->trigdesc->triggers[i].tgname, name) == 0;
		relation_close(rel, NoLock);
	}
	return found;
}

/* A name of the form that embed_column gives, which neither the table nor a partition has. */
static char *
free_name(List *relids, const char *vector)
{
	char	   *name = makeObjectName("zz_embed", vector, NULL);

	for (int n = 1; has_trigger(relids, name); n++)
		name = makeObjectName("zz_embed", vector, psprintf("%d", n));
	return name;
}

void
embed_switch_triggers(Relation rel, const char *in, const char *vector, const char *out)
{
	List	   *relids = embed_switch_tables(rel, NoLock);
	char	   *name = pstrdup(embed_switch_trigger(rel, vector)->tgname);
	char	   *in_name = pstrdup(embed_switch_trigger(rel, in)->tgname);
	char	   *out_name = free_name(relids, out);
	ListCell   *cell;

	foreach(cell, relids)
	{
		change_triggers(lfirst_oid(cell), vector, out, name, out_name);
		change_triggers(lfirst_oid(cell), in, vector, in_name, name);
	}
}
