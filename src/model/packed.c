/*
 * packed.c
 *		Layout of images: computed when written, computed again and compared
 *		when read.
 */
#include "model/packed.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "encoder/encoder.h"
#include "import/hf_config.h"
#include "kernels/kernels.h"

/* Weights checked between two questions whether to stop: about 0.2 ms. */
#define CHECK_BLOCK_FLOATS	262144

/* Which size of the configuration a dimension is. */
typedef enum Dim
{
	DIM_ONE,
	DIM_HIDDEN,
	DIM_INTERMEDIATE,
	DIM_VOCAB,
	DIM_POSITIONS,
	DIM_TYPES
} Dim;

static const struct
{
	EmbTensorForm form;
	Dim			rows,
				cols;
	const char *name;			/* behind "encoder.layer.N." for those of a layer */
}			roles[EMB_N_ROLES] =
{
	[EMB_ROLE_WORD_EMBEDDING] = {EMB_FORM_ROWS_F32, DIM_VOCAB, DIM_HIDDEN, "embeddings.word_embeddings.weight"},
	[EMB_ROLE_POSITION_EMBEDDING] = {EMB_FORM_ROWS_F32, DIM_POSITIONS, DIM_HIDDEN, "embeddings.position_embeddings.weight"},
	[EMB_ROLE_TYPE_EMBEDDING] = {EMB_FORM_ROWS_F32, DIM_TYPES, DIM_HIDDEN, "embeddings.token_type_embeddings.weight"},
	[EMB_ROLE_EMBEDDING_GAMMA] = {EMB_FORM_VECTOR_F32, DIM_ONE, DIM_HIDDEN, "embeddings.LayerNorm.weight"},
	[EMB_ROLE_EMBEDDING_BETA] = {EMB_FORM_VECTOR_F32, DIM_ONE, DIM_HIDDEN, "embeddings.LayerNorm.bias"},
	[EMB_ROLE_QUERY] = {EMB_FORM_PANELS_F32, DIM_HIDDEN, DIM_HIDDEN, "attention.self.query.weight"},
	[EMB_ROLE_QUERY_BIAS] = {EMB_FORM_VECTOR_F32, DIM_ONE, DIM_HIDDEN, "attention.self.query.bias"},
	[EMB_ROLE_KEY] = {EMB_FORM_PANELS_F32, DIM_HIDDEN, DIM_HIDDEN, "attention.self.key.weight"},
	[EMB_ROLE_KEY_BIAS] = {EMB_FORM_VECTOR_F32, DIM_ONE, DIM_HIDDEN, "attention.self.key.bias"},
	[EMB_ROLE_VALUE] = {EMB_FORM_PANELS_F32, DIM_HIDDEN, DIM_HIDDEN, "attention.self.value.weight"},
	[EMB_ROLE_VALUE_BIAS] = {EMB_FORM_VECTOR_F32, DIM_ONE, DIM_HIDDEN, "attention.self.value.bias"},
	[EMB_ROLE_ATTN_OUT] = {EMB_FORM_PANELS_F32, DIM_HIDDEN, DIM_HIDDEN, "attention.output.dense.weight"},
	[EMB_ROLE_ATTN_OUT_BIAS] = {EMB_FORM_VECTOR_F32, DIM_ONE, DIM_HIDDEN, "attention.output.dense.bias"},
	[EMB_ROLE_ATTN_GAMMA] = {EMB_FORM_VECTOR_F32, DIM_ONE, DIM_HIDDEN, "attention.output.LayerNorm.weight"},
	[EMB_ROLE_ATTN_BETA] = {EMB_FORM_VECTOR_F32, DIM_ONE, DIM_HIDDEN, "attention.output.LayerNorm.bias"},
	[EMB_ROLE_FFN_UP] = {EMB_FORM_PANELS_F32, DIM_INTERMEDIATE, DIM_HIDDEN, "intermediate.dense.weight"},
	[EMB_ROLE_FFN_UP_BIAS] = {EMB_FORM_VECTOR_F32, DIM_ONE, DIM_INTERMEDIATE, "intermediate.dense.bias"},
	[EMB_ROLE_FFN_DOWN] = {EMB_FORM_PANELS_F32, DIM_HIDDEN, DIM_INTERMEDIATE, "output.dense.weight"},
	[EMB_ROLE_FFN_DOWN_BIAS] = {EMB_FORM_VECTOR_F32, DIM_ONE, DIM_HIDDEN, "output.dense.bias"},
	[EMB_ROLE_FFN_GAMMA] = {EMB_FORM_VECTOR_F32, DIM_ONE, DIM_HIDDEN, "output.LayerNorm.weight"},
	[EMB_ROLE_FFN_BETA] = {EMB_FORM_VECTOR_F32, DIM_ONE, DIM_HIDDEN, "output.LayerNorm.bias"},
};

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
		case DIM_POSITIONS:
			return config->n_positions;
		case DIM_TYPES:
			return config->n_types;
	}
	return 0;
}

