/*
 * trigger_depends.c
 *		The columns of a kept column's trigger, as dependencies in pg_depend.
 *
 * A trigger names its columns in its arguments, which the server does not look
 * at. So embed_column records them, as the server does for an index:
 *
 *		vector column	DEPENDENCY_AUTO		DROP COLUMN drops the trigger
 *		source columns	DEPENDENCY_NORMAL	DROP COLUMN needs CASCADE
 *
 * The server refuses to change the type of a column on which a trigger depends:
 * for sources that is right, since texts would change behind the trigger's
 * back. Where they cannot change, and for the vectors, which are only converted,
 * the record is taken back before the command and made again after it. RENAME
 * COLUMN follows the record: the arguments change. An event trigger does both.
 *
 * Dumps have no dependencies. CREATE TRIGGER records them again while a dump is
 * restored; where no event trigger fires, the next embed_column, embed_check or
 * fill does. A trigger that was written by hand has no record: its names mean
 * whatever column has them.
 */
#include "pg/auto/trigger_depends.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parse_coerce.h"
#include "parser/parse_type.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* Reports nothing: the checks return false. */
#define SILENT	DEBUG5

/* ------------------------------------------------------------ which triggers */

/* Whether embed_column made it, by its form: "zz_embed..", a mode, and a model with its fingerprint. */
static bool
is_of_column(const Trigger *trigger)
{
	return embed_is_trigger_function(trigger->tgfoid) && trigger->tgnargs == 4 && strncmp(trigger->tgname, "zz_embed", 8) == 0 &&
		embed_trigger_model(trigger).digits[0] != '\0';
}

/* Only embed_chunk_table makes them. */
static bool
is_of_chunks(const Trigger *trigger)
{
	return embed_is_chunk_function(trigger->tgfoid) && trigger->tgnargs > 0;
}

/* The argument that names source columns. */
static int
source_argument(const Trigger *trigger)
{
	return is_of_chunks(trigger) ? 0 : 1;
}

/* The trigger of the partitioned table that this one is a copy of, or itself. *relid: its table. */
static Oid
topmost_trigger(Oid oid, Oid *relid)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	Oid			parent = oid;

	*relid = InvalidOid;
	while (OidIsValid(parent))
	{
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	tuple;

		oid = parent;
		ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
		scan = systable_beginscan(catalog, TriggerOidIndexId, true, NULL, 1, &key);
		tuple = systable_getnext(scan);
		parent = HeapTupleIsValid(tuple) ? ((Form_pg_trigger) GETSTRUCT(tuple))->tgparentid : InvalidOid;
		*relid = HeapTupleIsValid(tuple) ? ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid : InvalidOid;
		systable_endscan(scan);
	}
	table_close(catalog, AccessShareLock);
	return oid;
}

/* A copy: any lookup in the catalogs may replace what the relation has. */
static const Trigger *
find_trigger(Relation rel, Oid oid)
{
	TriggerDesc *all = CopyTriggerDesc(rel->trigdesc);

	for (int i = 0; all != NULL && i < all->numtriggers; i++)
	{
		if (all->triggers[i].tgoid == oid)
			return &all->triggers[i];
	}
	return NULL;
}

/* ------------------------------------------------------------ the record */

/* What to do with a dependency of a trigger on a column; false: no more. */
typedef bool (*DependencyWork) (Relation depend, HeapTuple tuple, void *arg);

static void
each_dependency(Oid trigger, Oid relid, DependencyWork work, void *arg)
{
	Relation	depend = table_open(DependRelationId, RowExclusiveLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(TriggerRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger));
	scan = systable_beginscan(depend, DependDependerIndexId, true, NULL, lengthof(keys), keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		if (form->refclassid == RelationRelationId && form->refobjid == relid && form->refobjsubid > 0 && !work(depend, tuple, arg))
			break;
	}
	systable_endscan(scan);
	table_close(depend, RowExclusiveLock);
}

/* The columns on which a trigger depends. */
typedef struct Recorded
{
	AttrNumber	vector;			/* 0: none is recorded */
	List	   *sources;		/* of attribute numbers */
} Recorded;

