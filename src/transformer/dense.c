/*
 * dense.c
 *		Modules after the pooling: dense layers and layer norms.
 */
#include "transformer/dense.h"

#include <string.h>

#include "transformer/pooling.h"
#include "transformer/work.h"

/* Rows that go through all layers together, to limit the scratch. */
#define BLOCK_ROWS	64

/* Elements per row of scratch: the widest result, in whole panels. */
static size_t
row_elems(const EmbDense *dense)
{
	size_t		widest = 0;

	for (int32_t i = 0; i < dense->n_layers; i++)
	{
		size_t		n = emb_pack_f32_panels(dense->layers[i].n_out) * EMB_PANEL;

		widest = n > widest ? n : widest;
	}
	return widest;
}

/* A layer reads the output of the layer before, so two blocks alternate. Behind them a row of ones and one of zeros. */
size_t
emb_transformer_dense_scratch_bytes(const EmbDense *dense)
{
	return (2 * BLOCK_ROWS + 2) * row_elems(dense) * sizeof(float);
}

static void
norm_rows(const EmbDenseLayer *layer, const EmbKernels *kernels, const float *a, size_t a_stride, int32_t n_rows,
		  const float *ones, const float *zeros, float *c, size_t c_stride)
{
	bool		has_weights = layer->norm.gamma != NULL;

	for (int32_t i = 0; i < n_rows; i++)
		kernels->add_norm_f32(a + i * a_stride, NULL, has_weights ? layer->norm.gamma : ones, has_weights ? layer->norm.beta : zeros,
							  layer->norm_eps, layer->n_out, c + i * c_stride);
}

static bool
run_linear(const EmbDenseLayer *layer, EmbWork *work, const float *a, size_t a_stride, int32_t n_rows, float *c, size_t c_stride)
{
	EmbGemmF32	g = {
		.n_rows = n_rows,
		.n_in = layer->linear.n_in,
		.n_panels = (int32_t) emb_pack_f32_panels(layer->linear.n_out),
		.a = a,
		.a_stride = a_stride,
		.b = layer->linear.weight,
		.bias = layer->linear.bias,
		.c = c,
		.c_stride = c_stride
	};

	return emb_work_multiply(work, &g, emb_work_activation(work->kernels, layer->activation));
}

static bool
finish_rows(const EmbDenseLayer *layer, const EmbKernels *kernels, float *rows, size_t stride, int32_t n_rows)
{
	for (int32_t i = 0; i < n_rows; i++)
	{
		float	   *row = rows + i * stride;

		if (!emb_pool_is_finite(row, layer->n_out) ||
			(layer->normalize && !emb_pool_normalize(kernels, row, layer->n_out)))
			return false;
	}
	return true;
}

static EmbStatus
run_block(const EmbDense *dense, EmbWork *work, const float *rows, int32_t n_rows, float *scratch, float *out, EmbError *err)
{
	size_t		stride = row_elems(dense);
	const float *a = rows;
	size_t		a_stride = dense->layers[0].n_in;
	int32_t		n_out = dense->layers[dense->n_layers - 1].n_out;
	const float *ones = scratch + 2 * BLOCK_ROWS * stride;

	for (int32_t i = 0; i < dense->n_layers; i++)
	{
		const EmbDenseLayer *layer = &dense->layers[i];
		float	   *c = scratch + (i % 2) * BLOCK_ROWS * stride;

		if (layer->linear.n_out == 0)
			norm_rows(layer, work->kernels, a, a_stride, n_rows, ones, ones + stride, c, stride);
		else if (!run_linear(layer, work, a, a_stride, n_rows, c, stride))
			return emb_error(err, EMB_ERR_CANCELLED, "stopped in a dense layer");
		if (!finish_rows(layer, work->kernels, c, stride, n_rows))
			return emb_error(err, EMB_ERR_LIMIT, "the model's weights overflow single precision: the result is not finite");
		a = c;
		a_stride = stride;
	}
	for (int32_t i = 0; i < n_rows; i++)
		memcpy(out + (size_t) i * n_out, a + i * stride, n_out * sizeof(float));
	return EMB_OK;
}

EmbStatus
emb_transformer_dense(const EmbDense *dense, const EmbKernels *kernels, const float *rows, int32_t n_rows,
				  const EmbAllocator *mem, const EmbStop *stop, float *out, EmbError *err)
{
	size_t		n_in = dense->layers[0].n_in;
	size_t		n_out = dense->layers[dense->n_layers - 1].n_out;
	size_t		stride = row_elems(dense);
	size_t		bytes = emb_transformer_dense_scratch_bytes(dense);
	float	   *scratch = emb_alloc(mem, bytes);
	_Atomic bool stopped = false;
	EmbWork		work;
	EmbStatus	status = EMB_OK;
	EmbFpState	fp;

	if (scratch == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory: %zu bytes for dense layers", bytes);
	for (size_t i = 0; i < 2 * stride; i++)
		scratch[2 * BLOCK_ROWS * stride + i] = i < stride ? 1 : 0;
	fp = emb_fp_enter();
	if (!emb_work_begin(&work, kernels, stop, &stopped))
		status = emb_error(err, EMB_ERR_CANCELLED, "stopped before a dense layer");
	for (int32_t i = 0; status == EMB_OK && i < n_rows; i += BLOCK_ROWS)
	{
		int32_t		n = n_rows - i < BLOCK_ROWS ? n_rows - i : BLOCK_ROWS;

		status = run_block(dense, &work, rows + i * n_in, n, scratch, out + i * n_out, err);
	}
	emb_fp_leave(fp);
	emb_release(mem, scratch);
	return status;
}
