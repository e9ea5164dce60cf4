/*
 * test_tokenizer_encode.c
 *		What the encoder promises beside the ids: truncation at every length,
 *		bounded work, stops, bad text, blocks that are equal, blocks that lie.
 */
#include <time.h>

#include "tok_util.h"
#include "tokenizer/block.h"

static int32_t ids[IDS_MAX];
static Tok	cls;

static EmbStatus
encode(const char *text, size_t len, bool complete, int32_t max_ids, EmbTokResult *r, EmbError *err)
{
	return emb_tok_encode(cls.tok, &(EmbText) {text, len, complete, NULL}, &(EmbReading) {.ids = ids, .max_ids = max_ids},
			r, err);
}

/* A text of n tokens: counted to the end, or as far as it takes to see that there are more. */
static bool
counts_up_to(const char *text, int32_t n)
{
	size_t		len = strlen(text);

	for (int64_t max = -1; max < n + 3; max++)
	{
		int64_t		n_tokens,
					n_longer;
		size_t		n_read,
					ignored;

		if (emb_tok_count_up_to(cls.tok, text, len, max, NULL, &n_tokens, &n_read, NULL) != EMB_OK)
			return false;
		if (n <= max && (n_tokens != n || n_read != len))
			return false;
		if (n > max && (n_tokens <= max || n_read > len))
			return false;
		for (size_t longer = n_read; n > max && longer <= len; longer++)
		{
			if (longer < len && (text[longer] & 0xC0) == 0x80)
				continue;
			emb_tok_count_up_to(cls.tok, text, longer, max, NULL, &n_longer, &ignored, NULL);
			if (n_longer <= max)
				return false;
		}
	}
	return true;
}

static void
test_every_length(void)
{
	static const char *const texts[] = {
		"the quick brown fox jumps over the lazy dog, again and again.",
		"\xE4\xB8\xAD\xE6\x96\x87 caf\xC3\xA9 [MASK] unbelievable!!!",
		"", "x", "   ", "a\xCC\x81 b\xCC\x81"
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		static int32_t whole[IDS_MAX];
		EmbTokResult r;
		int32_t		n;
		bool		right = true;

		encode(texts[i], strlen(texts[i]), true, IDS_MAX, &r, NULL);
		n = r.n_ids;
		memcpy(whole, ids, n * sizeof(int32_t));
		for (int32_t max = 2; max < n + 3; max++)
		{
			int32_t		want = max < n ? max : n;

			ids[want] = -7;
			right = right && encode(texts[i], strlen(texts[i]), true, max, &r, NULL) == EMB_OK &&
				r.n_ids == want && r.truncated == (max < n) && ids[want] == -7 &&
				memcmp(ids, whole, (want - 1) * sizeof(int32_t)) == 0 && ids[want - 1] == whole[n - 1];
		}
		CHECKF(right, "text %zu", i);
		CHECK(encode(texts[i], strlen(texts[i]), true, 1, &r, NULL) == EMB_ERR_INVALID_ARGUMENT);
		CHECKF(counts_up_to(texts[i], n), "text %zu", i);
	}
}

typedef struct BadText
{
	const char *bytes;
	size_t		len;
	int64_t		offset;
} BadText;

static void
test_bad_text(void)
{
	static const BadText bad[] = {
		{"a\0b", 3, 1}, {"\x80", 1, 0}, {"ab\xC3", 3, 2}, {"\xC0\x80", 2, 0}, {"\xE0\x80\x80", 3, 0},
		{"x\xED\xA0\x80", 4, 1}, {"\xF4\x90\x80\x80", 4, 0}, {"\xF8\x88\x80\x80\x80", 5, 0}, {"\xFF", 1, 0},
		{"\xE4\xB8", 2, 0}, {"the \xF0\x9F\x98", 7, 4}
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		char	   *exact = malloc(bad[i].len);
		EmbError	err;
		EmbTokResult r;
		int64_t		n;

		memcpy(exact, bad[i].bytes, bad[i].len);
		CHECKF(encode(exact, bad[i].len, true, 64, &r, &err) == EMB_ERR_TEXT && err.offset == bad[i].offset,
			   "text %zu: %s", i, err.message);
		CHECK(emb_tok_count(cls.tok, exact, bad[i].len, NULL, &n, &err) == EMB_ERR_TEXT);
		free(exact);
	}
}

