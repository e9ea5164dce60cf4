/*
 * storage.c
 *		Models as rows: the tables of schema _embed.
 */
#include "pg/store/storage.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include <common/relpath.h>			/* the server's, not ours */
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* Attribute numbers, as in sql/embed.sql. */
enum
{
	Anum_model_name = 1,
	Anum_model_fingerprint,
	Anum_model_dropped,
	Natts_model = Anum_model_dropped
};
enum
{
	Anum_image_fingerprint = 1,
	Anum_image_size_bytes,
	Anum_image_kind,
	Anum_image_family,
	Anum_image_dim,
	Anum_image_max_tokens,
	Anum_image_precision,
	Anum_image_pooling,
	Anum_image_query_prompt,
	Anum_image_document_prompt,
	Anum_image_outputs,
	Natts_image = Anum_image_outputs
};
enum
{
	Anum_chunk_fingerprint = 1,
	Anum_chunk_no,
	Anum_chunk_data,
	Natts_chunk = Anum_chunk_data
};
enum
{
	Anum_alias_alias = 1,
	Anum_alias_name,
	Natts_alias = Anum_alias_name
};
enum
{
	Anum_default_kind = 1,
	Anum_default_name,
	Natts_default = Anum_default_name
};

const char *const embed_storage_tables[EMBED_N_TABLES] = {"model", "image", "chunk", "alias", "default_model"};

const char *
embed_kind_name(EmbKind kind)
{
	return kind == EMB_KIND_RERANKER ? "reranker" : "embedding";
}

static Oid
storage_relid(const char *table)
{
	Oid			nsp = get_namespace_oid("_embed", true);

	return OidIsValid(nsp) ? get_relname_relid(table, nsp) : InvalidOid;
}

Oid
embed_storage_relid(const char *table)
{
	return storage_relid(table);
}

Oid
embed_storage_model_relid(void)
{
	return storage_relid("model");
}

/*
 * Opens a relation by name. The extension may have been dropped a moment ago,
 * and even created again. Cached answers are certain only under a lock,
 * because taking a lock processes the messages of other backends.
 */
static Relation
storage_open(const char *table, LOCKMODE lock)
{
	for (;;)
	{
		Oid			relid = storage_relid(table);

		if (!OidIsValid(relid))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("table \"_embed.%s\" does not exist", table),
					 errhint("Run CREATE EXTENSION embed in this database.")));
		if (lock == NoLock)
			return table_open(relid, NoLock);
		LockRelationOid(relid, lock);
		if (storage_relid(table) == relid)
			return table_open(relid, NoLock);
		UnlockRelationOid(relid, lock);
	}
}

/* A scan by the leading columns of the primary key, which must exist. */
static SysScanDesc
storage_scan(Relation rel, const char *table, Snapshot snapshot, int nkeys, ScanKey keys)
{
	char		index[NAMEDATALEN];

	snprintf(index, sizeof(index), "%s_pkey", table);
	return systable_beginscan(rel, storage_relid(index), true, snapshot, nkeys, keys);
}

char *
embed_storage_path(void)
{
	Oid			relid = storage_relid("chunk");
	Oid			tablespace = OidIsValid(relid) ? get_rel_tablespace(relid) : InvalidOid;

	return GetDatabasePath(MyDatabaseId, OidIsValid(tablespace) ? tablespace : MyDatabaseTableSpace);
}

static void
text_key(ScanKey key, AttrNumber attno, const char *value)
{
	/* ScanKeyInit uses the C collation, like the columns */
	ScanKeyInit(key, attno, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(value));
}

static Datum
fingerprint_datum(const uint8 *fingerprint)
{
	bytea	   *b = palloc(VARHDRSZ + EMB_HASH_SIZE);

	SET_VARSIZE(b, VARHDRSZ + EMB_HASH_SIZE);
	memcpy(VARDATA(b), fingerprint, EMB_HASH_SIZE);
	return PointerGetDatum(b);
}

