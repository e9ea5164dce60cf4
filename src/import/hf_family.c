/*
 * hf_family.c
 *		config.json: which family of encoders a model is of, and its sizes.
 */
#include "import/hf_family.h"

#include <stdio.h>
#include <string.h>

/* How a family writes its configuration. The defaults are those of its class in transformers. */
typedef struct Family
{
	EmbFamily	family;
	const char *model_type;
	const char *class_stem;		/* "Bert" of BertModel */
	const char *hidden,			/* keys */
			   *n_layers,
			   *n_heads,
			   *intermediate,
			   *activation,
			   *ln_eps;			/* NULL: always 1e-12 */
	int64_t		absent_layers,	/* of n_layers */
				absent_vocab;	/* of "vocab_size" */
	bool		skips_padding,	/* positions count from "pad_token_id" + 1 */
				no_types,
				no_reranker;
	EmbStatus	(*check) (const EmbJson *doc, EmbError *err);	/* what only this family has, or NULL */
} Family;

#define BERT_KEYS \
	.absent_layers = 12, .hidden = "hidden_size", .n_layers = "num_hidden_layers", .n_heads = "num_attention_heads", \
	.intermediate = "intermediate_size", .activation = "hidden_act", .ln_eps = "layer_norm_eps"

/* transformers' MPNet has these two whatever its configuration says. */
#define MPNET_BUCKETS	32
#define MPNET_PADDING	1

static EmbStatus
check_mpnet(const EmbJson *doc, EmbError *err)
{
	int64_t		buckets = MPNET_BUCKETS;
	int64_t		pad = MPNET_PADDING;
	EmbStatus	status;

	if ((status = emb_json_get_int(doc, doc->root, "relative_attention_num_buckets", 0, INT32_MAX, &buckets, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "pad_token_id", 0, INT32_MAX, &pad, err)) != EMB_OK)
		return status;
	if (buckets != MPNET_BUCKETS)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"relative_attention_num_buckets\" is %lld; only %d can be imported",
						 doc->file, (long long) buckets, MPNET_BUCKETS);
	if (pad != MPNET_PADDING)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"pad_token_id\" is %lld; of \"mpnet\" only %d can be imported",
						 doc->file, (long long) pad, MPNET_PADDING);
	return EMB_OK;
}

static const Family families[] =
{
	{EMB_FAMILY_BERT, "bert", "Bert", BERT_KEYS, .absent_vocab = 30522},
	{EMB_FAMILY_ROBERTA, "roberta", "Roberta", BERT_KEYS, .absent_vocab = 50265, .skips_padding = true},
	{EMB_FAMILY_XLM_ROBERTA, "xlm-roberta", "XLMRoberta", BERT_KEYS, .absent_vocab = 30522, .skips_padding = true},
	{EMB_FAMILY_CAMEMBERT, "camembert", "Camembert", BERT_KEYS, .absent_vocab = 30522, .skips_padding = true},
	{EMB_FAMILY_DISTILBERT, "distilbert", "DistilBert", .absent_layers = 6, .absent_vocab = 30522,
		.hidden = "dim", .n_layers = "n_layers", .n_heads = "n_heads", .intermediate = "hidden_dim", .activation = "activation",
		.no_types = true, .no_reranker = true},
	{EMB_FAMILY_MPNET, "mpnet", "MPNet", BERT_KEYS, .absent_vocab = 30527, .skips_padding = true, .no_types = true,
		.check = check_mpnet},
};

#define N_FAMILIES	(sizeof(families) / sizeof(families[0]))

EmbStatus
emb_hf_unsupported(const EmbJson *doc, const char *key, const char *value, const char *want, EmbError *err)
{
	return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"%s\" is \"%.*s\"; %s", doc->file, key,
					 emb_json_clip(value, 80), value, want);
}

EmbStatus
emb_hf_check_object(const EmbJson *doc, EmbError *err)
{
	if (!json_is_object(doc->root))
		return emb_error(err, EMB_ERR_FORMAT, "%s is not a JSON object", doc->file);
	return EMB_OK;
}

static const Family *
family_of(uint32_t number)
{
	for (size_t i = 0; i < N_FAMILIES; i++)
	{
		if ((uint32_t) families[i].family == number)
			return &families[i];
	}
	return NULL;
}

const char *
emb_hf_family_name(uint32_t family)
{
	const Family *f = family_of(family);

	return f != NULL ? f->model_type : NULL;
}

bool
emb_hf_skips_padding(uint32_t family)
{
	const Family *f = family_of(family);

	return f != NULL && f->skips_padding;
}

bool
emb_hf_has_types(uint32_t family)
{
	const Family *f = family_of(family);

	return f != NULL && !f->no_types;
}

/* ---------------------------------------------------------------- classes */

/* The class's name behind the family's stem; NULL: of another family. */
static const char *
class_kind(const Family *family, const char *class)
{
	size_t		len = strlen(family->class_stem);

	return strncmp(class, family->class_stem, len) == 0 ? class + len : NULL;
}

