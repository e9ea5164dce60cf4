/*
 * test_static.c
 *		Models without layers: model2vec's and sentence-transformers' files, what
 *		is read of a text, vectors against a plain computation.
 */
#include <math.h>

#include "model_util.h"
#include "scratch_util.h"

#define HIDDEN		5
#define N_VOCAB		24			/* of SMALL_VOCAB */
#define MAX_IDS		600
#define MEDIAN		3			/* characters of its median token: 9 of 24 have fewer, 10 more */
#define TOLERANCE	1e-6

static EmbAllocator heap;

/* What a directory holds; NULL files are not written. */
typedef struct Files
{
	const char *config,
			   *modules,
			   *prompts;
	const char *sub;			/* where table and tokenizer are */
	const char *table;			/* the tensor's name */
	const char *type;			/* "F32" */
	int			n_rows;
	const char *mapping;		/* its type, or NULL */
	const char *weights;
	int			bad_row;		/* in the mapping, where not 0 */
	double		bad_weight;
	double		bad_element;
	int			n_more;			/* more weights or fewer than ids */
} Files;

#define CONFIG(more) "{\"model_type\": \"model2vec\", \"architectures\": [\"StaticModel\"], \"hidden_dim\": 5" more "}"
#define STATIC_MODULES(path, more) \
	"[{\"path\": \"" path "\", \"type\": \"sentence_transformers.models.StaticEmbedding\"}" more "]"
#define NORMALIZE ", {\"path\": \"1_Normalize\", \"type\": \"sentence_transformers.models.Normalize\"}"

static const Files model2vec = {
	.config = CONFIG(", \"normalize\": true"), .modules = STATIC_MODULES(".", NORMALIZE), .sub = "", .table = "embeddings", .type = "F32", .n_rows = N_VOCAB
};

static float
element(int row, int column)
{
	return (float) ((row * 29 + column * 13 + 5) % 64 - 32) / 32.0f;
}

/* Integers are whole: what model2vec writes has no scale. */
static double
stored(const Files *files, int row, int column)
{
	return element(row, column) * (strcmp(files->type, "I8") == 0 ? 32 : 1);
}

static double
weight_of(int id)
{
	return 0.25 + (id % 7) / 8.0;
}

static int
row_of(int id)
{
	return id * 5 % 9;
}

static size_t
put(uint8_t *to, const char *type, double value)
{
	float		f = (float) value;
	int32_t		i = (int32_t) value;
	int64_t		l = (int64_t) value;
	uint32_t	bits;
	uint16_t	half;

	memcpy(&bits, &f, 4);
	/* 6 bits of them: normal or zero, exact */
	half = f == 0 ? 0 : (uint16_t) ((bits >> 16 & 0x8000) | (((bits >> 23 & 255) - 112) << 10) | (bits >> 13 & 1023));
	if (strcmp(type, "F16") == 0)
		return memcpy(to, &half, 2), 2;
	if (strcmp(type, "I8") == 0)
		return *to = (uint8_t) i, 1;
	if (strcmp(type, "I32") == 0)
		return memcpy(to, &i, 4), 4;
	if (strcmp(type, "I64") == 0)
		return memcpy(to, &l, 8), 8;
	if (strcmp(type, "F64") == 0)
		return memcpy(to, &value, 8), 8;
	return memcpy(to, &f, 4), 4;
}

