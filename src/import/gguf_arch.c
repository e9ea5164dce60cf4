/*
 * gguf_arch.c
 *		The architecture of a GGUF file, from its keys and the shapes of its
 *		tensors.
 */
#include "import/gguf_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/json.h"
#include "import/hf_family.h"

#define SHOW(name)	emb_json_clip(name, 100), name

/* "{arch}.pooling_type" */
enum
{
	POOLING_NONE, POOLING_MEAN, POOLING_CLS, POOLING_LAST, POOLING_RANK, POOLING_ABSENT
};

const char *
emb_gguf_path(const EmbGgufModel *m)
{
	return m->gguf.shards[0].file.path;
}

static bool
is_arch(const EmbGgufModel *m, const char *arch)
{
	return strcmp(m->family->arch, arch) == 0;
}

static bool
is_gemma(const EmbGgufModel *m)
{
	return is_arch(m, "gemma-embedding");
}

const char *
emb_gguf_own_key(const EmbGgufModel *m, const char *name, char *buf, size_t size)
{
	snprintf(buf, size, "%s.%s", m->family->arch, name);
	return buf;
}

/* ------------------------------------------------------------------ keys */

/* An own key that must exist. */
static EmbStatus
require_int(const EmbGgufModel *m, const char *name, int64_t max, int32_t *value, EmbError *err)
{
	char		key[EMB_GGUF_MAX_NAME + 1];
	int64_t		n = 0;
	EmbStatus	status = emb_gguf_get_int(&m->gguf, emb_gguf_own_key(m, name, key, sizeof(key)), 1, max, &n, err);

	if (status == EMB_OK && n == 0)
		return emb_error(err, EMB_ERR_FORMAT, "file \"%s\" has no key \"%s\"", emb_gguf_path(m), key);
	*value = (int32_t) n;
	return status;
}

EmbStatus
emb_gguf_get_own_int(const EmbGgufModel *m, const char *name, int64_t min, int64_t max, int64_t *value, EmbError *err)
{
	char		key[EMB_GGUF_MAX_NAME + 1];

	return emb_gguf_get_int(&m->gguf, emb_gguf_own_key(m, name, key, sizeof(key)), min, max, value, err);
}

static EmbStatus
get_double(const EmbGgufModel *m, const char *name, double min, double max, double *value, EmbError *err)
{
	char		key[EMB_GGUF_MAX_NAME + 1];

	return emb_gguf_get_double(&m->gguf, emb_gguf_own_key(m, name, key, sizeof(key)), min, max, value, err);
}

static EmbStatus
get_string(const EmbGgufModel *m, const char *name, const char **value, EmbError *err)
{
	char		key[EMB_GGUF_MAX_NAME + 1];

	return emb_gguf_get_string(&m->gguf, emb_gguf_own_key(m, name, key, sizeof(key)), value, err);
}

/* ---------------------------------------------------------------- family */

static EmbStatus
find_tokenizer(EmbGgufModel *m, EmbError *err)
{
	static const char *const names[] = {[EMB_GGUF_WORDPIECE] = "bert", [EMB_GGUF_UNIGRAM] = "t5", [EMB_GGUF_BPE] = "gpt2", [EMB_GGUF_SPM] = "llama"};
	static const char key[] = "tokenizer.ggml.model";
	const char *name = NULL;
	EmbStatus	status = emb_gguf_get_string(&m->gguf, key, &name, err);

	if (status != EMB_OK)
		return status;
	if (name == NULL)
		return emb_error(err, EMB_ERR_FORMAT, "file \"%s\" has no key \"%s\": it holds no tokenizer", emb_gguf_path(m), key);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (strcmp(name, names[i]) == 0 && (i == EMB_GGUF_SPM) == is_gemma(m))
		{
			m->tokenizer = (EmbGgufTokenizer) i;
			return EMB_OK;
		}
	}
	return emb_error(err, EMB_ERR_UNSUPPORTED, "file \"%s\": key \"%s\" is \"%.*s\"; of architecture \"%s\" %s can be imported", emb_gguf_path(m), key, SHOW(name),
					 m->family->arch, is_gemma(m) ? "llama" : "bert, t5 and gpt2");
}

