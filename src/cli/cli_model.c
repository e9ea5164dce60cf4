/*
 * cli_model.c
 *		Models and texts for the commands.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "image/image.h"

int
cli_error(const char *what, const EmbError *err)
{
	fprintf(stderr, "embed-cli: %s: %s\n", what, err->message);
	if (err->hint[0] != '\0')
		fprintf(stderr, "hint: %s\n", err->hint);
	return CLI_FAILED;
}

static void
print_note(void *ctx, const char *message, const char *hint)
{
	(void) ctx;
	(void) hint;				/* speaks of options by their SQL names */
	fprintf(stderr, "embed-cli: note: %s\n", message);
}

/* An image growing in memory; its header has the final size. */
typedef struct Buffer
{
	EmbAllocator mem;
	uint8_t    *data;
	size_t		size_bytes;
	size_t		n_written;
} Buffer;

static EmbStatus
write_buffer(void *ctx, const void *data, size_t size, EmbError *err)
{
	Buffer	   *buf = ctx;

	if (buf->data == NULL)
	{
		if (size < sizeof(EmbImageHeader))
			return emb_error(err, EMB_ERR_INTERNAL, "an image begins with %zu bytes", size);
		buf->size_bytes = ((const EmbImageHeader *) data)->size_bytes;
		buf->data = emb_alloc(&buf->mem, buf->size_bytes);
		if (buf->data == NULL)
			return emb_error(err, EMB_ERR_NOMEM, "out of memory for an image of %zu bytes", buf->size_bytes);
	}
	if (size > buf->size_bytes - buf->n_written)
		return emb_error(err, EMB_ERR_INTERNAL, "an image is longer than it says");
	memcpy(buf->data + buf->n_written, data, size);
	buf->n_written += size;
	return EMB_OK;
}

static int
pack_in_memory(const char *path, const EmbImportOptions *options, CliModel *m)
{
	Buffer		buf = {.mem = m->mem};
	EmbSink		sink = {.ctx = &buf, .write = write_buffer, .note = print_note};
	EmbError	err;

	if (emb_import_dir(path, options, &m->mem, NULL, &sink, &err) != EMB_OK)
	{
		emb_release(&m->mem, buf.data);
		return cli_error(path, &err);
	}
	m->image = buf.data;
	m->size_bytes = buf.size_bytes;
	return 0;
}

static int
map_image(const char *path, int fd, size_t size, CliModel *m)
{
	m->image = size > 0 ? mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
	if (m->image == MAP_FAILED)
	{
		m->image = NULL;
		fprintf(stderr, "embed-cli: could not map %s: %s\n", path, size > 0 ? strerror(errno) : "it is empty");
		return CLI_FAILED;
	}
	m->mapped = true;
	m->size_bytes = size;
	return 0;
}

/* The last step of opening; m->image is there if code is 0. */
static int
open_image(const char *path, int code, CliModel *m)
{
	EmbError	err;

	if (code == 0 && emb_model_open(m->image, m->size_bytes, EMB_OPEN_CHECK_ALL, &m->mem, NULL, &m->model, &err) != EMB_OK)
		code = cli_error(path, &err);
	if (code != 0)
		cli_model_close(m);
	return code;
}

int
cli_model_import(const char *path, const EmbImportOptions *options, CliModel *m)
{
	memset(m, 0, sizeof(*m));
	m->mem = emb_malloc_allocator();
	return open_image(path, pack_in_memory(path, options, m), m);
}

int
cli_model_open(const char *path, const EmbImportOptions *options, CliModel *m)
{
	struct stat st;
	int			code = CLI_FAILED;
	int			fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	memset(m, 0, sizeof(*m));
	m->mem = emb_malloc_allocator();
	if (fd < 0 || fstat(fd, &st) != 0)
		fprintf(stderr, "embed-cli: could not open %s: %s\n", path, strerror(errno));
	else if (S_ISDIR(st.st_mode))
		code = pack_in_memory(path, options, m);
	else if (S_ISREG(st.st_mode))
	{
		m->instruction = options->instruction;
		code = map_image(path, fd, st.st_size, m);
	}
	else
		fprintf(stderr, "embed-cli: %s is neither a directory nor a regular file\n", path);
	if (fd >= 0)
		close(fd);
	return open_image(path, code, m);
}

