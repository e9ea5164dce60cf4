/*
 * half.h
 *		IEEE 754 binary16 and bfloat16: to fp32, exact; from fp32, to the nearest.
 *
 * By bits, so that no mode of the floating-point unit matters (subnormals!).
 */
#ifndef EMB_COMMON_HALF_H
#define EMB_COMMON_HALF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* How scales of groups are stored. Images have these numbers. */
typedef enum EmbScaleType
{
	EMB_SCALE_F32 = 0,
	EMB_SCALE_F16 = 1,
	EMB_SCALE_BF16 = 2
} EmbScaleType;

#define EMB_F16_MAX	65504.0f

static inline size_t
emb_scale_bytes(EmbScaleType type)
{
	return type == EMB_SCALE_F32 ? sizeof(float) : sizeof(uint16_t);
}

static inline float
emb_float_of_bits(uint32_t bits)
{
	float		x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}

static inline uint32_t
emb_bits_of_float(float x)
{
	uint32_t	bits;

	memcpy(&bits, &x, sizeof(bits));
	return bits;
}

static inline float
emb_float_of_f16(uint16_t h)
{
	uint32_t	sign = (uint32_t) (h & 0x8000) << 16;
	uint32_t	exponent = h >> 10 & 31;
	uint32_t	mantissa = h & 0x3FF;

	if (exponent == 31)
		return emb_float_of_bits(sign | 0x7F800000 | mantissa << 13);
	if (exponent == 0)
	{
		if (mantissa == 0)
			return emb_float_of_bits(sign);
		for (exponent = 1; (mantissa & 0x400) == 0; mantissa <<= 1)
			exponent--;			/* wraps below zero; adding 112 undoes this */
		mantissa &= 0x3FF;
	}
	return emb_float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

static inline float
emb_float_of_bf16(uint16_t h)
{
	return emb_float_of_bits((uint32_t) h << 16);
}

/* Ties go to the even; what is too large, or not finite, becomes the largest. */
static inline uint16_t
emb_f16_of_float(float x)
{
	uint32_t	bits = emb_bits_of_float(x);
	uint16_t	sign = (uint16_t) (bits >> 16 & 0x8000);
	int32_t		exponent = (int32_t) (bits >> 23 & 255) - 127;
	uint32_t	mantissa = (bits & 0x7FFFFF) | 0x800000;
	int			shift = exponent < -14 ? -exponent - 1 : 13;	/* bits of the mantissa that go */
	uint32_t	kept;

	if (exponent < -25)
		return sign;
	kept = mantissa >> shift;
	bits = mantissa & ((1u << shift) - 1);
	kept += bits > 1u << (shift - 1) || (bits == 1u << (shift - 1) && (kept & 1));
	/* a carry out of the mantissa is the next exponent, also from subnormals */
	kept += exponent < -14 ? 0 : (uint32_t) (exponent + 14) << 10;
	return sign | (uint16_t) (kept < 0x7BFF ? kept : 0x7BFF);
}

/* Ties go to the even; what is too large, or not finite, becomes the largest. */
static inline uint16_t
emb_bf16_of_float(float x)
{
	uint32_t	bits = emb_bits_of_float(x);
	uint32_t	magnitude = bits & 0x7FFFFFFF;

	magnitude = (magnitude + 0x7FFF + (magnitude >> 16 & 1)) >> 16;
	return (uint16_t) ((bits >> 16 & 0x8000) | (magnitude < 0x7F7F ? magnitude : 0x7F7F));
}

/* Scale i of stored ones. */
static inline float
emb_scale_at(const void *scales, EmbScaleType type, size_t i)
{
	uint16_t	h;
	float		x;

	if (type == EMB_SCALE_F32)
	{
		memcpy(&x, (const float *) scales + i, sizeof(x));
		return x;
	}
	memcpy(&h, (const uint16_t *) scales + i, sizeof(h));
	return type == EMB_SCALE_F16 ? emb_float_of_f16(h) : emb_float_of_bf16(h);
}

/* Stores n scales from scale i on, each as the nearest of its type. */
static inline void
emb_scale_store(void *scales, EmbScaleType type, size_t i, const float *from, size_t n)
{
	uint16_t   *halves = (uint16_t *) scales + i;

	if (type == EMB_SCALE_F32)
		memcpy((float *) scales + i, from, n * sizeof(float));
	for (size_t k = 0; type != EMB_SCALE_F32 && k < n; k++)
		halves[k] = type == EMB_SCALE_F16 ? emb_f16_of_float(from[k]) : emb_bf16_of_float(from[k]);
}

static inline float
emb_scale_nearest(float x, EmbScaleType type)
{
	return type == EMB_SCALE_F32 ? x : type == EMB_SCALE_F16 ? emb_float_of_f16(emb_f16_of_float(x)) :
		emb_float_of_bf16(emb_bf16_of_float(x));
}

#endif
