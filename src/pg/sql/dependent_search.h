/*
 * dependent_search.h
 *		One search for the dependents of a model, shared by its parts:
 *		dependents.c runs it, dependent_search.c keeps it, and
 *		dependent_objects.c, dependent_settings.c and dependent_bodies.c each
 *		search one kind of place.
 */
#ifndef EMBED_PG_SQL_DEPENDENT_SEARCH_H
#define EMBED_PG_SQL_DEPENDENT_SEARCH_H

#include "pg/sql/dependents.h"

#include "access/htup.h"
#include "catalog/objectaddress.h"
#include "utils/relcache.h"

/* A function of this extension that depends on a model. */
typedef struct EmbedModelFunction
{
	Oid			oid;
	const char *name;
	uint32		model_args;		/* bit i: argument i is a model */
	bool		takes_alias;	/* in these arguments */
	bool		uses_default;	/* another form takes a model; this form uses the default */
	bool		reranks;
	bool		is_trigger;
	bool		cuts;			/* embed_chunk_trigger: its model is the fourth argument */
} EmbedModelFunction;

typedef struct EmbedSearch
{
	const char *name;
	List	   *aliases;		/* char * */
	bool		is_default;		/* of its kind */
	bool		reranks;		/* uses the default of rerankers */
	List	   *functions;		/* EmbedModelFunction * */
	List	   *found;			/* EmbedDependent *, in cxt */
	MemoryContext cxt;
	MemoryContext row_cxt;		/* reset for each catalog row, because node trees are large */
} EmbedSearch;

/* ------------------------------------------------- dependent_search.c */

/* Finds the functions of the extension that take a model, or use the default. */
extern void embed_search_find_functions(EmbedSearch *search);

/* The function of the extension with that OID, or NULL. */
extern const EmbedModelFunction *embed_search_get_function(const EmbedSearch *search, Oid oid);

/* Whether s is the name, or name@fingerprint. */
extern bool embed_search_is_name(const char *s, const char *name);

/* The model name or alias that s is, with or without a fingerprint, or NULL. */
extern const char *embed_search_model_or_alias(const EmbedSearch *search, const char *s);

/* "model "m"", or "alias "a"". */
extern char *embed_search_describe_name(const EmbedSearch *search, const char *name);

extern void embed_search_add(EmbedSearch *search, EmbedDependentKind kind, EmbedDependentCause cause,
							 const char *object, const char *identity, const char *detail, const char *name);

/* Adds an object of the catalogs; skips an object that is being dropped. */
extern void embed_search_add_object(EmbedSearch *search, EmbedDependentKind kind, EmbedDependentCause cause,
									const ObjectAddress *address, const char *detail, const char *name);

/* A text column of a catalog row, or NULL. */
extern char *embed_search_get_text(Relation rel, HeapTuple tuple, AttrNumber attno);

/* -------------------------------------------------- dependent_calls.c */

/*
 * Adds the object if one of its expressions, a stored node tree, calls for the
 * model; returns whether it does.
 */
extern bool embed_search_tree(EmbedSearch *search, EmbedDependentKind kind, const ObjectAddress *address, const char *tree);

/* ------------------------------------------------ dependent_objects.c */

extern void embed_search_objects(EmbedSearch *search);

/* ----------------------------------------------- dependent_settings.c */

/* The first of the entries (a text[]) that selects the model; palloc'd, or NULL. */
extern char *embed_search_find_setting(const EmbedSearch *search, Datum entries, const char **name);

/* ALTER DATABASE and ALTER ROLE, for this database and for all. */
extern void embed_search_role_settings(EmbedSearch *search);

/* The start value of this session's settings, if it comes from the server's configuration. */
extern void embed_search_server_settings(EmbedSearch *search);

/* ------------------------------------------------- dependent_bodies.c */

/*
 * All user-defined functions: the server has no dependencies for their bodies
 * and SET clauses.
 */
extern void embed_search_bodies(EmbedSearch *search);

#endif