const char *
emb_image_tensor_name(const EmbImageTensor *tensor, char *buf, size_t size)
{
	if (tensor->role < EMB_N_MODEL_ROLES)
		snprintf(buf, size, "%s", roles[tensor->role].name);
	else
		snprintf(buf, size, "encoder.layer.%u.%s", tensor->layer, roles[tensor->role].name);
	return buf;
}

/*
 * The tensor at a place of the table, given where the one before ends.
 * Sizes cannot overflow: emb_image_check_config bounds every dimension.
 */
static EmbImageTensor
plan_tensor(const EmbImageConfig *config, uint32_t i, uint64_t offset)
{
	EmbImageTensor t = {0};

	t.role = i < EMB_N_MODEL_ROLES ? i : EMB_N_MODEL_ROLES + (i - EMB_N_MODEL_ROLES) % EMB_N_LAYER_ROLES;
	t.layer = i < EMB_N_MODEL_ROLES ? 0 : (i - EMB_N_MODEL_ROLES) / EMB_N_LAYER_ROLES;
	t.form = roles[t.role].form;
	t.n_rows = dim_size(config, roles[t.role].rows);
	t.n_cols = dim_size(config, roles[t.role].cols);
	t.offset = offset;
	switch (roles[t.role].form)
	{
		case EMB_FORM_ROWS_F32:
			t.size_bytes = (uint64_t) t.n_rows * t.n_cols * sizeof(float);
			break;
		case EMB_FORM_PANELS_F32:
			t.size_bytes = emb_pack_f32_bytes(t.n_rows, t.n_cols);
			break;
		case EMB_FORM_VECTOR_F32:
			t.size_bytes = emb_image_align((uint64_t) t.n_cols * sizeof(float));
			break;
	}
	return t;
}

/* Where the weights end if they begin at offset; the table goes to tensors unless NULL. */
static uint64_t
plan_tensors(const EmbImageConfig *config, uint64_t offset, EmbImageTensor *tensors)
{
	for (uint32_t i = 0; i < emb_image_n_tensors(config); i++)
	{
		EmbImageTensor t = plan_tensor(config, i, offset);

		if (tensors != NULL)
			tensors[i] = t;
		offset = emb_image_align(offset + t.size_bytes);
	}
	return offset;
}

