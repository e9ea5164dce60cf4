/*
 * quant_neon.c
 *		Quantizing of rows, NEON: 16 lanes are four q registers.
 */
#if defined(__aarch64__)

#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "kernels/declare.h"
#include "kernels/target.h"

#include "kernels/v16_neon.h"

#define EMB_ISA neon
#define NORM_ROWS 2
#include "kernels/quant_impl.h"
#include "kernels/quant_heads_impl.h"
#include "kernels/norm_rows_impl.h"

#endif
