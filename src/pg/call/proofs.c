/*
 * proofs.c
 *		Which vectors this backend computed in this transaction, by text.
 *
 * An open hash table of fixed-size pairs: the search for a key starts at its
 * own slot and covers WINDOW slots. If a window has no free slot, the table
 * grows, up to SLOTS_MAX (4 MB); at this size a new pair replaces another in
 * its window.
 */
#include "pg/call/proofs.h"

#include "access/detoast.h"
#include "access/xact.h"

#define SLOTS_FIRST	64
#define SLOTS_MAX	(128 * 1024)
#define WINDOW		8

typedef struct Proof
{
	EmbedProofKey key;			/* all zero: a free slot */
	uint64		vector[2];
} Proof;

/* In TopTransactionContext. */
static Proof *proofs = NULL;
static uint32 n_slots = 0;
static uint32 next_victim = 0;

/* The key of SipHash: random, private to this backend. */
static uint64 secret[2];
static bool have_secret = false;

/* ---------------------------------------------------------- SipHash-2-4 */

/*
 * Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012, with the
 * 128-bit output of its reference implementation.
 */
typedef struct Sip
{
	uint64		v0;
	uint64		v1;
	uint64		v2;
	uint64		v3;
	uint64		tail;			/* bytes of the incomplete word, low bytes first */
	int			n_tail;
	uint64		n_bytes;
} Sip;

static inline uint64
rotate(uint64 x, int bits)
{
	return (x << bits) | (x >> (64 - bits));
}

static inline void
sip_round(Sip *s)
{
	s->v0 += s->v1;
	s->v2 += s->v3;
	s->v1 = rotate(s->v1, 13) ^ s->v0;
	s->v3 = rotate(s->v3, 16) ^ s->v2;
	s->v0 = rotate(s->v0, 32) + s->v3;
	s->v2 += s->v1;
	s->v3 = rotate(s->v3, 21) ^ s->v0;
	s->v1 = rotate(s->v1, 17) ^ s->v2;
	s->v2 = rotate(s->v2, 32);
}

static Sip
sip_begin(void)
{
	Sip			s = {0};

	s.v0 = secret[0] ^ UINT64CONST(0x736f6d6570736575);
	s.v1 = secret[1] ^ UINT64CONST(0x646f72616e646f6d) ^ 0xee;
	s.v2 = secret[0] ^ UINT64CONST(0x6c7967656e657261);
	s.v3 = secret[1] ^ UINT64CONST(0x7465646279746573);
	return s;
}

static inline void
sip_word(Sip *s, uint64 word)
{
	s->v3 ^= word;
	sip_round(s);
	sip_round(s);
	s->v0 ^= word;
}

static void
sip_update(Sip *s, const void *data, Size len)
{
	const unsigned char *p = data;
	const unsigned char *end = p + len;

	s->n_bytes += len;
	while (p < end)
	{
		if (s->n_tail == 0 && end - p >= 8)
		{
			uint64		word;

			memcpy(&word, p, 8);
			sip_word(s, word);
			p += 8;
			continue;
		}
		s->tail |= (uint64) *p++ << (8 * s->n_tail);
		if (++s->n_tail == 8)
		{
			sip_word(s, s->tail);
			s->tail = 0;
			s->n_tail = 0;
		}
	}
}

static void
sip_end(Sip *s, uint64 *hash)
{
	sip_word(s, s->tail | s->n_bytes << 56);
	s->v2 ^= 0xee;
	for (int i = 0; i < 4; i++)
		sip_round(s);
	hash[0] = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
	s->v1 ^= 0xdd;
	for (int i = 0; i < 4; i++)
		sip_round(s);
	hash[1] = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* -------------------------------------------------------------- the table */

static bool
find_secret(void)
{
	if (!have_secret)
		have_secret = pg_strong_random(secret, sizeof(secret));
	return have_secret;
}

static bool
is_none(const EmbedProofKey *key)
{
	return (key->hash[0] | key->hash[1]) == 0;
}

static bool
is_key(const EmbedProofKey *a, const EmbedProofKey *b)
{
	return a->hash[0] == b->hash[0] && a->hash[1] == b->hash[1];
}

EmbedProofKey
embed_proof_key(const EmbedModelRef *ref, Datum value, bool truncated)
{
	EmbedProofKey key = {{0, 0}};
	struct varlena *plain;
	Sip			sip;

	if (toast_raw_datum_size(value) - VARHDRSZ > EMBED_PROOF_TEXT_MAX || !find_secret())
		return key;
	plain = PG_DETOAST_DATUM_PACKED(value);
	sip = sip_begin();
	sip_update(&sip, ref->fingerprint, EMB_HASH_SIZE);
	sip_update(&sip, &truncated, sizeof(truncated));
	sip_update(&sip, VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain));
	sip_end(&sip, key.hash);
	if (PointerGetDatum(plain) != value)
		pfree(plain);
	return key;
}

