/*
 * calibrate.c
 *		Runs the fp32 model over calibration texts and keeps, for every input
 *		of a linear layer, the largest magnitudes and some rows.
 */
#include "convert/calibration.h"

#include <string.h>

/* A batch is closed when it has this number of tokens. */
#define BATCH_TOKENS	1024

#define N_POINTS		4

typedef struct Texts
{
	int32_t		n;
	int32_t    *offsets;		/* [n + 1] in ids */
	int32_t    *ids;
	int32_t    *type_ids;		/* for pairs; NULL for single texts */
} Texts;

/* The source of the texts: the caller, or NULL for the built-in tables. */
typedef struct Source
{
	const char *const *texts;
	int32_t		n_texts;
	bool		pairs;
	int32_t		n;				/* texts or pairs in all */
} Source;

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
 * Rows are kept at a stride, the smallest power of two that leaves room. So
 * the choice is even over all texts and needs no randomness and no order.
 */
static void
choose_step(EmbCalibration *c)
{
	int32_t		n_kept;

	c->step = 1;
	while (c->n_tokens > (int64_t) (EMB_CALIBRATION_ROWS - 1) * c->step + 1)
		c->step *= 2;
	n_kept = (c->n_tokens - 1) / c->step + 1;
	for (int32_t i = 0; i < c->n_layers * N_POINTS; i++)
		c->points[i].n_rows = n_kept;
}

static void
keep_row(const EmbCalibration *c, EmbObserved *o, int32_t token, const float *row)
{
	if (token % c->step == 0)
		memcpy(o->rows + (size_t) (token / c->step) * o->n, row, o->n * sizeof(float));
}

/* NaN becomes infinity: neither is a magnitude for quantizing. */
static void
note_largest(EmbObserved *o, const float *row)
{
	for (int32_t i = 0; i < o->n; i++)
	{
		float		x = __builtin_fabsf(row[i]);

		o->largest[i] = x <= o->largest[i] ? o->largest[i] : x == x ? x : __builtin_inff();
	}
}

/* Called by several threads at once, each with its own rows. */
static void
observe(void *ctx, EmbObservePoint point, int32_t layer, int32_t first_row,
		int32_t n_rows, const float *rows, size_t stride)
{
	EmbCalibration *c = ctx;
	EmbObserved *o;

	if (point == EMB_OBSERVE_HIDDEN)
		return;
	o = &c->points[layer * N_POINTS + point_index(point)];
	for (int32_t i = 0; i < n_rows; i++)
		keep_row(c, o, c->first_token + first_row + i, rows + i * stride);
	pthread_mutex_lock(&c->lock);
	for (int32_t i = 0; i < n_rows; i++)
		note_largest(o, rows + i * stride);
	pthread_mutex_unlock(&c->lock);
}

