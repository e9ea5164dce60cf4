/*
 * cache.c
 *		embed.cache_entries: recent vectors of this backend, by text.
 *
 * A hash table over a 64-bit hash of the key. Every hit compares the whole
 * key; of two texts with the same hash the later one stays.
 *
 * Replacement follows LIRS (Jiang and Zhang 2002, section 3). Under LRU, a
 * query that reads n texts again and again, one more than the cache holds,
 * gets no hit at all. So most of the room belongs to hot entries: texts that
 * were used again sooner than some hot entry. All other entries are cold and
 * share 1/32 of the room. In a cycle of n texts no cold entry is used again
 * sooner than the hot ones, so the hot ones stay.
 *
 * When the working set changes, its texts are used again sooner than the old
 * texts, on their second turn, and take over the room.
 *
 * The order of use is a list, last used first. Entries below the least
 * recently used hot entry do not matter, so the list ends there. Texts whose
 * vectors were removed stay in the list as ghosts, by hash only.
 *
 * Hits in cycles of n texts, 10 turns, 1,024 entries; "before" is LRU:
 *
 * After ten turns of 2,000 texts, ten of 900 others have 80 % (each is computed
 * twice), ten of 500 others as well. Of 30,000 texts drawn from 10,000, the kth
 * with a chance of 1 / k, 69 % are hits (before 65 %).
 *
 * After ten turns of 2,000 texts, ten turns of 900 other texts have 80 % hits
 * (each is computed twice), and so have ten turns of 500 others. Of 30,000
 * texts drawn from 10,000, the kth with probability proportional to 1 / k, 69
 * % are hits (before 65 %).
 */
#include "pg/call/cache.h"

#include "access/htup_details.h"
#include <common/hashfn.h>			/* the server's, not ours */
#include "funcapi.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/hsearch.h"

/* A limit whatever the setting allows. */
#define CACHE_BYTES_MAX ((Size) 16 * 1024 * 1024)

/* The cold entries' share of the room, in entries and bytes. */
#define COLD_PART		32

/* Ghosts per entry: a new working set must be recognized on its second turn. */
#define GHOSTS_PER_ENTRY	2
#define GHOSTS_MIN		64

/* Table overhead of an entry or ghost, without its vector and text. */
#define ENTRY_OVERHEAD	(sizeof(CacheEntry) + 2 * sizeof(void *))

/* One block: the text follows the vector. */
typedef struct CacheItem
{
	EmbedAsker	asker;
	uint8		fingerprint[EMB_HASH_SIZE];
	int32		prompt;
	int32		len;
	int32		dim;
	bool		truncated;
	float		vector[FLEXIBLE_ARRAY_MEMBER];	/* [dim] */
} CacheItem;

typedef struct CacheEntry
{
	uint64		hash;			/* the key of the table */
	CacheItem  *item;			/* NULL: a ghost */
	dlist_node	use;			/* in order_of_use, if is_listed; always for hot entries and ghosts */
	dlist_node	turn;			/* cold entries in cold_entries, ghosts in ghosts */
	bool		is_hot;
	bool		is_listed;
} CacheEntry;

static MemoryContext cache_cxt = NULL;
static HTAB *cache = NULL;
static dlist_head order_of_use = DLIST_STATIC_INIT(order_of_use);	/* last used first, ends with a hot entry */
static dlist_head cold_entries = DLIST_STATIC_INIT(cold_entries);	/* victims at the tail */
static dlist_head ghosts = DLIST_STATIC_INIT(ghosts);	/* victims at the tail */

/* Current sizes. */
static struct
{
	int64		entries;
	int64		bytes;			/* including ghosts */
	int64		hot_entries;
	int64		hot_bytes;
	int64		ghosts;
}			sizes;

static int64 n_hits = 0;
static int64 n_misses = 0;
static ProcessUtility_hook_type next_process_utility = NULL;

