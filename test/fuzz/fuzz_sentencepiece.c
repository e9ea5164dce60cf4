/*
 * fuzz_sentencepiece.c
 *		sentencepiece.bpe.model of any bytes; what is accepted must build and encode.
 */
#include "tok_fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char text[] = "The caf\xC3\xA9's <mask> ab  \xEF\xAC\x81 \xE4\xB8\xAD\xE6\x96\x87 e\xCC\x81 aaab\t ";
	EmbAllocator mem = emb_malloc_allocator();
	EmbTokSpec	spec;
	EmbError	err;

	if (emb_import_sentencepiece("sentencepiece.bpe.model", (const char *) data, size, &mem, &spec, &err) == EMB_OK)
		fuzz_use_spec(&spec, text, sizeof(text) - 1);
	return 0;
}
