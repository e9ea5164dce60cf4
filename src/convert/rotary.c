/*
 * rotary.c
 *		Our own logarithm, power, sine and cosine: the C library's results
 *		differ between machines, and images must not. Uses only +, -, *, / and
 *		rounding, in double; errors are a few 1e-16, far below a float's.
 */
#include "convert/rotary.h"

#include <math.h>

#define LN2		0x1.62e42fefa39efp-1

/*
 * pi / 2 in parts: the first part has 33 bits, so that its products with
 * integers below 2^20 are exact.
 */
#define HALF_PI_1	0x1.921fb544p0
#define HALF_PI_2	0x1.0b4611a626331p-34

/* ln x for x >= 1: 2 atanh((m - 1) / (m + 1)) for a mantissa m in [0.7, 1.42). */
static double
natural_log(double x)
{
	double		n = 0;
	double		t;
	double		t2;
	double		sum = 0;

	while (x >= 1.4142135623730951)
	{
		x *= 0.5;
		n += 1;
	}
	t = (x - 1) / (x + 1);
	t2 = t * t;
	/* |t| < 0.172: 0.172^24 / 25 is below 1e-19 */
	for (int k = 23; k >= 1; k -= 2)
		sum = sum * t2 + 1.0 / k;
	return 2 * t * sum + n * LN2;
}

/* e^x for 0 <= x < 100. */
static double
exponential(double x)
{
	double		n = rint(x / LN2);
	double		r = x - n * LN2;
	double		sum = 1;

	/* |r| < 0.35: 0.35^17 / 17! is below 1e-22 */
	for (int k = 16; k >= 1; k--)
		sum = sum * r / k + 1;
	for (; n > 0; n -= 1)
		sum *= 2;
	return sum;
}

/* base^exponent in single precision, base >= 1. */
static float
power(double base, float exponent)
{
	return (float) exponential(natural_log(base) * exponent);
}

/* Sine and cosine of 0 <= x < 2^20. */
static void
sine_cosine(double x, double *sine, double *cosine)
{
	double		n = rint(x / (HALF_PI_1 + HALF_PI_2));
	double		r = (x - n * HALF_PI_1) - n * HALF_PI_2;
	double		r2 = r * r;
	double		s = 0;
	double		c = 0;

	/* |r| < 0.8: 0.8^21 / 21! is below 1e-21 */
	for (int k = 20; k >= 2; k -= 2)
	{
		s = (1 - s) * r2 / (k * (k + 1));
		c = (1 - c) * r2 / (k * (k - 1));
	}
	s = r * (1 - s);
	c = 1 - c;
	switch ((int) ((int64_t) n & 3))
	{
		case 0:
			*sine = s;
			*cosine = c;
			break;
		case 1:
			*sine = c;
			*cosine = -s;
			break;
		case 2:
			*sine = -s;
			*cosine = -c;
			break;
		default:
			*sine = -c;
			*cosine = s;
			break;
	}
}

void
emb_rotary_fill(double base, double scale, int32_t n_positions, int32_t head_size, float *table)
{
	int32_t		half = head_size / 2;

	for (int32_t i = 0; i < half; i++)
	{
		float		exponent = (float) (2 * i) / (float) head_size;
		float		frequency = 1.0f / power(base * scale, exponent);

		if (scale > 1)
			frequency /= power(scale, 2.0f / (float) head_size);
		for (int32_t p = 0; p < n_positions; p++)
		{
			float	   *row = table + (int64_t) p * head_size;
			double		sine;
			double		cosine;

			sine_cosine((float) p * frequency, &sine, &cosine);
			row[i] = (float) cosine;
			row[half + i] = (float) sine;
		}
	}
}
