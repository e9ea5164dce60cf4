/*
 * arch.h
 *		The one description of a model's architecture.
 *
 * It holds everything that distinguishes one model from another, except
 * weights, tokenizer and prompts. An importer fills it, an image stores it
 * unchanged, the transformer reads it. No other code knows what a family is.
 *
 * Example:
 *
 *		EmbArch		arch = emb_arch_encoder();		// as BERT; then what differs
 *		arch.hidden = 384;
 *		emb_arch_check(&arch, err);
 *
 * Some values describe models that the transformer does not compute yet.
 * emb_arch_check refuses these values with EMB_ERR_UNSUPPORTED, so that such a
 * model is neither imported nor opened.
 */
#ifndef EMB_COMMON_ARCH_H
#define EMB_COMMON_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

/*
 * Bounds on sizes. They exceed every known encoder, and products of two or
 * three of them fit 63 bits.
 */
#define EMB_ARCH_MAX_HIDDEN			16384
#define EMB_ARCH_MAX_INTERMEDIATE	65536
#define EMB_ARCH_MAX_ATTENTION		65536	/* of all query heads */
#define EMB_ARCH_MAX_LAYERS			256
#define EMB_ARCH_MAX_VOCAB			4000000
#define EMB_ARCH_MAX_POSITIONS		1048576
#define EMB_ARCH_MAX_TYPES			1024
#define EMB_ARCH_MAX_LABELS			64
#define EMB_ARCH_MAX_ROTARY_BASE	1e12
#define EMB_ARCH_MAX_SPAN			4096
#define EMB_ARCH_MAX_RELATIVE		65536	/* positions of a model with disentangled attention */
#define EMB_ARCH_MAX_EXPERTS		64

/*
 * Relative position bias: distances key - query, from -EMB_DISTANCE_MAX on.
 * Larger distances count as the largest.
 */
#define EMB_DISTANCE_MAX	128
#define EMB_DISTANCES		(2 * EMB_DISTANCE_MAX + 1)

/* The numbers below are stored in images. */
typedef enum EmbActivation
{
	EMB_ACT_GELU = 1,			/* x/2 (1 + erf(x / sqrt 2)) */
	EMB_ACT_GELU_TANH = 2,		/* "gelu_new", "gelu_pytorch_tanh" */
	EMB_ACT_RELU = 3,
	EMB_ACT_SILU = 4,			/* x / (1 + e^-x), only in a GLU and in dense modules */
	EMB_ACT_TANH = 5			/* only in a score head and in dense modules */
} EmbActivation;

typedef enum EmbPooling
{
	EMB_POOL_CLS = 1,			/* the first row */
	EMB_POOL_MEAN = 2,			/* the mean of all rows, special tokens included */
	EMB_POOL_MAX = 3,			/* the maximum per element */
	EMB_POOL_MEAN_SQRT_LEN = 4, /* the sum of all rows divided by the square root of their number */
	EMB_POOL_LAST = 5,			/* the last row */
	EMB_POOL_WEIGHTED_MEAN = 6	/* the mean weighted by position: the first row counts once, the second twice, .. */
} EmbPooling;

/*
 * A model may concatenate several poolings: arch.pooling holds them in 4 bits each, the first in the
 * lowest, 0 after the last. So a single pooling is its number.
 */
#define EMB_POOLING_BITS	4
#define EMB_MAX_POOLINGS	6

typedef enum EmbNormKind
{
	EMB_NORM_LAYER = 1,			/* layer norm: mean and variance; gamma and beta */
	EMB_NORM_RMS = 2			/* root mean square; gamma only */
} EmbNormKind;

typedef enum EmbNormPlace
{
	EMB_NORM_POST = 1,			/* x = norm(x + f(x)) */
	EMB_NORM_PRE = 2,			/* x = x + f(norm(x)), and a norm after the last layer */
	EMB_NORM_AROUND = 3			/* x = x + norm(f(norm(x))), and a norm after the last layer */
} EmbNormPlace;

/* Norms of queries and keys, before they are rotated. */
typedef enum EmbQkNorm
{
	EMB_QK_NORM_NONE = 0,
	EMB_QK_NORM_HEADS = 1,		/* an RMS norm of each head */
	EMB_QK_NORM_ROWS = 2		/* a layer norm of all heads of a token together */
} EmbQkNorm;

