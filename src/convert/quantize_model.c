/*
 * quantize_model.c
 *		From an fp32 layer and its calibration to the tensors of the layer in
 *		an int8 or int4 image.
 *
 * For every input of linear layers the smoothing exponent is chosen among a
 * few candidates (candidates.c). The best candidate has quantized outputs,
 * computed by the kernels on the calibration rows, nearest to the fp32 outputs.
 * Query, key and value share an input and therefore an exponent. Weights of 4
 * bits are rounded with feedback (gptq.h), from more rows.
 *
 * Threads take the panels (16 outputs each) of a linear layer one by one. No
 * panel depends on another, and sums over panels are added in panel order, so
 * the image is the same for any number of threads.
 */
#include "convert/quantizer.h"

#include <string.h>

static EmbStatus
overflow(int32_t layer, EmbPart part, EmbTensorKind kind, EmbError *err)
{
	char		name[128];

	return emb_error(err, EMB_ERR_LIMIT, "the weights of %s are too large to quantize",
					 emb_tensor_name((EmbTensorKey) {layer, part, kind}, name, sizeof(name)));
}

/* The place of an image tensor. */
static void *
place(const EmbQuantizer *q, int32_t layer, EmbPart part, EmbTensorKind kind)
{
	return (void *) emb_image_data(q->view, emb_image_find(q->view, layer, part, kind));
}

/* ---------------------------------------------------------------- panels */

static void
ask_while_waiting(void *ctx)
{
	EmbQuantizer *q = ctx;

	if (emb_should_stop(q->steps->stop))
		atomic_store_explicit(&q->stopped, true, memory_order_relaxed);
}

EmbStatus
emb_quantizer_run(EmbQuantizerJob *job, EmbTeamPart run_panel, EmbError *err)
{
	EmbQuantizer *q = job->q;

	emb_team_run(&q->team, (int32_t) emb_pack_f32_panels(job->in->linears[job->which]->n_out), run_panel, job);
	if (atomic_load_explicit(&q->stopped, memory_order_relaxed))
		return emb_import_cancelled(err);
	if (atomic_load_explicit(&q->overflown, memory_order_relaxed))
		return overflow(job->in->layer, job->in->parts[job->which], EMB_TENSOR_WEIGHT, err);
	return EMB_OK;
}

/* bias += the mean error of a panel's outputs. */
static bool
correct_bias(EmbQuantizerHand *hand, const EmbQuantizerJob *job, size_t p, int32_t group, const EmbQuantizerWeights *w, float *bias)
{
	const EmbQuantizerInput *in = job->in;
	const EmbLinear *linear = in->linears[job->which];
	EmbQuantizerInput plain = *in;
	int32_t		n_rows = in->seen->n_rows;

	plain.act = EMB_ACT_KIND_NONE;
	if (!emb_quantizer_multiply_exactly(hand, &plain, linear, p) ||
		!emb_quantizer_multiply_rounded(hand, in, job->c, group, w, bias, EMB_ACT_KIND_NONE))
		return false;
	for (int32_t k = 0; k < emb_quantizer_rows(linear, p); k++)
	{
		double		missing = 0;

		for (int32_t i = 0; i < n_rows; i++)
			missing += (double) hand->exact[i * EMB_PANEL + k] - hand->rounded[i * EMB_PANEL + k];
		bias[k] = (float) (bias[k] + missing / n_rows);
	}
	return true;
}

/*
 * The part of an output's variance that is lost: squared errors behind the
 * corrected bias and the activation, over the variance. Outputs of a panel
 * are added up. (As a part of the energy, means included, and before the
 * activation, ffn_up looked best of all, and is worst in the scores of a
 * reranker: see docs/models/int4.md.)
 */