/* Other files than models: adapters, projectors of images, matrices of importance. */
static EmbStatus
check_file_type(const EmbGgufModel *m, EmbError *err)
{
	const char *type = "model";
	EmbStatus	status = emb_gguf_get_string(&m->gguf, "general.type", &type, err);

	if (status == EMB_OK && strcmp(type, "model") != 0)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "file \"%s\" is of type \"%.*s\", not a model", emb_gguf_path(m), SHOW(type));
	return status;
}

static EmbStatus
find_family(EmbGgufModel *m, EmbError *err)
{
	static const char key[] = "general.architecture";
	const char *arch = NULL;
	char		list[128];
	EmbStatus	status;

	if ((status = check_file_type(m, err)) != EMB_OK ||
		(status = emb_gguf_get_string(&m->gguf, key, &arch, err)) != EMB_OK)
		return status;
	if (arch == NULL)
		return emb_error(err, EMB_ERR_FORMAT, "file \"%s\" has no key \"%s\"", emb_gguf_path(m), key);
	m->family = emb_gguf_find_family(arch);
	if (m->family != NULL)
		return find_tokenizer(m, err);
	emb_gguf_list_families(list, sizeof(list));
	emb_error(err, EMB_ERR_UNSUPPORTED, "file \"%s\" is of architecture \"%.*s\"; of GGUF files these can be imported: %s", emb_gguf_path(m),
			  SHOW(arch), list);
	return emb_error_hint(err, EMB_ERR_UNSUPPORTED,
						  "The model that it was made from may be known: a directory with config.json, model.safetensors and tokenizer.json.");
}

/* llama.cpp calls BERT, RoBERTa and XLM-RoBERTa one architecture; the tokenizer tells which. */
static const char *
model_type(const EmbGgufModel *m)
{
	if (!is_arch(m, "bert") || m->tokenizer == EMB_GGUF_WORDPIECE)
		return m->family->model_type;
	return m->tokenizer == EMB_GGUF_UNIGRAM ? "xlm-roberta" : "roberta";
}

/* ------------------------------------------------------------------ sizes */

static bool
has_block(const EmbGgufModel *m, int32_t block)
{
	char		prefix[24];

	snprintf(prefix, sizeof(prefix), "blk.%d.", block);
	return emb_gguf_has_prefix(&m->gguf, prefix);
}

/*
 * Some files count blocks that predict further tokens. They come last, and may
 * have no tensors; a file that was cut off never gets here.
 */
static EmbStatus
count_layers(EmbGgufModel *m, EmbArch *arch, EmbError *err)
{
	int64_t		n_predict = 0;
	EmbStatus	status;

	if ((status = require_int(m, "block_count", EMB_ARCH_MAX_LAYERS, &m->n_blocks, err)) != EMB_OK ||
		(status = emb_gguf_get_own_int(m, "nextn_predict_layers", 0, m->n_blocks - 1, &n_predict, err)) != EMB_OK)
		return status;
	arch->n_layers = m->n_blocks - (int32_t) n_predict;
	while (arch->n_layers > 1 && !has_block(m, arch->n_layers - 1))
		arch->n_layers--;
	m->n_absent_blocks = m->n_blocks - (int32_t) n_predict - arch->n_layers;
	return EMB_OK;
}

