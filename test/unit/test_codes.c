/*
 * test_codes.c
 *		Checkpoints that were quantized before, in quantized images: every weight
 *		keeps its value to the last bit; the image opens with all checks, computes
 *		its reference texts with the bits of the import on every level; what an
 *		image cannot have, and what the caller does not want, is quantized again;
 *		damaged images are refused.
 */
#include "model_util.h"

#include <math.h>

#include "image/image.h"
#include "image_util.h"
#include "kernels/kernels.h"

/* Reference texts that are computed on every level. */
#define N_LEVEL_TEXTS	3

/* An import with its notes. */
typedef struct Import
{
	Image		image;			/* first: image_write writes to it */
	char		notes[2048];
} Import;

static void
keep_note(void *ctx, const char *message, const char *hint)
{
	Import	   *im = ctx;
	size_t		at = strlen(im->notes);

	snprintf(im->notes + at, sizeof(im->notes) - at, "%s. %s\n", message, hint);
}

static EmbStatus
import_path(const char *path, const EmbImportOptions *options, Import *im, EmbError *err)
{
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbSink		sink = {.ctx = im, .write = image_write, .note = keep_note};
	EmbStatus	status;

	memset(im, 0, sizeof(*im));
	memset(err, 0, sizeof(*err));
	status = emb_import_dir(path, options, &mem, NULL, &sink, err);
	CHECKF(count.n_live == 0, "%s: %ld blocks left", path, count.n_live);
	return status;
}

static bool
is_same(const Image *a, const Image *b)
{
	return a->size_bytes == b->size_bytes && memcmp(a->data, b->data, a->size_bytes) == 0;
}

static EmbImageView
view_of(const Image *image)
{
	EmbImageView view;
	EmbError	err;

	if (!CHECK(emb_image_view(image->data, image->size_bytes, &view, &err) == EMB_OK))
		exit(1);
	return view;
}

static const void *
tensor_data(const EmbImageView *view, const EmbImageTensor *t)
{
	return view->base + t->offset;
}

/* ------------------------------------------------------------------- values */

/* A linear layer of a quantized image. */
typedef struct Linear
{
	const EmbImageView *view;
	const EmbImageTensor *weight;
	const EmbImageTensor *group_scale;	/* NULL: a scale for each output */
	EmbScaleType scale_type;
	const void *scales;
	const uint8_t *zeros;
	const uint16_t *order;
	const float *factor;		/* of the input; NULL: 1 */
} Linear;

static const void *
part_data(const EmbImageView *view, EmbTensorKey key, EmbPart part, EmbTensorKind kind)
{
	const EmbImageTensor *t = emb_image_find(view, key.layer, part, kind);

	return t != NULL ? tensor_data(view, t) : NULL;
}

static Linear
linear_of(const EmbImageView *view, const EmbImageTensor *t)
{
	EmbPart		part = (EmbPart) t->key.part;
	EmbPart		input = part == EMB_PART_KEY || part == EMB_PART_VALUE ? EMB_PART_QUERY : part;
	const EmbImageTensor *group_scale = emb_image_find(view, t->key.layer, part, EMB_TENSOR_GROUP_SCALE);

	return (Linear) {
		.view = view, .weight = t, .group_scale = group_scale,
		.scale_type = group_scale != NULL ? (EmbScaleType) view->config->scale_type : EMB_SCALE_F32,
		.scales = part_data(view, t->key, part, group_scale != NULL ? EMB_TENSOR_GROUP_SCALE : EMB_TENSOR_SCALE),
		.zeros = part_data(view, t->key, part, EMB_TENSOR_GROUP_ZERO),
		.order = part_data(view, t->key, input, EMB_TENSOR_ORDER),
		.factor = part_data(view, t->key, input, EMB_TENSOR_FACTOR)
	};
}

