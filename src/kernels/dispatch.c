/*
 * dispatch.c
 *		The ISA levels, the levels that this machine has, and the level in
 *		use.
 *
 * A level's table starts as scalar, takes the CPU's better kernels, and is
 * tested once per process. All state changes under one short lock; readers use
 * the published pointer.
 */
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "kernels/cpu.h"
#include "kernels/declare.h"
#include "kernels/selftest.h"

typedef enum LevelState
{
	LEVEL_UNTESTED,
	LEVEL_READY,
	LEVEL_MISSING,				/* CPU, operating system or build lacks the level */
	LEVEL_FAILED				/* its self-test did */
} LevelState;

typedef struct Level
{
	const char *name;
	bool		(*machine_has) (void);
	void		(*fill) (EmbKernels *kernels);

	/*
	 * 10 ms are 200,000 products in scalar if fmaf is emulated (50 ns; 4 ns
	 * with the instruction), and far more than 32 million in vectors.
	 */
	int64_t		macs_per_piece;
	LevelState	state;
	const char *failed_op;
	EmbKernels	kernels;
} Level;

static void
fill_scalar(EmbKernels *k)
{
#define EMB_KERNEL(isa, op) k->op = emb_##op##_##isa;
#include "kernels/kernels.def"
}

/*
 * TAKE_<isa> keeps or drops a line of kernels.def by its ISA. Each ISA adds to
 * the ISAs it includes: an operation without a line of its own keeps its
 * kernel.
 */
#if defined(__x86_64__)
#define DROP(assignment)
#define KEEP(assignment) assignment;
#define EMB_KERNEL_X86_LINES(isa, op) TAKE_##isa(k->op = emb_##op##_##isa)

static void
override_avx2(EmbKernels *k)
{
#define TAKE_avx2 KEEP
#define TAKE_avxvnni DROP
#define TAKE_avx512 DROP
#define TAKE_avx512vnni DROP
#define TAKE_amx DROP
#define EMB_KERNEL_X86(isa, op) EMB_KERNEL_X86_LINES(isa, op)
#include "kernels/kernels.def"
#undef TAKE_avx2
#undef TAKE_avxvnni
}

static void
override_avxvnni(EmbKernels *k)
{
	override_avx2(k);
#define TAKE_avx2 DROP
#define TAKE_avxvnni KEEP
#define EMB_KERNEL_X86(isa, op) EMB_KERNEL_X86_LINES(isa, op)
#include "kernels/kernels.def"
#undef TAKE_avxvnni
#undef TAKE_avx512
#undef TAKE_avx512vnni
}

static void
override_avx512vnni(EmbKernels *k)
{
	override_avx2(k);
#define TAKE_avxvnni DROP
#define TAKE_avx512 KEEP
#define TAKE_avx512vnni KEEP
#define EMB_KERNEL_X86(isa, op) EMB_KERNEL_X86_LINES(isa, op)
#include "kernels/kernels.def"
#undef TAKE_avx512
#undef TAKE_avx512vnni
#undef TAKE_amx
}

static void
override_amx(EmbKernels *k)
{
	override_avx512vnni(k);
#define TAKE_avx512 DROP
#define TAKE_avx512vnni DROP
#define TAKE_amx KEEP
#define EMB_KERNEL_X86(isa, op) EMB_KERNEL_X86_LINES(isa, op)
#include "kernels/kernels.def"
}
#else
#define override_avx2 NULL
#define override_avxvnni NULL
#define override_avx512vnni NULL
#define override_amx NULL
#endif

#if defined(__aarch64__)
#define DROP(assignment)
#define KEEP(assignment) assignment;
#define EMB_KERNEL_ARM64_LINES(isa, op) TAKE_##isa(k->op = emb_##op##_##isa)

/* One level: the choice of the int8 product affects only speed. */
static void
override_neon(EmbKernels *k)
{
#define TAKE_neon KEEP
#define TAKE_neoni8mm DROP
#define EMB_KERNEL_ARM64(isa, op) EMB_KERNEL_ARM64_LINES(isa, op)
#include "kernels/kernels.def"
#undef TAKE_neon
#undef TAKE_neoni8mm
	if (!emb_cpu_has_neoni8mm())
		return;
#define TAKE_neon DROP
#define TAKE_neoni8mm KEEP
#define EMB_KERNEL_ARM64(isa, op) EMB_KERNEL_ARM64_LINES(isa, op)
#include "kernels/kernels.def"
}
#else
#define override_neon NULL
#endif

static bool
always(void)
{
	return true;
}

/* In this order, because permission is requested only if the CPU has the feature. */
static bool
amx_is_permitted(void)
{
	return emb_cpu_has_amx() && emb_cpu_permit_amx();
}

