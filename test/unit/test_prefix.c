/*
 * test_prefix.c
 *		A prefix that texts share: the bits are those of whole texts, for every
 *		split and length, in fp32 and int8, on every level and number of
 *		threads; what a call and a memo share, and forget.
 */
#include <math.h>

#include "unit.h"

#include "model/prefix_memo.h"
#include "tiny_i8.h"
#include "tiny_qwen.h"

#define N_IDS	2100

static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon"};
#define N_LEVELS ((int) (sizeof(levels) / sizeof(levels[0])))

static int32_t ids[N_IDS];
static uint32_t state = 20261130;

static uint32_t
next_random(void)
{
	state = state * 1664525 + 1013904223;
	return state >> 8;
}

/* malloc that counts what is out, and refuses an allocation. */
typedef struct Counter
{
	int			n_live;
	int			n_calls;
	int			fail_at;		/* from 1; 0: none */
} Counter;

static void *
counting_alloc(void *ctx, size_t size)
{
	Counter    *c = ctx;
	EmbAllocator mem = emb_malloc_allocator();

	if (++c->n_calls == c->fail_at)
		return NULL;
	c->n_live++;
	return emb_alloc(&mem, size);
}

static void
counting_release(void *ctx, void *p)
{
	EmbAllocator mem = emb_malloc_allocator();

	((Counter *) ctx)->n_live -= p != NULL;
	emb_release(&mem, p);
}

/* ------------------------------------------------------- the transformer */

/* The row of ids [n]. */
static void
run_whole(const EmbTransformer *t, int32_t n, int n_threads, float *out)
{
	EmbAllocator mem = emb_malloc_allocator();
	const int32_t offsets[] = {0, n};
	EmbBatch	batch = {.n_seqs = 1, .offsets = offsets, .ids = ids};
	EmbError	err = {0};

	CHECKF(emb_transformer_run(t, emb_kernels(), &batch, n_threads, &mem, NULL, out, &err) == EMB_OK, "%s", err.message);
}

/* The same behind a prefix of n_prefix tokens. */
static void
run_behind(const EmbTransformer *t, const EmbPrefix *prefix, int32_t n_prefix, int32_t n, int n_threads, float *out)
{
	EmbAllocator mem = emb_malloc_allocator();
	const int32_t offsets[] = {0, n - n_prefix};
	EmbBatch	batch = {.n_seqs = 1, .offsets = offsets, .ids = ids + n_prefix, .prefix = prefix, .n_prefix = n_prefix};
	EmbError	err = {0};

	CHECKF(emb_transformer_run(t, emb_kernels(), &batch, n_threads, &mem, NULL, out, &err) == EMB_OK, "%s", err.message);
}

static EmbPrefix *
make_prefix(const EmbTransformer *t, int32_t n, int n_pieces, int n_threads)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbPrefix  *prefix = emb_prefix_create(t, n, &mem);
	EmbError	err = {0};

	for (int i = 0; i < n_pieces; i++)
	{
		int32_t		begin = n * i / n_pieces;
		int32_t		end = n * (i + 1) / n_pieces;

		if (begin < end)
			CHECKF(emb_transformer_extend_prefix(t, emb_kernels(), prefix, ids + begin, end - begin, n_threads, &mem, NULL, &err) == EMB_OK,
				   "%s", err.message);
	}
	CHECK(prefix->n_tokens == n);
	return prefix;
}

/* Every split of short texts, and some of long ones. */
static void
check_splits(const Tiny *tiny, const EmbTransformer *t, const char *form, const int32_t *lengths, int n_lengths)
{
	EmbAllocator mem = emb_malloc_allocator();
	size_t		row = tiny->arch.hidden * sizeof(float);
	float		whole[256],
				behind[256];

	for (int i = 0; i < n_lengths; i++)
	{
		int32_t		n = lengths[i];
		int			n_same = 0;
		int			n_splits = 0;
		EmbPrefix  *prefix;

		run_whole(t, n, 1, whole);
		if (n < 2)
			continue;
		prefix = make_prefix(t, n - 1, 1 + i % 3, 1 + i % 2);
		for (int32_t split = 1; split < n; split += n < 40 ? 1 : n < 200 ? 7 : n / 3 - 1)
		{
			run_behind(t, prefix, split, n, 1 + n_splits % 3, behind);
			n_same += memcmp(whole, behind, row) == 0;
			n_splits++;
		}
		run_behind(t, prefix, n - 1, n, 1, behind);
		n_same += memcmp(whole, behind, row) == 0;
		CHECKF(n_same == n_splits + 1, "%s in %s on %s: %d tokens: %d of %d splits have the bits of the whole text",
			   tiny->dir, form, emb_kernels_name(), n, n_same, n_splits + 1);
		emb_prefix_free(&mem, prefix);
	}
}

