/*
 * candidates.c
 *		Chooses the smoothing of an input of linear layers: candidates with
 *		different exponents, and the errors of their outputs.
 */
#include "convert/quantizer.h"

#include <math.h>
#include <string.h>

/*
 * Eighths. Of weights of 4 bits more range must go: on bge-small-en and
 * all-MiniLM the best of 0 .. 8 were mostly 2 to 4.
 */
static const int exponents[EMB_QUANTIZER_EXPONENTS] = {3, 4, 5, 6, 7};
static const int exponents_i4[EMB_QUANTIZER_EXPONENTS] = {1, 2, 3, 4, 5};

/* With 4 bits, every so many panels are compared under all exponents: a range is sought for each group. */
#define COMPARED_I4		4

/* Weights of 4 bits are brought below 2^4, so their scales below 2: see center_scales. */
#define LARGEST_EXPONENT	4
#define SHIFT_MAX			64

/* ------------------------------------------------------------ candidates */

static bool
note_weights(EmbQuantizer *q, const EmbLinear *linear)
{
	size_t		n_panels = emb_pack_f32_panels(linear->n_out);

	for (size_t p = 0; p < n_panels; p++)
	{
		const float *panel = linear->weight + p * linear->n_in * EMB_PANEL;

		for (int32_t i = 0; i < linear->n_in; i++)
		{
			for (int r = 0; r < EMB_PANEL; r++)
			{
				float		w = __builtin_fabsf(panel[(size_t) i * EMB_PANEL + r]);

				q->largest[i] = w > q->largest[i] ? w : q->largest[i];
			}
		}
		if (!emb_work_spend(&q->hands[0].work, 4 * EMB_PANEL * (int64_t) linear->n_in))
			return false;
	}
	return true;
}

static bool
quantize_rows(EmbQuantizer *q, const EmbQuantizerInput *in, EmbQuantizerCandidate *c)
{
	const EmbObserved *seen = in->seen;
	int32_t		padded = (int32_t) emb_pack_i8_padded(seen->n);

	for (int32_t i = 0; i < seen->n_rows; i++)
	{
		c->scales[i] = q->hands[0].work.kernels->quantize_u8(seen->rows + (size_t) i * seen->n, c->factor, seen->n, padded,
													c->rows + (size_t) i * padded, &c->zeros[i]);
		if (!emb_work_spend(&q->hands[0].work, 24 * (int64_t) seen->n))
			return false;
	}
	return true;
}

/*
 * The factors of the context go into the rows of value, so query heads that
 * share a value head need the same ones: each takes the largest of the group.
 */
static void
share_largest(const EmbQuantizer *q, const EmbQuantizerInput *in, float *largest)
{
	int32_t		head_size = q->model->transformer.arch->head_size;

	for (int32_t i = 0; in->group > 1 && i < in->seen->n; i++)
	{
		int32_t		first = i / head_size / in->group * in->group * head_size + i % head_size;

		if (largest[i] > largest[first])
			largest[first] = largest[i];
	}
	for (int32_t i = 0; in->group > 1 && i < in->seen->n; i++)
		largest[i] = largest[i / head_size / in->group * in->group * head_size + i % head_size];
}

/* What an error of each channel's weights costs in the outputs. */
static bool
sum_energies(EmbQuantizer *q, const EmbQuantizerInput *in, EmbQuantizerCandidate *c)
{
	const EmbObserved *seen = in->seen;
	size_t		padded = emb_pack_i8_padded(seen->n);
	double		total = 0;

	memset(c->energies, 0, seen->n * sizeof(double));
	for (int32_t i = 0; i < seen->n_rows; i++)
	{
		for (int32_t k = 0; k < seen->n; k++)
		{
			double		x = (double) ((int32_t) c->rows[i * padded + k] - c->zeros[i]) * c->scales[i];

			c->energies[k] += x * x;
		}
		if (!emb_work_spend(&q->hands[0].work, 64 * (int64_t) seen->n))
			return false;
	}
	for (int32_t k = 0; k < seen->n; k++)
		total += c->energies[k];
	for (int32_t k = 0; k < seen->n; k++)
		c->energies[k] += total > 0 ? 0.01 * total / seen->n : 1;
	return true;
}

