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
	const char *hidden,			/* keys; of two entries of one model_type the one whose key of this is there, else the last */
			   *n_layers,
			   *n_heads,
			   *intermediate,
			   *positions,
			   *activation,
			   *ln_eps;			/* NULL: always 1e-12 */
	int64_t		absent_layers,	/* of n_layers */
				absent_vocab,	/* of "vocab_size" */
				absent_positions;
	double		absent_eps;
	const char *position_type;	/* of "position_embedding_type"; NULL: its class does not read that */
	uint32_t	traits;			/* EMB_TRAIT_* */
	EmbStatus	(*parse) (const EmbJson *doc, EmbHfConfig *config, EmbError *err);	/* what only this family has, or NULL */
} Family;

/* Each fills what its traits ask for, and refuses what we do not compute. */
static EmbStatus parse_position_base(const EmbJson *doc, EmbHfConfig *config, EmbError *err);
static EmbStatus parse_distilbert(const EmbJson *doc, EmbHfConfig *config, EmbError *err);
static EmbStatus parse_mpnet(const EmbJson *doc, EmbHfConfig *config, EmbError *err);
static EmbStatus parse_nomic(const EmbJson *doc, EmbHfConfig *config, EmbError *err);
static EmbStatus parse_nomic_own(const EmbJson *doc, EmbHfConfig *config, EmbError *err);
static EmbStatus parse_gte(const EmbJson *doc, EmbHfConfig *config, EmbError *err);
static EmbStatus parse_modernbert(const EmbJson *doc, EmbHfConfig *config, EmbError *err);

#define SIZE_KEYS \
	.hidden = "hidden_size", .n_layers = "num_hidden_layers", .n_heads = "num_attention_heads", \
	.intermediate = "intermediate_size", .positions = "max_position_embeddings"
#define BERT_KEYS \
	SIZE_KEYS, .activation = "hidden_act", .ln_eps = "layer_norm_eps", \
	.absent_layers = 12, .absent_positions = 512, .absent_eps = 1e-12, .position_type = "absolute"
#define ROBERTA_KEYS \
	BERT_KEYS, .traits = EMB_TRAIT_TYPES | EMB_TRAIT_SKIPS_PADDING, .parse = parse_position_base
#define NOMIC_TRAITS	(EMB_TRAIT_TYPES | EMB_TRAIT_ROTARY | EMB_TRAIT_GATED)
#define GTE_KEYS \
	SIZE_KEYS, .activation = "hidden_act", .ln_eps = "layer_norm_eps", .absent_layers = 12, .absent_positions = 8192, \
	.absent_eps = 1e-12, .position_type = "rope", .parse = parse_gte, \
	.traits = EMB_TRAIT_TYPES | EMB_TRAIT_TYPES_OPTIONAL | EMB_TRAIT_ROTARY | EMB_TRAIT_GATED

