/*
 * hf_family.c
 *		config.json: the model's family and its architecture.
 */
#include "import/hf_family.h"

#include <stdio.h>
#include <string.h>

#include "import/checkpoint.h"

EmbStatus
emb_hf_unsupported(const EmbJson *doc, const char *key, const char *value, const char *want, EmbError *err)
{
	emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"%s\" is \"%.*s\"; %s", doc->file, key, emb_json_clip(value, 80), value, want);
	/* not of a file: an option, to which the message lists what can be */
	if (doc->root == NULL)
		return EMB_ERR_UNSUPPORTED;
	return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "docs/models/README.md says which model to take for what, and what can be imported of every family.");
}

EmbStatus
emb_hf_check_object(const EmbJson *doc, EmbError *err)
{
	if (!json_is_object(doc->root))
		return emb_error(err, EMB_ERR_FORMAT, "%s is not a JSON object", doc->file);
	return EMB_OK;
}

/* ---------------------------------------------------------------- classes */

/* The class name after the family's stem; NULL: another family. */
static const char *
class_kind(const EmbFamily *family, const char *class)
{
	size_t		len = strlen(family->class_stem);
	size_t		n_word = family->class_word != NULL ? strlen(family->class_word) : 0;

	if (strncmp(class, family->class_stem, len) != 0)
		return NULL;
	class += len;
	return n_word > 0 && strncmp(class, family->class_word, n_word) == 0 ? class + n_word : class;
}

/* The classes of decoders. False: it is none of them. */
static bool
take_decoder(const char *kind, EmbHfConfig *config)
{
	if (strcmp(kind, "ForCausalLM") == 0)
		config->is_language_model = true;
	else if (strcmp(kind, "BidirectionalModel") == 0)
		config->is_bidirectional = true;
	else
		return false;
	return true;
}

/* What to take instead of a class that is not known; NULL: nothing better than the list of classes. */
static const char *
class_hint(const char *class)
{
	if (strstr(class, "ForTokenClassification") != NULL || strstr(class, "ForQuestionAnswering") != NULL)
		return "The model labels tokens; take one that was trained for embeddings (bge-small-en-v1.5) or as a reranker (ms-marco-MiniLM-L6-v2).";
	return NULL;
}

/* Heads that belong neither to the encoder nor to a reranker are dropped. */
static EmbStatus
check_class(const EmbJson *doc, const char *class, EmbHfConfig *config, EmbError *err)
{
	static const char *const encoders[] = {"Model", "ForMaskedLM", "ForPreTraining"};
	static const char *const others[] = {"ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice", "ForNextSentencePrediction"};
	const EmbFamily *family = config->family;
	const char *kind = class_kind(family, class);
	const char *stem = family->class_stem;
	char		want[256];
	EmbStatus	status;

	/* the original ColBERT's class, around an encoder of any family */
	if (strcmp(class, "HF_ColBERT") == 0 && (config->declared == EMB_HF_KIND_UNKNOWN || config->declared == EMB_HF_KIND_MULTI))
	{
		config->is_stanford = true;
		return EMB_OK;
	}
	for (size_t i = 0; kind != NULL && i < sizeof(encoders) / sizeof(encoders[0]); i++)
	{
		if (strcmp(kind, encoders[i]) == 0)
		{
			config->is_masked_lm |= i > 0;
			config->is_for_masked_lm |= i == 1;
			return EMB_OK;
		}
	}
	if (kind != NULL && strcmp(kind, "ForSequenceClassification") == 0)
	{
		config->has_classifier = true;
		return EMB_OK;
	}
	if (kind != NULL && family->is_decoder && take_decoder(kind, config))
		return EMB_OK;
	/* a Pooling after it: whatever its head is, the rows below are pooled */
	for (size_t i = 0; kind != NULL && config->declared == EMB_HF_KIND_EMBEDDING && i < sizeof(others) / sizeof(others[0]); i++)
	{
		if (strcmp(kind, others[i]) == 0)
			return EMB_OK;
	}
	if (family->is_decoder)
		snprintf(want, sizeof(want), "of \"%s\" only %sModel, %sForCausalLM, %sBidirectionalModel and %sForSequenceClassification can be imported",
				 family->model_type, stem, stem, stem, stem);
	else
		snprintf(want, sizeof(want), "of \"%s\" only %sModel, %sForMaskedLM, %sForPreTraining and %sForSequenceClassification can be imported",
				 family->model_type, stem, stem, stem, stem);
	status = emb_hf_unsupported(doc, "architectures", class, want, err);
	return class_hint(class) != NULL ? emb_error_hint(err, status, "%s", class_hint(class)) : status;
}

