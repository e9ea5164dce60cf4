/*
 * text_batch.h
 *		Texts of one call or group, computed embed.batch_tokens at a time.
 *
 * Example:
 *
 *		embed_batch_init(&batch, CurrentMemoryContext, &sink);
 *		while (next_text(ids, &n_ids))
 *			embed_batch_add(&batch, ref, ids, NULL, n_ids);
 *		embed_batch_run(&batch, ref);
 *
 * A batch holds only ids (for pairs also type ids), for as many texts as the
 * core computes at once (emb_batch_has_room). When the next text does not fit,
 * the waiting texts are computed and go to the sink in the order they came.
 */
#ifndef EMBED_PG_CALL_TEXT_BATCH_H
#define EMBED_PG_CALL_TEXT_BATCH_H

#include "pg/call/proofs.h"
#include "pg/call/shared_prefix.h"

typedef struct EmbedBatchSink
{
	void	   *ctx;
	/* where n vectors (logits: dim is 1) go: [n, dim]; valid until done returns */
	float	   *(*reserve) (void *ctx, int32 n);
	void		(*done) (void *ctx, const float *vectors, int32 n);
} EmbedBatchSink;

typedef struct EmbedBatch
{
	MemoryContext cxt;
	EmbedBatchSink sink;
	EmbedPrefix *prefix;		/* of the call site that adds or runs, for pairs; NULL: a prefix is shared within a batch only */
	int32	   *ids;			/* [n_ids], of all texts, end to end */
	int32		n_ids;
	int32		ids_room;
	int32	   *type_ids;		/* the same for pairs; NULL for single texts */
	int32		types_room;
	int32	   *lengths;		/* [n_texts] */
	int32	   *shared;			/* [n_texts] ids that texts of one query begin with, see EmbSequence */
	int32		n_texts;
	int32		texts_room;
	int32		shared_room;
	EmbedProofKey *proof_keys;	/* [n_texts] where embed_batch_prove is called for each, else NULL */
	int32		proofs_room;
} EmbedBatch;

extern void embed_batch_init(EmbedBatch *batch, MemoryContext cxt, const EmbedBatchSink *sink);
/* Documents, or type_ids of pairs, for all of a batch; NULL for single texts. */
extern void embed_batch_add(EmbedBatch *batch, const EmbedModelRef *ref, const int32 *ids, const int32 *type_ids, int32 n_ids);

/* Directly after embed_batch_add: how many ids its pair shares with others of its query. */
extern void embed_batch_share(EmbedBatch *batch, int32 n_shared);

/*
 * Called directly after embed_batch_add, with the text and its model. The text
 * then leaves a proof (proofs.h). Call it for each text of a batch, or for
 * none.
 */
extern void embed_batch_prove(EmbedBatch *batch, const EmbedModelRef *ref, Datum value, bool truncated);

/* Computes the waiting texts, if there are any. */
extern void embed_batch_run(EmbedBatch *batch, const EmbedModelRef *ref);

/* prompt: with which the texts were read. out: [n_seqs, dim]; logits of a reranker. Raises what the core reports. */
extern void embed_compute(const EmbedModelRef *ref, EmbPrompt prompt, const EmbSequence *seqs, int32 n_seqs, EmbedPrefix *prefix, float *out);

/*
 * The same with the other outputs besides vectors. outputs->sparse: zeros
 * before; the ids of each are then a block of the current context.
 */
extern void embed_compute_all(const EmbedModelRef *ref, EmbPrompt prompt, const EmbSequence *seqs, int32 n_seqs, const EmbOutputs *outputs);

/* Weights of a query's tokens from the model's table, like outputs->sparse. */
extern void embed_query_weights(const EmbedModelRef *ref, const EmbSequence *seq, EmbSparse *sparse);

#endif
