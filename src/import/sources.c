/*
 * sources.c
 *		Names of tensors, family by family.
 *
 * Every family has its own names for what BERT's roles are; what a table does
 * not name is called as in BERT. Before the names of an encoder stands nothing
 * in a bare checkpoint and the name of a wrapper behind a head.
 */
#include "import/sources.h"

#include <stdio.h>
#include <string.h>

/* Longest name looked up: prefix, "encoder.layer.255.", the role. */
#define NAME_BYTES		(EMB_TENSORS_MAX_NAME + 128)

#define MAX_NAMES		16

/*
 * A linear layer or a norm, by its first role; the name without ".weight" and
 * ".bias". Some checkpoints have several in one tensor, rows of one after
 * those of the other.
 */
typedef struct Name
{
	EmbTensorRole role;
	const char *name;			/* NULL: ends a table */
	int			part,			/* which of n_parts */
				n_parts;		/* 0: one */
	bool		no_bias;		/* zeros */
} Name;

typedef struct Naming
{
	const char *prefix;			/* the usual wrapper */
	const char *layer;			/* what stands before a layer's names; NULL: as in BERT */
	Name		names[MAX_NAMES];
	Name		up;				/* gated: the second half of EMB_ROLE_FFN_UP, whose name is the gates' */
	bool		no_first_norm;	/* layer 0 has none before its attention */
} Naming;

#define ROBERTA_HEAD	{EMB_ROLE_POOLER, "classifier.dense", 0, 0, false}, {EMB_ROLE_CLASSIFIER, "classifier.out_proj", 0, 0, false}
#define NAME(role, name)	{EMB_ROLE_##role, name, 0, 0, false}
#define BARE(role, name)	{EMB_ROLE_##role, name, 0, 0, true}
#define FUSED(name, no_bias) \
	{EMB_ROLE_QUERY, name, 0, 3, no_bias}, {EMB_ROLE_KEY, name, 1, 3, no_bias}, {EMB_ROLE_VALUE, name, 2, 3, no_bias}

static const Naming namings[EMB_N_FAMILIES + 1] =
{
	[EMB_FAMILY_BERT] = {.prefix = "bert."},
	[EMB_FAMILY_MODEL2VEC] = {.prefix = ""},
	[EMB_FAMILY_ROBERTA] = {.prefix = "roberta.", .names = {ROBERTA_HEAD}},
	[EMB_FAMILY_XLM_ROBERTA] = {.prefix = "roberta.", .names = {ROBERTA_HEAD}},
	[EMB_FAMILY_CAMEMBERT] = {.prefix = "roberta.", .names = {ROBERTA_HEAD}},
	[EMB_FAMILY_DISTILBERT] = {.prefix = "distilbert.", .layer = "transformer.layer.%u.", .names = {
		NAME(QUERY, "attention.q_lin"), NAME(KEY, "attention.k_lin"), NAME(VALUE, "attention.v_lin"),
		NAME(ATTN_OUT, "attention.out_lin"), NAME(ATTN_GAMMA, "sa_layer_norm"),
		NAME(FFN_UP, "ffn.lin1"), NAME(FFN_DOWN, "ffn.lin2"), NAME(FFN_GAMMA, "output_layer_norm"),
		NAME(POOLER, "pre_classifier")}},
	[EMB_FAMILY_MPNET] = {.prefix = "mpnet.", .names = {
		NAME(QUERY, "attention.attn.q"), NAME(KEY, "attention.attn.k"), NAME(VALUE, "attention.attn.v"),
		NAME(ATTN_OUT, "attention.attn.o"), NAME(ATTN_GAMMA, "attention.LayerNorm"),
		NAME(DISTANCE_BIAS, "encoder.relative_attention_bias"), ROBERTA_HEAD}},
	[EMB_FAMILY_NOMIC_BERT] = {.prefix = "bert.", .layer = "encoder.layers.%u.", .names = {
		NAME(EMBEDDING_GAMMA, "emb_ln"), FUSED("attn.Wqkv", true), BARE(ATTN_OUT, "attn.out_proj"), NAME(ATTN_GAMMA, "norm1"),
		BARE(FFN_UP, "mlp.fc12"), BARE(FFN_DOWN, "mlp.fc2"), NAME(FFN_GAMMA, "norm2")},
		.up = BARE(FFN_UP, "mlp.fc11")},
	[EMB_FAMILY_GTE] = {.prefix = "new.", .names = {
		FUSED("attention.qkv_proj", false), NAME(ATTN_OUT, "attention.o_proj"), NAME(ATTN_GAMMA, "attn_ln"),
		{EMB_ROLE_FFN_UP, "mlp.up_gate_proj", 1, 2, true}, NAME(FFN_DOWN, "mlp.down_proj"), NAME(FFN_GAMMA, "mlp_ln")},
		.up = {EMB_ROLE_FFN_UP, "mlp.up_gate_proj", 0, 2, true}},
	[EMB_FAMILY_MODERNBERT] = {.prefix = "model.", .layer = "layers.%u.", .names = {
		NAME(WORD_EMBEDDING, "embeddings.tok_embeddings"), BARE(EMBEDDING_GAMMA, "embeddings.norm"),
		FUSED("attn.Wqkv", true), BARE(ATTN_OUT, "attn.Wo"), BARE(ATTN_GAMMA, "attn_norm"),
		{EMB_ROLE_FFN_UP, "mlp.Wi", 0, 2, true}, BARE(FFN_DOWN, "mlp.Wo"), BARE(FFN_GAMMA, "mlp_norm"),
		BARE(FINAL_GAMMA, "final_norm"), NAME(POOLER, "head.dense"), BARE(HEAD_GAMMA, "head.norm")},
		.up = {EMB_ROLE_FFN_UP, "mlp.Wi", 1, 2, true}, .no_first_norm = true},
};

