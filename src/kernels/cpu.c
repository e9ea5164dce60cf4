/*
 * cpu.c
 *		CPUID (Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E) and
 *		XCR0 (SDM volume 1, 13.3); on arm64 the kernel's HWCAP words
 *		(Documentation/arm64/elf_hwcaps.rst).
 */
#include "kernels/cpu.h"
#include "kernels/target.h"

#include <stdatomic.h>

#define L2_BYTES_MIN	(512 * 1024)
#define L1_BYTES_USUAL	(32 * 1024)
#define L2_BYTES_USUAL	(1024 * 1024)
#define L2_BYTES_MAX	(2048 * 1024)

#if defined(__x86_64__)

#include <cpuid.h>
#include <stdint.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* leaf 1, ECX */
#define LEAF1_ECX_FMA			(1u << 12)
#define LEAF1_ECX_OSXSAVE		(1u << 27)
#define LEAF1_ECX_AVX			(1u << 28)
#define LEAF1_ECX_F16C			(1u << 29)
/* leaf 7, subleaf 0 */
#define LEAF7_EBX_AVX2			(1u << 5)
#define LEAF7_EBX_AVX512F		(1u << 16)
#define LEAF7_EBX_AVX512DQ		(1u << 17)
#define LEAF7_EBX_AVX512BW		(1u << 30)
#define LEAF7_EBX_AVX512VL		(1u << 31)
#define LEAF7_ECX_AVX512VNNI	(1u << 11)
#define LEAF7_EDX_AMX_TILE		(1u << 24)
#define LEAF7_EDX_AMX_INT8		(1u << 25)
/* leaf 7, subleaf 1 */
#define LEAF7_1_EAX_AVXVNNI		(1u << 4)
/* leaf 1D, subleaf 1: palette 1 */
#define LEAF1D_1_EBX_PALETTE	(8u << 16 | 64)	/* tiles, bytes of a row */
#define LEAF1D_1_ECX_ROWS		16
/* XCR0 */
#define XCR0_AVX				0x06	/* xmm, upper halves of ymm */
#define XCR0_AVX512				0xE6	/* and masks, upper halves of zmm 0-15, zmm 16-31 */
#define XCR0_TILES				0x60000	/* their configuration, their data */

/* Linux, arch/x86/include/uapi/asm/prctl.h; Documentation/arch/x86/xstate.rst */
#define ARCH_REQ_XCOMP_PERM		0x1023
#define XFEATURE_XTILEDATA		18

typedef struct CpuidLeaf
{
	unsigned	eax,
				ebx,
				ecx,
				edx;
} CpuidLeaf;

/* Zeros for a leaf that the CPU does not have. */
static CpuidLeaf
cpuid(unsigned leaf, unsigned subleaf)
{
	CpuidLeaf	r = {0, 0, 0, 0};

	__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
	return r;
}

/* leaves 4 (Intel) and 8000001D (AMD, if leaf 80000001 says so): a cache each subleaf, EAX 0 behind the last */
#define LEAF_CACHES				4
#define LEAF_CACHES_AMD			0x8000001D
#define LEAF80000001_ECX_TOPOEXT	(1u << 22)
#define CACHES_MAX				8
#define CACHE_EAX_TYPE			0x1F
#define CACHE_TYPE_INSTRUCTIONS	2

/* Of a level's cache of data; 0: the CPU does not tell. */
static size_t
reported_cache_bytes(unsigned level)
{
	unsigned	leaf = (cpuid(0x80000001, 0).ecx & LEAF80000001_ECX_TOPOEXT) != 0 ? LEAF_CACHES_AMD : LEAF_CACHES;

	for (unsigned i = 0; i < CACHES_MAX; i++)
	{
		CpuidLeaf	cache = cpuid(leaf, i);
		unsigned	type = cache.eax & CACHE_EAX_TYPE;

		if (type == 0)
			break;
		if ((cache.eax >> 5 & 7) == level && type != CACHE_TYPE_INSTRUCTIONS)
			return (size_t) ((cache.ebx >> 22) + 1) * ((cache.ebx >> 12 & 0x3FF) + 1) * ((cache.ebx & 0xFFF) + 1) * ((size_t) cache.ecx + 1);
	}
	return 0;
}

/* Whether the operating system saves all registers of mask. */
static bool
os_saves(uint64_t mask)
{
	uint32_t	lo,
				hi;

	if ((cpuid(1, 0).ecx & LEAF1_ECX_OSXSAVE) == 0)
		return false;			/* xgetbv itself would trap */
	__asm__ volatile ("xgetbv" : "=a" (lo), "=d" (hi) : "c" (0));
	return (lo & mask) == mask;
}

bool
emb_cpu_has_avx2(void)
{
	const unsigned need = LEAF1_ECX_AVX | LEAF1_ECX_FMA | LEAF1_ECX_F16C;

	return (cpuid(1, 0).ecx & need) == need &&
		(cpuid(7, 0).ebx & LEAF7_EBX_AVX2) != 0 &&
		os_saves(XCR0_AVX);
}

