/*
 * filed.c
 *		Filed images: the folder, its owner files, and who removes what.
 */
#include "pg/store/filed.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include <common/file_perm.h>			/* the server's, not ours */
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/syscache.h"

#include "pg/store/image_file.h"

#define LOCK_PATH	EMBED_FILED_ROOT "/pgsql_tmp.lock"

/* A holder syncs the folder, which may take a while on a slow disk. */
#define LOCK_PATIENCE_MS	1000

/* -------------------------------------------------------------- names */

static int
put_stem(char *path, const uint8 *fingerprint)
{
	int			n = snprintf(path, MAXPGPATH, "%s/", EMBED_FILED_ROOT);

	for (int i = 0; i < EMB_HASH_SIZE; i++)
		n += snprintf(path + n, MAXPGPATH - n, "%02x", fingerprint[i]);
	return n;
}

void
embed_filed_path(char *path, const uint8 *fingerprint)
{
	int			n = put_stem(path, fingerprint);

	snprintf(path + n, MAXPGPATH - n, ".img");
}

/* What tells this cluster from others: its standbys have the same. */
static uint32
cluster_id(void)
{
	uint64		id = GetSystemIdentifier();

	return (uint32) (id >> 32) ^ (uint32) id;
}

/* The owner file of a database of this cluster. */
static void
owner_path(char *path, const uint8 *fingerprint, Oid database)
{
	int			n = put_stem(path, fingerprint);

	snprintf(path + n, MAXPGPATH - n, ".%u-%08x", database, cluster_id());
}

/* The parts of the name of an owner file, or false. */
static bool
parse_owner_name(const char *name, uint8 *fingerprint, Oid *database, bool *is_foreign)
{
	unsigned	oid;
	unsigned	cluster;
	int			end = 0;

	if (strspn(name, "0123456789abcdef") != 2 * EMB_HASH_SIZE)
		return false;
	for (int i = 0; i < EMB_HASH_SIZE; i++)
	{
		unsigned	byte;

		if (sscanf(name + 2 * i, "%2x", &byte) != 1)
			return false;
		fingerprint[i] = (uint8) byte;
	}
	if (sscanf(name + 2 * EMB_HASH_SIZE, ".%10u-%8x%n", &oid, &cluster, &end) != 2 ||
		end == 0 || name[2 * EMB_HASH_SIZE + end] != '\0')
		return false;
	*database = (Oid) oid;
	*is_foreign = cluster != cluster_id();
	return true;
}

/* --------------------------------------------------- the folder and its lock */

/*
 * A file of ours by plain system calls, because OpenTransientFile may raise.
 * -1 with errno.
 */
static int
open_plain(const char *path, int flags)
{
	int			fd;

	while ((fd = open(path, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, pg_file_create_mode)) < 0 && errno == EINTR)
		;
	return fd;
}

/*
 * The folder's lock, held for a few system calls only; closing releases it. -1
 * with errno, EWOULDBLOCK: another process has it.
 */
static int
try_lock_folder(void)
{
	int			fd = open_plain(LOCK_PATH, O_RDWR | O_CREAT);
	int			save_errno;

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	save_errno = errno;
	(void) close(fd);
	errno = save_errno == EINTR ? EWOULDBLOCK : save_errno;
	return -1;
}

/* Waits for the lock, a cancel or a timeout. Raises these only. */
static int
lock_folder(void)
{
	int			fd;

	while ((fd = try_lock_folder()) < 0 && errno == EWOULDBLOCK)
		embed_image_file_pause();
	return fd;
}

/*
 * The same where nothing may raise, or nobody should wait for long: gives up
 * after LOCK_PATIENCE_MS, the next times at once. A process that was stopped
 * must not keep others from the end of their transactions.
 */
static int
lock_folder_briefly(void)
{
	static bool is_stuck = false;
	int			left_ms = is_stuck ? 0 : LOCK_PATIENCE_MS;
	int			fd;

	while ((fd = try_lock_folder()) < 0 && errno == EWOULDBLOCK && left_ms > 0)
	{
		pg_usleep(EMBED_LOCK_POLL_MS * 1000L);
		left_ms -= EMBED_LOCK_POLL_MS;
	}
	is_stuck = fd < 0 && errno == EWOULDBLOCK;
	return fd;
}

