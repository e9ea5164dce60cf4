/*
 * build_bpe.c
 *		Builds the tables of byte-level BPE: the ids of bytes, the merges by pair,
 *		the words that are one id.
 *
 * Pieces are spelled in an alphabet of 256 printable characters, one for each
 * byte (Radford et al., 2019, bytes_to_unicode). A piece is a word of its own
 * only if the merges turn its bytes into it, or with ignore_merges.
 */
#include "tokenizer/build_bpe.h"

#include <string.h>

#include "tokenizer/encode.h"
#include "tokenizer/pattern.h"

#define ALPHABET_END	0x144	/* all characters of the alphabet are below */
#define PIECES_PER_ASK	512		/* pieces merged between two polls of stop */
#define ROWS_PER_ASK	8192	/* rows read, or entered into a table, between two polls of stop */

typedef struct Builder
{
	const EmbTokSpec *spec;
	const EmbAllocator *mem;
	EmbTokBuiltBpe *built;
	EmbError   *err;
	int16_t		byte_of[ALPHABET_END];	/* by character; -1: not in the alphabet */
	uint8_t    *text;			/* the bytes of all pieces, end to end */
	EmbTrieKey *keys;			/* [n_keys] the pieces that the merges reach */
	size_t		n_keys;
	uint8_t    *is_word;		/* [n_vocab] */
	bool	   *is_merged;		/* [n_vocab] some merge produces the piece */
	EmbTokenizer tok;			/* only the fields that merging needs */
	EmbTokBlockHeader header;
} Builder;

static void
fill_alphabet(int16_t byte_of[ALPHABET_END])
{
	int			n_others = 0;

	for (int c = 0; c < ALPHABET_END; c++)
		byte_of[c] = -1;
	for (int b = 0; b < 256; b++)
	{
		bool		is_itself = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;

		byte_of[is_itself ? b : 256 + n_others++] = (int16_t) b;
	}
}

/*
 * Writes the bytes that a piece stands for to out, [piece->len]. Returns their
 * number; 0: the piece is not spelled in the alphabet, or has a zero byte.
 */
static uint32_t
spell_piece(const Builder *b, const EmbTokPiece *piece, uint8_t *out)
{
	uint32_t	n = 0;
	uint32_t	cp;

	for (uint32_t at = 0; at < piece->len;)
	{
		int			len = emb_utf8_decode((const uint8_t *) piece->text + at, piece->len - at, &cp);

		if (len == 0 || cp >= ALPHABET_END || b->byte_of[cp] <= 0)
			return 0;
		out[n++] = (uint8_t) b->byte_of[cp];
		at += (uint32_t) len;
	}
	return n;
}

/* log2 of a table's size such that n entries leave at least half of the slots free. */
static uint32_t
bits_for(uint32_t n)
{
	uint32_t	bits = 4;

	while (bits < EMB_TOK_MAX_HASH_BITS && (1u << bits) < 2 * (uint64_t) n)
		bits++;
	return bits;
}

static EmbStatus
ask_stop(const Builder *b)
{
	return emb_should_stop(b->spec->stop) ? emb_error(b->err, EMB_ERR_CANCELLED, "building a tokenizer was cancelled") : EMB_OK;
}

static EmbStatus
no_memory(const Builder *b)
{
	return emb_error(b->err, EMB_ERR_NOMEM, "out of memory building a vocabulary of %d pieces and %d merges",
					 b->spec->n_vocab, b->spec->n_merges);
}

/* ---------------------------------------------------------------- tables */