static void
write_table(const char *dir, const Files *files)
{
	char		header[1024];
	uint8_t		data[8192];
	size_t		n = 0;
	size_t		begin;
	int			n_ids = files->mapping != NULL ? N_VOCAB : files->n_rows;

	for (int i = 0; i < files->n_rows * HIDDEN; i++)
		n += put(data + n, files->type, i == 7 && files->bad_element != 0 ? files->bad_element : stored(files, i / HIDDEN, i % HIDDEN));
	snprintf(header, sizeof(header), "{\"%s\": {\"dtype\": \"%s\", \"shape\": [%d, %d], \"data_offsets\": [0, %zu]}",
			 files->table, files->type, files->n_rows, HIDDEN, n);
	begin = n;
	for (int i = 0; files->mapping != NULL && i < N_VOCAB; i++)
		n += put(data + n, files->mapping, i == 3 && files->bad_row != 0 ? files->bad_row : row_of(i));
	if (files->mapping != NULL)
		snprintf(header + strlen(header), sizeof(header) - strlen(header), ", \"mapping\": {\"dtype\": \"%s\", \"shape\": [%d], \"data_offsets\": [%zu, %zu]}",
				 files->mapping, N_VOCAB, begin, n);
	begin = n;
	for (int i = 0; files->weights != NULL && i < n_ids + files->n_more; i++)
		n += put(data + n, files->weights, i == 2 && files->bad_weight != 0 ? files->bad_weight : weight_of(i));
	if (files->weights != NULL)
		snprintf(header + strlen(header), sizeof(header) - strlen(header), ", \"weights\": {\"dtype\": \"%s\", \"shape\": [%d], \"data_offsets\": [%zu, %zu]}",
				 files->weights, n_ids + files->n_more, begin, n);
	strcat(header, "}");
	write_safetensors(dir, "model.safetensors", header, data, n);
}

static const char *
write_files(const Files *files)
{
	const char *dir = fresh_dir();
	char		sub[PATH_MAX];

	snprintf(sub, sizeof(sub), "%.3000s/%s", dir, files->sub);
	mkdir(sub, 0700);
	if (files->config != NULL)
		write_text(dir, "config.json", files->config);
	if (files->modules != NULL)
		write_text(dir, "modules.json", files->modules);
	if (files->prompts != NULL)
		write_text(dir, "config_sentence_transformers.json", files->prompts);
	write_text(sub, "vocab.txt", SMALL_VOCAB);
	write_text(sub, "tokenizer_config.json", "{\"do_lower_case\": true}");
	write_table(sub, files);
	return dir;
}

typedef struct Opened
{
	Image		image;
	EmbModel   *model;
} Opened;

static bool
open_files(const Files *files, const EmbImportOptions *options, Opened *o)
{
	EmbError	err;

	return CHECKF(import_image(write_files(files), options, &heap, &o->image, &err) == EMB_OK, "%s", err.message) &&
		CHECKF(emb_model_open(o->image.data, o->image.size_bytes, EMB_OPEN_CHECK_ALL, &heap, NULL, &o->model, &err) == EMB_OK, "%s", err.message);
}

static void
close_model(Opened *o)
{
	emb_model_close(o->model);
	free(o->image.data);
}

static EmbEncoded
encode(const Opened *o, const char *text, size_t len, bool complete, int32_t *ids)
{
	EmbEncoded	r = {0};
	EmbError	err;

	CHECKF(emb_model_encode(o->model, EMB_PROMPT_DOCUMENT, &(EmbText) {text, len, complete, NULL},
			&(EmbReading) {.ids = ids, .max_ids = MAX_IDS, .mem = &heap}, &r, &err) == EMB_OK, "%s", err.message);
	return r;
}

/* The vector of ids as the files say, in double. */
static void
expect(const Files *files, const int32_t *ids, int n, bool normalize, double *x)
{
	double		sum = 0;

	for (int k = 0; k < HIDDEN; k++)
	{
		x[k] = 0;
		for (int i = 0; i < n; i++)
			x[k] += stored(files, files->mapping != NULL ? row_of(ids[i]) : ids[i], k) * (files->weights != NULL ? weight_of(ids[i]) : 1);
		if (n > 0)
			x[k] /= n;
		sum += x[k] * x[k];
	}
	for (int k = 0; normalize && sum > 0 && k < HIDDEN; k++)
		x[k] /= sqrt(sum);
}

