/*
 * test_long_texts.c
 *		Texts of as many tokens as the boundaries have at which others jump:
 *		vectors, weights and token vectors against a computation in float64 that
 *		shares no code with ours (test/tools/make_long_texts.py says which).
 */
#include "token_outputs_util.h"

#include <math.h>

#include <jansson.h>

#define N_POSITIONS		8194
#define HIDDEN			64
#define N_VOCAB			996
#define N_ROWS			6		/* token vectors of a text that the reference has */

/* As in test_outputs.c */
#define MAX_DIFFERENCE			2e-6
#define MAX_WEIGHT_DIFFERENCE	5e-6

/* int8 of random weights: the mean that is promised, and half as much again as measured */
#define MIN_INT8_COSINE			0.999
#define MAX_INT8_WEIGHT			0.11

static EmbAllocator heap;
static EmbModel *model;
static json_t *texts;			/* {"words", "lengths"} */
static float *dense;			/* [lengths, HIDDEN] */
static float *sparse;			/* [lengths, N_VOCAB] */
static float *multi;			/* [lengths * N_ROWS, HIDDEN] */

static float *
load_floats(const char *name, size_t n_values)
{
	char		dir[1024];
	size_t		size;
	uint16_t	header_bytes;
	char	   *file;
	float	   *values = malloc(n_values * sizeof(float));

	snprintf(dir, sizeof(dir), "%s/long", data_dir());
	file = read_file(dir, name, &size);
	if (file == NULL)
		exit(1);
	memcpy(&header_bytes, file + 8, 2);
	if (!CHECKF(size == 10 + header_bytes + n_values * sizeof(float), "%s: %zu bytes", name, size))
		exit(1);
	memcpy(values, file + 10 + header_bytes, n_values * sizeof(float));
	free(file);
	return values;
}

/* ---------------------------------------------- the model of 8,194 positions */

/* Row p of the longer table, from the short one. */
static void
position_row(const float *table, int p, float *row)
{
	const float *from = table + (size_t) (p < 2 ? p : 2 + (p - 2) % 130) * HIDDEN;
	float		factor = p < 2 ? 1 : 1 + (float) ((p - 2) / 130) / 64;

	for (int i = 0; i < HIDDEN; i++)
		row[i] = from[i] * factor;
}

/* The file with its positions, which then come last, made longer. */
static void
write_weights(const char *from, const char *to)
{
	static const char name[] = "embeddings.position_embeddings.weight";
	size_t		size;
	char	   *file = read_file(from, "model.safetensors", &size);
	uint64_t	header_bytes;
	json_t	   *header;
	json_t	   *entry;
	json_int_t	begin;
	json_int_t	n_data;
	char	   *text;
	char	   *data;

	memcpy(&header_bytes, file, 8);
	header = json_loadb(file + 8, header_bytes, 0, NULL);
	n_data = size - 8 - header_bytes;
	begin = json_integer_value(json_array_get(json_object_get(json_object_get(header, name), "data_offsets"), 0));
	data = calloc(1, n_data + N_POSITIONS * HIDDEN * sizeof(float));
	memcpy(data, file + 8 + header_bytes, n_data);
	for (int p = 0; p < N_POSITIONS; p++)
		position_row((const float *) (file + 8 + header_bytes + begin), p, (float *) (data + n_data) + (size_t) p * HIDDEN);

	/* what was there stays, under another name: the data must be covered */
	entry = json_deep_copy(json_object_get(header, name));
	json_object_set_new(header, "unused", entry);
	json_object_set_new(header, name, json_pack("{s:s, s:[i, i], s:[I, I]}", "dtype", "F32", "shape", N_POSITIONS, HIDDEN,
												"data_offsets", n_data, n_data + (json_int_t) (N_POSITIONS * HIDDEN * sizeof(float))));
	text = json_dumps(header, JSON_COMPACT);
	write_safetensors(to, "model.safetensors", text, data, n_data + N_POSITIONS * HIDDEN * sizeof(float));
	free(text);
	free(data);
	free(file);
	json_decref(header);
}

