/*
 * dependents.h
 *		Finds what a drop of a model would break or change.
 *
 * Example:
 *
 *		List	   *dependents = embed_dependents_of(name);
 *		EmbedDependent *dependent = linitial(dependents);
 *
 * The list is sorted by kind and identity, and palloc'd in the current memory
 * context. The name may belong to an installed model, to a tombstone or to
 * nothing. The search reads only catalogs and the tables of this extension. It
 * evaluates no user expression and needs no privilege.
 */
#ifndef EMBED_PG_SQL_DEPENDENTS_H
#define EMBED_PG_SQL_DEPENDENTS_H

#include "pg/glue.h"

#include "nodes/pg_list.h"

/* In listing order. */
typedef enum EmbedDependentKind
{
	EMBED_DEPENDENT_DEFAULT,
	EMBED_DEPENDENT_ALIAS,
	EMBED_DEPENDENT_INDEX,
	EMBED_DEPENDENT_INDEX_PREDICATE,
	EMBED_DEPENDENT_STATISTICS,
	EMBED_DEPENDENT_GENERATED,
	EMBED_DEPENDENT_COLUMN_DEFAULT,
	EMBED_DEPENDENT_CHECK,
	EMBED_DEPENDENT_PARTITION_KEY,
	EMBED_DEPENDENT_DOMAIN_CHECK,
	EMBED_DEPENDENT_DOMAIN_DEFAULT,
	EMBED_DEPENDENT_TRIGGER,
	EMBED_DEPENDENT_POLICY,
	EMBED_DEPENDENT_VIEW,
	EMBED_DEPENDENT_MATERIALIZED_VIEW,
	EMBED_DEPENDENT_RULE,
	EMBED_DEPENDENT_PUBLICATION,
	EMBED_DEPENDENT_FUNCTION,
	EMBED_DEPENDENT_FUNCTION_SETTING,
	EMBED_DEPENDENT_SETTING
} EmbedDependentKind;

/* Why an object is in the list. */
typedef enum EmbedDependentCause
{
	EMBED_CAUSE_NONE,
	EMBED_CAUSE_MAYBE,			/* a model argument that is not constant may name any model */
	EMBED_CAUSE_BY_DEFAULT,		/* a call without a model, if the model is the default */
	EMBED_CAUSE_NAMES			/* names the model or an alias of it */
} EmbedDependentCause;

typedef struct EmbedDependent
{
	EmbedDependentKind kind;
	EmbedDependentCause cause;
	bool		refuses;		/* stops a drop without force */
	char	   *object;			/* as pg_describe_object returns it */
	char	   *identity;		/* as pg_identify_object returns it: qualified, whatever the search_path is */
	char	   *detail;
	char	   *alias;			/* the alias through which it depends on the model, or NULL */
} EmbedDependent;

extern List *embed_dependents_of(const char *name);

/* "index expression", "alias" and so on. */
extern const char *embed_dependent_kind_name(EmbedDependentKind kind);

#endif
