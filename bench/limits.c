/*
 * limits.c
 *		What one core of this machine can do at most: int8 dot products in
 *		registers, in 10^9 operations (a multiply and an addition are two) a
 *		second, with the widest instructions that embed uses.
 *
 * Prints "LEVEL GOPS": the best of some short runs.
 */
#include <immintrin.h>
#include <stdio.h>
#include <time.h>

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

static void
measure(const char *level, double (*run) (void))
{
	double		best = 0;

	for (int i = 0; i < RUNS; i++)
	{
		double		begin = seconds();
		double		operations = run();
		double		rate = operations / (seconds() - begin) * 1e-9;

		best = rate > best ? rate : best;
	}
	printf("%s %.1f\n", level, best);
}

int
main(void)
{
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512vnni"))
		measure("avx512vnni", run_avx512vnni);
	if (__builtin_cpu_supports("avx2"))
		measure("avx2", run_avx2);
	return 0;
}
