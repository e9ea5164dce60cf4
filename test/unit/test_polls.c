/*
 * test_polls.c
 *		How long an import works between two looks for a cancel: every file of a
 *		model directory as large as it may be, real tokenizers where they are at hand.
 *
 * What is measured is CPU time of this thread, from one call of the stop callback
 * to the next, and on to the end: memory that is given back counts, too. The
 * promise is 10 ms, but for 25 ms in which Jansson makes room in an object of
 * 131,072 members for more; the test leaves a busy machine and the sanitizers room.
 */
#include <time.h>

#include "import/hf_tokenizer.h"
#include "formats/tensors.h"
#include "model_util.h"
#include "gguf_util.h"
#include "tok_util.h"

#if defined(__SANITIZE_ADDRESS__)
#define LIMIT_S		0.5
#else
#define LIMIT_S		0.05
#endif

typedef struct Watch
{
	double		last,
				longest;
	long		n_polls;
	long		longest_at;		/* poll that ended the longest stretch */
	long		stop_at;		/* 0: never */
} Watch;

static double
cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static bool
poll(void *ctx)
{
	Watch	   *w = ctx;
	double		now = cpu_seconds();

	w->n_polls++;
	if (now - w->last > w->longest)
	{
		w->longest = now - w->last;
		w->longest_at = w->n_polls;
	}
	w->last = now;
	return w->stop_at > 0 && w->n_polls >= w->stop_at;
}

static EmbStatus
import_watched(const char *dir, Watch *w, EmbError *err)
{
	EmbImportOptions options = {.precision = "fp32"};
	EmbAllocator mem = emb_malloc_allocator();
	EmbStop		stop = {w, poll};
	Image		image = {0};
	EmbSink		sink = {.ctx = &image, .write = image_write};
	EmbStatus	status;

	w->last = cpu_seconds();
	status = emb_import_dir(dir, &options, &mem, &stop, &sink, err);
	(void) poll(w);
	free(image.data);
	return status;
}

/*
 * The run with the shortest of the longest stretches, of up to three: a stretch
 * that the code makes long is long in every run.
 */
static EmbStatus
import_least(const char *dir, long stop_at, Watch *least, EmbError *err)
{
	EmbStatus	status = EMB_OK;

	for (int i = 0; i == 0 || (i < 3 && least->longest >= LIMIT_S); i++)
	{
		Watch		w = {.stop_at = stop_at};

		*err = (EmbError) {0};
		status = import_watched(dir, &w, err);
		if (i == 0 || w.longest < least->longest)
			*least = w;
	}
	return status;
}

/* From start to end, and cancelled at some places: then it ends at once, all memory given back. */
static void
check_import(const char *what, const char *dir, EmbStatus want)
{
	Watch		w;
	EmbError	err;
	EmbStatus	status = import_least(dir, 0, &w, &err);

	CHECKF(status == want, "%s: %d, %s", what, status, err.message);
	CHECKF(w.longest < LIMIT_S, "%s: %.1f ms without a look (poll %ld of %ld)", what, w.longest * 1000, w.longest_at, w.n_polls);
	printf("# %s: longest %.1f ms (poll %ld of %ld)\n", what, w.longest * 1000, w.longest_at, w.n_polls);
	for (int i = 1; i <= 4; i++)
	{
		Watch		cut;

		status = import_least(dir, 1 + (w.n_polls - 1) * i / 5, &cut, &err);
		CHECKF(status == EMB_ERR_CANCELLED, "%s, cancelled at poll %ld: %d, %s", what, cut.stop_at, status, err.message);
		CHECKF(cut.longest < LIMIT_S, "%s: %.1f ms without a look, cancelled at poll %ld", what, cut.longest * 1000, cut.stop_at);
	}
}

/* ------------------------------------------------------------ large files */

typedef struct Text
{
	char	   *s;
	size_t		n,
				room;
} Text;

