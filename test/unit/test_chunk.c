/*
 * test_chunk.c
 *		Texts cut into chunks: never too long, nothing lost, words whole,
 *		overlaps bounded, whatever the text, the length, the prompt.
 */
#include "model_util.h"

#include "chunk_util.h"
#include "tok_util.h"

static EmbAllocator heap;
static Image image;
static EmbModel *model;
static int	n_around;			/* tokens of prompt and special tokens */

/* The tiny model, with its own tokenizer or another one. */
static void
open_model(const char *tokenizer, const char *document_prompt)
{
	EmbImportOptions options = {.precision = "fp32", .document_prompt = document_prompt};
	char		command[4 * PATH_MAX];
	char		dir[PATH_MAX];
	int64_t		n;
	EmbError	err;

	snprintf(dir, sizeof(dir), "%s", fresh_dir());
	snprintf(command, sizeof(command), "cp -r %s/tiny/bert-cls/model/. %s && cp %s/%s %s/tokenizer.json", data_dir(), dir, data_dir(), tokenizer, dir);
	CHECK(system(command) == 0);
	if (!CHECKF(import_image(dir, &options, &heap, &image, &err) == EMB_OK, "%s", err.message) ||
		!CHECKF(emb_model_open(image.data, image.size_bytes, 0, &heap, NULL, &model, &err) == EMB_OK, "%s", err.message))
		exit(1);
	CHECK(emb_model_count_tokens(model, EMB_PROMPT_DOCUMENT, "", 0, &heap, NULL, &n, &err) == EMB_OK);
	n_around = (int) n;
}

static void
close_model(void)
{
	emb_model_close(model);
	free(image.data);
}

/* Gives the number of chunks, or -1. */
static int
check_chunks(EmbChunking how, const char *text, size_t len)
{
	ChunkFault	fault;
	int			n = chunk_check(model, how, text, len, &fault);

	CHECKF(n >= 0, "%d tokens, overlap %d, chunk %d at %zu .. %zu: %s; text: %.*s", how.max_tokens, how.overlap, fault.n,
		   fault.chunk.start, fault.chunk.end, fault.what, (int) (len < 200 ? len : 200), text);
	return n;
}

/* All golden texts, at some lengths and overlaps, and all of them as one text. */
static void
test_goldens(void)
{
	static const int rooms[] = {1, 2, 3, 7, 20, 64};
	char		path[PATH_MAX];
	FILE	   *f;
	char	   *line = NULL;
	char	   *all = NULL;
	size_t		room = 0,
				all_len = 0;
	ssize_t		n;
	int			n_texts = 0,
				n_right = 0;

	snprintf(path, sizeof(path), "%s/tokenizer/golden.jsonl", data_dir());
	f = fopen(path, "r");
	while (f != NULL && (n = getline(&line, &room, f)) > 0)
	{
		json_t	   *json = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
		const json_t *value = json_object_get(json, "text");
		size_t		len = json_string_length(value);
		char	   *text = malloc(len + 4);	/* is_space_at looks further */

		if (len > 0)			/* some lines hold pairs instead */
			memcpy(text, json_string_value(value), len);
		memset(text + len, 0, 4);
		if (memchr(text, 0, len) == NULL && n_texts < 2000)
		{
			bool		right = true;

			for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]) && right; i++)
			{
				int			overlaps[] = {0, 1, rooms[i] / 2, rooms[i] - 1};

				for (int k = 0; k < 4 && right; k++)
				{
					if (overlaps[k] < rooms[i] && (n_texts + 3 * (int) i + k) % 6 == 0)
						right = check_chunks((EmbChunking) {EMB_PROMPT_DOCUMENT, n_around + rooms[i], overlaps[k]}, text, len) >= 0;
				}
			}
			n_texts++;
			n_right += right;
			all = realloc(all, all_len + len + 5);
			if (len > 0)
				memcpy(all + all_len, text, len);
			all_len += len;
			all[all_len++] = n_texts % 3 == 0 ? '\n' : ' ';
			memset(all + all_len, 0, 4);
		}
		free(text);
		json_decref(json);
	}
	if (f != NULL)
		fclose(f);
	free(line);
	CHECKF(n_texts > 500 && n_right == n_texts, "%d of %d texts", n_right, n_texts);
	CHECK(check_chunks((EmbChunking) {EMB_PROMPT_DOCUMENT, 100, 0}, all, all_len) > 100);
	CHECK(check_chunks((EmbChunking) {EMB_PROMPT_DOCUMENT, 37, 20}, all, all_len) > 500);
	free(all);
}

