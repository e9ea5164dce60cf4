/*
 * test_bpe.c
 *		Byte-level BPE of words of any length: equal to merging by the book, whatever
 *		is given before the word's end is read, for merges in any order; NFC of long
 *		runs of marks; memory, all of it given back; blocks that lie.
 */
#include "tok_util.h"
#include "tokenizer/block.h"

#define N(a) ((int) (sizeof(a) / sizeof((a)[0])))
#define PIECES_MAX	400
#define LEN_MAX		20000

/* An allocator that fails at the n-th call, and knows what is out and what was out at most. */
typedef struct Meter
{
	EmbAllocator mem;
	int64_t		n_left;
	int64_t		live;
	int64_t		peak;
} Meter;

static void *
meter_alloc(void *ctx, size_t size)
{
	Meter	   *m = ctx;
	char	   *p = m->n_left-- > 0 ? emb_alloc(&m->mem, size + EMB_ALIGNMENT) : NULL;

	if (p == NULL)
		return NULL;
	*(size_t *) p = size;
	m->live += (int64_t) size;
	m->peak = m->live > m->peak ? m->live : m->peak;
	return p + EMB_ALIGNMENT;
}

static void
meter_release(void *ctx, void *p)
{
	Meter	   *m = ctx;

	if (p == NULL)
		return;
	m->live -= (int64_t) *(size_t *) ((char *) p - EMB_ALIGNMENT);
	emb_release(&m->mem, (char *) p - EMB_ALIGNMENT);
}

static Meter meter;
static EmbAllocator metered = {&meter, meter_alloc, meter_release};

static int32_t want[LEN_MAX];
static int32_t got[LEN_MAX];
static unsigned seed = 11;

static unsigned
roll(unsigned n)
{
	seed = seed * 1103515245 + 12345;
	return seed / 65536 % n;
}

/* ---------------------------------------------------------------- models */

typedef struct Model
{
	int			n_letters;		/* the first pieces are a, b, ... */
	int			n_pieces;
	int			n_merges;
	char		text[PIECES_MAX][64];
	EmbTokMerge merges[PIECES_MAX];
} Model;

static int
find_piece(const Model *m, const char *text)
{
	for (int i = 0; i < m->n_pieces; i++)
		if (strcmp(m->text[i], text) == 0)
			return i;
	return -1;
}

static void
add_merge(Model *m, int left, int right)
{
	char		text[128];
	int			id;

	snprintf(text, sizeof(text), "%s%s", m->text[left], m->text[right]);
	if (strlen(text) >= sizeof(m->text[0]) || m->n_merges == PIECES_MAX)
		return;
	id = find_piece(m, text);
	if (id < 0 && m->n_pieces == PIECES_MAX)
		return;
	if (id < 0)
		strcpy(m->text[id = m->n_pieces++], text);
	m->merges[m->n_merges++] = (EmbTokMerge) {left, right, id};
}

static void
start_model(Model *m, int n_letters)
{
	memset(m, 0, sizeof(*m));
	m->n_letters = m->n_pieces = n_letters;
	for (int i = 0; i < n_letters; i++)
		m->text[i][0] = (char) ('a' + i);
}

/* Merges of whatever there is so far; shuffled: in no order that training could give. */
static void
make_random(Model *m, int n_letters, int n_merges, bool shuffled)
{
	start_model(m, n_letters);
	for (int i = 0; i < n_merges; i++)
		add_merge(m, (int) roll((unsigned) m->n_pieces), (int) roll((unsigned) m->n_pieces));
	for (int i = 0; shuffled && i < m->n_merges; i++)
	{
		int			k = (int) roll((unsigned) m->n_merges);
		EmbTokMerge moved = m->merges[i];

		m->merges[i] = m->merges[k];
		m->merges[k] = moved;
	}
}

/* a + b, a + ab, a + aab, ...: the end of a run of a decides on all that a piece can hold. */
static void
make_backwards(Model *m)
{
	start_model(m, 2);
	for (int last = 1, n = 0; n < 60; n++, last = m->n_pieces - 1)
		add_merge(m, 0, last);
}

