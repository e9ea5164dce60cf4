/*
 * attention.h
 *		softmax(Q K^T / sqrt d) V, for all heads of one text.
 *
 * For each head, K is turned into panels of 16 keys and V into panels of 16
 * columns; then blocks of a few dozen queries make their scores against all
 * keys, so memory grows with the length, not its square. A query's result
 * depends on its own row, K and V only.
 */
#ifndef EMB_ENCODER_ATTENTION_H
#define EMB_ENCODER_ATTENTION_H

#include "encoder/work.h"

typedef struct EmbAttention
{
	int32_t		n_heads;
	int32_t		head_size;		/* d */
	size_t		stride;			/* of the rows of q, k, v, out */
	float	   *scratch;		/* emb_attention_scratch_elems() of the longest text */
} EmbAttention;

/* Floats of scratch for texts of up to n_tokens tokens. */
extern size_t emb_attention_scratch_elems(int32_t head_size, int32_t n_tokens);

/*
 * q, out: [n_queries, n_heads d]; k, v: [n_tokens, n_heads d]; out may be q.
 * False: stopped.
 */
extern bool emb_attention_f32(EmbWork *work, const EmbAttention *attention,
							  const float *q, int32_t n_queries,
							  const float *k, const float *v, int32_t n_tokens, float *out);

#endif
