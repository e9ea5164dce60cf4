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
#include <unistd.h>

#include "formats/diagnose.h"
#include "formats/file.h"
#include "formats/tensors.h"
#include "import/checkpoint.h"
#include "import/hf_multi.h"
#include "import/hf_sparse.h"

#define CONFIG_FILE			"config.json"
#define MODULES_FILE		"modules.json"
#define SENTENCE_BERT_FILE	"sentence_bert_config.json"
#define TOKENIZER_FILE		"tokenizer_config.json"
#define PROMPTS_FILE		"config_sentence_transformers.json"

/* ---------------------------------------------------------------- lengths */

/* Lengths of their own for queries and documents would change vectors; only ColBERT models have them. */
EmbStatus
emb_hf_parse_sentence_bert(const EmbJson *doc, int64_t *max_seq_length, EmbHfConfig *config, EmbError *err)
{
	static const char *const unset[] = {"query_length", "document_length", "query_expansion", NULL};
	EmbStatus	status = emb_hf_check_object(doc, err);

	if (status == EMB_OK)
		status = config->is_multi ? emb_hf_multi_parse_lengths(doc, config, err) : emb_hf_check_unset(doc, unset, err);
	if (status == EMB_OK)
		status = emb_json_get_int(doc, doc->root, "max_seq_length", 1, INT32_MAX, max_seq_length, err);
	if (status == EMB_OK)
		status = emb_json_get_bool(doc, doc->root, "do_lower_case", &config->lowercase_text, err);
	/* what the tokenizer is called with wins over max_seq_length */
	if (status == EMB_OK)
		status = emb_hf_parse_processing(doc, max_seq_length, err);
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

EmbStatus
emb_hf_parse_truncation(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	int64_t		n = 0;
	EmbStatus	status = emb_json_get_int(doc, doc->root, "truncate_dim", 1, INT32_MAX, &n, err);

	config->truncate_dim = (int32_t) n;
	return status;
}

/* ---------------------------------------------------------- the directory */

static EmbStatus
check_directory(const char *dir, EmbError *err)
{
	struct stat st;

	if (stat(dir, &st) != 0)
		return errno == ENOENT || errno == ENOTDIR
			? emb_diagnose_no_directory(dir, err)
			: emb_diagnose_not_readable(dir, errno, err);
	if (!S_ISDIR(st.st_mode))
		return emb_diagnose_not_directory(dir, err);
	if (access(dir, R_OK | X_OK) != 0)
		return emb_diagnose_not_readable(dir, errno, err);
	return EMB_OK;
}

/* A module's config.json; whole: everything, else only what its output is. */
static EmbStatus
read_module(const char *dir, int32_t n_in, bool whole, const EmbAllocator *mem, const EmbStop *stop, EmbHfDense *dense, EmbError *err)
{
	char		name[sizeof(dense->path) + sizeof(CONFIG_FILE) + 1];
	EmbJson		doc;
	EmbStatus	status;

	snprintf(name, sizeof(name), "%s%s%s", dense->path, dense->path[0] != '\0' ? "/" : "", CONFIG_FILE);
	status = emb_json_load(dir, name, EMB_JSON_CONFIG_MAX, mem, stop, &doc, err);
	if (status == EMB_OK)
		status = whole ? emb_hf_parse_dense(&doc, n_in, dense, err) : emb_hf_parse_dense_names(&doc, dense, err);
	emb_json_free(&doc);
	return status;
}

/* Whether the last module gives scores: then the model is a reranker. */
static EmbStatus
find_scores(const char *dir, const EmbAllocator *mem, const EmbStop *stop, EmbHfModules *modules, EmbError *err)
{
	for (int i = 0; i < modules->n_dense; i++)
	{
		EmbHfDense *dense = &modules->dense[i];
		EmbStatus	status = dense->module.kind == EMB_MODULE_DENSE ? read_module(dir, 0, false, mem, stop, dense, err) : EMB_OK;

		if (status != EMB_OK)
			return status;
		if (dense->gives_scores && (i + 1 < modules->n_dense || modules->normalize))
			return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: no module may follow \"%s\", which gives scores", MODULES_FILE, dense->path);
	}
	modules->has_scores = modules->n_dense > 0 && modules->dense[modules->n_dense - 1].gives_scores;
	return EMB_OK;
}

