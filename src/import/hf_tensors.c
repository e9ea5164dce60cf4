/*
 * hf_tensors.c
 *		Tensors by their names on the hub.
 *
 * Every family has its own names for BERT's parts; a part that the family's
 * file does not name has BERT's name. In a bare checkpoint an encoder's names
 * have no prefix; with a head their prefix is the name of a wrapper.
 */
#include "import/hf_tensors.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "import/hf_module_files.h"

/* Longest name looked up: prefix, "encoder.layer.255.", the part. */
#define NAME_BYTES		(EMB_TENSORS_MAX_NAME + 128)

/* ERNIE's embeddings of tasks, after the prefix. */
#define TASKS			"embeddings.task_type_embeddings.weight"
/* The classifier of a decoder. */
#define ANSWERS			"score.weight"

/* The matrix after a bidirectional decoder's layers. */
#define PROJECTION		"linear.weight"

/* MPNet has one bias per bucket of distances and head. */
#define BUCKETS			32

/*
 * BERT's names of the parts, without ".weight" and ".bias"; names of a layer's
 * parts follow "encoder.layer.N.".
 */
static const char *const bert_names[EMB_N_PARTS] =
{
	[EMB_PART_WORDS] = "embeddings.word_embeddings",
	[EMB_PART_POSITIONS] = "embeddings.position_embeddings",
	[EMB_PART_TYPES] = "embeddings.token_type_embeddings",
	[EMB_PART_EMBEDDING_NORM] = "embeddings.LayerNorm",
	[EMB_PART_POOLER] = "pooler.dense",
	[EMB_PART_CLASSIFIER] = "classifier",
	[EMB_PART_SPARSE] = "sparse_linear",
	[EMB_PART_MULTI] = "colbert_linear",
	[EMB_PART_LM_DENSE] = "cls.predictions.transform.dense",
	[EMB_PART_LM_NORM] = "cls.predictions.transform.LayerNorm",
	[EMB_PART_LM_OUT] = "cls.predictions.decoder",
	[EMB_PART_QUERY] = "attention.self.query",
	[EMB_PART_KEY] = "attention.self.key",
	[EMB_PART_VALUE] = "attention.self.value",
	[EMB_PART_ATTN_OUT] = "attention.output.dense",
	[EMB_PART_ATTN_NORM] = "attention.output.LayerNorm",
	[EMB_PART_FFN_UP] = "intermediate.dense",
	[EMB_PART_FFN_DOWN] = "output.dense",
	[EMB_PART_FFN_NORM] = "output.LayerNorm",
};

/* What the files hold for a key: floats, or a layer of codes. tensor NULL: zeros. */
typedef struct Found
{
	const EmbTensor *tensor;
	bool		is_quantized;
	EmbQuantLayer layer;
} Found;

/* ----------------------------------------------------------------- names */

/* The family's entry for a part; NULL: the part has BERT's name. */
static const EmbName *
find_name(const EmbFamily *family, EmbPart part)
{
	part = emb_part_is_of_expert(part) ? emb_part_kind(part) : part;
	for (int i = 0; i < EMB_FAMILY_MAX_NAMES && family->names[i].name != NULL; i++)
	{
		if (family->names[i].part == part)
			return &family->names[i];
	}
	return NULL;
}

static bool
is_bias(EmbTensorKey key)
{
	return key.kind == EMB_TENSOR_BIAS || key.kind == EMB_TENSOR_BETA;
}

/* The name of a module's tensor: its file's, after "dense.I.". */
static void
module_name(EmbTensorKey key, char *buf, size_t size)
{
	bool		is_norm = key.kind == EMB_TENSOR_GAMMA || key.kind == EMB_TENSOR_BETA;

	snprintf(buf, size, "dense.%d.%s.%s", emb_module_of_part(key.part), is_norm ? "norm" : "linear", is_bias(key) ? "bias" : "weight");
}

/*
 * What comes before a part's name. A head is separate from the encoder, but a
 * pooler with BERT's name is part of the encoder.
 */
static const char *
prefix_of(const EmbHfTensors *w, EmbPart part, const EmbName *name)
{
	switch (part)
	{
		case EMB_PART_POOLER:
			return name == NULL ? w->prefix : w->head_prefix;
		case EMB_PART_CLASSIFIER:
		case EMB_PART_HEAD_NORM:
			return w->head_prefix;
		case EMB_PART_SPARSE:
		case EMB_PART_MULTI:
		case EMB_PART_LM_DENSE:
		case EMB_PART_LM_NORM:
		case EMB_PART_LM_OUT:
			return "";
		default:
			return w->prefix;
	}
}

