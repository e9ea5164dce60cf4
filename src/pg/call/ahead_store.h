/*
 * ahead_store.h
 *		Vectors that running statements computed ahead of their rows.
 *
 * The executor node of pg/ahead embeds the texts of upcoming rows together.
 * Trigger, generated column or expression then find the vectors here, when
 * they come to the row. Whoever finds nothing computes: a vector that is
 * missing costs time and nothing else.
 *
 * Each node has a store of its own, so that nodes do not push out each other's
 * vectors, whatever embed.cache_entries is. A store belongs to a memory context
 * of its statement and goes with it: by the statement's end, an error, or the
 * end of a subtransaction.
 *
 * Example:
 *
 *		EmbedAheadStore *store = embed_ahead_create(estate->es_query_cxt);
 *		EmbedAheadVector *place = embed_ahead_reserve(store, &key, dim);
 *		if (place != NULL)
 *		{
 *			compute(place->vector);
 *			place->is_ready = true;
 *		}
 *		EmbedAheadVector *found = embed_ahead_find(&key, dim);	// later
 */
#ifndef EMBED_PG_CALL_AHEAD_STORE_H
#define EMBED_PG_CALL_AHEAD_STORE_H

#include "pg/call/cache.h"

#include "lib/ilist.h"

/* One block: the text follows the vector. */
typedef struct EmbedAheadVector
{
	struct EmbedAheadVector *next;	/* with the same low bits of the hash */
	struct EmbedAheadStore *store;
	EmbedAsker	asker;
	uint8		fingerprint[EMB_HASH_SIZE];
	uint64		hash;
	uint64		took_ns;		/* its share of the computation */
	int32		prompt;
	int32		len;
	int32		dim;
	int32		n_tokens;
	bool		truncated;
	bool		is_ready;		/* the vector is computed */
	bool		is_used;
	float		vector[FLEXIBLE_ARRAY_MEMBER];	/* [dim] */
} EmbedAheadVector;

#define EMBED_AHEAD_BUCKETS 256

typedef struct EmbedAheadStore
{
	dlist_node	node;			/* in the list of stores that have vectors */
	bool		is_listed;
	MemoryContext vectors_cxt;
	Size		bytes;
	int			n_vectors;		/* ready or not */
	int			n_ready;
	int			n_used;
	MemoryContextCallback callback;
	EmbedAheadVector *buckets[EMBED_AHEAD_BUCKETS];
} EmbedAheadStore;

/* The stores that have vectors. */
extern dlist_head embed_ahead_stores;

/* Set when a plan with a call of embed or the like was made in this session. */
extern bool embed_ahead_planned;

static inline bool
embed_ahead_any(void)
{
	return !dlist_is_empty(&embed_ahead_stores);
}

/* A store in a new context below parent; goes when the context goes. */
extern EmbedAheadStore *embed_ahead_create(MemoryContext parent);
extern void embed_ahead_clear(EmbedAheadStore *store);

/* A place for the vector of key, not ready; NULL if a store has it, ready or not. */
extern EmbedAheadVector *embed_ahead_reserve(EmbedAheadStore *store, const EmbedCacheKey *key, int32 dim);

/* The vector of key, or NULL; valid until the node pulls more rows. */
extern EmbedAheadVector *embed_ahead_find(const EmbedCacheKey *key, int32 dim);

/* Marks the first use of a vector; returns false if it was used before. */
extern bool embed_ahead_use(EmbedAheadVector *vector);

#endif
