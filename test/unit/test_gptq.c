/*
 * test_gptq.c
 *		Rounding to 4 bits with feedback: nearer outputs than nearest codes
 *		give, near to a plain computation in double; the same bits on every
 *		level and any number of threads; odd sizes, channels without input,
 *		weights that overflow, cancels.
 */
#include <math.h>
#include <time.h>

#include "model_util.h"

#include "convert/gptq.h"
#include "convert/quantize.h"

typedef struct Task
{
	int32_t		n,
				n_rows,
				n_out,
				group;
	int			rank;			/* of the inputs */
	bool		with_gaps;		/* some channels have no input */
	float	   *x;				/* [n_rows, n] as quantized */
	uint8_t    *codes_x;
	float	   *scales_x;
	int32_t    *zeros_x;
	float	   *smooth;			/* [n] */
	float	   *w;				/* [panels][n][16] */
	uint8_t    *codes;			/* [panels][16, n] */
	float	   *scales;			/* [panels][groups, 16] */
	uint8_t    *zeros;
} Task;

static uint32_t state;

static float
uniform(void)
{
	state = state * 1664525 + 1013904223;
	return (float) ((int) (state >> 8) - (1 << 23)) / (1 << 23);
}

static int32_t
n_panels(const Task *t)
{
	return (t->n_out + 15) / 16;
}

static int32_t
n_groups(const Task *t)
{
	return t->group > 0 ? (t->n - 1) / t->group + 1 : 1;
}

/* Inputs of a low rank with noise: channels are correlated, and of very different strengths. */
static void
fill_inputs(Task *t)
{
	float	   *basis = malloc((size_t) t->rank * t->n * sizeof(float));
	float	   *row = malloc(t->n * sizeof(float));

	for (int i = 0; i < t->rank * t->n; i++)
		basis[i] = uniform() * (i % t->n % 7 == 0 ? 4 : 1);
	for (int32_t i = 0; i < t->n_rows; i++)
	{
		for (int32_t k = 0; k < t->n; k++)
			row[k] = 0.05f * uniform();
		for (int r = 0; r < t->rank; r++)
		{
			float		a = uniform();

			for (int32_t k = 0; k < t->n; k++)
				row[k] += a * basis[r * t->n + k];
		}
		for (int32_t k = 0; k < t->n && t->with_gaps; k += 5)
			row[k] = 0;
		t->scales_x[i] = emb_kernels()->quantize_u8(row, NULL, t->n, t->n, t->codes_x + (size_t) i * t->n, &t->zeros_x[i]);
		for (int32_t k = 0; k < t->n; k++)
			t->x[(size_t) i * t->n + k] = (float) (t->codes_x[(size_t) i * t->n + k] - t->zeros_x[i]) * t->scales_x[i];
	}
	free(basis);
	free(row);
}

static Task
make_task(int32_t n, int32_t n_rows, int32_t n_out, int32_t group, int rank, bool with_gaps)
{
	Task		t = {.n = n, .n_rows = n_rows, .n_out = n_out, .group = group, .rank = rank, .with_gaps = with_gaps};
	size_t		panels = n_panels(&t);

	state = 5;
	t.x = malloc((size_t) n_rows * n * sizeof(float));
	t.codes_x = malloc((size_t) n_rows * n);
	t.scales_x = malloc(n_rows * sizeof(float));
	t.zeros_x = malloc(n_rows * sizeof(int32_t));
	t.smooth = malloc(n * sizeof(float));
	t.w = aligned_alloc(64, panels * n * 64);
	t.codes = malloc(panels * 16 * n);
	t.scales = malloc(panels * 16 * n_groups(&t) * sizeof(float));
	t.zeros = malloc(panels * 16 * n_groups(&t));
	fill_inputs(&t);
	for (int32_t k = 0; k < n; k++)
		t.smooth[k] = 1 + 0.5f * uniform();
	for (size_t i = 0; i < panels * 16 * n; i++)
		t.w[i] = (int32_t) (i / (16 * n) * 16 + i % 16) < n_out ? uniform() : 0;
	return t;
}

static void
free_task(Task *t)
{
	void	   *owned[] = {t->x, t->codes_x, t->scales_x, t->zeros_x, t->smooth, t->w, t->codes, t->scales, t->zeros};

	for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
		free(owned[i]);
}

