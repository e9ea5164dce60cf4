/*
 * tokenizer.c
 *		Opens a block, after checks that make the block safe to read.
 */
#include <math.h>
#include <string.h>

#include "tokenizer/encode.h"
#include "tokenizer/pattern.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "images are little endian and read in place"
#endif

static const char *const trie_names[3] = {"pieces", "raw added tokens", "normalized added tokens"};

static EmbStatus
corrupt(EmbError *err, const char *what, int64_t value)
{
	return emb_error(err, EMB_ERR_FORMAT, "tokenizer section is corrupt: %s is %lld", what, (long long) value);
}

/* Whether n elements of elem_size at offset are inside the block and aligned. */
static bool
table_fits(const EmbTokBlockHeader *h, uint64_t offset, uint64_t n, uint64_t elem_size)
{
	return offset % EMB_TOK_BLOCK_ALIGNMENT == 0 && offset >= sizeof(EmbTokBlockHeader) &&
		offset <= h->size_bytes && n <= (h->size_bytes - offset) / elem_size;
}

static EmbStatus
check_identity(const EmbTokBlockHeader *h, size_t size, EmbError *err)
{
	if (memcmp(h->magic, EMB_TOK_MAGIC, sizeof(h->magic)) != 0)
		return emb_error(err, EMB_ERR_FORMAT, "tokenizer section does not start with \"%s\"", EMB_TOK_MAGIC);
	if (h->version != EMB_TOK_BLOCK_VERSION)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "tokenizer section has version %u, this build reads version %d",
						 h->version, EMB_TOK_BLOCK_VERSION);
	if (h->model < EMB_TOK_WORDPIECE || h->model > EMB_TOK_BPE)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "tokenizer section has a tokenizer of kind %u, unknown to this build",
						 h->model);
	if (h->unicode_version != EMB_UNI_VERSION)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "tokenizer section is for Unicode tables %u, this build has tables %d",
						 h->unicode_version, EMB_UNI_VERSION);
	if (h->size_bytes != size)
		return emb_error(err, EMB_ERR_FORMAT, "tokenizer section has %zu bytes, its header says %llu",
						 size, (unsigned long long) h->size_bytes);
	return EMB_OK;
}

static inline bool
is_scalar(uint32_t cp)
{
	return cp > 0 && cp <= 0x10FFFF && cp - 0xD800 >= 0x800;
}

static EmbStatus
check_numbers(const EmbTokBlockHeader *h, EmbError *err)
{
	if ((h->flags & ~EMB_TOK_FLAGS_ALL) != 0)
		return corrupt(err, "flags", h->flags);
	if (h->n_vocab < 1)
		return corrupt(err, "n_vocab", h->n_vocab);
	if (h->unk_id < 0 || h->unk_id >= h->n_vocab)
		return corrupt(err, "unk_id", h->unk_id);
	if (h->max_word_chars < 0 || h->max_word_chars > EMB_TOK_MAX_WORD_CHARS)
		return corrupt(err, "max_word_chars", h->max_word_chars);
	if (h->n_added > EMB_TOK_MAX_ADDED)
		return corrupt(err, "n_added", h->n_added);
	if (h->normalized_max > EMB_TOK_MAX_ADDED_BYTES)
		return corrupt(err, "normalized_max", h->normalized_max);
	if (!table_fits(h, h->added_offset, h->n_added, sizeof(EmbTokBlockAdded)))
		return corrupt(err, "added_offset", (int64_t) h->added_offset);
	for (int i = 0; i < 3; i++)
	{
		const EmbTokBlockTrie *t = &h->tries[i];

		if (t->n_units > EMB_TRIE_UNITS_MAX || t->n_units % EMB_TRIE_BLOCK != 0 ||
			!table_fits(h, t->units_offset, t->n_units, sizeof(EmbTrieUnit)) ||
			!table_fits(h, t->values_offset, t->n_units, sizeof(int32_t)))
			return emb_error(err, EMB_ERR_FORMAT, "tokenizer section is corrupt: table \"%s\" of %u units lies outside it",
							 trie_names[i], t->n_units);
	}
	if (h->tries[0].n_units == 0)
		return corrupt(err, "size of table \"pieces\"", 0);
	if (h->prefix_node != EMB_TRIE_NONE && h->prefix_node >= h->tries[0].n_units)
		return corrupt(err, "prefix_node", h->prefix_node);
	return EMB_OK;
}

