/*
 * kept_column.c
 *		The columns of a table, and the tables of a database, that an
 *		embed_trigger keeps.
 */
#include "pg/auto/kept_column.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

/* Reports nothing: the checks return false. */
#define SILENT	DEBUG5

static bool
is_function(Oid function, const char *name)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	bool		found;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	found = form->prolang == ClanguageId && strcmp(NameStr(form->proname), name) == 0;
	ReleaseSysCache(tuple);
	return found;
}

bool
embed_is_trigger_function(Oid function)
{
	return is_function(function, "embed_trigger");
}

bool
embed_is_chunk_function(Oid function)
{
	return is_function(function, "embed_chunk_trigger");
}

/* NULL: the trigger has a defect. */
static EmbedKeptColumn *
describe(Relation rel, const Trigger *trigger, int elevel)
{
	EmbedKeptColumn *kept = palloc0(sizeof(EmbedKeptColumn));

	if (!embed_trigger_check_arguments(trigger, elevel) || !embed_trigger_check_events(trigger, elevel) ||
		!embed_trigger_find_columns(rel, trigger, CurrentMemoryContext, elevel, &kept->columns))
	{
		pfree(kept);
		return NULL;
	}
	kept->table = RelationGetRelid(rel);
	kept->trigger = trigger->tgoid;
	namestrcpy(&kept->trigger_name, trigger->tgname);
	kept->trigger_type = trigger->tgtype;
	kept->enabled = trigger->tgenabled;
	kept->names_model = trigger->tgnargs > 2;
	if (kept->names_model)
		kept->model = embed_trigger_model(trigger);
	kept->is_later = embed_trigger_is_later(trigger);
	return kept;
}

List *
embed_kept_columns(Relation rel, int elevel)
{
	/* a copy: any lookup in the catalogs may replace what the relation has */
	TriggerDesc *all = CopyTriggerDesc(rel->trigdesc);
	List	   *list = NIL;

	for (int i = 0; all != NULL && i < all->numtriggers; i++)
	{
		EmbedKeptColumn *kept;

		if (!embed_is_trigger_function(all->triggers[i].tgfoid))
			continue;
		kept = describe(rel, &all->triggers[i], elevel != 0 ? elevel : SILENT);
		if (kept != NULL)
			list = lappend(list, kept);
	}
	FreeTriggerDesc(all);
	return list;
}

/* The error of the checks, or NULL. What they allocate is the caller's. */
static char *
defect_of(Relation rel, const Trigger *trigger)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile reason = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(old);
	PG_TRY();
	{
		(void) describe(rel, trigger, ERROR);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(old);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		/* a cancel is no defect */
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		reason = error->hint != NULL ? psprintf("%s (%s)", error->message, error->hint) : pstrdup(error->message);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	return reason;
}

List *
embed_kept_defects(Relation rel)
{
	TriggerDesc *all = CopyTriggerDesc(rel->trigdesc);
	List	   *list = NIL;

	for (int i = 0; all != NULL && i < all->numtriggers; i++)
	{
		const Trigger *trigger = &all->triggers[i];
		EmbedKeptDefect *defect;

		if (!embed_is_trigger_function(trigger->tgfoid) || describe(rel, trigger, SILENT) != NULL)
			continue;
		defect = palloc(sizeof(EmbedKeptDefect));
		defect->trigger = trigger;
		defect->reason = defect_of(rel, trigger);
		if (defect->reason != NULL)
			list = lappend(list, defect);
	}
	return list;
}

EmbedKeptColumn *
embed_kept_column(Relation rel, const char *vector, int elevel)
{
	ListCell   *cell;

	foreach(cell, embed_kept_columns(rel, elevel))
	{
		EmbedKeptColumn *kept = lfirst(cell);

		if (strcmp(NameStr(kept->columns.vector.name), vector) == 0)
			return kept;
	}
	return NULL;
}

/* pg_trigger has no index by function, and a database has few triggers. */
List *
embed_kept_tables(void)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	Oid			known = InvalidOid;
	List	   *oids = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		if (form->tgfoid != known && !embed_is_trigger_function(form->tgfoid))
			continue;
		known = form->tgfoid;
		if (get_rel_relkind(form->tgrelid) == RELKIND_RELATION)
			oids = list_append_unique_oid(oids, form->tgrelid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	list_sort(oids, list_oid_cmp);
	return oids;
}
