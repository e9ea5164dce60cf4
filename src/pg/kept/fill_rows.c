/*
 * fill_rows.c
 *		The steps of a fill: which rows, their texts, their vectors, writing.
 */
#include "pg/kept/fill_rows.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "pg/auto/trigger_depends.h"
#include "pg/call/handover.h"
#include "pg/call/limits.h"
#include "pg/call/text_batch.h"
#include "pg/kept/column_table.h"
#include "pg/sql/vector.h"

/* A list has 6 bytes a row, and is older than its last row by a minute at most. */
#define LIST_ROWS		65536
#define BATCH_BYTES		(16 * 1024 * 1024)

/* ---------------------------------------------------------- the column */

/* Of a copy: any lookup in the catalogs may replace what the relation has. */
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

static bool
find_column(EmbedFill *fill, Relation rel, EmbedKeptColumn *found)
{
	List	   *columns = embed_kept_columns(rel, 0);
	ListCell   *cell;

	foreach(cell, columns)
	{
		EmbedKeptColumn *column = lfirst(cell);

		if (column->trigger == fill->column.trigger)
		{
			*found = *column;
			return true;
		}
	}
	return false;
}

static bool
is_same_definition(const EmbedKeptColumn *a, const EmbedKeptColumn *b)
{
	if (a->columns.vector.attnum != b->columns.vector.attnum || a->columns.n_sources != b->columns.n_sources ||
		a->names_model != b->names_model ||
		(a->names_model && (strcmp(a->model.name, b->model.name) != 0 || strcmp(a->model.digits, b->model.digits) != 0)))
		return false;
	for (int i = 0; i < a->columns.n_sources; i++)
	{
		if (a->columns.sources[i].attnum != b->columns.sources[i].attnum)
			return false;
	}
	return true;
}

/*
 * Opens the table if it and the column are still what the last transaction
 * found; else the fill ends as gone, and whoever wants goes on with a new one.
 */
static Relation
open_table(EmbedFill *fill, LOCKMODE lock)
{
	Relation	rel;
	EmbedKeptColumn column;

	embed_column_lock_parents(fill->column.table);
	rel = try_relation_open(fill->column.table, lock);
	if (rel != NULL && find_column(fill, rel, &column) && is_same_definition(&fill->column, &column) &&
		embed_fill_left_alone(rel, &column) == NULL)
	{
		fill->column = column;
		/* embed_switch renames columns that it leaves under their triggers */
		strlcpy(fill->vector_name, NameStr(column.columns.vector.name), NAMEDATALEN);
		return rel;
	}
	if (rel != NULL)
		relation_close(rel, lock);
	fill->is_gone = true;
	return NULL;
}

/*
 * The column's model. Without a name in the trigger: the session's, as the
 * trigger itself would find it.
 */
static const EmbedModelRef *
resolve(EmbedFill *fill, Relation rel)
{
	const char *name = fill->column.names_model ? fill->column.model.name : NULL;
	const EmbedModelRef *ref = embed_site_resolve_name(&fill->site, name, EMBED_NAME_ALIAS_TOO);
	const Trigger *trigger = name != NULL && rel != NULL ? find_trigger(rel, fill->column.trigger) : NULL;

	if (trigger != NULL)
		embed_trigger_check_model(rel, trigger, &fill->column.model, ref);
	return ref;
}

/* Converts a vector of the model's length as the trigger does: an error now is an error of every row. */
static void
check_fit(EmbedFill *fill, Relation rel, int32 dim)
{
	EmbedCaller caller = embed_fill_as_owner(rel);
	ExprContext *econtext = CreateStandaloneExprContext();
	float	   *elements;
	ArrayType  *vector = embed_vector_new(dim, &elements);
	bool		isnull = false;

	memset(elements, 0, dim * sizeof(float));
	elements[0] = 1;
	(void) embed_trigger_convert_vector(&fill->column.columns, econtext, rel, fill->column.names_model ? fill->column.model.name : NULL, vector, &isnull);
	FreeExprContext(econtext, true);
	embed_as_caller(&caller);
}

