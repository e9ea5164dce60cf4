/*
 * gemm_i8_ymm.h
 *		Shared by tiles of ymm registers, for a region with AVX2 and FMA.
 */
EMB_ALWAYS_INLINE __m256i
broadcast_group(const void *a)
{
	int32_t		group;

	memcpy(&group, a, sizeof(group));
	return _mm256_set1_epi32(group);
}

/* Row r, columns 8 h .. 8 h + 7 of the tile, from their int32 sums. */
EMB_ALWAYS_INLINE void
finish_ymm(const EmbTileI8 *t, int r, int h, __m256i sum_i32x8)
{
	__m256		factor = _mm256_mul_ps(_mm256_set1_ps(t->a_scale[r]), _mm256_loadu_ps(t->b_scale + h * 8));
	__m256		y;

	if (t->a_zero != NULL)
	{
		__m256i		b_sums = _mm256_loadu_si256((const __m256i *) (t->b_sums + h * 8));

		sum_i32x8 = _mm256_sub_epi32(sum_i32x8, _mm256_mullo_epi32(_mm256_set1_epi32(t->a_zero[r]), b_sums));
	}
	y = _mm256_cvtepi32_ps(sum_i32x8);
	y = t->bias != NULL ? _mm256_fmadd_ps(y, factor, _mm256_loadu_ps(t->bias + h * 8)) : _mm256_mul_ps(y, factor);
	_mm256_storeu_ps(t->c + r * t->c_stride + h * 8, y);
}
