/*
 * ahead.c
 *		embed.look_ahead: the hooks of the executor.
 *
 * ExecutorStart, not the planner, because without preload the library is loaded
 * while the first statement with embed() is planned. EXPLAIN comes here, too.
 */
#include "pg/ahead/ahead_node.h"

#include "access/parallel.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/portal.h"
#include "tcop/pquery.h"

#include "pg/ahead/ahead_bounds.h"
#include "pg/ahead/ahead_plan.h"
#include "pg/call/ahead_store.h"

static ExecutorStart_hook_type next_start = NULL;
static ExecutorRun_hook_type next_run = NULL;

/* The first look, at every statement: has it a place for us at all? */
static bool
may_embed(const PlannedStmt *stmt)
{
	switch (stmt->commandType)
	{
		case CMD_SELECT:
			return embed_ahead_planned || stmt->hasModifyingCTE;
		case CMD_INSERT:
		case CMD_UPDATE:
#ifdef EMBED_HAS_MERGE
		case CMD_MERGE:
#endif
			return true;
		default:
			return stmt->hasModifyingCTE;
	}
}

/*
 * Whether the statement is the query of a cursor, where UPDATE .. WHERE CURRENT
 * OF may ask which row the scan is at. Cursors FOR UPDATE take that from the
 * lock of the row, and portals of clients have no such statements.
 */
static bool
may_be_current(const PlannedStmt *stmt)
{
	const PortalData *portal = ActivePortal;

	return portal != NULL && portal->status == PORTAL_DEFINED && portal->name[0] != '\0' &&
		(portal->cursorOptions & CURSOR_OPT_FAST_PLAN) != 0 && stmt->rowMarks == NIL;
}

static bool
can_look_ahead(const QueryDesc *query, int eflags)
{
	return embed_guc_look_ahead && (eflags & EXEC_FLAG_MARK) == 0 && may_embed(query->plannedstmt) && !IsBinaryUpgrade &&
		!IsParallelWorker();
}

static void
executor_start(QueryDesc *query, int eflags)
{
	PlannedStmt *stmt = NULL;

	/* the copy lives as long as the descriptor */
	if (can_look_ahead(query, eflags))
		stmt = embed_ahead_plan(query->plannedstmt, may_be_current(query->plannedstmt), GetMemoryChunkContext(query));
	if (stmt != NULL)
		query->plannedstmt = stmt;
	if (next_start != NULL)
		next_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
	if (stmt != NULL && query->planstate != NULL)
		embed_ahead_bind(query->planstate);
}

/* Where rows are counted, our nodes have to know. */
static void
executor_run(EMBED_EXECUTOR_RUN_PARAMETERS)
{
	EmbedAheadRun outer = embed_ahead_running;

	if (count == 0 || query->operation != CMD_SELECT)
	{
		if (next_run != NULL)
			next_run(EMBED_EXECUTOR_RUN_ARGUMENTS);
		else
			standard_ExecutorRun(EMBED_EXECUTOR_RUN_ARGUMENTS);
		return;
	}
	embed_ahead_running = (EmbedAheadRun) {query->estate, count};
	PG_TRY();
	{
		if (next_run != NULL)
			next_run(EMBED_EXECUTOR_RUN_ARGUMENTS);
		else
			standard_ExecutorRun(EMBED_EXECUTOR_RUN_ARGUMENTS);
	}
	PG_CATCH();
	{
		embed_ahead_running = outer;
		PG_RE_THROW();
	}
	PG_END_TRY();
	embed_ahead_running = outer;
}

void
embed_ahead_init(void)
{
	RegisterCustomScanMethods(&embed_ahead_scan_methods);
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
	next_run = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
}
