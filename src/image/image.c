/*
 * image.c
 *		The layout of images. It is computed when an image is written. When an
 *		image is read, the layout is computed again and compared.
 */
#include "image/image.h"

#include <string.h>

#include "kernels/kernels.h"

/* ------------------------------------------------------------------ the plan */

/* The tensors that a part consists of. */
typedef enum PartType
{
	PART_NORM,					/* gamma, and beta of a layer norm */
	PART_TABLE,					/* fp32 rows */
	PART_WORDS,					/* rows in the image's precision */
	PART_LINEAR,				/* weights in the image's precision */
	PART_VOCABULARY,			/* likewise, but int8 in int4, and without groups */
	PART_EXACT,					/* a linear layer in fp32 in every image */
	PART_ROW,					/* a linear layer in fp32 with few outputs, not packed */
	PART_BIAS					/* a vector in fp32 */
} PartType;

typedef struct Slot
{
	EmbPart		part;
	PartType	type;
	int32_t		n_rows,
				n_cols;
	bool		lacks_bias;		/* or a norm's beta */
	bool		has_factor;		/* its input has a factor, if quantized */
	bool		has_order;		/* its input may have an order, with groups */
} Slot;

#define MAX_SLOTS	(32 + 2 * EMB_ARCH_MAX_EXPERTS)

typedef bool (*VisitTensor) (void *ctx, uint32_t i, const EmbImageTensor *t);

/* Calls visit, if not NULL, for every tensor in order. */
typedef struct Plan
{
	const EmbArch *arch;
	const EmbImageConfig *config;
	uint64_t	offset;			/* offset of the next tensor */
	uint32_t	n_tensors;
	VisitTensor visit;
	void	   *ctx;
	bool		stopped;		/* visit returned false */
} Plan;

static Slot
slot(EmbPart part, PartType type, int32_t n_rows, int32_t n_cols)
{
	return (Slot) {.part = part, .type = type, .n_rows = n_rows, .n_cols = n_cols};
}

/* A norm of the architecture's kind. */
static Slot
norm_slot(const EmbArch *a, EmbPart part, int32_t n_cols)
{
	return (Slot) {.part = part, .type = PART_NORM, .n_rows = 1, .n_cols = n_cols, .lacks_bias = a->norm_kind == EMB_NORM_RMS};
}

/* The tensors of the model, and of a layer: everything that depends on the architecture. */
static int
model_slots(const EmbArch *a, Slot slots[MAX_SLOTS])
{
	int32_t		width = emb_arch_embedding_width(a);
	int			n = 0;

	slots[n++] = (Slot) {EMB_PART_WORDS, PART_WORDS, a->n_vocab, width, .has_factor = true};
	if (a->has_sparse == EMB_SPARSE_VOCABULARY)
		slots[n++] = (Slot) {EMB_PART_LM_OUT, PART_VOCABULARY, a->n_vocab, a->hidden, .has_factor = true};
	if (a->positions & EMB_POSITIONS_ABSOLUTE)
		slots[n++] = slot(EMB_PART_POSITIONS, PART_TABLE, emb_arch_position_rows(a), width);
	if (a->n_types > 0)
		slots[n++] = slot(EMB_PART_TYPES, PART_TABLE, a->n_types, width);
	if (a->has_embedding_norm)
		slots[n++] = norm_slot(a, EMB_PART_EMBEDDING_NORM, width);
	if (a->embedding_size > 0)
		slots[n++] = slot(EMB_PART_EMBEDDING_PROJECTION, PART_EXACT, a->hidden, width);
	if (a->positions & EMB_POSITIONS_RELATIVE)
		slots[n++] = slot(EMB_PART_DISTANCES, PART_TABLE, a->n_heads, EMB_DISTANCES);
	if (a->positions & EMB_POSITIONS_ROTARY)
		slots[n++] = slot(EMB_PART_ROTARY, PART_TABLE, a->n_positions, a->head_size);
	if ((a->positions & EMB_POSITIONS_ROTARY) && a->window > 0)
		slots[n++] = slot(EMB_PART_ROTARY_LOCAL, PART_TABLE, a->n_positions, a->head_size);
	if (emb_arch_has_final_norm(a))
		slots[n++] = norm_slot(a, EMB_PART_FINAL_NORM, a->hidden);
	if (a->head == EMB_HEAD_SCORE)
	{
		slots[n++] = (Slot) {EMB_PART_POOLER, PART_EXACT, a->hidden, a->hidden, .lacks_bias = !a->head_has_bias};
		if (a->head_has_norm)
			slots[n++] = slot(EMB_PART_HEAD_NORM, PART_NORM, 1, a->hidden);
		slots[n++] = slot(EMB_PART_CLASSIFIER, PART_ROW, a->n_labels, a->hidden);
	}
	if (a->head == EMB_HEAD_ANSWER)
		slots[n++] = (Slot) {EMB_PART_ANSWERS, PART_ROW, a->n_labels, a->hidden, .lacks_bias = true};
	if (a->has_sparse == EMB_SPARSE_TOKENS)
		slots[n++] = slot(EMB_PART_SPARSE, PART_ROW, 1, a->hidden);
	if (a->has_sparse == EMB_SPARSE_VOCABULARY)
	{
		slots[n++] = slot(EMB_PART_LM_DENSE, PART_EXACT, a->hidden, a->hidden);
		slots[n++] = norm_slot(a, EMB_PART_LM_NORM, a->hidden);
	}
	if (a->has_query_weights)
		slots[n++] = slot(EMB_PART_QUERY_WEIGHTS, PART_TABLE, 1, a->n_vocab);
	if (a->multi_dim > 0)
		slots[n++] = slot(EMB_PART_MULTI, PART_EXACT, a->multi_dim, a->hidden);
	if (a->n_skipped > 0)
		slots[n++] = slot(EMB_PART_SKIPPED, PART_TABLE, 1, a->n_skipped);
	for (int i = 0; i < a->n_dense; i++)
	{
		bool		is_norm = a->dense[i].kind == EMB_MODULE_LAYER_NORM;

		if (!is_norm)
			slots[n++] = (Slot) {emb_part_of_module(i), PART_EXACT, a->dense[i].n_out, emb_arch_module_inputs(a, i),
				.lacks_bias = !a->dense[i].has_bias};
		else if (a->dense[i].has_bias)
			slots[n++] = slot(emb_part_of_module(i), PART_NORM, 1, a->dense[i].n_out);
	}
	return n;
}

