/*
 * outputs.c
 *		Outputs of a model besides a text's vector: embed_sparse, embed_multi,
 *		their query sides embed_sparse_query and embed_multi_query, and all
 *		outputs in one pass, embed_all.
 *
 * Each C function serves two SQL functions, with and without a model argument.
 * A call site remembers its last result. The backend's cache holds only
 * vectors.
 */
#include "pg/sql/outputs.h"

#include <common/shortest_dec.h>	/* the server's common, not ours */

#include "access/htup_details.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "pg/call/text_batch.h"
#include "pg/store/restore.h"
#include "pg/sql/vector.h"

/* An index of up to 10 digits, a colon, a weight, a comma. */
#define ENTRY_BYTES	(10 + 1 + FLOAT_SHORTEST_DECIMAL_LEN + 1)

#define IDS_ROOM_FIRST		256
#define TEXTS_ROOM_FIRST	16

/*
 * {index:weight,...}/vocabulary, in pgvector's text format: indexes are ids +
 * 1; weights are exact when read back.
 */
static text *
sparse_text(const EmbSparse *sparse, int32 n_vocab)
{
	Size		room = VARHDRSZ + (Size) sparse->n * ENTRY_BYTES + 16;
	text	   *result = palloc(room);
	char	   *s = VARDATA(result);

	*s++ = '{';
	for (int32 i = 0; i < sparse->n; i++)
	{
		if (i > 0)
			*s++ = ',';
		s += snprintf(s, 12, "%d:", sparse->ids[i] + 1);
		s += float_to_shortest_decimal_bufn(sparse->weights[i], s);
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
			 errhint("The column \"outputs\" of embed_models lists the outputs of each model. Learned sparse models (SPLADE) return token weights, "
					 "ColBERT models token vectors; BGE-M3 returns both if imported with its files sparse_linear.pt and colbert_linear.pt in the directory.")));
}

int
embed_outputs_check(const EmbedSite *site, const EmbedModelRef *ref, int wanted)
{
	const EmbModelInfo *info = ref->info;
	int			given = (info->has_dense ? EMBED_OUTPUT_DENSE : 0) | (info->has_sparse ? EMBED_OUTPUT_SPARSE : 0) |
		(info->multi_dim > 0 ? EMBED_OUTPUT_MULTI : 0);

	if (((wanted & given) & ~EMBED_OUTPUT_DENSE) == 0)
		refuse(site, wanted == EMBED_OUTPUT_SPARSE ? "token weights" : wanted == EMBED_OUTPUT_MULTI ? "token vectors"
			   : "token weights or token vectors");
	return wanted & given;
}

/* ------------------------------------------------------------------ batches */

void
embed_outputs_begin(EmbedOutputBatch *batch, MemoryContext cxt, int wanted, EmbPrompt prompt, EmbedTakeResults take, void *ctx)
{
	*batch = (EmbedOutputBatch) {.cxt = cxt, .wanted = wanted, .prompt = prompt, .take = take, .ctx = ctx};
}

/* Doubles an int32 array until n elements fit. */
static void
make_room(MemoryContext cxt, int32 **array, int32 *room, int64 n, int32 first)
{
	int64		wanted = *room > 0 ? *room : first;

	if (n <= *room)
		return;
	while (wanted < n)
		wanted *= 2;
	if (*array == NULL)
		*array = MemoryContextAlloc(cxt, wanted * sizeof(int32));
	else
		*array = repalloc(*array, wanted * sizeof(int32));
	*room = (int32) wanted;
}

/* A query of a model whose queries are read by a table. */
static void
take_query_weights(EmbedOutputBatch *batch, const EmbedSite *site, const EmbedModelRef *ref, int32 n_ids)
{
	EmbSequence seq = {.ids = site->ids, .n_ids = n_ids};
	EmbSparse	sparse;
	EmbedResults results = {0};

	embed_query_weights(ref, &seq, &sparse);
	results.sparse = sparse_text(&sparse, ref->info->n_vocab);
	if (sparse.ids != NULL)
		pfree(sparse.ids);
	batch->take(batch->ctx, &results);
}

