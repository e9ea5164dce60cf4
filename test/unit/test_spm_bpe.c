/*
 * test_spm_bpe.c
 *		tokenizer.model of type BPE: ids of AutoTokenizer of transformers 5 for
 *		several classes and settings (data/tokenizer/spm.jsonl, by
 *		tools/compare_auto_tokenizer.py), merges that follow from the pieces, what
 *		notes say, and what is refused.
 */
#include "import/checkpoint.h"
#include "import/hf_tokenizer.h"
#include "model_util.h"
#include "tok_util.h"

#define N(a) ((int) (sizeof(a) / sizeof((a)[0])))
#define B(s) s, sizeof(s) - 1

static EmbAllocator mem;

/* ------------------------------------------------------------------- ids */

static void
put_model(void)
{
	char		path[512];
	size_t		size = 0;
	char	   *data;

	snprintf(path, sizeof(path), "%s/tokenizer/gemma", data_dir());
	data = read_file(path, "tokenizer.model", &size);
	write_file(temp_root, "tokenizer.model", data, size);
	free(data);
}

static bool
encodes(const EmbTokenizer *tok, const char *text, size_t len, const json_t *want, int *n)
{
	static int32_t ids[IDS_MAX];
	EmbTokResult r = {0};
	EmbError	err;
	EmbStatus	status = emb_tok_encode(tok, &(EmbText) {text, len, true, NULL}, &(EmbReading) {.ids = ids, .max_ids = IDS_MAX}, &r, &err);

	*n = r.n_ids;
	return status == EMB_OK && ids_equal(ids, r.n_ids, want);
}

static void
check_line(const json_t *line, void *ctx)
{
	const char *what = json_string_value(json_object_get(line, "variant"));
	const json_t *texts = json_object_get(line, "texts");
	EmbCheckpoint c = {0};
	EmbText		zq = {"zq", 2, true, NULL};
	int32_t		ids[16];
	int32_t		types[16];
	EmbTokResult r = {0};
	EmbTokSpec	spec;
	EmbError	err = {0};
	Tok			t = {0};
	const char *file;
	const json_t *content;
	int			n;

	(void) ctx;
	fresh_dir();
	put_model();
	json_object_foreach(json_object_get(line, "files"), file, content)
	{
		char	   *text = json_dumps(content, JSON_COMPACT);

		write_text(temp_root, file, text);
		free(text);
	}
	if (!CHECKF(emb_import_auto_tokenizer(temp_root, &mem, NULL, &c, &spec, &err) == EMB_OK && tok_from_spec(&spec, &t, &err) == EMB_OK, "%s: %s", what, err.message))
		return;
	for (size_t i = 0; i < json_array_size(texts); i++)
	{
		const json_t *text = json_array_get(texts, i);

		CHECKF(encodes(t.tok, json_string_value(text), json_string_length(text), json_array_get(json_object_get(line, "ids"), i), &n), "%s, text %zu: %d ids", what, i, n);
	}
	CHECKF(emb_tok_encode_pair(t.tok, &zq, &zq, EMB_TOK_LONGEST_FIRST, &(EmbReading) {.ids = ids, .type_ids = types, .max_ids = N(ids)}, &r, &err) == EMB_OK &&
		   ids_equal(ids, r.n_ids, json_object_get(line, "pair")), "%s: a pair of %d ids", what, r.n_ids);
	tok_close(&t);
}

/* ---------------------------------------------------------------- merges */

