/*
 * rights.c
 *		embed_grant, embed_revoke: roles that dump and restore models.
 *
 * Both run as the owner of the tables (SECURITY DEFINER), who is then the
 * grantor: pg_dump writes such grants plainly, and with the grant options of
 * the extension's owner they can be restored without superuser.
 */
#include "pg/glue.h"

#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "pg/store/tables.h"

EMBED_FUNCTION(embed_grant);
EMBED_FUNCTION(embed_revoke);

/* Runs both commands with the role for %s. */
static void
change_rights(text *role_text, const char *verb, const char *preposition, const char *function)
{
	char	   *role = text_to_cstring(role_text);
	StringInfoData command;

	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	PreventCommandDuringRecovery(function);
	if (get_role_oid(role, true) == InvalidOid)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" does not exist", embed_shown(role))));
	initStringInfo(&command);
	appendStringInfo(&command, "%s USAGE ON SCHEMA _embed %s %s; %s SELECT, INSERT ON ",
					 verb, preposition, quote_identifier(role), verb);
	for (int i = 0; i < EMBED_N_TABLES; i++)
		appendStringInfo(&command, "%s_embed.%s", i > 0 ? ", " : "", embed_storage_tables[i]);
	appendStringInfo(&command, " %s %s", preposition, quote_identifier(role));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(command.data, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not run \"%s\"", command.data);
	SPI_finish();
}

Datum
embed_grant(PG_FUNCTION_ARGS)
{
	change_rights(PG_GETARG_TEXT_PP(0), "GRANT", "TO", "embed_grant()");
	PG_RETURN_VOID();
}

Datum
embed_revoke(PG_FUNCTION_ARGS)
{
	change_rights(PG_GETARG_TEXT_PP(0), "REVOKE", "FROM", "embed_revoke()");
	PG_RETURN_VOID();
}
