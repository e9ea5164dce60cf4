/*
 * mem.h
 *		The allocator and the stop callback that callers pass into the core.
 *
 * alloc returns memory aligned to 64 bytes or NULL; it never longjmps.
 * release(ctx, NULL) does nothing. Both are called only on the thread that
 * called into the core.
 *
 * Example:
 *
 *		EmbAllocator mem = emb_malloc_allocator();
 *		float *x = emb_alloc_array(&mem, n, sizeof(float));
 */
#ifndef EMB_COMMON_MEM_H
#define EMB_COMMON_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EMB_ALIGNMENT 64

typedef struct EmbAllocator
{
	void	   *ctx;
	void	   *(*alloc) (void *ctx, size_t size);
	void		(*release) (void *ctx, void *p);
} EmbAllocator;

/* Polled at least every 10 ms of work; true ends the call with EMB_ERR_CANCELLED. */
typedef struct EmbStop
{
	void	   *ctx;
	bool		(*should_stop) (void *ctx); /* NULL: never */
} EmbStop;

static inline bool
emb_should_stop(const EmbStop *stop)
{
	return stop != NULL && stop->should_stop != NULL && stop->should_stop(stop->ctx);
}

static inline size_t
emb_round_up(size_t n, size_t multiple)
{
	return (n + multiple - 1) / multiple * multiple;
}

/* a / b, rounded up; neither is negative. */
static inline int64_t
emb_divide_up(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

/*
 * Reserves bytes at base + *at, aligned, and moves *at past them. NULL, and
 * only counted, if base is NULL.
 */
static inline void *
emb_reserve(char *base, size_t *at, size_t bytes)
{
	void	   *p = base == NULL ? NULL : base + *at;

	*at += emb_round_up(bytes, EMB_ALIGNMENT);
	return p;
}

/* malloc-backed allocator for tools and tests. */
extern EmbAllocator emb_malloc_allocator(void);

static inline void *
emb_alloc(const EmbAllocator *mem, size_t size)
{
	return mem->alloc(mem->ctx, size > 0 ? size : 1);
}

/* n * size bytes, NULL on overflow too. */
static inline void *
emb_alloc_array(const EmbAllocator *mem, size_t n, size_t size)
{
	if (size != 0 && n > SIZE_MAX / size)
		return NULL;
	return emb_alloc(mem, n * size);
}

/* As emb_alloc_array, zero-filled. */
extern void *emb_alloc_zero(const EmbAllocator *mem, size_t n, size_t size);

static inline void
emb_release(const EmbAllocator *mem, void *p)
{
	if (p != NULL)
		mem->release(mem->ctx, p);
}

#endif
