/*
 * cache.c
 *		embed.cache_entries: recent vectors of this backend, by text.
 *
 * A hash table over a 64-bit hash of the key, and a list in order of use. The
 * whole key is compared on every hit; of two texts with one hash the later
 * stays.
 */
#include "pg/cache.h"

#include "access/htup_details.h"
#include <common/hashfn.h>			/* the server's, not ours */
#include "funcapi.h"
#include "lib/ilist.h"
#include "utils/hsearch.h"

/* However many entries the setting allows. */
#define CACHE_BYTES_MAX ((Size) 16 * 1024 * 1024)

/* What one entry costs beside its text and vector: two chunk headers, the table's element. */
#define ENTRY_OVERHEAD	128

/* One block: the text lies behind the vector. */
typedef struct CacheItem
{
	dlist_node	node;			/* in recent_items */
	uint64		hash;
	uint8		fingerprint[EMB_HASH_SIZE];
	EmbPrompt	prompt;
	int32		len;
	int32		dim;
	bool		truncated;
	float		vector[FLEXIBLE_ARRAY_MEMBER];	/* [dim] */
} CacheItem;

typedef struct CacheEntry
{
	uint64		hash;			/* the key of the table */
	CacheItem  *item;
} CacheEntry;

static MemoryContext cache_cxt = NULL;
static HTAB *cache = NULL;
static dlist_head recent_items = DLIST_STATIC_INIT(recent_items);	/* last used first */

static struct
{
	int64		entries;
	int64		bytes;
	int64		hits;
	int64		misses;
}			counts;

EMBED_FUNCTION(embed_cache_state);

static inline char *
item_text(const CacheItem *item)
{
	return (char *) (item->vector + item->dim);
}

static Size
item_size(int32 dim, int32 len)
{
	return offsetof(CacheItem, vector) + dim * sizeof(float) + len;
}

EmbedCacheKey
embed_cache_key(const EmbedModelRef *ref, EmbPrompt prompt, const char *text, int32 len)
{
	EmbedCacheKey key = {ref->fingerprint, text, len, prompt, 0};
	uint64		seed;

	memcpy(&seed, ref->fingerprint, sizeof(seed));
	key.hash = hash_bytes_extended((const unsigned char *) text, len, seed + (uint64) prompt);
	return key;
}

bool
embed_cache_serves(Size len)
{
	return embed_guc_cache_entries > 0 && len <= EMBED_CACHE_TEXT_MAX;
}

static void
create_cache(void)
{
	HASHCTL		ctl;

	if (cache_cxt == NULL)
		cache_cxt = AllocSetContextCreate(TopMemoryContext, "embed cache", ALLOCSET_DEFAULT_SIZES);
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(uint64);
	ctl.entrysize = sizeof(CacheEntry);
	ctl.hcxt = cache_cxt;
	cache = hash_create("embed cache", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
drop_item(CacheItem *item)
{
	(void) hash_search(cache, &item->hash, HASH_REMOVE, NULL);
	dlist_delete(&item->node);
	counts.entries--;
	counts.bytes -= item_size(item->dim, item->len) + ENTRY_OVERHEAD;
	pfree(item);
}

static bool
is_item(const CacheItem *item, const EmbedCacheKey *key, int32 dim)
{
	return item->len == key->len && item->prompt == key->prompt && item->dim == dim &&
		memcmp(item->fingerprint, key->fingerprint, EMB_HASH_SIZE) == 0 &&
		memcmp(item_text(item), key->text, key->len) == 0;
}

bool
embed_cache_find(const EmbedCacheKey *key, float *vector, int32 dim, bool *truncated)
{
	CacheEntry *entry = NULL;

	if (cache != NULL)
		entry = hash_search(cache, &key->hash, HASH_FIND, NULL);
	if (entry == NULL || !is_item(entry->item, key, dim))
	{
		counts.misses++;
		return false;
	}
	counts.hits++;
	dlist_move_head(&recent_items, &entry->item->node);
	memcpy(vector, entry->item->vector, dim * sizeof(float));
	*truncated = entry->item->truncated;
	return true;
}

/* Drops those not used for longest until n_entries and n_bytes remain at most. */
static void
shrink(int64 n_entries, int64 n_bytes)
{
	while (counts.entries > 0 && (counts.entries > n_entries || counts.bytes > n_bytes))
		drop_item(dlist_container(CacheItem, node, dlist_tail_node(&recent_items)));
}

void
embed_cache_trim(int max_entries)
{
	if (max_entries > 0)
		shrink(max_entries, CACHE_BYTES_MAX);
	else if (cache_cxt != NULL)
	{
		dlist_init(&recent_items);
		cache = NULL;
		counts.entries = counts.bytes = 0;
		/* the table's own context is a child of it */
		MemoryContextReset(cache_cxt);
	}
}

static CacheItem *
make_item(const EmbedCacheKey *key, const float *vector, int32 dim, bool truncated)
{
	CacheItem  *item = MemoryContextAllocExtended(cache_cxt, item_size(dim, key->len), MCXT_ALLOC_NO_OOM);

	if (item == NULL)
		return NULL;
	item->hash = key->hash;
	memcpy(item->fingerprint, key->fingerprint, EMB_HASH_SIZE);
	item->prompt = key->prompt;
	item->len = key->len;
	item->dim = dim;
	item->truncated = truncated;
	memcpy(item->vector, vector, dim * sizeof(float));
	memcpy(item_text(item), key->text, key->len);
	return item;
}

void
embed_cache_put(const EmbedCacheKey *key, const float *vector, int32 dim, bool truncated)
{
	Size		size = item_size(dim, key->len) + ENTRY_OVERHEAD;
	CacheEntry *entry;
	CacheItem  *item;
	bool		found;

	if (embed_guc_cache_entries <= 0 || size > CACHE_BYTES_MAX)
		return;
	if (cache == NULL)
		create_cache();
	entry = hash_search(cache, &key->hash, HASH_FIND, NULL);
	if (entry != NULL)
		drop_item(entry->item);
	shrink(embed_guc_cache_entries - 1, CACHE_BYTES_MAX - size);

	/* may raise, with nothing changed */
	entry = hash_search(cache, &key->hash, HASH_ENTER, &found);
	item = make_item(key, vector, dim, truncated);
	if (item == NULL)
	{
		(void) hash_search(cache, &key->hash, HASH_REMOVE, NULL);
		return;
	}
	entry->item = item;
	dlist_push_head(&recent_items, &item->node);
	counts.entries++;
	counts.bytes += size;
}

/* _embed.cache_state(OUT entries int8, OUT bytes int8, OUT hits int8, OUT misses int8): this backend's cache */
Datum
embed_cache_state(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int64GetDatum(counts.entries);
	values[1] = Int64GetDatum(counts.bytes);
	values[2] = Int64GetDatum(counts.hits);
	values[3] = Int64GetDatum(counts.misses);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
