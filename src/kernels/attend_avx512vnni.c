/*
 * attend_avx512vnni.c
 *		Attention in int8, AVX-512 VNNI: 16 numbers are one zmm, 6 rows of 4 panels
 *		take 24 of 32 registers.
 */
#if defined(__x86_64__)

#include <float.h>
#include <immintrin.h>
#include <string.h>

#include "kernels/declare.h"
#include "kernels/target.h"

#define ATTEND_ROWS		6
#define ATTEND_PANELS	4

EMB_TARGET_BEGIN(EMB_TARGET_AVX512VNNI)

#include "kernels/v16_avx512.h"
#include "kernels/attend_x86.h"
#include "kernels/attend_zmm.h"

#define EMB_ISA avx512vnni
#define transpose_dwords emb_transpose_f32_avx2
#include "kernels/attend_impl.h"

EMB_TARGET_END

#endif
