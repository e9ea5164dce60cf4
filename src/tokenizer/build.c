/*
 * build.c
 *		Builds a block of an image from an EmbTokSpec.
 */
#include <math.h>
#include <string.h>

#include "tokenizer/build_bpe.h"
#include "tokenizer/encode.h"

#define PIECES_PER_ASK	8192
#define ADDED_PER_ASK	512

typedef struct Build
{
	const EmbTokSpec *spec;
	const EmbAllocator *mem;
	EmbError   *err;
	EmbTokBlockHeader header;
	EmbTrieBuilt tries[3];		/* pieces, raw, normalized */
	EmbTokBlockAdded *added;	/* [spec->n_added] */
	uint8_t    *normalized;		/* [spec->n_added, EMB_TOK_MAX_ADDED_BYTES] normalized contents */
	EmbTokBuiltBpe bpe;
	uint32_t   *map;			/* [header.n_map_units] of spec->charsmap */
	const uint8_t *map_text;	/* [header.n_map_text] in spec->charsmap */
	bool		normalized_strips;	/* some token matched after normalization has lstrip or rstrip */
	const EmbTokAdded *normalized_spaces;	/* the first such token that contains white space, or NULL */
} Build;

static EmbStatus
ask_stop(const Build *b)
{
	return emb_should_stop(b->spec->stop) ? emb_error(b->err, EMB_ERR_CANCELLED, "building a tokenizer was cancelled") : EMB_OK;
}

static EmbStatus
check_piece(const Build *b, const char *what, int32_t id, const EmbTokPiece *piece)
{
	if (piece->len == 0)
		return emb_error(b->err, EMB_ERR_FORMAT, "%s %d is empty", what, id);
	if (piece->len > EMB_TOK_MAX_PIECE_BYTES)
		return emb_error(b->err, EMB_ERR_LIMIT, "%s %d has %u bytes, more than %d", what, id,
						 piece->len, EMB_TOK_MAX_PIECE_BYTES);
	if (!emb_utf8_is_text((const uint8_t *) piece->text, piece->len))
		return emb_error(b->err, EMB_ERR_FORMAT, "%s %d is not valid UTF-8 or contains U+0000", what, id);
	return EMB_OK;
}

/*
 * Copies a template into the block's header. Opening the block checks ids and the
 * number of texts.
 */
static void
copy_template(EmbTokBlockHeader *h, int pair, const EmbTokTemplate *t)
{
	h->n_slots[pair] = (uint32_t) t->n_slots;
	for (int i = 0; i < t->n_slots; i++)
	{
		h->slots[pair][i].kind = t->slots[i].kind;
		h->slots[pair][i].id = t->slots[i].kind == EMB_TOK_SLOT_SPECIAL ? t->slots[i].id : 0;
		h->slots[pair][i].type_id = t->slots[i].type_id;
	}
}

/* [u32 bytes of the units][units][replacements] */
static EmbStatus
split_charsmap(Build *b)
{
	const EmbTokPiece *map = &b->spec->charsmap;
	EmbTokBlockHeader *h = &b->header;
	uint32_t	n_bytes = 0;

	if (map->len >= sizeof(uint32_t))
		memcpy(&n_bytes, map->text, sizeof(uint32_t));
	if (n_bytes == 0 || n_bytes % (EMB_TOK_MAP_BLOCK * sizeof(uint32_t)) != 0 || n_bytes > map->len - sizeof(uint32_t))
		return emb_error(b->err, EMB_ERR_FORMAT, "the precompiled charsmap of %u bytes is corrupt: it has %u bytes of units",
						 map->len, n_bytes);
	h->n_map_units = n_bytes / sizeof(uint32_t);
	h->n_map_text = map->len - (uint32_t) sizeof(uint32_t) - n_bytes;
	b->map_text = (const uint8_t *) map->text + sizeof(uint32_t) + n_bytes;
	b->map = emb_alloc(b->mem, n_bytes);
	if (b->map == NULL)
		return emb_error(b->err, EMB_ERR_NOMEM, "out of memory copying a charsmap of %u bytes", map->len);
	memcpy(b->map, map->text + sizeof(uint32_t), n_bytes);
	return EMB_OK;
}

