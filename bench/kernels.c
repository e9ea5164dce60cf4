/*
 * kernels.c
 *		Micro-benchmark of the fp32 kernels and the BERT encoder, one thread.
 *
 *		cc -O2 -ffp-contract=off -fno-math-errno -D_GNU_SOURCE -Isrc bench/kernels.c \
 *			src/kernels/[a-z]*.c src/encoder/[a-z]*.c src/common/error.c src/common/mem.c -lm -o /tmp/kernels
 *		/tmp/kernels [LEVEL ...]
 *
 * Prints for each level the best and the median of repeated runs: GFLOPS (two
 * per multiply-add), nanoseconds an element, tokens a second on random weights
 * in the shape of bge-small-en (12 layers, hidden 384, CLS) and MiniLM-L6
 * (6 layers, hidden 384, mean). scalar gets small sizes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "encoder/attention.h"
#include "encoder/encoder.h"

#define N_RUNS_MAX 200

/* CPU time: the machine may be busy with others. */
static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a,
				y = *(const double *) b;

	return (x > y) - (x < y);
}

static float *
new_floats(size_t n, float scale)
{
	float	   *x = aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64);
	uint32_t	state = 1;

	for (size_t i = 0; i < n; i++)
	{
		state = state * 1664525u + 1013904223u;
		x[i] = (float) (int32_t) state * 0x1p-31f * scale;
	}
	return x;
}

typedef struct Timing
{
	double		best,
				median;
} Timing;

/* Runs for about a second, 3 to N_RUNS_MAX times, after one run that does not count. */
static Timing
measure(void (*run) (void *), void *arg)
{
	double		times[N_RUNS_MAX];
	double		start = now();
	int			n = 0;

	run(arg);
	do
	{
		double		t = now();

		run(arg);
		times[n++] = now() - t;
	} while (n < 3 || (n < N_RUNS_MAX && now() - start < 1.0));
	qsort(times, n, sizeof(double), compare);
	return (Timing) {times[0], times[n / 2]};
}

typedef struct MultiplyArg
{
	EmbWork    *work;
	EmbGemmF32	g;
} MultiplyArg;

static void
run_multiply(void *arg)
{
	MultiplyArg *m = arg;

	emb_work_multiply(m->work, &m->g, NULL);
}

static void
bench_multiply(EmbWork *work, int32_t m, int32_t n, int32_t k)
{
	float	   *a = new_floats((size_t) m * k, 1);
	float	   *b = new_floats((size_t) n * k, 1);
	float	   *c = new_floats((size_t) m * n, 1);
	float	   *bias = new_floats(n, 1);
	MultiplyArg arg = {work, {.n_rows = m, .n_in = k, .n_panels = n / EMB_PANEL, .a = a, .a_stride = k,
	.b = b, .bias = bias, .c = c, .c_stride = n}};
	Timing		t = measure(run_multiply, &arg);
	double		gflop = 2e-9 * m * n * k;

	printf("  gemm %4d x %4d x %4d	%8.1f GFLOPS best, %8.1f median\n", m, n, k, gflop / t.best, gflop / t.median);
	free(a);
	free(b);
	free(c);
	free(bias);
}

typedef struct AttendArg
{
	EmbWork    *work;
	EmbAttention attention;
	float	   *q,
			   *k,
			   *v,
			   *out;
	int32_t		n;
} AttendArg;

static void
run_attend(void *arg)
{
	AttendArg  *a = arg;

	emb_attention_f32(a->work, &a->attention, a->q, a->n, a->k, a->v, a->n, a->out);
}

static void
bench_attention(EmbWork *work, int32_t n, int32_t n_heads, int32_t head_size)
{
	size_t		row = (size_t) n_heads * head_size;
	AttendArg	a = {
		.work = work, .n = n,
		.attention = {n_heads, head_size, row, new_floats(emb_attention_scratch_elems(head_size, n), 1)},
		.q = new_floats(n * row, 1), .k = new_floats(n * row, 1), .v = new_floats(n * row, 1), .out = new_floats(n * row, 1)
	};
	Timing		t = measure(run_attend, &a);
	double		gflop = 4e-9 * n * n * (double) row;

	printf("  attention %4d tokens, %2d heads of %2d	%8.1f GFLOPS best, %8.1f median\n",
		   n, n_heads, head_size, gflop / t.best, gflop / t.median);
	free(a.attention.scratch);
	free(a.q);
	free(a.k);
	free(a.v);
	free(a.out);
}

typedef struct RowArg
{
	const EmbKernels *k;
	int			op;
	float	   *x,
			   *y,
			   *gamma;
	int32_t		n;
} RowArg;

#define N_ROWS 1000

static void
run_rows(void *arg)
{
	RowArg	   *r = arg;

	for (int i = 0; i < N_ROWS; i++)
	{
		if (r->op == 0)
			r->k->add_norm_f32(r->x, r->gamma, r->gamma, r->gamma, 1e-12f, r->n, r->y);
		else if (r->op == 1)
			r->k->softmax_f32(r->x, r->n, 0.1f);
		else if (r->op == 2)
			r->k->gelu_f32(r->y, r->n);
		else
			r->k->gelu_tanh_f32(r->y, r->n);
	}
}

