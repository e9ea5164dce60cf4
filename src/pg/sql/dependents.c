/*
 * dependents.c
 *		What a drop of a model would break or change: embed_dependents().
 *
 * pg_depend shows which objects call our functions, but not with which model.
 * So the expressions of these objects, and only these, are parsed from the
 * catalogs and searched for calls whose model argument is the name. Aliases,
 * defaults, settings, trigger arguments and function bodies have no pg_depend
 * entries and are searched separately.
 *
 * No user code runs here: the caller may be a superuser, and anybody may have
 * written the expressions. A constant model argument is folded only if all its
 * functions are built-in and immutable; an error in folding is caught.
 */
#include "pg/sql/dependents.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_db_role_setting.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_index.h"
#include "catalog/pg_language.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_partitioned_table.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_publication_rel.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

#include "pg/sql/rows.h"
#include "pg/store/storage.h"

EMBED_FUNCTION(embed_dependents);

/* A function of this extension that depends on a model. */
typedef struct ModelFunction
{
	Oid			oid;
	const char *name;
	int			model_arg;		/* position of the model argument, or -1 */
	bool		uses_default;	/* another form takes a model; this form uses the default */
	bool		reranks;
	bool		is_trigger;
} ModelFunction;

typedef struct Search
{
	const char *name;
	List	   *aliases;		/* char * */
	bool		is_default;		/* of its kind */
	bool		reranks;		/* uses the default of rerankers */
	List	   *functions;		/* ModelFunction * */
	List	   *found;			/* EmbedDependent *, in cxt */
	MemoryContext cxt;
	MemoryContext row_cxt;		/* reset for each catalog row, because node trees are large */
} Search;

/* The result for one expression; the strongest cause counts. */
typedef struct Finding
{
	const Search *search;
	EmbedDependentCause cause;
	const ModelFunction *function;
} Finding;

static const char *const kind_names[] = {
	[EMBED_DEPENDENT_DEFAULT] = "default",
	[EMBED_DEPENDENT_ALIAS] = "alias",
	[EMBED_DEPENDENT_INDEX] = "index expression",
	[EMBED_DEPENDENT_INDEX_PREDICATE] = "index predicate",
	[EMBED_DEPENDENT_STATISTICS] = "extended statistics",
	[EMBED_DEPENDENT_GENERATED] = "generated column",
	[EMBED_DEPENDENT_COLUMN_DEFAULT] = "column default",
	[EMBED_DEPENDENT_CHECK] = "check constraint",
	[EMBED_DEPENDENT_PARTITION_KEY] = "partition key",
	[EMBED_DEPENDENT_DOMAIN_CHECK] = "domain constraint",
	[EMBED_DEPENDENT_DOMAIN_DEFAULT] = "domain default",
	[EMBED_DEPENDENT_TRIGGER] = "trigger",
	[EMBED_DEPENDENT_POLICY] = "policy",
	[EMBED_DEPENDENT_VIEW] = "view",
	[EMBED_DEPENDENT_MATERIALIZED_VIEW] = "materialized view",
	[EMBED_DEPENDENT_RULE] = "rule",
	[EMBED_DEPENDENT_PUBLICATION] = "publication row filter",
	[EMBED_DEPENDENT_FUNCTION] = "function",
	[EMBED_DEPENDENT_FUNCTION_SETTING] = "function setting",
	[EMBED_DEPENDENT_SETTING] = "setting",
};

const char *
embed_dependent_kind_name(EmbedDependentKind kind)
{
	return kind_names[kind];
}

/* ------------------------------------------------------ our functions */

/* The position of that name among the input arguments, or -1. */
static int
argument_position(HeapTuple proc, const char *name)
{
	Oid		   *types;
	char	  **names;
	char	   *modes;
	int			n = get_func_arg_info(proc, &types, &names, &modes);
	int			position = 0;

	for (int i = 0; names != NULL && i < n; i++)
	{
		if (modes != NULL && modes[i] != FUNC_PARAM_IN && modes[i] != FUNC_PARAM_INOUT && modes[i] != FUNC_PARAM_VARIADIC)
			continue;
		if (strcmp(names[i], name) == 0)
			return position;
		position++;
	}
	return -1;
}

static void
add_function(Search *search, Oid oid)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
	Form_pg_proc form;
	ModelFunction *function;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	function = palloc0(sizeof(ModelFunction));
	function->oid = oid;
	function->name = pstrdup(NameStr(form->proname));
	function->model_arg = argument_position(tuple, strcmp(function->name, "embed_verify") == 0 ? "name" : "model");
	function->reranks = strncmp(function->name, "rerank", strlen("rerank")) == 0;
	function->is_trigger = strcmp(function->name, "embed_trigger") == 0;
	search->functions = lappend(search->functions, function);
	ReleaseSysCache(tuple);
}

