/*
 * reference.h
 *		The forward pass of every architecture that common/arch.h describes,
 *		written plainly: an independent reference for the engine.
 *
 * The reference reads the weights of a checkpoint (import/checkpoint.h): from
 * the published files, in fp32; quantized weights are dequantized. It shares
 * only this seam and EmbArch with the engine. Products are OpenBLAS', loops
 * over rows are OpenMP's, functions are libm's. So its last bits depend on the
 * machine: it serves for comparisons, never for an image's bytes.
 *
 * To learn the models begin with forward.c; heads.c has what follows the
 * layers, arithmetic.c norms, activations and rotation.
 *
 * Example:
 *
 *		EmbBlas		blas;
 *		emb_blas_open(n_threads, &blas, err);
 *		EmbReferenceText text = {.ids = ids, .n_ids = n_ids, .out = vector};
 *		emb_reference_run(&blas, &checkpoint, &text, 1, err);
 *
 * Not for a server process: libgomp and OpenBLAS end the process if a thread
 * cannot be created, and nothing here polls a stop callback. docs/reference.md
 * has the reasons.
 */
#ifndef EMB_REFERENCE_H
#define EMB_REFERENCE_H

#include "import/checkpoint.h"
#include "reference/blas.h"

/* A sequence of ids, and where its results go. NULL: not wanted. */
typedef struct EmbReferenceText
{
	const int32_t *ids;
	const int32_t *type_ids;	/* [n_ids], or NULL: all 0 */
	int32_t		n_ids;			/* 1 .. n_positions; for a static model 0 is allowed */
	float	   *out;			/* [emb_reference_width]: the vector, or the logit */
	float	   *weights;		/* [n_ids]: the sparse head's weight of each token */
	float	   *vectors;		/* [n_ids, multi_dim]: the token vectors */
	float	   *hidden;			/* [n_layers + 1, n_ids, hidden]: after the embeddings and after each layer, the
								 * last one after the final norm, if there is one */
} EmbReferenceText;

/* Elements of EmbReferenceText.out: emb_arch_width. */
extern int32_t emb_reference_width(const EmbArch *arch);

/*
 * Computes all texts, layer by layer: every weight is read once, and only one
 * layer's weights are in memory, beside the rows of all texts. Memory comes
 * from c->mem. EMB_ERR_UNSUPPORTED: the architecture has a part for which
 * checkpoints have no tensors yet. EMB_ERR_INVALID_ARGUMENT: an id or a length
 * is out of range. EMB_ERR_LIMIT: a result is not finite. Else the
 * checkpoint's errors.
 */
extern EmbStatus emb_reference_run(const EmbBlas *blas, const EmbCheckpoint *c, const EmbReferenceText *texts,
								   int32_t n_texts, EmbError *err);

#endif
