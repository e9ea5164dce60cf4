/*
 * hf_config.c
 *		Reads and checks the configuration files of a model directory;
 *		hf_family.c reads config.json itself.
 */
#include "import/hf_family.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/diagnose.h"
#include "formats/file.h"

#define CONFIG_FILE			"config.json"
#define MODULES_FILE		"modules.json"
#define SENTENCE_BERT_FILE	"sentence_bert_config.json"
#define TOKENIZER_FILE		"tokenizer_config.json"
#define PROMPTS_FILE		"config_sentence_transformers.json"

/* ---------------------------------------------------------------- lengths */

EmbStatus
emb_hf_parse_sentence_bert(const EmbJson *doc, int64_t *max_seq_length, EmbHfConfig *config, EmbError *err)
{
	EmbStatus	status = emb_hf_check_object(doc, err);

	if (status == EMB_OK)
		status = emb_json_get_int(doc, doc->root, "max_seq_length", 1, INT32_MAX, max_seq_length, err);
	if (status == EMB_OK)
		status = emb_json_get_bool(doc, doc->root, "do_lower_case", &config->lowercase_text, err);
	return status;
}

/*
 * model_max_length, if it is a number of tokens and not 1e30, which
 * transformers writes for "none".
 */
static int64_t
tokenizer_max_length(const EmbJson *doc)
{
	const json_t *v = json_object_get(doc->root, "model_max_length");
	double		n = json_is_number(v) ? json_number_value(v) : 0;

	return n >= 1 && n <= INT32_MAX ? (int64_t) n : INT32_MAX;
}

/* ---------------------------------------------------------- the directory */

