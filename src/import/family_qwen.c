/*
 * family_qwen.c
 *		Qwen3 and Qwen2: decoders with RMS norms, RoPE, a GLU and shared key
 *		heads. They read causally, or in both directions where the files say
 *		so (voyage-4-nano, pplx-embed).
 */
#include "import/family.h"

#include <string.h>

static void
shape_qwen2(EmbArch *arch)
{
	arch->norm_kind = EMB_NORM_RMS;
	arch->norm_place = EMB_NORM_PRE;
	arch->has_embedding_norm = 0;
	arch->positions = EMB_POSITIONS_ROTARY;
	arch->is_gated = 1;
	arch->is_causal = 1;
}

static void
shape_qwen3(EmbArch *arch)
{
	shape_qwen2(arch);
	arch->has_qk_norm = 1;
}

/* Its class reads in both directions, whatever the keys say. */
static void
shape_pplx(EmbArch *arch)
{
	shape_qwen3(arch);
	arch->is_causal = 0;
}

/* A list of "full_attention", if it is there. */
static EmbStatus
check_layer_types(const EmbJson *doc, EmbError *err)
{
	const json_t *list = json_object_get(doc->root, "layer_types");

	if (list != NULL && !json_is_null(list) && !json_is_array(list))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"layer_types\" is not a list", doc->file);
	for (size_t i = 0; i < json_array_size(list); i++)
	{
		const char *type = json_string_value(json_array_get(list, i));

		if (type == NULL)
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"layer_types\" holds something other than strings", doc->file);
		if (strcmp(type, "full_attention") != 0)
			return emb_hf_unsupported(doc, "layer_types", type, "only \"full_attention\" can be imported", err);
	}
	return EMB_OK;
}

/* The base, by either name, and no other scaling than the default. */
static EmbStatus
read_rotation(const EmbJson *doc, EmbArch *arch, EmbError *err)
{
	EmbStatus	status;

	arch->rotary_base = 10000;
	if ((status = emb_hf_check_rope_scaling(doc, err)) != EMB_OK ||
		(status = emb_json_get_double(doc, doc->root, "rope_theta", 1, EMB_ARCH_MAX_ROTARY_BASE, &arch->rotary_base, err)) != EMB_OK)
		return status;
	return emb_hf_read_rope(doc, json_object_get(doc->root, "rope_parameters"), "rope_parameters", &arch->rotary_base, err);
}

static EmbStatus
read_direction(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	bool		is_causal = true;
	bool		is_bidirectional = false;
	EmbStatus	status;

	if ((status = emb_json_get_bool(doc, doc->root, "is_causal", &is_causal, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "use_bidirectional_attention", &is_bidirectional, err)) != EMB_OK)
		return status;
	if (!is_causal || is_bidirectional || config->is_bidirectional)
		config->arch.is_causal = 0;
	return EMB_OK;
}

/*
 * Qwen3BidirectionalModel ends with a matrix; the mean of its outputs is its
 * output of the mean. transformers writes the number of outputs as "id2label".
 * It writes two labels where a configuration has none, so that two say nothing:
 * emb_hf_tensors_open refuses a matrix whose outputs no key counts.
 */
static EmbStatus
read_projection(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	size_t		n_names = json_object_size(json_object_get(doc->root, "id2label"));
	int64_t		n = n_names != 2 ? (int64_t) n_names : 0;
	EmbStatus	status;

	if (!config->is_bidirectional)
		return EMB_OK;
	status = emb_json_get_int(doc, doc->root, "num_labels", 1, EMB_ARCH_MAX_HIDDEN, &n, err);
	if (status == EMB_OK && n > EMB_ARCH_MAX_HIDDEN)
		return emb_error(err, EMB_ERR_LIMIT, "%s: \"id2label\" has %zu entries, more than %d", doc->file, n_names, EMB_ARCH_MAX_HIDDEN);
	config->projection = (int32_t) n;
	return status;
}

static EmbStatus
read_qwen(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const char *const off[] = {"use_sliding_window", "use_mrope", NULL};
	EmbArch    *arch = &config->arch;
	const char *activation = "silu";
	EmbStatus	status;

	if ((status = emb_hf_check_off(doc, off, false, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "hidden_act", &activation, err)) != EMB_OK ||
		(status = check_layer_types(doc, err)) != EMB_OK ||
		(status = read_rotation(doc, arch, err)) != EMB_OK ||
		(status = read_direction(doc, config, err)) != EMB_OK)
		return status;
	if (arch->activation != EMB_ACT_SILU)
		return emb_hf_unsupported(doc, "hidden_act", activation, "only \"silu\" can be imported", err);
	return read_projection(doc, config, err);
}

static EmbStatus
read_qwen3(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const char *const off[] = {"attention_bias", NULL};
	EmbStatus	status = emb_hf_check_off(doc, off, false, err);

	return status == EMB_OK ? read_qwen(doc, config, err) : status;
}

#define QWEN_KEYS \
	EMB_FAMILY_SIZE_KEYS, \
	.n_kv_heads = "num_key_value_heads", \
	.head_size = "head_dim", \
	.activation = "hidden_act", \
	.absent_activation = "silu", \
	.norm_eps = "rms_norm_eps", \
	.absent_layers = 32, \
	.absent_vocab = 151936, \
	.absent_positions = 32768, \
	.absent_eps = 1e-6, \
	.is_decoder = true, \
	.prefix = "model.", \
	.layer = "layers.%d."

#define QWEN_NAMES \
	EMB_NAME(WORDS, "embed_tokens"), \
	EMB_NAME_BARE(ATTN_NORM, "input_layernorm"), \
	EMB_NAME_BARE(ATTN_OUT, "self_attn.o_proj"), \
	EMB_NAME_BARE(FFN_NORM, "post_attention_layernorm"), \
	EMB_NAME_BARE(FFN_GATE, "mlp.gate_proj"), \
	EMB_NAME_BARE(FFN_UP, "mlp.up_proj"), \
	EMB_NAME_BARE(FFN_DOWN, "mlp.down_proj"), \
	EMB_NAME_BARE(FINAL_NORM, "norm")

#define QWEN3_NAMES \
	QWEN_NAMES, \
	EMB_NAME_BARE(QUERY, "self_attn.q_proj"), \
	EMB_NAME_BARE(KEY, "self_attn.k_proj"), \
	EMB_NAME_BARE(VALUE, "self_attn.v_proj"), \
	EMB_NAME_BARE(QUERY_NORM, "self_attn.q_norm"), \
	EMB_NAME_BARE(KEY_NORM, "self_attn.k_norm")

EMB_FAMILY_LIST(qwen) = {
	{
		.model_type = "qwen3",
		.class_stem = "Qwen3",
		QWEN_KEYS,
		.shape = shape_qwen3,
		.read = read_qwen3,
		.names = {QWEN3_NAMES},
	},
	{
		.model_type = "bidirectional_pplx_qwen3",
		.name = "qwen3",
		.class_stem = "PPLXQwen3",
		.has_own_code = true,
		QWEN_KEYS,
		.shape = shape_pplx,
		.read = read_qwen3,
		.names = {QWEN3_NAMES},
	},
	{
		.model_type = "qwen2",
		.class_stem = "Qwen2",
		QWEN_KEYS,
		.template = EMB_BUILT_IN_MXBAI,
		.shape = shape_qwen2,
		.read = read_qwen,
		.names = {
			QWEN_NAMES,
			EMB_NAME(QUERY, "self_attn.q_proj"),
			EMB_NAME(KEY, "self_attn.k_proj"),
			EMB_NAME(VALUE, "self_attn.v_proj"),
		},
	},
	{0}
};
