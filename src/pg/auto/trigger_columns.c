/*
 * trigger_columns.c
 *		The definition of an embed_trigger: its columns, conversions and
 *		model.
 */
#include "pg/auto/trigger.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "nodes/primnodes.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "pg/auto/known.h"
#include "pg/store/storage.h"

bool
embed_trigger_check_arguments(const Trigger *trigger, int elevel)
{
	if (trigger->tgnargs < 2 || trigger->tgnargs > 4)
	{
		ereport(elevel,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\": embed_trigger takes two to four arguments, not %d",
						trigger->tgname, trigger->tgnargs),
				 errhint("EXECUTE FUNCTION embed_trigger('vector column', 'source columns' [, 'model or alias' [, 'now' or 'later']])")));
		return false;
	}
	if (trigger->tgnargs == 4 && strcmp(trigger->tgargs[3], "now") != 0 && strcmp(trigger->tgargs[3], "later") != 0)
	{
		ereport(elevel,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("trigger \"%s\": mode \"%s\" is neither now nor later", trigger->tgname,
						embed_shown(trigger->tgargs[3])),
				 errhint("EXECUTE FUNCTION embed_trigger('vector column', 'source columns', 'model', 'later')")));
		return false;
	}
	return true;
}

bool
embed_trigger_is_later(const Trigger *trigger)
{
	return trigger->tgnargs > 3 && strcmp(trigger->tgargs[3], "later") == 0;
}

bool
embed_trigger_check_events(const Trigger *trigger, int elevel)
{
	int16		type = trigger->tgtype;

	if (TRIGGER_FOR_ROW(type) && TRIGGER_FOR_BEFORE(type) &&
		(TRIGGER_FOR_INSERT(type) || TRIGGER_FOR_UPDATE(type)) && !TRIGGER_FOR_DELETE(type))
		return true;
	ereport(elevel,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("trigger \"%s\": embed_trigger must be fired BEFORE INSERT OR UPDATE, FOR EACH ROW",
					trigger->tgname)));
	return false;
}

static bool
find_column(Relation rel, const Trigger *trigger, const char *name, int elevel, EmbedTriggerColumn *column)
{
	int			attnum = SPI_fnumber(RelationGetDescr(rel), name);
	Form_pg_attribute att;

	if (attnum <= 0)
	{
		ereport(elevel,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("trigger \"%s\": table \"%s\" has no column \"%s\"", trigger->tgname,
						RelationGetRelationName(rel), name),
				 errhint("If the column was renamed, DROP TRIGGER and CREATE TRIGGER with its new name.")));
		return false;
	}
	att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	if (att->attgenerated != '\0')
	{
		ereport(elevel,
				(errcode(ERRCODE_GENERATED_ALWAYS),
				 errmsg("trigger \"%s\": column \"%s\" is a generated column", trigger->tgname, name),
				 errdetail("Generated columns are computed after BEFORE triggers.")));
		return false;
	}
	column->name = att->attname;
	column->attnum = att->attnum;
	column->type = att->atttypid;
	column->typmod = att->atttypmod;
	column->typlen = att->attlen;
	column->typbyval = att->attbyval;
	return true;
}

typedef struct EmbedConverter
{
	Expr	   *expr;			/* as the parser made it */
	ExprState  *state;			/* NULL: no value was converted yet */
	MemoryContext cxt;			/* of both */
} EmbedConverter;

/*
 * Sets up the conversion from one type to another; false if this context has
 * none. The parser handles domains, length coercions and arrays.
 */
static bool
prepare_conversion(MemoryContext cxt, Oid from, int32 from_typmod, Oid to, int32 to_typmod,
				   CoercionContext coercion, EmbedConversion *conversion)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	CaseTestExpr *input = makeNode(CaseTestExpr);
	Node	   *expr;

	input->typeId = from;
	input->typeMod = from_typmod;
	input->collation = get_typcollation(from);
	expr = coerce_to_target_type(NULL, (Node *) input, from, to, to_typmod,
								 coercion, COERCE_IMPLICIT_CAST, -1);
	conversion->converter = NULL;
	if (expr != NULL && IsA(expr, RelabelType) && (Node *) ((RelabelType *) expr)->arg == (Node *) input)
		expr = (Node *) input;
	if (expr != NULL && expr != (Node *) input)
	{
		conversion->converter = palloc(sizeof(EmbedConverter));
		*conversion->converter = (EmbedConverter) {(Expr *) expr, NULL, cxt};
	}
	MemoryContextSwitchTo(old);
	return expr != NULL;
}

/*
 * The conversion back from the vector column: for float4[], and for types
 * whose cast is a function, for example pgvector's. A cast of elements or
 * through text may raise.
 */
