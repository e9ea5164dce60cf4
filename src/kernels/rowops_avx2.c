/*
 * rowops_avx2.c
 *		Row operations, AVX2 and FMA: 16 lanes are two ymm.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>

#include "kernels/declare.h"
#include "kernels/target.h"

EMB_TARGET_BEGIN(EMB_TARGET_AVX2)

#include "kernels/v16_avx2.h"

#define EMB_ISA avx2
#include "kernels/rowops_impl.h"

/* 8 x 8, in place: pairs of rows, of pairs, of halves. */
EMB_ALWAYS_INLINE void
transpose_8x8(__m256 row[8])
{
	__m256		pair[8];
	__m256		quad[8];

	EMB_UNROLL
	for (int i = 0; i < 8; i += 2)
	{
		pair[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
		pair[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
	}
	EMB_UNROLL
	for (int i = 0; i < 8; i += 4)
	{
		quad[i] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0x44);
		quad[i + 1] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0xEE);
		quad[i + 2] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0x44);
		quad[i + 3] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0xEE);
	}
	EMB_UNROLL
	for (int i = 0; i < 4; i++)
	{
		row[i] = _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x20);
		row[i + 4] = _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x31);
	}
}

/* Columns of 8 rows, of which n_rows (at most 8, may be negative) exist, to one half of a panel. */
EMB_ALWAYS_INLINE void
transpose_half(const float *rows, size_t stride, int32_t n_rows, float *panel)
{
	__m256		row[8];

	EMB_UNROLL
	for (int r = 0; r < 8; r++)
		row[r] = r < n_rows ? _mm256_loadu_ps(rows + r * stride) : _mm256_setzero_ps();
	transpose_8x8(row);
	EMB_UNROLL
	for (int r = 0; r < 8; r++)
		_mm256_storeu_ps(panel + r * EMB_PANEL, row[r]);
}

void
emb_transpose_f32_avx2(const float *rows, size_t stride, int32_t n_rows, int32_t n, float *panel)
{
	int32_t		i = 0;

	for (; n - i >= 8; i += 8)
	{
		transpose_half(rows + i, stride, n_rows, panel + (size_t) i * EMB_PANEL);
		transpose_half(rows + i + 8 * stride, stride, n_rows - 8, panel + (size_t) i * EMB_PANEL + 8);
	}
	if (i < n)
		emb_transpose_f32_scalar(rows + i, stride, n_rows, n - i, panel + (size_t) i * EMB_PANEL);
}

EMB_TARGET_END

#endif
