/*
 * switch_indexes.c
 *		The indexes of a vector column, and their likes on another: the same
 *		access method, operator classes, expressions and condition, with the
 *		other column in the place of the one. Parameters (m, lists, ..) may differ.
 */
#include "pg/kept/switch.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_class.h"
#include "catalog/pg_opclass.h"
#include "commands/defrem.h"
#include "commands/tablespace.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "pg/kept/column_sql.h"
#include "pg/store/registry.h"

/* From one column's expressions to the other's. */
typedef struct Mapping
{
	Relation	rel;
	EmbedTriggerColumn from;
	EmbedTriggerColumn to;
	const EmbedKeptColumn *from_kept;
	const EmbedKeptColumn *to_kept;
	int32		from_dim;		/* 0: not looked up */
	int32		to_dim;
} Mapping;

/* ------------------------------------------------------------- expressions */

static bool
reads_column(Node *node, void *attnum)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varattno == *(AttrNumber *) attnum;
	return expression_tree_walker(node, reads_column, attnum);
}

/* An index on embedding::vector(384): the number is the model's. */
static void
find_dims(Mapping *mapping)
{
	if (mapping->from_dim != 0)
		return;
	mapping->from_dim = embed_registry_lookup(mapping->from_kept->names_model ? mapping->from_kept->model.name : NULL,
											  EMB_KIND_EMBEDDING, EMBED_NAME_ALIAS_TOO)->info->dim;
	mapping->to_dim = embed_registry_lookup(mapping->to_kept->names_model ? mapping->to_kept->model.name : NULL,
											EMB_KIND_EMBEDDING, EMBED_NAME_ALIAS_TOO)->info->dim;
}

/* The other column, and its model's dimensions in casts of it. */
static Node *
map_node(Node *node, void *context)
{
	Mapping    *mapping = context;
	Node	   *copy;
	int32		typmod;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var		   *var = embed_copy_node(node);

		if (var->varattno == mapping->from.attnum)
		{
			var->varattno = var->varattnosyn = mapping->to.attnum;
			var->vartype = mapping->to.type;
			var->vartypmod = mapping->to.typmod;
		}
		return (Node *) var;
	}
	copy = expression_tree_mutator(node, map_node, context);
	if (IsA(copy, FuncExpr) && exprIsLengthCoercion(copy, &typmod) && reads_column(node, &mapping->from.attnum))
	{
		Const	   *dim = lsecond(((FuncExpr *) copy)->args);

		find_dims(mapping);
		if (typmod == mapping->from_dim)
			dim->constvalue = Int32GetDatum(mapping->to_dim);
	}
	else if (IsA(copy, RelabelType) && ((RelabelType *) copy)->resulttypmod == mapping->from.typmod)
		((RelabelType *) copy)->resulttypmod = mapping->to.typmod;
	return copy;
}

static List *
map_list(Mapping *mapping, List *list)
{
	return (List *) map_node((Node *) list, mapping);
}

/* ------------------------------------------------------------- likeness */

/* The column of the other index's, or 0 for an expression. */
static AttrNumber
map_key(const Mapping *mapping, AttrNumber attnum)
{
	return attnum == mapping->from.attnum ? mapping->to.attnum : attnum;
}

static bool
uses_column(Relation index, AttrNumber attnum)
{
	for (int i = 0; i < index->rd_index->indnatts; i++)
	{
		if (index->rd_index->indkey.values[i] == attnum)
			return true;
	}
	return reads_column((Node *) RelationGetIndexExpressions(index), &attnum) ||
		reads_column((Node *) RelationGetIndexPredicate(index), &attnum);
}

static oidvector *
opclasses(Relation index)
{
	bool		isnull;
	Datum		datum = SysCacheGetAttr(INDEXRELID, index->rd_indextuple, Anum_pg_index_indclass, &isnull);

	return (oidvector *) DatumGetPointer(datum);
}

