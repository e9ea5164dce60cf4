/*
 * reference_outputs.h
 *		What a model returns of a reference text besides its vector: hashes,
 *		and closeness to the unquantized outputs.
 *
 * Example:
 *
 *		emb_reference_outputs_begin(&o, model, &seq, mem, err);
 *		emb_reference_outputs_of_rows(&o, rows, maxima, stop, err);		// at import
 *		emb_reference_outputs_replay(&o, &run, dense, err);				// or later
 *		emb_reference_outputs_hash(&o, sparse_hash, multi_hash, err);
 *		emb_reference_outputs_end(&o);
 */
#ifndef EMB_CONVERT_REFERENCE_OUTPUTS_H
#define EMB_CONVERT_REFERENCE_OUTPUTS_H

#include "model/model.h"

typedef struct EmbReferenceOutputs
{
	const EmbModel *model;
	EmbAllocator mem;
	EmbSequence seq;
	EmbOutputs	outputs;		/* those that the model has, in sparse and multi */
	EmbSparse	sparse;
	float	   *multi;
	int32_t		n_rows;			/* of multi */
} EmbReferenceOutputs;

/* Whether the model returns more than a vector. */
static inline bool
emb_reference_has_outputs(const EmbModel *model)
{
	return model->info.has_sparse || model->info.multi_dim > 0;
}

/* The ids of seq stay the caller's. After an error, too: emb_reference_outputs_end. */
extern EmbStatus emb_reference_outputs_begin(EmbReferenceOutputs *o, const EmbModel *model, const EmbSequence *seq, const EmbAllocator *mem,
											 EmbError *err);

/* From the rows after the last layer, [n_ids, emb_transformer_stride]; maxima: of the vocabulary, if the model has that head. */
extern EmbStatus emb_reference_outputs_of_rows(EmbReferenceOutputs *o, const float *rows, const float *maxima, const EmbStop *stop,
											   EmbError *err);

/* By the model itself; also its vector, if it has one. */
extern EmbStatus emb_reference_outputs_replay(EmbReferenceOutputs *o, const EmbRun *run, float *dense, EmbError *err);

/* Zeros for an output that the model lacks. */
extern EmbStatus emb_reference_outputs_hash(const EmbReferenceOutputs *o, uint8_t sparse_hash[EMB_HASH_SIZE],
											uint8_t multi_hash[EMB_HASH_SIZE], EmbError *err);

/* Of the outputs of two models for one text: see EmbImageReference. */
extern void emb_reference_outputs_compare(const EmbReferenceOutputs *a, const EmbReferenceOutputs *b, float *sparse, float *multi);

extern void emb_reference_outputs_end(EmbReferenceOutputs *o);

#endif