static bool
has_form_with_model(const Search *search, const ModelFunction *function)
{
	ListCell   *cell;

	foreach(cell, search->functions)
	{
		const ModelFunction *other = lfirst(cell);

		if (other->model_arg >= 0 && strcmp(other->name, function->name) == 0)
			return true;
	}
	return false;
}

/* Keeps the functions that take a model, or use the default. */
static void
select_functions(Search *search)
{
	List	   *kept = NIL;
	ListCell   *cell;

	foreach(cell, search->functions)
	{
		ModelFunction *function = lfirst(cell);

		function->uses_default = function->model_arg < 0 && has_form_with_model(search, function);
		if (function->model_arg >= 0 || function->uses_default || function->is_trigger)
			kept = lappend(kept, function);
	}
	search->functions = kept;
}

/* All functions that belong to the extension. */
static void
find_functions(Search *search)
{
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(ExtensionRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(get_extension_oid("embed", false)));
	scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL, lengthof(keys), keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);

		if (depend->classid == ProcedureRelationId && depend->deptype == DEPENDENCY_EXTENSION)
			add_function(search, depend->objid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	select_functions(search);
}

static const ModelFunction *
get_function(const Search *search, Oid oid)
{
	ListCell   *cell;

	/* expressions use mostly built-in functions; the extension has a few dozen */
	if (oid < FirstNormalObjectId)
		return NULL;
	foreach(cell, search->functions)
	{
		const ModelFunction *function = lfirst(cell);

		if (function->oid == oid)
			return function;
	}
	return NULL;
}

/* --------------------------------------------------------------- names */

/* Whether s is the name, or name@fingerprint. */
static bool
is_name(const char *s, const char *name)
{
	size_t		len = strlen(name);

	return strncmp(s, name, len) == 0 && (s[len] == '\0' || s[len] == '@');
}

/* The model name or alias that s is, or NULL. */
static const char *
model_or_alias(const Search *search, const char *s)
{
	ListCell   *cell;

	if (is_name(s, search->name))
		return search->name;
	foreach(cell, search->aliases)
	{
		if (strcmp(s, lfirst(cell)) == 0)
			return lfirst(cell);
	}
	return NULL;
}

/* "model "m"", or "alias "a"". */
static char *
describe_name(const Search *search, const char *name)
{
	return psprintf("%s \"%s\"", name == search->name ? "model" : "alias", name);
}

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

/* --------------------------------------------------------- expressions */

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

/*
 * Whether a constant anywhere in an argument is the name, for example in
 * COALESCE(column, 'm').
 */
static bool
has_name(Node *node, void *context)
{
	const char *s;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, has_name, context, 0);
	s = constant_string(node);
	if (s != NULL && is_name(s, ((const Search *) context)->name))
		return true;
	return expression_tree_walker(node, has_name, context);
}

