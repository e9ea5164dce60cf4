/*
 * ggml_blocks.c
 *		Decodes the blocks of ggml's types.
 *
 * Offsets of the fields, little endian, scales d and minima m as binary16:
 *
 *		Q4_0	0 d, 2 codes[16]: low nibbles are elements 0 .. 15, high ones 16 .. 31
 *		Q4_1	0 d, 2 m, 4 codes[16]
 *		Q5_0	0 d, 2 fifth bits[4], 6 codes[16]
 *		Q5_1	0 d, 2 m, 4 fifth bits[4], 8 codes[16]
 *		Q8_0	0 d, 2 codes[32], signed
 *		Q2_K	0 scales and minima[16] (4 bits each), 16 codes[64], 80 d, 82 m
 *		Q3_K	0 third bits[32], 32 codes[64], 96 scales[12] (16 of 6 bits), 108 d
 *		Q4_K	0 d, 2 m, 4 scales and minima[12] (8 of 6 bits each), 16 codes[128]
 *		Q5_K	0 d, 2 m, 4 scales and minima[12], 16 fifth bits[32], 48 codes[128]
 *		Q6_K	0 low nibbles[128], 128 high bits[64], 192 scales[16], signed, 208 d
 *		IQ4_NL	0 d, 2 codes[16], which index a table
 *		IQ4_XS	0 d, 2 high bits of scales[2], 4 low bits[4], 8 codes[128]
 */
#include "formats/ggml_blocks.h"

#include <stddef.h>

#include "common/half.h"

/* Elements of a block of a K-quant. */
#define SUPER	256

static uint32_t
read_u16(const uint8_t *p)
{
	return (uint32_t) p[0] | (uint32_t) p[1] << 8;
}

static uint32_t
read_u32(const uint8_t *p)
{
	return read_u16(p) | read_u16(p + 2) << 16;
}

static float
read_f16(const uint8_t *p)
{
	return emb_float_of_f16((uint16_t) read_u16(p));
}

/* ---------------------------------------------------------------- floats */

static void
decode_f32(const uint8_t *block, float *out)
{
	out[0] = emb_float_of_bits(read_u32(block));
}

static void
decode_f16(const uint8_t *block, float *out)
{
	out[0] = read_f16(block);
}

static void
decode_bf16(const uint8_t *block, float *out)
{
	out[0] = emb_float_of_bf16((uint16_t) read_u16(block));
}

/* ------------------------------------------------------- blocks of 32 */

static void
decode_q4_0(const uint8_t *block, float *out)
{
	float		d = read_f16(block);

	for (int i = 0; i < 16; i++)
	{
		out[i] = (float) ((block[2 + i] & 15) - 8) * d;
		out[i + 16] = (float) ((block[2 + i] >> 4) - 8) * d;
	}
}

static void
decode_q4_1(const uint8_t *block, float *out)
{
	float		d = read_f16(block);
	float		m = read_f16(block + 2);

	for (int i = 0; i < 16; i++)
	{
		out[i] = (float) (block[4 + i] & 15) * d + m;
		out[i + 16] = (float) (block[4 + i] >> 4) * d + m;
	}
}

/* Bit i of the fifth bits is element i's. */
static int
five_bits(uint32_t fifth, int i, int low)
{
	return low | (int) (fifth >> i & 1) << 4;
}

static void
decode_q5_0(const uint8_t *block, float *out)
{
	float		d = read_f16(block);
	uint32_t	fifth = read_u32(block + 2);

	for (int i = 0; i < 16; i++)
	{
		out[i] = (float) (five_bits(fifth, i, block[6 + i] & 15) - 16) * d;
		out[i + 16] = (float) (five_bits(fifth, i + 16, block[6 + i] >> 4) - 16) * d;
	}
}

static void
decode_q5_1(const uint8_t *block, float *out)
{
	float		d = read_f16(block);
	float		m = read_f16(block + 2);
	uint32_t	fifth = read_u32(block + 4);

	for (int i = 0; i < 16; i++)
	{
		out[i] = (float) five_bits(fifth, i, block[8 + i] & 15) * d + m;
		out[i + 16] = (float) five_bits(fifth, i + 16, block[8 + i] >> 4) * d + m;
	}
}

static void
decode_q8_0(const uint8_t *block, float *out)
{
	float		d = read_f16(block);

	for (int i = 0; i < 32; i++)
		out[i] = (float) (int8_t) block[2 + i] * d;
}