/* Keys and values may have a size of their own, which must be the same. */
static EmbStatus
read_head_size(const EmbGgufModel *m, EmbArch *arch, EmbError *err)
{
	int64_t		n_key = 0;
	int64_t		n_value = 0;
	EmbStatus	status;

	if ((status = emb_gguf_get_own_int(m, "attention.key_length", 1, EMB_ARCH_MAX_HIDDEN, &n_key, err)) != EMB_OK ||
		(status = emb_gguf_get_own_int(m, "attention.value_length", 1, EMB_ARCH_MAX_HIDDEN, &n_value, err)) != EMB_OK)
		return status;
	if (n_key != n_value)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "file \"%s\" has keys of %lld elements and values of %lld; only equal sizes can be imported",
						 emb_gguf_path(m), (long long) n_key, (long long) n_value);
	if (n_key == 0 && arch->hidden % arch->n_heads != 0)
		return emb_error(err, EMB_ERR_FORMAT, "file \"%s\": key \"%s.embedding_length\" is %d, not a multiple of the %d heads", emb_gguf_path(m),
						 m->family->arch, arch->hidden, arch->n_heads);
	if (n_key > 0)
		arch->head_size = (int32_t) n_key;
	return EMB_OK;
}

static EmbStatus
read_sizes(EmbGgufModel *m, EmbArch *arch, int32_t *n_context, EmbError *err)
{
	int32_t		n_heads;
	int64_t		n_kv_heads;
	EmbStatus	status;

	if ((status = count_layers(m, arch, err)) != EMB_OK ||
		(status = require_int(m, "embedding_length", EMB_ARCH_MAX_HIDDEN, &arch->hidden, err)) != EMB_OK ||
		(status = require_int(m, "feed_forward_length", EMB_ARCH_MAX_INTERMEDIATE, &arch->intermediate, err)) != EMB_OK ||
		(status = require_int(m, "attention.head_count", EMB_ARCH_MAX_HIDDEN, &n_heads, err)) != EMB_OK ||
		(status = require_int(m, "context_length", EMB_ARCH_MAX_POSITIONS, n_context, err)) != EMB_OK)
		return status;
	n_kv_heads = n_heads;
	if ((status = emb_gguf_get_own_int(m, "attention.head_count_kv", 1, EMB_ARCH_MAX_HIDDEN, &n_kv_heads, err)) != EMB_OK)
		return status;
	emb_arch_set_heads(arch, n_heads);
	arch->n_kv_heads = (int32_t) n_kv_heads;
	return read_head_size(m, arch, err);
}

static EmbStatus
read_eps(const EmbGgufModel *m, EmbArch *arch, EmbError *err)
{
	double		eps = 0;
	EmbStatus	status = get_double(m, "attention.layer_norm_epsilon", 1e-30, 1, &eps, err);

	/* of an RMS norm; of ModernBERT's "norm_eps" the converter makes this, too */
	if (status == EMB_OK && eps == 0)
		status = get_double(m, "attention.layer_norm_rms_epsilon", 1e-30, 1, &eps, err);
	if (status == EMB_OK && eps == 0)
		return emb_error(err, EMB_ERR_FORMAT, "file \"%s\" has no key \"%s.attention.layer_norm%s_epsilon\"", emb_gguf_path(m), m->family->arch,
						 arch->norm_kind == EMB_NORM_RMS ? "_rms" : "");
	arch->norm_eps = (float) eps;
	return status;
}

/* The rows of a table of the model; 0: the file has none. */
static EmbStatus
table_rows(const EmbGgufModel *m, EmbPart part, int64_t max, int32_t *n, EmbError *err)
{
	const EmbGgufName *name;
	const EmbGgufTensor *t = emb_gguf_find_part(m, (EmbTensorKey) {EMB_NO_LAYER, part, EMB_TENSOR_TABLE}, &name);
	int64_t		rows = t != NULL ? emb_gguf_rows(t) : 0;

	if (rows > max)
		return emb_error(err, EMB_ERR_LIMIT, "tensor \"%.*s\" of \"%s\" has %lld rows, more than %lld", SHOW(t->name), emb_gguf_path(m),
						 (long long) rows, (long long) max);
	*n = (int32_t) rows;
	return EMB_OK;
}

/*
 * Words, types and positions. RoBERTa's table of positions is cut before the
 * row of the first token.
 */
