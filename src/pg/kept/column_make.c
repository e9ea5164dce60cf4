/*
 * column_make.c
 *		embed_column and embed_column_drop: make, change and end a kept column.
 *
 * Everything that a kept column is belongs to the user: a column, a trigger, a
 * partial index. There is no catalog of ours, so that renames, dumps and
 * rollbacks need no care. A vector belongs to the text beside it and to the
 * column's model, or it is NULL: whatever cannot be shown to do so becomes NULL
 * in the same transaction.
 *
 * A call that finds everything as asked for changes and locks nothing, so that
 * scripts may repeat it on a table in use.
 */
#include "pg/glue.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "pg/auto/as_owner.h"
#include "pg/auto/kept_column.h"
#include "pg/auto/trigger_depends.h"
#include "pg/call/callsite.h"
#include "pg/kept/column_make.h"
#include "pg/kept/column_sql.h"
#include "pg/kept/column_table.h"
#include "pg/kept/column_type.h"
#include "pg/kept/failures.h"
#include "pg/store/names.h"
#include "pg/store/pinned_name.h"
#include "pg/store/storage.h"

EMBED_FUNCTION(embed_column);
EMBED_FUNCTION(embed_column_drop);

/* What there is. */
typedef struct Found
{
	bool		has_column;
	bool		is_complete;	/* nothing is to change */
	bool		vectors_hold;	/* a trigger kept them for the same texts and model */
	bool		has_other_dim;	/* the column's type has other dimensions than the model */
	Oid			trigger;		/* if is_complete */
	EmbedTriggerColumns columns;	/* if has_column */
	List	   *triggers;		/* names */
	List	   *dead;			/* names of triggers whose vector column is gone or was renamed: they raise at every row */
} Found;

/* ------------------------------------------------------------ what there is */

bool
embed_column_is_model(const EmbedKeptColumn *kept, const EmbedName *model)
{
	if (!kept->names_model)
		return false;
	if (kept->model.digits[0] != '\0')
		return embed_digits_match(kept->model.digits, model->fingerprint);
	/* written by hand, without a record */
	return strcmp(kept->model.name, model->model) == 0;
}

/* How many digits of the fingerprint the trigger gets: as many as for an alias, or as the caller gave. */
static int
n_recorded_digits(const EmbedColumnWanted *wanted)
{
	EmbedPinnedName given;

	if (wanted->given_model == NULL || !embed_pinned_parse(wanted->given_model, &given))
		return EMBED_RECORDED_DIGITS;
	return Max((int) strlen(given.digits), EMBED_RECORDED_DIGITS);
}

char *
embed_column_model_argument(const EmbedColumnWanted *wanted)
{
	char		digits[EMBED_DIGITS_MAX + 1];

	embed_fingerprint_digits(wanted->model.fingerprint, digits);
	return psprintf("%s@%.*s", wanted->model.model, n_recorded_digits(wanted), digits);
}

/* Whether a call with the same arguments would write the trigger's model as it stands there. */
static bool
has_model_argument(const EmbedKeptColumn *kept, const EmbedColumnWanted *wanted)
{
	return embed_column_is_model(kept, &wanted->model) && strcmp(kept->model.name, wanted->model.model) == 0 &&
		(int) strlen(kept->model.digits) >= n_recorded_digits(wanted);
}

bool
embed_column_sees_all(const Trigger *trigger)
{
	return TRIGGER_FOR_INSERT(trigger->tgtype) && TRIGGER_FOR_UPDATE(trigger->tgtype) && trigger->tgnattr == 0 &&
		trigger->tgqual == NULL &&
		(trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN || trigger->tgenabled == TRIGGER_FIRES_ALWAYS);
}

bool
embed_column_has_sources(const EmbedTriggerColumns *a, const EmbedTriggerColumns *b)
{
	if (a->n_sources != b->n_sources)
		return false;
	for (int i = 0; i < a->n_sources; i++)
	{
		if (a->sources[i].attnum != b->sources[i].attnum)
			return false;
	}
	return true;
}

