/*
 * batch.c
 *		Splits a batch into parts that stay in a core's own cache.
 *
 * A part has as many texts as have activations for the size of the
 * second-level cache, at least one. Each worker takes whole parts, so that workers meet once per batch and
 * not twice per layer. Left-over parts, and a single text, go to all workers
 * together. plan.c says which.
 *
 * Measured on Zen 4 (1 MB of second-level cache), bge-small in int8, one
 * thread, tokens/s at 32 texts of 128, 64 and 16 tokens: all at once 7,780
 * 8,300 9,010; 384 tokens a part 7,950 8,760 9,080; 256 8,110 8,830 9,220; 128
 * 7,860 8,550 9,150; 96 8,100 8,350 8,950.
 */
#include <string.h>

#include "kernels/cpu.h"
#include "transformer/pass.h"
#include "transformer/plan.h"
#include "transformer/static.h"

/*
 * A part's activations take about a second-level cache, although weights and a
 * block's rows pass through it: this part of it more.
 */
#define PART_MORE		16

/* With fewer rows per product, loading the weights dominates; more rows gain nothing. */
#define PART_TOKENS_MIN 64
#define PART_TOKENS_MAX 256

/* Fewer tokens per worker are not worth splitting. */
#define THREAD_TOKENS_MIN 16

/* A worker's pass over a part, followed by its buffers. */
typedef struct PartPass
{
	EmbPass pass;
	EmbBatch	part;
	EmbStatus	status;
	EmbError	err;
} PartPass;

typedef struct Job
{
	const EmbPass *common;	/* shared by all passes */
	const EmbBatch *batch;
	const EmbStop *stop;
	_Atomic bool *stopped;
	float	   *out;
	EmbPlan		plan;
	char	   *scratch;
	size_t		part_pass_bytes;
} Job;

/* -------------------------------------------------------------- checks */

static EmbStatus
check_lengths(const EmbArch *arch, const EmbBatch *batch, int32_t *n_longest, EmbError *err)
{
	int32_t		n_prefix = batch->prefix != NULL ? batch->n_prefix : 0;

	*n_longest = 0;
	if (n_prefix > 0 && (!emb_prefix_is_possible(arch) || n_prefix > batch->prefix->n_tokens))
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "malformed prefix of %d tokens", (int) n_prefix);
	if (batch->n_seqs < 0 || (batch->n_seqs > 0 && batch->offsets[0] != 0))
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "malformed batch of %d texts", (int) batch->n_seqs);
	for (int32_t seq = 0; seq < batch->n_seqs; seq++)
	{
		int64_t		n = (int64_t) batch->offsets[seq + 1] - batch->offsets[seq];

		if (n < 1 || n_prefix + n > arch->n_positions)
			return emb_error(err, EMB_ERR_INVALID_ARGUMENT,
							 "text %d of the batch has %lld tokens, the model takes 1 to %d",
							 (int) seq, (long long) n, (int) arch->n_positions - n_prefix);
		if (batch->n_seen != NULL && (n_prefix > 0 || arch->is_causal || batch->n_seen[seq] < 1 || batch->n_seen[seq] > n))
			return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "attention cannot see %d of the %lld tokens of text %d of the batch",
							 (int) batch->n_seen[seq], (long long) n, (int) seq);
		if (n_prefix + n > *n_longest)
			*n_longest = (int32_t) (n_prefix + n);
	}
	return EMB_OK;
}

static EmbStatus
check_ids(const EmbArch *arch, const EmbBatch *batch, EmbError *err)
{
	int32_t		n_tokens = batch->offsets[batch->n_seqs];

	for (int32_t i = 0; i < n_tokens; i++)
	{
		if (batch->ids[i] < 0 || batch->ids[i] >= arch->n_vocab)
			return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "token id %d is outside the vocabulary of %d",
							 (int) batch->ids[i], (int) arch->n_vocab);
		if (batch->type_ids != NULL && arch->n_types > 0 && (batch->type_ids[i] < 0 || batch->type_ids[i] >= arch->n_types))
			return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "token type %d is outside the %d types of the model",
							 (int) batch->type_ids[i], (int) arch->n_types);
	}
	return EMB_OK;
}

