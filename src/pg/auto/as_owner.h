/*
 * as_owner.h
 *		The table's owner in the place of a superuser.
 *
 * Casts of a table's types, CHECKs of its domains, its triggers and rules are
 * code of the table's owner. A superuser who calls embed_column or embed_check
 * must not run this code with his own rights, as he does not with REINDEX.
 *
 * Example:
 *
 *		EmbedCaller caller = embed_as_owner(rel);
 *		embed_trigger_find_columns(rel, trigger, CurrentMemoryContext, ERROR, &columns);
 *		embed_as_caller(&caller);
 *
 * After an error the end of the (sub)transaction does what embed_as_caller
 * does.
 */
#ifndef EMBED_PG_AUTO_AS_OWNER_H
#define EMBED_PG_AUTO_AS_OWNER_H

#include "pg/glue.h"

#include "utils/rel.h"

typedef struct EmbedCaller
{
	Oid			user;
	int			context;
	int			nest;			/* of settings, which the owner's code may change for the session; 0: nothing was switched */
} EmbedCaller;

/*
 * From now on the owner of the table is the current user, in a
 * security-restricted context, if the caller may do all that the owner may. A
 * caller without the owner's rights stays who he is: with his search_path the
 * owner's code could run code of the caller.
 *
 * Rows that policies hide from the owner (FORCE ROW LEVEL SECURITY) stay
 * visible to a caller who sees them.
 */
extern EmbedCaller embed_as_owner(Relation rel);

extern void embed_as_caller(const EmbedCaller *caller);

#endif
