/*
 * test_gguf_import.c
 *		GGUF files as checkpoints: images equal those of the directories that
 *		the files were made from (test/tools/make_gguf.py); files that lie, cut
 *		files, and what is refused.
 */
#include "model_util.h"

#include <math.h>

#include <jansson.h>

#include "gguf_util.h"
#include "image/image.h"
#include "import/checkpoint.h"
#include "tokenizer/tokenizer.h"

/* ------------------------------------------------------------ same images */

typedef struct Pair
{
	const char *name;			/* in test/data/tiny */
	const char *file;			/* in test/data/gguf */
	int32_t		max_tokens;		/* a GGUF file does not have the tokenizer's own limit */
	bool		same_bytes;		/* of the whole image */
	bool		is_cut;			/* the padding's position is not in the file */
	const char *note;			/* part of the importer's notes */
} Pair;

/* All weights are halves or floats, so nothing is lost. */
static const Pair pairs[] = {
	{"bert-mean-36", "bert-mean-36-F32.gguf", 0, true, false, "texts are lowercased; by its vocabulary they are not"},
	{"modernbert-rerank", "modernbert-rerank-F16.gguf", 700, true, false, "by its vocabulary they are lowercased"},
	{"distilbert-rerank", "distilbert-rerank-F16.gguf", 0, false, false, "lowercased"},
	{"roberta-rerank", "roberta-rerank-F16.gguf", 0, false, true, NULL},
};

/* A file of EmbeddingGemma: its name gives the prompts. */
static const Pair gemma = {"embedding-gemma", "embedding-gemma-BF16.gguf", 2048, true, false, "the prompts of Embeddinggemma-300M"};

typedef struct Noted
{
	Image		image;
	char		notes[2048];
} Noted;

static void
keep_note(void *ctx, const char *message, const char *hint)
{
	Noted	   *noted = ctx;
	size_t		len = strlen(noted->notes);

	snprintf(noted->notes + len, sizeof(noted->notes) - len, "%s (%s)\n", message, hint);
}

static EmbStatus
write_noted(void *ctx, const void *data, size_t size, EmbError *err)
{
	return image_write(&((Noted *) ctx)->image, data, size, err);
}

static EmbStatus
import_noted(const char *path, const char *precision, int32_t max_tokens, Noted *noted, EmbError *err)
{
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbImportOptions options = {.precision = precision, .max_tokens = max_tokens};
	EmbSink		sink = {.ctx = noted, .write = write_noted, .note = keep_note};
	EmbStatus	status;

	memset(noted, 0, sizeof(*noted));
	memset(err, 0, sizeof(*err));
	status = emb_import_dir(path, &options, &mem, NULL, &sink, err);
	if (count.n_live != 0)
		CHECKF(0, "%s: %ld blocks leaked", path, count.n_live);
	return status;
}

/* Whether all tensors are equal, but for the first row of the positions where the file is cut. */
static bool
same_tensors(const Image *a, const Image *b, bool is_cut)
{
	EmbImageView x;
	EmbImageView y;
	EmbError	err;

	if (a->size_bytes != b->size_bytes || emb_image_view(a->data, a->size_bytes, &x, &err) != EMB_OK ||
		emb_image_view(b->data, b->size_bytes, &y, &err) != EMB_OK || x.n_tensors != y.n_tensors)
		return false;
	for (uint32_t i = 0; i < x.n_tensors; i++)
	{
		const EmbImageTensor *t = &x.tensors[i];
		size_t		row = (size_t) t->n_cols * sizeof(float);
		size_t		skip = is_cut && t->key.part == EMB_PART_POSITIONS ? row : 0;

		if (memcmp(t, &y.tensors[i], sizeof(*t)) != 0 ||
			memcmp(x.base + t->offset + skip, y.base + t->offset + skip, (size_t) t->n_rows * row - skip) != 0)
			return false;
		if (skip > 0 && !emb_image_is_zero(y.base + t->offset, row))
			return false;
	}
	return true;
}

static void
check_pair(const Pair *p)
{
	Noted		a;
	Noted		b;
	EmbError	err;
	char		dir[PATH_MAX];
	char		file[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/tiny/%s/model", data_dir(), p->name);
	snprintf(file, sizeof(file), "%s/gguf/%s", data_dir(), p->file);
	if (!CHECKF(import_noted(dir, "fp32", 0, &a, &err) == EMB_OK, "%s: %s", p->name, err.message) ||
		!CHECKF(import_noted(file, "fp32", p->max_tokens, &b, &err) == EMB_OK, "%s: %s", p->file, err.message))
		return;
	if (p->same_bytes)
		CHECKF(a.image.size_bytes == b.image.size_bytes && memcmp(a.image.data, b.image.data, a.image.size_bytes) == 0, "%s: images differ", p->name);
	CHECKF(same_tensors(&a.image, &b.image, p->is_cut), "%s: tensors differ", p->name);
	CHECKF(p->note == NULL ? b.notes[0] == '\0' : strstr(b.notes, p->note) != NULL, "%s: %s", p->name, b.notes);
	free(a.image.data);
	free(b.image.data);
}

static void
test_same_images(void)
{
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		check_pair(&pairs[i]);
}

/* ------------------------------------------------------------------ Gemma */

/* Imports a copy of the file in which bytes after a key are other ones. */
static EmbStatus
import_patched(const char *after, const void *bytes, size_t n, EmbError *err)
{
	char		dir[PATH_MAX];
	char		path[PATH_MAX + 16];
	size_t		size = 0;
	Noted		noted;
	char	   *data;
	char	   *at;
	EmbStatus	status;

	snprintf(dir, sizeof(dir), "%s/gguf", data_dir());
	data = read_file(dir, gemma.file, &size);
	at = memmem(data, size, after, strlen(after));
	if (!CHECKF(at != NULL, "%s", after))
		exit(1);
	memcpy(at + strlen(after), bytes, n);
	write_file(fresh_dir(), "x.gguf", data, size);
	free(data);
	snprintf(path, sizeof(path), "%s/x.gguf", temp_root);
	status = import_noted(path, "fp32", 0, &noted, err);
	free(noted.image.data);
	return status;
}

static void
test_gemma(void)
{
	static const struct
	{
		const char *after;
		const void *bytes;
		size_t		n;
		const char *message;
	}			wrong[] =
	{
		{"gemma-embedding.pooling_type", "\x04\0\0\0\x03\0\0\0", 8, "pools the last row; only embedding models that read in both directions"},
		{"tokenizer.ggml.model", "\x08\0\0\0\x05\0\0\0\0\0\0\0gpt22", 17, "is \"gpt22\"; of architecture \"gemma-embedding\" llama can be imported"},
		{"tokenizer.ggml.eos_token_id", "\x04\0\0\0\xFF\xFF\0\0", 8, "eos_token_id"},
		{"tokenizer.ggml.scores\x09", "\0\0\0\x06\0\0\0\xE0\x01\0\0\0\0\0\0\0\0\xC0\x7F", 19, "the score of token 0 is not finite"},
		{"dense_2.", "wxight", 6, "has one of the tensors \"dense_2.weight\" and \"dense_3.weight\", not both"},
	};
	char		file[PATH_MAX];
	Noted		noted;
	EmbError	err;

	check_pair(&gemma);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		EmbStatus	status = import_patched(wrong[i].after, wrong[i].bytes, wrong[i].n, &err);

		CHECKF(status != EMB_OK && strstr(err.message, wrong[i].message) != NULL, "%s: %d, %s", wrong[i].message, status, err.message);
	}
	snprintf(file, sizeof(file), "%s/gguf/embedding-gemma-no-dense-Q8_0.gguf", data_dir());
	if (CHECKF(import_noted(file, "int8", 0, &noted, &err) == EMB_OK, "%s", err.message))
		CHECKF(strstr(noted.notes, "no tensors dense_2.weight and dense_3.weight") != NULL, "%s", noted.notes);
	free(noted.image.data);
}

/* -------------------------------------------------------- equal sequences */

#define N_TEXTS	6

static const char *const texts[N_TEXTS] = {
	"", "a", "The quick brown fox jumps over the lazy dog.", "na\xC3\xAFve caf\xC3\xA9, 3.14159 and 42", "\xE6\x88\x91\xE4\xBB\xAC \xE6\x96\x87\xE6\x9C\xAC",
	"  two  blanks, <mask> [MASK] </s> and a [CLS]",
};

static EmbModel *
open_image(const Image *image)
{
	static EmbAllocator mem;
	EmbModel   *model = NULL;
	EmbError	err;

	mem = emb_malloc_allocator();
	CHECKF(emb_model_open(image->data, image->size_bytes, 0, &mem, NULL, &model, &err) == EMB_OK, "%s", err.message);
	return model;
}