/* What each expert has, one after another; then what they share. */
static int
expert_slots(const EmbArch *a, Slot *slots)
{
	int			n = 0;

	slots[n++] = (Slot) {EMB_PART_ROUTER, PART_ROW, a->n_experts, a->hidden, .lacks_bias = true};
	for (int32_t i = 0; i < a->n_experts; i++)
	{
		slots[n++] = (Slot) {emb_part_of_expert(EMB_PART_EXPERT_UP, i), PART_LINEAR, a->intermediate, a->hidden, .has_factor = true, .has_order = true};
		slots[n++] = (Slot) {emb_part_of_expert(EMB_PART_EXPERT_DOWN, i), PART_LINEAR, a->hidden, a->intermediate, .has_factor = true, .has_order = true};
	}
	slots[n++] = slot(EMB_PART_EXPERT_BIAS, PART_BIAS, 1, a->hidden);
	return n;
}

static int
layer_slots(const EmbArch *a, int32_t layer, Slot slots[MAX_SLOTS])
{
	int			n = 0;

	/* query, key and value share an input and its factor */
	slots[n++] = (Slot) {EMB_PART_QUERY, PART_LINEAR, emb_arch_query_width(a), a->hidden, .has_factor = true, .has_order = true};
	slots[n++] = slot(EMB_PART_KEY, PART_LINEAR, emb_arch_key_width(a), a->hidden);
	slots[n++] = slot(EMB_PART_VALUE, PART_LINEAR, emb_arch_key_width(a), a->hidden);
	/* its input's factor is folded into the weights of value */
	slots[n++] = (Slot) {EMB_PART_ATTN_OUT, PART_LINEAR, a->hidden, emb_arch_query_width(a), .has_order = true};
	if (layer > 0 || a->has_first_norm)
		slots[n++] = norm_slot(a, EMB_PART_ATTN_NORM, a->hidden);
	if (emb_arch_has_experts(a, layer))
		n += expert_slots(a, slots + n);
	else
	{
		slots[n++] = (Slot) {EMB_PART_FFN_UP, PART_LINEAR, emb_arch_wide(a), a->hidden, .has_factor = true, .has_order = true};
		slots[n++] = (Slot) {EMB_PART_FFN_DOWN, PART_LINEAR, a->hidden, a->intermediate, .has_factor = true, .has_order = true};
	}
	slots[n++] = norm_slot(a, EMB_PART_FFN_NORM, a->hidden);
	if (a->has_qk_norm)
	{
		slots[n++] = norm_slot(a, EMB_PART_QUERY_NORM, emb_arch_qk_norm_width(a, emb_arch_query_width(a)));
		slots[n++] = norm_slot(a, EMB_PART_KEY_NORM, emb_arch_qk_norm_width(a, emb_arch_key_width(a)));
	}
	if (a->has_second_norm)
		slots[n++] = norm_slot(a, EMB_PART_SECOND_NORM, a->hidden);
	if (a->norm_place == EMB_NORM_AROUND)
	{
		slots[n++] = norm_slot(a, EMB_PART_ATTN_END_NORM, a->hidden);
		slots[n++] = norm_slot(a, EMB_PART_FFN_END_NORM, a->hidden);
	}
	if (a->positions & EMB_POSITIONS_DISENTANGLED)
	{
		slots[n++] = slot(EMB_PART_RELATIVE_KEYS, PART_TABLE, 2 * a->relative_span, emb_arch_key_width(a));
		slots[n++] = slot(EMB_PART_RELATIVE_QUERIES, PART_TABLE, 2 * a->relative_span, emb_arch_query_width(a));
	}
	return n;
}