static EmbStatus
read_tables(const EmbGgufModel *m, EmbArch *arch, int32_t n_context, EmbError *err)
{
	int64_t		pad = 1;
	EmbStatus	status;

	if ((status = table_rows(m, EMB_PART_WORDS, EMB_ARCH_MAX_VOCAB, &arch->n_vocab, err)) != EMB_OK ||
		(status = table_rows(m, EMB_PART_TYPES, EMB_ARCH_MAX_TYPES, &arch->n_types, err)) != EMB_OK ||
		(status = table_rows(m, EMB_PART_POSITIONS, EMB_ARCH_MAX_POSITIONS, &arch->n_positions, err)) != EMB_OK)
		return status;
	if (arch->n_vocab == 0)
		return emb_error(err, EMB_ERR_NOT_FOUND, "file \"%s\" has no tensor \"token_embd.weight\"", emb_gguf_path(m));
	if (arch->positions != EMB_POSITIONS_ABSOLUTE)
	{
		arch->n_positions = n_context;
		return EMB_OK;
	}
	if (arch->n_positions == 0)
		return emb_error(err, EMB_ERR_NOT_FOUND, "file \"%s\" has no tensor \"position_embd.weight\"", emb_gguf_path(m));
	if (m->tokenizer == EMB_GGUF_WORDPIECE)
		return EMB_OK;
	status = emb_gguf_get_int(&m->gguf, "tokenizer.ggml.padding_token_id", 0, arch->n_vocab - 1, &pad, err);
	arch->position_base = (int32_t) pad + 1;
	return status;
}

/* -------------------------------------------------------------- rotation */

static EmbStatus
read_rotation(const EmbGgufModel *m, EmbArch *arch, EmbError *err)
{
	const char *scaling = "none";
	EmbStatus	status;

	if ((arch->positions & EMB_POSITIONS_ROTARY) == 0)
		return EMB_OK;
	arch->rotary_scale = 1;
	arch->rotary_base = m->family->rotary_base;
	if ((status = get_double(m, "rope.freq_base", 1, EMB_ARCH_MAX_ROTARY_BASE, &arch->rotary_base, err)) != EMB_OK ||
		(status = get_string(m, "rope.scaling.type", &scaling, err)) != EMB_OK)
		return status;
	if (strcmp(scaling, "none") != 0)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "file \"%s\": key \"%s.rope.scaling.type\" is \"%.*s\"; only none can be imported", emb_gguf_path(m),
						 m->family->arch, SHOW(scaling));
	return EMB_OK;
}

/* Layers that see all tokens: every so many, counted from the first but for Gemma, which counts from the end of each group. */
static void
set_global_layers(const EmbGgufModel *m, EmbArch *arch, int32_t every)
{
	arch->global_every = every;
	if (!is_gemma(m))
		return;
	arch->global_first = every - 1;
	/* one layer that sees all, or none, as family_gemma3.c has it */
	if (2 * (int64_t) every > arch->n_layers)
		arch->global_every = every <= arch->n_layers ? arch->n_layers : arch->n_layers + 1;
	if (every > arch->n_layers)
		arch->global_first = arch->n_layers;
	if (every > 1)
		return;
	arch->global_every = arch->global_first = arch->window = 0;
	arch->rotary_local_base = 0;
}

/* The sliding window of ModernBERT and EmbeddingGemma: as many tokens on both sides together. */
static EmbStatus
read_window(const EmbGgufModel *m, EmbArch *arch, EmbError *err)
{
	int64_t		width = 0;
	int64_t		every = is_gemma(m) ? 6 : 3;
	EmbStatus	status;

	if (!is_arch(m, "modern-bert") && !is_gemma(m))
		return EMB_OK;
	arch->rotary_local_base = 10000;
	if ((status = emb_gguf_get_own_int(m, "attention.sliding_window", 2, EMB_ARCH_MAX_POSITIONS, &width, err)) != EMB_OK ||
		(status = emb_gguf_get_own_int(m, "attention.sliding_window_pattern", 1, EMB_ARCH_MAX_LAYERS, &every, err)) != EMB_OK ||
		(status = get_double(m, "rope.freq_base_swa", 1, EMB_ARCH_MAX_ROTARY_BASE, &arch->rotary_local_base, err)) != EMB_OK)
		return status;
	if (width == 0)
		return emb_error(err, EMB_ERR_FORMAT, "file \"%s\" has no key \"%s.attention.sliding_window\"", emb_gguf_path(m), m->family->arch);
	arch->window = (int32_t) width / 2;
	set_global_layers(m, arch, (int32_t) every);
	return EMB_OK;
}

