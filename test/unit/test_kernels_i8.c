/*
 * test_kernels_i8.c
 *		Every int8 kernel of kernels.def against scalar, bit for bit: sizes around
 *		the tiles, extremes, what is not finite, odd alignment, and a page that
 *		traps behind each buffer. Scalar itself against plain arithmetic.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/declare.h"
#include "unit.h"

/* The AVX-VNNI kernel once more, in the encoding of AVX-512, and the AMX kernel on a model of its tiles. */
#if defined(__x86_64__)
#include "amx_model.h"
#include "avxvnni_as_evex.h"

#define emb_gemm_i8_avxvnni emb_gemm_i8_evex
extern emb_op_gemm_i8 emb_gemm_i8_evex;
#include "kernels/gemm_i8_avxvnni.c"
#undef emb_gemm_i8_avxvnni
#undef ROWS_MAX
#undef PANELS_MAX

#define emb_gemm_i8_amx emb_gemm_i8_amx_on_model
extern emb_op_gemm_i8 emb_gemm_i8_amx_on_model;
#include "kernels/gemm_i8_amx.c"
#undef emb_gemm_i8_amx

/* Counts the products of tiles. */
static void
gemm_i8_amx_modelled(const EmbGemmI8 *g)
{
	long		n_before = amx_model.n_products;
	bool		fits = g->n_rows >= ROWS_MIN && g->n_groups % STEP_GROUPS == 0;
	int32_t		n_tiles = (g->n_rows - 1) / TILE_ROWS + 1;
	long		n_products = fits ? (long) n_tiles * g->n_panels * (g->n_groups / STEP_GROUPS) : 0;

	emb_gemm_i8_amx_on_model(g);
	amx_model_expect(n_before + n_products, g->n_rows, 4 * g->n_groups, g->n_panels);
}
#endif

#include "kernels/cpu.h"
#include "kernel_util.h"

/*
 * gemm_i8
 */
typedef enum Fill
{
	FILL_RANDOM,
	FILL_HIGH,					/* 255 x 127 */
	FILL_LOW,					/* 255 x -128 */
	FILL_ZERO
} Fill;

typedef struct GemmCase
{
	int32_t		n_rows,
				n_groups,
				n_panels;
	int			slack;			/* unaligned by so many bytes, strides longer by as many */
	Fill		fill;
	bool		has_zero,
				has_bias;
	EmbActKind	act;
	bool		has_factor;
	bool		gated;
} GemmCase;

/* The columns' real sums, as kernels.h asks. */
static void
sum_columns(const int8_t *b, int32_t n_groups, int32_t n_panels, int32_t *sums)
{
	for (int32_t p = 0; p < n_panels; p++)
		for (int j = 0; j < 16; j++)
		{
			int32_t		sum = 0;

			for (int32_t i = 0; i < n_groups; i++)
				for (int k = 0; k < 4; k++)
					sum += b[(((size_t) p * n_groups + i) * 16 + j) * 4 + k];
			memcpy((uint8_t *) sums + (p * 16 + j) * 4, &sum, 4);
		}
}

static EmbGemmI8
make_gemm(const GemmCase *c)
{
	size_t		k = (size_t) c->n_groups * 4;
	size_t		a_stride = k + c->slack;
	size_t		n_a = (c->n_rows - 1) * a_stride + k;
	size_t		n_b = k * 16 * c->n_panels;
	size_t		n = 16 * (size_t) c->n_panels;
	EmbGemmI8	g = {
		.n_rows = c->n_rows, .n_groups = c->n_groups, .n_panels = c->n_panels,
		.a = place(bufs[0], n_a), .a_stride = a_stride,
		.b = place(bufs[1], n_b),
		.a_scale = place(bufs[2], 4 * c->n_rows),
		.a_zero = c->has_zero ? place(bufs[3], 4 * c->n_rows) : NULL,
		.b_scale = place(bufs[4], 4 * n),
		.b_sums = c->has_zero ? place(bufs[5], 4 * n) : NULL,
		.bias = c->has_bias ? place(bufs[6], 4 * n) : NULL,
		.c_stride = n + c->slack, .act = c->act, .gated = c->gated,
		.factor = c->has_factor ? place(bufs[9], 4 * n) : NULL
	};

	fill_bytes((uint8_t *) g.a, n_a);
	fill_bytes((int8_t *) g.b, n_b);
	if (c->fill != FILL_RANDOM)
	{
		memset((uint8_t *) g.a, c->fill == FILL_ZERO ? 0 : 255, n_a);
		memset((int8_t *) g.b, c->fill == FILL_HIGH ? 127 : c->fill == FILL_LOW ? -128 : 0, n_b);
	}
	fill_floats((float *) g.a_scale, c->n_rows, 0);
	fill_floats((float *) g.b_scale, n, 0);
	if (c->has_bias)
		fill_floats((float *) g.bias, n, 0);
	if (c->has_factor)
		fill_floats((float *) g.factor, n, 0);
	for (int32_t m = 0; c->has_zero && m < c->n_rows; m++)
		((int32_t *) g.a_zero)[m] = next_random() % 256;
	if (c->has_zero)
		sum_columns(g.b, c->n_groups, c->n_panels, (int32_t *) g.b_sums);
	return g;
}

