/*
 * outputs.c
 *		Outputs of a model besides a text's vector: embed_sparse, embed_multi,
 *		and all outputs in one pass, embed_all.
 *
 * Each C function serves two SQL functions, with and without a model argument.
 * A call site remembers its last result. The backend's cache holds only
 * vectors.
 */
#include "pg/glue.h"

#include <common/shortest_dec.h>	/* the server's common, not ours */

#include "access/htup_details.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "pg/call/text_batch.h"
#include "pg/call/callsite.h"
#include "pg/store/restore.h"
#include "pg/sql/vector.h"

typedef enum Output
{
	OUTPUT_DENSE = 1,
	OUTPUT_SPARSE = 2,
	OUTPUT_MULTI = 4
} Output;

/* For one text; outputs not wanted are NULL. */
typedef struct Results
{
	ArrayType  *dense;
	text	   *sparse;
	ArrayType  *multi;
	bool		truncated;
} Results;

/* An index of up to 10 digits, a colon, a weight, a comma. */
#define ENTRY_BYTES	(10 + 1 + FLOAT_SHORTEST_DECIMAL_LEN + 1)

/*
 * {index:weight,...}/vocabulary, in pgvector's text format: indexes are ids +
 * 1; weights are exact when read back.
 */
static text *
sparse_text(const int32 *ids, const float *weights, int32 n, int32 n_vocab)
{
	Size		room = VARHDRSZ + (Size) n * ENTRY_BYTES + 16;
	text	   *result = palloc(room);
	char	   *s = VARDATA(result);

	*s++ = '{';
	for (int32 i = 0; i < n; i++)
	{
		if (i > 0)
			*s++ = ',';
		s += snprintf(s, 12, "%d:", ids[i] + 1);
		s += float_to_shortest_decimal_bufn(weights[i], s);
	}
	s += snprintf(s, 14, "}/%d", n_vocab);
	SET_VARSIZE(result, s - (char *) result);
	return result;
}

static void
refuse(const EmbedSite *site, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 site->has_name ? errmsg("model \"%s\" returns no %s", site->name, what)
			 : errmsg("the default model returns no %s", what),
			 errhint("The column \"outputs\" of embed_models lists the outputs of each model. BGE-M3 has these outputs if imported with its files "
					 "sparse_linear.pt and colbert_linear.pt in the directory.")));
}

/*
 * The available outputs among wanted. Raises if only the vector is available:
 * embed() returns it.
 */
static int
check_wanted(const EmbedSite *site, const EmbedModelRef *ref, int wanted)
{
	int			given = OUTPUT_DENSE | (ref->info->has_sparse ? OUTPUT_SPARSE : 0) |
		(ref->info->multi_dim > 0 ? OUTPUT_MULTI : 0);

	if (((wanted & given) & ~OUTPUT_DENSE) == 0)
		refuse(site, wanted == OUTPUT_SPARSE ? "token weights" : wanted == OUTPUT_MULTI ? "token vectors"
			   : "token weights or token vectors");
	return wanted & given;
}

static void
compute(EmbedSite *site, const EmbedModelRef *ref, Datum value, int wanted, Results *results)
{
	uint64		begun = embed_stat_begin(ref->stat);
	EmbEncoded	encoded = embed_site_read(site, ref, EMB_PROMPT_DOCUMENT, value);
	EmbSequence seq = {.ids = site->ids, .n_ids = encoded.n_ids};
	EmbOutputs	outputs = {0};
	int32		n_sparse = 0;

	results->truncated = encoded.truncated;
	if (wanted & OUTPUT_DENSE)
		results->dense = embed_vector_new(ref->info->dim, &outputs.dense);
	if (wanted & OUTPUT_MULTI)
	{
		if (encoded.n_ids > 1)
			results->multi = embed_matrix_new(encoded.n_ids - 1, ref->info->multi_dim, NULL, &outputs.multi);
		else
			results->multi = construct_empty_array(FLOAT4OID);
	}
	if (wanted & OUTPUT_SPARSE)
	{
		outputs.n_sparse = &n_sparse;
		outputs.sparse_ids = palloc(encoded.n_ids * sizeof(int32));
		outputs.sparse_weights = palloc(encoded.n_ids * sizeof(float));
	}
	embed_compute_all(ref, &seq, &outputs);
	if (wanted & OUTPUT_SPARSE)
	{
		results->sparse = sparse_text(outputs.sparse_ids, outputs.sparse_weights, n_sparse, ref->info->n_vocab);
		pfree(outputs.sparse_ids);
		pfree(outputs.sparse_weights);
	}
	embed_stat_call(ref->stat, begun);
}

static Datum
form_row(FunctionCallInfo fcinfo, const Results *results)
{
	Datum		values[3] = {PointerGetDatum(results->dense), PointerGetDatum(results->sparse), PointerGetDatum(results->multi)};
	bool		nulls[3] = {false, results->sparse == NULL, results->multi == NULL};
	TupleDesc	desc;
	Datum		row;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	row = HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
	/* many megabytes for a long text; the row has a copy */
	pfree(results->dense);
	if (results->sparse != NULL)
		pfree(results->sparse);
	if (results->multi != NULL)
		pfree(results->multi);
	return row;
}

static Datum
outputs_of_text(FunctionCallInfo fcinfo, int wanted)
{
	EmbedSite  *site = embed_site(fcinfo);
	Datum		value = PG_GETARG_DATUM(0);
	const EmbedModelRef *ref;
	Results		results = {0};
	void	   *remembered;
	Datum		result;

	if (embed_in_upgrade())
		PG_RETURN_NULL();
	ref = embed_site_resolve_arg(site, fcinfo, 1);
	remembered = embed_site_recall(site, ref, value);
	if (remembered != NULL)
		PG_RETURN_POINTER(remembered);
	compute(site, ref, value, check_wanted(site, ref, wanted), &results);
	if (wanted == OUTPUT_SPARSE)
		result = PointerGetDatum(results.sparse);
	else if (wanted == OUTPUT_MULTI)
		result = PointerGetDatum(results.multi);
	else
		result = form_row(fcinfo, &results);
	embed_site_remember(site, ref, value, DatumGetPointer(result), results.truncated);
	return result;
}

/* embed_sparse(input text [, model text]) returns text */
EMBED_CALL(embed_sparse)
{
	return outputs_of_text(fcinfo, OUTPUT_SPARSE);
}

/* embed_multi(input text [, model text]) returns float4[][] */
EMBED_CALL(embed_multi)
{
	return outputs_of_text(fcinfo, OUTPUT_MULTI);
}

/* embed_all(input text [, model text]) returns (dense float4[], sparse text, multi float4[]) */
EMBED_CALL(embed_all)
{
	return outputs_of_text(fcinfo, OUTPUT_DENSE | OUTPUT_SPARSE | OUTPUT_MULTI);
}