/* Experts' matrices and their bias are parameters of a module without layers: nothing follows their names. */
static bool
is_whole_name(EmbPart part)
{
	return emb_part_is_of_expert(part) || part == EMB_PART_EXPERT_BIAS;
}

/* The tensor's name after the prefix, in buf. */
static void
own_name(const EmbFamily *family, EmbTensorKey key, const EmbName *name, char *buf, size_t size)
{
	const char *layer = family->layer != NULL ? family->layer : "encoder.layer.%d.";
	const char *d = strstr(layer, "%d");
	const char *part = name != NULL ? name->name : key.part < EMB_N_PARTS && bert_names[key.part] != NULL ? bert_names[key.part] : "?";
	int			at = 0;

	if (key.layer != EMB_NO_LAYER && d != NULL)
		at = snprintf(buf, size, "%.*s%d%s", (int) (d - layer), layer, key.layer, d + 2);
	if (is_whole_name((EmbPart) key.part))
		snprintf(buf + at, size - at, "%s", part);
	else
		snprintf(buf + at, size - at, "%s.%s", part, is_bias(key) ? "bias" : "weight");
}

/* ----------------------------------------------------------------- prefix */

static bool
try_prefix(EmbHfTensors *w, const char *prefix, const char *suffix)
{
	char		name[NAME_BYTES];

	snprintf(name, sizeof(name), "%s%s", prefix, suffix);
	if (emb_tensors_find(&w->set, name) == NULL)
		return false;
	strcpy(w->prefix, prefix);
	return true;
}

/*
 * The only tensor whose name ends in a dot and suffix, after a prefix of its
 * own; NULL: none. what: for the message, where there are two.
 */
static EmbStatus
find_by_suffix(const EmbHfTensors *w, const char *suffix, const char *what, const char **found, EmbError *err)
{
	size_t		suffix_bytes = strlen(suffix);

	*found = NULL;
	for (int i = 0; i < w->set.n_shards; i++)
	{
		const EmbTensorShard *shard = &w->set.shards[i];

		for (int k = 0; k < shard->n_tensors; k++)
		{
			const char *tensor = shard->tensors[k].name;
			size_t		len = strlen(tensor);

			if (len <= suffix_bytes || strcmp(tensor + len - suffix_bytes, suffix) != 0 ||
				tensor[len - suffix_bytes - 1] != '.')
				continue;
			if (*found != NULL)
				return emb_error(err, EMB_ERR_UNSUPPORTED, "the weights hold two %s: \"%s\" and \"%s\"", what, *found, tensor);
			*found = tensor;
		}
	}
	return EMB_OK;
}

/* None of the names that a family's checkpoints have: shows some that are there, which tell what the file is. */
static EmbStatus
refuse_names(const EmbHfTensors *w, const char *name, EmbError *err)
{
	char		shown[3 * 90] = "";
	size_t		len = 0;
	int			n = w->set.n_shards > 0 ? w->set.shards[0].n_tensors : 0;

	emb_error(err, EMB_ERR_NOT_FOUND, "the weights hold no tensor \"%s\"", name);
	for (int i = 0; i < n && i < 3; i++)
		len += (size_t) snprintf(shown + len, sizeof(shown) - len, "%s\"%.80s\"", i > 0 ? ", " : "", w->set.shards[0].tensors[i].name);
	if (n == 0)
		return emb_error_hint(err, EMB_ERR_NOT_FOUND, "The file holds no tensors: download the model's model.safetensors.");
	return emb_error_hint(err, EMB_ERR_NOT_FOUND, "The first tensors there are %s: the file belongs to another class than config.json names, or its tensors were renamed.", shown);
}

/* The prefix of the word embeddings: none, the usual, or another wrapper's name. */
static EmbStatus
find_prefix(EmbHfTensors *w, EmbError *err)
{
	const EmbTensorKey words = {EMB_NO_LAYER, EMB_PART_WORDS, EMB_TENSOR_TABLE};
	const char *found;
	char		suffix[128];
	EmbStatus	status;

	own_name(w->family, words, find_name(w->family, EMB_PART_WORDS), suffix, sizeof(suffix));
	if (try_prefix(w, "", suffix) || try_prefix(w, w->family->prefix, suffix))
		return EMB_OK;
	status = find_by_suffix(w, suffix, "models", &found, err);
	if (status != EMB_OK)
		return status;
	if (found == NULL)
		return refuse_names(w, suffix, err);
	snprintf(w->prefix, sizeof(w->prefix), "%.*s", (int) (strlen(found) - strlen(suffix)), found);
	return EMB_OK;
}

