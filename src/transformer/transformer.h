/*
 * transformer.h
 *		The forward pass over packed batches of token ids.
 *
 * The texts of a batch lie end to end in one [n_tokens, hidden] matrix; there
 * is no padding between them. Linear layers run over all rows, attention per
 * text. A text's output has the same bits whatever else is in the batch.
 *
 * Example:
 *
 *		int32_t		offsets[] = {0, 5, 12};
 *		EmbBatch	batch = {.n_seqs = 2, .offsets = offsets, .ids = ids};
 *		emb_transformer_run(&transformer, kernels, &batch, n_threads, mem, stop, out, err);
 */
#ifndef EMB_TRANSFORMER_TRANSFORMER_H
#define EMB_TRANSFORMER_TRANSFORMER_H

#include "common/arch.h"
#include "common/error.h"
#include "common/mem.h"
#include "kernels/kernels.h"

/* How a linear layer's weights are stored, and with that how its input is prepared. */
typedef enum EmbLinearForm
{
	EMB_LINEAR_F32,				/* emb_pack_f32's panels: [n_out/16 rounded up][n_in][16]; input as it is */
	EMB_LINEAR_I8				/* emb_pack_i8_panel's tiles: [n_out/16 rounded up][n_in padded to 64, over 4][16][4];
								 * input in u8 with a scale and zero point by row */
} EmbLinearForm;

/*
 * y = x W^T + b. Vectors over outputs are [n_out rounded up to 16], zero-filled.
 *
 * The factor (smoothing) divides what went into the weights, so it multiplies
 * the input before that is quantized. Layers that share an input share the
 * factor, and their input is quantized once.
 */
typedef struct EmbLinear
{
	EmbLinearForm form;
	int32_t		n_out,
				n_in;
	union
	{
		const float *weight;	/* EMB_LINEAR_F32 */
		const int8_t *weight_i8;	/* EMB_LINEAR_I8 */
	};
	const float *bias;			/* over outputs; of a score head or dense module also NULL: none */

	/* EMB_LINEAR_I8 only */
	const float *scale;			/* of each output's weights */
	const int32_t *sums;		/* of each output's weights: what a zero point of x multiplies */
	const float *factor;		/* [n_in] of the input, or NULL: 1 */
} EmbLinear;

typedef struct EmbLayerNorm
{
	const float *gamma;			/* [hidden] */
	const float *beta;			/* [hidden] */
} EmbLayerNorm;

/* The factor of attn_out's input is in value's weights and bias. */
typedef struct EmbLayer
{
	EmbLinear	query,			/* [hidden, hidden] each; the three share an input and a form */
				key,
				value,
				attn_out,
				ffn_up,			/* [intermediate, hidden]; gated twice as many rows, the gates first */
				ffn_down;		/* [hidden, intermediate] */
	EmbLayerNorm attn_norm,		/* post-norm: after attention + residual; pre-norm: before attention */
				ffn_norm;		/* likewise of the feed-forward network */
} EmbLayer;

/* A table of vectors: fp32 rows, or s8 ones: element = (byte * scale of the row) * factor of the column. */
typedef struct EmbTable
{
	const float *rows_f32;		/* [n_rows, hidden] row-major, or NULL */
	const int8_t *rows_i8;		/* [n_rows, hidden], or NULL */
	const float *scales;		/* [n_rows], of rows_i8 */
	const float *factors;		/* [hidden], of rows_i8 */
} EmbTable;

/* A model's weights, and the architecture that says which there are. */
typedef struct EmbTransformer
{
	const EmbArch *arch;		/* passes emb_arch_check */
	EmbTable	word_embedding; /* [n_vocab, hidden] */
	const float *position_embedding;	/* [emb_arch_position_rows, hidden], of absolute positions */
	const float *type_embedding;	/* [n_types, hidden] */
	EmbLayerNorm embedding_norm;
	const float *rotary;		/* [n_positions, head_size], cosines before sines, of rotary positions */
	const float *rotary_local;	/* likewise, of layers with a window */
	const float *distance_bias; /* [n_heads, EMB_DISTANCES] what attention adds to scores, of relative positions */
	EmbLayerNorm final_norm;	/* of pre-norm models */
	const EmbLayer *layers;		/* [n_layers] */
} EmbTransformer;

typedef struct EmbBatch
{
	int32_t		n_seqs;
	const int32_t *offsets;		/* [n_seqs + 1], offsets[0] = 0, strictly ascending (of a static model also equal) */
	const int32_t *ids;			/* [offsets[n_seqs]], each in 0 .. n_vocab - 1 */
	const int32_t *type_ids;	/* same length, or NULL: all 0 */
} EmbBatch;

/*
 * out: [n_seqs, hidden], pooled, normalized if emb_arch_normalizes_pooled. n_threads
 * threads work on it, the caller's included; as many as team.h can give. Of a
 * static model see static.h. The
 * bits do not depend on them. Scratch comes from mem and is given back before
 * the return, whatever the status: emb_transformer_scratch_bytes says how
 * much. EMB_ERR_NOMEM, EMB_ERR_CANCELLED, EMB_ERR_INVALID_ARGUMENT (an id or
 * length out of range, checked first).
 */
extern EmbStatus emb_transformer_run(const EmbTransformer *transformer, const EmbKernels *kernels, const EmbBatch *batch,
								  int32_t n_threads, const EmbAllocator *mem, const EmbStop *stop,
								  float *out, EmbError *err);

/* Bytes of scratch for a batch of n_tokens whose longest text has n_longest. */
extern size_t emb_transformer_scratch_bytes(const EmbTransformer *transformer, int32_t n_tokens, int32_t n_longest,
											 int32_t n_threads);

/*
 * As emb_transformer_run, of an fp32 model, showing what passes. Rows come in
 * ranges, each row of each point once: rows points at the range's first row.
 * On one thread the ranges ascend; on several, they come from all of them at
 * once, in any order. For tests and calibration.
 */
typedef enum EmbObservePoint
{
	EMB_OBSERVE_HIDDEN,			/* [hidden] layer 0: behind the embedding norm; layer i: behind layer i - 1 */
	EMB_OBSERVE_ATTN_IN,		/* [hidden] input of query, key, value of layer 0 .. n_layers - 1 */
	EMB_OBSERVE_ATTN_CONTEXT,	/* [hidden] input of attn_out */
	EMB_OBSERVE_FFN_IN,			/* [hidden] input of ffn_up */
	EMB_OBSERVE_FFN_MID			/* [intermediate] input of ffn_down */
} EmbObservePoint;

typedef void (*EmbObserve) (void *ctx, EmbObservePoint point, int32_t layer, int32_t first_row,
							int32_t n_rows, const float *rows, size_t stride_elems);
extern EmbStatus emb_transformer_run_observed(const EmbTransformer *transformer, const EmbKernels *kernels, const EmbBatch *batch,
										   int32_t n_threads, const EmbAllocator *mem, const EmbStop *stop,
										   EmbObserve observe, void *observe_ctx, float *out, EmbError *err);

#endif
