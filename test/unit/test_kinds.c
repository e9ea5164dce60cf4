/*
 * test_kinds.c
 *		What a directory is taken for, and what is reported where its files do
 *		not say: kinds, pooling, dimensions, code that is not run. Kinds are
 *		those that sentence-transformers 6 loads.
 */
#include "import/checkpoint.h"
#include "model_util.h"

#define SIZES \
	"\"hidden_size\": 8, \"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"intermediate_size\": 20, \"vocab_size\": 24, \"max_position_embeddings\": 16"
#define CONFIG(more)	"{\"model_type\": \"bert\", " SIZES more "}"
#define CLASS(name)		", \"architectures\": [\"" name "\"]"
#define MODULE(path, type) "{\"idx\": 0, \"name\": \"0\", \"path\": \"" path "\", \"type\": \"sentence_transformers.models." type "\"}"
#define TRANSFORMER_ONLY	"[" MODULE("", "Transformer") "]"

typedef struct Case
{
	const char *what;
	const char *config;
	const char *modules;		/* NULL: none */
	const char *own;			/* config_sentence_transformers.json */
	EmbImportOptions options;
	bool		has_head;		/* the weights have a classifier */
	const char *note;			/* in the notes; "": no note */
	const char *error;			/* in message and hint; NULL: it is imported */
	const char *kind;
	const char *pooling;
	bool		normalize;
	int			dim;
} Case;