static int
compare_gemm(const GemmCase *c)
{
	EmbGemmI8	g = make_gemm(c);
	size_t		n_c = (c->n_rows - 1) * g.c_stride + 16 * (size_t) c->n_panels;
	float	   *expected = place(bufs[7], 4 * n_c);
	float	   *got = place(bufs[8], 4 * n_c);
	size_t		n_range = (size_t) c->n_rows * EMB_RANGE;
	float	   *ranges[2] = {place(bufs[10], 4 * n_range), place(bufs[11], 4 * n_range)};

	memset(expected, 0x55, 4 * n_c);
	memset(ranges[0], 0, 4 * n_range);
	g.c = expected;
	g.range = c->has_factor ? ranges[0] : NULL;
	emb_gemm_i8_scalar(&g);
	for (int i = 0; i < n_gemm_i8; i++)
	{
		memset(got, 0x55, 4 * n_c);
		memset(ranges[1], 0, 4 * n_range);
		g.c = got;
		g.range = c->has_factor ? ranges[1] : NULL;
		list_gemm_i8[i].fn(&g);
		if (c->gated)
			forget_second_halves(got, expected, c->n_rows, g.c_stride, c->n_panels);
		if (memcmp(expected, got, 4 * n_c) != 0 || memcmp(ranges[0], ranges[1], 4 * n_range) != 0)
		{
			printf("# gemm_i8 %s differs: rows %d groups %d panels %d slack %d fill %d zero %d bias %d act %d factor %d gated %d\n",
				   list_gemm_i8[i].isa, c->n_rows, c->n_groups, c->n_panels, c->slack, c->fill,
				   c->has_zero, c->has_bias, c->act, c->has_factor, c->gated);
			return 1;
		}
	}
	return 0;
}

