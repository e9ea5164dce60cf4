/*
 * limits.c
 *		What one core of this machine can do at most: int8 dot products in
 *		registers, in 10^9 operations (a multiply and an addition are two) a
 *		second, with the widest instructions that embed uses.
 *
 * Prints "LEVEL GOPS": the best of some short runs.
 */
#include <stdio.h>
#include <time.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <sys/auxv.h>
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

/* The CPU has it and the kernel grants it. */
static int
may_use_amx(void)
{
	unsigned	a,
				b,
				c,
				d;
	unsigned long features = 0;

	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & 1u << 24) == 0 || (d & 1u << 25) == 0)
		return 0;
	return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */ , 18 /* tile data */ ) == 0 &&
		syscall(SYS_arch_prctl, 0x1022 /* ARCH_GET_XCOMP_PERM */ , &features) == 0 && (features & 1ul << 18) != 0;
}

static int
has_avxvnni(void)
{
	unsigned	a,
				b,
				c,
				d;

	return __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4) != 0;
}

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

#endif

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
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (may_use_amx())
		measure("amx", run_amx);
	if (__builtin_cpu_supports("avx512vnni"))
		measure("avx512vnni", run_avx512vnni);
	if (has_avxvnni())
		measure("avxvnni", run_avxvnni);
	if (__builtin_cpu_supports("avx2"))
		measure("avx2", run_avx2);
#elif defined(__aarch64__)
	if (getauxval(AT_HWCAP) & 1ul << 20 /* asimddp */ )
		measure("neon", run_neon);
#endif
	return 0;
}
