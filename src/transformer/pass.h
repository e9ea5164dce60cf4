/*
 * pass.h
 *		One forward pass: pass.c drives it, layer.c computes a layer.
 *
 * Rows go through a layer in blocks, one block per worker: from the
 * attention's output to the end of the layer and on to Q, K and V of the next
 * layer. So a row leaves the cache once per layer. Between blocks comes
 * attention, one head of a text per worker.
 *
 * A long text goes from attention to the end of the layer in segments, because
 * the output of attention is its largest buffer: 17 MB for 2,048 tokens of
 * Qwen3-0.6B. Q, K and V of the next layer then come after the last segment,
 * because all segments read the keys.
 */
#ifndef EMB_TRANSFORMER_PASS_H
#define EMB_TRANSFORMER_PASS_H

#include <string.h>

#include "transformer/attention.h"
#include "transformer/prefix.h"
#include "transformer/transformer.h"
#include "threads/team.h"
#include "transformer/tokens.h"

/*
 * Rows of a block. Weights pass through the caches once for each, so 128 tokens
 * are one where the wide rows of the FFN take at most half of the second-level
 * cache: bge-small with 2 MB (128 x 1 on AMX: 3 to 5 % over 96). Weights of 4 bits
 * are unpacked once for each block, so there 128 tokens are one in any case.
 */
#define EMB_PASS_BLOCK_ROWS 96
#define EMB_PASS_BLOCK_ROWS_LARGE 128
#define EMB_PASS_BLOCK_ROWS_GROUPED 128
#define EMB_PASS_BLOCK_ROWS_MAX EMB_PASS_BLOCK_ROWS_GROUPED

/* Of a layer of experts, each of which gets a part of the rows. */
#define EMB_PASS_BLOCK_ROWS_EXPERTS 384

/* Whatever an order in an image says: its numbers are u16. */
#define EMB_UNORDERED_BYTES 65536

/* The private buffers of a worker. block: the rows of the largest block, those of experts included. */
typedef struct EmbWorker
{
	EmbWork		work;
	float	   *sum;			/* [block, hidden, query width or the embeddings' width, whichever is largest] */
	float	   *wide;			/* [block_rows, intermediate], twice as wide with a GLU */
	float	   *normed;			/* [block, hidden], for pre-norm: input of a linear layer */
	uint8_t    *q_in;			/* [block, hidden or query width]: int8 only, like all fields below */
	uint8_t    *q_wide;			/* [block, intermediate] */
	float	   *scales;			/* [block] for q_in or q_wide */
	int32_t    *zeros;			/* [block] */
	float	   *ranges;			/* [block][EMB_RANGE] for wide */
	uint8_t    *unordered;		/* [EMB_UNORDERED_BYTES] a row before its codes are ordered; NULL: no layer has an order */
	uint8_t    *chosen;			/* [block, experts_used] with experts, like the next three */
	float	   *shares;			/* [block, experts_used] */
	float	   *gathered;		/* [block_rows, hidden] rows of an expert */
	float	   *expert_out;		/* [block_rows, hidden] */
	void	   *attention;		/* scratch of attention.h */
} EmbWorker;

