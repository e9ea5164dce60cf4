/*
 * chunk_match.c
 *		Which old chunks of a text its new chunks take over.
 */
#include "pg/kept/chunk_match.h"

#include "common/hashfn.h"
#include "miscadmin.h"

void
embed_piece_set_chunk(EmbedPiece *piece, const text *chunk)
{
	piece->chunk = chunk;
	piece->hash = hash_bytes((const unsigned char *) VARDATA_ANY(chunk), (int) VARSIZE_ANY_EXHDR(chunk));
	piece->match = -1;
}

static int
compare_texts(const EmbedPiece *a, const EmbedPiece *b)
{
	Size		a_size = VARSIZE_ANY_EXHDR(a->chunk);
	Size		b_size = VARSIZE_ANY_EXHDR(b->chunk);

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	if (a_size != b_size)
		return a_size < b_size ? -1 : 1;
	return memcmp(VARDATA_ANY(a->chunk), VARDATA_ANY(b->chunk), a_size);
}

static int
compare_pieces(const void *a, const void *b)
{
	const EmbedPiece *x = *(EmbedPiece *const *) a;
	const EmbedPiece *y = *(EmbedPiece *const *) b;
	int			order = compare_texts(x, y);

	if (order != 0)
		return order;
	return x->ordinality < y->ordinality ? -1 : x->ordinality > y->ordinality;
}

/* Pointers to the pieces without a match, by text. */
static EmbedPiece **
sort_unmatched(EmbedPiece *pieces, int64 n, int64 *n_sorted)
{
	EmbedPiece **sorted = MemoryContextAllocHuge(CurrentMemoryContext, Max(n, 1) * sizeof(EmbedPiece *));

	*n_sorted = 0;
	for (int64 i = 0; i < n; i++)
	{
		if (pieces[i].match < 0)
			sorted[(*n_sorted)++] = &pieces[i];
	}
	qsort(sorted, *n_sorted, sizeof(EmbedPiece *), compare_pieces);
	return sorted;
}

/* Most of a text keeps its chunks in place when a later part changes. */
static void
match_in_place(EmbedPiece *old, int64 n_old, EmbedPiece *new, int64 n_new)
{
	for (int64 i = 0, j = 0; i < n_old && j < n_new;)
	{
		if (old[i].ordinality != new[j].ordinality)
		{
			if (old[i].ordinality < new[j].ordinality)
				i++;
			else
				j++;
			continue;
		}
		if (compare_texts(&old[i], &new[j]) == 0)
		{
			old[i].match = j;
			new[j].match = i;
		}
		i++;
		j++;
	}
}

void
embed_chunk_match(EmbedPiece *old, int64 n_old, EmbedPiece *new, int64 n_new)
{
	EmbedPiece **a,
			  **b;
	int64		n_a,
				n_b;

	match_in_place(old, n_old, new, n_new);
	a = sort_unmatched(old, n_old, &n_a);
	b = sort_unmatched(new, n_new, &n_b);
	for (int64 i = 0, j = 0; i < n_a && j < n_b;)
	{
		int			order = compare_texts(a[i], b[j]);

		if (order == 0)
		{
			a[i]->match = b[j] - new;
			b[j]->match = a[i] - old;
		}
		i += order <= 0;
		j += order >= 0;
	}
	pfree(a);
	pfree(b);
}

/* The old row with this number, or -1. */
static int64
find_row(const EmbedPiece *old, int64 n_old, int32 ordinality)
{
	int64		low = 0,
				high = n_old;

	while (low < high)
	{
		int64		middle = low + (high - low) / 2;

		if (old[middle].ordinality < ordinality)
			low = middle + 1;
		else
			high = middle;
	}
	return low < n_old && old[low].ordinality == ordinality ? low : -1;
}

typedef enum MoveState
{
	MOVE_PENDING,
	MOVE_WAITING,				/* until the row in its place has moved */
	MOVE_PARKED,				/* the same, under the number -ordinality */
	MOVE_DONE
} MoveState;

/*
 * A row waits for the row that has its number, and so on. The chain ends at a
 * free number, or at the row where it began: then that row is parked.
 */
static void
move_chain(const EmbedPiece *old, int64 n_old, const EmbedPiece *new, int64 first, uint8 *states, int64 *chain,
		   EmbedChunkMove move, void *arg)
{
	int64		n = 0;

	for (int64 row = first; row >= 0 && states[row] != MOVE_DONE;)
	{
		if (states[row] == MOVE_WAITING)
		{
			move(old[row].ordinality, NULL, arg);
			states[row] = MOVE_PARKED;
			break;
		}
		states[row] = MOVE_WAITING;
		chain[n++] = row;
		row = find_row(old, n_old, new[old[row].match].ordinality);
	}
	while (n > 0)
	{
		int64		row = chain[--n];

		CHECK_FOR_INTERRUPTS();
		move(states[row] == MOVE_PARKED ? -old[row].ordinality : old[row].ordinality, &new[old[row].match], arg);
		states[row] = MOVE_DONE;
	}
}

void
embed_chunk_moves(const EmbedPiece *old, int64 n_old, const EmbedPiece *new, EmbedChunkMove move, void *arg)
{
	uint8	   *states = MemoryContextAllocHuge(CurrentMemoryContext, Max(n_old, 1));
	int64	   *chain = MemoryContextAllocHuge(CurrentMemoryContext, Max(n_old, 1) * sizeof(int64));

	for (int64 i = 0; i < n_old; i++)
	{
		const EmbedPiece *to = old[i].match < 0 ? NULL : &new[old[i].match];

		/* what was deleted is in nobody's way */
		states[i] = to == NULL ||
			(to->ordinality == old[i].ordinality && to->start_char == old[i].start_char && to->end_char == old[i].end_char) ?
			MOVE_DONE : MOVE_PENDING;
		if (states[i] == MOVE_PENDING && to->ordinality == old[i].ordinality)
		{
			move(old[i].ordinality, to, arg);
			states[i] = MOVE_DONE;
		}
	}
	for (int64 i = 0; i < n_old; i++)
	{
		if (states[i] == MOVE_PENDING)
			move_chain(old, n_old, new, i, states, chain, move, arg);
	}
	pfree(states);
	pfree(chain);
}
