/*
 * v16_act.h
 *		Activations of rows that become bytes, and the ranges of these rows, for 16
 *		floats; shared by quant_impl.h and tiles that activate what they hold in
 *		registers.
 *
 * The includer defines what v16_math.h requires.
 */
#include "kernels/v16_math.h"

/* The smallest and the largest element so far, by lanes; both start as 0. */
typedef struct Range
{
	v16			lo,
				hi;
} Range;

EMB_ALWAYS_INLINE Range
no_range(void)
{
	return (Range) {v16_set(0.0f), v16_set(0.0f)};
}

EMB_ALWAYS_INLINE void
widen_range(v16 y, Range *range)
{
	range->lo = v16_min(y, range->lo);
	range->hi = v16_max(y, range->hi);
}

/* A kept range has -lo. */
EMB_ALWAYS_INLINE Range
load_range(const float *kept)
{
	return (Range) {v16_sub(v16_set(0.0f), v16_load(kept)), v16_load(kept + EMB_PANEL)};
}

EMB_ALWAYS_INLINE void
store_range(float *kept, Range range)
{
	v16_store(kept, v16_sub(v16_set(0.0f), range.lo));
	v16_store(kept + EMB_PANEL, range.hi);
}

/*
 * GELU for rows that become bytes: max(x, 0) - a s(c - a)^2, a = min(|x|, c),
 * s a polynomial without a constant term. So it is exactly 0 and x beyond the
 * cut c, and 0 at 0; s^2 = (1 - erf(a / sqrt 2)) / 2 in between to an absolute
 * error of the whole below 2.6e-4, a minimax fit of our own: a tenth of half a
 * step where the row reaches 1.3. Nine operations on AVX-512, without a division.
 */
EMB_ALWAYS_INLINE v16
gelu_with(v16 x, float cut, float s4, float s3, float s2, float s1)
{
	v16			a = v16_min_abs(x, v16_set(cut));
	v16			b = v16_sub(v16_set(cut), a);
	v16			s = v16_fma(v16_set(s4), b, v16_set(s3));

	s = v16_fma(s, b, v16_set(s2));
	s = v16_fma(s, b, v16_set(s1));
	s = v16_mul(s, b);
	return v16_fnma(v16_mul(a, s), s, v16_max(x, v16_set(0.0f)));
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

/*
 * SiLU in the same form: s^4 is the logistic function of -a. A fit of degree 6
 * to an absolute error of 1.05e-4; s^2 of that degree has 2e-3, because the
 * tail is long.
 */
EMB_ALWAYS_INLINE v16
coarse_silu_v16(v16 x)
{
	v16			a = v16_min_abs(x, v16_set(13.25f));
	v16			b = v16_sub(v16_set(13.25f), a);
	v16			s = v16_fma(v16_set(-0x1.1e0c06p-19f), b, v16_set(0x1.5f08c8p-14f));

	s = v16_fma(s, b, v16_set(-0x1.503a50p-10f));
	s = v16_fma(s, b, v16_set(0x1.48e7bep-7f));
	s = v16_fma(s, b, v16_set(-0x1.371844p-5f));
	s = v16_fma(s, b, v16_set(0x1.429c16p-4f));
	s = v16_mul(s, b);
	s = v16_mul(s, s);
	return v16_fnma(v16_mul(a, s), s, v16_max(x, v16_set(0.0f)));
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
