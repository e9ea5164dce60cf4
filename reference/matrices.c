/*
 * matrices.c
 *		Reads tensors through the checkpoint seam.
 */
#include "reference/matrices.h"

#include <string.h>

float *
emb_ref_take(EmbRefRun *run, size_t n_rows, size_t n_cols)
{
	float	   *block;

	if (run->status != EMB_OK)
		return NULL;
	if (run->n_blocks == EMB_REF_MAX_BLOCKS)
	{
		run->status = emb_error(run->err, EMB_ERR_INTERNAL, "the reference takes more than %d blocks of memory", EMB_REF_MAX_BLOCKS);
		return NULL;
	}
	block = emb_alloc_array(run->c->mem, n_rows * n_cols, sizeof(float));
	if (block == NULL)
	{
		run->status = emb_error(run->err, EMB_ERR_NOMEM, "out of memory: a matrix of %zu by %zu for the reference", n_rows, n_cols);
		return NULL;
	}
	run->blocks[run->n_blocks++] = block;
	return block;
}

void
emb_ref_release(EmbRefRun *run, int mark)
{
	while (run->n_blocks > mark)
		emb_release(run->c->mem, run->blocks[--run->n_blocks]);
}

const float *
emb_ref_read(EmbRefRun *run, int32_t layer, EmbPart part, EmbTensorKind kind, int32_t n_rows, int32_t n_cols)
{
	EmbTensorKey key = {layer, part, kind};
	float	   *rows;

	/* checked first: the files' size then limits the memory */
	if (run->status == EMB_OK)
		run->status = emb_checkpoint_check(run->c, key, n_rows, n_cols, run->err);
	rows = emb_ref_take(run, n_rows, n_cols);
	if (run->status == EMB_OK)
		run->status = emb_checkpoint_read(run->c, key, 0, n_rows, n_cols, rows, run->err);
	return run->status == EMB_OK ? rows : NULL;
}

void
emb_ref_check_table(EmbRefRun *run, EmbPart part, int32_t n_rows, int32_t n_cols)
{
	EmbTensorKey key = {EMB_NO_LAYER, part, EMB_TENSOR_TABLE};

	if (run->status == EMB_OK)
		run->status = emb_checkpoint_check(run->c, key, n_rows, n_cols, run->err);
}

void
emb_ref_read_row(EmbRefRun *run, EmbPart part, int32_t row, int32_t n_cols, float *to)
{
	EmbTensorKey key = {EMB_NO_LAYER, part, EMB_TENSOR_TABLE};

	if (run->status == EMB_OK)
		run->status = emb_checkpoint_read(run->c, key, row, 1, n_cols, to, run->err);
}

EmbRefLinear
emb_ref_linear(EmbRefRun *run, int32_t layer, EmbPart part, int32_t n_out, int32_t n_in, bool has_bias)
{
	return (EmbRefLinear) {
		.n_out = n_out,
		.n_in = n_in,
		.weight = emb_ref_read(run, layer, part, EMB_TENSOR_WEIGHT, n_out, n_in),
		.bias = has_bias ? emb_ref_read(run, layer, part, EMB_TENSOR_BIAS, 1, n_out) : NULL,
	};
}

const float *
emb_ref_read_experts(EmbRefRun *run, int32_t layer, EmbPart part, int32_t n_rows, int32_t n_cols)
{
	size_t		n = (size_t) n_rows * n_cols;
	float	   *all;

	for (int32_t e = 0; run->status == EMB_OK && e < run->arch->n_experts; e++)
		run->status = emb_checkpoint_check(run->c, (EmbTensorKey) {layer, emb_part_of_expert(part, e), EMB_TENSOR_WEIGHT}, n_rows, n_cols, run->err);
	all = emb_ref_take(run, run->arch->n_experts, n);
	for (int32_t e = 0; run->status == EMB_OK && e < run->arch->n_experts; e++)
		run->status = emb_checkpoint_read(run->c, (EmbTensorKey) {layer, emb_part_of_expert(part, e), EMB_TENSOR_WEIGHT}, 0, n_rows, n_cols,
										  all + e * n, run->err);
	return run->status == EMB_OK ? all : NULL;
}

EmbRefNorm
emb_ref_read_norm(EmbRefRun *run, int32_t layer, EmbPart part, int32_t n)
{
	return (EmbRefNorm) {
		.gamma = emb_ref_read(run, layer, part, EMB_TENSOR_GAMMA, 1, n),
		.beta = run->arch->norm_kind == EMB_NORM_LAYER ? emb_ref_read(run, layer, part, EMB_TENSOR_BETA, 1, n) : NULL,
	};
}

void
emb_ref_multiply(const EmbRefRun *run, const EmbRefLinear *linear, int32_t n_rows, const float *x, float *y)
{
	bool		has_bias = linear->bias != NULL;

	for (int32_t i = 0; has_bias && i < n_rows; i++)
		memcpy(y + (size_t) i * linear->n_out, linear->bias, linear->n_out * sizeof(float));
	emb_blas_multiply(run->blas, n_rows, linear->n_out, linear->n_in, x, linear->n_in, linear->weight, linear->n_in,
					  has_bias ? 1 : 0, y, linear->n_out);
}
