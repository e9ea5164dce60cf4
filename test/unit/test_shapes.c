/*
 * test_shapes.c
 *		Models in their true shapes, without weights: what their images take,
 *		by the plan, and what a call takes beside the image.
 */
#include <string.h>

#include "unit.h"

#include "common/arch.h"
#include "image/image.h"
#include "transformer/pass.h"

#define MEGABYTE	1000000.0

/* Blocks of the tokenizers of BERT (30,522 pieces) and of Qwen3 (151,669), rounded up. */
#define BERT_TOKENIZER_BYTES	2000000
#define QWEN_TOKENIZER_BYTES	22000000

/* Texts, hidden vectors and their hashes; a bound. */
#define REFERENCE_BYTES			500000

/* bge-large-en */
static EmbArch
bert_large(void)
{
	EmbArch		arch = emb_arch_encoder();

	strcpy(arch.family, "bert");
	arch.hidden = 1024;
	arch.n_layers = 24;
	emb_arch_set_heads(&arch, 16);
	arch.intermediate = 4096;
	arch.n_vocab = 30522;
	arch.n_positions = 512;
	arch.n_types = 2;
	arch.activation = EMB_ACT_GELU;
	arch.norm_eps = 1e-12f;
	return arch;
}

/* Qwen3-Reranker-0.6B, or -8B */
static EmbArch
qwen3(int32_t hidden, int32_t n_layers, int32_t n_heads, int32_t intermediate)
{
	EmbArch		arch = emb_arch_encoder();

	strcpy(arch.family, "qwen3");
	arch.hidden = hidden;
	arch.n_layers = n_layers;
	arch.n_heads = n_heads;
	arch.n_kv_heads = 8;
	arch.head_size = 128;
	arch.intermediate = intermediate;
	arch.n_vocab = 151669;
	arch.n_positions = 8192;
	arch.activation = EMB_ACT_SILU;
	arch.is_gated = 1;
	arch.norm_kind = EMB_NORM_RMS;
	arch.norm_place = EMB_NORM_PRE;
	arch.norm_eps = 1e-6f;
	arch.has_embedding_norm = 0;
	arch.has_qk_norm = 1;
	arch.is_causal = 1;
	arch.positions = EMB_POSITIONS_ROTARY;
	arch.rotary_base = 1e6;
	arch.rotary_scale = 1;
	arch.pooling = EMB_POOL_LAST;
	arch.head = EMB_HEAD_ANSWER;
	arch.n_labels = 2;
	return arch;
}

static double
image_bytes(const EmbArch *arch, EmbImagePrecision precision, uint32_t keep, size_t tokenizer_bytes)
{
	EmbImageParts parts = {
		.arch = *arch,
		.config = {.precision = precision, .max_tokens = arch->n_positions, .max_chars = 1 << 20},
		.strings_bytes = 1000,
		.tokenizer_bytes = tokenizer_bytes,
		.reference_bytes = REFERENCE_BYTES
	};
	EmbError	err;

	if (precision == EMB_PRECISION_INT4)
	{
		parts.config.group = 128;
		parts.config.scale_type = EMB_SCALE_F16;
		parts.config.keep_int8 = keep;
	}
	CHECKF(emb_arch_check(arch, &err) == EMB_OK, "%s", err.message);
	return (double) emb_image_planned_bytes(&parts);
}

static void
test_images(void)
{
	EmbArch		large = bert_large();
	EmbArch		small_qwen = qwen3(1024, 28, 16, 3072);
	EmbArch		large_qwen = qwen3(4096, 36, 32, 12288);
	double		exact = image_bytes(&large, EMB_PRECISION_FP32, 0, BERT_TOKENIZER_BYTES);
	double		default_i4 = image_bytes(&large, EMB_PRECISION_INT4, EMB_KEEP_ATTENTION, BERT_TOKENIZER_BYTES);
	double		all_i4 = image_bytes(&large, EMB_PRECISION_INT4, EMB_KEEP_NONE, BERT_TOKENIZER_BYTES);
	double		size;

	CHECKF(exact > 1330 * MEGABYTE && exact < 1370 * MEGABYTE, "bge-large in fp32: %.0f MB", exact / MEGABYTE);
	CHECKF(default_i4 <= 0.20 * exact, "bge-large in int4, attention in int8: %.1f MB, %.1f %%", default_i4 / MEGABYTE, 100 * default_i4 / exact);
	CHECKF(all_i4 < default_i4 && all_i4 <= 0.16 * exact, "bge-large in int4: %.1f MB, %.1f %%", all_i4 / MEGABYTE, 100 * all_i4 / exact);
	size = image_bytes(&large_qwen, EMB_PRECISION_INT4, EMB_KEEP_NONE, QWEN_TOKENIZER_BYTES);
	CHECKF(size <= 4300 * MEGABYTE, "Qwen3-Reranker-8B in int4: %.1f MB", size / MEGABYTE);
	printf("# Qwen3-Reranker-8B in int4: %.1f MB\n", size / MEGABYTE);
	size = image_bytes(&small_qwen, EMB_PRECISION_INT4, EMB_KEEP_NONE, QWEN_TOKENIZER_BYTES);
	CHECKF(size <= 418 * MEGABYTE, "Qwen3-Reranker-0.6B in int4: %.1f MB", size / MEGABYTE);
	printf("# Qwen3-Reranker-0.6B in int4: %.1f MB\n", size / MEGABYTE);
	size = image_bytes(&small_qwen, EMB_PRECISION_INT8, 0, QWEN_TOKENIZER_BYTES);
	CHECKF(size <= 630 * MEGABYTE, "Qwen3-Reranker-0.6B in int8: %.1f MB", size / MEGABYTE);
}

/* A call's memory beside the image: Qwen3-Reranker-0.6B in int8, a text of 2,048 tokens; 40 MB are promised. */
static void
test_scratch(void)
{
	static EmbLayer layers[28];
	EmbArch		arch = qwen3(1024, 28, 16, 3072);
	EmbTransformer transformer = {.arch = &arch, .layers = layers};
	static EmbPass pass;
	double		one;
	double		two;
	double		longest;

	for (int i = 0; i < 28; i++)
		layers[i].query.form = layers[i].key.form = layers[i].value.form = layers[i].attn_out.form = layers[i].ffn_up.form =
			layers[i].ffn_down.form = EMB_LINEAR_I8;
	one = (double) emb_pass_lay_out(&pass, &transformer, 2048, 2048, 1, NULL);
	two = (double) emb_pass_lay_out(&pass, &transformer, 2048, 2048, 2, NULL);
	longest = (double) emb_pass_lay_out(&pass, &transformer, 8192, 8192, 1, NULL);
	CHECKF(one > 15 * MEGABYTE && one <= 30 * MEGABYTE, "2,048 tokens, one thread: %.1f MB", one / MEGABYTE);
	CHECKF(two <= 32 * MEGABYTE, "2,048 tokens, two threads: %.1f MB", two / MEGABYTE);
	CHECKF(longest <= 4 * one, "8,192 tokens: %.1f MB", longest / MEGABYTE);
}

int
main(void)
{
	test_images();
	test_scratch();
	return done_testing();
}