static void
prepare_floats(MemoryContext cxt, EmbedTriggerColumns *columns)
{
	Oid			base = getBaseType(columns->vector.type);
	Oid			function;

	columns->gives_floats = false;
	columns->to_floats.converter = NULL;
	if (base != FLOAT4ARRAYOID &&
		find_coercion_pathway(FLOAT4ARRAYOID, base, COERCION_EXPLICIT, &function) != COERCION_PATH_FUNC)
		return;
	columns->gives_floats = prepare_conversion(cxt, columns->vector.type, columns->vector.typmod, FLOAT4ARRAYOID, -1,
											   COERCION_EXPLICIT, &columns->to_floats);
}

static void
type_error(const Trigger *trigger, const char *column, Oid type, const char *needed, int elevel)
{
	ereport(elevel,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("trigger \"%s\": column \"%s\" is of type %s, %s", trigger->tgname,
					column, format_type_be(type), needed)));
}

static bool
is_named_twice(const List *names, const char **name)
{
	for (int i = 0; i < list_length(names); i++)
	{
		*name = list_nth(names, i);
		for (int j = 0; j < i; j++)
		{
			if (strcmp(*name, list_nth(names, j)) == 0)
				return true;
		}
	}
	return false;
}

List *
embed_source_names(Relation rel, const char *argument, const char *who, int elevel)
{
	List	   *names = NIL;
	const char *name;

	if (SPI_fnumber(RelationGetDescr(rel), argument) > 0 || strpbrk(argument, ",\"") == NULL)
		return list_make1(pstrdup(argument));
	if (!SplitIdentifierString(pstrdup(argument), ',', &names) || names == NIL)
	{
		ereport(elevel,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s: \"%s\" is no list of columns", who, embed_shown(argument)),
				 errhint("Separate names by commas, as in 'title, body'; put names with capitals or blanks in double quotes.")));
		return NIL;
	}
	if (list_length(names) > EMBED_SOURCES_MAX)
	{
		ereport(elevel,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("%s: a text of %d columns", who, list_length(names)),
				 errhint("At most %d columns make a text.", EMBED_SOURCES_MAX)));
		return NIL;
	}
	if (is_named_twice(names, &name))
	{
		ereport(elevel,
				(errcode(ERRCODE_DUPLICATE_COLUMN),
				 errmsg("%s: source column \"%s\" is named twice", who, embed_shown(name))));
		return NIL;
	}
	return names;
}

/* Adds a source column; false: reported. */
static bool
add_source(Relation rel, const Trigger *trigger, const char *name, MemoryContext cxt, int elevel, EmbedTriggerColumns *columns)
{
	EmbedTriggerColumn *source = &columns->sources[columns->n_sources];

	if (!find_column(rel, trigger, name, elevel, source))
		return false;
	if (columns->vector.attnum == source->attnum)
	{
		ereport(elevel,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("trigger \"%s\": vector column and source column are the same, \"%s\"",
						trigger->tgname, name)));
		return false;
	}
	if (!prepare_conversion(cxt, source->type, source->typmod, TEXTOID, -1,
							COERCION_IMPLICIT, &columns->to_text[columns->n_sources]))
	{
		type_error(trigger, name, source->type, "not a text type", elevel);
		return false;
	}
	columns->n_sources++;
	return true;
}

bool
embed_trigger_find_columns(Relation rel, const Trigger *trigger, MemoryContext cxt,
						   int elevel, EmbedTriggerColumns *columns)
{
	const char *vector_name = trigger->tgargs[0];
	List	   *names;
	ListCell   *cell;

	columns->n_sources = 0;
	if (!find_column(rel, trigger, vector_name, elevel, &columns->vector))
		return false;
	names = embed_source_names(rel, trigger->tgargs[1], psprintf("trigger \"%s\"", trigger->tgname), elevel);
	if (names == NIL)
		return false;
	foreach(cell, names)
	{
		if (!add_source(rel, trigger, lfirst(cell), cxt, elevel, columns))
			return false;
	}
	if (!prepare_conversion(cxt, FLOAT4ARRAYOID, -1, columns->vector.type, columns->vector.typmod,
							COERCION_ASSIGNMENT, &columns->from_vector))
	{
		type_error(trigger, vector_name, columns->vector.type, "which real[] cannot be assigned to", elevel);
		return false;
	}
	prepare_floats(cxt, columns);
	return true;
}

/* ------------------------------------------------------------------ text */

EmbedSources
embed_trigger_sources(const EmbedTriggerColumns *columns, HeapTuple tuple, TupleDesc desc)
{
	EmbedSources sources = {.all_null = true};

	for (int i = 0; i < columns->n_sources; i++)
	{
		sources.values[i] = heap_getattr(tuple, columns->sources[i].attnum, desc, &sources.isnull[i]);
		sources.all_null &= sources.isnull[i];
	}
	return sources;
}

