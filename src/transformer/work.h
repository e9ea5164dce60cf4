/*
 * work.h
 *		Matrix products in pieces, with polls of the stop callback between the
 *		pieces.
 *
 * An ISA level defines the number of multiply-adds in a piece (well under 10
 * ms). All costly work is charged in multiply-adds. After a piece is used up,
 * the stop callback is polled.
 *
 * Example:
 *
 *		EmbWork	work;
 *		if (!emb_work_begin(&work, kernels, stop, &stopped) ||
 *			!emb_work_multiply(&work, &gemm, kernels->gelu_f32))
 *			return EMB_ERR_CANCELLED;
 */
#ifndef EMB_TRANSFORMER_WORK_H
#define EMB_TRANSFORMER_WORK_H

#include <stdatomic.h>

#include "common/mem.h"
#include "transformer/transformer.h"
#include "kernels/kernels.h"

/*
 * One thread's account. The caller's account polls the callback, the accounts
 * of worker threads read the result.
 */
typedef struct EmbWork
{
	const EmbKernels *kernels;
	const EmbStop *stop;		/* NULL for a worker thread */
	_Atomic bool *stopped;		/* shared by the threads of a call */
	int64_t		macs_left;		/* until the next poll */
} EmbWork;

/* An activation of the kernels, in place over n elements. */
typedef void (*EmbActivate) (float *x, int32_t n);

/* NULL: there is no such activation. */
extern EmbActivate emb_work_activation(const EmbKernels *kernels, EmbActivation activation);

/* Polls once. False: stop now. */
extern bool emb_work_begin(EmbWork *work, const EmbKernels *kernels, const EmbStop *stop, _Atomic bool *stopped);

/* Charges n_macs, which should not be much larger than a piece. False: stop now. */
extern bool emb_work_spend(EmbWork *work, int64_t n_macs);

/*
 * The product g as kernels.h defines it, then activate (or NULL) over all
 * columns. False: stopped, and C is incomplete.
 */
extern bool emb_work_multiply(EmbWork *work, const EmbGemmF32 *g, EmbActivate activate);

/* The same in int8. */
extern bool emb_work_multiply_i8(EmbWork *work, const EmbGemmI8 *g);

/* And with scales by groups. */
extern bool emb_work_multiply_grouped(EmbWork *work, const EmbGemmGrouped *g);

#endif
