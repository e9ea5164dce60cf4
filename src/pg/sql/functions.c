/*
 * functions.c
 *		Functions of one text, and functions about this library.
 *
 * Each C function serves two SQL functions, with and without a model argument;
 * the number of arguments shows which one was called.
 */
#include "pg/glue.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "pg/call/callsite.h"
#include "pg/store/pinned_name.h"
#include "pg/store/restore.h"
#include "pg/call/text_value.h"
#include "pg/sql/vector.h"

EMBED_FUNCTION(embed_isa);
EMBED_FUNCTION(embed_fingerprint);

/* dimensions, instruction: the positions of these arguments; a call may have fewer. */
static Datum
vector_of_text(FunctionCallInfo fcinfo, EmbPrompt prompt, int dimensions, int instruction)
{
	EmbedSite  *site = embed_site(fcinfo);
	const EmbedModelRef *ref;
	int32		n;
	float	   *vector;
	float	   *elements;
	ArrayType  *result;

	if (embed_in_upgrade())
		PG_RETURN_NULL();
	ref = embed_site_resolve_arg(site, fcinfo, 1);
	embed_site_instruct(site, ref, fcinfo, instruction);
	n = embed_site_dimensions(site, fcinfo, dimensions);
	result = embed_vector_new(n > 0 ? n : ref->info->dim, &elements);
	/* memo and cache store whole vectors: a text cut to two lengths is computed once */
	vector = n > 0 ? palloc(ref->info->dim * sizeof(float)) : elements;
	embed_site_embed(site, ref, prompt, PG_GETARG_DATUM(0), vector);
	if (n > 0)
	{
		embed_site_cut(site, vector, n, elements);
		pfree(vector);
	}
	PG_RETURN_ARRAYTYPE_P(result);
}

/* embed(input text [, model text [, dimensions int]]) returns float4[] */
EMBED_CALL(embed_text)
{
	return vector_of_text(fcinfo, EMB_PROMPT_DOCUMENT, 2, FUNC_MAX_ARGS);
}

/* embed_query(input text [, model text [, dimensions int]]) returns float4[] */
EMBED_CALL(embed_query_text)
{
	return vector_of_text(fcinfo, EMB_PROMPT_QUERY, 2, FUNC_MAX_ARGS);
}

/* embed_query(input text, model text, instruction text [, dimensions int]) returns float4[] */
EMBED_CALL(embed_query_instructed)
{
	return vector_of_text(fcinfo, EMB_PROMPT_QUERY, 3, 2);
}

/*
 * embed_tokens(input text [, model text]) returns int4[]: the ids that the
 * model reads in embed()
 */
EMBED_CALL(embed_tokens)
{
	EmbedSite  *site = embed_reader_site(fcinfo);
	const EmbedModelRef *ref;
	EmbEncoded	encoded;
	Datum	   *ids;

	if (embed_in_upgrade())
		PG_RETURN_NULL();
	ref = embed_site_resolve_arg(site, fcinfo, 1);
	encoded = embed_site_encode(site, ref, EMB_PROMPT_DOCUMENT, PG_GETARG_DATUM(0));
	ids = palloc(Max(encoded.n_ids, 1) * sizeof(Datum));
	for (int32 i = 0; i < encoded.n_ids; i++)
		ids[i] = Int32GetDatum(site->ids[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(ids, encoded.n_ids, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

/* embed_info(input text [, model text]) returns (tokens int, max_tokens int, truncated bool) */
EMBED_CALL(embed_info)
{
	EmbedSite  *site = embed_reader_site(fcinfo);
	const EmbedModelRef *ref;
	MemoryContext scratch;
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};
	int64		n_tokens;
	bool		truncated;

	if (embed_in_upgrade())
		PG_RETURN_NULL();
	ref = embed_site_resolve_arg(site, fcinfo, 1);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	scratch = AllocSetContextCreate(CurrentMemoryContext, "embed text", ALLOCSET_DEFAULT_SIZES);
	n_tokens = embed_text_count(ref, EMB_PROMPT_DOCUMENT, PG_GETARG_DATUM(0), scratch, &truncated);
	MemoryContextDelete(scratch);

	/* a text of at most 1 GB and a prompt have fewer than 2^31 tokens */
	values[0] = Int32GetDatum((int32) Min(n_tokens, PG_INT32_MAX));
	values[1] = Int32GetDatum(ref->info->max_tokens);
	values[2] = BoolGetDatum(truncated);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* embed_fingerprint(model text) returns text: all digits, of a model of any kind */
Datum
embed_fingerprint(PG_FUNCTION_ARGS)
{
	uint8		fingerprint[EMB_HASH_SIZE];
	char		digits[EMBED_DIGITS_MAX + 1];

	if (embed_in_upgrade())
		PG_RETURN_NULL();
	embed_registry_fingerprint(text_to_cstring(PG_GETARG_TEXT_PP(0)), fingerprint);
	embed_fingerprint_digits(fingerprint, digits);
	PG_RETURN_TEXT_P(cstring_to_text(digits));
}

/* embed_isa() returns text: the ISA level in use */
Datum
embed_isa(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	embed_isa_apply();
	PG_RETURN_TEXT_P(cstring_to_text(emb_isa_name()));
}
