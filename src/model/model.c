/*
 * model.c
 *		Opening an image in place; names; what threads and the levels of the
 *		kernels look like from outside.
 */
#include "model/model.h"

#include <string.h>

#include "common/utf8.h"
#include "threads/cpus.h"
#include "threads/team.h"
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
	static const char *const names[] = {
		[EMB_POOL_CLS] = "cls", [EMB_POOL_MEAN] = "mean", [EMB_POOL_MAX] = "max", [EMB_POOL_MEAN_SQRT_LEN] = "mean_sqrt_len_tokens"
	};

	return names[pooling];
}

static void
fill_info(EmbModel *model)
{
	const EmbImageConfig *config = model->view.config;

	model->is_static = (emb_hf_family_traits(config->family) & EMB_TRAIT_STATIC) != 0;
	model->dropped_id = model->is_static ? (int32_t) config->position_base - 1 : -1;
	model->query_prompt_bytes = config->query_prompt_bytes;
	model->document_prompt_bytes = config->document_prompt_bytes;
	model->info = (EmbModelInfo) {
		.kind = (EmbKind) model->view.header->kind,
		.family = emb_hf_family_name(config->family),
		.precision = config->precision == EMB_PRECISION_INT8 ? "int8" : "fp32",
		.pooling = pooling_name(config->pooling),
		.normalize = config->normalize != 0 || config->dimensions > 0,
		.dim = (int32_t) emb_image_width(config),
		.hidden = (int32_t) config->hidden,
		.n_layers = (int32_t) config->n_layers,
		.n_heads = (int32_t) config->n_heads,
		.intermediate = (int32_t) config->intermediate,
		.n_vocab = (int32_t) config->n_vocab,
		.max_tokens = (int32_t) config->max_tokens,
		.max_chars = model->is_static ? (int32_t) config->window : 0,
		.has_sparse = config->sparse != 0,
		.multi_dim = (int32_t) config->multi_dim,
		.query_prompt = model->view.strings + config->query_prompt,
		.document_prompt = model->view.strings + config->document_prompt,
		.size_bytes = (int64_t) model->view.size_bytes,
		.layout_version = model->view.header->layout_version,
		.numerics_version = model->view.header->numerics_version,
	};
}

/* The data of a role, NULL where this precision has none; the tensor table is known to be the planned one. */
static const void *
data(const EmbModel *model, uint32_t layer, EmbTensorRole role)
{
	const EmbImageTensor *t = emb_image_find(&model->view, layer, role);

	return t != NULL ? model->view.base + t->offset : NULL;
}

static EmbLinear
linear(const EmbModel *model, uint32_t layer, EmbTensorRole role)
{
	const EmbImageTensor *t = emb_image_find(&model->view, layer, role);

	return (EmbLinear) {
		.n_out = (int32_t) t->n_rows,
		.n_in = (int32_t) t->n_cols,
		.weight = data(model, layer, role),
		.bias = data(model, layer, EMB_ROLE_BIAS(role)),
	};
}

static EmbLinearI8
linear_i8(const EmbModel *model, uint32_t layer, EmbTensorRole role)
{
	const EmbImageTensor *t = emb_image_find(&model->view, layer, role);

	return (EmbLinearI8) {
		.n_out = (int32_t) t->n_rows,
		.n_in = (int32_t) t->n_cols,
		.weight = data(model, layer, role),
		.scale = data(model, layer, EMB_ROLE_SCALE(role)),
		.sums = data(model, layer, EMB_ROLE_SUMS(role)),
		.bias = data(model, layer, EMB_ROLE_BIAS(role)),
	};
}

static EmbLayerNorm
layer_norm(const EmbModel *model, uint32_t layer, EmbTensorRole gamma)
{
	return (EmbLayerNorm) {.gamma = data(model, layer, gamma), .beta = data(model, layer, gamma + 1)};
}