static void
init_converter(EmbedConverter *converter)
{
	MemoryContext old = MemoryContextSwitchTo(converter->cxt);

	converter->state = ExecInitExpr(expression_planner(converter->expr), NULL);
	MemoryContextSwitchTo(old);
}

Datum
embed_trigger_convert(const EmbedConversion *conversion, ExprContext *econtext, Datum value, bool *isnull)
{
	if (conversion->converter == NULL)
		return value;
	if (conversion->converter->state == NULL)
		init_converter(conversion->converter);
	econtext->caseValue_datum = value;
	econtext->caseValue_isNull = *isnull;
	return ExecEvalExprSwitchContext(conversion->converter->state, econtext, isnull);
}

typedef struct VectorContext
{
	const EmbedTriggerColumns *columns;
	Relation	rel;
	const char *model;
	int			n_elements;
} VectorContext;

static void
add_vector_context(void *arg)
{
	const VectorContext *of = arg;
	const char *column = NameStr(of->columns->vector.name);
	const char *table = RelationGetRelationName(of->rel);

	if (of->model != NULL)
		errcontext("storing a vector of %d elements, of model \"%s\", in column \"%s\" of table \"%s\"", of->n_elements, of->model, column, table);
	else
		errcontext("storing a vector of %d elements, of the session's model, in column \"%s\" of table \"%s\"", of->n_elements, column, table);
}

Datum
embed_trigger_convert_vector(const EmbedTriggerColumns *columns, ExprContext *econtext, Relation rel, const char *model, ArrayType *vector,
							 bool *isnull)
{
	VectorContext of = {columns, rel, model, ArrayGetNItems(ARR_NDIM(vector), ARR_DIMS(vector))};
	ErrorContextCallback callback = {error_context_stack, add_vector_context, &of};
	Datum		value;

	error_context_stack = &callback;
	value = embed_trigger_convert(&columns->from_vector, econtext, PointerGetDatum(vector), isnull);
	error_context_stack = callback.previous;
	return value;
}

/* The texts of several columns, joined by a blank line. */
static Datum
join_texts(const EmbedTriggerColumns *columns, ExprContext *econtext, const EmbedSources *sources, bool *isnull)
{
	MemoryContext old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	StringInfoData joined;

	*isnull = true;
	initStringInfo(&joined);
	for (int i = 0; i < columns->n_sources; i++)
	{
		bool		part_isnull = sources->isnull[i];
		Datum		part;
		text	   *plain;

		if (part_isnull)
			continue;
		part = embed_trigger_convert(&columns->to_text[i], econtext, sources->values[i], &part_isnull);
		if (part_isnull)
			continue;
		plain = DatumGetTextPP(part);
		if (!*isnull)
			appendBinaryStringInfo(&joined, "\n\n", 2);
		appendBinaryStringInfo(&joined, VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain));
		*isnull = false;
	}
	MemoryContextSwitchTo(old);
	if (*isnull)
		return (Datum) 0;
	return PointerGetDatum(cstring_to_text_with_len(joined.data, joined.len));
}

Datum
embed_trigger_text(const EmbedTriggerColumns *columns, ExprContext *econtext, const EmbedSources *sources, bool *isnull)
{
	*isnull = sources->all_null;
	if (*isnull)
		return (Datum) 0;
	if (columns->n_sources > 1)
		return join_texts(columns, econtext, sources, isnull);
	return embed_trigger_convert(&columns->to_text[0], econtext, sources->values[0], isnull);
}

/* ------------------------------------------------------------------ model */

EmbedTriggerModel
embed_trigger_model(const Trigger *trigger)
{
	const char *name = trigger->tgargs[2];
	EmbedTriggerModel model;

	/* a string longer than a name, or with other characters, finds no model */
	if (!embed_pinned_parse(name, &model))
		strlcpy(model.name, strlen(name) > EMB_NAME_MAX ? "@" : name, sizeof(model.name));
	return model;
}

void
embed_trigger_digits(const uint8 *fingerprint, int n_digits, char *digits)
{
	hex_encode((const char *) fingerprint, n_digits / 2, digits);
	digits[n_digits] = '\0';
}

/* For messages: the model's name, or what is known of the model. name: the one that it has, if it has several. */
static const char *
describe_model(const char *digits, const char *name)
{
	if (name == NULL)
		name = embed_storage_name_of(digits);
	return name != NULL ? psprintf("\"%s\"", name) : psprintf("of fingerprint %s", digits);
}

/* Whether name stands for the trigger's model, as a snapshot taken now sees it. */
static bool
is_model_now(const EmbedTriggerModel *model)
{
	const char *name = model->name;
	EmbedModelRow row;

	if (!embed_storage_find_model(name, NULL, &row) &&
		((name = embed_storage_find_alias(name, NULL)) == NULL || !embed_storage_find_model(name, NULL, &row)))
		return false;
	return embed_digits_match(model->digits, row.fingerprint);
}

