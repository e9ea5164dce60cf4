/*
 * static.h
 *		A static model (n_layers 0): the mean of its tokens' word embeddings.
 *
 * The rows are added in token order; then the sum is divided by their number.
 * A text may have no tokens: its vector is zeros.
 */
#ifndef EMB_TRANSFORMER_STATIC_H
#define EMB_TRANSFORMER_STATIC_H

#include "transformer/transformer.h"

/*
 * emb_transformer_run for a static model. out: [n_seqs, hidden].
 * batch->offsets ascend, but not strictly. Uses one thread, because
 * tokenization takes longer. No scratch. EMB_ERR_INVALID_ARGUMENT (an id is
 * out of range), EMB_ERR_CANCELLED, EMB_ERR_LIMIT (a sum overflows).
 */
extern EmbStatus emb_transformer_run_static(const EmbTransformer *transformer, const EmbKernels *kernels, const EmbBatch *batch,
											const EmbStop *stop, float *out, EmbError *err);

#endif
