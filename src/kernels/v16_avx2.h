/*
 * v16_avx2.h
 *		16 floats in two ymm, for a region with AVX2 and FMA.
 */
#define V16_INLINE EMB_ALWAYS_INLINE

typedef struct v16
{
	__m256		lo,				/* lanes 0 .. 7 */
				hi;				/* lanes 8 .. 15 */
} v16;

/* All ones in the first n lanes of lo, hi; n is 0 .. 16. */
V16_INLINE void
v16_masks(int n, __m256i *lo, __m256i *hi)
{
	const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);

	*lo = _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lanes);
	*hi = _mm256_cmpgt_epi32(_mm256_set1_epi32(n - 8), lanes);
}

V16_INLINE v16
v16_load(const float *p)
{
	return (v16) {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

V16_INLINE void
v16_store(float *p, v16 a)
{
	_mm256_storeu_ps(p, a.lo);
	_mm256_storeu_ps(p + 8, a.hi);
}

V16_INLINE v16
v16_load_part(const float *p, int n)
{
	__m256i		lo,
				hi;

	v16_masks(n, &lo, &hi);
	return (v16) {_mm256_maskload_ps(p, lo), n > 8 ? _mm256_maskload_ps(p + 8, hi) : _mm256_setzero_ps()};
}

V16_INLINE void
v16_store_part(float *p, v16 a, int n)
{
	__m256i		lo,
				hi;

	v16_masks(n, &lo, &hi);
	_mm256_maskstore_ps(p, lo, a.lo);
	if (n > 8)
		_mm256_maskstore_ps(p + 8, hi, a.hi);
}

V16_INLINE v16
v16_keep(v16 a, int n, float other)
{
	__m256i		lo,
				hi;
	__m256		fill = _mm256_set1_ps(other);

	v16_masks(n, &lo, &hi);
	return (v16) {_mm256_blendv_ps(fill, a.lo, _mm256_castsi256_ps(lo)),
				  _mm256_blendv_ps(fill, a.hi, _mm256_castsi256_ps(hi))};
}

V16_INLINE v16
v16_set(float x)
{
	return (v16) {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

V16_INLINE v16
v16_add(v16 a, v16 b)
{
	return (v16) {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}

V16_INLINE v16
v16_sub(v16 a, v16 b)
{
	return (v16) {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}

V16_INLINE v16
v16_mul(v16 a, v16 b)
{
	return (v16) {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}

V16_INLINE v16
v16_div(v16 a, v16 b)
{
	return (v16) {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}

V16_INLINE v16
v16_fma(v16 a, v16 b, v16 c)
{
	return (v16) {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

V16_INLINE v16
v16_fnma(v16 a, v16 b, v16 c)
{
	return (v16) {_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
}

/* maxps returns its second operand unless the first is greater: NaN and -0 as in C. */
V16_INLINE v16
v16_max(v16 a, v16 b)
{
	return (v16) {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}

V16_INLINE v16
v16_min(v16 a, v16 b)
{
	return (v16) {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}

V16_INLINE v16
v16_abs(v16 a)
{
	const __m256 sign = _mm256_set1_ps(-0.0f);

	return (v16) {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}

V16_INLINE v16
v16_add_exponent(v16 a, v16 z)
{
	__m256i		lo = _mm256_slli_epi32(_mm256_castps_si256(z.lo), 23);
	__m256i		hi = _mm256_slli_epi32(_mm256_castps_si256(z.hi), 23);

	return (v16) {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.lo), lo)),
				  _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.hi), hi))};
}

V16_INLINE float
v16_sum(v16 a)
{
	__m256		by8 = _mm256_add_ps(a.lo, a.hi);
	__m128		by4 = _mm_add_ps(_mm256_castps256_ps128(by8), _mm256_extractf128_ps(by8, 1));
	__m128		by2 = _mm_add_ps(by4, _mm_movehl_ps(by4, by4));

	return _mm_cvtss_f32(_mm_add_ss(by2, _mm_movehdup_ps(by2)));
}

V16_INLINE float
v16_largest(v16 a)
{
	__m256		by8 = _mm256_max_ps(a.lo, a.hi);
	__m128		by4 = _mm_max_ps(_mm256_castps256_ps128(by8), _mm256_extractf128_ps(by8, 1));
	__m128		by2 = _mm_max_ps(by4, _mm_movehl_ps(by4, by4));

	return _mm_cvtss_f32(_mm_max_ss(by2, _mm_movehdup_ps(by2)));
}

/* Saturation does not matter: each lane keeps only the low byte. */
EMB_ALWAYS_INLINE void
v16_store_bytes(uint8_t *p, v16 z)
{
	const __m256i low = _mm256_set1_epi32(0xFF);
	__m256i		by2 = _mm256_packus_epi32(_mm256_and_si256(_mm256_castps_si256(z.lo), low),
										  _mm256_and_si256(_mm256_castps_si256(z.hi), low));
	__m256i		by4 = _mm256_packus_epi16(by2, by2);

	/* quarters of the row: 0 2 in the lower half, 1 3 in the upper */
	_mm_storeu_si128((__m128i *) p, _mm_unpacklo_epi32(_mm256_castsi256_si128(by4), _mm256_extracti128_si256(by4, 1)));
}

#define V16_STORE_CODES

/* The low bytes of two vectors, cut to lowest .. lowest + 255, by the saturation of packing. */
EMB_ALWAYS_INLINE __m256i
pack_codes_avx2(v16 a, v16 b, int lowest)
{
	const __m256i quarters = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
	__m256i		origin = _mm256_set1_epi32(0x4B400000 + lowest);	/* bits of ROUNDER + lowest */
	__m256i		by2_a = _mm256_packs_epi32(_mm256_sub_epi32(_mm256_castps_si256(a.lo), origin),
										   _mm256_sub_epi32(_mm256_castps_si256(a.hi), origin));
	__m256i		by2_b = _mm256_packs_epi32(_mm256_sub_epi32(_mm256_castps_si256(b.lo), origin),
										   _mm256_sub_epi32(_mm256_castps_si256(b.hi), origin));

	return _mm256_add_epi8(_mm256_permutevar8x32_epi32(_mm256_packus_epi16(by2_a, by2_b), quarters),
						   _mm256_set1_epi8((char) lowest));
}

EMB_ALWAYS_INLINE void
v16_store_codes(uint8_t *p, v16 z0, v16 z1, v16 z2, v16 z3, int lowest)
{
	_mm256_storeu_si256((__m256i *) p, pack_codes_avx2(z0, z1, lowest));
	_mm256_storeu_si256((__m256i *) (p + 32), pack_codes_avx2(z2, z3, lowest));
}