static const char *const texts[] = {"a b c", "the data of a database", "", "zzz", "a zzz b", "[CLS] a [UNK] [SEP]", "   "};

#define N_TEXTS	((int) (sizeof(texts) / sizeof(texts[0])))

static void
check_vectors(const char *what, const Files *files, const EmbImportOptions *options, bool normalize, bool is_exact)
{
	static int32_t ids[N_TEXTS][MAX_IDS];
	EmbSequence seqs[N_TEXTS];
	EmbRun		run = {.mem = &heap};
	float		out[N_TEXTS * HIDDEN];
	EmbError	err;
	Opened		o;

	if (!open_files(files, options, &o))
		return;
	CHECK(emb_model_info(o.model)->dim == HIDDEN && emb_model_info(o.model)->normalize == normalize && emb_model_info(o.model)->n_layers == 0);
	CHECK(strcmp(emb_model_info(o.model)->family, "model2vec") == 0 && emb_model_info(o.model)->n_vocab == N_VOCAB);
	for (int i = 0; i < N_TEXTS; i++)
		seqs[i] = (EmbSequence) {.ids = ids[i], .n_ids = encode(&o, texts[i], strlen(texts[i]), true, ids[i]).n_ids};
	CHECKF(emb_model_embed(o.model, seqs, N_TEXTS, &run, out, &err) == EMB_OK, "%s", err.message);
	for (int i = 0; i < N_TEXTS; i++)
	{
		double		want[HIDDEN];
		double		worst = 0;
		float		alone[HIDDEN];

		expect(files, ids[i], seqs[i].n_ids, normalize, want);
		for (int k = 0; k < HIDDEN; k++)
			worst = fmax(worst, fabs(out[i * HIDDEN + k] - want[k]));
		CHECKF(worst < (is_exact ? TOLERANCE : 0.03), "%s: \"%s\" is off by %g", what, texts[i], worst);
		CHECK(emb_model_embed(o.model, &seqs[i], 1, &run, alone, &err) == EMB_OK && memcmp(alone, out + i * HIDDEN, sizeof(alone)) == 0);
		CHECK(emb_isa_select("scalar", &err) == EMB_OK);
		CHECK(emb_model_embed(o.model, &seqs[i], 1, &run, alone, &err) == EMB_OK && memcmp(alone, out + i * HIDDEN, sizeof(alone)) == 0);
		CHECK(emb_isa_select("auto", &err) == EMB_OK);
	}
	for (int i = 0; i < emb_model_n_references(o.model); i++)
	{
		EmbReferenceCheck check;

		CHECK(emb_model_check_reference(o.model, i, &run, &check, &err) == EMB_OK && check.ids_equal && check.bits_equal && check.closeness > 0.99f);
	}
	close_model(&o);
}

static void
test_vectors(void)
{
	EmbImportOptions fp32 = {.precision = "fp32"};
	Files		f = model2vec;

	check_vectors("model2vec", &f, &fp32, true, true);
	check_vectors("model2vec in int8", &f, NULL, true, false);
	f.modules = NULL;
	check_vectors("without modules.json", &f, &fp32, true, true);
	f.type = "F16";
	check_vectors("F16", &f, &fp32, true, true);
	f.type = "F64";
	check_vectors("F64", &f, &fp32, true, true);
	check_vectors("F64 in int8", &f, NULL, true, false);
	f.type = "I8";
	check_vectors("I8", &f, &fp32, true, true);
	check_vectors("I8 in int8", &f, NULL, true, false);
	f.weights = "F32";
	f.mapping = "I64";
	f.n_rows = 9;
	check_vectors("I8, weighted and mapped", &f, &fp32, true, true);
	f = model2vec;
	f.config = CONFIG(", \"normalize\": false");
	check_vectors("config.json says not normalized", &f, &fp32, false, true);
	f.config = CONFIG("");
	check_vectors("modules.json says normalized", &f, &fp32, true, true);
	f.modules = STATIC_MODULES(".", "");
	check_vectors("neither", &f, &fp32, false, true);
	f = model2vec;
	f.weights = "F64";
	check_vectors("weights", &f, &fp32, true, true);
	f.n_rows = 9;
	f.mapping = "I64";
	check_vectors("mapped", &f, &fp32, true, true);
	f.mapping = "I32";
	f.weights = "F32";
	check_vectors("mapped by 32 bits", &f, &fp32, true, true);
	check_vectors("mapped, int8", &f, NULL, true, false);
	f.weights = NULL;
	check_vectors("mapped without weights", &f, &fp32, true, true);
	f = model2vec;
	f.config = NULL;
	f.table = "embedding.weight";
	check_vectors("StaticEmbedding", &f, &fp32, true, true);
	f.modules = STATIC_MODULES("0_StaticEmbedding", "");
	f.sub = "0_StaticEmbedding";
	check_vectors("StaticEmbedding in its folder", &f, &fp32, false, true);
}

