/*
 * test_plan.c
 *		The division of batches among 2 to 64 threads, counted in multiply-adds:
 *		how long the last thread works beyond the mean. No thread is started.
 */
#include <math.h>
#include <string.h>

#include "unit.h"

#include "common/arch.h"
#include "transformer/plan.h"

/* Of the time of all threads together. */
#define LOSS_MAX		0.05

#define TEXTS_MAX		4096
#define LAYERS			12

/* As in batch.c and pass.c. */
#define PART_TOKENS		256
#define THREAD_TOKENS_MIN 16
#define SEGMENT_ROWS	256		/* for a worker; at least 512 */

/* As in pass.h. */
static const int32_t blocks[] = {96, 128};
static int32_t block_rows;

static int32_t offsets[TEXTS_MAX + 1];
static int32_t starts[TEXTS_MAX + 1];
static uint64_t state = 1;

static double
random_share(void)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (double) (state >> 11) / (double) (UINT64_C(1) << 53);
}

static EmbArch
bert(int32_t hidden, int32_t n_heads)
{
	EmbArch		arch = emb_arch_encoder();

	arch.hidden = hidden;
	arch.n_layers = LAYERS;
	emb_arch_set_heads(&arch, n_heads);
	arch.intermediate = 4 * hidden;
	arch.n_vocab = 30522;
	arch.n_positions = 512;
	arch.n_types = 2;
	arch.activation = EMB_ACT_GELU;
	return arch;
}

/* The loads of threads that take one piece after the other. */
typedef struct Loads
{
	double		of[EMB_TEAM_MAX];
	int32_t		n;
} Loads;

static void
take(Loads *loads, double cost)
{
	int32_t		free = 0;

	for (int32_t i = 1; i < loads->n; i++)
		if (loads->of[i] < loads->of[free])
			free = i;
	loads->of[free] += cost;
}

static double
longest(const Loads *loads)
{
	double		most = 0;

	for (int32_t i = 0; i < loads->n; i++)
		most = fmax(most, loads->of[i]);
	return most;
}

/* The time of rows that all threads share. */
static double
blocks_time(const EmbPlan *plan, int32_t n_rows)
{
	Loads		loads = {.n = plan->n_workers};
	int32_t		n_blocks = emb_plan_blocks(n_rows, block_rows < n_rows ? block_rows : n_rows, plan->n_workers);
	double		per_row = (double) emb_plan_text_cost(plan->arch, -1, 1);

	for (int32_t i = 0; i < n_blocks; i++)
		take(&loads, per_row * (n_rows * (i + 1) / n_blocks - n_rows * i / n_blocks));
	return longest(&loads);
}

/* The time of attention of rows from .. end - 1 of the batch. */
static double
attention_time(const EmbPlan *plan, int32_t first_seq, int32_t end_seq, int32_t from, int32_t end)
{
	Loads		loads = {.n = plan->n_workers};
	int32_t		n_heads = plan->arch->n_kv_heads;
	int32_t		n_parts;

	while (offsets[first_seq + 1] <= from)
		first_seq++;
	while (offsets[end_seq - 1] >= end)
		end_seq--;
	n_parts = emb_plan_query_parts(plan->batch, first_seq, end_seq, from, end, n_heads, plan->n_workers);
	for (int32_t seq = first_seq; seq < end_seq; seq++)
	{
		int32_t		n = offsets[seq + 1] - offsets[seq];
		int32_t		n_queries = emb_plan_text_queries(plan->batch, seq, from, end).n;
		double		cost = (double) (emb_plan_text_cost(plan->arch, 0, n) - emb_plan_text_cost(plan->arch, -n, n)) / n / n_heads;

		for (int32_t head = 0; head < n_heads; head++)
			for (int32_t part = 0; part < n_parts; part++)
				take(&loads, cost * (emb_plan_query_part(n_queries, n_parts, part + 1) - emb_plan_query_part(n_queries, n_parts, part)));
	}
	return longest(&loads);
}

static double
group_time(const EmbPlan *plan, int32_t first_seq, int32_t end_seq)
{
	int32_t		segment = plan->n_workers * SEGMENT_ROWS > 512 ? plan->n_workers * SEGMENT_ROWS : 512;
	double		time = 0;

	for (int32_t from = offsets[first_seq], end; from < offsets[end_seq]; from = end)
	{
		end = emb_plan_segment_end(from, offsets[end_seq], segment);
		time += attention_time(plan, first_seq, end_seq, from, end) + blocks_time(plan, end - from);
	}
	return time;
}