static const Family families[] =
{
	{EMB_FAMILY_BERT, "bert", "Bert", BERT_KEYS, .absent_vocab = 30522, .traits = EMB_TRAIT_TYPES},
	{EMB_FAMILY_ROBERTA, "roberta", "Roberta", ROBERTA_KEYS, .absent_vocab = 50265},
	{EMB_FAMILY_XLM_ROBERTA, "xlm-roberta", "XLMRoberta", ROBERTA_KEYS, .absent_vocab = 30522},
	{EMB_FAMILY_CAMEMBERT, "camembert", "Camembert", ROBERTA_KEYS, .absent_vocab = 30522},
	{EMB_FAMILY_DISTILBERT, "distilbert", "DistilBert", .absent_layers = 6, .absent_vocab = 30522, .absent_positions = 512,
		.hidden = "dim", .n_layers = "n_layers", .n_heads = "n_heads", .intermediate = "hidden_dim",
		.positions = "max_position_embeddings", .activation = "activation", .position_type = "absolute",
		.parse = parse_distilbert},
	{EMB_FAMILY_MPNET, "mpnet", "MPNet", BERT_KEYS, .absent_vocab = 30527,
		.traits = EMB_TRAIT_SKIPS_PADDING | EMB_TRAIT_DISTANCES, .parse = parse_mpnet},
	/* as its authors wrote it, then as transformers does */
	{EMB_FAMILY_NOMIC_BERT, "nomic_bert", "NomicBert", .hidden = "n_embd", .n_layers = "n_layer", .n_heads = "n_head",
		.intermediate = "n_inner", .positions = "n_positions", .activation = "activation_function", .ln_eps = "layer_norm_epsilon",
		.absent_layers = 12, .absent_vocab = 30522, .absent_positions = 2048, .absent_eps = 1e-5,
		.traits = NOMIC_TRAITS, .parse = parse_nomic_own},
	{EMB_FAMILY_NOMIC_BERT, "nomic_bert", "NomicBert", SIZE_KEYS, .activation = "hidden_act", .ln_eps = "layer_norm_eps",
		.absent_layers = 12, .absent_vocab = 30528, .absent_positions = 2048, .absent_eps = 1e-12,
		.traits = NOMIC_TRAITS, .parse = parse_nomic},
	{EMB_FAMILY_GTE, "gte", "Gte", GTE_KEYS, .absent_vocab = 30528},
	{EMB_FAMILY_GTE, "new", "New", GTE_KEYS, .absent_vocab = 30528},
	{EMB_FAMILY_MODERNBERT, "modernbert", "ModernBert", SIZE_KEYS, .activation = "hidden_activation", .ln_eps = "norm_eps",
		.absent_layers = 22, .absent_vocab = 50368, .absent_positions = 8192, .absent_eps = 1e-5,
		.traits = EMB_TRAIT_ROTARY | EMB_TRAIT_GATED | EMB_TRAIT_NORMS_FIRST | EMB_TRAIT_WINDOW,
		.parse = parse_modernbert},
	{EMB_FAMILY_MODEL2VEC, "model2vec", "Static", .hidden = "hidden_dim", .traits = EMB_TRAIT_STATIC},
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

uint32_t
emb_hf_family_traits(uint32_t family)
{
	const Family *f = family_of(family);

	return f != NULL ? f->traits : 0;
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
	if (kind != NULL && strcmp(kind, "ForSequenceClassification") == 0)
	{
		*is_reranker = true;
		return EMB_OK;
	}
	snprintf(want, sizeof(want), "of \"%s\" only %sModel, %sForMaskedLM, %sForPreTraining and %sForSequenceClassification can be imported",
			 family->model_type, stem, stem, stem, stem);
	return emb_hf_unsupported(doc, "architectures", class, want, err);
}

/* Whether the list has the plain encoder: then it is one whatever other classes there are for its weights. */
static bool
has_encoder(const Family *family, const json_t *list)
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
		if (class_kind(family, name) == NULL || !has_encoder(family, list))
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
	*family = NULL;
	for (size_t i = 0; i < N_FAMILIES; i++)
	{
		size_t		len = strlen(want);

		if (strcmp(type, families[i].model_type) == 0)
		{
			*family = &families[i];
			if (json_object_get(doc->root, families[i].hidden) != NULL)
				return EMB_OK;
		}
		else if (i == 0 || strcmp(families[i].model_type, families[i - 1].model_type) != 0)
			snprintf(want + len, sizeof(want) - len, "%s %s", i > 0 ? "," : "", families[i].model_type);
	}
	if (*family != NULL)
		return EMB_OK;
	status = emb_hf_unsupported(doc, "model_type", type, want, err);
	if (json_object_get(doc->root, "auto_map") != NULL)
		return emb_error_hint(err, status, "The model comes with code of its own (\"auto_map\"), which is not run here.");
	return emb_error_hint(err, status, "Of other models, decoders and those of images among them, none can be imported by this version.");
}

