/*
 * import.c
 *		The import of a model directory by the core alone: time by layer, the most
 *		memory, the longest time between two polls of the stop callback, and how
 *		long work goes on after a poll that cancels.
 *
 *		build/core/bench/import DIR OUT [precision [keep_int8 [threads [cancels]]]]
 *
 * The image goes to the file OUT. A reranker then scores three documents under
 * the same watch. cancels: so many more imports, each cancelled at another
 * place, evenly over all polls of the first.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "model/embed_core.h"

/* The promise between two polls. */
#define LIMIT_S		0.010

typedef struct Watch
{
	double		last,			/* CPU time of the calling thread at the last poll */
				longest;
	char		longest_stage[64];
	long		n_polls;
	long		n_late;			/* polls later than LIMIT_S */
	long		stop_at;		/* 0: never */
	char		stage[64];
	double		stage_cpu;		/* of the process, when the layer began */
	double		stage_wall;
	FILE	   *out;			/* or NULL */
	uint64_t	n_bytes;
	bool		is_quiet;
} Watch;

static double
now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static bool
note_poll(void *ctx)
{
	Watch	   *w = ctx;
	double		t = now(CLOCK_THREAD_CPUTIME_ID);
	double		since = t - w->last;

	if (w->n_polls > 0 && since > w->longest)
	{
		w->longest = since;
		strcpy(w->longest_stage, w->stage);
	}
	w->n_late += w->n_polls > 0 && since > LIMIT_S;
	w->n_polls++;
	w->last = t;
	return w->stop_at > 0 && w->n_polls >= w->stop_at;
}

static EmbStatus
write_image(void *ctx, const void *data, size_t size, EmbError *err)
{
	Watch	   *w = ctx;

	w->n_bytes += size;
	if (w->out != NULL && fwrite(data, 1, size, w->out) != size)
		return emb_error(err, EMB_ERR_IO, "cannot write the image");
	return EMB_OK;
}

/* Four steps of a layer. */
static void
note_progress(void *ctx, const char *stage, int64_t done, int64_t total)
{
	Watch	   *w = ctx;

	snprintf(w->stage, sizeof(w->stage), "%s %lld of %lld", stage, (long long) done, (long long) total);
	if (strcmp(stage, "layers") == 0 && done % 4 == 0)
	{
		double		cpu = now(CLOCK_PROCESS_CPUTIME_ID);
		double		wall = now(CLOCK_MONOTONIC);

		if (done > 0 && !w->is_quiet)
			printf("layer %lld: %.1f s of CPU time, %.1f s\n", (long long) done / 4 - 1, cpu - w->stage_cpu, wall - w->stage_wall);
		w->stage_cpu = cpu;
		w->stage_wall = wall;
	}
}

static void
note_choice(void *ctx, const char *message, const char *hint)
{
	if (!((Watch *) ctx)->is_quiet)
		printf("%s%s%s\n", message, hint != NULL ? ": " : "", hint != NULL ? hint : "");
}

static double
most_memory(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double) usage.ru_maxrss / 1e3;
}

static EmbStatus
import(const char *dir, const EmbImportOptions *options, Watch *w, EmbError *err)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbStop		stop = {w, note_poll};
	EmbSink		sink = {.ctx = w, .write = write_image, .progress = note_progress, .note = note_choice};

	w->last = now(CLOCK_THREAD_CPUTIME_ID);
	return emb_import_dir(dir, options, &mem, &stop, &sink, err);
}

static void
fail(const EmbError *err)
{
	fprintf(stderr, "%s\n", err->message);
	exit(1);
}

static void
print_watch(const char *what, const Watch *w)
{
	printf("%s: %ld polls, %ld of them after more than %.0f ms; longest %.2f ms (%s)\n", what, w->n_polls, w->n_late, LIMIT_S * 1e3,
		   w->longest * 1e3, w->longest_stage);
}

/* ------------------------------------------------------------------ rerank */

