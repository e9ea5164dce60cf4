/*
 * transformer.h
 *		The forward pass over packed batches of token ids.
 *
 * The texts of a batch lie end to end in one [n_tokens, hidden] matrix without
 * padding. Linear layers run over all rows, attention runs per text. A text's
 * output has the same bits whatever else is in the batch.
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

/* How the weights of a linear layer are stored, and thus how its input is prepared. */
typedef enum EmbLinearForm
{
	EMB_LINEAR_F32,				/* emb_pack_f32's panels: [n_out/16 rounded up][n_in][16]; fp32 input */
	EMB_LINEAR_I8,				/* emb_pack_i8_panel's tiles: [n_out/16 rounded up][n_in padded to 64, over 4][16][4];
								 * input in u8 with a scale and zero point by row */
	EMB_LINEAR_GROUPED			/* EmbGemmGrouped's, of 4 bits (emb_pack_i4_panel) or 8 (emb_pack_i8_panel); the same input */
} EmbLinearForm;

/*
 * What weights with scales by groups need besides them, as in EmbGemmGrouped.
 * Layers with a common input share the order.
 */
typedef struct EmbGroups
{
	int32_t		bits;
	int32_t		group;
	EmbScaleType scale_type;
	const void *scales;
	const uint8_t *zeros;		/* NULL with 8 bits */
	const float *sums;
	const uint16_t *order;		/* [n_in] weight i belongs to input order[i]; or NULL */
} EmbGroups;

/*
 * y = x W^T + b. Vectors over outputs are [n_out rounded up to 16],
 * zero-filled. The smoothing factor divides the weights before quantization,
 * so it multiplies the input before the input is quantized. Layers with a
 * common input share the factor, and their input is quantized once.
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
		const uint8_t *weight_grouped;	/* EMB_LINEAR_GROUPED */
	};
	const float *bias;			/* over outputs; may be NULL for a score head or dense module: none */
	union
	{
		struct					/* EMB_LINEAR_I8 */
		{
			const float *scale;	/* per output */
			const int32_t *sums;	/* per output: sum of its weights, to be multiplied by the zero point of x */
		};
		const EmbGroups *groups;	/* EMB_LINEAR_GROUPED */
	};
	const float *factor;		/* quantized weights: [n_in] for the input, or NULL: 1 */
} EmbLinear;

typedef struct EmbLayerNorm
{
	const float *gamma;			/* [hidden] */
	const float *beta;			/* [hidden]; NULL for an RMS norm */
} EmbLayerNorm;

/* One of several feed-forward networks of a layer. */
typedef struct EmbExpert
{
	EmbLinear	up,				/* [intermediate, hidden] */
				down;			/* [hidden, intermediate] */
} EmbExpert;

/*
 * The factor of attn_out's input is folded into value's weights and bias; the
 * query heads that share a value head have a common factor.
 */
typedef struct EmbLayer
{
	EmbLinear	query,			/* [query width, hidden]; the three share their input and form */
				key,			/* [key width, hidden] */
				value,			/* [key width, hidden] */
				attn_out,		/* [hidden, query width] */
				ffn_up,			/* [intermediate, hidden]; with a GLU twice as many rows, gates first */
				ffn_down;		/* [hidden, intermediate] */
	EmbLayerNorm attn_norm,		/* post-norm: after attention + residual; pre-norm: before attention */
				ffn_norm,		/* the same for the feed-forward network */
				second_norm,	/* post-norm: of the sum of attn_norm's output and attention's input; gamma NULL: none */
				query_norm,		/* [head_size, or query width]; gamma NULL: none */
				key_norm,
				attn_end_norm,	/* of what attention adds; gamma NULL: none */
				ffn_end_norm;	/* the same for the feed-forward network */
	const float *relative_keys; /* [2 relative_span, key width] vectors of distances, or NULL: no disentangled attention */
	const float *relative_queries;	/* [2 relative_span, query width] */
	const EmbExpert *experts;	/* [n_experts] in the place of ffn_up and ffn_down, or NULL */
	const float *router;		/* [n_experts, hidden], with experts */
	const float *expert_bias;	/* [hidden] of their sum */
} EmbLayer;

/*
 * A table of vectors: fp32 rows, or int8 rows: element = (byte * scale of the
 * row) * factor of the column.
 */
typedef struct EmbTable
{
	const float *rows_f32;		/* [n_rows, hidden] row-major, or NULL */
	const int8_t *rows_i8;		/* [n_rows, hidden], or NULL */
	const float *scales;		/* [n_rows], for rows_i8 */
	const float *factors;		/* [hidden], for rows_i8 */
} EmbTable;

/* A model's weights, and the architecture that determines which weights exist. */
typedef struct EmbTransformer
{
	const EmbArch *arch;		/* passes emb_arch_check */
	EmbTable	word_embedding; /* [n_vocab, width], width that of emb_arch_embedding_width */
	const float *position_embedding;	/* [emb_arch_position_rows, width], absolute positions */
	const float *type_embedding;	/* [n_types, width] */
	EmbLayerNorm embedding_norm;	/* gamma NULL: none */
	EmbLinear	embedding_projection;	/* [hidden, width] in fp32, with an embedding size */
	const float *rotary;		/* [n_positions, head_size], cosines before sines, RoPE */
	const float *rotary_local;	/* the same for layers with a sliding window */
	const float *distance_bias; /* [n_heads, EMB_DISTANCES] relative position bias, added to attention scores */
	const int32_t *buckets;		/* disentangled attention: emb_arch_bucket of each distance; points at that of 0, in the middle */
	EmbLayerNorm final_norm;	/* not in post-norm models */
	const EmbLayer *layers;		/* [n_layers] */
} EmbTransformer;