static void
test_gemm(void)
{
	static const int32_t rows[] = {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 23};
	static const int32_t groups[] = {1, 2, 3, 15, 16, 17, 53};
	static const int32_t panels[] = {1, 2, 3, 4, 5, 7, 8, 11};
	int			n_wrong = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t j = 0; j < sizeof(groups) / sizeof(groups[0]); j++)
			for (size_t k = 0; k < sizeof(panels) / sizeof(panels[0]); k++)
			{
				uint32_t	r = next_random();
				GemmCase	c = {
					rows[i], groups[j], panels[k], (int) (r % 4), FILL_RANDOM, (r & 4) != 0, (r & 8) != 0,
					(EmbActKind) ((r >> 4) % 5), (r & 64) != 0, false
				};

				n_wrong += compare_gemm(&c);
			}
	CHECKF(n_wrong == 0, "%d sizes of gemm_i8 differ, seed 20240607", n_wrong);
	n_wrong = 0;
	for (int fill = FILL_HIGH; fill <= FILL_ZERO; fill++)
		for (int r = 0; r < 4; r++)
		{
			GemmCase	few = {7, 1024, 5, r, (Fill) fill, r & 1, r & 2, (EmbActKind) r, r & 1, false};	/* K = 4096 */
			GemmCase	wide = {1, 16384, 1, r, (Fill) fill, r & 1, r & 2, EMB_ACT_KIND_NONE, r & 1, false};	/* K = 65,536 */
			GemmCase	pairs = {5, 8192, 1, r, (Fill) fill, r & 1, r & 2, EMB_ACT_KIND_NONE, r & 1, false};	/* sums of -2^22 */
			GemmCase	beyond = {5, 8208, 1, r, (Fill) fill, r & 1, r & 2, EMB_ACT_KIND_NONE, r & 1, false};

			n_wrong += compare_gemm(&few) + compare_gemm(&wide) + compare_gemm(&pairs) + compare_gemm(&beyond);
		}
	CHECKF(n_wrong == 0, "%d extremes of gemm_i8 differ", n_wrong);
	n_wrong = 0;
	for (int32_t k = 125; k <= 131; k++)	/* around the blocks of avx2, of groups and of rows, and two of them */
	{
		GemmCase	one = {13, k, 5, 1, FILL_RANDOM, true, true, EMB_ACT_KIND_GELU, true, false};
		GemmCase	two = {5, 128 + k, 3, 3, FILL_RANDOM, true, false, EMB_ACT_KIND_NONE, false, false};
		GemmCase	rows = {k, 19, 3, 2, FILL_RANDOM, true, true, EMB_ACT_KIND_GELU, true, false};
		GemmCase	both = {128 + k, k, 2, 1, FILL_RANDOM, false, true, EMB_ACT_KIND_NONE, true, false};

		n_wrong += compare_gemm(&one) + compare_gemm(&two) + compare_gemm(&rows) + compare_gemm(&both);
	}
	CHECKF(n_wrong == 0, "%d block sizes of gemm_i8 differ", n_wrong);
	n_wrong = 0;
	for (int r = 0; r < 8; r++)	/* K is cut where the first-level cache is large */
	{
		GemmCase	cut = {31 + r, 256 + r, 7, r, FILL_RANDOM, r & 1, r & 2, (EmbActKind) (r % 5), r & 4, false};
		GemmCase	high = {33, 384, 3, r, FILL_HIGH, r & 1, r & 2, EMB_ACT_KIND_NONE, false, false};

		emb_cpu_pretend_l1_bytes(r & 1 ? 48 << 10 : 32 << 10);
		n_wrong += compare_gemm(&cut) + compare_gemm(&high);
		emb_cpu_pretend_l1_bytes(r & 1 ? 32 << 10 : 48 << 10);
		n_wrong += compare_gemm(&cut) + compare_gemm(&high);
	}
	emb_cpu_pretend_l1_bytes(0);
	CHECKF(n_wrong == 0, "%d cuts of K of gemm_i8 differ", n_wrong);
	n_wrong = 0;
	for (int32_t n = 4; n <= 81; n += n < 52 ? 1 : 9)	/* around the tiles of amx, even and uneven */
		for (int32_t p = 1; p <= 9; p += n % 3 + 1)
		{
			uint32_t	r = next_random();
			GemmCase	c = {
				n, 16 * (1 + n % 3), p, (int) (r % 4), FILL_RANDOM, (r & 4) != 0, (r & 8) != 0,
				(EmbActKind) ((r >> 4) % 5), (r & 64) != 0, false
			};

			n_wrong += compare_gemm(&c);
		}
	CHECKF(n_wrong == 0, "%d tiles of gemm_i8 differ", n_wrong);
}

/* Gates and values: pairs of panels, around the tiles, and blocks of K and of rows. */
static void
test_gated(void)
{
	static const int32_t rows[] = {1, 2, 3, 5, 6, 8, 9, 15, 17, 33, 48, 131};
	static const int32_t groups[] = {1, 3, 16, 32, 130, 528};
	int			n_wrong = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t j = 0; j < sizeof(groups) / sizeof(groups[0]); j++)
			for (int32_t n_panels = 2; n_panels <= 16; n_panels += 2)
			{
				uint32_t	r = next_random();
				GemmCase	c = {
					rows[i], groups[j], n_panels, (int) (r % 4), FILL_RANDOM, (r & 4) != 0, (r & 8) != 0,
					(EmbActKind) ((r >> 4) % 5), (r & 64) != 0, true
				};

				if ((rows[i] < 33 || n_panels < 6) && groups[j] * n_panels < 3000)
					n_wrong += compare_gemm(&c);
			}
	CHECKF(n_wrong == 0, "%d gated products differ", n_wrong);
}

/* A dot product by hand: what scalar makes of one element. */
static void
test_gemm_meaning(void)
{
	GemmCase	c = {3, 5, 2, 0, FILL_RANDOM, true, true, EMB_ACT_KIND_NONE, false, false};
	EmbGemmI8	g = make_gemm(&c);
	int			n_wrong = 0;

	g.c = place(bufs[7], 4 * 3 * 32);
	emb_gemm_i8_scalar(&g);
	for (int m = 0; m < 3; m++)
		for (int n = 0; n < 32; n++)
		{
			int64_t		s = 0;

			for (int k = 0; k < 20; k++)
				s += (int64_t) (g.a[m * g.a_stride + k] - g.a_zero[m]) *
					g.b[(((size_t) n / 16 * 5 + k / 4) * 16 + n % 16) * 4 + k % 4];
			n_wrong += g.c[m * g.c_stride + n] != fmaf((float) s, g.a_scale[m] * g.b_scale[n], g.bias[n]);
		}
	CHECKF(n_wrong == 0, "%d elements", n_wrong);
}

