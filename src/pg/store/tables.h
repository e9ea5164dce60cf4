/*
 * tables.h
 *		The tables of schema _embed.
 *
 *		model (name, fingerprint, dropped)		a name stands for one fingerprint
 *		image (fingerprint, size_bytes, ...)	what the view embed_models shows
 *		chunk (fingerprint, no, data)			the image in pieces of 1 MB, unless it is a file (filed.h)
 *		alias (alias, name)
 *		default_model (kind, name)
 *
 * Rows are read by catalog-style scans (systable_beginscan, NULL snapshot).
 * Such scans see committed rows and this transaction's rows, in parallel
 * workers, on standbys and under any isolation level; they ignore row-level
 * security, privileges and search_path. Rows are written like catalog rows;
 * writers hold embed_storage_lock until the transaction ends. Writes by SQL
 * (apply workers, restores) fire the triggers of replication.c.
 *
 * This file knows tables, storage.h models, aliases and defaults, image_rows.h
 * images.
 */
#ifndef EMBED_PG_STORE_TABLES_H
#define EMBED_PG_STORE_TABLES_H

#include "pg/glue.h"

#include "access/genam.h"
#include "access/htup.h"
#include "access/skey.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

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
	Anum_image_takes_instruction,
	Anum_image_instruction,
	Anum_image_has_template,
	Anum_image_storage,
	Natts_image = Anum_image_storage
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

extern const char *embed_kind_name(EmbKind kind);

/* ------------------------------------------------------------- reading */

/*
 * Opens a relation by name. The extension may have been dropped a moment ago,
 * and even created again. Cached answers are certain only under a lock,
 * because taking a lock processes the messages of other backends.
 */
extern Relation embed_storage_open(const char *table, LOCKMODE lock);

/* A scan by the leading columns of the primary key, which must exist. */
extern SysScanDesc embed_storage_scan(Relation rel, const char *table, Snapshot snapshot, int nkeys, ScanKey keys);

extern void embed_storage_text_key(ScanKey key, AttrNumber attno, const char *value);
extern void embed_storage_fingerprint_key(ScanKey key, AttrNumber attno, const uint8 *fingerprint);
extern Datum embed_storage_fingerprint_datum(const uint8 *fingerprint);

/* These raise where a row is damaged: a fingerprint of another length, a NULL. */
extern void embed_storage_copy_fingerprint(uint8 *dst, Datum value);
extern Datum embed_storage_get_attr(Relation rel, HeapTuple tuple, AttrNumber attno);

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

/* ------------------------------------------------------------- writing */

/* ShareRowExclusiveLock on _embed.model: one writer at a time, readers continue. */
extern void embed_storage_lock(void);

/* values: all columns, none of them NULL. */
extern void embed_storage_insert_row(Relation rel, Datum *values);

/* Deletes all rows whose leading key column equals key. */
extern void embed_storage_delete_rows(Relation rel, const char *table, ScanKey key);

/* Makes the writes visible to later commands and notifies every backend at commit. */
extern void embed_storage_changed(void);

/* The notification alone, for triggers: their command makes its rows visible itself. */
extern void embed_storage_announce(void);

/*
 * Makes every backend plan again, because plans hold the results of immutable
 * calls with constants: for a name that now stands for nothing.
 */
extern void embed_storage_plans_changed(void);

/* ------------------------------------------------- rows that others write */

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

#endif
