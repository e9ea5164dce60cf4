/*
 * fallback.h
 *		embed.reranker_fallback: a smaller reranker for answers that would take
 *		longer than embed.max_rerank_ms.
 *
 * Scores order one answer, so one answer may come from another model; vectors
 * are compared with those of other calls, so embed never falls back. One answer
 * has one model: only calls that score a whole list of documents choose, and
 * never those that score a pair or the rows of a group.
 */
#ifndef EMBED_PG_CALL_FALLBACK_H
#define EMBED_PG_CALL_FALLBACK_H

#include "pg/call/callsite.h"

/* Whether both settings ask for a choice. */
extern bool embed_fallback_is_on(void);

/*
 * The model that scores pairs of n_tokens in all: ref, or the fallback if ref
 * would take too long at the speed that this server's control file has for it.
 * Says so in a NOTICE, once a statement.
 */
extern const EmbedModelRef *embed_fallback_choose(EmbedSite *site, const EmbedModelRef *ref, int64 n_tokens);

#endif