/* aa, aaaa, ... and pieces of odd lengths. */
static void
make_doubling(Model *m)
{
	start_model(m, 3);
	for (int last = 0, n = 0; n < 5; n++, last = m->n_pieces - 1)
		add_merge(m, last, last);
	add_merge(m, 0, 3);
	add_merge(m, 3, 1);
	add_merge(m, 5, 3);
}

/* Each pair is merged before the one in front of it: a chain through the alphabet. */
static void
make_chain(Model *m)
{
	start_model(m, 26);
	for (int i = 24; i >= 0; i--)
		add_merge(m, i, i + 1);
	for (int i = 26; i + 2 < 51; i++)
		add_merge(m, i + 2, i);
}

static EmbStatus
build(const Model *m, const char *regex, void **block, size_t *size)
{
	static EmbTokPiece pieces[PIECES_MAX];
	EmbTokSpec	spec = {
		.model = EMB_TOK_BPE, .regex = regex, .unk_id = -1, .n_vocab = m->n_pieces, .pieces = pieces,
		.n_merges = m->n_merges, .merges = (EmbTokMerge *) m->merges, .single = {1, {{EMB_TOK_SLOT_A, 0, 0}}}
	};

	for (int i = 0; i < m->n_pieces; i++)
		pieces[i] = (EmbTokPiece) {m->text[i], (uint32_t) strlen(m->text[i])};
	return emb_tok_build(&spec, &metered, block, size, NULL);
}

/* ------------------------------------------------------------- reference */


/* The ids of one word of letters, by the book, but for all pairs of a rank in one pass as long as none comes before them. */
static int64_t
merge_plainly(const Model *m, const char *word, size_t len, int32_t *ids)
{
	static int	ranks[PIECES_MAX][PIECES_MAX];
	int64_t		n = (int64_t) len;

	memset(ranks, 0xFF, sizeof(ranks));
	for (int i = 0; i < m->n_merges; i++)
		ranks[m->merges[i].left][m->merges[i].right] = i;
	for (size_t i = 0; i < len; i++)
		ids[i] = word[i] - 'a';
	for (;;)
	{
		int			best = -1;
		int64_t		to = 0,
					from = 0;
		bool		sooner = false;

		for (int64_t i = 0; i + 1 < n; i++)
		{
			int			rank = ranks[ids[i]][ids[i + 1]];

			if (rank >= 0 && (best < 0 || rank < best))
				best = rank;
		}
		if (best < 0)
			return n;
		while (from < n)
		{
			if (!sooner && from + 1 < n && ranks[ids[from]][ids[from + 1]] == best)
			{
				int			left = -1,
							right = -1;

				ids[to] = m->merges[best].id;
				from += 2;
				if (to > 0)
					left = ranks[ids[to - 1]][ids[to]];
				if (from < n)
					right = ranks[ids[to]][ids[from]];
				sooner = (left >= 0 && left <= best) || (right >= 0 && right < best);
				to++;
				/* The merged piece may be the left half of the same pair: it comes first, too. */
				if (!sooner && right == best)
				{
					to--;
					ids[from - 1] = ids[to];
					from--;
				}
			}
			else
				ids[to++] = ids[from++];
		}
		n = to;
	}
}

static bool
agrees(const EmbTokenizer *tok, const char *text, size_t len, int32_t max_ids, int64_t n)
{
	int64_t		n_fit = n < max_ids ? n : max_ids;
	int64_t		count = 0;
	EmbTokResult r;

	return emb_tok_encode(tok, &(EmbText) {text, len, true, NULL}, &(EmbReading) {.ids = got, .max_ids = max_ids}, &r, NULL) == EMB_OK &&
		r.n_ids == n_fit && r.truncated == (n > max_ids) && memcmp(got, want, (size_t) n_fit * sizeof(int32_t)) == 0 &&
		emb_tok_count(tok, text, len, NULL, &count, NULL) == EMB_OK && count == n;
}

