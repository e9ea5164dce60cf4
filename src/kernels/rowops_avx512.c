/*
 * rowops_avx512.c
 *		Row operations, AVX-512: 16 lanes are one zmm.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>

#include "kernels/declare.h"
#include "kernels/target.h"

EMB_TARGET_BEGIN(EMB_TARGET_AVX512)

#include "kernels/v16_avx512.h"

#define EMB_ISA avx512
#include "kernels/rowops_impl.h"

EMB_TARGET_END

#endif