/*
 * Quantizing. Two output areas, for what scalar and the level write.
 */
static const int32_t lengths[] = {1, 2, 15, 16, 17, 31, 32, 33, 53, 63, 64, 65, 127, 128, 129, 384, 1000, 1536};

#define N_LENGTHS ((int) (sizeof(lengths) / sizeof(lengths[0])))

static int
compare_quantize(int32_t n, int wild, bool has_factor, int pad)
{
	float	   *x = place(bufs[0], 4 * n);
	float	   *factor = has_factor ? place(bufs[1], 4 * n) : NULL;
	uint8_t    *expected = place(bufs[2], n + pad),
			   *got = place(bufs[3], n + pad);
	float		scale;
	int32_t		zero = -1;
	int			n_wrong = 0;

	fill_floats(x, n, wild);
	if (wild == 2)
		memset(x, 0, 4 * n);
	if (has_factor)
		fill_floats(factor, n, wild);
	scale = emb_quantize_u8_scalar(x, factor, n, n + pad, expected, &zero);
	for (int i = 0; i < n_quantize_u8; i++)
	{
		int32_t		other_zero = -2;
		float		other = list_quantize_u8[i].fn(x, factor, n, n + pad, memset(got, 0x55, n + pad), &other_zero);

		n_wrong += report(memcmp(&scale, &other, 4) != 0 || zero != other_zero || memcmp(expected, got, n + pad) != 0,
						  "quantize_u8", list_quantize_u8[i].isa, n);
	}
	n_wrong += report(!isfinite(scale) || scale <= 0 || zero < 0 || zero > 255, "scale of quantize_u8", "scalar", n);
	return n_wrong;
}

/* Rows with a gap between them against quantize_u8 of scalar; with ranges, those of other lanes than the elements'. */
static int
compare_quantize_rows(int32_t n_rows, int32_t n, int slack, int wild, bool has_factor, bool has_ranges)
{
	size_t		stride = n + slack;
	size_t		n_x = (n_rows - 1) * stride + n;
	size_t		n_codes = n_rows * stride;
	float	   *x = place(bufs[0], 4 * n_x);
	float	   *factor = has_factor ? place(bufs[1], 4 * n) : NULL;
	float	   *ranges = has_ranges ? place(bufs[2], 4 * EMB_RANGE * n_rows) : NULL;
	uint8_t    *codes[2] = {place(bufs[3], n_codes), place(bufs[4], n_codes)};
	float	   *scales[2] = {place(bufs[5], 4 * n_rows), place(bufs[6], 4 * n_rows)};
	int32_t    *zeros[2] = {place(bufs[7], 4 * n_rows), place(bufs[8], 4 * n_rows)};
	int			n_wrong = 0;

	fill_floats(x, n_x, wild);
	if (has_factor)
		fill_floats(factor, n, wild);
	if (has_ranges)
		memset(ranges, 0, 4 * EMB_RANGE * n_rows);
	for (int32_t m = 0; m < n_rows; m++)
	{
		const float *row = x + m * stride;

		scales[0][m] = emb_quantize_u8_scalar(row, factor, n, (int32_t) stride, codes[0] + m * stride, &zeros[0][m]);
		for (int32_t i = 0; has_ranges && i < n; i++)
		{
			float		y = has_factor ? row[i] * factor[i] : row[i];
			float	   *kept = ranges + m * EMB_RANGE + next_random() % EMB_PANEL;

			kept[0] = -y > kept[0] ? -y : kept[0];
			kept[EMB_PANEL] = y > kept[EMB_PANEL] ? y : kept[EMB_PANEL];
		}
	}
	for (int i = 0; i < n_quantize_rows; i++)
	{
		memset(codes[1], 0x55, n_codes);
		memset(scales[1], 0x55, 4 * n_rows);
		memset(zeros[1], 0x55, 4 * n_rows);
		list_quantize_rows[i].fn(&(EmbQuantRows) {
			.n_rows = n_rows, .n = n, .x = x, .x_stride = stride, .factor = factor, .ranges = ranges, .codes = codes[1],
			.code_stride = stride, .scales = scales[1], .zeros = zeros[1]
		});
		n_wrong += report(memcmp(codes[0], codes[1], n_codes) != 0 || memcmp(scales[0], scales[1], 4 * n_rows) != 0 ||
						  memcmp(zeros[0], zeros[1], 4 * n_rows) != 0, "quantize_rows", list_quantize_rows[i].isa, n);
	}
	return n_wrong;
}

