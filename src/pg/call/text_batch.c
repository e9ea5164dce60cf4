/*
 * text_batch.c
 *		Texts of one call or group, computed embed.batch_tokens at a time.
 */
#include "pg/call/text_batch.h"

#include <time.h>

#include "miscadmin.h"

#define IDS_ROOM_FIRST		256
#define TEXTS_ROOM_FIRST	16

/* Times of a computation. */
typedef struct ComputeClock
{
	uint64		wall_ns;
	uint64		cpu_ns;
} ComputeClock;

static uint64
thread_cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (uint64) used.tv_sec * 1000000000 + used.tv_nsec;
}

/* Returns the number of threads to use. */
static int
start_clock(ComputeClock *clock)
{
	clock->wall_ns = embed_clock_ns();
	clock->cpu_ns = thread_cpu_ns();
	return embed_threads_begin(clock->wall_ns);
}

/* Time in which this thread did not run counts as waiting: for a CPU, the disk, its helpers. */
static void
stop_clock(const ComputeClock *clock, EmbedStat *stat)
{
	uint64		now = embed_clock_ns();
	uint64		wall = now - clock->wall_ns;
	uint64		cpu = Min(thread_cpu_ns() - clock->cpu_ns, wall);

	embed_threads_end(now);
	embed_stat_add(stat, EMBED_COMPUTE_NS, cpu);
	embed_stat_add(stat, EMBED_WAIT_NS, wall - cpu);
}

/* Moves the weights from scratch memory to the current context. */
static void
keep_sparse(EmbSparse *sparse)
{
	Size		n = sparse->n;
	int32	   *block = palloc(n * (sizeof(int32) + sizeof(float)) + 1);

	if (n > 0)
	{
		memcpy(block, sparse->ids, n * sizeof(int32));
		memcpy(block + n, sparse->weights, n * sizeof(float));
	}
	sparse->ids = block;
	sparse->weights = (float *) (block + n);
}

/* The one place where pg/ computes. Fills outputs (of an embedding model) or, if outputs is NULL, out. */
static void
compute(const EmbedModelRef *ref, EmbPrompt prompt, const EmbSequence *seqs, int32 n_seqs, EmbedPrefix *prefix, float *out, const EmbOutputs *outputs)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "embed scratch",
												  ALLOCSET_DEFAULT_SIZES);
	EmbAllocator mem = embed_allocator(scratch);
	EmbStop		stop = embed_stop();
	int64_t		n_reused = 0;
	EmbRun		run = {.mem = &mem, .stop = &stop, .batch_tokens = embed_guc_batch_tokens, .n_threads = 1, .n_reused = &n_reused,
	.prompt = prompt};
	EmbError	err;
	EmbStatus	status;
	ComputeClock clock;

	CHECK_FOR_INTERRUPTS();
	embed_isa_apply();
	if (prefix != NULL && seqs[0].n_shared > 0)
		run.memo = embed_prefix_use(prefix);
	run.n_threads = start_clock(&clock);
	if (outputs != NULL)
		status = emb_model_embed_all(ref->model, seqs, n_seqs, &run, outputs, &err);
	else if (ref->info->kind == EMB_KIND_RERANKER)
		status = emb_model_rerank(ref->model, seqs, n_seqs, &run, out, &err);
	else
		status = emb_model_embed(ref->model, seqs, n_seqs, &run, out, &err);
	stop_clock(&clock, ref->stat);
	embed_stat_add(ref->stat, EMBED_PREFIX_TOKENS, n_reused);
	for (int32 i = 0; outputs != NULL && outputs->sparse != NULL && i < n_seqs; i++)
		keep_sparse(&outputs->sparse[i]);
	/* not left to its parent context, which may live much longer in an aggregate */
	MemoryContextDelete(scratch);
	embed_registry_check(ref, status, &err);
}

void
embed_compute(const EmbedModelRef *ref, EmbPrompt prompt, const EmbSequence *seqs, int32 n_seqs, EmbedPrefix *prefix, float *out)
{
	compute(ref, prompt, seqs, n_seqs, prefix, out, NULL);
}

void
embed_compute_all(const EmbedModelRef *ref, EmbPrompt prompt, const EmbSequence *seqs, int32 n_seqs, const EmbOutputs *outputs)
{
	compute(ref, prompt, seqs, n_seqs, NULL, NULL, outputs);
}

