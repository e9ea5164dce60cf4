/*
 * trie.c
 *		Builds and checks double-array tries.
 *
 * Nodes are ranges of the sorted keys, placed depth first. Free units of the
 * last few blocks are chained in a list. A node tries a bounded number of them
 * before a new block is added, so building is linear for any keys.
 */
#include "tokenizer/trie.h"

#include <string.h>

#include "common/sort.h"

#define OPEN_BLOCKS_MAX	16
#define TRIES_MAX		256
#define NODES_PER_ASK	8192
#define KEYS_PER_ASK	8192

typedef struct Pending
{
	uint32_t	node;
	uint32_t	depth;
	size_t		low,
				high;			/* keys[low .. high) pass through the node */
} Pending;

typedef struct Builder
{
	const EmbAllocator *mem;
	const EmbStop *stop;
	EmbTrieUnit *units;
	int32_t    *values;
	uint32_t   *next_free;		/* [capacity] circular list through the free units of the open blocks */
	uint32_t   *prev_free;
	uint32_t	free_head;		/* EMB_TRIE_NONE: no free unit */
	uint32_t	n_units;
	uint32_t	capacity;
	uint32_t	first_open;		/* the first unit of the open blocks */
} Builder;

uint32_t
emb_trie_find(const EmbTrie *trie, const uint8_t *text, size_t len)
{
	uint32_t	node = trie->n_units > 0 ? 0 : EMB_TRIE_NONE;

	for (size_t i = 0; i < len && node != EMB_TRIE_NONE; i++)
		node = emb_trie_step(trie, node, text[i]);
	return node;
}

EmbStatus
emb_trie_check(const EmbTrie *trie, const char *name, int32_t n_values, EmbError *err)
{
	for (uint32_t i = 0; i < trie->n_units; i++)
	{
		EmbTrieUnit unit = trie->units[i];

		if (unit.check == EMB_TRIE_CHECK_FREE)
			continue;
		if ((unit.check == EMB_TRIE_CHECK_ROOT) != (i == 0) ||
			(i != 0 && unit.check >= trie->n_units) ||
			(unit.base & ~EMB_TRIE_HAS_VALUE) >= trie->n_units)
			return emb_error(err, EMB_ERR_FORMAT, "tokenizer table \"%s\" is corrupt at unit %u", name, i);
		if ((unit.base & EMB_TRIE_HAS_VALUE) != 0 &&
			(trie->values[i] < 0 || trie->values[i] >= n_values))
			return emb_error(err, EMB_ERR_FORMAT, "tokenizer table \"%s\" has value %d at unit %u, outside 0..%d",
							 name, trie->values[i], i, n_values - 1);
	}
	if (trie->n_units > 0 && trie->units[0].check != EMB_TRIE_CHECK_ROOT)
		return emb_error(err, EMB_ERR_FORMAT, "tokenizer table \"%s\" has no root", name);
	return EMB_OK;
}

static EmbStatus
cancelled(EmbError *err)
{
	return emb_error(err, EMB_ERR_CANCELLED, "building the tokenizer was cancelled");
}

/*
 * Fills start of each key. Most comparisons need only start, which halves the time
 * to build a large trie.
 */
static EmbStatus
fill_starts(EmbTrieKey *keys, size_t n, const EmbStop *stop, EmbError *err)
{
	for (size_t i = 0; i < n; i++)
	{
		if (i % KEYS_PER_ASK == KEYS_PER_ASK - 1 && emb_should_stop(stop))
			return cancelled(err);
		keys[i].start = 0;
		for (uint32_t k = 0; k < sizeof(uint64_t); k++)
			keys[i].start = keys[i].start << 8 | (k < keys[i].len ? keys[i].text[k] : 0);
	}
	return EMB_OK;
}

static int
compare_keys(const void *a, const void *b, void *ctx)
{
	const EmbTrieKey *x = a;
	const EmbTrieKey *y = b;
	uint32_t	n = x->len < y->len ? x->len : y->len;
	int			cmp = (x->start > y->start) - (x->start < y->start);

	(void) ctx;
	if (cmp == 0)
		cmp = memcmp(x->text, y->text, n);

	if (cmp == 0)
		cmp = (x->len > y->len) - (x->len < y->len);
	if (cmp == 0)
		cmp = (x->rank < y->rank) - (x->rank > y->rank);
	return cmp;
}

