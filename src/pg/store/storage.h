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
 * Rows are read by catalog-style scans (systable_beginscan, NULL snapshot):
 * they see what is committed and what this transaction did, in parallel
 * workers, on standbys, under any isolation level, blind to row-level
 * security, privileges and search_path. They are written like catalog rows;
 * writers hold embed_storage_lock until the transaction ends. Who writes by SQL
 * (apply workers, restores) meets the triggers of replication.c.
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

/* OID of _embed.TABLE; 0: no extension here. */
extern Oid	embed_storage_relid(const char *table);

/* OID of _embed.model: changes of any row of ours invalidate its relcache entry. 0: no extension here. */
extern Oid	embed_storage_model_relid(void);

/* The directory that holds the rows of images, relative to the data directory; palloc'd. */
extern char *embed_storage_path(void);

/*
 * What is committed now, for several reads that must agree: a transaction that
 * moves the default and drops a model is seen as a whole. NULL wherever a
 * snapshot is asked for: a fresh one.
 */
extern Snapshot embed_storage_begin_read(void);
extern void embed_storage_end_read(Snapshot snapshot);

extern bool embed_storage_find_model(const char *name, Snapshot snapshot, EmbedModelRow *row);
extern bool embed_storage_find_image(const uint8 *fingerprint, Snapshot snapshot, int64 *size_bytes);
extern bool embed_storage_find_image_limits(const uint8 *fingerprint, Snapshot snapshot, int64 *size_bytes, int32 *max_tokens);

/* Whether the row of the image is there and chunks of it; for a restore that brings them one after the other. */
extern bool embed_storage_image_is_stored(const uint8 *fingerprint, Snapshot snapshot);

/* Whether any chunk of the image is there. */
extern bool embed_storage_has_chunks(const uint8 *fingerprint);

/* Whether any model is installed that is not dropped. */
extern bool embed_storage_has_models(void);

/* The kind of an image that is there, palloc'd. */
extern char *embed_storage_image_kind(const uint8 *fingerprint);

/*
 * A model whose fingerprint begins with these hexadecimal digits, palloc'd; one
 * that is not dropped, where there is one. NULL: none has.
 */
extern char *embed_storage_name_of(const char *digits);

/* palloc'd, or NULL */
extern char *embed_storage_find_alias(const char *alias, Snapshot snapshot);
extern char *embed_storage_find_default(const char *kind, Snapshot snapshot);

/*
 * The chunks in order, as of snapshot (not NULL: a drop that commits meanwhile
 * must not tear the image). visit may raise. The data is valid during the call
 * only.
 */
typedef void (*EmbedChunkVisit) (void *ctx, const char *data, size_t size);
extern void embed_storage_read_image(const uint8 *fingerprint, Snapshot snapshot, EmbedChunkVisit visit, void *ctx);

/*
 * Whether the rows of an image are whole: NULL, or what is wrong first, palloc'd
 * ("chunk 3 of 0 to 22 is missing"). check reads nothing else: the
 * row of the image, its chunks in order, their sizes and hash. compare names the
 * chunk or column that differs from an image that is right; image NULL: the
 * columns alone. One pass over the chunks, serving cancels; may raise.
 */
extern char *embed_storage_check_rows(const uint8 *fingerprint, Snapshot snapshot);
extern char *embed_storage_compare_rows(const uint8 *fingerprint, Snapshot snapshot, const EmbModelInfo *info, const char *image);

/*
 * Whether an image of that size can be stored: its last chunk is there. Rows
 * may be anybody's, and what they say of sizes is not to be reserved blindly.
 */
extern bool embed_storage_size_is_credible(const uint8 *fingerprint, Snapshot snapshot, int64 size_bytes);

/* AccessShareLock on what embed_storage_find_image and _read_image read, until the transaction ends. */
extern void embed_storage_lock_for_read(void);

/* The same without waiting: false, and no lock, where somebody is dropping or rewriting them. */
extern bool embed_storage_try_lock_for_read(void);

/* ShareRowExclusiveLock on _embed.model: one writer at a time, readers go on. */
extern void embed_storage_lock(void);

extern void embed_storage_put_model(const char *name, const EmbedModelRow *row);
extern void embed_storage_delete_model(const char *name);
extern void embed_storage_insert_image(const uint8 *fingerprint, const EmbModelInfo *info, const char *image);
extern void embed_storage_delete_image(const uint8 *fingerprint);

/* name NULL deletes. */
extern void embed_storage_put_alias(const char *alias, const char *name);
extern void embed_storage_put_default(const char *kind, const char *name);
extern void embed_storage_delete_aliases_of(const char *name);
extern void embed_storage_delete_defaults_of(const char *name);

/* The aliases of a model, palloc'd strings in their order. */
extern List *embed_storage_aliases_of(const char *name);

/* Whether a model of that kind is installed under another name. */
extern bool embed_storage_has_other_model(const char *kind, const char *name);

/* Whether a model that is not dropped uses the image. */
extern bool embed_storage_image_is_used(const uint8 *fingerprint);

/* A row that somebody inserts into one of our tables, and the one with its primary key that is there. */
typedef enum EmbedRowFound
{
	EMBED_ROW_NONE,
	EMBED_ROW_EQUAL,			/* in all columns */
	EMBED_ROW_OTHER,
	EMBED_ROW_OTHER_CONTENT		/* of _embed.model, with another fingerprint */
} EmbedRowFound;

extern EmbedRowFound embed_storage_find_row(Relation rel, HeapTuple tuple);

/* Deletes the row with the primary key of tuple. */
extern void embed_storage_delete_row(Relation rel, HeapTuple tuple);

/* Makes the writes visible to this command's successors and tells every backend at commit. */
extern void embed_storage_changed(void);

/* The second half of that, for triggers: their command makes its rows visible itself. */
extern void embed_storage_announce(void);

/*
 * Plans hold the results of immutable calls with constants. Makes every
 * backend plan again: for a name that stands for nothing now.
 */
extern void embed_storage_plans_changed(void);

extern const char *embed_kind_name(EmbKind kind);

#endif
