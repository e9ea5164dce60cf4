/*
 * hf_multi.c
 *		Models of ColBERT's kind: their modules, lengths, markers and skip
 *		lists.
 */
#include "import/hf_multi.h"

#include <stdio.h>
#include <string.h>


#define CONFIG_FILE		"config.json"
#define IDENTITY		"torch.nn.modules.linear.Identity"
#define TANH			"torch.nn.modules.activation.Tanh"

/* PyLate's defaults. */
#define QUERY_TOKENS	32
#define DOCUMENT_TOKENS 180
#define QUERY_MARKER	"[Q] "
#define DOCUMENT_MARKER "[D] "
#define PUNCTUATION		"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

/* Of the original ColBERT. */
#define METADATA_FILE	"artifact.metadata"
#define STANFORD_QUERY	"[unused0]"
#define STANFORD_DOCUMENT "[unused1]"

#define MAX_SKIP_WORDS	10000
#define MAX_SKIP_BYTES	65536

bool
emb_hf_multi_is_pylate(const EmbJson *own)
{
	static const char *const keys[] = {"query_prefix", "document_prefix", "skiplist_words", "attend_to_expansion_tokens", "do_query_expansion"};

	const char *type = json_string_value(json_object_get(own->root, "model_type"));

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
	{
		if (json_object_get(own->root, keys[i]) != NULL)
			return true;
	}
	return type != NULL && strcmp(type, "ColBERT") == 0;
}

/* ----------------------------------------------------------------- modules */

static bool
is_class(const char *type, const char *class)
{
	const char *dot = strrchr(type, '.');

	return dot != NULL && strcmp(dot + 1, class) == 0 && (strncmp(type, "sentence_transformers.", 22) == 0 || strncmp(type, "pylate.", 7) == 0);
}

static EmbStatus
take_dense(const EmbJson *doc, const char *type, const char *path, EmbHfModules *modules, EmbError *err)
{
	EmbHfDense *dense = &modules->dense[modules->n_dense];

	if (modules->n_dense == EMB_ARCH_MAX_DENSE)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s lists more than %d modules Dense", doc->file, EMB_ARCH_MAX_DENSE);
	*dense = (EmbHfDense) {.is_pylate = strncmp(type, "pylate.", 7) == 0};
	strcpy(dense->path, path);
	modules->n_dense++;
	return EMB_OK;
}

static EmbStatus
take_module(const EmbJson *doc, const char *type, const char *path, EmbHfModules *modules, EmbError *err)
{
	EmbStatus	status = EMB_OK;
	bool		is_first = modules->n_modules == 0;

	modules->n_modules++;
	if (is_class(type, "Transformer") && is_first)
		strcpy(modules->transformer_path, path);
	else if (is_class(type, "Dense") && !is_first && !modules->normalize && !modules->has_mask)
		status = take_dense(doc, type, path, modules, err);
	else if (is_class(type, "MultiVectorMask") && !is_first && !modules->has_mask)
	{
		modules->has_mask = true;
		strcpy(modules->mask_path, path);
	}
	else if (is_class(type, "Normalize") && !is_first)
		modules->normalize = true;
	else if (!is_class(type, "Dropout") || is_first)
		return emb_hf_unsupported(doc, "type", type, "the modules of a ColBERT model must be Transformer, Dense (one or more), MultiVectorMask "
								  "and Normalize if any, in this order", err);
	return status;
}

EmbStatus
emb_hf_multi_parse_modules(const EmbJson *doc, EmbHfModules *modules, EmbError *err)
{
	EmbStatus	status = emb_hf_each_module(doc, take_module, modules, err);

	if (status == EMB_OK && modules->n_dense == 0)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s lists no Dense, whose outputs would be the vectors of tokens", doc->file);
	return status;
}

