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

V16_INLINE v16
v16_fnma(v16 a, v16 b, v16 c)
{
	return _mm512_fnmadd_ps(a, b, c);
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

/* vrangeps: the smaller magnitude, without its sign; the other operand if one is a quiet NaN. */
V16_INLINE v16
v16_min_abs(v16 a, v16 limit)
{
	return _mm512_range_ps(a, limit, 0xA);
}

V16_INLINE v16
v16_max_abs(v16 a, v16 b)
{
	return _mm512_range_ps(a, b, 0xB);
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

#define V16_MIN_ABS
#define V16_MAX_ABS
#define V16_STORE_CODES
#define V16_LARGEST_EACH

/* Each step halves the parts of every row and pairs the rows: 46 operations for 16 rows instead of 9 for each. */
EMB_ALWAYS_INLINE v16
v16_largest_each(const v16 rows[16], int n)
{
	const __m512i columns = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
	v16			by8[8],
				by4[4],
				by2[2];

	(void) n;
	EMB_UNROLL
	for (int i = 0; i < 8; i++)
		by8[i] = v16_max(_mm512_shuffle_f32x4(rows[2 * i], rows[2 * i + 1], 0x44),
						 _mm512_shuffle_f32x4(rows[2 * i], rows[2 * i + 1], 0xEE));
	EMB_UNROLL
	for (int i = 0; i < 4; i++)
		by4[i] = v16_max(_mm512_shuffle_f32x4(by8[2 * i], by8[2 * i + 1], 0x88),
						 _mm512_shuffle_f32x4(by8[2 * i], by8[2 * i + 1], 0xDD));
	EMB_UNROLL
	for (int i = 0; i < 2; i++)
		by2[i] = v16_max(_mm512_unpacklo_ps(by4[2 * i], by4[2 * i + 1]), _mm512_unpackhi_ps(by4[2 * i], by4[2 * i + 1]));
	return _mm512_permutexvar_ps(columns, v16_max(_mm512_shuffle_ps(by2[0], by2[1], 0x44), _mm512_shuffle_ps(by2[0], by2[1], 0xEE)));
}

/* The packing of 32 bits to 16 and to 8 saturates; it takes quarters of each vector by turns. */
EMB_ALWAYS_INLINE void
v16_store_codes(uint8_t *p, v16 z0, v16 z1, v16 z2, v16 z3, int lowest)
{
	const __m512i quarters = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
	__m512i		origin = _mm512_set1_epi32(0x4B400000 + lowest);	/* bits of ROUNDER + lowest */
	__m512i		by2_01 = _mm512_packs_epi32(_mm512_sub_epi32(_mm512_castps_si512(z0), origin),
											_mm512_sub_epi32(_mm512_castps_si512(z1), origin));
	__m512i		by2_23 = _mm512_packs_epi32(_mm512_sub_epi32(_mm512_castps_si512(z2), origin),
											_mm512_sub_epi32(_mm512_castps_si512(z3), origin));
	__m512i		codes = _mm512_permutexvar_epi32(quarters, _mm512_packus_epi16(by2_01, by2_23));

	_mm512_storeu_si512(p, _mm512_add_epi8(codes, _mm512_set1_epi8((char) lowest)));
}
