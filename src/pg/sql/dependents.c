/*
 * dependents.c
 *		What a drop of a model would break or change: embed_dependents().
 *
 * Objects that call our functions are found by pg_depend (dependent_objects.c)
 * and their expressions searched (dependent_calls.c). Aliases and defaults,
 * settings (dependent_settings.c) and function bodies (dependent_bodies.c) have
 * no pg_depend entries and are searched separately.
 */
#include "pg/sql/dependents.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "pg/sql/dependent_search.h"
#include "pg/sql/rows.h"
#include "pg/store/storage.h"
#include "pg/store/tables.h"

EMBED_FUNCTION(embed_dependents);

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

/* ------------------------------------------------------------ our tables */

static void
search_names(EmbedSearch *search)
{
	ListCell   *cell;

	search->aliases = embed_storage_aliases_of(search->name);
	foreach(cell, search->aliases)
		embed_search_add(search, EMBED_DEPENDENT_ALIAS, EMBED_CAUSE_NAMES, psprintf("alias \"%s\"", (char *) lfirst(cell)), lfirst(cell),
						 psprintf("stands for model \"%s\"", search->name), search->name);
	for (int kind = 0; kind < 2; kind++)
	{
		const char *kind_name = embed_kind_name(kind == 0 ? EMB_KIND_EMBEDDING : EMB_KIND_RERANKER);
		char	   *model = embed_storage_find_default(kind_name, NULL);

		if (model == NULL || strcmp(model, search->name) != 0)
			continue;
		search->is_default = true;
		search->reranks = kind == 1;
		embed_search_add(search, EMBED_DEPENDENT_DEFAULT, EMBED_CAUSE_NAMES, psprintf("default %s model", kind_name), kind_name,
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
	EmbedSearch search = {.name = name, .cxt = CurrentMemoryContext};

	search.row_cxt = AllocSetContextCreate(CurrentMemoryContext, "embed dependents", ALLOCSET_DEFAULT_SIZES);
	embed_search_find_functions(&search);
	search_names(&search);
	embed_search_objects(&search);
	embed_search_bodies(&search);
	embed_search_role_settings(&search);
	embed_search_server_settings(&search);
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