static EmbStatus
allocate_points(const EmbArch *arch, EmbCalibration *c, EmbError *err)
{
	size_t		per_layer = ((size_t) (N_POINTS - 1) * arch->hidden + arch->intermediate) * (EMB_CALIBRATION_ROWS + 1);
	float	   *at;

	c->n_layers = arch->n_layers;
	c->points = emb_alloc_zero(&c->mem, (size_t) arch->n_layers * N_POINTS, sizeof(EmbObserved));
	c->floats = emb_alloc_zero(&c->mem, arch->n_layers * per_layer, sizeof(float));
	if (c->points == NULL || c->floats == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory to calibrate %d layers (%zu bytes)",
						 arch->n_layers, arch->n_layers * per_layer * sizeof(float));
	at = c->floats;
	for (int32_t i = 0; i < arch->n_layers * N_POINTS; i++)
	{
		EmbObserved *o = &c->points[i];

		o->n = i % N_POINTS == point_index(EMB_OBSERVE_FFN_MID) ? arch->intermediate : arch->hidden;
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

static Source
choose_source(const EmbModel *model, const char *const *texts, int32_t n_texts)
{
	Source		source = {.texts = texts, .pairs = model->info.kind == EMB_KIND_RERANKER};

	source.n_texts = texts == NULL ? emb_n_calibration_texts
		: n_texts < EMB_CALIBRATION_MAX_TEXTS ? n_texts : EMB_CALIBRATION_MAX_TEXTS;
	source.n = !source.pairs ? source.n_texts
		: texts == NULL ? 2 * emb_n_calibration_pairs + source.n_texts : source.n_texts / 2;
	return source;
}

static const char *
source_text(const Source *source, int32_t i)
{
	return source->texts != NULL ? source->texts[i] : emb_calibration_texts[i];
}

/*
 * The built-in pairs: each query with its own document, then with another
 * query's document, then single texts as documents that answer nothing. A
 * reranker mostly sees documents that do not match.
 */
static EmbTextPair
source_pair(const Source *source, int32_t i)
{
	int32_t		n = emb_n_calibration_pairs;

	if (source->texts != NULL)
		return (EmbTextPair) {source->texts[2 * i], source->texts[2 * i + 1]};
	return (EmbTextPair) {
		.query = emb_calibration_pairs[i % n].query,
		.document = i < n ? emb_calibration_pairs[i].document
			: i < 2 * n ? emb_calibration_pairs[(i + 7) % n].document : emb_calibration_texts[i - 2 * n],
	};
}

static EmbStatus
encode_one(const EmbModel *model, const Source *source, int32_t i, const EmbImportSteps *steps,
		   Texts *texts, EmbEncoded *r, EmbError *err)
{
	static const EmbPrompt prompts[] = {EMB_PROMPT_DOCUMENT, EMB_PROMPT_QUERY};
	int32_t    *ids = texts->ids + texts->offsets[i];
	EmbTextPair pair;
	EmbText		query,
				document;

	if (!source->pairs)
		return emb_model_encode(model, prompts[i % 2], &(EmbText) {source_text(source, i), strlen(source_text(source, i)), true, NULL},
				&(EmbReading) {.ids = ids, .max_ids = EMB_CALIBRATION_TEXT_TOKENS, .mem = steps->mem, .stop = steps->stop}, r, err);
	pair = source_pair(source, i);
	query = (EmbText) {pair.query, strlen(pair.query), true, NULL};
	document = (EmbText) {pair.document, strlen(pair.document), true, NULL};
	return emb_model_encode_pair(model, &query, &document,
			&(EmbReading) {.ids = ids, .type_ids = texts->type_ids + texts->offsets[i], .max_ids = EMB_CALIBRATION_TEXT_TOKENS, .stop = steps->stop}, r, err);
}

static EmbStatus
encode_texts(const EmbModel *model, const Source *source, const EmbImportSteps *steps, Texts *texts, EmbError *err)
{
	texts->offsets[0] = 0;
	for (int32_t i = 0; i < source->n && texts->offsets[i] <= EMB_CALIBRATION_MAX_TOKENS - EMB_CALIBRATION_TEXT_TOKENS; i++)
	{
		EmbEncoded	r;
		EmbStatus	status;

		if (emb_should_stop(steps->stop))
			return emb_error(err, EMB_ERR_CANCELLED, "the import was cancelled");
		status = encode_one(model, source, i, steps, texts, &r, err);
		if (status == EMB_ERR_TEXT)
			return emb_error(err, EMB_ERR_TEXT, "calibration %s %d is not valid UTF-8", source->pairs ? "pair" : "text", i + 1);
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

	c->n_tokens = n_tokens;
	choose_step(c);
	for (int32_t i = 0; status == EMB_OK && i < texts->n;)
	{
		int32_t		first = texts->offsets[i];
		EmbBatch	batch = {.offsets = offsets, .ids = texts->ids + first,
			.type_ids = texts->type_ids != NULL ? texts->type_ids + first : NULL};

		emb_import_progress(steps, "calibrate", first, n_tokens);
		offsets[0] = 0;
		c->first_token = first;
		while (i < texts->n && (batch.n_seqs == 0 || texts->offsets[i + 1] - first <= BATCH_TOKENS))
			offsets[++batch.n_seqs] = texts->offsets[++i] - first;
		status = emb_transformer_run_observed(&model->transformer, emb_kernels(), &batch, steps->n_threads, steps->mem, steps->stop,
										   observe, c, out, err);
	}
	if (status == EMB_OK)
		emb_import_progress(steps, "calibrate", n_tokens, n_tokens);
	return status;
}

static EmbStatus
run_texts(const EmbModel *model, const Source *source, const EmbImportSteps *steps, EmbCalibration *c, EmbError *err)
{
	const EmbAllocator *mem = steps->mem;
	size_t		n = source->n;
	Texts		texts = {
		.offsets = emb_alloc_array(mem, n + 1, sizeof(int32_t)),
		.ids = emb_alloc_array(mem, EMB_CALIBRATION_MAX_TOKENS, sizeof(int32_t)),
		.type_ids = source->pairs ? emb_alloc_array(mem, EMB_CALIBRATION_MAX_TOKENS, sizeof(int32_t)) : NULL
	};
	int32_t    *offsets = emb_alloc_array(mem, n + 1, sizeof(int32_t));
	float	   *out = emb_alloc_array(mem, n * model->transformer.arch->hidden, sizeof(float));
	EmbStatus	status;

	if (texts.offsets == NULL || texts.ids == NULL || (source->pairs && texts.type_ids == NULL) ||
		offsets == NULL || out == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory for %zu calibration texts", n);
	else
		status = encode_texts(model, source, steps, &texts, err);
	if (status == EMB_OK)
		status = run_batches(model, &texts, steps, c, offsets, out, err);
	emb_release(mem, texts.offsets);
	emb_release(mem, texts.ids);
	emb_release(mem, texts.type_ids);
	emb_release(mem, offsets);
	emb_release(mem, out);
	return status;
}

EmbStatus
emb_calibrate(const EmbModel *model, const char *const *texts, int32_t n_texts,
			  const EmbImportSteps *steps, EmbCalibration *c, EmbError *err)
{
	Source		source = choose_source(model, texts, n_texts);
	EmbStatus	status;

	memset(c, 0, sizeof(*c));
	c->mem = *steps->mem;
	pthread_mutex_init(&c->lock, NULL);
	if (source.n < 1)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "a reranker is calibrated with pairs of texts, not with %d text", n_texts);
	status = allocate_points(model->transformer.arch, c, err);
	if (status == EMB_OK)
		status = run_texts(model, &source, steps, c, err);
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
	pthread_mutex_destroy(&c->lock);
	c->points = NULL;
	c->floats = NULL;
}
