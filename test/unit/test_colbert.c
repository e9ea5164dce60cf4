/*
 * test_colbert.c
 *		Models of ColBERT's kind (a vector per token): against
 *		sentence-transformers; the same bits in every batch, on every level,
 *		with any number of threads; int8 beside fp32; what the files may say.
 */
#include "opened_model.h"

#include <math.h>

/* What is promised of normalized vectors. */
#define MAX_DIFFERENCE		2e-6

/* The mean cosine of int8's vectors; tiny models have random weights. */
#define MIN_INT8_COSINE		0.999

static EmbSequence seqs[2 * MAX_TEXTS];	/* documents, then queries */

static EmbSequence
encode(const json_t *text, bool is_query)
{
	int32_t		n_most = is_query ? info->max_query_tokens : info->max_tokens;
	int32_t    *ids = malloc(n_most * sizeof(int32_t));
	EmbSequence seq = {.ids = ids, .is_query = is_query};
	EmbEncoded	r = {0};

	CHECK(emb_model_encode(model, is_query ? EMB_PROMPT_QUERY : EMB_PROMPT_DOCUMENT,
			&(EmbText) {json_string_value(text), json_string_length(text), true, NULL},
			&(EmbReading) {.ids = ids, .max_ids = INT32_MAX, .mem = &heap}, &r, NULL) == EMB_OK);
	if (is_query)
		seq.n_expanded = emb_model_expand(model, ids, r.n_ids);
	seq.n_ids = r.n_ids + seq.n_expanded;
	return seq;
}

static int
compare_ids(const EmbSequence *seq, const json_t *expected)
{
	int			n_wrong = seq->n_ids != (int32_t) json_array_size(expected);

	for (int32_t i = 0; n_wrong == 0 && i < seq->n_ids; i++)
		n_wrong += seq->ids[i] != json_integer_value(json_array_get(expected, i));
	return n_wrong;
}

static void
encode_texts(void)
{
	int			n_wrong = 0;

	for (int i = 0; i < n_texts; i++)
	{
		json_t	   *text = json_object_get(inputs[i], "text");

		seqs[i] = encode(text, false);
		seqs[n_texts + i] = encode(text, true);
		n_wrong += compare_ids(&seqs[i], json_object_get(inputs[i], "ids"));
		n_wrong += compare_ids(&seqs[n_texts + i], json_object_get(inputs[i], "query_ids"));
	}
	CHECKF(n_wrong == 0, "%d texts have other ids", n_wrong);
}

static void
free_texts(void)
{
	for (int i = 0; i < n_texts; i++)
	{
		json_decref(inputs[i]);
		free((void *) seqs[i].ids);
		free((void *) seqs[n_texts + i].ids);
	}
}

static size_t
count_vectors(const EmbSequence *list, int32_t n)
{
	size_t		n_vectors = 0;

	for (int32_t i = 0; i < n; i++)
		n_vectors += emb_model_n_vectors(model, &list[i]);
	return n_vectors;
}

/* The caller frees the vectors, end to end. */
static float *
compute(const EmbSequence *list, int32_t n, const EmbRun *run)
{
	float	   *vectors = malloc((count_vectors(list, n) + 1) * info->multi_dim * sizeof(float));
	EmbOutputs	outputs = {.multi = vectors};
	EmbError	err;

	CHECKF(emb_model_embed_all(model, list, n, run, &outputs, &err) == EMB_OK, "%s", err.message);
	return vectors;
}

/* ----------------------------------------------------------------- goldens */

/* The largest difference of an element; INFINITY for another number of vectors. */
static double
difference(const float *vectors, int32_t n_vectors, const json_t *expected)
{
	double		furthest = n_vectors == (int32_t) json_array_size(expected) ? 0 : INFINITY;

	for (int32_t i = 0; furthest < INFINITY && i < n_vectors; i++)
	{
		const json_t *row = json_array_get(expected, i);

		if ((int32_t) json_array_size(row) != info->multi_dim)
			return INFINITY;
		for (int32_t k = 0; k < info->multi_dim; k++)
			furthest = fmax(furthest, fabs(vectors[(size_t) i * info->multi_dim + k] - json_number_value(json_array_get(row, k))));
	}
	return furthest;
}

