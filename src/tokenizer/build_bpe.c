/*
 * build_bpe.c
 *		Builds the tables of BPE: the ids of bytes, the merges by pair,
 *		the words that are one id.
 *
 * Pieces are spelled in an alphabet of 256 printable characters, one for each
 * byte (Radford et al., 2019, bytes_to_unicode). A piece is a word of its own
 * only if the merges turn its bytes into it, or with ignore_merges.
 *
 * BPE of characters (SentencePiece's) spells pieces as they are. A piece "<0xE4>" stands
 * for a byte of a character that is no piece itself.
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
	EmbTokBlockWord *chars;		/* BPE of characters: the table of words, but of characters alone */
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

	if (b->spec->spelling == EMB_TOK_SPELL_CHARS)
	{
		memcpy(out, piece->text, piece->len);
		return piece->len;
	}
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

/* The byte that a piece "<0xE4>" stands for, or -1. */
static int
byte_of_piece(const EmbTokPiece *piece)
{
	static const char digits[] = "0123456789ABCDEF";
	const char *high,
			   *low;

	if (piece->text == NULL || piece->len != 6 || memcmp(piece->text, "<0x", 3) != 0 || piece->text[5] != '>')
		return -1;
	high = strchr(digits, piece->text[3]);
	low = strchr(digits, piece->text[4]);
	return high != NULL && low != NULL ? (int) ((high - digits) * 16 + (low - digits)) : -1;
}

/*
 * BPE of characters: the ids of ASCII, and of bytes of characters that are no piece.
 * Bytes that no text has need no piece.
 */
static EmbStatus
fill_byte_pieces(Builder *b)
{
	const EmbTokSpec *spec = b->spec;
	int32_t    *bytes = b->built->bytes;
	EmbStatus	status = EMB_OK;

	for (int pass = 0; pass < 2; pass++)
		for (int32_t id = 0; status == EMB_OK && id < spec->n_vocab; id++)
		{
			const EmbTokPiece *piece = &spec->pieces[id];
			int			byte = pass == 0 ? (spec->byte_fallback ? byte_of_piece(piece) : -1)
				: piece->text != NULL && piece->len == 1 && (uint8_t) piece->text[0] < 0x80 ? piece->text[0] : -1;

			if (byte >= 0)
				bytes[byte] = id;
			if (id % ROWS_PER_ASK == 0)
				status = ask_stop(b);
		}
	for (int i = 1; i < 0xF5 && status == EMB_OK; i++)
		if (bytes[i] == spec->unk_id && spec->byte_fallback && i != 0xC0 && i != 0xC1)
			status = emb_error(b->err, EMB_ERR_UNSUPPORTED, "the vocabulary lacks the piece \"<0x%02X>\", which is not supported with byte_fallback", i);
	for (int i = 0; i < 256; i++)
		if (bytes[i] < 0)
			bytes[i] = 0;
	return status;
}

