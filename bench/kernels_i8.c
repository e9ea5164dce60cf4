/*
 * kernels_i8.c
 *		Giga-operations per second (2 per multiply-add) of gemm_i8 and attention, and rows per
 *		second of what surrounds it, on the shapes of a small BERT, against the
 *		peak of the level's multiply-add instruction.
 *
 *		kernels_i8 [LEVEL]
 *
 * Each shape runs over the matrices of N_LAYERS layers in turn, so weights come
 * from the third-level cache as in a model. Best and median of the rounds, in
 * CPU time of the thread: a shared machine disturbs that least.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/kernels.h"

#define HIDDEN		384
#define WIDE		1536
#define N_LAYERS	12
#define N_ROUNDS	15
#define ROWS_MAX	512

typedef struct Shape
{
	const char *name;
	int32_t		n_rows,
				n_in,
				n_out;
	EmbActKind	act;
	bool		has_bias;
} Shape;

typedef struct Buffers
{
	uint8_t    *a;				/* [ROWS_MAX, WIDE] */
	int8_t	   *b;				/* N_LAYERS x [WIDE, WIDE / 2], the largest is 2 x 590 KB */
	float	   *a_scale,
			   *b_scale,
			   *bias,
			   *c,				/* [ROWS_MAX, WIDE] */
			   *x;
	int32_t    *a_zero,
			   *b_sums;
} Buffers;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void *
filled(size_t size)
{
	uint8_t    *p = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
	uint32_t	state = 1;

	if (p == NULL)
		exit(1);
	for (size_t i = 0; i < size; i++)
	{
		state = state * 1664525u + 1013904223u;
		p[i] = (uint8_t) (state >> 24);
	}
	return p;
}

static float *
filled_floats(size_t n)
{
	float	   *x = filled(n * sizeof(float));

	for (size_t i = 0; i < n; i++)
	{
		int32_t		bits;

		memcpy(&bits, &x[i], sizeof(bits));
		x[i] = (float) bits * 0x1p-29f;
	}
	return x;
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a,
				y = *(const double *) b;

	return (x > y) - (x < y);
}

static void
print_rate(const char *name, double work, double seconds[N_ROUNDS], double peak, const char *unit)
{
	qsort(seconds, N_ROUNDS, sizeof(double), compare);
	printf("%-34s best %7.1f median %7.1f %s", name, work / seconds[0] * 1e-9, work / seconds[N_ROUNDS / 2] * 1e-9, unit);
	if (peak > 0)
		printf("  %5.1f %% of %.0f", work / seconds[0] * 1e-7 / peak, peak);
	printf("\n");
}

static void
run_gemm(const EmbKernels *k, const Buffers *buf, const Shape *s, double peak)
{
	double		seconds[N_ROUNDS];
	size_t		b_bytes = emb_pack_i8_bytes(s->n_out, s->n_in);
	EmbGemmI8	g = {
		.n_rows = s->n_rows, .n_groups = s->n_in / 4, .n_panels = (s->n_out + 15) / 16,
		.a = buf->a, .a_stride = s->n_in, .a_scale = buf->a_scale, .a_zero = s->has_bias ? buf->a_zero : NULL,
		.b = buf->b, .b_scale = buf->b_scale, .b_sums = buf->b_sums, .bias = s->has_bias ? buf->bias : NULL,
		.c = buf->c, .c_stride = (size_t) (s->n_out + 15) / 16 * 16, .act = s->act
	};

	for (int i = 0; i < N_ROUNDS; i++)
	{
		double		start = now();

		for (int l = 0; l < N_LAYERS; l++)
		{
			g.b = buf->b + l * b_bytes;
			k->gemm_i8(&g);
		}
		seconds[i] = now() - start;
	}
	print_rate(s->name, 2.0 * N_LAYERS * s->n_rows * s->n_in * s->n_out, seconds, peak, "GOPS");
}

