/*
 * trigger.c
 *		embed_trigger: keeps a vector column equal to embed(source column).
 *
 *		CREATE TRIGGER ... BEFORE INSERT OR UPDATE ON docs FOR EACH ROW
 *			EXECUTE FUNCTION embed_trigger('embedding', 'body' [, 'model or alias']);
 *
 * The trigger owns the column: what a user assigns to it is overwritten, but
 * for NULL in an UPDATE, which asks for a new computation.
 */
#include "pg/glue.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "nodes/primnodes.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "pg/callsite.h"
#include "pg/vector.h"

/* A conversion as an assignment would do it; state NULL: none is needed. */
typedef struct Conversion
{
	ExprState  *state;
} Conversion;

typedef struct TriggerColumn
{
	AttrNumber	attnum;
	Oid			type;
	int32		typmod;
	int16		typlen;
	bool		typbyval;
} TriggerColumn;

/*
 * What a trigger found out at its first row. flinfo belongs to one trigger of
 * one table, and the table is locked while it lives, so this cannot grow
 * stale within a statement; is_current makes sure of it all the same.
 */
typedef struct TriggerSite
{
	EmbedSite	site;			/* first: what embed_site would give */
	Oid			relid;			/* InvalidOid: not set up */
	TriggerColumn vector;
	TriggerColumn source;
	ExprContext *econtext;
	Conversion	to_text;
	Conversion	from_vector;
} TriggerSite;

static void
check_call(FunctionCallInfo fcinfo)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("embed_trigger: must be called as a trigger")));
	if (!TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		!TRIGGER_FIRED_BEFORE(data->tg_event) ||
		!(TRIGGER_FIRED_BY_INSERT(data->tg_event) || TRIGGER_FIRED_BY_UPDATE(data->tg_event)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\": embed_trigger must be fired BEFORE INSERT OR UPDATE, FOR EACH ROW",
						data->tg_trigger->tgname)));
	if (data->tg_trigger->tgnargs != 2 && data->tg_trigger->tgnargs != 3)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\": embed_trigger takes two or three arguments, not %d",
						data->tg_trigger->tgname, data->tg_trigger->tgnargs),
				 errhint("EXECUTE FUNCTION embed_trigger('vector column', 'source column' [, 'model or alias'])")));
}

/* flinfo's site, one for this call where there is no flinfo. */
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

static void
find_column(TriggerData *data, const char *name, TriggerColumn *column)
{
	int			attnum = SPI_fnumber(RelationGetDescr(data->tg_relation), name);
	Form_pg_attribute att;

	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("trigger \"%s\": table \"%s\" has no column \"%s\"", data->tg_trigger->tgname,
						RelationGetRelationName(data->tg_relation), name)));
	att = TupleDescAttr(RelationGetDescr(data->tg_relation), attnum - 1);
	if (att->attgenerated != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_GENERATED_ALWAYS),
				 errmsg("trigger \"%s\": column \"%s\" is a generated column",
						data->tg_trigger->tgname, name),
				 errdetail("Generated columns are computed after BEFORE triggers.")));
	column->attnum = att->attnum;
	column->type = att->atttypid;
	column->typmod = att->atttypmod;
	column->typlen = att->attlen;
	column->typbyval = att->attbyval;
}

/*
 * Sets up the conversion from one type to another; false if there is none in
 * this context. Domains, length coercions and arrays are the parser's matter.
 */
static bool
prepare_conversion(MemoryContext cxt, Oid from, int32 from_typmod, Oid to, int32 to_typmod,
				   CoercionContext coercion, Conversion *conversion)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	CaseTestExpr *input = makeNode(CaseTestExpr);
	Node	   *expr;

	input->typeId = from;
	input->typeMod = from_typmod;
	input->collation = get_typcollation(from);
	expr = coerce_to_target_type(NULL, (Node *) input, from, to, to_typmod,
								 coercion, COERCE_IMPLICIT_CAST, -1);
	conversion->state = NULL;
	if (expr != NULL && IsA(expr, RelabelType) && (Node *) ((RelabelType *) expr)->arg == (Node *) input)
		expr = (Node *) input;
	if (expr != NULL && expr != (Node *) input)
		conversion->state = ExecInitExpr(expression_planner((Expr *) expr), NULL);
	MemoryContextSwitchTo(old);
	return expr != NULL;
}

/* The result lies in econtext's per-tuple memory, or is value itself. */
static Datum
convert(TriggerSite *trigger, const Conversion *conversion, Datum value, bool *isnull)
{
	if (conversion->state == NULL)
		return value;
	trigger->econtext->caseValue_datum = value;
	trigger->econtext->caseValue_isNull = *isnull;
	return ExecEvalExprSwitchContext(conversion->state, trigger->econtext, isnull);
}

static void
type_error(TriggerData *data, const char *column, Oid type, const char *needed)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("trigger \"%s\": column \"%s\" is of type %s, %s", data->tg_trigger->tgname,
					column, format_type_be(type), needed)));
}

static bool
column_is_current(TupleDesc desc, const char *name, const TriggerColumn *column)
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
		column_is_current(desc, data->tg_trigger->tgargs[0], &trigger->vector) &&
		column_is_current(desc, data->tg_trigger->tgargs[1], &trigger->source);
}

