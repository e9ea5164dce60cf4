/*
 * test_group_smoothing.c
 *		Smoothing of weights with scales by groups: powers of two that are inverse
 *		to the inputs' factors, less error where a group is larger than others, one
 *		result on every level; none where products might be inexact; orders,
 *		cancels, memory.
 */
#include "model_util.h"

#include <math.h>

#include "convert/group_smoothing.h"

#define N		160				/* five groups of 32 */
#define N_ROWS	40
#define N_OUT	20
#define N_GROUPS	5

static float rows[N_ROWS * N];
static float largest[N];
static float panels[2 * 16 * N];
static uint16_t order[N];

static uint32_t state;

static float
next_float(void)
{
	state = state * 1664525u + 1013904223u;
	return (float) (int32_t) (state | 1) * 0x1p-31f;
}

/* Inputs of one group are so many times larger; with an order, those whose number modulo 5 is the group's. */
static void
fill(int group, float factor, bool has_order, float weight)
{
	state = 7;
	memset(largest, 0, sizeof(largest));
	for (int k = 0; k < N; k++)
		order[k] = (uint16_t) (k % 32 * N_GROUPS + k / 32);
	for (int i = 0; i < N_ROWS * N; i++)
	{
		int			k = i % N;
		float		x = next_float() * ((has_order ? k % N_GROUPS : k / 32) == group ? factor : 1);

		rows[i] = x;
		largest[k] = fabsf(x) > largest[k] ? fabsf(x) : largest[k];
	}
	memset(panels, 0, sizeof(panels));
	for (int o = 0; o < N_OUT; o++)
		for (int k = 0; k < N; k++)
			panels[(o / 16 * N + k) * 16 + o % 16] = next_float() * weight;
}

typedef struct Result
{
	float		smooth[N_GROUPS];
	float		factor[N];
} Result;

static EmbStatus
run(bool has_order, const EmbStop *stop, const EmbAllocator *mem, Result *r, EmbError *err)
{
	EmbObserved seen = {.n = N, .n_rows = N_ROWS, .largest = largest, .rows = rows};
	EmbLinear	linear = {.form = EMB_LINEAR_F32, .n_out = N_OUT, .n_in = N, .weight = panels};
	EmbGroupSmoothing s = {.seen = &seen, .n_linears = 1, .linears = {&linear}, .group = 32, .order = has_order ? order : NULL};
	EmbImportSteps steps = {.mem = mem, .stop = stop};

	return emb_smooth_groups(&s, &steps, r->smooth, r->factor, err);
}

/* The squared error of the outputs with these factors. */
static double
output_error(const Result *r)
{
	double		sum = 0;

	for (int i = 0; i < N_ROWS; i++)
	{
		uint8_t		codes[192];
		int32_t		zero;
		float		scale = emb_kernels()->quantize_u8(rows + i * N, r->factor, N, 192, codes, &zero);

		for (int o = 0; o < N_OUT; o++)
		{
			double		d = 0;

			for (int k = 0; k < N; k++)
				d += ((double) (codes[k] - zero) * scale / r->factor[k] - rows[i * N + k]) * panels[(o / 16 * N + k) * 16 + o % 16];
			sum += d * d;
		}
	}
	return sum;
}

static Result
smooth(bool has_order)
{
	EmbAllocator mem = emb_malloc_allocator();
	Result		r;
	EmbError	err;

	CHECK(run(has_order, NULL, &mem, &r, &err) == EMB_OK);
	for (int k = 0; k < N; k++)
	{
		int			exponent;

		if (frexpf(r.smooth[k / 32], &exponent) != 0.5f || r.factor[has_order ? order[k] : k] * r.smooth[k / 32] != 1)
		{
			CHECKF(false, "group %d: %g, input %d: %g", k / 32, (double) r.smooth[k / 32], k, (double) r.factor[k]);
			break;
		}
	}
	return r;
}

static void
test_outliers(void)
{
	for (int i = 0; i < 4; i++)
	{
		bool		has_order = i % 2 != 0;
		int			group = i + 1;
		Result		r,
					none;

		fill(group, 30, has_order, 1);
		r = smooth(has_order);
		for (int k = 0; k < N; k++)
			none.factor[k] = 1;
		for (int g = 0; g < N_GROUPS; g++)
			CHECKF(g == group || r.smooth[g] < r.smooth[group], "group %d, smooth %g", g, (double) r.smooth[g]);
		CHECKF(output_error(&r) < 0.5 * output_error(&none), "%g, without %g", output_error(&r), output_error(&none));
	}
}

/* Nothing to gain, or not certain to be exact: factors of 1. */
static void
test_none(void)
{
	static const float sizes[] = {1, 0x1p-95f, 0x1p95f, 0};

	for (int i = 0; i < 4; i++)
	{
		Result		r;

		fill(2, i == 0 ? 1 : 30, false, sizes[i]);
		r = smooth(false);
		if (i == 3)				/* no weights: any factor is right */
			continue;
		for (int g = 0; g < N_GROUPS; g++)
			CHECKF(r.smooth[g] == 1, "weights of %g: group %d, smooth %g", (double) sizes[i], g, (double) r.smooth[g]);
	}
}

static void
test_levels(void)
{
	static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon"};
	Result		first;
	int			n = 0;

	fill(3, 11, true, 1);
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
	{
		Result		r;

		if (!emb_isa_is_available(levels[i]))
			continue;
		CHECK(emb_isa_select(levels[i], NULL) == EMB_OK);
		r = smooth(true);
		CHECKF(n == 0 || memcmp(&r, &first, sizeof(r)) == 0, "%s differs", levels[i]);
		first = r;
		n++;
	}
	CHECK(emb_isa_select("auto", NULL) == EMB_OK);
}

static bool
stop_after(void *ctx)
{
	return --*(int *) ctx < 0;
}

static void
test_ways_out(void)
{
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	int			n_left;
	EmbStop		stop = {.ctx = &n_left, .should_stop = stop_after};
	Result		r;
	EmbError	err;
	EmbStatus	status = EMB_ERR_CANCELLED;

	fill(1, 30, false, 1);
	for (int i = 0; status != EMB_OK && i < 100000; i += 1 + i / 4)
	{
		n_left = i;
		status = run(false, &stop, &mem, &r, &err);
		CHECK((status == EMB_ERR_CANCELLED || status == EMB_OK) && count.n_live == 0);
	}
	CHECK(status == EMB_OK);
	status = EMB_ERR_NOMEM;
	for (int i = 0; status != EMB_OK && i < 100; i++)
	{
		count.fail_after = i;
		status = run(false, NULL, &mem, &r, &err);
		CHECK((status == EMB_ERR_NOMEM || status == EMB_OK) && count.n_live == 0);
	}
	CHECK(status == EMB_OK);
}

int
main(void)
{
	test_outliers();
	test_none();
	test_levels();
	test_ways_out();
	return done_testing();
}
