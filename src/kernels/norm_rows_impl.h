/*
 * norm_rows_impl.h
 *		norm_rows as kernels.h defines it; include it after quant_impl.h.
 *
 * The includer defines NORM_ROWS, the rows of a tile. The sums of a row are
 * chains of additions, each of which waits for the one before. So the rows of a
 * tile take turns, and share the loads of gamma and beta.
 *
 * Of a row that gets codes the range is known when its last element is normed.
 * A few tiles of rows get their codes together (quantize_some_rows), while they
 * are in the first-level cache.
 */

/* Row r of a tile, from element i on. */
#define NORM_X(r, i) (g->x + (r) * g->x_stride + (i))
#define NORM_RESIDUAL(r, i) (g->residual + (r) * g->residual_stride + (i))
#define NORM_Y(r, i) (g->y + (r) * g->y_stride + (i))

/* n of 16 floats, and zeros; n is a constant unless a row ends. */
EMB_ALWAYS_INLINE v16
load_some(const float *p, const int n)
{
	return n == EMB_PANEL ? v16_load(p) : v16_load_part(p, n);
}

EMB_ALWAYS_INLINE void
store_some(float *p, v16 a, const int n)
{
	if (n == EMB_PANEL)
		v16_store(p, a);
	else
		v16_store_part(p, a, n);
}

/* y = x + residual, added to the sums. */
EMB_ALWAYS_INLINE void
norm_add(const EmbNormRows *g, int32_t i, const int n, v16 sums[NORM_ROWS], const int n_rows, const bool has_residual)
{
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		v16			v = load_some(NORM_X(r, i), n);

		if (has_residual)
			v = v16_add(v, load_some(NORM_RESIDUAL(r, i), n));
		store_some(NORM_Y(r, i), v, n);
		sums[r] = v16_add(sums[r], v);
	}
}

EMB_ALWAYS_INLINE void
norm_square(const EmbNormRows *g, int32_t i, const int n, const v16 means[NORM_ROWS], v16 sums[NORM_ROWS],
			const int n_rows)
{
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		v16			d = v16_sub(load_some(NORM_Y(r, i), n), means[r]);

		if (n < EMB_PANEL)
			d = v16_keep(d, n, 0.0f);
		sums[r] = v16_fma(d, d, sums[r]);
	}
}

EMB_ALWAYS_INLINE void
norm_scale(const EmbNormRows *g, int32_t i, const int n, const v16 means[NORM_ROWS],
		   const v16 scales[NORM_ROWS], Range ranges[NORM_ROWS], const int n_rows, const bool has_codes, const bool has_factor)
{
	v16			gamma = load_some(g->gamma + i, n);
	v16			beta = load_some(g->beta + i, n);
	v16			factor = has_factor ? load_some(g->factor + i, n) : v16_set(1.0f);

	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		v16			y = v16_fma(v16_mul(v16_sub(load_some(NORM_Y(r, i), n), means[r]), scales[r]), gamma, beta);

		store_some(NORM_Y(r, i), y, n);
		if (!has_codes)
			continue;
		if (n < EMB_PANEL)
			y = v16_keep(y, n, 0.0f);
		widen_range(has_factor ? v16_mul(y, factor) : y, &ranges[r]);
	}
}

EMB_ALWAYS_INLINE void
norm_add_all(const EmbNormRows *g, v16 sums[NORM_ROWS], const int n_rows, const bool has_residual)
{
	int32_t		n_whole = g->n / EMB_PANEL * EMB_PANEL;

	for (int32_t i = 0; i < n_whole; i += EMB_PANEL)
		norm_add(g, i, EMB_PANEL, sums, n_rows, has_residual);
	if (n_whole < g->n)
		norm_add(g, n_whole, g->n - n_whole, sums, n_rows, has_residual);
}

EMB_ALWAYS_INLINE void
norm_scale_all(const EmbNormRows *g, const v16 means[NORM_ROWS], const v16 scales[NORM_ROWS], Range ranges[NORM_ROWS],
			   const int n_rows, const bool has_codes, const bool has_factor)
{
	int32_t		n_whole = g->n / EMB_PANEL * EMB_PANEL;

	for (int32_t i = 0; i < n_whole; i += EMB_PANEL)
		norm_scale(g, i, EMB_PANEL, means, scales, ranges, n_rows, has_codes, has_factor);
	if (n_whole < g->n)
		norm_scale(g, n_whole, g->n - n_whole, means, scales, ranges, n_rows, has_codes, has_factor);
}

