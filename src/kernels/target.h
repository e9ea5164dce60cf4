/*
 * target.h
 *		Code regions for one instruction set.
 *
 *		#include <immintrin.h>
 *		#include "kernels/target.h"
 *		EMB_TARGET_BEGIN(EMB_TARGET_AVX2)
 *		...
 *		EMB_TARGET_END
 *
 * Per-file CFLAGS do not work: build systems that compile the tree a second
 * time lose them. Include system and shared headers first; otherwise their
 * inline functions become part of the region.
 */
#ifndef EMB_KERNELS_TARGET_H
#define EMB_KERNELS_TARGET_H

#include <float.h>

/* Excess precision (x87) would round twice. */
#if !defined(FLT_EVAL_METHOD) || FLT_EVAL_METHOD != 0
#error "the kernels need float arithmetic in float precision"
#endif
#ifdef __FAST_MATH__
#error "the kernels must not be compiled with -ffast-math"
#endif

/* Older compilers build all levels except levels with instructions they do not know. */
#if defined(__x86_64__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define EMB_COMPILER_HAS_AVXVNNI 1
#define EMB_COMPILER_HAS_AMX 1
#else
#define EMB_COMPILER_HAS_AVXVNNI 0
#define EMB_COMPILER_HAS_AMX 0
#endif

#define EMB_PRAGMA(text) _Pragma(#text)

#if defined(__clang__)
#define EMB_TARGET_BEGIN_ATTR(isa) \
	EMB_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define EMB_TARGET_BEGIN(isa) EMB_TARGET_BEGIN_ATTR(isa)
#define EMB_TARGET_END _Pragma("clang attribute pop")
#else
#define EMB_TARGET_BEGIN_PUSH(isa) \
	_Pragma("GCC push_options") EMB_PRAGMA(GCC target(isa))
#define EMB_TARGET_BEGIN(isa) EMB_TARGET_BEGIN_PUSH(isa)
#define EMB_TARGET_END _Pragma("GCC pop_options")
#endif

/* Everything the levels need; cpu.c checks exactly these. */
#define EMB_TARGET_AVX2 "avx2,fma,f16c"
#define EMB_TARGET_AVXVNNI "avx2,fma,f16c,avxvnni"
#define EMB_TARGET_AVX512 "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"
#define EMB_TARGET_AVX512VNNI "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"
#define EMB_TARGET_AMX EMB_TARGET_AVX512VNNI ",amx-tile,amx-int8"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMB_SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define EMB_SANITIZED
#endif
#if defined(EMB_ALWAYS_UNROLL)
#undef EMB_SANITIZED
#endif

/*
 * The address sanitizer keeps calls and loops: gcc 12 took a minute and half a
 * GB for one file of unrolled tiles with checks of every access. A file that
 * compiles easily, and is slow without unrolling, defines EMB_ALWAYS_UNROLL.
 */
#if defined(EMB_SANITIZED)
#define EMB_ALWAYS_INLINE __attribute__((unused)) static inline
#else
#define EMB_ALWAYS_INLINE static inline __attribute__((always_inline))
#endif

/* GCC and clang spell full unrolling of a loop of constant length differently. */
#if defined(EMB_SANITIZED)
#define EMB_UNROLL
#elif defined(__clang__)
#define EMB_UNROLL _Pragma("clang loop unroll(full)")
#else
#define EMB_UNROLL _Pragma("GCC unroll 16")
#endif

#endif