/* The prefix of a classifier: usually none, else a wrapper's name. */
static EmbStatus
find_head_prefix(EmbHfTensors *w, const EmbArch *arch, EmbError *err)
{
	const EmbTensorKey classifier = {EMB_NO_LAYER, EMB_PART_CLASSIFIER, EMB_TENSOR_WEIGHT};
	const char *found;
	char		suffix[128];
	EmbStatus	status;

	if (arch->head == EMB_HEAD_SCORE)
		own_name(w->family, classifier, find_name(w->family, EMB_PART_CLASSIFIER), suffix, sizeof(suffix));
	else if (arch->head == EMB_HEAD_ANSWER && arch->n_labels == 1)
		strcpy(suffix, ANSWERS);
	else
		return EMB_OK;
	if (emb_tensors_find(&w->set, suffix) != NULL)
		return EMB_OK;
	status = find_by_suffix(w, suffix, "classifiers", &found, err);
	if (status == EMB_OK && found != NULL)
		snprintf(w->head_prefix, sizeof(w->head_prefix), "%.*s", (int) (strlen(found) - strlen(suffix)), found);
	return status;
}

/* ---------------------------------------------------------------- tensors */

/* Old checkpoints name a layer norm's weight gamma and its bias beta. */
static const EmbTensor *
find_old_name(const EmbHfTensors *w, const char *name)
{
	static const struct
	{
		const char *now,
				   *then;
	}			pairs[] =
	{
		{"LayerNorm.weight", "LayerNorm.gamma"},
		{"LayerNorm.bias", "LayerNorm.beta"},
	};
	char		old[NAME_BYTES];
	size_t		len = strlen(name);

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
	{
		size_t		n = strlen(pairs[i].now);

		if (len < n || strcmp(name + len - n, pairs[i].now) != 0)
			continue;
		snprintf(old, sizeof(old), "%.*s%s", (int) (len - n), name, pairs[i].then);
		return emb_tensors_find(&w->set, old);
	}
	return NULL;
}

/* [n_rows, n_cols], a vector [n_cols] */
static EmbStatus
check_shape(const EmbTensor *source, bool is_vector, int64_t n_rows, int64_t n_cols, EmbError *err)
{
	char		shape[EMB_TENSORS_MAX_RANK * 22] = "";
	size_t		at = 0;

	if (is_vector ? source->rank == 1 && source->shape[0] == n_cols
		: source->rank == 2 && source->shape[0] == n_rows && source->shape[1] == n_cols)
		return EMB_OK;
	for (int i = 0; i < source->rank; i++)
		at += snprintf(shape + at, sizeof(shape) - at, "%s%lld", i > 0 ? ", " : "", (long long) source->shape[i]);
	return is_vector
		? emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has shape [%s], but config.json requires [%lld]",
					source->name, shape, (long long) n_cols)
		: emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has shape [%s], but config.json requires [%lld, %lld]",
					source->name, shape, (long long) n_rows, (long long) n_cols);
}

/* Weights of linear layers may be quantized; compressed-tensors may quantize word embeddings as well. */
static bool
may_be_quantized(EmbTensorKey key)
{
	return (key.kind == EMB_TENSOR_WEIGHT && !emb_part_is_of_expert((EmbPart) key.part)) || (key.kind == EMB_TENSOR_TABLE && key.part == EMB_PART_WORDS);
}

/* A matrix by its name in the files, as floats or quantized; nothing is found if the files have neither. */
static EmbStatus
find_matrix(EmbHfTensors *w, const char *name, int32_t n_cols, Found *found, EmbError *err)
{
	EmbStatus	status = emb_quant_find(&w->quant, name, n_cols, &found->layer, &found->is_quantized, err);

	if (status != EMB_OK)
		return status;
	if (found->is_quantized)
	{
		found->tensor = found->layer.weight;
		return emb_quant_check(&w->quant, &found->layer, found->layer.n_out, err);
	}
	found->tensor = emb_tensors_find(&w->set, name);
	return EMB_OK;
}

/*
 * The output matrix of a language model; where the files have none, it is tied
 * to the word embeddings.
 */
