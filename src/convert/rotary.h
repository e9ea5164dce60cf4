/*
 * rotary.h
 *		RoPE tables: the angles that rotate queries and keys at each position.
 */
#ifndef EMB_CONVERT_ROTARY_H
#define EMB_CONVERT_ROTARY_H

#include <stdint.h>

/*
 * table: [n_positions, head_size]; a row has the cosines of head_size / 2
 * angles, then their sines. Angle i of position p is p / base^(2 i /
 * head_size); with fixed NTK scaling s > 1 it is p / ((s base)^(2 i /
 * head_size) s^(2 / head_size)). Values that torch computes in single
 * precision are rounded to it here, too. The same bits on every CPU; base and
 * scale >= 1, at most 1e12.
 */
extern void emb_rotary_fill(double base, double scale, int32_t n_positions, int32_t head_size, float *table);

#endif