/* Bits: a model may combine two of them. */
typedef enum EmbPositions
{
	EMB_POSITIONS_ABSOLUTE = 1, /* a table of vectors, added to the embeddings */
	EMB_POSITIONS_RELATIVE = 2, /* a bias added to attention scores, by head and distance */
	EMB_POSITIONS_ROTARY = 4,	/* RoPE: queries and keys are rotated */
	EMB_POSITIONS_ALIBI = 8,	/* scores less the distance times a slope of the head, see emb_arch_slope */
	EMB_POSITIONS_DISENTANGLED = 16	/* vectors of distances, which meet queries and keys (DeBERTa) */
} EmbPositions;

typedef enum EmbRotaryScaling
{
	EMB_ROTARY_PLAIN = 0,
	EMB_ROTARY_NTK = 1			/* fixed NTK: base and positions scaled by rotary_scale */
} EmbRotaryScaling;

/* The head after the layers. */
typedef enum EmbHead
{
	EMB_HEAD_NONE = 0,			/* an embedding model: pooling, dense modules */
	EMB_HEAD_SCORE = 1,			/* a reranker: classifier(norm(act(pooler(pooled row)))), see transformer/score.h */
	EMB_HEAD_ANSWER = 2,		/* a reranker: a difference of answer tokens' logits, see transformer/score.h */
	EMB_HEAD_MODULES = 3		/* a reranker: the last module's outputs are its logits, see transformer/score.h */
} EmbHead;

/* What a sparse head gives a weight to. */
typedef enum EmbSparseHead
{
	EMB_SPARSE_NONE = 0,
	EMB_SPARSE_TOKENS = 1,		/* each token of the text, see transformer/tokens.h */
	EMB_SPARSE_VOCABULARY = 2	/* each entry of the vocabulary, see transformer/vocabulary.h */
} EmbSparseHead;

/* Which tokens have a vector. */
typedef enum EmbMultiHead
{
	EMB_MULTI_BGE = 0,			/* all but the first; queries are read like documents */
	EMB_MULTI_COLBERT = 1		/* all but the skipped ones; see the fields of queries */
} EmbMultiHead;

/* Whose skipped tokens have no vector: bits. */
#define EMB_SKIPS_DOCUMENTS		1
#define EMB_SKIPS_QUERIES		2

/* What a module after the pooling computes. */
typedef enum EmbModuleKind
{
	EMB_MODULE_DENSE = 0,		/* y = activation(weight x + bias) */
	EMB_MODULE_LAYER_NORM = 1	/* y = layer norm of x, with gamma and beta if has_bias is 1, else without weights */
} EmbModuleKind;

/*
 * A module after the pooling.
 *
 *	offset	size
 *		0	   4	n_out; 0: no module, and all else is 0
 *		4	   4	activation: EmbActivation, 0 for none; a layer norm has none
 *		8	   4	has_bias: 0 or 1
 *	   12	   4	normalize: 1: x is divided by its norm before
 *	   16	   4	kind: EmbModuleKind
 *	   20	   4	eps: float, of a layer norm; else 0
 *	   24	   8	zero
 */
typedef struct EmbArchDense
{
	int32_t		n_out;
	int32_t		activation;
	int32_t		has_bias;
	int32_t		normalize;
	int32_t		kind;
	float		eps;
	uint8_t		reserved[8];
} EmbArchDense;

_Static_assert(sizeof(EmbArchDense) == 32, "EmbArchDense");

#define EMB_ARCH_MAX_DENSE	4

#define EMB_ARCH_FAMILY_BYTES	32

