/*
 * hf_kind.c
 *		What a directory is: an embedding model, a reranker, or a model whose
 *		outputs are of another kind. All decisions about this are here.
 *
 * In this order: "model_type" of config_sentence_transformers.json; the
 * modules of modules.json; the classes of config.json; the option "kind"; the
 * name of a decoder.
 */
#include "import/hf_family.h"

#include <string.h>

#include "import/checkpoint.h"
#include "import/hf_multi.h"
#include "import/hf_prompts.h"

static const char *const kind_names[] = {"", "embedding", "reranker", "sparse", "multi"};

/* ------------------------------------------------ sentence-transformers' files */

EmbStatus
emb_hf_read_model_type(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const struct
	{
		const char *model_type;
		EmbHfKind	kind;
	}			known[] =
	{
		{"SentenceTransformer", EMB_HF_KIND_EMBEDDING},
		{"CrossEncoder", EMB_HF_KIND_RERANKER},
		{"SparseEncoder", EMB_HF_KIND_SPARSE},
		{"MultiVectorEncoder", EMB_HF_KIND_MULTI},
		{"ColBERT", EMB_HF_KIND_MULTI}, /* PyLate */
	};
	const char *type = NULL;
	EmbStatus	status = doc->root != NULL ? emb_hf_check_object(doc, err) : EMB_OK;

	config->declared = EMB_HF_KIND_UNKNOWN;
	if (status == EMB_OK)
		status = emb_json_get_string(doc, doc->root, "model_type", &type, err);
	/* PyLate wrote no type before sentence-transformers 5 had one */
	if (status == EMB_OK && type == NULL && emb_hf_multi_is_pylate(doc))
		config->declared = EMB_HF_KIND_MULTI;
	if (status != EMB_OK || type == NULL)
		return status;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		if (strcmp(type, known[i].model_type) == 0)
			config->declared = known[i].kind;
	}
	if (config->declared == EMB_HF_KIND_UNKNOWN)
		return emb_hf_unsupported(doc, "model_type", type, "SentenceTransformer, SparseEncoder, MultiVectorEncoder, ColBERT and CrossEncoder can be imported", err);
	return EMB_OK;
}

EmbStatus
emb_hf_declare_by_modules(const EmbHfModules *modules, EmbHfConfig *config, EmbError *err)
{
	bool		is_embedder = !modules->transformer_only && !modules->has_logit_score && !modules->has_splade && !modules->has_scores;

	if (is_embedder && config->declared == EMB_HF_KIND_RERANKER)
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "modules.json lists a Pooling and no Dense that gives \"scores\", but \"model_type\" of "
				  "config_sentence_transformers.json says CrossEncoder");
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "The last module of a reranker is a Dense whose \"module_output_name\" is \"scores\".");
	}
	if ((modules->has_logit_score || modules->has_scores) && config->declared == EMB_HF_KIND_EMBEDDING)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "modules.json lists a %s, but \"model_type\" of config_sentence_transformers.json says SentenceTransformer",
						 modules->has_scores ? "Dense that gives scores" : "LogitScore");
	config->has_scores = modules->has_scores;
	if (is_embedder)
		config->declared = EMB_HF_KIND_EMBEDDING;
	return EMB_OK;
}

/* ------------------------------------------------------------------ classes */

/* Keys that only a CrossEncoder's training writes, and one label, which no encoder has. */
static bool
looks_like_reranker(const EmbJson *doc)
{
	const json_t *labels = json_object_get(doc->root, "id2label");
	const json_t *n_labels = json_object_get(doc->root, "num_labels");

	return json_object_get(doc->root, "sbert_ce_default_activation_function") != NULL ||
		json_object_get(json_object_get(doc->root, "sentence_transformers"), "activation_fn") != NULL ||
		(json_is_object(labels) ? json_object_size(labels) == 1 : json_is_integer(n_labels) && json_integer_value(n_labels) == 1);
}

bool
emb_hf_is_reranker(const EmbJson *doc, EmbHfConfig *config)
{
	/* a table has no rows for a classifier to read: refused */
	if (config->family->is_static && config->has_classifier)
		return true;
	/* modules of a reranker read the plain encoder's rows */
	if (config->declared == EMB_HF_KIND_EMBEDDING || config->declared == EMB_HF_KIND_MULTI || config->is_language_model || config->has_scores)
		return false;
	if (config->declared == EMB_HF_KIND_RERANKER || config->has_classifier)
		return true;
	if (config->has_classes || config->wanted == EMB_HF_KIND_EMBEDDING || !looks_like_reranker(doc))
		return false;
	emb_note(config->checkpoint, "The option kind says what the model is.",
			 "%s names no class (\"architectures\"); by its one label the model is a reranker", doc->file);
	return true;
}

/* ------------------------------------------------------------------- options */

