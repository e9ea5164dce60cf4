/*
 * attention.h
 *		softmax(Q K^T / sqrt d + bias) V for a key head of one text and the
 *		query heads that share it.
 *
 * K is packed into panels of 16 keys and V into panels of 16 columns. Then
 * blocks of queries compute their scores against all keys, so memory grows
 * linearly with the text's length. A query's result depends only on its own
 * row, K and V.
 *
 * In int8 all inputs are quantized per token and head; pack_head_i8 and
 * attend_i8 define the arithmetic. With a sliding window, queries are
 * processed in blocks of 16, counted from the text's start, over all key
 * panels that any query of the block sees. The cost is linear in the text's
 * length. The panels do not depend on the part of the text that a thread
 * computes.
 *
 * Disentangled attention (He et al. 2021) adds q_i . K'_b + k_j . Q'_b to the
 * product of query i and key j, where b is the bucket of their distance i - j,
 * and divides by sqrt 3d. K' and Q' are the layer's vectors of distances.
 *
 * Tokens after the keys may attend to the keys without being keys themselves:
 * mask tokens that expand a query. With a window a token may be so far from the
 * last key that it sees none; its context is 0.
 *
 * With causal attention, query i sees the keys 0 .. i, and a later key
 * contributes exactly nothing. So the results of a text's first tokens are the
 * same whatever follows, bit for bit. The keys of the first tokens may come
 * from elsewhere: from a prefix that several texts share.
 */
#ifndef EMB_TRANSFORMER_ATTENTION_H
#define EMB_TRANSFORMER_ATTENTION_H

#include "transformer/transformer.h"
#include "transformer/work.h"

typedef struct EmbAttention
{
	int32_t		head_size;		/* d */
	int32_t		n_heads;		/* query heads, d columns from each to the next */
	const float *q;				/* [n_queries, d] of the first head */
	size_t		stride;			/* row stride of q and out */
	int32_t		n_queries;
	const float *prefix_k;		/* [n_prefix, d]: the first keys */
	const float *prefix_v;
	int32_t		n_prefix;
	const float *k;				/* [n_tokens, d]: the keys after them */
	const float *v;				/* [n_tokens, d] */
	size_t		key_stride;		/* row stride of all four */
	int32_t		n_tokens;
	int32_t		n_unseen;		/* tokens after the keys, which are no keys; 0 with a prefix or causal attention */
	const float *bias;			/* [n_heads, EMB_DISTANCES] indexed by key - query, or NULL */
	float		slope;			/* ALiBi: what each token of distance takes from a score; 0: nothing. Then n_heads is 1 */
	int32_t		first;			/* key of the first query's token, prefix included */
	int32_t		window;			/* tokens that a query sees on each side; 0: all */
	bool		is_causal;		/* then without bias; a window is then of earlier tokens */
	const EmbArch *arch;		/* with disentangled attention, and the next four; else NULL. No prefix, bias or window */
	const int32_t *buckets;		/* of distances between tokens of the text; points at that of 0 */
	const float *relative_keys; /* [2 span, d] of the first head */
	const float *relative_queries;
	size_t		relative_stride;	/* row stride of both */
	float	   *out;			/* [n_queries, d] of the first head; may be q */
	void	   *scratch;		/* 64-byte aligned, size from the function below */
} EmbAttention;

typedef struct EmbAttentionI8
{
	int32_t		head_size;		/* d */
	int32_t		n_heads;		/* query heads, d4 codes from each to the next, d rounded up to 4 */
	const uint8_t *q;			/* [n_queries, d4] of the first head, zero 128 */
	size_t		q_stride;		/* bytes, a multiple of 4 */
	const float *q_scales;		/* [n_heads, n_queries] */
	size_t		q_scale_stride;
	int32_t		n_queries;
	EmbHeadRowsI8 prefix;		/* [n_prefix] as above */
	int32_t		n_prefix;
	EmbHeadRowsI8 rows;			/* [n_tokens] */
	int32_t		n_tokens;
	int32_t		n_unseen;
	const float *bias;			/* as above */
	float		slope;
	int32_t		first;
	int32_t		window;
	bool		is_causal;
	float	   *out;			/* [n_queries, d] of the first head */
	size_t		out_stride;		/* floats */
	void	   *scratch;		/* as above */
} EmbAttentionI8;

/* Scratch bytes for texts of up to n_tokens tokens, prefix and unseen tokens included; a multiple of 64. */
extern size_t emb_attention_f32_scratch_bytes(int32_t head_size, int32_t n_tokens, int32_t relative_span);
extern size_t emb_attention_i8_scratch_bytes(int32_t head_size, int32_t n_tokens, bool biased);	/* or with a slope or a sliding window */

/* Of n_queries tokens from first on, those that see any of n_keys keys; the others come after them. */
static inline int32_t
emb_attention_n_seeing(int32_t first, int32_t n_queries, int32_t n_keys, int32_t window)
{
	int64_t		n = window > 0 ? (int64_t) n_keys + window - first : n_queries;

	return n < 0 ? 0 : n < n_queries ? (int32_t) n : n_queries;
}

/* False: stopped. */
extern bool emb_attention_f32(EmbWork *work, const EmbAttention *attention);
extern bool emb_attention_i8(EmbWork *work, const EmbAttentionI8 *attention);

#endif
