/*
 * image.c
 *		Layout of images: computed when written, computed again and compared
 *		when read.
 */
#include "image/image.h"

#include <stdio.h>
#include <string.h>

#include "import/hf_config.h"
#include "kernels/kernels.h"

/* Which size of the configuration a dimension is. */
typedef enum Dim
{
	DIM_ONE,
	DIM_HIDDEN,
	DIM_INTERMEDIATE,
	DIM_VOCAB,
	DIM_POSITION_ROWS,
	DIM_TYPES,
	DIM_HEADS,
	DIM_DISTANCES,
	DIM_POSITIONS,
	DIM_HEAD_SIZE,
	DIM_WIDE,
	DIM_MULTI,
	DIM_DENSE,
	DIM_DENSE_2
} Dim;

#define NONE		0
#define ROWS_F32	EMB_FORM_ROWS_F32
#define PANELS_F32	EMB_FORM_PANELS_F32
#define VECTOR_F32	EMB_FORM_VECTOR_F32
#define VECTOR_I32	EMB_FORM_VECTOR_I32
#define ROWS_I8		EMB_FORM_ROWS_I8
#define TILES_I8	EMB_FORM_TILES_I8

static const struct
{
	uint32_t	forms[EMB_PRECISION_INT8];	/* in fp32, in int8 */
	Dim			rows,
				cols;
	const char *name;			/* behind "encoder.layer.N." for those of a layer */
}			roles[EMB_N_ROLES] =
{
	[EMB_ROLE_WORD_EMBEDDING] = {{ROWS_F32, ROWS_I8}, DIM_VOCAB, DIM_HIDDEN, "embeddings.word_embeddings.weight"},
	[EMB_ROLE_WORD_EMBEDDING_SCALE] = {{NONE, VECTOR_F32}, DIM_ONE, DIM_VOCAB, "embeddings.word_embeddings.scale"},
	[EMB_ROLE_WORD_EMBEDDING_FACTOR] = {{NONE, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "embeddings.word_embeddings.factor"},
	[EMB_ROLE_POSITION_EMBEDDING] = {{ROWS_F32, ROWS_F32}, DIM_POSITION_ROWS, DIM_HIDDEN, "embeddings.position_embeddings.weight"},
	[EMB_ROLE_TYPE_EMBEDDING] = {{ROWS_F32, ROWS_F32}, DIM_TYPES, DIM_HIDDEN, "embeddings.token_type_embeddings.weight"},
	[EMB_ROLE_EMBEDDING_GAMMA] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "embeddings.LayerNorm.weight"},
	[EMB_ROLE_EMBEDDING_BETA] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "embeddings.LayerNorm.bias"},
	[EMB_ROLE_ATTN_IN_FACTOR] = {{NONE, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "attention.self.factor"},
	[EMB_ROLE_QUERY] = {{PANELS_F32, TILES_I8}, DIM_HIDDEN, DIM_HIDDEN, "attention.self.query.weight"},
	[EMB_ROLE_QUERY_SCALE] = {{NONE, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "attention.self.query.scale"},
	[EMB_ROLE_QUERY_SUMS] = {{NONE, VECTOR_I32}, DIM_ONE, DIM_HIDDEN, "attention.self.query.sums"},
	[EMB_ROLE_QUERY_BIAS] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "attention.self.query.bias"},
	[EMB_ROLE_KEY] = {{PANELS_F32, TILES_I8}, DIM_HIDDEN, DIM_HIDDEN, "attention.self.key.weight"},
	[EMB_ROLE_KEY_SCALE] = {{NONE, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "attention.self.key.scale"},
	[EMB_ROLE_KEY_SUMS] = {{NONE, VECTOR_I32}, DIM_ONE, DIM_HIDDEN, "attention.self.key.sums"},
	[EMB_ROLE_KEY_BIAS] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "attention.self.key.bias"},
	[EMB_ROLE_VALUE] = {{PANELS_F32, TILES_I8}, DIM_HIDDEN, DIM_HIDDEN, "attention.self.value.weight"},
	[EMB_ROLE_VALUE_SCALE] = {{NONE, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "attention.self.value.scale"},
	[EMB_ROLE_VALUE_SUMS] = {{NONE, VECTOR_I32}, DIM_ONE, DIM_HIDDEN, "attention.self.value.sums"},
	[EMB_ROLE_VALUE_BIAS] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "attention.self.value.bias"},
	[EMB_ROLE_ATTN_OUT] = {{PANELS_F32, TILES_I8}, DIM_HIDDEN, DIM_HIDDEN, "attention.output.dense.weight"},
	[EMB_ROLE_ATTN_OUT_SCALE] = {{NONE, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "attention.output.dense.scale"},
	[EMB_ROLE_ATTN_OUT_SUMS] = {{NONE, VECTOR_I32}, DIM_ONE, DIM_HIDDEN, "attention.output.dense.sums"},
	[EMB_ROLE_ATTN_OUT_BIAS] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "attention.output.dense.bias"},
	[EMB_ROLE_ATTN_GAMMA] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "attention.output.LayerNorm.weight"},
	[EMB_ROLE_ATTN_BETA] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "attention.output.LayerNorm.bias"},
	[EMB_ROLE_FFN_IN_FACTOR] = {{NONE, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "intermediate.factor"},
	[EMB_ROLE_FFN_UP] = {{PANELS_F32, TILES_I8}, DIM_WIDE, DIM_HIDDEN, "intermediate.dense.weight"},
	[EMB_ROLE_FFN_UP_SCALE] = {{NONE, VECTOR_F32}, DIM_ONE, DIM_WIDE, "intermediate.dense.scale"},
	[EMB_ROLE_FFN_UP_SUMS] = {{NONE, VECTOR_I32}, DIM_ONE, DIM_WIDE, "intermediate.dense.sums"},
	[EMB_ROLE_FFN_UP_BIAS] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_WIDE, "intermediate.dense.bias"},
	[EMB_ROLE_FFN_MID_FACTOR] = {{NONE, VECTOR_F32}, DIM_ONE, DIM_INTERMEDIATE, "output.factor"},
	[EMB_ROLE_FFN_DOWN] = {{PANELS_F32, TILES_I8}, DIM_HIDDEN, DIM_INTERMEDIATE, "output.dense.weight"},
	[EMB_ROLE_FFN_DOWN_SCALE] = {{NONE, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "output.dense.scale"},
	[EMB_ROLE_FFN_DOWN_SUMS] = {{NONE, VECTOR_I32}, DIM_ONE, DIM_HIDDEN, "output.dense.sums"},
	[EMB_ROLE_FFN_DOWN_BIAS] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "output.dense.bias"},
	[EMB_ROLE_FFN_GAMMA] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "output.LayerNorm.weight"},
	[EMB_ROLE_FFN_BETA] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "output.LayerNorm.bias"},
	[EMB_ROLE_POOLER] = {{PANELS_F32, PANELS_F32}, DIM_HIDDEN, DIM_HIDDEN, "pooler.dense.weight"},
	[EMB_ROLE_POOLER_BIAS] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "pooler.dense.bias"},
	[EMB_ROLE_CLASSIFIER] = {{ROWS_F32, ROWS_F32}, DIM_ONE, DIM_HIDDEN, "classifier.weight"},
	[EMB_ROLE_CLASSIFIER_BIAS] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_ONE, "classifier.bias"},
	[EMB_ROLE_DISTANCE_BIAS] = {{ROWS_F32, ROWS_F32}, DIM_HEADS, DIM_DISTANCES, "encoder.distance_bias.weight"},
	[EMB_ROLE_FINAL_GAMMA] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "final_norm.weight"},
	[EMB_ROLE_FINAL_BETA] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "final_norm.bias"},
	[EMB_ROLE_ROTARY] = {{ROWS_F32, ROWS_F32}, DIM_POSITIONS, DIM_HEAD_SIZE, "rotary.table"},
	[EMB_ROLE_ROTARY_LOCAL] = {{ROWS_F32, ROWS_F32}, DIM_POSITIONS, DIM_HEAD_SIZE, "rotary.local_table"},
	[EMB_ROLE_HEAD_GAMMA] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "head.norm.weight"},
	[EMB_ROLE_HEAD_BETA] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_HIDDEN, "head.norm.bias"},
	[EMB_ROLE_SPARSE] = {{ROWS_F32, ROWS_F32}, DIM_ONE, DIM_HIDDEN, "sparse_linear.weight"},
	[EMB_ROLE_SPARSE_BIAS] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_ONE, "sparse_linear.bias"},
	[EMB_ROLE_MULTI] = {{PANELS_F32, PANELS_F32}, DIM_MULTI, DIM_HIDDEN, "colbert_linear.weight"},
	[EMB_ROLE_MULTI_BIAS] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_MULTI, "colbert_linear.bias"},
	[EMB_ROLE_DENSE] = {{PANELS_F32, PANELS_F32}, DIM_DENSE, DIM_HIDDEN, "dense.0.linear.weight"},
	[EMB_ROLE_DENSE_BIAS] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_DENSE, "dense.0.linear.bias"},
	[EMB_ROLE_DENSE_2] = {{PANELS_F32, PANELS_F32}, DIM_DENSE_2, DIM_DENSE, "dense.1.linear.weight"},
	[EMB_ROLE_DENSE_2_BIAS] = {{VECTOR_F32, VECTOR_F32}, DIM_ONE, DIM_DENSE_2, "dense.1.linear.bias"},
};

