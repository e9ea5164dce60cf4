/*
 * kernels_steps.c
 *		Cycles that each step of a layer costs a token, measured with the kernels
 *		alone, beside what the step must cost by a model of the CPU: the shape of
 *		bge-small in int8, a block of 64 rows, texts of TOKENS tokens.
 *
 *		kernels_steps [LEVEL [TOKENS]]
 *
 * The model counts vectors of 16 elements and, for each, operations of three
 * kinds: those that need a multiplier (products of bytes, mul, fma), shuffles
 * that narrow, and all others. Zen 4 makes a multiplication, a shuffle and
 * another operation of 512 bits in a cycle. A core of Intel's since 2021 makes
 * two operations of any kind (ports 0 and 5), one of them a shuffle. Loads and
 * stores of 64 bytes: one, and a half, on Zen 4; two, and one, on Intel. The
 * largest of these sums is what the step must cost where nothing waits. So the
 * columns of the model are for AVX-512, whatever level is measured.
 *
 * Cycles are wall time and the clock, which a chain of additions measures after
 * every round: a core of Intel's does scalar code at 4.07 GHz and products of 512
 * bits at 3.2 to 3.7, by the power that they draw, and does not return to the
 * higher clock within these few microseconds. So run it with real-time priority.
 * Weights of 12 layers come in turn, from the third-level cache. Best of the
 * rounds. The last column is the clock of the best round.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/kernels.h"

#define HIDDEN		384
#define WIDE		1536
#define HEADS		12
#define HEAD_SIZE	(HIDDEN / HEADS)
#define N_LAYERS	12
#define N_ROWS		64
#define N_ROUNDS	15
#define TOKENS_MAX	4096

/* Operations for a vector of 16 elements. */
typedef struct Cost
{
	double		multiplications,
				shuffles,
				others,
				loads,
				stores;
} Cost;

typedef struct Bench
{
	const EmbKernels *k;
	int32_t		n_tokens;
	uint8_t    *a;
	int8_t	   *b;
	float	   *a_scale,
			   *b_scale,
			   *c,
			   *x,
			   *gamma,
			   *range,
			   *scales;
	int32_t    *a_zero,
			   *b_sums,
			   *zeros;
	uint8_t    *codes;
	EmbAttendI8 attend;
	EmbHeadRowsI8 rows;
} Bench;

typedef void (*Step) (const Bench *bench, int32_t layer);

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

#define EIGHT(x) x x x x x x x x

