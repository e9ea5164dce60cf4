/*
 * quant_heads_impl.h
 *		quantize_heads as kernels.h defines it; include it after quant_impl.h.
 */

/* Heads whose largest elements are divided at a time. */
#define HEADS_MAX 16

/*
 * Bounds of values quantized for attention: products of scales stay far from
 * the limits of float.
 */
#define HEAD_MIN 1e-12f
#define HEAD_MAX 1e12f

/* q[i] = zero + rint(y inverse), zeros from d to its next multiple of 4 */
EMB_ALWAYS_INLINE void
store_head(const float *x, int32_t d, float inverse, float zero, uint8_t *q)
{
	v16			inv = v16_set(inverse);
	v16			rounder = v16_set(ROUNDER + zero);
	int			lo = (int) zero - 127;
	int			hi = (int) zero + 127;
	int32_t		i = 0;

	for (; d - i >= 64; i += 64)
		v16_store_codes(q + i, uncut_code_v16(v16_load(x + i), inv, rounder, lo),
						uncut_code_v16(v16_load(x + i + 16), inv, rounder, lo),
						uncut_code_v16(v16_load(x + i + 32), inv, rounder, lo),
						uncut_code_v16(v16_load(x + i + 48), inv, rounder, lo), lo - 1);
	for (; d - i >= 16; i += 16)
		v16_store_bytes(q + i, code_v16(v16_load(x + i), inv, rounder, lo, hi));
	if (i < d)
	{
		uint8_t		last[16];
		v16			z = code_v16(v16_load_part(x + i, d - i), inv, rounder, lo, hi);

		v16_store_bytes(last, v16_keep(z, d - i, ROUNDER));
		memcpy(q + i, last, (d - i + EMB_GROUP - 1) / EMB_GROUP * EMB_GROUP);
	}
}

/* Magnitudes by lanes. */
EMB_ALWAYS_INLINE v16
largest_of_head(const float *x, int32_t d)
{
	v16			largest = v16_set(0.0f);

	if (d == 32)
		return v16_max(v16_max_abs(v16_load(x), v16_load(x + EMB_PANEL)), largest);
	for (int32_t i = 0; i < d; i += EMB_PANEL)
		largest = v16_max(v16_abs(load_scaled(x + i, NULL, d - i >= EMB_PANEL ? EMB_PANEL : d - i)), largest);
	return largest;
}

/* Two heads of 32 elements, which are 64 codes. */
EMB_ALWAYS_INLINE void
store_two_heads(const float *x, const float *inverse, float zero, uint8_t *q)
{
	v16			rounder = v16_set(ROUNDER + zero);
	int			lo = (int) zero - 127;

	v16_store_codes(q, uncut_code_v16(v16_load(x), v16_set(inverse[0]), rounder, lo),
					uncut_code_v16(v16_load(x + 16), v16_set(inverse[0]), rounder, lo),
					uncut_code_v16(v16_load(x + 32), v16_set(inverse[1]), rounder, lo),
					uncut_code_v16(v16_load(x + 48), v16_set(inverse[1]), rounder, lo), lo - 1);
}

/*
 * x / 127, rounded once, for HEAD_MIN <= x <= HEAD_MAX (Markstein 1990): the
 * product with the nearest number to 1 / 127 is off by an ulp at most, what
 * remains of x is exact, and so its quotient corrects the product. Equal
 * to the division for all mantissas. Two divisions of a row keep Intel's
 * divider busy for 32 cycles.
 */
EMB_ALWAYS_INLINE v16
divide_by_127(v16 x)
{
	v16			reciprocal = v16_set(1.0f / 127.0f);
	v16			quotient = v16_mul(x, reciprocal);

	return v16_fma(v16_fnma(quotient, v16_set(127.0f), x), reciprocal, quotient);
}

/* The divisions of up to 16 heads are one. */
EMB_ALWAYS_INLINE void
quantize_some_heads(const float *x, int32_t n_heads, int32_t d, int32_t zero, uint8_t *q,
					float *scales, size_t scale_stride)
{
	size_t		q_stride = (size_t) (d + EMB_GROUP - 1) / EMB_GROUP * EMB_GROUP;
	float		m[HEADS_MAX];
	float		inverse[HEADS_MAX];
	v16			largest[HEADS_MAX];
	v16			magnitudes;
	int32_t		head;

	EMB_UNROLL
	for (head = 0; head < HEADS_MAX; head++)
		largest[head] = head < n_heads ? largest_of_head(x + (size_t) head * d, d) : v16_set(0.0f);
	magnitudes = clamp_v16(v16_largest_each(largest, n_heads), HEAD_MIN, HEAD_MAX);
	v16_store(inverse, v16_div(v16_set(127.0f), magnitudes));
	v16_store(m, divide_by_127(magnitudes));
	for (head = 0; head < n_heads; head++)
		scales[head * scale_stride] = m[head];
	head = 0;
	for (; d == 32 && n_heads - head >= 2; head += 2)
		store_two_heads(x + (size_t) head * d, inverse + head, (float) zero, q + head * q_stride);
	for (; head < n_heads; head++)
		store_head(x + (size_t) head * d, d, inverse[head], (float) zero, q + head * q_stride);
}

void
EMB_NAME(quantize_heads) (const float *x, int32_t n_heads, int32_t d, int32_t zero, uint8_t *q,
						  float *scales, size_t scale_stride)
{
	size_t		q_stride = (size_t) (d + EMB_GROUP - 1) / EMB_GROUP * EMB_GROUP;

	for (int32_t head = 0; head < n_heads; head += HEADS_MAX)
	{
		int32_t		n = n_heads - head < HEADS_MAX ? n_heads - head : HEADS_MAX;

		/* constants, without branches for each head; a small BERT's */
		if (n == 12 && d == 32)
			quantize_some_heads(x + (size_t) head * d, 12, 32, zero, q + head * q_stride, scales + head * scale_stride,
								scale_stride);
		else
			quantize_some_heads(x + (size_t) head * d, n, d, zero, q + head * q_stride, scales + head * scale_stride,
								scale_stride);
	}
}
