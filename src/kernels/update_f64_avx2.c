/*
 * update_f64_avx2.c
 *		update_f64, AVX2.
 */
#if defined(__x86_64__)

#include "kernels/declare.h"
#include "kernels/target.h"

EMB_TARGET_BEGIN(EMB_TARGET_AVX2)

#define EMB_UPDATE_F64 emb_update_f64_avx2
#define EMB_F64_LANES 4
#include "kernels/update_f64_impl.h"

EMB_TARGET_END

#endif
