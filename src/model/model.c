/*
 * model.c
 *		Opens an image in place; names; the public side of threads and ISA
 *		levels.
 */
#include "model/model.h"

#include <stdatomic.h>
#include <stdio.h>
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

/* "mean", or "cls+mean" if the model concatenates them. */
static const char *
name_poolings(EmbModel *model)
{
	static const char *const names[] = {
		[EMB_POOL_CLS] = "cls", [EMB_POOL_MEAN] = "mean", [EMB_POOL_MAX] = "max", [EMB_POOL_MEAN_SQRT_LEN] = "mean_sqrt_len_tokens",
		[EMB_POOL_LAST] = "lasttoken", [EMB_POOL_WEIGHTED_MEAN] = "weightedmean"
	};
	const EmbArch *arch = model->view.arch;
	size_t		at = 0;

	for (int i = 0; i < emb_arch_n_poolings(arch); i++)
		at += snprintf(model->pooling + at, sizeof(model->pooling) - at, "%s%s", i > 0 ? "+" : "", names[emb_arch_pooling(arch, i)]);
	return model->pooling;
}

static const char *
precision_name(EmbImagePrecision precision)
{
	switch (precision)
	{
		case EMB_PRECISION_FP32:
			return "fp32";
		case EMB_PRECISION_INT8:
			return "int8";
		case EMB_PRECISION_INT4:
			return "int4";
	}
	return "unknown";
}

static void
fill_info(EmbModel *model)
{
	const EmbArch *arch = model->view.arch;
	const EmbImageConfig *config = model->view.config;

	model->dropped_id = (int32_t) config->dropped_id - 1;
	model->query_prompt_bytes = config->query_prompt_bytes;
	model->document_prompt_bytes = config->document_prompt_bytes;
	model->info = (EmbModelInfo) {
		.kind = (EmbKind) model->view.header->kind,
		.family = arch->family,
		.precision = precision_name((EmbImagePrecision) config->precision),
		.centers_cut = arch->centers_cut != 0,
		/* over the vocabulary it is the largest logit at any token */
		.pooling = arch->has_sparse == EMB_SPARSE_VOCABULARY ? "max" : arch->lacks_vector ? "none" : name_poolings(model),
		.normalize = arch->normalize != 0 || config->dimensions > 0,
		.dim = (int32_t) emb_image_width(arch, config),
		.hidden = arch->hidden,
		.n_layers = arch->n_layers,
		.n_heads = arch->n_heads,
		.intermediate = arch->intermediate,
		.n_vocab = arch->n_vocab,
		.max_tokens = (int32_t) config->max_tokens,
		.max_chars = (int32_t) config->max_chars,
		.has_dense = !arch->lacks_vector,
		.has_sparse = arch->has_sparse != EMB_SPARSE_NONE,
		.has_query_weights = arch->has_query_weights != 0,
		.multi_dim = arch->multi_dim,
		.max_query_tokens = arch->query_tokens > 0 ? arch->query_tokens : (int32_t) config->max_tokens,
		.query_floor = arch->query_floor,
		.query_prompt = model->view.strings + config->query_prompt,
		.document_prompt = model->view.strings + config->document_prompt,
		.size_bytes = (int64_t) model->view.size_bytes,
		.layout_version = model->view.header->layout_version,
		.numerics_version = model->view.header->numerics_version,
	};
}

/* The texts of the template, and the default instruction. */
static void
fill_template(EmbModel *model)
{
	const EmbImageConfig *config = model->view.config;
	EmbOpenTemplate *t = &model->template;
	EmbModelInfo *info = &model->info;
	EmbPromptInstruction found;

	info->has_template = config->has_template != 0;
	for (int i = 0; info->has_template && i < EMB_TEMPLATE_TEXTS; i++)
	{
		t->pair.texts[i] = model->view.strings + emb_image_template_text(config, i);
		t->bytes[i] = config->template_bytes[i];
	}
	t->pair.takes_instruction = config->takes_instruction != 0;
	t->pair.seam = (int32_t) config->seam - 1;
	if (t->pair.takes_instruction)
	{
		info->instruction = t->pair.texts[EMB_TEMPLATE_INSTRUCTION];
		info->instruction_bytes = t->bytes[EMB_TEMPLATE_INSTRUCTION];
	}
	else if (emb_prompt_find_instruction(info->query_prompt, &found))
	{
		info->instruction = info->query_prompt + found.begin;
		info->instruction_bytes = found.bytes;
	}
}

