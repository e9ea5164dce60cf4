/*
 * dependent_calls.c
 *		Whether an expression, a stored node tree, calls for the model.
 *
 * No user code runs here: the caller may be a superuser, and anybody may have
 * written the expressions. A constant model argument is folded only if all its
 * functions are built-in and immutable; an error in folding is caught.
 */
#include "pg/sql/dependent_search.h"

#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"

/* The result for one expression; the strongest cause counts. */
typedef struct Finding
{
	const EmbedSearch *search;
	EmbedDependentCause cause;
	const EmbedModelFunction *function;
	const char *name;			/* the model's or an alias, as in EmbedSearch */
} Finding;

/* A search for the name in one argument. */
typedef struct NameSearch
{
	const EmbedSearch *search;
	bool		takes_alias;
	const char *found;			/* as in Finding */
} NameSearch;

/* The string of a constant, or NULL. */
static const char *
constant_string(Node *node)
{
	const Const *constant = (Const *) node;

	if (!IsA(node, Const) || constant->constisnull)
		return NULL;
	switch (constant->consttype)
	{
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return TextDatumGetCString(constant->constvalue);
		case NAMEOID:
			return NameStr(*DatumGetName(constant->constvalue));
		case UNKNOWNOID:
			return DatumGetCString(constant->constvalue);
		default:
			return NULL;
	}
}

/* ------------------------------------------------------------- folding */

static bool
is_foreign_or_mutable(Oid function, pg_attribute_unused() void *context)
{
	return function >= FirstNormalObjectId || func_volatile(function) != PROVOLATILE_IMMUTABLE;
}

/*
 * Whether it contains a node that has no value here, or that runs more than
 * immutable built-in functions.
 */
static bool
is_unsafe_to_fold(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
		case T_Param:
		case T_SubLink:
		case T_Aggref:
		case T_WindowFunc:
		case T_CoerceToDomain:
		case T_Query:
			return true;
		default:
			return check_functions_in_node(node, is_foreign_or_mutable, context) ||
				expression_tree_walker(node, is_unsafe_to_fold, context);
	}
}

static Node *
strip_relabel(Node *node)
{
	while (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node;
}

/* The result of a call of immutable functions; NULL if it raises, like 1 / 0. */
static Node *
evaluate(Node *node)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Node	   *volatile value = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		value = eval_const_expressions(NULL, node);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(cxt);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(cxt);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(cxt);
		CurrentResourceOwner = owner;
		/* the user requested it; the expression did not cause it */
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		value = NULL;
	}
	PG_END_TRY();
	return value;
}

/* The folded argument; the argument itself if folding is not safe or fails. */
static Node *
fold(Node *argument)
{
	Node	   *node = strip_relabel(argument);
	Node	   *value;

	if (IsA(node, Const) || is_unsafe_to_fold(node, NULL))
		return node;
	value = evaluate(node);
	return value != NULL ? strip_relabel(value) : node;
}

/* --------------------------------------------------------------- calls */

/* Whether s is the name, or an alias where one is taken. */
static bool
is_name(NameSearch *names, const char *s)
{
	if (s == NULL)
		return false;
	if (names->takes_alias)
		names->found = embed_search_model_or_alias(names->search, s);
	else
		names->found = embed_search_is_name(s, names->search->name) ? names->search->name : NULL;
	return names->found != NULL;
}

/*
 * Whether a constant anywhere in an argument is the name, for example in
 * COALESCE(column, 'm').
 */
static bool
has_name(Node *node, void *context)
{

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, has_name, context, 0);
	return is_name(context, constant_string(node)) || expression_tree_walker(node, has_name, context);
}

static EmbedDependentCause
judge_model_argument(NameSearch *names, Node *argument)
{
	Node	   *folded = fold(argument);

	if (IsA(folded, Const))
		return is_name(names, constant_string(folded)) ? EMBED_CAUSE_NAMES : EMBED_CAUSE_NONE;
	return has_name(argument, names) ? EMBED_CAUSE_NAMES : EMBED_CAUSE_MAYBE;
}

