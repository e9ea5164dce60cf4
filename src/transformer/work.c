/*
 * work.c
 *		Matrix products in pieces.
 */
#include "transformer/work.h"

/* Panels of a piece in fp32: one K block of them, 393 KB, stays in a second-level cache. */
#define PANELS_MAX 16
#define PANELS_MIN 4

/* Cost of an element in an activation or softmax, in multiply-adds. */
#define MACS_PER_ACTIVATION 16

/* Panels that the widest tile of a quantized product takes; with scales by groups, tiles of 2 panels fit as well. */
#define TILE_PANELS 3
#define TILE_PANELS_GROUPED 6

/* An int8 multiply-add costs half of an fp32 multiply-add on AVX2, a quarter with VNNI. */
#define MACS_I8_PER_MAC 2

EmbActivate
emb_work_activation(const EmbKernels *kernels, EmbActivation activation)
{
	switch (activation)
	{
		case EMB_ACT_GELU:
			return kernels->gelu_f32;
		case EMB_ACT_GELU_TANH:
			return kernels->gelu_tanh_f32;
		case EMB_ACT_RELU:
			return kernels->relu_f32;
		case EMB_ACT_SILU:
			return kernels->silu_f32;
		case EMB_ACT_TANH:
			return kernels->tanh_f32;
	}
	return NULL;
}

static bool
may_go_on(EmbWork *work)
{
	if (emb_should_stop(work->stop))
		atomic_store_explicit(work->stopped, true, memory_order_relaxed);
	return !atomic_load_explicit(work->stopped, memory_order_relaxed);
}

bool
emb_work_begin(EmbWork *work, const EmbKernels *kernels, const EmbStop *stop, _Atomic bool *stopped)
{
	work->kernels = kernels;
	work->stop = stop;
	work->stopped = stopped;
	work->macs_left = kernels->macs_per_piece;
	return may_go_on(work);
}

bool
emb_work_spend(EmbWork *work, int64_t n_macs)
{
	work->macs_left -= n_macs;
	if (work->macs_left > 0)
		return !atomic_load_explicit(work->stopped, memory_order_relaxed);
	work->macs_left = work->kernels->macs_per_piece;
	return may_go_on(work);
}

static int64_t
clamp_count(int64_t n, int64_t max)
{
	return n < 1 ? 1 : n < max ? n : max;
}

/* Rows m0 .. m0 + n_rows - 1 of n_panels panels from p0 on. */
static bool
multiply_piece(EmbWork *work, const EmbGemmF32 *g, EmbActivate activate,
			   int32_t m0, int32_t n_rows, int32_t p0, int32_t n_panels)
{
	EmbGemmF32	piece = *g;
	int64_t		n_elems = (int64_t) n_rows * n_panels * EMB_PANEL;

	piece.n_rows = n_rows;
	piece.n_panels = n_panels;
	piece.a += m0 * g->a_stride;
	piece.b += (size_t) p0 * g->n_in * EMB_PANEL;
	if (g->bias != NULL)
		piece.bias += (size_t) p0 * EMB_PANEL;
	piece.c += m0 * g->c_stride + (size_t) p0 * EMB_PANEL;
	work->kernels->gemm_f32(&piece);
	if (activate == NULL)
		return emb_work_spend(work, n_elems * g->n_in);
	for (int32_t m = 0; m < n_rows; m++)
		activate(piece.c + m * piece.c_stride, n_panels * EMB_PANEL);
	return emb_work_spend(work, n_elems * (g->n_in + MACS_PER_ACTIVATION));
}

bool
emb_work_multiply(EmbWork *work, const EmbGemmF32 *g, EmbActivate activate)
{
	int64_t		macs_per_panel = (int64_t) g->n_in * EMB_PANEL;
	int64_t		piece = work->kernels->macs_per_piece;
	/* all rows with as few panels as a tile has, then more panels */
	int32_t		rows_max = (int32_t) clamp_count(piece / (macs_per_panel * PANELS_MIN), g->n_rows);
	int32_t		tiles = (int32_t) clamp_count(piece / (macs_per_panel * PANELS_MIN * rows_max), PANELS_MAX / PANELS_MIN);
	int32_t		panels = tiles * PANELS_MIN;
	int32_t		n_pieces = (g->n_rows - 1) / rows_max + 1;

	for (int32_t p = 0; p < g->n_panels; p += panels)
	{
		int32_t		n_panels = (int32_t) clamp_count(g->n_panels - p, panels);
		int32_t		m = 0;

		/* pieces of even height: a last piece of one or two rows would be slow */
		for (int32_t i = 0; i < n_pieces; i++)
		{
			int32_t		end = (int32_t) ((int64_t) g->n_rows * (i + 1) / n_pieces);

			if (!multiply_piece(work, g, activate, m, end - m, p, n_panels))
				return false;
			m = end;
		}
	}
	return true;
}