static void
check_goldens(const float *vectors)
{
	double		furthest[2] = {0, 0};

	for (int i = 0; i < 2 * n_texts; i++)
	{
		bool		is_query = i >= n_texts;
		int32_t		n = emb_model_n_vectors(model, &seqs[i]);

		furthest[is_query] = fmax(furthest[is_query], difference(vectors, n, json_object_get(inputs[i % n_texts], is_query ? "query" : "document")));
		vectors += (size_t) n * info->multi_dim;
	}
	CHECKF(furthest[0] <= MAX_DIFFERENCE, "a vector of a document is off by %g", furthest[0]);
	CHECKF(furthest[1] <= MAX_DIFFERENCE, "a vector of a query is off by %g", furthest[1]);
	printf("# %d texts: largest difference of an element %.2g, of a query's %.2g\n", n_texts, furthest[0], furthest[1]);
}

/* -------------------------------------------------------------------- bits */

static void
check_bits(const float *vectors)
{
	static const char *const levels[] = {"auto", "avx512vnni", "avxvnni", "avx2", "scalar", "neon", "amx"};
	size_t		row_bytes = info->multi_dim * sizeof(float);
	size_t		bytes = count_vectors(seqs, 2 * n_texts) * row_bytes;
	const float *at = vectors;
	int			n_wrong = 0;

	for (int level = 0; level < 7; level++)
	{
		EmbRun		run = {.mem = &heap, .batch_tokens = 1 + 40 * level, .n_threads = 1 + level % 3};
		float	   *found;

		if (emb_isa_select(levels[level], NULL) != EMB_OK)
			continue;
		found = compute(seqs, 2 * n_texts, &run);
		n_wrong += memcmp(found, vectors, bytes) != 0;
		free(found);
	}
	emb_isa_select("auto", NULL);
	for (int i = 0; i < 2 * n_texts; i++)
	{
		EmbRun		run = {.mem = &heap, .n_threads = 2};
		EmbSequence twice[3] = {seqs[i], seqs[0], seqs[i]};
		size_t		n = emb_model_n_vectors(model, &seqs[i]);
		float	   *found = compute(twice, 3, &run);

		n_wrong += memcmp(found, at, n * row_bytes) != 0;
		n_wrong += memcmp(found + (n + emb_model_n_vectors(model, &seqs[0])) * info->multi_dim, at, n * row_bytes) != 0;
		at += n * info->multi_dim;
		free(found);
	}
	CHECKF(n_wrong == 0, "%d results have other bits", n_wrong);
}

/* Expansion tokens that attention does not see change nothing: the query's own tokens have the bits of the query alone. */
static void
check_unseen(const float *vectors)
{
	EmbRun		run = {.mem = &heap};
	size_t		dim = info->multi_dim;
	int			n_checked = 0;

	vectors += count_vectors(seqs, n_texts) * dim;
	for (int i = n_texts; i < 2 * n_texts; i++)
	{
		EmbSequence alone = seqs[i];
		float	   *found;

		alone.n_ids -= alone.n_expanded;
		alone.n_expanded = 0;
		found = compute(&alone, 1, &run);
		if (seqs[i].n_expanded > 0 && !model->view.arch->sees_expansion)
			CHECK(memcmp(found, vectors, count_vectors(&alone, 1) * dim * sizeof(float)) == 0);
		else if (seqs[i].n_expanded > 0)
			CHECK(memcmp(found, vectors, count_vectors(&alone, 1) * dim * sizeof(float)) != 0);
		n_checked += seqs[i].n_expanded > 0;
		vectors += emb_model_n_vectors(model, &seqs[i]) * dim;
		free(found);
	}
	CHECK(n_checked > 3);
}

