/*
 * hf_sparse.c
 *		Learned sparse models of the hub.
 */
#include "import/hf_sparse.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/file.h"
#include "formats/tensors.h"
#include "import/checkpoint.h"
#include "import/hf_prompts.h"
#include "import/hf_tokenizer.h"
#include "import/hf_tokenizer_spec.h"

#define ROUTER_FILE		"router_config.json"
#define IDF_FILE		"idf.json"
#define OPTIONS_FILE	"config_sentence_transformers.json"

/* ----------------------------------------------------------------- router */

/* The list of a route's modules; *n 0: there is no such route. */
static EmbStatus
find_route(const EmbJson *doc, const char *route, const json_t **list, size_t *n, EmbError *err)
{
	*list = json_object_get(json_object_get(doc->root, "structure"), route);
	*n = json_array_size(*list);
	if (*list != NULL && !json_is_array(*list))
		return emb_error(err, EMB_ERR_FORMAT, "%s: the route \"%s\" is not a list", doc->file, route);
	return EMB_OK;
}

/* The class of module i of a route, and its directory. */
static EmbStatus
route_module(const EmbJson *doc, const char *router_path, const json_t *list, size_t i, const char **type, char path[256], EmbError *err)
{
	const char *name = json_string_value(json_array_get(list, i));
	int			n;

	if (name == NULL)
		return emb_error(err, EMB_ERR_FORMAT, "%s: a route holds something other than strings", doc->file);
	*type = json_string_value(json_object_get(json_object_get(doc->root, "types"), name));
	if (*type == NULL)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"types\" has no class of \"%.*s\"", doc->file, emb_json_clip(name, 80), name);
	n = snprintf(path, 256, "%s%s%s", router_path, router_path[0] != '\0' && name[0] != '\0' ? "/" : "", name);
	if (n < 0 || n > 255 || !emb_hf_is_inside(path))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%.*s\" is not a path inside the directory", doc->file, emb_json_clip(name, 100), name);
	return EMB_OK;
}

/* Documents have the modules of a model; queries have the same, or a table. */
static EmbStatus
parse_router(const EmbJson *doc, EmbHfModules *modules, EmbError *err)
{
	static const char want[] = "a Router can be imported with a \"document\" route, and a \"query\" route of one SparseStaticEmbedding";
	EmbHfModules routed = {0};
	const json_t *list;
	const char *type;
	size_t		n;
	EmbStatus	status = emb_hf_check_object(doc, err);

	if (status == EMB_OK)
		status = find_route(doc, "document", &list, &n, err);
	if (status == EMB_OK && n == 0)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s has no route \"document\"; %s", doc->file, want);
	for (size_t i = 0; status == EMB_OK && i < n; i++)
	{
		char		path[256];

		status = route_module(doc, modules->router_path, list, i, &type, path, err);
		if (status == EMB_OK)
			status = emb_hf_take_module(doc, type, path, &routed, err);
	}
	if (status != EMB_OK || (status = find_route(doc, "query", &list, &n, err)) != EMB_OK)
		return status;
	if (n != 1)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: the route \"query\" has %zu modules; %s", doc->file, n, want);
	status = route_module(doc, modules->router_path, list, 0, &type, routed.query_path, err);
	if (status != EMB_OK)
		return status;
	if (strncmp(type, "sentence_transformers.", 22) != 0 || strcmp(strrchr(type, '.'), ".SparseStaticEmbedding") != 0 || !routed.has_splade)
		return emb_hf_unsupported(doc, "query", type, want, err);
	routed.has_query_table = true;
	*modules = routed;
	return EMB_OK;
}

EmbStatus
emb_hf_sparse_read_router(const char *dir, const EmbAllocator *mem, EmbHfModules *modules, const EmbHfConfig *config, EmbError *err)
{
	char		name[sizeof(modules->router_path) + sizeof(ROUTER_FILE) + 1];
	EmbJson		doc;
	EmbStatus	status;

	snprintf(name, sizeof(name), "%s%s%s", modules->router_path, modules->router_path[0] != '\0' ? "/" : "", ROUTER_FILE);
	status = emb_json_load(dir, name, EMB_JSON_CONFIG_MAX, mem, config->stop, &doc, err);
	if (status == EMB_OK)
		status = parse_router(&doc, modules, err);
	emb_json_free(&doc);
	return status;
}

