/*
 * failures.h
 *		Texts that could not be embedded, or whose vectors could not be
 *		written: the table _embed.failure.
 *
 * A row of the table stands for a text, not for a row: it tells that filling
 * this column for this text fails, whatever row has it. A changed text has
 * another hash and is tried again. Only this file writes the table, like a
 * catalog; no role needs rights on it.
 *
 * Example:
 *
 *		EmbedFailures *failures = embed_failures_read(table, "embedding", cxt);
 *		if (embed_failures_has(failures, embed_text_hash(value)))
 *			return;
 */
#ifndef EMBED_PG_KEPT_FAILURES_H
#define EMBED_PG_KEPT_FAILURES_H

#include "pg/glue.h"

/* The failures of a column when a pass began, in cxt. */
typedef struct EmbedFailures EmbedFailures;

extern int64 embed_text_hash(Datum text);

extern EmbedFailures *embed_failures_read(Oid table, const char *vector, MemoryContext cxt);

/* Also notes that a row still has the text. */
extern bool embed_failures_has(EmbedFailures *failures, int64 text_hash);

extern int64 embed_failures_count(Oid table, const char *vector);

/* Adds the failure, or counts it as one more try. */
extern void embed_failures_put(Oid table, const char *vector, int64 text_hash, const ErrorData *error);

/* Deletes those that no embed_failures_has has found: no row has their text any more. */
extern void embed_failures_forget_unseen(EmbedFailures *failures);

/* Deletes those of a column; vector NULL: of all columns of the table. Returns their number. */
extern int64 embed_failures_forget(Oid table, const char *vector);

/* Deletes those of columns that nothing keeps any more; waits for nobody. False: somebody has the table locked. */
extern bool embed_failures_forget_unkept(bool (*is_kept) (Oid table, const char *vector));

#endif
