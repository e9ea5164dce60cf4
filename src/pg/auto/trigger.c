/*
 * trigger.c
 *		embed_trigger: keeps a vector column equal to embed(source columns).
 *
 *		CREATE TRIGGER ... BEFORE INSERT OR UPDATE ON docs FOR EACH ROW
 *			EXECUTE FUNCTION embed_trigger('embedding', 'title, body' [, 'model or alias' [, 'later']]);
 *
 * The trigger owns the column. It replaces what a user assigns to the column,
 * with a warning, except in three cases: NULL in an UPDATE requests a new
 * computation, the trigger accepts a vector that this session computed for the
 * same text by the same model (proofs.h, cache.h), and embed.accept_vectors
 * takes the user's word.
 *
 * A vector in the column belongs to the text beside it, or it is NULL. In mode
 * later, and where embed.defer is on, the trigger leaves NULL instead of
 * computing: NULL beside a text is to do, and whoever fills it is right.
 */
#include "pg/glue.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "utils/rel.h"

#include "pg/call/callsite.h"
#include "pg/auto/known.h"
#include "pg/call/handover.h"
#include "pg/call/proofs.h"
#include "pg/auto/trigger.h"
#include "pg/kept/wake.h"
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

	bool		is_later;
	bool		names_model;	/* has a third argument */
	EmbedTriggerModel model;
	bool		is_checked;		/* the model that was checked against the trigger's record: */
	uint8		checked[EMB_HASH_SIZE];

	Oid			root;			/* belongs to a partition */
	EmbedKnownIndexes indexes;
	Replaced	replaced;
} TriggerSite;

/* The columns of one version of a row. */
typedef struct Row
{
	EmbedSources sources;
	Datum		vector;
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

static Datum
convert(TriggerSite *trigger, const EmbedConversion *conversion, Datum value, bool *isnull)
{
	return embed_trigger_convert(conversion, trigger->econtext, value, isnull);
}

static Datum
text_of(TriggerSite *trigger, const Row *row, bool *isnull)
{
	return embed_trigger_text(&trigger->columns, trigger->econtext, &row->sources, isnull);
}

static bool
column_is_current(TupleDesc desc, const EmbedTriggerColumn *column)
{
	Form_pg_attribute att;

	if (column->attnum > desc->natts)
		return false;
	att = TupleDescAttr(desc, column->attnum - 1);
	return !att->attisdropped && att->atttypid == column->type &&
		att->atttypmod == column->typmod && strcmp(NameStr(att->attname), NameStr(column->name)) == 0;
}

static bool
is_current(const TriggerSite *trigger, TriggerData *data)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);

	if (trigger->relid != RelationGetRelid(data->tg_relation) || !column_is_current(desc, &trigger->columns.vector))
		return false;
	for (int i = 0; i < trigger->columns.n_sources; i++)
	{
		if (!column_is_current(desc, &trigger->columns.sources[i]))
			return false;
	}
	return true;
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
	trigger->is_later = embed_trigger_is_later(data->tg_trigger);
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

	row.sources = embed_trigger_sources(&trigger->columns, tuple, desc);
	row.vector = heap_getattr(tuple, trigger->columns.vector.attnum, desc, &row.vector_isnull);
	return row;
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
		embed_trigger_check_model(data->tg_relation, data->tg_trigger, &trigger->model, ref);
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

/*
 * Whether elements are the text's vector: computed in this transaction, or
 * before and still cached, where embed takes it from.
 */
static bool
is_computed(const EmbedModelRef *ref, Datum text, const float *elements)
{
	int32		dim = ref->info->dim;
	float	   *cached;

	if (embed_proofs_any() && embed_proof_holds(ref, text, elements, dim))
		return true;
	cached = palloc(dim * sizeof(float));
	return embed_site_cached(ref, text, cached) && memcmp(cached, elements, dim * sizeof(float)) == 0;
}

/*
 * Whether vector is what the column makes of the vector in the cache: of types
 * that keep fewer bits, such as halfvec, the elements do not come back.
 */