/* Several texts of different lengths behind one prefix, as one batch. */
static void
check_batch(const Tiny *tiny, const EmbTransformer *t, const char *form)
{
	enum {N_TEXTS = 9, N_PREFIX = 45};
	EmbAllocator mem = emb_malloc_allocator();
	size_t		hidden = tiny->arch.hidden;
	EmbPrefix  *prefix = make_prefix(t, N_PREFIX, 2, 2);
	float	   *out = malloc(N_TEXTS * hidden * sizeof(float));
	int32_t		offsets[N_TEXTS + 1] = {0};
	int32_t    *all = malloc(N_TEXTS * 200 * sizeof(int32_t));
	float		whole[256];

	for (int i = 0; i < N_TEXTS; i++)
	{
		offsets[i + 1] = offsets[i] + 1 + i * i * 2;
		memcpy(all + offsets[i], ids + N_PREFIX, (offsets[i + 1] - offsets[i]) * sizeof(int32_t));
	}
	for (int n_threads = 1; n_threads <= 4; n_threads++)
	{
		EmbBatch	batch = {.n_seqs = N_TEXTS, .offsets = offsets, .ids = all, .prefix = prefix, .n_prefix = N_PREFIX};
		EmbError	err = {0};
		int			n_same = 0;

		CHECKF(emb_transformer_run(t, emb_kernels(), &batch, n_threads, &mem, NULL, out, &err) == EMB_OK, "%s", err.message);
		for (int i = 0; i < N_TEXTS; i++)
		{
			run_whole(t, N_PREFIX + offsets[i + 1] - offsets[i], 1, whole);
			n_same += memcmp(whole, out + i * hidden, hidden * sizeof(float)) == 0;
		}
		CHECKF(n_same == N_TEXTS, "%s in %s, %d threads: %d of %d texts", tiny->dir, form, n_threads, n_same, N_TEXTS);
	}
	emb_prefix_free(&mem, prefix);
	free(out);
	free(all);
}

static bool
always_stop(void *ctx)
{
	(void) ctx;
	return true;
}

/* What is malformed or stopped leaves the prefix as it was. */
static void
check_errors(const Tiny *tiny, const EmbTransformer *t)
{
	Counter		counter = {0};
	EmbAllocator mem = {&counter, counting_alloc, counting_release};
	EmbStop		stop = {.should_stop = always_stop};
	EmbPrefix  *prefix = emb_prefix_create(t, 20, &mem);
	const int32_t offsets[] = {0, tiny->arch.n_positions};
	int32_t    *many = calloc(tiny->arch.n_positions, sizeof(int32_t));
	EmbBatch	batch = {.n_seqs = 1, .offsets = offsets, .ids = many, .prefix = prefix, .n_prefix = 5};
	Tiny		other = *tiny;
	EmbTransformer bidirectional = *t;
	float		out[256];
	EmbError	err = {0};
	int32_t		wrong = tiny->arch.n_vocab;

	CHECK(emb_transformer_extend_prefix(t, emb_kernels(), prefix, ids, 5, 1, &mem, NULL, &err) == EMB_OK);
	CHECK(emb_transformer_extend_prefix(t, emb_kernels(), prefix, ids, 16, 1, &mem, NULL, &err) == EMB_ERR_INVALID_ARGUMENT);
	CHECK(emb_transformer_extend_prefix(t, emb_kernels(), prefix, &wrong, 1, 1, &mem, NULL, &err) == EMB_ERR_INVALID_ARGUMENT);
	CHECK(emb_transformer_extend_prefix(t, emb_kernels(), prefix, ids, 5, 1, &mem, &stop, &err) == EMB_ERR_CANCELLED);
	counter.fail_at = counter.n_calls + 1;
	CHECK(emb_transformer_extend_prefix(t, emb_kernels(), prefix, ids, 5, 1, &mem, NULL, &err) == EMB_ERR_NOMEM);
	CHECK(prefix->n_tokens == 5);
	/* a text and its prefix have at most the model's positions; a prefix is not longer than it is */
	CHECK(emb_transformer_run(t, emb_kernels(), &batch, 1, &mem, NULL, out, &err) == EMB_ERR_INVALID_ARGUMENT);
	batch.n_prefix = 6;
	CHECK(emb_transformer_run(t, emb_kernels(), &batch, 1, &mem, NULL, out, &err) == EMB_ERR_INVALID_ARGUMENT);
	batch.n_prefix = 5;
	other.arch.is_causal = 0;
	bidirectional.arch = &other.arch;
	CHECK(!emb_prefix_is_possible(&other.arch));
	CHECK(emb_transformer_run(&bidirectional, emb_kernels(), &batch, 1, &mem, NULL, out, &err) == EMB_ERR_INVALID_ARGUMENT);
	emb_prefix_free(&mem, prefix);
	CHECK(counter.n_live == 0);
	free(many);
}

