/*
 * test_dense.c
 *		Modules Dense behind the pooling, and the poolings themselves: against
 *		a plain computation from the vectors of the model without them.
 */
#include <math.h>

#include "transformer/dense.h"
#include "transformer/pooling.h"
#include "formats/json.h"
#include "model_util.h"

#define ST		"sentence_transformers.models."
#define HIDDEN	8				/* of the small model */
#define OUT		5
#define MAX_IDS	16
#define N_TEXTS	3
#define TOLERANCE	2e-6

static EmbAllocator heap;
static const char *const texts[N_TEXTS] = {"a b c", "the data of a database", "e"};

typedef double (*Function) (double x);

static double
identity(double x)
{
	return x;
}

static double
gelu(double x)
{
	return x / 2 * (1 + erf(x / sqrt(2)));
}

static double
relu(double x)
{
	return x > 0 ? x : 0;
}

static double
silu(double x)
{
	return x / (1 + exp(-x));
}

static const struct
{
	const char *class;
	Function	f;
}			activations[] =
{
	{"torch.nn.modules.linear.Identity", identity},
	{"torch.nn.modules.activation.Tanh", tanh},
	{"torch.nn.modules.activation.GELU", gelu},
	{"torch.nn.modules.activation.ReLU", relu},
	{"torch.nn.modules.activation.SiLU", silu},
};

/* Numbers of either sign between -1 and 1. */
static float
weight_at(int i)
{
	return (float) ((i * 37 + 11) % 64 - 32) / 32.0f;
}

/* Writes a Dense: weights from weight_at(seed) on. header NULL: the right one. */
static void
write_dense(const char *dir, const char *sub, const char *config, int n_in, int n_out, bool bias, int seed, const char *header)
{
	char		path[PATH_MAX];
	char		own[512];
	float		data[256];
	int			n = 0;

	snprintf(path, sizeof(path), "%.3000s/%s", dir, sub);
	mkdir(path, 0700);
	write_text(path, "config.json", config);
	for (int i = 0; i < n_in * n_out + (bias ? n_out : 0); i++)
		data[n++] = weight_at(seed + i);
	snprintf(own, sizeof(own), "{\"linear.weight\": {\"dtype\": \"F32\", \"shape\": [%d, %d], \"data_offsets\": [0, %d]}", n_out, n_in, n_in * n_out * 4);
	if (bias)
		snprintf(own + strlen(own), sizeof(own) - strlen(own), ", \"linear.bias\": {\"dtype\": \"F32\", \"shape\": [%d], \"data_offsets\": [%d, %d]}",
				 n_out, n_in * n_out * 4, n * 4);
	strcat(own, "}");
	write_safetensors(path, "model.safetensors", header != NULL ? header : own, data, (size_t) n * sizeof(float));
}

static void
dense_config(char *buf, size_t size, int n_in, int n_out, bool bias, const char *activation)
{
	snprintf(buf, size, "{\"in_features\": %d, \"out_features\": %d, \"bias\": %s, \"activation_function\": \"%s\"}",
			 n_in, n_out, bias ? "true" : "false", activation);
}

/* What a Dense of write_dense makes of x, in place. */
static void
apply_dense(double *x, int n_in, int n_out, bool bias, int seed, Function f)
{
	double		y[64];

	for (int o = 0; o < n_out; o++)
	{
		y[o] = bias ? weight_at(seed + n_in * n_out + o) : 0;
		for (int i = 0; i < n_in; i++)
			y[o] += weight_at(seed + o * n_in + i) * x[i];
	}
	for (int o = 0; o < n_out; o++)
		x[o] = f(y[o]);
}

static void
normalize(double *x, int n)
{
	double		sum = 0;

	for (int i = 0; i < n; i++)
		sum += x[i] * x[i];
	for (int i = 0; i < n; i++)
		x[i] /= fmax(sqrt(sum), 1e-12);
}