static void
measure_lost(EmbQuantizerHand *hand, const EmbQuantizerJob *job, size_t p, const EmbQuantizerWeights *w, const float *bias)
{
	const EmbQuantizerInput *in = job->in;
	int32_t		n_rows = in->seen->n_rows;
	double		lost = 0;

	/* if false, it was stopped; emb_quantizer_run sees that */
	if (!emb_quantizer_multiply_exactly(hand, in, in->linears[job->which], p) ||
		!emb_quantizer_multiply_rounded(hand, in, job->c, job->q->group, w, bias, in->act))
		return;
	for (int32_t k = 0; k < emb_quantizer_rows(in->linears[job->which], p); k++)
	{
		double		sum = 0;
		double		squares = 0;
		double		errors = 0;

		for (int32_t i = 0; i < n_rows; i++)
		{
			double		y = hand->exact[i * EMB_PANEL + k];
			double		d = y - hand->rounded[i * EMB_PANEL + k];

			sum += y;
			squares += y * y;
			errors += d * d;
		}
		squares -= sum * sum / n_rows;
		lost += squares > 0 ? errors / squares : 0;
	}
	job->q->errors[p].lost = lost;
}

/*
 * The image's place of panel p: gates and values of a GLU come by turns, where
 * its product multiplies them.
 */
static size_t
panel_place(const EmbQuantizer *q, EmbPart part, const EmbLinear *linear, int32_t p)
{
	int32_t		n_gates = linear->n_out / EMB_PANEL / 2;

	if (part != EMB_PART_FFN_UP || !emb_arch_pairs_gates(q->model->transformer.arch))
		return p;
	return p < n_gates ? 2 * p : 2 * (p - n_gates) + 1;
}

static void
write_panel(void *ctx, int32_t p, int32_t worker)
{
	EmbQuantizerJob *job = ctx;
	EmbQuantizer *q = job->q;
	const EmbLinear *linear = job->in->linears[job->which];
	EmbPart		part = job->in->parts[job->which];
	int32_t		layer = job->in->layer;
	const float *smooth = job->c->smooth;
	EmbQuantizerHand *hand = &q->hands[worker];
	const float *panel = linear->weight + (size_t) p * EMB_PANEL * linear->n_in;
	size_t		to = panel_place(q, part, linear, p);
	size_t		at = to * EMB_PANEL;
	int8_t	   *tiles = (int8_t *) place(q, layer, part, EMB_TENSOR_WEIGHT) + to * emb_pack_i8_bytes(EMB_PANEL, linear->n_in);
	float	   *scale = (float *) place(q, layer, part, EMB_TENSOR_SCALE) + at;
	int32_t    *sums = (int32_t *) place(q, layer, part, EMB_TENSOR_SUMS) + at;
	float	   *bias = (float *) place(q, layer, part, EMB_TENSOR_BIAS) + at;

	if (emb_quantizer_is_over(q))
		return;
	memcpy(bias, linear->bias + (size_t) p * EMB_PANEL, emb_quantizer_rows(linear, p) * sizeof(float));
	if (!emb_quantize_panel(panel, emb_quantizer_rows(linear, p), linear->n_in, smooth, hand->bytes, tiles, scale, sums))
		atomic_store_explicit(&q->overflown, true, memory_order_relaxed);
	/* if false, it was stopped; emb_quantizer_run sees that */
	else if (emb_round_panel(&q->rounding, worker, &hand->work, panel, emb_quantizer_rows(linear, p), smooth, scale, hand->bytes,
							 tiles, sums))
		(void) correct_bias(hand, job, p, 0, &(EmbQuantizerWeights) {.tiles = tiles, .scales = scale, .sums = sums}, bias);
}

