/*
 * bpe.c
 *		From a word to ids. The word starts as a sequence of bytes, or of characters (one
 *		without a piece: as bytes, or as the unknown token). The pair that
 *		training merged earliest is merged again and again; among equal pairs the
 *		leftmost goes first (Sennrich et al., 2016; bytes as in GPT-2, 2019).
 *
 * A word that is a piece, and that the merges reach, is looked up as a whole.
 * Short words are merged in an array. Longer words are merged in a list, with a
 * tree over the pairs: its root is the next pair to merge.
 *
 * A word may be as long as the text, so its first ids are emitted before the word
 * is complete. Two facts, which hold for any merges, show which ids are certain:
 * (A) The merges turn each run of a text's tokens, taken alone, into these tokens.
 * (B) If the merges change no pair of neighbours in a row of tokens, they do not
 *     change the row: the first merge across a border would also happen in the pair
 *     at that border.
 * The last token that starts in the kept text may go on beyond it. The trie of
 * pieces tells where such a token may start; each such place ends a prefix of the
 * kept text. A border between two tokens stays a border, whatever follows, if it
 * is a border in each of these prefixes. To check a prefix, its text after the
 * border is merged anew, and the first token of that is tried against the token
 * before the border. By (B) this is as good as merging the whole prefix.
 */
#include "tokenizer/encode.h"

#include <string.h>

#define SHORT_BYTES_MAX		16
#define MEDIUM_BYTES_MAX	256		/* on the stack */
#define NO_SLOT				UINT32_MAX
#define END					UINT32_MAX

/* One byte or character of the word, or the token that was merged from the bytes at this place and after it. */
typedef struct Symbol
{
	uint32_t	id;
	uint32_t	prev;			/* END: none */
	uint32_t	next;
	uint32_t	slot;			/* in pairs: of this symbol and the next; NO_SLOT: they do not merge */
} Symbol;

struct EmbTokSymbols
{
	size_t		capacity;
	Symbol	   *symbols;		/* [capacity] by place in word */
	uint64_t   *tree;			/* [2 * capacity] rank << 32 | place; a node is its smaller child */
};

static inline uint32_t
find_pair(const EmbTokenizer *tok, uint32_t left, uint32_t right)
{
	const EmbTokBlockPair *pairs = tok->pairs;
	uint32_t	bits = tok->header->pairs_bits;
	uint32_t	mask = (1u << bits) - 1;
	uint32_t	slot = emb_tok_hash_pair(left, right, bits);

	/* A valid table has free slots. The count ends the search in a damaged table. */
	for (uint32_t n = 0; n <= mask && pairs[slot].rank != EMB_TOK_NO_RANK; n++)
	{
		if (pairs[slot].left == left && pairs[slot].right == right)
			return slot;
		slot = (slot + 1) & mask;
	}
	return NO_SLOT;
}

/* ---------------------------------------------------------- whole words */

static inline uint64_t
load(const uint8_t *p, int n)
{
	uint64_t	v = 0;

	memcpy(&v, p, (size_t) n);
	return v;
}

/* Loads a word of 1 to 12 bytes, padded with zeros. Reads no byte beyond the word. */
static inline void
load_word(const uint8_t *word, size_t n, uint64_t text[2])
{
	text[1] = 0;
	if (n >= 8)
	{
		text[0] = load(word, 8);
		if (n > 8)
			text[1] = load(word + n - 8, 8) >> (8 * (16 - n));
	}
	else if (n >= 4)
		text[0] = load(word, 4) | load(word + n - 4, 4) >> (8 * (8 - n)) << 32;
	else
		text[0] = (uint64_t) word[0] | (uint64_t) word[n / 2] << (8 * (n / 2)) | (uint64_t) word[n - 1] << (8 * (n - 1));
}

