/*
 * dense.h
 *		Linear layers behind the pooling, as sentence-transformers' Dense:
 *
 *			x = activation(weight x + bias)			for each layer
 *
 * with x / max(|x|, 1e-12) before and behind where the model says so. fp32
 * whatever the layers of the encoder are in.
 */
#ifndef EMB_TRANSFORMER_DENSE_H
#define EMB_TRANSFORMER_DENSE_H

#include "transformer/transformer.h"

typedef struct EmbDenseLayer
{
	EmbLinear	linear;			/* n_in: what comes before gives */
	EmbActivation activation;	/* 0: none */
	bool		normalize;		/* behind it */
} EmbDenseLayer;

typedef struct EmbDense
{
	int32_t		n_layers;		/* 0: nothing to do */
	EmbDenseLayer layers[EMB_ARCH_MAX_DENSE];
} EmbDense;

/*
 * rows: [n_rows, n_in of the first]; out: [n_rows, n_out of the last]. A row's
 * bits do not depend on the others. Scratch comes from mem:
 * emb_transformer_dense_scratch_bytes, whatever n_rows. EMB_ERR_NOMEM,
 * EMB_ERR_CANCELLED, EMB_ERR_LIMIT: a result is not finite.
 */
extern EmbStatus emb_transformer_dense(const EmbDense *dense, const EmbKernels *kernels, const float *rows, int32_t n_rows,
								   const EmbAllocator *mem, const EmbStop *stop, float *out, EmbError *err);
extern size_t emb_transformer_dense_scratch_bytes(const EmbDense *dense);

#endif
