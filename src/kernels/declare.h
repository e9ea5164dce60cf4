/*
 * declare.h
 *		Declarations of every kernel of kernels.def; for kernels/ and its tests.
 */
#ifndef EMB_KERNELS_DECLARE_H
#define EMB_KERNELS_DECLARE_H

#include "kernels/kernels.h"
#include "kernels/target.h"

/* The function type of each operation, for example emb_op_gemm_f32. */
#define EMB_OP(op, result, arguments) typedef result emb_op_##op arguments;
#include "kernels/kernels.def"

#define EMB_KERNEL(isa, op) extern emb_op_##op emb_##op##_##isa;
#if defined(__x86_64__)
#define EMB_KERNEL_X86(isa, op) extern emb_op_##op emb_##op##_##isa;
#endif
#if defined(__aarch64__)
#define EMB_KERNEL_ARM64(isa, op) extern emb_op_##op emb_##op##_##isa;
#endif
#include "kernels/kernels.def"

#endif
