/*
 * kernels.h
 *		Arithmetic on rows of floats and bytes, one implementation per
 *		instruction set, equal bit for bit.
 *
 * Example:
 *
 *		const EmbKernels *k = emb_kernels();
 *		EmbGemmF32	g = {.n_rows = m, .n_in = 384, .n_panels = 24, .a = x, .a_stride = 384,
 *						 .b = weight, .bias = bias, .c = y, .c_stride = 384};
 *		k->gemm_f32(&g);
 *
 * These rules make the bits equal for any level, row count and batch:
 *	- A row's result depends only on this row and the constants.
 *	- Sums over a row run in 16 lanes, element i in lane i mod 16, a partial
 *	  last group padded with zeros; the lanes are added as a tree: i with i+8,
 *	  then i+4, i+2, i+1.
 *	- Multiply-add is fused only where this file writes fma (the
 *	  build has -ffp-contract=off; muladd_f32 is the probe for it). Division
 *	  and square root are IEEE's. max(a, b) is a > b ? a : b, min alike.
 *	- Round to nearest even, denormals kept: callers are inside emb_fp_enter().
 *
 * No kernel allocates, fails, or keeps state. All are safe in any thread and
 * accept any alignment. Unless noted, n >= 1 is any length, and a kernel reads
 * and writes only the named elements. Finite inputs have finite results unless
 * a sum or product in the equation overflows. After an overflow the same
 * results are finite on every level.
 *
 * The operations (names as in kernels.def):
 *
 * transpose_f32	panel[i][r] = rows[r * stride + i] for i < n, r < n_rows (1..16),
 *					0 for n_rows <= r < 16. Writes 16 n floats. Moves only.
 * add_norm_f32		v = x + residual (x alone if residual is NULL); mean = sum(v) / n;
 *					d = v - mean; var = sum(fma: d d) / n;
 *					y = fma(d * (1 / sqrt(max(var + eps, 1e-30))), gamma, beta).
 *					y may be x or residual.
 * rms_norm_f32		y = (x * (1 / sqrt(max(sum(fma: x x) / n + eps, 1e-30)))) * gamma; y may be x. If the
 *					sum overflows, y is 0.
 * softmax_f32		in place: x = 2^max((x - max(x)) * c, -125), c = scale * log2(e); returns
 *					their sum (>= 1). scale > 0. The caller divides, because its rows are
 *					shorter. 2^t has a relative error of 1.2e-7.
 * gelu_f32			x = x/2 (1 + erf(x / sqrt 2)); absolute error below 2e-7 max(1, |x|).
 * gelu_tanh_f32	x = x / (1 + 2^(-2 u log2 e)), u = sqrt(2/pi) (x + 0.044715 x^3), which is
 *					x/2 (1 + tanh u); absolute error below 3e-7 max(1, |x|).
 * silu_f32			x = x / (1 + 2^(-x log2 e)); absolute error below 3e-7 max(1, |x|)
 * tanh_f32			x = tanh(x); error below 4e-7 |x|
 * relu_f32			x = max(0, x)
 * add_f32			y = y + x
 * max_f32			y = max(x, y): a NaN of x changes nothing
 * div_f32			x = x / divisor
 * dot_f32			returns sum(fma: x y); the arguments may be one array
 * muladd_f32		y = x * factor + y, rounded twice
 * rotate_f32		in place, n_heads heads of d elements, h = d / 2, angles h cosines and h sines, for i < h:
 *					x[i], x[h + i] = x[i] cos[i] - x[h + i] sin[i], x[h + i] cos[i] + x[i] sin[i], each
 *					product and sum rounded
 * update_f64		c[i stride + k] = c - a[i] b[k] - a[S + i] b[S + k] - .. - a[63 S + i] b[63 S + k] for
 *					S = EMB_UPDATE_SQUARE = 64, i < n_rows, k < 16 n_panels, in this order, each product
 *					and difference rounded. n_rows is a multiple of EMB_UPDATE_ROWS.
 *
 * Rows in int8. rint rounds to nearest even; a sum is exact, in int32. Values
 * that are not finite become defined codes (NaN the lowest), equal on all levels.
 *
 * activate_rows	x[m][n] = act(x[m][n]) for m < n_rows, n < 16 n_panels, row stride stride. With
 *					factor, not NULL: x = act(x) * factor[n], and in range[m]: [j] = max(-x, [j]),
 *					[16 + j] = max(x, [16 + j]) for j = n mod 16; it starts as zeros.
 *					act: none; gelu, gelu_tanh to an absolute error of 2.6e-4, exactly 0 and x
 *					beyond +-4; relu; silu to 1.1e-4, exactly 0 and x beyond +-13.25. NaN becomes 0
 *					unless act is none.
 * gate_rows		y[m][16 j + i] = act(x[m][32 j + i]) * x[m][32 j + 16 + i] for j < n_panels, i < 16: a
 *					panel of gates, its panel of values; act, factor and range as in activate_rows.
 *					y may be x with the same stride.
 * quantize_u8		y = x * factor (x alone if factor is NULL); lo = max(min(0, min y), -1e38), hi = min(max(0, max y), 1e38),
 *					r = max(hi - lo, 1e-30); zero = rint(-lo * (255 / r));
 *					q = rint(y * (255 / r) + zero), clamped to 0 .. 255, the product and sum unrounded;
 *					returns r / 255. y is about (q - zero) times it. q[i] = 0 for n <= i < n_padded.
 * quantize_rows	each of n_rows rows: codes, scales and zeros are those of quantize_u8, with code_stride as
 *					n_padded; with ranges, not NULL, in one pass, for lo = -max(ranges[m][0 .. 15]),
 *					hi = max(ranges[m][16 .. 31]). Codes are clamped, so a wrong range does no harm.
 * norm_rows		each of n_rows rows: y = add_norm_f32 of x and residual; then, unless codes is NULL, codes,
 *					scales and zeros are those of quantize_u8 of y and factor, with code_stride as n_padded.
 * quantize_heads	a row of n_heads heads of d elements. For each: m = min(max(max |x|, 1e-12), 1e12);
 *					q[i] = the low byte of zero + rint(x[i] * (127 / m)), rint clamped to -127 .. 127;
 *					scales[head * scale_stride] = m / 127. q holds d rounded up to 4 bytes a head,
 *					0 for elements after d.
 */
