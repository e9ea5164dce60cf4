/*
 * cli_report_measure.c
 *		Speed and scratch memory by length: one thread and all CPUs, one text
 *		and many texts a call.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli_peak.h"
#include "cli/cli_report.h"

#define SHORTEST		16
#define LONGEST			512

/* A call of many texts has at most so many tokens. */
#define CALL_TOKENS		EMB_BATCH_TOKENS_DEFAULT

/* A call longer than the time of this many points is not made. */
#define PATIENCE		20

/* ---------------------------------------------------------------- scratch */

/* malloc with a count of the bytes in use, and their maximum. */
typedef struct Counter
{
	size_t		now;
	size_t		most;
} Counter;

static void *
counted_alloc(void *ctx, size_t size)
{
	Counter    *counter = ctx;
	EmbAllocator mem = emb_malloc_allocator();
	char	   *p = size > SIZE_MAX - EMB_ALIGNMENT ? NULL : emb_alloc(&mem, size + EMB_ALIGNMENT);

	if (p == NULL)
		return NULL;
	memcpy(p, &size, sizeof(size));
	counter->now += size;
	counter->most = counter->now > counter->most ? counter->now : counter->most;
	return p + EMB_ALIGNMENT;
}

static void
counted_release(void *ctx, void *p)
{
	Counter    *counter = ctx;
	EmbAllocator mem = emb_malloc_allocator();
	size_t		size;

	if (p == NULL)
		return;
	memcpy(&size, (char *) p - EMB_ALIGNMENT, sizeof(size));
	counter->now -= size;
	emb_release(&mem, (char *) p - EMB_ALIGNMENT);
}

/* ------------------------------------------------------------------ speed */

double
report_operations(const EmbArch *arch, int n_tokens)
{
	double		t = n_tokens;
	double		h = arch->hidden;
	double		q = emb_arch_query_width(arch);
	double		ffn = (arch->is_gated ? 3.0 : 2.0) * h * arch->intermediate;
	double		sum = 0;

	for (int32_t i = 0; i < arch->n_layers; i++)
	{
		double		seen = emb_arch_is_local(arch, i) ? fmin(t, 2.0 * arch->window + 1) : t;

		sum += 2 * t * (2 * h * q + 2 * h * emb_arch_key_width(arch));
		sum += 2 * t * (emb_arch_has_experts(arch, i) ? arch->experts_used * ffn + h * arch->n_experts : ffn);
		sum += 4 * t * q * (arch->is_causal ? (seen + 1) / 2 : seen);
	}
	if (arch->has_sparse == EMB_SPARSE_VOCABULARY)
		sum += 2 * t * (h * h + h * arch->n_vocab);
	return sum;
}

/* Powers of two from SHORTEST on, and the longest. */
static void
choose_lengths(Report *r)
{
	int			max = emb_model_info(r->m.model)->max_tokens;
	int			longest = r->args->tokens > 0 ? r->args->tokens : LONGEST;

	longest = longest < max ? longest : max;
	for (int n = SHORTEST; n < longest && r->n_lengths < REPORT_MAX_LENGTHS - 1; n *= 2)
		r->lengths[r->n_lengths++] = n;
	r->lengths[r->n_lengths++] = longest;
}

static void
add_series(Report *r, int n_threads, int batch)
{
	ReportSeries *s = &r->series[r->n_series++];

	s->n_threads = n_threads;
	s->batch = batch;
	snprintf(s->label, sizeof(s->label), batch > 1 ? "%d thread%s, up to %d texts a call" : "%d thread%s, one text a call",
			 n_threads, n_threads > 1 ? "s" : "", batch);
}

/* One thread and all CPUs, one text and many. */
static void
choose_series(Report *r)
{
	int			batch = r->args->batch > 0 ? r->args->batch : 16;
	int			threads = r->args->threads > 0 ? r->args->threads : r->machine.n_cpus;

	for (int few = 1; few >= 0; few--)
	{
		if (!few && batch == 1)
			continue;
		add_series(r, 1, few ? 1 : batch);
		if (threads > 1)
			add_series(r, threads, few ? 1 : batch);
	}
}

static int
texts_of(int batch, int n_tokens)
{
	int			most = CALL_TOKENS / n_tokens;

	most = most > 1 ? most : 1;
	return batch < most ? batch : most;
}

/* The same length with as many threads and one text, if it was measured: how long a call will take. */
static double
expected_seconds(const Report *r, const ReportSeries *s, int i)
{
	for (int k = 0; k < r->n_series; k++)
	{
		const ReportPoint *p = &r->series[k].points[i];

		if (r->series[k].n_threads == s->n_threads && r->series[k].batch == 1 && p->is_measured)
			return p->times.median_s * s->points[i].n_texts;
	}
	return 0;
}

static int
measure_point(Report *r, ReportSeries *s, int i, double seconds)
{
	Counter		counter = {0};
	EmbAllocator mem = {&counter, counted_alloc, counted_release};
	ReportPoint *p = &s->points[i];
	CliCalls	calls = {.n_tokens = r->lengths[i], .n_threads = s->n_threads, .seconds = seconds, .min_calls = 1};
	int			code;

	p->n_texts = calls.n_texts = texts_of(s->batch, r->lengths[i]);
	p->expected_s = expected_seconds(r, s, i);
	if (p->expected_s > PATIENCE * seconds && calls.n_texts > 1)
		return 0;
	code = cli_time_calls(&r->m, &mem, &calls, &p->times);
	if (code != 0)
		return code;
	p->is_measured = true;
	p->tokens_per_s = p->times.median_s > 0 ? (double) calls.n_texts * calls.n_tokens / p->times.median_s : 0;
	p->scratch_bytes = counter.most;
	return 0;
}

int
report_measure(Report *r)
{
	double		seconds = r->args->seconds > 0 ? r->args->seconds : 10;
	double		begin = cli_now();
	int			code = 0;

	choose_lengths(r);
	choose_series(r);
	if (r->view.arch->n_layers > 0)
		r->peak_gops = cli_peak_gops(emb_isa_name(), r->view.config->precision == EMB_PRECISION_FP32);
	for (int k = 0; code == 0 && k < r->n_series; k++)
	{
		for (int i = 0; code == 0 && i < r->n_lengths; i++)
			code = measure_point(r, &r->series[k], i, seconds / (r->n_series * r->n_lengths));
	}
	r->measured_s = cli_now() - begin;
	return code;
}
