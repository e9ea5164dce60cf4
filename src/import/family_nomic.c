/*
 * family_nomic.c
 *		NomicBert (Nussbaum et al. 2024): BERT with RoPE and a GLU. Its
 *		authors and transformers write config.json in two different ways. The
 *		authors' later models have experts, and biases in the place of gates
 *		(Nussbaum and Duderstadt 2025).
 */
#include "import/family.h"

#include <string.h>

static void
shape(EmbArch *arch)
{
	arch->positions = EMB_POSITIONS_ROTARY;
	arch->is_gated = 1;
}

/* Experts in the place of gated feed-forward layers, in both ways of writing. */
static const char *const experts[] = {
	"moe_every_n_layers", "num_experts", "num_local_experts", "num_experts_per_tok", "moe_top_k", "moe_num_experts", NULL
};

/* As transformers writes it. */
static EmbStatus
read_nomic(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const char *const off[] = {"attention_bias", "mlp_bias", NULL};
	EmbStatus	status;

	config->arch.rotary_base = 1000;
	if ((status = emb_hf_check_head_size(doc, config, err)) != EMB_OK ||
		(status = emb_hf_check_unset(doc, experts, err)) != EMB_OK ||
		(status = emb_hf_check_off(doc, off, false, err)) != EMB_OK)
		return status;
	return emb_hf_read_rope(doc, json_object_get(doc->root, "rope_parameters"), "rope_parameters", &config->arch.rotary_base, err);
}

/* What all models have whose files the authors wrote. */
static EmbStatus
read_authors(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const char *const off[] = {"prenorm", "parallel_block", "use_rms_norm", "causal", "rotary_emb_interleaved", NULL};
	static const char *const unset[] = {"rotary_emb_scale_base", "rotary_scaling_factor", NULL};
	double		fraction = 0;
	EmbStatus	status;

	config->arch.rotary_base = 10000;
	if ((status = emb_hf_check_head_size(doc, config, err)) != EMB_OK ||
		(status = emb_hf_check_off(doc, off, false, err)) != EMB_OK ||
		(status = emb_hf_check_unset(doc, unset, err)) != EMB_OK ||
		(status = emb_json_get_double(doc, doc->root, "rotary_emb_fraction", 0, 1, &fraction, err)) != EMB_OK)
		return status;
	if (fraction != 1)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"rotary_emb_fraction\" is %g; only 1 can be imported", doc->file, fraction);
	return emb_json_get_double(doc, doc->root, "rotary_emb_base", 1, EMB_ARCH_MAX_ROTARY_BASE, &config->arch.rotary_base, err);
}

/* With gates, as the authors write it. */
static EmbStatus
read_own(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const char *const biases[] = {"qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias", NULL};
	EmbStatus	status;

	if ((status = emb_hf_check_off(doc, biases, true, err)) != EMB_OK ||
		(status = emb_hf_check_unset(doc, experts, err)) != EMB_OK)
		return status;
	return read_authors(doc, config, err);
}

/* The layers whose number leaves 1 when it is divided have experts: none where each number leaves 0. */
static EmbStatus
read_experts(const EmbJson *doc, EmbArch *arch, EmbError *err)
{
	static const char *const unset[] = {
		"num_shared_experts", "expert_choice_router", "moe_normalize_expert_weights",
		/* in the other way of writing: they would contradict the keys below */
		"num_local_experts", "num_experts_per_tok", "moe_num_experts", NULL
	};
	int64_t		n = 0;
	int64_t		used = 0;
	int64_t		every = 0;
	EmbStatus	status;

	if ((status = emb_json_get_int(doc, doc->root, "num_experts", 0, EMB_ARCH_MAX_EXPERTS, &n, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "moe_every_n_layers", 0, EMB_ARCH_MAX_LAYERS, &every, err)) != EMB_OK ||
		n == 0 || every < 2)
		return status;
	if ((status = emb_hf_check_unset(doc, unset, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "moe_top_k", 1, n, &used, err)) != EMB_OK)
		return status;
	if (used == 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"num_experts\" is %lld, but \"moe_top_k\" is missing", doc->file, (long long) n);
	if (arch->activation != EMB_ACT_GELU)
		return emb_hf_unsupported(doc, "activation_function", json_string_value(json_object_get(doc->root, "activation_function")),
								  "experts can be imported with \"gelu\"", err);
	arch->n_experts = (int32_t) n;
	arch->experts_used = (int32_t) used;
	arch->expert_every = (int32_t) every;
	arch->expert_first = 1;
	return EMB_OK;
}

