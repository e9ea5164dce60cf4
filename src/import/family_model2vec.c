/*
 * family_model2vec.c
 *		Static models of model2vec and StaticEmbedding: what their
 *		configuration and their table define.
 */
#include "import/hf_family.h"

#include <string.h>

#include "import/static_table.h"

/* Default max_tokens: model2vec's own default, also for models without any limit. */
#define MODEL2VEC_TOKENS	512
#define UNLIMITED_TOKENS	65536

/* A "max_length" of null means no limit, as in the code that reads it. */
static EmbStatus
read_model2vec(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	const json_t *length = json_object_get(doc->root, "max_length");
	int64_t		max_tokens = MODEL2VEC_TOKENS;
	bool		normalize = false;
	EmbStatus	status;

	config->drops_unknown = true;
	config->cuts_chars = length == NULL || !json_is_null(length);
	config->has_normalize = json_object_get(doc->root, "normalize") != NULL;
	if ((status = emb_json_get_bool(doc, doc->root, "normalize", &normalize, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "max_length", 1, EMB_ARCH_MAX_POSITIONS, &max_tokens, err)) != EMB_OK)
		return status;
	config->arch.normalize = normalize;
	config->max_tokens = config->cuts_chars ? (int32_t) max_tokens : UNLIMITED_TOKENS;
	return EMB_OK;
}

EMB_FAMILY_LIST(model2vec) = {
	{
		.model_type = "model2vec",
		.class_stem = "Static",
		.hidden = "hidden_dim",
		.read = read_model2vec,
		.is_static = true,
	},
	{0}
};

void
emb_hf_static_embedding(EmbHfConfig *config)
{
	config->family = emb_family_model2vec;
	config->arch = emb_arch_static();
	strcpy(config->arch.family, config->family->model_type);
	config->max_tokens = UNLIMITED_TOKENS;
}

EmbStatus
emb_hf_read_static(const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	EmbTensorSet tensors = {.n_shards = 0};
	EmbStaticTable table;
	EmbStatus	status = emb_tensors_open_dir(config->transformer_dir, mem, config->stop, &tensors, err);

	if (status == EMB_OK)
	{
		status = emb_static_open(&tensors, mem, &table, err);
		if (status == EMB_OK)
		{
			config->arch.hidden = table.hidden;
			config->arch.n_vocab = table.n_vocab;
			emb_static_close(&table, mem);
		}
		emb_tensors_close(&tensors);
	}
	return status;
}
