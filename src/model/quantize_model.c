/*
 * quantize_model.c
 *		From an fp32 model and its calibration to the tensors of an int8 image.
 *
 * For every input of linear layers the smoothing exponent is chosen among a
 * few: the one whose quantized outputs, computed by the kernels on the rows
 * that calibration kept, are nearest to those in fp32. Query, key and value
 * share an input and so an exponent.
 */
#include "model/quantize.h"

#include <math.h>
#include <string.h>

#include "model/rounding.h"

#define N_EXPONENTS		5
#define MAX_LINEARS		3		/* that read one input */

static const int exponents[N_EXPONENTS] = {3, 4, 5, 6, 7};	/* eighths */

/* One input with the linear layers behind it. */
typedef struct Input
{
	const EmbObserved *seen;
	int32_t		layer;
	int32_t		n_linears;
	const EmbLinear *linears[MAX_LINEARS];
	EmbTensorRole roles[MAX_LINEARS];	/* of their weights */
	EmbActKind	act;			/* behind them */
} Input;

/* An input's rows under one exponent. */
typedef struct Candidate
{
	float	   *smooth;			/* [n] */
	float	   *factor;			/* [n] 1 / smooth */
	uint8_t    *rows;			/* [n_rows, K] */
	float	   *scales;			/* [n_rows] */
	int32_t    *zeros;			/* [n_rows] */
} Candidate;

typedef struct Quantizer
{
	const EmbImportSteps *steps;
	const EmbModel *model;
	const EmbCalibration *calibration;
	uint8_t    *image;
	const EmbImageView *view;
	EmbWork		work;
	_Atomic bool stopped;
	EmbRounding rounding;
	void	   *owned[16];
	int			n_owned;

	/* for the widest input */
	Candidate	candidates[N_EXPONENTS];
	float	   *largest;		/* [n] of the weights of all linears */
	double	   *sums;			/* [n] */
	int8_t	   *bytes;			/* [16, n] */
	int8_t	   *tiles;			/* a panel */
	float	   *exact;			/* [n_rows, 16] */
	float	   *rounded;		/* [n_rows, 16] */
} Quantizer;

static EmbStatus
cancelled(EmbError *err)
{
	return emb_error(err, EMB_ERR_CANCELLED, "the import was cancelled");
}

static EmbStatus
overflow(const Quantizer *q, int32_t layer, EmbTensorRole role, EmbError *err)
{
	char		name[128];

	return emb_error(err, EMB_ERR_LIMIT, "the weights of %s are too large to quantize",
					 emb_image_tensor_name(emb_image_find(q->view, layer, role), name, sizeof(name)));
}

/* Where a tensor of the image lies. */
static void *
place(const Quantizer *q, int32_t layer, EmbTensorRole role)
{
	return q->image + emb_image_find(q->view, layer, role)->offset;
}

/* ------------------------------------------------------------ candidates */

static bool
note_weights(Quantizer *q, const EmbLinear *linear)
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
		if (!emb_work_spend(&q->work, 4 * EMB_PANEL * (int64_t) linear->n_in))
			return false;
	}
	return true;
}

static bool
quantize_rows(Quantizer *q, const Input *in, Candidate *c)
{
	const EmbObserved *seen = in->seen;
	int32_t		padded = (int32_t) emb_pack_i8_padded(seen->n);

	for (int32_t i = 0; i < seen->n_rows; i++)
	{
		c->scales[i] = q->work.kernels->quantize_u8(seen->rows + (size_t) i * seen->n, c->factor, seen->n, padded,
													c->rows + (size_t) i * padded, &c->zeros[i]);
		if (!emb_work_spend(&q->work, 8 * (int64_t) seen->n))
			return false;
	}
	return true;
}

static bool
prepare_candidates(Quantizer *q, const Input *in)
{
	memset(q->largest, 0, in->seen->n * sizeof(float));
	for (int32_t i = 0; i < in->n_linears; i++)
	{
		if (!note_weights(q, in->linears[i]))
			return false;
	}
	for (int e = 0; e < N_EXPONENTS; e++)
	{
		Candidate  *c = &q->candidates[e];

		emb_quantize_smoothing(in->seen->largest, q->largest, in->seen->n, exponents[e], c->smooth);
		for (int32_t i = 0; i < in->seen->n; i++)
			c->factor[i] = 1.0f / c->smooth[i];
		if (!emb_work_spend(&q->work, 64 * (int64_t) in->seen->n) || !quantize_rows(q, in, c))
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
		case EMB_ACT_KIND_NONE:
			break;
	}
	return NULL;
}