static void
write_panel_i4(void *ctx, int32_t p, int32_t worker)
{
	EmbQuantizerJob *job = ctx;
	EmbQuantizer *q = job->q;
	const EmbLinear *linear = job->in->linears[job->which];
	EmbPart		part = job->in->parts[job->which];
	int32_t		layer = job->in->layer;
	int32_t		n_in = linear->n_in;
	EmbQuantizerHand *hand = &q->hands[worker];
	size_t		to = panel_place(q, part, linear, p);
	size_t		at = to * EMB_PANEL;
	size_t		n_scales = EMB_PANEL * (size_t) emb_pack_group_scales(n_in, q->group);
	size_t		scales_at = to * n_scales;
	uint8_t    *tiles = (uint8_t *) place(q, layer, part, EMB_TENSOR_WEIGHT) + to * emb_pack_i4_bytes(EMB_PANEL, n_in);
	float	   *sums = (float *) place(q, layer, part, EMB_TENSOR_SUMS) + at;
	float	   *bias = (float *) place(q, layer, part, EMB_TENSOR_BIAS) + at;
	EmbGptqPanel panel = {
		.codes = (uint8_t *) hand->bytes,
		.scales = hand->group_scales,
		.zeros = (uint8_t *) place(q, layer, part, EMB_TENSOR_GROUP_ZERO) + scales_at,
	};
	bool		overflown = false;

	if (emb_quantizer_is_over(q))
		return;
	memcpy(bias, linear->bias + (size_t) p * EMB_PANEL, emb_quantizer_rows(linear, p) * sizeof(float));
	memset(hand->group_scales, 0, n_scales * sizeof(float));	/* a group of padding alone keeps zeros */
	/* if false, it was stopped; emb_quantizer_run sees that */
	if (!emb_gptq_panel(&q->gptq, worker, linear->weight + (size_t) p * EMB_PANEL * n_in, emb_quantizer_rows(linear, p),
						job->c->smooth, q->group, &panel, &overflown))
		return;
	if (overflown)
	{
		atomic_store_explicit(&q->overflown, true, memory_order_relaxed);
		return;
	}
	emb_gptq_pack_panel(&panel, emb_quantizer_rows(linear, p), n_in, q->group, tiles, sums);
	emb_scale_store(place(q, layer, part, EMB_TENSOR_GROUP_SCALE), (EmbScaleType) q->view->config->scale_type, scales_at, panel.scales, n_scales);
	if (emb_work_spend(&hand->work, 64 * EMB_PANEL * (int64_t) n_in))
	{
		EmbQuantizerWeights w = {.is_i4 = true, .tiles = tiles, .scales = panel.scales, .group_zeros = panel.zeros, .group_sums = sums};

		if (correct_bias(hand, job, p, q->group, &w, bias) && q->lost != NULL)
			measure_lost(hand, job, p, &w, bias);
	}
}

/* What the outputs of a linear layer have lost: panels in order. */
static void
note_lost(EmbQuantizer *q, const EmbQuantizerInput *in, int32_t which)
{
	double		lost = 0;

	for (size_t p = 0; p < emb_pack_f32_panels(in->linears[which]->n_out); p++)
		lost += q->errors[p].lost;
	/* the mean of a layer's experts */
	if (emb_part_is_of_expert(in->parts[which]))
		lost /= q->model->transformer.arch->n_experts;
	q->lost[emb_role_of(in->parts[which])] += lost / in->linears[which]->n_out;
}

static EmbStatus
write_linear(EmbQuantizer *q, const EmbQuantizerInput *in, int32_t which, const EmbQuantizerCandidate *c, EmbError *err)
{
	EmbQuantizerJob job = {.q = q, .in = in, .which = which, .c = c};

	EmbStatus	status = emb_quantizer_run(&job, emb_quantizer_is_i4(q, in, which) ? write_panel_i4 : write_panel, err);

	if (status == EMB_OK && q->lost != NULL)
		note_lost(q, in, which);
	return status;
}

/* Prepares rounding with feedback for an input under its exponent. False: stopped. */
static bool
set_input_i4(EmbQuantizer *q, const EmbQuantizerInput *in, const EmbQuantizerCandidate *c)
{
	const EmbObserved *seen = in->seen;
	EmbCodeRows rows = {.n = seen->n, .n_rows = seen->n_many, .stride = seen->n,
		.codes = q->many_codes, .scales = q->many_scales, .zeros = q->many_zeros};

	for (int32_t i = 0; i < seen->n_many; i++)
	{
		q->many_scales[i] = q->hands[0].work.kernels->quantize_u8(seen->many + (size_t) i * seen->n, c->factor, seen->n, seen->n,
																  q->many_codes + (size_t) i * seen->n, &q->many_zeros[i]);
		if (!emb_work_spend(&q->hands[0].work, 24 * (int64_t) seen->n))
			return false;
	}
	return emb_gptq_set_input(&q->gptq, &rows);
}

