/*
 * target_neon.h
 *		The regions of arm64, and arm_neon.h with what they need.
 *
 * NEON itself, fused multiply-add included, is part of every arm64 and needs
 * no region.
 */
#ifndef EMB_KERNELS_TARGET_NEON_H
#define EMB_KERNELS_TARGET_NEON_H

/* Before version 16 clang declares an intrinsic only if the whole file may use it. */
#if defined(__clang__) && __clang_major__ < 16
#ifndef __ARM_FEATURE_DOTPROD
#define __ARM_FEATURE_DOTPROD 1
#endif
#ifndef __ARM_FEATURE_MATMUL_INT8
#define __ARM_FEATURE_MATMUL_INT8 1
#endif
#endif

#include <arm_neon.h>

#include "kernels/target.h"

/*
 * No load crosses this barrier: gcc 12 would load all operands of a loop's
 * body first, run out of registers and keep sums on the stack.
 */
#define EMB_LOADS_STAY __asm__ volatile ("" : : : "memory")

/* Everything the kernels need; cpu.c checks exactly these. */
#if defined(__clang__)
#define EMB_TARGET_NEON "dotprod"
#define EMB_TARGET_NEONI8MM "dotprod,i8mm"
#else
/* gcc's intrinsics require the architecture version that introduced the extensions. */
#define EMB_TARGET_NEON "arch=armv8.2-a+dotprod"
#define EMB_TARGET_NEONI8MM "arch=armv8.2-a+dotprod+i8mm"
#endif

#endif
