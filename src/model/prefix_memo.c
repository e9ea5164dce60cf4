/*
 * prefix_memo.c
 *		Which prefix is worth its computation, and where it is kept.
 */
#include "model/prefix_memo.h"

#include <string.h>

/* A shorter prefix saves less than a pass of its own costs, which reads all weights once. */
#define TOKENS_MIN	16

/* Of keys and values. A longer prefix is shared as far as they fit. */
#define BYTES_MAX	(16 * 1024 * 1024)

struct EmbPrefixMemo
{
	EmbAllocator mem;
	uint64_t	model;			/* serial number of the model that all below belongs to; 0: nothing below */
	EmbPrefix  *prefix;			/* or NULL */
	size_t		prefix_bytes;
	int32_t    *ids;			/* [n_max] of the prefix */
	int32_t    *last;			/* [n_max] what the sequences of the last call had in common */
	int32_t		n_last;
	int32_t		n_max;			/* tokens that BYTES_MAX allows */
};

EmbPrefixMemo *
emb_prefix_memo_create(const EmbAllocator *mem)
{
	EmbPrefixMemo *memo = emb_alloc_zero(mem, 1, sizeof(*memo));

	if (memo != NULL)
		memo->mem = *mem;
	return memo;
}

static void
forget_prefix(EmbPrefixMemo *memo)
{
	emb_prefix_free(&memo->mem, memo->prefix);
	memo->prefix = NULL;
	memo->prefix_bytes = 0;
}

static void
forget_all(EmbPrefixMemo *memo)
{
	forget_prefix(memo);
	emb_release(&memo->mem, memo->ids);
	emb_release(&memo->mem, memo->last);
	memo->ids = memo->last = NULL;
	memo->n_last = memo->n_max = 0;
	memo->model = 0;
}

void
emb_prefix_memo_free(EmbPrefixMemo *memo)
{
	EmbAllocator mem;

	if (memo == NULL)
		return;
	mem = memo->mem;
	forget_all(memo);
	emb_release(&mem, memo);
}

size_t
emb_prefix_memo_bytes(const EmbPrefixMemo *memo)
{
	return memo == NULL ? 0 : sizeof(*memo) + memo->prefix_bytes + 2 * (size_t) memo->n_max * sizeof(int32_t);
}

static int32_t
count_equal(const int32_t *a, int32_t n_a, const int32_t *b, int32_t n_b)
{
	int32_t		n = 0;

	while (n < n_a && n < n_b && a[n] == b[n])
		n++;
	return n;
}

/* The most tokens of a prefix. */
static int32_t
most_tokens(const EmbModel *model)
{
	size_t		fixed = emb_prefix_bytes(&model->transformer, 0);
	size_t		many = emb_prefix_bytes(&model->transformer, 1024);
	int64_t		n = BYTES_MAX <= fixed ? 0 : (int64_t) ((BYTES_MAX - fixed) * 1024 / (many - fixed));

	return n < model->info.max_tokens ? (int32_t) n : model->info.max_tokens;
}

/* False: out of memory. */
static bool
take_model(EmbPrefixMemo *memo, const EmbModel *model)
{
	if (memo->model == model->serial)
		return true;
	forget_all(memo);
	memo->n_max = most_tokens(model);
	memo->ids = emb_alloc_array(&memo->mem, memo->n_max, sizeof(int32_t));
	memo->last = emb_alloc_array(&memo->mem, memo->n_max, sizeof(int32_t));
	if (memo->n_max > 0 && (memo->ids == NULL || memo->last == NULL))
	{
		forget_all(memo);
		return false;
	}
	memo->model = model->serial;
	return true;
}

/*
 * Makes the memo's prefix ids [n_ids], of which it has the first n_known. Out
 * of memory for it, there is none: the sequences are computed whole.
 */
static EmbStatus
extend(EmbPrefixMemo *memo, const EmbModel *model, const int32_t *ids, int32_t n_ids, int32_t n_known, const EmbRun *run, EmbError *err)
{
	const EmbTransformer *transformer = &model->transformer;
	EmbPrefix  *prefix = emb_prefix_create(transformer, n_ids, &memo->mem);
	EmbStatus	status;

	if (prefix == NULL)
	{
		forget_prefix(memo);
		return EMB_OK;
	}
	if (n_known > 0)
		emb_prefix_copy(transformer, prefix, memo->prefix, n_known);
	status = emb_transformer_extend_prefix(transformer, emb_kernels(), prefix, ids + n_known, n_ids - n_known,
										   run->n_threads, run->mem, run->stop, err);
	if (status != EMB_OK)
	{
		emb_prefix_free(&memo->mem, prefix);
		return status;
	}
	forget_prefix(memo);
	memo->prefix = prefix;
	memo->prefix_bytes = emb_prefix_bytes(transformer, n_ids);
	memcpy(memo->ids, ids, n_ids * sizeof(int32_t));
	return EMB_OK;
}

EmbStatus
emb_prefix_memo_share(EmbPrefixMemo *memo, const EmbModel *model, const int32_t *ids, int32_t n_ids, int32_t n_seqs,
					  const EmbRun *run, EmbSharedPrefix *shared, EmbError *err)
{
	int32_t		n_known = 0;
	int32_t		n_wanted;
	EmbStatus	status = EMB_OK;

	*shared = (EmbSharedPrefix) {0};
	if (!take_model(memo, model))
		return EMB_OK;
	n_ids = n_ids < memo->n_max ? n_ids : memo->n_max;
	if (memo->prefix != NULL)
		n_known = count_equal(ids, n_ids, memo->ids, memo->prefix->n_tokens);
	n_wanted = n_seqs > 1 ? n_ids : count_equal(ids, n_ids, memo->last, memo->n_last);
	memcpy(memo->last, ids, n_ids * sizeof(int32_t));
	memo->n_last = n_ids;
	if (n_wanted - n_known >= TOKENS_MIN)
	{
		status = extend(memo, model, ids, n_wanted, n_known, run, err);
		shared->n_computed = n_wanted - n_known;
		n_known = memo->prefix != NULL ? n_wanted : 0;
	}
	if (status != EMB_OK || n_known < TOKENS_MIN)
		return status;
	shared->prefix = memo->prefix;
	shared->n_tokens = n_known;
	return EMB_OK;
}
