/*
 * quant_impl.h
 *		Quantizing of rows, as kernels.h defines it, written once over v16 and
 *		compiled for each level.
 *
 * Besides what v16_math.h asks for, the includer defines
 * transpose_dwords(rows, stride, n_rows, n, panel): transpose_f32 of any level.
 *
 * Rounding is fma(y, inverse, ROUNDER + zero): one rounding, to the nearest
 * even integer, whose low byte is the code. The cut comes behind it, so that
 * Inf and NaN need no care. Maxima do not depend on the order: their start is
 * finite, NaN never wins, and the only zero is +0.
 */
#include "kernels/v16_math.h"

#define MAGNITUDE_MIN 1e-30f	/* 127 and 255 over it are finite */
#define MAGNITUDE_MAX 1e38f		/* as are twice this, and its sum with another */

/* max(|y|, largest); NaN leaves largest */
EMB_ALWAYS_INLINE v16
larger_magnitude(v16 y, v16 largest)
{
	return v16_max(v16_sub(v16_set(0.0f), y), v16_max(y, largest));
}

/* The largest -y and y so far, by lanes. */
EMB_ALWAYS_INLINE void
widen_range(v16 y, v16 *below, v16 *above)
{
	*below = v16_max(v16_sub(v16_set(0.0f), y), *below);
	*above = v16_max(y, *above);
}

/* Up to 16 floats, times their factors; zeros behind the last. */
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

/* q[i] = rint(y inverse + zero), zeros from n on. */
EMB_ALWAYS_INLINE void
store_codes(const float *x, const float *factor, int32_t n, int32_t n_padded,
			float inverse, float zero, int lowest, uint8_t *q)
{
	v16			inv = v16_set(inverse);
	v16			rounder = v16_set(ROUNDER + zero);
	int32_t		i = 0;

	for (; n - i >= 16; i += 16)
		v16_store_bytes(q + i, code_v16(load_scaled(x, factor, i, n), inv, rounder, lowest, 255));
	if (i < n)
	{
		uint8_t		last[16];

		v16_store_bytes(last, code_v16(load_scaled(x, factor, i, n), inv, rounder, lowest, 255));
		memcpy(q + i, last, n - i);
	}
	memset(q + n, 0, n_padded - n);
}

EMB_ALWAYS_INLINE float
bounded(float x, float lo, float hi)
{
	x = x > lo ? x : lo;
	return x < hi ? x : hi;
}

EMB_ALWAYS_INLINE float
row_magnitude(const float *x, const float *factor, int32_t n)
{
	v16			largest = v16_set(0.0f);

	for (int32_t i = 0; i < n; i += 16)
		largest = larger_magnitude(load_scaled(x, factor, i, n), largest);
	return bounded(v16_largest(largest), MAGNITUDE_MIN, MAGNITUDE_MAX);
}

float
EMB_NAME(quantize_i8) (const float *x, const float *factor, int32_t n, int32_t n_padded, uint8_t *q)
{
	float		m = row_magnitude(x, factor, n);

	store_codes(x, factor, n, n_padded, 127.0f / m, 128.0f, 1, q);
	return m / 127.0f;
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

	store_codes(x, factor, n, n_padded, inverse, zero_rounded, 0, q);
	*zero = (int32_t) zero_rounded;
	return range / 255.0f;
}

float
EMB_NAME(quantize_u8) (const float *x, const float *factor, int32_t n, int32_t n_padded, uint8_t *q, int32_t *zero)
{
	v16			below = v16_set(0.0f);
	v16			above = v16_set(0.0f);

	for (int32_t i = 0; i < n; i += 16)
		widen_range(load_scaled(x, factor, i, n), &below, &above);
	return quantize_between(x, factor, below, above, n, n_padded, q, zero);
}

float
EMB_NAME(quantize_range_u8) (const float *x, const float *range, int32_t n, int32_t n_padded, uint8_t *q, int32_t *zero)
{
	return quantize_between(x, NULL, v16_load(range), v16_load(range + EMB_PANEL), n, n_padded, q, zero);
}

/*
 * GELU for rows that become bytes: max(x, 0) - a s(c - a)^2, a = min(|x|, c),
 * s a polynomial without a constant term. So it is exactly 0 and x beyond the
 * cut c, and 0 at 0; s^2 = (1 - erf(a / sqrt 2)) / 2 in between to an absolute
 * error of the whole below 2.6e-4, a minimax fit of our own: a tenth of half a
 * step where the row reaches 1.3. Eight operations instead of twelve and a division.
 */
