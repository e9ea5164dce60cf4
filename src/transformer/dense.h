/*
 * dense.h
 *		Modules after the pooling, Dense and LayerNorm of
 *		sentence-transformers:
 *
 *			x = activation(weight x + bias)			a dense layer
 *			x = gamma (x - mean) / deviation + beta		a layer norm
 *
 * Where the model has them, steps x / max(|x|, 1e-12) stand before and after
 * the layers. Always fp32, whatever the form of the transformer's layers.
 */
#ifndef EMB_TRANSFORMER_DENSE_H
#define EMB_TRANSFORMER_DENSE_H

#include "transformer/transformer.h"

typedef struct EmbDenseLayer
{
	int32_t		n_in,			/* output size of the module before */
				n_out;
	EmbLinear	linear;			/* n_out 0: a layer norm */
	EmbActivation activation;	/* 0: none */
	EmbLayerNorm norm;			/* gamma NULL: without weights */
	float		norm_eps;
	bool		normalize;		/* after the module */
} EmbDenseLayer;

typedef struct EmbDense
{
	int32_t		n_layers;		/* 0: no dense layers */
	EmbDenseLayer layers[EMB_ARCH_MAX_DENSE];
} EmbDense;

/*
 * rows: [n_rows, n_in of the first layer]; out: [n_rows, n_out of the last
 * layer]. A row's bits do not depend on other rows. Scratch comes from mem:
 * emb_transformer_dense_scratch_bytes, whatever n_rows. EMB_ERR_NOMEM,
 * EMB_ERR_CANCELLED, EMB_ERR_LIMIT: a result is not finite.
 */
extern EmbStatus emb_transformer_dense(const EmbDense *dense, const EmbKernels *kernels, const float *rows, int32_t n_rows,
								   const EmbAllocator *mem, const EmbStop *stop, float *out, EmbError *err);
extern size_t emb_transformer_dense_scratch_bytes(const EmbDense *dense);

#endif