/* For Unigram and BPE. */
static EmbStatus
fill_steps(Build *b)
{
	const EmbTokSpec *spec = b->spec;
	EmbTokBlockHeader *h = &b->header;

	if (spec->n_steps < 0 || spec->n_steps + spec->lowercase > EMB_TOK_MAX_STEPS)
		return emb_error(b->err, EMB_ERR_LIMIT, "the normalizer has %d steps, more than %d",
						 spec->n_steps + spec->lowercase, EMB_TOK_MAX_STEPS);
	if (spec->lowercase)
		h->steps[h->n_steps++].kind = EMB_TOK_STEP_LOWERCASE;
	memcpy(h->steps + h->n_steps, spec->steps, (size_t) spec->n_steps * sizeof(EmbTokStep));
	h->n_steps += (uint32_t) spec->n_steps;
	return spec->charsmap.len > 0 ? split_charsmap(b) : EMB_OK;
}

static void
fill_bpe(Build *b)
{
	const EmbTokSpec *spec = b->spec;
	EmbTokBlockHeader *h = &b->header;

	bool		of_chars = spec->spelling == EMB_TOK_SPELL_CHARS;

	h->flags |= spec->prefix_space ? EMB_TOK_PREFIX_SPACE : 0;
	h->spelling = spec->spelling;
	if (of_chars)
	{
		h->flags |= (spec->byte_fallback ? EMB_TOK_FALLS_BACK : 0) | (spec->fuse_unk && !spec->byte_fallback ? EMB_TOK_FUSES_UNKNOWN : 0) |
			(spec->split_meta ? EMB_TOK_SPLIT_META : 0);
		h->meta = spec->meta;
		h->prepend = spec->prepend;
	}
	h->prefix_node = EMB_TRIE_NONE;
	h->unk_id = spec->unk_id >= 0 ? spec->unk_id : 0;
	h->max_piece = b->bpe.max_piece;
	h->pairs_bits = b->bpe.pairs_bits;
	h->words_bits[0] = b->bpe.words_bits[0];
	h->words_bits[1] = b->bpe.words_bits[1];
}

static EmbStatus
fill_unigram(Build *b)
{
	const EmbTokSpec *spec = b->spec;
	EmbTokBlockHeader *h = &b->header;
	double		min = INFINITY;

	h->flags |= (spec->split_spaces ? EMB_TOK_SPLIT_SPACES : 0) | (spec->split_meta ? EMB_TOK_SPLIT_META : 0);
	h->meta = spec->meta;
	h->prepend = spec->prepend;
	h->n_scores = (uint32_t) spec->n_vocab;
	for (int32_t id = 0; id < spec->n_vocab; id++)
	{
		min = spec->scores[id] < min ? spec->scores[id] : min;
		if (spec->pieces[id].len > EMB_TOK_MAX_UNIGRAM_BYTES)
			return emb_error(b->err, EMB_ERR_LIMIT, "vocabulary entry %d has %u bytes, more than %d", id,
							 spec->pieces[id].len, EMB_TOK_MAX_UNIGRAM_BYTES);
		if (spec->pieces[id].text != NULL && spec->pieces[id].len > h->max_piece)
			h->max_piece = spec->pieces[id].len;
	}
	h->unk_score = min - EMB_TOK_UNK_PENALTY;
	return fill_steps(b);
}