/*
 * Whether the list has the plain encoder: then the model is an encoder,
 * whatever other classes the list has.
 */
static bool
has_encoder(const EmbFamily *family, const json_t *list)
{
	for (size_t i = 0; i < json_array_size(list); i++)
	{
		const char *name = json_string_value(json_array_get(list, i));
		const char *kind = name != NULL ? class_kind(family, name) : NULL;

		if (kind != NULL && strcmp(kind, "Model") == 0)
			return true;
	}
	return false;
}

static EmbStatus
check_architectures(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	const EmbFamily *family = config->family;
	const json_t *list = json_object_get(doc->root, "architectures");
	EmbStatus	status = EMB_OK;

	if (list == NULL || json_is_null(list))
		return EMB_OK;
	if (!json_is_array(list))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"architectures\" is not a list", doc->file);
	config->has_classes = json_array_size(list) > 0;
	for (size_t i = 0; status == EMB_OK && i < json_array_size(list); i++)
	{
		const char *name = json_string_value(json_array_get(list, i));

		if (name == NULL)
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"architectures\" holds something other than strings", doc->file);
		if (class_kind(family, name) == NULL || !has_encoder(family, list))
			status = check_class(doc, name, config, err);
	}
	return status;
}

/*
 * A class that we know, with code of its own beside it. Models whose code we
 * know, because transformers had no class for them, are not reported.
 */
static void
note_own_code(const EmbJson *doc, const EmbHfConfig *config)
{
	const char *key;
	json_t	   *value;

	json_object_foreach(json_object_get(doc->root, "auto_map"), key, value)
	{
		const char *code = json_string_value(value);

		if (strncmp(key, "AutoModel", 9) != 0 || code == NULL || config->family->has_own_code || config->is_bidirectional)
			continue;
		emb_note(config->checkpoint, "If that code computes something else, the vectors differ: compare some with the model's own.",
				 "%s names code that comes with the model (\"auto_map\": \"%.*s\"), which is not run; the model is computed as transformers' %s",
				 doc->file, emb_json_clip(code, 80), code, config->family->model_type);
		return;
	}
}

/* --------------------------------------------------------------- rerankers */

EmbStatus
emb_hf_check_score_activation(const EmbJson *doc, const json_t *object, const char *key, EmbError *err)
{
	const char *name = NULL;
	const char *class;
	EmbStatus	status = emb_json_get_string(doc, object, key, &name, err);

	if (status != EMB_OK || name == NULL)
		return status;
	class = strrchr(name, '.');
	class = class != NULL ? class + 1 : name;
	if (strncmp(name, "torch.nn.", 9) == 0 && (strcmp(class, "Identity") == 0 || strcmp(class, "Sigmoid") == 0))
		return EMB_OK;
	return emb_hf_unsupported(doc, key, name, "only torch.nn's Identity and Sigmoid are known", err);
}

static EmbStatus
check_reranker(const EmbJson *doc, EmbError *err)
{
	const json_t *own = json_object_get(doc->root, "sentence_transformers");
	EmbStatus	status;

	status = emb_hf_check_score_activation(doc, doc->root, "sbert_ce_default_activation_function", err);
	if (status == EMB_OK && own != NULL && !json_is_null(own))
	{
		if (!json_is_object(own))
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"sentence_transformers\" is not an object", doc->file);
		status = emb_hf_check_score_activation(doc, own, "activation_fn", err);
	}
	return status;
}

/* The labels, of which a decoder has one: it answers at its last row. */
static EmbStatus
read_reranker(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	EmbStatus	status = emb_hf_parse_labels(doc, &config->labels, err);

	if (status != EMB_OK)
		return status;
	if (config->arch.head == EMB_HEAD_SCORE)
		config->arch.n_labels = config->labels.n;
	else if (config->labels.n != 1)
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "%s: the classifier has %d labels; only decoders with one can be imported as rerankers",
				  doc->file, config->labels.n);
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "A reranker's \"id2label\" has one entry.");
	}
	return check_reranker(doc, err);
}