/* Those that transformers derived from the same model and wrote into the tokenizer.json of embedding-gemma. */
static void
test_merges(void)
{
	static const char *const dirs[2] = {"tokenizer/gemma", "tiny/embedding-gemma/model"};
	EmbTokSpec	specs[2];
	EmbError	err = {0};
	bool		same;

	for (int i = 0; i < 2; i++)
	{
		char		path[PATH_MAX];

		snprintf(path, sizeof(path), "%s/%s", data_dir(), dirs[i]);
		if (!CHECKF(emb_import_tokenizer(path, &mem, NULL, &specs[i], &err) == EMB_OK, "%s: %s", path, err.message))
			exit(1);
	}
	same = specs[0].n_merges == specs[1].n_merges && specs[0].n_vocab == specs[1].n_vocab && specs[0].n_merges > 150;
	for (int32_t i = 0; same && i < specs[0].n_merges; i++)
		same = memcmp(&specs[0].merges[i], &specs[1].merges[i], sizeof(EmbTokMerge)) == 0;
	CHECKF(same, "%d and %d merges", specs[0].n_merges, specs[1].n_merges);
	for (int i = 0; i < 2; i++)
		emb_tok_spec_free(&specs[i], &mem);
}

/* --------------------------------------------------------------- charsmap */

/* A charsmap before BPE of characters: a text is read as its replacement is without one. */
static void
test_charsmap(void)
{
	static const struct
	{
		const char *text;
		const char *same;
	}			texts[] =
	{
		{"\xEF\xBC\xA1\xEF\xBC\xA2 \xEF\xBD\x81", "AB a"},
		{"\xE2\x84\xA2 \xEF\xAC\x81t", "TM fit"},
		{"a\tb\xE2\x80\x8B", "a b"},
	};
	json_t	   *chars = json_from_data("chars.json");
	json_t	   *unigram = json_from_data("unigram.json");
	json_t	   *map = json_array_get(json_object_get(json_object_get(unigram, "normalizer"), "normalizers"), 0);
	json_t	   *blanks = json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ", "content", "\xE2\x96\x81");
	json_t	   *all = json_pack("{s:s, s:[O, O]}", "type", "Sequence", "normalizers", map, blanks);
	EmbError	err = {0};
	Tok			with,
				without;

	json_object_set(chars, "pre_tokenizer", json_null());
	json_object_set(chars, "normalizer", blanks);
	if (!CHECKF(tok_from_json(chars, &without, &err) == EMB_OK, "%s", err.message))
		exit(1);
	json_object_set(chars, "normalizer", all);
	if (!CHECKF(tok_from_json(chars, &with, &err) == EMB_OK, "%s", err.message))
		exit(1);
	for (int i = 0; i < N(texts); i++)
	{
		int32_t		ids[2][32];
		EmbTokResult r[2] = {{0}, {0}};

		CHECK(emb_tok_encode(with.tok, &(EmbText) {texts[i].text, strlen(texts[i].text), true, NULL}, &(EmbReading) {.ids = ids[0], .max_ids = 32}, &r[0], &err) == EMB_OK &&
			  emb_tok_encode(without.tok, &(EmbText) {texts[i].same, strlen(texts[i].same), true, NULL}, &(EmbReading) {.ids = ids[1], .max_ids = 32}, &r[1], &err) == EMB_OK);
		CHECKF(r[0].n_ids == r[1].n_ids && r[0].n_ids > 0 && memcmp(ids[0], ids[1], (size_t) r[0].n_ids * sizeof(int32_t)) == 0, "text %d: %d and %d ids", i,
			   r[0].n_ids, r[1].n_ids);
	}
	tok_close(&with);
	tok_close(&without);
	json_decref(all);
	json_decref(blanks);
	json_decref(unigram);
	json_decref(chars);
}

/* ------------------------------------------------------------------ bytes */

#define PIECE(len, text, type) "\x0A" len "\x0A" text "\x15\x00\x00\x80\xBF\x18" type
#define UNK	"\x0A\x09\x0A\x05<unk>\x18\x02"
#define LETTERS PIECE("\x0A", "\x01" "a", "\x01") PIECE("\x0A", "\x01" "b", "\x01") PIECE("\x0C", "\x03\xE2\x96\x81", "\x01")
#define AB	PIECE("\x0B", "\x02" "ab", "\x01")
#define BPE	"\x12\x02\x18\x02"
#define IDENTITY "\x1A\x04\x18\x00\x20\x00"

typedef struct Case
{
	const char *what;
	const char *class;
	const char *bytes;
	size_t		size;
	EmbStatus	status;
	const char *message;		/* or the ids of "abaz" */
} Case;

