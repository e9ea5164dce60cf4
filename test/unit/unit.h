/*
 * unit.h
 *		A unit test is a program that prints TAP and exits 1 on a failure.
 *
 *		int main(void)
 *		{
 *			CHECK(1 + 1 == 2);						one "ok" per CHECK
 *			CHECKF(n == 3, "n is %d", n);			with a message on failure
 *			if (!cpu_has) skip("no AVX-512 here");
 *			return done_testing();
 *		}
 *
 * shared_dir() is the folder of reference data beside the checkout, or NULL:
 * then skip loudly. data_dir() is test/data, always there (tests run from the
 * top of the tree).
 */
#ifndef UNIT_H
#define UNIT_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int	unit_n_checks;
static int	unit_n_failed;

#define CHECK(cond) CHECKF(cond, "%s", "")
#define CHECKF(cond, ...) unit_report((cond), __FILE__, __LINE__, #cond, __VA_ARGS__)

__attribute__((format(printf, 5, 6), unused)) static int
unit_report(int ok, const char *file, int line, const char *cond, const char *fmt,...)
{
	va_list		args;

	printf("%s %d - %s:%d %s\n", ok ? "ok" : "not ok", ++unit_n_checks, file, line, cond);
	if (!ok)
	{
		unit_n_failed++;
		printf("# ");
		va_start(args, fmt);
		vprintf(fmt, args);
		va_end(args);
		printf("\n");
		fflush(stdout);
	}
	return ok;
}

__attribute__((unused)) static void
skip(const char *why)
{
	printf("ok %d # SKIP %s\n", ++unit_n_checks, why);
	fprintf(stderr, "# SKIPPED: %s\n", why);
}

__attribute__((unused)) static int
done_testing(void)
{
	printf("1..%d\n", unit_n_checks);
	return unit_n_failed > 0;
}

__attribute__((unused)) static const char *
shared_dir(void)
{
	const char *dir = getenv("EMBED_SHARED");

	if (dir == NULL)
		dir = "../shared";
	return access(dir, R_OK) == 0 ? dir : NULL;
}

__attribute__((unused)) static const char *
data_dir(void)
{
	return "test/data";
}

#endif
