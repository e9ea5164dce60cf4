/*
 * materialize.c
 *		Images as files: one inode per cluster, mapped by every backend.
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
#include "pg/store/materialize.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/syscache.h"

#include "pg/store/storage.h"

#define LOCK_POLL_MS	10

/* Free space left on the disk besides the image, so that the server itself can continue. */
#define FREE_RESERVE_BYTES	((int64) 16 * 1024 * 1024)

/* Names tried for a temporary file; sweepers and crashes occasionally occupy one. */
#define TEMP_ATTEMPTS	1000

/* Bytes hashed between two polls for a cancel, a few ms. */
#define HASH_STEP_BYTES	((size_t) 1024 * 1024)

/* Images whose rows this transaction inserted or deleted. */
typedef struct RowChange
{
	uint8		fingerprint[EMB_HASH_SIZE];
	bool		existed;		/* before the transaction */
	bool		exists;			/* at commit */
	struct RowChange *next;
} RowChange;

static RowChange *row_changes = NULL;
static unsigned spool_counter = 0;

/* -------------------------------------------------------------- names */

static void
image_path(char *path, Oid database, const uint8 *fingerprint)
{
	int			n = snprintf(path, MAXPGPATH, "%s/%u/", EMBED_IMAGE_ROOT, database);

	for (int i = 0; i < EMB_HASH_SIZE; i++)
		n += snprintf(path + n, MAXPGPATH - n, "%02x", fingerprint[i]);
	snprintf(path + n, MAXPGPATH - n, ".img");
}

void
embed_materialize_path(char *path, const uint8 *fingerprint)
{
	image_path(path, MyDatabaseId, fingerprint);
}

static void
temp_path(char *path)
{
	snprintf(path, MAXPGPATH, "%s/%u/%d.%u.tmp", EMBED_IMAGE_ROOT, MyDatabaseId, MyProcPid, spool_counter++);
}

/* The fingerprint in "<64 hex digits>.img", or false. */
static bool
parse_image_name(const char *name, uint8 *fingerprint)
{
	if (strlen(name) != 2 * EMB_HASH_SIZE + 4 || strcmp(name + 2 * EMB_HASH_SIZE, ".img") != 0)
		return false;
	for (int i = 0; i < EMB_HASH_SIZE; i++)
	{
		unsigned	byte;

		if (strspn(name + 2 * i, "0123456789abcdef") < 2 || sscanf(name + 2 * i, "%2x", &byte) != 1)
			return false;
		fingerprint[i] = (uint8) byte;
	}
	return true;
}

static bool
has_suffix(const char *name, const char *suffix)
{
	size_t		n = strlen(name);
	size_t		k = strlen(suffix);

	return n > k && strcmp(name + n - k, suffix) == 0;
}

/* --------------------------------------------------------------- files */

/* The hint of every error about our own folder. */
static int
cache_hint(void)
{
	return errhint("Folder \"%s\" in the data directory is a cache. Give it to the server's user, or remove it: "
				   "the next call makes it again.", EMBED_IMAGE_ROOT);
}

/*
 * Removes whatever is at path: a file that cannot be opened, a FIFO, a link, a
 * folder. A folder with content belongs to somebody, so it is only renamed.
 * False with errno if that fails.
 */
static bool
clear_name(const char *path)
{
	char		aside[MAXPGPATH];
	int			unlink_errno;

	if (unlink(path) == 0 || errno == ENOENT)
		return true;
	unlink_errno = errno;
	if (rmdir(path) == 0)
		return true;
	if (errno != ENOTEMPTY && errno != EEXIST)
	{
		errno = unlink_errno;
		return false;
	}
	snprintf(aside, sizeof(aside), "%s.moved.%d.%u", path, MyProcPid, spool_counter++);
	if (rename(path, aside) != 0)
		return false;
	ereport(LOG, (errmsg("moved directory \"%s\" to \"%s\": it had the name of a file that embed writes", path, aside)));
	return true;
}

