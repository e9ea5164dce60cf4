/*
 * limits.c
 *		What one core of this machine can do at most: int8 dot products in
 *		registers, in 10^9 operations (a multiply and an addition are two) a
 *		second, at each level that the machine has (src/cli/cli_peak.c).
 *
 *		gcc -O2 -Isrc -o limits bench/limits.c && ./limits
 *
 * Prints "LEVEL GOPS": the best of some short runs.
 */
#include "../src/cli/cli_peak.c"

#include <stdio.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)

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

static void
measure(const char *level)
{
	double		gops = cli_peak_gops(level, false);

	if (gops > 0)
		printf("%s %.1f\n", level, gops);
}

int
main(void)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (may_use_amx())
		measure("amx");
	if (__builtin_cpu_supports("avx512vnni"))
		measure("avx512vnni");
	if (has_avxvnni())
		measure("avxvnni");
	if (__builtin_cpu_supports("avx2"))
		measure("avx2");
#elif defined(__aarch64__)
	if (getauxval(AT_HWCAP) & 1ul << 20 /* asimddp */ )
		measure("neon");
#endif
	return 0;
}
