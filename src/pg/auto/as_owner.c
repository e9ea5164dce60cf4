/*
 * as_owner.c
 *		The table's owner in the place of a superuser.
 */
#include "pg/auto/as_owner.h"

#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"

EmbedCaller
embed_as_owner(Relation rel)
{
	EmbedCaller caller = {.nest = 0};
	int			flags = SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION;

	GetUserIdAndSecContext(&caller.user, &caller.context);
	if (caller.user == rel->rd_rel->relowner || !embed_owns_table(RelationGetRelid(rel)))
		return caller;
	if (has_bypassrls_privilege(caller.user))
		flags |= SECURITY_NOFORCE_RLS;
	caller.nest = NewGUCNestLevel();
	SetUserIdAndSecContext(rel->rd_rel->relowner, caller.context | flags);
	return caller;
}

void
embed_as_caller(const EmbedCaller *caller)
{
	if (caller->nest == 0)
		return;
	AtEOXact_GUC(false, caller->nest);
	SetUserIdAndSecContext(caller->user, caller->context);
}
