/*
 * attention_i8.c
 *		Attention in int8: the scratch of the kernels, and pieces between which to
 *		ask for a stop.
 */
#include <math.h>

#include "encoder/attention.h"

/* Logarithms to base 2 in steps of 2^-23. */
#define LOG2_E 0x1.715476p+23f

/* A multiply-add of int8 in the units of work.h, and what a score costs besides its products. */
#define MACS_I8_PER_MAC	2
#define MACS_PER_SCORE	16

static size_t
round_up(size_t n, size_t multiple)
{
	return (n + multiple - 1) / multiple * multiple;
}

/* Reserves bytes behind *at; every part starts on a multiple of 64. */
static void *
take(char *base, size_t *at, size_t bytes)
{
	void	   *p = base == NULL ? NULL : base + *at;

	*at += round_up(bytes, EMB_ALIGNMENT);
	return p;
}

/* Places the arrays of the kernels from base on, or only counts where base is NULL; returns their bytes. */
static size_t
lay_out(char *base, EmbAttendI8 *a)
{
	EmbHeadI8  *head = &a->head;
	size_t		at = 0;
	size_t		n_tokens = emb_head_i8_tokens(head->n_tokens);

	head->keys = take(base, &at, n_tokens * round_up(head->head_size, EMB_GROUP));
	head->key_starts = take(base, &at, n_tokens * sizeof(int32_t));
	head->key_scales = take(base, &at, n_tokens * sizeof(float));
	head->value_logs = take(base, &at, n_tokens * sizeof(float));
	head->value_inverses = take(base, &at, n_tokens * sizeof(float));
	head->values = take(base, &at, n_tokens * emb_head_i8_columns(head->head_size));
	a->scores = take(base, &at, EMB_ATTEND_ROWS * n_tokens * sizeof(float));
	a->codes = take(base, &at, EMB_ATTEND_ROWS * n_tokens);
	return at;
}

size_t
emb_attention_i8_scratch_bytes(int32_t head_size, int32_t n_tokens)
{
	EmbAttendI8 a = {.head = {.n_tokens = n_tokens, .head_size = head_size}};

	return lay_out(NULL, &a);
}

/* What a query costs. */
static int64_t
macs_per_query(const EmbAttentionI8 *a)
{
	return (int64_t) a->n_tokens * (2 * (int64_t) a->head_size / MACS_I8_PER_MAC + MACS_PER_SCORE);
}

bool
emb_attention_i8(EmbWork *work, const EmbAttentionI8 *a)
{
	const EmbHeadRowsI8 rows = {.k = a->k, .v = a->v, .stride = a->stride, .k_scales = a->k_scales, .v_scales = a->v_scales};
	EmbAttendI8 piece = {
		.q = a->q, .q_stride = a->stride, .q_scales = a->q_scales,
		.scale = LOG2_E / sqrtf((float) a->head_size),
		.head = {.n_tokens = a->n_tokens, .head_size = a->head_size},
		.out = a->out, .out_stride = a->out_stride
	};
	int64_t		n_fitting = work->kernels->macs_per_piece / macs_per_query(a);
	int32_t		n_most = n_fitting < 1 ? 1 : n_fitting < a->n_queries ? (int32_t) n_fitting : a->n_queries;

	lay_out(a->scratch, &piece);
	work->kernels->pack_head_i8(&rows, &piece.head);
	if (!emb_work_spend(work, 2 * (int64_t) a->n_tokens * a->head_size))
		return false;
	for (int32_t left = a->n_queries; left > 0; left -= piece.n_queries)
	{
		piece.n_queries = left < n_most ? left : n_most;
		work->kernels->attend_i8(&piece);
		if (!emb_work_spend(work, piece.n_queries * macs_per_query(a)))
			return false;
		piece.q += piece.n_queries * piece.q_stride;
		piece.q_scales += piece.n_queries;
		piece.out += piece.n_queries * piece.out_stride;
	}
	return true;
}