/* -------------------------------------------------------------- the model */

#define N_DOCUMENTS	12
#define N_QUERY		61

/* A model around a transformer, as far as compute.c reads it. */
static EmbModel
model_around(const Tiny *tiny, const TinyQwen *q, const EmbTransformer *t, const EmbImageConfig *config, uint64_t serial)
{
	return (EmbModel) {
		.serial = serial,
		.view = {.arch = &tiny->arch, .config = config},
		.info = {.kind = EMB_KIND_RERANKER, .dim = 1, .max_tokens = tiny->arch.n_positions},
		.transformer = *t,
		.head = q->head
	};
}

/* One query with documents of many lengths; two of them are equal. */
static void
make_pairs(int32_t *pairs, EmbSequence *seqs, int query)
{
	for (int i = 0; i < N_DOCUMENTS; i++)
	{
		int32_t    *pair = pairs + i * N_IDS / N_DOCUMENTS;
		int32_t		n = 3 + i * 9;

		for (int k = 0; k < N_QUERY; k++)
			pair[k] = k < 40 ? ids[k] : ids[k + 100 * query];
		for (int k = 0; k < n; k++)
			pair[N_QUERY + k] = ids[1000 + k + (i == 7 ? 3 : i)];
		seqs[i] = (EmbSequence) {.ids = pair, .n_ids = N_QUERY + (i == 7 ? 3 + 3 * 9 : n), .n_shared = N_QUERY};
	}
}

static void
rerank(const EmbModel *model, const EmbSequence *seqs, int n, const EmbRun *run, float *logits)
{
	EmbError	err = {0};

	CHECKF(emb_model_rerank(model, seqs, n, run, logits, &err) == EMB_OK, "%s", err.message);
}

/* Arrays, and row by row; with and without a memo; the counts of reused tokens. */
static void
check_calls(const EmbModel *model, const EmbModel *other)
{
	Counter		counter = {0};
	EmbAllocator mem = {&counter, counting_alloc, counting_release};
	int64_t		n_reused = 0;
	EmbPrefixMemo *memo = emb_prefix_memo_create(&mem);
	static int32_t pairs[2][N_IDS];
	EmbSequence seqs[2][N_DOCUMENTS];
	float		whole[2][N_DOCUMENTS],
				logits[N_DOCUMENTS];
	size_t		empty_bytes = emb_prefix_memo_bytes(memo);

	for (int query = 0; query < 2; query++)
	{
		make_pairs(pairs[query], seqs[query], query);
		for (int i = 0; i < N_DOCUMENTS; i++)
			rerank(model, &seqs[query][i], 1, &(EmbRun) {.mem = &mem}, &whole[query][i]);
	}
	CHECK(whole[0][7] == whole[0][3] && whole[0][4] != whole[0][3]);
	for (int n_threads = 1; n_threads <= 3; n_threads++)
		for (int batch_tokens = 0; batch_tokens <= 300; batch_tokens += 150)
		{
			EmbRun		run = {.mem = &mem, .n_threads = n_threads, .batch_tokens = batch_tokens, .n_reused = &n_reused};

			n_reused = 0;
			rerank(model, seqs[0], N_DOCUMENTS, &run, logits);
			CHECKF(memcmp(logits, whole[0], sizeof(logits)) == 0, "%d threads, batches of %d", n_threads, batch_tokens);
			/* 11 distinct pairs, one of which paid for the prefix */
			CHECKF(n_reused == 10 * N_QUERY, "%lld tokens reused", (long long) n_reused);
		}
	/* both queries in one call: they share the template */
	{
		EmbSequence both[2] = {seqs[0][5], seqs[1][5]};
		EmbRun		run = {.mem = &mem, .n_reused = &n_reused};

		n_reused = 0;
		rerank(model, both, 2, &run, logits);
		CHECK(logits[0] == whole[0][5] && logits[1] == whole[1][5] && n_reused == 40);
	}
	/* row by row: the second row shows that rows begin alike, all rows after it profit */
	for (int query = 0; query < 2; query++)
	{
		EmbRun		run = {.mem = &mem, .memo = memo, .n_reused = &n_reused};

		n_reused = 0;
		for (int i = 0; i < N_DOCUMENTS; i++)
			rerank(model, &seqs[query][i], 1, &run, &logits[i]);
		CHECKF(memcmp(logits, whole[query], sizeof(logits)) == 0, "query %d row by row", query);
		/* query 1 begins with the template of query 0: rows 0 and 1 have it already, row 1 computes the rest */
		CHECKF(n_reused == (query == 0 ? 10 * N_QUERY : 40 + 40 + 10 * N_QUERY), "query %d: %lld tokens reused", query, (long long) n_reused);
		CHECK(emb_prefix_memo_bytes(memo) > empty_bytes);
	}
	/* a memo serves one model */
	{
		EmbRun		run = {.mem = &mem, .memo = memo};
		float		alone;

		rerank(other, &seqs[1][2], 1, &(EmbRun) {.mem = &mem}, &alone);
		CHECK(alone != whole[1][2]);
		for (int i = 0; i < 3; i++)
		{
			rerank(other, &seqs[1][2], 1, &run, logits);
			CHECK(logits[0] == alone);
			rerank(model, &seqs[1][2], 1, &run, logits);
			CHECK(logits[0] == whole[1][2]);
		}
	}
	emb_prefix_memo_free(memo);
	CHECKF(counter.n_live == 0, "%d blocks are left", counter.n_live);
}