/* The id of a word that is one id, or -1. Inline for words; characters go through find_char. */
static inline __attribute__((always_inline)) int32_t
find_word(const EmbTokenizer *tok, const uint8_t *word, size_t n)
{
	uint64_t	text[4] = {0, 0, 0, 0};
	uint32_t	bits = tok->header->words_bits[n > EMB_TOK_WORD_BYTES];
	uint32_t	mask = (1u << bits) - 1;
	uint32_t	slot;

	if (n <= EMB_TOK_WORD_BYTES)
	{
		load_word(word, n, text);
		slot = emb_tok_hash_word(text, 2, bits);
		for (uint32_t i = 0; i <= mask && tok->words[slot].id >= 0; i++)
		{
			if (load(tok->words[slot].text, 8) == text[0] && load(tok->words[slot].text + 8, 4) == text[1])
				return tok->words[slot].id;
			slot = (slot + 1) & mask;
		}
		return -1;
	}
	if (n > EMB_TOK_LONG_WORD_BYTES)
		return -1;
	memcpy(text, word, n);
	slot = emb_tok_hash_word(text, 4, bits);
	for (uint32_t i = 0; i <= mask && tok->long_words[slot].id >= 0; i++)
	{
		if (memcmp(tok->long_words[slot].text, text, EMB_TOK_LONG_WORD_BYTES) == 0)
			return tok->long_words[slot].id;
		slot = (slot + 1) & mask;
	}
	return -1;
}

static __attribute__((noinline)) int32_t
find_char(const EmbTokenizer *tok, const uint8_t *bytes, uint32_t n)
{
	return find_word(tok, bytes, n);
}

/* The id of the byte or character at the start of word[0 .. n), and its length *len. */
static inline int32_t
first_symbol(const EmbTokenizer *tok, const uint8_t *word, size_t n, uint32_t *len)
{
	int32_t		id;
	uint32_t	n_char;

	*len = 1;
	if (!tok->of_chars || word[0] < 0xC0)
		return tok->bytes[word[0]];
	n_char = word[0] < 0xE0 ? 2 : word[0] < 0xF0 ? 3 : 4;
	if (n_char > n)
		return tok->bytes[word[0]];
	id = find_char(tok, word, n_char);
	if (id < 0 && tok->falls_back)
		return tok->bytes[word[0]];
	*len = n_char;
	return id >= 0 ? id : tok->bytes[word[0]];
}

/* Emits an id, unless it is an unknown token after one with which it fuses. */
static inline bool
give_id(EmbTokEncoder *e, int32_t id)
{
	if (e->tok->fuses)
	{
		bool		unknown = id == e->tok->header->unk_id;

		if (unknown && e->run.unknown)
			return true;
		e->run.unknown = unknown;
	}
	return emb_tok_emit_id(e, id);
}

/* ---------------------------------------------------------- short words */

/* A row of symbols, with the pair of each symbol and the next. */
typedef struct Row
{
	uint32_t	n;
	uint32_t   *ids;			/* [n] */
	uint32_t   *ranks;			/* [n - 1] EMB_TOK_NO_RANK: no merge */
	uint32_t   *slots;			/* [n - 1] */
} Row;

static inline void
set_pair(const EmbTokenizer *tok, const Row *row, uint32_t i)
{
	uint32_t	slot = find_pair(tok, row->ids[i], row->ids[i + 1]);

	row->slots[i] = slot;
	row->ranks[i] = slot == NO_SLOT ? EMB_TOK_NO_RANK : tok->pairs[slot].rank;
}

static inline void
remove_at(uint32_t *array, uint32_t i, uint32_t n)
{
	for (; i + 1 < n; i++)
		array[i] = array[i + 1];
}

/* Merges until no pair merges. Quadratic in n. */
static void
merge_row(const EmbTokenizer *tok, Row *row)
{
	for (uint32_t i = 0; i + 1 < row->n; i++)
		set_pair(tok, row, i);
	while (row->n > 1)
	{
		uint32_t	best = 0;

		for (uint32_t i = 1; i + 1 < row->n; i++)
			if (row->ranks[i] < row->ranks[best])
				best = i;
		if (row->ranks[best] == EMB_TOK_NO_RANK)
			break;
		row->ids[best] = (uint32_t) tok->pairs[row->slots[best]].id;
		remove_at(row->ids, best + 1, row->n);
		remove_at(row->ranks, best, row->n - 1);
		remove_at(row->slots, best, row->n - 1);
		row->n--;
		if (best + 1 < row->n)
			set_pair(tok, row, best);
		if (best > 0)
			set_pair(tok, row, best - 1);
	}
}

/* Fills row->ids with the symbols of a word. Bytes without an id are left out. */
static inline void
fill_row(const EmbTokenizer *tok, const uint8_t *word, uint32_t n, Row *row)
{
	uint32_t	len;

	row->n = 0;
	for (uint32_t i = 0; i < n; i += len)
	{
		int32_t		id = first_symbol(tok, word + i, n - i, &len);

		if (id >= 0)
			row->ids[row->n++] = (uint32_t) id;
	}
}

