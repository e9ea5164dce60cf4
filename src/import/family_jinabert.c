/*
 * family_jinabert.c
 *		JinaBert (Günther et al. 2023): jina-embeddings-v2, jina-reranker-v1.
 *		BERT with ALiBi in place of positions, and a GLU. Its files call
 *		themselves "bert"; the kind of positions tells them apart.
 */
#include "import/family.h"

#include <string.h>

static void
shape(EmbArch *arch)
{
	arch->positions = EMB_POSITIONS_ALIBI;
	arch->is_gated = 1;
}

/* The variant whose queries and keys have a layer norm over all heads names its code. */
static EmbStatus
check_code(const EmbJson *doc, EmbError *err)
{
	static const char variant[] = "qk-post-norm";
	const char *name = json_string_value(json_object_get(doc->root, "_name_or_path"));
	const char *key;
	json_t	   *value;

	if (name != NULL && strstr(name, variant) != NULL)
		return emb_hf_unsupported(doc, "_name_or_path", name, "JinaBert with norms of queries and keys cannot be imported", err);
	json_object_foreach(json_object_get(doc->root, "auto_map"), key, value)
	{
		name = json_string_value(value);
		if (name != NULL && strstr(name, variant) != NULL)
			return emb_hf_unsupported(doc, "auto_map", name, "JinaBert with norms of queries and keys cannot be imported", err);
	}
	return EMB_OK;
}

static EmbStatus
read_jinabert(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	const char *kind = "original";
	EmbStatus	status;

	if ((status = check_code(doc, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "feed_forward_type", &kind, err)) != EMB_OK)
		return status;
	if (strcmp(kind, "geglu") != 0 && strcmp(kind, "reglu") != 0)
		return emb_hf_unsupported(doc, "feed_forward_type", kind, "\"geglu\" and \"reglu\" can be imported", err);
	config->arch.activation = strcmp(kind, "geglu") == 0 ? EMB_ACT_GELU : EMB_ACT_RELU;
	return EMB_OK;
}

EMB_FAMILY_LIST(jinabert) = {
	{
		.model_type = "bert",
		.name = "jina-bert",
		.class_stem = "JinaBert",
		.has_own_code = true,
		EMB_FAMILY_SIZE_KEYS,
		.activation = "hidden_act",
		.norm_eps = "layer_norm_eps",
		.absent_layers = 12,
		.absent_vocab = 30522,
		.absent_positions = 512,
		.absent_eps = 1e-12,
		.types = "type_vocab_size",
		.min_types = 1,
		.position_type = "alibi",
		.is_told_by_positions = true,
		.shape = shape,
		.read = read_jinabert,
		.prefix = "bert.",
		.names = {
			EMB_NAME_SLICE(FFN_GATE, "mlp.gated_layers", 0, 2),
			EMB_NAME_SLICE(FFN_UP, "mlp.gated_layers", 1, 2),
			EMB_NAME(FFN_DOWN, "mlp.wo"),
			EMB_NAME(FFN_NORM, "mlp.layernorm"),
		},
	},
	{0}
};
