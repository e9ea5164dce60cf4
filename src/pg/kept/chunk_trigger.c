/*
 * chunk_trigger.c
 *		embed_chunk_trigger: keeps the chunks of a table's rows.
 *
 *		CREATE CONSTRAINT TRIGGER ... AFTER INSERT OR UPDATE ON docs FROM docs_chunks FOR EACH ROW
 *			EXECUTE FUNCTION embed_chunk_trigger('title, body', '256', '32', 'model');
 *
 * embed_chunk_table creates the trigger. It is a constraint trigger for the
 * sake of FROM: the server records the chunk table in the trigger by its OID,
 * so that the trigger follows renames, goes when the chunk table is dropped,
 * and is dumped with FROM.
 *
 * The foreign key does what happens to keys: ON DELETE and ON UPDATE CASCADE.
 * Its trigger fires first, because the server names it "RI_...". An UPDATE that
 * moves a row to another partition is different: it changes the key, and fires
 * DELETE and INSERT triggers, both before the foreign key's. So on partitioned
 * tables the trigger fires AFTER DELETE, too, and clears the way.
 */
#include "pg/kept/chunk_writer.h"

#include "commands/trigger.h"

EMBED_FUNCTION(embed_chunk_trigger);

static void
check_call(FunctionCallInfo fcinfo)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("embed_chunk_trigger: must be called as a trigger")));
	if (!TRIGGER_FIRED_AFTER(data->tg_event) || !TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		TRIGGER_FIRED_BY_TRUNCATE(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\": embed_chunk_trigger must be fired AFTER INSERT OR UPDATE, FOR EACH ROW",
						data->tg_trigger->tgname)));
}

/* flinfo belongs to one trigger of one table, which is locked while flinfo lives. */
static EmbedChunkWriter *
trigger_writer(FunctionCallInfo fcinfo)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (fcinfo->flinfo->fn_extra == NULL)
		fcinfo->flinfo->fn_extra = embed_chunk_writer(data->tg_relation, data->tg_trigger, fcinfo->flinfo->fn_mcxt);
	return fcinfo->flinfo->fn_extra;
}

Datum
embed_chunk_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	EmbedCaller caller;
	EmbedChunkWriter *writer;
	TupleDesc	desc;

	check_call(fcinfo);
	writer = trigger_writer(fcinfo);
	desc = RelationGetDescr(data->tg_relation);
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event) &&
		embed_chunk_writer_is_same(writer, data->tg_trigtuple, data->tg_newtuple, desc))
		PG_RETURN_POINTER(NULL);
	caller = embed_chunk_writer_enter(writer);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (TRIGGER_FIRED_BY_DELETE(data->tg_event))
		embed_chunk_writer_delete(writer, data->tg_trigtuple, desc);
	else if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		(void) embed_chunk_writer_put(writer, data->tg_trigtuple, desc, true);
	else
		(void) embed_chunk_writer_put(writer, data->tg_newtuple, desc, false);
	SPI_finish();
	embed_as_caller(&caller);
	PG_RETURN_POINTER(NULL);
}
