/*
 * family_nomic.c
 *		NomicBert (Nussbaum et al. 2024): BERT with RoPE and a GLU. Its
 *		authors and transformers write config.json in two different ways.
 */
#include "import/family.h"

static void
shape(EmbArch *arch)
{
	arch->positions = EMB_POSITIONS_ROTARY;
	arch->is_gated = 1;
}

/* Experts in the place of feed-forward layers, in both ways of writing. */
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

/* As the authors write it. */
static EmbStatus
read_own(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const char *const biases[] = {"qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias", NULL};
	static const char *const off[] = {"prenorm", "parallel_block", "use_rms_norm", "causal", "rotary_emb_interleaved", NULL};
	static const char *const unset[] = {"rotary_emb_scale_base", "rotary_scaling_factor", NULL};
	double		fraction = 0;
	EmbStatus	status;

	config->arch.rotary_base = 10000;
	if ((status = emb_hf_check_head_size(doc, config, err)) != EMB_OK ||
		(status = emb_hf_check_off(doc, biases, true, err)) != EMB_OK ||
		(status = emb_hf_check_off(doc, off, false, err)) != EMB_OK ||
		(status = emb_hf_check_unset(doc, unset, err)) != EMB_OK ||
		(status = emb_hf_check_unset(doc, experts, err)) != EMB_OK ||
		(status = emb_json_get_double(doc, doc->root, "rotary_emb_fraction", 0, 1, &fraction, err)) != EMB_OK)
		return status;
	if (fraction != 1)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"rotary_emb_fraction\" is %g; only 1 can be imported", doc->file, fraction);
	return emb_json_get_double(doc, doc->root, "rotary_emb_base", 1, EMB_ARCH_MAX_ROTARY_BASE, &config->arch.rotary_base, err);
}

#define NOMIC \
	.model_type = "nomic_bert", \
	.class_stem = "NomicBert", \
	.has_own_code = true, \
	.absent_layers = 12, \
	.absent_positions = 2048, \
	.types = "type_vocab_size", \
	.min_types = 1, \
	.absent_activation = "silu", \
	.shape = shape, \
	.prefix = "bert.", \
	.layer = "encoder.layers.%d.", \
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
		.hidden = "n_embd",
		.n_layers = "n_layer",
		.n_heads = "n_head",
		.intermediate = "n_inner",
		.positions = "n_positions",
		.activation = "activation_function",
		.norm_eps = "layer_norm_epsilon",
		.absent_vocab = 30522,
		.absent_eps = 1e-5,
		.read = read_own,
	},
	{
		NOMIC,
		EMB_FAMILY_SIZE_KEYS,
		.activation = "hidden_act",
		.norm_eps = "layer_norm_eps",
		.absent_vocab = 30528,
		.absent_eps = 1e-12,
		.read = read_nomic,
	},
	{0}
};