static void
make_directory(const char *path)
{
	struct stat st;

	if (MakePGDirectory(path) == 0)
		return;
	if (errno == EEXIST)
	{
		/*
		 * a link, even a dangling one, belongs to the administrator; what
		 * lstat cannot check may be a directory
		 */
		if (lstat(path, &st) != 0 || S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode))
			return;
		if (clear_name(path) && (MakePGDirectory(path) == 0 || errno == EEXIST))
			return;
	}
	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not create directory \"%s\": %m", path),
			 cache_hint()));
}

static void
make_directories(void)
{
	char		path[MAXPGPATH];

	make_directory(EMBED_IMAGE_ROOT);
	snprintf(path, sizeof(path), "%s/%u", EMBED_IMAGE_ROOT, MyDatabaseId);
	make_directory(path);
}

/*
 * Whether opening failed because of the object at that name, not for lack of
 * descriptors or memory.
 */
static bool
name_is_to_blame(int error)
{
	return error != EMFILE && error != ENFILE && error != ENOMEM && error != EINTR && error != ENOSPC && error != EDQUOT;
}

/*
 * A lock file that cannot be opened is replaced. Two processes with locks on
 * two files wait only for each other's final names.
 */
static int
open_lock_file(void)
{
	const char *path = EMBED_IMAGE_ROOT "/lock";
	struct stat st;
	int			fd;

	make_directories();
	for (int attempt = 0;; attempt++)
	{
		/* O_NONBLOCK: the path may be a FIFO */
		fd = OpenTransientFile(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | PG_BINARY);
		if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
			return fd;
		if (fd >= 0)
			CloseTransientFile(fd);
		if (attempt > 0 || !name_is_to_blame(errno) || !clear_name(path))
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not open file \"%s\": %m", path),
					 cache_hint()));
	}
}

/* Takes the cluster's writer lock; closing the descriptor releases it, also at abort. */
static int
lock_root(void)
{
	int			fd = open_lock_file();

	while (flock(fd, LOCK_EX | LOCK_NB) != 0)
	{
		if (errno != EWOULDBLOCK && errno != EINTR)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not lock file \"%s\": %m", EMBED_IMAGE_ROOT "/lock")));
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOCK_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	return fd;
}

/* ----------------------------------------------------------- the seal */

/*
 * The modification time of an intact image: a second after 2000-01-01, derived
 * from its hash. Writing to the file, truncating it, or copying it without its
 * times leaves another time. So the inode distinguishes an intact file from a
 * file that must be hashed again (25 ms for 23 MB).
 */
static struct timespec
seal_of(const uint8 *fingerprint)
{
	uint32		choice;

	memcpy(&choice, fingerprint, sizeof(choice));
	return (struct timespec) {.tv_sec = 946684800 + (time_t) (pg_ntoh32(choice) & 0x1FFFFFFF)};
}

/* If the file system does not store such times, every mapping hashes the file. */
static void
put_seal(int fd, const uint8 *fingerprint)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, seal_of(fingerprint)};

	(void) futimens(fd, times);
}

/*
 * False for other bytes, and if the bytes cannot be read: a bad disk must not
 * prevent rebuilding the file.
 */
static bool
has_hash(int fd, const uint8 *fingerprint)
{
	char	   *buf = palloc(HASH_STEP_BYTES);
	EmbHash    *hash = emb_hash_begin();
	uint8		digest[EMB_HASH_SIZE];
	EmbStop		stop = embed_stop();
	bool		ok = hash != NULL;
	bool		cancelled = false;
	off_t		at = 0;
	ssize_t		n = 1;

	while (ok && !cancelled && n != 0)
	{
		n = pread(fd, buf, HASH_STEP_BYTES, at);
		if (n < 0 && errno != EINTR)
			break;
		if (n > 0)
			ok = emb_hash_update(hash, buf, n);
		at += Max(n, 0);
		cancelled = stop.should_stop(stop.ctx);
	}
	if (hash != NULL)
		ok &= emb_hash_end(hash, digest);
	if (cancelled)
		CHECK_FOR_INTERRUPTS();
	if (!ok)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("SHA-256 failed")));
	pfree(buf);
	return n == 0 && memcmp(digest, fingerprint, EMB_HASH_SIZE) == 0;
}