static EmbStatus
fill_header(Build *b)
{
	const EmbTokSpec *spec = b->spec;
	EmbTokBlockHeader *h = &b->header;

	if (spec->model < EMB_TOK_WORDPIECE || spec->model > EMB_TOK_BPE)
		return emb_error(b->err, EMB_ERR_UNSUPPORTED, "tokenizer kind %d is not supported", spec->model);
	if (spec->n_vocab < 1 || spec->n_vocab > EMB_TOK_MAX_PIECES)
		return emb_error(b->err, EMB_ERR_LIMIT, "the vocabulary has %d pieces, outside 1..%d",
						 spec->n_vocab, EMB_TOK_MAX_PIECES);
	if (spec->n_added < 0 || spec->n_added > EMB_TOK_MAX_ADDED)
		return emb_error(b->err, EMB_ERR_LIMIT, "the tokenizer has %d added tokens, more than %d",
						 spec->n_added, EMB_TOK_MAX_ADDED);
	if (spec->max_chars_per_word < 0 || spec->max_chars_per_word > EMB_TOK_MAX_WORD_CHARS)
		return emb_error(b->err, EMB_ERR_UNSUPPORTED, "max_input_chars_per_word is %d, outside 0..%d",
						 spec->max_chars_per_word, EMB_TOK_MAX_WORD_CHARS);
	if (spec->single.n_slots > EMB_TOK_MAX_SLOTS || spec->pair.n_slots > EMB_TOK_MAX_SLOTS)
		return emb_error(b->err, EMB_ERR_LIMIT, "a template has more than %d slots", EMB_TOK_MAX_SLOTS);

	memcpy(h->magic, EMB_TOK_MAGIC, sizeof(h->magic));
	h->version = EMB_TOK_BLOCK_VERSION;
	h->model = spec->model;
	h->unicode_version = EMB_UNI_VERSION;
	h->flags = (spec->clean_text ? EMB_TOK_CLEAN_TEXT : 0) |
		(spec->handle_chinese_chars ? EMB_TOK_CHINESE_CHARS : 0) |
		(spec->strip_accents ? EMB_TOK_STRIP_ACCENTS : 0) |
		(spec->lowercase ? EMB_TOK_LOWERCASE : 0);
	h->n_vocab = spec->n_vocab;
	h->unk_id = spec->unk_id;
	h->max_word_chars = spec->max_chars_per_word;
	h->n_added = (uint32_t) spec->n_added;
	copy_template(h, 0, &spec->single);
	copy_template(h, 1, &spec->pair);
	return spec->model == EMB_TOK_UNIGRAM ? fill_unigram(b) : spec->model == EMB_TOK_BPE ? fill_steps(b) : EMB_OK;
}

static EmbStatus
build_pieces(Build *b)
{
	const EmbTokSpec *spec = b->spec;
	EmbTrieKey *keys = emb_alloc_array(b->mem, (size_t) spec->n_vocab, sizeof(EmbTrieKey));
	size_t		n_keys = 0;
	EmbStatus	status = EMB_OK;

	if (keys == NULL)
		return emb_error(b->err, EMB_ERR_NOMEM, "out of memory building a vocabulary of %d pieces", spec->n_vocab);
	for (int32_t id = 0; status == EMB_OK && id < spec->n_vocab; id++)
	{
		const EmbTokPiece *piece = &spec->pieces[id];

		if (id % PIECES_PER_ASK == PIECES_PER_ASK - 1)
			status = ask_stop(b);
		if (piece->text == NULL || status != EMB_OK)
			continue;
		status = check_piece(b, "vocabulary entry", id, piece);
		keys[n_keys++] = (EmbTrieKey) {(const uint8_t *) piece->text, piece->len, id, id, 0};
	}
	if (status == EMB_OK && n_keys == 0)
		status = emb_error(b->err, EMB_ERR_FORMAT, "the vocabulary is empty");
	if (spec->model == EMB_TOK_BPE)
	{
		if (status == EMB_OK)
			status = emb_tok_build_bpe(spec, b->mem, &b->bpe, b->err);
		b->tries[0] = b->bpe.pieces;
		fill_bpe(b);
		emb_release(b->mem, keys);
		return status;
	}
	if (status == EMB_OK)
		status = emb_trie_build(keys, n_keys, b->mem, b->spec->stop, &b->tries[0], b->err);
	if (status == EMB_OK)
	{
		EmbTrie		trie = {b->tries[0].units, b->tries[0].values, b->tries[0].n_units};

		b->header.prefix_node = spec->model != EMB_TOK_WORDPIECE ? EMB_TRIE_NONE : emb_trie_find(&trie, (const uint8_t *) spec->continuing_prefix.text,
											  spec->continuing_prefix.len);
	}
	emb_release(b->mem, keys);
	return status;
}

/*
 * Runs the normalizer over the content of an added token. out:
 * [EMB_TOK_MAX_ADDED_BYTES].
 */
