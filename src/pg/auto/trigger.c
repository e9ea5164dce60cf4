/*
 * trigger.c
 *		embed_trigger: keeps a vector column equal to embed(source column).
 *
 *		CREATE TRIGGER ... BEFORE INSERT OR UPDATE ON docs FOR EACH ROW
 *			EXECUTE FUNCTION embed_trigger('embedding', 'body' [, 'model or alias']);
 *
 * The trigger owns the column. It replaces what a user assigns to the column,
 * with a warning, except in two cases: NULL in an UPDATE requests a new
 * computation, and the trigger accepts a vector that this transaction computed
 * for the same text by the same model (proofs.h).
 */
#include "pg/glue.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "utils/rel.h"

#include "pg/call/callsite.h"
#include "pg/auto/known.h"
#include "pg/call/proofs.h"
#include "pg/auto/trigger.h"
#include "pg/sql/vector.h"

/*
 * Counts the vectors of a statement that the trigger replaced; reported when
 * the statement's memory is freed.
 */
typedef struct Replaced
{
	MemoryContextCallback callback;
	bool		is_registered;
	uint64		n_rows;
	char	   *trigger;
	char	   *table;
	char	   *column;
} Replaced;

/*
 * What a trigger found out at its first row. flinfo belongs to one trigger of
 * one table, and the table is locked while flinfo lives. So this state cannot
 * become stale within a statement; is_current makes sure.
 */
typedef struct TriggerSite
{
	EmbedSite	site;			/* first: the result of embed_site */
	Oid			relid;			/* InvalidOid: not set up */
	EmbedTriggerColumns columns;
	ExprContext *econtext;

	bool		names_model;	/* has a third argument */
	EmbedTriggerModel model;
	bool		is_checked;		/* the model that was checked against the trigger's record: */
	uint8		checked[EMB_HASH_SIZE];

	Oid			root;			/* belongs to a partition */
	EmbedKnownIndexes indexes;
	Replaced	replaced;
} TriggerSite;

/* The two columns of one version of a row. */
typedef struct Row
{
	Datum		source;
	Datum		vector;
	bool		source_isnull;
	bool		vector_isnull;
} Row;

static void
check_call(FunctionCallInfo fcinfo)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("embed_trigger: must be called as a trigger")));
	(void) embed_trigger_check_events(data->tg_trigger, ERROR);
	(void) embed_trigger_check_arguments(data->tg_trigger, ERROR);
}

/* flinfo's site; without flinfo a site for this call only. */
static TriggerSite *
trigger_site(FunctionCallInfo fcinfo)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;
	MemoryContext cxt = flinfo != NULL ? flinfo->fn_mcxt : CurrentMemoryContext;
	TriggerSite *trigger;

	if (flinfo != NULL && flinfo->fn_extra != NULL)
		return flinfo->fn_extra;
	trigger = MemoryContextAllocZero(cxt, sizeof(TriggerSite));
	trigger->site.cxt = cxt;
	if (flinfo != NULL)
		flinfo->fn_extra = trigger;
	return trigger;
}

/* The result is in econtext's per-tuple memory, or is value itself. */
static Datum
convert(TriggerSite *trigger, const EmbedConversion *conversion, Datum value, bool *isnull)
{
	if (conversion->state == NULL)
		return value;
	trigger->econtext->caseValue_datum = value;
	trigger->econtext->caseValue_isNull = *isnull;
	return ExecEvalExprSwitchContext(conversion->state, trigger->econtext, isnull);
}

static bool
column_is_current(TupleDesc desc, const char *name, const EmbedTriggerColumn *column)
{
	Form_pg_attribute att;

	if (column->attnum > desc->natts)
		return false;
	att = TupleDescAttr(desc, column->attnum - 1);
	return !att->attisdropped && att->atttypid == column->type &&
		att->atttypmod == column->typmod && strcmp(NameStr(att->attname), name) == 0;
}

static bool
is_current(const TriggerSite *trigger, TriggerData *data)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);

	return trigger->relid == RelationGetRelid(data->tg_relation) &&
		column_is_current(desc, data->tg_trigger->tgargs[0], &trigger->columns.vector) &&
		column_is_current(desc, data->tg_trigger->tgargs[1], &trigger->columns.source);
}

static void
set_up(TriggerSite *trigger, TriggerData *data)
{
	MemoryContext cxt = trigger->site.cxt;
	MemoryContext old;

	trigger->relid = InvalidOid;
	trigger->is_checked = false;
	trigger->indexes.is_ready = false;
	(void) embed_trigger_find_columns(data->tg_relation, data->tg_trigger, cxt, ERROR, &trigger->columns);
	trigger->names_model = data->tg_trigger->tgnargs > 2;
	if (trigger->names_model)
		trigger->model = embed_trigger_model(data->tg_trigger);
	trigger->root = embed_known_root(data->tg_relation);
	old = MemoryContextSwitchTo(cxt);
	if (trigger->econtext == NULL)
		trigger->econtext = CreateStandaloneExprContext();
	trigger->replaced.trigger = pstrdup(data->tg_trigger->tgname);
	trigger->replaced.table = pstrdup(RelationGetRelationName(data->tg_relation));
	trigger->replaced.column = pstrdup(data->tg_trigger->tgargs[0]);
	MemoryContextSwitchTo(old);
	trigger->relid = RelationGetRelid(data->tg_relation);
}

