/*
 * cache.h
 *		embed.cache_entries: recent vectors of this backend, by text.
 *
 * Example:
 *
 *		EmbedCacheKey key = embed_cache_key(ref, prompt, false, text, len);
 *		if (!embed_cache_find(&key, vector, dim, &truncated))
 *		{
 *			compute(vector, &truncated);
 *			embed_cache_put(&key, vector, dim, truncated);
 *		}
 *
 * A cached vector has the bits of the computed one. A key holds the image, the
 * kind of prompt, the instruction and the bytes of the text, so entries never become stale. The
 * key also holds the asking role: one role must not learn from embed_stat or
 * from a call's duration what another role had computed. DISCARD ALL empties
 * the cache.
 */
#ifndef EMBED_PG_CALL_CACHE_H
#define EMBED_PG_CALL_CACHE_H

#include "pg/store/registry.h"

/* embed.cache_entries: 2 MB of vectors of 384 dimensions, 5 MB of 1,024. */
#define EMBED_CACHE_ENTRIES_DEFAULT 1024

/* Longer texts are not cached. */
#define EMBED_CACHE_TEXT_MAX (8 * 1024)

/*
 * Who asks: the current user (maybe the owner of a SECURITY DEFINER function),
 * the role that called that function, and the role that logged in.
 */
typedef struct EmbedAsker
{
	Oid			user;
	Oid			role;
	Oid			session;
} EmbedAsker;

extern EmbedAsker embed_asker(void);

static inline bool
embed_same_asker(const EmbedAsker *a, const EmbedAsker *b)
{
	return a->user == b->user && a->role == b->role && a->session == b->session;
}

typedef struct EmbedCacheKey
{
	EmbedAsker	asker;
	const uint8 *fingerprint;
	const char *text;
	int32		len;
	int32		prompt;			/* EmbPrompt, or -1: the text begins with an instruction */
	uint64		hash;
} EmbedCacheKey;

/* Borrows the fingerprint and the text. */
extern EmbedCacheKey embed_cache_key(const EmbedModelRef *ref, EmbPrompt prompt, bool is_instructed, const char *text, int32 len);

/* Whether the cache is on and stores texts of this length. */
extern bool embed_cache_serves(Size len);

extern bool embed_cache_find(const EmbedCacheKey *key, float *vector, int32 dim, bool *truncated);

/* Whether the cache has the vector; no use of it. */
extern bool embed_cache_has(const EmbedCacheKey *key, int32 dim);

/* Does nothing if memory is lacking, or the cache is off. */
extern void embed_cache_put(const EmbedCacheKey *key, const float *vector, int32 dim, bool truncated);

/* Drops surplus entries after the setting changed. No ERROR. */
extern void embed_cache_trim(int max_entries);

/* Registers the hook for DISCARD ALL; called by _PG_init. */
extern void embed_cache_init(void);

#endif
