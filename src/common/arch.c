/*
 * arch.c
 *		Architectures: the default ones, and the check of what can be
 *		computed.
 */
#include "common/arch.h"

#include <math.h>
#include <string.h>

EmbArch
emb_arch_encoder(void)
{
	return (EmbArch) {
		.norm_kind = EMB_NORM_LAYER,
		.norm_place = EMB_NORM_POST,
		.has_embedding_norm = 1,
		.has_first_norm = 1,
		.positions = EMB_POSITIONS_ABSOLUTE,
		.embedding_scale = 1,
		.pooling = EMB_POOL_MEAN,
	};
}

void
emb_arch_set_heads(EmbArch *arch, int32_t n_heads)
{
	arch->n_heads = n_heads;
	arch->n_kv_heads = n_heads;
	arch->head_size = n_heads > 0 ? arch->hidden / n_heads : 0;
}

/* 2^(-8 / n), n a power of two: roots and squares alone, so that the bits are those of every machine. */
static double
first_slope(int32_t n)
{
	double		slope = 1.0 / 256;

	for (; n > 1; n /= 2)
		slope = sqrt(slope);
	return slope;
}

float
emb_arch_slope(const EmbArch *arch, int32_t head)
{
	int32_t		n = 1;
	int32_t		power = head + 1;
	double		first;
	double		slope;

	while (n <= arch->n_heads / 2)
		n *= 2;
	if (head >= n)
	{
		power = 2 * (head - n) + 1;
		n *= 2;
	}
	slope = first = first_slope(n);
	for (int32_t i = 1; i < power; i++)
		slope *= first;
	return (float) slope;
}

EmbArch
emb_arch_static(void)
{
	return (EmbArch) {.n_positions = EMB_ARCH_MAX_POSITIONS, .embedding_scale = 1, .pooling = EMB_POOL_MEAN};
}

/* ------------------------------------------------------------- domains */

typedef struct Field
{
	const char *name;
	int64_t		value,
				min,
				max;
} Field;

#define N_FIELDS(fields)	(sizeof(fields) / sizeof((fields)[0]))

static EmbStatus
check_fields(const Field *fields, size_t n, EmbError *err)
{
	for (size_t i = 0; i < n; i++)
	{
		if (fields[i].value < fields[i].min || fields[i].value > fields[i].max)
			return emb_error(err, EMB_ERR_FORMAT, "the model's %s is %lld, outside %lld..%lld", fields[i].name,
							 (long long) fields[i].value, (long long) fields[i].min, (long long) fields[i].max);
	}
	return EMB_OK;
}

/* Fields of every model. */
static EmbStatus
check_model(const EmbArch *arch, EmbError *err)
{
	const int	has_layers = arch->n_layers != 0;
	const int	has_vector = arch->head == EMB_HEAD_NONE;
	const int	is_score = arch->head == EMB_HEAD_SCORE;
	const int	has_lm = arch->has_sparse == EMB_SPARSE_VOCABULARY;
	const int	is_modules = arch->head == EMB_HEAD_MODULES;
	const int	is_answer = arch->head == EMB_HEAD_ANSWER;
	const int	is_colbert = arch->multi_kind == EMB_MULTI_COLBERT;
	const int	expands = is_colbert && arch->query_floor > 0;
	const Field fields[] =
	{
		{"head", arch->head, EMB_HEAD_NONE, has_layers ? EMB_HEAD_MODULES : EMB_HEAD_NONE},
		{"hidden size", arch->hidden, 1, EMB_ARCH_MAX_HIDDEN},
		{"layer count", arch->n_layers, 0, EMB_ARCH_MAX_LAYERS},
		{"vocabulary size", arch->n_vocab, 1, EMB_ARCH_MAX_VOCAB},
		{"position count", arch->n_positions, 1, EMB_ARCH_MAX_POSITIONS},
		{"normalize", arch->normalize, 0, has_vector},
		{"dense module count", arch->n_dense, is_modules, has_vector || is_modules ? EMB_ARCH_MAX_DENSE : 0},
		{"sparse head", arch->has_sparse, EMB_SPARSE_NONE, has_layers && has_vector ? EMB_SPARSE_VOCABULARY : EMB_SPARSE_NONE},
		{"token vectors' size", arch->multi_dim, 0, has_layers && has_vector ? EMB_ARCH_MAX_HIDDEN : 0},
		{"head's activation", arch->head_activation, is_score, is_score ? EMB_ACT_TANH : 0},
		{"head's norm", arch->head_has_norm, 0, is_score},
		{"head's bias", arch->head_has_bias, 0, is_score},
		{"label count", arch->n_labels, !has_vector, has_vector ? 0 : is_answer ? 2 : EMB_ARCH_MAX_LABELS},
		{"label", arch->label, 0, is_score || is_modules ? (int64_t) arch->n_labels - 1 : 0},
		{"layer norm before a cut", arch->centers_cut, 0, has_vector},
		{"output matrix", arch->has_output, 0, has_layers},
		{"tied output", arch->is_output_tied, 0, arch->has_output},
		{"lack of a vector", arch->lacks_vector, 0, arch->has_sparse != 0 || arch->multi_dim > 0},
		{"vocabulary head's activation", arch->lm_activation, has_lm, has_lm * EMB_ACT_TANH},
		{"logarithms of a weight", arch->sparse_logs, has_lm, has_lm * 2},
		{"number of weights", arch->sparse_max, 0, has_lm * EMB_ARCH_MAX_VOCAB},
		{"query weights", arch->has_query_weights, 0, has_lm},
		{"kind of token vectors", arch->multi_kind, EMB_MULTI_BGE, arch->multi_dim > 0 ? EMB_MULTI_COLBERT : EMB_MULTI_BGE},
		{"length of queries", arch->query_tokens, expands ? arch->query_floor : 0, is_colbert ? arch->n_positions : 0},
		{"length of expanded queries", arch->query_floor, 0, is_colbert ? arch->n_positions : 0},
		{"token of expanded queries", arch->expansion_id, 0, expands ? arch->n_vocab - 1 : 0},
		{"attention to expansion tokens", arch->sees_expansion, 0, expands},
		{"number of skipped tokens", arch->n_skipped, 0, is_colbert ? arch->n_vocab : 0},
		{"texts with skipped tokens", arch->skips, arch->n_skipped > 0, arch->n_skipped > 0 ? EMB_SKIPS_DOCUMENTS | EMB_SKIPS_QUERIES : 0},
	};

	return check_fields(fields, N_FIELDS(fields), err);
}