/* Checks the steps. Steps that use the character map need one. */
static EmbStatus
check_steps(const EmbTokBlockHeader *h, EmbError *err)
{
	int			n_forms = 0;

	if (h->n_steps > EMB_TOK_MAX_STEPS)
		return corrupt(err, "n_steps", h->n_steps);
	for (uint32_t i = 0; i < h->n_steps; i++)
	{
		const EmbTokStep *step = &h->steps[i];

		switch (step->kind)
		{
			case EMB_TOK_STEP_PRECOMPILED:
				if (h->n_map_units == 0)
					return corrupt(err, "n_map_units", 0);
				break;
			case EMB_TOK_STEP_STRIP:
				if ((step->arg & ~(EMB_TOK_STRIP_LEFT | EMB_TOK_STRIP_RIGHT)) != 0)
					return corrupt(err, "argument of a step", step->arg);
				break;
			case EMB_TOK_STEP_COLLAPSE:
			case EMB_TOK_STEP_BLANKS:
			case EMB_TOK_STEP_PREPEND:
				if (!is_scalar(step->arg))
					return corrupt(err, "argument of a step", step->arg);
				break;
			case EMB_TOK_STEP_LOWERCASE:
				break;
			case EMB_TOK_STEP_NFC:
			case EMB_TOK_STEP_NFD:
			case EMB_TOK_STEP_NFKC:
			case EMB_TOK_STEP_NFKD:
				if (n_forms++ > 0)
					return corrupt(err, "number of a second step of its kind", i);
				break;
			case EMB_TOK_STEP_NMT:
			case EMB_TOK_STEP_STRIP_ACCENTS:
				break;
			default:
				return corrupt(err, "kind of a step", step->kind);
		}
	}
	return EMB_OK;
}

/* The charsmap, of Unigram and BPE. */
static EmbStatus
check_map(const EmbTokBlockHeader *h, EmbError *err)
{
	if (h->n_map_units % EMB_TOK_MAP_BLOCK != 0 || !table_fits(h, h->map_offset, h->n_map_units, sizeof(uint32_t)))
		return corrupt(err, "n_map_units", h->n_map_units);
	if (!table_fits(h, h->map_text_offset, h->n_map_text, 1))
		return corrupt(err, "n_map_text", h->n_map_text);
	return EMB_OK;
}