static bool
add_recorded(pg_attribute_unused() Relation depend, HeapTuple tuple, void *arg)
{
	Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);
	Recorded   *recorded = arg;

	if (form->deptype == DEPENDENCY_AUTO)
		recorded->vector = (AttrNumber) form->refobjsubid;
	else
		recorded->sources = list_append_unique_int(recorded->sources, form->refobjsubid);
	return true;
}

static Recorded
read_record(Oid trigger, Oid relid)
{
	Recorded	recorded = {0, NIL};

	each_dependency(trigger, relid, add_recorded, &recorded);
	return recorded;
}

static bool
remove_recorded(Relation depend, HeapTuple tuple, void *arg)
{
	if (((Form_pg_depend) GETSTRUCT(tuple))->refobjsubid == *(AttrNumber *) arg)
		CatalogTupleDelete(depend, &tuple->t_self);
	return true;
}

static void
record(Oid trigger, Oid relid, AttrNumber attnum, DependencyType type)
{
	ObjectAddress depender;
	ObjectAddress column;

	ObjectAddressSet(depender, TriggerRelationId, trigger);
	ObjectAddressSubSet(column, RelationRelationId, relid, attnum);
	recordDependencyOn(&depender, &column, type);
}

/* The numbers of the columns that an argument names, or NIL: one is missing. */
static List *
columns_of(Relation rel, const char *argument)
{
	List	   *attnums = NIL;
	ListCell   *cell;

	foreach(cell, embed_source_names(rel, argument, "embed_trigger", SILENT))
	{
		AttrNumber	attnum = get_attnum(RelationGetRelid(rel), lfirst(cell));

		if (attnum <= 0)
			return NIL;
		attnums = lappend_int(attnums, attnum);
	}
	return attnums;
}

/*
 * What is recorded is left alone, whatever the names mean now: a rename that no
 * event trigger followed may have exchanged them. Whether all is recorded already.
 */
static bool
record_missing(Relation rel, const Trigger *trigger)
{
	Oid			relid = RelationGetRelid(rel);
	bool		has_vector = !is_of_chunks(trigger);
	AttrNumber	vector = has_vector ? get_attnum(relid, trigger->tgargs[0]) : 0;
	List	   *sources = columns_of(rel, trigger->tgargs[source_argument(trigger)]);
	Recorded	recorded = read_record(trigger->tgoid, relid);
	ListCell   *cell;
	bool		is_all = true;

	/* names that fit no column: whoever looks at the trigger says so */
	if ((has_vector && vector <= 0) || sources == NIL)
		return true;
	if (has_vector && recorded.vector == 0)
	{
		record(trigger->tgoid, relid, vector, DEPENDENCY_AUTO);
		is_all = false;
	}
	if (list_length(recorded.sources) >= list_length(sources))
		return is_all;
	foreach(cell, sources)
	{
		if (!list_member_int(recorded.sources, lfirst_int(cell)))
			record(trigger->tgoid, relid, (AttrNumber) lfirst_int(cell), DEPENDENCY_NORMAL);
	}
	return false;
}

void
embed_trigger_record_columns(Oid oid)
{
	Oid			relid;
	Oid			topmost = topmost_trigger(oid, &relid);
	const Trigger *trigger;
	Relation	rel;
	bool		is_all;

	if (!OidIsValid(relid) || RecoveryInProgress() || XactReadOnly)
		return;
	/* a fill does not wait behind an ALTER TABLE of the partitioned table */
	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return;
	rel = try_relation_open(relid, NoLock);
	trigger = rel != NULL ? find_trigger(rel, topmost) : NULL;
	is_all = trigger == NULL || !(is_of_column(trigger) || is_of_chunks(trigger)) || record_missing(rel, trigger);
	if (rel != NULL)
		relation_close(rel, NoLock);
	/* what was recorded has to stay true until the transaction ends */
	if (is_all)
		UnlockRelationOid(relid, AccessShareLock);
	else
		CommandCounterIncrement();
}

/* ------------------------------------------------------------ RENAME COLUMN */

