/*
 * test_kernels_grouped.c
 *		gemm_grouped of every level against scalar, bit for bit: 4 and 8 bits, sizes
 *		around the tiles and blocks, all groups and types of scales, extreme codes, zeros and
 *		activations, odd alignment, and a page that traps behind each buffer. Scalar
 *		against plain arithmetic; the packing.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/declare.h"
#include "unit.h"

/* AVX-VNNI in the encoding of AVX-512, AMX on a model of its tiles. */
#if defined(__x86_64__)
#include "amx_model.h"
#include "avxvnni_as_evex.h"

#define emb_gemm_grouped_avxvnni emb_gemm_grouped_evex
extern emb_op_gemm_grouped emb_gemm_grouped_evex;
#include "kernels/gemm_grouped_avxvnni.c"
#undef emb_gemm_grouped_avxvnni
#undef ROWS_MAX
#undef PANELS_MAX

#define emb_gemm_grouped_amx emb_gemm_grouped_amx_on_model
extern emb_op_gemm_grouped emb_gemm_grouped_amx_on_model;
#include "kernels/gemm_grouped_amx.c"
#undef emb_gemm_grouped_amx

/* Counts the products of tiles. */
static void
gemm_grouped_amx_modelled(const EmbGemmGrouped *g)
{
	long		n_before = amx_model.n_products;
	int32_t		n_chunks = (g->n_rows - 1) / GROUPED_CHUNK_ROWS + 1;
	long		n_tiles = 0;

	for (int32_t i = 0; i < n_chunks && g->n_rows >= rows_min(g); i++)
		n_tiles += (emb_gemm_tile_rows(g->n_rows, n_chunks, i) - 1) / TILE_ROWS + 1;
	emb_gemm_grouped_amx_on_model(g);
	amx_model_expect(n_before + n_tiles * g->n_panels * (g->n_in / (g->group == 32 ? 32 : 64)), g->n_rows, g->n_in, g->n_panels);
}
#endif

#include "kernel_util.h"

typedef enum Fill
{
	FILL_RANDOM,
	FILL_HIGH,					/* 255 x (15 - 0), 255 x 127 */
	FILL_LOW,					/* 255 x (0 - 15), 255 x -128 */
	FILL_ZERO
} Fill;

typedef struct GemmCase
{
	int32_t		n_rows,
				n_in,
				bits,
				group,
				n_panels;
	int			slack;			/* A unaligned by so many bytes, strides longer by as many */
	Fill		fill;
	bool		has_zero,
				has_bias;
	EmbActKind	act;
	bool		has_factor;
	bool		gated;
	EmbScaleType scale_type;
} GemmCase;

/* Finite scales of a type: of 16 bits any bits, subnormals too, without the largest exponents. */
static void
fill_scales(EmbScaleType type, void *scales, size_t n)
{
	if (type == EMB_SCALE_F32)
		fill_floats(scales, n, 0);
	for (size_t i = 0; i < n && type != EMB_SCALE_F32; i++)
	{
		uint16_t	h = (uint16_t) (next_random() & 0xBFFF);

		memcpy((uint16_t *) scales + i, &h, sizeof(h));
	}
}

