/*
 * plan.c
 *		How the work of a batch is divided among threads.
 */
#include "transformer/plan.h"

/* The time that a worker may exceed the mean by, in percent. */
#define IMBALANCE_MAX	4

/* A smaller block is not worth handing to another thread. */
#define BLOCK_ROWS_MIN 16

/* Each part of a head's queries packs the keys again, which takes about as long as this many queries. */
#define PACK_QUERIES	16
#define PART_QUERIES_MIN 32

static int32_t
part_end(const EmbBatch *batch, int32_t first, int32_t n_tokens)
{
	int32_t		end = first + 1;

	while (end < batch->n_seqs && batch->offsets[end + 1] - batch->offsets[first] <= n_tokens)
		end++;
	return end;
}

static void
cut(EmbPlan *plan, int32_t n_tokens)
{
	plan->n_parts = 0;
	for (int32_t seq = 0; seq < plan->batch->n_seqs; seq = part_end(plan->batch, seq, n_tokens))
		plan->starts[plan->n_parts++] = seq;
	plan->starts[plan->n_parts] = plan->batch->n_seqs;
}

/* Multiply-adds of a token in the linear layers of a layer. */
static int64_t
linear_macs(const EmbArch *a)
{
	return (int64_t) a->hidden * (2 * (emb_arch_query_width(a) + emb_arch_key_width(a)) + emb_arch_wide(a) + a->intermediate);
}

/* Of the keys in a causal text a token sees half on the average. */
int64_t
emb_plan_text_cost(const EmbArch *arch, int32_t n_prefix, int32_t n)
{
	return n * (linear_macs(arch) + ((int64_t) n_prefix + n) * (arch->is_causal ? 1 : 2) * emb_arch_query_width(arch));
}

static int64_t
part_cost(const EmbPlan *plan, int32_t part)
{
	const EmbBatch *batch = plan->batch;
	int32_t		n_prefix = batch->prefix != NULL ? batch->n_prefix : 0;
	int64_t		cost = 0;

	for (int32_t seq = plan->starts[part]; seq < plan->starts[part + 1]; seq++)
		cost += emb_plan_text_cost(plan->arch, n_prefix, batch->offsets[seq + 1] - batch->offsets[seq]);
	return cost;
}

/* The time in which all workers together compute parts of this cost, as far as there are blocks for them. */
static int64_t
shared_time(const EmbPlan *plan, int32_t first, int64_t cost)
{
	const int32_t *offsets = plan->batch->offsets;
	int32_t		n_blocks = (offsets[plan->batch->n_seqs] - offsets[plan->starts[first]]) / BLOCK_ROWS_MIN;

	return cost / (n_blocks < 1 ? 1 : n_blocks < plan->n_workers ? n_blocks : plan->n_workers);
}

/*
 * The largest number of parts, from the first on, that keeps all workers busy
 * for about equal time if each takes the next part as soon as it is free, and
 * all share the rest.
 */
static int32_t
count_single(const EmbPlan *plan)
{
	int64_t		loads[EMB_TEAM_MAX] = {0};
	int64_t		total = 0;
	int64_t		left;
	int64_t		longest = 0;
	int32_t		n_single = 0;

	if (plan->n_workers == 1)
		return plan->n_parts;
	for (int32_t part = 0; part < plan->n_parts; part++)
		total += part_cost(plan, part);
	left = total;
	for (int32_t part = 0; part < plan->n_parts; part++)
	{
		int64_t		cost = part_cost(plan, part);
		int32_t		free = 0;

		for (int32_t i = 1; i < plan->n_workers; i++)
			if (loads[i] < loads[free])
				free = i;
		loads[free] += cost;
		left -= cost;
		longest = loads[free] > longest ? loads[free] : longest;
		if ((longest + shared_time(plan, part + 1, left)) * plan->n_workers * 100 <= total * (100 + IMBALANCE_MAX))
			n_single = part + 1;
	}
	return n_single;
}

/*
 * As few parts for each worker as n_tokens allows, all of about the same size.
 * False: the texts do not come out even. Workers that share a batch have no more
 * rows in a product, and wait for each other twice a layer.
 */
static bool
cut_evenly(EmbPlan *plan, int32_t n_tokens)
{
	const int32_t *offsets = plan->batch->offsets;
	int32_t		n_seqs = plan->batch->n_seqs;
	int64_t		total = offsets[n_seqs];
	int32_t		seq = 0;

	plan->n_parts = (int32_t) ((total - 1) / ((int64_t) n_tokens * plan->n_workers) + 1) * plan->n_workers;
	if (plan->n_parts > n_seqs)
		return false;
	for (int32_t part = 0; part < plan->n_parts; part++)
	{
		int64_t		end = total * (part + 1) / plan->n_parts;
		int32_t		first = seq;

		plan->starts[part] = first;
		while (seq < n_seqs && offsets[seq + 1] <= end)
			seq++;
		/* the nearest end of a text */
		if (seq < n_seqs && offsets[seq + 1] - end < end - offsets[seq])
			seq++;
		if (seq == first || (seq > first + 1 && offsets[seq] - offsets[first] > n_tokens))
			return false;
	}
	plan->starts[plan->n_parts] = n_seqs;
	return count_single(plan) == plan->n_parts;
}

