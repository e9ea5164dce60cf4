/*
 * test_attend.c
 *		The kernels of int8 attention against scalar, bit for bit, and scalar
 *		against softmax(Q K^T) V in double.
 */
#include <float.h>

#include "transformer/attention.h"
#include "attend_cases.h"

/* The AVX-VNNI kernels once more, in the encoding of AVX-512. */
#if defined(__x86_64__)
#include "avxvnni_as_evex.h"

#define emb_attend_i8_avxvnni emb_attend_i8_evex
#define emb_pack_head_i8_avxvnni emb_pack_head_i8_evex
extern emb_op_attend_i8 emb_attend_i8_evex;
extern emb_op_pack_head_i8 emb_pack_head_i8_evex;
#include "kernels/attend_avxvnni.c"
#undef emb_attend_i8_avxvnni
#undef emb_pack_head_i8_avxvnni
#endif

/* ------------------------------------------------------- quantize_heads */

static int
compare_heads(int32_t n_heads, int32_t d, int32_t zero, int wild)
{
	size_t		n = (size_t) n_heads * d;
	size_t		n_q = n_heads * padded(d, 4);
	size_t		scale_stride = d % 3 + 1;
	size_t		n_scales = (n_heads - 1) * scale_stride + 1;
	float	   *x = place(bufs[0], 4 * n);
	uint8_t    *q[2] = {place(bufs[1], n_q), place(bufs[2], n_q)};
	float	   *scales[2] = {place(bufs[3], 4 * n_scales), place(bufs[4], 4 * n_scales)};
	int			n_wrong = 0;

	fill_floats(x, n, wild);
	if (wild == 2)
		memset(x, 0, 4 * n);
	for (int i = 0; i < n_quantize_heads; i++)
	{
		memset(q[i > 0], 0x55, n_q);
		memset(scales[i > 0], 0x55, 4 * n_scales);
		list_quantize_heads[i].fn(x, n_heads, d, zero, q[i > 0], scales[i > 0], scale_stride);
		n_wrong += report(i > 0 && (memcmp(q[0], q[1], n_q) != 0 || memcmp(scales[0], scales[1], 4 * n_scales) != 0),
						  "quantize_heads", list_quantize_heads[i].isa, d);
	}
	for (int32_t head = 0; head < n_heads; head++)
		n_wrong += report(!(scales[0][head * scale_stride] >= 1e-12f / 127 && scales[0][head * scale_stride] <= 1e12f / 127),
						  "a scale of quantize_heads", "scalar", d);
	return n_wrong;
}

/* Scales are quotients rounded once, whatever computes them: one mantissa in 61. */
static int
compare_scales(void)
{
	int			n_wrong = 0;

	for (uint32_t mantissa = 0; mantissa < 1 << 23; mantissa += 16 * 61)
	{
		float		x[16],
					scales[16];
		uint8_t		q[16 * EMB_GROUP];

		for (uint32_t i = 0; i < 16; i++)
			x[i] = ldexpf((float) ((1 << 23) | (mantissa + 61 * i) % (1 << 23)), (int) (i % 5) * 14 - 51);
		for (int i = 0; i < n_quantize_heads; i++)
		{
			list_quantize_heads[i].fn(x, 16, 1, 0, q, scales, 1);
			for (int k = 0; k < 16; k++)
				n_wrong += report(scales[k] != x[k] / 127.0f, "a quotient of quantize_heads", list_quantize_heads[i].isa, k);
		}
	}
	return n_wrong;
}

static void
test_heads(void)
{
	static const int32_t sizes[] = {1, 2, 3, 4, 7, 12, 15, 16, 17, 31, 32, 33, 48, 64, 80, 127, 128};
	int			n_wrong = 0;
	float		x[6] = {127.0f, 0.5f, 1.5f, -2.5f, 126.5f, 1e-20f};
	float		scale;
	uint8_t		q[8];

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (int32_t n_heads = 1; n_heads <= 33; n_heads += n_heads < 4 ? 1 : n_heads < 14 ? 8 : 3)
			for (int wild = 0; wild < 3; wild++)
				n_wrong += compare_heads(n_heads, sizes[i], wild % 2 == 0 ? 128 : 0, wild) +
					compare_heads(n_heads, sizes[i], wild % 2 == 0 ? 0 : 128, wild);
	CHECKF(n_wrong == 0, "%d rows of heads differ", n_wrong);
	n_wrong = compare_scales();
	CHECKF(n_wrong == 0, "%d scales of heads differ", n_wrong);
	/* ties go to even; what fills the last group is zero */
	emb_quantize_heads_scalar(x, 1, 6, 128, q, &scale, 1);
	CHECK(scale == 1 && q[0] == 255 && q[1] == 128 && q[2] == 130 && q[3] == 126 && q[4] == 254 && q[5] == 128 && q[6] == 0 && q[7] == 0);
	emb_quantize_heads_scalar(x, 2, 3, 0, q, &scale, 0);
	CHECK((int8_t) q[0] == 127 && q[1] == 0 && q[2] == 2 && q[3] == 0 && (int8_t) q[4] == -3 && (int8_t) q[5] == 127);
}

