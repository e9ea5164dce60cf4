/*
 * test_int4.c
 *		Imports with precision int4: every family and choice opens with all
 *		checks, computes its reference texts with the bits of the import and
 *		near to fp32; the same image on any number of threads and any level;
 *		options; memory after failures.
 */
#include "model_util.h"

#include "image/image.h"
#include "kernels/kernels.h"

static EmbStatus
import_tiny(const char *name, const EmbImportOptions *options, const EmbAllocator *mem, Image *image, EmbError *err)
{
	char		dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/tiny/%s/model", data_dir(), name);
	return import_image(dir, options, mem, image, err);
}

/* Decoders whose files do not say what they are for. */
static const char *
kind_of(const char *name)
{
	return strcmp(name, "qwen3-rerank") == 0 || strcmp(name, "qwen2-rerank") == 0 ? "reranker" : NULL;
}

static bool
is_same(const Image *a, const Image *b)
{
	return a->size_bytes == b->size_bytes && memcmp(a->data, b->data, a->size_bytes) == 0;
}

/* The mean closeness of the reference texts to fp32; the least in *least. */
static double
check_references(const char *what, const EmbModel *model, const EmbAllocator *mem, double *least)
{
	EmbRun		run = {.mem = mem};
	int32_t		n = emb_model_n_references(model);
	double		sum = 0;
	EmbError	err = {0};

	*least = 1;
	for (int32_t i = 0; i < n; i++)
	{
		EmbReferenceCheck check = {0};

		CHECKF(emb_model_check_reference(model, i, &run, &check, &err) == EMB_OK, "%s: %s", what, err.message);
		CHECKF(check.ids_equal && check.bits_equal, "%s: text %d has other ids or bits", what, i);
		sum += check.closeness;
		*least = check.closeness < *least ? check.closeness : *least;
	}
	return sum / n;
}

/* Layers whose weights are of 4 bits, by part. */
static int
count_i4(const Image *image, EmbPart part)
{
	EmbImageView view;
	EmbError	err;
	int			n = 0;

	CHECK(emb_image_view(image->data, image->size_bytes, &view, &err) == EMB_OK);
	for (uint32_t i = 0; i < view.n_tensors; i++)
		n += view.tensors[i].key.part == part && view.tensors[i].form == EMB_FORM_TILES_I4;
	return n;
}

static void
check_model(const char *name, const char *keep, int32_t group, double bound)
{
	EmbImportOptions options = {.precision = "int4", .keep_int8 = keep, .group = group, .kind = kind_of(name)};
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbModel   *model;
	EmbError	err = {0};
	Image		images[2];
	char		what[128];
	double		mean,
				least;

	snprintf(what, sizeof(what), "%s, %s, group %d", name, keep, group);
	if (!CHECKF(import_tiny(name, &options, &mem, &images[0], &err) == EMB_OK, "%s: %s", what, err.message))
		return;
	options.n_threads = 3;
	CHECK(import_tiny(name, &options, &mem, &images[1], &err) == EMB_OK);
	CHECKF(is_same(&images[0], &images[1]), "%s: another image on 3 threads", what);
	if (CHECKF(emb_model_open(images[0].data, images[0].size_bytes, EMB_OPEN_CHECK_ALL, &mem, NULL, &model, &err) == EMB_OK, "%s: %s", what, err.message))
	{
		int			n_layers = emb_model_info(model)->n_layers;

		CHECK(strcmp(emb_model_info(model)->precision, "int4") == 0);
		int			n_i4 = strcmp(keep, "ends") != 0 ? n_layers : n_layers > 2 ? n_layers - 2 : 0;
		bool		but_down = strcmp(keep, "all_but_down") == 0;
		bool		is_told = strcmp(keep, "measured") != 0;

		CHECK(!is_told || count_i4(&images[0], EMB_PART_QUERY) == (strcmp(keep, "attention") == 0 || but_down ? 0 : n_i4));
		CHECK(!is_told || count_i4(&images[0], EMB_PART_FFN_UP) == (but_down ? 0 : n_i4));
		CHECK(!is_told || count_i4(&images[0], EMB_PART_FFN_DOWN) == n_i4);
		mean = check_references(what, model, &mem, &least);
		printf("# %s: %d layers, %zu bytes, to fp32 %.5f, least %.5f\n", what, n_layers, images[0].size_bytes, mean, least);
		CHECKF(mean > bound, "%s: %.5f", what, mean);
		emb_model_close(model);
	}
	CHECK(count.n_live == 0);
	free(images[0].data);
	free(images[1].data);
}