void
emb_plan_make(EmbPlan *plan, int32_t n_tokens)
{
	if (plan->n_workers == 1 || !cut_evenly(plan, n_tokens))
		cut(plan, n_tokens);
	plan->n_single = count_single(plan);
}

int32_t
emb_plan_group_end(const EmbPlan *plan, int32_t first)
{
	const int32_t *offsets = plan->batch->offsets;
	int32_t		n_left = plan->n_parts - first;
	int32_t		n_groups = (n_left - 1) / plan->n_workers + 1;
	int32_t		begin = offsets[plan->starts[first]];
	int32_t		n_tokens = (offsets[plan->starts[plan->n_parts]] - begin) / n_groups;
	int32_t		end = n_left - (n_groups - 1) * plan->n_workers;

	/* of about the same number of tokens; the groups after this one have room for what is left */
	end = first + (end < 1 ? 1 : end);
	while (end < plan->n_parts && end - first < plan->n_workers && offsets[plan->starts[end]] - begin < n_tokens)
		end++;
	return end;
}

int32_t
emb_plan_segment_end(int32_t first, int32_t end, int32_t n_most)
{
	int32_t		n_segments = (end - first - 1) / n_most + 1;

	return first + (end - first - 1) / n_segments + 1;
}

int32_t
emb_plan_blocks(int32_t n_rows, int32_t block_rows, int32_t n_workers)
{
	int32_t		n_blocks = (n_rows - 1) / block_rows + 1;
	int32_t		n_most = n_rows / BLOCK_ROWS_MIN;
	int32_t		even = (n_blocks + n_workers - 1) / n_workers * n_workers;

	/* a number of blocks that divides evenly among the workers, or else keeps most of them busy */
	even = even < n_most ? even : n_most;
	return n_workers > 1 && even > n_blocks ? even : n_blocks;
}

static int32_t
query_parts_max(int32_t n_queries)
{
	return n_queries < 2 * PART_QUERIES_MIN ? 1 : n_queries / PART_QUERIES_MIN;
}

EmbTextQueries
emb_plan_text_queries(const EmbBatch *batch, int32_t seq, int32_t from, int32_t end)
{
	int32_t		start = batch->offsets[seq];
	int32_t		first = from > start ? from : start;
	int32_t		last = end < batch->offsets[seq + 1] ? end : batch->offsets[seq + 1];

	return (EmbTextQueries) {.first = first - start, .n = last - first};
}

int32_t
emb_plan_query_parts(const EmbBatch *batch, int32_t first_seq, int32_t end_seq, int32_t from, int32_t end, int32_t n_heads,
					 int32_t n_workers)
{
	int32_t		n_prefix = batch->prefix != NULL ? batch->n_prefix : 0;
	int64_t		products = 0;	/* queries by keys */
	int64_t		products_max = 0;
	int32_t		n_queries = 1;	/* of the text with the most products */
	int32_t		n_parts = 1;
	int64_t		least = INT64_MAX;

	for (int32_t seq = first_seq; seq < end_seq; seq++)
	{
		int32_t		n = emb_plan_text_queries(batch, seq, from, end).n;
		int64_t		of_text = (int64_t) n * (n_prefix + batch->offsets[seq + 1] - batch->offsets[seq]);

		products += of_text;
		if (of_text > products_max)
		{
			products_max = of_text;
			n_queries = n;
		}
	}
	for (int32_t n = 1; n <= query_parts_max(n_queries) && n <= n_workers; n++)
	{
		/* as if all texts were like the longest; a worker may begin a piece of another length when the rest are done */
		int64_t		n_pieces = (products * n_heads * n - 1) / products_max + 1;
		int64_t		rounds = (n_pieces - 1) / n_workers + 1 + (products % products_max != 0);
		int64_t		queries = rounds * ((n_queries - 1) / n + 1 + PACK_QUERIES);

		if (queries < least)
		{
			least = queries;
			n_parts = n;
		}
	}
	return n_parts;
}

int32_t
emb_plan_query_part(int32_t n_queries, int32_t n_parts, int32_t part)
{
	int32_t		n_most = query_parts_max(n_queries);

	n_parts = n_parts < n_most ? n_parts : n_most;
	return part < n_parts ? (int32_t) ((int64_t) n_queries * part / n_parts) : n_queries;
}
