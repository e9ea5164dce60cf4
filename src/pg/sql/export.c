/*
 * export.c
 *		embed_export: an image in pieces, for another server.
 */
#include "pg/glue.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "pg/store/image_rows.h"
#include "pg/store/registry.h"

EMBED_FUNCTION(embed_export);

typedef struct Export
{
	uint8		fingerprint[EMB_HASH_SIZE];
	int64		at;				/* bytes returned */
} Export;

/* A piece of the mapped image, copied: the caller may do anything before the next one. */
static bytea *
copy_piece(const EmbedModelRef *ref, int64 at)
{
	int64		size = Min(ref->info->size_bytes - at, EMBED_STORED_CHUNK_BYTES);
	bytea	   *data = palloc(VARHDRSZ + size);

	SET_VARSIZE(data, VARHDRSZ + size);
	memcpy(VARDATA(data), ref->image + at, size);
	embed_registry_check(ref, EMB_OK, NULL);
	return data;
}

/* embed_export(name text) returns table (no int, data bytea): a piece per call, not all in memory */
Datum
embed_export(PG_FUNCTION_ARGS)
{
	FuncCallContext *call;
	Export	   *export;
	const EmbedModelRef *ref;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;

		call = SRF_FIRSTCALL_INIT();
		ref = embed_registry_lookup(text_to_cstring(PG_GETARG_TEXT_PP(0)), 0, EMBED_NAME_ARGUMENT);
		old = MemoryContextSwitchTo(call->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &call->tuple_desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		call->tuple_desc = BlessTupleDesc(call->tuple_desc);
		export = palloc0(sizeof(Export));
		memcpy(export->fingerprint, ref->fingerprint, EMB_HASH_SIZE);
		call->user_fctx = export;
		MemoryContextSwitchTo(old);
	}
	call = SRF_PERCALL_SETUP();
	export = call->user_fctx;
	CHECK_FOR_INTERRUPTS();
	/* the same image, whatever the name stands for now */
	ref = embed_registry_go_on(export->fingerprint);
	if (export->at >= ref->info->size_bytes)
		SRF_RETURN_DONE(call);
	values[0] = Int32GetDatum((int32) (export->at / EMBED_STORED_CHUNK_BYTES));
	values[1] = PointerGetDatum(copy_piece(ref, export->at));
	export->at += EMBED_STORED_CHUNK_BYTES;
	SRF_RETURN_NEXT(call, HeapTupleGetDatum(heap_form_tuple(call->tuple_desc, values, nulls)));
}
