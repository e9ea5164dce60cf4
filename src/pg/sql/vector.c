/*
 * vector.c
 *		float4[] values: results and arguments.
 */
#include "pg/sql/vector.h"

#include "catalog/pg_type.h"

static ArrayType *
new_array(Size size, int ndim, int32 dataoffset)
{
	ArrayType  *a = palloc(size);

	SET_VARSIZE(a, size);
	a->ndim = ndim;
	a->dataoffset = dataoffset;
	a->elemtype = FLOAT4OID;
	for (int i = 0; i < ndim; i++)
		ARR_LBOUND(a)[i] = 1;
	return a;
}

ArrayType *
embed_vector_new(int32 n, float **elements)
{
	ArrayType  *a = new_array(ARR_OVERHEAD_NONULLS(1) + n * sizeof(float4), 1, 0);

	ARR_DIMS(a)[0] = n;
	*elements = (float *) embed_array_data(a);
	return a;
}

ArrayType *
embed_vector_copy(const float *values, int32 n)
{
	float	   *elements;
	ArrayType  *a = embed_vector_new(n, &elements);

	memcpy(elements, values, n * sizeof(float));
	return a;
}

void
embed_matrix_check_size(int64 n_rows, int32 dim)
{
	if (n_rows > (int64) (MaxArraySize / dim))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("more vectors of %d elements than fit into one array (%lld)",
						dim, (long long) (MaxArraySize / dim)),
				 errhint("embed_rows() returns one row per text.")));
}

/*
 * ndim and bounds must be set, because the bitmap follows them. The counts are
 * unsigned, so that compilers see that the bitmap's size cannot be negative.
 */
static void
set_null_bitmap(ArrayType *a, uint32 n_rows, uint32 dim, const bool *null_rows)
{
	uint8	   *bitmap = ARR_NULLBITMAP(a);
	uint64		bit = 0;

	memset(bitmap, 0, ((uint64) n_rows * dim + 7) / 8);
	for (uint32 row = 0; row < n_rows; row++)
	{
		if (null_rows[row])
		{
			bit += dim;
			continue;
		}
		for (uint32 i = 0; i < dim; i++, bit++)
			bitmap[bit / 8] |= 1 << (bit % 8);
	}
}

ArrayType *
embed_matrix_new(int32 n_rows, int32 dim, const bool *null_rows, float **elements)
{
	int64		n_values = (int64) n_rows * dim;
	int64		n_present = n_values;
	ArrayType  *a;
	Size		overhead;

	embed_matrix_check_size(n_rows, dim);
	for (int32 row = 0; null_rows != NULL && row < n_rows; row++)
		n_present -= null_rows[row] ? dim : 0;
	if (n_present == n_values)
		overhead = ARR_OVERHEAD_NONULLS(2);
	else
		overhead = ARR_OVERHEAD_WITHNULLS(2, n_values);
	a = new_array(overhead + n_present * sizeof(float4), 2, n_present == n_values ? 0 : (int32) overhead);
	ARR_DIMS(a)[0] = n_rows;
	ARR_DIMS(a)[1] = dim;
	if (n_present != n_values)
		set_null_bitmap(a, n_rows, dim, null_rows);
	*elements = (float *) embed_array_data(a);
	return a;
}

ArrayType *
embed_vector_with_nulls(int32 n, const bool *nulls, float **elements)
{
	Size		overhead = ARR_OVERHEAD_WITHNULLS(1, n);
	int32		n_present = 0;
	ArrayType  *a;

	for (int32 i = 0; i < n; i++)
		n_present += !nulls[i];
	a = new_array(overhead + n_present * sizeof(float4), 1, (int32) overhead);
	ARR_DIMS(a)[0] = n;
	set_null_bitmap(a, n, 1, nulls);
	*elements = (float *) embed_array_data(a);
	return a;
}

static void
check_no_nulls(const ArrayType *a, const char *what)
{
	if (ARR_HASNULL(a) && array_contains_nulls((ArrayType *) a))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("vector \"%s\" must not contain NULL", what)));
}

const float *
embed_matrix_values(const ArrayType *a, const char *what, int32 *n_rows, int32 *n)
{
	if (ARR_NDIM(a) != 2)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 ARR_NDIM(a) == 0 ?
				 errmsg("array \"%s\" of vectors is empty", what) :
				 errmsg("array \"%s\" of vectors must have two dimensions, not %d", what, ARR_NDIM(a)),
				 errhint("embed_multi() returns such arrays.")));
	check_no_nulls(a, what);
	*n_rows = ARR_DIMS(a)[0];
	*n = ARR_DIMS(a)[1];
	return (const float *) embed_array_data(a);
}

const float *
embed_vector_values(const ArrayType *a, const char *what, int32 *n)
{
	if (ARR_NDIM(a) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 ARR_NDIM(a) == 0 ?
				 errmsg("vector \"%s\" is empty", what) :
				 errmsg("vector \"%s\" must have one dimension, not %d", what, ARR_NDIM(a))));
	check_no_nulls(a, what);
	*n = ARR_DIMS(a)[0];
	return (const float *) embed_array_data(a);
}

int32
embed_array_length(const AnyArrayType *a)
{
	if (AARR_NDIM(a) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("array of texts must have one dimension, not %d", AARR_NDIM(a)),
				 errhint("Flatten it with unnest() and array_agg().")));
	return AARR_NDIM(a) == 0 ? 0 : AARR_DIMS(a)[0];
}