/* Vectors [N_TEXTS, dim] of the model in dir; dim, or 0 where it cannot be had. */
static int32_t
embed_dir(const char *dir, const EmbImportOptions *options, float *out)
{
	Image		image;
	EmbModel   *model;
	EmbError	err;
	EmbRun		run = {.mem = &heap};
	static int32_t ids[N_TEXTS][MAX_IDS];
	EmbSequence seqs[N_TEXTS];
	int32_t		dim;

	if (!CHECKF(import_image(dir, options, &heap, &image, &err) == EMB_OK, "%s", err.message) ||
		!CHECKF(emb_model_open(image.data, image.size_bytes, EMB_OPEN_CHECK_ALL, &heap, NULL, &model, &err) == EMB_OK, "%s", err.message))
		return 0;
	dim = emb_model_info(model)->dim;
	for (int i = 0; i < N_TEXTS; i++)
	{
		EmbEncoded	r;

		CHECK(emb_model_encode(model, EMB_PROMPT_DOCUMENT, &(EmbText) {texts[i], strlen(texts[i]), true, NULL},
				&(EmbReading) {.ids = ids[i], .max_ids = MAX_IDS, .mem = &heap}, &r, &err) == EMB_OK);
		seqs[i] = (EmbSequence) {.ids = ids[i], .n_ids = r.n_ids};
	}
	CHECKF(emb_model_embed(model, seqs, N_TEXTS, &run, out, &err) == EMB_OK, "%s", err.message);
	for (int i = 0; i < N_TEXTS; i++)
	{
		float		alone[64];

		CHECK(emb_model_embed(model, &seqs[i], 1, &run, alone, &err) == EMB_OK &&
			  memcmp(alone, out + i * dim, dim * sizeof(float)) == 0);
	}
	for (int i = 0; i < emb_model_n_references(model); i += 9)
	{
		EmbReferenceCheck check;

		CHECK(emb_model_check_reference(model, i, &run, &check, &err) == EMB_OK && check.ids_equal && check.bits_equal && check.closeness > 0.9f);
	}
	emb_model_close(model);
	free(image.data);
	return dim;
}

#define MODULE(path, type)	"{\"path\": \"" path "\", \"type\": \"" type "\"}"
#define BEGIN	"[" MODULE("", ST "Transformer") ", " MODULE("1_Pooling", ST "Pooling")
#define MEAN	"{\"pooling_mode_mean_tokens\": true}"

static void
write_model(const char *modules, const char *pooling)
{
	SmallModel	small = small_model();

	small.modules = modules;
	small.pooling = pooling;
	write_small_model(fresh_dir(), &small);
}

/* One Dense of each activation, with and without a bias, with and without Normalize on either side. */
static void
test_one(const char *precision)
{
	static const char *const modules[4] = {
		BEGIN ", " MODULE("2_Dense", ST "Dense") "]",
		BEGIN ", " MODULE("2_Dense", ST "Dense") ", " MODULE("3_Normalize", ST "Normalize") "]",
		BEGIN ", " MODULE("2_Normalize", ST "Normalize") ", " MODULE("2_Dense", "sentence_transformers.sentence_transformer.modules.dense.Dense") "]",
		BEGIN ", " MODULE("2_Normalize", ST "Normalize") ", " MODULE("", ST "Dropout") ", " MODULE("2_Dense", ST "Dense") ", " MODULE("3_Normalize", ST "Normalize") "]",
	};
	EmbImportOptions options = {.precision = precision};
	float		pooled[N_TEXTS * HIDDEN];

	write_model(BEGIN "]", MEAN);
	if (embed_dir(temp_root, &options, pooled) != HIDDEN)
		return;
	for (int k = 0; k < 5 * 8; k++)
	{
		bool		bias = k & 1;
		int			m = k / 2 % 4;
		Function	f = activations[k / 8].f;
		char		config[256];
		float		got[N_TEXTS * OUT];
		double		worst = 0;

		write_model(modules[m], MEAN);
		dense_config(config, sizeof(config), HIDDEN, OUT, bias, activations[k / 8].class);
		write_dense(temp_root, "2_Dense", config, HIDDEN, OUT, bias, k, NULL);
		if (!CHECK(embed_dir(temp_root, &options, got) == OUT))
			continue;
		for (int i = 0; i < N_TEXTS; i++)
		{
			double		x[HIDDEN];

			for (int j = 0; j < HIDDEN; j++)
				x[j] = pooled[i * HIDDEN + j];
			if (m >= 2)
				normalize(x, HIDDEN);
			apply_dense(x, HIDDEN, OUT, bias, k, f);
			if (m % 2 == 1)
				normalize(x, OUT);
			for (int j = 0; j < OUT; j++)
				worst = fmax(worst, fabs(x[j] - got[i * OUT + j]));
		}
		CHECKF(worst < TOLERANCE, "%s, modules %d, bias %d, %s: off by %g", activations[k / 8].class, m, bias, precision, worst);
	}
}

