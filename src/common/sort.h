/*
 * sort.h
 *		Sorting that can be stopped, for lists of up to millions from files.
 */
#ifndef EMB_COMMON_SORT_H
#define EMB_COMMON_SORT_H

#include "common/error.h"
#include "common/mem.h"

/*
 * As qsort_r, equal elements in any order; asks stop about every millisecond.
 * what is sorted is for messages: "reading vocab.txt". EMB_ERR_NOMEM (as much
 * memory as items has is taken for a while), EMB_ERR_CANCELLED: items are then in
 * any order, some may be there twice.
 */
extern EmbStatus emb_sort(void *items, size_t n, size_t item_bytes, int (*compare) (const void *a, const void *b, void *ctx),
						  void *ctx, const EmbAllocator *mem, const EmbStop *stop, const char *what, EmbError *err);

#endif
