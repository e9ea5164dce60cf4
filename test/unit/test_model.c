/*
 * test_model.c
 *		An open model in use: names, prompts, prefixes of texts, batches of any
 *		cut with the same bits, bounded scratch, stops.
 */
#include "model_util.h"
#include "scratch_util.h"

#include "image/image.h"

#define DIM 8
#define MAX_IDS 16

static Image image;
static EmbModel *model;
static EmbAllocator heap;

static void
open_small(const char *precision, const char *query_prompt, const char *document_prompt)
{
	EmbImportOptions options = {.precision = precision, .query_prompt = query_prompt, .document_prompt = document_prompt};
	SmallModel	m = small_model();
	EmbError	err;

	write_small_model(fresh_dir(), &m);
	if (!CHECKF(import_image(temp_root, &options, &heap, &image, &err) == EMB_OK, "%s", err.message) ||
		!CHECKF(emb_model_open(image.data, image.size_bytes, 0, &heap, NULL, &model, &err) == EMB_OK, "%s", err.message))
		exit(1);
}

static void
close_small(void)
{
	emb_model_close(model);
	free(image.data);
}

static void
test_names(void)
{
	char		longest[EMB_NAME_MAX + 1];

	memset(longest, 'a', sizeof(longest));
	CHECK(emb_name_is_valid("BAAI/bge-small-en_v1.5", 22));
	CHECK(emb_name_is_valid(longest, EMB_NAME_MAX) && !emb_name_is_valid(longest, EMB_NAME_MAX + 1));
	CHECK(!emb_name_is_valid("", 0) && !emb_name_is_valid("a b", 3) && !emb_name_is_valid("\xC3\xA4", 2));
	CHECK(!emb_name_is_valid("a\0b", 3) && !emb_name_is_valid("a'b", 3));
}

static EmbEncoded
encode(EmbPrompt prompt, const char *text, size_t len, bool complete, int32_t *ids, int32_t max_ids)
{
	EmbEncoded	r = {.n_ids = -1};
	EmbError	err;
	EmbStatus	status = emb_model_encode(model, prompt, &(EmbText) {text, len, complete, NULL},
			&(EmbReading) {.ids = ids, .max_ids = max_ids, .mem = &heap}, &r, &err);

	if (status != EMB_OK)
		CHECKF(false, "%s", err.message);
	return r;
}

/* Prompt and text must read as one string. */
static void
test_prompts(void)
{
	static const char *const texts[] = {"", "a", "base of b", "base", " a", ": c", "a b c d e a b c d e a b c d e a b c d e"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		char		joined[256];
		int32_t		a[MAX_IDS],
					b[MAX_IDS];
		int64_t		n_a = -1,
					n_b = -2;
		EmbEncoded	with,
					whole;
		EmbError	err;

		snprintf(joined, sizeof(joined), "query: data%s", texts[i]);
		with = encode(EMB_PROMPT_QUERY, texts[i], strlen(texts[i]), true, a, MAX_IDS);
		whole = encode(EMB_PROMPT_NONE, joined, strlen(joined), true, b, MAX_IDS);
		CHECKF(with.n_ids == whole.n_ids && with.truncated == whole.truncated &&
			   memcmp(a, b, whole.n_ids * sizeof(int32_t)) == 0, "\"%s\"", joined);
		CHECK(emb_model_count_tokens(model, EMB_PROMPT_QUERY, texts[i], strlen(texts[i]), &heap, NULL, &n_a, &err) == EMB_OK &&
			  emb_model_count_tokens(model, EMB_PROMPT_NONE, joined, strlen(joined), &heap, NULL, &n_b, &err) == EMB_OK);
		CHECKF(n_a == n_b && (whole.truncated ? n_a > whole.n_ids : n_a == whole.n_ids), "%lld", (long long) n_a);
	}
	{
		/* "database" comes from the seam: data, ##base */
		int32_t		ids[MAX_IDS];
		EmbEncoded	r = encode(EMB_PROMPT_QUERY, "base", 4, true, ids, MAX_IDS);

		CHECK(r.n_ids == 6 && ids[3] == 18 && ids[4] == 19);
		r = encode(EMB_PROMPT_DOCUMENT, "base", 4, true, ids, MAX_IDS);
		CHECK(r.n_ids == 3 && ids[1] == 1);
	}
}

