/*
 * quant_impl.h
 *		Quantizes rows, as kernels.h defines it, written once over v16 and
 *		compiled for each level.
 *
 * The includer defines what v16_math.h requires.
 *
 * Rounding is fma(y, inverse, ROUNDER + zero): one rounding, to the nearest
 * even integer, whose low byte is the code. The code is clamped after
 * rounding, so that Inf and NaN need no special case. Maxima do not depend on
 * the order: their start is finite, NaN never wins, and the only zero is +0.
 */
#include "kernels/v16_act.h"

#define MAGNITUDE_MIN 1e-30f	/* 127 and 255 over it are finite */
#define MAGNITUDE_MAX 1e38f		/* twice this value is finite, and so is its sum with another */

/* 16 floats, or n < 16 and zeros, times their factors. n and whether there are factors are constants of loops. */
EMB_ALWAYS_INLINE v16
load_scaled(const float *x, const float *factor, const int n)
{
	v16			y = n == EMB_PANEL ? v16_load(x) : v16_load_part(x, n);

	if (factor != NULL)
		y = v16_mul(y, n == EMB_PANEL ? v16_load(factor) : v16_load_part(factor, n));
	return y;
}

/* ROUNDER + the code, between ROUNDER + lo and ROUNDER + hi. */
EMB_ALWAYS_INLINE v16
code_v16(v16 y, v16 inverse, v16 rounder, int lo, int hi)
{
	return clamp_v16(v16_fma(y, inverse, rounder), ROUNDER + lo, ROUNDER + hi);
}

/* The same, not yet cut to the highest code. */
EMB_ALWAYS_INLINE v16
uncut_code_v16(v16 y, v16 inverse, v16 rounder, int lo)
{
	return v16_max(v16_fma(y, inverse, rounder), v16_set(ROUNDER + lo));
}

/* Lowest codes of i .. i + 15, not yet cut to the highest. */
EMB_ALWAYS_INLINE v16
uncut_code_of(const float *x, const float *factor, int32_t i, v16 inverse, v16 rounder)
{
	return uncut_code_v16(load_scaled(x + i, factor != NULL ? factor + i : NULL, EMB_PANEL), inverse, rounder, 0);
}

EMB_ALWAYS_INLINE v16
code_of(const float *x, const float *factor, int32_t i, const int n, v16 inverse, v16 rounder)
{
	return code_v16(load_scaled(x + i, factor != NULL ? factor + i : NULL, n), inverse, rounder, 0, 255);
}

EMB_ALWAYS_INLINE void
store_codes_with(const float *x, const float *factor, int32_t n, int32_t n_padded, v16 inverse, v16 rounder, uint8_t *q)
{
	int32_t		i = 0;

	for (; i < n / 64 * 64; i += 64)
		v16_store_codes(q + i, uncut_code_of(x, factor, i, inverse, rounder), uncut_code_of(x, factor, i + 16, inverse, rounder),
						uncut_code_of(x, factor, i + 32, inverse, rounder), uncut_code_of(x, factor, i + 48, inverse, rounder), 0);
	for (; n - i >= EMB_PANEL; i += EMB_PANEL)
		v16_store_bytes(q + i, code_of(x, factor, i, EMB_PANEL, inverse, rounder));
	if (i < n)
	{
		uint8_t		last[EMB_PANEL];

		v16_store_bytes(last, code_of(x, factor, i, n - i, inverse, rounder));
		memcpy(q + i, last, n - i);
	}
	if (n < n_padded)
		memset(q + n, 0, n_padded - n);
}

/* q[i] = rint(y inverse + zero), zeros from n on. */
EMB_ALWAYS_INLINE void
store_codes(const float *x, const float *factor, int32_t n, int32_t n_padded, float inverse, float zero, uint8_t *q)
{
	if (factor == NULL)
		store_codes_with(x, NULL, n, n_padded, v16_set(inverse), v16_set(ROUNDER + zero), q);
	else
		store_codes_with(x, factor, n, n_padded, v16_set(inverse), v16_set(ROUNDER + zero), q);
}

EMB_ALWAYS_INLINE float
bounded(float x, float lo, float hi)
{
	x = x > lo ? x : lo;
	return x < hi ? x : hi;
}

/* What codes of a row are made of. */
typedef struct RowScale
{
	float		inverse,
				zero,
				scale;
} RowScale;