/* The import's own hashes and cosines, of documents and of queries. */
static void
check_references(double least)
{
	int			n_wrong = 0;
	double		sum = 0;

	for (int32_t i = 0; i < emb_model_n_references(model); i++)
	{
		EmbRun		run = {.mem = &heap, .n_threads = 2};
		EmbReferenceCheck check;

		CHECK(emb_model_check_reference(model, i, &run, &check, NULL) == EMB_OK);
		n_wrong += !check.ids_equal || !check.bits_equal || !check.sparse_equal || !check.multi_equal;
		n_wrong += i % 2 == 1 && info->query_floor > 0 && check.n_tokens < info->query_floor;
		sum += check.multi_closeness;
	}
	CHECKF(n_wrong == 0, "%d reference texts have other bits", n_wrong);
	CHECKF(sum / emb_model_n_references(model) >= least, "the mean cosine of reference texts is %g", sum / emb_model_n_references(model));
}

/* -------------------------------------------------------------------- int8 */

static void
test_quantized(const char *dir, const char *precision, const float *exact)
{
	EmbImportOptions options = {.precision = precision};
	EmbRun		run = {.mem = &heap};
	float	   *found;
	size_t		n;
	double		sum = 0;
	double		least = 1;

	if (!open_model(dir, &options, EMB_OK, NULL))
		return;
	n = count_vectors(seqs, 2 * n_texts);
	found = compute(seqs, 2 * n_texts, &run);
	for (size_t i = 0; i < n; i++)
	{
		double		c = emb_cosine(exact + i * info->multi_dim, found + i * info->multi_dim, info->multi_dim);

		sum += c;
		least = fmin(least, c);
	}
	printf("# %s: mean cosine %.6f, least %.6f\n", precision, sum / n, least);
	CHECKF(sum / n >= (strcmp(precision, "int8") == 0 ? MIN_INT8_COSINE : 0.9), "mean cosine %g", sum / n);
	check_bits(found);
	check_unseen(found);
	check_references(strcmp(precision, "int8") == 0 ? MIN_INT8_COSINE : 0.9);
	free(found);
	close_model();
}

static void
test_model(const char *name)
{
	char		dir[1024];
	char		files[1100];
	EmbImportOptions options = {.precision = "fp32"};
	EmbRun		run = {.mem = &heap};
	float	   *exact;
	float		vector[64];

	snprintf(dir, sizeof(dir), "%s/tiny/%s", data_dir(), name);
	snprintf(files, sizeof(files), "%s/model", dir);
	printf("# %s\n", name);
	if (!open_model(files, &options, EMB_OK, NULL))
		return;
	CHECK(!info->has_sparse && !info->has_dense && info->dim == 0 && info->multi_dim == 8 && strcmp(info->pooling, "none") == 0);
	load_texts(dir);
	encode_texts();
	CHECK(emb_model_embed(model, seqs, 1, &run, vector, NULL) == EMB_ERR_INVALID_ARGUMENT);
	exact = compute(seqs, 2 * n_texts, &run);
	check_goldens(exact);
	check_bits(exact);
	check_unseen(exact);
	check_references(0.999999);
	close_model();
	test_quantized(files, "int8", exact);
	test_quantized(files, "int4", exact);
	free(exact);
	free_texts();
}

/* ------------------------------------------------------------------- files */

static void
copy_file(const char *from, const char *to, const char *name)
{
	size_t		size;
	char	   *data = read_file(from, name, &size);

	if (!CHECKF(data != NULL, "no %s in %s", name, from))
		exit(1);
	write_file(to, name, data, size);
	free(data);
}

/* A directory with the files of a tiny model, folders included. */
static const char *
copy_model(const char *name)
{
	static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "modules.json",
		"sentence_bert_config.json", "config_sentence_transformers.json", "1_Dense/config.json", "1_Dense/model.safetensors",
		"2_Dense/config.json", "2_Dense/model.safetensors", "3_Dense/config.json", "3_Dense/model.safetensors",
		"2_MultiVectorMask/config.json", "3_Normalize/config.json", "artifact.metadata"};
	static const char *const folders[] = {"1_Dense", "2_Dense", "3_Dense", "2_MultiVectorMask", "3_Normalize"};
	const char *dir = fresh_dir();
	char		from[1100];
	char		path[PATH_MAX];

	snprintf(from, sizeof(from), "%s/tiny/%s/model", data_dir(), name);
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
	{
		snprintf(path, sizeof(path), "%s/%s", dir, folders[i]);
		mkdir(path, 0700);
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		snprintf(path, sizeof(path), "%s/%s", from, names[i]);
		if (access(path, R_OK) == 0)
			copy_file(from, dir, names[i]);
	}
	return dir;
}

