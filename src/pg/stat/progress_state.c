/*
 * progress_state.c
 *		How far long work of this server is.
 *
 * An entry belongs to its process. Others read it, and claim or free it by
 * compare-and-swap once the PGPROC has another process. A process that took
 * over both PGPROC and PID of a dead one keeps that entry claimed, but readers
 * tell it by its time of birth. They must not free it for that: the owner
 * writes its birth after the claim. Readers copy an entry and take the copy if
 * the count of changes stayed the same and even; a process killed while it
 * writes leaves an odd count, but is dead then.
 */
#include "pg/stat/progress_state.h"

#include <stddef.h>

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#define READ_ATTEMPTS	10

static bool any_claimed = false;

static EmbedProgressState *
state_at(int i)
{
	EmbedProgressState *states = embed_control_progress();

	return states != NULL ? &states[i] : NULL;
}

static uint64
own_identity(void)
{
	return (uint64) (uint32) MyProcPid << 32 | (uint32) (MyProc - ProcGlobal->allProcs);
}

static bool
is_there(uint64 owner)
{
	uint32		number = (uint32) owner;

	return number < ProcGlobal->allProcCount && *(volatile int *) &ProcGlobal->allProcs[number].pid == (int) (owner >> 32);
}

/* The claimed state, if the mapping that has it is still there and nobody took it. */
static EmbedProgressState *
claimed(EmbedProgressEntry *entry)
{
	if (entry->state == NULL || entry->mapping != embed_control_mapping() ||
		atomic_load_explicit(&entry->state->owner, memory_order_relaxed) != own_identity())
		return NULL;
	return entry->state;
}

/* ------------------------------------------------------------- writing */

static void
begin_change(EmbedProgressState *state)
{
	/* odd, whatever a dead owner left */
	atomic_store(&state->changes, atomic_load(&state->changes) | 1);
	atomic_thread_fence(memory_order_seq_cst);
}

static void
end_change(EmbedProgressState *state)
{
	atomic_thread_fence(memory_order_seq_cst);
	atomic_store(&state->changes, (atomic_load(&state->changes) | 1) + 1);
}

static bool
claim(EmbedProgressState *state)
{
	uint64		owner = atomic_load(&state->owner);

	if (owner != 0 && is_there(owner))
		return false;
	return atomic_compare_exchange_strong(&state->owner, &owner, own_identity());
}

static EmbedProgressState *
claim_any(void)
{
	for (int i = 0; i < EMBED_PROGRESS_ENTRIES; i++)
	{
		EmbedProgressState *state = state_at(i);

		if (state == NULL)
			return NULL;
		if (claim(state))
			return state;
	}
	return NULL;
}

static void
set_stage(EmbedProgressState *state, const char *stage, const char *unit, int64 total)
{
	memset(state->stage, 0, sizeof(state->stage));
	memset(state->unit, 0, sizeof(state->unit));
	strlcpy(state->stage, stage, sizeof(state->stage));
	strlcpy(state->unit, unit, sizeof(state->unit));
	state->staged = GetCurrentTimestamp();
	state->done = 0;
	state->total = total;
}

void
embed_progress_enter(EmbedProgressEntry *entry, const char *command, const char *object)
{
	EmbedProgressState *state = claimed(entry);

	if (state != NULL || MyProc == NULL)
		return;
	embed_control_refresh(embed_ns_to_ms(embed_clock_ns()));
	state = claim_any();
	if (state == NULL)
		return;
	any_claimed = true;
	entry->state = state;
	entry->mapping = embed_control_mapping();
	begin_change(state);
	state->birth = embed_birth_of_process(MyProcPid);
	state->database = MyDatabaseId;
	/* as pg_stat_activity has it: SET ROLE does not change it */
	state->role = MyProc->roleId;
	memset(state->command, 0, sizeof(state->command));
	strlcpy(state->command, command, sizeof(state->command));
	memset(state->object, 0, sizeof(state->object));
	memcpy(state->object, object, pg_mbcliplen(object, (int) strlen(object), sizeof(state->object) - 1));
	set_stage(state, "", "", EMBED_PROGRESS_UNKNOWN);
	state->started = state->staged;
	end_change(state);
}

void
embed_progress_stage(EmbedProgressEntry *entry, const char *stage, const char *unit, int64 total)
{
	EmbedProgressState *state = claimed(entry);

	if (state == NULL || (state->total == total && strncmp(state->stage, stage, sizeof(state->stage)) == 0))
		return;
	begin_change(state);
	set_stage(state, stage, unit, total);
	end_change(state);
}

void
embed_progress_done(EmbedProgressEntry *entry, int64 done)
{
	EmbedProgressState *state = claimed(entry);

	if (state != NULL)
		atomic_store_explicit(&state->done, done, memory_order_relaxed);
}

void
embed_progress_total(EmbedProgressEntry *entry, int64 total)
{
	EmbedProgressState *state = claimed(entry);

	if (state != NULL)
		atomic_store_explicit(&state->total, total, memory_order_relaxed);
}

void
embed_progress_leave(EmbedProgressEntry *entry)
{
	EmbedProgressState *state = claimed(entry);

	if (state != NULL)
		atomic_store(&state->owner, 0);
	entry->state = NULL;
}

/* What an error left. */
static void
at_abort(XactEvent event, pg_attribute_unused() void *arg)
{
	if (event != XACT_EVENT_ABORT || !any_claimed)
		return;
	any_claimed = false;
	for (int i = 0; i < EMBED_PROGRESS_ENTRIES; i++)
	{
		EmbedProgressState *state = state_at(i);
		uint64		own = own_identity();

		if (state != NULL)
			(void) atomic_compare_exchange_strong(&state->owner, &own, 0);
	}
}

/* ------------------------------------------------------------- reading */

static bool
copy_state(EmbedProgressState *state, EmbedProgressState *copy)
{
	for (int i = 0; i < READ_ATTEMPTS; i++)
	{
		uint64		before = atomic_load(&state->changes);

		memcpy(copy, state, sizeof(*copy));
		atomic_thread_fence(memory_order_seq_cst);
		if (before % 2 == 0 && atomic_load(&state->changes) == before)
			return true;
	}
	return false;
}

bool
embed_progress_read(int i, EmbedProgressState *copy)
{
	EmbedProgressState *state = state_at(i);
	uint64		owner;

	if (state == NULL || atomic_load(&state->owner) == 0 || !copy_state(state, copy))
		return false;
	owner = copy->owner;
	if (owner == 0)
		return false;
	if (!is_there(owner))
	{
		(void) atomic_compare_exchange_strong(&state->owner, &owner, 0);
		return false;
	}
	if (embed_birth_of_process((int) (owner >> 32)) != copy->birth)
		return false;
	copy->command[sizeof(copy->command) - 1] = copy->stage[sizeof(copy->stage) - 1] = '\0';
	copy->unit[sizeof(copy->unit) - 1] = copy->object[sizeof(copy->object) - 1] = '\0';
	return true;
}

void
embed_progress_init(void)
{
	RegisterXactCallback(at_abort, NULL);
}