/*
 * The FFN's activation, where the file names it. BERT's is the GELU by the
 * error function: llama.cpp computes another one, which no model was trained
 * with.
 */
static EmbStatus
read_activation(const EmbGgufModel *m, EmbArch *arch, EmbError *err)
{
	const char *name = is_arch(m, "nomic-bert") || emb_gguf_is_decoder(m) ? "silu" : is_gemma(m) ? "gelu_pytorch_tanh" : "gelu";
	EmbStatus	status = get_string(m, "hidden_activation", &name, err);

	if (status == EMB_OK && !emb_hf_find_activation(name, arch->is_gated != 0, &arch->activation))
		return emb_error(err, EMB_ERR_UNSUPPORTED, "file \"%s\": key \"%s.hidden_activation\" is \"%.*s\", which is not known", emb_gguf_path(m),
						 m->family->arch, SHOW(name));
	return status;
}

/* ------------------------------------------------------ pooling and head */

static const EmbGgufTensor *
find_head(const EmbGgufModel *m, EmbPart part, EmbTensorKind kind)
{
	const EmbGgufName *name;

	return emb_gguf_find_part(m, (EmbTensorKey) {EMB_NO_LAYER, part, kind}, &name);
}

/*
 * llama.cpp's converter drops the pooler of BertForSequenceClassification, so
 * that the classifier gets rows that it was not trained on.
 */
static EmbStatus
refuse_headless(const EmbGgufModel *m, EmbError *err)
{
	emb_error(err, EMB_ERR_UNSUPPORTED, "file \"%s\" is a reranker whose pooler was dropped by its conversion: it has a tensor \"cls.output.weight\", but "
			  "no \"cls.weight\", so its scores are wrong", emb_gguf_path(m));
	return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Import the model that it was made from: a directory with config.json, model.safetensors and tokenizer.json.");
}

/* A score head: a dense layer, an activation, a norm (ModernBERT), and the last layer. */
static EmbStatus
read_head(const EmbGgufModel *m, EmbArch *arch, EmbError *err)
{
	const EmbGgufTensor *classifier = find_head(m, EMB_PART_CLASSIFIER, EMB_TENSOR_WEIGHT);
	bool		is_modern = is_arch(m, "modern-bert");

	if (find_head(m, EMB_PART_POOLER, EMB_TENSOR_WEIGHT) == NULL && classifier != NULL)
		return refuse_headless(m, err);
	if (classifier == NULL)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "file \"%s\" is a reranker without a tensor \"cls.output.weight\"; such a head is not known", emb_gguf_path(m));
	if (emb_gguf_rows(classifier) != 1)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "file \"%s\" is a classifier with %lld labels; only rerankers, which have one, can be imported",
						 emb_gguf_path(m), (long long) emb_gguf_rows(classifier));
	arch->head = EMB_HEAD_SCORE;
	arch->n_labels = 1;
	arch->pooling = is_modern ? EMB_POOL_MEAN : EMB_POOL_CLS;
	arch->head_activation = is_modern ? EMB_ACT_GELU : EMB_ACT_TANH;
	arch->head_has_bias = find_head(m, EMB_PART_POOLER, EMB_TENSOR_BIAS) != NULL;
	arch->head_has_norm = is_modern;
	/* DistilBERT's dense layer before its classifier has another activation; it has no token types */
	if (!is_modern && arch->n_types == 0)
		arch->head_activation = EMB_ACT_RELU;
	return EMB_OK;
}

/* The head that makes a file a reranker's. */
static EmbStatus
read_reranker(EmbGgufModel *m, EmbArch *arch, EmbError *err)
{
	return emb_gguf_is_decoder(m) ? emb_gguf_read_answers(m, arch, err) : read_head(m, arch, err);
}