static const Case cases[] = {
	{"the smallest", "", B(UNK LETTERS AB BPE), EMB_OK, "[4, 1, 0]"},
	{"the trainer first", "", B(BPE UNK LETTERS AB IDENTITY), EMB_OK, "[4, 1, 0]"},
	{"as Gemma's", "GemmaTokenizer", B(UNK LETTERS AB BPE), EMB_OK, "[4, 1, 0]"},
	{"as Llama's", "LlamaTokenizer", B(UNK LETTERS AB BPE), EMB_ERR_UNSUPPORTED, "neither an unknown token nor byte_fallback"},
	{"no merges", "", B(UNK LETTERS BPE), EMB_OK, "[1, 2, 1, 0]"},
	{"an equal piece: the last has the id", "", B(UNK LETTERS AB PIECE("\x0A", "\x01" "a", "\x01") BPE), EMB_OK, "[4, 5, 0]"},
	{"an empty piece", "", B(UNK LETTERS AB "\x0A\x00" BPE), EMB_OK, "[4, 1, 0]"},
	{"a user-defined piece", "", B(UNK LETTERS PIECE("\x0B", "\x02" "ba", "\x04") AB BPE), EMB_OK, "[1, 4, 0]"},
	{"a control piece", "", B(UNK LETTERS AB PIECE("\x0A", "\x01" "z", "\x03") BPE), EMB_OK, "[4, 1, 5]"},
	{"an unused piece", "", B(UNK LETTERS PIECE("\x0B", "\x02" "ab", "\x05") BPE), EMB_OK, "[4, 1, 0]"},
	{"unknown fields", "", B(UNK "\x20\x05" LETTERS AB BPE "\xA2\x06\x01x"), EMB_OK, "[4, 1, 0]"},
	{"an unknown piece of another name", "", B(UNK LETTERS AB "\x12\x06\x18\x02\xEA\x02\x01" "b"), EMB_ERR_UNSUPPORTED, "the unknown token is one character"},
	{"an unknown piece that is not there", "", B(UNK LETTERS AB "\x12\x06\x18\x02\xEA\x02\x01" "x"), EMB_ERR_FORMAT, "the unknown token \"x\" is not in the vocabulary"},
	{"byte fallback without bytes", "", B(UNK LETTERS AB "\x12\x05\x18\x02\x98\x02\x01"), EMB_OK, "[4, 1, 0]"},
	{"byte fallback with some bytes", "", B(UNK LETTERS AB PIECE("\x0F", "\x06<0x0A>", "\x06") "\x12\x05\x18\x02\x98\x02\x01"), EMB_ERR_UNSUPPORTED, "lacks the piece \"<0x01>\""},
	{"unigram", "", B(UNK LETTERS AB), EMB_ERR_UNSUPPORTED, "\"trainer_spec.model_type\" is 1 (unigram), only BPE (2)"},
	{"words", "", B(UNK LETTERS AB "\x12\x02\x18\x03"), EMB_ERR_UNSUPPORTED, "is 3 (word)"},
	{"no model at all", "", B(UNK LETTERS AB "\x12\x03\x18\x80\x01"), EMB_ERR_UNSUPPORTED, "is 128, only"},
	{"empty", "", B(""), EMB_ERR_UNSUPPORTED, "is 1 (unigram)"},
	{"no pieces", "", B(BPE), EMB_ERR_FORMAT, "has no pieces"},
	{"empty pieces only", "", B("\x0A\x00\x0A\x00" BPE), EMB_ERR_FORMAT, "the unknown token \"<unk>\" is not"},
	{"cut off", "", B(UNK LETTERS AB BPE "\x0A\x09\x0A"), EMB_ERR_FORMAT, "malformed at byte"},
	{"a piece cut off", "", B(UNK LETTERS BPE "\x0A\x03\x0A\x05x"), EMB_ERR_FORMAT, "malformed at byte"},
	{"the trainer cut off", "", B(UNK LETTERS AB "\x12\x01\x18"), EMB_ERR_FORMAT, "malformed at byte"},
	{"the normalizer cut off", "", B(UNK LETTERS AB BPE "\x1A\x01\x18"), EMB_ERR_FORMAT, "malformed at byte"},
	{"a score that is no number", "", B(UNK LETTERS "\x0A\x08\x0A\x01x\x15\x00\x00\xC0\x7F" BPE), EMB_ERR_FORMAT, "the score of piece 4 is not finite"},
	{"an infinite score", "", B(UNK LETTERS "\x0A\x08\x0A\x01x\x15\x00\x00\x80\xFF" BPE), EMB_ERR_FORMAT, "the score of piece 4 is not finite"},
	{"a type that there is not", "", B(UNK LETTERS PIECE("\x0A", "\x01x", "\x07") BPE), EMB_ERR_FORMAT, "piece 4 has type 7"},
	{"invalid UTF-8", "", B(UNK LETTERS "\x0A\x03\x0A\x01\xFF" BPE), EMB_ERR_FORMAT, "piece 4 is not UTF-8"},
	{"U+0000", "", B(UNK LETTERS "\x0A\x03\x0A\x01\x00" BPE), EMB_ERR_FORMAT, "piece 4 is not UTF-8, or contains U+0000"},
	{"an unknown piece that is not UTF-8", "", B(UNK LETTERS AB "\x12\x06\x18\x02\xEA\x02\x01\xFF"), EMB_ERR_FORMAT, "\"trainer_spec\" is not UTF-8"},
	{"a bad charsmap", "", B(UNK LETTERS AB BPE "\x1A\x06\x12\x04\x01\x02\x03\x04"), EMB_ERR_FORMAT, "charsmap of 4 bytes is corrupt"},
	{"tiktoken", "", B("IQ== 0\nIg== 1\n"), EMB_ERR_UNSUPPORTED, "is a file of tiktoken"},
	{"text", "", B("[PAD]\n[UNK]\n"), EMB_ERR_FORMAT, "malformed at byte 0"},
};

