/*
 * refill.c
 *		embed_refill: another model's vectors beside a kept column.
 *
 * Every step commits, and looks first whether it was done before: a call goes
 * on where another one ended, whatever ended it. The state is the column, its
 * trigger and its index, nothing else. The column is kept in the mode of the
 * one beside it, so that in mode now the rows that are to do become fewer and
 * not more. Searches are held up while the column is added, writers while the
 * index of what is to do is made.
 */
#include "pg/kept/switch.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "pg/kept/column_make.h"
#include "pg/kept/column_sql.h"
#include "pg/kept/column_table.h"
#include "pg/kept/column_type.h"
#include "pg/kept/fill.h"
#include "pg/kept/fill_call.h"
#include "pg/sql/vector.h"
#include "pg/store/registry.h"

EMBED_FUNCTION(embed_refill);

typedef struct Refill
{
	EmbedColumnWanted wanted;	/* wanted.vector: the new column */
	char	   *vector;			/* the column beside it */
	bool		has_column;
	bool		is_kept;		/* by the wanted model */
	bool		has_index;
	bool		has_other_index;	/* of other sources */
} Refill;

/* ------------------------------------------------------------ what there is */

/* How to end the refill that runs, as commands. */
static char *
give_up(const Refill *refill)
{
	char	   *table = embed_column_table(refill->wanted.relid);

	return psprintf("SELECT embed_column_drop(%s, %s); ALTER TABLE %s DROP COLUMN %s",
					quote_literal_cstr(table), quote_literal_cstr(refill->wanted.vector), table, quote_identifier(refill->wanted.vector));
}

static void
check_prev(Relation rel, const Refill *refill)
{
	char	   *prev = embed_prev_column(rel, refill->vector);
	char	   *table = embed_column_table(refill->wanted.relid);

	if (get_attnum(refill->wanted.relid, prev) == InvalidAttrNumber)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" still has column \"%s\" of the last switch", RelationGetRelationName(rel), prev),
			 errhint("SELECT embed_switch(%s, %s) goes back to it. Or end it: SELECT embed_column_drop(%s, %s); ALTER TABLE %s DROP COLUMN %s",
					 quote_literal_cstr(table), quote_literal_cstr(refill->vector), quote_literal_cstr(table), quote_literal_cstr(prev),
					 table, quote_identifier(prev))));
}

/* A column of that name which nothing keeps: what an earlier refill left, or anything. */
static void
check_left(Relation rel, const Refill *refill, const EmbedKeptColumn *kept)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), get_attnum(refill->wanted.relid, refill->wanted.vector) - 1);

	if (getBaseType(att->atttypid) == getBaseType(kept->columns.vector.type) && att->attgenerated == '\0')
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_COLUMN),
			 errmsg("table \"%s\" has a column \"%s\" already, of another type than column \"%s\"", RelationGetRelationName(rel),
					refill->wanted.vector, refill->vector),
			 errhint("Rename or drop it.")));
}

static void
check_running(Relation rel, Refill *refill, const EmbedKeptColumn *kept)
{
	const EmbedKeptColumn *next;

	refill->is_kept = embed_switch_trigger(rel, refill->wanted.vector) != NULL;
	if (!refill->is_kept)
	{
		check_left(rel, refill, kept);
		return;
	}
	next = embed_switch_kept(rel, refill->wanted.vector);
	if (!embed_column_is_model(next, &refill->wanted.model))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("column \"%s\" of table \"%s\" is being filled by model \"%s\", not \"%s\"", refill->wanted.vector,
						RelationGetRelationName(rel), next->names_model ? next->model.name : "default", refill->wanted.model.model),
				 errhint("Go on with that model, or give it up: %s", give_up(refill))));
	if (!embed_column_has_sources(&kept->columns, &next->columns))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("columns \"%s\" and \"%s\" of table \"%s\" are kept for different texts", refill->vector, refill->wanted.vector,
						RelationGetRelationName(rel)),
				 errhint("Give the refill up: %s", give_up(refill))));
	refill->has_index = embed_column_indexes(rel, next->columns.vector.attnum, &next->columns) != NIL;
	refill->has_other_index = !refill->has_index && embed_column_indexes(rel, next->columns.vector.attnum, NULL) != NIL;
}