static EmbStatus
normalize_content(Build *b, int32_t i, uint8_t *out, uint32_t *n_out)
{
	const EmbTokPiece *piece = &b->spec->added[i].piece;
	EmbTokenizer tok = {.mem = *b->mem, .header = &b->header, .map = b->map, .map_text = b->map_text};
	EmbTokEncoder e;
	uint32_t	cp;
	uint32_t	n = 0;
	EmbTokEvent event;

	/* The tokenizer has no tries, so no added token is matched. */
	emb_tok_encoder_init(&e, &tok, &(EmbText) {piece->text, piece->len, true, NULL}, NULL, 0, NULL, b->err);
	while ((event = emb_tok_next_normalized(&e, &cp)) == EMB_TOK_CHAR)
	{
		if (n + EMB_UTF8_MAX_BYTES > EMB_TOK_MAX_ADDED_BYTES)
			return emb_error(b->err, EMB_ERR_LIMIT, "added token %d is longer than %d bytes after normalization",
							 i, EMB_TOK_MAX_ADDED_BYTES);
		n += emb_utf8_encode(cp, out + n);
	}
	*n_out = n;
	return event == EMB_TOK_END ? EMB_OK : e.status;
}

static bool
has_space(const uint8_t *text, uint32_t len)
{
	uint32_t	cp;
	int			n;

	for (uint32_t i = 0; i < len; i += (uint32_t) n)
	{
		n = emb_utf8_decode(text + i, len - i, &cp);
		if (n == 0 || (emb_uni_record(cp)->flags & EMB_UNI_SPACE) != 0)
			return true;
	}
	return false;
}

/*
 * Adds a trie key for an added token to the list of its kind. If tokens normalize
 * to the same text, the last one counts. In the library the winner differs from
 * run to run.
 */
static EmbStatus
add_added_key(Build *b, int32_t i, EmbTrieKey *raw, size_t *n_raw, EmbTrieKey *normalized, size_t *n_normalized)
{
	const EmbTokAdded *added = &b->spec->added[i];
	EmbTrieKey	key = {(const uint8_t *) added->piece.text, added->piece.len, i, i, 0};
	EmbStatus	status = i % ADDED_PER_ASK == ADDED_PER_ASK - 1 ? ask_stop(b) : EMB_OK;

	if (status == EMB_OK)
		status = check_piece(b, "added token", i, &added->piece);
	if (status != EMB_OK)
		return status;
	if (added->piece.len > EMB_TOK_MAX_ADDED_BYTES)
		return emb_error(b->err, EMB_ERR_LIMIT, "added token %d has %u bytes, more than %d",
						 i, added->piece.len, EMB_TOK_MAX_ADDED_BYTES);
	if (added->id < 0 || added->id >= EMB_TOK_MAX_PIECES + EMB_TOK_MAX_ADDED)
		return emb_error(b->err, EMB_ERR_FORMAT, "added token %d has id %d", i, added->id);
	if (added->id >= b->header.n_vocab)
		b->header.n_vocab = added->id + 1;
	b->added[i].id = added->id;
	b->added[i].flags = (added->single_word ? EMB_TOK_SINGLE_WORD : 0) |
		(added->lstrip ? EMB_TOK_LSTRIP : 0) | (added->rstrip ? EMB_TOK_RSTRIP : 0);
	if (!added->normalized)
	{
		if (added->lstrip)
			b->header.flags |= EMB_TOK_HAS_LSTRIP;
		raw[(*n_raw)++] = key;
		return EMB_OK;
	}
	key.text = b->normalized + (size_t) i * EMB_TOK_MAX_ADDED_BYTES;
	status = normalize_content(b, i, b->normalized + (size_t) i * EMB_TOK_MAX_ADDED_BYTES, &key.len);
	if (status != EMB_OK)
		return status;
	/* The library would find an empty token between any two characters, and split all words. */
	if (key.len == 0)
		return emb_error(b->err, EMB_ERR_UNSUPPORTED, "added token %d (id %d) is empty after normalization", i, added->id);
	if (b->spec->model != EMB_TOK_WORDPIECE)
	{
		if (added->lstrip)
			b->header.flags |= EMB_TOK_NORMALIZED_LSTRIP;
		b->normalized_strips |= added->lstrip || added->rstrip;
		if (b->normalized_spaces == NULL && has_space(key.text, key.len))
			b->normalized_spaces = added;
	}
	if (key.len > b->header.normalized_max)
		b->header.normalized_max = key.len;
	normalized[(*n_normalized)++] = key;
	return EMB_OK;
}

