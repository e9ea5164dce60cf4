/*
 * work.c
 *		Matrix products in pieces.
 */
#include "encoder/work.h"

/* Panels of a piece: one K block of them, 393 KB, stays in a second-level cache. */
#define PANELS_MAX 16

/* What an element of an activation or a softmax costs, in multiply-adds. */
#define MACS_PER_ACTIVATION 16

bool
emb_work_begin(EmbWork *work, const EmbKernels *kernels, const EmbStop *stop)
{
	work->kernels = kernels;
	work->stop = stop;
	work->macs_left = kernels->macs_per_piece;
	return !emb_should_stop(stop);
}

bool
emb_work_spend(EmbWork *work, int64_t n_macs)
{
	work->macs_left -= n_macs;
	if (work->macs_left > 0)
		return true;
	work->macs_left = work->kernels->macs_per_piece;
	return !emb_should_stop(work->stop);
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
	int32_t		panels = (int32_t) clamp_count(piece / macs_per_panel, PANELS_MAX);
	int32_t		rows_max = (int32_t) clamp_count(piece / (macs_per_panel * panels), g->n_rows);
	int32_t		n_pieces = (g->n_rows - 1) / rows_max + 1;

	for (int32_t p = 0; p < g->n_panels; p += panels)
	{
		int32_t		n_panels = (int32_t) clamp_count(g->n_panels - p, panels);
		int32_t		m = 0;

		/* pieces of even height: a last one of a row or two would be slow */
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
