/*
 * column_time.h
 *		About how long it takes to fill a column.
 *
 * Example:
 *
 *		ereport(NOTICE, (errmsg("%s of computing", embed_column_time(&columns, rows, where, n, "m", "public"))));
 */
#ifndef EMBED_PG_KEPT_COLUMN_TIME_H
#define EMBED_PG_KEPT_COLUMN_TIME_H

#include "pg/auto/trigger.h"

/*
 * About how long n rows take, in words: "about 3 minutes". Their tokens are
 * those of a few of the rows; the model's speed is that of embed_stat, or else
 * of one of these texts, which is embedded. from: the rows, to_do: their
 * condition, on t. schema: the extension's. SPI is connected.
 */
extern char *embed_column_time(const EmbedTriggerColumns *columns, const char *from, const char *to_do,
							   int64 n, const char *model, const char *schema);

#endif
