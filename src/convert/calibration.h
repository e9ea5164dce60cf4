/*
 * calibration.h
 *		The inputs of a layer's linear layers on calibration texts, measured
 *		on the fp32 model for the quantizer.
 *
 * Example:
 *
 *		EmbCalibration c;
 *		emb_calibration_begin(&c, model, texts, n_texts, false, &steps, err);	// c.texts: a stream (stream.h)
 *		emb_calibration_run(&c, model, i, &steps, err);					// for each layer, in order
 *		const EmbObserved *in = emb_calibration_at(&c, EMB_OBSERVE_FFN_IN);
 *		emb_calibration_free(&c);
 */
#ifndef EMB_CONVERT_CALIBRATION_H
#define EMB_CONVERT_CALIBRATION_H

#include <pthread.h>

#include "convert/stream.h"

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

/* Memory for the rows that GPTQ sums up, of all inputs of a layer; usually that is every row. */
#define EMB_CALIBRATION_MANY_BYTES		((size_t) 400 << 20)

/* The input of a linear layer. */
typedef struct EmbObserved
{
	int32_t		n;				/* channels */
	int32_t		n_rows;			/* kept, in the order of the texts */
	float	   *largest;		/* [n] max |x| over all rows seen */
	float	   *rows;			/* [n_rows, n] */
	int32_t		n_many;			/* kept for GPTQ and for experts, 0: none */
	float	   *many;			/* [n_many, n] */
} EmbObserved;

typedef struct EmbCalibration
{
	EmbAllocator mem;
	EmbStream	texts;
	int32_t		n_tokens;		/* in all texts: each input has a row per token */
	int32_t		step;			/* every step-th row is kept, a power of two */
	int32_t		many_step;		/* likewise; 0: none */
	pthread_mutex_t lock;		/* protects largest */
	EmbObserved points[EMB_OBSERVE_FFN_MID + 1];	/* of the last layer run; EMB_OBSERVE_HIDDEN is empty, and of a layer of
												 * experts EMB_OBSERVE_FFN_MID is not observed */
	float	   *floats;			/* memory of the points */
	size_t		n_floats;
	float	   *out;			/* [n_texts, hidden] of the last layer; not used */
} EmbCalibration;

/*
 * Reads the texts; model has a tokenizer. texts NULL: the built-in texts. The
 * document and the query prompt alternate; a reranker reads two texts as a
 * pair. keeps_many: for GPTQ. EMB_ERR_TEXT: a text is not UTF-8. On success
 * the caller frees.
 */
extern EmbStatus emb_calibration_begin(EmbCalibration *c, const EmbModel *model, const char *const *texts, int32_t n_texts,
									   bool keeps_many, const EmbImportSteps *steps, EmbError *err);
extern void emb_calibration_free(EmbCalibration *c);

/* The embeddings of the texts, once their ids are mapped (words.h). */
extern EmbStatus emb_calibration_embed(EmbCalibration *c, const EmbModel *model, const EmbImportSteps *steps, EmbError *err);

/* Takes the texts through a layer. EMB_ERR_LIMIT: an input overflows. */
extern EmbStatus emb_calibration_run(EmbCalibration *c, const EmbModel *model, int32_t layer, const EmbImportSteps *steps,
									 EmbError *err);

static inline const EmbObserved *
emb_calibration_at(const EmbCalibration *c, EmbObservePoint point)
{
	return &c->points[point];
}

#endif