/*
 * The data of a tensor, NULL if the image lacks it; the tensor table is known
 * to match the plan.
 */
static const void *
data(const EmbModel *model, int32_t layer, EmbPart part, EmbTensorKind kind)
{
	const EmbImageTensor *t = emb_image_find(&model->view, layer, part, kind);

	return t != NULL ? emb_image_data(&model->view, t) : NULL;
}

static EmbLinearForm
linear_form(uint32_t form)
{
	switch (form)
	{
		case EMB_FORM_TILES_I8:
			return EMB_LINEAR_I8;
		case EMB_FORM_TILES_I4:
		case EMB_FORM_GROUP_TILES_I8:
			return EMB_LINEAR_GROUPED;
		default:
			return EMB_LINEAR_F32;
	}
}

/* Where the groups of a linear layer of the transformer are in the model's room for them. */
static size_t
group_place(const EmbArch *arch, int32_t layer, EmbPart part)
{
	size_t		expert = (size_t) layer * arch->n_experts + emb_part_expert(part);

	if (!emb_part_is_of_expert(part))
		return (size_t) layer * EMB_MODEL_LINEARS + part - EMB_PART_QUERY;
	return (size_t) arch->n_layers * EMB_MODEL_LINEARS + 2 * expert + (emb_part_kind(part) == EMB_PART_EXPERT_DOWN);
}

/* Linear layers with groups are in layers of the transformer. */
static const EmbGroups *
groups_of(const EmbModel *model, int32_t layer, EmbPart part, EmbPart factor, int32_t bits)
{
	EmbGroups  *groups = &model->groups[group_place(model->view.arch, layer, part)];

	*groups = (EmbGroups) {
		.bits = bits,
		.group = emb_image_kernel_group(model->view.config),
		.scale_type = (EmbScaleType) model->view.config->scale_type,
		.scales = data(model, layer, part, EMB_TENSOR_GROUP_SCALE),
		.zeros = data(model, layer, part, EMB_TENSOR_GROUP_ZERO),
		.sums = data(model, layer, part, EMB_TENSOR_SUMS),
		.order = data(model, layer, factor, EMB_TENSOR_ORDER),
	};
	return groups;
}

/* factor: the part that stores the factor and the order of this layer's input. */
static EmbLinear
linear(const EmbModel *model, int32_t layer, EmbPart part, EmbPart factor)
{
	const EmbImageTensor *t = emb_image_find(&model->view, layer, part, EMB_TENSOR_WEIGHT);
	EmbLinear	linear = {0};

	if (t == NULL)
		return linear;
	linear = (EmbLinear) {
		.form = linear_form(t->form),
		.n_out = (int32_t) t->n_rows,
		.n_in = (int32_t) t->n_cols,
		.bias = data(model, layer, part, EMB_TENSOR_BIAS),
		.factor = data(model, layer, factor, EMB_TENSOR_FACTOR),
	};
	switch (linear.form)
	{
		case EMB_LINEAR_F32:
			linear.weight = (const float *) emb_image_data(&model->view, t);
			break;
		case EMB_LINEAR_I8:
			linear.weight_i8 = (const int8_t *) emb_image_data(&model->view, t);
			linear.scale = data(model, layer, part, EMB_TENSOR_SCALE);
			linear.sums = data(model, layer, part, EMB_TENSOR_SUMS);
			break;
		case EMB_LINEAR_GROUPED:
			linear.weight_grouped = emb_image_data(&model->view, t);
			linear.groups = groups_of(model, layer, part, factor, t->form == EMB_FORM_TILES_I4 ? 4 : 8);
			break;
	}
	return linear;
}

static EmbLinear
expert_linear(const EmbModel *model, int32_t layer, EmbPart part, int32_t expert)
{
	EmbPart		own = emb_part_of_expert(part, expert);

	return linear(model, layer, own, own);
}

/* In the model's room for them; NULL: the layer has none. */
static const EmbExpert *
experts(const EmbModel *model, int32_t layer)
{
	const EmbArch *arch = model->view.arch;
	EmbExpert  *experts;

	if (!emb_arch_has_experts(arch, layer))
		return NULL;
	experts = model->experts + (size_t) layer * arch->n_experts;
	for (int32_t e = 0; e < arch->n_experts; e++)
		experts[e] = (EmbExpert) {expert_linear(model, layer, EMB_PART_EXPERT_UP, e), expert_linear(model, layer, EMB_PART_EXPERT_DOWN, e)};
	return experts;
}

