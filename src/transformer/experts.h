/*
 * experts.h
 *		Layers whose feed-forward network is several, among which a router
 *		chooses (emb_arch_has_experts).
 */
#ifndef EMB_TRANSFORMER_EXPERTS_H
#define EMB_TRANSFORMER_EXPERTS_H

#include "transformer/linear.h"

/*
 * The experts_used experts of a row x [hidden], the one with the largest logit
 * first, and their shares. router: [n_experts, hidden]. chosen and shares:
 * [experts_used].
 */
extern void emb_experts_route(const EmbKernels *kernels, const EmbArch *arch, const float *router, const float *x,
							  uint8_t *chosen, float *shares);

/* c->w->sum = the experts' outputs for the block's rows of x, whose stride is the pass's. False: stopped. */
extern bool emb_experts(const EmbBlock *c, const float *x);

#endif
