/*
 * overflow.h
 *		embed.on_overflow: what happens to a text with more tokens than the
 *		model reads.
 */
#ifndef EMBED_PG_CALL_OVERFLOW_H
#define EMBED_PG_CALL_OVERFLOW_H

#include "pg/glue.h"

/*
 * Handles a text that was cut at the model's max_tokens or max_chars. error:
 * raises 22001. warn: counts the text; a WARNING reports the count once, at
 * the end of the statement. query_cxt: memory that lives as long as the
 * statement (fn_mcxt), used if there is no portal.
 */
extern void embed_overflow_note(MemoryContext query_cxt, const EmbModelInfo *info, EmbPrompt prompt);

/* Registers callbacks; called by embed_guc_init. */
extern void embed_overflow_init(void);

#endif