/* What an encoder of BERT's kind has to be, and what nothing here reads. */
static EmbStatus
check_encoder(const EmbJson *doc, const Family *family, EmbError *err)
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
	if (json_is_object(json_object_get(doc->root, "quantization_config")))
	{
		emb_error(err, EMB_ERR_UNSUPPORTED,
				  "%s: \"quantization_config\" says that the weights are quantized; only F32, F16 and BF16 can be imported", doc->file);
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Import the model that it was made from: it is quantized here.");
	}
	return EMB_OK;
}

static bool
find_activation(const char *name, bool gated, EmbActivation *activation)
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
		/* only where it meets a gate */
		{"silu", EMB_ACT_SILU},
		{"swiglu", EMB_ACT_SILU},
	};
	size_t		n_known = sizeof(known) / sizeof(known[0]) - (gated ? 0 : 2);

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
parse_activation(const EmbJson *doc, const Family *family, EmbActivation *activation, EmbError *err)
{
	bool		gated = (family->traits & EMB_TRAIT_GATED) != 0;
	const char *key = family->activation;
	const char *name = family->family == EMB_FAMILY_NOMIC_BERT ? "silu" : "gelu";
	EmbStatus	status = emb_json_get_string(doc, doc->root, key, &name, err);

	if (status != EMB_OK || find_activation(name, gated, activation))
		return status;
	return emb_hf_unsupported(doc, key, name, gated ? "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu and silu are known"
							  : "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast and relu are known", err);
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
		{family->hidden, 768, EMB_ARCH_MAX_HIDDEN, &config->hidden},
		{family->n_layers, family->absent_layers, EMB_ARCH_MAX_LAYERS, &config->n_layers},
		{family->n_heads, 12, EMB_ARCH_MAX_HIDDEN, &config->n_heads},
		{family->intermediate, 3072, EMB_ARCH_MAX_INTERMEDIATE, &config->intermediate},
		{"vocab_size", family->absent_vocab, EMB_ARCH_MAX_VOCAB, &config->n_vocab},
		{family->positions, family->absent_positions, EMB_ARCH_MAX_POSITIONS, &config->n_positions},
		/* last: not every family has it */
		{"type_vocab_size", 2, EMB_ARCH_MAX_TYPES, &config->n_types},
	};
	size_t		n_sizes = sizeof(sizes) / sizeof(sizes[0]) - ((family->traits & EMB_TRAIT_TYPES) == 0);
	EmbStatus	status = EMB_OK;

	config->n_types = 0;
	for (size_t i = 0; status == EMB_OK && i < n_sizes; i++)
	{
		int64_t		n = sizes[i].absent;

		bool		may_be_none = sizes[i].value == &config->n_types && (family->traits & EMB_TRAIT_TYPES_OPTIONAL);

		status = emb_json_get_int(doc, doc->root, sizes[i].key, may_be_none ? 0 : 1, sizes[i].max, &n, err);
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
	/* the one that goes without saying */
	if (pad >= config->n_vocab)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"vocab_size\" is %d, which does not hold the padding's id %lld", doc->file,
						 config->n_vocab, (long long) pad);
	if (pad + 1 >= config->n_positions)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"max_position_embeddings\" is %d, which leaves no position above \"pad_token_id\" %lld",
						 doc->file, config->n_positions, (long long) pad);
	config->position_base = (int32_t) pad + 1;
	config->n_positions -= config->position_base;
	return EMB_OK;
}

static EmbStatus
parse_distilbert(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	(void) doc;
	(void) err;
	config->head_activation = EMB_ACT_RELU;
	return EMB_OK;
}

/* transformers' MPNet has these two whatever its configuration says. */
#define MPNET_BUCKETS	32
#define MPNET_PADDING	1

/* A number that must be the one we compute with. */
static EmbStatus
check_number(const EmbJson *doc, const char *key, int64_t want, EmbError *err)
{
	int64_t		n = want;
	EmbStatus	status = emb_json_get_int(doc, doc->root, key, 0, INT32_MAX, &n, err);

	if (status == EMB_OK && n != want)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"%s\" is %lld; only %lld can be imported", doc->file, key,
						 (long long) n, (long long) want);
	return status;
}

