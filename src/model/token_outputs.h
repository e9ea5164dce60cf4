/*
 * token_outputs.h
 *		The outputs of emb_model_embed_all besides vectors. Copies a batch's
 *		token results to each sequence's place in EmbOutputs.
 *
 * Example:
 *
 *		emb_outputs_begin(&plan, model, seqs, n_seqs, outputs, max_tokens, max_seqs, mem, err);
 *		while (next_batch(members, &n, offsets))
 *		{
 *			emb_outputs_place(&plan, members, n, offsets);
 *			run_transformer(&plan.tokens);
 *			emb_outputs_collect(&plan, members, n, offsets, err);
 *		}
 *		emb_outputs_copy(&plan, from, to, err);	// of equal sequences
 *		emb_outputs_end(&plan, mem);
 */
#ifndef EMB_MODEL_TOKEN_OUTPUTS_H
#define EMB_MODEL_TOKEN_OUTPUTS_H

#include "model/model.h"

typedef struct EmbOutputPlan
{
	const EmbModel *model;
	const EmbSequence *seqs;
	const EmbOutputs *outputs;
	size_t	   *starts;			/* [n_seqs] number of token vectors before each sequence */
	EmbAllocator mem;			/* of the call; results of sequences come from it */
	uint64_t   *keys;			/* [tokens of a batch] id and weight of each token, for sorting */
	EmbTokenOutputs tokens;		/* for one batch */
} EmbOutputPlan;

/*
 * The number of sequences whose logits over the vocabulary, of the largest
 * vocabularies a megabyte each, are in memory at a time; INT32_MAX if the
 * outputs need none.
 */
extern int32_t emb_outputs_max_seqs(const EmbModel *model, const EmbOutputs *outputs);

/* max_tokens, max_seqs: of a batch. Call emb_outputs_end whatever the status is. */
extern EmbStatus emb_outputs_begin(EmbOutputPlan *plan, const EmbModel *model, const EmbSequence *seqs, int32_t n_seqs,
								   const EmbOutputs *outputs, int32_t max_tokens, int32_t max_seqs, const EmbAllocator *mem, EmbError *err);
extern void emb_outputs_end(EmbOutputPlan *plan, const EmbAllocator *mem);

/* members: [n] the sequences of a batch; offsets: [n + 1] their token offsets in the batch. */
extern void emb_outputs_place(EmbOutputPlan *plan, const int32_t *members, int32_t n, const int32_t *offsets);
extern EmbStatus emb_outputs_collect(EmbOutputPlan *plan, const int32_t *members, int32_t n, const int32_t *offsets, EmbError *err);

extern EmbStatus emb_outputs_copy(EmbOutputPlan *plan, int32_t from, int32_t to, EmbError *err);

/* The weights of a sequence from the largest logits of all entries of the vocabulary. */
extern EmbStatus emb_outputs_weigh(EmbOutputPlan *plan, int32_t seq, const float *maxima, EmbError *err);

#endif