/* The chunks of a text, joined by "|". */
static const char *
chunks_of(const char *text, int max_tokens, int overlap)
{
	static char out[4096];
	EmbChunking how = {EMB_PROMPT_DOCUMENT, max_tokens, overlap};
	EmbChunk	chunk = {0};
	EmbError	err;
	size_t		n = 0;

	out[0] = '\0';
	for (;;)
	{
		if (emb_model_next_chunk(model, &how, text, strlen(text), &heap, NULL, &chunk, &err) != EMB_OK)
			return strcpy(out, err.message);
		if (chunk.n_tokens == 0)
			return out;
		n += snprintf(out + n, sizeof(out) - n, "%s%.*s", n > 0 ? "|" : "", (int) (chunk.end - chunk.start), text + chunk.start);
	}
}

static void
check_cut(const char *text, int max_tokens, int overlap, const char *want)
{
	const char *got = chunks_of(text, max_tokens, overlap);

	CHECKF(strcmp(got, want) == 0, "%d tokens, overlap %d, of \"%s\": \"%s\", not \"%s\"", max_tokens, overlap, text, got, want);
}

/* In this vocabulary each letter and digit is a token; "the", "and" are one. */
static void
test_cuts(void)
{
	check_cut("", 10, 0, "");
	check_cut(" \t\n \xE3\x80\x80 ", 10, 3, "");
	check_cut("\x01\x02 \xE2\x80\x8B", 10, 3, "");
	check_cut("  the and the  ", 10, 0, "the and the");
	/* full, whole words, spaces outside */
	check_cut("the and  the\nand the", 4, 0, "the and|the\nand|the");
	check_cut("the and the and the", 5, 1, "the and the|the and the");
	check_cut("the and the and", 5, 2, "the and the|and the and");
	check_cut("the qqq the", 5, 0, "the|qqq|the");
	check_cut("the qqq the", 6, 0, "the qqq|the");
	/* a word that repeats more tokens than allowed is not repeated, nor cut */
	check_cut("the qqq the qqq", 6, 2, "the qqq|the qqq");
	/* the next word has no room beside the overlap */
	check_cut("the and qqq", 5, 1, "the and|qqq");
	/* words that do not fit: behind punctuation, else anywhere but before marks */
	check_cut("qq-qq", 5, 0, "qq-|qq");
	check_cut("qqqqqqqq", 5, 0, "qqq|qqq|qq");
	check_cut("qqqqqqqq", 5, 1, "qqq|qqq|qqq|qq");
	check_cut("the qqqqq and", 5, 0, "the|qqq|qq and");
	check_cut("qqqq\xCC\x81qq", 6, 0, "qqqq\xCC\x81|qq");
	check_cut("qqq\xCC\x81qq", 4, 0, "qq|q\xCC\x81q|q");
	/* punctuation stays with the word before it */
	check_cut("the, and. the", 5, 0, "the,|and. the");
	/* ideographs are words; what ends a sentence stays with it */
	check_cut("\xE4\xB8\xAD\xE6\x96\x87\xE4\xB8\xAD\xE3\x80\x82\xE6\x96\x87", 5, 0, "\xE4\xB8\xAD\xE6\x96\x87|\xE4\xB8\xAD\xE3\x80\x82\xE6\x96\x87");
}

static void
test_limits(void)
{
	CHECK(strstr(chunks_of("a", n_around, 0), "no room") != NULL);
	CHECK(strstr(chunks_of("a", 0, 0), "no room") != NULL && strstr(chunks_of("a", -5, 0), "no room") != NULL);
	CHECK(strstr(chunks_of("a", n_around + 4, 4), "overlap of 4 tokens is not from 0 to 3") != NULL);
	CHECK(strstr(chunks_of("a", n_around + 4, -1), "overlap of -1") != NULL);
	CHECK(strcmp(chunks_of("a", n_around + 4, 3), "a") == 0);
	/* never more than the model reads */
	CHECK(strcmp(chunks_of("a", INT32_MAX, 3), "a") == 0);
	CHECK(strstr(chunks_of("a", INT32_MAX, 512), "chunks of 512 tokens") != NULL);
	CHECK(strstr(chunks_of("a \xFF", 10, 0), "UTF-8") != NULL);
}