/* ------------------------------------------------------------- unseen keys */

/* beyond two segments of keys */
#define N_UNSEEN	1045
#define D_UNSEEN	20

typedef struct Unseen
{
	uint8_t		q[N_UNSEEN * D_UNSEEN];
	int8_t		k[N_UNSEEN * D_UNSEEN],
				v[N_UNSEEN * D_UNSEEN];
	float		scales[3][N_UNSEEN];
} Unseen;

/* Output of n_queries queries over n_tokens keys at level i of the lists. */
static void
attend_unseen(const Unseen *x, int i, int32_t first, int32_t n_queries, int32_t n_tokens, int32_t n_seen, const float *bias, float *out)
{
	EmbHeadRowsI8 rows = {x->k, x->v, D_UNSEEN, x->scales[1], x->scales[2]};
	AttendCase	c = {n_queries, n_tokens, D_UNSEEN, 0, true, 0, n_seen};
	EmbAttendI8 a = {
		.n_queries = n_queries, .q = x->q + first * D_UNSEEN, .q_stride = D_UNSEEN, .q_scales = x->scales[0] + first,
		.scale = LOG2_E_STEPS / sqrtf(D_UNSEEN), .bias = bias, .n_seen = n_seen, .head = place_head(&c, 0),
		.scores = place(bufs[10], 4 * EMB_ATTEND_ROWS * padded(n_tokens, 16)), .codes = place(bufs[11], EMB_ATTEND_ROWS * padded(n_tokens, 16)),
		.out = out, .out_stride = D_UNSEEN
	};

	place_segments(&a, n_tokens);
	list_pack_head_i8[i < n_pack_head_i8 ? i : 0].fn(&rows, &a.head);
	list_attend_i8[i].fn(&a);
}

/*
 * Two tokens; query 0 does not see key 1, whose values are as small as values
 * can be, so that their inverse scale is as large as it can be.
 */
static void
test_two_tokens(void)
{
	static const float bias[EMB_PANEL] = {0, EMB_BIAS_OF_NOTHING};
	static Unseen x;
	float		out[3][D_UNSEEN];

	fill_codes(x.q, sizeof(x.q), false, true);
	fill_codes((uint8_t *) x.k, sizeof(x.k), false, false);
	fill_codes((uint8_t *) x.v, sizeof(x.v), false, false);
	fill_scales(x.scales[0], 2 * N_UNSEEN, false);
	for (int i = 0; i < n_attend_i8; i++)
	{
		x.scales[2][0] = x.scales[2][1] = 1e12f / 127;
		attend_unseen(&x, i, 0, 1, 1, 0, NULL, out[0]);
		x.scales[2][1] = 1e-12f / 127;
		attend_unseen(&x, i, 0, 1, 2, 0, bias, out[1]);
		attend_unseen(&x, i, 0, 1, 2, 1, NULL, out[2]);
		CHECKF(memcmp(out[0], out[1], sizeof(out[0])) == 0, "%s: a key that the bias hides changes a result: %.9g, not %.9g",
			   list_attend_i8[i].isa, (double) out[1][0], (double) out[0][0]);
		CHECKF(memcmp(out[0], out[2], sizeof(out[0])) == 0, "%s: a later key changes a result: %.9g, not %.9g",
			   list_attend_i8[i].isa, (double) out[2][0], (double) out[0][0]);
	}
}

/*
 * Codes at their ends and scales from 1e-12 to 1e12: a query over all keys has
 * the bits that it has over those that it sees alone.
 */