void
embed_column_find(Relation rel, const EmbedColumnWanted *wanted, EmbedTriggerColumns *columns)
{
	char	   *arguments[] = {wanted->vector, wanted->source, embed_column_model_argument(wanted), NULL};
	Trigger		trigger = {.tgname = makeObjectName("zz_embed", wanted->vector, NULL), .tgnargs = 3, .tgargs = arguments};

	(void) embed_trigger_find_columns(rel, &trigger, CurrentMemoryContext, ERROR, columns);
}

/* The first row would say so otherwise. */
pg_noreturn static void
dim_error(Relation rel, const EmbedColumnWanted *wanted, const EmbedTriggerColumn *vector)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of table \"%s\" takes vectors of %d dimensions, and those of model \"%s\" have %d",
					wanted->vector, RelationGetRelationName(rel), embed_column_type_dim(vector), wanted->model.model, wanted->dim),
			 errhint("Keep another column, or ALTER TABLE %s ALTER COLUMN %s TYPE %s USING NULL first.",
					 embed_column_table(wanted->relid), quote_identifier(wanted->vector), embed_column_type_like(vector, wanted->dim))));
}

/*
 * A to-do index follows its columns through renames, a trigger its names. So
 * where names changed their places, only indexes of other sources are there.
 */
static bool
has_moved_sources(Relation rel, const EmbedTriggerColumns *columns)
{
	return embed_column_indexes(rel, columns->vector.attnum, NULL) != NIL &&
		embed_column_indexes(rel, columns->vector.attnum, columns) == NIL;
}

static void
look_as_owner(Relation rel, const EmbedColumnWanted *wanted, Found *found)
{
	List	   *triggers = embed_column_triggers(rel, wanted->vector);
	EmbedKeptColumn *kept = embed_kept_column(rel, wanted->vector, 0);
	Trigger    *first = triggers != NIL ? linitial(triggers) : NULL;
	ListCell   *cell;

	memset(found, 0, sizeof(*found));
	found->has_column = get_attnum(RelationGetRelid(rel), wanted->vector) != InvalidAttrNumber;
	found->dead = embed_column_dead_triggers(rel);
	if (!found->has_column)
		return;
	foreach(cell, triggers)
		found->triggers = lappend(found->triggers, pstrdup(((Trigger *) lfirst(cell))->tgname));
	embed_column_find(rel, wanted, &found->columns);
	embed_column_check_type(rel, &found->columns.vector);
	found->has_other_dim = embed_column_type_has_other_dim(&found->columns.vector, wanted->dim);
	if (found->has_other_dim && !wanted->may_retype)
		dim_error(rel, wanted, &found->columns.vector);
	if (kept == NULL || list_length(triggers) != 1 || found->has_other_dim)
		return;
	found->vectors_hold = embed_column_sees_all(first) && embed_column_is_model(kept, &wanted->model) &&
		embed_column_has_sources(&kept->columns, &found->columns) && !has_moved_sources(rel, &found->columns);
	found->is_complete = found->vectors_hold && found->dead == NIL && has_model_argument(kept, wanted) && kept->is_later == wanted->is_later &&
		strncmp(first->tgname, "zz_", 3) == 0 &&
		embed_column_indexes(rel, found->columns.vector.attnum, &found->columns) != NIL;
	found->trigger = kept->trigger;
}

static void
look(Relation rel, const EmbedColumnWanted *wanted, Found *found)
{
	EmbedCaller caller = embed_as_owner(rel);

	look_as_owner(rel, wanted, found);
	embed_as_caller(&caller);
}

/* ------------------------------------------------------------ changes */

static void
add_column(const EmbedColumnWanted *wanted)
{
	embed_column_run(psprintf("ALTER TABLE %s ADD COLUMN %s %s", embed_column_table(wanted->relid),
							  quote_identifier(wanted->vector), embed_column_type(wanted->dim)), SPI_OK_UTILITY);
}

