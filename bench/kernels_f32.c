/*
 * kernels_f32.c
 *		Micro-benchmark of the fp32 kernels, one thread.
 *
 *		kernels_f32 [LEVEL ...]
 *
 * Prints for each level the best and the median of repeated runs, in CPU time:
 * GFLOPS (two per multiply-add) and nanoseconds an element. scalar gets small
 * sizes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/kernels.h"

#define N_RUNS_MAX	200
#define RUN_SECONDS	0.3
#define PANELS_AT_ONCE	8		/* one block over K of them stays in the second-level cache */

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

/* Runs for RUN_SECONDS, 3 to N_RUNS_MAX times, after one run that does not count. */
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
	} while (n < 3 || (n < N_RUNS_MAX && now() - start < RUN_SECONDS));
	qsort(times, n, sizeof(double), compare);
	return (Timing) {times[0], times[n / 2]};
}

typedef struct MultiplyArg
{
	const EmbKernels *k;
	EmbGemmF32	g;
} MultiplyArg;

/* In blocks of panels, as the encoder asks for. */
static void
run_multiply(void *arg)
{
	MultiplyArg *m = arg;

	for (int32_t first = 0; first < m->g.n_panels; first += PANELS_AT_ONCE)
	{
		EmbGemmF32	g = m->g;

		g.n_panels = g.n_panels - first < PANELS_AT_ONCE ? g.n_panels - first : PANELS_AT_ONCE;
		g.b += (size_t) first * EMB_PANEL * g.n_in;
		g.bias += first * EMB_PANEL;
		g.c += first * EMB_PANEL;
		m->k->gemm_f32(&g);
	}
}

static void
bench_multiply(const EmbKernels *k, int32_t n_rows, int32_t n_out, int32_t n_in)
{
	float	   *a = new_floats((size_t) n_rows * n_in, 1);
	float	   *b = new_floats((size_t) n_out * n_in, 1);
	float	   *c = new_floats((size_t) n_rows * n_out, 1);
	float	   *bias = new_floats(n_out, 1);
	MultiplyArg arg = {k, {.n_rows = n_rows, .n_in = n_in, .n_panels = n_out / EMB_PANEL, .a = a, .a_stride = n_in,
	.b = b, .bias = bias, .c = c, .c_stride = n_out}};
	Timing		t = measure(run_multiply, &arg);
	double		gflop = 2e-9 * n_rows * n_out * n_in;

	printf("  gemm %4d x %4d -> %4d	%8.1f GFLOPS best, %8.1f median\n", n_rows, n_in, n_out, gflop / t.best, gflop / t.median);
	free(a);
	free(b);
	free(c);
	free(bias);
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

static bool
bench_level(const char *level)
{
	const EmbKernels *k;
	EmbError	err;

	if (emb_kernels_select(level, &err) != EMB_OK)
	{
		printf("%s: not available here\n", level);
		return false;
	}
	k = emb_kernels();
	printf("level %s\n", k->name);
	if (strcmp(level, "scalar") == 0)
	{
		bench_multiply(k, 12, 384, 384);
		bench_rows(k, 384);
		return true;
	}
	bench_multiply(k, 128, 384, 384);
	bench_multiply(k, 128, 1536, 384);
	bench_multiply(k, 128, 384, 1536);
	bench_multiply(k, 13, 384, 1536);
	bench_multiply(k, 1, 384, 1536);
	bench_multiply(k, 512, 1024, 4096);
	bench_rows(k, 384);
	bench_rows(k, 512);
	return true;
}

int
main(int argc, char **argv)
{
	bool		ok = true;

	emb_fp_enter();
	if (argc == 1)
		ok = bench_level("auto");
	for (int i = 1; i < argc; i++)
		ok = bench_level(argv[i]) && ok;
	return ok ? 0 : 1;
}
