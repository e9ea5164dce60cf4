/*
 * codes.h
 *		int4 layers of a checkpoint that was quantized before: codes, scales,
 *		zero points and orders of inputs go into the image as they are.
 *
 * Example:
 *
 *		emb_codes_choose(&weights, &config, &use, err);				// config: group, keep_int8, has_order
 *		if (use == EMB_CODES_KEPT)
 *			emb_codes_fill_layer(&weights, exact, i, &view, err);	// instead of emb_quantize_layer
 */
#ifndef EMB_CONVERT_CODES_H
#define EMB_CONVERT_CODES_H

#include "convert/weights.h"

typedef enum EmbCodesUse
{
	EMB_CODES_NONE,				/* the checkpoint has floats */
	EMB_CODES_UNFIT,			/* some weights have codes, but no int4 image can have all of them */
	EMB_CODES_KEPT
} EmbCodesUse;

/*
 * Whether an int4 image can have the codes of all linear layers; if so, sets
 * group, keep_int8 (none) and has_order of config. Layers that read one input
 * must have one order, and all must have one group.
 */
extern EmbStatus emb_codes_choose(const EmbWeights *w, EmbImageConfig *config, EmbCodesUse *use, EmbError *err);

/*
 * Fills the tensors of a layer, which have places in view. exact: the same
 * layer in fp32, for norms and biases.
 */
extern EmbStatus emb_codes_fill_layer(const EmbWeights *w, const EmbModel *exact, int32_t layer, const EmbImageView *view, EmbError *err);

#endif
