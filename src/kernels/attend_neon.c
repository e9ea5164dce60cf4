/*
 * attend_neon.c
 *		Attention in int8, NEON with the dot product: sdot is s8 by s8, so a
 *		byte a enters as a - 128. The missing 128 B is added again; it is
 *		computed once for a group of B and all rows.
 *
 * 4 rows take 16 registers for sums, B and its correction 8, A one.
 */
#if defined(__aarch64__)

#include <float.h>
#include <string.h>

#include "kernels/declare.h"
#include "kernels/target_neon.h"

#define ATTEND_ROWS		4
#define ATTEND_PANELS	1

EMB_TARGET_BEGIN(EMB_TARGET_NEON)

#include "kernels/v16_neon.h"
#include "kernels/attend_neon.h"

typedef int8x16_t quads_u8;		/* less 128 */

typedef struct quads_s8
{
	int8x16_t	b[4];
	int32x4_t	times128[4];
} quads_s8;

EMB_ALWAYS_INLINE quads_u8
quads_u8_load(const uint8_t *p)
{
	uint32_t	group;

	memcpy(&group, p, sizeof(group));
	return vreinterpretq_s8_u32(vdupq_n_u32(group ^ 0x80808080));
}

EMB_ALWAYS_INLINE quads_s8
quads_s8_load(const int8_t *p)
{
	quads_s8	quads;

	EMB_UNROLL
	for (int i = 0; i < 4; i++)
	{
		quads.b[i] = vld1q_s8(p + 16 * i);
		quads.times128[i] = vshlq_n_s32(vdotq_s32(vdupq_n_s32(0), quads.b[i], vdupq_n_s8(1)), 7);
	}
	return quads;
}

EMB_ALWAYS_INLINE i32x16
i32x16_dot(i32x16 sum, quads_u8 a, quads_s8 b)
{
	I32X16_QUARTERS(vdotq_s32(vaddq_s32(sum.q[i], b.times128[i]), b.b[i], a));
}

#define EMB_ISA neon
#define transpose_dwords emb_transpose_f32_neon
#include "kernels/attend_impl.h"

EMB_TARGET_END

#endif