/* The share of the threads' time in which they wait for others. */
static double
loss(const EmbArch *arch, int32_t n_seqs, int32_t n_threads, double *parts_share)
{
	EmbBatch	batch = {.n_seqs = n_seqs, .offsets = offsets};
	EmbPlan		plan = {.arch = arch, .batch = &batch, .starts = starts};
	int32_t		n_useful = offsets[n_seqs] / THREAD_TOKENS_MIN;
	Loads		loads = {0};
	double		total = 0;
	double		time;
	double		single = 0;

	plan.n_workers = n_useful < 1 ? 1 : n_useful < n_threads ? n_useful : n_threads;
	emb_plan_make(&plan, PART_TOKENS);
	loads.n = plan.n_workers;
	for (int32_t part = 0; part < plan.n_parts; part++)
	{
		double		cost = 0;

		for (int32_t seq = starts[part]; seq < starts[part + 1]; seq++)
			cost += (double) emb_plan_text_cost(arch, 0, offsets[seq + 1] - offsets[seq]);
		total += cost;
		if (part < plan.n_single)
		{
			take(&loads, cost);
			single += cost;
		}
	}
	time = longest(&loads);
	for (int32_t part = plan.n_single, end; part < plan.n_parts; part = end)
	{
		end = emb_plan_group_end(&plan, part);
		time += group_time(&plan, starts[part], starts[end]);
	}
	*parts_share = single / total;
	return 1 - total / plan.n_workers / time;
}

/* -------------------------------------------------------------- lengths */

typedef struct Mixture
{
	const char *name;
	int32_t		(*length) (int32_t i, int32_t n);
} Mixture;

static int32_t
equal(int32_t i, int32_t n)
{
	(void) i;
	return n;
}

static int32_t
uniform(int32_t i, int32_t n)
{
	(void) i;
	return 1 + (int32_t) (random_share() * (2 * n - 1));
}

/* Many short texts, few long ones. */
static int32_t
skewed(int32_t i, int32_t n)
{
	(void) i;
	return (int32_t) (n * 0.5 / (1.001 - random_share()));
}

static int32_t
falling(int32_t i, int32_t n)
{
	return 4 * n / (1 + i % 8);
}

static int32_t
rising(int32_t i, int32_t n)
{
	return 1 + n * (i % 16) / 8;
}

static int32_t
long_first(int32_t i, int32_t n)
{
	return i == 0 ? 512 : n;
}

static int32_t
long_between(int32_t i, int32_t n)
{
	return i % 9 == 8 ? 512 : n;
}

static const Mixture mixtures[] = {
	{"equal", equal}, {"uniform", uniform}, {"skewed", skewed}, {"falling", falling}, {"rising", rising},
	{"long first", long_first}, {"long between", long_between}
};

/* Texts until the batch is full. Returns their number. */
static int32_t
fill(const Mixture *mixture, int32_t n, int32_t n_tokens)
{
	int32_t		n_seqs = 0;

	while (n_seqs < TEXTS_MAX && offsets[n_seqs] < n_tokens)
	{
		int32_t		length = mixture->length(n_seqs, n);

		length = length < 1 ? 1 : length > 512 ? 512 : length;
		offsets[n_seqs + 1] = offsets[n_seqs] + length;
		n_seqs++;
	}
	return n_seqs;
}

static void
check_mixture(const EmbArch *arch, const Mixture *mixture, int32_t n_threads)
{
	static const int32_t lengths[] = {5, 16, 20, 37, 64, 100, 128, 150, 200, 256, 300, 400, 512};
	double		worst = 0;
	double		sum = 0;
	double		sum_parts = 0;
	int			n_batches = 0;
	int32_t		worst_length = 0;
	int32_t		worst_tokens = 0;
	int			n_over = 0;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++)
		for (int32_t n_tokens = 64 > 32 * n_threads ? 64 : 32 * n_threads; n_tokens <= 32768; n_tokens = n_tokens * 5 / 4 + 3)
		{
			double		share;
			double		lost = loss(arch, fill(mixture, lengths[i], n_tokens), n_threads, &share);

			sum += lost;
			sum_parts += share;
			n_batches++;
			n_over += lost > LOSS_MAX;
			if (lost > worst)
			{
				worst = lost;
				worst_length = lengths[i];
				worst_tokens = n_tokens;
			}
		}
	printf("# %d threads, %d wide, %s: %.1f %% on the average, %.1f %% at most (length %d, %d tokens), %d of %d over; %.0f %% in parts\n", n_threads, arch->hidden, mixture->name,
		   sum / n_batches * 100, worst * 100, worst_length, worst_tokens, n_over, n_batches, sum_parts / n_batches * 100);
	CHECKF(worst <= LOSS_MAX, "%d threads, %s: %.1f %% lost with texts of about %d tokens, %d in all", n_threads, mixture->name, worst * 100,
		   worst_length, worst_tokens);
}

int
main(void)
{
	static const int32_t threads[] = {2, 4, 8, 16, 64};
	EmbArch		archs[] = {bert(384, 12), bert(1024, 16)};

	for (int a = 0; a < 2; a++)
	{
		block_rows = blocks[a];
		for (size_t t = 0; t < sizeof(threads) / sizeof(*threads); t++)
			for (size_t i = 0; i < sizeof(mixtures) / sizeof(*mixtures); i++)
				check_mixture(&archs[a], &mixtures[i], threads[t]);
	}
	return done_testing();
}
