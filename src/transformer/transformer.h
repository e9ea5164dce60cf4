/*
 * transformer.h
 *		The forward pass over packed batches of token ids.
 *
 * The texts of a batch lie end to end in one [n_tokens, hidden] matrix; there
 * is no padding between them. Linear layers run over all rows, attention per
 * text. A text's output has the same bits whatever else is in the batch.
 *
 *		EmbBatch batch = {.n_seqs = 2, .offsets = {0, 5, 12}, .ids = ids};
 *		emb_encoder_bert(&bert, kernels, &batch, mem, stop, out, err);
 */
#ifndef EMB_TRANSFORMER_TRANSFORMER_H
#define EMB_TRANSFORMER_TRANSFORMER_H

#include "common/error.h"
#include "common/mem.h"
#include "kernels/kernels.h"

/* Distances, key - query, from -EMB_DISTANCE_MAX on; further ones are as those. */
#define EMB_DISTANCE_MAX	128
#define EMB_DISTANCES		(2 * EMB_DISTANCE_MAX + 1)

typedef enum EmbActivation
{
	EMB_ACT_GELU = 1,			/* x/2 (1 + erf(x / sqrt 2)) */
	EMB_ACT_GELU_TANH = 2,		/* "gelu_new", "gelu_pytorch_tanh" */
	EMB_ACT_RELU = 3,
	EMB_ACT_SILU = 4,			/* x / (1 + e^-x), behind gates and dense layers only */
	EMB_ACT_TANH = 5			/* of a reranker's head and dense layers only */
} EmbActivation;

typedef enum EmbPooling
{
	EMB_POOL_CLS = 1,			/* the first row */
	EMB_POOL_MEAN = 2,			/* the mean of all rows, special tokens included */
	EMB_POOL_MAX = 3,			/* the largest of each element */
	EMB_POOL_MEAN_SQRT_LEN = 4	/* their sum by the square root of their number */
} EmbPooling;

/* y = x W^T + b. weight: emb_pack_f32's layout, [n_out/16 rounded up][n_in][16]. */
typedef struct EmbLinear
{
	int32_t		n_out,
				n_in;
	const float *weight;
	const float *bias;			/* [n_out rounded up to 16], zero-filled; of a reranker's head or a dense layer also NULL: none */
} EmbLinear;

typedef struct EmbLayerNorm
{
	const float *gamma;			/* [hidden] */
	const float *beta;			/* [hidden] */
} EmbLayerNorm;

/*
 * y = x W^T + b with x in u8 and W in s8. weight: emb_pack_i8_panel's layout,
 * [n_out/16 rounded up][n_in padded to 64, over 4][16][4]. The other arrays:
 * [n_out rounded up to 16], zero-filled.
 */
typedef struct EmbLinearI8
{
	int32_t		n_out,
				n_in;
	const int8_t *weight;
	const float *scale;			/* of each output's weights */
	const int32_t *sums;		/* of each output's weights: what a zero point of x multiplies */
	const float *bias;
} EmbLinearI8;

typedef struct EmbBertLayer
{
	EmbLinear	query,			/* [hidden, hidden] each */
				key,
				value,
				attn_out,
				ffn_up,			/* [intermediate, hidden]; gated twice as many rows, the gates first */
				ffn_down;		/* [hidden, intermediate] */
	EmbLayerNorm attn_norm,		/* after attention + residual; before it in a model with norms first, none in layer 0 */
				ffn_norm;		/* after FFN + residual; before it likewise */
} EmbBertLayer;

/*
 * A quantized layer. The factors divide what went into the weights
 * (smoothing): they multiply a linear layer's input before it is quantized.
 * The factor of attn_out's input is in value's weights and bias.
 */
typedef struct EmbBertLayerI8
{
	EmbLinearI8 query,
				key,
				value,
				attn_out,
				ffn_up,
				ffn_down;
	const float *attn_in_factor;	/* [hidden]: of query, key and value */
	const float *ffn_in_factor; /* [hidden] */
	const float *ffn_mid_factor;	/* [intermediate]: behind the activation */
	EmbLayerNorm attn_norm,
				ffn_norm;
} EmbBertLayerI8;

