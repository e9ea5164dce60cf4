/*
 * fuzz_bpe_files.c
 *		vocab.json and merges.txt of byte-level BPE: the input up to its first byte
 *		0xFF, and what is behind it. A zero instead of the vocabulary stands for one of
 *		all bytes and some words. What is read is built, opened and used on a text.
 */
#include "tok_fuzz.h"

#include <stdio.h>

#include "import/hf_tokenizer.h"
#include "import/hf_tokenizer_spec.h"

/* {"<s>":0,"<pad>":1,"</s>":2,"<unk>":3, the 256 characters, then words of a, b and the space} */
static const char *
whole_vocabulary(void)
{
	static char json[8192];
	static const char *const words[] = {"aa", "aaaa", "ab", "ba", "\xC4\xA0\xC4\xA0", "\304\240a", "the", "th", "\xC4\x8A\xC4\x8A", "\xC3\x83\xC2\xA9"};
	int			n = 0;
	int			id = 4;
	int			more = 256;

	if (json[0] != '\0')
		return json;
	n += sprintf(json + n, "{\"<s>\":0,\"<pad>\":1,\"</s>\":2,\"<unk>\":3");
	for (int i = 0; i < 256; i++)
	{
		int			cp = (i > 32 && i < 127) || (i > 160 && i != 173) ? i : more++;

		n += sprintf(json + n, ",\"");
		if (cp == '"' || cp == '\\')
			json[n++] = '\\';
		if (cp < 128)
			json[n++] = (char) cp;
		else
			n += sprintf(json + n, "%c%c", 0xC0 | cp >> 6, 0x80 | (cp & 63));
		n += sprintf(json + n, "\":%d", id++);
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		n += sprintf(json + n, ",\"%s\":%d", words[i], id++);
	sprintf(json + n, "}");
	return json;
}

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char text[] = " The  aaaa aab ab\n\n 123's caf\xC3\xA9 <mask> \xE4\xB8\xAD thethe aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
	EmbAllocator mem = emb_malloc_allocator();
	const uint8_t *end = size > 0 ? memchr(data, 0xFF, size) : NULL;
	const char *vocab = (const char *) data;
	size_t		vocab_size = end != NULL ? (size_t) (end - data) : size;
	size_t		merges_size = end != NULL ? size - vocab_size - 1 : 0;
	EmbTokSpec	spec;
	EmbError	err = {0};
	EmbStatus	status;

	if (vocab_size == 1 && data[0] == 0)
	{
		vocab = whole_vocabulary();
		vocab_size = strlen(vocab);
	}
	status = emb_import_bpe(vocab, vocab_size, end != NULL ? (const char *) end + 1 : "", merges_size, &mem, &spec, &err);
	if (status == EMB_OK)
		fuzz_use_spec(&spec, text, sizeof(text) - 1);
	else if (status == EMB_ERR_INTERNAL || err.message[0] == '\0')
		abort();
	return 0;
}