EMB_ALWAYS_INLINE v16
gelu_with(v16 x, float cut, float s4, float s3, float s2, float s1)
{
	v16			a = v16_min(v16_abs(x), v16_set(cut));
	v16			b = v16_sub(v16_set(cut), a);
	v16			s = v16_fma(v16_set(s4), b, v16_set(s3));

	s = v16_fma(s, b, v16_set(s2));
	s = v16_fma(s, b, v16_set(s1));
	s = v16_mul(s, b);
	return v16_fma(v16_mul(a, s), v16_sub(v16_set(0.0f), s), v16_max(x, v16_set(0.0f)));
}

EMB_ALWAYS_INLINE v16
coarse_gelu_v16(v16 x)
{
	return gelu_with(x, 3.84375f, -0x1.84b868p-8f, 0x1.640c8ap-5f, -0x1.7a4d98p-5f, 0x1.ccf290p-5f);
}

EMB_ALWAYS_INLINE v16
coarse_gelu_tanh_v16(v16 x)
{
	return gelu_with(x, 3.8125f, -0x1.741f42p-8f, 0x1.4d44d2p-5f, -0x1.2f2c20p-5f, 0x1.9bb1e6p-5f);
}

EMB_ALWAYS_INLINE v16
coarse_relu_v16(v16 x)
{
	return v16_max(x, v16_set(0.0f));
}

EMB_ALWAYS_INLINE v16
identity_v16(v16 x)
{
	return x;
}

EMB_ALWAYS_INLINE void
activate_with(float *x, size_t stride, int32_t n_rows, int32_t n_panels, const float *factor, float *range,
			  v16 (*f) (v16))
{
	int32_t		n = n_panels * EMB_PANEL;

	for (int32_t m = 0; m < n_rows; m++, x += stride)
	{
		v16			below,
					above;

		if (factor == NULL)
		{
			for (int32_t i = 0; i < n; i += EMB_PANEL)
				v16_store(x + i, f(v16_load(x + i)));
			continue;
		}
		below = v16_load(range + m * EMB_RANGE);
		above = v16_load(range + m * EMB_RANGE + EMB_PANEL);
		for (int32_t i = 0; i < n; i += EMB_PANEL)
		{
			v16			y = v16_mul(f(v16_load(x + i)), v16_load(factor + i));

			v16_store(x + i, y);
			widen_range(y, &below, &above);
		}
		v16_store(range + m * EMB_RANGE, below);
		v16_store(range + m * EMB_RANGE + EMB_PANEL, above);
	}
}

void
EMB_NAME(activate_rows) (EmbActKind act, float *x, size_t stride, int32_t n_rows, int32_t n_panels,
						 const float *factor, float *range)
{
	switch (act)
	{
		case EMB_ACT_KIND_GELU:
			activate_with(x, stride, n_rows, n_panels, factor, range, coarse_gelu_v16);
			break;
		case EMB_ACT_KIND_GELU_TANH:
			activate_with(x, stride, n_rows, n_panels, factor, range, coarse_gelu_tanh_v16);
			break;
		case EMB_ACT_KIND_RELU:
			activate_with(x, stride, n_rows, n_panels, factor, range, coarse_relu_v16);
			break;
		case EMB_ACT_KIND_NONE:
			activate_with(x, stride, n_rows, n_panels, factor, range, identity_v16);
			break;
	}
}

/*
 * ROUNDER + rint(255 * 2^t), t cut at -10 (255 * 2^-10 rounds to 0; NaN as
 * well). 255 * 2^f is a polynomial of degree 4, exact at 0 (a minimax fit of
 * our own, relative error 2.9e-6).
 */
EMB_ALWAYS_INLINE v16
code_exp2_v16(v16 t)
{
	v16			rounder = v16_set(ROUNDER);
	v16			cut = v16_max(t, v16_set(-10.0f));
	v16			z = v16_add(cut, rounder);
	v16			f = v16_sub(cut, v16_sub(z, rounder));
	v16			p = v16_set(0x1.38c8cap+1f);

	p = v16_fma(p, f, v16_set(0x1.c8324ap+3f));
	p = v16_fma(p, f, v16_set(0x1.ea1774p+5f));
	p = v16_fma(p, f, v16_set(0x1.617e4cp+7f));
	p = v16_fma(p, f, v16_set(255.0f));
	return v16_add(v16_add_exponent(p, z), rounder);
}

