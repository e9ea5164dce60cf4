/*
 * image_fuzz.h
 *		What the fuzz targets of images do with one: open it, and where it opens use
 *		it in every way.
 */
#ifndef IMAGE_FUZZ_H
#define IMAGE_FUZZ_H

#include <stdlib.h>
#include <string.h>

#include "../unit/image_util.h"
#include "model/embed_core.h"

#define MAX_IDS		64
#define MAX_FLOATS	16384		/* of a vector: EMB_ARCH_MAX_HIDDEN */

/* Long enough for what one text of 64 tokens should cost; a stop then. */
static bool
stop_after(void *ctx)
{
	return --*(int *) ctx < 0;
}

static bool
are_weights(const EmbSparse *sparse, const EmbModelInfo *info, bool above_zero)
{
	bool		ok = sparse->n >= 0 && sparse->n <= info->n_vocab;

	for (int32_t i = 0; ok && i < sparse->n; i++)
		ok = sparse->ids[i] >= 0 && sparse->ids[i] < info->n_vocab && (i == 0 || sparse->ids[i] > sparse->ids[i - 1]) &&
			(above_zero ? sparse->weights[i] > 0 : sparse->weights[i] != 0);
	return ok;
}

/* What the model gives of each token, if anything: in order, above zero, finite. */
static void
use_tokens(const EmbModel *model, const EmbSequence *seq, const EmbRun *run)
{
	static float multi[MAX_IDS * MAX_FLOATS];
	static float dense[MAX_FLOATS];
	const EmbModelInfo *info = emb_model_info(model);
	EmbSparse	sparse = {0};
	EmbSparse	query = {0};
	EmbOutputs	outputs = {.dense = info->has_dense ? dense : NULL};
	EmbStatus	status;

	if (info->has_sparse)
		outputs.sparse = &sparse;
	if (info->multi_dim > 0)
		outputs.multi = multi;
	status = emb_model_embed_all(model, seq, 1, run, &outputs, NULL);
	if (status == EMB_OK && !are_weights(&sparse, info, true))
		abort();
	emb_sparse_free(&sparse, run->mem);
	if (emb_model_query_weights(model, seq, run->mem, &query, NULL) == EMB_OK && !are_weights(&query, info, false))
		abort();
	emb_sparse_free(&query, run->mem);
	for (int32_t i = 0; status == EMB_OK && i < emb_model_n_vectors(model, seq) * info->multi_dim; i++)
	{
		if (!(multi[i] >= -1.001f && multi[i] <= 1.001f))
			abort();
	}
}

static void
use(const EmbModel *model, const EmbAllocator *mem)
{
	static const char text[] = "The quick [MASK] brown f\xC3\xB6x \xE6\x88\x91 jumps, over 42 dogs.";
	static float out[MAX_FLOATS];
	int			n_left = 1000;
	EmbStop		stop = {.ctx = &n_left, .should_stop = stop_after};
	EmbRun		run = {.mem = mem, .stop = &stop};
	const EmbModelInfo *info = emb_model_info(model);

	for (int prompt = EMB_PROMPT_NONE; prompt <= EMB_PROMPT_QUERY; prompt++)
	{
		int32_t		ids[MAX_IDS];
		int64_t		n_tokens;
		EmbEncoded	r;
		EmbSequence seq = {.ids = ids};

		(void) emb_model_count_tokens(model, prompt, text, sizeof(text) - 1, mem, &stop, &n_tokens, NULL);
		(void) emb_model_encode(model, prompt, &(EmbText) {text, sizeof(text) / 2, false, NULL},
				&(EmbReading) {.ids = ids, .max_ids = MAX_IDS, .mem = mem, .stop = &stop}, &r, NULL);
		if (emb_model_encode(model, prompt, &(EmbText) {text, sizeof(text) - 1, true, NULL},
				&(EmbReading) {.ids = ids, .max_ids = MAX_IDS, .mem = mem, .stop = &stop}, &r, NULL) != EMB_OK)
			continue;
		if (r.n_ids < 0 || r.n_ids > MAX_IDS || r.n_ids > (prompt == EMB_PROMPT_QUERY ? info->max_query_tokens : info->max_tokens))
			abort();
		seq.is_query = prompt == EMB_PROMPT_QUERY;
		if (seq.is_query && info->query_floor <= MAX_IDS)
			seq.n_expanded = emb_model_expand(model, ids, r.n_ids);
		seq.n_ids = r.n_ids + seq.n_expanded;
		(void) emb_model_embed(model, &seq, 1, &run, out, NULL);
		if (info->kind == EMB_KIND_EMBEDDING)
			use_tokens(model, &seq, &run);
	}
	if (info->kind == EMB_KIND_RERANKER)
	{
		int32_t		ids[MAX_IDS];
		int32_t		type_ids[MAX_IDS];
		EmbText		query = {text, 9, true, NULL};
		EmbText		document = {text, sizeof(text) - 1, true, NULL};
		EmbEncoded	r;
		EmbSequence seq = {.ids = ids, .type_ids = type_ids};

		if (emb_model_encode_pair(model, &query, &document,
				&(EmbReading) {.ids = ids, .type_ids = type_ids, .max_ids = MAX_IDS, .stop = &stop}, &r, NULL) == EMB_OK)
		{
			if (r.n_ids < 0 || r.n_ids > MAX_IDS || r.n_ids > info->max_tokens)
				abort();
			seq.n_ids = r.n_ids;
			(void) emb_model_rerank(model, &seq, 1, &run, out, NULL);
		}
	}
	for (int32_t i = 0; i < emb_model_n_references(model); i += 1 + i)
	{
		EmbReferenceCheck check;

		(void) emb_model_check_reference(model, i, &run, &check, NULL);
	}
	if (strlen(info->query_prompt) > 8192 || strlen(info->document_prompt) > 8192)
		abort();
}

static void
try_open(const uint8_t *image, size_t size, unsigned flags)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbModel   *model;
	EmbError	err = {0};

	if (emb_model_open(image, size, flags, &mem, NULL, &model, &err) == EMB_OK)
	{
		use(model, &mem);
		emb_model_close(model);
	}
	else if (err.message[0] == '\0')
		abort();
}

#endif
