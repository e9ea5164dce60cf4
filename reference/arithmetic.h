/*
 * arithmetic.h
 *		What a transformer does to rows, beside products. n_threads is for
 *		OpenMP: rows are independent. Sums are in double, so that the
 *		reference is nearer to the exact value than what it judges.
 */
#ifndef EMB_REFERENCE_ARITHMETIC_H
#define EMB_REFERENCE_ARITHMETIC_H

#include "common/arch.h"

/* Fewer elements are not worth waking threads for. */
#define EMB_REF_MIN_ELEMS	32768

/* Gamma and beta of a norm, each [n]; beta NULL: zeros. */
typedef struct EmbRefNorm
{
	const float *gamma;
	const float *beta;
} EmbRefNorm;

/*
 * y = norm(x) for n_rows rows of n elements, one after another; y may be x.
 *
 *	EMB_NORM_LAYER	(x - mean) / sqrt(variance + eps) * gamma + beta
 *	EMB_NORM_RMS	x / sqrt(mean of squares + eps) * gamma + beta
 */
extern void emb_ref_norm(EmbNormKind kind, EmbRefNorm norm, double eps, int64_t n_rows, int32_t n, const float *x, float *y,
						 int n_threads);

/* x = f(x), n elements; EmbActivation's comments have the functions. 0: nothing. */
extern void emb_ref_activate(int32_t activation, int64_t n, float *x, int n_threads);

/* x = act(x) * up */
extern void emb_ref_gate(int32_t activation, int64_t n, float *x, const float *up, int n_threads);

/* x += y */
extern void emb_ref_add(int64_t n, float *x, const float *y, int n_threads);

/*
 * RoPE's angles: cosines [n_positions, head_size / 2], then as many sines.
 * Angle i of position p is p base^(-2i / head_size). With NTK scaling the base
 * is multiplied by scale, and the angle divided by scale^(2 / head_size).
 * Rounded to single precision where transformers rounds: at position 8,000 the
 * last bit of an angle is 5e-4.
 */
extern void emb_ref_fill_angles(double base, double scale, int32_t n_positions, int32_t head_size, float *angles);

/*
 * Rotates every head of row p = 0 .. n_rows - 1 by the angles of position p:
 * element i of the head's first half and element i of its second half are the
 * coordinates of a point in a plane.
 */
extern void emb_ref_rotate(const float *angles, int32_t n_positions, int32_t n_rows, int32_t n_heads, int32_t head_size,
						   float *x, int n_threads);

/* Scores [n] of a query's keys first .. end - 1 become weights with the sum 1; the other keys get 0. */
extern void emb_ref_softmax(float *scores, int32_t n, int32_t first, int32_t end);

extern double emb_ref_dot(const float *x, const float *y, int32_t n);

/* x /= max(|x|, 1e-12) */
extern void emb_ref_normalize(float *x, int32_t n);

#endif
