/*
 * fuzz_vocab_txt.c
 *		vocab.txt of any bytes; what is accepted must build, and encode its own
 *		bytes.
 */
#include "tok_fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbTokSpec	spec;
	EmbError	err;

	if (emb_import_vocab_txt("vocab.txt", (const char *) data, size, &mem, &spec, &err) == EMB_OK)
		fuzz_use_spec(&spec, (const char *) data, size);
	return 0;
}