EMBED_FUNCTION(embed_cache_state);

static inline char *
item_text(const CacheItem *item)
{
	return (char *) (item->vector + item->dim);
}

static inline CacheEntry *
last_used(void)
{
	return dlist_container(CacheEntry, use, dlist_tail_node(&order_of_use));
}

/* Bytes of the entry, including the memory context's overhead. */
static int64
entry_bytes(const CacheEntry *entry)
{
	return ENTRY_OVERHEAD + (entry->item != NULL ? GetMemoryChunkSpace(entry->item) : 0);
}

EmbedAsker
embed_asker(void)
{
	EmbedAsker	asker = {GetUserId(), GetOuterUserId(), GetSessionUserId()};

	return asker;
}

EmbedCacheKey
embed_cache_key(const EmbedModelRef *ref, EmbPrompt prompt, bool is_instructed, const char *text, int32 len)
{
	EmbedCacheKey key = {embed_asker(), ref->fingerprint, text, len, is_instructed ? -1 : (int32) prompt, 0};
	uint64		seed;

	memcpy(&seed, ref->fingerprint, sizeof(seed));
	seed += (uint64) (int64) key.prompt;
	seed ^= hash_bytes_extended((const unsigned char *) &key.asker, sizeof(key.asker), 0);
	key.hash = hash_bytes_extended((const unsigned char *) text, len, seed);
	return key;
}

bool
embed_cache_serves(Size len)
{
	return embed_guc_cache_entries > 0 && len <= EMBED_CACHE_TEXT_MAX;
}