/* Checks the fields that only BPE has. */
static EmbStatus
check_bpe(const EmbTokBlockHeader *h, EmbError *err)
{
	static const size_t sizes[2] = {sizeof(EmbTokBlockWord), sizeof(EmbTokBlockLongWord)};

	if (h->model != EMB_TOK_BPE)
		return (h->pattern_offset | h->joints_offset | h->spelling | h->pairs_bits | h->words_bits[0] | h->words_bits[1]) == 0 ? EMB_OK
			: corrupt(err, "offset of a pattern of another tokenizer", (int64_t) h->pattern_offset);
	if (h->max_piece < 1 || h->max_piece > EMB_TOK_MAX_BPE_BYTES)
		return corrupt(err, "max_piece", h->max_piece);
	if (h->spelling > EMB_TOK_SPELL_CHARS)
		return corrupt(err, "spelling", h->spelling);
	if (h->spelling == EMB_TOK_SPELL_BYTES && !table_fits(h, h->pattern_offset, 1, sizeof(EmbTokPattern)))
		return corrupt(err, "pattern_offset", (int64_t) h->pattern_offset);
	if (h->spelling == EMB_TOK_SPELL_CHARS && !table_fits(h, h->joints_offset, 1, sizeof(EmbTokJoints)))
		return corrupt(err, "joints_offset", (int64_t) h->joints_offset);
	if (h->meta != 0 && !is_scalar(h->meta))
		return corrupt(err, "meta", h->meta);
	if (h->prepend > EMB_TOK_PREPEND_FIRST)
		return corrupt(err, "prepend", h->prepend);
	if (h->pairs_bits < 1 || h->pairs_bits > EMB_TOK_MAX_HASH_BITS ||
		!table_fits(h, h->pairs_offset, UINT64_C(1) << h->pairs_bits, sizeof(EmbTokBlockPair)))
		return corrupt(err, "pairs_bits", h->pairs_bits);
	for (int i = 0; i < 2; i++)
		if (h->words_bits[i] < 1 || h->words_bits[i] > EMB_TOK_MAX_HASH_BITS ||
			!table_fits(h, h->words_offset[i], UINT64_C(1) << h->words_bits[i], sizes[i]))
			return corrupt(err, "words_bits", h->words_bits[i]);
	if (!table_fits(h, h->bytes_offset, 256, sizeof(int32_t)))
		return corrupt(err, "bytes_offset", (int64_t) h->bytes_offset);
	if (h->n_scores > 0)
		return corrupt(err, "size of tables of another tokenizer", h->n_scores);
	if (h->n_map_units + (uint64_t) h->n_map_text > 0 && check_map(h, err) != EMB_OK)
		return EMB_ERR_FORMAT;
	return check_steps(h, err);
}

/* Checks the fields that only Unigram has. */
static EmbStatus
check_unigram(const EmbTokBlockHeader *h, EmbError *err)
{
	if (h->model == EMB_TOK_BPE)
		return EMB_OK;
	if (h->model != EMB_TOK_UNIGRAM)
		return h->n_steps + h->n_scores + h->n_map_units + h->n_map_text == 0 ? EMB_OK
			: corrupt(err, "size of tables of another tokenizer", h->n_scores);
	if (h->max_piece < 1 || h->max_piece > EMB_TOK_MAX_UNIGRAM_BYTES)
		return corrupt(err, "max_piece", h->max_piece);
	if (!isfinite(h->unk_score))
		return corrupt(err, "unk_score", 0);
	if (!is_scalar(h->meta))
		return corrupt(err, "meta", h->meta);
	if (h->prepend > EMB_TOK_PREPEND_FIRST)
		return corrupt(err, "prepend", h->prepend);
	if (h->n_scores > (uint32_t) h->n_vocab || !table_fits(h, h->scores_offset, h->n_scores, sizeof(double)))
		return corrupt(err, "n_scores", h->n_scores);
	if (check_map(h, err) != EMB_OK)
		return EMB_ERR_FORMAT;
	return check_steps(h, err);
}

/*
 * Each text must occur exactly once: A in the single template, A and B in the pair
 * template (if there is one).
 */
static EmbStatus
check_templates(const EmbTokBlockHeader *h, EmbError *err)
{
	for (int pair = 0; pair < 2; pair++)
	{
		int			n_texts[2] = {0, 0};

		if (h->n_slots[pair] > EMB_TOK_MAX_SLOTS)
			return corrupt(err, "n_slots", h->n_slots[pair]);
		for (uint32_t i = 0; i < h->n_slots[pair]; i++)
		{
			const EmbTokBlockSlot *slot = &h->slots[pair][i];

			if (slot->kind > EMB_TOK_SLOT_B)
				return corrupt(err, "slot kind", slot->kind);
			if (slot->kind == EMB_TOK_SLOT_SPECIAL && (slot->id < 0 || slot->id >= h->n_vocab))
				return corrupt(err, "slot id", slot->id);
			if (slot->type_id < 0)
				return corrupt(err, "slot type_id", slot->type_id);
			if (slot->kind != EMB_TOK_SLOT_SPECIAL)
				n_texts[slot->kind == EMB_TOK_SLOT_B]++;
		}
		if (pair && h->n_slots[pair] == 0)
			continue;
		if (n_texts[0] != 1 || n_texts[1] != pair)
			return corrupt(err, pair ? "number of texts in the pair template" : "number of texts in the single template",
						   n_texts[0] + n_texts[1]);
	}
	return EMB_OK;
}

