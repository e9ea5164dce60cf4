/*
 * known.c
 *		Vectors that embed_trigger takes from rows instead of computing them.
 */
#include "pg/auto/known.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "storage/procarray.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

/* Larger values, as stored in a row, are not remembered. */
#define PASSED_BYTES_MAX (64 * 1024)

bool
embed_known_is_same(const EmbedTriggerColumn *column, Datum a, bool a_isnull, Datum b, bool b_isnull)
{
	if (a_isnull || b_isnull)
		return a_isnull && b_isnull;
	/* an untouched column is a copy of the old one: no need to detoast both */
	if (column->typlen == -1 &&
		VARSIZE_ANY(DatumGetPointer(a)) == VARSIZE_ANY(DatumGetPointer(b)) &&
		memcmp(DatumGetPointer(a), DatumGetPointer(b), VARSIZE_ANY(DatumGetPointer(a))) == 0)
		return true;
	return datum_image_eq(a, b, column->typbyval, column->typlen);
}

bool
embed_known_is_same_text(const EmbedTriggerColumns *columns, const EmbedSources *a, const EmbedSources *b)
{
	for (int i = 0; i < columns->n_sources; i++)
	{
		if (!embed_known_is_same(&columns->sources[i], a->values[i], a->isnull[i], b->values[i], b->isnull[i]))
			return false;
	}
	return true;
}

/* ------------------------------------------------------ moved rows */

/*
 * The server moves a row right after the UPDATE triggers have seen it, so the
 * last pair is enough. If a nested statement replaces the pair, the vector is
 * computed again; no vector becomes wrong.
 */
typedef struct PassedPair
{
	Oid			root;			/* InvalidOid: there is none */
	char	   *arguments;		/* of the trigger, each followed by '\0' */
	Size		n_arguments;
	int			n_sources;
	char	   *sources[EMBED_SOURCES_MAX]; /* varlenas as passed; NULL: a NULL */
	char	   *vector;
} PassedPair;

static PassedPair passed;
static MemoryContext passed_cxt = NULL;	/* in TopTransactionContext */

Oid
embed_known_root(Relation rel)
{
	List	   *ancestors;
	Oid			root;

	if (!rel->rd_rel->relispartition)
		return InvalidOid;
	ancestors = get_partition_ancestors(RelationGetRelid(rel));
	root = ancestors != NIL ? llast_oid(ancestors) : InvalidOid;
	list_free(ancestors);
	return root;
}

static Size
arguments_size(const Trigger *trigger)
{
	Size		size = 0;

	for (int i = 0; i < trigger->tgnargs; i++)
		size += strlen(trigger->tgargs[i]) + 1;
	return size;
}

static char *
copy_arguments(const Trigger *trigger)
{
	char	   *copy = palloc(arguments_size(trigger));
	char	   *at = copy;

	for (int i = 0; i < trigger->tgnargs; i++)
	{
		strcpy(at, trigger->tgargs[i]);
		at += strlen(at) + 1;
	}
	return copy;
}

static bool
has_arguments(const Trigger *trigger)
{
	const char *at = passed.arguments;

	if (passed.n_arguments != arguments_size(trigger))
		return false;
	for (int i = 0; i < trigger->tgnargs; i++)
	{
		if (strcmp(at, trigger->tgargs[i]) != 0)
			return false;
		at += strlen(at) + 1;
	}
	return true;
}

static bool
is_small(const EmbedTriggerColumn *column, Datum value)
{
	return column->typlen == -1 && VARSIZE_ANY(DatumGetPointer(value)) <= PASSED_BYTES_MAX;
}

static bool
are_small(const EmbedTriggerColumns *columns, const EmbedSources *sources)
{
	for (int i = 0; i < columns->n_sources; i++)
	{
		if (!sources->isnull[i] && !is_small(&columns->sources[i], sources->values[i]))
			return false;
	}
	return true;
}