/* Ids of a text and its vector, or of a reranker the logit of the query "query" with it. */
static int
compute(const EmbModel *model, const char *text, bool is_reranker, int32_t ids[512], float out[64])
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbRun		run = {.mem = &mem};
	int32_t		types[512];
	EmbReading	to = {.ids = ids, .type_ids = types, .max_ids = 512, .mem = &mem};
	EmbText		query = {"query", 5, true, NULL};
	EmbText		document = {text, strlen(text), true, NULL};
	EmbEncoded	r = {0};
	EmbSequence seq = {.ids = ids, .type_ids = is_reranker ? types : NULL};
	EmbError	err;
	EmbStatus	status = is_reranker ? emb_model_encode_pair(model, &query, &document, &to, &r, &err)
		: emb_model_encode(model, EMB_PROMPT_DOCUMENT, &document, &to, &r, &err);

	seq.n_ids = r.n_ids;
	if (status == EMB_OK)
		status = is_reranker ? emb_model_rerank(model, &seq, 1, &run, out, &err) : emb_model_embed(model, &seq, 1, &run, out, &err);
	CHECKF(status == EMB_OK, "\"%s\": %s", text, err.message);
	return r.n_ids;
}

/* The largest difference of an element; ids must be equal. */
static float
compare_models(const Image *a, const Image *b, bool is_reranker, const char *name)
{
	EmbModel   *x = open_image(a);
	EmbModel   *y = open_image(b);
	float		worst = 0;

	for (int i = 0; x != NULL && y != NULL && i < N_TEXTS; i++)
	{
		int32_t		ids[2][512];
		float		out[2][64] = {{0}};
		int			n = compute(x, texts[i], is_reranker, ids[0], out[0]);

		CHECKF(compute(y, texts[i], is_reranker, ids[1], out[1]) == n && memcmp(ids[0], ids[1], (size_t) n * sizeof(int32_t)) == 0, "%s: ids of \"%s\"", name, texts[i]);
		for (int k = 0; k < 64; k++)
			worst = fmaxf(worst, fabsf(out[0][k] - out[1][k]));
	}
	emb_model_close(x);
	emb_model_close(y);
	return worst;
}

/*
 * The directory of a tiny model without what a GGUF file does not have: other
 * classes in config.json, own modules.
 */