/* The names of an argument, of which one has changed; NULL: none of them has. */
static char *
renamed_argument(Relation rel, const char *argument, const char *from, const char *to)
{
	List	   *names;
	ListCell   *cell;
	StringInfoData changed;
	bool		is_changed = false;

	/* one column, whatever characters its name has */
	if (strcmp(argument, from) == 0)
		return pstrdup(to);
	names = embed_source_names(rel, argument, "embed_trigger", SILENT);
	initStringInfo(&changed);
	foreach(cell, names)
	{
		bool		is_it = strcmp(lfirst(cell), from) == 0;

		appendStringInfo(&changed, "%s%s", changed.len > 0 ? ", " : "", quote_identifier(is_it ? to : lfirst(cell)));
		is_changed |= is_it;
	}
	return is_changed ? changed.data : NULL;
}

static bool
is_same_call(const Trigger *a, const Trigger *b)
{
	if (a->tgfoid != b->tgfoid || a->tgnargs != b->tgnargs)
		return false;
	for (int i = 0; i < a->tgnargs; i++)
	{
		if (strcmp(a->tgargs[i], b->tgargs[i]) != 0)
			return false;
	}
	return true;
}

/* In the table, and in the copies that its partitions have. */
static void
change_argument(Oid relid, const Trigger *trigger, int i, const char *value)
{
	ListCell   *cell;

	foreach(cell, find_all_inheritors(relid, NoLock, NULL))
	{
		Relation	rel = relation_open(lfirst_oid(cell), AccessShareLock);
		TriggerDesc *all = CopyTriggerDesc(rel->trigdesc);

		relation_close(rel, NoLock);
		for (int n = 0; all != NULL && n < all->numtriggers; n++)
		{
			Oid			ignored;

			if (is_same_call(&all->triggers[n], trigger) && topmost_trigger(all->triggers[n].tgoid, &ignored) == trigger->tgoid)
				embed_trigger_set_argument(all->triggers[n].tgoid, trigger, i, value);
		}
	}
	CommandCounterIncrement();
}

static void
follow(Oid relid, const Trigger *trigger, int i, const char *from, const char *to)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	char	   *value = renamed_argument(rel, trigger->tgargs[i], from, to);

	relation_close(rel, NoLock);
	if (value != NULL)
		change_argument(relid, trigger, i, value);
}

static void
follow_in(Oid relid, const char *from, const char *to)
{
	AttrNumber	attnum = get_attnum(relid, to);
	Relation	rel = relation_open(relid, AccessShareLock);
	TriggerDesc *all = CopyTriggerDesc(rel->trigdesc);

	relation_close(rel, NoLock);
	for (int n = 0; attnum > 0 && all != NULL && n < all->numtriggers; n++)
	{
		const Trigger *trigger = &all->triggers[n];
		bool		has_vector = embed_is_trigger_function(trigger->tgfoid) && trigger->tgnargs > 1;
		Recorded	recorded;

		if (!has_vector && !is_of_chunks(trigger))
			continue;
		recorded = read_record(trigger->tgoid, relid);
		if (recorded.vector == attnum)
			follow(relid, trigger, 0, from, to);
		else if (list_member_int(recorded.sources, attnum))
			follow(relid, trigger, source_argument(trigger), from, to);
	}
}

/* Tables that inherit have triggers and records of their own; partitions have copies. */
void
embed_trigger_follow_rename(Oid relid, const char *from, const char *to)
{
	ListCell   *cell;

	foreach(cell, find_all_inheritors(relid, NoLock, NULL))
		follow_in(lfirst_oid(cell), from, to);
}

/* ------------------------------------------------------------ ALTER COLUMN TYPE */

/* Whether every text stays as it is: text or varchar becomes one of both, as long at least. */
static bool
keeps_texts(Oid relid, AttrNumber attnum, const ColumnDef *definition)
{
	Oid			from;
	int32		from_typmod;
	Oid			collation;
	Oid			to;
	int32		to_typmod;

	/* USING */
	if (definition->raw_default != NULL)
		return false;
	get_atttypetypmodcoll(relid, attnum, &from, &from_typmod, &collation);
	typenameTypeIdAndMod(NULL, definition->typeName, &to, &to_typmod);
	return (from == TEXTOID || from == VARCHAROID) && (to == TEXTOID || to == VARCHAROID) &&
		(to_typmod == -1 || (from_typmod != -1 && to_typmod >= from_typmod));
}

