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

	model->dropped_id = config->n_layers == 0 ? (int32_t) config->position_base - 1 : -1;
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
		.max_chars = config->n_layers == 0 ? (int32_t) config->window : 0,
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
linear(const EmbModel *model, uint32_t layer, EmbTensorRole role, EmbTensorRole factor)
{
	const EmbImageTensor *t = emb_image_find(&model->view, layer, role);
	EmbLinear	linear = {
		.n_out = (int32_t) t->n_rows,
		.n_in = (int32_t) t->n_cols,
		.bias = data(model, layer, EMB_ROLE_BIAS(role)),
		.scale = data(model, layer, EMB_ROLE_SCALE(role)),
		.sums = data(model, layer, EMB_ROLE_SUMS(role)),
		.factor = factor != role ? data(model, layer, factor) : NULL,
	};

	linear.form = t->form == EMB_FORM_TILES_I8 ? EMB_LINEAR_I8 : EMB_LINEAR_F32;
	linear.weight = data(model, layer, role);
	return linear;
}

static EmbLayerNorm
layer_norm(const EmbModel *model, uint32_t layer, EmbTensorRole gamma)
{
	return (EmbLayerNorm) {.gamma = data(model, layer, gamma), .beta = data(model, layer, gamma + 1)};
}

static EmbLayer
layer(const EmbModel *model, uint32_t i)
{
	return (EmbLayer) {
		.query = linear(model, i, EMB_ROLE_QUERY, EMB_ROLE_ATTN_IN_FACTOR),
		.key = linear(model, i, EMB_ROLE_KEY, EMB_ROLE_ATTN_IN_FACTOR),
		.value = linear(model, i, EMB_ROLE_VALUE, EMB_ROLE_ATTN_IN_FACTOR),
		.attn_out = linear(model, i, EMB_ROLE_ATTN_OUT, EMB_ROLE_ATTN_OUT),
		.ffn_up = linear(model, i, EMB_ROLE_FFN_UP, EMB_ROLE_FFN_IN_FACTOR),
		.ffn_down = linear(model, i, EMB_ROLE_FFN_DOWN, EMB_ROLE_FFN_MID_FACTOR),
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

/* What stands behind the pooling. A Normalize between it and the first layer is the encoder's own. */
static EmbDense
dense_layers(const EmbModel *model)
{
	static const EmbTensorRole weights[EMB_ARCH_MAX_DENSE] = {EMB_ROLE_DENSE, EMB_ROLE_DENSE_2};
	const EmbImageConfig *config = model->view.config;
	EmbDense	dense = {0};

	for (int i = 0; i < EMB_ARCH_MAX_DENSE && config->dense_outputs[i] > 0; i++)
	{
		bool		is_last = i == EMB_ARCH_MAX_DENSE - 1 || config->dense_outputs[i + 1] == 0;

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

/* From the configuration of images of layout 2. */
static EmbArch
arch_of(const EmbImageConfig *config)
{
	uint32_t	traits = emb_hf_family_traits(config->family);
	EmbArch		arch = config->n_layers == 0 ? emb_arch_static() : emb_arch_encoder();

	arch.hidden = (int32_t) config->hidden;
	arch.n_layers = (int32_t) config->n_layers;
	emb_arch_set_heads(&arch, (int32_t) config->n_heads);
	arch.intermediate = (int32_t) config->intermediate;
	arch.n_vocab = (int32_t) config->n_vocab;
	arch.n_positions = (int32_t) config->n_positions;
	arch.n_types = (int32_t) config->n_types;
	arch.activation = (int32_t) config->activation;
	arch.is_gated = (traits & EMB_TRAIT_GATED) != 0;
	if (traits & EMB_TRAIT_NORMS_FIRST)
	{
		arch.norm_place = EMB_NORM_PRE;
		arch.has_first_norm = 0;
	}
	arch.norm_eps = config->ln_eps;
	arch.position_base = config->n_layers == 0 ? 0 : (int32_t) config->position_base;
	arch.window = config->n_layers == 0 ? 0 : (int32_t) config->window;
	arch.global_every = (int32_t) config->global_every;
	arch.pooling = (int32_t) config->pooling;
	arch.normalize = config->dense_outputs[0] == 0 ? config->normalize != 0 : (config->dense_steps & EMB_DENSE_NORMALIZE_POOLED) != 0;
	return arch;
}

static EmbStatus
fill_transformer(EmbModel *model, EmbError *err)
{
	const EmbImageConfig *config = model->view.config;

	model->layers = emb_alloc_array(&model->mem, config->n_layers, sizeof(EmbLayer));
	if (config->n_layers > 0 && model->layers == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory opening a model");
	model->arch = arch_of(config);
	model->transformer = (EmbTransformer) {
		.arch = &model->arch,
		.word_embedding = word_table(model),
		.position_embedding = data(model, 0, EMB_ROLE_POSITION_EMBEDDING),
		.type_embedding = data(model, 0, EMB_ROLE_TYPE_EMBEDDING),
		.embedding_norm = layer_norm(model, 0, EMB_ROLE_EMBEDDING_GAMMA),
		.rotary = data(model, 0, EMB_ROLE_ROTARY),
		.rotary_local = data(model, 0, EMB_ROLE_ROTARY_LOCAL),
		.distance_bias = data(model, 0, EMB_ROLE_DISTANCE_BIAS),
		.final_norm = layer_norm(model, 0, EMB_ROLE_FINAL_GAMMA),
		.layers = model->layers,
	};
	if (config->head == EMB_HEAD_SCORE)
		model->head = score_head(model);
	model->token_heads = token_heads(model);
	model->dense = dense_layers(model);
	for (uint32_t i = 0; i < config->n_layers; i++)
		model->layers[i] = layer(model, i);
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
	status = fill_transformer(model, err);
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