static EmbLayerNorm
layer_norm(const EmbModel *model, int32_t layer, EmbPart part)
{
	return (EmbLayerNorm) {
		.gamma = data(model, layer, part, EMB_TENSOR_GAMMA),
		.beta = data(model, layer, part, EMB_TENSOR_BETA),
	};
}

static EmbLayer
layer(const EmbModel *model, int32_t i)
{
	return (EmbLayer) {
		.query = linear(model, i, EMB_PART_QUERY, EMB_PART_QUERY),
		.key = linear(model, i, EMB_PART_KEY, EMB_PART_QUERY),
		.value = linear(model, i, EMB_PART_VALUE, EMB_PART_QUERY),
		.attn_out = linear(model, i, EMB_PART_ATTN_OUT, EMB_PART_ATTN_OUT),
		.ffn_up = linear(model, i, EMB_PART_FFN_UP, EMB_PART_FFN_UP),
		.ffn_down = linear(model, i, EMB_PART_FFN_DOWN, EMB_PART_FFN_DOWN),
		.attn_norm = layer_norm(model, i, EMB_PART_ATTN_NORM),
		.ffn_norm = layer_norm(model, i, EMB_PART_FFN_NORM),
		.second_norm = layer_norm(model, i, EMB_PART_SECOND_NORM),
		.query_norm = layer_norm(model, i, EMB_PART_QUERY_NORM),
		.key_norm = layer_norm(model, i, EMB_PART_KEY_NORM),
		.attn_end_norm = layer_norm(model, i, EMB_PART_ATTN_END_NORM),
		.ffn_end_norm = layer_norm(model, i, EMB_PART_FFN_END_NORM),
		.relative_keys = data(model, i, EMB_PART_RELATIVE_KEYS, EMB_TENSOR_TABLE),
		.relative_queries = data(model, i, EMB_PART_RELATIVE_QUERIES, EMB_TENSOR_TABLE),
		.experts = experts(model, i),
		.router = data(model, i, EMB_PART_ROUTER, EMB_TENSOR_WEIGHT),
		.expert_bias = data(model, i, EMB_PART_EXPERT_BIAS, EMB_TENSOR_BIAS),
	};
}

static EmbScoreHead
score_head(const EmbModel *model)
{
	const EmbArch *arch = model->view.arch;

	return (EmbScoreHead) {
		.pooler = linear(model, EMB_NO_LAYER, EMB_PART_POOLER, EMB_PART_POOLER),
		.activation = (EmbActivation) arch->head_activation,
		.norm = layer_norm(model, EMB_NO_LAYER, EMB_PART_HEAD_NORM),
		.norm_eps = arch->norm_eps,
		.classifier = data(model, EMB_NO_LAYER, EMB_PART_CLASSIFIER, EMB_TENSOR_WEIGHT),
		.classifier_bias = data(model, EMB_NO_LAYER, EMB_PART_CLASSIFIER, EMB_TENSOR_BIAS),
		.answers = data(model, EMB_NO_LAYER, EMB_PART_ANSWERS, EMB_TENSOR_WEIGHT),
		.n_answers = arch->n_labels,
		.modules = arch->head == EMB_HEAD_MODULES ? &model->dense : NULL,
		.n_labels = arch->head == EMB_HEAD_ANSWER ? 1 : arch->n_labels,
		.label = arch->label,
	};
}

static EmbTokenHeads
token_heads(const EmbModel *model)
{
	return (EmbTokenHeads) {
		.sparse = data(model, EMB_NO_LAYER, EMB_PART_SPARSE, EMB_TENSOR_WEIGHT),
		.sparse_bias = data(model, EMB_NO_LAYER, EMB_PART_SPARSE, EMB_TENSOR_BIAS),
		.multi = linear(model, EMB_NO_LAYER, EMB_PART_MULTI, EMB_PART_MULTI),
		.vocabulary = {
			.dense = linear(model, EMB_NO_LAYER, EMB_PART_LM_DENSE, EMB_PART_LM_DENSE),
			.activation = (EmbActivation) model->view.arch->lm_activation,
			.norm = layer_norm(model, EMB_NO_LAYER, EMB_PART_LM_NORM),
			.norm_eps = model->view.arch->norm_eps,
			.out = linear(model, EMB_NO_LAYER, EMB_PART_LM_OUT, EMB_PART_LM_OUT),
		},
	};
}

/*
 * The steps after the pooling. The transformer itself divides by the norm
 * before the first module.
 */
