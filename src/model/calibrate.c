/*
 * calibrate.c
 *		Runs the fp32 model over calibration texts and keeps, of every input of
 *		a linear layer, the largest magnitudes and some rows.
 */
#include "model/calibration.h"

#include <string.h>

/* A batch is closed when it has so many tokens. */
#define BATCH_TOKENS	1024

#define N_POINTS		4

typedef struct Texts
{
	int32_t		n;
	int32_t    *offsets;		/* [n + 1] in ids */
	int32_t    *ids;
} Texts;

static int32_t
point_index(EmbObservePoint point)
{
	return (int32_t) point - (int32_t) EMB_OBSERVE_ATTN_IN;
}

const EmbObserved *
emb_calibration_at(const EmbCalibration *c, int32_t layer, EmbObservePoint point)
{
	return &c->points[layer * N_POINTS + point_index(point)];
}

/* ---------------------------------------------------------------- inputs */

/*
 * Rows are kept at a stride that doubles whenever the room is used up: an even
 * choice over all texts that needs neither their number nor chance.
 */
static void
keep_row(EmbObserved *o, const float *row)
{
	if (o->n_rows == EMB_CALIBRATION_ROWS)
	{
		for (int32_t i = 1; i < EMB_CALIBRATION_ROWS / 2; i++)
			memcpy(o->rows + (size_t) i * o->n, o->rows + (size_t) 2 * i * o->n, o->n * sizeof(float));
		o->n_rows = EMB_CALIBRATION_ROWS / 2;
		o->step *= 2;
	}
	if (o->n_seen % o->step == 0)
		memcpy(o->rows + (size_t) o->n_rows++ * o->n, row, o->n * sizeof(float));
	o->n_seen++;
}

/* NaN comes out as infinity: neither is a magnitude to quantize by. */
static void
note_largest(EmbObserved *o, const float *row)
{
	for (int32_t i = 0; i < o->n; i++)
	{
		float		x = __builtin_fabsf(row[i]);

		o->largest[i] = x <= o->largest[i] ? o->largest[i] : x == x ? x : __builtin_inff();
	}
}

static void
observe(void *ctx, EmbObservePoint point, int32_t layer, int32_t first_row,
		int32_t n_rows, const float *rows, size_t stride)
{
	EmbCalibration *c = ctx;
	EmbObserved *o;

	(void) first_row;
	if (point == EMB_OBSERVE_HIDDEN)
		return;
	o = &c->points[layer * N_POINTS + point_index(point)];
	for (int32_t i = 0; i < n_rows; i++)
	{
		note_largest(o, rows + i * stride);
		keep_row(o, rows + i * stride);
	}
}

static EmbStatus
allocate_points(const EmbBert *bert, EmbCalibration *c, EmbError *err)
{
	size_t		per_layer = ((size_t) (N_POINTS - 1) * bert->hidden + bert->intermediate) * (EMB_CALIBRATION_ROWS + 1);
	float	   *at;

	c->n_layers = bert->n_layers;
	c->points = emb_alloc_zero(&c->mem, (size_t) bert->n_layers * N_POINTS, sizeof(EmbObserved));
	c->floats = emb_alloc_zero(&c->mem, bert->n_layers * per_layer, sizeof(float));
	if (c->points == NULL || c->floats == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory to calibrate %d layers (%zu bytes)",
						 bert->n_layers, bert->n_layers * per_layer * sizeof(float));
	at = c->floats;
	for (int32_t i = 0; i < bert->n_layers * N_POINTS; i++)
	{
		EmbObserved *o = &c->points[i];

		o->n = i % N_POINTS == point_index(EMB_OBSERVE_FFN_MID) ? bert->intermediate : bert->hidden;
		o->step = 1;
		o->largest = at;
		o->rows = at + o->n;
		at += (size_t) o->n * (EMB_CALIBRATION_ROWS + 1);
	}
	return EMB_OK;
}

static EmbStatus
check_finite(const EmbCalibration *c, EmbError *err)
{
	for (int32_t i = 0; i < c->n_layers * N_POINTS; i++)
	{
		for (int32_t k = 0; k < c->points[i].n; k++)
		{
			if (!__builtin_isfinite(c->points[i].largest[k]))
				return emb_error(err, EMB_ERR_LIMIT, "the model's weights overflow single precision in layer %d",
								 i / N_POINTS);
		}
	}
	return EMB_OK;
}

/* ----------------------------------------------------------------- texts */