/* ids of a text, as a string */
static const char *
ids_of(const Opened *o, const char *text)
{
	static char buf[256];
	int32_t		ids[MAX_IDS];
	EmbEncoded	r = encode(o, text, strlen(text), true, ids);

	buf[0] = '\0';
	for (int i = 0; i < r.n_ids && strlen(buf) < 240; i++)
		snprintf(buf + strlen(buf), sizeof(buf) - strlen(buf), "%s%d", i > 0 ? " " : "", ids[i]);
	return buf;
}

static int64_t
count(const Opened *o, const char *text, bool *all)
{
	int64_t		n = -1;
	EmbError	err;

	CHECK(emb_model_count_tokens(o->model, EMB_PROMPT_DOCUMENT, text, strlen(text), &heap, NULL, &n, &err) == EMB_OK);
	*all = emb_model_reads_all(o->model, EMB_PROMPT_DOCUMENT, text, strlen(text), n);
	return n;
}

/* No special tokens; model2vec leaves the unknown one out, sentence-transformers does not; where texts are cut. */
static void
test_texts(void)
{
	EmbImportOptions options = {.precision = "fp32"};
	Files		f = model2vec;
	char		many[2000];
	int32_t		ids[MAX_IDS];
	bool		all;
	Opened		o;

	if (!open_files(&f, &options, &o))
		return;
	CHECK(emb_model_info(o.model)->max_tokens == 512 && emb_model_info(o.model)->max_chars == 512 * MEDIAN);
	CHECKF(strcmp(ids_of(&o, "a zzz b [SEP] [UNK]"), "5 6 3") == 0, "%s", ids_of(&o, "a zzz b [SEP] [UNK]"));
	CHECK(count(&o, "a zzz b [SEP] [UNK]", &all) == 5 && all);
	CHECK(encode(&o, "", 0, true, ids).n_ids == 0 && encode(&o, "zzz", 3, true, ids).n_ids == 0);
	/* 1,536 characters are read: 307 words and the first letter of another */
	for (int i = 0; i < 2000; i++)
		many[i] = "data "[i % 5];
	many[1536] = '\0';
	CHECK(count(&o, many, &all) == 308 && all && !encode(&o, many, 1536, true, ids).truncated && encode(&o, many, 1536, true, ids).n_ids == 308);
	many[1536] = 'a';
	many[1537] = '\0';
	CHECK(count(&o, many, &all) == 309 && !all && encode(&o, many, 1537, true, ids).truncated && encode(&o, many, 1537, true, ids).n_ids == 308);
	/* a prefix is enough where it has more than so many */
	CHECK(encode(&o, many, 1536, false, ids).need_more && !encode(&o, many, 1537, false, ids).need_more);
	close_model(&o);

	options.max_tokens = 3;
	if (open_files(&f, &options, &o))
	{
		CHECK(emb_model_info(o.model)->max_chars == 3 * MEDIAN);
		CHECK(strcmp(ids_of(&o, "abc"), "5 14 15") == 0 && encode(&o, "abcd", 4, true, ids).truncated && encode(&o, "abcd", 4, true, ids).n_ids == 3);
		close_model(&o);
	}
	options = (EmbImportOptions) {.precision = "fp32", .document_prompt = "ab "};
	f.config = CONFIG(", \"max_length\": 5");
	if (open_files(&f, &options, &o))
	{
		CHECK(emb_model_info(o.model)->max_chars == 5 * MEDIAN);
		CHECK(strcmp(ids_of(&o, "data data  c"), "5 14 18 18 7") == 0 && count(&o, "data data  c", &all) == 5 && all);
		CHECK(strcmp(ids_of(&o, "data data   c"), "5 14 18 18") == 0 && count(&o, "data data   c", &all) == 5 && !all);
		close_model(&o);
	}
	options = (EmbImportOptions) {.precision = "fp32"};
	f.config = CONFIG(", \"max_length\": null");
	if (open_files(&f, &options, &o))
	{
		CHECK(emb_model_info(o.model)->max_chars == 0 && emb_model_info(o.model)->max_tokens == 65536);
		CHECK(count(&o, many, &all) == 309 && all && encode(&o, many, 1537, true, ids).n_ids == 309);
		close_model(&o);
	}
	f = model2vec;
	f.config = NULL;
	f.table = "embedding.weight";
	f.prompts = "{\"prompts\": {\"document\": \"d \"}}";
	if (open_files(&f, &options, &o))
	{
		CHECKF(strcmp(ids_of(&o, "a zzz b"), "8 5 1 6") == 0, "%s", ids_of(&o, "a zzz b"));
		CHECK(emb_model_info(o.model)->max_chars == 0 && emb_model_info(o.model)->max_tokens == 65536);
		close_model(&o);
	}
}