/*
 * The kind that pooling and head show. That of a decoder without either is
 * still to be found.
 */
static EmbStatus
kind_of_file(const EmbGgufModel *m, int64_t pooling, EmbHfKind *kind, EmbError *err)
{
	bool		has_head = emb_gguf_find_tensor(&m->gguf, "cls.output.weight") != NULL;
	bool		says_none = pooling == POOLING_ABSENT || pooling == POOLING_NONE;

	*kind = pooling == POOLING_RANK || has_head ? EMB_HF_KIND_RERANKER : EMB_HF_KIND_EMBEDDING;
	if (says_none && !has_head && emb_gguf_is_decoder(m))
		*kind = EMB_HF_KIND_UNKNOWN;
	if (*kind == EMB_HF_KIND_EMBEDDING && emb_gguf_find_tensor(&m->gguf, "cls.weight") != NULL)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "file \"%s\" has a tensor \"cls.weight\", but no \"cls.output.weight\": such a head is not known",
						 emb_gguf_path(m));
	return EMB_OK;
}

/*
 * The caller's pooling, or the file's. Vectors are normalized: the file does
 * not say so, but what reads it does.
 */
static EmbStatus
choose_pooling(EmbGgufModel *m, int64_t pooling, const EmbCheckpointOptions *options, EmbArch *arch, EmbError *err)
{
	const EmbJson doc = {.file = "the options"};
	EmbHfConfig *config = &m->names;
	EmbStatus	status = EMB_OK;

	arch->pooling = pooling == POOLING_CLS ? EMB_POOL_CLS : pooling == POOLING_LAST ? EMB_POOL_LAST : EMB_POOL_MEAN;
	if (emb_gguf_is_decoder(m) && arch->is_causal && (pooling == POOLING_ABSENT || pooling == POOLING_NONE))
		arch->pooling = EMB_POOL_LAST;
	arch->normalize = options->sets_normalize ? options->normalize : 1;
	m->assumes_pooling = options->pooling == NULL && (pooling == POOLING_ABSENT || pooling == POOLING_NONE);
	if (options->pooling == NULL)
		return EMB_OK;
	config->arch = *arch;
	status = emb_hf_set_pooling(&doc, "pooling", options->pooling, config, err);
	arch->pooling = config->arch.pooling;
	return status;
}

static EmbStatus
read_kind(EmbGgufModel *m, const EmbCheckpointOptions *options, EmbArch *arch, EmbError *err)
{
	int64_t		pooling = POOLING_ABSENT;
	EmbHfKind	kind;
	EmbStatus	status;

	if ((status = emb_gguf_get_own_int(m, "pooling_type", POOLING_NONE, POOLING_RANK, &pooling, err)) != EMB_OK ||
		(status = kind_of_file(m, pooling, &kind, err)) != EMB_OK ||
		(status = emb_hf_choose_kind(&m->names, m->path, options, "the GGUF file", &kind, err)) != EMB_OK)
		return status;
	if (kind == EMB_HF_KIND_EMBEDDING)
		return choose_pooling(m, pooling, options, arch, err);
	if (options->pooling != NULL || options->sets_normalize)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model is a reranker, whose pooling cannot be set");
	return read_reranker(m, arch, err);
}

/*
 * What EmbeddingGemma alone has: words that are multiplied by a root, and two
 * dense layers after the pooling, which llama.cpp's conversion drops unless it
 * is told not to. The architecture has no direction, but reads in both; a file
 * whose last row is pooled is of a model that reads in one.
 */
