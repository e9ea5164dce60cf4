/*
 * prefix.h
 *		Keys and values of tokens that several texts begin with, computed once.
 *
 * With causal attention no token sees a later one. So the keys and values of a
 * prefix are the same, bit for bit, whatever text follows; a text that starts
 * behind a prefix has the bits that it has as a whole.
 *
 * Example:
 *
 *		EmbPrefix  *prefix = emb_prefix_create(&transformer, 90, mem);
 *		emb_transformer_extend_prefix(&transformer, kernels, prefix, ids, 90, n_threads, mem, stop, err);
 *		EmbBatch	batch = {.n_seqs = n, .offsets = offsets, .ids = rest, .prefix = prefix, .n_prefix = 90};
 *		emb_transformer_run(&transformer, kernels, &batch, n_threads, mem, stop, out, err);
 *		emb_prefix_free(mem, prefix);
 *
 * A prefix holds a byte for each element of a key or value of an int8 layer,
 * and a scale for each head: 59 KB a token for 28 layers of 8 heads of 128.
 */
#ifndef EMB_TRANSFORMER_PREFIX_H
#define EMB_TRANSFORMER_PREFIX_H

#include "transformer/transformer.h"

/* K, V or Q in int8 as attention reads them: codes per token and head, each with a scale. */
typedef struct EmbHeadCodes
{
	int32_t		n_heads;
	uint8_t    *codes;			/* [n_tokens, n_heads, head_size rounded up to 4] */
	size_t		stride;			/* bytes of a token's codes */
	float	   *scales;			/* [n_heads, scale_stride], of which n_tokens are in use */
	size_t		scale_stride;
} EmbHeadCodes;

/* The keys and values of a layer, in the form that its attention reads. */
typedef struct EmbKeysValues
{
	float	   *k;				/* [n_tokens, key width rounded up to a panel] each, if attention is fp32 */
	float	   *v;
	EmbHeadCodes k_heads;		/* if attention is int8 */
	EmbHeadCodes v_heads;
} EmbKeysValues;

struct EmbPrefix
{
	int32_t		n_tokens;
	int32_t		n_room;			/* tokens that there is memory for */
	EmbKeysValues layers[];		/* [n_layers] */
};

/*
 * Whether texts of this architecture can start behind a prefix: attention is
 * causal, only the last row is pooled, and a token's embedding depends on its
 * id alone, or on its position.
 */
extern bool emb_prefix_is_possible(const EmbArch *arch);

/* Memory of a prefix of n_tokens tokens, in one block. */
extern size_t emb_prefix_bytes(const EmbTransformer *transformer, int32_t n_tokens);

/* An empty prefix with room for n_room tokens. NULL: out of memory. */
extern EmbPrefix *emb_prefix_create(const EmbTransformer *transformer, int32_t n_room, const EmbAllocator *mem);
extern void emb_prefix_free(const EmbAllocator *mem, EmbPrefix *prefix);

/* Makes *to, of the same model and with room for them, the first n tokens of from. */
extern void emb_prefix_copy(const EmbTransformer *transformer, EmbPrefix *to, const EmbPrefix *from, int32_t n);

/*
 * Appends n_ids tokens. The bits do not depend on how many calls append them,
 * nor on the number of threads. After an error the prefix is as it was.
 */
extern EmbStatus emb_transformer_extend_prefix(const EmbTransformer *transformer, const EmbKernels *kernels, EmbPrefix *prefix,
											   const int32_t *ids, int32_t n_ids, int32_t n_threads, const EmbAllocator *mem,
											   const EmbStop *stop, EmbError *err);

#endif
