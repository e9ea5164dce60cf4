/*
 * test_unigram.c
 *		Likeliest pieces of words of any length: equal to a plain computation
 *		that keeps everything, whatever is forgotten on the way, with little
 *		memory, all of it given back; blocks and character maps that lie.
 */
#include <math.h>

#include "tok_util.h"
#include "tokenizer/block.h"

#define N(a) ((int) (sizeof(a) / sizeof((a)[0])))

typedef struct Piece
{
	const char *text;
	double		score;
} Piece;

/* No single "b": it is unknown where no longer piece covers it. */
static const Piece twos[] = {{"<unk>", 0}, {"\xE2\x96\x81", -3}, {"a", -5}, {"aa", -6}, {"c", -4}, {"ca", -7}};
static const Piece threes[] = {{"<unk>", 0}, {"a", -3}, {"aaa", -4.5}, {"aab", -5}, {"ba", -4}, {"\xE4\xB8\xAD", -4}, {"\xE4\xB8\xAD\xE4\xB8\xAD\xE4\xB8\xAD", -4.25}};
static const Piece fives[] = {{"<unk>", -1}, {"a", -9.1}, {"aa", -18.2}, {"aaa", -27.3}, {"aaaaa", -45.5}, {"abab", -20}, {"bb", -30}};

typedef struct Vocabulary
{
	const Piece *pieces;
	int			n;
} Vocabulary;

static const Vocabulary vocabularies[] = {{twos, N(twos)}, {threes, N(threes)}, {fives, N(fives)}};

