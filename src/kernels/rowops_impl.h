/*
 * rowops_impl.h
 *		The row operations of kernels.h, written once over v16 and compiled for
 *		each level: the same operations in the same order everywhere.
 *
 * The includer defines what v16_math.h requires.
 */
#include "kernels/v16_math.h"

/*
 * 2^t for -125 <= t <= 126. t = n + f, |f| <= 1/2; 2^f is a polynomial of
 * degree 6 (a minimax fit of our own, relative error 1.6e-8 with coefficients
 * rounded to float; 1 ulp in all).
 */
V16_INLINE v16
exp2_v16(v16 t)
{
	v16			rounder = v16_set(ROUNDER);
	v16			z = v16_add(t, rounder);
	v16			f = v16_sub(t, v16_sub(z, rounder));
	v16			p = v16_set(0x1.41fbbcp-13f);

	p = v16_fma(p, f, v16_set(0x1.5f3e54p-10f));
	p = v16_fma(p, f, v16_set(0x1.3b2d4cp-7f));
	p = v16_fma(p, f, v16_set(0x1.c6aee8p-5f));
	p = v16_fma(p, f, v16_set(0x1.ebfbdcp-3f));
	p = v16_fma(p, f, v16_set(0x1.62e430p-1f));
	p = v16_fma(p, f, v16_set(1.0f));
	return v16_add_exponent(p, z);
}

/*
 * erf(x / sqrt 2) = x P(x^2) / Q(x^2), a relative minimax fit of our own on
 * [0, 5.6] (4.8e-8 with coefficients rounded to float). All coefficients are
 * positive, so nothing cancels; at 6 the quotient exceeds 1 and is cut.
 * Absolute error below 2e-7, rounding included.
 */
V16_INLINE v16
erf_v16(v16 x)
{
	v16			c = clamp_v16(x, -6.0f, 6.0f);
	v16			s = v16_mul(c, c);
	v16			p = v16_set(0x1.7f1434p-25f);
	v16			q = v16_set(0x1.3ca9a8p-20f);

	p = v16_fma(p, s, v16_set(0x1.a6158ep-17f));
	p = v16_fma(p, s, v16_set(0x1.623b1ap-12f));
	p = v16_fma(p, s, v16_set(0x1.3286fcp-7f));
	p = v16_fma(p, s, v16_set(0x1.15eeb4p-4f));
	p = v16_fma(p, s, v16_set(0x1.988452p-1f));
	q = v16_fma(q, s, v16_set(0x1.3399aap-14f));
	q = v16_fma(q, s, v16_set(0x1.ee3e1cp-10f));
	q = v16_fma(q, s, v16_set(0x1.d5d622p-6f));
	q = v16_fma(q, s, v16_set(0x1.01c020p-2f));
	q = v16_fma(q, s, v16_set(1.0f));
	return clamp_v16(v16_div(v16_mul(c, p), q), -1.0f, 1.0f);
}

V16_INLINE v16
gelu_v16(v16 x)
{
	v16			half = v16_mul(x, v16_set(0.5f));

	return v16_fma(half, erf_v16(x), half);
}

/*
 * x / (1 + 2^t), t = -2 log2(e) sqrt(2/pi) (x + 0.044715 x^3). Beyond 12 the
 * result is x, below -12 it is 0 within 2e-37.
 */
V16_INLINE v16
gelu_tanh_v16(v16 x)
{
	v16			c = clamp_v16(x, -12.0f, 12.0f);
	v16			cubic = v16_fma(v16_mul(c, c), v16_set(-2.302208198f * 0.044715f), v16_set(-2.302208198f));
	v16			t = clamp_v16(v16_mul(c, cubic), -125.0f, 126.0f);

	return v16_div(v16_max(v16_set(-12.0f), x), v16_add(exp2_v16(t), v16_set(1.0f)));
}

/* x / (1 + 2^(-x log2 e)): x times its logistic function. NaN becomes almost 0. */
V16_INLINE v16
silu_v16(v16 x)
{
	v16			t = v16_mul(clamp_v16(x, -126.0f, 126.0f), v16_set(-1.44269504f));

	t = clamp_v16(t, -125.0f, 126.0f);
	return v16_div(v16_max(v16_set(-126.0f), x), v16_add(exp2_v16(t), v16_set(1.0f)));
}

/*
 * x P(x^2) / Q(x^2), a relative minimax fit of our own on [0, 9.02] (9.5e-10,
 * before the coefficients are rounded to float). All coefficients are
 * positive, so nothing cancels, and 0 stays 0; beyond 9 tanh rounds to 1.
 */