/*
 * Fields with "has_" and other yes-or-no fields are 0 or 1. A static model has
 * n_layers 0, and 0 in every field that describes layers.
 *
 *	offset	size
 *		0	  32	family: display name, zero-terminated and zero-filled; never interpreted
 *	   32	   4	hidden
 *	   36	   4	n_layers: 0 for a static model: the mean of its tokens' word embeddings
 *	   40	   4	n_heads: query heads
 *	   44	   4	n_kv_heads: key and value heads; divides n_heads
 *	   48	   4	head_size
 *	   52	   4	intermediate: inner size of the feed-forward network
 *	   56	   4	n_vocab
 *	   60	   4	n_positions: tokens of the longest sequence
 *	   64	   4	n_types: token types; 0: none
 *	   68	   4	activation: EmbActivation of the feed-forward network
 *	   72	   4	is_gated: GLU: act(gate x) * (up x) instead of act(up x)
 *	   76	   4	norm_kind: EmbNormKind
 *	   80	   4	norm_place: EmbNormPlace
 *	   84	   4	norm_eps: float
 *	   88	   4	has_embedding_norm: a norm of the embeddings, before the first layer
 *	   92	   4	has_first_norm: 0: with pre-norm, layer 0 has no norm before its attention
 *	   96	   4	has_qk_norm: EmbQkNorm
 *	  100	   4	is_causal: a token sees only earlier tokens
 *	  104	   4	positions: EmbPositions, bits
 *	  108	   4	position_base: padding offset of absolute positions. 0: the first token has row 0. Else 1 + the
 *				padding's id: padding has row 0 and does not count, the first token has row 1
 *	  112	   4	rotary_scaling: EmbRotaryScaling
 *	  116	   4	embedding_scale: float, a factor of the word embeddings
 *	  120	   8	rotary_base: double; frequencies are its powers
 *	  128	   8	rotary_local_base: double, in layers with a sliding window
 *	  136	   8	rotary_scale: double, 1 or more
 *	  144	   4	window: tokens that a local layer sees on each side; 0: all layers are global
 *	  148	   4	global_every: with a window: layers global_first, global_first + n, .. are global
 *	  152	   4	global_first
 *	  156	   4	pooling: EmbPooling, or several, see EMB_POOLING_BITS
 *	  160	   4	normalize: the result is divided by its norm
 *	  164	   4	n_dense: modules after the pooling
 *	  168	 128	dense: EmbArchDense[4]
 *	  296	   4	has_sparse: EmbSparseHead
 *	  300	   4	multi_dim: elements of a token vector; 0: no such head
 *	  304	   4	head: EmbHead
 *	  308	   4	head_activation: EmbActivation; this and the next two: score head only
 *	  312	   4	head_has_norm
 *	  316	   4	head_has_bias: bias of its dense layer
 *	  320	   4	n_labels: outputs of the classifier or of the last module; answers of an answer head: 1 (yes) or 2 (yes, no)
 *	  324	   4	has_output: a matrix from hidden to the vocabulary is used
 *	  328	   4	is_output_tied: this matrix is the word embeddings
 *	  332	   4	embedding_size: of embeddings that a matrix projects to hidden; 0: they have the hidden size
 *	  336	   4	label: the output that is the score, if a classifier or the modules have several
 *	  340	   4	centers_cut: a vector that is cut to its first elements gets a layer norm without weights before. The cut
 *				vector is divided by its norm, so that only the mean matters: it is subtracted
 *	  344	   4	relative_span: disentangled attention: vectors of distances on each side; else 0, and so are the next two
 *	  348	   4	relative_max: distances from half of the span to this one share vectors by their logarithm; 0: they do not
 *	  352	   4	relative_normed: the vectors of distances pass a layer norm
 *	  356	  40	zero
 *	  396	   4	has_second_norm: post-norm: x = norm2(x + norm(x + attention(x)))
 *	  400	   4	n_experts: feed-forward networks beside each other, in layers expert_first, expert_first + expert_every, ..;
 *				0: no layer has several, and so are the next three
 *	  404	   4	experts_used: by a token, those that the router gives most
 *	  408	   4	expert_every
 *	  412	   4	expert_first
 *	  416	   4	lacks_vector: the model returns outputs of tokens only, and no vector of a text
 *	  420	   4	lm_activation: EmbActivation of the head over the vocabulary; this and the next two: only with
 *				EMB_SPARSE_VOCABULARY
 *	  424	   4	sparse_logs: how often log(1 + x) is taken of a weight: 1 or 2
 *	  428	   4	sparse_max: number of weights that are kept, the largest; 0: all
 *	  432	   4	has_query_weights: queries are read by a table of weights of tokens
 *	  436	   4	multi_kind: EmbMultiHead; this and the next ones: only with token vectors, and only of ColBERT's kind
 *	  440	   4	query_tokens: a query is cut to this number of tokens; 0: to the image's max_tokens
 *	  444	   4	query_floor: a query of fewer tokens is filled up to this number; 0: it is not
 *	  448	   4	expansion_id: with which it is filled
 *	  452	   4	sees_expansion: these tokens are keys of attention; else they see the others and nobody sees them
 *	  456	   4	n_skipped: ids whose tokens have no vector
 *	  460	   4	skips: of which texts, bits
 *	  464	  48	zero
 */