/* A Dense of each token. Without an activation all of them are one matrix. */
static EmbStatus
parse_dense(const EmbJson *doc, int32_t n_in, EmbHfDense *dense, EmbError *err)
{
	int64_t		in = 0;
	int64_t		out = 0;
	bool		has_bias = true;
	const char *activation = dense->is_pylate ? IDENTITY : TANH;
	const char *from = "token_embeddings";
	const char *to = "token_embeddings";
	EmbStatus	status = emb_hf_check_object(doc, err);

	if (status != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "in_features", 1, EMB_ARCH_MAX_HIDDEN, &in, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "out_features", 1, EMB_ARCH_MAX_HIDDEN, &out, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "bias", &has_bias, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "use_residual", &dense->has_residual, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "activation_function", &activation, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "module_input_name", &from, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "module_output_name", &to, err)) != EMB_OK)
		return status;
	if (in == 0 || out == 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s has no \"%s\"", doc->file, in == 0 ? "in_features" : "out_features");
	if (in != n_in)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"in_features\" is %lld, but the module before it returns %d", doc->file, (long long) in, n_in);
	if (strncmp(activation, "torch.nn.", 9) != 0 || strcmp(strrchr(activation, '.'), ".Identity") != 0)
		return emb_hf_unsupported(doc, "activation_function", activation, "a Dense of tokens can be imported without an activation (torch's Identity)", err);
	if (strcmp(from, "token_embeddings") != 0 || strcmp(to, from) != 0)
		return emb_hf_unsupported(doc, strcmp(from, "token_embeddings") != 0 ? "module_input_name" : "module_output_name",
								  strcmp(from, "token_embeddings") != 0 ? from : to, "a ColBERT model's Dense reads and writes \"token_embeddings\"", err);
	dense->module = (EmbArchDense) {.n_out = (int32_t) out, .has_bias = has_bias};
	return EMB_OK;
}

static EmbStatus
load(const char *dir, const char *path, const EmbAllocator *mem, const EmbStop *stop, EmbJson *doc, EmbError *err)
{
	char		name[sizeof(((EmbHfDense *) NULL)->path) + sizeof(CONFIG_FILE) + 1];

	snprintf(name, sizeof(name), "%s%s%s", path, path[0] != '\0' ? "/" : "", CONFIG_FILE);
	return emb_json_load(dir, name, EMB_JSON_CONFIG_MAX, mem, stop, doc, err);
}

static EmbStatus
read_dense(const char *dir, const EmbHfModules *modules, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	int32_t		n_in = config->arch.hidden;
	EmbStatus	status = EMB_OK;

	config->multi.n_dense = modules->n_dense;
	for (int i = 0; status == EMB_OK && i < modules->n_dense; i++)
	{
		EmbHfDense *dense = &config->multi.dense[i];
		EmbJson		doc;

		*dense = modules->dense[i];
		status = load(dir, dense->path, mem, config->stop, &doc, err);
		if (status == EMB_OK)
			status = parse_dense(&doc, n_in, dense, err);
		emb_json_free(&doc);
		n_in = dense->module.n_out;
	}
	config->arch.multi_dim = n_in;
	return status;
}

/* --------------------------------------------------------------- skip lists */

/* Copies words end to end, each with a zero byte after it. */
static EmbStatus
take_words(const EmbJson *doc, const json_t *list, const EmbAllocator *mem, EmbHfMulti *multi, EmbError *err)
{
	size_t		n = json_array_size(list);
	size_t		n_bytes = 0;

	if (!json_is_array(list))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"skiplist_words\" is not a list", doc->file);
	for (size_t i = 0; i < n; i++)
	{
		if (!json_is_string(json_array_get(list, i)))
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"skiplist_words\" holds something other than strings", doc->file);
		n_bytes += json_string_length(json_array_get(list, i)) + 1;
	}
	if (n > MAX_SKIP_WORDS || n_bytes > MAX_SKIP_BYTES)
		return emb_error(err, EMB_ERR_LIMIT, "%s: \"skiplist_words\" has %zu words of %zu bytes, more than %d or %d", doc->file, n, n_bytes,
						 MAX_SKIP_WORDS, MAX_SKIP_BYTES);
	multi->words = emb_alloc(mem, n_bytes + 1);
	if (multi->words == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for %zu words", n);
	for (size_t i = 0; i < n; i++)
	{
		strcpy(multi->words + multi->words_bytes, json_string_value(json_array_get(list, i)));
		multi->words_bytes += json_string_length(json_array_get(list, i)) + 1;
	}
	return EMB_OK;
}

/* Every ASCII punctuation mark: the original ColBERT's list. */
static EmbStatus
take_punctuation(const EmbAllocator *mem, EmbHfMulti *multi, EmbError *err)
{
	multi->words_bytes = 2 * strlen(PUNCTUATION);
	multi->words = emb_alloc_zero(mem, 1, multi->words_bytes);
	if (multi->words == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a list of punctuation");
	for (size_t i = 0; i < strlen(PUNCTUATION); i++)
		multi->words[2 * i] = PUNCTUATION[i];
	return EMB_OK;
}

/* "skiplist_tasks": a name, or a list of names */
static EmbStatus
take_tasks(const EmbJson *doc, const json_t *tasks, EmbHfMulti *multi, EmbError *err)
{
	size_t		n = json_is_string(tasks) ? 1 : json_array_size(tasks);

	if (tasks == NULL || json_is_null(tasks))
		return EMB_OK;
	if (!json_is_string(tasks) && !json_is_array(tasks))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"skiplist_tasks\" is neither a string nor a list", doc->file);
	multi->skips = 0;
	for (size_t i = 0; i < n; i++)
	{
		const char *task = json_string_value(json_is_string(tasks) ? tasks : json_array_get(tasks, i));

		if (task == NULL)
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"skiplist_tasks\" holds something other than strings", doc->file);
		if (strcmp(task, "document") == 0)
			multi->skips |= EMB_SKIPS_DOCUMENTS;
		else if (strcmp(task, "query") == 0)
			multi->skips |= EMB_SKIPS_QUERIES;
		else
			return emb_hf_unsupported(doc, "skiplist_tasks", task, "\"query\" and \"document\" are known", err);
	}
	return EMB_OK;
}

