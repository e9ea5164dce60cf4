/*
 * family_jinabert.c
 *		JinaBert (Günther et al. 2023): jina-embeddings-v2, jina-reranker-v1.
 *		BERT with ALiBi in place of positions, and a GLU. Its files call
 *		themselves "bert"; the kind of positions tells them apart. A variant
 *		(jina-embeddings-v2-base-code) has layer norms of queries and keys, and
 *		two norms after attention.
 */
#include "import/family.h"

#include <string.h>

static void
shape(EmbArch *arch)
{
	arch->positions = EMB_POSITIONS_ALIBI;
	arch->is_gated = 1;
}

/* The variant with norms of queries and keys is told by the name of its code. */
static bool
has_qk_norms(const EmbJson *doc)
{
	static const char variant[] = "qk-post-norm";
	const char *positions = json_string_value(json_object_get(doc->root, "position_embedding_type"));
	const char *name = json_string_value(json_object_get(doc->root, "_name_or_path"));
	const char *key;
	json_t	   *value;
	bool		is_named = name != NULL && strstr(name, variant) != NULL;

	json_object_foreach(json_object_get(doc->root, "auto_map"), key, value)
	{
		name = json_string_value(value);
		is_named |= name != NULL && strstr(name, variant) != NULL;
	}
	return is_named && positions != NULL && strcmp(positions, "alibi") == 0;
}

static void
shape_qk_norms(EmbArch *arch)
{
	shape(arch);
	arch->has_qk_norm = EMB_QK_NORM_ROWS;
	arch->has_second_norm = 1;
}

static EmbStatus
read_jinabert(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	const char *kind = "original";
	EmbStatus	status;

	if ((status = emb_json_get_string(doc, doc->root, "feed_forward_type", &kind, err)) != EMB_OK)
		return status;
	if (strcmp(kind, "geglu") != 0 && strcmp(kind, "reglu") != 0)
		return emb_hf_unsupported(doc, "feed_forward_type", kind, "\"geglu\" and \"reglu\" can be imported", err);
	config->arch.activation = strcmp(kind, "geglu") == 0 ? EMB_ACT_GELU : EMB_ACT_RELU;
	return EMB_OK;
}

#define JINABERT \
	.model_type = "bert", \
	.name = "jina-bert", \
	.class_stem = "JinaBert", \
	.has_own_code = true, \
	EMB_FAMILY_SIZE_KEYS, \
	.activation = "hidden_act", \
	.norm_eps = "layer_norm_eps", \
	.absent_layers = 12, \
	.absent_vocab = 30522, \
	.absent_positions = 512, \
	.absent_eps = 1e-12, \
	.types = "type_vocab_size", \
	.min_types = 1, \
	.position_type = "alibi", \
	.read = read_jinabert, \
	.prefix = "bert."

EMB_FAMILY_LIST(jinabert) = {
	{
		JINABERT,
		.is_meant = has_qk_norms,
		.shape = shape_qk_norms,
		.names = {
			EMB_NAME(QUERY_NORM, "attention.self.layer_norm_q"),
			EMB_NAME(KEY_NORM, "attention.self.layer_norm_k"),
			EMB_NAME(SECOND_NORM, "layer_norm_1"),
			EMB_NAME_SLICE(FFN_UP, "mlp.up_gated_layer", 0, 2),
			EMB_NAME_SLICE(FFN_GATE, "mlp.up_gated_layer", 1, 2),
			EMB_NAME(FFN_DOWN, "mlp.down_layer"),
			EMB_NAME(FFN_NORM, "layer_norm_2"),
		},
	},
	{
		JINABERT,
		.is_told_by_positions = true,
		.shape = shape,
		.names = {
			EMB_NAME_SLICE(FFN_GATE, "mlp.gated_layers", 0, 2),
			EMB_NAME_SLICE(FFN_UP, "mlp.gated_layers", 1, 2),
			EMB_NAME(FFN_DOWN, "mlp.wo"),
			EMB_NAME(FFN_NORM, "mlp.layernorm"),
		},
	},
	{0}
};