static bool
has_same_keys(const Mapping *mapping, Relation a, Relation b)
{
	const oidvector *of_a = opclasses(a);
	const oidvector *of_b = opclasses(b);

	if (a->rd_index->indnatts != b->rd_index->indnatts || a->rd_index->indnkeyatts != b->rd_index->indnkeyatts)
		return false;
	for (int i = 0; i < a->rd_index->indnatts; i++)
	{
		if (map_key(mapping, a->rd_index->indkey.values[i]) != b->rd_index->indkey.values[i])
			return false;
		if (i < a->rd_index->indnkeyatts &&
			(of_a->values[i] != of_b->values[i] || a->rd_indcollation[i] != b->rd_indcollation[i] ||
			 a->rd_indoption[i] != b->rd_indoption[i]))
			return false;
	}
	return true;
}

static bool
is_like(Mapping *mapping, Relation a, Relation b)
{
	return a->rd_rel->relam == b->rd_rel->relam && a->rd_index->indisunique == b->rd_index->indisunique &&
		b->rd_index->indisvalid && b->rd_index->indisready && has_same_keys(mapping, a, b) &&
		equal(map_list(mapping, RelationGetIndexExpressions(a)), RelationGetIndexExpressions(b)) &&
		equal(map_list(mapping, RelationGetIndexPredicate(a)), RelationGetIndexPredicate(b));
}

/* The first index that is like, and is nobody else's. */
static Oid
find_like(Mapping *mapping, Relation index, List *indexes, List *taken)
{
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	other;
		bool		found;

		if (lfirst_oid(cell) == RelationGetRelid(index) || list_member_oid(taken, lfirst_oid(cell)))
			continue;
		other = index_open(lfirst_oid(cell), AccessShareLock);
		found = is_like(mapping, index, other);
		index_close(other, AccessShareLock);
		if (found)
			return lfirst_oid(cell);
	}
	return InvalidOid;
}

/* ------------------------------------------------------------- definitions */

/* Expressions or condition as they were written: those of the relation cache are simplified, and lose collations. */
static List *
written(Relation index, AttrNumber attribute)
{
	bool		isnull;
	Datum		tree = SysCacheGetAttr(INDEXRELID, index->rd_indextuple, attribute, &isnull);
	Node	   *node = isnull ? NULL : stringToNode(TextDatumGetCString(tree));

	return node == NULL ? NIL : IsA(node, List) ? (List *) node : list_make1(node);
}

static void
put_options(StringInfo sql, Datum options)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(options), TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *option = TextDatumGetCString(values[i]);
		char	   *value = strchr(option, '=');

		if (value != NULL)
			*value++ = '\0';
		appendStringInfo(sql, "%s%s=%s", i > 0 ? ", " : "", quote_identifier(option), quote_literal_cstr(value != NULL ? value : "true"));
	}
}

/* Collation, operator class and order of a key, where they are not the default. */
static void
put_key_properties(StringInfo sql, Relation index, int i, Oid type, Oid collation)
{
	Oid			opclass = opclasses(index)->values[i];
	Datum		options = get_attoptions(RelationGetRelid(index), (int16) (i + 1));
	int16		order = index->rd_indoption[i];

	if (OidIsValid(index->rd_indcollation[i]) && index->rd_indcollation[i] != collation)
		appendStringInfo(sql, " COLLATE %s", generate_collation_name(index->rd_indcollation[i]));
	if (opclass != GetDefaultOpClass(type, index->rd_rel->relam) || options != (Datum) 0)
	{
		HeapTuple	tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
		Form_pg_opclass form;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for operator class %u", opclass);
		form = (Form_pg_opclass) GETSTRUCT(tuple);
		appendStringInfo(sql, " %s", OpclassIsVisible(opclass) ? quote_identifier(NameStr(form->opcname)) :
						 quote_qualified_identifier(get_namespace_name(form->opcnamespace), NameStr(form->opcname)));
		ReleaseSysCache(tuple);
	}
	if (options != (Datum) 0)
	{
		appendStringInfoString(sql, " (");
		put_options(sql, options);
		appendStringInfoChar(sql, ')');
	}
	if (order & INDOPTION_DESC)
		appendStringInfoString(sql, (order & INDOPTION_NULLS_FIRST) ? " DESC" : " DESC NULLS LAST");
	else if (order & INDOPTION_NULLS_FIRST)
		appendStringInfoString(sql, " NULLS FIRST");
}