/* Fills the ids of single bytes. Other bytes are unknown or dropped. */
static EmbStatus
fill_bytes(Builder *b)
{
	const EmbTokSpec *spec = b->spec;
	int32_t    *bytes = b->built->bytes;

	for (int i = 0; i < 256; i++)
		bytes[i] = spec->unk_id;
	for (int32_t id = 0; id < spec->n_vocab; id++)
	{
		uint32_t	cp = ALPHABET_END;
		const EmbTokPiece *piece = &spec->pieces[id];
		EmbStatus	status = id % ROWS_PER_ASK == 0 ? ask_stop(b) : EMB_OK;

		if (status != EMB_OK)
			return status;
		if (piece->text != NULL && piece->len <= EMB_UTF8_MAX_BYTES &&
			emb_utf8_decode((const uint8_t *) piece->text, piece->len, &cp) == (int) piece->len &&
			cp < ALPHABET_END && b->byte_of[cp] >= 0)
			bytes[b->byte_of[cp]] = id;
	}
	return EMB_OK;
}

/* Fills the table of merges. Of equal pairs the last counts, as in the library. */
static EmbStatus
fill_pairs(Builder *b)
{
	const EmbTokSpec *spec = b->spec;
	uint32_t	bits = bits_for((uint32_t) spec->n_merges);
	uint32_t	mask = (1u << bits) - 1;
	EmbTokBlockPair *pairs = emb_alloc_array(b->mem, (size_t) 1 << bits, sizeof(EmbTokBlockPair));

	if (pairs == NULL)
		return no_memory(b);
	b->built->pairs = pairs;
	b->built->pairs_bits = bits;
	for (uint32_t i = 0; i <= mask; i++)
		pairs[i] = (EmbTokBlockPair) {0, 0, EMB_TOK_NO_RANK, 0};
	for (int32_t i = 0; i < spec->n_merges; i++)
	{
		const EmbTokMerge *m = &spec->merges[i];
		EmbStatus	status = i % ROWS_PER_ASK == 0 ? ask_stop(b) : EMB_OK;
		uint32_t	slot;

		if (status != EMB_OK)
			return status;
		if (m->left < 0 || m->left >= spec->n_vocab || m->right < 0 || m->right >= spec->n_vocab || m->id < 0 || m->id >= spec->n_vocab)
			return emb_error(b->err, EMB_ERR_FORMAT, "merge %d is of ids %d and %d to %d, outside 0..%d", i, m->left, m->right, m->id,
							 spec->n_vocab - 1);
		slot = emb_tok_hash_pair((uint32_t) m->left, (uint32_t) m->right, bits);
		while (pairs[slot].rank != EMB_TOK_NO_RANK &&
			   (pairs[slot].left != (uint32_t) m->left || pairs[slot].right != (uint32_t) m->right))
			slot = (slot + 1) & mask;
		pairs[slot] = (EmbTokBlockPair) {(uint32_t) m->left, (uint32_t) m->right, (uint32_t) i, m->id};
	}
	return EMB_OK;
}

static void
add_word(EmbTokBuiltBpe *built, const uint8_t *text, uint32_t n, int32_t id)
{
	uint64_t	key[4] = {0, 0, 0, 0};
	bool		is_long = n > EMB_TOK_WORD_BYTES;
	uint32_t	bits = built->words_bits[is_long];
	uint32_t	mask = (1u << bits) - 1;
	uint32_t	slot;

	memcpy(key, text, n);
	slot = emb_tok_hash_word(key, is_long ? 4 : 2, bits);
	while ((is_long ? built->long_words[slot].id : built->words[slot].id) >= 0)
		slot = (slot + 1) & mask;
	if (is_long)
	{
		memcpy(built->long_words[slot].text, text, n);
		built->long_words[slot].id = id;
	}
	else
	{
		memcpy(built->words[slot].text, text, n);
		built->words[slot].id = id;
	}
}

