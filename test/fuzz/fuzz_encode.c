/*
 * fuzz_encode.c
 *		Any text against fixed tokenizers, and fixed text against damaged blocks.
 *
 * The first byte says which. Text: low bits choose the normalizer, bit 4 the
 * added tokens, bit 5 Unigram in place of WordPiece, bit 6 BPE (bit 5: with few
 * bytes in the vocabulary); the second byte where the text is cut for the check
 * that a prefix gives the ids of the whole or asks for more. Bit 7: the rest are patches of a good block, 4 bytes each (offset,
 * new byte).
 */
#include <stdio.h>

#include "tok_fuzz.h"

#define N(a) ((int) (sizeof(a) / sizeof((a)[0])))

static const char *const words[] = {
	"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "b", "un", "##able", "##a", "##b", "e", "caf", "##e",
	"\xC3\xA9", "\xE4\xB8\xAD", "##\xE4\xB8\xAD", ".", ",", "#", "i", "##\xCC\x87", "\xE1\x84\x92", "##\xE1\x85\xA1",
	"ab", "aba", "##ba", "##aba", "\xF0\x9F\x98\x80", "##\xE1\xAD\x84", "##\xF0\x9D\x85\xA5"
};

/* Of Unigram: ways of equal score among them. */
static const struct
{
	const char *text;
	double		score;
}			likely[] = {
	{"<pad>", 0}, {"<unk>", 0}, {"<s>", 0}, {"</s>", 0}, {"\xE2\x96\x81", -3}, {"a", -4}, {"aa", -8}, {"aaa", -12}, {"ab", -5}, {"b", -5.5},
	{"\xE2\x96\x81" "a", -5}, {"\xE2\x96\x81\xE2\x96\x81", -5}, {"fi", -6}, {"i", -7}, {"\xC3\xA9", -7}, {"\xE4\xB8\xAD", -6},
	{"\xE4\xB8\xAD\xE4\xB8\xAD", -6}, {"\xCC\x81", -8}, {"\xF0\x9F\x98\x80", -8}, {"_", -3}, {"_a", -5}, {" ", -9}, {"foo", -4}
};

/*
 * A character map: U+FB01 to "fi", e U+0301 to U+00E9, U+00A0 to " ", U+200B to
 * nothing, U+0958 to U+0915 U+093C; test/data/tokenizer/generate.py, charsmap.
 */
/* The units of the map that are not zero, and the replacements behind them. */
static const struct
{
	uint32_t	index;
	uint32_t	unit;
}			map_units[] = {
	{0, 0x00000200}, {101, 0x00002265}, {194, 0x00001ec2}, {224, 0x000016e0}, {226, 0x00000ee2}, {239,
	0x000006ef}, {323, 0x00000eac}, {706, 0x00230981}, {866, 0x00001e80}, {1257, 0x003ba18b}, {1349, 0x00000ea5},
	{1757, 0x00337d98}, {1890, 0x003585a0}, {2217, 0x000006cc}, {2344, 0x000cb181}, {2560, 0x8000000d}, {2561,
	0x8000000c}, {2562, 0x80000005}, {2563, 0x80000003}, {2564, 0x80000000}
};
static const char map_text[] = "\xC3" "\xA9" "\x00" " \x00" "\xE0" "\xA4" "\x95" "\xE0" "\xA4" "\xBC" "\x00" "\x00" "fi";

#define MAP_UNITS	2816

static uint8_t charsmap[sizeof(uint32_t) * (1 + MAP_UNITS) + sizeof(map_text)];

static void
fill_charsmap(void)
{
	uint32_t	n_bytes = MAP_UNITS * sizeof(uint32_t);

	memcpy(charsmap, &n_bytes, sizeof(n_bytes));
	for (int i = 0; i < N(map_units); i++)
		memcpy(charsmap + sizeof(uint32_t) * (1 + map_units[i].index), &map_units[i].unit, sizeof(uint32_t));
	memcpy(charsmap + sizeof(uint32_t) + n_bytes, map_text, sizeof(map_text));
}

typedef struct Added
{
	const char *text;
	const char *flags;			/* s single_word, l lstrip, r rstrip, n normalized */
} Added;

