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

/* Row r, panel p of the tile, from its int32 sums. */
EMB_ALWAYS_INLINE void
finish_zmm(const EmbTileI8 *t, int r, int p, __m512i sum_i32x16)
{
	bool		has_zero = t->a_zero != NULL;
	bool		has_bias = t->bias != NULL;

	_mm512_storeu_ps(t->c + r * t->c_stride + p * EMB_PANEL,
					 scale_zmm(t, r, load_columns_zmm(t, p, has_zero, has_bias), sum_i32x16, has_zero, has_bias));
}