/*
 * Multiplies all factors by one power of two, so that scales of 4-bit weights are
 * in the upper middle of binary16's range. It changes no code, of weights or of
 * inputs. (The range of normal numbers begins at 2^-14.)
 */
static void
center_scales(const float *largest, int32_t n, float *smooth)
{
	float		most = 0;
	int			shift;

	for (int32_t i = 0; i < n; i++)
		most = largest[i] * smooth[i] > most ? largest[i] * smooth[i] : most;
	if (most == 0 || !isfinite(most))
		return;
	(void) frexpf(most, &shift);
	shift = LARGEST_EXPONENT - shift;
	shift = shift > SHIFT_MAX ? SHIFT_MAX : shift > -SHIFT_MAX ? shift : -SHIFT_MAX;
	for (int32_t i = 0; i < n; i++)
		smooth[i] = ldexpf(smooth[i], shift);
}

bool
emb_quantizer_prepare(EmbQuantizer *q, const EmbQuantizerInput *in)
{
	bool		has_i4 = emb_quantizer_count_i4(q, in) > 0;

	memset(q->largest, 0, in->seen->n * sizeof(float));
	memcpy(q->seen, in->seen->largest, in->seen->n * sizeof(float));
	for (int32_t i = 0; i < in->n_linears; i++)
	{
		if (!note_weights(q, in->linears[i]))
			return false;
	}
	share_largest(q, in, q->largest);
	share_largest(q, in, q->seen);
	for (int e = 0; e < EMB_QUANTIZER_EXPONENTS; e++)
	{
		EmbQuantizerCandidate *c = &q->candidates[e];

		emb_quantize_smoothing(q->seen, q->largest, in->seen->n, has_i4 ? exponents_i4[e] : exponents[e], c->smooth);
		if (has_i4)
			center_scales(q->largest, in->seen->n, c->smooth);
		for (int32_t i = 0; i < in->seen->n; i++)
			c->factor[i] = 1.0f / c->smooth[i];
		if (!emb_work_spend(&q->hands[0].work, 64 * (int64_t) in->seen->n) || !quantize_rows(q, in, c) ||
			(has_i4 && !sum_energies(q, in, c)))
			return false;
	}
	return true;
}

/* ---------------------------------------------------------------- errors */

static EmbActivate
activation(const EmbKernels *kernels, EmbActKind act)
{
	switch (act)
	{
		case EMB_ACT_KIND_GELU:
			return kernels->gelu_f32;
		case EMB_ACT_KIND_GELU_TANH:
			return kernels->gelu_tanh_f32;
		case EMB_ACT_KIND_RELU:
			return kernels->relu_f32;
		case EMB_ACT_KIND_SILU:
			return kernels->silu_f32;
		case EMB_ACT_KIND_NONE:
			break;
	}
	return NULL;
}

bool
emb_quantizer_multiply_exactly(EmbQuantizerHand *hand, const EmbQuantizerInput *in, const EmbLinear *linear, size_t p)
{
	EmbGemmF32	g = {
		.n_rows = in->seen->n_rows,
		.n_in = linear->n_in,
		.n_panels = 1,
		.a = in->seen->rows,
		.a_stride = linear->n_in,
		.b = linear->weight + p * linear->n_in * EMB_PANEL,
		.bias = linear->bias + p * EMB_PANEL,
		.c = hand->exact,
		.c_stride = EMB_PANEL
	};

	return emb_work_multiply(&hand->work, &g, activation(hand->work.kernels, in->act));
}

static bool
multiply_rounded_i4(EmbQuantizerHand *hand, const EmbQuantizerInput *in, const EmbQuantizerCandidate *c, int32_t group,
					const EmbQuantizerWeights *w, const float *bias, EmbActKind act)
{
	size_t		padded = emb_pack_i8_padded(in->seen->n);
	EmbGemmGrouped	g = {
		.n_rows = in->seen->n_rows,
		.n_in = (int32_t) padded,
		.bits = 4,
		.group = group,
		.n_panels = 1,
		.a = c->rows,
		.a_stride = padded,
		.a_scale = c->scales,
		.a_zero = c->zeros,
		.b = w->tiles,
		.b_scale = w->scales,
		.b_zero = w->group_zeros,
		.b_sums = w->group_sums,
		.bias = bias,
		.c = hand->rounded,
		.c_stride = EMB_PANEL,
		.act = act
	};

	return emb_work_multiply_grouped(&hand->work, &g);
}