static const char *
make_model(void)
{
	static const char *const copied[] = {"tokenizer.json", "tokenizer_config.json", "modules.json", "colbert_linear.pt", "sparse_linear.pt", "1_Pooling"};
	char		from[1024];
	char		absolute[PATH_MAX];
	const char *dir = fresh_dir();
	size_t		size;
	char	   *text;
	json_t	   *config;

	snprintf(from, sizeof(from), "%s/tiny/bge-m3/model", data_dir());
	if (!CHECK(realpath(from, absolute) != NULL))
		exit(1);
	for (size_t i = 0; i < sizeof(copied) / sizeof(copied[0]); i++)
	{
		char		source[PATH_MAX + 64];
		char		target[PATH_MAX + 64];

		snprintf(source, sizeof(source), "%s/%s", absolute, copied[i]);
		snprintf(target, sizeof(target), "%s/%s", dir, copied[i]);
		CHECK(symlink(source, target) == 0);
	}
	text = read_file(from, "config.json", &size);
	config = json_loadb(text, size, 0, NULL);
	json_object_set_new(config, "max_position_embeddings", json_integer(N_POSITIONS));
	free(text);
	text = json_dumps(config, 0);
	write_text(dir, "config.json", text);
	write_text(dir, "sentence_bert_config.json", "{\"max_seq_length\": 8192, \"do_lower_case\": false}");
	free(text);
	json_decref(config);
	write_weights(from, dir);
	return dir;
}

/* ------------------------------------------------------------------- texts */

/* n_words words; free() it. */
static char *
make_text(size_t n_words)
{
	const json_t *words = json_object_get(texts, "words");
	char	   *text = malloc(n_words * 32 + 1);
	char	   *at = text;

	for (size_t k = 0; k < n_words; k++)
		at += sprintf(at, "%s%s", k > 0 ? " " : "", json_string_value(json_array_get(words, (7 * k * k + 13 * k) % json_array_size(words))));
	*at = '\0';
	return text;
}

typedef struct Results
{
	int32_t		ids[8192];
	int32_t		n_ids;
	bool		truncated;
	float		dense[HIDDEN];
	int32_t		n_sparse;
	int32_t		sparse_ids[8192];
	float		weights[8192];
	float		multi[8191 * HIDDEN];
} Results;

static void
encode(size_t n_words, Results *r)
{
	char	   *text = make_text(n_words);
	EmbEncoded	encoded = {0};

	CHECK(emb_model_encode(model, EMB_PROMPT_DOCUMENT, &(EmbText) {text, strlen(text), true, NULL},
			&(EmbReading) {.ids = r->ids, .max_ids = 8192, .mem = &heap}, &encoded, NULL) == EMB_OK);
	r->n_ids = encoded.n_ids;
	r->truncated = encoded.truncated;
	free(text);
}

static void
compute(size_t n_words, int n_threads, Results *r)
{
	EmbRun		run = {.mem = &heap, .n_threads = n_threads};
	FlatOutputs	outputs = {r->dense, &r->n_sparse, r->sparse_ids, r->weights, r->multi};
	EmbSequence seq = {.ids = r->ids};
	EmbError	err = {0};

	encode(n_words, r);
	seq.n_ids = r->n_ids;
	CHECKF(embed_flat(model, &seq, 1, &run, &outputs, &err) == EMB_OK, "%s", err.message);
}

/* ------------------------------------------------------------------ compare */

typedef struct Distance
{
	double		dense,
				weight,
				multi;
	double		cosine;			/* sums */
	int			n_cosines;
} Distance;

/* The larger of worst and the largest difference; no fmax: gcc 12 for arm64 cannot make a vector loop of that, and ends. */
static double
larger_difference(const float *a, const float *b, size_t n, double worst)
{
	for (size_t i = 0; i < n; i++)
	{
		double		d = fabs((double) a[i] - b[i]);

		worst = d <= worst ? worst : d;
	}
	return worst;
}

/* The rows of tokens 1, 2, n/2, n/2 + 1, n - 2, n - 1; token 0 has none. */
static void
compare_multi(const Results *r, const float *expected, Distance *d)
{
	int32_t		n = r->n_ids;
	int32_t		tokens[N_ROWS] = {1, 2, n / 2, n / 2 + 1, n - 2, n - 1};

	for (int k = 0; k < N_ROWS; k++)
	{
		int32_t		token = tokens[k] < n ? tokens[k] : n - 1;
		const float *row;

		if (token == 0)
			continue;
		row = r->multi + (size_t) (token - 1) * HIDDEN;
		d->multi = larger_difference(row, expected + k * HIDDEN, HIDDEN, d->multi);
		d->cosine += emb_cosine(row, expected + k * HIDDEN, HIDDEN);
		d->n_cosines++;
	}
}