static const Added added[] = {
	{"[MASK]", "l"}, {"foo", ""}, {"foobar", "s"}, {"<x>", "lr"}, {"  ", ""}, {"Caf\xC3\xA9", "n"},
	{"un", "ns"}, {" b", "nlr"}, {"\xE4\xB8\xAD ", "n"}, {"aba", "ns"}
};

/* Of BPE, as ByteLevel spells them; merges of them, not all in an order that training gives. */
static const char *const merged[][2] = {
	{"a", "a"}, {"aa", "aa"}, {"aa", "a"}, {"aaaa", "aaaa"}, {"a", "b"}, {"\xC4\xA0", "\xC4\xA0"}, {"\xC4\xA0\xC4\xA0", "\xC4\xA0"},
	{"\xC4\xA0", "a"}, {"\xC4\x8A", "\xC4\x8A"}, {"'", "s"}, {"l", "l"}, {"'", "ll"}, {"\xC3\x83", "\xC2\xA9"}, {"\xC3\xA4", "\xC2\xB8"},
	{"\xC3\xA4\xC2\xB8", "\xC5\x83"}, {"b", "aa"}, {"b", "a"}, {"ba", "b"}, {"ab", "ab"}, {"b", "ab"}, {"1", "1"}, {"11", "1"}, {".", "."}, {"..", ".."},
	{"\xC4\xA0", "."}, {"i", "f"}, {"\xC3\x8C", "\xC4\xA3"}, {"aaa", "b"}, {"a", "ba"}
};

#define BPE_PIECES_MAX	(256 + N(merged))

static void *blocks[8];
static size_t sizes[8];
static EmbTokenizer *toks[8][16];

/* " b" among them: white space in a token that eats white space is refused but for BERT. */
static void
refine_added(EmbTokSpec *spec)
{
	for (int i = 0; i < spec->n_added; i++)
		if (spec->added[i].normalized && memchr(spec->added[i].piece.text, ' ', spec->added[i].piece.len) != NULL)
			spec->added[i].normalized = false;
		else if (spec->added[i].normalized)
			spec->added[i].lstrip = i % 2 == 0;
}

/* Makes the spec one of Unigram; normalizer chooses steps and splitting. */
static void
make_unigram(EmbTokSpec *spec, int normalizer, EmbTokPiece *pieces, double *scores)
{
	static const EmbTokStep steps[4][3] = {
		{{EMB_TOK_STEP_PRECOMPILED, 0}, {EMB_TOK_STEP_COLLAPSE, ' '}},
		{{EMB_TOK_STEP_PRECOMPILED, 0}, {EMB_TOK_STEP_STRIP, EMB_TOK_STRIP_RIGHT}, {EMB_TOK_STEP_COLLAPSE, 0x2581}},
		{{EMB_TOK_STEP_STRIP, EMB_TOK_STRIP_LEFT | EMB_TOK_STRIP_RIGHT}, {EMB_TOK_STEP_LOWERCASE, 0}, {EMB_TOK_STEP_PRECOMPILED, 0}},
		{{0, 0}}
	};

	fill_charsmap();
	spec->model = EMB_TOK_UNIGRAM;
	spec->clean_text = spec->handle_chinese_chars = spec->strip_accents = spec->lowercase = false;
	spec->n_steps = normalizer % 4 == 3 ? 0 : normalizer % 4 == 0 ? 2 : 3;
	memcpy(spec->steps, steps[normalizer % 4], sizeof(steps[0]));
	if (normalizer % 4 != 3)
		spec->charsmap = (EmbTokPiece) {(const char *) charsmap, sizeof(charsmap)};
	spec->split_spaces = normalizer / 4 == 1;
	spec->split_meta = normalizer / 4 < 2;
	spec->prepend = normalizer / 4 == 3 ? EMB_TOK_PREPEND_FIRST : normalizer / 4 == 2 ? EMB_TOK_PREPEND_NEVER : EMB_TOK_PREPEND_ALWAYS;
	spec->meta = normalizer / 4 == 2 ? '_' : 0x2581;
	spec->scores = scores;
	spec->n_vocab = N(likely);
	for (int i = 0; i < N(likely); i++)
	{
		pieces[i] = (EmbTokPiece) {likely[i].text, (uint32_t) strlen(likely[i].text)};
		scores[i] = likely[i].score;
	}
}

