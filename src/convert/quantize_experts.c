/*
 * quantize_experts.c
 *		The experts of a layer: each is quantized as a feed-forward network of
 *		its own, by the calibration rows that the router gives to it.
 *
 * What an expert computes between its two products is computed here, because
 * a row of the layer has several experts.
 */
#include <string.h>

#include "convert/quantizer.h"
#include "transformer/experts.h"

/* An expert that sees fewer rows is calibrated by all of them. */
#define ROWS_MIN	64

/* Rows of the layer's input, and those of one expert. */
typedef struct Rows
{
	const EmbObserved *all;		/* many rows */
	uint8_t    *chosen;			/* [n_many, experts_used] */
	int32_t    *own;			/* [n_many] numbers of the expert's rows */
	int32_t		n_own;
	EmbObserved in;				/* of the expert: many rows, and an even choice of them */
	EmbObserved mid;			/* after the activation; without many rows in int8 */
	float	   *floats;			/* memory of both */
} Rows;

static EmbStatus
begin(EmbQuantizer *q, Rows *r, EmbError *err)
{
	const EmbArch *arch = q->model->transformer.arch;
	const EmbAllocator *mem = q->steps->mem;
	const EmbObserved *all = emb_calibration_at(q->calibration, EMB_OBSERVE_FFN_IN);
	size_t		n_mid = emb_calibration_at(q->calibration, EMB_OBSERVE_FFN_MID)->n_many;
	size_t		n_floats = (size_t) arch->hidden * (1 + EMB_CALIBRATION_ROWS + all->n_many) +
		(size_t) arch->intermediate * (1 + EMB_CALIBRATION_ROWS + n_mid);
	float	   *at;

	*r = (Rows) {.all = all};
	r->chosen = emb_alloc_array(mem, all->n_many, arch->experts_used);
	r->own = emb_alloc_array(mem, all->n_many, sizeof(int32_t));
	r->floats = at = emb_alloc_array(mem, n_floats, sizeof(float));
	if (r->chosen == NULL || r->own == NULL || r->floats == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory to calibrate the experts of a layer (%zu bytes)", n_floats * sizeof(float));
	r->in = (EmbObserved) {.n = arch->hidden, .largest = at, .rows = at + arch->hidden};
	r->in.many = r->in.rows + (size_t) arch->hidden * EMB_CALIBRATION_ROWS;
	at = r->in.many + (size_t) arch->hidden * all->n_many;
	r->mid = (EmbObserved) {.n = arch->intermediate, .largest = at, .rows = at + arch->intermediate};
	r->mid.many = r->mid.rows + (size_t) arch->intermediate * EMB_CALIBRATION_ROWS;
	return EMB_OK;
}

static void
end(EmbQuantizer *q, Rows *r)
{
	emb_release(q->steps->mem, r->chosen);
	emb_release(q->steps->mem, r->own);
	emb_release(q->steps->mem, r->floats);
}

/* False: stopped. */
static bool
route(EmbQuantizer *q, Rows *r)
{
	const EmbArch *arch = q->model->transformer.arch;
	const float *router = q->model->transformer.layers[q->layer].router;
	EmbWork    *work = &q->hands[0].work;
	float		shares[EMB_ARCH_MAX_EXPERTS];

	for (int32_t i = 0; i < r->all->n_many; i++)
	{
		emb_experts_route(work->kernels, arch, router, r->all->many + (size_t) i * arch->hidden, r->chosen + (size_t) i * arch->experts_used, shares);
		if (!emb_work_spend(work, arch->n_experts * ((int64_t) arch->hidden + 64)))
			return false;
	}
	return true;
}

static void
choose_own(const EmbArch *arch, Rows *r, int32_t expert)
{
	r->n_own = 0;
	for (int32_t i = 0; i < r->all->n_many; i++)
	{
		for (int32_t k = 0; k < arch->experts_used; k++)
		{
			if (r->chosen[(size_t) i * arch->experts_used + k] == expert)
				r->own[r->n_own++] = i;
		}
	}
	if (r->n_own >= ROWS_MIN)
		return;
	r->n_own = r->all->n_many;
	for (int32_t i = 0; i < r->n_own; i++)
		r->own[i] = i;
}

/* NaN becomes infinity, as in calibrate.c. */
static void
note_largest(EmbObserved *o, const float *row)
{
	for (int32_t i = 0; i < o->n; i++)
	{
		float		x = __builtin_fabsf(row[i]);

		o->largest[i] = x <= o->largest[i] ? o->largest[i] : x == x ? x : __builtin_inff();
	}
}

/* The expert's rows into r->in, every step-th also among those that are compared. False: stopped. */
static bool
gather(EmbQuantizer *q, Rows *r)
{
	int32_t		step = (r->n_own - 1) / EMB_CALIBRATION_ROWS + 1;
	size_t		n = r->in.n;

	memset(r->in.largest, 0, n * sizeof(float));
	r->in.n_many = r->n_own;
	r->in.n_rows = 0;
	for (int32_t i = 0; i < r->n_own; i++)
	{
		const float *row = r->all->many + r->own[i] * n;

		memcpy(r->in.many + i * n, row, n * sizeof(float));
		if (i % step == 0)
			memcpy(r->in.rows + r->in.n_rows++ * n, row, n * sizeof(float));
		note_largest(&r->in, row);
		if (!emb_work_spend(&q->hands[0].work, 4 * (int64_t) n))
			return false;
	}
	return true;
}

/* y = act(up x) for n_rows rows, [n_rows, intermediate]. */
static EmbStatus
widen(EmbQuantizer *q, const EmbLinear *up, const float *x, int32_t n_rows, EmbObserved *mid, float *y, EmbError *err)
{
	EmbWork    *work = &q->hands[0].work;
	const EmbArch *arch = q->model->transformer.arch;
	float		panel[EMB_PANEL * 64];

	for (int32_t first = 0; first < n_rows; first += 64)
	{
		int32_t		n = n_rows - first < 64 ? n_rows - first : 64;

		for (size_t p = 0; p < emb_pack_f32_panels(up->n_out); p++)
		{
			int32_t		n_columns = emb_quantizer_rows(up, p);
			EmbGemmF32	g = {
				.n_rows = n, .n_in = up->n_in, .n_panels = 1,
				.a = x + (size_t) first * up->n_in, .a_stride = up->n_in,
				.b = up->weight + p * up->n_in * EMB_PANEL, .bias = up->bias + p * EMB_PANEL,
				.c = panel, .c_stride = EMB_PANEL
			};

			if (!emb_work_multiply(work, &g, emb_work_activation(work->kernels, (EmbActivation) arch->activation)))
				return emb_import_cancelled(err);
			for (int32_t i = 0; i < n; i++)
				memcpy(y + (size_t) (first + i) * up->n_out + p * EMB_PANEL, panel + i * EMB_PANEL, n_columns * sizeof(float));
		}
	}
	for (int32_t i = 0; i < n_rows; i++)
		note_largest(mid, y + (size_t) i * up->n_out);
	return EMB_OK;
}

static EmbStatus
fill_mid(EmbQuantizer *q, Rows *r, const EmbLinear *up, EmbError *err)
{
	EmbStatus	status;

	memset(r->mid.largest, 0, r->mid.n * sizeof(float));
	r->mid.n_rows = r->in.n_rows;
	r->mid.n_many = emb_calibration_at(q->calibration, EMB_OBSERVE_FFN_MID)->n_many > 0 ? r->in.n_many : 0;
	status = widen(q, up, r->in.rows, r->in.n_rows, &r->mid, r->mid.rows, err);
	if (status == EMB_OK)
		status = widen(q, up, r->in.many, r->mid.n_many, &r->mid, r->mid.many, err);
	for (int32_t i = 0; status == EMB_OK && i < r->mid.n; i++)
	{
		if (!__builtin_isfinite(r->mid.largest[i]))
			return emb_error(err, EMB_ERR_LIMIT, "the model's weights overflow single precision in layer %d", q->layer);
	}
	return status;
}

static EmbStatus
write_expert(EmbQuantizer *q, Rows *r, int32_t e, EmbError *err)
{
	const EmbArch *arch = q->model->transformer.arch;
	const EmbExpert *expert = &q->model->transformer.layers[q->layer].experts[e];
	EmbQuantizerInput up = {
		.seen = &r->in, .layer = q->layer, .n_linears = 1, .linears = {&expert->up}, .parts = {emb_part_of_expert(EMB_PART_EXPERT_UP, e)},
		.act = emb_quantizer_activation(arch),
	};
	EmbQuantizerInput down = {
		.seen = &r->mid, .layer = q->layer, .n_linears = 1, .linears = {&expert->down}, .parts = {emb_part_of_expert(EMB_PART_EXPERT_DOWN, e)},
	};
	EmbStatus	status;

	choose_own(arch, r, e);
	if (!gather(q, r))
		return emb_import_cancelled(err);
	status = fill_mid(q, r, &expert->up, err);
	return status == EMB_OK ? emb_quantizer_write_ffn(q, &up, &down, err) : status;
}

EmbStatus
emb_quantizer_write_experts(EmbQuantizer *q, EmbError *err)
{
	const EmbArch *arch = q->model->transformer.arch;
	Rows		rows;
	EmbStatus	status = begin(q, &rows, err);

	if (status == EMB_OK && !route(q, &rows))
		status = emb_import_cancelled(err);
	for (int32_t e = 0; status == EMB_OK && e < arch->n_experts; e++)
		status = write_expert(q, &rows, e, err);
	end(q, &rows);
	return status;
}