/* Fields of layers; a model without layers has 0 in all of them. */
static EmbStatus
check_layers(const EmbArch *arch, EmbError *err)
{
	const int	one = arch->n_layers != 0;
	const int	rotary = (arch->positions & EMB_POSITIONS_ROTARY) != 0;
	const int	absolute = (arch->positions & EMB_POSITIONS_ABSOLUTE) != 0;
	const int	windowed = one && arch->window > 0;
	const int	experts = one && arch->n_experts > 0;
	const int	distances = one && (arch->positions & EMB_POSITIONS_DISENTANGLED) != 0;
	const Field fields[] =
	{
		{"head count", arch->n_heads, one, one * EMB_ARCH_MAX_HIDDEN},
		{"key head count", arch->n_kv_heads, one, one * EMB_ARCH_MAX_HIDDEN},
		{"head size", arch->head_size, one, one * EMB_ARCH_MAX_HIDDEN},
		{"intermediate size", arch->intermediate, one, one * EMB_ARCH_MAX_INTERMEDIATE},
		{"type count", arch->n_types, 0, one * EMB_ARCH_MAX_TYPES},
		{"activation", arch->activation, one, one * (arch->is_gated == 1 ? EMB_ACT_SILU : EMB_ACT_RELU)},
		{"gate", arch->is_gated, 0, one},
		{"kind of norms", arch->norm_kind, one, one * EMB_NORM_RMS},
		{"place of norms", arch->norm_place, one, one * EMB_NORM_AROUND},
		{"embedding norm", arch->has_embedding_norm, 0, one},
		{"first norm", arch->has_first_norm, one && arch->norm_place == EMB_NORM_POST, one},
		{"query and key norm", arch->has_qk_norm, EMB_QK_NORM_NONE, one * EMB_QK_NORM_ROWS},
		{"second norm after attention", arch->has_second_norm, 0, one},
		{"causality", arch->is_causal, 0, one},
		{"positions", arch->positions, 0, one * (EMB_POSITIONS_ABSOLUTE | EMB_POSITIONS_RELATIVE | EMB_POSITIONS_ROTARY | EMB_POSITIONS_ALIBI | EMB_POSITIONS_DISENTANGLED)},
		{"vectors of distances", arch->relative_span, distances, distances * EMB_ARCH_MAX_SPAN},
		{"largest distance", arch->relative_max, 0, distances * EMB_ARCH_MAX_RELATIVE},
		{"norm of distances", arch->relative_normed, 0, distances},
		{"position base", arch->position_base, 0, absolute ? arch->n_vocab : 0},
		{"rotary scaling", arch->rotary_scaling, 0, rotary ? EMB_ROTARY_NTK : 0},
		{"window", arch->window, 0, one * EMB_ARCH_MAX_POSITIONS},
		{"distance between global layers", arch->global_every, windowed, windowed ? EMB_ARCH_MAX_LAYERS : 0},
		{"embedding size", arch->embedding_size, 0, one * EMB_ARCH_MAX_HIDDEN},
		{"expert count", arch->n_experts, 0, one * EMB_ARCH_MAX_EXPERTS},
		{"count of experts of a token", arch->experts_used, experts, experts ? arch->n_experts : 0},
		{"distance between layers of experts", arch->expert_every, experts, experts * EMB_ARCH_MAX_LAYERS},
		{"first layer of experts", arch->expert_first, 0, experts ? (int64_t) arch->expert_every - 1 : 0},
		{"first global layer", arch->global_first, 0, windowed ? (int64_t) arch->global_every - 1 : 0},
	};

	return check_fields(fields, N_FIELDS(fields), err);
}

