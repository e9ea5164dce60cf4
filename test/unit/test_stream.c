/*
 * test_stream.c
 *		Imports stream: memory does not grow with the number of layers, and
 *		hardly with the vocabulary; a layer at a time gives the bits of the
 *		whole pass.
 */
#include "model_util.h"

#include <stdatomic.h>

#include "convert/stream.h"

#define HIDDEN	64
#define WIDE	256

/* Tokens that the texts of a decoder begin with. */
#define N_SHARED	30

/* A layer's weights in fp32. */
#define LAYER_BYTES	((size_t) (4 * HIDDEN * HIDDEN + 2 * HIDDEN * WIDE) * sizeof(float))
#define LAYER_NAMES_BYTES	((size_t) 6 * 1024)	/* a 32nd of its weights */

/* ----------------------------------------------------------------- memory */

typedef struct Shape
{
	int			n_layers,
				n_vocab;
} Shape;

typedef struct Names
{
	char		header[262144];
	size_t		header_bytes;
	size_t		data_bytes;
} Names;

static void
add_tensor(Names *n, const char *prefix, const char *name, int rows, int cols)
{
	size_t		size = (size_t) (rows > 0 ? rows : 1) * cols * sizeof(float);
	char		shape[32];

	snprintf(shape, sizeof(shape), rows > 0 ? "%d, %d" : "%.0d%d", rows, cols);
	n->header_bytes += snprintf(n->header + n->header_bytes, sizeof(n->header) - n->header_bytes,
								"%s\"%s%s\": {\"dtype\": \"F32\", \"shape\": [%s], \"data_offsets\": [%zu, %zu]}",
								n->header_bytes > 1 ? ", " : "", prefix, name, shape, n->data_bytes, n->data_bytes + size);
	n->data_bytes += size;
}

static void
add_layer(Names *n, int i)
{
	static const char *const linears[] = {"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
	"intermediate.dense", "output.dense", "attention.output.LayerNorm", "output.LayerNorm"};
	char		prefix[64],
				name[64];

	snprintf(prefix, sizeof(prefix), "encoder.layer.%d.", i);
	for (int k = 0; k < 8; k++)
	{
		int			n_out = k == 4 ? WIDE : HIDDEN;

		snprintf(name, sizeof(name), "%s.weight", linears[k]);
		add_tensor(n, prefix, name, k >= 6 ? 0 : n_out, k == 5 ? WIDE : HIDDEN);
		snprintf(name, sizeof(name), "%s.bias", linears[k]);
		add_tensor(n, prefix, name, 0, n_out);
	}
}

/* Weights between -1/8 and 1/8. */
static void
write_weights(const char *dir, Shape shape)
{
	static Names n;
	uint32_t	state = 1;
	uint64_t	header_bytes;
	uint8_t    *file;
	float	   *data;

	n = (Names) {.header = "{", .header_bytes = 1};
	add_tensor(&n, "", "embeddings.word_embeddings.weight", shape.n_vocab, HIDDEN);
	add_tensor(&n, "", "embeddings.position_embeddings.weight", 512, HIDDEN);
	add_tensor(&n, "", "embeddings.token_type_embeddings.weight", 2, HIDDEN);
	add_tensor(&n, "", "embeddings.LayerNorm.weight", 0, HIDDEN);
	add_tensor(&n, "", "embeddings.LayerNorm.bias", 0, HIDDEN);
	for (int i = 0; i < shape.n_layers; i++)
		add_layer(&n, i);
	n.header[n.header_bytes++] = '}';
	while (n.header_bytes % 8 != 0)
		n.header[n.header_bytes++] = ' ';
	header_bytes = n.header_bytes;
	file = malloc(8 + n.header_bytes + n.data_bytes);
	memcpy(file, &header_bytes, 8);
	memcpy(file + 8, n.header, n.header_bytes);
	data = (float *) (file + 8 + n.header_bytes);
	for (size_t i = 0; i < n.data_bytes / sizeof(float); i++)
	{
		state = state * 1664525 + 1013904223;
		data[i] = ((int) (state >> 24) - 128) / 1024.0f;
	}
	write_file(dir, "model.safetensors", file, 8 + n.header_bytes + n.data_bytes);
	free(file);
}

