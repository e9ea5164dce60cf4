/*
 * maxsim.c
 *		Scores of what embed_multi and embed_sparse give: maxsim and
 *		embed_sparse_dot.
 */
#include "pg/glue.h"

#include <float.h>
#include <math.h>

#include "miscadmin.h"
#include "utils/builtins.h"

#include "pg/vector.h"

EMBED_FUNCTION(embed_maxsim);
EMBED_FUNCTION(embed_sparse_dot);

/* maxsim(query float4[][], doc float4[][]) returns float4 */
Datum
embed_maxsim(PG_FUNCTION_ARGS)
{
	ArrayType  *query = PG_GETARG_ARRAYTYPE_P(0);
	ArrayType  *doc = PG_GETARG_ARRAYTYPE_P(1);
	int32		n_query,
				n_doc,
				dim_query,
				dim_doc;
	const float *query_values = embed_matrix_values(query, "query", &n_query, &dim_query);
	const float *doc_values = embed_matrix_values(doc, "doc", &n_doc, &dim_doc);
	EmbAllocator mem = embed_allocator(CurrentMemoryContext);
	EmbStop		stop = embed_stop();
	EmbError	err;
	EmbStatus	status;
	float		score;

	if (dim_query != dim_doc)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("vectors have different dimensions: %d and %d", dim_query, dim_doc),
				 errhint("Vectors of different models cannot be compared.")));
	embed_isa_apply();
	status = emb_maxsim(query_values, n_query, doc_values, n_doc, dim_query, &mem, &stop, &score, &err);
	if (status != EMB_OK)
		embed_throw(status, &err);
	PG_FREE_IF_COPY(query, 0);
	PG_FREE_IF_COPY(doc, 1);
	PG_RETURN_FLOAT4(score);
}

/* ------------------------------------------------- {index:weight,...}/size */

/* One sparse vector as it is read. */
typedef struct SparseReader
{
	const char *what;			/* the argument's name */
	const char *text;			/* all of it */
	const char *at;				/* behind what was read */
	int64		index;			/* of the entry; INT64_MAX behind the last */
	float		weight;
	int64		size;			/* behind the last entry */
} SparseReader;

static void
malformed(const SparseReader *r)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("sparse vector \"%s\" is malformed at character %d", r->what, (int) (r->at - r->text) + 1),
			 errhint("It must be {index:weight,...}/size with ascending indexes from 1, as embed_sparse() gives it.")));
}

/* Digits only, at most 10 of them. */
static int64
read_number(SparseReader *r)
{
	int64		n = 0;
	int			n_digits = 0;

	for (; r->at[n_digits] >= '0' && r->at[n_digits] <= '9' && n_digits < 11; n_digits++)
		n = n * 10 + (r->at[n_digits] - '0');
	if (n_digits == 0 || n_digits > 10 || n < 1 || n > PG_INT32_MAX)
		malformed(r);
	r->at += n_digits;
	return n;
}

static void
expect(SparseReader *r, char c)
{
	if (*r->at != c)
		malformed(r);
	r->at++;
}

/* strtof alone would take spaces, hexadecimals and words. */
static float
read_weight(SparseReader *r)
{
	const char *digits = r->at + (*r->at == '-');
	char	   *end;
	float		weight;

	if (!((*digits >= '0' && *digits <= '9') || *digits == '.') || digits[1] == 'x' || digits[1] == 'X')
		malformed(r);
	weight = strtof(r->at, &end);
	if (end == r->at || !isfinite(weight))
		malformed(r);
	r->at = end;
	return weight;
}

static void
read_end(SparseReader *r, int64 last)
{
	expect(r, '}');
	expect(r, '/');
	r->size = read_number(r);
	if (*r->at != '\0' || last > r->size)
		malformed(r);
	r->index = PG_INT64_MAX;
}

/* To the next entry; its index is above the last one's. */
static void
read_entry(SparseReader *r)
{
	int64		last = r->index;

	if (*r->at == '}')
	{
		read_end(r, last);
		return;
	}
	if (last > 0)
		expect(r, ',');
	r->index = read_number(r);
	if (r->index <= last)
		malformed(r);
	expect(r, ':');
	r->weight = read_weight(r);
}

static SparseReader
read_begin(const char *what, const char *text)
{
	SparseReader r = {.what = what, .text = text, .at = text};

	expect(&r, '{');
	read_entry(&r);
	return r;
}

/* embed_sparse_dot(a text, b text) returns float4 */
Datum
embed_sparse_dot(PG_FUNCTION_ARGS)
{
	SparseReader a = read_begin("a", text_to_cstring(PG_GETARG_TEXT_PP(0)));
	SparseReader b = read_begin("b", text_to_cstring(PG_GETARG_TEXT_PP(1)));
	double		sum = 0;

	while (a.index != PG_INT64_MAX || b.index != PG_INT64_MAX)
	{
		int64		index = Min(a.index, b.index);

		CHECK_FOR_INTERRUPTS();
		if (a.index == b.index)
			sum += (double) a.weight * b.weight;
		if (a.index == index)
			read_entry(&a);
		if (b.index == index)
			read_entry(&b);
	}
	if (a.size != b.size)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("sparse vectors have different sizes: %lld and %lld", (long long) a.size, (long long) b.size),
				 errhint("Those of different models cannot be compared.")));
	if (!(fabs(sum) <= FLT_MAX))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("value out of range: overflow")));
	PG_RETURN_FLOAT4((float) sum);
}
