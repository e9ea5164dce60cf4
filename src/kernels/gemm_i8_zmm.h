/*
 * gemm_i8_zmm.h
 *		Shared by tiles that end in zmm registers, for a region with AVX-512.
 */
/* Constants of one panel's columns. */
typedef struct ColumnsZmm
{
	__m512		scale,
				bias;			/* 0 without a bias: then never read */
	__m512i		sums;			/* 0 without a zero point: then never read */
} ColumnsZmm;

EMB_ALWAYS_INLINE ColumnsZmm
load_columns_zmm(const EmbTileI8 *t, int p, const bool has_zero, const bool has_bias)
{
	return (ColumnsZmm) {
		.scale = _mm512_loadu_ps(t->b_scale + p * EMB_PANEL),
		.bias = has_bias ? _mm512_loadu_ps(t->bias + p * EMB_PANEL) : _mm512_setzero_ps(),
		.sums = has_zero ? _mm512_loadu_si512(t->b_sums + p * EMB_PANEL) : _mm512_setzero_si512()
	};
}

EMB_ALWAYS_INLINE __m512
scale_zmm(const EmbTileI8 *t, int r, ColumnsZmm columns, __m512i sum_i32x16, const bool has_zero, const bool has_bias)
{
	__m512		factor = _mm512_mul_ps(_mm512_set1_ps(t->a_scale[r]), columns.scale);
	__m512		y;

	if (has_zero)
		sum_i32x16 = _mm512_sub_epi32(sum_i32x16, _mm512_mullo_epi32(_mm512_set1_epi32(t->a_zero[r]), columns.sums));
	y = _mm512_cvtepi32_ps(sum_i32x16);
	return has_bias ? _mm512_fmadd_ps(y, factor, columns.bias) : _mm512_mul_ps(y, factor);
}

/* Up to so many groups of K, S, zero b_sums and their difference are integers that fp32 holds. */
#define SHORT_GROUPS 128		/* 255 * 128 * 4 * 128 < 2^24 */

/*
 * The same for at most SHORT_GROUPS groups, bias and zero points, given as floats: the same bits by
 * fewer operations, because vpmulld is two of them on Intel and needs a subtraction.
 */
EMB_ALWAYS_INLINE __m512
scale_short_zmm(const EmbTileI8 *t, int r, ColumnsZmm columns, __m512 sums_f32x16, const float *zeros, __m512i sum_i32x16)
{
	__m512		factor = _mm512_mul_ps(_mm512_set1_ps(t->a_scale[r]), columns.scale);
	__m512		y = _mm512_fnmadd_ps(_mm512_set1_ps(zeros[r]), sums_f32x16, _mm512_cvtepi32_ps(sum_i32x16));

	return _mm512_fmadd_ps(y, factor, columns.bias);
}

/* Up to so many groups of K, b_sums over 128 is of 16 bits. */
#define PAIRS_GROUPS 8192		/* 128 * 8192 * 4 / 128 = 2^15 */

/*
 * Zero points and sums as pairs of 16 bits: z s = z (s mod 128) + 128 z (s div 128), and 128 z < 2^15. So one
 * vpdpwssd is the product and its subtraction, where vpmulld alone is two operations.
 */
EMB_ALWAYS_INLINE __m512i
sum_pairs_zmm(__m512i sums)
{
	__m512i		lower = _mm512_and_si512(sums, _mm512_set1_epi32(127));
	__m512i		upper = _mm512_slli_epi32(_mm512_srai_epi32(sums, 7), 16);

	return _mm512_or_si512(lower, upper);
}

/* pairs [16]: -z and -128 z of n_rows <= 16 zero points. */
EMB_ALWAYS_INLINE void
store_zero_pairs(const int32_t *zeros, int32_t n_rows, int32_t *pairs)
{
	__m512i		minus = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_maskz_loadu_epi32((__mmask16) ((1 << n_rows) - 1), zeros));
	__m512i		lower = _mm512_and_si512(minus, _mm512_set1_epi32(0xFFFF));

	_mm512_storeu_si512(pairs, _mm512_or_si512(lower, _mm512_slli_epi32(minus, 16 + 7)));
}

/* scale_zmm with zero points and bias, columns.sums and the zero point being pairs. */
EMB_ALWAYS_INLINE __m512
scale_pairs_zmm(const EmbTileI8 *t, int r, ColumnsZmm columns, int32_t zero_pair, __m512i sum_i32x16)
{
	__m512		factor = _mm512_mul_ps(_mm512_set1_ps(t->a_scale[r]), columns.scale);
	__m512i		sum = _mm512_dpwssd_epi32(sum_i32x16, _mm512_set1_epi32(zero_pair), columns.sums);

	return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), factor, columns.bias);
}

/* Row r, panel p of the tile, from its int32 sums. */
EMB_ALWAYS_INLINE void
finish_zmm(const EmbTileI8 *t, int r, int p, __m512i sum_i32x16)
{
	bool		has_zero = t->a_zero != NULL;
	bool		has_bias = t->bias != NULL;

	_mm512_storeu_ps(t->c + r * t->c_stride + p * EMB_PANEL,
					 scale_zmm(t, r, load_columns_zmm(t, p, has_zero, has_bias), sum_i32x16, has_zero, has_bias));
}