static void
check_case(const Case *c)
{
	Count		count;
	EmbAllocator counting = counting_allocator(&count);
	char	   *exact = malloc(c->size > 0 ? c->size : 1);
	EmbError	err = {0};
	EmbTokSpec	spec;
	Tok			t = {0};
	EmbStatus	status;

	memcpy(exact, c->bytes, c->size);
	status = emb_import_spm_bpe("x.model", exact, c->size, c->class, &counting, &spec, &err);
	free(exact);
	if (status == EMB_OK)
	{
		EmbAllocator plain = emb_malloc_allocator();

		status = emb_tok_build(&spec, &plain, &t.block, &t.size, &err);
		emb_tok_spec_free(&spec, &counting);
		if (status == EMB_OK)
			status = emb_tok_open(t.block, t.size, true, &plain, &t.tok, &err);
	}
	CHECKF(status == c->status && count.n_live == 0, "%s: status %d, %s, %ld live", c->what, status, err.message, count.n_live);
	if (status == EMB_OK && c->status == EMB_OK)
	{
		json_t	   *want = json_loads(c->message, 0, NULL);
		int			n;

		CHECKF(encodes(t.tok, "abaz", 4, want, &n), "%s: %d ids", c->what, n);
		json_decref(want);
		tok_close(&t);
	}
	else
		CHECKF(strstr(err.message, c->message) != NULL, "%s: \"%s\"", c->what, err.message);
}

/* Memory that ends at any allocation, and a stop at any poll. */
static bool
stop_now(void *ctx)
{
	return --*(int *) ctx < 0;
}

