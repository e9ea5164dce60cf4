/*
 * v16_scalar.h
 *		16 floats, one after the other: the reference for the vectors of other
 *		levels. See v16_math.h for the meaning of each function.
 */
#include <math.h>
#include <string.h>

/* Left to the compiler: full unrolling and inlining takes it too long. */
#if defined(EMB_SANITIZED)
#define V16_INLINE __attribute__((noinline, unused)) static
#else
#define V16_INLINE static inline
#endif

typedef struct v16
{
	float		lane[16];
} v16;

#define V16_LANES(expression) \
	v16			result; \
	for (int i = 0; i < 16; i++) \
		result.lane[i] = (expression); \
	return result

V16_INLINE v16
v16_load(const float *p)
{
	V16_LANES(p[i]);
}

V16_INLINE void
v16_store(float *p, v16 a)
{
	memcpy(p, a.lane, sizeof(a.lane));
}

V16_INLINE v16
v16_load_part(const float *p, int n)
{
	V16_LANES(i < n ? p[i] : 0.0f);
}

V16_INLINE void
v16_store_part(float *p, v16 a, int n)
{
	memcpy(p, a.lane, n * sizeof(float));
}

V16_INLINE v16
v16_keep(v16 a, int n, float other)
{
	V16_LANES(i < n ? a.lane[i] : other);
}

V16_INLINE v16
v16_set(float x)
{
	V16_LANES(x);
}

V16_INLINE v16
v16_add(v16 a, v16 b)
{
	V16_LANES(a.lane[i] + b.lane[i]);
}

V16_INLINE v16
v16_sub(v16 a, v16 b)
{
	V16_LANES(a.lane[i] - b.lane[i]);
}

V16_INLINE v16
v16_mul(v16 a, v16 b)
{
	V16_LANES(a.lane[i] * b.lane[i]);
}

V16_INLINE v16
v16_div(v16 a, v16 b)
{
	V16_LANES(a.lane[i] / b.lane[i]);
}

V16_INLINE v16
v16_fma(v16 a, v16 b, v16 c)
{
	V16_LANES(fmaf(a.lane[i], b.lane[i], c.lane[i]));
}

V16_INLINE v16
v16_fnma(v16 a, v16 b, v16 c)
{
	V16_LANES(fmaf(-a.lane[i], b.lane[i], c.lane[i]));
}

V16_INLINE v16
v16_max(v16 a, v16 b)
{
	V16_LANES(a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]);
}

V16_INLINE v16
v16_min(v16 a, v16 b)
{
	V16_LANES(a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]);
}

V16_INLINE v16
v16_abs(v16 a)
{
	V16_LANES(fabsf(a.lane[i]));
}

V16_INLINE v16
v16_add_exponent(v16 a, v16 z)
{
	v16			result;

	for (int i = 0; i < 16; i++)
	{
		uint32_t	a_bits;
		uint32_t	z_bits;

		memcpy(&a_bits, &a.lane[i], sizeof(a_bits));
		memcpy(&z_bits, &z.lane[i], sizeof(z_bits));
		a_bits += z_bits << 23;
		memcpy(&result.lane[i], &a_bits, sizeof(a_bits));
	}
	return result;
}

V16_INLINE float
v16_sum(v16 a)
{
	for (int n = 8; n > 0; n /= 2)
		for (int i = 0; i < n; i++)
			a.lane[i] = a.lane[i] + a.lane[i + n];
	return a.lane[0];
}

V16_INLINE float
v16_largest(v16 a)
{
	for (int n = 8; n > 0; n /= 2)
		for (int i = 0; i < n; i++)
			a.lane[i] = a.lane[i] > a.lane[i + n] ? a.lane[i] : a.lane[i + n];
	return a.lane[0];
}

EMB_ALWAYS_INLINE void
v16_store_bytes(uint8_t *p, v16 z)
{
	for (int i = 0; i < 16; i++)
	{
		uint32_t	bits;

		memcpy(&bits, &z.lane[i], sizeof(bits));
		p[i] = (uint8_t) bits;
	}
}