/* ------------------------------------------------------------ architecture */

/* 1_SpladePooling/config.json */
static EmbStatus
parse_splade(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	const char *pooling = "max";
	const char *activation = "relu";
	EmbStatus	status = emb_hf_check_object(doc, err);

	if (status != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "pooling_strategy", &pooling, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "activation_function", &activation, err)) != EMB_OK)
		return status;
	if (strcmp(pooling, "max") != 0)
		return emb_hf_unsupported(doc, "pooling_strategy", pooling, "only \"max\", of SPLADE v2 and later, can be imported", err);
	if (strcmp(activation, "relu") != 0 && strcmp(activation, "log1p_relu") != 0)
		return emb_hf_unsupported(doc, "activation_function", activation, "only \"relu\" and \"log1p_relu\" can be imported", err);
	config->arch.sparse_logs = strcmp(activation, "relu") == 0 ? 1 : 2;
	return EMB_OK;
}

static EmbStatus
read_splade(const char *dir, const EmbHfModules *modules, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	char		name[sizeof(modules->splade_path) + 16];
	EmbJson		doc;
	EmbStatus	status;

	snprintf(name, sizeof(name), "%s%sconfig.json", modules->splade_path, modules->splade_path[0] != '\0' ? "/" : "");
	status = emb_json_load(dir, name, EMB_JSON_CONFIG_MAX, mem, config->stop, &doc, err);
	if (status == EMB_OK)
		status = parse_splade(&doc, config, err);
	emb_json_free(&doc);
	return status;
}

static EmbStatus
read_max_active(const char *dir, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	EmbJson		doc;
	int64_t		max = 0;
	EmbStatus	status = emb_json_load_optional(dir, OPTIONS_FILE, EMB_JSON_CONFIG_MAX, mem, config->stop, &doc, err);

	if (status == EMB_OK && doc.root != NULL)
		status = emb_json_get_int(&doc, doc.root, "max_active_dims", 1, EMB_ARCH_MAX_VOCAB, &max, err);
	emb_json_free(&doc);
	config->arch.sparse_max = (int32_t) max;
	return status;
}

/* Without modules.json the classes of a SPLADE and of any other masked language model are the same. */
static bool
is_sparse_by_name(EmbHfConfig *config, const char *dir, const char *name)
{
	const char *found = emb_hf_find_word(config, dir, name, "splade");

	if (found == NULL)
		found = emb_hf_find_word(config, dir, name, "sparse");
	config->kind_found_in = found;
	return found != NULL;
}

static EmbStatus
find_sparse(const char *dir, const EmbHfModules *modules, bool has_modules, const EmbCheckpointOptions *options,
			EmbHfConfig *config, EmbError *err)
{
	bool		wanted = (options->kind != NULL && strcmp(options->kind, "sparse") == 0) || config->declared == EMB_HF_KIND_SPARSE;

	if (has_modules || !config->is_masked_lm || (!wanted && config->declared != EMB_HF_KIND_UNKNOWN))
		config->is_sparse = modules->has_splade;
	else if (options->kind == NULL || wanted)
	{
		config->has_query_table = emb_file_exists(dir, IDF_FILE);
		config->is_sparse = wanted || config->has_query_table || is_sparse_by_name(config, dir, options->name);
	}
	if (config->is_sparse && options->kind != NULL && strcmp(options->kind, "sparse") != 0)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "kind \"%.*s\": the model's files say that it is a learned sparse model, of kind \"sparse\"",
						 emb_json_clip(options->kind, 80), options->kind);
	if (wanted && !config->is_sparse)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "kind \"sparse\": the model's files say that it is not a learned sparse model");
	if (config->is_sparse && !config->is_masked_lm)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "modules.json lists a SpladePooling, but config.json says that the model has no head over "
						 "the vocabulary (a class ForMaskedLM)");
	return EMB_OK;
}

