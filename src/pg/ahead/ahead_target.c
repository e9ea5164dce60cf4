/*
 * ahead_target.c
 *		The texts that the triggers and generated columns of a statement's
 *		target tables will embed.
 *
 * A guess: another trigger may change the text or skip the row. A wrong guess
 * costs time and nothing else.
 */
#include "pg/ahead/ahead_target.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/tableam.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "nodes/bitmapset.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "pg/ahead/ahead_calls.h"
#include "pg/ahead/ahead_known.h"
#include "pg/ahead/ahead_node.h"
#include "pg/auto/known.h"
#include "pg/auto/trigger.h"

/* What a trigger, or a call in a generated column, embeds. */
typedef struct Source
{
	EmbedAheadTexts *texts;
	ExprState  *text;			/* of a generated column, from the new row; NULL: of a trigger, see below */
	Bitmapset  *read;			/* the columns that the generated column reads, as the server counts them */
	bool		names_model;
	EmbedTriggerColumns columns;
	EmbedKnownIndexes indexes;
} Source;

typedef struct Table
{
	Relation	rel;
	List	   *sources;
	const List *columns;		/* the columns that the plan's rows have, in order; NIL: all */
	TupleTableSlot *new;		/* virtual */
	TupleTableSlot *old;		/* of UPDATE */
} Table;

struct EmbedAheadTarget
{
	EState	   *estate;
	CmdType		operation;
	bool		may_conflict;	/* INSERT .. ON CONFLICT */
	ExprContext *econtext;
	Table	   *tables;
	int			n_tables;
	int			n_columns;		/* of the plan's rows, before those that are not of the table */
	AttrNumber	ctid;			/* which column of the rows has the old row; 0: none */
	AttrNumber	tableoid;		/* and which its table */
	EmbedAheadStore *store;
	List	  **texts;
};

/* ----------------------------------------------------------- definitions */

static bool
fires(const Trigger *trigger, CmdType operation)
{
	bool		on_replica = SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA;

	if (!TRIGGER_FOR_ROW(trigger->tgtype) || !TRIGGER_FOR_BEFORE(trigger->tgtype) ||
		trigger->tgenabled == TRIGGER_DISABLED ||
		trigger->tgenabled == (on_replica ? TRIGGER_FIRES_ON_ORIGIN : TRIGGER_FIRES_ON_REPLICA))
		return false;
	return operation == CMD_INSERT ? TRIGGER_FOR_INSERT(trigger->tgtype) != 0 : TRIGGER_FOR_UPDATE(trigger->tgtype) != 0;
}

/* Where the texts are at hand: other types are converted by functions that may raise. */
static bool
are_plain_texts(const EmbedTriggerColumns *columns)
{
	for (int i = 0; i < columns->n_sources; i++)
	{
		Oid			type = getBaseType(columns->sources[i].type);

		if (type != TEXTOID && type != VARCHAROID && type != BPCHAROID)
			return false;
	}
	return true;
}

static Source *
source_of_trigger(EmbedAheadTarget *target, Relation rel, const Trigger *trigger)
{
	MemoryContext cxt = target->estate->es_query_cxt;
	Source	   *source = palloc0(sizeof(Source));
	EmbedTriggerModel model = {"", ""};

	if (!embed_trigger_check_arguments(trigger, DEBUG5) || embed_trigger_is_later(trigger) || !embed_trigger_check_events(trigger, DEBUG5) ||
		!embed_trigger_find_columns(rel, trigger, cxt, DEBUG5, &source->columns) || !are_plain_texts(&source->columns))
		return NULL;
	source->names_model = trigger->tgnargs > 2;
	if (source->names_model)
		model = embed_trigger_model(trigger);
	source->texts = embed_ahead_texts(cxt, target->store, source->names_model ? model.name : NULL, model.digits, EMBED_NAME_ALIAS_TOO);
	return source;
}

static void
add_triggers(EmbedAheadTarget *target, Table *table)
{
	/* a copy: any lookup in the catalogs may replace what the relation has */
	const TriggerDesc *all = CopyTriggerDesc(table->rel->trigdesc);

	for (int i = 0; all != NULL && i < all->numtriggers; i++)
	{
		const Trigger *trigger = &all->triggers[i];
		Source	   *source = NULL;

		if (fires(trigger, target->operation) && embed_ahead_function(trigger->tgfoid) == EMBED_AHEAD_TRIGGER)
			source = source_of_trigger(target, table->rel, trigger);
		if (source != NULL)
			table->sources = lappend(table->sources, source);
	}
}