static EmbDense
dense_modules(const EmbModel *model)
{
	const EmbArch *arch = model->view.arch;
	EmbDense	dense = {.n_layers = arch->n_dense};

	for (int i = 0; i < arch->n_dense; i++)
		dense.layers[i] = (EmbDenseLayer) {
			.n_in = emb_arch_module_inputs(arch, i),
			.n_out = arch->dense[i].n_out,
			.linear = linear(model, EMB_NO_LAYER, emb_part_of_module(i), emb_part_of_module(i)),
			.norm = layer_norm(model, EMB_NO_LAYER, emb_part_of_module(i)),
			.norm_eps = arch->dense[i].eps,
			.activation = (EmbActivation) arch->dense[i].activation,
			.normalize = (i + 1 < arch->n_dense ? arch->dense[i + 1].normalize : arch->normalize) != 0,
		};
	return dense;
}

static EmbTable
word_table(const EmbModel *model)
{
	const void *rows = data(model, EMB_NO_LAYER, EMB_PART_WORDS, EMB_TENSOR_TABLE);

	if (emb_image_find(&model->view, EMB_NO_LAYER, EMB_PART_WORDS, EMB_TENSOR_TABLE)->form == EMB_FORM_ROWS_F32)
		return (EmbTable) {.rows_f32 = rows};
	return (EmbTable) {.rows_i8 = rows, .scales = data(model, EMB_NO_LAYER, EMB_PART_WORDS, EMB_TENSOR_SCALE),
		.factors = data(model, EMB_NO_LAYER, EMB_PART_WORDS, EMB_TENSOR_FACTOR)};
}

void
emb_model_place_weights(EmbModel *model)
{
	const EmbArch *arch = model->view.arch;

	model->transformer = (EmbTransformer) {
		.arch = arch,
		.word_embedding = word_table(model),
		.position_embedding = data(model, EMB_NO_LAYER, EMB_PART_POSITIONS, EMB_TENSOR_TABLE),
		.type_embedding = data(model, EMB_NO_LAYER, EMB_PART_TYPES, EMB_TENSOR_TABLE),
		.embedding_norm = layer_norm(model, EMB_NO_LAYER, EMB_PART_EMBEDDING_NORM),
		.embedding_projection = linear(model, EMB_NO_LAYER, EMB_PART_EMBEDDING_PROJECTION, EMB_PART_EMBEDDING_PROJECTION),
		.rotary = data(model, EMB_NO_LAYER, EMB_PART_ROTARY, EMB_TENSOR_TABLE),
		.rotary_local = data(model, EMB_NO_LAYER, EMB_PART_ROTARY_LOCAL, EMB_TENSOR_TABLE),
		.distance_bias = data(model, EMB_NO_LAYER, EMB_PART_DISTANCES, EMB_TENSOR_TABLE),
		.final_norm = layer_norm(model, EMB_NO_LAYER, EMB_PART_FINAL_NORM),
		.layers = model->layers,
		.buckets = model->buckets != NULL ? model->buckets + arch->n_positions - 1 : NULL,
	};
	model->head = score_head(model);
	model->token_heads = token_heads(model);
	model->skipped = data(model, EMB_NO_LAYER, EMB_PART_SKIPPED, EMB_TENSOR_TABLE);
	model->query_weights = data(model, EMB_NO_LAYER, EMB_PART_QUERY_WEIGHTS, EMB_TENSOR_TABLE);
	model->dense = dense_modules(model);
	for (int32_t i = 0; i < arch->n_layers; i++)
		model->layers[i] = layer(model, i);
}

static EmbStatus
allocate_layers(EmbModel *model, EmbError *err)
{
	int32_t		n_layers = model->view.arch->n_layers;
	int32_t		n_experts = model->view.arch->n_experts;
	bool		has_groups = model->view.config->group != 0;
	int32_t		n_positions = model->view.arch->n_positions;
	int32_t		n_buckets = model->view.arch->relative_span > 0 ? 2 * n_positions - 1 : 0;

	if (n_buckets > 0)
		model->buckets = emb_alloc_array(&model->mem, n_buckets, sizeof(int32_t));
	for (int32_t i = 0; model->buckets != NULL && i < n_buckets; i++)
		model->buckets[i] = emb_arch_bucket(model->view.arch, i - (n_positions - 1));
	model->layers = emb_alloc_array(&model->mem, n_layers, sizeof(EmbLayer));
	if (has_groups)
		model->groups = emb_alloc_array(&model->mem, n_layers, (EMB_MODEL_LINEARS + 2 * (size_t) n_experts) * sizeof(EmbGroups));
	if (n_experts > 0)
		model->experts = emb_alloc_array(&model->mem, n_layers, n_experts * sizeof(EmbExpert));
	if ((n_layers > 0 && model->layers == NULL) || (n_experts > 0 && model->experts == NULL) || (has_groups && model->groups == NULL) || (n_buckets > 0 && model->buckets == NULL))
		return emb_error(err, EMB_ERR_NOMEM, "out of memory opening a model");
	return EMB_OK;
}