/* Keys and values of tokens that texts begin with, see prefix.h. */
typedef struct EmbPrefix EmbPrefix;

typedef struct EmbBatch
{
	int32_t		n_seqs;
	const int32_t *offsets;		/* [n_seqs + 1], offsets[0] = 0, strictly ascending (a static model allows equal offsets) */
	const int32_t *ids;			/* [offsets[n_seqs]], each in 0 .. n_vocab - 1 */
	const int32_t *type_ids;	/* same length, or NULL: all 0 */
	const EmbPrefix *prefix;	/* or NULL: every sequence starts behind its first n_prefix tokens, which are not in ids */
	int32_t		n_prefix;		/* then at least 1 */
	int32_t		n_unpooled;		/* leading rows of every sequence that are not pooled; its last row is in any case */
	const int32_t *n_seen;		/* [n_seqs] leading tokens of each sequence that attention sees, at least 1; the others attend to
								 * them and contribute exactly nothing. NULL: all. Not with a prefix, nor with causal attention */
} EmbBatch;

/*
 * out: [n_seqs, emb_arch_pooled_width], pooled, and normalized if emb_arch_normalizes_pooled.
 * Uses up to n_threads threads, including the caller's, as team.h provides
 * them; the bits do not depend on their number. For a static model see
 * static.h. Scratch (emb_transformer_scratch_bytes) comes from mem and is
 * released before the return, whatever the status. EMB_ERR_NOMEM,
 * EMB_ERR_CANCELLED, EMB_ERR_INVALID_ARGUMENT (an id or length is out of
 * range, checked first).
 */
extern EmbStatus emb_transformer_run(const EmbTransformer *transformer, const EmbKernels *kernels, const EmbBatch *batch,
								  int32_t n_threads, const EmbAllocator *mem, const EmbStop *stop,
								  float *out, EmbError *err);

/* Scratch bytes for a batch of n_tokens tokens whose longest text has n_longest tokens. */
extern size_t emb_transformer_scratch_bytes(const EmbTransformer *transformer, int32_t n_tokens, int32_t n_longest,
											 int32_t n_threads);

/*
 * emb_transformer_run for an fp32 model, with a view of the inner values. Rows
 * come in ranges, each row of each point once; rows points at the first row of
 * the range. On one thread the ranges ascend. On several threads the ranges
 * come from all threads at once, in any order. For tests and calibration.
 */
typedef enum EmbObservePoint
{
	EMB_OBSERVE_HIDDEN,			/* [hidden] layer 0: after the embeddings and their norm; layer i: after layer i - 1 */
	EMB_OBSERVE_ATTN_IN,		/* [hidden] input of query, key, value of layer 0 .. n_layers - 1 */
	EMB_OBSERVE_ATTN_CONTEXT,	/* [query width] input of attn_out */
	EMB_OBSERVE_FFN_IN,			/* [hidden] input of ffn_up */
	EMB_OBSERVE_FFN_MID			/* [intermediate] input of ffn_down */
} EmbObservePoint;

typedef void (*EmbObserve) (void *ctx, EmbObservePoint point, int32_t layer, int32_t first_row,
							int32_t n_rows, const float *rows, size_t stride_elems);
extern EmbStatus emb_transformer_run_observed(const EmbTransformer *transformer, const EmbKernels *kernels, const EmbBatch *batch,
										   int32_t n_threads, const EmbAllocator *mem, const EmbStop *stop,
										   EmbObserve observe, void *observe_ctx, float *out, EmbError *err);

/*
 * A part of the pass, for a caller that has few layers in memory: layers first
 * .. end - 1, of which alone the weights are read; the forms of all layers are
 * set. With first = 0 the embeddings come before (first = end = 0: these
 * alone).
 */
typedef struct EmbLayerSpan
{
	int32_t		first,
				end;
	float	   *x;				/* [n_tokens, hidden], emb_transformer_stride apart, 64-byte aligned: hidden states,
								 * input and output. NULL: none are kept, and the span is the whole model */
	EmbObserve	observe;		/* or NULL */
	void	   *observe_ctx;
	EmbPrefix  *keep;			/* or NULL: the batch is one text, whose keys and values go behind keep's tokens. out is not
								 * written */
} EmbLayerSpan;

/* Elements from one row of hidden states to the next. */
static inline size_t
emb_transformer_stride(const EmbArch *arch)
{
	return ((size_t) arch->hidden + EMB_PANEL - 1) / EMB_PANEL * EMB_PANEL;
}

/*
 * All else as emb_transformer_run, with the same bits. out is written if end
 * is the number of layers; else it may be NULL. Not for a static model.
 */
extern EmbStatus emb_transformer_run_span(const EmbTransformer *transformer, const EmbKernels *kernels, const EmbBatch *batch,
										  const EmbLayerSpan *span, int32_t n_threads, const EmbAllocator *mem,
										  const EmbStop *stop, float *out, EmbError *err);

#endif
