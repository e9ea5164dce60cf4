/*
 * sort.h
 *		A sort that can be stopped, for lists of up to millions of entries
 *		from files.
 */
#ifndef EMB_COMMON_SORT_H
#define EMB_COMMON_SORT_H

#include "common/error.h"
#include "common/mem.h"

/*
 * Like qsort_r, equal elements in any order; polls stop about every
 * millisecond. what is for messages: "reading vocab.txt". EMB_ERR_NOMEM (needs
 * temporary memory as large as items), EMB_ERR_CANCELLED: items are then in
 * any order, and some may be duplicated.
 */
extern EmbStatus emb_sort(void *items, size_t n, size_t item_bytes, int (*compare) (const void *a, const void *b, void *ctx),
						  void *ctx, const EmbAllocator *mem, const EmbStop *stop, const char *what, EmbError *err);

#endif