/* An allocator that fails at the n-th call, and knows what is out and what was out at most. */
typedef struct Meter
{
	EmbAllocator mem;
	int64_t		n_left;
	int64_t		n_calls;
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
	m->n_calls++;
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

static void
meter_reset(void)
{
	meter = (Meter) {.mem = emb_malloc_allocator(), .n_left = INT64_MAX};
}

static EmbStatus
build(const Vocabulary *v, void **block, size_t *size)
{
	EmbTokPiece pieces[16];
	double		scores[16];
	EmbTokSpec	spec = {
		.model = EMB_TOK_UNIGRAM, .split_meta = true, .meta = 0x2581, .prepend = EMB_TOK_PREPEND_NEVER,
		.scores = scores, .unk_id = 0, .n_vocab = v->n, .pieces = pieces,
		.single = {1, {{EMB_TOK_SLOT_A, 0, 0}}}
	};

	for (int i = 0; i < v->n; i++)
	{
		pieces[i] = (EmbTokPiece) {v->pieces[i].text, (uint32_t) strlen(v->pieces[i].text)};
		scores[i] = v->pieces[i].score;
	}
	return emb_tok_build(&spec, &metered, block, size, NULL);
}

/* ------------------------------------------------------------- reference */

/* The ids of one word, by the book; returns how many. */
static int64_t
plain_viterbi(const Vocabulary *v, const char *word, size_t len, int32_t *ids)
{
	double	   *best = malloc((len + 1) * sizeof(double));
	size_t	   *from = malloc((len + 1) * sizeof(size_t));
	int32_t    *last = malloc((len + 1) * sizeof(int32_t));
	double		min = INFINITY;
	int64_t		n = 0;

	for (int k = 0; k < v->n; k++)
		min = v->pieces[k].score < min ? v->pieces[k].score : min;
	for (size_t i = 0; i <= len; i++)
		from[i] = SIZE_MAX;
	best[0] = 0;
	for (size_t i = 0; i < len;)
	{
		size_t		n_char = (unsigned char) word[i] < 0x80 ? 1 : 3;
		bool		single = false;

		for (int k = 0; k < v->n; k++)
		{
			size_t		n_piece = strlen(v->pieces[k].text);

			if (n_piece > len - i || memcmp(word + i, v->pieces[k].text, n_piece) != 0)
				continue;
			single |= n_piece == n_char;
			if (from[i + n_piece] == SIZE_MAX || best[i] + v->pieces[k].score > best[i + n_piece])
			{
				best[i + n_piece] = best[i] + v->pieces[k].score;
				from[i + n_piece] = i;
				last[i + n_piece] = k;
			}
		}
		if (!single && (from[i + n_char] == SIZE_MAX || best[i] + (min - 10) > best[i + n_char]))
		{
			best[i + n_char] = best[i] + (min - 10);
			from[i + n_char] = i;
			last[i + n_char] = 0;
		}
		i += n_char;
	}
	/* Backwards into the end of ids, adjacent unknown ones once. */
	for (size_t i = len; i > 0; i = from[i])
		if (last[i] != 0 || n == 0 || ids[len - n] != 0)
			ids[len - ++n] = last[i];
	memmove(ids, ids + len - n, (size_t) n * sizeof(int32_t));
	free(best);
	free(from);
	free(last);
	return n;
}

#define LEN_MAX 60000

static int32_t want[LEN_MAX];
static int32_t got[LEN_MAX];

static bool
agrees(const EmbTokenizer *tok, const Vocabulary *v, const char *text, size_t len, int32_t max_ids)
{
	int64_t		n = plain_viterbi(v, text, len, want);
	int64_t		n_fit = n < max_ids ? n : max_ids;
	int64_t		count = 0;
	EmbTokResult r;

	return emb_tok_encode(tok, &(EmbText) {text, len, true, NULL}, &(EmbReading) {.ids = got, .max_ids = max_ids}, &r, NULL) == EMB_OK &&
		r.n_ids == n_fit && r.truncated == (n > max_ids) && memcmp(got, want, (size_t) n_fit * sizeof(int32_t)) == 0 &&
		emb_tok_count(tok, text, len, NULL, &count, NULL) == EMB_OK && count == n;
}

/* Prefixes of a long word: more, or what the whole gives. */
static bool
prefix_agrees(const EmbTokenizer *tok, const char *text, size_t len, size_t cut, int32_t max_ids)
{
	EmbTokResult whole,
				part;

	while (cut > 0 && cut < len && ((unsigned char) text[cut] & 0xC0) == 0x80)
		cut--;
	if (emb_tok_encode(tok, &(EmbText) {text, len, true, NULL}, &(EmbReading) {.ids = want, .max_ids = max_ids},
			&whole, NULL) != EMB_OK ||
		emb_tok_encode(tok, &(EmbText) {text, cut, false, NULL}, &(EmbReading) {.ids = got, .max_ids = max_ids}, &part, NULL) != EMB_OK)
		return false;
	return part.need_more || (part.n_ids == whole.n_ids && part.truncated == whole.truncated &&
							  memcmp(got, want, (size_t) whole.n_ids * sizeof(int32_t)) == 0);
}

static void
fill(char *text, size_t len, int kind, unsigned *seed)
{
	static const char *const units[] = {"a", "ab", "aab", "aaaaaaaaaaaaaaaab", "\xE4\xB8\xAD", "ac"};

	for (size_t i = 0; i < len;)
	{
		const char *unit = units[kind % N(units)];
		size_t		n;

		*seed = *seed * 1103515245 + 12345;
		if (kind >= N(units))
			unit = *seed / 65536 % 16 < (unsigned) kind - N(units) ? "b" : *seed / 65536 % 64 == 15 ? "\xE4\xB8\xAD" : "a";
		n = strlen(unit) <= len - i ? strlen(unit) : 1;
		memcpy(text + i, n == 1 ? (*unit & 0x80 ? "a" : unit) : unit, n);
		i += n;
	}
}

static void
test_words(const Vocabulary *v)
{
	static const size_t lens[] = {1, 2, 3, 7, 100, 2040, 2047, 2048, 2049, 4096, 5000, 20001, LEN_MAX};
	static const int32_t limits[] = {LEN_MAX, 5000, 511, 64, 1};
	char	   *text = malloc(LEN_MAX);
	void	   *block = NULL;
	size_t		size;
	EmbTokenizer *tok = NULL;
	unsigned	seed = 7;
	int			n_wrong = 0;
	int			n = 0;

	meter_reset();
	if (!CHECK(build(v, &block, &size) == EMB_OK && emb_tok_open(block, size, true, &metered, &tok, NULL) == EMB_OK))
		exit(1);
	for (int kind = 0; kind < 14; kind++)
		for (int l = 0; l < N(lens); l++)
		{
			fill(text, lens[l], kind, &seed);
			for (int m = 0; m < N(limits) && (m == 0 || lens[l] > 1000); m++)
			{
				int64_t		live = meter.live;
				bool		ok;

				meter.peak = live;
				ok = agrees(tok, v, text, lens[l], limits[m]) && meter.live == live &&
					meter.peak - live <= (int64_t) limits[m] * 4 * 2 * 16 + 65536;
				if (ok && lens[l] > 4100)
					ok = prefix_agrees(tok, text, lens[l], 2502, limits[m]) && prefix_agrees(tok, text, lens[l], 4098, limits[m]);
				n++;
				if (!ok && n_wrong++ < 5)
					printf("# kind %d, %zu bytes, %d ids: wrong, or %lld bytes left, %lld at most\n", kind, lens[l], limits[m],
						   (long long) (meter.live - live), (long long) (meter.peak - live));
			}
		}
	CHECKF(n_wrong == 0 && n > 300, "%d of %d words", n_wrong, n);
	emb_tok_close(tok);
	emb_release(&metered, block);
	CHECKF(meter.live == 0, "%lld bytes left", (long long) meter.live);
	free(text);
}

/* Every allocation of a word that keeps ways fails once. */
static void
test_out_of_memory(void)
{
	size_t		len = 9001;
	char	   *text = malloc(len);
	void	   *block = NULL;
	size_t		size;
	EmbTokenizer *tok = NULL;
	int64_t		live;
	int			n_failed = 0;
	EmbStatus	status = EMB_ERR_NOMEM;
	EmbTokResult r;

	memset(text, 'a', len);
	meter_reset();
	CHECK(build(&vocabularies[0], &block, &size) == EMB_OK && emb_tok_open(block, size, true, &metered, &tok, NULL) == EMB_OK);
	live = meter.live;
	for (int n = 0; status == EMB_ERR_NOMEM && n < 1000; n++)
	{
		meter.n_left = n;
		status = emb_tok_encode(tok, &(EmbText) {text, len, true, NULL}, &(EmbReading) {.ids = got, .max_ids = LEN_MAX},
				&r, NULL);
		n_failed += status == EMB_ERR_NOMEM;
		if (meter.live != live)
			break;
	}
	CHECKF(status == EMB_OK && n_failed > 5 && meter.live == live, "%d failures, %lld bytes left", n_failed, (long long) (meter.live - live));
	meter.n_left = INT64_MAX;
	emb_tok_close(tok);
	emb_release(&metered, block);
	free(text);
}

static bool
always(void *ctx)
{
	(*(int *) ctx)++;
	return *(int *) ctx > 2;
}

/* A word without end asks for a stop as often as anything else, and leaves nothing behind. */
static void
test_stop(void)
{
	size_t		len = 4 * 1024 * 1024;
	char	   *text = malloc(len);
	void	   *block = NULL;
	size_t		size;
	EmbTokenizer *tok = NULL;
	int64_t		live;
	int			asked = 0;
	EmbStop		stop = {&asked, always};
	EmbTokResult r;

	memset(text, 'a', len);
	meter_reset();
	CHECK(build(&vocabularies[0], &block, &size) == EMB_OK && emb_tok_open(block, size, true, &metered, &tok, NULL) == EMB_OK);
	live = meter.live;
	CHECK(emb_tok_encode(tok, &(EmbText) {text, len, true, NULL}, &(EmbReading) {.ids = got, .max_ids = 512, .stop = &stop},
			&r, NULL) == EMB_ERR_CANCELLED && asked == 3 && meter.live == live);
	emb_tok_close(tok);
	emb_release(&metered, block);
	free(text);
}

static bool
count(void *ctx)
{
	(*(int *) ctx)++;
	return false;
}

/*
 * Runs of one thing, with every step and kind of token in the way: work grows
 * with the text alone, as the number of stops asked for tells.
 */
static void
test_long_runs(void)
{
	static const char *const names[] = {"uni", "uni_new", "uni_words", "uni_late", "uni_never"};
	static const char *const units[] = {
		"a", "z", " ", "\xCC\x81", "\xE2\x80\x8B", "\xE3\x80\x80", "e\xCC\x81", "<", "<mask", "\xE0\xA4\x95\xE0\xA5\x8D", "\xE2\x96\x81",
		"\xF0\x9F\x91\xA9\xE2\x80\x8D", "\xEF\xB7\xBA", " <mask>", "\xE2\x80\xA8 ", "\xD8\x80", "\r\n", "foo", "\xE4\xB8\xAD"
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
			int64_t		n = 0;

			for (size_t i = 0; i < size; i++)
				text[i] = units[u][i % n_unit];
			CHECKF(emb_tok_count(t.tok, text, size, &stop, &n, NULL) == EMB_OK && asked >= 1 && (size_t) asked * 65536 < 40 * size,
				   "%s, unit %d: asked %d times", names[v], u, asked);
			free(text);
		}
		tok_close(&t);
	}
	json_decref(variants);
}