static EmbGptqPanel
panel_of(const Task *t, int32_t p)
{
	return (EmbGptqPanel) {
		.codes = t->codes + (size_t) p * 16 * t->n,
		.scales = t->scales + (size_t) p * 16 * n_groups(t),
		.zeros = t->zeros + (size_t) p * 16 * n_groups(t),
	};
}

/* ------------------------------------------------------------------ running */

typedef struct Run
{
	Task	   *t;
	EmbGptq		g;
	EmbTeam		team;
	EmbWork		works[EMB_TEAM_MAX];
	EmbWork    *all[EMB_TEAM_MAX];
	_Atomic bool stopped;
	_Atomic bool overflown;
} Run;

static void
part_panel(void *ctx, int32_t p, int32_t worker)
{
	Run		   *r = ctx;
	EmbGptqPanel out = panel_of(r->t, p);
	int32_t		left = r->t->n_out - p * 16;
	bool		overflown = false;

	if (!r->stopped)
		(void) emb_gptq_panel(&r->g, worker, r->t->w + (size_t) p * 16 * r->t->n, left < 16 ? left : 16, r->t->smooth, r->t->group, &out, &overflown);
	if (overflown)
		r->overflown = true;
}

/* False: stopped, or no memory. */
static bool
run_task(Task *t, int32_t n_threads, const EmbStop *stop, const EmbAllocator *mem, Run *r)
{
	EmbCodeRows rows = {t->n, t->n_rows, t->n, t->codes_x, t->scales_x, t->zeros_x};
	EmbFpState	fp = emb_fp_enter();
	bool		ok;

	*r = (Run) {.t = t};
	emb_team_join(&r->team, n_threads);
	for (int32_t i = 0; i < r->team.n_workers; i++)
	{
		(void) emb_work_begin(&r->works[i], emb_kernels(), i == 0 ? stop : NULL, &r->stopped);
		r->all[i] = &r->works[i];
	}
	ok = emb_gptq_begin(&r->g, t->n, &r->team, r->all, mem) && emb_gptq_set_input(&r->g, &rows);
	if (ok)
	{
		emb_team_run(&r->team, n_panels(t), part_panel, r);
		ok = !r->stopped;
	}
	emb_team_leave(&r->team);
	emb_fp_leave(fp);
	return ok;
}

/* The squared error of the outputs, relative to their squares. */
static double
output_error(const Task *t)
{
	double		error = 0,
				energy = 0;

	for (int32_t o = 0; o < t->n_out; o++)
	{
		const float *w = t->w + (size_t) (o / 16) * 16 * t->n + o % 16;
		EmbGptqPanel q = panel_of(t, o / 16);

		for (int32_t i = 0; i < t->n_rows; i++)
		{
			double		exact = 0,
						rounded = 0;

			for (int32_t k = 0; k < t->n; k++)
			{
				size_t		at = (size_t) (t->group > 0 ? k / t->group : 0) * 16 + o % 16;
				double		x = t->x[(size_t) i * t->n + k];

				exact += x * (double) w[(size_t) k * 16] * t->smooth[k];
				rounded += x * ((int) q.codes[(size_t) (o % 16) * t->n + k] - (int) q.zeros[at]) * (double) q.scales[at];
			}
			energy += exact * exact;
			error += (exact - rounded) * (exact - rounded);
		}
	}
	return error / energy;
}

static uint64_t
hash_results(const Task *t)
{
	uint64_t	h = UINT64_C(0xCBF29CE484222325);
	const uint8_t *parts[] = {t->codes, (const uint8_t *) t->scales, t->zeros};
	size_t		sizes[] = {(size_t) n_panels(t) * 16 * t->n, (size_t) n_panels(t) * 16 * n_groups(t) * 4, (size_t) n_panels(t) * 16 * n_groups(t)};

	for (int p = 0; p < 3; p++)
	{
		for (size_t i = 0; i < sizes[p]; i++)
			h = (h ^ parts[p][i]) * UINT64_C(0x100000001B3);
	}
	return h;
}

/* The nearest codes, with the energies that the feedback was run with. */
static void
round_task(Task *t, const EmbGptq *g)
{
	float	   *w = malloc((size_t) t->n * 64);
	bool		overflown;
	_Atomic bool stopped = false;
	EmbWork		work;

	CHECK(emb_work_begin(&work, emb_kernels(), NULL, &stopped));
	for (int32_t p = 0; p < n_panels(t); p++)
	{
		EmbGptqPanel out = panel_of(t, p);

		CHECK(emb_gptq_round_panel(&work, t->w + (size_t) p * 16 * t->n, t->n, t->n_out - p * 16 < 16 ? t->n_out - p * 16 : 16, t->smooth, g->energies, t->group, &out, w, &overflown) && !overflown);
	}
	free(w);
}