/* Fills the ids of single bytes. Other bytes are unknown or dropped. */
static EmbStatus
fill_bytes(Builder *b)
{
	const EmbTokSpec *spec = b->spec;
	int32_t    *bytes = b->built->bytes;

	for (int i = 0; i < 256; i++)
		bytes[i] = spec->unk_id;
	if (spec->spelling == EMB_TOK_SPELL_CHARS)
		return fill_byte_pieces(b);
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
		status = emb_error(b->err, EMB_ERR_FORMAT, "no piece of the vocabulary can be reached");
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
 * BPE of characters: unknown tokens and bytes of characters may not merge, for they
 * would be told from the same text in the vocabulary no longer.
 */
static EmbStatus
check_chars(const Builder *b)
{
	const EmbTokSpec *spec = b->spec;

	if (spec->ignore_merges)
		return emb_error(b->err, EMB_ERR_UNSUPPORTED, "ignore_merges is not supported without ByteLevel");
	if (spec->unk_id < 0 && !spec->byte_fallback)
		return emb_error(b->err, EMB_ERR_UNSUPPORTED, "neither an unknown token nor byte_fallback is there for characters without a piece");
	if (!spec->byte_fallback && spec->pieces[spec->unk_id].text != NULL)
	{
		uint32_t	cp;
		const EmbTokPiece *unk = &spec->pieces[spec->unk_id];

		if (emb_utf8_decode((const uint8_t *) unk->text, unk->len, &cp) == (int) unk->len)
			return emb_error(b->err, EMB_ERR_UNSUPPORTED, "the unknown token is one character, which is not supported without ByteLevel");
	}
	for (int32_t i = 0; i < spec->n_merges; i++)
	{
		const EmbTokMerge *m = &spec->merges[i];
		const int32_t ids[3] = {m->left, m->right, m->id};
		EmbStatus	status = i % ROWS_PER_ASK == 0 ? ask_stop(b) : EMB_OK;

		for (int k = 0; k < 3 && status == EMB_OK; k++)
			if (spec->byte_fallback ? byte_of_piece(&spec->pieces[ids[k]]) >= 0 : ids[k] == spec->unk_id)
				status = emb_error(b->err, EMB_ERR_UNSUPPORTED, "merge %d has the piece of %s, which is not supported without ByteLevel", i,
								   spec->byte_fallback ? "a byte" : "the unknown token");
		if (status != EMB_OK)
			return status;
	}
	return EMB_OK;
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

	if (spec->spelling == EMB_TOK_SPELL_CHARS)
		return check_chars(b);

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

/* BPE of characters: which last and first bytes of pieces some merge joins. */
static EmbStatus
fill_joints(Builder *b)
{
	const EmbTokSpec *spec = b->spec;
	EmbStatus	status = EMB_OK;

	for (int32_t i = 0; spec->spelling == EMB_TOK_SPELL_CHARS && status == EMB_OK && i < spec->n_merges; i++)
	{
		const EmbTokPiece *left = &spec->pieces[spec->merges[i].left];
		const EmbTokPiece *right = &spec->pieces[spec->merges[i].right];

		if (i % ROWS_PER_ASK == 0)
			status = ask_stop(b);
		if (left->len > 0 && right->len > 0)
		{
			uint8_t		last = (uint8_t) left->text[left->len - 1];
			uint8_t		first = (uint8_t) right->text[0];

			b->built->joints.bits[last][first / 8] |= (uint8_t) (1u << first % 8);
		}
	}
	return status;
}

/*
 * BPE of characters: a table of those of several bytes, by which pieces are judged. The
 * table of words, which has them too, is not there yet.
 */
static EmbStatus
make_chars(Builder *b)
{
	const EmbTokSpec *spec = b->spec;
	EmbTokBuiltBpe chars = {0};
	uint32_t	n_chars = 0;
	EmbStatus	status = EMB_OK;

	for (int pass = 0; pass < 2 && status == EMB_OK; pass++)
	{
		for (int32_t id = 0; id < spec->n_vocab && status == EMB_OK; id++)
		{
			const EmbTokPiece *piece = &spec->pieces[id];
			uint32_t	cp;

			if (id % ROWS_PER_ASK == 0)
				status = ask_stop(b);
			if (piece->text == NULL || piece->len < 2 || piece->len > EMB_UTF8_MAX_BYTES ||
				emb_utf8_decode((const uint8_t *) piece->text, piece->len, &cp) != (int) piece->len)
				continue;
			if (pass == 0)
				n_chars++;
			else
				add_word(&chars, (const uint8_t *) piece->text, piece->len, id);
		}
		if (pass == 1)
			break;
		chars.words_bits[0] = bits_for(n_chars);
		b->chars = chars.words = emb_alloc_zero(b->mem, (size_t) 1 << chars.words_bits[0], sizeof(EmbTokBlockWord));
		if (chars.words == NULL)
			return no_memory(b);
		for (uint32_t i = 0; i < 1u << chars.words_bits[0]; i++)
			chars.words[i].id = -1;
	}
	b->header.words_bits[0] = chars.words_bits[0];
	b->tok.words = chars.words;
	b->tok.of_chars = true;
	b->tok.falls_back = spec->byte_fallback;
	return status;
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
	if ((spec->spelling == EMB_TOK_SPELL_BYTES && (status = fill_pattern(&b)) != EMB_OK) || (status = fill_bytes(&b)) != EMB_OK || (status = fill_pairs(&b)) != EMB_OK ||
		(status = check_alphabet(&b)) != EMB_OK || (status = fill_joints(&b)) != EMB_OK)
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
	if (status == EMB_OK && spec->spelling == EMB_TOK_SPELL_CHARS)
		status = make_chars(&b);
	if (status == EMB_OK)
		status = fill_words(&b);
	if (status == EMB_OK)
		status = emb_trie_build(b.keys, b.n_keys, mem, spec->stop, &built->pieces, err);
	emb_release(mem, b.text);
	emb_release(mem, b.keys);
	emb_release(mem, b.is_word);
	emb_release(mem, b.is_merged);
	emb_release(mem, b.chars);
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
