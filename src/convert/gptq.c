/*
 * gptq.c
 *		Rounds to 4 bits with feedback.
 */
#include "convert/gptq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CODE_MAX		15

/* Rows of X in one product: one fused chain of gemm_f32. */
#define CHUNK_ROWS		EMB_GEMM_K_BLOCK

/* Rows of H in a strip, and panels in one product of a strip. */
#define STRIP			64
#define STRIP_PANELS	16

/* Rows of a block of the factorization, and columns that stay in a cache meanwhile. */
#define BLOCK			EMB_UPDATE_SQUARE
#define SPAN			256

/* Channels that are rounded between two products with the feedback matrix. */
#define FEEDBACK		32

/* Damping: this part of the mean energy is added to each. */
#define DAMPING			0.01

/* Ranges that are tried for a group: 1, 0.96, .. of its weights' range. */
#define N_CLIPS			13
#define CLIP_STEP		0.04f

#define NOTHING			1e-30f

#define N_GROUPS_MAX	(EMB_ARCH_MAX_INTERMEDIATE / 32)

/*
 * Costs of an element in multiply-adds of gemm_f32, on a machine whose products
 * are fast. COST_TOUCH is for memory that no cache has: new pages, and rows
 * read by columns.
 */
#define COST_COPY		32
#define COST_TOUCH		256
#define COST_DOUBLE		24
#define COST_ROUND		64

/* What is given back at once, whole pages of any machine, and its cost: about a millisecond. */
#define PAGE_BYTES		((uintptr_t) 65536)
#define RELEASE_BYTES	(128 * PAGE_BYTES)
#define COST_RELEASE	(8 * (int64_t) RELEASE_BYTES)

static size_t
scratch_elems(int32_t n_max)
{
	size_t		n = ((size_t) n_max + EMB_PANEL - 1) / EMB_PANEL * EMB_PANEL;
	size_t		product = STRIP * STRIP_PANELS * EMB_PANEL;	/* as many as two squares of BLOCK in double */
	size_t		panel = 2 * n * EMB_PANEL + FEEDBACK * EMB_PANEL;	/* weights, errors, feedback */

	/* an even number, so that each worker's are aligned for doubles */
	_Static_assert(STRIP * STRIP_PANELS * EMB_PANEL * sizeof(float) >= 2 * BLOCK * BLOCK * sizeof(double), "two squares");
	return product > panel ? product : panel;
}

/*
 * Gives the pages of the matrix back in pieces, and looks for a cancel between
 * them: 1.2 GB at once, 12,288 channels, take 0.13 s. (With MADV_HUGEPAGE
 * that is a few ms, but the factorization takes a tenth longer.)
 */