uint32_t
emb_tok_merge_word(const EmbTokenizer *tok, const uint8_t *word, uint32_t n, uint32_t *ids)
{
	uint32_t	ranks[EMB_TOK_MAX_BPE_BYTES];
	uint32_t	slots[EMB_TOK_MAX_BPE_BYTES];
	Row			row = {0, ids, ranks, slots};

	fill_row(tok, word, n, &row);
	merge_row(tok, &row);
	return row.n;
}

/* ---------------------------------------------------------- long words */

void
emb_tok_forget_run(EmbTokEncoder *e)
{
	const EmbAllocator *mem = &e->tok->mem;

	if (e->run.symbols != NULL)
	{
		emb_release(mem, e->run.symbols->symbols);
		emb_release(mem, e->run.symbols->tree);
		emb_release(mem, e->run.symbols);
	}
	if (e->run.bytes != e->word)
		emb_release(mem, e->run.bytes);
	e->run.symbols = NULL;
	e->run.bytes = e->word;
	e->run.size = sizeof(e->word);
}

/* Room for words of n bytes. */
static bool
reserve_symbols(EmbTokEncoder *e, size_t n)
{
	const EmbAllocator *mem = &e->tok->mem;
	EmbTokSymbols *s = e->run.symbols;
	size_t		capacity = 1024;

	if (s != NULL && s->capacity >= n)
		return true;
	while (capacity < n)
		capacity *= 2;
	if (s == NULL)
		s = e->run.symbols = emb_alloc_zero(mem, 1, sizeof(EmbTokSymbols));
	if (s != NULL)
	{
		emb_release(mem, s->symbols);
		emb_release(mem, s->tree);
		s->symbols = emb_alloc_array(mem, capacity, sizeof(Symbol));
		s->tree = emb_alloc_array(mem, capacity, 2 * sizeof(uint64_t));
		s->capacity = s->symbols != NULL && s->tree != NULL ? capacity : 0;
	}
	if (s != NULL && s->capacity > 0)
		return true;
	e->status = n > UINT32_MAX / 2 ? emb_error(e->err, EMB_ERR_LIMIT, "a word has %zu bytes, more than %u", n, UINT32_MAX / 2)
		: emb_error(e->err, EMB_ERR_NOMEM, "out of memory tokenizing a word of %zu bytes", n);
	return false;
}

static inline uint64_t
pair_key(const EmbTokenizer *tok, uint32_t slot, uint32_t place)
{
	return slot == NO_SLOT ? UINT64_MAX : (uint64_t) tok->pairs[slot].rank << 32 | place;
}

static inline uint64_t
lesser(uint64_t a, uint64_t b)
{
	return b < a ? b : a;
}

/* Sets a leaf of a tree over n leaves. */
static inline void
set_leaf(uint64_t *tree, size_t n, size_t leaf, uint64_t key)
{
	size_t		i = n + leaf;

	tree[i] = key;
	for (i /= 2; i > 0; i /= 2)
	{
		uint64_t	least = lesser(tree[2 * i], tree[2 * i + 1]);

		if (tree[i] == least)
			break;
		tree[i] = least;
	}
}

/*
 * Makes a symbol for each byte or character of word[from .. to), and a leaf for the pair
 * of the symbol and the next. Leaves of bytes inside a character have no pair.
 */
static void
link_symbols(const EmbTokenizer *tok, EmbTokSymbols *s, const uint8_t *word, uint32_t from, uint32_t to)
{
	Symbol	   *symbols = s->symbols;
	size_t		n = to - from;
	uint32_t	len;
	uint32_t	before = from;

	symbols[from] = (Symbol) {(uint32_t) first_symbol(tok, word + from, n, &len), END, END, NO_SLOT};
	for (uint32_t i = from + len; i < to; i += len)
	{
		symbols[i] = (Symbol) {(uint32_t) first_symbol(tok, word + i, to - i, &len), before, END, NO_SLOT};
		symbols[before].next = i;
		symbols[before].slot = find_pair(tok, symbols[before].id, symbols[i].id);
		s->tree[n + before - from] = pair_key(tok, symbols[before].slot, before);
		while (++before < i)
			s->tree[n + before - from] = UINT64_MAX;
	}
	while (before < to)
		s->tree[n + before++ - from] = UINT64_MAX;
	for (size_t i = n - 1; i > 0; i--)
		s->tree[i] = lesser(s->tree[2 * i], s->tree[2 * i + 1]);
}

