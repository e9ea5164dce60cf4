/*
 * fill_call.h
 *		Filling kept columns in the session that calls, with a COMMIT about once
 *		a second: for procedures.
 *
 * Example:
 *
 *		embed_fill_require_top_level(fcinfo, "embed_fill");
 *		SPI_connect_ext(SPI_OPT_NONATOMIC);
 *		(void) embed_fill_here(table, "embedding", deadline_ns);
 *		SPI_finish();
 */
#ifndef EMBED_PG_KEPT_FILL_CALL_H
#define EMBED_PG_KEPT_FILL_CALL_H

#include "pg/glue.h"

/* 25001 unless the procedure may commit. */
extern void embed_fill_require_top_level(FunctionCallInfo fcinfo, const char *procedure);

/*
 * Fills the column vector of tab and its partitions until nothing is left or
 * the time is up (embed_clock_ns()); vector NULL: all kept columns; tab
 * InvalidOid: of all tables that the caller may UPDATE. Tells progress by
 * NOTICE, and what it left by WARNING. false: there is no such column. SPI is
 * connected with SPI_OPT_NONATOMIC, and the transaction is another one
 * afterwards.
 */
extern bool embed_fill_here(Oid tab, const char *vector, uint64 deadline_ns);

#endif
