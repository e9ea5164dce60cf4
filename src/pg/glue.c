/*
 * glue.c
 *		The core's allocator and stop callback in PostgreSQL's terms.
 */
#include "pg/glue.h"

#include "miscadmin.h"

#include "pg/mapping.h"

/* What stands right before an aligned block: where its chunk begins. */
typedef struct BlockHeader
{
	void	   *chunk;
} BlockHeader;

#define BLOCK_EXTRA (EMB_ALIGNMENT + sizeof(BlockHeader))

/*
 * Chunks are MAXALIGNed only, so each is made longer by BLOCK_EXTRA and the
 * block starts at the first multiple of 64 that leaves room for the header.
 */
static void *
context_alloc(void *ctx, size_t size)
{
	char	   *chunk;
	char	   *block;

	/* MemoryContextAllocExtended raises on such sizes, whatever its flags */
	if (size > MaxAllocHugeSize - BLOCK_EXTRA)
		return NULL;
	chunk = MemoryContextAllocExtended((MemoryContext) ctx, size + BLOCK_EXTRA,
									   MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	if (chunk == NULL)
		return NULL;
	block = (char *) TYPEALIGN(EMB_ALIGNMENT, chunk + sizeof(BlockHeader));
	((BlockHeader *) block)[-1].chunk = chunk;
	return block;
}

static void
context_release(pg_attribute_unused() void *ctx, void *p)
{
	if (p != NULL)
		pfree(((BlockHeader *) p)[-1].chunk);
}

EmbAllocator
embed_allocator(MemoryContext cxt)
{
	EmbAllocator mem = {cxt, context_alloc, context_release};

	return mem;
}

/*
 * The conditions under which ProcessInterrupts would end the query: a stop
 * that CHECK_FOR_INTERRUPTS then ignored would lose the work done so far.
 */
static bool
cancel_is_due(pg_attribute_unused() void *ctx)
{
	/* nothing that comes out of it will be used */
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