V16_INLINE v16
tanh_v16(v16 x)
{
	v16			c = clamp_v16(x, -9.0f, 9.0f);
	v16			s = v16_mul(c, c);
	v16			p = v16_set(0x1.b40deep-25f);
	v16			q = v16_set(0x1.956d4p-31f);

	p = v16_fma(p, s, v16_set(0x1.08fdcp-15f));
	p = v16_fma(p, s, v16_set(0x1.06b3e6p-8f));
	p = v16_fma(p, s, v16_set(0x1.1a5314p-3f));
	p = v16_fma(p, s, v16_set(1.0f));
	q = v16_fma(q, s, v16_set(0x1.b2329ap-20f));
	q = v16_fma(q, s, v16_set(0x1.b92e86p-12f));
	q = v16_fma(q, s, v16_set(0x1.c673cep-6f));
	q = v16_fma(q, s, v16_set(0x1.e27edep-2f));
	q = v16_fma(q, s, v16_set(1.0f));
	return clamp_v16(v16_div(v16_mul(c, p), q), -1.0f, 1.0f);
}

V16_INLINE v16
relu_v16(v16 x)
{
	return v16_max(v16_set(0.0f), x);
}

/* x[i] = f(x[i]) */
V16_INLINE void
map_in_place(float *x, int32_t n, v16 (*f) (v16))
{
	int32_t		i = 0;

	for (; n - i >= 16; i += 16)
		v16_store(x + i, f(v16_load(x + i)));
	if (i < n)
		v16_store_part(x + i, f(v16_load_part(x + i, n - i)), n - i);
}

void
EMB_NAME(gelu_f32) (float *x, int32_t n)
{
	map_in_place(x, n, gelu_v16);
}

void
EMB_NAME(gelu_tanh_f32) (float *x, int32_t n)
{
	map_in_place(x, n, gelu_tanh_v16);
}

void
EMB_NAME(silu_f32) (float *x, int32_t n)
{
	map_in_place(x, n, silu_v16);
}

void
EMB_NAME(tanh_f32) (float *x, int32_t n)
{
	map_in_place(x, n, tanh_v16);
}

void
EMB_NAME(relu_f32) (float *x, int32_t n)
{
	map_in_place(x, n, relu_v16);
}

void
EMB_NAME(add_f32) (float *y, const float *x, int32_t n)
{
	int32_t		i = 0;

	for (; n - i >= 16; i += 16)
		v16_store(y + i, v16_add(v16_load(y + i), v16_load(x + i)));
	if (i < n)
		v16_store_part(y + i, v16_add(v16_load_part(y + i, n - i), v16_load_part(x + i, n - i)), n - i);
}

void
EMB_NAME(max_f32) (float *y, const float *x, int32_t n)
{
	int32_t		i = 0;

	for (; n - i >= 16; i += 16)
		v16_store(y + i, v16_max(v16_load(x + i), v16_load(y + i)));
	if (i < n)
		v16_store_part(y + i, v16_max(v16_load_part(x + i, n - i), v16_load_part(y + i, n - i)), n - i);
}

void
EMB_NAME(muladd_f32) (float *y, const float *x, int32_t n, float factor)
{
	v16			f = v16_set(factor);
	int32_t		i = 0;

	for (; n - i >= 16; i += 16)
		v16_store(y + i, v16_add(v16_mul(v16_load(x + i), f), v16_load(y + i)));
	if (i < n)
		v16_store_part(y + i, v16_add(v16_mul(v16_load_part(x + i, n - i), f), v16_load_part(y + i, n - i)), n - i);
}

void
EMB_NAME(rotate_f32) (const float *angles, int32_t n_heads, int32_t d, float *x)
{
	int32_t		h = d / 2;

	for (int32_t head = 0; head < n_heads; head++, x += d)
	{
		int32_t		i = 0;

		for (; h - i >= 16; i += 16)
		{
			v16			cosine = v16_load(angles + i);
			v16			sine = v16_load(angles + h + i);
			v16			a = v16_load(x + i);
			v16			b = v16_load(x + h + i);

			v16_store(x + i, v16_sub(v16_mul(a, cosine), v16_mul(b, sine)));
			v16_store(x + h + i, v16_add(v16_mul(b, cosine), v16_mul(a, sine)));
		}
		if (i < h)
		{
			v16			cosine = v16_load_part(angles + i, h - i);
			v16			sine = v16_load_part(angles + h + i, h - i);
			v16			a = v16_load_part(x + i, h - i);
			v16			b = v16_load_part(x + h + i, h - i);

			v16_store_part(x + i, v16_sub(v16_mul(a, cosine), v16_mul(b, sine)), h - i);
			v16_store_part(x + h + i, v16_add(v16_mul(b, cosine), v16_mul(a, sine)), h - i);
		}
	}
}

void
EMB_NAME(div_f32) (float *x, int32_t n, float divisor)
{
	v16			d = v16_set(divisor);
	int32_t		i = 0;

	for (; n - i >= 16; i += 16)
		v16_store(x + i, v16_div(v16_load(x + i), d));
	if (i < n)
		v16_store_part(x + i, v16_div(v16_load_part(x + i, n - i), d), n - i);
}

float
EMB_NAME(dot_f32) (const float *x, const float *y, int32_t n)
{
	v16			sum = v16_set(0.0f);
	int32_t		i = 0;

	for (; n - i >= 16; i += 16)
		sum = v16_fma(v16_load(x + i), v16_load(y + i), sum);
	if (i < n)
		sum = v16_fma(v16_load_part(x + i, n - i), v16_load_part(y + i, n - i), sum);
	return v16_sum(sum);
}

