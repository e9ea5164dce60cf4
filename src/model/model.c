/*
 * model.c
 *		Opening an image in place; names; what the levels of the kernels look
 *		like from outside.
 */
#include "model/model.h"

#include <string.h>

#include "common/utf8.h"
#include "kernels/kernels.h"

bool
emb_name_is_valid(const char *name, size_t len)
{
	if (len < 1 || len > EMB_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
	{
		char		c = name[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			  c == '.' || c == '_' || c == '-' || c == '/'))
			return false;
	}
	return true;
}

static const char *
pooling_name(uint32_t pooling)
{
	return pooling == EMB_POOL_CLS ? "cls" : "mean";
}

static void
fill_info(EmbModel *model)
{
	const EmbImageConfig *config = model->view.config;

	model->query_prompt_bytes = config->query_prompt_bytes;
	model->document_prompt_bytes = config->document_prompt_bytes;
	model->info = (EmbModelInfo) {
		.kind = EMB_KIND_EMBEDDING,
		.family = "bert",
		.precision = "fp32",
		.pooling = pooling_name(config->pooling),
		.normalize = config->normalize != 0,
		.dim = (int32_t) config->hidden,
		.hidden = (int32_t) config->hidden,
		.n_layers = (int32_t) config->n_layers,
		.n_heads = (int32_t) config->n_heads,
		.intermediate = (int32_t) config->intermediate,
		.n_vocab = (int32_t) config->n_vocab,
		.max_tokens = (int32_t) config->max_tokens,
		.query_prompt = model->view.strings + config->query_prompt,
		.document_prompt = model->view.strings + config->document_prompt,
		.size_bytes = (int64_t) model->view.size_bytes,
		.layout_version = model->view.header->layout_version,
		.numerics_version = model->view.header->numerics_version,
	};
}

/* The weights of a role; the tensor table is known to be in the planned order. */
static const float *
weights(const EmbModel *model, uint32_t layer, EmbTensorRole role)
{
	uint32_t	i = role < EMB_N_MODEL_ROLES ? role : role + EMB_N_LAYER_ROLES * layer;

	return (const float *) (model->view.base + model->view.tensors[i].offset);
}

static EmbLinear
linear(const EmbModel *model, uint32_t layer, EmbTensorRole role)
{
	const EmbImageTensor *t = &model->view.tensors[role + EMB_N_LAYER_ROLES * layer];

	/* the bias follows its weight in the enumeration */
	return (EmbLinear) {
		.n_out = (int32_t) t->n_rows,
		.n_in = (int32_t) t->n_cols,
		.weight = weights(model, layer, role),
		.bias = weights(model, layer, role + 1),
	};
}

static EmbLayerNorm
layer_norm(const EmbModel *model, uint32_t layer, EmbTensorRole gamma)
{
	return (EmbLayerNorm) {.gamma = weights(model, layer, gamma), .beta = weights(model, layer, gamma + 1)};
}

static void
fill_bert(EmbModel *model)
{
	const EmbImageConfig *config = model->view.config;

	model->bert = (EmbBert) {
		.hidden = (int32_t) config->hidden,
		.n_layers = (int32_t) config->n_layers,
		.n_heads = (int32_t) config->n_heads,
		.intermediate = (int32_t) config->intermediate,
		.n_vocab = (int32_t) config->n_vocab,
		.n_positions = (int32_t) config->n_positions,
		.n_types = (int32_t) config->n_types,
		.activation = (EmbActivation) config->activation,
		.pooling = (EmbPooling) config->pooling,
		.normalize = config->normalize != 0,
		.ln_eps = config->ln_eps,
		.word_embedding = weights(model, 0, EMB_ROLE_WORD_EMBEDDING),
		.position_embedding = weights(model, 0, EMB_ROLE_POSITION_EMBEDDING),
		.type_embedding = weights(model, 0, EMB_ROLE_TYPE_EMBEDDING),
		.embedding_norm = layer_norm(model, 0, EMB_ROLE_EMBEDDING_GAMMA),
		.layers = model->layers,
	};
	for (uint32_t i = 0; i < config->n_layers; i++)
		model->layers[i] = (EmbBertLayer) {
			.query = linear(model, i, EMB_ROLE_QUERY),
			.key = linear(model, i, EMB_ROLE_KEY),
			.value = linear(model, i, EMB_ROLE_VALUE),
			.attn_out = linear(model, i, EMB_ROLE_ATTN_OUT),
			.ffn_up = linear(model, i, EMB_ROLE_FFN_UP),
			.ffn_down = linear(model, i, EMB_ROLE_FFN_DOWN),
			.attn_norm = layer_norm(model, i, EMB_ROLE_ATTN_GAMMA),
			.ffn_norm = layer_norm(model, i, EMB_ROLE_FFN_GAMMA),
		};
}