static void
set_up(TriggerSite *trigger, TriggerData *data)
{
	MemoryContext cxt = trigger->site.cxt;
	const char *vector_name = data->tg_trigger->tgargs[0];
	const char *source_name = data->tg_trigger->tgargs[1];

	trigger->relid = InvalidOid;
	find_column(data, vector_name, &trigger->vector);
	find_column(data, source_name, &trigger->source);
	if (trigger->vector.attnum == trigger->source.attnum)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("trigger \"%s\": vector column and source column are the same, \"%s\"",
						data->tg_trigger->tgname, vector_name)));
	if (trigger->econtext == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(cxt);

		trigger->econtext = CreateStandaloneExprContext();
		MemoryContextSwitchTo(old);
	}
	if (!prepare_conversion(cxt, trigger->source.type, trigger->source.typmod, TEXTOID, -1,
							COERCION_IMPLICIT, &trigger->to_text))
		type_error(data, source_name, trigger->source.type, "not a text type");
	if (!prepare_conversion(cxt, FLOAT4ARRAYOID, -1, trigger->vector.type, trigger->vector.typmod,
							COERCION_ASSIGNMENT, &trigger->from_vector))
		type_error(data, vector_name, trigger->vector.type, "which real[] cannot be assigned to");
	trigger->relid = RelationGetRelid(data->tg_relation);
}

/* Same bits as stored or, where that does not show it, the same value. */
static bool
is_unchanged(const TriggerColumn *column, Datum old, bool old_isnull, Datum new, bool new_isnull)
{
	if (old_isnull || new_isnull)
		return old_isnull && new_isnull;
	/* an untouched column is a copy of the old one: no need to detoast both */
	if (column->typlen == -1 &&
		VARSIZE_ANY(DatumGetPointer(old)) == VARSIZE_ANY(DatumGetPointer(new)) &&
		memcmp(DatumGetPointer(old), DatumGetPointer(new), VARSIZE_ANY(DatumGetPointer(old))) == 0)
		return true;
	return datum_image_eq(old, new, column->typbyval, column->typlen);
}

/* The vector of a source value that is not NULL, as the column's type. */
static Datum
compute_vector(TriggerSite *trigger, TriggerData *data, Datum source, bool *isnull)
{
	Trigger    *definition = data->tg_trigger;
	const char *name = definition->tgnargs > 2 ? definition->tgargs[2] : NULL;
	const EmbedModelRef *ref;
	ArrayType  *vector;
	float	   *elements;
	Datum		value;

	*isnull = false;
	value = convert(trigger, &trigger->to_text, source, isnull);
	/* not before: a conversion may run SQL, and a ref is good until then only */
	ref = embed_site_resolve_name(&trigger->site, name, EMBED_NAME_ALIAS_TOO);
	vector = embed_vector_new(ref->info->dim, &elements);
	embed_site_embed(&trigger->site, ref, EMB_PROMPT_DOCUMENT, value, elements);
	return convert(trigger, &trigger->from_vector, PointerGetDatum(vector), isnull);
}

static HeapTuple
replace_vector(const TriggerSite *trigger, TriggerData *data, HeapTuple tuple, Datum value, bool isnull)
{
	int			attnum = trigger->vector.attnum;

	return heap_modify_tuple_by_cols(tuple, RelationGetDescr(data->tg_relation), 1,
									 &attnum, &value, &isnull);
}

static HeapTuple
fire(TriggerSite *trigger, TriggerData *data)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	bool		is_update = TRIGGER_FIRED_BY_UPDATE(data->tg_event);
	HeapTuple	tuple = is_update ? data->tg_newtuple : data->tg_trigtuple;
	AttrNumber	vector_no = trigger->vector.attnum;
	AttrNumber	source_no = trigger->source.attnum;
	bool		source_isnull;
	bool		vector_isnull;
	Datum		source = heap_getattr(tuple, source_no, desc, &source_isnull);
	Datum		vector = heap_getattr(tuple, vector_no, desc, &vector_isnull);

	if (is_update && !source_isnull && !vector_isnull)
	{
		bool		old_source_isnull;
		bool		old_isnull;
		Datum		old_source = heap_getattr(data->tg_trigtuple, source_no, desc, &old_source_isnull);
		Datum		old = heap_getattr(data->tg_trigtuple, vector_no, desc, &old_isnull);

		if (!old_isnull && is_unchanged(&trigger->source, old_source, old_source_isnull, source, false))
		{
			if (is_unchanged(&trigger->vector, old, false, vector, false))
				return tuple;
			return replace_vector(trigger, data, tuple, old, false);
		}
	}
	if (source_isnull)
	{
		if (vector_isnull)
			return tuple;
		vector = convert(trigger, &trigger->from_vector, (Datum) 0, &source_isnull);
		return replace_vector(trigger, data, tuple, vector, source_isnull);
	}
	vector = compute_vector(trigger, data, source, &vector_isnull);
	return replace_vector(trigger, data, tuple, vector, vector_isnull);
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
	/* the tuple holds copies of what the conversions made */
	ResetExprContext(trigger->econtext);
	PG_RETURN_POINTER(result);
}
