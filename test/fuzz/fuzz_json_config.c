/*
 * fuzz_json_config.c
 *		The configuration files of a model directory. The first byte says which:
 *		'c' config.json, 'm' modules.json, 'p' pooling, 's'
 *		sentence_bert_config.json, 'q' config_sentence_transformers.json.
 */
#include <stdlib.h>
#include <string.h>

#include "import/hf_config.h"

/* What a parser lets through must be what the rest of the import relies on. */
static void
check_sizes(const EmbHfConfig *config)
{
	/* the table has its sizes */
	if (config->is_static && config->family == EMB_FAMILY_MODEL2VEC && config->max_tokens >= 1)
		return;
	if (config->hidden < 1 || config->hidden > EMB_ARCH_MAX_HIDDEN || config->n_heads < 1 ||
		config->hidden % config->n_heads != 0 || config->n_layers < 1 || config->n_layers > EMB_ARCH_MAX_LAYERS ||
		config->intermediate < 1 || config->n_vocab < 1 || config->n_positions < 1 || config->n_types < ((emb_hf_family_traits(config->family) & (EMB_TRAIT_TYPES | EMB_TRAIT_TYPES_OPTIONAL)) == EMB_TRAIT_TYPES) ||
		config->position_base < 0 || config->position_base > config->n_vocab || emb_hf_family_name(config->family) == NULL ||
		!(config->ln_eps > 0))
		abort();
}

static void
check_path(const char *path)
{
	if (path[0] == '/' || strstr(path, "//") != NULL || strcmp(path, "..") == 0 || strncmp(path, "../", 3) == 0 ||
		strstr(path, "/../") != NULL || (strlen(path) >= 3 && strcmp(path + strlen(path) - 3, "/..") == 0))
		abort();
}

static EmbStatus
parse(char which, const EmbJson *doc, const EmbAllocator *mem, EmbError *err)
{
	EmbHfConfig config = {.hidden = 8};
	EmbHfModules modules;
	EmbHfDense	dense = {.n_out = 0};
	int64_t		length = 0;
	EmbStatus	status;

	switch (which)
	{
		case 'c':
			status = emb_hf_parse_config(doc, &config, err);
			if (status == EMB_OK)
				check_sizes(&config);
			return status;
		case 'm':
			status = emb_hf_parse_modules(doc, &modules, err);
			if (status == EMB_OK)
			{
				check_path(modules.transformer_path);
				check_path(modules.pooling_path);
				for (int i = 0; i < modules.n_dense; i++)
					check_path(modules.dense[i].path);
			}
			return status;
		case 'p':
			status = emb_hf_parse_pooling(doc, &config, err);
			if (status == EMB_OK && (config.pooling < EMB_POOL_CLS || config.pooling > EMB_POOL_MEAN_SQRT_LEN))
				abort();
			return status;
		case 'd':
			status = emb_hf_parse_dense(doc, 8, &dense, err);
			if (status == EMB_OK && (dense.n_out < 1 || dense.n_out > EMB_ARCH_MAX_HIDDEN || dense.activation > EMB_ACT_TANH))
				abort();
			return status;
		case 's':
			status = emb_hf_parse_sentence_bert(doc, &length, &config, err);
			if (status == EMB_OK && length < 0)
				abort();
			return status;
		default:
			status = emb_hf_parse_prompts(doc, mem, &config, err);
			if (status == EMB_OK && (config.query_prompt == NULL || config.document_prompt == NULL))
				abort();
			emb_hf_config_free(&config, mem);
			return status;
	}
}

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbJson		doc;
	EmbError	err = {0};
	EmbStatus	status;

	if (size < 1)
		return 0;
	status = emb_json_parse("fuzz.json", (const char *) data + 1, size - 1, &doc, &err);
	if (status == EMB_OK)
	{
		status = parse((char) data[0], &doc, &mem, &err);
		emb_json_free(&doc);
	}
	if (status != EMB_OK && err.message[0] == '\0')
		abort();
	return 0;
}