/* 12 layers of the four products, all matrices in turn. */
static void
run_model(const EmbKernels *k, const Buffers *buf, int32_t n_rows, double peak)
{
	static const int32_t n_in[4] = {HIDDEN, HIDDEN, HIDDEN, WIDE};
	static const int32_t n_out[4] = {3 * HIDDEN, HIDDEN, WIDE, HIDDEN};
	double		seconds[N_ROUNDS];
	double		work = 0;
	char		name[64];

	for (int i = 0; i < N_ROUNDS; i++)
	{
		double		start = now();
		const int8_t *b = buf->b;

		work = 0;
		for (int l = 0; l < N_LAYERS; l++)
			for (int j = 0; j < 4; j++)
			{
				EmbGemmI8	g = {
					.n_rows = n_rows, .n_groups = n_in[j] / 4, .n_panels = n_out[j] / 16,
					.a = buf->a, .a_stride = n_in[j], .a_scale = buf->a_scale, .a_zero = buf->a_zero,
					.b = b, .b_scale = buf->b_scale, .b_sums = buf->b_sums, .bias = buf->bias,
					.c = buf->c, .c_stride = n_out[j], .act = j == 2 ? EMB_ACT_KIND_GELU : EMB_ACT_KIND_NONE
				};

				k->gemm_i8(&g);
				b += emb_pack_i8_bytes(n_out[j], n_in[j]);
				work += 2.0 * n_rows * n_in[j] * n_out[j];
			}
		seconds[i] = now() - start;
	}
	snprintf(name, sizeof(name), "all 48 matrices, %d rows, gelu", n_rows);
	print_rate(name, work, seconds, peak, "GOPS");
}

/*
 * Elements per nanosecond of the row operations, data in the second-level cache.
 * GELU is in place and halves what is near 0: so its rows start anew each round,
 * before squares are denormal, for which Intel takes over 100 cycles.
 */
static void
run_rows(const EmbKernels *k, const Buffers *buf)
{
	static float given[65536];
	static const char *names[] = {"quantize_u8 1536, factor", "quantize_heads 12 x 32", "gelu_f32 1536"};
	static const int32_t lengths[] = {1536, 384, 1536};

	for (int op = 0; op < 3; op++)
	{
		double		seconds[N_ROUNDS];
		int32_t		n = lengths[op],
					zero;
		float		scales[12];
		int			n_calls = 65536 / n;
		int			n_repeats = 8;

		for (int i = 0; i < N_ROUNDS; i++)
		{
			double		start;

			memcpy(op == 2 && i > 0 ? buf->x : given, op == 2 && i > 0 ? given : buf->x, sizeof(given));
			start = now();
			for (int repeat = 0; repeat < n_repeats; repeat++)
				for (int j = 0; j < n_calls; j++)
				{
					const float *x = buf->x + (size_t) j * n;

					if (op == 0)
						k->quantize_u8(x, buf->bias, n, n, buf->a, &zero);
					else if (op == 1)
						k->quantize_heads(x, 12, 32, 0, buf->a, scales, 1);
					else
						k->gelu_f32((float *) x, n);
				}
			seconds[i] = now() - start;
		}
		print_rate(names[op], (double) n_calls * n_repeats * n, seconds, 0, "elements/ns");
	}
}

/*
 * One head of one text: its products alone count as work, packing and softmax
 * are in the time. Causal attention counts as half of the products.
 */
static void
run_attention(const EmbKernels *k, const Buffers *buf, int32_t n_tokens, int32_t head_size, bool is_causal, double peak)
{
	size_t		padded = emb_head_i8_tokens(n_tokens);
	EmbHeadRowsI8 rows = {
		.k = buf->b, .v = buf->b + HIDDEN * ROWS_MAX, .stride = HIDDEN, .k_scales = buf->a_scale, .v_scales = buf->a_scale
	};
	EmbAttendI8 a = {
		.n_queries = n_tokens, .q = buf->a, .q_stride = HIDDEN, .q_scales = buf->a_scale, .scale = 1e6f,
		.n_seen = is_causal,
		.head = {
			n_tokens, head_size, filled(padded * head_size), filled(padded * 4), filled(padded * 4), filled(padded * 4),
			filled(padded * 4), filled(padded * head_size)
		},
		.scores = filled(EMB_ATTEND_ROWS * padded * 4), .codes = filled(EMB_ATTEND_ROWS * padded),
		.maxima = filled(EMB_ATTEND_ROWS * emb_attend_segments(n_tokens) * 4), .factors = filled(EMB_ATTEND_ROWS * emb_attend_segments(n_tokens) * 4),
		.out = buf->c, .out_stride = HIDDEN
	};
	double		seconds[N_ROUNDS];
	int			n_repeats = 1 + (1 << 20) / (n_tokens * n_tokens);
	char		name[64];

	for (int i = 0; i < N_ROUNDS; i++)
	{
		double		start = now();

		for (int repeat = 0; repeat < n_repeats; repeat++)
		{
			k->pack_head_i8(&rows, &a.head);
			k->attend_i8(&a);
		}
		seconds[i] = now() - start;
	}
	snprintf(name, sizeof(name), "%s, %d tokens, head of %d", is_causal ? "causal" : "attention", n_tokens, head_size);
	print_rate(name, (is_causal ? 2.0 : 4.0) * n_repeats * n_tokens * n_tokens * head_size, seconds, peak, "GOPS");
}