/* sentence-transformers' files of the whole directory; own: config_sentence_transformers.json. */
static EmbStatus
read_pipeline(const char *dir, const EmbJson *own, const EmbAllocator *mem, EmbHfConfig *config, EmbHfModules *modules, bool *found, EmbError *err)
{
	EmbJson		doc;
	EmbStatus	status;

	memset(modules, 0, sizeof(*modules));
	*found = false;
	if ((status = emb_hf_read_model_type(own, config, err)) != EMB_OK ||
		(status = emb_json_load_optional(dir, MODULES_FILE, EMB_JSON_CONFIG_MAX, mem, config->stop, &doc, err)) != EMB_OK)
		return status;
	*found = doc.root != NULL;
	if (*found)
		status = config->declared == EMB_HF_KIND_MULTI ? emb_hf_multi_parse_modules(&doc, modules, err) : emb_hf_parse_modules(&doc, modules, err);
	if (status == EMB_OK && *found && config->declared != EMB_HF_KIND_MULTI)
		status = find_scores(dir, mem, config->stop, modules, err);
	emb_json_free(&doc);
	if (config->declared == EMB_HF_KIND_MULTI)
		return status;
	if (status == EMB_OK && modules->has_router)
		status = emb_hf_sparse_read_router(dir, mem, modules, config, err);
	return status == EMB_OK && *found ? emb_hf_declare_by_modules(modules, config, err) : status;
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
	/* transformers would apply it */
	if (status == EMB_OK)
		status = emb_diagnose_adapter(config->transformer_dir, err);
	if (status == EMB_OK)
		status = emb_hf_parse_config(&doc, config, err);
	if (status == EMB_OK && config->arch.n_layers > 0)
		status = emb_quant_read_config(&doc, config->transformer_dir, mem, config->stop, &config->quantization, err);
	emb_json_free(&doc);
	return status;
}

/* What else is missing or cannot be read says more: weights that are none (a pointer of git-lfs), or none at all. */
static EmbStatus
explain_no_module(const char *dir, const char *name, const EmbHfConfig *config, EmbError *err)
{
	EmbStatus	status;

	if (!emb_tensors_exist(config->transformer_dir))
		return emb_diagnose_no_weights(config->transformer_dir, err);
	status = emb_tensors_check_start(config->transformer_dir, err);
	return status != EMB_OK ? status : emb_diagnose_no_module(dir, name, err);
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
	if (status == EMB_ERR_NOT_FOUND && !emb_file_is_dangling(dir, name))
		status = explain_no_module(dir, name, config, err);
	if (status == EMB_OK)
		status = emb_hf_parse_pooling(&doc, config, err);
	emb_json_free(&doc);
	return status;
}

static EmbStatus
read_dense(const char *dir, const EmbHfModules *modules, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	EmbArch    *arch = &config->arch;
	EmbStatus	status = EMB_OK;

	for (int i = 0; status == EMB_OK && i < modules->n_dense; i++)
	{
		EmbHfDense	dense = modules->dense[i];

		status = read_module(dir, emb_arch_module_inputs(arch, i), true, mem, config->stop, &dense, err);
		arch->dense[i] = dense.module;
		strcpy(config->dense_paths[i], dense.path);
	}
	arch->n_dense = modules->n_dense;
	if (arch->head == EMB_HEAD_MODULES)
		arch->n_labels = arch->n_dense > 0 ? arch->dense[arch->n_dense - 1].n_out : 0;
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
	if (config->family->is_decoder && max_tokens > EMB_DECODER_MAX_TOKENS)
		max_tokens = EMB_DECODER_MAX_TOKENS;
	if (config->is_multi)
		max_tokens = emb_hf_multi_choose_lengths(max_tokens, config);
	config->max_tokens = max_tokens < config->arch.n_positions ? (int32_t) max_tokens : config->arch.n_positions;
	return status;
}

/* What config_sentence_transformers.json says beside the kind. */
static EmbStatus
read_own(const EmbJson *own, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	static const EmbJson none = {.file = PROMPTS_FILE};
	bool		is_reranker = config->arch.head != EMB_HEAD_NONE;
	EmbStatus	status = EMB_OK;

	if (is_reranker && own->root != NULL)
		status = emb_hf_parse_cross_encoder(own, mem, config, err);
	else if (!is_reranker)
		status = emb_hf_parse_truncation(own, config, err);
	if (status == EMB_OK)
		status = emb_hf_parse_prompts(is_reranker ? &none : own, mem, config, err);
	return status == EMB_OK && config->is_multi ? emb_hf_multi_add_markers(mem, config, err) : status;
}

/* ------------------------------------------------------------------ kinds */

