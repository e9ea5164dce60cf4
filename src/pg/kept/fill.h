/*
 * fill.h
 *		Fills the NULLs of a kept column: for the filler and for embed_fill.
 *
 * Example:
 *
 *		EmbedFill  *fill = embed_fill_new(&host, column, cxt);
 *		while (embed_fill_turn(fill, deadline_ns) == EMBED_FILL_TIME)
 *			;					// other columns' turns
 *		embed_fill_free(fill);
 *
 * A pass lists the rows to do (through the to-do index, or in the order of
 * their ctids), then fills them batch by batch. A batch is three short
 * transactions: one reads texts, one computes without any lock or snapshot,
 * one writes. Writing locks a row that nobody else has locked, and looks
 * whether it still has the text that was read and no vector. So a vector
 * never meets another text, and a fill never waits for a row.
 *
 * All that belongs to the table's owner (casts, triggers, indexes) runs as the
 * owner in a security-restricted context, with search_path pg_catalog.
 */
#ifndef EMBED_PG_KEPT_FILL_H
#define EMBED_PG_KEPT_FILL_H

#include "pg/auto/as_owner.h"
#include "pg/auto/kept_column.h"
#include "pg/call/callsite.h"
#include "pg/kept/failures.h"
#include "pg/stat/progress_state.h"

#include "storage/itemptr.h"

/* Who fills: ends the transaction and begins the next. */
typedef struct EmbedFillHost
{
	void		(*commit) (void);
	bool		is_worker;
} EmbedFillHost;

typedef enum EmbedFillEnd
{
	EMBED_FILL_TIME,			/* the time is up, and there may be more to do */
	EMBED_FILL_EMPTY,			/* nothing is left but recorded failures */
	EMBED_FILL_WAIT,			/* a transient error, or only rows that others lock: again after retry_ns */
	EMBED_FILL_STOPPED,			/* an error of the column: its last_error says what to do */
	EMBED_FILL_GONE				/* table or trigger is gone, or left alone */
} EmbedFillEnd;

typedef struct EmbedFillRow
{
	ItemPointerData tid;
	Datum		text;			/* plain, in batch memory */
	int64		text_hash;
	const float *vector;		/* [dim], in batch memory; NULL: not computed */
	bool		is_failed;		/* by error, which is to be recorded */
	const ErrorData *error;		/* in batch memory */
} EmbedFillRow;

typedef struct EmbedFill
{
	const EmbedFillHost *host;
	MemoryContext cxt;			/* of all of this */
	MemoryContext pass_cxt;		/* of a list of rows */
	MemoryContext batch_cxt;	/* of a batch */
	EmbedKeptColumn column;		/* as the last transaction found it */
	char		vector_name[NAMEDATALEN];
	char		table_name[NAMEDATALEN];
	EmbedSite	site;
	uint8		fits[EMB_HASH_SIZE];	/* the model whose vectors fit the column; all zero: none yet */
	int32		dim;
	void	   *update;			/* SPIPlanPtr, or NULL */
	char	   *update_sql;
	EmbedFailures *failures;	/* of this pass, in pass_cxt */

	/* this pass */
	ItemPointerData *tids;		/* [n_tids] in pass_cxt; NULL: a list is due */
	int32		n_tids;
	int32		next;
	bool		lists_rest;		/* the list reached the end of what is to do */
	bool		lists_all;		/* and it began at the front */
	ItemPointerData last;		/* where the list of the next pass begins, without an index */
	int64		pass_written;
	int64		pass_skipped;
	uint64		pass_seen;		/* embed_column_wanted when it began at the front */

	/* this batch */
	EmbedFillRow *rows;			/* [n_rows] */
	int32		n_rows;
	int32		batch_rows;		/* how many rows take about half a second */
	int64		batch_written;
	int64		batch_failed;
	int64		batch_skipped;
	bool		is_gone;
	bool		is_about_column;	/* an error now is the column's, not a row's */

	/* what embed_progress shows */
	EmbedProgressEntry progress;
	const char *command;
	int64		progress_from;	/* n_written + n_failed when it was entered */
	int64		to_do;			/* then, or EMBED_PROGRESS_UNKNOWN; counted by whoever fills */

	int64		n_written;		/* since embed_fill_new */
	int64		n_failed;
	uint64		retry_ns;		/* embed_clock_ns() of the next attempt after EMBED_FILL_WAIT */
	int			backoff_s;		/* after the last error that passes; 0: none */
	int			rows_wait_ms;	/* the last wait for rows that others lock; 0: none */
	bool		waits_for_rows;	/* retry_ns is for such rows: new rows need not wait */
	char	   *last_error;		/* in cxt, with its hint; or NULL */
} EmbedFill;

extern EmbedFill *embed_fill_new(const EmbedFillHost *host, const EmbedKeptColumn *column, MemoryContext cxt);
extern void embed_fill_free(EmbedFill *fill);

/* In a transaction of the host, which it ends and replaces several times; ends soon after the time is up. */
extern EmbedFillEnd embed_fill_turn(EmbedFill *fill, uint64 deadline_ns);

/* Why fillers leave the column alone, for users; NULL: they do not. rel: locked. */
extern const char *embed_fill_left_alone(Relation rel, const EmbedKeptColumn *column);

/* SELECT what of the rows that are to do, by the alias t; more conditions may follow. palloc'd. */
extern char *embed_fill_query(Relation rel, const EmbedKeptColumn *column, const char *what);

/* A valid index that holds exactly the rows to do of the column, or InvalidOid. */
extern Oid	embed_to_do_index(Relation rel, const EmbedKeptColumn *column);

/*
 * SQLSTATEs of errors that pass: serialization, deadlock, lock timeout,
 * cancel, lack of resources, errors of the system.
 */
extern bool embed_fill_is_transient(int sqlerrcode);

/* embed_as_any_owner for SQL on the table, with plans that follow the to-do index; undone by embed_as_caller. */
extern EmbedCaller embed_fill_as_owner(Relation rel);

#endif
