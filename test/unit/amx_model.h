/*
 * amx_model.h
 *		The tile instructions in C, for compiling gemm_i8_amx.c where no CPU has
 *		them: Intel SDM volume 2, LDTILECFG, TILELOADD, TILESTORED, TILEZERO,
 *		TILERELEASE, TDPBUSD. What the CPU answers with a fault ends the program.
 *		What else the kernels of amx use is AVX-512 VNNI.
 *
 *		#include "amx_model.h"
 *		#define emb_gemm_i8_amx emb_gemm_i8_amx_on_model
 *		extern emb_op_gemm_i8 emb_gemm_i8_amx_on_model;
 *		#include "kernels/gemm_i8_amx.c"
 *		#undef emb_gemm_i8_amx
 *
 * The tiles belong to the thread, as on the CPU. Include it once a program.
 */
#ifndef AMX_MODEL_H
#define AMX_MODEL_H

#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/declare.h"
#include "kernels/target.h"

#define AMX_MODEL_TILES	8
#define AMX_MODEL_ROWS	16
#define AMX_MODEL_BYTES	64

typedef struct AmxModel
{
	uint8_t		palette;		/* 0: not configured */
	int			rows[AMX_MODEL_TILES];
	int			row_bytes[AMX_MODEL_TILES];
	uint8_t		data[AMX_MODEL_TILES][AMX_MODEL_ROWS][AMX_MODEL_BYTES];
	long		n_products;		/* since the thread began */
} AmxModel;

static _Thread_local AmxModel amx_model;

static void
amx_model_fault(const char *instruction, const char *why)
{
	fprintf(stderr, "# %s: %s\n", instruction, why);
	abort();
}

static void
amx_model_require(int holds, const char *instruction, const char *why)
{
	if (!holds)
		amx_model_fault(instruction, why);
}

static void
amx_model_release(void)
{
	long		n_products = amx_model.n_products;

	memset(&amx_model, 0, sizeof(amx_model));
	amx_model.n_products = n_products;
}

static int
amx_model_is_zero(const uint8_t *p, size_t n)
{
	while (n > 0 && p[n - 1] == 0)
		n--;
	return n == 0;
}

/* Bytes: palette, start row, 14 reserved, 16 x 2 of bytes per row, 16 of rows. */
static void
amx_model_configure(const void *operand)
{
	static const char name[] = "ldtilecfg";
	const uint8_t *config = operand;

	amx_model_release();
	amx_model_require(config[0] <= 1, name, "palette");
	if (config[0] == 0)
		return;
	amx_model_require(config[1] == 0, name, "start row (allowed, but of use to an interrupted load only)");
	amx_model_require(amx_model_is_zero(config + 2, 14), name, "reserved bytes");
	amx_model_require(amx_model_is_zero(config + 32, 16), name, "bytes per row of tiles that are not there");
	amx_model_require(amx_model_is_zero(config + 56, 8), name, "rows of tiles that are not there");
	for (int i = 0; i < AMX_MODEL_TILES; i++)
	{
		uint16_t	row_bytes;

		memcpy(&row_bytes, config + 16 + 2 * i, sizeof(row_bytes));
		amx_model_require(row_bytes <= AMX_MODEL_BYTES, name, "bytes per row");
		amx_model_require(config[48 + i] <= AMX_MODEL_ROWS, name, "rows");
		amx_model_require((row_bytes == 0) == (config[48 + i] == 0), name, "rows without bytes, or bytes without rows");
		amx_model.row_bytes[i] = row_bytes;
		amx_model.rows[i] = config[48 + i];
	}
	amx_model.palette = 1;
}

static void
amx_model_check(int tile, const char *instruction)
{
	amx_model_require(amx_model.palette == 1, instruction, "tiles are not configured");
	amx_model_require(tile >= 0 && tile < AMX_MODEL_TILES && amx_model.rows[tile] > 0, instruction, "no such tile");
}