/* Sizes cannot overflow: emb_arch_check bounds every dimension. */
static uint64_t
form_bytes(EmbTensorForm form, int32_t n_rows, int32_t n_cols)
{
	switch (form)
	{
		case EMB_FORM_ROWS_F32:
			return (uint64_t) n_rows * n_cols * sizeof(float);
		case EMB_FORM_PANELS_F32:
			return emb_pack_f32_bytes(n_rows, n_cols);
		case EMB_FORM_VECTOR_F32:
		case EMB_FORM_VECTOR_I32:
			return emb_image_align((uint64_t) n_cols * sizeof(float));
		case EMB_FORM_ROWS_I8:
			return (uint64_t) n_rows * n_cols;
		case EMB_FORM_TILES_I8:
		case EMB_FORM_GROUP_TILES_I8:
			return emb_pack_i8_bytes(n_rows, n_cols);
		case EMB_FORM_TILES_I4:
			return emb_pack_i4_bytes(n_rows, n_cols);
		case EMB_FORM_GROUPS_F32:
			return emb_pack_f32_bytes(n_rows, n_cols);
		case EMB_FORM_GROUPS_F16:
		case EMB_FORM_GROUPS_BF16:
			return emb_pack_f32_bytes(n_rows, n_cols) / 2;
		case EMB_FORM_GROUPS_U8:
			return emb_pack_f32_panels(n_rows) * EMB_PANEL * (uint64_t) n_cols;
		case EMB_FORM_VECTOR_U16:
			return emb_image_align((uint64_t) n_cols * sizeof(uint16_t));
	}
	return 0;
}

static void
add_tensor(Plan *plan, int32_t layer, EmbPart part, EmbTensorKind kind, EmbTensorForm form, int32_t n_rows, int32_t n_cols)
{
	EmbImageTensor t = {
		.key = {layer, part, kind},
		.form = form,
		.n_rows = (uint32_t) n_rows,
		.n_cols = (uint32_t) n_cols,
		.offset = plan->offset,
		.size_bytes = form_bytes(form, n_rows, n_cols),
	};

	if (plan->visit != NULL && !plan->stopped && !plan->visit(plan->ctx, plan->n_tensors, &t))
		plan->stopped = true;
	plan->offset = emb_image_align(plan->offset + t.size_bytes);
	plan->n_tensors++;
}

static bool
is_attention(EmbPart part)
{
	return part == EMB_PART_QUERY || part == EMB_PART_KEY || part == EMB_PART_VALUE || part == EMB_PART_ATTN_OUT;
}

/* Whether a linear layer of an int4 image stays int8. */
static bool
stays_int8(const Plan *plan, int32_t layer, EmbPart part)
{
	switch ((EmbKeepInt8) plan->config->keep_int8)
	{
		case EMB_KEEP_NONE:
			break;
		case EMB_KEEP_ATTENTION:
			return is_attention(part);
		case EMB_KEEP_ENDS:
			return layer == 0 || layer == plan->arch->n_layers - 1;
		case EMB_KEEP_ALL_BUT_DOWN:
			return emb_role_of(part) != EMB_ROLE_FFN_DOWN;
		case EMB_KEEP_MEASURED:
			return plan->config->kept[layer] >> emb_role_of(part) & 1;
	}
	return false;
}

/* The form of a linear layer's weights. */
static EmbTensorForm
weight_form(const Plan *plan, int32_t layer, EmbPart part)
{
	const EmbImageConfig *config = plan->config;

	if (config->precision == EMB_PRECISION_FP32)
		return EMB_FORM_PANELS_F32;
	if (part == EMB_PART_LM_OUT)
		return EMB_FORM_TILES_I8;
	if (config->precision == EMB_PRECISION_INT8)
		return config->group != 0 ? EMB_FORM_GROUP_TILES_I8 : EMB_FORM_TILES_I8;
	return stays_int8(plan, layer, part) ? EMB_FORM_TILES_I8 : EMB_FORM_TILES_I4;
}

static EmbTensorForm
scale_form(const EmbImageConfig *config)
{
	switch ((EmbScaleType) config->scale_type)
	{
		case EMB_SCALE_F16:
			return EMB_FORM_GROUPS_F16;
		case EMB_SCALE_BF16:
			return EMB_FORM_GROUPS_BF16;
		case EMB_SCALE_F32:
			break;
	}
	return EMB_FORM_GROUPS_F32;
}

/* What quantized weights need besides them; the factor is that of the input. */
static void
add_scales(Plan *plan, int32_t layer, const Slot *s, EmbTensorForm form)
{
	if (form == EMB_FORM_TILES_I4 || form == EMB_FORM_GROUP_TILES_I8)
	{
		int32_t		n_scales = emb_pack_group_scales(s->n_cols, emb_image_kernel_group(plan->config));

		add_tensor(plan, layer, s->part, EMB_TENSOR_GROUP_SCALE, scale_form(plan->config), s->n_rows, n_scales);
		if (form == EMB_FORM_TILES_I4)
			add_tensor(plan, layer, s->part, EMB_TENSOR_GROUP_ZERO, EMB_FORM_GROUPS_U8, s->n_rows, n_scales);
		add_tensor(plan, layer, s->part, EMB_TENSOR_SUMS, EMB_FORM_VECTOR_F32, 1, s->n_rows);
		if (s->has_order && plan->config->has_order)
			add_tensor(plan, layer, s->part, EMB_TENSOR_ORDER, EMB_FORM_VECTOR_U16, 1, s->n_cols);
	}
	else
	{
		add_tensor(plan, layer, s->part, EMB_TENSOR_SCALE, EMB_FORM_VECTOR_F32, 1, s->n_rows);
		if (form == EMB_FORM_TILES_I8)
			add_tensor(plan, layer, s->part, EMB_TENSOR_SUMS, EMB_FORM_VECTOR_I32, 1, s->n_rows);
	}
	if (s->has_factor)
		add_tensor(plan, layer, s->part, EMB_TENSOR_FACTOR, EMB_FORM_VECTOR_F32, 1, s->n_cols);
}

