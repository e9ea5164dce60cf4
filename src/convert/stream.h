/*
 * stream.h
 *		Texts on their way through the layers: an import has the weights of
 *		one layer in memory at a time, so all its texts pass a layer before
 *		the next layer is read.
 *
 * Example:
 *
 *		EmbStream	s;
 *		emb_stream_begin(&s, mem);
 *		emb_stream_add(&s, ids, NULL, n_ids, err);		// for each text
 *		emb_stream_share(&s, model->view.arch);			// or not
 *		// words.h notes the ids, and then turns them into rows of the words in memory
 *		emb_stream_embed(&s, model, &steps, out, err);
 *		emb_stream_run(&s, model, i, observe, ctx, &steps, out, err);	// for each layer
 *		emb_stream_free(&s);
 */
#ifndef EMB_CONVERT_STREAM_H
#define EMB_CONVERT_STREAM_H

#include "model/model.h"

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

extern EmbStatus emb_import_cancelled(EmbError *err);

typedef struct EmbStream
{
	EmbAllocator mem;
	int32_t		n_seqs;
	int32_t		n_unpooled;		/* leading rows of every text that are not pooled: a prompt */
	int32_t		n_shared;		/* tokens that all texts begin with, kept once: rows 0 .. n_shared - 1 */
	int32_t    *offsets;		/* [n_seqs + 1], from n_shared on */
	int32_t    *ids;			/* [n_tokens] of the vocabulary; once mapped, of the words kept */
	int32_t    *type_ids;		/* [n_tokens], or NULL: all 0 */
	int32_t    *n_seen;			/* [n_seqs] tokens of each text that attention sees */
	bool		has_unseen;		/* of any text not all */
	float	   *x;				/* [n_tokens, hidden], emb_transformer_stride apart: behind the layers run so far */
	EmbPrefix  *prefix;			/* keys and values of the shared tokens, in the layer run last */
	int32_t		room_seqs;
	int32_t		room_tokens;
} EmbStream;

extern void emb_stream_begin(EmbStream *s, const EmbAllocator *mem);
extern void emb_stream_free(EmbStream *s);

static inline int32_t
emb_stream_n_tokens(const EmbStream *s)
{
	return s->n_seqs > 0 ? s->offsets[s->n_seqs] : 0;
}

/* Adds a text; type_ids is NULL for all texts or for none. EMB_ERR_NOMEM, EMB_ERR_LIMIT. */
extern EmbStatus emb_stream_add(EmbStream *s, const int32_t *ids, const int32_t *type_ids, int32_t n_ids, EmbError *err);

/* Directly after emb_stream_add: the last n tokens of the text are not seen by attention (EmbBatch). */
extern void emb_stream_hide(EmbStream *s, int32_t n);

/*
 * After the last text: tokens that all texts begin with become one text that
 * the others start behind, if attention is causal. Each pair of a decoder that
 * reranks begins with 60 tokens of its template. It changes no bit of out, and
 * shared rows are observed once.
 */
extern void emb_stream_share(EmbStream *s, const EmbArch *arch);

/*
 * Runs all texts through the embeddings, or through layer i, whose weights are
 * in place. observe (or NULL) gets rows numbered over all texts. The last
 * layer writes out [n_seqs, hidden], pooled as by emb_transformer_run; else
 * out is not used. A static model has no layers: emb_stream_embed writes out.
 */
extern EmbStatus emb_stream_embed(EmbStream *s, const EmbModel *model, const EmbImportSteps *steps, float *out, EmbError *err);
extern EmbStatus emb_stream_run(EmbStream *s, const EmbModel *model, int32_t layer, EmbObserve observe, void *observe_ctx,
								const EmbImportSteps *steps, float *out, EmbError *err);

#endif
