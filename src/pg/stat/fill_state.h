/*
 * fill_state.h
 *		What the control file knows of fillers and of the columns they fill.
 *
 * A database has one EmbedFiller once any of its transactions left a vector to
 * be filled, and each column that was filled has one EmbedFillColumn. All
 * fields are hints: without the file, columns are filled as well, a little
 * later, and the views show less.
 *
 * Example:
 *
 *		EmbedFiller *filler = embed_filler_of(MyDatabaseId, true);
 *		if (filler != NULL)
 *			atomic_fetch_add(&filler->wanted, 1);
 *
 * Pointers are valid while embed_control_mapping() is unchanged. Nothing here
 * raises.
 */
#ifndef EMBED_PG_STAT_FILL_STATE_H
#define EMBED_PG_STAT_FILL_STATE_H

#include "pg/stat/control.h"

#define EMBED_FILLERS		256
#define EMBED_FILLER_FREED	UINT32_MAX	/* no OID of a database */
#define EMBED_FILL_COLUMNS	512
#define EMBED_FILL_MESSAGE	392

/*
 * The filler of a database.
 *
 *		  0	database	0: never used; EMBED_FILLER_FREED: free again; claimed by compare-and-swap
 *		  4	no_slot		the last start failed: no worker slot was free
 *		  8	holder		the filler's process: PID in bits 32..63, number of its PGPROC below; 0: none
 *		 16	wanted		counts commits that left something to do
 *		 24	done		value of wanted when the filler last found nothing to do
 *		 32	starting	when a worker was registered (wake.c), 0: it has started
 *		 40	since		TimestampTz of the first commit that waits, or 0
 *		 48	tried		ms of embed_clock_ns at the last attempt by a commit that left nothing to do
 *		 56	prepared	a prepared transaction left something to do
 */
typedef struct EmbedFiller
{
	_Atomic uint32 database;
	_Atomic uint32 no_slot;
	_Atomic uint64 holder;
	_Atomic uint64 wanted;
	_Atomic uint64 done;
	_Atomic uint64 starting;
	_Atomic int64 since;
	_Atomic uint64 tried;
	_Atomic uint64 prepared;
} EmbedFiller;

StaticAssertDecl(sizeof(EmbedFiller) == 64, "layout of the control file");

/*
 * A column that was filled.
 *
 *		  0	key			hash of database, table and column; 0: free
 *		  8	filled		vectors written since the entry was claimed
 *		 16	rate		rows filled in 1,000 seconds, of the last batches
 *		 24	used		TimestampTz of the last change
 *		 32	success_at	TimestampTz of the last batch
 *		 40	error_at	TimestampTz of the last error
 *		 48	retry_at	TimestampTz before which the column is left alone after a transient error; 0: now
 *		 56	backoff		seconds of the last wait
 *		 60	is_failing	the last attempt ended with an error of the whole column
 *		 64	wanted		counts commits that left something to do in the column
 *		 72	since		TimestampTz of the first of them that waits, or 0
 *		 80	(zero)
 *		120	message		of the last error, with its hint, in the database's encoding; ends with a zero
 *
 * Two writers (a filler, and a session in embed_fill) may mix their words.
 */
typedef struct EmbedFillColumn
{
	_Atomic uint64 key;
	_Atomic uint64 filled;
	_Atomic uint64 rate;
	_Atomic int64 used;
	_Atomic int64 success_at;
	_Atomic int64 error_at;
	_Atomic int64 retry_at;
	_Atomic uint32 backoff;
	_Atomic uint32 is_failing;
	_Atomic uint64 wanted;
	_Atomic int64 since;
	uint64		reserved[5];
	char		message[EMBED_FILL_MESSAGE];
} EmbedFillColumn;

StaticAssertDecl(sizeof(EmbedFillColumn) == 512, "layout of the control file");

/* The entry, or NULL; with create NULL only without the file or if all entries are taken. */
extern EmbedFiller *embed_filler_of(Oid database, bool create);

/* Frees the entries of databases that do not exist. */
extern void embed_fillers_forget(bool (*exists) (Oid database));

/* Entry i of EMBED_FILLERS, free or not; NULL without a file. */
extern EmbedFiller *embed_filler_at(int i);

/*
 * The entry of a column of this database. With create, an entry is claimed; if
 * all are taken, the entry that was unused for longest.
 */
extern EmbedFillColumn *embed_fill_column_of(Oid table, int attnum, bool create);

#endif