/* --------------------------------------------------------------- parts */

static int32_t
part_tokens(const EmbArch *arch)
{
	size_t		bytes = emb_cpu_l2_bytes() + emb_cpu_l2_bytes() / PART_MORE;
	/* x and the context as fp32, q, k and v as bytes */
	size_t		n = bytes / (4 * (size_t) arch->hidden + 5 * (size_t) emb_arch_query_width(arch) +
							  2 * (size_t) emb_arch_key_width(arch));

	return n < PART_TOKENS_MIN ? PART_TOKENS_MIN : n < PART_TOKENS_MAX ? (int32_t) n : PART_TOKENS_MAX;
}

/* -------------------------------------------------------------- passes */

/*
 * Tokens, texts and the longest text (prefix included) in a run of parts; keeps the maximum with
 * earlier values.
 */
typedef struct Extent
{
	int32_t		n_tokens;
	int32_t		n_seqs;
	int32_t		n_longest;
} Extent;

static void
extend(Extent *extent, const EmbBatch *batch, int32_t first, int32_t end)
{
	int32_t		n_tokens = batch->offsets[end] - batch->offsets[first];

	extent->n_tokens = n_tokens > extent->n_tokens ? n_tokens : extent->n_tokens;
	extent->n_seqs = end - first > extent->n_seqs ? end - first : extent->n_seqs;
	for (int32_t seq = first; seq < end; seq++)
	{
		int32_t		n = batch->offsets[seq + 1] - batch->offsets[seq] + (batch->prefix != NULL ? batch->n_prefix : 0);

		extent->n_longest = n > extent->n_longest ? n : extent->n_longest;
	}
}

static size_t
part_pass_head_bytes(int32_t n_seqs)
{
	return emb_round_up(sizeof(PartPass), EMB_ALIGNMENT) +
		emb_round_up(((size_t) n_seqs + 1) * sizeof(int32_t), EMB_ALIGNMENT);
}

static size_t
part_pass_bytes(const EmbTransformer *transformer, Extent extent, int32_t n_workers)
{
	EmbPass pass;

	return part_pass_head_bytes(extent.n_seqs) +
		emb_pass_lay_out(&pass, transformer, extent.n_tokens, extent.n_longest, n_workers, NULL);
}

/* Runs texts first .. end - 1 on n_workers workers, with buffers at base. */
static void
run_texts(const Job *job, PartPass *run, int32_t first, int32_t end, int32_t n_workers, const EmbStop *stop)
{
	char	   *base = (char *) run;
	const EmbBatch *batch = job->batch;
	const EmbTransformer *transformer = job->common->transformer;
	int32_t    *offsets = (int32_t *) (base + emb_round_up(sizeof(PartPass), EMB_ALIGNMENT));
	int32_t		origin = batch->offsets[first];
	Extent		extent = {0};

	extend(&extent, batch, first, end);
	for (int32_t seq = first; seq <= end; seq++)
		offsets[seq - first] = batch->offsets[seq] - origin;
	run->part = (EmbBatch) {
		.n_seqs = end - first,
		.offsets = offsets,
		.n_unpooled = job->batch->n_unpooled,
		.ids = batch->ids + origin,
		.type_ids = batch->type_ids == NULL ? NULL : batch->type_ids + origin,
		.n_seen = batch->n_seen == NULL ? NULL : batch->n_seen + first,
		.prefix = batch->prefix,
		.n_prefix = batch->n_prefix
	};
	run->pass = *job->common;
	run->pass.batch = &run->part;
	run->pass.first_token = origin;
	run->pass.first_text = first;
	run->pass.stopped = job->stopped;
	run->pass.team.n_workers = n_workers;
	emb_pass_lay_out(&run->pass, transformer, extent.n_tokens, extent.n_longest, n_workers,
					 base + part_pass_head_bytes(extent.n_seqs));
	run->status = emb_pass_run(&run->pass, stop, job->out + (size_t) first * emb_arch_pooled_width(transformer->arch), &run->err);
}

static PartPass *
part_pass_of(const Job *job, int32_t worker)
{
	return (PartPass *) (job->scratch + worker * job->part_pass_bytes);
}

