/*
 * test_numerics.c
 *		Distance of the kernels from the exact values, and what keeps their bits
 *		equal: no fused a * b + c, the floating-point environment.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "unit.h"

#include "kernels/kernels.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

static const char *const levels[] = {"scalar", "avx2", "avx512vnni"};
#define N_LEVELS ((int) (sizeof(levels) / sizeof(levels[0])))

/* The bounds that kernels.h names. */
#define EXP2_BOUND		1.2e-7	/* relative */
#define GELU_BOUND		2e-7	/* of max(1, |x|) */
#define GELU_TANH_BOUND	3e-7
#define TANH_BOUND		4e-7	/* relative */
#define SIGMOID_BOUND	6.1e-8	/* relative: a rounding to float */

/* (1 + 2^-12)^2 - (1 + 2^-11) is 2^-24 if fused, 0 if the product is rounded first. */
static void
test_contraction(const EmbKernels *k)
{
	volatile float a = 1.0f + 0x1p-12f,
				c = -(1.0f + 0x1p-11f);
	float		here = a * a + c;
	float		x[40],
				y[40];
	bool		unfused = true;

	CHECKF(here == 0.0f, "this compilation fuses a * b + c: %a", (double) here);
	for (int i = 0; i < 40; i++)
	{
		x[i] = a;
		y[i] = c;
	}
	k->muladd_f32(y, x, 37, a);
	for (int i = 0; i < 37; i++)
		unfused = unfused && y[i] == 0.0f;
	CHECKF(unfused, "the kernels of level %s fuse a * b + c", k->name);
	CHECK(y[37] == c);
}

/* exp by way of softmax_f32: with 0 the largest and scale ln 2, x becomes 2^x. */
static void
test_exp2(const EmbKernels *k)
{
	double		worst = 0;
	float		x[1024];

	/* the product by scale * log2(e) rounds t, which costs t * 2^-24; so small t here, all t below */
	for (double t = 0; t > -0.999; t -= 1.0 / 4096 / 61)
	{
		float		pair[2] = {0.0f, (float) t};
		double		scale_log2e = (double) (float) (0x1.62e43p-1f * 0x1.715476p+0f);
		double		exact;

		k->softmax_f32(pair, 2, 0x1.62e43p-1f);
		exact = exp2((double) (float) ((double) (float) t * scale_log2e));
		worst = fmax(worst, fabs(pair[1] / exact - 1));
	}
	CHECKF(worst < EXP2_BOUND, "2^t in -1..0 on %s is off by %g", k->name, worst);
	x[0] = 0;
	for (int i = 1; i < 1024; i++)
		x[i] = -(float) i;
	CHECK(k->softmax_f32(x, 1024, 1.0f) >= 1.0f);
	worst = 0;
	for (int i = 0; i < 80; i++)
		worst = fmax(worst, fabs(x[i] / exp(-(double) i) - 1));
	CHECKF(worst < 1e-5, "exp(-i) on %s is off by %g", k->name, worst);
	CHECKF(x[1023] == 0x1p-125f, "exp(-1023) on %s is %a, not the least value", k->name, (double) x[1023]);
}

/* Spans of scores that overflow a float: the largest is 1, the others the least value. */
static void
test_softmax_extremes(const EmbKernels *k)
{
	float		x[3] = {-FLT_MAX, FLT_MAX, 1.0f};

	CHECK(k->softmax_f32(x, 3, 1.0f) >= 1.0f);
	CHECK(x[0] == 0x1p-125f && x[1] == 1.0f && x[2] == 0x1p-125f);
	x[0] = x[1] = x[2] = -FLT_MAX;
	CHECK(k->softmax_f32(x, 3, 1.0f) == 3.0f);
}

static double
gelu_exact(double x)
{
	return 0.5 * x * erfc(-x / sqrt(2.0));
}

static double
gelu_tanh_exact(double x)
{
	double		u = sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x);

	return x / (1 + exp(-2 * u));
}

static double
silu_exact(double x)
{
	return x / (1 + exp(-x));
}

static void
test_activation(const EmbKernels *k, const char *name, void (*f) (float *, int32_t), double (*exact) (double), double bound)
{
	enum {N = 1000};
	double		worst = 0,
				at = 0;
	uint32_t	bits = 1;

	/* every 1,009th float up to 16 in size, both signs */
	while (bits < 0x41800000)
	{
		float		x[2 * N],
					y[2 * N];

		for (int i = 0; i < N; i++, bits += 1009)
		{
			memcpy(&x[2 * i], &bits, sizeof(bits));
			x[2 * i + 1] = -x[2 * i];
		}
		memcpy(y, x, sizeof(x));
		f(y, 2 * N);
		for (int i = 0; i < 2 * N; i++)
		{
			double		d = fabs(y[i] - exact(x[i])) / fmax(1, fabs(x[i]));

			if (!(d <= worst))
			{
				worst = d;
				at = x[i];
			}
		}
	}
	printf("# %s on %s: worst %.3g at %g\n", name, k->name, worst, at);
	CHECKF(worst < bound, "%s on %s is off by %g at %g", name, k->name, worst, at);
}

