/*
 * fuzz_encode.c
 *		Any text against fixed tokenizers, and fixed text against damaged blocks.
 *
 * The first byte says which. Text: low bits choose the normalizer, bit 4 the
 * added tokens; the second byte where the text is cut for the check that a
 * prefix gives the ids of the whole or asks for more. Bit 7: the rest are
 * patches of a good block, 4 bytes each (offset, new byte).
 */
#include "tok_fuzz.h"

#define N(a) ((int) (sizeof(a) / sizeof((a)[0])))

static const char *const words[] = {
	"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "b", "un", "##able", "##a", "##b", "e", "caf", "##e",
	"\xC3\xA9", "\xE4\xB8\xAD", "##\xE4\xB8\xAD", ".", ",", "#", "i", "##\xCC\x87", "\xE1\x84\x92", "##\xE1\x85\xA1",
	"ab", "aba", "##ba", "##aba", "\xF0\x9F\x98\x80", "##\xE1\xAD\x84", "##\xF0\x9D\x85\xA5"
};

typedef struct Added
{
	const char *text;
	const char *flags;			/* s single_word, l lstrip, r rstrip, n normalized */
} Added;

static const Added added[] = {
	{"[MASK]", "l"}, {"foo", ""}, {"foobar", "s"}, {"<x>", "lr"}, {"  ", ""}, {"Caf\xC3\xA9", "n"},
	{"un", "ns"}, {" b", "nlr"}, {"\xE4\xB8\xAD ", "n"}, {"aba", "ns"}
};

static void *blocks[2];
static size_t sizes[2];
static EmbTokenizer *toks[2][16];

static void
build(int with_added, int normalizer, void **block, size_t *size)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbTokPiece pieces[N(words)];
	EmbTokAdded tokens[N(added)];
	EmbTokSpec	spec = {
		.model = EMB_TOK_WORDPIECE,
		.clean_text = normalizer & 1, .handle_chinese_chars = (normalizer & 2) != 0,
		.strip_accents = (normalizer & 4) != 0, .lowercase = (normalizer & 8) != 0,
		.continuing_prefix = {"##", 2}, .max_chars_per_word = 20, .unk_id = 1,
		.n_vocab = N(words), .pieces = pieces, .n_added = with_added ? N(added) : 0, .added = tokens,
		.single = {3, {{EMB_TOK_SLOT_SPECIAL, 2, 0}, {EMB_TOK_SLOT_A, 0, 0}, {EMB_TOK_SLOT_SPECIAL, 3, 0}}},
		.pair = {4, {{EMB_TOK_SLOT_SPECIAL, 2, 0}, {EMB_TOK_SLOT_B, 0, 0}, {EMB_TOK_SLOT_SPECIAL, 3, 1}, {EMB_TOK_SLOT_A, 0, 1}}}
	};

	for (int i = 0; i < N(words); i++)
		pieces[i] = (EmbTokPiece) {words[i], (uint32_t) strlen(words[i])};
	for (int i = 0; i < N(added); i++)
		tokens[i] = (EmbTokAdded) {
			.piece = {added[i].text, (uint32_t) strlen(added[i].text)}, .id = N(words) + i,
			.single_word = strchr(added[i].flags, 's') != NULL, .lstrip = strchr(added[i].flags, 'l') != NULL,
			.rstrip = strchr(added[i].flags, 'r') != NULL, .normalized = strchr(added[i].flags, 'n') != NULL
		};
	if (emb_tok_build(&spec, &mem, block, size, NULL) != EMB_OK)
		abort();
}

static const EmbTokenizer *
get_tokenizer(int with_added, int normalizer)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbTokenizer **tok = &toks[with_added][normalizer];

	if (*tok == NULL)
	{
		void	   *block;
		size_t		size;

		build(with_added, normalizer, &block, &size);
		if (emb_tok_open(block, size, true, &mem, tok, NULL) != EMB_OK)
			abort();
	}
	return *tok;
}

/* A prefix asks for more or gives what the whole text gives. */
static void
check_prefix(const EmbTokenizer *tok, const char *text, size_t len, size_t cut, int32_t max_ids)
{
	int32_t		whole[FUZZ_IDS_MAX];
	int32_t		part[FUZZ_IDS_MAX];
	EmbTokResult want,
				got;
	int64_t		n;
	char	   *prefix;
	EmbStatus	status = emb_tok_encode(tok, text, len, true, whole, max_ids, NULL, &want, NULL);

	while (cut < len && ((unsigned char) text[cut] & 0xC0) == 0x80)
		cut++;
	if (cut > len)
		cut = len;
	prefix = malloc(cut > 0 ? cut : 1);
	memcpy(prefix, text, cut);
	if (status == EMB_OK && emb_tok_encode(tok, prefix, cut, false, part, max_ids, NULL, &got, NULL) == EMB_OK &&
		!got.need_more &&
		(got.n_ids != want.n_ids || got.truncated != want.truncated || memcmp(part, whole, want.n_ids * sizeof(int32_t)) != 0))
		abort();
	if (status == EMB_OK && emb_tok_count(tok, text, len, NULL, &n, NULL) == EMB_OK &&
		(want.truncated ? n <= want.n_ids : n != want.n_ids))
		abort();
	free(prefix);
}

static void
damage_block(int with_added, const uint8_t *data, size_t size)
{
	static const char text[] = "The caf\xC3\xA9 [MASK] unable, \xE4\xB8\xAD \xE4\xB8\xAD\xE6\x96\x87 <x>  aba a\xCC\x81\xE1\xAD\x84\xF0\x9D\x85\xA5 foo  foobar!";
	EmbAllocator mem = emb_malloc_allocator();
	EmbTokenizer *tok;
	uint8_t    *copy;

	if (blocks[with_added] == NULL)
		build(with_added, 15, &blocks[with_added], &sizes[with_added]);
	copy = emb_alloc(&mem, sizes[with_added]);
	memcpy(copy, blocks[with_added], sizes[with_added]);
	for (size_t i = 0; i + 4 <= size; i += 4)
		copy[((size_t) data[i] | (size_t) data[i + 1] << 8 | (size_t) data[i + 2] << 16) % sizes[with_added]] = data[i + 3];
	for (int check_all = 0; check_all < 2; check_all++)
		if (emb_tok_open(copy, sizes[with_added], check_all, &mem, &tok, NULL) == EMB_OK)
		{
			fuzz_encode_text(tok, text, sizeof(text) - 1);
			emb_tok_close(tok);
		}
	emb_release(&mem, copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	if (data[0] & 0x80)
		damage_block((data[0] & 0x10) != 0, data + 1, size - 1);
	else
	{
		const EmbTokenizer *tok = get_tokenizer((data[0] & 0x10) != 0, data[0] & 15);
		const char *text = (const char *) data + 2;

		fuzz_encode_text(tok, text, size - 2);
		check_prefix(tok, text, size - 2, data[1], FUZZ_IDS_MAX);
		check_prefix(tok, text, size - 2, data[1], 3 + data[1] % 8);
	}
	return 0;
}