static void
compare(const Results *r, int row, Distance *d)
{
	float		weights[N_VOCAB] = {0};

	for (int32_t k = 0; k < r->n_sparse; k++)
		weights[r->sparse_ids[k]] = r->weights[k];
	d->weight = larger_difference(weights, sparse + row * N_VOCAB, N_VOCAB, d->weight);
	d->dense = larger_difference(r->dense, dense + row * HIDDEN, HIDDEN, d->dense);
	compare_multi(r, multi + (size_t) row * N_ROWS * HIDDEN, d);
	d->cosine += emb_cosine(r->dense, dense + row * HIDDEN, HIDDEN);
	d->n_cosines++;
}

static void
test_lengths(const char *precision)
{
	const json_t *lengths = json_object_get(texts, "lengths");
	Results    *r = malloc(sizeof(Results));
	Distance	d = {0};
	bool		is_exact = strcmp(precision, "fp32") == 0;

	for (size_t row = 0; row < json_array_size(lengths); row++)
	{
		int32_t		n = (int32_t) json_integer_value(json_array_get(lengths, row));

		compute(n - 2, 1 + row % 3, r);
		CHECKF(r->n_ids == n && !r->truncated, "%d tokens of %d", r->n_ids, n);
		compare(r, (int) row, &d);
		if (is_exact)
			CHECKF(d.dense <= MAX_DIFFERENCE && d.multi <= MAX_DIFFERENCE && d.weight <= MAX_WEIGHT_DIFFERENCE,
				   "of %d tokens or fewer, a vector is off by %g, a token's by %g, a weight by %g", n, d.dense, d.multi, d.weight);
	}
	CHECKF(d.cosine / d.n_cosines >= MIN_INT8_COSINE && d.weight <= MAX_INT8_WEIGHT, "mean cosine %.6f, a weight is off by %g",
		   d.cosine / d.n_cosines, d.weight);
	printf("# %s, %zu lengths: largest difference of a vector %.2g, of a token's %.2g, of a weight %.2g; mean cosine %.6f\n", precision,
		   json_array_size(lengths), d.dense, d.multi, d.weight, d.cosine / d.n_cosines);
	free(r);
}

/* Of a text that is too long the beginning is read, whatever comes behind, and that is said. */
static void
test_overflow(void)
{
	Results    *longest = malloc(sizeof(Results));
	Results    *r = malloc(sizeof(Results));
	static const int more[] = {1, 2, 100000};

	encode(8190, longest);
	CHECK(longest->n_ids == 8192 && !longest->truncated);
	for (int i = 0; i < 3; i++)
	{
		encode(8190 + more[i], r);
		CHECKF(r->truncated && r->n_ids == 8192 && memcmp(r->ids, longest->ids, sizeof(r->ids)) == 0, "%d tokens more", more[i]);
	}
	free(longest);
	free(r);
}

static void
test_precision(const char *dir, const char *precision)
{
	EmbImportOptions options = {.precision = precision};
	Image		image;
	EmbError	err;

	if (!CHECKF(import_image(dir, &options, &heap, &image, &err) == EMB_OK, "%s", err.message) ||
		!CHECKF(emb_model_open(image.data, image.size_bytes, EMB_OPEN_CHECK_ALL, &heap, NULL, &model, &err) == EMB_OK, "%s", err.message))
		exit(1);
	CHECK(emb_model_info(model)->max_tokens == 8192);
	test_lengths(precision);
	test_overflow();
	emb_model_close(model);
	free(image.data);
}

int
main(void)
{
	char		path[1024];
	const char *dir;
	size_t		n;

	heap = emb_malloc_allocator();
	snprintf(path, sizeof(path), "%s/long/texts.json", data_dir());
	texts = json_load_file(path, 0, NULL);
	n = json_array_size(json_object_get(texts, "lengths"));
	if (!CHECKF(n > 10, "%s: %zu lengths", path, n))
		return done_testing();
	dense = load_floats("dense.npy", n * HIDDEN);
	sparse = load_floats("sparse.npy", n * N_VOCAB);
	multi = load_floats("multi.npy", n * N_ROWS * HIDDEN);
	dir = make_model();
	test_precision(dir, "fp32");
	test_precision(dir, "int8");
	free(dense);
	free(sparse);
	free(multi);
	json_decref(texts);
	emb_threads_stop();
	return done_testing();
}
