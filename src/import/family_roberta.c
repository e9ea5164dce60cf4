/*
 * family_roberta.c
 *		RoBERTa (Liu et al. 2019), XLM-RoBERTa (Conneau et al. 2020),
 *		CamemBERT: BERT with a padding offset.
 */
#include "import/family.h"

#define ROBERTA(type, stem, vocab) \
	{ \
		.model_type = type, \
		.class_stem = stem, \
		EMB_FAMILY_BERT_KEYS, \
		.absent_vocab = vocab, \
		.types = "type_vocab_size", \
		.min_types = 1, \
		.read = emb_hf_read_position_base, \
		.lm_activation = EMB_ACT_GELU, \
		.prefix = "roberta.", \
		.names = {EMB_FAMILY_ROBERTA_HEAD}, \
	}

EMB_FAMILY_LIST(roberta) = {
	ROBERTA("roberta", "Roberta", 50265),
	ROBERTA("xlm-roberta", "XLMRoberta", 30522),
	ROBERTA("camembert", "Camembert", 30522),
	{0}
};