static EmbStatus
encode_texts(const EmbModel *model, const char *const *given, int32_t n_given, const EmbImportSteps *steps,
			 Texts *texts, EmbError *err)
{
	static const EmbPrompt prompts[] = {EMB_PROMPT_DOCUMENT, EMB_PROMPT_QUERY};

	texts->offsets[0] = 0;
	for (int32_t i = 0; i < n_given && texts->offsets[i] <= EMB_CALIBRATION_MAX_TOKENS - EMB_CALIBRATION_TEXT_TOKENS; i++)
	{
		EmbEncoded	r;
		EmbStatus	status;

		if (emb_should_stop(steps->stop))
			return emb_error(err, EMB_ERR_CANCELLED, "the import was cancelled");
		status = emb_model_encode(model, prompts[i % 2], given[i], strlen(given[i]), true,
								  texts->ids + texts->offsets[i], EMB_CALIBRATION_TEXT_TOKENS,
								  steps->mem, steps->stop, &r, err);
		if (status == EMB_ERR_TEXT)
			return emb_error(err, EMB_ERR_TEXT, "calibration text %d is not valid UTF-8", i + 1);
		if (status != EMB_OK)
			return status;
		texts->offsets[i + 1] = texts->offsets[i] + r.n_ids;
		texts->n = i + 1;
	}
	return EMB_OK;
}

static EmbStatus
run_batches(const EmbModel *model, const Texts *texts, const EmbImportSteps *steps, EmbCalibration *c,
			int32_t *offsets, float *out, EmbError *err)
{
	int32_t		n_tokens = texts->offsets[texts->n];
	EmbStatus	status = EMB_OK;

	for (int32_t i = 0; status == EMB_OK && i < texts->n;)
	{
		int32_t		first = texts->offsets[i];
		EmbBatch	batch = {.offsets = offsets, .ids = texts->ids + first};

		emb_import_progress(steps, "calibrate", first, n_tokens);
		offsets[0] = 0;
		while (i < texts->n && (batch.n_seqs == 0 || texts->offsets[i + 1] - first <= BATCH_TOKENS))
			offsets[++batch.n_seqs] = texts->offsets[++i] - first;
		status = emb_encoder_bert_observed(&model->bert, emb_kernels(), &batch, steps->mem, steps->stop,
										   observe, c, out, err);
	}
	if (status == EMB_OK)
		emb_import_progress(steps, "calibrate", n_tokens, n_tokens);
	return status;
}

static EmbStatus
run_texts(const EmbModel *model, const char *const *given, int32_t n_given, const EmbImportSteps *steps,
		  EmbCalibration *c, EmbError *err)
{
	const EmbAllocator *mem = steps->mem;
	Texts		texts = {
		.offsets = emb_alloc_array(mem, (size_t) n_given + 1, sizeof(int32_t)),
		.ids = emb_alloc_array(mem, EMB_CALIBRATION_MAX_TOKENS, sizeof(int32_t))
	};
	int32_t    *offsets = emb_alloc_array(mem, (size_t) n_given + 1, sizeof(int32_t));
	float	   *out = emb_alloc_array(mem, (size_t) n_given * model->bert.hidden, sizeof(float));
	EmbStatus	status;

	if (texts.offsets == NULL || texts.ids == NULL || offsets == NULL || out == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory for %d calibration texts", n_given);
	else
		status = encode_texts(model, given, n_given, steps, &texts, err);
	if (status == EMB_OK)
		status = run_batches(model, &texts, steps, c, offsets, out, err);
	emb_release(mem, texts.offsets);
	emb_release(mem, texts.ids);
	emb_release(mem, offsets);
	emb_release(mem, out);
	return status;
}

EmbStatus
emb_calibrate(const EmbModel *model, const char *const *texts, int32_t n_texts,
			  const EmbImportSteps *steps, EmbCalibration *c, EmbError *err)
{
	EmbStatus	status;

	memset(c, 0, sizeof(*c));
	c->mem = *steps->mem;
	if (n_texts > EMB_CALIBRATION_MAX_TEXTS)
		n_texts = EMB_CALIBRATION_MAX_TEXTS;
	status = allocate_points(&model->bert, c, err);
	if (status == EMB_OK)
		status = run_texts(model, texts, n_texts, steps, c, err);
	if (status == EMB_OK)
		status = check_finite(c, err);
	if (status != EMB_OK)
		emb_calibration_free(c);
	return status;
}

void
emb_calibration_free(EmbCalibration *c)
{
	emb_release(&c->mem, c->points);
	emb_release(&c->mem, c->floats);
	c->points = NULL;
	c->floats = NULL;
}
