/*
 * glue.c
 *		The core's allocator and stop callback in terms of PostgreSQL.
 */
#include "pg/glue.h"

#include "miscadmin.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "pg/store/mapping.h"

/*
 * Blocks of this size or larger return to the operating system at once. The C
 * library would keep up to twice the largest block ever freed, at most 64 MB;
 * a backend that once read a long text would keep this memory for ever.
 * Smaller blocks, the scratch of short texts, are needed again at the next
 * call. A call that needs a large block takes a thousand times as long as
 * returning it.
 */
#define RETURNED_BYTES	(2 * 1024 * 1024)

/* The header right before an aligned block. */
typedef struct BlockHeader
{
	void	   *chunk;			/* start of its chunk */
	size_t		size;
} BlockHeader;

#define BLOCK_EXTRA (EMB_ALIGNMENT + sizeof(BlockHeader))

/*
 * Memory-context chunks are only MAXALIGNed. So each is BLOCK_EXTRA longer,
 * and the block starts at the first multiple of 64 that leaves room for the
 * header.
 */
static void *
context_alloc(void *ctx, size_t size)
{
	char	   *chunk;
	char	   *block;

	/* MemoryContextAllocExtended raises on larger sizes, whatever its flags */
	if (size > MaxAllocHugeSize - BLOCK_EXTRA)
		return NULL;
	chunk = MemoryContextAllocExtended((MemoryContext) ctx, size + BLOCK_EXTRA,
									   MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	if (chunk == NULL)
		return NULL;
	block = (char *) TYPEALIGN(EMB_ALIGNMENT, chunk + sizeof(BlockHeader));
	((BlockHeader *) block)[-1] = (BlockHeader) {chunk, size};
	return block;
}

static void
context_release(pg_attribute_unused() void *ctx, void *p)
{
	size_t		size;

	if (p == NULL)
		return;
	size = ((BlockHeader *) p)[-1].size;
	pfree(((BlockHeader *) p)[-1].chunk);
#ifdef __GLIBC__
	if (size >= RETURNED_BYTES)
		malloc_trim(0);
#else
	(void) size;
#endif
}

EmbAllocator
embed_allocator(MemoryContext cxt)
{
	EmbAllocator mem = {cxt, context_alloc, context_release};

	return mem;
}

/*
 * The conditions under which ProcessInterrupts would end the query: if the
 * core stopped and CHECK_FOR_INTERRUPTS then did nothing, the finished work
 * would be lost.
 */
static bool
cancel_is_due(pg_attribute_unused() void *ctx)
{
	/* the result will not be used */
	if (embed_mappings_lost())
		return true;
	if (InterruptHoldoffCount != 0 || CritSectionCount != 0)
		return false;
	return ProcDiePending || (QueryCancelPending && QueryCancelHoldoffCount == 0);
}

EmbStop
embed_stop(void)
{
	EmbStop		stop = {NULL, cancel_is_due};

	return stop;
}