static EmbStatus
read_logit_score(const char *dir, const EmbHfModules *modules, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	char		name[sizeof(modules->logit_score_path) + sizeof(CONFIG_FILE) + 1];
	EmbJson		doc;
	EmbStatus	status;

	snprintf(name, sizeof(name), "%s%s%s", modules->logit_score_path,
			 modules->logit_score_path[0] != '\0' ? "/" : "", CONFIG_FILE);
	status = emb_json_load(dir, name, EMB_JSON_CONFIG_MAX, mem, config->stop, &doc, err);
	if (status == EMB_OK)
		status = emb_hf_parse_logit_score(&doc, config, err);
	emb_json_free(&doc);
	return status;
}

/* The kind of model; a decoder that reranks gets its head. */
static EmbStatus
choose_kind(const char *dir, const EmbHfModules *modules, bool has_modules, const EmbCheckpointOptions *options,
			const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	EmbHfKind	kind;
	EmbStatus	status;

	if ((status = emb_hf_kind_by_files(modules, has_modules, options, config, &kind, err)) != EMB_OK ||
		(status = emb_hf_choose_kind(config, dir, options, CONFIG_FILE, &kind, err)) != EMB_OK)
		return status;
	if (kind == EMB_HF_KIND_RERANKER && config->family->only_embeds)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: rerankers of type \"%s\" cannot be imported, only embedding models", CONFIG_FILE,
						 config->family->model_type);
	if (modules->has_scores)
		config->arch.head = EMB_HEAD_MODULES;
	else if (kind == EMB_HF_KIND_RERANKER && config->arch.head == EMB_HEAD_NONE)
	{
		if (modules->has_logit_score && (status = read_logit_score(dir, modules, mem, config, err)) != EMB_OK)
			return status;
		emb_hf_add_answer_head(&config->arch, modules->has_logit_score && config->answer_ids[1] < 0 ? 1 : 2);
	}
	return EMB_OK;
}

/* ---------------------------------------------------------------- pooling */

/*
 * The caller's pooling, or, without modules.json, what SentenceTransformer(dir)
 * takes; vectors of decoders are normalized as their cards do.
 */
static EmbStatus
override_pooling(bool has_modules, const EmbCheckpointOptions *options, EmbHfConfig *config, EmbError *err)
{
	EmbArch    *arch = &config->arch;
	const EmbJson doc = {.file = "the options"};
	EmbStatus	status = EMB_OK;

	if ((options->pooling != NULL || options->sets_normalize) && (arch->head != EMB_HEAD_NONE || arch->n_layers == 0 || arch->lacks_vector))
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, arch->head != EMB_HEAD_NONE ? "the model is a reranker, whose pooling cannot be set"
						 : arch->lacks_vector ? "the model returns vectors or weights of tokens only, without a pooling that could be set"
						 : "the model is a static model, whose pooling cannot be set");
	if (arch->head != EMB_HEAD_NONE || arch->n_layers == 0 || arch->lacks_vector)
		return EMB_OK;
	if (!has_modules)
	{
		arch->pooling = arch->is_causal ? EMB_POOL_LAST : EMB_POOL_MEAN;
		arch->normalize = config->family->is_decoder;
		config->assumes_pooling = options->pooling == NULL || (!options->sets_normalize && !config->family->is_decoder);
	}
	if (options->pooling != NULL)
		status = emb_hf_set_pooling(&doc, "pooling", options->pooling, config, err);
	if (options->sets_normalize)
		arch->normalize = options->normalize;
	return status;
}

/* A matrix after the layers counts as the first dense module. */
static EmbStatus
add_projection(EmbHfConfig *config, EmbError *err)
{
	if (config->projection == 0)
		return EMB_OK;
	if (config->arch.n_dense > 0 || (config->arch.pooling != EMB_POOL_MEAN && config->arch.pooling != EMB_POOL_LAST &&
									 config->arch.pooling != EMB_POOL_CLS))
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"num_labels\" %d is a matrix before the pooling, which cannot be imported with this "
						 "pooling or with modules Dense", CONFIG_FILE, config->projection);
	config->arch.dense[0] = (EmbArchDense) {.n_out = config->projection};
	config->arch.n_dense = 1;
	return EMB_OK;
}

/* The pooling that follows from the kind of model and its modules. */
static EmbStatus
choose_pooling(const char *dir, const EmbHfModules *modules, bool has_modules, const EmbAllocator *mem,
			   EmbHfConfig *config, EmbError *err)
{
	bool		is_static = config->arch.n_layers == 0;
	EmbStatus	status;

	if (config->arch.head != EMB_HEAD_NONE && config->arch.head != EMB_HEAD_MODULES)
		return EMB_OK;
	if (has_modules && modules->is_static != is_static)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s lists a %s, but %s says that the model is of type %s", MODULES_FILE,
						 modules->is_static ? "StaticEmbedding" : "Transformer", CONFIG_FILE, config->arch.family);
	if (config->arch.lacks_vector)
		return EMB_OK;
	if (has_modules && modules->transformer_only)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s lists 1 module; a Transformer and a Pooling are needed", MODULES_FILE);
	if (!config->has_normalize)
		config->arch.normalize = modules->normalize;
	status = has_modules && !is_static ? read_pooling(dir, modules, mem, config, err) : EMB_OK;
	return status == EMB_OK ? read_dense(dir, modules, mem, config, err) : status;
}