static void
test_unseen(void)
{
	static Unseen x;
	static float together[N_UNSEEN * D_UNSEEN],
				alone[D_UNSEEN];
	float		bias[N_UNSEEN + EMB_PANEL];

	fill_codes(x.q, sizeof(x.q), true, true);
	fill_codes((uint8_t *) x.k, sizeof(x.k), true, false);
	fill_codes((uint8_t *) x.v, sizeof(x.v), true, false);
	fill_scales(x.scales[0], 3 * N_UNSEEN, true);
	for (int i = 0; i < n_attend_i8; i++)
	{
		int			n_wrong = 0;

		attend_unseen(&x, i, 0, N_UNSEEN, N_UNSEEN, 1, NULL, together);
		/* all places of a panel at the start, and around the ends of segments */
		for (int t = 0; t < N_UNSEEN; t += t < 70 || (t + 24) % EMB_ATTEND_SEGMENT < 40 ? 1 : 17)
		{
			attend_unseen(&x, i, t, 1, t + 1, 0, NULL, alone);
			n_wrong += memcmp(alone, together + t * D_UNSEEN, sizeof(alone)) != 0;
			for (int j = 0; j < N_UNSEEN + EMB_PANEL; j++)
				bias[j] = j <= t ? 0 : EMB_BIAS_OF_NOTHING;
			attend_unseen(&x, i, t, 1, N_UNSEEN, 0, bias, alone);
			n_wrong += memcmp(alone, together + t * D_UNSEEN, sizeof(alone)) != 0;
		}
		CHECKF(n_wrong == 0, "%s: unseen keys change %d queries", list_attend_i8[i].isa, n_wrong);
	}
}

/* ------------------------------------------------------------- meaning */

#define N_MEANT		50
#define D_MEANT		36

/* softmax(Q K^T / sqrt d) V in double, of what the codes stand for. */
static void
attend_exactly(const EmbHeadRowsI8 *rows, const uint8_t *q, const float *q_scales, double out[N_MEANT][D_MEANT])
{
	for (int i = 0; i < N_MEANT; i++)
	{
		double		weights[N_MEANT];
		double		sum = 0;

		for (int t = 0; t < N_MEANT; t++)
		{
			double		s = 0;

			for (int j = 0; j < D_MEANT; j++)
				s += (double) (q[i * D_MEANT + j] - 128) * rows->k[t * D_MEANT + j];
			weights[t] = exp(s * q_scales[i] * rows->k_scales[t] / sqrt(D_MEANT));
			sum += weights[t];
		}
		for (int j = 0; j < D_MEANT; j++)
		{
			out[i][j] = 0;
			for (int t = 0; t < N_MEANT; t++)
				out[i][j] += weights[t] / sum * rows->v_scales[t] * rows->v[t * D_MEANT + j];
		}
	}
}

/*
 * The largest error, in parts of the largest element. With sink, token 7 draws
 * all but 3e-6 of the attention, and its values are so small that its weights
 * round to 0: only the sum behind the share knows of it.
 */
