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
 * pgsql_tmp. Files are a cache: any of them may vanish and is made again from
 * the rows. A file is complete once it has its final name (fsync, rename);
 * its bytes were hashed on the way in, and its time of modification was set to
 * one that follows from the hash (the seal). Whoever writes to the file later
 * or copies it breaks the seal; then it is hashed again before it is mapped.
 */
#ifndef EMBED_PG_STORE_MATERIALIZE_H
#define EMBED_PG_STORE_MATERIALIZE_H

#include "pg/glue.h"

#include "utils/snapshot.h"

#include "pg/store/mapping.h"

#define EMBED_IMAGE_ROOT "pgsql_tmp_embed"

/*
 * Maps the image with that fingerprint, from its file or else from its rows as
 * of snapshot. trusted: the seal of a file that is there is enough, as long as
 * it has not been mapped and found damaged. Raises; what *mapping holds then is
 * the caller's to unmap.
 */
extern void embed_materialize(const uint8 *fingerprint, int64 size_bytes, bool trusted, Snapshot snapshot,
							  EmbedMapping *mapping);

/* Whether this database has a file of the image, and it is intact. */
extern bool embed_materialize_has_file(const uint8 *fingerprint, int64 size_bytes);

/* Unlinks this database's file. */
extern void embed_materialize_discard(const uint8 *fingerprint);

/* The extension is gone from this database: unlinks all of its files. */
extern void embed_materialize_discard_all(void);

/* Where this database's file of that image is, or would be: relative to the data directory, MAXPGPATH. */
extern void embed_materialize_path(char *path, const uint8 *fingerprint);

/*
 * A temporary file beside the images that embed_import writes to; its final
 * name comes with the hash. Errors of the sink are returned, not raised.
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

/* The last byte is written: computes the fingerprint and syncs the file. Raises. */
extern void embed_spool_finish(EmbedSpool *spool);

/*
 * Maps the finished file and checks all of it before anything trusts it.
 * Raises. The model lives in cxt and reads spool->mapping: close it before
 * embed_spool_publish.
 */
extern EmbModel *embed_spool_open(EmbedSpool *spool, MemoryContext cxt);

/* 58030 if the mapped file was damaged since; after reading it. */
extern void embed_spool_check(EmbedSpool *spool);

/* Unmaps the file and gives it its final name, or removes it if that is there. Raises. */
extern void embed_spool_publish(EmbedSpool *spool);

/* After a failure; safe at any point behind embed_spool_begin. */
extern void embed_spool_abort(EmbedSpool *spool);

/*
 * This transaction is about to insert or delete the image's row. When it ends,
 * a file whose row is not there is unlinked. existed: whether the row is there now.
 */
extern void embed_materialize_row_changes(const uint8 *fingerprint, bool existed);

/* Removes what no row or database owns: files of dropped images, of dropped databases, of dead writers. */
extern void embed_materialize_sweep(void);

/* The same, cheap where there is nothing to do and put off while another backend writes. */
extern void embed_materialize_sweep_if_idle(void);

extern void embed_materialize_init(void);

#endif
