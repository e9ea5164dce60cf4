/*
 * rowops_scalar.c
 *		Row operations in plain C: the reference of all levels.
 */
#include <math.h>

#include "kernels/declare.h"
#include "kernels/target.h"

#include "kernels/v16_scalar.h"

#define EMB_ISA scalar
#include "kernels/rowops_impl.h"

void
emb_transpose_f32_scalar(const float *rows, size_t stride, int32_t n_rows, int32_t n, float *panel)
{
	for (int32_t i = 0; i < n; i++)
		for (int r = 0; r < EMB_PANEL; r++)
			panel[(size_t) i * EMB_PANEL + r] = r < n_rows ? rows[r * stride + i] : 0.0f;
}
