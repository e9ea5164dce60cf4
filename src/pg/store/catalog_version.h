/*
 * catalog_version.h
 *		Whether the library and the extension's objects in this database are of
 *		one version.
 *
 * A package brings the library of all databases at once, ALTER EXTENSION embed
 * UPDATE the SQL objects of one. In between calls would meet tables and
 * functions of another version, so everything that computes or changes models
 * checks this first, and everything that only shows something does not.
 *
 * Example:
 *
 *		embed_check_catalog_version();		// raises 55000 with a hint
 */
#ifndef EMBED_PG_STORE_CATALOG_VERSION_H
#define EMBED_PG_STORE_CATALOG_VERSION_H

#include "pg/glue.h"

/* pg_extension.extversion, palloc'd; NULL: the extension is not installed. */
extern char *embed_catalog_version(void);

/*
 * Raises 55000 if the versions differ. Looks into the catalog once a session,
 * and again after functions were changed or created, as every update does.
 */
extern void embed_check_catalog_version(void);

/* The same without an ERROR. */
extern bool embed_catalog_version_fits(void);

/* Registers a callback; called by _PG_init. */
extern void embed_catalog_version_init(void);

#endif