static bool
has_trait(const EmbImageConfig *config, uint32_t trait)
{
	return (emb_hf_family_traits(config->family) & trait) != 0;
}

static bool
is_static(const EmbImageConfig *config)
{
	return has_trait(config, EMB_TRAIT_STATIC);
}

/* Whether images with this configuration have tensors of a role that not all have. */
static bool
has_role(const EmbImageConfig *config, uint32_t role)
{
	if (is_static(config) && role > EMB_ROLE_WORD_EMBEDDING_FACTOR && role < EMB_ROLE_DENSE)
		return false;
	switch (role)
	{
		case EMB_ROLE_TYPE_EMBEDDING:
			return config->n_types > 0;
		case EMB_ROLE_POSITION_EMBEDDING:
			return !has_trait(config, EMB_TRAIT_ROTARY);
		case EMB_ROLE_POOLER:
		case EMB_ROLE_CLASSIFIER:
		case EMB_ROLE_CLASSIFIER_BIAS:
			return config->head != EMB_HEAD_NONE;
		case EMB_ROLE_POOLER_BIAS:
			return config->head != EMB_HEAD_NONE && !(config->head_parts & EMB_HEAD_UNBIASED);
		case EMB_ROLE_HEAD_GAMMA:
		case EMB_ROLE_HEAD_BETA:
			return (config->head_parts & EMB_HEAD_NORM) != 0;
		case EMB_ROLE_DISTANCE_BIAS:
			return has_trait(config, EMB_TRAIT_DISTANCES);
		case EMB_ROLE_FINAL_GAMMA:
		case EMB_ROLE_FINAL_BETA:
			return has_trait(config, EMB_TRAIT_NORMS_FIRST);
		case EMB_ROLE_ROTARY:
			return has_trait(config, EMB_TRAIT_ROTARY);
		case EMB_ROLE_ROTARY_LOCAL:
			return has_trait(config, EMB_TRAIT_WINDOW);
		case EMB_ROLE_SPARSE:
		case EMB_ROLE_SPARSE_BIAS:
			return config->sparse > 0;
		case EMB_ROLE_MULTI:
		case EMB_ROLE_MULTI_BIAS:
			return config->multi_dim > 0;
		case EMB_ROLE_DENSE:
			return config->dense_outputs[0] > 0;
		case EMB_ROLE_DENSE_BIAS:
			return config->dense_outputs[0] > 0 && !(config->dense_steps & EMB_DENSE_UNBIASED);
		case EMB_ROLE_DENSE_2:
			return config->dense_outputs[1] > 0;
		case EMB_ROLE_DENSE_2_BIAS:
			return config->dense_outputs[1] > 0 && !(config->dense_steps & EMB_DENSE_UNBIASED_2);
		default:
			return true;
	}
}

