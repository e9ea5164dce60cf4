/*
 * tables.c
 *		The tables of schema _embed: opening, locking, reading and writing rows.
 */
#include "pg/store/tables.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include <common/relpath.h>			/* the server's, not ours */
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

const char *const embed_storage_tables[EMBED_N_TABLES] = {"model", "image", "chunk", "alias", "default_model"};

const char *
embed_kind_name(EmbKind kind)
{
	return kind == EMB_KIND_RERANKER ? "reranker" : "embedding";
}

Oid
embed_storage_relid(const char *table)
{
	Oid			nsp = get_namespace_oid("_embed", true);

	return OidIsValid(nsp) ? get_relname_relid(table, nsp) : InvalidOid;
}

Oid
embed_storage_model_relid(void)
{
	return embed_storage_relid("model");
}

char *
embed_storage_path(void)
{
	Oid			relid = embed_storage_relid("chunk");
	Oid			tablespace = OidIsValid(relid) ? get_rel_tablespace(relid) : InvalidOid;

	return GetDatabasePath(MyDatabaseId, OidIsValid(tablespace) ? tablespace : MyDatabaseTableSpace);
}

/* ---------------------------------------------------------- reading */

Relation
embed_storage_open(const char *table, LOCKMODE lock)
{
	for (;;)
	{
		Oid			relid = embed_storage_relid(table);

		if (!OidIsValid(relid))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("table \"_embed.%s\" does not exist", table),
					 errhint("Run CREATE EXTENSION embed in this database.")));
		if (lock == NoLock)
			return table_open(relid, NoLock);
		LockRelationOid(relid, lock);
		if (embed_storage_relid(table) == relid)
			return table_open(relid, NoLock);
		UnlockRelationOid(relid, lock);
	}
}

SysScanDesc
embed_storage_scan(Relation rel, const char *table, Snapshot snapshot, int nkeys, ScanKey keys)
{
	char		index[NAMEDATALEN];

	snprintf(index, sizeof(index), "%s_pkey", table);
	return systable_beginscan(rel, embed_storage_relid(index), true, snapshot, nkeys, keys);
}

void
embed_storage_text_key(ScanKey key, AttrNumber attno, const char *value)
{
	/* ScanKeyInit uses the C collation, like the columns */
	ScanKeyInit(key, attno, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(value));
}

Datum
embed_storage_fingerprint_datum(const uint8 *fingerprint)
{
	bytea	   *b = palloc(VARHDRSZ + EMB_HASH_SIZE);

	SET_VARSIZE(b, VARHDRSZ + EMB_HASH_SIZE);
	memcpy(VARDATA(b), fingerprint, EMB_HASH_SIZE);
	return PointerGetDatum(b);
}

void
embed_storage_fingerprint_key(ScanKey key, AttrNumber attno, const uint8 *fingerprint)
{
	ScanKeyInit(key, attno, BTEqualStrategyNumber, F_BYTEAEQ, embed_storage_fingerprint_datum(fingerprint));
}

void
embed_storage_copy_fingerprint(uint8 *dst, Datum value)
{
	bytea	   *b = DatumGetByteaPP(value);

	if (VARSIZE_ANY_EXHDR(b) != EMB_HASH_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a fingerprint in schema _embed has %d bytes instead of %d",
						(int) VARSIZE_ANY_EXHDR(b), EMB_HASH_SIZE),
				 errhint("Delete the row, or restore schema _embed from a backup.")));
	memcpy(dst, VARDATA_ANY(b), EMB_HASH_SIZE);
}

Datum
embed_storage_get_attr(Relation rel, HeapTuple tuple, AttrNumber attno)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attno, RelationGetDescr(rel), &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("column %d of table \"_embed.%s\" is null", attno, RelationGetRelationName(rel))));
	return value;
}

Snapshot
embed_storage_begin_read(void)
{
	/* always a fresh snapshot: no invalidation message renews it for our tables */
	return RegisterSnapshot(GetCatalogSnapshot(embed_storage_model_relid()));
}

void
embed_storage_end_read(Snapshot snapshot)
{
	UnregisterSnapshot(snapshot);
}

void
embed_storage_lock_for_read(void)
{
	table_close(embed_storage_open("image", AccessShareLock), NoLock);
	table_close(embed_storage_open("chunk", AccessShareLock), NoLock);
}

