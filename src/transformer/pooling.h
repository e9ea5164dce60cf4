/*
 * pooling.h
 *		From the rows of a text to its one vector.
 */
#ifndef EMB_TRANSFORMER_POOLING_H
#define EMB_TRANSFORMER_POOLING_H

#include "transformer/transformer.h"

/*
 * rows: [n_rows, n], row stride stride; EMB_POOL_CLS reads the first only.
 * out: [n]. Rows are added in order, then divided by their number, or by its
 * square root.
 */
extern void emb_pool_rows(const EmbKernels *kernels, EmbPooling pooling,
						  const float *rows, size_t stride, int32_t n_rows, int32_t n, float *out);

/* x /= max(|x|, 1e-12). False: x or its norm is not finite, and x is left as it is. */
extern bool emb_pool_normalize(const EmbKernels *kernels, float *x, int32_t n);

extern bool emb_pool_is_finite(const float *x, int32_t n);

#endif