static EmbStatus
find_output(EmbHfTensors *w, int32_t n_cols, Found *found, EmbError *err)
{
	static const EmbTensorKey words = {EMB_NO_LAYER, EMB_PART_WORDS, EMB_TENSOR_TABLE};
	char		own[128];
	char		name[NAME_BYTES];
	EmbStatus	status = find_matrix(w, "lm_head.weight", n_cols, found, err);

	if (status != EMB_OK || found->tensor != NULL)
		return status;
	own_name(w->family, words, find_name(w->family, EMB_PART_WORDS), own, sizeof(own));
	snprintf(name, sizeof(name), "%s%s", w->prefix, own);
	status = find_matrix(w, name, n_cols, found, err);
	if (status == EMB_OK && found->tensor == NULL)
		return emb_error(err, EMB_ERR_NOT_FOUND, "the weights hold no tensor \"lm_head.weight\"");
	return status;
}

/*
 * Where a tensor of the output over the vocabulary is if not under its own
 * name: the weight in the word embeddings, the bias one level up, where older
 * checkpoints have it. False: the part has no other name.
 */
static bool
other_name(const EmbHfTensors *w, EmbTensorKey key, const char *own, char *full, size_t size)
{
	static const EmbTensorKey words = {EMB_NO_LAYER, EMB_PART_WORDS, EMB_TENSOR_TABLE};
	const char *end = strrchr(own, '.');
	size_t		n = end != NULL ? (size_t) (end - own) : 0;
	char		name[128];

	if (key.part != EMB_PART_LM_OUT)
		return false;
	if (key.kind == EMB_TENSOR_WEIGHT)
	{
		own_name(w->family, words, find_name(w->family, EMB_PART_WORDS), name, sizeof(name));
		snprintf(full, size, "%s%s", w->prefix, name);
		return true;
	}
	while (n > 0 && own[n - 1] != '.')
		n--;
	snprintf(full, size, "%.*sbias", (int) n, own);
	return true;
}

/* Parts whose tensors have one name in all families, whatever the prefix; NULL: another part. */
static const char *
fixed_name(const EmbHfTensors *w, EmbTensorKey key)
{
	return key.part == EMB_PART_DENSE_1 && w->has_projection ? PROJECTION : NULL;
}

/* found gets NULL: the tensor is optional. */
static EmbStatus
find(const EmbHfTensors *w, EmbTensorKey key, int32_t n_cols, Found *found, const EmbName **name, EmbError *err)
{
	char		own[128];
	char		full[NAME_BYTES];
	char		other[NAME_BYTES];
	EmbStatus	status;

	*found = (Found) {.tensor = NULL};
	*name = find_name(w->family, key.part);
	if (*name != NULL && (*name)->no_bias && is_bias(key))
		return EMB_OK;
	own_name(w->family, key, *name, own, sizeof(own));
	if (key.part == EMB_PART_ANSWERS)
		snprintf(full, sizeof(full), "%s%s", w->head_prefix, ANSWERS);
	else if (fixed_name(w, key) != NULL)
		snprintf(full, sizeof(full), "%s", fixed_name(w, key));
	else if (emb_module_of_part(key.part) >= 0)
		module_name(key, full, sizeof(full));
	else
		snprintf(full, sizeof(full), "%s%s", prefix_of(w, key.part, *name), own);
	if (may_be_quantized(key))
	{
		status = emb_quant_find(&w->quant, full, n_cols, &found->layer, &found->is_quantized, err);
		found->tensor = found->layer.weight;
		if (status != EMB_OK || found->is_quantized)
			return status;
	}
	found->tensor = emb_tensors_find(&w->set, full);
	if (found->tensor == NULL)
		found->tensor = find_old_name(w, full);
	if (found->tensor == NULL && other_name(w, key, own, other, sizeof(other)))
		found->tensor = emb_tensors_find(&w->set, other);
	/* ModernBERT's linear layers of the head may have none */
	if (found->tensor == NULL && is_bias(key) && (key.part == EMB_PART_LM_DENSE || key.part == EMB_PART_LM_OUT))
		return EMB_OK;
	if (found->tensor == NULL)
		return emb_error(err, EMB_ERR_NOT_FOUND, "the weights hold no tensor \"%s\"", full);
	return EMB_OK;
}

static int32_t
n_parts_of(const EmbName *name)
{
	return name != NULL && name->n_parts > 1 ? name->n_parts : 1;
}

/* The first output of the key's part of a quantized layer. */
static int64_t
first_output(const Found *found, const EmbName *name)
{
	return n_parts_of(name) > 1 ? (int64_t) name->index * (found->layer.n_out / name->n_parts) : 0;
}

