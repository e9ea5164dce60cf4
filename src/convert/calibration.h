/*
 * calibration.h
 *		What the quantizer knows of a model in use: the inputs of its linear
 *		layers on calibration texts, measured on the fp32 model.
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

/* Texts that come with the code (calibration_text.c). */
extern const char *const emb_calibration_texts[];
extern const int emb_n_calibration_texts;

/* What a reranker reads. */
typedef struct EmbTextPair
{
	const char *query,
			   *document;
} EmbTextPair;

extern const EmbTextPair emb_calibration_pairs[];	/* calibration_pairs.c */
extern const int emb_n_calibration_pairs;

/* Of a caller's texts so much is used. */
#define EMB_CALIBRATION_MAX_TEXTS		256
#define EMB_CALIBRATION_TEXT_TOKENS		512 /* of one text */
#define EMB_CALIBRATION_MAX_TOKENS		32768	/* of all */

/* Rows kept of an input: between half of these and all. */
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
	int32_t		n_tokens;		/* of all texts: each input has a row of each */
	int32_t		first_token;	/* of the batch at work */
	int32_t		step;			/* every step-th row is kept, a power of two */
	pthread_mutex_t lock;		/* of largest */
	EmbObserved *points;		/* [n_layers, 4] */
	float	   *floats;			/* what they point into */
} EmbCalibration;

/* Where an import stands, for the sink's progress. */
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
 * texts NULL: those that come with the code. They take the document and the
 * query prompt in turns; a reranker reads two of them as a pair. EMB_ERR_TEXT: one is
 * not UTF-8; EMB_ERR_LIMIT: an input overflows. On success the caller frees.
 */
extern EmbStatus emb_calibrate(const EmbModel *model, const char *const *texts, int32_t n_texts,
							   const EmbImportSteps *steps, EmbCalibration *c, EmbError *err);
extern const EmbObserved *emb_calibration_at(const EmbCalibration *c, int32_t layer, EmbObservePoint point);
extern void emb_calibration_free(EmbCalibration *c);

#endif
