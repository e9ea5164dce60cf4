/*
 * attend_neon.h
 *		16 numbers of 32 bits in four q registers, for attend_impl.h, on any
 *		arm64 CPU. The includer defines the products.
 */
typedef struct i32x16
{
	int32x4_t	q[4];			/* lanes 4 i .. 4 i + 3 */
} i32x16;

#define I32X16_QUARTERS(expression) \
	i32x16		result; \
	EMB_UNROLL \
	for (int i = 0; i < 4; i++) \
		result.q[i] = (expression); \
	return result

EMB_ALWAYS_INLINE i32x16
i32x16_zero(void)
{
	I32X16_QUARTERS(vdupq_n_s32(0));
}

EMB_ALWAYS_INLINE i32x16
i32x16_load(const int32_t *p)
{
	I32X16_QUARTERS(vld1q_s32(p + 4 * i));
}

EMB_ALWAYS_INLINE void
i32x16_store(int32_t *p, i32x16 a)
{
	EMB_UNROLL
	for (int i = 0; i < 4; i++)
		vst1q_s32(p + 4 * i, a.q[i]);
}

EMB_ALWAYS_INLINE i32x16
i32x16_sub(i32x16 a, i32x16 b)
{
	I32X16_QUARTERS(vsubq_s32(a.q[i], b.q[i]));
}

EMB_ALWAYS_INLINE v16
v16_from_i32(i32x16 a)
{
	V16_QUARTERS(vcvtq_f32_s32(a.q[i]));
}

/* A conversion that does not fit returns the lowest number, which the maximum replaces. */
EMB_ALWAYS_INLINE i32x16
v16_exp2_split(v16 x, int32_t lowest, v16 *m)
{
	const int32x4_t mantissa = vdupq_n_s32(0x7FFFFF);
	i32x16		n;

	EMB_UNROLL
	for (int i = 0; i < 4; i++)
	{
		int32x4_t	bits = vmaxq_s32(vcvtnq_s32_f32(x.q[i]), vdupq_n_s32(lowest));
		int32x4_t	one = vorrq_s32(vandq_s32(bits, mantissa), vdupq_n_s32(0x3F800000));

		m->q[i] = vreinterpretq_f32_s32(one);
		n.q[i] = vbicq_s32(bits, mantissa);
	}
	return n;
}

EMB_ALWAYS_INLINE v16
v16_add_bits(v16 a, i32x16 n)
{
	V16_QUARTERS(vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a.q[i]), n.q[i])));
}

EMB_ALWAYS_INLINE v16
v16_keep_above(v16 a, v16 x, float limit)
{
	V16_QUARTERS(vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a.q[i]), vcgtq_f32(x.q[i], vdupq_n_f32(limit)))));
}

EMB_ALWAYS_INLINE v16
v16_log2_split(v16 x, v16 *m)
{
	v16			n;

	EMB_UNROLL
	for (int i = 0; i < 4; i++)
	{
		int32x4_t	bits = vreinterpretq_s32_f32(x.q[i]);
		int32x4_t	exponent = vshrq_n_s32(vsubq_s32(bits, vdupq_n_s32(0x3F3504F3)), 23);

		m->q[i] = vreinterpretq_f32_s32(vsubq_s32(bits, vshlq_n_s32(exponent, 23)));
		n.q[i] = vcvtq_f32_s32(exponent);
	}
	return n;
}

/* to[4 c + i] = rows[i][c] for 16 columns and 4 rows */
EMB_ALWAYS_INLINE void
interleave_rows(const int8_t *const rows[EMB_GROUP], int8_t *to)
{
	vst4q_s8(to, ((int8x16x4_t) {{vld1q_s8(rows[0]), vld1q_s8(rows[1]), vld1q_s8(rows[2]), vld1q_s8(rows[3])}}));
}