static void
put_keys(StringInfo sql, Mapping *mapping, Relation index)
{
	List	   *expressions = written(index, Anum_pg_index_indexprs);
	ListCell   *expression = list_head(expressions);
	List	   *names = deparse_context_for(RelationGetRelationName(mapping->rel), RelationGetRelid(mapping->rel));
	int			n_keys = index->rd_index->indnkeyatts;

	for (int i = 0; i < index->rd_index->indnatts; i++)
	{
		AttrNumber	attnum = map_key(mapping, index->rd_index->indkey.values[i]);
		Oid			type;
		Oid			collation;

		appendStringInfoString(sql, i == 0 ? "" : i == n_keys ? ") INCLUDE (" : ", ");
		if (attnum != 0)
		{
			Form_pg_attribute att = TupleDescAttr(RelationGetDescr(mapping->rel), attnum - 1);

			appendStringInfoString(sql, quote_identifier(NameStr(att->attname)));
			type = att->atttypid;
			collation = att->attcollation;
		}
		else
		{
			Node	   *node = map_node(lfirst(expression), mapping);

			expression = lnext(expressions, expression);
			appendStringInfo(sql, "(%s)", deparse_expression(node, names, false, false));
			type = exprType(node);
			collation = exprCollation(node);
		}
		if (i < n_keys)
			put_key_properties(sql, index, i, type, collation);
	}
}

/* CREATE INDEX for the other column. */
static char *
definition(Mapping *mapping, Relation index)
{
	Relation	rel = mapping->rel;
	List	   *predicate = map_list(mapping, written(index, Anum_pg_index_indpred));
	char	   *name = ChooseRelationName(RelationGetRelationName(rel), NameStr(mapping->to.name), "idx", RelationGetNamespace(rel), false);
	StringInfoData sql;
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(RelationGetRelid(index)));
	Datum		options;
	bool		isnull;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE %sINDEX %s ON %s USING %s (", index->rd_index->indisunique ? "UNIQUE " : "",
					 quote_identifier(name), embed_column_table(RelationGetRelid(rel)), quote_identifier(get_am_name(index->rd_rel->relam)));
	put_keys(&sql, mapping, index);
	appendStringInfoChar(&sql, ')');
	options = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_reloptions, &isnull);
	if (!isnull)
	{
		appendStringInfoString(&sql, " WITH (");
		put_options(&sql, options);
		appendStringInfoChar(&sql, ')');
	}
	ReleaseSysCache(tuple);
	if (OidIsValid(index->rd_rel->reltablespace))
		appendStringInfo(&sql, " TABLESPACE %s", quote_identifier(get_tablespace_name(index->rd_rel->reltablespace)));
	if (predicate != NIL)
		appendStringInfo(&sql, " WHERE %s",
						 deparse_expression((Node *) make_ands_explicit(predicate),
											deparse_context_for(RelationGetRelationName(rel), RelationGetRelid(rel)), false, false));
	return sql.data;
}

/* ------------------------------------------------------------- pairs */

static List *
add_pair(List *pairs, Oid from, Oid to, bool is_to_do)
{
	EmbedIndexPair *pair = palloc(sizeof(EmbedIndexPair));

	pair->from = from;
	pair->to = to;
	pair->is_to_do = is_to_do;
	return lappend(pairs, pair);
}

/* Indexes of partitions that are parts of an index of the partitioned table are looked at with it. */
static List *
own_indexes(Relation rel)
{
	List	   *all = RelationGetIndexList(rel);
	List	   *own = NIL;
	ListCell   *cell;

	foreach(cell, all)
	{
		if (!get_rel_relispartition(lfirst_oid(cell)))
			own = lappend_oid(own, lfirst_oid(cell));
	}
	list_free(all);
	return own;
}