/* Two of them, the first wider than the model and than a panel; cut. */
static void
test_two(void)
{
	static const char *const modules = BEGIN ", " MODULE("2_Dense", ST "Dense") ", " MODULE("3_Normalize", ST "Normalize") ", "
		MODULE("4_Dense", ST "Dense") "]";
	EmbImportOptions options = {.precision = "fp32"};
	float		pooled[N_TEXTS * HIDDEN];
	float		got[N_TEXTS * 3];
	float		cut[N_TEXTS * 2];
	char		config[256];

	write_model(BEGIN "]", MEAN);
	if (embed_dir(temp_root, &options, pooled) != HIDDEN)
		return;
	write_model(modules, MEAN);
	dense_config(config, sizeof(config), HIDDEN, 19, true, activations[1].class);
	write_dense(temp_root, "2_Dense", config, HIDDEN, 19, true, 3, NULL);
	dense_config(config, sizeof(config), 19, 3, false, activations[2].class);
	write_dense(temp_root, "4_Dense", config, 19, 3, false, 5, NULL);
	if (embed_dir(temp_root, &options, got) != 3)
		return;
	for (int i = 0; i < N_TEXTS; i++)
	{
		double		x[19];

		for (int j = 0; j < HIDDEN; j++)
			x[j] = pooled[i * HIDDEN + j];
		apply_dense(x, HIDDEN, 19, true, 3, tanh);
		normalize(x, 19);
		apply_dense(x, 19, 3, false, 5, gelu);
		for (int j = 0; j < 3; j++)
			CHECKF(fabs(x[j] - got[i * 3 + j]) < TOLERANCE, "text %d: %g, not %g", i, got[i * 3 + j], x[j]);
	}
	options.dimensions = 2;
	CHECK(embed_dir(temp_root, &options, cut) == 2);
	for (int i = 0; i < N_TEXTS; i++)
	{
		emb_normalize(got + i * 3, 2);
		CHECK(memcmp(cut + i * 2, got + i * 3, 2 * sizeof(float)) == 0);
	}
}

/* Writes a LayerNorm: weights around 1 and biases from weight_at(seed) on. */
static void
write_layer_norm(const char *dir, const char *sub, int n, int seed)
{
	char		path[PATH_MAX];
	char		text[256];
	float		data[64];

	snprintf(path, sizeof(path), "%.3000s/%s", dir, sub);
	mkdir(path, 0700);
	snprintf(text, sizeof(text), "{\"dimension\": %d}", n);
	write_text(path, "config.json", text);
	for (int i = 0; i < 2 * n; i++)
		data[i] = weight_at(seed + i) + (i < n);
	snprintf(text, sizeof(text), "{\"norm.weight\": {\"dtype\": \"F32\", \"shape\": [%d], \"data_offsets\": [0, %d]}, "
			 "\"norm.bias\": {\"dtype\": \"F32\", \"shape\": [%d], \"data_offsets\": [%d, %d]}}", n, n * 4, n, n * 4, n * 8);
	write_safetensors(path, "model.safetensors", text, data, 2 * (size_t) n * sizeof(float));
}

/* What a LayerNorm of write_layer_norm makes of x, in place. */
static void
apply_layer_norm(double *x, int n, int seed)
{
	double		mean = 0;
	double		square = 0;

	for (int i = 0; i < n; i++)
		mean += x[i] / n;
	for (int i = 0; i < n; i++)
		square += (x[i] - mean) * (x[i] - mean) / n;
	for (int i = 0; i < n; i++)
		x[i] = (x[i] - mean) / sqrt(square + 1e-5) * (weight_at(seed + i) + 1) + weight_at(seed + n + i);
}

