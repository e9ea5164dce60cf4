/*
 * spool.c
 *		A temporary file for a new image, from its first byte to its final name.
 */
#include "pg/store/spool.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "pg/store/filed.h"
#include "pg/store/image_file.h"
#include "pg/store/sweep.h"

/* Free space left on the disk besides the image, so that the server itself can continue. */
#define FREE_RESERVE_BYTES	((int64) 16 * 1024 * 1024)

/* Names tried for a temporary file; sweepers and crashes occasionally occupy one. */
#define TEMP_ATTEMPTS	1000

static int64
free_bytes(const struct statvfs *fs)
{
	double		bytes = (double) fs->f_bavail * fs->f_frsize;

	return bytes < (double) PG_INT64_MAX / 2 ? (int64) bytes : PG_INT64_MAX / 2;
}

/* The bytes that an import adds to the file system of a path. */
typedef struct Room
{
	const char *path;
	int64		bytes;
} Room;

EmbStatus
embed_spool_check_room(int64 size_bytes, const char *tables_path, EmbError *err)
{
	/*
	 * pages, tuples and the TOAST index add 3 %; the log keeps no more than a
	 * checkpoint leaves
	 */
	int64		rows_bytes = size_bytes + size_bytes / 16;
	int64		log_bytes = Min(rows_bytes, (int64) max_wal_size_mb * 1024 * 1024);
	Room		rooms[] = {{EMBED_IMAGE_ROOT, size_bytes + FREE_RESERVE_BYTES}, {tables_path, rows_bytes}, {XLOGDIR, log_bytes}};
	int64		needed[lengthof(rooms)];
	struct stat st[lengthof(rooms)];
	int			n = tables_path != NULL ? (int) lengthof(rooms) : 1;

	for (int i = 0; i < n; i++)
	{
		struct statvfs fs;

		if (stat(rooms[i].path, &st[i]) != 0)
			memset(&st[i], 0, sizeof(st[i]));
		/* plus the bytes of other paths in the same file system */
		needed[i] = rooms[i].bytes;
		for (int j = 0; j < i; j++)
			needed[i] += st[j].st_dev == st[i].st_dev ? rooms[j].bytes : 0;
		if (statvfs(rooms[i].path, &fs) == 0 && free_bytes(&fs) < needed[i])
		{
			emb_error(err, EMB_ERR_DISK_FULL,
					  "not enough free space for a model image of %lld bytes: %lld bytes are needed in the file system "
					  "of \"%s\", and %lld are free", (long long) size_bytes, (long long) needed[i], rooms[i].path,
					  (long long) free_bytes(&fs));
			return emb_error_hint(err, EMB_ERR_DISK_FULL,
								  tables_path == NULL ? "Free some space, or import the model with a smaller precision."
								  : "A model needs room for its file in \"%s\", its rows and their write-ahead log. "
								  "Free some space, or import it with a smaller precision or with storage \"file\".", EMBED_IMAGE_ROOT);
		}
	}
	return EMB_OK;
}

void
embed_spool_reserve(int fd, const char *path, int64 size_bytes)
{
	struct statvfs fs;
	int			rc;

	if (fstatvfs(fd, &fs) == 0 && free_bytes(&fs) < size_bytes + FREE_RESERVE_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_DISK_FULL),
				 errmsg("not enough free space for a model image of %lld bytes in \"%s\"",
						(long long) size_bytes, EMBED_IMAGE_ROOT),
				 errdetail("%lld bytes are needed and %lld are free.",
						   (long long) (size_bytes + FREE_RESERVE_BYTES), (long long) free_bytes(&fs)),
				 errhint("Free some space in the file system of the data directory.")));
	while ((rc = posix_fallocate(fd, 0, size_bytes)) == EINTR)
		CHECK_FOR_INTERRUPTS();
	if (rc != 0 && rc != EOPNOTSUPP && rc != EINVAL)
	{
		errno = rc;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not reserve %lld bytes for file \"%s\": %m", (long long) size_bytes, path)));
	}
}

/* Locks a new file of ours. False if a sweeper was faster: the name is gone. */
static bool
lock_temp(EmbedSpool *spool)
{
	struct stat st;
	int			rc;

	/* a sweeper holds the lock only for a moment, unless somebody stops it; it takes care of what a cancel leaves */
	while ((rc = flock(spool->fd, LOCK_EX | LOCK_NB)) != 0 && (errno == EWOULDBLOCK || errno == EINTR))
		embed_image_file_pause();
	if (rc != 0 || fstat(spool->fd, &st) != 0)
	{
		int			save_errno = errno;

		(void) unlink(spool->path);
		errno = save_errno;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not lock file \"%s\": %m", spool->path)));
	}
	return st.st_nlink > 0;
}

/*
 * Creates and locks the temporary file. A sweeper may lock it first, as the
 * file of a dead writer; then the file is unlinked, and we try another name.
 * We do the same if a crash left a file with that name and we have the PID of
 * its writer.
 */
static void
create_temp(EmbedSpool *spool)
{
	for (int attempt = 0;; attempt++)
	{
		bool		is_refused;

		embed_image_file_temp_path(spool->path);
		spool->fd = OpenTransientFile(spool->path, O_RDWR | O_CREAT | O_EXCL | PG_BINARY);
		if (spool->fd >= 0)
		{
			if (lock_temp(spool))
				return;
			CloseTransientFile(spool->fd);
			errno = EEXIST;
		}
		is_refused = errno == EACCES || errno == EPERM || errno == EROFS;
		if (errno != EEXIST || attempt == TEMP_ATTEMPTS)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not create file \"%s\": %m", spool->path),
					 is_refused ? embed_image_file_hint() : 0));
		CHECK_FOR_INTERRUPTS();
	}
}

