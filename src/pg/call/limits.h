/*
 * limits.h
 *		embed.max_statement_tokens: the tokens that one statement may read.
 *
 * PostgreSQL tells an extension the time at which the client's command began;
 * all calls of that command have the same one, those in functions, triggers
 * and plans too. Each process counts for itself: the leader of a parallel
 * query and each of its workers may read that many.
 */
#ifndef EMBED_PG_CALL_LIMITS_H
#define EMBED_PG_CALL_LIMITS_H

#include "pg/glue.h"

/* What follows is counted as another statement: for batches of embed_fill, which commits after each. */
extern void embed_limits_restart(void);

/* Whether the statement may read so many tokens more; for texts of upcoming rows. */
extern bool embed_limits_fit(int64 n_tokens);

/* Counts a text that is about to be computed; 53400 if it is one token too many. */
extern void embed_limits_count(int32 n_tokens);

#endif