static int32_t
find_piece(const EmbTokSpec *spec, const char *text)
{
	for (int32_t id = 0; id < spec->n_vocab; id++)
		if (spec->pieces[id].len == strlen(text) && memcmp(spec->pieces[id].text, text, strlen(text)) == 0)
			return id;
	return -1;
}

static char bpe_text[BPE_PIECES_MAX][16];

static void
add_piece(EmbTokSpec *spec, const char *left, const char *right)
{
	char	   *text = bpe_text[spec->n_vocab];

	snprintf(text, sizeof(bpe_text[0]), "%s%s", left, right);
	if (find_piece(spec, text) >= 0)
		return;
	spec->pieces[spec->n_vocab] = (EmbTokPiece) {text, (uint32_t) strlen(text)};
	spec->n_vocab++;
}

/* Makes the spec one of BPE; normalizer chooses pattern, NFC, and the space in front. */
static void
make_bpe(EmbTokSpec *spec, int normalizer, bool few, EmbTokPiece *pieces, EmbTokMerge *merges)
{
	static const char *const regexes[4] = {EMB_TOK_REGEX_ALL, EMB_TOK_REGEX_GPT2, EMB_TOK_REGEX_QWEN2, EMB_TOK_REGEX_O200K};

	spec->model = EMB_TOK_BPE;
	spec->clean_text = spec->handle_chinese_chars = spec->strip_accents = spec->lowercase = false;
	spec->regex = regexes[normalizer % 4];
	spec->n_steps = (normalizer & 4) != 0;
	spec->steps[0] = (EmbTokStep) {EMB_TOK_STEP_NFC, 0};
	spec->prefix_space = (normalizer & 8) != 0;
	spec->ignore_merges = !few && normalizer % 4 == 3;
	spec->unk_id = few && normalizer % 2 == 0 ? 1 : -1;
	if (few && normalizer % 4 == 0)
	{
		/* BPE of characters */
		spec->spelling = EMB_TOK_SPELL_CHARS;
		spec->prefix_space = false;
		spec->fuse_unk = (normalizer & 4) != 0;
		spec->split_meta = normalizer == 12;
		spec->meta = (normalizer & 8) != 0 ? 0x2581 : 0;
		spec->prepend = (normalizer & 4) != 0 ? EMB_TOK_PREPEND_FIRST : EMB_TOK_PREPEND_ALWAYS;
		spec->steps[0] = (EmbTokStep) {EMB_TOK_STEP_BLANKS, 0x2581};
		spec->steps[1] = (EmbTokStep) {EMB_TOK_STEP_PREPEND, 0x2581};
		spec->n_steps = normalizer & 8 ? 0 : 2;
	}
	spec->pieces = pieces;
	spec->n_vocab = 0;
	for (uint32_t c = 0x21; c < 0x144; c++)
	{
		char		text[3] = {(char) c, '\0', '\0'};

		if ((c > 0x7E && c < 0xA1) || c == 0xAD || (few && c % 3 == 0 && c != 'a'))
			continue;
		if (c >= 0x80)
		{
			text[0] = (char) (0xC0 | c >> 6);
			text[1] = (char) (0x80 | (c & 0x3F));
		}
		add_piece(spec, text, "");
	}
	if (spec->spelling == EMB_TOK_SPELL_CHARS)
	{
		add_piece(spec, "<unk>", "");
		spec->unk_id = find_piece(spec, "<unk>");
	}
	spec->merges = merges;
	spec->n_merges = 0;
	for (int i = 0; i < N(merged); i++)
		if (find_piece(spec, merged[i][0]) >= 0 && find_piece(spec, merged[i][1]) >= 0)
		{
			char		text[32];

			add_piece(spec, merged[i][0], merged[i][1]);
			snprintf(text, sizeof(text), "%s%s", merged[i][0], merged[i][1]);
			merges[spec->n_merges++] = (EmbTokMerge) {find_piece(spec, merged[i][0]), find_piece(spec, merged[i][1]), find_piece(spec, text)};
		}
}