#ifndef EMB_KERNELS_KERNELS_H
#define EMB_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/half.h"
#include "kernels/fpenv.h"

#define EMB_PANEL			16	/* columns of a panel */
#define EMB_UPDATE_SQUARE	64	/* rows and columns of a square of update_f64 */
#define EMB_UPDATE_ROWS		4
#define EMB_GEMM_K_BLOCK	384 /* products of one fused chain */
#define EMB_GROUP			4	/* bytes of one column that lie together */
#define EMB_RANGE			32	/* floats that keep the range of a row: 16 lanes of -lo, 16 of hi */
#define EMB_PACK_I8_K		64	/* K of packed int8 and int4 weights is a multiple of it */

/* An activation of rows that become bytes. */
typedef enum EmbActKind
{
	EMB_ACT_KIND_NONE = 0,
	EMB_ACT_KIND_GELU = 1,
	EMB_ACT_KIND_GELU_TANH = 2,
	EMB_ACT_KIND_RELU = 3,
	EMB_ACT_KIND_SILU = 4
} EmbActKind;

/* Rows that become bytes. */
typedef struct EmbQuantRows
{
	int32_t		n_rows;			/* >= 1 */
	int32_t		n;				/* >= 1 */
	const float *x;
	size_t		x_stride;
	const float *factor;		/* [n], or NULL */
	const float *ranges;		/* [n_rows][EMB_RANGE] of x times factor, numbers >= 0, or NULL */
	uint8_t    *codes;			/* [n_rows] */
	size_t		code_stride;	/* bytes, >= n */
	float	   *scales;			/* [n_rows] */
	int32_t    *zeros;			/* [n_rows] */
} EmbQuantRows;

/* Rows that are normed and become bytes. */
typedef struct EmbNormRows
{
	int32_t		n_rows;			/* >= 1 */
	int32_t		n;
	const float *x;
	size_t		x_stride;
	const float *residual;		/* or NULL */
	size_t		residual_stride;
	const float *gamma;			/* [n] */
	const float *beta;			/* [n] */
	float		eps;
	float	   *y;				/* may be x or residual, with the same stride */
	size_t		y_stride;
	const float *factor;		/* [n], or NULL */
	uint8_t    *codes;			/* [n_rows], or NULL: the rest is not read */
	size_t		code_stride;	/* bytes, >= n */
	float	   *scales;			/* [n_rows] */
	int32_t    *zeros;			/* [n_rows] */
} EmbNormRows;