/* A table of vectors: fp32 rows, or s8 ones: element = (byte * scale of the row) * factor of the column. */
typedef struct EmbTable
{
	const float *rows_f32;		/* [n_rows, hidden] row-major, or NULL */
	const int8_t *rows_i8;		/* [n_rows, hidden], or NULL */
	const float *scales;		/* [n_rows], of rows_i8 */
	const float *factors;		/* [hidden], of rows_i8 */
} EmbTable;

typedef struct EmbBert
{
	int32_t		hidden,			/* n_heads divides it; any such size, 36 too */
				n_layers,
				n_heads,
				intermediate,
				n_vocab,
				n_positions,	/* longest sequence */
				position_base,	/* 0: the first token has row 0 of the positions. Else 1 + the padding's id, which has row 0 and does not count; the first token has row 1 */
				n_types;		/* 0: types do not matter */
	EmbActivation activation;
	bool		gated;			/* ffn_down reads act(gate) * up */
	bool		norms_first;	/* x + f(norm(x)) in place of norm(x + f(x)), and a norm behind the last layer */
	int32_t		window;			/* 0, or how far to each side a layer sees that is not global */
	int32_t		global_every;	/* layers 0, n, 2 n, .. are global; 0: all */
	EmbPooling	pooling;
	bool		normalize;		/* L2, x / max(|x|, 1e-12) as torch's F.normalize */
	float		ln_eps;
	EmbTable	word_embedding;	/* [n_vocab, hidden] */
	const float *rotary;		/* [n_positions, head size], cosines before sines: of the rotation of queries and keys; or NULL */
	const float *rotary_local;	/* likewise, of layers that are not global */
	EmbLayerNorm final_norm;	/* with norms_first */
	const float *position_embedding;	/* NULL with rotary; [n_positions, hidden], a row more with a position_base */
	const float *type_embedding;	/* [n_types, hidden], or NULL */
	const float *distance_bias; /* [n_heads, EMB_DISTANCES] what attention adds to scores, or NULL */
	EmbLayerNorm embedding_norm;
	const EmbBertLayer *layers; /* [n_layers] in fp32, or NULL */
	const EmbBertLayerI8 *layers_i8;	/* [n_layers] in int8, or NULL */
} EmbBert;

typedef struct EmbBatch
{
	int32_t		n_seqs;
	const int32_t *offsets;		/* [n_seqs + 1], offsets[0] = 0, strictly ascending */
	const int32_t *ids;			/* [offsets[n_seqs]], each in 0 .. n_vocab - 1 */
	const int32_t *type_ids;	/* same length, or NULL: all 0 */
} EmbBatch;

/*
 * out: [n_seqs, hidden], pooled, normalized if the model says so. n_threads
 * threads work on it, the caller's included; as many as pool.h can give. The
 * bits do not depend on them. Scratch comes from mem and is given back before
 * the return, whatever the status: emb_encoder_bert_scratch_bytes says how
 * much. EMB_ERR_NOMEM, EMB_ERR_CANCELLED, EMB_ERR_INVALID_ARGUMENT (an id or
 * length out of range, checked first).
 */
extern EmbStatus emb_encoder_bert(const EmbBert *bert, const EmbKernels *kernels, const EmbBatch *batch,
								  int32_t n_threads, const EmbAllocator *mem, const EmbStop *stop,
								  float *out, EmbError *err);

/* Bytes of scratch for a batch of n_tokens whose longest text has n_longest. */
extern size_t emb_encoder_bert_scratch_bytes(const EmbBert *bert, int32_t n_tokens, int32_t n_longest,
											 int32_t n_threads);

/*
 * As emb_encoder_bert, of an fp32 model, showing what passes. Rows come in
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
extern EmbStatus emb_encoder_bert_observed(const EmbBert *bert, const EmbKernels *kernels, const EmbBatch *batch,
										   int32_t n_threads, const EmbAllocator *mem, const EmbStop *stop,
										   EmbObserve observe, void *observe_ctx, float *out, EmbError *err);

#endif
