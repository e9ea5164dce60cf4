/*
 * fill_state.c
 *		What the control file knows of fillers and of the columns they fill.
 */
#include "pg/stat/fill_state.h"

#include <common/hashfn.h>			/* the server's, not ours */
#include "miscadmin.h"
#include "utils/timestamp.h"

EmbedFiller *
embed_filler_at(int i)
{
	EmbedFiller *fillers = embed_control_fillers();

	return fillers != NULL ? &fillers[i] : NULL;
}

/* The database's entry; *hole: the first entry that can be claimed, or NULL. */
static EmbedFiller *
find_filler(Oid database, EmbedFiller **hole)
{
	*hole = NULL;
	for (int i = 0; i < EMBED_FILLERS; i++)
	{
		EmbedFiller *filler = embed_filler_at(i);
		uint32		found;

		if (filler == NULL)
			return NULL;
		found = atomic_load(&filler->database);
		if (found == database)
			return filler;
		if (*hole == NULL && (found == 0 || found == EMBED_FILLER_FREED))
			*hole = filler;
		/* behind an entry that was never used there is none */
		if (found == 0)
			return NULL;
	}
	return NULL;
}

/*
 * Two processes that claim at once may claim two entries, where a third frees
 * one before them. Then one more filler is started than needed, which ends.
 */
EmbedFiller *
embed_filler_of(Oid database, bool create)
{
	for (;;)
	{
		EmbedFiller *hole;
		EmbedFiller *filler = find_filler(database, &hole);
		uint32		before;

		if (filler != NULL || !create || hole == NULL)
			return filler;
		before = atomic_load(&hole->database);
		if ((before == 0 || before == EMBED_FILLER_FREED) &&
			atomic_compare_exchange_strong(&hole->database, &before, database))
			return hole;
	}
}

/* No session of a dropped database is left that could have its entry in use. */
static void
free_filler(EmbedFiller *filler, uint32 database)
{
	atomic_store(&filler->done, atomic_load(&filler->wanted));
	filler->no_slot = 0;
	filler->holder = 0;
	filler->starting = 0;
	filler->since = 0;
	filler->tried = 0;
	filler->prepared = 0;
	(void) atomic_compare_exchange_strong(&filler->database, &database, EMBED_FILLER_FREED);
}

void
embed_fillers_forget(bool (*exists) (Oid database))
{
	for (int i = 0; i < EMBED_FILLERS; i++)
	{
		EmbedFiller *filler = embed_filler_at(i);
		uint32		database = filler != NULL ? atomic_load(&filler->database) : 0;

		if (database == 0)
			return;
		if (database != EMBED_FILLER_FREED && !exists(database))
			free_filler(filler, database);
	}
}

/* Never 0, which is a free entry. */
static uint64
column_key(Oid table, int attnum)
{
	uint32		words[3] = {MyDatabaseId, table, (uint32) attnum};

	return hash_bytes_extended((const unsigned char *) words, sizeof(words), 0) | 1;
}

static void
clear_column(EmbedFillColumn *column)
{
	column->filled = 0;
	column->rate = 0;
	column->success_at = 0;
	column->error_at = 0;
	column->retry_at = 0;
	column->backoff = 0;
	column->is_failing = 0;
	column->wanted = 0;
	column->since = 0;
	column->message[0] = '\0';
	column->used = GetCurrentTimestamp();
}

EmbedFillColumn *
embed_fill_column_of(Oid table, int attnum, bool create)
{
	EmbedFillColumn *columns = embed_control_fill_columns();
	uint64		key = column_key(table, attnum);
	EmbedFillColumn *oldest = NULL;
	uint64		before;

	if (columns == NULL)
		return NULL;
	for (int i = 0; i < EMBED_FILL_COLUMNS; i++)
	{
		EmbedFillColumn *column = &columns[i];

		if (column->key == key)
			return column;
		if (oldest == NULL || (oldest->key != 0 && (column->key == 0 || column->used < oldest->used)))
			oldest = column;
	}
	if (!create)
		return NULL;
	before = oldest->key;
	if (!atomic_compare_exchange_strong(&oldest->key, &before, key))
		return NULL;
	clear_column(oldest);
	return oldest;
}
