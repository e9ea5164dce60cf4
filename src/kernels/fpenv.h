/*
 * fpenv.h
 *		The floating-point environment of the core: round to nearest even,
 *		denormals kept, all exceptions masked.
 *
 * A library built with -ffast-math sets the flush-to-zero bits of the thread
 * that loads it. These bits change the last bits of every vector. So each
 * entry into the numeric part of the core sets the control register, and
 * restores the caller's value on return.
 *
 * Example:
 *
 *		EmbFpState	fp = emb_fp_enter();
 *		compute();
 *		emb_fp_leave(fp);
 *
 * The control register belongs to a thread: every thread enters for itself.
 * Calls may nest.
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