static void
run_part(void *ctx, int32_t part, int32_t worker)
{
	Job		   *job = ctx;
	PartPass	   *run = part_pass_of(job, worker);

	/* keep the first error */
	if (run->status == EMB_OK)
		run_texts(job, run, job->plan.starts[part], job->plan.starts[part + 1], 1, worker == 0 ? job->stop : NULL);
}

/* The caller has no part left: it polls stop for the workers that still work. */
static void
ask_while_waiting(void *ctx)
{
	Job		   *job = ctx;

	if (emb_should_stop(job->stop))
		atomic_store_explicit(job->stopped, true, memory_order_relaxed);
}

/* Passes a worker's error on; err may be NULL. */
static EmbStatus
failed(const PartPass *run, EmbError *err)
{
	if (err != NULL)
		*err = run->err;
	return run->status;
}

static EmbStatus
run_parts(Job *job, EmbTeam *team, EmbError *err)
{
	const EmbPlan *plan = &job->plan;
	PartPass	   *all = part_pass_of(job, 0);

	for (int32_t i = 0; i < plan->n_workers; i++)
		part_pass_of(job, i)->status = EMB_OK;
	team->while_waiting = ask_while_waiting;
	team->waiting_ctx = job;
	emb_team_run(team, plan->n_single, run_part, job);
	team->while_waiting = NULL;
	for (int32_t i = 0; i < plan->n_workers; i++)
		if (part_pass_of(job, i)->status != EMB_OK)
			return failed(part_pass_of(job, i), err);
	for (int32_t part = plan->n_single, end; part < plan->n_parts && all->status == EMB_OK; part = end)
	{
		end = emb_plan_group_end(plan, part);
		run_texts(job, all, plan->starts[part], plan->starts[end], plan->n_workers, job->stop);
	}
	return all->status != EMB_OK ? failed(all, err) : EMB_OK;
}

/* ---------------------------------------------------------------- jobs */

/* Bytes of all passes; sets the bytes of a single worker's pass. */
static size_t
measure(Job *job)
{
	const EmbTransformer *transformer = job->common->transformer;
	const EmbPlan *plan = &job->plan;
	Extent		single = {0};
	Extent		group = {0};
	size_t		single_bytes;
	size_t		group_bytes;

	for (int32_t part = 0; part < plan->n_single; part++)
		extend(&single, job->batch, plan->starts[part], plan->starts[part + 1]);
	for (int32_t part = plan->n_single, end; part < plan->n_parts; part = end)
	{
		end = emb_plan_group_end(plan, part);
		extend(&group, job->batch, plan->starts[part], plan->starts[end]);
	}
	job->part_pass_bytes = plan->n_single > 0 ? part_pass_bytes(transformer, single, 1) : part_pass_head_bytes(0);
	single_bytes = job->part_pass_bytes * plan->n_workers;
	group_bytes = plan->n_single < plan->n_parts ? part_pass_bytes(transformer, group, plan->n_workers) : 0;
	return single_bytes > group_bytes ? single_bytes : group_bytes;
}

/* job->plan has room for its parts, the team has joined. */
static EmbStatus
run_job(Job *job, EmbTeam *team, const EmbAllocator *mem, EmbError *err)
{
	size_t		bytes;
	EmbStatus	status;
	EmbFpState	fp;

	job->plan.n_workers = team->n_workers;
	emb_plan_make(&job->plan, part_tokens(job->plan.arch));
	bytes = measure(job);
	job->scratch = emb_alloc(mem, bytes);
	if (job->scratch == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory: %zu bytes for a batch of %d tokens",
						 bytes, (int) job->batch->offsets[job->batch->n_seqs]);
	fp = emb_fp_enter();
	status = run_parts(job, team, err);
	emb_fp_leave(fp);
	emb_release(mem, job->scratch);
	return status;
}