/* The first row of the key's tensor, of n_rows. */
static int64_t
first_row(const EmbArch *arch, EmbTensorKey key, const EmbName *name, int64_t n_rows)
{
	/* the table begins with the padding's row */
	if (key.part == EMB_PART_POSITIONS && arch->position_base > 0)
		return arch->position_base - 1;
	return name != NULL && name->n_parts > 1 ? name->index * n_rows : 0;
}

/* Whether static_table.h reads the tensor. */
static bool
is_static_table(const EmbArch *arch, EmbTensorKey key)
{
	return arch->n_layers == 0 && key.part == EMB_PART_WORDS;
}

/* Rows of the output matrix, whose number of rows may exceed the vocabulary's. */
static EmbStatus
check_answers(EmbHfTensors *w, const int32_t *ids, int32_t n_rows, int32_t n_cols, EmbError *err)
{
	Found		found = {0};
	int64_t		n_ids;
	EmbStatus	status = find_output(w, n_cols, &found, err);

	if (status != EMB_OK)
		return status;
	n_ids = found.is_quantized ? found.layer.n_out : found.tensor->rank == 2 ? found.tensor->shape[0] : 0;
	if (!found.is_quantized && (status = check_shape(found.tensor, false, n_ids, n_cols, err)) != EMB_OK)
		return status;
	for (int32_t i = 0; i < n_rows; i++)
	{
		if (ids[i] < 0 || ids[i] >= n_ids)
			return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has %lld rows, and none for the answer's token %d", found.tensor->name,
							 (long long) n_ids, ids[i]);
	}
	return found.is_quantized ? EMB_OK : emb_tensors_check_dtype(&w->set, found.tensor, err);
}

static EmbStatus
read_answers(EmbHfTensors *w, const int32_t *ids, int64_t row, int64_t n, int32_t n_cols, float *rows, EmbError *err)
{
	Found		found = {0};
	EmbStatus	status = find_output(w, n_cols, &found, err);

	for (int64_t i = 0; status == EMB_OK && i < n; i++)
	{
		int64_t		id = ids[row + i];
		float	   *to = rows + i * n_cols;

		status = found.is_quantized ? emb_quant_read(&w->quant, &found.layer, id, 1, to, err)
			: emb_tensors_read_f32(&w->set, found.tensor, id * n_cols, n_cols, to, err);
	}
	return status;
}

/* Whether the answers are rows of the output matrix. */
static bool
is_answers(EmbTensorKey key, const int32_t *answer_ids)
{
	return key.part == EMB_PART_ANSWERS && answer_ids[0] >= 0;
}

/* The table of tasks, if the model has one. */
static EmbStatus
find_tasks(const EmbHfTensors *w, int32_t n_cols, const EmbTensor **tensor, EmbError *err)
{
	char		name[NAME_BYTES];
	EmbStatus	status;

	snprintf(name, sizeof(name), "%s%s", w->prefix, TASKS);
	*tensor = emb_tensors_find(&w->set, name);
	if (*tensor == NULL)
		return emb_error(err, EMB_ERR_NOT_FOUND, "the weights hold no tensor \"%s\"", name);
	status = check_shape(*tensor, false, w->n_tasks, n_cols, err);
	return status == EMB_OK ? emb_tensors_check_dtype(&w->set, *tensor, err) : status;
}

/* What is in memory: tables that the tokenizer's vocabulary gave an index, and products of modules. NULL: another key. */
static const float *
own_table(const EmbHfTensors *w, EmbTensorKey key)
{
	switch (key.part)
	{
		case EMB_PART_QUERY_WEIGHTS:
			return w->sparse.query_weights;
		case EMB_PART_SKIPPED:
			return w->multi.skipped;
		case EMB_PART_MULTI:
			return key.kind == EMB_TENSOR_BIAS ? w->multi.bias : w->multi.weight;
		default:
			return NULL;
	}
}

