/*
 * prefix.c
 *		The memory of a prefix. batch.c computes it.
 */
#include "transformer/prefix.h"

#include <string.h>

#include "transformer/pass.h"

bool
emb_prefix_is_possible(const EmbArch *arch)
{
	return arch->n_layers > 0 && arch->is_causal && arch->pooling == EMB_POOL_LAST && arch->n_types == 0 &&
		arch->position_base == 0;
}

static void
lay_out_heads(const EmbArch *arch, int32_t n_tokens, EmbHeadCodes *heads, char *base, size_t *at)
{
	heads->n_heads = arch->n_kv_heads;
	heads->stride = arch->n_kv_heads * emb_round_up(arch->head_size, EMB_GROUP);
	heads->codes = emb_reserve(base, at, n_tokens * heads->stride);
	heads->scale_stride = n_tokens;
	heads->scales = emb_reserve(base, at, heads->scale_stride * heads->n_heads * sizeof(float));
}

static size_t
row_bytes(const EmbArch *arch)
{
	return emb_round_up(emb_arch_key_width(arch), EMB_PANEL) * sizeof(float);
}

static size_t
lay_out(const EmbTransformer *transformer, int32_t n_tokens, EmbPrefix *prefix, char *base)
{
	const EmbArch *arch = transformer->arch;
	size_t		at = emb_round_up(sizeof(EmbPrefix) + arch->n_layers * sizeof(EmbKeysValues), EMB_ALIGNMENT);

	for (int32_t i = 0; i < arch->n_layers; i++)
	{
		EmbKeysValues keys = {0};

		if (emb_layer_attends_f32(transformer, i))
		{
			keys.k = emb_reserve(base, &at, n_tokens * row_bytes(arch));
			keys.v = emb_reserve(base, &at, n_tokens * row_bytes(arch));
		}
		else
		{
			lay_out_heads(arch, n_tokens, &keys.k_heads, base, &at);
			lay_out_heads(arch, n_tokens, &keys.v_heads, base, &at);
		}
		if (prefix != NULL)
			prefix->layers[i] = keys;
	}
	return at;
}

size_t
emb_prefix_bytes(const EmbTransformer *transformer, int32_t n_tokens)
{
	return lay_out(transformer, n_tokens, NULL, NULL);
}

EmbPrefix *
emb_prefix_create(const EmbTransformer *transformer, int32_t n_room, const EmbAllocator *mem)
{
	EmbPrefix  *prefix = emb_alloc(mem, emb_prefix_bytes(transformer, n_room));

	if (prefix == NULL)
		return NULL;
	prefix->n_tokens = 0;
	prefix->n_room = n_room;
	lay_out(transformer, n_room, prefix, (char *) prefix);
	return prefix;
}

void
emb_prefix_free(const EmbAllocator *mem, EmbPrefix *prefix)
{
	emb_release(mem, prefix);
}

static void
copy_heads(const EmbHeadCodes *to, const EmbHeadCodes *from, int32_t n)
{
	memcpy(to->codes, from->codes, n * from->stride);
	for (int32_t head = 0; head < from->n_heads; head++)
		memcpy(to->scales + head * to->scale_stride, from->scales + head * from->scale_stride, n * sizeof(float));
}

void
emb_prefix_copy(const EmbTransformer *transformer, EmbPrefix *to, const EmbPrefix *from, int32_t n)
{
	const EmbArch *arch = transformer->arch;

	to->n_tokens = n;
	for (int32_t i = 0; i < arch->n_layers; i++)
	{
		const EmbKeysValues *a = &to->layers[i];
		const EmbKeysValues *b = &from->layers[i];

		if (a->k != NULL)
		{
			memcpy(a->k, b->k, n * row_bytes(arch));
			memcpy(a->v, b->v, n * row_bytes(arch));
		}
		else
		{
			copy_heads(&a->k_heads, &b->k_heads, n);
			copy_heads(&a->v_heads, &b->v_heads, n);
		}
	}
}