/* The tokenizer's ids must have rows, and the template must leave room for text. */
static EmbStatus
open_tokenizer(EmbModel *model, bool check_all, EmbError *err)
{
	const EmbImageSection *section = emb_image_section(&model->view, EMB_SECTION_TOKENIZER);
	const EmbArch *arch = model->view.arch;
	const EmbImageConfig *config = model->view.config;
	bool		is_pair = arch->head != EMB_HEAD_NONE;
	EmbStatus	status = emb_tok_open(model->view.base + section->offset, section->size_bytes, check_all,
									  &model->mem, &model->tok, err);

	if (status != EMB_OK)
		return status;
	model->info.tokenizer = emb_tok_model(model->tok) == EMB_TOK_WORDPIECE ? "WordPiece" : emb_tok_model(model->tok) == EMB_TOK_UNIGRAM ? "Unigram" : "BPE";
	if (emb_tok_n_vocab(model->tok) > arch->n_vocab)
		return emb_error(err, EMB_ERR_FORMAT, "the image's tokenizer has %d ids, its vocabulary %d",
						 emb_tok_n_vocab(model->tok), arch->n_vocab);
	if (model->info.has_template)
	{
		status = emb_template_open(model, err);
		if (status == EMB_OK && model->template.n_prefix + model->template.n_suffix >= (int32_t) config->max_tokens)
			status = emb_error(err, EMB_ERR_FORMAT, "the image's max_tokens %u leaves no room for text", config->max_tokens);
		return status;
	}
	if (is_pair && (!emb_tok_has_pair(model->tok) || (arch->n_types > 0 && emb_tok_n_types(model->tok, true) > arch->n_types)))
		return emb_error(err, EMB_ERR_FORMAT, "the image is of a reranker, but its tokenizer takes no pairs of %d types", arch->n_types);
	if (emb_tok_n_special(model->tok, is_pair) >= (int32_t) config->max_tokens)
		return emb_error(err, EMB_ERR_FORMAT, "the image's max_tokens %u leaves no room for text", config->max_tokens);
	if (emb_tok_n_special(model->tok, is_pair) >= model->info.max_query_tokens)
		return emb_error(err, EMB_ERR_FORMAT, "the image's length of queries, %d, leaves no room for text", model->info.max_query_tokens);
	if (model->info.query_floor > model->info.max_query_tokens)
		return emb_error(err, EMB_ERR_FORMAT, "the image fills queries up to %d tokens, but reads %d", model->info.query_floor,
						 model->info.max_query_tokens);
	return EMB_OK;
}

/* Prompts appear in SQL results, so they must be UTF-8. */
static EmbStatus
check_prompts(const EmbModel *model, EmbError *err)
{
	if (!emb_utf8_is_text((const uint8_t *) model->info.query_prompt, model->query_prompt_bytes) ||
		!emb_utf8_is_text((const uint8_t *) model->info.document_prompt, model->document_prompt_bytes))
		return emb_error(err, EMB_ERR_FORMAT, "a prompt of the image is not UTF-8");
	for (int i = 0; model->info.has_template && i < EMB_TEMPLATE_TEXTS; i++)
	{
		size_t		seam = i == EMB_TEMPLATE_BEFORE_DOCUMENT && model->template.pair.seam > 0 ? (size_t) model->template.pair.seam : 0;
		const char *text = model->template.pair.texts[i];

		if (!emb_utf8_is_text((const uint8_t *) text, seam) ||
			!emb_utf8_is_text((const uint8_t *) text + seam, model->template.bytes[i] - seam))
			return emb_error(err, EMB_ERR_FORMAT, "the template of the image is not UTF-8");
	}
	return EMB_OK;
}

/*
 * As sentence-transformers counts them: the tokens of the prompt alone, with
 * special tokens, but without one that ends a text.
 */
