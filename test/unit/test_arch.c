/*
 * test_arch.c
 *		Architectures: plain ones pass, what is not computed is refused with a
 *		hint, nonsense is refused; keys of tensors; the plan of an image.
 */
#include <string.h>

#include <math.h>

#include "unit.h"

#include "common/arch.h"
#include "common/parts.h"
#include "image/image.h"

static EmbArch
small_encoder(void)
{
	EmbArch		arch = emb_arch_encoder();

	strcpy(arch.family, "bert");
	arch.hidden = 32;
	arch.n_layers = 4;
	emb_arch_set_heads(&arch, 4);
	arch.intermediate = 40;
	arch.n_vocab = 100;
	arch.n_positions = 64;
	arch.activation = EMB_ACT_GELU;
	arch.norm_eps = 1e-12f;
	return arch;
}

/* As Qwen3. */
static EmbArch
small_decoder(void)
{
	EmbArch		arch = small_encoder();

	strcpy(arch.family, "qwen3");
	arch.n_kv_heads = 2;
	arch.head_size = 16;
	arch.is_gated = 1;
	arch.activation = EMB_ACT_SILU;
	arch.norm_kind = EMB_NORM_RMS;
	arch.norm_place = EMB_NORM_PRE;
	arch.has_embedding_norm = 0;
	arch.has_qk_norm = 1;
	arch.is_causal = 1;
	arch.positions = EMB_POSITIONS_ROTARY;
	arch.rotary_base = 1e6;
	arch.rotary_scale = 1;
	arch.pooling = EMB_POOL_LAST;
	return arch;
}

static void
check_status(const char *what, const EmbArch *arch, EmbStatus expected, const char *words)
{
	EmbError	err = {0};
	EmbStatus	status = emb_arch_check(arch, &err);

	CHECKF(status == expected && strstr(err.message, words) != NULL, "%s: status %d, \"%s\"", what, (int) status, err.message);
	if (expected == EMB_ERR_UNSUPPORTED)
		CHECKF(err.hint[0] != '\0', "%s: no hint", what);
}

static void
test_checks(void)
{
	EmbArch		arch = small_encoder();

	check_status("an encoder", &arch, EMB_OK, "");
	arch = emb_arch_static();
	check_status("without a family", &arch, EMB_ERR_FORMAT, "family");
	strcpy(arch.family, "model2vec");
	check_status("without sizes", &arch, EMB_ERR_FORMAT, "hidden size");
	arch.hidden = arch.n_vocab = 7;
	check_status("a static model", &arch, EMB_OK, "");
	CHECK(emb_arch_min_tokens(&arch) == 0);
	arch.n_heads = 1;
	check_status("a static model with heads", &arch, EMB_ERR_FORMAT, "head count");

}

static void
test_decoders(void)
{
	EmbArch		arch = small_decoder();

	check_status("a decoder", &arch, EMB_OK, "");
	CHECK(emb_arch_query_width(&arch) == 64 && emb_arch_key_width(&arch) == 32 && emb_arch_group(&arch) == 2);
	arch.n_kv_heads = 3;
	check_status("heads that do not divide", &arch, EMB_ERR_FORMAT, "multiple");
	arch.n_kv_heads = 2;
	arch.head_size = 7;
	check_status("an odd head", &arch, EMB_ERR_FORMAT, "odd");
	arch.n_heads = arch.n_kv_heads = 16384;
	arch.head_size = 16384;
	check_status("too much attention", &arch, EMB_ERR_FORMAT, "65536");
	arch = small_decoder();
	arch.norm_kind = EMB_NORM_LAYER;
	check_status("layer norms of heads", &arch, EMB_ERR_UNSUPPORTED, "query and key norms");
	arch = small_decoder();
	arch.window = 64;
	arch.global_every = 3;
	arch.rotary_local_base = 1e4;
	check_status("a causal window", &arch, EMB_OK, "");
	arch.norm_place = EMB_NORM_AROUND;
	check_status("norms of what is added", &arch, EMB_OK, "");
	arch = small_decoder();
	arch.positions = EMB_POSITIONS_ABSOLUTE | EMB_POSITIONS_RELATIVE;
	arch.rotary_base = arch.rotary_scale = 0;
	check_status("a causal bias", &arch, EMB_ERR_UNSUPPORTED, "relative position bias");
	arch = small_decoder();
	arch.head = EMB_HEAD_ANSWER;
	check_status("no answers", &arch, EMB_ERR_FORMAT, "label count");
	arch.n_labels = 3;
	check_status("three answers", &arch, EMB_ERR_FORMAT, "label count");
	arch.n_labels = 2;
	check_status("two answers", &arch, EMB_OK, "");
	arch.head_activation = EMB_ACT_TANH;
	check_status("an answer with an activation", &arch, EMB_ERR_FORMAT, "head's activation");
	arch.head = EMB_HEAD_SCORE;
	arch.head_has_norm = 1;
	arch.n_labels = 1;
	check_status("a score head with a norm", &arch, EMB_ERR_UNSUPPORTED, "RMS norm");
}

