/*
 * test_encoder.c
 *		The transformer against transformers, against itself in other batches
 *		and on other levels, and when stopped.
 */
#include <math.h>

#include "unit.h"

#include "tiny_bert.h"

/* goldens/README.md: ten times the distance of two runs by transformers itself. */
#define EMBEDDING_TOLERANCE	2e-6
#define HIDDEN_TOLERANCE	3e-5

static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512vnni"};
#define N_LEVELS ((int) (sizeof(levels) / sizeof(levels[0])))

/* malloc that counts what is out, and the most there was since nothing was. */
typedef struct Counter
{
	int			n_live;
	size_t		bytes;
	size_t		bytes_max;
	int			fail_at;		/* the allocation to refuse, from 1; 0: none */
	int			n_calls;
} Counter;

static void *
counting_alloc(void *ctx, size_t size)
{
	Counter    *c = ctx;
	EmbAllocator mem = emb_malloc_allocator();

	if (++c->n_calls == c->fail_at)
		return NULL;
	c->n_live++;
	c->bytes += size;
	if (c->bytes > c->bytes_max)
		c->bytes_max = c->bytes;
	return emb_alloc(&mem, size);
}

static void
counting_release(void *ctx, void *p)
{
	EmbAllocator mem = emb_malloc_allocator();

	Counter    *c = ctx;

	if (p != NULL && --c->n_live == 0)
		c->bytes = 0;
	emb_release(&mem, p);
}

/* Stops at the n-th question. */
typedef struct StopAt
{
	int			n_asked;
	int			stop_at;		/* 0: never */
} StopAt;

static bool
stop_at(void *ctx)
{
	StopAt	   *s = ctx;

	return ++s->n_asked == s->stop_at;
}

/* Of the batches below. */
static int32_t n_threads = 1;

static EmbStatus
run_batch(const Tiny *t, const int *order, int n, float *out, EmbStop *stop, Counter *counter, EmbError *err)
{
	int32_t    *offsets = malloc((n + 1) * sizeof(int32_t));
	int32_t    *ids;
	int32_t		n_ids = 0;
	EmbAllocator mem = {counter, counting_alloc, counting_release};
	EmbBatch	batch = {.n_seqs = n, .offsets = offsets};
	EmbStatus	status;

	offsets[0] = 0;
	for (int i = 0; i < n; i++)
		offsets[i + 1] = offsets[i] + t->inputs[order[i]].n_ids;
	ids = malloc(offsets[n] * sizeof(int32_t) + 1);
	for (int i = 0; i < n; i++)
		for (int k = 0; k < t->inputs[order[i]].n_ids; k++)
			ids[n_ids++] = t->inputs[order[i]].ids[k];
	batch.ids = ids;
	status = emb_transformer_run(&t->transformer, emb_kernels(), &batch, n_threads, &mem, stop, out, err);
	free(ids);
	free(offsets);
	return status;
}

/* All inputs, in their order, as one batch. */
static float *
run_all(const Tiny *t)
{
	int			order[TINY_INPUTS_MAX];
	Counter		counter = {0};
	EmbError	err = {0};
	float	   *out = malloc((size_t) t->n_inputs * t->arch.hidden * sizeof(float));

	for (int i = 0; i < t->n_inputs; i++)
		order[i] = i;
	CHECKF(run_batch(t, order, t->n_inputs, out, NULL, &counter, &err) == EMB_OK, "%s", err.message);
	CHECK(counter.n_live == 0);
	return out;
}

static double
max_difference(const float *a, const float *b, size_t n)
{
	double		max = 0;

	for (size_t i = 0; i < n; i++)
	{
		double		d = fabs((double) a[i] - b[i]);

		if (!(d <= max))
			max = d;			/* a NaN too */
	}
	return max;
}

static void
check_goldens(const Tiny *t)
{
	float	   *out = run_all(t);
	double		d = max_difference(out, t->embeddings, (size_t) t->n_inputs * t->arch.hidden);

	printf("# %s: %d texts, embeddings off by %.2g on %s\n", t->dir, t->n_inputs, d, emb_kernels_name());
	CHECKF(t->n_inputs > 10 && d <= EMBEDDING_TOLERANCE, "%s: off by %g", t->dir, d);
	free(out);
}