static double
error_of_scalar(bool sink)
{
	static float q_in[N_MEANT * D_MEANT],
				k_in[N_MEANT * D_MEANT],
				v_in[N_MEANT * D_MEANT];
	static uint8_t q[N_MEANT * D_MEANT],
				k[N_MEANT * D_MEANT],
				v[N_MEANT * D_MEANT];
	static float out[N_MEANT * D_MEANT];
	static double exact[N_MEANT][D_MEANT];
	float		scales[3][N_MEANT];
	EmbHeadRowsI8 rows = {(int8_t *) k, (int8_t *) v, D_MEANT, scales[1], scales[2]};
	AttendCase	c = {N_MEANT, N_MEANT, D_MEANT, 0, false, 0, 0};
	EmbAttendI8 a = {
		.n_queries = N_MEANT, .q = q, .q_stride = D_MEANT, .q_scales = scales[0], .scale = LOG2_E_STEPS / sqrtf(D_MEANT),
		.head = place_head(&c, 0), .scores = place(bufs[10], 4 * EMB_ATTEND_ROWS * 64), .codes = place(bufs[11], EMB_ATTEND_ROWS * 64),
		.out = out, .out_stride = D_MEANT
	};
	double		worst = 0,
				largest = 0;

	fill_floats(q_in, N_MEANT * D_MEANT, 0);
	fill_floats(k_in, N_MEANT * D_MEANT, 0);
	fill_floats(v_in, N_MEANT * D_MEANT, 0);
	for (int i = 0; sink && i < N_MEANT * D_MEANT; i++)
	{
		bool		first = i % D_MEANT == 0;
		bool		sunk = i / D_MEANT == 7;

		q_in[i] = first ? 4 : q_in[i] * 0.1f;
		k_in[i] = first ? (sunk ? 19 : 0) : k_in[i] * 0.1f;
		v_in[i] *= sunk ? 1e-9f : 1;
	}
	emb_quantize_heads_scalar(q_in, N_MEANT, D_MEANT, 128, q, scales[0], 1);
	emb_quantize_heads_scalar(k_in, N_MEANT, D_MEANT, 0, k, scales[1], 1);
	emb_quantize_heads_scalar(v_in, N_MEANT, D_MEANT, 0, v, scales[2], 1);
	place_segments(&a, N_MEANT);
	emb_pack_head_i8_scalar(&rows, &a.head);
	emb_attend_i8_scalar(&a);
	attend_exactly(&rows, q, scales[0], exact);
	for (int i = 0; i < N_MEANT * D_MEANT; i++)
	{
		worst = larger(worst, fabs(out[i] - exact[i / D_MEANT][i % D_MEANT]));
		largest = larger(largest, fabs(exact[i / D_MEANT][i % D_MEANT]));
	}
	printf("# %s: error %.2g of %.3g\n", sink ? "sink" : "plain", worst, largest);
	return worst / largest;
}

/* Rounding a weight to a 255th of the largest costs at most half of that for each key; mostly they cancel. */
static void
test_meaning(void)
{
	double		plain = error_of_scalar(false);
	double		sink = error_of_scalar(true);

	CHECKF(plain < 0.008, "%g", plain);
	CHECKF(sink < 0.008, "%g", sink);
}

/* ---------------------------------------------------------- long texts */

#define N_SPREAD	4096
#define D_SPREAD	32
#define N_ASKING	6

/*
 * Attention spread over thousands of keys: the largest of their weights is some
 * 50 times the usual one. Returns the error's part of the result's norm.
 */
static double
error_of_spread(int32_t n_tokens)
{
	static float x[N_SPREAD * D_SPREAD];
	static uint8_t codes[3][N_SPREAD * D_SPREAD];
	static float scales[3][N_SPREAD];
	static double weights[N_SPREAD];
	float		out[N_ASKING * D_SPREAD];
	EmbHeadRowsI8 rows = {(int8_t *) codes[1], (int8_t *) codes[2], D_SPREAD, scales[1], scales[2]};
	AttendCase	c = {N_ASKING, n_tokens, D_SPREAD, 0, false, 0, 0};
	EmbAttendI8 a = {
		.n_queries = N_ASKING, .q = codes[0], .q_stride = D_SPREAD, .q_scales = scales[0], .scale = LOG2_E_STEPS / sqrtf(D_SPREAD),
		.head = place_head(&c, 0), .scores = place(bufs[10], 4 * EMB_ATTEND_ROWS * padded(n_tokens, 16)),
		.codes = place(bufs[11], EMB_ATTEND_ROWS * padded(n_tokens, 16)), .out = out, .out_stride = D_SPREAD
	};
	double		error = 0,
				norm = 0;

	for (int i = 0; i < 3; i++)
	{
		/* sums of four: nearly normal, deviation 1.2 (of scores 2.2) */
		for (int32_t j = 0; j < n_tokens * D_SPREAD; j++)
			x[j] = (float) ((int32_t) ((next_random() >> 16) + (next_random() >> 16) + (next_random() >> 16) + (next_random() >> 16)) - 510) / (i == 0 ? 80 : 123);
		emb_quantize_heads_scalar(x, n_tokens, D_SPREAD, i == 0 ? 128 : 0, codes[i], scales[i], 1);
	}
	place_segments(&a, n_tokens);
	emb_pack_head_i8_scalar(&rows, &a.head);
	emb_attend_i8_scalar(&a);
	for (int i = 0; i < N_ASKING; i++)
	{
		double		exact[D_SPREAD] = {0};
		double		sum = 0;

		for (int32_t t = 0; t < n_tokens; t++)
		{
			double		s = 0;

			for (int j = 0; j < D_SPREAD; j++)
				s += (double) (codes[0][i * D_SPREAD + j] - 128) * rows.k[t * D_SPREAD + j];
			sum += weights[t] = exp(s * scales[0][i] * scales[1][t] / sqrt(D_SPREAD));
			for (int j = 0; j < D_SPREAD; j++)
				exact[j] += weights[t] * scales[2][t] * rows.v[t * D_SPREAD + j];
		}
		for (int j = 0; j < D_SPREAD; j++)
		{
			error += pow(out[i * D_SPREAD + j] - exact[j] / sum, 2);
			norm += pow(exact[j] / sum, 2);
		}
	}
	return sqrt(error / norm);
}