static EmbStatus
parse_mask(const EmbJson *doc, const EmbAllocator *mem, EmbHfMulti *multi, EmbError *err)
{
	static const char *const unset[] = {"keep_only_token_ids", NULL};
	const json_t *words = json_object_get(doc->root, "skiplist_words");
	EmbStatus	status = emb_hf_check_object(doc, err);

	if (status != EMB_OK || (status = emb_hf_check_unset(doc, unset, err)) != EMB_OK ||
		(status = take_tasks(doc, json_object_get(doc->root, "skiplist_tasks"), multi, err)) != EMB_OK)
		return status;
	return words == NULL || json_is_null(words) ? EMB_OK : take_words(doc, words, mem, multi, err);
}

/* A MultiVectorMask says all; without one, PyLate's list, which is punctuation where there is none. */
static EmbStatus
read_skip_list(const char *dir, const EmbJson *own, const EmbHfModules *modules, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	const json_t *words = json_object_get(own->root, "skiplist_words");
	EmbHfMulti *multi = &config->multi;
	EmbJson		doc;
	EmbStatus	status;

	multi->skips = EMB_SKIPS_DOCUMENTS;
	if (!modules->has_mask && words != NULL && !json_is_null(words))
		return take_words(own, words, mem, multi, err);
	if (!modules->has_mask)
		return multi->is_legacy ? take_punctuation(mem, multi, err) : EMB_OK;
	status = load(dir, modules->mask_path, mem, config->stop, &doc, err);
	if (status == EMB_OK)
		status = parse_mask(&doc, mem, multi, err);
	emb_json_free(&doc);
	return status;
}

/* ------------------------------------------------------------------ lengths */

/* "query_expansion" of sentence_bert_config.json */
static EmbStatus
parse_expansion(const EmbJson *doc, const json_t *expansion, EmbHfConfig *config, EmbError *err)
{
	EmbHfMulti *multi = &config->multi;
	const char *strategy = "";
	const char *token = "";
	int64_t		length = 0;
	EmbStatus	status;

	if (!json_is_object(expansion))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"query_expansion\" is not an object", doc->file);
	if ((status = emb_json_get_string(doc, expansion, "strategy", &strategy, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, expansion, "token", &token, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, expansion, "attend", &multi->sees_expansion, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, expansion, "length", 1, config->arch.n_positions, &length, err)) != EMB_OK)
		return status;
	if (strcmp(strategy, "fixed") != 0 && strcmp(strategy, "min") != 0)
		return emb_hf_unsupported(doc, "strategy", strategy, "\"fixed\" and \"min\" are known, of \"query_expansion\"", err);
	if (length == 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"query_expansion\" has no \"length\"", doc->file);
	if (strlen(token) >= sizeof(multi->expansion_token))
		return emb_error(err, EMB_ERR_LIMIT, "%s: \"token\" of \"query_expansion\" has more than %zu bytes", doc->file, sizeof(multi->expansion_token) - 1);
	strcpy(multi->expansion_token, token);
	multi->query_floor = (int32_t) length;
	if (strcmp(strategy, "fixed") == 0)
		multi->query_tokens = multi->query_floor;
	else if (multi->query_tokens > 0 && multi->query_tokens < multi->query_floor)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"query_length\" is %d, less than the %d of \"query_expansion\"", doc->file,
						 multi->query_tokens, multi->query_floor);
	return EMB_OK;
}

EmbStatus
emb_hf_multi_parse_lengths(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	EmbHfMulti *multi = &config->multi;
	const json_t *expansion = json_object_get(doc->root, "query_expansion");
	int64_t		query = multi->query_tokens;
	int64_t		document = multi->document_tokens;
	EmbStatus	status;

	if ((status = emb_json_get_int(doc, doc->root, "query_length", 1, config->arch.n_positions, &query, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "document_length", 1, INT32_MAX, &document, err)) != EMB_OK)
		return status;
	multi->query_tokens = (int32_t) query;
	multi->document_tokens = (int32_t) document;
	return expansion == NULL || json_is_null(expansion) ? EMB_OK : parse_expansion(doc, expansion, config, err);
}