void
embed_outputs_add(EmbedOutputBatch *batch, EmbedSite *site, const EmbedModelRef *ref, Datum value)
{
	EmbEncoded	encoded = embed_site_read(site, ref, batch->prompt, value);
	int32		n_expanded = 0;

	batch->truncated = encoded.truncated;
	if (batch->prompt == EMB_PROMPT_QUERY && ref->info->has_query_weights)
	{
		take_query_weights(batch, site, ref, encoded.n_ids);
		return;
	}
	if (batch->prompt == EMB_PROMPT_QUERY)
		n_expanded = emb_model_expand(ref->model, site->ids, encoded.n_ids);
	encoded.n_ids += n_expanded;
	if (!emb_batch_has_room(embed_guc_batch_tokens, batch->n_texts, batch->n_ids, encoded.n_ids))
		embed_outputs_run(batch, ref);
	make_room(batch->cxt, &batch->ids, &batch->ids_room, batch->n_ids + (int64) encoded.n_ids, IDS_ROOM_FIRST);
	make_room(batch->cxt, &batch->lengths, &batch->texts_room, batch->n_texts + (int64) 1, TEXTS_ROOM_FIRST);
	make_room(batch->cxt, &batch->expanded, &batch->expanded_room, batch->n_texts + (int64) 1, TEXTS_ROOM_FIRST);
	if (encoded.n_ids > 0)
		memcpy(batch->ids + batch->n_ids, site->ids, encoded.n_ids * sizeof(int32));
	batch->n_ids += encoded.n_ids;
	batch->expanded[batch->n_texts] = n_expanded;
	batch->lengths[batch->n_texts++] = encoded.n_ids;
}

/* Passes on the results of text i, whose token vectors are the next n_rows of *multi. */
static void
take_text(EmbedOutputBatch *batch, const EmbedModelRef *ref, const EmbOutputs *outputs, int32 i, int32 n_rows, const float **multi)
{
	const EmbModelInfo *info = ref->info;
	EmbedResults results = {0};

	if (outputs->dense != NULL)
		results.dense = embed_vector_copy(outputs->dense + (Size) i * info->dim, info->dim);
	if (outputs->sparse != NULL)
	{
		results.sparse = sparse_text(&outputs->sparse[i], info->n_vocab);
		pfree(outputs->sparse[i].ids);
	}
	if (outputs->multi != NULL && n_rows == 0)
		results.multi = construct_empty_array(FLOAT4OID);
	else if (outputs->multi != NULL)
	{
		Size		n = (Size) n_rows * info->multi_dim;
		float	   *elements;

		results.multi = embed_matrix_new(n_rows, info->multi_dim, NULL, &elements);
		memcpy(elements, *multi, n * sizeof(float));
		*multi += n;
	}
	batch->take(batch->ctx, &results);
}

/* Room for the wanted outputs of n texts with n_rows token vectors in all. */
static EmbOutputs
allocate_outputs(const EmbedOutputBatch *batch, const EmbedModelRef *ref, int32 n, int64 n_rows)
{
	EmbOutputs	outputs = {0};

	if (batch->wanted & EMBED_OUTPUT_DENSE)
		outputs.dense = MemoryContextAllocHuge(CurrentMemoryContext, (Size) n * ref->info->dim * sizeof(float));
	if (batch->wanted & EMBED_OUTPUT_SPARSE)
		outputs.sparse = palloc0(n * sizeof(EmbSparse));
	if (batch->wanted & EMBED_OUTPUT_MULTI)
		outputs.multi = MemoryContextAllocHuge(CurrentMemoryContext, Max((Size) n_rows * ref->info->multi_dim, 1) * sizeof(float));
	return outputs;
}

static void
free_outputs(const EmbOutputs *outputs)
{
	if (outputs->dense != NULL)
		pfree(outputs->dense);
	if (outputs->sparse != NULL)
		pfree(outputs->sparse);
	if (outputs->multi != NULL)
		pfree(outputs->multi);
}