typedef struct Search
{
	const EmbTensorSet *tensors;
	const EmbImageConfig *config;
	const Naming *naming;
	char		prefix[EMB_TENSORS_MAX_NAME + 1];
} Search;

/* The role whose name stands for this one: a bias goes with its weight, beta with gamma. */
static EmbTensorRole
named_role(EmbTensorRole role)
{
	switch (role)
	{
		case EMB_ROLE_EMBEDDING_BETA:
		case EMB_ROLE_ATTN_BETA:
		case EMB_ROLE_FFN_BETA:
		case EMB_ROLE_POOLER_BIAS:
		case EMB_ROLE_CLASSIFIER_BIAS:
		case EMB_ROLE_FINAL_BETA:
		case EMB_ROLE_HEAD_BETA:
		case EMB_ROLE_SPARSE_BIAS:
		case EMB_ROLE_MULTI_BIAS:
		case EMB_ROLE_DENSE_BIAS:
		case EMB_ROLE_DENSE_2_BIAS:
			return role - 1;
		case EMB_ROLE_QUERY_BIAS:
		case EMB_ROLE_KEY_BIAS:
		case EMB_ROLE_VALUE_BIAS:
		case EMB_ROLE_ATTN_OUT_BIAS:
		case EMB_ROLE_FFN_UP_BIAS:
		case EMB_ROLE_FFN_DOWN_BIAS:
			return role - (EMB_ROLE_QUERY_BIAS - EMB_ROLE_QUERY);
		default:
			return role;
	}
}

/* A head stands beside the encoder, but a pooler called as BERT's, which is part of it. */
static bool
has_prefix(uint32_t role, const Name *name)
{
	switch (role)
	{
		case EMB_ROLE_POOLER:
		case EMB_ROLE_POOLER_BIAS:
			return name == NULL;
		case EMB_ROLE_CLASSIFIER:
		case EMB_ROLE_CLASSIFIER_BIAS:
		case EMB_ROLE_HEAD_GAMMA:
		case EMB_ROLE_HEAD_BETA:
		case EMB_ROLE_SPARSE:
		case EMB_ROLE_SPARSE_BIAS:
		case EMB_ROLE_MULTI:
		case EMB_ROLE_MULTI_BIAS:
		case EMB_ROLE_DENSE:
		case EMB_ROLE_DENSE_BIAS:
		case EMB_ROLE_DENSE_2:
		case EMB_ROLE_DENSE_2_BIAS:
			return false;
		default:
			return true;
	}
}

/* What the family's table says of a tensor; NULL: called as in BERT. */
static const Name *
find_name(const Naming *naming, EmbTensorRole role)
{
	for (const Name *n = naming->names; n->name != NULL; n++)
	{
		if (n->role == named_role(role))
			return n;
	}
	return NULL;
}