int64_t
emb_hf_multi_choose_lengths(int64_t max_tokens, EmbHfConfig *config)
{
	EmbHfMulti *multi = &config->multi;
	int64_t		query = multi->query_tokens > 0 ? multi->query_tokens : max_tokens;

	if (query > config->arch.n_positions)
		query = config->arch.n_positions;
	multi->query_tokens = (int32_t) (query < multi->query_floor ? multi->query_floor : query);
	return multi->document_tokens > 0 ? multi->document_tokens : max_tokens;
}

static EmbStatus
take_marker(const EmbJson *own, const char *key, const char *absent, char marker[EMB_HF_MAX_MARKER], EmbError *err)
{
	const char *value = absent;
	EmbStatus	status = emb_json_get_string(own, own->root, key, &value, err);

	if (status != EMB_OK)
		return status;
	if (strlen(value) >= EMB_HF_MAX_MARKER)
		return emb_error(err, EMB_ERR_LIMIT, "%s: \"%s\" has %zu bytes, more than %d", own->file, key, strlen(value), EMB_HF_MAX_MARKER - 1);
	strcpy(marker, value);
	return EMB_OK;
}

/* PyLate's keys of config_sentence_transformers.json */
static EmbStatus
parse_pylate(const EmbJson *own, EmbHfConfig *config, EmbError *err)
{
	EmbHfMulti *multi = &config->multi;
	int64_t		query = QUERY_TOKENS;
	int64_t		document = DOCUMENT_TOKENS;
	const json_t *expansion = json_object_get(own->root, "query_expansion");
	bool		expands = expansion == NULL || !json_is_null(expansion);
	EmbStatus	status;

	if ((status = take_marker(own, "query_prefix", QUERY_MARKER, multi->query_marker, err)) != EMB_OK ||
		(status = take_marker(own, "document_prefix", DOCUMENT_MARKER, multi->document_marker, err)) != EMB_OK ||
		(status = emb_json_get_int(own, own->root, "query_length", 1, config->arch.n_positions, &query, err)) != EMB_OK ||
		(status = emb_json_get_int(own, own->root, "document_length", 1, INT32_MAX, &document, err)) != EMB_OK ||
		(status = emb_json_get_bool(own, own->root, "do_query_expansion", &expands, err)) != EMB_OK ||
		(status = emb_json_get_bool(own, own->root, "attend_to_expansion_tokens", &multi->sees_expansion, err)) != EMB_OK)
		return status;
	multi->query_tokens = (int32_t) query;
	multi->document_tokens = (int32_t) document;
	multi->query_floor = expands ? multi->query_tokens : 0;
	return expansion != NULL && expands ? parse_expansion(own, expansion, config, err) : EMB_OK;
}

/* ------------------------------------------------- the original's metadata */

/* A marker, and the space that keeps it from the text. */
static EmbStatus
take_stanford_marker(const EmbJson *doc, const char *key, const char *absent, char marker[EMB_HF_MAX_MARKER], EmbError *err)
{
	EmbStatus	status = take_marker(doc, key, absent, marker, err);

	if (status == EMB_OK && (marker[0] == '\0' || strlen(marker) + 2 > EMB_HF_MAX_MARKER))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" is not a token", doc->file, key);
	if (status == EMB_OK)
		strcat(marker, " ");
	return status;
}

static EmbStatus
parse_metadata(const EmbJson *doc, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	EmbHfMulti *multi = &config->multi;
	const char *similarity = "cosine";
	int64_t		query = QUERY_TOKENS;
	int64_t		document = 0;
	int64_t		dim = 0;
	bool		skips = true;
	EmbStatus	status = doc->root != NULL ? emb_hf_check_object(doc, err) : EMB_OK;

	if (status != EMB_OK ||
		(status = take_stanford_marker(doc, "query_token_id", STANFORD_QUERY, multi->query_marker, err)) != EMB_OK ||
		(status = take_stanford_marker(doc, "doc_token_id", STANFORD_DOCUMENT, multi->document_marker, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "similarity", &similarity, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "query_maxlen", 1, config->arch.n_positions, &query, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "doc_maxlen", 1, INT32_MAX, &document, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "dim", 1, EMB_ARCH_MAX_HIDDEN, &dim, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "attend_to_mask_tokens", &multi->sees_expansion, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "mask_punctuation", &skips, err)) != EMB_OK)
		return status;
	if (strcmp(similarity, "cosine") != 0)
		return emb_hf_unsupported(doc, "similarity", similarity, "only \"cosine\", which maxsim() computes, can be imported", err);
	multi->query_tokens = multi->query_floor = (int32_t) query;
	multi->document_tokens = (int32_t) document;
	multi->dim = (int32_t) dim;
	multi->skips = EMB_SKIPS_DOCUMENTS;
	return skips ? take_punctuation(mem, multi, err) : EMB_OK;
}

