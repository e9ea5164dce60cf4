/*
 * scratch_util.h
 *		The memory that a computation may take at most: what the tests hold it to.
 */
#ifndef SCRATCH_UTIL_H
#define SCRATCH_UTIL_H

#include "model/model.h"
#include "transformer/dense.h"
#include "transformer/score.h"
#include "transformer/transformer.h"

/*
 * Scratch bytes of emb_model_embed or emb_model_rerank for sequences of at
 * most n_longest tokens on n_threads threads.
 */
static size_t
scratch_bytes(const EmbModel *model, int32_t batch_tokens, int32_t n_longest, int32_t n_threads)
{
	const size_t most = 1 << 20;
	size_t		n_tokens = batch_tokens <= 0 ? EMB_BATCH_TOKENS_DEFAULT : (size_t) batch_tokens < most ? (size_t) batch_tokens : most;
	bool		is_reranker = model->info.kind == EMB_KIND_RERANKER;
	int			n_special = emb_tok_n_special(model->tok, is_reranker);
	size_t		full_width = emb_arch_width(model->view.arch);
	size_t		row_width = is_reranker ? 1 : model->transformer.arch->hidden;
	size_t		n_seqs;

	if (n_longest > model->info.max_tokens)
		n_longest = model->info.max_tokens;
	if (n_longest < 1)
		n_longest = 1;
	if (n_tokens < (size_t) n_longest)
		n_tokens = n_longest;

	/* ids and their types; then, for as many texts as the batch can have: offset, member, row */
	n_seqs = n_tokens / (n_special > 1 ? n_special : 1) + 1;
	return emb_transformer_scratch_bytes(&model->transformer, (int32_t) n_tokens, n_longest, n_threads)
		+ (is_reranker ? emb_transformer_score_scratch_bytes(&model->transformer, (int32_t) n_seqs) : 0)
		+ n_tokens * (is_reranker ? 2 : 1) * sizeof(int32_t)
		+ (model->dense.n_layers > 0 ? emb_transformer_dense_scratch_bytes(&model->dense) + n_seqs * full_width * sizeof(float) : 0)
		+ n_seqs * (2 * sizeof(int32_t) + row_width * sizeof(float));
}

#endif