/* Checks that all ids are in the vocabulary, and that a look-up ends at a free slot. */
static EmbStatus
check_bpe_tables(const EmbTokenizer *tok, EmbError *err)
{
	const EmbTokBlockHeader *h = tok->header;
	uint32_t	n_free[3] = {0, 0, 0};

	for (int i = 0; i < 256; i++)
		if (tok->bytes[i] < (tok->of_chars ? 0 : -1) || tok->bytes[i] >= h->n_vocab)
			return corrupt(err, "id of a byte", tok->bytes[i]);
	for (uint32_t i = 0; i < 1u << h->pairs_bits; i++)
	{
		const EmbTokBlockPair *pair = &tok->pairs[i];

		n_free[0] += pair->rank == EMB_TOK_NO_RANK;
		if (pair->rank != EMB_TOK_NO_RANK && (pair->id < 0 || pair->id >= h->n_vocab))
			return corrupt(err, "id of a pair", pair->id);
	}
	for (uint32_t i = 0; i < 1u << h->words_bits[0]; i++)
	{
		n_free[1] += tok->words[i].id == -1;
		if (tok->words[i].id < -1 || tok->words[i].id >= h->n_vocab)
			return corrupt(err, "id of a word", tok->words[i].id);
	}
	for (uint32_t i = 0; i < 1u << h->words_bits[1]; i++)
	{
		n_free[2] += tok->long_words[i].id == -1;
		if (tok->long_words[i].id < -1 || tok->long_words[i].id >= h->n_vocab)
			return corrupt(err, "id of a long word", tok->long_words[i].id);
	}
	for (int i = 0; i < 3; i++)
		if (n_free[i] == 0)
			return corrupt(err, "number of a table without a free slot", i);
	return EMB_OK;
}

static EmbStatus
check_tables(const EmbTokenizer *tok, EmbError *err)
{
	const EmbTokBlockHeader *h = tok->header;
	EmbStatus	status = emb_trie_check(&tok->pieces, trie_names[0], h->n_vocab, err);

	if (status == EMB_OK)
		status = emb_trie_check(&tok->raw, trie_names[1], (int32_t) h->n_added, err);
	if (status == EMB_OK)
		status = emb_trie_check(&tok->normalized, trie_names[2], (int32_t) h->n_added, err);
	for (uint32_t i = 0; status == EMB_OK && i < h->n_added; i++)
		if (tok->added[i].id < 0 || tok->added[i].id >= h->n_vocab)
			status = corrupt(err, "id of an added token", tok->added[i].id);
	for (uint32_t i = 0; status == EMB_OK && i < h->n_scores; i++)
		if (!isfinite(tok->scores[i]))
			status = corrupt(err, "number of a score that is not finite", i);
	if (status == EMB_OK && h->model == EMB_TOK_UNIGRAM)
		status = emb_trie_check(&tok->pieces, trie_names[0], (int32_t) h->n_scores, err);
	if (status == EMB_OK && h->n_map_units > 0)
		status = emb_tok_map_check(tok, err);
	if (status == EMB_OK && h->model == EMB_TOK_BPE)
		status = check_bpe_tables(tok, err);
	return status;
}

/* Marks the bytes that some key starts with. */
static void
fill_first(const EmbTrie *trie, bool first[256])
{
	memset(first, 0, 256);
	if (trie->n_units > 0)
		for (int c = 0; c < 256; c++)
			first[c] = emb_trie_step(trie, 0, (uint8_t) c) != EMB_TRIE_NONE;
}