EmbStatus
emb_hf_tensors_check(EmbHfTensors *w, const EmbArch *arch, const int32_t *answer_ids, EmbTensorKey key,
					 int32_t n_rows, int32_t n_cols, EmbError *err)
{
	bool		is_vector = key.kind == EMB_TENSOR_GAMMA || is_bias(key);
	int64_t		rows = n_rows;
	int64_t		cols = n_cols;
	int64_t		n_parts;
	const EmbTensor *found_tasks;
	const EmbName *name;
	Found		found;
	EmbStatus	status;

	if (is_static_table(arch, key) || own_table(w, key) != NULL)
		return EMB_OK;
	if (is_answers(key, answer_ids))
		return check_answers(w, answer_ids, n_rows, n_cols, err);
	status = find(w, key, n_cols, &found, &name, err);
	if (status != EMB_OK || found.tensor == NULL)
		return status;
	n_parts = n_parts_of(name);
	if (emb_part_is_of_expert((EmbPart) key.part))
	{
		status = check_shape(found.tensor, false, (int64_t) arch->n_experts * arch->intermediate, arch->hidden, err);
		return status == EMB_OK ? emb_tensors_check_dtype(&w->set, found.tensor, err) : status;
	}
	if (found.is_quantized)
		return emb_quant_check(&w->quant, &found.layer, n_parts * rows, err);
	if (key.part == EMB_PART_DISTANCES)
	{
		rows = BUCKETS;
		cols = arch->n_heads;
	}
	else if (key.part == EMB_PART_POSITIONS)
		rows += first_row(arch, key, name, rows);
	if (key.part == EMB_PART_TYPES && w->n_tasks > 0 && (status = find_tasks(w, n_cols, &found_tasks, err)) != EMB_OK)
		return status;
	status = check_shape(found.tensor, is_vector, n_parts * rows, is_vector ? n_parts * cols : cols, err);
	return status == EMB_OK ? emb_tensors_check_dtype(&w->set, found.tensor, err) : status;
}

/* ----------------------------------------------------- relative positions */

/*
 * The bucket of a distance, key - query. Half of the buckets are for keys
 * after the query. In each half the first 8 are for one distance each, the
 * others begin at 8 * 2^(i / 2), the last at 8 * 2^3.5. transformers uses
 * logarithms; 2 log2(n / 8) cut to an integer equals the integer log2 of n n /
 * 64.
 */
static int
distance_bucket(int distance)
{
	int			half = BUCKETS / 2;
	int			exact = half / 2;
	int			n = distance < 0 ? -distance : distance;
	int			bucket = n;

	if (n >= exact)
	{
		bucket = exact;
		for (int square = n * n / (exact * exact); square > 1; square /= 2)
			bucket++;
		if (bucket > half - 1)
			bucket = half - 1;
	}
	return bucket + (distance > 0 ? half : 0);
}