static void
test_pairs(void)
{
	static const int32_t want_ids[] = {2, 5, 6, 3, 7, 3};
	static const int32_t want_types[] = {0, 0, 0, 0, 1, 1};
	int32_t		ids[MAX_IDS],
				type_ids[MAX_IDS];
	EmbText		first = {"a b", 3, true, NULL};
	EmbText		second = {"c", 1, true, NULL};
	EmbEncoded	r;
	EmbError	err;

	CHECK(emb_model_encode_pair(model, &first, &second,
			&(EmbReading) {.ids = ids, .type_ids = type_ids, .max_ids = MAX_IDS}, &r, &err) == EMB_OK && r.n_ids == 6 &&
		  memcmp(ids, want_ids, sizeof(want_ids)) == 0 && memcmp(type_ids, want_types, sizeof(want_types)) == 0);
	CHECK(emb_model_encode_pair(model, &first, &second,
			&(EmbReading) {.ids = ids, .type_ids = type_ids, .max_ids = 5}, &r, &err) == EMB_OK && r.n_ids == 5 && r.truncated);
	CHECK(emb_model_encode_pair(model, &first, &second,
			&(EmbReading) {.ids = ids, .type_ids = type_ids, .max_ids = 2}, &r, &err) == EMB_ERR_INVALID_ARGUMENT);
}

/* A prefix either is not enough, or gives what the whole text gives. */
static void
test_prefixes(void)
{
	static const char text[] = "the database of \xC3\xA4\xC3\xB6 a, bb. search \xE6\x88\x91 the end of data, data and more of the same";
	size_t		len = sizeof(text) - 1;

	for (int prompt = EMB_PROMPT_NONE; prompt <= EMB_PROMPT_QUERY; prompt++)
	{
		int32_t		whole[MAX_IDS],
					ids[MAX_IDS];
		EmbEncoded	w = encode(prompt, text, len, true, whole, MAX_IDS);
		int			n_certain = 0;

		CHECK(w.truncated && w.n_ids == MAX_IDS && !w.need_more);
		for (size_t n = 0; n <= len; n++)
		{
			EmbEncoded	r;

			if (((unsigned char) text[n] & 0xC0) == 0x80)
				continue;
			r = encode(prompt, text, n, false, ids, MAX_IDS);
			if (r.need_more)
				continue;
			n_certain++;
			if (r.n_ids != w.n_ids || memcmp(ids, whole, sizeof(whole)) != 0 || !r.truncated)
				CHECKF(false, "prompt %d, %zu bytes", prompt, n);
		}
		CHECKF(n_certain > 0, "no prefix of %zu bytes is enough", len);
	}
}

/* A text of 10 MB behind a prompt costs what its first tokens cost. */
static void
test_long_text(void)
{
	size_t		len = 10 << 20;
	char	   *text = malloc(len);
	int32_t		ids[MAX_IDS];
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbEncoded	r;
	EmbError	err;

	for (size_t i = 0; i < len; i++)
		text[i] = i % 2 ? ' ' : 'a';
	CHECK(emb_model_encode(model, EMB_PROMPT_QUERY, &(EmbText) {text, len, true, NULL},
			&(EmbReading) {.ids = ids, .max_ids = MAX_IDS, .mem = &mem}, &r, &err) == EMB_OK &&
		  r.truncated && r.n_ids == MAX_IDS);
	CHECKF(count.n_live == 0 && count.peak_bytes < 100000, "%ld blocks, peak %zu", count.n_live, count.peak_bytes);

	/* one word: the tokenizer needs all of it */
	memset(text, 'a', len);
	CHECK(emb_model_encode(model, EMB_PROMPT_QUERY, &(EmbText) {text, len, true, NULL},
			&(EmbReading) {.ids = ids, .max_ids = MAX_IDS, .mem = &mem}, &r, &err) == EMB_OK);
	CHECKF(!r.truncated && !r.need_more && count.n_live == 0, "%d ids", r.n_ids);
	free(text);
}

/* A reader that counts, and fails where it is told to. */
typedef struct Pulled
{
	EmbText		whole;
	size_t		want_max;
	int			n_reads;
	int			fails_at;		/* 0: never */
} Pulled;

static EmbStatus
read_pulled(void *ctx, size_t want, EmbText *text, EmbError *err)
{
	Pulled	   *pulled = ctx;
	EmbTextReader inner = emb_text_reader(&pulled->whole);

	if (++pulled->n_reads == pulled->fails_at)
		return emb_error(err, EMB_ERR_IO, "no more");
	pulled->want_max = want > pulled->want_max ? want : pulled->want_max;
	return inner.read(inner.ctx, want, text, err);
}

