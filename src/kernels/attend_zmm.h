/*
 * attend_zmm.h
 *		What attend_impl.h and attend_weights.h need, with 16 numbers in one zmm;
 *		for a region with AVX-512 VNNI, after v16_avx512.h.
 */
typedef __m512i i32x16;
typedef __m512i quads_u8;
typedef __m512i quads_s8;

#define i32x16_load _mm512_loadu_si512
#define i32x16_store _mm512_storeu_si512
#define i32x16_sub _mm512_sub_epi32
#define quads_s8_load _mm512_loadu_si512
#define v16_from_i32 _mm512_cvtepi32_ps

/*
 * Barriers, here and after a product: if gcc 12 sees that accumulators start
 * equal and how they are used, it carries a second copy of every accumulator
 * through the loops, or spills them (38 cycles for 16 scores instead of 27).
 */
EMB_ALWAYS_INLINE i32x16
i32x16_zero(void)
{
	i32x16		zero = _mm512_setzero_si512();

	__asm__("" : "+v"(zero));
	return zero;
}

EMB_ALWAYS_INLINE i32x16
i32x16_dot(i32x16 sum, quads_u8 a, quads_s8 b)
{
	sum = _mm512_dpbusd_epi32(sum, a, b);
	__asm__("" : "+v"(sum));
	return sum;
}

EMB_ALWAYS_INLINE quads_u8
quads_u8_load(const uint8_t *p)
{
	int32_t		group;

	memcpy(&group, p, sizeof(group));
	return _mm512_set1_epi32(group);
}

/* A conversion that does not fit returns the lowest number, which the maximum replaces. */
EMB_ALWAYS_INLINE i32x16
v16_exp2_split(v16 x, int32_t lowest, v16 *m)
{
	const __m512i mantissa = _mm512_set1_epi32(0x7FFFFF);
	__m512i		bits = _mm512_max_epi32(_mm512_cvtps_epi32(x), _mm512_set1_epi32(lowest));

	/* (bits & mantissa) | bits of 1 */
	*m = _mm512_castsi512_ps(_mm512_ternarylogic_epi32(bits, mantissa, _mm512_set1_epi32(0x3F800000), 0xEA));
	return _mm512_andnot_si512(mantissa, bits);
}

EMB_ALWAYS_INLINE v16
v16_add_bits(v16 a, i32x16 n)
{
	return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), n));
}

EMB_ALWAYS_INLINE v16
v16_keep_above(v16 a, v16 x, float limit)
{
	return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_GT_OQ), a);
}

EMB_ALWAYS_INLINE v16
v16_log2_split(v16 x, v16 *m)
{
	__m512i		bits = _mm512_castps_si512(x);
	__m512i		exponent = _mm512_srai_epi32(_mm512_sub_epi32(bits, _mm512_set1_epi32(0x3F3504F3)), 23);

	*m = _mm512_castsi512_ps(_mm512_sub_epi32(bits, _mm512_slli_epi32(exponent, 23)));
	return _mm512_cvtepi32_ps(exponent);
}
