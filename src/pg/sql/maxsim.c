/*
 * maxsim.c
 *		Scores for results of embed_multi and embed_sparse: maxsim and
 *		embed_sparse_dot.
 */
#include "pg/glue.h"

#include <float.h>
#include <math.h>

#include "access/detoast.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "pg/sql/vector.h"

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

#define WEIGHT_CHARS_MAX	64

/* About the size of a vector over the largest vocabulary (4,000,000 entries). */
#define SPARSE_BYTES_MAX	(128 * 1024 * 1024)

/* The reader of one sparse vector. */
typedef struct SparseReader
{
	const char *what;			/* the argument's name */
	const char *text;			/* the whole value, not zero-terminated */
	const char *at;				/* next character to read */
	const char *end;
	int64		index;			/* of the entry; INT64_MAX after the last entry */
	float		weight;
	int64		size;			/* number after the last entry */
} SparseReader;

static void
malformed(const SparseReader *r)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("sparse vector \"%s\" is malformed at character %d", r->what, (int) (r->at - r->text) + 1),
			 errhint("It must be {index:weight,...}/size with ascending indexes from 1, as embed_sparse() returns it.")));
}

/* The next character; zero at the end, which no text contains. */
static inline char
peek(const SparseReader *r)
{
	return r->at < r->end ? *r->at : '\0';
}

/* At most 10 digits. */
static int64
read_number(SparseReader *r)
{
	const char *start = r->at;
	int64		n = 0;

	for (; peek(r) >= '0' && peek(r) <= '9' && r->at - start < 11; r->at++)
		n = n * 10 + (*r->at - '0');
	if (r->at == start || r->at - start > 10 || n < 1 || n > PG_INT32_MAX)
	{
		r->at = start;
		malformed(r);
	}
	return n;
}

static void
expect(SparseReader *r, char c)
{
	if (peek(r) != c)
		malformed(r);
	r->at++;
}

/*
 * Copies a number's characters to number, zero-terminated, and returns their
 * count; embed_sparse() writes at most 15.
 */
static size_t
copy_number(const SparseReader *r, char number[WEIGHT_CHARS_MAX + 1])
{
	size_t		n = 0;

	for (const char *p = r->at; p < r->end && strchr("+-.0123456789eE", *p) != NULL; p++)
	{
		if (n == WEIGHT_CHARS_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("sparse vector \"%s\" has a number of more than %d characters at character %d: \"%.*s...\"", r->what,
							WEIGHT_CHARS_MAX, (int) (r->at - r->text) + 1, 20, number),
					 errhint("It must be {index:weight,...}/size with ascending indexes from 1, as embed_sparse() returns it.")));
		number[n++] = *p;
	}
	number[n] = '\0';
	return n;
}

/* strtof alone would accept spaces, hexadecimal numbers and words. */
static float
read_weight(SparseReader *r)
{
	char		number[WEIGHT_CHARS_MAX + 1];
	size_t		n = copy_number(r, number);
	const char *digits = number + (*number == '-');
	char	   *end;
	float		weight;

	if ((r->at + n < r->end && (r->at[n] == 'x' || r->at[n] == 'X')) ||
		(!(*digits >= '0' && *digits <= '9') && *digits != '.'))
		malformed(r);
	weight = strtof(number, &end);
	if (end == number || !isfinite(weight))
		malformed(r);
	r->at += end - number;
	return weight;
}

static void
read_end(SparseReader *r, int64 last)
{
	expect(r, '}');
	expect(r, '/');
	r->size = read_number(r);
	if (r->at < r->end || last > r->size)
		malformed(r);
	r->index = PG_INT64_MAX;
}

/* Moves to the next entry; its index must be above the last index. */
static void
read_entry(SparseReader *r)
{
	int64		last = r->index;

	if (peek(r) == '}')
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
read_begin(const char *what, Datum value)
{
	Size		size = toast_raw_datum_size(value) - VARHDRSZ;
	SparseReader r = {.what = what};
	struct varlena *text;

	if (size > SPARSE_BYTES_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("sparse vector \"%s\" has %zu bytes, more than %d", what, size, SPARSE_BYTES_MAX),
				 errhint("Results of embed_sparse() have at most about 25 bytes per vocabulary entry of the model.")));
	text = PG_DETOAST_DATUM_PACKED(value);
	r.text = r.at = VARDATA_ANY(text);
	r.end = r.text + VARSIZE_ANY_EXHDR(text);
	expect(&r, '{');
	read_entry(&r);
	return r;
}

/* embed_sparse_dot(a text, b text) returns float4 */
Datum
embed_sparse_dot(PG_FUNCTION_ARGS)
{
	SparseReader a = read_begin("a", PG_GETARG_DATUM(0));
	SparseReader b = read_begin("b", PG_GETARG_DATUM(1));
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
				 errhint("Sparse vectors of different models cannot be compared.")));
	if (!(fabs(sum) <= FLT_MAX))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("value out of range: overflow")));
	PG_RETURN_FLOAT4((float) sum);
}