static bool
is_base(double base)
{
	return base >= 1 && base <= EMB_ARCH_MAX_ROTARY_BASE;
}

/* Floats are 0 if their feature is absent. */
static EmbStatus
check_floats(const EmbArch *arch, EmbError *err)
{
	bool		has_layers = arch->n_layers > 0;
	bool		rotary = (arch->positions & EMB_POSITIONS_ROTARY) != 0;
	bool		local = rotary && arch->window > 0;

	if (has_layers ? !(arch->norm_eps >= 1e-31f && arch->norm_eps <= 1.0f) : arch->norm_eps != 0)
		return emb_error(err, EMB_ERR_FORMAT, "the model's norm epsilon is %g", (double) arch->norm_eps);
	if (rotary ? !is_base(arch->rotary_base) : arch->rotary_base != 0)
		return emb_error(err, EMB_ERR_FORMAT, "the model's rotary base is %g", arch->rotary_base);
	if (local ? !is_base(arch->rotary_local_base) : arch->rotary_local_base != 0)
		return emb_error(err, EMB_ERR_FORMAT, "the model's local rotary base is %g", arch->rotary_local_base);
	if (rotary ? !(arch->rotary_scale >= 1 && arch->rotary_scale <= 1024) : arch->rotary_scale != 0)
		return emb_error(err, EMB_ERR_FORMAT, "the model's rotary scale is %g", arch->rotary_scale);
	if (!(arch->embedding_scale > 0 && arch->embedding_scale <= EMB_ARCH_MAX_HIDDEN))
		return emb_error(err, EMB_ERR_FORMAT, "the model's embedding scale is %g", (double) arch->embedding_scale);
	return EMB_OK;
}

/* Each pooling is known and stands once; none follows an empty place. */
static EmbStatus
check_pooling(const EmbArch *arch, EmbError *err)
{
	int			n = emb_arch_n_poolings(arch);
	uint32_t	seen = 0;
	bool		is_right = n > 0 && (uint32_t) arch->pooling >> (n * EMB_POOLING_BITS) == 0;

	for (int i = 0; i < n; i++)
	{
		EmbPooling	pooling = emb_arch_pooling(arch, i);

		is_right &= pooling <= EMB_POOL_WEIGHTED_MEAN && (seen & 1u << pooling) == 0;
		seen |= 1u << pooling;
	}
	if (!is_right)
		return emb_error(err, EMB_ERR_FORMAT, "the model's pooling is %d, which is no list of 1 to %d poolings", arch->pooling,
						 EMB_MAX_POOLINGS);
	if (emb_arch_pooled_width(arch) > EMB_ARCH_MAX_HIDDEN)
		return emb_error(err, EMB_ERR_FORMAT, "the model's %d poolings of %d elements are wider than %d", n, arch->hidden,
						 EMB_ARCH_MAX_HIDDEN);
	return EMB_OK;
}

static EmbStatus
check_module(const EmbArch *arch, int i, EmbError *err)
{
	const EmbArchDense *dense = &arch->dense[i];
	const bool	is_norm = dense->kind == EMB_MODULE_LAYER_NORM;
	const int32_t n_in = emb_arch_module_inputs(arch, i);
	const Field fields[] =
	{
		{"dense module's size", dense->n_out, is_norm ? n_in : 1, is_norm ? n_in : EMB_ARCH_MAX_HIDDEN},
		{"dense module's activation", dense->activation, 0, is_norm ? 0 : EMB_ACT_TANH},
		{"dense module's bias", dense->has_bias, 0, 1},
		{"dense module's norm", dense->normalize, 0, 1},
		{"dense module's kind", dense->kind, EMB_MODULE_DENSE, EMB_MODULE_LAYER_NORM},
	};
	EmbStatus	status = check_fields(fields, N_FIELDS(fields), err);

	if (status == EMB_OK && (is_norm ? !(dense->eps >= 1e-31f && dense->eps <= 1.0f) : dense->eps != 0))
		return emb_error(err, EMB_ERR_FORMAT, "the epsilon of the model's module %d is %g", i + 1, (double) dense->eps);
	return status;
}