/* Rows with a gap of slack floats between them, activated, and their ranges quantized. */
static int
compare_activate(EmbActKind act, int32_t n_rows, int32_t n_panels, int slack, int wild, bool has_factor)
{
	int32_t		n = n_panels * EMB_PANEL;
	size_t		stride = n + slack;
	size_t		n_x = (n_rows - 1) * stride + n;
	float	   *given = place(bufs[0], 4 * n_x);
	float	   *x[2] = {place(bufs[1], 4 * n_x), place(bufs[2], 4 * n_x)};
	float	   *ranges[2] = {place(bufs[3], 4 * EMB_RANGE * n_rows), place(bufs[4], 4 * EMB_RANGE * n_rows)};
	float	   *factor = has_factor ? place(bufs[5], 4 * n) : NULL;
	uint8_t    *q[2] = {place(bufs[6], n + 3), place(bufs[7], n + 3)};
	int			n_wrong = 0;

	fill_floats(given, n_x, wild);
	if (has_factor)
		fill_floats(factor, n, 0);
	memcpy(x[0], given, 4 * n_x);
	memset(ranges[0], 0, 4 * EMB_RANGE * n_rows);
	emb_activate_rows_scalar(act, x[0], stride, n_rows, n_panels, factor, ranges[0]);
	for (int i = 0; i < n_activate_rows; i++)
	{
		memcpy(x[1], given, 4 * n_x);
		memset(ranges[1], 0, 4 * EMB_RANGE * n_rows);
		list_activate_rows[i].fn(act, x[1], stride, n_rows, n_panels, factor, ranges[1]);
		n_wrong += report(memcmp(x[0], x[1], 4 * n_x) != 0 || memcmp(ranges[0], ranges[1], 4 * EMB_RANGE * n_rows) != 0,
						  "activate_rows", list_activate_rows[i].isa, n);
	}
	for (int32_t m = 0; m < n_rows; m++)
	{
		const float *row = x[0] + m * stride;
		int32_t		zero[2];
		float		scale = emb_quantize_u8_scalar(row, NULL, n, n + 3, q[0], &zero[0]);

		/* with the row's own range the same as quantize_u8, with one that is not its own the same on all levels */
		for (int i = 0; i < n_quantize_rows; i++)
		{
			float		other = -1;

			list_quantize_rows[i].fn(&(EmbQuantRows) {
				.n_rows = 1, .n = n, .x = row, .x_stride = stride, .ranges = ranges[0] + m * EMB_RANGE,
				.codes = memset(q[1], 0x55, n + 3), .code_stride = n + 3, .scales = &other, .zeros = &zero[1]
			});
			if (!has_factor && i == 0)
			{
				scale = other;
				zero[0] = zero[1];
				memcpy(q[0], q[1], n + 3);
			}
			n_wrong += report(memcmp(&scale, &other, 4) != 0 || zero[0] != zero[1] || memcmp(q[0], q[1], n + 3) != 0,
							  "quantize_rows with ranges", list_quantize_rows[i].isa, n);
		}
	}
	return n_wrong;
}

/*
 * Rows of pairs of panels, gated in place and into rows of their own: what
 * activate_rows, a product and its range give.
 */
