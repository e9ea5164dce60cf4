/*
 * selftest.c
 *		Runs a few values through every kernel and through scalar, and
 *		compares bits.
 *
 * It is small because it runs in every backend. It detects a CPU, an emulator
 * or a build that computes differently (for example a fused a * b + c). Subtle
 * errors at the edges are left to the unit tests.
 */
#include "kernels/selftest.h"

#include <string.h>

#define N_ROWS		7			/* an uneven split into tiles */
#define N_IN		389			/* one K block and a bit */
#define N_PANELS	7			/* 4 + 2 + 1 */
#define N_OUT		(N_PANELS * EMB_PANEL)
#define N_LONG		53			/* three groups of lanes and a part */
#define N_BYTES		56			/* and padding */
#define N_NORM_ROWS	5			/* a tile and a row */
#define N_LONG_CODES	(4 * EMB_PANEL + 5)	/* four groups of lanes and a part */
#define N_I8_GROUPS	5
#define N_TILED_ROWS	35		/* amx: 2 tiles of 12 rows, and one that shares a row */
#define N_TILED_GROUPS	32		/* 2 tiles of K */
#define N_TILED_PANELS	3		/* 2 + 1 */
#define N_TILED_OUT		(N_TILED_PANELS * EMB_PANEL)
#define N_GROUPED_IN		64
#define N_GROUPED_PANELS	4			/* 3 + 1 */
#define N_GROUPED_OUT	(N_GROUPED_PANELS * EMB_PANEL)
#define N_HEAD		21			/* a panel and a part, five groups and a part */
#define N_HEAD_BYTES 24
#define N_TOKENS	(EMB_ATTEND_SEGMENT + 19)	/* a segment, a panel and a part */
#define N_TOKENS_PADDED (EMB_ATTEND_SEGMENT + 32)
#define N_BIASES	(N_ROWS - 1 + N_TOKENS_PADDED)

typedef struct Inputs
{
	float		a[N_ROWS * N_IN];
	float		b[N_OUT * N_IN];
	float		gamma[N_OUT * 2];
	float		beta[N_OUT * 2];
	uint8_t		a_u8[N_ROWS * N_I8_GROUPS * EMB_GROUP];
	int8_t		b_i8[N_OUT * N_I8_GROUPS * EMB_GROUP];
	int32_t		zeros[N_ROWS];
	int32_t		sums[N_OUT];
	uint16_t	halves[2 * N_GROUPED_OUT];
} Inputs;

/* The outputs of one level. Compared byte by byte, so zeroed before use. */
typedef struct Outputs
{
	float		gemm[N_ROWS * N_OUT];
	float		panel[N_LONG * EMB_PANEL];
	float		norm[N_LONG];
	float		rms_norm[N_LONG];
	float		softmax[N_LONG + 1];
	float		gelu[N_LONG];
	float		gelu_tanh[N_LONG];
	float		silu[N_LONG];
	float		tanh[N_LONG];
	float		relu[N_LONG];
	float		add[N_LONG];
	float		max[N_LONG];
	float		div[N_LONG];
	float		dot;
	float		muladd[N_LONG];
	double		updated[EMB_UPDATE_ROWS * EMB_PANEL];
	float		rotated[N_LONG];
	struct
	{
		float		c[N_ROWS * N_OUT];
		float		ranges[N_ROWS * EMB_RANGE];
	}			gemm_i8;
	float		gemm_i8_tiled[N_TILED_ROWS * N_TILED_OUT];
	float		gemm_grouped[3][N_ROWS * N_GROUPED_OUT];
	float		activate_rows[4][2 * EMB_PANEL];
	struct
	{
		float		c[N_ROWS * EMB_PANEL];
		float		ranges[N_ROWS * EMB_RANGE];
	}			gate_rows;
	struct
	{
		uint8_t		codes[N_BYTES];
		float		scale;
		int32_t		zero;
	}			quantize_u8;
	struct
	{
		uint8_t		codes[N_ROWS * N_OUT];
		float		scales[N_ROWS];
		int32_t		zeros[N_ROWS];
	}			quantize_rows,
				quantize_ranges;
	struct
	{
		float		y[N_NORM_ROWS * N_LONG_CODES];
		uint8_t		codes[N_NORM_ROWS * N_LONG_CODES];
		float		scales[N_NORM_ROWS];
		int32_t		zeros[N_NORM_ROWS];
	}			norm_rows;
	struct
	{
		uint8_t		codes[N_TOKENS * N_HEAD_BYTES];
		float		scales[N_TOKENS];
	}			heads;
	struct
	{
		int8_t		keys[N_TOKENS_PADDED * N_HEAD_BYTES];
		int32_t		key_starts[N_TOKENS_PADDED];
		float		key_scales[N_TOKENS_PADDED];
		float		value_logs[N_TOKENS_PADDED];
		float		value_inverses[N_TOKENS_PADDED];
		int8_t		values[N_TOKENS_PADDED * 2 * EMB_PANEL];
	}			head;
	float		attended[N_ROWS * N_HEAD];
	float		attended_biased[N_ROWS * N_HEAD];
	float		attended_causal[N_ROWS * N_HEAD];
	float		attended_early[N_ROWS * N_HEAD];
} Outputs;