static void
test_interrupted(void)
{
	char		path[PATH_MAX];
	bool		done = false;
	EmbError	err;
	EmbTokSpec	spec;

	snprintf(path, sizeof(path), "%s/tokenizer/gemma", data_dir());
	for (long after = 0; !done; after++)
	{
		Count		count;
		EmbAllocator counting = counting_allocator(&count);
		EmbStatus	status;

		count.fail_after = after;
		status = emb_import_tokenizer(path, &counting, NULL, &spec, &err);
		done = status == EMB_OK;
		if (done)
			emb_tok_spec_free(&spec, &counting);
		if ((!done && status != EMB_ERR_NOMEM) || count.n_live != 0)
			CHECKF(false, "allocation %ld: status %d, %ld live", after, status, count.n_live);
	}
	CHECK(done);
	for (int polls = 0; polls < 3; polls++)
	{
		int			left = polls;
		EmbStop		stop = {.ctx = &left, .should_stop = stop_now};
		EmbStatus	status = emb_import_tokenizer(path, &mem, &stop, &spec, &err);

		CHECKF(status == EMB_ERR_CANCELLED || status == EMB_OK, "%d polls: status %d", polls, status);
		if (status == EMB_OK)
			emb_tok_spec_free(&spec, &mem);
	}
}

/* 3,000 pieces of one letter: 4.5 million merges would follow, and are counted before they take memory. */
static void
test_many_merges(void)
{
	size_t		room = 3100 * 3020;
	char	   *data = malloc(room);
	size_t		at = 0;
	EmbTokSpec	spec;
	EmbError	err;

	memcpy(data, UNK BPE, sizeof(UNK BPE) - 1);
	at = sizeof(UNK BPE) - 1;
	for (int n = 1; n <= 3000; n++)
	{
		/* 2 bytes each for both lengths, however small they are */
		int			inner = n + 3;

		data[at++] = '\x0A';
		data[at++] = (char) ((inner & 127) | 128);
		data[at++] = (char) (inner >> 7);
		data[at++] = '\x0A';
		data[at++] = (char) ((n & 127) | 128);
		data[at++] = (char) (n >> 7);
		memset(data + at, 'a', (size_t) n);
		at += (size_t) n;
	}
	CHECK(at <= room);
	CHECKF(emb_import_spm_bpe("x.model", data, at, "", &mem, &spec, &err) == EMB_ERR_LIMIT && strstr(err.message, "pieces for 4498500 merges") != NULL, "%s", err.message);
	free(data);
}

/* ------------------------------------------------------------------ notes */

static void
test_notes(void)
{
	static const struct
	{
		const char *what;
		const char *model_type;
		const char *config;
		const char *bytes;
		size_t		size;
		const char *notes[2];	/* of each a part; NULL: no more */
	}			notes[] =
	{
		{"as the file says", "eurobert", "{\"add_bos_token\": false}", B(UNK LETTERS AB BPE IDENTITY), {NULL, NULL}},
		{"no configuration", "eurobert", NULL, B(UNK LETTERS AB BPE IDENTITY), {"no token is put before or after a text", NULL}},
		{"a prefix", "eurobert", "{\"add_bos_token\": false}", B(UNK LETTERS AB BPE "\x1A\x02\x20\x00"), {"no U+2581 comes before a text", NULL}},
		{"spaces", "eurobert", "{\"add_bos_token\": false}", B(UNK LETTERS AB BPE "\x1A\x02\x18\x00"), {"all spaces stay (\"remove_extra_whitespaces\" is true)", NULL}},
		{"both", "eurobert", NULL, B(UNK LETTERS AB BPE), {"before a text (\"add_dummy_prefix\" is true); all spaces stay", "no token is put"}},
		{"escapes", "eurobert", "{\"add_bos_token\": false}", B(UNK LETTERS AB BPE "\x1A\x06\x18\x00\x20\x00\x28\x00"), {"escape_whitespaces", NULL}},
		{"suffix", "eurobert", "{\"add_bos_token\": false}", B(UNK LETTERS AB "\x12\x05\x18\x02\xC0\x01\x01" IDENTITY), {"treat_whitespace_as_suffix", NULL}},
		{"scores", "eurobert", "{\"add_bos_token\": false}", B(UNK LETTERS PIECE("\x0B", "\x02" "ba", "\x01") "\x0A\x0B\x0A\x02" "ab\x15\x00\x00\x00\x00\x18\x01" BPE IDENTITY),
			{"in the order of their ids, not of their scores", NULL}},
		{"Gemma's", "gemma3_text", "{\"add_bos_token\": false}", B(UNK LETTERS AB BPE), {"as a GemmaTokenizer, not as SentencePiece", NULL}},
	};

	for (int i = 0; i < N(notes); i++)
	{
		EmbCheckpoint c = {0};
		EmbTokSpec	spec;
		EmbError	err = {0};
		char		config[100];
		int			n = (notes[i].notes[0] != NULL) + (notes[i].notes[1] != NULL);

		fresh_dir();
		write_file(temp_root, "tokenizer.model", notes[i].bytes, notes[i].size);
		snprintf(config, sizeof(config), "{\"model_type\": \"%s\"}", notes[i].model_type);
		write_text(temp_root, "config.json", config);
		if (notes[i].config != NULL)
			write_text(temp_root, "tokenizer_config.json", notes[i].config);
		if (CHECKF(emb_import_auto_tokenizer(temp_root, &mem, NULL, &c, &spec, &err) == EMB_OK, "%s: %s", notes[i].what, err.message))
			emb_tok_spec_free(&spec, &mem);
		CHECKF(c.n_notes == n, "%s: %d notes, %s", notes[i].what, c.n_notes, c.notes[0].message);
		for (int k = 0; k < n && k < c.n_notes; k++)
			CHECKF(strstr(c.notes[k].message, notes[i].notes[k]) != NULL && c.notes[k].hint[0] != '\0', "%s: %s", notes[i].what, c.notes[k].message);
	}
}