#define OWN(more)	"{\"model_type\": \"ColBERT\", " more "}"
#define BERT		"{\"idx\": 0, \"type\": \"sentence_transformers.models.Transformer\", \"path\": \"\"}"
#define DENSE		"{\"type\": \"pylate.models.Dense.Dense\", \"path\": \"1_Dense\"}"
#define NORMALIZE	"{\"type\": \"sentence_transformers.models.Normalize\", \"path\": \"2\"}"
#define DENSE_OF(more)	"{\"in_features\": 32, \"out_features\": 8, \"bias\": false, " more "}"

/* colbert-modernbert's files, one of them changed. */
static void
test_bad_files(void)
{
	static const char own[] = "config_sentence_transformers.json";
	static const char dense[] = "1_Dense/config.json";
	static const char lengths[] = "sentence_bert_config.json";
	static const struct
	{
		const char *file,
				   *text,
				   *kind;		/* options */
		const char *pooling;
		EmbStatus	status;
		const char *message;
	}			cases[] =
	{
		{NULL, NULL, NULL, NULL, EMB_OK, NULL},
		{NULL, NULL, "multi", NULL, EMB_OK, NULL},
		{NULL, NULL, "embedding", NULL, EMB_ERR_INVALID_ARGUMENT, "of kind \"multi\""},
		{NULL, NULL, "reranker", NULL, EMB_ERR_INVALID_ARGUMENT, "of kind \"multi\""},
		{NULL, NULL, "sparse", NULL, EMB_ERR_INVALID_ARGUMENT, "not a learned sparse model"},
		{NULL, NULL, NULL, "cls", EMB_ERR_INVALID_ARGUMENT, "returns vectors or weights of tokens only"},
		{own, OWN("\"query_length\": 0"), NULL, NULL, EMB_ERR_FORMAT, "\"query_length\""},
		{own, OWN("\"query_length\": 129"), NULL, NULL, EMB_ERR_FORMAT, "\"query_length\""},
		{own, OWN("\"query_length\": 1"), NULL, NULL, EMB_ERR_INVALID_ARGUMENT, "the length of queries, 1 tokens"},
		{own, OWN("\"query_length\": \"32\""), NULL, NULL, EMB_ERR_FORMAT, "\"query_length\""},
		{own, OWN("\"document_length\": -1"), NULL, NULL, EMB_ERR_FORMAT, "\"document_length\""},
		{own, OWN("\"document_length\": 2000000000"), NULL, NULL, EMB_OK, NULL},
		{own, OWN("\"document_length\": 2"), NULL, NULL, EMB_ERR_INVALID_ARGUMENT, "max_tokens 2"},
		{own, OWN("\"query_prefix\": 1"), NULL, NULL, EMB_ERR_FORMAT, "\"query_prefix\""},
		{own, OWN("\"do_query_expansion\": 1"), NULL, NULL, EMB_ERR_FORMAT, "\"do_query_expansion\""},
		{own, OWN("\"do_query_expansion\": false"), NULL, NULL, EMB_OK, NULL},
		{own, OWN("\"query_prefix\": \"\", \"document_prefix\": \"\""), NULL, NULL, EMB_OK, NULL},
		{own, OWN("\"query_expansion\": null, \"query_length\": 20"), NULL, NULL, EMB_OK, NULL},
		{own, OWN("\"query_expansion\": {\"strategy\": \"half\", \"length\": 3}"), NULL, NULL, EMB_ERR_UNSUPPORTED, "\"strategy\" is \"half\""},
		{own, OWN("\"skiplist_words\": \",\""), NULL, NULL, EMB_ERR_FORMAT, "\"skiplist_words\" is not a list"},
		{own, OWN("\"skiplist_words\": [1]"), NULL, NULL, EMB_ERR_FORMAT, "something other than strings"},
		{own, OWN("\"skiplist_words\": []"), NULL, NULL, EMB_OK, NULL},
		{own, "{\"model_type\": \"MultiVectorEncoder\"}", NULL, NULL, EMB_OK, NULL},
		{own, "{\"model_type\": \"SentenceTransformer\"}", NULL, NULL, EMB_ERR_UNSUPPORTED, "pylate.models.Dense.Dense"},
		{own, "{\"model_type\": \"TripleEncoder\"}", NULL, NULL, EMB_ERR_UNSUPPORTED, "ColBERT"},
		{"modules.json", "[]", NULL, NULL, EMB_ERR_UNSUPPORTED, "0 modules"},
		{"modules.json", "[" BERT "]", NULL, NULL, EMB_ERR_UNSUPPORTED, "lists no Dense"},
		{"modules.json", "[" DENSE "]", NULL, NULL, EMB_ERR_UNSUPPORTED, "Transformer, Dense"},
		{"modules.json", "[" BERT ", " NORMALIZE ", " DENSE "]", NULL, NULL, EMB_ERR_UNSUPPORTED, "in this order"},
		{"modules.json", "[" BERT ", " DENSE ", {\"type\": \"sentence_transformers.models.Pooling\", \"path\": \"2\"}]", NULL, NULL,
			EMB_ERR_UNSUPPORTED, "sentence_transformers.models.Pooling"},
		{"modules.json", "[" BERT ", " DENSE ", {\"type\": \"sentence_transformers.multi_vector_encoder.modules.HierarchicalTokenPooling\", \"path\": \"2\"}]",
			NULL, NULL, EMB_ERR_UNSUPPORTED, "HierarchicalTokenPooling"},
		{"modules.json", "[" BERT ", " DENSE ", " DENSE ", " DENSE ", " DENSE ", " DENSE "]", NULL, NULL, EMB_ERR_UNSUPPORTED, "more than 4 modules"},
		{"modules.json", "[" BERT ", {\"type\": \"pylate.models.Dense.Dense\", \"path\": \"../1_Dense\"}]", NULL, NULL, EMB_ERR_FORMAT, "not a path inside"},
		{"modules.json", "[" BERT ", {\"type\": \"pylate.models.Dense.Dense\", \"path\": \"4_Dense\"}]", NULL, NULL, EMB_ERR_NOT_FOUND, "4_Dense"},
		{"modules.json", "[" BERT ", " DENSE ", " NORMALIZE "]", NULL, NULL, EMB_OK, NULL},
		{dense, DENSE_OF("\"use_residual\": true"), NULL, NULL, EMB_ERR_NOT_FOUND, "no tensor \"residual.weight\""},
		{dense, DENSE_OF("\"activation_function\": \"torch.nn.modules.activation.ReLU\""), NULL, NULL, EMB_ERR_UNSUPPORTED, "without an activation"},
		{dense, DENSE_OF("\"activation_function\": \"os.system\""), NULL, NULL, EMB_ERR_UNSUPPORTED, "without an activation"},
		{dense, DENSE_OF("\"module_input_name\": \"sentence_embedding\""), NULL, NULL, EMB_ERR_UNSUPPORTED, "\"token_embeddings\""},
		{dense, DENSE_OF("\"module_output_name\": \"scores\""), NULL, NULL, EMB_ERR_UNSUPPORTED, "\"module_output_name\" is \"scores\""},
		{dense, "{\"in_features\": 32, \"out_features\": 8}", NULL, NULL, EMB_ERR_NOT_FOUND, "no tensor \"linear.bias\""},
		{dense, "{\"in_features\": 33, \"out_features\": 8, \"bias\": false}", NULL, NULL, EMB_ERR_FORMAT, "\"in_features\" is 33"},
		{dense, "{\"in_features\": 32, \"out_features\": 9, \"bias\": false}", NULL, NULL, EMB_ERR_FORMAT, "another shape"},
		{dense, "{\"in_features\": 32, \"out_features\": 20000, \"bias\": false}", NULL, NULL, EMB_ERR_FORMAT, "\"out_features\""},
		{dense, "{\"in_features\": 32, \"bias\": false}", NULL, NULL, EMB_ERR_FORMAT, "no \"out_features\""},
		{"1_Dense/model.safetensors", "x", NULL, NULL, EMB_ERR_FORMAT, NULL},
		{lengths, "{\"query_expansion\": 1}", NULL, NULL, EMB_ERR_FORMAT, "\"query_expansion\" is not an object"},
		{lengths, "{\"query_expansion\": {\"strategy\": \"fixed\"}}", NULL, NULL, EMB_ERR_FORMAT, "no \"length\""},
		{lengths, "{\"query_expansion\": {\"strategy\": \"fixed\", \"length\": 1000}}", NULL, NULL, EMB_ERR_FORMAT, "\"length\""},
		{lengths, "{\"query_length\": 8, \"query_expansion\": {\"strategy\": \"min\", \"length\": 10}}", NULL, NULL, EMB_ERR_FORMAT, "less than the 10"},
		{lengths, "{\"query_expansion\": {\"strategy\": \"min\", \"length\": 10, \"token\": \"<none>\"}}", NULL, NULL, EMB_ERR_FORMAT, "\"<none>\""},
		{"config.json", "{\"model_type\": \"gpt2\"}", NULL, NULL, EMB_ERR_UNSUPPORTED, "gpt2"},
	};
	char		from[1100];
	const char *dir = copy_model("colbert-modernbert");

	snprintf(from, sizeof(from), "%s/tiny/colbert-modernbert/model", data_dir());
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		EmbImportOptions options = {.precision = "fp32", .kind = cases[i].kind, .pooling = cases[i].pooling};

		if (cases[i].file != NULL)
			write_text(dir, cases[i].file, cases[i].text);
		if (open_model(dir, &options, cases[i].status, cases[i].message))
			close_model();
		if (cases[i].file != NULL)
			copy_file(from, dir, cases[i].file);
	}
}