/* n_rows is a constant of each instance; below and above only if there are codes. */
EMB_ALWAYS_INLINE void
norm_tile(EmbNormRows tile, v16 *below, v16 *above, const int n_rows)
{
	const EmbNormRows *g = &tile;
	int32_t		n_whole = g->n / EMB_PANEL * EMB_PANEL;
	v16			sums[NORM_ROWS],
				means[NORM_ROWS],
				scales[NORM_ROWS];
	Range		ranges[NORM_ROWS];

	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
		sums[r] = v16_set(0.0f);
	if (g->residual != NULL)
		norm_add_all(g, sums, n_rows, true);
	else
		norm_add_all(g, sums, n_rows, false);
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		means[r] = v16_set(v16_sum(sums[r]) / (float) g->n);
		sums[r] = v16_set(0.0f);
	}
	for (int32_t i = 0; i < n_whole; i += EMB_PANEL)
		norm_square(g, i, EMB_PANEL, means, sums, n_rows);
	if (n_whole < g->n)
		norm_square(g, n_whole, g->n - n_whole, means, sums, n_rows);
	EMB_UNROLL
	for (int r = 0; r < n_rows; r++)
	{
		float		variance = v16_sum(sums[r]) / (float) g->n + g->eps;

		scales[r] = v16_set(1.0f / sqrtf(variance > 1e-30f ? variance : 1e-30f));
		ranges[r] = no_range();
	}
	if (g->codes == NULL)
		norm_scale_all(g, means, scales, ranges, n_rows, false, false);
	else if (g->factor == NULL)
		norm_scale_all(g, means, scales, ranges, n_rows, true, false);
	else
		norm_scale_all(g, means, scales, ranges, n_rows, true, true);
	for (int r = 0; g->codes != NULL && r < n_rows; r++)
	{
		below[r] = v16_sub(v16_set(0.0f), ranges[r].lo);
		above[r] = ranges[r].hi;
	}
}

/* The same rows without the first n_rows. */
EMB_ALWAYS_INLINE EmbNormRows
norm_next(EmbNormRows rows, int32_t n_rows)
{
	rows.n_rows -= n_rows;
	rows.x += n_rows * rows.x_stride;
	if (rows.residual != NULL)
		rows.residual += n_rows * rows.residual_stride;
	rows.y += n_rows * rows.y_stride;
	if (rows.codes != NULL)
	{
		rows.codes += n_rows * rows.code_stride;
		rows.scales += n_rows;
		rows.zeros += n_rows;
	}
	return rows;
}

void
EMB_NAME(norm_rows) (const EmbNormRows *g)
{
	EmbQuantRows quant = {
		.n = g->n, .factor = g->factor, .x_stride = g->y_stride, .code_stride = g->code_stride
	};
	/* 12 of 384 elements: x passes through the first-level cache, too, which is 32 KB on Zen 4; 16 are no faster */
	int32_t		n_taken = code_rows(g->n + g->n / 3, CODE_ROWS) / NORM_ROWS * NORM_ROWS;
	v16			below[CODE_ROWS],
				above[CODE_ROWS];

	n_taken = n_taken > 0 ? n_taken : NORM_ROWS;
	for (EmbNormRows left = *g; left.n_rows > 0;)
	{
		EmbNormRows next = left;
		int32_t		n_rows = left.n_rows < n_taken ? left.n_rows : n_taken;
		int32_t		r = 0;

		for (; n_rows - r >= NORM_ROWS; r += NORM_ROWS, next = norm_next(next, NORM_ROWS))
			norm_tile(next, below + r, above + r, NORM_ROWS);
		for (; r < n_rows; r++, next = norm_next(next, 1))
			norm_tile(next, below + r, above + r, 1);
		if (g->codes != NULL)
		{
			quant.x = left.y;
			quant.codes = left.codes;
			quant.scales = left.scales;
			quant.zeros = left.zeros;
			quantize_some_rows(&quant, 0, n_rows, below, above);
		}
		left = next;
	}
}