void
embed_fill_prepare(EmbedFill *fill, pg_attribute_unused() int32 from, pg_attribute_unused() int32 to)
{
	Relation	rel;
	uint8		fingerprint[EMB_HASH_SIZE];
	int32		dim;

	/* before the table is locked: the first call writes and maps the image */
	resolve(fill, NULL);
	rel = open_table(fill, AccessShareLock);
	if (rel == NULL)
		return;
	strlcpy(fill->table_name, RelationGetRelationName(rel), NAMEDATALEN);
	embed_trigger_record_columns(fill->column.trigger);
	PushActiveSnapshot(GetTransactionSnapshot());
	{
		const EmbedModelRef *ref = resolve(fill, rel);

		memcpy(fingerprint, ref->fingerprint, EMB_HASH_SIZE);
		dim = ref->info->dim;
	}
	check_fit(fill, rel, dim);
	PopActiveSnapshot();
	memcpy(fill->fits, fingerprint, EMB_HASH_SIZE);
	fill->dim = dim;
	table_close(rel, AccessShareLock);
}

/* ---------------------------------------------------------- which rows */

static bool
is_before_all(const ItemPointerData *tid)
{
	return !ItemPointerIsValid(tid);
}

/* A to-do index is not in the order of ctids, and every filled row leaves it: begin at its front. */
static char *
list_query(EmbedFill *fill, Relation rel, bool by_index)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, embed_fill_query(rel, &fill->column, "t.ctid"));
	if (!by_index && !is_before_all(&fill->last))
		appendStringInfo(&sql, " AND t.ctid OPERATOR(pg_catalog.>) '(%u,%u)'::pg_catalog.tid",
						 ItemPointerGetBlockNumber(&fill->last), ItemPointerGetOffsetNumber(&fill->last));
	appendStringInfo(&sql, " LIMIT %d", LIST_ROWS);
	return sql.data;
}

static void
keep_tids(EmbedFill *fill, bool by_index)
{
	fill->n_tids = (int32) SPI_processed;
	fill->next = 0;
	fill->tids = MemoryContextAlloc(fill->pass_cxt, Max(fill->n_tids, 1) * sizeof(ItemPointerData));
	for (int32 i = 0; i < fill->n_tids; i++)
	{
		bool		isnull;
		ItemPointer tid = (ItemPointer) DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));

		fill->tids[i] = *tid;
		if (!by_index && (is_before_all(&fill->last) || ItemPointerCompare(tid, &fill->last) > 0))
			fill->last = *tid;
	}
}

void
embed_fill_list(EmbedFill *fill, pg_attribute_unused() int32 from, pg_attribute_unused() int32 to)
{
	Relation	rel = open_table(fill, AccessShareLock);
	EmbedCaller caller;
	bool		by_index;
	bool		from_front = is_before_all(&fill->last);

	if (rel == NULL)
		return;
	by_index = OidIsValid(embed_to_do_index(rel, &fill->column));
	caller = embed_fill_as_owner(rel);
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	/* not read-only: with a snapshot of its own */
	if (SPI_execute(list_query(fill, rel, by_index), false, 0) != SPI_OK_SELECT)
		elog(ERROR, "cannot list the rows to do");
	keep_tids(fill, by_index);
	fill->lists_rest = fill->n_tids < LIST_ROWS;
	fill->lists_all = fill->lists_rest && (by_index || from_front);
	SPI_finish();
	PopActiveSnapshot();
	embed_as_caller(&caller);
	fill->failures = embed_failures_read(fill->column.table, fill->vector_name, fill->pass_cxt);
	table_close(rel, AccessShareLock);
}

void
embed_fill_count(EmbedFill *fill, pg_attribute_unused() int32 from, pg_attribute_unused() int32 to)
{
	Relation	rel = open_table(fill, AccessShareLock);
	EmbedCaller caller;
	bool		isnull;

	if (rel == NULL)
		return;
	caller = embed_fill_as_owner(rel);
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	if (SPI_execute(embed_fill_query(rel, &fill->column, "pg_catalog.count(*)"), false, 0) != SPI_OK_SELECT)
		elog(ERROR, "cannot count the rows to do");
	fill->to_do = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	PopActiveSnapshot();
	embed_as_caller(&caller);
	table_close(rel, AccessShareLock);
}