static int
compare_gate(EmbActKind act, int32_t n_rows, int32_t n_panels, int slack, bool has_factor)
{
	int32_t		n = n_panels * EMB_PANEL;
	size_t		x_stride = 2 * n + slack,
				y_stride = n + slack;
	size_t		n_x = (n_rows - 1) * x_stride + 2 * n,
				n_y = (n_rows - 1) * y_stride + n;
	float	   *x = place(bufs[0], 4 * n_x);
	float	   *expected = memset(place(bufs[1], 4 * n_y), 0x55, 4 * n_y);
	float	   *y = place(bufs[2], 4 * n_y);
	float	   *ranges[2] = {place(bufs[3], 4 * EMB_RANGE * n_rows), place(bufs[4], 4 * EMB_RANGE * n_rows)};
	float	   *factor = has_factor ? place(bufs[5], 4 * n) : NULL;
	float	   *in_place = place(bufs[6], 4 * n_x);
	int			n_wrong = 0;

	fill_floats(x, n_x, 0);
	if (has_factor)
		fill_floats(factor, n, 0);
	memset(ranges[0], 0, 4 * EMB_RANGE * n_rows);
	for (int32_t m = 0; m < n_rows; m++)
		for (int32_t j = 0; j < n_panels; j++)
		{
			float		gate[EMB_PANEL];
			float	   *result = expected + m * y_stride + j * EMB_PANEL;

			memcpy(gate, x + m * x_stride + 2 * j * EMB_PANEL, sizeof(gate));
			emb_activate_rows_scalar(act, gate, EMB_PANEL, 1, 1, NULL, NULL);
			for (int i = 0; i < EMB_PANEL; i++)
				result[i] = gate[i] * x[m * x_stride + (2 * j + 1) * EMB_PANEL + i];
			if (has_factor)
				emb_activate_rows_scalar(EMB_ACT_KIND_NONE, result, EMB_PANEL, 1, 1, factor + j * EMB_PANEL,
										 ranges[0] + m * EMB_RANGE);
		}
	for (int i = 0; i < n_gate_rows; i++)
	{
		memset(y, 0x55, 4 * n_y);
		memset(ranges[1], 0, 4 * EMB_RANGE * n_rows);
		list_gate_rows[i].fn(act, x, x_stride, n_rows, n_panels, factor, ranges[1], y, y_stride);
		n_wrong += report(memcmp(expected, y, 4 * n_y) != 0 || memcmp(ranges[0], ranges[1], 4 * EMB_RANGE * n_rows) != 0,
						  "gate_rows", list_gate_rows[i].isa, n);
		memcpy(in_place, x, 4 * n_x);
		memset(ranges[1], 0, 4 * EMB_RANGE * n_rows);
		list_gate_rows[i].fn(act, in_place, x_stride, n_rows, n_panels, factor, ranges[1], in_place, x_stride);
		for (int32_t m = 0; m < n_rows; m++)
			n_wrong += report(memcmp(expected + m * y_stride, in_place + m * x_stride, 4 * n) != 0, "gate_rows in place",
							  list_gate_rows[i].isa, n);
	}
	return n_wrong;
}

static void
test_gates(void)
{
	int			n_wrong = 0;

	for (int act = EMB_ACT_KIND_NONE; act <= EMB_ACT_KIND_SILU; act++)
		for (int32_t n_panels = 1; n_panels <= 5; n_panels++)
			n_wrong += compare_gate((EmbActKind) act, n_panels, n_panels, n_panels - 1, false) +
				compare_gate((EmbActKind) act, n_panels, n_panels, n_panels - 1, true);
	CHECKF(n_wrong == 0, "%d rows gated differ", n_wrong);
}

static void
test_rows(void)
{
	int			n_wrong = 0;

	for (int i = 0; i < N_LENGTHS; i++)
		for (int wild = 0; wild < 3; wild++)
			for (int pad = 0; pad < 65; pad += 13)
			{
				n_wrong += compare_quantize(lengths[i], wild, false, pad);
				n_wrong += compare_quantize(lengths[i], wild, true, pad);
			}
	CHECKF(n_wrong == 0, "%d rows quantized differ", n_wrong);
	n_wrong = 0;
	for (int i = 0; i < N_LENGTHS; i++)
		for (int32_t n_rows = 1; n_rows <= 36; n_rows += n_rows < 4 ? 1 : n_rows < 14 ? 6 : 1 + n_rows % 3 * 9)
			for (int with = 0; with < 4; with++)
				n_wrong += compare_quantize_rows(n_rows, lengths[i], n_rows % 4 * 13, n_rows % 2, with & 1, with & 2);
	CHECKF(n_wrong == 0, "%d blocks of rows quantized differ", n_wrong);
	n_wrong = 0;
	for (int act = EMB_ACT_KIND_NONE; act <= EMB_ACT_KIND_SILU; act++)
		for (int32_t n_rows = 1; n_rows <= 5; n_rows += 2)
			for (int32_t n_panels = 1; n_panels <= 9; n_panels += n_panels < 5 ? 1 : 4)
				for (int wild = 0; wild <= (act != EMB_ACT_KIND_NONE); wild++)
				{
					n_wrong += compare_activate((EmbActKind) act, n_rows, n_panels, n_rows - 1, wild, false);
					n_wrong += compare_activate((EmbActKind) act, n_rows, n_panels, n_rows - 1, wild, true);
				}
	CHECKF(n_wrong == 0, "%d rows activated differ", n_wrong);
}

