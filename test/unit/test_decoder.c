/*
 * test_decoder.c
 *		Decoders: the transformer against transformers, in fp32 and near it in
 *		int8; the same bits alone, in batches, on any number of threads and on
 *		every level; and no token sees a later one.
 */
#include <math.h>

#include "unit.h"

#include "tiny_i8.h"
#include "tiny_qwen.h"
#include "transformer/tokens.h"

/* goldens/README.md: ten times the distance of two runs by transformers itself. */
#define EMBEDDING_TOLERANCE	2e-6
#define LOGIT_TOLERANCE		5e-5
#define HIDDEN_TOLERANCE	3e-5

/* Of the inputs that every level computes. */
#define SHORT_TOKENS		200

/* Measured on the worst of the five: 0.9975 and 0.9957. */
#define I8_COSINE_MEAN		0.997
#define I8_COSINE_MIN		0.995

static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon"};
#define N_LEVELS ((int) (sizeof(levels) / sizeof(levels[0])))

/* ids, end to end, of the inputs named by order; offsets: [n + 1]. */
static int32_t *
join_inputs(const Tiny *t, const int *order, int n, int32_t *offsets)
{
	int32_t    *ids;

	offsets[0] = 0;
	for (int i = 0; i < n; i++)
		offsets[i + 1] = offsets[i] + t->inputs[order[i]].n_ids;
	ids = malloc(offsets[n] * sizeof(int32_t));
	for (int i = 0; i < n; i++)
		memcpy(ids + offsets[i], t->inputs[order[i]].ids, t->inputs[order[i]].n_ids * sizeof(int32_t));
	return ids;
}

/* Rows of the inputs named by order, as one batch. */
static void
run(const Tiny *t, const EmbTransformer *transformer, const int *order, int n, int n_threads, float *out)
{
	EmbAllocator mem = emb_malloc_allocator();
	int32_t    *offsets = malloc((n + 1) * sizeof(int32_t));
	int32_t    *ids = join_inputs(t, order, n, offsets);
	EmbBatch	batch = {.n_seqs = n, .offsets = offsets, .ids = ids};
	EmbError	err = {0};

	CHECKF(emb_transformer_run(transformer, emb_kernels(), &batch, n_threads, &mem, NULL, out, &err) == EMB_OK, "%s", err.message);
	free(ids);
	free(offsets);
}

static void
logits_of(const Tiny *t, const EmbTransformer *transformer, const TinyQwen *q, float *logits)
{
	EmbAllocator mem = emb_malloc_allocator();
	int			order[TINY_INPUTS_MAX];
	int32_t		offsets[TINY_INPUTS_MAX + 1];
	int32_t    *ids;
	EmbBatch	batch = {.n_seqs = t->n_inputs, .offsets = offsets};
	EmbError	err = {0};

	for (int i = 0; i < t->n_inputs; i++)
		order[i] = i;
	batch.ids = ids = join_inputs(t, order, t->n_inputs, offsets);
	CHECKF(emb_transformer_score(transformer, &q->head, emb_kernels(), &batch, 2, &mem, NULL, logits, &err) == EMB_OK, "%s", err.message);
	free(ids);
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

static double
max_distance(const TinyQwen *q, const float *logits, int n)
{
	double		max = 0;

	for (int i = 0; i < n; i++)
	{
		double		d = fabs(logits[i] - q->logits[i]);

		if (!(d <= max))
			max = d;
	}
	return max;
}

/* --------------------------------------------------------------- goldens */

static void
check_results(const Tiny *t, const TinyQwen *q)
{
	float		logits[TINY_INPUTS_MAX];
	float	   *rows = malloc((size_t) t->n_inputs * t->arch.hidden * sizeof(float));
	int			order[TINY_INPUTS_MAX];
	double		d;

	for (int i = 0; i < t->n_inputs; i++)
		order[i] = i;
	if (t->embeddings != NULL)
	{
		run(t, &t->transformer, order, t->n_inputs, 1, rows);
		d = max_difference(rows, t->embeddings, (size_t) t->n_inputs * t->arch.hidden);
		printf("# %s: %d texts, embeddings off by %.2g\n", t->dir, t->n_inputs, d);
		CHECKF(t->n_inputs > 10 && d <= EMBEDDING_TOLERANCE, "%s: off by %g", t->dir, d);
	}
	else
	{
		logits_of(t, &t->transformer, q, logits);
		d = max_distance(q, logits, t->n_inputs);
		printf("# %s: %d pairs, logits off by %.2g\n", t->dir, t->n_inputs, d);
		CHECKF(t->n_inputs > 10 && d <= LOGIT_TOLERANCE, "%s: off by %g", t->dir, d);
	}
	free(rows);
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
	for (int32_t i = 0; point == EMB_OBSERVE_HIDDEN && i < n_rows; i++)
		o->max = fmax(o->max, max_difference(rows + i * stride, o->golden + ((size_t) layer * o->n_ids + first + i) * h, h));
}

/* The states of every layer; all rows pass by every point. */
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
		float		seen[256];
		EmbError	err = {0};

		snprintf(name, sizeof(name), "hidden_%d.npy", (int) in->index);
		o.golden = tiny_read_npy(t, name, &n);
		if (o.golden == NULL)
			continue;
		n_files++;
		CHECK(n == (size_t) (t->arch.n_layers + 1) * in->n_ids * t->arch.hidden && t->arch.hidden <= 256);
		CHECK(emb_transformer_run_observed(&t->transformer, emb_kernels(), &batch, 1, &mem, NULL, observe, &o, seen, &err) == EMB_OK);
		for (int point = EMB_OBSERVE_ATTN_IN; point <= EMB_OBSERVE_FFN_MID; point++)
			CHECK(o.n_rows[point] == t->arch.n_layers * in->n_ids);
		CHECKF(o.max <= HIDDEN_TOLERANCE, "%s %s: off by %g", t->dir, name, o.max);
	}
	CHECKF(n_files > 0, "%s has no hidden_I.npy", t->dir);
}

