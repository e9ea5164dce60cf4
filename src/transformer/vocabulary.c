/*
 * vocabulary.c
 *		The head over the vocabulary.
 */
#include "transformer/vocabulary.h"

#include <math.h>
#include <string.h>

#include "transformer/pooling.h"

static void
norm_row(const EmbVocabularyHead *head, const EmbKernels *kernels, const float *x, float *y)
{
	kernels->add_norm_f32(x, NULL, head->norm.gamma, head->norm.beta, head->norm_eps, head->dense.n_out, y);
}

bool
emb_vocabulary_prepare(const EmbVocabularyHead *head, EmbWork *work, const float *x, size_t stride, int32_t n_rows,
					   float *scratch, const EmbVocabularyRows *to, int32_t first)
{
	const EmbKernels *kernels = work->kernels;
	int32_t		n = head->dense.n_out;
	EmbGemmF32	g = {
		.n_rows = n_rows,
		.n_in = head->dense.n_in,
		.n_panels = (int32_t) emb_pack_f32_panels(n),
		.a = x,
		.a_stride = stride,
		.b = head->dense.weight,
		.bias = head->dense.bias,
		.c = scratch,
		.c_stride = stride
	};

	if (!emb_work_multiply(work, &g, emb_work_activation(kernels, head->activation)))
		return false;
	for (int32_t i = 0; i < n_rows; i++)
	{
		float	   *y = scratch + i * stride;
		size_t		row = (size_t) first + i;

		if (head->out.form == EMB_LINEAR_F32)
		{
			norm_row(head, kernels, y, to->rows + row * to->stride);
			continue;
		}
		norm_row(head, kernels, y, y);
		to->scales[row] = kernels->quantize_u8(y, head->out.factor, n, (int32_t) to->code_stride,
											   to->codes + row * to->code_stride, &to->zeros[row]);
	}
	return emb_work_spend(work, 16 * (int64_t) n_rows * n);
}

/* Logits of rows first .. first + n_rows - 1 for a slice. */
static bool
multiply(const EmbVocabularyHead *head, EmbWork *work, const EmbVocabularyRows *rows, int32_t first, int32_t n_rows,
		 int32_t panel, int32_t n_panels, float *c)
{
	const EmbLinear *out = &head->out;
	size_t		column = (size_t) panel * EMB_PANEL;
	size_t		c_stride = (size_t) n_panels * EMB_PANEL;
	EmbGemmF32	f32 = {
		.n_rows = n_rows, .n_in = out->n_in, .n_panels = n_panels, .a_stride = rows->stride,
		.bias = out->bias + column, .c = c, .c_stride = c_stride
	};
	EmbGemmI8	i8 = {
		.n_rows = n_rows, .n_groups = (int32_t) (rows->code_stride / EMB_GROUP), .n_panels = n_panels, .a_stride = rows->code_stride,
		.bias = out->bias + column, .c = c, .c_stride = c_stride
	};

	if (out->form == EMB_LINEAR_F32)
	{
		f32.a = rows->rows + first * rows->stride;
		f32.b = out->weight + column * out->n_in;
		return emb_work_multiply(work, &f32, NULL);
	}
	i8.a = rows->codes + first * rows->code_stride;
	i8.a_scale = rows->scales + first;
	i8.a_zero = rows->zeros + first;
	i8.b = out->weight_i8 + column * rows->code_stride;
	i8.b_scale = out->scale + column;
	i8.b_sums = out->sums + column;
	return emb_work_multiply_i8(work, &i8);
}

bool
emb_vocabulary_maxima(const EmbVocabularyHead *head, EmbWork *work, const EmbVocabularyRows *rows, const int32_t *offsets,
					  int32_t n_seqs, int32_t panel, int32_t n_panels, float *c, int32_t c_rows,
					  float *maxima, size_t maxima_stride)
{
	const EmbKernels *kernels = work->kernels;
	int32_t		n_columns = n_panels * EMB_PANEL;
	int32_t		end = offsets[n_seqs];
	int32_t		seq = 0;

	for (int32_t i = 0; i < n_seqs; i++)
		memset(maxima + i * maxima_stride, 0, n_columns * sizeof(float));
	for (int32_t first = 0; first < end; first += c_rows)
	{
		int32_t		n_rows = end - first < c_rows ? end - first : c_rows;

		if (!multiply(head, work, rows, first, n_rows, panel, n_panels, c))
			return false;
		for (int32_t i = 0; i < n_rows; i++)
		{
			while (first + i >= offsets[seq + 1])
				seq++;
			kernels->max_f32(maxima + seq * maxima_stride, c + (size_t) i * n_columns, n_columns);
		}
		if (!emb_work_spend(work, 2 * (int64_t) n_rows * n_columns))
			return false;
	}
	return true;
}

/*
 * The natural logarithm of y >= 1, to about 1e-15: y = m 2^e with m within a
 * factor of sqrt(2) of 1; log m = 2 (s + s^3/3 + s^5/5 + ..), s = (m - 1) / (m + 1).
 * libm's differs from version to version.
 */
static double
natural_log(double y)
{
	int			e;
	double		m = frexp(y, &e);
	double		s;
	double		square;
	double		sum = 0;

	if (m < 0.70710678118654752)
	{
		m *= 2;
		e--;
	}
	s = (m - 1) / (m + 1);
	square = s * s;
	for (int k = 21; k >= 1; k -= 2)
		sum = sum * square + 1.0 / k;
	return 2 * s * sum + e * 0.69314718055994531;
}

float
emb_vocabulary_weight(float x, int32_t n_logs)
{
	double		w = x;

	for (int32_t i = 0; i < n_logs; i++)
		w = w < 1e-8 ? w : natural_log(1 + w);
	return (float) w;
}
