/*
 * tiny_i8.h
 *		The int8 form of a tiny model, its weights rounded plainly, without
 *		smoothing.
 *
 *		TinyI8		q;
 *		quantize(&t, &q);
 *		emb_transformer_run(&q.transformer, ...);		until tiny_close(&t)
 */
#ifndef TINY_I8_H
#define TINY_I8_H

#include <math.h>

#include "tiny_bert.h"

typedef struct TinyI8
{
	EmbTransformer transformer;
	EmbLayer	layers[TINY_LAYERS_MAX];
} TinyI8;

/* Rounds the panels of an fp32 layer row by row. */
static EmbLinear
quantize_linear(Tiny *t, const EmbLinear *f, const float *factor)
{
	size_t		n_panels = emb_pack_f32_panels(f->n_out);
	int8_t	   *weight = tiny_own(t, aligned_alloc(64, (emb_pack_i8_bytes(f->n_out, f->n_in) + 63) / 64 * 64));
	float	   *scale = tiny_own(t, calloc(n_panels * EMB_PANEL, sizeof(float)));
	int32_t    *sums = tiny_own(t, calloc(n_panels * EMB_PANEL, sizeof(int32_t)));
	int8_t	   *rows = malloc((size_t) EMB_PANEL * f->n_in);

	for (size_t p = 0; p < n_panels; p++)
	{
		const float *panel = f->weight + p * f->n_in * EMB_PANEL;

		for (int r = 0; r < EMB_PANEL; r++)
		{
			float		m = 0;

			for (int32_t k = 0; k < f->n_in; k++)
				m = fmaxf(m, fabsf(panel[k * EMB_PANEL + r]));
			scale[p * EMB_PANEL + r] = m / 127;
			for (int32_t k = 0; k < f->n_in; k++)
			{
				rows[r * f->n_in + k] = m == 0 ? 0 : (int8_t) lrintf(panel[k * EMB_PANEL + r] * (127 / m));
				sums[p * EMB_PANEL + r] += rows[r * f->n_in + k];
			}
		}
		emb_pack_i8_panel(rows, EMB_PANEL, f->n_in, weight + p * emb_pack_i8_padded(f->n_in) * EMB_PANEL);
	}
	free(rows);
	return (EmbLinear) {.form = EMB_LINEAR_I8, .n_out = f->n_out, .n_in = f->n_in, .weight_i8 = weight,
		.scale = scale, .sums = sums, .bias = f->bias, .factor = factor};
}

/* Panels of a vector over outputs, or of tiles: gates and values by turns. */
static void *
pair_panels(Tiny *t, const void *panels, size_t n_panels, size_t panel_bytes)
{
	char	   *paired = tiny_own(t, aligned_alloc(64, (n_panels * panel_bytes + 63) / 64 * 64));

	for (size_t p = 0; p < n_panels; p++)
		memcpy(paired + (p < n_panels / 2 ? 2 * p : 2 * p - n_panels + 1) * panel_bytes, (const char *) panels + p * panel_bytes, panel_bytes);
	return paired;
}

/* The order of a GLU's outputs in quantized weights, see EmbGemmI8. */
static EmbLinear
pair_gates(Tiny *t, EmbLinear up)
{
	size_t		n_panels = emb_pack_f32_panels(up.n_out);

	if (!emb_arch_pairs_gates(&t->arch))
		return up;
	up.weight_i8 = pair_panels(t, up.weight_i8, n_panels, emb_pack_i8_bytes(EMB_PANEL, up.n_in));
	up.scale = pair_panels(t, up.scale, n_panels, EMB_PANEL * sizeof(float));
	up.sums = pair_panels(t, up.sums, n_panels, EMB_PANEL * sizeof(int32_t));
	up.bias = pair_panels(t, up.bias, n_panels, EMB_PANEL * sizeof(float));
	return up;
}

static float *
ones(Tiny *t, int32_t n)
{
	float	   *x = tiny_own(t, malloc(n * sizeof(float)));

	for (int32_t i = 0; i < n; i++)
		x[i] = 1;
	return x;
}

static void
quantize(Tiny *t, TinyI8 *q)
{
	const float *factor = ones(t, t->arch.hidden > t->arch.intermediate ? t->arch.hidden : t->arch.intermediate);

	q->transformer = t->transformer;
	q->transformer.layers = q->layers;
	for (int i = 0; i < t->arch.n_layers; i++)
	{
		const EmbLayer *f = &t->layers[i];

		q->layers[i] = (EmbLayer) {
			.query = quantize_linear(t, &f->query, factor),
			.key = quantize_linear(t, &f->key, factor),
			.value = quantize_linear(t, &f->value, factor),
			.attn_out = quantize_linear(t, &f->attn_out, NULL),
			.ffn_up = pair_gates(t, quantize_linear(t, &f->ffn_up, factor)),
			.ffn_down = quantize_linear(t, &f->ffn_down, factor),
			.attn_norm = f->attn_norm,
			.ffn_norm = f->ffn_norm,
			.query_norm = f->query_norm,
			.key_norm = f->key_norm
		};
	}
}

#endif
