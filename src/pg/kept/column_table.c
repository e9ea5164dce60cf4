/*
 * column_table.c
 *		Which tables can have a kept column or a chunk table, who may make one,
 *		and in which transactions.
 */
#include "pg/kept/column_table.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/objectaddress.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"

pg_noreturn static void
kind_error(const char *function, const char *name, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("%s does not work on \"%s\"", function, name),
			 errhint("%s", hint)));
}

/*
 * A foreign partition has its rows, and so its triggers, elsewhere. All are
 * locked as the partitioned table is, in the order of all who lock them: the
 * server would lock them one by one, as it comes to their triggers.
 */
static void
check_partitions(Relation rel, LOCKMODE lock, const char *function)
{
	/* who only looks unlocks the table, and would keep these */
	List	   *relids = find_all_inheritors(RelationGetRelid(rel), lock == AccessShareLock ? NoLock : lock, NULL);
	ListCell   *cell;

	foreach(cell, relids)
	{
		if (get_rel_relkind(lfirst_oid(cell)) == RELKIND_FOREIGN_TABLE)
			kind_error(function, get_rel_name(lfirst_oid(cell)),
					   psprintf("Call %s for it on the server that has its rows, and for the other partitions one by one.", function));
	}
}

/* A table of ours: a user's column and trigger would be in no dump. */
static bool
is_own(Oid relid)
{
	Oid			extension = getExtensionOfObject(RelationRelationId, relid);

	return OidIsValid(extension) && extension == get_extension_oid("embed", true);
}

static void
check_table(Relation rel, const char *function)
{
	const char *name = RelationGetRelationName(rel);
	char		kind = rel->rd_rel->relkind;

	if (IsSystemRelation(rel))
		kind_error(function, name, "Tables of the system catalogs are left alone.");
	if (is_own(RelationGetRelid(rel)))
		kind_error(function, name, "It belongs to the extension embed.");
	if (!embed_owns_table(RelationGetRelid(rel)))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(kind), name);
	if (kind == RELKIND_FOREIGN_TABLE)
		kind_error(function, name, psprintf("Call %s on the server that has its rows.", function));
	if (kind == RELKIND_VIEW || kind == RELKIND_MATVIEW)
		kind_error(function, name, psprintf("Call %s for the table below it.", function));
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		kind_error(function, name, "Name an ordinary or a partitioned table.");
	if (RELATION_IS_OTHER_TEMP(rel))
		kind_error(function, name, "It is a temporary table of another session.");
}

Relation
embed_column_open(Oid relid, LOCKMODE lock, const char *function)
{
	Relation	rel = embed_column_open_any(relid, lock, function);

	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		check_partitions(rel, lock, function);
	return rel;
}

void
embed_column_close(Relation rel, LOCKMODE lock)
{
	bool		has_locked_all = lock != AccessShareLock && rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	/* the same as when it was opened: who attaches or detaches one waits for the lock */
	List	   *relids = has_locked_all ? find_all_inheritors(RelationGetRelid(rel), NoLock, NULL) : NIL;
	ListCell   *cell;

	foreach(cell, relids)
	{
		if (lfirst_oid(cell) != RelationGetRelid(rel))
			UnlockRelationOid(lfirst_oid(cell), lock);
	}
	relation_close(rel, lock);
}

void
embed_column_lock_parents(Oid relid)
{
	List	   *parents = get_rel_relispartition(relid) ? get_partition_ancestors(relid) : NIL;

	/* the nearest is the first */
	for (int i = list_length(parents) - 1; i >= 0; i--)
		LockRelationOid(list_nth_oid(parents, i), AccessShareLock);
}

Relation
embed_column_open_any(Oid relid, LOCKMODE lock, const char *function)
{
	Relation	rel;

	embed_column_lock_parents(relid);
	rel = try_relation_open(relid, lock);
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	check_table(rel, function);
	return rel;
}

void
embed_column_look(void (*work) (void *arg), void *arg)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		work(arg);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	if (error != NULL)
		ReThrowError(error);
}

void
embed_column_check_may_write(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	PreventCommandDuringRecovery(function);
}

void
embed_column_check_isolation(const char *message)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s in a transaction of isolation level REPEATABLE READ or SERIALIZABLE", message),
				 errdetail("It would miss the rows that were written after the transaction's snapshot."),
				 errhint("Call it in a transaction of isolation level READ COMMITTED.")));
}