typedef struct Observed
{
	const Tiny *tiny;
	const float *golden;		/* [n_layers + 1, n_ids, hidden] */
	int32_t		n_ids;
	int			n_rows[5];		/* by EmbObservePoint */
	double		max;
} Observed;

static void
observe(void *ctx, EmbObservePoint point, int32_t layer, int32_t first, int32_t n_rows, const float *rows, size_t stride)
{
	Observed   *o = ctx;
	int32_t		h = o->tiny->arch.hidden;

	o->n_rows[point] += n_rows;
	if (point != EMB_OBSERVE_HIDDEN)
		return;
	for (int32_t i = 0; i < n_rows; i++)
	{
		double		d = max_difference(rows + i * stride, o->golden + ((size_t) layer * o->n_ids + first + i) * h, h);

		if (!(d <= o->max))
			o->max = d;
	}
}

/* Hidden states of every layer; and the vector has the same bits whether or not someone looks. */
static void
check_hidden(Tiny *t)
{
	EmbAllocator mem = emb_malloc_allocator();
	int			n_files = 0;

	for (int i = 0; i < t->n_inputs; i++)
	{
		const TinyInput *in = &t->inputs[i];
		char		name[64];
		size_t		n;
		int32_t		offsets[2] = {0, in->n_ids};
		EmbBatch	batch = {.n_seqs = 1, .offsets = offsets, .ids = in->ids};
		Observed	o = {.tiny = t, .n_ids = in->n_ids};
		float		seen[256],
					unseen[256];
		EmbError	err;

		snprintf(name, sizeof(name), "hidden_%d.npy", (int) in->index);
		o.golden = tiny_read_npy(t, name, &n);
		if (o.golden == NULL)
			continue;
		n_files++;
		CHECK(n == (size_t) (t->arch.n_layers + 1) * in->n_ids * t->arch.hidden && t->arch.hidden <= 256);
		CHECK(emb_transformer_run_observed(&t->transformer, emb_kernels(), &batch, 1, &mem, NULL, observe, &o, seen, &err) == EMB_OK);
		CHECK(emb_transformer_run(&t->transformer, emb_kernels(), &batch, 1, &mem, NULL, unseen, &err) == EMB_OK);
		CHECK(memcmp(seen, unseen, t->arch.hidden * sizeof(float)) == 0);
		CHECK(o.n_rows[EMB_OBSERVE_HIDDEN] == (t->arch.n_layers + 1) * in->n_ids);
		for (int point = EMB_OBSERVE_ATTN_IN; point <= EMB_OBSERVE_FFN_MID; point++)
			CHECK(o.n_rows[point] == t->arch.n_layers * in->n_ids);
		CHECKF(o.max <= HIDDEN_TOLERANCE, "%s %s: off by %g", t->dir, name, o.max);
	}
	CHECKF(n_files > 0, "%s has no hidden_I.npy", t->dir);
}

/* Alone, reversed, in odd halves: the same bits. */
static void
check_batches(const Tiny *t, const float *all)
{
	size_t		row = t->arch.hidden;
	float	   *out = malloc(t->n_inputs * row * sizeof(float));
	int			order[TINY_INPUTS_MAX];
	int			n_same = 0;
	Counter		counter = {0};

	for (int i = 0; i < t->n_inputs; i++)
	{
		run_batch(t, &i, 1, out, NULL, &counter, NULL);
		n_same += memcmp(out, all + i * row, row * sizeof(float)) == 0;
	}
	CHECKF(n_same == t->n_inputs, "%s on %s: %d of %d alone", t->dir, emb_kernels_name(), n_same, t->n_inputs);
	for (int i = 0; i < t->n_inputs; i++)
		order[i] = t->n_inputs - 1 - i;
	run_batch(t, order, t->n_inputs, out, NULL, &counter, NULL);
	n_same = 0;
	for (int i = 0; i < t->n_inputs; i++)
		n_same += memcmp(out + i * row, all + order[i] * row, row * sizeof(float)) == 0;
	CHECKF(n_same == t->n_inputs, "%s on %s: %d of %d reversed", t->dir, emb_kernels_name(), n_same, t->n_inputs);
	for (int i = 0; 2 * i + 1 < t->n_inputs; i++)
		order[i] = 2 * i + 1;
	run_batch(t, order, t->n_inputs / 2, out, NULL, &counter, NULL);
	n_same = 0;
	for (int i = 0; i < t->n_inputs / 2; i++)
		n_same += memcmp(out + i * row, all + order[i] * row, row * sizeof(float)) == 0;
	CHECK(n_same == t->n_inputs / 2);
	CHECK(counter.n_live == 0);
	free(out);
}