static uint32_t
role_form(const EmbImageConfig *config, uint32_t role)
{
	return has_role(config, role) ? roles[role].forms[config->precision - 1] : NONE;
}

/* Scales and factors are what fp32 images do not have of this form. */
bool
emb_image_is_scale(const EmbImageTensor *t)
{
	return t->form == EMB_FORM_VECTOR_F32 && roles[t->role].forms[EMB_PRECISION_FP32 - 1] == NONE;
}

/* How many of the roles first .. end - 1 this precision and head have. */
static uint32_t
count_roles(const EmbImageConfig *config, uint32_t first, uint32_t end)
{
	uint32_t	n = 0;

	for (uint32_t role = first; role < end; role++)
		n += role_form(config, role) != NONE;
	return n;
}

uint32_t
emb_image_n_tensors(const EmbImageConfig *config)
{
	return count_roles(config, 0, EMB_N_MODEL_ROLES) +
		count_roles(config, EMB_N_MODEL_ROLES, EMB_N_LAYER_ROLES) * config->n_layers +
		count_roles(config, EMB_N_LAYER_ROLES, EMB_N_ROLES);
}

const EmbImageTensor *
emb_image_find(const EmbImageView *view, uint32_t layer, EmbTensorRole role)
{
	const EmbImageConfig *config = view->config;
	uint32_t	i = count_roles(config, 0, role);

	if (role_form(config, role) == NONE)
		return NULL;
	/* behind the layers, the count has one of them in it already; where there are none, the product wraps around */
	if (role >= EMB_N_LAYER_ROLES)
		layer = config->n_layers - 1;
	return &view->tensors[i + count_roles(config, EMB_N_MODEL_ROLES, EMB_N_LAYER_ROLES) * layer];
}

