/*
 * blas.h
 *		Matrix products by OpenBLAS, loaded at run time where it is installed.
 *
 * Example:
 *
 *		EmbBlas		blas;
 *		if (emb_blas_open(1, &blas, err) == EMB_OK)
 *			emb_blas_multiply(&blas, n, n_out, n_in, x, n_in, w, n_in, 0, y, n_out);
 *
 * OpenBLAS is loaded once and stays loaded until the process ends: its threads
 * cannot be unloaded. So there is no close.
 */
#ifndef EMB_REFERENCE_BLAS_H
#define EMB_REFERENCE_BLAS_H

#include <stdint.h>

#include "common/error.h"

/* cblas_sgemm of cblas.h, with integers of 32 bits */
typedef void (*EmbSgemm) (int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
						  const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);

typedef struct EmbBlas
{
	EmbSgemm	sgemm;
	int			n_threads;		/* for OpenBLAS and for our own loops */
	const char *config;			/* its version and build, or "" */
} EmbBlas;

/*
 * Loads OpenBLAS. n_threads: at least 1, the caller's thread included; with 1
 * neither OpenBLAS nor libgomp starts a thread. EMB_ERR_NOT_FOUND with a hint:
 * OpenBLAS is not installed. EMB_ERR_UNSUPPORTED: its integers have 64 bits.
 */
extern EmbStatus emb_blas_open(int n_threads, EmbBlas *blas, EmbError *err);

/* y = y_factor y + x w^T: x [n, n_in], w [n_out, n_in], y [n, n_out], each with the stride of its rows. */
extern void emb_blas_multiply(const EmbBlas *blas, int32_t n, int32_t n_out, int32_t n_in, const float *x, int32_t x_stride,
							  const float *w, int32_t w_stride, float y_factor, float *y, int32_t y_stride);

/* y = x w: x [n, n_in], w [n_in, n_out], y [n, n_out]. */
extern void emb_blas_combine(const EmbBlas *blas, int32_t n, int32_t n_out, int32_t n_in, const float *x, int32_t x_stride,
							 const float *w, int32_t w_stride, float *y, int32_t y_stride);

#endif
