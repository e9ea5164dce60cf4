/*
 * switch_call.c
 *		embed_switch: the column beside a kept column takes its place, and
 *		another call goes back.
 *
 * Only names change, so the switch takes no longer than its lock. Everything is
 * looked at twice: first without a lock that anybody waits for, so that a
 * refusal disturbs nobody, then under the lock.
 */
#include "pg/kept/switch.h"

#include "access/relation.h"
#include "access/xact.h"
#include "commands/tablecmds.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/kept/column_make.h"
#include "pg/kept/column_sql.h"
#include "pg/kept/column_table.h"
#include "pg/kept/failures.h"
#include "pg/kept/fill.h"
#include "pg/store/names.h"

EMBED_FUNCTION(embed_switch);

/* The columns of a switch: in becomes vector, which becomes out. */
typedef struct Switch
{
	Oid			relid;
	const char *vector;
	char	   *in;
	char	   *out;
	EmbedKeptColumn *from;
	EmbedKeptColumn *to;
	List	   *indexes;		/* of EmbedIndexPair */
} Switch;

static bool
has_column(Relation rel, const char *name)
{
	return get_attnum(RelationGetRelid(rel), name) != InvalidAttrNumber;
}

static const char *
model_of(const EmbedKeptColumn *kept)
{
	return kept->names_model ? kept->model.name : "default";
}

/* ------------------------------------------------------------ checks */

static void
choose_direction(Relation rel, Switch *s)
{
	char	   *next = embed_next_column(rel, s->vector);
	char	   *prev = embed_prev_column(rel, s->vector);
	bool		has_next = has_column(rel, next);

	if (has_next && has_column(rel, prev))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has both columns, \"%s\" and \"%s\"", RelationGetRelationName(rel), next, prev),
				 errhint("Drop the one that you do not switch to: ALTER TABLE %s DROP COLUMN %s, after embed_column_drop.",
						 embed_column_table(s->relid), quote_identifier(prev))));
	if (!has_next && !has_column(rel, prev))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no column beside column \"%s\" of table \"%s\" to switch to", s->vector, RelationGetRelationName(rel)),
				 errhint("CALL embed_refill(%s, %s, 'model') makes and fills column \"%s\".", quote_literal_cstr(embed_column_table(s->relid)),
						 quote_literal_cstr(s->vector), next)));
	s->in = has_next ? next : prev;
	s->out = has_next ? prev : next;
}

static void
check_sources(Relation rel, const Switch *s)
{
	if (embed_column_has_sources(&s->from->columns, &s->to->columns))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("columns \"%s\" and \"%s\" of table \"%s\" are kept for different texts", s->vector, s->in, RelationGetRelationName(rel)),
			 errhint("SELECT embed_column(%s, %s, %s)", quote_literal_cstr(embed_column_table(s->relid)),
					 quote_literal_cstr(embed_switch_trigger(rel, s->vector)->tgargs[1]), quote_literal_cstr(s->in))));
}

static void
check_complete(Relation rel, const Switch *s)
{
	int64		n = embed_switch_to_do(rel, s->to);
	int64		n_failed = 0;
	ListCell   *cell;

	if (n == 0)
		return;
	foreach(cell, embed_switch_tables(rel, NoLock))
		n_failed += embed_failures_count(lfirst_oid(cell), s->in);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg_plural(INT64_FORMAT " row of column \"%s\" of table \"%s\" is to do", INT64_FORMAT " rows of column \"%s\" of table \"%s\" are to do",
						   n, n, s->in, RelationGetRelationName(rel)),
			 n_failed > 0 ? errdetail("Texts that could not be embedded: " INT64_FORMAT ". The view embed_failures says why.", n_failed) : 0,
			 errhint("CALL embed_refill(%s, %s, %s)", quote_literal_cstr(embed_column_table(s->relid)), quote_literal_cstr(s->vector),
					 quote_literal_cstr(model_of(s->to)))));
}

