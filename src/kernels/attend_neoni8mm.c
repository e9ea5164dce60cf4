/*
 * attend_neoni8mm.c
 *		Attention in int8, NEON with the matrix multiply extension, for its usdot:
 *		u8 by s8. 6 rows take 24 of 32 registers for sums, B 4, A one.
 */
#if defined(__aarch64__)

#include <float.h>
#include <string.h>

#include "kernels/declare.h"
#include "kernels/target_neon.h"

#define ATTEND_ROWS		6
#define ATTEND_PANELS	1

EMB_TARGET_BEGIN(EMB_TARGET_NEONI8MM)

#include "kernels/v16_neon.h"
#include "kernels/attend_neon.h"

typedef uint8x16_t quads_u8;

typedef struct quads_s8
{
	int8x16_t	b[4];
} quads_s8;

EMB_ALWAYS_INLINE quads_u8
quads_u8_load(const uint8_t *p)
{
	uint32_t	group;

	memcpy(&group, p, sizeof(group));
	return vreinterpretq_u8_u32(vdupq_n_u32(group));
}

EMB_ALWAYS_INLINE quads_s8
quads_s8_load(const int8_t *p)
{
	quads_s8	quads;

	EMB_UNROLL
	for (int i = 0; i < 4; i++)
		quads.b[i] = vld1q_s8(p + 16 * i);
	return quads;
}

EMB_ALWAYS_INLINE i32x16
i32x16_dot(i32x16 sum, quads_u8 a, quads_s8 b)
{
	I32X16_QUARTERS(vusdotq_s32(sum.q[i], a, b.b[i]));
}

#define EMB_ISA neoni8mm
#define transpose_dwords emb_transpose_f32_neon
#include "kernels/attend_impl.h"

EMB_TARGET_END

#endif