/* A text is pulled as far as its ids need, behind a prompt as without one. */
static void
test_readers(void)
{
	size_t		len = 1 << 20;
	char	   *text = malloc(len);

	for (int prompt = EMB_PROMPT_NONE; prompt <= EMB_PROMPT_QUERY; prompt++)
	{
		for (int kind = 0; kind < 3; kind++)
		{
			int32_t		ids[MAX_IDS],
						want_ids[MAX_IDS];
			Pulled		pulled = {.whole = {text, len, true, NULL}};
			EmbTextReader reader = {&pulled, read_pulled};
			Count		count;
			EmbAllocator mem = counting_allocator(&count);
			EmbReading	to = {.ids = ids, .max_ids = MAX_IDS, .mem = &mem};
			EmbEncoded	want,
						r;
			EmbError	err;

			/* tokens at once; after 20,000 bytes of spaces; never */
			for (size_t i = 0; i < len; i++)
				text[i] = kind == 0 || (kind == 1 && i > 20000) ? "a "[i % 2] : ' ';
			want = encode(prompt, text, len, true, want_ids, MAX_IDS);
			CHECK(emb_model_read(model, prompt, &reader, &to, &r, &err) == EMB_OK && !r.need_more);
			CHECK(r.n_ids == want.n_ids && r.truncated == want.truncated && memcmp(ids, want_ids, r.n_ids * sizeof(int32_t)) == 0);
			CHECKF(pulled.n_reads == (kind == 0 ? 1 : kind == 1 ? 3 : 5) && (kind > 0 || pulled.want_max <= 8192),
				   "kind %d: %d reads, up to %zu", kind, pulled.n_reads, pulled.want_max);
			CHECK(count.n_live == 0);

			/* the reader's error is the call's */
			pulled.fails_at = pulled.n_reads;
			pulled.n_reads = 0;
			CHECK(emb_model_read(model, prompt, &reader, &to, &r, &err) == EMB_ERR_IO && strcmp(err.message, "no more") == 0);
			CHECK(count.n_live == 0);

			/* one that has no more for now is not asked for ever */
			pulled = (Pulled) {.whole = {text, 100, false, NULL}};
			CHECK(emb_model_read(model, prompt, &reader, &to, &r, &err) == EMB_OK && r.need_more == (kind != 0 || r.n_ids < MAX_IDS));
			CHECK(pulled.n_reads <= 2);
		}
	}
	free(text);
}

static void
test_bad_text(void)
{
	static const char *const bad[] = {"\xFF", "a\x80", "\xC3", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xC0\x80"};
	int32_t		ids[MAX_IDS];
	int64_t		n;
	EmbEncoded	r;
	EmbError	err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		for (int prompt = EMB_PROMPT_NONE; prompt <= EMB_PROMPT_QUERY; prompt++)
		{
			CHECKF(emb_model_encode(model, prompt, &(EmbText) {bad[i], strlen(bad[i]), true, NULL},
					&(EmbReading) {.ids = ids, .max_ids = MAX_IDS, .mem = &heap}, &r, &err) == EMB_ERR_TEXT,
				   "bad text %zu", i);
			CHECK(emb_model_count_tokens(model, prompt, bad[i], strlen(bad[i]), &heap, NULL, &n, &err) == EMB_ERR_TEXT);
		}
	}
	CHECK(emb_model_encode(model, EMB_PROMPT_NONE, &(EmbText) {"a", 1, true, NULL},
			&(EmbReading) {.ids = ids, .max_ids = 1, .mem = &heap}, &r, &err) == EMB_ERR_INVALID_ARGUMENT);
	CHECK(emb_model_encode(model, EMB_PROMPT_NONE, &(EmbText) {"a", 1, true, NULL},
			&(EmbReading) {.ids = ids, .max_ids = 2, .mem = &heap}, &r, &err) == EMB_OK && r.n_ids == 2 && r.truncated);
}

/* ---------------------------------------------------------------- embed */

#define N_SEQS 200

static int32_t all_ids[N_SEQS][MAX_IDS];
static EmbSequence seqs[N_SEQS];

/* Lengths 1 to 16; every fifth equals an earlier one. */
static void
make_sequences(void)
{
	uint32_t	state = 1;

	for (int i = 0; i < N_SEQS; i++)
	{
		seqs[i] = (EmbSequence) {.ids = all_ids[i], .n_ids = 1 + i % MAX_IDS};
		for (int k = 0; k < MAX_IDS; k++)
		{
			state = state * 1664525 + 1013904223;
			all_ids[i][k] = (int32_t) (state >> 16) % 24;
		}
		if (i % 5 == 4)
		{
			memcpy(all_ids[i], all_ids[i / 2], sizeof(all_ids[i]));
			seqs[i].n_ids = seqs[i / 2].n_ids;
		}
	}
}