static void
test_windows(void)
{
	EmbArch		arch = small_encoder();

	CHECK(!emb_arch_is_local(&arch, 0) && !emb_arch_is_local(&arch, 3));
	arch.window = 64;
	arch.global_every = 3;
	CHECK(!emb_arch_is_local(&arch, 0) && emb_arch_is_local(&arch, 1) && emb_arch_is_local(&arch, 2) && !emb_arch_is_local(&arch, 3));
	arch.global_first = 2;
	CHECK(emb_arch_is_local(&arch, 0) && emb_arch_is_local(&arch, 1) && !emb_arch_is_local(&arch, 2) && emb_arch_is_local(&arch, 3));
}

/* ALiBi: against the power, and the numbers of the paper for 8 heads; what it cannot be combined with. */
static void
test_slopes(void)
{
	EmbArch		arch = small_encoder();

	for (int32_t n = 1; n <= 64; n++)
	{
		int32_t		power = 1;

		while (2 * power <= n)
			power *= 2;
		arch.n_heads = n;
		for (int32_t i = 0; i < n; i++)
		{
			double		want = i < power ? pow(2, -8.0 * (i + 1) / power) : pow(2, -8.0 * (2 * (i - power) + 1) / (2 * power));

			CHECKF(fabs(emb_arch_slope(&arch, i) / want - 1) < 1e-7, "%d heads: slope %d is %g, not %g", n, i, (double) emb_arch_slope(&arch, i), want);
		}
	}
	arch.n_heads = 8;
	CHECK(emb_arch_slope(&arch, 0) == 0.5f && emb_arch_slope(&arch, 7) == 0.00390625f);
	arch = small_encoder();
	arch.positions = EMB_POSITIONS_ALIBI;
	check_status("ALiBi", &arch, EMB_OK, "");
	arch.is_causal = 1;
	check_status("causal ALiBi", &arch, EMB_ERR_UNSUPPORTED, "ALiBi");
	arch.is_causal = 0;
	arch.n_kv_heads = 1;
	check_status("ALiBi with shared heads", &arch, EMB_ERR_UNSUPPORTED, "shared key heads");
	arch.n_kv_heads = arch.n_heads;
	arch.positions = EMB_POSITIONS_ALIBI | EMB_POSITIONS_ABSOLUTE;
	check_status("ALiBi beside a table", &arch, EMB_ERR_UNSUPPORTED, "ALiBi");
}

static void
test_names(void)
{
	char		name[64];

	CHECK(strcmp(emb_tensor_name((EmbTensorKey) {3, EMB_PART_FFN_DOWN, EMB_TENSOR_BIAS}, name, sizeof(name)), "layer.3.ffn_down.bias") == 0);
	CHECK(strcmp(emb_tensor_name((EmbTensorKey) {EMB_NO_LAYER, EMB_PART_WORDS, EMB_TENSOR_TABLE}, name, sizeof(name)), "words.table") == 0);
	CHECK(strcmp(emb_tensor_name((EmbTensorKey) {0, 999, 99}, name, sizeof(name)), "layer.0.?.?") == 0);
}

/* Ascending by layer, aligned, without gaps but the padding; each key once. */
static void
test_plan(const EmbArch *arch, EmbImagePrecision precision, uint32_t n_expected)
{
	EmbImageTensor plan[256];
	EmbImageConfig config = {.precision = precision};
	uint32_t	n = emb_image_plan(arch, &config, NULL);
	uint64_t	end = 0;

	if (!CHECKF(n == n_expected, "%u tensors", n))
		return;
	CHECK(emb_image_plan(arch, &config, plan) == n);
	for (uint32_t i = 0; i < n; i++)
	{
		char		name[64];

		emb_tensor_name(plan[i].key, name, sizeof(name));
		CHECKF(plan[i].offset == end && end % EMB_ALIGNMENT == 0 && plan[i].size_bytes > 0 && strchr(name, '?') == NULL, "%s", name);
		end = emb_image_align(plan[i].offset + plan[i].size_bytes);
		if (i > 0)
			CHECKF(plan[i].key.layer >= plan[i - 1].key.layer && memcmp(&plan[i].key, &plan[i - 1].key, sizeof(EmbTensorKey)) != 0,
				   "%s", name);
	}
}