/* A prompt as long as what is read of a text would be all that is. */
static void
test_long_prompt(void)
{
	static const char long_word[] = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\xC3\xA9z";
	EmbImportOptions options = {.precision = "fp32", .max_tokens = 14, .document_prompt = long_word};
	Image		image;
	EmbError	err;
	Opened		o;

	CHECKF(import_image(write_files(&model2vec), &options, &heap, &image, &err) == EMB_ERR_INVALID_ARGUMENT &&
		   strstr(err.message, "42 characters") != NULL && strstr(err.message, "document prompt") != NULL, "%s", err.message);
	free(image.data);
	options.query_prompt = long_word;
	options.document_prompt = long_word + 1;
	CHECK(import_image(write_files(&model2vec), &options, &heap, &image, &err) == EMB_ERR_INVALID_ARGUMENT && strstr(err.message, "query prompt") != NULL);
	free(image.data);
	options.query_prompt = NULL;
	if (open_files(&model2vec, &options, &o))
		close_model(&o);
}

/* Chunks that the model reads whole, by characters too; nothing is lost between them. */
static void
test_chunks(void)
{
	static const char text[] = "the database of a b c zzz database, data. the the the of abcd database qqqq a b c d e the data";
	EmbImportOptions options = {.precision = "fp32", .max_tokens = 14};
	EmbChunking how = {.prompt = EMB_PROMPT_DOCUMENT, .max_tokens = 14, .overlap = 0};
	EmbChunk	chunk = {0};
	int			n_chunks = 0;
	size_t		end = 0;
	EmbError	err;
	Opened		o;

	if (!open_files(&model2vec, &options, &o))
		return;
	for (;;)
	{
		bool		blank = true;

		if (!CHECKF(emb_model_next_chunk(o.model, &how, text, sizeof(text) - 1, &heap, NULL, &chunk, &err) == EMB_OK, "%s", err.message) ||
			chunk.n_tokens == 0)
			break;
		for (; end < chunk.start; end++)
			blank &= text[end] == ' ';
		CHECK(blank);
		CHECKF(emb_model_reads_all(o.model, EMB_PROMPT_DOCUMENT, text + chunk.start, chunk.end - chunk.start, chunk.n_tokens),
			   "chunk %d: \"%.*s\"", n_chunks, (int) (chunk.end - chunk.start), text + chunk.start);
		end = chunk.end;
		n_chunks++;
	}
	CHECKF(end == sizeof(text) - 1 && n_chunks == 3, "%d chunks up to %zu", n_chunks, end);
	close_model(&o);
}

