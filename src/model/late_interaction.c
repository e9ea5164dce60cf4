/*
 * late_interaction.c
 *		Late interaction (Khattab and Zaharia 2020, "ColBERT", equation 3), but as
 *		a mean over the query's vectors instead of a sum, as BGE-M3 computes its score.
 */
#include "model/embed_core.h"

#include <math.h>

#include "transformer/work.h"
#include "image/image.h"

/*
 * Query rows per block. They are packed once, and their best dot products are kept
 * while all document rows pass.
 */
#define QUERY_ROWS		64

/* Elements checked between two polls of stop. */
#define FINITE_BLOCK	16384

/* Document rows per block. Their products with QUERY_ROWS rows fit the first-level cache. */
#define DOCUMENT_ROWS	64

typedef struct Maxsim
{
	EmbWork		work;
	const float *document;
	int32_t		n_document;
	int32_t		n;
	float	   *packed;			/* [QUERY_ROWS / 16][n][16], fewer panels for a short query */
	float	   *products;		/* [DOCUMENT_ROWS, QUERY_ROWS] */
	float		best[QUERY_ROWS];
} Maxsim;

/* Index of the first element that is not finite, or -1. False: stopped. */
static bool
find_not_finite(EmbWork *work, const float *x, int64_t n, int64_t *at)
{
	*at = -1;
	for (int64_t i = 0; i < n && *at < 0; i += FINITE_BLOCK)
	{
		int64_t		end = n - i < FINITE_BLOCK ? n : i + FINITE_BLOCK;
		bool		all = true;

		for (int64_t k = i; k < end; k++)
			all &= x[k] - x[k] == 0;
		for (int64_t k = i; !all && *at < 0; k++)
			*at = isfinite(x[k]) ? -1 : k;
		if (!emb_work_spend(work, FINITE_BLOCK))
			return false;
	}
	return true;
}

static EmbStatus
check_finite(Maxsim *m, const char *what, const float *x, int32_t n_rows, EmbError *err)
{
	int64_t		at;

	if (!find_not_finite(&m->work, x, (int64_t) n_rows * m->n, &at))
		return emb_error(err, EMB_ERR_CANCELLED, "cancelled");
	if (at >= 0)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "element %d of vector %d of the %s is not finite",
						 (int) (at % m->n) + 1, (int) (at / m->n) + 1, what);
	return EMB_OK;
}

/* The best dot products of up to QUERY_ROWS query rows. False: stopped. */
static bool
find_best(Maxsim *m, const float *query, int32_t n_rows)
{
	int32_t		n_panels = (int32_t) emb_pack_f32_panels(n_rows);
	EmbGemmF32	g = {
		.n_in = m->n,
		.n_panels = n_panels,
		.a_stride = m->n,
		.b = m->packed,
		.c = m->products,
		.c_stride = QUERY_ROWS
	};

	for (int32_t p = 0; p < n_panels; p++)
	{
		int32_t		n_left = n_rows - p * EMB_PANEL;

		emb_pack_f32_panel(query + (size_t) p * EMB_PANEL * m->n, n_left < EMB_PANEL ? n_left : EMB_PANEL, m->n,
						   m->packed + (size_t) p * EMB_PANEL * m->n);
	}
	if (!emb_work_spend(&m->work, 4 * (int64_t) n_rows * m->n))
		return false;
	for (int32_t k = 0; k < n_rows; k++)
		m->best[k] = -INFINITY;
	for (int32_t first = 0; first < m->n_document; first += DOCUMENT_ROWS)
	{
		g.n_rows = m->n_document - first < DOCUMENT_ROWS ? m->n_document - first : DOCUMENT_ROWS;
		g.a = m->document + (size_t) first * m->n;
		if (!emb_work_multiply(&m->work, &g, NULL))
			return false;
		for (int32_t i = 0; i < g.n_rows; i++)
		{
			const float *products = m->products + (size_t) i * QUERY_ROWS;

			for (int32_t k = 0; k < n_rows; k++)
				m->best[k] = products[k] > m->best[k] ? products[k] : m->best[k];
		}
	}
	return true;
}

static EmbStatus
run(Maxsim *m, const float *query, int32_t n_query, const EmbStop *stop, float *score, EmbError *err)
{
	_Atomic bool stopped = false;
	double		sum = 0;
	EmbStatus	status;

	if (!emb_work_begin(&m->work, emb_kernels(), stop, &stopped))
		return emb_error(err, EMB_ERR_CANCELLED, "cancelled");
	if ((status = check_finite(m, "query", query, n_query, err)) != EMB_OK ||
		(status = check_finite(m, "document", m->document, m->n_document, err)) != EMB_OK)
		return status;
	for (int32_t first = 0; first < n_query; first += QUERY_ROWS)
	{
		int32_t		n_rows = n_query - first < QUERY_ROWS ? n_query - first : QUERY_ROWS;

		if (!find_best(m, query + (size_t) first * m->n, n_rows))
			return emb_error(err, EMB_ERR_CANCELLED, "cancelled");
		for (int32_t k = 0; k < n_rows; k++)
			sum += m->best[k];
	}
	*score = (float) (sum / n_query);
	if (!isfinite(*score))
		return emb_error(err, EMB_ERR_LIMIT, "the products of the vectors overflow single precision");
	return EMB_OK;
}

EmbStatus
emb_maxsim(const float *query, int32_t n_query, const float *document, int32_t n_document, int32_t n,
		   const EmbAllocator *mem, const EmbStop *stop, float *score, EmbError *err)
{
	Maxsim		m = {.document = document, .n_document = n_document, .n = n};
	size_t		n_panels = emb_pack_f32_panels(n_query < QUERY_ROWS ? n_query : QUERY_ROWS);
	EmbStatus	status;
	EmbFpState	fp;

	/*
	 * No model has wider vectors. The scratch memory and the time between two
	 * polls grow with the width.
	 */
	if (n > EMB_ARCH_MAX_HIDDEN)
		return emb_error(err, EMB_ERR_LIMIT, "vectors have %d elements, more than %d", n, EMB_ARCH_MAX_HIDDEN);
	m.packed = emb_alloc_array(mem, n_panels * EMB_PANEL * n, sizeof(float));
	m.products = emb_alloc_array(mem, (size_t) DOCUMENT_ROWS * QUERY_ROWS, sizeof(float));
	if (m.packed == NULL || m.products == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory comparing vectors of %d elements", n);
	else
	{
		fp = emb_fp_enter();
		status = run(&m, query, n_query, stop, score, err);
		emb_fp_leave(fp);
	}
	emb_release(mem, m.packed);
	emb_release(mem, m.products);
	return status;
}
