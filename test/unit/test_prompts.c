/*
 * test_prompts.c
 *		Prompts of models whose files name none: by which names models are
 *		known, what goes before what, what the user is told.
 */
#include "import/hf_prompts.h"
#include "model/model.h"
#include "model_util.h"

#include <jansson.h>
#include <math.h>

#define BGE_QUERY	"Represent this sentence for searching relevant passages: "

static void
test_names(void)
{
	static const struct
	{
		const char *dir;
		const char *config;		/* "_name_or_path" */
		const char *name;
		const char *query;		/* NULL: not known */
		const char *document;
		const char *found_in;
	}			names[] =
	{
		{"/m/bge-small-en-v1.5", "", NULL, BGE_QUERY, "", "directory"},
		{"/m/BGE-Small-EN-v1.5///", "", NULL, BGE_QUERY, "", "directory"},
		{"bge-large-zh", "", NULL, "为这个句子生成表示以用于检索相关文章：", "", "directory"},
		{"/m/e5-small-v2", "", NULL, "query: ", "passage: ", "directory"},
		{"/m/multilingual-e5-base", "", NULL, "query: ", "passage: ", "directory"},
		{"/m/multilingual-e5-large-instruct", "", NULL,
		"Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: ", "", "directory"},
		{"/m/Qwen3-Embedding-0.6B", "", NULL,
		"Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:", "", "directory"},
		{"/m/nomic-embed-text-v1.5", "", NULL, "search_query: ", "search_document: ", "directory"},
		{"/m/snowflake-arctic-embed-m-v1.5", "", NULL, BGE_QUERY, "", "directory"},
		{"/m/snowflake-arctic-embed-l-v2.0", "", NULL, "query: ", "", "directory"},
		{"/m/mxbai-embed-large-v1", "", NULL, BGE_QUERY, "", "directory"},
		{"/m/bge-m3", "", NULL, "", "", "directory"},
		{"/m/gte-base", "", NULL, "", "", "directory"},
		/* the hub's cache, the older one, an owner in front */
		{"/c/models--BAAI--bge-base-en/snapshots/a5beb1e3e68b9ab74eb54cfd186867f64f240e1a", "", NULL, BGE_QUERY, "", "directory"},
		{"/c/models--BAAI--bge-base-en/snapshots/a5beb1e3/", "", NULL, BGE_QUERY, "", "directory"},
		{"/m/x", "/root/.cache/torch/sentence_transformers/BAAI_bge-small-en/", NULL, BGE_QUERY, "", "_name_or_path"},
		{"/m/x", "intfloat/e5-base", NULL, "query: ", "passage: ", "_name_or_path"},
		{"/m/x", "", "intfloat/e5-base-v2", "query: ", "passage: ", "the model"},
		{"/m/x", "tmp/", "e5-base-v2", "query: ", "passage: ", "the model"},
		/* the directory, what it was made from, the name */
		{"/m/snowflake-arctic-embed-l", "intfloat/e5-large", "e5-large", BGE_QUERY, "", "directory"},
		{"/m/x", "BAAI/bge-m3", "e5-large", "", "", "_name_or_path"},
		/* as wholes */
		{"/m/my-e5-small-v2", "", NULL, NULL, NULL, NULL},
		{"/m/e5-small-v2-tuned", "", NULL, NULL, NULL, NULL},
		{"/m/e5", "", "bge-small", NULL, NULL, NULL},
		{"/m/e5-small-v2/onnx", "", NULL, NULL, NULL, NULL},
		{"/m/bge-small-en bge-base-en", "", NULL, NULL, NULL, NULL},
		{"/m/-small-v2", "", NULL, NULL, NULL, NULL},
		{"", "", "", NULL, NULL, NULL},
		{"/", "///", NULL, NULL, NULL, NULL},
		{".", "..", " ", NULL, NULL, NULL},
		{"snapshots/x", "", NULL, NULL, NULL, NULL},
		{"/snapshots/", "_--_", "--", NULL, NULL, NULL},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		EmbHfConfig config = {0};
		EmbKnownPrompts known;
		bool		found;

		strcpy(config.name_or_path, names[i].config);
		found = emb_hf_find_prompts(&config, names[i].dir, names[i].name, &known);
		if (!CHECKF(found == (names[i].query != NULL), "%s, %s: %d", names[i].dir, names[i].config, found) || !found)
			continue;
		CHECKF(strcmp(known.query, names[i].query) == 0 && strcmp(known.document, names[i].document) == 0 &&
			   strstr(known.found_in, names[i].found_in) != NULL,
			   "%s, %s: \"%s\", \"%s\" by %s", names[i].dir, names[i].config, known.query, known.document, known.found_in);
	}
}