EmbStatus
emb_hf_sparse_read(const char *dir, const EmbHfModules *modules, bool has_modules, const EmbCheckpointOptions *options,
				   const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	EmbArch    *arch = &config->arch;
	EmbStatus	status = find_sparse(dir, modules, has_modules, options, config, err);

	if (status != EMB_OK || !config->is_sparse)
		return status;
	arch->has_sparse = EMB_SPARSE_VOCABULARY;
	arch->lacks_vector = 1;
	arch->normalize = 0;
	arch->sparse_logs = 1;
	arch->lm_activation = config->lm_activation;
	if (arch->lm_activation == 0)
		arch->lm_activation = config->family->lm_activation != 0 ? (int32_t) config->family->lm_activation : arch->activation;
	if (has_modules)
	{
		config->has_query_table = modules->has_query_table;
		strcpy(config->query_path, modules->query_path);
		status = read_splade(dir, modules, mem, config, err);
	}
	/* the models of 2025 */
	else if (emb_hf_find_word(config, dir, options->name, "doc-v3") != NULL)
		arch->sparse_logs = 2;
	if (status == EMB_OK)
		status = read_max_active(dir, mem, config, err);
	arch->has_query_weights = config->has_query_table;
	return status;
}

/* ------------------------------------------------------------------ tables */

typedef struct Tables
{
	EmbHfSparseTables *to;
	const EmbHfConfig *config;
	const EmbTokSpec *spec;
	const EmbAllocator *mem;
	const char *dir;			/* of the module */
} Tables;

/* As transformers does it, a token that is not in the vocabulary is the unknown one. */
static int32_t
find_id(const EmbTokSpec *spec, const char *token)
{
	EmbTokAdded found;

	return emb_tok_spec_find_token(spec, token, &found) ? found.id : spec->unk_id;
}

static EmbStatus
parse_idf(const Tables *t, const EmbJson *doc, EmbError *err)
{
	const char *token;
	json_t	   *value;
	EmbStatus	status = emb_hf_check_object(doc, err);

	if (status != EMB_OK)
		return status;
	json_object_foreach((json_t *) doc->root, token, value)
	{
		int32_t		id = find_id(t->spec, token);
		double		weight = json_number_value(value);

		if (!json_is_number(value) || !isfinite((float) weight))
			return emb_error(err, EMB_ERR_FORMAT, "%s: the weight of \"%.*s\" is not a finite number", doc->file,
							 emb_json_clip(token, 80), token);
		if (id >= 0 && id < t->config->arch.n_vocab)
			t->to->query_weights[id] = (float) weight;
	}
	return EMB_OK;
}

static EmbStatus
read_idf(const Tables *t, EmbError *err)
{
	EmbJson		doc;
	EmbStatus	status = emb_json_load(t->dir, IDF_FILE, EMB_JSON_TOKENIZER_MAX, t->mem, t->config->stop, &doc, err);

	if (status == EMB_OK)
		status = parse_idf(t, &doc, err);
	emb_json_free(&doc);
	return status;
}

/* SparseStaticEmbedding's tensor, with at most as many weights as the vocabulary has entries. */
static EmbStatus
read_tensor(const Tables *t, const char *file, EmbError *err)
{
	EmbTensorSet set;
	const EmbTensor *weight;
	EmbStatus	status = emb_tensors_open_file(t->dir, file, t->mem, t->config->stop, &set, err);

	if (status != EMB_OK)
		return status;
	weight = emb_tensors_find(&set, "weight");
	if (weight == NULL)
		status = emb_error(err, EMB_ERR_NOT_FOUND, "%s of the SparseStaticEmbedding holds no tensor \"weight\"", file);
	else if (weight->rank != 1 || weight->shape[0] < 1 || weight->shape[0] > t->config->arch.n_vocab)
		status = emb_error(err, EMB_ERR_FORMAT, "tensor \"weight\" of the SparseStaticEmbedding is not a list of 1 to %d weights", t->config->arch.n_vocab);
	else
		status = emb_tensors_read_f32(&set, weight, 0, weight->shape[0], t->to->query_weights, err);
	emb_tensors_close(&set);
	return status;
}

