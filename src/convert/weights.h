/*
 * weights.h
 *		Reads a checkpoint's tensors as an fp32 image has them.
 *
 * Example:
 *
 *		EmbWeights	weights = {.checkpoint = &checkpoint, .arch = &arch, .steps = &steps};
 *		emb_weights_check(&weights, err);				// before memory is taken for weights
 *		emb_weights_read(&weights, tensor, to, err);
 *		emb_weights_free(&weights);
 */
#ifndef EMB_CONVERT_WEIGHTS_H
#define EMB_CONVERT_WEIGHTS_H

#include "convert/stream.h"
#include "import/checkpoint.h"

typedef struct EmbWeights
{
	const EmbCheckpoint *checkpoint;
	const EmbArch *arch;
	const EmbImportSteps *steps;
	float	   *rows;			/* [16, n_cols] of a panel, as read; owned */
	size_t		n_rows_elems;
} EmbWeights;

/*
 * Whether the checkpoint has every tensor of an fp32 image in its shape, so
 * that the files' size limits the memory, not the configuration.
 */
extern EmbStatus emb_weights_check(const EmbWeights *w, EmbError *err);

/*
 * A whole tensor in its form of the fp32 plan, to t->size_bytes zeroed bytes.
 * RoPE tables, and the vectors of distances of a layer, are computed.
 */
extern EmbStatus emb_weights_read(EmbWeights *w, const EmbImageTensor *t, void *to, EmbError *err);

/* Rows row .. row + n - 1 of a tensor, [n, n_cols]. */
extern EmbStatus emb_weights_read_rows(const EmbWeights *w, const EmbImageTensor *t, int64_t row, int64_t n,
									   float *rows, EmbError *err);

/* Rows that are read well under 10 ms. */
extern int64_t emb_weights_block_rows(const EmbImageTensor *t);

extern void emb_weights_free(EmbWeights *w);

#endif