static bool
set_input(EmbQuantizer *q, const EmbQuantizerInput *in, const EmbQuantizerCandidate *c)
{
	int32_t		n_i4 = emb_quantizer_count_i4(q, in);

	if (n_i4 > 0 && !set_input_i4(q, in, c))
		return false;
	return n_i4 == in->n_linears || emb_rounding_set_input(&q->rounding, &q->hands[0].work, in->seen->rows, in->seen->n, in->seen->n_rows, c->factor);
}

EmbStatus
emb_quantizer_write_input(EmbQuantizer *q, const EmbQuantizerInput *in, const EmbQuantizerCandidate **chosen, EmbError *err)
{
	int			best;
	EmbStatus	status;

	if (!emb_quantizer_prepare(q, in))
		return emb_import_cancelled(err);
	status = emb_quantizer_choose(q, in, &best, err);
	if (status == EMB_OK && !set_input(q, in, &q->candidates[best]))
		status = emb_import_cancelled(err);
	for (int32_t i = 0; status == EMB_OK && i < in->n_linears; i++)
		status = write_linear(q, in, i, &q->candidates[best], err);
	*chosen = &q->candidates[best];
	return status;
}

/* Multiplies the weights of output i of value, which are of 4 bits. */
static void
scale_output_i4(EmbQuantizer *q, int32_t layer, int32_t i, float factor)
{
	const EmbImageTensor *t = emb_image_find(q->view, layer, EMB_PART_VALUE, EMB_TENSOR_WEIGHT);
	int32_t		n_in = (int32_t) t->n_cols;
	int32_t		n_scales = emb_pack_group_scales(n_in, q->group);
	size_t		panel = (size_t) i / EMB_PANEL;
	const uint8_t *tiles = emb_image_data(q->view, t) + panel * emb_pack_i4_bytes(EMB_PANEL, n_in);
	EmbScaleType scale_type = (EmbScaleType) q->view->config->scale_type;
	void	   *scales = place(q, layer, EMB_PART_VALUE, EMB_TENSOR_GROUP_SCALE);
	const uint8_t *zeros = (uint8_t *) place(q, layer, EMB_PART_VALUE, EMB_TENSOR_GROUP_ZERO) + panel * EMB_PANEL * n_scales;
	float	   *sums = place(q, layer, EMB_PART_VALUE, EMB_TENSOR_SUMS);
	uint8_t    *codes = (uint8_t *) q->hands[0].bytes;
	float		own_scales[EMB_ARCH_MAX_INTERMEDIATE / 32];
	uint8_t		own_zeros[EMB_ARCH_MAX_INTERMEDIATE / 32];

	for (int32_t g = 0; g < n_scales; g++)
	{
		size_t		at = (panel * n_scales + g) * EMB_PANEL + i % EMB_PANEL;

		own_scales[g] = emb_scale_nearest(emb_scale_at(scales, scale_type, at) * factor, scale_type);
		emb_scale_store(scales, scale_type, at, &own_scales[g], 1);
		own_zeros[g] = zeros[g * EMB_PANEL + i % EMB_PANEL];
	}
	for (int32_t k = 0; k < n_in; k++)
		codes[k] = tiles[((size_t) (k / 8) * EMB_PANEL + i % EMB_PANEL) * EMB_GROUP + k % EMB_GROUP] >> (k % 8 < 4 ? 0 : 4) & 15;
	sums[i] = emb_pack_group_sum(codes, n_in, 4, q->group, own_scales, own_zeros);
}

/*
 * The smoothing of attn_out's input goes into the rows of value, because
 * attention does not mix them.
 */
static void
fold_into_value(EmbQuantizer *q, int32_t layer, const EmbQuantizerCandidate *c)
{
	const EmbArch *arch = q->model->transformer.arch;
	bool		has_scale = emb_image_find(q->view, layer, EMB_PART_VALUE, EMB_TENSOR_SCALE) != NULL;
	float	   *scale = has_scale ? place(q, layer, EMB_PART_VALUE, EMB_TENSOR_SCALE) : NULL;
	float	   *bias = place(q, layer, EMB_PART_VALUE, EMB_TENSOR_BIAS);

	for (int32_t i = 0; i < emb_arch_key_width(arch); i++)
	{
		/* of the first query head that reads this value head */
		float		factor = c->factor[i / arch->head_size * emb_arch_group(arch) * arch->head_size + i % arch->head_size];

		bias[i] *= factor;
		if (has_scale)
			scale[i] *= factor;
		else
			scale_output_i4(q, layer, i, factor);
	}
}

