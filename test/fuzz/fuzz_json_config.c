/*
 * fuzz_json_config.c
 *		The configuration files of a model directory. The first byte says which:
 *		'c' config.json, 'm' modules.json, 'p' pooling, 'l' LogitScore, 's'
 *		sentence_bert_config.json, 'q' config_sentence_transformers.json, 'x'
 *		the same of a decoder that reranks, 't' the option "template", 'z'
 *		the configuration of quantized weights.
 */
#include <stdlib.h>
#include <string.h>

#include "import/hf_config.h"
#include "import/hf_template.h"

/* What a parser lets through must be what can be computed, but for what other files say: the sizes of a static model. */
static void
check_arch(const EmbHfConfig *config)
{
	EmbArch		arch = config->arch;
	EmbError	err = {0};

	if (arch.n_layers == 0)
	{
		arch.hidden = 8;
		arch.n_vocab = 8;
		if (config->max_tokens < 1)
			abort();
	}
	if (emb_arch_check(&arch, &err) != EMB_OK)
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
	EmbHfConfig config = {.arch = emb_arch_encoder()};
	EmbHfModules modules;
	EmbHfDense	dense = {.path = ""};
	EmbQuantization quantization;
	int64_t		length = 0;
	EmbStatus	status;

	config.arch.hidden = 8;
	switch (which)
	{
		case 'c':
			status = emb_hf_parse_config(doc, &config, err);
			if (status == EMB_OK)
				check_arch(&config);
			return status;
		case 'm':
			status = emb_hf_parse_modules(doc, &modules, err);
			if (status == EMB_OK)
			{
				check_path(modules.transformer_path);
				check_path(modules.pooling_path);
				check_path(modules.logit_score_path);
				for (int i = 0; i < modules.n_dense; i++)
					check_path(modules.dense[i].path);
			}
			return status;
		case 'p':
			status = emb_hf_parse_pooling(doc, &config, err);
			if (status == EMB_OK && (config.arch.pooling < EMB_POOL_CLS || config.arch.pooling > EMB_POOL_LAST))
				abort();
			return status;
		case 'd':
			status = emb_hf_parse_dense(doc, 8, &dense, err);
			if (status == EMB_OK && (dense.module.n_out < 1 || dense.module.n_out > EMB_ARCH_MAX_HIDDEN || dense.module.activation > EMB_ACT_TANH))
				abort();
			return status;
		case 'l':
			config.arch.n_vocab = 1000;
			status = emb_hf_parse_logit_score(doc, &config, err);
			if (status == EMB_OK && (config.answer_ids[0] < 0 || config.answer_ids[0] > 999 || config.answer_ids[1] < -1 || config.answer_ids[1] > 999))
				abort();
			return status;
		case 'x':
			config.arch.head = EMB_HEAD_ANSWER;
			status = emb_hf_parse_cross_encoder(doc, mem, &config, err);
			emb_hf_config_free(&config, mem);
			return status;
		case 's':
			status = emb_hf_parse_sentence_bert(doc, &length, &config, err);
			if (status == EMB_OK && length < 0)
				abort();
			return status;
		case 'z':
			status = emb_quant_parse(doc, doc->root, &quantization, err);
			if (status == EMB_OK && ((quantization.bits != 0 && quantization.bits != 4 && quantization.bits != 8) ||
									 quantization.group < -1 || quantization.block_rows < 0 || quantization.block_cols < 0))
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

/* Its texts must be within their bounds. */
static EmbStatus
parse_template(const uint8_t *data, size_t size, const EmbAllocator *mem, EmbError *err)
{
	char	   *option = emb_alloc(mem, size + 1);
	EmbAnswerTemplate t;
	EmbStatus	status;

	memcpy(option, data, size);
	option[size] = '\0';
	status = emb_template_parse(option, mem, &t, err);
	for (int i = 0; status == EMB_OK && i < EMB_TEMPLATE_TEXTS; i++)
	{
		if (strlen(t.pair.texts[i]) > EMB_TEMPLATE_MAX_BYTES)
			abort();
	}
	if (status == EMB_OK)
		emb_template_free(&t, mem);
	emb_release(mem, option);
	return status;
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
	if (data[0] == 't')
	{
		(void) parse_template(data + 1, size - 1, &mem, &err);
		return 0;
	}
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