static char *
copy_bytes(Datum value)
{
	Size		size = VARSIZE_ANY(DatumGetPointer(value));

	return memcpy(palloc(size), DatumGetPointer(value), size);
}

void
embed_known_passed(Oid root, const Trigger *trigger, const EmbedTriggerColumns *columns,
				   const EmbedSources *sources, Datum vector)
{
	MemoryContext old;

	passed.root = InvalidOid;
	if (!are_small(columns, sources) || !is_small(&columns->vector, vector))
		return;
	if (passed_cxt == NULL)
		passed_cxt = AllocSetContextCreate(TopTransactionContext, "embed passed row", ALLOCSET_DEFAULT_SIZES);
	else
		MemoryContextReset(passed_cxt);
	old = MemoryContextSwitchTo(passed_cxt);
	passed.arguments = copy_arguments(trigger);
	passed.n_arguments = arguments_size(trigger);
	passed.n_sources = columns->n_sources;
	for (int i = 0; i < columns->n_sources; i++)
		passed.sources[i] = sources->isnull[i] ? NULL : copy_bytes(sources->values[i]);
	passed.vector = copy_bytes(vector);
	MemoryContextSwitchTo(old);
	passed.root = root;
}

/* Never follows an out-of-line pointer: its row may be gone. */
static bool
is_same_bytes(const char *a, Datum value)
{
	const char *b = DatumGetPointer(value);

	if (VARSIZE_ANY(a) == VARSIZE_ANY(b) && memcmp(a, b, VARSIZE_ANY(a)) == 0)
		return true;
	return !VARATT_IS_EXTERNAL(a) && !VARATT_IS_EXTERNAL(b) &&
		datum_image_eq(PointerGetDatum(a), value, false, -1);
}

static bool
are_same_bytes(const EmbedTriggerColumns *columns, const EmbedSources *sources)
{
	if (passed.n_sources != columns->n_sources)
		return false;
	for (int i = 0; i < columns->n_sources; i++)
	{
		if (sources->isnull[i] != (passed.sources[i] == NULL))
			return false;
		if (!sources->isnull[i] &&
			(columns->sources[i].typlen != -1 || !is_same_bytes(passed.sources[i], sources->values[i])))
			return false;
	}
	return true;
}

bool
embed_known_moved(Oid root, const Trigger *trigger, const EmbedTriggerColumns *columns,
				  const EmbedSources *sources, Datum vector)
{
	return OidIsValid(root) && passed.root == root && has_arguments(trigger) &&
		columns->vector.typlen == -1 && are_same_bytes(columns, sources) && is_same_bytes(passed.vector, vector);
}

static void
xact_event(XactEvent event, pg_attribute_unused() void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	/* the transaction's end freed its memory */
	passed_cxt = NULL;
	passed.root = InvalidOid;
}

void
embed_known_init(void)
{
	RegisterXactCallback(xact_event, NULL);
}

/* ------------------------------------------------------------ twins */

/* A unique index, checked at once, over plain columns other than the vector. */
static bool
can_be_asked(Relation index, AttrNumber vector_no)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisunique || !form->indimmediate || !form->indisvalid || !form->indisready ||
		index->rd_rel->relam != BTREE_AM_OID ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return false;
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		if (form->indkey.values[i] <= 0 || form->indkey.values[i] == vector_no)
			return false;
	}
	return true;
}

static void
find_indexes(EmbedKnownIndexes *indexes, MemoryContext cxt, Relation rel, AttrNumber vector_no)
{
	List	   *all = RelationGetIndexList(rel);
	ListCell   *cell;

	list_free(indexes->oids);
	indexes->oids = NIL;
	foreach(cell, all)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (can_be_asked(index, vector_no))
		{
			MemoryContext old = MemoryContextSwitchTo(cxt);

			indexes->oids = lappend_oid(indexes->oids, lfirst_oid(cell));
			MemoryContextSwitchTo(old);
		}
		index_close(index, AccessShareLock);
	}
	list_free(all);
	indexes->is_ready = true;
}

