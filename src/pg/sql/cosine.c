/*
 * cosine.c
 *		embed_cosine, for the ways in which vectors arrive: float4[], float8[]
 *		(drivers send lists of numbers so), and literals on both sides.
 *
 * A second function for float8[] would make calls ambiguous that had one choice: integer[] and
 * numeric[] cast to both kinds of arrays, and so do literals. Therefore float8[] arrives as type
 * embed_doubles, which has the same bytes and to which float8[] alone casts. For two literals the
 * server prefers a function of text.
 */
#include "pg/glue.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "pg/sql/vector.h"

EMBED_FUNCTION(embed_cosine);
EMBED_FUNCTION(embed_cosine_texts);
EMBED_FUNCTION(embed_doubles_in);
EMBED_FUNCTION(embed_doubles);

/* Elements that are rounded between two polls. */
#define ROUND_BLOCK 65536

/* The elements as an assignment to float4 rounds them; those below its range become 0. */
static const float *
rounded(const double *values, int32 n)
{
	float	   *elements = palloc_extended(Max((Size) n * sizeof(float), 1), MCXT_ALLOC_HUGE);

	for (int32 i = 0; i < n; i++)
	{
		if (i % ROUND_BLOCK == 0)
			CHECK_FOR_INTERRUPTS();
		elements[i] = (float) values[i];
		if (isinf(elements[i]) && !isinf(values[i]))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("element %d of a vector is out of range for type real: %g", i + 1, values[i])));
	}
	return elements;
}

static float
cosine(const ArrayType *a, const ArrayType *b)
{
	int32		n_a;
	int32		n_b;
	const float *values_a = embed_vector_values(a, "a", &n_a);
	const float *values_b = embed_vector_values(b, "b", &n_b);

	if (n_a != n_b)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("vectors have different dimensions: %d and %d", n_a, n_b),
				 errhint("Vectors of different models cannot be compared.")));
	if (ARR_ELEMTYPE(a) == FLOAT8OID)
		values_a = rounded((const double *) values_a, n_a);
	if (ARR_ELEMTYPE(b) == FLOAT8OID)
		values_b = rounded((const double *) values_b, n_b);
	embed_isa_apply();
	return emb_cosine(values_a, values_b, n_a);
}

/* embed_cosine(a float4[] | embed_doubles, b float4[] | embed_doubles) returns float4 */
Datum
embed_cosine(PG_FUNCTION_ARGS)
{
	ArrayType  *a = PG_GETARG_ARRAYTYPE_P(0);
	ArrayType  *b = PG_GETARG_ARRAYTYPE_P(1);
	float		similarity = cosine(a, b);

	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	PG_RETURN_FLOAT4(similarity);
}

static ArrayType *
array_of(char *literal, Oid element_type)
{
	return DatumGetArrayTypeP(OidInputFunctionCall(F_ARRAY_IN, literal, element_type, -1));
}

/* embed_cosine(a text, b text) returns float4: what float4[] literals were resolved to before */
Datum
embed_cosine_texts(PG_FUNCTION_ARGS)
{
	ArrayType  *a = array_of(text_to_cstring(PG_GETARG_TEXT_PP(0)), FLOAT4OID);
	ArrayType  *b = array_of(text_to_cstring(PG_GETARG_TEXT_PP(1)), FLOAT4OID);

	PG_RETURN_FLOAT4(cosine(a, b));
}

/* The type's own name would be taken for that of an element. */
Datum
embed_doubles_in(PG_FUNCTION_ARGS)
{
	PG_RETURN_ARRAYTYPE_P(array_of(PG_GETARG_CSTRING(0), FLOAT8OID));
}

/* The cast of float8[]: the server allows no cast of an array without a function. */
Datum
embed_doubles(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}