/* Prefixes of a long word: more, or what the whole gives. */
static bool
prefix_agrees(const EmbTokenizer *tok, const char *text, size_t cut, int32_t max_ids, int64_t n)
{
	EmbTokResult part;

	if (emb_tok_encode(tok, &(EmbText) {text, cut, false, NULL}, &(EmbReading) {.ids = got, .max_ids = max_ids}, &part, NULL) != EMB_OK)
		return false;
	return part.need_more || (part.n_ids == (n < max_ids ? n : max_ids) && part.truncated == (n > max_ids) &&
							  memcmp(got, want, (size_t) part.n_ids * sizeof(int32_t)) == 0);
}

static void
fill(const Model *m, char *text, size_t len, int kind)
{
	static const char *const units[] = {"a", "ab", "aab", "aaaaaaaaaaaaaaaab", "abcdefghijklmnopqrstuvwxyz", "ac"};
	unsigned	n_letters = (unsigned) m->n_letters;

	for (size_t i = 0; i < len; i++)
	{
		if (kind < N(units))
			text[i] = units[kind][i % strlen(units[kind])];
		else if (kind == N(units))
			text[i] = (char) ('a' + roll(n_letters));
		else
			text[i] = roll(100) == 0 ? (char) ('a' + roll(n_letters)) : i > 0 ? text[i - 1] : 'a';
		if (text[i] >= 'a' + m->n_letters)
			text[i] = 'a';
	}
}

static void
test_words(const char *name, const Model *m)
{
	static const size_t lens[] = {1, 2, 3, 7, 63, 64, 65, 100, 4096, 4097, 8192, 8193, 16385, LEN_MAX};
	static const int32_t limits[] = {LEN_MAX, 511, 64, 1};
	char	   *text = malloc(LEN_MAX);
	void	   *block = NULL;
	size_t		size;
	EmbTokenizer *tok = NULL;
	int			n_wrong = 0;
	int			n_tested = 0;

	if (!CHECK(build(m, EMB_TOK_REGEX_GPT2, &block, &size) == EMB_OK && emb_tok_open(block, size, true, &metered, &tok, NULL) == EMB_OK))
		exit(1);
	for (int kind = 0; kind < 8; kind++)
		for (int l = 0; l < N(lens); l++)
		{
			int64_t		n;

			fill(m, text, lens[l], kind);
			n = merge_plainly(m, text, lens[l], want);
			for (int k = 0; k < N(limits) && (k == 0 || lens[l] > 1000); k++)
			{
				int64_t		live = meter.live;
				bool		ok;

				meter.peak = live;
				ok = agrees(tok, text, lens[l], limits[k], n) && meter.live == live && meter.peak - live <= 6 * 1024 * 1024;
				if (ok && lens[l] > 8192)
					ok = prefix_agrees(tok, text, 8192, limits[k], n) && prefix_agrees(tok, text, lens[l] - 1, limits[k], n) &&
						prefix_agrees(tok, text, lens[l], limits[k], n);
				n_tested++;
				if (!ok && n_wrong++ < 5)
					printf("# %s, kind %d, %zu bytes, %d ids: wrong, or %lld bytes left, %lld at most\n", name, kind, lens[l], limits[k],
						   (long long) (meter.live - live), (long long) (meter.peak - live));
			}
		}
	CHECKF(n_wrong == 0 && n_tested > 200, "%s: %d of %d words", name, n_wrong, n_tested);
	emb_tok_close(tok);
	emb_release(&metered, block);
	CHECKF(meter.live == 0, "%s: %lld bytes left", name, (long long) meter.live);
	free(text);
}

static void
test_models(void)
{
	static Model m;
	char		name[40];

	make_doubling(&m);
	test_words("doubling", &m);
	make_backwards(&m);
	test_words("backwards", &m);
	make_chain(&m);
	test_words("chain", &m);
	for (int i = 0; i < 6; i++)
	{
		make_random(&m, 2 + i % 4, 20 + 20 * i, i % 3 == 2);
		snprintf(name, sizeof(name), "random %d", i);
		test_words(name, &m);
	}
}

