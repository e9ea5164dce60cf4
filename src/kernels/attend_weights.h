/*
 * attend_weights.h
 *		The weight of a score, for attend_impl.h and attend_amx.c: needs
 *		v16_exp2_split, v16_add_bits and v16_keep_above as attend_impl.h describes them.
 */
/* The least exponent of 2^x, in steps of 2^-23. */
#define EXP2_LOWEST (-100 * (1 << 23))

/* A score lower than any real score, and 0 for the sums: the value past the last token. */
#define LOG_OF_NOTHING -1e38f

/* Scores of keys that a query sees are above it, all others below. */
#define SCORE_UNSEEN -5e37f

/*
 * 255 * 2^(x / 2^23) for x <= 0; results below 2^-100 become 2^-100. P(m) =
 * 255 * 2^(m - 1) on [1, 2] is our own minimax fit: relative error 7.5e-5, at
 * most a 50th of a code.
 */
V16_INLINE v16
exp2_255_v16(v16 x)
{
	v16			m;
	i32x16		n = v16_exp2_split(x, EXP2_LOWEST, &m);
	v16			p = v16_set(0x1.3e570ep+4f);

	p = v16_fma(p, m, v16_set(-0x1.055440p+1f));
	p = v16_fma(p, m, v16_set(0x1.e75408p+6f));
	p = v16_fma(p, m, v16_set(0x1.cd2d50p+6f));
	return v16_add_bits(p, n);
}

/*
 * e of scores u. Without a mask, the only keys that no query sees fill the
 * last panel: their values and inverses are zeros, so that any e will do.
 */
EMB_ALWAYS_INLINE v16
weights_v16(v16 u, v16 origin, const bool masked)
{
	v16			e = exp2_255_v16(v16_sub(u, origin));

	return masked ? v16_keep_above(e, u, SCORE_UNSEEN) : e;
}

/*
 * What joins the segments of a row: 1 where its largest score is, so that a row
 * has the same bits whether it sees one segment or is beside rows that see more.
 * Maxima from n_segments on, up to a multiple of 16, are LOG_OF_NOTHING.
 */
EMB_ALWAYS_INLINE void
join_factors(const float *maxima, int32_t n_segments, float *factors)
{
	v16			one = exp2_255_v16(v16_set(0.0f));
	v16			largest = v16_load(maxima);

	for (int32_t s = EMB_PANEL; s < n_segments; s += EMB_PANEL)
		largest = v16_max(v16_load(maxima + s), largest);
	largest = v16_set(v16_largest(largest));
	for (int32_t s = 0; s < n_segments; s += EMB_PANEL)
		v16_store(factors + s, v16_div(exp2_255_v16(v16_sub(v16_load(maxima + s), largest)), one));
}
