/*
 * quant_avx512.c
 *		Quantizing of rows, AVX-512: 16 lanes are one zmm.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/declare.h"
#include "kernels/target.h"

EMB_TARGET_BEGIN(EMB_TARGET_AVX512)

#include "kernels/v16_avx512.h"

#define EMB_ISA avx512
#define NORM_ROWS 4
#include "kernels/quant_impl.h"
#include "kernels/quant_heads_impl.h"
#include "kernels/norm_rows_impl.h"

EMB_TARGET_END

#endif
