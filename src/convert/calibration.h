/*
 * calibration.h
 *		The inputs of a model's linear layers on calibration texts, measured
 *		on the fp32 model for the quantizer.
 *
 * Example:
 *
 *		EmbCalibration c;
 *		emb_calibrate(fp32, texts, n_texts, &steps, &c, err);
 *		const EmbObserved *in = emb_calibration_at(&c, layer, EMB_OBSERVE_FFN_IN);
 *		emb_calibration_free(&c);
 */
#ifndef EMB_CONVERT_CALIBRATION_H
#define EMB_CONVERT_CALIBRATION_H

#include <pthread.h>

#include "model/model.h"

/* The built-in texts (calibration_text.c). */
extern const char *const emb_calibration_texts[];
extern const int emb_n_calibration_texts;

/* A text pair for a reranker. */
typedef struct EmbTextPair
{
	const char *query,
			   *document;
} EmbTextPair;

extern const EmbTextPair emb_calibration_pairs[];	/* calibration_pairs.c */
extern const int emb_n_calibration_pairs;

/* Limits for a caller's texts. */
#define EMB_CALIBRATION_MAX_TEXTS		256
#define EMB_CALIBRATION_TEXT_TOKENS		512 /* per text */
#define EMB_CALIBRATION_MAX_TOKENS		32768	/* in all */

/* Rows kept per input: between half of this number and all of it. */
#define EMB_CALIBRATION_ROWS			512

/* The input of a linear layer. */
typedef struct EmbObserved
{
	int32_t		n;				/* channels */
	int32_t		n_rows;			/* kept, in the order of the texts */
	float	   *largest;		/* [n] max |x| over all rows seen */
	float	   *rows;			/* [n_rows, n] */
} EmbObserved;

typedef struct EmbCalibration
{
	EmbAllocator mem;
	int32_t		n_layers;
	int32_t		n_tokens;		/* in all texts: each input has a row per token */
	int32_t		first_token;	/* of the current batch */
	int32_t		step;			/* every step-th row is kept, a power of two */
	pthread_mutex_t lock;		/* protects largest */
	EmbObserved *points;		/* [n_layers, 4] */
	float	   *floats;			/* memory of the points */
} EmbCalibration;

/* Progress of an import, for the sink. */
typedef struct EmbImportSteps
{
	const EmbAllocator *mem;
	const EmbStop *stop;
	const EmbSink *sink;
	int32_t		n_threads;
} EmbImportSteps;

static inline void
emb_import_progress(const EmbImportSteps *steps, const char *stage, int64_t done, int64_t total)
{
	if (steps->sink->progress != NULL)
		steps->sink->progress(steps->sink->ctx, stage, done, total);
}

/*
 * texts NULL: the built-in texts. The document and the query prompt alternate;
 * a reranker reads two texts as a pair. EMB_ERR_TEXT: a text is not UTF-8.
 * EMB_ERR_LIMIT: an input overflows. On success the caller frees.
 */
extern EmbStatus emb_calibrate(const EmbModel *model, const char *const *texts, int32_t n_texts,
							   const EmbImportSteps *steps, EmbCalibration *c, EmbError *err);
extern const EmbObserved *emb_calibration_at(const EmbCalibration *c, int32_t layer, EmbObservePoint point);
extern void emb_calibration_free(EmbCalibration *c);

#endif