/* Of a row whose elements times their factors are at least -below and at most above, by lanes. */
EMB_ALWAYS_INLINE RowScale
row_scale(v16 below, v16 above)
{
	float		minus_lo = bounded(v16_largest(below), 0.0f, MAGNITUDE_MAX);
	float		hi = bounded(v16_largest(above), 0.0f, MAGNITUDE_MAX);
	float		range = bounded(minus_lo + hi, MAGNITUDE_MIN, 2 * MAGNITUDE_MAX);
	float		inverse = 255.0f / range;

	return (RowScale) {inverse, (minus_lo * inverse + ROUNDER) - ROUNDER, range / 255.0f};
}

EMB_ALWAYS_INLINE float
quantize_between(const float *x, const float *factor, v16 below, v16 above,
				 int32_t n, int32_t n_padded, uint8_t *q, int32_t *zero)
{
	RowScale	row = row_scale(below, above);

	store_codes(x, factor, n, n_padded, row.inverse, row.zero, q);
	*zero = (int32_t) row.zero;
	return row.scale;
}

/* Minima and maxima are chains of operations that wait: so there are several. */
#define RANGE_CHAINS 4

EMB_ALWAYS_INLINE Range
range_of_row(const float *x, const float *factor, int32_t n)
{
	Range		ranges[RANGE_CHAINS];
	int32_t		i = 0;

	EMB_UNROLL
	for (int c = 0; c < RANGE_CHAINS; c++)
		ranges[c] = no_range();
	for (; i < n / (RANGE_CHAINS * EMB_PANEL) * (RANGE_CHAINS * EMB_PANEL); i += RANGE_CHAINS * EMB_PANEL)
	{
		EMB_UNROLL
		for (int c = 0; c < RANGE_CHAINS; c++)
			widen_range(load_scaled(x + i + c * EMB_PANEL, factor != NULL ? factor + i + c * EMB_PANEL : NULL, EMB_PANEL), &ranges[c]);
	}
	for (; n - i >= EMB_PANEL; i += EMB_PANEL)
		widen_range(load_scaled(x + i, factor != NULL ? factor + i : NULL, EMB_PANEL), &ranges[0]);
	if (i < n)
		widen_range(load_scaled(x + i, factor != NULL ? factor + i : NULL, n - i), &ranges[0]);
	EMB_UNROLL
	for (int c = 1; c < RANGE_CHAINS; c++)
	{
		ranges[0].lo = v16_min(ranges[c].lo, ranges[0].lo);
		ranges[0].hi = v16_max(ranges[c].hi, ranges[0].hi);
	}
	return ranges[0];
}

float
EMB_NAME(quantize_u8) (const float *x, const float *factor, int32_t n, int32_t n_padded, uint8_t *q, int32_t *zero)
{
	Range		range = factor == NULL ? range_of_row(x, NULL, n) : range_of_row(x, factor, n);

	return quantize_between(x, factor, v16_sub(v16_set(0.0f), range.lo), range.hi, n, n_padded, q, zero);
}

/*
 * Rows whose ranges become scales together: their largest elements and their
 * divisions are those of vectors, and the codes of a row need not wait for them.
 */
#define CODE_ROWS 16

/* Up to CODE_ROWS rows between their passes: 24 KB of the first-level cache. */
EMB_ALWAYS_INLINE int32_t
code_rows(int32_t n, int32_t n_rows)
{
	int32_t		fit = 6144 / n > 0 ? 6144 / n : 1;

	fit = fit < CODE_ROWS ? fit : CODE_ROWS;
	return fit < n_rows ? fit : n_rows;
}

/* Codes of at most CODE_ROWS rows, whose elements times factors are between -below[r] and above[r], by lanes. */
EMB_ALWAYS_INLINE void
quantize_some_rows(const EmbQuantRows *g, int32_t first, int32_t n_rows, v16 below[CODE_ROWS], v16 above[CODE_ROWS])
{
	float		inverses[CODE_ROWS],
				roundeds[CODE_ROWS],
				scales[CODE_ROWS];
	v16			minus_lo,
				range,
				inverse;

	for (int r = n_rows; r < CODE_ROWS; r++)
		below[r] = above[r] = v16_set(0.0f);
	minus_lo = clamp_v16(v16_largest_each(below, n_rows), 0.0f, MAGNITUDE_MAX);
	range = v16_add(minus_lo, clamp_v16(v16_largest_each(above, n_rows), 0.0f, MAGNITUDE_MAX));
	range = clamp_v16(range, MAGNITUDE_MIN, 2 * MAGNITUDE_MAX);
	inverse = v16_div(v16_set(255.0f), range);
	v16_store(inverses, inverse);
	v16_store(roundeds, v16_sub(v16_add(v16_mul(minus_lo, inverse), v16_set(ROUNDER)), v16_set(ROUNDER)));
	v16_store(scales, v16_div(range, v16_set(255.0f)));
	for (int r = 0; r < n_rows; r++)
	{
		size_t		m = first + r;

		g->scales[m] = scales[r];
		g->zeros[m] = (int32_t) roundeds[r];
		store_codes(g->x + m * g->x_stride, g->factor, g->n, (int32_t) g->code_stride, inverses[r], roundeds[r],
					g->codes + m * g->code_stride);
	}
}

