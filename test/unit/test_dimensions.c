/*
 * test_dimensions.c
 *		Vectors cut to their first elements, at import and afterwards: equal to
 *		the whole ones, cut and normalized.
 */
#include <math.h>

#include "model_util.h"

#include "image/image.h"

#define DIM		8
#define MAX_IDS	16

static EmbAllocator heap;

typedef struct Opened
{
	Image		image;
	EmbModel   *model;
} Opened;

static bool
open_model(const SmallModel *small, const EmbImportOptions *options, Opened *o)
{
	const char *dir = fresh_dir();
	EmbError	err;

	memset(o, 0, sizeof(*o));
	write_small_model(dir, small);
	return CHECKF(import_image(dir, options, &heap, &o->image, &err) == EMB_OK, "%s", err.message) &&
		CHECKF(emb_model_open(o->image.data, o->image.size_bytes, EMB_OPEN_CHECK_ALL, &heap, NULL, &o->model, &err) == EMB_OK, "%s", err.message);
}

static void
close_model(Opened *o)
{
	emb_model_close(o->model);
	free(o->image.data);
}

static void
embed_texts(const EmbModel *model, const char *const *texts, int n, float *out)
{
	static int32_t ids[4][MAX_IDS];
	EmbSequence seqs[4];
	EmbRun		run = {.mem = &heap};
	EmbError	err;

	for (int i = 0; i < n; i++)
	{
		EmbEncoded	r;

		CHECK(emb_model_encode(model, EMB_PROMPT_DOCUMENT, &(EmbText) {texts[i], strlen(texts[i]), true, NULL},
				&(EmbReading) {.ids = ids[i], .max_ids = MAX_IDS, .mem = &heap}, &r, &err) == EMB_OK);
		seqs[i] = (EmbSequence) {.ids = ids[i], .n_ids = r.n_ids};
	}
	CHECKF(emb_model_embed(model, seqs, n, &run, out, &err) == EMB_OK, "%s", err.message);
}

static void
test_cut(const char *precision, const char *modules)
{
	static const char *const texts[4] = {"a b c", "the data of a database", "", "a b c"};
	SmallModel	small = small_model();
	EmbImportOptions options = {.precision = precision};
	float		full[4 * DIM];
	Opened		whole;
	bool		normalized;

	small.modules = modules;
	if (!open_model(&small, &options, &whole))
		return;
	embed_texts(whole.model, texts, 4, full);
	normalized = emb_model_info(whole.model)->normalize;
	for (int32_t n = 1; n <= DIM; n++)
	{
		EmbReferenceCheck check;
		EmbRun		run = {.mem = &heap};
		EmbError	err;
		Opened		cut;
		float		got[4 * DIM];

		options.dimensions = n;
		if (!open_model(&small, &options, &cut))
			continue;
		CHECK(emb_model_info(cut.model)->dim == n && emb_model_info(cut.model)->normalize);
		CHECK((cut.image.size_bytes == whole.image.size_bytes && memcmp(cut.image.data, whole.image.data, cut.image.size_bytes) == 0)
			  == (n == DIM && normalized));
		embed_texts(cut.model, texts, 4, got);
		for (int i = 0; i < 4; i++)
		{
			float		want[DIM],
						later[DIM];

			memcpy(want, full + i * DIM, n * sizeof(float));
			if (n < DIM || !normalized)
				emb_normalize(want, n);
			CHECK(memcmp(got + i * n, want, n * sizeof(float)) == 0);
			CHECK(emb_model_cut(whole.model, full + i * DIM, n, later, &err) == EMB_OK && memcmp(later, want, n * sizeof(float)) == 0);
			memcpy(later, full + i * DIM, sizeof(later));
			CHECK(emb_model_cut(whole.model, later, n, later, &err) == EMB_OK && memcmp(later, want, n * sizeof(float)) == 0);
		}
		for (int i = 0; i < emb_model_n_references(cut.model); i += 7)
			CHECK(emb_model_check_reference(cut.model, i, &run, &check, &err) == EMB_OK && check.ids_equal && check.bits_equal &&
				  check.closeness > 0.9f);
		close_model(&cut);
	}
	close_model(&whole);
}

static EmbStatus
image_drop(void *ctx, const void *data, size_t size, EmbError *err)
{
	(void) ctx;
	(void) data;
	(void) size;
	(void) err;
	return EMB_OK;
}

static void
keep_note(void *ctx, const char *message, const char *hint)
{
	(void) hint;
	*(bool *) ctx |= strstr(message, "layer norm") != NULL;
}