/* Relatively, down to the least normal float. */
static void
test_tanh(const EmbKernels *k)
{
	float		ends[6] = {0.0f, -0.0f, 100.0f, -100.0f, FLT_MAX, -FLT_MAX};
	double		worst = 0,
				at = 0;

	for (uint32_t bits = 0x00800000; bits < 0x41200000; bits += 16 * 509)
	{
		float		x[16],
					y[16];

		for (uint32_t i = 0; i < 16; i++)
		{
			uint32_t	b = (bits + 509 * i) | (i % 2) << 31;

			memcpy(&x[i], &b, sizeof(b));
		}
		memcpy(y, x, sizeof(x));
		k->tanh_f32(y, 16);
		for (int i = 0; i < 16; i++)
		{
			double		d = fabs(y[i] / tanh(x[i]) - 1);

			if (!(d <= worst))
			{
				worst = d;
				at = x[i];
			}
		}
	}
	printf("# tanh on %s: worst %.3g at %g\n", k->name, worst, at);
	CHECKF(worst < TANH_BOUND, "tanh on %s is off by %g at %g", k->name, worst, at);
	k->tanh_f32(ends, 6);
	CHECK(ends[0] == 0 && ends[1] == 0 && ends[2] == 1 && ends[3] == -1 && ends[4] == 1 && ends[5] == -1);
}

static void
test_sigmoid(void)
{
	double		worst = 0;
	float		before = 0;
	bool		ascends = true;

	for (int i = -87000; i <= 87000; i++)
	{
		float		x = (float) i / 1000;
		float		score = emb_kernels_sigmoid(x);

		worst = fmax(worst, fabs(score * (1 + exp(-(double) x)) - 1));
		ascends = ascends && score >= before;
		before = score;
	}
	CHECKF(worst < SIGMOID_BOUND, "the sigmoid is off by %g", worst);
	CHECK(ascends && before == 1);
	CHECK(emb_kernels_sigmoid(0) == 0.5f && emb_kernels_sigmoid(FLT_MAX) == 1);
	CHECK(emb_kernels_sigmoid(-FLT_MAX) == emb_kernels_sigmoid(-87) && emb_kernels_sigmoid(-87) >= FLT_MIN);
}

static void
test_tails(const EmbKernels *k)
{
	float		x[4] = {100.0f, -100.0f, 3e38f, -3e38f};
	float		y[4];

	memcpy(y, x, sizeof(x));
	k->gelu_f32(y, 4);
	CHECKF(y[0] == x[0] && y[1] == 0 && y[2] == x[2] && y[3] == 0, "%a %a", (double) y[1], (double) y[3]);
	memcpy(y, x, sizeof(x));
	k->gelu_tanh_f32(y, 4);
	CHECKF(y[0] == x[0] && fabsf(y[1]) < 1e-36f && y[2] == x[2] && fabsf(y[3]) < 1e-36f, "%a %a", (double) y[1], (double) y[3]);
}

/* |C - exact| <= (K + blocks + 2) 2^-24 sum |a b| + ...: the textbook bound of a chain (Higham 2002, 3.1). */
static void
test_gemm_error(const EmbKernels *k)
{
	enum {M = 7, K = 901, N = 48};
	static float a[M * K],
				b[N * K],
				c[M * N],
				bias[N];
	double		worst = 0;
	uint32_t	state = 7;

	for (int i = 0; i < M * K; i++)
		a[i] = (float) (int32_t) (state = state * 1664525u + 1013904223u) * 0x1p-31f;
	for (int i = 0; i < N * K; i++)
		b[i] = (float) (int32_t) (state = state * 1664525u + 1013904223u) * 0x1p-31f;
	for (int i = 0; i < N; i++)
		bias[i] = (float) i;
	k->gemm_f32(&(EmbGemmF32) {.n_rows = M, .n_in = K, .n_panels = N / EMB_PANEL, .a = a, .a_stride = K,
							   .b = b, .bias = bias, .c = c, .c_stride = N});
	for (int m = 0; m < M; m++)
		for (int n = 0; n < N; n++)
		{
			double		sum = bias[n],
						size = fabs(sum);

			for (int i = 0; i < K; i++)
			{
				double		product = (double) a[m * K + i] * b[(n / 16 * K + i) * 16 + n % 16];

				sum += product;
				size += fabs(product);
			}
			worst = fmax(worst, fabs(c[m * N + n] - sum) / size);
		}
	CHECKF(worst < (EMB_GEMM_K_BLOCK + 4) * 0x1p-24, "gemm_f32 on %s is off by %g", k->name, worst);
}

