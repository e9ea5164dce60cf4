/*
 * attend_ymm.h
 *		16 numbers of 32 bits in two ymm, for attend_impl.h, in a region with
 *		AVX2 and FMA. The includer defines the products.
 */
typedef struct i32x16
{
	__m256i		lo,				/* lanes 0 .. 7 */
				hi;				/* lanes 8 .. 15 */
} i32x16;

EMB_ALWAYS_INLINE i32x16
i32x16_zero(void)
{
	return (i32x16) {_mm256_setzero_si256(), _mm256_setzero_si256()};
}

EMB_ALWAYS_INLINE i32x16
i32x16_load(const int32_t *p)
{
	return (i32x16) {_mm256_loadu_si256((const __m256i *) p), _mm256_loadu_si256((const __m256i *) (p + 8))};
}

EMB_ALWAYS_INLINE void
i32x16_store(int32_t *p, i32x16 a)
{
	_mm256_storeu_si256((__m256i *) p, a.lo);
	_mm256_storeu_si256((__m256i *) (p + 8), a.hi);
}

EMB_ALWAYS_INLINE i32x16
i32x16_sub(i32x16 a, i32x16 b)
{
	return (i32x16) {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
}

EMB_ALWAYS_INLINE __m256i
broadcast_group(const uint8_t *p)
{
	int32_t		group;

	memcpy(&group, p, sizeof(group));
	return _mm256_set1_epi32(group);
}

EMB_ALWAYS_INLINE v16
v16_from_i32(i32x16 a)
{
	return (v16) {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)};
}

/* A conversion that does not fit returns the lowest number, which the maximum replaces. */
EMB_ALWAYS_INLINE __m256i
exp2_split_ymm(__m256 x, int32_t lowest, __m256 *m)
{
	const __m256i mantissa = _mm256_set1_epi32(0x7FFFFF);
	__m256i		bits = _mm256_max_epi32(_mm256_cvtps_epi32(x), _mm256_set1_epi32(lowest));
	__m256i		fraction = _mm256_and_si256(bits, mantissa);

	*m = _mm256_castsi256_ps(_mm256_or_si256(fraction, _mm256_set1_epi32(0x3F800000)));
	return _mm256_andnot_si256(mantissa, bits);
}

EMB_ALWAYS_INLINE i32x16
v16_exp2_split(v16 x, int32_t lowest, v16 *m)
{
	i32x16		n;

	n.lo = exp2_split_ymm(x.lo, lowest, &m->lo);
	n.hi = exp2_split_ymm(x.hi, lowest, &m->hi);
	return n;
}

EMB_ALWAYS_INLINE v16
v16_add_bits(v16 a, i32x16 n)
{
	return (v16) {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.lo), n.lo)),
				  _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.hi), n.hi))};
}

EMB_ALWAYS_INLINE v16
v16_keep_above(v16 a, v16 x, float limit)
{
	__m256		limits = _mm256_set1_ps(limit);

	return (v16) {_mm256_and_ps(a.lo, _mm256_cmp_ps(x.lo, limits, _CMP_GT_OQ)),
				  _mm256_and_ps(a.hi, _mm256_cmp_ps(x.hi, limits, _CMP_GT_OQ))};
}

EMB_ALWAYS_INLINE __m256
log2_split_ymm(__m256 x, __m256 *m)
{
	__m256i		bits = _mm256_castps_si256(x);
	__m256i		exponent = _mm256_srai_epi32(_mm256_sub_epi32(bits, _mm256_set1_epi32(0x3F3504F3)), 23);

	*m = _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32(exponent, 23)));
	return _mm256_cvtepi32_ps(exponent);
}

EMB_ALWAYS_INLINE v16
v16_log2_split(v16 x, v16 *m)
{
	v16			n;

	n.lo = log2_split_ymm(x.lo, &m->lo);
	n.hi = log2_split_ymm(x.hi, &m->hi);
	return n;
}