static void
hash_vector(const float *vector, int32 dim, uint64 *hash)
{
	Sip			sip = sip_begin();

	sip_update(&sip, vector, dim * sizeof(float));
	sip_end(&sip, hash);
}

/* The slot of key or a free slot, or NULL if the window is full of others. */
static Proof *
find_slot(const EmbedProofKey *key)
{
	for (uint32 i = 0; i < WINDOW; i++)
	{
		Proof	   *slot = &proofs[(key->hash[0] + i) & (n_slots - 1)];

		if (is_none(&slot->key) || is_key(&slot->key, key))
			return slot;
	}
	return NULL;
}

/* False without changes if memory is lacking. */
static bool
grow(void)
{
	uint32		n_old = n_slots;
	uint32		n_new = n_old == 0 ? SLOTS_FIRST : 2 * n_old;
	Proof	   *old = proofs;
	Proof	   *new;

	if (n_new > SLOTS_MAX)
		return false;
	new = MemoryContextAllocExtended(TopTransactionContext, n_new * sizeof(Proof),
									 MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);
	if (new == NULL)
		return false;
	proofs = new;
	n_slots = n_new;
	for (uint32 i = 0; i < n_old; i++)
	{
		Proof	   *slot = is_none(&old[i].key) ? NULL : find_slot(&old[i].key);

		if (slot != NULL)
			*slot = old[i];
	}
	if (old != NULL)
		pfree(old);
	return true;
}

void
embed_proof_put(const EmbedProofKey *key, const float *vector, int32 dim)
{
	Proof	   *slot = NULL;

	if (is_none(key) || TopTransactionContext == NULL)
		return;
	while (proofs == NULL || (slot = find_slot(key)) == NULL)
	{
		if (!grow())
			break;
	}
	if (proofs == NULL)
		return;
	if (slot == NULL)
		slot = &proofs[(key->hash[0] + next_victim++ % WINDOW) & (n_slots - 1)];
	slot->key = *key;
	hash_vector(vector, dim, slot->vector);
}

static const Proof *
find(const EmbedModelRef *ref, Datum value, bool truncated)
{
	EmbedProofKey key = embed_proof_key(ref, value, truncated);
	const Proof *slot = is_none(&key) ? NULL : find_slot(&key);

	return slot != NULL && !is_none(&slot->key) ? slot : NULL;
}

bool
embed_proof_holds(const EmbedModelRef *ref, Datum value, const float *vector, int32 dim)
{
	const Proof *proof;
	uint64		hash[2];

	if (proofs == NULL)
		return false;
	proof = find(ref, value, false);
	/* computing a cut text may raise an error or a warning */
	if (proof == NULL && embed_guc_on_overflow == EMBED_OVERFLOW_TRUNCATE)
		proof = find(ref, value, true);
	if (proof == NULL)
		return false;
	hash_vector(vector, dim, hash);
	return hash[0] == proof->vector[0] && hash[1] == proof->vector[1];
}

bool
embed_proofs_any(void)
{
	return proofs != NULL;
}

static void
xact_event(XactEvent event, pg_attribute_unused() void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE &&
		event != XACT_EVENT_PARALLEL_COMMIT && event != XACT_EVENT_PARALLEL_ABORT)
		return;
	/* the transaction's end freed its memory */
	proofs = NULL;
	n_slots = 0;
}

void
embed_proofs_init(void)
{
	RegisterXactCallback(xact_event, NULL);
}