/* What the steps and Metaspace do to an ASCII character that ASCII follows. */
static uint8_t
fast_kind_unigram(const EmbTokenizer *tok, uint8_t c)
{
	const EmbTokBlockHeader *h = tok->header;
	uint8_t		to;

	if (c < ' ' || c > '~' || tok->raw_first[c])
		return EMB_TOK_FAST_SLOW;
	to = emb_tok_steps_fast(tok, c);
	if (to == 0 || to == h->meta || tok->normalized_first[to] || (to == ' ' && c != ' '))
		return EMB_TOK_FAST_SLOW;
	return to == ' ' ? EMB_TOK_FAST_SPACE : to;
}

/* What the normalizer and the pre-tokenizer together do to an ASCII character. */
static uint8_t
fast_kind(const EmbTokenizer *tok, uint8_t c)
{
	uint32_t	flags = tok->header->flags;
	uint32_t	props = emb_uni_record(c)->flags;
	uint32_t	lower[EMB_UNI_LOWER_MAX];

	if (c == 0 || tok->raw_first[c])
		return EMB_TOK_FAST_SLOW;
	if ((props & EMB_UNI_SPACE) != 0 && (flags & EMB_TOK_HAS_LSTRIP) != 0)
		return EMB_TOK_FAST_SLOW;
	if ((flags & EMB_TOK_CLEAN_TEXT) != 0 && (props & EMB_UNI_CLEAN_DROP) != 0)
		return EMB_TOK_FAST_DROP;
	if (props & EMB_UNI_SPACE)
		return EMB_TOK_FAST_SPACE;
	if (props & EMB_UNI_PUNCT)
		return EMB_TOK_FAST_PUNCT;
	lower[0] = c;
	if (flags & EMB_TOK_LOWERCASE)
		emb_uni_lower(c, lower);
	return lower[0] > EMB_TOK_FAST_SPACE && lower[0] < 0x80 ? (uint8_t) lower[0] : EMB_TOK_FAST_SLOW;
}

/* The class of a byte in BPE's pattern, if it is a character that no added token starts with. */
static uint8_t
fast_kind_bpe(const EmbTokenizer *tok, int c)
{
	/*
	 * Many tokens of ModernBERT start with a space. For those bytelevel.c looks at
	 * the next byte, too.
	 */
	if (c == 0 || tok->raw_first[c] || (tok->normalized_first[c] && c != ' '))
		return EMB_TOK_FAST_TOKEN;
	if (tok->normalized_first[c])
		return EMB_TOK_FAST_BLANK;
	return c >= 0x80 ? EMB_TOK_FAST_MULTIBYTE : emb_tok_class(tok->pattern, (uint32_t) c);
}

/* What charlevel.c does with a byte. */
static uint8_t
fast_kind_chars(const EmbTokenizer *tok, int c)
{
	if (c == 0 || tok->raw_first[c] || (c != ' ' && tok->normalized_first[c]))
		return EMB_TOK_FAST_TOKEN;
	if (c >= 0x80)
		return EMB_TOK_FAST_MULTIBYTE;
	if (c == ' ')
		return tok->normalized_first[tok->blank[0]] || tok->normalized_first[' '] ? EMB_TOK_FAST_TOKEN : EMB_TOK_FAST_BLANK;
	return (emb_uni_record((uint32_t) c)->flags & EMB_UNI_SPACE) != 0 &&
		(tok->header->flags & (EMB_TOK_HAS_LSTRIP | EMB_TOK_NORMALIZED_LSTRIP)) != 0 ? EMB_TOK_FAST_TOKEN : EMB_TOK_FAST_CHAR;
}