/* -------------------------------------------------------------- the feedback */

/* R of H = R^T D R from a plain factorization in double, by the same order. */
static void
check_factor(const Task *t, const EmbGptq *g)
{
	int32_t		n = t->n;
	double	   *h = calloc((size_t) n * n, sizeof(double));
	double		worst = 0;

	for (int32_t i = 0; i < n; i++)
	{
		for (int32_t k = i; k < n; k++)
		{
			for (int32_t row = 0; row < t->n_rows; row++)
				h[(size_t) i * n + k] += (double) t->x[(size_t) row * n + g->order[i]] * t->x[(size_t) row * n + g->order[k]];
		}
		h[(size_t) i * n + i] += g->least;
	}
	for (int32_t i = 0; i < n; i++)
	{
		const float *found = (const float *) g->matrix + (size_t) i * g->stride;

		for (int32_t j = i + 1; j < n; j++)
		{
			double		a = h[(size_t) i * n + j] / h[(size_t) i * n + i];

			for (int32_t k = j; k < n; k++)
				h[(size_t) j * n + k] -= a * h[(size_t) i * n + k];
		}
		for (int32_t k = i + 1; k < n; k++)
			worst = fmax(worst, fabs(h[(size_t) i * n + k] / h[(size_t) i * n + i] - found[k]));
	}
	CHECKF(worst < 2e-4, "n %d: the factor differs by %g", n, worst);
	for (int32_t i = 1; i < n; i++)
		CHECK(g->energies[g->order[i - 1]] <= g->energies[g->order[i]]);
	free(h);
}

static void
test_task(const char *what, int32_t n, int32_t n_rows, int32_t n_out, int32_t group, int rank, bool with_gaps, double bound)
{
	Task		t = make_task(n, n_rows, n_out, group, rank, with_gaps);
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	uint64_t	hash = 0;
	double		error = 0;
	Run			r;

	for (int32_t n_threads = 1; n_threads <= 3; n_threads++)
	{
		CHECK(run_task(&t, n_threads, NULL, &mem, &r));
		if (n_threads == 1)
		{
			hash = hash_results(&t);
			error = output_error(&t);
			check_factor(&t, &r.g);
		}
		CHECKF(hash_results(&t) == hash, "%s: other codes on %d threads", what, n_threads);
		if (n_threads == 3)
			round_task(&t, &r.g);
		emb_gptq_end(&r.g);
	}
	printf("# %s: error of outputs %.2e, of the nearest codes %.2e, ratio %.3f\n", what, error, output_error(&t), error / output_error(&t));
	CHECKF(error < bound * output_error(&t), "%s: %g, and %g with the nearest codes", what, error, output_error(&t));
	CHECK(count.n_live == 0);
	for (int32_t i = 0; i < 16 * n_panels(&t) * n; i++)
		CHECKF(t.codes[i] <= 15, "code %d", t.codes[i]);
	free_task(&t);
}

/* One code of all levels. */
static void
test_levels(void)
{
	static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon", "neoni8mm"};
	Task		t = make_task(200, 500, 40, 64, 30, false);
	EmbAllocator mem = emb_malloc_allocator();
	uint64_t	hash = 0;
	Run			r;

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
	{
		if (!emb_isa_is_available(levels[i]))
			continue;
		CHECK(emb_isa_select(levels[i], NULL) == EMB_OK && run_task(&t, 2, NULL, &mem, &r));
		hash = hash == 0 ? hash_results(&t) : hash;
		CHECKF(hash_results(&t) == hash, "other codes on %s", levels[i]);
		emb_gptq_end(&r.g);
	}
	CHECK(emb_isa_select("auto", NULL) == EMB_OK);
	free_task(&t);
}

/* ------------------------------------------------------------------ the rest */