static void
rerank(const char *path, uint64_t size, int32_t n_threads)
{
	static const char *const documents[] = {"the first document", "a second one, of a few more words than the first", "and the last"};
	static int32_t ids[3][512];
	static int32_t types[3][512];
	EmbAllocator mem = emb_malloc_allocator();
	Watch		w = {.stage = "rerank"};
	EmbStop		stop = {&w, note_poll};
	EmbSequence seqs[3];
	EmbText		query = {"a query", 7, true, NULL};
	EmbModel   *model;
	EmbError	err = {0};
	float		logits[3];
	int			fd = open(path, O_RDONLY);
	void	   *image = fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

	if (image == MAP_FAILED)
	{
		perror(path);
		exit(1);
	}
	if (emb_model_open(image, size, 0, &mem, NULL, &model, &err) != EMB_OK)
		fail(&err);
	if (emb_model_info(model)->kind == EMB_KIND_RERANKER)
	{
		EmbRun		run = {.mem = &mem, .stop = &stop, .n_threads = n_threads};

		for (int i = 0; i < 3; i++)
		{
			EmbText		document = {documents[i], strlen(documents[i]), true, NULL};
			EmbReading	to = {.ids = ids[i], .type_ids = types[i], .max_ids = 512, .mem = &mem, .stop = &stop};
			EmbEncoded	r;

			if (emb_model_encode_pair(model, &query, &document, &to, &r, &err) != EMB_OK)
				fail(&err);
			seqs[i] = (EmbSequence) {.ids = ids[i], .n_ids = r.n_ids, .type_ids = types[i], .n_shared = r.n_shared};
		}
		if (emb_model_rerank(model, seqs, 3, &run, logits, &err) != EMB_OK)
			fail(&err);
		printf("logits %.6g %.6g %.6g\n", (double) logits[0], (double) logits[1], (double) logits[2]);
		print_watch("rerank of three documents", &w);
	}
	emb_model_close(model);
	munmap(image, size);
	close(fd);
}

/* -------------------------------------------------------------------- main */

static void
cancel(const char *dir, const EmbImportOptions *options, long stop_at)
{
	Watch		w = {.stop_at = stop_at, .is_quiet = true};
	EmbError	err = {0};
	EmbStatus	status = import(dir, options, &w, &err);
	double		late = now(CLOCK_THREAD_CPUTIME_ID) - w.last;

	if (status != EMB_ERR_CANCELLED)
		fail(&err);
	printf("cancelled at poll %ld (%s): over after %.2f ms\n", stop_at, w.stage, late * 1e3);
}

int
main(int argc, char **argv)
{
	EmbImportOptions options = {
		.precision = argc > 3 ? argv[3] : "int8",
		.keep_int8 = argc > 4 && argv[4][0] != '\0' ? argv[4] : NULL,
		.n_threads = argc > 5 ? atoi(argv[5]) : 1
	};
	int			n_cancels = argc > 6 ? atoi(argv[6]) : 0;
	Watch		w = {.stage = "begin"};
	EmbError	err = {0};
	double		wall = now(CLOCK_MONOTONIC);

	if (argc < 3)
	{
		fprintf(stderr, "usage: import DIR OUT [precision [keep_int8 [threads [cancels]]]]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	w.out = fopen(argv[2], "wb");
	if (w.out == NULL)
	{
		perror(argv[2]);
		return 1;
	}
	if (import(argv[1], &options, &w, &err) != EMB_OK)
		fail(&err);
	fclose(w.out);
	printf("image %.1f MB, %.1f s of CPU time, %.1f s, at most %.0f MB of memory\n", (double) w.n_bytes / 1e6,
		   now(CLOCK_PROCESS_CPUTIME_ID), now(CLOCK_MONOTONIC) - wall, most_memory());
	print_watch("import", &w);
	rerank(argv[2], w.n_bytes, options.n_threads);
	for (int i = 1; i <= n_cancels; i++)
		cancel(argv[1], &options, 1 + (w.n_polls - 1) * i / (n_cancels + 1));
	return 0;
}