__attribute__((format(printf, 2, 3))) static void
put(Text *t, const char *fmt,...)
{
	va_list		args;

	if (t->n + 1024 > t->room)
		t->s = realloc(t->s, t->room = 2 * t->room + 4096);
	va_start(args, fmt);
	t->n += (size_t) vsnprintf(t->s + t->n, 1024, fmt, args);
	va_end(args);
}

static void
put_file(Text *t, const char *dir, const char *name)
{
	write_file(dir, name, t->s, t->n);
	free(t->s);
	*t = (Text) {0};
}

/* A member that nothing reads, of about so many bytes: lists and objects of small values. */
static void
put_junk(Text *t, size_t bytes)
{
	size_t		end = t->n + bytes;

	put(t, "\"junk\": [0");
	for (int i = 1; t->n < end; i++)
		put(t, ", {\"key %d\": [%d, 1.5, \"x%d\", {\"a\": null}]}", i, i, i);
	put(t, "]");
}

/* The JSON file's object with junk in front. */
static void
add_junk(const char *dir, const char *name, size_t bytes)
{
	size_t		size;
	char	   *old = read_file(dir, name, &size);
	const char *body = strchr(old, '{') + 1;
	Text		t = {0};

	put(&t, "{");
	put_junk(&t, bytes);
	if (body[strspn(body, " \n\t\r")] != '}')
		put(&t, ",");
	for (size_t i = body - old; i < size; i += 512)
		put(&t, "%.*s", (int) (size - i < 512 ? size - i : 512), old + i);
	free(old);
	put_file(&t, dir, name);
}

static void
remove_file(const char *dir, const char *name)
{
	char		path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	(void) unlink(path);
}

static const char *
copy_model(const char *name)
{
	const char *dir = fresh_dir();
	char		command[3 * PATH_MAX];

	snprintf(command, sizeof(command), "cp -r %s/tiny/%s/model/. %s && chmod -R u+w %s", data_dir(), name, dir, dir);
	CHECK(system(command) == 0);
	return dir;
}

static void
test_configs(void)
{
	static const char *const files[] = {"config.json", "sentence_bert_config.json", "tokenizer_config.json", "config_sentence_transformers.json", "1_Pooling/config.json", "tokenizer.json"};

	check_import("bert-cls", copy_model("bert-cls"), EMB_OK);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
	{
		const char *dir = copy_model("bert-cls");
		char		path[PATH_MAX];

		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		if (access(path, F_OK) != 0)
			write_text(dir, files[i], "{}");
		add_junk(dir, files[i], strcmp(files[i], "tokenizer.json") == 0 ? 9600000 : 3900000);
		check_import(files[i], dir, EMB_OK);
	}
}

static void
write_weights(const char *dir, const Text *header, const char *data, size_t size)
{
	uint64_t	header_bytes = header->n;
	Text		file = {malloc(8 + header->n + size), 8 + header->n + size, 0};

	memcpy(file.s, &header_bytes, 8);
	memcpy(file.s + 8, header->s, header->n);
	memcpy(file.s + 8 + header->n, data, size);
	put_file(&file, dir, "model.safetensors");
}

/* The weights' header with 100,000 more tensors, and with long metadata. */
static void
test_headers(bool metadata)
{
	const char *dir = copy_model("bert-cls");
	size_t		size;
	uint64_t	n;
	char	   *file = read_file(dir, "model.safetensors", &size);
	json_t	   *header;
	char	   *members;
	Text		t = {0};

	memcpy(&n, file, sizeof(n));
	header = json_loadb(file + 8, n, 0, NULL);
	json_object_del(header, "__metadata__");
	members = json_dumps(header, JSON_COMPACT);
	put(&t, "{");
	if (metadata)
	{
		put(&t, "\"__metadata__\": {");
		put_junk(&t, 9600000);
		put(&t, "}");
	}
	else
	{
		for (int i = 0; i < 100000; i++)
			put(&t, "%s\"more tensors of no use %d\": {\"dtype\": \"F32\", \"shape\": [0, 4, 8], \"data_offsets\": [0, 0]}", i > 0 ? "," : "", i);
	}
	put(&t, ",");
	for (const char *p = members + 1; *p != '\0'; p += strnlen(p, 512))
		put(&t, "%.512s", p);
	write_weights(dir, &t, file + 8 + n, size - 8 - n);
	check_import(metadata ? "metadata" : "100,000 tensors", dir, EMB_OK);
	free(t.s);
	free(members);
	free(file);
	json_decref(header);
}

