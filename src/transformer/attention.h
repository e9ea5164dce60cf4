/*
 * attention.h
 *		softmax(Q K^T / sqrt d + bias) V for one head of one text.
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
 */
#ifndef EMB_TRANSFORMER_ATTENTION_H
#define EMB_TRANSFORMER_ATTENTION_H

#include "transformer/transformer.h"
#include "transformer/work.h"

typedef struct EmbAttention
{
	int32_t		head_size;		/* d */
	size_t		stride;			/* row stride of q, k, v and out */
	const float *q;				/* [n_queries, d] */
	int32_t		n_queries;
	const float *k;				/* [n_tokens, d] */
	const float *v;				/* [n_tokens, d] */
	int32_t		n_tokens;
	const float *bias;			/* [EMB_DISTANCES] indexed by key - query, or NULL */
	int32_t		first;			/* token of the first query, for bias and window */
	int32_t		window;			/* tokens that a query sees on each side; 0: all */
	float	   *out;			/* [n_queries, d]; may be q */
	void	   *scratch;		/* 64-byte aligned, size from the function below */
} EmbAttention;

typedef struct EmbAttentionI8
{
	int32_t		head_size;		/* d */
	const uint8_t *q;			/* [n_queries, d4], d rounded up to 4, zero 128 */
	const float *q_scales;		/* [n_queries] */
	int32_t		n_queries;
	const int8_t *k;			/* [n_tokens, d4] */
	const int8_t *v;			/* [n_tokens, d4] */
	const float *k_scales;		/* [n_tokens] */
	const float *v_scales;		/* [n_tokens] */
	int32_t		n_tokens;
	const float *bias;			/* as above */
	int32_t		first;
	int32_t		window;
	size_t		stride;			/* bytes, of q, k, v; a multiple of 4 */
	float	   *out;			/* [n_queries, d] */
	size_t		out_stride;		/* floats */
	void	   *scratch;		/* as above */
} EmbAttentionI8;

/* Scratch bytes for texts of up to n_tokens tokens; a multiple of 64. */
extern size_t emb_attention_f32_scratch_bytes(int32_t head_size, int32_t n_tokens);
extern size_t emb_attention_i8_scratch_bytes(int32_t head_size, int32_t n_tokens, bool biased);	/* or with a sliding window */

/* False: stopped. */
extern bool emb_attention_f32(EmbWork *work, const EmbAttention *attention);
extern bool emb_attention_i8(EmbWork *work, const EmbAttentionI8 *attention);

#endif