EmbActKind
emb_quantizer_activation(const EmbArch *arch)
{
	if (arch->is_gated)
		return EMB_ACT_KIND_NONE;
	return arch->activation == EMB_ACT_RELU ? EMB_ACT_KIND_RELU : arch->activation == EMB_ACT_GELU_TANH ? EMB_ACT_KIND_GELU_TANH : EMB_ACT_KIND_GELU;
}

static EmbStatus
quantize_attention(EmbQuantizer *q, int32_t i, EmbError *err)
{
	const EmbLayer *layer = &q->model->transformer.layers[i];
	const EmbQuantizerCandidate *chosen;
	EmbQuantizerInput in = {
		.seen = emb_calibration_at(q->calibration, EMB_OBSERVE_ATTN_IN),
		.layer = i,
		.n_linears = 3,
		.linears = {&layer->query, &layer->key, &layer->value},
		.parts = {EMB_PART_QUERY, EMB_PART_KEY, EMB_PART_VALUE},
	};
	EmbStatus	status = emb_quantizer_write_input(q, &in, &chosen, err);

	if (status != EMB_OK)
		return status;
	memcpy(place(q, i, EMB_PART_QUERY, EMB_TENSOR_FACTOR), chosen->factor, in.seen->n * sizeof(float));
	in = (EmbQuantizerInput) {
		.seen = emb_calibration_at(q->calibration, EMB_OBSERVE_ATTN_CONTEXT),
		.layer = i,
		.n_linears = 1,
		.linears = {&layer->attn_out},
		.parts = {EMB_PART_ATTN_OUT},
		.group = emb_arch_group(q->model->transformer.arch),
	};
	status = emb_quantizer_write_input(q, &in, &chosen, err);
	if (status == EMB_OK)
		fold_into_value(q, i, chosen);
	return status;
}

EmbStatus
emb_quantizer_write_ffn(EmbQuantizer *q, const EmbQuantizerInput *up, const EmbQuantizerInput *down, EmbError *err)
{
	const EmbQuantizerInput *const inputs[] = {up, down};
	EmbStatus	status = EMB_OK;

	for (int i = 0; status == EMB_OK && i < 2; i++)
	{
		const EmbQuantizerCandidate *chosen;

		status = emb_quantizer_write_input(q, inputs[i], &chosen, err);
		if (status == EMB_OK)
			memcpy(place(q, inputs[i]->layer, inputs[i]->parts[0], EMB_TENSOR_FACTOR), chosen->factor, inputs[i]->seen->n * sizeof(float));
	}
	return status;
}

static EmbStatus
quantize_ffn(EmbQuantizer *q, int32_t i, EmbError *err)
{
	const EmbLayer *layer = &q->model->transformer.layers[i];
	EmbQuantizerInput up = {
		.seen = emb_calibration_at(q->calibration, EMB_OBSERVE_FFN_IN),
		.layer = i,
		.n_linears = 1,
		.linears = {&layer->ffn_up},
		.parts = {EMB_PART_FFN_UP},
		.act = emb_quantizer_activation(q->model->transformer.arch),
	};
	EmbQuantizerInput down = {
		.seen = emb_calibration_at(q->calibration, EMB_OBSERVE_FFN_MID),
		.layer = i,
		.n_linears = 1,
		.linears = {&layer->ffn_down},
		.parts = {EMB_PART_FFN_DOWN},
	};

	return emb_quantizer_write_ffn(q, &up, &down, err);
}

/*
 * The tensors with the same form in both images: norms, and biases, which are
 * corrected later.
 */
