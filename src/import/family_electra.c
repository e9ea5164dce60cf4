/*
 * family_electra.c
 *		ELECTRA (Clark et al. 2020): BERT whose embeddings may be narrower than
 *		its layers, with a matrix between them.
 */
#include "import/family.h"

/* The class has no matrix where both sizes are equal. */
static EmbStatus
read_electra(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	EmbArch    *arch = &config->arch;
	int64_t		n = 128;
	EmbStatus	status;

	if (json_object_get(doc->root, "hidden_size") == NULL)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"hidden_size\" is missing", doc->file);
	status = emb_json_get_int(doc, doc->root, "embedding_size", 1, EMB_ARCH_MAX_HIDDEN, &n, err);

	arch->embedding_size = n != arch->hidden ? (int32_t) n : 0;
	return status;
}

EMB_FAMILY_LIST(electra) = {
	{
		.model_type = "electra",
		.class_stem = "Electra",
		EMB_FAMILY_BERT_KEYS,
		.absent_vocab = 30522,
		.types = "type_vocab_size",
		.min_types = 1,
		.head_activation = EMB_ACT_GELU,
		.read = read_electra,
		.prefix = "electra.",
		.names = {
			EMB_NAME(EMBEDDING_PROJECTION, "embeddings_project"),
			EMB_FAMILY_ROBERTA_HEAD,
		},
	},
	{0}
};
