/*
 * attend_avxvnni.c
 *		Attention in int8, AVX-VNNI (the VEX form): 6 rows of one panel take 12 of
 *		16 registers.
 */
#include "kernels/target.h"

#if EMB_COMPILER_HAS_AVXVNNI

#include <float.h>
#include <immintrin.h>
#include <string.h>

#include "kernels/declare.h"

#define ATTEND_ROWS		6
#define ATTEND_PANELS	1

EMB_TARGET_BEGIN(EMB_TARGET_AVXVNNI)

#include "kernels/v16_avx2.h"
#include "kernels/attend_ymm.h"
#include "kernels/attend_x86.h"

typedef __m256i quads_u8;
typedef i32x16 quads_s8;

#define quads_u8_load broadcast_group

EMB_ALWAYS_INLINE quads_s8
quads_s8_load(const int8_t *p)
{
	return i32x16_load((const int32_t *) p);
}

EMB_ALWAYS_INLINE i32x16
i32x16_dot(i32x16 sum, quads_u8 a, quads_s8 b)
{
	return (i32x16) {_mm256_dpbusd_avx_epi32(sum.lo, a, b.lo), _mm256_dpbusd_avx_epi32(sum.hi, a, b.hi)};
}

#define EMB_ISA avxvnni
#define transpose_dwords emb_transpose_f32_avx2
#include "kernels/attend_impl.h"

EMB_TARGET_END

#endif
