/*
 * arrays.c
 *		Arrays of texts: embed(text[]), embed_many(text[]) and
 *		embed_rows(text[]).
 *
 * embed_many is embed under a name with only array forms, so that a client's
 * parameter without a type becomes an array.
 *
 * All of them feed the texts into packed batches. Besides the input and the
 * result they hold one batch, however long the array is.
 */
#include "pg/glue.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"

/* the inline functions of this header do not pass -Wextra */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare"
#include "utils/arrayaccess.h"
#pragma GCC diagnostic pop

#include "pg/call/text_batch.h"
#include "pg/call/callsite.h"
#include "pg/store/restore.h"
#include "pg/sql/rows.h"
#include "pg/sql/vector.h"

/* Embeds the texts that are not NULL, in order. is_cut: the sink cuts the vectors. */
static void
embed_elements(EmbedSite *site, const EmbedModelRef *ref, AnyArrayType *input, int32 n,
			   const EmbedBatchSink *sink, bool is_cut)
{
	uint64		begun = embed_stat_begin(ref->stat);
	EmbedBatch	batch;
	array_iter	iter;

	embed_batch_init(&batch, CurrentMemoryContext, sink);
	embed_text_iter_setup(&iter, input);
	for (int32 i = 0; i < n; i++)
	{
		bool		isnull;
		Datum		value = embed_text_iter_next(&iter, &isnull, i);
		EmbEncoded	encoded;

		CHECK_FOR_INTERRUPTS();
		if (isnull)
			continue;
		encoded = embed_site_read(site, ref, EMB_PROMPT_DOCUMENT, value);
		embed_batch_add(&batch, ref, site->ids, NULL, encoded.n_ids);
		if (!is_cut)
			embed_batch_prove(&batch, ref, value, encoded.truncated);
	}
	embed_batch_run(&batch, ref);
	embed_stat_call(ref->stat, begun);
}

static bool *
null_elements(AnyArrayType *input, int32 n)
{
	bool	   *nulls = palloc(n * sizeof(bool));
	array_iter	iter;

	embed_text_iter_setup(&iter, input);
	for (int32 i = 0; i < n; i++)
		(void) embed_text_iter_next(&iter, &nulls[i], i);
	return nulls;
}

/* Without a cut, the vectors of a batch go directly to their place in the array. */
typedef struct MatrixSink
{
	float	   *next;
	EmbedSite  *site;
	int32		dim;			/* of the model's vectors */
	int32		n_kept;			/* of the array's */
	float	   *vectors;		/* vectors of a batch, before the cut */
} MatrixSink;

static float *
matrix_reserve(void *ctx, int32 n)
{
	MatrixSink *matrix = ctx;

	if (matrix->n_kept == 0)
		return matrix->next;
	matrix->vectors = MemoryContextAllocHuge(CurrentMemoryContext, (Size) n * matrix->dim * sizeof(float));
	return matrix->vectors;
}

static void
matrix_done(void *ctx, const float *vectors, int32 n)
{
	MatrixSink *matrix = ctx;

	if (matrix->n_kept == 0)
	{
		matrix->next += (Size) n * matrix->dim;
		return;
	}
	for (int32 i = 0; i < n; i++, matrix->next += matrix->n_kept)
		embed_site_cut(matrix->site, vectors + (Size) i * matrix->dim, matrix->n_kept, matrix->next);
	pfree(matrix->vectors);
}

/* embed, embed_many (input text[] [, model text [, dimensions int]]) return float4[][] */
EMBED_CALL(embed_array)
{
	AnyArrayType *input = PG_GETARG_ANY_ARRAY_P(0);
	EmbedSite  *site = embed_site(fcinfo);
	const EmbedModelRef *ref;
	int32		n;
	MatrixSink	matrix = {.site = site};
	EmbedBatchSink sink = {&matrix, matrix_reserve, matrix_done};
	ArrayType  *result;

	if (embed_in_upgrade())
		PG_RETURN_NULL();
	ref = embed_site_resolve_arg(site, fcinfo, 1);
	n = embed_array_length(input);
	matrix.n_kept = embed_site_dimensions(site, fcinfo, 2);
	if (n == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(FLOAT4OID));
	matrix.dim = ref->info->dim;
	result = embed_matrix_new(n, matrix.n_kept > 0 ? matrix.n_kept : matrix.dim, null_elements(input, n), &matrix.next);
	embed_elements(site, ref, input, n, &sink, matrix.n_kept > 0);
	PG_RETURN_ARRAYTYPE_P(result);
}

/* Rows are returned in order: rows of NULL texts between rows of the batches. */
typedef struct RowSink
{
	EmbedRows	out;
	const bool *nulls;			/* [n] */
	int32		n;
	int32		n_put;
	EmbedSite  *site;
	int32		dim;			/* of the model's vectors */
	int32		n_kept;			/* length of the rows' vectors after the cut */
	float	   *vectors;		/* the batch's, or NULL */
} RowSink;

static void
put_row(RowSink *rows, const float *vector)
{
	Datum		values[2] = {Int32GetDatum(rows->n_put + 1), (Datum) 0};
	bool		nulls[2] = {false, vector == NULL};
	ArrayType  *embedding = NULL;

	if (vector != NULL)
	{
		float	   *elements;

		if (rows->n_kept == 0)
			embedding = embed_vector_copy(vector, rows->dim);
		else
		{
			embedding = embed_vector_new(rows->n_kept, &elements);
			embed_site_cut(rows->site, vector, rows->n_kept, elements);
		}
		values[1] = PointerGetDatum(embedding);
	}
	tuplestore_putvalues(rows->out.store, rows->out.desc, values, nulls);
	if (embedding != NULL)
		pfree(embedding);
	rows->n_put++;
}

static void
put_null_rows(RowSink *rows)
{
	while (rows->n_put < rows->n && rows->nulls[rows->n_put])
		put_row(rows, NULL);
}

static float *
rows_reserve(void *ctx, int32 n)
{
	RowSink    *rows = ctx;

	rows->vectors = MemoryContextAllocHuge(CurrentMemoryContext, (Size) n * rows->dim * sizeof(float));
	return rows->vectors;
}

static void
rows_done(void *ctx, const float *vectors, int32 n)
{
	RowSink    *rows = ctx;

	for (int32 i = 0; i < n; i++)
	{
		put_null_rows(rows);
		put_row(rows, vectors + (Size) i * rows->dim);
	}
	pfree(rows->vectors);
	rows->vectors = NULL;
}

/* embed_rows(input text[] [, model text [, dimensions int]]) returns table (ordinality int, embedding float4[]) */
EMBED_CALL(embed_rows)
{
	AnyArrayType *input = PG_GETARG_ANY_ARRAY_P(0);
	EmbedSite  *site = embed_site(fcinfo);
	const EmbedModelRef *ref = embed_site_resolve_arg(site, fcinfo, 1);
	int32		n = embed_array_length(input);
	RowSink		rows = {.site = site};
	EmbedBatchSink sink = {&rows, rows_reserve, rows_done};

	rows.out = embed_rows_begin(fcinfo);
	rows.dim = ref->info->dim;
	rows.n_kept = embed_site_dimensions(site, fcinfo, 2);
	rows.n = n;
	rows.nulls = null_elements(input, n);
	embed_elements(site, ref, input, n, &sink, rows.n_kept > 0);
	put_null_rows(&rows);
	return (Datum) 0;
}