int32_t
EMB_NAME(softmax_u8) (const float *x, int32_t n, int32_t n_padded, float scale, uint8_t *p)
{
	v16			c = v16_set(scale * LOG2_E);
	v16			largest = v16_set(-FLT_MAX);
	v16			sum = v16_set(0.0f);	/* of integers, exact: 255 * 65,536 < 2^24 */
	v16			z;
	float		total;
	int32_t		i = 0;

	for (; n - i >= 16; i += 16)
		largest = v16_max(v16_load(x + i), largest);
	if (i < n)
		largest = v16_max(v16_keep(v16_load_part(x + i, n - i), n - i, -FLT_MAX), largest);
	largest = v16_set(v16_largest(largest));
	for (i = 0; n - i >= 16; i += 16)
	{
		z = code_exp2_v16(v16_mul(v16_sub(v16_load(x + i), largest), c));
		v16_store_bytes(p + i, z);
		sum = v16_add(sum, v16_sub(z, v16_set(ROUNDER)));
	}
	if (i < n)
	{
		uint8_t		last[16];

		z = code_exp2_v16(v16_mul(v16_sub(v16_load_part(x + i, n - i), largest), c));
		z = v16_keep(z, n - i, ROUNDER);
		v16_store_bytes(last, z);
		memcpy(p + i, last, n - i);
		sum = v16_add(sum, v16_sub(z, v16_set(ROUNDER)));
	}
	memset(p + n, 0, n_padded - n);
	total = v16_sum(sum);
	return total > 1.0f ? (int32_t) total : 1;
}

/* Bytes of a row that are transposed at a time: one v16 of groups. */
#define CHUNK 64

/* Codes of n <= CHUNK elements of one key, zeros up to the next multiple of 16; returns their sum. */
EMB_ALWAYS_INLINE float
key_codes(const float *x, int32_t n, float inverse, uint8_t *codes)
{
	v16			inv = v16_set(inverse);
	v16			sum = v16_set(0.0f);

	for (int32_t i = 0; i < n; i += 16)
	{
		v16			z = code_v16(load_scaled(x, NULL, i, n), inv, v16_set(ROUNDER), -127, 127);

		if (n - i < 16)
			z = v16_keep(z, n - i, ROUNDER);
		v16_store_bytes(codes + i, z);
		sum = v16_add(sum, v16_sub(z, v16_set(ROUNDER)));
	}
	return v16_sum(sum);
}

void
EMB_NAME(pack_keys_i8) (const float *k, size_t stride, int32_t n_tokens, int32_t d,
						int8_t *panel, float *scale, int32_t *sums)
{
	float		inverse[EMB_PANEL];
	uint8_t		codes[EMB_PANEL][CHUNK];

	for (int32_t t = 0; t < EMB_PANEL; t++)
	{
		float		m = t < n_tokens ? row_magnitude(k + t * stride, NULL, d) : 0.0f;

		inverse[t] = t < n_tokens ? 127.0f / m : 0.0f;
		scale[t] = m / 127.0f;
		sums[t] = 0;
	}
	for (int32_t i = 0; i < d; i += CHUNK)
	{
		int32_t		n = d - i < CHUNK ? d - i : CHUNK;

		for (int32_t t = 0; t < n_tokens; t++)
			sums[t] += (int32_t) key_codes(k + t * stride + i, n, inverse[t], codes[t]);
		/* a group is moved as a float: nothing is computed with it */
		transpose_dwords((const float *) codes, CHUNK / EMB_GROUP, n_tokens, (n + EMB_GROUP - 1) / EMB_GROUP,
						 (float *) (panel + (size_t) i * EMB_PANEL));
	}
}

EMB_ALWAYS_INLINE v16
load_columns(const float *p, int32_t n_columns)
{
	return n_columns == EMB_PANEL ? v16_load(p) : v16_load_part(p, n_columns);
}

void
EMB_NAME(pack_values_i8) (const float *v, size_t stride, int32_t n_tokens, int32_t n_columns,
						  int8_t *panel, float *scale)
{
	v16			m = v16_set(0.0f);
	v16			inverse;

	for (int32_t t = 0; t < n_tokens; t++)
		m = larger_magnitude(load_columns(v + t * stride, n_columns), m);
	m = clamp_v16(m, MAGNITUDE_MIN, MAGNITUDE_MAX);
	inverse = v16_div(v16_set(127.0f), m);
	v16_store(scale, v16_keep(v16_div(m, v16_set(127.0f)), n_columns, 0.0f));
	for (int32_t t = 0; t < n_tokens; t += EMB_GROUP)
	{
		v16			z[EMB_GROUP];

		for (int j = 0; j < EMB_GROUP; j++)
			z[j] = t + j < n_tokens ?
				code_v16(load_columns(v + (t + j) * stride, n_columns), inverse, v16_set(ROUNDER), -127, 127) :
				v16_set(ROUNDER);
		v16_store_quads((uint8_t *) panel + (size_t) t * EMB_PANEL, z);
	}
}
