/*
 * replication.c
 *		Rows of schema _embed that others write: apply workers, restores,
 *		manual changes.
 *
 * Our own functions write like the catalog does, fire no triggers, and
 * announce their changes themselves (embed_storage_changed). For all other
 * writers, two triggers on each table of the schema do this. The row trigger
 * also keeps replication going: images and stored chunks are named by their
 * content, so an existing row is skipped; for rows that may change, the
 * publisher's row wins.
 */
#include "pg/store/replication.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_subscription.h"
#include "catalog/pg_subscription_rel.h"
#include "commands/trigger.h"
#include "replication/logicalworker.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "pg/store/storage.h"
#include "pg/store/sweep.h"
#include "pg/store/tables.h"

EMBED_FUNCTION(embed_row_trigger);
EMBED_FUNCTION(embed_truncate_trigger);

/* ---------------------------------------------------------- subscribers */

/*
 * The subscription that carries the table, or InvalidOid. pg_subscription_rel
 * belongs to this database.
 */
static Oid
subscription_of(Oid relid)
{
	Relation	rel = table_open(SubscriptionRelRelationId, AccessShareLock);
	Oid			subscription = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_subscription_rel_srrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, SubscriptionRelSrrelidSrsubidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		subscription = ((Form_pg_subscription_rel) GETSTRUCT(tuple))->srsubid;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return subscription;
}

/*
 * The first of our tables that a subscription carries, and its subscription;
 * NULL if there is none.
 */
static const char *
find_subscribed_table(Oid *subscription)
{
	for (int i = 0; i < EMBED_N_TABLES; i++)
	{
		*subscription = subscription_of(embed_storage_relid(embed_storage_tables[i]));
		if (OidIsValid(*subscription))
			return embed_storage_tables[i];
	}
	return NULL;
}

bool
embed_is_subscriber(void)
{
	Oid			subscription;

	return find_subscribed_table(&subscription) != NULL;
}

void
embed_check_no_subscriber(const char *function)
{
	Oid			subscription;
	const char *table = find_subscribed_table(&subscription);
	const char *name;

	if (table == NULL)
		return;
	name = get_subscription_name(subscription, true);
	if (name == NULL)
		name = "?";
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s is refused here: subscription \"%s\" carries the models of this database", function, name),
			 errdetail("Table \"_embed.%s\" belongs to the subscription, so models, aliases and defaults are the publisher's.", table),
			 errhint("Do it on the publisher. For models of its own this database needs a publication without the tables of "
					 "schema _embed: see \"Logical replication\" in docs/operations.md.")));
}

/* ------------------------------------------------------------- triggers */

/* The trigger's data, or ERROR if it is not called as in sql/embed.sql. */
static TriggerData *
get_trigger(FunctionCallInfo fcinfo, const char *function)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (CALLED_AS_TRIGGER(fcinfo))
	{
		const char *table = RelationGetRelationName(trigger->tg_relation);

		for (int i = 0; i < EMBED_N_TABLES; i++)
		{
			if (strcmp(table, embed_storage_tables[i]) == 0 &&
				RelationGetRelid(trigger->tg_relation) == embed_storage_relid(table))
				return trigger;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("function \"%s\" is for the triggers on the tables of schema _embed", function)));
}

static bool
is_model(Relation rel)
{
	return strcmp(RelationGetRelationName(rel), "model") == 0;
}

/* Images and stored chunks: their first column is the fingerprint. */
static bool
is_content(Relation rel)
{
	return strcmp(RelationGetRelationName(rel), "image") == 0 || strcmp(RelationGetRelationName(rel), "chunk") == 0;
}

/* The fingerprint of an image or a stored chunk; false if these bytes cannot be a fingerprint. */
static bool
get_fingerprint(Relation rel, HeapTuple tuple, uint8 *fingerprint)
{
	bool		isnull;
	bytea	   *b = DatumGetByteaPP(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));

	if (VARSIZE_ANY_EXHDR(b) != EMB_HASH_SIZE)
		return false;
	memcpy(fingerprint, VARDATA_ANY(b), EMB_HASH_SIZE);
	return true;
}

pg_noreturn static void
content_conflict(Relation rel, HeapTuple tuple)
{
	bool		isnull;
	char	   *name = TextDatumGetCString(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));

	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("model name \"%s\" stands for other content on the publisher than here", name),
			 errhint("If nothing here depends on the name, DELETE FROM _embed.model WHERE name = '%s' frees it, and the "
					 "replication goes on. Else subscribe to a publication without the tables of schema _embed.", name)));
}

/*
 * Whether to insert the row: not if the same row exists. An apply worker's row
 * replaces a row with the same key. If a name stands for other content here,
 * replacing is wrong, because vectors and indexes may depend on the name.
 */
static bool
take_in(Relation rel, HeapTuple tuple)
{
	EmbedRowFound found = embed_storage_find_row(rel, tuple);

	if (found == EMBED_ROW_EQUAL)
		return false;
	/* for any writer except an apply worker, the primary key raises */
	if (found == EMBED_ROW_NONE || !IsLogicalWorker())
		return true;
	if (found == EMBED_ROW_OTHER_CONTENT)
		content_conflict(rel, tuple);
	embed_storage_delete_row(rel, tuple);
	return true;
}

/*
 * Whether to execute an apply worker's DELETE: a model of this database alone
 * may use the same image.
 */
static bool
give_up(Relation rel, HeapTuple tuple)
{
	uint8		fingerprint[EMB_HASH_SIZE];

	if (!is_content(rel) || !get_fingerprint(rel, tuple, fingerprint))
		return true;
	if (IsLogicalWorker() && embed_storage_image_is_used(fingerprint))
		return false;
	/* the commit unlinks the file if the row is then gone */
	if (strcmp(RelationGetRelationName(rel), "image") == 0)
		embed_sweep_row_changes(fingerprint, true);
	return true;
}

/* Before each row, for all writers except our own functions. */
Datum
embed_row_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = get_trigger(fcinfo, "_embed.row_trigger");
	Relation	rel = trigger->tg_relation;
	HeapTuple	result = trigger->tg_trigtuple;

	if (!TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		elog(ERROR, "_embed.row_trigger is for BEFORE ... FOR EACH ROW");
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
	{
		if (!take_in(rel, result))
			return PointerGetDatum(NULL);
	}
	else
	{
		if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
			result = trigger->tg_newtuple;
		else if (!give_up(rel, result))
			return PointerGetDatum(NULL);
		if (is_model(rel))
			embed_storage_plans_changed();
	}
	embed_storage_announce();
	return PointerGetDatum(result);
}

/* After a TRUNCATE, which fires no row triggers; sweepers remove its files. */
Datum
embed_truncate_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = get_trigger(fcinfo, "_embed.truncate_trigger");

	if (is_model(trigger->tg_relation))
		embed_storage_plans_changed();
	embed_storage_announce();
	return PointerGetDatum(NULL);
}