/* A Dense of zeros in a folder of dir. */
static void
write_dense(const char *dir, const char *folder, int n_in, int n_out)
{
	char		name[64];
	char		config[128];
	char		header[128];

	snprintf(header, sizeof(header), "{\"linear.weight\":{\"dtype\":\"F16\",\"shape\":[%d,%d],\"data_offsets\":[0,%d]}}",
			 n_out, n_in, 2 * n_in * n_out);
	snprintf(name, sizeof(name), "%s/model.safetensors", folder);
	write_safetensors(dir, name, header, NULL, 2 * (size_t) n_in * n_out);
	snprintf(name, sizeof(name), "%s/config.json", folder);
	snprintf(config, sizeof(config), "{\"in_features\": %d, \"out_features\": %d, \"bias\": false}", n_in, n_out);
	write_text(dir, name, config);
}

/* Small files whose product would be large: refused before any memory is taken for it. */
static void
test_large_product(void)
{
	const char *dir = copy_model("colbert-bert");
	EmbImportOptions options = {.precision = "fp32"};

	write_dense(dir, "1_Dense", 32, 16384);
	write_dense(dir, "2_Dense", 16384, 1);
	write_dense(dir, "3_Dense", 1, 16384);
	CHECK(!open_model(dir, &options, EMB_ERR_LIMIT, "up to \"2_Dense\" has 16384 by 16384 elements"));
}