static double
cpu_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* Fills size bytes with repetitions of unit. */
static char *
repeat(const char *unit, size_t size)
{
	size_t		n = strlen(unit);
	char	   *text = malloc(size);

	for (size_t i = 0; i < size; i++)
		text[i] = unit[i % n];
	return text;
}

typedef struct Long
{
	const char *unit;
	size_t		repetitions;
	int64_t		n_tokens;		/* of all of it, special ones included */
} Long;

/* Nothing is quadratic: what is not linear would take minutes here. */
static void
test_long_texts(void)
{
	static const Long longs[] = {
		{"a", 10000000, 3},					/* one word */
		{" ", 10000000, 2},
		{"\xCC\x81", 500000, 2},			/* combining marks, all dropped */
		{"\xE1\xAD\x84\xF0\x9D\x85\xA5\xE3\x80\xAE\xCC\x81", 100000, 3},	/* marks of three classes that stay */
		{"\x01", 5000000, 2},
		{".", 2000000, 2000002},
		{"[MASK", 400000, 800002},			/* almost an added token; "mask" is unknown to this vocabulary or not */
		{"\xE4\xB8\xAD", 500000, 500002}
	};

	for (size_t i = 0; i < sizeof(longs) / sizeof(longs[0]); i++)
	{
		size_t		size = strlen(longs[i].unit) * longs[i].repetitions;
		char	   *text = repeat(longs[i].unit, size);
		double		start = cpu_seconds();
		int64_t		n = 0;
		EmbTokResult r;

		CHECK(emb_tok_count(cls.tok, text, size, NULL, &n, NULL) == EMB_OK);
		CHECKF(cpu_seconds() - start < 30, "text %zu took %g s", i, cpu_seconds() - start);
		if (longs[i].unit[0] != '[')
			CHECKF(n == longs[i].n_tokens, "text %zu has %lld tokens", i, (long long) n);
		CHECK(encode(text, size, true, 512, &r, NULL) == EMB_OK && r.n_ids == (n < 512 ? n : 512));
		free(text);
	}
}

typedef struct Stopper
{
	int			asked;
	int			stop_at;
} Stopper;

static bool
count_and_stop(void *ctx)
{
	Stopper    *s = ctx;

	return ++s->asked >= s->stop_at;
}

static void
test_stop(void)
{
	static const char *const units[] = {"a", " ", "hello world ", "\xCC\x81", "\xE1\xAD\x84\xCC\x81", "\xE4\xB8\xAD"};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
	{
		size_t		size = 4 * 1024 * 1024 / strlen(units[i]) * strlen(units[i]);
		char	   *text = repeat(units[i], size);
		Stopper		never = {0, 1 << 30};
		Stopper		third = {0, 3};
		EmbStop		stop = {&never, count_and_stop};
		int64_t		n;
		EmbTokResult r;

		/* At least once in 256 KiB. */
		CHECK(emb_tok_count(cls.tok, text, size, &stop, &n, NULL) == EMB_OK);
		CHECKF(never.asked >= 15, "asked %d times in 4 MiB of unit %zu", never.asked, i);
		stop.ctx = &third;
		CHECK(emb_tok_count(cls.tok, text, size, &stop, &n, NULL) == EMB_ERR_CANCELLED && third.asked == 3);

		/* The first tokens cost what they cost, however long the text is. */
		never.asked = 0;
		stop.ctx = &never;
		if (strchr("h\xE4", units[i][0]) != NULL)
		{
			CHECK(emb_tok_encode(cls.tok, &(EmbText) {text, size, true, NULL}, &(EmbReading) {.ids = ids, .max_ids = 512, .stop = &stop},
					&r, NULL) == EMB_OK && r.truncated);
			CHECKF(never.asked == 0, "asked %d times for 512 tokens", never.asked);
		}
		free(text);
	}
}

