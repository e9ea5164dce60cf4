/*
 * vectors_f32.c
 *		Cosine and normalization of result vectors, on the level in use; the
 *		score of a reranker's logit.
 */
#include <math.h>

#include "kernels/kernels.h"

/* Squared norms in this range lose no significant product to underflow or overflow. */
#define NORM2_MIN 1e-20f
#define NORM2_MAX 1e30f

static double
clamp_cosine(double c)
{
	if (c > 1.0)
		return 1.0;
	if (c < -1.0)
		return -1.0;
	return c;
}

/* Any finite floats: 3.4e38 squared, two billion times, is far inside a double. */
static float
cosine_wide(const float *a, const float *b, int32_t n)
{
	double		aa = 0,
				bb = 0,
				ab = 0;

	for (int32_t i = 0; i < n; i++)
	{
		aa += (double) a[i] * a[i];
		bb += (double) b[i] * b[i];
		ab += (double) a[i] * b[i];
	}
	if (aa == 0 || bb == 0)
		return 0;
	return (float) clamp_cosine(ab / (sqrt(aa) * sqrt(bb)));
}

float
emb_kernels_cosine(const float *a, const float *b, int32_t n)
{
	const EmbKernels *k = emb_kernels();
	EmbFpState	fp = emb_fp_enter();
	float		aa = k->dot_f32(a, a, n);
	float		bb = k->dot_f32(b, b, n);
	float		cosine;

	if (aa > NORM2_MIN && aa < NORM2_MAX && bb > NORM2_MIN && bb < NORM2_MAX)
		cosine = (float) clamp_cosine(k->dot_f32(a, b, n) / (sqrt((double) aa) * sqrt((double) bb)));
	else
		cosine = cosine_wide(a, b, n);
	emb_fp_leave(fp);
	return cosine;
}

void
emb_kernels_normalize(float *x, int32_t n)
{
	const EmbKernels *k = emb_kernels();
	EmbFpState	fp = emb_fp_enter();
	float		norm = sqrtf(k->dot_f32(x, x, n));

	k->div_f32(x, n, norm > 1e-12f ? norm : 1e-12f);
	emb_fp_leave(fp);
}

/*
 * In double, with a Taylor polynomial: only +, -, *, / and exact scaling, so
 * the bits are the same on every machine; libm does not guarantee this for
 * exp.
 */
float
emb_kernels_sigmoid(float x)
{
	static const double ln2_high = 0x1.62e42feep-1;	/* 32 bits: n times it is exact */
	static const double ln2_low = 0x1.a39ef35793c76p-33;
	EmbFpState	fp = emb_fp_enter();
	double		t = x > -87.0f ? -(double) (x < 87.0f ? x : 87.0f) : 87.0;
	int			n = (int) (t * 0x1.71547652b82fep+0 + (t < 0 ? -0.5 : 0.5));
	double		r = (t - n * ln2_high) - n * ln2_low;	/* |r| < 0.35 */
	double		e = 1;
	float		score;

	for (int k = 13; k > 0; k--)
		e = 1 + e * r / k;
	score = (float) (1 / (1 + ldexp(e, n)));
	emb_fp_leave(fp);
	return score;
}