static const char *
changed_dir(const char *name, const char *from, const char *to, bool is_cls)
{
	static const char *const files[] = {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"};
	const char *dir = fresh_dir();
	char		model[PATH_MAX];
	char		sub[PATH_MAX];

	snprintf(model, sizeof(model), "%s/tiny/%s/model", data_dir(), name);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
	{
		size_t		size = 0;
		char	   *data = read_file(model, files[i], &size);
		char	   *at = i == 0 ? strstr(data, from) : NULL;

		/* of the same length, with blanks */
		if (at != NULL)
		{
			memset(at, ' ', strlen(from));
			memcpy(at, to, strlen(to));
		}
		write_file(dir, files[i], data, size);
		free(data);
	}
	write_text(dir, "modules.json", SMALL_MODULES);
	snprintf(sub, sizeof(sub), "%s/1_Pooling", dir);
	mkdir(sub, 0700);
	write_text(sub, "config.json", is_cls ? "{\"pooling_mode_cls_token\": true, \"pooling_mode_mean_tokens\": false}"
			   : "{\"pooling_mode_cls_token\": false, \"pooling_mode_mean_tokens\": true}");
	return dir;
}

typedef struct Near
{
	const char *name;
	const char *from,			/* in config.json */
			   *to;
	const char *file;
	bool		is_cls;
	float		max_difference;	/* of an element; 8 bits for Q8_0 */
} Near;

static const Near nears[] = {
	{"nomic-rerank", "\"NomicBertForSequenceClassification\"", "\"NomicBertModel\"", "nomic-F16.gguf", false, 0},
	{"bge-m3", "?", "", "bge-m3-Q8_0-00001-of-00003.gguf", true, 0.01f},
	{"bge-m3", "?", "", "bge-m3-Q8_0-00003-of-00003.gguf", true, 0.01f},
};

static void
test_near(void)
{
	for (size_t i = 0; i < sizeof(nears) / sizeof(nears[0]); i++)
	{
		const Near *p = &nears[i];
		char		file[PATH_MAX];
		Noted		a;
		Noted		b;
		EmbError	err;
		float		worst;

		snprintf(file, sizeof(file), "%s/gguf/%s", data_dir(), p->file);
		if (!CHECKF(import_noted(changed_dir(p->name, p->from, p->to, p->is_cls), "fp32", 0, &a, &err) == EMB_OK, "%s: %s", p->name, err.message) ||
			!CHECKF(import_noted(file, "fp32", 0, &b, &err) == EMB_OK, "%s: %s", p->file, err.message))
			continue;
		worst = compare_models(&a.image, &b.image, false, p->file);
		CHECKF(p->max_difference == 0 ? worst == 0 : worst <= p->max_difference && worst > 0, "%s: difference %g", p->file, (double) worst);
		free(a.image.data);
		free(b.image.data);
	}
}

/* Logits and ids of the rerankers; int8 images of both kinds of files are equal, too. */
static void
test_rerankers(void)
{
	for (size_t i = 1; i < sizeof(pairs) / sizeof(pairs[0]); i++)
	{
		const Pair *p = &pairs[i];
		char		dir[PATH_MAX];
		char		file[PATH_MAX];
		Noted		a;
		Noted		b;
		EmbError	err;

		snprintf(dir, sizeof(dir), "%s/tiny/%s/model", data_dir(), p->name);
		snprintf(file, sizeof(file), "%s/gguf/%s", data_dir(), p->file);
		if (!CHECKF(import_noted(dir, "int8", 0, &a, &err) == EMB_OK && import_noted(file, "int8", p->max_tokens, &b, &err) == EMB_OK, "%s: %s", p->name,
					err.message))
			continue;
		CHECKF(compare_models(&a.image, &b.image, true, p->name) == 0, "%s: logits differ", p->name);
		free(a.image.data);
		free(b.image.data);
	}
}

/* ---------------------------------------------------------- a small file */

#define HIDDEN	4
#define INNER	8
#define TOKENS	10

static const char *const small_tokens[TOKENS] = {
	"[PAD]", "[UNK]", "[CLS]", "[SEP]", "\xE2\x96\x81" "a", "b", "\xE2\x96\x81" "word", "s", "\xE2\x96\x81.", "\xE2\x96\x81[PAD9]",
};
static const int32_t small_types[TOKENS] = {3, 3, 3, 3, 1, 1, 1, 1, 1, 5};

typedef struct SmallTensor
{
	const char *name;
	int			rank;
	uint64_t	dims[2];		/* the fastest first */
} SmallTensor;

static const SmallTensor small_tensors[] = {
	{"token_embd.weight", 2, {HIDDEN, TOKENS}},
	{"position_embd.weight", 2, {HIDDEN, 16}},
	{"token_types.weight", 2, {HIDDEN, 2}},
	{"token_embd_norm.weight", 1, {HIDDEN}},
	{"token_embd_norm.bias", 1, {HIDDEN}},
	{"blk.0.attn_qkv.weight", 2, {HIDDEN, 3 * HIDDEN}},
	{"blk.0.attn_qkv.bias", 1, {3 * HIDDEN}},
	{"blk.0.attn_output.weight", 2, {HIDDEN, HIDDEN}},
	{"blk.0.attn_output.bias", 1, {HIDDEN}},
	{"blk.0.attn_output_norm.weight", 1, {HIDDEN}},
	{"blk.0.attn_output_norm.bias", 1, {HIDDEN}},
	{"blk.0.ffn_up.weight", 2, {HIDDEN, INNER}},
	{"blk.0.ffn_up.bias", 1, {INNER}},
	{"blk.0.ffn_down.weight", 2, {INNER, HIDDEN}},
	{"blk.0.ffn_down.bias", 1, {HIDDEN}},
	{"blk.0.layer_output_norm.weight", 1, {HIDDEN}},
	{"blk.0.layer_output_norm.bias", 1, {HIDDEN}},
	{"cls.weight", 2, {HIDDEN, HIDDEN}},
	{"cls.bias", 1, {HIDDEN}},
	{"cls.output.weight", 1, {HIDDEN}},
	{"cls.output.bias", 1, {1}},
};

#define N_SMALL			((int) (sizeof(small_tensors) / sizeof(small_tensors[0])))
#define N_SMALL_HEAD	4

/* What differs from a good file. */
typedef struct Small
{
	bool		has_head;
	const char *omit;			/* a tensor */
	const char *omit_key;
	const char *key;			/* a u32 that is added */
	uint32_t	value;
	const char *string_key;		/* a string that is added */
	const char *string;
	const char *extra;			/* a tensor [4] that is added */
	uint32_t	labels;			/* rows of cls.output.weight; 0: one */
	uint32_t	blocks;			/* block_count; 0: 1 */
	uint32_t	pooling;		/* pooling_type + 1; 0: CLS, with a head RANK */
} Small;

static void
small_keys(Buf *b, const Small *m, int *n)
{
	static const char *const names[] = {"block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count", "pooling_type"};
	const uint32_t values[] = {m->blocks > 0 ? m->blocks : 1, 16, HIDDEN, INNER, 2, m->pooling > 0 ? m->pooling - 1 : m->has_head ? 4 : 2};

	if (m->omit_key == NULL || strcmp(m->omit_key, "general.architecture") != 0)
	{
		gguf_key_string(b, "general.architecture", m->string_key != NULL && strcmp(m->string_key, "general.architecture") == 0 ? m->string : "bert");
		++*n;
	}
	for (int i = 0; i < 6; i++)
	{
		char		name[64];

		snprintf(name, sizeof(name), "bert.%s", names[i]);
		if (m->omit_key != NULL && strcmp(m->omit_key, name) == 0)
			continue;
		gguf_key_uint(b, name, 4, values[i]);
		++*n;
	}
	gguf_key_uint(b, "bert.attention.layer_norm_epsilon", 6, 0x2B8CBCCC);	/* 1e-12 */
	gguf_key_string(b, "tokenizer.ggml.model", m->string_key != NULL && strcmp(m->string_key, "tokenizer.ggml.model") == 0 ? m->string : "bert");
	*n += 2;
	gguf_key_array(b, "tokenizer.ggml.tokens", 8, TOKENS);
	for (int i = 0; i < TOKENS; i++)
		put_string(b, small_tokens[i]);
	gguf_key_array(b, "tokenizer.ggml.token_type", 5, TOKENS);
	for (int i = 0; i < TOKENS; i++)
		put_uint(b, (uint64_t) small_types[i], 4);
	*n += 2;
	if (m->key != NULL)
	{
		gguf_key_uint(b, m->key, 4, m->value);
		++*n;
	}
	if (m->string_key != NULL && strcmp(m->string_key, "general.architecture") != 0 && strcmp(m->string_key, "tokenizer.ggml.model") != 0)
	{
		gguf_key_string(b, m->string_key, m->string);
		++*n;
	}
}

static Buf
small_gguf(const Small *m)
{
	Buf			b = gguf_begin(3, 0, 0);
	int			n_keys = 0;
	int			n_tensors = 0;
	uint64_t	offset = 0;
	uint32_t	state = 7;

	small_keys(&b, m, &n_keys);
	for (int i = 0; i < N_SMALL + (m->extra != NULL); i++)
	{
		SmallTensor t = i < N_SMALL ? small_tensors[i] : (SmallTensor) {m->extra, 1, {HIDDEN}};

		if ((!m->has_head && i >= N_SMALL - N_SMALL_HEAD && i < N_SMALL) || (m->omit != NULL && strcmp(t.name, m->omit) == 0))
			continue;
		if (m->labels > 1 && strcmp(t.name, "cls.output.weight") == 0)
			t = (SmallTensor) {t.name, 2, {HIDDEN, m->labels}};
		gguf_tensor(&b, t.name, t.rank, t.dims, 0, offset);
		offset += (t.dims[0] * (t.rank > 1 ? t.dims[1] : 1) * 4 + 31) / 32 * 32;
		n_tensors++;
	}
	b.data[8] = (uint8_t) n_tensors;
	b.data[16] = (uint8_t) n_keys;
	gguf_data(&b, 32, 0);
	for (uint64_t at = 0; at < offset; at += 4)
	{
		float		x;

		state = state * 1664525 + 1013904223;
		x = (float) ((int) (state >> 25) - 64) / 64.0f;
		put_bytes(&b, &x, 4);
	}
	return b;
}

static EmbStatus
import_small(const Small *m, Noted *noted, EmbError *err)
{
	const char *dir = fresh_dir();
	char		path[PATH_MAX];
	Buf			b = small_gguf(m);
	EmbStatus	status;

	write_file(dir, "a.gguf", b.data, b.size);
	free(b.data);
	snprintf(path, sizeof(path), "%s/a.gguf", dir);
	status = import_noted(path, "fp32", 0, noted, err);
	free(noted->image.data);
	noted->image.data = NULL;
	return status;
}

typedef struct Refused
{
	const char *what;
	Small		small;
	EmbStatus	status;
	const char *message;
	const char *note;
} Refused;

static const Refused refused[] = {
	{"good", {0}, EMB_OK, NULL, "lowercased"},
	{"a reranker", {.has_head = true}, EMB_OK, NULL, NULL},
	{"no pooling", {.pooling = 1}, EMB_OK, NULL, "names no pooling"},
	{"pooling left out", {.omit_key = "bert.pooling_type"}, EMB_OK, NULL, "names no pooling"},
	{"last row", {.pooling = 4}, EMB_OK, NULL, NULL},
	{"pooling 7", {.pooling = 8}, EMB_ERR_FORMAT, "is 7", NULL},
	{"a reranker without its pooler", {.has_head = true, .omit = "cls.weight"}, EMB_ERR_UNSUPPORTED, "pooler was dropped", NULL},
	{"the same that does not say so", {.has_head = true, .omit = "cls.weight", .pooling = 3}, EMB_ERR_UNSUPPORTED, "pooler was dropped", NULL},
	{"half a head", {.has_head = true, .omit = "cls.output.weight", .pooling = 3}, EMB_ERR_UNSUPPORTED, "no \"cls.output.weight\"", NULL},
	{"a reranker without a head", {.pooling = 5}, EMB_ERR_UNSUPPORTED, "without a tensor \"cls.output.weight\"", NULL},
	{"two labels", {.has_head = true, .labels = 2}, EMB_ERR_UNSUPPORTED, "2 labels", NULL},
	{"no architecture", {.omit_key = "general.architecture"}, EMB_ERR_FORMAT, "general.architecture", NULL},
	{"another architecture", {.string_key = "general.architecture", .string = "gemma-embedding"}, EMB_ERR_UNSUPPORTED, "gemma-embedding", NULL},
	{"a hostile architecture", {.string_key = "general.architecture", .string = "%s%n\n\x1B[2J"}, EMB_ERR_UNSUPPORTED, "%s%n", NULL},
	{"an architecture of bytes", {.string_key = "general.architecture", .string = "\xC3("}, EMB_ERR_FORMAT, "not UTF-8", NULL},
	{"an adapter", {.string_key = "general.type", .string = "adapter"}, EMB_ERR_UNSUPPORTED, "adapter", NULL},
	{"another tokenizer", {.string_key = "tokenizer.ggml.model", .string = "llama"}, EMB_ERR_UNSUPPORTED, "llama", NULL},
	{"a tokenizer without scores", {.string_key = "tokenizer.ggml.model", .string = "t5"}, EMB_ERR_FORMAT, "tokenizer.ggml.scores", NULL},
	{"a tokenizer without a pattern", {.string_key = "tokenizer.ggml.model", .string = "gpt2"}, EMB_ERR_UNSUPPORTED, "tokenizer.ggml.pre", NULL},
	{"no blocks", {.omit_key = "bert.block_count"}, EMB_ERR_FORMAT, "bert.block_count", NULL},
	{"no heads", {.omit_key = "bert.attention.head_count"}, EMB_ERR_FORMAT, "bert.attention.head_count", NULL},
	{"an absent block", {.blocks = 2}, EMB_OK, NULL, "last 1 blocks"},
	{"257 blocks", {.blocks = 257}, EMB_ERR_FORMAT, "is 257", NULL},
	{"key heads", {.key = "bert.attention.head_count_kv", .value = 1}, EMB_ERR_FORMAT, "require [6, 4]", NULL},
	{"a causal encoder", {.key = "bert.attention.causal", .value = 1}, EMB_ERR_FORMAT, "not a bool", NULL},
	{"another activation", {.string_key = "bert.hidden_activation", .string = "mish"}, EMB_ERR_UNSUPPORTED, "mish", NULL},
	{"a known activation", {.string_key = "bert.hidden_activation", .string = "relu"}, EMB_OK, NULL, NULL},
	{"an id beyond the tokens", {.key = "tokenizer.ggml.cls_token_id", .value = TOKENS}, EMB_ERR_FORMAT, "is 10, outside", NULL},
	{"a missing weight", {.omit = "blk.0.ffn_up.weight"}, EMB_ERR_NOT_FOUND, "blk.0.ffn_up.weight", NULL},
	{"a missing bias", {.omit = "blk.0.ffn_up.bias"}, EMB_ERR_NOT_FOUND, "blk.0.ffn_up.bias", NULL},
	{"no words", {.omit = "token_embd.weight"}, EMB_ERR_NOT_FOUND, "token_embd.weight", NULL},
	{"no positions", {.omit = "position_embd.weight"}, EMB_ERR_NOT_FOUND, "position_embd.weight", NULL},
	{"no token types", {.omit = "token_types.weight"}, EMB_OK, NULL, NULL},
	{"an unknown tensor", {.extra = "dense_2.weight"}, EMB_ERR_UNSUPPORTED, "dense_2.weight", NULL},
	{"an unknown tensor of a layer", {.extra = "blk.0.attn_q_norm.weight"}, EMB_ERR_UNSUPPORTED, "attn_q_norm", NULL},
	{"an unknown bias", {.extra = "token_types.bias"}, EMB_ERR_UNSUPPORTED, "token_types.bias", NULL},
	{"a layer that is not counted", {.extra = "blk.1.attn_output.bias"}, EMB_ERR_UNSUPPORTED, "blk.1.", NULL},
	{"a layer that is no number", {.extra = "blk.x.attn_output.bias"}, EMB_ERR_UNSUPPORTED, "blk.x", NULL},
	{"a layer of a large number", {.extra = "blk.99999999999999999999.a"}, EMB_ERR_UNSUPPORTED, "blk.9999", NULL},
};

static void
test_refused(void)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
	{
		const Refused *r = &refused[i];
		Noted		noted;
		EmbError	err;
		EmbStatus	status = import_small(&r->small, &noted, &err);

		CHECKF(status == r->status && (r->message == NULL || strstr(err.message, r->message) != NULL), "%s: %d %s", r->what, status, err.message);
		CHECKF(r->note == NULL || strstr(noted.notes, r->note) != NULL, "%s: %s", r->what, noted.notes);
	}
}