static void
look(Relation rel, Refill *refill)
{
	EmbedKeptColumn *kept;
	const char *reason;

	embed_switch_check_table(rel);
	refill->wanted.vector = embed_next_column(rel, refill->vector);
	kept = embed_switch_kept(rel, refill->vector);
	reason = rel->rd_rel->relkind == RELKIND_RELATION ? embed_fill_left_alone(rel, kept) : NULL;
	if (reason != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a column beside column \"%s\" of table \"%s\" cannot be filled: %s", refill->vector, RelationGetRelationName(rel), reason)));
	if (embed_column_is_model(kept, &refill->wanted.model))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" of table \"%s\" is kept by model \"%s\" already", refill->vector, RelationGetRelationName(rel),
						refill->wanted.model.model),
				 errhint("Name another model. CALL embed_fill(...) fills the column itself.")));
	check_prev(rel, refill);
	refill->wanted.source = pstrdup(embed_switch_trigger(rel, refill->vector)->tgargs[1]);
	refill->wanted.is_later = kept->is_later;
	refill->has_column = get_attnum(refill->wanted.relid, refill->wanted.vector) != InvalidAttrNumber;
	refill->is_kept = refill->has_index = refill->has_other_index = false;
	if (refill->has_column)
		check_running(rel, refill, kept);
}

/* Looks, as the table's owner, whose types and casts are met. Keeps the lock until the transaction ends; NoLock: keeps none. */
static void
look_again(Refill *refill, LOCKMODE lock)
{
	Relation	rel = embed_column_open(refill->wanted.relid, lock == NoLock ? AccessShareLock : lock, "embed_refill");
	EmbedCaller caller = embed_fill_as_owner(rel);

	look(rel, refill);
	embed_as_caller(&caller);
	relation_close(rel, lock == NoLock ? AccessShareLock : NoLock);
}

/* ------------------------------------------------------------ the column */

/* The type of the column beside it, for as many dimensions as the model has. */
static char *
column_type(Relation rel, const Refill *refill)
{
	const EmbedTriggerColumn *vector = &embed_switch_kept(rel, refill->vector)->columns.vector;

	/* a domain over vector(384) takes 384 dimensions only: its base type */
	if (embed_column_type_has_other_dim(vector, refill->wanted.dim))
		return embed_column_type_like(vector, refill->wanted.dim);
	return format_type_extended(vector->type, vector->typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

/* Nothing if it is the type's. */
static const char *
storage_clause(Relation rel, const Refill *refill)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), get_attnum(refill->wanted.relid, refill->vector) - 1);
	const char *name = att->attstorage == TYPSTORAGE_PLAIN ? "PLAIN" : att->attstorage == TYPSTORAGE_EXTERNAL ? "EXTERNAL" :
		att->attstorage == TYPSTORAGE_MAIN ? "MAIN" : "EXTENDED";

	if (att->attstorage == get_typstorage(att->atttypid))
		return "";
	return psprintf(", ALTER COLUMN %s SET STORAGE %s", quote_identifier(refill->wanted.vector), name);
}