static char noted[1024];
static int	n_notes;

static void
keep_note(void *ctx, const char *message, const char *hint)
{
	(void) ctx;
	snprintf(noted, sizeof(noted), "%s %s", message, hint);
	n_notes++;
}

/* Imports the small model, in a directory of that name, with that prompts file; what it got. */
static void
check_import(const char *what, SmallModel small, const char *dir_name, const EmbImportOptions *options,
			 const char *query, const char *document, const char *note)
{
	EmbAllocator mem = emb_malloc_allocator();
	Image		image = {0};
	EmbSink		sink = {.ctx = &image, .write = image_write, .note = keep_note};
	EmbModel   *model;
	EmbError	err;
	char		dir[PATH_MAX - 256];

	snprintf(dir, sizeof(dir), "%.3000s/%s", fresh_dir(), dir_name);
	mkdir(dir, 0700);
	write_small_model(dir, &small);
	n_notes = 0;
	if (!CHECKF(emb_import_dir(dir, options, &mem, NULL, &sink, &err) == EMB_OK, "%s: %s", what, err.message) ||
		!CHECK(emb_model_open(image.data, image.size_bytes, EMB_OPEN_CHECK_ALL, &mem, NULL, &model, &err) == EMB_OK))
		return;
	CHECKF(strcmp(emb_model_info(model)->query_prompt, query) == 0 && strcmp(emb_model_info(model)->document_prompt, document) == 0,
		   "%s: \"%s\", \"%s\"", what, emb_model_info(model)->query_prompt, emb_model_info(model)->document_prompt);
	CHECKF(n_notes == (note != NULL) && (note == NULL || strstr(noted, note) != NULL), "%s: %d, %s", what, n_notes, noted);
	emb_model_close(model);
	free(image.data);
}

static SmallModel
with_prompts(const char *prompts)
{
	SmallModel	m = small_model();

	m.prompts = prompts;
	return m;
}