/* The payload of a NaN depends on the order of operands, which compilers choose. */
static bool
are_same(const float *a, const float *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		if (memcmp(a + i, b + i, 4) != 0 && !(isnan(a[i]) && isnan(b[i])))
			return false;
	}
	return true;
}

/* Rows normed in place or not, with and without codes, against add_norm_f32 and quantize_u8 of scalar. */
static int
compare_norm(int32_t n_rows, int32_t n, int slack, int wild, uint32_t with)
{
	size_t		stride = n + slack;
	size_t		n_x = (n_rows - 1) * stride + n;
	size_t		code_stride = n + slack;
	size_t		n_codes = (n_rows - 1) * code_stride + code_stride;
	float	   *given = place(bufs[0], 4 * n_x);
	float	   *y = place(bufs[1], 4 * n_x);
	float	   *expected = place(bufs[2], 4 * n_x);
	float	   *residual = with & 1 ? place(bufs[3], 4 * n_x) : NULL;
	float	   *gamma = place(bufs[4], 4 * n),
			   *beta = place(bufs[5], 4 * n),
			   *factor = with & 2 ? place(bufs[6], 4 * n) : NULL;
	uint8_t    *codes[2] = {place(bufs[7], n_codes), place(bufs[8], n_codes)};
	float	   *scales[2] = {place(bufs[9], 4 * n_rows), place(bufs[10], 4 * n_rows)};
	int32_t    *zeros[2] = {place(bufs[11], 4 * n_rows), place(bufs[12], 4 * n_rows)};
	bool		in_place = with & 8,
				has_codes = with & 4;
	int			n_wrong = 0;

	fill_floats(given, n_x, wild);
	if (residual != NULL)
		fill_floats(residual, n_x, wild);
	fill_floats(gamma, n, 0);
	fill_floats(beta, n, 0);
	if (factor != NULL)
		fill_floats(factor, n, 0);
	memset(expected, 0x55, 4 * n_x);
	if (in_place)
		memcpy(expected, given, 4 * n_x);
	for (int32_t m = 0; m < n_rows; m++)
	{
		size_t		at = m * stride;

		emb_add_norm_f32_scalar(given + at, residual != NULL ? residual + at : NULL, gamma, beta, 1e-12f, n, expected + at);
		if (has_codes)
			scales[0][m] = emb_quantize_u8_scalar(expected + at, factor, n, (int32_t) code_stride, codes[0] + m * code_stride, &zeros[0][m]);
	}
	for (int i = 0; i < n_norm_rows; i++)
	{
		EmbNormRows g = {
			.n_rows = n_rows, .n = n, .x = in_place ? y : given, .x_stride = stride, .residual = residual, .residual_stride = stride,
			.gamma = gamma, .beta = beta, .eps = 1e-12f, .y = y, .y_stride = stride
		};

		memset(y, 0x55, 4 * n_x);
		if (in_place)
			memcpy(y, given, 4 * n_x);
		if (has_codes)
		{
			g.factor = factor;
			g.codes = codes[1];
			g.code_stride = code_stride;
			g.scales = scales[1];
			g.zeros = zeros[1];
			memset(codes[1], 0x55, n_codes);
		}
		list_norm_rows[i].fn(&g);
		n_wrong += report(!are_same(expected, y, n_x), "norm_rows", list_norm_rows[i].isa, n);
		n_wrong += report(has_codes && (memcmp(codes[0], codes[1], n_codes) != 0 || memcmp(scales[0], scales[1], 4 * n_rows) != 0 ||
										memcmp(zeros[0], zeros[1], 4 * n_rows) != 0), "codes of norm_rows", list_norm_rows[i].isa, n);
	}
	return n_wrong;
}

static void
test_norms(void)
{
	int			n_wrong = 0;

	for (int i = 0; i < N_LENGTHS; i++)
		for (int32_t n_rows = 1; n_rows <= 22; n_rows += n_rows < 5 ? 1 : n_rows < 9 ? 2 : 13)
			for (uint32_t with = 0; with < 16; with++)
				n_wrong += compare_norm(n_rows, lengths[i], (int) (next_random() % 4), next_random() % 4 == 0, with);
	CHECKF(n_wrong == 0, "%d rows normed differ", n_wrong);
}

