/*
 * matrices.h
 *		A run's state: the checkpoint's tensors as plain matrices, memory, and
 *		the first error.
 *
 * Functions return NULL after an error, and do nothing once there was one. So
 * the code that computes reads like the equations, and checks run->status only
 * before it uses what it has read.
 *
 * Example:
 *
 *		int			mark = run->n_blocks;
 *		EmbRefLinear query = emb_ref_linear(run, layer, EMB_PART_QUERY, n_out, n_in, true);
 *		if (run->status == EMB_OK)
 *			emb_ref_multiply(run, &query, n_rows, x, y);
 *		emb_ref_release(run, mark);		// everything taken since
 */
#ifndef EMB_REFERENCE_MATRICES_H
#define EMB_REFERENCE_MATRICES_H

#include "reference/arithmetic.h"
#include "reference/reference.h"

/* Blocks of memory at a time: those of the run and those of a layer. */
#define EMB_REF_MAX_BLOCKS	64

typedef struct EmbRefRun
{
	const EmbCheckpoint *c;
	const EmbArch *arch;
	const EmbBlas *blas;
	int			n_threads;
	EmbStatus	status;
	EmbError   *err;
	int			n_blocks;
	void	   *blocks[EMB_REF_MAX_BLOCKS];
} EmbRefRun;

/* y = x W^T + b */
typedef struct EmbRefLinear
{
	int32_t		n_out,
				n_in;
	const float *weight;		/* [n_out, n_in] */
	const float *bias;			/* [n_out], or NULL: none */
} EmbRefLinear;

extern float *emb_ref_take(EmbRefRun *run, size_t n_rows, size_t n_cols);
extern void emb_ref_release(EmbRefRun *run, int mark);

/* A tensor as the checkpoint has it, [n_rows, n_cols]. */
extern const float *emb_ref_read(EmbRefRun *run, int32_t layer, EmbPart part, EmbTensorKind kind, int32_t n_rows, int32_t n_cols);

/* Row of a table that emb_ref_check_table has checked, into to. */
extern void emb_ref_check_table(EmbRefRun *run, EmbPart part, int32_t n_rows, int32_t n_cols);
extern void emb_ref_read_row(EmbRefRun *run, EmbPart part, int32_t row, int32_t n_cols, float *to);

extern EmbRefLinear emb_ref_linear(EmbRefRun *run, int32_t layer, EmbPart part, int32_t n_out, int32_t n_in, bool has_bias);
/* The same part of all experts, one after another: [n_experts, n_rows, n_cols]. */
extern const float *emb_ref_read_experts(EmbRefRun *run, int32_t layer, EmbPart part, int32_t n_rows, int32_t n_cols);

extern EmbRefNorm emb_ref_read_norm(EmbRefRun *run, int32_t layer, EmbPart part, int32_t n);

/* y [n_rows, n_out] = x W^T + b for x [n_rows, n_in]. */
extern void emb_ref_multiply(const EmbRefRun *run, const EmbRefLinear *linear, int32_t n_rows, const float *x, float *y);

/* A layer's experts in the place of its feed-forward network. */
typedef struct EmbRefExperts
{
	EmbRefLinear router;		/* [n_experts, hidden] */
	const float *up;			/* [n_experts, intermediate, hidden] */
	const float *down;			/* [n_experts, hidden, intermediate] */
	const float *bias;			/* [hidden] of their sum */
} EmbRefExperts;

/* router.c: y = the experts' outputs for x, both [n, hidden]. */
extern EmbRefExperts emb_ref_experts(EmbRefRun *run, int32_t layer);
extern void emb_ref_run_experts(EmbRefRun *run, const EmbRefExperts *experts, int32_t n, const float *x, float *y);

/* heads.c: everything after the layers, for the rows [n_ids, hidden] of each text. */
extern void emb_ref_run_heads(EmbRefRun *run, const EmbReferenceText *texts, int32_t n_texts, float *const *rows);

#endif