static EmbedDependentCause
judge_model_argument(const Search *search, Node *argument)
{
	Node	   *folded = fold(argument);
	const char *s;

	if (IsA(folded, Const))
	{
		s = constant_string(folded);
		return s != NULL && is_name(s, search->name) ? EMBED_CAUSE_NAMES : EMBED_CAUSE_NONE;
	}
	return has_name(argument, (void *) search) ? EMBED_CAUSE_NAMES : EMBED_CAUSE_MAYBE;
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
	const Search *search = finding->search;
	const ModelFunction *function = get_function(search, oid);
	EmbedDependentCause cause = EMBED_CAUSE_NONE;

	if (function == NULL)
		return;
	if (function->model_arg >= 0)
	{
		Node	   *argument = get_argument(args, function->model_arg);

		if (argument != NULL)
			cause = judge_model_argument(search, argument);
	}
	else if (function->uses_default && search->is_default && search->reranks == function->reranks)
		cause = EMBED_CAUSE_BY_DEFAULT;
	if (cause > finding->cause)
	{
		finding->cause = cause;
		finding->function = function;
	}
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

/* --------------------------------------------------------------- found */

static void
add(Search *search, EmbedDependentKind kind, EmbedDependentCause cause,
	const char *object, const char *identity, const char *detail, const char *name)
{
	MemoryContext old = MemoryContextSwitchTo(search->cxt);
	EmbedDependent *dependent = palloc(sizeof(EmbedDependent));

	dependent->kind = kind;
	dependent->cause = cause;
	dependent->refuses = cause == EMBED_CAUSE_NAMES;
	dependent->object = pstrdup(object);
	dependent->identity = pstrdup(identity);
	dependent->detail = pstrdup(detail);
	dependent->alias = name == search->name ? NULL : pstrdup(name);
	search->found = lappend(search->found, dependent);
	MemoryContextSwitchTo(old);
}

/* Adds an object of the catalogs; skips an object that is being dropped. */
static void
add_object(Search *search, EmbedDependentKind kind, EmbedDependentCause cause, const ObjectAddress *address,
		   const char *detail, const char *name)
{
	char	   *object = embed_object_description(address);
	char	   *identity = embed_object_identity(address);

	if (object != NULL && identity != NULL)
		add(search, kind, cause, object, identity, detail, name);
}

static char *
describe_finding(const Finding *finding)
{
	const char *function = finding->function->name;

	switch (finding->cause)
	{
		case EMBED_CAUSE_NAMES:
			return psprintf("calls %s with model \"%s\"", function, finding->search->name);
		case EMBED_CAUSE_BY_DEFAULT:
			return psprintf("calls %s without a model, so it uses the default", function);
		default:
			return psprintf("calls %s with a model argument that is not constant", function);
	}
}

/*
 * Adds the object if one of its expressions, a stored node tree, calls for the
 * model; returns whether it does.
 */
static bool
search_tree(Search *search, EmbedDependentKind kind, const ObjectAddress *address, const char *tree)
{
	Finding		finding = {.search = search};

	if (tree == NULL)
		return false;
	(void) find_calls(stringToNode((char *) tree), &finding);
	if (finding.cause == EMBED_CAUSE_NONE)
		return false;
	add_object(search, kind, finding.cause, address, describe_finding(&finding), search->name);
	return true;
}

/* A text column of a catalog row, or NULL. */
static char *
get_text(Relation rel, HeapTuple tuple, AttrNumber attno)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attno, RelationGetDescr(rel), &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* ------------------------------------------- objects that call functions */

static void
search_index(Search *search, Relation rel, HeapTuple tuple)
{
	ObjectAddress address;

	ObjectAddressSet(address, RelationRelationId, ((Form_pg_index) GETSTRUCT(tuple))->indexrelid);
	(void) search_tree(search, EMBED_DEPENDENT_INDEX, &address, get_text(rel, tuple, Anum_pg_index_indexprs));
	(void) search_tree(search, EMBED_DEPENDENT_INDEX_PREDICATE, &address, get_text(rel, tuple, Anum_pg_index_indpred));
}

static void
search_partition_key(Search *search, Relation rel, HeapTuple tuple)
{
	ObjectAddress address;

	ObjectAddressSet(address, RelationRelationId, ((Form_pg_partitioned_table) GETSTRUCT(tuple))->partrelid);
	(void) search_tree(search, EMBED_DEPENDENT_PARTITION_KEY, &address, get_text(rel, tuple, Anum_pg_partitioned_table_partexprs));
}

static void
search_default(Search *search, Relation rel, HeapTuple tuple)
{
	Form_pg_attrdef form = (Form_pg_attrdef) GETSTRUCT(tuple);
	ObjectAddress address;
	bool		is_generated = get_attgenerated(form->adrelid, form->adnum) != '\0';

	ObjectAddressSubSet(address, RelationRelationId, form->adrelid, form->adnum);
	(void) search_tree(search, is_generated ? EMBED_DEPENDENT_GENERATED : EMBED_DEPENDENT_COLUMN_DEFAULT, &address,
					   get_text(rel, tuple, Anum_pg_attrdef_adbin));
}

#ifdef EMBED_GENERATED_COLUMN_DEPENDS_ITSELF
/* Only generated columns: other catalogs lead to the other defaults. */
static void
search_generated(Search *search, Relation rel, HeapTuple tuple)
{
	Form_pg_attrdef form = (Form_pg_attrdef) GETSTRUCT(tuple);

	if (get_attgenerated(form->adrelid, form->adnum) != '\0')
		search_default(search, rel, tuple);
}
#endif

static void
search_check(Search *search, Relation rel, HeapTuple tuple)
{
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);
	ObjectAddress address;

	ObjectAddressSet(address, ConstraintRelationId, form->oid);
	(void) search_tree(search, OidIsValid(form->contypid) ? EMBED_DEPENDENT_DOMAIN_CHECK : EMBED_DEPENDENT_CHECK, &address,
					   get_text(rel, tuple, Anum_pg_constraint_conbin));
}

static void
search_statistics(Search *search, Relation rel, HeapTuple tuple)
{
#ifdef EMBED_HAS_STATISTICS_EXPRESSIONS
	ObjectAddress address;

	ObjectAddressSet(address, StatisticExtRelationId, ((Form_pg_statistic_ext) GETSTRUCT(tuple))->oid);
	(void) search_tree(search, EMBED_DEPENDENT_STATISTICS, &address, get_text(rel, tuple, Anum_pg_statistic_ext_stxexprs));
#endif
}