static EmbStatus
build_added(Build *b)
{
	size_t		n = (size_t) b->spec->n_added;
	EmbTrieKey *raw = emb_alloc_array(b->mem, n, sizeof(EmbTrieKey));
	EmbTrieKey *normalized = emb_alloc_array(b->mem, n, sizeof(EmbTrieKey));
	size_t		n_raw = 0,
				n_normalized = 0;
	EmbStatus	status = EMB_OK;

	b->added = emb_alloc_zero(b->mem, n, sizeof(EmbTokBlockAdded));
	b->normalized = emb_alloc_array(b->mem, n, EMB_TOK_MAX_ADDED_BYTES);
	if (raw == NULL || normalized == NULL || b->added == NULL || b->normalized == NULL)
		status = emb_error(b->err, EMB_ERR_NOMEM, "out of memory building %zu added tokens", n);
	for (size_t i = 0; status == EMB_OK && i < n; i++)
		status = add_added_key(b, (int32_t) i, raw, &n_raw, normalized, &n_normalized);
	if (status == EMB_OK && b->normalized_strips && b->normalized_spaces != NULL)
	{
		const EmbTokPiece *piece = &b->normalized_spaces->piece;

		emb_error(b->err, EMB_ERR_UNSUPPORTED, "added token \"%.*s\" has white space in it and another has lstrip or rstrip, "
				  "and both are matched after normalization", (int) (piece->len < 80 ? piece->len : 80), piece->text);
		status = emb_error_hint(b->err, EMB_ERR_UNSUPPORTED, "A vocabulary of several words a token (model2vec's) can be imported with WordPiece only.");
	}
	if (status == EMB_OK)
		status = emb_trie_build(raw, n_raw, b->mem, b->spec->stop, &b->tries[1], b->err);
	if (status == EMB_OK)
		status = emb_trie_build(normalized, n_normalized, b->mem, b->spec->stop, &b->tries[2], b->err);
	emb_release(b->mem, raw);
	emb_release(b->mem, normalized);
	return status;
}

static uint64_t
reserve(uint64_t *at, uint64_t size)
{
	uint64_t	offset = *at;

	*at = (offset + size + EMB_TOK_BLOCK_ALIGNMENT - 1) / EMB_TOK_BLOCK_ALIGNMENT * EMB_TOK_BLOCK_ALIGNMENT;
	return offset;
}

/* Of the charsmap. */
static void
reserve_map(EmbTokBlockHeader *h, uint64_t *at)
{
	h->map_offset = reserve(at, (uint64_t) h->n_map_units * sizeof(uint32_t));
	h->map_text_offset = reserve(at, h->n_map_text);
}

static void
copy_table(uint8_t *block, uint64_t offset, const void *table, uint64_t size)
{
	if (size > 0)
		memcpy(block + offset, table, size);
}

