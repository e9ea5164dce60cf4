/*
 * wake.h
 *		Wakes whoever fills the columns of this database, when rows are to do.
 */
#ifndef EMBED_PG_KEPT_WAKE_H
#define EMBED_PG_KEPT_WAKE_H

#include "pg/glue.h"

/* This transaction leaves rows to do: a filler should look when it commits. Costs nothing, raises nothing. */
extern void embed_filler_want(void);

#endif