/* q->exact: panel p of a linear layer over the kept rows, in fp32. */
static bool
multiply_exactly(Quantizer *q, const Input *in, const EmbLinear *linear, size_t p)
{
	EmbGemmF32	g = {
		.n_rows = in->seen->n_rows,
		.n_in = linear->n_in,
		.n_panels = 1,
		.a = in->seen->rows,
		.a_stride = linear->n_in,
		.b = linear->weight + p * linear->n_in * EMB_PANEL,
		.bias = linear->bias + p * EMB_PANEL,
		.c = q->exact,
		.c_stride = EMB_PANEL
	};

	return emb_work_multiply(&q->work, &g, activation(q->work.kernels, in->act));
}

/* q->rounded: the same by quantized weights on a candidate's rows. */
static bool
multiply_rounded(Quantizer *q, const Input *in, const Candidate *c, const int8_t *tiles,
				 const float *scale, const int32_t *sums, const float *bias, EmbActKind act)
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
		.b = tiles,
		.b_scale = scale,
		.b_sums = sums,
		.bias = bias,
		.c = q->rounded,
		.c_stride = EMB_PANEL,
		.act = act
	};

	return emb_work_multiply_i8(&q->work, &g);
}

/* Over n_rows rows of 16, of which n_columns count. */
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

static int32_t
panel_rows(const EmbLinear *linear, size_t p)
{
	int32_t		left = linear->n_out - (int32_t) p * EMB_PANEL;

	return left < EMB_PANEL ? left : EMB_PANEL;
}

/* errors[e] += squared error of the linear layer's outputs under exponent e, over the squared outputs. */
static EmbStatus
measure_linear(Quantizer *q, const Input *in, int32_t which, double errors[N_EXPONENTS], EmbError *err)
{
	const EmbLinear *linear = in->linears[which];
	double		own[N_EXPONENTS] = {0};
	double		energy = 0;

	for (size_t p = 0; p < emb_pack_f32_panels(linear->n_out); p++)
	{
		int32_t		n_columns = panel_rows(linear, p);

		if (!multiply_exactly(q, in, linear, p))
			return cancelled(err);
		energy += squared_difference(q->exact, NULL, in->seen->n_rows, n_columns);
		for (int e = 0; e < N_EXPONENTS; e++)
		{
			const Candidate *c = &q->candidates[e];
			float		scale[EMB_PANEL];
			int32_t		sums[EMB_PANEL];

			if (!emb_quantize_panel(linear->weight + p * linear->n_in * EMB_PANEL, n_columns, linear->n_in,
									c->smooth, q->bytes, q->tiles, scale, sums))
				return overflow(q, in->layer, in->roles[which], err);
			if (!emb_work_spend(&q->work, 16 * EMB_PANEL * (int64_t) linear->n_in) ||
				!multiply_rounded(q, in, c, q->tiles, scale, sums, linear->bias + p * EMB_PANEL, in->act))
				return cancelled(err);
			own[e] += squared_difference(q->exact, q->rounded, in->seen->n_rows, n_columns);
		}
	}
	for (int e = 0; e < N_EXPONENTS && energy > 0; e++)
		errors[e] += own[e] / energy;
	return EMB_OK;
}

static EmbStatus
choose_exponent(Quantizer *q, const Input *in, int *best, EmbError *err)
{
	double		errors[N_EXPONENTS] = {0};
	EmbStatus	status = EMB_OK;

	for (int32_t i = 0; status == EMB_OK && i < in->n_linears; i++)
		status = measure_linear(q, in, i, errors, err);
	*best = 0;
	for (int e = 1; e < N_EXPONENTS; e++)
	{
		if (errors[e] < errors[*best])
			*best = e;
	}
	return status;
}

/* --------------------------------------------------------------- writing */

/* bias += what the outputs of a panel miss on average. */
static bool
correct_bias(Quantizer *q, const Input *in, const Candidate *c, const EmbLinear *linear, size_t p,
			 const int8_t *tiles, const float *scale, const int32_t *sums, float *bias)
{
	Input		plain = *in;
	int32_t		n_rows = in->seen->n_rows;

	plain.act = EMB_ACT_KIND_NONE;
	if (!multiply_exactly(q, &plain, linear, p) ||
		!multiply_rounded(q, in, c, tiles, scale, sums, bias, EMB_ACT_KIND_NONE))
		return false;
	for (int32_t k = 0; k < panel_rows(linear, p); k++)
	{
		double		missing = 0;

		for (int32_t i = 0; i < n_rows; i++)
			missing += (double) q->exact[i * EMB_PANEL + k] - q->rounded[i * EMB_PANEL + k];
		bias[k] = (float) (bias[k] + missing / n_rows);
	}
	return true;
}

