/*
 * experts.c
 *		Several feed-forward networks in the place of one (Shazeer et al. 2017;
 *		Fedus et al. 2022): a router gives each token to a few of them.
 *
 *		g = softmax(x R^T)								fp32 in every image
 *		y = b + sum over the experts e of x, ascending, of g_e expert_e(x)
 *
 * The experts of a token are those with the largest logits, of equal ones the
 * first. Their g are those of the softmax over all experts.
 *
 * A block's tokens are gathered by expert, so that its weights pass through
 * the caches once for all of them. A token's bits do not depend on its
 * neighbours: products and codes are those of a row, and a row's sum has the
 * order of the experts.
 */
#include "transformer/experts.h"

#include <string.h>

void
emb_experts_route(const EmbKernels *kernels, const EmbArch *arch, const float *router, const float *x, uint8_t *chosen, float *shares)
{
	float		logits[EMB_ARCH_MAX_EXPERTS];
	float		weights[EMB_ARCH_MAX_EXPERTS];
	float		sum;

	for (int32_t e = 0; e < arch->n_experts; e++)
		logits[e] = weights[e] = kernels->dot_f32(x, router + (size_t) e * arch->hidden, arch->hidden);
	sum = kernels->softmax_f32(weights, arch->n_experts, 1);
	for (int32_t k = 0; k < arch->experts_used; k++)
	{
		int32_t		best = -1;

		for (int32_t e = 0; e < arch->n_experts; e++)
		{
			bool		is_taken = false;

			for (int32_t i = 0; i < k; i++)
				is_taken |= chosen[i] == e;
			/* a NaN is larger than nothing, but somebody must be chosen */
			if (!is_taken && (best < 0 || logits[e] > logits[best]))
				best = e;
		}
		chosen[k] = (uint8_t) best;
		shares[k] = weights[best] / sum;
	}
}

/* Fills w->chosen and w->shares for the block's rows. */
static bool
route(const EmbBlock *c, const float *x)
{
	const EmbArch *arch = c->pass->arch;

	for (int32_t i = 0; i < c->n_rows; i++)
	{
		size_t		at = (size_t) i * arch->experts_used;

		emb_experts_route(c->pass->kernels, arch, c->l->router, x + i * c->pass->stride, c->w->chosen + at, c->w->shares + at);
		if (!emb_work_spend(&c->w->work, arch->n_experts * ((int64_t) arch->hidden + 64)))
			return false;
	}
	return true;
}

/* The next rows of an expert, from row *at on, as many as fit: their numbers and shares. */
static int32_t
gather(const EmbBlock *c, const float *x, int32_t expert, int32_t *at, int32_t *rows, float *shares)
{
	const EmbPass *pass = c->pass;
	int32_t		n_used = pass->arch->experts_used;
	int32_t		n = 0;

	for (; *at < c->n_rows && n < pass->block_rows; (*at)++)
	{
		for (int32_t k = 0; k < n_used; k++)
		{
			if (c->w->chosen[*at * n_used + k] != expert)
				continue;
			memcpy(c->w->gathered + n * pass->stride, x + *at * pass->stride, pass->stride * sizeof(float));
			rows[n] = *at;
			shares[n++] = c->w->shares[*at * n_used + k];
		}
	}
	return n;
}

/* sum += share * expert(x) for rows of the block that were gathered. */
static bool
add_expert(const EmbBlock *c, const EmbExpert *expert, const int32_t *rows, const float *shares, int32_t n)
{
	EmbPass    *pass = c->pass;
	EmbWorker  *w = c->w;
	EmbBlock	own = *c;
	EmbInput	in = {w->gathered, pass->stride, w->q_in, pass->q_stride};

	own.n_rows = n;
	if (!emb_linear_prepare(&own, &expert->up, &in) ||
		!emb_ffn(&own, &expert->up, &expert->down, &in, w->expert_out, pass->stride))
		return false;
	for (int32_t i = 0; i < n; i++)
		pass->kernels->muladd_f32(w->sum + rows[i] * pass->stride, w->expert_out + i * pass->stride, pass->arch->hidden, shares[i]);
	return emb_work_spend(&w->work, 4 * (int64_t) n * pass->arch->hidden);
}

bool
emb_experts(const EmbBlock *c, const float *x)
{
	EmbPass    *pass = c->pass;
	const EmbArch *arch = pass->arch;
	int32_t		rows[EMB_PASS_BLOCK_ROWS_MAX];
	float		shares[EMB_PASS_BLOCK_ROWS_MAX];

	if (!route(c, x))
		return false;
	for (int32_t i = 0; i < c->n_rows; i++)
		memset(c->w->sum + i * pass->stride, 0, pass->stride * sizeof(float));
	for (int32_t e = 0; e < arch->n_experts; e++)
	{
		int32_t		at = 0;

		while (at < c->n_rows)
		{
			int32_t		n = gather(c, x, e, &at, rows, shares);

			if (!emb_work_spend(&c->w->work, (int64_t) n * arch->hidden + c->n_rows) ||
				(n > 0 && !add_expert(c, &c->l->experts[e], rows, shares, n)))
				return false;
		}
	}
	for (int32_t i = 0; i < c->n_rows; i++)
		pass->kernels->add_f32(c->w->sum + i * pass->stride, c->l->expert_bias, arch->hidden);
	return emb_work_spend(&c->w->work, 4 * (int64_t) c->n_rows * arch->hidden);
}
