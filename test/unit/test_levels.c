/*
 * test_levels.c
 *		Which level is used where the CPU has AMX: dispatch.c, compiled again
 *		with a CPU and a self-test of our own. No kernel of a level runs that
 *		this machine does not have.
 */
#include "unit.h"

#include <string.h>

#define emb_kernels				levels_kernels
#define emb_kernels_name		levels_name
#define emb_kernels_select		levels_select
#define emb_kernels_is_known	levels_is_known
#define emb_kernels_is_available levels_is_available
#define emb_kernels_failed		levels_failed
#define emb_kernels_failed_op	levels_failed_op
#define emb_kernels_selftest	levels_selftest
#define emb_cpu_has_amx			levels_has_amx
#define emb_cpu_permit_amx		levels_permit_amx
#include "kernels/dispatch.c"
#undef emb_kernels_name
#undef emb_kernels_selftest

extern const char *emb_kernels_name(void);
extern const char *emb_kernels_selftest(const EmbKernels *kernels, const EmbKernels *scalar);

/* The machine of a case. */
static struct
{
	bool		has_amx;
	bool		permits_amx;
	const char *fails;			/* this level's self-test; "all" but scalar; NULL: none that is there */
	int			n_permissions;
	int			n_tests;
}			machine;

bool
levels_has_amx(void)
{
	return machine.has_amx;
}

bool
levels_permit_amx(void)
{
	machine.n_permissions++;
	return machine.permits_amx;
}

const char *
levels_selftest(const EmbKernels *kernels, const EmbKernels *scalar)
{
	machine.n_tests++;
	if (machine.fails != NULL && (strcmp(machine.fails, kernels->name) == 0 || strcmp(machine.fails, "all") == 0))
		return "gemm_i8";
	if (strcmp(kernels->name, "amx") == 0)
		return NULL;			/* believed: most CPUs have no tiles */
	return emb_kernels_selftest(kernels, scalar);
}

static void
begin(bool has_amx, bool permits_amx, const char *fails)
{
	memset(&machine, 0, sizeof(machine));
	machine.has_amx = has_amx;
	machine.permits_amx = permits_amx;
	machine.fails = fails;
	for (size_t i = 0; i < N_LEVELS; i++)
	{
		levels[i].state = LEVEL_UNTESTED;
		levels[i].failed_op = NULL;
	}
	atomic_store(&current, NULL);
}

static bool
is(const char *a, const char *b)
{
	return a != NULL && strcmp(a, b) == 0;
}

/* The best level of this machine, or the one below amx where it has amx. */
static const char *
best_below_amx(void)
{
	return is(emb_kernels_name(), "amx") ? "avx512vnni" : emb_kernels_name();
}

/* The level in use is the best one below amx, as if there were no amx. */
static void
test_falls_back(void)
{
	EmbError	err;
	int			n_tests;

	begin(true, true, "amx");
	CHECK(levels_failed() == NULL);	/* not tested yet */
	CHECKF(is(levels_name(), best_below_amx()), "%s, not %s", levels_name(), best_below_amx());
	CHECK(is(levels_failed(), "amx") && is(levels_failed_op("amx"), "gemm_i8"));
	CHECK(levels_failed_op(levels_name()) == NULL && levels_failed_op("nonsense") == NULL);
	CHECK(!levels_is_available("amx") && levels_is_known("amx"));
	n_tests = machine.n_tests;
	CHECK(levels_select("amx", &err) == EMB_ERR_UNSUPPORTED);
	CHECKF(strstr(err.message, "\"amx\" failed its self-test") != NULL && strstr(err.message, "gemm_i8") != NULL, "%s", err.message);
	CHECK(levels_select("auto", &err) == EMB_OK && is(levels_name(), best_below_amx()));
	CHECKF(machine.n_tests == n_tests && machine.n_permissions == 1, "%d tests, %d permissions", machine.n_tests, machine.n_permissions);
}

static void
test_takes_amx(void)
{
	begin(true, true, NULL);
	CHECK(is(levels_name(), "amx") && levels_failed() == NULL && levels_failed_op("amx") == NULL);
}

/* No permission, or no such CPU: no failure, and the system is asked only about tiles that there are. */
static void
test_without_amx(void)
{
	EmbError	err;

	begin(true, false, NULL);
	CHECK(is(levels_name(), best_below_amx()) && levels_failed() == NULL && machine.n_permissions == 1);
	CHECK(levels_select("amx", &err) == EMB_ERR_UNSUPPORTED && strstr(err.message, "is not available") != NULL);
	begin(false, true, NULL);
	CHECK(is(levels_name(), best_below_amx()) && machine.n_permissions == 0);
}

static void
test_all_fail(void)
{
	begin(true, true, "all");
	CHECK(is(levels_name(), "scalar") && is(levels_failed(), "amx"));
	CHECK(levels_failed_op("scalar") == NULL);
}

int
main(void)
{
	test_falls_back();
	test_takes_amx();
	test_without_amx();
	test_all_fail();
	return done_testing();
}