static bool
is_same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/*
 * Whether fd is that image: by its seal if the seal is trusted, else by its
 * hash; then the seal is set again. A file that is written to while it is
 * hashed is not. *checked: the time of modification that stands for what was
 * found.
 */
static bool
is_intact(int fd, const uint8 *fingerprint, int64 size_bytes, bool trusted, struct timespec *checked)
{
	struct stat st;
	struct stat hashed;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size != size_bytes)
		return false;
	*checked = st.st_mtim;
	if (trusted && is_same_time(st.st_mtim, seal_of(fingerprint)))
		return true;
	if (!has_hash(fd, fingerprint) || fstat(fd, &hashed) != 0 || !is_same_time(hashed.st_mtim, st.st_mtim))
		return false;
	put_seal(fd, fingerprint);
	if (fstat(fd, &st) != 0)
		return false;
	*checked = st.st_mtim;
	return true;
}

/*
 * A transient file, or -1 if there is no file, a damaged one or an object that
 * cannot be opened: then the caller rebuilds the file.
 */
static int
open_image(const char *path, const uint8 *fingerprint, int64 size_bytes, bool trusted, struct timespec *checked)
{
	/* O_NONBLOCK: the path may be a FIFO */
	int			fd = OpenTransientFile(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | PG_BINARY);

	if (fd < 0 && errno != ENOENT)
	{
		if (!name_is_to_blame(errno))
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not open file \"%s\": %m", path)));
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\" of a model image: %m", path)));
	}
	if (fd < 0 || is_intact(fd, fingerprint, size_bytes, trusted, checked))
		return fd;
	CloseTransientFile(fd);
	return -1;
}

static bool
image_file_is_good(const char *path, const uint8 *fingerprint, int64 size_bytes, bool trusted)
{
	struct timespec checked;
	int			fd = open_image(path, fingerprint, size_bytes, trusted, &checked);

	if (fd >= 0)
		CloseTransientFile(fd);
	return fd >= 0;
}

/* ---------------------------------------------------- temporary files */

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
embed_materialize_check_room(int64 size_bytes, const char *tables_path, EmbError *err)
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

	for (int i = 0; i < (int) lengthof(rooms); i++)
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
								  "A model needs room for its file in \"%s\", its rows and their write-ahead log. "
								  "Free some space, or import it with a smaller precision.", EMBED_IMAGE_ROOT);
		}
	}
	return EMB_OK;
}

/* Reports ENOSPC before the disk is full: checks the free space, then reserves. */
static void
reserve_space(int fd, const char *path, int64 size_bytes)
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

	/* a sweeper holds the lock only for a moment */
	while ((rc = flock(spool->fd, LOCK_EX)) != 0 && errno == EINTR)
		;
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

		temp_path(spool->path);
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
					 is_refused ? cache_hint() : 0));
		CHECK_FOR_INTERRUPTS();
	}
}

void
embed_spool_begin(EmbedSpool *spool)
{
	make_directories();
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
	put_seal(spool->fd, spool->fingerprint);
	/* without a time the file is hashed before it is mapped */
	if (fstat(spool->fd, &st) == 0)
		spool->sealed = st.st_mtim;

	/*
	 * the file stays writable: pg_rewind overwrites our files, and a file it
	 * cannot open would stop it
	 */
	if (pg_fsync(spool->fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not fsync file \"%s\": %m", spool->path)));
}