/* Reports a view instead of its rule, because users know the view. */
static void
search_rule(Search *search, Relation rel, HeapTuple tuple)
{
	Form_pg_rewrite form = (Form_pg_rewrite) GETSTRUCT(tuple);
	EmbedDependentKind kind = EMBED_DEPENDENT_RULE;
	ObjectAddress address;

	ObjectAddressSet(address, RewriteRelationId, form->oid);
	if (strcmp(NameStr(form->rulename), "_RETURN") == 0)
	{
		kind = get_rel_relkind(form->ev_class) == RELKIND_MATVIEW ? EMBED_DEPENDENT_MATERIALIZED_VIEW : EMBED_DEPENDENT_VIEW;
		ObjectAddressSet(address, RelationRelationId, form->ev_class);
	}
	if (!search_tree(search, kind, &address, get_text(rel, tuple, Anum_pg_rewrite_ev_action)))
		(void) search_tree(search, kind, &address, get_text(rel, tuple, Anum_pg_rewrite_ev_qual));
}

static void
search_policy(Search *search, Relation rel, HeapTuple tuple)
{
	ObjectAddress address;

	ObjectAddressSet(address, PolicyRelationId, ((Form_pg_policy) GETSTRUCT(tuple))->oid);
	if (!search_tree(search, EMBED_DEPENDENT_POLICY, &address, get_text(rel, tuple, Anum_pg_policy_polqual)))
		(void) search_tree(search, EMBED_DEPENDENT_POLICY, &address, get_text(rel, tuple, Anum_pg_policy_polwithcheck));
}

/* Today row filters accept only built-in functions; the check is free. */
static void
search_publication(Search *search, Relation rel, HeapTuple tuple)
{
#ifdef EMBED_HAS_ROW_FILTERS
	ObjectAddress address;

	ObjectAddressSet(address, PublicationRelRelationId, ((Form_pg_publication_rel) GETSTRUCT(tuple))->oid);
	(void) search_tree(search, EMBED_DEPENDENT_PUBLICATION, &address, get_text(rel, tuple, Anum_pg_publication_rel_prqual));
#endif
}

/* A body in standard SQL, and argument defaults. */
static void
search_function_trees(Search *search, Relation rel, HeapTuple tuple)
{
	ObjectAddress address;

	ObjectAddressSet(address, ProcedureRelationId, ((Form_pg_proc) GETSTRUCT(tuple))->oid);
#ifdef EMBED_HAS_SQL_BODIES
	if (search_tree(search, EMBED_DEPENDENT_FUNCTION, &address, get_text(rel, tuple, Anum_pg_proc_prosqlbody)))
		return;
#endif
	(void) search_tree(search, EMBED_DEPENDENT_FUNCTION, &address, get_text(rel, tuple, Anum_pg_proc_proargdefaults));
}

static void
search_type(Search *search, Relation rel, HeapTuple tuple)
{
	ObjectAddress address;

	ObjectAddressSet(address, TypeRelationId, ((Form_pg_type) GETSTRUCT(tuple))->oid);
	(void) search_tree(search, EMBED_DEPENDENT_DOMAIN_DEFAULT, &address, get_text(rel, tuple, Anum_pg_type_typdefaultbin));
}

/*
 * Argument i of a trigger, or NULL: the arguments are stored end to end, each
 * followed by a zero byte.
 */
static const char *
trigger_argument(Relation rel, HeapTuple tuple, int i)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, Anum_pg_trigger_tgargs, RelationGetDescr(rel), &isnull);
	const char *s;

	if (isnull || i >= ((Form_pg_trigger) GETSTRUCT(tuple))->tgnargs)
		return NULL;
	s = VARDATA_ANY(DatumGetByteaPP(value));
	while (i-- > 0)
		s += strlen(s) + 1;
	return s;
}

/* Searches a trigger's argument "name" or "name@fingerprint" (trigger.h). */
static const char *
model_of_trigger(const Search *search, const char *argument)
{
	const char *at = strchr(argument, '@');

	return model_or_alias(search, at == NULL ? argument : pnstrdup(argument, at - argument));
}

static bool
search_trigger_arguments(Search *search, Relation rel, HeapTuple tuple, const ObjectAddress *address)
{
	Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
	const ModelFunction *function = get_function(search, form->tgfoid);
	const char *model = trigger_argument(rel, tuple, 2);
	const char *name;

	if (function == NULL || !function->is_trigger)
		return false;
	if (model == NULL)
	{
		if (!search->is_default || search->reranks)
			return false;
		add_object(search, EMBED_DEPENDENT_TRIGGER, EMBED_CAUSE_BY_DEFAULT, address, "embeds without a model, so it uses the default", search->name);
		return true;
	}
	name = model_of_trigger(search, model);
	if (name == NULL)
		return false;
	add_object(search, EMBED_DEPENDENT_TRIGGER, EMBED_CAUSE_NAMES, address, psprintf("embeds with %s", describe_name(search, name)), name);
	return true;
}