/* Sets how BPE of characters reads text. */
static void
open_chars(const char *block, EmbTokenizer *tok)
{
	const EmbTokBlockHeader *h = tok->header;
	uint32_t	blank = ' ';

	tok->joints = (const EmbTokJoints *) (block + h->joints_offset);
	tok->of_chars = true;
	tok->falls_back = (h->flags & EMB_TOK_FALLS_BACK) != 0;
	tok->fuses = (h->flags & EMB_TOK_FUSES_UNKNOWN) != 0;
	tok->plain = true;
	for (uint32_t i = 0; i < h->n_steps; i++)
	{
		tok->plain &= h->steps[i].kind == EMB_TOK_STEP_BLANKS || h->steps[i].kind == EMB_TOK_STEP_PREPEND;
		if (h->steps[i].kind == EMB_TOK_STEP_BLANKS && blank == ' ')
			blank = h->steps[i].arg;
	}
	if (blank == ' ' && h->meta != 0)
		blank = h->meta;
	tok->n_blank = (uint8_t) emb_utf8_encode(blank, tok->blank);
	for (int c = 0; c < 256; c++)
		tok->fast[c] = fast_kind_chars(tok, c);
}

/* Points tok to the block's BPE tables. */
static void
open_bpe(const char *block, EmbTokenizer *tok)
{
	const EmbTokBlockHeader *h = tok->header;
	uint32_t	node;

	tok->bytes = (const int32_t *) (block + h->bytes_offset);
	tok->pairs = (const EmbTokBlockPair *) (block + h->pairs_offset);
	tok->words = (const EmbTokBlockWord *) (block + h->words_offset[0]);
	tok->long_words = (const EmbTokBlockLongWord *) (block + h->words_offset[1]);
	if (h->spelling == EMB_TOK_SPELL_CHARS)
	{
		open_chars(block, tok);
		return;
	}
	tok->pattern = (const EmbTokPattern *) (block + h->pattern_offset);
	node = tok->normalized_first[' '] ? emb_trie_step(&tok->normalized, 0, ' ') : EMB_TRIE_NONE;
	for (int c = 0; c < 256; c++)
	{
		tok->fast[c] = fast_kind_bpe(tok, c);
		tok->drops |= tok->bytes[c] < 0;
		tok->blank_may[c] = node != EMB_TRIE_NONE &&
			(emb_trie_has_value(&tok->normalized, node) || emb_trie_step(&tok->normalized, node, (uint8_t) c) != EMB_TRIE_NONE);
		if (c < 0x80 && (emb_uni_record((uint32_t) c)->flags & EMB_UNI_SPACE) != 0)
			tok->space_classes |= UINT32_C(1) << emb_tok_class(tok->pattern, (uint32_t) c);
	}
	tok->blank_class = emb_tok_class(tok->pattern, ' ');
	tok->composes = h->n_steps > 0 && h->steps[0].kind == EMB_TOK_STEP_NFC;
	tok->plain = h->n_steps == (tok->composes ? 1u : 0u) && !tok->drops;
}

static EmbTrie
trie_at(const char *block, const EmbTokBlockTrie *t)
{
	EmbTrie		trie;

	trie.units = (const EmbTrieUnit *) (block + t->units_offset);
	trie.values = (const int32_t *) (block + t->values_offset);
	trie.n_units = t->n_units;
	return trie;
}