EmbStatus
emb_hf_parse_kind(const char *option, EmbHfKind *kind, EmbError *err)
{
	/* learned sparse and ColBERT models are embedding models; hf_sparse.c and hf_multi.c read the option, too */
	*kind = option != NULL && (strcmp(option, "sparse") == 0 || strcmp(option, "multi") == 0) ? EMB_HF_KIND_EMBEDDING : EMB_HF_KIND_UNKNOWN;
	for (EmbHfKind k = EMB_HF_KIND_EMBEDDING; option != NULL && k <= EMB_HF_KIND_RERANKER; k++)
	{
		if (strcmp(option, kind_names[k]) == 0)
			*kind = k;
	}
	if (option != NULL && *kind == EMB_HF_KIND_UNKNOWN)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "kind \"%.*s\" is unknown; use \"embedding\", \"sparse\", \"multi\" or \"reranker\"",
						 emb_json_clip(option, 80), option);
	return EMB_OK;
}

/* By a name; a name with both words says nothing. */
static EmbHfKind
kind_by_name(EmbHfConfig *config, const char *dir, const char *name)
{
	const char *reranker = emb_hf_find_word(config, dir, name, "rerank");
	const char *embedding = emb_hf_find_word(config, dir, name, "embed");

	if ((reranker == NULL) == (embedding == NULL))
		return EMB_HF_KIND_UNKNOWN;
	config->kind_found_in = reranker != NULL ? reranker : embedding;
	return reranker != NULL ? EMB_HF_KIND_RERANKER : EMB_HF_KIND_EMBEDDING;
}

EmbStatus
emb_hf_choose_kind(EmbHfConfig *config, const char *dir, const EmbCheckpointOptions *options, const char *file, EmbHfKind *kind, EmbError *err)
{
	EmbHfKind	wanted;
	EmbStatus	status = emb_hf_parse_kind(options->kind, &wanted, err);

	if (status != EMB_OK)
		return status;
	if (wanted != EMB_HF_KIND_UNKNOWN && *kind != EMB_HF_KIND_UNKNOWN && *kind != wanted)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "kind \"%s\": the model's files say that it is of kind \"%s\"",
						 kind_names[wanted], kind_names[*kind]);
	if (*kind == EMB_HF_KIND_UNKNOWN)
		*kind = wanted != EMB_HF_KIND_UNKNOWN ? wanted : kind_by_name(config, dir, options->name);
	if (*kind != EMB_HF_KIND_UNKNOWN)
		return EMB_OK;
	emb_error(err, EMB_ERR_UNSUPPORTED, "%s describes a language model, and neither the files nor the name say what it was trained for", file);
	return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Set the option kind to \"reranker\" or \"embedding\", if it is one of these.");
}

/*
 * A masked language model without modules.json is an encoder before it was
 * trained for anything, or a model of learned sparse vectors, or ColBERT.
 */
static EmbStatus
check_masked_lm(const EmbHfConfig *config, bool has_modules, const EmbCheckpointOptions *options, EmbError *err)
{
	if (!config->is_for_masked_lm || has_modules || config->is_sparse || config->has_scores || config->declared != EMB_HF_KIND_UNKNOWN || options->pooling != NULL || config->wanted == EMB_HF_KIND_EMBEDDING)
		return EMB_OK;
	emb_error(err, EMB_ERR_UNSUPPORTED, "config.json: \"architectures\" is \"%sForMaskedLM\", and without modules.json nothing says whether the model "
			  "returns dense vectors, learned sparse ones (SPLADE) or several a text (ColBERT)", config->family->class_stem);
	return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "For dense vectors download modules.json and 1_Pooling/config.json too, or set the option kind to \"embedding\" "
						  "(and pooling, normalize); for sparse ones set it to \"sparse\". A ColBERT model has modules.json and config_sentence_transformers.json.");
}

/* What the files say themselves; and that they do not contradict each other. */
EmbStatus
emb_hf_kind_by_files(const EmbHfModules *modules, bool has_modules, const EmbCheckpointOptions *options,
					 const EmbHfConfig *config, EmbHfKind *kind, EmbError *err)
{
	bool		is_reranker = config->arch.head != EMB_HEAD_NONE;

	*kind = is_reranker || modules->has_logit_score || modules->has_scores ? EMB_HF_KIND_RERANKER : EMB_HF_KIND_EMBEDDING;
	if (modules->has_logit_score && (is_reranker || !config->family->is_decoder))
		return emb_error(err, EMB_ERR_UNSUPPORTED, "modules.json lists a LogitScore, but config.json says that the model is no language model");
	if (modules->has_scores && config->family->is_decoder)
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "modules.json lists a Dense that gives scores, but config.json says that the model is a decoder");
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Only modules after an encoder can be imported; a decoder reranks by a LogitScore.");
	}
	if (config->is_multi)
		return EMB_OK;
	if (config->is_language_model && !modules->has_logit_score && (!has_modules || modules->transformer_only))
		*kind = config->declared;
	return check_masked_lm(config, has_modules, options, err);
}
