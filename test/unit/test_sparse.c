/*
 * test_sparse.c
 *		Learned sparse models (the head over the vocabulary): against
 *		sentence-transformers; the same bits in every batch, on every level,
 *		with any number of threads; int8 beside fp32; the table of queries; what
 *		the files may say.
 */
#include "opened_model.h"

#include <math.h>

/* What is promised of weights; measured 7e-6 here, where logits reach 20. */
#define MAX_DIFFERENCE		5e-5

/* The mean cosine of int8's vectors; tiny models have random weights. */
#define MIN_INT8_COSINE		0.999

static EmbSequence seqs[MAX_TEXTS];
static EmbSequence queries[MAX_TEXTS];

static EmbSequence
encode(const json_t *text, EmbPrompt prompt)
{
	int32_t    *ids = malloc(info->max_tokens * sizeof(int32_t));
	EmbEncoded	r = {0};

	CHECK(emb_model_encode(model, prompt, &(EmbText) {json_string_value(text), json_string_length(text), true, NULL},
			&(EmbReading) {.ids = ids, .max_ids = info->max_tokens, .mem = &heap}, &r, NULL) == EMB_OK);
	return (EmbSequence) {.ids = ids, .n_ids = r.n_ids};
}

static void
encode_texts(void)
{
	int			n_wrong = 0;

	for (int i = 0; i < n_texts; i++)
	{
		seqs[i] = encode(json_object_get(inputs[i], "text"), EMB_PROMPT_DOCUMENT);
		queries[i] = encode(json_object_get(inputs[i], "text"), EMB_PROMPT_QUERY);
		n_wrong += seqs[i].n_ids != json_integer_value(json_object_get(inputs[i], "n"));
		for (int k = 0; k < seqs[i].n_ids; k++)
			n_wrong += seqs[i].ids[k] != json_integer_value(json_array_get(json_object_get(inputs[i], "ids"), k));
	}
	CHECKF(n_wrong == 0, "%d ids differ", n_wrong);
}

static void
free_texts(void)
{
	for (int i = 0; i < n_texts; i++)
	{
		json_decref(inputs[i]);
		free((void *) seqs[i].ids);
		free((void *) queries[i].ids);
	}
}

static void
compute(const EmbSequence *list, int32_t n, const EmbRun *run, EmbSparse *sparse)
{
	EmbOutputs	outputs = {.sparse = sparse};
	EmbError	err;

	memset(sparse, 0, n * sizeof(EmbSparse));
	CHECKF(emb_model_embed_all(model, list, n, run, &outputs, &err) == EMB_OK, "%s", err.message);
}

static void
free_all(EmbSparse *sparse, int32_t n)
{
	for (int32_t i = 0; i < n; i++)
		emb_sparse_free(&sparse[i], &heap);
}

static float
weight_of(const EmbSparse *sparse, int32_t id)
{
	for (int32_t k = 0; k < sparse->n; k++)
	{
		if (sparse->ids[k] == id)
			return sparse->weights[k];
	}
	return 0;
}

/* ----------------------------------------------------------------- goldens */

/* [PAD] to [MASK], which models with a table for queries leave out of documents. */
static bool
is_dropped(int32_t id)
{
	return info->has_query_weights && id < 5;
}

/* The largest difference of a weight; an id that only one side has, has weight 0 on the other. */
static double
difference(const EmbSparse *sparse, const json_t *expected, bool is_document)
{
	double		furthest = 0;
	const char *key;
	json_t	   *value;

	for (int32_t k = 0; k < sparse->n; k++)
	{
		char		id[16];
		const json_t *weight;

		snprintf(id, sizeof(id), "%d", sparse->ids[k]);
		weight = json_object_get(expected, id);
		furthest = fmax(furthest, fabs(sparse->weights[k] - json_number_value(weight)));
		if (!(sparse->weights[k] > 0) || (k > 0 && sparse->ids[k] <= sparse->ids[k - 1]) || (is_document && is_dropped(sparse->ids[k])))
			return INFINITY;
	}
	json_object_foreach((json_t *) expected, key, value)
	{
		if (!is_document || !is_dropped(atoi(key)))
			furthest = fmax(furthest, fabs(weight_of(sparse, atoi(key)) - json_number_value(value)));
	}
	return furthest;
}

