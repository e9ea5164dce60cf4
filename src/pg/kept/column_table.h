/*
 * column_table.h
 *		Which tables can have a kept column, and who may make one.
 */
#ifndef EMBED_PG_KEPT_COLUMN_TABLE_H
#define EMBED_PG_KEPT_COLUMN_TABLE_H

#include "pg/glue.h"

#include "storage/lockdefs.h"
#include "utils/rel.h"

/*
 * Opens a table whose kept columns the caller may make, change and end. Raises
 * 42809 with a hint for views, foreign tables and catalogs, 42501 for others
 * than the owner.
 */
extern Relation embed_column_open(Oid relid, LOCKMODE lock);

#endif