static EmbStatus
make_words(Builder *b, const uint32_t n_words[2])
{
	EmbTokBuiltBpe *built = b->built;

	for (int i = 0; i < 2; i++)
		built->words_bits[i] = bits_for(n_words[i]);
	built->words = emb_alloc_zero(b->mem, (size_t) 1 << built->words_bits[0], sizeof(EmbTokBlockWord));
	built->long_words = emb_alloc_zero(b->mem, (size_t) 1 << built->words_bits[1], sizeof(EmbTokBlockLongWord));
	if (built->words == NULL || built->long_words == NULL)
		return no_memory(b);
	for (uint32_t i = 0; i < 1u << built->words_bits[0]; i++)
		built->words[i].id = -1;
	for (uint32_t i = 0; i < 1u << built->words_bits[1]; i++)
		built->long_words[i].id = -1;
	return EMB_OK;
}

/* Writes the *n bytes of the piece to out, and decides whether the piece is a word of its own. */
static EmbStatus
judge_piece(Builder *b, int32_t id, uint8_t *out, uint32_t *n)
{
	uint32_t	ids[EMB_TOK_MAX_BPE_BYTES];
	const EmbTokPiece *piece = &b->spec->pieces[id];

	*n = piece->text != NULL ? spell_piece(b, piece, out) : 0;
	if (*n == 0)
		return EMB_OK;
	if (*n > EMB_TOK_MAX_BPE_BYTES)
		return !b->is_merged[id] && !b->spec->ignore_merges ? EMB_OK
			: emb_error(b->err, EMB_ERR_LIMIT, "vocabulary entry %d has %u bytes, more than %d", id, *n, EMB_TOK_MAX_BPE_BYTES);
	if (emb_tok_merge_word(&b->tok, out, *n, ids) == 1 && ids[0] == (uint32_t) id)
	{
		b->is_word[id] = *n <= EMB_TOK_LONG_WORD_BYTES;
		b->keys[b->n_keys++] = (EmbTrieKey) {out, *n, id, id, 0};
		if (*n > b->built->max_piece)
			b->built->max_piece = *n;
		return EMB_OK;
	}
	if (b->spec->ignore_merges && *n > EMB_TOK_LONG_WORD_BYTES)
		return emb_error(b->err, EMB_ERR_UNSUPPORTED, "vocabulary entry %d has %u bytes and no merges lead to it, more than the %d that "
						 "are supported with ignore_merges", id, *n, EMB_TOK_LONG_WORD_BYTES);
	b->is_word[id] = b->spec->ignore_merges;
	return EMB_OK;
}

/* Passes over the pieces twice: counts the words, then adds them. */
static EmbStatus
fill_words(Builder *b)
{
	uint32_t	n_words[2] = {0, 0};
	uint8_t    *at = b->text;
	EmbStatus	status = EMB_OK;
	uint32_t	n;

	for (int32_t id = 0; id < b->spec->n_vocab && status == EMB_OK; id++)
	{
		if (id % PIECES_PER_ASK == 0 && (status = ask_stop(b)) != EMB_OK)
			return status;
		status = judge_piece(b, id, at, &n);
		n_words[n > EMB_TOK_WORD_BYTES] += b->is_word[id];
		at += n;
	}
	if (status == EMB_OK && b->n_keys == 0)
		status = emb_error(b->err, EMB_ERR_FORMAT, "the vocabulary has no character of a byte");
	if (status == EMB_OK)
		status = make_words(b, n_words);
	at = b->text;
	for (int32_t id = 0; id < b->spec->n_vocab && status == EMB_OK; id++)
	{
		if (id % ROWS_PER_ASK == 0)
			status = ask_stop(b);
		n = b->spec->pieces[id].text != NULL ? spell_piece(b, &b->spec->pieces[id], at) : 0;
		if (b->is_word[id])
			add_word(b->built, at, n, id);
		at += n;
	}
	return status;
}

/*
 * Refuses vocabularies that lack the character of a byte where the encoder cannot
 * handle this: words are looked up without dropped bytes, and the unknown token
 * counts as one byte.
 */