static void
test_add_norm_error(const EmbKernels *k)
{
	enum {N = 389};
	float		x[N],
				r[N],
				gamma[N],
				beta[N],
				y[N];
	double		mean = 0,
				variance = 0,
				worst = 0;

	for (int i = 0; i < N; i++)
	{
		x[i] = sinf((float) i);
		r[i] = cosf((float) (3 * i)) + 0.5f;
		gamma[i] = 1 + (float) i / N;
		beta[i] = (float) (i % 5) / 5;
		mean += ((double) x[i] + r[i]) / N;
	}
	for (int i = 0; i < N; i++)
		variance += pow((double) x[i] + r[i] - mean, 2) / N;
	k->add_norm_f32(x, r, gamma, beta, 1e-12f, N, y);
	for (int i = 0; i < N; i++)
		worst = fmax(worst, fabs(y[i] - (((double) x[i] + r[i] - mean) / sqrt(variance + 1e-12) * gamma[i] + beta[i])));
	CHECKF(worst < 2e-6, "add_norm_f32 on %s is off by %g", k->name, worst);
	for (int i = 0; i < N; i++)
		x[i] = 3;				/* no variance: beta, even with eps 0 */
	k->add_norm_f32(x, NULL, gamma, beta, 0, N, y);
	CHECK(memcmp(y, beta, sizeof(y)) == 0);
}

static void
test_rms_norm_error(const EmbKernels *k)
{
	enum {N = 389};
	float		x[N],
				gamma[N],
				y[N];
	double		mean_square = 0,
				worst = 0;

	for (int i = 0; i < N; i++)
	{
		x[i] = sinf((float) i) + 0.5f;
		gamma[i] = 1 + (float) i / N;
		mean_square += (double) x[i] * x[i] / N;
	}
	k->rms_norm_f32(x, gamma, 1e-6f, N, y);
	for (int i = 0; i < N; i++)
		worst = fmax(worst, fabs(y[i] - x[i] / sqrt(mean_square + 1e-6) * gamma[i]));
	CHECKF(worst < 1e-6, "rms_norm_f32 on %s is off by %g", k->name, worst);
	/* no NaN: zeros with eps 0, and a sum of squares that overflows, give zeros */
	for (int kind = 0; kind < 2; kind++)
	{
		int			n_zeros = 0;

		for (int i = 0; i < N; i++)
			x[i] = kind == 0 ? 0.0f : 3e38f;
		k->rms_norm_f32(x, gamma, 0, N, y);
		for (int i = 0; i < N; i++)
			n_zeros += y[i] == 0;
		CHECKF(n_zeros == N, "rms_norm_f32 on %s of %g: %d zeros", k->name, x[0], n_zeros);
	}
	/* the limit under the root: 1e-18 / sqrt(1e-30) */
	x[0] = 1e-18f;
	k->rms_norm_f32(x, gamma, 0, 1, y);
	CHECKF(fabs(y[0] - 1e-3) < 1e-9, "rms_norm_f32 on %s of 1e-18 is %g", k->name, y[0]);
}

static void
test_vectors(const EmbKernels *k)
{
	float		a[3] = {1, 2, 2},
				b[3] = {2, 4, 4},
				c[3] = {-1, -2, -2},
				zero[3] = {0, 0, 0},
				huge[3] = {3e38f, 3e38f, 3e38f},
				tiny[3] = {1e-44f, 0, 0},
				nan[3] = {NAN, 0, 1};

	CHECKF(emb_kernels_cosine(a, b, 3) == 1.0f, "on %s", k->name);
	CHECK(emb_kernels_cosine(a, c, 3) == -1.0f);
	CHECK(emb_kernels_cosine(a, zero, 3) == 0.0f && emb_kernels_cosine(zero, zero, 3) == 0.0f);
	CHECK(emb_kernels_cosine(huge, huge, 3) == 1.0f);
	CHECK(fabsf(emb_kernels_cosine(huge, a, 3) - 0.96225f) < 1e-5f);
	CHECK(emb_kernels_cosine(tiny, tiny, 3) == 1.0f && fabsf(emb_kernels_cosine(tiny, a, 3) - 1.0f / 3) < 1e-6f);
	CHECK(isnan(emb_kernels_cosine(nan, a, 3)));
	CHECK(emb_kernels_cosine(a, b, 1) == 1.0f);
	emb_kernels_normalize(b, 3);
	CHECK(fabsf(b[0] - 1.0f / 3) < 1e-7f && fabsf(b[1] - 2.0f / 3) < 1e-7f);
	emb_kernels_normalize(zero, 3);
	CHECK(zero[0] == 0 && zero[2] == 0);
}

