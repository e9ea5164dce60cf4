/*
 * test_experts.c
 *		Layers of experts: the router's choice, images of such a model, and
 *		equal bits on every level and in every batch.
 */
#include <math.h>

#include "kernels/kernels.h"
#include "model/model.h"
#include "transformer/experts.h"
#include "model_util.h"

#define N_TEXTS		40
#define MAX_IDS		400

static Image images[3];
static const char *const precisions[] = {"fp32", "int8", "int4"};

/* --------------------------------------------------------------- routing */

/* Rows of the router are those of a unit matrix, so that logits are the row's elements. */
static void
route(const float *x, int32_t n, int32_t used, uint8_t *chosen, float *shares)
{
	EmbArch		arch = {.hidden = n, .n_experts = n, .experts_used = used};
	float		router[EMB_ARCH_MAX_EXPERTS * EMB_ARCH_MAX_EXPERTS] = {0};

	for (int32_t e = 0; e < n; e++)
		router[e * n + e] = 1;
	emb_experts_route(emb_kernels(), &arch, router, x, chosen, shares);
}

static void
test_choice(void)
{
	const float x[] = {1, 3, -2, 3, 0.5f};
	const float equal[] = {7, 7, 7, 7};
	uint8_t		chosen[EMB_ARCH_MAX_EXPERTS];
	float		shares[EMB_ARCH_MAX_EXPERTS];
	double		sum = 0;

	for (int i = 0; i < 5; i++)
		sum += exp(x[i]);
	route(x, 5, 3, chosen, shares);
	CHECK(chosen[0] == 1 && chosen[1] == 3 && chosen[2] == 0);
	/* of all experts, not of the chosen ones */
	CHECK(fabs(shares[0] - exp(3) / sum) < 1e-6 && shares[1] == shares[0] && fabs(shares[2] - exp(1) / sum) < 1e-6);
	route(equal, 4, 2, chosen, shares);
	CHECK(chosen[0] == 0 && chosen[1] == 1 && shares[0] == 0.25f && shares[1] == 0.25f);
	route(equal, 4, 4, chosen, shares);
	for (int i = 0; i < 4; i++)
		CHECK(chosen[i] == i);
}

/* Whatever a damaged model computes: each number is an expert's, and none comes twice. */
static void
test_not_finite(void)
{
	const float rows[][4] = {{NAN, NAN, NAN, NAN}, {NAN, 1, 2, NAN}, {INFINITY, -INFINITY, INFINITY, 0}, {-INFINITY, -INFINITY, -INFINITY, -INFINITY}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		uint8_t		chosen[EMB_ARCH_MAX_EXPERTS] = {0};
		float		shares[EMB_ARCH_MAX_EXPERTS];
		uint32_t	seen = 0;

		route(rows[i], 4, 4, chosen, shares);
		for (int k = 0; k < 4; k++)
			seen |= chosen[k] < 4 ? 1u << chosen[k] : 0;
		CHECKF(seen == 15, "row %zu: %d %d %d %d", i, chosen[0], chosen[1], chosen[2], chosen[3]);
	}
}

/* ----------------------------------------------------------------- images */

static void
make_images(void)
{
	char		dir[PATH_MAX];
	EmbError	err;

	snprintf(dir, sizeof(dir), "%s/tiny/nomic-experts/model", data_dir());
	for (int i = 0; i < 3; i++)
	{
		EmbImportOptions options = {.precision = precisions[i], .n_threads = 1 + i % 2};
		EmbAllocator mem = emb_malloc_allocator();
		EmbSink		sink = {.ctx = &images[i], .write = image_write};

		CHECKF(emb_import_dir(dir, &options, &mem, NULL, &sink, &err) == EMB_OK, "%s: %s", precisions[i], err.message);
	}
}

