/*
 * calibrate.c
 *		Runs calibration texts through the layers of the fp32 model and keeps,
 *		for every input of a layer's linear layers, the largest magnitudes and
 *		some rows.
 */
#include "convert/calibration.h"

#include <string.h>

/* The source of the texts: the caller, or NULL for the built-in tables. */
typedef struct Source
{
	const char *const *texts;
	int32_t		n_texts;
	bool		pairs;
	int32_t		n;				/* texts or pairs in all */
} Source;

/* ---------------------------------------------------------------- inputs */

/*
 * Rows are kept at a stride, the smallest power of two that leaves room. So
 * the choice is even over all texts and needs no randomness and no order.
 */
static int32_t
choose_step(int32_t n_tokens, int64_t n_max)
{
	int32_t		step = 1;

	while (n_tokens > (n_max - 1) * step + 1)
		step *= 2;
	return step;
}

static void
keep_row(const EmbCalibration *c, EmbObserved *o, int32_t token, const float *row)
{
	if (token % c->step == 0)
		memcpy(o->rows + (size_t) (token / c->step) * o->n, row, o->n * sizeof(float));
	if (o->n_many > 0 && token % c->many_step == 0)
		memcpy(o->many + (size_t) (token / c->many_step) * o->n, row, o->n * sizeof(float));
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
	EmbObserved *o = &c->points[point];

	(void) layer;
	if (point == EMB_OBSERVE_HIDDEN)
		return;
	for (int32_t i = 0; i < n_rows; i++)
		keep_row(c, o, first_row + i, rows + i * stride);
	pthread_mutex_lock(&c->lock);
	for (int32_t i = 0; i < n_rows; i++)
		note_largest(o, rows + i * stride);
	pthread_mutex_unlock(&c->lock);
}

static int32_t
point_width(const EmbArch *arch, int point)
{
	switch (point)
	{
		case EMB_OBSERVE_ATTN_CONTEXT:
			return emb_arch_query_width(arch);
		case EMB_OBSERVE_FFN_MID:
			return arch->intermediate;
		default:
			return arch->hidden;
	}
}

/* Numbers of rows to keep. */
static void
choose_rows(const EmbArch *arch, bool keeps_many, EmbCalibration *c)
{
	size_t		row_bytes = 0;

	for (int point = EMB_OBSERVE_ATTN_IN; point <= EMB_OBSERVE_FFN_MID; point++)
		row_bytes += point_width(arch, point) * sizeof(float);
	c->step = choose_step(c->n_tokens, EMB_CALIBRATION_ROWS);
	if (keeps_many || arch->n_experts > 0)
		c->many_step = choose_step(c->n_tokens, (int64_t) (EMB_CALIBRATION_MANY_BYTES / row_bytes) + 1);
	for (int point = EMB_OBSERVE_ATTN_IN; point <= EMB_OBSERVE_FFN_MID; point++)
	{
		/* each expert is calibrated by its own rows */
		bool		has_many = keeps_many || (arch->n_experts > 0 && point == EMB_OBSERVE_FFN_IN);

		c->points[point].n_rows = (c->n_tokens - 1) / c->step + 1;
		c->points[point].n_many = has_many ? (c->n_tokens - 1) / c->many_step + 1 : 0;
	}
}