/* The bits do not depend on who computes a row. */
static void
check_threads(const Tiny *t, const float *all)
{
	for (n_threads = 2; n_threads <= 5; n_threads++)
		check_batches(t, all);
	n_threads = 1;
}

static void
check_levels(const Tiny *t)
{
	float	   *reference = NULL;
	size_t		n = (size_t) t->n_inputs * t->arch.hidden;

	for (int i = 0; i < N_LEVELS; i++)
	{
		float	   *out;
		char		why[128];

		if (!emb_kernels_is_available(levels[i]))
		{
			snprintf(why, sizeof(why), "this CPU has no %s", levels[i]);
			skip(why);
			continue;
		}
		CHECK(emb_kernels_select(levels[i], NULL) == EMB_OK);
		out = run_all(t);
		if (reference == NULL)
			reference = out;
		else
		{
			CHECKF(memcmp(out, reference, n * sizeof(float)) == 0, "%s: %s differs from scalar", t->dir, levels[i]);
			check_batches(t, out);
			check_threads(t, out);
			free(out);
		}
	}
	free(reference);
	emb_kernels_select("auto", NULL);
}

/* Many texts again and again: a batch of many parts, by threads that take whole parts and parts that they share. */
static void
check_parts(const Tiny *t)
{
	enum {N_TEXTS_MAX = 200};
	size_t		row = t->arch.hidden;
	float	   *all = run_all(t);
	float	   *out = malloc(N_TEXTS_MAX * row * sizeof(float));
	int			order[N_TEXTS_MAX];
	Counter		counter = {0};
	EmbError	err = {0};

	for (int i = 0; i < N_TEXTS_MAX; i++)
		order[i] = i * 7 % t->n_inputs;
	for (int n = 20; n <= N_TEXTS_MAX; n += 90)
		for (n_threads = 1; n_threads <= 4; n_threads++)
		{
			int32_t		n_tokens = 0;
			int32_t		n_longest = 0;
			int			n_same = 0;

			counter = (Counter) {0};
			CHECKF(run_batch(t, order, n, out, NULL, &counter, &err) == EMB_OK, "%s", err.message);
			for (int i = 0; i < n; i++)
			{
				int32_t		n_ids = t->inputs[order[i]].n_ids;

				n_tokens += n_ids;
				n_longest = n_ids > n_longest ? n_ids : n_longest;
				n_same += memcmp(out + i * row, all + order[i] * row, row * sizeof(float)) == 0;
			}
			CHECKF(n_same == n, "%d of %d texts on %d threads", n_same, n, (int) n_threads);
			CHECK(counter.n_live == 0);
			CHECKF(counter.bytes_max <= emb_transformer_scratch_bytes(&t->transformer, n_tokens, n_longest, n_threads),
				   "%zu bytes for %d tokens", counter.bytes_max, (int) n_tokens);
		}
	for (n_threads = 1; n_threads <= 3; n_threads++)
	{
		for (int at = 1; at <= 6; at += 1 + at / 3)
		{
			StopAt		s = {.stop_at = at};
			EmbStop		stop = {&s, stop_at};

			EmbStatus	status = run_batch(t, order, N_TEXTS_MAX, out, &stop, &counter, &err);

			/* helpers ask nobody: the caller may ask less often than that, or first while it waits for their last pieces */
			CHECKF(status == EMB_ERR_CANCELLED || (n_threads > 1 && status == EMB_OK && s.n_asked <= at),
				   "status %d, asked %d times, to stop at %d", (int) status, (int) s.n_asked, at);
			for (int i = 0; status == EMB_OK && i < N_TEXTS_MAX; i++)
				CHECKF(memcmp(out + i * row, all + order[i] * row, row * sizeof(float)) == 0, "text %d, not stopped", i);
			CHECK(counter.n_live == 0);
		}
		for (int at = 1; at <= 2; at++)
		{
			counter = (Counter) {.fail_at = at};
			CHECK(run_batch(t, order, N_TEXTS_MAX, out, NULL, &counter, &err) == EMB_ERR_NOMEM && counter.n_live == 0);
		}
	}
	n_threads = 1;
	free(out);
	free(all);
}