/* Chunks that end by characters may have fewer tokens than the overlap: they still move on by more than a character. */
static void
test_overlap(void)
{
	static char text[4000];
	EmbImportOptions options = {.precision = "fp32", .max_tokens = 14};
	EmbChunking how = {.prompt = EMB_PROMPT_DOCUMENT, .max_tokens = 14, .overlap = 7};
	Opened		o;

	if (!open_files(&model2vec, &options, &o))
		return;
	for (int kind = 0; kind < 3; kind++)
	{
		EmbChunk	chunk = {0};
		size_t		end = 0;
		int64_t		n_repeated = 0;
		int			n_chunks = 0;
		EmbError	err;

		/* a word that is not known; many; some that are between them */
		for (size_t i = 0; i < sizeof(text); i++)
			text[i] = kind == 0 || i % 10 != 9 ? 'z' : kind == 2 && i % 40 == 39 ? 'a' : ' ';
		while (n_chunks < 4000 && CHECKF(emb_model_next_chunk(o.model, &how, text, sizeof(text), &heap, NULL, &chunk, &err) == EMB_OK, "%s", err.message) &&
			   chunk.n_tokens > 0)
		{
			CHECKF(chunk.start <= end + 1 && chunk.end > end, "kind %d, chunk %d from %zu to %zu, behind %zu", kind, n_chunks, chunk.start, chunk.end, end);
			n_repeated += end > chunk.start ? end - chunk.start : 0;
			end = chunk.end;
			n_chunks++;
		}
		CHECKF(end >= sizeof(text) - 1 && n_repeated <= (int64_t) sizeof(text) * 3 / 2 && n_repeated > (int64_t) sizeof(text) / 4,
			   "kind %d: %d chunks up to %zu, %lld characters twice", kind, n_chunks, end, (long long) n_repeated);
	}
	close_model(&o);
}

/* Behind a table a Dense may stand as well; vectors may be cut. */
static void
test_dense(void)
{
	static const char header[] = "{\"linear.weight\": {\"dtype\": \"F32\", \"shape\": [2, 5], \"data_offsets\": [0, 40]}}";
	EmbImportOptions options = {.precision = "fp32"};
	Files		f = model2vec;
	float		weight[10];
	char		sub[PATH_MAX];
	EmbRun		run = {.mem = &heap};
	int32_t		ids[MAX_IDS];
	float		out[2];
	double		x[HIDDEN];
	Image		image;
	EmbModel   *model;
	EmbError	err;
	EmbSequence seq = {.ids = ids};
	EmbEncoded	r;

	f.config = NULL;
	f.table = "embedding.weight";
	f.modules = STATIC_MODULES("", ", {\"path\": \"1_Dense\", \"type\": \"sentence_transformers.models.Dense\"}");
	snprintf(sub, sizeof(sub), "%.3000s/1_Dense", write_files(&f));
	mkdir(sub, 0700);
	write_text(sub, "config.json", "{\"in_features\": 5, \"out_features\": 2, \"bias\": false, \"activation_function\": \"torch.nn.Identity\"}");
	for (int i = 0; i < 10; i++)
		weight[i] = element(i, 1);
	write_safetensors(sub, "model.safetensors", header, weight, sizeof(weight));
	if (!CHECKF(import_image(temp_root, &options, &heap, &image, &err) == EMB_OK, "%s", err.message) ||
		!CHECK(emb_model_open(image.data, image.size_bytes, EMB_OPEN_CHECK_ALL, &heap, NULL, &model, &err) == EMB_OK))
		return;
	CHECK(emb_model_info(model)->dim == 2);
	CHECK(emb_model_encode(model, EMB_PROMPT_NONE, &(EmbText) {"a zzz b", 7, true, NULL},
			&(EmbReading) {.ids = ids, .max_ids = MAX_IDS, .mem = &heap}, &r, &err) == EMB_OK && r.n_ids == 3);
	seq.n_ids = r.n_ids;
	CHECK(emb_model_embed(model, &seq, 1, &run, out, &err) == EMB_OK);
	expect(&f, ids, r.n_ids, false, x);
	for (int o = 0; o < 2; o++)
	{
		double		y = 0;

		for (int k = 0; k < HIDDEN; k++)
			y += x[k] * weight[o * HIDDEN + k];
		CHECKF(fabs(y - out[o]) < TOLERANCE, "%g, not %g", out[o], y);
	}
	emb_model_close(model);
	free(image.data);
}