/* A word that a limit ends early is not read to its end. */
static void
test_early_end(void)
{
	static Model m;
	size_t		len = 16 * 1024 * 1024;
	char	   *text = malloc(len);
	void	   *block = NULL;
	size_t		size,
				n_read;
	int64_t		n;
	EmbTokenizer *tok = NULL;

	make_doubling(&m);
	memset(text, 'a', len);
	CHECK(build(&m, EMB_TOK_REGEX_GPT2, &block, &size) == EMB_OK && emb_tok_open(block, size, true, &metered, &tok, NULL) == EMB_OK);
	CHECK(emb_tok_count_up_to(tok, text, len, 512, NULL, &n, &n_read, NULL) == EMB_OK);
	CHECKF(n > 512 && n_read < 128 * 1024, "%zu bytes read for %lld tokens", n_read, (long long) n);
	emb_tok_close(tok);
	emb_release(&metered, block);
	free(text);
}

/* Every allocation of long words, and of white space that is kept, fails once. */
static void
test_out_of_memory(const char *unit, size_t len, const char *regex)
{
	static Model m;
	char	   *text = malloc(len + 2);
	void	   *block = NULL;
	size_t		size;
	EmbTokenizer *tok = NULL;
	int64_t		live;
	int			n_failed = 0;
	EmbStatus	status = EMB_ERR_NOMEM;
	EmbTokResult r;

	make_doubling(&m);
	for (int c = 0; c < 2; c++)
		strcpy(m.text[m.n_pieces++], c == 0 ? "\xC4\xA0" : "\xC4\x8A");
	text[0] = '\n';
	for (size_t i = 0; i < len; i++)
		text[1 + i] = unit[i % strlen(unit)];
	text[len + 1] = 'b';
	CHECK(build(&m, regex, &block, &size) == EMB_OK && emb_tok_open(block, size, true, &metered, &tok, NULL) == EMB_OK);
	live = meter.live;
	for (int n = 0; status == EMB_ERR_NOMEM && n < 1000; n++)
	{
		meter.n_left = n;
		status = emb_tok_encode(tok, &(EmbText) {text, len + 2, true, NULL}, &(EmbReading) {.ids = got, .max_ids = LEN_MAX},
				&r, NULL);
		n_failed += status == EMB_ERR_NOMEM;
		if (meter.live != live)
			break;
	}
	CHECKF(status == EMB_OK && n_failed > 2 && meter.live == live, "%d failures, %lld bytes left", n_failed, (long long) (meter.live - live));
	meter.n_left = INT64_MAX;
	emb_tok_close(tok);
	emb_release(&metered, block);
	free(text);
}

/* ------------------------------------------------------------ long runs */

static bool
count(void *ctx)
{
	(*(int *) ctx)++;
	return false;
}

static bool
stop_at_once(void *ctx)
{
	(*(int *) ctx)++;
	return true;
}

/*
 * Runs of one thing, with every pattern and kind of token in the way: work grows
 * with the text alone, as the number of stops asked for tells; and a stop ends it.
 */
static void
test_long_runs(void)
{
	static const char *const names[] = {"bpe", "bpe_prefix", "bpe_modern", "bpe_eaters", "bpe_qwen2", "bpe_llama3", "bpe_lower", "bpe_dropped",
		"bpe_o200k", "bpe_o200k_late", "chars", "chars_llama", "chars_split", "chars_unknown", "chars_late", "chars_eater"};
	static const char *const units[] = {
		"a", "q", " ", "\xCC\x81", "\xCC\x81\xCC\xA3\xCC\xB4", "\xE3\x80\x80", "e\xCC\x81", "<", "<mask", "\xE0\xA4\x95\xE0\xA5\x8D", "'", "'s",
		"\xF0\x9F\x91\xA9\xE2\x80\x8D", "7", " <mask>", "\t ", "\n ", "\r\n", "|||", "\xE4\xB8\xAD", "\xED\x95\x9C", "\xE1\x84\x92\xE1\x85\xA1", ".", "ab",
		"A", "Aa", ("\xE4\xB8\xAD" "AAAAAAAAAAAAAAAA"), "\n    ", "/\n", "'S"
	};
	json_t	   *variants = json_from_data("variants.json");

	for (int v = 0; v < N(names); v++)
	{
		Tok			t;

		if (!CHECK(tok_from_variant(variants, names[v], &t, NULL) == EMB_OK))
			exit(1);
		for (int u = 0; u < N(units); u++)
		{
			size_t		n_unit = strlen(units[u]);
			size_t		size = (300 * 1024 / n_unit) * n_unit;
			char	   *text = malloc(size);
			int			asked = 0;
			EmbStop		stop = {&asked, count};
			EmbStop		stop_early = {&asked, stop_at_once};
			int64_t		n = 0;

			for (size_t i = 0; i < size; i++)
				text[i] = units[u][i % n_unit];
			CHECKF(emb_tok_count(t.tok, text, size, &stop, &n, NULL) == EMB_OK && asked >= 1 && (size_t) asked * 65536 < 40 * size,
				   "%s, unit %d", names[v], u);
			asked = 0;
			CHECKF(emb_tok_count(t.tok, text, size, &stop_early, &n, NULL) == EMB_ERR_CANCELLED && asked == 1, "%s, unit %d", names[v], u);
			free(text);
		}
		tok_close(&t);
	}
	json_decref(variants);
}