static bool
has_generated(Relation rel)
{
	return rel->rd_att->constr != NULL && rel->rd_att->constr->has_generated_stored;
}

/* The calls of embed in the expression of a stored generated column; *expr is the expression. */
static List *
generated_calls(Relation rel, int attno, Expr **expr)
{
	Node	   *node;

	if (TupleDescAttr(RelationGetDescr(rel), attno - 1)->attgenerated != ATTRIBUTE_GENERATED_STORED)
		return NIL;
	node = build_column_default(rel, attno);
	if (node == NULL)
		return NIL;
	*expr = expression_planner((Expr *) node);
	return embed_ahead_calls((Node *) *expr);
}

static const char *
constant_name(const Expr *model)
{
	return text_to_cstring(DatumGetTextPP(((const Const *) model)->constvalue));
}

static void
add_generated(EmbedAheadTarget *target, Table *table, int attno)
{
	MemoryContext cxt = target->estate->es_query_cxt;
	Expr	   *expr;
	ListCell   *cell;

	foreach(cell, generated_calls(table->rel, attno, &expr))
	{
		EmbedAheadCall *call = lfirst(cell);
		Source	   *source = palloc0(sizeof(Source));

		if (call->model != NULL && !IsA(call->model, Const))
			continue;
		source->text = ExecInitExpr(call->text, NULL);
		pull_varattnos((Node *) expr, 1, &source->read);
		source->texts = embed_ahead_texts(cxt, target->store, call->model != NULL ? constant_name(call->model) : NULL, "",
										  EMBED_NAME_ARGUMENT);
		table->sources = lappend(table->sources, source);
	}
}

/* The columns that an UPDATE sets, as the server counts them. */
static Bitmapset *
columns_set(const EmbedAheadTarget *target, const Table *table, Index table_no)
{
#ifdef EMBED_MODIFY_TABLE_HAS_PLANS
	(void) table;
	return exec_rt_fetch(table_no, target->estate)->updatedCols;
#else
	Bitmapset  *set = NULL;
	const ListCell *cell;

	(void) target;
	(void) table_no;
	foreach(cell, table->columns)
		set = bms_add_member(set, lfirst_int(cell) - FirstLowInvalidHeapAttributeNumber);
	return set;
#endif
}

/*
 * An UPDATE computes the generated columns that read a column that it sets, and
 * with a BEFORE trigger all of them.
 */
static void
add_all_generated(EmbedAheadTarget *target, Table *table, Index table_no)
{
	Relation	rel = table->rel;
	List	   *kept = NIL;
	ListCell   *cell;

	if (!has_generated(rel))
		return;
	for (int attno = 1; attno <= RelationGetNumberOfAttributes(rel); attno++)
	{
		if (!TupleDescAttr(RelationGetDescr(rel), attno - 1)->attisdropped)
			add_generated(target, table, attno);
	}
	if (target->operation == CMD_INSERT || (rel->trigdesc != NULL && rel->trigdesc->trig_update_before_row))
		return;
	foreach(cell, table->sources)
	{
		Source	   *source = lfirst(cell);

		if (source->text == NULL || bms_overlap(source->read, columns_set(target, table, table_no)))
			kept = lappend(kept, source);
	}
	table->sources = kept;
}

/* ----------------------------------------------------- tables of interest */

static void watch_tables(void);

static EmbedAheadKnown known = {.name = "embed tables", .watch = watch_tables};

static void
table_changes(pg_attribute_unused() Datum arg, Oid relid)
{
	embed_ahead_known_forget(&known, relid);
}

static void
watch_tables(void)
{
	CacheRegisterRelcacheCallback(table_changes, (Datum) 0);
}

static bool
rel_embeds(Relation rel)
{
	Expr	   *expr;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		if (embed_ahead_function(rel->trigdesc->triggers[i].tgfoid) == EMBED_AHEAD_TRIGGER)
			return true;
	}
	for (int attno = 1; has_generated(rel) && attno <= RelationGetNumberOfAttributes(rel); attno++)
	{
		if (!TupleDescAttr(RelationGetDescr(rel), attno - 1)->attisdropped && generated_calls(rel, attno, &expr) != NIL)
			return true;
	}
	return false;
}

