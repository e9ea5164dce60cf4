/*
 * v16_neon.h
 *		16 floats in four q registers, for any arm64 CPU.
 */
#define V16_INLINE EMB_ALWAYS_INLINE

typedef struct v16
{
	float32x4_t q[4];			/* lanes 4 i .. 4 i + 3 */
} v16;

#define V16_QUARTERS(expression) \
	v16			result; \
	EMB_UNROLL \
	for (int i = 0; i < 4; i++) \
		result.q[i] = (expression); \
	return result

V16_INLINE v16
v16_load(const float *p)
{
	V16_QUARTERS(vld1q_f32(p + 4 * i));
}

V16_INLINE void
v16_store(float *p, v16 a)
{
	EMB_UNROLL
	for (int i = 0; i < 4; i++)
		vst1q_f32(p + 4 * i, a.q[i]);
}

V16_INLINE v16
v16_load_part(const float *p, int n)
{
	float		lanes[16] = {0};

	for (int i = 0; i < n; i++)
		lanes[i] = p[i];
	return v16_load(lanes);
}

V16_INLINE void
v16_store_part(float *p, v16 a, int n)
{
	float		lanes[16];

	v16_store(lanes, a);
	for (int i = 0; i < n; i++)
		p[i] = lanes[i];
}

V16_INLINE v16
v16_keep(v16 a, int n, float other)
{
	const int32x4_t lanes = {0, 1, 2, 3};

	V16_QUARTERS(vbslq_f32(vcltq_s32(lanes, vdupq_n_s32(n - 4 * i)), a.q[i], vdupq_n_f32(other)));
}

V16_INLINE v16
v16_set(float x)
{
	V16_QUARTERS(vdupq_n_f32(x));
}

V16_INLINE v16
v16_add(v16 a, v16 b)
{
	V16_QUARTERS(vaddq_f32(a.q[i], b.q[i]));
}

V16_INLINE v16
v16_sub(v16 a, v16 b)
{
	V16_QUARTERS(vsubq_f32(a.q[i], b.q[i]));
}

V16_INLINE v16
v16_mul(v16 a, v16 b)
{
	V16_QUARTERS(vmulq_f32(a.q[i], b.q[i]));
}

V16_INLINE v16
v16_div(v16 a, v16 b)
{
	V16_QUARTERS(vdivq_f32(a.q[i], b.q[i]));
}

V16_INLINE v16
v16_fma(v16 a, v16 b, v16 c)
{
	V16_QUARTERS(vfmaq_f32(c.q[i], a.q[i], b.q[i]));
}

V16_INLINE v16
v16_fnma(v16 a, v16 b, v16 c)
{
	V16_QUARTERS(vfmsq_f32(c.q[i], a.q[i], b.q[i]));
}

/* Not fmax, which returns NaN if either is NaN, and +0 for two zeros; nor fmaxnm. */
EMB_ALWAYS_INLINE float32x4_t
larger_neon(float32x4_t a, float32x4_t b)
{
	return vbslq_f32(vcgtq_f32(a, b), a, b);
}

V16_INLINE v16
v16_max(v16 a, v16 b)
{
	V16_QUARTERS(larger_neon(a.q[i], b.q[i]));
}

V16_INLINE v16
v16_min(v16 a, v16 b)
{
	V16_QUARTERS(vbslq_f32(vcltq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]));
}

V16_INLINE v16
v16_abs(v16 a)
{
	V16_QUARTERS(vabsq_f32(a.q[i]));
}

V16_INLINE v16
v16_add_exponent(v16 a, v16 z)
{
	V16_QUARTERS(vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a.q[i]),
												 vshlq_n_s32(vreinterpretq_s32_f32(z.q[i]), 23))));
}

V16_INLINE float
v16_sum(v16 a)
{
	float32x4_t by4 = vaddq_f32(vaddq_f32(a.q[0], a.q[2]), vaddq_f32(a.q[1], a.q[3]));
	float32x2_t by2 = vadd_f32(vget_low_f32(by4), vget_high_f32(by4));

	return vget_lane_f32(by2, 0) + vget_lane_f32(by2, 1);
}

V16_INLINE float
v16_largest(v16 a)
{
	float32x4_t by4 = larger_neon(larger_neon(a.q[0], a.q[2]), larger_neon(a.q[1], a.q[3]));
	float		x0 = vgetq_lane_f32(by4, 0),
				x1 = vgetq_lane_f32(by4, 1),
				x2 = vgetq_lane_f32(by4, 2),
				x3 = vgetq_lane_f32(by4, 3);

	x0 = x0 > x2 ? x0 : x2;
	x1 = x1 > x3 ? x1 : x3;
	return x0 > x1 ? x0 : x1;
}

EMB_ALWAYS_INLINE void
v16_store_bytes(uint8_t *p, v16 z)
{
	uint16x8_t	by2[2];

	/* the even halves of two registers: the low 16, then 8 bits of each lane */
	for (int i = 0; i < 2; i++)
		by2[i] = vuzp1q_u16(vreinterpretq_u16_f32(z.q[2 * i]), vreinterpretq_u16_f32(z.q[2 * i + 1]));
	vst1q_u8(p, vuzp1q_u8(vreinterpretq_u8_u16(by2[0]), vreinterpretq_u8_u16(by2[1])));
}