/* -------------------------------------------------------------- K-quants */

static void
decode_q2_k(const uint8_t *block, float *out)
{
	const uint8_t *codes = block + 16;
	float		d = read_f16(block + 80);
	float		m = read_f16(block + 82);

	/* 16 elements per scale; 128 elements are four planes of 2 bits in 32 bytes */
	for (int part = 0; part < 16; part++)
	{
		float		scale = d * (float) (block[part] & 15);
		float		least = m * (float) (block[part] >> 4);
		const uint8_t *from = codes + part / 8 * 32 + part % 2 * 16;
		int			shift = part % 8 / 2 * 2;

		for (int i = 0; i < 16; i++)
			out[part * 16 + i] = scale * (float) (from[i] >> shift & 3) - least;
	}
}

/* Scale number i, 0 .. 15, of Q3_K's 12 bytes: low nibbles in the first 8, high two bits in the last 4. */
static int
q3_scale(const uint8_t *scales, int i)
{
	int			low = i < 8 ? scales[i] & 15 : scales[i - 8] >> 4;
	int			high = scales[8 + i % 4] >> (i / 4 * 2) & 3;

	return (low | high << 4) - 32;
}

static void
decode_q3_k(const uint8_t *block, float *out)
{
	const uint8_t *codes = block + 32;
	float		d = read_f16(block + 108);

	for (int part = 0; part < 16; part++)
	{
		float		scale = d * (float) q3_scale(block + 96, part);
		const uint8_t *from = codes + part / 8 * 32 + part % 2 * 16;
		const uint8_t *third = block + part % 2 * 16;
		int			shift = part % 8 / 2 * 2;

		for (int i = 0; i < 16; i++)
		{
			int			code = from[i] >> shift & 3;

			out[part * 16 + i] = scale * (float) (code - (third[i] >> (part / 2) & 1 ? 0 : 4));
		}
	}
}

/* Scale and minimum number i, 0 .. 7, of the 12 bytes of Q4_K and Q5_K. */
static void
k_scales(const uint8_t *packed, int i, int *scale, int *least)
{
	if (i < 4)
	{
		*scale = packed[i] & 63;
		*least = packed[i + 4] & 63;
	}
	else
	{
		*scale = (packed[i + 4] & 15) | packed[i - 4] >> 6 << 4;
		*least = packed[i + 4] >> 4 | packed[i] >> 6 << 4;
	}
}

/* Q4_K, and Q5_K where fifth is not NULL. */
static void
decode_k(const uint8_t *block, const uint8_t *fifth, const uint8_t *codes, float *out)
{
	float		d = read_f16(block);
	float		m = read_f16(block + 2);

	for (int part = 0; part < SUPER / 32; part++)
	{
		const uint8_t *from = codes + part / 2 * 32;
		int			k_scale,
					k_least;
		float		scale,
					least;

		k_scales(block + 4, part, &k_scale, &k_least);
		scale = d * (float) k_scale;
		least = m * (float) k_least;
		for (int i = 0; i < 32; i++)
		{
			int			code = from[i] >> (part % 2 * 4) & 15;

			if (fifth != NULL)
				code |= (fifth[i] >> part & 1) << 4;
			out[part * 32 + i] = scale * (float) code - least;
		}
	}
}

static void
decode_q4_k(const uint8_t *block, float *out)
{
	decode_k(block, NULL, block + 16, out);
}

static void
decode_q5_k(const uint8_t *block, float *out)
{
	decode_k(block, block + 16, block + 48, out);
}

static void
decode_q6_k(const uint8_t *block, float *out)
{
	float		d = read_f16(block + 208);

	/* 128 elements: four quarters of 32, with their low nibbles in 64 bytes and high bits in 32 */
	for (int i = 0; i < SUPER; i++)
	{
		int			half = i / 128;
		int			quarter = i % 128 / 32;
		int			k = i % 32;
		int			low = block[half * 64 + quarter % 2 * 32 + k] >> (quarter / 2 * 4) & 15;
		int			high = block[128 + half * 32 + k] >> (quarter * 2) & 3;
		float		scale = d * (float) (int8_t) block[192 + i / 16];

		out[i] = scale * (float) ((low | high << 4) - 32);
	}
}

/* ------------------------------------------------------ codes of a table */

static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static void
decode_table(const uint8_t *codes, float d, float *out)
{
	for (int i = 0; i < 16; i++)
	{
		out[i] = d * (float) iq4_values[codes[i] & 15];
		out[i + 16] = d * (float) iq4_values[codes[i] >> 4];
	}
}