static EmbStatus
write_linear(Quantizer *q, const Input *in, int32_t which, const Candidate *c, EmbError *err)
{
	const EmbLinear *linear = in->linears[which];
	EmbTensorRole role = in->roles[which];
	size_t		panel_bytes = emb_pack_i8_bytes(EMB_PANEL, linear->n_in);
	int8_t	   *tiles = place(q, in->layer, role);
	float	   *scale = place(q, in->layer, EMB_ROLE_SCALE(role));
	int32_t    *sums = place(q, in->layer, EMB_ROLE_SUMS(role));
	float	   *bias = place(q, in->layer, EMB_ROLE_BIAS(role));

	memcpy(bias, linear->bias, linear->n_out * sizeof(float));
	for (size_t p = 0; p < emb_pack_f32_panels(linear->n_out); p++)
	{
		size_t		at = p * EMB_PANEL;
		const float *panel = linear->weight + at * linear->n_in;
		int8_t	   *to = tiles + p * panel_bytes;

		if (!emb_quantize_panel(panel, panel_rows(linear, p), linear->n_in, c->smooth, q->bytes, to, scale + at, sums + at))
			return overflow(q, in->layer, role, err);
		if (!emb_round_panel(&q->rounding, &q->work, panel, panel_rows(linear, p), c->smooth, scale + at, q->bytes, to, sums + at) ||
			!correct_bias(q, in, c, linear, p, to, scale + at, sums + at, bias + at))
			return cancelled(err);
	}
	return EMB_OK;
}

/* Smooths and quantizes what reads one input; *chosen is good until the next input. */
static EmbStatus
quantize_input(Quantizer *q, const Input *in, const Candidate **chosen, EmbError *err)
{
	int			best;
	EmbStatus	status;

	if (!prepare_candidates(q, in))
		return cancelled(err);
	status = choose_exponent(q, in, &best, err);
	if (status == EMB_OK && !emb_rounding_set_input(&q->rounding, &q->work, in->seen->rows, in->seen->n,
													in->seen->n_rows, q->candidates[best].factor))
		status = cancelled(err);
	for (int32_t i = 0; status == EMB_OK && i < in->n_linears; i++)
		status = write_linear(q, in, i, &q->candidates[best], err);
	*chosen = &q->candidates[best];
	return status;
}

/* The smoothing of attn_out's input goes into the rows of value, which the attention does not mix. */
static void
fold_into_value(Quantizer *q, int32_t layer, const Candidate *c)
{
	float	   *scale = place(q, layer, EMB_ROLE_SCALE(EMB_ROLE_VALUE));
	float	   *bias = place(q, layer, EMB_ROLE_BIAS(EMB_ROLE_VALUE));

	for (int32_t i = 0; i < q->model->bert.hidden; i++)
	{
		scale[i] *= c->factor[i];
		bias[i] *= c->factor[i];
	}
}

static void
copy_norm(Quantizer *q, int32_t layer, EmbTensorRole gamma, const EmbLayerNorm *norm)
{
	memcpy(place(q, layer, gamma), norm->gamma, q->model->bert.hidden * sizeof(float));
	memcpy(place(q, layer, gamma + 1), norm->beta, q->model->bert.hidden * sizeof(float));
}

static EmbActKind
act_kind(EmbActivation act)
{
	return act == EMB_ACT_RELU ? EMB_ACT_KIND_RELU : act == EMB_ACT_GELU_TANH ? EMB_ACT_KIND_GELU_TANH : EMB_ACT_KIND_GELU;
}