/*
 * Random weights lose more than trained ones: bounds are half of what is left
 * to 1 below the measured means.
 */
static void
test_models(void)
{
	check_model("bert-cls", "none", 128, 0.98);
	check_model("bert-cls", "attention", 64, 0.995);
	check_model("bert-cls", "ends", 32, 0.996);
	check_model("bert-rerank", "all_but_down", 128, 0.987);
	check_model("bert-cls", "measured", 64, 0.99);
	check_model("modernbert-rerank", "measured", 32, 0.965);
	check_model("qwen2-rerank", "measured", 32, 0.9);
	check_model("bert-mean-36", "none", 32, 0.995);
	check_model("bert-mean-48", "none", EMB_GROUP_ROW, 0.993);
	check_model("roberta-rerank", "none", 32, 0.996);
	check_model("mpnet-rerank", "none", 128, 0.98);
	check_model("nomic-rerank", "none", 64, 0.995);
	check_model("gte-rerank", "attention", 128, 0.955);
	check_model("modernbert-rerank", "none", 32, 0.965);
	check_model("bge-m3", "none", 32, 0.986);
	check_model("qwen3-rerank", "none", 32, 0.9);
	check_model("embedding-gemma", "attention", 32, 0.992);
	check_model("harrier", "none", 32, 0.985);
	check_model("eurobert", "attention", 64, 0.996);
	check_model("electra", "attention", 32, 0.999);
	check_model("jina", "attention", 32, 0.999);
	check_model("qwen3-embed", "none", 128, 0.95);
	check_model("qwen2-rerank", "attention", 32, 0.9);
}

static void
test_levels(void)
{
	static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon"};
	static const char *const names[] = {"bert-cls", "qwen3-rerank"};
	EmbAllocator mem = emb_malloc_allocator();

	for (int m = 0; m < 3; m++)
	{
		const char *name = names[m == 2];
		EmbImportOptions options = {.precision = "int4", .keep_int8 = m == 1 ? "measured" : "none", .keep_percent = m == 1 ? 40 : 0,
			.group = 32, .kind = kind_of(name)};
		Image		first = {0};

		for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		{
			Image		image;
			EmbError	err;

			if (!emb_isa_is_available(levels[i]))
				continue;
			CHECK(emb_isa_select(levels[i], NULL) == EMB_OK && import_tiny(name, &options, &mem, &image, &err) == EMB_OK);
			if (first.data == NULL)
				first = image;
			else
			{
				CHECKF(is_same(&first, &image), "%s, %s: another image on %s", name, options.keep_int8, levels[i]);
				free(image.data);
			}
		}
		free(first.data);
	}
	CHECK(emb_isa_select("auto", NULL) == EMB_OK);
}

/* The part of the layers' weights that stays int8, in percent. */
static double
percent_i8(const Image *image)
{
	EmbImageView view;
	EmbError	err;
	double		n[2] = {0, 0};

	CHECK(emb_image_view(image->data, image->size_bytes, &view, &err) == EMB_OK);
	for (uint32_t i = 0; i < view.n_tensors; i++)
	{
		const EmbImageTensor *t = &view.tensors[i];

		if (t->key.layer != EMB_NO_LAYER && t->key.kind == EMB_TENSOR_WEIGHT)
			n[t->form == EMB_FORM_TILES_I8] += (double) t->n_rows * t->n_cols;
	}
	return 100 * n[1] / (n[0] + n[1]);
}