static EmbStatus
check_alphabet(const Builder *b)
{
	const EmbTokSpec *spec = b->spec;
	int			missing = 0;

	/* No text has a zero byte. */
	for (int i = 1; i < 256 && missing == 0; i++)
		if (b->built->bytes[i] == spec->unk_id)
			missing = i;
	if (missing == 0)
		return EMB_OK;
	if (spec->ignore_merges)
		return emb_error(b->err, EMB_ERR_UNSUPPORTED, "the vocabulary lacks the character of byte 0x%02x, which is not supported "
						 "with ignore_merges", missing);
	for (int32_t i = 0; i < spec->n_merges && spec->unk_id >= 0; i++)
		if (spec->merges[i].left == spec->unk_id || spec->merges[i].right == spec->unk_id)
			return emb_error(b->err, EMB_ERR_UNSUPPORTED, "the vocabulary lacks the character of byte 0x%02x, which is not supported "
							 "where the unknown token is merged (merge %d)", missing, i);
	return EMB_OK;
}

static EmbStatus
fill_pattern(Builder *b)
{
	const EmbTokSpec *spec = b->spec;
	EmbError	why;
	EmbStatus	status;

	b->built->pattern = emb_alloc(b->mem, sizeof(EmbTokPattern));
	if (b->built->pattern == NULL)
		return no_memory(b);
	status = emb_tok_compile_pattern(spec->regex, strlen(spec->regex), b->mem, spec->stop, b->built->pattern, &why);
	return status == EMB_OK ? EMB_OK : emb_error(b->err, status, "the pattern that splits text: %s", why.message);
}

EmbStatus
emb_tok_build_bpe(const EmbTokSpec *spec, const EmbAllocator *mem, EmbTokBuiltBpe *built, EmbError *err)
{
	Builder		b = {.spec = spec, .mem = mem, .built = built, .err = err};
	size_t		n_text = 1;
	size_t		n_vocab = (size_t) spec->n_vocab;
	EmbStatus	status;

	if (spec->n_merges < 0 || spec->n_merges > EMB_TOK_MAX_PIECES)
		return emb_error(err, EMB_ERR_LIMIT, "the tokenizer has %d merges, more than %d", spec->n_merges, EMB_TOK_MAX_PIECES);
	fill_alphabet(b.byte_of);
	built->max_piece = 1;
	if ((status = fill_pattern(&b)) != EMB_OK || (status = fill_bytes(&b)) != EMB_OK || (status = check_alphabet(&b)) != EMB_OK || (status = fill_pairs(&b)) != EMB_OK)
		return status;
	b.header.pairs_bits = built->pairs_bits;
	b.tok = (EmbTokenizer) {.mem = *mem, .header = &b.header, .bytes = built->bytes, .pairs = built->pairs};
	for (int32_t id = 0; id < spec->n_vocab; id++)
		n_text += spec->pieces[id].text != NULL ? spec->pieces[id].len : 0;
	b.text = emb_alloc(mem, n_text);
	b.keys = emb_alloc_array(mem, n_vocab, sizeof(EmbTrieKey));
	b.is_word = emb_alloc_zero(mem, n_vocab, 1);
	b.is_merged = emb_alloc_zero(mem, n_vocab, sizeof(bool));
	if (b.text == NULL || b.keys == NULL || b.is_word == NULL || b.is_merged == NULL)
		status = no_memory(&b);
	for (int32_t i = 0; i < spec->n_merges && status == EMB_OK; i++)
		b.is_merged[spec->merges[i].id] = true;
	if (status == EMB_OK)
		status = fill_words(&b);
	if (status == EMB_OK)
		status = emb_trie_build(b.keys, b.n_keys, mem, spec->stop, &built->pieces, err);
	emb_release(mem, b.text);
	emb_release(mem, b.keys);
	emb_release(mem, b.is_word);
	emb_release(mem, b.is_merged);
	return status;
}

void
emb_tok_free_bpe(EmbTokBuiltBpe *built, const EmbAllocator *mem)
{
	emb_release(mem, built->pairs);
	emb_release(mem, built->words);
	emb_release(mem, built->long_words);
	emb_release(mem, built->pattern);
}