static void
bench_rows(const EmbKernels *k, int32_t n)
{
	static const char *const names[] = {"add_norm", "softmax", "gelu", "gelu_tanh"};
	RowArg		r = {k, 0, new_floats(n, 1), new_floats(n, 1), new_floats(n, 1), n};

	for (r.op = 0; r.op < 4; r.op++)
	{
		Timing		t = measure(run_rows, &r);

		printf("  %-10s %4d elements	%6.3f ns an element best, %6.3f median\n",
			   names[r.op], n, 1e9 * t.best / N_ROWS / n, 1e9 * t.median / N_ROWS / n);
	}
	free(r.x);
	free(r.y);
	free(r.gamma);
}

static EmbLinear
random_linear(int32_t n_out, int32_t n_in)
{
	return (EmbLinear) {n_out, n_in, new_floats((size_t) n_out * n_in, 0.05f), new_floats(n_out, 0.05f)};
}

static EmbBert
random_bert(int32_t n_layers, EmbPooling pooling)
{
	EmbBertLayer *layers = malloc(n_layers * sizeof(EmbBertLayer));
	EmbLayerNorm norm = {new_floats(384, 1), new_floats(384, 1)};

	for (int i = 0; i < n_layers; i++)
		layers[i] = (EmbBertLayer) {
			random_linear(384, 384), random_linear(384, 384), random_linear(384, 384), random_linear(384, 384),
			random_linear(1536, 384), random_linear(384, 1536), norm, norm
		};
	return (EmbBert) {
		.hidden = 384, .n_layers = n_layers, .n_heads = 12, .intermediate = 1536, .n_vocab = 1000,
		.n_positions = 512, .n_types = 2, .activation = EMB_ACT_GELU, .pooling = pooling, .normalize = true,
		.ln_eps = 1e-12f, .word_embedding = new_floats(384 * 1000, 1), .position_embedding = new_floats(384 * 512, 1),
		.type_embedding = new_floats(384 * 2, 1), .embedding_norm = norm, .layers = layers
	};
}

typedef struct EmbedArg
{
	const EmbBert *bert;
	const EmbKernels *k;
	EmbBatch	batch;
	float	   *out;
} EmbedArg;

static void
run_embed(void *arg)
{
	EmbedArg   *e = arg;
	EmbAllocator mem = emb_malloc_allocator();

	if (emb_encoder_bert(e->bert, e->k, &e->batch, &mem, NULL, e->out, NULL) != EMB_OK)
		exit(1);
}

static void
bench_embed(const char *name, const EmbBert *bert, const EmbKernels *k, int32_t n_seqs, int32_t length)
{
	int32_t    *offsets = malloc((n_seqs + 1) * sizeof(int32_t));
	int32_t    *ids = malloc(n_seqs * length * sizeof(int32_t));
	EmbedArg	e = {bert, k, {n_seqs, offsets, ids, NULL}, malloc(n_seqs * 384 * sizeof(float))};
	double		n = (double) n_seqs * length;
	Timing		t;

	for (int32_t i = 0; i <= n_seqs; i++)
		offsets[i] = i * length;
	for (int32_t i = 0; i < n_seqs * length; i++)
		ids[i] = i * 7 % 1000;
	t = measure(run_embed, &e);
	printf("  %-9s %2d x %3d tokens	%8.0f tokens/s best, %8.0f median\n", name, n_seqs, length, n / t.best, n / t.median);
	free(offsets);
	free(ids);
	free(e.out);
}

static void
bench_level(const char *level, const EmbBert *bge, const EmbBert *minilm)
{
	const EmbKernels *k;
	EmbWork		work;

	if (emb_kernels_select(level, NULL) != EMB_OK)
	{
		printf("%s: not available here\n", level);
		return;
	}
	k = emb_kernels();
	printf("%s\n", k->name);
	emb_work_begin(&work, k, NULL);
	bench_multiply(&work, strcmp(level, "scalar") == 0 ? 12 : 128, 384, 384);
	if (strcmp(level, "scalar") == 0)
	{
		bench_rows(k, 384);
		return;
	}
	bench_multiply(&work, 128, 384, 1536);
	bench_multiply(&work, 128, 1536, 384);
	bench_multiply(&work, 13, 1536, 384);
	bench_multiply(&work, 1, 1536, 384);
	bench_multiply(&work, 512, 4096, 1024);
	bench_attention(&work, 128, 12, 32);
	bench_attention(&work, 512, 12, 32);
	bench_attention(&work, 512, 12, 64);
	bench_rows(k, 384);
	bench_rows(k, 512);
	bench_embed("bge-small", bge, k, 1, 8);
	bench_embed("bge-small", bge, k, 1, 128);
	bench_embed("bge-small", bge, k, 16, 128);
	bench_embed("bge-small", bge, k, 4, 512);
	bench_embed("MiniLM-L6", minilm, k, 16, 128);
}

int
main(int argc, char **argv)
{
	static const char *const all[] = {"avx512vnni", "avx2", "scalar"};
	EmbBert		bge = random_bert(12, EMB_POOL_CLS);
	EmbBert		minilm = random_bert(6, EMB_POOL_MEAN);

	if (argc > 1)
		for (int i = 1; i < argc; i++)
			bench_level(argv[i], &bge, &minilm);
	else
		for (int i = 0; i < 3; i++)
			bench_level(all[i], &bge, &minilm);
	return 0;
}
