/*
 * parts.c
 *		Names of tensors, for messages.
 */
#include "common/parts.h"

#include <stdio.h>

static const char *const part_names[EMB_N_PARTS] =
{
	[EMB_PART_WORDS] = "words",
	[EMB_PART_POSITIONS] = "positions",
	[EMB_PART_TYPES] = "types",
	[EMB_PART_EMBEDDING_NORM] = "embedding_norm",
	[EMB_PART_FINAL_NORM] = "final_norm",
	[EMB_PART_DISTANCES] = "distances",
	[EMB_PART_ROTARY] = "rotary",
	[EMB_PART_ROTARY_LOCAL] = "rotary_local",
	[EMB_PART_POOLER] = "pooler",
	[EMB_PART_HEAD_NORM] = "head_norm",
	[EMB_PART_CLASSIFIER] = "classifier",
	[EMB_PART_SPARSE] = "sparse",
	[EMB_PART_MULTI] = "multi",
	[EMB_PART_DENSE_1] = "dense_1",
	[EMB_PART_DENSE_2] = "dense_2",
	[EMB_PART_ANSWERS] = "answers",
	[EMB_PART_EMBEDDING_PROJECTION] = "embedding_projection",
	[EMB_PART_LM_DENSE] = "lm_dense",
	[EMB_PART_LM_NORM] = "lm_norm",
	[EMB_PART_LM_OUT] = "lm_out",
	[EMB_PART_QUERY_WEIGHTS] = "query_weights",
	[EMB_PART_DENSE_3] = "dense_3",
	[EMB_PART_DENSE_4] = "dense_4",
	[EMB_PART_RELATIVE] = "relative",
	[EMB_PART_RELATIVE_NORM] = "relative_norm",
	[EMB_PART_SKIPPED] = "skipped",
	[EMB_PART_ATTN_NORM] = "attn_norm",
	[EMB_PART_QUERY] = "query",
	[EMB_PART_KEY] = "key",
	[EMB_PART_VALUE] = "value",
	[EMB_PART_ATTN_OUT] = "attn_out",
	[EMB_PART_FFN_NORM] = "ffn_norm",
	[EMB_PART_FFN_GATE] = "ffn_gate",
	[EMB_PART_FFN_UP] = "ffn_up",
	[EMB_PART_FFN_DOWN] = "ffn_down",
	[EMB_PART_QUERY_NORM] = "query_norm",
	[EMB_PART_KEY_NORM] = "key_norm",
	[EMB_PART_ATTN_END_NORM] = "attn_end_norm",
	[EMB_PART_FFN_END_NORM] = "ffn_end_norm",
	[EMB_PART_RELATIVE_KEYS] = "relative_keys",
	[EMB_PART_RELATIVE_QUERIES] = "relative_queries",
	[EMB_PART_ROUTER] = "router",
	[EMB_PART_EXPERT_UP] = "expert_up",
	[EMB_PART_EXPERT_DOWN] = "expert_down",
	[EMB_PART_EXPERT_BIAS] = "expert_bias",
	[EMB_PART_SECOND_NORM] = "second_norm",
};

static const char *const kind_names[] =
{
	[EMB_TENSOR_WEIGHT] = "weight",
	[EMB_TENSOR_SCALE] = "scale",
	[EMB_TENSOR_SUMS] = "sums",
	[EMB_TENSOR_BIAS] = "bias",
	[EMB_TENSOR_FACTOR] = "factor",
	[EMB_TENSOR_GAMMA] = "gamma",
	[EMB_TENSOR_BETA] = "beta",
	[EMB_TENSOR_TABLE] = "table",
	[EMB_TENSOR_GROUP_SCALE] = "group_scale",
	[EMB_TENSOR_GROUP_ZERO] = "group_zero",
	[EMB_TENSOR_ORDER] = "order",
};

const char *
emb_tensor_name(EmbTensorKey key, char *buf, size_t size)
{
	EmbPart		named = emb_part_is_of_expert((EmbPart) key.part) ? emb_part_kind((EmbPart) key.part) : (EmbPart) key.part;
	const char *part = named < EMB_N_PARTS && part_names[named] != NULL ? part_names[named] : "?";
	const char *kind = key.kind <= EMB_TENSOR_ORDER && kind_names[key.kind] != NULL ? kind_names[key.kind] : "?";

	if (key.layer == EMB_NO_LAYER)
		snprintf(buf, size, "%s.%s", part, kind);
	else if (emb_part_is_of_expert((EmbPart) key.part))
		snprintf(buf, size, "layer.%d.%s.%d.%s", key.layer, part, (int) emb_part_expert((EmbPart) key.part), kind);
	else
		snprintf(buf, size, "layer.%d.%s.%s", key.layer, part, kind);
	return buf;
}