/* Layer norms before and between dense layers. */
static void
test_layer_norms(const char *precision)
{
	static const char modules[] = BEGIN ", " MODULE("2_LayerNorm", ST "LayerNorm") ", " MODULE("3_Dense", ST "Dense") ", "
		MODULE("4_LayerNorm", "sentence_transformers.sentence_transformer.modules.layer_norm.LayerNorm") ", " MODULE("5_Normalize", ST "Normalize") ", "
		MODULE("6_Dense", ST "Dense") "]";
	EmbImportOptions options = {.precision = precision};
	float		pooled[N_TEXTS * HIDDEN];
	float		got[N_TEXTS * 19];
	char		config[256];

	write_model(BEGIN "]", MEAN);
	if (embed_dir(temp_root, &options, pooled) != HIDDEN)
		return;
	write_model(modules, MEAN);
	write_layer_norm(temp_root, "2_LayerNorm", HIDDEN, 5);
	dense_config(config, sizeof(config), HIDDEN, 19, false, activations[2].class);
	write_dense(temp_root, "3_Dense", config, HIDDEN, 19, false, 3, NULL);
	write_layer_norm(temp_root, "4_LayerNorm", 19, 7);
	dense_config(config, sizeof(config), 19, 3, true, activations[0].class);
	write_dense(temp_root, "6_Dense", config, 19, 3, true, 5, NULL);
	if (embed_dir(temp_root, &options, got) != 3)
		return;
	for (int i = 0; i < N_TEXTS; i++)
	{
		double		x[19];

		for (int j = 0; j < HIDDEN; j++)
			x[j] = pooled[i * HIDDEN + j];
		apply_layer_norm(x, HIDDEN, 5);
		apply_dense(x, HIDDEN, 19, false, 3, gelu);
		apply_layer_norm(x, 19, 7);
		normalize(x, 19);
		apply_dense(x, 19, 3, true, 5, identity);
		for (int j = 0; j < 3; j++)
			CHECKF(fabs(x[j] - got[i * 3 + j]) < TOLERANCE, "text %d: %g, not %g", i, got[i * 3 + j], x[j]);
	}
}

/* Several poolings are the vectors of each, one behind the other; and what is no list of them. */
static void
test_several(const char *precision)
{
	static const char *const names[] = {"lasttoken", "cls", "weightedmean", "max", "mean", "mean_sqrt_len_tokens"};
	static const struct
	{
		const char *config;
		const char *option;
		int			n;
		int			order[6];
	}			lists[] =
	{
		{"{\"pooling_mode\": [\"weightedmean\", \"cls\"]}", NULL, 2, {2, 1}},
		{"{\"pooling_mode\": [\"lasttoken\"], \"embedding_dimension\": 8}", NULL, 1, {0}},
		/* sentence-transformers' order of its older keys */
		{"{\"pooling_mode_mean_tokens\": true, \"pooling_mode_lasttoken\": true, \"pooling_mode_cls_token\": true, \"pooling_mode_max_tokens\": true, "
			"\"pooling_mode_weightedmean_tokens\": true, \"pooling_mode_mean_sqrt_len_tokens\": true}", NULL, 6, {1, 3, 4, 5, 2, 0}},
		{"{\"pooling_mode_cls_token\": true}", NULL, 1, {1}},
		{"{}", NULL, 1, {4}},
		{"{}", "max+weightedmean", 2, {3, 2}},
	};
	static const char *const wrong[] = {
		"{\"pooling_mode\": [\"cls\", \"cls\"]}", "{\"pooling_mode\": []}", "{\"pooling_mode\": [1]}", "{\"pooling_mode\": [\"cls\", \"sum\"]}",
		"{\"pooling_mode\": {}}", "{\"pooling_mode\": \"cls+mean\"}", "{\"embedding_dimension\": 9}"
	};
	static float single[6][N_TEXTS * HIDDEN];
	EmbImportOptions options = {.precision = precision};

	for (int i = 0; i < 6; i++)
	{
		char		config[64];

		snprintf(config, sizeof(config), "{\"pooling_mode\": \"%s\"}", names[i]);
		write_model(BEGIN "]", config);
		CHECK(embed_dir(temp_root, &options, single[i]) == HIDDEN);
	}
	for (size_t k = 0; k < sizeof(lists) / sizeof(lists[0]); k++)
	{
		float		got[N_TEXTS * 6 * HIDDEN];
		int			n = lists[k].n;

		options.pooling = lists[k].option;
		write_model(BEGIN "]", lists[k].config);
		if (!CHECKF(embed_dir(temp_root, &options, got) == n * HIDDEN, "%s", lists[k].config))
			continue;
		for (int i = 0; i < N_TEXTS * n; i++)
			CHECKF(memcmp(got + i * HIDDEN, single[lists[k].order[i % n]] + i / n * HIDDEN, HIDDEN * sizeof(float)) == 0,
				   "%s: text %d, pooling %d", lists[k].config, i / n, i % n);
	}
	options.pooling = NULL;
	for (size_t k = 0; k < sizeof(wrong) / sizeof(wrong[0]); k++)
	{
		Image		image;
		EmbError	err;
		EmbStatus	status;

		write_model(BEGIN "]", wrong[k]);
		status = import_image(temp_root, &options, &heap, &image, &err);
		CHECKF((status == EMB_ERR_FORMAT || status == EMB_ERR_UNSUPPORTED) && strstr(err.message, "1_Pooling/config.json") != NULL,
			   "%s: status %d, \"%s\"", wrong[k], status, err.message);
	}
}