/* The peak of an import's memory; the image's size in *size. */
static size_t
import_peak(Shape shape, const char *precision, size_t *size)
{
	SmallModel	m = small_model();
	EmbImportOptions options = {.precision = precision};
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	Image		image;
	EmbError	err = {0};
	char		config[512];

	snprintf(config, sizeof(config), "{\"model_type\": \"bert\", \"architectures\": [\"BertModel\"], \"hidden_size\": %d, \"num_hidden_layers\": %d,"
			 " \"num_attention_heads\": 4, \"intermediate_size\": %d, \"vocab_size\": %d, \"max_position_embeddings\": 512,"
			 " \"type_vocab_size\": 2, \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-12}", HIDDEN, shape.n_layers, WIDE, shape.n_vocab);
	m.config = config;
	m.pooling = "{\"word_embedding_dimension\": 64, \"pooling_mode_cls_token\": true, \"pooling_mode_mean_tokens\": false}";
	m.sentence_bert = "{\"max_seq_length\": 512, \"do_lower_case\": false}";
	write_small_model(fresh_dir(), &m);
	write_weights(temp_root, shape);
	CHECKF(import_image(temp_root, &options, &mem, &image, &err) == EMB_OK, "%s", err.message);
	CHECK(count.n_live == 0);
	*size = image.size_bytes;
	free(image.data);
	return count.peak_bytes;
}

static void
test_memory(const char *precision)
{
	Shape		few = {3, 500};
	Shape		deep = {20, 500};
	Shape		wordy = {3, 60000};
	size_t		size,
				deep_size,
				wordy_size;
	size_t		peak = import_peak(few, precision, &size);
	size_t		deep_peak = import_peak(deep, precision, &deep_size);
	size_t		wordy_peak = import_peak(wordy, precision, &wordy_size);

	printf("# %s: image %zu, peak %zu; 20 layers: %zu, %zu; 60,000 words: %zu, %zu\n", precision, size, peak, deep_size, deep_peak, wordy_size, wordy_peak);
	/* no weights: pointers of layers, names and places of tensors, 5.8 kB */
	CHECKF(deep_peak < peak + 17 * LAYER_NAMES_BYTES, "17 more layers take %zu bytes more", deep_peak - peak);
	/* a number and a scale per word, not its row; the tokenizer has no more pieces */
	CHECKF(wordy_peak < peak + (size_t) (wordy.n_vocab - few.n_vocab) * 10, "59,500 more words take %zu bytes more", wordy_peak - peak);
	CHECK(deep_size > size + 17 * LAYER_BYTES / 4 && wordy_size > size + 59500 * HIDDEN);
}

/* ---------------------------------------------------- a layer at a time */

typedef struct Pass
{
	EmbModel   *model;
	bool		shares;			/* what its texts begin with */
	_Atomic int n_observed;		/* rows */
	EmbImportSteps steps;
	int32_t		n_seqs;
	int32_t		offsets[64];
	int32_t		ids[8192];
	float	   *whole;			/* [n_seqs, hidden] */
	float	   *spans;
} Pass;

/* Texts of 1 to 40 tokens behind n_shared others; a repeated id, and the first ids, among which is the padding. */
static void
fill_texts(Pass *p, int32_t n_shared)
{
	uint32_t	state = 7;

	p->n_seqs = 40;
	for (int32_t i = 0; i < p->n_seqs; i++)
	{
		p->offsets[i + 1] = p->offsets[i] + n_shared + i + 1;
		for (int32_t k = p->offsets[i]; k < p->offsets[i + 1]; k++)
		{
			state = state * 1664525 + 1013904223;
			p->ids[k] = (int32_t) ((state >> 8) % (uint32_t) p->model->transformer.arch->n_vocab);
			if (k % 7 == 0)
				p->ids[k] = k % 5;
			if (k - p->offsets[i] < n_shared)
				p->ids[k] = p->ids[k - p->offsets[i]];
		}
		/* no text goes on as all others do */
		p->ids[p->offsets[i] + n_shared] = i % 2;
	}
}

