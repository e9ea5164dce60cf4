/*
 * calibration_query.h
 *		The option "calibration" of embed_import: calibration texts from a
 *		query.
 */
#ifndef EMBED_PG_SQL_CALIBRATION_QUERY_H
#define EMBED_PG_SQL_CALIBRATION_QUERY_H

#include "pg/glue.h"

/* The maximum number of rows read from the query. */
#define EMBED_CALIBRATION_TEXTS_MAX 256
#define EMBED_CALIBRATION_TEXT_BYTES_MAX (32 * 1024)

/*
 * Runs the query as the current user, in a read-only transaction, and stores
 * the texts of its one column in options, in CurrentMemoryContext, as UTF-8.
 * Skips NULLs. Raises the errors of the query, and 22023.
 */
extern void embed_calibration_read(const char *query, EmbImportOptions *options);

#endif