bool
embed_storage_try_lock_for_read(void)
{
	Oid			relid = embed_storage_relid("image");

	/* checked again after the lock: the extension may have been dropped */
	return OidIsValid(relid) && ConditionalLockRelationOid(relid, AccessShareLock) && embed_storage_relid("image") == relid;
}

/* ---------------------------------------------------------- writing */

void
embed_storage_lock(void)
{
	table_close(embed_storage_open("model", ShareRowExclusiveLock), NoLock);
}

void
embed_storage_announce(void)
{
	Relation	rel = embed_storage_open("model", AccessShareLock);

	CacheInvalidateRelcache(rel);
	table_close(rel, AccessShareLock);
}

void
embed_storage_changed(void)
{
	embed_storage_announce();
	CommandCounterIncrement();
}

/*
 * Servers discard all plans when a pg_namespace row changes. No smaller change
 * reaches a plan in which the planner has folded the call.
 */
void
embed_storage_plans_changed(void)
{
	Relation	rel = table_open(NamespaceRelationId, AccessShareLock);
	HeapTuple	tuple = SearchSysCache1(NAMESPACENAME, CStringGetDatum("_embed"));

	if (HeapTupleIsValid(tuple))
	{
		CacheInvalidateHeapTuple(rel, tuple, NULL);
		ReleaseSysCache(tuple);
	}
	table_close(rel, AccessShareLock);
}

void
embed_storage_insert_row(Relation rel, Datum *values)
{
	bool		nulls[Natts_image] = {false};	/* the widest table */
	HeapTuple	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);

	CatalogTupleInsert(rel, tuple);
	heap_freetuple(tuple);
}

void
embed_storage_delete_rows(Relation rel, const char *table, ScanKey key)
{
	SysScanDesc scan = embed_storage_scan(rel, table, NULL, 1, key);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		CatalogTupleDelete(rel, &tuple->t_self);
	}
	systable_endscan(scan);
}

/* ------------------------------------------- rows that others write */

/* A scan for the row with the primary key of tuple: the first columns, none of them NULL. */
static SysScanDesc
scan_key_of(Relation rel, HeapTuple tuple)
{
	const char *table = RelationGetRelationName(rel);
	TupleDesc	desc = RelationGetDescr(rel);
	int			nkeys = strcmp(table, "chunk") == 0 ? 2 : 1;
	ScanKeyData keys[2];
	bool		isnull;

	if (TupleDescAttr(desc, 0)->atttypid == TEXTOID)
		ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_TEXTEQ, heap_getattr(tuple, 1, desc, &isnull));
	else
		ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_BYTEAEQ, heap_getattr(tuple, 1, desc, &isnull));
	if (nkeys == 2)
		ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, heap_getattr(tuple, 2, desc, &isnull));
	return embed_storage_scan(rel, table, NULL, nkeys, keys);
}

static EmbedRowFound
compare_rows(Relation rel, HeapTuple stored, HeapTuple tuple)
{
	TupleDesc	desc = RelationGetDescr(rel);
	EmbedRowFound found = EMBED_ROW_EQUAL;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool		isnull;
		Datum		value = heap_getattr(tuple, i + 1, desc, &isnull);

		if (!isnull && datum_image_eq(value, embed_storage_get_attr(rel, stored, i + 1), att->attbyval, att->attlen))
			continue;
		found = EMBED_ROW_OTHER;
		if (i + 1 == Anum_model_fingerprint && strcmp(RelationGetRelationName(rel), "model") == 0)
			return EMBED_ROW_OTHER_CONTENT;
	}
	return found;
}

EmbedRowFound
embed_storage_find_row(Relation rel, HeapTuple tuple)
{
	EmbedRowFound found = EMBED_ROW_NONE;
	SysScanDesc scan;
	HeapTuple	stored;

	/* the server checks NOT NULL after us */
	if (heap_attisnull(tuple, 1, RelationGetDescr(rel)) || heap_attisnull(tuple, 2, RelationGetDescr(rel)))
		return EMBED_ROW_NONE;
	scan = scan_key_of(rel, tuple);
	stored = systable_getnext(scan);
	if (HeapTupleIsValid(stored))
		found = compare_rows(rel, stored, tuple);
	systable_endscan(scan);
	return found;
}

void
embed_storage_delete_row(Relation rel, HeapTuple tuple)
{
	SysScanDesc scan = scan_key_of(rel, tuple);
	HeapTuple	stored = systable_getnext(scan);

	if (HeapTupleIsValid(stored))
		CatalogTupleDelete(rel, &stored->t_self);
	systable_endscan(scan);
}