typedef struct EmbArch
{
	char		family[EMB_ARCH_FAMILY_BYTES];
	int32_t		hidden;
	int32_t		n_layers;
	int32_t		n_heads;
	int32_t		n_kv_heads;
	int32_t		head_size;
	int32_t		intermediate;
	int32_t		n_vocab;
	int32_t		n_positions;
	int32_t		n_types;
	int32_t		activation;
	int32_t		is_gated;
	int32_t		norm_kind;
	int32_t		norm_place;
	float		norm_eps;
	int32_t		has_embedding_norm;
	int32_t		has_first_norm;
	int32_t		has_qk_norm;
	int32_t		is_causal;
	int32_t		positions;
	int32_t		position_base;
	int32_t		rotary_scaling;
	float		embedding_scale;
	double		rotary_base;
	double		rotary_local_base;
	double		rotary_scale;
	int32_t		window;
	int32_t		global_every;
	int32_t		global_first;
	int32_t		pooling;
	int32_t		normalize;
	int32_t		n_dense;
	EmbArchDense dense[EMB_ARCH_MAX_DENSE];
	int32_t		has_sparse;
	int32_t		multi_dim;
	int32_t		head;
	int32_t		head_activation;
	int32_t		head_has_norm;
	int32_t		head_has_bias;
	int32_t		n_labels;
	int32_t		has_output;
	int32_t		is_output_tied;
	int32_t		embedding_size;
	int32_t		label;
	int32_t		centers_cut;
	int32_t		relative_span;
	int32_t		relative_max;
	int32_t		relative_normed;
	uint8_t		reserved[40];
	int32_t		has_second_norm;
	int32_t		n_experts;
	int32_t		experts_used;
	int32_t		expert_every;
	int32_t		expert_first;
	int32_t		lacks_vector;
	int32_t		lm_activation;
	int32_t		sparse_logs;
	int32_t		sparse_max;
	int32_t		has_query_weights;
	int32_t		multi_kind;
	int32_t		query_tokens;
	int32_t		query_floor;
	int32_t		expansion_id;
	int32_t		sees_expansion;
	int32_t		n_skipped;
	int32_t		skips;
	uint8_t		reserved_end[48];
} EmbArch;

_Static_assert(sizeof(EmbArch) == 512, "EmbArch");
_Static_assert(offsetof(EmbArch, rotary_base) == 120 && offsetof(EmbArch, dense) == 168 && offsetof(EmbArch, reserved) == 356 &&
			   offsetof(EmbArch, lacks_vector) == 416, "EmbArch");

/*
 * An encoder like BERT, without sizes: post-norm, absolute positions, every
 * token visible, mean pooling.
 */
extern EmbArch emb_arch_encoder(void);

/* Sets the head sizes that follow from hidden and n_heads, without grouped keys. */
extern void emb_arch_set_heads(EmbArch *arch, int32_t n_heads);

/*
 * ALiBi's slope of a head (Press et al. 2022): of n heads, n a power of two,
 * head i = 0, 1, .. has 2^(-8 (i + 1) / n). Of other numbers the largest power
 * of two below makes the first slopes, every second of twice that power the
 * others.
 */
extern float emb_arch_slope(const EmbArch *arch, int32_t head);

/* A static model, without sizes. */
extern EmbArch emb_arch_static(void);

/*
 * Checks that every value is in its domain and fits the other values:
 * EMB_ERR_FORMAT. What the transformer does not compute: EMB_ERR_UNSUPPORTED
 * with a hint.
 */
extern EmbStatus emb_arch_check(const EmbArch *arch, EmbError *err);

/* The pooling that stands in place i; 0: there are fewer. */
static inline EmbPooling
emb_arch_pooling(const EmbArch *arch, int i)
{
	return (EmbPooling) ((uint32_t) arch->pooling >> (i * EMB_POOLING_BITS) & ((1 << EMB_POOLING_BITS) - 1));
}

static inline int
emb_arch_n_poolings(const EmbArch *arch)
{
	int			n = 0;

	while (n < EMB_MAX_POOLINGS && emb_arch_pooling(arch, n) != 0)
		n++;
	return n;
}