void
EMB_NAME(quantize_rows) (const EmbQuantRows *g)
{
	int32_t		n_taken = code_rows(g->ranges != NULL ? 1 : g->n, g->n_rows);

	for (int32_t first = 0; first < g->n_rows; first += n_taken)
	{
		int32_t		n_rows = g->n_rows - first < n_taken ? g->n_rows - first : n_taken;
		v16			below[CODE_ROWS],
					above[CODE_ROWS];

		for (int r = 0; r < n_rows; r++)
		{
			const float *x = g->x + (first + r) * g->x_stride;
			Range		range;

			if (g->ranges != NULL)
			{
				below[r] = v16_load(g->ranges + (first + r) * EMB_RANGE);
				above[r] = v16_load(g->ranges + (first + r) * EMB_RANGE + EMB_PANEL);
				continue;
			}
			range = g->factor == NULL ? range_of_row(x, NULL, g->n) : range_of_row(x, g->factor, g->n);
			below[r] = v16_sub(v16_set(0.0f), range.lo);
			above[r] = range.hi;
		}
		quantize_some_rows(g, first, n_rows, below, above);
	}
}

EMB_ALWAYS_INLINE void
activate_with(float *x, size_t stride, int32_t n_rows, int32_t n_panels, const float *factor, float *range,
			  v16 (*f) (v16))
{
	int32_t		n = n_panels * EMB_PANEL;

	for (int32_t m = 0; m < n_rows; m++, x += stride)
	{
		Range		seen;

		if (factor == NULL)
		{
			for (int32_t i = 0; i < n; i += EMB_PANEL)
				v16_store(x + i, f(v16_load(x + i)));
			continue;
		}
		seen = load_range(range + m * EMB_RANGE);
		for (int32_t i = 0; i < n; i += EMB_PANEL)
		{
			v16			y = v16_mul(f(v16_load(x + i)), v16_load(factor + i));

			v16_store(x + i, y);
			widen_range(y, &seen);
		}
		store_range(range + m * EMB_RANGE, seen);
	}
}

EMB_ALWAYS_INLINE void
gate_with(const float *x, size_t x_stride, int32_t n_rows, int32_t n_panels, const float *factor, float *range,
		  float *y, size_t y_stride, v16 (*f) (v16))
{
	for (int32_t m = 0; m < n_rows; m++, x += x_stride, y += y_stride)
	{
		Range		seen = factor != NULL ? load_range(range + m * EMB_RANGE) : no_range();

		for (int32_t j = 0; j < n_panels; j++)
		{
			v16			result = v16_mul(f(v16_load(x + j * 2 * EMB_PANEL)), v16_load(x + (j * 2 + 1) * EMB_PANEL));

			if (factor != NULL)
			{
				result = v16_mul(result, v16_load(factor + j * EMB_PANEL));
				widen_range(result, &seen);
			}
			v16_store(y + j * EMB_PANEL, result);
		}
		if (factor != NULL)
			store_range(range + m * EMB_RANGE, seen);
	}
}

/* CALL with the function of act. */
#define WITH_ACTIVATION(act, CALL) \
	switch (act) \
	{ \
		case EMB_ACT_KIND_GELU: \
			CALL(coarse_gelu_v16); \
			break; \
		case EMB_ACT_KIND_GELU_TANH: \
			CALL(coarse_gelu_tanh_v16); \
			break; \
		case EMB_ACT_KIND_RELU: \
			CALL(coarse_relu_v16); \
			break; \
		case EMB_ACT_KIND_SILU: \
			CALL(coarse_silu_v16); \
			break; \
		case EMB_ACT_KIND_NONE: \
			CALL(identity_v16); \
			break; \
	}

void
EMB_NAME(activate_rows) (EmbActKind act, float *x, size_t stride, int32_t n_rows, int32_t n_panels,
						 const float *factor, float *range)
{
#define ACTIVATE(f) activate_with(x, stride, n_rows, n_panels, factor, range, f)
	WITH_ACTIVATION(act, ACTIVATE)
}

void
EMB_NAME(gate_rows) (EmbActKind act, const float *x, size_t x_stride, int32_t n_rows, int32_t n_panels,
					 const float *factor, float *range, float *y, size_t y_stride)
{
#define GATE(f) gate_with(x, x_stride, n_rows, n_panels, factor, range, y, y_stride, f)
	WITH_ACTIVATION(act, GATE)
}