static EmbStatus
count_unpooled(EmbModel *model, const EmbStop *stop, EmbError *err)
{
	static const EmbPrompt prompts[] = {EMB_PROMPT_QUERY, EMB_PROMPT_DOCUMENT};
	int32_t		max = model->info.max_tokens;
	int32_t    *ids;
	EmbStatus	status = EMB_OK;

	if (model->view.config->excludes_prompt == 0)
		return EMB_OK;
	ids = emb_alloc_array(&model->mem, (size_t) max, sizeof(int32_t));
	if (ids == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory opening a model");
	for (size_t i = 0; status == EMB_OK && i < sizeof(prompts) / sizeof(prompts[0]); i++)
	{
		size_t		bytes;
		const char *text = emb_model_prompt(model, prompts[i], &bytes);
		EmbTokResult r;

		if (bytes == 0)
			continue;
		status = emb_tok_encode(model->tok, &(EmbText) {text, bytes, true, NULL},
								&(EmbReading) {.ids = ids, .max_ids = max, .mem = &model->mem, .stop = stop}, &r, err);
		if (status == EMB_OK)
			model->n_unpooled[prompts[i]] = r.n_ids - (r.n_ids > 0 && emb_tok_is_special(model->tok, ids[r.n_ids - 1]));
	}
	emb_release(&model->mem, ids);
	return status;
}

static EmbStatus
open_parts(EmbModel *model, bool check_all, const EmbStop *stop, EmbError *err)
{
	EmbStatus	status;

	if (model->view.header->kind != (model->view.arch->head != EMB_HEAD_NONE ? EMB_KIND_RERANKER : EMB_KIND_EMBEDDING))
		return emb_error(err, EMB_ERR_FORMAT, "the image has kind %u, but its architecture has another kind",
						 model->view.header->kind);
	fill_info(model);
	fill_template(model);
	status = allocate_layers(model, err);
	if (status != EMB_OK)
		return status;
	emb_model_place_weights(model);
	status = open_tokenizer(model, check_all, err);
	if (status == EMB_OK && check_all)
		status = check_prompts(model, err);
	if (status == EMB_OK)
		status = count_unpooled(model, stop, err);
	if (status == EMB_OK && check_all)
		status = emb_image_check_weights(&model->view, stop, err);
	return status;
}

static uint64_t
next_serial(void)
{
	static _Atomic uint64_t last;

	return atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

void
emb_model_versions(int32_t *layout, int32_t *numerics)
{
	*layout = EMB_IMAGE_LAYOUT_VERSION;
	*numerics = EMB_IMAGE_NUMERICS_VERSION;
}

/* Magic and versions stay where they are in every layout. */
bool
emb_model_versions_of(const void *head, int32_t *layout, int32_t *numerics)
{
	const char *bytes = head;

	if (memcmp(bytes, EMB_IMAGE_MAGIC, 8) != 0)
		return false;
	memcpy(layout, bytes + 8, sizeof(*layout));
	memcpy(numerics, bytes + 12, sizeof(*numerics));
	return true;
}

EmbStatus
emb_model_open(const void *image, size_t size, unsigned flags, const EmbAllocator *mem,
			   const EmbStop *stop, EmbModel **model, EmbError *err)
{
	EmbModel   *m = emb_alloc_zero(mem, 1, sizeof(*m));
	EmbStatus	status;

	if (m == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory opening a model");
	m->mem = *mem;
	m->serial = next_serial();
	status = emb_image_view_copy(image, size, mem, &m->meta, &m->view, err);
	if (status == EMB_OK)
		status = open_parts(m, (flags & EMB_OPEN_CHECK_ALL) != 0, stop, err);
	if (status == EMB_OK)
		*model = m;
	else
		emb_model_close(m);
	return status;
}

EmbStatus
emb_model_open_unwritten(const EmbImageView *view, const EmbAllocator *mem, EmbModel **model, EmbError *err)
{
	EmbModel   *m = emb_alloc_zero(mem, 1, sizeof(*m));
	EmbStatus	status;

	if (m == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory opening a model");
	m->mem = *mem;
	m->serial = next_serial();
	m->view = *view;
	status = open_parts(m, false, NULL, err);
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
	emb_release(&mem, model->experts);
	emb_release(&mem, model->buckets);
	emb_release(&mem, model->template.ids);
	emb_release(&mem, model->groups);
	emb_release(&mem, model->meta);
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
	emb_team_stop();
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

const char *
emb_isa_failed(void)
{
	return emb_kernels_failed();
}

const char *
emb_isa_failed_op(const char *name)
{
	return emb_kernels_failed_op(name);
}