EmbReading
cli_reading(const CliModel *m, int32_t *ids, int32_t *type_ids, int32_t max, bool is_query)
{
	const char *instruction = is_query ? m->instruction : NULL;

	return (EmbReading) {.ids = ids, .type_ids = type_ids, .max_ids = max, .mem = &m->mem, .instruction = instruction,
		.instruction_bytes = instruction != NULL ? strlen(instruction) : 0};
}

void
cli_model_close(CliModel *m)
{
	emb_model_close(m->model);
	if (m->mapped)
		munmap(m->image, m->size_bytes);
	else
		emb_release(&m->mem, m->image);
	memset(m, 0, sizeof(*m));
}

/* ------------------------------------------------------------------ pack */

static EmbStatus
write_stdout(void *ctx, const void *data, size_t size, EmbError *err)
{
	(void) ctx;
	if (fwrite(data, 1, size, stdout) != size)
		return emb_error(err, errno == ENOSPC ? EMB_ERR_DISK_FULL : EMB_ERR_IO,
						 "could not write the image: %s", strerror(errno));
	return EMB_OK;
}

/* One line that counts up a stage, on a terminal only. */
typedef struct Shown
{
	const char *stage;
	int			percent;
} Shown;

static void
show_progress(void *ctx, const char *stage, int64_t done, int64_t total)
{
	Shown	   *shown = ctx;
	int			percent = total > 0 ? (int) (done * 100 / total) : 100;

	if (stage == shown->stage && percent == shown->percent)
		return;
	*shown = (Shown) {stage, percent};
	fprintf(stderr, "\r%-10s %3d %%%s", stage, percent, strcmp(stage, "write") == 0 && done == total ? "\n" : "");
}

/* Takes a part of an image out of the file that standard output is. */
static void
take_back(off_t size_before)
{
	struct stat st;

	(void) fflush(stdout);
	if (fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode) && ftruncate(STDOUT_FILENO, size_before) != 0)
		fputs("embed-cli: a part of an image is left in the output\n", stderr);
}

/*
 * The image is whole before the reference is loaded, and written only if both
 * agree.
 */
static int
pack_checked(const CliArgs *args)
{
	CliModel	m;
	int			code = cli_model_import(args->rest[0], &args->import, &m);

	if (code != 0)
		return code;
	code = cli_check_packed(args, &m, stderr);
	if (code == 0 && fwrite(m.image, 1, m.size_bytes, stdout) != m.size_bytes)
	{
		fprintf(stderr, "embed-cli: could not write the image: %s\n", strerror(errno));
		code = CLI_FAILED;
	}
	cli_model_close(&m);
	return code;
}

int
cli_pack(const CliArgs *args)
{
	struct stat before;
	EmbAllocator mem = emb_malloc_allocator();
	Shown		shown = {NULL, -1};
	EmbSink		sink = {.ctx = &shown, .write = write_stdout, .note = print_note};
	EmbError	err;

	if (isatty(STDOUT_FILENO))
	{
		fputs("embed-cli: pack writes the image to standard output; send it to a file\n", stderr);
		return CLI_USAGE;
	}
	if (args->check)
		return pack_checked(args);
	if (isatty(STDERR_FILENO))
		sink.progress = show_progress;
	if (fstat(STDOUT_FILENO, &before) != 0)
		before.st_size = 0;
	if (emb_import_dir(args->rest[0], &args->import, &mem, NULL, &sink, &err) != EMB_OK)
	{
		take_back(before.st_size);
		return cli_error(args->rest[0], &err);
	}
	return 0;
}