/* Zeros as the last of three matrices, and as the original ColBERT's, whose other tensors stay. */
static void
test_zeros(void)
{
	const char *dir = copy_model("colbert-bert");
	EmbImportOptions options = {.precision = "fp32"};
	unsigned long long begin = 0;
	unsigned long long end = 0;
	uint64_t	header_bytes;
	size_t		size;
	char	   *bytes;
	char	   *entry;

	write_dense(dir, "3_Dense", 48, 8);
	CHECK(!open_model(dir, &options, EMB_ERR_FORMAT, "the product of the Dense modules has only zeros"));
	CHECK(!open_model(dir, &options, EMB_ERR_FORMAT, "Download the model again"));
	dir = copy_model("colbert-stanford");
	bytes = read_file(dir, "model.safetensors", &size);
	memcpy(&header_bytes, bytes, sizeof(header_bytes));
	entry = strstr(bytes + 8, "\"linear.weight\"");
	entry = entry != NULL ? strstr(entry, "data_offsets") : NULL;
	if (CHECK(entry != NULL && sscanf(entry + strlen("data_offsets"), "\" : [ %llu , %llu", &begin, &end) == 2 && begin < end && 8 + header_bytes + end <= size))
	{
		memset(bytes + 8 + header_bytes + begin, 0, end - begin);
		write_file(dir, "model.safetensors", bytes, size);
		CHECK(!open_model(dir, &options, EMB_ERR_FORMAT, "tensor \"linear.weight\" has only zeros"));
	}
	free(bytes);
}