/*
 * C[m][n] = (..((S_0 + S_1) + S_2)..) + bias[n], where
 * S_j = fma chain over k = 384 j .. min(384 (j + 1), K) - 1, ascending, from 0,
 * of A[m][k] B[k][n].
 *
 * A [n_rows, n_in], row stride a_stride >= n_in elements.
 * B n_panels panels of [n_in][16], one after the other: column n is column
 *	 n mod 16 of panel n / 16.
 * C [n_rows, 16 n_panels], row stride c_stride >= 16 n_panels: whole panels
 *	 are written, so columns past the real ones must exist.
 * bias [16 n_panels], or NULL: not added at all.
 * A, B and C do not overlap.
 */
typedef struct EmbGemmF32
{
	int32_t		n_rows;			/* >= 1 */
	int32_t		n_in;			/* K, >= 1 */
	int32_t		n_panels;		/* >= 1 */
	const float *a;
	size_t		a_stride;
	const float *b;
	const float *bias;
	float	   *c;
	size_t		c_stride;
} EmbGemmF32;

/*
 * C = fma((float) (S[m][n] - a_zero[m] * b_sums[n]), a_scale[m] * b_scale[n], bias[n]),
 * then activate_rows(act, C, .., factor, range) unless act is none and factor NULL;
 * if gated gate_rows(act, C, .., factor, range, C) instead.
 * S[m][n] = sum over k < K of A[m][k] B[k][n], exact, K = 4 n_groups.
 *
 * A [n_rows, K] of u8, row stride a_stride >= K bytes.
 * B n_panels panels of [n_groups][16][4] of s8: B[k][n] is byte
 *	 [k / 4][n mod 16][k mod 4] of panel n / 16. b_sums[n] = sum over k of B[k][n].
 * C [n_rows, 16 n_panels], row stride c_stride >= 16 n_panels: whole panels
 *	 are written. If gated, n_panels is even, the result is the first 8 n_panels columns,
 *	 and the others may be overwritten.
 * K <= 65,536: then |S| <= 255 * 128 * 65,536 < 2^31, and S - a_zero * b_sums,
 *	 the sum over (A - a_zero) B, likewise. b_sums of a forged image may be others:
 *	 then int32 wraps or fp32 rounds, and levels give other sums than scalar.
 * a_zero NULL means zeros; b_sums is then not read. bias NULL means the plain
 *	 product (float) S * (a_scale * b_scale).
 * The arrays do not overlap.
 */
typedef struct EmbGemmI8
{
	int32_t		n_rows;			/* >= 1 */
	int32_t		n_groups;		/* K / 4, >= 1 */
	int32_t		n_panels;		/* >= 1 */
	const uint8_t *a;
	size_t		a_stride;		/* bytes */
	const float *a_scale;		/* [n_rows] */
	const int32_t *a_zero;		/* [n_rows], 0 .. 255, or NULL */
	const int8_t *b;
	const float *b_scale;		/* [16 n_panels] */
	const int32_t *b_sums;		/* [16 n_panels] */
	const float *bias;			/* [16 n_panels], or NULL */
	float	   *c;
	size_t		c_stride;		/* floats */
	EmbActKind	act;
	bool		gated;
	const float *factor;		/* [16 n_panels, half of it if gated], or NULL */
	float	   *range;			/* [n_rows][EMB_RANGE], with factor */
} EmbGemmI8;

