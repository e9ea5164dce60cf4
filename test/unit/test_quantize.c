/*
 * test_quantize.c
 *		The quantizer's arithmetic on small matrices whose result is known, and
 *		on those that could upset it: nothing, one outlier, the ends of single
 *		precision.
 */
#include "unit.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "convert/quantize.h"
#include "convert/rounding.h"

#define MAX_IN	200

/* ------------------------------------------------------------- smoothing */

/* smooth against x^(e/8) / w^(1 - e/8) by pow, up to one power of two for all. */
static double
furthest_from_pow(const float *x, const float *w, int n, int eighths)
{
	float		smooth[MAX_IN];
	double		furthest = 0;
	double		unit = 0;

	emb_quantize_smoothing(x, w, n, eighths, smooth);
	for (int i = 0; i < n; i++)
	{
		double		ratio = smooth[i] / (pow(x[i], eighths / 8.0) / pow(w[i], 1 - eighths / 8.0));

		if (i == 0)
			unit = exp2(round(log2(ratio)));
		furthest = fmax(furthest, fabs(ratio / unit - 1));
	}
	return furthest;
}

static void
test_smoothing(void)
{
	float		x[MAX_IN],
				w[MAX_IN],
				smooth[MAX_IN];

	for (int i = 0; i < MAX_IN; i++)
	{
		x[i] = 0.05f + (i * 37 % 101);
		w[i] = 0.001f * (1 + i * 53 % 97);
	}
	x[7] = 101;					/* 0.05 is above 1/1024 of it after all */
	for (int i = 0; i < MAX_IN; i++)
		x[i] = x[i] < 0.1f ? 0.1f : x[i];
	for (int eighths = 0; eighths <= 8; eighths++)
	{
		double		furthest = furthest_from_pow(x, w, MAX_IN, eighths);

		CHECKF(furthest < 1e-6, "%d eighths: off by %g", eighths, furthest);
	}

	/* around 1 */
	emb_quantize_smoothing(x, w, MAX_IN, 5, smooth);
	{
		double		sum = 0;

		for (int i = 0; i < MAX_IN; i++)
			sum += log2(smooth[i]);
		CHECKF(fabs(sum / MAX_IN) < 1, "%g", sum / MAX_IN);
	}

	/* channels that are never used, or have no weights, count as 1/1024 of the largest */
	memset(x, 0, sizeof(x));
	memset(w, 0, sizeof(w));
	x[0] = 1024;
	w[1] = 4;
	emb_quantize_smoothing(x, w, 4, 8, smooth);
	CHECK(smooth[0] == 1024 * smooth[1] && smooth[1] == smooth[2] && smooth[2] == smooth[3]);
	emb_quantize_smoothing(x, w, 4, 0, smooth);
	CHECK(smooth[0] == 1024 * smooth[1] && smooth[0] == smooth[2]);

	/* nothing at all: no smoothing */
	x[0] = w[1] = 0;
	emb_quantize_smoothing(x, w, 3, 4, smooth);
	CHECK(smooth[0] == smooth[1] && smooth[1] == smooth[2] && smooth[0] > 0.25f && smooth[0] < 4);

	/* the ends of single precision */
	x[0] = FLT_MAX;
	x[1] = 1e-45f;
	w[0] = 1e-45f;
	w[1] = FLT_MAX;
	for (int eighths = 0; eighths <= 8; eighths++)
	{
		emb_quantize_smoothing(x, w, 2, eighths, smooth);
		CHECKF(isfinite(smooth[0]) && isfinite(1 / smooth[0]) && smooth[0] > 0 && isfinite(smooth[1]) && smooth[1] > 0,
			   "%g %g", smooth[0], smooth[1]);
	}
}

/* ---------------------------------------------------------------- panels */

typedef struct Panel
{
	int			n_rows,
				n_in;
	float		weights[EMB_PANEL][MAX_IN];
	float		packed[MAX_IN * EMB_PANEL];
	int8_t		rows[EMB_PANEL * MAX_IN];
	int8_t		tiles[EMB_PANEL * 256];
	float		scale[EMB_PANEL];
	int32_t		sums[EMB_PANEL];
} Panel;