/* ---------------------------------------------------------- hostile blocks */

static void
test_hostile_blocks(void)
{
	static const char text[] = "\xEF\xBC\xA8" "ello  wor\xE2\x84\xA2\xCC\x81 <mask> zzzzzzzz \xE0\xA4\x95\xE0\xA5\x8D\xE0\xA4\x95\xCC\x81\r\n\xEF\xB7\xBA";
	EmbAllocator mem = emb_malloc_allocator();
	json_t	   *variants = json_from_data("variants.json");
	Tok			good;
	unsigned	seed = 99;
	int			n_opened = 0;
	bool		harmless = tok_from_variant(variants, "uni_new", &good, NULL) == EMB_OK;

	for (int round = 0; round < 20000 && harmless; round++)
	{
		uint8_t    *copy = emb_alloc(&mem, good.size);
		size_t		at = (seed = seed * 1103515245 + 12345) / 65536 % (round % 2 ? sizeof(EmbTokBlockHeader) : good.size);
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
			status = emb_tok_encode(tok, &(EmbText) {text, sizeof(text) - 1, true, NULL}, &(EmbReading) {.ids = got, .max_ids = 64},
					&r, &err);
			for (int32_t i = 0; status == EMB_OK && i < r.n_ids; i++)
				harmless = harmless && got[i] >= 0 && got[i] < emb_tok_n_vocab(tok);
			harmless = harmless && (status == EMB_OK || status == EMB_ERR_FORMAT || status == EMB_ERR_INVALID_ARGUMENT);
			emb_tok_close(tok);
		}
		else
			harmless = tok == NULL && (status == EMB_ERR_FORMAT || status == EMB_ERR_UNSUPPORTED);
		emb_release(&mem, copy);
	}
	CHECKF(harmless && n_opened > 1000, "%d blocks were opened", n_opened);
	tok_close(&good);
	json_decref(variants);
}

int
main(void)
{
	for (int i = 0; i < N(vocabularies); i++)
		test_words(&vocabularies[i]);
	test_out_of_memory();
	test_stop();
	test_long_runs();
	test_hostile_blocks();
	return done_testing();
}
