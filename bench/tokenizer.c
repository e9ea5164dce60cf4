/*
 * tokenizer.c
 *		A tokenizer.json (or the tokenizer of a model directory) against texts:
 *		for bench/tokenizer_speed.py, which compares throughput with the reference
 *		library, and test/tools/fuzz_tokenizer.py, which compares ids.
 *
 *		tokenizer FILE serve			[u32 bytes][text] ... -> [i32 n][ids] ..., -1: refused
 *		tokenizer FILE time SECONDS		[u32 bytes][text] ... -> bytes, best CPU seconds a pass, tokens
 *
 * Little endian, standard input to standard output.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/error.h"
#include "import/hf_tokenizer.h"

#define IDS_MAX		(1 << 24)

static EmbTokenizer *tok;

static void
fail(const char *what)
{
	fprintf(stderr, "tokenizer: %s\n", what);
	exit(1);
}

static char *
read_file(const char *path, size_t *size)
{
	FILE	   *file = fopen(path, "rb");
	char	   *data;

	if (file == NULL || fseek(file, 0, SEEK_END) != 0)
		fail(path);
	*size = (size_t) ftell(file);
	rewind(file);
	data = malloc(*size + 1);
	if (data == NULL || fread(data, 1, *size, file) != *size)
		fail(path);
	fclose(file);
	return data;
}

static void
open_tokenizer(const char *path)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbTokSpec	spec;
	EmbError	err;
	void	   *block;
	size_t		size;
	struct stat st;
	EmbStatus	status;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		status = emb_import_auto_tokenizer(path, &mem, NULL, NULL, &spec, &err);
	else
	{
		char	   *data = read_file(path, &size);

		status = emb_import_tokenizer_json(path, data, size, &mem, &spec, &err);
		free(data);
	}
	if (status != EMB_OK || emb_tok_build(&spec, &mem, &block, &size, &err) != EMB_OK ||
		emb_tok_open(block, size, true, &mem, &tok, &err) != EMB_OK)
		fail(err.message);
	emb_tok_spec_free(&spec, &mem);
}

/* The next text, in a buffer of its own; NULL at the end. */
static char *
read_text(uint32_t *len)
{
	char	   *text;

	if (fread(len, sizeof(*len), 1, stdin) != 1)
		return NULL;
	text = malloc(*len + 1);
	if (text == NULL || fread(text, 1, *len, stdin) != *len)
		fail("cut off text");
	return text;
}

static int32_t
encode(const char *text, uint32_t len, int32_t *ids)
{
	EmbTokResult r;
	EmbError	err;

	return emb_tok_encode(tok, &(EmbText) {text, len, true, NULL}, &(EmbReading) {.ids = ids, .max_ids = IDS_MAX}, &r, &err) == EMB_OK ? r.n_ids : -1;
}

static void
serve(int32_t *ids)
{
	char	   *text;
	uint32_t	len;

	while ((text = read_text(&len)) != NULL)
	{
		int32_t		n = encode(text, len, ids);

		fwrite(&n, sizeof(n), 1, stdout);
		if (n > 0)
			fwrite(ids, sizeof(int32_t), (size_t) n, stdout);
		fflush(stdout);
		free(text);
	}
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static void
measure(int32_t *ids, double seconds)
{
	char	  **texts = NULL;
	uint32_t   *lens = NULL;
	size_t		n = 0;
	size_t		n_bytes = 0;
	int64_t		n_ids = 0;
	double		best = 1e9;
	double		end;
	uint32_t	len;
	char	   *text;

	while ((text = read_text(&len)) != NULL)
	{
		texts = realloc(texts, (n + 1) * sizeof(*texts));
		lens = realloc(lens, (n + 1) * sizeof(*lens));
		if (texts == NULL || lens == NULL)
			fail("out of memory");
		texts[n] = text;
		lens[n++] = len;
		n_bytes += len;
	}
	for (end = now() + seconds; now() < end;)
	{
		double		start = now();

		n_ids = 0;
		for (size_t i = 0; i < n; i++)
			n_ids += encode(texts[i], lens[i], ids);
		if (now() - start < best)
			best = now() - start;
	}
	printf("%zu %.9f %lld\n", n_bytes, best, (long long) n_ids);
	for (size_t i = 0; i < n; i++)
		free(texts[i]);
	free(texts);
	free(lens);
}

int
main(int argc, char **argv)
{
	int32_t    *ids = malloc(IDS_MAX * sizeof(int32_t));

	if (argc < 3 || ids == NULL)
		fail("usage: tokenizer FILE serve | time SECONDS");
	open_tokenizer(argv[1]);
	if (strcmp(argv[2], "serve") == 0)
		serve(ids);
	else if (strcmp(argv[2], "time") == 0 && argc == 4)
		measure(ids, atof(argv[3]));
	else
		fail("neither serve nor time");
	free(ids);
	return 0;
}