static EmbStatus
read_metadata(const char *dir, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	EmbJson		doc;
	EmbStatus	status = emb_json_load_optional(dir, METADATA_FILE, EMB_JSON_CONFIG_MAX, mem, config->stop, &doc, err);

	if (status == EMB_OK && doc.root == NULL)
		emb_note(config->checkpoint, "Download artifact.metadata too.",
				 "the model is a ColBERT model without artifact.metadata; it takes the markers \"%s\" and \"%s\" and queries of %d tokens, and skips "
				 "punctuation", STANFORD_QUERY, STANFORD_DOCUMENT, QUERY_TOKENS);
	if (status == EMB_OK)
		status = parse_metadata(&doc, mem, config, err);
	emb_json_free(&doc);
	return status;
}

/* ------------------------------------------------------------- architecture */

static EmbStatus
find_multi(const EmbJson *own, bool has_modules, const EmbCheckpointOptions *options, EmbHfConfig *config, EmbError *err)
{
	bool		wanted = options->kind != NULL && strcmp(options->kind, "multi") == 0;

	config->is_multi = config->declared == EMB_HF_KIND_MULTI || config->is_stanford;
	config->multi.is_inline = config->is_stanford && !has_modules;
	if (wanted && !config->is_multi)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "kind \"multi\": the model's files say that it is no ColBERT model");
	if (!config->is_multi)
		return EMB_OK;
	if (options->kind != NULL && !wanted)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "kind \"%.*s\": the model's files say that it is a ColBERT model, of kind \"multi\"",
						 emb_json_clip(options->kind, 80), options->kind);
	if (config->arch.n_layers == 0)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "the model is a ColBERT model, but config.json says that it is a static model");
	if (config->is_stanford && has_modules && config->declared != EMB_HF_KIND_MULTI)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "config.json names the class HF_ColBERT, but modules.json lists the modules of another kind of model");
	if (has_modules || config->is_stanford)
		return EMB_OK;
	emb_error(err, EMB_ERR_UNSUPPORTED, "%s says that the model is a ColBERT model, but there is no modules.json, which lists its Dense", own->file);
	return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Download modules.json and the folders that it names, too.");
}

EmbStatus
emb_hf_multi_read(const char *dir, const EmbJson *own, const EmbHfModules *modules, bool has_modules,
				  const EmbCheckpointOptions *options, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	EmbArch    *arch = &config->arch;
	EmbStatus	status = find_multi(own, has_modules, options, config, err);

	if (status != EMB_OK || !config->is_multi)
		return status;
	arch->multi_kind = EMB_MULTI_COLBERT;
	arch->lacks_vector = 1;
	arch->normalize = 0;
	if (config->multi.is_inline)
		return read_metadata(dir, mem, config, err);
	config->multi.is_legacy = emb_hf_multi_is_pylate(own);
	if ((config->multi.is_legacy && (status = parse_pylate(own, config, err)) != EMB_OK) ||
		(status = read_dense(dir, modules, mem, config, err)) != EMB_OK)
		return status;
	return read_skip_list(dir, own, modules, mem, config, err);
}

/* marker, then the prompt without it. */
static EmbStatus
add_marker(const EmbAllocator *mem, const char *marker, char **prompt, EmbError *err)
{
	size_t		len = strlen(marker);
	const char *rest = strncmp(*prompt, marker, len) == 0 ? *prompt + len : *prompt;
	char	   *joined = emb_alloc(mem, len + strlen(rest) + 1);

	if (joined == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a model's prompts");
	strcpy(joined, marker);
	strcpy(joined + len, rest);
	emb_release(mem, *prompt);
	*prompt = joined;
	return EMB_OK;
}

EmbStatus
emb_hf_multi_add_markers(const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	EmbStatus	status = add_marker(mem, config->multi.query_marker, &config->query_prompt, err);

	/* not by the model's name */
	config->has_prompts = true;
	return status == EMB_OK ? add_marker(mem, config->multi.document_marker, &config->document_prompt, err) : status;
}