/* The weight of output o at place k. */
static float
weight_at(const Linear *l, uint32_t o, uint32_t k)
{
	uint32_t	panel = o / 16;
	uint32_t	r = o % 16;
	bool		is_i4 = l->weight->form == EMB_FORM_TILES_I4;
	size_t		panel_bytes = emb_pack_i8_bytes(16, (int32_t) l->weight->n_cols) / (is_i4 ? 2 : 1);
	const uint8_t *tiles = (const uint8_t *) tensor_data(l->view, l->weight) + panel * panel_bytes;
	uint32_t	group = l->view->config->group;
	size_t		at = l->group_scale == NULL ? o
		: ((size_t) panel * l->group_scale->n_cols + (group == EMB_IMAGE_GROUP_ROW ? 0 : k / group)) * 16 + r;

	float		scale = emb_scale_at(l->scales, l->scale_type, at);

	if (is_i4)
		return (float) ((tiles[(k / 8 * 16 + r) * 4 + k % 4] >> (k % 8 < 4 ? 0 : 4) & 15) - l->zeros[at]) * scale;
	return (float) (int8_t) tiles[(k / 4 * 16 + r) * 4 + k % 4] * scale;
}

static bool
is_power_of_two(float x)
{
	int			exponent;

	return frexpf(x, &exponent) == 0.5f;
}

/* Every weight, with its input's factor, is the fp32 image's, to the last bit. */
static void
check_weights(const char *what, const Image *quantized, const Image *exact, EmbTensorForm form, long *n_smoothed)
{
	EmbImageView a = view_of(quantized);
	EmbImageView b = view_of(exact);
	int			n_checked = 0;

	for (uint32_t i = 0; i < a.n_tensors; i++)
	{
		const EmbImageTensor *t = &a.tensors[i];
		Linear		l = linear_of(&a, t);
		const float *panels = part_data(&b, t->key, (EmbPart) t->key.part, EMB_TENSOR_WEIGHT);
		long		n_wrong = 0;

		if (t->key.layer == EMB_NO_LAYER || t->key.kind != EMB_TENSOR_WEIGHT)
			continue;
		CHECKF(t->form == form, "%s: tensor %u of layer %d has form %u", what, t->key.part, t->key.layer, t->form);
		for (uint32_t o = 0; o < t->n_rows; o++)
		{
			/* the row of the fp32 image: gates first */
			uint32_t	panel = o / 16;
			uint32_t	row = !a.arch->is_gated || t->key.part != EMB_PART_FFN_UP ? o
				: (panel % 2 == 0 ? panel / 2 : t->n_rows / 32 + panel / 2) * 16 + o % 16;
			const float *w = panels + (size_t) (row / 16) * 16 * t->n_cols + row % 16;

			for (uint32_t k = 0; k < t->n_cols; k++)
			{
				uint32_t	input = l.order != NULL ? l.order[k] : k;
				float		factor = l.factor != NULL ? l.factor[input] : 1;

				n_wrong += weight_at(&l, o, k) * factor != w[(size_t) input * 16] || !is_power_of_two(factor);
				*n_smoothed += factor != 1;
			}
		}
		CHECKF(n_wrong == 0, "%s: tensor %u of layer %d: %ld weights differ", what, t->key.part, t->key.layer, n_wrong);
		n_checked++;
	}
	CHECKF(n_checked == 6 * a.arch->n_layers, "%s: %d weights", what, n_checked);
}