/* Keeps the first of equal texts. *n: the number of keys, before and after. */
static EmbStatus
drop_duplicates(EmbTrieKey *keys, size_t *n, const EmbStop *stop, EmbError *err)
{
	size_t		kept = 0;

	for (size_t i = 0; i < *n; i++)
	{
		if (i % KEYS_PER_ASK == KEYS_PER_ASK - 1 && emb_should_stop(stop))
			return cancelled(err);
		if (kept == 0 || keys[i].len != keys[kept - 1].len ||
			memcmp(keys[i].text, keys[kept - 1].text, keys[i].len) != 0)
			keys[kept++] = keys[i];
	}
	*n = kept;
	return EMB_OK;
}

static bool
grow_array(const EmbAllocator *mem, void **array, size_t used, size_t capacity, size_t size)
{
	void	   *bigger = emb_alloc_array(mem, capacity, size);

	if (bigger == NULL)
		return false;
	if (used > 0)
		memcpy(bigger, *array, used * size);
	emb_release(mem, *array);
	*array = bigger;
	return true;
}

static EmbStatus
grow(Builder *b, EmbError *err)
{
	uint32_t	capacity = b->capacity > 0 ? b->capacity * 2 : 4 * EMB_TRIE_BLOCK;

	if (b->n_units >= EMB_TRIE_UNITS_MAX)
		return emb_error(err, EMB_ERR_LIMIT, "the vocabulary needs more than %u trie nodes", EMB_TRIE_UNITS_MAX);
	if (!grow_array(b->mem, (void **) &b->units, b->n_units, capacity, sizeof(EmbTrieUnit)) ||
		!grow_array(b->mem, (void **) &b->values, b->n_units, capacity, sizeof(int32_t)) ||
		!grow_array(b->mem, (void **) &b->next_free, b->n_units, capacity, sizeof(uint32_t)) ||
		!grow_array(b->mem, (void **) &b->prev_free, b->n_units, capacity, sizeof(uint32_t)))
		return emb_error(err, EMB_ERR_NOMEM, "out of memory building a trie of %u nodes", capacity);
	b->capacity = capacity;
	return EMB_OK;
}

static void
unlink_free(Builder *b, uint32_t unit)
{
	uint32_t	next = b->next_free[unit];

	if (next == unit)
		b->free_head = EMB_TRIE_NONE;
	else
	{
		b->next_free[b->prev_free[unit]] = next;
		b->prev_free[next] = b->prev_free[unit];
		if (b->free_head == unit)
			b->free_head = next;
	}
}

static void
link_free(Builder *b, uint32_t unit)
{
	if (b->free_head == EMB_TRIE_NONE)
	{
		b->next_free[unit] = b->prev_free[unit] = unit;
		b->free_head = unit;
		return;
	}
	b->prev_free[unit] = b->prev_free[b->free_head];
	b->next_free[unit] = b->free_head;
	b->next_free[b->prev_free[unit]] = unit;
	b->prev_free[b->free_head] = unit;
}

/* Adds 256 free units. If there are too many open blocks, the oldest is closed. */
static EmbStatus
add_block(Builder *b, EmbError *err)
{
	EmbStatus	status;

	if (b->n_units == b->capacity && (status = grow(b, err)) != EMB_OK)
		return status;
	for (uint32_t i = b->n_units; i < b->n_units + EMB_TRIE_BLOCK; i++)
	{
		b->units[i] = (EmbTrieUnit) {0, EMB_TRIE_CHECK_FREE};
		b->values[i] = 0;
		link_free(b, i);
	}
	b->n_units += EMB_TRIE_BLOCK;
	if (b->n_units - b->first_open > OPEN_BLOCKS_MAX * EMB_TRIE_BLOCK)
	{
		for (uint32_t i = b->first_open; i < b->first_open + EMB_TRIE_BLOCK; i++)
			if (b->units[i].check == EMB_TRIE_CHECK_FREE)
				unlink_free(b, i);
		b->first_open += EMB_TRIE_BLOCK;
	}
	return EMB_OK;
}

static bool
labels_fit(const Builder *b, uint32_t base, const uint8_t *labels, int n)
{
	for (int i = 1; i < n; i++)
		if (b->units[base ^ labels[i]].check != EMB_TRIE_CHECK_FREE)
			return false;
	return true;
}

