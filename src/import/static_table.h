/*
 * static_table.h
 *		The table of a static model: a vector per token, and no layers.
 *
 *		embeddings, or embedding.weight		[rows, hidden]
 *		weights								[ids], factor of each id's row; optional
 *		mapping								[ids], row of each id; optional: row = id
 *
 * model2vec saves the first name, and weights and mapping for vocabularies
 * that share rows. StaticEmbedding of sentence-transformers saves the second
 * name.
 *
 * Example:
 *
 *		emb_static_open(&tensors, mem, &table, err);
 *		emb_static_read(&tensors, &table, 0, table.n_vocab, rows, err);
 *		emb_static_close(&table, mem);
 */
#ifndef EMB_IMPORT_STATIC_TABLE_H
#define EMB_IMPORT_STATIC_TABLE_H

#include "formats/tensors.h"

typedef struct EmbStaticTable
{
	const EmbTensor *rows;		/* in the tensor set given to emb_static_open */
	int32_t		hidden;
	int32_t		n_vocab;		/* ids */
	int32_t    *mapping;		/* [n_vocab], or NULL */
	double	   *weights;		/* [n_vocab], or NULL */
} EmbStaticTable;

/* Checks shapes and every entry of the mapping. After an error there is nothing to close. */
extern EmbStatus emb_static_open(const EmbTensorSet *tensors, const EmbAllocator *mem, EmbStaticTable *table, EmbError *err);
extern void emb_static_close(EmbStaticTable *table, const EmbAllocator *mem);

/* out: [n, hidden], the vectors of ids first .. first + n - 1. */
extern EmbStatus emb_static_read(const EmbTensorSet *tensors, const EmbStaticTable *table, int64_t first, int64_t n,
								 float *out, EmbError *err);

#endif
