/*
 * attention.h
 *		softmax(Q K^T / sqrt d) V for one head of one text.
 *
 * K is turned into panels of 16 keys and V into panels of 16 columns; then
 * blocks of a few dozen queries make their scores against all keys, so memory
 * grows with the length, not its square. A query's result depends on its own
 * row, K and V only.
 *
 * In int8, queries and keys are quantized per token, values per column over
 * the tokens of the text, probabilities to 255 steps of the largest.
 */
#ifndef EMB_ENCODER_ATTENTION_H
#define EMB_ENCODER_ATTENTION_H

#include "encoder/work.h"

/* The zero point of quantize_i8's rows. */
#define EMB_I8_ZERO 128

typedef struct EmbAttention
{
	int32_t		head_size;		/* d */
	size_t		stride;			/* of the rows of q, k, v, out */
	const float *q;				/* [n_queries, d] */
	int32_t		n_queries;
	const float *k;				/* [n_tokens, d] */
	const float *v;				/* [n_tokens, d] */
	int32_t		n_tokens;
	float	   *out;			/* [n_queries, d]; may be q */
	void	   *scratch;		/* 64-byte aligned, as many bytes as the function below says */
} EmbAttention;

/* Bytes of scratch for texts of up to n_tokens tokens; a multiple of 64. */
extern size_t emb_attention_f32_scratch_bytes(int32_t head_size, int32_t n_tokens);
extern size_t emb_attention_i8_scratch_bytes(int32_t head_size, int32_t n_tokens);

/* False: stopped. */
extern bool emb_attention_f32(EmbWork *work, const EmbAttention *attention);
extern bool emb_attention_i8(EmbWork *work, const EmbAttention *attention);

#endif