EmbModel *
embed_spool_open(EmbedSpool *spool, MemoryContext cxt)
{
	EmbAllocator mem = embed_allocator(cxt);
	EmbStop		stop = embed_stop();
	EmbModel   *model;
	EmbError	err;
	EmbStatus	status;

	if (spool->size_bytes == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("the image is empty"),
				 errhint("Make one with embed-cli pack.")));
	embed_map(&spool->mapping, spool->fd, spool->size_bytes, spool->path);
	status = emb_model_open(spool->mapping.addr, spool->size_bytes, EMB_OPEN_CHECK_ALL, &mem, &stop, &model, &err);
	embed_spool_check(spool);
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

/* Links the image from another database's folder; false if none has it. */
static bool
link_from_other_database(const uint8 *fingerprint, int64 size_bytes, bool trusted, const char *path)
{
	DIR		   *dir = AllocateDir(EMBED_IMAGE_ROOT);
	struct dirent *de;
	bool		linked = false;

	if (dir == NULL)
		return false;
	while (!linked && (de = ReadDirExtended(dir, EMBED_IMAGE_ROOT, LOG)) != NULL)
	{
		Oid			database = (Oid) strtoul(de->d_name, NULL, 10);
		char		other[MAXPGPATH];

		if (database == InvalidOid || database == MyDatabaseId)
			continue;
		image_path(other, database, fingerprint);
		linked = image_file_is_good(other, fingerprint, size_bytes, trusted) && link(other, path) == 0;
	}
	FreeDir(dir);
	return linked;
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

typedef enum Published
{
	PUBLISH_FAILED,				/* errno has the reason; the temporary file still exists */
	PUBLISHED_OURS,
	PUBLISHED_OTHERS			/* another session's equal file has the name, ours is removed */
} Published;

/*
 * Under the writer lock: renames spool to path, unless another session's equal
 * file has the name.
 */
static Published
publish(EmbedSpool *spool)
{
	char		path[MAXPGPATH];
	Published	result = PUBLISHED_OTHERS;

	image_path(path, MyDatabaseId, spool->fingerprint);
	if (!image_file_is_good(path, spool->fingerprint, spool->size_bytes, true))
	{
		(void) clear_name(path);	/* a damaged file */
		if (!link_from_other_database(spool->fingerprint, spool->size_bytes, true, path))
		{
			if (rename(spool->path, path) != 0)
				return PUBLISH_FAILED;
			result = PUBLISHED_OURS;
		}
	}
	if (result == PUBLISHED_OTHERS)
		(void) unlink(spool->path);
	spool->path[0] = '\0';
	sync_directory();
	return result;
}

/*
 * The name is taken by an object that cannot be removed: calls work, and each
 * session uses its own file.
 */
static void
warn_of_private_file(const char *path)
{
	ereport(WARNING,
			(errcode_for_file_access(),
			 errmsg("could not replace file \"%s\": %m", path),
			 errdetail("This session uses a file of its own instead, and does not share its memory."),
			 errhint("Remove the file.")));
}

static int	sweep(bool remove);

void
embed_spool_publish(EmbedSpool *spool)
{
	int			lock_fd;

	embed_unmap(&spool->mapping);
	lock_fd = lock_root();
	/* only the rows matter: the next user of the model rebuilds the file */
	if (publish(spool) == PUBLISH_FAILED)
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not rename file \"%s\": %m", spool->path)));
		(void) unlink(spool->path);
		spool->path[0] = '\0';
	}
	(void) sweep(true);
	CloseTransientFile(lock_fd);
	CloseTransientFile(spool->fd);
}

/* ------------------------------------------------------ materializing */

static void
write_chunk(void *ctx, const char *data, size_t size)
{
	EmbError	err;
	EmbStatus	status = embed_spool_write(ctx, data, size, &err);

	if (status != EMB_OK)
		embed_throw(status, &err);
}