/* The bits of the import, of the first texts on every level. Returns the mean closeness to fp32. */
static double
check_references(const char *what, const Image *image)
{
	static const char *const levels[] = {"auto", "scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon"};
	EmbAllocator mem = emb_malloc_allocator();
	EmbRun		run = {.mem = &mem};
	EmbModel   *model;
	EmbError	err = {0};
	double		sum = 0;
	int32_t		n_all;

	if (!CHECKF(emb_model_open(image->data, image->size_bytes, EMB_OPEN_CHECK_ALL, &mem, NULL, &model, &err) == EMB_OK, "%s: %s", what, err.message))
		return 0;
	n_all = emb_model_n_references(model);
	for (size_t l = 0; l < sizeof(levels) / sizeof(levels[0]); l++)
	{
		int32_t		n = l == 0 ? n_all : N_LEVEL_TEXTS;
		int			n_wrong = 0;

		if (l > 0 && !emb_isa_is_available(levels[l]))
			continue;
		CHECK(emb_isa_select(levels[l], NULL) == EMB_OK);
		for (int32_t i = 0; i < n; i++)
		{
			EmbReferenceCheck check = {0};

			CHECKF(emb_model_check_reference(model, i, &run, &check, &err) == EMB_OK, "%s: %s", what, err.message);
			n_wrong += !check.ids_equal || !check.bits_equal;
			sum += l == 0 ? check.closeness : 0;
		}
		CHECKF(n_wrong == 0, "%s: %d texts have other ids or bits on %s", what, n_wrong, levels[l]);
	}
	CHECK(emb_isa_select("auto", NULL) == EMB_OK);
	emb_model_close(model);
	return sum / n_all;
}

/* A checkpoint whose codes an image keeps. */
typedef struct Kept
{
	const char *path;			/* below the data */
	const char *precision;
	EmbTensorForm form;
	uint32_t	group;
	double		bound;			/* of the mean closeness to the checkpoint in fp32 */
	const char *kind;
	bool		has_order;
	EmbScaleType scale_type;	/* of the image */
} Kept;

/* Returns how many weights are smoothed. */
static long
check_kept(const char *root, const Kept *kept)
{
	EmbImportOptions options = {.precision = kept->precision, .kind = kept->kind};
	Import		quantized,
				exact;
	EmbImageView view;
	EmbError	err;
	char		path[2 * PATH_MAX];
	double		mean;
	long		n_smoothed = 0;

	snprintf(path, sizeof(path), "%s/%s", root, kept->path);
	if (!CHECKF(import_path(path, &options, &quantized, &err) == EMB_OK, "%s: %s", path, err.message))
		return 0;
	view = view_of(&quantized.image);
	CHECKF(strstr(quantized.notes, "keeps its codes") != NULL, "%s: %s", path, quantized.notes);
	CHECKF(view.config->group == kept->group && view.config->has_order == kept->has_order && view.config->scale_type == kept->scale_type,
		   "%s: group %u, order %u, type of scales %u", path, view.config->group, view.config->has_order, view.config->scale_type);
	options.precision = "fp32";
	CHECK(import_path(path, &options, &exact, &err) == EMB_OK);
	check_weights(path, &quantized.image, &exact.image, kept->form, &n_smoothed);
	CHECKF(kept->form != EMB_FORM_TILES_I8 || n_smoothed == 0, "%s: %ld weights are smoothed", path, n_smoothed);
	mean = check_references(path, &quantized.image);
	printf("# %s in %s: to its own weights %.5f, %ld weights smoothed\n", kept->path, kept->precision, mean, n_smoothed);
	CHECKF(mean > kept->bound, "%s: %.5f", path, mean);
	free(exact.image.data);
	free(quantized.image.data);
	return n_smoothed;
}

/* Any number of threads makes one image, and the caller may want another. */
static void
check_choices(const Kept *kept)
{
	EmbImportOptions options = {.precision = kept->precision, .kind = kept->kind};
	Import		quantized,
				other;
	EmbImageView view;
	EmbError	err;
	char		path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", data_dir(), kept->path);
	CHECK(import_path(path, &options, &quantized, &err) == EMB_OK);
	options.n_threads = 3;
	CHECK(import_path(path, &options, &other, &err) == EMB_OK && is_same(&quantized.image, &other.image));
	free(other.image.data);
	options.group = EMB_GROUP_ROW;
	CHECKF(import_path(path, &options, &other, &err) == EMB_OK && strstr(other.notes, "keeps its codes") == NULL, "%s: %s%s", path, err.message, other.notes);
	view = view_of(&other.image);
	CHECK(view.config->group == (strcmp(kept->precision, "int4") == 0 ? EMB_IMAGE_GROUP_ROW : 0) && !view.config->has_order);
	CHECK(!is_same(&quantized.image, &other.image));
	free(other.image.data);
	free(quantized.image.data);
}

