/*
 * rounding.c
 *		Rounds channel by channel, the strongest first. The code of a weight
 *		is the code that leaves the output nearest to its exact value so far,
 *		over all observed rows.
 *
 * With X the smoothed input, w the weight of channel k, e the remaining error
 * of the output: q = rint((w + <e, x_k> / (|x_k|^2 + damping)) / scale), then
 * e += (w - q scale) x_k. The damping is the mean of all |x_k|^2. It keeps
 * weak channels from repairing rows that happen to be observed: without
 * damping the vectors of other texts do not improve.
 */
#include "convert/rounding.h"

#include <stdlib.h>
#include <string.h>

#define CODE_MAX	127

bool
emb_rounding_begin(EmbRounding *r, const EmbKernels *kernels, int32_t n_max, int32_t n_rows_max,
				   int32_t n_workers, const EmbAllocator *mem)
{
	*r = (EmbRounding) {
		.mem = *mem,
		.kernels = kernels,
		.columns = emb_alloc_array(mem, (size_t) n_max * n_rows_max, sizeof(float)),
		.gain = emb_alloc_array(mem, n_max, sizeof(float)),
		.order = emb_alloc_array(mem, n_max, sizeof(int32_t)),
		.missing = emb_alloc_array(mem, (size_t) n_workers * EMB_PANEL * n_rows_max, sizeof(float)),
		.n_missing = (size_t) EMB_PANEL * n_rows_max,
	};
	return r->columns != NULL && r->gain != NULL && r->order != NULL && r->missing != NULL;
}

void
emb_rounding_end(EmbRounding *r)
{
	emb_release(&r->mem, r->columns);
	emb_release(&r->mem, r->gain);
	emb_release(&r->mem, r->order);
	emb_release(&r->mem, r->missing);
}

/* Orders channels by energy; equal energies by channel, so that the sort has one result. */
static int
compare_energies(const void *a, const void *b, void *energies)
{
	int32_t		i = *(const int32_t *) a;
	int32_t		k = *(const int32_t *) b;
	float		x = ((const float *) energies)[i];
	float		y = ((const float *) energies)[k];

	if (x != y)
		return x > y ? -1 : 1;
	return i < k ? -1 : i > k;
}

bool
emb_rounding_set_input(EmbRounding *r, EmbWork *work, const float *rows, int32_t n, int32_t n_rows, const float *factor)
{
	double		total = 0;

	r->n = n;
	r->n_rows = n_rows;
	for (int32_t k = 0; k < n; k++)
	{
		float	   *x = r->columns + (size_t) k * n_rows;

		for (int32_t i = 0; i < n_rows; i++)
			x[i] = rows[(size_t) i * n + k] * factor[k];
		r->gain[k] = r->kernels->dot_f32(x, x, n_rows);
		r->order[k] = k;
		total += r->gain[k];
		if (!emb_work_spend(work, 128 * (int64_t) n_rows))
			return false;
	}
	qsort_r(r->order, n, sizeof(int32_t), compare_energies, r->gain);
	for (int32_t k = 0; k < n; k++)
		r->gain[k] = total > 0 ? (float) (1 / (r->gain[k] + total / n)) : 0;
	return true;
}

/* To nearest even; NaN, from overflowing sums, to the lowest code. */
static int
to_code(float x)
{
	float		cut = x > CODE_MAX ? CODE_MAX : x > -CODE_MAX ? x : -CODE_MAX;

	return (int) ((cut + 12582912.0f) - 12582912.0f);
}

bool
emb_round_panel(const EmbRounding *r, int32_t worker, EmbWork *work, const float *panel, int32_t n_outputs, const float *smooth,
				const float *scale, int8_t *codes, int8_t *tiles, int32_t *sums)
{
	float	   *all_missing = r->missing + worker * r->n_missing;

	memset(all_missing, 0, (size_t) n_outputs * r->n_rows * sizeof(float));
	memset(codes, 0, (size_t) n_outputs * r->n);
	memset(sums, 0, EMB_PANEL * sizeof(int32_t));
	for (int32_t i = 0; i < r->n; i++)
	{
		int32_t		k = r->order[i];
		const float *x = r->columns + (size_t) k * r->n_rows;

		for (int32_t o = 0; o < n_outputs; o++)
		{
			float	   *missing = all_missing + (size_t) o * r->n_rows;
			float		w = panel[(size_t) k * EMB_PANEL + o] * smooth[k];
			int			q;

			if (scale[o] == 0)
				continue;
			q = to_code((w + r->kernels->dot_f32(missing, x, r->n_rows) * r->gain[k]) / scale[o]);
			r->kernels->muladd_f32(missing, x, r->n_rows, w - (float) q * scale[o]);
			codes[(size_t) o * r->n + k] = (int8_t) q;
			sums[o] += q;
		}
		if (!emb_work_spend(work, 10 * (int64_t) n_outputs * r->n_rows))
			return false;
	}
	emb_pack_i8_panel(codes, n_outputs, r->n, tiles);
	return true;
}
