/*
 * fill_rows.h
 *		The steps of a fill (fill.h), each in a transaction of its own. They
 *		raise what goes wrong. from and to are rows of the batch, where a step
 *		works on rows.
 */
#ifndef EMBED_PG_KEPT_FILL_ROWS_H
#define EMBED_PG_KEPT_FILL_ROWS_H

#include "pg/kept/fill.h"

/* Finds the column again, opens its model, and checks that its vectors fit the column. */
extern void embed_fill_prepare(EmbedFill *fill, int32 from, int32 to);

/* Counts the rows that are to do: fill->to_do. */
extern void embed_fill_count(EmbedFill *fill, int32 from, int32 to);

/* Lists rows that are to do: fill->tids. */
extern void embed_fill_list(EmbedFill *fill, int32 from, int32 to);

/* Reads the next texts of the list: fill->rows. */
extern void embed_fill_read(EmbedFill *fill, int32 from, int32 to);

/* Computes the vectors that are not computed yet. */
extern void embed_fill_compute(EmbedFill *fill, int32 from, int32 to);

/* Writes the vectors to rows that still have their text and no vector. */
extern void embed_fill_write(EmbedFill *fill, int32 from, int32 to);

#endif
