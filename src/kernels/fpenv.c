/*
 * fpenv.c
 *		Sets and restores the floating-point control register.
 */
#include "kernels/fpenv.h"

#if defined(__x86_64__)

#include <xmmintrin.h>

/* The register at power-on: nearest, no FTZ, no DAZ, all six exceptions masked, no flags. */
#define MXCSR_DEFAULT 0x1F80

EmbFpState
emb_fp_enter(void)
{
	EmbFpState	state = {_mm_getcsr()};

	_mm_setcsr(MXCSR_DEFAULT);
	return state;
}

void
emb_fp_leave(EmbFpState state)
{
	_mm_setcsr((unsigned) state.saved);
}

#elif defined(__aarch64__)

/* FPCR 0: nearest, no FZ, no DN, no trapped exceptions. */
EmbFpState
emb_fp_enter(void)
{
	EmbFpState	state;

	__asm__ volatile ("mrs %0, fpcr" : "=r" (state.saved));
	__asm__ volatile ("msr fpcr, %0" : : "r" ((uint64_t) 0) : "memory");
	return state;
}

void
emb_fp_leave(EmbFpState state)
{
	__asm__ volatile ("msr fpcr, %0" : : "r" (state.saved) : "memory");
}

#else

#include <fenv.h>

EmbFpState
emb_fp_enter(void)
{
	EmbFpState	state = {(uint64_t) fegetround()};

	fesetround(FE_TONEAREST);
	return state;
}

void
emb_fp_leave(EmbFpState state)
{
	fesetround((int) state.saved);
}

#endif
