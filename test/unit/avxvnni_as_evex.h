/*
 * avxvnni_as_evex.h
 *		Compiles kernels of AVX-VNNI with vpdpbusd in the encoding of AVX-512:
 *		the machines that have one often lack the other. Include it before the
 *		kernel, under a name of the test's own:
 *
 *		#define emb_gemm_i8_avxvnni emb_gemm_i8_evex
 *		extern emb_op_gemm_i8 emb_gemm_i8_evex;
 *		#include "kernels/gemm_i8_avxvnni.c"
 *		#undef emb_gemm_i8_avxvnni
 */
#ifndef AVXVNNI_AS_EVEX_H
#define AVXVNNI_AS_EVEX_H

#include <immintrin.h>

#include "kernels/declare.h"
#include "kernels/target.h"

#undef EMB_COMPILER_HAS_AVXVNNI
#define EMB_COMPILER_HAS_AVXVNNI 1
#undef EMB_TARGET_AVXVNNI
#define EMB_TARGET_AVXVNNI EMB_TARGET_AVX512VNNI
#define _mm256_dpbusd_avx_epi32 _mm256_dpbusd_epi32

#endif
