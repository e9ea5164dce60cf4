/*
 * codes.h
 *		Layers of a checkpoint that was quantized before: codes, scales, zero
 *		points and orders of inputs go into the image as they are.
 *
 * An int4 image has codes of 4 bits with scales and zeros by groups. An int8
 * image has codes of 8 bits whose zero is the middle, with scales by groups or
 * one scale for each output.
 *
 * Example:
 *
 *		emb_codes_choose(&weights, &config, &use, err);				// config: group, keep_int8, has_order, scale_type
 *		if (use == EMB_CODES_KEPT)
 *			emb_codes_fill_layer(&weights, exact, i, calibration, &view, err);	// instead of emb_quantize_layer
 */
#ifndef EMB_CONVERT_CODES_H
#define EMB_CONVERT_CODES_H

#include "convert/calibration.h"
#include "convert/weights.h"

typedef enum EmbCodesUse
{
	EMB_CODES_NONE,				/* the checkpoint has floats */
	EMB_CODES_UNFIT,			/* some weights have codes, but no image of this precision can have all of them */
	EMB_CODES_KEPT
} EmbCodesUse;

/*
 * Whether an image of config's precision, int4 or int8, can have the codes of
 * all linear layers; if so, sets group, keep_int8 (none), has_order and
 * scale_type of config. Layers that read one input must have one order. The group is the
 * largest that divides those of all layers; scales of larger groups are
 * repeated.
 */
extern EmbStatus emb_codes_choose(const EmbWeights *w, EmbImageConfig *config, EmbCodesUse *use, EmbError *err);

/*
 * Whether an image with such codes is smoothed, by group_smoothing.h, and so
 * needs calibration: weights whose scale is that of a row are as they are.
 */
static inline bool
emb_codes_are_smoothed(const EmbImageConfig *config)
{
	return config->group != 0 && config->group != EMB_IMAGE_GROUP_ROW;
}

/*
 * Fills the tensors of a layer, which have places in view. exact: the same
 * layer in fp32, for norms, biases and smoothing. calibration has run the layer,
 * if codes are smoothed.
 */
extern EmbStatus emb_codes_fill_layer(const EmbWeights *w, const EmbModel *exact, int32_t layer, const EmbCalibration *calibration,
									  const EmbImageView *view, EmbError *err);

#endif