/* Switches that must be off; absent ones are as absent says. */
static EmbStatus
check_off(const EmbJson *doc, const char *const *keys, bool absent, EmbError *err)
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

/* Keys that must be absent, null, 0 or an empty list. */
static EmbStatus
check_unset(const EmbJson *doc, const char *const *keys, EmbError *err)
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

static EmbStatus
parse_mpnet(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	EmbStatus	status = check_number(doc, "relative_attention_num_buckets", MPNET_BUCKETS, err);

	if (status == EMB_OK)
		status = check_number(doc, "pad_token_id", MPNET_PADDING, err);
	return status == EMB_OK ? parse_position_base(doc, config, err) : status;
}

/* ---------------------------------------------------------------- rotation */

#define MAX_ROTARY_BASE	1e12

static EmbStatus
check_head_size(const EmbJson *doc, const EmbHfConfig *config, EmbError *err)
{
	int32_t		size = config->hidden / config->n_heads;
	EmbStatus	status = check_number(doc, "head_dim", size, err);

	if (status == EMB_OK && size % 2 != 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: heads of %d elements, an odd number, cannot be rotated", doc->file, size);
	return status;
}

/* transformers' "rope_parameters": {"rope_theta", "rope_type"}, itself or by kind of layer. */
static EmbStatus
parse_rope_object(const EmbJson *doc, const json_t *object, const char *key, double *base, EmbError *err)
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
	return status == EMB_OK ? emb_json_get_double(doc, object, "rope_theta", 1, MAX_ROTARY_BASE, base, err) : status;
}

static EmbStatus
parse_nomic(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const char *const off[] = {"attention_bias", "mlp_bias", NULL};
	EmbStatus	status;

	config->rotary_base = 1000;
	if ((status = check_head_size(doc, config, err)) != EMB_OK || (status = check_off(doc, off, false, err)) != EMB_OK)
		return status;
	return parse_rope_object(doc, json_object_get(doc->root, "rope_parameters"), "rope_parameters", &config->rotary_base, err);
}

static EmbStatus
parse_nomic_own(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const char *const biases[] = {"qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias", NULL};
	static const char *const off[] = {"prenorm", "parallel_block", "use_rms_norm", "causal", "rotary_emb_interleaved", NULL};
	static const char *const unset[] = {"rotary_emb_scale_base", "rotary_scaling_factor", "moe_every_n_layers", "num_experts", NULL};
	double		fraction = 0;
	EmbStatus	status;

	config->rotary_base = 10000;
	if ((status = check_head_size(doc, config, err)) != EMB_OK ||
		(status = check_off(doc, biases, true, err)) != EMB_OK ||
		(status = check_off(doc, off, false, err)) != EMB_OK ||
		(status = check_unset(doc, unset, err)) != EMB_OK ||
		(status = emb_json_get_double(doc, doc->root, "rotary_emb_fraction", 0, 1, &fraction, err)) != EMB_OK)
		return status;
	if (fraction != 1)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"rotary_emb_fraction\" is %g; only 1 can be imported", doc->file, fraction);
	return emb_json_get_double(doc, doc->root, "rotary_emb_base", 1, MAX_ROTARY_BASE, &config->rotary_base, err);
}

/* Fixed NTK scaling, as the model's own code has it. */
static EmbStatus
parse_rope_scaling(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	const json_t *object = json_object_get(doc->root, "rope_scaling");
	const json_t *mixed;
	const char *type = "";
	EmbStatus	status;

	if (object == NULL || json_is_null(object))
		return EMB_OK;
	if (!json_is_object(object))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"rope_scaling\" is not an object", doc->file);
	mixed = json_object_get(object, "mixed_b");
	status = emb_json_get_string(doc, object, "type", &type, err);
	if (status != EMB_OK)
		return status;
	if (strcmp(type, "ntk") != 0 || (mixed != NULL && !json_is_null(mixed)))
		return emb_hf_unsupported(doc, "rope_scaling", type, "only \"ntk\" without \"mixed_b\" can be imported", err);
	return emb_json_get_double(doc, object, "factor", 1, 1024, &config->rotary_scale, err);
}