/* The statement has locked the table. */
static bool
table_embeds(Oid relid)
{
	uint64		seen;
	Relation	rel;
	int			embeds;

	if (embed_ahead_known_find(&known, relid, &embeds))
		return embeds;
	seen = known.n_changes;
	rel = RelationIdGetRelation(relid);
	if (!RelationIsValid(rel))
		return false;
	embeds = rel_embeds(rel);
	RelationClose(rel);
	embed_ahead_known_add(&known, relid, embeds, seen);
	return embeds;
}

bool
embed_ahead_targets(const PlannedStmt *stmt, const List *tables, CmdType operation)
{
	const ListCell *cell;

	foreach(cell, tables)
	{
		const RangeTblEntry *entry = rt_fetch(lfirst_int(cell), stmt->rtable);

		/* an old row is found by its ctid */
		if (operation != CMD_INSERT && entry->relkind != RELKIND_RELATION && entry->relkind != RELKIND_PARTITIONED_TABLE)
			continue;
		if (table_embeds(entry->relid))
			return true;
	}
	return false;
}

/* ----------------------------------------------------------------- set up */

static void
set_up_table(EmbedAheadTarget *target, Table *table, Index table_no, const List *columns)
{
	EState	   *estate = target->estate;

	table->rel = estate->es_relations[table_no - 1];
	table->columns = columns;
	if (table->rel == NULL)
		return;
	/* a conflict is looked for in the partition */
	if (!(target->may_conflict && table->rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE))
		add_triggers(target, table);
	add_all_generated(target, table, table_no);
	table->new = ExecInitExtraTupleSlot(estate, RelationGetDescr(table->rel), &TTSOpsVirtual);
	if (target->operation == CMD_UPDATE && table->rel->rd_rel->relkind == RELKIND_RELATION)
		table->old = table_slot_create(table->rel, &estate->es_tupleTable);
}

static int
n_columns_of(List *targetlist)
{
	ListCell   *cell;
	int			n = 0;

	foreach(cell, targetlist)
		n += !((TargetEntry *) lfirst(cell))->resjunk;
	return n;
}

EmbedAheadTarget *
embed_ahead_target(EState *estate, CmdType operation, OnConflictAction on_conflict, List *tables, List *columns,
				   List *targetlist, EmbedAheadStore *store, List **texts)
{
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
	EmbedAheadTarget *target = palloc0(sizeof(EmbedAheadTarget));

	target->estate = estate;
	target->operation = operation;
	target->may_conflict = on_conflict != ONCONFLICT_NONE;
	target->store = store;
	target->n_columns = n_columns_of(targetlist);
	if (operation == CMD_UPDATE)
	{
		target->ctid = ExecFindJunkAttributeInTlist(targetlist, "ctid");
		target->tableoid = ExecFindJunkAttributeInTlist(targetlist, "tableoid");
	}
	target->econtext = CreateExprContext(estate);
	target->n_tables = list_length(tables);
	target->tables = palloc0(target->n_tables * sizeof(Table));
	for (int i = 0; i < target->n_tables; i++)
	{
		ListCell   *cell;

		set_up_table(target, &target->tables[i], list_nth_int(tables, i), i < list_length(columns) ? list_nth(columns, i) : NIL);
		foreach(cell, target->tables[i].sources)
			*texts = lappend(*texts, ((Source *) lfirst(cell))->texts);
	}
	MemoryContextSwitchTo(old);
	return target;
}

/* --------------------------------------------------------------------- rows */

static Table *
table_of_row(EmbedAheadTarget *target, const TupleTableSlot *row)
{
	if (target->tableoid == 0)
		return target->n_tables == 1 ? &target->tables[0] : NULL;
	for (int i = 0; i < target->n_tables; i++)
	{
		if (!row->tts_isnull[target->tableoid - 1] && target->tables[i].rel != NULL &&
			RelationGetRelid(target->tables[i].rel) == DatumGetObjectId(row->tts_values[target->tableoid - 1]))
			return &target->tables[i];
	}
	return NULL;
}

/* The row before an UPDATE. */
static bool
fetch_old(EmbedAheadTarget *target, Table *table, const TupleTableSlot *row)
{
	if (target->ctid == 0 || table->old == NULL || row->tts_isnull[target->ctid - 1])
		return false;
	if (!table_tuple_fetch_row_version(table->rel, (ItemPointer) DatumGetPointer(row->tts_values[target->ctid - 1]), SnapshotAny, table->old))
		return false;
	slot_getallattrs(table->old);
	return true;
}