/* Stopped at every question in turn, or refused its memory: all is given back. */
static void
check_stopping(const Tiny *t)
{
	int			order[2] = {t->n_inputs - 1, t->n_inputs - 2};
	float	   *out = malloc(2 * t->arch.hidden * sizeof(float));
	EmbKernels	slow = *emb_kernels();
	int			n_questions;
	StopAt		s = {0};
	EmbStop		stop = {&s, stop_at};
	Counter		counter = {0};
	EmbError	err;
	int32_t		offsets[2] = {0, t->inputs[order[0]].n_ids};
	EmbBatch	batch = {.n_seqs = 1, .offsets = offsets, .ids = t->inputs[order[0]].ids};
	EmbAllocator mem = {&counter, counting_alloc, counting_release};

	slow.macs_per_piece = 100000;
	CHECK(emb_transformer_run(&t->transformer, &slow, &batch, 1, &mem, &stop, out, &err) == EMB_OK);
	n_questions = s.n_asked;
	printf("# %s: %d questions for %d tokens\n", t->dir, n_questions, (int) offsets[1]);
	CHECKF(n_questions > 3, "%d questions", n_questions);
	CHECK(counter.n_live == 0);
	CHECK(counter.bytes_max == emb_transformer_scratch_bytes(&t->transformer, offsets[1], offsets[1], 1));
	for (int at = 1; at <= n_questions; at += 1 + n_questions / 40)
	{
		s = (StopAt) {.stop_at = at};
		CHECK(emb_transformer_run(&t->transformer, &slow, &batch, 1, &mem, &stop, out, &err) == EMB_ERR_CANCELLED &&
			  s.n_asked == at && counter.n_live == 0);
	}
	counter = (Counter) {.fail_at = 1};
	CHECK(run_batch(t, order, 2, out, NULL, &counter, &err) == EMB_ERR_NOMEM && counter.n_live == 0);
	free(out);
}

static void
check_arguments(const Tiny *t)
{
	EmbAllocator mem = emb_malloc_allocator();
	float		out[256];
	int32_t		ids[3] = {2, 3, 4};
	int32_t		types[3] = {0, 1, 0};
	int32_t		offsets[3] = {0, 3, 3};
	EmbBatch	batch = {.n_seqs = 1, .offsets = offsets, .ids = ids, .type_ids = types};
	EmbError	err;

	CHECK(emb_transformer_run(&t->transformer, emb_kernels(), &batch, 1, &mem, NULL, out, &err) == EMB_OK);
	ids[1] = t->arch.n_vocab;
	CHECK(emb_transformer_run(&t->transformer, emb_kernels(), &batch, 1, &mem, NULL, out, &err) == EMB_ERR_INVALID_ARGUMENT);
	ids[1] = -1;
	CHECK(emb_transformer_run(&t->transformer, emb_kernels(), &batch, 1, &mem, NULL, out, &err) == EMB_ERR_INVALID_ARGUMENT);
	ids[1] = 1;
	types[2] = t->arch.n_types;
	CHECK(emb_transformer_run(&t->transformer, emb_kernels(), &batch, 1, &mem, NULL, out, &err) == EMB_ERR_INVALID_ARGUMENT);
	types[2] = 0;
	batch.n_seqs = 2;			/* the second text is empty */
	CHECK(emb_transformer_run(&t->transformer, emb_kernels(), &batch, 1, &mem, NULL, out, &err) == EMB_ERR_INVALID_ARGUMENT);
	batch.n_seqs = 1;
	offsets[1] = t->arch.n_positions + 1;
	CHECK(emb_transformer_run(&t->transformer, emb_kernels(), &batch, 1, &mem, NULL, out, &err) == EMB_ERR_INVALID_ARGUMENT);
	batch.n_seqs = 0;
	CHECK(emb_transformer_run(&t->transformer, emb_kernels(), &batch, 1, &mem, NULL, out, &err) == EMB_OK);
}

