/*
 * measured.h
 *		Which linear layers of an int4 image stay int8, by their measured errors.
 *
 * A first pass takes the calibration texts through all layers and quantizes
 * each linear layer to 4 bits as the import itself does. The part of its outputs'
 * variance that is lost is what int8 would save. int8 costs the layer's weights.
 * The best ratios of both stay int8, as long as there is room: first roles in
 * all layers (query, key, value, attn_out, ffn_up, ffn_down), then single ones.
 *
 * Example:
 *
 *		EmbMeasuring m = {.parts = &parts, .weights = &weights, .texts = NULL, .percent = 25};
 *		emb_measured_choose(&m, &steps, config.kept, err);		// before the image is begun
 *
 * The same choice on every CPU and for any number of threads: images are equal,
 * and sums are in one order.
 */
#ifndef EMB_CONVERT_MEASURED_H
#define EMB_CONVERT_MEASURED_H

#include "convert/weights.h"

typedef struct EmbMeasuring
{
	const EmbImageParts *parts; /* of the image to be; precision int4 */
	EmbWeights *weights;
	const char *const *texts;	/* for calibration, as of EmbImportOptions */
	int32_t		n_texts;
	int32_t		percent;		/* of the weights of all layers that may stay int8, 1 .. 99 */
} EmbMeasuring;

/* kept: as of EmbImageConfig. Memory and time: about those of the import that follows. */
extern EmbStatus emb_measured_choose(const EmbMeasuring *m, const EmbImportSteps *steps, uint8_t kept[EMB_ARCH_MAX_LAYERS], EmbError *err);

#endif