typedef struct EmbPass
{
	const EmbTransformer *transformer;
	const EmbArch *arch;		/* of the transformer */
	const EmbBatch *batch;
	const EmbKernels *kernels;
	EmbActivate activate;
	int32_t		n_longest;		/* tokens in the longest text */
	int32_t		block_rows;		/* maximum rows per block */
	int32_t		expert_rows;	/* the same in layers of experts; as block_rows without them */
	size_t		stride;			/* of x: hidden rounded up to a panel */
	size_t		embedding_stride;	/* of embeddings before their projection: their width rounded up to a panel */
	size_t		context_stride; /* of q and context: query width rounded up to a panel */
	size_t		key_stride;		/* of k and v: key width rounded up to a panel */
	size_t		wide_stride;	/* of wide: intermediate rounded up to a panel */
	size_t		q_stride;		/* bytes, of q_in: hidden rounded up to 64 */
	size_t		q_context_stride;	/* bytes, of q_in for the context: query width rounded up to 64 */
	size_t		q_wide_stride;	/* bytes, of q_wide: intermediate rounded up to 64 */
	float	   *x;				/* [n_tokens, hidden] */
	float	   *context;		/* [context_rows, query width], output of attention for the current segment; in fp32 the same buffer as q */
	int32_t		context_rows;	/* all, or fewer if attention is int8: then rows go from attention to the end of a layer in segments */
	float	   *q;				/* [n_tokens, query width], if attention is fp32 */
	EmbHeadCodes q_heads;		/* if attention is int8 */
	EmbKeysValues keys;			/* of one layer after the other: codes and floats share memory */
	EmbPrefix  *keep;			/* NULL, or keys and values go behind its tokens, and nothing is pooled */
	int32_t		first_layer;	/* of the pass: usually 0 */
	int32_t		end_layer;		/* usually n_layers; else nothing is pooled */
	bool		compact;		/* in the last layer x, q and context hold only the pooled row of each text; never with tokens */
	const EmbTokenOutputs *tokens;	/* or NULL */
	int32_t		first_token;	/* first batch token of the pass, for tokens */
	int32_t		first_text;		/* likewise, its first text */
	EmbVocabularyRows vocabulary_rows;	/* [n_tokens], if the model has a head over the vocabulary */
	EmbObserve	observe;		/* or NULL */
	void	   *observe_ctx;

	EmbTeam		team;
	EmbWorker workers[EMB_TEAM_MAX];
	_Atomic bool *stopped;		/* shared by all passes of a call */

	/* of the current region */
	int32_t		layer;
	int32_t		first_row;
	int32_t		n_rows;
	int32_t		n_blocks;
	int32_t		segment;		/* first row of the segment, whose context is in memory */
	int32_t		segment_end;
	int32_t		first_seq;		/* text of the segment's first row */
	int32_t		n_parts;		/* parts of the queries per head */
} EmbPass;

/*
 * Places the buffers for a batch of n_tokens from base on; only counts if base
 * is NULL. Returns the number of bytes.
 */
extern size_t emb_pass_lay_out(EmbPass *pass, const EmbTransformer *transformer, int32_t n_tokens, int32_t n_longest,
							   int32_t n_workers, char *base);

/*
 * Runs layers first_layer .. end_layer - 1 on x; the embeddings come before
 * layer 0. After the last layer of the model writes the vectors of pass->batch
 * into out [n_seqs, pooled width]. The caller has set all fields up to team and
 * stopped, placed the buffers for the team's workers and called emb_fp_enter().
 * The calling thread polls stop; NULL on a worker thread.
 */
extern EmbStatus emb_pass_run(EmbPass *pass, const EmbStop *stop, float *out, EmbError *err);

/*
 * The steps of a layer (layer.c). False: stopped.
 *
 * project: Q, K and V for rows first .. first + n_rows - 1 of x, as the
 * layer's attention reads them. The caller may leave out either keys and
 * values or queries. is_finished: just after finish of the layer before, for the
 * same rows with is_projected; then the norm may have prepared the input.
 *
 * attend: context for n_queries rows of a text, from the text's row first on,
 * or row seq in a compact pass, and the query heads that share a key head.
 *
 * finish: x = the layer's output, computed from context. is_projected: project of
 * the next layer comes next on this worker.
 */
extern bool emb_layer_project(EmbPass *pass, EmbWorker *w, int32_t layer, int32_t first, int32_t n_rows, bool is_finished,
							  bool keys_values, bool queries);
extern bool emb_layer_attend(EmbPass *pass, EmbWorker *w, int32_t seq, int32_t key_head, int32_t first, int32_t n_queries);
extern bool emb_layer_finish(EmbPass *pass, EmbWorker *w, int32_t layer, int32_t first, int32_t n_rows, bool is_projected);

/*
 * Whether any linear layer takes quantized input, has scales by groups, or
 * takes its input in an order of its own; whether any layer attends in fp32, or in int8.
 */
extern bool emb_layers_quantize(const EmbTransformer *transformer);
extern bool emb_layers_have_groups(const EmbTransformer *transformer);
extern bool emb_layers_reorder(const EmbTransformer *transformer);
extern bool emb_layer_attends_f32(const EmbTransformer *transformer, int32_t layer);
extern bool emb_layers_attend_f32(const EmbTransformer *transformer);
extern bool emb_layers_attend_i8(const EmbTransformer *transformer);

static inline void
emb_pass_observe(const EmbPass *pass, EmbObservePoint point, int32_t layer,
				 int32_t first, int32_t n_rows, const float *rows, size_t stride)
{
	if (pass->observe != NULL)
		pass->observe(pass->observe_ctx, point, layer, first, n_rows, rows, stride);
}

/*
 * y = norm(x + residual), or norm(x) without a residual, of n elements, by the
 * architecture's kind of norm; y may be x or residual.
 */