static const Case cases[] = {
	/* no modules.json */
	{"a plain encoder", CONFIG(CLASS("BertModel")), NULL, NULL, {0}, false,
	"no modules.json, which names its pooling; it takes the mean of all rows, not normalized", NULL, "embedding", "mean", false, 8},
	{"its options", CONFIG(CLASS("BertModel")), NULL, NULL, {.pooling = "cls", .sets_normalize = true, .normalize = true}, false,
	"", NULL, "embedding", "cls", true, 8},
	{"one of them", CONFIG(CLASS("BertModel")), NULL, NULL, {.pooling = "cls"}, false, "takes the first row, not normalized", NULL, "embedding", "cls", false, 8},
	{"several poolings", CONFIG(CLASS("BertModel")), NULL, NULL, {.pooling = "weightedmean+cls"}, false, "takes the mean of all rows weighted by position, the first row, not normalized", NULL,
	"embedding", "weightedmean+cls", false, 16},
	{"a pretrained model", CONFIG(CLASS("BertForPreTraining")), NULL, NULL, {0}, false, "mean of all rows", NULL, "embedding", "mean", false, 8},
	{"a masked language model", CONFIG(CLASS("BertForMaskedLM")), NULL, NULL, {0}, false, "", "SPLADE", NULL, NULL, false, 0},
	{"and what to do about it", CONFIG(CLASS("BertForMaskedLM")), NULL, NULL, {0}, false, "", "option kind", NULL, NULL, false, 0},
	{"of which the caller knows better", CONFIG(CLASS("BertForMaskedLM")), NULL, NULL, {.kind = "embedding"}, false, "mean of all rows", NULL, "embedding", "mean", false, 8},
	{"or its pooling", CONFIG(CLASS("BertForMaskedLM")), NULL, NULL, {.pooling = "cls", .sets_normalize = true}, false, "", NULL, "embedding", "cls", false, 8},
	{"with a Pooling", CONFIG(CLASS("BertForMaskedLM")), SMALL_MODULES, NULL, {0}, false, "", NULL, "embedding", "cls", true, 8},
	{"a masked language model that an embedding model says it is", CONFIG(CLASS("BertForMaskedLM")), NULL, "{\"model_type\": \"SentenceTransformer\"}", {0}, false,
	"mean of all rows", NULL, "embedding", "mean", false, 8},
	/* a Pooling decides */
	{"a classifier of 2 labels", CONFIG(CLASS("BertForSequenceClassification")), SMALL_MODULES, NULL, {0}, true, "", NULL, "embedding", "cls", true, 8},
	{"a classifier of 1 label", CONFIG(CLASS("BertForSequenceClassification") ", \"num_labels\": 1"), SMALL_MODULES, NULL, {0}, true, "", NULL, "embedding", "cls", true, 8},
	{"a classifier of tokens", CONFIG(CLASS("BertForTokenClassification")), SMALL_MODULES, NULL, {0}, false, "", NULL, "embedding", "cls", true, 8},
	{"a class of another family", CONFIG(CLASS("JinaBertForMaskedLM")), SMALL_MODULES, NULL, {0}, false, "", "architectures", NULL, NULL, false, 0},
	{"that of ColBERT without its matrix", CONFIG(CLASS("HF_ColBERT")), NULL, NULL, {0}, false, "", "linear.weight", NULL, NULL, false, 0},
	{"that of ColBERT with a Pooling", CONFIG(CLASS("HF_ColBERT")), SMALL_MODULES, NULL, {0}, false, "", "HF_ColBERT", NULL, NULL, false, 0},
	/* model_type decides */
	{"a SparseEncoder without its head", CONFIG(CLASS("BertModel")), NULL, "{\"model_type\": \"SparseEncoder\"}", {0}, false, "", "not a learned sparse model", NULL, NULL, false, 0},
	{"a MultiVectorEncoder with a Pooling", CONFIG(CLASS("BertModel")), SMALL_MODULES, "{\"model_type\": \"MultiVectorEncoder\"}", {0}, false, "", "Transformer, Dense", NULL, NULL, false, 0},
	{"one of PyLate without a Dense", CONFIG(CLASS("BertModel")), TRANSFORMER_ONLY, "{\"model_type\": \"ColBERT\"}", {0}, false, "", "lists no Dense", NULL, NULL, false, 0},
	{"something else", CONFIG(CLASS("BertModel")), SMALL_MODULES, "{\"model_type\": \"Oracle\"}", {0}, false, "", "\"Oracle\"", NULL, NULL, false, 0},
	{"a number", CONFIG(CLASS("BertModel")), SMALL_MODULES, "{\"model_type\": 1}", {0}, false, "", "model_type", NULL, NULL, false, 0},
	{"a CrossEncoder", CONFIG(CLASS("BertForSequenceClassification") ", \"num_labels\": 1"), TRANSFORMER_ONLY, "{\"model_type\": \"CrossEncoder\"}", {0}, true,
	"", NULL, "reranker", "cls", false, 1},
	{"a CrossEncoder without a class", CONFIG(", \"num_labels\": 1"), NULL, "{\"model_type\": \"CrossEncoder\"}", {0}, true, "", NULL, "reranker", "cls", false, 1},
	{"a CrossEncoder without a head", CONFIG(CLASS("BertModel") ", \"num_labels\": 1"), NULL, "{\"model_type\": \"CrossEncoder\"}", {0}, false,
	"", "pooler.dense", NULL, NULL, false, 0},
	{"a CrossEncoder of modules", CONFIG(CLASS("BertModel")), SMALL_MODULES, "{\"model_type\": \"CrossEncoder\"}", {0}, false, "", "no Dense that gives", NULL, NULL, false, 0},
	{"an embedding model", CONFIG(CLASS("BertForSequenceClassification") ", \"num_labels\": 1"), SMALL_MODULES, "{\"model_type\": \"SentenceTransformer\"}", {0}, true,
	"", NULL, "embedding", "cls", true, 8},
	/* a reranker without a class */
	{"one label", CONFIG(", \"id2label\": {\"0\": \"LABEL_0\"}"), NULL, NULL, {0}, true, "names no class", NULL, "reranker", "cls", false, 1},
	{"a CrossEncoder's key", CONFIG(", \"num_labels\": 1, \"sbert_ce_default_activation_function\": \"torch.nn.modules.linear.Identity\""), NULL, NULL, {0}, true,
	"names no class", NULL, "reranker", "cls", false, 1},
	{"one label, but an embedding model", CONFIG(", \"id2label\": {\"0\": \"LABEL_0\"}"), NULL, NULL, {.kind = "embedding"}, true, "mean of all rows", NULL, "embedding", "mean", false, 8},
	{"no class and no label", CONFIG(""), NULL, NULL, {0}, false, "mean of all rows", NULL, "embedding", "mean", false, 8},
	/* code that is not run */
	{"auto_map", CONFIG(CLASS("BertModel") ", \"auto_map\": {\"AutoConfig\": \"c.C\", \"AutoModel\": \"modeling_mine.BertModel\"}"), SMALL_MODULES, NULL, {0}, false,
	"\"modeling_mine.BertModel\"), which is not run", NULL, "embedding", "cls", true, 8},
	{"a configuration class only", CONFIG(CLASS("BertModel") ", \"auto_map\": {\"AutoConfig\": \"c.C\"}"), SMALL_MODULES, NULL, {0}, false, "", NULL, "embedding", "cls", true, 8},
	{"not a map", CONFIG(CLASS("BertModel") ", \"auto_map\": [\"a\"]"), SMALL_MODULES, NULL, {0}, false, "", NULL, "embedding", "cls", true, 8},
	/* truncate_dim */
	{"fewer dimensions", CONFIG(CLASS("BertModel")), SMALL_MODULES, "{\"truncate_dim\": 4}", {0}, false, "cut to 4 of 8 dimensions", NULL, "embedding", "cls", true, 4},
	{"all dimensions all the same", CONFIG(CLASS("BertModel")), SMALL_MODULES, "{\"truncate_dim\": 4}", {.dimensions = 8}, false, "", NULL, "embedding", "cls", true, 8},
	{"other dimensions", CONFIG(CLASS("BertModel")), SMALL_MODULES, "{\"truncate_dim\": 4}", {.dimensions = 2}, false, "", NULL, "embedding", "cls", true, 2},
	{"more dimensions than there are", CONFIG(CLASS("BertModel")), SMALL_MODULES, "{\"truncate_dim\": 9}", {0}, false, "", NULL, "embedding", "cls", true, 8},
	{"no dimensions said", CONFIG(CLASS("BertModel")), SMALL_MODULES, "{\"truncate_dim\": null}", {0}, false, "", NULL, "embedding", "cls", true, 8},
	{"no dimensions", CONFIG(CLASS("BertModel")), SMALL_MODULES, "{\"truncate_dim\": 0}", {0}, false, "", "truncate_dim", NULL, NULL, false, 0},
	{"half a dimension", CONFIG(CLASS("BertModel")), SMALL_MODULES, "{\"truncate_dim\": 4.5}", {0}, false, "", "truncate_dim", NULL, NULL, false, 0},
	{"dimensions of a reranker", CONFIG(CLASS("BertForSequenceClassification") ", \"num_labels\": 1"), NULL, "{\"truncate_dim\": 4}", {0}, true, "", NULL, "reranker", "cls", false, 1},
};

