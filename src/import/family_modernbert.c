/*
 * family_modernbert.c
 *		ModernBERT (Warner et al. 2024): pre-norm, RoPE, a GLU, and layers
 *		with a sliding window.
 */
#include "import/family.h"

#include <string.h>

/* The embedding norm comes right before layer 0, which has no norm before its attention. */
static void
shape(EmbArch *arch)
{
	arch->positions = EMB_POSITIONS_ROTARY;
	arch->is_gated = 1;
	arch->norm_place = EMB_NORM_PRE;
	arch->has_first_norm = 0;
}

/* "layer_types", if present, must agree with global_every. */
static EmbStatus
check_layer_types(const EmbJson *doc, const EmbArch *arch, EmbError *err)
{
	const json_t *list = json_object_get(doc->root, "layer_types");

	if (list == NULL || json_is_null(list))
		return EMB_OK;
	if (!json_is_array(list) || json_array_size(list) != (size_t) arch->n_layers)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"layer_types\" is not a list of %d", doc->file, arch->n_layers);
	for (int32_t i = 0; i < arch->n_layers; i++)
	{
		const char *type = json_string_value(json_array_get(list, i));
		const char *want = emb_arch_is_local(arch, i) ? "sliding_attention" : "full_attention";

		if (type == NULL)
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"layer_types\" holds something other than strings", doc->file);
		if (strcmp(type, want) != 0)
			return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"layer_types\" has \"%.*s\" for layer %d; every %dth layer must be of "
							 "\"full_attention\", the others of \"sliding_attention\"", doc->file,
							 emb_json_clip(type, 80), type, i, arch->global_every);
	}
	return EMB_OK;
}

/* The head over the vocabulary has the classifier's activation. */
static EmbStatus
read_lm_head(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	const char *activation = "gelu";
	EmbStatus	status = emb_json_get_string(doc, doc->root, "classifier_activation", &activation, err);

	if (status == EMB_OK && strcmp(activation, "tanh") == 0)
		config->lm_activation = EMB_ACT_TANH;
	/* only a head that is used needs a known one */
	else if (status == EMB_OK && !emb_hf_find_activation(activation, false, &config->lm_activation))
		config->is_masked_lm = false;
	return status;
}

/*
 * The head of ModernBertForSequenceClassification: pooled rows, a dense layer,
 * activation, norm, classifier.
 */
static EmbStatus
read_head(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	EmbArch    *arch = &config->arch;
	const char *pooling = "cls";
	const char *activation = "gelu";
	bool		has_bias = false;
	EmbStatus	status;

	if (arch->head != EMB_HEAD_SCORE)
		return read_lm_head(doc, config, err);
	if ((status = emb_json_get_string(doc, doc->root, "classifier_pooling", &pooling, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "classifier_activation", &activation, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "classifier_bias", &has_bias, err)) != EMB_OK)
		return status;
	if (strcmp(pooling, "cls") != 0 && strcmp(pooling, "mean") != 0)
		return emb_hf_unsupported(doc, "classifier_pooling", pooling, "cls and mean are known", err);
	arch->pooling = strcmp(pooling, "cls") == 0 ? EMB_POOL_CLS : EMB_POOL_MEAN;
	arch->head_has_norm = 1;
	arch->head_has_bias = has_bias;
	if (strcmp(activation, "tanh") != 0 && !emb_hf_find_activation(activation, false, &arch->head_activation))
		return emb_hf_unsupported(doc, "classifier_activation", activation,
								  "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu and tanh are known", err);
	return EMB_OK;
}

static EmbStatus
read_modernbert(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const char *const off[] = {"attention_bias", "mlp_bias", "norm_bias", NULL};
	const json_t *rope = json_object_get(doc->root, "rope_parameters");
	EmbArch    *arch = &config->arch;
	double	   *base = &arch->rotary_base;
	double	   *local = &arch->rotary_local_base;
	int64_t		every = 3;
	int64_t		width = 128;
	EmbStatus	status;

	*base = 160000;
	*local = 10000;
	if ((status = emb_hf_check_head_size(doc, config, err)) != EMB_OK ||
		(status = emb_hf_check_off(doc, off, false, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "global_attn_every_n_layers", 1, EMB_ARCH_MAX_LAYERS, &every, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "local_attention", 2, EMB_ARCH_MAX_POSITIONS, &width, err)) != EMB_OK ||
		(status = emb_json_get_double(doc, doc->root, "global_rope_theta", 1, EMB_ARCH_MAX_ROTARY_BASE, base, err)) != EMB_OK ||
		(status = emb_json_get_double(doc, doc->root, "local_rope_theta", 1, EMB_ARCH_MAX_ROTARY_BASE, local, err)) != EMB_OK)
		return status;
	arch->global_every = (int32_t) every;
	arch->window = (int32_t) width / 2;
	if ((status = check_layer_types(doc, arch, err)) != EMB_OK ||
		(status = read_head(doc, config, err)) != EMB_OK ||
		(status = emb_hf_read_rope(doc, json_object_get(rope, "full_attention"), "full_attention", base, err)) != EMB_OK)
		return status;
	return emb_hf_read_rope(doc, json_object_get(rope, "sliding_attention"), "sliding_attention", local, err);
}

EMB_FAMILY_LIST(modernbert) = {
	{
		.model_type = "modernbert",
		.class_stem = "ModernBert",
		EMB_FAMILY_SIZE_KEYS,
		.activation = "hidden_activation",
		.norm_eps = "norm_eps",
		.absent_layers = 22,
		.absent_vocab = 50368,
		.absent_positions = 8192,
		.absent_eps = 1e-5,
		.shape = shape,
		.read = read_modernbert,
		.prefix = "model.",
		.layer = "layers.%d.",
		.names = {
			EMB_NAME(WORDS, "embeddings.tok_embeddings"),
			EMB_NAME_BARE(EMBEDDING_NORM, "embeddings.norm"),
			EMB_NAME_QKV("attn.Wqkv", true),
			EMB_NAME_BARE(ATTN_OUT, "attn.Wo"),
			EMB_NAME_BARE(ATTN_NORM, "attn_norm"),
			EMB_NAME_SLICE(FFN_GATE, "mlp.Wi", 0, 2),
			EMB_NAME_SLICE(FFN_UP, "mlp.Wi", 1, 2),
			EMB_NAME_BARE(FFN_DOWN, "mlp.Wo"),
			EMB_NAME_BARE(FFN_NORM, "mlp_norm"),
			EMB_NAME_BARE(FINAL_NORM, "final_norm"),
			EMB_NAME(POOLER, "head.dense"),
			EMB_NAME_BARE(HEAD_NORM, "head.norm"),
			EMB_NAME(LM_DENSE, "head.dense"),
			EMB_NAME_BARE(LM_NORM, "head.norm"),
			EMB_NAME(LM_OUT, "decoder"),
		},
	},
	{0}
};