/* The tokenizer's ids must have rows, and the template must leave room for text. */
static EmbStatus
open_tokenizer(EmbModel *model, bool check_all, EmbError *err)
{
	const EmbImageSection *section = emb_image_section(&model->view, EMB_SECTION_TOKENIZER);
	const EmbImageConfig *config = model->view.config;
	EmbStatus	status = emb_tok_open(model->view.base + section->offset, section->size_bytes, check_all,
									  &model->mem, &model->tok, err);

	if (status != EMB_OK)
		return status;
	if (emb_tok_n_vocab(model->tok) > (int32_t) config->n_vocab)
		return emb_error(err, EMB_ERR_FORMAT, "the image's tokenizer has %d ids, its vocabulary %u",
						 emb_tok_n_vocab(model->tok), config->n_vocab);
	if (emb_tok_n_special(model->tok, false) >= (int32_t) config->max_tokens)
		return emb_error(err, EMB_ERR_FORMAT, "the image's max_tokens %u leaves no room for text", config->max_tokens);
	return EMB_OK;
}

/* Prompts end up in SQL results. */
static EmbStatus
check_prompts(const EmbModel *model, EmbError *err)
{
	if (!emb_utf8_is_text((const uint8_t *) model->info.query_prompt, model->query_prompt_bytes) ||
		!emb_utf8_is_text((const uint8_t *) model->info.document_prompt, model->document_prompt_bytes))
		return emb_error(err, EMB_ERR_FORMAT, "a prompt of the image is not UTF-8");
	return EMB_OK;
}

static EmbStatus
open_parts(EmbModel *model, bool check_all, const EmbStop *stop, EmbError *err)
{
	EmbStatus	status;

	if (model->view.header->kind != EMB_KIND_EMBEDDING)
		return emb_error(err, EMB_ERR_FORMAT, "the image is of the unknown kind %u", model->view.header->kind);
	model->layers = emb_alloc_array(&model->mem, model->view.config->n_layers, sizeof(EmbBertLayer));
	if (model->layers == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory opening a model");
	fill_info(model);
	fill_bert(model);
	status = open_tokenizer(model, check_all, err);
	if (status == EMB_OK && check_all)
		status = check_prompts(model, err);
	if (status == EMB_OK && check_all)
		status = emb_image_check_weights(&model->view, stop, err);
	return status;
}

EmbStatus
emb_model_open(const void *image, size_t size, unsigned flags, const EmbAllocator *mem,
			   const EmbStop *stop, EmbModel **model, EmbError *err)
{
	EmbImageView view;
	EmbModel   *m;
	EmbStatus	status = emb_image_view(image, size, &view, err);

	if (status != EMB_OK)
		return status;
	m = emb_alloc_zero(mem, 1, sizeof(*m));
	if (m == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory opening a model");
	m->mem = *mem;
	m->view = view;
	status = open_parts(m, (flags & EMB_OPEN_CHECK_ALL) != 0, stop, err);
	if (status == EMB_OK)
		*model = m;
	else
		emb_model_close(m);
	return status;
}

void
emb_model_close(EmbModel *model)
{
	EmbAllocator mem;

	if (model == NULL)
		return;
	mem = model->mem;
	if (model->tok != NULL)
		emb_tok_close(model->tok);
	emb_release(&mem, model->layers);
	emb_release(&mem, model);
}

const EmbModelInfo *
emb_model_info(const EmbModel *model)
{
	return &model->info;
}

float
emb_cosine(const float *a, const float *b, int32_t n)
{
	return emb_kernels_cosine(a, b, n);
}

void
emb_normalize(float *x, int32_t n)
{
	emb_kernels_normalize(x, n);
}

EmbStatus
emb_isa_select(const char *name, EmbError *err)
{
	return emb_kernels_select(name, err);
}

bool
emb_isa_is_known(const char *name)
{
	return emb_kernels_is_known(name);
}

bool
emb_isa_is_available(const char *name)
{
	return emb_kernels_is_available(name);
}

const char *
emb_isa_name(void)
{
	return emb_kernels_name();
}