/* A table of other tokens than the documents' would give other ids. */
static EmbStatus
check_tokenizer(const Tables *t, EmbError *err)
{
	static const char *const files[] = {"tokenizer.json", "vocab.txt", "sentencepiece.bpe.model", "vocab.json", "tokenizer.model"};
	size_t		n_files = sizeof(files) / sizeof(files[0]);
	EmbTokSpec	spec = {0};
	void	   *blocks[2] = {NULL, NULL};
	size_t		sizes[2];
	size_t		i = 0;
	EmbStatus	status;

	while (i < n_files && !emb_file_exists(t->dir, files[i]))
		i++;
	if (i == n_files || strcmp(t->dir, t->config->transformer_dir) == 0)
		return EMB_OK;
	status = emb_import_tokenizer(t->dir, t->mem, t->config->stop, &spec, err);
	if (status != EMB_OK)
		return status;
	spec.lowercase |= t->config->lowercase_text;
	status = emb_tok_build(t->spec, t->mem, &blocks[0], &sizes[0], err);
	if (status == EMB_OK)
		status = emb_tok_build(&spec, t->mem, &blocks[1], &sizes[1], err);
	if (status == EMB_OK && (sizes[0] != sizes[1] || memcmp(blocks[0], blocks[1], sizes[0]) != 0))
		status = emb_error(err, EMB_ERR_UNSUPPORTED, "the tokenizer of queries, in \"%s\", is not the tokenizer of documents", t->config->query_path);
	emb_release(t->mem, blocks[0]);
	emb_release(t->mem, blocks[1]);
	emb_tok_spec_free(&spec, t->mem);
	return status;
}

/*
 * OpenSearch's code gives special tokens of documents no weight, and no query
 * has their tokens.
 */
static void
drop_special(const Tables *t)
{
	for (int i = 0; i < t->spec->n_added; i++)
	{
		if (t->spec->added[i].special && t->spec->added[i].id >= 0 && t->spec->added[i].id < t->config->arch.n_vocab)
			t->to->is_dropped[t->spec->added[i].id] = 1;
	}
	if (t->spec->unk_id >= 0 && t->spec->unk_id < t->config->arch.n_vocab)
		t->to->is_dropped[t->spec->unk_id] = 1;
}

static EmbStatus
read_weights(const Tables *t, EmbError *err)
{
	static const char *const files[] = {"model.safetensors", "pytorch_model.bin"};

	/* beside config.json these are the model's */
	for (size_t i = 0; t->config->query_path[0] != '\0' && i < 2; i++)
	{
		if (emb_file_exists(t->dir, files[i]))
			return read_tensor(t, files[i], err);
	}
	return read_idf(t, err);
}

EmbStatus
emb_hf_sparse_read_tables(const char *dir, const EmbHfConfig *config, const EmbTokSpec *spec, const EmbAllocator *mem,
						  EmbHfSparseTables *tables, EmbError *err)
{
	char		path[EMB_HF_MAX_PATH];
	Tables		t = {.to = tables, .config = config, .spec = spec, .mem = mem, .dir = path};
	int			n = snprintf(path, sizeof(path), "%s%s%s", dir, config->query_path[0] != '\0' ? "/" : "", config->query_path);
	EmbStatus	status;

	*tables = (EmbHfSparseTables) {0};
	if (!config->has_query_table)
		return EMB_OK;
	if (n < 0 || (size_t) n >= sizeof(path))
		return emb_error(err, EMB_ERR_LIMIT, "the path of the model's directory is longer than %d bytes", EMB_HF_MAX_PATH - 1);
	tables->query_weights = emb_alloc_zero(mem, config->arch.n_vocab, sizeof(float));
	tables->is_dropped = emb_alloc_zero(mem, config->arch.n_vocab, 1);
	if (tables->query_weights == NULL || tables->is_dropped == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory for a vocabulary of %d", config->arch.n_vocab);
	else if ((status = check_tokenizer(&t, err)) == EMB_OK && (status = read_weights(&t, err)) == EMB_OK)
		drop_special(&t);
	if (status != EMB_OK)
		emb_hf_sparse_free_tables(tables, mem);
	return status;
}

void
emb_hf_sparse_free_tables(EmbHfSparseTables *tables, const EmbAllocator *mem)
{
	emb_release(mem, tables->query_weights);
	emb_release(mem, tables->is_dropped);
	*tables = (EmbHfSparseTables) {0};
}
