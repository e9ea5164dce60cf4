/*
 * pooling.h
 *		Pools the rows of a text into one vector.
 */
#ifndef EMB_TRANSFORMER_POOLING_H
#define EMB_TRANSFORMER_POOLING_H

#include "transformer/transformer.h"

/*
 * rows: [n_rows, n], row stride stride; EMB_POOL_CLS reads only the first row.
 * out: [n]. The rows are added in order; then the sum is divided by their
 * number, or by the square root of their number.
 */
extern void emb_pool_rows(const EmbKernels *kernels, EmbPooling pooling,
						  const float *rows, size_t stride, int32_t n_rows, int32_t n, float *out);

/* x /= max(|x|, 1e-12). False: x or its norm is not finite; x is then unchanged. */
extern bool emb_pool_normalize(const EmbKernels *kernels, float *x, int32_t n);

extern bool emb_pool_is_finite(const float *x, int32_t n);

#endif