/* ------------------------------------------------------------------ bits */

/* Alone, reversed, in odd halves: the rows of `all`. */
static void
check_batches(const Tiny *t, const EmbTransformer *transformer, int n_threads, const float *all)
{
	size_t		row = t->arch.hidden;
	float	   *out = malloc(t->n_inputs * row * sizeof(float));
	int			order[TINY_INPUTS_MAX];
	int			n = 0;
	int			n_same = 0;

	for (int i = 0; i < t->n_inputs; i++)
	{
		run(t, transformer, &i, 1, n_threads, out);
		n_same += memcmp(out, all + i * row, row * sizeof(float)) == 0;
	}
	for (int i = 0; i < t->n_inputs; i++)
		order[i] = t->n_inputs - 1 - i;
	run(t, transformer, order, t->n_inputs, n_threads, out);
	for (int i = 0; i < t->n_inputs; i++)
		n_same += memcmp(out + i * row, all + order[i] * row, row * sizeof(float)) == 0;
	for (int i = 1; i < t->n_inputs; i += 2)
		order[n++] = i;
	run(t, transformer, order, n, n_threads, out);
	for (int i = 0; i < n; i++)
		n_same += memcmp(out + i * row, all + order[i] * row, row * sizeof(float)) == 0;
	CHECKF(n_same == 2 * t->n_inputs + n, "%s on %s, %d threads: %d of %d rows have the same bits", t->dir, emb_kernels_name(),
		   n_threads, n_same, 2 * t->n_inputs + n);
	free(out);
}

static void
check_levels(const Tiny *t, const EmbTransformer *transformer)
{
	size_t		n = (size_t) t->n_inputs * t->arch.hidden;
	float	   *reference = malloc(n * sizeof(float));
	float	   *out = malloc(n * sizeof(float));
	int			order[TINY_INPUTS_MAX];

	for (int i = 0; i < t->n_inputs; i++)
		order[i] = i;
	for (int i = 0; i < N_LEVELS; i++)
	{
		char		why[128];

		if (emb_kernels_select(levels[i], NULL) != EMB_OK)
		{
			snprintf(why, sizeof(why), "level %s is not available here", levels[i]);
			skip(why);
			continue;
		}
		run(t, transformer, order, t->n_inputs, 1, i == 0 ? reference : out);
		if (i > 0)
			CHECKF(memcmp(out, reference, n * sizeof(float)) == 0, "%s: %s differs from scalar", t->dir, levels[i]);
	}
	emb_kernels_select("auto", NULL);
	for (int n_threads = 1; n_threads <= 3; n_threads += 2)
		check_batches(t, transformer, n_threads, reference);
	free(reference);
	free(out);
}

/* ------------------------------------------------------------- causality */