/* Deterministic values in -4 .. 4, none of them short in binary; any bytes. */
static void
fill_inputs(Inputs *in)
{
	float	   *x = (float *) in;
	uint8_t    *bytes = (uint8_t *) in + offsetof(Inputs, a_u8);	/* and b_i8 */
	uint32_t	state = 12345;

	for (size_t i = 0; i < offsetof(Inputs, a_u8) / sizeof(float); i++)
	{
		state = state * 1664525u + 1013904223u;
		x[i] = (float) (int32_t) (state | 1) * 0x1p-29f;
	}
	for (size_t i = 0; i < sizeof(in->a_u8) + sizeof(in->b_i8); i++)
	{
		state = state * 1664525u + 1013904223u;
		bytes[i] = (uint8_t) (state >> 24);
	}
	/* pairs that saturate 16 bits, in both directions */
	memset(in->a_u8, 255, N_I8_GROUPS * EMB_GROUP);
	memset(in->b_i8, 127, 2 * EMB_GROUP);
	memset(in->b_i8 + 2 * EMB_GROUP, -128, 2 * EMB_GROUP);
	for (int i = 0; i < N_ROWS; i++)
		in->zeros[i] = i * 42;
	/* some subnormal; as bfloat16 all are finite, too */
	for (int i = 0; i < 2 * N_GROUPED_OUT; i++)
		in->halves[i] = emb_f16_of_float(in->a[i] * (i % 2 == 0 ? 0x1p-18f : 1));
	memset(in->sums, 0, sizeof(in->sums));
	for (int i = 0; i < N_OUT * N_I8_GROUPS * EMB_GROUP; i++)
		in->sums[i / (EMB_PANEL * N_I8_GROUPS * EMB_GROUP) * EMB_PANEL + i / EMB_GROUP % EMB_PANEL] += in->b_i8[i];
}

static void
run_gemm(const EmbKernels *k, const Inputs *in, Outputs *out)
{
	EmbGemmF32	g = {
		.n_rows = N_ROWS, .n_in = 5, .n_panels = N_PANELS,
		.a = in->a, .a_stride = N_IN, .b = in->b, .bias = in->beta,
		.c = out->gemm, .c_stride = N_OUT
	};

	k->gemm_f32(&g);
	/* again with few rows and one panel, across a K block: scalar takes 4 ns a product */
	g.n_rows = 2;
	g.n_panels = 1;
	g.n_in = N_IN;
	k->gemm_f32(&g);
}

static void
run_update(const EmbKernels *k, const Inputs *in, Outputs *out)
{
	double		squares[EMB_UPDATE_SQUARE * EMB_UPDATE_SQUARE];

	for (int i = 0; i < EMB_UPDATE_SQUARE * EMB_UPDATE_SQUARE; i++)
		squares[i] = (double) in->b[i] / 3;
	for (int i = 0; i < EMB_UPDATE_ROWS * EMB_PANEL; i++)
		out->updated[i] = (double) in->a[i] / 3;
	k->update_f64(squares, squares + EMB_UPDATE_SQUARE - EMB_PANEL, EMB_UPDATE_ROWS, 1, out->updated, EMB_PANEL);
}