static void
test_batches(void)
{
	static const int32_t budgets[] = {0, 1, 7, 16, 17, 100, 100000, INT32_MAX};
	static float alone[N_SEQS][DIM],
				together[N_SEQS][DIM];
	EmbError	err;

	for (int i = 0; i < N_SEQS; i++)
	{
		EmbRun		run = {.mem = &heap};

		if (emb_model_embed(model, &seqs[i], 1, &run, alone[i], &err) != EMB_OK)
			CHECKF(false, "%s", err.message);
	}
	for (size_t b = 0; b < sizeof(budgets) / sizeof(budgets[0]); b++)
	{
		Count		count;
		EmbAllocator mem = counting_allocator(&count);
		EmbRun		run = {.mem = &mem, .batch_tokens = budgets[b]};
		size_t		own = N_SEQS * 5 * sizeof(int32_t);	/* first and the hash table, which grow with the texts */
		size_t		scratch = scratch_bytes(model, budgets[b], MAX_IDS, 1);

		memset(together, 0, sizeof(together));
		CHECKF(emb_model_embed(model, seqs, N_SEQS, &run, &together[0][0], &err) == EMB_OK, "%s", err.message);
		CHECKF(memcmp(alone, together, sizeof(alone)) == 0, "batches of %d tokens give other bits", budgets[b]);
		CHECKF(count.n_live == 0 && count.peak_bytes <= scratch + own + (budgets[b] == 1 ? 4096 : 0),
			   "batches of %d tokens: %ld blocks, peak %zu, promised %zu", budgets[b], count.n_live, count.peak_bytes, scratch);
	}

	/* the rule, which callers that collect sequences share */
	CHECK(emb_batch_has_room(100, 0, 0, 1000) && emb_batch_has_room(100, 1, 90, 10) && !emb_batch_has_room(100, 1, 90, 11));
	CHECK(emb_batch_has_room(3, 2, 0, 0) && !emb_batch_has_room(3, 3, 0, 0));
	CHECK(emb_batch_has_room(0, 1, EMB_BATCH_TOKENS_DEFAULT - 1, 1) && !emb_batch_has_room(0, 1, EMB_BATCH_TOKENS_DEFAULT, 1));
	CHECK(!emb_batch_has_room(INT32_MAX, 1, INT32_MAX, INT32_MAX));

	/* reversed */
	{
		static EmbSequence reversed[N_SEQS];
		EmbRun		run = {.mem = &heap, .batch_tokens = 50};
		int			n_wrong = 0;

		for (int i = 0; i < N_SEQS; i++)
			reversed[i] = seqs[N_SEQS - 1 - i];
		CHECK(emb_model_embed(model, reversed, N_SEQS, &run, &together[0][0], &err) == EMB_OK);
		for (int i = 0; i < N_SEQS; i++)
			n_wrong += memcmp(alone[i], together[N_SEQS - 1 - i], sizeof(alone[i])) != 0;
		CHECKF(n_wrong == 0, "%d of %d", n_wrong, N_SEQS);
	}
}

/* Every level the CPU has gives the same bits. */
static void
test_levels(void)
{
	static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon", "auto"};
	static float first[N_SEQS][DIM],
				other[N_SEQS][DIM];
	EmbRun		run = {.mem = &heap};
	EmbError	err;

	CHECK(emb_isa_select("scalar", &err) == EMB_OK);
	CHECK(emb_model_embed(model, seqs, N_SEQS, &run, &first[0][0], &err) == EMB_OK);
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
	{
		CHECK(emb_isa_is_known(levels[i]));
		if (!emb_isa_is_available(levels[i]))
		{
			CHECK(emb_isa_select(levels[i], &err) == EMB_ERR_UNSUPPORTED);
			continue;
		}
		CHECK(emb_isa_select(levels[i], &err) == EMB_OK);
		CHECK(emb_model_embed(model, seqs, N_SEQS, &run, &other[0][0], &err) == EMB_OK);
		CHECKF(memcmp(first, other, sizeof(first)) == 0, "level %s", levels[i]);
	}
	CHECK(!emb_isa_is_known("sse9") && emb_isa_select("sse9", &err) == EMB_ERR_INVALID_ARGUMENT);
}

