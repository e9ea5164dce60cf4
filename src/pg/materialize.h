/*
 * materialize.h
 *		Images as files: one inode per cluster, mapped by every backend.
 *
 *		pgsql_tmp_embed/lock						serializes writers of the cluster
 *		pgsql_tmp_embed/<database oid>/<hash>.img	complete, verified, read-only
 *		pgsql_tmp_embed/<database oid>/<pid>.<n>.tmp	being written, flocked by its writer
 *
 * Base backups, pg_rewind and pg_checksums skip names that start with
 * pgsql_tmp. Files are a cache: any of them may vanish and is made again from
 * the rows. A file is complete once it has its final name (fsync, rename);
 * its bytes were hashed on the way in.
 */
#ifndef EMBED_PG_MATERIALIZE_H
#define EMBED_PG_MATERIALIZE_H

#include "pg/glue.h"

typedef struct EmbedMapping
{
	void	   *addr;			/* NULL: not mapped */
	size_t		size_bytes;
} EmbedMapping;

/* Maps the image with that fingerprint, from its file or else from its rows. Raises. */
extern EmbedMapping embed_materialize(const uint8 *fingerprint, int64 size_bytes);

/* Unlinks this database's file. */
extern void embed_materialize_discard(const uint8 *fingerprint);

/*
 * The file turned out damaged: unlinks it in every database, for their names
 * may be links to it. The next call makes it again from the rows.
 */
extern void embed_materialize_discard_damaged(const uint8 *fingerprint);

extern void embed_unmap(EmbedMapping *mapping);

/*
 * A temporary file beside the images that embed_import writes to; its final
 * name comes with the hash. Errors of the sink are returned, not raised.
 */
typedef struct EmbedSpool
{
	int			fd;				/* a transient file: closed at abort */
	int64		size_bytes;
	EmbHash    *hash;
	char		path[MAXPGPATH];
} EmbedSpool;

extern void embed_spool_begin(EmbedSpool *spool);
extern EmbStatus embed_spool_write(EmbedSpool *spool, const void *data, size_t size, EmbError *err);

/* Opens the spooled image and checks all of it, before anything trusts it; raises. */
extern void embed_spool_check(EmbedSpool *spool);

/* Gives the file its final name (or drops it if that is there) and returns the fingerprint. */
extern void embed_spool_end(EmbedSpool *spool, uint8 *fingerprint);

/* After a failure; safe at any point behind embed_spool_begin. */
extern void embed_spool_abort(EmbedSpool *spool);

/* At the end of the transaction unlinks the file unless its row is there for everyone to see. */
extern void embed_materialize_forget_at(const uint8 *fingerprint, bool on_commit);

/* Removes what no row or database owns: files of dropped images, of dropped databases, of dead writers. */
extern void embed_materialize_sweep(void);

extern void embed_materialize_init(void);

#endif
