/*
 * attention_i8.c
 *		Attention in int8, by the matrix product of the kernels.
 *
 * Queries are u8 with zero point 128 and a scale per token, keys s8 with a
 * scale per token, probabilities u8 in steps of 1/255 of the row's largest,
 * values s8 with a scale per column over the tokens of the text. Sums of 255 *
 * 127 over 8,192 tokens stay below 2^28.
 */
#include <math.h>
#include <string.h>

#include "encoder/attention.h"

/* Queries of a block: scores and probabilities should stay in the second-level cache. */
#define QUERIES_MAX		60
#define QUERIES_MIN		12
#define SCORES_ELEMS	65536

#define MACS_PER_EXP	16		/* what a score costs in the softmax */

typedef struct Scratch
{
	int8_t	   *keys;			/* [L/16][d/4][16][4], both rounded up */
	float	   *key_scales;		/* [L rounded up to 16] */
	int32_t    *key_sums;		/* [L rounded up to 16] */
	int8_t	   *values;			/* [d/16][L/4][16][4], both rounded up */
	float	   *value_scales;	/* [d rounded up to 16] */
	uint8_t    *q;				/* [QUERIES_MAX, d rounded up to 4] */
	uint8_t    *p;				/* [block, L rounded up to 4] */
	float	   *scores;			/* [block, L rounded up to 16] */
	float	   *out;			/* [QUERIES_MAX, d rounded up to 16] */
} Scratch;

static size_t
round_up(size_t n, size_t multiple)
{
	return (n + multiple - 1) / multiple * multiple;
}

static int32_t
queries_per_block(int32_t n_tokens)
{
	size_t		n = SCORES_ELEMS / round_up(n_tokens, EMB_PANEL);

	return n < QUERIES_MIN ? QUERIES_MIN : n < QUERIES_MAX ? (int32_t) n : QUERIES_MAX;
}

/* Scores of a block for every length up to n_tokens. */
static size_t
scores_elems(int32_t n_tokens)
{
	size_t		row = round_up(n_tokens, EMB_PANEL);
	size_t		n = QUERIES_MIN * row > SCORES_ELEMS ? QUERIES_MIN * row : SCORES_ELEMS;

	return QUERIES_MAX * row < n ? QUERIES_MAX * row : n;
}

/* Reserves bytes behind *at; every part starts on a multiple of 64. */
static void *
take(char *base, size_t *at, size_t bytes)
{
	void	   *p = base == NULL ? NULL : base + *at;

	*at += round_up(bytes, EMB_ALIGNMENT);
	return p;
}

static size_t
lay_out(char *base, int32_t head_size, int32_t n_tokens, Scratch *s)
{
	size_t		at = 0;
	size_t		l16 = round_up(n_tokens, EMB_PANEL);
	size_t		l4 = round_up(n_tokens, 4);
	size_t		d16 = round_up(head_size, EMB_PANEL);
	size_t		d4 = round_up(head_size, 4);

	s->keys = take(base, &at, l16 * d4);
	s->key_scales = take(base, &at, l16 * sizeof(float));
	s->key_sums = take(base, &at, l16 * sizeof(int32_t));
	s->values = take(base, &at, d16 * l4);
	s->value_scales = take(base, &at, d16 * sizeof(float));
	s->q = take(base, &at, QUERIES_MAX * d4);
	s->p = take(base, &at, scores_elems(n_tokens));
	s->scores = take(base, &at, scores_elems(n_tokens) * sizeof(float));
	s->out = take(base, &at, QUERIES_MAX * d16 * sizeof(float));
	return at;
}

size_t
emb_attention_i8_scratch_bytes(int32_t head_size, int32_t n_tokens)
{
	Scratch		s;

	return lay_out(NULL, head_size, n_tokens, &s);
}

static bool
pack_keys(EmbWork *work, const EmbAttention *a, const Scratch *s)
{
	size_t		d4 = round_up(a->head_size, 4);

	for (int32_t t = 0; t < a->n_tokens; t += EMB_PANEL)
	{
		int32_t		n = a->n_tokens - t < EMB_PANEL ? a->n_tokens - t : EMB_PANEL;

		work->kernels->pack_keys_i8(a->k + t * a->stride, a->stride, n, a->head_size,
									s->keys + t * d4, s->key_scales + t, s->key_sums + t);
		if (!emb_work_spend(work, 2 * (int64_t) EMB_PANEL * a->head_size))
			return false;
	}
	return true;
}

