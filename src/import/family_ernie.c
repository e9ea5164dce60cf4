/*
 * family_ernie.c
 *		ERNIE (Sun et al. 2019): BERT that may have an embedding for the task.
 *		Embedding models have the first task, so its row is added to those of
 *		the token types while they are read.
 */
#include "import/family.h"

static EmbStatus
read_ernie(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	int64_t		n_tasks = 3;
	bool		has_tasks = false;
	EmbStatus	status = emb_json_get_bool(doc, doc->root, "use_task_id", &has_tasks, err);

	if (status == EMB_OK)
		status = emb_json_get_int(doc, doc->root, "task_type_vocab_size", 1, EMB_ARCH_MAX_TYPES, &n_tasks, err);
	config->n_tasks = has_tasks ? (int32_t) n_tasks : 0;
	return status;
}

EMB_FAMILY_LIST(ernie) = {
	{
		.model_type = "ernie",
		.class_stem = "Ernie",
		EMB_FAMILY_BERT_KEYS,
		.absent_vocab = 30522,
		.types = "type_vocab_size",
		.min_types = 1,
		.read = read_ernie,
		.prefix = "ernie.",
	},
	{0}
};