/* Name and trigger were switched together after this transaction's snapshot was taken: it has the new trigger, and the old meaning. */
pg_noreturn static void
snapshot_error(const Trigger *trigger, const EmbedTriggerModel *model)
{
	EmbedModelRow row;

	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 embed_storage_find_model(model->name, NULL, &row)
			 ? errmsg("could not serialize access due to a change of model name \"%s\"", model->name)
			 : errmsg("could not serialize access due to a change of alias \"%s\"", model->name),
			 errdetail("Trigger \"%s\" was made for another model after the snapshot of this transaction was taken.", trigger->tgname),
			 errhint("The transaction might succeed if retried.")));
}

char *
embed_trigger_other_model(const EmbedTriggerModel *model, const uint8 *fingerprint)
{
	char		digits[2 * EMB_HASH_SIZE + 1];
	char	   *target = embed_storage_find_alias(model->name, NULL);

	embed_trigger_digits(fingerprint, 2 * EMB_HASH_SIZE, digits);
	digits[strlen(model->digits)] = '\0';
	/* a model's own name says nothing here: it has two meanings */
	return psprintf("\"%s\" stood for model %s when the trigger was created, and stands for model %s now", model->name,
					describe_model(model->digits, NULL),
					target != NULL ? describe_model(digits, target) : psprintf("of fingerprint %s", digits));
}

/* The table that embed_column takes: a partition's trigger is that of its partitioned table. */
static char *
table_in_sql(Relation rel)
{
	Oid			relid = OidIsValid(embed_known_root(rel)) ? embed_known_root(rel) : RelationGetRelid(rel);

	return quote_literal_cstr(quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid)));
}

/* The name that the trigger's model has here, or NULL. */
static char *
installed_name(const EmbedTriggerModel *model)
{
	char	   *name = embed_storage_name_of(model->digits);
	EmbedModelRow row;

	return name != NULL && embed_storage_find_model(name, NULL, &row) && !row.dropped ? name : NULL;
}

/* What to do. An alias can move back; a name that was freed stands for its new content for ever. */
static char *
ways_out(Relation rel, const Trigger *trigger, const EmbedTriggerModel *model)
{
	char	   *former = installed_name(model);
	char	   *arguments;

	if (embed_storage_find_alias(model->name, NULL) != NULL)
		return psprintf("Let \"%s\" stand for model %s again, or fill another column by another trigger, or in one transaction "
						"drop and create the trigger and embed all rows anew with UPDATE ... SET %s = NULL.",
						model->name, describe_model(model->digits, NULL), quote_identifier(trigger->tgargs[0]));
	arguments = psprintf("%s, %s, %s", table_in_sql(rel), quote_literal_cstr(trigger->tgargs[1]), quote_literal_cstr(trigger->tgargs[0]));
	if (former != NULL)
		return psprintf("SELECT embed_column(%s, %s) keeps the vectors and goes on with their model. With %s, or after "
						"CALL embed_refill and embed_switch, the column has those of the model of today.",
						arguments, quote_literal_cstr(former), quote_literal_cstr(model->name));
	return psprintf("SELECT embed_column(%s, %s) sets the vectors to NULL and fills the column by the model of today; "
					"CALL embed_refill keeps them until another column is filled. "
					"Or import the former model under another name, and give this name to embed_column: the vectors stay.",
					arguments, quote_literal_cstr(model->name));
}

pg_noreturn static void
moved_error(Relation rel, const Trigger *trigger, const EmbedTriggerModel *model, const uint8 *fingerprint)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("trigger \"%s\": %s", trigger->tgname, embed_trigger_other_model(model, fingerprint)),
			 errdetail("Column \"%s\" would hold vectors of two models.", trigger->tgargs[0]),
			 errhint("%s", ways_out(rel, trigger, model))));
}

void
embed_trigger_check_model(Relation rel, const Trigger *trigger, const EmbedTriggerModel *model, const EmbedModelRef *ref)
{
	EmbedModelRow row;

	if (!embed_digits_match(model->digits, ref->fingerprint))
	{
		if (IsolationUsesXactSnapshot() && is_model_now(model))
			snapshot_error(trigger, model);
		moved_error(rel, trigger, model, ref->fingerprint);
	}
	if (model->digits[0] == '\0' && !embed_storage_find_model(model->name, NULL, &row))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("trigger \"%s\": no record tells which model the alias \"%s\" stood for when the trigger was created",
						trigger->tgname, model->name),
				 errdetail("CREATE TRIGGER records that, but where event triggers do not fire, or where the alias is not there."),
				 errhint("DROP TRIGGER and CREATE TRIGGER again, or name a model instead of the alias.")));
}