void
embed_query_weights(const EmbedModelRef *ref, const EmbSequence *seq, EmbSparse *sparse)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "embed scratch", ALLOCSET_SMALL_SIZES);
	EmbAllocator mem = embed_allocator(scratch);
	EmbError	err;
	EmbStatus	status = emb_model_query_weights(ref->model, seq, &mem, sparse, &err);

	keep_sparse(sparse);
	MemoryContextDelete(scratch);
	embed_registry_check(ref, status, &err);
}

void
embed_batch_init(EmbedBatch *batch, MemoryContext cxt, const EmbedBatchSink *sink)
{
	memset(batch, 0, sizeof(*batch));
	batch->cxt = cxt;
	batch->sink = *sink;
}

/* Doubles an int32 array until n elements fit. */
static void
make_room(MemoryContext cxt, int32 **array, int32 *room, int64 n, int32 first)
{
	int64		wanted = *room > 0 ? *room : first;

	if (n <= *room)
		return;
	while (wanted < n)
		wanted *= 2;
	if (*array == NULL)
		*array = MemoryContextAlloc(cxt, wanted * sizeof(int32));
	else
		*array = repalloc(*array, wanted * sizeof(int32));
	*room = (int32) wanted;
}

void
embed_batch_add(EmbedBatch *batch, const EmbedModelRef *ref, const int32 *ids, const int32 *type_ids, int32 n_ids)
{
	if (!emb_batch_has_room(embed_guc_batch_tokens, batch->n_texts, batch->n_ids, n_ids))
		embed_batch_run(batch, ref);
	make_room(batch->cxt, &batch->ids, &batch->ids_room, batch->n_ids + (int64) n_ids, IDS_ROOM_FIRST);
	make_room(batch->cxt, &batch->lengths, &batch->texts_room, batch->n_texts + (int64) 1, TEXTS_ROOM_FIRST);
	make_room(batch->cxt, &batch->shared, &batch->shared_room, batch->n_texts + (int64) 1, TEXTS_ROOM_FIRST);
	if (n_ids > 0)
		memcpy(batch->ids + batch->n_ids, ids, n_ids * sizeof(int32));
	if (type_ids != NULL)
	{
		make_room(batch->cxt, &batch->type_ids, &batch->types_room, batch->n_ids + (int64) n_ids, IDS_ROOM_FIRST);
		memcpy(batch->type_ids + batch->n_ids, type_ids, n_ids * sizeof(int32));
	}
	batch->n_ids += n_ids;
	batch->shared[batch->n_texts] = 0;
	batch->lengths[batch->n_texts++] = n_ids;
}

void
embed_batch_share(EmbedBatch *batch, int32 n_shared)
{
	batch->shared[batch->n_texts - 1] = n_shared;
}

void
embed_batch_prove(EmbedBatch *batch, const EmbedModelRef *ref, Datum value, bool truncated)
{
	if (batch->proofs_room < batch->texts_room)
	{
		Size		size = batch->texts_room * sizeof(EmbedProofKey);

		if (batch->proof_keys == NULL)
			batch->proof_keys = MemoryContextAlloc(batch->cxt, size);
		else
			batch->proof_keys = repalloc(batch->proof_keys, size);
		batch->proofs_room = batch->texts_room;
	}
	batch->proof_keys[batch->n_texts - 1] = embed_proof_key(ref, value, truncated);
}

void
embed_batch_run(EmbedBatch *batch, const EmbedModelRef *ref)
{
	int32		n = batch->n_texts;
	EmbSequence *seqs;
	int32		at = 0;
	float	   *out;

	if (n == 0)
		return;
	/* the tables of models may have changed since the texts were read */
	embed_registry_check(ref, EMB_OK, NULL);
	out = batch->sink.reserve(batch->sink.ctx, n);
	seqs = palloc(n * sizeof(EmbSequence));
	for (int32 i = 0; i < n; i++)
	{
		seqs[i] = (EmbSequence) {.ids = batch->ids + at, .n_ids = batch->lengths[i],
			.type_ids = batch->type_ids != NULL ? batch->type_ids + at : NULL, .n_shared = batch->shared[i]};
		at += batch->lengths[i];
	}
	embed_compute(ref, EMB_PROMPT_DOCUMENT, seqs, n, batch->prefix, out);
	pfree(seqs);
	for (int32 i = 0; batch->proof_keys != NULL && i < n; i++)
		embed_proof_put(&batch->proof_keys[i], out + (Size) i * ref->info->dim, ref->info->dim);
	batch->n_texts = 0;
	batch->n_ids = 0;
	batch->sink.done(batch->sink.ctx, out, n);
}