static EmbStatus
parse_gte(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const char *const off[] = {"logn_attention_scale", "logn_attention_clip1", NULL};
	const char *norm = "layer_norm";
	EmbStatus	status;

	config->rotary_base = 10000;
	if ((status = check_head_size(doc, config, err)) != EMB_OK || (status = check_off(doc, off, false, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "layer_norm_type", &norm, err)) != EMB_OK ||
		(status = emb_json_get_double(doc, doc->root, "rope_theta", 1, MAX_ROTARY_BASE, &config->rotary_base, err)) != EMB_OK ||
		(status = parse_rope_scaling(doc, config, err)) != EMB_OK)
		return status;
	if (strcmp(norm, "layer_norm") != 0)
		return emb_hf_unsupported(doc, "layer_norm_type", norm, "only \"layer_norm\" can be imported", err);
	return parse_rope_object(doc, json_object_get(doc->root, "rope_parameters"), "rope_parameters", &config->rotary_base, err);
}

/* "layer_types", where it is there, must be what global_every says. */
static EmbStatus
check_layer_types(const EmbJson *doc, const EmbHfConfig *config, EmbError *err)
{
	const json_t *list = json_object_get(doc->root, "layer_types");

	if (list == NULL || json_is_null(list))
		return EMB_OK;
	if (!json_is_array(list) || json_array_size(list) != (size_t) config->n_layers)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"layer_types\" is not a list of %d", doc->file, config->n_layers);
	for (int32_t i = 0; i < config->n_layers; i++)
	{
		const char *type = json_string_value(json_array_get(list, i));
		const char *want = i % config->global_every == 0 ? "full_attention" : "sliding_attention";

		if (type == NULL)
			return emb_error(err, EMB_ERR_FORMAT, "%s: \"layer_types\" holds something else than strings", doc->file);
		if (strcmp(type, want) != 0)
			return emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"layer_types\" has \"%.*s\" for layer %d; every %dth layer must be of "
							 "\"full_attention\", the others of \"sliding_attention\"", doc->file,
							 emb_json_clip(type, 80), type, i, config->global_every);
	}
	return EMB_OK;
}

/* ModernBertForSequenceClassification's: pooled rows, a dense layer, activation, norm, classifier. */
static EmbStatus
parse_modernbert_head(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	const char *pooling = "cls";
	const char *activation = "gelu";
	bool		has_bias = false;
	EmbStatus	status;

	if (!config->is_reranker)
		return EMB_OK;
	if ((status = emb_json_get_string(doc, doc->root, "classifier_pooling", &pooling, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "classifier_activation", &activation, err)) != EMB_OK ||
		(status = emb_json_get_bool(doc, doc->root, "classifier_bias", &has_bias, err)) != EMB_OK)
		return status;
	if (strcmp(pooling, "cls") != 0 && strcmp(pooling, "mean") != 0)
		return emb_hf_unsupported(doc, "classifier_pooling", pooling, "cls and mean are known", err);
	config->head_pooling = strcmp(pooling, "cls") == 0 ? EMB_POOL_CLS : EMB_POOL_MEAN;
	config->head_norm = true;
	config->head_unbiased = !has_bias;
	if (strcmp(activation, "tanh") != 0 && !find_activation(activation, false, &config->head_activation))
		return emb_hf_unsupported(doc, "classifier_activation", activation,
								  "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu and tanh are known", err);
	return EMB_OK;
}