static void
copy_exact(EmbQuantizer *q)
{
	for (uint32_t i = 0; i < q->view->n_tensors; i++)
	{
		const EmbImageTensor *to = &q->view->tensors[i];
		const EmbImageTensor *from;

		if (to->key.layer != q->layer)
			continue;
		from = emb_image_find(&q->model->view, to->key.layer, to->key.part, to->key.kind);
		if (from != NULL && from->form == to->form)
			memcpy((void *) emb_image_data(q->view, to), emb_image_data(&q->model->view, from), from->size_bytes);
	}
}

static EmbStatus
quantize_layer(EmbQuantizer *q, EmbError *err)
{
	EmbStatus	status;

	copy_exact(q);
	status = quantize_attention(q, q->layer, err);
	if (status != EMB_OK)
		return status;
	return emb_arch_has_experts(q->model->transformer.arch, q->layer) ? emb_quantizer_write_experts(q, err) : quantize_ffn(q, q->layer, err);
}

/* n elements of memory owned by the quantizer, or NULL. */
static void *
own(EmbQuantizer *q, size_t n, size_t size)
{
	void	   *p = emb_alloc_array(q->steps->mem, n, size);

	return q->owned[q->n_owned++] = p;
}

static void
allocate_hands(EmbQuantizer *q, size_t n, size_t n_rows)
{
	size_t		n_hands = q->team.n_workers;
	size_t		padded = emb_pack_i8_padded((int32_t) n);
	int8_t	   *bytes = own(q, n_hands * EMB_PANEL, n);
	int8_t	   *tiles = own(q, n_hands * EMB_PANEL, padded);
	float	   *exact = own(q, n_hands * n_rows * EMB_PANEL, sizeof(float));
	float	   *rounded = own(q, n_hands * n_rows * EMB_PANEL, sizeof(float));

	for (size_t i = 0; i < n_hands && bytes != NULL && tiles != NULL && exact != NULL && rounded != NULL; i++)
		q->hands[i] = (EmbQuantizerHand) {
			.bytes = bytes + i * EMB_PANEL * n,
			.tiles = tiles + i * EMB_PANEL * padded,
			.exact = exact + i * n_rows * EMB_PANEL,
			.rounded = rounded + i * n_rows * EMB_PANEL
		};
}

/* What weights of 4 bits need, for inputs of up to n channels. */
static bool
allocate_i4(EmbQuantizer *q, size_t n)
{
	size_t		n_hands = q->team.n_workers;
	size_t		n_many = emb_calibration_at(q->calibration, EMB_OBSERVE_ATTN_IN)->n_many;
	size_t		n_scales = EMB_PANEL * emb_pack_group_scales((int32_t) n, 32);
	float	   *weights = own(q, n_hands * n * EMB_PANEL, sizeof(float));
	float	   *scales = own(q, n_hands * n_scales, sizeof(float));
	uint8_t    *zeros = own(q, n_hands * n_scales, 1);
	double	   *energies = own(q, EMB_QUANTIZER_EXPONENTS * n, sizeof(double));

	q->many_codes = own(q, n_many, n);
	q->many_scales = own(q, n_many, sizeof(float));
	q->many_zeros = own(q, n_many, sizeof(int32_t));
	if (weights == NULL || scales == NULL || zeros == NULL || energies == NULL ||
		q->many_codes == NULL || q->many_scales == NULL || q->many_zeros == NULL)
		return false;
	for (size_t i = 0; i < n_hands; i++)
	{
		q->hands[i].weights = weights + i * n * EMB_PANEL;
		q->hands[i].group_scales = scales + i * n_scales;
		q->hands[i].group_zeros = zeros + i * n_scales;
		q->works[i] = &q->hands[i].work;
	}
	for (int e = 0; e < EMB_QUANTIZER_EXPONENTS; e++)
		q->candidates[e].energies = energies + e * n;
	return emb_gptq_begin(&q->gptq, (int32_t) n, &q->team, q->works, q->steps->mem);
}