static bool
is_cached(TriggerSite *trigger, TriggerData *data, Datum text, Datum vector)
{
	const EmbedModelRef *ref = resolve(trigger, data);
	bool		isnull = false;
	float	   *elements;
	ArrayType  *cached = embed_vector_new(ref->info->dim, &elements);
	Datum		stored;

	if (!embed_site_cached(ref, text, elements))
		return false;
	stored = convert(trigger, &trigger->columns.from_vector, PointerGetDatum(cached), &isnull);
	return embed_known_is_same(&trigger->columns.vector, vector, false, stored, isnull);
}

/* Whether the elements of vector are those of the computed vector, bit for bit. */
static bool
has_computed_elements(TriggerSite *trigger, TriggerData *data, Datum text, Datum vector)
{
	bool		isnull = false;
	const EmbedModelRef *ref;
	Datum		floats;
	Datum		again;
	const float *elements;
	ArrayType  *array;

	if (!trigger->columns.gives_floats)
		return false;
	floats = convert(trigger, &trigger->columns.to_floats, vector, &isnull);
	if (isnull)
		return false;
	array = DatumGetArrayTypeP(floats);
	ref = resolve(trigger, data);
	elements = plain_elements(array, ref->info->dim);
	if (elements == NULL || !is_computed(ref, text, elements))
		return false;
	/* the column's type may store more than the elements */
	again = convert(trigger, &trigger->columns.from_vector, PointerGetDatum(array), &isnull);
	return embed_known_is_same(&trigger->columns.vector, vector, false, again, isnull);
}

/* Whether vector is the computed vector, without computing it. */
static bool
is_proven(TriggerSite *trigger, TriggerData *data, Datum text, Datum vector)
{
	return has_computed_elements(trigger, data, text, vector) || is_cached(trigger, data, text, vector);
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
	return embed_trigger_convert_vector(&trigger->columns, trigger->econtext, data->tg_relation,
										trigger->names_model ? trigger->model.name : NULL, vector, isnull);
}

static HeapTuple
replace_vector(const TriggerSite *trigger, TriggerData *data, HeapTuple tuple, Datum value, bool isnull)
{
	int			attnum = trigger->columns.vector.attnum;

	return heap_modify_tuple_by_cols(tuple, RelationGetDescr(data->tg_relation), 1,
									 &attnum, &value, &isnull);
}

/*
 * A vector that the user gives, kept on his word (embed.accept_vectors): it has the model's
 * dimensions, and finite numbers.
 */
static void
check_given(TriggerSite *trigger, TriggerData *data, Datum vector)
{
	const EmbedModelRef *ref;
	bool		isnull = false;
	Datum		floats;
	ArrayType  *array;
	const float *elements;
	bool		is_finite = true;

	if (!trigger->columns.gives_floats)
		return;
	floats = convert(trigger, &trigger->columns.to_floats, vector, &isnull);
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("trigger \"%s\": the vector given for column \"%s\" becomes NULL as real[]",
						data->tg_trigger->tgname, data->tg_trigger->tgargs[0]),
				 errhint("Look at the cast of the column's type to real[], or SET embed.accept_vectors = off to have the vector computed.")));
	array = DatumGetArrayTypeP(floats);
	ref = resolve(trigger, data);
	elements = plain_elements(array, ref->info->dim);
	for (int32 i = 0; elements != NULL && i < ref->info->dim; i++)
		is_finite &= isfinite(elements[i]);
	if (elements != NULL && is_finite)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 elements == NULL
			 ? errmsg("trigger \"%s\": the vector given for column \"%s\" has %d elements, and the model's vectors have %d",
					  data->tg_trigger->tgname, data->tg_trigger->tgargs[0],
					  ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)), ref->info->dim)
			 : errmsg("trigger \"%s\": the vector given for column \"%s\" has an element that is no finite number",
					  data->tg_trigger->tgname, data->tg_trigger->tgargs[0]),
			 errhint("Give a vector of the column's model, or SET embed.accept_vectors = off to have it computed.")));
}

