/*
 * fuzz_sentencepiece.c
 *		sentencepiece.bpe.model and tokenizer.model of any bytes, the latter as each
 *		class reads it; what is accepted must build and encode.
 */
#include "tok_fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const classes[] = {"", "GemmaTokenizer", "LlamaTokenizer"};
	static const char text[] = "The caf\xC3\xA9's <mask> ab  \xEF\xAC\x81 \xE4\xB8\xAD\xE6\x96\x87 e\xCC\x81 aaab\t ";
	EmbAllocator mem = emb_malloc_allocator();
	EmbTokSpec	spec;
	EmbError	err;

	if (emb_import_sentencepiece("sentencepiece.bpe.model", (const char *) data, size, &mem, &spec, &err) == EMB_OK)
		fuzz_use_spec(&spec, text, sizeof(text) - 1);
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (emb_import_spm_bpe("tokenizer.model", (const char *) data, size, classes[i], &mem, &spec, &err) == EMB_OK)
			fuzz_use_spec(&spec, text, sizeof(text) - 1);
	return 0;
}
