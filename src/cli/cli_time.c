/*
 * cli_time.c
 *		How long calls take: random token ids; vectors, scores, or the outputs of a
 *		model that has neither.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

#define MAX_CALLS	10000

double
cli_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

static int
compare_doubles(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

/* Random ids from a fixed seed: the texts must be distinct, because equal texts are computed once. */
static void
random_sequences(int32_t *ids, EmbSequence *seqs, int n_seqs, int n_tokens, int32_t n_vocab)
{
	uint64_t	state = 42;

	for (size_t i = 0; i < (size_t) n_seqs * n_tokens; i++)
	{
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		ids[i] = (int32_t) ((state >> 33) % (uint64_t) n_vocab);
	}
	for (int i = 0; i < n_seqs; i++)
		seqs[i] = (EmbSequence) {.ids = ids + (size_t) i * n_tokens, .n_ids = n_tokens};
}

/* Where results go: vectors or logits, or what a model without them returns. */
typedef struct Results
{
	float	   *rows;			/* vectors or logits, [n_texts, dim] */
	EmbSparse  *sparse;
	float	   *multi;
} Results;

static bool
begin_results(const CliModel *m, const EmbAllocator *mem, const EmbSequence *seqs, int n, Results *r)
{
	const EmbModelInfo *info = emb_model_info(m->model);
	size_t		n_vectors = 0;

	memset(r, 0, sizeof(*r));
	if (info->kind == EMB_KIND_RERANKER || info->has_dense)
	{
		r->rows = emb_alloc_array(mem, (size_t) n * info->dim, sizeof(float));
		return r->rows != NULL;
	}
	if (info->has_sparse)
		r->sparse = emb_alloc_zero(mem, n, sizeof(EmbSparse));
	for (int i = 0; info->multi_dim > 0 && i < n; i++)
		n_vectors += emb_model_n_vectors(m->model, &seqs[i]);
	if (info->multi_dim > 0)
		r->multi = emb_alloc_array(mem, n_vectors * info->multi_dim, sizeof(float));
	return (r->sparse != NULL || !info->has_sparse) && (r->multi != NULL || info->multi_dim == 0);
}

static void
end_results(const EmbAllocator *mem, Results *r)
{
	emb_release(mem, r->rows);
	emb_release(mem, r->sparse);
	emb_release(mem, r->multi);
}

static EmbStatus
run_once(const EmbModel *model, const EmbSequence *seqs, int n, const EmbRun *run, Results *r, EmbError *err)
{
	EmbStatus	status;

	if (emb_model_info(model)->kind == EMB_KIND_RERANKER)
		return emb_model_rerank(model, seqs, n, run, r->rows, err);
	if (r->rows != NULL)
		return emb_model_embed(model, seqs, n, run, r->rows, err);
	status = emb_model_embed_all(model, seqs, n, run, &(EmbOutputs) {.sparse = r->sparse, .multi = r->multi}, err);
	for (int i = 0; r->sparse != NULL && i < n; i++)
		emb_sparse_free(&r->sparse[i], run->mem);
	return status;
}

static int
time_runs(const CliModel *m, const CliCalls *calls, const EmbSequence *seqs, const EmbRun *run, Results *r, CliTimes *times)
{
	static double rounds[MAX_CALLS];
	EmbError	err;
	double		begin = cli_now();
	double		first;
	int			n = 0;

	/* the first call faults the weights in */
	if (run_once(m->model, seqs, calls->n_texts, run, r, &err) != EMB_OK)
		return cli_error("time", &err);
	first = cli_now() - begin;
	begin = cli_now();
	if (first > calls->seconds && calls->min_calls <= 1)
		rounds[n++] = first;
	while (n < MAX_CALLS && (n < calls->min_calls || (first <= calls->seconds && cli_now() - begin < calls->seconds)))
	{
		double		start = cli_now();

		if (run_once(m->model, seqs, calls->n_texts, run, r, &err) != EMB_OK)
			return cli_error("time", &err);
		rounds[n++] = cli_now() - start;
	}
	qsort(rounds, n, sizeof(double), compare_doubles);
	*times = (CliTimes) {.n_calls = n, .median_s = rounds[n / 2], .least_s = rounds[0], .most_s = rounds[n - 1]};
	return 0;
}

int
cli_time_calls(const CliModel *m, const EmbAllocator *mem, const CliCalls *calls, CliTimes *times)
{
	EmbRun		run = {.mem = mem, .n_threads = calls->n_threads};
	size_t		n_ids = (size_t) calls->n_texts * calls->n_tokens;
	int32_t    *ids = n_ids > INT32_MAX ? NULL : emb_alloc_array(&m->mem, n_ids, sizeof(int32_t));
	EmbSequence *seqs = emb_alloc_array(&m->mem, calls->n_texts, sizeof(EmbSequence));
	Results		results = {0};
	int			code;

	if (ids != NULL && seqs != NULL)
		random_sequences(ids, seqs, calls->n_texts, calls->n_tokens, emb_model_info(m->model)->n_vocab);
	if (ids == NULL || seqs == NULL || !begin_results(m, &m->mem, seqs, calls->n_texts, &results))
	{
		fprintf(stderr, "embed-cli: out of memory for %d texts of %d tokens\n", calls->n_texts, calls->n_tokens);
		code = CLI_FAILED;
	}
	else
		code = time_runs(m, calls, seqs, &run, &results, times);
	end_results(&m->mem, &results);
	emb_release(&m->mem, ids);
	emb_release(&m->mem, seqs);
	return code;
}

int
cli_time(const CliArgs *args)
{
	CliModel	m;
	CliCalls	calls = {
		.n_tokens = args->tokens > 0 ? args->tokens : 128,
		.n_texts = args->batch > 0 ? args->batch : 16,
		.n_threads = args->threads,
		.seconds = args->seconds > 0 ? args->seconds : 3,
		.min_calls = 3
	};
	CliTimes	times;
	int			code = cli_model_open(args->rest[0], &args->import, &m);

	if (code != 0)
		return code;
	if (calls.n_tokens > emb_model_info(m.model)->max_tokens)
		calls.n_tokens = emb_model_info(m.model)->max_tokens;
	code = cli_time_calls(&m, &m.mem, &calls, &times);
	if (code == 0)
	{
		printf("isa             %s, %d threads\n", emb_isa_name(), args->threads > 0 ? args->threads : 1);
		printf("texts           %d of %d tokens a call, %d calls\n", calls.n_texts, calls.n_tokens, times.n_calls);
		printf("call            %.3f ms median, %.3f to %.3f ms\n", times.median_s * 1e3, times.least_s * 1e3, times.most_s * 1e3);
		printf("tokens/s        %.0f median\n", (double) calls.n_texts * calls.n_tokens / times.median_s);
	}
	cli_model_close(&m);
	return code;
}