/* Whether the trigger can still assign its vectors. */
static bool
takes_vectors(const ColumnDef *definition)
{
	Oid			from = FLOAT4ARRAYOID;
	Oid			to;
	int32		typmod;

	typenameTypeIdAndMod(NULL, definition->typeName, &to, &typmod);
	return can_coerce_type(1, &from, &to, COERCION_ASSIGNMENT);
}

/* Takes back what would stand in the way of a change that harms nothing. */
static void
release_column(Oid relid, const AlterTableCmd *command)
{
	AttrNumber	attnum = get_attnum(relid, command->name);
	const ColumnDef *definition = (const ColumnDef *) command->def;
	Relation	rel = relation_open(relid, NoLock);
	TriggerDesc *all = CopyTriggerDesc(rel->trigdesc);

	relation_close(rel, NoLock);
	for (int n = 0; attnum > 0 && all != NULL && n < all->numtriggers; n++)
	{
		const Trigger *trigger = &all->triggers[n];
		Recorded	recorded;

		if (!embed_is_trigger_function(trigger->tgfoid) && !is_of_chunks(trigger))
			continue;
		recorded = read_record(trigger->tgoid, relid);
		if ((recorded.vector == attnum && takes_vectors(definition)) ||
			(list_member_int(recorded.sources, attnum) && keeps_texts(relid, attnum, definition)))
			each_dependency(trigger->tgoid, relid, remove_recorded, &attnum);
	}
	CommandCounterIncrement();
}

static bool
changes_type(const AlterTableStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->cmds)
	{
		if (((AlterTableCmd *) lfirst(cell))->subtype == AT_AlterColumnType)
			return true;
	}
	return false;
}

/* Nobody's table is locked for a command that the server is going to refuse. */
void
embed_trigger_before_alter(const AlterTableStmt *statement)
{
	Oid			relid = changes_type(statement) ? RangeVarGetRelid(statement->relation, NoLock, true) : InvalidOid;
	List	   *relids;
	ListCell   *cell;

	if (!OidIsValid(relid) || !embed_owns_table(relid))
		return;
	LockRelationOid(relid, AccessExclusiveLock);
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		return;
	relids = find_all_inheritors(relid, AccessExclusiveLock, NULL);
	foreach(cell, relids)
	{
		ListCell   *one;

		foreach(one, statement->cmds)
		{
			if (((AlterTableCmd *) lfirst(one))->subtype == AT_AlterColumnType)
				release_column(lfirst_oid(cell), lfirst(one));
		}
	}
}

static void
record_all(Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	TriggerDesc *all = CopyTriggerDesc(rel->trigdesc);

	relation_close(rel, NoLock);
	for (int n = 0; all != NULL && n < all->numtriggers; n++)
	{
		if (embed_is_trigger_function(all->triggers[n].tgfoid) || is_of_chunks(&all->triggers[n]))
			embed_trigger_record_columns(all->triggers[n].tgoid);
	}
}

/* The table that becomes a partition, or InvalidOid. */
static Oid
attached_table(const AlterTableStmt *statement)
{
	const AlterTableCmd *command = linitial(statement->cmds);

	/* it is the statement's only one */
	if (command->subtype != AT_AttachPartition || !IsA(command->def, PartitionCmd))
		return InvalidOid;
	return RangeVarGetRelid(((const PartitionCmd *) command->def)->name, NoLock, true);
}

void
embed_trigger_after_alter(const AlterTableStmt *statement)
{
	bool		changes = changes_type(statement);
	Oid			attached = attached_table(statement);
	Oid			relid = changes || OidIsValid(attached) ? RangeVarGetRelid(statement->relation, NoLock, true) : InvalidOid;
	ListCell   *cell;

	if (!OidIsValid(relid))
		return;
	if (OidIsValid(attached))
		embed_trigger_attached(relid, attached);
	foreach(cell, changes ? find_all_inheritors(relid, NoLock, NULL) : NIL)
		record_all(lfirst_oid(cell));
}