/* The sequence that tells which of two long texts is longer is found without reading both to the end. */
static void
test_long_pairs(void)
{
	size_t		size = 3000000;
	char	   *a = repeat("a ", size);
	char	   *b = repeat("b ", size);
	int32_t		types[64],
				known_ids[64];
	EmbTextIds	known;
	bool		need_more;
	EmbText		long_a = {a, size, true, NULL};
	EmbText		short_b = {b, 2, true, NULL};
	EmbTokResult r;

	for (int longer = 0; longer < 2; longer++)
	{
		EmbText		first = {a, longer == 0 ? size : 3000, true, NULL};
		EmbText		second = {b, longer == 1 ? size : 3000, true, NULL};

		CHECK(emb_tok_encode_pair(cls.tok, &first, &second, EMB_TOK_LONGEST_FIRST,
				&(EmbReading) {.ids = ids, .type_ids = types, .max_ids = 14}, &r, NULL) == EMB_OK);
		/* 11 tokens for both: the longer one gets 6. */
		CHECKF(r.n_ids == 14 && ids[longer == 0 ? 7 : 6] == ids[0] + 1 && r.truncated, "longer is %d", longer);

		/* read before: the ids alone do not tell, the text does */
		CHECK(emb_tok_encode_first(cls.tok, &first, &(EmbReading) {.ids = known_ids, .max_ids = 14},
				&known, &need_more, NULL) == EMB_OK);
		CHECK(known.longer && known.n_ids == 11 && !need_more);
		first.known = &known;
		CHECK(emb_tok_encode_pair(cls.tok, &first, &second, EMB_TOK_LONGEST_FIRST,
				&(EmbReading) {.ids = ids, .type_ids = types, .max_ids = 14}, &r, NULL) == EMB_OK);
		CHECKF(r.n_ids == 14 && ids[longer == 0 ? 7 : 6] == ids[0] + 1 && r.truncated, "longer is %d", longer);
		first.known = NULL;

		/* of prefixes: certain once the shorter one is whole and the longer one longer */
		first.complete = longer == 1;
		second.complete = longer == 0;
		CHECK(emb_tok_encode_pair(cls.tok, &first, &second, EMB_TOK_LONGEST_FIRST,
				&(EmbReading) {.ids = ids, .type_ids = types, .max_ids = 14}, &r, NULL) == EMB_OK);
		CHECKF(!r.need_more && r.n_ids == 14 && ids[longer == 0 ? 7 : 6] == ids[0] + 1, "longer is %d", longer);
		first.complete = second.complete = false;
		first.len = second.len = 3000;
		CHECK(emb_tok_encode_pair(cls.tok, &first, &second, EMB_TOK_LONGEST_FIRST,
				&(EmbReading) {.ids = ids, .type_ids = types, .max_ids = 14}, &r, NULL) == EMB_OK);
		CHECKF(r.need_more, "longer is %d", longer);
		/* an even cut needs no more than itself */
		CHECK(emb_tok_encode_pair(cls.tok, &first, &second, EMB_TOK_LONGEST_FIRST,
				&(EmbReading) {.ids = ids, .type_ids = types, .max_ids = 15}, &r, NULL) == EMB_OK);
		CHECKF(!r.need_more && r.n_ids == 15 && r.truncated, "longer is %d", longer);
	}
	CHECK(emb_tok_encode_pair(cls.tok, &long_a, &short_b, EMB_TOK_ONLY_SECOND,
			&(EmbReading) {.ids = ids, .type_ids = types, .max_ids = 14}, &r, NULL) ==
		  EMB_ERR_INVALID_ARGUMENT);
	CHECK(emb_tok_encode_pair(cls.tok, &long_a, &short_b, EMB_TOK_LONGEST_FIRST,
			&(EmbReading) {.ids = ids, .type_ids = types, .max_ids = 2}, &r, NULL) ==
		  EMB_ERR_INVALID_ARGUMENT);
	CHECK(emb_tok_encode_pair(cls.tok, &long_a, &short_b, EMB_TOK_ONLY_FIRST,
			&(EmbReading) {.ids = ids, .type_ids = types, .max_ids = 3}, &r, NULL) == EMB_OK &&
		  r.n_ids == 3 && r.truncated);
	free(a);
	free(b);
}

