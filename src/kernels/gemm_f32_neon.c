/*
 * gemm_f32_neon.c
 *		C = A B + bias, NEON: four q registers are one row of one panel.
 *
 * 32 registers: 6 rows of one panel take 24 accumulators, 4 columns of B and a
 * broadcast or two. One or two rows take more panels at a time, for at least
 * 16 chains in flight (latency 4, up to four units).
 */
#if defined(__aarch64__)

#include "kernels/gemm_f32.h"
#include "kernels/declare.h"
#include "kernels/target_neon.h"

#define ROWS_MAX 6

EMB_ALWAYS_INLINE void
finish_neon(const EmbGemmTile *t, float *c, const float *bias, float32x4_t sum)
{
	if (!t->first)
		sum = vaddq_f32(vld1q_f32(c), sum);
	if (t->bias != NULL)
		sum = vaddq_f32(sum, vld1q_f32(bias));
	vst1q_f32(c, sum);
}

/* n_rows and n_panels are constants of each instance below. Quarter h of panel p is b_f32x4[4 p + h]. */
EMB_ALWAYS_INLINE void
tile_neon(const EmbGemmTile *t, const int n_rows, const int n_panels)
{
	float32x4_t acc_f32x4[ROWS_MAX][16];
	const float *a = t->a;
	const float *b = t->b;
	const float *b_end = b + (size_t) t->k * EMB_PANEL;

	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int h = 0; h < 4 * n_panels; h++)
			acc_f32x4[r][h] = vdupq_n_f32(0.0f);
	}
	for (; b < b_end; b += EMB_PANEL, a++)
	{
		float32x4_t b_f32x4[16];

		EMB_UNROLL
		for (int h = 0; h < 4 * n_panels; h++)
			b_f32x4[h] = vld1q_f32(b + h / 4 * t->b_stride + h % 4 * 4);
		EMB_UNROLL
		for (int r = 0; r < n_rows; r++)
		{
			float32x4_t a_f32x4 = vdupq_n_f32(a[r * t->a_stride]);

			EMB_UNROLL
			for (int h = 0; h < 4 * n_panels; h++)
				acc_f32x4[r][h] = vfmaq_f32(acc_f32x4[r][h], a_f32x4, b_f32x4[h]);
			EMB_LOADS_STAY;
		}
	}
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		EMB_UNROLL
		for (int h = 0; h < 4 * n_panels; h++)
			finish_neon(t, t->c + r * t->c_stride + h * 4,
						t->bias == NULL ? NULL : t->bias + h * 4, acc_f32x4[r][h]);
	}
}

EMB_TILES_NARROW(EmbGemmTile, tile_neon)
EMB_PICK_NARROW(EmbGemmTileFn, pick_neon)

void
emb_gemm_f32_neon(const EmbGemmF32 *g)
{
	emb_gemm_walk(g, ROWS_MAX, pick_neon);
}

#endif