static void
search_trigger(Search *search, Relation rel, HeapTuple tuple)
{
	Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
	ObjectAddress address;

	/* copies in partitions come and go with the partitioned table's trigger */
	if (OidIsValid(form->tgparentid))
		return;
	ObjectAddressSet(address, TriggerRelationId, form->oid);
	if (!search_trigger_arguments(search, rel, tuple, &address))
		(void) search_tree(search, EMBED_DEPENDENT_TRIGGER, &address, get_text(rel, tuple, Anum_pg_trigger_tgqual));
}

/* --------------------------------------------------------- dependencies */

/* How to find and search the catalog row of an object that calls our functions. */
typedef struct Catalog
{
	Oid			class_id;		/* of the object */
	Oid			relid;			/* where its expressions are */
	Oid			index_id;
	AttrNumber	key;
	void		(*search) (Search *search, Relation rel, HeapTuple tuple);
} Catalog;

static const Catalog catalogs[] = {
	{RelationRelationId, IndexRelationId, IndexRelidIndexId, Anum_pg_index_indexrelid, search_index},
	{RelationRelationId, PartitionedRelationId, PartitionedRelidIndexId, Anum_pg_partitioned_table_partrelid, search_partition_key},
	{AttrDefaultRelationId, AttrDefaultRelationId, AttrDefaultOidIndexId, Anum_pg_attrdef_oid, search_default},
#ifdef EMBED_GENERATED_COLUMN_DEPENDS_ITSELF
	{RelationRelationId, AttrDefaultRelationId, AttrDefaultIndexId, Anum_pg_attrdef_adrelid, search_generated},
#endif
	{ConstraintRelationId, ConstraintRelationId, ConstraintOidIndexId, Anum_pg_constraint_oid, search_check},
	{StatisticExtRelationId, StatisticExtRelationId, StatisticExtOidIndexId, Anum_pg_statistic_ext_oid, search_statistics},
	{RewriteRelationId, RewriteRelationId, RewriteOidIndexId, Anum_pg_rewrite_oid, search_rule},
	{PolicyRelationId, PolicyRelationId, PolicyOidIndexId, Anum_pg_policy_oid, search_policy},
	{PublicationRelRelationId, PublicationRelRelationId, PublicationRelObjectIndexId, Anum_pg_publication_rel_oid, search_publication},
	{ProcedureRelationId, ProcedureRelationId, ProcedureOidIndexId, Anum_pg_proc_oid, search_function_trees},
	{TypeRelationId, TypeRelationId, TypeOidIndexId, Anum_pg_type_oid, search_type},
	{TriggerRelationId, TriggerRelationId, TriggerOidIndexId, Anum_pg_trigger_oid, search_trigger},
};

static int
compare_addresses(const void *a, const void *b)
{
	const ObjectAddress *x = a;
	const ObjectAddress *y = b;

	if (x->classId != y->classId)
		return x->classId < y->classId ? -1 : 1;
	if (x->objectId != y->objectId)
		return x->objectId < y->objectId ? -1 : 1;
	return 0;
}

/* A growing array of objects. */
typedef struct Addresses
{
	ObjectAddress *items;
	int			n;
	int			room;
} Addresses;

static void
add_address(Addresses *addresses, Oid class_id, Oid oid)
{
	if (addresses->n == addresses->room)
	{
		addresses->room = Max(addresses->room * 2, 64);
		addresses->items = addresses->items == NULL ? palloc(addresses->room * sizeof(ObjectAddress))
			: repalloc_huge(addresses->items, addresses->room * sizeof(ObjectAddress));
	}
	ObjectAddressSet(addresses->items[addresses->n], class_id, oid);
	addresses->n++;
}

/*
 * The objects that depend on one object, except the extension; includes
 * dependents through an operator of a function.
 */
static void
collect_dependents(Relation depend, Oid class_id, Oid oid, Addresses *addresses)
{
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	CHECK_FOR_INTERRUPTS();
	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(class_id));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, lengthof(keys), keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		if (form->classid == OperatorRelationId && class_id == ProcedureRelationId)
			collect_dependents(depend, OperatorRelationId, form->objid, addresses);
		else
			add_address(addresses, form->classid, form->objid);
	}
	systable_endscan(scan);
}

