/*
 * kernels_grouped.c
 *		gemm_grouped against gemm_i8: giga-operations per second (2 per multiply-add)
 *		on the products of Qwen3-0.6B, whose weights come from memory.
 *
 *		kernels_grouped [LEVEL[,LEVEL] [N_ROWS]...]
 *
 * A round runs all products of 28 layers with random weights in int8, then in
 * int4 and in int8 with each group and scales of 16 and of 32 bits, so that a neighbour on the machine disturbs
 * all alike; two levels take turns within a form. Medians and best of the rounds, in CPU time of the thread; the ratios
 * are medians of the rounds' ratios. Rounds end after 9, or after 15 seconds for a number of rows.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/kernels.h"

#define N_LAYERS	28
#define N_ROUNDS	9
#define ROWS_SECONDS	15
#define LEVELS_MAX	2
#define ROWS_MAX	512
#define WIDE		6144
#define N_FORMS		14

typedef struct Product
{
	int32_t		n_in,
				n_out;
} Product;

/* query, key, value, attention's output, gate with up, down */
static const Product products[] = {{1024, 2048}, {1024, 1024}, {1024, 1024}, {2048, 1024}, {1024, 6144}, {3072, 1024}};

#define N_PRODUCTS	(sizeof(products) / sizeof(products[0]))

typedef struct Form
{
	const char *name;
	int32_t		bits;
	int32_t		group;			/* -1: gemm_i8 */
	EmbScaleType scale_type;
} Form;

static const Form forms[N_FORMS] = {
	{"int8", 8, -1, EMB_SCALE_F32},
	{"int4, groups of 128", 4, 128, EMB_SCALE_F16}, {"  fp32 scales", 4, 128, EMB_SCALE_F32},
	{"of 64", 4, 64, EMB_SCALE_F16}, {"  fp32 scales", 4, 64, EMB_SCALE_F32},
	{"of 32", 4, 32, EMB_SCALE_F16}, {"  bf16 scales", 4, 32, EMB_SCALE_BF16}, {"  fp32 scales", 4, 32, EMB_SCALE_F32},
	{"of the row", 4, 0, EMB_SCALE_F16},
	{"int8, groups of 128", 8, 128, EMB_SCALE_F16}, {"  fp32 scales", 8, 128, EMB_SCALE_F32},
	{"of 64", 8, 64, EMB_SCALE_F16},
	{"of 32", 8, 32, EMB_SCALE_F16}, {"  fp32 scales", 8, 32, EMB_SCALE_F32}
};

