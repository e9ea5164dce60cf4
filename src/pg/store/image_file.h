/*
 * image_file.h
 *		Images as files: one inode per cluster, mapped by every backend.
 *
 *		pgsql_tmp_embed/lock						serializes writers of the cluster
 *		pgsql_tmp_embed/control.v3					see control.h
 *		pgsql_tmp_embed/<database oid>/<hash>.img	complete, verified, never written again
 *		pgsql_tmp_embed/<database oid>/<pid>.<n>.tmp	being written, flocked by its writer
 *
 * Files are a cache: any file may vanish and is rebuilt from the rows. A file
 * is complete once it has its final name (fsync, rename). Its bytes were
 * hashed while they were written, and its modification time was set to a time
 * derived from the hash (the seal). Writing to the file or copying it breaks
 * the seal; then the file is hashed again before it is mapped.
 *
 * Base backups skip names that start with pgsql_tmp. pg_checksums reads no
 * folder of an extension. pg_rewind skips such names only inside other
 * folders: it copies this folder, and overwrites the files that it finds in
 * it. So the files stay writable for their owner, or pg_rewind could not open
 * them and would fail.
 *
 * Locks: a process that creates, links or removes a file with a final name
 * holds an flock on pgsql_tmp_embed/lock, polled with interrupts. A
 * heavyweight lock would not do: such locks do not conflict inside a parallel
 * group, and two workers may materialize at the same time. The writer of a
 * .tmp holds an flock on it, so a .tmp that can be locked has a dead writer.
 * Both locks end with their process.
 *
 * The deadlock detector does not see flocks. So heavyweight locks come first:
 * under the writer lock we wait for no heavyweight lock
 * (embed_storage_lock_for_read is called before it).
 */
#ifndef EMBED_PG_STORE_IMAGE_FILE_H
#define EMBED_PG_STORE_IMAGE_FILE_H

#include "pg/glue.h"

#include <time.h>

#define EMBED_IMAGE_ROOT "pgsql_tmp_embed"

/* -------------------------------------------------------------- names */

/*
 * The path of this database's file for the image, whether it exists or not:
 * relative to the data directory, MAXPGPATH.
 */
extern void embed_image_file_path(char *path, const uint8 *fingerprint);

/* The same for another database. */
extern void embed_image_file_path_in(char *path, Oid database, const uint8 *fingerprint);

/* A new name for a temporary file. */
extern void embed_image_file_temp_path(char *path);

/* --------------------------------------------- the folder and its lock */

/* The hint of every error about our own folder. */
extern int	embed_image_file_hint(void);

/*
 * Removes whatever is at path: a file that cannot be opened, a FIFO, a link, a
 * folder. A folder with content belongs to somebody, so it is only renamed.
 * False with errno if that fails.
 */
extern bool embed_image_file_clear_name(const char *path);

/* Makes the folder of this database. */
extern void embed_image_file_make_directories(void);

/*
 * A lock file that cannot be opened is replaced. Two processes with locks on
 * two files wait only for each other's final names.
 */
extern int	embed_image_file_open_lock(void);

/* How often a process that waits for an flock tries again. */
#define EMBED_LOCK_POLL_MS	10

/* Between two tries: that time, or a cancel, which raises. */
extern void embed_image_file_pause(void);

/* Takes the cluster's writer lock; closing the descriptor releases it, also at abort. */
extern int	embed_image_file_lock(void);

/* ----------------------------------------------------------- the seal */

/* If the file system does not store such times, every mapping hashes the file. */
extern void embed_image_file_seal(int fd, const uint8 *fingerprint);

/* Whether the file at path has the seal of the image; says nothing about its size. */
extern bool embed_image_file_is_sealed(const char *path, const uint8 *fingerprint);

extern bool embed_image_file_is_same_time(struct timespec a, struct timespec b);

/*
 * A transient file, or -1 if there is no file, a damaged one or an object that
 * cannot be opened: then the caller rebuilds the file. trusted: the seal is
 * enough. *checked: the time of modification that stands for what was found.
 */
extern int	embed_image_file_open(const char *path, const uint8 *fingerprint, int64 size_bytes, bool trusted,
								  struct timespec *checked);

/* Whether embed_image_file_open opens it. */
extern bool embed_image_file_is_good(const char *path, const uint8 *fingerprint, int64 size_bytes, bool trusted);

/* --------------------------------------------- files with a final name */

/* Links the image from another database's folder; false if none has it. */
extern bool embed_image_file_link(const uint8 *fingerprint, int64 size_bytes, bool trusted, const char *path);

/* Whether this database has an intact file of the image. */
extern bool embed_image_file_exists(const uint8 *fingerprint, int64 size_bytes);

/* Unlinks this database's file. */
extern void embed_image_file_discard(const uint8 *fingerprint);

#endif