static void
check_indexes(Relation rel, Switch *s)
{
	char	   *missing;

	s->indexes = embed_switch_pair_indexes(rel, s->from, s->to, &missing);
	if (missing == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("column \"%s\" of table \"%s\" has an index that column \"%s\" lacks", s->vector, RelationGetRelationName(rel), s->in),
			 errdetail("Searches would read the whole table."),
			 errhint("%s", missing)));
}

/* The columns as they are now; SPI is connected. As the table's owner, whose types and casts are met. */
static void
look(Relation rel, Switch *s)
{
	EmbedCaller caller = embed_fill_as_owner(rel);

	embed_switch_check_table(rel);
	choose_direction(rel, s);
	s->from = embed_switch_kept(rel, s->vector);
	s->to = embed_switch_kept(rel, s->in);
	check_sources(rel, s);
	embed_switch_check_dependents(rel, s->vector, s->in);
	check_indexes(rel, s);
	check_complete(rel, s);
	embed_as_caller(&caller);
}

static void
look_first(void *arg)
{
	Switch		s = *(Switch *) arg;
	Relation	rel = embed_column_open(s.relid, AccessShareLock, "embed_switch");

	look(rel, &s);
	relation_close(rel, AccessShareLock);
}

/* ------------------------------------------------------------ the switch */

static void
rename_column(const Switch *s, const char *from, const char *to)
{
	embed_column_run(psprintf("ALTER TABLE %s RENAME COLUMN %s TO %s", embed_column_table(s->relid),
							  quote_identifier(from), quote_identifier(to)), SPI_OK_UTILITY);
}

/* Failures are known by the column's name; they are tried again. */
static void
forget_failures(Relation rel, const Switch *s)
{
	ListCell   *cell;

	foreach(cell, embed_switch_tables(rel, NoLock))
	{
		(void) embed_failures_forget(lfirst_oid(cell), s->vector);
		(void) embed_failures_forget(lfirst_oid(cell), s->in);
	}
}

static void
rename_all(Relation rel, const Switch *s)
{
	embed_switch_copy_rights(rel, s->vector, s->in);
	forget_failures(rel, s);
	embed_switch_triggers(rel, s->in, s->vector, s->out);
	rename_column(s, s->vector, s->out);
	rename_column(s, s->in, s->vector);
	embed_switch_rename_indexes(s->indexes, s->out);
}

/* Whether calls of this session that name no model use the column's model. */
static bool
is_session_model(const EmbedKeptColumn *kept)
{
	EmbedName	found;
	bool		dropped;

	return embed_names_find(NULL, EMB_KIND_EMBEDDING, NULL, &found, &dropped) && embed_column_is_model(kept, &found);
}

static void
report(const Switch *s)
{
	bool		is_to_move = is_session_model(s->from);

	ereport(NOTICE,
			(errmsg("column \"%s\" of table \"%s\" has the vectors of model \"%s\", and column \"%s\" those of model \"%s\"",
					s->vector, get_rel_name(s->relid), model_of(s->to), s->out, model_of(s->from)),
			 is_to_move
			 ? errhint("Calls without a model argument use model \"%s\". Move the alias or the default in the same transaction, with embed_set_alias or embed_set_default.",
					   model_of(s->from)) : 0));
}

/* embed_switch(tab regclass, vector name) */
Datum
embed_switch(PG_FUNCTION_ARGS)
{
	Switch		s = {.relid = PG_GETARG_OID(0), .vector = NameStr(*PG_GETARG_NAME(1))};
	Relation	rel;

	embed_column_check_may_write("embed_switch()");
	embed_column_check_isolation("embed_switch cannot look for rows that are to do");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	embed_column_look(look_first, &s);
	rel = embed_column_open(s.relid, AccessExclusiveLock, "embed_switch");
	CheckTableNotInUse(rel, "embed_switch");
	(void) embed_switch_tables(rel, AccessExclusiveLock);
	look(rel, &s);
	embed_switch_warn_of_subscribers(rel, s.vector, model_of(s.to));
	/* DDL wants no other reference in this session */
	rename_all(rel, &s);
	relation_close(rel, NoLock);
	report(&s);
	SPI_finish();
	PG_RETURN_VOID();
}
