/*
 * ahead_store.c
 *		Vectors that running statements computed ahead of their rows.
 */
#include "pg/call/ahead_store.h"

dlist_head	embed_ahead_stores = DLIST_STATIC_INIT(embed_ahead_stores);
bool		embed_ahead_planned = false;

static inline char *
text_of(const EmbedAheadVector *vector)
{
	return (char *) (vector->vector + vector->dim);
}

static inline EmbedAheadVector **
bucket_of(EmbedAheadStore *store, uint64 hash)
{
	return &store->buckets[hash % EMBED_AHEAD_BUCKETS];
}

static void
unlist(EmbedAheadStore *store)
{
	if (store->is_listed)
		dlist_delete(&store->node);
	store->is_listed = false;
}

/* The context of the statement goes, perhaps because of an error. */
static void
context_goes_away(void *arg)
{
	unlist(arg);
}

EmbedAheadStore *
embed_ahead_create(MemoryContext parent)
{
	MemoryContext cxt = AllocSetContextCreate(parent, "embed look-ahead", ALLOCSET_SMALL_SIZES);
	EmbedAheadStore *store = MemoryContextAllocZero(cxt, sizeof(EmbedAheadStore));

	store->vectors_cxt = AllocSetContextCreate(cxt, "embed vectors ahead", ALLOCSET_DEFAULT_SIZES);
	store->callback.func = context_goes_away;
	store->callback.arg = store;
	MemoryContextRegisterResetCallback(cxt, &store->callback);
	return store;
}

void
embed_ahead_clear(EmbedAheadStore *store)
{
	unlist(store);
	if (store->n_vectors == 0)
		return;
	memset(store->buckets, 0, sizeof(store->buckets));
	store->bytes = 0;
	store->n_vectors = store->n_ready = store->n_used = 0;
	MemoryContextReset(store->vectors_cxt);
}

static bool
is_vector(const EmbedAheadVector *vector, const EmbedCacheKey *key, int32 dim)
{
	return vector->hash == key->hash && vector->len == key->len && vector->prompt == key->prompt && vector->dim == dim &&
		embed_same_asker(&vector->asker, &key->asker) &&
		memcmp(vector->fingerprint, key->fingerprint, EMB_HASH_SIZE) == 0 &&
		memcmp(text_of(vector), key->text, key->len) == 0;
}

static EmbedAheadVector *
find(EmbedAheadStore *store, const EmbedCacheKey *key, int32 dim)
{
	for (EmbedAheadVector *vector = *bucket_of(store, key->hash); vector != NULL; vector = vector->next)
	{
		if (is_vector(vector, key, dim))
			return vector;
	}
	return NULL;
}

EmbedAheadVector *
embed_ahead_find(const EmbedCacheKey *key, int32 dim)
{
	dlist_iter	iter;

	dlist_foreach(iter, &embed_ahead_stores)
	{
		EmbedAheadVector *vector = find(dlist_container(EmbedAheadStore, node, iter.cur), key, dim);

		if (vector != NULL && vector->is_ready)
			return vector;
	}
	return NULL;
}

EmbedAheadVector *
embed_ahead_reserve(EmbedAheadStore *store, const EmbedCacheKey *key, int32 dim)
{
	Size		size = offsetof(EmbedAheadVector, vector) + dim * sizeof(float) + key->len;
	EmbedAheadVector **bucket = bucket_of(store, key->hash);
	EmbedAheadVector *vector;

	if (find(store, key, dim) != NULL || embed_ahead_find(key, dim) != NULL)
		return NULL;
	vector = MemoryContextAlloc(store->vectors_cxt, size);
	memset(vector, 0, offsetof(EmbedAheadVector, vector));
	vector->store = store;
	vector->asker = key->asker;
	memcpy(vector->fingerprint, key->fingerprint, EMB_HASH_SIZE);
	vector->hash = key->hash;
	vector->prompt = key->prompt;
	vector->len = key->len;
	vector->dim = dim;
	memcpy(text_of(vector), key->text, key->len);
	vector->next = *bucket;
	*bucket = vector;
	store->n_vectors++;
	store->bytes += size;
	if (!store->is_listed)
		dlist_push_head(&embed_ahead_stores, &store->node);
	store->is_listed = true;
	return vector;
}

bool
embed_ahead_use(EmbedAheadVector *vector)
{
	if (vector->is_used)
		return false;
	vector->is_used = true;
	vector->store->n_used++;
	return true;
}
