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
		CHECK(count_i4(&images[0], EMB_PART_QUERY) == (strcmp(keep, "attention") == 0 ? 0 : strcmp(keep, "ends") == 0 ? (n_layers > 2 ? n_layers - 2 : 0) : n_layers));
		CHECK(count_i4(&images[0], EMB_PART_FFN_DOWN) == (strcmp(keep, "ends") == 0 ? (n_layers > 2 ? n_layers - 2 : 0) : n_layers));
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
	check_model("bert-mean-36", "none", 32, 0.995);
	check_model("bert-mean-48", "none", EMB_GROUP_ROW, 0.993);
	check_model("roberta-rerank", "none", 32, 0.996);
	check_model("mpnet-rerank", "none", 128, 0.98);
	check_model("nomic-rerank", "none", 64, 0.995);
	check_model("gte-rerank", "attention", 128, 0.955);
	check_model("modernbert-rerank", "none", 32, 0.965);
	check_model("bge-m3", "none", 32, 0.986);
	check_model("qwen3-rerank", "none", 32, 0.9);
	check_model("qwen3-embed", "none", 128, 0.95);
	check_model("qwen2-rerank", "attention", 32, 0.9);
}

static void
test_levels(void)
{
	static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon"};
	static const char *const names[] = {"bert-cls", "qwen3-rerank"};
	EmbAllocator mem = emb_malloc_allocator();

	for (int m = 0; m < 2; m++)
	{
		EmbImportOptions options = {.precision = "int4", .keep_int8 = "none", .group = 32, .kind = kind_of(names[m])};
		Image		first = {0};

		for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		{
			Image		image;
			EmbError	err;

			if (!emb_isa_is_available(levels[i]))
				continue;
			CHECK(emb_isa_select(levels[i], NULL) == EMB_OK && import_tiny(names[m], &options, &mem, &image, &err) == EMB_OK);
			if (first.data == NULL)
				first = image;
			else
			{
				CHECKF(is_same(&first, &image), "%s: another image on %s", names[m], levels[i]);
				free(image.data);
			}
		}
		free(first.data);
	}
	CHECK(emb_isa_select("auto", NULL) == EMB_OK);
}