/* The tensor's name behind the prefix, in buf. */
static const char *
own_name(const Search *s, const EmbImageTensor *t, const Name *name, char *buf, size_t size)
{
	const char *layer = s->naming->layer != NULL ? s->naming->layer : "encoder.layer.%u.";
	int			at = 0;

	if (name == NULL)
		return emb_image_tensor_name(t, buf, size);
	if (t->role >= EMB_N_MODEL_ROLES && t->role < EMB_N_LAYER_ROLES)
		at = snprintf(buf, size, layer, t->layer);
	snprintf(buf + at, size - at, "%s.%s", name->name, name->role == t->role ? "weight" : "bias");
	return buf;
}

/* ----------------------------------------------------------------- prefix */

static bool
try_prefix(Search *s, const char *prefix, const char *suffix)
{
	char		name[NAME_BYTES];

	snprintf(name, sizeof(name), "%s%s", prefix, suffix);
	if (emb_tensors_find(s->tensors, name) == NULL)
		return false;
	strcpy(s->prefix, prefix);
	return true;
}

/* What stands before the word embeddings: nothing, the usual, or another wrapper's name. */
static EmbStatus
find_prefix(Search *s, EmbError *err)
{
	const EmbImageTensor words = {.role = EMB_ROLE_WORD_EMBEDDING};
	const char *found = NULL;
	char		suffix[128];
	size_t		suffix_bytes;

	own_name(s, &words, find_name(s->naming, EMB_ROLE_WORD_EMBEDDING), suffix, sizeof(suffix));
	suffix_bytes = strlen(suffix);
	if (try_prefix(s, "", suffix) || try_prefix(s, s->naming->prefix, suffix))
		return EMB_OK;
	for (int i = 0; i < s->tensors->n_shards; i++)
	{
		const EmbTensorShard *shard = &s->tensors->shards[i];

		for (int k = 0; k < shard->n_tensors; k++)
		{
			const char *tensor = shard->tensors[k].name;
			size_t		len = strlen(tensor);

			if (len <= suffix_bytes || strcmp(tensor + len - suffix_bytes, suffix) != 0 ||
				tensor[len - suffix_bytes - 1] != '.')
				continue;
			if (found != NULL)
				return emb_error(err, EMB_ERR_UNSUPPORTED, "the weights hold two models: \"%s\" and \"%s\"", found, tensor);
			found = tensor;
		}
	}
	if (found == NULL)
		return emb_error(err, EMB_ERR_NOT_FOUND, "the weights hold no tensor \"%s\"", suffix);
	snprintf(s->prefix, sizeof(s->prefix), "%.*s", (int) (strlen(found) - suffix_bytes), found);
	return EMB_OK;
}

/* ---------------------------------------------------------------- tensors */

/* Old checkpoints call a layer norm's weight gamma and its bias beta. */
static const EmbTensor *
find_old_name(const Search *s, const char *name)
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
		return emb_tensors_find(s->tensors, old);
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
		? emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has shape [%s], but config.json wants [%lld]",
					source->name, shape, (long long) n_cols)
		: emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has shape [%s], but config.json wants [%lld, %lld]",
					source->name, shape, (long long) n_rows, (long long) n_cols);
}

/* What the tensor that name says has for n_rows of t's rows, all but where t is one of several parts. */
static EmbStatus
find_rows(const Search *s, const EmbImageTensor *t, const Name *name, int64_t n_rows, EmbSourceRows *rows, EmbError *err)
{
	bool		is_vector = t->form == EMB_FORM_VECTOR_F32;
	int64_t		n_parts = name != NULL && name->n_parts > 0 ? name->n_parts : 1;
	int64_t		n_cols = t->n_cols;
	char		base[128];
	char		full[NAME_BYTES];
	EmbStatus	status;

	snprintf(full, sizeof(full), "%s%s", has_prefix(t->role, name) ? s->prefix : "", own_name(s, t, name, base, sizeof(base)));
	rows->tensor = emb_tensors_find(s->tensors, full);
	if (rows->tensor == NULL)
		rows->tensor = find_old_name(s, full);
	if (rows->tensor == NULL)
		return emb_error(err, EMB_ERR_NOT_FOUND, "the weights hold no tensor \"%s\"", full);
	rows->first_row = n_parts > 1 ? name->part * n_rows : 0;
	if (t->role == EMB_ROLE_DISTANCE_BIAS)
	{
		n_rows = EMB_DISTANCE_BUCKETS;
		n_cols = s->config->n_heads;
	}
	/* the image begins with the padding's row */
	else if (t->role == EMB_ROLE_POSITION_EMBEDDING && s->config->position_base > 0)
	{
		rows->first_row = s->config->position_base - 1;
		n_rows += rows->first_row;
	}
	status = check_shape(rows->tensor, is_vector, n_parts * n_rows, is_vector ? n_parts * n_cols : n_cols, err);
	if (status == EMB_OK)
		status = emb_tensors_check_dtype(s->tensors, rows->tensor, err);
	return status;
}

