/*
 * dependent_objects.c
 *		The objects whose expressions call for the model: indexes, generated
 *		columns, views, triggers and so on.
 *
 * pg_depend shows which objects call our functions, but not with which model.
 * So the expressions of these objects, and only these, are parsed from the
 * catalogs and searched.
 */
#include "pg/sql/dependent_search.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_index.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_partitioned_table.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_publication_rel.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* ------------------------------------------- objects that call functions */

static void
search_index(EmbedSearch *search, Relation rel, HeapTuple tuple)
{
	ObjectAddress address;

	ObjectAddressSet(address, RelationRelationId, ((Form_pg_index) GETSTRUCT(tuple))->indexrelid);
	(void) embed_search_tree(search, EMBED_DEPENDENT_INDEX, &address, embed_search_get_text(rel, tuple, Anum_pg_index_indexprs));
	(void) embed_search_tree(search, EMBED_DEPENDENT_INDEX_PREDICATE, &address, embed_search_get_text(rel, tuple, Anum_pg_index_indpred));
}

static void
search_partition_key(EmbedSearch *search, Relation rel, HeapTuple tuple)
{
	ObjectAddress address;

	ObjectAddressSet(address, RelationRelationId, ((Form_pg_partitioned_table) GETSTRUCT(tuple))->partrelid);
	(void) embed_search_tree(search, EMBED_DEPENDENT_PARTITION_KEY, &address, embed_search_get_text(rel, tuple, Anum_pg_partitioned_table_partexprs));
}

static void
search_default(EmbedSearch *search, Relation rel, HeapTuple tuple)
{
	Form_pg_attrdef form = (Form_pg_attrdef) GETSTRUCT(tuple);
	ObjectAddress address;
	bool		is_generated = get_attgenerated(form->adrelid, form->adnum) != '\0';

	ObjectAddressSubSet(address, RelationRelationId, form->adrelid, form->adnum);
	(void) embed_search_tree(search, is_generated ? EMBED_DEPENDENT_GENERATED : EMBED_DEPENDENT_COLUMN_DEFAULT, &address,
							 embed_search_get_text(rel, tuple, Anum_pg_attrdef_adbin));
}

#ifdef EMBED_GENERATED_COLUMN_DEPENDS_ITSELF
/* Only generated columns: other catalogs lead to the other defaults. */
static void
search_generated(EmbedSearch *search, Relation rel, HeapTuple tuple)
{
	Form_pg_attrdef form = (Form_pg_attrdef) GETSTRUCT(tuple);

	if (get_attgenerated(form->adrelid, form->adnum) != '\0')
		search_default(search, rel, tuple);
}
#endif

static void
search_check(EmbedSearch *search, Relation rel, HeapTuple tuple)
{
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);
	ObjectAddress address;

	ObjectAddressSet(address, ConstraintRelationId, form->oid);
	(void) embed_search_tree(search, OidIsValid(form->contypid) ? EMBED_DEPENDENT_DOMAIN_CHECK : EMBED_DEPENDENT_CHECK, &address,
							 embed_search_get_text(rel, tuple, Anum_pg_constraint_conbin));
}

static void
search_statistics(EmbedSearch *search, Relation rel, HeapTuple tuple)
{
#ifdef EMBED_HAS_STATISTICS_EXPRESSIONS
	ObjectAddress address;

	ObjectAddressSet(address, StatisticExtRelationId, ((Form_pg_statistic_ext) GETSTRUCT(tuple))->oid);
	(void) embed_search_tree(search, EMBED_DEPENDENT_STATISTICS, &address, embed_search_get_text(rel, tuple, Anum_pg_statistic_ext_stxexprs));
#endif
}

/* Reports a view instead of its rule, because users know the view. */
static void
search_rule(EmbedSearch *search, Relation rel, HeapTuple tuple)
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
	if (!embed_search_tree(search, kind, &address, embed_search_get_text(rel, tuple, Anum_pg_rewrite_ev_action)))
		(void) embed_search_tree(search, kind, &address, embed_search_get_text(rel, tuple, Anum_pg_rewrite_ev_qual));
}

static void
search_policy(EmbedSearch *search, Relation rel, HeapTuple tuple)
{
	ObjectAddress address;

	ObjectAddressSet(address, PolicyRelationId, ((Form_pg_policy) GETSTRUCT(tuple))->oid);
	if (!embed_search_tree(search, EMBED_DEPENDENT_POLICY, &address, embed_search_get_text(rel, tuple, Anum_pg_policy_polqual)))
		(void) embed_search_tree(search, EMBED_DEPENDENT_POLICY, &address, embed_search_get_text(rel, tuple, Anum_pg_policy_polwithcheck));
}

