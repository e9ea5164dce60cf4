/*
 * selftest.h
 *		Compares every kernel of an ISA level with scalar before the first
 *		use.
 */
#ifndef EMB_KERNELS_SELFTEST_H
#define EMB_KERNELS_SELFTEST_H

#include "kernels/kernels.h"

/* Name of the first operation whose bits differ from scalar's, or NULL. Under 1 ms. */
extern const char *emb_kernels_selftest(const EmbKernels *kernels, const EmbKernels *scalar);

#endif