static EmbGemmGrouped
make_gemm(const GemmCase *c)
{
	size_t		a_stride = c->n_in + c->slack;
	size_t		n_a = (c->n_rows - 1) * a_stride + c->n_in;
	size_t		n_b = (size_t) c->n_in * 2 * c->bits * c->n_panels;
	size_t		n = 16 * (size_t) c->n_panels;
	size_t		n_scales = n * emb_pack_group_scales(c->n_in, c->group);
	EmbGemmGrouped	g = {
		.n_rows = c->n_rows, .n_in = c->n_in, .bits = c->bits, .group = c->group, .n_panels = c->n_panels,
		.a = place(bufs[0], n_a), .a_stride = a_stride,
		.b = place(bufs[1], n_b),
		.a_scale = place(bufs[2], 4 * c->n_rows),
		.a_zero = c->has_zero ? place(bufs[3], 4 * c->n_rows) : NULL,
		.scale_type = c->scale_type,
		.b_scale = place(bufs[4], emb_scale_bytes(c->scale_type) * n_scales),
		.b_zero = c->bits == 4 ? place(bufs[9], n_scales) : NULL,
		.b_sums = c->has_zero ? place(bufs[5], 4 * n) : NULL,
		.bias = c->has_bias ? place(bufs[6], 4 * n) : NULL,
		.c_stride = n + c->slack, .act = c->act, .gated = c->gated,
		.factor = c->has_factor ? place(bufs[12], 4 * n) : NULL
	};

	fill_bytes((uint8_t *) g.a, n_a);
	fill_bytes((uint8_t *) g.b, n_b);
	if (c->bits == 4)
		fill_bytes((uint8_t *) g.b_zero, n_scales);	/* the upper bits do not count */
	if (c->fill != FILL_RANDOM)
	{
		memset((uint8_t *) g.a, c->fill == FILL_ZERO ? 0 : 255, n_a);
		if (c->bits == 8)
			memset((uint8_t *) g.b, c->fill == FILL_HIGH ? 127 : c->fill == FILL_LOW ? -128 : 0, n_b);
		else
		{
			memset((uint8_t *) g.b, c->fill == FILL_HIGH ? 0xFF : 0, n_b);
			memset((uint8_t *) g.b_zero, c->fill == FILL_LOW ? 15 : 0, n_scales);
		}
	}
	fill_floats((float *) g.a_scale, c->n_rows, 0);
	fill_scales(c->scale_type, (void *) g.b_scale, n_scales);
	if (c->has_bias)
		fill_floats((float *) g.bias, n, 0);
	if (c->has_factor)
		fill_floats((float *) g.factor, n, 0);
	for (int32_t m = 0; c->has_zero && m < c->n_rows; m++)
		((int32_t *) g.a_zero)[m] = next_random() % 256;
	if (c->has_zero)
		fill_floats((float *) g.b_sums, n, 0);
	return g;
}

static int
compare_with(const GemmCase *c, EmbGemmGrouped *g, const char *isa, emb_op_gemm_grouped *fn, const float *expected, const float *range)
{
	size_t		n_c = (c->n_rows - 1) * g->c_stride + 16 * (size_t) c->n_panels;
	size_t		n_range = (size_t) c->n_rows * EMB_RANGE;

	g->c = memset(place(bufs[8], 4 * n_c), 0x55, 4 * n_c);
	g->range = c->has_factor ? memset(place(bufs[11], 4 * n_range), 0, 4 * n_range) : NULL;
	fn(g);
	if (c->gated)
		forget_second_halves(g->c, expected, c->n_rows, g->c_stride, c->n_panels);
	if (memcmp(expected, g->c, 4 * n_c) == 0 && (!c->has_factor || memcmp(range, g->range, 4 * n_range) == 0))
		return 0;
	printf("# gemm_grouped %s differs: rows %d inputs %d bits %d group %d panels %d slack %d fill %d zero %d bias %d act %d factor %d gated %d scales %d\n",
		   isa, c->n_rows, c->n_in, c->bits, c->group, c->n_panels, c->slack, c->fill, c->has_zero, c->has_bias, c->act,
		   c->has_factor, c->gated, c->scale_type);
	return 1;
}

static int
compare_gemm(const GemmCase *c)
{
	EmbGemmGrouped	g = make_gemm(c);
	size_t		n_c = (c->n_rows - 1) * g.c_stride + 16 * (size_t) c->n_panels;
	size_t		n_range = (size_t) c->n_rows * EMB_RANGE;
	float	   *expected = memset(place(bufs[7], 4 * n_c), 0x55, 4 * n_c);
	float	   *range = memset(place(bufs[10], 4 * n_range), 0, 4 * n_range);
	int			n_wrong = 0;

	g.c = expected;
	g.range = c->has_factor ? range : NULL;
	emb_gemm_grouped_scalar(&g);
	for (int i = 0; i < n_gemm_grouped; i++)
		n_wrong += compare_with(c, &g, list_gemm_grouped[i].isa, list_gemm_grouped[i].fn, expected, range);
	return n_wrong > 0;
}

static GemmCase
random_case(int32_t n_rows, int32_t n_in, int32_t bits, int32_t group, int32_t n_panels)
{
	uint32_t	r = next_random();

	return (GemmCase) {
		n_rows, n_in, bits, group, n_panels, (int) (r % 4), FILL_RANDOM, (r & 4) != 0, (r & 8) != 0, (EmbActKind) ((r >> 4) % 5),
		(r & 64) != 0, false, (EmbScaleType) ((r >> 8) % 3)
	};
}