/* ---------------------------------------------------- replaced vectors */

/* Not while a transaction aborts: its statement has already reported the error. */
static void
tell_replaced(void *arg)
{
	Replaced   *replaced = arg;

	if (replaced->n_rows == 0 || !IsTransactionState())
		return;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg_plural("trigger \"%s\" of table \"%s\" replaced the vector given for %llu row, which is not the vector of its text",
						   "trigger \"%s\" of table \"%s\" replaced the vectors given for %llu rows, which are not the vectors of their texts",
						   replaced->n_rows, replaced->trigger, replaced->table, (unsigned long long) replaced->n_rows),
			 errhint("The trigger owns column \"%s\". To store other vectors there, ALTER TABLE ... DISABLE TRIGGER first.",
					 replaced->column)));
}

/* Rows applied by a subscriber are statements of their own, and nobody reads their warnings. */
static void
note_replaced(TriggerSite *trigger)
{
	Replaced   *replaced = &trigger->replaced;

	if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
		return;
	if (!replaced->is_registered)
	{
		replaced->callback.func = tell_replaced;
		replaced->callback.arg = replaced;
		MemoryContextRegisterResetCallback(trigger->site.cxt, &replaced->callback);
		replaced->is_registered = true;
	}
	replaced->n_rows++;
}

/* ------------------------------------------------------------------ vectors */

static Row
read_row(const TriggerSite *trigger, TriggerData *data, HeapTuple tuple)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	Row			row;

	row.source = heap_getattr(tuple, trigger->columns.source.attnum, desc, &row.source_isnull);
	row.vector = heap_getattr(tuple, trigger->columns.vector.attnum, desc, &row.vector_isnull);
	return row;
}

static bool
is_same_source(const TriggerSite *trigger, const Row *a, const Row *b)
{
	return embed_known_is_same(&trigger->columns.source, a->source, a->source_isnull, b->source, b->source_isnull);
}

static bool
is_same_vector(const TriggerSite *trigger, const Row *a, const Row *b)
{
	return embed_known_is_same(&trigger->columns.vector, a->vector, a->vector_isnull, b->vector, b->vector_isnull);
}

/* A conversion may run SQL, which ends the validity of a ref: so look up again for each use. */
static const EmbedModelRef *
resolve(TriggerSite *trigger, TriggerData *data)
{
	const char *name = trigger->names_model ? trigger->model.name : NULL;
	const EmbedModelRef *ref = embed_site_resolve_name(&trigger->site, name, EMBED_NAME_ALIAS_TOO);

	if (trigger->names_model &&
		!(trigger->is_checked && memcmp(trigger->checked, ref->fingerprint, EMB_HASH_SIZE) == 0))
	{
		embed_trigger_check_model(data->tg_trigger, &trigger->model, ref);
		memcpy(trigger->checked, ref->fingerprint, EMB_HASH_SIZE);
		trigger->is_checked = true;
	}
	return ref;
}

/* The elements of a float4[] with the shape of embed's results, or NULL. */
static const float *
plain_elements(ArrayType *array, int32 dim)
{
	if (ARR_NDIM(array) != 1 || ARR_DIMS(array)[0] != dim || ARR_LBOUND(array)[0] != 1 || ARR_HASNULL(array))
		return NULL;
	return (const float *) embed_array_data(array);
}

/* Whether vector equals the computed vector bit for bit, shown by a proof. */
static bool
is_proven(TriggerSite *trigger, TriggerData *data, Datum text, Datum vector)
{
	bool		isnull = false;
	const EmbedModelRef *ref;
	Datum		floats;
	Datum		again;
	const float *elements;
	ArrayType  *array;

	if (!embed_proofs_any() || !trigger->columns.gives_floats)
		return false;
	floats = convert(trigger, &trigger->columns.to_floats, vector, &isnull);
	if (isnull)
		return false;
	array = DatumGetArrayTypeP(floats);
	ref = resolve(trigger, data);
	elements = plain_elements(array, ref->info->dim);
	if (elements == NULL || !embed_proof_holds(ref, text, elements, ref->info->dim))
		return false;
	/* the column's type may store more than the elements */
	again = convert(trigger, &trigger->columns.from_vector, PointerGetDatum(array), &isnull);
	return embed_known_is_same(&trigger->columns.vector, vector, false, again, isnull);
}

