/*
 * overflow.c
 *		embed.on_overflow, and its one warning per statement.
 *
 * PostgreSQL does not tell an extension where a statement begins or ends. The
 * statement's memory does: the context of the portal that runs it, or, at plan
 * time and in parallel workers, the context of its expressions. So a counter
 * is attached to this context and reported when the context is freed. Counters
 * of a context that outlives its transaction's work are reported before
 * commit.
 */
#include "pg/call/overflow.h"

#include "access/xact.h"
#include "lib/ilist.h"
#include "tcop/pquery.h"
#include "utils/portal.h"

typedef struct CutCounter
{
	dlist_node	node;
	MemoryContext cxt;
	MemoryContextCallback callback;
	TimestampTz statement;		/* start of the client command with the last cut text */
	uint64		n_cut;
	int32		max_tokens;
	int32		max_chars;
} CutCounter;

/* One per living context with a cut text: as many as nested statements. */
static dlist_head counters = DLIST_STATIC_INIT(counters);

/* The second limit of a model that counts characters, too. */
static int
detail_chars(int32 max_chars)
{
	return max_chars > 0 ? errdetail("Of this model's texts no more than %d characters are read, either.", max_chars) : 0;
}

static void
tell(CutCounter *counter)
{
	uint64		n_cut = counter->n_cut;

	counter->n_cut = 0;
	if (n_cut == 0)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg_plural("%llu text has more tokens than the model reads (%d) and was cut",
						   "%llu texts have more tokens than the model reads (%d) and were cut",
						   n_cut, (unsigned long long) n_cut, counter->max_tokens),
			 detail_chars(counter->max_chars),
			 errhint("embed_info() gives the number of tokens of a text.")));
}

/* Not while a transaction aborts: its statement has already reported the error. */
static void
context_goes_away(void *arg)
{
	CutCounter *counter = arg;

	dlist_delete(&counter->node);
	if (IsTransactionState())
		tell(counter);
}

static CutCounter *
counter_of_statement(MemoryContext query_cxt)
{
	MemoryContext cxt = ActivePortal != NULL ? ActivePortal->portalContext : query_cxt;
	CutCounter *counter;
	dlist_iter	iter;

	dlist_foreach(iter, &counters)
	{
		counter = dlist_container(CutCounter, node, iter.cur);
		if (counter->cxt == cxt)
			return counter;
	}
	counter = MemoryContextAllocZero(cxt, sizeof(CutCounter));
	counter->cxt = cxt;
	counter->statement = GetCurrentStatementStartTimestamp();
	counter->callback.func = context_goes_away;
	counter->callback.arg = counter;
	MemoryContextRegisterResetCallback(cxt, &counter->callback);
	dlist_push_head(&counters, &counter->node);
	return counter;
}

void
embed_overflow_note(MemoryContext query_cxt, const EmbModelInfo *info, EmbPrompt prompt)
{
	int32		max_tokens = prompt == EMB_PROMPT_QUERY ? info->max_query_tokens : info->max_tokens;
	CutCounter *counter;

	switch ((EmbedOverflow) embed_guc_on_overflow)
	{
		case EMBED_OVERFLOW_TRUNCATE:
			return;
		case EMBED_OVERFLOW_ERROR:
			ereport(ERROR,
					(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
					 errmsg("text has more tokens than the model reads (%d)", max_tokens),
					 detail_chars(info->max_chars),
					 errhint("Shorten the text, or set embed.on_overflow to \"truncate\" or \"warn\" to read only its beginning.")));
			return;
		case EMBED_OVERFLOW_WARN:
			counter = counter_of_statement(query_cxt);
			if (counter->statement != GetCurrentStatementStartTimestamp())
			{
				tell(counter);
				counter->statement = GetCurrentStatementStartTimestamp();
			}
			counter->n_cut++;
			counter->max_tokens = max_tokens;
			counter->max_chars = info->max_chars;
			return;
	}
}

static void
xact_event(XactEvent event, pg_attribute_unused() void *arg)
{
	dlist_iter	iter;

	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PARALLEL_PRE_COMMIT &&
		event != XACT_EVENT_PRE_PREPARE)
		return;
	dlist_foreach(iter, &counters)
		tell(dlist_container(CutCounter, node, iter.cur));
}

void
embed_overflow_init(void)
{
	RegisterXactCallback(xact_event, NULL);
}