static void
fingerprint_key(ScanKey key, AttrNumber attno, const uint8 *fingerprint)
{
	ScanKeyInit(key, attno, BTEqualStrategyNumber, F_BYTEAEQ, fingerprint_datum(fingerprint));
}

static void
copy_fingerprint(uint8 *dst, Datum value)
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

static Datum
get_attr(Relation rel, HeapTuple tuple, AttrNumber attno)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attno, RelationGetDescr(rel), &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("column %d of table \"_embed.%s\" is null", attno, RelationGetRelationName(rel))));
	return value;
}

/* ------------------------------------------------------------- reading */

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

bool
embed_storage_find_model(const char *name, Snapshot snapshot, EmbedModelRow *row)
{
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	/* no row has such a name: spare the copies of 100 MB */
	if (strnlen(name, EMB_NAME_MAX + 1) > EMB_NAME_MAX)
		return false;
	rel = storage_open("model", AccessShareLock);
	text_key(&key, Anum_model_name, name);
	scan = storage_scan(rel, "model", snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		copy_fingerprint(row->fingerprint, get_attr(rel, tuple, Anum_model_fingerprint));
		row->dropped = DatumGetBool(get_attr(rel, tuple, Anum_model_dropped));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return HeapTupleIsValid(tuple);
}

bool
embed_storage_find_image_limits(const uint8 *fingerprint, Snapshot snapshot, int64 *size_bytes, int32 *max_tokens)
{
	Relation	rel = storage_open("image", AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	fingerprint_key(&key, Anum_image_fingerprint, fingerprint);
	scan = storage_scan(rel, "image", snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		*size_bytes = DatumGetInt64(get_attr(rel, tuple, Anum_image_size_bytes));
		*max_tokens = DatumGetInt32(get_attr(rel, tuple, Anum_image_max_tokens));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return HeapTupleIsValid(tuple);
}

bool
embed_storage_find_image(const uint8 *fingerprint, Snapshot snapshot, int64 *size_bytes)
{
	int32		max_tokens;

	return embed_storage_find_image_limits(fingerprint, snapshot, size_bytes, &max_tokens);
}

char *
embed_storage_image_kind(const uint8 *fingerprint)
{
	Relation	rel = storage_open("image", AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *kind;

	fingerprint_key(&key, Anum_image_fingerprint, fingerprint);
	scan = storage_scan(rel, "image", NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the image of a model is missing from table \"_embed.image\""),
				 errhint("Import the model again under its name, or restore schema _embed from a backup.")));
	kind = TextDatumGetCString(get_attr(rel, tuple, Anum_image_kind));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return kind;
}

/* The text in column value_attno of the row whose key column equals key_value. */
static char *
find_text(const char *table, Snapshot snapshot, AttrNumber key_attno, const char *key_value, AttrNumber value_attno)
{
	Relation	rel = storage_open(table, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *value = NULL;

	text_key(&key, key_attno, key_value);
	scan = storage_scan(rel, table, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		value = TextDatumGetCString(get_attr(rel, tuple, value_attno));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return value;
}

char *
embed_storage_name_of(const char *digits)
{
	Relation	rel = storage_open("model", AccessShareLock);
	SysScanDesc scan = storage_scan(rel, "model", NULL, 0, NULL);
	HeapTuple	tuple;
	char	   *name = NULL;
	bool		found = false;

	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		uint8		fingerprint[EMB_HASH_SIZE];
		char		hex[2 * EMB_HASH_SIZE + 1];

		copy_fingerprint(fingerprint, get_attr(rel, tuple, Anum_model_fingerprint));
		hex[hex_encode((const char *) fingerprint, EMB_HASH_SIZE, hex)] = '\0';
		if (strncmp(hex, digits, strlen(digits)) != 0)
			continue;
		name = TextDatumGetCString(get_attr(rel, tuple, Anum_model_name));
		found = !DatumGetBool(get_attr(rel, tuple, Anum_model_dropped));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return name;
}

char *
embed_storage_find_alias(const char *alias, Snapshot snapshot)
{
	if (strnlen(alias, EMB_NAME_MAX + 1) > EMB_NAME_MAX)
		return NULL;
	return find_text("alias", snapshot, Anum_alias_alias, alias, Anum_alias_name);
}

char *
embed_storage_find_default(const char *kind, Snapshot snapshot)
{
	return find_text("default_model", snapshot, Anum_default_kind, kind, Anum_default_name);
}

/*
 * The data of stored chunk no, detoasted under the snapshot, which is registered.
 */
static bytea *
read_chunk(Relation rel, Snapshot snapshot, const uint8 *fingerprint, int32 no)
{
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bytea	   *data = NULL;

	fingerprint_key(&keys[0], Anum_chunk_fingerprint, fingerprint);
	ScanKeyInit(&keys[1], Anum_chunk_no, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(no));
	scan = storage_scan(rel, "chunk", snapshot, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		data = DatumGetByteaPCopy(get_attr(rel, tuple, Anum_chunk_data));
	systable_endscan(scan);
	return data;
}

static bool
any_chunk(const uint8 *fingerprint, Snapshot snapshot)
{
	Relation	rel = storage_open("chunk", AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	fingerprint_key(&key, Anum_chunk_fingerprint, fingerprint);
	scan = storage_scan(rel, "chunk", snapshot, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

bool
embed_storage_has_chunks(const uint8 *fingerprint)
{
	return any_chunk(fingerprint, NULL);
}

bool
embed_storage_image_is_stored(const uint8 *fingerprint, Snapshot snapshot)
{
	int64		size_bytes;

	return any_chunk(fingerprint, snapshot) && embed_storage_find_image(fingerprint, snapshot, &size_bytes);
}

void
embed_storage_read_image(const uint8 *fingerprint, Snapshot snapshot, EmbedChunkVisit visit, void *ctx)
{
	Relation	rel = storage_open("chunk", AccessShareLock);
	MemoryContext chunk_cxt = AllocSetContextCreate(CurrentMemoryContext, "embed chunk",
													ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_cxt = MemoryContextSwitchTo(chunk_cxt);
	bytea	   *data;

	/* one index probe per stored chunk keeps them in order without sorting */
	for (int32 no = 0; (data = read_chunk(rel, snapshot, fingerprint, no)) != NULL; no++)
	{
		CHECK_FOR_INTERRUPTS();
		visit(ctx, VARDATA(data), VARSIZE(data) - VARHDRSZ);
		MemoryContextReset(chunk_cxt);
	}
	MemoryContextSwitchTo(old_cxt);
	MemoryContextDelete(chunk_cxt);
	table_close(rel, AccessShareLock);
}

/* ------------------------------------------------------------ checking */

/* Called for every stored chunk; false if its bytes are wrong. */
typedef bool (*ChunkIsRight) (void *ctx, int64 at, const char *data, size_t size);

static int64
count_chunks(int64 size_bytes)
{
	return size_bytes / EMBED_CHUNK_BYTES + (size_bytes % EMBED_CHUNK_BYTES > 0);
}

/* Checks one row of _embed.chunk, which should be stored chunk expected of n; NULL if it is. */
static char *
check_chunk(Relation rel, HeapTuple tuple, int64 expected, int64 size_bytes, ChunkIsRight is_right, void *ctx)
{
	int64		n = count_chunks(size_bytes);
	int64		at = expected * EMBED_CHUNK_BYTES;
	int32		no = DatumGetInt32(get_attr(rel, tuple, Anum_chunk_no));
	bytea	   *data;

	if (no < expected || no >= n)
		return psprintf("chunk %d is outside 0 to %lld", no, (long long) n - 1);
	if (no > expected)
		return psprintf("chunk %lld of 0 to %lld is missing", (long long) expected, (long long) n - 1);
	data = DatumGetByteaPP(get_attr(rel, tuple, Anum_chunk_data));
	if ((int64) VARSIZE_ANY_EXHDR(data) != Min(size_bytes - at, EMBED_CHUNK_BYTES))
		return psprintf("chunk %d of 0 to %lld has %d bytes instead of %lld", no, (long long) n - 1,
						(int) VARSIZE_ANY_EXHDR(data), (long long) Min(size_bytes - at, EMBED_CHUNK_BYTES));
	if (!is_right(ctx, at, VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data)))
		return psprintf("chunk %d of 0 to %lld has other bytes than the image", no, (long long) n - 1);
	return NULL;
}

/* Checks all stored chunks of the image, in order; NULL if they are right. */
static char *
check_chunks(const uint8 *fingerprint, Snapshot snapshot, int64 size_bytes, ChunkIsRight is_right, void *ctx)
{
	Relation	rel = storage_open("chunk", AccessShareLock);
	Relation	index = index_open(storage_relid("chunk_pkey"), AccessShareLock);
	MemoryContext chunk_cxt = AllocSetContextCreate(CurrentMemoryContext, "embed chunk", ALLOCSET_DEFAULT_SIZES);
	int64		n = count_chunks(size_bytes);
	int64		expected = 0;
	char	   *flaw = NULL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	fingerprint_key(&key, Anum_chunk_fingerprint, fingerprint);
	scan = systable_beginscan_ordered(rel, index, snapshot, 1, &key);
	while (flaw == NULL && HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		MemoryContext old_cxt = MemoryContextSwitchTo(chunk_cxt);

		CHECK_FOR_INTERRUPTS();
		flaw = check_chunk(rel, tuple, expected++, size_bytes, is_right, ctx);
		MemoryContextSwitchTo(old_cxt);
		if (flaw != NULL)
			flaw = pstrdup(flaw);
		MemoryContextReset(chunk_cxt);
	}
	systable_endscan_ordered(scan);
	MemoryContextDelete(chunk_cxt);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	if (flaw == NULL && expected == 0)
		return psprintf("all chunks, 0 to %lld, are missing", (long long) n - 1);
	if (flaw == NULL && expected < n)
		return psprintf("chunk %lld of 0 to %lld is missing", (long long) expected, (long long) n - 1);
	return flaw;
}

static bool
chunk_is_hashed(void *ctx, pg_attribute_unused() int64 at, const char *data, size_t size)
{
	return emb_hash_update(ctx, data, size);
}

/* Checks the stored chunks by their hash; size_bytes comes from the row of the image. */
static char *
check_hash(const uint8 *fingerprint, Snapshot snapshot, int64 size_bytes)
{
	EmbHash    *hash = emb_hash_begin();
	uint8		digest[EMB_HASH_SIZE];
	char	   *flaw;

	if (hash == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	PG_TRY();
	{
		flaw = check_chunks(fingerprint, snapshot, size_bytes, chunk_is_hashed, hash);
	}
	PG_CATCH();
	{
		(void) emb_hash_end(hash, NULL);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (!emb_hash_end(hash, digest))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("SHA-256 failed")));
	if (flaw == NULL && memcmp(digest, fingerprint, EMB_HASH_SIZE) != 0)
		flaw = pstrdup("the chunks do not have the hash of the image");
	return flaw;
}

static char *
image_row_is_missing(void)
{
	return pstrdup("the row of the image is missing from table \"_embed.image\"");
}

char *
embed_storage_check_rows(const uint8 *fingerprint, Snapshot snapshot)
{
	int64		size_bytes;

	if (!embed_storage_find_image(fingerprint, snapshot, &size_bytes))
		return image_row_is_missing();
	if (size_bytes <= 0 || count_chunks(size_bytes) > PG_INT32_MAX)
		return psprintf("column \"size_bytes\" of table \"_embed.image\" is %lld", (long long) size_bytes);
	return check_hash(fingerprint, snapshot, size_bytes);
}

static bool
chunk_is_equal(void *ctx, int64 at, const char *data, size_t size)
{
	return memcmp((const char *) ctx + at, data, size) == 0;
}

static void image_values(const uint8 *fingerprint, const EmbModelInfo *info, Datum *values);

/* Checks the row of the image, column by column. */
static char *
compare_image_row(const uint8 *fingerprint, Snapshot snapshot, const EmbModelInfo *info)
{
	Relation	rel = storage_open("image", AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	char	   *flaw = NULL;
	Datum		values[Natts_image];
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	image_values(fingerprint, info, values);
	fingerprint_key(&key, Anum_image_fingerprint, fingerprint);
	scan = storage_scan(rel, "image", snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		flaw = image_row_is_missing();
	for (int i = 0; flaw == NULL && i < Natts_image; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!datum_image_eq(values[i], get_attr(rel, tuple, i + 1), att->attbyval, att->attlen))
			flaw = psprintf("column \"%s\" of table \"_embed.image\" does not match the image", NameStr(att->attname));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return flaw;
}

char *
embed_storage_compare_rows(const uint8 *fingerprint, Snapshot snapshot, const EmbModelInfo *info, const char *image)
{
	char	   *flaw = compare_image_row(fingerprint, snapshot, info);

	if (flaw != NULL || image == NULL)
		return flaw;
	return check_chunks(fingerprint, snapshot, info->size_bytes, chunk_is_equal, unconstify(char *, image));
}

bool
embed_storage_size_is_credible(const uint8 *fingerprint, Snapshot snapshot, int64 size_bytes)
{
	Relation	rel;
	ScanKeyData keys[2];
	SysScanDesc scan;
	bool		found;

	if (size_bytes <= 0 || count_chunks(size_bytes) > PG_INT32_MAX)
		return false;
	rel = storage_open("chunk", AccessShareLock);
	fingerprint_key(&keys[0], Anum_chunk_fingerprint, fingerprint);
	ScanKeyInit(&keys[1], Anum_chunk_no, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum((int32) (count_chunks(size_bytes) - 1)));
	scan = storage_scan(rel, "chunk", snapshot, 2, keys);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* ---------------------------------------------------- who uses what */

static bool
fingerprint_is(Datum value, const uint8 *fingerprint)
{
	bytea	   *b = DatumGetByteaPP(value);

	return VARSIZE_ANY_EXHDR(b) == EMB_HASH_SIZE && memcmp(VARDATA_ANY(b), fingerprint, EMB_HASH_SIZE) == 0;
}

/* Whether a model that is not dropped exists; with a fingerprint: a model of that image. */
static bool
any_model(const uint8 *fingerprint)
{
	Relation	rel = storage_open("model", AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	bool		found = false;

	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
		found = !DatumGetBool(get_attr(rel, tuple, Anum_model_dropped))
			&& (fingerprint == NULL || fingerprint_is(get_attr(rel, tuple, Anum_model_fingerprint), fingerprint));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

bool
embed_storage_has_models(void)
{
	return any_model(NULL);
}

bool
embed_storage_image_is_used(const uint8 *fingerprint)
{
	return any_model(fingerprint);
}

List *
embed_storage_aliases_of(const char *name)
{
	Relation	rel = storage_open("alias", AccessShareLock);
	SysScanDesc scan = storage_scan(rel, "alias", NULL, 0, NULL);
	HeapTuple	tuple;
	List	   *aliases = NIL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (strcmp(TextDatumGetCString(get_attr(rel, tuple, Anum_alias_name)), name) == 0)
			aliases = lappend(aliases, TextDatumGetCString(get_attr(rel, tuple, Anum_alias_alias)));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return aliases;
}

bool
embed_storage_has_other_model(const char *kind, const char *name)
{
	Relation	rel = storage_open("model", AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	bool		found = false;

	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		uint8		fingerprint[EMB_HASH_SIZE];

		if (DatumGetBool(get_attr(rel, tuple, Anum_model_dropped)) ||
			strcmp(TextDatumGetCString(get_attr(rel, tuple, Anum_model_name)), name) == 0)
			continue;
		copy_fingerprint(fingerprint, get_attr(rel, tuple, Anum_model_fingerprint));
		found = strcmp(embed_storage_image_kind(fingerprint), kind) == 0;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

void
embed_storage_lock_for_read(void)
{
	table_close(storage_open("image", AccessShareLock), NoLock);
	table_close(storage_open("chunk", AccessShareLock), NoLock);
}

bool
embed_storage_try_lock_for_read(void)
{
	Oid			relid = storage_relid("image");

	/* checked again after the lock: the extension may have been dropped */
	return OidIsValid(relid) && ConditionalLockRelationOid(relid, AccessShareLock) && storage_relid("image") == relid;
}

/* ------------------------------------------------------------- writing */

void
embed_storage_lock(void)
{
	table_close(storage_open("model", ShareRowExclusiveLock), NoLock);
}

void
embed_storage_announce(void)
{
	Relation	rel = storage_open("model", AccessShareLock);

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

static void
insert_row(Relation rel, Datum *values)
{
	bool		nulls[Natts_image] = {false};	/* the widest table */
	HeapTuple	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);

	CatalogTupleInsert(rel, tuple);
	heap_freetuple(tuple);
}

/* Deletes all rows whose leading key column equals key. */
static void
delete_rows(Relation rel, const char *table, ScanKey key)
{
	SysScanDesc scan = storage_scan(rel, table, NULL, 1, key);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		CatalogTupleDelete(rel, &tuple->t_self);
	}
	systable_endscan(scan);
}

/* Replaces the row with that key by (key, value), or only deletes it. */
static void
put_pair(const char *table, const char *key_value, const char *value)
{
	Relation	rel = storage_open(table, RowExclusiveLock);
	ScanKeyData key;

	text_key(&key, 1, key_value);
	delete_rows(rel, table, &key);
	if (value != NULL)
	{
		Datum		values[2] = {CStringGetTextDatum(key_value), CStringGetTextDatum(value)};

		CommandCounterIncrement();
		insert_row(rel, values);
	}
	table_close(rel, RowExclusiveLock);
	embed_storage_changed();
}

/*
 * Deletes the (key, value) rows with that value; there are few rows, so a
 * plain scan is enough.
 */
static void
delete_pairs_by_value(const char *table, const char *value)
{
	Relation	rel = storage_open(table, RowExclusiveLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (strcmp(TextDatumGetCString(get_attr(rel, tuple, 2)), value) == 0)
			CatalogTupleDelete(rel, &tuple->t_self);
	}
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	embed_storage_changed();
}

void
embed_storage_put_alias(const char *alias, const char *name)
{
	put_pair("alias", alias, name);
}

void
embed_storage_put_default(const char *kind, const char *name)
{
	put_pair("default_model", kind, name);
}

void
embed_storage_delete_aliases_of(const char *name)
{
	delete_pairs_by_value("alias", name);
}

void
embed_storage_delete_defaults_of(const char *name)
{
	delete_pairs_by_value("default_model", name);
}

void
embed_storage_delete_model(const char *name)
{
	Relation	rel = storage_open("model", RowExclusiveLock);
	ScanKeyData key;

	text_key(&key, Anum_model_name, name);
	delete_rows(rel, "model", &key);
	table_close(rel, RowExclusiveLock);
	embed_storage_changed();
}

void
embed_storage_put_model(const char *name, const EmbedModelRow *row)
{
	Relation	rel;
	Datum		values[Natts_model];

	embed_storage_delete_model(name);
	rel = storage_open("model", RowExclusiveLock);
	values[Anum_model_name - 1] = CStringGetTextDatum(name);
	values[Anum_model_fingerprint - 1] = fingerprint_datum(row->fingerprint);
	values[Anum_model_dropped - 1] = BoolGetDatum(row->dropped);
	insert_row(rel, values);
	table_close(rel, RowExclusiveLock);
	embed_storage_changed();
}

static Datum
outputs_datum(const EmbModelInfo *info)
{
	Datum		names[3];
	int			n = 0;

	names[n++] = CStringGetTextDatum(info->kind == EMB_KIND_RERANKER ? "score" : "dense");
	if (info->has_sparse)
		names[n++] = CStringGetTextDatum("sparse");
	if (info->multi_dim > 0)
		names[n++] = CStringGetTextDatum("multi");
	return PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
}

static void
insert_chunks(const uint8 *fingerprint, const char *image, int64 size_bytes)
{
	Relation	rel = storage_open("chunk", RowExclusiveLock);
	bytea	   *data = palloc(VARHDRSZ + EMBED_CHUNK_BYTES);
	Datum		values[Natts_chunk];
	int32		no = 0;

	values[Anum_chunk_fingerprint - 1] = fingerprint_datum(fingerprint);
	for (int64 at = 0; at < size_bytes; at += EMBED_CHUNK_BYTES)
	{
		size_t		size = Min(size_bytes - at, EMBED_CHUNK_BYTES);

		CHECK_FOR_INTERRUPTS();
		SET_VARSIZE(data, VARHDRSZ + size);
		memcpy(VARDATA(data), image + at, size);
		values[Anum_chunk_no - 1] = Int32GetDatum(no++);
		values[Anum_chunk_data - 1] = PointerGetDatum(data);
		insert_row(rel, values);
	}
	pfree(data);
	table_close(rel, RowExclusiveLock);
}

/*
 * A prompt for display in embed_models. The image has the exact bytes; here a
 * character that the server encoding lacks is written as \\uXXXX.
 */
static Datum
prompt_datum(const char *utf8)
{
	StringInfoData buf;

	if (GetDatabaseEncoding() == PG_UTF8)
		return CStringGetTextDatum(utf8);
	initStringInfo(&buf);
	for (const unsigned char *p = (const unsigned char *) utf8; *p != '\0'; p += pg_utf_mblen(p))
	{
		if (*p < 0x80)
			appendStringInfoChar(&buf, *p);
		else
			appendStringInfo(&buf, "\\u%04X", (unsigned) utf8_to_unicode(p));
	}
	return CStringGetTextDatum(buf.data);
}

/* The columns of an image's row. */
static void
image_values(const uint8 *fingerprint, const EmbModelInfo *info, Datum *values)
{
	values[Anum_image_fingerprint - 1] = fingerprint_datum(fingerprint);
	values[Anum_image_size_bytes - 1] = Int64GetDatum(info->size_bytes);
	values[Anum_image_kind - 1] = CStringGetTextDatum(embed_kind_name(info->kind));
	values[Anum_image_family - 1] = CStringGetTextDatum(info->family);
	values[Anum_image_dim - 1] = Int32GetDatum(info->dim);
	values[Anum_image_max_tokens - 1] = Int32GetDatum(info->max_tokens);
	values[Anum_image_precision - 1] = CStringGetTextDatum(info->precision);
	values[Anum_image_pooling - 1] = CStringGetTextDatum(info->pooling);
	values[Anum_image_query_prompt - 1] = prompt_datum(info->query_prompt);
	values[Anum_image_document_prompt - 1] = prompt_datum(info->document_prompt);
	values[Anum_image_outputs - 1] = outputs_datum(info);
}

void
embed_storage_insert_image(const uint8 *fingerprint, const EmbModelInfo *info, const char *image)
{
	Relation	rel = storage_open("image", RowExclusiveLock);
	Datum		values[Natts_image];

	image_values(fingerprint, info, values);
	insert_row(rel, values);
	table_close(rel, RowExclusiveLock);
	insert_chunks(fingerprint, image, info->size_bytes);
	embed_storage_changed();
}

void
embed_storage_delete_image(const uint8 *fingerprint)
{
	static const char *const tables[] = {"image", "chunk"};

	for (int i = 0; i < (int) lengthof(tables); i++)
	{
		Relation	rel = storage_open(tables[i], RowExclusiveLock);
		ScanKeyData key;

		fingerprint_key(&key, 1, fingerprint);
		delete_rows(rel, tables[i], &key);
		table_close(rel, RowExclusiveLock);
	}
	embed_storage_changed();
}

/* ------------------------------------------------- rows that others write */

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
	return storage_scan(rel, table, NULL, nkeys, keys);
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

		if (!isnull && datum_image_eq(value, get_attr(rel, stored, i + 1), att->attbyval, att->attlen))
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