/* ----------------------------------------------------------------- texts */

static int
no_memory(void)
{
	fputs("embed-cli: out of memory\n", stderr);
	return CLI_FAILED;
}

static int
append_text(CliTexts *texts, const char *text, size_t len)
{
	if ((texts->n & (texts->n - 1)) == 0)	/* 0, 1, 2, 4, ...: full */
	{
		size_t		room = texts->n > 0 ? (size_t) texts->n * 2 : 1;
		char	  **text_grown = realloc(texts->text, room * sizeof(char *));
		size_t	   *len_grown;

		if (text_grown == NULL)
			return no_memory();
		texts->text = text_grown;
		len_grown = realloc(texts->len, room * sizeof(size_t));
		if (len_grown == NULL)
			return no_memory();
		texts->len = len_grown;
	}
	texts->text[texts->n] = malloc(len + 1);
	if (texts->text[texts->n] == NULL)
		return no_memory();
	memcpy(texts->text[texts->n], text, len);
	texts->text[texts->n][len] = '\0';
	texts->len[texts->n++] = len;
	return 0;
}

int
cli_texts_read_file(FILE *f, CliTexts *texts)
{
	char	   *line = NULL;
	size_t		room = 0;
	ssize_t		n;
	int			code = 0;

	while (code == 0 && (n = getline(&line, &room, f)) >= 0)
	{
		if (n > 0 && line[n - 1] == '\n')
			n--;
		code = append_text(texts, line, n);
	}
	free(line);
	return code;
}

int
cli_texts_read(const CliArgs *args, int first, CliTexts *texts)
{
	int			code = 0;

	memset(texts, 0, sizeof(*texts));
	if (args->n_rest == first || (args->n_rest == first + 1 && strcmp(args->rest[first], "-") == 0))
		return cli_texts_read_file(stdin, texts);
	for (int i = first; code == 0 && i < args->n_rest; i++)
		code = append_text(texts, args->rest[i], strlen(args->rest[i]));
	return code;
}

void
cli_texts_free(CliTexts *texts)
{
	for (int i = 0; i < texts->n; i++)
		free(texts->text[i]);
	free(texts->text);
	free(texts->len);
	memset(texts, 0, sizeof(*texts));
}

/* Ids of all texts, one after the other in *ids, and where each begins. */
static int
encode_texts(const CliModel *m, EmbPrompt prompt, const CliTexts *texts, EmbSequence *seqs)
{
	int32_t		max = emb_model_info(m->model)->max_tokens;

	for (int i = 0; i < texts->n; i++)
	{
		int32_t    *ids = emb_alloc_array(&m->mem, max, sizeof(int32_t));
		EmbText		text = {texts->text[i], texts->len[i], true, NULL};
		EmbReading	to = cli_reading(m, ids, NULL, max, prompt == EMB_PROMPT_QUERY);
		EmbEncoded	r;
		EmbError	err;
		char		what[32];

		if (ids == NULL)
			return no_memory();
		seqs[i].ids = ids;
		if (emb_model_encode(m->model, prompt, &text, &to, &r, &err) != EMB_OK)
		{
			snprintf(what, sizeof(what), "text %d", i + 1);
			return cli_error(what, &err);
		}
		seqs[i].n_ids = r.n_ids;
	}
	return 0;
}

int
cli_embed_texts(const CliModel *m, EmbPrompt prompt, const CliTexts *texts, int threads, float **out)
{
	EmbRun		run = {.mem = &m->mem, .n_threads = threads, .prompt = prompt};
	size_t		dim = emb_model_info(m->model)->dim;
	EmbSequence *seqs = emb_alloc_zero(&m->mem, texts->n, sizeof(EmbSequence));
	EmbError	err;
	int			code;

	*out = emb_alloc_array(&m->mem, texts->n * dim, sizeof(float));
	code = seqs == NULL || *out == NULL ? no_memory() : encode_texts(m, prompt, texts, seqs);
	if (code == 0 && emb_model_embed(m->model, seqs, texts->n, &run, *out, &err) != EMB_OK)
		code = cli_error("embed", &err);
	for (int i = 0; seqs != NULL && i < texts->n; i++)
		emb_release(&m->mem, (void *) seqs[i].ids);
	emb_release(&m->mem, seqs);
	if (code != 0)
	{
		emb_release(&m->mem, *out);
		*out = NULL;
	}
	return code;
}

