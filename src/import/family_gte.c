/*
 * family_gte.c
 *		GTE v1.5 (Zhang et al. 2024), "new" in its authors' code: BERT with
 *		RoPE and a GLU.
 */
#include "import/family.h"

#include <string.h>

static void
shape(EmbArch *arch)
{
	arch->positions = EMB_POSITIONS_ROTARY;
	arch->is_gated = 1;
}

/* Fixed NTK scaling, as in the model's own code. */
static EmbStatus
read_scaling(const EmbJson *doc, EmbArch *arch, EmbError *err)
{
	const json_t *object = json_object_get(doc->root, "rope_scaling");
	const json_t *mixed;
	const char *type = "";
	EmbStatus	status;

	if (object == NULL || json_is_null(object))
		return EMB_OK;
	if (!json_is_object(object))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"rope_scaling\" is not an object", doc->file);
	mixed = json_object_get(object, "mixed_b");
	status = emb_json_get_string(doc, object, "type", &type, err);
	if (status != EMB_OK)
		return status;
	if (strcmp(type, "ntk") != 0 || (mixed != NULL && !json_is_null(mixed)))
		return emb_hf_unsupported(doc, "rope_scaling", type, "only \"ntk\" without \"mixed_b\" can be imported", err);
	arch->rotary_scaling = EMB_ROTARY_NTK;
	return emb_json_get_double(doc, object, "factor", 1, 1024, &arch->rotary_scale, err);
}

static EmbStatus
read_gte(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const char *const off[] = {"logn_attention_scale", "logn_attention_clip1", NULL};
	EmbArch    *arch = &config->arch;
	const char *norm = "layer_norm";
	EmbStatus	status;

	arch->rotary_base = 10000;
	if ((status = emb_hf_check_head_size(doc, config, err)) != EMB_OK ||
		(status = emb_hf_check_off(doc, off, false, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "layer_norm_type", &norm, err)) != EMB_OK ||
		(status = emb_json_get_double(doc, doc->root, "rope_theta", 1, EMB_ARCH_MAX_ROTARY_BASE, &arch->rotary_base, err)) != EMB_OK ||
		(status = read_scaling(doc, arch, err)) != EMB_OK)
		return status;
	if (strcmp(norm, "layer_norm") != 0)
		return emb_hf_unsupported(doc, "layer_norm_type", norm, "only \"layer_norm\" can be imported", err);
	return emb_hf_read_rope(doc, json_object_get(doc->root, "rope_parameters"), "rope_parameters", &arch->rotary_base, err);
}

#define GTE(type, stem) \
	{ \
		.model_type = type, \
		.name = "gte", \
		.has_own_code = true, \
		.class_stem = stem, \
		EMB_FAMILY_SIZE_KEYS, \
		.activation = "hidden_act", \
		.norm_eps = "layer_norm_eps", \
		.absent_layers = 12, \
		.absent_vocab = 30528, \
		.absent_positions = 8192, \
		.absent_eps = 1e-12, \
		.types = "type_vocab_size", \
		.position_type = "rope", \
		.shape = shape, \
		.read = read_gte, \
		.prefix = "new.", \
		.names = { \
			EMB_NAME_QKV("attention.qkv_proj", false), \
			EMB_NAME(ATTN_OUT, "attention.o_proj"), \
			EMB_NAME(ATTN_NORM, "attn_ln"), \
			EMB_NAME_SLICE(FFN_UP, "mlp.up_gate_proj", 0, 2), \
			EMB_NAME_SLICE(FFN_GATE, "mlp.up_gate_proj", 1, 2), \
			EMB_NAME(FFN_DOWN, "mlp.down_proj"), \
			EMB_NAME(FFN_NORM, "mlp_ln"), \
			EMB_NAME(LM_DENSE, "lm_head.dense"), \
			EMB_NAME(LM_NORM, "lm_head.norm"), \
			EMB_NAME(LM_OUT, "lm_head.decoder"), \
		}, \
	}

EMB_FAMILY_LIST(gte) = {
	GTE("gte", "Gte"),
	GTE("new", "New"),
	{0}
};