static void
test_import(void)
{
	SmallModel	m = small_model();
	EmbImportOptions fp32 = {.precision = "fp32"};
	EmbImportOptions named = {.precision = "fp32", .name = "intfloat/e5-small"};
	EmbImportOptions none = {.precision = "fp32", .query_prompt = "", .document_prompt = ""};
	EmbImportOptions one = {.precision = "fp32", .query_prompt = "search: "};

	check_import("no name", m, "model", &fp32, "", "", NULL);
	check_import("a directory's name", m, "e5-small-v2", &fp32, "query: ", "passage: ", "\"query: \" before queries, \"passage: \" before documents");
	check_import("the hint", m, "e5-small-v2", &fp32, "query: ", "passage: ", "document_prompt");
	check_import("the model's name", m, "model", &named, "query: ", "passage: ", "e5-small (the name of the model)");
	check_import("one of two", m, "bge-small-en", &fp32, BGE_QUERY, "", "before queries The");
	check_import("none wanted", m, "e5-small-v2", &none, "", "", NULL);
	check_import("another wanted", m, "e5-small-v2", &one, "search: ", "passage: ", ": \"passage: \" before documents");
	check_import("known to have none", m, "bge-m3", &named, "", "", NULL);
	check_import("int8", m, "e5-small-v2", NULL, "query: ", "passage: ", "passage");

	m.config = "{\"_name_or_path\": \"/root/BAAI_bge-small-en/\", \"model_type\": \"bert\", \"hidden_size\": 8, \"num_hidden_layers\": 2,"
		" \"num_attention_heads\": 2, \"intermediate_size\": 20, \"vocab_size\": 24, \"max_position_embeddings\": 16}";
	check_import("config.json's name", m, "model", &fp32, BGE_QUERY, "", "bge-small-en (the name of \"_name_or_path\"");

	/* no prompt, but what the weights hold beyond config.json */
	m.config = "{\"model_type\": \"bert\", \"hidden_size\": 8, \"num_hidden_layers\": 1, \"num_attention_heads\": 2,"
		" \"intermediate_size\": 20, \"vocab_size\": 24, \"max_position_embeddings\": 16}";
	check_import("fewer layers than the weights hold", m, "model", &fp32, "", "", "more layers than the 1 of config.json");
	m.prefix = "bert.";
	check_import("the same behind a prefix", m, "model", &fp32, "", "", "more layers than the 1 of config.json");

	/* what the files say wins */
	check_import("own prompts", with_prompts("{\"prompts\": {\"query\": \"of \"}}"), "e5-small-v2", &fp32, "of ", "", NULL);
	check_import("own and empty", with_prompts("{\"prompts\": {\"query\": \"\"}}"), "e5-small-v2", &fp32, "", "", NULL);

	/* as encode_query and encode_document of sentence-transformers 6, which never take the default prompt; each line was tried there */
	check_import("a default", with_prompts("{\"prompts\": {\"a\": \"of \"}, \"default_prompt_name\": \"a\"}"), "e5-small-v2", &fp32, "", "", "default prompt \"a\"");
	check_import("a default that is the query's", with_prompts("{\"prompts\": {\"query\": \"of \"}, \"default_prompt_name\": \"query\"}"), "model", &fp32, "of ", "", NULL);
	check_import("the default \"document\" without prompts", with_prompts("{\"prompts\": {}, \"default_prompt_name\": \"document\"}"), "model", &fp32, "", "", NULL);
	check_import("document and passage", with_prompts("{\"prompts\": {\"passage\": \"a \", \"document\": \"b \"}}"), "model", &fp32, "", "b ", NULL);
	check_import("an empty document and passage", with_prompts("{\"prompts\": {\"passage\": \"a \", \"document\": \"\"}}"), "model", &fp32, "", "", NULL);
	/* on purpose not so: there the passage's is nobody's */
	check_import("passage", with_prompts("{\"prompts\": {\"query\": \"of \", \"passage\": \"a \"}}"), "model", &fp32, "of ", "a ", "encode_document");
	check_import("corpus", with_prompts("{\"prompts\": {\"corpus\": \"a \"}}"), "model", &fp32, "", "a ", "\"corpus\" (\"a \")");
	check_import("as saved by sentence-transformers 5", with_prompts("{\"prompts\": {\"query\": \"\", \"document\": \"\"}}"), "e5-small-v2",
				 &fp32, "query: ", "passage: ", "passage");
	check_import("no prompts", with_prompts("{\"prompts\": {}}"), "e5-small-v2", &fp32, "query: ", "passage: ", "passage");
	check_import("for other tasks", with_prompts("{\"prompts\": {\"sts\": \"a\"}}"), "e5-small-v2", &fp32, "query: ", "passage: ", "passage");

	m = small_model();
	m.pooling = "{\"include_prompt\": false}";
	check_import("prompts not pooled", m, "e5-small-v2", &fp32, "query: ", "passage: ", "passage");

	/* no prompt where a reranker would read it */
	check_import("a reranker", small_reranker(), "e5-small-v2", &fp32, "", "", NULL);
}

/* ------------------------------------------------- prompts that are not pooled */

/* A tiny model whose pooling leaves the prompt out. */
static void
write_unpooled(const char *name, const char *pooling, int width, const json_t *prompts)
{
	char		command[2 * PATH_MAX];
	char		dir[PATH_MAX];
	char		config[256];
	char	   *text = json_dumps(prompts, 0);

	fresh_dir();
	snprintf(command, sizeof(command), "cp -rL '%.3000s/tiny/%s/model' '%.3000s/m'", data_dir(), name, temp_root);
	if (system(command) != 0)
		abort();
	snprintf(dir, sizeof(dir), "%.3000s/m", temp_root);
	snprintf(config, sizeof(config), "{\"word_embedding_dimension\": %d, \"pooling_mode\": \"%s\", \"include_prompt\": false}", width, pooling);
	write_text(dir, "1_Pooling/config.json", config);
	snprintf(command, sizeof(command), "{\"prompts\": %s}", text);
	write_text(dir, "config_sentence_transformers.json", command);
	free(text);
}

static double
difference(const EmbModel *model, EmbPrompt prompt, const json_t *text, const json_t *want)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbRun		run = {.mem = &mem, .prompt = prompt};
	int32_t		ids[512];
	float		out[64];
	double		worst = 0;
	EmbEncoded	r;
	EmbError	err = {0};
	EmbSequence seq = {.ids = ids};

	if (!CHECKF(emb_model_encode(model, prompt, &(EmbText) {json_string_value(text), json_string_length(text), true, NULL},
			&(EmbReading) {.ids = ids, .max_ids = emb_model_info(model)->max_tokens, .mem = &mem}, &r, &err) == EMB_OK, "%s", err.message))
		return 1;
	seq.n_ids = r.n_ids;
	if (!CHECKF(emb_model_embed(model, &seq, 1, &run, out, &err) == EMB_OK, "%s", err.message))
		return 1;
	for (size_t i = 0; i < json_array_size(want); i++)
	{
		double		d = fabs(out[i] - json_number_value(json_array_get(want, i)));

		worst = d > worst ? d : worst;
	}
	return worst;
}