/* Buckets of distances -1500 .. 1500, as make_log_bucket_position of transformers 5.23 has them (a hash of them). */
static void
test_buckets(void)
{
	static const struct
	{
		int32_t		span,
					max;
		uint32_t	hash;
	}			known[] = {{256, 512, 3415076479u}, {32, 512, 3738024991u}, {8, 64, 125776839u}};
	EmbArch		arch = small_encoder();

	arch.positions = EMB_POSITIONS_DISENTANGLED;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		uint32_t	hash = 0;

		arch.relative_span = known[i].span;
		arch.relative_max = known[i].max;
		CHECK(emb_arch_check(&arch, NULL) == EMB_OK);
		for (int32_t n = -1500; n <= 1500; n++)
			hash = hash * 31 + (uint32_t) emb_arch_bucket(&arch, n);
		CHECKF(hash == known[i].hash, "span %d, largest distance %d: %u", known[i].span, known[i].max, hash);
	}
	/* without buckets each distance has its own, cut at the ends */
	arch.relative_max = 0;
	CHECK(emb_arch_bucket(&arch, 0) == 8 && emb_arch_bucket(&arch, 7) == 15 && emb_arch_bucket(&arch, 8) == 15 && emb_arch_bucket(&arch, -8) == 0 &&
		  emb_arch_bucket(&arch, -9) == 0);
	arch.relative_max = 5;
	CHECK(emb_arch_check(&arch, NULL) == EMB_ERR_FORMAT);
	arch.relative_max = 64;
	arch.is_causal = 1;
	CHECK(emb_arch_check(&arch, NULL) == EMB_ERR_UNSUPPORTED);
	arch.is_causal = 0;
	arch.positions |= EMB_POSITIONS_ABSOLUTE;
	CHECK(emb_arch_check(&arch, NULL) == EMB_ERR_UNSUPPORTED);
	arch.positions = EMB_POSITIONS_ABSOLUTE;
	CHECK(emb_arch_check(&arch, NULL) == EMB_ERR_FORMAT);
}

int
main(void)
{
	EmbArch		arch = small_encoder();

	test_checks();
	test_decoders();
	test_windows();
	test_slopes();
	test_buckets();
	test_names();
	/* words, positions, the norm's two; a layer: six linear layers with biases, two norms */
	test_plan(&arch, EMB_PRECISION_FP32, 4 + 4 * (6 * 2 + 2 * 2));
	/* scale and factor of the words; of a layer scales and sums of six, factors of three inputs */
	test_plan(&arch, EMB_PRECISION_INT8, 6 + 4 * (6 * 4 + 3 + 2 * 2));
	/* a matrix with a bias */
	arch.embedding_size = 20;
	test_plan(&arch, EMB_PRECISION_FP32, 6 + 4 * (6 * 2 + 2 * 2));
	arch.embedding_size = 0;
	/* pre-norm: a final norm, and none in layer 0 */
	arch.norm_place = EMB_NORM_PRE;
	arch.has_first_norm = 0;
	test_plan(&arch, EMB_PRECISION_FP32, 6 + 4 * (6 * 2 + 2 * 2) - 2);
	/* words, angles, the final norm's gamma, answers; a layer: as above, but norms without beta, and two of heads */
	arch = small_decoder();
	arch.head = EMB_HEAD_ANSWER;
	arch.n_labels = 2;
	test_plan(&arch, EMB_PRECISION_FP32, 4 + 4 * (6 * 2 + 2 + 2));
	test_plan(&arch, EMB_PRECISION_INT8, 6 + 4 * (6 * 4 + 3 + 2 + 2));
	/* two more norms a layer */
	arch.norm_place = EMB_NORM_AROUND;
	test_plan(&arch, EMB_PRECISION_FP32, 4 + 4 * (6 * 2 + 4 + 2));
	arch = emb_arch_static();
	arch.hidden = arch.n_vocab = 7;
	test_plan(&arch, EMB_PRECISION_INT8, 3);
	return done_testing();
}