static bool
stop_after(void *ctx)
{
	return --*(int *) ctx < 0;
}

static void
test_failures(void)
{
	static float out[N_SEQS][DIM];
	int32_t		ids[MAX_IDS + 1] = {0};
	EmbSequence empty = {.ids = ids, .n_ids = 0};
	EmbSequence too_long = {.ids = ids, .n_ids = MAX_IDS + 1};
	EmbSequence strange = {.ids = ids, .n_ids = 3};
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbRun		run = {.mem = &mem};
	int			n_left;
	EmbStop		stop = {.ctx = &n_left, .should_stop = stop_after};
	EmbStatus	status = EMB_ERR_NOMEM;
	EmbError	err;

	CHECK(emb_model_embed(model, seqs, 0, &run, NULL, &err) == EMB_OK);
	CHECK(emb_model_embed(model, seqs, -1, &run, NULL, &err) == EMB_ERR_INVALID_ARGUMENT);
	CHECK(emb_model_embed(model, &empty, 1, &run, &out[0][0], &err) == EMB_ERR_INVALID_ARGUMENT);
	CHECK(emb_model_embed(model, &too_long, 1, &run, &out[0][0], &err) == EMB_ERR_INVALID_ARGUMENT);
	ids[1] = 24;
	CHECK(emb_model_embed(model, &strange, 1, &run, &out[0][0], &err) == EMB_ERR_INVALID_ARGUMENT);
	ids[1] = -1;
	CHECK(emb_model_embed(model, &strange, 1, &run, &out[0][0], &err) == EMB_ERR_INVALID_ARGUMENT);
	CHECK(count.n_live == 0);

	run.stop = &stop;
	run.batch_tokens = 16;
	for (int i = 0; i < 50; i++)
	{
		n_left = i;
		if (emb_model_embed(model, seqs, N_SEQS, &run, &out[0][0], &err) != EMB_ERR_CANCELLED || count.n_live != 0)
			CHECKF(false, "stop after %d: %ld blocks left", i, count.n_live);
	}
	run.stop = NULL;
	for (int i = 0; status != EMB_OK && i < 1000; i++)
	{
		count.fail_after = i;
		status = emb_model_embed(model, seqs, 5, &run, &out[0][0], &err);
		if ((status != EMB_OK && status != EMB_ERR_NOMEM) || count.n_live != 0)
			CHECKF(false, "allocation %d failing: status %d, %ld blocks left", i, status, count.n_live);
	}
	CHECK(status == EMB_OK);
}

/* ----------------------------------------------------------- references */

static void
test_references(bool is_exact)
{
	int32_t		n = emb_model_n_references(model);
	EmbRun		run = {.mem = &heap};
	EmbReferenceCheck check;
	EmbError	err;
	int			n_wrong = 0;
	float		lowest = 1;

	CHECK(n >= 16 && n <= 64);
	for (int32_t i = 0; i < n; i++)
	{
		if (!CHECKF(emb_model_check_reference(model, i, &run, &check, &err) == EMB_OK, "%s", err.message))
			return;
		n_wrong += !check.ids_equal || !check.bits_equal || check.closeness != check.closeness_expected ||
			check.n_tokens < 2 || check.n_tokens > MAX_IDS || check.text_bytes < 0;
		lowest = check.closeness < lowest ? check.closeness : lowest;
	}
	CHECKF(n_wrong == 0, "%d of %d references", n_wrong, n);
	/* 8 dimensions and random weights: far coarser than a real model */
	CHECKF(is_exact ? lowest > 0.999999f : lowest > 0.97f, "%g", lowest);
	CHECK(emb_model_check_reference(model, -1, &run, &check, &err) == EMB_ERR_INVALID_ARGUMENT);
	CHECK(emb_model_check_reference(model, n, &run, &check, &err) == EMB_ERR_INVALID_ARGUMENT);
}

/* What the replay is for: an image whose weights changed says so. */
static void
test_changed_image(void)
{
	EmbImageView view;
	EmbRun		run = {.mem = &heap};
	EmbReferenceCheck check;
	EmbError	err;
	const EmbImageTensor *t;
	float	   *beta;

	CHECK(emb_image_view(image.data, image.size_bytes, &view, &err) == EMB_OK);
	t = emb_image_find(&view, 1, EMB_PART_FFN_NORM, EMB_TENSOR_BETA);
	beta = (float *) (image.data + t->offset);
	beta[0] += 0.25f;
	CHECK(emb_model_check_reference(model, 3, &run, &check, &err) == EMB_OK);
	CHECK(check.ids_equal && !check.bits_equal && check.closeness < check.closeness_expected);
	beta[0] -= 0.25f;
	CHECK(emb_model_check_reference(model, 3, &run, &check, &err) == EMB_OK && check.bits_equal);
}