/* ---------------------------------------------------------------- encoders */

/* "these can be imported: bert, distilbert, ..." */
static void
list_families(char *want, size_t size)
{
	const char *last = "";
	size_t		len = (size_t) snprintf(want, size, "these can be imported:");

	for (const EmbFamily *const *list = emb_families; *list != NULL; list++)
	{
		for (const EmbFamily *f = *list; f->model_type != NULL && len < size; f++)
		{
			if (strcmp(f->model_type, last) != 0 && !f->is_told_by_positions && f->is_meant == NULL)
				len += (size_t) snprintf(want + len, size - len, "%s %s", last[0] != '\0' ? "," : "", f->model_type);
			last = f->model_type;
		}
	}
}

static EmbStatus
find_family(const EmbJson *doc, const EmbFamily **family, EmbError *err)
{
	const char *type = NULL;
	char		want[256];
	EmbStatus	status = emb_json_get_string(doc, doc->root, "model_type", &type, err);

	if (status != EMB_OK)
		return status;
	if (type == NULL)
	{
		emb_error(err, EMB_ERR_FORMAT, "%s: \"model_type\" is missing", doc->file);
		return emb_error_hint(err, EMB_ERR_FORMAT, "It is no configuration of transformers: name the directory that holds one, beside the weights.");
	}
	*family = emb_family_find(type, doc);
	if (*family != NULL)
		return EMB_OK;
	list_families(want, sizeof(want));
	status = emb_hf_unsupported(doc, "model_type", type, want, err);
	if (strcmp(type, "deberta") == 0)
		return emb_error_hint(err, status, "Of DeBERTa versions 2 and 3 can be imported, whose \"model_type\" is deberta-v2.");
	if (json_object_get(doc->root, "auto_map") != NULL)
		return emb_error_hint(err, status, "The model comes with code of its own (\"auto_map\"), which is not run here.");
	return emb_error_hint(err, status, "docs/models/README.md lists the families. bge-small-en-v1.5 or bge-m3 embed texts, ms-marco-MiniLM-L6-v2 or bge-reranker-v2-m3 rank them.");
}

/*
 * The requirements for an encoder like BERT, and keys that must be unset
 * because nothing here reads them.
 */
static EmbStatus
check_encoder(const EmbJson *doc, const EmbFamily *family, EmbError *err)
{
	const char *position = family->position_type != NULL ? family->position_type : "";
	char		want[64];
	bool		is_decoder = false;
	bool		cross_attention = false;
	EmbStatus	status;

	if ((status = emb_json_get_string(doc, doc->root, "position_embedding_type", &position, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "is_decoder", &is_decoder, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "add_cross_attention", &cross_attention, err)) != EMB_OK)
		return status;
	if (family->position_type != NULL && strcmp(position, family->position_type) != 0)
	{
		snprintf(want, sizeof(want), "only \"%s\" can be imported", family->position_type);
		return emb_hf_unsupported(doc, "position_embedding_type", position, want, err);
	}
	if (is_decoder)
		return emb_hf_unsupported(doc, "is_decoder", "true", "only encoders can be imported", err);
	if (cross_attention)
		return emb_hf_unsupported(doc, "add_cross_attention", "true", "only encoders can be imported", err);
	return EMB_OK;
}

bool
emb_hf_find_activation(const char *name, bool is_gated, int32_t *activation)
{
	static const struct
	{
		const char *name;
		EmbActivation activation;
	}			known[] =
	{
		{"gelu", EMB_ACT_GELU},
		{"gelu_python", EMB_ACT_GELU},
		/* one formula with four names */
		{"gelu_new", EMB_ACT_GELU_TANH},
		{"gelu_pytorch_tanh", EMB_ACT_GELU_TANH},
		{"gelu_fast", EMB_ACT_GELU_TANH},
		{"gelu_accurate", EMB_ACT_GELU_TANH},
		{"relu", EMB_ACT_RELU},
		/* only in a GLU */
		{"silu", EMB_ACT_SILU},
		{"swiglu", EMB_ACT_SILU},
	};
	size_t		n_known = sizeof(known) / sizeof(known[0]) - (is_gated ? 0 : 2);

	for (size_t i = 0; i < n_known; i++)
	{
		if (strcmp(known[i].name, name) == 0)
		{
			*activation = known[i].activation;
			return true;
		}
	}
	return false;
}

