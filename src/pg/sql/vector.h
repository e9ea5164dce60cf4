/*
 * vector.h
 *		float4[] values: results and arguments.
 */
#ifndef EMBED_PG_SQL_VECTOR_H
#define EMBED_PG_SQL_VECTOR_H

#include "pg/glue.h"

#include "utils/array.h"

/* ARR_DATA_PTR without gcc's warning about mixed signedness. */
static inline char *
embed_array_data(const ArrayType *a)
{
	Size		offset = ARR_HASNULL(a) ? (Size) a->dataoffset : ARR_OVERHEAD_NONULLS(ARR_NDIM(a));

	return (char *) a + offset;
}

/* A new float4[n], lower bound 1; *elements: where the caller writes the n values. */
extern ArrayType *embed_vector_new(int32 n, float **elements);

/* The same, filled. */
extern ArrayType *embed_vector_copy(const float *values, int32 n);

/* A new float4[n] with NULLs as in nulls; the other values lie end to end at *elements. */
extern ArrayType *embed_vector_with_nulls(int32 n, const bool *nulls, float **elements);

/* Raises 54000 if n_rows rows of dim elements exceed the size of an array. */
extern void embed_matrix_check_size(int64 n_rows, int32 dim);

/*
 * A new float4[n_rows][dim]. null_rows (NULL: none) marks rows of NULLs; the
 * values of the other rows lie end to end at *elements.
 */
extern ArrayType *embed_matrix_new(int32 n_rows, int32 dim, const bool *null_rows, float **elements);

/* The n values of a one-dimensional float4[] without NULLs; raises 2202E, 22004. */
extern const float *embed_vector_values(const ArrayType *a, const char *what, int32 *n);

/* The values of a float4[n_rows][n] without NULLs; raises 2202E, 22004. */
extern const float *embed_matrix_values(const ArrayType *a, const char *what, int32 *n_rows, int32 *n);

/* Elements of a one-dimensional or empty array; raises 2202E with hint for two dimensions. */
extern int32 embed_array_length(const AnyArrayType *a);

#endif
