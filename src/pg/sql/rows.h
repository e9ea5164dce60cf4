/*
 * rows.h
 *		Puts the rows of a set-returning function into a tuplestore.
 *
 * Example:
 *
 *		EmbedRows	rows = embed_rows_begin(fcinfo);
 *		tuplestore_putvalues(rows.store, rows.desc, values, nulls);
 *		return (Datum) 0;
 */
#ifndef EMBED_PG_SQL_ROWS_H
#define EMBED_PG_SQL_ROWS_H

#include "pg/glue.h"

#include "access/tupdesc.h"
#include "utils/tuplestore.h"

typedef struct EmbedRows
{
	Tuplestorestate *store;
	TupleDesc	desc;
} EmbedRows;

/* Raises if the caller accepts no set. */
extern EmbedRows embed_rows_begin(FunctionCallInfo fcinfo);

#endif
