/*
 * quant_avx2.c
 *		Quantizing of rows, AVX2 and FMA: 16 lanes are two ymm.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/declare.h"
#include "kernels/target.h"

EMB_TARGET_BEGIN(EMB_TARGET_AVX2)

#include "kernels/v16_avx2.h"

#define EMB_ISA avx2
#define NORM_ROWS 2
#include "kernels/quant_impl.h"
#include "kernels/quant_heads_impl.h"
#include "kernels/norm_rows_impl.h"

EMB_TARGET_END

#endif
