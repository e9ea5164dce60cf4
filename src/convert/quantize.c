/*
 * quantize.c
 *		Smoothing factors and rounding.
 */
#include "convert/quantize.h"

#include <math.h>
#include <string.h>

#define WEIGHT_MAX		127
#define NOTHING			1e-30f	/* smaller weights count as zero; 127 over this value is still finite */
#define RANGE			1024	/* between the largest and the smallest magnitude of channels */

/* x^(e/8), from square roots only. */
static double
power_eighths(double x, int e)
{
	double		half = sqrt(x);
	double		quarter = sqrt(half);
	double		y = e & 8 ? x : 1;

	if (e & 4)
		y *= half;
	if (e & 2)
		y *= quarter;
	if (e & 1)
		y *= sqrt(quarter);
	return y;
}

static float
largest_of(const float *x, int32_t n)
{
	float		m = 0;

	for (int32_t i = 0; i < n; i++)
		m = x[i] > m ? x[i] : m;
	return m;
}

/* At least 1/RANGE of the largest; 1 for all if all are zero. */
static double
magnitude(float x, float largest)
{
	if (largest < NOTHING)
		return 1;
	return x > largest / RANGE ? x : largest / RANGE;
}

void
emb_quantize_smoothing(const float *x, const float *w, int32_t n, int eighths, float *smooth)
{
	float		largest_x = largest_of(x, n);
	float		largest_w = largest_of(w, n);
	int64_t		exponents = 0;
	int			exponent;

	for (int32_t i = 0; i < n; i++)
	{
		double		s = power_eighths(magnitude(x[i], largest_x), eighths) /
			power_eighths(magnitude(w[i], largest_w), 8 - eighths);

		(void) frexp(s, &exponent);
		exponents += exponent;
	}
	for (int32_t i = 0; i < n; i++)
	{
		double		s = power_eighths(magnitude(x[i], largest_x), eighths) /
			power_eighths(magnitude(w[i], largest_w), 8 - eighths);

		smooth[i] = (float) ldexp(s, -(int) (exponents / n));
	}
}

/* To nearest even, |x| < 2^22; like rintf, for which baseline x86-64 has no instruction. */
static inline float
round_even(float x)
{
	return (x + 12582912.0f) - 12582912.0f;
}

static inline int8_t
to_code(float x)
{
	return (int8_t) (int) round_even(x > WEIGHT_MAX ? WEIGHT_MAX : x > -WEIGHT_MAX ? x : -WEIGHT_MAX);
}

static void
panel_maxima(const float *panel, int32_t n_in, const float *smooth, float largest[EMB_PANEL])
{
	memset(largest, 0, EMB_PANEL * sizeof(float));
	for (int32_t i = 0; i < n_in; i++)
	{
		const float *w = panel + (size_t) i * EMB_PANEL;
		float		s = smooth != NULL ? smooth[i] : 1;

		for (int r = 0; r < EMB_PANEL; r++)
		{
			float		x = __builtin_fabsf(w[r] * s);

			largest[r] = x > largest[r] ? x : largest[r];
		}
	}
}

bool
emb_quantize_panel(const float *panel, int32_t n_rows, int32_t n_in, const float *smooth,
				   int8_t *rows, int8_t *tiles, float *scale, int32_t *sums)
{
	float		largest[EMB_PANEL];
	float		inverse[EMB_PANEL];

	panel_maxima(panel, n_in, smooth, largest);
	for (int r = 0; r < EMB_PANEL; r++)
	{
		if (!isfinite(largest[r]))
			return false;
		scale[r] = largest[r] < NOTHING ? 0 : largest[r] / WEIGHT_MAX;
		inverse[r] = largest[r] < NOTHING ? 0 : WEIGHT_MAX / largest[r];
		sums[r] = 0;
	}
	for (int32_t i = 0; i < n_in; i++)
	{
		const float *w = panel + (size_t) i * EMB_PANEL;
		float		s = smooth != NULL ? smooth[i] : 1;

		for (int r = 0; r < n_rows; r++)
		{
			int8_t		q = to_code(w[r] * s * inverse[r]);

			rows[(size_t) r * n_in + i] = q;
			sums[r] += q;
		}
	}
	emb_pack_i8_panel(rows, n_rows, n_in, tiles);
	return true;
}

float
emb_quantize_row(const float *x, const float *factor, int32_t n, int8_t *q)
{
	float		largest = 0;
	float		inverse;

	for (int32_t i = 0; i < n; i++)
	{
		float		m = __builtin_fabsf(x[i] / factor[i]);

		largest = m > largest ? m : largest;
	}
	inverse = largest < NOTHING ? 0 : WEIGHT_MAX / largest;
	for (int32_t i = 0; i < n; i++)
		q[i] = to_code(x[i] / factor[i] * inverse);
	return largest < NOTHING ? 0 : largest / WEIGHT_MAX;
}