/* Finds a base whose units for all labels are free. */
static EmbStatus
find_base(Builder *b, const uint8_t *labels, int n, uint32_t *base, EmbError *err)
{
	uint32_t	unit = b->free_head;
	EmbStatus	status;

	for (int tries = 0; unit != EMB_TRIE_NONE && tries < TRIES_MAX; tries++)
	{
		*base = unit ^ labels[0];
		if (labels_fit(b, *base, labels, n))
			return EMB_OK;
		unit = b->next_free[unit];
		if (unit == b->free_head)
			break;
	}
	status = add_block(b, err);
	*base = b->n_units - EMB_TRIE_BLOCK;
	return status;
}

/* Places the children of a node and queues them. */
static EmbStatus
place_children(Builder *b, const EmbTrieKey *keys, Pending at, Pending *stack, size_t *n_stack, EmbError *err)
{
	uint8_t		labels[256];
	size_t		starts[257];
	int			n = 0;
	uint32_t	base;
	EmbStatus	status;

	if (keys[at.low].len == at.depth)
	{
		b->units[at.node].base |= EMB_TRIE_HAS_VALUE;
		b->values[at.node] = keys[at.low].value;
		at.low++;
	}
	for (size_t i = at.low; i < at.high; i++)
	{
		if (i % KEYS_PER_ASK == KEYS_PER_ASK - 1 && emb_should_stop(b->stop))
			return cancelled(err);
		if (n == 0 || keys[i].text[at.depth] != labels[n - 1])
		{
			labels[n] = keys[i].text[at.depth];
			starts[n++] = i;
		}
	}
	if (n == 0)
		return EMB_OK;
	starts[n] = at.high;
	if ((status = find_base(b, labels, n, &base, err)) != EMB_OK)
		return status;
	b->units[at.node].base |= base;
	for (int i = 0; i < n; i++)
	{
		uint32_t	child = base ^ labels[i];

		unlink_free(b, child);
		b->units[child].check = at.node;
	}
	for (int i = n - 1; i >= 0; i--)
		stack[(*n_stack)++] = (Pending) {base ^ labels[i], at.depth + 1, starts[i], starts[i + 1]};
	return EMB_OK;
}

EmbStatus
emb_trie_build(EmbTrieKey *keys, size_t n_keys, const EmbAllocator *mem, const EmbStop *stop,
			   EmbTrieBuilt *built, EmbError *err)
{
	Builder		b = {.mem = mem, .stop = stop, .free_head = EMB_TRIE_NONE};
	Pending    *stack;
	size_t		n_stack = 0;
	size_t		n_placed = 0;
	EmbStatus	status;

	*built = (EmbTrieBuilt) {0};
	if (n_keys == 0)
		return EMB_OK;
	if ((status = fill_starts(keys, n_keys, stop, err)) != EMB_OK ||
		(status = emb_sort(keys, n_keys, sizeof(EmbTrieKey), compare_keys, NULL, mem, stop, "sorting a vocabulary", err)) != EMB_OK ||
		(status = drop_duplicates(keys, &n_keys, stop, err)) != EMB_OK)
		return status;

	/* Pending nodes hold disjoint, non-empty ranges of keys. */
	stack = emb_alloc_array(mem, n_keys, sizeof(Pending));
	if (stack == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory building a trie of %zu keys", n_keys);
	status = add_block(&b, err);
	if (status == EMB_OK)
	{
		unlink_free(&b, 0);
		b.units[0].check = EMB_TRIE_CHECK_ROOT;
		stack[n_stack++] = (Pending) {0, 0, 0, n_keys};
	}
	while (status == EMB_OK && n_stack > 0)
	{
		Pending		at = stack[--n_stack];

		if (++n_placed % NODES_PER_ASK == 0 && emb_should_stop(stop))
			status = cancelled(err);
		else
			status = place_children(&b, keys, at, stack, &n_stack, err);
	}
	emb_release(mem, stack);
	emb_release(mem, b.next_free);
	emb_release(mem, b.prev_free);
	if (status == EMB_OK)
		*built = (EmbTrieBuilt) {b.units, b.values, b.n_units};
	else
	{
		emb_release(mem, b.units);
		emb_release(mem, b.values);
	}
	return status;
}
