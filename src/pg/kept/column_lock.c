/*
 * column_lock.c
 *		Who fills a column: one process at a time.
 *
 * Two processes that fill one column compute the same rows, and one of them for
 * nothing. A filler has the column for a turn, a session in embed_fill for the
 * whole call. A session comes first: it takes the other lock at once or behind
 * other sessions, and a filler that finds this lock taken leaves the column
 * after its batch. Nobody waits in the server's queue, so no deadlock can come
 * of it.
 *
 * Both are advisory locks of kinds that SQL cannot take. A session's last
 * through its commits, and go with its process, however that ends.
 */
#include "pg/kept/column_lock.h"

#include "miscadmin.h"
#include "storage/lock.h"

/* SQL has kinds 1 and 2, the place of the filler has 3. */
#define KIND_FILLS		4
#define KIND_SESSION	5

static bool
try_lock(Oid table, int attnum, int kind)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, table, (uint32) attnum, kind);
	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

static void
unlock(Oid table, int attnum, int kind)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, table, (uint32) attnum, kind);
	(void) LockRelease(&tag, ExclusiveLock, true);
}

bool
embed_column_is_wanted(Oid table, int attnum)
{
	if (!try_lock(table, attnum, KIND_SESSION))
		return true;
	unlock(table, attnum, KIND_SESSION);
	return false;
}

bool
embed_column_lock_turn(Oid table, int attnum)
{
	return !embed_column_is_wanted(table, attnum) && try_lock(table, attnum, KIND_FILLS);
}

void
embed_column_unlock_turn(Oid table, int attnum)
{
	unlock(table, attnum, KIND_FILLS);
}

bool
embed_column_lock_call(EmbedColumnLock *lock, Oid table, int attnum)
{
	lock->table = table;
	lock->attnum = attnum;
	if (!lock->is_first)
		lock->is_first = try_lock(table, attnum, KIND_SESSION);
	if (lock->is_first && !lock->is_held)
		lock->is_held = try_lock(table, attnum, KIND_FILLS);
	return lock->is_held;
}

void
embed_column_unlock_call(EmbedColumnLock *lock)
{
	if (lock->is_held)
		unlock(lock->table, lock->attnum, KIND_FILLS);
	if (lock->is_first)
		unlock(lock->table, lock->attnum, KIND_SESSION);
	lock->is_held = lock->is_first = false;
}
