/*
 * text_value.h
 *		From a text Datum to token ids.
 *
 * Example:
 *
 *		EmbedInstruction none = {NULL, 0};
 *		EmbEncoded	r = embed_text_encode(ref, EMB_PROMPT_DOCUMENT, none, value, ids, scratch);
 *
 * The value may be short, compressed or out of line, in any server encoding.
 */
#ifndef EMBED_PG_CALL_TEXT_VALUE_H
#define EMBED_PG_CALL_TEXT_VALUE_H

#include "pg/store/registry.h"

/* An instruction of a call, in UTF-8; text NULL: the model's own. */
typedef struct EmbedInstruction
{
	const char *text;
	size_t		bytes;
} EmbedInstruction;

/*
 * ids: [the larger of the model's max_tokens and max_query_tokens]. The value is detoasted only as far as its
 * ids need. scratch is reset. Raises: cancelled, 22021 (not UTF-8 in a
 * database of encoding SQL_ASCII).
 */
extern EmbEncoded embed_text_encode(const EmbedModelRef *ref, EmbPrompt prompt, EmbedInstruction instruction, Datum value,
									int32 *ids, MemoryContext scratch);

/*
 * Reads a query once that is scored with many documents. ids: as above; *known
 * refers to ids.
 */
extern void embed_text_encode_query(const EmbedModelRef *ref, EmbedInstruction instruction, Datum query, int32 *ids,
									EmbTextIds *known, MemoryContext scratch);

/*
 * The same for a query and a document. known: the result of
 * embed_text_encode_query for query and instruction.
 */
extern EmbEncoded embed_text_encode_pair(const EmbedModelRef *ref, EmbedInstruction instruction, Datum query,
										 const EmbTextIds *known, Datum doc,
										 int32 *ids, int32 *type_ids, MemoryContext scratch);

/* Returns all of value in UTF-8: the value itself, or a copy in CurrentMemoryContext. */
extern const char *embed_text_utf8(Datum value, size_t *len);

/* Characters of s in the server's encoding. */
extern int64 embed_text_chars(const char *s, int len);

/*
 * Returns the number of tokens before truncation; *truncated: whether the
 * model cuts the text. Reads all of the value. scratch is reset.
 */
extern int64 embed_text_count(const EmbedModelRef *ref, EmbPrompt prompt, Datum value, MemoryContext scratch,
							  bool *truncated);

#endif
