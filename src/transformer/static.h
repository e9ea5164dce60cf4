/*
 * static.h
 *		A model without layers: the mean of its tokens' vectors.
 *
 * Of EmbBert only hidden, n_vocab, word_embedding and normalize count. Rows
 * are added in the order of the tokens, then divided by their number. Unlike
 * an encoder's, a text may have no tokens: its vector is zeros.
 */
#ifndef EMB_TRANSFORMER_STATIC_H
#define EMB_TRANSFORMER_STATIC_H

#include "transformer/transformer.h"

/*
 * out: [n_seqs, hidden]. batch->offsets ascending, not strictly. One thread:
 * the texts' tokenization takes longer. No scratch. EMB_ERR_INVALID_ARGUMENT
 * (an id out of range), EMB_ERR_CANCELLED, EMB_ERR_LIMIT (a sum overflows).
 */
extern EmbStatus emb_encoder_static(const EmbBert *bert, const EmbKernels *kernels, const EmbBatch *batch,
									const EmbStop *stop, float *out, EmbError *err);

#endif