/* kind: bit 0 added tokens, bit 1 Unigram, bit 2 BPE. */
static void
build(int kind, int normalizer, void **block, size_t *size)
{
	int			with_added = kind & 1;
	double		scores[N(likely)];
	EmbAllocator mem = emb_malloc_allocator();
	EmbTokPiece pieces[BPE_PIECES_MAX];
	EmbTokMerge merges[N(merged)];
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
			.piece = {added[i].text, (uint32_t) strlen(added[i].text)}, .id = BPE_PIECES_MAX + i,
			.single_word = strchr(added[i].flags, 's') != NULL, .lstrip = strchr(added[i].flags, 'l') != NULL,
			.rstrip = strchr(added[i].flags, 'r') != NULL, .normalized = strchr(added[i].flags, 'n') != NULL
		};
	if (kind & 4)
		make_bpe(&spec, normalizer, (kind & 2) != 0, pieces, merges);
	else if (kind & 2)
		make_unigram(&spec, normalizer, pieces, scores);
	if (kind & 6)
		refine_added(&spec);
	if (emb_tok_build(&spec, &mem, block, size, NULL) != EMB_OK)
		abort();
}

static const EmbTokenizer *
get_tokenizer(int kind, int normalizer)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbTokenizer **tok = &toks[kind][normalizer];

	if (*tok == NULL)
	{
		void	   *block;
		size_t		size;

		build(kind, normalizer, &block, &size);
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
	EmbStatus	status = emb_tok_encode(tok, &(EmbText) {text, len, true, NULL}, &(EmbReading) {.ids = whole, .max_ids = max_ids},
			&want, NULL);

	while (cut < len && ((unsigned char) text[cut] & 0xC0) == 0x80)
		cut++;
	if (cut > len)
		cut = len;
	prefix = malloc(cut > 0 ? cut : 1);
	memcpy(prefix, text, cut);
	if (status == EMB_OK && emb_tok_encode(tok, &(EmbText) {prefix, cut, false, NULL}, &(EmbReading) {.ids = part, .max_ids = max_ids},
			&got, NULL) == EMB_OK &&
		!got.need_more &&
		(got.n_ids != want.n_ids || got.truncated != want.truncated || memcmp(part, whole, want.n_ids * sizeof(int32_t)) != 0))
		abort();
	if (status == EMB_OK && emb_tok_count(tok, text, len, NULL, &n, NULL) == EMB_OK &&
		(want.truncated ? n <= want.n_ids : n != want.n_ids))
		abort();
	free(prefix);
}

static void
damage_block(int kind, const uint8_t *data, size_t size)
{
	static const char text[] = "The caf\xC3\xA9 \xEF\xAC\x81" "e\xCC\x81 [MASK] unable, \xE4\xB8\xAD \xE4\xB8\xAD\xE6\x96\x87 <x>  aba a\xCC\x81\xE1\xAD\x84\xF0\x9D\x85\xA5 foo  foobar!";
	EmbAllocator mem = emb_malloc_allocator();
	EmbTokenizer *tok;
	uint8_t    *copy;

	if (blocks[kind] == NULL)
		build(kind, kind & 4 ? 6 : kind & 2 ? 1 : 15, &blocks[kind], &sizes[kind]);
	copy = emb_alloc(&mem, sizes[kind]);
	memcpy(copy, blocks[kind], sizes[kind]);
	for (size_t i = 0; i + 4 <= size; i += 4)
		copy[((size_t) data[i] | (size_t) data[i + 1] << 8 | (size_t) data[i + 2] << 16) % sizes[kind]] = data[i + 3];
	for (int check_all = 0; check_all < 2; check_all++)
		if (emb_tok_open(copy, sizes[kind], check_all, &mem, &tok, NULL) == EMB_OK)
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
		damage_block(data[0] >> 4 & 7, data + 1, size - 1);
	else
	{
		const EmbTokenizer *tok = get_tokenizer(data[0] >> 4 & 7, data[0] & 15);
		const char *text = (const char *) data + 2;

		fuzz_encode_text(tok, text, size - 2);
		check_prefix(tok, text, size - 2, data[1], FUZZ_IDS_MAX);
		check_prefix(tok, text, size - 2, data[1], 3 + data[1] % 8);
	}
	return 0;
}
