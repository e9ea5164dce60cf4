/*
 * gemm_grouped_zmm.h
 *		Shared by levels of gemm_grouped with zmm registers, for a region with AVX-512.
 */
/* The zeros of a panel, in all 4 bytes of their columns. */
EMB_ALWAYS_INLINE __m512i
load_zeros_zmm(const uint8_t *zeros)
{
	__m512i		zero_i32x16 = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *) zeros));

	return _mm512_mullo_epi32(_mm512_and_si512(zero_i32x16, _mm512_set1_epi32(15)), _mm512_set1_epi32(0x01010101));
}

static void
widen_zmm(const uint16_t *from, EmbScaleType type, int32_t n, float (*to)[EMB_PANEL])
{
	for (int32_t i = 0; i < n; i++)
	{
		__m256i		halves = _mm256_loadu_si256((const __m256i *) (from + i * EMB_PANEL));
		__m512		scale_f32x16 = type == EMB_SCALE_F16 ? _mm512_cvtph_ps(halves) :
			_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));

		_mm512_store_ps(to[i], scale_f32x16);
	}
}

static void
unpack_zmm(const uint8_t *packed, int32_t n_groups, int32_t group, const uint8_t *zeros, EmbGroupedPanel *panel)
{
	const __m512i low_bits = _mm512_set1_epi8(15);

	for (int32_t start = 0; start < n_groups; start += group, zeros += EMB_PANEL)
	{
		int32_t		end = n_groups - start < group ? n_groups : start + group;
		__m512i		zero_u8x64 = load_zeros_zmm(zeros);

		for (int32_t i = start; i < end; i += 2, packed += EMB_PANEL * EMB_GROUP)
		{
			__m512i		codes = _mm512_loadu_si512(packed);
			__m512i		lower = _mm512_and_si512(codes, low_bits);
			__m512i		upper = _mm512_and_si512(_mm512_srli_epi16(codes, 4), low_bits);

			_mm512_store_si512(panel->b[i], _mm512_sub_epi8(lower, zero_u8x64));
			_mm512_store_si512(panel->b[i + 1], _mm512_sub_epi8(upper, zero_u8x64));
		}
	}
}

/* Row r of panel p from the end of its chain. */
EMB_ALWAYS_INLINE __m512
finish_zmm(const EmbTileGrouped *t, int r, int p, __m512 chain_f32x16, const bool has_zero, const bool has_bias)
{
	__m512		scale_f32x16 = _mm512_set1_ps(t->a_scale[r]);

	if (has_zero)
		chain_f32x16 = _mm512_fmadd_ps(_mm512_set1_ps(-(float) t->a_zero[r]), _mm512_loadu_ps(t->b_sums + p * EMB_PANEL),
									   chain_f32x16);
	if (has_bias)
		return _mm512_fmadd_ps(chain_f32x16, scale_f32x16, _mm512_loadu_ps(t->bias + p * EMB_PANEL));
	return _mm512_mul_ps(chain_f32x16, scale_f32x16);
}