/* The vectors go. Indexes on the column stay, and are empty. */
static void
retype_column(const EmbedColumnWanted *wanted, const EmbedTriggerColumn *vector)
{
	embed_column_run(psprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s USING NULL", embed_column_table(wanted->relid),
							  quote_identifier(wanted->vector), embed_column_type_like(vector, wanted->dim)), SPI_OK_UTILITY);
}

static void
drop_triggers(Oid relid, List *names)
{
	ListCell   *cell;

	foreach(cell, names)
		embed_column_run(psprintf("DROP TRIGGER %s ON %s", quote_identifier(lfirst(cell)), embed_column_table(relid)), SPI_OK_UTILITY);
}

static void
drop_dead(const EmbedColumnWanted *wanted, List *names)
{
	ListCell   *cell;

	foreach(cell, names)
		ereport(NOTICE,
				(errmsg("trigger \"%s\" of table \"%s\" is dropped: its column of vectors is gone or was renamed, and it failed at every row",
						(char *) lfirst(cell), get_rel_name(wanted->relid))));
	drop_triggers(wanted->relid, names);
}

static void
drop_indexes(List *oids)
{
	ListCell   *cell;

	foreach(cell, oids)
		embed_column_run(psprintf("DROP INDEX %s", embed_column_table(lfirst_oid(cell))), SPI_OK_UTILITY);
}

/* A name that no trigger of the table has, as long as names may be. */
static char *
new_trigger_name(const EmbedColumnWanted *wanted)
{
	Relation	rel = relation_open(wanted->relid, NoLock);
	char	   *name = makeObjectName("zz_embed", wanted->vector, NULL);

	for (int i = 0, n = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		if (strcmp(rel->trigdesc->triggers[i].tgname, name) != 0)
			continue;
		name = makeObjectName("zz_embed", wanted->vector, psprintf("%d", ++n));
		/* the loop's step makes it 0: the new name may be taken, too */
		i = -1;
	}
	relation_close(rel, NoLock);
	return name;
}

void
embed_column_create_trigger(const EmbedColumnWanted *wanted)
{
	char	   *name = new_trigger_name(wanted);

	embed_column_run(psprintf("CREATE TRIGGER %s BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION %s(%s, %s, %s, '%s')",
							  quote_identifier(name), embed_column_table(wanted->relid),
							  quote_qualified_identifier(wanted->schema, "embed_trigger"),
							  quote_literal_cstr(wanted->vector), quote_literal_cstr(wanted->source),
							  quote_literal_cstr(embed_column_model_argument(wanted)), wanted->is_later ? "later" : "now"), SPI_OK_UTILITY);
	/* where event triggers do not fire */
	embed_trigger_record_columns(get_trigger_oid(wanted->relid, name, false));
}

/* The first column of the primary key, else a small column that does not change length, else a constant. */
static const char *
index_key(Relation rel, AttrNumber vector)
{
	AttrNumber	attnum = 0;

	list_free(RelationGetIndexList(rel));
	if (OidIsValid(rel->rd_pkindex))
	{
		Relation	key = relation_open(rel->rd_pkindex, AccessShareLock);

		attnum = key->rd_index->indkey.values[0];
		relation_close(key, AccessShareLock);
	}
	for (int i = 0; attnum == 0 && i < RelationGetNumberOfAttributes(rel); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		if (!att->attisdropped && att->attlen > 0 && att->attnum != vector && att->attgenerated == '\0' &&
			OidIsValid(GetDefaultOpClass(att->atttypid, BTREE_AM_OID)))
			attnum = att->attnum;
	}
	return attnum == 0 ? "(true)" : quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attname));
}

