/*
 * quantize.h
 *		The arithmetic of the quantizer, and the step from an fp32 layer to an
 *		int8 layer.
 *
 * An image must be equal on every CPU: IEEE add, multiply, divide and square
 * root in a fixed order, the kernels (equal on all ISA levels), and no libm
 * function that may round differently.
 */
#ifndef EMB_CONVERT_QUANTIZE_H
#define EMB_CONVERT_QUANTIZE_H

#include "convert/calibration.h"
#include "image/image.h"

/*
 * Smoothing (Xiao et al. 2023, SmoothQuant, equation 4): per input channel of
 * a linear layer s = x^(e/8) / w^(1 - e/8) from its largest activation and
 * weight, both at least 1/1024 of the largest over all channels. A power of
 * two scales s to about 1. x, w, smooth: [n]; eighths e in 0..8.
 */
extern void emb_quantize_smoothing(const float *x, const float *w, int32_t n, int eighths, float *smooth);

/*
 * One panel of an fp32 linear layer, [n_in][16] (emb_pack_f32_panel); the
 * first n_rows columns are outputs. Weights times smooth[n_in] (or NULL); then
 * q = rint(w / scale), scale = max |w| / 127 per output. tiles: in the layout
 * of emb_pack_i8_panel. scale, sums: [16], 0 for missing outputs and if all
 * weights of an output are below 1e-30. rows: scratch [16][n_in] bytes. False:
 * a weight times its factor overflows.
 */
extern bool emb_quantize_panel(const float *panel, int32_t n_rows, int32_t n_in, const float *smooth,
							   int8_t *rows, int8_t *tiles, float *scale, int32_t *sums);

/* A row of n: q = rint(x / factor / scale), returns scale = max |x / factor| / 127. x is finite, factor [n] above 0. */
extern float emb_quantize_row(const float *x, const float *factor, int32_t n, int8_t *q);

/*
 * Fills the tensors of a layer in the int8 image of view, where they have
 * places, from the layer of the fp32 model and its observed inputs. lost (or
 * NULL, all of the layer in 4 bits): of each linear layer, the part of the
 * variance of its outputs that the errors make up on the observed rows, in the
 * mean over the outputs; of ffn_up behind the activation, unless it is gated.
 */
extern EmbStatus emb_quantize_layer(const EmbModel *model, int32_t layer, const EmbCalibration *calibration,
									const EmbImportSteps *steps, const EmbImageView *view, double lost[EMB_N_ROLES], EmbError *err);

#endif
