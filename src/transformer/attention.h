/*
 * attention.h
 *		softmax(Q K^T / sqrt d + bias) V for one head of one text.
 *
 * K is turned into panels of 16 keys and V into panels of 16 columns; then
 * blocks of queries make their scores against all keys, so memory grows with
 * the length, not its square. A query's result depends on its own row, K and V
 * only.
 *
 * In int8 everything comes quantized per token and head; the arithmetic is
 * that of pack_head_i8 and attend_i8. A window's queries go in blocks of 16,
 * counted from the text's start, over the panels of keys that any of the block
 * sees: the cost is linear in the text's length, and which keys those are does
 * not depend on the part of a text that a thread has.
 */
#ifndef EMB_TRANSFORMER_ATTENTION_H
#define EMB_TRANSFORMER_ATTENTION_H

#include "transformer/transformer.h"
#include "transformer/work.h"

typedef struct EmbAttention
{
	int32_t		head_size;		/* d */
	size_t		stride;			/* of the rows of q, k, v, out */
	const float *q;				/* [n_queries, d] */
	int32_t		n_queries;
	const float *k;				/* [n_tokens, d] */
	const float *v;				/* [n_tokens, d] */
	int32_t		n_tokens;
	const float *bias;			/* [EMB_DISTANCES] by key - query, or NULL */
	int32_t		first;			/* the token that the first query is of: for bias and window */
	int32_t		window;			/* a query sees keys so far to each side; 0: all */
	float	   *out;			/* [n_queries, d]; may be q */
	void	   *scratch;		/* 64-byte aligned, as many bytes as the function below says */
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

/* Bytes of scratch for texts of up to n_tokens tokens; a multiple of 64. */
extern size_t emb_attention_f32_scratch_bytes(int32_t head_size, int32_t n_tokens);
extern size_t emb_attention_i8_scratch_bytes(int32_t head_size, int32_t n_tokens, bool biased);	/* or with a window */

/* False: stopped. */
extern bool emb_attention_f32(EmbWork *work, const EmbAttention *attention);
extern bool emb_attention_i8(EmbWork *work, const EmbAttentionI8 *attention);

#endif