static void
check_goldens(const EmbSparse *documents)
{
	EmbRun		run = {.mem = &heap};
	EmbSparse	found[MAX_TEXTS];
	double		document = 0;
	double		query = 0;

	if (info->has_query_weights)
	{
		for (int i = 0; i < n_texts; i++)
			CHECK(emb_model_query_weights(model, &queries[i], &heap, &found[i], NULL) == EMB_OK);
	}
	else
	{
		CHECK(emb_model_query_weights(model, &queries[0], &heap, &found[0], NULL) == EMB_ERR_INVALID_ARGUMENT);
		compute(queries, n_texts, &run, found);
	}
	for (int i = 0; i < n_texts; i++)
	{
		document = fmax(document, difference(&documents[i], json_object_get(inputs[i], "sparse"), true));
		query = fmax(query, difference(&found[i], json_object_get(inputs[i], "query"), false));
	}
	CHECKF(document <= MAX_DIFFERENCE, "a weight of a document is off by %g", document);
	CHECKF(query <= MAX_DIFFERENCE, "a weight of a query is off by %g", query);
	printf("# %d texts: largest difference of a weight %.2g, of a query's %.2g\n", n_texts, document, query);
	free_all(found, n_texts);
}

/* -------------------------------------------------------------------- bits */

static bool
same_weights(const EmbSparse *a, const EmbSparse *b)
{
	return a->n == b->n && memcmp(a->ids, b->ids, a->n * sizeof(int32_t)) == 0 &&
		memcmp(a->weights, b->weights, a->n * sizeof(float)) == 0;
}

static void
check_bits(const EmbSparse *documents)
{
	static const char *const levels[] = {"auto", "avx512vnni", "avxvnni", "avx2", "scalar", "neon"};
	EmbSparse	found[MAX_TEXTS];
	int			n_wrong = 0;

	for (int level = 0; level < 6; level++)
	{
		EmbRun		run = {.mem = &heap, .batch_tokens = 1 + 40 * level, .n_threads = 1 + level % 3};

		if (emb_isa_select(levels[level], NULL) != EMB_OK)
			continue;
		compute(seqs, n_texts, &run, found);
		for (int i = 0; i < n_texts; i++)
			n_wrong += !same_weights(&found[i], &documents[i]);
		free_all(found, n_texts);
	}
	emb_isa_select("auto", NULL);
	for (int i = 0; i < n_texts; i++)
	{
		EmbRun		run = {.mem = &heap, .n_threads = 2};
		EmbSequence twice[3] = {seqs[i], seqs[0], seqs[i]};

		compute(twice, 3, &run, found);
		n_wrong += !same_weights(&found[0], &documents[i]) || !same_weights(&found[2], &documents[i]);
		free_all(found, 3);
	}
	CHECKF(n_wrong == 0, "%d texts have other bits", n_wrong);
}

/* The import's own hashes and cosines. */
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
		sum += check.sparse_closeness;
	}
	CHECKF(n_wrong == 0, "%d reference texts have other bits", n_wrong);
	CHECKF(sum / emb_model_n_references(model) >= least, "the mean cosine of reference texts is %g", sum / emb_model_n_references(model));
}

/* -------------------------------------------------------------------- int8 */

static double
cosine(const EmbSparse *a, const EmbSparse *b)
{
	double		ab = 0;
	double		aa = 0;
	double		bb = 0;

	for (int32_t k = 0; k < a->n; k++)
	{
		ab += (double) a->weights[k] * weight_of(b, a->ids[k]);
		aa += (double) a->weights[k] * a->weights[k];
	}
	for (int32_t k = 0; k < b->n; k++)
		bb += (double) b->weights[k] * b->weights[k];
	return aa == 0 && bb == 0 ? 1 : aa == 0 || bb == 0 ? 0 : ab / sqrt(aa * bb);
}