void
embed_outputs_run(EmbedOutputBatch *batch, const EmbedModelRef *ref)
{
	int32		n = batch->n_texts;
	EmbSequence *seqs;
	int32	   *n_rows;
	EmbOutputs	outputs;
	const float *multi;
	int64		total = 0;
	int32		at = 0;

	if (n == 0)
		return;
	/* the tables of models may have changed since the texts were read */
	embed_registry_check(ref, EMB_OK, NULL);
	seqs = palloc0(n * sizeof(EmbSequence));
	n_rows = palloc(n * sizeof(int32));
	for (int32 i = 0; i < n; i++)
	{
		seqs[i].ids = batch->ids + at;
		seqs[i].n_ids = batch->lengths[i];
		seqs[i].n_expanded = batch->expanded[i];
		seqs[i].is_query = batch->prompt == EMB_PROMPT_QUERY;
		n_rows[i] = emb_model_n_vectors(ref->model, &seqs[i]);
		if (batch->wanted & EMBED_OUTPUT_MULTI)
			embed_matrix_check_size(n_rows[i], ref->info->multi_dim);
		total += n_rows[i];
		at += batch->lengths[i];
	}
	outputs = allocate_outputs(batch, ref, n, total);
	embed_compute_all(ref, batch->prompt, seqs, n, &outputs);
	/* a taker that raises leaves an empty batch */
	batch->n_texts = 0;
	batch->n_ids = 0;
	multi = outputs.multi;
	for (int32 i = 0; i < n; i++)
		take_text(batch, ref, &outputs, i, n_rows[i], &multi);
	free_outputs(&outputs);
	pfree(seqs);
	pfree(n_rows);
}

/* ---------------------------------------------------------------- one text */

static void
take_results(void *ctx, const EmbedResults *results)
{
	*(EmbedResults *) ctx = *results;
}

static Datum
form_row(FunctionCallInfo fcinfo, const EmbedResults *results)
{
	Datum		values[3] = {PointerGetDatum(results->dense), PointerGetDatum(results->sparse), PointerGetDatum(results->multi)};
	bool		nulls[3] = {results->dense == NULL, results->sparse == NULL, results->multi == NULL};
	TupleDesc	desc;
	Datum		row;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	row = HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
	/* many megabytes for a long text; the row has a copy */
	if (results->dense != NULL)
		pfree(results->dense);
	if (results->sparse != NULL)
		pfree(results->sparse);
	if (results->multi != NULL)
		pfree(results->multi);
	return row;
}

static Datum
outputs_of_text(FunctionCallInfo fcinfo, int wanted, EmbPrompt prompt)
{
	EmbedSite  *site = embed_reader_site(fcinfo);
	Datum		value = PG_GETARG_DATUM(0);
	const EmbedModelRef *ref;
	EmbedResults results;
	EmbedOutputBatch batch;
	uint64		begun;
	void	   *remembered;
	Datum		result;

	if (embed_in_upgrade())
		PG_RETURN_NULL();
	ref = embed_site_resolve_arg(site, fcinfo, 1);
	remembered = embed_site_recall(site, ref, value);
	if (remembered != NULL)
		PG_RETURN_POINTER(remembered);
	embed_outputs_begin(&batch, CurrentMemoryContext, embed_outputs_check(site, ref, wanted), prompt, take_results, &results);
	begun = embed_stat_begin(ref->stat);
	embed_outputs_add(&batch, site, ref, value);
	embed_outputs_run(&batch, ref);
	embed_stat_call(ref->stat, begun);
	if (wanted == EMBED_OUTPUT_SPARSE)
		result = PointerGetDatum(results.sparse);
	else if (wanted == EMBED_OUTPUT_MULTI)
		result = PointerGetDatum(results.multi);
	else
		result = form_row(fcinfo, &results);
	embed_site_remember(site, ref, value, DatumGetPointer(result), batch.truncated);
	return result;
}

/* embed_sparse(input text [, model text]) returns text */
EMBED_CALL(embed_sparse)
{
	return outputs_of_text(fcinfo, EMBED_OUTPUT_SPARSE, EMB_PROMPT_DOCUMENT);
}

/* embed_sparse_query(input text [, model text]) returns text */
EMBED_CALL(embed_sparse_query)
{
	return outputs_of_text(fcinfo, EMBED_OUTPUT_SPARSE, EMB_PROMPT_QUERY);
}

/* embed_multi(input text [, model text]) returns float4[][] */
EMBED_CALL(embed_multi)
{
	return outputs_of_text(fcinfo, EMBED_OUTPUT_MULTI, EMB_PROMPT_DOCUMENT);
}

/* embed_multi_query(input text [, model text]) returns float4[][] */
EMBED_CALL(embed_multi_query)
{
	return outputs_of_text(fcinfo, EMBED_OUTPUT_MULTI, EMB_PROMPT_QUERY);
}

/* embed_all(input text [, model text]) returns (dense float4[], sparse text, multi float4[]) */
EMBED_CALL(embed_all)
{
	return outputs_of_text(fcinfo, EMBED_OUTPUT_DENSE | EMBED_OUTPUT_SPARSE | EMBED_OUTPUT_MULTI, EMB_PROMPT_DOCUMENT);
}
