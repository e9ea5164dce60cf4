/*
 * overflow.h
 *		embed.on_overflow: what happens to a text of more tokens than the model
 *		reads.
 */
#ifndef EMBED_PG_CALL_OVERFLOW_H
#define EMBED_PG_CALL_OVERFLOW_H

#include "pg/glue.h"

/*
 * A text was cut at the model's max_tokens or max_chars. error: raises 22001; warn: counted, and told
 * once when the statement ends. query_cxt: memory that lives as long as the
 * statement (fn_mcxt), for where there is no portal.
 */
extern void embed_overflow_note(MemoryContext query_cxt, const EmbModelInfo *info);

/* Registers callbacks; from embed_guc_init. */
extern void embed_overflow_init(void);

#endif
