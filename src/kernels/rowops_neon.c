/*
 * rowops_neon.c
 *		Row operations, NEON: 16 lanes are four q registers.
 */
#if defined(__aarch64__)

#include <arm_neon.h>
#include <math.h>

#include "kernels/declare.h"
#include "kernels/target.h"

#include "kernels/v16_neon.h"

#define EMB_ISA neon
#include "kernels/rowops_impl.h"

/* Columns of 4 rows, of which n_rows (at most 4, may be negative) exist, to a quarter of a panel. */
EMB_ALWAYS_INLINE void
transpose_quarter(const float *rows, size_t stride, int32_t n_rows, float *panel)
{
	float32x4_t row[4];
	float32x4_t pair[4];

	EMB_UNROLL
	for (int r = 0; r < 4; r++)
		row[r] = r < n_rows ? vld1q_f32(rows + r * stride) : vdupq_n_f32(0.0f);
	/* row 0 with 2 and 1 with 3, then both with each other */
	pair[0] = vzip1q_f32(row[0], row[2]);
	pair[1] = vzip2q_f32(row[0], row[2]);
	pair[2] = vzip1q_f32(row[1], row[3]);
	pair[3] = vzip2q_f32(row[1], row[3]);
	vst1q_f32(panel, vzip1q_f32(pair[0], pair[2]));
	vst1q_f32(panel + EMB_PANEL, vzip2q_f32(pair[0], pair[2]));
	vst1q_f32(panel + 2 * EMB_PANEL, vzip1q_f32(pair[1], pair[3]));
	vst1q_f32(panel + 3 * EMB_PANEL, vzip2q_f32(pair[1], pair[3]));
}

void
emb_transpose_f32_neon(const float *rows, size_t stride, int32_t n_rows, int32_t n, float *panel)
{
	int32_t		i = 0;

	for (; n - i >= 4; i += 4)
		for (int32_t r = 0; r < EMB_PANEL; r += 4)
			transpose_quarter(rows + r * stride + i, stride, n_rows - r, panel + (size_t) i * EMB_PANEL + r);
	if (i < n)
		emb_transpose_f32_scalar(rows + i, stride, n_rows, n - i, panel + (size_t) i * EMB_PANEL);
}

#endif