/* False with errno. */
static bool
sync_folder(const char *path)
{
	int			fd = open_plain(path, O_RDONLY | O_DIRECTORY);
	bool		ok = fd >= 0 && pg_fsync(fd) == 0;

	if (fd >= 0)
	{
		int			save_errno = errno;

		(void) close(fd);
		errno = save_errno;
	}
	return ok;
}

/* False with errno. */
static bool
make_folder(void)
{
	struct stat st;

	if (MakePGDirectory(EMBED_FILED_ROOT) == 0)
		return sync_folder(".");
	return errno == EEXIST && stat(EMBED_FILED_ROOT, &st) == 0 && S_ISDIR(st.st_mode);
}

bool
embed_filed_exists(const uint8 *fingerprint)
{
	char		path[MAXPGPATH];
	struct stat st;

	embed_filed_path(path, fingerprint);
	return lstat(path, &st) == 0;
}

/* ------------------------------------------------------------- owners */

/* Calls visit for every owner file; it returns false to end the visit. */
typedef bool (*OwnerVisit) (void *ctx, const uint8 *fingerprint, Oid database, bool is_foreign, const char *path);

static void
visit_owners(OwnerVisit visit, void *ctx)
{
	DIR		   *dir = opendir(EMBED_FILED_ROOT);
	struct dirent *de;
	bool		more = true;

	while (dir != NULL && more && (de = readdir(dir)) != NULL)
	{
		char		path[MAXPGPATH * 2];
		uint8		fingerprint[EMB_HASH_SIZE];
		Oid			database;
		bool		is_foreign;

		if (!parse_owner_name(de->d_name, fingerprint, &database, &is_foreign))
			continue;
		snprintf(path, sizeof(path), "%s/%s", EMBED_FILED_ROOT, de->d_name);
		more = visit(ctx, fingerprint, database, is_foreign, path);
	}
	if (dir != NULL)
		(void) closedir(dir);
}

typedef struct OwnerSearch
{
	const uint8 *fingerprint;
	Oid			except;			/* not this database */
	bool		found;
} OwnerSearch;

static bool
is_other_owner(void *ctx, const uint8 *fingerprint, Oid database, bool is_foreign, pg_attribute_unused() const char *path)
{
	OwnerSearch *search = ctx;

	search->found |= !is_foreign && database != search->except && memcmp(fingerprint, search->fingerprint, EMB_HASH_SIZE) == 0;
	return !search->found;
}

static bool
has_owner_except(const uint8 *fingerprint, Oid database)
{
	OwnerSearch search = {.fingerprint = fingerprint, .except = database};

	visit_owners(is_other_owner, &search);
	return search.found;
}

bool
embed_filed_has_owner(const uint8 *fingerprint)
{
	return has_owner_except(fingerprint, InvalidOid);
}

/* Under the lock. False with errno. */
static bool
make_owner(const uint8 *fingerprint)
{
	char		path[MAXPGPATH];
	int			fd;

	owner_path(path, fingerprint, MyDatabaseId);
	fd = open_plain(path, O_RDWR | O_CREAT);
	if (fd < 0)
		return false;
	(void) close(fd);
	return true;
}

/*
 * Under the lock. The image goes before its last owner file: after a crash in
 * between, a sweeper finds the owner file.
 */
static void
release_locked(const uint8 *fingerprint, Oid database, bool keep_file)
{
	char		path[MAXPGPATH];

	if (!keep_file && !has_owner_except(fingerprint, database))
	{
		embed_filed_path(path, fingerprint);
		(void) unlink(path);
	}
	owner_path(path, fingerprint, database);
	(void) unlink(path);
}

static void
release(const uint8 *fingerprint, Oid database, bool keep_file)
{
	int			lock_fd = lock_folder_briefly();

	/* without the folder there is nothing to release; else, or if the lock is held, a sweeper will do it */
	if (lock_fd < 0)
		return;
	release_locked(fingerprint, database, keep_file);
	(void) sync_folder(EMBED_FILED_ROOT);
	(void) close(lock_fd);
}

void
embed_filed_release(const uint8 *fingerprint, bool keep_file)
{
	release(fingerprint, MyDatabaseId, keep_file);
}