/* Best first; scalar, which is always there, last. */
static Level levels[] = {
	{.name = "amx", .machine_has = amx_is_permitted, .fill = override_amx, .macs_per_piece = 32 << 20},
	{.name = "avx512vnni", .machine_has = emb_cpu_has_avx512vnni, .fill = override_avx512vnni, .macs_per_piece = 32 << 20},
	{.name = "avxvnni", .machine_has = emb_cpu_has_avxvnni, .fill = override_avxvnni, .macs_per_piece = 32 << 20},
	{.name = "avx2", .machine_has = emb_cpu_has_avx2, .fill = override_avx2, .macs_per_piece = 32 << 20},
	{.name = "neon", .machine_has = emb_cpu_has_neon, .fill = override_neon, .macs_per_piece = 16 << 20},
	{.name = "scalar", .machine_has = always, .macs_per_piece = 200000}
};

#define N_LEVELS	(sizeof(levels) / sizeof(levels[0]))
#define SCALAR		(&levels[N_LEVELS - 1])

static atomic_flag lock = ATOMIC_FLAG_INIT;
static _Atomic(const EmbKernels *) current;

static void
acquire(void)
{
	while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
		sched_yield();
}

static void
release(void)
{
	atomic_flag_clear_explicit(&lock, memory_order_release);
}

static void
fill_level(Level *level)
{
	level->kernels.name = level->name;
	level->kernels.macs_per_piece = level->macs_per_piece;
	fill_scalar(&level->kernels);
	if (level->fill != NULL)
		level->fill(&level->kernels);
}

/* Requires the lock. */
static LevelState
test_level(Level *level)
{
	if (level->state != LEVEL_UNTESTED)
		return level->state;
	if (!level->machine_has())
		return level->state = LEVEL_MISSING;
	fill_level(level);
	if (level != SCALAR)
	{
		test_level(SCALAR);
		level->failed_op = emb_kernels_selftest(&level->kernels, &SCALAR->kernels);
	}
	return level->state = level->failed_op == NULL ? LEVEL_READY : LEVEL_FAILED;
}

/* Requires the lock. */
static const EmbKernels *
best_level(void)
{
	Level	   *level = levels;

	while (test_level(level) != LEVEL_READY)
		level++;				/* ends at scalar */
	return &level->kernels;
}

static Level *
find_level(const char *name)
{
	for (size_t i = 0; i < N_LEVELS; i++)
		if (strcmp(levels[i].name, name) == 0)
			return &levels[i];
	return NULL;
}

const EmbKernels *
emb_kernels(void)
{
	const EmbKernels *k = atomic_load_explicit(&current, memory_order_acquire);

	if (k != NULL)
		return k;
	acquire();
	k = atomic_load_explicit(&current, memory_order_relaxed);
	if (k == NULL)
	{
		k = best_level();
		atomic_store_explicit(&current, k, memory_order_release);
	}
	release();
	return k;
}

const char *
emb_kernels_name(void)
{
	return emb_kernels()->name;
}

EmbStatus
emb_kernels_select(const char *name, EmbError *err)
{
	Level	   *level = find_level(name);
	const EmbKernels *k = NULL;

	if (level == NULL && strcmp(name, "auto") != 0)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "unknown instruction set level \"%s\"", name);
	acquire();
	if (level == NULL)
		k = best_level();
	else if (test_level(level) == LEVEL_READY)
		k = &level->kernels;
	if (k != NULL)
		atomic_store_explicit(&current, k, memory_order_release);
	release();
	if (k != NULL)
		return EMB_OK;
	if (level->state == LEVEL_FAILED)
		return emb_error(err, EMB_ERR_UNSUPPORTED,
						 "instruction set level \"%s\" failed its self-test on this machine (%s)",
						 name, level->failed_op);
	return emb_error(err, EMB_ERR_UNSUPPORTED,
					 "instruction set level \"%s\" is not available on this machine", name);
}

bool
emb_kernels_is_known(const char *name)
{
	return strcmp(name, "auto") == 0 || find_level(name) != NULL;
}

bool
emb_kernels_is_available(const char *name)
{
	Level	   *level = find_level(name);
	bool		ready;

	if (level == NULL)
		return strcmp(name, "auto") == 0;
	acquire();
	ready = test_level(level) == LEVEL_READY;
	release();
	return ready;
}

const char *
emb_kernels_failed_op(const char *name)
{
	const Level *level = find_level(name);
	const char *op;

	if (level == NULL)
		return NULL;
	acquire();
	op = level->failed_op;
	release();
	return op;
}

const char *
emb_kernels_failed(void)
{
	const char *name = NULL;

	acquire();
	for (size_t i = 0; name == NULL && i < N_LEVELS; i++)
	{
		if (levels[i].state == LEVEL_FAILED)
			name = levels[i].name;
	}
	release();
	return name;
}
