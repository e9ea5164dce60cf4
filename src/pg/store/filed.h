/*
 * filed.h
 *		Filed images: images that are a file instead of rows (storage: file).
 *
 *		embed_images/<hash>.img						the image; the row of _embed.image has its size and hash
 *		embed_images/<hash>.<database>-<cluster>	empty: a row of that database owns the image
 *		embed_images/pgsql_tmp.lock					serializes those who change the folder
 *
 * Unlike the files of image_file.h these files are no cache: nothing can
 * rebuild them. Base backups copy them (not the lock: they skip names that
 * start with pgsql_tmp). WAL and dumps do not have them.
 *
 * One file serves all databases of the cluster. A session sees only the rows
 * of its own database, so each database leaves an owner file. The import makes
 * it, and the first call in a database that was restored or copied. Who
 * removes the last owner file removes the image. An image without any owner
 * file stays: somebody copied it here before the first call.
 *
 * The name of an owner file has 32 bits of the cluster's identifier, because
 * pg_upgrade before version 15 gives databases new OIDs, and a copied folder
 * would have owners that seem to be dropped databases. Owner files of other
 * clusters count for nothing. No path may have 100 bytes: base backups refuse
 * it.
 *
 * Nothing here raises, unless the comment says so: the end of a transaction
 * calls it.
 */
#ifndef EMBED_PG_STORE_FILED_H
#define EMBED_PG_STORE_FILED_H

#include "pg/glue.h"

#define EMBED_FILED_ROOT "embed_images"

/* Images of that size and more become files unless the import says otherwise. */
#define EMBED_FILED_FROM_BYTES	((int64) 2 * 1024 * 1024 * 1024)

/* The path of the image, relative to the data directory, MAXPGPATH. */
extern void embed_filed_path(char *path, const uint8 *fingerprint);

/* Whether something has that name. */
extern bool embed_filed_exists(const uint8 *fingerprint);

/* Whether any database of this cluster owns the image. */
extern bool embed_filed_has_owner(const uint8 *fingerprint);

/*
 * Gives the finished and synced file at temp_path its final name, unless an
 * intact file has the name, and makes this database an owner. Afterwards
 * nothing is at temp_path. Survives a crash. Raises.
 */
extern void embed_filed_publish(const char *temp_path, const uint8 *fingerprint, int64 size_bytes);

/* Makes this database an owner of the image; a failure is only logged. Raises if it is cancelled. */
extern void embed_filed_own(const uint8 *fingerprint);

/*
 * This database is no longer an owner. The last owner removes the image,
 * unless keep_file is set.
 */
extern void embed_filed_release(const uint8 *fingerprint, bool keep_file);

/* The same for all images of this database: the extension is gone. */
extern void embed_filed_release_all(void);

/*
 * Releases images for databases that were dropped, and for this database
 * images that is_owned denies. may_release_own is called once before the
 * first of those. Raises what the callbacks raise.
 */
extern void embed_filed_sweep(bool (*may_release_own) (void), bool (*is_owned) (const uint8 *fingerprint));

#endif