static Panel p;

static void
begin(int n_rows, int n_in)
{
	memset(&p, 0, sizeof(p));
	memset(p.tiles, 0x55, sizeof(p.tiles));
	p.n_rows = n_rows;
	p.n_in = n_in;
}

static bool
quantize(const float *smooth)
{
	for (int r = 0; r < p.n_rows; r++)
	{
		for (int i = 0; i < p.n_in; i++)
			p.packed[i * EMB_PANEL + r] = p.weights[r][i];
	}
	return emb_quantize_panel(p.packed, p.n_rows, p.n_in, smooth, p.rows, p.tiles, p.scale, p.sums);
}

static int
code(int r, int i)
{
	return p.tiles[i / 4 * 64 + r * 4 + i % 4];
}

/* What holds for any panel: no -128, the largest is 127, sums are sums, padding is zero, no weight is off by more than half a step. */
static void
check_panel(const float *smooth, const char *what)
{
	int			n_bad = 0;
	int			padded = (p.n_in + 63) / 64 * 64;

	for (int r = 0; r < EMB_PANEL; r++)
	{
		int			sum = 0;
		int			largest = 0;

		for (int i = 0; i < padded; i++)
		{
			int			q = code(r, i);
			bool		real = r < p.n_rows && i < p.n_in;
			double		w = real ? (double) p.weights[r][i] * (smooth != NULL ? smooth[i] : 1) : 0;

			sum += q;
			largest = abs(q) > largest ? abs(q) : largest;
			n_bad += !real && q != 0;
			n_bad += real && p.scale[r] > 0 && fabs(w - q * (double) p.scale[r]) > p.scale[r] * 0.50001;
		}
		n_bad += sum != p.sums[r];
		n_bad += p.scale[r] > 0 ? largest != 127 : largest != 0 || p.scale[r] != 0;
	}
	CHECKF(n_bad == 0, "%s: %d", what, n_bad);
}

static void
test_known_panel(void)
{
	begin(3, 5);
	memcpy(p.weights[0], (float[]) {127, -127, 0.5f, 1.5f, -2.5f}, 5 * sizeof(float));
	memcpy(p.weights[1], (float[]) {0, 0, 0, 0, 0}, 5 * sizeof(float));
	memcpy(p.weights[2], (float[]) {-254, 2, 4, 5, -1}, 5 * sizeof(float));
	CHECK(quantize(NULL));
	check_panel(NULL, "known");
	/* ties go to even */
	CHECK(code(0, 0) == 127 && code(0, 1) == -127 && code(0, 2) == 0 && code(0, 3) == 2 && code(0, 4) == -2);
	CHECK(p.scale[0] == 1 && p.sums[0] == 0);
	CHECK(p.scale[1] == 0 && p.sums[1] == 0);
	CHECK(code(2, 0) == -127 && code(2, 1) == 1 && code(2, 2) == 2 && code(2, 3) == 2 && code(2, 4) == 0);
	CHECK(p.scale[2] == 2 && p.sums[2] == -122 && p.scale[3] == 0);

	/* smoothing multiplies columns before */
	{
		static const float smooth[5] = {1, 1, 2, 1, 50.8f};

		CHECK(quantize(smooth));
		check_panel(smooth, "known, smoothed");
		CHECK(p.scale[0] == 1 && code(0, 2) == 1 && code(0, 4) == -127);
	}
}

static void
test_panels(void)
{
	static const int sizes[] = {1, 3, 4, 5, 63, 64, 65, 128, 200};
	float		smooth[MAX_IN];
	uint32_t	state = 5;

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
	{
		for (int n_rows = 1; n_rows <= EMB_PANEL; n_rows += 5)
		{
			begin(n_rows, sizes[s]);
			for (int i = 0; i < p.n_in; i++)
			{
				smooth[i] = 0.25f + i % 7;
				for (int r = 0; r < n_rows; r++)
				{
					state = state * 1664525 + 1013904223;
					p.weights[r][i] = (float) (int32_t) state * 1e-9f;
				}
			}
			CHECK(quantize(NULL));
			check_panel(NULL, "random");
			CHECK(quantize(smooth));
			check_panel(smooth, "random, smoothed");
		}
	}
}