static void
check_refused(const char *what, const Files *files, const EmbImportOptions *options, EmbStatus status, const char *message, const char *also)
{
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	Image		image;
	EmbError	err;
	EmbStatus	got = import_image(write_files(files), options, &mem, &image, &err);

	CHECKF(got == status && strstr(err.message, message) != NULL && strstr(err.message, also) != NULL,
		   "%s: status %d, \"%s\"", what, got, err.message);
	CHECKF(count.n_live == 0, "%s: %ld blocks leaked", what, count.n_live);
	free(image.data);
}

static void
test_refused(void)
{
	static const char *const calibration[] = {"a text"};
	EmbImportOptions calibrated = {.calibration_texts = calibration, .n_calibration_texts = 1};
	EmbImportOptions many = {.max_tokens = 2000000};
	EmbImportOptions wide = {.dimensions = 6};
	Files		f;

#define REFUSED(what, options, status, message, also, change) \
	f = model2vec; change; check_refused(what, &f, options, status, message, also)

	REFUSED("no table", NULL, EMB_ERR_NOT_FOUND, "embeddings", "embedding.weight", f.table = "vectors");
	REFUSED("a table of other integers", NULL, EMB_ERR_UNSUPPORTED, "I32", "embeddings", f.type = "I32");
	REFUSED("an element too large", NULL, EMB_ERR_LIMIT, "element 7", "embeddings", (f.type = "F64", f.bad_element = 1e300));
	REFUSED("an element that is no number", NULL, EMB_ERR_LIMIT, "element 7", "embeddings", (f.type = "F64", f.bad_element = NAN));
	REFUSED("fewer rows than tokens", NULL, EMB_ERR_FORMAT, "24 ids", "9", f.n_rows = 9);
	REFUSED("a mapping beyond the rows", NULL, EMB_ERR_FORMAT, "row 9 for id 3", "9 rows", (f.n_rows = 9, f.mapping = "I64", f.bad_row = 9));
	REFUSED("a mapping below them", NULL, EMB_ERR_FORMAT, "row -1", "mapping", (f.n_rows = 9, f.mapping = "I32", f.bad_row = -1));
	REFUSED("a mapping of floats", NULL, EMB_ERR_UNSUPPORTED, "F32", "mapping", f.mapping = "F32");
	REFUSED("weights too few", NULL, EMB_ERR_FORMAT, "weights", "24", (f.weights = "F32", f.n_more = -1));
	REFUSED("weights too many", NULL, EMB_ERR_FORMAT, "weights", "24", (f.weights = "F64", f.n_more = 1));
	REFUSED("a weight that is no number", NULL, EMB_ERR_FORMAT, "weights", "finite", (f.weights = "F64", f.bad_weight = NAN));
	REFUSED("a weight that is none in F32", NULL, EMB_ERR_FORMAT, "weights", "", (f.weights = "F32", f.bad_weight = INFINITY));
	REFUSED("a weight too large", NULL, EMB_ERR_LIMIT, "id 2", "overflows", (f.weights = "F64", f.bad_weight = 1e300));
	REFUSED("a class that is none", NULL, EMB_ERR_UNSUPPORTED, "architectures", "StaticSomething", f.config = "{\"model_type\": \"model2vec\", \"architectures\": [\"StaticSomething\"]}");
	REFUSED("a classifier", NULL, EMB_ERR_UNSUPPORTED, "model2vec", "classifiers", f.config = "{\"model_type\": \"model2vec\", \"architectures\": [\"StaticForSequenceClassification\"]}");
	REFUSED("a length of 0", NULL, EMB_ERR_FORMAT, "max_length", "config.json", f.config = CONFIG(", \"max_length\": 0"));
	REFUSED("a transformer's modules", NULL, EMB_ERR_UNSUPPORTED, "modules.json", "model2vec", f.modules = SMALL_MODULES);
	REFUSED("a transformer's config", NULL, EMB_ERR_UNSUPPORTED, "StaticEmbedding", "bert", f.config = SMALL_CONFIG);
	REFUSED("calibration", &calibrated, EMB_ERR_INVALID_ARGUMENT, "no layers", "calibration", (void) 0);
	REFUSED("max_tokens", &many, EMB_ERR_INVALID_ARGUMENT, "2000000", "1..1048576", (void) 0);
	REFUSED("dimensions", &wide, EMB_ERR_INVALID_ARGUMENT, "6", "1..5", (void) 0);
	REFUSED("a Pooling behind", NULL, EMB_ERR_UNSUPPORTED, "modules.json", "Pooling",
			(f.modules = STATIC_MODULES(".", ", {\"path\": \"1\", \"type\": \"sentence_transformers.models.Pooling\"}")));
}