static EmbStatus
read_gemma(EmbGgufModel *m, EmbArch *arch, EmbError *err)
{
	static const EmbPart parts[] = {EMB_PART_DENSE_1, EMB_PART_DENSE_2};

	if (!is_gemma(m))
		return EMB_OK;
	if (arch->head != EMB_HEAD_NONE || arch->pooling == EMB_POOL_LAST)
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "file \"%s\" of architecture \"%s\" %s; only embedding models that read in both directions can be imported",
				  emb_gguf_path(m), m->family->arch, arch->head != EMB_HEAD_NONE ? "is a reranker" : "pools the last row");
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Import the model that it was made from: a directory with config.json and model.safetensors.");
	}
	m->word_scale = (float) sqrt((double) arch->hidden);
	for (int i = 0; i < 2; i++)
	{
		const EmbGgufTensor *t = find_head(m, parts[i], EMB_TENSOR_WEIGHT);

		if (t == NULL && i == 0 && find_head(m, parts[1], EMB_TENSOR_WEIGHT) == NULL)
			break;
		if (t == NULL)
			return emb_error(err, EMB_ERR_NOT_FOUND, "file \"%s\" has one of the tensors \"dense_2.weight\" and \"dense_3.weight\", not both", emb_gguf_path(m));
		if (emb_gguf_rows(t) > EMB_ARCH_MAX_HIDDEN)
			return emb_error(err, EMB_ERR_LIMIT, "tensor \"%.*s\" of \"%s\" has %lld rows, more than %d", SHOW(t->name), emb_gguf_path(m), (long long) emb_gguf_rows(t),
							 EMB_ARCH_MAX_HIDDEN);
		arch->dense[arch->n_dense++].n_out = (int32_t) emb_gguf_rows(t);
	}
	m->lacks_dense = arch->n_dense == 0;
	return EMB_OK;
}

/* ------------------------------------------------------------------ whole */

/* A decoder may read in both directions; no encoder is known that reads in one. */
static EmbStatus
read_direction(const EmbGgufModel *m, EmbArch *arch, EmbError *err)
{
	char		key[EMB_GGUF_MAX_NAME + 1];
	bool		is_causal = arch->is_causal != 0;
	EmbStatus	status = emb_gguf_get_bool(&m->gguf, emb_gguf_own_key(m, "attention.causal", key, sizeof(key)), &is_causal, err);

	if (status == EMB_OK && is_causal && !emb_gguf_is_decoder(m))
		return emb_error(err, EMB_ERR_UNSUPPORTED, "file \"%s\": key \"%s\" is true; only false can be imported", emb_gguf_path(m), key);
	arch->is_causal = is_causal;
	return status;
}

EmbStatus
emb_gguf_read_arch(EmbGgufModel *m, const EmbCheckpointOptions *options, EmbArch *arch, int32_t *max_tokens, EmbError *err)
{
	const EmbFamily *family;
	int32_t		n_context = 0;
	EmbStatus	status = find_family(m, err);

	if (status != EMB_OK)
		return status;
	family = emb_family_find(model_type(m), NULL);
	if (family == NULL)
		return emb_error(err, EMB_ERR_INTERNAL, "there is no family \"%s\"", model_type(m));
	*arch = emb_arch_encoder();
	snprintf(arch->family, sizeof(arch->family), "%s", emb_family_name(family));
	if (family->shape != NULL)
		family->shape(arch);
	if (is_gemma(m))
		arch->is_causal = 0;
	if ((status = read_sizes(m, arch, &n_context, err)) != EMB_OK ||
		(status = read_eps(m, arch, err)) != EMB_OK ||
		(status = read_tables(m, arch, n_context, err)) != EMB_OK ||
		(status = read_rotation(m, arch, err)) != EMB_OK ||
		(status = read_window(m, arch, err)) != EMB_OK ||
		(status = read_activation(m, arch, err)) != EMB_OK ||
		(status = read_direction(m, arch, err)) != EMB_OK ||
		(status = read_kind(m, options, arch, err)) != EMB_OK ||
		(status = read_gemma(m, arch, err)) != EMB_OK)
		return status;
	*max_tokens = n_context < arch->n_positions ? n_context : arch->n_positions;
	if (emb_gguf_is_decoder(m) && *max_tokens > EMB_DECODER_MAX_TOKENS)
		*max_tokens = EMB_DECODER_MAX_TOKENS;
	return emb_gguf_check_names(m, arch->n_layers, err);
}
