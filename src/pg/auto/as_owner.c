/*
 * as_owner.c
 *		The table's owner in the place of the current user.
 */
#include "pg/auto/as_owner.h"

#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"

static EmbedCaller
enter(Oid owner, int flags)
{
	EmbedCaller caller;

	GetUserIdAndSecContext(&caller.user, &caller.context);
	caller.nest = NewGUCNestLevel();
	SetUserIdAndSecContext(owner, caller.context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION | flags);
	return caller;
}

EmbedCaller
embed_as_owner(Relation rel)
{
	Oid			user = GetUserId();

	if (user == rel->rd_rel->relowner || !embed_owns_table(RelationGetRelid(rel)))
		return (EmbedCaller) {.nest = 0};
	return enter(rel->rd_rel->relowner, has_bypassrls_privilege(user) ? SECURITY_NOFORCE_RLS : 0);
}

EmbedCaller
embed_as_any_owner(Oid owner, int flags)
{
	EmbedCaller caller = enter(owner, flags);

	embed_set_for_now("search_path", "pg_catalog, pg_temp");
	return caller;
}

void
embed_set_for_now(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void
embed_as_caller(const EmbedCaller *caller)
{
	if (caller->nest == 0)
		return;
	AtEOXact_GUC(false, caller->nest);
	SetUserIdAndSecContext(caller->user, caller->context);
}