static EmbStatus
refuse_label(const char *label, EmbError *err)
{
	emb_error(err, EMB_ERR_INVALID_ARGUMENT, "label \"%.*s\": the model has no classifier, whose label could be chosen", emb_json_clip(label, 80), label);
	return emb_error_hint(err, EMB_ERR_INVALID_ARGUMENT, "Leave the option out, or import a reranker: a class ..ForSequenceClassification, or modules that give scores.");
}

/* Which of a reranker's outputs is the score. */
static EmbStatus
choose_label(const EmbCheckpointOptions *options, EmbHfConfig *config, EmbError *err)
{
	EmbArch    *arch = &config->arch;
	char		list[200];
	EmbStatus	status;

	if (arch->head != EMB_HEAD_SCORE && arch->head != EMB_HEAD_MODULES)
		return options->label == NULL ? EMB_OK
			: refuse_label(options->label, err);
	status = emb_hf_choose_label(&config->labels, arch->n_labels, options->label, &arch->label, err);
	if (status != EMB_OK || options->label != NULL || arch->n_labels == 1)
		return status;
	emb_hf_list_labels(&config->labels, list, sizeof(list));
	emb_note(config->checkpoint, "The option label takes another one.", "the model has %d labels: %s; rerank() returns the probability of \"%s\"",
			 arch->n_labels, list, config->labels.names[arch->label]);
	return EMB_OK;
}

/* own: config_sentence_transformers.json, without a root where there is none. */
static EmbStatus
read_all(const char *dir, const EmbJson *own, const EmbCheckpointOptions *options, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	EmbHfModules modules;
	bool		has_modules = false;
	EmbStatus	status;

	if ((status = emb_hf_parse_kind(options->kind, &config->wanted, err)) != EMB_OK ||
		(status = read_pipeline(dir, own, mem, config, &modules, &has_modules, err)) != EMB_OK ||
		(status = read_transformer(dir, &modules, mem, config, err)) != EMB_OK ||
		(config->arch.n_layers == 0 && (status = emb_hf_read_static(mem, config, err)) != EMB_OK) ||
		(status = emb_hf_sparse_read(dir, &modules, has_modules, options, mem, config, err)) != EMB_OK ||
		(status = emb_hf_multi_read(dir, own, &modules, has_modules, options, mem, config, err)) != EMB_OK ||
		(status = choose_kind(dir, &modules, has_modules, options, mem, config, err)) != EMB_OK ||
		(status = choose_pooling(dir, &modules, has_modules, mem, config, err)) != EMB_OK ||
		(status = override_pooling(has_modules, options, config, err)) != EMB_OK ||
		(status = choose_label(options, config, err)) != EMB_OK ||
		(status = add_projection(config, err)) != EMB_OK ||
		(config->arch.n_layers > 0 && (status = read_length(mem, config, err)) != EMB_OK))
		return status;
	return read_own(own, mem, config, err);
}

EmbStatus
emb_hf_read_config(const char *dir, const EmbCheckpointOptions *options, const EmbAllocator *mem, const EmbStop *stop,
				   EmbCheckpoint *notes, EmbHfConfig *config, EmbError *err)
{
	EmbJson		own;
	EmbStatus	status = check_directory(dir, err);

	memset(config, 0, sizeof(*config));
	config->stop = stop;
	config->checkpoint = notes;
	config->pool_prompt = true;
	config->answer_ids[0] = config->answer_ids[1] = -1;
	if (status != EMB_OK || (status = emb_json_load_optional(dir, PROMPTS_FILE, EMB_JSON_CONFIG_MAX, mem, stop, &own, err)) != EMB_OK)
		return status;
	status = read_all(dir, &own, options, mem, config, err);
	emb_json_free(&own);
	if (status != EMB_OK)
		emb_hf_config_free(config, mem);
	return status;
}

void
emb_hf_config_free(EmbHfConfig *config, const EmbAllocator *mem)
{
	emb_release(mem, config->query_prompt);
	emb_release(mem, config->document_prompt);
	emb_release(mem, config->instruction);
	emb_release(mem, config->multi.words);
	config->multi.words = NULL;
	config->query_prompt = NULL;
	config->document_prompt = NULL;
	config->instruction = NULL;
}