/*
 * The product with weights of 4 or 8 bits whose inputs k belong to groups of
 * `group` inputs, each with a scale for every column, and with 4 bits a zero:
 *
 * S_g[m][n] = sum over k of group g of A[m][k] (B[k][n] - b_zero[g][n])	exact
 * acc = fma((float) S_g[m][n], b_scale[g][n], acc), from 0, for g ascending
 * C = fma(fma(-(float) a_zero[m], b_sums[n], acc), a_scale[m], bias[n]),
 * then activate_rows or gate_rows as in EmbGemmI8.
 *
 * A as in EmbGemmI8, K = n_in, a multiple of 64.
 * B with 4 bits n_panels panels of [K / 8][16][4] bytes: byte [j][n][i] of panel p
 *	 holds, for column 16 p + n, B[8 j + i] in its lower and B[8 j + 4 + i] in its
 *	 upper 4 bits. With 8 bits the panels of EmbGemmI8; b_zero is 0 and not read.
 * b_scale n_panels panels of [n_scales][16] of scale_type, widened to fp32, which
 *	 is exact; b_zero likewise, of u8. n_scales = emb_pack_group_scales(K, group),
 *	 the last group may be shorter. Scales are finite. Of a zero only the lower 4
 *	 bits count, so |B - b_zero| <= 15.
 * group 32, 64, 128, or 0: all K inputs. K <= 65,536: then |S_g| < 2^28, with 8 bits < 2^31.
 * b_sums[n] = the sum over all k of (B[k][n] - b_zero) b_scale, as
 *	 emb_pack_group_sum adds it up. It is a float, because a_zero times its rounding
 *	 error is 10^-5 steps of A: zeros of A cost one operation per element of C.
 * a_zero NULL means zeros; b_sums is then not read. bias NULL means the plain
 *	 product of the inner fma and a_scale.
 * C as in EmbGemmI8. The arrays do not overlap.
 */
typedef struct EmbGemmGrouped
{
	int32_t		n_rows;			/* >= 1 */
	int32_t		n_in;			/* K, >= 64 */
	int32_t		bits;			/* of B: 4 or 8 */
	int32_t		group;
	int32_t		n_panels;		/* >= 1 */
	const uint8_t *a;
	size_t		a_stride;		/* bytes */
	const float *a_scale;		/* [n_rows] */
	const int32_t *a_zero;		/* [n_rows], 0 .. 255, or NULL */
	const uint8_t *b;
	EmbScaleType scale_type;
	const void *b_scale;
	const uint8_t *b_zero;		/* read with 4 bits */
	const float *b_sums;		/* [16 n_panels] */
	const float *bias;			/* [16 n_panels], or NULL */
	float	   *c;
	size_t		c_stride;		/* floats */
	EmbActKind	act;
	bool		gated;
	const float *factor;		/* [16 n_panels, half of it if gated], or NULL */
	float	   *range;			/* [n_rows][EMB_RANGE], with factor */
} EmbGemmGrouped;

/*
 * Attention in int8 for one head of one text, in two steps.
 *
 * pack_head_i8 packs rows of keys and values, codes of quantize_heads with
 * zero 0, into an EmbHeadI8. L = n_tokens rounded up to 16; d4 and d16 =
 * head_size rounded up; missing elements are zeros unless noted:
 *
 *		keys			[L / 16][d4 / 4][16][4]: key[t][i] is byte [t / 16][i / 4][t mod 16][i mod 4]
 *		key_starts		[L], -128 * sum over i of key[t][i]
 *		key_scales		[L], as given
 *		value_logs		[L], 2^23 log2 of the values' scales, log2 good to 2.2e-6; -1e38 after the last
 *		value_inverses	[L], 1 / the values' scales
 *		values			[L / 4][d16][4]: value[t][c] is byte [t / 4][c][t mod 4]
 *
 * attend_i8: for each query i, over the L keys t,
 *
 *		S_t = key_starts[t] + sum over i of q[i] key[t][i]					exact: q has the zero 128
 *		u_t = fma((float) S_t, (q_scale * scale) * key_scales[t], value_logs[t])
 *		u_t = u_t + bias[t - i]												if there is a bias
 *		m_s = max u_t over the keys of segment s: keys 512 s .. 512 s + 511
 *		e_t = E(u_t - m_s), E(x) = 255 * 2^(max(rint(x), -100 * 2^23) / 2^23)	good to 7.6e-5 relative;
 *			exactly 0 for a key that the query does not see
 *		p_t = rint(e_t), 0 .. 255
 *		f_s = E(m_s - max m) / E(0)											1 for the segment of the largest u
 *		share = 1 / sum(fma: f_s sum(fma: e_t value_inverses[t] in s))		16 lanes and the tree
 *		out[c] = sum(fma: f_s (float) (sum over t in s of p_t value[t][c])) * share		the inner sums are exact
 *
 * A segment has a maximum of its own because the weights of a long text are
 * spread over all its keys: beside the largest of 8,192 weights the others
 * would have few of the 256 codes.
 *
 * This is softmax(scale' Q K^T) V with scale = scale' * log2 e * 2^23: the
 * scale of a value is folded into its weight, so that the integers of all
 * tokens can be added. The sum for share uses the weights before rounding: so
 * a key that draws all attention to tiny values keeps the other values small.
 *
 * Scales come from quantize_heads, and 0 < scale <= 2^24: then |u| < 1e37
 * before the bias. A bias is within +-1e37, or EMB_BIAS_OF_NOTHING for a key
 * that the query does not see; every query sees at least one key. With n_seen
 * > 0 (causal attention) query i sees the keys 0 .. n_seen + i - 1, and u_t of
 * the others is -1e38. So all values are finite. An unseen key is never max u,
 * and its e_t is 0: it contributes exactly nothing, and neither does what
 * fills the last panel. A row's bits depend on the keys that it sees and on
 * nothing else. head_size, n_tokens <= 65,536: then |S|, sum p value < 2^31.
 */
