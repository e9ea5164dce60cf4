/*
 * half.h
 *		IEEE 754 binary16 and bfloat16 to fp32, exact.
 *
 * By bits, so that no mode of the floating-point unit matters (subnormals!).
 */
#ifndef EMB_FORMATS_HALF_H
#define EMB_FORMATS_HALF_H

#include <stdint.h>
#include <string.h>

static inline float
emb_float_of_bits(uint32_t bits)
{
	float		x;

	memcpy(&x, &bits, sizeof(x));
	return x;
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

#endif