static uint32_t
dim_size(const EmbImageConfig *config, Dim dim)
{
	switch (dim)
	{
		case DIM_ONE:
			return 1;
		case DIM_HIDDEN:
			return config->hidden;
		case DIM_INTERMEDIATE:
			return config->intermediate;
		case DIM_VOCAB:
			return config->n_vocab;
		case DIM_POSITION_ROWS:
			return config->n_positions + (config->position_base > 0);
		case DIM_TYPES:
			return config->n_types;
		case DIM_HEADS:
			return config->n_heads;
		case DIM_DISTANCES:
			return EMB_DISTANCES;
		case DIM_POSITIONS:
			return config->n_positions;
		case DIM_HEAD_SIZE:
			return config->hidden / config->n_heads;
		case DIM_WIDE:
			return has_trait(config, EMB_TRAIT_GATED) ? 2 * config->intermediate : config->intermediate;
		case DIM_MULTI:
			return config->multi_dim;
		case DIM_DENSE:
			return config->dense_outputs[0];
		case DIM_DENSE_2:
			return config->dense_outputs[1];
	}
	return 0;
}

const char *
emb_image_tensor_name(const EmbImageTensor *tensor, char *buf, size_t size)
{
	if (tensor->role < EMB_N_MODEL_ROLES || tensor->role >= EMB_N_LAYER_ROLES)
		snprintf(buf, size, "%s", roles[tensor->role].name);
	else
		snprintf(buf, size, "encoder.layer.%u.%s", tensor->layer, roles[tensor->role].name);
	return buf;
}

/* Sizes cannot overflow: emb_image_check_config bounds every dimension. */
static uint64_t
form_bytes(uint32_t form, uint32_t n_rows, uint32_t n_cols)
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
			return emb_pack_i8_bytes(n_rows, n_cols);
	}
	return 0;
}

/* The tensor of a role, given where the one before ends. */
static EmbImageTensor
plan_tensor(const EmbImageConfig *config, uint32_t layer, uint32_t role, uint64_t offset)
{
	EmbImageTensor t = {
		.role = role,
		.layer = layer,
		.form = role_form(config, role),
		.n_rows = dim_size(config, roles[role].rows),
		.n_cols = dim_size(config, roles[role].cols),
		.offset = offset,
	};

	t.size_bytes = form_bytes(t.form, t.n_rows, t.n_cols);
	return t;
}

/* Calls visit for every tensor of the plan in turn; where the weights end if they begin at offset. */
typedef bool (*VisitTensor) (void *ctx, uint32_t i, const EmbImageTensor *t);

