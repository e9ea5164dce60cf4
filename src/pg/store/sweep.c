/*
 * sweep.c
 *		Removes files that no row or database owns.
 */
#include "pg/store/sweep.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/lmgr.h"
#include "utils/syscache.h"

#include "pg/store/filed.h"
#include "pg/store/image_file.h"
#include "pg/store/image_rows.h"
#include "pg/store/tables.h"

/* Images whose rows this transaction inserted or deleted. */
typedef struct RowChange
{
	uint8		fingerprint[EMB_HASH_SIZE];
	bool		existed;		/* before the transaction */
	bool		exists;			/* at commit */
	bool		was_filed;		/* the same two for a row that says that the image is a file */
	bool		is_filed;
	bool		was_copied;		/* a file that no database owned had the name before the transaction */
	struct RowChange *next;
} RowChange;

static RowChange *row_changes = NULL;

/* -------------------------------------------------------------- names */

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

	if (change != NULL && change->existed && !change->was_filed)
		return true;
	return embed_storage_find_image(fingerprint, NULL, &size_bytes) && !embed_storage_image_is_filed(fingerprint, NULL);
}

/* The same for a filed image. */
static bool
filed_is_owned(const uint8 *fingerprint)
{
	RowChange  *change = find_row_change(fingerprint);

	return (change != NULL && change->was_filed) || embed_storage_image_is_filed(fingerprint, NULL);
}

/*
 * Only a writer knows that no other session is about to commit a row. A
 * standby has no writers, but cannot lock them out: its sweepers leave the
 * images of its databases alone. A parallel worker does not know the row
 * changes of its leader, and their locks do not conflict. A prepared
 * transaction keeps its lock.
 */
static bool
lock_out_writers(void)
{
	return !RecoveryInProgress() && !IsParallelWorker() &&
		ConditionalLockRelationOid(embed_storage_model_relid(), ShareRowExclusiveLock);
}

static bool has_lock;

static bool
may_release_filed(void)
{
	has_lock = lock_out_writers();
	return has_lock;
}

/* Filed images without owner. Does not wait: the next sweeper does what this one may not. */
static void
sweep_filed(void)
{
	has_lock = false;
	embed_filed_sweep(may_release_filed, filed_is_owned);
	if (has_lock)
		UnlockRelationOid(embed_storage_model_relid(), ShareRowExclusiveLock);
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
int
embed_sweep_locked(bool remove)
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
embed_sweep_if_idle(void)
{
	int			lock_fd;

	sweep_filed();
	if (embed_sweep_locked(false) == 0)
		return;
	embed_storage_lock_for_read();
	lock_fd = embed_image_file_open_lock();
	if (flock(lock_fd, LOCK_EX | LOCK_NB) == 0)
		(void) embed_sweep_locked(true);
	CloseTransientFile(lock_fd);
}

void
embed_sweep_all(void)
{
	char		dirname[MAXPGPATH];
	DIR		   *dir;
	struct dirent *de;

	embed_filed_release_all();
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
embed_sweep(void)
{
	int			lock_fd;

	embed_storage_lock_for_read();
	lock_fd = embed_image_file_lock();
	(void) embed_sweep_locked(true);
	CloseTransientFile(lock_fd);
	sweep_filed();
}

/* --------------------------------------------------- end of transaction */

void
embed_sweep_row_changes(const uint8 *fingerprint, bool existed)
{
	RowChange  *change;

	/* the state before the transaction is known at its first change */
	if (find_row_change(fingerprint) != NULL)
		return;
	change = MemoryContextAlloc(TopMemoryContext, sizeof(RowChange));
	memcpy(change->fingerprint, fingerprint, EMB_HASH_SIZE);
	change->existed = existed;
	change->exists = true;
	change->was_filed = change->is_filed = existed && embed_storage_image_is_filed(fingerprint, NULL);
	change->was_copied = embed_filed_exists(fingerprint) && !embed_filed_has_owner(fingerprint);
	change->next = row_changes;
	row_changes = change;
}

/* What the rows say at the end of a transaction. */
static void
look_at_rows(RowChange *change)
{
	int64		size_bytes;

	/* the extension itself may have been dropped */
	change->exists = OidIsValid(embed_storage_model_relid()) &&
		embed_storage_find_image(change->fingerprint, NULL, &size_bytes);
	change->is_filed = change->exists && embed_storage_image_is_filed(change->fingerprint, NULL);
}

/* Removes the files that have no row after the commit or abort. */
static void
unlink_changed(const RowChange *change, bool committed)
{
	bool		exists = committed ? change->exists : change->existed;
	bool		is_filed = committed ? change->is_filed : change->was_filed;

	if (!exists)
		embed_image_file_discard(change->fingerprint);
	/* a file that was copied here before an import that failed stays */
	if (!is_filed)
		embed_filed_release(change->fingerprint, change->was_copied && !change->was_filed);
}

/*
 * Subtransactions may have ended in the meantime, so the rows themselves are
 * read, as long as this is possible. We do not learn the end of a prepared
 * transaction: sweepers handle its files. A wrong guess costs one
 * materialization; filed images are not guessed at.
 */
static void
unlink_without_row(XactEvent event, pg_attribute_unused() void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT)
	{
		for (RowChange *change = row_changes; change != NULL; change = change->next)
			look_at_rows(change);
		return;
	}
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	while (row_changes != NULL)
	{
		RowChange  *change = row_changes;

		row_changes = change->next;
		if (event != XACT_EVENT_PREPARE)
			unlink_changed(change, event == XACT_EVENT_COMMIT);
		pfree(change);
	}
}

void
embed_sweep_init(void)
{
	RegisterXactCallback(unlink_without_row, NULL);
}
