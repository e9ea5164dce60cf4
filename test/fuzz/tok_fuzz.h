/*
 * tok_fuzz.h
 *		What the tokenizer's fuzz targets do with a tokenizer once they have one.
 */
#ifndef TOK_FUZZ_H
#define TOK_FUZZ_H

#include <stdlib.h>
#include <string.h>

#include "import/hf_tokenizer.h"

#define FUZZ_IDS_MAX 256

/* Ids must lie in the vocabulary whatever the tables say; errors are fine. */
static inline void
fuzz_encode_text(const EmbTokenizer *tok, const char *text, size_t len)
{
	int32_t		ids[FUZZ_IDS_MAX];
	int32_t		type_ids[FUZZ_IDS_MAX];
	EmbTokResult r;
	EmbError	err;
	int64_t		n = 0;
	EmbText		whole = {text, len, true, NULL};
	EmbText		half = {text, len / 2, true, NULL};

	if (emb_tok_encode(tok, &(EmbText) {text, len, true, NULL}, &(EmbReading) {.ids = ids, .max_ids = FUZZ_IDS_MAX},
			&r, &err) == EMB_OK)
		for (int32_t i = 0; i < r.n_ids; i++)
			if (ids[i] < 0 || ids[i] >= emb_tok_n_vocab(tok))
				abort();
	emb_tok_count(tok, text, len, NULL, &n, &err);
	if (emb_tok_has_pair(tok) &&
		emb_tok_encode_pair(tok, &whole, &half, EMB_TOK_LONGEST_FIRST,
				&(EmbReading) {.ids = ids, .type_ids = type_ids, .max_ids = 19}, &r, &err) == EMB_OK &&
		r.n_ids > 19)
		abort();
}

/* Builds, opens and uses what spec says, and frees spec. */
static inline void
fuzz_use_spec(EmbTokSpec *spec, const char *text, size_t len)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbTokenizer *tok = NULL;
	void	   *block = NULL;
	size_t		size;
	EmbError	err;

	if (emb_tok_build(spec, &mem, &block, &size, &err) == EMB_OK)
	{
		if (emb_tok_open(block, size, true, &mem, &tok, &err) != EMB_OK)
			abort();
		fuzz_encode_text(tok, text, len);
		emb_tok_close(tok);
	}
	emb_release(&mem, block);
	emb_tok_spec_free(spec, &mem);
}

#endif