/* What MultiVectorMask may say, beside colbert-st's files. */
static void
test_masks(void)
{
	static const struct
	{
		const char *text;
		EmbStatus	status;
		const char *message;
		int32_t		n_skipped;
		int32_t		skips;
	}			cases[] =
	{
		{"{}", EMB_OK, NULL, 0, 0},
		{"{\"skiplist_words\": [\",\", \".\", \",\"]}", EMB_OK, NULL, 2, EMB_SKIPS_DOCUMENTS},
		{"{\"skiplist_words\": [\",\", \"no such token\"], \"skiplist_tasks\": \"query\"}", EMB_OK, NULL, 1, EMB_SKIPS_QUERIES},
		{"{\"skiplist_words\": [\",\"], \"skiplist_tasks\": []}", EMB_OK, NULL, 0, 0},
		{"{\"skiplist_words\": [\",\"], \"skiplist_tasks\": [\"image\"]}", EMB_ERR_UNSUPPORTED, "\"skiplist_tasks\" is \"image\"", 0, 0},
		{"{\"skiplist_words\": [\",\"], \"skiplist_tasks\": 3}", EMB_ERR_FORMAT, "\"skiplist_tasks\" is neither", 0, 0},
		{"{\"keep_only_token_ids\": [3]}", EMB_ERR_UNSUPPORTED, "\"keep_only_token_ids\"", 0, 0},
		{"[]", EMB_ERR_FORMAT, "not a JSON object", 0, 0},
	};
	const char *dir = copy_model("colbert-st");

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		EmbImportOptions options = {.precision = "fp32"};

		write_text(dir, "2_MultiVectorMask/config.json", cases[i].text);
		if (!open_model(dir, &options, cases[i].status, cases[i].message))
			continue;
		CHECKF(model->view.arch->n_skipped == cases[i].n_skipped && model->view.arch->skips == cases[i].skips, "case %zu: %d ids, %d", i,
			   model->view.arch->n_skipped, model->view.arch->skips);
		close_model();
	}
}

/* The original ColBERT's artifact.metadata, beside colbert-stanford's files. */
static void
test_metadata(void)
{
	static const struct
	{
		const char *text;		/* NULL: no such file */
		EmbStatus	status;
		const char *message;
		int32_t		query_tokens;
		int32_t		max_tokens;
		bool		skips;
	}			cases[] =
	{
		{"{\"query_maxlen\": 12, \"doc_maxlen\": 300, \"mask_punctuation\": false, \"dim\": 8}", EMB_OK, NULL, 12, 128, false},
		{"{\"query_maxlen\": 200}", EMB_ERR_FORMAT, "\"query_maxlen\"", 0, 0, false},
		{"{\"dim\": 9}", EMB_ERR_FORMAT, "\"dim\" of artifact.metadata", 0, 0, false},
		{"{\"similarity\": \"l2\"}", EMB_ERR_UNSUPPORTED, "\"similarity\" is \"l2\"", 0, 0, false},
		{"{\"query_token_id\": \"\"}", EMB_ERR_FORMAT, "\"query_token_id\" is not a token", 0, 0, false},
		{"{\"doc_token_id\": 3}", EMB_ERR_FORMAT, "\"doc_token_id\"", 0, 0, false},
		{"{", EMB_ERR_FORMAT, "artifact.metadata", 0, 0, false},
		{"{", EMB_ERR_FORMAT, "download it again", 0, 0, false},
		{NULL, EMB_OK, NULL, 32, 128, true},
	};
	const char *dir = copy_model("colbert-stanford");
	char		path[PATH_MAX];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		EmbImportOptions options = {.precision = "fp32"};

		snprintf(path, sizeof(path), "%s/artifact.metadata", dir);
		if (cases[i].text != NULL)
			write_text(dir, "artifact.metadata", cases[i].text);
		else
			unlink(path);
		if (!open_model(dir, &options, cases[i].status, cases[i].message))
			continue;
		CHECKF(info->max_query_tokens == cases[i].query_tokens && info->query_floor == cases[i].query_tokens && info->max_tokens == cases[i].max_tokens &&
			   (model->view.arch->n_skipped > 0) == cases[i].skips, "case %zu: %d, %d, %d", i, info->max_query_tokens, info->max_tokens, model->view.arch->n_skipped);
		close_model();
	}
}