/* The forms of a part: everything that depends on the precision. */
static void
add_part(Plan *plan, int32_t layer, const Slot *s)
{
	bool		is_exact = plan->config->precision == EMB_PRECISION_FP32;
	EmbTensorForm form;

	switch (s->type)
	{
		case PART_NORM:
			add_tensor(plan, layer, s->part, EMB_TENSOR_GAMMA, EMB_FORM_VECTOR_F32, 1, s->n_cols);
			if (!s->lacks_bias)
				add_tensor(plan, layer, s->part, EMB_TENSOR_BETA, EMB_FORM_VECTOR_F32, 1, s->n_cols);
			return;
		case PART_TABLE:
			add_tensor(plan, layer, s->part, EMB_TENSOR_TABLE, EMB_FORM_ROWS_F32, s->n_rows, s->n_cols);
			return;
		case PART_WORDS:
			form = is_exact ? EMB_FORM_ROWS_F32 : EMB_FORM_ROWS_I8;
			add_tensor(plan, layer, s->part, EMB_TENSOR_TABLE, form, s->n_rows, s->n_cols);
			if (!is_exact)
				add_scales(plan, layer, s, form);
			return;
		case PART_LINEAR:
		case PART_VOCABULARY:
			form = weight_form(plan, layer, s->part);
			add_tensor(plan, layer, s->part, EMB_TENSOR_WEIGHT, form, s->n_rows, s->n_cols);
			if (!is_exact)
				add_scales(plan, layer, s, form);
			break;
		case PART_EXACT:
			add_tensor(plan, layer, s->part, EMB_TENSOR_WEIGHT, EMB_FORM_PANELS_F32, s->n_rows, s->n_cols);
			break;
		case PART_ROW:
			add_tensor(plan, layer, s->part, EMB_TENSOR_WEIGHT, EMB_FORM_ROWS_F32, s->n_rows, s->n_cols);
			break;
		case PART_BIAS:
			add_tensor(plan, layer, s->part, EMB_TENSOR_BIAS, EMB_FORM_VECTOR_F32, 1, s->n_cols);
			return;
	}
	if (!s->lacks_bias)
		add_tensor(plan, layer, s->part, EMB_TENSOR_BIAS, EMB_FORM_VECTOR_F32, 1, s->n_rows);
}

/* Tensors start at offset. */
static Plan
plan_tensors(const EmbArch *arch, const EmbImageConfig *config, uint64_t offset, VisitTensor visit, void *ctx)
{
	Plan		plan = {.arch = arch, .config = config, .offset = offset, .visit = visit, .ctx = ctx};
	Slot		slots[MAX_SLOTS];

	for (int32_t layer = EMB_NO_LAYER; layer < arch->n_layers && !plan.stopped; layer++)
	{
		int			n = layer == EMB_NO_LAYER ? model_slots(arch, slots) : layer_slots(arch, layer, slots);

		for (int i = 0; i < n; i++)
			add_part(&plan, layer, &slots[i]);
	}
	return plan;
}

static bool
store_tensor(void *ctx, uint32_t i, const EmbImageTensor *t)
{
	((EmbImageTensor *) ctx)[i] = *t;
	return true;
}

uint32_t
emb_image_plan(const EmbArch *arch, const EmbImageConfig *config, EmbImageTensor *tensors)
{
	return plan_tensors(arch, config, 0, tensors != NULL ? store_tensor : NULL, tensors).n_tensors;
}

/* The table is sorted by layer. */
const EmbImageTensor *
emb_image_find(const EmbImageView *view, int32_t layer, EmbPart part, EmbTensorKind kind)
{
	uint32_t	lo = 0,
				hi = view->n_tensors;

	while (lo < hi)
	{
		uint32_t	mid = lo + (hi - lo) / 2;

		if (view->tensors[mid].key.layer < layer)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < view->n_tensors && view->tensors[lo].key.layer == layer; lo++)
	{
		if (view->tensors[lo].key.part == part && view->tensors[lo].key.kind == kind)
			return &view->tensors[lo];
	}
	return NULL;
}

/* ------------------------------------------------------------------ sections */

/* Fills the section table; returns the size of the image. */
static uint64_t
plan_sections(const EmbArch *arch, const EmbImageConfig *config, uint64_t strings_bytes, uint64_t tokenizer_bytes,
			  uint64_t reference_bytes, EmbImageSection sections[EMB_IMAGE_N_SECTIONS])
{
	const uint64_t sizes[EMB_IMAGE_N_SECTIONS] =
	{
		[EMB_SECTION_ARCH - 1] = sizeof(EmbArch),
		[EMB_SECTION_CONFIG - 1] = sizeof(EmbImageConfig),
		[EMB_SECTION_STRINGS - 1] = strings_bytes,
		[EMB_SECTION_TENSORS - 1] = emb_image_plan(arch, config, NULL) * sizeof(EmbImageTensor),
		[EMB_SECTION_TOKENIZER - 1] = tokenizer_bytes,
		[EMB_SECTION_REFERENCES - 1] = reference_bytes,
	};
	uint64_t	offset = emb_image_align(sizeof(EmbImageHeader) + EMB_IMAGE_N_SECTIONS * sizeof(EmbImageSection));

	for (int i = 0; i < EMB_IMAGE_N_SECTIONS; i++)
	{
		uint64_t	size = sizes[i];

		if (i == EMB_SECTION_WEIGHTS - 1)
			size = plan_tensors(arch, config, offset, NULL, NULL).offset - offset;
		sections[i] = (EmbImageSection) {.type = i + 1, .offset = offset, .size_bytes = size};
		offset = emb_image_align(offset + size);
	}
	return offset;
}

