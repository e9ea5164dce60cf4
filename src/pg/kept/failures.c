/*
 * failures.c
 *		The table _embed.failure.
 */
#include "pg/kept/failures.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "commands/trigger.h"
#include <common/hashfn.h>			/* the server's, not ours */
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "pg/store/tables.h"

EMBED_FUNCTION(embed_failure_trigger);

/* Attribute numbers, as in sql/embed.sql. */
enum
{
	Anum_failure_tab = 1,
	Anum_failure_vector,
	Anum_failure_text_hash,
	Anum_failure_sqlstate,
	Anum_failure_message,
	Anum_failure_tries,
	Anum_failure_at,
	Natts_failure = Anum_failure_at
};

#define MESSAGE_MAX 1000

typedef struct Entry
{
	int64		text_hash;
	bool		is_seen;
} Entry;

struct EmbedFailures
{
	Oid			table;
	NameData	vector;
	HTAB	   *entries;		/* NULL: there are none */
};

int64
embed_text_hash(Datum text)
{
	struct varlena *plain = PG_DETOAST_DATUM_PACKED(text);
	uint64		hash = hash_bytes_extended((const unsigned char *) VARDATA_ANY(plain), (int) VARSIZE_ANY_EXHDR(plain), 0);

	if (PointerGetDatum(plain) != text)
		pfree(plain);
	return (int64) hash;
}

static SysScanDesc
scan_column(Relation rel, Oid table, const char *vector)
{
	ScanKeyData keys[2];
	NameData	name;

	ScanKeyInit(&keys[0], Anum_failure_tab, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table));
	if (vector == NULL)
		return embed_storage_scan(rel, "failure", NULL, 1, keys);
	namestrcpy(&name, vector);
	ScanKeyInit(&keys[1], Anum_failure_vector, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&name));
	return embed_storage_scan(rel, "failure", NULL, 2, keys);
}

