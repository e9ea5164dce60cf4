/*
 * attend_x86.h
 *		Shared by the x86 levels of attention; needs only SSE2.
 */

/* to[4 c + i] = rows[i][c] for 16 columns and 4 rows */
EMB_ALWAYS_INLINE void
interleave_rows(const int8_t *const rows[4], int8_t *to)
{
	__m128i		r0 = _mm_loadu_si128((const __m128i *) rows[0]);
	__m128i		r1 = _mm_loadu_si128((const __m128i *) rows[1]);
	__m128i		r2 = _mm_loadu_si128((const __m128i *) rows[2]);
	__m128i		r3 = _mm_loadu_si128((const __m128i *) rows[3]);
	__m128i		lo01 = _mm_unpacklo_epi8(r0, r1);
	__m128i		hi01 = _mm_unpackhi_epi8(r0, r1);
	__m128i		lo23 = _mm_unpacklo_epi8(r2, r3);
	__m128i		hi23 = _mm_unpackhi_epi8(r2, r3);

	_mm_storeu_si128((__m128i *) to, _mm_unpacklo_epi16(lo01, lo23));
	_mm_storeu_si128((__m128i *) (to + 16), _mm_unpackhi_epi16(lo01, lo23));
	_mm_storeu_si128((__m128i *) (to + 32), _mm_unpacklo_epi16(hi01, hi23));
	_mm_storeu_si128((__m128i *) (to + 48), _mm_unpackhi_epi16(hi01, hi23));
}
