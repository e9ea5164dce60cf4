/*
 * ahead_calls.c
 *		The calls in an expression whose texts can be embedded ahead.
 */
#include "pg/ahead/ahead_calls.h"

#include "access/htup_details.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "pg/ahead/ahead_known.h"

/* ------------------------------------------------------------- functions */

static void watch_functions(void);

static EmbedAheadKnown known = {.name = "embed functions", .watch = watch_functions};

/* The callback gets a hash of the OID. */
static void
functions_change(pg_attribute_unused() Datum arg, pg_attribute_unused() int cache, pg_attribute_unused() uint32 hash)
{
	embed_ahead_known_forget(&known, InvalidOid);
}

static void
watch_functions(void)
{
	CacheRegisterSyscacheCallback(PROCOID, functions_change, (Datum) 0);
}

static EmbedAheadFunction
look_up(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	EmbedAheadFunction kind = EMBED_AHEAD_OTHER;
	Form_pg_proc form;

	if (!HeapTupleIsValid(tuple))
		return kind;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->prolang == ClanguageId)
	{
		bool		isnull;
		Datum		source = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
		char	   *symbol = isnull ? "" : TextDatumGetCString(source);

		if (strcmp(symbol, "embed_text") == 0 && form->pronargs >= 1 && form->proargtypes.values[0] == TEXTOID)
			kind = EMBED_AHEAD_EMBED;
		else if (strcmp(symbol, "embed_trigger") == 0)
			kind = EMBED_AHEAD_TRIGGER;
	}
	ReleaseSysCache(tuple);
	return kind;
}

EmbedAheadFunction
embed_ahead_function(Oid function)
{
	int			kind;
	uint64		seen;

	/* no extension's function */
	if (function < FirstNormalObjectId)
		return EMBED_AHEAD_OTHER;
	if (embed_ahead_known_find(&known, function, &kind))
		return kind;
	seen = known.n_changes;
	kind = look_up(function);
	embed_ahead_known_add(&known, function, kind, seen);
	return kind;
}

/* ------------------------------------------------------------------ texts */

/*
 * Functions that texts are put together with. They read nothing, and raise
 * only where memory ends, or where each row would raise.
 */
static bool
is_harmless(Oid function)
{
	static const char *const names[] = {"textcat", "lower", "upper", "btrim", "ltrim", "rtrim", "left", "right", "text",
	"json_object_field_text", "jsonb_object_field_text"};
	char	   *name;

	if (function >= FirstNormalObjectId || get_func_namespace(function) != PG_CATALOG_NAMESPACE)
		return false;
	name = get_func_name(function);
	for (int i = 0; name != NULL && i < (int) lengthof(names); i++)
	{
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

static bool
all_early(List *args, bool *has_column);

/* Whether a text can be found out early; *has_column: it comes from a row. */
static bool
is_early(Node *node, bool *has_column)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
			*has_column = true;
			return true;
		case T_Const:
			return true;
		case T_Param:
			return ((Param *) node)->paramkind == PARAM_EXTERN;
		case T_RelabelType:
			return is_early((Node *) ((RelabelType *) node)->arg, has_column);
		case T_CoalesceExpr:
			return all_early(((CoalesceExpr *) node)->args, has_column);
		case T_FuncExpr:
			return is_harmless(((FuncExpr *) node)->funcid) && all_early(((FuncExpr *) node)->args, has_column);
		case T_OpExpr:
			return is_harmless(get_opcode(((OpExpr *) node)->opno)) && all_early(((OpExpr *) node)->args, has_column);
		default:
			return false;
	}
}

static bool
all_early(List *args, bool *has_column)
{
	ListCell   *cell;

	foreach(cell, args)
	{
		if (!is_early(lfirst(cell), has_column))
			return false;
	}
	return true;
}

bool
embed_ahead_is_early(Node *expr)
{
	bool		has_column = false;

	return is_early(expr, &has_column);
}

static bool
is_fixed(Node *node)
{
	if (IsA(node, Const))
		return !((Const *) node)->constisnull;
	return IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN;
}

/* Adds a call whose text can be found out early. */
static void
add_call(FuncExpr *function, List **calls)
{
	bool		has_column = false;
	EmbedAheadCall *call;

	if (!is_early(linitial(function->args), &has_column) || !has_column ||
		(list_length(function->args) > 1 && !is_fixed(lsecond(function->args))))
		return;
	call = palloc(sizeof(EmbedAheadCall));
	call->text = linitial(function->args);
	call->model = list_length(function->args) > 1 ? lsecond(function->args) : NULL;
	*calls = lappend(*calls, call);
}

/* Does not go where a row may not come: into the branches of CASE, AND, OR. */
static bool
walk_calls(Node *node, void *context)
{
	if (node == NULL || IsA(node, CaseExpr) || IsA(node, BoolExpr) || IsA(node, SubPlan) || IsA(node, AlternativeSubPlan) ||
		IsA(node, Aggref) || IsA(node, WindowFunc))
		return false;
	if (IsA(node, CoalesceExpr))
		return walk_calls(linitial(((CoalesceExpr *) node)->args), context);
	if (IsA(node, FuncExpr) && embed_ahead_function(((FuncExpr *) node)->funcid) == EMBED_AHEAD_EMBED)
	{
		add_call((FuncExpr *) node, context);
		return false;
	}
	return expression_tree_walker(node, walk_calls, context);
}

List *
embed_ahead_calls(Node *expr)
{
	List	   *calls = NIL;

	(void) walk_calls(expr, &calls);
	return calls;
}

/* --------------------------------------------------------------- volatile */

/* Volatile, and to be seen if it is called early. */
static bool
is_telling(Oid function, pg_attribute_unused() void *context)
{
	static const char *const silent[] = {"nextval", "random", "gen_random_uuid", "uuidv4", "uuidv7", "clock_timestamp"};
	char	   *name;

	if (func_volatile(function) != PROVOLATILE_VOLATILE)
		return false;
	if (function >= FirstNormalObjectId)
		return true;
	name = get_func_name(function);
	for (int i = 0; name != NULL && i < (int) lengthof(silent); i++)
	{
		if (strcmp(name, silent[i]) == 0)
			return false;
	}
	return true;
}

static bool
walk_volatile(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_telling, context))
		return true;
	return expression_tree_walker(node, walk_volatile, context);
}

bool
embed_ahead_is_volatile(Node *expr)
{
	return walk_volatile(expr, NULL);
}
