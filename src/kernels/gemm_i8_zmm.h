/*
 * gemm_i8_zmm.h
 *		What the tiles that end in zmm registers share, for a region with AVX-512.
 */
/* Row r, panel p of the tile, from its int32 sums. */
EMB_ALWAYS_INLINE void
finish_zmm(const EmbTileI8 *t, int r, int p, __m512i sum_i32x16)
{
	__m512		factor = _mm512_mul_ps(_mm512_set1_ps(t->a_scale[r]), _mm512_loadu_ps(t->b_scale + p * EMB_PANEL));
	__m512		y;

	if (t->a_zero != NULL)
		sum_i32x16 = _mm512_sub_epi32(sum_i32x16, _mm512_mullo_epi32(_mm512_set1_epi32(t->a_zero[r]),
																	 _mm512_loadu_si512(t->b_sums + p * EMB_PANEL)));
	y = _mm512_cvtepi32_ps(sum_i32x16);
	y = t->bias != NULL ? _mm512_fmadd_ps(y, factor, _mm512_loadu_ps(t->bias + p * EMB_PANEL)) : _mm512_mul_ps(y, factor);
	_mm512_storeu_ps(t->c + r * t->c_stride + p * EMB_PANEL, y);
}