static EmbStatus
begin(const EmbTransformer *transformer, const EmbKernels *kernels, const EmbBatch *batch, EmbPass *common,
	  int32_t *n_longest, EmbError *err)
{
	EmbStatus	status = check_lengths(transformer->arch, batch, n_longest, err);

	if (status != EMB_OK)
		return status;
	memset(common, 0, sizeof(*common));
	common->transformer = transformer;
	common->arch = transformer->arch;
	common->batch = batch;
	common->kernels = kernels;
	common->end_layer = transformer->arch->n_layers;
	common->activate = emb_work_activation(kernels, transformer->arch->activation);
	if (common->activate == NULL)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "unknown activation %d", (int) transformer->arch->activation);
	return batch->n_seqs == 0 ? EMB_OK : check_ids(transformer->arch, batch, err);
}

EmbStatus
emb_transformer_run(const EmbTransformer *transformer, const EmbKernels *kernels, const EmbBatch *batch,
				 int32_t n_threads, const EmbAllocator *mem, const EmbStop *stop, float *out, EmbError *err)
{
	return emb_transformer_run_tokens(transformer, kernels, batch, n_threads, mem, stop, out, NULL, err);
}

EmbStatus
emb_transformer_run_tokens(const EmbTransformer *transformer, const EmbKernels *kernels, const EmbBatch *batch, int32_t n_threads,
						const EmbAllocator *mem, const EmbStop *stop, float *out, const EmbTokenOutputs *tokens,
						EmbError *err)
{
	EmbPass common;
	_Atomic bool stopped = false;
	Job			job = {.common = &common, .batch = batch, .stop = stop, .stopped = &stopped, .out = out};
	EmbTeam		team;
	int32_t		n_longest;
	int32_t		n_useful;
	int32_t    *starts;
	EmbStatus	status;

	if (transformer->arch->n_layers == 0)
		return emb_transformer_run_static(transformer, kernels, batch, stop, out, err);
	status = begin(transformer, kernels, batch, &common, &n_longest, err);
	if (status != EMB_OK || batch->n_seqs == 0)
		return status;
	common.compact = transformer->arch->pooling == EMB_POOL_CLS && tokens == NULL;
	common.tokens = tokens;
	starts = emb_alloc_array(mem, (size_t) batch->n_seqs + 1, sizeof(int32_t));
	if (starts == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a batch of %d texts", (int) batch->n_seqs);
	job.plan = (EmbPlan) {.arch = transformer->arch, .batch = batch, .starts = starts};
	n_useful = batch->offsets[batch->n_seqs] / THREAD_TOKENS_MIN;
	emb_team_join(&team, n_threads < n_useful ? n_threads : n_useful);
	status = run_job(&job, &team, mem, err);
	emb_team_leave(&team);
	emb_release(mem, starts);
	return status;
}

/*
 * One pass over the whole batch, by all threads together. x replaces the
 * pass's own hidden states unless it is NULL.
 */
static EmbStatus
run_whole(EmbPass *pass, int32_t n_longest, float *x, int32_t n_threads, const EmbAllocator *mem, const EmbStop *stop,
		  float *out, EmbError *err)
{
	const EmbTransformer *transformer = pass->transformer;
	int32_t		n_tokens = pass->batch->offsets[pass->batch->n_seqs];
	_Atomic bool stopped = false;
	Job			job = {.stop = stop, .stopped = &stopped};
	EmbTeam		team;
	char	   *scratch;
	EmbFpState	fp;
	EmbStatus	status;

	pass->stopped = &stopped;
	emb_team_join(&team, n_threads);
	pass->team = (EmbTeam) {.n_workers = team.n_workers, .while_waiting = ask_while_waiting, .waiting_ctx = &job};
	scratch = emb_alloc(mem, emb_pass_lay_out(pass, transformer, n_tokens, n_longest, team.n_workers, NULL));
	if (scratch == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory: %zu bytes for a batch of %d tokens",
						   emb_pass_lay_out(pass, transformer, n_tokens, n_longest, team.n_workers, NULL), (int) n_tokens);
	else
	{
		emb_pass_lay_out(pass, transformer, n_tokens, n_longest, team.n_workers, scratch);
		if (x != NULL)
			pass->x = x;
		fp = emb_fp_enter();
		status = emb_pass_run(pass, stop, out, err);
		emb_fp_leave(fp);
	}
	emb_team_leave(&team);
	emb_release(mem, scratch);
	return status;
}

/* Runs in one pass, because rows are counted over the whole batch. */
EmbStatus
emb_transformer_run_span(const EmbTransformer *transformer, const EmbKernels *kernels, const EmbBatch *batch,
						 const EmbLayerSpan *span, int32_t n_threads, const EmbAllocator *mem, const EmbStop *stop,
						 float *out, EmbError *err)
{
	EmbPass pass;
	int32_t		n_longest;
	EmbStatus	status;

	if (span->observe != NULL && emb_layers_quantize(transformer))
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "only an fp32 model can be observed");
	status = begin(transformer, kernels, batch, &pass, &n_longest, err);
	if (status != EMB_OK || batch->n_seqs == 0)
		return status;
	pass.first_layer = span->first;
	pass.end_layer = span->end;
	pass.observe = span->observe;
	pass.observe_ctx = span->observe_ctx;
	pass.keep = span->keep;
	return run_whole(&pass, n_longest, span->x, n_threads, mem, stop, out, err);
}