/* Additions that wait for each other, one a cycle; 2 us each time, the best counts. */
static double
measure_ghz(void)
{
	double		best = 0;

	for (int i = 0; i < 5; i++)
	{
		double		start = now();
		double		ghz;
		uint64_t	x = 0;

		for (uint64_t n = 0; n < 120; n++)
		{
			EIGHT(EIGHT(x += n; __asm__ volatile ("" : "+r"(x));))
		}
		ghz = 64 * 120 / (now() - start);
		best = ghz > best ? ghz : best;
	}
	return best;
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

/* -1 .. 1, or their magnitudes */
static float *
filled_floats(size_t n, bool is_positive)
{
	float	   *x = filled(n * sizeof(float));

	for (size_t i = 0; i < n; i++)
	{
		int32_t		bits;

		memcpy(&bits, &x[i], sizeof(bits));
		x[i] = (float) (is_positive ? (bits & 0x7FFFFFFF) | 1 : bits) * 0x1p-31f;
	}
	return x;
}

/* -------------------------------------------------------------- the steps */

static void
multiply(const Bench *bench, int32_t layer, int32_t n_in, int32_t n_out, bool activates)
{
	EmbGemmI8	g = {
		.n_rows = N_ROWS, .n_groups = n_in / 4, .n_panels = n_out / EMB_PANEL, .a = bench->a, .a_stride = n_in,
		.a_scale = bench->a_scale, .a_zero = bench->a_zero, .b = bench->b + (size_t) layer * n_in * n_out,
		.b_scale = bench->b_scale, .b_sums = bench->b_sums, .bias = bench->gamma, .c = bench->c, .c_stride = n_out,
		.act = activates ? EMB_ACT_KIND_GELU : EMB_ACT_KIND_NONE, .factor = activates ? bench->gamma : NULL,
		.range = activates ? bench->range : NULL
	};

	bench->k->gemm_i8(&g);
}

static void
step_qkv(const Bench *bench, int32_t layer)
{
	multiply(bench, layer, HIDDEN, 3 * HIDDEN, false);
}

static void
step_attn_out(const Bench *bench, int32_t layer)
{
	multiply(bench, layer, HIDDEN, HIDDEN, false);
}

static void
step_up(const Bench *bench, int32_t layer)
{
	multiply(bench, layer, HIDDEN, WIDE, false);
}

static void
step_up_gelu(const Bench *bench, int32_t layer)
{
	multiply(bench, layer, HIDDEN, WIDE, true);
}

static void
step_down(const Bench *bench, int32_t layer)
{
	multiply(bench, layer, WIDE, HIDDEN, false);
}

static void
step_norm(const Bench *bench, int32_t layer)
{
	EmbNormRows g = {
		.n_rows = N_ROWS, .n = HIDDEN, .x = bench->c, .x_stride = HIDDEN, .residual = bench->x, .residual_stride = HIDDEN,
		.gamma = bench->gamma, .beta = bench->gamma, .eps = 1e-12f, .y = bench->x, .y_stride = HIDDEN,
		.factor = bench->gamma, .codes = bench->codes, .code_stride = HIDDEN, .scales = bench->scales, .zeros = bench->zeros
	};

	(void) layer;
	bench->k->norm_rows(&g);
}

static void
step_context(const Bench *bench, int32_t layer)
{
	(void) layer;
	bench->k->quantize_rows(&(EmbQuantRows) {
		.n_rows = N_ROWS, .n = HIDDEN, .x = bench->x, .x_stride = HIDDEN, .codes = bench->codes, .code_stride = HIDDEN,
		.scales = bench->scales, .zeros = bench->zeros
	});
}

static void
step_wide(const Bench *bench, int32_t layer)
{
	(void) layer;
	bench->k->quantize_rows(&(EmbQuantRows) {
		.n_rows = N_ROWS, .n = WIDE, .x = bench->x, .x_stride = WIDE, .ranges = bench->range, .codes = bench->codes,
		.code_stride = WIDE, .scales = bench->scales, .zeros = bench->zeros
	});
}

/* Queries, keys and values. */
static void
step_heads(const Bench *bench, int32_t layer)
{
	(void) layer;
	for (int32_t i = 0; i < 3 * N_ROWS; i++)
		bench->k->quantize_heads(bench->x + i * HIDDEN, HEADS, HEAD_SIZE, 0, bench->codes + i * HIDDEN, bench->scales + i, 3 * N_ROWS);
}

/* A head; its time counts as all heads of a text divided by its tokens. */
static void
step_pack(const Bench *bench, int32_t layer)
{
	(void) layer;
	bench->k->pack_head_i8(&bench->rows, &bench->attend.head);
}

static void
step_attend(const Bench *bench, int32_t layer)
{
	(void) layer;
	bench->k->attend_i8(&bench->attend);
}

/* -------------------------------------------------------------- measuring */

/* Cycles for one token of a step that takes n_tokens at a time; sets the clock. */
static double
measure(const Bench *bench, Step step, double n_tokens, double *ghz)
{
	double		best = 1e30;

	for (int i = 0; i < N_ROUNDS; i++)
	{
		double		start = now();
		double		cycles;
		double		clock;

		for (int32_t layer = 0; layer < N_LAYERS; layer++)
			step(bench, layer);
		cycles = now() - start;
		clock = measure_ghz();
		cycles *= clock;
		if (cycles < best)
		{
			best = cycles;
			*ghz = clock;
		}
	}
	return best / N_LAYERS / n_tokens;
}

static double
largest(double a, double b)
{
	return a > b ? a : b;
}

static double
zen4(Cost c)
{
	return largest(largest(c.multiplications, c.shuffles), largest(c.others, largest(c.loads, 2 * c.stores)));
}

static double
intel(Cost c)
{
	return largest(largest((c.multiplications + c.shuffles + c.others) / 2, c.shuffles), largest(c.loads / 2, c.stores));
}

static double total[3];

static void
print_step(const Bench *bench, const char *name, double n_vectors, Cost c, Step step, double n_tokens)
{
	double		ghz;
	double		cycles[3] = {n_vectors * zen4(c), n_vectors * intel(c), measure(bench, step, n_tokens, &ghz)};

	printf("| %s | %.0f | %.0f | %.0f | %.2f |\n", name, cycles[0], cycles[1], cycles[2], ghz);
	for (int i = 0; i < 3; i++)
		total[i] += cycles[i];
}

/*
 * The steps' costs. A product of K inputs: K / 4 products of bytes, then 3 multiplications and a conversion
 * (zero points in fp32); with more than 512 inputs also a subtraction, and vpmulld is two operations on Intel.
 */
static void
print_steps(const Bench *bench)
{
	double		n_scores = (double) HEADS * bench->n_tokens / EMB_PANEL;
	double		n_head = bench->n_tokens / (double) HEADS;
	double		ghz;

	print_step(bench, "queries, keys, values: product", 72, (Cost) {96 + 3, 0, 1, 0, 1}, step_qkv, N_ROWS);
	print_step(bench, "their codes by heads", 72, (Cost) {1.1, 2.3, 3.9, 2.5, 0.25}, step_heads, N_ROWS);
	print_step(bench, "heads packed", 72, (Cost) {0.5, 0.9, 0, 1, 0.75}, step_pack, n_head);
	print_step(bench, "attention", n_scores, (Cost) {22, 1, 10, 3, 1.5}, step_attend, n_head);
	print_step(bench, "codes of its output", 24, (Cost) {1, 1, 4, 2, 0.25}, step_context, N_ROWS);
	print_step(bench, "attention's output: product", 24, (Cost) {96 + 3, 0, 1, 0, 1}, step_attn_out, N_ROWS);
	print_step(bench, "two norms with codes", 48, (Cost) {6, 1, 8, 6.75, 2.25}, step_norm, N_ROWS / 2);
	print_step(bench, "FFN-up: product, GELU, ranges", 96, (Cost) {96 + 10, 0, 6, 1, 2}, step_up_gelu, N_ROWS);
	print_step(bench, "codes of the FFN's middle", 96, (Cost) {1, 1, 2, 1, 0.25}, step_wide, N_ROWS);
	print_step(bench, "FFN-down: product", 24, (Cost) {384 + 3, 0, 3, 0, 1}, step_down, N_ROWS);
	printf("| a layer | %.0f | %.0f | %.0f | |\n", total[0], total[1], total[2]);
	printf("\nFFN-up without GELU: %.0f. Products of bytes alone: %.0f (Zen 4), %.0f (Intel).\n", measure(bench, step_up, N_ROWS, &ghz),
		   27648 + n_scores * 16, (27648 + n_scores * 16) / 2);
}

static void
prepare(Bench *bench)
{
	size_t		padded = emb_head_i8_tokens(bench->n_tokens);
	size_t		n_segments = EMB_ATTEND_ROWS * emb_attend_segments(bench->n_tokens);
	size_t		n_a = (size_t) TOKENS_MAX * HIDDEN;

	bench->a = filled(n_a);
	bench->b = filled((size_t) N_LAYERS * HIDDEN * WIDE);
	bench->a_scale = filled_floats(TOKENS_MAX, true);
	bench->b_scale = filled_floats(WIDE, true);
	bench->gamma = filled_floats(WIDE, false);
	bench->c = filled_floats(n_a, false);
	bench->x = filled_floats(n_a, false);
	bench->range = filled_floats(N_ROWS * EMB_RANGE, true);
	bench->scales = filled_floats(3 * N_ROWS * HEADS, true);
	bench->codes = filled((size_t) 3 * N_ROWS * WIDE);
	bench->zeros = filled(N_ROWS * sizeof(int32_t));
	bench->a_zero = filled(N_ROWS * sizeof(int32_t));
	bench->b_sums = filled(WIDE * sizeof(int32_t));
	for (int i = 0; i < N_ROWS; i++)
		bench->a_zero[i] &= 255;
	for (int i = 0; i < WIDE; i++)
		bench->b_sums[i] >>= 16;
	bench->rows = (EmbHeadRowsI8) {
		.k = bench->b, .v = bench->b + n_a, .stride = HIDDEN, .k_scales = bench->a_scale, .v_scales = bench->a_scale
	};
	bench->attend = (EmbAttendI8) {
		.n_queries = bench->n_tokens, .q = bench->a, .q_stride = HIDDEN, .q_scales = bench->a_scale, .scale = 1e6f,
		.head = {
			bench->n_tokens, HEAD_SIZE, filled(padded * HEAD_SIZE), filled(padded * 4), filled(padded * 4), filled(padded * 4),
			filled(padded * 4), filled(padded * HEAD_SIZE)
		},
		.scores = filled(EMB_ATTEND_ROWS * padded * 4), .codes = filled(EMB_ATTEND_ROWS * padded),
		.maxima = filled(n_segments * 4), .factors = filled(n_segments * 4), .out = bench->c, .out_stride = HIDDEN
	};
}

int
main(int argc, char **argv)
{
	Bench		bench = {.n_tokens = argc > 2 ? atoi(argv[2]) : 128};
	EmbError	err;

	if (argc > 1 && emb_kernels_select(argv[1], &err) != EMB_OK)
	{
		fprintf(stderr, "%s\n", err.message);
		return 1;
	}
	if (bench.n_tokens < 1 || bench.n_tokens > TOKENS_MAX)
	{
		fprintf(stderr, "kernels_steps: tokens must be 1 to %d\n", TOKENS_MAX);
		return 1;
	}
	bench.k = emb_kernels();
	emb_fp_enter();
	prepare(&bench);
	printf("level %s, %.2f GHz before, texts of %d tokens; cycles for a token in a layer\n\n", emb_kernels_name(), measure_ghz(),
		   (int) bench.n_tokens);
	printf("| step | must, Zen 4 | must, Intel | here | GHz |\n| --- | --- | --- | --- | --- |\n");
	print_steps(&bench);
	return 0;
}