/* The ids and type ids of every pair, each in one block. */
static int
encode_pairs(const CliModel *m, const EmbText *query, const CliTexts *texts, EmbSequence *seqs)
{
	int32_t		max = emb_model_info(m->model)->max_tokens;

	for (int i = 0; i < texts->n; i++)
	{
		EmbText		second = {texts->text[i], texts->len[i], true, NULL};
		int32_t    *ids = emb_alloc_array(&m->mem, (size_t) max * 2, sizeof(int32_t));
		EmbReading	to;
		EmbEncoded	r;
		EmbError	err;
		char		what[32];

		if (ids == NULL)
			return no_memory();
		seqs[i].ids = ids;
		seqs[i].type_ids = ids + max;
		to = cli_reading(m, ids, ids + max, max, true);
		if (emb_model_encode_pair(m->model, query, &second, &to, &r, &err) != EMB_OK)
		{
			snprintf(what, sizeof(what), "document %d", i + 1);
			return cli_error(what, &err);
		}
		seqs[i].n_ids = r.n_ids;
	}
	return 0;
}

/* The same, the query read once. */
static int
encode_documents(const CliModel *m, const char *query, const CliTexts *texts, EmbSequence *seqs)
{
	int32_t		max = emb_model_info(m->model)->max_tokens;
	int32_t    *ids = emb_alloc_array(&m->mem, max, sizeof(int32_t));
	EmbText		text = {query, strlen(query), true, NULL};
	EmbTextReader reader = emb_text_reader(&text);
	EmbReading	to = cli_reading(m, ids, NULL, max, true);
	EmbTextIds	known;
	EmbError	err;
	int			code;

	if (ids == NULL)
		return no_memory();
	if (emb_model_read_first(m->model, &reader, &to, &known, &err) != EMB_OK)
		code = cli_error("query", &err);
	else
	{
		text.known = &known;
		code = encode_pairs(m, &text, texts, seqs);
	}
	emb_release(&m->mem, ids);
	return code;
}

int
cli_rerank_texts(const CliModel *m, const char *query, const CliTexts *texts, int threads, float **logits)
{
	EmbRun		run = {.mem = &m->mem, .n_threads = threads};
	EmbSequence *seqs = emb_alloc_zero(&m->mem, texts->n, sizeof(EmbSequence));
	EmbError	err;
	int			code;

	*logits = emb_alloc_array(&m->mem, texts->n, sizeof(float));
	code = seqs == NULL || *logits == NULL ? no_memory() : encode_documents(m, query, texts, seqs);
	if (code == 0 && emb_model_rerank(m->model, seqs, texts->n, &run, *logits, &err) != EMB_OK)
		code = cli_error("rerank", &err);
	for (int i = 0; seqs != NULL && i < texts->n; i++)
		emb_release(&m->mem, (void *) seqs[i].ids);
	emb_release(&m->mem, seqs);
	return code;
}

void
cli_print_quoted(const char *label, const char *text, size_t len, size_t max)
{
	size_t		n = emb_text_clip(text, len, max);

	printf("%s\"", label);
	for (size_t i = 0; i < n; i++)
	{
		if (text[i] == '\n')
			printf("\\n");
		else if (text[i] == '"' || text[i] == '\\')
			printf("\\%c", text[i]);
		else if ((unsigned char) text[i] < 0x20)
			printf("\\x%02x", (unsigned char) text[i]);
		else
			putchar(text[i]);
	}
	puts(n < len ? "\"..." : "\"");
}