/* ---------------------------------------------------------- hostile blocks */

static void
test_hostile_blocks(const char *variant)
{
	static const char text[] = "it's  caf\xC3\xA9 e\xCC\x81 <mask> unbelievable   12345 \xE4\xB8\xAD\xE6\x96\x87 the ||| \n\n \xF0\x9F\x98\x80!!\n "
		"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";
	EmbAllocator mem = emb_malloc_allocator();
	json_t	   *variants = json_from_data("variants.json");
	char	   *longer = malloc(20000);
	Tok			good;
	int			n_opened = 0;
	bool		harmless = tok_from_variant(variants, variant, &good, NULL) == EMB_OK;

	memset(longer, 'a', 20000);
	for (int round = 0; round < 4000 && harmless; round++)
	{
		uint8_t    *copy = emb_alloc(&mem, good.size);
		size_t		at = roll(32768) % (round % 2 ? sizeof(EmbTokBlockHeader) : good.size);
		EmbTokenizer *tok;
		EmbTokResult r;
		EmbError	err;
		EmbStatus	status;

		at = round % 2 ? at : at * 31 % good.size;
		memcpy(copy, good.block, good.size);
		copy[at] ^= (uint8_t) (1u << (round % 8));
		if (round % 3 == 0)
			memset(copy + at / 4 * 4, round % 2 ? 0xFF : 0x7F, 4);
		status = emb_tok_open(copy, good.size, round % 4 == 0, &mem, &tok, &err);
		if (status == EMB_OK)
		{
			n_opened++;
			status = emb_tok_encode(tok, &(EmbText) {round % 64 ? text : longer, round % 64 ? sizeof(text) - 1 : 20000, true, NULL}, &(EmbReading) {.ids = got, .max_ids = 200},
					&r, &err);
			for (int32_t i = 0; status == EMB_OK && i < r.n_ids; i++)
				harmless = harmless && got[i] >= 0 && got[i] < emb_tok_n_vocab(tok);
			/* A token that ends within a character leaves a text that does not start with one. */
			harmless = harmless && (status == EMB_OK || status == EMB_ERR_FORMAT || status == EMB_ERR_INVALID_ARGUMENT || status == EMB_ERR_TEXT);
			emb_tok_close(tok);
		}
		else
			harmless = tok == NULL && (status == EMB_ERR_FORMAT || status == EMB_ERR_UNSUPPORTED);
		emb_release(&mem, copy);
	}
	CHECKF(harmless && n_opened > 1000, "%s: %d blocks were opened", variant, n_opened);
	free(longer);
	tok_close(&good);
	json_decref(variants);
}

int
main(void)
{
	meter = (Meter) {.mem = emb_malloc_allocator(), .n_left = INT64_MAX};
	test_models();
	test_early_end();
	test_out_of_memory("a", 30000, EMB_TOK_REGEX_GPT2);
	test_out_of_memory(" ", 30000, EMB_TOK_REGEX_QWEN2);
	test_long_runs();
	test_hostile_blocks("bpe_modern");
	test_hostile_blocks("bpe_o200k_late");
	test_hostile_blocks("chars");
	return done_testing();
}