/* Heads that are neither the encoder's nor a reranker's are dropped. */
static EmbStatus
check_class(const EmbJson *doc, const Family *family, const char *class, bool *is_reranker, EmbError *err)
{
	static const char *const encoders[] = {"Model", "ForMaskedLM", "ForPreTraining"};
	const char *kind = class_kind(family, class);
	const char *stem = family->class_stem;
	char		want[256];

	for (size_t i = 0; kind != NULL && i < sizeof(encoders) / sizeof(encoders[0]); i++)
	{
		if (strcmp(kind, encoders[i]) == 0)
			return EMB_OK;
	}
	if (kind != NULL && strcmp(kind, "ForSequenceClassification") == 0 && !family->no_reranker)
	{
		*is_reranker = true;
		return EMB_OK;
	}
	snprintf(want, sizeof(want), family->no_reranker ? "of \"%s\" only %sModel, %sForMaskedLM and %sForPreTraining can be imported"
			 : "of \"%s\" only %sModel, %sForMaskedLM, %sForPreTraining and %sForSequenceClassification can be imported",
			 family->model_type, stem, stem, stem, stem);
	return emb_hf_unsupported(doc, "architectures", class, want, err);
}

static EmbStatus
check_architectures(const EmbJson *doc, const Family *family, bool *is_reranker, EmbError *err)
{
	const json_t *list = json_object_get(doc->root, "architectures");
	EmbStatus	status = EMB_OK;

	if (list == NULL || json_is_null(list))
		return EMB_OK;
	if (!json_is_array(list))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"architectures\" is not a list", doc->file);
	for (size_t i = 0; status == EMB_OK && i < json_array_size(list); i++)
	{
		const char *name = json_string_value(json_array_get(list, i));

		if (name == NULL)
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"architectures\" holds something else than strings", doc->file);
		status = check_class(doc, family, name, is_reranker, err);
	}
	return status;
}

/* --------------------------------------------------------------- rerankers */

/* Labels of a classifier, as transformers counts them: 2 unless something says otherwise. */
static EmbStatus
check_labels(const EmbJson *doc, EmbError *err)
{
	const json_t *labels = json_object_get(doc->root, "id2label");
	int64_t		n = 2;
	EmbStatus	status = emb_json_get_int(doc, doc->root, "num_labels", 0, INT32_MAX, &n, err);

	if (status != EMB_OK)
		return status;
	if (labels != NULL && !json_is_null(labels))
	{
		if (!json_is_object(labels))
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"id2label\" is not an object", doc->file);
		n = (int64_t) json_object_size(labels);
	}
	if (n == 1)
		return EMB_OK;
	emb_error(err, EMB_ERR_UNSUPPORTED, "%s: the classifier has %lld labels; only rerankers, which have one, can be imported",
			  doc->file, (long long) n);
	return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "A reranker's \"id2label\" has one entry.");
}

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
	EmbStatus	status = check_labels(doc, err);

	if (status == EMB_OK)
		status = emb_hf_check_score_activation(doc, doc->root, "sbert_ce_default_activation_function", err);
	if (status == EMB_OK && own != NULL && !json_is_null(own))
	{
		if (!json_is_object(own))
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"sentence_transformers\" is not an object", doc->file);
		status = emb_hf_check_score_activation(doc, own, "activation_fn", err);
	}
	return status;
}

/* ---------------------------------------------------------------- encoders */

static EmbStatus
find_family(const EmbJson *doc, const Family **family, EmbError *err)
{
	const char *type = NULL;
	char		want[256] = "these can be imported:";
	EmbStatus	status = emb_json_get_string(doc, doc->root, "model_type", &type, err);

	if (status != EMB_OK)
		return status;
	if (type == NULL)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"model_type\" is missing", doc->file);
	for (size_t i = 0; i < N_FAMILIES; i++)
	{
		size_t		len = strlen(want);

		if (strcmp(type, families[i].model_type) == 0)
		{
			*family = &families[i];
			return EMB_OK;
		}
		snprintf(want + len, sizeof(want) - len, "%s %s", i > 0 ? "," : "", families[i].model_type);
	}
	return emb_hf_unsupported(doc, "model_type", type, want, err);
}

/* What an encoder of BERT's kind has to be, and what nothing here reads. */
static EmbStatus
check_encoder(const EmbJson *doc, EmbError *err)
{
	const char *position = "absolute";
	bool		is_decoder = false;
	bool		cross_attention = false;
	EmbStatus	status;

	if ((status = emb_json_get_string(doc, doc->root, "position_embedding_type", &position, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "is_decoder", &is_decoder, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "add_cross_attention", &cross_attention, err)) != EMB_OK)
		return status;
	if (strcmp(position, "absolute") != 0)
		return emb_hf_unsupported(doc, "position_embedding_type", position, "only \"absolute\" can be imported", err);
	if (is_decoder)
		return emb_hf_unsupported(doc, "is_decoder", "true", "only encoders can be imported", err);
	if (cross_attention)
		return emb_hf_unsupported(doc, "add_cross_attention", "true", "only encoders can be imported", err);
	if (json_is_object(json_object_get(doc->root, "quantization_config")))
		return emb_error(err, EMB_ERR_UNSUPPORTED,
						 "%s: \"quantization_config\" says that the weights are quantized; only F32, F16 and BF16 can be imported",
						 doc->file);
	return EMB_OK;
}

