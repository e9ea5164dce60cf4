/*
 * filler_place.c
 *		The place of a database's filler: who has it, and how it is left
 *		without losing a wake-up.
 *
 * A filler holds an advisory lock of a kind that SQL cannot take, and the
 * control file names it as the holder, for those who wake it. A second worker
 * that finds the lock taken wakes the holder and ends: the holder reads the
 * count of wanted work after it gave up its place. If the control file names
 * nobody, the second worker waits for the lock, and a third one that finds a
 * waiter ends: the waiter has not looked yet.
 */
#include "pg/kept/filler_place.h"

#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/guc.h"

#include "pg/kept/wake.h"

#define POLL_MS			50

/* "embd", in the advisory locks' space; SQL has kinds 1 and 2. */
#define LOCK_CLASS		0x656d6264
#define LOCK_KIND		3

enum
{
	LOCK_FILLER = 1,
	LOCK_WAITER = 2
};

static struct
{
	Oid			database;
	EmbedFiller *entry;
	uint64		mapping;
} me;

/* ----------------------------------------------------------- waiting */

void
embed_filler_nap(int ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/* ----------------------------------------------------------- locks */

static void
set_tag(LOCKTAG *tag, uint32 which)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, LOCK_CLASS, which, LOCK_KIND);
}

static bool
try_lock(uint32 which)
{
	LOCKTAG		tag;

	set_tag(&tag, which);
	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

static void
unlock(uint32 which)
{
	LOCKTAG		tag;

	set_tag(&tag, which);
	(void) LockRelease(&tag, ExclusiveLock, true);
}

bool
embed_database_is_wanted(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, MyDatabaseId, 0);
	if (LockAcquire(&tag, RowExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	(void) LockRelease(&tag, RowExclusiveLock, true);
	return false;
}

/* ----------------------------------------------------------- the entry */

EmbedFiller *
embed_place_entry(void)
{
	embed_control_refresh(embed_ns_to_ms(embed_clock_ns()));
	if (embed_control_mapping() == 0)
		return NULL;
	if (me.entry == NULL || me.mapping != embed_control_mapping())
	{
		me.mapping = embed_control_mapping();
		me.entry = embed_filler_of(me.database, true);
	}
	return me.entry;
}

static uint64
own_holder(void)
{
	return (uint64) (uint32) MyProcPid << 32 | (uint32) (MyProc - ProcGlobal->allProcs);
}

void
embed_place_take(void)
{
	EmbedFiller *filler = embed_place_entry();

	if (filler == NULL)
		return;
	atomic_store(&filler->holder, own_holder());
	atomic_store(&filler->starting, 0);
	filler->no_slot = 0;
}

static void
clear_holder(void)
{
	uint64		own = own_holder();
	EmbedFiller *filler = embed_control_mapping() == me.mapping ? me.entry : NULL;

	if (filler != NULL)
		(void) atomic_compare_exchange_strong(&filler->holder, &own, 0);
}

static void
leave_at_exit(pg_attribute_unused() int code, pg_attribute_unused() Datum arg)
{
	clear_holder();
}

/* Whether another process holds the place, woken. */
static bool
wake_other(void)
{
	EmbedFiller *filler = embed_place_entry();

	return filler != NULL && atomic_load(&filler->holder) != own_holder() && embed_filler_wake(filler, me.database);
}

bool
embed_place_get(void)
{
	bool		result = true;

	if (try_lock(LOCK_FILLER))
		return true;
	if (!try_lock(LOCK_WAITER))
		return false;
	while (result && !try_lock(LOCK_FILLER))
	{
		if (wake_other() || embed_database_is_wanted())
			result = false;
		else
			embed_filler_nap(POLL_MS);
	}
	unlock(LOCK_WAITER);
	return result;
}

bool
embed_place_wait(int delay_ms)
{
	uint64		until = embed_clock_ns() + (uint64) delay_ms * 1000000;
	EmbedFiller *filler = embed_place_entry();
	uint64		seen = filler != NULL ? atomic_load(&filler->wanted) : 0;
	uint64		nobody = 0;

	if (filler != NULL && !atomic_compare_exchange_strong(&filler->holder, &nobody, own_holder()) &&
		embed_filler_lives(filler, me.database))
		return false;
	/* the latch of a new process is set */
	for (;;)
	{
		uint64		now = embed_clock_ns();

		filler = embed_place_entry();
		if (now >= until || (filler != NULL && atomic_load(&filler->wanted) != seen))
			return true;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, (long) ((until - now) / 1000000 + 1), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

void
embed_place_leave(void)
{
	clear_holder();
	unlock(LOCK_FILLER);
}

void
embed_place_init(Oid database)
{
	me.database = database;
	before_shmem_exit(leave_at_exit, (Datum) 0);
}