/* Heads first .. first + n - 1: [n, EMB_DISTANCES] of the tensor's [BUCKETS, n_heads]. */
static EmbStatus
read_distances(const EmbHfTensors *w, const EmbTensor *tensor, int32_t n_heads, int64_t first, int64_t n, float *rows, EmbError *err)
{
	float	   *buckets = emb_alloc_array(w->mem, (size_t) BUCKETS * n_heads, sizeof(float));
	EmbStatus	status;

	if (buckets == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the biases of %d heads", n_heads);
	status = emb_tensors_read_f32(&w->set, tensor, 0, (int64_t) BUCKETS * n_heads, buckets, err);
	for (int64_t head = 0; status == EMB_OK && head < n; head++)
	{
		for (int i = 0; i < EMB_DISTANCES; i++)
			rows[head * EMB_DISTANCES + i] = buckets[(int64_t) distance_bucket(i - EMB_DISTANCE_MAX) * n_heads + first + head];
	}
	emb_release(w->mem, buckets);
	return status;
}

/* Adds the row of the first task to rows of token types. */
static EmbStatus
add_task(const EmbHfTensors *w, int64_t n, int32_t n_cols, float *rows, EmbError *err)
{
	const EmbTensor *tensor;
	float	   *task = emb_alloc_array(w->mem, n_cols, sizeof(float));
	EmbStatus	status;

	if (task == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a row of %d elements", n_cols);
	status = find_tasks(w, n_cols, &tensor, err);
	if (status == EMB_OK)
		status = emb_tensors_read_f32(&w->set, tensor, 0, n_cols, task, err);
	for (int64_t i = 0; status == EMB_OK && i < n * n_cols; i++)
		rows[i] += task[i % n_cols];
	emb_release(w->mem, task);
	return status;
}

/*
 * From what the files hold to what the architecture means: see EmbFamily and
 * EmbHfConfig. A single operation an element, so the compiler cannot change
 * the bits.
 */
static EmbStatus
adjust(const EmbHfTensors *w, EmbTensorKey key, int64_t n, float *x, EmbError *err)
{
	bool		is_words = key.part == EMB_PART_WORDS && w->word_scale != 0;
	bool		is_query_norm = key.part == EMB_PART_QUERY_NORM && w->query_scale != 0;

	for (int64_t i = 0; key.kind == EMB_TENSOR_GAMMA && w->family->norms_less_one && i < n; i++)
		x[i] = 1.0f + x[i];
	for (int64_t i = 0; (is_words || is_query_norm) && i < n; i++)
	{
		x[i] *= is_words ? w->word_scale : w->query_scale;
		if (!isfinite(x[i]))
			return emb_error(err, EMB_ERR_FORMAT, "the weights of the word embeddings or of a norm overflow single precision");
	}
	return EMB_OK;
}

/* Ids without a weight have a logit below zero, whatever the text is. */
static void
drop_ids(const EmbHfTensors *w, EmbTensorKey key, int32_t n_vocab, float *bias)
{
	if (key.part != EMB_PART_LM_OUT || key.kind != EMB_TENSOR_BIAS || w->sparse.is_dropped == NULL)
		return;
	for (int32_t i = 0; i < n_vocab; i++)
		bias[i] = w->sparse.is_dropped[i] ? -1e30f : bias[i];
}

static EmbStatus
read_floats(EmbHfTensors *w, const EmbArch *arch, const int32_t *answer_ids, EmbTensorKey key,
			int64_t row, int64_t n, int32_t n_cols, float *rows, EmbError *err)
{
	bool		is_vector = key.kind == EMB_TENSOR_GAMMA || is_bias(key);
	const EmbName *name;
	Found		found;
	int64_t		at;
	EmbStatus	status;

	if (is_static_table(arch, key))
		return emb_static_read(&w->set, &w->table, row, n, rows, err);
	if (is_answers(key, answer_ids))
		return read_answers(w, answer_ids, row, n, n_cols, rows, err);
	if (own_table(w, key) != NULL)
	{
		memcpy(rows, own_table(w, key) + row * n_cols, n * n_cols * sizeof(float));
		return EMB_OK;
	}
	status = find(w, key, n_cols, &found, &name, err);
	if (status != EMB_OK)
		return status;
	if (found.is_quantized)
		return emb_quant_read(&w->quant, &found.layer, first_output(&found, name) + row, n, rows, err);
	if (found.tensor == NULL)
	{
		memset(rows, 0, (size_t) n * n_cols * sizeof(float));
		return EMB_OK;
	}
	if (emb_part_is_of_expert((EmbPart) key.part))
		return emb_hf_expert_read(&w->expert, &(EmbHfExpertSource) {w->mem, &w->set, arch, found.tensor, key}, row, n, rows, err);
	if (key.part == EMB_PART_DISTANCES)
		return read_distances(w, found.tensor, arch->n_heads, row, n, rows, err);
	/* all parts in one tensor have equal length */
	at = first_row(arch, key, name, is_vector ? 1 : name != NULL && name->n_parts > 1 ? found.tensor->shape[0] / name->n_parts : 0);
	return emb_tensors_read_f32(&w->set, found.tensor, (at + row) * n_cols, n * n_cols, rows, err);
}

EmbStatus
emb_hf_tensors_read(EmbHfTensors *w, const EmbArch *arch, const int32_t *answer_ids, EmbTensorKey key,
					int64_t row, int64_t n, int32_t n_cols, float *rows, EmbError *err)
{
	EmbStatus	status = read_floats(w, arch, answer_ids, key, row, n, n_cols, rows, err);

	if (status == EMB_OK && key.part == EMB_PART_TYPES && w->n_tasks > 0)
		status = add_task(w, n, n_cols, rows, err);
	if (status == EMB_OK)
		drop_ids(w, key, n_cols, rows);
	return status == EMB_OK ? adjust(w, key, n * n_cols, rows, err) : status;
}

/* ------------------------------------------------------------------ codes */

EmbStatus
emb_hf_tensors_codes(EmbHfTensors *w, EmbTensorKey key, int32_t n_rows, int32_t n_cols, EmbCodes *codes, EmbError *err)
{
	const EmbName *name;
	Found		found;
	EmbStatus	status = find(w, key, n_cols, &found, &name, err);

	if (status != EMB_OK || !found.is_quantized)
		return status;
	return emb_quant_codes(&w->quant, &found.layer, first_output(&found, name), n_rows, codes, err);
}

/* The layer of a key that has codes. */
static EmbStatus
find_codes(const EmbHfTensors *w, EmbTensorKey key, int32_t n_cols, Found *found, const EmbName **name, EmbError *err)
{
	EmbStatus	status = find(w, key, n_cols, found, name, err);

	if (status == EMB_OK && !found->is_quantized)
		return emb_error(err, EMB_ERR_INTERNAL, "a tensor without codes was read as codes");
	return status;
}

EmbStatus
emb_hf_tensors_read_order(EmbHfTensors *w, EmbTensorKey key, int32_t n_cols, uint16_t *order, EmbError *err)
{
	const EmbName *name;
	Found		found;
	EmbStatus	status = find_codes(w, key, n_cols, &found, &name, err);

	return status == EMB_OK ? emb_quant_read_order(&w->quant, &found.layer, order, err) : status;
}

EmbStatus
emb_hf_tensors_read_codes(EmbHfTensors *w, EmbTensorKey key, int64_t row, int64_t n, int32_t n_cols,
						  uint8_t *codes, float *scales, uint8_t *zeros, EmbError *err)
{
	const EmbName *name;
	Found		found;
	EmbStatus	status = find_codes(w, key, n_cols, &found, &name, err);

	if (status != EMB_OK)
		return status;
	return emb_quant_read_codes(&w->quant, &found.layer, first_output(&found, name) + row, n, codes, scales, zeros, err);
}

/* ------------------------------------------------------------------ files */

/* A matrix after the layers that the configuration does not mention would be left out. */
static EmbStatus
check_projection(const EmbHfTensors *w, const EmbHfConfig *config, EmbError *err)
{
	if (!config->is_bidirectional || config->projection > 0 || emb_tensors_find(&w->set, PROJECTION) == NULL)
		return EMB_OK;
	return emb_error(err, EMB_ERR_FORMAT, "the weights hold a tensor \"" PROJECTION "\", but neither \"num_labels\" nor \"id2label\" of config.json "
					 "says how many outputs it has");
}

static EmbStatus
open_parts(EmbHfTensors *w, const char *dir, const EmbHfConfig *config, EmbArch *arch, EmbError *err)
{
	bool		is_static = config->arch.n_layers == 0;
	EmbStatus	status = emb_hf_add_dense(&w->set, dir, config, err);

	if (status == EMB_OK)
		status = check_projection(w, config, err);
	if (status == EMB_OK && is_static)
		status = emb_static_open(&w->set, w->mem, &w->table, err);
	if (status == EMB_OK && config->arch.head == EMB_HEAD_NONE && !is_static && !config->arch.lacks_vector)
		status = emb_hf_add_token_heads(&w->set, config->transformer_dir, arch, err);
	if (status == EMB_OK && !is_static)
		status = find_prefix(w, err);
	return status == EMB_OK && !is_static ? find_head_prefix(w, &config->arch, err) : status;
}

EmbStatus
emb_hf_tensors_open(EmbHfTensors *w, const char *dir, const EmbHfConfig *config, const EmbAllocator *mem, EmbArch *arch, EmbError *err)
{
	EmbStatus	status;

	*w = (EmbHfTensors) {.mem = mem, .family = config->family, .has_projection = config->projection > 0,
		.n_tasks = config->n_tasks, .word_scale = config->word_scale, .query_scale = config->query_scale};
	status = emb_tensors_open_dir(config->transformer_dir, mem, config->stop, &w->set, err);
	if (status != EMB_OK)
		return status;
	emb_quant_open(&w->quant, &config->quantization, &w->set, mem);
	status = open_parts(w, dir, config, arch, err);
	if (status != EMB_OK)
		emb_hf_tensors_close(w);
	return status;
}

bool
emb_hf_tensors_has_layer(const EmbHfTensors *w, int32_t layer)
{
	const char *pattern = w->family->layer != NULL ? w->family->layer : "encoder.layer.%d.";
	const char *d = strstr(pattern, "%d");
	char		begin[NAME_BYTES];
	size_t		n;

	if (d == NULL)
		return false;
	n = (size_t) snprintf(begin, sizeof(begin), "%s%.*s%d%s", w->prefix, (int) (d - pattern), pattern, layer, d + 2);
	for (int i = 0; i < w->set.n_shards; i++)
	{
		for (int k = 0; k < w->set.shards[i].n_tensors; k++)
		{
			if (strncmp(w->set.shards[i].tensors[k].name, begin, n) == 0)
				return true;
		}
	}
	return false;
}

void
emb_hf_tensors_close(EmbHfTensors *w)
{
	emb_quant_close(&w->quant);
	emb_hf_sparse_free_tables(&w->sparse, w->mem);
	emb_hf_multi_free_tables(&w->multi, w->mem);
	emb_hf_expert_free(&w->expert, w->mem);
	emb_static_close(&w->table, w->mem);
	emb_tensors_close(&w->set);
}