/* Puts the row as the statement makes it into table->new. */
static bool
make_new(EmbedAheadTarget *target, Table *table, const TupleTableSlot *row)
{
	TupleTableSlot *new = table->new;
	int			n = new->tts_tupleDescriptor->natts;

	ExecClearTuple(new);
	memset(new->tts_values, 0, n * sizeof(Datum));
	memset(new->tts_isnull, true, n * sizeof(bool));
	if (table->old != NULL)
	{
		memcpy(new->tts_values, table->old->tts_values, n * sizeof(Datum));
		memcpy(new->tts_isnull, table->old->tts_isnull, n * sizeof(bool));
	}
	for (int i = 0; i < target->n_columns; i++)
	{
		int			attno = table->columns != NIL ? list_nth_int(table->columns, i) : i + 1;

		if (attno > n || attno < 1)
			return false;
		new->tts_values[attno - 1] = row->tts_values[i];
		new->tts_isnull[attno - 1] = row->tts_isnull[i];
	}
	ExecStoreVirtualTuple(new);
	return true;
}

static EmbedSources
sources_of(const EmbedTriggerColumns *columns, const TupleTableSlot *slot)
{
	EmbedSources sources = {.all_null = true};

	for (int i = 0; i < columns->n_sources; i++)
	{
		sources.values[i] = slot->tts_values[columns->sources[i].attnum - 1];
		sources.isnull[i] = slot->tts_isnull[columns->sources[i].attnum - 1];
		sources.all_null &= sources.isnull[i];
	}
	return sources;
}

/* Whether the trigger takes the vector from a row that is there (known.h). */
static bool
has_twin(EmbedAheadTarget *target, Table *table, Source *source, const EmbedSources *sources)
{
	HeapTuple	tuple;
	Datum		vector;

	if (!target->may_conflict || !source->names_model)
		return false;
	tuple = heap_form_tuple(RelationGetDescr(table->rel), table->new->tts_values, table->new->tts_isnull);
	return embed_known_twin(&source->indexes, target->estate->es_query_cxt, table->rel, tuple, &source->columns, sources, &vector);
}

/* Whether the trigger will embed the text of the row, as trigger.c has it. */
static bool
will_embed(EmbedAheadTarget *target, Table *table, Source *source, const EmbedSources *new)
{
	int			v = source->columns.vector.attnum - 1;
	EmbedSources old;

	if (new->all_null || embed_guc_defer)
		return false;
	if (table->old == NULL)
		return table->new->tts_isnull[v] && !has_twin(target, table, source, new);
	if (table->new->tts_isnull[v])
		return true;
	/* a vector that the statement gives may be right as it is */
	if (!embed_known_is_same(&source->columns.vector, table->old->tts_values[v], table->old->tts_isnull[v],
							 table->new->tts_values[v], false))
		return false;
	old = sources_of(&source->columns, table->old);
	return !embed_known_is_same_text(&source->columns, &old, new);
}

static void
add_source(EmbedAheadTarget *target, Table *table, Source *source)
{
	ExprContext *econtext = target->econtext;
	bool		isnull = false;
	Datum		text;

	if (source->texts->ref == NULL)
		return;
	if (source->text != NULL)
	{
		econtext->ecxt_scantuple = table->new;
		text = ExecEvalExprSwitchContext(source->text, econtext, &isnull);
	}
	else
	{
		EmbedSources sources = sources_of(&source->columns, table->new);

		if (!will_embed(target, table, source, &sources))
			return;
		text = embed_trigger_text(&source->columns, econtext, &sources, &isnull);
	}
	if (!isnull)
		embed_ahead_add(source->texts, text);
}

void
embed_ahead_target_add(EmbedAheadTarget *target, TupleTableSlot *row)
{
	Table	   *table = table_of_row(target, row);
	ListCell   *cell;
	MemoryContext old;

	if (table == NULL || table->sources == NIL ||
		(target->operation == CMD_UPDATE && !fetch_old(target, table, row)) || !make_new(target, table, row))
		return;
	old = MemoryContextSwitchTo(target->econtext->ecxt_per_tuple_memory);
	foreach(cell, table->sources)
		add_source(target, table, lfirst(cell));
	MemoryContextSwitchTo(old);
	ResetExprContext(target->econtext);
	if (table->old != NULL)
	{
		ExecClearTuple(table->new);
		ExecClearTuple(table->old);
	}
}