/* The weights of a mean by position, against a plain computation. */
static void
test_weighted_mean(void)
{
	enum
	{
		N_BEFORE = 3,			/* of a prompt that is not pooled: the places count on */
		N = 34
	};
	EmbArch		arch = {.hidden = HIDDEN, .pooling = EMB_POOL_WEIGHTED_MEAN | EMB_POOL_LAST << EMB_POOLING_BITS};
	float		rows[(N_BEFORE + N) * HIDDEN];
	float		out[2 * HIDDEN];

	for (int i = 0; i < (N_BEFORE + N) * HIDDEN; i++)
		rows[i] = weight_at(i * 5);
	emb_pool_rows(emb_kernels(), &arch, rows + N_BEFORE * HIDDEN, HIDDEN, N, N_BEFORE, out);
	for (int k = 0; k < HIDDEN; k++)
	{
		double		sum = 0;
		double		weights = 0;

		for (int i = N_BEFORE; i < N_BEFORE + N; i++)
		{
			sum += (i + 1) * (double) rows[i * HIDDEN + k];
			weights += i + 1;
		}
		CHECKF(fabs(out[k] - sum / weights) < TOLERANCE, "element %d: %g, not %g", k, out[k], sum / weights);
		CHECK(out[HIDDEN + k] == rows[(N_BEFORE + N - 1) * HIDDEN + k]);
	}
}

/* Sum over square root is mean times square root; the largest is no less than the mean. */
static void
test_poolings(const char *precision)
{
	static const int n_ids[N_TEXTS] = {5, 8, 3};
	EmbImportOptions options = {.precision = precision};
	float		mean[N_TEXTS * HIDDEN];
	float		largest[N_TEXTS * HIDDEN];
	float		root[N_TEXTS * HIDDEN];
	int			n_larger = 0;

	write_model(BEGIN "]", MEAN);
	CHECK(embed_dir(temp_root, &options, mean) == HIDDEN);
	write_model(BEGIN "]", "{\"pooling_mode_mean_tokens\": false, \"pooling_mode_max_tokens\": true}");
	CHECK(embed_dir(temp_root, &options, largest) == HIDDEN);
	write_model(BEGIN "]", "{\"pooling_mode\": \"mean_sqrt_len_tokens\"}");
	CHECK(embed_dir(temp_root, &options, root) == HIDDEN);
	for (int i = 0; i < N_TEXTS * HIDDEN; i++)
	{
		CHECK(largest[i] >= mean[i] - 1e-6f);
		n_larger += largest[i] > mean[i] + 1e-3f;
		CHECKF(fabs(root[i] - mean[i] * sqrt(n_ids[i / HIDDEN])) < 1e-5, "element %d: %g of %g", i, root[i], mean[i]);
	}
	CHECK(n_larger > N_TEXTS * HIDDEN / 2);
}