/* An UPDATE that changes no source, for a row with a vector. */
static HeapTuple
keep_vector(TriggerSite *trigger, TriggerData *data, HeapTuple tuple, const Row *old, const Row *row)
{
	Datum		text;
	bool		isnull;

	if (is_same_vector(trigger, old, row))
	{
		if (OidIsValid(trigger->root))
			embed_known_passed(trigger->root, data->tg_trigger, &trigger->columns, &row->sources, row->vector);
		return tuple;
	}
	if (embed_guc_accept_vectors)
	{
		check_given(trigger, data, row->vector);
		return tuple;
	}
	text = text_of(trigger, row, &isnull);
	if (!isnull && is_proven(trigger, data, text, row->vector))
		return tuple;
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

/* A partition of the same table had this row. */
static bool
is_moved(const TriggerSite *trigger, TriggerData *data, const Row *row)
{
	return TRIGGER_FIRED_BY_INSERT(data->tg_event) &&
		embed_known_moved(trigger->root, data->tg_trigger, &trigger->columns, &row->sources, row->vector);
}

/* Leaves the row to do, unless this session computed the vector that is given for its text. */
static HeapTuple
defer_vector(TriggerSite *trigger, TriggerData *data, HeapTuple tuple, const Row *row, bool is_given)
{
	if (is_given && is_moved(trigger, data, row))
		return tuple;
	if (is_given)
	{
		bool		isnull;
		Datum		text = text_of(trigger, row, &isnull);

		if (!isnull && is_proven(trigger, data, text, row->vector))
			return tuple;
	}
	embed_filler_want_column(RelationGetRelid(data->tg_relation), trigger->columns.vector.attnum);
	return clear_vector(trigger, data, tuple, row, is_given);
}

/* is_given: the statement assigned the row's vector. */
static HeapTuple
set_vector(TriggerSite *trigger, TriggerData *data, HeapTuple tuple, const Row *row, bool is_given)
{
	bool		is_insert = TRIGGER_FIRED_BY_INSERT(data->tg_event);
	Datum		text;
	Row			result = *row;

	if (is_given && is_moved(trigger, data, row))
		return tuple;
	/* an alias that has moved raises, before any way to get a vector */
	(void) resolve(trigger, data);
	text = text_of(trigger, row, &result.vector_isnull);
	if (result.vector_isnull)
		return clear_vector(trigger, data, tuple, row, is_given);
	if (is_given && is_proven(trigger, data, text, row->vector))
		return tuple;
	/*
	 * without a model name in the trigger, existing rows may have vectors of
	 * an older default
	 */
	if (!is_insert || !trigger->names_model ||
		!embed_known_twin(&trigger->indexes, trigger->site.cxt, data->tg_relation, tuple,
						  &trigger->columns, &row->sources, &result.vector))
		result.vector = compute_vector(trigger, data, text, &result.vector_isnull);
	if (is_given && !is_same_vector(trigger, row, &result))
		note_replaced(trigger);
	return replace_vector(trigger, data, tuple, result.vector, result.vector_isnull);
}

/* The vector that a fill of this session has computed for this text. */
static bool
take_handed(TriggerSite *trigger, TriggerData *data, const Row *row, HeapTuple *tuple)
{
	bool		isnull;
	Datum		text = text_of(trigger, row, &isnull);
	const float *vector;
	int32		dim;
	Datum		value;

	if (isnull)
		return false;
	vector = embed_handed_over(RelationGetRelid(data->tg_relation), data->tg_trigger->tgoid, text, &dim);
	if (vector == NULL)
		return false;
	value = convert(trigger, &trigger->columns.from_vector, PointerGetDatum(embed_vector_copy(vector, dim)), &isnull);
	*tuple = replace_vector(trigger, data, *tuple, value, isnull);
	return true;
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

		if (!row.sources.all_null && !row.vector_isnull && !old.vector_isnull &&
			embed_known_is_same_text(&trigger->columns, &old.sources, &row.sources))
			return keep_vector(trigger, data, tuple, &old, &row);
		is_given = is_given && !is_same_vector(trigger, &old, &row);
	}
	if (row.sources.all_null)
		return clear_vector(trigger, data, tuple, &row, is_given);
	if (is_update && embed_is_handing_over() && take_handed(trigger, data, &row, &tuple))
		return tuple;
	if (is_given && embed_guc_accept_vectors)
	{
		check_given(trigger, data, row.vector);
		return tuple;
	}
	if (trigger->is_later || embed_guc_defer)
		return defer_vector(trigger, data, tuple, &row, is_given);
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
