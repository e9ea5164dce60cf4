/*
 * update_f64_scalar.c
 *		update_f64 on pairs: x86-64 and arm64 have registers of this size.
 */
#include "kernels/declare.h"
#include "kernels/target.h"

#define EMB_UPDATE_F64 emb_update_f64_scalar
#define EMB_F64_LANES 2
#include "kernels/update_f64_impl.h"
