/*
 * quant_scalar.c
 *		Quantizing of rows in plain C: the reference of all levels.
 */
#include <math.h>
#include <string.h>

#include "kernels/declare.h"
#include "kernels/target.h"

#include "kernels/v16_scalar.h"

#define EMB_ISA scalar
#define NORM_ROWS 1
#include "kernels/quant_impl.h"
#include "kernels/quant_heads_impl.h"
#include "kernels/norm_rows_impl.h"