static void
test_extreme_panels(void)
{
	float		smooth[4] = {1, 1, 1, 1e10f};

	/* one outlier: everything else is less than half a step */
	begin(1, 130);
	for (int i = 0; i < 130; i++)
		p.weights[0][i] = 0.001f;
	p.weights[0][77] = -1e6f;
	CHECK(quantize(NULL));
	check_panel(NULL, "an outlier");
	CHECK(p.sums[0] == -127);

	/* all the same */
	for (int i = 0; i < 130; i++)
		p.weights[0][i] = -0.3f;
	CHECK(quantize(NULL));
	check_panel(NULL, "constant");
	CHECK(p.sums[0] == -127 * 130);

	/* too small to divide by, denormal, the largest, a product that is none */
	begin(4, 4);
	p.weights[0][1] = 1e-31f;
	p.weights[1][1] = 1e-45f;
	p.weights[2][1] = FLT_MAX;
	p.weights[2][2] = FLT_MAX / 254;
	p.weights[3][3] = 1e29f;
	CHECK(quantize(NULL));
	CHECK(p.scale[0] == 0 && p.sums[0] == 0 && p.scale[1] == 0 && p.sums[1] == 0);
	CHECK(isfinite(p.scale[2]) && code(2, 1) == 127 && code(2, 2) <= 1 && code(3, 3) == 127);
	CHECK(!quantize(smooth));
	smooth[3] = 1;
	CHECK(quantize(smooth));
}

static void
test_rows(void)
{
	float		x[5] = {1, -2, 0.5f, 254, -0.99f};
	float		zero[5] = {0};
	float		one[5] = {1, 1, 1, 1, 1};
	float		factor[5] = {1, 1, 0.0625f, 127, 1};
	int8_t		q[5];

	CHECK(emb_quantize_row(x, one, 5, q) == 2);
	CHECK(q[0] == 0 && q[1] == -1 && q[2] == 0 && q[3] == 127 && q[4] == 0);
	CHECK(emb_quantize_row(x, one, 1, q) == 1.0f / 127 && q[0] == 127);
	CHECK(emb_quantize_row(zero, one, 5, q) == 0 && q[0] == 0 && q[4] == 0);
	CHECK(emb_quantize_row(x, factor, 5, q) == 8.0f / 127 && q[2] == 127 && q[3] == 32 && q[0] == 16 && q[1] == -32);
	x[2] = FLT_MAX;
	CHECK(isfinite(emb_quantize_row(x, one, 5, q)) && q[2] == 127 && q[3] == 0);
	CHECK(!isfinite(emb_quantize_row(x, factor, 5, q)));
}

/* -------------------------------------------------------------- rounding */

#define N_OBSERVED	300

static float observed[N_OBSERVED * MAX_IN];

static float
random_value(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return (float) (int32_t) *state * 0x1p-31f;
}

/* Rows that a few hidden causes explain, as activations are. */
static void
make_observed(uint32_t state, int n_rows)
{
	static float causes[8][MAX_IN];

	for (int c = 0; c < 8; c++)
	{
		for (int i = 0; i < p.n_in; i++)
			causes[c][i] = random_value(&state);
	}
	for (int t = 0; t < n_rows; t++)
	{
		for (int i = 0; i < p.n_in; i++)
			observed[t * p.n_in + i] = 0.1f * random_value(&state);
		for (int c = 0; c < 8; c++)
		{
			float		amount = random_value(&state);

			for (int i = 0; i < p.n_in; i++)
				observed[t * p.n_in + i] += amount * causes[c][i];
		}
	}
}