static void
test_equal_blocks(void)
{
	json_t	   *variants = json_from_data("variants.json");
	const char *name;
	json_t	   *value;

	json_object_foreach(variants, name, value)
	{
		Tok			one,
					two;
		EmbError	err;

		CHECK(tok_from_variant(variants, name, &one, &err) == EMB_OK);
		CHECK(tok_from_variant(variants, name, &two, &err) == EMB_OK);
		CHECKF(one.size == two.size && memcmp(one.block, two.block, one.size) == 0, "%s", name);
		tok_close(&one);
		tok_close(&two);
	}
	json_decref(variants);
}

/* Headers that lie are refused; tables that lie are refused by check_all and harmless without. */
static void
test_hostile_blocks(void)
{
	EmbAllocator mem = emb_malloc_allocator();
	static const char text[] = "the quick [MASK] caf\xC3\xA9, \xE4\xB8\xAD unbelievable [CLS]";
	int			n_opened = 0;
	unsigned	seed = 12345;
	bool		harmless = true;
	EmbTokenizer *tok;
	EmbError	err;

	for (size_t cut = 0; cut < cls.size; cut += cut < 700 ? 1 : 997)
	{
		void	   *copy = emb_alloc(&mem, cut);

		memcpy(copy, cls.block, cut);
		harmless = harmless && emb_tok_open(copy, cut, false, &mem, &tok, &err) == EMB_ERR_FORMAT && tok == NULL;
		emb_release(&mem, copy);
	}
	CHECKF(harmless, "a truncated block was opened");
	for (int round = 0; round < 20000; round++)
	{
		uint8_t    *copy = emb_alloc(&mem, cls.size);
		size_t		at = (seed = seed * 1103515245 + 12345) / 65536 % (round % 2 ? sizeof(EmbTokBlockHeader) : cls.size);
		EmbTokResult r;
		EmbStatus	status;

		memcpy(copy, cls.block, cls.size);
		copy[at] ^= (uint8_t) (1u << (round % 8));
		if (round % 3 == 0)
			memset(copy + at / 4 * 4, round % 2 ? 0xFF : 0x7F, 4);
		status = emb_tok_open(copy, cls.size, round % 4 == 0, &mem, &tok, &err);
		if (status == EMB_OK)
		{
			n_opened++;
			status = emb_tok_encode(tok, &(EmbText) {text, sizeof(text) - 1, true, NULL}, &(EmbReading) {.ids = ids, .max_ids = 64},
					&r, &err);
			for (int32_t i = 0; status == EMB_OK && i < r.n_ids; i++)
				harmless = harmless && ids[i] >= 0 && ids[i] < emb_tok_n_vocab(tok);
			harmless = harmless && (status == EMB_OK || status == EMB_ERR_FORMAT || status == EMB_ERR_INVALID_ARGUMENT);
			emb_tok_close(tok);
		}
		else
			harmless = harmless && (status == EMB_ERR_FORMAT || status == EMB_ERR_UNSUPPORTED) && tok == NULL;
		emb_release(&mem, copy);
	}
	CHECKF(harmless && n_opened > 1000, "%d blocks were opened", n_opened);
}

int
main(void)
{
	json_t	   *variants = json_from_data("variants.json");
	EmbError	err;

	if (!CHECKF(tok_from_variant(variants, "cls", &cls, &err) == EMB_OK, "%s", err.message))
		return done_testing();
	json_decref(variants);
	CHECK(emb_tok_n_vocab(cls.tok) == 800 && emb_tok_has_pair(cls.tok));
	CHECK(emb_tok_n_special(cls.tok, false) == 2 && emb_tok_n_special(cls.tok, true) == 3);
	test_every_length();
	test_bad_text();
	test_long_texts();
	test_stop();
	test_long_pairs();
	test_equal_blocks();
	test_hostile_blocks();
	tok_close(&cls);
	return done_testing();
}