/* The index of what is to do; drops those of other sources. */
void
embed_column_make_index(const EmbedColumnWanted *wanted)
{
	Relation	rel = relation_open(wanted->relid, NoLock);
	EmbedTriggerColumns columns;
	List	   *others;
	List	   *right;
	char	   *command;
	EmbedCaller caller = embed_as_owner(rel);

	embed_column_find(rel, wanted, &columns);
	embed_as_caller(&caller);
	others = embed_column_indexes(rel, columns.vector.attnum, NULL);
	right = embed_column_indexes(rel, columns.vector.attnum, &columns);
	command = psprintf("CREATE INDEX %s ON %s (%s) WHERE %s",
					   quote_identifier(ChooseRelationName(RelationGetRelationName(rel), wanted->vector, "to_do",
														   RelationGetNamespace(rel), false)),
					   embed_column_table(wanted->relid), index_key(rel, columns.vector.attnum),
					   embed_column_to_do(rel, &columns));
	relation_close(rel, NoLock);
	drop_indexes(list_difference_oid(others, right));
	if (right == NIL)
		embed_column_run(command, SPI_OK_UTILITY);
}

/* A trigger of the table that skips rows, or a rule, left them their vectors. */
static void
check_cleared(const EmbedColumnWanted *wanted)
{
	int64		n = embed_column_number(psprintf("SELECT pg_catalog.count(*) FROM %s WHERE %s IS NOT NULL",
												 embed_column_rows(wanted->relid), quote_identifier(wanted->vector)));

	if (n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a trigger or rule of table \"%s\" skips rows whose vectors in column \"%s\" must become NULL: " INT64_FORMAT,
						get_rel_name(wanted->relid), wanted->vector, n),
				 errdetail("The column would hold vectors that are not those of their texts."),
				 errhint("Disable the trigger or rule for the call of embed_column.")));
}

/*
 * Vectors that nothing shows to be those of their texts become NULL, under the
 * new trigger. As the table's owner, because his triggers and rules run.
 */
static uint64
clear_vectors(const EmbedColumnWanted *wanted)
{
	Relation	rel = relation_open(wanted->relid, NoLock);
	EmbedCaller caller = embed_as_owner(rel);
	int			nest = NewGUCNestLevel();
	uint64		n;

	relation_close(rel, NoLock);
	embed_column_check_isolation("embed_column cannot set vectors to NULL");
	embed_set_for_now("embed.defer", "on");
	/* a policy that hides rows would leave their vectors: an error says so */
	embed_set_for_now("row_security", "off");
	/* a rule may make another command of it: what counts is what is left */
	if (SPI_execute(psprintf("UPDATE %s SET %s = NULL WHERE %s IS NOT NULL", embed_column_rows(wanted->relid),
							 quote_identifier(wanted->vector), quote_identifier(wanted->vector)), false, 0) < 0)
		elog(ERROR, "could not set vectors to NULL");
	n = SPI_processed;
	check_cleared(wanted);
	AtEOXact_GUC(false, nest);
	embed_as_caller(&caller);
	return n;
}

/* ------------------------------------------------------------ calls */

static bool
is_later(const char *mode)
{
	if (strcmp(mode, "now") != 0 && strcmp(mode, "later") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mode \"%s\" is neither now nor later", embed_shown(mode)),
				 errhint("now: a statement computes its vectors; later: it leaves them NULL, to do.")));
	return strcmp(mode, "later") == 0;
}

static EmbedKeptColumn *
kept_column(Relation rel, const char *vector)
{
	EmbedCaller caller = embed_as_owner(rel);
	EmbedKeptColumn *kept = embed_kept_column(rel, vector, 0);

	embed_as_caller(&caller);
	return kept;
}

char *
embed_column_model_now(const EmbedPinnedName *model)
{
	const char *other = NULL;
	EmbedName	found;
	EmbedModelRow row;
	bool		dropped;

	if (model->digits[0] == '\0')
		return pstrdup(model->name);
	if (!embed_names_find(model->name, EMB_KIND_EMBEDDING, NULL, &found, &dropped) || dropped ||
		!embed_digits_match(model->digits, found.fingerprint))
		other = embed_storage_name_of(model->digits);
	return pstrdup(other != NULL && embed_storage_find_model(other, NULL, &row) && !row.dropped ? other : model->name);
}