#define DENSE(more)	"{\"in_features\": 8, \"out_features\": 5, \"bias\": true, \"activation_function\": \"torch.nn.modules.activation.Tanh\"" more "}"
#define TENSORS(name, rows, bias)	"{\"" name "\": {\"dtype\": \"F32\", \"shape\": [" rows "], \"data_offsets\": [0, 160]}, \"" bias "\": {\"dtype\": \"F32\", \"shape\": [5], \"data_offsets\": [160, 180]}}"

static void
test_refused(void)
{
	static const char right[] = BEGIN ", " MODULE("2_Dense", ST "Dense") "]";
	static const struct
	{
		const char *modules;
		const char *config;
		const char *header;
		EmbStatus	status;
		const char *message,
				   *also;
	}			wrong[] =
	{
		{right, "{\"in_features\": 7, \"out_features\": 5}", NULL, EMB_ERR_FORMAT, "2_Dense/config.json", "in_features"},
		{right, "{\"out_features\": 5}", NULL, EMB_ERR_FORMAT, "2_Dense/config.json", "in_features"},
		{right, "{\"in_features\": 8}", NULL, EMB_ERR_FORMAT, "2_Dense/config.json", "out_features"},
		{right, "{\"in_features\": 8, \"out_features\": 0}", NULL, EMB_ERR_FORMAT, "2_Dense/config.json", "out_features"},
		{right, "{\"in_features\": 8, \"out_features\": 100000}", NULL, EMB_ERR_FORMAT, "2_Dense/config.json", "out_features"},
		{right, "{\"in_features\": 8, \"out_features\": 5, \"bias\": 3}", NULL, EMB_ERR_FORMAT, "2_Dense/config.json", "bias"},
		{right, "[]", NULL, EMB_ERR_FORMAT, "2_Dense/config.json", "object"},
		{right, DENSE(", \"module_input_name\": \"token_embeddings\""), NULL, EMB_ERR_UNSUPPORTED, "module_input_name", "token_embeddings"},
		{right, "{\"in_features\": 8, \"out_features\": 5, \"activation_function\": \"torch.nn.modules.activation.Softmax\"}", NULL, EMB_ERR_UNSUPPORTED, "activation_function", "Softmax"},
		{right, "{\"in_features\": 8, \"out_features\": 5, \"activation_function\": \"evil.Tanh\"}", NULL, EMB_ERR_UNSUPPORTED, "2_Dense/config.json", "evil.Tanh"},
		{right, DENSE(""), TENSORS("weight", "5, 8", "bias"), EMB_ERR_NOT_FOUND, "dense.0.linear.weight", NULL},
		{right, DENSE(""), TENSORS("linear.weight", "8, 5", "linear.bias"), EMB_ERR_FORMAT, "dense.0.linear.weight", "[8, 5]"},
		{right, DENSE(""), TENSORS("linear.weight", "5, 8", "bias"), EMB_ERR_NOT_FOUND, "dense.0.linear.bias", NULL},
		{right, DENSE(""), "{", EMB_ERR_FORMAT, "2_Dense/model.safetensors", NULL},
		{BEGIN ", " MODULE("3_Dense", ST "Dense") "]", DENSE(""), NULL, EMB_ERR_NOT_FOUND, "3_Dense/config.json", NULL},
		{BEGIN ", " MODULE("../x", ST "Dense") "]", DENSE(""), NULL, EMB_ERR_FORMAT, "modules.json", "../x"},
		{BEGIN ", " MODULE("2_Dense", ST "Dense") ", " MODULE("2_Dense", ST "Dense") "]", DENSE(""), NULL, EMB_ERR_FORMAT, "in_features", "returns 5"},
		{BEGIN ", " MODULE("2_Dense", ST "Dense") ", " MODULE("2_Dense", ST "Dense") ", " MODULE("2_Dense", ST "Dense") ", " MODULE("2_LayerNorm", ST "LayerNorm") ", " MODULE("2_Dense", ST "Dense") "]", DENSE(""), NULL, EMB_ERR_UNSUPPORTED, "more than 4", "Dense"},
		{BEGIN ", " MODULE("2_LayerNorm", ST "LayerNorm") "]", DENSE(""), NULL, EMB_ERR_NOT_FOUND, "2_LayerNorm/config.json", NULL},
		{BEGIN ", " MODULE("2_Dense", ST "LayerNorm") "]", "{\"dimension\": 7}", NULL, EMB_ERR_FORMAT, "dimension", "returns 8"},
		{BEGIN ", " MODULE("2_Dense", ST "LayerNorm") "]", "{\"dimension\": 8}", NULL, EMB_ERR_NOT_FOUND, "dense.0.norm.weight", NULL},
		{BEGIN ", " MODULE("2_Dense", ST "LayerNorm") "]", "[]", NULL, EMB_ERR_FORMAT, "2_Dense/config.json", "object"},
		{right, DENSE(", \"use_residual\": true"), NULL, EMB_ERR_UNSUPPORTED, "use_residual", NULL},
		{right, DENSE(", \"module_output_name\": \"logits\""), NULL, EMB_ERR_UNSUPPORTED, "module_output_name", "scores"},
		{BEGIN ", " MODULE("2_Dense", ST "Dense") ", " MODULE("3_Normalize", ST "Normalize") "]", DENSE(", \"module_output_name\": \"scores\""), NULL, EMB_ERR_UNSUPPORTED, "2_Dense", "no module may follow"},
		{BEGIN ", " MODULE("2_Pooling", ST "Pooling") "]", DENSE(""), NULL, EMB_ERR_UNSUPPORTED, "modules.json", ST "Pooling"},
		{"[" MODULE("", ST "CLIPModel") "]", DENSE(""), NULL, EMB_ERR_UNSUPPORTED, "modules.json", ST "CLIPModel"},
		{"[" MODULE("", ST "Transformer") ", " MODULE("2_Dense", ST "Dense") ", " MODULE("1_Pooling", ST "Pooling") "]", DENSE(""), NULL, EMB_ERR_UNSUPPORTED, "modules.json", ST "Dense"},
		{"[" MODULE("", ST "Transformer") ", " MODULE("2_Normalize", ST "Normalize") ", " MODULE("1_Pooling", ST "Pooling") "]", DENSE(""), NULL, EMB_ERR_UNSUPPORTED, "modules.json", ST "Normalize"},
		{"[" MODULE("", ST "Dropout") "]", DENSE(""), NULL, EMB_ERR_UNSUPPORTED, "modules.json", ST "Dropout"},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		Count		count;
		EmbAllocator mem = counting_allocator(&count);
		Image		image;
		EmbError	err;
		EmbStatus	status;

		write_model(wrong[i].modules, MEAN);
		write_dense(temp_root, "2_Dense", wrong[i].config, HIDDEN, OUT, true, 0, wrong[i].header);
		status = import_image(temp_root, NULL, &mem, &image, &err);
		CHECKF(status == wrong[i].status && strstr(err.message, wrong[i].message) != NULL &&
			   (wrong[i].also == NULL || strstr(err.message, wrong[i].also) != NULL),
			   "%s, %s: status %d, \"%s\"", wrong[i].modules, wrong[i].config, status, err.message);
		CHECKF(count.n_live == 0, "%ld blocks leaked", count.n_live);
		free(image.data);
	}
}

