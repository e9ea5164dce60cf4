/*
 * parts.h
 *		Keys of a model's tensors: layer, part and kind.
 *
 * A checkpoint finds its tensors by these keys, whatever names its files use,
 * and an image stores them under these keys.
 *
 * Example:
 *
 *		EmbTensorKey key = {3, EMB_PART_FFN_DOWN, EMB_TENSOR_BIAS};
 *		emb_tensor_name(key, buf, sizeof(buf));			// "layer.3.ffn_down.bias"
 */
#ifndef EMB_COMMON_PARTS_H
#define EMB_COMMON_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers are stored in images: a new part takes the next free number. */
typedef enum EmbPart
{
	/* whole model, layer EMB_NO_LAYER */
	EMB_PART_WORDS = 1,			/* word embeddings */
	EMB_PART_POSITIONS = 2,		/* absolute positions */
	EMB_PART_TYPES = 3,			/* token types */
	EMB_PART_EMBEDDING_NORM = 4,
	EMB_PART_FINAL_NORM = 5,
	EMB_PART_DISTANCES = 6,		/* relative position bias, by head and distance */
	EMB_PART_ROTARY = 7,		/* RoPE: cosines and sines, computed at import */
	EMB_PART_ROTARY_LOCAL = 8,	/* the same for layers with a sliding window */
	EMB_PART_POOLER = 9,		/* score head: dense layer, norm and last layer */
	EMB_PART_HEAD_NORM = 10,
	EMB_PART_CLASSIFIER = 11,
	EMB_PART_SPARSE = 12,		/* token heads */
	EMB_PART_MULTI = 13,
	EMB_PART_DENSE_1 = 14,		/* modules after the pooling */
	EMB_PART_DENSE_2 = 15,
	EMB_PART_ANSWERS = 16,		/* answer head: rows of its answers, "yes" before "no" */
	EMB_PART_EMBEDDING_PROJECTION = 20,	/* from the embeddings' size to hidden, after their norm */
	EMB_PART_LM_DENSE = 24,		/* head over the vocabulary: dense layer, norm, and one row for each entry */
	EMB_PART_LM_NORM = 25,
	EMB_PART_LM_OUT = 26,
	EMB_PART_QUERY_WEIGHTS = 27,	/* weights of tokens of a query */
	EMB_PART_DENSE_3 = 17,
	EMB_PART_DENSE_4 = 18,
	EMB_PART_RELATIVE = 19,		/* vectors of distances, and their norm: only in checkpoints */
	EMB_PART_RELATIVE_NORM = 21,
	EMB_PART_SKIPPED = 28,		/* ids of tokens without a vector, ascending: floats hold them exactly */

	/* per layer */
	EMB_PART_ATTN_NORM = 32,
	EMB_PART_QUERY = 33,
	EMB_PART_KEY = 34,
	EMB_PART_VALUE = 35,
	EMB_PART_ATTN_OUT = 36,
	EMB_PART_FFN_NORM = 37,
	EMB_PART_FFN_GATE = 38,		/* only in checkpoints; in an image the gates are the first rows of FFN_UP */
	EMB_PART_FFN_UP = 39,
	EMB_PART_FFN_DOWN = 40,
	EMB_PART_QUERY_NORM = 41,	/* of each query head, or of all together */
	EMB_PART_KEY_NORM = 42,
	EMB_PART_ATTN_END_NORM = 43,	/* with EMB_NORM_AROUND: of what attention adds */
	EMB_PART_FFN_END_NORM = 44,	/* likewise, of the feed-forward network */
	EMB_PART_RELATIVE_KEYS = 45,	/* vectors of distances through the layer's key and query: only in images, computed at import */
	EMB_PART_RELATIVE_QUERIES = 46,
	EMB_PART_ROUTER = 47,		/* one row for each expert */
	EMB_PART_EXPERT_UP = 48,	/* of each expert, in the place of FFN_UP and FFN_DOWN: see emb_part_of_expert */
	EMB_PART_EXPERT_DOWN = 49,
	EMB_PART_EXPERT_BIAS = 50,	/* of all experts together */
	EMB_PART_SECOND_NORM = 51	/* after attention, of another sum with its input */
} EmbPart;

#define EMB_N_PARTS		(EMB_PART_SECOND_NORM + 1)

typedef enum EmbTensorKind
{
	EMB_TENSOR_WEIGHT = 1,		/* [outputs, inputs] of a linear layer */
	EMB_TENSOR_SCALE = 2,		/* per row of quantized weights */
	EMB_TENSOR_SUMS = 3,		/* per row of quantized weights */
	EMB_TENSOR_BIAS = 4,
	EMB_TENSOR_FACTOR = 5,		/* per input; stored with the first part that reads the input */
	EMB_TENSOR_GAMMA = 6,		/* of a norm */
	EMB_TENSOR_BETA = 7,
	EMB_TENSOR_TABLE = 8,		/* rows for lookup */
	EMB_TENSOR_GROUP_SCALE = 9, /* int4: per row and group of inputs */
	EMB_TENSOR_GROUP_ZERO = 10, /* likewise */
	EMB_TENSOR_ORDER = 11		/* int4: the input of each column; stored like the factor */
} EmbTensorKind;

#define EMB_NO_LAYER	(-1)

/*
 *	offset	size
 *		0	   4	layer, or EMB_NO_LAYER
 *		4	   2	part: EmbPart, of an expert's part with its number
 *		6	   2	kind: EmbTensorKind
 */
typedef struct EmbTensorKey
{
	int32_t		layer;
	uint16_t	part;
	uint16_t	kind;
} EmbTensorKey;

_Static_assert(sizeof(EmbTensorKey) == 8, "EmbTensorKey");

static inline bool
emb_part_is_of_layer(EmbPart part)
{
	return part >= EMB_PART_ATTN_NORM;
}

/*
 * Parts that each expert has are told apart by its number above their lowest
 * byte. Expert 0 has the part itself.
 */
static inline EmbPart
emb_part_of_expert(EmbPart part, int32_t expert)
{
	return (EmbPart) ((int) part | expert << 8);
}

/* The part without a number, and the number. */
static inline EmbPart
emb_part_kind(EmbPart part)
{
	return (EmbPart) ((int) part & 255);
}

static inline int32_t
emb_part_expert(EmbPart part)
{
	return (int) part >> 8;
}

static inline bool
emb_part_is_of_expert(EmbPart part)
{
	return emb_part_kind(part) == EMB_PART_EXPERT_UP || emb_part_kind(part) == EMB_PART_EXPERT_DOWN;
}

/* The part of module i after the pooling, and the reverse: -1 if the part is of no module. */
static inline EmbPart
emb_part_of_module(int i)
{
	return (EmbPart) (i < 2 ? EMB_PART_DENSE_1 + i : EMB_PART_DENSE_3 + i - 2);
}

static inline int
emb_module_of_part(EmbPart part)
{
	return part == EMB_PART_DENSE_1 || part == EMB_PART_DENSE_2 ? (int) part - EMB_PART_DENSE_1
		: part == EMB_PART_DENSE_3 || part == EMB_PART_DENSE_4 ? (int) part - EMB_PART_DENSE_3 + 2 : -1;
}

/* For messages; fills and returns buf. */
extern const char *emb_tensor_name(EmbTensorKey key, char *buf, size_t size);

#endif
