/*
 * writer.c
 *		Writes an image to the sink of an import, front to back.
 */
#include "convert/writer.h"

/* Bytes per call of the sink. */
#define WRITE_BYTES		1048576

/* Padding is below EMB_ALIGNMENT, except before a section. */
static const uint8_t zeros[4096];

EmbStatus
emb_writer_put(EmbWriter *w, const void *data, uint64_t size, EmbError *err)
{
	const EmbImportSteps *steps = w->steps;

	for (uint64_t done = 0; done < size;)
	{
		uint64_t	n = size - done < WRITE_BYTES ? size - done : WRITE_BYTES;
		EmbStatus	status;

		if (emb_should_stop(steps->stop))
			return emb_import_cancelled(err);
		status = steps->sink->write(steps->sink->ctx, (const uint8_t *) data + done, n, err);
		if (status != EMB_OK)
			return status;
		done += n;
		w->at += n;
	}
	return EMB_OK;
}

EmbStatus
emb_writer_pad(EmbWriter *w, uint64_t offset, EmbError *err)
{
	EmbStatus	status = EMB_OK;

	if (w->at > offset)
		return emb_error(err, EMB_ERR_INTERNAL, "the image has %llu bytes before byte %llu",
						 (unsigned long long) w->at, (unsigned long long) offset);
	while (status == EMB_OK && w->at < offset)
		status = emb_writer_put(w, zeros, offset - w->at < sizeof(zeros) ? offset - w->at : sizeof(zeros), err);
	return status;
}

EmbStatus
emb_writer_put_tensor(EmbWriter *w, const EmbImageTensor *t, const void *data, EmbError *err)
{
	EmbStatus	status = emb_writer_pad(w, t->offset, err);

	return status == EMB_OK ? emb_writer_put(w, data, t->size_bytes, err) : status;
}