/* A text of skipped tokens alone; what emb_model_embed_all refuses. */
static void
test_sequences(void)
{
	EmbImportOptions options = {.precision = "fp32"};
	EmbRun		run = {.mem = &heap};
	int32_t		ids[3];
	float		vectors[3 * 8];
	EmbOutputs	outputs = {.multi = vectors};
	char		dir[1100];

	snprintf(dir, sizeof(dir), "%s/tiny/colbert-st/model", data_dir());
	options.sets_layer_norm = options.layer_norm = true;
	CHECK(!open_model(dir, &options, EMB_ERR_INVALID_ARGUMENT, "no vector of a text that a layer norm could change"));
	options.sets_layer_norm = options.layer_norm = false;
	if (!open_model(dir, &options, EMB_OK, NULL))
		return;
	for (int i = 0; i < 3; i++)
		ids[i] = (int32_t) model->skipped[i];
	for (int i = 0; i < 4; i++)
	{
		EmbSequence seq = {.ids = ids, .n_ids = 3, .is_query = i % 2 == 1, .n_expanded = i == 2 ? 3 : i == 3 ? -1 : 0};

		CHECK(emb_model_n_vectors(model, &seq) == 0);
		CHECK(emb_model_embed_all(model, &seq, 1, &run, &outputs, NULL) == (i < 2 ? EMB_OK : EMB_ERR_INVALID_ARGUMENT));
	}
	close_model();
}

/* Nothing stays allocated, whichever allocation fails; an import can be stopped at every poll. */
static void
test_failures(void)
{
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbImportOptions options = {.precision = "int8"};
	EmbSequence three[3] = {{.ids = (int32_t[]) {2, 12, 9, 3}, .n_ids = 4, .n_expanded = 1, .is_query = true},
		{.ids = (int32_t[]) {2, 3}, .n_ids = 2}, {.ids = (int32_t[]) {2, 12, 9, 3}, .n_ids = 4}};
	EmbRun		run = {.mem = &mem};
	EmbStatus	status = EMB_ERR_NOMEM;
	float		vectors[10 * 8];
	EmbOutputs	outputs = {.multi = vectors};
	char		dir[1100];
	int			n_tries;

	snprintf(dir, sizeof(dir), "%s/tiny/colbert-bert/model", data_dir());
	if (!open_model(dir, &options, EMB_OK, NULL))
		return;
	for (n_tries = 0; status == EMB_ERR_NOMEM && n_tries < 100; n_tries++)
	{
		count.fail_after = n_tries;
		status = emb_model_embed_all(model, three, 3, &run, &outputs, NULL);
		CHECKF(count.n_live == 0, "%ld blocks stay after allocation %d failed", count.n_live, n_tries);
	}
	CHECKF(status == EMB_OK && n_tries > 8, "%d after %d allocations", status, n_tries);
	close_model();
	status = EMB_ERR_NOMEM;
	options.precision = "fp32";
	for (n_tries = 0; status == EMB_ERR_NOMEM && n_tries < 4000; n_tries++)
	{
		count.fail_after = n_tries;
		status = import_image(dir, &options, &mem, &image, NULL);
		free(image.data);
		image.data = NULL;
		CHECKF(count.n_live == 0, "%ld blocks stay after allocation %d of an import failed", count.n_live, n_tries);
	}
	CHECKF(status == EMB_OK && n_tries > 50, "%d after %d allocations", status, n_tries);
}

int
main(void)
{
	static const char *const models[] = {"colbert-modernbert", "colbert-bert", "colbert-st", "colbert-stanford"};

	heap = emb_malloc_allocator();
	for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++)
		test_model(models[i]);
	test_bad_files();
	test_large_product();
	test_zeros();
	test_masks();
	test_metadata();
	test_sequences();
	test_failures();
	emb_threads_stop();
	return done_testing();
}