static void
count_rows(void *ctx, EmbObservePoint point, int32_t layer, int32_t first_row, int32_t n_rows, const float *rows, size_t stride)
{
	Pass	   *p = ctx;

	(void) rows;
	(void) stride;
	if (point == EMB_OBSERVE_FFN_MID && layer == 0 && first_row >= 0)
		atomic_fetch_add(&p->n_observed, n_rows);
}

static void
run_spans(Pass *p, const char *what)
{
	const EmbArch *arch = p->model->transformer.arch;
	bool		is_exact = p->model->view.config->precision == EMB_PRECISION_FP32;
	EmbStream	s;
	EmbError	err = {0};
	EmbStatus	status = EMB_OK;

	p->n_observed = 0;

	emb_stream_begin(&s, p->steps.mem);
	for (int32_t i = 0; status == EMB_OK && i < p->n_seqs; i++)
		status = emb_stream_add(&s, p->ids + p->offsets[i], NULL, p->offsets[i + 1] - p->offsets[i], &err);
	if (status == EMB_OK && p->shares)
	{
		emb_stream_share(&s, arch);
		CHECKF(s.n_shared == N_SHARED && emb_stream_n_tokens(&s) == p->offsets[p->n_seqs] - (p->n_seqs - 1) * N_SHARED,
			   "%s: %d tokens are shared, of %d", what, s.n_shared, emb_stream_n_tokens(&s));
	}
	if (status == EMB_OK)
		status = emb_stream_embed(&s, p->model, &p->steps, NULL, &err);
	for (int32_t i = 0; status == EMB_OK && i < arch->n_layers; i++)
		status = emb_stream_run(&s, p->model, i, is_exact ? count_rows : NULL, p, &p->steps, p->spans, &err);
	CHECKF(status == EMB_OK, "%s: %s", what, err.message);
	CHECKF(!is_exact || p->n_observed == emb_stream_n_tokens(&s), "%s: %d rows of %d observed", what, p->n_observed, emb_stream_n_tokens(&s));
	emb_stream_free(&s);
}

static void
check_spans(const char *name, const char *precision, bool shares, const EmbAllocator *mem)
{
	EmbImportOptions options = {.precision = precision, .kind = shares && strstr(name, "rerank") != NULL ? "reranker" : NULL};
	static const EmbSink no_sink;
	static Pass p;
	char		dir[PATH_MAX],
				what[256];
	Image		image;
	EmbError	err = {0};

	snprintf(dir, sizeof(dir), "%s/tiny/%s/model", data_dir(), name);
	snprintf(what, sizeof(what), "%s %s", name, precision);
	p = (Pass) {.shares = shares, .steps = {.mem = mem, .sink = &no_sink, .n_threads = 1}};
	if (!CHECKF(import_image(dir, &options, mem, &image, &err) == EMB_OK, "%s: %s", what, err.message))
		return;
	if (CHECKF(emb_model_open(image.data, image.size_bytes, 0, mem, NULL, &p.model, &err) == EMB_OK, "%s", err.message))
	{
		EmbBatch	batch = {.offsets = p.offsets, .ids = p.ids};
		size_t		n;

		fill_texts(&p, shares ? N_SHARED : 0);
		batch.n_seqs = p.n_seqs;
		n = (size_t) p.n_seqs * p.model->transformer.arch->hidden;
		p.whole = calloc(n, sizeof(float));
		p.spans = calloc(n, sizeof(float));
		CHECKF(emb_transformer_run(&p.model->transformer, emb_kernels(), &batch, 1, mem, NULL, p.whole, &err) == EMB_OK, "%s: %s", what, err.message);
		for (int32_t n_threads = 1; n_threads <= 3; n_threads += 2)
		{
			memset(p.spans, 0, n * sizeof(float));
			p.steps.n_threads = n_threads;
			run_spans(&p, what);
			CHECKF(memcmp(p.whole, p.spans, n * sizeof(float)) == 0, "%s: other bits layer by layer on %d threads", what, n_threads);
		}
		free(p.whole);
		free(p.spans);
		emb_model_close(p.model);
	}
	free(image.data);
}