static bool
multiply_piece_i8(EmbWork *work, const EmbGemmI8 *g, int32_t m0, int32_t n_rows, int32_t p0, int32_t n_panels)
{
	EmbGemmI8	piece = *g;
	size_t		columns = (size_t) p0 * EMB_PANEL;
	int64_t		n_elems = (int64_t) n_rows * n_panels * EMB_PANEL;
	int64_t		n_macs = n_elems * g->n_groups * 4 / MACS_I8_PER_MAC;

	piece.n_rows = n_rows;
	piece.n_panels = n_panels;
	piece.a += m0 * g->a_stride;
	piece.a_scale += m0;
	if (g->a_zero != NULL)
		piece.a_zero += m0;
	piece.b += columns * g->n_groups * 4;
	piece.b_scale += columns;
	if (g->b_sums != NULL)
		piece.b_sums += columns;
	if (g->bias != NULL)
		piece.bias += columns;
	if (g->gated)
		columns /= 2;			/* of the result */
	if (g->factor != NULL)
	{
		piece.factor += columns;
		piece.range += m0 * EMB_RANGE;
	}
	piece.c += m0 * g->c_stride + columns;
	work->kernels->gemm_i8(&piece);
	return emb_work_spend(work, n_macs + (g->act == EMB_ACT_KIND_NONE ? 0 : n_elems * MACS_PER_ACTIVATION));
}

static bool
multiply_piece_grouped(EmbWork *work, const EmbGemmGrouped *g, int32_t m0, int32_t n_rows, int32_t p0, int32_t n_panels)
{
	EmbGemmGrouped	piece = *g;
	size_t		columns = (size_t) p0 * EMB_PANEL;
	size_t		scales = columns * emb_pack_group_scales(g->n_in, g->group);
	int64_t		n_elems = (int64_t) n_rows * n_panels * EMB_PANEL;

	piece.n_rows = n_rows;
	piece.n_panels = n_panels;
	piece.a += m0 * g->a_stride;
	piece.a_scale += m0;
	if (g->a_zero != NULL)
		piece.a_zero += m0;
	piece.b += columns * g->n_in * g->bits / 8;
	piece.b_scale = (const char *) g->b_scale + scales * emb_scale_bytes(g->scale_type);
	if (g->bits == 4)
		piece.b_zero += scales;
	if (g->b_sums != NULL)
		piece.b_sums += columns;
	if (g->bias != NULL)
		piece.bias += columns;
	if (g->gated)
		columns /= 2;			/* of the result */
	if (g->factor != NULL)
	{
		piece.factor += columns;
		piece.range += m0 * EMB_RANGE;
	}
	piece.c += m0 * g->c_stride + columns;
	work->kernels->gemm_grouped(&piece);
	return emb_work_spend(work, n_elems * g->n_in / MACS_I8_PER_MAC +
						  (g->act == EMB_ACT_KIND_NONE ? 0 : n_elems * MACS_PER_ACTIVATION));
}

/* One of the two: how a quantized product is cut into pieces is the same. */
typedef struct Quantized
{
	const EmbGemmI8 *i8;
	const EmbGemmGrouped *grouped;
	int32_t		n_rows;
	int32_t		n_in;
	int32_t		n_panels;
	bool		gated;
} Quantized;

/*
 * A piece has all rows and as many panels as fit, so that weights pass through
 * the caches once. (Pieces of all panels and few rows read a matrix of 100 MB
 * again for every row: 50 GOPS, not 340.) Pieces of panels are even, and whole
 * tiles of the widest level, in pairs for a GLU.
 */
static bool
multiply_pieces(EmbWork *work, const Quantized *q)
{
	int64_t		macs_per_panel = (int64_t) q->n_in * EMB_PANEL;
	int64_t		piece = work->kernels->macs_per_piece * MACS_I8_PER_MAC;
	int32_t		tile = q->grouped != NULL ? TILE_PANELS_GROUPED : q->gated ? 2 * TILE_PANELS : TILE_PANELS;
	int32_t		rows_max = (int32_t) clamp_count(piece / (macs_per_panel * tile), q->n_rows);
	int32_t		n_tiles = (q->n_panels - 1) / tile + 1;
	int32_t		tiles_max = (int32_t) clamp_count(piece / (macs_per_panel * tile * rows_max), n_tiles);
	int32_t		n_groups = (n_tiles - 1) / tiles_max + 1;
	int32_t		panels = ((n_tiles - 1) / n_groups + 1) * tile;
	int32_t		n_pieces = (q->n_rows - 1) / rows_max + 1;

	for (int32_t p = 0; p < q->n_panels; p += panels)
	{
		int32_t		n_panels = (int32_t) clamp_count(q->n_panels - p, panels);

		for (int32_t i = 0; i < n_pieces; i++)
		{
			int32_t		m = (int32_t) ((int64_t) q->n_rows * i / n_pieces);
			int32_t		end = (int32_t) ((int64_t) q->n_rows * (i + 1) / n_pieces);

			if (q->i8 != NULL ? !multiply_piece_i8(work, q->i8, m, end - m, p, n_panels) :
				!multiply_piece_grouped(work, q->grouped, m, end - m, p, n_panels))
				return false;
		}
	}
	return true;
}

bool
emb_work_multiply_i8(EmbWork *work, const EmbGemmI8 *g)
{
	return multiply_pieces(work, &(Quantized) {
		.i8 = g, .n_rows = g->n_rows, .n_in = g->n_groups * EMB_GROUP, .n_panels = g->n_panels, .gated = g->gated
	});
}

bool
emb_work_multiply_grouped(EmbWork *work, const EmbGemmGrouped *g)
{
	return multiply_pieces(work, &(Quantized) {
		.grouped = g, .n_rows = g->n_rows, .n_in = g->n_in, .n_panels = g->n_panels, .gated = g->gated
	});
}
