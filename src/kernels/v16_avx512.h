/*
 * v16_avx512.h
 *		16 floats in one zmm, for a region with AVX-512 F, DQ and VL.
 */
#define V16_INLINE EMB_ALWAYS_INLINE

typedef __m512 v16;

/* The first n lanes; n is 0 .. 16. */
V16_INLINE __mmask16
v16_mask(int n)
{
	return (__mmask16) ((1u << n) - 1);
}

V16_INLINE v16
v16_load(const float *p)
{
	return _mm512_loadu_ps(p);
}

V16_INLINE void
v16_store(float *p, v16 a)
{
	_mm512_storeu_ps(p, a);
}

V16_INLINE v16
v16_load_part(const float *p, int n)
{
	return _mm512_maskz_loadu_ps(v16_mask(n), p);
}

V16_INLINE void
v16_store_part(float *p, v16 a, int n)
{
	_mm512_mask_storeu_ps(p, v16_mask(n), a);
}

V16_INLINE v16
v16_keep(v16 a, int n, float other)
{
	return _mm512_mask_mov_ps(_mm512_set1_ps(other), v16_mask(n), a);
}

V16_INLINE v16
v16_set(float x)
{
	return _mm512_set1_ps(x);
}

V16_INLINE v16
v16_add(v16 a, v16 b)
{
	return _mm512_add_ps(a, b);
}

V16_INLINE v16
v16_sub(v16 a, v16 b)
{
	return _mm512_sub_ps(a, b);
}

V16_INLINE v16
v16_mul(v16 a, v16 b)
{
	return _mm512_mul_ps(a, b);
}

V16_INLINE v16
v16_div(v16 a, v16 b)
{
	return _mm512_div_ps(a, b);
}

V16_INLINE v16
v16_fma(v16 a, v16 b, v16 c)
{
	return _mm512_fmadd_ps(a, b, c);
}

/* maxps returns its second operand unless the first is greater: NaN and -0 as in C. */
V16_INLINE v16
v16_max(v16 a, v16 b)
{
	return _mm512_max_ps(a, b);
}

V16_INLINE v16
v16_min(v16 a, v16 b)
{
	return _mm512_min_ps(a, b);
}

V16_INLINE v16
v16_abs(v16 a)
{
	return _mm512_abs_ps(a);
}

V16_INLINE v16
v16_add_exponent(v16 a, v16 z)
{
	__m512i		exponent = _mm512_slli_epi32(_mm512_castps_si512(z), 23);

	return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), exponent));
}

/* _mm512_reduce_add_ps leaves its order to the compiler. */
V16_INLINE float
v16_sum(v16 a)
{
	__m256		by8 = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
	__m128		by4 = _mm_add_ps(_mm256_castps256_ps128(by8), _mm256_extractf128_ps(by8, 1));
	__m128		by2 = _mm_add_ps(by4, _mm_movehl_ps(by4, by4));

	return _mm_cvtss_f32(_mm_add_ss(by2, _mm_movehdup_ps(by2)));
}

V16_INLINE float
v16_largest(v16 a)
{
	__m256		by8 = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
	__m128		by4 = _mm_max_ps(_mm256_castps256_ps128(by8), _mm256_extractf128_ps(by8, 1));
	__m128		by2 = _mm_max_ps(by4, _mm_movehl_ps(by4, by4));

	return _mm_cvtss_f32(_mm_max_ss(by2, _mm_movehdup_ps(by2)));
}

EMB_ALWAYS_INLINE void
v16_store_bytes(uint8_t *p, v16 z)
{
	_mm_storeu_si128((__m128i *) p, _mm512_cvtepi32_epi8(_mm512_castps_si512(z)));
}