bool
emb_quantizer_multiply_rounded(EmbQuantizerHand *hand, const EmbQuantizerInput *in, const EmbQuantizerCandidate *c,
							   int32_t group, const EmbQuantizerWeights *w, const float *bias, EmbActKind act)
{
	size_t		padded = emb_pack_i8_padded(in->seen->n);
	EmbGemmI8	g = {
		.n_rows = in->seen->n_rows,
		.n_groups = (int32_t) (padded / EMB_GROUP),
		.n_panels = 1,
		.a = c->rows,
		.a_stride = padded,
		.a_scale = c->scales,
		.a_zero = c->zeros,
		.b = w->tiles,
		.b_scale = w->scales,
		.b_sums = w->sums,
		.bias = bias,
		.c = hand->rounded,
		.c_stride = EMB_PANEL,
		.act = act
	};

	if (w->is_i4)
		return multiply_rounded_i4(hand, in, c, group, w, bias, act);
	return emb_work_multiply_i8(&hand->work, &g);
}

/* Over n_rows rows of 16, of which n_columns are outputs. */
static double
squared_difference(const float *x, const float *y, int32_t n_rows, int32_t n_columns)
{
	double		sum = 0;

	for (int32_t i = 0; i < n_rows; i++)
	{
		for (int32_t k = 0; k < n_columns; k++)
		{
			double		d = (double) x[i * EMB_PANEL + k] - (y != NULL ? y[i * EMB_PANEL + k] : 0);

			sum += d * d;
		}
	}
	return sum;
}

static void
measure_panel(void *ctx, int32_t p, int32_t worker)
{
	EmbQuantizerJob *job = ctx;
	EmbQuantizer *q = job->q;
	const EmbQuantizerInput *in = job->in;
	const EmbLinear *linear = in->linears[job->which];
	EmbQuantizerHand *hand = &q->hands[worker];
	EmbQuantizerErrors *errors = &q->errors[p];
	int32_t		n_columns = emb_quantizer_rows(linear, p);

	if (emb_quantizer_is_over(q) || !emb_quantizer_multiply_exactly(hand, in, linear, p))
		return;
	errors->energy = squared_difference(hand->exact, NULL, in->seen->n_rows, n_columns);
	for (int e = 0; e < EMB_QUANTIZER_EXPONENTS; e++)
	{
		const EmbQuantizerCandidate *c = &q->candidates[e];
		float		scale[EMB_PANEL];
		int32_t		sums[EMB_PANEL];

		if (!emb_quantize_panel(linear->weight + (size_t) p * linear->n_in * EMB_PANEL, n_columns, linear->n_in,
								c->smooth, hand->bytes, hand->tiles, scale, sums))
		{
			atomic_store_explicit(&q->overflown, true, memory_order_relaxed);
			return;
		}
		if (!emb_work_spend(&hand->work, 16 * EMB_PANEL * (int64_t) linear->n_in) ||
			!emb_quantizer_multiply_rounded(hand, in, c, 0,
											&(EmbQuantizerWeights) {.tiles = hand->tiles, .scales = scale, .sums = sums},
											linear->bias + p * EMB_PANEL, in->act))
			return;
		errors->own[e] = squared_difference(hand->exact, hand->rounded, in->seen->n_rows, n_columns);
	}
}

/* A hand's panel of 4 bits. Groups of padding alone keep scales of 0. */
static EmbGptqPanel
panel_of_hand(const EmbQuantizer *q, EmbQuantizerHand *hand, int32_t n_in)
{
	int32_t		n_scales = emb_pack_group_scales(n_in, q->group);

	memset(hand->group_scales, 0, (size_t) n_scales * EMB_PANEL * sizeof(float));
	memset(hand->group_zeros, 0, (size_t) n_scales * EMB_PANEL);
	return (EmbGptqPanel) {.codes = (uint8_t *) hand->bytes, .scales = hand->group_scales, .zeros = hand->group_zeros};
}