static void
test_quantized(const char *dir, const char *precision, const EmbSparse *exact)
{
	EmbImportOptions options = {.precision = precision};
	EmbRun		run = {.mem = &heap};
	EmbSparse	found[MAX_TEXTS];
	double		sum = 0;
	double		least = 1;

	if (!open_model(dir, &options, EMB_OK, NULL))
		return;
	compute(seqs, n_texts, &run, found);
	for (int i = 0; i < n_texts; i++)
	{
		double		c = cosine(&exact[i], &found[i]);

		sum += c;
		least = fmin(least, c);
	}
	printf("# %s: mean cosine %.6f, least %.6f\n", precision, sum / n_texts, least);
	/* of the 12 largest of many random weights a few are others */
	if (strcmp(precision, "int8") == 0 && model->view.arch->sparse_max == 0)
		CHECKF(sum / n_texts >= MIN_INT8_COSINE, "mean cosine %g", sum / n_texts);
	check_bits(found);
	check_references(strcmp(precision, "int8") == 0 && model->view.arch->sparse_max == 0 ? MIN_INT8_COSINE : 0.9);
	free_all(found, n_texts);
	close_model();
}

static void
test_model(const char *name)
{
	char		dir[1024];
	char		files[1100];
	EmbImportOptions options = {.precision = "fp32"};
	EmbRun		run = {.mem = &heap};
	EmbSparse	exact[MAX_TEXTS];
	float		vector[64];

	snprintf(dir, sizeof(dir), "%s/tiny/%s", data_dir(), name);
	snprintf(files, sizeof(files), "%s/model", dir);
	printf("# %s\n", name);
	if (!open_model(files, &options, EMB_OK, NULL))
		return;
	CHECK(info->has_sparse && !info->has_dense && info->dim == 0 && info->multi_dim == 0);
	load_texts(dir);
	encode_texts();
	CHECK(emb_model_embed(model, seqs, 1, &run, vector, NULL) == EMB_ERR_INVALID_ARGUMENT);
	compute(seqs, n_texts, &run, exact);
	check_goldens(exact);
	check_bits(exact);
	check_references(0.999999);
	close_model();
	test_quantized(files, "int8", exact);
	test_quantized(files, "int4", exact);
	free_all(exact, n_texts);
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

/* The document's side of splade-router as a directory without modules.json. */
static const char *
bare_dir(void)
{
	static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"};
	const char *dir = fresh_dir();
	char		from[1100];

	snprintf(from, sizeof(from), "%s/tiny/splade-router/model/document_0_Transformer", data_dir());
	for (int i = 0; i < 4; i++)
		copy_file(from, dir, names[i]);
	return dir;
}

/*
 * OpenSearch's models before sentence-transformers knew them: idf.json beside
 * config.json. Unknown tokens count as [UNK], as transformers maps them.
 */
static void
test_idf(void)
{
	const char *dir = bare_dir();
	const struct
	{
		const char *idf;
		EmbStatus	status;
		const char *message;
	}			cases[] =
	{
		{"{\"the\": 1.5, \"[CLS]\": 2, \"no such token\": 3.25}", EMB_OK, NULL},
		{"{\"the\": \"x\"}", EMB_ERR_FORMAT, "the weight of \"the\" is not a finite number"},
		{"{\"the\": 1e300}", EMB_ERR_FORMAT, "the weight of \"the\" is not a finite number"},
		{"[1]", EMB_ERR_FORMAT, "idf.json is not a JSON object"},
	};
	EmbImportOptions options = {.precision = "fp32"};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		EmbSparse	sparse;
		EmbSequence seq;
		json_t	   *text = json_string("the the \xe9\xbe\x98");

		write_text(dir, "idf.json", cases[i].idf);
		if (open_model(dir, &options, cases[i].status, cases[i].message))
		{
			seq = encode(text, EMB_PROMPT_QUERY);
			CHECK(info->has_query_weights && model->view.arch->sparse_logs == 1);
			CHECK(emb_model_query_weights(model, &seq, &heap, &sparse, NULL) == EMB_OK);
			CHECK(sparse.n == 2 && sparse.weights[1] == 1.5f && sparse.weights[0] == 3.25f && sparse.ids[0] == 1);
			emb_sparse_free(&sparse, &heap);
			free((void *) seq.ids);
			close_model();
		}
		json_decref(text);
	}
	/* the models of 2025 take the logarithm twice */
	write_text(dir, "idf.json", "{\"the\": 1}");
	options.name = "opensearch-neural-sparse-encoding-doc-v3-distill";
	if (open_model(dir, &options, EMB_OK, NULL))
	{
		CHECK(model->view.arch->sparse_logs == 2);
		close_model();
	}
}

