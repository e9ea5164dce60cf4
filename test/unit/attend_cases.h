/*
 * attend_cases.h
 *		Cases of pack_head_i8 and attend_i8, compared with scalar bit for bit on
 *		every level of the lists; for the tests of attention.
 */
#ifndef ATTEND_CASES_H
#define ATTEND_CASES_H

#include "kernel_util.h"

#define LOG2_E_STEPS 0x1.715476p+23f	/* of 2^-23 */

static size_t
padded(int32_t n, int32_t multiple)
{
	return ((size_t) n + multiple - 1) / multiple * multiple;
}

/* --------------------------------------------------------- pack, attend */

typedef struct AttendCase
{
	int32_t		n_queries,
				n_tokens,
				d;
	int			slack;			/* groups between rows, floats between rows of the result */
	bool		extreme;		/* codes at their ends, scales from 1e-12 to 1e12 */
	int			bias;			/* 0: none, 1: random, else a window of bias - 2 to each side */
	int32_t		n_seen;			/* 0, or as EmbAttendI8 */
} AttendCase;

static void
fill_codes(uint8_t *q, size_t n, bool extreme, bool is_query)
{
	for (size_t i = 0; i < n; i++)
	{
		int			code = (int) (next_random() % 255) - 127;

		if (extreme)
			code = next_random() % 8 ? 127 : -127;
		q[i] = (uint8_t) (is_query ? code + 128 : code);
	}
}

static void
fill_scales(float *scales, size_t n, bool extreme)
{
	static const float odd[] = {1e-12f / 127, 1e12f / 127, 1, 3, 1e5f, 1e-5f};

	for (size_t i = 0; i < n; i++)
		scales[i] = extreme ? odd[next_random() % 6] : (float) (next_random() % 1000 + 1) * 0x1p-14f;
}

/* In buffers first .. first + 5. */
static EmbHeadI8
place_head(const AttendCase *c, int first)
{
	size_t		n_tokens = padded(c->n_tokens, 16);

	return (EmbHeadI8) {
		.n_tokens = c->n_tokens, .head_size = c->d,
		.keys = place(bufs[first], n_tokens * padded(c->d, 4)),
		.key_starts = place(bufs[first + 1], 4 * n_tokens),
		.key_scales = place(bufs[first + 2], 4 * n_tokens),
		.value_logs = place(bufs[first + 3], 4 * n_tokens),
		.value_inverses = place(bufs[first + 4], 4 * n_tokens),
		.values = place(bufs[first + 5], n_tokens * padded(c->d, 16))
	};
}

static bool
heads_differ(const EmbHeadI8 *a, const EmbHeadI8 *b)
{
	size_t		n_tokens = padded(a->n_tokens, 16);

	return memcmp(a->keys, b->keys, n_tokens * padded(a->head_size, 4)) != 0 ||
		memcmp(a->key_starts, b->key_starts, 4 * n_tokens) != 0 ||
		memcmp(a->key_scales, b->key_scales, 4 * n_tokens) != 0 ||
		memcmp(a->value_logs, b->value_logs, 4 * n_tokens) != 0 ||
		memcmp(a->value_inverses, b->value_inverses, 4 * n_tokens) != 0 ||
		memcmp(a->values, b->values, n_tokens * padded(a->head_size, 16)) != 0;
}

static void
spoil_head(const EmbHeadI8 *head)
{
	size_t		n_tokens = padded(head->n_tokens, 16);

	memset(head->keys, 0x55, n_tokens * padded(head->head_size, 4));
	memset(head->key_starts, 0x55, 4 * n_tokens);
	memset(head->key_scales, 0x55, 4 * n_tokens);
	memset(head->value_logs, 0x55, 4 * n_tokens);
	memset(head->value_inverses, 0x55, 4 * n_tokens);
	memset(head->values, 0x55, n_tokens * padded(head->head_size, 16));
}

/* Keys and values in buffers of their own, then packed by every level into bufs[0 .. 5] and [6 .. 11]. */
static int
compare_pack(const AttendCase *c, EmbHeadI8 *head)
{
	size_t		stride = padded(c->d, 4) + 4 * c->slack;
	size_t		n_k = (c->n_tokens - 1) * stride + padded(c->d, 4);
	size_t		n_v = (c->n_tokens - 1) * stride + c->d;
	static Guarded own[4];
	EmbHeadRowsI8 rows = {.stride = stride};
	EmbHeadI8	other = place_head(c, 6);
	int			n_wrong = 0;

	for (int i = 0; own[3].end == NULL && i < 4; i++)
		own[i] = guarded();
	rows.k = place(own[0], n_k);
	rows.v = place(own[1], n_v);
	rows.k_scales = place(own[2], 4 * c->n_tokens);
	rows.v_scales = place(own[3], 4 * c->n_tokens);
	fill_codes((uint8_t *) rows.k, n_k, c->extreme, false);
	fill_codes((uint8_t *) rows.v, n_v, c->extreme, false);
	fill_scales((float *) rows.k_scales, c->n_tokens, c->extreme);
	fill_scales((float *) rows.v_scales, c->n_tokens, c->extreme);
	*head = place_head(c, 0);
	emb_pack_head_i8_scalar(&rows, head);
	for (int i = 0; i < n_pack_head_i8; i++)
	{
		spoil_head(&other);
		list_pack_head_i8[i].fn(&rows, &other);
		n_wrong += report(heads_differ(head, &other), "pack_head_i8", list_pack_head_i8[i].isa, c->n_tokens);
	}
	return n_wrong;
}