static const int32_t groups[] = {32, 64, 128, 0};

#define N_GROUPS	((int) (sizeof(groups) / sizeof(groups[0])))

static void
test_sizes(int32_t bits)
{
	static const int32_t rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 17, 23};
	static const int32_t inputs[] = {64, 128, 192, 320, 448, 512, 576};
	static const int32_t panels[] = {1, 2, 3, 4, 5, 7, 9};
	int			n_wrong = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t j = 0; j < sizeof(inputs) / sizeof(inputs[0]); j++)
			for (size_t k = 0; k < sizeof(panels) / sizeof(panels[0]); k++)
			{
				GemmCase	c = random_case(rows[i], inputs[j], bits, groups[next_random() % N_GROUPS], panels[k]);

				n_wrong += compare_gemm(&c);
			}
	CHECKF(n_wrong == 0, "%d sizes of gemm_grouped differ, seed 20240607", n_wrong);
	n_wrong = 0;
	/* several blocks of K, of rows, and both */
	for (int g = 0; g < N_GROUPS; g++)
	{
		GemmCase	longer = random_case(5, 1024 + 64, bits, groups[g], 4);
		GemmCase	longest = random_case(9, 2048 - 64, bits, groups[g], 2);
		GemmCase	higher = random_case(95 + g, 192, bits, groups[g], 3);
		GemmCase	both = random_case(193 + g, 640, bits, groups[g], 5);

		n_wrong += compare_gemm(&longer) + compare_gemm(&longest) + compare_gemm(&higher) + compare_gemm(&both);
	}
	CHECKF(n_wrong == 0, "%d block sizes of gemm_grouped differ", n_wrong);
	n_wrong = 0;
	for (int32_t n_rows = 1; n_rows <= 121; n_rows += n_rows < 19 ? 1 : 34)
		for (int32_t n_panels = 2; n_panels <= 10; n_panels += 2)
		{
			GemmCase	c = random_case(n_rows, 576, bits, groups[(n_rows + n_panels / 2) % N_GROUPS], n_panels);

			c.gated = true;
			n_wrong += compare_gemm(&c);
		}
	CHECKF(n_wrong == 0, "%d gated products differ", n_wrong);
}

static void
test_extremes(int32_t bits)
{
	int			n_wrong = 0;

	for (int fill = FILL_HIGH; fill <= FILL_ZERO; fill++)
		for (int g = 0; g < N_GROUPS; g++)
			for (int r = 0; r < 4; r++)
			{
				GemmCase	few = {r % 2 == 0 ? 41 : 7, 1536, bits, groups[g], 5, r, (Fill) fill, r & 1, r & 2, (EmbActKind) r, r & 1, false, (EmbScaleType) (r % 3)};
				GemmCase	wide = {1, 65536, bits, groups[g], 1, r, (Fill) fill, r & 1, r & 2, EMB_ACT_KIND_NONE, r & 1, false, (EmbScaleType) (r % 3)};

				n_wrong += compare_gemm(&few) + compare_gemm(&wide);
			}
	CHECKF(n_wrong == 0, "%d extremes of gemm_grouped differ", n_wrong);
}

/* The code of column n, input k, at the place that kernels.h names. */
static int
code_of(const EmbGemmGrouped *g, int n, int k)
{
	size_t		panel = (size_t) (n / 16) * g->n_in;
	int			code;

	if (g->bits == 8)
		return (int8_t) g->b[(panel / 4 + k / 4) * 64 + n % 16 * 4 + k % 4];
	code = g->b[(panel / 8 + k / 8) * 64 + n % 16 * 4 + k % 4];
	return k % 8 < 4 ? code % 16 : code / 16;
}