EmbStatus
emb_transformer_extend_prefix(const EmbTransformer *transformer, const EmbKernels *kernels, EmbPrefix *prefix,
							  const int32_t *ids, int32_t n_ids, int32_t n_threads, const EmbAllocator *mem,
							  const EmbStop *stop, EmbError *err)
{
	const int32_t offsets[] = {0, n_ids};
	EmbBatch	batch = {.n_seqs = 1, .offsets = offsets, .ids = ids, .prefix = prefix, .n_prefix = prefix->n_tokens};
	int32_t		n_useful = n_ids / THREAD_TOKENS_MIN;
	int32_t		n_longest;
	EmbPass		pass;
	EmbStatus	status;

	if (!emb_prefix_is_possible(transformer->arch) || n_ids > prefix->n_room - prefix->n_tokens)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "malformed prefix of %d and %d tokens", (int) prefix->n_tokens, (int) n_ids);
	status = begin(transformer, kernels, &batch, &pass, &n_longest, err);
	if (status != EMB_OK)
		return status;
	pass.compact = true;
	pass.keep = prefix;
	status = run_whole(&pass, n_longest, NULL, n_threads < n_useful ? n_threads : n_useful, mem, stop, NULL, err);
	if (status == EMB_OK)
		prefix->n_tokens += n_ids;
	return status;
}

EmbStatus
emb_transformer_run_observed(const EmbTransformer *transformer, const EmbKernels *kernels, const EmbBatch *batch,
						  int32_t n_threads, const EmbAllocator *mem, const EmbStop *stop,
						  EmbObserve observe, void *observe_ctx, float *out, EmbError *err)
{
	EmbLayerSpan span = {.end = transformer->arch->n_layers, .observe = observe, .observe_ctx = observe_ctx};

	return emb_transformer_run_span(transformer, kernels, batch, &span, n_threads, mem, stop, out, err);
}

/* A bound over all batches of n_tokens tokens: parts on their own, or one group of them. */
size_t
emb_transformer_scratch_bytes(const EmbTransformer *transformer, int32_t n_tokens, int32_t n_longest, int32_t n_threads)
{
	int32_t		n_workers = n_threads < 1 ? 1 : n_threads < EMB_TEAM_MAX ? n_threads : EMB_TEAM_MAX;
	int64_t		part = part_tokens(transformer->arch) > n_longest ? part_tokens(transformer->arch) : n_longest;
	int64_t		group = part * n_workers;
	Extent		single = {.n_longest = n_longest};
	Extent		all = {.n_longest = n_longest};
	size_t		single_bytes;
	size_t		all_bytes;

	if (transformer->arch->n_layers == 0)
		return 0;
	single.n_tokens = part < n_tokens ? (int32_t) part : n_tokens;
	all.n_tokens = group < n_tokens ? (int32_t) group : n_tokens;
	/* the other texts have at least one token each */
	single.n_seqs = single.n_tokens - n_longest + 1;
	all.n_seqs = all.n_tokens - n_longest + 1;
	single_bytes = part_pass_bytes(transformer, single, 1) * n_workers;
	all_bytes = part_pass_bytes(transformer, all, n_workers);
	return (single_bytes > all_bytes ? single_bytes : all_bytes) + ((size_t) n_tokens - n_longest + 2) * sizeof(int32_t);
}
