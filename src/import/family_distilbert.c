/*
 * family_distilbert.c
 *		DistilBERT (Sanh et al. 2019): BERT without token types.
 */
#include "import/family.h"

EMB_FAMILY_LIST(distilbert) = {
	{
		.model_type = "distilbert",
		.class_stem = "DistilBert",
		.hidden = "dim",
		.n_layers = "n_layers",
		.n_heads = "n_heads",
		.intermediate = "hidden_dim",
		.positions = "max_position_embeddings",
		.activation = "activation",
		.absent_layers = 6,
		.absent_vocab = 30522,
		.absent_positions = 512,
		.position_type = "absolute",
		.head_activation = EMB_ACT_RELU,
		.prefix = "distilbert.",
		.layer = "transformer.layer.%d.",
		.names = {
			EMB_NAME(QUERY, "attention.q_lin"),
			EMB_NAME(KEY, "attention.k_lin"),
			EMB_NAME(VALUE, "attention.v_lin"),
			EMB_NAME(ATTN_OUT, "attention.out_lin"),
			EMB_NAME(ATTN_NORM, "sa_layer_norm"),
			EMB_NAME(FFN_UP, "ffn.lin1"),
			EMB_NAME(FFN_DOWN, "ffn.lin2"),
			EMB_NAME(FFN_NORM, "output_layer_norm"),
			EMB_NAME(POOLER, "pre_classifier"),
			EMB_NAME(LM_DENSE, "vocab_transform"),
			EMB_NAME(LM_NORM, "vocab_layer_norm"),
			EMB_NAME(LM_OUT, "vocab_projector"),
		},
	},
	{0}
};