static void
measure_panel_i4(void *ctx, int32_t p, int32_t worker)
{
	EmbQuantizerJob *job = ctx;
	EmbQuantizer *q = job->q;
	const EmbQuantizerInput *in = job->in;
	const EmbLinear *linear = in->linears[job->which];
	EmbQuantizerHand *hand = &q->hands[worker];
	EmbQuantizerErrors *errors = &q->errors[p];
	int32_t		n_columns = emb_quantizer_rows(linear, p);
	int32_t		n_in = linear->n_in;

	*errors = (EmbQuantizerErrors) {.energy = 0};
	if (p % COMPARED_I4 != 0 || emb_quantizer_is_over(q) || !emb_quantizer_multiply_exactly(hand, in, linear, p))
		return;
	errors->energy = squared_difference(hand->exact, NULL, in->seen->n_rows, n_columns);
	for (int e = 0; e < EMB_QUANTIZER_EXPONENTS; e++)
	{
		const EmbQuantizerCandidate *c = &q->candidates[e];
		EmbGptqPanel panel = panel_of_hand(q, hand, n_in);
		float		sums[EMB_PANEL];
		bool		overflown;

		if (!emb_gptq_round_panel(&hand->work, linear->weight + (size_t) p * n_in * EMB_PANEL, n_in, n_columns,
								  c->smooth, c->energies, q->group, &panel, hand->weights, &overflown))
			return;
		if (overflown)
		{
			atomic_store_explicit(&q->overflown, true, memory_order_relaxed);
			return;
		}
		emb_gptq_pack_panel(&panel, n_columns, n_in, q->group, (uint8_t *) hand->tiles, sums);
		if (!emb_work_spend(&hand->work, 64 * EMB_PANEL * (int64_t) n_in) ||
			!emb_quantizer_multiply_rounded(hand, in, c, q->group, &(EmbQuantizerWeights) {
				.is_i4 = true, .tiles = hand->tiles, .scales = panel.scales, .group_zeros = panel.zeros, .group_sums = sums
			}, linear->bias + p * EMB_PANEL, in->act))
			return;
		errors->own[e] = squared_difference(hand->exact, hand->rounded, in->seen->n_rows, n_columns);
	}
}

/*
 * errors[e] += squared error of the linear layer's outputs under exponent e,
 * relative to the squared outputs.
 */
static EmbStatus
measure_linear(EmbQuantizer *q, const EmbQuantizerInput *in, int32_t which, double errors[EMB_QUANTIZER_EXPONENTS], EmbError *err)
{
	EmbQuantizerJob job = {.q = q, .in = in, .which = which};
	EmbQuantizerErrors all = {0};
	EmbStatus	status = emb_quantizer_run(&job, emb_quantizer_is_i4(q, in, which) ? measure_panel_i4 : measure_panel, err);

	if (status != EMB_OK)
		return status;
	for (size_t p = 0; p < emb_pack_f32_panels(in->linears[which]->n_out); p++)
	{
		all.energy += q->errors[p].energy;
		for (int e = 0; e < EMB_QUANTIZER_EXPONENTS; e++)
			all.own[e] += q->errors[p].own[e];
	}
	for (int e = 0; e < EMB_QUANTIZER_EXPONENTS && all.energy > 0; e++)
		errors[e] += all.own[e] / all.energy;
	return EMB_OK;
}

EmbStatus
emb_quantizer_choose(EmbQuantizer *q, const EmbQuantizerInput *in, int *best, EmbError *err)
{
	double		errors[EMB_QUANTIZER_EXPONENTS] = {0};
	EmbStatus	status = EMB_OK;

	for (int32_t i = 0; status == EMB_OK && i < in->n_linears; i++)
		status = measure_linear(q, in, i, errors, err);
	*best = 0;
	for (int e = 1; e < EMB_QUANTIZER_EXPONENTS; e++)
	{
		if (errors[e] < errors[*best])
			*best = e;
	}
	return status;
}
