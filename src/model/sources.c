/*
 * sources.c
 *		Names of tensors, family by family.
 *
 * Every family has its own names for what BERT's roles are; what a table does
 * not name is called as in BERT. Before the names of an encoder stands nothing
 * in a bare checkpoint and the name of a wrapper behind a head.
 */
#include "model/sources.h"

#include <stdio.h>
#include <string.h>

/* Longest name looked up: prefix, "encoder.layer.255.", the role. */
#define NAME_BYTES		(EMB_TENSORS_MAX_NAME + 128)

#define MAX_NAMES		16

/* A linear layer or a norm, by its first role; the name without ".weight" and ".bias". */
typedef struct Name
{
	EmbTensorRole role;
	const char *name;			/* NULL: ends a table */
} Name;

typedef struct Naming
{
	const char *prefix;			/* the usual wrapper */
	const char *layer;			/* what stands before a layer's names; NULL: as in BERT */
	Name		names[MAX_NAMES];
} Naming;

static const Naming namings[EMB_N_FAMILIES + 1] =
{
	[EMB_FAMILY_BERT] = {"bert."},
	[EMB_FAMILY_ROBERTA] = {"roberta.", NULL, {{EMB_ROLE_POOLER, "classifier.dense"}, {EMB_ROLE_CLASSIFIER, "classifier.out_proj"}}},
	[EMB_FAMILY_XLM_ROBERTA] = {"roberta.", NULL, {{EMB_ROLE_POOLER, "classifier.dense"}, {EMB_ROLE_CLASSIFIER, "classifier.out_proj"}}},
	[EMB_FAMILY_CAMEMBERT] = {"roberta.", NULL, {{EMB_ROLE_POOLER, "classifier.dense"}, {EMB_ROLE_CLASSIFIER, "classifier.out_proj"}}},
	[EMB_FAMILY_DISTILBERT] = {"distilbert.", "transformer.layer.%u.", {
		{EMB_ROLE_QUERY, "attention.q_lin"}, {EMB_ROLE_KEY, "attention.k_lin"}, {EMB_ROLE_VALUE, "attention.v_lin"},
		{EMB_ROLE_ATTN_OUT, "attention.out_lin"}, {EMB_ROLE_ATTN_GAMMA, "sa_layer_norm"},
		{EMB_ROLE_FFN_UP, "ffn.lin1"}, {EMB_ROLE_FFN_DOWN, "ffn.lin2"}, {EMB_ROLE_FFN_GAMMA, "output_layer_norm"}}},
	[EMB_FAMILY_MPNET] = {"mpnet.", NULL, {
		{EMB_ROLE_QUERY, "attention.attn.q"}, {EMB_ROLE_KEY, "attention.attn.k"}, {EMB_ROLE_VALUE, "attention.attn.v"},
		{EMB_ROLE_ATTN_OUT, "attention.attn.o"}, {EMB_ROLE_ATTN_GAMMA, "attention.LayerNorm"},
		{EMB_ROLE_DISTANCE_BIAS, "encoder.relative_attention_bias"},
		{EMB_ROLE_POOLER, "classifier.dense"}, {EMB_ROLE_CLASSIFIER, "classifier.out_proj"}}},
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

/* A head stands beside the encoder, but BERT's pooler, which is part of it. */
static bool
has_prefix(const Search *s, uint32_t role)
{
	if (role == EMB_ROLE_POOLER || role == EMB_ROLE_POOLER_BIAS)
		return s->config->family == EMB_FAMILY_BERT;
	return role != EMB_ROLE_CLASSIFIER && role != EMB_ROLE_CLASSIFIER_BIAS;
}

/* The tensor's name behind the prefix, in buf. */
static const char *
own_name(const Search *s, const EmbImageTensor *t, char *buf, size_t size)
{
	EmbTensorRole role = named_role(t->role);
	int			at = 0;

	for (const Name *n = s->naming->names; n->name != NULL; n++)
	{
		if (n->role != role)
			continue;
		if (role >= EMB_N_MODEL_ROLES && role < EMB_N_LAYER_ROLES)
			at = snprintf(buf, size, s->naming->layer != NULL ? s->naming->layer : "encoder.layer.%u.", t->layer);
		snprintf(buf + at, size - at, "%s.%s", n->name, role == t->role ? "weight" : "bias");
		return buf;
	}
	return emb_image_tensor_name(t, buf, size);
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

	own_name(s, &words, suffix, sizeof(suffix));
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

static EmbStatus
check_shape(const EmbTensor *source, const EmbImageTensor *t, int64_t first_row, EmbError *err)
{
	bool		is_vector = t->form == EMB_FORM_VECTOR_F32;
	long long	n_rows = (long long) first_row + t->n_rows;
	char		shape[EMB_TENSORS_MAX_RANK * 22] = "";
	size_t		at = 0;

	if (is_vector ? source->rank == 1 && source->shape[0] == t->n_cols
		: source->rank == 2 && source->shape[0] == n_rows && source->shape[1] == t->n_cols)
		return EMB_OK;
	for (int i = 0; i < source->rank; i++)
		at += snprintf(shape + at, sizeof(shape) - at, "%s%lld", i > 0 ? ", " : "", (long long) source->shape[i]);
	return is_vector
		? emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has shape [%s], but config.json wants [%u]",
					source->name, shape, t->n_cols)
		: emb_error(err, EMB_ERR_FORMAT, "tensor \"%s\" has shape [%s], but config.json wants [%lld, %u]",
					source->name, shape, n_rows, t->n_cols);
}

static EmbStatus
find_source(const Search *s, const EmbImageTensor *t, EmbSource *source, EmbError *err)
{
	char		base[128];
	char		name[NAME_BYTES];
	EmbImageTensor stored;
	EmbStatus	status;

	snprintf(name, sizeof(name), "%s%s", has_prefix(s, t->role) ? s->prefix : "", own_name(s, t, base, sizeof(base)));
	source->tensor = emb_tensors_find(s->tensors, name);
	if (source->tensor == NULL)
		source->tensor = find_old_name(s, name);
	if (source->tensor == NULL)
		return emb_error(err, EMB_ERR_NOT_FOUND, "the weights hold no tensor \"%s\"", name);
	/* the image begins with the padding's row */
	source->first_row = t->role == EMB_ROLE_POSITION_EMBEDDING && s->config->position_base > 0 ? s->config->position_base - 1 : 0;
	stored = *t;
	if (t->role == EMB_ROLE_DISTANCE_BIAS)
	{
		stored.n_rows = EMB_DISTANCE_BUCKETS;
		stored.n_cols = s->config->n_heads;
	}
	status = check_shape(source->tensor, &stored, source->first_row, err);
	if (status == EMB_OK)
		status = emb_tensors_check_dtype(s->tensors, source->tensor, err);
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
	status = find_prefix(&s, err);
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