/* Reference texts are documents: what embed_verify replays is what embed returns, without the prompt's rows. */
static void
check_references(const char *what, const EmbModel *model, const EmbAllocator *mem)
{
	int32_t		n = emb_model_n_references(model);
	int32_t		dim = model->info.dim;
	const float *stored = (const float *) ((const uint8_t *) model->view.references + emb_image_reference_vectors(n));
	EmbRun		run = {.mem = mem, .n_threads = 1};
	EmbRun		as_document = {.mem = mem, .n_threads = 1, .prompt = EMB_PROMPT_DOCUMENT};
	int			n_right = 0;
	int			n_same = 0;

	for (int32_t i = 0; i < n; i++)
	{
		int32_t		ids[512];
		float		out[1024];
		EmbReferenceCheck check;
		EmbEncoded	encoded;
		EmbSequence seq = {.ids = ids};
		EmbError	err;

		CHECK(emb_model_check_reference(model, i, &run, &check, &err) == EMB_OK && dim <= 1024);
		n_right += check.ids_equal && check.bits_equal;
		CHECK(emb_model_encode(model, EMB_PROMPT_DOCUMENT, &(EmbText) {check.text, (size_t) check.text_bytes, true, NULL},
							   &(EmbReading) {.ids = ids, .max_ids = 512, .mem = mem}, &encoded, &err) == EMB_OK);
		seq.n_ids = encoded.n_ids;
		CHECK(emb_model_embed(model, &seq, 1, &as_document, out, &err) == EMB_OK);
		n_same += memcmp(out, stored + (size_t) i * dim, dim * sizeof(float)) == 0;
	}
	CHECKF(n > 0 && n_right == n && n_same == n, "%s: of %d references %d are replayed, %d are what embed returns", what, n, n_right, n_same);
}

/* Vectors of sentence-transformers 6 (tools/make_unpooled.py), in every pooling. */
static void
test_unpooled(void)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbImportOptions options = {.precision = "fp32"};
	char		path[PATH_MAX];
	json_t	   *data;
	const json_t *models;

	snprintf(path, sizeof(path), "%s/unpooled.json", data_dir());
	data = json_load_file(path, 0, NULL);
	models = json_object_get(data, "models");
	CHECK(json_array_size(models) == 12);
	for (size_t i = 0; i < json_array_size(models); i++)
	{
		const json_t *entry = json_array_get(models, i);
		const char *name = json_string_value(json_object_get(entry, "model"));
		const char *pooling = json_string_value(json_object_get(entry, "pooling"));
		const json_t *vectors = json_object_get(entry, "vectors");
		double		worst = 0;
		EmbModel   *model;
		Image		image;
		EmbError	err = {0};
		char		dir[PATH_MAX];

		write_unpooled(name, pooling, (int) json_array_size(json_array_get(json_array_get(vectors, 0), 0)), json_object_get(data, "prompts"));
		snprintf(dir, sizeof(dir), "%.3000s/m", temp_root);
		if (!CHECKF(import_image(dir, &options, &mem, &image, &err) == EMB_OK, "%s", err.message) ||
			!CHECKF(emb_model_open(image.data, image.size_bytes, EMB_OPEN_CHECK_ALL, &mem, NULL, &model, &err) == EMB_OK, "%s", err.message))
			continue;
		for (size_t t = 0; t < json_array_size(vectors); t++)
		{
			const json_t *text = json_array_get(json_object_get(data, "texts"), t);
			double		query = difference(model, EMB_PROMPT_QUERY, text, json_array_get(json_array_get(vectors, t), 0));
			double		document = difference(model, EMB_PROMPT_DOCUMENT, text, json_array_get(json_array_get(vectors, t), 1));

			worst = fmax(worst, fmax(query, document));
		}
		CHECKF(worst <= 2e-6, "%s, %s: off by %g", name, pooling, worst);
		check_references(name, model, &mem);
		emb_model_close(model);
		free(image.data);
	}
	json_decref(data);
}

int
main(void)
{
	test_names();
	test_import();
	test_unpooled();
	emb_threads_stop();
	return done_testing();
}
