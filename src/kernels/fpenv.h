/*
 * fpenv.h
 *		The floating-point environment of the core: round to nearest even,
 *		denormals kept, all exceptions masked.
 *
 * A library built with -ffast-math flips the flush-to-zero bits of the thread
 * that loads it, and with them the last bits of every vector. So each entry
 * into the numeric part of the core sets the control register and puts the
 * caller's back on the way out.
 *
 * Example:
 *
 *		EmbFpState	fp = emb_fp_enter();
 *		compute();
 *		emb_fp_leave(fp);
 *
 * The control register is per thread: every thread enters for itself. Nesting
 * is fine.
 */
#ifndef EMB_KERNELS_FPENV_H
#define EMB_KERNELS_FPENV_H

#include <stdint.h>

typedef struct EmbFpState
{
	uint64_t	saved;			/* MXCSR, FPCR, or a rounding mode */
} EmbFpState;

extern EmbFpState emb_fp_enter(void);
extern void emb_fp_leave(EmbFpState state);

#endif
