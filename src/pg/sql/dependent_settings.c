/*
 * dependent_settings.c
 *		The settings embed.model and embed.reranker that select the model: of
 *		databases, roles and the server. pg_depend has no entries for them.
 */
#include "pg/sql/dependent_search.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_db_role_setting.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* The value of an entry "embed.model=value" or "embed.reranker=value", or NULL. */
static const char *
chosen_model(const char *entry)
{
	static const char *const settings[] = {"embed.model=", "embed.reranker=", "embed.reranker_fallback="};

	for (int i = 0; i < (int) lengthof(settings); i++)
	{
		if (pg_strncasecmp(entry, settings[i], strlen(settings[i])) == 0)
			return entry + strlen(settings[i]);
	}
	return NULL;
}

char *
embed_search_find_setting(const EmbedSearch *search, Datum entries, const char **name)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(entries), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *entry = nulls[i] ? NULL : TextDatumGetCString(elements[i]);
		const char *value = entry != NULL ? chosen_model(entry) : NULL;

		*name = value != NULL ? embed_search_model_or_alias(search, value) : NULL;
		if (*name != NULL)
			return pnstrdup(entry, value - entry - 1);
	}
	return NULL;
}

static void
add_setting(EmbedSearch *search, const char *setting, const char *name, Oid database, Oid role)
{
	const char *where;
	char	   *database_name = OidIsValid(database) ? get_database_name(database) : NULL;
	char	   *role_name = OidIsValid(role) ? GetUserNameFromId(role, true) : NULL;

	if (role_name != NULL && database_name != NULL)
		where = psprintf("role %s in database %s", quote_identifier(role_name), quote_identifier(database_name));
	else if (role_name != NULL)
		where = psprintf("role %s", quote_identifier(role_name));
	else if (database_name != NULL)
		where = psprintf("database %s", quote_identifier(database_name));
	else
		where = "all roles in all databases";
	embed_search_add(search, EMBED_DEPENDENT_SETTING, EMBED_CAUSE_NAMES, psprintf("setting %s of %s", setting, where),
					 psprintf("%s of %s", setting, where), psprintf("chooses %s", embed_search_describe_name(search, name)), name);
}

void
embed_search_role_settings(EmbedSearch *search)
{
	Relation	rel = table_open(DbRoleSettingRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_db_role_setting form = (Form_pg_db_role_setting) GETSTRUCT(tuple);
		bool		isnull;
		Datum		entries = heap_getattr(tuple, Anum_pg_db_role_setting_setconfig, RelationGetDescr(rel), &isnull);
		const char *name;
		char	   *setting;

		if (isnull || (OidIsValid(form->setdatabase) && form->setdatabase != MyDatabaseId))
			continue;
		setting = embed_search_find_setting(search, entries, &name);
		if (setting != NULL)
			add_setting(search, setting, name, form->setdatabase, form->setrole);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* postgresql.conf and files it includes, the server's command line. */
static bool
is_of_server(GucSource source)
{
	return source == PGC_S_FILE || source == PGC_S_ARGV || source == PGC_S_ENV_VAR;
}

void
embed_search_server_settings(EmbedSearch *search)
{
	int			n;
	struct config_generic **variables = embed_get_guc_variables(&n);

	for (int i = 0; i < n; i++)
	{
		const char *setting = variables[i]->name;
		const char *name;

		if ((strcmp(setting, "embed.model") != 0 && strcmp(setting, "embed.reranker") != 0 &&
			 strcmp(setting, "embed.reranker_fallback") != 0) ||
			!is_of_server(variables[i]->reset_source))
			continue;
		name = embed_search_model_or_alias(search, GetConfigOptionResetString(setting));
		if (name != NULL)
			embed_search_add(search, EMBED_DEPENDENT_SETTING, EMBED_CAUSE_NAMES, psprintf("setting %s of the server's configuration", setting),
							 psprintf("%s of the server's configuration", setting), psprintf("chooses %s", embed_search_describe_name(search, name)), name);
	}
}