/* ---------------------------------------------------------- their texts */

/* A row that this snapshot sees; its slot is protected from pruning as long as the snapshot is active. */
static bool
fetch_row(Relation rel, ItemPointer tid, BlockNumber n_blocks, TupleTableSlot *slot)
{
	ExecClearTuple(slot);
	return ItemPointerGetBlockNumber(tid) < n_blocks &&
		table_tuple_fetch_row_version(rel, tid, GetActiveSnapshot(), slot);
}

/* The text of a row that is to do, or false. */
static bool
text_to_do(const EmbedFill *fill, Relation rel, ExprContext *econtext, TupleTableSlot *slot, Datum *text)
{
	const EmbedTriggerColumns *columns = &fill->column.columns;
	bool		should_free;
	HeapTuple	tuple;
	EmbedSources sources;
	bool		isnull;

	slot_getsomeattrs(slot, columns->vector.attnum);
	if (!slot->tts_isnull[columns->vector.attnum - 1])
		return false;
	tuple = ExecFetchSlotHeapTuple(slot, false, &should_free);
	sources = embed_trigger_sources(columns, tuple, RelationGetDescr(rel));
	if (sources.all_null)
		return false;
	*text = embed_trigger_text(columns, econtext, &sources, &isnull);
	return !isnull;
}

/* Whether another transaction is about to change the row. Not more than a hint, which spares a computation. */
static bool
is_locked(TupleTableSlot *slot)
{
	bool		should_free;
	HeapTupleHeader header = ExecFetchSlotHeapTuple(slot, false, &should_free)->t_data;
	uint16		bits = header->t_infomask;
	TransactionId xmax = HeapTupleHeaderGetRawXmax(header);

	if ((bits & (HEAP_XMAX_INVALID | HEAP_XMAX_IS_MULTI)) != 0 || !TransactionIdIsNormal(xmax))
		return false;
	/* a foreign key's lock is in nobody's way */
	if (HEAP_XMAX_IS_LOCKED_ONLY(bits) && HEAP_XMAX_IS_KEYSHR_LOCKED(bits))
		return false;
	return !TransactionIdIsCurrentTransactionId(xmax) && TransactionIdIsInProgress(xmax);
}

void
embed_fill_read(EmbedFill *fill, pg_attribute_unused() int32 from, pg_attribute_unused() int32 to)
{
	Relation	rel = open_table(fill, AccessShareLock);
	Size		bytes = 0;
	EmbedCaller caller;
	BlockNumber n_blocks;
	TupleTableSlot *slot;
	ExprContext *econtext;

	if (rel == NULL)
		return;
	caller = embed_fill_as_owner(rel);
	econtext = CreateStandaloneExprContext();
	PushActiveSnapshot(GetTransactionSnapshot());
	/* a table that publishes updates and has no identity: no row's fault */
	CheckCmdReplicaIdentity(rel, CMD_UPDATE);
	n_blocks = RelationGetNumberOfBlocks(rel);
	slot = table_slot_create(rel, NULL);
	fill->rows = palloc0(fill->batch_rows * sizeof(EmbedFillRow));
	while (fill->next < fill->n_tids && fill->n_rows < fill->batch_rows && bytes < BATCH_BYTES)
	{
		ItemPointer tid = &fill->tids[fill->next++];
		EmbedFillRow *row = &fill->rows[fill->n_rows];
		Datum		text;

		CHECK_FOR_INTERRUPTS();
		if (!fetch_row(rel, tid, n_blocks, slot) || !text_to_do(fill, rel, econtext, slot, &text))
			continue;
		if (is_locked(slot))
		{
			fill->batch_skipped++;
			ResetExprContext(econtext);
			continue;
		}
		text = PointerGetDatum(PG_DETOAST_DATUM_COPY(text));
		ResetExprContext(econtext);
		row->text_hash = embed_text_hash(text);
		if (embed_failures_has(fill->failures, row->text_hash))
		{
			pfree(DatumGetPointer(text));
			continue;
		}
		row->text = text;
		row->tid = *tid;
		bytes += VARSIZE_ANY(DatumGetPointer(text));
		fill->n_rows++;
	}
	ExecDropSingleTupleTableSlot(slot);
	FreeExprContext(econtext, true);
	PopActiveSnapshot();
	embed_as_caller(&caller);
	table_close(rel, AccessShareLock);
}