/* Elements of a pooled text: what the first module reads. */
static inline int32_t
emb_arch_pooled_width(const EmbArch *arch)
{
	return arch->hidden * emb_arch_n_poolings(arch);
}

/* Elements that module i reads. */
static inline int32_t
emb_arch_module_inputs(const EmbArch *arch, int i)
{
	return i > 0 ? arch->dense[i - 1].n_out : emb_arch_pooled_width(arch);
}

/*
 * Number of elements that the model returns for a sequence: the vector's, or 1
 * for a reranker, or 0 if the model has only outputs of tokens.
 */
static inline int32_t
emb_arch_width(const EmbArch *arch)
{
	if (arch->lacks_vector)
		return 0;
	if (arch->head != EMB_HEAD_NONE)
		return 1;
	return arch->n_dense > 0 ? arch->dense[arch->n_dense - 1].n_out : emb_arch_pooled_width(arch);
}

/*
 * Whether the pooled row itself is divided by its norm: at the end, or before
 * the first module.
 */
static inline bool
emb_arch_normalizes_pooled(const EmbArch *arch)
{
	return (arch->n_dense > 0 ? arch->dense[0].normalize : arch->normalize) != 0;
}

/* Elements of the embeddings and of their norm. */
static inline int32_t
emb_arch_embedding_width(const EmbArch *arch)
{
	return arch->embedding_size > 0 ? arch->embedding_size : arch->hidden;
}

/* Rows in the table of absolute positions; the padding's row comes first. */
static inline int32_t
emb_arch_position_rows(const EmbArch *arch)
{
	return arch->n_positions + (arch->position_base > 0);
}

/*
 * Elements of a token's queries and of its context, all heads together; of its
 * keys, and of its values.
 */
static inline int32_t
emb_arch_query_width(const EmbArch *arch)
{
	return arch->n_heads * arch->head_size;
}

static inline int32_t
emb_arch_key_width(const EmbArch *arch)
{
	return arch->n_kv_heads * arch->head_size;
}

/* Elements that a norm of queries or of keys has, of which there are width. */
static inline int32_t
emb_arch_qk_norm_width(const EmbArch *arch, int32_t width)
{
	return arch->has_qk_norm == EMB_QK_NORM_ROWS ? width : arch->head_size;
}

/* Whether the input of attention and of the feed-forward network is normed, and the output of the last layer. */
static inline bool
emb_arch_has_final_norm(const EmbArch *arch)
{
	return arch->n_layers > 0 && arch->norm_place != EMB_NORM_POST;
}

/* Query heads that share a key head. */
static inline int32_t
emb_arch_group(const EmbArch *arch)
{
	return arch->n_heads / arch->n_kv_heads;
}

/* Elements per row of the feed-forward network, gates included. */
static inline int32_t
emb_arch_wide(const EmbArch *arch)
{
	return arch->is_gated ? 2 * arch->intermediate : arch->intermediate;
}

/*
 * Whether the product with quantized weights of the feed-forward network
 * computes the GLU itself: its rows are 16 gates, their 16 values, the next 16
 * gates. Else, and in fp32, all gates come before all values.
 */
static inline bool
emb_arch_pairs_gates(const EmbArch *arch)
{
	return arch->is_gated && arch->intermediate % 16 == 0;
}

/*
 * Disentangled attention: which of the 2 relative_span vectors of distances
 * the distance query - key has, below 0 as well. Within half of the span each
 * distance has its own (He et al. 2021, equation 3, and transformers' code for
 * the rest). Never decreases with the distance.
 */
extern int32_t emb_arch_bucket(const EmbArch *arch, int32_t distance);

/* Whether a layer attends only within the sliding window. */
static inline bool
emb_arch_is_local(const EmbArch *arch, int32_t layer)
{
	return arch->window > 0 && layer % arch->global_every != arch->global_first;
}

/* Whether a router chooses among several feed-forward networks in a layer. */
static inline bool
emb_arch_has_experts(const EmbArch *arch, int32_t layer)
{
	return arch->n_experts > 0 && layer % arch->expert_every == arch->expert_first;
}

/* Minimum number of tokens per sequence: a static model accepts a text without tokens. */
static inline int32_t
emb_arch_min_tokens(const EmbArch *arch)
{
	return arch->n_layers > 0 ? 1 : 0;
}

#endif