static double
measured_closeness(const char *name, int32_t percent, double *kept, Image *image)
{
	EmbImportOptions options = {.precision = "int4", .keep_int8 = "measured", .keep_percent = percent, .group = 32, .kind = kind_of(name)};
	EmbAllocator mem = emb_malloc_allocator();
	EmbModel   *model;
	EmbError	err = {0};
	double		mean,
				least;

	*kept = 0;
	if (!CHECKF(import_tiny(name, &options, &mem, image, &err) == EMB_OK, "%s, %d percent: %s", name, percent, err.message) ||
		!CHECKF(emb_model_open(image->data, image->size_bytes, EMB_OPEN_CHECK_ALL, &mem, NULL, &model, &err) == EMB_OK, "%s: %s", name, err.message))
		return 0;
	*kept = percent_i8(image);
	mean = check_references(name, model, &mem, &least);
	printf("# %s, measured: %d percent may stay int8, %.1f do, to fp32 %.5f\n", name, percent, *kept, mean);
	emb_model_close(model);
	return mean;
}

/* Never more than there is room for, and nearly all of it, down to the smallest linear layer. */
static void
test_measured(void)
{
	static const struct
	{
		const char *name;
		double		smallest;	/* percent of a layer's weights */
	}			cases[] = {{"bert-rerank", 100.0 / 24}, {"qwen3-rerank", 100.0 / 22}, {"nomic-rerank", 100.0 / 24}};
	static const int32_t percents[] = {10, 67};

	for (size_t m = 0; m < sizeof(cases) / sizeof(cases[0]); m++)
	{
		double		ends[2];

		for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++)
		{
			Image		image;
			double		kept;
			double		mean = measured_closeness(cases[m].name, percents[i], &kept, &image);

			ends[percents[i] > 50] = mean;
			CHECKF(kept <= percents[i] && kept > percents[i] - 2 * cases[m].smallest, "%s: %.1f percent stay int8, %d may", cases[m].name, kept, percents[i]);
			free(image.data);
		}
		CHECKF(ends[1] > ends[0], "%s: %.5f with room, %.5f without", cases[m].name, ends[1], ends[0]);
	}
}

/* A list of kept linear layers that no plan could follow. */
static void
test_wrong_lists(void)
{
	EmbImportOptions options = {.precision = "int4", .keep_int8 = "measured"};
	EmbAllocator mem = emb_malloc_allocator();
	Image		image;
	EmbImageView view;
	EmbImageConfig config;
	EmbError	err = {0};

	if (!CHECK(import_tiny("bert-cls", &options, &mem, &image, &err) == EMB_OK) ||
		!CHECK(emb_image_view(image.data, image.size_bytes, &view, &err) == EMB_OK))
		return;
	for (int i = 0; i < 3; i++)
	{
		config = *view.config;
		if (i == 0)
			config.kept[0] |= 1 << EMB_N_ROLES;
		else if (i == 1)
			config.kept[view.arch->n_layers] = 1;
		else
		{
			config.kept[0] |= 1;
			config.keep_int8 = EMB_KEEP_NONE;
		}
		CHECK(emb_image_check_config(view.arch, &config, emb_image_section(&view, EMB_SECTION_STRINGS)->size_bytes, &err) == EMB_ERR_FORMAT);
		CHECKF(strstr(err.message, "stay int8") != NULL, "%s", err.message);
	}
	free(image.data);
}

/* Defaults: group 128; in an encoder attention stays int8, if it reranks all but ffn_down, nothing in a decoder. */
static void
test_defaults(void)
{
	static const struct
	{
		const char *name,
				   *keep;
	}			cases[] = {{"bert-cls", "attention"}, {"bert-rerank", "all_but_down"}, {"modernbert-rerank", "all_but_down"}, {"qwen3-embed", "none"}};
	EmbAllocator mem = emb_malloc_allocator();

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		EmbImportOptions plain = {.precision = "int4"};
		EmbImportOptions told = {.precision = "int4", .keep_int8 = cases[i].keep, .group = 128};
		Image		images[2];
		EmbError	err;

		CHECK(import_tiny(cases[i].name, &plain, &mem, &images[0], &err) == EMB_OK && import_tiny(cases[i].name, &told, &mem, &images[1], &err) == EMB_OK);
		CHECKF(is_same(&images[0], &images[1]), "%s: another default", cases[i].name);
		free(images[0].data);
		free(images[1].data);
	}
}

