/*
 * worker.c
 *		The core library as a resident process for bench/run.
 *
 *		worker IMAGE THREADS [ISA]
 *
 * Lines in, lines out, the same for every engine (peer_worker.py):
 *		ids N, then N lines "id id ..."		the documents
 *		bench BATCH SECONDS MIN MAX			ms MS MS ...: BATCH documents a call, in turn
 *		vectors								N lines of numbers
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

typedef struct Docs
{
	EmbSequence *seqs;
	int			n;
} Docs;

static EmbModel *model;
static const EmbModelInfo *info;
static EmbAllocator mem;
static EmbRun run;
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
}

/* One line of ids, at most max_tokens of them. */
static EmbSequence
read_document(char **line, size_t *room)
{
	int32_t    *ids = malloc(info->max_tokens * sizeof(int32_t));
	int32_t		n = 0;
	char	   *p;

	if (ids == NULL || getline(line, room, stdin) < 0)
		fail("documents end too early");
	for (p = strtok(*line, " \n"); p != NULL && n < info->max_tokens; p = strtok(NULL, " \n"))
		ids[n++] = atoi(p);
	return (EmbSequence) {.ids = ids, .n_ids = n};
}

static void
read_documents(Docs *docs, int n, char **line, size_t *room)
{
	for (int i = 0; i < docs->n; i++)
		free((void *) docs->seqs[i].ids);
	free(docs->seqs);
	docs->seqs = calloc(n > 0 ? n : 1, sizeof(EmbSequence));
	docs->n = n;
	for (int i = 0; i < n; i++)
		docs->seqs[i] = read_document(line, room);
	puts("ok");
}

static void
embed(const EmbSequence *seqs, int n, float *out)
{
	EmbError	err;

	if (emb_model_embed(model, seqs, n, &run, out, &err) != EMB_OK)
		fail(err.message);
}

static void
bench(const Docs *docs, int batch, double seconds, int min, int max)
{
	float	   *out = malloc((size_t) batch * info->dim * sizeof(float));
	double		begin;
	int			at = 0;

	if (out == NULL || batch < 1 || batch > docs->n)
		fail("batch");
	embed(docs->seqs, batch, out);
	printf("ms");
	begin = now_ms();
	for (int n = 0; n < CALLS_MAX && n < max && (n < min || now_ms() - begin < seconds * 1e3); n++)
	{
		double		start = now_ms();

		embed(docs->seqs + at, batch, out);
		printf(" %.4f", now_ms() - start);
		at = at + 2 * batch <= docs->n ? at + batch : 0;
	}
	putchar('\n');
	free(out);
}

static void
print_vectors(const Docs *docs)
{
	float	   *out = malloc(info->dim * sizeof(float));

	for (int i = 0; i < docs->n; i++)
	{
		embed(&docs->seqs[i], 1, out);
		for (int k = 0; k < info->dim; k++)
			printf("%.9g%c", out[k], k + 1 < info->dim ? ' ' : '\n');
	}
	free(out);
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
	while (getline(&line, &room, stdin) > 0)
	{
		double		seconds;
		int			n,
					min,
					max;

		if (sscanf(line, "ids %d", &n) == 1)
			read_documents(&docs, n, &line, &room);
		else if (sscanf(line, "bench %d %lf %d %d", &n, &seconds, &min, &max) == 4)
			bench(&docs, n, seconds, min, max);
		else if (strncmp(line, "vectors", 7) == 0)
			print_vectors(&docs);
		else
			break;
		fflush(stdout);
	}
	return 0;
}
