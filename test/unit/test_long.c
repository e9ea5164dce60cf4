/*
 * test_long.c
 *		Long texts: memory grows with their length and not with its square, is
 *		what the core foretells, and is given back; bits do not depend on
 *		neighbours or threads, on both sides of round lengths.
 */
#include "token_outputs_util.h"
#include "scratch_util.h"

/* Larger than the scratch: arrays of the call itself, such as those of its sequences. */
#define CALL_BYTES	65536

#define LONGEST		8192

#define HIDDEN		32
#define LAYERS		2
#define WIDE		64
#define VOCAB		24
#define MULTI		8

static int32_t ids[LONGEST + 64];

/* ---------------------------------------------------------------- the model */

/* A safetensors file in memory. */
typedef struct Weights
{
	char		header[16384];
	size_t		header_bytes;
	float	   *data;
	size_t		n;
	size_t		room;
	uint32_t	state;
} Weights;

static void
add_tensor(Weights *w, const char *prefix, const char *name, int32_t rows, int32_t columns)
{
	bool		is_norm = strstr(name, "LayerNorm.weight") != NULL;
	size_t		n = (size_t) (rows > 0 ? rows : 1) * columns;
	char		shape[32];

	if (w->n + n > w->room)
	{
		w->room = 2 * (w->n + n);
		w->data = realloc(w->data, w->room * sizeof(float));
	}
	for (size_t i = 0; i < n; i++)
	{
		w->state = w->state * 1664525 + 1013904223;
		w->data[w->n + i] = is_norm ? 1.0f : (float) ((int) (w->state >> 24) - 128) / 512.0f;
	}
	snprintf(shape, sizeof(shape), rows > 0 ? "%d, %d" : "%.0d%d", rows, columns);
	w->header_bytes += snprintf(w->header + w->header_bytes, sizeof(w->header) - w->header_bytes,
								"%s\"%s%s\": {\"dtype\": \"F32\", \"shape\": [%s], \"data_offsets\": [%zu, %zu]}",
								w->header_bytes > 1 ? ", " : "{", prefix, name, shape, w->n * sizeof(float), (w->n + n) * sizeof(float));
	w->n += n;
}

static void
add_linear(Weights *w, const char *prefix, const char *name, int32_t n_out, int32_t n_in)
{
	char		full[128];

	snprintf(full, sizeof(full), "%s.weight", name);
	add_tensor(w, prefix, full, n_out, n_in);
	snprintf(full, sizeof(full), "%s.bias", name);
	add_tensor(w, prefix, full, 0, n_out);
}

static void
add_layer(Weights *w, int32_t layer)
{
	char		prefix[64];

	snprintf(prefix, sizeof(prefix), "encoder.layer.%d.", layer);
	add_linear(w, prefix, "attention.self.query", HIDDEN, HIDDEN);
	add_linear(w, prefix, "attention.self.key", HIDDEN, HIDDEN);
	add_linear(w, prefix, "attention.self.value", HIDDEN, HIDDEN);
	add_linear(w, prefix, "attention.output.dense", HIDDEN, HIDDEN);
	add_tensor(w, prefix, "attention.output.LayerNorm.weight", 0, HIDDEN);
	add_tensor(w, prefix, "attention.output.LayerNorm.bias", 0, HIDDEN);
	add_linear(w, prefix, "intermediate.dense", WIDE, HIDDEN);
	add_linear(w, prefix, "output.dense", HIDDEN, WIDE);
	add_tensor(w, prefix, "output.LayerNorm.weight", 0, HIDDEN);
	add_tensor(w, prefix, "output.LayerNorm.bias", 0, HIDDEN);
}

static void
write_weights(const char *dir, const char *name, Weights *w)
{
	w->header[w->header_bytes] = '}';
	w->header[w->header_bytes + 1] = '\0';
	write_safetensors(dir, name, w->header, w->data, w->n * sizeof(float));
	free(w->data);
}

/* As bge-m3's: three results, LONGEST positions. */
static const char *
write_model(void)
{
	const char *dir = fresh_dir();
	Weights		w = {.state = 1};
	Weights		sparse = {.state = 2};
	Weights		multi = {.state = 3};

	add_tensor(&w, "embeddings.", "word_embeddings.weight", VOCAB, HIDDEN);
	add_tensor(&w, "embeddings.", "position_embeddings.weight", LONGEST, HIDDEN);
	add_tensor(&w, "embeddings.", "token_type_embeddings.weight", 2, HIDDEN);
	add_tensor(&w, "embeddings.", "LayerNorm.weight", 0, HIDDEN);
	add_tensor(&w, "embeddings.", "LayerNorm.bias", 0, HIDDEN);
	for (int32_t i = 0; i < LAYERS; i++)
		add_layer(&w, i);
	write_weights(dir, "model.safetensors", &w);
	add_linear(&sparse, "", "sparse_linear", 1, HIDDEN);
	write_weights(dir, "sparse_linear.safetensors", &sparse);
	add_linear(&multi, "", "colbert_linear", MULTI, HIDDEN);
	write_weights(dir, "colbert_linear.safetensors", &multi);
	write_text(dir, "config.json", "{\"model_type\": \"bert\", \"architectures\": [\"BertModel\"], \"hidden_size\": 32, "
			   "\"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"intermediate_size\": 64, \"vocab_size\": 24, "
			   "\"max_position_embeddings\": 8192, \"type_vocab_size\": 2, \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-12}");
	write_text(dir, "tokenizer_config.json", "{\"do_lower_case\": true, \"model_max_length\": 8192}");
	write_text(dir, "vocab.txt", SMALL_VOCAB);
	return dir;
}

