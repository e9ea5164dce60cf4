/*
 * v16_math.h
 *		What rowops_impl.h, quant_impl.h and attend_impl.h share.
 *
 * The includer defines EMB_ISA (the suffix of the kernels) and v16 with
 *
 *		v16_load, v16_store			16 floats, any alignment
 *		v16_load_part(p, n)			n floats (0 .. 16), zeros after them; reads nothing past them
 *		v16_store_part(p, a, n)		the first n lanes
 *		v16_keep(a, n, x)			a, with x in the lanes from n on
 *		v16_set, _add, _sub, _mul, _div, _fma(a, b, c) = a b + c rounded once, _fnma = c - a b
 *		v16_max(a, b)				a > b ? a : b		v16_min likewise
 *		v16_abs						clears the sign
 *		v16_add_exponent(a, z)		bits of a + (bits of z << 23): a 2^n for z = ROUNDER + n
 *		v16_sum, v16_largest		over the lanes, in the tree of kernels.h
 *		v16_store_bytes(p, z)		the low byte of each lane's bits: of n for z = ROUNDER + n
 *
 * and, if it has something better than what follows, with macros of the same names in capitals,
 *
 *		v16_min_abs(a, limit)		min(|a|, limit); a is the result of an operation
 *		v16_max_abs(a, b)			max(|a|, |b|); the other one if one is NaN; results of operations
 *		v16_largest_each(rows, n)	lane i: v16_largest of rows[i], i < n; 0 beyond. rows [16] without NaN
 *									or -0, of which those from n on are 0
 *		v16_store_codes(p, z0 .. z3, lowest)	64 bytes of z = ROUNDER + n, n >= lowest: those of
 *									n, but at most lowest + 255
 */
#define EMB_JOIN_(op, isa) emb_##op##_##isa
#define EMB_JOIN(op, isa) EMB_JOIN_(op, isa)
#define EMB_NAME(op) EMB_JOIN(op, EMB_ISA)

/* 1.5 * 2^23: adding it leaves the nearest integer in the low bits. */
#define ROUNDER 12582912.0f

#define LOG2_E 0x1.715476p+0f

/* A NaN becomes lo, so the code after it need not handle NaN. */
EMB_ALWAYS_INLINE v16
clamp_v16(v16 x, float lo, float hi)
{
	return v16_min(v16_max(x, v16_set(lo)), v16_set(hi));
}

#ifndef V16_MIN_ABS
EMB_ALWAYS_INLINE v16
v16_min_abs(v16 a, v16 limit)
{
	return v16_min(v16_abs(a), limit);
}
#endif

#ifndef V16_MAX_ABS
EMB_ALWAYS_INLINE v16
v16_max_abs(v16 a, v16 b)
{
	return v16_max(v16_abs(a), v16_max(v16_abs(b), v16_set(0.0f)));
}
#endif

#ifndef V16_LARGEST_EACH
EMB_ALWAYS_INLINE v16
v16_largest_each(const v16 rows[16], int n)
{
	float		largest[16] = {0};

	for (int i = 0; i < n; i++)
		largest[i] = v16_largest(rows[i]);
	return v16_load(largest);
}
#endif

#ifndef V16_STORE_CODES
EMB_ALWAYS_INLINE void
v16_store_codes(uint8_t *p, v16 z0, v16 z1, v16 z2, v16 z3, int lowest)
{
	v16			highest = v16_set(ROUNDER + (float) (lowest + 255));

	v16_store_bytes(p, v16_min(z0, highest));
	v16_store_bytes(p + 16, v16_min(z1, highest));
	v16_store_bytes(p + 32, v16_min(z2, highest));
	v16_store_bytes(p + 48, v16_min(z3, highest));
}
#endif