static bool
pack_values(EmbWork *work, const EmbAttention *a, const Scratch *s)
{
	size_t		l4 = round_up(a->n_tokens, 4);

	for (int32_t c = 0; c < a->head_size; c += EMB_PANEL)
	{
		int32_t		n = a->head_size - c < EMB_PANEL ? a->head_size - c : EMB_PANEL;

		work->kernels->pack_values_i8(a->v + c, a->stride, a->n_tokens, n, s->values + c * l4, s->value_scales + c);
		if (!emb_work_spend(work, 2 * (int64_t) EMB_PANEL * a->n_tokens))
			return false;
	}
	return true;
}

/* scores = Q K^T, before the division by sqrt d */
static bool
score(EmbWork *work, const EmbAttention *a, const Scratch *s, const float *q, int32_t n_queries)
{
	size_t		d4 = round_up(a->head_size, 4);
	size_t		l16 = round_up(a->n_tokens, EMB_PANEL);
	float		scales[QUERIES_MAX];
	int32_t		zeros[QUERIES_MAX];
	EmbGemmI8	g = {
		.n_rows = n_queries, .n_groups = (int32_t) (d4 / 4), .n_panels = (int32_t) (l16 / EMB_PANEL),
		.a = s->q, .a_stride = d4, .a_scale = scales, .a_zero = zeros,
		.b = s->keys, .b_scale = s->key_scales, .b_sums = s->key_sums,
		.c = s->scores, .c_stride = l16
	};

	for (int32_t i = 0; i < n_queries; i++)
	{
		scales[i] = work->kernels->quantize_i8(q + i * a->stride, NULL, a->head_size, (int32_t) d4, s->q + i * d4);
		zeros[i] = EMB_I8_ZERO;
	}
	return emb_work_multiply_i8(work, &g);
}

/* Some queries against all keys. */
static bool
attend_block(EmbWork *work, const EmbAttention *a, const Scratch *s, const float *q, int32_t n_queries, float *out)
{
	size_t		l16 = round_up(a->n_tokens, EMB_PANEL);
	size_t		l4 = round_up(a->n_tokens, 4);
	size_t		d16 = round_up(a->head_size, EMB_PANEL);
	float		scale = 1.0f / sqrtf((float) a->head_size);
	float		shares[QUERIES_MAX];
	EmbGemmI8	g = {
		.n_rows = n_queries, .n_groups = (int32_t) (l4 / 4), .n_panels = (int32_t) (d16 / EMB_PANEL),
		.a = s->p, .a_stride = l4, .a_scale = shares, .b = s->values, .b_scale = s->value_scales,
		.c = s->out, .c_stride = d16
	};

	if (!score(work, a, s, q, n_queries))
		return false;
	for (int32_t i = 0; i < n_queries; i++)
	{
		/* the largest score makes 255, so the sum is never 0 */
		shares[i] = 1.0f / (float) work->kernels->softmax_u8(s->scores + i * l16, a->n_tokens, (int32_t) l4, scale,
															 s->p + i * l4);
		if (!emb_work_spend(work, (int64_t) a->n_tokens * MACS_PER_EXP))
			return false;
	}
	/* whole panels are written: only then may the head's neighbour lie behind */
	if (d16 == (size_t) a->head_size)
	{
		g.c = out;
		g.c_stride = a->stride;
		return emb_work_multiply_i8(work, &g);
	}
	if (!emb_work_multiply_i8(work, &g))
		return false;
	for (int32_t i = 0; i < n_queries; i++)
		memcpy(out + i * a->stride, s->out + i * d16, a->head_size * sizeof(float));
	return true;
}

bool
emb_attention_i8(EmbWork *work, const EmbAttention *a)
{
	int32_t		block = queries_per_block(a->n_tokens);
	Scratch		s;

	lay_out(a->scratch, a->head_size, a->n_tokens, &s);
	if (!pack_keys(work, a, &s) || !pack_values(work, a, &s))
		return false;
	for (int32_t i = 0; i < a->n_queries; i += block)
	{
		int32_t		n = a->n_queries - i < block ? a->n_queries - i : block;

		if (!attend_block(work, a, &s, a->q + i * a->stride, n, a->out + i * a->stride))
			return false;
	}
	return true;
}