/* Squared error of the panel's outputs over rows of observed. */
static double
output_error(const float *smooth, const float *factor, int first, int end)
{
	double		sum = 0;

	for (int t = first; t < end; t++)
	{
		for (int r = 0; r < p.n_rows; r++)
		{
			double		d = 0;

			for (int i = 0; i < p.n_in; i++)
				d += (double) observed[t * p.n_in + i] * factor[i] *
					((double) p.weights[r][i] * smooth[i] - code(r, i) * (double) p.scale[r]);
			sum += d * d;
		}
	}
	return sum;
}

static bool
always(void *ctx)
{
	(void) ctx;
	return true;
}

static void
test_rounding(void)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbStop		stop = {.should_stop = always};
	_Atomic bool stopped = false;
	EmbWork		work,
				stopping;
	EmbRounding r;
	float		smooth[MAX_IN],
				factor[MAX_IN];
	uint32_t	state = 11;
	double		nearest[2],
				rounded[2];
	int			n_bad = 0;

	begin(13, MAX_IN);
	make_observed(3, N_OBSERVED);
	for (int i = 0; i < p.n_in; i++)
	{
		smooth[i] = 1.0f + 0.5f * random_value(&state);
		factor[i] = 1 / smooth[i];
		for (int o = 0; o < p.n_rows; o++)
			p.weights[o][i] = o == 4 ? 0 : random_value(&state);
	}
	CHECK(emb_work_begin(&work, emb_kernels(), NULL, &stopped));
	CHECK(emb_rounding_begin(&r, emb_kernels(), MAX_IN, N_OBSERVED, 2, &mem));
	CHECK(quantize(smooth));
	nearest[0] = output_error(smooth, factor, 0, 200);
	nearest[1] = output_error(smooth, factor, 200, N_OBSERVED);
	/* learned on the first 200 rows, judged on the others as well */
	CHECK(emb_rounding_set_input(&r, &work, observed, p.n_in, 200, factor));
	CHECK(emb_round_panel(&r, 1, &work, p.packed, p.n_rows, smooth, p.scale, p.rows, p.tiles, p.sums));
	rounded[0] = output_error(smooth, factor, 0, 200);
	rounded[1] = output_error(smooth, factor, 200, N_OBSERVED);
	CHECKF(rounded[0] < 0.5 * nearest[0] && rounded[1] < 0.6 * nearest[1], "%g to %g, %g to %g",
		   nearest[0], rounded[0], nearest[1], rounded[1]);
	for (int o = 0; o < EMB_PANEL; o++)
	{
		int			sum = 0;

		for (int i = 0; i < (MAX_IN + 63) / 64 * 64; i++)
		{
			sum += code(o, i);
			n_bad += (o >= p.n_rows || i >= p.n_in || o == 4) && code(o, i) != 0;
		}
		n_bad += sum != p.sums[o];
	}
	CHECKF(n_bad == 0, "%d", n_bad);

	/* no input at all, one row, what overflows: codes all the same */
	memset(observed, 0, sizeof(observed));
	CHECK(emb_rounding_set_input(&r, &work, observed, p.n_in, 200, factor));
	CHECK(emb_round_panel(&r, 1, &work, p.packed, p.n_rows, smooth, p.scale, p.rows, p.tiles, p.sums));
	check_panel(smooth, "rounded for no input");
	for (int i = 0; i < p.n_in; i++)
		observed[i] = 1e38f;
	CHECK(emb_rounding_set_input(&r, &work, observed, p.n_in, 1, factor));
	CHECK(emb_round_panel(&r, 1, &work, p.packed, p.n_rows, smooth, p.scale, p.rows, p.tiles, p.sums));

	stopped = false;
	CHECK(!emb_work_begin(&stopping, emb_kernels(), &stop, &stopped));
	stopping.macs_left = 0;
	CHECK(!emb_round_panel(&r, 0, &stopping, p.packed, p.n_rows, smooth, p.scale, p.rows, p.tiles, p.sums));
	emb_rounding_end(&r);
}

int
main(void)
{
	test_smoothing();
	test_known_panel();
	test_panels();
	test_extreme_panels();
	test_rows();
	test_rounding();
	return done_testing();
}