void
embed_column_choose(EmbedColumnWanted *wanted, Relation rel, const char *given_model, const char *mode)
{
	const char *model = given_model;
	EmbedKeptColumn *kept = rel == NULL ? NULL : kept_column(rel, wanted->vector);

	if (model == NULL && kept != NULL && kept->names_model)
		model = embed_column_model_now(&kept->model);
	wanted->given_model = given_model;
	wanted->given_mode = mode;
	embed_names_resolve(model, EMB_KIND_EMBEDDING, EMBED_NAME_ALIAS_TOO, &wanted->model);
	wanted->dim = embed_registry_lookup(wanted->model.model, EMB_KIND_EMBEDDING, EMBED_NAME_ALIAS_TOO)->info->dim;
	wanted->is_later = mode == NULL ? kept != NULL && kept->is_later : is_later(mode);
}

static char *
name_argument(FunctionCallInfo fcinfo, int argno, const char *what)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("embed_column: %s is NULL", what)));
	return pstrdup(NameStr(*PG_GETARG_NAME(argno)));
}

static char *
text_argument(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argno));
}

/* Triggers are not inherited, the new column is. */
static void
tell_of_children(const EmbedColumnWanted *wanted)
{
	if (get_rel_relkind(wanted->relid) == RELKIND_RELATION && find_inheritance_children(wanted->relid, NoLock) != NIL)
		ereport(NOTICE,
				(errmsg("rows of the child tables of table \"%s\" are not kept", get_rel_name(wanted->relid)),
				 errhint("Call embed_column for each of the child tables.")));
}

/* Another model, or another source, may well do what failed. */
static void
forget_failures(Oid relid, const char *vector)
{
	List	   *relids = find_all_inheritors(relid, NoLock, NULL);
	ListCell   *cell;

	foreach(cell, relids)
	{
		if (embed_failures_count(lfirst_oid(cell), vector) > 0)
			(void) embed_failures_forget(lfirst_oid(cell), vector);
	}
	list_free(relids);
}

static void
change(const EmbedColumnWanted *wanted, const Found *found)
{
	uint64		n_cleared = 0;

	if (!found->has_column)
		add_column(wanted);
	drop_triggers(wanted->relid, found->triggers);
	drop_dead(wanted, found->dead);
	if (found->has_other_dim)
		retype_column(wanted, &found->columns.vector);
	embed_column_create_trigger(wanted);
	embed_column_make_index(wanted);
	forget_failures(wanted->relid, wanted->vector);
	if (found->has_column && !found->vectors_hold && !found->has_other_dim && !embed_guc_accept_vectors)
		n_cleared = clear_vectors(wanted);
	if (n_cleared > 0)
		ereport(NOTICE,
				(errmsg_plural(UINT64_FORMAT " vector of column \"%s\" became NULL: nothing shows that it is that of its text by model \"%s\"",
							   UINT64_FORMAT " vectors of column \"%s\" became NULL: nothing shows that they are those of their texts by model \"%s\"",
							   n_cleared, n_cleared, wanted->vector, wanted->model.model),
				 errhint("Where they are, embed_column keeps them under SET embed.accept_vectors = on.")));
}

/*
 * All that the change needs from the start: DROP TRIGGER, DROP INDEX and ALTER
 * TABLE would wait for who reads the table, and who reads it may wait for us to
 * write.
 */
static LOCKMODE
lock_to_change(Relation rel, const Found *found)
{
	bool		drops = found->triggers != NIL || found->dead != NIL || found->has_other_dim ||
		embed_column_indexes(rel, found->columns.vector.attnum, NULL) != NIL;

	return found->has_column && !drops ? ShareRowExclusiveLock : AccessExclusiveLock;
}