typedef struct EmbHeadI8
{
	int32_t		n_tokens;		/* >= 1 */
	int32_t		head_size;		/* d, >= 1 */
	int8_t	   *keys;
	int32_t    *key_starts;
	float	   *key_scales;
	float	   *value_logs;
	float	   *value_inverses;
	int8_t	   *values;
} EmbHeadI8;

/* L and d16. */
static inline size_t
emb_head_i8_tokens(int32_t n_tokens)
{
	return ((size_t) n_tokens + EMB_PANEL - 1) / EMB_PANEL * EMB_PANEL;
}

/* Keys that share a maximum. 256: 7 % of attention's time instead of 4, and a tenth of the error less. */
#define EMB_ATTEND_SEGMENT 512

/* The segments of n_tokens keys, rounded up to 16. */
static inline size_t
emb_attend_segments(int32_t n_tokens)
{
	return (((size_t) n_tokens - 1) / EMB_ATTEND_SEGMENT + EMB_PANEL) / EMB_PANEL * EMB_PANEL;
}

static inline size_t
emb_head_i8_columns(int32_t head_size)
{
	return ((size_t) head_size + EMB_PANEL - 1) / EMB_PANEL * EMB_PANEL;
}

typedef struct EmbHeadRowsI8
{
	const int8_t *k;			/* [n_tokens, d4], padded to a multiple of 4 like the stride */
	const int8_t *v;			/* [n_tokens, d] */
	size_t		stride;			/* bytes, of both */
	const float *k_scales;		/* [n_tokens] */
	const float *v_scales;		/* [n_tokens] */
} EmbHeadRowsI8;

#define EMB_ATTEND_ROWS 16	/* maximum number of queries that a level processes at a time */

#define EMB_BIAS_MAX 1e37f
#define EMB_BIAS_OF_NOTHING -1e38f

typedef struct EmbAttendI8
{
	int32_t		n_queries;		/* >= 1 */
	const uint8_t *q;			/* [n_queries, d4]: codes of quantize_heads with zero 128 */
	size_t		q_stride;		/* bytes */
	const float *q_scales;		/* [n_queries] */
	float		scale;
	const float *bias;			/* NULL, or for key 0 and query 0; elements -(n_queries - 1) .. L - 1 are read */
	int32_t		n_seen;			/* 0, or keys that query 0 sees, and query i i more; then no bias, and n_seen + n_queries - 1 <= n_tokens */
	EmbHeadI8	head;
	float	   *scores;			/* scratch, EMB_ATTEND_ROWS L; its order is the level's */
	uint8_t    *codes;			/* scratch, [EMB_ATTEND_ROWS, L] */
	float	   *maxima;			/* scratch, [EMB_ATTEND_ROWS, emb_attend_segments(L)]: m_s */
	float	   *factors;		/* scratch, likewise: f_s */
	float	   *out;			/* [n_queries, d] */
	size_t		out_stride;		/* floats */
} EmbAttendI8;