/* Looks up the pair of the symbol at place and the next. */
static inline void
update_pair(const EmbTokenizer *tok, EmbTokSymbols *s, uint32_t from, size_t n, uint32_t place)
{
	Symbol	   *symbol = &s->symbols[place];

	symbol->slot = symbol->next == END ? NO_SLOT : find_pair(tok, symbol->id, s->symbols[symbol->next].id);
	set_leaf(s->tree, n, place - from, pair_key(tok, symbol->slot, place));
}

/* Merges word[from .. to) until no pair merges. The result is linked, starting at symbol from. */
static bool
merge_symbols(EmbTokEncoder *e, EmbTokSymbols *s, const uint8_t *word, uint32_t from, uint32_t to)
{
	const EmbTokenizer *tok = e->tok;
	Symbol	   *symbols = s->symbols;
	size_t		n = to - from;

	link_symbols(tok, s, word, from, to);
	while (n > 1 && s->tree[1] != UINT64_MAX)
	{
		uint32_t	place = (uint32_t) s->tree[1];
		Symbol	   *symbol = &symbols[place];
		uint32_t	gone = symbol->next;

		symbol->id = (uint32_t) tok->pairs[symbol->slot].id;
		symbol->next = symbols[gone].next;
		if (symbol->next != END)
			symbols[symbol->next].prev = place;
		set_leaf(s->tree, n, gone - from, UINT64_MAX);
		update_pair(tok, s, from, n, place);
		if (symbol->prev != END)
			update_pair(tok, s, from, n, symbol->prev);
	}
	return !emb_tok_work(e, n < INT32_MAX / 2 ? (int32_t) n : INT32_MAX / 2);
}

/* Emits the tokens that start before end, linked from symbol 0 on. */
static bool
give_symbols(EmbTokEncoder *e, const Symbol *symbols, uint32_t end)
{
	for (uint32_t i = 0; i != END && i < end; i = symbols[i].next)
		if (!give_id(e, (int32_t) symbols[i].id))
			return false;
	return true;
}

static bool
give_medium(EmbTokEncoder *e, const uint8_t *word, uint32_t n)
{
	Symbol		symbols[MEDIUM_BYTES_MAX];
	uint64_t	tree[2 * MEDIUM_BYTES_MAX];
	EmbTokSymbols s = {MEDIUM_BYTES_MAX, symbols, tree};

	return merge_symbols(e, &s, word, 0, n) && give_symbols(e, symbols, n);
}

bool
emb_tok_give_rest(EmbTokEncoder *e, const uint8_t *word, size_t n)
{
	const EmbTokenizer *tok = e->tok;

	if (n <= SHORT_BYTES_MAX)
	{
		uint32_t	ids[SHORT_BYTES_MAX];
		uint32_t	ranks[SHORT_BYTES_MAX];
		uint32_t	slots[SHORT_BYTES_MAX];
		Row			row = {0, ids, ranks, slots};

		fill_row(tok, word, (uint32_t) n, &row);
		merge_row(tok, &row);
		for (uint32_t i = 0; i < row.n; i++)
			if (!give_id(e, (int32_t) ids[i]))
				return false;
		return true;
	}
	if (n <= MEDIUM_BYTES_MAX)
		return give_medium(e, word, (uint32_t) n);
	return reserve_symbols(e, n) && merge_symbols(e, e->run.symbols, word, 0, (uint32_t) n) && give_symbols(e, e->run.symbols->symbols, (uint32_t) n);
}

bool
emb_tok_give_word(EmbTokEncoder *e, const uint8_t *word, size_t n)
{
	int32_t		id = find_word(e->tok, word, n);

	return id >= 0 ? give_id(e, id) : emb_tok_give_rest(e, word, n);
}

/* ---------------------------------------------------------- open words */

/*
 * Whether no merge crosses the border between two tokens: word[left .. border),
 * word[border .. right).
 */
