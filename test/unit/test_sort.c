/*
 * test_sort.c
 *		Sorting in runs: as qsort does, and it stops.
 */
#include <string.h>

#include "common/sort.h"
#include "model_util.h"

static int
compare(const void *a, const void *b, void *ctx)
{
	long	   *n_compared = ctx;
	uint32_t	x = *(const uint32_t *) a,
				y = *(const uint32_t *) b;

	++*n_compared;
	return (x > y) - (x < y);
}

typedef struct Work
{
	long		n_asked;
	long		stop_at;
} Work;

static bool
ask(void *ctx)
{
	Work	   *work = ctx;

	return ++work->n_asked == work->stop_at;
}

static void
check_sorted(size_t n, uint32_t values)
{
	EmbAllocator mem = emb_malloc_allocator();
	uint32_t   *items = malloc(n * sizeof(uint32_t) + 1);
	uint64_t	sum = 0,
				seed = 88172645463325252u;
	long		n_compared = 0;
	Work		work = {0, -1};
	EmbStop		stop = {&work, ask};
	bool		ok;

	for (size_t i = 0; i < n; i++)
	{
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		items[i] = (uint32_t) (seed >> 33) % values;
		sum += items[i];
	}
	ok = emb_sort(items, n, sizeof(uint32_t), compare, &n_compared, &mem, &stop, "sorting", NULL) == EMB_OK;
	for (size_t i = 0; i < n; i++)
	{
		sum -= items[i];
		ok = ok && (i == 0 || items[i - 1] <= items[i]);
	}
	CHECKF(ok && sum == 0, "%zu items of %u values", n, values);
	CHECKF(work.n_asked >= (long) (n / 8192) && n_compared <= (long) n * 24 + 1, "%zu items: %ld looks, %ld comparisons", n, work.n_asked, n_compared);
	free(items);
}

static void
test_stop_and_memory(void)
{
	Count		counter;
	EmbAllocator mem = counting_allocator(&counter);
	uint32_t   *items = calloc(100000, sizeof(uint32_t));
	long		n_compared = 0;
	EmbError	err;

	for (long at = 1; at < 200; at += 7)
	{
		Work		work = {0, at};
		EmbStop		stop = {&work, ask};
		EmbStatus	status = emb_sort(items, 100000, sizeof(uint32_t), compare, &n_compared, &mem, &stop, "sorting a list", &err);

		CHECK(status == (work.n_asked >= at ? EMB_ERR_CANCELLED : EMB_OK) && counter.n_live == 0);
		CHECK(status == EMB_OK || strcmp(err.message, "sorting a list was cancelled") == 0);
	}
	counter.fail_after = 0;
	CHECK(emb_sort(items, 100000, sizeof(uint32_t), compare, &n_compared, &mem, NULL, "sorting", &err) == EMB_ERR_NOMEM);
	CHECK(emb_sort(items, 2048, sizeof(uint32_t), compare, &n_compared, &mem, NULL, "sorting", &err) == EMB_OK);
	free(items);
}

int
main(void)
{
	static const size_t sizes[] = {0, 1, 2, 3, 2047, 2048, 2049, 4096, 4097, 6144, 8191, 100000, 250002};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		check_sorted(sizes[i], UINT32_MAX);
		check_sorted(sizes[i], 7);
	}
	test_stop_and_memory();
	return done_testing();
}