/* What import/static_table.h reads. */
static bool
is_static_table(const Search *s, uint32_t role)
{
	return role == EMB_ROLE_WORD_EMBEDDING && (emb_hf_family_traits(s->config->family) & EMB_TRAIT_STATIC) != 0;
}

static EmbStatus
find_source(const Search *s, const EmbImageTensor *t, EmbSource *source, EmbError *err)
{
	const Name *name = find_name(s->naming, t->role);
	bool		is_gated = s->naming->up.name != NULL;
	bool		is_norm = t->role == EMB_ROLE_ATTN_GAMMA || t->role == EMB_ROLE_ATTN_BETA;
	EmbStatus	status;

	*source = (EmbSource) {.n_first = t->n_rows};
	if (emb_source_is_computed(t->role) || is_static_table(s, t->role) || (name != NULL && name->no_bias && name->role != t->role) ||
		(is_norm && t->layer == 0 && s->naming->no_first_norm))
		return EMB_OK;
	if (t->role != EMB_ROLE_FFN_UP || !is_gated)
		return find_rows(s, t, name, t->n_rows, &source->first, err);
	source->n_first = t->n_rows / 2;
	status = find_rows(s, t, name, t->n_rows / 2, &source->first, err);
	return status == EMB_OK ? find_rows(s, t, &s->naming->up, t->n_rows / 2, &source->second, err) : status;
}

/* ------------------------------------------------------------------ heads */

/* Where FlagEmbedding saves a head: in its own file, as "weight" and "bias". */
static EmbStatus
add_head(EmbTensorSet *tensors, const char *dir, const char *head, const EmbTensor **weight, EmbError *err)
{
	static const char *const endings[] = {"safetensors", "pt"};
	char		name[64];
	char		prefix[64];

	snprintf(prefix, sizeof(prefix), "%s.", head);
	snprintf(name, sizeof(name), "%s.weight", head);
	*weight = emb_tensors_find(tensors, name);
	for (size_t i = 0; *weight == NULL && i < sizeof(endings) / sizeof(endings[0]); i++)
	{
		char		file[64];
		EmbStatus	status;

		snprintf(file, sizeof(file), "%s.%s", head, endings[i]);
		if (!emb_file_exists(dir, file))
			continue;
		status = emb_tensors_add_file(tensors, dir, file, prefix, err);
		if (status != EMB_OK)
			return emb_error_hint(err, status, "Without %s the model is imported as one that lacks this head.", file);
		*weight = emb_tensors_find(tensors, name);
		if (*weight == NULL)
			return emb_error(err, EMB_ERR_FORMAT, "%s has no tensor \"weight\"", file);
	}
	return EMB_OK;
}

/* Shapes are checked with all others, by emb_sources_find; but the number of outputs is the tensor's own to say. */
EmbStatus
emb_sources_add_heads(EmbTensorSet *tensors, const char *dir, EmbImageConfig *config, EmbError *err)
{
	static const char both[] = "bge_m3_heads.safetensors";
	const EmbTensor *sparse;
	const EmbTensor *multi;
	EmbStatus	status = add_head(tensors, dir, "sparse_linear", &sparse, err);

	if (status == EMB_OK)
		status = add_head(tensors, dir, "colbert_linear", &multi, err);
	if (status == EMB_OK && (sparse == NULL || multi == NULL) && emb_file_exists(dir, both))
	{
		status = emb_tensors_add_file(tensors, dir, both, NULL, err);
		if (status == EMB_OK)
		{
			sparse = emb_tensors_find(tensors, "sparse_linear.weight");
			multi = emb_tensors_find(tensors, "colbert_linear.weight");
		}
	}
	if (status != EMB_OK)
		return status;
	config->sparse = sparse != NULL;
	config->multi_dim = 0;
	if (multi == NULL)
		return EMB_OK;
	if (multi->rank != 2 || multi->shape[0] < 1 || multi->shape[0] > EMB_ARCH_MAX_HIDDEN)
		return emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" is not a matrix of 1 to %d rows", multi->name, EMB_ARCH_MAX_HIDDEN);
	config->multi_dim = (uint32_t) multi->shape[0];
	return EMB_OK;
}