/* Imported on scalar or on the best level: the same image. */
static void
test_import_levels(void)
{
	static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512vnni"};
	SmallModel	m = small_model();
	EmbError	err;

	write_small_model(fresh_dir(), &m);
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
	{
		EmbImportOptions options = {.query_prompt = "query: data", .document_prompt = ""};
		Image		other;

		if (emb_isa_select(levels[i], &err) != EMB_OK)
			continue;
		CHECK(import_image(temp_root, &options, &heap, &other, &err) == EMB_OK);
		CHECKF(other.size_bytes == image.size_bytes && memcmp(other.data, image.data, image.size_bytes) == 0,
			   "level %s", levels[i]);
		free(other.data);
	}
	CHECK(emb_isa_select("auto", &err) == EMB_OK);
}

static void
test_threads(void)
{
	static float one[N_SEQS][DIM],
				two[N_SEQS][DIM];
	EmbRun		run = {.mem = &heap};
	EmbError	err;

	CHECK(emb_threads_available() >= 1);
	CHECK(emb_model_embed(model, seqs, N_SEQS, &run, &one[0][0], &err) == EMB_OK);
	run.n_threads = 2;
	CHECK(emb_model_embed(model, seqs, N_SEQS, &run, &two[0][0], &err) == EMB_OK);
	CHECK(memcmp(one, two, sizeof(one)) == 0);
	emb_threads_stop();
	CHECK(emb_model_embed(model, seqs, N_SEQS, &run, &two[0][0], &err) == EMB_OK);
	CHECK(memcmp(one, two, sizeof(one)) == 0);
	emb_threads_stop();
}

/* All word embeddings of the largest float: sums overflow, which must be said. */
static void
test_overflow(void)
{
	SmallModel	m = small_model();
	EmbRun		run = {.mem = &heap};
	const EmbImageTensor *t;
	EmbImportOptions options = {.precision = "fp32"};
	EmbImageView view;
	EmbModel   *huge;
	Image		copy;
	float		out[DIM];
	EmbError	err;

	write_small_model(fresh_dir(), &m);
	CHECK(import_image(temp_root, &options, &heap, &copy, &err) == EMB_OK && emb_image_view(copy.data, copy.size_bytes, &view, &err) == EMB_OK);
	t = emb_image_find(&view, EMB_NO_LAYER, EMB_PART_WORDS, EMB_TENSOR_TABLE);
	for (uint32_t i = 0; i < t->n_rows * t->n_cols; i++)
		((float *) (copy.data + t->offset))[i] = i % 2 ? 3e38f : -3e38f;
	CHECK(emb_model_open(copy.data, copy.size_bytes, EMB_OPEN_CHECK_ALL, &heap, NULL, &huge, &err) == EMB_OK);
	CHECKF(emb_model_embed(huge, &seqs[3], 1, &run, out, &err) == EMB_ERR_LIMIT && strstr(err.message, "finite") != NULL,
		   "%s", err.message);
	emb_model_close(huge);
	free(copy.data);
}

static void
test_vectors(void)
{
	float		x[3] = {3, 0, 4};
	float		y[3] = {-3, 0, -4};
	float		zero[3] = {0, 0, 0};

	CHECK(emb_cosine(x, x, 3) == 1 && emb_cosine(x, y, 3) == -1 && emb_cosine(x, zero, 3) == 0);
	emb_normalize(x, 3);
	CHECK(x[0] > 0.59999f && x[0] < 0.60001f && x[2] > 0.79999f && x[2] < 0.80001f);
	emb_normalize(zero, 3);
	CHECK(zero[0] == 0 && zero[2] == 0);
}

int
main(void)
{
	heap = emb_malloc_allocator();
	test_names();
	test_vectors();
	make_sequences();
	for (int is_exact = 0; is_exact < 2; is_exact++)
	{
		open_small(is_exact ? "fp32" : "int8", "query: data", "");
		test_prompts();
		test_pairs();
		test_prefixes();
		test_long_text();
		test_readers();
	test_bad_text();
		test_batches();
		test_levels();
		test_failures();
		test_references(is_exact);
		test_changed_image();
		test_threads();
		if (!is_exact)
			test_import_levels();
		close_small();
	}
	test_overflow();
	return done_testing();
}