/* Writes the header and the tables, with zeros as padding. */
static EmbStatus
write_block(Build *b, void **block, size_t *size)
{
	EmbTokBlockHeader *h = &b->header;
	uint64_t	at = 0;
	uint8_t    *out;

	reserve(&at, sizeof(EmbTokBlockHeader));
	for (int i = 0; i < 3; i++)
	{
		h->tries[i].n_units = b->tries[i].n_units;
		h->tries[i].units_offset = reserve(&at, (uint64_t) b->tries[i].n_units * sizeof(EmbTrieUnit));
		h->tries[i].values_offset = reserve(&at, (uint64_t) b->tries[i].n_units * sizeof(int32_t));
	}
	h->added_offset = reserve(&at, (uint64_t) h->n_added * sizeof(EmbTokBlockAdded));
	if (h->model == EMB_TOK_UNIGRAM)
	{
		h->scores_offset = reserve(&at, (uint64_t) h->n_scores * sizeof(double));
		reserve_map(h, &at);
	}
	if (h->model == EMB_TOK_BPE)
	{
		h->bytes_offset = reserve(&at, sizeof(b->bpe.bytes));
		h->pairs_offset = reserve(&at, sizeof(EmbTokBlockPair) << h->pairs_bits);
		h->words_offset[0] = reserve(&at, sizeof(EmbTokBlockWord) << h->words_bits[0]);
		h->words_offset[1] = reserve(&at, sizeof(EmbTokBlockLongWord) << h->words_bits[1]);
		if (h->spelling == EMB_TOK_SPELL_BYTES)
			h->pattern_offset = reserve(&at, sizeof(EmbTokPattern));
		else
			h->joints_offset = reserve(&at, sizeof(EmbTokJoints));
		if (h->n_map_units > 0)
			reserve_map(h, &at);
	}
	h->size_bytes = at;
	out = emb_alloc_zero(b->mem, 1, at);
	if (out == NULL)
		return emb_error(b->err, EMB_ERR_NOMEM, "out of memory building a tokenizer of %llu bytes",
						 (unsigned long long) at);
	memcpy(out, h, sizeof(EmbTokBlockHeader));
	for (int i = 0; i < 3; i++)
	{
		copy_table(out, h->tries[i].units_offset, b->tries[i].units, b->tries[i].n_units * sizeof(EmbTrieUnit));
		copy_table(out, h->tries[i].values_offset, b->tries[i].values, b->tries[i].n_units * sizeof(int32_t));
	}
	copy_table(out, h->added_offset, b->added, h->n_added * sizeof(EmbTokBlockAdded));
	if (h->model == EMB_TOK_UNIGRAM)
		copy_table(out, h->scores_offset, b->spec->scores, h->n_scores * sizeof(double));
	if (h->n_map_units > 0)
	{
		copy_table(out, h->map_offset, b->map, h->n_map_units * sizeof(uint32_t));
		copy_table(out, h->map_text_offset, b->map_text, h->n_map_text);
	}
	if (h->model == EMB_TOK_BPE)
	{
		copy_table(out, h->bytes_offset, b->bpe.bytes, sizeof(b->bpe.bytes));
		copy_table(out, h->pairs_offset, b->bpe.pairs, sizeof(EmbTokBlockPair) << h->pairs_bits);
		copy_table(out, h->words_offset[0], b->bpe.words, sizeof(EmbTokBlockWord) << h->words_bits[0]);
		copy_table(out, h->words_offset[1], b->bpe.long_words, sizeof(EmbTokBlockLongWord) << h->words_bits[1]);
		if (h->spelling == EMB_TOK_SPELL_BYTES)
			copy_table(out, h->pattern_offset, b->bpe.pattern, sizeof(EmbTokPattern));
		else
			copy_table(out, h->joints_offset, &b->bpe.joints, sizeof(EmbTokJoints));
	}
	*block = out;
	*size = at;
	return EMB_OK;
}

EmbStatus
emb_tok_build(const EmbTokSpec *spec, const EmbAllocator *mem, void **block, size_t *size, EmbError *err)
{
	Build		b = {.spec = spec, .mem = mem, .err = err};
	EmbTokenizer *tok = NULL;
	EmbStatus	status;

	*block = NULL;
	*size = 0;
	status = fill_header(&b);
	if (status == EMB_OK)
		status = build_pieces(&b);
	if (status == EMB_OK)
		status = build_added(&b);
	if (status == EMB_OK)
		status = ask_stop(&b);
	if (status == EMB_OK)
		status = write_block(&b, block, size);

	if (status == EMB_OK)
		status = ask_stop(&b);

	/* Opening the block checks everything else that may be wrong with the spec. */
	if (status == EMB_OK)
		status = emb_tok_open(*block, *size, true, mem, &tok, err);
	emb_tok_close(tok);
	if (status != EMB_OK)
	{
		emb_release(mem, *block);
		*block = NULL;
	}
	for (int i = 0; i < 3; i++)
	{
		emb_release(mem, b.tries[i].units);
		emb_release(mem, b.tries[i].values);
	}
	emb_release(mem, b.added);
	emb_release(mem, b.normalized);
	emb_release(mem, b.map);
	emb_tok_free_bpe(&b.bpe, mem);
	return status;
}
