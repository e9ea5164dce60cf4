/*
 * image_file.c
 *		The files of images: names, the folder and its lock, and whether a file
 *		is intact.
 */
#include "pg/store/image_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "portability/instr_time.h"
#include "storage/fd.h"
#include "storage/latch.h"

/* Bytes hashed between two polls for a cancel, a few ms. */
#define HASH_STEP_BYTES	((size_t) 1024 * 1024)

/* Hashing that takes longer reports its progress, and again after the same time. */
#define SAY_EVERY_S		2.0

/* Numbers the names that this process makes up. */
static unsigned name_counter = 0;

/* -------------------------------------------------------------- names */

void
embed_image_file_path_in(char *path, Oid database, const uint8 *fingerprint)
{
	int			n = snprintf(path, MAXPGPATH, "%s/%u/", EMBED_IMAGE_ROOT, database);

	for (int i = 0; i < EMB_HASH_SIZE; i++)
		n += snprintf(path + n, MAXPGPATH - n, "%02x", fingerprint[i]);
	snprintf(path + n, MAXPGPATH - n, ".img");
}

void
embed_image_file_path(char *path, const uint8 *fingerprint)
{
	embed_image_file_path_in(path, MyDatabaseId, fingerprint);
}

void
embed_image_file_temp_path(char *path)
{
	snprintf(path, MAXPGPATH, "%s/%u/%d.%u.tmp", EMBED_IMAGE_ROOT, MyDatabaseId, MyProcPid, name_counter++);
}

/* ------------------------------------------------- the folder and its lock */

int
embed_image_file_hint(void)
{
	return errhint("Folder \"%s\" in the data directory is a cache. Give it to the server's user, or remove it: "
				   "the next call makes it again.", EMBED_IMAGE_ROOT);
}

bool
embed_image_file_clear_name(const char *path)
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
	snprintf(aside, sizeof(aside), "%s.moved.%d.%u", path, MyProcPid, name_counter++);
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
		if (embed_image_file_clear_name(path) && (MakePGDirectory(path) == 0 || errno == EEXIST))
			return;
	}
	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not create directory \"%s\": %m", path),
			 embed_image_file_hint()));
}

void
embed_image_file_make_directories(void)
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

int
embed_image_file_open_lock(void)
{
	const char *path = EMBED_IMAGE_ROOT "/lock";
	struct stat st;
	int			fd;

	embed_image_file_make_directories();
	for (int attempt = 0;; attempt++)
	{
		/* O_NONBLOCK: the path may be a FIFO */
		fd = OpenTransientFile(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | PG_BINARY);
		if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
			return fd;
		if (fd >= 0)
			CloseTransientFile(fd);
		if (attempt > 0 || !name_is_to_blame(errno) || !embed_image_file_clear_name(path))
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not open file \"%s\": %m", path),
					 embed_image_file_hint()));
	}
}

void
embed_image_file_pause(void)
{
	CHECK_FOR_INTERRUPTS();
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 EMBED_LOCK_POLL_MS, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}

int
embed_image_file_lock(void)
{
	int			fd = embed_image_file_open_lock();

	while (flock(fd, LOCK_EX | LOCK_NB) != 0)
	{
		if (errno != EWOULDBLOCK && errno != EINTR)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not lock file \"%s\": %m", EMBED_IMAGE_ROOT "/lock")));
		embed_image_file_pause();
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

void
embed_image_file_seal(int fd, const uint8 *fingerprint)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, seal_of(fingerprint)};

	(void) futimens(fd, times);
}

static double
seconds_since(instr_time then)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, then);
	return INSTR_TIME_GET_DOUBLE(now);
}

/*
 * Hashes the file and serves cancels. False if the bytes cannot be read: a bad
 * disk must not prevent rebuilding the file. Raises.
 */