/* Each in files of its own, as "linear.weight" and "linear.bias": here behind "dense.I.". */
EmbStatus
emb_sources_add_dense(EmbTensorSet *tensors, const char *dir, const EmbHfConfig *config, EmbError *err)
{
	static const char *const files[] = {"model.safetensors", "pytorch_model.bin"};

	for (int i = 0; i < config->n_dense; i++)
	{
		const char *path = config->dense[i].path;
		char		name[sizeof(config->dense[i].path) + 32];
		char		prefix[32];
		size_t		k = 0;
		EmbStatus	status;

		do
			snprintf(name, sizeof(name), "%s%s%s", path, path[0] != '\0' ? "/" : "", files[k]);
		while (!emb_file_exists(dir, name) && ++k < sizeof(files) / sizeof(files[0]));
		if (k == sizeof(files) / sizeof(files[0]))
			return emb_error(err, EMB_ERR_NOT_FOUND, "there is neither %s nor %s in \"%s\", the place of a module Dense",
							 files[0], files[1], path);
		snprintf(prefix, sizeof(prefix), "dense.%d.", i);
		status = emb_tensors_add_file_under(tensors, dir, name, prefix, err);
		if (status != EMB_OK)
			return status;
	}
	return EMB_OK;
}

bool
emb_source_is_computed(EmbTensorRole role)
{
	return role == EMB_ROLE_ROTARY || role == EMB_ROLE_ROTARY_LOCAL;
}

static EmbStatus
read_rows(EmbTensorSet *tensors, const EmbSourceRows *source, int64_t row, int64_t n, int64_t n_cols,
		  float *rows, EmbError *err)
{
	if (source->tensor != NULL)
		return emb_tensors_read_f32(tensors, source->tensor, (source->first_row + row) * n_cols, n * n_cols, rows, err);
	memset(rows, 0, n * n_cols * sizeof(float));
	return EMB_OK;
}

EmbStatus
emb_source_read(EmbTensorSet *tensors, const EmbSource *source, const EmbImageTensor *t,
				int64_t row, int64_t n, float *rows, EmbError *err)
{
	int64_t		left = source->n_first - row;
	int64_t		n_first = left < 0 ? 0 : left < n ? left : n;
	EmbStatus	status = EMB_OK;

	if (n_first > 0)
		status = read_rows(tensors, &source->first, row, n_first, t->n_cols, rows, err);
	if (status == EMB_OK && n_first < n)
		status = read_rows(tensors, &source->second, row + n_first - source->n_first, n - n_first, t->n_cols,
						   rows + n_first * t->n_cols, err);
	return status;
}

EmbStatus
emb_sources_find(const EmbTensorSet *tensors, const EmbImageConfig *config, const EmbAllocator *mem,
				 EmbSource *sources, EmbError *err)
{
	Search		s = {.tensors = tensors, .config = config, .naming = &namings[config->family]};
	uint32_t	n = emb_image_n_tensors(config);
	EmbImageTensor *plan = emb_alloc_array(mem, n, sizeof(*plan));
	EmbStatus	status;

	if (plan == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for the names of %u tensors", n);
	emb_image_plan_tensors(config, plan);
	status = is_static_table(&s, EMB_ROLE_WORD_EMBEDDING) ? EMB_OK : find_prefix(&s, err);
	for (uint32_t i = 0; status == EMB_OK && i < n; i++)
		status = find_source(&s, &plan[i], &sources[i], err);
	emb_release(mem, plan);
	return status;
}

/*
 * The bucket of a distance, key - query: half of them for keys ahead; of each
 * half the first 8 for one distance each, the others at 8 * 2^(i / 2), the last
 * from 8 * 2^3.5 on. transformers takes logarithms; 2 log2(n / 8) cut to an
 * integer is that of n n / 64.
 */
static int
distance_bucket(int distance)
{
	int			half = EMB_DISTANCE_BUCKETS / 2;
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

void
emb_sources_spread_distances(const float *buckets, int32_t n_heads, float *bias)
{
	for (int32_t head = 0; head < n_heads; head++)
	{
		for (int i = 0; i < EMB_DISTANCES; i++)
			bias[(size_t) head * EMB_DISTANCES + i] = buckets[(size_t) distance_bucket(i - EMB_DISTANCE_MAX) * n_heads + head];
	}
}
