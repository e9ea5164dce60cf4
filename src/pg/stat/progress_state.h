/*
 * progress_state.h
 *		How far long work of this server is: what the view embed_progress shows.
 *
 * Entries are in the control file, so any session sees those of all others
 * without shared_preload_libraries. Without the file, or with all entries
 * taken, the work goes on unseen. An entry counts while its process lives.
 *
 * Example:
 *
 *		EmbedProgressEntry progress = {0};
 *		embed_progress_enter(&progress, "materialize", "model");
 *		embed_progress_stage(&progress, "write", "bytes", 4096);
 *		embed_progress_done(&progress, 1024);			// often
 *		embed_progress_leave(&progress);
 *
 * A transaction that is aborted leaves its session's entries; whoever catches
 * an error in a subtransaction calls embed_progress_leave. Nothing here raises.
 */
#ifndef EMBED_PG_STAT_PROGRESS_STATE_H
#define EMBED_PG_STAT_PROGRESS_STATE_H

#include "pg/stat/control.h"

#define EMBED_PROGRESS_ENTRIES	128
#define EMBED_PROGRESS_WORD		16
#define EMBED_PROGRESS_OBJECT	136
#define EMBED_PROGRESS_UNKNOWN	(-1)

/*
 * Work that goes on.
 *
 *		  0	owner		the process: PID in bits 32..63, number of its PGPROC below; 0: free; claimed by compare-and-swap
 *		  8	changes		odd while the owner writes
 *		 16	birth		of the process: ms since boot, or -1
 *		 24	started		TimestampTz
 *		 32	staged		TimestampTz of the stage's begin
 *		 40	done		in the stage
 *		 48	total		in the stage, or -1
 *		 56	database
 *		 60	role		that the session connected as
 *		 64	command		words end with a zero
 *		 80	stage
 *		 96	unit
 *		112 (zero)
 *		120	object		name of a model or table, in the encoding of its database
 */
typedef struct EmbedProgressState
{
	_Atomic uint64 owner;
	_Atomic uint64 changes;
	int64		birth;
	int64		started;
	int64		staged;
	_Atomic int64 done;
	_Atomic int64 total;
	uint32		database;
	uint32		role;
	char		command[EMBED_PROGRESS_WORD];
	char		stage[EMBED_PROGRESS_WORD];
	char		unit[EMBED_PROGRESS_WORD];
	uint64		reserved;
	char		object[EMBED_PROGRESS_OBJECT];
} EmbedProgressState;

StaticAssertDecl(sizeof(EmbedProgressState) == 256, "layout of the control file");

/* This process's claim of an entry; all zero: none. */
typedef struct EmbedProgressEntry
{
	EmbedProgressState *state;
	uint64		mapping;
} EmbedProgressEntry;

/*
 * Claims an entry, unless this one has one. command is shorter than
 * EMBED_PROGRESS_WORD; object: what the work is about, cut if it is long.
 */
extern void embed_progress_enter(EmbedProgressEntry *entry, const char *command, const char *object);

/*
 * A new stage, at nothing done; nothing happens if the stage has this name and
 * total already. stage and unit: shorter than EMBED_PROGRESS_WORD.
 */
extern void embed_progress_stage(EmbedProgressEntry *entry, const char *stage, const char *unit, int64 total);

/* A store each: cheap enough for every piece of work. */
extern void embed_progress_done(EmbedProgressEntry *entry, int64 done);
extern void embed_progress_total(EmbedProgressEntry *entry, int64 total);

extern void embed_progress_leave(EmbedProgressEntry *entry);

/*
 * Copies entry i of EMBED_PROGRESS_ENTRIES as its owner left it, with zeros
 * behind its words; false: free, or its process is dead, or it is being
 * written all the time.
 */
extern bool embed_progress_read(int i, EmbedProgressState *copy);

/* Registers a callback; called by _PG_init. */
extern void embed_progress_init(void);

#endif