/* [n, hidden]: the last layer's row of every token, normalized. */
static void
all_rows(const Tiny *t, const EmbTransformer *transformer, const int32_t *ids, int32_t n, float *rows)
{
	static float identity[256 * 256];
	static float zeros[256];
	EmbAllocator mem = emb_malloc_allocator();
	int32_t		h = t->arch.hidden;
	int32_t		offsets[2] = {0, n};
	EmbBatch	batch = {.n_seqs = 1, .offsets = offsets, .ids = ids};
	EmbTokenHeads heads = {.multi = {.n_out = h, .n_in = h, .weight = identity, .bias = zeros}};
	float	  **vectors = malloc(n * sizeof(float *));
	EmbTokenOutputs tokens = {.heads = &heads, .vectors = vectors};
	float		out[256];
	EmbError	err = {0};

	memset(identity, 0, sizeof(identity));
	for (int32_t i = 0; i < h; i++)
		identity[(size_t) (i / EMB_PANEL) * h * EMB_PANEL + i * EMB_PANEL + i % EMB_PANEL] = 1;
	for (int32_t i = 0; i < n; i++)
		vectors[i] = rows + (size_t) i * h;
	CHECKF(emb_transformer_run_tokens(transformer, emb_kernels(), &batch, 1, &mem, NULL, out, &tokens, &err) == EMB_OK, "%s", err.message);
	free(vectors);
}

/*
 * The last token's values are as small as values can be, so that their scale's
 * inverse is as large as it can be; or all its embedding is enormous.
 */
static void
check_last_token(const Tiny *t, const EmbTransformer *transformer, const char *form)
{
	static const float extremes[] = {0, 1e-38f, 1e12f};
	const TinyInput *in = &t->inputs[0];
	size_t		hidden = t->arch.hidden;
	size_t		n_words = (size_t) t->arch.n_vocab * hidden;
	int32_t		n = in->n_ids;
	float	   *words = malloc(n_words * sizeof(float));
	float	   *plain = malloc(n * hidden * sizeof(float));
	float	   *changed = malloc(n * hidden * sizeof(float));
	int32_t    *ids = malloc(n * sizeof(int32_t));
	EmbTransformer other = *transformer;
	int32_t		unused = 0;

	/* a word that the text does not have */
	for (int32_t i = 0; i < n; i++)
		unused = in->ids[i] == unused ? unused + 1 : unused;
	for (int32_t i = 0; i < n; i++)
		CHECK(in->ids[i] != unused);
	memcpy(words, transformer->word_embedding.rows_f32, n_words * sizeof(float));
	other.word_embedding.rows_f32 = words;
	memcpy(ids, in->ids, n * sizeof(int32_t));
	ids[n - 1] = unused;
	for (int level = 0; level < N_LEVELS; level++)
	{
		if (emb_kernels_select(levels[level], NULL) != EMB_OK)
			continue;			/* check_levels skips it loudly */
		all_rows(t, transformer, in->ids, n, plain);
		for (size_t e = 0; e < sizeof(extremes) / sizeof(extremes[0]); e++)
		{
			for (size_t i = 0; i < hidden; i++)
				words[unused * hidden + i] = i % 2 == 0 ? extremes[e] : -extremes[e];
			all_rows(t, &other, ids, n, changed);
			CHECKF(memcmp(plain, changed, (n - 1) * hidden * sizeof(float)) == 0, "%s %s on %s: a last token of %g changes earlier rows",
				   t->dir, form, levels[level], extremes[e]);
			CHECKF(memcmp(plain + (n - 1) * hidden, changed + (n - 1) * hidden, hidden * sizeof(float)) != 0,
				   "%s %s: a last token of %g changes nothing", t->dir, form, extremes[e]);
		}
	}
	emb_kernels_select("auto", NULL);
	free(words);
	free(plain);
	free(changed);
	free(ids);
}