/* Weights near the end of the range: an error on every level, never a NaN. */
static void
check_overflow(const Tiny *t)
{
	EmbTransformer loud = t->transformer;
	float	   *gamma = malloc(t->arch.hidden * sizeof(float));
	EmbAllocator mem = emb_malloc_allocator();
	int32_t		ids[3] = {2, 3, 4};
	int32_t		offsets[2] = {0, 3};
	EmbBatch	batch = {.n_seqs = 1, .offsets = offsets, .ids = ids};
	float		out[256];
	EmbError	err;

	for (int32_t i = 0; i < t->arch.hidden; i++)
		gamma[i] = 3e38f;
	loud.embedding_norm.gamma = gamma;
	for (int i = 0; i < N_LEVELS; i++)
	{
		EmbStatus	status;

		if (emb_kernels_select(levels[i], NULL) != EMB_OK)
			continue;
		status = emb_transformer_run(&loud, emb_kernels(), &batch, 1, &mem, NULL, out, &err);
		CHECKF(status == EMB_ERR_LIMIT, "%s gives status %d", levels[i], (int) status);
	}
	emb_kernels_select("auto", NULL);
	free(gamma);
}

/*
 * Positions that skip padding: the same bits as with a table that has, for
 * each token, the row it must take.
 */
static void
check_padding(const Tiny *t)
{
	enum {PAD = 5, N = 110};
	EmbArch		arch = t->arch;
	EmbTransformer skips = t->transformer;
	EmbTransformer plain = t->transformer;
	size_t		row = t->arch.hidden * sizeof(float);
	float	   *rows = malloc(N * row);
	EmbAllocator mem = emb_malloc_allocator();
	int32_t		ids[N];
	int32_t		offsets[2] = {0, N};
	int32_t		two[N + 4];
	int32_t		next = 1;
	EmbBatch	batch = {.n_seqs = 1, .offsets = offsets, .ids = ids};
	float		expected[256],
				out[2 * 256];
	EmbError	err;

	skips.arch = &arch;
	arch.position_base = PAD + 1;
	arch.n_positions--;
	for (int i = 0; i < N; i++)
	{
		/* some alone, in front, and around the end of a chunk */
		ids[i] = i % 37 == 0 || (i > 90 && i < 100) ? PAD : 10 + i;
		memcpy(rows + i * t->arch.hidden, t->transformer.position_embedding + (ids[i] == PAD ? 0 : next++) * t->arch.hidden, row);
	}
	plain.position_embedding = rows;
	CHECK(emb_transformer_run(&plain, emb_kernels(), &batch, 1, &mem, NULL, expected, &err) == EMB_OK);
	CHECK(emb_transformer_run(&skips, emb_kernels(), &batch, 1, &mem, NULL, out, &err) == EMB_OK);
	CHECK(memcmp(out, expected, row) == 0);

	/* as the second text of a batch too, on several threads */
	memcpy(two, (int32_t[]) {9, PAD, 8, 7}, 4 * sizeof(int32_t));
	memcpy(two + 4, ids, sizeof(ids));
	batch = (EmbBatch) {.n_seqs = 2, .offsets = (int32_t[]) {0, 4, N + 4}, .ids = two};
	for (int threads = 1; threads <= 3; threads++)
	{
		CHECK(emb_transformer_run(&skips, emb_kernels(), &batch, threads, &mem, NULL, out, &err) == EMB_OK);
		CHECK(memcmp(out + t->arch.hidden, expected, row) == 0);
	}
	free(rows);
}

static void
check_model(const char *dir)
{
	Tiny		t;

	if (!tiny_open(&t, dir))
	{
		char		why[600];

		snprintf(why, sizeof(why), "no model in %s", dir);
		skip(why);
		return;
	}
	check_goldens(&t);
	check_hidden(&t);
	check_levels(&t);
	check_parts(&t);
	check_stopping(&t);
	check_arguments(&t);
	check_overflow(&t);
	check_padding(&t);
	tiny_close(&t);
}

int
main(void)
{
	static const char *const shared[] = {"bert-act-gelu_new", "bert-act-relu", "bert-cls", "bert-head64", "bert-mean-36", "bert-mean-48"};
	static const char *const ours[] = {"bert-cls", "bert-mean-36", "bert-mean-48"};
	const char *root = shared_dir();
	char		dir[512];

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
	{
		snprintf(dir, sizeof(dir), "%s/tiny/%s", data_dir(), ours[i]);
		check_model(dir);
	}
	if (root == NULL)
		skip("no shared reference data: the other tiny BERT models are not compared");
	else
		for (size_t i = 0; i < sizeof(shared) / sizeof(shared[0]); i++)
		{
			snprintf(dir, sizeof(dir), "%s/goldens/tiny/%s", root, shared[i]);
			check_model(dir);
		}
	return done_testing();
}
