/*
 * fuzz_tokenizer_json.c
 *		tokenizer.json of any bytes; what is accepted must build and encode.
 */
#include "tok_fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char text[] = "The caf\xC3\xA9's [MASK] unbelievable \xE4\xB8\xAD\xE6\x96\x87 <x> a\xCC\x81\xE1\xAD\x84 foo  foobar!\n\n 123's";
	EmbAllocator mem = emb_malloc_allocator();
	EmbTokSpec	spec;
	EmbError	err;

	if (emb_import_tokenizer_json("tokenizer.json", (const char *) data, size, &mem, &spec, &err) == EMB_OK)
		fuzz_use_spec(&spec, text, sizeof(text) - 1);
	return 0;
}