/* A long index of one shard. */
static void
test_index(void)
{
	const char *dir = copy_model("bert-cls");
	size_t		size;
	uint64_t	n;
	char	   *file = read_file(dir, "model.safetensors", &size);
	json_t	   *header;
	const char *name;
	json_t	   *value;
	Text		t = {0};
	const char *comma = "";

	memcpy(&n, file, sizeof(n));
	header = json_loadb(file + 8, n, 0, NULL);
	put(&t, "{");
	put_junk(&t, 9600000);
	put(&t, ", \"weight_map\": {");
	json_object_foreach(header, name, value)
	{
		if (strcmp(name, "__metadata__") == 0)
			continue;
		put(&t, "%s\"%s\": \"model-00001.safetensors\"", comma, name);
		comma = ", ";
	}
	put(&t, "}}");
	put_file(&t, dir, "model.safetensors.index.json");
	write_file(dir, "model-00001.safetensors", file, size);
	remove_file(dir, "model.safetensors");
	free(file);
	json_decref(header);
	check_import("index", dir, EMB_OK);
}

/* Vocabularies of 250,000 entries, in each kind of file; the model has fewer rows, which is said at the end. */
static void
test_vocabularies(void)
{
	Text		t = {0};
	const char *dir = copy_model("bert-cls");

	remove_file(dir, "tokenizer.json");
	put(&t, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
	for (int i = 0; i < 250000; i++)
		put(&t, "word%d\n", i * 7919 % 250007);
	put_file(&t, dir, "vocab.txt");
	check_import("vocab.txt", dir, EMB_ERR_FORMAT);

	dir = copy_model("roberta-rerank");
	remove_file(dir, "tokenizer.json");
	put(&t, "{\"<s>\": 0, \"<pad>\": 1, \"</s>\": 2, \"<unk>\": 3, \"<mask>\": 4");
	for (int i = 0; i < 256; i++)
	{
		/* ByteLevel's alphabet */
		static int	more = 256;
		int			cp = (i > 32 && i < 127) || (i > 160 && i != 173) ? i : more++;
		char		c[3] = {(char) cp, 0, 0};

		if (cp > 127)
		{
			c[0] = (char) (0xC0 | cp >> 6);
			c[1] = (char) (0x80 | (cp & 63));
		}
		put(&t, ", \"%s%s\": %d", cp == '"' || cp == '\\' ? "\\" : "", c, 5 + i);
	}
	for (int i = 0; i < 26 * 26 * 26 * 14; i++)
	{
		int			k = i / (26 * 26 * 26);

		if (i < 26 * 26 || i >= 26 * 26 * 26)
			put(&t, i < 26 * 26 ? ", \"%c%c\": %d" : ", \"%c%c%c%c\": %d", 'a' + i % 26, 'a' + i / 26 % 26, i < 26 * 26 ? 261 + i : 'a' + i / 676 % 26, 'a' + k, 261 + i);
	}
	put(&t, "}");
	put_file(&t, dir, "vocab.json");
	put(&t, "#version: 0.2\n");
	for (int i = 0; i < 26 * 26; i++)
		put(&t, "%c %c\n", 'a' + i % 26, 'a' + i / 26);
	for (int i = 26 * 26 * 26; i < 26 * 26 * 26 * 14; i++)
	{
		if (i / 676 % 26 < 26)
			put(&t, "%c%c %c%c\n", 'a' + i % 26, 'a' + i / 26 % 26, 'a' + i / 676 % 26, 'a' + i / (26 * 26 * 26));
	}
	put_file(&t, dir, "merges.txt");
	check_import("vocab.json, merges.txt", dir, EMB_ERR_FORMAT);
}

/* 16,000 added tokens, each sought among those before it; the model has no rows for them, and they are left out. */
static void
test_added(void)
{
	const char *dir = copy_model("bert-cls");
	Text		t = {0};
	size_t		size;
	char	   *old = read_file(dir, "tokenizer.json", &size);
	const char *list = strstr(old, "\"added_tokens\"");
	const char *body = strchr(list, '[') + 1;

	for (const char *p = old; p < body; p += 512)
		put(&t, "%.*s", (int) (body - p < 512 ? body - p : 512), p);
	for (int i = 0; i < 16000; i++)
		put(&t, "{\"id\": %d, \"content\": \"<extra_token_%d>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": true, \"special\": false},", 800 + i, i);
	for (const char *p = body; p < old + size; p += 512)
		put(&t, "%.*s", (int) (old + size - p < 512 ? old + size - p : 512), p);
	free(old);
	put_file(&t, dir, "tokenizer.json");
	check_import("16,000 added tokens", dir, EMB_OK);
}

/* ------------------------------------------------------------- GGUF files */

/* As many tensors and keys as there may be. */
static void
test_gguf_entries(void)
{
	const char *dir = fresh_dir();
	Buf			b = gguf_begin(3, 65000, 16002);
	char		name[64];

	gguf_key_string(&b, "general.architecture", "bert");
	gguf_key_string(&b, "tokenizer.ggml.model", "bert");
	for (int i = 0; i < 16000; i++)
	{
		snprintf(name, sizeof(name), "bert.a_key_of_some_length.%d", i * 7919 % 16000);
		gguf_key_uint(&b, name, 4, 1);
	}
	for (int i = 0; i < 65000; i++)
	{
		snprintf(name, sizeof(name), "blk.%d.attn_output_norm.%d.weight", i * 7919 % 65000 / 256, i * 7919 % 65000);
		gguf_tensor(&b, name, 1, (uint64_t[]) {1}, 0, (uint64_t) i * 32);
	}
	gguf_data(&b, 32, 65000 * 32);
	write_file(dir, "a.gguf", b.data, b.size);
	free(b.data);
	check_import("a GGUF file of 65,000 tensors", dir, EMB_ERR_FORMAT);
}

/* A tokenizer of n tokens, of which each kind has its way; the model has fewer rows. */
static void
check_gguf_tokens(const char *what, const char *kind, const char *pre, int n)
{
	static const char *const sizes[] = {"block_count", "embedding_length", "feed_forward_length", "attention.head_count", "context_length"};
	const char *dir = fresh_dir();
	bool		is_bpe = strcmp(kind, "gpt2") == 0;
	Buf			b = gguf_begin(3, 3, 13);
	char		name[64];

	gguf_key_string(&b, "general.architecture", "bert");
	gguf_key_string(&b, "tokenizer.ggml.model", kind);
	gguf_key_string(&b, "tokenizer.ggml.pre", pre);
	for (int i = 0; i < 5; i++)
	{
		snprintf(name, sizeof(name), "bert.%s", sizes[i]);
		gguf_key_uint(&b, name, 4, i == 4 ? 64 : 1);
	}
	gguf_key_uint(&b, "bert.attention.layer_norm_epsilon", 6, 0x2B8CBCCC);
	gguf_key_array(&b, "tokenizer.ggml.tokens", 8, (uint64_t) n);
	for (int i = 0; i < n; i++)
	{
		snprintf(name, sizeof(name), i == 0 ? "<s>" : i == 1 ? "</s>" : i == 2 ? "<unk>" : i == 3 ? "[CLS]" : i == 4 ? "[SEP]" : i == 5 ? "[UNK]" :
				 i < 16 ? "%d" : "\xE2\x96\x81%d", i < 16 ? i - 6 : (int) ((int64_t) i * 7919 % n));
		put_string(&b, name);
	}
	gguf_key_array(&b, "tokenizer.ggml.token_type", 5, (uint64_t) n);
	for (int i = 0; i < n; i++)
		put_uint(&b, i == 2 ? 2 : i < 6 ? 3 : 1, 4);
	gguf_key_array(&b, "tokenizer.ggml.scores", 6, is_bpe ? 0 : (uint64_t) n);
	for (int i = 0; i < n && !is_bpe; i++)
		put_uint(&b, 0xC0000000 + (uint32_t) i, 4);
	gguf_key_array(&b, "tokenizer.ggml.merges", 8, is_bpe ? (uint64_t) n : 0);
	for (int i = 0; i < n && is_bpe; i++)
		put_string(&b, "[CLS] [SEP]");
	gguf_tensor(&b, "token_embd.weight", 2, (uint64_t[]) {1, 10}, 0, 0);
	gguf_tensor(&b, "position_embd.weight", 2, (uint64_t[]) {1, 64}, 0, 64);
	gguf_tensor(&b, "blk.0.attn_output.weight", 1, (uint64_t[]) {1}, 0, 320);
	gguf_data(&b, 32, 512);
	write_file(dir, "a.gguf", b.data, b.size);
	free(b.data);
	check_import(what, dir, EMB_ERR_FORMAT);
}

static void
test_gguf_files(void)
{
	test_gguf_entries();
	check_gguf_tokens("a GGUF file of 1,000,000 pieces", "bert", "", 1000000);
	check_gguf_tokens("a GGUF file of 1,000,000 scores", "t5", "", 1000000);
	check_gguf_tokens("a GGUF file of 1,000,000 merges", "gpt2", "gpt-2", 1000000);
}

/* -------------------------------------------------------- real tokenizers */

/* Imports a tokenizer and builds its tables, watched. */
static void
build_watched(const char *what, const char *dir, Watch *w)
{
	EmbAllocator mem = emb_malloc_allocator();
	EmbStop		stop = {w, poll};
	EmbTokSpec	spec;
	EmbError	err = {0};
	void	   *block = NULL;
	size_t		size;
	EmbStatus	status;

	*w = (Watch) {.last = cpu_seconds()};
	status = emb_import_tokenizer(dir, &mem, &stop, &spec, &err);
	if (CHECKF(status == EMB_OK, "%s: %s", what, err.message))
	{
		status = emb_tok_build(&spec, &mem, &block, &size, &err);
		CHECKF(status == EMB_OK, "%s: %s", what, err.message);
		(void) poll(w);
		printf("# %s: before memory is given back %.1f ms (poll %ld)\n", what, w->longest * 1000, w->longest_at);
		emb_tok_spec_free(&spec, &mem);
	}
	(void) poll(w);
	emb_release(&mem, block);
}

static void
check_tokenizer(const char *what, const char *dir)
{
	Watch		w = {.longest = LIMIT_S};

	for (int i = 0; i < 3 && w.longest >= LIMIT_S; i++)
		build_watched(what, dir, &w);
	printf("# %s: longest %.1f ms (poll %ld of %ld)\n", what, w.longest * 1000, w.longest_at, w.n_polls);
	CHECKF(w.longest < LIMIT_S, "%s: %.1f ms without a look (poll %ld of %ld)", what, w.longest * 1000, w.longest_at, w.n_polls);
}

static void
test_real(void)
{
	static const char *const names[] = {"bert-uncased", "xlm-roberta", "qwen3"};

	for (int i = 0; i < 3; i++)
	{
		const char *dir = fresh_dir();
		char		command[3 * PATH_MAX];

		snprintf(command, sizeof(command), "xz -dc %s/tokenizers/%s/tokenizer.json.xz >%s/tokenizer.json 2>/dev/null",
				 shared_dir() != NULL ? shared_dir() : "/nowhere", names[i], dir);
		if (system(command) != 0)
			skip("no real tokenizers in EMBED_SHARED");
		else
			check_tokenizer(names[i], dir);
	}
}

int
main(void)
{
	test_configs();
	test_headers(false);
	test_headers(true);
	test_index();
	test_vocabularies();
	test_added();
	test_gguf_files();
	test_real();
	return done_testing();
}