static void
run_rows(const EmbKernels *k, const Inputs *in, Outputs *out)
{
	k->transpose_f32(in->a, N_LONG, 13, N_LONG, out->panel);
	k->add_norm_f32(in->a, in->b, in->gamma, in->beta, 1e-12f, N_LONG, out->norm);
	k->rms_norm_f32(in->a, in->gamma, 1e-6f, N_LONG, out->rms_norm);
	memcpy(out->softmax, in->a, sizeof(float) * N_LONG);
	out->softmax[N_LONG] = k->softmax_f32(out->softmax, N_LONG, 0.3f);
	memcpy(out->gelu, in->a, sizeof(out->gelu));
	k->gelu_f32(out->gelu, N_LONG);
	memcpy(out->gelu_tanh, in->a, sizeof(out->gelu_tanh));
	k->gelu_tanh_f32(out->gelu_tanh, N_LONG);
	memcpy(out->silu, in->a, sizeof(out->silu));
	k->silu_f32(out->silu, N_LONG);
	memcpy(out->tanh, in->a, sizeof(out->tanh));
	k->tanh_f32(out->tanh, N_LONG);
	memcpy(out->relu, in->a, sizeof(out->relu));
	k->relu_f32(out->relu, N_LONG);
	memcpy(out->add, in->a, sizeof(out->add));
	k->add_f32(out->add, in->b, N_LONG);
	memcpy(out->max, in->a, sizeof(out->max));
	k->max_f32(out->max, in->b, N_LONG);
	memcpy(out->div, in->a, sizeof(out->div));
	k->div_f32(out->div, N_LONG, 2.9f);
	out->dot = k->dot_f32(in->a, in->b, N_LONG);
	memcpy(out->muladd, in->a, sizeof(out->muladd));
	k->muladd_f32(out->muladd, in->b, N_LONG, 1.7f);
	memcpy(out->rotated, in->a, sizeof(out->rotated));
	k->rotate_f32(in->b, 1, N_LONG / 2 * 2, out->rotated);
	run_update(k, in, out);
}

/* K of 64 and more rows than a tile; the bytes of floats serve as random bytes. */
static void
run_i8_tiled(const EmbKernels *k, const Inputs *in, Outputs *out)
{
	EmbGemmI8	g = {
		.n_rows = N_TILED_ROWS, .n_groups = N_TILED_GROUPS, .n_panels = N_TILED_PANELS,
		.a = (const uint8_t *) in->b, .a_stride = N_TILED_GROUPS * EMB_GROUP, .a_scale = in->gamma,
		.b = (const int8_t *) (in->b + N_TILED_ROWS * N_TILED_GROUPS), .b_scale = in->a,
		.c = out->gemm_i8_tiled, .c_stride = N_TILED_OUT
	};

	k->gemm_i8(&g);
}

/* 4 bits in groups of 32 and of the row, 8 bits in groups of 32, each with scales of another type; the bytes of floats serve as random bytes. */
static void
run_grouped(const EmbKernels *k, const Inputs *in, Outputs *out)
{
	EmbGemmGrouped	g = {
		.n_rows = N_ROWS, .n_in = N_GROUPED_IN, .bits = 4, .group = 32, .n_panels = N_GROUPED_PANELS,
		.a = (const uint8_t *) in->b, .a_stride = N_GROUPED_IN, .a_scale = in->gamma, .a_zero = in->zeros,
		.b = (const uint8_t *) (in->b + N_ROWS * N_GROUPED_IN), .b_scale = in->a, .b_zero = in->a_u8,
		.b_sums = in->a + 2 * N_GROUPED_OUT, .bias = in->beta, .c = out->gemm_grouped[0], .c_stride = N_GROUPED_OUT
	};

	k->gemm_grouped(&g);
	g.group = 0;
	g.scale_type = EMB_SCALE_BF16;
	g.b_scale = in->halves;
	g.c = out->gemm_grouped[1];
	k->gemm_grouped(&g);
	g.bits = 8;
	g.group = 32;
	g.scale_type = EMB_SCALE_F16;
	g.c = out->gemm_grouped[2];
	k->gemm_grouped(&g);
}