static EmbStatus
check_modules(const EmbArch *arch, EmbError *err)
{
	static const EmbArchDense none;

	for (int i = 0; i < EMB_ARCH_MAX_DENSE; i++)
	{
		const EmbArchDense *dense = &arch->dense[i];
		bool		is_there = i < arch->n_dense;
		EmbStatus	status = is_there ? check_module(arch, i, err) : EMB_OK;

		if (status != EMB_OK)
			return status;
		if (memcmp(is_there ? dense->reserved : (const void *) dense, &none, is_there ? sizeof(dense->reserved) : sizeof(none)) != 0)
			return emb_error(err, EMB_ERR_FORMAT, "the model's dense module %d has bytes that must be zero", i + 1);
	}
	if (arch->head == EMB_HEAD_MODULES && arch->dense[arch->n_dense - 1].n_out != arch->n_labels)
		return emb_error(err, EMB_ERR_FORMAT, "the model's last module has %d outputs, but the model has %d labels",
						 arch->dense[arch->n_dense - 1].n_out, arch->n_labels);
	return EMB_OK;
}

static EmbStatus
check_family(const EmbArch *arch, EmbError *err)
{
	size_t		len = strnlen(arch->family, sizeof(arch->family));

	for (size_t i = 0; i < sizeof(arch->family); i++)
	{
		char		c = arch->family[i];
		bool		is_name = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';

		if (len == 0 || len == sizeof(arch->family) || (i < len ? !is_name : c != '\0'))
			return emb_error(err, EMB_ERR_FORMAT, "the model's family is not a name of 1 to %zu letters", sizeof(arch->family) - 1);
	}
	return EMB_OK;
}

int32_t
emb_arch_bucket(const EmbArch *arch, int32_t distance)
{
	int32_t		middle = arch->relative_span / 2;
	int32_t		last = 2 * arch->relative_span - 1;
	int32_t		size = distance < 0 ? -distance : distance;
	double		bucket = size;

	if (arch->relative_max > 0 && size > middle)
		bucket = ceil(log((double) size / middle) / log((double) (arch->relative_max - 1) / middle) * (middle - 1)) + middle;
	bucket = arch->relative_span + (distance < 0 ? -bucket : bucket);
	return bucket < 0 ? 0 : bucket > last ? last : (int32_t) bucket;
}

/* ---------------------------------------------------------- what we compute */

static EmbStatus
refuse(const char *what, EmbError *err)
{
	emb_error(err, EMB_ERR_UNSUPPORTED, "the model has %s, which this version does not compute", what);
	return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "A later version of embed may; until then use another model.");
}