static inline void
emb_pass_add_norm_of(const EmbPass *pass, int32_t n, const float *x, const float *residual, const EmbLayerNorm *norm, float *y)
{
	const EmbArch *arch = pass->arch;

	if (arch->norm_kind == EMB_NORM_LAYER)
	{
		pass->kernels->add_norm_f32(x, residual, norm->gamma, norm->beta, arch->norm_eps, n, y);
		return;
	}
	if (residual != NULL)
	{
		if (y != x && y != residual)
			memcpy(y, x, n * sizeof(float));
		pass->kernels->add_f32(y, y == residual ? x : residual, n);
		x = y;
	}
	pass->kernels->rms_norm_f32(x, norm->gamma, arch->norm_eps, n, y);
}

/* The same for a row of the layers. */
static inline void
emb_pass_add_norm(const EmbPass *pass, const float *x, const float *residual, const EmbLayerNorm *norm, float *y)
{
	emb_pass_add_norm_of(pass, pass->arch->hidden, x, residual, norm, y);
}

/* The sequence of batch row i. */
static inline int32_t
emb_pass_seq_of_row(const EmbBatch *batch, int32_t i)
{
	int32_t		lo = 0,
				hi = batch->n_seqs - 1;

	while (lo < hi)
	{
		int32_t		mid = (lo + hi + 1) / 2;

		if (batch->offsets[mid] <= i)
			lo = mid;
		else
			hi = mid - 1;
	}
	return lo;
}

/* The tokens of a sequence that attention sees, of those in the batch. */
static inline int32_t
emb_pass_n_seen(const EmbPass *pass, int32_t seq)
{
	return pass->batch->n_seen != NULL ? pass->batch->n_seen[seq] : pass->batch->offsets[seq + 1] - pass->batch->offsets[seq];
}

/* Tokens that come before the batch's own ones in each of its texts. */
static inline int32_t
emb_pass_prefix(const EmbPass *pass)
{
	return pass->batch->prefix != NULL ? pass->batch->n_prefix : 0;
}

/*
 * The place of a layer's keys and values, and the row of the batch's first
 * token in it.
 */
static inline const EmbKeysValues *
emb_pass_keys(const EmbPass *pass, int32_t layer)
{
	return pass->keep != NULL ? &pass->keep->layers[layer] : &pass->keys;
}

static inline int32_t
emb_pass_first_key(const EmbPass *pass)
{
	return pass->keep != NULL ? pass->keep->n_tokens : 0;
}

/* Whether the current layer computes only the pooled row of each text. */
static inline bool
emb_pass_is_compact(const EmbPass *pass)
{
	return pass->compact && pass->layer == pass->arch->n_layers - 1;
}

/* The first row of a text that is pooled. */
static inline int32_t
emb_pass_first_pooled(const EmbPass *pass, int32_t seq)
{
	int32_t		last = pass->batch->offsets[seq + 1] - pass->batch->offsets[seq] - 1;

	return pass->batch->n_unpooled < last ? pass->batch->n_unpooled : last;
}

/* The row of a text that a compact pass keeps, of those in the batch. */
static inline int32_t
emb_pass_pooled_row(const EmbPass *pass, int32_t seq)
{
	return pass->arch->pooling == EMB_POOL_LAST ? pass->batch->offsets[seq + 1] - pass->batch->offsets[seq] - 1 : emb_pass_first_pooled(pass, seq);
}

/* The row of q and context for query first of a text. */
static inline size_t
emb_pass_query_row(const EmbPass *pass, int32_t seq, int32_t first)
{
	return emb_pass_is_compact(pass) ? seq : pass->batch->offsets[seq] + first;
}

/*
 * The bias that attention adds to the scores of a head, and the window of the
 * current layer's queries.
 */
static inline const float *
emb_pass_head_bias(const EmbPass *pass, int32_t head)
{
	const float *bias = pass->transformer->distance_bias;

	return bias == NULL ? NULL : bias + (size_t) head * EMB_DISTANCES;
}

static inline int32_t
emb_pass_window(const EmbPass *pass)
{
	return emb_arch_is_local(pass->arch, pass->layer) ? pass->arch->window : 0;
}

/* Computes pass->tokens from rows of x after the last layer. False: stopped. */
extern bool emb_pass_tokens(EmbPass *pass, EmbWorker *w, int32_t first, int32_t n_rows);
/* After the last layer of all rows: pass->tokens->maxima, from what emb_pass_tokens has prepared. */
extern bool emb_pass_vocabulary(EmbPass *pass);
extern bool emb_pass_tokens_are_finite(const EmbPass *pass);

#endif