/* Today row filters accept only built-in functions; the check is free. */
static void
search_publication(EmbedSearch *search, Relation rel, HeapTuple tuple)
{
#ifdef EMBED_HAS_ROW_FILTERS
	ObjectAddress address;

	ObjectAddressSet(address, PublicationRelRelationId, ((Form_pg_publication_rel) GETSTRUCT(tuple))->oid);
	(void) embed_search_tree(search, EMBED_DEPENDENT_PUBLICATION, &address, embed_search_get_text(rel, tuple, Anum_pg_publication_rel_prqual));
#endif
}

/* A body in standard SQL, and argument defaults. */
static void
search_function_trees(EmbedSearch *search, Relation rel, HeapTuple tuple)
{
	ObjectAddress address;

	ObjectAddressSet(address, ProcedureRelationId, ((Form_pg_proc) GETSTRUCT(tuple))->oid);
#ifdef EMBED_HAS_SQL_BODIES
	if (embed_search_tree(search, EMBED_DEPENDENT_FUNCTION, &address, embed_search_get_text(rel, tuple, Anum_pg_proc_prosqlbody)))
		return;
#endif
	(void) embed_search_tree(search, EMBED_DEPENDENT_FUNCTION, &address, embed_search_get_text(rel, tuple, Anum_pg_proc_proargdefaults));
}

static void
search_type(EmbedSearch *search, Relation rel, HeapTuple tuple)
{
	ObjectAddress address;

	ObjectAddressSet(address, TypeRelationId, ((Form_pg_type) GETSTRUCT(tuple))->oid);
	(void) embed_search_tree(search, EMBED_DEPENDENT_DOMAIN_DEFAULT, &address, embed_search_get_text(rel, tuple, Anum_pg_type_typdefaultbin));
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
model_of_trigger(const EmbedSearch *search, const char *argument)
{
	const char *at = strchr(argument, '@');

	return embed_search_model_or_alias(search, at == NULL ? argument : pnstrdup(argument, at - argument));
}

static bool
search_trigger_arguments(EmbedSearch *search, Relation rel, HeapTuple tuple, const ObjectAddress *address)
{
	Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
	const EmbedModelFunction *function = embed_search_get_function(search, form->tgfoid);
	const char *model;
	const char *name;

	if (function == NULL || !function->is_trigger)
		return false;
	model = trigger_argument(rel, tuple, function->cuts ? 3 : 2);
	if (model == NULL)
	{
		if (!search->is_default || search->reranks || function->cuts)
			return false;
		embed_search_add_object(search, EMBED_DEPENDENT_TRIGGER, EMBED_CAUSE_BY_DEFAULT, address,
								"embeds without a model, so it uses the default", search->name);
		return true;
	}
	name = model_of_trigger(search, model);
	if (name == NULL)
		return false;
	embed_search_add_object(search, EMBED_DEPENDENT_TRIGGER, EMBED_CAUSE_NAMES, address,
							psprintf("%s with %s", function->cuts ? "cuts texts" : "embeds", embed_search_describe_name(search, name)), name);
	return true;
}

static void
search_trigger(EmbedSearch *search, Relation rel, HeapTuple tuple)
{
	Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
	ObjectAddress address;

	/* copies in partitions come and go with the partitioned table's trigger */
	if (OidIsValid(form->tgparentid))
		return;
	ObjectAddressSet(address, TriggerRelationId, form->oid);
	if (!search_trigger_arguments(search, rel, tuple, &address))
		(void) embed_search_tree(search, EMBED_DEPENDENT_TRIGGER, &address, embed_search_get_text(rel, tuple, Anum_pg_trigger_tgqual));
}

/* --------------------------------------------------------- dependencies */

/* How to find and search the catalog row of an object that calls our functions. */
typedef struct Catalog
{
	Oid			class_id;		/* of the object */
	Oid			relid;			/* where its expressions are */
	Oid			index_id;
	AttrNumber	key;
	void		(*search) (EmbedSearch *search, Relation rel, HeapTuple tuple);
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
search_rows(EmbedSearch *search, const Catalog *catalog, Relation rel, Oid oid)
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
search_catalog(EmbedSearch *search, const Catalog *catalog, const Addresses *addresses)
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

void
embed_search_objects(EmbedSearch *search)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	Addresses	addresses = {0};
	ListCell   *cell;

	foreach(cell, search->functions)
		collect_dependents(depend, ProcedureRelationId, ((EmbedModelFunction *) lfirst(cell))->oid, &addresses);
	table_close(depend, AccessShareLock);
	remove_duplicates(&addresses);
	for (int i = 0; i < (int) lengthof(catalogs); i++)
		search_catalog(search, &catalogs[i], &addresses);
}