static void
empty_matrix(EmbGptq *g)
{
	uintptr_t	at = ((uintptr_t) g->matrix + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
	uintptr_t	end = ((uintptr_t) g->matrix + g->matrix_bytes) / PAGE_BYTES * PAGE_BYTES;

	/* before the work begins, nobody has to look */
	for (; g->matrix != NULL && g->works[0]->stopped != NULL && at < end && emb_work_spend(g->works[0], COST_RELEASE); at += RELEASE_BYTES)
		(void) madvise((void *) at, end - at < RELEASE_BYTES ? end - at : RELEASE_BYTES, MADV_DONTNEED);
}

bool
emb_gptq_begin(EmbGptq *g, int32_t n_max, const EmbTeam *team, EmbWork **works, const EmbAllocator *mem)
{
	size_t		n = ((size_t) n_max + EMB_PANEL - 1) / EMB_PANEL * EMB_PANEL;

	*g = (EmbGptq) {.mem = *mem, .team = team, .works = works, .scratch_elems = scratch_elems(n_max), .matrix_bytes = n * n * sizeof(double)};
	g->order = emb_alloc_array(mem, n, sizeof(int32_t));
	g->energies = emb_alloc_array(mem, n, sizeof(double));
	g->matrix = emb_alloc_array(mem, n * n, sizeof(double));
	g->columns = emb_alloc_array(mem, n * CHUNK_ROWS, sizeof(float));
	g->panels = emb_alloc_array(mem, n * CHUNK_ROWS, sizeof(float));
	g->scratch = emb_alloc_array(mem, (size_t) team->n_workers * g->scratch_elems, sizeof(float));
	return g->order != NULL && g->energies != NULL && g->matrix != NULL && g->columns != NULL && g->panels != NULL && g->scratch != NULL;
}

void
emb_gptq_end(EmbGptq *g)
{
	empty_matrix(g);
	emb_release(&g->mem, g->order);
	emb_release(&g->mem, g->energies);
	emb_release(&g->mem, g->matrix);
	emb_release(&g->mem, g->columns);
	emb_release(&g->mem, g->panels);
	emb_release(&g->mem, g->scratch);
}

/* Runs part for each of n parts on all workers. False: stopped. */
static bool
run(EmbGptq *g, int32_t n, EmbTeamPart part)
{
	emb_team_run(g->team, n, part, g);
	return emb_work_spend(g->works[0], 0);
}

/* Whether an earlier part of a worker ended the work. */
static bool
is_over(const EmbGptq *g, int32_t worker)
{
	return !emb_work_spend(g->works[worker], 0);
}

static float
value(const EmbCodeRows *rows, int32_t row, int32_t channel)
{
	return (float) (rows->codes[row * rows->stride + channel] - rows->zeros[row]) * rows->scales[row];
}

/* ------------------------------------------------------------------- order */

/* Weakest first; equal energies by channel, so that the sort has one result. */
static int
compare_energies(const void *a, const void *b, void *energies)
{
	int32_t		i = *(const int32_t *) a;
	int32_t		k = *(const int32_t *) b;
	double		x = ((const double *) energies)[i];
	double		y = ((const double *) energies)[k];

	if (x != y)
		return x < y ? -1 : 1;
	return i < k ? -1 : i > k;
}

/* Energies with damping, and the order they give. */
static bool
choose_order(EmbGptq *g)
{
	double		total = 0;

	memset(g->energies, 0, g->n * sizeof(double));
	for (int32_t i = 0; i < g->rows->n_rows; i++)
	{
		for (int32_t k = 0; k < g->n; k++)
		{
			double		x = value(g->rows, i, k);

			g->energies[k] += x * x;
		}
		if (!emb_work_spend(g->works[0], COST_COPY * (int64_t) g->n))
			return false;
	}
	for (int32_t k = 0; k < g->n; k++)
	{
		g->order[k] = k;
		total += g->energies[k];
	}
	qsort_r(g->order, g->n, sizeof(int32_t), compare_energies, g->energies);
	/* without any input all channels count alike */
	g->least = total > 0 ? DAMPING * total / g->n : 1;
	for (int32_t k = 0; k < g->n; k++)
		g->energies[k] += g->least;
	return emb_work_spend(g->works[0], 64 * (int64_t) g->n);
}

/* ----------------------------------------------------------------------- H */

static double *
row_of(const EmbGptq *g, int32_t i)
{
	return (double *) g->matrix + (size_t) i * g->stride;
}

/* Strip s of the chunk's columns, and of its panels. */
static void
part_columns(void *ctx, int32_t s, int32_t worker)
{
	EmbGptq    *g = ctx;
	int32_t		end = (s + 1) * STRIP < g->stride ? (s + 1) * STRIP : g->stride;

	for (int32_t i = s * STRIP; i < end && !is_over(g, worker); i++)
	{
		float	   *column = g->columns + (size_t) i * CHUNK_ROWS;
		float	   *panel = g->panels + (size_t) (i / EMB_PANEL) * EMB_PANEL * g->n_chunk + i % EMB_PANEL;

		for (int32_t k = 0; k < g->n_chunk; k++)
			column[k] = panel[k * EMB_PANEL] = i < g->n ? value(g->rows, g->first_row + k, g->order[i]) : 0;
		if (!emb_work_spend(g->works[worker], COST_TOUCH * (int64_t) g->n_chunk))
			return;
	}
}

/* Adds the chunk's products to strip s of H, from the strip's own columns on. */
static void
part_products(void *ctx, int32_t s, int32_t worker)
{
	EmbGptq    *g = ctx;
	int32_t		first = s * STRIP;
	int32_t		n_rows = g->n - first < STRIP ? g->n - first : STRIP;
	int32_t		n_panels = g->stride / EMB_PANEL;
	float	   *c = g->scratch + worker * g->scratch_elems;

	for (int32_t p = first / EMB_PANEL; p < n_panels && !is_over(g, worker); p += STRIP_PANELS)
	{
		int32_t		n = n_panels - p < STRIP_PANELS ? n_panels - p : STRIP_PANELS;
		EmbGemmF32	gemm = {
			.n_rows = n_rows, .n_in = g->n_chunk, .n_panels = n,
			.a = g->columns + (size_t) first * CHUNK_ROWS, .a_stride = CHUNK_ROWS,
			.b = g->panels + (size_t) p * EMB_PANEL * g->n_chunk,
			.c = c, .c_stride = (size_t) n * EMB_PANEL
		};

		if (!emb_work_multiply(g->works[worker], &gemm, NULL) || !emb_work_spend(g->works[worker], COST_DOUBLE * (int64_t) n_rows * n * EMB_PANEL))
			return;
		for (int32_t i = 0; i < n_rows; i++)
		{
			double	   *h = row_of(g, first + i) + p * EMB_PANEL;

			for (int32_t k = 0; k < n * EMB_PANEL; k++)
				h[k] += c[(size_t) i * n * EMB_PANEL + k];
		}
	}
}

static void
part_clear(void *ctx, int32_t s, int32_t worker)
{
	EmbGptq    *g = ctx;
	int32_t		end = (s + 1) * STRIP < g->stride ? (s + 1) * STRIP : g->stride;

	/* whole tiles of the last rows, too */
	for (int32_t i = s * STRIP; i < end && emb_work_spend(g->works[worker], COST_TOUCH * (int64_t) g->stride); i++)
		memset(row_of(g, i), 0, g->stride * sizeof(double));
}

static bool
add_products(EmbGptq *g)
{
	int32_t		n_strips = (g->n - 1) / STRIP + 1;

	if (!run(g, (g->stride - 1) / STRIP + 1, part_clear))
		return false;
	for (g->first_row = 0; g->first_row < g->rows->n_rows; g->first_row += CHUNK_ROWS)
	{
		g->n_chunk = g->rows->n_rows - g->first_row < CHUNK_ROWS ? g->rows->n_rows - g->first_row : CHUNK_ROWS;
		if (!run(g, (g->stride - 1) / STRIP + 1, part_columns) || !run(g, n_strips, part_products))
			return false;
	}
	for (int32_t i = 0; i < g->n; i++)
		row_of(g, i)[i] += g->least;
	return true;
}

/* ------------------------------------------------------------ factorization */

/*
 * Cholesky, H = U^T U with U upper triangular in place of H, by blocks of
 * rows: rows of a block, first its square, then its other columns; then the
 * rows below it. For each element the products are subtracted in the order of
 * the rows they come from.
 */

/*
 * Row `row` from column k on, n columns: minus the products of rows first ..
 * row - 1, divided by its pivot.
 */
static void
finish_columns(const EmbGptq *g, int32_t first, int32_t row, int32_t k, int32_t n)
{
	double	   *c = row_of(g, row) + k;
	double		pivot = row_of(g, row)[row];

	for (int32_t b = first; b < row; b++)
	{
		const double *top = row_of(g, b);
		double		a = top[row];

		for (int32_t j = 0; j < n; j++)
			c[j] -= a * top[k + j];
	}
	for (int32_t j = 0; j < n; j++)
		c[j] /= pivot;
}

/* The square of a block. A pivot that rounding took below the damping is the damping. */
static void
factor_square(EmbGptq *g, int32_t first, int32_t end)
{
	for (int32_t row = first; row < end; row++)
	{
		double	   *c = row_of(g, row);
		double		pivot = c[row];

		for (int32_t b = first; b < row; b++)
			pivot -= row_of(g, b)[row] * row_of(g, b)[row];
		c[row] = sqrt(pivot > g->least / 2 ? pivot : g->least / 2);
		finish_columns(g, first, row, row + 1, end - row - 1);
	}
}

static int32_t
block_end(const EmbGptq *g)
{
	return g->block + BLOCK < g->n ? g->block + BLOCK : g->n;
}

/* Span s of the columns behind a block's square. */
static void
part_block(void *ctx, int32_t s, int32_t worker)
{
	EmbGptq    *g = ctx;
	int32_t		k = block_end(g) + s * SPAN;
	int32_t		n = g->n - k < SPAN ? g->n - k : SPAN;

	for (int32_t row = g->block; row < block_end(g) && !is_over(g, worker); row++)
	{
		finish_columns(g, g->block, row, k, n);
		if (!emb_work_spend(g->works[worker], COST_DOUBLE * (int64_t) n * (row - g->block + 1)))
			return;
	}
}

/*
 * Up to BLOCK columns of the block's rows, to [BLOCK, BLOCK]: the same columns
 * of a wide matrix's rows share few places of a cache.
 */
static void
copy_square(const EmbGptq *g, int32_t column, double *to)
{
	int32_t		n = g->stride - column < BLOCK ? g->stride - column : BLOCK;

	for (int32_t i = 0; i < BLOCK; i++)
		memcpy(to + i * BLOCK, row_of(g, g->block + i) + column, n * sizeof(double));
}

/* The square at the diagonal: what is written below the diagonal is never read. */
static void
update_diagonal(const EmbGptq *g, int32_t worker, int32_t first, const double *square)
{
	int32_t		n = g->stride - first < BLOCK ? g->stride - first : BLOCK;

	for (int32_t i = 0; i < n; i += EMB_PANEL)
		g->works[worker]->kernels->update_f64(square + i, square + i, EMB_PANEL, (n - i) / EMB_PANEL, row_of(g, first + i) + first + i, g->stride);
}

/* Strip s of the rows below a block: squares from the diagonal on. */
static void
part_below(void *ctx, int32_t s, int32_t worker)
{
	EmbGptq    *g = ctx;
	int32_t		first = block_end(g) + s * BLOCK;
	int32_t		end = g->n - first < BLOCK ? g->n : first + BLOCK;
	double	   *left = (double *) (g->scratch + worker * g->scratch_elems);
	double	   *right = left + BLOCK * BLOCK;

	copy_square(g, first, left);
	update_diagonal(g, worker, first, left);
	for (int32_t column = first + BLOCK; column < g->n && !is_over(g, worker); column += BLOCK)
	{
		int32_t		n = g->stride - column < BLOCK ? g->stride - column : BLOCK;

		copy_square(g, column, right);
		/* whole tiles: what they write past the last row is never read */
		g->works[worker]->kernels->update_f64(left, right, (int32_t) emb_round_up(end - first, EMB_UPDATE_ROWS), n / EMB_PANEL,
											  row_of(g, first) + column, g->stride);
		if (!emb_work_spend(g->works[worker], COST_DOUBLE * BLOCK * BLOCK * (int64_t) n))
			return;
	}
}

static bool
factor(EmbGptq *g)
{
	for (g->block = 0; g->block < g->n; g->block += BLOCK)
	{
		int32_t		n_left = g->n - block_end(g);

		factor_square(g, g->block, block_end(g));
		if (n_left > 0 && (!run(g, (n_left - 1) / SPAN + 1, part_block) || !run(g, (n_left - 1) / BLOCK + 1, part_below)))
			return false;
	}
	return true;
}

/*
 * U becomes R in float, in the same memory: a float row ends before the double
 * row of the same number begins.
 */
static bool
narrow(EmbGptq *g)
{
	float	   *r = g->matrix;

	for (int32_t i = 0; i < g->n; i++)
	{
		const double *u = row_of(g, i);
		double		pivot = u[i];
		float	   *to = r + (size_t) i * g->stride;

		for (int32_t k = i + 1; k < g->n; k++)
		{
			float		x = (float) (u[k] / pivot);

			memcpy(to + k, &x, sizeof(x));
		}
		if (!emb_work_spend(g->works[0], COST_COPY * (int64_t) (g->n - i)))
			return false;
	}
	return true;
}

bool
emb_gptq_set_input(EmbGptq *g, const EmbCodeRows *rows)
{
	g->rows = rows;
	g->n = rows->n;
	g->stride = (rows->n + EMB_PANEL - 1) / EMB_PANEL * EMB_PANEL;
	return choose_order(g) && add_products(g) && factor(g) && narrow(g);
}

/* ------------------------------------------------------------------- groups */

/* To nearest even, |x| < 2^22; like rintf, for which baseline x86-64 has no instruction. */
static inline float
round_even(float x)
{
	return (x + 12582912.0f) - 12582912.0f;
}

/* The code of w, as a float; inverse = 1 / scale. NaN counts as the lowest. */
static inline float
code_of(float w, float inverse, float zero)
{
	float		x = w * inverse + zero;

	return round_even(x > CODE_MAX ? CODE_MAX : x > 0 ? x : 0);
}

/* Scale, in binary16, and zero point of a range that contains 0. */
static void
scale_of(float low, float high, float *scale, float *zero)
{
	float		range = high - low;

	*scale = range < NOTHING ? 0 : emb_scale_nearest(range / CODE_MAX, EMB_SCALE_F16);
	*zero = *scale == 0 ? 0 : round_even(-low * (CODE_MAX / range));
}

/* The error of n weights, 16 apart, under a scale and zero point. */
static double
clip_error(const float *w, const double *energies, int32_t n, float scale, float zero)
{
	float		inverse = 1 / scale;
	double		error = 0;

	for (int32_t i = 0; i < n; i++)
	{
		float		d = w[(size_t) i * EMB_PANEL] - (code_of(w[(size_t) i * EMB_PANEL], inverse, zero) - zero) * scale;

		error += energies[i] * ((double) d * d);
	}
	return error;
}

/* The scale and zero point of a group of n weights, 16 apart. False: the weights are not finite, or the scale is too large. */
static bool
choose_scale(const float *w, const double *energies, int32_t n, float *best_scale, float *best_zero)
{
	float		low = 0,
				high = 0;
	double		least = 0;

	for (int32_t i = 0; i < n; i++)
	{
		float		x = w[(size_t) i * EMB_PANEL];

		if (!isfinite(x))
			return false;
		low = x < low ? x : low;
		high = x > high ? x : high;
	}
	if (!(high - low <= EMB_F16_MAX * CODE_MAX))
		return false;
	scale_of(low, high, best_scale, best_zero);
	for (int c = 0; c < N_CLIPS && *best_scale > 0; c++)
	{
		float		scale,
					zero;
		double		error;

		scale_of(low * (1 - c * CLIP_STEP), high * (1 - c * CLIP_STEP), &scale, &zero);
		error = clip_error(w, energies, n, scale, zero);
		if (c == 0 || error < least)
		{
			least = error;
			*best_scale = scale;
			*best_zero = zero;
		}
	}
	return true;
}

/* Scales and zero points of a panel's outputs; w [n][16] are the weights. False: stopped, or *overflown. */
static bool
choose_scales(EmbWork *work, const float *w, const double *energies, int32_t n, int32_t n_outputs, int32_t group,
			  const EmbGptqPanel *out, bool *overflown)
{
	*overflown = false;
	for (int32_t start = 0, g = 0; start < n; start += group, g++)
	{
		int32_t		n_in = n - start < group ? n - start : group;

		memset(out->scales + (size_t) g * EMB_PANEL, 0, EMB_PANEL * sizeof(float));
		memset(out->zeros + (size_t) g * EMB_PANEL, 0, EMB_PANEL);
		for (int32_t r = 0; r < n_outputs; r++)
		{
			float		zero;

			if (!choose_scale(w + (size_t) start * EMB_PANEL + r, energies + start, n_in, &out->scales[(size_t) g * EMB_PANEL + r], &zero))
			{
				*overflown = true;
				return false;
			}
			if (!emb_work_spend(work, COST_ROUND * N_CLIPS * (int64_t) n_in))
				return false;
			out->zeros[(size_t) g * EMB_PANEL + r] = (uint8_t) (int) zero;
		}
	}
	return true;
}

/* One channel of all outputs: codes, and what they leave of w + feedback. */
static void
round_channel(const float *w, const float *feedback, const float *scales, const uint8_t *zeros, int32_t n_outputs,
			  uint8_t *codes, size_t stride, float *errors)
{
	for (int32_t r = 0; r < n_outputs; r++)
	{
		float		scale = scales[r];
		float		zero = zeros[r];
		float		code = scale > 0 ? code_of(w[r] + feedback[r], 1 / scale, zero) : zero;

		codes[r * stride] = (uint8_t) (int) code;
		errors[r] = w[r] - (code - zero) * scale;
	}
}

/* ------------------------------------------------------------------- panels */

/* Channels first .. end - 1 of the order, from the last to the first. */
static void
round_block(const EmbGptq *g, int32_t first, int32_t end, const float *w, float *errors, float *feedback,
			int32_t n_outputs, int32_t group, const EmbGptqPanel *out)
{
	const float *matrix = g->matrix;

	for (int32_t m = end - 1; m >= first; m--)
	{
		const float *row = matrix + (size_t) m * g->stride;
		float	   *sum = feedback + (m - first) * EMB_PANEL;
		int32_t		k = g->order[m];
		size_t		at = (size_t) (k / group) * EMB_PANEL;

		for (int32_t j = m + 1; j < end; j++)
		{
			for (int r = 0; r < EMB_PANEL; r++)
				sum[r] += row[j] * errors[(size_t) j * EMB_PANEL + r];
		}
		round_channel(w + (size_t) k * EMB_PANEL, sum, out->scales + at, out->zeros + at, n_outputs, out->codes + k, g->n,
					  errors + (size_t) m * EMB_PANEL);
	}
}

/* feedback [end - first][16]: the errors of the channels from end on, through R. */
static bool
feed_back(const EmbGptq *g, EmbWork *work, int32_t first, int32_t end, const float *errors, float *feedback)
{
	EmbGemmF32	gemm = {
		.n_rows = end - first, .n_in = g->n - end, .n_panels = 1,
		.a = (const float *) g->matrix + (size_t) first * g->stride + end, .a_stride = g->stride,
		.b = errors + (size_t) end * EMB_PANEL,
		.c = feedback, .c_stride = EMB_PANEL
	};

	if (end == g->n)
	{
		memset(feedback, 0, (size_t) (end - first) * EMB_PANEL * sizeof(float));
		return true;
	}
	return emb_work_multiply(work, &gemm, NULL);
}

static void
smooth_panel(const float *panel, int32_t n, const float *smooth, float *w)
{
	for (int32_t i = 0; i < n; i++)
	{
		for (int r = 0; r < EMB_PANEL; r++)
			w[(size_t) i * EMB_PANEL + r] = panel[(size_t) i * EMB_PANEL + r] * smooth[i];
	}
}

bool
emb_gptq_panel(const EmbGptq *g, int32_t worker, const float *panel, int32_t n_outputs, const float *smooth,
			   int32_t group, const EmbGptqPanel *out, bool *overflown)
{
	EmbWork    *work = g->works[worker];
	float	   *w = g->scratch + worker * g->scratch_elems;
	float	   *errors = w + (size_t) g->stride * EMB_PANEL;
	float	   *feedback = errors + (size_t) g->stride * EMB_PANEL;
	int32_t		length = group > 0 ? group : g->n;

	smooth_panel(panel, g->n, smooth, w);
	memset(out->codes, 0, (size_t) EMB_PANEL * g->n);
	memset(errors, 0, (size_t) g->stride * EMB_PANEL * sizeof(float));
	if (!choose_scales(work, w, g->energies, g->n, n_outputs, length, out, overflown))
		return *overflown;
	for (int32_t end = g->n; end > 0; end -= FEEDBACK)
	{
		int32_t		first = end > FEEDBACK ? end - FEEDBACK : 0;

		if (!feed_back(g, work, first, end, errors, feedback))
			return false;
		round_block(g, first, end, w, errors, feedback, n_outputs, length, out);
		if (!emb_work_spend(work, COST_DOUBLE * FEEDBACK * FEEDBACK * EMB_PANEL))
			return false;
	}
	return true;
}

bool
emb_gptq_round_panel(EmbWork *work, const float *panel, int32_t n, int32_t n_outputs, const float *smooth, const double *energies,
					 int32_t group, const EmbGptqPanel *out, float *w, bool *overflown)
{
	static const float no_feedback[EMB_PANEL];
	int32_t		length = group > 0 ? group : n;
	float		errors[EMB_PANEL];

	smooth_panel(panel, n, smooth, w);
	memset(out->codes, 0, (size_t) EMB_PANEL * n);
	if (!choose_scales(work, w, energies, n, n_outputs, length, out, overflown))
		return *overflown;
	for (int32_t k = 0; k < n; k++)
		round_channel(w + (size_t) k * EMB_PANEL, no_feedback, out->scales + (size_t) (k / length) * EMB_PANEL,
					  out->zeros + (size_t) (k / length) * EMB_PANEL, n_outputs, out->codes + k, n, errors);
	return true;
}

void
emb_gptq_pack_panel(const EmbGptqPanel *panel, int32_t n_outputs, int32_t n_in, int32_t group, uint8_t *tiles, float *sums)
{
	int32_t		n_groups = group == 0 ? 1 : (n_in - 1) / group + 1;
	float		scales[N_GROUPS_MAX];
	uint8_t		zeros[N_GROUPS_MAX];

	emb_pack_i4_panel(panel->codes, n_outputs, n_in, tiles);
	memset(sums, 0, EMB_PANEL * sizeof(float));
	for (int32_t r = 0; r < n_outputs; r++)
	{
		for (int32_t g = 0; g < n_groups; g++)
		{
			scales[g] = panel->scales[g * EMB_PANEL + r];
			zeros[g] = panel->zeros[g * EMB_PANEL + r];
		}
		sums[r] = emb_pack_group_sum(panel->codes + (size_t) r * n_in, n_in, 4, group, scales, zeros);
	}
}
