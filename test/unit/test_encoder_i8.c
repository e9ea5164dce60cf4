/*
 * test_encoder_i8.c
 *		The int8 forward pass on tiny models whose weights are rounded plainly,
 *		without smoothing: near the fp32 one, and with the same bits on every
 *		level, in every batch, on any number of threads.
 */
#include "unit.h"

#include <math.h>

#include "kernels/cpu.h"
#include "tiny_i8.h"

/*
 * Measured: 0.99968 mean on the worst of the six models (random weights, no
 * smoothing).
 */
#define COSINE_MEAN_MIN	0.9995

static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon"};

#define N_LEVELS (int) (sizeof(levels) / sizeof(levels[0]))

/* The inputs named by order, as one batch. */
static void
run(const Tiny *t, const TinyI8 *q, const int *order, int n, int n_threads, float *out)
{
	int32_t		offsets[TINY_INPUTS_MAX + 1] = {0};
	int32_t    *ids;
	EmbAllocator mem = emb_malloc_allocator();
	EmbBatch	batch = {.n_seqs = n, .offsets = offsets};
	EmbError	err = {0};

	for (int i = 0; i < n; i++)
		offsets[i + 1] = offsets[i] + t->inputs[order[i]].n_ids;
	ids = malloc(offsets[n] * sizeof(int32_t));
	for (int i = 0; i < n; i++)
		memcpy(ids + offsets[i], t->inputs[order[i]].ids, t->inputs[order[i]].n_ids * sizeof(int32_t));
	batch.ids = ids;
	CHECKF(emb_transformer_run(&q->transformer, emb_kernels(), &batch, n_threads, &mem, NULL, out, &err) == EMB_OK,
		   "%s", err.message);
	free(ids);
}

static void
check_near(const Tiny *t, const float *out)
{
	double		mean = 0,
				min = 1;

	for (int i = 0; i < t->n_inputs; i++)
	{
		double		dot = 0;

		for (int32_t k = 0; k < t->arch.hidden; k++)
			dot += (double) out[i * t->arch.hidden + k] * t->embeddings[i * t->arch.hidden + k];
		mean += dot / t->n_inputs;
		min = dot < min ? dot : min;
	}
	printf("# %s: cosine mean %.5f, min %.5f\n", t->dir, mean, min);
	CHECKF(mean >= COSINE_MEAN_MIN, "%s: mean cosine %g", t->dir, mean);
}

static void
check_same(const Tiny *t, const TinyI8 *q, const float *all)
{
	size_t		row = t->arch.hidden;
	float	   *out = malloc(t->n_inputs * row * sizeof(float));
	int			order[TINY_INPUTS_MAX];

	for (int n_threads = 1; n_threads <= 3; n_threads++)
	{
		int			n_same = 0;

		for (int i = 0; i < t->n_inputs; i++)
		{
			order[i] = t->n_inputs - 1 - i;
			run(t, q, &i, 1, n_threads, out);
			n_same += memcmp(out, all + i * row, row * sizeof(float)) == 0;
		}
		run(t, q, order, t->n_inputs, n_threads, out);
		for (int i = 0; i < t->n_inputs; i++)
			n_same += memcmp(out + i * row, all + order[i] * row, row * sizeof(float)) == 0;
		CHECKF(n_same == 2 * t->n_inputs, "%s on %s, %d threads: %d of %d", t->dir, emb_kernels_name(),
			   n_threads, n_same, 2 * t->n_inputs);
	}
	free(out);
}

/* Parts of a batch follow the second-level cache: of 64 tokens with the first size. */
static void
check_sizes(const Tiny *t, const TinyI8 *q, const float *all)
{
	static const size_t sizes[] = {1, 512 << 10, 1 << 20, 2 << 20};
	size_t		n = (size_t) t->n_inputs * t->arch.hidden;
	float	   *out = malloc(n * sizeof(float));
	int			order[TINY_INPUTS_MAX];
	size_t		scratch[2] = {0};

	for (int i = 0; i < t->n_inputs; i++)
		order[i] = i;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (int n_threads = 1; n_threads <= 2; n_threads++)
		{
			emb_cpu_pretend_l2_bytes(sizes[i]);
			scratch[i > 0] = emb_transformer_scratch_bytes(&q->transformer, 4096, 64, n_threads);
			run(t, q, order, t->n_inputs, n_threads, out);
			CHECKF(memcmp(out, all, n * sizeof(float)) == 0, "%s: other bits with %zu bytes of cache", t->dir, sizes[i]);
		}
	CHECKF(scratch[0] < scratch[1], "parts do not follow the cache: %zu and %zu bytes", scratch[0], scratch[1]);
	emb_cpu_pretend_l2_bytes(0);
	CHECKF(emb_cpu_l2_bytes() >= 512 << 10 && emb_cpu_l2_bytes() <= 2 << 20, "%zu bytes", emb_cpu_l2_bytes());
	free(out);
}

static void
check_model(const char *dir)
{
	Tiny		t;
	TinyI8		q;
	float	   *reference = NULL;
	int			order[TINY_INPUTS_MAX];

	if (!CHECKF(tiny_open(&t, dir), "no model in %s", dir))
		return;
	quantize(&t, &q);
	for (int i = 0; i < t.n_inputs; i++)
		order[i] = i;
	for (int i = 0; i < N_LEVELS; i++)
	{
		float	   *out;
		char		why[128];

		if (!emb_kernels_is_available(levels[i]))
		{
			snprintf(why, sizeof(why), "level %s is not available here", levels[i]);
			skip(why);
			continue;
		}
		CHECK(emb_kernels_select(levels[i], NULL) == EMB_OK);
		out = malloc((size_t) t.n_inputs * t.arch.hidden * sizeof(float));
		run(&t, &q, order, t.n_inputs, 1, out);
		if (reference == NULL)
			check_near(&t, reference = out);
		else
		{
			CHECKF(memcmp(out, reference, (size_t) t.n_inputs * t.arch.hidden * sizeof(float)) == 0,
				   "%s: %s differs from scalar", dir, levels[i]);
			check_same(&t, &q, out);
			free(out);
		}
	}
	emb_kernels_select("auto", NULL);
	check_sizes(&t, &q, reference);
	free(reference);
	tiny_close(&t);
}

int
main(void)
{
	static const char *const shared[] = {"bert-act-gelu_new", "bert-act-relu", "bert-cls", "bert-head64", "bert-mean-36", "bert-mean-48"};
	static const char *const ours[] = {"bert-cls", "bert-mean-36", "bert-mean-48"};
	char		dir[512];

	if (shared_dir() == NULL)
	{
		skip("no shared reference data: only three of six tiny BERT models are run in int8");
		for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		{
			snprintf(dir, sizeof(dir), "%s/tiny/%s", data_dir(), ours[i]);
			check_model(dir);
		}
	}
	else
		for (size_t i = 0; i < sizeof(shared) / sizeof(shared[0]); i++)
		{
			snprintf(dir, sizeof(dir), "%s/goldens/tiny/%s", shared_dir(), shared[i]);
			check_model(dir);
		}
	return done_testing();
}