/* No weights at all; weights that overflow. */
static void
test_weights(void)
{
	static const char right[] = BEGIN ", " MODULE("2_Dense", ST "Dense") "]";
	static const char header[] = "{\"linear.weight\": {\"dtype\": \"F32\", \"shape\": [1, 8], \"data_offsets\": [0, 32]}}";
	char		path[PATH_MAX];
	float		data[HIDDEN];
	Image		image;
	EmbError	err;

	write_model(right, MEAN);
	write_dense(temp_root, "2_Dense", DENSE(""), HIDDEN, OUT, true, 0, NULL);
	snprintf(path, sizeof(path), "%s/2_Dense/model.safetensors", temp_root);
	unlink(path);
	CHECKF(import_image(temp_root, NULL, &heap, &image, &err) == EMB_ERR_NOT_FOUND && strstr(err.message, "\"2_Dense\"") != NULL &&
		   strstr(err.message, "model.safetensors") != NULL, "%s", err.message);

	for (int i = 0; i < HIDDEN; i++)
		data[i] = i % 2 ? 3e38f : -3e38f;
	write_dense(temp_root, "2_Dense", "{\"in_features\": 8, \"out_features\": 1, \"bias\": false, \"activation_function\": \"torch.nn.Identity\"}", HIDDEN, 1, false, 0, NULL);
	snprintf(path, sizeof(path), "%s/2_Dense", temp_root);
	write_safetensors(path, "model.safetensors", header, data, sizeof(data));
	CHECKF(import_image(temp_root, NULL, &heap, &image, &err) == EMB_ERR_LIMIT && strstr(err.message, "not finite") != NULL, "%s", err.message);
}