/* Tokens of rewritten pieces. */
static void
test_small_tokens(void)
{
	static const int32_t want[] = {2, 4, 5, 6, 7, 8, 1, 3};
	const char *dir = fresh_dir();
	Buf			b = small_gguf(&(Small) {0});
	char		path[PATH_MAX];
	int32_t		ids[512];
	float		out[64] = {0};
	Noted		noted;
	EmbError	err;
	EmbModel   *model;

	write_file(dir, "a.gguf", b.data, b.size);
	free(b.data);
	snprintf(path, sizeof(path), "%s/a.gguf", dir);
	CHECKF(import_noted(path, "fp32", 0, &noted, &err) == EMB_OK, "%s", err.message);
	model = open_image(&noted.image);
	CHECK(compute(model, "\xC3\x81" "b Words. x", false, ids, out) == 8 && memcmp(ids, want, sizeof(want)) == 0);
	CHECK(fabsf(out[0] * out[0] + out[1] * out[1] + out[2] * out[2] + out[3] * out[3] - 1) < 1e-6f);
	emb_model_close(model);
	free(noted.image.data);
}

/* ------------------------------------------------------------------- cuts */

/* Each cut of a whole model's file is an error, and leaks nothing. */
static void
test_truncation(void)
{
	const char *dir = fresh_dir();
	Buf			b = small_gguf(&(Small) {.has_head = true});
	size_t		end = b.size - 28;	/* the last tensor has 4 bytes of the last 32 */
	char		path[PATH_MAX];
	int			n_bad = 0;
	size_t		at = 0;
	Noted		noted;
	EmbError	err;

	snprintf(path, sizeof(path), "%s/a.gguf", dir);
	for (size_t n = 0; n < end; n++)
	{
		write_file(dir, "a.gguf", b.data, n);
		if (import_noted(path, "fp32", 0, &noted, &err) != EMB_ERR_FORMAT || err.hint[0] == '\0')
		{
			n_bad++;
			at = n;
		}
		free(noted.image.data);
	}
	CHECKF(n_bad == 0, "%d of %zu cuts are taken, one at byte %zu: %s", n_bad, end, at, err.message);
	write_file(dir, "a.gguf", b.data, end);
	CHECKF(import_noted(path, "fp32", 0, &noted, &err) == EMB_OK, "%s", err.message);
	free(noted.image.data);
	free(b.data);
}

/* Each byte before the data changed in turn: an image, or an error with a message. */
static void
test_changed_bytes(void)
{
	static const uint8_t flips[] = {0x01, 0x80, 0xFF};
	const char *dir = fresh_dir();
	Buf			b = small_gguf(&(Small) {0});
	char		path[PATH_MAX];
	int			n_bad = 0;
	int			n_taken = 0;
	Noted		noted;
	EmbError	err;

	snprintf(path, sizeof(path), "%s/a.gguf", dir);
	for (size_t at = 0; at < b.size; at += at < 4096 ? 1 : 97)
	{
		for (size_t i = 0; i < sizeof(flips); i++)
		{
			EmbStatus	status;

			b.data[at] ^= flips[i];
			write_file(dir, "a.gguf", b.data, b.size);
			status = import_noted(path, "fp32", 0, &noted, &err);
			b.data[at] ^= flips[i];
			n_taken += status == EMB_OK;
			n_bad += status == EMB_ERR_INTERNAL || (status != EMB_OK && err.message[0] == '\0');
			free(noted.image.data);
		}
	}
	CHECKF(n_bad == 0 && n_taken > 0, "%d bad, %d images", n_bad, n_taken);
	free(b.data);
}

/* ------------------------------------------------------------ directories */

static void
test_directories(void)
{
	const char *dir = fresh_dir();
	Buf			b = small_gguf(&(Small) {0});
	char		sub[PATH_MAX];
	Noted		noted;
	EmbError	err;

	write_file(dir, "model-Q8_0.gguf", b.data, b.size);
	write_text(dir, "README.md", "a model");
	CHECKF(import_noted(dir, "fp32", 0, &noted, &err) == EMB_OK, "%s", err.message);
	free(noted.image.data);
	write_file(dir, "model-F16.gguf", b.data, b.size);
	CHECKF(import_noted(dir, "fp32", 0, &noted, &err) == EMB_ERR_UNSUPPORTED && strstr(err.message, "\"model-F16.gguf\" and \"model-Q8_0.gguf\"") != NULL &&
		   strstr(err.hint, "path") != NULL, "%s", err.message);
	snprintf(sub, sizeof(sub), "%s/model-Q8_0.gguf", dir);
	CHECKF(import_noted(sub, "fp32", 0, &noted, &err) == EMB_OK, "%s", err.message);
	free(noted.image.data);
	/* a file without its ending */
	snprintf(sub, sizeof(sub), "%s/sha256-1234", dir);
	write_file(dir, "sha256-1234", b.data, b.size);
	CHECKF(import_noted(sub, "fp32", 0, &noted, &err) == EMB_OK, "%s", err.message);
	free(noted.image.data);
	/* weights of the hub go first, even if they are one directory below */
	dir = fresh_dir();
	write_file(dir, "a.gguf", b.data, b.size);
	snprintf(sub, sizeof(sub), "%s/0_Transformer", dir);
	mkdir(sub, 0700);
	write_text(sub, "model.safetensors", "x");
	CHECKF(import_noted(dir, "fp32", 0, &noted, &err) == EMB_ERR_NOT_FOUND && strstr(err.message, "a.gguf") != NULL && strstr(err.hint, "path of the GGUF file") != NULL,
		   "%s", err.message);
	write_text(dir, "model.safetensors", "x");
	CHECKF(import_noted(dir, "fp32", 0, &noted, &err) != EMB_OK && strstr(err.message, "config.json") != NULL, "%s", err.message);
	free(b.data);
}

/* All shards in a directory are one model. */
static void
test_shard_directory(void)
{
	const char *dir = fresh_dir();
	char		from[PATH_MAX];
	Noted		noted;
	EmbError	err;

	snprintf(from, sizeof(from), "%s/gguf", data_dir());
	for (int i = 1; i <= 3; i++)
	{
		char		name[64];
		size_t		size = 0;
		char	   *data;

		snprintf(name, sizeof(name), "bge-m3-Q8_0-%05d-of-00003.gguf", i);
		data = read_file(from, name, &size);
		write_file(dir, name, data, size);
		free(data);
	}
	CHECKF(import_noted(dir, "fp32", 0, &noted, &err) == EMB_OK, "%s", err.message);
	free(noted.image.data);
}

/* ---------------------------------------------------------------- prompts */

typedef struct Named
{
	const char *dir;
	const char *file;
	const char *own;			/* "general.name" */
	const char *note;			/* NULL: no prompts */
} Named;

static const Named nameds[] = {
	{"x", "bge-small-en-v1.5-q8_0.gguf", NULL, "prompts of bge-small-en-v1.5"},
	{"x", "e5-small-v2.Q4_K_M.gguf", NULL, "\"query: \" before queries, \"passage: \" before documents"},
	{"e5-small-v2-GGUF", "model-f16.gguf", NULL, "prompts of e5-small-v2"},
	{"x", "model.gguf", "E5 Small v2", "prompts of E5-Small-v2"},
	{"x", "my-e5-small-v2-IQ4_XS.gguf", "Mine", NULL},
	{"x", "bge-m3-Q8_0.gguf", NULL, NULL},
};

static void
test_prompts(void)
{
	for (size_t i = 0; i < sizeof(nameds) / sizeof(nameds[0]); i++)
	{
		const Named *n = &nameds[i];
		const Small small = {.string_key = n->own != NULL ? "general.name" : NULL, .string = n->own};
		char		dir[PATH_MAX / 2];
		char		path[PATH_MAX];
		Buf			b = small_gguf(&small);
		Noted		noted;
		EmbError	err;

		snprintf(dir, sizeof(dir), "%s/%s", fresh_dir(), n->dir);
		mkdir(dir, 0700);
		write_file(dir, n->file, b.data, b.size);
		free(b.data);
		snprintf(path, sizeof(path), "%s/%s", dir, n->file);
		CHECKF(import_noted(path, "fp32", 16, &noted, &err) == EMB_OK || strstr(err.message, "leaves no room") != NULL, "%s: %s", n->file, err.message);
		CHECKF(n->note != NULL ? strstr(noted.notes, n->note) != NULL : strstr(noted.notes, "prompts") == NULL, "%s: %s", n->file, noted.notes);
		free(noted.image.data);
	}
}