/* Each object once, however many functions it calls. */
static void
remove_duplicates(Addresses *addresses)
{
	int			n = 0;

	if (addresses->n == 0)
		return;
	qsort(addresses->items, addresses->n, sizeof(ObjectAddress), compare_addresses);
	for (int i = 1; i < addresses->n; i++)
	{
		if (compare_addresses(&addresses->items[n], &addresses->items[i]) != 0)
			addresses->items[++n] = addresses->items[i];
	}
	addresses->n = n + 1;
}

static void
search_rows(Search *search, const Catalog *catalog, Relation rel, Oid oid)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, catalog->key, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	scan = systable_beginscan(rel, catalog->index_id, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		catalog->search(search, rel, tuple);
	systable_endscan(scan);
}

static void
search_catalog(Search *search, const Catalog *catalog, const Addresses *addresses)
{
	Relation	rel = table_open(catalog->relid, AccessShareLock);

	for (int i = 0; i < addresses->n; i++)
	{
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (addresses->items[i].classId != catalog->class_id)
			continue;
		old = MemoryContextSwitchTo(search->row_cxt);
		search_rows(search, catalog, rel, addresses->items[i].objectId);
		MemoryContextSwitchTo(old);
		MemoryContextReset(search->row_cxt);
	}
	table_close(rel, AccessShareLock);
}

static void
search_objects(Search *search)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	Addresses	addresses = {0};
	ListCell   *cell;

	foreach(cell, search->functions)
		collect_dependents(depend, ProcedureRelationId, ((ModelFunction *) lfirst(cell))->oid, &addresses);
	table_close(depend, AccessShareLock);
	remove_duplicates(&addresses);
	for (int i = 0; i < (int) lengthof(catalogs); i++)
		search_catalog(search, &catalogs[i], &addresses);
}

/* ------------------------------------------------------------- settings */

/* The value of an entry "embed.model=value" or "embed.reranker=value", or NULL. */
static const char *
chosen_model(const char *entry)
{
	static const char *const settings[] = {"embed.model=", "embed.reranker="};

	for (int i = 0; i < (int) lengthof(settings); i++)
	{
		if (pg_strncasecmp(entry, settings[i], strlen(settings[i])) == 0)
			return entry + strlen(settings[i]);
	}
	return NULL;
}

/* The first of the entries (a text[]) that selects the model; palloc'd, or NULL. */
static char *
find_setting(const Search *search, Datum entries, const char **name)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(entries), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *entry = nulls[i] ? NULL : TextDatumGetCString(elements[i]);
		const char *value = entry != NULL ? chosen_model(entry) : NULL;

		*name = value != NULL ? model_or_alias(search, value) : NULL;
		if (*name != NULL)
			return pnstrdup(entry, value - entry - 1);
	}
	return NULL;
}

static void
add_setting(Search *search, const char *setting, const char *name, Oid database, Oid role)
{
	const char *where;
	char	   *database_name = OidIsValid(database) ? get_database_name(database) : NULL;
	char	   *role_name = OidIsValid(role) ? GetUserNameFromId(role, true) : NULL;

	if (role_name != NULL && database_name != NULL)
		where = psprintf("role %s in database %s", quote_identifier(role_name), quote_identifier(database_name));
	else if (role_name != NULL)
		where = psprintf("role %s", quote_identifier(role_name));
	else if (database_name != NULL)
		where = psprintf("database %s", quote_identifier(database_name));
	else
		where = "all roles in all databases";
	add(search, EMBED_DEPENDENT_SETTING, EMBED_CAUSE_NAMES, psprintf("setting %s of %s", setting, where),
		psprintf("%s of %s", setting, where), psprintf("chooses %s", describe_name(search, name)), name);
}