void
embed_filed_own(const uint8 *fingerprint)
{
	char		path[MAXPGPATH];
	struct stat st;
	int			lock_fd;
	bool		made;

	owner_path(path, fingerprint, MyDatabaseId);
	if (lstat(path, &st) == 0)
		return;
	lock_fd = lock_folder();
	made = lock_fd >= 0 && make_owner(fingerprint);
	if (!made)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", path),
				 errdetail("If other databases drop the model, its image is removed.")));
	if (lock_fd >= 0)
		(void) close(lock_fd);
}

/* -------------------------------------------------------------- publish */

/* Under the lock: the owner file, then the image. False with errno. */
static bool
publish_locked(const char *temp_path, const char *path, const uint8 *fingerprint, bool is_there)
{
	if (!make_owner(fingerprint))
		return false;
	if (is_there ? unlink(temp_path) != 0 : rename(temp_path, path) != 0)
		return false;
	return sync_folder(EMBED_FILED_ROOT);
}

void
embed_filed_publish(const char *temp_path, const uint8 *fingerprint, int64 size_bytes)
{
	char		path[MAXPGPATH];
	struct stat st;
	int			lock_fd;
	bool		is_there;
	bool		ok;
	int			save_errno;

	embed_filed_path(path, fingerprint);
	if (!make_folder())
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", EMBED_FILED_ROOT)));
	/* before the lock, because it may hash the file; rename replaces a wrong file, but not a directory */
	is_there = embed_image_file_is_good(path, fingerprint, size_bytes, true);
	if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
		(void) embed_image_file_clear_name(path);
	lock_fd = lock_folder();
	if (lock_fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not lock file \"%s\": %m", LOCK_PATH)));
	/* its last owner may have removed it in the meantime */
	is_there = is_there && embed_filed_exists(fingerprint);
	ok = publish_locked(temp_path, path, fingerprint, is_there);
	save_errno = errno;
	(void) close(lock_fd);
	errno = save_errno;
	if (!ok)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not store a model image as file \"%s\": %m", path),
				 save_errno == EXDEV
				 ? errhint("Folders \"%s\" and \"%s\" must be in the same file system.", EMBED_IMAGE_ROOT, EMBED_FILED_ROOT) : 0));
}

/* ---------------------------------------------------------------- sweep */

static bool
release_if_mine(pg_attribute_unused() void *ctx, const uint8 *fingerprint, Oid database, bool is_foreign,
				pg_attribute_unused() const char *path)
{
	if (!is_foreign && database == MyDatabaseId)
		release_locked(fingerprint, database, false);
	return true;
}

void
embed_filed_release_all(void)
{
	int			lock_fd = lock_folder_briefly();

	if (lock_fd < 0)
		return;
	visit_owners(release_if_mine, NULL);
	(void) sync_folder(EMBED_FILED_ROOT);
	(void) close(lock_fd);
}

/* What a sweeper has to look at: read first, because looking at rows may raise. */
typedef struct SweepList
{
	uint8		fingerprint[EMB_HASH_SIZE];
	Oid			database;
	struct SweepList *next;
} SweepList;

/* Collects the owners; removes owner files of other clusters at once. */
static bool
collect(void *ctx, const uint8 *fingerprint, Oid database, bool is_foreign, const char *path)
{
	SweepList **list = ctx;
	SweepList  *item;

	if (is_foreign)
	{
		(void) unlink(path);
		return true;
	}
	item = palloc_extended(sizeof(SweepList), MCXT_ALLOC_NO_OOM);
	if (item == NULL)
		return false;
	memcpy(item->fingerprint, fingerprint, EMB_HASH_SIZE);
	item->database = database;
	item->next = *list;
	*list = item;
	return true;
}

void
embed_filed_sweep(bool (*may_release_own) (void), bool (*is_owned) (const uint8 *fingerprint))
{
	SweepList  *list = NULL;
	int			may = -1;		/* not asked yet */

	visit_owners(collect, &list);
	for (; list != NULL; list = list->next)
	{
		if (list->database != MyDatabaseId)
		{
			if (!SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(list->database)))
				release(list->fingerprint, list->database, false);
			continue;
		}
		if (is_owned(list->fingerprint))
			continue;
		if (may < 0)
			may = may_release_own();
		/* under the lock of the writers a row that another session inserted is certain */
		if (may > 0 && !is_owned(list->fingerprint))
			release(list->fingerprint, list->database, false);
	}
}
