/*
 * worker.c
 *		The core library as a resident process for bench/run.
 *
 *		worker IMAGE THREADS [ISA]
 *
 * The documents of a reranker are whole sequences of ids, query included.
 *
 * Lines in, lines out, the same for every engine (peer_worker.py):
 *		ids N, then N lines "id id ..."		the documents
 *		texts N, then N lines				the documents, tokenized anew in every call
 *		bench BATCH SECONDS MIN MAX			ms MS MS ...: BATCH documents a call, in turn
 *		pass ARRANGEMENT					ms MS: all documents once; "one" a call or "all" at once
 *		shared N							ok: the documents of "ids" are said to share this many leading ids
 *		whole								ms MS, then N lines of numbers, of one call with all documents
 *		vectors								N lines of numbers: a vector, or the logit of a reranker
 *		quit
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "model/embed_core.h"

#define CALLS_MAX	100000

/* A document of this length needs no warm-up. */
#define LONG_TOKENS	2048

typedef struct Docs
{
	EmbSequence *seqs;
	char	  **texts;			/* NULL: ids were given */
	int32_t    *ids;			/* [n, max_tokens] of texts */
	int			n;
} Docs;

static EmbModel *model;
static const EmbModelInfo *info;
static EmbAllocator mem;
static EmbRun run;
static EmbStatus (*compute) (const EmbModel *model, const EmbSequence *seqs, int32_t n_seqs,
							 const EmbRun *run, float *out, EmbError *err) = emb_model_embed;
static clockid_t bench_clock = CLOCK_MONOTONIC;

static void
fail(const char *what)
{
	printf("error %s\n", what);
	exit(1);
}

static double
now_ms(void)
{
	struct timespec ts;

	clock_gettime(bench_clock, &ts);
	return ts.tv_sec * 1e3 + ts.tv_nsec * 1e-6;
}

