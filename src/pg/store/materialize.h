/*
 * materialize.h
 *		Images as files: one inode per cluster, mapped by every backend.
 *
 *		pgsql_tmp_embed/lock						serializes writers of the cluster
 *		pgsql_tmp_embed/control.v1					see control.h
 *		pgsql_tmp_embed/<database oid>/<hash>.img	complete, verified, never written again
 *		pgsql_tmp_embed/<database oid>/<pid>.<n>.tmp	being written, flocked by its writer
 *
 * Base backups, pg_rewind and pg_checksums skip names that start with
 * pgsql_tmp. Files are a cache: any file may vanish and is rebuilt from the
 * rows. A file is complete once it has its final name (fsync, rename). Its
 * bytes were hashed while they were written, and its modification time was set
 * to a time derived from the hash (the seal). Writing to the file or copying
 * it breaks the seal; then the file is hashed again before it is mapped.
 */
#ifndef EMBED_PG_STORE_MATERIALIZE_H
#define EMBED_PG_STORE_MATERIALIZE_H

#include "pg/glue.h"

#include "utils/snapshot.h"

#include "pg/store/mapping.h"

#define EMBED_IMAGE_ROOT "pgsql_tmp_embed"

/*
 * Maps the image with that fingerprint, from its file or else from its rows as
 * of snapshot. trusted: the seal of an existing file is enough, unless the
 * file was mapped before and found damaged. Raises; the caller then unmaps
 * what *mapping holds.
 */
extern void embed_materialize(const uint8 *fingerprint, int64 size_bytes, bool trusted, Snapshot snapshot,
							  EmbedMapping *mapping);

/* Whether this database has an intact file of the image. */
extern bool embed_materialize_has_file(const uint8 *fingerprint, int64 size_bytes);

/* Unlinks this database's file. */
extern void embed_materialize_discard(const uint8 *fingerprint);

/* The extension is gone from this database: unlinks all its files. */
extern void embed_materialize_discard_all(void);

/*
 * The path of this database's file for the image, whether it exists or not:
 * relative to the data directory, MAXPGPATH.
 */
extern void embed_materialize_path(char *path, const uint8 *fingerprint);

/*
 * A temporary file next to the images, written by embed_import; its final name
 * follows from the hash. Errors of the sink are returned, not raised.
 *
 * Example:
 *
 *		embed_spool_begin(&spool);
 *		PG_TRY();
 *		{
 *			status = embed_spool_write(&spool, data, size, &err);	// as often as there are bytes
 *			embed_spool_finish(&spool);
 *			model = embed_spool_open(&spool, CurrentMemoryContext);
 *			emb_model_close(model);
 *			embed_spool_publish(&spool);
 *		}
 *		PG_CATCH();
 *		{
 *			embed_spool_abort(&spool);
 *			PG_RE_THROW();
 *		}
 *		PG_END_TRY();
 */
typedef struct EmbedSpool
{
	int			fd;				/* a transient file: closed at abort */
	int64		size_bytes;
	EmbHash    *hash;
	uint8		fingerprint[EMB_HASH_SIZE]; /* from embed_spool_finish on */
	struct timespec sealed;		/* time of modification, from embed_spool_finish on */
	EmbedMapping mapping;		/* from embed_spool_open on */
	char		path[MAXPGPATH];
} EmbedSpool;

extern void embed_spool_begin(EmbedSpool *spool);

/*
 * Whether the file systems of the folder, the tables (embed_storage_path) and
 * the write-ahead log have room for a new image. Raises nothing: the core may
 * call it.
 */
extern EmbStatus embed_materialize_check_room(int64 size_bytes, const char *tables_path, EmbError *err);

extern EmbStatus embed_spool_write(EmbedSpool *spool, const void *data, size_t size, EmbError *err);

/* Computes the fingerprint and syncs the file after the last byte. Raises. */
extern void embed_spool_finish(EmbedSpool *spool);

/*
 * Maps the finished file and checks all of it before it is used. Raises. The
 * model is allocated in cxt and reads spool->mapping: close the model before
 * embed_spool_publish.
 */
extern EmbModel *embed_spool_open(EmbedSpool *spool, MemoryContext cxt);

/* 58030 if the mapped file was damaged; call it after reading the file. */
extern void embed_spool_check(EmbedSpool *spool);

/*
 * Unmaps the file and renames it to its final name, or removes it if that name
 * exists. Raises.
 */
extern void embed_spool_publish(EmbedSpool *spool);

/* After a failure; safe at any point after embed_spool_begin. */
extern void embed_spool_abort(EmbedSpool *spool);

/*
 * This transaction is about to insert or delete the image's row. At its end, a
 * file without a row is unlinked. existed: whether the row exists now.
 */
extern void embed_materialize_row_changes(const uint8 *fingerprint, bool existed);

/*
 * Removes files that no row or database owns: files of dropped images, of
 * dropped databases, of dead writers.
 */
extern void embed_materialize_sweep(void);

/* The same, cheap if there is nothing to do, and postponed while another backend writes. */
extern void embed_materialize_sweep_if_idle(void);

extern void embed_materialize_init(void);

#endif