/* Two elements of a row: signs and orders that scalar could have wrong in the same way as all others. */
static void
test_meaning(int32_t bits, EmbScaleType type)
{
	enum {IN = 192, GROUP = 128, ROWS = 3, OUT = 32};
	GemmCase	c = {ROWS, IN, bits, GROUP, OUT / 16, 0, FILL_RANDOM, true, true, EMB_ACT_KIND_NONE, false, false, type};
	EmbGemmGrouped	g = make_gemm(&c);
	int			n_wrong = 0;
	double		worst = 0;

	for (int n = 0; n < OUT; n++)
	{
		uint8_t		codes[IN];
		float		scales[2];
		uint8_t		zeros[2];

		for (int k = 0; k < IN; k++)
			codes[k] = code_of(&g, n, k) + (bits == 4 ? 0 : 128);
		for (int i = 0; i < 2; i++)
		{
			scales[i] = emb_scale_at(g.b_scale, type, (n / 16 * 2 + i) * 16 + n % 16);
			zeros[i] = bits == 4 ? g.b_zero[(n / 16 * 2 + i) * 16 + n % 16] : 128;
		}
		((float *) g.b_sums)[n] = emb_pack_group_sum(codes, IN, bits, GROUP, scales, zeros);
	}
	g.c = place(bufs[7], 4 * ROWS * OUT);
	emb_gemm_grouped_scalar(&g);
	for (int m = 0; m < ROWS; m++)
		for (int n = 0; n < OUT; n++)
		{
			double		sum = 0,
						size = 0;
			float		acc = 0;

			for (int i = 0; i < 2; i++)
			{
				int			at = (n / 16 * 2 + i) * 16 + n % 16;
				int32_t		s = 0;

				for (int k = i * GROUP; k < IN && k < (i + 1) * GROUP; k++)
				{
					int			weight = code_of(&g, n, k) - (bits == 4 ? g.b_zero[at] % 16 : 0);
					double		product = (double) (g.a[m * g.a_stride + k] - g.a_zero[m]) * weight * emb_scale_at(g.b_scale, type, at);

					s += g.a[m * g.a_stride + k] * weight;
					sum += product;
					size += fabs(product);
				}
				acc = fmaf((float) s, emb_scale_at(g.b_scale, type, at), acc);
			}
			acc = fmaf(-(float) g.a_zero[m], g.b_sums[n], acc);
			n_wrong += g.c[m * g.c_stride + n] != fmaf(acc, g.a_scale[m], g.bias[n]);
			sum = sum * g.a_scale[m] + g.bias[n];
			size = size * fabs(g.a_scale[m]) + fabs(g.bias[n]);
			worst = larger(worst, fabs(g.c[m * g.c_stride + n] - sum) / size);
		}
	CHECKF(n_wrong == 0, "%d elements", n_wrong);
	/* rounding of 2 links, of the sum and of the zero's link */
	CHECKF(worst < 8 * 0x1p-24, "gemm_grouped is off by %g", worst);
}

/* Codes of each input and output at the place that kernels.h names; padding is zero. */
static void
test_packing(void)
{
	enum {IN = 70, ROWS = 5};
	uint8_t		codes[ROWS * IN];
	uint8_t		panel[128 / 8 * 64];
	float		scales[3] = {0.5f, -2, 4};
	uint8_t		zeros[3] = {1, 15, 16 + 2};
	int			n_wrong = 0;

	fill_bytes(codes, sizeof(codes));
	for (size_t i = 0; i < sizeof(codes); i++)
		codes[i] &= 15;
	memset(panel, 0x55, sizeof(panel));
	emb_pack_i4_panel(codes, ROWS, IN, panel);
	for (int k = 0; k < 128; k++)
		for (int n = 0; n < 16; n++)
		{
			int			code = panel[(k / 8 * 16 + n) * 4 + k % 4] >> (k % 8 < 4 ? 0 : 4) & 15;

			n_wrong += code != (k < IN && n < ROWS ? codes[n * IN + k] : 0);
		}
	CHECKF(n_wrong == 0, "%d codes", n_wrong);
	CHECK(emb_pack_i4_bytes(17, 65) == 2 * 16 * 64 && emb_pack_i4_bytes(1 << 20, 1 << 20) == (size_t) 1 << 39);
	CHECK(emb_pack_group_scales(65, 32) == 4 && emb_pack_group_scales(64, 128) == 1 && emb_pack_group_scales(65536, 32) == 2048);
	CHECK(emb_pack_group_scales(65, 0) == 1);
	memset(codes, 3, IN);
	/* groups of 32, 32 and 6: 2, -12 and 1 each */
	CHECK(emb_pack_group_sum(codes, IN, 4, 32, scales, zeros) == 32 * 2 * 0.5f + 32 * -12 * -2.0f + 6 * 1 * 4.0f);
	CHECK(emb_pack_group_sum(codes, IN, 4, 0, scales, zeros) == 70 * 2 * 0.5f);
	/* 2, -12 and 3 - 18 */
	CHECK(emb_pack_group_sum(codes, IN, 8, 32, scales, zeros) == 32 * 2 * 0.5f + 32 * -12 * -2.0f + 6 * -15 * 4.0f);
}

