/*
 * fuzz_chunks.c
 *		Any text cut into chunks by each kind of tokenizer, and all that must hold
 *		of them (test/unit/chunk_util.h).
 *
 * The first byte: tokenizer (two bits), prompt (two bits); the second: tokens of
 * text; the third: overlap. The rest is the text. Reads test/data/tokenizer.
 */
#include <stdlib.h>

#include "../unit/chunk_util.h"
#include "formats/file.h"
#include "import/hf_tokenizer.h"

static EmbTokenizer *toks[4];

static void
open_tokenizer(int i)
{
	static const char *const files[] = {"cls.json", "unigram.json", "bpe.json", "cased.json"};
	static EmbAllocator mem;
	EmbTokSpec	spec;
	EmbError	err;
	char	   *data;
	size_t		size;
	void	   *block;

	mem = emb_malloc_allocator();
	if (emb_file_read_all("test/data/tokenizer", files[i], 1 << 20, &mem, &data, &size, &err) != EMB_OK ||
		emb_import_tokenizer_json(files[i], data, size, &mem, &spec, &err) != EMB_OK ||
		emb_tok_build(&spec, &mem, &block, &size, &err) != EMB_OK ||
		emb_tok_open(block, size, true, &mem, &toks[i], &err) != EMB_OK)
	{
		fprintf(stderr, "%s\n", err.message);
		abort();
	}
	emb_tok_spec_free(&spec, &mem);
	emb_release(&mem, data);
}

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const prompts[] = {"", "the document: ", "pre", " \n"};
	EmbModel	model;
	ChunkFault	fault;
	EmbChunking how = {.prompt = EMB_PROMPT_DOCUMENT};
	int			n_around;

	if (size < 3 || size > 4096 || memchr(data + 3, 0, size - 3) != NULL ||
		!emb_utf8_is_text(data + 3, size - 3))
		return 0;
	if (toks[data[0] & 3] == NULL)
		open_tokenizer(data[0] & 3);
	model = chunk_model(toks[data[0] & 3], prompts[data[0] >> 2 & 3], 512);
	n_around = (int) chunk_count(&model, EMB_PROMPT_DOCUMENT, "", 0);
	how.max_tokens = n_around + 1 + data[1];
	how.overlap = data[2] % (data[1] + 1);
	if (chunk_check(&model, how, (const char *) data + 3, size - 3, &fault) < 0)
	{
		fprintf(stderr, "chunk %d at %zu .. %zu: %s\n", fault.n, fault.chunk.start, fault.chunk.end, fault.what);
		abort();
	}
	return 0;
}