EmbStatus
emb_tok_open(const void *block, size_t size, bool check_all, const EmbAllocator *mem, EmbTokenizer **tok_out, EmbError *err)
{
	const EmbTokBlockHeader *h;
	EmbTokenizer *tok;
	EmbStatus	status;

	*tok_out = NULL;
	if ((uintptr_t) block % sizeof(uint64_t) != 0)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "tokenizer section is not aligned");
	if (size < sizeof(EmbTokBlockHeader))
		return emb_error(err, EMB_ERR_FORMAT, "tokenizer section has %zu bytes, less than its header", size);
	tok = emb_alloc_zero(mem, 1, sizeof(EmbTokenizer));
	if (tok == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory opening a tokenizer");
	tok->mem = *mem;
	/* copied before it is checked: the block may be a mapped file that changes */
	tok->header_copy = *(const EmbTokBlockHeader *) block;
	tok->header = h = &tok->header_copy;
	if ((status = check_identity(h, size, err)) != EMB_OK ||
		(status = check_numbers(h, err)) != EMB_OK ||
		(status = check_unigram(h, err)) != EMB_OK ||
		(status = check_bpe(h, err)) != EMB_OK ||
		(status = check_templates(h, err)) != EMB_OK)
	{
		emb_tok_close(tok);
		return status;
	}
	tok->pieces = trie_at(block, &h->tries[0]);
	tok->raw = trie_at(block, &h->tries[1]);
	tok->normalized = trie_at(block, &h->tries[2]);
	tok->added = (const EmbTokBlockAdded *) ((const char *) block + h->added_offset);
	if (h->model == EMB_TOK_UNIGRAM)
	{
		tok->scores = (const double *) ((const char *) block + h->scores_offset);
		for (uint32_t i = 0; i < h->n_steps; i++)
			tok->composes |= emb_tok_step_is_form(h->steps[i].kind);
	}
	if (h->n_map_units > 0)
	{
		tok->map = (const uint32_t *) ((const char *) block + h->map_offset);
		tok->map_text = (const uint8_t *) block + h->map_text_offset;
	}
	for (int pair = 0; pair < 2; pair++)
		for (uint32_t i = 0; i < h->n_slots[pair]; i++)
			tok->n_special[pair] += h->slots[pair][i].kind == EMB_TOK_SLOT_SPECIAL;
	fill_first(&tok->raw, tok->raw_first);
	fill_first(&tok->normalized, tok->normalized_first);
	if (h->model == EMB_TOK_BPE)
		open_bpe(block, tok);
	for (int c = 0; c < 128 && h->model != EMB_TOK_BPE; c++)
		tok->fast[c] = h->model == EMB_TOK_UNIGRAM ? fast_kind_unigram(tok, (uint8_t) c) : fast_kind(tok, (uint8_t) c);

	if (check_all && (status = check_tables(tok, err)) != EMB_OK)
	{
		emb_tok_close(tok);
		return status;
	}
	*tok_out = tok;
	return EMB_OK;
}

void
emb_tok_close(EmbTokenizer *tok)
{
	if (tok != NULL)
	{
		EmbAllocator mem = tok->mem;

		emb_release(&mem, tok);
	}
}

EmbTokModel
emb_tok_model(const EmbTokenizer *tok)
{
	return (EmbTokModel) tok->header->model;
}

int32_t
emb_tok_n_vocab(const EmbTokenizer *tok)
{
	return tok->header->n_vocab;
}

int
emb_tok_n_special(const EmbTokenizer *tok, bool pair)
{
	return tok->n_special[pair];
}

int
emb_tok_n_leading(const EmbTokenizer *tok)
{
	const EmbTokBlockHeader *h = tok->header;
	uint32_t	n = 0;

	while (n < h->n_slots[0] && h->slots[0][n].kind == EMB_TOK_SLOT_SPECIAL)
		n++;
	return (int) n;
}

bool
emb_tok_is_special(const EmbTokenizer *tok, int32_t id)
{
	const EmbTokBlockHeader *h = tok->header;

	for (uint32_t i = 0; i < h->n_slots[0]; i++)
	{
		if (h->slots[0][i].kind == EMB_TOK_SLOT_SPECIAL && h->slots[0][i].id == id)
			return true;
	}
	return id == h->unk_id;
}

bool
emb_tok_has_pair(const EmbTokenizer *tok)
{
	return tok->header->n_slots[1] > 0;
}

int32_t
emb_tok_n_types(const EmbTokenizer *tok, bool pair)
{
	const EmbTokBlockHeader *h = tok->header;
	int32_t		largest = 0;

	for (uint32_t i = 0; i < h->n_slots[pair]; i++)
	{
		if (h->slots[pair][i].type_id > largest)
			largest = h->slots[pair][i].type_id;
	}
	return largest < INT32_MAX ? largest + 1 : largest;
}