/* A domain, or a type of a fixed length, would refuse every row that is written from now on. */
static void
check_type(const Refill *refill, const char *type)
{
	float	   *elements;
	ArrayType  *vector = embed_vector_new(refill->wanted.dim, &elements);
	Oid			types[1] = {FLOAT4ARRAYOID};
	Datum		values[1] = {PointerGetDatum(vector)};

	memset(elements, 0, refill->wanted.dim * sizeof(float));
	elements[0] = 1;
	if (SPI_execute_with_args(psprintf("SELECT ($1)::%s", type), 1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not try a vector");
}

/* ADD COLUMN calls the checks of a domain. */
static void
add_column(Refill *refill)
{
	Relation	rel;
	EmbedCaller caller;
	char	   *type;
	char	   *command;

	look_again(refill, AccessExclusiveLock);
	if (refill->has_column)
		return;
	rel = embed_column_open(refill->wanted.relid, NoLock, "embed_refill");
	caller = embed_fill_as_owner(rel);
	type = column_type(rel, refill);
	command = psprintf("ALTER TABLE %s ADD COLUMN %s %s%s", embed_column_table(refill->wanted.relid),
					   quote_identifier(refill->wanted.vector), type, storage_clause(rel, refill));
	check_type(refill, type);
	relation_close(rel, NoLock);
	embed_column_run(command, SPI_OK_UTILITY);
	embed_as_caller(&caller);
	embed_column_create_trigger(&refill->wanted);
}

static void
commit(void)
{
	SPI_commit();
	SPI_start_transaction();
}

/*
 * Waited for by nobody who searches, unless DROP INDEX has to wait for those: it
 * must not with a lock that keeps who has searched from writing. Two calls would
 * both pass the ShareLock of CREATE INDEX.
 */
static void
make_index(Refill *refill)
{
	LOCKMODE	lock = refill->has_other_index ? AccessExclusiveLock : ShareRowExclusiveLock;

	look_again(refill, lock);
	if (refill->has_other_index && lock != AccessExclusiveLock)
	{
		commit();
		look_again(refill, AccessExclusiveLock);
	}
	if (!refill->has_index)
		embed_column_make_index(&refill->wanted);
}

static void
make(Refill *refill)
{
	look_again(refill, NoLock);
	if (!refill->has_column)
	{
		add_column(refill);
		commit();
		look_again(refill, NoLock);
	}
	/* whatever an earlier refill left in the column becomes NULL */
	if (!refill->is_kept)
	{
		refill->wanted.given_model = refill->wanted.model.model;
		refill->wanted.given_mode = refill->wanted.is_later ? "later" : "now";
		(void) embed_column_make(&refill->wanted);
	}
	else if (!refill->has_index)
		make_index(refill);
	commit();
}

/* ------------------------------------------------------------ the end */

static void
report(Refill *refill)
{
	Relation	rel;
	EmbedCaller caller;
	EmbedKeptColumn *from;
	EmbedKeptColumn *to;
	char	   *missing;
	int64		n;

	look_again(refill, AccessShareLock);
	rel = embed_column_open(refill->wanted.relid, NoLock, "embed_refill");
	caller = embed_fill_as_owner(rel);
	from = embed_switch_kept(rel, refill->vector);
	to = embed_switch_kept(rel, refill->wanted.vector);
	(void) embed_switch_pair_indexes(rel, from, to, &missing);
	n = embed_switch_to_do(rel, to);
	embed_as_caller(&caller);
	if (n == 0)
		ereport(NOTICE,
				(errmsg("column \"%s\" of table \"%s\" is complete", refill->wanted.vector, RelationGetRelationName(rel)),
				 missing != NULL ? errhint("Before the switch: %s", missing) :
				 errhint("SELECT embed_switch(%s, %s)", quote_literal_cstr(embed_column_table(refill->wanted.relid)),
						 quote_literal_cstr(refill->vector))));
	else
		ereport(NOTICE,
				(errmsg_plural(INT64_FORMAT " row of column \"%s\" of table \"%s\" is to do", INT64_FORMAT " rows of column \"%s\" of table \"%s\" are to do",
							   n, n, refill->wanted.vector, RelationGetRelationName(rel)),
				 errhint("CALL embed_refill again. The view embed_failures has texts that could not be embedded.")));
	relation_close(rel, NoLock);
}

/* embed_refill(tab regclass, vector name, model text), a procedure */
Datum
embed_refill(PG_FUNCTION_ARGS)
{
	Refill		refill = {0};
	const char *model;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("embed_refill: %s is NULL", PG_ARGISNULL(0) ? "the table" : PG_ARGISNULL(1) ? "the vector column" : "the model")));
	embed_fill_require_top_level(fcinfo, "embed_refill");
	embed_column_check_may_write("embed_refill()");
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	refill.wanted.relid = PG_GETARG_OID(0);
	refill.wanted.may_retype = true;
	refill.vector = pstrdup(NameStr(*PG_GETARG_NAME(1)));
	model = text_to_cstring(PG_GETARG_TEXT_PP(2));
	refill.wanted.schema = get_namespace_name(get_func_namespace(fcinfo->flinfo->fn_oid));
	/* who may not change the table learns nothing of models, and waits for none */
	relation_close(embed_column_open(refill.wanted.relid, AccessShareLock, "embed_refill"), AccessShareLock);
	embed_names_resolve(model, EMB_KIND_EMBEDDING, EMBED_NAME_ALIAS_TOO, &refill.wanted.model);
	/* before any lock: the first call writes and maps the image */
	refill.wanted.dim = embed_registry_lookup(refill.wanted.model.model, EMB_KIND_EMBEDDING, EMBED_NAME_ALIAS_TOO)->info->dim;
	make(&refill);
	(void) embed_fill_here(refill.wanted.relid, refill.wanted.vector, PG_UINT64_MAX);
	report(&refill);
	SPI_finish();
	PG_RETURN_VOID();
}