/* With a factor and padding; and with the ranges of a product. */
static void
run_quantize_rows(const EmbKernels *k, const Inputs *in, Outputs *out)
{
	EmbQuantRows g = {
		.n_rows = N_ROWS, .n = N_LONG_CODES, .x = in->a, .x_stride = N_IN, .factor = in->b, .codes = out->quantize_rows.codes,
		.code_stride = N_OUT, .scales = out->quantize_rows.scales, .zeros = out->quantize_rows.zeros
	};

	k->quantize_rows(&g);
	g.n = N_OUT;
	g.x = out->gemm_i8.c;
	g.x_stride = N_OUT;
	g.factor = NULL;
	g.ranges = out->gemm_i8.ranges;
	g.codes = out->quantize_ranges.codes;
	g.scales = out->quantize_ranges.scales;
	g.zeros = out->quantize_ranges.zeros;
	k->quantize_rows(&g);
}

static void
run_norm_rows(const EmbKernels *k, const Inputs *in, Outputs *out)
{
	EmbNormRows g = {
		.n_rows = N_NORM_ROWS, .n = N_LONG_CODES, .x = in->a, .x_stride = N_LONG_CODES, .residual = in->b,
		.residual_stride = N_LONG_CODES, .gamma = in->gamma, .beta = in->beta, .eps = 1e-12f, .y = out->norm_rows.y,
		.y_stride = N_LONG_CODES, .factor = in->a, .codes = out->norm_rows.codes, .code_stride = N_LONG_CODES,
		.scales = out->norm_rows.scales, .zeros = out->norm_rows.zeros
	};

	k->norm_rows(&g);
}

static void
run_i8(const EmbKernels *k, const Inputs *in, Outputs *out)
{
	EmbGemmI8	g = {
		.n_rows = N_ROWS, .n_groups = N_I8_GROUPS, .n_panels = N_PANELS,
		.a = in->a_u8, .a_stride = N_I8_GROUPS * EMB_GROUP, .a_scale = in->gamma, .a_zero = in->zeros,
		.b = in->b_i8, .b_scale = in->a, .b_sums = in->sums, .bias = in->beta,
		.c = out->gemm_i8.c, .c_stride = N_OUT, .act = EMB_ACT_KIND_GELU, .factor = in->gamma, .range = out->gemm_i8.ranges
	};

	k->gemm_i8(&g);
	run_i8_tiled(k, in, out);
	run_grouped(k, in, out);
	k->gate_rows(EMB_ACT_KIND_SILU, in->a, 2 * EMB_PANEL, N_ROWS, 1, in->gamma, out->gate_rows.ranges, out->gate_rows.c, EMB_PANEL);
	for (int act = EMB_ACT_KIND_GELU; act <= EMB_ACT_KIND_SILU; act++)
	{
		float	   *x = out->activate_rows[act - EMB_ACT_KIND_GELU];

		memcpy(x, in->a, sizeof(out->activate_rows[0]));
		k->activate_rows((EmbActKind) act, x, EMB_PANEL, 2, 1, NULL, NULL);
	}
	out->quantize_u8.scale = k->quantize_u8(in->a, in->b, N_LONG, N_BYTES, out->quantize_u8.codes,
											&out->quantize_u8.zero);
	run_quantize_rows(k, in, out);
	run_norm_rows(k, in, out);
}