static void
open_image(const char *path)
{
	EmbError	err;
	struct stat st;
	int			fd = open(path, O_RDONLY);
	void	   *image;

	if (fd < 0 || fstat(fd, &st) != 0)
		fail(path);
	image = mmap(NULL, st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (image == MAP_FAILED)
		fail("mmap");
	if (emb_model_open(image, st.st_size, 0, &mem, NULL, &model, &err) != EMB_OK)
		fail(err.message);
	info = emb_model_info(model);
	if (info->kind == EMB_KIND_RERANKER)
		compute = emb_model_rerank;
}

static void *
checked(void *p)
{
	if (p == NULL)
		fail("out of memory");
	return p;
}

/* One line of ids, at most max_tokens of them. */
static EmbSequence
read_ids(char **line, size_t *room)
{
	int32_t    *ids = checked(malloc(info->max_tokens * sizeof(int32_t)));
	int32_t		n = 0;
	char	   *p;

	if (getline(line, room, stdin) < 0)
		fail("documents end too early");
	for (p = strtok(*line, " \n"); p != NULL && n < info->max_tokens; p = strtok(NULL, " \n"))
		ids[n++] = atoi(p);
	return (EmbSequence) {.ids = ids,.n_ids = n};
}

static char *
read_text(char **line, size_t *room)
{
	ssize_t		n = getline(line, room, stdin);

	if (n < 1)
		fail("documents end too early");
	(*line)[n - 1] = '\0';
	return checked(strdup(*line));
}

static void
release_documents(Docs *docs)
{
	for (int i = 0; i < docs->n; i++)
	{
		if (docs->texts != NULL)
			free(docs->texts[i]);
		else
			free((void *) docs->seqs[i].ids);
	}
	free(docs->seqs);
	free(docs->texts);
	free(docs->ids);
	*docs = (Docs) {0};
}

static void
read_documents(Docs *docs, int n, bool texts, char **line, size_t *room)
{
	release_documents(docs);
	docs->seqs = checked(calloc(n > 0 ? n : 1, sizeof(EmbSequence)));
	docs->n = n;
	if (texts)
	{
		docs->texts = checked(calloc(n > 0 ? n : 1, sizeof(char *)));
		docs->ids = checked(malloc((n > 0 ? n : 1) * (size_t) info->max_tokens * sizeof(int32_t)));
	}
	for (int i = 0; i < n; i++)
	{
		if (texts)
			docs->texts[i] = read_text(line, room);
		else
			docs->seqs[i] = read_ids(line, room);
	}
	puts("ok");
}

static void
tokenize(const Docs *docs, int at, int n)
{
	EmbError	err;
	EmbEncoded	encoded;

	for (int i = at; i < at + n; i++)
	{
		int32_t    *ids = docs->ids + (size_t) i * info->max_tokens;

		if (emb_model_encode(model, EMB_PROMPT_DOCUMENT, &(EmbText) {docs->texts[i], strlen(docs->texts[i]), true, NULL},
				&(EmbReading) {.ids = ids, .max_ids = info->max_tokens, .mem = &mem}, &encoded, &err) != EMB_OK)
			fail(err.message);
		docs->seqs[i] = (EmbSequence) {.ids = ids,.n_ids = encoded.n_ids};
	}
}

static void
embed(const Docs *docs, int at, int n, float *out)
{
	EmbError	err;

	if (docs->texts != NULL)
		tokenize(docs, at, n);
	if (compute(model, docs->seqs + at, n, &run, out, &err) != EMB_OK)
		fail(err.message);
}

static void
bench(const Docs *docs, int batch, double seconds, int min, int max)
{
	float	   *out;
	double		begin;
	int			at = 0;

	if (batch < 1 || batch > docs->n)
		fail("batch");
	out = checked(malloc((size_t) batch * info->dim * sizeof(float)));
	if (docs->texts != NULL || docs->seqs[0].n_ids < LONG_TOKENS)
		embed(docs, 0, batch, out);
	printf("ms");
	begin = now_ms();
	for (int n = 0; n < CALLS_MAX && n < max && (n < min || now_ms() - begin < seconds * 1e3); n++)
	{
		double		start = now_ms();

		embed(docs, at, batch, out);
		printf(" %.4f", now_ms() - start);
		at = at + 2 * batch <= docs->n ? at + batch : 0;
	}
	putchar('\n');
	free(out);
}

static void
pass(const Docs *docs, bool one)
{
	float	   *out = checked(malloc(((size_t) docs->n + 1) * info->dim * sizeof(float)));
	double		start = now_ms();

	if (!one)
		embed(docs, 0, docs->n, out);
	for (int i = 0; one && i < docs->n; i++)
		embed(docs, i, 1, out);
	printf("ms %.4f\n", now_ms() - start);
	free(out);
}

/* Whether the engine may compute the start of the documents once: it must be equal in all. */
static void
set_shared(Docs *docs, int n)
{
	for (int i = 0; i < docs->n; i++)
	{
		if (docs->texts != NULL || n < 0 || n >= docs->seqs[i].n_ids ||
			memcmp(docs->seqs[i].ids, docs->seqs[0].ids, n * sizeof(int32_t)) != 0)
			fail("shared");
		docs->seqs[i].n_shared = n;
	}
	puts("ok");
}

static void
print_rows(const float *out, int n)
{
	for (int i = 0; i < n * info->dim; i++)
		printf("%.9g%c", out[i], (i + 1) % info->dim != 0 ? ' ' : '\n');
}

static void
print_whole(const Docs *docs)
{
	float	   *out = checked(malloc(((size_t) docs->n + 1) * info->dim * sizeof(float)));
	double		start = now_ms();

	embed(docs, 0, docs->n, out);
	printf("ms %.4f\n", now_ms() - start);
	print_rows(out, docs->n);
	free(out);
}

static void
print_vectors(const Docs *docs)
{
	float	   *out = checked(malloc(info->dim * sizeof(float)));

	for (int i = 0; i < docs->n; i++)
	{
		embed(docs, i, 1, out);
		print_rows(out, 1);
	}
	free(out);
}

static bool
answer(char **line, size_t *room, Docs *docs)
{
	char		word[16];
	double		seconds;
	int			n,
				min,
				max;

	if (sscanf(*line, "ids %d", &n) == 1)
		read_documents(docs, n, false, line, room);
	else if (sscanf(*line, "texts %d", &n) == 1)
		read_documents(docs, n, true, line, room);
	else if (sscanf(*line, "bench %d %lf %d %d", &n, &seconds, &min, &max) == 4)
		bench(docs, n, seconds, min, max);
	else if (sscanf(*line, "pass %15s", word) == 1)
		pass(docs, strcmp(word, "one") == 0);
	else if (sscanf(*line, "shared %d", &n) == 1)
		set_shared(docs, n);
	else if (strncmp(*line, "whole", 5) == 0)
		print_whole(docs);
	else if (strncmp(*line, "vectors", 7) == 0)
		print_vectors(docs);
	else
		return false;
	fflush(stdout);
	return true;
}

int
main(int argc, char **argv)
{
	Docs		docs = {0};
	EmbError	err;
	char	   *line = NULL;
	size_t		room = 0;

	if (argc < 3)
		fail("usage: worker IMAGE THREADS [ISA]");
	mem = emb_malloc_allocator();
	if (getenv("BENCH_CLOCK") != NULL && strcmp(getenv("BENCH_CLOCK"), "cpu") == 0)
		bench_clock = CLOCK_PROCESS_CPUTIME_ID;
	if (argc > 3 && emb_isa_select(argv[3], &err) != EMB_OK)
		fail(err.message);
	open_image(argv[1]);
	run = (EmbRun) {.mem = &mem,.n_threads = atoi(argv[2])};
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	printf("ready embed %s %s, level %s\n", EMBED_CORE_VERSION, info->precision, emb_isa_name());
	fflush(stdout);
	while (getline(&line, &room, stdin) > 0 && answer(&line, &room, &docs))
		continue;
	return 0;
}
