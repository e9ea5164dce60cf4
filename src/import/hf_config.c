/*
 * hf_config.c
 *		A model directory's configuration files, checked; config.json's own part
 *		is hf_family.c.
 */
#include "import/hf_family.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "import/file.h"

#define CONFIG_FILE			"config.json"
#define MODULES_FILE		"modules.json"
#define SENTENCE_BERT_FILE	"sentence_bert_config.json"
#define TOKENIZER_FILE		"tokenizer_config.json"
#define PROMPTS_FILE		"config_sentence_transformers.json"

/* ----------------------------------------------------------- modules.json */

/* A relative path of plain components: no way out of the model's directory. */
static bool
is_inside(const char *path)
{
	for (const char *p = path; *p != '\0';)
	{
		size_t		len = strcspn(p, "/");

		if (len == 0 || (len == 1 && p[0] == '.') || (len == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += len;
		if (*p == '/')
			p++;
	}
	return strchr(path, '\\') == NULL;
}

static EmbStatus
parse_module_path(const EmbJson *doc, const json_t *module, size_t i, char path[256], EmbError *err)
{
	const char *value = "";
	EmbStatus	status = emb_json_get_string(doc, module, "path", &value, err);

	if (status != EMB_OK)
		return status;
	if (strlen(value) > 255 || !is_inside(value))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"path\" of module %zu is \"%.*s\", which is not a path inside the directory",
						 doc->file, i, emb_json_clip(value, 100), value);
	strcpy(path, value);
	return EMB_OK;
}

/* The class behind "sentence_transformers.models.Pooling" and its later homes; NULL: somebody's own code. */
static const char *
module_class(const char *type)
{
	const char *dot = strrchr(type, '.');

	return dot != NULL && strncmp(type, "sentence_transformers.", 22) == 0 ? dot + 1 : NULL;
}

EmbStatus
emb_hf_parse_modules(const EmbJson *doc, EmbHfModules *modules, EmbError *err)
{
	static const char *const order[] = {"Transformer", "Pooling", "Normalize"};
	size_t		n = json_array_size(doc->root);
	EmbStatus	status = EMB_OK;

	memset(modules, 0, sizeof(*modules));
	if (!json_is_array(doc->root))
		return emb_error(err, EMB_ERR_FORMAT, "%s is not a list", doc->file);
	for (size_t i = 0; i < n; i++)
	{
		const json_t *module = json_array_get(doc->root, i);
		const char *type = NULL;
		const char *class;
		char		path[256];

		if (!json_is_object(module))
			return emb_error(err, EMB_ERR_FORMAT, "%s: module %zu is not an object", doc->file, i);
		if ((status = emb_json_get_string(doc, module, "type", &type, err)) != EMB_OK ||
			(status = parse_module_path(doc, module, i, path, err)) != EMB_OK)
			return status;
		if (type == NULL)
			return emb_error(err, EMB_ERR_FORMAT, "%s: module %zu has no \"type\"", doc->file, i);
		class = module_class(type);
		if (i >= 3 || class == NULL || strcmp(class, order[i]) != 0)
			return emb_hf_unsupported(doc, "type", type, "the modules must be Transformer, Pooling and at most Normalize, in this order", err);
		if (i == 0)
			strcpy(modules->transformer_path, path);
		else if (i == 1)
			strcpy(modules->pooling_path, path);
	}
	modules->transformer_only = n == 1;
	if (n < 1)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s lists %zu modules; a Transformer is needed", doc->file, n);
	modules->normalize = n == 3;
	return EMB_OK;
}

/* --------------------------------------------------- 1_Pooling/config.json */

static EmbStatus
set_pooling(const EmbJson *doc, const char *key, const char *mode, EmbHfConfig *config, EmbError *err)
{
	if (strcmp(mode, "cls") == 0)
		config->pooling = EMB_POOL_CLS;
	else if (strcmp(mode, "mean") == 0)
		config->pooling = EMB_POOL_MEAN;
	else
		return emb_hf_unsupported(doc, key, mode, "only cls and mean pooling can be imported", err);
	return EMB_OK;
}

/* One boolean per mode; several true ones are concatenated by sentence-transformers. */
static EmbStatus
parse_pooling_flags(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const struct
	{
		const char *key;
		const char *mode;
	}			flags[] =
	{
		{"pooling_mode_cls_token", "cls"},
		{"pooling_mode_mean_tokens", "mean"},
		{"pooling_mode_max_tokens", "max"},
		{"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"},
		{"pooling_mode_weightedmean_tokens", "weightedmean"},
		{"pooling_mode_lasttoken", "lasttoken"},
	};
	const char *chosen = NULL;

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
	{
		/* mean is on unless switched off */
		bool		on = strcmp(flags[i].mode, "mean") == 0;
		EmbStatus	status = emb_json_get_bool(doc, doc->root, flags[i].key, &on, err);

		if (status == EMB_OK && on && chosen != NULL)
			return emb_error(err, EMB_ERR_UNSUPPORTED,
							 "%s asks for several poolings, %s and %s; only one of cls and mean can be imported",
							 doc->file, chosen, flags[i].mode);
		if (status == EMB_OK && on)
			status = set_pooling(doc, flags[i].key, flags[i].mode, config, err);
		if (status != EMB_OK)
			return status;
		if (on)
			chosen = flags[i].mode;
	}
	if (chosen == NULL)
		return emb_error(err, EMB_ERR_FORMAT, "%s chooses no pooling", doc->file);
	return EMB_OK;
}

EmbStatus
emb_hf_parse_pooling(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	const char *mode = NULL;
	int64_t		dim = config->hidden;
	EmbStatus	status = emb_hf_check_object(doc, err);

	if (status != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "word_embedding_dimension", 1, INT32_MAX, &dim, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "include_prompt", &config->pool_prompt, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "pooling_mode", &mode, err)) != EMB_OK)
		return status;
	if (dim != config->hidden)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"word_embedding_dimension\" is %lld, but \"hidden_size\" is %d",
						 doc->file, (long long) dim, config->hidden);
	if (mode != NULL)
		return set_pooling(doc, "pooling_mode", mode, config, err);
	return parse_pooling_flags(doc, config, err);
}

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

