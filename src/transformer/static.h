/*
 * static.h
 *		A static model, n_layers 0: the mean of its tokens' word embeddings.
 *
 * Rows are added in the order of the tokens, then divided by their number. A
 * text may have no tokens: its vector is zeros.
 */
#ifndef EMB_TRANSFORMER_STATIC_H
#define EMB_TRANSFORMER_STATIC_H

#include "transformer/transformer.h"

/*
 * What emb_transformer_run does for such a model. out: [n_seqs, hidden].
 * batch->offsets ascending, not strictly. One thread: the texts' tokenization
 * takes longer. No scratch. EMB_ERR_INVALID_ARGUMENT (an id out of range),
 * EMB_ERR_CANCELLED, EMB_ERR_LIMIT (a sum overflows).
 */
extern EmbStatus emb_transformer_run_static(const EmbTransformer *transformer, const EmbKernels *kernels, const EmbBatch *batch,
											const EmbStop *stop, float *out, EmbError *err);

#endif
