/*
 * test_amx_model.c
 *		That the model of the tile instructions faults where the CPU does and
 *		multiplies as it does: what test_kernels_i8 says about level amx rests on it.
 */
#include "unit.h"

#if defined(__x86_64__)

#include <sys/wait.h>
#include <unistd.h>

#include "amx_model.h"

typedef struct Config
{
	uint8_t		bytes[64];
} Config;

static Config
make_config(int rows, int b_rows, int columns)
{
	Config		c = {{1}};

	for (int i = 0; i < 3; i++)
	{
		c.bytes[16 + 2 * i] = (uint8_t) (i == 1 ? 4 * b_rows : 4 * columns);
		c.bytes[48 + i] = (uint8_t) (i == 2 ? b_rows : rows);
	}
	return c;
}

static void
load_config(Config c, int byte, int value)
{
	c.bytes[byte] = (uint8_t) value;
	_tile_loadconfig(&c);
}

/* Byte of a good configuration set to value, then a product of tiles; whether that faults. */
static int
faults(int byte, int value, int sums, int a, int b)
{
	int			status;
	pid_t		child;

	fflush(stdout);
	child = fork();
	if (child == 0)
	{
		fclose(stderr);
		load_config(make_config(3, 5, 7), byte, value);
		_tile_zero(sums);
		_tile_dpbusd(sums, a, b);
		_exit(0);
	}
	return child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void
test_faults(void)
{
	CHECK(!faults(0, 1, 0, 1, 2));
	CHECK(faults(0, 0, 0, 1, 2) && faults(0, 2, 0, 1, 2));	/* palette */
	CHECK(faults(2, 1, 0, 1, 2) && faults(15, 1, 0, 1, 2));	/* reserved */
	CHECK(faults(32, 4, 0, 1, 2) && faults(63, 1, 0, 1, 2));	/* tiles 8 and 15 */
	CHECK(faults(16, 68, 0, 1, 2) && faults(48, 17, 0, 1, 2));	/* too large */
	CHECK(faults(22, 4, 0, 1, 2) && faults(51, 1, 0, 1, 2));	/* bytes without rows, rows without bytes */
	CHECK(faults(0, 1, 0, 0, 2) && faults(0, 1, 0, 1, 1) && faults(0, 1, 0, 1, 0));	/* a tile twice */
	CHECK(faults(0, 1, 3, 1, 2) && faults(0, 1, 0, 8, 2));	/* no such tile */
	CHECK(faults(49, 4, 0, 1, 2));	/* A has another number of rows */
	CHECK(faults(20, 24, 0, 1, 2));	/* B has other columns */
	CHECK(faults(50, 4, 0, 1, 2) && faults(18, 22, 0, 1, 2));	/* K */
}

/* A [3, 20], B [5 groups, 7 columns], twice. */
static void
test_product(void)
{
	Config		c = make_config(3, 5, 7);
	uint8_t		a[3][32],
				b[5][40];
	int32_t		sums[3][9];
	int			n_wrong = 0;

	for (int i = 0; i < 96; i++)
		a[i / 32][i % 32] = (uint8_t) (i * 37 + 200);
	for (int i = 0; i < 200; i++)
		b[i / 40][i % 40] = (uint8_t) (i * 91 + 120);
	for (int i = 0; i < 27; i++)
		sums[i / 9][i % 9] = 77;
	_tile_loadconfig(&c);
	_tile_zero(0);
	_tile_loadd(1, a, sizeof(a[0]));
	_tile_loadd(2, b, sizeof(b[0]));
	_tile_dpbusd(0, 1, 2);
	_tile_dpbusd(0, 1, 2);
	_tile_stored(0, sums, sizeof(sums[0]));
	_tile_release();
	for (int m = 0; m < 3; m++)
		for (int n = 0; n < 9; n++)
		{
			int32_t		sum = n < 7 ? 0 : 77;

			for (int k = 0; n < 7 && k < 20; k++)
				sum += 2 * a[m][k] * (int8_t) b[k / 4][n * 4 + k % 4];
			n_wrong += sums[m][n] != sum;
		}
	CHECKF(n_wrong == 0, "%d sums", n_wrong);
	CHECK(amx_model.palette == 0 && amx_model.n_products == 2);
}

int
main(void)
{
	test_faults();
	test_product();
	return done_testing();
}

#else

int
main(void)
{
	skip("no x86-64");
	return done_testing();
}

#endif