static char noted[4096];

static void
keep_note(void *ctx, const char *message, const char *hint)
{
	size_t		at = strlen(noted);

	(void) ctx;
	snprintf(noted + at, sizeof(noted) - at, "%s. %s\n", message, hint);
}

static void
write_case(const Case *c)
{
	SmallModel	m = small_model();

	m.config = c->config;
	m.modules = c->modules;
	m.prompts = c->own;
	m.sentence_bert = NULL;
	m.has_head = c->has_head;
	m.prefix = c->has_head ? "bert." : "";
	write_small_model(fresh_dir(), &m);
}

static void
test_cases(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const Case *c = &cases[i];
		Count		count;
		EmbAllocator mem = counting_allocator(&count);
		EmbAllocator plain = emb_malloc_allocator();
		EmbImportOptions options = c->options;
		Image		image = {0};
		EmbSink		sink = {.ctx = &image, .write = image_write, .note = keep_note};
		const EmbModelInfo *info;
		EmbModel   *model;
		EmbError	err = {0};
		EmbStatus	status;

		options.precision = "fp32";
		noted[0] = '\0';
		write_case(c);
		status = emb_import_dir(temp_root, &options, &mem, NULL, &sink, &err);
		CHECKF(count.n_live == 0, "%s: %ld blocks leaked", c->what, count.n_live);
		CHECKF((status != EMB_OK) == (c->error != NULL) && (c->error == NULL || strstr(err.message, c->error) != NULL || strstr(err.hint, c->error) != NULL),
			   "%s: status %d, \"%s\", \"%s\"", c->what, status, err.message, err.hint);
		CHECKF(c->note[0] == '\0' ? noted[0] == '\0' : strstr(noted, c->note) != NULL, "%s: notes \"%s\"", c->what, noted);
		if (status == EMB_OK && CHECK(emb_model_open(image.data, image.size_bytes, EMB_OPEN_CHECK_ALL, &plain, NULL, &model, &err) == EMB_OK))
		{
			info = emb_model_info(model);
			CHECKF((info->kind == EMB_KIND_RERANKER) == (strcmp(c->kind, "reranker") == 0) && info->dim == c->dim &&
				   strcmp(info->pooling, c->pooling) == 0 && info->normalize == c->normalize,
				   "%s: %d %s %d %d", c->what, info->kind, info->pooling, info->normalize, info->dim);
			emb_model_close(model);
		}
		free(image.data);
	}
}

/* An adapter beside full weights is not computed: transformers would load it. */
static void
test_adapter(void)
{
	EmbAllocator mem = emb_malloc_allocator();
	Image		image;
	EmbError	err;

	write_case(&cases[0]);
	write_text(temp_root, "adapter_config.json", "{\"peft_type\": \"LORA\"}");
	CHECKF(import_image(temp_root, NULL, &mem, &image, &err) == EMB_ERR_UNSUPPORTED && strstr(err.message, "adapter_config.json") != NULL &&
		   strstr(err.hint, "merge_and_unload") != NULL, "%s (%s)", err.message, err.hint);
}

int
main(void)
{
	test_cases();
	test_adapter();
	emb_threads_stop();
	return done_testing();
}