/* ----------------------------------------------------------------- lengths */

static EmbSequence
sequence(int32_t n_ids)
{
	for (int32_t i = 0; i < n_ids; i++)
		ids[i] = (int32_t) ((uint32_t) i * 2654435761u >> 8) % VOCAB;
	return (EmbSequence) {.ids = ids, .n_ids = n_ids};
}

/* Peak of what a call allocates for one text of so many tokens. */
static size_t
peak_of(const EmbModel *model, int32_t n_ids, int32_t n_threads, bool all)
{
	const EmbModelInfo *info = emb_model_info(model);
	EmbSequence seq = sequence(n_ids);
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbRun		run = {.mem = &mem, .n_threads = n_threads};
	EmbError	err;
	float	   *out = malloc(info->dim * sizeof(float));
	int32_t		n_sparse;
	int32_t    *sparse_ids = malloc(n_ids * sizeof(int32_t));
	float	   *weights = malloc(n_ids * sizeof(float));
	float	   *multi = malloc((size_t) n_ids * info->multi_dim * sizeof(float));
	FlatOutputs	outputs = {.dense = out, .n_sparse = &n_sparse, .sparse_ids = sparse_ids, .sparse_weights = weights, .multi = multi};

	if (all)
		CHECKF(embed_flat(model, &seq, 1, &run, &outputs, &err) == EMB_OK, "%s", err.message);
	else
		CHECKF(emb_model_embed(model, &seq, 1, &run, out, &err) == EMB_OK, "%s", err.message);
	CHECKF(count.n_live == 0, "%ld blocks of %d tokens", count.n_live, n_ids);
	free(out);
	free(sparse_ids);
	free(weights);
	free(multi);
	return count.peak_bytes;
}

static void
check_memory(const EmbModel *model, int32_t n_longest, int32_t n_threads, bool all)
{
	size_t		before = peak_of(model, 512, n_threads, all);

	for (int32_t n = 1024; n <= n_longest; n *= 2)
	{
		size_t		peak = peak_of(model, n, n_threads, all);

		CHECKF(peak <= 2 * before, "%d threads: %zu bytes for %d tokens, %zu for half of them", n_threads, peak, n, before);
		if (!all)
			CHECKF(peak <= scratch_bytes(model, 0, n, n_threads) + CALL_BYTES, "%zu bytes for %d tokens, foretold %zu",
				   peak, n, scratch_bytes(model, 0, n, n_threads));
		before = peak;
	}
}

/* Alone on one thread, and behind a short text on several. */
static void
check_bits(const EmbModel *model, int32_t n_ids, int32_t n_threads)
{
	const EmbModelInfo *info = emb_model_info(model);
	EmbSequence seqs[2] = {{.n_ids = 7}, sequence(n_ids)};
	EmbAllocator mem = emb_malloc_allocator();
	EmbRun		alone = {.mem = &mem, .n_threads = 1};
	EmbRun		together = {.mem = &mem, .n_threads = n_threads, .batch_tokens = 2 * LONGEST};
	EmbError	err;
	float	   *out = malloc(3 * info->dim * sizeof(float));

	seqs[0].ids = ids + n_ids - 7;
	CHECKF(emb_model_embed(model, &seqs[1], 1, &alone, out, &err) == EMB_OK, "%s", err.message);
	CHECKF(emb_model_embed(model, seqs, 2, &together, out + info->dim, &err) == EMB_OK, "%s", err.message);
	CHECKF(memcmp(out, out + 2 * info->dim, info->dim * sizeof(float)) == 0, "%d tokens", n_ids);
	free(out);
}

static void
check_limit(const EmbModel *model)
{
	EmbSequence seq = sequence(LONGEST + 1);
	EmbAllocator mem = emb_malloc_allocator();
	EmbRun		run = {.mem = &mem};
	EmbError	err;
	float	   *out = malloc(emb_model_info(model)->dim * sizeof(float));

	CHECK(emb_model_info(model)->max_tokens == LONGEST);
	CHECK(emb_model_embed(model, &seq, 1, &run, out, &err) == EMB_ERR_INVALID_ARGUMENT);
	free(out);
}

static void
check_precision(const char *precision)
{
	static const int32_t lengths[] = {511, 512, 513, 1023, 1025, 2049, 4097, 8191};
	EmbAllocator mem = emb_malloc_allocator();
	EmbImportOptions options = {.precision = precision};
	Image		image;
	EmbModel   *model;
	EmbError	err;

	if (!CHECKF(import_image(write_model(), &options, &mem, &image, &err) == EMB_OK, "%s", err.message) ||
		!CHECKF(emb_model_open(image.data, image.size_bytes, 0, &mem, NULL, &model, &err) == EMB_OK, "%s", err.message))
		return;
	check_memory(model, LONGEST, 1, false);
	check_memory(model, LONGEST / 4, 3, false);
	check_memory(model, LONGEST / 4, 1, true);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		check_bits(model, lengths[i], 3);
	check_limit(model);
	emb_model_close(model);
	free(image.data);
}

int
main(void)
{
	check_precision("int8");
	check_precision("fp32");
	emb_threads_stop();
	return done_testing();
}