static EmbStatus
parse_activation(const EmbJson *doc, const EmbFamily *family, EmbArch *arch, EmbError *err)
{
	bool		gated = arch->is_gated != 0;
	const char *key = family->activation;
	const char *name = family->absent_activation != NULL ? family->absent_activation : "gelu";
	EmbStatus	status = emb_json_get_string(doc, doc->root, key, &name, err);

	if (status != EMB_OK || emb_hf_find_activation(name, gated, &arch->activation))
		return status;
	return emb_hf_unsupported(doc, key, name, gated ? "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu and silu are known"
							  : "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast and relu are known", err);
}

/* Key heads that several query heads share, and heads whose size is not the hidden size's share. */
static EmbStatus
parse_heads(const EmbJson *doc, const EmbFamily *family, EmbArch *arch, EmbError *err)
{
	int64_t		n_kv_heads = arch->n_heads;
	int64_t		head_size = arch->head_size;
	EmbStatus	status = EMB_OK;

	if (family->n_kv_heads != NULL)
		status = emb_json_get_int(doc, doc->root, family->n_kv_heads, 1, arch->n_heads, &n_kv_heads, err);
	if (status == EMB_OK && family->head_size != NULL)
		status = emb_json_get_int(doc, doc->root, family->head_size, 1, EMB_ARCH_MAX_HIDDEN, &head_size, err);
	if (status != EMB_OK)
		return status;
	if (arch->n_heads % n_kv_heads != 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" %d is not a multiple of \"%s\" %lld", doc->file,
						 family->n_heads, arch->n_heads, family->n_kv_heads, (long long) n_kv_heads);
	if (family->head_size != NULL && (head_size < 1 || head_size % 2 != 0))
		return emb_error(err, EMB_ERR_FORMAT, "%s: heads of %lld elements, an odd number, cannot be rotated", doc->file,
						 (long long) head_size);
	if (arch->n_heads * head_size > EMB_ARCH_MAX_ATTENTION)
		return emb_error(err, EMB_ERR_LIMIT, "%s: %d heads of %lld elements are wider than %d", doc->file, arch->n_heads,
						 (long long) head_size, EMB_ARCH_MAX_ATTENTION);
	arch->n_kv_heads = (int32_t) n_kv_heads;
	arch->head_size = (int32_t) head_size;
	return EMB_OK;
}

static EmbStatus
parse_sizes(const EmbJson *doc, const EmbFamily *family, EmbArch *arch, EmbError *err)
{
	int32_t		n_heads = 0;
	const struct
	{
		const char *key;
		int64_t		absent,
					min,
					max;
		int32_t    *value;
	}			sizes[] =
	{
		{family->hidden, 768, 1, EMB_ARCH_MAX_HIDDEN, &arch->hidden},
		{family->n_layers, family->absent_layers, 1, EMB_ARCH_MAX_LAYERS, &arch->n_layers},
		{family->n_heads, 12, 1, EMB_ARCH_MAX_HIDDEN, &n_heads},
		{family->intermediate, 3072, 1, EMB_ARCH_MAX_INTERMEDIATE, &arch->intermediate},
		{"vocab_size", family->absent_vocab, 1, EMB_ARCH_MAX_VOCAB, &arch->n_vocab},
		{family->positions, family->absent_positions, 1, EMB_ARCH_MAX_POSITIONS, &arch->n_positions},
		{family->types, 2, family->min_types, EMB_ARCH_MAX_TYPES, &arch->n_types},
	};
	EmbStatus	status = EMB_OK;

	for (size_t i = 0; status == EMB_OK && i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		int64_t		n = sizes[i].absent;

		if (sizes[i].key == NULL)
			continue;
		status = emb_json_get_int(doc, doc->root, sizes[i].key, sizes[i].min, sizes[i].max, &n, err);
		*sizes[i].value = (int32_t) n;
	}
	if (status == EMB_OK && family->head_size == NULL && arch->hidden % n_heads != 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" %d is not a multiple of \"%s\" %d",
						 doc->file, family->hidden, arch->hidden, family->n_heads, n_heads);
	if (status != EMB_OK)
		return status;
	emb_arch_set_heads(arch, n_heads);
	return parse_heads(doc, family, arch, err);
}

