/*
 * pooling.h
 *		Pools the rows of a text into one vector.
 */
#ifndef EMB_TRANSFORMER_POOLING_H
#define EMB_TRANSFORMER_POOLING_H

#include "transformer/transformer.h"

/*
 * rows: [n_rows, hidden], row stride stride; EMB_POOL_CLS reads only the first row.
 * out: [emb_arch_pooled_width], the poolings one after the other. The rows are
 * added in order, those of a weighted mean multiplied by their place in the
 * text before, which has n_before rows in front of them; then the sum is
 * divided by their number, by the square root of their number, or by the sum
 * of the weights.
 */
extern void emb_pool_rows(const EmbKernels *kernels, const EmbArch *arch,
						  const float *rows, size_t stride, int32_t n_rows, int32_t n_before, float *out);

/* x /= max(|x|, 1e-12). False: x or its norm is not finite; x is then unchanged. */
extern bool emb_pool_normalize(const EmbKernels *kernels, float *x, int32_t n);

extern bool emb_pool_is_finite(const float *x, int32_t n);

#endif
