/*
 * group_smoothing.c
 *		Smoothing by powers of two, a factor for each group of inputs.
 */
#include "convert/group_smoothing.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "convert/quantize.h"

/*
 * Between these sizes of weights, scales (at least 2^-8 of a weight) and their
 * products with a factor (2^-10 .. 2^10, see emb_quantize_smoothing) are exact.
 */
#define LEAST	0x1p-90f
#define LARGEST	0x1p90f

/* Eighths; the first is no smoothing. */
static const int exponents[] = {-1, 3, 4, 5, 6, 7, 8};

#define N_EXPONENTS	((int) (sizeof(exponents) / sizeof(exponents[0])))

/* Memory of a call, and what it knows of the inputs. */
typedef struct Work
{
	const EmbGroupSmoothing *s;
	const EmbImportSteps *steps;
	int32_t		n;
	int32_t		n_groups;
	float	   *largest_x;		/* [groups] */
	float	   *largest_w;		/* [groups] */
	double	   *energies;		/* [n] sums of squares of the weights that read an input */
	float	   *smooth;			/* [groups] of a candidate */
	float	   *factor;			/* [n] */
	uint8_t    *codes;			/* [n padded to 64] */
	bool		is_exact;		/* all weights are of a size that can be smoothed */
} Work;

static EmbStatus
begin(Work *w, const EmbGroupSmoothing *s, const EmbImportSteps *steps, EmbError *err)
{
	int32_t		n = s->seen->n;
	int32_t		n_groups = (n - 1) / s->group + 1;

	*w = (Work) {
		.s = s, .steps = steps, .n = n, .n_groups = n_groups, .is_exact = true,
		.largest_x = emb_alloc_zero(steps->mem, n_groups, sizeof(float)),
		.largest_w = emb_alloc_zero(steps->mem, n_groups, sizeof(float)),
		.energies = emb_alloc_zero(steps->mem, n, sizeof(double)),
		.smooth = emb_alloc_array(steps->mem, n_groups, sizeof(float)),
		.factor = emb_alloc_array(steps->mem, n, sizeof(float)),
		.codes = emb_alloc_array(steps->mem, emb_pack_i8_padded(n), 1)
	};
	if (w->largest_x == NULL || w->largest_w == NULL || w->energies == NULL || w->smooth == NULL || w->factor == NULL || w->codes == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory smoothing %d inputs", n);
	return EMB_OK;
}

static void
end(Work *w)
{
	void	   *owned[] = {w->largest_x, w->largest_w, w->energies, w->smooth, w->factor, w->codes};

	for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
		emb_release(w->steps->mem, owned[i]);
}

/* The input at place k. */
static int32_t
input_at(const Work *w, int32_t k)
{
	return w->s->order != NULL ? w->s->order[k] : k;
}

/* Largest weights and energies of a linear layer; false: stopped. */
static bool
note_weights(Work *w, const EmbLinear *linear)
{
	size_t		n_panels = emb_pack_f32_panels(linear->n_out);

	for (size_t p = 0; p < n_panels; p++)
	{
		const float *panel = linear->weight + p * linear->n_in * EMB_PANEL;

		if (emb_should_stop(w->steps->stop))
			return false;
		for (int32_t k = 0; k < w->n; k++)
		{
			int32_t		input = input_at(w, k);
			float	   *largest = &w->largest_w[k / w->s->group];

			for (int r = 0; r < EMB_PANEL; r++)
			{
				float		x = __builtin_fabsf(panel[(size_t) input * EMB_PANEL + r]);

				*largest = x > *largest ? x : *largest;
				w->energies[input] += (double) x * x;
				w->is_exact &= x == 0 || (x >= LEAST && x <= LARGEST);
			}
		}
	}
	return true;
}

/* To the nearest power of two, by the mantissa. */
static float
power_of_two(float x)
{
	int			exponent;
	float		mantissa = frexpf(x, &exponent);	/* 0.5 .. 1 */

	return ldexpf(1, mantissa > 0.70710678f ? exponent : exponent - 1);
}

/* False: some scale might not fit its type. */
static bool
make_candidate(Work *w, int eighths)
{
	float		least = FLT_MAX;
	bool		fits = true;

	if (eighths < 0)
	{
		for (int32_t g = 0; g < w->n_groups; g++)
			w->smooth[g] = 1;
	}
	else
		emb_quantize_smoothing(w->largest_x, w->largest_w, w->n_groups, eighths, w->smooth);
	for (int32_t g = 0; g < w->n_groups; g++)
	{
		w->smooth[g] = power_of_two(w->smooth[g]);
		least = w->smooth[g] < least ? w->smooth[g] : least;
	}
	for (int32_t g = 0; g < w->n_groups; g++)
	{
		w->smooth[g] /= least;
		fits &= w->s->scale_type != EMB_SCALE_F16 || w->largest_w[g] * w->smooth[g] <= EMB_F16_MAX;
	}
	for (int32_t k = 0; k < w->n; k++)
		w->factor[input_at(w, k)] = 1 / w->smooth[k / w->s->group];
	return fits;
}

/* The squared error of the rows under the candidate; false: stopped. */
static bool
measure(Work *w, double *error)
{
	const EmbObserved *seen = w->s->seen;
	int32_t		padded = (int32_t) emb_pack_i8_padded(w->n);

	*error = 0;
	for (int32_t i = 0; i < seen->n_rows; i++)
	{
		const float *row = seen->rows + (size_t) i * w->n;
		int32_t		zero;
		float		scale = emb_kernels()->quantize_u8(row, w->factor, w->n, padded, w->codes, &zero);

		if (emb_should_stop(w->steps->stop))
			return false;
		for (int32_t k = 0; k < w->n; k++)
		{
			double		d = (double) (w->codes[k] - zero) * scale / w->factor[k] - row[k];

			*error += d * d * w->energies[k];
		}
	}
	return true;
}

static bool
choose(Work *w, float *smooth, float *factor)
{
	double		least = 0;

	for (int e = 0; e < (w->is_exact ? N_EXPONENTS : 1); e++)
	{
		double		error;

		/* without smoothing scales are the checkpoint's */
		if (!make_candidate(w, exponents[e]) && e > 0)
			continue;
		if (!measure(w, &error))
			return false;
		if (e > 0 && !(error < least))
			continue;
		least = error;
		memcpy(smooth, w->smooth, w->n_groups * sizeof(float));
		memcpy(factor, w->factor, w->n * sizeof(float));
	}
	return true;
}

EmbStatus
emb_smooth_groups(const EmbGroupSmoothing *s, const EmbImportSteps *steps, float *smooth, float *factor, EmbError *err)
{
	Work		w;
	EmbStatus	status = begin(&w, s, steps, err);
	EmbFpState	fp = emb_fp_enter();
	bool		may_go_on = true;

	for (int32_t i = 0; status == EMB_OK && may_go_on && i < s->n_linears; i++)
		may_go_on = note_weights(&w, s->linears[i]);
	for (int32_t k = 0; status == EMB_OK && k < w.n; k++)
	{
		float	   *largest = &w.largest_x[k / s->group];
		float		x = s->seen->largest[input_at(&w, k)];

		*largest = x > *largest ? x : *largest;
	}
	if (status == EMB_OK && (!may_go_on || !choose(&w, smooth, factor)))
		status = emb_import_cancelled(err);
	emb_fp_leave(fp);
	end(&w);
	return status;
}
