/*
 * chunk_util.h
 *		What must hold of any text's chunks, whatever the tokenizer, for unit tests
 *		and the fuzz target.
 *
 *		ChunkFault fault;
 *		if (chunk_check(model, (EmbChunking) {EMB_PROMPT_DOCUMENT, 64, 8}, text, len, &fault) < 0)
 *			... fault.what, fault.n, fault.chunk
 */
#ifndef CHUNK_UTIL_H
#define CHUNK_UTIL_H

#include <stdio.h>
#include <string.h>

#include "common/utf8.h"
#include "model/embed_core.h"
#include "model/model.h"
#include "tokenizer/unicode.h"

typedef struct ChunkFault
{
	int			n;				/* chunks before it */
	EmbChunk	chunk;
	char		what[sizeof(((EmbError *) NULL)->message)];
} ChunkFault;

/* A model that is a tokenizer and prompts: all that chunks need. */
static inline EmbModel
chunk_model(EmbTokenizer *tok, const char *document_prompt, int max_tokens)
{
	return (EmbModel) {.mem = emb_malloc_allocator(), .tok = tok, .document_prompt_bytes = strlen(document_prompt), .dropped_id = -1,
		.info = {.max_tokens = max_tokens, .query_prompt = "", .document_prompt = document_prompt}};
}

static inline int64_t
chunk_count(const EmbModel *model, EmbPrompt prompt, const char *text, size_t len)
{
	EmbAllocator heap = emb_malloc_allocator();
	int64_t		n = -1;

	emb_model_count_tokens(model, prompt, text, len, &heap, NULL, &n, NULL);
	return n;
}

static inline bool
chunk_is_space(uint32_t cp)
{
	return (emb_uni_record(cp)->flags & EMB_UNI_SPACE) != 0;
}

/* Moves both ends inwards, over white space. */
static inline void
chunk_trim(const char *text, size_t *from, size_t *to)
{
	uint32_t	cp;
	int			n;

	while (*from < *to && (n = emb_utf8_decode((const uint8_t *) text + *from, *to - *from, &cp)) > 0 && chunk_is_space(cp))
		*from += n;
	while (*from < *to && (n = emb_utf8_decode_before((const uint8_t *) text, *to, &cp)) > 0 && chunk_is_space(cp))
		*to -= n;
}

static inline int64_t
chunk_n_chars(const char *text, size_t n)
{
	int64_t		chars = 0;

	for (size_t i = 0; i < n; i++)
		chars += ((uint8_t) text[i] & 0xC0) != 0x80;
	return chars;
}

/* Whether there is something between chunks: neither spaces nor what the tokenizer drops. */
static inline bool
chunk_is_lost(const EmbModel *model, const char *text, size_t from, size_t to)
{
	chunk_trim(text, &from, &to);
	return from < to && chunk_count(model, EMB_PROMPT_NONE, text + from, to - from) > emb_tok_n_special(model->tok, false);
}

/* Whether each character alone has room beside the prompt. */
static inline bool
chunk_all_fit(const EmbModel *model, const EmbChunking *how, const char *text, size_t len)
{
	uint32_t	cp;
	int			n;

	for (size_t i = 0; i < len; i += (size_t) n)
	{
		n = emb_utf8_decode((const uint8_t *) text + i, len - i, &cp);
		if (n == 0 || (!chunk_is_space(cp) && chunk_count(model, how->prompt, text + i, (size_t) n) > how->max_tokens))
			return false;
	}
	return true;
}

/* What is wrong with a chunk behind another one, or NULL. */
static inline const char *
chunk_fault(const EmbModel *model, const EmbChunking *how, const char *text, size_t len, const EmbChunk *last, const EmbChunk *chunk)
{
	int			n_special = emb_tok_n_special(model->tok, false);
	size_t		start = chunk->start,
				end = chunk->end;

	if (start >= end || end > len)
		return "no part of the text";
	if (chunk->n_tokens > how->max_tokens)
		return "too long";
	if (chunk->n_tokens != chunk_count(model, how->prompt, text + start, end - start))
		return "other number of tokens";
	if (chunk_count(model, EMB_PROMPT_NONE, text + start, end - start) <= n_special)
		return "empty";
	if (chunk->start_char != chunk_n_chars(text, start) || chunk->end_char != chunk_n_chars(text, end))
		return "characters";
	if (((uint8_t) text[start] & 0xC0) == 0x80 || (end < len && ((uint8_t) text[end] & 0xC0) == 0x80))
		return "cut inside a character";
	chunk_trim(text, &start, &end);
	if (start != chunk->start || end != chunk->end)
		return "space at an end";
	if (last->n_tokens == 0)
		return chunk_is_lost(model, text, 0, start) ? "lost its beginning" : NULL;
	if (start <= last->start || end <= last->end)
		return "no progress";
	if (start > last->end)
		return chunk_is_lost(model, text, last->end, start) ? "lost something" : NULL;
	if (chunk_count(model, EMB_PROMPT_NONE, text + start, last->end - start) - n_special > how->overlap)
		return "overlaps too far";
	return NULL;
}

/* Gives the number of chunks, or -1. A text that is refused for a character without room gives those before it. */
static inline int
chunk_check(const EmbModel *model, EmbChunking how, const char *text, size_t len, ChunkFault *fault)
{
	EmbAllocator heap = emb_malloc_allocator();
	EmbChunk	last = {0};
	EmbError	err;
	const char *what = NULL;

	*fault = (ChunkFault) {0};
	for (;; fault->n++)
	{
		EmbStatus	status = emb_model_next_chunk(model, &how, text, len, &heap, NULL, &fault->chunk, &err);

		if (status == EMB_ERR_INVALID_ARGUMENT && strstr(err.message, "the character at byte") != NULL &&
			!chunk_all_fit(model, &how, text, len))
			return fault->n;
		if (status == EMB_OK && fault->chunk.n_tokens == 0)
			break;
		what = status != EMB_OK ? err.message : chunk_fault(model, &how, text, len, &last, &fault->chunk);
		if (what != NULL)
			break;
		last = fault->chunk;
	}
	if (what == NULL && chunk_is_lost(model, text, last.end, len))
		what = "lost its end";
	snprintf(fault->what, sizeof(fault->what), "%s", what != NULL ? what : "");
	return what == NULL ? fault->n : -1;
}

#endif