/* Channels of the widest input whose linear layers get weights of 4 bits; 0: none does. */
static int32_t
widest_i4(const EmbQuantizer *q)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < q->view->n_tensors; i++)
	{
		const EmbImageTensor *t = &q->view->tensors[i];

		if (t->key.layer == q->layer && t->form == EMB_FORM_TILES_I4 && t->n_cols > n)
			n = t->n_cols;
	}
	return (int32_t) n;
}

static int32_t
widest(int32_t a, int32_t b, int32_t c)
{
	int32_t		widest = a > b ? a : b;

	return widest > c ? widest : c;
}

static bool
allocate(EmbQuantizer *q, const EmbArch *arch)
{
	int32_t		n_widest = widest(emb_arch_wide(arch), arch->hidden, emb_arch_query_width(arch));	/* outputs */
	size_t		n = widest(arch->hidden, arch->intermediate, emb_arch_query_width(arch));	/* inputs */
	size_t		padded = emb_pack_i8_padded((int32_t) n);
	size_t		n_rows = EMB_CALIBRATION_ROWS;
	int32_t		n_i4 = widest_i4(q);
	float	   *vectors = own(q, 2 * EMB_QUANTIZER_EXPONENTS * n, sizeof(float));
	uint8_t    *rows = own(q, EMB_QUANTIZER_EXPONENTS * n_rows, padded);
	float	   *scales = own(q, EMB_QUANTIZER_EXPONENTS * n_rows, sizeof(float));
	int32_t    *zeros = own(q, EMB_QUANTIZER_EXPONENTS * n_rows, sizeof(int32_t));

	q->largest = own(q, n, sizeof(float));
	q->seen = own(q, n, sizeof(float));
	q->errors = own(q, emb_pack_f32_panels(n_widest), sizeof(EmbQuantizerErrors));
	allocate_hands(q, n, n_rows);
	if (!emb_rounding_begin(&q->rounding, emb_kernels(), (int32_t) n, EMB_CALIBRATION_ROWS, q->team.n_workers, q->steps->mem))
		return false;
	for (int i = 0; i < q->n_owned; i++)
	{
		if (q->owned[i] == NULL)
			return false;
	}
	for (int e = 0; e < EMB_QUANTIZER_EXPONENTS; e++)
		q->candidates[e] = (EmbQuantizerCandidate) {
			.smooth = vectors + 2 * e * n,
			.factor = vectors + (2 * e + 1) * n,
			.rows = rows + e * n_rows * padded,
			.scales = scales + e * n_rows,
			.zeros = zeros + e * n_rows,
		};
	return n_i4 == 0 || allocate_i4(q, n_i4);
}

/* False: stopped. */
static bool
begin_work(EmbQuantizer *q)
{
	bool		may_go_on = emb_work_begin(&q->hands[0].work, emb_kernels(), q->steps->stop, &q->stopped);

	for (int32_t i = 1; i < q->team.n_workers; i++)
		may_go_on = emb_work_begin(&q->hands[i].work, emb_kernels(), NULL, &q->stopped) && may_go_on;
	return may_go_on;
}

EmbStatus
emb_quantize_layer(const EmbModel *model, int32_t layer, const EmbCalibration *calibration,
				   const EmbImportSteps *steps, const EmbImageView *view, double lost[EMB_N_ROLES], EmbError *err)
{
	EmbQuantizer q = {.steps = steps, .model = model, .calibration = calibration, .layer = layer, .view = view, .lost = lost,
		.group = emb_image_kernel_group(view->config)};
	EmbFpState	fp;
	EmbStatus	status;

	emb_team_join(&q.team, steps->n_threads);
	q.team.while_waiting = ask_while_waiting;
	q.team.waiting_ctx = &q;
	if (!allocate(&q, model->transformer.arch))
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory quantizing a model");
	else
	{
		fp = emb_fp_enter();
		if (!begin_work(&q))
			status = emb_import_cancelled(err);
		else
			status = quantize_layer(&q, err);
		emb_fp_leave(fp);
	}
	emb_team_leave(&q.team);
	for (int i = 0; i < q.n_owned; i++)
		emb_release(steps->mem, q.owned[i]);
	emb_rounding_end(&q.rounding);
	if (q.gptq.mem.release != NULL)
		emb_gptq_end(&q.gptq);
	return status;
}