static bool
border_holds(const EmbTokenizer *tok, const uint8_t *word, uint32_t left, uint32_t border, uint32_t right)
{
	uint32_t	ids[2 * EMB_TOK_MAX_BPE_BYTES];
	uint32_t	ranks[2 * EMB_TOK_MAX_BPE_BYTES];
	uint32_t	slots[2 * EMB_TOK_MAX_BPE_BYTES];
	uint32_t	first[EMB_TOK_MAX_BPE_BYTES];
	Row			row = {0, ids, ranks, slots};

	if (border - left > EMB_TOK_MAX_BPE_BYTES || right - border > EMB_TOK_MAX_BPE_BYTES ||
		emb_tok_merge_word(tok, word + left, border - left, first) != 1)
		return false;
	fill_row(tok, word + left, right - left, &row);
	merge_row(tok, &row);
	return row.n == 2 && ids[0] == first[0];
}

typedef enum Certain
{
	CERTAIN_NO,
	CERTAIN_YES,
	CERTAIN_FAIL
} Certain;

/* Whether a token may start at start and go on beyond the n kept bytes. */
static bool
may_go_on(const EmbTokEncoder *e, uint32_t start, uint32_t n)
{
	const EmbTrie *pieces = &e->tok->pieces;
	uint32_t	node = 0;

	for (uint32_t i = start; i < n && node != EMB_TRIE_NONE; i++)
		node = emb_trie_step(pieces, node, e->run.bytes[i]);
	return node != EMB_TRIE_NONE;
}

/*
 * Whether border stays a border between tokens whatever follows the n bytes. The
 * token before the border starts at before. first: the first place where may_go_on.
 */
static Certain
is_certain(EmbTokEncoder *e, uint32_t before, uint32_t border, uint32_t first, uint32_t n)
{
	uint32_t	known = border;	/* end of the last token that was found not to merge across border */

	for (uint32_t end = first; end <= n; end++)
	{
		uint32_t	next;

		if (end < n && !may_go_on(e, end, n))
			continue;
		if (!merge_symbols(e, e->run.symbols, e->run.bytes, border, end))
			return CERTAIN_FAIL;
		next = e->run.symbols->symbols[border].next;
		if (next == END)
			next = end;
		if (next == known)
			continue;
		if (!border_holds(e->tok, e->run.bytes, before, border, next))
			return CERTAIN_NO;
		known = next;
	}
	return CERTAIN_YES;
}

/*
 * Emits the tokens before border and forgets their text. span: how far from the
 * end a token that goes on may start. The check for certainty takes about span
 * squared steps, so the next check waits until about that many bytes are kept.
 */
static bool
give_before(EmbTokEncoder *e, uint32_t border, uint32_t span)
{
	size_t		worth = (size_t) span * span;

	if (!give_symbols(e, e->run.symbols->symbols, border))
		return false;
	e->n_word_bytes -= border;
	memmove(e->run.bytes, e->run.bytes + border, e->n_word_bytes);
	e->run.held -= border;
	e->run.parted = true;
	e->run.part_at = worth < EMB_TOK_PART_BYTES ? EMB_TOK_PART_BYTES : worth > EMB_TOK_PART_BYTES_MAX ? EMB_TOK_PART_BYTES_MAX : worth;
	return true;
}

bool
emb_tok_give_part(EmbTokEncoder *e, size_t n)
{
	uint32_t	max = e->tok->header->max_piece;
	uint32_t	first = (uint32_t) n - max;
	uint32_t	span;
	uint32_t	limit;

	/* If nothing is certain, the next try is when twice as much is kept. */
	e->run.part_at = 2 * (size_t) e->n_word_bytes;
	if (n < EMB_TOK_PART_BYTES / 2)
		return true;
	if (!reserve_symbols(e, n) || !merge_symbols(e, e->run.symbols, e->run.bytes, 0, (uint32_t) n))
		return false;
	while (first < n && !may_go_on(e, first, (uint32_t) n))
		first++;
	span = (uint32_t) n - first + 16;
	/* Tries the last border, then borders further left. */
	limit = first - 1;
	for (int tries = 0; tries < 4 && limit > 0; tries++)
	{
		const Symbol *symbols = e->run.symbols->symbols;
		uint32_t	before = 0;
		uint32_t	border;

		while (symbols[before].next != END && symbols[before].next <= limit)
			before = symbols[before].next;
		border = before;
		before = symbols[border].prev;
		if (border == 0)
			break;
		/* is_certain merges only after the border, so the symbols before it stay. */
		switch (is_certain(e, before, border, first, (uint32_t) n))
		{
			case CERTAIN_FAIL:
				return false;
			case CERTAIN_YES:
				return give_before(e, border, span);
			case CERTAIN_NO:
				break;
		}
		limit = border > span << tries ? border - (span << tries) : 0;
	}
	return true;
}