/* --------------------------------------------------------------- decoders */

typedef struct Decoder
{
	const char *name;			/* of a directory with model/ and, in gguf/, the file */
	const char *file;
	const char *kind;			/* option, or NULL */
	double		max_error;		/* of an element, relative to the largest of its row; 0: same bits */
} Decoder;

/* As goldens/tiny has them; the file of qwen3-rerank-gguf-rank is that of qwen3-rerank's model. */
static const Decoder decoders[] = {
	{"qwen3-rerank", "qwen3-rerank-F32", NULL, 0},
	{"qwen3-rerank", "qwen3-rerank-Q8_0", NULL, 0.006},
	{"qwen3-rerank", "qwen3-rerank-Q4_0", NULL, 0.13},
	{"qwen3-rerank-untied", "qwen3-rerank-untied-F32", NULL, 0},
	{"qwen3-rerank-untied", "qwen3-rerank-untied-Q8_0", NULL, 0.006},
	{"qwen3-rerank-k", "qwen3-rerank-k-F16", NULL, 0.0005},
	{"qwen3-rerank-k", "qwen3-rerank-k-Q8_0", NULL, 0.006},
	{"qwen3-rerank-k", "qwen3-rerank-k-Q4_K_M", NULL, 0.13},
	{"qwen3-embed-k", "qwen3-embed-k-F16", NULL, 0.0005},
	{"qwen3-embed-k", "qwen3-embed-k-Q8_0", NULL, 0.006},
	{"qwen3-embed-k", "qwen3-embed-k-Q4_K_M", NULL, 0.13},
};

typedef struct Shape
{
	EmbTensorKey key;
	int32_t		n_rows;
	int32_t		n_cols;
} Shape;

/* Every tensor of a decoder of this architecture. */
static int
list_tensors(const EmbArch *a, Shape *list)
{
	int			n = 0;
	int32_t		n_query = a->n_heads * a->head_size;
	int32_t		n_key = a->n_kv_heads * a->head_size;

	list[n++] = (Shape) {{EMB_NO_LAYER, EMB_PART_WORDS, EMB_TENSOR_TABLE}, a->n_vocab, a->hidden};
	list[n++] = (Shape) {{EMB_NO_LAYER, EMB_PART_FINAL_NORM, EMB_TENSOR_GAMMA}, 1, a->hidden};
	if (a->head == EMB_HEAD_ANSWER)
		list[n++] = (Shape) {{EMB_NO_LAYER, EMB_PART_ANSWERS, EMB_TENSOR_WEIGHT}, a->n_labels, a->hidden};
	for (int32_t layer = 0; layer < a->n_layers; layer++)
	{
		const Shape of_layer[] = {
			{{layer, EMB_PART_ATTN_NORM, EMB_TENSOR_GAMMA}, 1, a->hidden},
			{{layer, EMB_PART_QUERY, EMB_TENSOR_WEIGHT}, n_query, a->hidden},
			{{layer, EMB_PART_KEY, EMB_TENSOR_WEIGHT}, n_key, a->hidden},
			{{layer, EMB_PART_VALUE, EMB_TENSOR_WEIGHT}, n_key, a->hidden},
			{{layer, EMB_PART_VALUE, EMB_TENSOR_BIAS}, 1, n_key},
			{{layer, EMB_PART_QUERY_NORM, EMB_TENSOR_GAMMA}, 1, a->head_size},
			{{layer, EMB_PART_KEY_NORM, EMB_TENSOR_GAMMA}, 1, a->head_size},
			{{layer, EMB_PART_ATTN_OUT, EMB_TENSOR_WEIGHT}, a->hidden, n_query},
			{{layer, EMB_PART_FFN_NORM, EMB_TENSOR_GAMMA}, 1, a->hidden},
			{{layer, EMB_PART_FFN_GATE, EMB_TENSOR_WEIGHT}, a->intermediate, a->hidden},
			{{layer, EMB_PART_FFN_UP, EMB_TENSOR_WEIGHT}, a->intermediate, a->hidden},
			{{layer, EMB_PART_FFN_DOWN, EMB_TENSOR_WEIGHT}, a->hidden, a->intermediate},
		};

		memcpy(&list[n], of_layer, sizeof(of_layer));
		n += (int) (sizeof(of_layer) / sizeof(of_layer[0]));
	}
	return n;
}

/* The largest error of an element relative to its row's largest; INFINITY where a tensor cannot be read. */
static double
tensor_error(const EmbCheckpoint *x, const EmbCheckpoint *y, const Shape *s, EmbError *err)
{
	size_t		n = (size_t) s->n_rows * (size_t) s->n_cols;
	float	   *a = calloc(n, sizeof(float));
	float	   *b = calloc(n, sizeof(float));
	double		worst = 0;

	if (emb_checkpoint_check(x, s->key, s->n_rows, s->n_cols, err) != EMB_OK || emb_checkpoint_check(y, s->key, s->n_rows, s->n_cols, err) != EMB_OK ||
		emb_checkpoint_read(x, s->key, 0, s->n_rows, s->n_cols, a, err) != EMB_OK || emb_checkpoint_read(y, s->key, 0, s->n_rows, s->n_cols, b, err) != EMB_OK)
		worst = INFINITY;
	for (int32_t row = 0; row < s->n_rows && worst < INFINITY; row++)
	{
		double		largest = 1e-30;
		double		error = 0;

		for (int32_t i = 0; i < s->n_cols; i++)
		{
			largest = fmax(largest, fabs(a[row * s->n_cols + i]));
			error = fmax(error, fabs((double) a[row * s->n_cols + i] - b[row * s->n_cols + i]));
		}
		worst = fmax(worst, error / largest);
	}
	free(a);
	free(b);
	return worst;
}

/* The ids of texts that two tokenizers give. */
static bool
same_ids(const EmbTokSpec *x, const EmbTokSpec *y)
{
	static const char *const more[] = {
		"<|im_start|>system\nJudge \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n<Instruct>: I\n<Query>: q\n<Document>: d<|im_end|>",
		"<think>\n\n</think>\n\n yes no <|endoftext|>\xCC\x81 e\xCC\x81", "  1234 'S 've\r\n\n  x\xE3\x80\x80", "yes", "no"
	};
	EmbAllocator mem = emb_malloc_allocator();
	const EmbTokSpec *specs[2] = {x, y};
	EmbTokenizer *tok[2] = {NULL, NULL};
	void	   *block[2] = {NULL, NULL};
	bool		same = true;
	EmbError	err;

	for (int i = 0; i < 2 && same; i++)
	{
		size_t		size;

		same = emb_tok_build(specs[i], &mem, &block[i], &size, &err) == EMB_OK && emb_tok_open(block[i], size, true, &mem, &tok[i], &err) == EMB_OK;
	}
	for (size_t k = 0; k < N_TEXTS + sizeof(more) / sizeof(more[0]) && same; k++)
	{
		const char *s = k < N_TEXTS ? texts[k] : more[k - N_TEXTS];
		EmbText		text = {s, strlen(s), true, NULL};
		int32_t		ids[2][512];
		EmbTokResult r[2];

		for (int i = 0; i < 2; i++)
		{
			EmbReading	to = {.ids = ids[i], .max_ids = 512, .mem = &mem};

			same &= emb_tok_encode(tok[i], &text, &to, &r[i], &err) == EMB_OK;
		}
		same = same && r[0].n_ids == r[1].n_ids && memcmp(ids[0], ids[1], (size_t) r[0].n_ids * sizeof(int32_t)) == 0;
	}
	for (int i = 0; i < 2; i++)
	{
		if (tok[i] != NULL)
			emb_tok_close(tok[i]);
		emb_release(&mem, block[i]);
	}
	return same;
}

/* Answers are words to look up, as in the directory; the tensor's rows are then those of their ids. */
static void
set_answers(EmbCheckpoint *c)
{
	for (int i = 0; i < 2 && c->answers[i] != NULL; i++)
	{
		for (int32_t id = 0; id < c->tokenizer.n_vocab; id++)
		{
			const EmbTokPiece *piece = &c->tokenizer.pieces[id];

			if (piece->len == strlen(c->answers[i]) && memcmp(piece->text, c->answers[i], piece->len) == 0)
				c->answer_ids[i] = id;
		}
	}
}