/* The tensors of the layers, and how many weights of experts are in which form. */
static void
test_tensors(void)
{
	const EmbTensorForm forms[] = {EMB_FORM_PANELS_F32, EMB_FORM_TILES_I8, EMB_FORM_TILES_I4};

	for (int i = 0; i < 3; i++)
	{
		EmbImageView view;
		EmbError	err;
		int			n_weights = 0;
		char		name[128];

		if (!CHECKF(emb_image_view(images[i].data, images[i].size_bytes, &view, &err) == EMB_OK, "%s", err.message))
			continue;
		CHECK(view.arch->n_experts == 8 && view.arch->experts_used == 2 && view.arch->expert_every == 2 && view.arch->expert_first == 1);
		for (uint32_t k = 0; k < view.n_tensors; k++)
		{
			const EmbImageTensor *t = &view.tensors[k];

			CHECK(emb_image_find(&view, t->key.layer, t->key.part, t->key.kind) == t);
			if (!emb_part_is_of_expert((EmbPart) t->key.part) || t->key.kind != EMB_TENSOR_WEIGHT)
				continue;
			n_weights++;
			CHECK(t->key.layer == 1 && t->form == forms[i]);
		}
		CHECKF(n_weights == 16, "%s: %d", precisions[i], n_weights);
		CHECK(emb_image_find(&view, 1, EMB_PART_FFN_UP, EMB_TENSOR_WEIGHT) == NULL && emb_image_find(&view, 0, EMB_PART_ROUTER, EMB_TENSOR_WEIGHT) == NULL);
		CHECK(emb_image_find(&view, 1, EMB_PART_ROUTER, EMB_TENSOR_WEIGHT)->form == EMB_FORM_ROWS_F32);
		emb_tensor_name((EmbTensorKey) {1, emb_part_of_expert(EMB_PART_EXPERT_DOWN, 5), EMB_TENSOR_BIAS}, name, sizeof(name));
		CHECKF(strcmp(name, "layer.1.expert_down.5.bias") == 0, "%s", name);
		emb_tensor_name((EmbTensorKey) {1, EMB_PART_EXPERT_BIAS, EMB_TENSOR_BIAS}, name, sizeof(name));
		CHECKF(strcmp(name, "layer.1.expert_bias.bias") == 0, "%s", name);
	}
}

/* A weight of one expert that is not what its sum says, and one that is not finite. */
static void
test_damage(void)
{
	const struct
	{
		int			image;
		EmbPart		part;
		EmbTensorKind kind;
		const char *words;
	}			damages[] = {
		{0, EMB_PART_ROUTER, EMB_TENSOR_WEIGHT, "layer.1.router.weight has a weight that is not finite"},
		{0, emb_part_of_expert(EMB_PART_EXPERT_UP, 7), EMB_TENSOR_WEIGHT, "layer.1.expert_up.7.weight has a weight that is not finite"},
		{1, emb_part_of_expert(EMB_PART_EXPERT_DOWN, 3), EMB_TENSOR_WEIGHT, "layer.1.expert_down.3.sums is not the sum"},
		{1, EMB_PART_EXPERT_BIAS, EMB_TENSOR_BIAS, "layer.1.expert_bias.bias has a weight that is not finite"},
		{2, emb_part_of_expert(EMB_PART_EXPERT_UP, 1), EMB_TENSOR_WEIGHT, "layer.1.expert_up.1."},
	};

	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++)
	{
		const Image *image = &images[damages[i].image];
		const uint32_t damage = 0x7FFFFFFF;
		EmbImageView view;
		EmbError	err = {0};
		uint32_t   *word;
		uint32_t	was;

		if (!CHECK(emb_image_view(image->data, image->size_bytes, &view, &err) == EMB_OK))
			return;
		word = (uint32_t *) (image->data + emb_image_find(&view, 1, damages[i].part, damages[i].kind)->offset);
		was = *word;
		CHECK(emb_image_check_weights(&view, NULL, &err) == EMB_OK);
		*word = was == damage ? damage - 1 : damage;
		CHECKF(emb_image_check_weights(&view, NULL, &err) == EMB_ERR_FORMAT && strstr(err.message, damages[i].words) != NULL, "%zu: %s", i, err.message);
		*word = was;
	}
}

/* ------------------------------------------------------------------- bits */

