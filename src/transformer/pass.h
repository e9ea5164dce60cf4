/*
 * pass.h
 *		One forward pass, as bert.c drives it and bert_f32.c, bert_i8.c compute
 *		its steps.
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

#define EMB_BERT_CHUNK_ROWS 96

/* What a worker has for itself. */
typedef struct EmbBertWorker
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
} EmbBertWorker;

typedef struct EmbBertPass EmbBertPass;

/* The steps of a layer in one precision. False: stopped. */
typedef struct EmbBertSteps
{
	/* K and V of rows x, and Q if wanted */
	bool		(*project) (EmbBertPass *pass, EmbBertWorker *w, int32_t layer,
							int32_t first, int32_t n_rows, bool keys_values, bool queries);
	/* x = the layer's output, from the attention's in context */
	bool		(*finish) (EmbBertPass *pass, EmbBertWorker *w, int32_t layer, int32_t first, int32_t n_rows);
	/* context of n_queries rows of a text's head: from its first'th row on, or row seq of a compact pass */
	bool		(*attend) (EmbBertPass *pass, EmbBertWorker *w, int32_t seq, int32_t head,
						   int32_t first, int32_t n_queries);
} EmbBertSteps;

/* What attention reads of K, V or Q in int8: codes per token and head, with a scale each. */
typedef struct EmbBertHeads
{
	uint8_t    *codes;			/* [n_tokens, n_heads, head_size rounded up to 4] */
	float	   *scales;			/* [n_heads, n_tokens] */
} EmbBertHeads;

struct EmbBertPass
{
	const EmbBert *bert;
	const EmbBatch *batch;
	const EmbKernels *kernels;
	const EmbBertSteps *steps;
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
	EmbBertHeads q_heads;		/* where it is in int8 */
	EmbBertHeads k_heads;
	EmbBertHeads v_heads;
	bool		compact;		/* x, q, context hold only the first row of each text; never with tokens */
	const EmbTokenOutputs *tokens;	/* or NULL */
	int32_t		first_token;	/* of the batch that tokens is about: what the pass begins with */
	EmbObserve	observe;		/* or NULL */
	void	   *observe_ctx;

	EmbCrew		crew;
	EmbBertWorker workers[EMB_CREW_MAX];
	_Atomic bool *stopped;		/* shared by all passes of a call */

	/* of the region at work */
	int32_t		layer;
	int32_t		n_rows;
	int32_t		n_chunks;
	int32_t		n_parts;		/* of a text's queries */
};

/*
 * Places the buffers for a batch of n_tokens from base on, or only counts where
 * base is NULL; returns their bytes.
 */
extern size_t emb_bert_lay_out(EmbBertPass *pass, const EmbBert *bert, int32_t n_tokens, int32_t n_longest,
							   int32_t n_workers, char *base);

/*
 * The vectors of pass->batch into out [n_seqs, hidden]. Everything up to crew
 * and stopped is set, buffers are placed for the crew's workers, emb_fp_enter()
 * was called. stop is asked by the calling thread: NULL where that is a helper.
 */
extern EmbStatus emb_bert_run_pass(EmbBertPass *pass, const EmbStop *stop, float *out, EmbError *err);

extern const EmbBertSteps emb_bert_steps_f32;
extern const EmbBertSteps emb_bert_steps_i8;
extern bool emb_bert_attend_f32(EmbBertPass *pass, EmbBertWorker *w, int32_t seq, int32_t head,
								int32_t first, int32_t n_queries);

/*
 * Layers of an int8 model whose attention is in fp32: the first one of a model
 * with a window. Its error passes through all others with no norm behind it to
 * damp it: of the tiny model that is most sensitive (16 texts) int8 everywhere
 * takes the cosine from 0.9979 to 0.9973, and the worst one from 0.993 to
 * 0.990; in all layers but the first, to 0.9979 and 0.994.
 */