/* model_max_length, where it is a number of tokens and not transformers' 1e30 for "none". */
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
	{
		emb_error(err, EMB_ERR_NOT_REGULAR, "\"%s\" is not a directory", dir);
		return emb_error_hint(err, EMB_ERR_NOT_REGULAR,
							  "Name the directory that holds config.json, model.safetensors and the tokenizer's files.");
	}
	return EMB_OK;
}

static EmbStatus
read_pipeline(const char *dir, const EmbAllocator *mem, EmbHfModules *modules, bool *found, EmbError *err)
{
	EmbJson		doc;
	EmbStatus	status = emb_json_load_optional(dir, MODULES_FILE, EMB_JSON_CONFIG_MAX, mem, &doc, err);

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
	status = emb_json_load(config->transformer_dir, CONFIG_FILE, EMB_JSON_CONFIG_MAX, mem, &doc, err);
	if (status == EMB_ERR_NOT_FOUND)
		emb_error_hint(err, status, "A model directory needs config.json, model.safetensors and tokenizer.json or vocab.txt.");
	if (status == EMB_OK)
		status = emb_hf_parse_config(&doc, config, err);
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
	status = emb_json_load(dir, name, EMB_JSON_CONFIG_MAX, mem, &doc, err);
	if (status == EMB_OK)
		status = emb_hf_parse_pooling(&doc, config, err);
	emb_json_free(&doc);
	return status;
}

static EmbStatus
read_length(const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	EmbJson		doc;
	int64_t		max_tokens = 0;
	EmbStatus	status;

	status = emb_json_load_optional(config->transformer_dir, SENTENCE_BERT_FILE, EMB_JSON_CONFIG_MAX, mem, &doc, err);
	if (status == EMB_OK && doc.root != NULL)
		status = emb_hf_parse_sentence_bert(&doc, &max_tokens, config, err);
	emb_json_free(&doc);
	if (status == EMB_OK && max_tokens == 0)
	{
		status = emb_json_load_optional(config->transformer_dir, TOKENIZER_FILE, EMB_JSON_CONFIG_MAX, mem, &doc, err);
		if (status == EMB_OK)
			max_tokens = tokenizer_max_length(&doc);
		emb_json_free(&doc);
	}
	config->max_tokens = max_tokens < config->n_positions ? (int32_t) max_tokens : config->n_positions;
	return status;
}

static EmbStatus
read_prompts(const char *dir, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	static const EmbJson none = {.file = PROMPTS_FILE};
	EmbJson		doc;
	EmbStatus	status = emb_json_load_optional(dir, PROMPTS_FILE, EMB_JSON_CONFIG_MAX, mem, &doc, err);

	if (status == EMB_OK && config->is_reranker && doc.root != NULL)
		status = emb_hf_parse_cross_encoder(&doc, err);
	if (status == EMB_OK)
		status = emb_hf_parse_prompts(config->is_reranker ? &none : &doc, mem, config, err);
	emb_json_free(&doc);
	return status;
}

/* The pooling that the kind of model and its modules call for. */
static EmbStatus
choose_pooling(const char *dir, const EmbHfModules *modules, bool has_modules, const EmbAllocator *mem,
			   EmbHfConfig *config, EmbError *err)
{
	if (config->is_reranker)
	{
		if (has_modules && !modules->transformer_only)
			return emb_error(err, EMB_ERR_UNSUPPORTED, "%s lists a Pooling, but %s says that the model is a reranker",
							 MODULES_FILE, CONFIG_FILE);
		config->pooling = config->head_pooling;
		return EMB_OK;
	}
	if (has_modules && modules->transformer_only)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s lists 1 module; a Transformer and a Pooling are needed", MODULES_FILE);
	config->normalize = modules->normalize;
	return has_modules ? read_pooling(dir, modules, mem, config, err) : EMB_OK;
}

EmbStatus
emb_hf_read_config(const char *dir, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	EmbHfModules modules;
	bool		has_modules = false;
	EmbStatus	status;

	memset(config, 0, sizeof(*config));
	config->pooling = EMB_POOL_MEAN;
	config->pool_prompt = true;
	if ((status = check_directory(dir, err)) != EMB_OK ||
		(status = read_pipeline(dir, mem, &modules, &has_modules, err)) != EMB_OK ||
		(status = read_transformer(dir, &modules, mem, config, err)) != EMB_OK)
		return status;
	status = choose_pooling(dir, &modules, has_modules, mem, config, err);
	if (status == EMB_OK)
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
