/*
 * kernel_util.h
 *		What the tests of int8 kernels share: buffers that end at a page that traps,
 *		seeded inputs, and for each operation the list of its kernels that this
 *		machine can run.
 *
 *		prepare_kernels();
 *		x = place(bufs[0], size);				ends with the mapped memory
 *		for (int i = 0; i < n_gemm_i8; i++)
 *			list_gemm_i8[i].fn(&g);				list_gemm_i8[i].isa is its name
 */
#ifndef KERNEL_UTIL_H
#define KERNEL_UTIL_H

#include <math.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/cpu.h"
#include "kernels/declare.h"
#include "unit.h"

#define BUFFER_BYTES	(1 << 20)

/* A buffer whose end is the end of mapped memory. */
typedef struct Guarded
{
	uint8_t    *end;
} Guarded;

static Guarded
guarded(void)
{
	size_t		page = sysconf(_SC_PAGESIZE);
	uint8_t    *p = mmap(NULL, BUFFER_BYTES + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mprotect(p + BUFFER_BYTES, page, PROT_NONE) != 0)
	{
		perror("mmap");
		exit(1);
	}
	return (Guarded) {p + BUFFER_BYTES};
}

/* The last size bytes of the buffer. */
static void *
place(Guarded g, size_t size)
{
	if (size > BUFFER_BYTES)
		abort();
	return g.end - size;
}

static Guarded bufs[13];

static uint32_t seed = 20240607;

static uint32_t
next_random(void)
{
	seed = seed * 1664525u + 1013904223u;
	return seed >> 8;
}

__attribute__((unused)) static void
fill_bytes(void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((uint8_t *) p)[i] = (uint8_t) next_random();
}

/* -4 .. 4, or with wild also zeros, denormals, huge, infinite and NaN. */
static void
fill_floats(float *x, size_t n, int wild)
{
	static const float odd[] = {0.0f, -0.0f, 1e-40f, -1e-35f, 3e38f, -3e38f, INFINITY, -INFINITY, NAN, 1e-30f, -1e30f};

	for (size_t i = 0; i < n; i++)
	{
		float		v = (float) ((int32_t) next_random() - (1 << 23)) * 0x1p-21f;

		if (wild && next_random() % 5 == 0)
			v = odd[next_random() % (sizeof(odd) / sizeof(odd[0]))];
		memcpy((uint8_t *) x + i * sizeof(float), &v, sizeof(v));
	}
}

/* Not fmax: gcc 12 for arm64 fails to compile a loop of it. */
__attribute__((unused)) static double
larger(double a, double b)
{
	return a > b ? a : b;
}

/* What every level is run on: all sets of instructions this machine has. */
#define EMB_OP(op, result, arguments) static struct { const char *isa; emb_op_##op *fn; } list_##op[8]; static int n_##op;
#include "kernels/kernels.def"

static bool
has_scalar(void)
{
	return true;
}

#define has_avx2 emb_cpu_has_avx2
#define has_avxvnni emb_cpu_has_avxvnni
#define has_avx512 emb_cpu_has_avx512vnni
#define has_avx512vnni emb_cpu_has_avx512vnni
#define has_neon emb_cpu_has_neon
#define has_neoni8mm emb_cpu_has_neoni8mm

__attribute__((unused)) static bool
has_amx(void)
{
	return emb_cpu_has_amx() && emb_cpu_permit_amx();
}

/* One kernel more for an operation, and what the tests call those that they compile otherwise. */
#define ADD_KERNEL(op, isa_, fn_) \
	do \
	{ \
		list_##op[n_##op].isa = (isa_); \
		list_##op[n_##op++].fn = (fn_); \
	} while (0)
#define AS_EVEX		"avxvnni in the encoding of AVX-512"
#define ON_MODEL	"amx on a model of its tiles"

/* Fills the lists and maps the buffers. */
static void
prepare_kernels(void)
{
#define ADD(isa_, op) \
	if (has_##isa_()) \
		ADD_KERNEL(op, #isa_, emb_##op##_##isa_);
#define EMB_KERNEL(isa_, op) ADD(isa_, op)
#if defined(__x86_64__)
#define EMB_KERNEL_X86(isa_, op) ADD(isa_, op)
#endif
#if defined(__aarch64__)
#define EMB_KERNEL_ARM64(isa_, op) ADD(isa_, op)
#endif
#include "kernels/kernels.def"
	for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
		bufs[i] = guarded();
}

/* A gated product leaves the second half of a row's columns to anybody: there one result becomes the other. */
__attribute__((unused)) static void
forget_second_halves(float *got, const float *expected, int32_t n_rows, size_t stride, int32_t n_panels)
{
	size_t		n = 8 * (size_t) n_panels;

	for (int32_t m = 0; m < n_rows; m++)
		memcpy(got + m * stride + n, expected + m * stride + n, n * sizeof(float));
}

__attribute__((unused)) static int
report(int differs, const char *op, const char *isa, int32_t n)
{
	if (differs)
		printf("# %s %s differs at n = %d\n", op, isa, n);
	return differs;
}

#endif