/* ALTER DATABASE and ALTER ROLE, for this database and for all. */
static void
search_database_and_role_settings(Search *search)
{
	Relation	rel = table_open(DbRoleSettingRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_db_role_setting form = (Form_pg_db_role_setting) GETSTRUCT(tuple);
		bool		isnull;
		Datum		entries = heap_getattr(tuple, Anum_pg_db_role_setting_setconfig, RelationGetDescr(rel), &isnull);
		const char *name;
		char	   *setting;

		if (isnull || (OidIsValid(form->setdatabase) && form->setdatabase != MyDatabaseId))
			continue;
		setting = find_setting(search, entries, &name);
		if (setting != NULL)
			add_setting(search, setting, name, form->setdatabase, form->setrole);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* postgresql.conf and files it includes, the server's command line. */
static bool
is_of_server(GucSource source)
{
	return source == PGC_S_FILE || source == PGC_S_ARGV || source == PGC_S_ENV_VAR;
}

/* The start value of this session's settings, if it comes from the server's configuration. */
static void
search_server_settings(Search *search)
{
	int			n;
	struct config_generic **variables = embed_get_guc_variables(&n);

	for (int i = 0; i < n; i++)
	{
		const char *setting = variables[i]->name;
		const char *name;

		if ((strcmp(setting, "embed.model") != 0 && strcmp(setting, "embed.reranker") != 0) ||
			!is_of_server(variables[i]->reset_source))
			continue;
		name = model_or_alias(search, GetConfigOptionResetString(setting));
		if (name != NULL)
			add(search, EMBED_DEPENDENT_SETTING, EMBED_CAUSE_NAMES, psprintf("setting %s of the server's configuration", setting),
				psprintf("%s of the server's configuration", setting), psprintf("chooses %s", describe_name(search, name)), name);
	}
}

/* ------------------------------------------------------ texts of functions */

static bool
is_identifier_char(char c)
{
	return c == '_' || IS_HIGHBIT_SET(c) || isalnum((unsigned char) c);
}

/* The text after the word if the word is next, else NULL. */
static const char *
skip_word(const char *text, const char *word)
{
	size_t		len = strlen(word);

	return pg_strncasecmp(text, word, len) == 0 && !is_identifier_char(text[len]) ? text + len : NULL;
}

static const char *
skip_space(const char *text)
{
	while (isspace((unsigned char) *text))
		text++;
	return text;
}

/* The text after the next occurrence of the word, else NULL. */
static const char *
find_word(const char *text, const char *word)
{
	for (const char *at = text; *at != '\0'; at++)
	{
		const char *end = NULL;

		if (pg_tolower((unsigned char) *at) == (unsigned char) word[0] && (at == text || !is_identifier_char(at[-1])))
			end = skip_word(at, word);
		if (end != NULL)
			return end;
	}
	return NULL;
}

static bool
has_word(const char *text, const char *word)
{
	return find_word(text, word) != NULL;
}

/* Whether text contains the name in quotes. */
static bool
has_quoted(const char *text, const char *name)
{
	size_t		len = strlen(name);

	for (const char *at = strstr(text, name); at != NULL; at = strstr(at + 1, name))
	{
		if (at > text && strchr("'\"$", at[-1]) != NULL && at[len] != '\0' && strchr("'\"$@", at[len]) != NULL)
			return true;
	}
	return false;
}

/* Whether text contains SET setting = name, or TO name, without quotes. */
static bool
has_assignment(const char *text, const char *setting, const char *name)
{
	for (const char *at = find_word(text, setting); at != NULL; at = find_word(at, setting))
	{
		const char *value = skip_space(at);

		value = *value == '=' ? value + 1 : skip_word(value, "to");
		if (value != NULL && skip_word(skip_space(value), name) != NULL)
			return true;
	}
	return false;
}

static bool
has_model(const char *text, const char *name)
{
	return has_quoted(text, name) || has_assignment(text, "embed.model", name) || has_assignment(text, "embed.reranker", name);
}

/* The model name or alias that text contains, or NULL. */
static const char *
named_model(const Search *search, const char *text)
{
	ListCell   *cell;

	if (has_model(text, search->name))
		return search->name;
	foreach(cell, search->aliases)
	{
		if (has_model(text, lfirst(cell)))
			return lfirst(cell);
	}
	return NULL;
}

/*
 * One of our functions that the text calls, or that the setting embed.model
 * implies; or NULL.
 */
static const char *
called_function(const Search *search, const char *text)
{
	ListCell   *cell;

	foreach(cell, search->functions)
	{
		const ModelFunction *function = lfirst(cell);

		if (has_word(text, function->name))
			return function->name;
	}
	return NULL;
}

/*
 * A function that imports and drops models names them for this purpose, and
 * must not refuse its own drop.
 */
static bool
manages_models(const char *text)
{
	return has_word(text, "embed_drop") || has_word(text, "embed_import") || has_word(text, "embed_load");
}

static void
search_function_text(Search *search, Relation rel, HeapTuple tuple, const ObjectAddress *address)
{
	char	   *text = get_text(rel, tuple, Anum_pg_proc_prosrc);
	const char *name = text != NULL ? named_model(search, text) : NULL;
	const char *function = name != NULL ? called_function(search, text) : NULL;

	if (function != NULL)
		add_object(search, EMBED_DEPENDENT_FUNCTION, manages_models(text) ? EMBED_CAUSE_MAYBE : EMBED_CAUSE_NAMES, address,
				   psprintf("its text has %s and %s", describe_name(search, name), function), name);
}

static void
search_function(Search *search, Relation rel, HeapTuple tuple)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	ObjectAddress address;
	bool		isnull;
	Datum		entries = heap_getattr(tuple, Anum_pg_proc_proconfig, RelationGetDescr(rel), &isnull);
	const char *name;
	char	   *setting;

	ObjectAddressSet(address, ProcedureRelationId, form->oid);
	if (form->prolang != INTERNALlanguageId && form->prolang != ClanguageId)
		search_function_text(search, rel, tuple, &address);
	setting = isnull ? NULL : find_setting(search, entries, &name);
	if (setting != NULL)
		add_object(search, EMBED_DEPENDENT_FUNCTION_SETTING, EMBED_CAUSE_NAMES, &address,
				   psprintf("%s chooses %s", setting, describe_name(search, name)), name);
}

/*
 * All user-defined functions: the server has no dependencies for their bodies
 * and SET clauses.
 */
static void
search_functions(Search *search)
{
	Relation	rel = table_open(ProcedureRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_proc_oid, BTGreaterEqualStrategyNumber, F_OIDGE, ObjectIdGetDatum(FirstNormalObjectId));
	scan = systable_beginscan(rel, ProcedureOidIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		old = MemoryContextSwitchTo(search->row_cxt);
		search_function(search, rel, tuple);
		MemoryContextSwitchTo(old);
		MemoryContextReset(search->row_cxt);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* ------------------------------------------------------------ our tables */

static void
search_names(Search *search)
{
	ListCell   *cell;

	search->aliases = embed_storage_aliases_of(search->name);
	foreach(cell, search->aliases)
		add(search, EMBED_DEPENDENT_ALIAS, EMBED_CAUSE_NAMES, psprintf("alias \"%s\"", (char *) lfirst(cell)), lfirst(cell),
			psprintf("stands for model \"%s\"", search->name), search->name);
	for (int kind = 0; kind < 2; kind++)
	{
		const char *kind_name = embed_kind_name(kind == 0 ? EMB_KIND_EMBEDDING : EMB_KIND_RERANKER);
		char	   *model = embed_storage_find_default(kind_name, NULL);

		if (model == NULL || strcmp(model, search->name) != 0)
			continue;
		search->is_default = true;
		search->reranks = kind == 1;
		add(search, EMBED_DEPENDENT_DEFAULT, EMBED_CAUSE_NAMES, psprintf("default %s model", kind_name), kind_name,
			psprintf("model \"%s\" is used where none is named", search->name), search->name);
		/*
		 * the last model of a kind takes the default along: there is no other
		 * model to choose
		 */
		((EmbedDependent *) llast(search->found))->refuses = embed_storage_has_other_model(kind_name, search->name);
	}
}

static int
compare_dependents(const ListCell *a, const ListCell *b)
{
	const EmbedDependent *x = lfirst(a);
	const EmbedDependent *y = lfirst(b);
	int			order;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	order = strcmp(x->identity, y->identity);
	return order != 0 ? order : strcmp(x->detail, y->detail);
}

List *
embed_dependents_of(const char *name)
{
	Search		search = {.name = name, .cxt = CurrentMemoryContext};

	search.row_cxt = AllocSetContextCreate(CurrentMemoryContext, "embed dependents", ALLOCSET_DEFAULT_SIZES);
	find_functions(&search);
	search_names(&search);
	search_objects(&search);
	search_functions(&search);
	search_database_and_role_settings(&search);
	search_server_settings(&search);
	MemoryContextDelete(search.row_cxt);
	list_sort(search.found, compare_dependents);
	return search.found;
}

/* --------------------------------------------------------------- in SQL */

/* A name without a row and without dependents is most likely a mistake. */
static void
check_name(const char *name, const List *dependents)
{
	EmbedModelRow row;
	char	   *target;

	if (embed_storage_find_model(name, NULL, &row))
		return;
	target = embed_storage_find_alias(name, NULL);
	if (target != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is an alias of model \"%s\"", name, target),
				 errhint("SELECT * FROM embed_dependents('%s') lists what depends on the model, through its aliases too.", target)));
	if (dependents == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" does not exist", embed_shown(name)),
				 errhint("SELECT name FROM embed_models lists the models of this database.")));
}

/* embed_dependents(name text) returns table (kind text, object text, identity text, detail text, refuses bool) */
Datum
embed_dependents(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	EmbedRows	rows = embed_rows_begin(fcinfo);
	List	   *dependents = embed_dependents_of(name);
	ListCell   *cell;

	check_name(name, dependents);
	foreach(cell, dependents)
	{
		const EmbedDependent *dependent = lfirst(cell);
		bool		nulls[5] = {false};
		Datum		values[5] = {
			CStringGetTextDatum(embed_dependent_kind_name(dependent->kind)),
			CStringGetTextDatum(dependent->object),
			CStringGetTextDatum(dependent->identity),
			CStringGetTextDatum(dependent->detail),
			BoolGetDatum(dependent->refuses)
		};

		CHECK_FOR_INTERRUPTS();
		tuplestore_putvalues(rows.store, rows.desc, values, nulls);
	}
	return (Datum) 0;
}