/* Without gates, with or without experts. */
static EmbStatus
read_plain(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const char *const biases[] = {"qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias", NULL};
	EmbStatus	status;

	if (!json_is_string(json_object_get(doc->root, "activation_function")))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"activation_function\" is missing or not a string", doc->file);
	status = emb_hf_check_on(doc, biases, err);
	if (status == EMB_OK)
		status = read_experts(doc, &config->arch, err);
	return status == EMB_OK ? read_authors(doc, config, err) : status;
}

static bool
is_plain(const EmbJson *doc)
{
	const char *activation = json_string_value(json_object_get(doc->root, "activation_function"));

	if (json_object_get(doc->root, "n_embd") == NULL)
		return false;
	/* with any other activation, it is that which cannot be imported, not the biases */
	return (activation != NULL && strncmp(activation, "gelu", 4) == 0) ||
		(json_is_true(json_object_get(doc->root, "mlp_fc1_bias")) && json_is_integer(json_object_get(doc->root, "num_experts")));
}

static void
shape_plain(EmbArch *arch)
{
	arch->positions = EMB_POSITIONS_ROTARY;
}

#define NOMIC \
	.model_type = "nomic_bert", \
	.class_stem = "NomicBert", \
	.has_own_code = true, \
	.absent_layers = 12, \
	.absent_positions = 2048, \
	.types = "type_vocab_size", \
	.min_types = 1, \
	.prefix = "bert.", \
	.layer = "encoder.layers.%d."

#define AUTHORS_KEYS \
	.hidden = "n_embd", \
	.n_layers = "n_layer", \
	.n_heads = "n_head", \
	.intermediate = "n_inner", \
	.positions = "n_positions", \
	.activation = "activation_function", \
	.norm_eps = "layer_norm_epsilon", \
	.absent_vocab = 30522, \
	.absent_eps = 1e-5

#define GATED \
	.absent_activation = "silu", \
	.shape = shape, \
	.names = { \
		EMB_NAME(EMBEDDING_NORM, "emb_ln"), \
		EMB_NAME_QKV("attn.Wqkv", true), \
		EMB_NAME_BARE(ATTN_OUT, "attn.out_proj"), \
		EMB_NAME(ATTN_NORM, "norm1"), \
		EMB_NAME_BARE(FFN_GATE, "mlp.fc12"), \
		EMB_NAME_BARE(FFN_UP, "mlp.fc11"), \
		EMB_NAME_BARE(FFN_DOWN, "mlp.fc2"), \
		EMB_NAME(FFN_NORM, "norm2"), \
	}

EMB_FAMILY_LIST(nomic) = {
	{
		NOMIC,
		AUTHORS_KEYS,
		GATED,
		.read = read_own,
	},
	{
		NOMIC,
		EMB_FAMILY_SIZE_KEYS,
		.activation = "hidden_act",
		.norm_eps = "layer_norm_eps",
		.absent_vocab = 30528,
		.absent_eps = 1e-12,
		GATED,
		.read = read_nomic,
	},
	{
		NOMIC,
		AUTHORS_KEYS,
		.is_meant = is_plain,
		.shape = shape_plain,
		.read = read_plain,
		.names = {
			EMB_NAME(EMBEDDING_NORM, "emb_ln"),
			EMB_NAME_QKV("attn.Wqkv", false),
			EMB_NAME(ATTN_OUT, "attn.out_proj"),
			EMB_NAME(ATTN_NORM, "norm1"),
			EMB_NAME(FFN_UP, "mlp.fc1"),
			EMB_NAME(FFN_DOWN, "mlp.fc2"),
			EMB_NAME(FFN_NORM, "norm2"),
			EMB_NAME_BARE(ROUTER, "mlp.router.layer"),
			EMB_NAME_BARE(EXPERT_UP, "mlp.experts.mlp.w1"),
			EMB_NAME_BARE(EXPERT_DOWN, "mlp.experts.mlp.w2"),
			EMB_NAME(EXPERT_BIAS, "mlp.experts.bias"),
		},
	},
	{0}
};