/* The to-do indexes of a column among these. */
static List *
to_do_indexes(const Mapping *mapping, AttrNumber attnum, List *own)
{
	List	   *all = embed_column_indexes(mapping->rel, attnum, NULL);

	return list_difference_oid(all, list_difference_oid(all, own));
}

static List *
pair_to_do(Mapping *mapping, List *pairs, List *own, List **taken)
{
	List	   *of_from = to_do_indexes(mapping, mapping->from.attnum, own);
	List	   *of_to = to_do_indexes(mapping, mapping->to.attnum, own);

	*taken = list_concat_unique_oid(list_copy(of_from), of_to);
	if (list_length(of_from) == 1 && list_length(of_to) == 1)
		pairs = add_pair(pairs, linitial_oid(of_from), linitial_oid(of_to), true);
	return pairs;
}

static List *
pair_table(Mapping *mapping, List *pairs, char **missing)
{
	List	   *own = own_indexes(mapping->rel);
	List	   *taken;
	ListCell   *cell;

	pairs = pair_to_do(mapping, pairs, own, &taken);
	foreach(cell, own)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		Oid			like = InvalidOid;

		if (!list_member_oid(taken, lfirst_oid(cell)) && index->rd_index->indisvalid && uses_column(index, mapping->from.attnum))
		{
			like = find_like(mapping, index, own, taken);
			if (!OidIsValid(like) && *missing == NULL)
				*missing = definition(mapping, index);
		}
		index_close(index, AccessShareLock);
		if (!OidIsValid(like))
			continue;
		taken = lappend_oid(taken, like);
		pairs = add_pair(pairs, lfirst_oid(cell), like, false);
	}
	return pairs;
}

/* The same columns in a partition, where they may have other numbers. */
static void
find_column(Relation rel, EmbedTriggerColumn *column)
{
	Form_pg_attribute att;

	column->attnum = get_attnum(RelationGetRelid(rel), NameStr(column->name));
	if (column->attnum == InvalidAttrNumber)
		elog(ERROR, "table \"%s\" has no column \"%s\"", RelationGetRelationName(rel), NameStr(column->name));
	att = TupleDescAttr(RelationGetDescr(rel), column->attnum - 1);
	column->type = att->atttypid;
	column->typmod = att->atttypmod;
}

List *
embed_switch_pair_indexes(Relation rel, const EmbedKeptColumn *from, const EmbedKeptColumn *to, char **missing)
{
	Mapping		mapping = {.from = from->columns.vector, .to = to->columns.vector, .from_kept = from, .to_kept = to};
	List	   *pairs = NIL;
	ListCell   *cell;

	*missing = NULL;
	foreach(cell, embed_switch_tables(rel, AccessShareLock))
	{
		mapping.rel = relation_open(lfirst_oid(cell), NoLock);
		find_column(mapping.rel, &mapping.from);
		find_column(mapping.rel, &mapping.to);
		pairs = pair_table(&mapping, pairs, missing);
		relation_close(mapping.rel, NoLock);
	}
	return pairs;
}

/* ------------------------------------------------------------- names */

static void
rename_index(Oid index, const char *name)
{
	embed_column_run(psprintf("ALTER INDEX %s RENAME TO %s", embed_column_table(index), quote_identifier(name)), SPI_OK_UTILITY);
}

void
embed_switch_rename_indexes(List *pairs, const char *name)
{
	ListCell   *cell;

	foreach(cell, pairs)
	{
		const EmbedIndexPair *pair = lfirst(cell);
		Oid			table = IndexGetRelation(pair->from, false);
		char	   *first = get_rel_name(pair->from);

		rename_index(pair->from, ChooseRelationName(get_rel_name(table), name, pair->is_to_do ? "to_do" : "idx",
													get_rel_namespace(pair->from), false));
		rename_index(pair->to, first);
	}
}