/* More texts without tokens than fit a batch; an id that is none; a stop. */
static bool
stop_at_once(void *ctx)
{
	(void) ctx;
	return true;
}

static void
test_runs(void)
{
	EmbImportOptions options = {.precision = "fp32"};
	EmbRun		run = {.mem = &heap, .batch_tokens = 4};
	EmbStop		stop = {NULL, stop_at_once};
	const int32_t bad[] = {5, N_VOCAB};
	EmbSequence seqs[64] = {0};
	float		out[64 * HIDDEN];
	EmbError	err;
	Opened		o;

	if (!open_files(&model2vec, &options, &o))
		return;
	CHECK(emb_model_embed(o.model, seqs, 64, &run, out, &err) == EMB_OK && out[0] == 0 && memcmp(out, out + 1, sizeof(out) - sizeof(float)) == 0);
	seqs[63] = (EmbSequence) {.ids = bad, .n_ids = 2};
	CHECK(emb_model_embed(o.model, seqs, 64, &run, out, &err) == EMB_ERR_INVALID_ARGUMENT && strstr(err.message, "24") != NULL);
	seqs[63].n_ids = 1;
	CHECK(emb_model_embed(o.model, seqs, 64, &run, out, &err) == EMB_OK && out[63 * HIDDEN] != 0);
	run.stop = &stop;
	CHECK(emb_model_embed(o.model, seqs, 64, &run, out, &err) == EMB_ERR_CANCELLED);
	CHECK(scratch_bytes(o.model, 4, 512, 1) > 0 && scratch_bytes(o.model, 4, 512, 1) < 100000);
	close_model(&o);
}

int
main(void)
{
	heap = emb_malloc_allocator();
	test_vectors();
	test_texts();
	test_long_prompt();
	test_chunks();
	test_overlap();
	test_dense();
	test_refused();
	test_runs();
	emb_threads_stop();
	return done_testing();
}
