/*
 * mem.c
 *		malloc-backed allocator.
 */
#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

static void *
malloc_alloc(void *ctx, size_t size)
{
	void	   *p;

	(void) ctx;
	if (size > SIZE_MAX - EMB_ALIGNMENT || posix_memalign(&p, EMB_ALIGNMENT, size) != 0)
		return NULL;
	return p;
}

static void
malloc_release(void *ctx, void *p)
{
	(void) ctx;
	free(p);
}

EmbAllocator
emb_malloc_allocator(void)
{
	return (EmbAllocator) {NULL, malloc_alloc, malloc_release};
}

void *
emb_alloc_zero(const EmbAllocator *mem, size_t n, size_t size)
{
	void	   *p = emb_alloc_array(mem, n, size);

	if (p != NULL)
		memset(p, 0, n * size);
	return p;
}