static void
test_spans(void)
{
	static const char *const names[] = {"bert-cls", "bert-mean-36", "roberta-rerank", "mpnet-rerank", "nomic-rerank", "gte-rerank",
	"modernbert-rerank", "modernbert-rerank-cls", "bge-m3"};
	static const char *const decoders[] = {"qwen3-rerank", "qwen3-embed", "qwen2-rerank"};
	Count		count;
	EmbAllocator mem = counting_allocator(&count);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		check_spans(names[i], "fp32", false, &mem);
		check_spans(names[i], "int8", false, &mem);
	}
	for (size_t i = 0; i < sizeof(decoders) / sizeof(decoders[0]); i++)
	{
		check_spans(decoders[i], "fp32", true, &mem);
		check_spans(decoders[i], "int8", true, &mem);
		check_spans(decoders[i], "int4", true, &mem);
	}
	CHECK(count.n_live == 0);
	emb_threads_stop();
}

/* ----------------------------------------------------------------- sinks */

/* The image leaves while the import works: before the last layers most of it is out. */
typedef struct Early
{
	Image		image;
	int64_t		at_half;		/* bytes out when half of the layers are done */
} Early;

static void
early_progress(void *ctx, const char *stage, int64_t done, int64_t total)
{
	Early	   *early = ctx;

	if (strcmp(stage, "layers") == 0 && done <= total / 2)
		early->at_half = (int64_t) early->image.size_bytes;
}

static void
test_early(void)
{
	EmbAllocator mem = emb_malloc_allocator();
	static const char *const precisions[] = {"int8", "fp32"};

	for (int i = 0; i < 2; i++)
	{
		EmbImportOptions options = {.precision = precisions[i]};
		Early		early = {.at_half = 0};
		EmbSink		sink = {.ctx = &early, .write = image_write, .progress = early_progress};
		EmbError	err = {0};
		char		dir[PATH_MAX];

		snprintf(dir, sizeof(dir), "%s/tiny/bert-cls/model", data_dir());
		CHECKF(emb_import_dir(dir, &options, &mem, NULL, &sink, &err) == EMB_OK, "%s", err.message);
		CHECKF(early.at_half > (int64_t) early.image.size_bytes / 4 && early.at_half < (int64_t) early.image.size_bytes,
			   "%lld of %zu bytes", (long long) early.at_half, early.image.size_bytes);
		free(early.image.data);
	}
}

/* A pack that fails in the weights leaves nothing in its output file, or what was in it before. */
static void
test_failed_pack(void)
{
	SmallModel	m = small_model();
	const char *cli = getenv("EMBED_CLI");
	char		command[3 * PATH_MAX],
				path[PATH_MAX];
	struct stat st;

	if (cli == NULL)
	{
		skip("EMBED_CLI names no embed-cli");
		return;
	}
	m.nan = "encoder.layer.1.output.dense.weight";
	write_small_model(fresh_dir(), &m);
	snprintf(path, sizeof(path), "%s/image", temp_root);
	for (int i = 0; i < 2; i++)
	{
		if (i == 1)
			write_file(temp_root, "image", "before", 6);
		snprintf(command, sizeof(command), "%s pack '%s' %s '%s' 2>/dev/null", cli, temp_root, i == 0 ? ">" : ">>", path);
		CHECK(system(command) != 0);
		CHECK(stat(path, &st) == 0 && st.st_size == (i == 0 ? 0 : 6));
	}
}

int
main(void)
{
	test_failed_pack();
	test_memory("int8");
	test_memory("fp32");
	test_spans();
	test_early();
	return done_testing();
}