bool
emb_cpu_has_avxvnni(void)
{
	return EMB_COMPILER_HAS_AVXVNNI && emb_cpu_has_avx2() &&
		cpuid(7, 0).eax >= 1 &&
		(cpuid(7, 1).eax & LEAF7_1_EAX_AVXVNNI) != 0;
}

bool
emb_cpu_has_avx512vnni(void)
{
	const unsigned need = LEAF7_EBX_AVX512F | LEAF7_EBX_AVX512BW | LEAF7_EBX_AVX512DQ | LEAF7_EBX_AVX512VL;
	CpuidLeaf	leaf7 = cpuid(7, 0);

	return emb_cpu_has_avx2() &&
		(leaf7.ebx & need) == need &&
		(leaf7.ecx & LEAF7_ECX_AVX512VNNI) != 0 &&
		os_saves(XCR0_AVX512);
}

bool
emb_cpu_has_amx(void)
{
	const unsigned need = LEAF7_EDX_AMX_TILE | LEAF7_EDX_AMX_INT8;
	CpuidLeaf	palette = cpuid(0x1D, 1);

	return EMB_COMPILER_HAS_AMX && emb_cpu_has_avx512vnni() &&
		(cpuid(7, 0).edx & need) == need &&
		cpuid(0x1D, 0).eax >= 1 &&
		palette.ebx == LEAF1D_1_EBX_PALETTE &&
		(palette.ecx & 0xFFFF) == LEAF1D_1_ECX_ROWS &&
		os_saves(XCR0_TILES);
}

bool
emb_cpu_permit_amx(void)
{
#if defined(__linux__)
	return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
	return false;
#endif
}

#else

bool
emb_cpu_has_avx2(void)
{
	return false;
}

bool
emb_cpu_has_avxvnni(void)
{
	return false;
}

bool
emb_cpu_has_avx512vnni(void)
{
	return false;
}

bool
emb_cpu_has_amx(void)
{
	return false;
}

bool
emb_cpu_permit_amx(void)
{
	return false;
}

#endif

#if defined(__aarch64__)

#if defined(__linux__)

#include <sys/auxv.h>

/* Bits of the kernel's interface; headers older than a feature lack its name. */
#define HWCAP_BIT_ASIMDDP		(1ul << 20)
#define HWCAP2_BIT_I8MM			(1ul << 13)

bool
emb_cpu_has_neon(void)
{
	return (getauxval(AT_HWCAP) & HWCAP_BIT_ASIMDDP) != 0;
}

bool
emb_cpu_has_neoni8mm(void)
{
	return emb_cpu_has_neon() && (getauxval(AT_HWCAP2) & HWCAP2_BIT_I8MM) != 0;
}

#else

/* Without a way to check: only what the whole build may use anyway. */
bool
emb_cpu_has_neon(void)
{
#if defined(__ARM_FEATURE_DOTPROD)
	return true;
#else
	return false;
#endif
}

bool
emb_cpu_has_neoni8mm(void)
{
#if defined(__ARM_FEATURE_MATMUL_INT8)
	return emb_cpu_has_neon();
#else
	return false;
#endif
}

#endif

#else

bool
emb_cpu_has_neon(void)
{
	return false;
}

bool
emb_cpu_has_neoni8mm(void)
{
	return false;
}

#endif

#if !defined(__x86_64__)

static size_t
reported_cache_bytes(unsigned level)
{
	(void) level;
	return 0;
}

#endif

static _Atomic size_t l1_bytes;
static _Atomic size_t l2_bytes;

size_t
emb_cpu_l1_bytes(void)
{
	size_t		n = atomic_load_explicit(&l1_bytes, memory_order_relaxed);

	if (n == 0)
	{
		n = reported_cache_bytes(1);
		if (n == 0)
			n = L1_BYTES_USUAL;
		atomic_store_explicit(&l1_bytes, n, memory_order_relaxed);
	}
	return n;
}

void
emb_cpu_pretend_l1_bytes(size_t n)
{
	atomic_store_explicit(&l1_bytes, n, memory_order_relaxed);
}

static size_t
find_l2_bytes(void)
{
	size_t		n = reported_cache_bytes(2);

	if (n == 0)
		return L2_BYTES_USUAL;
	return n < L2_BYTES_MIN ? L2_BYTES_MIN : n < L2_BYTES_MAX ? n : L2_BYTES_MAX;
}

size_t
emb_cpu_l2_bytes(void)
{
	size_t		n = atomic_load_explicit(&l2_bytes, memory_order_relaxed);

	if (n == 0)
		atomic_store_explicit(&l2_bytes, n = find_l2_bytes(), memory_order_relaxed);
	return n;
}

void
emb_cpu_pretend_l2_bytes(size_t n)
{
	atomic_store_explicit(&l2_bytes, n, memory_order_relaxed);
}
