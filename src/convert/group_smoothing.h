/*
 * group_smoothing.h
 *		Smoothing that leaves every weight its value: for weights with scales by
 *		groups of inputs, which were quantized before.
 *
 * As quantize.h's smoothing, but all inputs of a group have one factor, and the
 * factor is a power of two: it multiplies the scales of the group, exactly. So
 * a group of large inputs leaves the other groups a finer step. The least
 * factor of an input's scales is 1, so that those of 16 bits stay exact; a row of
 * the input has the same codes whatever the least factor is.
 *
 * Example:
 *
 *		EmbGroupSmoothing s = {.seen = seen, .n_linears = 1, .linears = {&layer->ffn_up}, .group = 32, .order = NULL};
 *		emb_smooth_groups(&s, steps, smooth, factor, err);	// scale[g] * smooth[g], input[k] * factor[k]
 */
#ifndef EMB_CONVERT_GROUP_SMOOTHING_H
#define EMB_CONVERT_GROUP_SMOOTHING_H

#include "convert/calibration.h"

typedef struct EmbGroupSmoothing
{
	const EmbObserved *seen;	/* the input */
	int32_t		n_linears;
	const EmbLinear *linears[3];	/* in fp32, those that read the input */
	int32_t		group;			/* 32, 64, 128 */
	const uint16_t *order;		/* [n] the input at each place; NULL: in order */
	EmbScaleType scale_type;	/* of the image's scales */
} EmbGroupSmoothing;

/*
 * smooth: [groups], factor: [n]. Of a few exponents and no smoothing the one
 * whose quantized rows, weighted by the energies of the weights that read them,
 * are nearest to the rows. All 1 if a weight is so small or large that a product
 * with a factor might be inexact; a candidate by which a scale might exceed its
 * type is not taken. (A scale is at most as large as a weight, unless all its
 * weights are zero.) The same on every CPU.
 */
extern EmbStatus emb_smooth_groups(const EmbGroupSmoothing *s, const EmbImportSteps *steps, float *smooth, float *factor, EmbError *err);

#endif