/* ---------------------------------------------------------------- lists */

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
	/* grows when needed */
	cache = hash_create("embed cache", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
drop_all(void)
{
	dlist_init(&order_of_use);
	dlist_init(&cold_entries);
	dlist_init(&ghosts);
	cache = NULL;
	memset(&sizes, 0, sizeof(sizes));
	/* the table's own context is a child of cache_cxt */
	if (cache_cxt != NULL)
		MemoryContextReset(cache_cxt);
}

static void
forget_entry(CacheEntry *entry)
{
	uint64		hash = entry->hash;

	sizes.bytes -= ENTRY_OVERHEAD;
	(void) hash_search(cache, &hash, HASH_REMOVE, NULL);
}

static void
unlist(CacheEntry *entry)
{
	if (entry->is_listed)
		dlist_delete(&entry->use);
	entry->is_listed = false;
}

static void
drop_ghost(CacheEntry *ghost)
{
	unlist(ghost);
	dlist_delete(&ghost->turn);
	sizes.ghosts--;
	forget_entry(ghost);
}

/* Trims the list of uses so that it ends with a hot entry. */
static void
prune(void)
{
	while (!dlist_is_empty(&order_of_use) && !last_used()->is_hot)
	{
		CacheEntry *entry = last_used();

		if (entry->item == NULL)
			drop_ghost(entry);
		else
			unlist(entry);
	}
}

static void
note_use(CacheEntry *entry)
{
	unlist(entry);
	dlist_push_head(&order_of_use, &entry->use);
	entry->is_listed = true;
}

/* Turns the least recently used hot entry cold. */
static void
cool_down(void)
{
	CacheEntry *entry = last_used();

	sizes.hot_entries--;
	sizes.hot_bytes -= entry_bytes(entry);
	entry->is_hot = false;
	unlist(entry);
	dlist_push_head(&cold_entries, &entry->turn);
	prune();
}

static int64
hot_entries_max(int64 n_entries)
{
	return n_entries - Max(n_entries / COLD_PART, 1);
}

#define HOT_BYTES_MAX	((int64) (CACHE_BYTES_MAX - CACHE_BYTES_MAX / COLD_PART))

/* Turns an entry that is in no list of turns hot, at the cost of others. */
static void
heat_up(CacheEntry *entry)
{
	entry->is_hot = true;
	sizes.hot_entries++;
	sizes.hot_bytes += entry_bytes(entry);
	note_use(entry);
	while (sizes.hot_entries > hot_entries_max(embed_guc_cache_entries) || sizes.hot_bytes > HOT_BYTES_MAX)
		cool_down();
	prune();
}

/* Frees the vector of the next victim; a ghost remains if its last use still matters. */
static void
evict(void)
{
	CacheEntry *entry;

	if (dlist_is_empty(&cold_entries))
		cool_down();
	entry = dlist_container(CacheEntry, turn, dlist_tail_node(&cold_entries));
	dlist_delete(&entry->turn);
	sizes.entries--;
	sizes.bytes -= GetMemoryChunkSpace(entry->item);
	pfree(entry->item);
	entry->item = NULL;
	if (!entry->is_listed)
	{
		forget_entry(entry);
		return;
	}
	dlist_push_head(&ghosts, &entry->turn);
	sizes.ghosts++;
}

/* Removes entries until at most n_entries and the bytes remain, and surplus ghosts. */
static void
shrink(int64 n_entries)
{
	while (sizes.hot_entries > Max(hot_entries_max(n_entries), 0))
		cool_down();
	while (sizes.entries > 0 && (sizes.entries > n_entries || sizes.bytes > (int64) CACHE_BYTES_MAX))
	{
		/* surplus ghosts from a time with more entries */
		if (sizes.entries <= n_entries && sizes.ghosts > GHOSTS_PER_ENTRY * sizes.entries + GHOSTS_MIN)
			drop_ghost(dlist_container(CacheEntry, turn, dlist_tail_node(&ghosts)));
		else
			evict();
	}
	while (sizes.ghosts > GHOSTS_PER_ENTRY * sizes.entries + GHOSTS_MIN)
		drop_ghost(dlist_container(CacheEntry, turn, dlist_tail_node(&ghosts)));
}

void
embed_cache_trim(int max_entries)
{
	if (max_entries > 0)
		shrink(max_entries);
	else
		drop_all();
}

/* -------------------------------------------------------------- entries */

static bool
is_item(const CacheItem *item, const EmbedCacheKey *key, int32 dim)
{
	return item->len == key->len && item->prompt == key->prompt && item->dim == dim &&
		embed_same_asker(&item->asker, &key->asker) &&
		memcmp(item->fingerprint, key->fingerprint, EMB_HASH_SIZE) == 0 &&
		memcmp(item_text(item), key->text, key->len) == 0;
}

/* A use of an entry with a vector. */
static void
use_entry(CacheEntry *entry)
{
	if (entry->is_hot)
	{
		note_use(entry);
		prune();
	}
	else if (entry->is_listed)
	{
		/* sooner than the last hot entry */
		dlist_delete(&entry->turn);
		heat_up(entry);
	}
	else
	{
		note_use(entry);
		dlist_move_head(&cold_entries, &entry->turn);
	}
}

bool
embed_cache_find(const EmbedCacheKey *key, float *vector, int32 dim, bool *truncated)
{
	CacheEntry *entry = NULL;

	if (cache != NULL)
		entry = hash_search(cache, &key->hash, HASH_FIND, NULL);
	if (entry == NULL || entry->item == NULL || !is_item(entry->item, key, dim))
	{
		n_misses++;
		return false;
	}
	n_hits++;
	memcpy(vector, entry->item->vector, dim * sizeof(float));
	*truncated = entry->item->truncated;
	use_entry(entry);
	return true;
}

bool
embed_cache_has(const EmbedCacheKey *key, int32 dim)
{
	CacheEntry *entry = cache != NULL ? hash_search(cache, &key->hash, HASH_FIND, NULL) : NULL;

	return entry != NULL && entry->item != NULL && is_item(entry->item, key, dim);
}

static CacheItem *
make_item(const EmbedCacheKey *key, const float *vector, int32 dim, bool truncated)
{
	CacheItem  *item = MemoryContextAllocExtended(cache_cxt, offsetof(CacheItem, vector) + dim * sizeof(float) + key->len,
												  MCXT_ALLOC_NO_OOM);

	if (item == NULL)
		return NULL;
	item->asker = key->asker;
	memcpy(item->fingerprint, key->fingerprint, EMB_HASH_SIZE);
	item->prompt = key->prompt;
	item->len = key->len;
	item->dim = dim;
	item->truncated = truncated;
	memcpy(item->vector, vector, dim * sizeof(float));
	memcpy(item_text(item), key->text, key->len);
	return item;
}

/* Sets the item of an entry that was a ghost, or is new and in no list. */
static void
take_in(CacheEntry *entry, CacheItem *item, bool was_ghost)
{
	if (was_ghost)
	{
		dlist_delete(&entry->turn);
		sizes.ghosts--;
	}
	entry->item = item;
	sizes.entries++;
	sizes.bytes += GetMemoryChunkSpace(item);
	if (was_ghost ||
		(sizes.hot_entries < hot_entries_max(embed_guc_cache_entries) &&
		 sizes.hot_bytes + entry_bytes(entry) <= HOT_BYTES_MAX))
		heat_up(entry);
	else
	{
		note_use(entry);
		dlist_push_head(&cold_entries, &entry->turn);
		prune();
	}
}

void
embed_cache_put(const EmbedCacheKey *key, const float *vector, int32 dim, bool truncated)
{
	CacheEntry *entry;
	CacheItem  *item;
	bool		found;

	if (embed_guc_cache_entries <= 0)
		return;
	if (cache == NULL)
		create_cache();
	item = make_item(key, vector, dim, truncated);
	if (item == NULL)
		return;
	/* may raise: then the item stays allocated until the next DISCARD ALL */
	entry = hash_search(cache, &key->hash, HASH_ENTER, &found);
	if (!found)
	{
		entry->item = NULL;
		entry->is_hot = entry->is_listed = false;
		sizes.bytes += ENTRY_OVERHEAD;
	}
	else if (entry->item != NULL)
	{
		/* another text with the same hash */
		if (entry->is_hot)
			sizes.hot_bytes += (int64) GetMemoryChunkSpace(item) - (int64) GetMemoryChunkSpace(entry->item);
		sizes.bytes += (int64) GetMemoryChunkSpace(item) - (int64) GetMemoryChunkSpace(entry->item);
		pfree(entry->item);
		entry->item = item;
		shrink(embed_guc_cache_entries);
		return;
	}
	take_in(entry, item, found);
	shrink(embed_guc_cache_entries);
}

/* -------------------------------------------------------------- session */

/* DISCARD ALL removes all cached data before the connection gets its next user. */
static void
process_utility(EMBED_PROCESS_UTILITY_PARAMETERS)
{
	/* read before it runs: the statement may be freed with its plan */
	const Node *statement = pstmt->utilityStmt;
	bool		discards = IsA(statement, DiscardStmt) && ((const DiscardStmt *) statement)->target == DISCARD_ALL;

	if (next_process_utility != NULL)
		next_process_utility(EMBED_PROCESS_UTILITY_ARGUMENTS);
	else
		standard_ProcessUtility(EMBED_PROCESS_UTILITY_ARGUMENTS);
	if (discards)
	{
		drop_all();
		n_hits = n_misses = 0;
	}
}

void
embed_cache_init(void)
{
	next_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}

/*
 * _embed.cache_state(OUT entries int8, OUT bytes int8, OUT hits int8, OUT
 * misses int8): the cache of this backend. The numbers cover all roles of the
 * session and do not show what a role asked.
 */
Datum
embed_cache_state(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int64GetDatum(sizes.entries);
	values[1] = Int64GetDatum(sizes.bytes);
	values[2] = Int64GetDatum(n_hits);
	values[3] = Int64GetDatum(n_misses);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
