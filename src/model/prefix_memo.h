/*
 * prefix_memo.h
 *		The prefix that sequences share, within a call and from call to call.
 *
 * A memo holds keys and values of one prefix, and the shared ids of the last
 * call. Sequences of a call share a prefix that is computed once. A sequence
 * that is alone in its call has a prefix computed for it only if the call
 * before began alike: then the next call probably does so, too. A memo's
 * prefix serves as far as its ids are those of the sequences, and is extended
 * where sequences have more in common.
 */
#ifndef EMB_MODEL_PREFIX_MEMO_H
#define EMB_MODEL_PREFIX_MEMO_H

#include "model/model.h"
#include "transformer/prefix.h"

/* What a call takes from a memo; valid until the memo's next use. */
typedef struct EmbSharedPrefix
{
	const EmbPrefix *prefix;
	int32_t		n_tokens;		/* 0: none */
	int32_t		n_computed;		/* of these by this call */
} EmbSharedPrefix;

/*
 * The prefix for sequences that all begin with ids [n_ids], and have at least
 * one more id each. n_seqs: how many they are.
 */
extern EmbStatus emb_prefix_memo_share(EmbPrefixMemo *memo, const EmbModel *model, const int32_t *ids, int32_t n_ids, int32_t n_seqs,
									   const EmbRun *run, EmbSharedPrefix *shared, EmbError *err);

#endif