static EmbStatus
quantize_attention(Quantizer *q, int32_t i, EmbError *err)
{
	const EmbBertLayer *layer = &q->model->bert.layers[i];
	const Candidate *chosen;
	Input		in = {
		.seen = emb_calibration_at(q->calibration, i, EMB_OBSERVE_ATTN_IN),
		.layer = i,
		.n_linears = 3,
		.linears = {&layer->query, &layer->key, &layer->value},
		.roles = {EMB_ROLE_QUERY, EMB_ROLE_KEY, EMB_ROLE_VALUE},
	};
	EmbStatus	status = quantize_input(q, &in, &chosen, err);

	if (status != EMB_OK)
		return status;
	memcpy(place(q, i, EMB_ROLE_ATTN_IN_FACTOR), chosen->factor, in.seen->n * sizeof(float));
	in = (Input) {
		.seen = emb_calibration_at(q->calibration, i, EMB_OBSERVE_ATTN_CONTEXT),
		.layer = i,
		.n_linears = 1,
		.linears = {&layer->attn_out},
		.roles = {EMB_ROLE_ATTN_OUT},
	};
	status = quantize_input(q, &in, &chosen, err);
	if (status == EMB_OK)
		fold_into_value(q, i, chosen);
	return status;
}

static EmbStatus
quantize_ffn(Quantizer *q, int32_t i, EmbError *err)
{
	const EmbBertLayer *layer = &q->model->bert.layers[i];
	const Candidate *chosen;
	Input		in = {
		.seen = emb_calibration_at(q->calibration, i, EMB_OBSERVE_FFN_IN),
		.layer = i,
		.n_linears = 1,
		.linears = {&layer->ffn_up},
		.roles = {EMB_ROLE_FFN_UP},
		.act = q->model->bert.gated ? EMB_ACT_KIND_NONE : act_kind(q->model->bert.activation),
	};
	EmbStatus	status = quantize_input(q, &in, &chosen, err);

	if (status != EMB_OK)
		return status;
	memcpy(place(q, i, EMB_ROLE_FFN_IN_FACTOR), chosen->factor, in.seen->n * sizeof(float));
	in = (Input) {
		.seen = emb_calibration_at(q->calibration, i, EMB_OBSERVE_FFN_MID),
		.layer = i,
		.n_linears = 1,
		.linears = {&layer->ffn_down},
		.roles = {EMB_ROLE_FFN_DOWN},
	};
	status = quantize_input(q, &in, &chosen, err);
	if (status == EMB_OK)
		memcpy(place(q, i, EMB_ROLE_FFN_MID_FACTOR), chosen->factor, in.seen->n * sizeof(float));
	return status;
}

/*
 * factor[i] = root mean square of column i over all rows, at least 1/1024 of
 * the largest: some models have a few columns that dwarf the others. sums is
 * scratch for [n] doubles.
 */
static bool
column_factors(Quantizer *q, const float *rows, int32_t n_rows, int32_t n, double *sums, float *factor)
{
	double		largest = 0;

	memset(sums, 0, n * sizeof(double));
	for (int32_t i = 0; i < n_rows; i++)
	{
		const float *row = rows + (size_t) i * n;

		for (int32_t k = 0; k < n; k++)
			sums[k] += (double) row[k] * row[k];
		if (!emb_work_spend(&q->work, 16 * (int64_t) n))
			return false;
	}
	for (int32_t k = 0; k < n; k++)
	{
		sums[k] = sqrt(sums[k] / n_rows);
		largest = sums[k] > largest ? sums[k] : largest;
	}
	for (int32_t k = 0; k < n; k++)
	{
		double		f = sums[k] > largest / 1024 ? sums[k] : largest / 1024;

		factor[k] = largest > 1e-30 ? (float) f : 1;
	}
	return true;
}

/* A tensor of the model that is the same in both images; none, where they have none. */
static void
copy_tensor(Quantizer *q, EmbTensorRole role)
{
	const EmbImageTensor *from = emb_image_find(&q->model->view, 0, role);

	if (from != NULL)
		memcpy(place(q, 0, role), q->model->view.base + from->offset, from->size_bytes);
}

static EmbStatus
quantize_embeddings(Quantizer *q, EmbError *err)
{
	const EmbBert *bert = &q->model->bert;
	const float *words = bert->word_embedding.rows_f32;
	size_t		hidden = bert->hidden;
	int8_t	   *rows = place(q, 0, EMB_ROLE_WORD_EMBEDDING);
	float	   *scale = place(q, 0, EMB_ROLE_WORD_EMBEDDING_SCALE);
	float	   *factor = place(q, 0, EMB_ROLE_WORD_EMBEDDING_FACTOR);

	if (!column_factors(q, words, bert->n_vocab, bert->hidden, q->sums, factor))
		return cancelled(err);
	for (int32_t i = 0; i < bert->n_vocab; i++)
	{
		scale[i] = emb_quantize_row(words + i * hidden, factor, bert->hidden, rows + i * hidden);
		if (!isfinite(scale[i]))
			return overflow(q, 0, EMB_ROLE_WORD_EMBEDDING, err);
		if (!emb_work_spend(&q->work, 32 * (int64_t) hidden))
			return cancelled(err);
	}
	copy_tensor(q, EMB_ROLE_POSITION_EMBEDDING);
	copy_tensor(q, EMB_ROLE_TYPE_EMBEDDING);
	copy_norm(q, 0, EMB_ROLE_EMBEDDING_GAMMA, &bert->embedding_norm);
	return EMB_OK;
}

