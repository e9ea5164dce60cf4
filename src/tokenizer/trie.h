/*
 * trie.h
 *		A byte trie in a double array, laid out for reading in place.
 *
 * The child of node s by byte c is unit t = base(s) ^ c if units[t].check ==
 * s (Aoe, 1989; XOR addressing as in Yata's darts-clone). The units come in
 * blocks of 256, so t is in bounds if base(s) is. One comparison per step keeps
 * a hostile table inside its block of bytes. Node 0 is the root.
 *
 * EmbTrieUnit, 8 bytes, little endian:
 *		0	u32		base; bit 31: values[] of this node is valid
 *		4	u32		check: parent node, or one of the EMB_TRIE_CHECK_ values
 */
#ifndef EMB_TOKENIZER_TRIE_H
#define EMB_TOKENIZER_TRIE_H

#include <assert.h>

#include "common/error.h"
#include "common/mem.h"

typedef struct EmbTrieUnit
{
	uint32_t	base;
	uint32_t	check;
} EmbTrieUnit;

static_assert(sizeof(EmbTrieUnit) == 8, "EmbTrieUnit is an on-disk structure");

#define EMB_TRIE_HAS_VALUE		0x80000000u
#define EMB_TRIE_CHECK_FREE		0xFFFFFFFFu
#define EMB_TRIE_CHECK_ROOT		0xFFFFFFFEu
#define EMB_TRIE_NONE			0xFFFFFFFFu
#define EMB_TRIE_BLOCK			256u
#define EMB_TRIE_UNITS_MAX		(128u * 1024 * 1024)

typedef struct EmbTrie
{
	const EmbTrieUnit *units;	/* [n_units] */
	const int32_t *values;		/* [n_units] */
	uint32_t	n_units;		/* a multiple of 256; 0: the trie is empty */
} EmbTrie;

/* The child of node by byte, or EMB_TRIE_NONE. node < n_units. */
static inline uint32_t
emb_trie_step(const EmbTrie *trie, uint32_t node, uint8_t byte)
{
	uint32_t	base = trie->units[node].base & ~EMB_TRIE_HAS_VALUE;
	uint32_t	next = base ^ byte;

	if (base >= trie->n_units || trie->units[next].check != node)
		return EMB_TRIE_NONE;
	return next;
}

static inline bool
emb_trie_has_value(const EmbTrie *trie, uint32_t node)
{
	return (trie->units[node].base & EMB_TRIE_HAS_VALUE) != 0;
}

/* The node at the end of text, or EMB_TRIE_NONE. */
extern uint32_t emb_trie_find(const EmbTrie *trie, const uint8_t *text, size_t len);

/* Whether no walk can leave the arrays and every value lies in 0 .. n_values - 1. O(n_units). */
extern EmbStatus emb_trie_check(const EmbTrie *trie, const char *name, int32_t n_values, EmbError *err);

typedef struct EmbTrieKey
{
	const uint8_t *text;		/* no zero bytes */
	uint32_t	len;			/* >= 1 */
	int32_t		value;
	int32_t		rank;			/* among equal texts the highest rank wins */
	uint64_t	start;			/* set by emb_trie_build: the first bytes, as a number with the same order */
} EmbTrieKey;

typedef struct EmbTrieBuilt
{
	EmbTrieUnit *units;			/* from mem; the caller releases both */
	int32_t    *values;
	uint32_t	n_units;
} EmbTrieBuilt;

/*
 * Sorts keys in place. Equal keys produce equal bytes. Without keys n_units is 0
 * and the pointers are NULL. Polls stop every few milliseconds.
 */
extern EmbStatus emb_trie_build(EmbTrieKey *keys, size_t n_keys, const EmbAllocator *mem, const EmbStop *stop,
								EmbTrieBuilt *built, EmbError *err);

#endif
