/*
 * unigram.c
 *		From a word to ids: the lattice path whose pieces have the largest sum of
 *		log probabilities (Kudo, 2018; Viterbi, 1967), like the library's
 *		encode_optimized. Sums are computed in double from the start of the word.
 *		Among equal sums the path with the longest last piece wins. A character
 *		that is no piece is unknown. Adjacent unknown tokens become one.
 *
 * A word may be as long as the text. Once EMB_TOK_OPEN_BYTES are kept, the best
 * paths to all places where the next piece may start are followed back. The part
 * that they share is certain: its ids are emitted and its text is forgotten. Paths
 * may share nothing over all of that text ("aaaa..." cut in twos or in threes).
 * Such paths are kept as lists of ids, of no more ids than are asked for, and the
 * text is forgotten as well.
 */
#include "tokenizer/encode.h"

#include <assert.h>
#include <string.h>

static_assert(EMB_TOK_OPEN_BYTES < EMB_TOK_NODE_ENTRY, "places of a word must fit EmbTokNode");
static_assert(EMB_TOK_OPEN_BYTES >= 4 * EMB_TOK_MAX_UNIGRAM_BYTES, "a long word must make room in large steps");

static inline uint32_t
char_bytes(uint8_t lead)
{
	return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

static inline void
offer(EmbTokNode *node, double score, int32_t id, uint32_t start)
{
	if (node->start == EMB_TOK_NODE_UNSET || score > node->score)
	{
		node->score = score;
		node->id = id;
		node->start = (uint16_t) start;
	}
}

/*
 * Extends paths by the pieces that start at start, and by the unknown token. False:
 * e->status is set.
 */
static bool
extend(EmbTokEncoder *e, uint32_t start, uint32_t n_char, int32_t *work)
{
	const EmbTokenizer *tok = e->tok;
	const EmbTokBlockHeader *h = tok->header;
	const EmbTrie *pieces = &tok->pieces;
	const double so_far = e->nodes[start].score;
	uint32_t	node = 0;
	uint32_t	i;
	bool		single = false;

	for (i = start; i < e->n_word_bytes;)
	{
		node = emb_trie_step(pieces, node, e->open[i]);
		if (node == EMB_TRIE_NONE)
			break;
		i++;
		if (emb_trie_has_value(pieces, node))
		{
			int32_t		id = pieces->values[node];

			if ((uint32_t) id >= h->n_scores)
			{
				emb_tok_corrupt(e);
				return false;
			}
			offer(&e->nodes[i], so_far + tok->scores[id], id, start);
			single |= i - start == n_char;
		}
	}
	*work += (int32_t) (i - start);
	if (!single)
		offer(&e->nodes[start + n_char], so_far + h->unk_score, h->unk_id, start);
	return true;
}

/* Extends paths from every place where the longest piece that may start there is already kept. */
static bool
advance(EmbTokEncoder *e, bool whole)
{
	uint32_t	n = e->n_word_bytes;
	uint32_t	max = e->tok->header->max_piece;
	int32_t		work = 0;

	if (e->lattice.n_nodes == 0)
	{
		e->nodes[0] = (EmbTokNode) {0, 0, EMB_TOK_NODE_ENTRY, 0};
		e->lattice.n_nodes = 1;
	}
	for (; e->lattice.n_nodes <= n; e->lattice.n_nodes++)
		e->nodes[e->lattice.n_nodes].start = EMB_TOK_NODE_UNSET;
	while (e->lattice.next_start < n && (whole || n - e->lattice.next_start > max))
	{
		uint32_t	n_char = char_bytes(e->open[e->lattice.next_start]);

		if (!extend(e, e->lattice.next_start, n_char, &work))
			return false;
		e->lattice.next_start += n_char;
	}
	return !emb_tok_work(e, work);
}

/* Emits an id, unless it is an unknown token after an unknown token. */
static inline bool
give(EmbTokEncoder *e, int32_t id)
{
	bool		unknown = id == e->tok->header->unk_id;

	if (unknown && e->lattice.unknown)
		return true;
	e->lattice.unknown = unknown;
	return emb_tok_emit_id(e, id);
}

/* -------------------------------------------------- paths without their text */

static bool
no_memory(EmbTokEncoder *e)
{
	e->status = emb_error(e->err, EMB_ERR_NOMEM, "out of memory tokenizing a word of over %d bytes", EMB_TOK_OPEN_BYTES);
	return false;
}

static void
release_ways(const EmbAllocator *mem, EmbTokWay *ways, int n)
{
	for (int i = 0; i < n; i++)
		emb_release(mem, ways[i].ids);
	emb_release(mem, ways);
}

void
emb_tok_forget_ways(EmbTokEncoder *e)
{
	release_ways(&e->tok->mem, e->lattice.ways, e->lattice.n_ways);
	e->lattice.ways = NULL;
	e->lattice.n_ways = 0;
}

/* Ids that a path still needs: one more than fit, to show that not all fit. */
static inline int64_t
ids_wanted(const EmbTokEncoder *e)
{
	return e->out.n_ids > e->out.max_ids ? 0 : (int64_t) e->out.max_ids + 1 - e->out.n_ids;
}

static bool
way_add(EmbTokEncoder *e, EmbTokWay *way, int32_t id)
{
	bool		unknown = id == e->tok->header->unk_id;

	if (unknown && way->unknown)
		return true;
	way->unknown = unknown;
	if (way->count == way->n_ids && way->count < ids_wanted(e))
	{
		if (way->n_ids == way->capacity)
		{
			int32_t		capacity = way->capacity < INT32_MAX / 2 ? way->capacity * 2 + 256 : INT32_MAX;
			int32_t    *ids = emb_alloc_array(&e->tok->mem, (size_t) capacity, sizeof(int32_t));

			if (ids == NULL)
				return no_memory(e);
			if (way->n_ids > 0)
				memcpy(ids, way->ids, (size_t) way->n_ids * sizeof(int32_t));
			emb_release(&e->tok->mem, way->ids);
			way->ids = ids;
			way->capacity = capacity;
		}
		way->ids[way->n_ids++] = id;
	}
	way->count++;
	return true;
}

static bool
way_copy(EmbTokEncoder *e, EmbTokWay *to, const EmbTokWay *from)
{
	*to = *from;
	to->capacity = 0;
	to->ids = NULL;
	if (from->n_ids > 0)
	{
		to->ids = emb_alloc_array(&e->tok->mem, (size_t) from->n_ids, sizeof(int32_t));
		if (to->ids == NULL)
			return no_memory(e);
		memcpy(to->ids, from->ids, (size_t) from->n_ids * sizeof(int32_t));
		to->capacity = from->n_ids;
	}
	return true;
}

/* Emits the ids of the path that leads to an entry, and forgets all kept paths. */
static bool
give_way(EmbTokEncoder *e, int32_t index)
{
	const EmbTokWay *way;

	if (e->lattice.n_ways == 0)
		return true;
	way = &e->lattice.ways[index];
	for (int32_t i = 0; i < way->n_ids; i++)
		if (!emb_tok_emit_id(e, way->ids[i]))
			return false;
	e->out.n_ids += way->count - way->n_ids;
	e->lattice.unknown = way->unknown;
	emb_tok_forget_ways(e);
	return true;
}

/* Emits the ids that all kept paths start with. */
static bool
give_shared(EmbTokEncoder *e)
{
	int32_t		n_shared = e->lattice.ways[0].n_ids;

	for (int k = 1; k < e->lattice.n_ways; k++)
	{
		int32_t		n = 0;

		if (e->lattice.ways[k].n_ids < n_shared)
			n_shared = e->lattice.ways[k].n_ids;
		while (n < n_shared && e->lattice.ways[k].ids[n] == e->lattice.ways[0].ids[n])
			n++;
		n_shared = n;
	}
	for (int32_t i = 0; i < n_shared; i++)
		if (!emb_tok_emit_id(e, e->lattice.ways[0].ids[i]))
			return false;
	for (int k = 0; k < e->lattice.n_ways && n_shared > 0; k++)
	{
		EmbTokWay  *way = &e->lattice.ways[k];

		way->n_ids -= n_shared;
		way->count -= n_shared;
		memmove(way->ids, way->ids + n_shared, (size_t) way->n_ids * sizeof(int32_t));
	}
	return true;
}

/* ----------------------------------------------------------- going back */

/*
 * Collects in e->path the ends of the pieces on the best path to end, the last piece
 * first. Returns the number of pieces. *entry: where the path starts.
 */
static uint32_t
trace(EmbTokEncoder *e, uint32_t end, uint32_t *entry)
{
	uint32_t	n = 0;

	while (e->nodes[end].start != EMB_TOK_NODE_ENTRY)
	{
		e->path[n++] = (uint16_t) end;
		end = e->nodes[end].start;
	}
	*entry = end;
	return n;
}

/* Emits all ids of the best path to end. */
static bool
give_to(EmbTokEncoder *e, uint32_t end)
{
	uint32_t	entry;
	uint32_t	n = trace(e, end, &entry);

	if (!give_way(e, e->nodes[entry].id))
		return false;
	while (n > 0)
		if (!give(e, e->nodes[e->path[--n]].id))
			return false;
	return true;
}

/* Forgets the text before place. */
static void
forget_before(EmbTokEncoder *e, uint32_t place)
{
	e->n_word_bytes -= place;
	e->lattice.n_nodes -= place;
	e->lattice.next_start -= place;
	memmove(e->open, e->open + place, e->n_word_bytes);
	memmove(e->nodes, e->nodes + place, e->lattice.n_nodes * sizeof(EmbTokNode));
	for (uint32_t i = 0; i < e->lattice.n_nodes; i++)
	{
		EmbTokNode *node = &e->nodes[i];

		/* A node whose last piece starts before place is on no path that is still needed. */
		if (node->start < EMB_TOK_NODE_ENTRY)
			node->start = node->start >= place ? (uint16_t) (node->start - place) : EMB_TOK_NODE_UNSET;
	}
}

/* The last place on all best paths to next_start and beyond, or EMB_TOK_NODE_UNSET. */
static uint32_t
find_shared_place(EmbTokEncoder *e)
{
	EmbTokNode *nodes = e->nodes;
	uint32_t	n_open = 0;

	/* next: whether a path that is followed back goes through the node */
	for (uint32_t i = 0; i < e->lattice.n_nodes; i++)
	{
		nodes[i].next = i >= e->lattice.next_start && nodes[i].start != EMB_TOK_NODE_UNSET;
		n_open += nodes[i].next;
	}
	for (uint32_t i = e->lattice.n_nodes; i-- > 0;)
	{
		if (!nodes[i].next)
			continue;
		if (n_open == 1)
			return i;
		if (nodes[i].start == EMB_TOK_NODE_ENTRY)
			break;
		if (nodes[nodes[i].start].next)
			n_open--;
		nodes[nodes[i].start].next = 1;
	}
	return EMB_TOK_NODE_UNSET;
}

/* Replaces the text before next_start by one path for each place where a piece may start. */
static bool
keep_ways(EmbTokEncoder *e)
{
	const EmbAllocator *mem = &e->tok->mem;
	const EmbTokWay none = {.unknown = e->lattice.unknown};
	uint32_t	n_max = e->lattice.n_nodes - e->lattice.next_start;
	EmbTokWay  *ways = emb_alloc_zero(mem, n_max, sizeof(EmbTokWay));
	int			n_ways = 0;
	bool		ok = ways != NULL;

	if (ways == NULL)
		return no_memory(e);
	for (uint32_t i = e->lattice.next_start; ok && i < e->lattice.n_nodes; i++)
	{
		EmbTokWay  *way = &ways[n_ways];
		uint32_t	entry;
		uint32_t	n;

		if (e->nodes[i].start == EMB_TOK_NODE_UNSET)
			continue;
		n = trace(e, i, &entry);
		n_ways++;
		ok = way_copy(e, way, e->lattice.n_ways > 0 ? &e->lattice.ways[e->nodes[entry].id] : &none);
		while (ok && n > 0)
			ok = way_add(e, way, e->nodes[e->path[--n]].id);
	}
	if (!ok)
	{
		release_ways(mem, ways, n_ways);
		return false;
	}
	/* Done last, because the paths share nodes. */
	n_ways = 0;
	for (uint32_t i = e->lattice.next_start; i < e->lattice.n_nodes; i++)
		if (e->nodes[i].start != EMB_TOK_NODE_UNSET)
		{
			e->nodes[i].start = EMB_TOK_NODE_ENTRY;
			e->nodes[i].id = n_ways++;
		}
	emb_tok_forget_ways(e);
	e->lattice.ways = ways;
	e->lattice.n_ways = n_ways;
	forget_before(e, e->lattice.next_start);
	return give_shared(e);
}

bool
emb_tok_open_word(EmbTokEncoder *e)
{
	uint32_t	place;

	if (!advance(e, false))
		return false;
	place = find_shared_place(e);
	if (place != EMB_TOK_NODE_UNSET && (place > 0 || e->lattice.n_ways > 0))
	{
		if (!give_to(e, place))
			return false;
		e->nodes[place].start = EMB_TOK_NODE_ENTRY;
		forget_before(e, place);
	}
	return e->n_word_bytes <= EMB_TOK_OPEN_BYTES / 2 || keep_ways(e);
}

bool
emb_tok_end_open_word(EmbTokEncoder *e)
{
	bool		ok = advance(e, true) && give_to(e, e->n_word_bytes);

	e->n_word_bytes = 0;
	e->lattice.n_nodes = 0;
	e->lattice.next_start = 0;
	e->lattice.unknown = false;
	return ok;
}