/* What there is now that nobody changes it. What is not given may have changed before the lock. */
static Relation
look_locked(EmbedColumnWanted *wanted, LOCKMODE lock, Found *found)
{
	Relation	rel = embed_column_open(wanted->relid, lock, "embed_column");

	if (found->has_column)
		embed_column_choose(wanted, rel, wanted->given_model, wanted->given_mode);
	look(rel, wanted, found);
	return rel;
}

bool
embed_column_make(EmbedColumnWanted *wanted)
{
	Relation	rel = embed_column_open(wanted->relid, AccessShareLock, "embed_column");
	Found		found;
	LOCKMODE	lock;

	look(rel, wanted, &found);
	lock = lock_to_change(rel, &found);
	/* unlocked: two callers that hold it would wait for each other */
	relation_close(rel, AccessShareLock);
	if (found.is_complete)
	{
		embed_trigger_record_columns(found.trigger);
		return false;
	}
	rel = look_locked(wanted, lock, &found);
	if (!found.is_complete && lock_to_change(rel, &found) > lock)
	{
		/* another session has made a trigger or an index since, and may wait for a partition */
		embed_column_close(rel, lock);
		lock = AccessExclusiveLock;
		rel = look_locked(wanted, lock, &found);
	}
	if (found.is_complete)
	{
		embed_column_close(rel, lock);
		return false;
	}
	relation_close(rel, NoLock);
	change(wanted, &found);
	tell_of_children(wanted);
	return true;
}

/* embed_column(tab regclass, source text, vector name, model text, mode text) */
Datum
embed_column(PG_FUNCTION_ARGS)
{
	EmbedColumnWanted wanted = {0};
	Relation	rel;

	embed_column_check_may_write("embed_column()");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("embed_column: %s is NULL", PG_ARGISNULL(0) ? "the table" : "the source")));
	wanted.relid = PG_GETARG_OID(0);
	wanted.vector = name_argument(fcinfo, 2, "the vector column");
	wanted.schema = get_namespace_name(get_func_namespace(fcinfo->flinfo->fn_oid));
	rel = embed_column_open(wanted.relid, AccessShareLock, "embed_column");
	wanted.source = embed_column_source(rel, text_argument(fcinfo, 1));
	embed_column_choose(&wanted, rel, text_argument(fcinfo, 3), text_argument(fcinfo, 4));
	relation_close(rel, AccessShareLock);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (embed_column_make(&wanted))
		embed_column_report(&wanted);
	else
		ereport(NOTICE,
				(errmsg("column \"%s\" of table \"%s\" is kept so already, nothing changes", wanted.vector, get_rel_name(wanted.relid))));
	SPI_finish();
	PG_RETURN_VOID();
}

/* embed_column_drop(tab regclass, vector name) */
Datum
embed_column_drop(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	const char *vector = NameStr(*PG_GETARG_NAME(1));
	Relation	rel;
	AttrNumber	attnum;
	List	   *triggers = NIL;
	List	   *indexes = NIL;
	ListCell   *cell;

	embed_column_check_may_write("embed_column_drop()");
	/* who may not change the table keeps nobody waiting */
	relation_close(embed_column_open_any(relid, AccessShareLock, "embed_column_drop"), AccessShareLock);
	rel = embed_column_open_any(relid, AccessExclusiveLock, "embed_column_drop");
	/* DROP TRIGGER would lock partitions in the order of their triggers */
	(void) find_all_inheritors(relid, AccessExclusiveLock, NULL);
	attnum = get_attnum(relid, vector);
	foreach(cell, embed_column_triggers(rel, vector))
		triggers = lappend(triggers, pstrdup(((Trigger *) lfirst(cell))->tgname));
	if (attnum != InvalidAttrNumber)
		indexes = embed_column_indexes(rel, attnum, NULL);
	if (triggers == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no embed_trigger keeps column \"%s\" of table \"%s\"", vector, RelationGetRelationName(rel))));
	relation_close(rel, NoLock);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	drop_triggers(relid, triggers);
	drop_indexes(indexes);
	SPI_finish();
	forget_failures(relid, vector);
	PG_RETURN_VOID();
}
