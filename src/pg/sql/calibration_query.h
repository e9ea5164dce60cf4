/*
 * calibration_query.h
 *		The option "calibration" of embed_import: texts from a query.
 */
#ifndef EMBED_PG_SQL_CALIBRATION_QUERY_H
#define EMBED_PG_SQL_CALIBRATION_QUERY_H

#include "pg/glue.h"

/* What a query may give beyond these is not read. */
#define EMBED_CALIBRATION_TEXTS_MAX 256
#define EMBED_CALIBRATION_TEXT_BYTES_MAX (32 * 1024)

/*
 * Runs the query as the current user, in a read-only transaction, and stores
 * the texts of its one column in options, in CurrentMemoryContext, as UTF-8.
 * NULLs are skipped. Raises whatever the query does, and 22023.
 */
extern void embed_calibration_read(const char *query, EmbImportOptions *options);

#endif