/* What a masked language model without modules.json is. */
static void
test_kinds(void)
{
	const char *dir = bare_dir();
	const struct
	{
		const char *name,
				   *kind;
		EmbStatus	status;
		bool		is_sparse;
		const char *message;
	}			cases[] =
	{
		{"naver/splade-v3", NULL, EMB_OK, true, NULL},
		{"granite-30m-sparse", NULL, EMB_OK, true, NULL},
		{"other", "sparse", EMB_OK, true, NULL},
		{"other", "embedding", EMB_OK, false, NULL},
		{"splade", "embedding", EMB_OK, false, NULL},
		{"splade", "reranker", EMB_ERR_UNSUPPORTED, false, "set the option kind to \"embedding\""},
		{"other", "sparsely", EMB_ERR_INVALID_ARGUMENT, false, "use \"embedding\", \"sparse\", \"multi\" or \"reranker\""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		EmbImportOptions options = {.precision = "fp32", .name = cases[i].name, .kind = cases[i].kind};

		if (open_model(dir, &options, cases[i].status, cases[i].message))
		{
			CHECKF(info->has_sparse == cases[i].is_sparse && info->has_dense != cases[i].is_sparse, "case %zu", i);
			close_model();
		}
	}
}

/* With modules.json there is no choice. */
static void
test_kind_of_files(void)
{
	static const char *const kinds[] = {"sparse", "embedding", "reranker"};
	char		dir[1100];

	snprintf(dir, sizeof(dir), "%s/tiny/splade-bert/model", data_dir());
	for (int i = 0; i < 3; i++)
	{
		EmbImportOptions options = {.precision = "fp32", .kind = kinds[i]};

		if (open_model(dir, &options, i == 0 ? EMB_OK : EMB_ERR_INVALID_ARGUMENT, i == 0 ? NULL : "of kind \"sparse\""))
			close_model();
	}
}

/* splade-bert's files, some of them changed. */
static void
test_bad_files(void)
{
	static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json", "modules.json", "1_SpladePooling/config.json"};
	const struct
	{
		const char *file,
				   *text,
				   *pooling;	/* option */
		EmbStatus	status;
		const char *message;
	}			cases[] =
	{
		{NULL, NULL, NULL, EMB_OK, NULL},
		{"1_SpladePooling/config.json", "{\"pooling_strategy\": \"sum\"}", NULL, EMB_ERR_UNSUPPORTED, "\"pooling_strategy\" is \"sum\""},
		{"1_SpladePooling/config.json", "{\"activation_function\": \"gelu\"}", NULL, EMB_ERR_UNSUPPORTED, "\"activation_function\" is \"gelu\""},
		{"config_sentence_transformers.json", "{\"max_active_dims\": 0}", NULL, EMB_ERR_FORMAT, "\"max_active_dims\""},
		{NULL, NULL, "cls", EMB_ERR_INVALID_ARGUMENT, "returns vectors or weights of tokens only"},
		{"modules.json", "[{\"type\": \"sentence_transformers.models.Transformer\", \"path\": \"\"},"
			"{\"type\": \"sentence_transformers.sparse_encoder.models.SpladePooling\", \"path\": \"1_SpladePooling\"},"
			"{\"type\": \"sentence_transformers.models.Normalize\", \"path\": \"2\"}]", NULL, EMB_ERR_UNSUPPORTED, "no module may follow a SpladePooling"},
		{"modules.json", "[{\"type\": \"sentence_transformers.models.Router\", \"path\": \"\"}]", NULL, EMB_ERR_NOT_FOUND, "router_config.json"},
		{"router_config.json", "{\"types\": {}, \"structure\": {\"query\": []}}", NULL, EMB_ERR_UNSUPPORTED, "has no route \"document\""},
		{"router_config.json", "{\"types\": {\"a\": \"sentence_transformers.models.Transformer\"}, \"structure\": {\"document\": [\"../a\"]}}",
			NULL, EMB_ERR_FORMAT, "has no class of"},
		{"router_config.json", "{\"types\": {\"../a\": \"sentence_transformers.models.Transformer\"}, \"structure\": {\"document\": [\"../a\"]}}",
			NULL, EMB_ERR_FORMAT, "not a path inside"},
		{"router_config.json", "{\"types\": {\"\": \"sentence_transformers.models.MLMTransformer\", \"1_SpladePooling\":"
			"\"sentence_transformers.sparse_encoder.models.SpladePooling\"}, \"structure\": {\"document\": [\"\", \"1_SpladePooling\"],"
			" \"query\": [\"\", \"1_SpladePooling\"]}}", NULL, EMB_ERR_UNSUPPORTED, "the route \"query\" has 2 modules"},
		{"router_config.json", "{\"types\": {\"\": \"sentence_transformers.models.MLMTransformer\", \"1_SpladePooling\":"
			"\"sentence_transformers.sparse_encoder.models.SpladePooling\", \"q\": \"sentence_transformers.sparse_encoder.models.SparseStaticEmbedding\"},"
			" \"structure\": {\"document\": [\"\", \"1_SpladePooling\"], \"query\": [\"q\"]}}", NULL, EMB_ERR_NOT_FOUND, "idf.json"},
	};
	const char *dir = fresh_dir();
	char		from[1100];
	char		sub[PATH_MAX];
	bool		is_routed = false;

	snprintf(from, sizeof(from), "%s/tiny/splade-bert/model", data_dir());
	snprintf(sub, sizeof(sub), "%s/1_SpladePooling", dir);
	mkdir(sub, 0700);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		EmbImportOptions options = {.precision = "fp32", .pooling = cases[i].pooling};

		for (int k = 0; k < 5; k++)
		{
			if (k != 3 || !is_routed)
				copy_file(from, dir, names[k]);
		}
		write_text(dir, "config_sentence_transformers.json", "{}");
		if (cases[i].file != NULL)
			write_text(dir, cases[i].file, cases[i].text);
		/* from here on a Router, until the end */
		is_routed |= cases[i].file != NULL && strstr(cases[i].text, "models.Router") != NULL;
		if (open_model(dir, &options, cases[i].status, cases[i].message))
			close_model();
	}
}

