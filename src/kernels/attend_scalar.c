/*
 * attend_scalar.c
 *		Attention in int8, plain C: the reference of all levels.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/declare.h"
#include "kernels/target.h"
#include "kernels/v16_scalar.h"

#define ATTEND_ROWS		1
#define ATTEND_PANELS	1

typedef struct i32x16
{
	int32_t		lane[16];
} i32x16;

typedef struct quads_u8
{
	uint8_t		byte[EMB_GROUP];
} quads_u8;

typedef struct quads_s8
{
	int8_t		byte[16][EMB_GROUP];
} quads_s8;

V16_INLINE i32x16
i32x16_zero(void)
{
	return (i32x16) {{0}};
}

V16_INLINE i32x16
i32x16_load(const int32_t *p)
{
	i32x16		a;

	memcpy(&a, p, sizeof(a));
	return a;
}

V16_INLINE void
i32x16_store(int32_t *p, i32x16 a)
{
	memcpy(p, &a, sizeof(a));
}

V16_INLINE i32x16
i32x16_sub(i32x16 a, i32x16 b)
{
	for (int i = 0; i < 16; i++)
		a.lane[i] = (int32_t) ((uint32_t) a.lane[i] - (uint32_t) b.lane[i]);
	return a;
}

V16_INLINE quads_u8
quads_u8_load(const uint8_t *p)
{
	quads_u8	a;

	memcpy(&a, p, sizeof(a));
	return a;
}

V16_INLINE quads_s8
quads_s8_load(const int8_t *p)
{
	quads_s8	a;

	memcpy(&a, p, sizeof(a));
	return a;
}

V16_INLINE i32x16
i32x16_dot(i32x16 sum, quads_u8 a, quads_s8 b)
{
	for (int i = 0; i < 16; i++)
		for (int j = 0; j < EMB_GROUP; j++)
			sum.lane[i] = (int32_t) ((uint32_t) sum.lane[i] + (uint32_t) (a.byte[j] * b.byte[i][j]));
	return sum;
}

V16_INLINE v16
v16_from_i32(i32x16 a)
{
	V16_LANES((float) a.lane[i]);
}

V16_INLINE uint32_t
bits_of(float x)
{
	uint32_t	bits;

	memcpy(&bits, &x, sizeof(bits));
	return bits;
}

V16_INLINE float
float_of(uint32_t bits)
{
	float		x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}

V16_INLINE i32x16
v16_exp2_split(v16 x, int32_t lowest, v16 *m)
{
	i32x16		n;

	for (int i = 0; i < 16; i++)
	{
		uint32_t	bits = (uint32_t) lrintf(x.lane[i] > (float) lowest ? x.lane[i] : (float) lowest);

		m->lane[i] = float_of((bits & 0x7FFFFF) | 0x3F800000);
		n.lane[i] = (int32_t) (bits & 0xFF800000);
	}
	return n;
}

V16_INLINE v16
v16_add_bits(v16 a, i32x16 n)
{
	V16_LANES(float_of(bits_of(a.lane[i]) + (uint32_t) n.lane[i]));
}

V16_INLINE v16
v16_keep_above(v16 a, v16 x, float limit)
{
	V16_LANES(x.lane[i] > limit ? a.lane[i] : 0.0f);
}

/* Right shifts keep the sign, as in every compiler we know. */
V16_INLINE v16
v16_log2_split(v16 x, v16 *m)
{
	v16			n;

	for (int i = 0; i < 16; i++)
	{
		uint32_t	bits = bits_of(x.lane[i]);
		int32_t		exponent = (int32_t) (bits - 0x3F3504F3) >> 23;

		m->lane[i] = float_of(bits - ((uint32_t) exponent << 23));
		n.lane[i] = (float) exponent;
	}
	return n;
}

V16_INLINE void
interleave_rows(const int8_t *const rows[EMB_GROUP], int8_t *to)
{
	for (int c = 0; c < EMB_PANEL; c++)
		for (int i = 0; i < EMB_GROUP; i++)
			to[c * EMB_GROUP + i] = rows[i][c];
}

#define EMB_ISA scalar
#define transpose_dwords emb_transpose_f32_scalar
#include "kernels/attend_impl.h"