void
embed_spool_begin(EmbedSpool *spool)
{
	embed_image_file_make_directories();
	memset(spool, 0, sizeof(*spool));
	create_temp(spool);
	spool->hash = emb_hash_begin();
	if (spool->hash == NULL)
	{
		embed_spool_abort(spool);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
}

EmbStatus
embed_spool_write(EmbedSpool *spool, const void *data, size_t size, EmbError *err)
{
	const char *p = data;

	if (!emb_hash_update(spool->hash, data, size))
		return emb_error(err, EMB_ERR_INTERNAL, "SHA-256 failed");
	while (size > 0)
	{
		ssize_t		done = write(spool->fd, p, size);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return emb_error(err, errno == ENOSPC || errno == EDQUOT ? EMB_ERR_DISK_FULL : EMB_ERR_IO,
							 "could not write file \"%s\": %s", spool->path, strerror(errno));
		p += done;
		size -= done;
		spool->size_bytes += done;
	}
	return EMB_OK;
}

void
embed_spool_abort(EmbedSpool *spool)
{
	embed_progress_leave(&spool->progress);
	embed_unmap(&spool->mapping);
	if (spool->hash != NULL)
		(void) emb_hash_end(spool->hash, NULL);
	spool->hash = NULL;
	if (spool->path[0] != '\0')
		(void) unlink(spool->path);
	spool->path[0] = '\0';
}

void
embed_spool_finish(EmbedSpool *spool)
{
	EmbHash    *hash = spool->hash;
	struct stat st;

	spool->hash = NULL;
	if (!emb_hash_end(hash, spool->fingerprint))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("SHA-256 failed")));
	embed_image_file_seal(spool->fd, spool->fingerprint);
	/* without a time the file is hashed before it is mapped */
	if (fstat(spool->fd, &st) == 0)
		spool->sealed = st.st_mtim;

	/* no fchmod: the file stays writable (image_file.h) */
	if (pg_fsync(spool->fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not fsync file \"%s\": %m", spool->path)));
}

EmbStatus
embed_spool_try_open(EmbedSpool *spool, MemoryContext cxt, EmbModel **model, EmbError *err)
{
	EmbAllocator mem = embed_allocator(cxt);
	EmbStatus	status;

	if (spool->size_bytes == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("the image is empty"),
				 errhint("Make one with embed-cli pack.")));
	embed_map(&spool->mapping, spool->fd, spool->size_bytes, spool->path);
	status = embed_mapping_open_checked(&spool->mapping, &mem, model, err);
	embed_spool_check(spool);
	return status;
}

EmbModel *
embed_spool_open(EmbedSpool *spool, MemoryContext cxt)
{
	EmbModel   *model;
	EmbError	err;
	EmbStatus	status = embed_spool_try_open(spool, cxt, &model, &err);

	if (status != EMB_OK)
		embed_throw(status, &err);
	return model;
}

void
embed_spool_check(EmbedSpool *spool)
{
	if (!embed_mapping_is_damaged(&spool->mapping))
		return;
	embed_mapping_note_damage(&spool->mapping);
	ereport(ERROR,
			(errcode(ERRCODE_IO_ERROR),
			 errmsg("file \"%s\" was changed or could not be read while it was in use", spool->path),
			 errdetail("The file was truncated or written to, or its disk failed."),
			 errhint("Look at the disk of the data directory, then call again.")));
}

/* Failures do not matter: a name lost in a crash costs one materialization. */
static void
sync_directory(void)
{
	char		path[MAXPGPATH];
	int			fd;

	snprintf(path, sizeof(path), "%s/%u", EMBED_IMAGE_ROOT, MyDatabaseId);
	fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	if (fd < 0)
		return;
	(void) pg_fsync(fd);
	CloseTransientFile(fd);
}

/*
 * Under the writer lock: renames spool to path, unless another session's equal
 * file has the name.
 */
EmbedPublished
embed_spool_publish_locked(EmbedSpool *spool)
{
	char		path[MAXPGPATH];
	EmbedPublished	result = EMBED_PUBLISHED_OTHERS;

	embed_image_file_path_in(path, MyDatabaseId, spool->fingerprint);
	if (!embed_image_file_is_good(path, spool->fingerprint, spool->size_bytes, true))
	{
		(void) embed_image_file_clear_name(path);	/* a damaged file */
		if (!embed_image_file_link(spool->fingerprint, spool->size_bytes, true, path))
		{
			if (rename(spool->path, path) != 0)
				return EMBED_PUBLISH_FAILED;
			result = EMBED_PUBLISHED_OURS;
		}
	}
	if (result == EMBED_PUBLISHED_OTHERS)
		(void) unlink(spool->path);
	spool->path[0] = '\0';
	sync_directory();
	return result;
}

void
embed_spool_publish(EmbedSpool *spool)
{
	int			lock_fd;

	embed_unmap(&spool->mapping);
	lock_fd = embed_image_file_lock();
	/* only the rows matter: the next user of the model rebuilds the file */
	if (embed_spool_publish_locked(spool) == EMBED_PUBLISH_FAILED)
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not rename file \"%s\": %m", spool->path)));
		(void) unlink(spool->path);
		spool->path[0] = '\0';
	}
	(void) embed_sweep_locked(true);
	CloseTransientFile(lock_fd);
	CloseTransientFile(spool->fd);
	embed_progress_leave(&spool->progress);
}

void
embed_spool_publish_filed(EmbedSpool *spool)
{
	embed_unmap(&spool->mapping);
	embed_filed_publish(spool->path, spool->fingerprint, spool->size_bytes);
	spool->path[0] = '\0';
	CloseTransientFile(spool->fd);
	embed_progress_leave(&spool->progress);
}