/* FNV-1a, 64 bits. Detects accidents only; the other checks do not rely on it. */
static uint64_t
checksum(const uint8_t *meta, uint64_t size)
{
	const uint64_t at = offsetof(EmbImageHeader, meta_checksum);
	uint64_t	h = UINT64_C(0xCBF29CE484222325);

	for (uint64_t i = 0; i < size; i++)
	{
		uint8_t		byte = i >= at && i < at + sizeof(uint64_t) ? 0 : meta[i];

		h = (h ^ byte) * UINT64_C(0x100000001B3);
	}
	return h;
}

bool
emb_image_is_zero(const uint8_t *p, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
	{
		if (p[i] != 0)
			return false;
	}
	return true;
}

/* Zeros in all fields, unless the model has a template. */
static EmbStatus
check_template(const EmbArch *arch, const EmbImageConfig *config, EmbError *err)
{
	const bool	has_template = arch->head == EMB_HEAD_ANSWER;
	const uint32_t *bytes = config->template_bytes;

	if (config->has_template != (uint32_t) has_template || config->takes_instruction > (uint32_t) has_template ||
		config->seam > (has_template ? bytes[EMB_TEMPLATE_BEFORE_DOCUMENT] + 1 : 0))
		return emb_error(err, EMB_ERR_FORMAT, "the image's template is corrupt");
	for (int i = 0; i < EMB_TEMPLATE_TEXTS; i++)
	{
		bool		is_of_instruction = i == EMB_TEMPLATE_BEFORE_INSTRUCTION || i == EMB_TEMPLATE_BEFORE_QUERY || i == EMB_TEMPLATE_INSTRUCTION;
		bool		may_be = has_template && (config->takes_instruction || !is_of_instruction);

		if (bytes[i] > (may_be ? EMB_TEMPLATE_MAX_BYTES : 0))
			return emb_error(err, EMB_ERR_FORMAT, "text %d of the image's template has %u bytes", i + 1, bytes[i]);
	}
	return EMB_OK;
}

/* Linear layers that there are, and only of an image that says so here. */
static bool
is_kept(const EmbArch *arch, const EmbImageConfig *config)
{
	int32_t		n = config->keep_int8 == EMB_KEEP_MEASURED ? arch->n_layers : 0;

	for (int32_t i = 0; i < n; i++)
	{
		if (config->kept[i] >> EMB_N_ROLES != 0)
			return false;
	}
	return emb_image_is_zero(config->kept + n, sizeof(config->kept) - n);
}

/* arch has passed emb_arch_check. */
static bool
is_group(const EmbImageConfig *config, bool is_static)
{
	bool		divides = config->group == 32 || config->group == 64 || config->group == 128;

	if (config->precision == EMB_PRECISION_INT4)
		return divides || config->group == EMB_IMAGE_GROUP_ROW;
	return config->group == 0 || (divides && config->precision == EMB_PRECISION_INT8 && !is_static);
}

static EmbStatus
check_config(const EmbArch *arch, const EmbImageConfig *config, uint64_t strings_bytes, EmbError *err)
{
	const bool	is_static = arch->n_layers == 0;
	const bool	is_i4 = config->precision == EMB_PRECISION_INT4;
	const struct
	{
		const char *name;
		uint32_t	value,
					min,
					max;
	}			fields[] =
	{
		{"precision", config->precision, EMB_PRECISION_FP32, is_static ? EMB_PRECISION_INT8 : EMB_PRECISION_INT4},
		{"max_tokens", config->max_tokens, 1, (uint32_t) arch->n_positions},
		{"max_chars", config->max_chars, 0, is_static ? INT32_MAX : 0},
		{"dropped id", config->dropped_id, 0, is_static ? (uint32_t) arch->n_vocab : 0},
		{"dimensions", config->dimensions, 0, arch->head == EMB_HEAD_NONE ? (uint32_t) emb_arch_width(arch) : 0},
		{"choice of layers that stay int8", config->keep_int8, EMB_KEEP_NONE, is_i4 ? EMB_KEEP_MEASURED : EMB_KEEP_NONE},
		{"order of inputs", config->has_order, 0, config->group != 0 ? 1 : 0},
		{"type of scales", config->scale_type, EMB_SCALE_F32, config->group != 0 ? EMB_SCALE_BF16 : EMB_SCALE_F32},
		{"choice of rows that are pooled", config->excludes_prompt, 0, arch->head == EMB_HEAD_NONE && !is_static ? 1 : 0},
		{"query prompt length", config->query_prompt_bytes, 0, EMB_IMAGE_MAX_PROMPT_BYTES},
		{"document prompt length", config->document_prompt_bytes, 0, EMB_IMAGE_MAX_PROMPT_BYTES},
	};
	EmbStatus	status;

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
	{
		if (fields[i].value < fields[i].min || fields[i].value > fields[i].max)
			return emb_error(err, EMB_ERR_FORMAT, "the image's %s is %u, outside %u..%u", fields[i].name,
							 fields[i].value, fields[i].min, fields[i].max);
	}
	if (!is_group(config, is_static))
		return emb_error(err, EMB_ERR_FORMAT, "the image's group is %u, which is no group of inputs of its precision", config->group);
	if (!is_kept(arch, config))
		return emb_error(err, EMB_ERR_FORMAT, "the image's list of linear layers that stay int8 is corrupt");
	if (arch->head != EMB_HEAD_NONE && (config->query_prompt_bytes != 0 || config->document_prompt_bytes != 0))
		return emb_error(err, EMB_ERR_FORMAT, "the image is of a reranker, but has the prompts of an embedding model");
	if (!emb_image_is_zero(config->reserved, sizeof(config->reserved)))
		return emb_error(err, EMB_ERR_FORMAT, "the image's configuration has bytes that must be zero");
	status = check_template(arch, config, err);
	if (status != EMB_OK)
		return status;
	if (config->query_prompt != 0 ||
		config->document_prompt != config->query_prompt_bytes + 1 ||
		strings_bytes != emb_image_template_text(config, EMB_TEMPLATE_TEXTS))
		return emb_error(err, EMB_ERR_FORMAT, "the image's prompts and template do not fill its strings");
	return EMB_OK;
}