/* The row of each token is the row of the last token of the text that ends there. */
static void
check_ends(const Tiny *t, const EmbTransformer *transformer, const char *form)
{
	const TinyInput *in = &t->inputs[t->n_inputs / 2];
	size_t		hidden = t->arch.hidden;
	int32_t		n = in->n_ids < 150 ? in->n_ids : 150;
	EmbAllocator mem = emb_malloc_allocator();
	Tiny		unnormalized = *t;
	EmbTransformer other = *transformer;
	float	   *rows = malloc(n * hidden * sizeof(float));
	float		out[256];
	int			n_same = 0;
	int			n_ends = 0;

	unnormalized.arch.normalize = 1;	/* as all_rows does */
	other.arch = &unnormalized.arch;
	all_rows(t, &other, in->ids, n, rows);
	for (int32_t i = 0; i < n; i += i < 34 ? 1 : 11, n_ends++)
	{
		int32_t		offsets[2] = {0, i + 1};
		EmbBatch	batch = {.n_seqs = 1, .offsets = offsets, .ids = in->ids};
		EmbError	err;

		CHECK(emb_transformer_run(&other, emb_kernels(), &batch, 1 + i % 3, &mem, NULL, out, &err) == EMB_OK);
		n_same += memcmp(out, rows + i * hidden, hidden * sizeof(float)) == 0;
	}
	CHECKF(n_same == n_ends, "%s %s: %d of %d ends have the rows of the whole", t->dir, form, n_same, n_ends);
	free(rows);
}

/* ------------------------------------------------------------------ int8 */

/* Random weights, rounded without smoothing: far from what a trained model keeps. */
static void
check_i8(const Tiny *t, const TinyI8 *i8)
{
	float	   *exact = malloc((size_t) t->n_inputs * t->arch.hidden * sizeof(float));
	float	   *rounded = malloc((size_t) t->n_inputs * t->arch.hidden * sizeof(float));
	int			order[TINY_INPUTS_MAX];
	double		worst = 1;
	double		sum = 0;

	for (int i = 0; i < t->n_inputs; i++)
		order[i] = i;
	run(t, &t->transformer, order, t->n_inputs, 2, exact);
	run(t, &i8->transformer, order, t->n_inputs, 2, rounded);
	for (int i = 0; i < t->n_inputs; i++)
	{
		double		c = emb_kernels_cosine(exact + i * t->arch.hidden, rounded + i * t->arch.hidden, t->arch.hidden);

		worst = fmin(worst, c);
		sum += c;
	}
	printf("# %s: int8 rows, cosine mean %.5f, min %.5f\n", t->dir, sum / t->n_inputs, worst);
	CHECKF(sum / t->n_inputs > I8_COSINE_MEAN && worst > I8_COSINE_MIN, "%s: cosine mean %g, min %g", t->dir, sum / t->n_inputs, worst);
	free(exact);
	free(rounded);
}

/* The long inputs take the scalar level minutes. */
static void
keep_short(Tiny *t)
{
	int			n = 0;

	for (int i = 0; i < t->n_inputs; i++)
	{
		if (t->inputs[i].n_ids <= SHORT_TOKENS)
			t->inputs[n++] = t->inputs[i];
	}
	CHECKF(n > 5, "%s has only %d short inputs", t->dir, n);
	t->n_inputs = n;
}

static void
test_model(const char *dir, bool here)
{
	static Tiny t;
	static TinyQwen q;
	static TinyI8 i8;
	EmbError	err = {0};

	if (!qwen_open(&t, &q, dir))
	{
		if (here)
			CHECKF(false, "%s is missing", dir);
		else
			skip(dir);
		return;
	}
	CHECKF(emb_arch_check(&t.arch, &err) == EMB_OK, "%s", err.message);
	check_results(&t, &q);
	check_hidden(&t);
	quantize(&t, &i8);
	check_i8(&t, &i8);
	keep_short(&t);
	check_levels(&t, &t.transformer);
	check_last_token(&t, &t.transformer, "in fp32");
	check_ends(&t, &t.transformer, "in fp32");
	check_levels(&t, &i8.transformer);
	check_last_token(&t, &i8.transformer, "in int8");
	check_ends(&t, &i8.transformer, "in int8");
	tiny_close(&t);
}

int
main(void)
{
	static const char *const shared[] = {"qwen3-rerank-untied", "qwen3-rerank-k", "qwen3-embed-k", "qwen3-rerank-seqcls"};
	char		dir[512];

	snprintf(dir, sizeof(dir), "%s/tiny/qwen3-rerank", data_dir());
	test_model(dir, true);
	if (shared_dir() == NULL)
		skip("no shared reference data: goldens of the other decoders");
	for (size_t i = 0; shared_dir() != NULL && i < sizeof(shared) / sizeof(shared[0]); i++)
	{
		snprintf(dir, sizeof(dir), "%s/goldens/tiny/%s", shared_dir(), shared[i]);
		test_model(dir, false);
	}
	return done_testing();
}