static void
amx_model_zero(int tile)
{
	amx_model_check(tile, "tilezero");
	memset(amx_model.data[tile], 0, sizeof(amx_model.data[tile]));
}

static void
amx_model_load(int tile, const void *base, int64_t stride)
{
	amx_model_check(tile, "tileloadd");
	memset(amx_model.data[tile], 0, sizeof(amx_model.data[tile]));
	for (int r = 0; r < amx_model.rows[tile]; r++)
		memcpy(amx_model.data[tile][r], (const char *) base + r * stride, amx_model.row_bytes[tile]);
}

static void
amx_model_store(int tile, void *base, int64_t stride)
{
	amx_model_check(tile, "tilestored");
	for (int r = 0; r < amx_model.rows[tile]; r++)
		memcpy((char *) base + r * stride, amx_model.data[tile][r], amx_model.row_bytes[tile]);
}

/* sums[m][n] += sum over i < 4 of a[m][4 k + i] b[k][4 n + i], for all k; int32 wraps. */
static void
amx_model_multiply(int sums, int a, int b)
{
	static const char name[] = "tdpbusd";
	int			n_k,
				n_columns;

	amx_model_check(sums, name);
	amx_model_check(a, name);
	amx_model_check(b, name);
	amx_model_require(sums != a && sums != b && a != b, name, "a tile twice");
	amx_model_require(amx_model.row_bytes[sums] % 4 == 0 && amx_model.row_bytes[a] % 4 == 0 &&
					  amx_model.row_bytes[b] % 4 == 0, name, "columns are not of 4 bytes");
	amx_model_require(amx_model.rows[sums] == amx_model.rows[a], name, "rows of the sums and of A");
	amx_model_require(amx_model.row_bytes[sums] == amx_model.row_bytes[b], name, "columns of the sums and of B");
	amx_model_require(amx_model.row_bytes[a] / 4 == amx_model.rows[b], name, "columns of A and rows of B");
	n_k = amx_model.row_bytes[a] / 4;
	n_columns = amx_model.row_bytes[sums] / 4;
	for (int m = 0; m < AMX_MODEL_ROWS; m++)
		for (int n = 0; n < AMX_MODEL_BYTES / 4; n++)
		{
			uint32_t	sum = 0;	/* beyond the rows and columns there are: zero */

			if (m < amx_model.rows[sums] && n < n_columns)
			{
				memcpy(&sum, &amx_model.data[sums][m][4 * n], 4);
				for (int k = 0; k < n_k; k++)
					for (int i = 0; i < 4; i++)
						sum += (uint32_t) (amx_model.data[a][m][4 * k + i] * (int8_t) amx_model.data[b][k][4 * n + i]);
			}
			memcpy(&amx_model.data[sums][m][4 * n], &sum, 4);
		}
	amx_model.n_products++;
}

/* That a kernel multiplied tiles as often as it should, and left them as it found them. */
__attribute__((unused)) static void
amx_model_expect(long n_products, int32_t n_rows, int32_t n_in, int32_t n_panels)
{
	if (amx_model.palette == 0 && amx_model.n_products == n_products)
		return;
	printf("# rows %d inputs %d panels %d: %ld products, not %ld; palette %d\n", n_rows, n_in, n_panels,
		   amx_model.n_products, n_products, amx_model.palette);
	exit(1);
}

#undef EMB_COMPILER_HAS_AMX
#define EMB_COMPILER_HAS_AMX 1
#undef EMB_TARGET_AMX
#define EMB_TARGET_AMX EMB_TARGET_AVX512VNNI
#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbusd
#define _tile_loadconfig(config)			amx_model_configure(config)
#define _tile_release()						amx_model_release()
#define _tile_zero(tile)					amx_model_zero(tile)
#define _tile_loadd(tile, base, stride)		amx_model_load(tile, base, (int64_t) (stride))
#define _tile_stored(tile, base, stride)	amx_model_store(tile, base, (int64_t) (stride))
#define _tile_dpbusd(sums, a, b)			amx_model_multiply(sums, a, b)

#endif