/* No input at all: the nearest codes. An output of zeros: scale 0. */
static void
test_zeros(void)
{
	Task		t = make_task(70, 10, 20, 32, 3, false);
	EmbAllocator mem = emb_malloc_allocator();
	uint64_t	hash;
	Run			r;

	memset(t.codes_x, 0, (size_t) t.n * t.n_rows);
	memset(t.zeros_x, 0, t.n_rows * sizeof(int32_t));
	for (int32_t k = 0; k < t.n; k++)
		t.w[(size_t) k * 16 + 3] = 0;
	CHECK(run_task(&t, 1, NULL, &mem, &r) && !r.overflown);
	hash = hash_results(&t);
	CHECK(t.scales[3] == 0 && t.zeros[3] == 0 && t.codes[3 * 70] == 0);
	/* all energies are equal, so the nearest codes are the best */
	round_task(&t, &r.g);
	CHECK(hash == hash_results(&t));
	emb_gptq_end(&r.g);
	t.w[17] = INFINITY;
	CHECK(run_task(&t, 1, NULL, &mem, &r) && r.overflown);
	emb_gptq_end(&r.g);
	t.w[17] = 3e38f;
	t.w[33] = -3e38f;
	t.smooth[1] = t.smooth[2] = 1;
	CHECK(run_task(&t, 1, NULL, &mem, &r) && r.overflown);
	emb_gptq_end(&r.g);
	free_task(&t);
}

typedef struct Watch
{
	long		n_polls,
				stop_at;		/* 0: never */
	double		last,
				longest;
} Watch;

static double
cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static bool
poll(void *ctx)
{
	Watch	   *w = ctx;
	double		now = cpu_seconds();

	w->longest = now - w->last > w->longest ? now - w->last : w->longest;
	w->last = now;
	return ++w->n_polls == w->stop_at;
}

/* The matrix of wide inputs, 1.2 GB at 12,288 channels, is given back in pieces of 8 MB. */
static void
test_release(void)
{
	EmbAllocator mem = emb_malloc_allocator();
	Watch		w = {0};
	EmbStop		stop = {&w, poll};
	_Atomic bool stopped = false;
	EmbTeam		team;
	EmbWork		work;
	EmbWork    *works[1] = {&work};
	EmbGptq		g;

	emb_team_join(&team, 1);
	CHECK(emb_work_begin(&work, emb_kernels(), &stop, &stopped) && emb_gptq_begin(&g, 2048, &team, works, &mem));
	w.n_polls = 0;
	emb_gptq_end(&g);
	CHECKF(w.n_polls >= 3, "%ld polls", w.n_polls);
	emb_team_leave(&team);
}

/*
 * Looks for a cancel at least every 10 ms, and ends at any of them. A stretch
 * that the code makes long is long in every run; one that a neighbour of this
 * CPU makes long is not.
 */
static void
test_stops(void)
{
	Task		t = make_task(1100, 900, 32, 128, 40, false);
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	Watch		w;
	EmbStop		stop = {&w, poll};
	long		n_polls;
	double		longest = 0;
	Run			r;

	for (int i = 0; i < 3; i++)
	{
		w = (Watch) {.last = cpu_seconds()};
		CHECK(run_task(&t, 1, &stop, &mem, &r));
		emb_gptq_end(&r.g);
		longest = i == 0 || w.longest < longest ? w.longest : longest;
	}
	n_polls = w.n_polls;
	printf("# longest %.1f ms, %ld polls\n", longest * 1000, n_polls);
	CHECKF(longest < 0.010 && n_polls > 10, "%.1f ms without a look, %ld polls", longest * 1000, n_polls);
	for (long i = 1; i <= n_polls; i += 1 + n_polls / 12)
	{
		w = (Watch) {.stop_at = i, .last = cpu_seconds()};
		CHECK(!run_task(&t, 1, &stop, &mem, &r) && w.n_polls == i);
		emb_gptq_end(&r.g);
	}
	for (long i = 0; i < 6; i++)
	{
		count.fail_after = i;
		CHECK(!run_task(&t, 1, NULL, &mem, &r));
		emb_gptq_end(&r.g);
	}
	CHECK(count.n_live == 0);
	free_task(&t);
}

int
main(void)
{
	test_task("many rows", 384, 1500, 48, 128, 60, false, 0.6);
	test_task("fewer rows than channels", 300, 100, 20, 64, 30, false, 0.5);
	test_task("channels without input", 150, 400, 33, 32, 20, true, 0.6);
	test_task("odd sizes", 101, 387, 17, 128, 12, false, 0.6);
	test_task("one scale a row", 129, 300, 5, 0, 12, false, 0.6);
	test_task("one channel", 1, 5, 1, 32, 1, false, 1.01);
	test_levels();
	test_zeros();
	test_stops();
	test_release();
	emb_threads_stop();
	return done_testing();
}