static void
decode_iq4_nl(const uint8_t *block, float *out)
{
	decode_table(block + 2, read_f16(block), out);
}

static void
decode_iq4_xs(const uint8_t *block, float *out)
{
	float		d = read_f16(block);
	uint32_t	high = read_u16(block + 2);

	for (int part = 0; part < SUPER / 32; part++)
	{
		int			low = block[4 + part / 2] >> (part % 2 * 4) & 15;
		int			scale = (low | (int) (high >> (2 * part) & 3) << 4) - 32;

		decode_table(block + 8 + part * 16, d * (float) scale, out + part * 32);
	}
}

/* ----------------------------------------------------------------- types */

/* By ggml's numbers (ggml.h); what is missing was withdrawn. */
static const EmbGgmlType types[] =
{
	[0] = {"F32", 1, 4, decode_f32},
	[1] = {"F16", 1, 2, decode_f16},
	[2] = {"Q4_0", 32, 18, decode_q4_0},
	[3] = {"Q4_1", 32, 20, decode_q4_1},
	[6] = {"Q5_0", 32, 22, decode_q5_0},
	[7] = {"Q5_1", 32, 24, decode_q5_1},
	[8] = {"Q8_0", 32, 34, decode_q8_0},
	[9] = {"Q8_1", 32, 36, NULL},
	[10] = {"Q2_K", SUPER, 84, decode_q2_k},
	[11] = {"Q3_K", SUPER, 110, decode_q3_k},
	[12] = {"Q4_K", SUPER, 144, decode_q4_k},
	[13] = {"Q5_K", SUPER, 176, decode_q5_k},
	[14] = {"Q6_K", SUPER, 210, decode_q6_k},
	[15] = {"Q8_K", SUPER, 292, NULL},
	[16] = {"IQ2_XXS", SUPER, 66, NULL},
	[17] = {"IQ2_XS", SUPER, 74, NULL},
	[18] = {"IQ3_XXS", SUPER, 98, NULL},
	[19] = {"IQ1_S", SUPER, 50, NULL},
	[20] = {"IQ4_NL", 32, 18, decode_iq4_nl},
	[21] = {"IQ3_S", SUPER, 110, NULL},
	[22] = {"IQ2_S", SUPER, 82, NULL},
	[23] = {"IQ4_XS", SUPER, 136, decode_iq4_xs},
	[24] = {"I8", 1, 1, NULL},
	[25] = {"I16", 1, 2, NULL},
	[26] = {"I32", 1, 4, NULL},
	[27] = {"I64", 1, 8, NULL},
	[28] = {"F64", 1, 8, NULL},
	[29] = {"IQ1_M", SUPER, 56, NULL},
	[30] = {"BF16", 1, 2, decode_bf16},
	[34] = {"TQ1_0", SUPER, 54, NULL},
	[35] = {"TQ2_0", SUPER, 66, NULL},
	[39] = {"MXFP4", 32, 17, NULL},
	[40] = {"NVFP4", 64, 36, NULL},
	[41] = {"Q1_0", 128, 18, NULL},
};

const EmbGgmlType *
emb_ggml_type(uint32_t number)
{
	if (number >= sizeof(types) / sizeof(types[0]) || types[number].name == NULL)
		return NULL;
	return &types[number];
}

/* ----------------------------------------------------------------- codes */

static void
split_q4_0(const uint8_t *block, uint8_t *codes, float *scale)
{
	*scale = read_f16(block);
	for (int i = 0; i < 16; i++)
	{
		codes[i] = block[2 + i] & 15;
		codes[i + 16] = block[2 + i] >> 4;
	}
}

/* Signed codes become unsigned ones, with the zero point 128. */
static void
split_q8_0(const uint8_t *block, uint8_t *codes, float *scale)
{
	*scale = read_f16(block);
	for (int i = 0; i < 32; i++)
		codes[i] = block[2 + i] ^ 0x80;
}

const EmbGgmlCodes *
emb_ggml_codes(const EmbGgmlType *type)
{
	static const EmbGgmlCodes q4_0 = {4, 8, split_q4_0};
	static const EmbGgmlCodes q8_0 = {8, 128, split_q8_0};

	return type->decode == decode_q4_0 ? &q4_0 : type->decode == decode_q8_0 ? &q8_0 : NULL;
}