/* The vector of a text, in the column's type. */
static Datum
compute_vector(TriggerSite *trigger, TriggerData *data, Datum text, bool *isnull)
{
	const EmbedModelRef *ref = resolve(trigger, data);
	float	   *elements;
	ArrayType  *vector = embed_vector_new(ref->info->dim, &elements);

	embed_site_embed(&trigger->site, ref, EMB_PROMPT_DOCUMENT, text, elements);
	*isnull = false;
	return convert(trigger, &trigger->columns.from_vector, PointerGetDatum(vector), isnull);
}

static HeapTuple
replace_vector(const TriggerSite *trigger, TriggerData *data, HeapTuple tuple, Datum value, bool isnull)
{
	int			attnum = trigger->columns.vector.attnum;

	return heap_modify_tuple_by_cols(tuple, RelationGetDescr(data->tg_relation), 1,
									 &attnum, &value, &isnull);
}

/* An UPDATE that changes no source, for a row with a vector. */
static HeapTuple
keep_vector(TriggerSite *trigger, TriggerData *data, HeapTuple tuple, const Row *old, const Row *row)
{
	if (is_same_vector(trigger, old, row))
	{
		if (OidIsValid(trigger->root))
			embed_known_passed(trigger->root, data->tg_trigger, &trigger->columns, row->source, row->vector);
		return tuple;
	}
	if (embed_proofs_any())
	{
		bool		isnull = false;
		Datum		text = convert(trigger, &trigger->columns.to_text, row->source, &isnull);

		if (is_proven(trigger, data, text, row->vector))
			return tuple;
	}
	note_replaced(trigger);
	return replace_vector(trigger, data, tuple, old->vector, false);
}

static HeapTuple
clear_vector(TriggerSite *trigger, TriggerData *data, HeapTuple tuple, const Row *row, bool is_given)
{
	bool		isnull = true;
	Datum		value;

	if (row->vector_isnull)
		return tuple;
	if (is_given)
		note_replaced(trigger);
	value = convert(trigger, &trigger->columns.from_vector, (Datum) 0, &isnull);
	return replace_vector(trigger, data, tuple, value, isnull);
}

/* is_given: the statement assigned the row's vector. */
static HeapTuple
set_vector(TriggerSite *trigger, TriggerData *data, HeapTuple tuple, const Row *row, bool is_given)
{
	bool		is_insert = TRIGGER_FIRED_BY_INSERT(data->tg_event);
	Datum		text;
	Row			result = *row;

	if (is_insert && is_given &&
		embed_known_moved(trigger->root, data->tg_trigger, &trigger->columns, row->source, row->vector))
		return tuple;
	/* an alias that has moved raises, before any way to get a vector */
	(void) resolve(trigger, data);
	result.vector_isnull = false;
	text = convert(trigger, &trigger->columns.to_text, row->source, &result.vector_isnull);
	if (is_given && is_proven(trigger, data, text, row->vector))
		return tuple;
	/*
	 * without a model name in the trigger, existing rows may have vectors of
	 * an older default
	 */
	if (!is_insert || !trigger->names_model ||
		!embed_known_twin(&trigger->indexes, trigger->site.cxt, data->tg_relation, tuple,
						  &trigger->columns, row->source, &result.vector))
		result.vector = compute_vector(trigger, data, text, &result.vector_isnull);
	if (is_given && !is_same_vector(trigger, row, &result))
		note_replaced(trigger);
	return replace_vector(trigger, data, tuple, result.vector, result.vector_isnull);
}

static HeapTuple
fire(TriggerSite *trigger, TriggerData *data)
{
	bool		is_update = TRIGGER_FIRED_BY_UPDATE(data->tg_event);
	HeapTuple	tuple = is_update ? data->tg_newtuple : data->tg_trigtuple;
	Row			row = read_row(trigger, data, tuple);
	bool		is_given = !row.vector_isnull;

	if (is_update)
	{
		Row			old = read_row(trigger, data, data->tg_trigtuple);

		if (!row.source_isnull && !row.vector_isnull && !old.vector_isnull && is_same_source(trigger, &old, &row))
			return keep_vector(trigger, data, tuple, &old, &row);
		is_given = is_given && !is_same_vector(trigger, &old, &row);
	}
	if (row.source_isnull)
		return clear_vector(trigger, data, tuple, &row, is_given);
	return set_vector(trigger, data, tuple, &row, is_given);
}

EMBED_CALL(embed_trigger)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	TriggerSite *trigger;
	HeapTuple	result;

	check_call(fcinfo);
	trigger = trigger_site(fcinfo);
	if (!is_current(trigger, data))
		set_up(trigger, data);
	result = fire(trigger, data);
	/* the tuple has copies of the conversions' results */
	ResetExprContext(trigger->econtext);
	PG_RETURN_POINTER(result);
}