static inline bool
emb_bert_attends_exactly(const EmbBert *bert, int32_t layer)
{
	return bert->window > 0 && layer == 0;
}

static inline bool
emb_bert_is_local(const EmbBert *bert, int32_t layer)
{
	return bert->global_every > 0 && layer % bert->global_every != 0;
}

/* Of the FFN's inner rows, gates included. */
static inline int32_t
emb_bert_wide(const EmbBert *bert)
{
	return bert->gated ? 2 * bert->intermediate : bert->intermediate;
}

static inline size_t
emb_bert_round_up(size_t n, size_t multiple)
{
	return (n + multiple - 1) / multiple * multiple;
}

static inline void
emb_bert_observe(const EmbBertPass *pass, EmbObservePoint point, int32_t layer,
				 int32_t first, int32_t n_rows, const float *rows, size_t stride)
{
	if (pass->observe != NULL)
		pass->observe(pass->observe_ctx, point, layer, first, n_rows, rows, stride);
}

/* The row of q and context that holds the first'th query of a text. */
static inline size_t
emb_bert_query_row(const EmbBertPass *pass, int32_t seq, int32_t first)
{
	bool		one_query = pass->compact && pass->layer == pass->bert->n_layers - 1;

	return one_query ? seq : pass->batch->offsets[seq] + first;
}

/* What a linear layer behind norm reads of rows x: they themselves, but for norms first. False: stopped. */
extern bool emb_bert_norm_rows(EmbBertPass *pass, EmbBertWorker *w, const EmbLayerNorm *norm,
							   int32_t first, int32_t n_rows, const float **rows);

/* Likewise for query, key and value of a layer. */
extern bool emb_bert_layer_input(EmbBertPass *pass, EmbBertWorker *w, int32_t layer, int32_t first, int32_t n_rows,
								 const float **rows);

/* x += sum, and the last norm behind the last layer: a layer's halves with norms first. */
extern bool emb_bert_add(EmbBertPass *pass, EmbBertWorker *w, bool is_end, int32_t first, int32_t n_rows);

/* wide = act(gate) * up, in place of the gates. */
extern bool emb_bert_gate(EmbBertPass *pass, EmbBertWorker *w, int32_t n_rows);

/* What attention adds to the scores of a head, and how far a query of the layer at work sees. */
static inline const float *
emb_bert_head_bias(const EmbBertPass *pass, int32_t head)
{
	const float *bias = pass->bert->distance_bias;

	return bias == NULL ? NULL : bias + (size_t) head * EMB_DISTANCES;
}

static inline int32_t
emb_bert_window(const EmbBertPass *pass)
{
	return emb_bert_is_local(pass->bert, pass->layer) ? pass->bert->window : 0;
}

/* Rotates queries or keys by their tokens' places, rows as wide as x of tokens first .. first + n_rows - 1. */
extern bool emb_bert_rotate(EmbBertPass *pass, EmbBertWorker *w, int32_t layer, int32_t first, int32_t n_rows, float *rows);

/* What pass->tokens wants of rows of x behind the last layer. False: stopped. */
extern bool emb_bert_tokens(EmbBertPass *pass, EmbBertWorker *w, int32_t first, int32_t n_rows);
extern bool emb_bert_tokens_are_finite(const EmbBertPass *pass);

/* x = norm(sum + x) for rows first .. first + n_rows - 1, with sum the worker's. */
static inline bool
emb_bert_add_norm(EmbBertPass *pass, EmbBertWorker *w, const EmbLayerNorm *norm, int32_t first, int32_t n_rows)
{
	for (int32_t i = 0; i < n_rows; i++)
	{
		float	   *x = pass->x + (first + i) * pass->stride;

		pass->kernels->add_norm_f32(w->sum + i * pass->stride, x, norm->gamma, norm->beta,
									pass->bert->ln_eps, pass->bert->hidden, x);
	}
	return emb_work_spend(&w->work, 8 * (int64_t) n_rows * pass->bert->hidden);
}

#endif
