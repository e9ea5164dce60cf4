/*
 * output_arrays.c
 *		Arrays and groups of texts: embed_sparse(text[]), embed_sparse_many,
 *		embed_sparse_query(text[]), embed_sparse_agg, the same of embed_multi,
 *		and embed_multi_rows.
 *
 * Besides the input and the result they hold one batch, however long the array
 * or the group is. Token vectors of several texts are no array of numbers,
 * because texts differ in their number of tokens: they are an array of rows
 * with one column, the type embed_token_vectors, or the rows of a set.
 */
#include "pg/sql/outputs.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"

/* the inline functions of this header do not pass -Wextra */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare"
#include "utils/arrayaccess.h"
#pragma GCC diagnostic pop
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "pg/call/text_batch.h"
#include "pg/store/restore.h"
#include "pg/sql/rows.h"
#include "pg/sql/vector.h"

/* Passes the texts of an array that are not NULL to a batch, in order. */
static void
add_elements(EmbedOutputBatch *batch, EmbedSite *site, const EmbedModelRef *ref, AnyArrayType *input, int32 n)
{
	uint64		begun = embed_stat_begin(ref->stat);
	array_iter	iter;

	embed_text_iter_setup(&iter, input);
	for (int32 i = 0; i < n; i++)
	{
		bool		isnull;
		Datum		value = embed_text_iter_next(&iter, &isnull, i);

		CHECK_FOR_INTERRUPTS();
		if (!isnull)
			embed_outputs_add(batch, site, ref, value);
	}
	embed_outputs_run(batch, ref);
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

/* ------------------------------------------------------------------ arrays */

/* An element of the result of this call: text, or a row of token vectors. */
typedef struct ElementType
{
	Oid			oid;
	TupleDesc	desc;			/* NULL: text */
} ElementType;

static ElementType
element_type(FunctionCallInfo fcinfo, int wanted)
{
	ElementType type = {.oid = TEXTOID};

	if (wanted == EMBED_OUTPUT_MULTI)
	{
		type.oid = get_element_type(get_func_rettype(fcinfo->flinfo->fn_oid));
		type.desc = lookup_rowtype_tupdesc_copy(type.oid, -1);
	}
	return type;
}

/* The row with these token vectors. */
static Datum
form_row(const ElementType *type, ArrayType *multi)
{
	Datum		value = PointerGetDatum(multi);
	bool		isnull = false;

	return HeapTupleGetDatum(heap_form_tuple(type->desc, &value, &isnull));
}

/* An array of n values; raises 54000 if they are too large together. */
static ArrayType *
form_array(const ElementType *type, Datum *values, bool *nulls, int32 n)
{
	int			lower = 1;

	if (n == 0)
		return construct_empty_array(type->oid);
	return construct_md_array(values, nulls, 1, &n, &lower, type->oid, -1, false, type->desc == NULL ? TYPALIGN_INT : TYPALIGN_DOUBLE);
}

/* Results of texts, in order, with room for NULLs between them. */
typedef struct ResultList
{
	ElementType type;
	Datum	   *values;			/* [n] */
	const bool *nulls;			/* [n] */
	int32		n;
	int32		n_put;
} ResultList;

static void
skip_nulls(ResultList *list)
{
	while (list->n_put < list->n && list->nulls[list->n_put])
		list->values[list->n_put++] = (Datum) 0;
}

static void
list_take(void *ctx, const EmbedResults *results)
{
	ResultList *list = ctx;

	skip_nulls(list);
	if (results->multi == NULL)
	{
		list->values[list->n_put++] = PointerGetDatum(results->sparse);
		return;
	}
	list->values[list->n_put++] = form_row(&list->type, results->multi);
	pfree(results->multi);
}

static Datum
outputs_of_array(FunctionCallInfo fcinfo, int wanted, EmbPrompt prompt)
{
	AnyArrayType *input = PG_GETARG_ANY_ARRAY_P(0);
	EmbedSite  *site = embed_reader_site(fcinfo);
	const EmbedModelRef *ref;
	EmbedOutputBatch batch;
	ResultList	list = {0};
	bool	   *nulls;

	if (embed_in_upgrade())
		PG_RETURN_NULL();
	ref = embed_site_resolve_arg(site, fcinfo, 1);
	list.type = element_type(fcinfo, wanted);
	list.n = embed_array_length(input);
	list.nulls = nulls = null_elements(input, list.n);
	list.values = MemoryContextAllocHuge(CurrentMemoryContext, Max((Size) list.n, 1) * sizeof(Datum));
	embed_outputs_begin(&batch, CurrentMemoryContext, embed_outputs_check(site, ref, wanted), prompt, list_take, &list);
	add_elements(&batch, site, ref, input, list.n);
	skip_nulls(&list);
	PG_RETURN_ARRAYTYPE_P(form_array(&list.type, list.values, nulls, list.n));
}

/* embed_sparse, embed_sparse_many (input text[] [, model text]) return text[] */
EMBED_CALL(embed_sparse_array)
{
	return outputs_of_array(fcinfo, EMBED_OUTPUT_SPARSE, EMB_PROMPT_DOCUMENT);
}

/* embed_sparse_query(input text[] [, model text]) returns text[] */
EMBED_CALL(embed_sparse_query_array)
{
	return outputs_of_array(fcinfo, EMBED_OUTPUT_SPARSE, EMB_PROMPT_QUERY);
}

/* embed_multi, embed_multi_many (input text[] [, model text]) return embed_token_vectors[] */
EMBED_CALL(embed_multi_array)
{
	return outputs_of_array(fcinfo, EMBED_OUTPUT_MULTI, EMB_PROMPT_DOCUMENT);
}

/* embed_multi_query(input text[] [, model text]) returns embed_token_vectors[] */
EMBED_CALL(embed_multi_query_array)
{
	return outputs_of_array(fcinfo, EMBED_OUTPUT_MULTI, EMB_PROMPT_QUERY);
}

/* -------------------------------------------------------------------- rows */

typedef struct MultiRows
{
	EmbedRows	out;
	const bool *nulls;			/* [n] */
	int32		n;
	int32		n_put;
} MultiRows;

static void
put_row(MultiRows *rows, ArrayType *multi)
{
	Datum		values[2] = {Int32GetDatum(rows->n_put + 1), PointerGetDatum(multi)};
	bool		nulls[2] = {false, multi == NULL};

	tuplestore_putvalues(rows->out.store, rows->out.desc, values, nulls);
	rows->n_put++;
}

static void
put_null_rows(MultiRows *rows)
{
	while (rows->n_put < rows->n && rows->nulls[rows->n_put])
		put_row(rows, NULL);
}

static void
rows_take(void *ctx, const EmbedResults *results)
{
	put_null_rows(ctx);
	put_row(ctx, results->multi);
	pfree(results->multi);
}

/* embed_multi_rows(input text[] [, model text]) returns table (ordinality int, embedding float4[]) */
EMBED_CALL(embed_multi_rows)
{
	AnyArrayType *input = PG_GETARG_ANY_ARRAY_P(0);
	EmbedSite  *site = embed_reader_site(fcinfo);
	const EmbedModelRef *ref = embed_site_resolve_arg(site, fcinfo, 1);
	MultiRows	rows = {.n = embed_array_length(input)};
	EmbedOutputBatch batch;

	rows.out = embed_rows_begin(fcinfo);
	rows.nulls = null_elements(input, rows.n);
	embed_outputs_begin(&batch, CurrentMemoryContext, embed_outputs_check(site, ref, EMBED_OUTPUT_MULTI), EMB_PROMPT_DOCUMENT, rows_take, &rows);
	add_elements(&batch, site, ref, input, rows.n);
	put_null_rows(&rows);
	return (Datum) 0;
}

/* ------------------------------------------------------------------ groups */

/* The state of embed_sparse_agg and embed_multi_agg: results, and ids of texts that wait for a full batch. */
typedef struct OutputGroup
{
	MemoryContext cxt;
	uint8		fingerprint[EMB_HASH_SIZE];
	char	   *name;			/* NULL: the default model */
	EmbedOutputBatch batch;
	Datum	   *values;			/* [room], weights or arrays of token vectors, in cxt like what they point to */
	int64		n;
	int64		room;
	EmbedStat  *stat;
	EmbedCost	cost;			/* since the last result of the group */
} OutputGroup;

static void
group_take(void *ctx, const EmbedResults *results)
{
	OutputGroup *group = ctx;
	void	   *result = results->multi != NULL ? (void *) results->multi : (void *) results->sparse;
	Size		size = VARSIZE(result);
	void	   *copy = MemoryContextAllocHuge(group->cxt, size);

	memcpy(copy, result, size);
	pfree(result);
	if (group->n == group->room)
	{
		group->room = Max(2 * group->room, 16);
		if (group->values == NULL)
			group->values = MemoryContextAllocHuge(group->cxt, group->room * sizeof(Datum));
		else
			group->values = repalloc_huge(group->values, group->room * sizeof(Datum));
	}
	group->values[group->n++] = PointerGetDatum(copy);
}

static OutputGroup *
new_group(MemoryContext cxt, const EmbedSite *site, const EmbedModelRef *ref, const text *name, int wanted)
{
	OutputGroup *group = MemoryContextAllocZero(cxt, sizeof(OutputGroup));

	group->cxt = cxt;
	memcpy(group->fingerprint, ref->fingerprint, EMB_HASH_SIZE);
	group->stat = ref->stat;
	if (name != NULL)
	{
		Size		len = VARSIZE_ANY_EXHDR(name);

		group->name = MemoryContextAllocZero(cxt, len + 1);
		memcpy(group->name, VARDATA_ANY(name), len);
	}
	embed_outputs_begin(&group->batch, cxt, embed_outputs_check(site, ref, wanted), EMB_PROMPT_DOCUMENT, group_take, group);
	return group;
}

/* (state internal, input text [, model text]) returns internal; NULLs are skipped */
static Datum
accumulate(FunctionCallInfo fcinfo, int wanted)
{
	OutputGroup *group = PG_ARGISNULL(0) ? NULL : (OutputGroup *) PG_GETARG_POINTER(0);
	const text *name = NULL;
	EmbedSite  *site;
	const EmbedModelRef *ref;
	MemoryContext cxt;
	uint64		begun;

	if (!AggCheckCallContext(fcinfo, &cxt))
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (PG_ARGISNULL(1) || (PG_NARGS() > 2 && PG_ARGISNULL(2)))
	{
		if (group == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(group);
	}
	if (PG_NARGS() > 2)
		name = PG_GETARG_TEXT_PP(2);
	site = embed_reader_site(fcinfo);
	if (group == NULL)
	{
		ref = embed_site_resolve(site, name);
		group = new_group(cxt, site, ref, name, wanted);
	}
	else
	{
		ref = embed_site_go_on(site, group->fingerprint);
		embed_check_group_name(group->name, name);
	}
	begun = embed_stat_begin(ref->stat);
	embed_outputs_add(&group->batch, site, ref, PG_GETARG_DATUM(1));
	embed_stat_step(ref->stat, begun, &group->cost);
	PG_RETURN_POINTER(group);
}

EMBED_CALL(embed_sparse_agg_accum)
{
	return accumulate(fcinfo, EMBED_OUTPUT_SPARSE);
}

EMBED_CALL(embed_multi_agg_accum)
{
	return accumulate(fcinfo, EMBED_OUTPUT_MULTI);
}

/* The array of a group; a window asks for it again and again, so the state stays. */
static ArrayType *
group_array(const OutputGroup *group, const ElementType *type)
{
	int32		n = (int32) group->n;
	Datum	   *rows;

	if (type->desc == NULL)
		return form_array(type, group->values, NULL, n);
	rows = MemoryContextAllocHuge(CurrentMemoryContext, Max((Size) n, 1) * sizeof(Datum));
	for (int32 i = 0; i < n; i++)
		rows[i] = form_row(type, (ArrayType *) DatumGetPointer(group->values[i]));
	return form_array(type, rows, NULL, n);
}

/* (state internal) returns text[], embed_token_vectors[] */
static Datum
finish(FunctionCallInfo fcinfo, int wanted)
{
	OutputGroup *group = PG_ARGISNULL(0) ? NULL : (OutputGroup *) PG_GETARG_POINTER(0);
	ElementType type;

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (group == NULL)
		PG_RETURN_NULL();
	if (group->batch.n_texts > 0)
	{
		const EmbedModelRef *ref = embed_site_go_on(embed_reader_site(fcinfo), group->fingerprint);
		uint64		begun = embed_stat_begin(ref->stat);

		embed_outputs_run(&group->batch, ref);
		embed_stat_step(ref->stat, begun, &group->cost);
	}
	embed_stat_enter(group->stat);
	embed_stat_count_call(group->stat, &group->cost);
	if (group->n > (int64) MaxArraySize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the group has %lld texts, more than an array can hold", (long long) group->n)));
	type = element_type(fcinfo, wanted);
	PG_RETURN_ARRAYTYPE_P(group_array(group, &type));
}

EMBED_CALL(embed_sparse_agg_final)
{
	return finish(fcinfo, EMBED_OUTPUT_SPARSE);
}

EMBED_CALL(embed_multi_agg_final)
{
	return finish(fcinfo, EMBED_OUTPUT_MULTI);
}