/* What stands behind the layers, a reranker's head, stays in fp32. */
static void
copy_head(Quantizer *q)
{
	for (uint32_t role = EMB_N_LAYER_ROLES; role < EMB_N_ROLES; role++)
		copy_tensor(q, role);
}

static EmbStatus
quantize_layers(Quantizer *q, EmbError *err)
{
	const EmbBert *bert = &q->model->bert;
	EmbStatus	status = quantize_embeddings(q, err);

	for (int32_t i = 0; status == EMB_OK && i < bert->n_layers; i++)
	{
		emb_import_progress(q->steps, "quantize", i, bert->n_layers);
		status = quantize_attention(q, i, err);
		if (status == EMB_OK)
			status = quantize_ffn(q, i, err);
		copy_norm(q, i, EMB_ROLE_ATTN_GAMMA, &bert->layers[i].attn_norm);
		copy_norm(q, i, EMB_ROLE_FFN_GAMMA, &bert->layers[i].ffn_norm);
	}
	copy_head(q);
	if (status == EMB_OK)
		emb_import_progress(q->steps, "quantize", bert->n_layers, bert->n_layers);
	return status;
}

/* n elements of memory that the quantizer owns, or NULL. */
static void *
own(Quantizer *q, size_t n, size_t size)
{
	void	   *p = emb_alloc_array(q->steps->mem, n, size);

	return q->owned[q->n_owned++] = p;
}

static bool
allocate(Quantizer *q, const EmbBert *bert)
{
	size_t		n = bert->hidden > bert->intermediate ? bert->hidden : bert->intermediate;
	size_t		padded = emb_pack_i8_padded((int32_t) n);
	size_t		n_rows = EMB_CALIBRATION_ROWS;
	float	   *vectors = own(q, 2 * N_EXPONENTS * n, sizeof(float));
	uint8_t    *rows = own(q, N_EXPONENTS * n_rows, padded);
	float	   *scales = own(q, N_EXPONENTS * n_rows, sizeof(float));
	int32_t    *zeros = own(q, N_EXPONENTS * n_rows, sizeof(int32_t));

	q->largest = own(q, n, sizeof(float));
	q->sums = own(q, n, sizeof(double));
	q->bytes = own(q, EMB_PANEL, n);
	q->tiles = own(q, EMB_PANEL, padded);
	q->exact = own(q, n_rows * EMB_PANEL, sizeof(float));
	q->rounded = own(q, n_rows * EMB_PANEL, sizeof(float));
	if (!emb_rounding_begin(&q->rounding, emb_kernels(), (int32_t) n, EMB_CALIBRATION_ROWS, q->steps->mem))
		return false;
	for (int i = 0; i < q->n_owned; i++)
	{
		if (q->owned[i] == NULL)
			return false;
	}
	for (int e = 0; e < N_EXPONENTS; e++)
		q->candidates[e] = (Candidate) {
			.smooth = vectors + 2 * e * n,
			.factor = vectors + (2 * e + 1) * n,
			.rows = rows + e * n_rows * padded,
			.scales = scales + e * n_rows,
			.zeros = zeros + e * n_rows,
		};
	return true;
}

EmbStatus
emb_quantize_model(const EmbModel *model, const EmbCalibration *calibration,
				   const EmbImportSteps *steps, uint8_t *image, const EmbImageView *view, EmbError *err)
{
	Quantizer	q = {.steps = steps, .model = model, .calibration = calibration, .image = image, .view = view};
	EmbFpState	fp;
	EmbStatus	status;

	if (!allocate(&q, &model->bert))
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory quantizing a model");
	else
	{
		fp = emb_fp_enter();
		if (!emb_work_begin(&q.work, emb_kernels(), steps->stop, &q.stopped))
			status = cancelled(err);
		else
			status = quantize_layers(&q, err);
		emb_fp_leave(fp);
	}
	for (int i = 0; i < q.n_owned; i++)
		emb_release(steps->mem, q.owned[i]);
	emb_rounding_end(&q.rounding);
	return status;
}