/* Defaults: group 128; attention stays int8 in an encoder, nothing in a decoder. */
static void
test_defaults(void)
{
	static const struct
	{
		const char *name,
				   *keep;
	}			cases[] = {{"bert-cls", "attention"}, {"bert-rerank", "attention"}, {"qwen3-embed", "none"}};
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
	EmbImportOptions options = {.precision = "int4", .keep_int8 = "none", .n_threads = 2};
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
	for (int i = 0; status != EMB_OK && i < 100000; i += 1 + i / 4)
	{
		image.size_bytes = 0;
		n_left = i;
		status = emb_import_dir(dir, &options, &mem, &stop, &sink, &err);
		CHECKF(status == EMB_ERR_CANCELLED || status == EMB_OK, "status %d after %d questions", status, i);
		CHECK(count.n_live == 0);
	}
	CHECK(status == EMB_OK);
	status = EMB_ERR_NOMEM;
	for (int i = 0; status != EMB_OK && i < 20000; i += 1 + i / 8)
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

/* ------------------------------------------------ checkpoints with codes */

static const void *
tensor_data(const EmbImageView *view, const EmbImageTensor *t)
{
	return view->base + t->offset;
}

/* Every weight of 4 bits times its scale is the fp32 image's weight, to the last bit. */
static void
check_weights(const char *what, const Image *four, const Image *exact, bool pairs_gates)
{
	EmbImageView a,
				b;
	EmbError	err;
	int			n_checked = 0;

	CHECK(emb_image_view(four->data, four->size_bytes, &a, &err) == EMB_OK && emb_image_view(exact->data, exact->size_bytes, &b, &err) == EMB_OK);
	for (uint32_t i = 0; i < a.n_tensors; i++)
	{
		const EmbImageTensor *t = &a.tensors[i];
		EmbPart		input = t->key.part == EMB_PART_KEY || t->key.part == EMB_PART_VALUE ? EMB_PART_QUERY : (EmbPart) t->key.part;
		const EmbImageTensor *order_tensor = emb_image_find(&a, t->key.layer, input, EMB_TENSOR_ORDER);
		const uint16_t *order = order_tensor != NULL ? tensor_data(&a, order_tensor) : NULL;
		const EmbImageTensor *scale_tensor = emb_image_find(&a, t->key.layer, t->key.part, EMB_TENSOR_GROUP_SCALE);
		const EmbImageTensor *exact_tensor = emb_image_find(&b, t->key.layer, t->key.part, EMB_TENSOR_WEIGHT);
		const uint8_t *tiles = tensor_data(&a, t);
		long		n_wrong = 0;

		if (t->form != EMB_FORM_TILES_I4)
			continue;
		for (uint32_t o = 0; o < t->n_rows; o++)
		{
			/* the row of the fp32 image: gates first */
			uint32_t	panel = o / 16;
			uint32_t	row = !pairs_gates || t->key.part != EMB_PART_FFN_UP ? o
				: (panel % 2 == 0 ? panel / 2 : t->n_rows / 32 + panel / 2) * 16 + o % 16;
			const float *scales = (const float *) tensor_data(&a, scale_tensor) + (size_t) panel * 16 * scale_tensor->n_cols;
			const uint8_t *zeros = (const uint8_t *) tensor_data(&a, emb_image_find(&a, t->key.layer, t->key.part, EMB_TENSOR_GROUP_ZERO)) + (size_t) panel * 16 * scale_tensor->n_cols;
			const float *w = (const float *) tensor_data(&b, exact_tensor) + (size_t) (row / 16) * 16 * t->n_cols + row % 16;

			for (uint32_t k = 0; k < t->n_cols; k++)
			{
				uint32_t	g = a.config->group == EMB_IMAGE_GROUP_ROW ? 0 : k / a.config->group;
				int			code = tiles[(size_t) panel * emb_pack_i4_bytes(16, (int32_t) t->n_cols) + ((size_t) (k / 8) * 16 + o % 16) * 4 + k % 4] >> (k % 8 < 4 ? 0 : 4) & 15;

				n_wrong += (float) (code - zeros[g * 16 + o % 16]) * scales[g * 16 + o % 16] != w[(size_t) (order != NULL ? order[k] : k) * 16];
			}
		}
		CHECKF(n_wrong == 0, "%s: tensor %u of layer %d: %ld weights differ", what, t->key.part, t->key.layer, n_wrong);
		n_checked++;
	}
	CHECKF(n_checked == 6 * a.arch->n_layers, "%s: %d weights of 4 bits", what, n_checked);
}

/* Imports a quantized checkpoint: its weights stay. */
static void
check_codes(const char *dir, const char *kind, bool has_order, double bound)
{
	EmbImportOptions options = {.precision = "int4", .kind = kind};
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbModel   *model;
	EmbImageView view;
	EmbError	err = {0};
	Image		four,
				exact;
	double		mean,
				least;

	if (!CHECKF(import_image(dir, &options, &mem, &four, &err) == EMB_OK, "%s: %s", dir, err.message))
		return;
	options.precision = "fp32";
	CHECK(import_image(dir, &options, &mem, &exact, &err) == EMB_OK);
	CHECK(emb_image_view(four.data, four.size_bytes, &view, &err) == EMB_OK && view.config->has_order == has_order);
	check_weights(dir, &four, &exact, view.arch->is_gated != 0);
	CHECKF(emb_model_open(four.data, four.size_bytes, EMB_OPEN_CHECK_ALL, &mem, NULL, &model, &err) == EMB_OK, "%s", err.message);
	mean = check_references(dir, model, &mem, &least);
	printf("# %s: to its own weights %.5f, least %.5f\n", dir, mean, least);
	CHECKF(mean > bound, "%s: %.5f", dir, mean);
	emb_model_close(model);
	CHECK(count.n_live == 0);
	free(four.data);
	free(exact.data);

	/* another group is another quantization */
	options = (EmbImportOptions) {.precision = "int4", .kind = kind, .group = EMB_GROUP_ROW};
	CHECK(import_image(dir, &options, &mem, &four, &err) == EMB_OK);
	CHECK(emb_image_view(four.data, four.size_bytes, &view, &err) == EMB_OK && view.config->group == EMB_IMAGE_GROUP_ROW && view.config->has_order == 0);
	free(four.data);
}

/* The bytes of a tensor in a safetensors file; NULL: there is none. */
static uint8_t *
tensor_bytes(uint8_t *file, const char *name, size_t *size)
{
	uint64_t	header_bytes;
	char		quoted[300];
	char	   *at;
	unsigned long begin,
				end;

	memcpy(&header_bytes, file, 8);
	snprintf(quoted, sizeof(quoted), "\"%s\"", name);
	at = memmem(file + 8, header_bytes, quoted, strlen(quoted));
	at = at != NULL ? strstr(at, "data_offsets") : NULL;
	if (at == NULL || sscanf(strchr(at, '['), "[%lu,%lu", &begin, &end) != 2)
		return NULL;
	*size = end - begin;
	return file + 8 + header_bytes + begin;
}

/* The golden orders are all different; as quantizers write them, weights of one input have one order. */
static bool
share_orders(const char *dir)
{
	static const char *const shared[][2] = {{"self_attn.q_proj", "self_attn.k_proj"}, {"self_attn.q_proj", "self_attn.v_proj"}, {"mlp.gate_proj", "mlp.up_proj"}};
	char		path[PATH_MAX];
	uint8_t    *data;
	FILE	   *f;
	long		size;
	bool		ok = true;

	snprintf(path, sizeof(path), "%s/model.safetensors", dir);
	f = fopen(path, "r+");
	if (f == NULL || fseek(f, 0, SEEK_END) != 0 || (size = ftell(f)) < 8)
		return false;
	data = malloc(size + 1);
	rewind(f);
	ok = fread(data, 1, size, f) == (size_t) size;
	data[size] = 0;
	for (int layer = 0; ok && layer < 2; layer++)
	{
		for (int i = 0; ok && i < 3; i++)
		{
			char		name[2][128];
			size_t		n[2];
			uint8_t    *bytes[2];

			for (int k = 0; k < 2; k++)
			{
				snprintf(name[k], sizeof(name[k]), "model.layers.%d.%s.g_idx", layer, shared[i][k]);
				bytes[k] = tensor_bytes(data, name[k], &n[k]);
			}
			ok = bytes[0] != NULL && bytes[1] != NULL && n[0] == n[1];
			if (ok)
				memcpy(bytes[1], bytes[0], n[0]);
		}
	}
	rewind(f);
	ok = ok && fwrite(data, 1, size, f) == (size_t) size;
	fclose(f);
	free(data);
	return ok;
}

static void
test_codes(void)
{
	char		dir[PATH_MAX],
				command[3 * PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/tiny/quantized-awq/model", data_dir());
	check_codes(dir, NULL, false, 0.999);
	if (shared_dir() == NULL)
	{
		skip("no goldens in EMBED_SHARED");
		return;
	}
	snprintf(dir, sizeof(dir), "%s/goldens/tiny/qwen3-rerank-gptq/model", shared_dir());
	check_codes(dir, "reranker", false, 0.99);
	snprintf(dir, sizeof(dir), "%s/goldens/tiny/qwen3-rerank-ct-w4a16/model", shared_dir());
	check_codes(dir, "reranker", false, 0.95);
	snprintf(command, sizeof(command), "cp '%s'/goldens/tiny/qwen3-rerank-gptq-desc-act/model/* '%s' && chmod -R u+w '%s'", shared_dir(), fresh_dir(), temp_root);
	if (CHECK(system(command) == 0) && CHECK(share_orders(temp_root)))
		check_codes(temp_root, "reranker", true, 0.95);
}

int
main(void)
{
	test_codes();
	test_models();
	test_levels();
	test_defaults();
	test_options();
	test_ways_out();
	emb_threads_stop();
	return done_testing();
}