static const Kept own[] = {
	{"tiny/quantized-awq/model", "int4", EMB_FORM_TILES_I4, 32, 0.999, NULL, false, EMB_SCALE_F16},
	{"gguf/qwen3-rerank-Q4_0.gguf", "int4", EMB_FORM_TILES_I4, 32, 0.9, NULL, false, EMB_SCALE_F16},
	{"tiny/quantized-gptq-8bit/model", "int8", EMB_FORM_TILES_I8, 0, 0.999, NULL, false, EMB_SCALE_F32},
	{"tiny/quantized-ct-block/model", "int8", EMB_FORM_GROUP_TILES_I8, 32, 0.999, NULL, false, EMB_SCALE_BF16},
	{"gguf/bge-m3-Q8_0-00002-of-00003.gguf", "int8", EMB_FORM_GROUP_TILES_I8, 32, 0.99, NULL, false, EMB_SCALE_F16},
	{"gguf/qwen3-rerank-gguf-rank-Q8_0.gguf", "int8", EMB_FORM_GROUP_TILES_I8, 32, 0.9, NULL, false, EMB_SCALE_F16},
};

static const Kept goldens[] = {
	{"qwen3-rerank-gptq/model", "int4", EMB_FORM_TILES_I4, 128, 0.99, "reranker", false, EMB_SCALE_F16},
	{"qwen3-rerank-ct-w4a16/model", "int4", EMB_FORM_TILES_I4, 128, 0.95, "reranker", false, EMB_SCALE_BF16},
	{"qwen3-rerank-gptq-8bit/model", "int8", EMB_FORM_TILES_I8, 0, 0.95, "reranker", false, EMB_SCALE_F32},
	{"qwen3-rerank-ct-w8a8/model", "int8", EMB_FORM_TILES_I8, 0, 0.99, "reranker", false, EMB_SCALE_F32},
};

/* ----------------------------------------------------- changed checkpoints */

#define WEIGHTS "model.safetensors"

/* A copy of a model's directory in temp_root, which may be changed. */
static bool
copy_model(const char *dir)
{
	char		command[3 * PATH_MAX];

	snprintf(command, sizeof(command), "cp -r '%s'/. '%s' && chmod -R u+w '%s'", dir, fresh_dir(), temp_root);
	return CHECKF(system(command) == 0, "%s", command);
}

