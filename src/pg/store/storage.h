/*
 * storage.h
 *		Models as rows: the tables of schema _embed.
 *
 *		model (name, fingerprint, dropped)		a name stands for one fingerprint
 *		image (fingerprint, size_bytes, ...)	what the view embed_models shows
 *		chunk (fingerprint, no, data)			the image in pieces of 1 MB
 *		alias (alias, name)
 *		default_model (kind, name)
 *
 * Rows are read by catalog-style scans (systable_beginscan, NULL snapshot).
 * Such scans see committed rows and this transaction's rows, in parallel
 * workers, on standbys and under any isolation level; they ignore row-level
 * security, privileges and search_path. Rows are written like catalog rows;
 * writers hold embed_storage_lock until the transaction ends. Writes by SQL
 * (apply workers, restores) fire the triggers of replication.c.
 */
#ifndef EMBED_PG_STORE_STORAGE_H
#define EMBED_PG_STORE_STORAGE_H

#include "pg/glue.h"

#include "access/htup.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#define EMBED_CHUNK_BYTES	(1024 * 1024)

typedef struct EmbedModelRow
{
	uint8		fingerprint[EMB_HASH_SIZE];
	bool		dropped;		/* a tombstone: the name stays bound to the fingerprint */
} EmbedModelRow;

#define EMBED_N_TABLES	5
extern const char *const embed_storage_tables[EMBED_N_TABLES];

/* OID of _embed.TABLE; 0: extension not installed. */
extern Oid	embed_storage_relid(const char *table);

/*
 * OID of _embed.model: a change of any row in schema _embed invalidates its
 * relcache entry. 0: extension not installed.
 */
extern Oid	embed_storage_model_relid(void);

/* The directory that holds the rows of the images, relative to the data directory; palloc'd. */
extern char *embed_storage_path(void);

/*
 * A snapshot of the committed state, for several reads that must agree: a
 * transaction that moves the default and drops a model is seen completely or
 * not at all. Functions that take a snapshot also take NULL: a fresh snapshot.
 */
extern Snapshot embed_storage_begin_read(void);
extern void embed_storage_end_read(Snapshot snapshot);

extern bool embed_storage_find_model(const char *name, Snapshot snapshot, EmbedModelRow *row);
extern bool embed_storage_find_image(const uint8 *fingerprint, Snapshot snapshot, int64 *size_bytes);
extern bool embed_storage_find_image_limits(const uint8 *fingerprint, Snapshot snapshot, int64 *size_bytes, int32 *max_tokens);

/*
 * Whether the row of the image and at least one stored chunk exist; for a restore
 * that loads one after the other.
 */
extern bool embed_storage_image_is_stored(const uint8 *fingerprint, Snapshot snapshot);

/* Whether any stored chunk of the image exists. */
extern bool embed_storage_has_chunks(const uint8 *fingerprint);

/* Whether any model is installed and not dropped. */
extern bool embed_storage_has_models(void);

/* The kind of a stored image, palloc'd. */
extern char *embed_storage_image_kind(const uint8 *fingerprint);

/*
 * A model whose fingerprint begins with these hexadecimal digits, palloc'd;
 * preferably one that is not dropped. NULL: there is none.
 */
extern char *embed_storage_name_of(const char *digits);

/* palloc'd, or NULL */
extern char *embed_storage_find_alias(const char *alias, Snapshot snapshot);
extern char *embed_storage_find_default(const char *kind, Snapshot snapshot);

/*
 * Visits the stored chunks in order, as of snapshot (not NULL: a drop that commits in
 * the meantime must not tear the image). visit may raise. The data is valid
 * only during the call.
 */
typedef void (*EmbedChunkVisit) (void *ctx, const char *data, size_t size);
extern void embed_storage_read_image(const uint8 *fingerprint, Snapshot snapshot, EmbedChunkVisit visit, void *ctx);

/*
 * Checks the rows of an image. Returns NULL if they are whole, else the first
 * defect, palloc'd ("chunk 3 of 0 to 22 is missing"). check reads only the row
 * of the image and its stored chunks in order, with their sizes and hash. compare
 * names the stored chunk or column that differs from an intact image; image NULL:
 * only the columns. One pass over the stored chunks, serving cancels; may raise.
 */
extern char *embed_storage_check_rows(const uint8 *fingerprint, Snapshot snapshot);
extern char *embed_storage_compare_rows(const uint8 *fingerprint, Snapshot snapshot, const EmbModelInfo *info, const char *image);

/*
 * Whether an image of that size is stored: its last stored chunk exists. Any role may
 * have written the rows, so no space is reserved before this check.
 */
extern bool embed_storage_size_is_credible(const uint8 *fingerprint, Snapshot snapshot, int64 size_bytes);

/*
 * Takes AccessShareLock on the tables that embed_storage_find_image and
 * _read_image read, until the transaction ends.
 */
extern void embed_storage_lock_for_read(void);

/*
 * The same without waiting: returns false without a lock if another session
 * drops or rewrites the tables.
 */
extern bool embed_storage_try_lock_for_read(void);

/* ShareRowExclusiveLock on _embed.model: one writer at a time, readers continue. */
extern void embed_storage_lock(void);

extern void embed_storage_put_model(const char *name, const EmbedModelRow *row);
extern void embed_storage_delete_model(const char *name);
extern void embed_storage_insert_image(const uint8 *fingerprint, const EmbModelInfo *info, const char *image);
extern void embed_storage_delete_image(const uint8 *fingerprint);

/* name NULL deletes the alias. */
extern void embed_storage_put_alias(const char *alias, const char *name);
extern void embed_storage_put_default(const char *kind, const char *name);
extern void embed_storage_delete_aliases_of(const char *name);
extern void embed_storage_delete_defaults_of(const char *name);

/* The aliases of a model as palloc'd strings, sorted. */
extern List *embed_storage_aliases_of(const char *name);

/* Whether another model of that kind is installed. */
extern bool embed_storage_has_other_model(const char *kind, const char *name);

/* Whether any model that is not dropped uses the image. */
extern bool embed_storage_image_is_used(const uint8 *fingerprint);

/*
 * Compares a row to be inserted into one of our tables with the existing row
 * of the same primary key.
 */
typedef enum EmbedRowFound
{
	EMBED_ROW_NONE,
	EMBED_ROW_EQUAL,			/* in all columns */
	EMBED_ROW_OTHER,
	EMBED_ROW_OTHER_CONTENT		/* in _embed.model, with another fingerprint */
} EmbedRowFound;

extern EmbedRowFound embed_storage_find_row(Relation rel, HeapTuple tuple);

/* Deletes the row with the primary key of tuple. */
extern void embed_storage_delete_row(Relation rel, HeapTuple tuple);

/* Makes the writes visible to later commands and notifies every backend at commit. */
extern void embed_storage_changed(void);

/* The notification alone, for triggers: their command makes its rows visible itself. */
extern void embed_storage_announce(void);

/*
 * Makes every backend plan again, because plans hold the results of immutable
 * calls with constants: for a name that now stands for nothing.
 */
extern void embed_storage_plans_changed(void);

extern const char *embed_kind_name(EmbKind kind);

#endif