EmbStatus
emb_image_check_config(const EmbArch *arch, const EmbImageConfig *config, uint64_t strings_bytes, EmbError *err)
{
	EmbStatus	status = emb_arch_check(arch, err);

	return status == EMB_OK ? check_config(arch, config, strings_bytes, err) : status;
}

/* Points view to the parts of an image. The section table must be correct. */
static void
point_view(EmbImageView *view, const uint8_t *meta, const uint8_t *base, uint64_t size)
{
	view->base = base;
	view->size_bytes = size;
	view->header = (const EmbImageHeader *) meta;
	view->sections = (const EmbImageSection *) (meta + sizeof(EmbImageHeader));
	view->arch = (const EmbArch *) (meta + emb_image_section(view, EMB_SECTION_ARCH)->offset);
	view->config = (const EmbImageConfig *) (meta + emb_image_section(view, EMB_SECTION_CONFIG)->offset);
	view->strings = (const char *) (meta + emb_image_section(view, EMB_SECTION_STRINGS)->offset);
	view->tensors = (const EmbImageTensor *) (meta + emb_image_section(view, EMB_SECTION_TENSORS)->offset);
	view->n_tensors = (uint32_t) (emb_image_section(view, EMB_SECTION_TENSORS)->size_bytes / sizeof(EmbImageTensor));
	view->references = (const EmbImageReferences *) (base + emb_image_section(view, EMB_SECTION_REFERENCES)->offset);
}

uint64_t
emb_image_planned_bytes(const EmbImageParts *parts)
{
	EmbImageSection sections[EMB_IMAGE_N_SECTIONS];

	return plan_sections(&parts->arch, &parts->config, parts->strings_bytes, parts->tokenizer_bytes, parts->reference_bytes, sections);
}

/* Fills in what stands before the tokenizer. */
static void
write_meta(const EmbImageParts *parts, const EmbImageSection sections[EMB_IMAGE_N_SECTIONS], uint64_t image_bytes, uint8_t *head)
{
	const EmbArch *arch = &parts->arch;
	const EmbImageConfig *config = &parts->config;
	EmbImageHeader *header = (EmbImageHeader *) head;

	memcpy(header->magic, EMB_IMAGE_MAGIC, sizeof(header->magic));
	header->layout_version = EMB_IMAGE_LAYOUT_VERSION;
	header->numerics_version = EMB_IMAGE_NUMERICS_VERSION;
	header->size_bytes = image_bytes;
	header->kind = parts->kind;
	header->n_sections = EMB_IMAGE_N_SECTIONS;
	memcpy(head + sizeof(*header), sections, EMB_IMAGE_N_SECTIONS * sizeof(*sections));
	memcpy(head + sections[EMB_SECTION_ARCH - 1].offset, arch, sizeof(*arch));
	memcpy(head + sections[EMB_SECTION_CONFIG - 1].offset, config, sizeof(*config));
	memcpy(head + sections[EMB_SECTION_STRINGS - 1].offset, parts->strings, parts->strings_bytes);
	plan_tensors(arch, config, sections[EMB_SECTION_WEIGHTS - 1].offset, store_tensor,
				 head + sections[EMB_SECTION_TENSORS - 1].offset);
	header->meta_checksum = checksum(head, sections[EMB_SECTION_TOKENIZER - 1].offset);
}

