/*
 * hf_experts.h
 *		The matrices of a layer's experts (emb_arch_has_experts) in the files of
 *		the hub.
 *
 * Those of all experts are one tensor [n_experts * intermediate, hidden], those
 * of the second product with rows and columns exchanged.
 */
#ifndef EMB_IMPORT_HF_EXPERTS_H
#define EMB_IMPORT_HF_EXPERTS_H

#include "common/arch.h"
#include "common/parts.h"
#include "formats/tensors.h"

/* The last matrix that had to be turned; all zeros: none. */
typedef struct EmbHfExpert
{
	EmbTensorKey key;
	float	   *rows;			/* [hidden, intermediate]; NULL: none */
} EmbHfExpert;

/* Where a matrix of an expert is. */
typedef struct EmbHfExpertSource
{
	const EmbAllocator *mem;
	const EmbTensorSet *set;
	const EmbArch *arch;
	const EmbTensor *tensor;	/* its shape and type have been checked */
	EmbTensorKey key;			/* emb_part_is_of_expert */
} EmbHfExpertSource;

/* Rows row .. row + n - 1 of the matrix. */
extern EmbStatus emb_hf_expert_read(EmbHfExpert *e, const EmbHfExpertSource *from, int64_t row, int64_t n, float *rows, EmbError *err);
extern void emb_hf_expert_free(EmbHfExpert *e, const EmbAllocator *mem);

#endif