static uint64_t
plan_tensors(const EmbImageConfig *config, uint64_t offset, VisitTensor visit, void *ctx)
{
	uint32_t	i = 0;

	for (uint32_t part = 0; part <= config->n_layers + 1; part++)
	{
		bool		in_layer = part > 0 && part <= config->n_layers;
		uint32_t	first = part == 0 ? 0 : in_layer ? EMB_N_MODEL_ROLES : EMB_N_LAYER_ROLES;
		uint32_t	end = part == 0 ? EMB_N_MODEL_ROLES : in_layer ? EMB_N_LAYER_ROLES : EMB_N_ROLES;

		for (uint32_t role = first; role < end; role++)
		{
			EmbImageTensor t;

			if (role_form(config, role) == NONE)
				continue;
			t = plan_tensor(config, in_layer ? part - 1 : 0, role, offset);
			if (visit != NULL && !visit(ctx, i, &t))
				return 0;
			offset = emb_image_align(offset + t.size_bytes);
			i++;
		}
	}
	return offset;
}

static bool
store_tensor(void *ctx, uint32_t i, const EmbImageTensor *t)
{
	((EmbImageTensor *) ctx)[i] = *t;
	return true;
}

void
emb_image_plan_tensors(const EmbImageConfig *config, EmbImageTensor *tensors)
{
	plan_tensors(config, 0, store_tensor, tensors);
}

/* The section table; returns the size of the image. */
static uint64_t
plan_sections(const EmbImageConfig *config, uint64_t strings_bytes, uint64_t tokenizer_bytes,
			  uint64_t reference_bytes, EmbImageSection sections[EMB_IMAGE_N_SECTIONS])
{
	const uint64_t sizes[EMB_IMAGE_N_SECTIONS] =
	{
		[EMB_SECTION_CONFIG - 1] = sizeof(EmbImageConfig),
		[EMB_SECTION_STRINGS - 1] = strings_bytes,
		[EMB_SECTION_TENSORS - 1] = emb_image_n_tensors(config) * sizeof(EmbImageTensor),
		[EMB_SECTION_TOKENIZER - 1] = tokenizer_bytes,
		[EMB_SECTION_REFERENCES - 1] = reference_bytes,
	};
	uint64_t	offset = emb_image_align(sizeof(EmbImageHeader) + EMB_IMAGE_N_SECTIONS * sizeof(EmbImageSection));

	for (int i = 0; i < EMB_IMAGE_N_SECTIONS; i++)
	{
		uint64_t	size = sizes[i];

		if (i == EMB_SECTION_WEIGHTS - 1)
			size = plan_tensors(config, offset, NULL, NULL) - offset;
		sections[i] = (EmbImageSection) {.type = i + 1, .offset = offset, .size_bytes = size};
		offset = emb_image_align(offset + size);
	}
	return offset;
}

/* FNV-1a, 64 bits: against accidents only; the checks stand without it. */
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

