/*
 * arithmetic.c
 *		Norms, activations, rotation, softmax: each as its paper writes it.
 */
#include "reference/arithmetic.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------- norms */

/* Layer norm: Ba et al. 2016, section 3. RMS norm: Zhang and Sennrich 2019, section 4. */
static void
norm_row(EmbNormKind kind, EmbRefNorm norm, double eps, int32_t n, const float *x, float *y)
{
	double		mean = 0;
	double		squares = 0;
	double		scale;

	for (int32_t i = 0; kind == EMB_NORM_LAYER && i < n; i++)
		mean += x[i];
	mean /= n;
	for (int32_t i = 0; i < n; i++)
		squares += (x[i] - mean) * (x[i] - mean);
	scale = 1 / sqrt(squares / n + eps);
	for (int32_t i = 0; i < n; i++)
		y[i] = (float) ((x[i] - mean) * scale * norm.gamma[i] + (norm.beta != NULL ? norm.beta[i] : 0));
}

void
emb_ref_norm(EmbNormKind kind, EmbRefNorm norm, double eps, int64_t n_rows, int32_t n, const float *x, float *y, int n_threads)
{
	(void) n_threads;			/* a compiler without OpenMP */
#pragma omp parallel for num_threads(n_threads) if (n_rows * n >= EMB_REF_MIN_ELEMS)
	for (int64_t i = 0; i < n_rows; i++)
		norm_row(kind, norm, eps, n, x + i * n, y + i * n);
}

/* -------------------------------------------------------------- activations */

static float
activate(int32_t activation, float x)
{
	switch (activation)
	{
		case EMB_ACT_GELU:		/* Hendrycks and Gimpel 2016 */
			return 0.5f * x * (1 + erff(x * (float) M_SQRT1_2));
		case EMB_ACT_GELU_TANH:
			return 0.5f * x * (1 + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
		case EMB_ACT_RELU:
			return x > 0 ? x : 0;
		case EMB_ACT_SILU:
			return x / (1 + expf(-x));
		case EMB_ACT_TANH:
			return tanhf(x);
	}
	return x;
}

void
emb_ref_activate(int32_t activation, int64_t n, float *x, int n_threads)
{
	(void) n_threads;
#pragma omp parallel for num_threads(n_threads) if (n >= EMB_REF_MIN_ELEMS)
	for (int64_t i = 0; i < n; i++)
		x[i] = activate(activation, x[i]);
}

void
emb_ref_gate(int32_t activation, int64_t n, float *x, const float *up, int n_threads)
{
	(void) n_threads;
#pragma omp parallel for num_threads(n_threads) if (n >= EMB_REF_MIN_ELEMS)
	for (int64_t i = 0; i < n; i++)
		x[i] = activate(activation, x[i]) * up[i];
}

void
emb_ref_add(int64_t n, float *x, const float *y, int n_threads)
{
	(void) n_threads;
#pragma omp parallel for num_threads(n_threads) if (n >= EMB_REF_MIN_ELEMS)
	for (int64_t i = 0; i < n; i++)
		x[i] += y[i];
}

/* ------------------------------------------------------------------ rotation */

/* RoPE: Su et al. 2021, section 3.2.2. */
void
emb_ref_fill_angles(double base, double scale, int32_t n_positions, int32_t head_size, float *angles)
{
	int32_t		half = head_size / 2;
	float	   *sines = angles + (int64_t) n_positions * half;

	for (int32_t i = 0; i < half; i++)
	{
		float		frequency = 1.0f / (float) pow(base * scale, (float) (2 * i) / (float) head_size);

		if (scale > 1)
			frequency /= (float) pow(scale, 2.0f / (float) head_size);
		for (int32_t p = 0; p < n_positions; p++)
		{
			float		angle = (float) p * frequency;

			angles[(int64_t) p * half + i] = (float) cos(angle);
			sines[(int64_t) p * half + i] = (float) sin(angle);
		}
	}
}

static void
rotate_head(const float *cosines, const float *sines, int32_t half, float *x)
{
	for (int32_t i = 0; i < half; i++)
	{
		float		a = x[i];
		float		b = x[half + i];

		x[i] = a * cosines[i] - b * sines[i];
		x[half + i] = b * cosines[i] + a * sines[i];
	}
}

void
emb_ref_rotate(const float *angles, int32_t n_positions, int32_t n_rows, int32_t n_heads, int32_t head_size, float *x, int n_threads)
{
	int32_t		half = head_size / 2;
	const float *sines = angles + (int64_t) n_positions * half;

	(void) n_threads;
#pragma omp parallel for num_threads(n_threads) if ((int64_t) n_rows * n_heads * head_size >= EMB_REF_MIN_ELEMS)
	for (int32_t p = 0; p < n_rows; p++)
	{
		for (int32_t head = 0; head < n_heads; head++)
			rotate_head(angles + (int64_t) p * half, sines + (int64_t) p * half, half,
						x + ((int64_t) p * n_heads + head) * head_size);
	}
}

/* ------------------------------------------------------------------- softmax */

void
emb_ref_softmax(float *scores, int32_t n, int32_t first, int32_t end)
{
	float		largest = -INFINITY;
	double		sum = 0;

	for (int32_t i = first; i < end; i++)
		largest = scores[i] > largest ? scores[i] : largest;
	for (int32_t i = first; i < end; i++)
	{
		scores[i] = expf(scores[i] - largest);
		sum += scores[i];
	}
	memset(scores, 0, first * sizeof(float));
	memset(scores + end, 0, (n - end) * sizeof(float));
	for (int32_t i = first; i < end; i++)
		scores[i] = (float) (scores[i] / sum);
}

/* ------------------------------------------------------------------- vectors */

double
emb_ref_dot(const float *x, const float *y, int32_t n)
{
	double		sum = 0;

	for (int32_t i = 0; i < n; i++)
		sum += (double) x[i] * y[i];
	return sum;
}

void
emb_ref_normalize(float *x, int32_t n)
{
	double		norm = sqrt(emb_ref_dot(x, x, n));

	for (int32_t i = 0; i < n; i++)
		x[i] = (float) (x[i] / (norm > 1e-12 ? norm : 1e-12));
}