/* ---------------------------------------------------------- their vectors */

typedef struct FillSink
{
	EmbedFill  *fill;
	int32		next;			/* row of the next vector */
	float	   *vectors;
} FillSink;

static float *
reserve(void *ctx, int32 n)
{
	FillSink   *sink = ctx;

	sink->vectors = MemoryContextAllocHuge(sink->fill->batch_cxt, (Size) n * sink->fill->dim * sizeof(float));
	return sink->vectors;
}

static void
done(void *ctx, const float *vectors, int32 n)
{
	FillSink   *sink = ctx;

	for (int32 i = 0; i < n; sink->next++)
	{
		EmbedFillRow *row = &sink->fill->rows[sink->next];

		if (row->vector != NULL)
			continue;
		row->vector = vectors + (Size) i * sink->fill->dim;
		i++;
	}
}

void
embed_fill_compute(EmbedFill *fill, int32 from, int32 to)
{
	EmbedStat  *outer = embed_stat_running;
	const EmbedModelRef *ref = resolve(fill, NULL);
	FillSink	to_rows = {.fill = fill, .next = from};
	EmbedBatchSink sink = {&to_rows, reserve, done};
	EmbedBatch	batch;

	(void) embed_stat_begin(ref->stat);
	/* a batch is what others send as a statement */
	embed_limits_restart();
	/* a name that was forgotten and given to another model, since the pass began */
	if (memcmp(ref->fingerprint, fill->fits, EMB_HASH_SIZE) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the model of column \"%s\" changed", fill->vector_name)));
	embed_batch_init(&batch, CurrentMemoryContext, &sink);
	for (int32 i = from; i < to; i++)
	{
		EmbEncoded	encoded;

		CHECK_FOR_INTERRUPTS();
		if (fill->rows[i].vector != NULL)
			continue;
		encoded = embed_site_read(&fill->site, ref, EMB_PROMPT_DOCUMENT, fill->rows[i].text);
		embed_batch_add(&batch, ref, fill->site.ids, NULL, encoded.n_ids);
	}
	embed_batch_run(&batch, ref);
	/* no call: half a second of work that nobody waits for is no latency */
	(void) embed_stat_end(ref->stat);
	embed_stat_running = outer;
}

/* ---------------------------------------------------------- writing */

static char *
update_query(const EmbedFill *fill, Relation rel)
{
	return psprintf("UPDATE ONLY %s AS t SET %s = $2 WHERE t.ctid OPERATOR(pg_catalog.=) $1 RETURNING t.%s IS NULL",
					quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel)),
					quote_identifier(fill->vector_name), quote_identifier(fill->vector_name));
}