/* The section table; returns the size of the image. */
static uint64_t
plan_sections(const EmbImageConfig *config, uint64_t strings_bytes, uint64_t tokenizer_bytes,
			  EmbImageSection sections[EMB_IMAGE_N_SECTIONS])
{
	const uint64_t sizes[EMB_IMAGE_N_SECTIONS] =
	{
		[EMB_SECTION_CONFIG - 1] = sizeof(EmbImageConfig),
		[EMB_SECTION_STRINGS - 1] = strings_bytes,
		[EMB_SECTION_TENSORS - 1] = emb_image_n_tensors(config) * sizeof(EmbImageTensor),
		[EMB_SECTION_TOKENIZER - 1] = tokenizer_bytes,
	};
	uint64_t	offset = emb_image_align(sizeof(EmbImageHeader) + EMB_IMAGE_N_SECTIONS * sizeof(EmbImageSection));

	for (int i = 0; i < EMB_IMAGE_N_SECTIONS; i++)
	{
		uint64_t	size = sizes[i];

		if (i == EMB_SECTION_WEIGHTS - 1)
			size = plan_tensors(config, offset, NULL) - offset;
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

static bool
is_zero(const uint8_t *p, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
	{
		if (p[i] != 0)
			return false;
	}
	return true;
}

EmbStatus
emb_image_check_config(const EmbImageConfig *config, uint64_t strings_bytes, EmbError *err)
{
	const struct
	{
		const char *name;
		uint32_t	value,
					min,
					max;
	}			fields[] =
	{
		{"family", config->family, EMB_FAMILY_BERT, EMB_FAMILY_BERT},
		{"precision", config->precision, EMB_PRECISION_FP32, EMB_PRECISION_FP32},
		{"activation", config->activation, EMB_ACT_GELU, EMB_ACT_RELU},
		{"pooling", config->pooling, EMB_POOL_CLS, EMB_POOL_MEAN},
		{"normalize", config->normalize, 0, 1},
		{"hidden size", config->hidden, 1, EMB_HF_MAX_HIDDEN},
		{"layer count", config->n_layers, 1, EMB_HF_MAX_LAYERS},
		{"head count", config->n_heads, 1, EMB_HF_MAX_HIDDEN},
		{"intermediate size", config->intermediate, 1, EMB_HF_MAX_INTERMEDIATE},
		{"vocabulary size", config->n_vocab, 1, EMB_HF_MAX_VOCAB},
		{"position count", config->n_positions, 1, EMB_HF_MAX_POSITIONS},
		{"type count", config->n_types, 1, EMB_HF_MAX_TYPES},
		{"max_tokens", config->max_tokens, 1, config->n_positions},
		{"query prompt length", config->query_prompt_bytes, 0, EMB_HF_MAX_PROMPT_BYTES},
		{"document prompt length", config->document_prompt_bytes, 0, EMB_HF_MAX_PROMPT_BYTES},
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
	{
		if (fields[i].value < fields[i].min || fields[i].value > fields[i].max)
			return emb_error(err, EMB_ERR_FORMAT, "the image's %s is %u, outside %u..%u", fields[i].name,
							 fields[i].value, fields[i].min, fields[i].max);
	}
	if (config->hidden % config->n_heads != 0)
		return emb_error(err, EMB_ERR_FORMAT, "the image's hidden size %u is not a multiple of its head count %u",
						 config->hidden, config->n_heads);
	if (!(config->ln_eps >= 1e-31f && config->ln_eps <= 1.0f))
		return emb_error(err, EMB_ERR_FORMAT, "the image's layer norm epsilon is %g", config->ln_eps);
	if (!is_zero(config->reserved, sizeof(config->reserved)))
		return emb_error(err, EMB_ERR_FORMAT, "the image's configuration has bytes that must be zero");
	if (config->query_prompt != 0 ||
		config->document_prompt != config->query_prompt_bytes + 1 ||
		strings_bytes != (uint64_t) config->query_prompt_bytes + config->document_prompt_bytes + 2)
		return emb_error(err, EMB_ERR_FORMAT, "the image's prompts do not fill its strings");
	return EMB_OK;
}

EmbStatus
emb_image_build_meta(const EmbImageConfig *config, uint32_t kind, const char *strings, size_t strings_bytes,
					 size_t tokenizer_bytes, const EmbAllocator *mem, uint8_t **meta, EmbError *err)
{
	EmbImageSection sections[EMB_IMAGE_N_SECTIONS];
	EmbImageHeader *header;
	uint64_t	meta_bytes;
	uint64_t	image_bytes = plan_sections(config, strings_bytes, tokenizer_bytes, sections);

	meta_bytes = sections[EMB_SECTION_TOKENIZER - 1].offset;
	*meta = emb_alloc_zero(mem, 1, meta_bytes);
	if (*meta == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for an image's header (%llu bytes)",
						 (unsigned long long) meta_bytes);
	header = (EmbImageHeader *) *meta;
	memcpy(header->magic, EMB_IMAGE_MAGIC, sizeof(header->magic));
	header->layout_version = EMB_IMAGE_LAYOUT_VERSION;
	header->numerics_version = EMB_IMAGE_NUMERICS_VERSION;
	header->size_bytes = image_bytes;
	header->kind = kind;
	header->n_sections = EMB_IMAGE_N_SECTIONS;
	memcpy(*meta + sizeof(*header), sections, sizeof(sections));
	memcpy(*meta + sections[EMB_SECTION_CONFIG - 1].offset, config, sizeof(*config));
	memcpy(*meta + sections[EMB_SECTION_STRINGS - 1].offset, strings, strings_bytes);
	plan_tensors(config, sections[EMB_SECTION_WEIGHTS - 1].offset,
				 (EmbImageTensor *) (*meta + sections[EMB_SECTION_TENSORS - 1].offset));
	header->meta_checksum = checksum(*meta, meta_bytes);
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
	if (header->n_sections != EMB_IMAGE_N_SECTIONS || !is_zero(header->reserved, sizeof(header->reserved)) ||
		size < emb_image_align(sizeof(*header) + EMB_IMAGE_N_SECTIONS * sizeof(EmbImageSection)) + sizeof(EmbImageConfig))
		return emb_error(err, EMB_ERR_FORMAT, "the image's header is corrupt");
	return EMB_OK;
}

/*
 * The section table must be the one that the configuration and the two free
 * sizes give. Both sizes are bounded by the image's before they are added up.
 */
static EmbStatus
check_sections(EmbImageView *view, EmbError *err)
{
	EmbImageSection plan[EMB_IMAGE_N_SECTIONS];
	uint64_t	strings_bytes = emb_image_section(view, EMB_SECTION_STRINGS)->size_bytes;
	uint64_t	tokenizer_bytes = emb_image_section(view, EMB_SECTION_TOKENIZER)->size_bytes;
	uint64_t	config_offset = emb_image_align(sizeof(EmbImageHeader) + sizeof(plan));
	EmbStatus	status;

	if (strings_bytes > view->size_bytes || tokenizer_bytes > view->size_bytes)
		return emb_error(err, EMB_ERR_FORMAT, "the image's section table is corrupt");
	view->config = (const EmbImageConfig *) (view->base + config_offset);
	status = emb_image_check_config(view->config, strings_bytes, err);
	if (status != EMB_OK)
		return status;
	if (plan_sections(view->config, strings_bytes, tokenizer_bytes, plan) != view->size_bytes ||
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

static EmbStatus
check_tensor_table(const EmbImageView *view, EmbError *err)
{
	uint64_t	offset = emb_image_section(view, EMB_SECTION_WEIGHTS)->offset;

	for (uint32_t i = 0; i < emb_image_n_tensors(view->config); i++)
	{
		EmbImageTensor t = plan_tensor(view->config, i, offset);

		if (memcmp(&t, &view->tensors[i], sizeof(t)) != 0)
			return emb_error(err, EMB_ERR_FORMAT, "the image's tensor table is corrupt at entry %u", i);
		offset = emb_image_align(offset + t.size_bytes);
	}
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

	/* From here on every section lies inside the image. */
	view->strings = (const char *) view->base + emb_image_section(view, EMB_SECTION_STRINGS)->offset;
	view->tensors = (const EmbImageTensor *) (view->base + emb_image_section(view, EMB_SECTION_TENSORS)->offset);
	if (view->header->meta_checksum != checksum(view->base, emb_image_section(view, EMB_SECTION_TOKENIZER)->offset))
		return emb_error(err, EMB_ERR_FORMAT, "the checksum of the image's header is wrong");
	if ((status = check_strings(view, err)) != EMB_OK)
		return status;
	return check_tensor_table(view, err);
}

/* ------------------------------------------------------------ the weights */

/* Whether all of x are finite: no exponent of all ones. Written to vectorize. */
static bool
all_finite(const uint32_t *bits, size_t n)
{
	uint32_t	largest = 0;

	for (size_t i = 0; i < n; i++)
	{
		uint32_t	magnitude = bits[i] & 0x7FFFFFFF;

		largest = magnitude > largest ? magnitude : largest;
	}
	return largest < 0x7F800000;
}

static bool
panel_padding_is_zero(const EmbImageTensor *t, const uint8_t *data)
{
	uint32_t	n_rows = t->n_rows % EMB_PANEL;	/* of the last panel */
	const uint8_t *panel = data + (uint64_t) (t->n_rows / EMB_PANEL) * t->n_cols * EMB_PANEL * sizeof(float);

	for (uint32_t i = 0; n_rows > 0 && i < t->n_cols; i++)
	{
		if (!is_zero(panel + ((uint64_t) i * EMB_PANEL + n_rows) * sizeof(float), (EMB_PANEL - n_rows) * sizeof(float)))
			return false;
	}
	return true;
}

static EmbStatus
check_tensor(const EmbImageView *view, const EmbImageTensor *t, const EmbStop *stop, EmbError *err)
{
	const uint8_t *data = view->base + t->offset;
	uint64_t	n_floats = t->size_bytes / sizeof(float);
	uint64_t	end = emb_image_align(t->offset + t->size_bytes);
	char		name[128];
	bool		padding_ok = is_zero(data + t->size_bytes, end - t->offset - t->size_bytes);

	for (uint64_t i = 0; i < n_floats; i += CHECK_BLOCK_FLOATS)
	{
		uint64_t	n = n_floats - i < CHECK_BLOCK_FLOATS ? n_floats - i : CHECK_BLOCK_FLOATS;

		if (emb_should_stop(stop))
			return emb_error(err, EMB_ERR_CANCELLED, "cancelled while checking an image");
		if (!all_finite((const uint32_t *) (data + i * sizeof(float)), n))
			return emb_error(err, EMB_ERR_FORMAT, "the image's tensor %s has a weight that is not finite",
							 emb_image_tensor_name(t, name, sizeof(name)));
	}
	if (t->form == EMB_FORM_VECTOR_F32)
		padding_ok &= is_zero(data + (uint64_t) t->n_cols * sizeof(float), t->size_bytes - (uint64_t) t->n_cols * sizeof(float));
	if (t->form == EMB_FORM_PANELS_F32)
		padding_ok &= panel_padding_is_zero(t, data);
	if (!padding_ok)
		return emb_error(err, EMB_ERR_FORMAT, "the padding of the image's tensor %s is not zero",
						 emb_image_tensor_name(t, name, sizeof(name)));
	return EMB_OK;
}

EmbStatus
emb_image_check_weights(const EmbImageView *view, const EmbStop *stop, EmbError *err)
{
	uint64_t	end = sizeof(EmbImageHeader) + EMB_IMAGE_N_SECTIONS * sizeof(EmbImageSection);

	/* Padding before the tokenizer is under the checksum, but an image may be made to fit one. */
	for (int i = 0; i < EMB_IMAGE_N_SECTIONS; i++)
	{
		if (!is_zero(view->base + end, view->sections[i].offset - end))
			return emb_error(err, EMB_ERR_FORMAT, "the padding before section %d of the image is not zero", i + 1);
		end = view->sections[i].offset + view->sections[i].size_bytes;
	}
	for (uint32_t i = 0; i < emb_image_n_tensors(view->config); i++)
	{
		EmbStatus	status = check_tensor(view, &view->tensors[i], stop, err);

		if (status != EMB_OK)
			return status;
	}
	return EMB_OK;
}