/*
 * The keys of tuple by column of the table, as systable_beginscan takes them;
 * 0: a key is NULL.
 */
static int
make_keys(Relation index, Relation rel, HeapTuple tuple, ScanKey keys)
{
	int			n = index->rd_index->indnkeyatts;

	for (int i = 0; i < n; i++)
	{
		AttrNumber	attno = index->rd_index->indkey.values[i];
		Oid			type = index->rd_opcintype[i];
		Oid			equal = get_opfamily_member(index->rd_opfamily[i], type, type, BTEqualStrategyNumber);
		bool		isnull;
		Datum		value = heap_getattr(tuple, attno, RelationGetDescr(rel), &isnull);

		if (isnull || !OidIsValid(equal))
			return 0;
		ScanKeyEntryInitialize(&keys[i], 0, attno, BTEqualStrategyNumber, type,
							   index->rd_indcollation[i], get_opcode(equal), value);
	}
	return n;
}

/*
 * Whether a row that the snapshot sees was deleted or updated since, or is
 * being so. Nothing conflicts with a deleted row: WITH d AS (DELETE ..
 * RETURNING ..) INSERT .. SELECT .. FROM d wants its texts embedded, perhaps
 * by another model than that of the vectors there.
 */
static bool
is_going(HeapTupleHeader row)
{
	TransactionId xid;

	if ((row->t_infomask & HEAP_XMAX_INVALID) != 0 || HEAP_XMAX_IS_LOCKED_ONLY(row->t_infomask))
		return false;
	xid = HeapTupleHeaderGetUpdateXid(row);
	return TransactionIdIsCurrentTransactionId(xid) || TransactionIdIsInProgress(xid) || TransactionIdDidCommit(xid);
}

static bool
find_twin(Relation index, Relation rel, HeapTuple tuple, const EmbedTriggerColumns *columns,
		  const EmbedSources *sources, Datum *vector)
{
	ScanKeyData keys[INDEX_MAX_KEYS];
	int			n_keys = make_keys(index, rel, tuple, keys);
	SysScanDesc scan;
	HeapTuple	twin;
	bool		found = false;

	if (n_keys == 0)
		return false;
	scan = systable_beginscan(rel, RelationGetRelid(index), true, GetActiveSnapshot(), n_keys, keys);
	while (!found && HeapTupleIsValid(twin = systable_getnext(scan)))
	{
		bool		isnull;
		EmbedSources its_sources = embed_trigger_sources(columns, twin, RelationGetDescr(rel));
		Datum		its_vector = heap_getattr(twin, columns->vector.attnum, RelationGetDescr(rel), &isnull);

		if (isnull || !embed_known_is_same_text(columns, &its_sources, sources) ||
			is_going(twin->t_data))
			continue;
		*vector = PointerGetDatum(PG_DETOAST_DATUM_COPY(its_vector));
		found = true;
	}
	systable_endscan(scan);
	return found;
}

/*
 * Not under SERIALIZABLE, because the read would leave locks that may fail
 * another transaction, and not on foreign tables.
 */
bool
embed_known_twin(EmbedKnownIndexes *indexes, MemoryContext cxt, Relation rel, HeapTuple tuple,
				 const EmbedTriggerColumns *columns, const EmbedSources *sources, Datum *vector)
{
	bool		found = false;
	ListCell   *cell;

	if (columns->vector.typlen != -1 || rel->rd_rel->relkind != RELKIND_RELATION ||
		IsolationIsSerializable() || !ActiveSnapshotSet())
		return false;
	if (!indexes->is_ready)
		find_indexes(indexes, cxt, rel, columns->vector.attnum);
	foreach(cell, indexes->oids)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		found = find_twin(index, rel, tuple, columns, sources, vector);
		index_close(index, AccessShareLock);
		if (found)
			break;
	}
	return found;
}