/* Thousands of keys are as exact as hundreds: with one maximum for all they were not (0.0165 against 0.0134). */
static void
test_spread(void)
{
	double		shorter = error_of_spread(512);
	double		longer = error_of_spread(N_SPREAD);

	printf("# spread over 512 keys: error %.4g, over %d: %.4g\n", shorter, N_SPREAD, longer);
	CHECKF(longer < shorter, "%g, not %g", longer, shorter);
}

/* ------------------------------------- windows, biases, causal attention */

#define N_LONG		1100
#define D_LONG		20

typedef struct LongText
{
	uint8_t		q[N_LONG * D_LONG],
				k[N_LONG * D_LONG],
				v[N_LONG * D_LONG];
	float		scales[3][N_LONG];
	float		bias[EMB_DISTANCES];
	float		out[N_LONG * D_LONG];
} LongText;

typedef enum Seeing
{
	PLAIN,
	BIASED,
	CAUSAL,
	SLOPED						/* ALiBi */
} Seeing;

#define SLOPE	0.0625f

/* One query in double, of what the codes stand for. */
static void
attend_query(const LongText *x, int i, int n_tokens, int window, Seeing how, double out[D_LONG])
{
	double		sum = 0;

	memset(out, 0, D_LONG * sizeof(double));
	for (int t = 0; t < n_tokens; t++)
	{
		int			near = t - i < -EMB_DISTANCE_MAX ? -EMB_DISTANCE_MAX : t - i > EMB_DISTANCE_MAX ? EMB_DISTANCE_MAX : t - i;
		double		s = 0;

		if ((window > 0 && abs(t - i) > window) || (how == CAUSAL && t > i))
			continue;
		for (int j = 0; j < D_LONG; j++)
			s += (double) (x->q[i * D_LONG + j] - 128) * (int8_t) x->k[t * D_LONG + j];
		s = exp(s * x->scales[0][i] * x->scales[1][t] / sqrt(D_LONG) + (how == BIASED ? x->bias[near + EMB_DISTANCE_MAX] : 0)
				- (how == SLOPED ? SLOPE * abs(t - i) : 0));
		sum += s;
		for (int j = 0; j < D_LONG; j++)
			out[j] += s * x->scales[2][t] * (int8_t) x->v[t * D_LONG + j];
	}
	for (int j = 0; j < D_LONG; j++)
		out[j] /= sum;
}

/* Queries from first on, n_queries of them; the first n_prefix keys come from elsewhere. */
static void
attend_part(const LongText *x, int n_prefix, int n_tokens, int first, int n_queries, int window, Seeing how, float *out)
{
	_Atomic bool stopped = false;
	EmbWork		work;
	EmbAttentionI8 a = {
		.head_size = D_LONG, .n_heads = 1, .q = x->q + first * D_LONG, .q_stride = D_LONG, .q_scales = x->scales[0] + first,
		.n_queries = n_queries,
		.prefix = {(const int8_t *) x->k, (const int8_t *) x->v, D_LONG, x->scales[1], x->scales[2]}, .n_prefix = n_prefix,
		.rows = {
			(const int8_t *) x->k + n_prefix * D_LONG, (const int8_t *) x->v + n_prefix * D_LONG, D_LONG,
			x->scales[1] + n_prefix, x->scales[2] + n_prefix
		},
		.n_tokens = n_tokens - n_prefix, .bias = how == BIASED ? x->bias : NULL, .slope = how == SLOPED ? SLOPE : 0, .first = first, .window = window,
		.is_causal = how == CAUSAL, .out = out + first * D_LONG, .out_stride = D_LONG,
		.scratch = aligned_alloc(64, emb_attention_i8_scratch_bytes(D_LONG, n_tokens, how == BIASED || how == SLOPED || window > 0))
	};

	CHECK(emb_work_begin(&work, emb_kernels(), NULL, &stopped) && emb_attention_i8(&work, &a));
	free(a.scratch);
}