/* The prepared UPDATE, which the server plans again where it must; new if a name has changed. */
static SPIPlanPtr
update_plan(EmbedFill *fill, Relation rel)
{
	char	   *sql = update_query(fill, rel);
	Oid			types[2] = {TIDOID, FLOAT4ARRAYOID};

	if (fill->update != NULL && strcmp(sql, fill->update_sql) == 0)
		return fill->update;
	if (fill->update != NULL)
		SPI_freeplan(fill->update);
	fill->update = SPI_prepare(sql, 2, types);
	if (fill->update == NULL || SPI_keepplan(fill->update) != 0)
		elog(ERROR, "cannot prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	if (fill->update_sql != NULL)
		pfree(fill->update_sql);
	fill->update_sql = MemoryContextStrdup(fill->cxt, sql);
	return fill->update;
}

/* Locks the row if nobody else has, and it still has its text and no vector. */
static bool
lock_row(EmbedFill *fill, Relation rel, ExprContext *econtext, EmbedFillRow *row, BlockNumber n_blocks, TupleTableSlot *slot)
{
	TM_FailureData failure;
	Datum		text;
	struct varlena *now;
	struct varlena *read = (struct varlena *) DatumGetPointer(row->text);

	if (!fetch_row(rel, &row->tid, n_blocks, slot))
		return false;
	/* no waiting, and no following to newer versions: the next pass finds those */
	if (table_tuple_lock(rel, &row->tid, GetActiveSnapshot(), slot, GetCurrentCommandId(false),
						 LockTupleNoKeyExclusive, LockWaitSkip, 0, &failure) != TM_Ok)
		return false;
	if (!text_to_do(fill, rel, econtext, slot, &text))
		return false;
	now = PG_DETOAST_DATUM_PACKED(text);
	return VARSIZE_ANY_EXHDR(now) == VARSIZE_ANY_EXHDR(read) &&
		memcmp(VARDATA_ANY(now), VARDATA_ANY(read), VARSIZE_ANY_EXHDR(now)) == 0;
}

static void
update_row(EmbedFill *fill, SPIPlanPtr plan, EmbedFillRow *row)
{
	Datum		values[2] = {PointerGetDatum(&row->tid), PointerGetDatum(embed_vector_copy(row->vector, fill->dim))};
	bool		isnull = true;
	bool		is_null_still = true;

	embed_hand_over(fill->column.table, fill->column.trigger, row->text, row->vector, fill->dim);
	PG_TRY();
	{
		if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_UPDATE_RETURNING)
			elog(ERROR, "cannot write a vector");
	}
	PG_FINALLY();
	{
		embed_hand_over_end();
	}
	PG_END_TRY();
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("a trigger of table \"%s\" skips the row's update", fill->table_name)));
	is_null_still = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (is_null_still)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("a trigger of table \"%s\" changes the row's text or vector at each update", fill->table_name)));
	SPI_freetuptable(SPI_tuptable);
	pfree(DatumGetPointer(values[1]));
}

/*
 * Deferred triggers and constraints fire at once, in this transaction: as the
 * owner (the server refuses to defer them in a security-restricted context),
 * and where an error still finds its row.
 */
static void
defer_nothing(void)
{
	ConstraintsSetStmt stmt = {.type = T_ConstraintsSetStmt, .constraints = NIL, .deferred = false};

	AfterTriggerSetState(&stmt);
}

void
embed_fill_write(EmbedFill *fill, int32 from, int32 to)
{
	Relation	rel = open_table(fill, RowExclusiveLock);
	EmbedCaller caller;
	BlockNumber n_blocks;
	TupleTableSlot *slot;
	MemoryContext row_cxt;
	MemoryContext old;
	SPIPlanPtr	plan;
	ExprContext *econtext;

	if (rel == NULL)
		return;
	caller = embed_fill_as_owner(rel);
	SPI_connect();
	econtext = CreateStandaloneExprContext();
	plan = update_plan(fill, rel);
	defer_nothing();
	PushActiveSnapshot(GetTransactionSnapshot());
	n_blocks = RelationGetNumberOfBlocks(rel);
	slot = table_slot_create(rel, NULL);
	row_cxt = AllocSetContextCreate(CurrentMemoryContext, "embed fill row", ALLOCSET_DEFAULT_SIZES);
	for (int32 i = from; i < to; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (fill->rows[i].is_failed)
			continue;
		old = MemoryContextSwitchTo(row_cxt);
		if (lock_row(fill, rel, econtext, &fill->rows[i], n_blocks, slot))
		{
			update_row(fill, plan, &fill->rows[i]);
			fill->batch_written++;
		}
		else
			fill->batch_skipped++;
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_cxt);
		ResetExprContext(econtext);
	}
	ExecDropSingleTupleTableSlot(slot);
	FreeExprContext(econtext, true);
	PopActiveSnapshot();
	SPI_finish();
	embed_as_caller(&caller);
	table_close(rel, NoLock);
}
