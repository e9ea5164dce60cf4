/*
 * update_f64_avx512.c
 *		update_f64, AVX-512.
 */
#if defined(__x86_64__)

#include "kernels/declare.h"
#include "kernels/target.h"

EMB_TARGET_BEGIN(EMB_TARGET_AVX512)

#define EMB_UPDATE_F64 emb_update_f64_avx512
#define EMB_F64_LANES 8
#include "kernels/update_f64_impl.h"

EMB_TARGET_END

#endif