static void
compare_long(LongText *x, int n_tokens, int window, Seeing how)
{
	static float parts[N_LONG * D_LONG];
	double		worst = 0,
				largest = 0;

	attend_part(x, 0, n_tokens, 0, n_tokens, window, how, x->out);
	for (int i = 0; i < n_tokens; i++)
	{
		double		exact[D_LONG];

		attend_query(x, i, n_tokens, window, how, exact);
		for (int j = 0; j < D_LONG; j++)
		{
			worst = larger(worst, fabs(x->out[i * D_LONG + j] - exact[j]));
			largest = larger(largest, fabs(exact[j]));
		}
	}
	CHECKF(worst < 0.015 * largest, "%d tokens, window %d: error %g of %g", n_tokens, window, worst, largest);
	for (int first = 0, n; first < n_tokens; first += n)
	{
		n = 1 + (int) (next_random() % 40);
		n = n < n_tokens - first ? n : n_tokens - first;
		attend_part(x, how == CAUSAL ? (int) (next_random() % (first + 1)) : 0, n_tokens, first, n, window, how, parts);
	}
	CHECKF(memcmp(parts, x->out, n_tokens * D_LONG * sizeof(float)) == 0, "%d tokens, window %d: other bits in parts", n_tokens, window);
}

/*
 * Against the definition, at lengths around those at which a window begins to
 * matter; the same bits in any parts and behind any prefix.
 */
static void
test_windows(void)
{
	static const int windows[] = {0, 1, 7, 16, 64, 128};
	static LongText x;
	static float in[N_LONG * D_LONG];
	int			n_tokens;

	for (int i = 0; i < 3; i++)
	{
		fill_floats(in, N_LONG * D_LONG, 0);
		emb_quantize_heads_scalar(in, N_LONG, D_LONG, i == 0 ? 128 : 0, i == 0 ? x.q : i == 1 ? x.k : x.v, x.scales[i], 1);
	}
	for (int i = 0; i < EMB_DISTANCES; i++)
		x.bias[i] = (float) (next_random() % 1000) * 0.004f - 2;
	for (size_t w = 0; w < sizeof(windows) / sizeof(windows[0]); w++)
		for (int i = -1; i <= 7; i++)
		{
			n_tokens = i == 7 ? N_LONG : windows[w] + 16 * (i / 3) + i % 3;
			if (n_tokens > 0)
				compare_long(&x, n_tokens, windows[w], windows[w] == 0 ? BIASED : PLAIN);
			if (n_tokens > 0 && windows[w] > 0)
				compare_long(&x, n_tokens, windows[w], CAUSAL);
		}
	for (n_tokens = 1; n_tokens <= N_LONG; n_tokens += n_tokens < 100 ? 1 : 33)
	{
		compare_long(&x, n_tokens, 0, CAUSAL);
		compare_long(&x, n_tokens, 0, SLOPED);
	}
	/* a bias so large that it overflows counts as the largest */
	x.bias[EMB_DISTANCE_MAX + 1] = FLT_MAX;
	x.bias[EMB_DISTANCE_MAX - 1] = -FLT_MAX;
	attend_part(&x, 0, N_LONG, 0, N_LONG, 0, BIASED, x.out);
	for (int i = 0; i < N_LONG * D_LONG; i++)
		if (!isfinite(x.out[i]))
			CHECKF(false, "element %d is not finite", i);
}

int
main(void)
{
	EmbFpState	fp = emb_fp_enter();

	prepare_kernels();
#if defined(__x86_64__)
	if (emb_cpu_has_avx512vnni())
	{
		ADD_KERNEL(attend_i8, AS_EVEX, emb_attend_i8_evex);
		ADD_KERNEL(pack_head_i8, AS_EVEX, emb_pack_head_i8_evex);
	}
	else if (!emb_cpu_has_avxvnni())
		skip("this CPU cannot run attend_i8 of avxvnni in either encoding");
#endif
	test_heads();
	test_attend();
	test_two_tokens();
	test_unseen();
	test_meaning();
	test_spread();
	test_windows();
	emb_fp_leave(fp);
	return done_testing();
}
