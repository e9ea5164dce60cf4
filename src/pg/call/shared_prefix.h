/*
 * shared_prefix.h
 *		Keys and values of what documents of one query begin with: template,
 *		instruction, query. A call site keeps them from row to row.
 *
 * Example:
 *
 *		site->prefix = (EmbedPrefix) {.parent = site->cxt};
 *		run.memo = embed_prefix_use(&site->prefix);
 *
 * A memo has up to 16 MB, in a memory context of its own below parent. At most
 * EMBED_PREFIXES call sites of a backend have one: a query over a thousand
 * partitions has a thousand call sites. The one that was not used for longest
 * is freed. It changes no result.
 */
#ifndef EMBED_PG_CALL_SHARED_PREFIX_H
#define EMBED_PG_CALL_SHARED_PREFIX_H

#include "pg/glue.h"

#define EMBED_PREFIXES 4

typedef struct EmbedPrefix
{
	MemoryContext parent;
	MemoryContext cxt;			/* of the memo; NULL: no memo */
	EmbPrefixMemo *memo;
	MemoryContextCallback gone; /* called when cxt goes */
} EmbedPrefix;

/* The memo, made at its first use; good until the next call of this function. NULL: out of memory. */
extern EmbPrefixMemo *embed_prefix_use(EmbedPrefix *prefix);

#endif