/* Scalar against double arithmetic. */
static void
test_rows_meaning(void)
{
	float		x[100];
	uint8_t		q[128];
	int32_t		zero;
	double		worst = 0;
	double		scale;

	fill_floats(x, 100, 0);
	for (int i = 0; i < 100; i++)
		x[i] = x[i] < -0.2f ? -0.2f : x[i];
	scale = emb_quantize_u8_scalar(x, NULL, 100, 100, q, &zero);
	for (int i = 0; i < 100; i++)
		worst = larger(worst, fabs((q[i] - zero) * scale - x[i]) / scale);
	CHECKF(worst < 1.0, "%g steps, zero %d", worst, zero);
	memset(x, 0, sizeof(x));
	CHECK(emb_quantize_u8_scalar(x, NULL, 3, 4, q, &zero) < 1e-31f && q[0] == 0 && zero == 0);
}

/* The activations of rows that become bytes against the exact ones: 0 at 0 and far below, x far above. */
static void
test_activations(void)
{
	double		worst[5] = {0};
	int			n_inexact = 0;

	for (int32_t i = -81920; i <= 81920; i++)
	{
		double		x = i / 4096.0;
		double		exact[5] = {
			x, x / 2 * (1 + erf(x / sqrt(2))), x / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x))), x > 0 ? x : 0,
			x / (1 + exp(-x))
		};

		for (int act = EMB_ACT_KIND_NONE; act <= EMB_ACT_KIND_SILU; act++)
		{
			float		y[EMB_PANEL] = {(float) x};

			emb_activate_rows_scalar((EmbActKind) act, y, EMB_PANEL, 1, 1, NULL, NULL);
			worst[act] = larger(worst[act], fabs(y[0] - exact[act]));
			if (act != EMB_ACT_KIND_NONE && (fabs(x) >= (act == EMB_ACT_KIND_SILU ? 13.25 : 4) || x == 0))
				n_inexact += y[0] != (x > 0 ? x : 0) || signbit(y[0]);
		}
	}
	CHECKF(worst[0] == 0 && worst[1] < 2.6e-4 && worst[2] < 2.2e-4 && worst[3] == 0 && worst[4] < 1.1e-4,
		   "errors %g %g %g %g %g", worst[0], worst[1], worst[2], worst[3], worst[4]);
	CHECKF(n_inexact == 0, "%d", n_inexact);
}

/* Ties go to even. */
static void
test_ties(void)
{
	float		x[6] = {255.0f, 0.5f, 1.5f, 2.5f, 3.5f, 4.5f};
	uint8_t		q[6];
	int32_t		zero;

	CHECK(emb_quantize_u8_scalar(x, NULL, 6, 6, q, &zero) == 1.0f && zero == 0);
	CHECK(q[0] == 255 && q[1] == 0 && q[2] == 2 && q[3] == 2 && q[4] == 4 && q[5] == 4);
}

static void
test_pack(void)
{
	int8_t		rows[3 * 5];
	int8_t		panel[64 * 16];
	int			n_wrong = 0;

	for (int i = 0; i < 15; i++)
		rows[i] = (int8_t) (i * 17 - 128);
	CHECK(emb_pack_i8_padded(5) == 64 && emb_pack_i8_padded(64) == 64 && emb_pack_i8_bytes(17, 65) == 2 * 16 * 128);
	emb_pack_i8_panel(rows, 3, 5, panel);
	for (int k = 0; k < 64; k++)
		for (int n = 0; n < 16; n++)
			n_wrong += panel[(k / 4 * 16 + n) * 4 + k % 4] != (n < 3 && k < 5 ? rows[n * 5 + k] : 0);
	CHECKF(n_wrong == 0, "%d bytes", n_wrong);
}

int
main(void)
{
	EmbFpState	fp = emb_fp_enter();

	prepare_kernels();
#if defined(__x86_64__)
	if (emb_cpu_has_avx512vnni())
	{
		ADD_KERNEL(gemm_i8, AS_EVEX, emb_gemm_i8_evex);
		ADD_KERNEL(gemm_i8, ON_MODEL, gemm_i8_amx_modelled);
	}
	else
	{
		if (!emb_cpu_has_avxvnni())
			skip("this CPU cannot run gemm_i8 of avxvnni in either encoding");
		skip("this CPU cannot run gemm_i8 of amx, not even on a model of its tiles");
	}
#endif
	test_gemm();
	test_gemm_meaning();
	test_gated();
	test_rows();
	test_gates();
	test_norms();
	test_rows_meaning();
	test_activations();
	test_ties();
	test_pack();
	emb_fp_leave(fp);
	return done_testing();
}
