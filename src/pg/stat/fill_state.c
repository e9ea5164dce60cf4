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

/* Entries are never freed, so everybody who looks for a database meets the same first entry. */
EmbedFiller *
embed_filler_of(Oid database, bool create)
{
	for (int i = 0; i < EMBED_FILLERS; i++)
	{
		EmbedFiller *filler = embed_filler_at(i);
		uint32		found;

		if (filler == NULL)
			return NULL;
		found = atomic_load(&filler->database);
		if (found == 0)
		{
			if (!create)
				return NULL;
			/* found becomes the winner's database if another process claims the entry */
			if (atomic_compare_exchange_strong(&filler->database, &found, database))
				return filler;
		}
		if (found == database)
			return filler;
	}
	return NULL;
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
