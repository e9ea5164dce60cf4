/*
 * cli_peak.c
 *		Dot products of int8 and multiply-adds of fp32 in registers: no memory,
 *		no loads. Also compiled into bench/limits.c.
 */
#include "cli/cli_peak.h"

#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* gcc 10, and the assembler of its time, know neither tiles nor the VEX form of vpdpbusd. */
#if defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11
#define HAS_NEW_INSTRUCTIONS 1
#else
#define HAS_NEW_INSTRUCTIONS 0
#endif

#define RUNS	15
#define STEPS	2000000L
#define CHAINS	12

static double
seconds(void)
{
	struct timespec ts;

	/* of this thread: what others do meanwhile does not count */
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

/* CHAINS independent accumulators, named, so that the compiler keeps them in registers. */
#define TWELVE(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

#if defined(__x86_64__)

__attribute__((target("avx512f,avx512vnni"))) static double
run_avx512vnni(void)
{
#define DECLARE(i) __m512i acc##i = _mm512_setzero_si512();
#define STEP(i) __asm__ volatile ("vpdpbusd %%zmm30, %%zmm31, %0" : "+v"(acc##i));
	TWELVE(DECLARE)
	for (long n = 0; n < STEPS; n++)
	{
		TWELVE(STEP)
	}
#undef DECLARE
#undef STEP
	return (double) STEPS * CHAINS * 64 * 2;
}

__attribute__((target("avx512f"))) static double
run_avx512_f32(void)
{
#define DECLARE(i) __m512 acc##i = _mm512_setzero_ps();
#define STEP(i) __asm__ volatile ("vfmadd231ps %1, %1, %0" : "+v"(acc##i) : "v"(one));
	__m512		one = _mm512_set1_ps(1);

	TWELVE(DECLARE)
	for (long n = 0; n < STEPS; n++)
	{
		TWELVE(STEP)
	}
#undef DECLARE
#undef STEP
	return (double) STEPS * CHAINS * 16 * 2;
}

__attribute__((target("avx2,fma"))) static double
run_avx2_f32(void)
{
#define DECLARE(i) __m256 acc##i = _mm256_setzero_ps();
#define STEP(i) __asm__ volatile ("vfmadd231ps %1, %1, %0" : "+x"(acc##i) : "x"(one));
	__m256		one = _mm256_set1_ps(1);

	TWELVE(DECLARE)
	for (long n = 0; n < STEPS; n++)
	{
		TWELVE(STEP)
	}
#undef DECLARE
#undef STEP
	return (double) STEPS * CHAINS * 8 * 2;
}

/* The exact form on AVX2: 16-bit products, summed in pairs, then added. */
__attribute__((target("avx2"))) static double
run_avx2(void)
{
#define DECLARE(i) __m256i acc##i = _mm256_setzero_si256();
#define STEP(i) __asm__ volatile ("vpmaddwd %%ymm14, %%ymm15, %%ymm13\n vpaddd %%ymm13, %0, %0" : "+x"(acc##i) : : "xmm13");
	TWELVE(DECLARE)
	for (long n = 0; n < STEPS; n++)
	{
		TWELVE(STEP)
	}
#undef DECLARE
#undef STEP
	return (double) STEPS * CHAINS * 16 * 2;
}

#if HAS_NEW_INSTRUCTIONS

/* The VEX form, of CPUs without AVX-512: the prefix says so. */
__attribute__((target("avx2"))) static double
run_avxvnni(void)
{
#define DECLARE(i) __m256i acc##i = _mm256_setzero_si256();
#define STEP(i) __asm__ volatile ("%{vex%} vpdpbusd %%ymm14, %%ymm15, %0" : "+x"(acc##i));
	TWELVE(DECLARE)
	for (long n = 0; n < STEPS; n++)
	{
		TWELVE(STEP)
	}
#undef DECLARE
#undef STEP
	return (double) STEPS * CHAINS * 32 * 2;
}

/* Four tiles of sums, two of each operand: 16 x 16 sums of 64 products a step. */
__attribute__((target("amx-tile,amx-int8"))) static double
run_amx(void)
{
	struct
	{
		unsigned char palette,
					start,
					reserved[14];
		unsigned short bytes[16];
		unsigned char rows[16];
	}			config;
	long		n_steps = STEPS / 16;

	memset(&config, 0, sizeof(config));
	config.palette = 1;
	for (int i = 0; i < 8; i++)
	{
		config.bytes[i] = 64;
		config.rows[i] = 16;
	}
	/* some compilers believe that ldtilecfg reads 8 bytes */
	__asm__ volatile ("" : : "r" (&config) : "memory");
	_tile_loadconfig(&config);
	for (long n = 0; n < n_steps; n++)
	{
		_tile_dpbusd(0, 4, 6);
		_tile_dpbusd(1, 4, 7);
		_tile_dpbusd(2, 5, 6);
		_tile_dpbusd(3, 5, 7);
	}
	_tile_release();
	return (double) n_steps * 4 * 16 * 16 * 64 * 2;
}

#endif
#endif

#if defined(__aarch64__)

__attribute__((target("arch=armv8.2-a+dotprod"))) static double
run_neon(void)
{
#define DECLARE(i) int32x4_t acc##i = vdupq_n_s32(0);
#define STEP(i) __asm__ volatile ("sdot %0.4s, v30.16b, v31.16b" : "+w"(acc##i));
	TWELVE(DECLARE)
	for (long n = 0; n < STEPS; n++)
	{
		TWELVE(STEP)
	}
#undef DECLARE
#undef STEP
	return (double) STEPS * CHAINS * 16 * 2;
}

static double
run_neon_f32(void)
{
#define DECLARE(i) float32x4_t acc##i = vdupq_n_f32(0);
#define STEP(i) __asm__ volatile ("fmla %0.4s, %1.4s, %1.4s" : "+w"(acc##i) : "w"(one));
	float32x4_t one = vdupq_n_f32(1);

	TWELVE(DECLARE)
	for (long n = 0; n < STEPS; n++)
	{
		TWELVE(STEP)
	}
#undef DECLARE
#undef STEP
	return (double) STEPS * CHAINS * 4 * 2;
}

#endif

static const struct
{
	const char *level;
	double		(*run_i8) (void);
	double		(*run_f32) (void);
}			levels[] = {
#if defined(__x86_64__)
#if HAS_NEW_INSTRUCTIONS
	{"amx", run_amx, run_avx512_f32},
	{"avxvnni", run_avxvnni, run_avx2_f32},
#endif
	{"avx512vnni", run_avx512vnni, run_avx512_f32},
	{"avx2", run_avx2, run_avx2_f32},
#elif defined(__aarch64__)
	{"neon", run_neon, run_neon_f32},
#endif
	{"", NULL, NULL}
};

double
cli_peak_gops(const char *level, bool is_fp32)
{
	double		(*run) (void) = NULL;
	double		best = 0;

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
	{
		if (strcmp(levels[i].level, level) == 0)
			run = is_fp32 ? levels[i].run_f32 : levels[i].run_i8;
	}
	for (int i = 0; run != NULL && i < RUNS; i++)
	{
		double		begin = seconds();
		double		operations = run();
		double		rate = operations / (seconds() - begin) * 1e-9;

		best = rate > best ? rate : best;
	}
	return best;
}