static bool
hash_file(int fd, const char *path, int64 size_bytes, EmbHash *hash)
{
	char	   *buf = palloc(HASH_STEP_BYTES);
	double		said = 0;
	instr_time	begin;
	off_t		at = 0;
	ssize_t		n;

	INSTR_TIME_SET_CURRENT(begin);
	while ((n = pread(fd, buf, HASH_STEP_BYTES, at)) != 0)
	{
		double		elapsed = seconds_since(begin);

		CHECK_FOR_INTERRUPTS();
		if (n < 0 && errno != EINTR)
			break;
		if (n > 0 && !emb_hash_update(hash, buf, n))
			ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("SHA-256 failed")));
		at += Max(n, 0);
		if (elapsed < said + SAY_EVERY_S)
			continue;
		said = elapsed;
		ereport(NOTICE,
				(errmsg("checking file \"%s\": %.0f %% after %.0f s", path, 100.0 * at / Max(size_bytes, at), elapsed)));
	}
	pfree(buf);
	return n == 0;
}

/* False for other bytes, and if the bytes cannot be read. */
static bool
has_hash(int fd, const char *path, const uint8 *fingerprint, int64 size_bytes)
{
	EmbHash    *hash = emb_hash_begin();
	uint8		digest[EMB_HASH_SIZE];
	volatile bool was_read = false;

	if (hash == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	PG_TRY();
	{
		was_read = hash_file(fd, path, size_bytes, hash);
	}
	PG_CATCH();
	{
		(void) emb_hash_end(hash, NULL);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (!emb_hash_end(hash, digest))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("SHA-256 failed")));
	return was_read && memcmp(digest, fingerprint, EMB_HASH_SIZE) == 0;
}

bool
embed_image_file_is_same_time(struct timespec a, struct timespec b)
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
is_intact(int fd, const char *path, const uint8 *fingerprint, int64 size_bytes, bool trusted, struct timespec *checked)
{
	struct stat st;
	struct stat hashed;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size != size_bytes)
		return false;
	*checked = st.st_mtim;
	if (trusted && embed_image_file_is_same_time(st.st_mtim, seal_of(fingerprint)))
		return true;
	if (!has_hash(fd, path, fingerprint, size_bytes) || fstat(fd, &hashed) != 0 || !embed_image_file_is_same_time(hashed.st_mtim, st.st_mtim))
		return false;
	embed_image_file_seal(fd, fingerprint);
	if (fstat(fd, &st) != 0)
		return false;
	*checked = st.st_mtim;
	return true;
}

bool
embed_image_file_is_sealed(const char *path, const uint8 *fingerprint)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && embed_image_file_is_same_time(st.st_mtim, seal_of(fingerprint));
}

/*
 * A transient file, or -1 if there is no file, a damaged one or an object that
 * cannot be opened: then the caller rebuilds the file.
 */
int
embed_image_file_open(const char *path, const uint8 *fingerprint, int64 size_bytes, bool trusted, struct timespec *checked)
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
	if (fd < 0 || is_intact(fd, path, fingerprint, size_bytes, trusted, checked))
		return fd;
	CloseTransientFile(fd);
	return -1;
}

bool
embed_image_file_is_good(const char *path, const uint8 *fingerprint, int64 size_bytes, bool trusted)
{
	struct timespec checked;
	int			fd = embed_image_file_open(path, fingerprint, size_bytes, trusted, &checked);

	if (fd >= 0)
		CloseTransientFile(fd);
	return fd >= 0;
}

/* --------------------------------------------- files with a final name */

bool
embed_image_file_link(const uint8 *fingerprint, int64 size_bytes, bool trusted, const char *path)
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
		embed_image_file_path_in(other, database, fingerprint);
		linked = embed_image_file_is_good(other, fingerprint, size_bytes, trusted) && link(other, path) == 0;
	}
	FreeDir(dir);
	return linked;
}

bool
embed_image_file_exists(const uint8 *fingerprint, int64 size_bytes)
{
	char		path[MAXPGPATH];

	embed_image_file_path_in(path, MyDatabaseId, fingerprint);
	return embed_image_file_is_good(path, fingerprint, size_bytes, true);
}

void
embed_image_file_discard(const uint8 *fingerprint)
{
	char		path[MAXPGPATH];

	embed_image_file_path_in(path, MyDatabaseId, fingerprint);
	(void) unlink(path);
}