/* Queries, keys and values are the same tokens. */
static void
run_attention(const EmbKernels *k, const Inputs *in, Outputs *out)
{
	uint8_t		q[N_TOKENS * N_HEAD_BYTES];
	float		q_scales[N_TOKENS];
	float		scores[EMB_ATTEND_ROWS * N_TOKENS_PADDED];
	uint8_t		codes[EMB_ATTEND_ROWS * N_TOKENS_PADDED];
	float		maxima[EMB_ATTEND_ROWS * EMB_PANEL];
	float		factors[EMB_ATTEND_ROWS * EMB_PANEL];
	float		bias[N_BIASES];
	EmbHeadRowsI8 rows = {
		.k = (const int8_t *) out->heads.codes, .v = (const int8_t *) out->heads.codes, .stride = N_HEAD_BYTES,
		.k_scales = out->heads.scales, .v_scales = out->heads.scales
	};
	EmbAttendI8 a = {
		.n_queries = N_ROWS, .q = q, .q_stride = N_HEAD_BYTES, .q_scales = q_scales, .scale = 0x1.5p+21f,
		.head = {
			N_TOKENS, N_HEAD, out->head.keys, out->head.key_starts, out->head.key_scales, out->head.value_logs,
			out->head.value_inverses, out->head.values
		},
		.scores = scores, .codes = codes, .maxima = maxima, .factors = factors, .out = out->attended, .out_stride = N_HEAD
	};

	k->quantize_heads(in->b, N_TOKENS, N_HEAD, 0, out->heads.codes, out->heads.scales, 1);
	k->quantize_heads(in->b, N_TOKENS, N_HEAD, 128, q, q_scales, 1);
	k->pack_head_i8(&rows, &a.head);
	k->attend_i8(&a);
	/*
	 * arbitrary numbers large enough to matter; one query in three does not
	 * see its own token
	 */
	for (int i = 0; i < N_BIASES; i++)
		bias[i] = i % 3 == N_ROWS % 3 ? EMB_BIAS_OF_NOTHING : in->b[i] * 0x1p+22f;
	a.bias = bias + N_ROWS - 1;
	a.out = out->attended_biased;
	k->attend_i8(&a);
	a.bias = NULL;
	a.n_seen = N_TOKENS - N_ROWS + 1;
	a.out = out->attended_causal;
	k->attend_i8(&a);
	a.n_seen = N_TOKENS / 2;	/* one segment */
	a.out = out->attended_early;
	k->attend_i8(&a);
}

const char *
emb_kernels_selftest(const EmbKernels *kernels, const EmbKernels *scalar)
{
	static const struct
	{
		const char *name;
		size_t		offset,
					size;
	}			fields[] = {
#define FIELD(op, field) {#op, offsetof(Outputs, field), sizeof(((Outputs *) 0)->field)}
		FIELD(gemm_f32, gemm), FIELD(transpose_f32, panel), FIELD(add_norm_f32, norm),
		FIELD(rms_norm_f32, rms_norm),
		FIELD(softmax_f32, softmax), FIELD(gelu_f32, gelu), FIELD(gelu_tanh_f32, gelu_tanh), FIELD(silu_f32, silu),
		FIELD(tanh_f32, tanh), FIELD(relu_f32, relu), FIELD(add_f32, add), FIELD(max_f32, max), FIELD(div_f32, div), FIELD(dot_f32, dot),
		FIELD(muladd_f32, muladd), FIELD(rotate_f32, rotated), FIELD(update_f64, updated), FIELD(gemm_i8, gemm_i8), FIELD(gemm_i8, gemm_i8_tiled),
		FIELD(gemm_grouped, gemm_grouped), FIELD(activate_rows, activate_rows),
		FIELD(gate_rows, gate_rows), FIELD(quantize_u8, quantize_u8),
		FIELD(quantize_rows, quantize_rows), FIELD(quantize_rows, quantize_ranges), FIELD(norm_rows, norm_rows), FIELD(quantize_heads, heads),
		FIELD(pack_head_i8, head), FIELD(attend_i8, attended), FIELD(attend_i8, attended_biased),
		FIELD(attend_i8, attended_causal), FIELD(attend_i8, attended_early)
	};
	Inputs		in;
	Outputs		mine,
				theirs;
	EmbFpState	fp = emb_fp_enter();

	memset(&mine, 0, sizeof(mine));
	memset(&theirs, 0, sizeof(theirs));
	fill_inputs(&in);
	run_gemm(kernels, &in, &mine);
	run_rows(kernels, &in, &mine);
	run_i8(kernels, &in, &mine);
	run_attention(kernels, &in, &mine);
	run_gemm(scalar, &in, &theirs);
	run_rows(scalar, &in, &theirs);
	run_i8(scalar, &in, &theirs);
	run_attention(scalar, &in, &theirs);
	emb_fp_leave(fp);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (memcmp((char *) &mine + fields[i].offset, (char *) &theirs + fields[i].offset, fields[i].size) != 0)
			return fields[i].name;
	return NULL;
}