static EmbStatus
check_computed(const EmbArch *arch, EmbError *err)
{
	const struct
	{
		bool		is_there;
		const char *what;
	}			missing[] =
	{
		{arch->has_qk_norm == EMB_QK_NORM_HEADS && arch->norm_kind != EMB_NORM_RMS, "query and key norms of heads other than RMS norms"},
		{arch->has_qk_norm == EMB_QK_NORM_ROWS && arch->norm_kind != EMB_NORM_LAYER, "query and key norms of rows other than layer norms"},
		{arch->has_second_norm != 0 && (arch->norm_place != EMB_NORM_POST || arch->norm_kind != EMB_NORM_LAYER), "a second norm without post-norm layer norms"},
		{arch->is_causal != 0 && (arch->positions & EMB_POSITIONS_RELATIVE) != 0, "relative position bias in causal attention"},
		{arch->n_layers > 0 && arch->positions == 0, "no positions"},
		{arch->positions == EMB_POSITIONS_RELATIVE, "relative position bias without absolute positions"},
		{(arch->positions & EMB_POSITIONS_ALIBI) != 0 && arch->positions != EMB_POSITIONS_ALIBI, "ALiBi beside other positions"},
		{(arch->positions & EMB_POSITIONS_ALIBI) != 0 && arch->is_causal != 0, "ALiBi in causal attention"},
		{(arch->positions & EMB_POSITIONS_ALIBI) != 0 && arch->n_heads != arch->n_kv_heads, "ALiBi with shared key heads"},
		{(arch->positions & EMB_POSITIONS_ROTARY) != 0 && arch->positions != EMB_POSITIONS_ROTARY, "RoPE beside other positions"},
		{arch->window > 0 && arch->positions != EMB_POSITIONS_ROTARY, "a sliding window without RoPE"},
		{(arch->positions & EMB_POSITIONS_DISENTANGLED) != 0 && arch->positions != EMB_POSITIONS_DISENTANGLED, "disentangled attention beside other positions"},
		{arch->relative_span > 0 && (arch->is_causal != 0 || arch->window > 0 || arch->n_kv_heads != arch->n_heads || arch->norm_kind != EMB_NORM_LAYER),
		"disentangled attention that is causal, windowed or grouped, or RMS norms"},
		{arch->n_experts > 0 && arch->is_gated != 0, "experts with gates"},
		{arch->embedding_scale != 1, "scaled embeddings"},
		{arch->n_layers == 0 && arch->pooling != EMB_POOL_MEAN, "no layers, but a pooling other than mean"},
		{arch->head == EMB_HEAD_SCORE && emb_arch_n_poolings(arch) > 1, "a head that reads several poolings"},
		{arch->head == EMB_HEAD_SCORE && arch->head_activation == EMB_ACT_SILU, "a head with silu"},
		{arch->head_has_norm != 0 && arch->norm_kind == EMB_NORM_RMS, "a head with an RMS norm"},
		{arch->has_output != 0, "an output matrix"},
		{arch->has_sparse == EMB_SPARSE_VOCABULARY && arch->is_causal != 0, "a head over the vocabulary after causal attention"},
		{arch->has_sparse == EMB_SPARSE_VOCABULARY && arch->norm_kind == EMB_NORM_RMS, "a head over the vocabulary with an RMS norm"},
		{arch->lm_activation == EMB_ACT_SILU, "a head over the vocabulary with silu"},
		{arch->lacks_vector != 0 && arch->n_dense > 0, "dense modules without a vector"},
		{arch->query_floor > 0 && !arch->sees_expansion && arch->is_causal != 0, "unseen expansion tokens in causal attention"},
	};

	for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++)
	{
		if (missing[i].is_there)
			return refuse(missing[i].what, err);
	}
	return EMB_OK;
}

static bool
is_zero(const uint8_t *p, size_t n)
{
	while (n > 0 && p[n - 1] == 0)
		n--;
	return n == 0;
}

EmbStatus
emb_arch_check(const EmbArch *arch, EmbError *err)
{
	EmbStatus	status;

	if ((status = check_family(arch, err)) != EMB_OK ||
		(status = check_model(arch, err)) != EMB_OK ||
		(status = check_layers(arch, err)) != EMB_OK ||
		(status = check_floats(arch, err)) != EMB_OK ||
		(status = check_pooling(arch, err)) != EMB_OK ||
		(status = check_modules(arch, err)) != EMB_OK)
		return status;
	if (!is_zero(arch->reserved, sizeof(arch->reserved)) || !is_zero(arch->reserved_end, sizeof(arch->reserved_end)))
		return emb_error(err, EMB_ERR_FORMAT, "the model's architecture has bytes that must be zero");
	/* the logarithms need a middle of 1 or more, and a largest distance beyond it */
	if (arch->relative_max > 0 && (arch->relative_span < 2 || arch->relative_max - 1 <= arch->relative_span / 2))
		return emb_error(err, EMB_ERR_FORMAT, "the model's largest distance %d does not fit its %d vectors of distances", arch->relative_max, arch->relative_span);
	if (arch->relative_span > 0 && arch->n_positions > EMB_ARCH_MAX_RELATIVE)
		return emb_error(err, EMB_ERR_FORMAT, "the model's position count is %d, more than %d", arch->n_positions, EMB_ARCH_MAX_RELATIVE);
	if (arch->n_layers > 0 && arch->n_heads % arch->n_kv_heads != 0)
		return emb_error(err, EMB_ERR_FORMAT, "the model's head count %d is not a multiple of its key head count %d",
						 arch->n_heads, arch->n_kv_heads);
	if ((int64_t) arch->n_heads * arch->head_size > EMB_ARCH_MAX_ATTENTION)
		return emb_error(err, EMB_ERR_FORMAT, "the model's %d heads of size %d have more than %d elements in all",
						 arch->n_heads, arch->head_size, EMB_ARCH_MAX_ATTENTION);
	if ((arch->positions & EMB_POSITIONS_ROTARY) != 0 && arch->head_size % 2 != 0)
		return emb_error(err, EMB_ERR_FORMAT, "the model's head size %d is odd, but RoPE rotates pairs", arch->head_size);
	return check_computed(arch, err);
}