EmbStatus
emb_image_begin(const EmbImageParts *parts, const EmbAllocator *mem, uint8_t **head, uint64_t *head_bytes,
				EmbImageView *view, EmbError *err)
{
	EmbImageSection sections[EMB_IMAGE_N_SECTIONS];
	uint64_t	image_bytes = plan_sections(&parts->arch, &parts->config, parts->strings_bytes, parts->tokenizer_bytes,
											parts->reference_bytes, sections);
	uint64_t	n_tensors = sections[EMB_SECTION_TENSORS - 1].size_bytes / sizeof(EmbImageTensor);

	*head_bytes = sections[EMB_SECTION_WEIGHTS - 1].offset;
	/* the places follow the head, which ends at a multiple of 64 */
	*head = image_bytes > SIZE_MAX ? NULL : emb_alloc_zero(mem, 1, *head_bytes + n_tensors * sizeof(uint8_t *));
	if (*head == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the front of an image (%llu bytes)", (unsigned long long) *head_bytes);
	write_meta(parts, sections, image_bytes, *head);
	memcpy(*head + sections[EMB_SECTION_TOKENIZER - 1].offset, parts->tokenizer, parts->tokenizer_bytes);
	memset(view, 0, sizeof(*view));
	point_view(view, *head, *head, image_bytes);
	view->references = NULL;
	view->places = (const uint8_t *const *) (*head + *head_bytes);
	return EMB_OK;
}

static EmbStatus
check_header(const EmbImageHeader *header, size_t size, EmbError *err)
{
	if (size < sizeof(*header) || memcmp(header->magic, EMB_IMAGE_MAGIC, sizeof(header->magic)) != 0)
	{
		emb_error(err, EMB_ERR_FORMAT, "these %zu bytes are not a model image", size);
		return emb_error_hint(err, EMB_ERR_FORMAT, "Images are made by embed_import or by embed-cli pack.");
	}
	if (header->layout_version != EMB_IMAGE_LAYOUT_VERSION ||
		header->numerics_version != EMB_IMAGE_NUMERICS_VERSION)
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "the image has layout version %u and numerics version %u, not %d and %d",
				  header->layout_version, header->numerics_version,
				  EMB_IMAGE_LAYOUT_VERSION, EMB_IMAGE_NUMERICS_VERSION);
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Make the image again from the model's directory, with this version.");
	}
	if (header->size_bytes != size)
		return emb_error(err, EMB_ERR_FORMAT, "the image says it has %llu bytes, but has %zu",
						 (unsigned long long) header->size_bytes, size);
	if (header->n_sections != EMB_IMAGE_N_SECTIONS || !emb_image_is_zero(header->reserved, sizeof(header->reserved)) ||
		size < emb_image_align(sizeof(*header) + EMB_IMAGE_N_SECTIONS * sizeof(EmbImageSection)) + sizeof(EmbArch) + sizeof(EmbImageConfig))
		return emb_error(err, EMB_ERR_FORMAT, "the image's header is corrupt");
	return EMB_OK;
}

/*
 * The section table must equal the table computed from architecture,
 * configuration and the three free sizes. These sizes are limited by the
 * image's size before they are added.
 */
static EmbStatus
check_sections(EmbImageView *view, EmbError *err)
{
	EmbImageSection plan[EMB_IMAGE_N_SECTIONS];
	uint64_t	strings_bytes = emb_image_section(view, EMB_SECTION_STRINGS)->size_bytes;
	uint64_t	tokenizer_bytes = emb_image_section(view, EMB_SECTION_TOKENIZER)->size_bytes;
	uint64_t	reference_bytes = emb_image_section(view, EMB_SECTION_REFERENCES)->size_bytes;
	uint64_t	arch_offset = emb_image_align(sizeof(EmbImageHeader) + sizeof(plan));
	const uint8_t *meta = (const uint8_t *) view->header;
	EmbStatus	status;

	if (strings_bytes > view->size_bytes || tokenizer_bytes > view->size_bytes ||
		reference_bytes > view->size_bytes || reference_bytes < sizeof(EmbImageReferences))
		return emb_error(err, EMB_ERR_FORMAT, "the image's section table is corrupt");
	view->arch = (const EmbArch *) (meta + arch_offset);
	view->config = (const EmbImageConfig *) (meta + emb_image_align(arch_offset + sizeof(EmbArch)));
	status = emb_image_check_config(view->arch, view->config, strings_bytes, err);
	if (status != EMB_OK)
		return status;
	if (plan_sections(view->arch, view->config, strings_bytes, tokenizer_bytes, reference_bytes, plan) != view->size_bytes ||
		memcmp(plan, view->sections, sizeof(plan)) != 0)
		return emb_error(err, EMB_ERR_FORMAT, "the image's section table is corrupt");
	return EMB_OK;
}

static EmbStatus
check_strings(const EmbImageView *view, EmbError *err)
{
	const EmbImageConfig *config = view->config;

	if (strnlen(view->strings, config->query_prompt_bytes + 1) != config->query_prompt_bytes ||
		strnlen(view->strings + config->document_prompt, config->document_prompt_bytes + 1) != config->document_prompt_bytes)
		return emb_error(err, EMB_ERR_FORMAT, "the image's prompts are corrupt");
	for (int i = 0; config->has_template && i < EMB_TEMPLATE_TEXTS; i++)
	{
		uint32_t	n = config->template_bytes[i];

		if (strnlen(view->strings + emb_image_template_text(config, i), n + 1) != n)
			return emb_error(err, EMB_ERR_FORMAT, "the image's template is corrupt");
	}
	return EMB_OK;
}

static bool
tensor_is_planned(void *ctx, uint32_t i, const EmbImageTensor *t)
{
	return memcmp(t, &((const EmbImageView *) ctx)->tensors[i], sizeof(*t)) == 0;
}

static EmbStatus
check_tensor_table(EmbImageView *view, EmbError *err)
{
	if (plan_tensors(view->arch, view->config, emb_image_section(view, EMB_SECTION_WEIGHTS)->offset, tensor_is_planned, view).stopped)
		return emb_error(err, EMB_ERR_FORMAT, "the image's tensor table is corrupt");
	return EMB_OK;
}