typedef struct Buffers
{
	uint8_t    *a;				/* [ROWS_MAX, 3072] */
	uint8_t    *b;				/* all layers in int8 */
	uint8_t    *b_i4;			/* all layers in int4 */
	float	   *scale;			/* all layers, groups of 32; also as halves */
	uint8_t    *zero;
	float	   *a_scale,
			   *bias,
			   *c;				/* [ROWS_MAX, WIDE] */
	int32_t    *a_zero;
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
	size_t		padded = (size + 4095) / 4096 * 4096;
	uint32_t   *p = aligned_alloc(4096, padded);
	uint32_t	state = 1;

	if (p == NULL)
		exit(1);
	for (size_t i = 0; i < padded / 4; i++)
	{
		state = state * 1664525u + 1013904223u;
		p[i] = state;
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

/*
 * Floats of which both halves are finite and not small, in both formats:
 * subnormal results take many times as long on Intel.
 */
static float *
filled_scales(size_t n)
{
	float	   *x = filled_floats(n);
	uint16_t   *halves = (uint16_t *) x;

	for (size_t i = 0; i < 2 * n; i++)
		halves[i] = (halves[i] & 0xBFFF) | 0x2000;
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
multiply_i8(const EmbKernels *k, const Buffers *buf, Product product, int32_t n_rows, const uint8_t *b)
{
	EmbGemmI8	g = {
		.n_rows = n_rows, .n_groups = product.n_in / 4, .n_panels = product.n_out / 16,
		.a = buf->a, .a_stride = product.n_in, .a_scale = buf->a_scale, .a_zero = buf->a_zero,
		.b = (const int8_t *) b, .b_scale = buf->bias, .b_sums = (const int32_t *) buf->bias, .bias = buf->bias,
		.c = buf->c, .c_stride = product.n_out
	};

	k->gemm_i8(&g);
}

static void
multiply_grouped(const EmbKernels *k, const Buffers *buf, Product product, int32_t n_rows, const Form *form, size_t at, size_t scales)
{
	EmbGemmGrouped	g = {
		.n_rows = n_rows, .n_in = product.n_in, .bits = form->bits, .group = form->group, .n_panels = product.n_out / 16,
		.a = buf->a, .a_stride = product.n_in, .a_scale = buf->a_scale, .a_zero = buf->a_zero,
		.b = form->bits == 4 ? buf->b_i4 + at / 2 : buf->b + at, .scale_type = form->scale_type,
		.b_scale = (const char *) buf->scale + scales * emb_scale_bytes(form->scale_type), .b_zero = buf->zero + scales, .b_sums = buf->bias, .bias = buf->bias,
		.c = buf->c, .c_stride = product.n_out
	};

	k->gemm_grouped(&g);
}

/* All layers; returns the seconds. */
static double
run(const EmbKernels *k, const Buffers *buf, int32_t n_rows, const Form *form, int n_layers)
{
	double		start = now();
	size_t		at = 0;			/* weights before this product */
	size_t		scales = 0;

	for (int l = 0; l < n_layers; l++)
		for (size_t i = 0; i < N_PRODUCTS; i++)
		{
			Product		p = products[i];

			if (form->group < 0)
				multiply_i8(k, buf, p, n_rows, buf->b + at);
			else
			{
				multiply_grouped(k, buf, p, n_rows, form, at, scales);
				scales += (size_t) emb_pack_group_scales(p.n_in, form->group) * p.n_out;
			}
			at += (size_t) p.n_in * p.n_out;
		}
	return now() - start;
}

typedef struct Levels
{
	const EmbKernels *k[LEVELS_MAX];
	const char *name[LEVELS_MAX];
	int			n;
} Levels;

/* Medians of the first n_rounds rounds. */
static void
report(const Levels *levels, int32_t n_rows, double work, int n_rounds, double seconds[N_FORMS][LEVELS_MAX][N_ROUNDS])
{
	for (int f = 0; f < N_FORMS; f++)
		for (int l = 0; l < levels->n; l++)
		{
			double		of_int8[N_ROUNDS],
						of_first[N_ROUNDS],
						sorted[N_ROUNDS];

			for (int i = 0; i < n_rounds; i++)
			{
				sorted[i] = seconds[f][l][i];
				of_int8[i] = seconds[0][l][i] / seconds[f][l][i];
				of_first[i] = seconds[f][0][i] / seconds[f][l][i];
			}
			qsort(sorted, n_rounds, sizeof(double), compare);
			qsort(of_int8, n_rounds, sizeof(double), compare);
			qsort(of_first, n_rounds, sizeof(double), compare);
			printf("%4d rows, %-20s %-10s best %6.1f median %6.1f GOPS  %5.3f of int8 (%5.3f to %5.3f)", n_rows, forms[f].name,
				   levels->name[l], work / sorted[0], work / sorted[n_rounds / 2], of_int8[n_rounds / 2], of_int8[0],
				   of_int8[n_rounds - 1]);
			if (l > 0)
				printf("  %5.3f of %s", of_first[n_rounds / 2], levels->name[0]);
			printf("\n");
		}
	fflush(stdout);
}

static void
bench(const Levels *levels, const Buffers *buf, int32_t n_rows, int n_layers)
{
	static double seconds[N_FORMS][LEVELS_MAX][N_ROUNDS];
	double		work = 0,
				end = now() + ROWS_SECONDS;
	int			n_rounds = 0;

	for (size_t i = 0; i < N_PRODUCTS; i++)
		work += 2e-9 * n_layers * n_rows * products[i].n_in * products[i].n_out;
	while (n_rounds < N_ROUNDS && (n_rounds == 0 || now() < end))
	{
		for (int f = 0; f < N_FORMS; f++)
			for (int l = 0; l < levels->n; l++)
				seconds[f][l][n_rounds] = run(levels->k[l], buf, n_rows, &forms[f], n_layers);
		n_rounds++;
	}
	report(levels, n_rows, work, n_rounds, seconds);
}

static const EmbKernels *
select_level(const char *name)
{
	EmbError	err;

	if (name != NULL && emb_kernels_select(name, &err) != EMB_OK)
	{
		fprintf(stderr, "%s\n", err.message);
		exit(1);
	}
	return emb_kernels();
}

int
main(int argc, char **argv)
{
	static const int32_t rows[] = {96, 16, 48, 400};
	size_t		n_weights = 0;
	int			n_layers = N_LAYERS;
	Buffers		buf;
	Levels		levels = {.n = 0};

	for (char *name = argc > 1 ? strtok(argv[1], ",") : NULL; levels.n == 0 || (name != NULL && levels.n < LEVELS_MAX);
		 name = name != NULL ? strtok(NULL, ",") : NULL)
	{
		levels.k[levels.n] = select_level(name);
		levels.name[levels.n++] = emb_kernels_name();
		if (strcmp(emb_kernels_name(), "scalar") == 0)
			n_layers = 1;
	}
	for (size_t i = 0; i < N_PRODUCTS; i++)
		n_weights += (size_t) n_layers * products[i].n_in * products[i].n_out;
	buf = (Buffers) {
		.a = filled((size_t) ROWS_MAX * 3072), .b = filled(n_weights), .b_i4 = filled(n_weights / 2),
		.scale = filled_scales(n_weights / 32), .zero = filled(n_weights / 32),
		.a_scale = filled_floats(ROWS_MAX), .bias = filled_floats(WIDE), .c = filled_floats((size_t) ROWS_MAX * WIDE),
		.a_zero = filled(ROWS_MAX * sizeof(int32_t))
	};
	for (int i = 0; i < ROWS_MAX; i++)
		buf.a_zero[i] &= 255;
	printf("level %s%s%s, one thread, %d layers of Qwen3-0.6B's shape, at most %d rounds\n", levels.name[0], levels.n > 1 ? " and " : "",
		   levels.n > 1 ? levels.name[1] : "", n_layers, N_ROUNDS);
	emb_fp_enter();
	for (int i = 2; i < argc; i++)
		bench(&levels, &buf, atoi(argv[i]) < ROWS_MAX ? atoi(argv[i]) : ROWS_MAX, n_layers);
	for (size_t i = 0; argc <= 2 && i < (n_layers == N_LAYERS ? sizeof(rows) / sizeof(rows[0]) : 1); i++)
		bench(&levels, &buf, n_layers == N_LAYERS ? rows[i] : 4, n_layers);
	return 0;
}