pg_noreturn static void
rows_error(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the stored image of a model does not have the hash it was imported with"),
			 errdetail("%s", detail),
			 errhint("Import the model again under its name, or restore the tables of schema _embed from a backup. "
					 "SELECT * FROM embed_verify('name') reports what is wrong.")));
}

/*
 * Anybody with rights on the tables may have written the rows, so the hash
 * alone proves little: the image must pass the checks for a client's image.
 */
static void
check_spool(EmbedSpool *spool)
{
	EmbModel   *model = embed_spool_open(spool, CurrentMemoryContext);

	emb_model_close(model);
	embed_unmap(&spool->mapping);
}

/* Writes the file from the rows and checks the hash on the way, then checks the whole image. */
static void
write_from_rows(EmbedSpool *spool, const uint8 *fingerprint, int64 size_bytes, Snapshot snapshot)
{
	if (!embed_storage_size_is_credible(fingerprint, snapshot, size_bytes))
		rows_error(psprintf("There is no last chunk for the %lld bytes that it should have.", (long long) size_bytes));
	reserve_space(spool->fd, spool->path, size_bytes);
	embed_storage_read_image(fingerprint, snapshot, write_chunk, spool);
	embed_spool_finish(spool);
	if (spool->size_bytes != size_bytes || memcmp(spool->fingerprint, fingerprint, EMB_HASH_SIZE) != 0)
		rows_error(psprintf("%lld bytes were read, %lld expected.", (long long) spool->size_bytes, (long long) size_bytes));
	check_spool(spool);
}

/*
 * Maps fd. addr is NULL if the file was written to since it was checked: what
 * the mapping took for its unchanged state would be another one.
 */
static void
map_checked(EmbedMapping *mapping, int fd, int64 size_bytes, const char *path, struct timespec checked)
{
	embed_map(mapping, fd, size_bytes, path);
	if (!is_same_time(mapping->modified, checked))
		embed_unmap(mapping);
}

/* Maps the file; addr is NULL if the file is missing or is not that image. */
static void
map_file(const uint8 *fingerprint, int64 size_bytes, bool trusted, EmbedMapping *mapping)
{
	char		path[MAXPGPATH];
	struct timespec checked;
	int			fd;

	mapping->addr = NULL;
	image_path(path, MyDatabaseId, fingerprint);
	fd = open_image(path, fingerprint, size_bytes, trusted, &checked);
	if (fd < 0)
		return;
	map_checked(mapping, fd, size_bytes, path, checked);
	CloseTransientFile(fd);
}

/*
 * Renames the finished file to its final name and maps it. Without the name it
 * is mapped anyway. Uses the open descriptor, because opening again may fail.
 */
static void
publish_and_map(EmbedSpool *spool, EmbedMapping *mapping)
{
	char		path[MAXPGPATH];

	image_path(path, MyDatabaseId, spool->fingerprint);
	switch (publish(spool))
	{
		case PUBLISHED_OTHERS:
			map_file(spool->fingerprint, spool->size_bytes, true, mapping);
			break;
		case PUBLISHED_OURS:
			map_checked(mapping, spool->fd, spool->size_bytes, path, spool->sealed);
			break;
		case PUBLISH_FAILED:
			warn_of_private_file(path);
			embed_map(mapping, spool->fd, spool->size_bytes, path);
			mapping->is_private = true;
			(void) unlink(spool->path);
			spool->path[0] = '\0';
			break;
	}
	/* the mapping keeps the descriptor: if the old name remains, sweepers may remove it */
	(void) flock(spool->fd, LOCK_UN);
}

/*
 * Builds the file if it is missing (another backend may be faster) and maps
 * it, before a sweep that may no longer see its row.
 */