/* For every distance that attend_i8 may read, no more; gives that of distance 0. */
static const float *
place_bias(const AttendCase *c)
{
	static Guarded own;
	int32_t		lowest = 1 - c->n_queries;
	int32_t		n = (int32_t) padded(c->n_tokens, 16) - lowest;
	float	   *bias;

	if (own.end == NULL)
		own = guarded();
	bias = place(own, 4 * n);
	fill_floats(bias, n, 0);
	for (int32_t i = 0; i < n; i++)
	{
		int32_t		distance = i + lowest;

		if (c->bias > 1)
			bias[i] = distance < 2 - c->bias || distance > c->bias - 2 ? EMB_BIAS_OF_NOTHING : 0;
		else if (c->extreme)
			bias[i] = next_random() % 2 ? EMB_BIAS_MAX : -EMB_BIAS_MAX;
		else
			bias[i] *= 0x1p+22f;
	}
	return bias - lowest;
}

/* Maxima and factors of segments, no byte more than the kernels may use. */
static void
place_segments(EmbAttendI8 *a, int32_t n_tokens)
{
	static Guarded own[2];
	size_t		n_bytes = EMB_ATTEND_ROWS * emb_attend_segments(n_tokens) * sizeof(float);

	for (int i = 0; own[1].end == NULL && i < 2; i++)
		own[i] = guarded();
	a->maxima = place(own[0], n_bytes);
	a->factors = place(own[1], n_bytes);
	memset(a->maxima, 0x55, n_bytes);
	memset(a->factors, 0x55, n_bytes);
}

static int
compare_attend(const AttendCase *c)
{
	size_t		stride = padded(c->d, 4) + 4 * c->slack;
	size_t		n_q = (c->n_queries - 1) * stride + padded(c->d, 4);
	size_t		out_stride = c->d + c->slack;
	size_t		n_out = (c->n_queries - 1) * out_stride + c->d;
	size_t		n_scores = EMB_ATTEND_ROWS * padded(c->n_tokens, 16);
	EmbAttendI8 a = {.n_queries = c->n_queries, .q_stride = stride, .out_stride = out_stride};
	float	   *out[2] = {place(bufs[8], 4 * n_out), place(bufs[9], 4 * n_out)};
	int			n_wrong = compare_pack(c, &a.head);

	a.q = place(bufs[6], n_q);
	a.q_scales = place(bufs[7], 4 * c->n_queries);
	a.scores = place(bufs[10], 4 * n_scores);
	a.codes = place(bufs[11], n_scores);
	place_segments(&a, c->n_tokens);
	a.bias = c->bias == 0 ? NULL : place_bias(c);
	a.n_seen = c->n_seen;
	a.scale = c->extreme ? 0x1p+24f : LOG2_E_STEPS / sqrtf(c->d);
	fill_codes((uint8_t *) a.q, n_q, c->extreme, true);
	fill_scales((float *) a.q_scales, c->n_queries, c->extreme);
	for (int i = 0; i < n_attend_i8; i++)
	{
		a.out = out[i > 0];
		memset(a.out, 0x55, 4 * n_out);
		list_attend_i8[i].fn(&a);
		n_wrong += report(i > 0 && memcmp(out[0], out[1], 4 * n_out) != 0, "attend_i8", list_attend_i8[i].isa, c->n_tokens);
	}
	for (int32_t i = 0; i < c->n_queries; i++)
		for (int32_t j = 0; j < c->d; j++)
			n_wrong += report(!isfinite(out[0][i * out_stride + j]), "finite attend_i8", "scalar", c->n_tokens);
	return n_wrong;
}

static void
test_attend(void)
{
	static const int32_t tokens[] = {1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 113, 128, 200, 255, 256, 257, 300, 511, 512, 513, 700};
	static const int32_t sizes[] = {1, 3, 4, 8, 12, 16, 20, 32, 36, 48, 64, 80, 96, 128};
	static const AttendCase limits[] = {
		{2, 8192, 32, 0, false, 0, 0}, {1, 8192, 64, 1, true, 0, 0}, {7, 17, 4096, 0, true, 0, 0}, {3, 1, 4096, 1, true, 0, 0},
		{1, 5, 16384, 0, true, 0, 0}, {13, 8192, 32, 0, false, 1, 0}, {13, 8192, 32, 0, false, 66, 0},
		{40, 8192, 32, 0, false, 0, 8153}, {40, 8192, 32, 0, false, 0, 4000}, {33, 48, 128, 0, true, 0, 16},
		/* tiles of 15 queries that see one segment, then two */
		{45, 600, 32, 0, false, 0, 490}, {47, 130, 256, 1, false, 0, 0}, {50, 512, 64, 0, false, 1, 0}, {20, 70, 257, 0, true, 0, 0}
	};
	int			n_wrong = 0;

	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
		for (size_t j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++)
		{
			uint32_t	r = next_random();
			AttendCase	c = {1 + (int32_t) ((i + j * 5) % 19), tokens[i], sizes[j], (int) (r % 3), (r >> 4) % 4 == 0, 0, 0};

			n_wrong += compare_attend(&c);
			/* each query sees a key at least */
			c.n_queries = c.n_queries < c.n_tokens ? c.n_queries : c.n_tokens;
			c.bias = 1;
			n_wrong += compare_attend(&c);
			c.bias = 2 + (int) (r >> 8) % 20;
			n_wrong += compare_attend(&c);
			c.bias = 0;
			c.n_seen = 1 + (int32_t) (r >> 16) % (c.n_tokens - c.n_queries + 1);
			n_wrong += compare_attend(&c);
		}
	CHECKF(n_wrong == 0, "%d sizes of attention differ, seed 20240607", n_wrong);
	n_wrong = 0;
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		n_wrong += compare_attend(&limits[i]);
	CHECKF(n_wrong == 0, "%d limits of attention differ", n_wrong);
}

#endif
