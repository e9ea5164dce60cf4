/*
 * words.h
 *		The word embeddings of an import. They may be larger than all layers,
 *		so they go from the checkpoint to the image row by row, and only the
 *		rows of the import's own texts stay in memory.
 *
 * Example:
 *
 *		EmbWords	words = {0};
 *		emb_words_begin(&words, arch, mem, err);
 *		emb_words_keep(&words, &stream);				// for each stream
 *		emb_words_write(&words, &weights, &writer, &exact_view, &view, err);
 *		emb_words_map(&words, &stream);					// its ids are rows of the kept words now
 *		emb_words_free(&words);
 */
#ifndef EMB_CONVERT_WORDS_H
#define EMB_CONVERT_WORDS_H

#include "convert/stream.h"
#include "convert/weights.h"
#include "convert/writer.h"

typedef struct EmbWords
{
	EmbAllocator mem;
	int32_t		n_vocab;
	int32_t		hidden;
	int32_t    *kept;			/* [n_vocab] the row among those kept, or -1 */
	int32_t		n_kept;
	float	   *exact;			/* [n_kept, hidden] */
	int8_t	   *codes;			/* [n_kept, hidden], if the image is quantized */
	float	   *kept_scales;	/* [n_kept] */
	float	   *scales;			/* [n_vocab rounded up to 16], zeros after */
	float	   *factors;		/* [hidden rounded up to 16], zeros after */
} EmbWords;

/*
 * Ids below arch->position_base keep their places among the kept rows: an
 * absolute position depends on whether an id is the padding's.
 */
extern EmbStatus emb_words_begin(EmbWords *w, const EmbArch *arch, const EmbAllocator *mem, EmbError *err);

/* Does nothing for zeros. */
extern void emb_words_free(EmbWords *w);

/* Notes the ids of a stream. */
extern void emb_words_keep(EmbWords *w, const EmbStream *s);

/*
 * Reads the table, once for an fp32 image, else twice, and writes its tensors
 * to the image of view. The kept rows get places in exact (fp32) and, if it is
 * quantized, in view. Progress is that of stage "read".
 */
extern EmbStatus emb_words_write(EmbWords *w, EmbWeights *weights, EmbWriter *writer, const EmbImageView *exact,
								 const EmbImageView *view, EmbError *err);

/* Replaces ids by rows of the kept words. */
extern void emb_words_map(const EmbWords *w, EmbStream *s);

#endif