/* Blocks of rows give what rows alone give, on every level; so many that a stop is asked for. */
static void
test_rows(void)
{
	enum
	{
		N_ROWS = 131, N_IN = 37, N_OUT = 21
	};
	static float weight[2 * EMB_PANEL * N_IN];
	static float rows[N_ROWS * N_IN];
	static float all[N_ROWS * N_OUT];
	EmbDense	dense = {.n_layers = 1, .layers[0] = {.n_in = N_IN, .n_out = N_OUT, .linear = {.n_out = N_OUT, .n_in = N_IN, .weight = weight}, .activation = EMB_ACT_TANH, .normalize = true}};
	float		matrix[N_OUT * N_IN];
	EmbError	err;

	for (int i = 0; i < N_OUT * N_IN; i++)
		matrix[i] = weight_at(i);
	for (int i = 0; i < N_ROWS * N_IN; i++)
		rows[i] = weight_at(i * 3) / 4;
	emb_pack_f32_panel(matrix, 16, N_IN, weight);
	emb_pack_f32_panel(matrix + 16 * N_IN, N_OUT - 16, N_IN, weight + 16 * N_IN);
	CHECK(emb_transformer_dense(&dense, emb_kernels(), rows, N_ROWS, &heap, NULL, all, &err) == EMB_OK);
	for (int i = 0; i < N_ROWS; i++)
	{
		float		one[N_OUT];

		CHECK(emb_transformer_dense(&dense, emb_kernels(), rows + i * N_IN, 1, &heap, NULL, one, &err) == EMB_OK &&
			  memcmp(one, all + i * N_OUT, sizeof(one)) == 0);
	}
	CHECK(emb_isa_select("scalar", &err) == EMB_OK);
	{
		static float scalar[N_ROWS * N_OUT];

		CHECK(emb_transformer_dense(&dense, emb_kernels(), rows, N_ROWS, &heap, NULL, scalar, &err) == EMB_OK);
		CHECK(memcmp(scalar, all, sizeof(all)) == 0);
	}
	CHECK(emb_isa_select("auto", &err) == EMB_OK);
}

/* Rows that overflowed show in every pooling that reads them, wherever they stand: no vector is made of the others. */
static void
test_overflow(void)
{
	for (int row = 0; row < 3; row++)
	{
		for (int pooling = EMB_POOL_MEAN; pooling <= EMB_POOL_WEIGHTED_MEAN; pooling++)
		{
			EmbArch		arch = {.hidden = HIDDEN, .pooling = pooling};
			float		rows[3 * HIDDEN] = {0};
			float		out[HIDDEN];

			rows[row * HIDDEN + 5] = NAN;
			emb_pool_rows(emb_kernels(), &arch, rows, HIDDEN, 3, 0, out);
			CHECKF(pooling == EMB_POOL_LAST ? emb_pool_is_finite(out, HIDDEN) == (row < 2) : !emb_pool_is_finite(out, HIDDEN), "row %d, pooling %d", row, pooling);
		}
	}
}

int
main(void)
{
	heap = emb_malloc_allocator();
	test_overflow();
	test_one("fp32");
	test_one("int8");
	test_two();
	test_poolings("fp32");
	test_poolings("int8");
	test_layer_norms("fp32");
	test_layer_norms("int8");
	test_several("fp32");
	test_several("int8");
	test_weighted_mean();
	test_refused();
	test_weights();
	test_rows();
	emb_threads_stop();
	return done_testing();
}