/* x as a sum of powers of two: what the bits of a half mean. */
static double
value_of(uint16_t h, int exponent_bits)
{
	int			mantissa_bits = 15 - exponent_bits;
	int			bias = (1 << (exponent_bits - 1)) - 1;
	int			exponent = h >> mantissa_bits & ((1 << exponent_bits) - 1);
	int			mantissa = h & ((1 << mantissa_bits) - 1);
	double		x = ldexp(exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits), (exponent == 0 ? 1 : exponent) - bias - mantissa_bits);

	return h & 0x8000 ? -x : x;
}

/* Every finite half, and what lies between it and the next one. */
static void
test_halves(void)
{
	int			n_wrong = 0;

	for (int type = EMB_SCALE_F16; type <= EMB_SCALE_BF16; type++)
	{
		int			exponent_bits = type == EMB_SCALE_F16 ? 5 : 8;
		uint16_t	end = type == EMB_SCALE_F16 ? 0x7C00 : 0x7F80;

		for (int h = 0; h < end; h++)
		{
			uint16_t	halves[4] = {(uint16_t) h, (uint16_t) (h | 0x8000)};
			float		x = emb_scale_at(halves, (EmbScaleType) type, 0);
			float		next = (float) value_of((uint16_t) (h + 1), exponent_bits);	/* of the last one: the first that is too large */
			float		middle = h + 1 < end ? x + (next - x) / 2 : x;

			n_wrong += x != value_of((uint16_t) h, exponent_bits) || emb_scale_at(halves, (EmbScaleType) type, 1) != -x;
			emb_scale_store(halves, (EmbScaleType) type, 2, (float[]) {x, -x}, 2);
			n_wrong += memcmp(halves, halves + 2, 4) != 0;
			n_wrong += emb_scale_nearest(x, (EmbScaleType) type) != x;
			/* a middle goes to the even one */
			n_wrong += emb_scale_nearest(middle, (EmbScaleType) type) != (h % 2 == 0 || h + 1 == end ? x : next);
			n_wrong += emb_scale_nearest(nextafterf(middle, 0), (EmbScaleType) type) != x;
			n_wrong += emb_scale_nearest(nextafterf(middle, INFINITY), (EmbScaleType) type) != (h + 1 == end ? x : next);
		}
		n_wrong += !(emb_scale_nearest(INFINITY, (EmbScaleType) type) == (float) value_of(end - 1, exponent_bits));
		n_wrong += !isfinite(emb_scale_nearest(NAN, (EmbScaleType) type)) || emb_scale_nearest(-FLT_MAX, (EmbScaleType) type) >= 0;
	}
	CHECKF(n_wrong == 0, "%d conversions", n_wrong);
	CHECK(emb_scale_nearest(0.1f, EMB_SCALE_F32) == 0.1f && emb_scale_bytes(EMB_SCALE_F32) == 4 && emb_scale_bytes(EMB_SCALE_F16) == 2);
	CHECK(emb_f16_of_float(1e-30f) == 0 && emb_f16_of_float(-1e-30f) == 0x8000 && emb_scale_nearest(65519.0f, EMB_SCALE_F16) == EMB_F16_MAX);
}

int
main(void)
{
	EmbFpState	fp = emb_fp_enter();

	prepare_kernels();
#if defined(__x86_64__)
	if (has_avx512vnni())
	{
		ADD_KERNEL(gemm_grouped, AS_EVEX, emb_gemm_grouped_evex);
		ADD_KERNEL(gemm_grouped, ON_MODEL, gemm_grouped_amx_modelled);
	}
#endif
	test_packing();
	test_halves();
	for (int bits = 4; bits <= 8; bits += 4)
	{
		for (int type = EMB_SCALE_F32; type <= EMB_SCALE_BF16; type++)
			test_meaning(bits, (EmbScaleType) type);
		test_sizes(bits);
		test_extremes(bits);
	}
	emb_fp_leave(fp);
	return done_testing();
}