static void
test_model_is_limit(void)
{
	const int	len = 20000;
	char	   *text = malloc(len + 4);

	for (int i = 0; i < len + 4; i++)
		text[i] = "the and "[i % 8];
	memset(text + len, 0, 4);
	CHECK(check_chunks((EmbChunking) {EMB_PROMPT_DOCUMENT, 512, 0}, text, len) == (len / 4 + 511 - n_around) / (512 - n_around));
	CHECK(check_chunks((EmbChunking) {EMB_PROMPT_DOCUMENT, 512, 100}, text, len) > 5);
	free(text);
}

typedef struct Work
{
	int64_t		n_asked;
	int64_t		stop_at;
} Work;

static bool
ask(void *ctx)
{
	Work	   *work = ctx;

	return ++work->n_asked == work->stop_at;
}

/* Stops asked, one for 64 K characters of work, until the text is cut. */
static int64_t
work_of(const char *text, size_t len, EmbChunking how)
{
	Work		work = {0, -1};
	EmbStop		stop = {&work, ask};
	EmbChunk	chunk = {0};
	EmbError	err;

	do
	{
		if (emb_model_next_chunk(model, &how, text, len, &heap, &stop, &chunk, &err) != EMB_OK)
		{
			CHECKF(false, "%s", err.message);
			return -1;
		}
	} while (chunk.n_tokens > 0);
	return work.n_asked;
}

/* Texts that are one word, all spaces, all dropped or all marks: work grows with their length. */
static void
test_work(int64_t times)
{
	static const char *const units[] = {"q", "the ", " ", "\x01", "a-", "\xCC\x81", "a\xCC\x81", "\xE4\xB8\xAD", "\xE3\x81\x82", "q       \x02"};
	const size_t lens[2] = {100000, 400000};
	char	   *text = malloc(lens[1]);

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
	{
		int64_t		work[2];

		for (size_t k = 0; k < lens[1]; k++)
			text[k] = units[i][k % strlen(units[i])];
		for (int k = 0; k < 2; k++)
		{
			size_t		len = lens[k] - lens[k] % strlen(units[i]);

			work[k] = work_of(text, len, (EmbChunking) {EMB_PROMPT_DOCUMENT, 256, 32});
		}
		printf("# \"%s\": %lld, %lld\n", units[i], (long long) work[0], (long long) work[1]);
		CHECKF(work[1] <= 4 * work[0] + 20 && work[1] <= times * (int64_t) (lens[1] / 65536), "unit %zu", i);
	}
	free(text);
}

static void
test_stop(void)
{
	const size_t len = 1000000;
	char	   *text = malloc(len);
	EmbChunking how = {EMB_PROMPT_DOCUMENT, 512, 0};

	memset(text, 'q', len);
	for (int at = 1; at < 30; at += 7)
	{
		Work		work = {0, at};
		EmbStop		stop = {&work, ask};
		EmbChunk	chunk = {0};
		EmbError	err;

		CHECK(emb_model_next_chunk(model, &how, text, len, &heap, &stop, &chunk, &err) == EMB_ERR_CANCELLED && work.n_asked == at);
	}
	free(text);
}

static void
test_no_memory(void)
{
	EmbChunking how = {EMB_PROMPT_DOCUMENT, n_around + 2, 1};
	Count		counter;
	EmbAllocator mem = counting_allocator(&counter);

	for (int fail = 0; fail < 100; fail++)
	{
		EmbChunk	chunk = {0};
		EmbStatus	status;

		counter.fail_after = fail;
		status = emb_model_next_chunk(model, &how, "the and the", 11, &mem, NULL, &chunk, NULL);
		CHECK((status == EMB_OK || status == EMB_ERR_NOMEM) && counter.n_live == 0);
		if (status == EMB_OK)
		{
			CHECK(fail > 0);
			return;
		}
	}
	CHECK(false);
}

int
main(void)
{
	heap = emb_malloc_allocator();
	open_model("tiny/bert-cls/model/tokenizer.json", "");
	test_goldens();
	test_cuts();
	test_limits();
	test_model_is_limit();
	test_work(40);
	test_stop();
	close_model();
	/* with a prompt; the second one grows together with what follows */
	open_model("tiny/bert-cls/model/tokenizer.json", "the document: ");
	test_goldens();
	test_model_is_limit();
	test_no_memory();
	close_model();
	open_model("tiny/bert-cls/model/tokenizer.json", "pre");
	test_goldens();
	close_model();
	/* a unigram tokenizer, to which words have no end */
	open_model("tokenizer/unigram.json", "");
	test_goldens();
	test_work(2000);
	close_model();
	return done_testing();
}
