/*
 * limits.c
 *		embed.max_statement_tokens: the tokens that one statement may read.
 */
#include "pg/call/limits.h"

#include "access/xact.h"
#include "postmaster/bgworker.h"

/* Of the command that began at that time. */
static TimestampTz command_start = 0;
static int64 n_tokens_read = 0;
static int64 n_texts_read = 0;

/* A worker of ours fills columns for whoever wrote the texts: his statements were counted. */
static bool
is_own_worker(void)
{
	return MyBgworkerEntry != NULL && strcmp(MyBgworkerEntry->bgw_library_name, "$libdir/embed") == 0;
}

pg_noreturn static void
limit_error(int32 n_tokens)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("statement reads more than %d tokens", embed_guc_max_statement_tokens),
			 errdetail("Read so far: %lld tokens, %lld texts. The next text has %d tokens.",
					   (long long) n_tokens_read, (long long) n_texts_read, n_tokens),
			 errhint("The limit is embed.max_statement_tokens. Send fewer texts in a statement. "
					 "Where triggers embed the rows of a table, SET embed.defer = on leaves their vectors for later.")));
}

static void
begin_command(void)
{
	TimestampTz start = GetCurrentStatementStartTimestamp();

	if (start != command_start)
	{
		command_start = start;
		n_tokens_read = 0;
		n_texts_read = 0;
	}
}

void
embed_limits_restart(void)
{
	n_tokens_read = 0;
	n_texts_read = 0;
}

bool
embed_limits_fit(int64 n_tokens)
{
	begin_command();
	return embed_guc_max_statement_tokens == 0 || n_tokens_read + n_tokens <= embed_guc_max_statement_tokens || is_own_worker();
}

void
embed_limits_count(int32 n_tokens)
{
	if (!embed_limits_fit(n_tokens))
		limit_error(n_tokens);
	n_tokens_read += n_tokens;
	n_texts_read++;
}
