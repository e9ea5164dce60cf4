/*
 * codes.c
 *		Layers of a checkpoint that was quantized before.
 */
#include "convert/codes.h"

#include <math.h>
#include <string.h>

#include "convert/gptq.h"
#include "convert/group_smoothing.h"

/* The weight of a linear layer as checkpoints have it: gates and values of a GLU apart. */
typedef struct Source
{
	EmbTensorKey key;
	int32_t		n_rows,
				n_cols;
	EmbPart		input;			/* the part that stores the order of the input */
} Source;

/* Memory for orders and a panel of codes, for the widest input. */
typedef struct Buffers
{
	const EmbAllocator *mem;
	uint16_t   *order;			/* [n] of an input */
	uint16_t   *other;			/* [n] */
	uint8_t    *codes;			/* [16, n] */
	float	   *scales;			/* [groups, 16] as read, and by panels */
	uint8_t    *zeros;
	float	   *panel_scales;
	uint8_t    *panel_zeros;
	float	   *smooth;			/* [groups] of the current input: scales are multiplied by it */
} Buffers;

#define MAX_SOURCES		7

/* The zero of codes of 8 bits that an image can have: their middle. */
#define MIDDLE			128

#define MAX_GROUPS		(EMB_ARCH_MAX_INTERMEDIATE / 32)

/* The weights of a layer; those with one input follow each other. */
static int
sources_of(const EmbArch *a, int32_t layer, Source s[MAX_SOURCES])
{
	int			n = 0;

	s[n++] = (Source) {{layer, EMB_PART_QUERY, EMB_TENSOR_WEIGHT}, emb_arch_query_width(a), a->hidden, EMB_PART_QUERY};
	s[n++] = (Source) {{layer, EMB_PART_KEY, EMB_TENSOR_WEIGHT}, emb_arch_key_width(a), a->hidden, EMB_PART_QUERY};
	s[n++] = (Source) {{layer, EMB_PART_VALUE, EMB_TENSOR_WEIGHT}, emb_arch_key_width(a), a->hidden, EMB_PART_QUERY};
	s[n++] = (Source) {{layer, EMB_PART_ATTN_OUT, EMB_TENSOR_WEIGHT}, a->hidden, emb_arch_query_width(a), EMB_PART_ATTN_OUT};
	if (a->is_gated)
		s[n++] = (Source) {{layer, EMB_PART_FFN_GATE, EMB_TENSOR_WEIGHT}, a->intermediate, a->hidden, EMB_PART_FFN_UP};
	s[n++] = (Source) {{layer, EMB_PART_FFN_UP, EMB_TENSOR_WEIGHT}, a->intermediate, a->hidden, EMB_PART_FFN_UP};
	s[n++] = (Source) {{layer, EMB_PART_FFN_DOWN, EMB_TENSOR_WEIGHT}, a->hidden, a->intermediate, EMB_PART_FFN_DOWN};
	return n;
}

static int32_t
widest_input(const EmbArch *a)
{
	int32_t		n = a->hidden > a->intermediate ? a->hidden : a->intermediate;

	return n > emb_arch_query_width(a) ? n : emb_arch_query_width(a);
}