static EmbStatus
allocate_points(const EmbArch *arch, EmbCalibration *c, EmbError *err)
{
	float	   *at;

	for (int point = EMB_OBSERVE_ATTN_IN; point <= EMB_OBSERVE_FFN_MID; point++)
		c->n_floats += (size_t) point_width(arch, point) * (EMB_CALIBRATION_ROWS + 1 + c->points[point].n_many);
	c->floats = at = emb_alloc_array(&c->mem, c->n_floats, sizeof(float));
	c->out = emb_alloc_array(&c->mem, (size_t) c->texts.n_seqs * emb_arch_pooled_width(arch), sizeof(float));
	if (c->floats == NULL || c->out == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory to calibrate a layer (%zu bytes)", c->n_floats * sizeof(float));
	for (int point = EMB_OBSERVE_ATTN_IN; point <= EMB_OBSERVE_FFN_MID; point++)
	{
		EmbObserved *o = &c->points[point];

		o->n = point_width(arch, point);
		o->largest = at;
		o->rows = at + o->n;
		o->many = o->rows + (size_t) o->n * EMB_CALIBRATION_ROWS;
		at = o->many + (size_t) o->n * o->n_many;
	}
	return EMB_OK;
}

static EmbStatus
check_finite(const EmbCalibration *c, int32_t layer, EmbError *err)
{
	for (int point = EMB_OBSERVE_ATTN_IN; point <= EMB_OBSERVE_FFN_MID; point++)
	{
		for (int32_t k = 0; k < c->points[point].n; k++)
		{
			if (!__builtin_isfinite(c->points[point].largest[k]))
				return emb_error(err, EMB_ERR_LIMIT, "the model's weights overflow single precision in layer %d", layer);
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

/* A text's ids, [EMB_CALIBRATION_TEXT_TOKENS]. */
typedef struct Ids
{
	int32_t		ids[EMB_CALIBRATION_TEXT_TOKENS];
	int32_t		type_ids[EMB_CALIBRATION_TEXT_TOKENS];
} Ids;

static EmbStatus
encode_one(const EmbModel *model, const Source *source, int32_t i, const EmbImportSteps *steps, Ids *ids, EmbEncoded *r, EmbError *err)
{
	static const EmbPrompt prompts[] = {EMB_PROMPT_DOCUMENT, EMB_PROMPT_QUERY};
	EmbTextPair pair;
	EmbText		query,
				document;

	if (!source->pairs)
		return emb_model_encode(model, prompts[i % 2], &(EmbText) {source_text(source, i), strlen(source_text(source, i)), true, NULL},
				&(EmbReading) {.ids = ids->ids, .max_ids = EMB_CALIBRATION_TEXT_TOKENS, .mem = steps->mem, .stop = steps->stop}, r, err);
	pair = source_pair(source, i);
	query = (EmbText) {pair.query, strlen(pair.query), true, NULL};
	document = (EmbText) {pair.document, strlen(pair.document), true, NULL};
	return emb_model_encode_pair(model, &query, &document,
			&(EmbReading) {.ids = ids->ids, .type_ids = ids->type_ids, .max_ids = EMB_CALIBRATION_TEXT_TOKENS,
			.mem = steps->mem, .stop = steps->stop}, r, err);
}

static EmbStatus
encode_texts(EmbCalibration *c, const EmbModel *model, const Source *source, const EmbImportSteps *steps, EmbError *err)
{
	for (int32_t i = 0; i < source->n && emb_stream_n_tokens(&c->texts) <= EMB_CALIBRATION_MAX_TOKENS - EMB_CALIBRATION_TEXT_TOKENS; i++)
	{
		Ids			ids;
		EmbEncoded	r;
		EmbStatus	status;

		if (emb_should_stop(steps->stop))
			return emb_import_cancelled(err);
		status = encode_one(model, source, i, steps, &ids, &r, err);
		if (status == EMB_ERR_TEXT)
			return emb_error(err, EMB_ERR_TEXT, "calibration %s %d is not valid UTF-8", source->pairs ? "pair" : "text", i + 1);
		if (status == EMB_OK)
			status = emb_stream_add(&c->texts, ids.ids, source->pairs ? ids.type_ids : NULL, r.n_ids, err);
		if (status != EMB_OK)
			return status;
	}
	return EMB_OK;
}

EmbStatus
emb_calibration_begin(EmbCalibration *c, const EmbModel *model, const char *const *texts, int32_t n_texts,
					  bool keeps_many, const EmbImportSteps *steps, EmbError *err)
{
	Source		source = choose_source(model, texts, n_texts);
	EmbStatus	status;

	memset(c, 0, sizeof(*c));
	if (source.n < 1)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "a reranker is calibrated with pairs of texts, not with %d text", n_texts);
	c->mem = *steps->mem;
	pthread_mutex_init(&c->lock, NULL);
	emb_stream_begin(&c->texts, steps->mem);
	status = encode_texts(c, model, &source, steps, err);
	if (status == EMB_OK)
	{
		emb_stream_share(&c->texts, model->view.arch);
		c->n_tokens = emb_stream_n_tokens(&c->texts);
		choose_rows(model->view.arch, keeps_many, c);
		status = allocate_points(model->view.arch, c, err);
	}
	if (status != EMB_OK)
		emb_calibration_free(c);
	return status;
}

void
emb_calibration_free(EmbCalibration *c)
{
	if (c->mem.release == NULL)
		return;
	emb_stream_free(&c->texts);
	emb_release(&c->mem, c->floats);
	emb_release(&c->mem, c->out);
	pthread_mutex_destroy(&c->lock);
	*c = (EmbCalibration) {0};
}

EmbStatus
emb_calibration_embed(EmbCalibration *c, const EmbModel *model, const EmbImportSteps *steps, EmbError *err)
{
	return emb_stream_embed(&c->texts, model, steps, c->out, err);
}

EmbStatus
emb_calibration_run(EmbCalibration *c, const EmbModel *model, int32_t layer, const EmbImportSteps *steps, EmbError *err)
{
	EmbStatus	status;

	for (int point = EMB_OBSERVE_ATTN_IN; point <= EMB_OBSERVE_FFN_MID; point++)
		memset(c->points[point].largest, 0, c->points[point].n * sizeof(float));
	status = emb_stream_run(&c->texts, model, layer, observe, c, steps, c->out, err);
	return status == EMB_OK ? check_finite(c, layer, err) : status;
}