static void
test_options(void)
{
	static const struct
	{
		const char *name;
		EmbImportOptions options;
		EmbStatus	status;
		const char *message;
	}			cases[] =
	{
		{"bert-cls", {.precision = "int4", .group = 48}, EMB_ERR_INVALID_ARGUMENT, "group 48"},
		{"bert-cls", {.precision = "int4", .group = -2}, EMB_ERR_INVALID_ARGUMENT, "group -2"},
		{"bert-cls", {.precision = "int4", .keep_int8 = "query"}, EMB_ERR_INVALID_ARGUMENT, "keep_int8 \"query\""},
		{"bert-cls", {.precision = "int8", .group = 64}, EMB_ERR_INVALID_ARGUMENT, "only"},
		{"bert-cls", {.precision = "fp32", .keep_int8 = "none"}, EMB_ERR_INVALID_ARGUMENT, "only"},
		{"bert-cls", {.precision = "int4", .keep_int8 = "measured", .keep_percent = 100}, EMB_ERR_INVALID_ARGUMENT, "keep_percent 100"},
		{"bert-cls", {.precision = "int4", .keep_int8 = "measured", .keep_percent = -1}, EMB_ERR_INVALID_ARGUMENT, "keep_percent -1"},
		{"bert-cls", {.precision = "int4", .keep_percent = 50}, EMB_ERR_INVALID_ARGUMENT, "\"measured\" only"},
		{"bert-cls", {.precision = "int8", .keep_percent = 50}, EMB_ERR_INVALID_ARGUMENT, "only"},
		{"bert-cls", {.precision = "int3"}, EMB_ERR_INVALID_ARGUMENT, "\"int3\" is unknown"},
		{"model2vec", {.precision = "int4"}, EMB_ERR_UNSUPPORTED, "no layers"},
	};
	EmbAllocator mem = emb_malloc_allocator();

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Image		image;
		EmbError	err = {0};
		EmbStatus	status = import_tiny(cases[i].name, &cases[i].options, &mem, &image, &err);

		CHECKF(status == cases[i].status && strstr(err.message, cases[i].message) != NULL, "case %zu: %d, %s", i, status, err.message);
		CHECK(image.size_bytes == 0);
		free(image.data);
	}
}

static bool
stop_after(void *ctx)
{
	return --*(int *) ctx < 0;
}

/* Cancelled anywhere, and each allocation failing: an error, and no memory is kept. */
static void
test_ways_out(void)
{
	EmbImportOptions options = {.precision = "int4", .keep_int8 = "measured", .n_threads = 2};
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	Image		image = {0};
	EmbSink		sink = {.ctx = &image, .write = image_write};
	int			n_left;
	EmbStop		stop = {.ctx = &n_left, .should_stop = stop_after};
	EmbStatus	status;
	EmbError	err;
	char		dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/tiny/bert-cls/model", data_dir());
	status = EMB_ERR_CANCELLED;
	for (int i = 0; status != EMB_OK && i < 100000; i += 1 + i / 3)
	{
		image.size_bytes = 0;
		n_left = i;
		status = emb_import_dir(dir, &options, &mem, &stop, &sink, &err);
		CHECKF(status == EMB_ERR_CANCELLED || status == EMB_OK, "status %d after %d questions", status, i);
		CHECK(count.n_live == 0);
	}
	CHECK(status == EMB_OK);
	status = EMB_ERR_NOMEM;
	for (int i = 0; status != EMB_OK && i < 20000; i += 1 + i / 5)
	{
		image.size_bytes = 0;
		count.fail_after = i;
		status = emb_import_dir(dir, &options, &mem, NULL, &sink, &err);
		if ((status != EMB_OK && status != EMB_ERR_NOMEM) || count.n_live != 0)
			CHECKF(false, "allocation %d failing: status %d, %ld blocks left", i, status, count.n_live);
	}
	CHECK(status == EMB_OK);
	free(image.data);
}

int
main(void)
{
	test_models();
	test_levels();
	test_measured();
	test_wrong_lists();
	test_defaults();
	test_options();
	test_ways_out();
	emb_threads_stop();
	return done_testing();
}
