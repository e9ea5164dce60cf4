/*
 * image_rows.c
 *		Images as rows of _embed.image and _embed.chunk.
 */
#include "pg/store/image_rows.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "pg/store/filed.h"
#include "pg/store/tables.h"

/* Values of _embed.image.storage. */
#define STORAGE_ROWS	"rows"
#define STORAGE_FILE	"file"

/* ---------------------------------------------------------- reading */

bool
embed_storage_find_image_limits(const uint8 *fingerprint, Snapshot snapshot, int64 *size_bytes, int32 *max_tokens)
{
	Relation	rel = embed_storage_open("image", AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	embed_storage_fingerprint_key(&key, Anum_image_fingerprint, fingerprint);
	scan = embed_storage_scan(rel, "image", snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		*size_bytes = DatumGetInt64(embed_storage_get_attr(rel, tuple, Anum_image_size_bytes));
		*max_tokens = DatumGetInt32(embed_storage_get_attr(rel, tuple, Anum_image_max_tokens));
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
	Relation	rel = embed_storage_open("image", AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *kind;

	embed_storage_fingerprint_key(&key, Anum_image_fingerprint, fingerprint);
	scan = embed_storage_scan(rel, "image", NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the image of a model is missing from table \"_embed.image\""),
				 errhint("Import the model again under its name, or restore schema _embed from a backup.")));
	kind = TextDatumGetCString(embed_storage_get_attr(rel, tuple, Anum_image_kind));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return kind;
}

bool
embed_storage_image_is_filed(const uint8 *fingerprint, Snapshot snapshot)
{
	Relation	rel = embed_storage_open("image", AccessShareLock);
	bool		filed = false;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	embed_storage_fingerprint_key(&key, Anum_image_fingerprint, fingerprint);
	scan = embed_storage_scan(rel, "image", snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		filed = strcmp(TextDatumGetCString(embed_storage_get_attr(rel, tuple, Anum_image_storage)), STORAGE_FILE) == 0;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return filed;
}

/*
 * The data of stored chunk no, detoasted under the snapshot, which is
 * registered.
 */
static bytea *
read_stored_chunk(Relation rel, Snapshot snapshot, const uint8 *fingerprint, int32 no)
{
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bytea	   *data = NULL;

	embed_storage_fingerprint_key(&keys[0], Anum_chunk_fingerprint, fingerprint);
	ScanKeyInit(&keys[1], Anum_chunk_no, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(no));
	scan = embed_storage_scan(rel, "chunk", snapshot, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		data = DatumGetByteaPCopy(embed_storage_get_attr(rel, tuple, Anum_chunk_data));
	systable_endscan(scan);
	return data;
}

/* A filed image's. O_NONBLOCK: the path may be a FIFO. */
static bool
read_file_head(const uint8 *fingerprint, char *head)
{
	char		path[MAXPGPATH];
	int			fd;
	bool		is_read;

	embed_filed_path(path, fingerprint);
	fd = OpenTransientFile(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | PG_BINARY);
	if (fd < 0)
		return false;
	is_read = pread(fd, head, EMB_IMAGE_HEAD_BYTES, 0) == EMB_IMAGE_HEAD_BYTES;
	CloseTransientFile(fd);
	return is_read;
}

bool
embed_storage_image_head(const uint8 *fingerprint, char *head)
{
	Snapshot	snapshot;
	Relation	rel;
	bytea	   *data;
	bool		is_read;

	if (embed_storage_image_is_filed(fingerprint, NULL))
		return read_file_head(fingerprint, head);
	snapshot = embed_storage_begin_read();
	rel = embed_storage_open("chunk", AccessShareLock);
	data = read_stored_chunk(rel, snapshot, fingerprint, 0);
	is_read = data != NULL && VARSIZE(data) - VARHDRSZ >= EMB_IMAGE_HEAD_BYTES;
	if (is_read)
		memcpy(head, VARDATA(data), EMB_IMAGE_HEAD_BYTES);
	table_close(rel, AccessShareLock);
	embed_storage_end_read(snapshot);
	return is_read;
}

static bool
any_stored_chunk(const uint8 *fingerprint, Snapshot snapshot)
{
	Relation	rel = embed_storage_open("chunk", AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	embed_storage_fingerprint_key(&key, Anum_chunk_fingerprint, fingerprint);
	scan = embed_storage_scan(rel, "chunk", snapshot, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

bool
embed_storage_has_stored_chunks(const uint8 *fingerprint)
{
	return any_stored_chunk(fingerprint, NULL);
}

bool
embed_storage_image_is_stored(const uint8 *fingerprint, Snapshot snapshot)
{
	int64		size_bytes;

	return embed_storage_find_image(fingerprint, snapshot, &size_bytes) &&
		(any_stored_chunk(fingerprint, snapshot) || embed_storage_image_is_filed(fingerprint, snapshot));
}

void
embed_storage_read_image(const uint8 *fingerprint, Snapshot snapshot, EmbedStoredChunkVisit visit, void *ctx)
{
	Relation	rel = embed_storage_open("chunk", AccessShareLock);
	MemoryContext chunk_cxt = AllocSetContextCreate(CurrentMemoryContext, "embed stored chunk",
													ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_cxt = MemoryContextSwitchTo(chunk_cxt);
	bytea	   *data;

	/* one index probe per stored chunk keeps them in order without sorting */
	for (int32 no = 0; (data = read_stored_chunk(rel, snapshot, fingerprint, no)) != NULL; no++)
	{
		CHECK_FOR_INTERRUPTS();
		visit(ctx, VARDATA(data), VARSIZE(data) - VARHDRSZ);
		MemoryContextReset(chunk_cxt);
	}
	MemoryContextSwitchTo(old_cxt);
	MemoryContextDelete(chunk_cxt);
	table_close(rel, AccessShareLock);
}

/* ---------------------------------------------------------- writing */

static Datum
outputs_datum(const EmbModelInfo *info)
{
	Datum		names[3];
	int			n = 0;

	if (info->kind == EMB_KIND_RERANKER || info->has_dense)
		names[n++] = CStringGetTextDatum(info->kind == EMB_KIND_RERANKER ? "score" : "dense");
	if (info->has_sparse)
		names[n++] = CStringGetTextDatum("sparse");
	if (info->multi_dim > 0)
		names[n++] = CStringGetTextDatum("multi");
	return PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * A prompt for display in embed_models. The image has the exact bytes; here a
 * character that the server encoding lacks is written as \\uXXXX.
 */
static Datum
prompt_datum(const char *utf8)
{
	return CStringGetTextDatum(embed_utf8_for_server(utf8, true));
}

/* The columns of an image's row. */
static void
image_values(const uint8 *fingerprint, const EmbModelInfo *info, const char *storage, Datum *values)
{
	values[Anum_image_fingerprint - 1] = embed_storage_fingerprint_datum(fingerprint);
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
	values[Anum_image_takes_instruction - 1] = BoolGetDatum(info->instruction != NULL);
	values[Anum_image_instruction - 1] = prompt_datum(info->instruction != NULL ? pnstrdup(info->instruction, info->instruction_bytes) : "");
	values[Anum_image_has_template - 1] = BoolGetDatum(info->has_template);
	values[Anum_image_storage - 1] = CStringGetTextDatum(storage);
}

static void
insert_stored_chunks(const uint8 *fingerprint, const char *image, int64 size_bytes, EmbedProgressEntry *progress)
{
	Relation	rel = embed_storage_open("chunk", RowExclusiveLock);
	bytea	   *data = palloc(VARHDRSZ + EMBED_STORED_CHUNK_BYTES);
	Datum		values[Natts_chunk];
	int32		no = 0;

	embed_progress_stage(progress, "store", "bytes", size_bytes);
	values[Anum_chunk_fingerprint - 1] = embed_storage_fingerprint_datum(fingerprint);
	for (int64 at = 0; at < size_bytes; at += EMBED_STORED_CHUNK_BYTES)
	{
		size_t		size = Min(size_bytes - at, EMBED_STORED_CHUNK_BYTES);

		CHECK_FOR_INTERRUPTS();
		SET_VARSIZE(data, VARHDRSZ + size);
		memcpy(VARDATA(data), image + at, size);
		values[Anum_chunk_no - 1] = Int32GetDatum(no++);
		values[Anum_chunk_data - 1] = PointerGetDatum(data);
		embed_storage_insert_row(rel, values);
		embed_progress_done(progress, at + size);
	}
	pfree(data);
	table_close(rel, RowExclusiveLock);
}

void
embed_storage_insert_image(const uint8 *fingerprint, const EmbModelInfo *info, const char *image, EmbedProgressEntry *progress)
{
	Relation	rel = embed_storage_open("image", RowExclusiveLock);
	Datum		values[Natts_image];

	image_values(fingerprint, info, image != NULL ? STORAGE_ROWS : STORAGE_FILE, values);
	embed_storage_insert_row(rel, values);
	table_close(rel, RowExclusiveLock);
	if (image != NULL)
		insert_stored_chunks(fingerprint, image, info->size_bytes, progress);
	embed_storage_changed();
}

void
embed_storage_delete_image(const uint8 *fingerprint)
{
	static const char *const tables[] = {"image", "chunk"};

	for (int i = 0; i < (int) lengthof(tables); i++)
	{
		Relation	rel = embed_storage_open(tables[i], RowExclusiveLock);
		ScanKeyData key;

		embed_storage_fingerprint_key(&key, 1, fingerprint);
		embed_storage_delete_rows(rel, tables[i], &key);
		table_close(rel, RowExclusiveLock);
	}
	embed_storage_changed();
}

/* --------------------------------------------------------- checking */

/* Called for every stored chunk; false if its bytes are wrong. */
typedef bool (*StoredChunkIsRight) (void *ctx, int64 at, const char *data, size_t size);

static int64
count_stored_chunks(int64 size_bytes)
{
	return size_bytes / EMBED_STORED_CHUNK_BYTES + (size_bytes % EMBED_STORED_CHUNK_BYTES > 0);
}

/* Checks one row of _embed.chunk that should be stored chunk expected of n; NULL if it is. */
static char *
check_stored_chunk(Relation rel, HeapTuple tuple, int64 expected, int64 size_bytes, StoredChunkIsRight is_right, void *ctx)
{
	int64		n = count_stored_chunks(size_bytes);
	int64		at = expected * EMBED_STORED_CHUNK_BYTES;
	int32		no = DatumGetInt32(embed_storage_get_attr(rel, tuple, Anum_chunk_no));
	bytea	   *data;

	if (no < expected || no >= n)
		return psprintf("stored chunk %d is outside 0 to %lld", no, (long long) n - 1);
	if (no > expected)
		return psprintf("stored chunk %lld of 0 to %lld is missing", (long long) expected, (long long) n - 1);
	data = DatumGetByteaPP(embed_storage_get_attr(rel, tuple, Anum_chunk_data));
	if ((int64) VARSIZE_ANY_EXHDR(data) != Min(size_bytes - at, EMBED_STORED_CHUNK_BYTES))
		return psprintf("stored chunk %d of 0 to %lld has %d bytes instead of %lld", no, (long long) n - 1,
						(int) VARSIZE_ANY_EXHDR(data), (long long) Min(size_bytes - at, EMBED_STORED_CHUNK_BYTES));
	if (!is_right(ctx, at, VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data)))
		return psprintf("stored chunk %d of 0 to %lld has other bytes than the image", no, (long long) n - 1);
	return NULL;
}

/* Checks all stored chunks of the image, in order; NULL if they are right. */
static char *
check_stored_chunks(const uint8 *fingerprint, Snapshot snapshot, int64 size_bytes, StoredChunkIsRight is_right, void *ctx)
{
	Relation	rel = embed_storage_open("chunk", AccessShareLock);
	Relation	index = index_open(embed_storage_relid("chunk_pkey"), AccessShareLock);
	MemoryContext chunk_cxt = AllocSetContextCreate(CurrentMemoryContext, "embed stored chunk", ALLOCSET_DEFAULT_SIZES);
	int64		n = count_stored_chunks(size_bytes);
	int64		expected = 0;
	char	   *flaw = NULL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	embed_storage_fingerprint_key(&key, Anum_chunk_fingerprint, fingerprint);
	scan = systable_beginscan_ordered(rel, index, snapshot, 1, &key);
	while (flaw == NULL && HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		MemoryContext old_cxt = MemoryContextSwitchTo(chunk_cxt);

		CHECK_FOR_INTERRUPTS();
		flaw = check_stored_chunk(rel, tuple, expected++, size_bytes, is_right, ctx);
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
		return psprintf("all stored chunks, 0 to %lld, are missing", (long long) n - 1);
	if (flaw == NULL && expected < n)
		return psprintf("stored chunk %lld of 0 to %lld is missing", (long long) expected, (long long) n - 1);
	return flaw;
}

static bool
stored_chunk_is_hashed(void *ctx, pg_attribute_unused() int64 at, const char *data, size_t size)
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
		flaw = check_stored_chunks(fingerprint, snapshot, size_bytes, stored_chunk_is_hashed, hash);
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
		flaw = pstrdup("the stored chunks do not have the hash of the image");
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
	if (size_bytes <= 0 || count_stored_chunks(size_bytes) > PG_INT32_MAX)
		return psprintf("column \"size_bytes\" of table \"_embed.image\" is %lld", (long long) size_bytes);
	return embed_storage_image_is_filed(fingerprint, snapshot) ? NULL : check_hash(fingerprint, snapshot, size_bytes);
}

static bool
stored_chunk_is_equal(void *ctx, int64 at, const char *data, size_t size)
{
	return memcmp((const char *) ctx + at, data, size) == 0;
}

/* Checks the row of the image, column by column. */
static char *
compare_image_row(const uint8 *fingerprint, Snapshot snapshot, const EmbModelInfo *info)
{
	Relation	rel = embed_storage_open("image", AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	char	   *flaw = NULL;
	Datum		values[Natts_image];
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	image_values(fingerprint, info, embed_storage_image_is_filed(fingerprint, snapshot) ? STORAGE_FILE : STORAGE_ROWS, values);
	embed_storage_fingerprint_key(&key, Anum_image_fingerprint, fingerprint);
	scan = embed_storage_scan(rel, "image", snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		flaw = image_row_is_missing();
	for (int i = 0; flaw == NULL && i < Natts_image; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!datum_image_eq(values[i], embed_storage_get_attr(rel, tuple, i + 1), att->attbyval, att->attlen))
			flaw = psprintf("column \"%s\" of table \"_embed.image\" does not match the image", NameStr(att->attname));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return flaw;
}

const char *
embed_storage_other_property(const uint8 *fingerprint, const EmbModelInfo *info)
{
	static const AttrNumber attributes[] = {
		Anum_image_kind, Anum_image_family, Anum_image_dim, Anum_image_max_tokens, Anum_image_precision, Anum_image_pooling,
		Anum_image_query_prompt, Anum_image_document_prompt, Anum_image_outputs, Anum_image_takes_instruction,
		Anum_image_instruction, Anum_image_has_template
	};
	Relation	rel = embed_storage_open("image", AccessShareLock);
	const char *other = NULL;
	Datum		values[Natts_image];
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	image_values(fingerprint, info, STORAGE_ROWS, values);
	embed_storage_fingerprint_key(&key, Anum_image_fingerprint, fingerprint);
	scan = embed_storage_scan(rel, "image", NULL, 1, &key);
	tuple = systable_getnext(scan);
	for (int i = 0; HeapTupleIsValid(tuple) && other == NULL && i < (int) lengthof(attributes); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attributes[i] - 1);

		if (!datum_image_eq(values[attributes[i] - 1], embed_storage_get_attr(rel, tuple, attributes[i]), att->attbyval, att->attlen))
			other = pstrdup(NameStr(att->attname));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return other;
}

char *
embed_storage_compare_rows(const uint8 *fingerprint, Snapshot snapshot, const EmbModelInfo *info, const char *image)
{
	char	   *flaw = compare_image_row(fingerprint, snapshot, info);

	if (flaw != NULL || image == NULL || embed_storage_image_is_filed(fingerprint, snapshot))
		return flaw;
	return check_stored_chunks(fingerprint, snapshot, info->size_bytes, stored_chunk_is_equal, unconstify(char *, image));
}

bool
embed_storage_size_is_credible(const uint8 *fingerprint, Snapshot snapshot, int64 size_bytes)
{
	Relation	rel;
	ScanKeyData keys[2];
	SysScanDesc scan;
	bool		found;

	if (size_bytes <= 0 || count_stored_chunks(size_bytes) > PG_INT32_MAX)
		return false;
	rel = embed_storage_open("chunk", AccessShareLock);
	embed_storage_fingerprint_key(&keys[0], Anum_chunk_fingerprint, fingerprint);
	ScanKeyInit(&keys[1], Anum_chunk_no, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum((int32) (count_stored_chunks(size_bytes) - 1)));
	scan = embed_storage_scan(rel, "chunk", snapshot, 2, keys);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}