/* The file of weights, which the caller changes and frees. */
static uint8_t *
read_weights(size_t *size)
{
	uint8_t    *data = (uint8_t *) read_file(temp_root, WEIGHTS, size);

	if (data == NULL || *size < 8)
	{
		perror(WEIGHTS);
		exit(1);
	}
	return data;
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
static void
share_orders(void)
{
	static const char *const shared[][2] = {{"self_attn.q_proj", "self_attn.k_proj"}, {"self_attn.q_proj", "self_attn.v_proj"}, {"mlp.gate_proj", "mlp.up_proj"}};
	size_t		size;
	uint8_t    *data = read_weights(&size);

	for (int i = 0; i < 2 * 3; i++)
	{
		char		name[2][128];
		size_t		n[2];
		uint8_t    *bytes[2];

		for (int k = 0; k < 2; k++)
		{
			snprintf(name[k], sizeof(name[k]), "model.layers.%d.%s.g_idx", i / 3, shared[i % 3][k]);
			bytes[k] = tensor_bytes(data, name[k], &n[k]);
		}
		if (CHECK(bytes[0] != NULL && bytes[1] != NULL && n[0] == n[1]))
			memcpy(bytes[1], bytes[0], n[0]);
	}
	write_file(temp_root, WEIGHTS, data, size);
	free(data);
}

static const char *const bert_layers[] = {
	"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense", "intermediate.dense", "output.dense"
};

/* Adds a g_idx to the linear layers of a small BERT: group g has the inputs i with i mod n_groups = g. */
static void
add_orders(void)
{
	size_t		size;
	uint8_t    *data = read_weights(&size);
	uint64_t	header_bytes = 0;
	char		header[20000];
	int32_t		groups[2][96];
	size_t		at;
	size_t		end;

	memcpy(&header_bytes, data, 8);
	end = size - 8 - header_bytes;	/* of the data */
	at = (size_t) snprintf(header, sizeof(header), "%.*s", (int) header_bytes, (const char *) data + 8);
	while (header[at - 1] != '}')
		at--;
	at--;
	for (int i = 0; i < 96; i++)
	{
		groups[0][i] = i % 2;	/* 64 inputs */
		groups[1][i] = i % 3;
	}
	for (int i = 0; i < 2 * 6; i++)
	{
		size_t		n = i % 6 < 5 ? 64 : 96;

		at += (size_t) snprintf(header + at, sizeof(header) - at, ",\"encoder.layer.%d.%s.weight_g_idx\":{\"dtype\":\"I32\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}",
								i / 6, bert_layers[i % 6], n, end, end + 4 * n);
		end += 4 * n;
	}
	header[at++] = '}';
	while (at % 8 != 0)
		header[at++] = ' ';
	if (CHECK(at < sizeof(header) - 300))
	{
		uint8_t    *changed = malloc(8 + at + end);
		uint8_t    *to = changed + 8 + at + (size - 8 - header_bytes);

		memcpy(changed, &(uint64_t) {at}, 8);
		memcpy(changed + 8, header, at);
		memcpy(changed + 8 + at, data + 8 + header_bytes, size - 8 - header_bytes);
		for (int i = 0; i < 2 * 6; i++)
		{
			size_t		n = i % 6 < 5 ? 64 : 96;

			memcpy(to, groups[i % 6 == 5], 4 * n);
			to += 4 * n;
		}
		write_file(temp_root, WEIGHTS, changed, 8 + at + end);
		free(changed);
	}
	free(data);
}

/* Scales of 16 bits change their signs, every other one. */
static void
negate_scales(const char *name)
{
	size_t		size,
				n;
	uint8_t    *data = read_weights(&size);
	uint8_t    *scales = tensor_bytes(data, name, &n);

	if (CHECKF(scales != NULL, "%s", name))
	{
		for (size_t i = 1; i < n; i += 4)
			scales[i] ^= 0x80;
		write_file(temp_root, WEIGHTS, data, size);
	}
	free(data);
}

/* The scales of the first n_layers linear layers of a small BERT become binary16, with the same values times factor. */
static void
change_types(int n_layers, float factor)
{
	size_t		size,
				n;
	uint8_t    *data = read_weights(&size);

	for (int i = 0; i < n_layers; i++)
	{
		char		name[128];
		uint8_t    *bytes;
		char	   *type;

		snprintf(name, sizeof(name), "encoder.layer.%d.%s.weight_scale", i / 6, bert_layers[i % 6]);
		if (!CHECKF((bytes = tensor_bytes(data, name, &n)) != NULL, "%s", name))
			continue;
		for (size_t k = 0; k < n; k += 2)
		{
			uint16_t	h;

			memcpy(&h, bytes + k, 2);
			h = emb_f16_of_float(emb_float_of_bf16(h) * factor);
			memcpy(bytes + k, &h, 2);
		}
		type = strstr(strstr((char *) data + 8, name), "\"BF16\"");
		memcpy(type, "\"F16\" ", 6);
	}
	write_file(temp_root, WEIGHTS, data, size);
	free(data);
}

/* Four inputs of the second group of layer 0's FFN become so many times larger: 2^exponent. */
static void
enlarge_inputs(int exponent)
{
	size_t		size,
				n;
	uint8_t    *data = read_weights(&size);
	uint8_t    *gamma = tensor_bytes(data, "encoder.layer.0.attention.output.LayerNorm.weight", &n);

	if (CHECK(gamma != NULL && n == 2 * 64))
	{
		for (int k = 40; k < 48; k += 2)
			gamma[2 * k + 1] += exponent << 2;	/* of binary16 */
		write_file(temp_root, WEIGHTS, data, size);
	}
	free(data);
}

/* Outputs 0 .. 23 of layer 0's FFN have weights of zero, with the largest scale that there is. */
static void
empty_block(void)
{
	size_t		size,
				n;
	uint8_t    *data = read_weights(&size);
	uint8_t    *weight = tensor_bytes(data, "encoder.layer.0.intermediate.dense.weight", &n);
	uint8_t    *scales = tensor_bytes(data, "encoder.layer.0.intermediate.dense.weight_scale", &n);

	if (CHECK(weight != NULL && scales != NULL && n == 2 * 4 * 2))
	{
		memset(weight, 0, 24 * 64);
		memcpy(scales, (uint16_t[]) {0x7BFF, 0x7BFF}, 4);
		write_file(temp_root, WEIGHTS, data, size);
	}
	free(data);
}

static void
test_kept(void)
{
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
	{
		check_kept(data_dir(), &own[i]);
		check_choices(&own[i]);
	}
}

/* Inputs in an order of their own, and scales below zero. */
static void
test_changed(void)
{
	char		dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/tiny/quantized-ct-block/model", data_dir());
	if (copy_model(dir))
	{
		add_orders();
		check_kept(temp_root, &(Kept) {".", "int8", EMB_FORM_GROUP_TILES_I8, 32, 0.999, NULL, true, EMB_SCALE_BF16});
	}
	if (copy_model(dir))
	{
		negate_scales("encoder.layer.0.attention.self.key.weight_scale");
		negate_scales("encoder.layer.1.output.dense.weight_scale");
		check_kept(temp_root, &(Kept) {".", "int8", EMB_FORM_GROUP_TILES_I8, 32, 0.999, NULL, false, EMB_SCALE_BF16});
	}
}

/* Inputs of one group, in both orders, are much larger than others: weights keep their values, but are smoothed. */
static void
test_smoothed(void)
{
	char		dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/tiny/quantized-ct-block/model", data_dir());
	for (int i = 0; i < 2 && copy_model(dir); i++)
	{
		enlarge_inputs(5);
		if (i == 1)
			add_orders();
		CHECK(check_kept(temp_root, &(Kept) {".", "int8", EMB_FORM_GROUP_TILES_I8, 32, 0.99, NULL, i == 1, EMB_SCALE_BF16}) > 0);
	}
}

/* The image's scales are of the checkpoint's type, and keep their values where smoothing could exceed it. */
static void
test_scale_types(void)
{
	static const Kept half = {".", "int8", EMB_FORM_GROUP_TILES_I8, 32, 0.99, NULL, false, EMB_SCALE_F16};
	static const Kept mixed = {".", "int8", EMB_FORM_GROUP_TILES_I8, 32, 0.99, NULL, false, EMB_SCALE_F32};
	char		dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/tiny/quantized-ct-block/model", data_dir());
	if (copy_model(dir))
	{
		change_types(12, 1);
		check_kept(temp_root, &half);
		enlarge_inputs(5);
		CHECK(check_kept(temp_root, &half) > 0);
		empty_block();
		CHECK(check_kept(temp_root, &half) > 0);
	}
	if (copy_model(dir))
	{
		change_types(1, 1);
		enlarge_inputs(5);
		CHECK(check_kept(temp_root, &mixed) > 0);
	}
	/* subnormal scales, which a factor below 1 would round */
	if (copy_model(dir))
	{
		change_types(12, 0x1p-8f);
		enlarge_inputs(5);
		CHECK(check_kept(temp_root, &half) > 0);
	}
	/* scales of 2^14: a factor of 2 or more would exceed the type */
	if (copy_model(dir))
	{
		change_types(12, 0x1p26f);
		enlarge_inputs(5);
		check_kept(temp_root, &half);
	}
}

static void
test_goldens(void)
{
	char		root[PATH_MAX],
				dir[2 * PATH_MAX];

	if (shared_dir() == NULL)
	{
		skip("no goldens in EMBED_SHARED");
		return;
	}
	snprintf(root, sizeof(root), "%s/goldens/tiny", shared_dir());
	for (size_t i = 0; i < sizeof(goldens) / sizeof(goldens[0]); i++)
		check_kept(root, &goldens[i]);
	snprintf(dir, sizeof(dir), "%s/qwen3-rerank-gptq-desc-act/model", root);
	if (copy_model(dir))
	{
		share_orders();
		check_kept(temp_root, &(Kept) {".", "int4", EMB_FORM_TILES_I4, 64, 0.95, "reranker", true, EMB_SCALE_F16});
	}
	snprintf(dir, sizeof(dir), "%s/qwen3-rerank-ct-w8a8/model", root);
	if (copy_model(dir))
	{
		negate_scales("model.layers.1.mlp.up_proj.weight_scale");
		check_kept(temp_root, &(Kept) {".", "int8", EMB_FORM_TILES_I8, 0, 0.98, "reranker", false, EMB_SCALE_F32});
	}
}

/* Quantized again, with a note that says so; NULL: none, there are no codes. */
static void
test_unfit(void)
{
	static const struct
	{
		const char *model,
				   *precision,
				   *note;
	}			cases[] = {
		{"quantized-ct-int8", "int8", "an int8 image cannot have"},	/* zeros of its second layer */
		{"quantized-gptq", "int8", "an int8 image cannot have"},	/* most layers have 4 bits */
		{"quantized-gptq", "int4", "an int4 image cannot have"},	/* others 8 */
		{"quantized-awq", "int8", "an int8 image cannot have"},
		{"quantized-gptq-8bit", "int4", "an int4 image cannot have"},
		{"quantized-llm-int8", "int8", NULL},
		{"bert-cls", "int8", NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		EmbImportOptions options = {.precision = cases[i].precision};
		Import		im;
		EmbError	err;
		char		path[PATH_MAX];

		snprintf(path, sizeof(path), "%s/tiny/%s/model", data_dir(), cases[i].model);
		if (!CHECKF(import_path(path, &options, &im, &err) == EMB_OK, "%s: %s", path, err.message))
			continue;
		CHECKF(strstr(im.notes, "keeps its codes") == NULL && (cases[i].note != NULL ? strstr(im.notes, cases[i].note) != NULL : strstr(im.notes, "quantized before") == NULL),
			   "%s in %s: %s", path, cases[i].precision, im.notes);
		CHECK(view_of(&im.image).config->group == (strcmp(cases[i].precision, "int4") == 0 ? 128 : 0));
		free(im.image.data);
	}
}

/* Who gives texts to calibrate with wants to be calibrated. */
static void
test_calibrated(void)
{
	static const char *const texts[] = {"a text", "another one"};
	EmbImportOptions options = {.precision = "int8", .calibration_texts = texts, .n_calibration_texts = 2};
	Import		im;
	EmbError	err;
	char		path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/tiny/quantized-gptq-8bit/model", data_dir());
	if (CHECKF(import_path(path, &options, &im, &err) == EMB_OK, "%s", err.message))
		CHECKF(im.notes[0] == '\0', "%s", im.notes);
	free(im.image.data);
}

/* ------------------------------------------------------------------- damage */

/* Whether the image with n other bytes at a place is refused; restores them. */
static bool
is_refused(Image *image, uint64_t at, const void *bytes, size_t n, const char *message)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbModel   *model = NULL;
	EmbError	err = {0};
	uint8_t		before[64];
	EmbStatus	status;

	memcpy(before, image->data + at, n);
	memcpy(image->data + at, bytes, n);
	image_fix_header(image->data, image->size_bytes);
	status = emb_model_open(image->data, image->size_bytes, EMB_OPEN_CHECK_ALL, &mem, NULL, &model, &err);
	if (status == EMB_OK)
		emb_model_close(model);
	memcpy(image->data + at, before, n);
	image_fix_header(image->data, image->size_bytes);
	if (status == EMB_ERR_FORMAT && strstr(err.message, message) != NULL)
		return true;
	printf("# byte %llu: status %d, \"%s\" instead of \"%s\"\n", (unsigned long long) at, status, err.message, message);
	return false;
}

static uint64_t
config_at(const EmbImageView *view, size_t field)
{
	return (uint64_t) ((const uint8_t *) view->config - view->base) + field;
}

static void
check_damage(const char *path, const char *precision, bool has_zeros)
{
	static const uint8_t one = 1;
	static const uint32_t nan = 0x7FC00000;
	EmbImportOptions options = {.precision = precision};
	Import		im;
	EmbImageView view;
	EmbError	err;
	const EmbImageTensor *t;

	if (!CHECKF(import_path(path, &options, &im, &err) == EMB_OK, "%s", err.message))
		return;
	view = view_of(&im.image);
	for (uint32_t group = 0; group < 300; group++)
	{
		/* another group that a reader knows is another plan of tensors */
		if (group != view.config->group)
			CHECK(is_refused(&im.image, config_at(&view, offsetof(EmbImageConfig, group)), &group, 4, "image's"));
	}
	CHECK(is_refused(&im.image, config_at(&view, offsetof(EmbImageConfig, has_order)), &(uint32_t) {1}, 4, "section table"));
	CHECK(is_refused(&im.image, config_at(&view, offsetof(EmbImageConfig, keep_int8)), &(uint32_t) {5}, 4, "stay int8"));
	CHECK(is_refused(&im.image, config_at(&view, offsetof(EmbImageConfig, scale_type)), &(uint32_t) {EMB_SCALE_F32}, 4, "section table"));
	CHECK(is_refused(&im.image, config_at(&view, offsetof(EmbImageConfig, scale_type)), &(uint32_t) {3}, 4, "type of scales"));
	t = emb_image_find(&view, 1, EMB_PART_FFN_DOWN, EMB_TENSOR_WEIGHT);
	CHECK(is_refused(&im.image, t->offset + 5, &(uint8_t) {im.image.data[t->offset + 5] ^ 1}, 1, "not the sum"));
	t = emb_image_find(&view, 1, EMB_PART_FFN_DOWN, EMB_TENSOR_GROUP_SCALE);
	CHECK(is_refused(&im.image, t->offset + 8, &nan, 4, "image's tensor"));
	CHECK(is_refused(&im.image, t->offset + 8, &(float) {1}, 4, "not the sum"));
	t = emb_image_find(&view, 1, EMB_PART_FFN_DOWN, EMB_TENSOR_SUMS);
	CHECK(is_refused(&im.image, t->offset + 8, &(float) {1234}, 4, "not the sum"));
	CHECK(is_refused(&im.image, t->offset + 8, &nan, 4, "image's tensor"));
	/* 96 inputs are padded to 128 */
	t = emb_image_find(&view, 1, EMB_PART_FFN_DOWN, EMB_TENSOR_WEIGHT);
	if (t->n_cols % 64 != 0)
		CHECK(is_refused(&im.image, t->offset + emb_pack_i8_bytes(16, (int32_t) t->n_cols) / (has_zeros ? 2 : 1) - 1, &one, 1, "not zero"));
	t = emb_image_find(&view, 1, EMB_PART_FFN_DOWN, EMB_TENSOR_GROUP_ZERO);
	CHECK((t != NULL) == has_zeros);
	if (t != NULL)
		CHECK(is_refused(&im.image, t->offset, &(uint8_t) {16}, 1, "a zero above 15"));
	free(im.image.data);
}

static void
test_damage(void)
{
	char		path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/tiny/quantized-ct-block/model", data_dir());
	check_damage(path, "int8", false);
	snprintf(path, sizeof(path), "%s/tiny/quantized-awq/model", data_dir());
	check_damage(path, "int4", true);
}

int
main(void)
{
	test_kept();
	test_changed();
	test_smoothed();
	test_scale_types();
	test_goldens();
	test_unfit();
	test_calibrated();
	test_damage();
	emb_threads_stop();
	return done_testing();
}