static void
materialize_file(const uint8 *fingerprint, int64 size_bytes, bool trusted, Snapshot snapshot, EmbedMapping *mapping)
{
	char		path[MAXPGPATH];
	int			lock_fd;

	embed_storage_lock_for_read();
	lock_fd = lock_root();
	image_path(path, MyDatabaseId, fingerprint);
	if (!image_file_is_good(path, fingerprint, size_bytes, trusted) &&
		!((void) clear_name(path), link_from_other_database(fingerprint, size_bytes, trusted, path)))
	{
		EmbedSpool	spool;

		embed_spool_begin(&spool);
		PG_TRY();
		{
			write_from_rows(&spool, fingerprint, size_bytes, snapshot);
			publish_and_map(&spool, mapping);
		}
		PG_CATCH();
		{
			embed_spool_abort(&spool);
			PG_RE_THROW();
		}
		PG_END_TRY();
		CloseTransientFile(spool.fd);
		(void) sweep(true);
	}
	else
		map_file(fingerprint, size_bytes, true, mapping);
	CloseTransientFile(lock_fd);
}

void
embed_materialize(const uint8 *fingerprint, int64 size_bytes, bool trusted, Snapshot snapshot, EmbedMapping *mapping)
{
	map_file(fingerprint, size_bytes, trusted, mapping);
	/* a session that commits a drop or finds damage unlinks without the lock */
	for (int attempt = 0; mapping->addr == NULL; attempt++)
	{
		if (attempt == 10)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the file of a model image keeps disappearing from \"%s\"", EMBED_IMAGE_ROOT)));
		CHECK_FOR_INTERRUPTS();
		materialize_file(fingerprint, size_bytes, trusted, snapshot, mapping);
	}
}

bool
embed_materialize_has_file(const uint8 *fingerprint, int64 size_bytes)
{
	char		path[MAXPGPATH];

	image_path(path, MyDatabaseId, fingerprint);
	return image_file_is_good(path, fingerprint, size_bytes, true);
}

void
embed_materialize_discard(const uint8 *fingerprint)
{
	char		path[MAXPGPATH];

	image_path(path, MyDatabaseId, fingerprint);
	(void) unlink(path);
}

/* -------------------------------------------------------------- sweep */

/* Removes a temporary file whose writer is gone. */
static void
sweep_temp(const char *path)
{
	int			fd = OpenTransientFile(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | PG_BINARY);

	if (fd < 0)
		return;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		(void) unlink(path);
	CloseTransientFile(fd);
}

static RowChange *
find_row_change(const uint8 *fingerprint)
{
	for (RowChange *change = row_changes; change != NULL; change = change->next)
	{
		if (memcmp(change->fingerprint, fingerprint, EMB_HASH_SIZE) == 0)
			return change;
	}
	return NULL;
}

/*
 * Whether the row of an image exists, or existed when this transaction began:
 * the transaction may be rolled back.
 */
static bool
image_is_owned(const uint8 *fingerprint)
{
	RowChange  *change = find_row_change(fingerprint);
	int64		size_bytes;

	return (change != NULL && change->existed) || embed_storage_find_image(fingerprint, NULL, &size_bytes);
}

/*
 * The number of files in the database's folder without an owner (temporary
 * files may have a writer). remove: also removes them. all: the database is
 * gone, and so is everything in its folder.
 */
static int
sweep_database(Oid database, bool all, bool remove)
{
	char		dirname[MAXPGPATH];
	DIR		   *dir;
	struct dirent *de;
	int			n = 0;

	snprintf(dirname, sizeof(dirname), "%s/%u", EMBED_IMAGE_ROOT, database);
	dir = AllocateDir(dirname);
	if (dir == NULL)
		return 0;
	while ((de = ReadDirExtended(dir, dirname, LOG)) != NULL)
	{
		char		path[MAXPGPATH * 2];
		uint8		fingerprint[EMB_HASH_SIZE];
		bool		is_temp = has_suffix(de->d_name, ".tmp");

		if (!is_temp && !(parse_image_name(de->d_name, fingerprint) && (all || !image_is_owned(fingerprint))))
			continue;
		n++;
		if (!remove)
			continue;
		snprintf(path, sizeof(path), "%s/%s", dirname, de->d_name);
		if (is_temp)
			sweep_temp(path);
		else
			(void) unlink(path);
	}
	FreeDir(dir);
	if (all && remove)
		(void) rmdir(dirname);
	return n + all;
}

