/*
 * writer.h
 *		Writes an image to the sink of an import, front to back.
 *
 * Example:
 *
 *		EmbWriter	writer = {.steps = &steps};
 *		emb_writer_put(&writer, head, head_bytes, err);
 *		emb_writer_put_tensor(&writer, t, data, err);	// for each tensor, in the order of the plan
 */
#ifndef EMB_CONVERT_WRITER_H
#define EMB_CONVERT_WRITER_H

#include "convert/stream.h"

typedef struct EmbWriter
{
	const EmbImportSteps *steps;
	uint64_t	at;				/* bytes written */
} EmbWriter;

/* Passes size bytes on in pieces, and polls stop between them. */
extern EmbStatus emb_writer_put(EmbWriter *w, const void *data, uint64_t size, EmbError *err);

/* Zeros up to offset. EMB_ERR_INTERNAL: more is written already. */
extern EmbStatus emb_writer_pad(EmbWriter *w, uint64_t offset, EmbError *err);

/* A tensor at its place, and zeros before it. */
extern EmbStatus emb_writer_put_tensor(EmbWriter *w, const EmbImageTensor *t, const void *data, EmbError *err);

#endif