/* What only some families have, and these always; the family itself is known to exist. */
static EmbStatus
check_traits(const EmbImageConfig *config, EmbError *err)
{
	const struct
	{
		const char *name;
		uint32_t	value,
					trait;
		bool		has_static; /* static models may have it, too */
	}			fields[] =
	{
		{"position base", config->position_base, EMB_TRAIT_SKIPS_PADDING, true},
		{"window", config->window, EMB_TRAIT_WINDOW, true},
		{"global_every", config->global_every, EMB_TRAIT_WINDOW, false},
		{"type count", config->n_types, EMB_TRAIT_TYPES, false},
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
	{
		bool		optional = (fields[i].trait == EMB_TRAIT_TYPES && has_trait(config, EMB_TRAIT_TYPES_OPTIONAL)) ||
			(fields[i].has_static && is_static(config));

		if ((fields[i].value > 0) != has_trait(config, fields[i].trait) && !optional)
			return emb_error(err, EMB_ERR_FORMAT, "the image's %s %u is not one of family %s", fields[i].name, fields[i].value,
							 emb_hf_family_name(config->family));
	}
	if (has_trait(config, EMB_TRAIT_ROTARY) && config->hidden / config->n_heads % 2 != 0)
		return emb_error(err, EMB_ERR_FORMAT, "the image's head size %u is odd: nothing to rotate", config->hidden / config->n_heads);
	return EMB_OK;
}

/* Those that its dense layers may have. */
static uint32_t
dense_flags(const EmbImageConfig *config)
{
	return config->dense_outputs[0] == 0 ? 0
		: EMB_DENSE_NORMALIZE_POOLED | EMB_DENSE_UNBIASED |
		(config->dense_outputs[1] > 0 ? EMB_DENSE_NORMALIZE_BETWEEN | EMB_DENSE_UNBIASED_2 : 0);
}

EmbStatus
emb_image_check_config(const EmbImageConfig *config, uint64_t strings_bytes, EmbError *err)
{
	/* of what comes with layers; without them all of it is 0 */
	const uint32_t n_min = is_static(config) ? 0 : 1;
	EmbStatus	status;
	const struct
	{
		const char *name;
		uint32_t	value,
					min,
					max;
	}			fields[] =
	{
		{"family", config->family, EMB_FAMILY_BERT, EMB_N_FAMILIES},
		{"precision", config->precision, EMB_PRECISION_FP32, EMB_PRECISION_INT8},
		{"activation", config->activation, n_min, n_min * (has_trait(config, EMB_TRAIT_GATED) ? EMB_ACT_SILU : EMB_ACT_RELU)},
		{"pooling", config->pooling, EMB_POOL_CLS, EMB_POOL_MEAN_SQRT_LEN},
		{"normalize", config->normalize, 0, 1},
		{"hidden size", config->hidden, 1, EMB_ARCH_MAX_HIDDEN},
		{"layer count", config->n_layers, n_min, n_min * EMB_ARCH_MAX_LAYERS},
		{"head count", config->n_heads, n_min, n_min * EMB_ARCH_MAX_HIDDEN},
		{"intermediate size", config->intermediate, n_min, n_min * EMB_ARCH_MAX_INTERMEDIATE},
		{"vocabulary size", config->n_vocab, 1, EMB_ARCH_MAX_VOCAB},
		{"position count", config->n_positions, 1, EMB_ARCH_MAX_POSITIONS},
		{"type count", config->n_types, 0, EMB_ARCH_MAX_TYPES},
		{"max_tokens", config->max_tokens, 1, config->n_positions},
		{"query prompt length", config->query_prompt_bytes, 0, EMB_HF_MAX_PROMPT_BYTES},
		{"document prompt length", config->document_prompt_bytes, 0, EMB_HF_MAX_PROMPT_BYTES},
		{"head", config->head, EMB_HEAD_NONE, n_min * EMB_HEAD_SCORE},
		{"head's activation", config->head_activation, 0, config->head == EMB_HEAD_NONE ? 0 : EMB_ACT_RELU},
		{"head's parts", config->head_parts, 0, config->head == EMB_HEAD_NONE ? 0 : EMB_HEAD_NORM | EMB_HEAD_UNBIASED},
		{"dense layer's size", config->dense_outputs[0], 0, config->head == EMB_HEAD_NONE ? EMB_ARCH_MAX_HIDDEN : 0},
		{"second dense layer's size", config->dense_outputs[1], 0, config->dense_outputs[0] > 0 ? EMB_ARCH_MAX_HIDDEN : 0},
		{"dense layers' steps", config->dense_steps & ~(0xFFFFU | dense_flags(config)), 0, 0},
		{"dense layer's activation", emb_image_dense_activation(config, 0), 0, config->dense_outputs[0] > 0 ? EMB_ACT_TANH : 0},
		{"second dense layer's activation", emb_image_dense_activation(config, 1), 0, config->dense_outputs[1] > 0 ? EMB_ACT_TANH : 0},
		{"dimensions", config->dimensions, 0, config->head == EMB_HEAD_NONE ? emb_image_full_width(config) : 0},
		{"position base", config->position_base, 0, config->n_vocab},
		{"window", config->window, 0, n_min == 0 ? INT32_MAX : EMB_ARCH_MAX_POSITIONS},
		{"count of layers from one that is global to the next", config->global_every, 0, EMB_ARCH_MAX_LAYERS},
		{"sparse head", config->sparse, 0, n_min},
		{"token vectors' size", config->multi_dim, 0, n_min * EMB_ARCH_MAX_HIDDEN},
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
	{
		if (fields[i].value < fields[i].min || fields[i].value > fields[i].max)
			return emb_error(err, EMB_ERR_FORMAT, "the image's %s is %u, outside %u..%u", fields[i].name,
							 fields[i].value, fields[i].min, fields[i].max);
	}
	if (n_min > 0 && config->hidden % config->n_heads != 0)
		return emb_error(err, EMB_ERR_FORMAT, "the image's hidden size %u is not a multiple of its head count %u",
						 config->hidden, config->n_heads);
	if (n_min > 0 ? !(config->ln_eps >= 1e-31f && config->ln_eps <= 1.0f) : config->ln_eps != 0)
		return emb_error(err, EMB_ERR_FORMAT, "the image's layer norm epsilon is %g", config->ln_eps);
	status = check_traits(config, err);
	if (status != EMB_OK)
		return status;
	if (config->head == EMB_HEAD_SCORE &&
		(config->normalize != 0 || config->query_prompt_bytes != 0 || config->document_prompt_bytes != 0 ||
		 config->sparse != 0 || config->multi_dim != 0))
		return emb_error(err, EMB_ERR_FORMAT, "the image is of a reranker, but has the norm, prompts or token heads of an embedding model");
	if (!emb_image_is_zero(config->reserved, sizeof(config->reserved)))
		return emb_error(err, EMB_ERR_FORMAT, "the image's configuration has bytes that must be zero");
	if (config->query_prompt != 0 ||
		config->document_prompt != config->query_prompt_bytes + 1 ||
		strings_bytes != (uint64_t) config->query_prompt_bytes + config->document_prompt_bytes + 2)
		return emb_error(err, EMB_ERR_FORMAT, "the image's prompts do not fill its strings");
	return EMB_OK;
}

/* The parts of an image whose section table is right. */
static void
point_view(EmbImageView *view, const uint8_t *base, uint64_t size)
{
	view->base = base;
	view->size_bytes = size;
	view->header = (const EmbImageHeader *) base;
	view->sections = (const EmbImageSection *) (base + sizeof(EmbImageHeader));
	view->config = (const EmbImageConfig *) (base + emb_image_section(view, EMB_SECTION_CONFIG)->offset);
	view->strings = (const char *) (base + emb_image_section(view, EMB_SECTION_STRINGS)->offset);
	view->tensors = (const EmbImageTensor *) (base + emb_image_section(view, EMB_SECTION_TENSORS)->offset);
	view->references = (const EmbImageReferences *) (base + emb_image_section(view, EMB_SECTION_REFERENCES)->offset);
}

uint64_t
emb_image_planned_bytes(const EmbImageParts *parts)
{
	EmbImageSection sections[EMB_IMAGE_N_SECTIONS];

	return plan_sections(&parts->config, parts->strings_bytes, parts->tokenizer_bytes, parts->reference_bytes, sections);
}

EmbStatus
emb_image_build(const EmbImageParts *parts, const EmbAllocator *mem,
				uint8_t **image, EmbImageView *view, EmbError *err)
{
	const EmbImageConfig *config = &parts->config;
	EmbImageSection sections[EMB_IMAGE_N_SECTIONS];
	EmbImageHeader *header;
	uint64_t	image_bytes = plan_sections(config, parts->strings_bytes, parts->tokenizer_bytes,
											parts->reference_bytes, sections);
	uint64_t	meta_bytes = sections[EMB_SECTION_TOKENIZER - 1].offset;

	if (image_bytes > SIZE_MAX || (*image = emb_alloc_zero(mem, 1, image_bytes)) == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for an image of %llu bytes", (unsigned long long) image_bytes);
	header = (EmbImageHeader *) *image;
	memcpy(header->magic, EMB_IMAGE_MAGIC, sizeof(header->magic));
	header->layout_version = EMB_IMAGE_LAYOUT_VERSION;
	header->numerics_version = EMB_IMAGE_NUMERICS_VERSION;
	header->size_bytes = image_bytes;
	header->kind = parts->kind;
	header->n_sections = EMB_IMAGE_N_SECTIONS;
	memcpy(*image + sizeof(*header), sections, sizeof(sections));
	memcpy(*image + sections[EMB_SECTION_CONFIG - 1].offset, config, sizeof(*config));
	memcpy(*image + sections[EMB_SECTION_STRINGS - 1].offset, parts->strings, parts->strings_bytes);
	plan_tensors(config, sections[EMB_SECTION_WEIGHTS - 1].offset, store_tensor,
				 *image + sections[EMB_SECTION_TENSORS - 1].offset);
	header->meta_checksum = checksum(*image, meta_bytes);
	memcpy(*image + meta_bytes, parts->tokenizer, parts->tokenizer_bytes);
	point_view(view, *image, image_bytes);
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
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Import the model's directory again with this version.");
	}
	if (header->size_bytes != size)
		return emb_error(err, EMB_ERR_FORMAT, "the image says it has %llu bytes, but has %zu",
						 (unsigned long long) header->size_bytes, size);
	if (header->n_sections != EMB_IMAGE_N_SECTIONS || !emb_image_is_zero(header->reserved, sizeof(header->reserved)) ||
		size < emb_image_align(sizeof(*header) + EMB_IMAGE_N_SECTIONS * sizeof(EmbImageSection)) + sizeof(EmbImageConfig))
		return emb_error(err, EMB_ERR_FORMAT, "the image's header is corrupt");
	return EMB_OK;
}

/*
 * The section table must be the one that the configuration and the three free
 * sizes give. They are bounded by the image's size before they are added up.
 */
static EmbStatus
check_sections(EmbImageView *view, EmbError *err)
{
	EmbImageSection plan[EMB_IMAGE_N_SECTIONS];
	uint64_t	strings_bytes = emb_image_section(view, EMB_SECTION_STRINGS)->size_bytes;
	uint64_t	tokenizer_bytes = emb_image_section(view, EMB_SECTION_TOKENIZER)->size_bytes;
	uint64_t	reference_bytes = emb_image_section(view, EMB_SECTION_REFERENCES)->size_bytes;
	uint64_t	config_offset = emb_image_align(sizeof(EmbImageHeader) + sizeof(plan));
	EmbStatus	status;

	if (strings_bytes > view->size_bytes || tokenizer_bytes > view->size_bytes ||
		reference_bytes > view->size_bytes || reference_bytes < sizeof(EmbImageReferences))
		return emb_error(err, EMB_ERR_FORMAT, "the image's section table is corrupt");
	view->config = (const EmbImageConfig *) (view->base + config_offset);
	status = emb_image_check_config(view->config, strings_bytes, err);
	if (status != EMB_OK)
		return status;
	if (plan_sections(view->config, strings_bytes, tokenizer_bytes, reference_bytes, plan) != view->size_bytes ||
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
	if (plan_tensors(view->config, emb_image_section(view, EMB_SECTION_WEIGHTS)->offset, tensor_is_planned, view) == 0)
		return emb_error(err, EMB_ERR_FORMAT, "the image's tensor table is corrupt");
	return EMB_OK;
}

/* The reference section's parts fill it. */
static EmbStatus
check_references(const EmbImageView *view, EmbError *err)
{
	const EmbImageReferences *refs = view->references;
	const EmbImageReference *entries = (const EmbImageReference *) (refs + 1);
	uint64_t	text_bytes = 0;

	if (refs->n_references > EMB_IMAGE_MAX_REFERENCES || refs->text_bytes > EMB_IMAGE_MAX_REFERENCE_TEXT ||
		!emb_image_is_zero(refs->reserved, sizeof(refs->reserved)) ||
		emb_image_reference_bytes(refs->n_references, emb_image_width(view->config), refs->text_bytes) !=
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

EmbStatus
emb_image_view(const void *base, size_t size, EmbImageView *view, EmbError *err)
{
	EmbStatus	status;

	if ((uintptr_t) base % EMB_ALIGNMENT != 0)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the image is not aligned to %d bytes", EMB_ALIGNMENT);
	memset(view, 0, sizeof(*view));
	view->base = base;
	view->size_bytes = size;
	view->header = base;
	if ((status = check_header(view->header, size, err)) != EMB_OK)
		return status;
	view->sections = (const EmbImageSection *) (view->base + sizeof(EmbImageHeader));
	if ((status = check_sections(view, err)) != EMB_OK)
		return status;
	point_view(view, base, size);
	if (checksum(view->base, emb_image_section(view, EMB_SECTION_TOKENIZER)->offset) != view->header->meta_checksum)
		return emb_error(err, EMB_ERR_FORMAT, "the checksum of the image's header is wrong");
	if ((status = check_strings(view, err)) != EMB_OK || (status = check_tensor_table(view, err)) != EMB_OK)
		return status;
	return check_references(view, err);
}