/* The parts of the reference section must fill it. */
static EmbStatus
check_references(const EmbImageView *view, EmbError *err)
{
	const EmbImageReferences *refs = view->references;
	const EmbImageReference *entries = (const EmbImageReference *) (refs + 1);
	uint64_t	text_bytes = 0;

	if (refs->n_references > EMB_IMAGE_MAX_REFERENCES || refs->text_bytes > EMB_IMAGE_MAX_REFERENCE_TEXT ||
		!emb_image_is_zero(refs->reserved, sizeof(refs->reserved)) ||
		emb_image_reference_bytes(refs->n_references, emb_image_width(view->arch, view->config), refs->text_bytes) !=
		emb_image_section(view, EMB_SECTION_REFERENCES)->size_bytes)
		return emb_error(err, EMB_ERR_FORMAT, "the image's reference section is corrupt");
	for (uint32_t i = 0; i < refs->n_references; i++)
	{
		if (entries[i].query_bytes > entries[i].text_bytes)
			return emb_error(err, EMB_ERR_FORMAT, "reference %u of the image is corrupt", i + 1);
		text_bytes += entries[i].text_bytes;
	}
	if (text_bytes != refs->text_bytes)
		return emb_error(err, EMB_ERR_FORMAT, "the image's reference texts do not fill their place");
	return EMB_OK;
}

/* meta: the bytes before the tokenizer, or a copy of them. */
static EmbStatus
check_meta(EmbImageView *view, const uint8_t *meta, const void *base, size_t size, EmbError *err)
{
	EmbStatus	status;

	memset(view, 0, sizeof(*view));
	view->base = base;
	view->size_bytes = size;
	view->header = (const EmbImageHeader *) meta;
	if ((status = check_header(view->header, size, err)) != EMB_OK)
		return status;
	view->sections = (const EmbImageSection *) (meta + sizeof(EmbImageHeader));
	if ((status = check_sections(view, err)) != EMB_OK)
		return status;
	point_view(view, meta, base, size);
	if (checksum(meta, emb_image_section(view, EMB_SECTION_TOKENIZER)->offset) != view->header->meta_checksum)
		return emb_error(err, EMB_ERR_FORMAT, "the checksum of the image's header is wrong");
	if ((status = check_strings(view, err)) != EMB_OK || (status = check_tensor_table(view, err)) != EMB_OK)
		return status;
	return EMB_OK;
}

static EmbStatus
check_alignment(const void *base, EmbError *err)
{
	if ((uintptr_t) base % EMB_ALIGNMENT != 0)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the image is not aligned to %d bytes", EMB_ALIGNMENT);
	return EMB_OK;
}

EmbStatus
emb_image_view(const void *base, size_t size, EmbImageView *view, EmbError *err)
{
	EmbStatus	status;

	if ((status = check_alignment(base, err)) != EMB_OK || (status = check_meta(view, base, base, size, err)) != EMB_OK)
		return status;
	return check_references(view, err);
}

/*
 * The minimum number of bytes before the tokenizer: check_sections reads them
 * before it compares the table.
 */
static uint64_t
least_meta_bytes(void)
{
	return emb_image_align(emb_image_align(sizeof(EmbImageHeader) + EMB_IMAGE_N_SECTIONS * sizeof(EmbImageSection)) +
						   sizeof(EmbArch)) + sizeof(EmbImageConfig);
}

EmbStatus
emb_image_view_copy(const void *base, size_t size, const EmbAllocator *mem, void **copy, EmbImageView *view, EmbError *err)
{
	EmbImageHeader header;
	EmbImageSection sections[EMB_IMAGE_N_SECTIONS];
	uint64_t	meta_bytes;
	uint64_t	reference_bytes;
	uint8_t    *meta;
	EmbStatus	status;

	*copy = NULL;
	if ((status = check_alignment(base, err)) != EMB_OK)
		return status;
	memcpy(&header, base, size < sizeof(header) ? size : sizeof(header));
	if ((status = check_header(&header, size, err)) != EMB_OK)
		return status;
	memcpy(sections, (const uint8_t *) base + sizeof(header), sizeof(sections));
	meta_bytes = sections[EMB_SECTION_TOKENIZER - 1].offset;
	reference_bytes = sections[EMB_SECTION_REFERENCES - 1].size_bytes;
	if (meta_bytes < least_meta_bytes() || meta_bytes > size || reference_bytes > size)
		return emb_error(err, EMB_ERR_FORMAT, "the image's section table is corrupt");
	*copy = meta = emb_alloc_array(mem, 1, meta_bytes + reference_bytes);
	if (meta == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory opening a model");
	memcpy(meta, base, meta_bytes);
	/* the file may have changed: the copy has room for the sizes that were read first */
	if (memcmp(meta + sizeof(header), sections, sizeof(sections)) != 0)
		return emb_error(err, EMB_ERR_FORMAT, "the image's section table is corrupt");
	status = check_meta(view, meta, base, size, err);
	if (status == EMB_OK)
	{
		/* a section may begin where meta ends, so the copy has the image's alignment */
		memcpy(meta + meta_bytes, view->references, reference_bytes);
		view->references = (const EmbImageReferences *) (meta + meta_bytes);
		status = check_references(view, err);
	}
	return status;
}