/* The amount to remove for this database and for dropped databases; remove: also removes it. */
static int
sweep(bool remove)
{
	DIR		   *dir = AllocateDir(EMBED_IMAGE_ROOT);
	struct dirent *de;
	int			n = 0;

	if (dir == NULL)
		return 0;
	while ((de = ReadDirExtended(dir, EMBED_IMAGE_ROOT, LOG)) != NULL)
	{
		Oid			database = (Oid) strtoul(de->d_name, NULL, 10);

		if (database == MyDatabaseId)
			n += sweep_database(database, false, remove);
		else if (database != InvalidOid &&
				 !SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database)))
			n += sweep_database(database, true, remove);
	}
	FreeDir(dir);
	return n;
}

void
embed_materialize_sweep_if_idle(void)
{
	int			lock_fd;

	if (sweep(false) == 0)
		return;
	embed_storage_lock_for_read();
	lock_fd = open_lock_file();
	if (flock(lock_fd, LOCK_EX | LOCK_NB) == 0)
		(void) sweep(true);
	CloseTransientFile(lock_fd);
}

void
embed_materialize_discard_all(void)
{
	char		dirname[MAXPGPATH];
	DIR		   *dir;
	struct dirent *de;

	snprintf(dirname, sizeof(dirname), "%s/%u", EMBED_IMAGE_ROOT, MyDatabaseId);
	dir = AllocateDir(dirname);
	if (dir == NULL)
		return;
	while ((de = ReadDirExtended(dir, dirname, LOG)) != NULL)
	{
		char		path[MAXPGPATH * 2];

		snprintf(path, sizeof(path), "%s/%s", dirname, de->d_name);
		if (has_suffix(de->d_name, ".img"))
			(void) unlink(path);
	}
	FreeDir(dir);
}

void
embed_materialize_sweep(void)
{
	int			lock_fd;

	embed_storage_lock_for_read();
	lock_fd = lock_root();
	(void) sweep(true);
	CloseTransientFile(lock_fd);
}

/* --------------------------------------------------- end of transaction */

void
embed_materialize_row_changes(const uint8 *fingerprint, bool existed)
{
	RowChange  *change;

	/* the state before the transaction is known at its first change */
	if (find_row_change(fingerprint) != NULL)
		return;
	change = MemoryContextAlloc(TopMemoryContext, sizeof(RowChange));
	memcpy(change->fingerprint, fingerprint, EMB_HASH_SIZE);
	change->existed = existed;
	change->exists = true;
	change->next = row_changes;
	row_changes = change;
}

/*
 * Subtransactions may have ended in the meantime, so the rows themselves are
 * read, as long as this is possible. We do not learn the end of a prepared
 * transaction: sweepers handle its files. A wrong guess costs one
 * materialization.
 */
static void
unlink_without_row(XactEvent event, pg_attribute_unused() void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT)
	{
		for (RowChange *change = row_changes; change != NULL; change = change->next)
		{
			int64		size_bytes;

			/* the extension itself may have been dropped */
			change->exists = OidIsValid(embed_storage_model_relid()) &&
				embed_storage_find_image(change->fingerprint, NULL, &size_bytes);
		}
		return;
	}
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	while (row_changes != NULL)
	{
		RowChange  *change = row_changes;

		row_changes = change->next;
		if ((event == XACT_EVENT_COMMIT && !change->exists) || (event == XACT_EVENT_ABORT && !change->existed))
			embed_materialize_discard(change->fingerprint);
		pfree(change);
	}
}

void
embed_materialize_init(void)
{
	RegisterXactCallback(unlink_without_row, NULL);
}
