/*
 * attend_avx2.c
 *		Attention in int8, AVX2. Products are exact like in gemm_i8_avx2.c:
 *		vpmaddwd for even and for odd bytes, because vpmaddubsw would
 *		saturate.
 *
 * 16 registers: 4 rows of one panel take 8 accumulators, the even and odd bytes
 * of two halves of B 4, those of A 2, and a product 1.
 */
#if defined(__x86_64__)

#include <float.h>
#include <immintrin.h>
#include <string.h>

#include "kernels/declare.h"
#include "kernels/target.h"

#define ATTEND_ROWS		4
#define ATTEND_PANELS	1

EMB_TARGET_BEGIN(EMB_TARGET_AVX2)

#include "kernels/v16_avx2.h"
#include "kernels/attend_ymm.h"
#include "kernels/attend_x86.h"

/* Bytes as pairs of 16-bit numbers. */
typedef struct quads_u8
{
	__m256i		even,
				odd;
} quads_u8;

typedef struct quads_s8
{
	i32x16		even,
				odd;
} quads_s8;

EMB_ALWAYS_INLINE quads_u8
quads_u8_load(const uint8_t *p)
{
	const __m256i low = _mm256_set1_epi16(0xFF);
	__m256i		a_u8x32 = broadcast_group(p);

	return (quads_u8) {_mm256_and_si256(a_u8x32, low), _mm256_srli_epi16(a_u8x32, 8)};
}

EMB_ALWAYS_INLINE quads_s8
quads_s8_load(const int8_t *p)
{
	i32x16		b = i32x16_load((const int32_t *) p);

	return (quads_s8) {
		.even = {_mm256_srai_epi16(_mm256_slli_epi16(b.lo, 8), 8), _mm256_srai_epi16(_mm256_slli_epi16(b.hi, 8), 8)},
		.odd = {_mm256_srai_epi16(b.lo, 8), _mm256_srai_epi16(b.hi, 8)}
	};
}

EMB_ALWAYS_INLINE i32x16
i32x16_dot(i32x16 sum, quads_u8 a, quads_s8 b)
{
	sum.lo = _mm256_add_epi32(sum.lo, _mm256_madd_epi16(a.even, b.even.lo));
	sum.hi = _mm256_add_epi32(sum.hi, _mm256_madd_epi16(a.even, b.even.hi));
	sum.lo = _mm256_add_epi32(sum.lo, _mm256_madd_epi16(a.odd, b.odd.lo));
	sum.hi = _mm256_add_epi32(sum.hi, _mm256_madd_epi16(a.odd, b.odd.hi));
	return sum;
}

#define EMB_ISA avx2
#define transpose_dwords emb_transpose_f32_avx2
#include "kernels/attend_impl.h"

EMB_TARGET_END

#endif