int
main(int argc, char **argv)
{
	static const Shape shapes[] = {
		{"128 x 384 -> 1152", 128, 384, 1152, EMB_ACT_KIND_NONE, true},
		{"128 x 384 -> 384", 128, 384, 384, EMB_ACT_KIND_NONE, true},
		{"128 x 384 -> 1536", 128, 384, 1536, EMB_ACT_KIND_NONE, true},
		{"128 x 384 -> 1536 gelu", 128, 384, 1536, EMB_ACT_KIND_GELU, true},
		{"128 x 1536 -> 384", 128, 1536, 384, EMB_ACT_KIND_NONE, true},
		{"18 x 384 -> 1152", 18, 384, 1152, EMB_ACT_KIND_NONE, true},
		{"18 x 384 -> 1536 gelu", 18, 384, 1536, EMB_ACT_KIND_GELU, true},
		{"18 x 1536 -> 384", 18, 1536, 384, EMB_ACT_KIND_NONE, true},
		{"510 x 384 -> 1152", 510, 384, 1152, EMB_ACT_KIND_NONE, true},
		{"510 x 384 -> 1536 gelu", 510, 384, 1536, EMB_ACT_KIND_GELU, true},
		{"510 x 1536 -> 384", 510, 1536, 384, EMB_ACT_KIND_NONE, true},
		{"1 x 384 -> 1152", 1, 384, 1152, EMB_ACT_KIND_NONE, true},
	};
	Buffers		buf = {
		.a = filled((size_t) ROWS_MAX * WIDE), .b = filled((size_t) 24 << 20),
		.a_scale = filled_floats(ROWS_MAX), .b_scale = filled_floats(WIDE), .bias = filled_floats(WIDE),
		.c = filled_floats((size_t) ROWS_MAX * WIDE), .x = filled_floats(1 << 20),
		.a_zero = filled(ROWS_MAX * sizeof(int32_t)), .b_sums = filled(WIDE * sizeof(int32_t))
	};
	EmbError	err;
	double		peak;

	if (argc > 1 && emb_kernels_select(argv[1], &err) != EMB_OK)
	{
		fprintf(stderr, "%s\n", err.message);
		return 1;
	}
	/* measured on a Zen 4 core: zmm vpdpbusd; ymm vpmaddwd and as many additions */
	peak = strcmp(emb_kernels_name(), "avx512vnni") == 0 ? 470 : strcmp(emb_kernels_name(), "scalar") == 0 ? 0 : 235;
	printf("level %s, one thread, weights of %d layers in turn, %d rounds\n", emb_kernels_name(), N_LAYERS, N_ROUNDS);
	emb_fp_enter();
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		run_gemm(emb_kernels(), &buf, &shapes[i], peak);
	run_model(emb_kernels(), &buf, 18, peak);
	run_model(emb_kernels(), &buf, 128, peak);
	run_model(emb_kernels(), &buf, 510, peak);
	run_rows(emb_kernels(), &buf);
	run_attention(emb_kernels(), &buf, 16, 32, false, peak);
	run_attention(emb_kernels(), &buf, 128, 32, false, peak);
	run_attention(emb_kernels(), &buf, 512, 32, false, peak);
	run_attention(emb_kernels(), &buf, 512, 64, false, peak);
	run_attention(emb_kernels(), &buf, 512, 128, false, peak);
	for (int32_t n = 128; n <= 2048; n *= 4)
		run_attention(emb_kernels(), &buf, n, 128, true, peak);
	return 0;
}
