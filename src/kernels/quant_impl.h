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

/* Up to 16 floats, times their factors; zeros after the last. */
EMB_ALWAYS_INLINE v16
load_scaled(const float *x, const float *factor, int32_t i, int32_t n)
{
	v16			y = n - i >= 16 ? v16_load(x + i) : v16_load_part(x + i, n - i);

	if (factor != NULL)
		y = v16_mul(y, n - i >= 16 ? v16_load(factor + i) : v16_load_part(factor + i, n - i));
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

/* q[i] = rint(y inverse + zero), zeros from n on. */
EMB_ALWAYS_INLINE void
store_codes(const float *x, const float *factor, int32_t n, int32_t n_padded, float inverse, float zero, uint8_t *q)
{
	v16			inv = v16_set(inverse);
	v16			rounder = v16_set(ROUNDER + zero);
	int32_t		i = 0;

	for (; n - i >= 64; i += 64)
		v16_store_codes(q + i, uncut_code_v16(load_scaled(x, factor, i, n), inv, rounder, 0),
						uncut_code_v16(load_scaled(x, factor, i + 16, n), inv, rounder, 0),
						uncut_code_v16(load_scaled(x, factor, i + 32, n), inv, rounder, 0),
						uncut_code_v16(load_scaled(x, factor, i + 48, n), inv, rounder, 0), 0);
	for (; n - i >= 16; i += 16)
		v16_store_bytes(q + i, code_v16(load_scaled(x, factor, i, n), inv, rounder, 0, 255));
	if (i < n)
	{
		uint8_t		last[16];

		v16_store_bytes(last, code_v16(load_scaled(x, factor, i, n), inv, rounder, 0, 255));
		memcpy(q + i, last, n - i);
	}
	if (n < n_padded)
		memset(q + n, 0, n_padded - n);
}

EMB_ALWAYS_INLINE float
bounded(float x, float lo, float hi)
{
	x = x > lo ? x : lo;
	return x < hi ? x : hi;
}

/* Codes of a row whose elements times their factors are at least -below and at most above, by lanes. */
EMB_ALWAYS_INLINE float
quantize_between(const float *x, const float *factor, v16 below, v16 above,
				 int32_t n, int32_t n_padded, uint8_t *q, int32_t *zero)
{
	float		minus_lo = bounded(v16_largest(below), 0.0f, MAGNITUDE_MAX);
	float		hi = bounded(v16_largest(above), 0.0f, MAGNITUDE_MAX);
	float		range = bounded(minus_lo + hi, MAGNITUDE_MIN, 2 * MAGNITUDE_MAX);
	float		inverse = 255.0f / range;
	float		zero_rounded = (minus_lo * inverse + ROUNDER) - ROUNDER;

	store_codes(x, factor, n, n_padded, inverse, zero_rounded, q);
	*zero = (int32_t) zero_rounded;
	return range / 255.0f;
}

float
EMB_NAME(quantize_u8) (const float *x, const float *factor, int32_t n, int32_t n_padded, uint8_t *q, int32_t *zero)
{
	Range		range = no_range();

	for (int32_t i = 0; i < n; i += 16)
		widen_range(load_scaled(x, factor, i, n), &range);
	return quantize_between(x, factor, v16_sub(v16_set(0.0f), range.lo), range.hi, n, n_padded, q, zero);
}

float
EMB_NAME(quantize_range_u8) (const float *x, const float *range, int32_t n, int32_t n_padded, uint8_t *q, int32_t *zero)
{
	return quantize_between(x, NULL, v16_load(range), v16_load(range + EMB_PANEL), n, n_padded, q, zero);
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
