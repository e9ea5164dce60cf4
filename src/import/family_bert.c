/*
 * family_bert.c
 *		BERT (Devlin et al. 2018). Its names are the defaults of hf_tensors.c.
 */
#include "import/family.h"

EMB_FAMILY_LIST(bert) = {
	{
		.model_type = "bert",
		.class_stem = "Bert",
		EMB_FAMILY_BERT_KEYS,
		.absent_vocab = 30522,
		.types = "type_vocab_size",
		.min_types = 1,
		.prefix = "bert.",
	},
	{0}
};