/* A model in which tokens see later ones shares nothing, whatever its sequences say. */
static void
check_bidirectional(const Tiny *tiny, const EmbModel *model)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbPrefixMemo *memo = emb_prefix_memo_create(&mem);
	size_t		empty_bytes = emb_prefix_memo_bytes(memo);
	int64_t		n_reused = 0;
	EmbRun		run = {.mem = &mem, .memo = memo, .n_reused = &n_reused};
	Tiny		other = *tiny;
	EmbModel	bidirectional = *model;
	static int32_t pairs[N_IDS];
	EmbSequence seqs[N_DOCUMENTS];
	float		shared[N_DOCUMENTS],
				alone;

	other.arch.is_causal = 0;
	bidirectional.transformer.arch = bidirectional.view.arch = &other.arch;
	make_pairs(pairs, seqs, 0);
	rerank(&bidirectional, seqs, N_DOCUMENTS, &run, shared);
	rerank(&bidirectional, seqs, N_DOCUMENTS, &run, shared);
	for (int i = 0; i < N_DOCUMENTS; i++)
	{
		seqs[i].n_shared = 0;
		rerank(&bidirectional, &seqs[i], 1, &run, &alone);
		CHECK(alone == shared[i]);
	}
	CHECK(n_reused == 0 && emb_prefix_memo_bytes(memo) == empty_bytes);
	emb_prefix_memo_free(memo);
}

/* Each allocation fails in turn: an error and no leak, or the right bits. */
static void
check_faults(const EmbModel *model)
{
	static int32_t pairs[N_IDS];
	EmbSequence seqs[N_DOCUMENTS];
	float		whole[N_DOCUMENTS],
				logits[N_DOCUMENTS];
	EmbAllocator plain = emb_malloc_allocator();
	int			n_failed = 0;
	int			n_done = 0;

	make_pairs(pairs, seqs, 0);
	rerank(model, seqs, 4, &(EmbRun) {.mem = &plain}, whole);
	for (int fail_at = 1; n_done < 2; fail_at++)
	{
		Counter		counter = {.fail_at = fail_at};
		EmbAllocator mem = {&counter, counting_alloc, counting_release};
		EmbPrefixMemo *memo = emb_prefix_memo_create(&mem);
		EmbRun		run = {.mem = &mem, .memo = memo};
		EmbError	err = {0};
		EmbStatus	status = EMB_OK;

		for (int call = 0; memo != NULL && status == EMB_OK && call < 2; call++)
		{
			status = emb_model_rerank(model, seqs, 4, &run, logits, &err);
			CHECK(status == EMB_OK ? memcmp(logits, whole, 4 * sizeof(float)) == 0 : status == EMB_ERR_NOMEM && err.message[0] != '\0');
		}
		n_failed += memo == NULL || status != EMB_OK;
		n_done += counter.n_calls < fail_at;
		emb_prefix_memo_free(memo);
		CHECKF(counter.n_live == 0, "allocation %d: %d blocks are left", fail_at, counter.n_live);
	}
	CHECK(n_failed > 5);
}