/*
 * name: the alias that is named, or NULL. Of a model and its alias the alias
 * counts: who removes the alias is told of it.
 */
static void
note_cause(Finding *finding, EmbedDependentCause cause, const EmbedModelFunction *function, const char *name)
{
	const char *model = finding->search->name;
	bool		is_alias = name != NULL && name != model;

	if (cause < finding->cause || cause == EMBED_CAUSE_NONE)
		return;
	if (cause == finding->cause && (!is_alias || finding->name != model))
		return;
	finding->cause = cause;
	finding->function = function;
	finding->name = is_alias ? name : model;
}

/*
 * Argument i of a call: stored calls may have named arguments, aggregates have
 * target entries.
 */
static Node *
get_argument(List *args, int i)
{
	ListCell   *cell;
	int			position = 0;

	foreach(cell, args)
	{
		Node	   *arg = lfirst(cell);
		int			number = position++;

		if (IsA(arg, TargetEntry))
			arg = (Node *) ((TargetEntry *) arg)->expr;
		if (IsA(arg, NamedArgExpr))
		{
			number = ((NamedArgExpr *) arg)->argnumber;
			arg = (Node *) ((NamedArgExpr *) arg)->arg;
		}
		if (number == i)
			return arg;
	}
	return NULL;
}

static void
judge_call(Finding *finding, Oid oid, List *args)
{
	const EmbedSearch *search = finding->search;
	const EmbedModelFunction *function = embed_search_get_function(search, oid);

	if (function == NULL)
		return;
	for (int i = 0; function->model_args >> i != 0; i++)
	{
		Node	   *argument = (function->model_args >> i & 1) != 0 ? get_argument(args, i) : NULL;
		NameSearch	names = {search, function->takes_alias, NULL};
		EmbedDependentCause cause;

		if (argument == NULL)
			continue;
		cause = judge_model_argument(&names, argument);
		note_cause(finding, cause, function, names.found);
	}
	if (function->uses_default && search->is_default && search->reranks == function->reranks)
		note_cause(finding, EMBED_CAUSE_BY_DEFAULT, function, NULL);
}

static bool
find_calls(Node *node, void *context)
{
	Finding    *finding = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_calls, context, 0);
	if (IsA(node, FuncExpr))
		judge_call(finding, ((FuncExpr *) node)->funcid, ((FuncExpr *) node)->args);
	else if (IsA(node, OpExpr) && ((OpExpr *) node)->opno >= FirstNormalObjectId)
		judge_call(finding, get_opcode(((OpExpr *) node)->opno), ((OpExpr *) node)->args);
	else if (IsA(node, Aggref))
		judge_call(finding, ((Aggref *) node)->aggfnoid, ((Aggref *) node)->args);
	else if (IsA(node, WindowFunc))
		judge_call(finding, ((WindowFunc *) node)->winfnoid, ((WindowFunc *) node)->args);
	return expression_tree_walker(node, find_calls, context);
}

static char *
describe_finding(const Finding *finding)
{
	const char *function = finding->function->name;

	switch (finding->cause)
	{
		case EMBED_CAUSE_NAMES:
			return psprintf("calls %s with %s", function, embed_search_describe_name(finding->search, finding->name));
		case EMBED_CAUSE_BY_DEFAULT:
			return psprintf("calls %s without a model, so it uses the default", function);
		default:
			return psprintf("calls %s with a model argument that is not constant", function);
	}
}

bool
embed_search_tree(EmbedSearch *search, EmbedDependentKind kind, const ObjectAddress *address, const char *tree)
{
	Finding		finding = {.search = search};

	if (tree == NULL)
		return false;
	(void) find_calls(stringToNode((char *) tree), &finding);
	if (finding.cause == EMBED_CAUSE_NONE)
		return false;
	embed_search_add_object(search, kind, finding.cause, address, describe_finding(&finding), finding.name);
	return true;
}