typedef struct EmbKernels
{
	const char *name;			/* "scalar", "avx2", ... */

	/*
	 * Multiply-adds between two polls of stop: well under 10 ms at this level
	 * on a slow machine. A gemm call is cut to about this size.
	 */
	int64_t		macs_per_piece;
#define EMB_OP(op, result, arguments) result (*op) arguments;
#include "kernels/kernels.def"
} EmbKernels;

/*
 * The level in use. The first call tests every kernel of the level against
 * scalar (under 1 ms). A level that fails is not available, and the next best
 * level is used. Thread-safe; the pointer stays valid for ever.
 */
extern const EmbKernels *emb_kernels(void);
extern const char *emb_kernels_name(void);

/*
 * "auto", "scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon". A level
 * that the CPU, its operating system or this build lacks is
 * EMB_ERR_UNSUPPORTED, an unknown name EMB_ERR_INVALID_ARGUMENT; both change
 * nothing. Call it between calls of the core, because a call reads
 * emb_kernels() once, at its start. Testing a level ("auto" tests the best
 * one) may request permission from the operating system for this process and
 * its children, so do not call it in a server's parent.
 */
extern EmbStatus emb_kernels_select(const char *name, EmbError *err);
extern bool emb_kernels_is_known(const char *name);
extern bool emb_kernels_is_available(const char *name);

/*
 * The best level whose self-test failed, of those tested so far; NULL: none.
 * The operation in which a level failed; NULL: it did not, or was not tested.
 */
extern const char *emb_kernels_failed(void);
extern const char *emb_kernels_failed_op(const char *name);

/*
 * Packed weights: [ceil(n_out / 16)][n_in][16], one layout for all levels,
 * written panel by panel. rows: [n_rows <= 16, n_in] row-major; missing rows
 * become zeros. panel: [n_in][16].
 */
extern size_t emb_pack_f32_panels(int32_t n_out);
extern size_t emb_pack_f32_bytes(int32_t n_out, int32_t n_in);
extern void emb_pack_f32_panel(const float *rows, int32_t n_rows, int32_t n_in, float *panel);

/*
 * Packed int8 weights: [ceil(n_out / 16)][n_in padded to 64, over 4][16][4],
 * B of gemm_i8. rows: [n_rows <= 16, n_in] row-major; missing rows and columns
 * become zeros.
 */
extern size_t emb_pack_i8_padded(int32_t n_in);		/* K of the packed panel */
extern size_t emb_pack_i8_bytes(int32_t n_out, int32_t n_in);
extern void emb_pack_i8_panel(const int8_t *rows, int32_t n_rows, int32_t n_in, int8_t *panel);

/*
 * Packed int4 weights, B of gemm_grouped, with n_in padded as for int8. Of 8
 * bits gemm_grouped has the panels of int8.
 *
 * panel: from codes, [n_rows <= 16, n_in] row-major, one code (0 .. 15) a byte;
 * missing rows and columns become zeros. scales: number of groups of packed
 * weights, padding included. sum: adds up b_sums of one column:
 * fma((float) (sum over group g of (code - zero)), scale[g], sum), from 0, for g
 * ascending, over the n_in real codes of one byte each; zeros and scales [groups
 * of n_in]. Only the lower `bits` bits of codes and zeros count.
 */
extern size_t emb_pack_i4_bytes(int32_t n_out, int32_t n_in);
extern int32_t emb_pack_group_scales(int32_t n_in, int32_t group);
extern void emb_pack_i4_panel(const uint8_t *codes, int32_t n_rows, int32_t n_in, uint8_t *panel);
extern float emb_pack_group_sum(const uint8_t *codes, int32_t n_in, int32_t bits, int32_t group, const float *scales, const uint8_t *zeros);

/*
 * Use the level in use, and enter the floating-point environment themselves.
 * cosine: [n] each, 0 if a norm is 0, within -1..1; NaN only if an input is
 * not finite. normalize: x /= max(|x|, 1e-12).
 */
extern float emb_kernels_cosine(const float *a, const float *b, int32_t n);
extern void emb_kernels_normalize(float *x, int32_t n);

/* 1 / (1 + e^-x), within 1e-7 of it relatively; x below -87 counts as -87, so the result is never 0 or denormal. */
extern float emb_kernels_sigmoid(float x);

#endif