static EmbStatus
check_directory(const char *dir, EmbError *err)
{
	struct stat st;

	if (stat(dir, &st) != 0)
		return errno == ENOENT || errno == ENOTDIR
			? emb_error(err, EMB_ERR_NOT_FOUND, "directory \"%s\" does not exist", dir)
			: emb_error(err, EMB_ERR_IO, "could not stat \"%s\": %s", dir, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return emb_diagnose_not_directory(dir, err);
	return EMB_OK;
}

static EmbStatus
read_pipeline(const char *dir, const EmbAllocator *mem, const EmbHfConfig *config, EmbHfModules *modules, bool *found, EmbError *err)
{
	EmbJson		doc;
	EmbStatus	status = emb_json_load_optional(dir, MODULES_FILE, EMB_JSON_CONFIG_MAX, mem, config->stop, &doc, err);

	memset(modules, 0, sizeof(*modules));
	*found = doc.root != NULL;
	if (status == EMB_OK && *found)
		status = emb_hf_parse_modules(&doc, modules, err);
	emb_json_free(&doc);
	return status;
}

static EmbStatus
read_transformer(const char *dir, const EmbHfModules *modules, const EmbAllocator *mem,
				 EmbHfConfig *config, EmbError *err)
{
	EmbJson		doc;
	EmbStatus	status;
	int			n = snprintf(config->transformer_dir, sizeof(config->transformer_dir), "%s%s%s", dir,
							 modules->transformer_path[0] != '\0' ? "/" : "", modules->transformer_path);

	if (n < 0 || (size_t) n >= sizeof(config->transformer_dir))
		return emb_error(err, EMB_ERR_LIMIT, "the path of the model's directory is longer than %d bytes", EMB_HF_MAX_PATH - 1);
	if (modules->is_static && !emb_file_exists(config->transformer_dir, CONFIG_FILE))
	{
		emb_hf_static_embedding(config);
		return EMB_OK;
	}
	status = emb_json_load(config->transformer_dir, CONFIG_FILE, EMB_JSON_CONFIG_MAX, mem, config->stop, &doc, err);
	if (status == EMB_ERR_NOT_FOUND)
		status = emb_diagnose_no_config(config->transformer_dir, err);
	if (status == EMB_OK)
		status = emb_hf_parse_config(&doc, config, err);
	if (status == EMB_OK && config->arch.n_layers > 0)
		status = emb_quant_read_config(&doc, config->transformer_dir, mem, config->stop, &config->quantization, err);
	emb_json_free(&doc);
	return status;
}

static EmbStatus
read_pooling(const char *dir, const EmbHfModules *modules, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	char		name[sizeof(modules->pooling_path) + sizeof(CONFIG_FILE) + 1];
	EmbJson		doc;
	EmbStatus	status;

	snprintf(name, sizeof(name), "%s%s%s", modules->pooling_path,
			 modules->pooling_path[0] != '\0' ? "/" : "", CONFIG_FILE);
	status = emb_json_load(dir, name, EMB_JSON_CONFIG_MAX, mem, config->stop, &doc, err);
	if (status == EMB_OK)
		status = emb_hf_parse_pooling(&doc, config, err);
	emb_json_free(&doc);
	return status;
}

static EmbStatus
read_dense(const char *dir, const EmbHfModules *modules, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	int32_t		width = config->arch.hidden;
	EmbStatus	status = EMB_OK;

	for (int i = 0; status == EMB_OK && i < modules->n_dense; i++)
	{
		EmbHfDense	dense = modules->dense[i];
		char		name[sizeof(dense.path) + sizeof(CONFIG_FILE) + 1];
		EmbJson		doc;

		snprintf(name, sizeof(name), "%s%s%s", dense.path, dense.path[0] != '\0' ? "/" : "", CONFIG_FILE);
		status = emb_json_load(dir, name, EMB_JSON_CONFIG_MAX, mem, config->stop, &doc, err);
		if (status == EMB_OK)
			status = emb_hf_parse_dense(&doc, width, &dense, err);
		emb_json_free(&doc);
		width = dense.module.n_out;
		config->arch.dense[i] = dense.module;
		strcpy(config->dense_paths[i], dense.path);
	}
	config->arch.n_dense = modules->n_dense;
	return status;
}

static EmbStatus
read_length(const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	EmbJson		doc;
	int64_t		max_tokens = 0;
	EmbStatus	status;

	status = emb_json_load_optional(config->transformer_dir, SENTENCE_BERT_FILE, EMB_JSON_CONFIG_MAX, mem, config->stop, &doc, err);
	if (status == EMB_OK && doc.root != NULL)
		status = emb_hf_parse_sentence_bert(&doc, &max_tokens, config, err);
	emb_json_free(&doc);
	if (status == EMB_OK && max_tokens == 0)
	{
		status = emb_json_load_optional(config->transformer_dir, TOKENIZER_FILE, EMB_JSON_CONFIG_MAX, mem, config->stop, &doc, err);
		if (status == EMB_OK)
			max_tokens = tokenizer_max_length(&doc);
		emb_json_free(&doc);
	}
	config->max_tokens = max_tokens < config->arch.n_positions ? (int32_t) max_tokens : config->arch.n_positions;
	return status;
}

static EmbStatus
read_prompts(const char *dir, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	static const EmbJson none = {.file = PROMPTS_FILE};
	EmbJson		doc;
	EmbStatus	status = emb_json_load_optional(dir, PROMPTS_FILE, EMB_JSON_CONFIG_MAX, mem, config->stop, &doc, err);

	if (status == EMB_OK && config->arch.head != EMB_HEAD_NONE && doc.root != NULL)
		status = emb_hf_parse_cross_encoder(&doc, err);
	if (status == EMB_OK)
		status = emb_hf_parse_prompts(config->arch.head != EMB_HEAD_NONE ? &none : &doc, mem, config, err);
	emb_json_free(&doc);
	return status;
}

/* The pooling that follows from the kind of model and its modules. */
static EmbStatus
choose_pooling(const char *dir, const EmbHfModules *modules, bool has_modules, const EmbAllocator *mem,
			   EmbHfConfig *config, EmbError *err)
{
	bool		is_static = config->arch.n_layers == 0;
	EmbStatus	status;

	if (config->arch.head != EMB_HEAD_NONE)
	{
		if (has_modules && !modules->transformer_only)
			return emb_error(err, EMB_ERR_UNSUPPORTED, "%s lists a Pooling, but %s says that the model is a reranker",
							 MODULES_FILE, CONFIG_FILE);
		return EMB_OK;
	}
	if (has_modules && modules->is_static != is_static)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s lists a %s, but %s says that the model is of type %s", MODULES_FILE,
						 modules->is_static ? "StaticEmbedding" : "Transformer", CONFIG_FILE, config->arch.family);
	if (has_modules && modules->transformer_only)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s lists 1 module; a Transformer and a Pooling are needed", MODULES_FILE);
	if (!config->has_normalize)
		config->arch.normalize = modules->normalize;
	status = has_modules && !is_static ? read_pooling(dir, modules, mem, config, err) : EMB_OK;
	return status == EMB_OK ? read_dense(dir, modules, mem, config, err) : status;
}

EmbStatus
emb_hf_read_config(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbHfConfig *config, EmbError *err)
{
	EmbHfModules modules;
	bool		has_modules = false;
	EmbStatus	status;

	memset(config, 0, sizeof(*config));
	config->stop = stop;
	config->pool_prompt = true;
	if ((status = check_directory(dir, err)) != EMB_OK ||
		(status = read_pipeline(dir, mem, config, &modules, &has_modules, err)) != EMB_OK ||
		(status = read_transformer(dir, &modules, mem, config, err)) != EMB_OK)
		return status;
	status = config->arch.n_layers == 0 ? emb_hf_read_static(mem, config, err) : EMB_OK;
	if (status == EMB_OK)
		status = choose_pooling(dir, &modules, has_modules, mem, config, err);
	if (status == EMB_OK && config->arch.n_layers > 0)
		status = read_length(mem, config, err);
	if (status == EMB_OK)
		status = read_prompts(dir, mem, config, err);
	if (status != EMB_OK)
		emb_hf_config_free(config, mem);
	return status;
}

void
emb_hf_config_free(EmbHfConfig *config, const EmbAllocator *mem)
{
	emb_release(mem, config->query_prompt);
	emb_release(mem, config->document_prompt);
	config->query_prompt = NULL;
	config->document_prompt = NULL;
}
