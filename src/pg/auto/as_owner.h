/*
 * as_owner.h
 *		The table's owner in the place of the current user.
 *
 * Casts of a table's types, CHECKs of its domains, its triggers and rules are
 * code of the table's owner. A superuser who calls embed_column or embed_check
 * must not run this code with his own rights, as he does not with REINDEX. What the
 * filler and the triggers of chunk tables do for others runs as the owner, too.
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

/*
 * The same for callers of any rights, who have no say in what runs: the
 * search_path is pg_catalog. flags: more of SECURITY_.
 */
extern EmbedCaller embed_as_any_owner(Oid owner, int flags);

/* A setting until embed_as_caller, or until the end of NewGUCNestLevel(). */
extern void embed_set_for_now(const char *name, const char *value);

extern void embed_as_caller(const EmbedCaller *caller);

#endif