/* Classes that read such a file in other ways, and tokens that are not there. */
static void
test_refusals(void)
{
	static const struct
	{
		const char *model_type;
		const char *config;
		const char *message;
	}			wrong[] =
	{
		{"qwen3", NULL, "class is Qwen2Tokenizer"},
		{"bert", "{\"tokenizer_class\": \"T5TokenizerFast\"}", "class is T5Tokenizer, only GemmaTokenizer"},
		{"gemma3_text", "{\"add_bos_token\": 1}", "add_bos_token"},
		{"gemma3_text", "{\"bos_token\": \"<s>\", \"add_bos_token\": true}", "has no piece \"<s>\""},
		{"gemma3_text", "{\"legacy\": 1, \"tokenizer_class\": \"LlamaTokenizer\"}", "legacy"},
		{"eurobert", "{\"added_tokens_decoder\": {\"x\": {\"content\": \"a\"}}}", "not an id"},
	};

	for (int i = 0; i < N(wrong); i++)
	{
		Count		count;
		EmbAllocator counting = counting_allocator(&count);
		EmbTokSpec	spec;
		EmbError	err = {0};
		char		config[100];
		EmbStatus	status;

		fresh_dir();
		put_model();
		snprintf(config, sizeof(config), "{\"model_type\": \"%s\", \"vocab_size\": 480}", wrong[i].model_type);
		write_text(temp_root, "config.json", config);
		if (wrong[i].config != NULL)
			write_text(temp_root, "tokenizer_config.json", wrong[i].config);
		status = emb_import_auto_tokenizer(temp_root, &counting, NULL, NULL, &spec, &err);
		CHECKF(status != EMB_OK && strstr(err.message, wrong[i].message) != NULL && count.n_live == 0, "%s: %d, \"%s\", %ld", wrong[i].message, status, err.message,
			   count.n_live);
	}
}

int
main(void)
{
	char		path[PATH_MAX];
	FILE	   *file;

	mem = emb_malloc_allocator();
	snprintf(path, sizeof(path), "%s/tokenizer/spm.jsonl", data_dir());
	file = fopen(path, "r");
	if (!CHECKF(file != NULL, "%s", path))
		return done_testing();
	CHECK(for_each_line(file, check_line, NULL) == 18);
	fclose(file);
	test_merges();
	test_charsmap();
	for (int i = 0; i < N(cases); i++)
		check_case(&cases[i]);
	test_interrupted();
	test_many_merges();
	test_notes();
	test_refusals();
	return done_testing();
}