static EmbStatus
begin(Buffers *b, const EmbWeights *w, EmbError *err)
{
	const EmbAllocator *mem = w->steps->mem;
	size_t		n = widest_input(w->arch);
	size_t		n_scales = EMB_PANEL * ((n - 1) / 32 + 1);

	*b = (Buffers) {
		.mem = mem,
		.order = emb_alloc_array(mem, n, sizeof(uint16_t)),
		.other = emb_alloc_array(mem, n, sizeof(uint16_t)),
		.codes = emb_alloc_array(mem, n, EMB_PANEL),
		.scales = emb_alloc_array(mem, n_scales, sizeof(float)),
		.zeros = emb_alloc_array(mem, n_scales, 1),
		.panel_scales = emb_alloc_array(mem, n_scales, sizeof(float)),
		.panel_zeros = emb_alloc_array(mem, n_scales, 1),
		.smooth = emb_alloc_array(mem, n_scales / EMB_PANEL, sizeof(float)),
	};
	if (b->order == NULL || b->other == NULL || b->codes == NULL || b->scales == NULL || b->zeros == NULL ||
		b->panel_scales == NULL || b->panel_zeros == NULL || b->smooth == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for codes of %zu inputs", n);
	return EMB_OK;
}

static void
end(Buffers *b)
{
	void	   *owned[] = {b->order, b->other, b->codes, b->scales, b->zeros, b->panel_scales, b->panel_zeros, b->smooth};

	for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
		emb_release(b->mem, owned[i]);
}

static EmbStatus
codes_of(const EmbWeights *w, const Source *s, EmbCodes *codes, EmbError *err)
{
	EmbStatus	status = emb_checkpoint_check(w->checkpoint, s->key, s->n_rows, s->n_cols, err);

	return status == EMB_OK ? emb_checkpoint_codes(w->checkpoint, s->key, s->n_rows, s->n_cols, codes, err) : status;
}

static EmbStatus
read_order(const EmbWeights *w, const Source *s, const EmbCodes *codes, uint16_t *order, EmbError *err)
{
	if (codes->has_order)
		return emb_checkpoint_read_order(w->checkpoint, s->key, s->n_cols, order, err);
	for (int32_t i = 0; i < s->n_cols; i++)
		order[i] = (uint16_t) i;
	return EMB_OK;
}

/* ------------------------------------------------------------------ choosing */

/* What the weights seen so far have in common. */
typedef struct Common
{
	EmbImagePrecision precision;
	int			n_with_codes;
	bool		fits;
	int32_t		group;			/* divides the groups of all weights; 0: each has one group so far */
	bool		has_order;
	EmbScaleType scale_type;
} Common;

static void
add_weight(Common *common, const EmbCodes *codes)
{
	int32_t		divisor = common->group != 0 ? common->group : 128;

	if (common->n_with_codes == 0)
		common->scale_type = codes->scale_type;
	else if (codes->scale_type != common->scale_type)
		common->scale_type = EMB_SCALE_F32;
	common->n_with_codes += codes->bits != 0;
	common->has_order |= codes->bits != 0 && codes->has_order;
	if (common->precision == EMB_PRECISION_INT4 ? codes->bits != 4 : codes->bits != 8 || codes->zero != MIDDLE)
		common->fits = false;
	if (codes->bits == 0 || codes->n_groups == 1)
		return;
	while (codes->group % divisor != 0)
		divisor /= 2;
	common->group = divisor;
	if (divisor < 32)
		common->fits = false;
}

static EmbStatus
look_at_layer(const EmbWeights *w, Buffers *b, int32_t layer, Common *common, EmbError *err)
{
	Source		sources[MAX_SOURCES];
	int			n = sources_of(w->arch, layer, sources);

	for (int i = 0; i < n; i++)
	{
		EmbCodes	codes;
		EmbStatus	status = codes_of(w, &sources[i], &codes, err);

		if (status == EMB_OK && emb_should_stop(w->steps->stop))
			status = emb_import_cancelled(err);
		if (status != EMB_OK)
			return status;
		add_weight(common, &codes);
		if (!common->fits)
			continue;
		if ((status = read_order(w, &sources[i], &codes, b->other, err)) != EMB_OK)
			return status;
		if (i == 0 || sources[i].input != sources[i - 1].input)
			memcpy(b->order, b->other, sources[i].n_cols * sizeof(uint16_t));
		else if (memcmp(b->order, b->other, sources[i].n_cols * sizeof(uint16_t)) != 0)
			common->fits = false;
	}
	return EMB_OK;
}

EmbStatus
emb_codes_choose(const EmbWeights *w, EmbImageConfig *config, EmbCodesUse *use, EmbError *err)
{
	/* the image has gates and values of a GLU by whole panels */
	Common		common = {.precision = config->precision, .fits = !w->arch->is_gated || emb_arch_pairs_gates(w->arch)};
	Buffers		b;
	EmbStatus	status = begin(&b, w, err);

	for (int32_t i = 0; status == EMB_OK && i < w->arch->n_layers; i++)
		status = look_at_layer(w, &b, i, &common, err);
	end(&b);
	if (status != EMB_OK)
		return status;
	*use = common.n_with_codes == 0 ? EMB_CODES_NONE : common.fits ? EMB_CODES_KEPT : EMB_CODES_UNFIT;
	if (*use != EMB_CODES_KEPT)
		return EMB_OK;
	config->group = common.group != 0 ? (uint32_t) common.group :
		config->precision == EMB_PRECISION_INT4 ? EMB_IMAGE_GROUP_ROW : 0;
	config->keep_int8 = EMB_KEEP_NONE;
	config->has_order = common.has_order;
	config->scale_type = config->group != 0 ? common.scale_type : EMB_SCALE_F32;
	return EMB_OK;
}

/* ------------------------------------------------------------------- filling */

static void *
place(const EmbImageView *view, int32_t layer, EmbPart part, EmbTensorKind kind)
{
	return (void *) emb_image_data(view, emb_image_find(view, layer, part, kind));
}

/* The image's part of a source, and the panel of the image for the source's panel p. */
static EmbPart
part_of(const Source *s)
{
	return s->key.part == EMB_PART_FFN_GATE ? EMB_PART_FFN_UP : (EmbPart) s->key.part;
}

static size_t
panel_place(const EmbArch *arch, const Source *s, int32_t p)
{
	if (part_of(s) != EMB_PART_FFN_UP || !arch->is_gated)
		return p;
	return 2 * (size_t) p + (s->key.part == EMB_PART_FFN_UP);
}

/* Outputs of panel p. */
static int32_t
panel_rows(const Source *s, int32_t p)
{
	return s->n_rows - p * EMB_PANEL < EMB_PANEL ? s->n_rows - p * EMB_PANEL : EMB_PANEL;
}

/* The image's groups of the inputs of a source. */
static int32_t
n_groups_of(const Source *s, const EmbImageConfig *config)
{
	return config->group == 0 || config->group == EMB_IMAGE_GROUP_ROW ? 1 : (s->n_cols - 1) / (int32_t) config->group + 1;
}

/*
 * A scale with its group's smoothing, as the image has it. It is exact but where it
 * is too large: there all weights are zero (see group_smoothing.h).
 */
static float
smoothed_scale(float scale, float smooth, const EmbImageConfig *config)
{
	float		x = scale * smooth;

	return emb_scale_nearest(isfinite(x) ? x : scale, (EmbScaleType) config->scale_type);
}

/* Rows of panel p of a source, by outputs; scales and zeros by the image's groups. */
static EmbStatus
read_panel(const EmbWeights *w, const Source *s, const EmbCodes *codes, const EmbImageConfig *config, int32_t p, Buffers *b, EmbError *err)
{
	int32_t		n = panel_rows(s, p);
	int32_t		n_groups = n_groups_of(s, config);
	EmbStatus	status = emb_checkpoint_read_codes(w->checkpoint, s->key, p * EMB_PANEL, n, s->n_cols, b->codes, b->scales, b->zeros, err);

	if (status != EMB_OK)
		return status;
	memset(b->panel_scales, 0, (size_t) n_groups * EMB_PANEL * sizeof(float));
	memset(b->panel_zeros, 0, (size_t) n_groups * EMB_PANEL);
	for (int32_t g = 0; g < n_groups; g++)
	{
		int32_t		from = codes->n_groups == 1 ? 0 : (int32_t) ((int64_t) g * config->group / codes->group);

		for (int32_t r = 0; r < n; r++)
			b->panel_scales[g * EMB_PANEL + r] = smoothed_scale(b->scales[from * n + r], b->smooth[g], config);
		memcpy(b->panel_zeros + g * EMB_PANEL, b->zeros + from * n, n);
	}
	return EMB_OK;
}

/* The rows of the image's panel `to`, with int4 codes and zeros. */
static void
pack_four(const Source *s, const EmbImageView *view, const Buffers *b, int32_t n, size_t to)
{
	EmbGptqPanel panel = {.codes = b->codes, .scales = b->panel_scales, .zeros = b->panel_zeros};
	int32_t		group = emb_image_kernel_group(view->config);
	size_t		n_scales = EMB_PANEL * (size_t) emb_pack_group_scales(s->n_cols, group);
	uint8_t    *tiles = place(view, s->key.layer, part_of(s), EMB_TENSOR_WEIGHT);
	uint8_t    *zeros = place(view, s->key.layer, part_of(s), EMB_TENSOR_GROUP_ZERO);
	float	   *sums = place(view, s->key.layer, part_of(s), EMB_TENSOR_SUMS);

	emb_gptq_pack_panel(&panel, n, s->n_cols, group, tiles + to * emb_pack_i4_bytes(EMB_PANEL, s->n_cols), sums + to * EMB_PANEL);
	memcpy(zeros + to * n_scales, b->panel_zeros, (size_t) n_groups_of(s, view->config) * EMB_PANEL);
}

/* The sum of an output's weights for its input's zero point, by groups. */
static float
sum_groups(const Source *s, const EmbImageConfig *config, const Buffers *b, int32_t r)
{
	int32_t		n_groups = n_groups_of(s, config);
	float		scales[MAX_GROUPS];
	uint8_t		zeros[MAX_GROUPS];

	for (int32_t g = 0; g < n_groups; g++)
		scales[g] = b->panel_scales[g * EMB_PANEL + r];
	memset(zeros, MIDDLE, n_groups);
	return emb_pack_group_sum(b->codes + (size_t) r * s->n_cols, s->n_cols, 8, (int32_t) config->group, scales, zeros);
}

/* With int8 codes. */
static void
pack_eight(const Source *s, const EmbImageView *view, const Buffers *b, int32_t n, size_t to)
{
	int8_t	   *tiles = place(view, s->key.layer, part_of(s), EMB_TENSOR_WEIGHT);
	void	   *sums = place(view, s->key.layer, part_of(s), EMB_TENSOR_SUMS);

	for (int32_t r = 0; r < n; r++)
	{
		uint8_t    *row = b->codes + (size_t) r * s->n_cols;
		int32_t		sum = 0;

		if (view->config->group != 0)
			((float *) sums)[to * EMB_PANEL + r] = sum_groups(s, view->config, b, r);
		for (int32_t k = 0; k < s->n_cols; k++)
		{
			sum += row[k] - MIDDLE;
			row[k] ^= MIDDLE;	/* a signed byte */
		}
		if (view->config->group == 0)
			((int32_t *) sums)[to * EMB_PANEL + r] = sum;
	}
	emb_pack_i8_panel((const int8_t *) b->codes, n, s->n_cols, tiles + to * emb_pack_i8_bytes(EMB_PANEL, s->n_cols));
}

static EmbStatus
fill_weight(const EmbWeights *w, const Source *s, const EmbCodes *codes, const EmbImageView *view, Buffers *b, EmbError *err)
{
	const EmbImageConfig *config = view->config;
	bool		has_groups = config->group != 0;
	int32_t		n_scales = has_groups ? emb_pack_group_scales(s->n_cols, emb_image_kernel_group(config)) : 1;
	void	   *scales = place(view, s->key.layer, part_of(s), has_groups ? EMB_TENSOR_GROUP_SCALE : EMB_TENSOR_SCALE);

	for (int32_t p = 0; p * EMB_PANEL < s->n_rows; p++)
	{
		size_t		to = panel_place(w->arch, s, p);
		EmbStatus	status;

		if (emb_should_stop(w->steps->stop))
			return emb_import_cancelled(err);
		if ((status = read_panel(w, s, codes, config, p, b, err)) != EMB_OK)
			return status;
		emb_scale_store(scales, (EmbScaleType) config->scale_type, to * EMB_PANEL * n_scales, b->panel_scales,
						(size_t) n_groups_of(s, config) * EMB_PANEL);
		if (config->precision == EMB_PRECISION_INT4)
			pack_four(s, view, b, panel_rows(s, p), to);
		else
			pack_eight(s, view, b, panel_rows(s, p), to);
	}
	return EMB_OK;
}

/* Biases of a GLU lie as its panels do. */
static void
fill_bias(const EmbWeights *w, const Source *s, const EmbModel *exact, const EmbImageView *view)
{
	const EmbImageTensor *t = emb_image_find(view, s->key.layer, part_of(s), EMB_TENSOR_BIAS);
	const float *from = (const float *) emb_image_data(&exact->view, emb_image_find(&exact->view, s->key.layer, part_of(s), EMB_TENSOR_BIAS));
	float	   *to = (float *) emb_image_data(view, t);

	if (s->key.part == EMB_PART_FFN_UP && w->arch->is_gated)
		from += s->n_rows;
	for (int32_t p = 0; p * EMB_PANEL < s->n_rows; p++)
	{
		int32_t		n = s->n_rows - p * EMB_PANEL < EMB_PANEL ? s->n_rows - p * EMB_PANEL : EMB_PANEL;

		memcpy(to + panel_place(w->arch, s, p) * EMB_PANEL, from + p * EMB_PANEL, n * sizeof(float));
	}
}

/* Norms, as they are; factors of 1. */
static void
fill_others(const EmbModel *exact, int32_t layer, const EmbImageView *view)
{
	for (uint32_t i = 0; i < view->n_tensors; i++)
	{
		const EmbImageTensor *to = &view->tensors[i];
		const EmbImageTensor *from;

		if (to->key.layer != layer)
			continue;
		from = emb_image_find(&exact->view, layer, to->key.part, to->key.kind);
		if (to->key.kind == EMB_TENSOR_FACTOR)
		{
			for (uint32_t k = 0; k < to->n_cols; k++)
				((float *) emb_image_data(view, to))[k] = 1;
		}
		else if (from != NULL && from->form == to->form)
			memcpy((void *) emb_image_data(view, to), emb_image_data(&exact->view, from), from->size_bytes);
	}
}

/* The point and the linear layers of an input; false: it has no factor of its own. */
static bool
find_readers(const EmbModel *exact, int32_t layer, EmbPart input, EmbObservePoint *point, EmbGroupSmoothing *s)
{
	const EmbLayer *l = &exact->transformer.layers[layer];

	switch (input)
	{
		case EMB_PART_QUERY:
			*point = EMB_OBSERVE_ATTN_IN;
			s->n_linears = 3;
			s->linears[0] = &l->query;
			s->linears[1] = &l->key;
			s->linears[2] = &l->value;
			return true;
		case EMB_PART_FFN_UP:
			*point = EMB_OBSERVE_FFN_IN;
			s->n_linears = 1;
			s->linears[0] = &l->ffn_up;
			return true;
		case EMB_PART_FFN_DOWN:
			*point = EMB_OBSERVE_FFN_MID;
			s->n_linears = 1;
			s->linears[0] = &l->ffn_down;
			return true;
		default:
			return false;
	}
}

/* Chooses the smoothing of an input, before its first source is filled. The order of its weights is in the image. */
static EmbStatus
smooth_input(const EmbWeights *w, const Source *s, const EmbModel *exact, const EmbCalibration *calibration, const EmbImageView *view,
			 Buffers *b, EmbError *err)
{
	EmbGroupSmoothing smoothing = {.group = (int32_t) view->config->group, .scale_type = (EmbScaleType) view->config->scale_type};
	EmbObservePoint point;

	for (int32_t g = 0; g < n_groups_of(s, view->config); g++)
		b->smooth[g] = 1;
	if (!emb_codes_are_smoothed(view->config) || !find_readers(exact, s->key.layer, s->input, &point, &smoothing))
		return EMB_OK;
	smoothing.seen = emb_calibration_at(calibration, point);
	if (view->config->has_order)
		smoothing.order = place(view, s->key.layer, s->input, EMB_TENSOR_ORDER);
	return emb_smooth_groups(&smoothing, w->steps, b->smooth, place(view, s->key.layer, s->input, EMB_TENSOR_FACTOR), err);
}

static EmbStatus
fill_source(const EmbWeights *w, const Source *s, bool is_first, const EmbModel *exact, const EmbCalibration *calibration,
			const EmbImageView *view, Buffers *b, EmbError *err)
{
	EmbCodes	codes;
	EmbStatus	status = codes_of(w, s, &codes, err);

	if (status == EMB_OK && codes.bits != (view->config->precision == EMB_PRECISION_INT4 ? 4 : 8))
		status = emb_error(err, EMB_ERR_FORMAT, "a weight of layer %d has changed during the import", s->key.layer);
	if (status == EMB_OK && view->config->has_order && is_first)
		status = read_order(w, s, &codes, place(view, s->key.layer, s->input, EMB_TENSOR_ORDER), err);
	if (status == EMB_OK && is_first)
		status = smooth_input(w, s, exact, calibration, view, b, err);
	if (status == EMB_OK)
		status = fill_weight(w, s, &codes, view, b, err);
	if (status == EMB_OK)
		fill_bias(w, s, exact, view);
	return status;
}

EmbStatus
emb_codes_fill_layer(const EmbWeights *w, const EmbModel *exact, int32_t layer, const EmbCalibration *calibration,
					 const EmbImageView *view, EmbError *err)
{
	Source		sources[MAX_SOURCES];
	int			n = sources_of(w->arch, layer, sources);
	Buffers		b;
	EmbStatus	status = begin(&b, w, err);

	fill_others(exact, layer, view);
	for (int i = 0; status == EMB_OK && i < n; i++)
		status = fill_source(w, &sources[i], i == 0 || sources[i].input != sources[i - 1].input, exact, calibration, view, &b, err);
	end(&b);
	return status;
}