static EmbStatus
parse_modernbert(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	static const char *const off[] = {"attention_bias", "mlp_bias", "norm_bias", NULL};
	const json_t *rope = json_object_get(doc->root, "rope_parameters");
	int64_t		every = 3;
	int64_t		width = 128;
	EmbStatus	status;

	config->rotary_base = 160000;
	config->rotary_local_base = 10000;
	if ((status = check_head_size(doc, config, err)) != EMB_OK || (status = check_off(doc, off, false, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "global_attn_every_n_layers", 1, EMB_ARCH_MAX_LAYERS, &every, err)) != EMB_OK ||
		(status = emb_json_get_int(doc, doc->root, "local_attention", 2, EMB_ARCH_MAX_POSITIONS, &width, err)) != EMB_OK ||
		(status = emb_json_get_double(doc, doc->root, "global_rope_theta", 1, MAX_ROTARY_BASE, &config->rotary_base, err)) != EMB_OK ||
		(status = emb_json_get_double(doc, doc->root, "local_rope_theta", 1, MAX_ROTARY_BASE, &config->rotary_local_base, err)) != EMB_OK)
		return status;
	config->global_every = (int32_t) every;
	config->window = (int32_t) width / 2;
	if ((status = check_layer_types(doc, config, err)) != EMB_OK || (status = parse_modernbert_head(doc, config, err)) != EMB_OK)
		return status;
	status = parse_rope_object(doc, json_object_get(rope, "full_attention"), "full_attention", &config->rotary_base, err);
	return status == EMB_OK ? parse_rope_object(doc, json_object_get(rope, "sliding_attention"), "sliding_attention",
												&config->rotary_local_base, err) : status;
}

/* Anything may stand there; what cannot be a known model's name is none. */
static void
parse_name(const EmbJson *doc, EmbHfConfig *config)
{
	const char *name = json_string_value(json_object_get(doc->root, "_name_or_path"));

	if (name != NULL && strlen(name) < sizeof(config->name_or_path))
		strcpy(config->name_or_path, name);
	else
		config->name_or_path[0] = '\0';
}

static EmbStatus
parse_static(const EmbJson *doc, const Family *family, EmbHfConfig *config, EmbError *err)
{
	EmbStatus	status = check_architectures(doc, family, &config->is_reranker, err);

	if (status == EMB_OK && config->is_reranker)
		return emb_hf_unsupported(doc, "model_type", family->model_type, "its classifiers cannot be imported", err);
	config->family = family->family;
	return status == EMB_OK ? emb_hf_parse_model2vec(doc, config, err) : status;
}

EmbStatus
emb_hf_parse_config(const EmbJson *doc, EmbHfConfig *config, EmbError *err)
{
	const Family *family;
	double		ln_eps = 1e-12;
	EmbStatus	status;

	config->is_static = config->is_reranker = config->head_norm = config->head_unbiased = false;
	config->head_pooling = EMB_POOL_CLS;
	config->head_activation = EMB_ACT_TANH;
	config->position_base = config->window = config->global_every = 0;
	config->rotary_base = config->rotary_local_base = 0;
	config->rotary_scale = 1;
	if ((status = emb_hf_check_object(doc, err)) != EMB_OK ||
		(status = find_family(doc, &family, err)) != EMB_OK)
		return status;
	parse_name(doc, config);
	if (family->traits & EMB_TRAIT_STATIC)
		return parse_static(doc, family, config, err);
	if (family->ln_eps != NULL)
		ln_eps = family->absent_eps;
	if ((status = check_architectures(doc, family, &config->is_reranker, err)) != EMB_OK ||
		(status = check_encoder(doc, family, err)) != EMB_OK ||
		(status = parse_sizes(doc, family, config, err)) != EMB_OK ||
		(family->ln_eps != NULL &&
		 (status = emb_json_get_double(doc, doc->root, family->ln_eps, 1e-30, 1.0, &ln_eps, err)) != EMB_OK) ||
		(status = parse_activation(doc, family, &config->activation, err)) != EMB_OK)
		return status;
	config->family = family->family;
	config->ln_eps = (float) ln_eps;
	if (family->parse != NULL && (status = family->parse(doc, config, err)) != EMB_OK)
		return status;
	return config->is_reranker ? check_reranker(doc, err) : EMB_OK;
}
