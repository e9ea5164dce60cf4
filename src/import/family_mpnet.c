/*
 * family_mpnet.c
 *		MPNet (Song et al. 2020): BERT with RoBERTa's padding offset and a
 *		relative position bias, one table for all layers.
 */
#include "import/family.h"

/* transformers' MPNet uses these two numbers whatever its configuration has. */
#define MPNET_BUCKETS	32
#define MPNET_PADDING	1

static void
shape(EmbArch *arch)
{
	arch->positions = EMB_POSITIONS_ABSOLUTE | EMB_POSITIONS_RELATIVE;
}

static EmbStatus
read_mpnet(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	EmbStatus	status = emb_hf_check_number(doc, "relative_attention_num_buckets", MPNET_BUCKETS, err);

	if (status == EMB_OK)
		status = emb_hf_check_number(doc, "pad_token_id", MPNET_PADDING, err);
	return status == EMB_OK ? emb_hf_read_position_base(doc, config, err) : status;
}

EMB_FAMILY_LIST(mpnet) = {
	{
		.model_type = "mpnet",
		.class_stem = "MPNet",
		EMB_FAMILY_BERT_KEYS,
		.absent_vocab = 30527,
		.shape = shape,
		.read = read_mpnet,
		.lm_activation = EMB_ACT_GELU,
		.prefix = "mpnet.",
		.names = {
			EMB_NAME(QUERY, "attention.attn.q"),
			EMB_NAME(KEY, "attention.attn.k"),
			EMB_NAME(VALUE, "attention.attn.v"),
			EMB_NAME(ATTN_OUT, "attention.attn.o"),
			EMB_NAME(ATTN_NORM, "attention.LayerNorm"),
			EMB_NAME(DISTANCES, "encoder.relative_attention_bias"),
			EMB_FAMILY_ROBERTA_HEAD,
		},
	},
	{0}
};
