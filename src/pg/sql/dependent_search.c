/*
 * dependent_search.c
 *		What all parts of a search for dependents use: the functions of the
 *		extension that depend on a model, the model's names, the list of what
 *		was found.
 */
#include "pg/sql/dependent_search.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"

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

/* Arguments that are models, and are not named "model". */
static const struct
{
	const char *function;
	const char *argument;
}			other_arguments[] = {
	{"embed_verify", "name"},
	{"embed_export", "name"},
	{"embed_compare", "a"},
	{"embed_compare", "b"},
};

/* Bit i: argument i is a model. */
static uint32
model_arguments(HeapTuple proc, const char *function)
{
	int			position = argument_position(proc, "model");
	uint32		found = position >= 0 ? UINT32_C(1) << position : 0;

	for (int i = 0; i < (int) lengthof(other_arguments); i++)
	{
		if (strcmp(function, other_arguments[i].function) != 0)
			continue;
		position = argument_position(proc, other_arguments[i].argument);
		if (position >= 0)
			found |= UINT32_C(1) << position;
	}
	return found;
}

static void
add_function(EmbedSearch *search, Oid oid)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
	Form_pg_proc form;
	EmbedModelFunction *function;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	function = palloc0(sizeof(EmbedModelFunction));
	function->oid = oid;
	function->name = pstrdup(NameStr(form->proname));
	function->model_args = model_arguments(tuple, function->name);
	function->takes_alias = strcmp(function->name, "embed_compare") == 0;
	function->reranks = strncmp(function->name, "rerank", strlen("rerank")) == 0;
	function->cuts = strcmp(function->name, "embed_chunk_trigger") == 0;
	function->is_trigger = function->cuts || strcmp(function->name, "embed_trigger") == 0;
	search->functions = lappend(search->functions, function);
	ReleaseSysCache(tuple);
}

static bool
has_form_with_model(const EmbedSearch *search, const EmbedModelFunction *function)
{
	ListCell   *cell;

	foreach(cell, search->functions)
	{
		const EmbedModelFunction *other = lfirst(cell);

		if (other->model_args != 0 && strcmp(other->name, function->name) == 0)
			return true;
	}
	return false;
}

/* Keeps the functions that take a model, or use the default. */
static void
select_functions(EmbedSearch *search)
{
	List	   *kept = NIL;
	ListCell   *cell;

	foreach(cell, search->functions)
	{
		EmbedModelFunction *function = lfirst(cell);

		function->uses_default = function->model_args == 0 && has_form_with_model(search, function);
		if (function->model_args != 0 || function->uses_default || function->is_trigger)
			kept = lappend(kept, function);
	}
	search->functions = kept;
}

/* All functions that belong to the extension. */
void
embed_search_find_functions(EmbedSearch *search)
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

const EmbedModelFunction *
embed_search_get_function(const EmbedSearch *search, Oid oid)
{
	ListCell   *cell;

	/* expressions use mostly built-in functions; the extension has a few dozen */
	if (oid < FirstNormalObjectId)
		return NULL;
	foreach(cell, search->functions)
	{
		const EmbedModelFunction *function = lfirst(cell);

		if (function->oid == oid)
			return function;
	}
	return NULL;
}

/* --------------------------------------------------------------- names */

bool
embed_search_is_name(const char *s, const char *name)
{
	size_t		len = strlen(name);

	return strncmp(s, name, len) == 0 && (s[len] == '\0' || s[len] == '@');
}

const char *
embed_search_model_or_alias(const EmbedSearch *search, const char *s)
{
	ListCell   *cell;

	if (embed_search_is_name(s, search->name))
		return search->name;
	foreach(cell, search->aliases)
	{
		if (embed_search_is_name(s, lfirst(cell)))
			return lfirst(cell);
	}
	return NULL;
}

char *
embed_search_describe_name(const EmbedSearch *search, const char *name)
{
	return psprintf("%s \"%s\"", name == search->name ? "model" : "alias", name);
}

/* --------------------------------------------------------------- found */

void
embed_search_add(EmbedSearch *search, EmbedDependentKind kind, EmbedDependentCause cause,
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

void
embed_search_add_object(EmbedSearch *search, EmbedDependentKind kind, EmbedDependentCause cause, const ObjectAddress *address,
						const char *detail, const char *name)
{
	char	   *object = embed_object_description(address);
	char	   *identity = embed_object_identity(address);

	if (object != NULL && identity != NULL)
		embed_search_add(search, kind, cause, object, identity, detail, name);
}

char *
embed_search_get_text(Relation rel, HeapTuple tuple, AttrNumber attno)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attno, RelationGetDescr(rel), &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}