/* A window, in two layers of three. Rows depend on what is in it, so the bits are not those of the model without. */
static void
check_window(Tiny *t, TinyI8 *i8, const int32_t *lengths, int n_lengths)
{
	static const int32_t windows[] = {1, 15, 16, 40, 700, 5000};
	static const int32_t far[] = {2047, 2049};
	float		plain[256],
				windowed[256];

	for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++)
	{
		run_whole(&t->transformer, 100, 1, plain);
		t->arch.window = windows[i];
		t->arch.global_every = 3;
		t->arch.global_first = 2;
		t->transformer.rotary_local = t->transformer.rotary;
		i8->transformer.rotary_local = i8->transformer.rotary;
		run_whole(&t->transformer, 100, 1, windowed);
		CHECKF((memcmp(plain, windowed, t->arch.hidden * sizeof(float)) == 0) == (windows[i] >= 100), "a window of %d", windows[i]);
		check_splits(t, &t->transformer, "fp32 with a window", lengths, n_lengths);
		check_splits(t, &i8->transformer, "int8 with a window", lengths, n_lengths);
		/* more keys than a segment of int8's weights has */
		if (windows[i] == 700)
		{
			check_splits(t, &t->transformer, "fp32 with a window", far, 2);
			check_splits(t, &i8->transformer, "int8 with a window", far, 2);
		}
		t->arch.window = t->arch.global_every = t->arch.global_first = 0;
		t->transformer.rotary_local = i8->transformer.rotary_local = NULL;
	}
}

int
main(void)
{
	static const int32_t around[] = {1, 2, 3, 15, 16, 17, 18, 31, 32, 33, 47, 48, 49, 63, 64, 65, 79, 80, 81, 94, 95, 96, 97, 98, 99, 100};
	static const int32_t few[] = {2, 17, 33, 96, 100};
	static const int32_t far[] = {2047, 2048, 2049};
	static const EmbImageConfig config;
	static Tiny t;
	static TinyQwen q;
	static TinyI8 i8;
	char		dir[512];
	EmbModel	exact,
				rounded;

	snprintf(dir, sizeof(dir), "%s/tiny/qwen3-rerank", data_dir());
	if (!qwen_open(&t, &q, dir))
	{
		CHECKF(false, "%s is missing", dir);
		return done_testing();
	}
	quantize(&t, &i8);
	for (int i = 0; i < N_IDS; i++)
		ids[i] = (int32_t) (next_random() % (uint32_t) t.arch.n_vocab);
	for (int i = 0; i < N_LEVELS; i++)
	{
		char		why[128];

		if (emb_kernels_select(levels[i], NULL) != EMB_OK)
		{
			snprintf(why, sizeof(why), "level %s is not available here", levels[i]);
			skip(why);
			continue;
		}
		check_splits(&t, &t.transformer, "fp32", few, sizeof(few) / sizeof(few[0]));
		check_splits(&t, &i8.transformer, "int8", few, sizeof(few) / sizeof(few[0]));
	}
	emb_kernels_select("auto", NULL);
	check_splits(&t, &t.transformer, "fp32", around, sizeof(around) / sizeof(around[0]));
	check_splits(&t, &i8.transformer, "int8", around, sizeof(around) / sizeof(around[0]));
	check_splits(&t, &t.transformer, "fp32", far, sizeof(far) / sizeof(far[0]));
	check_splits(&t, &i8.transformer, "int8", far, sizeof(far) / sizeof(far[0]));
	check_window(&t, &i8, around, sizeof(around) / sizeof(around[0]));
	check_batch(&t, &t.transformer, "fp32");
	check_batch(&t, &i8.transformer, "int8");
	check_errors(&t, &t.transformer);
	check_errors(&t, &i8.transformer);
	exact = model_around(&t, &q, &t.transformer, &config, 1);
	rounded = model_around(&t, &q, &i8.transformer, &config, 2);
	check_calls(&exact, &rounded);
	check_calls(&rounded, &exact);
	check_bidirectional(&t, &rounded);
	check_faults(&rounded);
	tiny_close(&t);
	return done_testing();
}