static EmbBertLayer
layer_f32(const EmbModel *model, uint32_t i)
{
	return (EmbBertLayer) {
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

static EmbBertLayerI8
layer_i8(const EmbModel *model, uint32_t i)
{
	return (EmbBertLayerI8) {
		.query = linear_i8(model, i, EMB_ROLE_QUERY),
		.key = linear_i8(model, i, EMB_ROLE_KEY),
		.value = linear_i8(model, i, EMB_ROLE_VALUE),
		.attn_out = linear_i8(model, i, EMB_ROLE_ATTN_OUT),
		.ffn_up = linear_i8(model, i, EMB_ROLE_FFN_UP),
		.ffn_down = linear_i8(model, i, EMB_ROLE_FFN_DOWN),
		.attn_in_factor = data(model, i, EMB_ROLE_ATTN_IN_FACTOR),
		.ffn_in_factor = data(model, i, EMB_ROLE_FFN_IN_FACTOR),
		.ffn_mid_factor = data(model, i, EMB_ROLE_FFN_MID_FACTOR),
		.attn_norm = layer_norm(model, i, EMB_ROLE_ATTN_GAMMA),
		.ffn_norm = layer_norm(model, i, EMB_ROLE_FFN_GAMMA),
	};
}

static EmbScoreHead
score_head(const EmbModel *model)
{
	const EmbImageConfig *config = model->view.config;
	int32_t		hidden = (int32_t) config->hidden;

	return (EmbScoreHead) {
		.pooler = {.n_out = hidden, .n_in = hidden,
			.weight = data(model, 0, EMB_ROLE_POOLER), .bias = data(model, 0, EMB_ROLE_POOLER_BIAS)},
		.activation = config->head_activation == 0 ? EMB_ACT_TANH : (EmbActivation) config->head_activation,
		.norm = layer_norm(model, 0, EMB_ROLE_HEAD_GAMMA),
		.ln_eps = config->ln_eps,
		.classifier = data(model, 0, EMB_ROLE_CLASSIFIER),
		.classifier_bias = data(model, 0, EMB_ROLE_CLASSIFIER_BIAS),
	};
}

static EmbTokenHeads
token_heads(const EmbModel *model)
{
	const EmbImageConfig *config = model->view.config;

	return (EmbTokenHeads) {
		.sparse = data(model, 0, EMB_ROLE_SPARSE),
		.sparse_bias = data(model, 0, EMB_ROLE_SPARSE_BIAS),
		.multi = {.n_out = (int32_t) config->multi_dim, .n_in = (int32_t) config->hidden,
			.weight = data(model, 0, EMB_ROLE_MULTI), .bias = data(model, 0, EMB_ROLE_MULTI_BIAS)},
	};
}

_Static_assert(EMB_DENSE_MAX == EMB_HF_MAX_DENSE, "dense layers");

/* What stands behind the pooling. A Normalize between it and the first layer is the encoder's own. */
static EmbDense
dense_layers(const EmbModel *model)
{
	static const EmbTensorRole weights[EMB_DENSE_MAX] = {EMB_ROLE_DENSE, EMB_ROLE_DENSE_2};
	const EmbImageConfig *config = model->view.config;
	EmbDense	dense = {0};

	for (int i = 0; i < EMB_DENSE_MAX && config->dense_outputs[i] > 0; i++)
	{
		bool		is_last = i == EMB_DENSE_MAX - 1 || config->dense_outputs[i + 1] == 0;

		dense.layers[i] = (EmbDenseLayer) {
			.linear = {.n_out = (int32_t) config->dense_outputs[i],
				.n_in = (int32_t) (i == 0 ? config->hidden : config->dense_outputs[i - 1]),
				.weight = data(model, 0, weights[i]), .bias = data(model, 0, weights[i] + 1)},
			.activation = (EmbActivation) emb_image_dense_activation(config, i),
			.normalize = is_last ? config->normalize != 0 : (config->dense_steps & EMB_DENSE_NORMALIZE_BETWEEN) != 0,
		};
		dense.n_layers++;
	}
	return dense;
}

static EmbTable
word_table(const EmbModel *model)
{
	const void *rows = data(model, 0, EMB_ROLE_WORD_EMBEDDING);

	if (model->view.config->precision == EMB_PRECISION_FP32)
		return (EmbTable) {.rows_f32 = rows};
	return (EmbTable) {.rows_i8 = rows, .scales = data(model, 0, EMB_ROLE_WORD_EMBEDDING_SCALE),
		.factors = data(model, 0, EMB_ROLE_WORD_EMBEDDING_FACTOR)};
}

static EmbStatus
fill_bert(EmbModel *model, EmbError *err)
{
	const EmbImageConfig *config = model->view.config;
	bool		is_i8 = config->precision == EMB_PRECISION_INT8;
	uint32_t	traits = emb_hf_family_traits(config->family);

	if (is_i8)
		model->layers_i8 = emb_alloc_array(&model->mem, config->n_layers, sizeof(EmbBertLayerI8));
	else
		model->layers = emb_alloc_array(&model->mem, config->n_layers, sizeof(EmbBertLayer));
	if (config->n_layers > 0 && model->layers == NULL && model->layers_i8 == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory opening a model");
	model->bert = (EmbBert) {
		.hidden = (int32_t) config->hidden,
		.n_layers = (int32_t) config->n_layers,
		.n_heads = (int32_t) config->n_heads,
		.intermediate = (int32_t) config->intermediate,
		.n_vocab = (int32_t) config->n_vocab,
		.n_positions = (int32_t) config->n_positions,
		.position_base = (int32_t) config->position_base,
		.n_types = (int32_t) config->n_types,
		.activation = (EmbActivation) config->activation,
		.pooling = (EmbPooling) config->pooling,
		.normalize = config->dense_outputs[0] == 0 ? config->normalize != 0 : (config->dense_steps & EMB_DENSE_NORMALIZE_POOLED) != 0,
		.ln_eps = config->ln_eps,
		.word_embedding = word_table(model),
		.position_embedding = data(model, 0, EMB_ROLE_POSITION_EMBEDDING),
		.type_embedding = data(model, 0, EMB_ROLE_TYPE_EMBEDDING),
		.gated = (traits & EMB_TRAIT_GATED) != 0,
		.norms_first = (traits & EMB_TRAIT_NORMS_FIRST) != 0,
		.window = (int32_t) config->window,
		.global_every = (int32_t) config->global_every,
		.rotary = data(model, 0, EMB_ROLE_ROTARY),
		.rotary_local = data(model, 0, EMB_ROLE_ROTARY_LOCAL),
		.final_norm = layer_norm(model, 0, EMB_ROLE_FINAL_GAMMA),
		.distance_bias = data(model, 0, EMB_ROLE_DISTANCE_BIAS),
		.embedding_norm = layer_norm(model, 0, EMB_ROLE_EMBEDDING_GAMMA),
		.layers = model->layers,
		.layers_i8 = model->layers_i8,
	};
	if (config->head == EMB_HEAD_SCORE)
		model->head = score_head(model);
	model->token_heads = token_heads(model);
	model->dense = dense_layers(model);
	for (uint32_t i = 0; i < config->n_layers; i++)
	{
		if (is_i8)
			model->layers_i8[i] = layer_i8(model, i);
		else
			model->layers[i] = layer_f32(model, i);
	}
	return EMB_OK;
}

/* The tokenizer's ids must have rows, and the template must leave room for text. */
static EmbStatus
open_tokenizer(EmbModel *model, bool check_all, EmbError *err)
{
	const EmbImageSection *section = emb_image_section(&model->view, EMB_SECTION_TOKENIZER);
	const EmbImageConfig *config = model->view.config;
	bool		is_pair = config->head == EMB_HEAD_SCORE;
	EmbStatus	status = emb_tok_open(model->view.base + section->offset, section->size_bytes, check_all,
									  &model->mem, &model->tok, err);

	if (status != EMB_OK)
		return status;
	if (emb_tok_n_vocab(model->tok) > (int32_t) config->n_vocab)
		return emb_error(err, EMB_ERR_FORMAT, "the image's tokenizer has %d ids, its vocabulary %u",
						 emb_tok_n_vocab(model->tok), config->n_vocab);
	if (is_pair && (!emb_tok_has_pair(model->tok) || (config->n_types > 0 && emb_tok_n_types(model->tok, true) > (int32_t) config->n_types)))
		return emb_error(err, EMB_ERR_FORMAT, "the image is of a reranker, but its tokenizer takes no pairs of %u types", config->n_types);
	if (emb_tok_n_special(model->tok, is_pair) >= (int32_t) config->max_tokens)
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

	if (model->view.header->kind != (model->view.config->head == EMB_HEAD_SCORE ? EMB_KIND_RERANKER : EMB_KIND_EMBEDDING))
		return emb_error(err, EMB_ERR_FORMAT, "the image says that it is of kind %u, which its configuration is not",
						 model->view.header->kind);
	fill_info(model);
	status = fill_bert(model, err);
	if (status == EMB_OK)
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
	emb_release(&mem, model->layers_i8);
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

float
emb_score(float logit)
{
	return emb_kernels_sigmoid(logit);
}

void
emb_normalize(float *x, int32_t n)
{
	emb_kernels_normalize(x, n);
}

int32_t
emb_threads_available(void)
{
	return emb_cpus_usable();
}

void
emb_threads_stop(void)
{
	emb_crew_stop();
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