/* ---------------------------------------------------------------- arithmetic */

static void
test_weight(void)
{
	double		worst = 0;

	CHECK(emb_vocabulary_weight(0, 1) == 0 && emb_vocabulary_weight(0, 2) == 0);
	CHECK(emb_vocabulary_weight(1e-30f, 1) == 1e-30f && emb_vocabulary_weight(1e-30f, 2) == 1e-30f);
	for (float x = 1e-20f; x < 1e30f; x *= 1.037f)
	{
		worst = fmax(worst, fabs(emb_vocabulary_weight(x, 1) / log1p(x) - 1));
		worst = fmax(worst, fabs(emb_vocabulary_weight(x, 2) / log1p(log1p(x)) - 1));
	}
	CHECKF(worst < 1.2e-7, "off by %g", worst);
}

/* Nothing stays allocated, whichever allocation fails. */
static void
test_failures(void)
{
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbRun		run = {.mem = &mem};
	EmbImportOptions options = {.precision = "int8"};
	EmbSequence two[3] = {{.ids = (int32_t[]) {2, 12, 9, 3}, .n_ids = 4}, {.ids = (int32_t[]) {2, 3}, .n_ids = 2},
		{.ids = (int32_t[]) {2, 12, 9, 3}, .n_ids = 4}};
	EmbStatus	status = EMB_ERR_NOMEM;
	char		dir[1100];
	int			n_tries;

	snprintf(dir, sizeof(dir), "%s/tiny/splade-bert/model", data_dir());
	if (!open_model(dir, &options, EMB_OK, NULL))
		return;
	for (n_tries = 0; status == EMB_ERR_NOMEM && n_tries < 100; n_tries++)
	{
		EmbSparse	sparse[3] = {{0}};
		EmbOutputs	outputs = {.sparse = sparse};

		count.fail_after = n_tries;
		status = emb_model_embed_all(model, two, 3, &run, &outputs, NULL);
		for (int i = 0; i < 3; i++)
			emb_sparse_free(&sparse[i], &mem);
		CHECKF(count.n_live == 0, "%ld blocks stay after allocation %d failed", count.n_live, n_tries);
	}
	CHECKF(status == EMB_OK && n_tries > 8, "%d after %d allocations", status, n_tries);
	close_model();
}

int
main(void)
{
	static const char *const models[] = {"splade-bert", "splade-router", "splade-roberta", "splade-modernbert"};

	heap = emb_malloc_allocator();
	test_weight();
	for (int i = 0; i < 4; i++)
		test_model(models[i]);
	test_idf();
	test_kinds();
	test_kind_of_files();
	test_bad_files();
	test_failures();
	emb_threads_stop();
	return done_testing();
}