EmbStatus
emb_hf_read_position_base(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	EmbArch    *arch = &config->arch;
	int64_t		pad = 1;
	EmbStatus	status = emb_json_get_int(doc, doc->root, "pad_token_id", 0, arch->n_vocab - 1, &pad, err);

	if (status != EMB_OK)
		return status;
	/* the default padding token */
	if (pad >= arch->n_vocab)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"vocab_size\" is %d, which does not hold the padding's id %lld", doc->file,
						 arch->n_vocab, (long long) pad);
	if (pad + 1 >= arch->n_positions)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"max_position_embeddings\" is %d, which leaves no position above \"pad_token_id\" %lld",
						 doc->file, arch->n_positions, (long long) pad);
	arch->position_base = (int32_t) pad + 1;
	arch->n_positions -= arch->position_base;
	return EMB_OK;
}

EmbStatus
emb_hf_check_number(const EmbJson *doc, const char *key, int64_t want, EmbError *err)
{
	int64_t		n = want;
	EmbStatus	status = emb_json_get_int(doc, doc->root, key, 0, INT32_MAX, &n, err);

	if (status == EMB_OK && n != want)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"%s\" is %lld; only %lld can be imported", doc->file, key,
						 (long long) n, (long long) want);
	return status;
}

EmbStatus
emb_hf_check_off(const EmbJson *doc, const char *const *keys, bool absent, EmbError *err)
{
	for (; *keys != NULL; keys++)
	{
		bool		on = absent;
		EmbStatus	status = emb_json_get_bool(doc, doc->root, *keys, &on, err);

		if (status != EMB_OK)
			return status;
		if (on)
			return emb_hf_unsupported(doc, *keys, "true", "only false can be imported", err);
	}
	return EMB_OK;
}

EmbStatus
emb_hf_check_on(const EmbJson *doc, const char *const *keys, EmbError *err)
{
	for (; *keys != NULL; keys++)
	{
		bool		on = false;
		EmbStatus	status = emb_json_get_bool(doc, doc->root, *keys, &on, err);

		if (status != EMB_OK)
			return status;
		if (!on)
			return emb_hf_unsupported(doc, *keys, "false", "only true can be imported here", err);
	}
	return EMB_OK;
}

EmbStatus
emb_hf_check_unset(const EmbJson *doc, const char *const *keys, EmbError *err)
{
	for (; *keys != NULL; keys++)
	{
		const json_t *v = json_object_get(doc->root, *keys);

		if (v != NULL && !json_is_null(v) && !(json_is_number(v) && json_number_value(v) == 0) && !json_is_false(v) &&
			!(json_is_array(v) && json_array_size(v) == 0))
			return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"%s\" is set, which is not supported", doc->file, *keys);
	}
	return EMB_OK;
}

/* ---------------------------------------------------------------- rotation */

EmbStatus
emb_hf_check_head_size(const EmbJson *doc, const EmbHfConfig *config, EmbError *err)
{
	int32_t		size = config->arch.head_size;
	EmbStatus	status = emb_hf_check_number(doc, "head_dim", size, err);

	if (status == EMB_OK && size % 2 != 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: heads of %d elements, an odd number, cannot be rotated", doc->file, size);
	return status;
}

/* {"rope_theta", "rope_type"}, directly or per kind of layer */
EmbStatus
emb_hf_read_rope(const EmbJson *doc, const json_t *object, const char *key, double *base, EmbError *err)
{
	const char *type = "default";
	EmbStatus	status;

	if (object == NULL || json_is_null(object))
		return EMB_OK;
	if (!json_is_object(object))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" is not an object", doc->file, key);
	status = emb_json_get_string(doc, object, "rope_type", &type, err);
	if (status == EMB_OK && strcmp(type, "default") != 0)
		return emb_hf_unsupported(doc, "rope_type", type, "only \"default\" can be imported", err);
	return status == EMB_OK ? emb_json_get_double(doc, object, "rope_theta", 1, EMB_ARCH_MAX_ROTARY_BASE, base, err) : status;
}