/* A library may have set flush-to-zero or another rounding: results must not notice, the caller's setting must survive. */
#if defined(__x86_64__)
#define STATUS_BITS 0x3Fu
static const unsigned settings[] = {0x8040, 0x2000, 0x4000, 0x6000};	/* FTZ | DAZ, down, up, to zero */

static unsigned
get_control(void)
{
	return _mm_getcsr();
}

static void
set_control(unsigned control)
{
	_mm_setcsr(control);
}
#elif defined(__aarch64__)
#define STATUS_BITS 0u			/* those of FPCR are elsewhere */
static const unsigned settings[] = {1u << 24, 2u << 22, 1u << 22, 3u << 22};	/* FZ, down, up, to zero */

static unsigned
get_control(void)
{
	uint64_t	control;

	__asm__ volatile ("mrs %0, fpcr" : "=r" (control));
	return (unsigned) control;
}

static void
set_control(unsigned control)
{
	__asm__ volatile ("msr fpcr, %0" : : "r" ((uint64_t) control) : "memory");
}
#endif

static void
test_environment(const EmbKernels *k)
{
#if defined(__x86_64__) || defined(__aarch64__)
	float		a[3] = {1.1f, 2.3f, 1e-39f},
				b[3] = {0.3f, 0.7f, 1e20f};
	float		plain = emb_kernels_cosine(a, b, 3);
	unsigned	before = get_control();

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
	{
		float		x[3] = {1.1f, 2.3f, 1e-39f},
					y[3] = {1.1f, 2.3f, 1e-39f};
		float		cosine;
		unsigned	after;

		emb_kernels_normalize(x, 3);
		set_control((before & ~STATUS_BITS) | settings[i]);
		cosine = emb_kernels_cosine(a, b, 3);
		emb_kernels_normalize(y, 3);
		after = get_control();
		set_control(before);
		CHECKF(memcmp(&cosine, &plain, sizeof(cosine)) == 0 && memcmp(x, y, sizeof(x)) == 0,
			   "control register %x changes results on %s", settings[i], k->name);
		CHECKF((after & ~STATUS_BITS) == ((before & ~STATUS_BITS) | settings[i]), "control register is %x afterwards", after);
	}
#else
	(void) k;
	skip("the control register is set on x86-64 and arm64 only in this test");
#endif
}

static void
test_packing(void)
{
	float		rows[3 * 5],
				panel[5 * 16];

	for (int i = 0; i < 15; i++)
		rows[i] = (float) (i + 1);
	emb_pack_f32_panel(rows, 3, 5, panel);
	CHECK(panel[0] == 1 && panel[1] == 6 && panel[2] == 11 && panel[3] == 0 && panel[16] == 2 && panel[4 * 16 + 2] == 15);
	CHECK(emb_pack_f32_panels(1) == 1 && emb_pack_f32_panels(16) == 1 && emb_pack_f32_panels(17) == 2);
	CHECK(emb_pack_f32_bytes(17, 5) == 2 * 16 * 5 * 4);
	CHECK(emb_pack_f32_bytes(1 << 20, 1 << 20) == (size_t) 1 << 42);
}

int
main(void)
{
	test_packing();
	for (int i = 0; i < N_LEVELS; i++)
	{
		const EmbKernels *k;
		EmbFpState	fp;

		if (emb_kernels_select(levels[i], NULL) != EMB_OK)
		{
			printf("# level %s is not available here\n", levels[i]);
			skip("a level this CPU lacks");
			continue;
		}
		k = emb_kernels();
		fp = emb_fp_enter();
		test_contraction(k);
		test_exp2(k);
		test_softmax_extremes(k);
		test_activation(k, "gelu", k->gelu_f32, gelu_exact, GELU_BOUND);
		test_activation(k, "gelu_tanh", k->gelu_tanh_f32, gelu_tanh_exact, GELU_TANH_BOUND);
		test_activation(k, "silu", k->silu_f32, silu_exact, GELU_TANH_BOUND);
		test_tanh(k);
		test_tails(k);
		test_gemm_error(k);
		test_add_norm_error(k);
		test_rms_norm_error(k);
		emb_fp_leave(fp);
		test_vectors(k);
		test_sigmoid();
		test_environment(k);
	}
	return done_testing();
}