/* A layer norm before the cut, against a plain computation; by the option, or by the name of a known model. */
static void
test_layer_norm(const char *name, bool by_option, bool want_norm)
{
	static const char *const texts[4] = {"a b c", "the data of a database", "", "a b c"};
	SmallModel	small = small_model();
	char		dir[PATH_MAX];
	bool		noted = false;
	EmbImportOptions options = {.precision = "fp32", .sets_layer_norm = by_option, .layer_norm = want_norm, .query_prompt = "", .document_prompt = ""};
	float		full[4 * DIM];
	EmbError	err;
	Opened		o = {0};
	EmbSink		sink = {.ctx = &noted, .write = image_drop, .note = keep_note};

	snprintf(dir, sizeof(dir), "%.1000s/%s", fresh_dir(), name);
	mkdir(dir, 0700);
	write_small_model(dir, &small);
	for (int32_t n = 0; n < DIM; n++)
	{
		Opened		cut;
		float		got[4 * DIM];

		options.dimensions = n;
		memset(&cut, 0, sizeof(cut));
		if (!CHECKF(import_image(dir, &options, &heap, &cut.image, &err) == EMB_OK, "%s", err.message) ||
			!CHECKF(emb_model_open(cut.image.data, cut.image.size_bytes, EMB_OPEN_CHECK_ALL, &heap, NULL, &cut.model, &err) == EMB_OK, "%s", err.message))
			return;
		embed_texts(cut.model, texts, 4, n == 0 ? full : got);
		if (n == 0)
		{
			o = cut;
			continue;
		}
		for (int i = 0; i < 4; i++)
		{
			double		x[DIM];
			double		mean = 0;
			double		square = 0;
			double		norm = 0;
			float		later[DIM];

			for (int k = 0; k < DIM; k++)
				mean += full[i * DIM + k] / DIM;
			for (int k = 0; k < DIM; k++)
				square += (full[i * DIM + k] - mean) * (full[i * DIM + k] - mean) / DIM;
			for (int k = 0; k < n; k++)
			{
				x[k] = want_norm ? (full[i * DIM + k] - mean) / sqrt(square + 1e-5) : full[i * DIM + k];
				norm += x[k] * x[k];
			}
			for (int k = 0; k < n; k++)
				CHECKF(fabs(got[i * n + k] - x[k] / sqrt(norm)) < 2e-6, "%s, %d dimensions: %g, not %g", name, n, got[i * n + k], x[k] / sqrt(norm));
			CHECK(emb_model_cut(o.model, full + i * DIM, n, later, &err) == EMB_OK && memcmp(later, got + i * n, n * sizeof(float)) == 0);
			/* an image's own cut has it already */
			CHECK(emb_model_cut(cut.model, got + i * n, 1, later, &err) == EMB_OK && fabs(later[0] - (x[0] > 0 ? 1 : -1)) < 1e-6);
		}
		close_model(&cut);
	}
	CHECK(emb_model_cut(o.model, full, DIM, full + DIM, &err) == EMB_OK && memcmp(full, full + DIM, DIM * sizeof(float)) == 0);
	close_model(&o);
	CHECK(emb_import_dir(dir, &options, &heap, NULL, &sink, &err) == EMB_OK && noted == (want_norm && !by_option));
}

static void
test_refused(void)
{
	static const struct
	{
		int32_t		dimensions;
		const char *message;
	}			wrong[] = {{-1, "dimensions -1 is outside 1..8"}, {9, "dimensions 9 is outside 1..8"}, {INT32_MAX, "2147483647"}};
	SmallModel	small = small_model();
	SmallModel	reranker = small_reranker();
	EmbImportOptions options = {.precision = "fp32", .dimensions = 4};
	float		x[DIM] = {1, 2, 3};
	const float large[DIM] = {3e38f, 3e38f};
	EmbError	err;
	Image		image;
	Opened		o;

	write_small_model(fresh_dir(), &reranker);
	CHECK(import_image(temp_root, &options, &heap, &image, &err) == EMB_ERR_INVALID_ARGUMENT && strstr(err.message, "reranker") != NULL);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		options.dimensions = wrong[i].dimensions;
		write_small_model(fresh_dir(), &small);
		CHECKF(import_image(temp_root, &options, &heap, &image, &err) == EMB_ERR_INVALID_ARGUMENT &&
			   strstr(err.message, wrong[i].message) != NULL, "%s", err.message);
	}
	options.dimensions = 5;
	if (!open_model(&small, &options, &o))
		return;
	CHECK(emb_model_cut(o.model, x, 0, x, &err) == EMB_ERR_INVALID_ARGUMENT);
	CHECK(emb_model_cut(o.model, x, 6, x, &err) == EMB_ERR_INVALID_ARGUMENT && strstr(err.message, "1..5") != NULL);
	CHECK(emb_model_cut(o.model, large, 3, x, &err) == EMB_ERR_LIMIT);
	close_model(&o);
}

int
main(void)
{
	static const char plain[] =
		"[{\"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"},"
		" {\"path\": \"1_Pooling\", \"type\": \"sentence_transformers.models.Pooling\"}]";
	static const char *const precisions[] = {"fp32", "int8"};

	heap = emb_malloc_allocator();
	for (int i = 0; i < 2; i++)
	{
		test_cut(precisions[i], SMALL_MODULES);
		test_cut(precisions[i], plain);
	}
	test_layer_norm("x", true, true);
	test_layer_norm("nomic-embed-text-v1.5", false, true);
	test_layer_norm("nomic-ai--nomic-embed-text-v1.5", true, false);
	test_layer_norm("nomic-embed-text-v1", false, false);
	test_refused();
	emb_threads_stop();
	return done_testing();
}