static EmbStatus
parse_activation(const EmbJson *doc, const char *key, EmbActivation *activation, EmbError *err)
{
	static const struct
	{
		const char *name;
		EmbActivation activation;
	}			known[] =
	{
		{"gelu", EMB_ACT_GELU},
		{"gelu_python", EMB_ACT_GELU},
		/* one formula, written in four ways */
		{"gelu_new", EMB_ACT_GELU_TANH},
		{"gelu_pytorch_tanh", EMB_ACT_GELU_TANH},
		{"gelu_fast", EMB_ACT_GELU_TANH},
		{"gelu_accurate", EMB_ACT_GELU_TANH},
		{"relu", EMB_ACT_RELU},
	};
	const char *name = "gelu";
	EmbStatus	status = emb_json_get_string(doc, doc->root, key, &name, err);

	if (status != EMB_OK)
		return status;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		if (strcmp(known[i].name, name) == 0)
		{
			*activation = known[i].activation;
			return EMB_OK;
		}
	}
	return emb_hf_unsupported(doc, key, name, "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast and relu are known", err);
}

static EmbStatus
parse_sizes(const EmbJson *doc, const Family *family, EmbHfConfig *config, EmbError *err)
{
	const struct
	{
		const char *key;
		int64_t		absent,
					max;
		int32_t    *value;
	}			sizes[] =
	{
		{family->hidden, 768, EMB_HF_MAX_HIDDEN, &config->hidden},
		{family->n_layers, family->absent_layers, EMB_HF_MAX_LAYERS, &config->n_layers},
		{family->n_heads, 12, EMB_HF_MAX_HIDDEN, &config->n_heads},
		{family->intermediate, 3072, EMB_HF_MAX_INTERMEDIATE, &config->intermediate},
		{"vocab_size", family->absent_vocab, EMB_HF_MAX_VOCAB, &config->n_vocab},
		{"max_position_embeddings", 512, EMB_HF_MAX_POSITIONS, &config->n_positions},
		/* last: not every family has it */
		{"type_vocab_size", 2, EMB_HF_MAX_TYPES, &config->n_types},
	};
	size_t		n_sizes = sizeof(sizes) / sizeof(sizes[0]) - family->no_types;
	EmbStatus	status = EMB_OK;

	config->n_types = 0;
	for (size_t i = 0; status == EMB_OK && i < n_sizes; i++)
	{
		int64_t		n = sizes[i].absent;

		status = emb_json_get_int(doc, doc->root, sizes[i].key, 1, sizes[i].max, &n, err);
		*sizes[i].value = (int32_t) n;
	}
	if (status == EMB_OK && config->hidden % config->n_heads != 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"%s\" %d is not a multiple of \"%s\" %d",
						 doc->file, family->hidden, config->hidden, family->n_heads, config->n_heads);
	return status;
}

/* RoBERTa's positions: rows up to the padding's belong to no token of a text. */
static EmbStatus
parse_position_base(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	int64_t		pad = 1;
	EmbStatus	status = emb_json_get_int(doc, doc->root, "pad_token_id", 0, config->n_vocab - 1, &pad, err);

	if (status != EMB_OK)
		return status;
	if (pad + 1 >= config->n_positions)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"max_position_embeddings\" is %d, which leaves no position above \"pad_token_id\" %lld",
						 doc->file, config->n_positions, (long long) pad);
	config->position_base = (int32_t) pad + 1;
	config->n_positions -= config->position_base;
	return EMB_OK;
}

EmbStatus
emb_hf_parse_config(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	const Family *family;
	double		ln_eps = 1e-12;
	EmbStatus	status;

	config->is_reranker = false;
	config->position_base = 0;
	if ((status = emb_hf_check_object(doc, err)) != EMB_OK ||
		(status = find_family(doc, &family, err)) != EMB_OK ||
		(status = check_architectures(doc, family, &config->is_reranker, err)) != EMB_OK ||
		(status = check_encoder(doc, err)) != EMB_OK ||
		(status = parse_sizes(doc, family, config, err)) != EMB_OK ||
		(family->ln_eps != NULL &&
		 (status = emb_json_get_double(doc, doc->root, family->ln_eps, 1e-30, 1.0, &ln_eps, err)) != EMB_OK) ||
		(status = parse_activation(doc, family->activation, &config->activation, err)) != EMB_OK)
		return status;
	config->family = family->family;
	config->ln_eps = (float) ln_eps;
	if (family->check != NULL && (status = family->check(doc, err)) != EMB_OK)
		return status;
	if (config->is_reranker && (status = check_reranker(doc, err)) != EMB_OK)
		return status;
	return family->skips_padding ? parse_position_base(doc, config, err) : EMB_OK;
}