EmbStatus
emb_hf_check_rope_scaling(const EmbJson *doc, EmbError *err)
{
	const json_t *scaling = json_object_get(doc->root, "rope_scaling");
	const char *type = "default";
	EmbStatus	status;

	if (scaling == NULL || json_is_null(scaling))
		return EMB_OK;
	if (!json_is_object(scaling))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"rope_scaling\" is not an object", doc->file);
	if ((status = emb_json_get_string(doc, scaling, "type", &type, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, scaling, "rope_type", &type, err)) != EMB_OK)
		return status;
	if (strcmp(type, "default") != 0)
		return emb_hf_unsupported(doc, "rope_scaling", type, "only null and \"default\" can be imported", err);
	return EMB_OK;
}

/* Any string is possible; a string that cannot be a known model's name counts as none. */
static void
parse_name(const EmbJson *doc, EmbHfConfig *config)
{
	const char *name = json_string_value(json_object_get(doc->root, "_name_or_path"));

	if (name != NULL && strlen(name) < sizeof(config->name_or_path))
		strcpy(config->name_or_path, name);
	else
		config->name_or_path[0] = '\0';
}

/* The score of a decoder is read from the last row; its classifier is one row of weights. */
void
emb_hf_add_answer_head(EmbArch *arch, int32_t n_rows)
{
	arch->head = EMB_HEAD_ANSWER;
	arch->n_labels = n_rows;
	arch->pooling = EMB_POOL_LAST;
	arch->normalize = 0;
}

/* The default score head, unless the family defines another. */
static void
add_score_head(const EmbFamily *family, EmbArch *arch)
{
	if (family->is_decoder)
	{
		emb_hf_add_answer_head(arch, 1);
		return;
	}
	arch->head = EMB_HEAD_SCORE;
	arch->head_activation = family->head_activation != 0 ? family->head_activation : EMB_ACT_TANH;
	arch->head_has_bias = 1;
	arch->pooling = EMB_POOL_CLS;
}

static EmbStatus
parse_static(const EmbJson *doc, EmbHfConfig *config, bool is_reranker, EmbError *err)
{
	if (is_reranker)
		return emb_hf_unsupported(doc, "model_type", config->family->model_type, "its classifiers cannot be imported", err);
	return config->family->read(doc, config, err);
}

static EmbStatus
parse_encoder(const EmbJson *doc, EmbHfConfig *config, bool is_reranker, EmbError *err)
{
	const EmbFamily *family = config->family;
	EmbArch    *arch = &config->arch;
	double		norm_eps = family->norm_eps != NULL ? family->absent_eps : 1e-12;
	EmbStatus	status;

	if (family->shape != NULL)
		family->shape(arch);
	if (arch->positions & EMB_POSITIONS_ROTARY)
		arch->rotary_scale = 1;
	if (is_reranker)
		add_score_head(family, arch);
	if ((status = check_encoder(doc, family, err)) != EMB_OK ||
		(status = parse_sizes(doc, family, arch, err)) != EMB_OK ||
		(family->norm_eps != NULL &&
		 (status = emb_json_get_double(doc, doc->root, family->norm_eps, 1e-30, 1.0, &norm_eps, err)) != EMB_OK) ||
		(status = parse_activation(doc, family, arch, err)) != EMB_OK)
		return status;
	arch->norm_eps = (float) norm_eps;
	if (family->read != NULL && (status = family->read(doc, config, err)) != EMB_OK)
		return status;
	if (config->has_scores)
		return emb_hf_parse_labels(doc, &config->labels, err);
	return is_reranker ? read_reranker(doc, config, err) : EMB_OK;
}

EmbStatus
emb_hf_parse_config(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	bool		is_reranker;
	EmbStatus	status;

	if ((status = emb_hf_check_object(doc, err)) != EMB_OK ||
		(status = find_family(doc, &config->family, err)) != EMB_OK)
		return status;
	parse_name(doc, config);
	config->arch = config->family->is_static ? emb_arch_static() : emb_arch_encoder();
	snprintf(config->arch.family, sizeof(config->arch.family), "%s", emb_family_name(config->family));
	status = check_architectures(doc, config, err);
	if (status != EMB_OK)
		return status;
	note_own_code(doc, config);
	is_reranker = emb_hf_is_reranker(doc, config);
	return config->family->is_static ? parse_static(doc, config, is_reranker, err) : parse_encoder(doc, config, is_reranker, err);
}
