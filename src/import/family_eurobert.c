/*
 * family_eurobert.c
 *		EuroBERT (Boizard et al. 2025): the layers of a decoder, with RMS norms,
 *		RoPE, a GLU and shared key heads, that see all tokens.
 */
#include "import/family.h"

#include <string.h>

static void
shape(EmbArch *arch)
{
	arch->norm_kind = EMB_NORM_RMS;
	arch->norm_place = EMB_NORM_PRE;
	arch->has_embedding_norm = 0;
	arch->positions = EMB_POSITIONS_ROTARY;
	arch->is_gated = 1;
}

/*
 * The classifier pools before its dense layer, or ("late", the class's
 * default) after it, which a score head cannot.
 */
static EmbStatus
read_head(const EmbJson *doc, EmbArch *arch, EmbError *err)
{
	const char *pooling = "late";
	EmbStatus	status;

	if (arch->head != EMB_HEAD_SCORE)
		return EMB_OK;
	status = emb_json_get_string(doc, doc->root, "classifier_pooling", &pooling, err);
	if (status != EMB_OK)
		return status;
	if (strcmp(pooling, "bos") != 0 && strcmp(pooling, "mean") != 0)
		return emb_hf_unsupported(doc, "classifier_pooling", pooling, "\"bos\" and \"mean\" can be imported", err);
	arch->pooling = strcmp(pooling, "bos") == 0 ? EMB_POOL_CLS : EMB_POOL_MEAN;
	return EMB_OK;
}

static EmbStatus
read_eurobert(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const char *const off[] = {"attention_bias", "mlp_bias", NULL};
	EmbArch    *arch = &config->arch;
	EmbStatus	status;

	arch->rotary_base = 10000;
	if ((status = emb_hf_check_off(doc, off, false, err)) != EMB_OK ||
		(status = emb_hf_check_rope_scaling(doc, err)) != EMB_OK ||
		(status = emb_json_get_double(doc, doc->root, "rope_theta", 1, EMB_ARCH_MAX_ROTARY_BASE, &arch->rotary_base, err)) != EMB_OK ||
		(status = emb_hf_read_rope(doc, json_object_get(doc->root, "rope_parameters"), "rope_parameters", &arch->rotary_base, err)) != EMB_OK)
		return status;
	return read_head(doc, arch, err);
}

EMB_FAMILY_LIST(eurobert) = {
	{
		.model_type = "eurobert",
		.class_stem = "EuroBert",
		EMB_FAMILY_SIZE_KEYS,
		.n_kv_heads = "num_key_value_heads",
		.head_size = "head_dim",
		.activation = "hidden_act",
		.absent_activation = "silu",
		.norm_eps = "rms_norm_eps",
		.absent_layers = 12,
		.absent_vocab = 128256,
		.absent_positions = 8192,
		.absent_eps = 1e-5,
		.head_activation = EMB_ACT_GELU,
		.shape = shape,
		.read = read_eurobert,
		.prefix = "model.",
		.layer = "layers.%d.",
		.names = {
			EMB_NAME(WORDS, "embed_tokens"),
			EMB_NAME_BARE(QUERY, "self_attn.q_proj"),
			EMB_NAME_BARE(KEY, "self_attn.k_proj"),
			EMB_NAME_BARE(VALUE, "self_attn.v_proj"),
			EMB_NAME_BARE(ATTN_OUT, "self_attn.o_proj"),
			EMB_NAME_BARE(ATTN_NORM, "input_layernorm"),
			EMB_NAME_BARE(FFN_NORM, "post_attention_layernorm"),
			EMB_NAME_BARE(FFN_GATE, "mlp.gate_proj"),
			EMB_NAME_BARE(FFN_UP, "mlp.up_proj"),
			EMB_NAME_BARE(FFN_DOWN, "mlp.down_proj"),
			EMB_NAME_BARE(FINAL_NORM, "norm"),
			EMB_NAME(POOLER, "dense"),
		},
	},
	{0}
};
