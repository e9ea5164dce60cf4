/*
 * router.c
 *		A layer of experts (Shazeer et al. 2017): each token passes a few of
 *		several feed-forward networks.
 *
 *	g = softmax(x R^T)
 *	y = b + sum of g_e (act(x Wu_e) Wd_e) over the experts_used experts with the largest g
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reference/matrices.h"

EmbRefExperts
emb_ref_experts(EmbRefRun *run, int32_t layer)
{
	const EmbArch *arch = run->arch;

	return (EmbRefExperts) {
		.router = emb_ref_linear(run, layer, EMB_PART_ROUTER, arch->n_experts, arch->hidden, false),
		.up = emb_ref_read_experts(run, layer, EMB_PART_EXPERT_UP, arch->intermediate, arch->hidden),
		.down = emb_ref_read_experts(run, layer, EMB_PART_EXPERT_DOWN, arch->hidden, arch->intermediate),
		.bias = emb_ref_read(run, layer, EMB_PART_EXPERT_BIAS, EMB_TENSOR_BIAS, 1, arch->hidden),
	};
}

/* gates [n_experts]: those of the chosen experts, 0 for the others. Of equal ones the first is chosen. */
static void
choose(const EmbArch *arch, const EmbRefExperts *experts, const float *x, double *gates)
{
	double		all[EMB_ARCH_MAX_EXPERTS];
	double		largest = -HUGE_VAL;
	double		sum = 0;

	for (int32_t e = 0; e < arch->n_experts; e++)
	{
		all[e] = emb_ref_dot(x, experts->router.weight + (size_t) e * arch->hidden, arch->hidden);
		largest = all[e] > largest ? all[e] : largest;
		gates[e] = 0;
	}
	for (int32_t e = 0; e < arch->n_experts; e++)
	{
		all[e] = exp(all[e] - largest);
		sum += all[e];
	}
	for (int32_t k = 0; k < arch->experts_used; k++)
	{
		int32_t		best = 0;

		for (int32_t e = 1; e < arch->n_experts; e++)
			best = all[e] > all[best] ? e : best;
		gates[best] = all[best] / sum;
		all[best] = -1;
	}
}

/* y += gate * expert(x) for the rows whose gate is not 0, one matrix product for all of them. */
static void
add_expert(const EmbRefRun *run, const EmbRefExperts *experts, int32_t e, int32_t n, const double *gates, const float *x,
		   float *rows, float *wide, float *y)
{
	const EmbArch *arch = run->arch;
	size_t		hidden = arch->hidden;
	EmbRefLinear up = {arch->intermediate, arch->hidden, experts->up + e * hidden * arch->intermediate, NULL};
	EmbRefLinear down = {arch->hidden, arch->intermediate, experts->down + e * hidden * arch->intermediate, NULL};
	int32_t		m = 0;

	for (int32_t i = 0; i < n; i++)
	{
		if (gates[i * arch->n_experts + e] != 0)
			memcpy(rows + m++ * hidden, x + i * hidden, hidden * sizeof(float));
	}
	if (m == 0)
		return;
	emb_ref_multiply(run, &up, m, rows, wide);
	emb_ref_activate(arch->activation, (int64_t) m * arch->intermediate, wide, run->n_threads);
	emb_ref_multiply(run, &down, m, wide, rows);
	m = 0;
	for (int32_t i = 0; i < n; i++)
	{
		double		gate = gates[i * arch->n_experts + e];

		for (size_t k = 0; gate != 0 && k < hidden; k++)
			y[i * hidden + k] += (float) (gate * rows[m * hidden + k]);
		m += gate != 0;
	}
}

void
emb_ref_run_experts(EmbRefRun *run, const EmbRefExperts *experts, int32_t n, const float *x, float *y)
{
	const EmbArch *arch = run->arch;
	int			mark = run->n_blocks;
	double	   *gates = (double *) emb_ref_take(run, 2 * (size_t) n, arch->n_experts);	/* twice as many floats */
	float	   *rows = emb_ref_take(run, n, arch->hidden);
	float	   *wide = emb_ref_take(run, n, arch->intermediate);

	for (int32_t i = 0; run->status == EMB_OK && i < n; i++)
	{
		choose(arch, experts, x + (size_t) i * arch->hidden, gates + i * arch->n_experts);
		memcpy(y + (size_t) i * arch->hidden, experts->bias, arch->hidden * sizeof(float));
	}
	for (int32_t e = 0; run->status == EMB_OK && e < arch->n_experts; e++)
		add_expert(run, experts, e, n, gates, x, rows, wide, y);
	emb_ref_release(run, mark);
}