EmbedFailures *
embed_failures_read(Oid table, const char *vector, MemoryContext cxt)
{
	EmbedFailures *failures = MemoryContextAllocZero(cxt, sizeof(EmbedFailures));
	Relation	rel = embed_storage_open("failure", AccessShareLock);
	SysScanDesc scan = scan_column(rel, table, vector);
	HASHCTL		ctl = {.keysize = sizeof(int64), .entrysize = sizeof(Entry), .hcxt = cxt};
	HeapTuple	tuple;

	failures->table = table;
	namestrcpy(&failures->vector, vector);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		int64		hash = DatumGetInt64(embed_storage_get_attr(rel, tuple, Anum_failure_text_hash));

		CHECK_FOR_INTERRUPTS();
		if (failures->entries == NULL)
			failures->entries = hash_create("embed failures", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		((Entry *) hash_search(failures->entries, &hash, HASH_ENTER, NULL))->is_seen = false;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return failures;
}

bool
embed_failures_has(EmbedFailures *failures, int64 text_hash)
{
	Entry	   *entry = failures->entries == NULL ? NULL : hash_search(failures->entries, &text_hash, HASH_FIND, NULL);

	if (entry == NULL)
		return false;
	entry->is_seen = true;
	return true;
}

int64
embed_failures_count(Oid table, const char *vector)
{
	Relation	rel = embed_storage_open("failure", AccessShareLock);
	SysScanDesc scan = scan_column(rel, table, vector);
	int64		n = 0;

	while (HeapTupleIsValid(systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		n++;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return n;
}

/* The row of a text, copied, or NULL. */
static HeapTuple
find_row(Relation rel, Oid table, const char *vector, int64 text_hash)
{
	ScanKeyData keys[3];
	NameData	name;
	SysScanDesc scan;
	HeapTuple	tuple;

	namestrcpy(&name, vector);
	ScanKeyInit(&keys[0], Anum_failure_tab, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table));
	ScanKeyInit(&keys[1], Anum_failure_vector, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&name));
	ScanKeyInit(&keys[2], Anum_failure_text_hash, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(text_hash));
	scan = embed_storage_scan(rel, "failure", NULL, 3, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

static text *
clipped_message(const ErrorData *error)
{
	const char *message = error->message != NULL ? error->message : "missing error text";
	int			len = (int) strlen(message);

	return cstring_to_text_with_len(message, len <= MESSAGE_MAX ? len : pg_mbcliplen(message, len, MESSAGE_MAX));
}

void
embed_failures_put(Oid table, const char *vector, int64 text_hash, const ErrorData *error)
{
	/* one writer at a time: two would meet in the primary key */
	Relation	rel = embed_storage_open("failure", ShareRowExclusiveLock);
	HeapTuple	old = find_row(rel, table, vector, text_hash);
	Datum		values[Natts_failure];
	bool		nulls[Natts_failure] = {false};
	NameData	name;
	HeapTuple	tuple;
	int32		tries = 1;

	if (HeapTupleIsValid(old))
		tries += DatumGetInt32(embed_storage_get_attr(rel, old, Anum_failure_tries));
	namestrcpy(&name, vector);
	values[Anum_failure_tab - 1] = ObjectIdGetDatum(table);
	values[Anum_failure_vector - 1] = NameGetDatum(&name);
	values[Anum_failure_text_hash - 1] = Int64GetDatum(text_hash);
	values[Anum_failure_sqlstate - 1] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
	values[Anum_failure_message - 1] = PointerGetDatum(clipped_message(error));
	values[Anum_failure_tries - 1] = Int32GetDatum(tries);
	values[Anum_failure_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	if (HeapTupleIsValid(old))
		CatalogTupleUpdate(rel, &old->t_self, tuple);
	else
		CatalogTupleInsert(rel, tuple);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
embed_failures_forget_unseen(EmbedFailures *failures)
{
	HASH_SEQ_STATUS all;
	Entry	   *entry;
	Relation	rel = NULL;

	if (failures->entries == NULL)
		return;
	hash_seq_init(&all, failures->entries);
	while ((entry = hash_seq_search(&all)) != NULL)
	{
		HeapTuple	tuple;

		if (entry->is_seen)
			continue;
		if (rel == NULL)
			rel = embed_storage_open("failure", ShareRowExclusiveLock);
		tuple = find_row(rel, failures->table, NameStr(failures->vector), entry->text_hash);
		if (HeapTupleIsValid(tuple))
			CatalogTupleDelete(rel, &tuple->t_self);
	}
	if (rel != NULL)
		table_close(rel, NoLock);
}

int64
embed_failures_forget(Oid table, const char *vector)
{
	Relation	rel = embed_storage_open("failure", ShareRowExclusiveLock);
	SysScanDesc scan = scan_column(rel, table, vector);
	HeapTuple	tuple;
	int64		n = 0;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		CatalogTupleDelete(rel, &tuple->t_self);
		n++;
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	return n;
}

/* Fires in apply workers: failures of another server are not those of this one. */
Datum
embed_failure_trigger(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"_embed.failure_trigger\" is for the trigger on table \"_embed.failure\"")));
	return PointerGetDatum(NULL);
}

typedef struct Unkept
{
	Oid			table;
	NameData	vector;
} Unkept;

/* Columns that have failures and that nothing keeps. */
static List *
unkept_columns(Relation rel, bool (*is_kept) (Oid table, const char *vector))
{
	/* in the order of the key: columns come one after another */
	SysScanDesc scan = embed_storage_scan(rel, "failure", NULL, 0, NULL);
	List	   *unkept = NIL;
	Unkept		last = {.table = InvalidOid};
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Oid			table = DatumGetObjectId(embed_storage_get_attr(rel, tuple, Anum_failure_tab));
		Name		vector = DatumGetName(embed_storage_get_attr(rel, tuple, Anum_failure_vector));

		CHECK_FOR_INTERRUPTS();
		if (table == last.table && strcmp(NameStr(*vector), NameStr(last.vector)) == 0)
			continue;
		last.table = table;
		last.vector = *vector;
		if (!is_kept(table, NameStr(*vector)))
			unkept = lappend(unkept, memcpy(palloc(sizeof(Unkept)), &last, sizeof(Unkept)));
	}
	systable_endscan(scan);
	return unkept;
}

bool
embed_failures_forget_unkept(bool (*is_kept) (Oid table, const char *vector))
{
	Oid			relid = embed_storage_relid("failure");
	Relation	rel;
	List	   *unkept;
	ListCell   *cell;

	if (!OidIsValid(relid) || !ConditionalLockRelationOid(relid, ShareRowExclusiveLock))
		return false;
	rel = try_relation_open(relid, NoLock);
	if (rel == NULL)
		return false;
	unkept = unkept_columns(rel, is_kept);
	relation_close(rel, NoLock);
	foreach(cell, unkept)
	{
		const Unkept *column = lfirst(cell);

		(void) embed_failures_forget(column->table, NameStr(column->vector));
	}
	return true;
}