static void
compare_checkpoints(const char *dir, const char *file, const char *kind, double max_error)
{
	/* the directory is named "model", the file by what it is */
	const EmbCheckpointOptions by_kind = {.kind = strstr(dir, "rerank") != NULL ? "reranker" : NULL};
	const EmbCheckpointOptions options = {.kind = kind};
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbCheckpoint x;
	EmbCheckpoint y;
	EmbError	err;
	Shape		list[256];
	double		worst = 0;
	bool		answers = true;
	int			n;

	memset(&err, 0, sizeof(err));
	if (!CHECKF(emb_checkpoint_open_dir(dir, &by_kind, &mem, NULL, &x, &err) == EMB_OK, "%s: %s", dir, err.message))
		return;
	if (!CHECKF(emb_checkpoint_open_gguf(file, &options, &mem, NULL, &y, &err) == EMB_OK, "%s: %s", file, err.message))
	{
		emb_checkpoint_close(&x);
		return;
	}
	CHECKF(memcmp(&x.arch, &y.arch, sizeof(x.arch)) == 0, "%s: architectures differ", file);
	CHECKF(x.max_tokens == y.max_tokens || y.max_tokens == 4096, "%s: %d and %d tokens", file, x.max_tokens, y.max_tokens);
	for (int i = 0; i < EMB_TEMPLATE_TEXTS && x.arch.head == EMB_HEAD_ANSWER; i++)
		answers &= strcmp(x.pair_template.texts[i], y.pair_template.texts[i]) == 0;
	CHECKF(answers, "%s: templates differ", file);
	CHECKF(same_ids(&x.tokenizer, &y.tokenizer), "%s: ids differ", file);
	set_answers(&x);
	set_answers(&y);
	n = list_tensors(&x.arch, list);
	for (int i = 0; i < n; i++)
		worst = fmax(worst, tensor_error(&x, &y, &list[i], &err));
	CHECKF(max_error == 0 ? worst == 0 : worst > 0 && worst <= max_error, "%s: %d tensors, error %g %s", file, n, worst, err.message);
	emb_checkpoint_close(&x);
	emb_checkpoint_close(&y);
	CHECKF(count.n_live == 0, "%s: %ld blocks leaked", file, count.n_live);
}