/* Texts of 1 to MAX_IDS tokens, so that experts get none, a few, and more rows than a product takes at once. */
static void
make_texts(int32_t *ids, EmbSequence *seqs)
{
	uint32_t	state = 20261130;

	for (int i = 0; i < N_TEXTS; i++)
	{
		int32_t		n = i == 0 ? 1 : i == 1 ? MAX_IDS : 1 + (i * i * 7) % 60;

		seqs[i] = (EmbSequence) {.ids = ids + i * MAX_IDS, .n_ids = n};
		for (int32_t k = 0; k < n; k++)
		{
			state = state * 1664525 + 1013904223;
			ids[i * MAX_IDS + k] = (int32_t) (state >> 8) % 300;
		}
	}
}

static void
test_bits(void)
{
	static int32_t ids[N_TEXTS * MAX_IDS];
	static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon"};
	EmbSequence seqs[N_TEXTS];
	EmbAllocator mem = emb_malloc_allocator();
	EmbError	err;

	make_texts(ids, seqs);
	for (int i = 0; i < 3; i++)
	{
		float		want[N_TEXTS * 32];
		EmbModel   *model;

		if (!CHECKF(emb_model_open(images[i].data, images[i].size_bytes, EMB_OPEN_CHECK_ALL, &mem, NULL, &model, &err) == EMB_OK, "%s", err.message))
			continue;
		CHECK(emb_isa_select("scalar", &err) == EMB_OK);
		/* alone, in plain C */
		for (int k = 0; k < N_TEXTS; k++)
			CHECKF(emb_model_embed(model, &seqs[k], 1, &(EmbRun) {.mem = &mem, .n_threads = 1}, want + k * 32, &err) == EMB_OK, "%s", err.message);
		for (size_t l = 0; l < sizeof(levels) / sizeof(levels[0]); l++)
		{
			if (!emb_isa_is_available(levels[l]) || emb_isa_select(levels[l], &err) != EMB_OK)
				continue;
			for (int n_threads = 1; n_threads <= 3; n_threads++)
			{
				float		got[N_TEXTS * 32];

				CHECK(emb_model_embed(model, seqs, N_TEXTS, &(EmbRun) {.mem = &mem, .n_threads = n_threads, .batch_tokens = 500 * n_threads}, got, &err) == EMB_OK);
				CHECKF(memcmp(got, want, sizeof(want)) == 0, "%s, %s, %d threads", precisions[i], levels[l], n_threads);
			}
		}
		emb_model_close(model);
	}
	CHECK(emb_isa_select("auto", &err) == EMB_OK);
}

/* ------------------------------------------------------------------ cancel */

static bool
stop_at(void *ctx)
{
	return --*(long *) ctx <= 0;
}

/* An import that is cancelled at any poll gives back all memory; so does one without memory. */
static void
test_ends(void)
{
	char		dir[PATH_MAX];
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbImportOptions options = {.precision = "int4", .n_threads = 1};
	EmbError	err;
	EmbStatus	status = EMB_ERR_CANCELLED;
	int			n = 0;

	snprintf(dir, sizeof(dir), "%s/tiny/nomic-experts/model", data_dir());
	for (long at = 1; status == EMB_ERR_CANCELLED && at < 1000000; at += at / 5 + 1, n++)
	{
		long		left = at;
		Image		image = {0};

		status = emb_import_dir(dir, &options, &mem, &(EmbStop) {&left, stop_at}, &(EmbSink) {.ctx = &image, .write = image_write}, &err);
		CHECKF(count.n_live == 0, "cancelled at poll %ld: %ld blocks", at, count.n_live);
		free(image.data);
	}
	CHECKF(status == EMB_OK && n > 10, "%d: %s", n, err.message);
	for (long at = 0; at < 4000; at = at * 5 / 4 + 1)
	{
		Image		image = {0};

		count.fail_after = at;
		status = emb_import_dir(dir, &options, &mem, NULL, &(EmbSink) {.ctx = &image, .write = image_write}, &err);
		CHECKF(count.n_live == 0 && (status == EMB_OK || status == EMB_ERR_NOMEM), "without memory at %ld: %d, %ld blocks", at, (int) status, count.n_live);
		free(image.data);
	}
}

int
main(void)
{
	test_choice();
	test_not_finite();
	make_images();
	test_tensors();
	test_bits();
	test_damage();
	test_ends();
	for (int i = 0; i < 3; i++)
		free(images[i].data);
	emb_threads_stop();
	return done_testing();
}
