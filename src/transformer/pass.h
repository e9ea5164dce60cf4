/*
 * pass.h
 *		One forward pass, as pass.c drives it and layer.c computes a layer.
 *
 * Rows go through a layer in chunks, one worker a chunk: from the attention's
 * output to the layer's end and on to the next layer's Q, K and V, so that a
 * row leaves the cache once a layer. Between chunks stands attention, one
 * worker a head of a text.
 */
#ifndef EMB_TRANSFORMER_PASS_H
#define EMB_TRANSFORMER_PASS_H

#include "transformer/attention.h"
#include "transformer/transformer.h"
#include "threads/team.h"
#include "transformer/tokens.h"

#define EMB_PASS_CHUNK_ROWS 96

/* What a worker has for itself. */
typedef struct EmbWorker
{
	EmbWork		work;
	float	   *sum;			/* [chunk, hidden] */
	float	   *wide;			/* [chunk, intermediate], gated twice as wide */
	float	   *normed;			/* [chunk, hidden], with norms first: what a linear layer reads */
	uint8_t    *q_in;			/* [chunk, hidden]: int8 only, as all below */
	uint8_t    *q_wide;			/* [chunk, intermediate] */
	float	   *scales;			/* [chunk] of q_in or q_wide */
	int32_t    *zeros;			/* [chunk] */
	float	   *ranges;			/* [chunk][EMB_RANGE] of wide */
	void	   *attention;		/* scratch of attention.h */
} EmbWorker;

/* What attention reads of K, V or Q in int8: codes per token and head, with a scale each. */
typedef struct EmbHeadCodes
{
	uint8_t    *codes;			/* [n_tokens, n_heads, head_size rounded up to 4] */
	float	   *scales;			/* [n_heads, n_tokens] */
} EmbHeadCodes;

typedef struct EmbPass
{
	const EmbTransformer *transformer;
	const EmbArch *arch;		/* the transformer's */
	const EmbBatch *batch;
	const EmbKernels *kernels;
	EmbActivate activate;
	int32_t		n_longest;		/* tokens of the longest text */
	int32_t		chunk_rows;		/* at most this many rows a chunk */
	size_t		stride;			/* of x, q, k, v, context, sum: hidden rounded up to a panel */
	size_t		wide_stride;	/* of wide: intermediate rounded up to a panel */
	size_t		q_stride;		/* bytes, of q_in: hidden rounded up to 64 */
	size_t		q_wide_stride;	/* bytes, of q_wide: intermediate rounded up to 64 */
	size_t		heads_stride;	/* bytes, of a row of the codes below */
	float	   *x;				/* [n_tokens, hidden] */
	float	   *context;		/* [n_tokens, hidden], what attention makes; in fp32 q's place */
	float	   *q;				/* [n_tokens, hidden] each, where attention is in fp32; k and v in the place of the codes */
	float	   *k;
	float	   *v;
	EmbHeadCodes q_heads;		/* where it is in int8 */
	EmbHeadCodes k_heads;
	EmbHeadCodes v_heads;
	bool		compact;		/* x, q, context hold only the first row of each text; never with tokens */
	const EmbTokenOutputs *tokens;	/* or NULL */
	int32_t		first_token;	/* of the batch that tokens is about: what the pass begins with */
	EmbObserve	observe;		/* or NULL */
	void	   *observe_ctx;

	EmbCrew		crew;
	EmbWorker workers[EMB_CREW_MAX];
	_Atomic bool *stopped;		/* shared by all passes of a call */

	/* of the region at work */
	int32_t		layer;
	int32_t		n_rows;
	int32_t		n_chunks;
	int32_t		n_parts;		/* of a text's queries */
} EmbPass;

/*
 * Places the buffers for a batch of n_tokens from base on, or only counts where
 * base is NULL; returns their bytes.
 */
extern size_t emb_pass_lay_out(EmbPass *pass, const EmbTransformer *transformer, int32_t n_tokens, int32_t n_longest,
							   int32_t n_workers, char *base);

/*
 * The vectors of pass->batch into out [n_seqs, hidden]. Everything up to crew
 * and stopped is set, buffers are placed for the crew's workers, emb_fp_enter()
 * was called. stop is asked by the calling thread: NULL where that is a helper.
 */
extern EmbStatus emb_pass_run(EmbPass *pass, const EmbStop *stop, float *out, EmbError *err);

/*
 * The steps of a layer (layer.c). False: stopped.
 *
 * project: Q, K and V of rows first .. first + n_rows - 1 of x, as the layer's
 * attention reads them; either keys and values or queries may be left out.
 * attend: context of n_queries rows of a text's head, from the text's first'th
 * row on, or row seq of a compact pass.
 * finish: x = the layer's output, from what attention left in context.
 */
extern bool emb_layer_project(EmbPass *pass, EmbWorker *w, int32_t layer, int32_t first, int32_t n_rows,
							  bool keys_values, bool queries);
extern bool emb_layer_attend(EmbPass *pass, EmbWorker *w, int32_t seq, int32_t head, int32_t first, int32_t n_queries);
extern bool emb_layer_finish(EmbPass *pass, EmbWorker *w, int32_t layer, int32_t first, int32_t n_rows);

/* Whether some linear layer wants its input quantized; whether some layer attends in fp32, or in int8. */
extern bool emb_layers_quantize(const EmbTransformer *transformer);
extern bool emb_layers_attend_f32(const EmbTransformer *transformer);
extern bool emb_layers_attend_i8(const EmbTransformer *transformer);

static inline size_t
emb_pass_round_up(size_t n, size_t multiple)
{
	return (n + multiple - 1) / multiple * multiple;
}

static inline void
emb_pass_observe(const EmbPass *pass, EmbObservePoint point, int32_t layer,
				 int32_t first, int32_t n_rows, const float *rows, size_t stride)
{
	if (pass->observe != NULL)
		pass->observe(pass->observe_ctx, point, layer, first, n_rows, rows, stride);
}

/* The sequence that row i of the batch belongs to. */
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

/* The row of q and context that holds the first'th query of a text. */
static inline size_t
emb_pass_query_row(const EmbPass *pass, int32_t seq, int32_t first)
{
	bool		one_query = pass->compact && pass->layer == pass->arch->n_layers - 1;

	return one_query ? seq : pass->batch->offsets[seq] + first;
}

/* What attention adds to the scores of a head, and how far a query of the layer at work sees. */
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

/* Rotates queries or keys by their tokens' places, rows as wide as x of tokens first .. first + n_rows - 1. */
extern bool emb_pass_rotate(EmbPass *pass, EmbWorker *w, int32_t layer, int32_t first, int32_t n_rows, float *rows);

/* What pass->tokens wants of rows of x behind the last layer. False: stopped. */
extern bool emb_pass_tokens(EmbPass *pass, EmbWorker *w, int32_t first, int32_t n_rows);
extern bool emb_pass_tokens_are_finite(const EmbPass *pass);

#endif
