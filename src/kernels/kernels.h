/*
 * kernels.h
 *		Arithmetic on rows of floats, one implementation per instruction set,
 *		equal bit for bit.
 *
 *		const EmbKernels *k = emb_kernels();
 *		EmbGemmF32	g = {.n_rows = m, .n_in = 384, .n_panels = 24, .a = x, .a_stride = 384,
 *						 .b = weight, .bias = bias, .c = y, .c_stride = 384};
 *		k->gemm_f32(&g);
 *
 * What makes the bits equal, for any level, row count and batch:
 *	- A row's result depends on that row and the constants only.
 *	- Sums over a row run in 16 lanes, element i in lane i mod 16, a partial
 *	  last group padded with zeros; the lanes are added as a tree: i with i+8,
 *	  then i+4, i+2, i+1.
 *	- Multiply-add is fused where this file says fma and nowhere else (the
 *	  build has -ffp-contract=off; muladd_f32 is the probe for it). Division
 *	  and square root are IEEE's. max(a, b) is a > b ? a : b, min alike.
 *	- Round to nearest even, denormals kept: callers are inside emb_fp_enter().
 *
 * No kernel allocates, fails, or keeps state; all are safe in any thread and
 * accept any alignment. Unless said otherwise n >= 1 is any length, and
 * nothing outside the named elements is read or written. Finite inputs give
 * finite results as long as no sum or product of the equation overflows; if one
 * does, the level makes no difference to which results are finite.
 *
 * The operations (names as in kernels.def):
 *
 * transpose_f32	panel[i][r] = rows[r * stride + i] for i < n, r < n_rows (1..16),
 *					0 for n_rows <= r < 16. Writes 16 n floats. Moves only.
 * add_norm_f32		v = x + residual (x alone if residual is NULL); mean = sum(v) / n;
 *					d = v - mean; var = sum(fma: d d) / n;
 *					y = fma(d * (1 / sqrt(max(var + eps, 1e-30))), gamma, beta).
 *					y may be x or residual.
 * softmax_f32		in place: x = 2^max((x - max(x)) * c, -125), c = scale * log2(e); returns
 *					their sum (>= 1). scale > 0. Dividing is left to the caller, who has
 *					shorter rows to divide. 2^t is good to 1.2e-7 relative.
 * gelu_f32			x = x/2 (1 + erf(x / sqrt 2)); absolute error below 2e-7 max(1, |x|).
 * gelu_tanh_f32	x = x / (1 + 2^(-2 u log2 e)), u = sqrt(2/pi) (x + 0.044715 x^3), which is
 *					x/2 (1 + tanh u); absolute error below 3e-7 max(1, |x|).
 * relu_f32			x = max(0, x)
 * add_f32			y = y + x
 * div_f32			x = x / divisor
 * dot_f32			returns sum(fma: x y); the arguments may be one array
 * muladd_f32		y = x * factor + y, rounded twice
 */
#ifndef EMB_KERNELS_KERNELS_H
#define EMB_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "kernels/fpenv.h"

#define EMB_PANEL			16	/* columns of a panel */
#define EMB_GEMM_K_BLOCK	384 /* products of one fused chain */

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

typedef struct EmbKernels
{
	const char *name;			/* "scalar", "avx2", ... */

	/*
	 * Multiply-adds after which to ask for a stop: well under 10 ms of this
	 * level on a slow machine. A gemm call is cut to about this size.
	 */
	int64_t		macs_per_piece;
#define EMB_OP(op, result, arguments) result (*op) arguments;
#include "kernels/kernels.def"
} EmbKernels;

/*
 * The level in use. The first call tests every kernel of the level against
 * scalar (under 1 ms); a level that fails is not available, and the next best
 * serves. Thread-safe; the pointer stays valid for ever.
 */
extern const EmbKernels *emb_kernels(void);
extern const char *emb_kernels_name(void);

/*
 * "auto", "scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon". What the
 * CPU, its operating system or this build lacks is EMB_ERR_UNSUPPORTED, an
 * unknown name EMB_ERR_INVALID_ARGUMENT; both change nothing. Call it between
 * calls of the core: a call reads emb_kernels() once, at its start.
 */
extern EmbStatus emb_kernels_select(const char *name, EmbError *err);
extern bool emb_kernels_is_known(const char *name);
extern bool emb_kernels_is_available(const char *name);

/*
 * Packed weights: [ceil(n_out / 16)][n_in][16], one layout for all levels,
 * written panel by panel. rows: [n_rows <= 16, n_in] row-major; missing rows
 * become zeros. panel: [n_in][16].
 */
extern size_t emb_pack_f32_panels(int32_t n_out);
extern size_t emb_pack_f32_bytes(int32_t n_out, int32_t n_in);
extern void emb_pack_f32_panel(const float *rows, int32_t n_rows, int32_t n_in, float *panel);

/*
 * On the level in use, entering the floating-point environment themselves.
 * cosine: [n] each, 0 where a norm is 0, within -1..1; NaN only if an input is
 * not finite. normalize: x /= max(|x|, 1e-12).
 */
extern float emb_kernels_cosine(const float *a, const float *b, int32_t n);
extern void emb_kernels_normalize(float *x, int32_t n);

#endif