static void
test_decoders(void)
{
	char		dir[PATH_MAX / 2];
	char		file[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/tiny/qwen3-rerank/model", data_dir());
	snprintf(file, sizeof(file), "%s/gguf/qwen3-rerank-gguf-rank-Q8_0.gguf", data_dir());
	compare_checkpoints(dir, file, NULL, 0.006);
	snprintf(file, sizeof(file), "%s/gguf/qwen3-rerank-Q4_0.gguf", data_dir());
	compare_checkpoints(dir, file, "reranker", 0.13);
	if (shared_dir() == NULL)
	{
		skip("no reference data: GGUF files of decoders");
		return;
	}
	for (size_t i = 0; i < sizeof(decoders) / sizeof(decoders[0]); i++)
	{
		const Decoder *d = &decoders[i];

		snprintf(dir, sizeof(dir), "%s/goldens/tiny/%s/model", shared_dir(), d->name);
		snprintf(file, sizeof(file), "%s/goldens/tiny/%s/gguf/%s.gguf", shared_dir(), d->name, d->file);
		compare_checkpoints(dir, file, d->kind, d->max_error);
	}
}

/* ------------------------------------------------------------------ codes */

/* Whether (code - zero) * scale is each value of the weight, bit by bit, read a few rows at a time. */
static bool
same_as_codes(const EmbCheckpoint *c, const Shape *s, const EmbCodes *how, EmbError *err)
{
	size_t		n = (size_t) s->n_rows * (size_t) s->n_cols;
	float	   *values = calloc(n, sizeof(float));
	uint8_t    *q = calloc(n, 1);
	float	   *scales = calloc(n, sizeof(float));
	uint8_t    *zeros = calloc(n, 1);
	bool		same = emb_checkpoint_read(c, s->key, 0, s->n_rows, s->n_cols, values, err) == EMB_OK;

	for (int32_t row = 0; same && row < s->n_rows; row += 7)
	{
		int32_t		k = s->n_rows - row < 7 ? s->n_rows - row : 7;

		same = emb_checkpoint_read_codes(c, s->key, row, k, s->n_cols, q, scales, zeros, err) == EMB_OK;
		for (int32_t i = 0; same && i < k * s->n_cols; i++)
		{
			int32_t		at = i % s->n_cols / how->group * k + i / s->n_cols;
			float		value = (float) (q[i] - zeros[at]) * scales[at];

			same = zeros[at] == how->zero && q[i] >> how->bits == 0 && memcmp(&value, &values[(size_t) row * (size_t) s->n_cols + (size_t) i], 4) == 0;
		}
	}
	free(values);
	free(q);
	free(scales);
	free(zeros);
	return same;
}

/* Q4_0 and Q8_0 files have their weights as codes, other types say why not. */
static void
check_codes(const char *file, int32_t bits, int32_t zero, const char *reason)
{
	const EmbCheckpointOptions options = {.kind = strstr(file, "qwen3") != NULL ? "reranker" : NULL};
	EmbAllocator mem = emb_malloc_allocator();
	EmbCheckpoint c;
	EmbError	err = {0};
	EmbCodes	how;
	Shape		list[256];
	char		path[PATH_MAX];
	int			n_codes = 0;
	int			n;

	snprintf(path, sizeof(path), "%s/gguf/%s", data_dir(), file);
	if (!CHECKF(emb_checkpoint_open_gguf(path, &options, &mem, NULL, &c, &err) == EMB_OK, "%s: %s", file, err.message))
		return;
	n = list_tensors(&c.arch, list);
	for (int i = 0; i < n; i++)
	{
		const Shape *s = &list[i];

		if (s->key.kind != EMB_TENSOR_WEIGHT || s->key.part == EMB_PART_ANSWERS)
			continue;
		if (!CHECKF(emb_checkpoint_check(&c, s->key, s->n_rows, s->n_cols, &err) == EMB_OK &&
					emb_checkpoint_codes(&c, s->key, s->n_rows, s->n_cols, &how, &err) == EMB_OK, "%s: %s", file, err.message))
			break;
		n_codes += how.bits != 0;
		if (how.bits == 0)
			CHECKF(reason != NULL && how.reason != NULL && strcmp(how.reason, reason) == 0, "%s: %s", file, how.reason);
		else
			CHECKF(how.bits == bits && how.zero == zero && how.group == 32 && how.n_groups * 32 == s->n_cols && !how.has_order &&
				   same_as_codes(&c, s, &how, &err), "%s: part %d of layer %d: %s", file, s->key.part, s->key.layer, err.message);
	}
	CHECKF(bits == 0 ? n_codes == 0 : n_codes == 14, "%s: %d weights with codes", file, n_codes);
	emb_checkpoint_close(&c);
}

static void
test_codes(void)
{
	check_codes("qwen3-rerank-Q4_0.gguf", 4, 8, NULL);
	check_codes("qwen3-rerank-gguf-rank-Q8_0.gguf", 8, 128, NULL);
}

static int
compare_floats(const void *a, const void *b)
{
	float		x = *(const float *) a;
	float		y = *(const float *) b;

	return (x > y) - (x < y);
}

/* Whether an int4 image has the scales of a weight, in whatever order. */
static bool
has_scales(const EmbImageView *view, const EmbCheckpoint *c, const Shape *s)
{
	const EmbImageTensor *t = emb_image_find(view, s->key.layer, s->key.part, EMB_TENSOR_GROUP_SCALE);
	size_t		n = (size_t) s->n_rows * (size_t) s->n_cols / 32;
	uint8_t    *q = calloc(n, 32);
	uint8_t    *zeros = calloc(n, 1);
	float	   *file = calloc(n, sizeof(float));
	float	   *image = calloc(n, sizeof(float));
	EmbError	err;
	bool		same = t != NULL && t->form == EMB_FORM_GROUPS_F16 && (size_t) t->n_rows * t->n_cols == n &&
		emb_checkpoint_read_codes(c, s->key, 0, s->n_rows, s->n_cols, q, file, zeros, &err) == EMB_OK;

	if (same)
	{
		for (size_t i = 0; i < n; i++)
			image[i] = emb_scale_at(view->base + t->offset, EMB_SCALE_F16, i);
	}
	qsort(file, n, sizeof(float), compare_floats);
	qsort(image, n, sizeof(float), compare_floats);
	same = same && memcmp(file, image, n * sizeof(float)) == 0;
	free(q);
	free(zeros);
	free(file);
	free(image);
	return same;
}

/* An int4 image of a Q4_0 file has the file's weights: groups of 32, the same scales, and a NOTICE that says so. */
static void
test_kept_codes(void)
{
	const EmbCheckpointOptions options = {.kind = "reranker"};
	EmbImportOptions import = {.precision = "int4", .kind = "reranker"};
	EmbAllocator mem = emb_malloc_allocator();
	EmbSink		sink = {.write = write_noted, .note = keep_note};
	Noted		noted = {0};
	char		path[PATH_MAX];
	EmbImageView view;
	EmbCheckpoint c;
	EmbError	err = {0};
	Shape		list[256];
	int			n_found = 0;
	int			n;

	sink.ctx = &noted;
	snprintf(path, sizeof(path), "%s/gguf/qwen3-rerank-Q4_0.gguf", data_dir());
	if (!CHECKF(emb_import_dir(path, &import, &mem, NULL, &sink, &err) == EMB_OK && emb_image_view(noted.image.data, noted.image.size_bytes, &view, &err) == EMB_OK,
				"%s", err.message) ||
		!CHECKF(emb_checkpoint_open_gguf(path, &options, &mem, NULL, &c, &err) == EMB_OK, "%s", err.message))
		return;
	CHECKF(strstr(noted.notes, "keeps its codes") != NULL, "%s", noted.notes);
	n = list_tensors(&c.arch, list);
	for (int i = 0; i < n; i++)
	{
		if (list[i].key.kind == EMB_TENSOR_WEIGHT && list[i].key.part >= EMB_PART_QUERY && list[i].key.part <= EMB_PART_ATTN_OUT)
		{
			n_found++;
			CHECKF(has_scales(&view, &c, &list[i]), "part %d of layer %d", list[i].key.part, list[i].key.layer);
		}
	}
	CHECKF(n_found == 8, "%d", n_found);
	emb_checkpoint_close(&c);
	free(noted.image.data);
}

/* ------------------------------------------------------ decoders' outputs */

/* The floats of a .npy file, version 1. */
static const float *
load_floats(const char *path, char **file, size_t *n)
{
	size_t		size = 0;
	size_t		start;

	*file = read_file("/", path, &size);
	if (*file == NULL || size < 10 || memcmp(*file, "\x93NUMPY\x01", 7) != 0)
		return NULL;
	start = 10 + (uint8_t) (*file)[8] + 256 * (size_t) (uint8_t) (*file)[9];
	*n = (size - start) / sizeof(float);
	return (const float *) (*file + start);
}

/*
 * One input of a golden: ids as the model reads them, and its outputs, width
 * floats. A reranker's reference has the logits of "no" and "yes".
 */
static float
output_error(const EmbModel *model, const json_t *row, const float *want, int width, bool is_reranker)
{
	static int32_t ids[4096];
	static int32_t own[4096];
	const json_t *list = json_object_get(row, "ids");
	const char *instruction = json_string_value(json_object_get(row, "instruct"));
	const char *q = json_string_value(json_object_get(row, "query"));
	const char *d = json_string_value(json_object_get(row, is_reranker ? "doc" : "text"));
	EmbAllocator mem = emb_malloc_allocator();
	EmbRun		run = {.mem = &mem};
	EmbReading	to = {.ids = own, .max_ids = 4096, .mem = &mem, .instruction = instruction, .instruction_bytes = instruction != NULL ? strlen(instruction) : 0};
	EmbEncoded	r = {0};
	EmbSequence seq = {.ids = ids, .n_ids = (int32_t) json_array_size(list)};
	float		out[512];
	float		worst = 0;
	EmbError	err;
	EmbStatus	status;

	for (int32_t i = 0; i < seq.n_ids; i++)
		ids[i] = (int32_t) json_integer_value(json_array_get(list, (size_t) i));
	if (is_reranker)
	{
		EmbText		a = {q, strlen(q), true, NULL};
		EmbText		b = {d, strlen(d), true, NULL};

		status = emb_model_encode_pair(model, &a, &b, &to, &r, &err);
	}
	else
	{
		EmbText		a = {d, strlen(d), true, NULL};

		status = emb_model_encode(model, EMB_PROMPT_NONE, &a, &to, &r, &err);
	}
	CHECKF(status == EMB_OK && r.n_ids == seq.n_ids && memcmp(ids, own, (size_t) r.n_ids * sizeof(int32_t)) == 0, "%d ids of %d: %s", r.n_ids, seq.n_ids,
		   status != EMB_OK ? err.message : "");
	status = is_reranker ? emb_model_rerank(model, &seq, 1, &run, out, &err) : emb_model_embed(model, &seq, 1, &run, out, &err);
	if (!CHECKF(status == EMB_OK, "%s", err.message))
		return INFINITY;
	if (is_reranker)
		return fabsf(out[0] - (want[1] - want[0]));
	for (int i = 0; i < width; i++)
		worst = fmaxf(worst, fabsf(out[i] - want[i]));
	return worst;
}

static void
check_outputs(const char *file, const char *inputs, const char *npy, bool is_reranker, float max_difference)
{
	EmbImportOptions options = {.precision = "fp32"};
	EmbAllocator mem = emb_malloc_allocator();
	Image		image;
	EmbError	err = {0};
	size_t		size = 0;
	size_t		n = 0;
	char	   *lines = read_file("/", inputs, &size);
	char	   *npy_file = NULL;
	const float *want = load_floats(npy, &npy_file, &n);
	EmbModel   *model;
	float		worst = 0;
	int			n_rows = 0;
	int			width;

	if (!CHECKF(lines != NULL && want != NULL, "%s, %s", inputs, npy) ||
		!CHECKF(import_image(file, &options, &mem, &image, &err) == EMB_OK, "%s: %s", file, err.message))
		return;
	for (const char *p = lines; *p != '\0'; p++)
		n_rows += *p == '\n';
	width = (int) (n / (size_t) n_rows);
	model = open_image(&image);
	n_rows = 0;
	for (char *line = strtok(lines, "\n"); line != NULL; line = strtok(NULL, "\n"))
	{
		json_t	   *row = json_loads(line, 0, NULL);

		worst = fmaxf(worst, output_error(model, row, want + (size_t) n_rows++ * (size_t) width, width, is_reranker));
		json_decref(row);
	}
	CHECKF(n_rows > 0 && worst <= max_difference, "%s: %d inputs, difference %g", file, n_rows, (double) worst);
	printf("# %s: %d inputs, difference %g\n", strrchr(file, '/') + 1, n_rows, (double) worst);
	emb_model_close(model);
	free(image.data);
	free(lines);
	free(npy_file);
}

/* Largest differences that the references' README allows: vectors 2e-6, logits 5e-5. */
static void
test_decoder_outputs(void)
{
	static const char *const own[] = {"qwen3-rerank-gguf-rank-Q8_0", "qwen3-rerank-Q4_0"};
	char		file[PATH_MAX];
	char		inputs[PATH_MAX];
	char		npy[PATH_MAX];
	char		cwd[PATH_MAX / 2] = "";

	if (data_dir()[0] != '/' && getcwd(cwd, sizeof(cwd) - 1) != NULL)
		strcat(cwd, "/");
	for (size_t i = 0; i < 2; i++)
	{
		snprintf(file, sizeof(file), "%s%s/gguf/%s.gguf", cwd, data_dir(), own[i]);
		snprintf(inputs, sizeof(inputs), "%s%s/tiny/qwen3-rerank/inputs.jsonl", cwd, data_dir());
		snprintf(npy, sizeof(npy), "%s%s/gguf/%s.npy", cwd, data_dir(), own[i]);
		check_outputs(file, inputs, npy, true, 5e-5f);
	}
	if (shared_dir() == NULL)
	{
		skip("no reference data: outputs of decoders");
		return;
	}
	for (size_t i = 0; i < sizeof(decoders) / sizeof(decoders[0]); i++)
	{
		const Decoder *d = &decoders[i];
		bool		is_reranker = strstr(d->name, "rerank") != NULL;
		char		root[PATH_MAX / 2];

		cwd[0] = '\0';
		if (shared_dir()[0] != '/' && getcwd(cwd, sizeof(cwd) - 1) != NULL)
			strcat(cwd, "/");
		snprintf(root, sizeof(root), "%s%s/goldens/tiny/%s", cwd, shared_dir(), d->name);
		snprintf(file, sizeof(file), "%s/gguf/%s.gguf", root, d->file);
		snprintf(inputs, sizeof(inputs), "%s/inputs.jsonl", root);
		/* the file's name ends with the type */
		snprintf(npy, sizeof(npy), "%s/%s_%s.npy", root, is_reranker ? "logits" : "embeddings", d->file + strlen(d->name) + 1);
		check_outputs(file, inputs, npy, is_reranker, is_reranker ? 5e-5f : 2e-6f);
	}
}

/* A file of test/data/gguf under another name, with one text replaced by another of the same length. */
static const char *
patched(const char *name, const char *as, const char *from, const char *to, char path[PATH_MAX])
{
	const char *dir = fresh_dir();
	char		data_path[PATH_MAX];
	size_t		size = 0;
	char	   *data;
	char	   *at;

	snprintf(data_path, sizeof(data_path), "%s/gguf", data_dir());
	data = read_file(data_path, name, &size);
	at = from != NULL ? memmem(data, size, from, strlen(from)) : NULL;
	if (at != NULL)
		memcpy(at, to, strlen(to));
	CHECKF((from == NULL) == (at == NULL) && (from == NULL || strlen(from) == strlen(to)), "%s", from);
	write_file(dir, as, data, size);
	free(data);
	snprintf(path, PATH_MAX, "%s/%s", dir, as);
	return path;
}

typedef struct Patch
{
	const char *what;
	const char *as;
	EmbCheckpointOptions options;
	EmbStatus	status;
	const char *message;
	const char *hint;
} Patch;

#define RANK_FILE	"qwen3-rerank-gguf-rank-Q8_0.gguf"
#define PLAIN_FILE	"qwen3-rerank-Q4_0.gguf"

static const Patch patches[] = {
	{"no kind", "model.gguf", {0}, EMB_ERR_UNSUPPORTED, "what it was trained for", "option kind"},
	{"a kind by the file's name", "My-Reranker-Q4_0.gguf", {0}, EMB_OK, NULL, NULL},
	{"a kind by the model's name", "model.gguf", {.name = "my-embedder"}, EMB_OK, NULL, NULL},
	{"another kind", "model.gguf", {.kind = "translator"}, EMB_ERR_INVALID_ARGUMENT, "translator", NULL},
	{"the pooling of a reranker", "rerank.gguf", {.pooling = "mean"}, EMB_ERR_INVALID_ARGUMENT, "pooling cannot be set", NULL},
};

static void
test_kinds(void)
{
	EmbAllocator mem = emb_malloc_allocator();

	for (size_t i = 0; i < sizeof(patches) / sizeof(patches[0]); i++)
	{
		const Patch *p = &patches[i];
		char		path[PATH_MAX];
		EmbCheckpoint c;
		EmbError	err = {0};
		EmbStatus	status = emb_checkpoint_open_gguf(patched(PLAIN_FILE, p->as, NULL, NULL, path), &p->options, &mem, NULL, &c, &err);

		CHECKF(status == p->status && (p->message == NULL || strstr(err.message, p->message) != NULL) &&
			   (p->hint == NULL || strstr(err.hint, p->hint) != NULL), "%s: %d %s", p->what, status, err.message);
		if (status == EMB_OK)
			emb_checkpoint_close(&c);
	}
}

/* As an embedding model the same file ends each text with <|endoftext|>, whatever it says. */
static void
test_end_token(void)
{
	const EmbCheckpointOptions options = {.kind = "embedding"};
	EmbAllocator mem = emb_malloc_allocator();
	char		path[PATH_MAX];
	EmbCheckpoint c;
	EmbError	err = {0};

	if (!CHECKF(emb_checkpoint_open_gguf(patched(PLAIN_FILE, "model.gguf", NULL, NULL, path), &options, &mem, NULL, &c, &err) == EMB_OK, "%s", err.message))
		return;
	CHECK(c.arch.head == EMB_HEAD_NONE && c.arch.pooling == EMB_POOL_LAST && c.arch.normalize == 1);
	CHECKF(c.tokenizer.single.n_slots == 2 && c.tokenizer.single.slots[1].kind == EMB_TOK_SLOT_SPECIAL, "%d slots", c.tokenizer.single.n_slots);
	CHECK(memcmp(c.tokenizer.pieces[c.tokenizer.single.slots[1].id].text, "<|endoftext|>", 13) == 0);
	CHECKF(c.n_notes == 1 && strstr(c.notes[0].message, "last row") != NULL, "%d: %s", c.n_notes, c.notes[0].message);
	emb_checkpoint_close(&c);
}

/*
 * The file's two labels, of five letters, become others. The file's first row
 * is then the answers' row yes_row.
 */
static void
check_labels(const char *first, const char *second, EmbStatus want, int yes_row)
{
	static const EmbCheckpointOptions none;
	static const uint8_t labels[] = {3, 0, 0, 0, 0, 0, 0, 0, 'y', 'e', 's', 2, 0, 0, 0, 0, 0, 0, 0, 'n', 'o'};
	EmbAllocator mem = emb_malloc_allocator();
	char		path[PATH_MAX];
	size_t		size = 0;
	char	   *data;
	char	   *at;
	size_t		before;
	Buf			b = {0};
	EmbCheckpoint c;
	EmbError	err = {0};
	EmbStatus	status;
	float		rows[2][64];
	float		second_row[64] = {0};
	const EmbTensorKey key = {EMB_NO_LAYER, EMB_PART_ANSWERS, EMB_TENSOR_WEIGHT};

	snprintf(path, sizeof(path), "%s/gguf", data_dir());
	data = read_file(path, RANK_FILE, &size);
	at = memmem(data, size, labels, sizeof(labels));
	before = (size_t) (at - data);
	put_bytes(&b, data, before);
	put_string(&b, first);
	put_string(&b, second);
	put_bytes(&b, at + sizeof(labels), size - before - sizeof(labels));
	free(data);
	write_file(fresh_dir(), "m.gguf", b.data, b.size);
	free(b.data);
	snprintf(path, sizeof(path), "%s/m.gguf", temp_root);
	status = emb_checkpoint_open_gguf(path, &none, &mem, NULL, &c, &err);
	CHECKF(status == want, "%s, %s: %d %s", first, second, status, err.message);
	if (status != EMB_OK)
		return;
	CHECKF(emb_checkpoint_check(&c, key, 2, 64, &err) == EMB_OK && emb_checkpoint_read(&c, key, 0, 2, 64, rows[0], &err) == EMB_OK, "%s", err.message);
	CHECKF(emb_checkpoint_read(&c, key, 1, 1, 64, second_row, &err) == EMB_OK && memcmp(second_row, rows[1], sizeof(second_row)) == 0, "%s", err.message);
	/* the first row of the file, that of the first label, begins so */
	CHECKF(fabsf(rows[yes_row][0] + 0.31103516f) < 1e-7f, "%g", (double) rows[yes_row][0]);
	emb_checkpoint_close(&c);
}

/* The head and the template of a reranker's own. */
static void
test_rank_file(void)
{
	static const EmbCheckpointOptions none;
	const EmbCheckpointOptions embedding = {.kind = "embedding"};
	const EmbCheckpointOptions template = {.template = "{\"prefix\": \"P\", \"middle\": \"{query}: {document}\", \"suffix\": \"S\"}"};
	EmbAllocator mem = emb_malloc_allocator();
	char		path[PATH_MAX];
	EmbCheckpoint c;
	EmbError	err = {0};

	if (CHECKF(emb_checkpoint_open_gguf(patched(RANK_FILE, "m.gguf", "relevant passages that", "relevant articles that", path), &none, &mem, NULL, &c, &err) == EMB_OK,
			   "%s", err.message))
	{
		CHECKF(strstr(c.pair_template.texts[EMB_TEMPLATE_INSTRUCTION], "relevant articles that") != NULL, "%s", c.pair_template.texts[EMB_TEMPLATE_INSTRUCTION]);
		CHECK(c.arch.head == EMB_HEAD_ANSWER && c.arch.n_labels == 2 && c.answers[0] == NULL && c.n_notes == 0 && c.tokenizer.single.n_slots == 1);
		emb_checkpoint_close(&c);
	}
	CHECKF(emb_checkpoint_open_gguf(patched(RANK_FILE, "m.gguf", "Judge whether", "Judge, whethe", path), &none, &mem, NULL, &c, &err) == EMB_ERR_UNSUPPORTED &&
		   strstr(err.hint, "option template") != NULL, "%s", err.message);
	if (CHECKF(emb_checkpoint_open_gguf(path, &template, &mem, NULL, &c, &err) == EMB_OK, "%s", err.message))
	{
		CHECK(strcmp(c.pair_template.texts[EMB_TEMPLATE_PREFIX], "P") == 0);
		emb_checkpoint_close(&c);
	}
	check_labels("yes", "no", EMB_OK, 0);
	check_labels("no", "yes", EMB_OK, 1);
	check_labels("yet", "no", EMB_ERR_UNSUPPORTED, 0);
	check_labels("yes", "go", EMB_ERR_UNSUPPORTED, 0);
	CHECKF(emb_checkpoint_open_gguf(patched(RANK_FILE, "m.gguf", NULL, NULL, path), &embedding, &mem, NULL, &c, &err) == EMB_ERR_INVALID_ARGUMENT &&
		   strstr(err.message, "reranker") != NULL, "%s", err.message);
	CHECKF(emb_checkpoint_open_gguf(patched(RANK_FILE, "m.gguf", "attention.value_length", "attention.valuf_length", path), &none, &mem, NULL, &c, &err) ==
		   EMB_ERR_UNSUPPORTED && strstr(err.message, "values of 0") != NULL, "%s", err.message);
	CHECKF(emb_checkpoint_open_gguf(patched(RANK_FILE, "m.gguf", "blk.1.attn_q_norm", "blk.1.attn_q.bias", path), &none, &mem, NULL, &c, &err) ==
		   EMB_ERR_UNSUPPORTED && strstr(err.message, "blk.1.attn_q.bias") != NULL, "%s", err.message);
}

int
main(void)
{
	test_same_images();
	test_gemma();
	test_near();
	test_rerankers();
	test_refused();
	test_small_tokens();
	test_truncation();
	test_changed_bytes();
	test_directories();
	test_shard_directory();
	test_prompts();
	test_decoders();
	test_codes();
	test_kept_codes();
	test_decoder_outputs();
	test_kinds();
	test_end_token();
	test_rank_file();
	return done_testing();
}