V16_INLINE float
largest_of_row(const float *x, int32_t n)
{
	v16			largest = v16_set(-FLT_MAX);
	int32_t		i = 0;

	for (; n - i >= 16; i += 16)
		largest = v16_max(largest, v16_load(x + i));
	if (i < n)
		largest = v16_max(largest, v16_keep(v16_load_part(x + i, n - i), n - i, -FLT_MAX));
	return v16_largest(largest);
}

/* 2^((x - largest) c), never denormal: it is at least 2^-125. */
V16_INLINE v16
softmax_v16(v16 x, v16 largest, v16 c)
{
	return exp2_v16(v16_max(v16_set(-125.0f), v16_mul(v16_sub(x, largest), c)));
}

float
EMB_NAME(softmax_f32) (float *x, int32_t n, float scale)
{
	v16			c = v16_set(scale * LOG2_E);
	v16			largest = v16_set(largest_of_row(x, n));
	v16			sum = v16_set(0.0f);
	int32_t		i = 0;

	for (; n - i >= 16; i += 16)
	{
		v16			y = softmax_v16(v16_load(x + i), largest, c);

		v16_store(x + i, y);
		sum = v16_add(sum, y);
	}
	if (i < n)
	{
		v16			y = softmax_v16(v16_load_part(x + i, n - i), largest, c);

		v16_store_part(x + i, y, n - i);
		sum = v16_add(sum, v16_keep(y, n - i, 0.0f));
	}
	return v16_sum(sum);
}

/* y = x + residual; returns the sum of y. */
V16_INLINE float
add_rows(const float *x, const float *residual, int32_t n, float *y)
{
	v16			sum = v16_set(0.0f);
	int32_t		i = 0;

	for (; n - i >= 16; i += 16)
	{
		v16			v = v16_load(x + i);

		if (residual != NULL)
			v = v16_add(v, v16_load(residual + i));
		v16_store(y + i, v);
		sum = v16_add(sum, v);
	}
	if (i < n)
	{
		v16			v = v16_load_part(x + i, n - i);

		if (residual != NULL)
			v = v16_add(v, v16_load_part(residual + i, n - i));
		v16_store_part(y + i, v, n - i);
		sum = v16_add(sum, v);
	}
	return v16_sum(sum);
}

/* The sum of (y - mean)^2. */
V16_INLINE float
sum_squares(const float *y, int32_t n, v16 mean)
{
	v16			sum = v16_set(0.0f);
	int32_t		i = 0;

	for (; n - i >= 16; i += 16)
	{
		v16			d = v16_sub(v16_load(y + i), mean);

		sum = v16_fma(d, d, sum);
	}
	if (i < n)
	{
		v16			d = v16_keep(v16_sub(v16_load_part(y + i, n - i), mean), n - i, 0.0f);

		sum = v16_fma(d, d, sum);
	}
	return v16_sum(sum);
}

V16_INLINE v16
norm_v16(v16 y, v16 mean, v16 scale, v16 gamma, v16 beta)
{
	return v16_fma(v16_mul(v16_sub(y, mean), scale), gamma, beta);
}

void
EMB_NAME(add_norm_f32) (const float *x, const float *residual, const float *gamma, const float *beta,
						float eps, int32_t n, float *y)
{
	v16			mean = v16_set(add_rows(x, residual, n, y) / (float) n);
	float		variance = sum_squares(y, n, mean) / (float) n + eps;
	v16			scale = v16_set(1.0f / sqrtf(variance > 1e-30f ? variance : 1e-30f));
	int32_t		i = 0;

	for (; n - i >= 16; i += 16)
		v16_store(y + i, norm_v16(v16_load(y + i), mean, scale, v16_load(gamma + i), v16_load(beta + i)));
	if (i < n)
		v16_store_part(y + i, norm_v16(v16_load_part(y + i, n - i), mean, scale,
									   v16_load_part(gamma + i, n - i),
									   v16_load_part(beta + i, n - i)), n - i);
}

V16_INLINE v16
rms_norm_v16(v16 x, v16 scale, v16 gamma)
{
	return v16_mul(v16_mul(x, scale), gamma);
}

void
EMB_NAME(rms_norm_f32) (const float *x, const float *gamma, float eps, int32_t n, float *y)
{
	float		mean_square = EMB_NAME(dot_f32) (x, x, n) / (float) n + eps;
	v16			scale = v16_set(1.0f / sqrtf(mean_square > 1e-30f ? mean_square : 1e-30f));
	int32_t		i = 0;

	for (; n - i >= 16; i += 16)
		v16_store(y + i, rms_norm_v16(v16_load(x + i), scale, v16_load(gamma + i)));
	if (i < n)
		v16_store_part(y + i, rms_norm_v16(v16_load_part(x + i, n - i), scale, v16_load_part(gamma + i, n - i)), n - i);
}
