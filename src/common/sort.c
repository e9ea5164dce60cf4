/*
 * sort.c
 *		Sorts runs with qsort_r, then merges them in pairs until one is left.
 */
#include "common/sort.h"

#include <stdlib.h>
#include <string.h>

#define RUN_ITEMS		2048
#define ITEMS_PER_ASK	8192

typedef struct Sorter
{
	size_t		item_bytes;
	int			(*compare) (const void *a, const void *b, void *ctx);
	void	   *ctx;
	const EmbStop *stop;
	size_t		until_asked;
} Sorter;

static bool
is_stopped(Sorter *s, size_t n_items)
{
	if (n_items < s->until_asked)
	{
		s->until_asked -= n_items;
		return false;
	}
	s->until_asked = ITEMS_PER_ASK;
	return emb_should_stop(s->stop);
}

/* Merges the runs from[0 .. middle) and from[middle .. n) to to[0 .. n); true: stopped. */
static bool
merge(Sorter *s, const char *from, size_t middle, size_t n, char *to)
{
	size_t		size = s->item_bytes;
	const char *left = from;
	const char *left_end = from + middle * size;
	const char *right = left_end;
	const char *right_end = from + n * size;

	for (; left < left_end && right < right_end; to += size)
	{
		const char **next = s->compare(right, left, s->ctx) < 0 ? &right : &left;

		if (is_stopped(s, 1))
			return true;
		memcpy(to, *next, size);
		*next += size;
	}
	memcpy(to, left, (size_t) (left_end - left));
	memcpy(to + (left_end - left), right, (size_t) (right_end - right));
	return false;
}

/* Merges all runs (of run items each) of from in pairs to to; true: stopped. */
static bool
merge_runs(Sorter *s, const char *from, size_t n, size_t run, char *to)
{
	for (size_t at = 0; at < n; at += 2 * run)
	{
		size_t		middle = n - at < run ? n - at : run;
		size_t		end = n - at < 2 * run ? n - at : 2 * run;

		if (merge(s, from + at * s->item_bytes, middle, end, to + at * s->item_bytes))
			return true;
	}
	return false;
}

static bool
sort(Sorter *s, char *items, size_t n, char *spare)
{
	char	   *from = items;
	char	   *to = spare;

	for (size_t at = 0; at < n; at += RUN_ITEMS)
	{
		size_t		run = n - at < RUN_ITEMS ? n - at : RUN_ITEMS;

		if (is_stopped(s, RUN_ITEMS))
			return true;
		qsort_r(items + at * s->item_bytes, run, s->item_bytes, s->compare, s->ctx);
	}
	for (size_t run = RUN_ITEMS; run < n; run *= 2)
	{
		char	   *merged = to;

		if (merge_runs(s, from, n, run, to))
			return true;
		to = from;
		from = merged;
	}
	if (from != items)
		memcpy(items, from, n * s->item_bytes);
	return false;
}

EmbStatus
emb_sort(void *items, size_t n, size_t item_bytes, int (*compare) (const void *a, const void *b, void *ctx),
		 void *ctx, const EmbAllocator *mem, const EmbStop *stop, const char *what, EmbError *err)
{
	Sorter		s = {item_bytes, compare, ctx, stop, ITEMS_PER_ASK};
	char	   *spare = n > RUN_ITEMS ? emb_alloc_array(mem, n, item_bytes) : NULL;
	bool		stopped;

	if (spare == NULL && n > RUN_ITEMS)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory %s (%zu entries)", what, n);
	stopped = sort(&s, items, n, spare);
	emb_release(mem, spare);
	return stopped ? emb_error(err, EMB_ERR_CANCELLED, "%s was cancelled", what) : EMB_OK;
}
