/*
 * test_sentencepiece.c
 *		Protocol buffers field by field, and what is refused of a
 *		sentencepiece.bpe.model; its ids are among the goldens of test_tokenizer.
 */
#include "formats/protobuf.h"
#include "tok_util.h"

#define N(a) ((int) (sizeof(a) / sizeof((a)[0])))

typedef struct Wire
{
	const char *what;
	const char *bytes;
	size_t		size;
	const char *fields;			/* "number:wire:value or size" of each, then "!" where the rest is malformed */
} Wire;

#define B(s) s, sizeof(s) - 1

static const Wire wires[] = {
	{"nothing", B(""), ""},
	{"varint", B("\x08\x96\x01"), "1:0:150 "},
	{"largest varint", B("\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"), "1:0:18446744073709551615 "},
	{"65 bits", B("\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02"), "!"},
	{"eleven bytes", B("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"), "!"},
	{"cut off varint", B("\x08\x96"), "!"},
	{"tag alone", B("\x08"), "!"},
	{"cut off tag", B("\x80"), "!"},
	{"bytes", B("\x12\x02hi\x12\x00"), "2:2:2 2:2:0 "},
	{"bytes beyond the end", B("\x12\x03hi"), "!"},
	{"bytes far beyond the end", B("\x12\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01hi"), "!"},
	{"fixed", B("\x1D\x01\x00\x00\x80\x21\x02\x00\x00\x00\x00\x00\x00\x80"), "3:5:2147483649 4:1:9223372036854775810 "},
	{"cut off fixed32", B("\x1D\x01\x00\x00"), "!"},
	{"cut off fixed64", B("\x08\x01\x21\x02\x00\x00\x00\x00\x00\x00"), "1:0:1 !"},
	{"field 0", B("\x00\x01"), "!"},
	{"group", B("\x0B\x0C"), "!"},
	{"wire 6", B("\x0E\x01"), "!"},
	{"wire 7", B("\x0F\x01"), "!"},
	{"large number", B("\xF8\xFF\xFF\xFF\x0F\x01"), "536870911:0:1 "},
	{"too large a number", B("\x88\x80\x80\x80\x10\x01"), "!"}
};

static void
test_wire(void)
{
	for (int i = 0; i < N(wires); i++)
	{
		uint8_t    *exact = malloc(wires[i].size > 0 ? wires[i].size : 1);
		EmbProto	m = {exact, exact + wires[i].size, false};
		EmbProtoField f;
		char		got[256] = "";

		memcpy(exact, wires[i].bytes, wires[i].size);
		while (emb_proto_next(&m, &f))
			snprintf(got + strlen(got), sizeof(got) - strlen(got), "%u:%u:%llu ", f.number, f.wire,
					 f.wire == EMB_PROTO_BYTES ? (unsigned long long) f.size : (unsigned long long) f.value);
		if (m.bad)
			strcat(got, "!");
		CHECKF(strcmp(got, wires[i].fields) == 0, "%s: \"%s\", not \"%s\"", wires[i].what, got, wires[i].fields);
		free(exact);
	}
}

/* Messages: pieces with a score of -1.0 but for the first three. */
#define PIECE(len, text)	"\x0A" len "\x0A" text "\x15\x00\x00\x80\xBF"
#define FIRST	"\x0A\x09\x0A\x05<unk>\x18\x02" "\x0A\x07\x0A\x03<s>\x18\x03" "\x0A\x08\x0A\x04</s>\x18\x03"
#define NORMAL	PIECE("\x08", "\x01" "a") PIECE("\x0A", "\x03\xE2\x96\x81")

typedef struct Case
{
	const char *what;
	const char *bytes;
	size_t		size;
	EmbStatus	status;
	const char *message;
} Case;

static const Case cases[] = {
	{"the smallest", B(FIRST NORMAL), EMB_OK, NULL},
	{"unknown fields", B(FIRST "\x20\x05" NORMAL "\xA2\x06\x01x"), EMB_OK, NULL},
	{"empty", B(""), EMB_ERR_FORMAT, "0 pieces"},
	{"nothing but special pieces", B(FIRST), EMB_ERR_FORMAT, "3 pieces"},
	{"text", B("[PAD]\n[UNK]\n"), EMB_ERR_FORMAT, "malformed at byte 0"},
	{"cut off", B(FIRST NORMAL "\x0A\x09\x0A"), EMB_ERR_FORMAT, "malformed at byte"},
	{"piece cut off", B(FIRST NORMAL "\x0A\x03\x0A\x05x"), EMB_ERR_FORMAT, "malformed at byte"},
	{"another order", B("\x0A\x07\x0A\x03<s>\x18\x03" "\x0A\x09\x0A\x05<unk>\x18\x02" "\x0A\x08\x0A\x04</s>\x18\x03" NORMAL), EMB_ERR_UNSUPPORTED, "piece 0 is not \"<unk>\""},
	{"user-defined piece", B(FIRST NORMAL "\x0A\x05\x0A\x01x\x18\x04"), EMB_ERR_UNSUPPORTED, "piece 5 has type 4"},
	{"byte piece", B(FIRST NORMAL "\x0A\x05\x0A\x01x\x18\x06"), EMB_ERR_UNSUPPORTED, "piece 5 has type 6"},
	{"unused piece", B(FIRST NORMAL "\x0A\x05\x0A\x01x\x18\x05"), EMB_OK, NULL},
	{"empty piece", B(FIRST NORMAL "\x0A\x00"), EMB_OK, NULL},
	{"NaN", B(FIRST NORMAL "\x0A\x08\x0A\x01x\x15\x00\x00\xC0\x7F"), EMB_ERR_FORMAT, "score of piece 5"},
	{"invalid UTF-8", B(FIRST NORMAL "\x0A\x03\x0A\x01\xFF"), EMB_ERR_FORMAT, "vocabulary entry 6"},
	{"BPE", B(FIRST NORMAL "\x12\x02\x18\x02"), EMB_ERR_UNSUPPORTED, "\"trainer_spec.model_type\" is 2"},
	{"unigram", B(FIRST NORMAL "\x12\x02\x18\x01"), EMB_OK, NULL},
	{"byte fallback", B(FIRST NORMAL "\x12\x03\x98\x02\x01"), EMB_ERR_UNSUPPORTED, "byte_fallback"},
	{"trainer cut off", B(FIRST NORMAL "\x12\x01\x18"), EMB_ERR_FORMAT, "malformed at byte"},
	{"bad charsmap", B(FIRST NORMAL "\x1A\x06\x12\x04\x01\x02\x03\x04"), EMB_ERR_FORMAT, "charsmap of 4 bytes is corrupt"},
	{"no charsmap", B(FIRST NORMAL "\x1A\x03\x0A\x01x"), EMB_OK, NULL}
};

static void
test_cases(void)
{
	for (int i = 0; i < N(cases); i++)
	{
		const Case *c = &cases[i];
		EmbAllocator mem = emb_malloc_allocator();
		char	   *exact = malloc(c->size > 0 ? c->size : 1);
		EmbError	err = {0};
		EmbTokSpec	spec;
		Tok			t = {0};
		EmbStatus	status;

		memcpy(exact, c->bytes, c->size);
		status = emb_import_sentencepiece("x.model", exact, c->size, &mem, &spec, &err);
		free(exact);
		if (status == EMB_OK)
			status = tok_from_spec(&spec, &t, &err);
		CHECKF(status == c->status, "%s: status %d, %s", c->what, status, err.message);
		if (c->message != NULL)
			CHECKF(strstr(err.message, c->message) != NULL, "%s: \"%s\"", c->what, err.message);
		if (status == EMB_OK)
		{
			int32_t		ids[8];
			EmbTokResult r;

			CHECKF(emb_tok_encode(t.tok, &(EmbText) {"a", 1, true, NULL}, &(EmbReading) {.ids = ids, .max_ids = 8}, &r, &err) == EMB_OK && r.n_ids == 4 &&
				   ids[0] == 0 && ids[1] == 5 && ids[2] == 4 && ids[3] == 2, "%s: %d ids", c->what, r.n_ids);
			tok_close(&t);
		}
	}
}

/* ---------------------------------------------------------------- folders */

static char folder[] = "/tmp/embed_spm_XXXXXX";

static void
put(const char *name, const char *content, size_t size)
{
	char		path[256];
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	unlink(path);
	if (content == NULL)
		return;
	file = fopen(path, "w");
	fwrite(content, 1, size, file);
	fclose(file);
}

typedef struct Folder
{
	const char *what;
	const char *config;
	EmbStatus	status;
	const char *text;			/* or part of the message */
	const char *ids;
} Folder;

static const Folder folders[] = {
	{"nothing beside it", NULL, EMB_OK, "a <mask>a", "[0, 5, 4, 6, 5, 4, 2]"},
	{"of the class", "{\"tokenizer_class\": \"XLMRobertaTokenizer\"}", EMB_OK, "<s>a", "[0, 0, 5, 4, 2]"},
	{"tokens in a decoder", "{\"mask_token\": \"<mask>\", \"added_tokens_decoder\": {\"6\": {\"content\": \"<mask>\"}, \"7\": {\"content\": \"<new>\"}}}",
		EMB_OK, "a <mask> <new>", "[0, 5, 4, 6, 7, 2]"},
	{"another separator", "{\"sep_token\": \"<unk>\"}", EMB_OK, "a", "[0, 5, 4, 3]"},
	{"a separator that is not there", "{\"sep_token\": \"[SEP]\"}", EMB_ERR_FORMAT, "no line \"[SEP]\"", NULL},
	{"another class", "{\"tokenizer_class\": \"CamembertTokenizer\"}", EMB_ERR_UNSUPPORTED, "\"CamembertTokenizer\", only XLMRobertaTokenizer", NULL},
	{"bad configuration", "[]", EMB_ERR_FORMAT, "not a JSON object", NULL}
};

static void
test_folders(void)
{
	if (!CHECK(mkdtemp(folder) != NULL))
		return;
	put("sentencepiece.bpe.model", FIRST NORMAL, sizeof(FIRST NORMAL) - 1);
	for (int i = 0; i < N(folders); i++)
	{
		const Folder *c = &folders[i];
		EmbAllocator mem = emb_malloc_allocator();
		EmbTokSpec	spec;
		EmbError	err = {0};
		Tok			t = {0};
		EmbStatus	status;

		put("tokenizer_config.json", c->config, c->config != NULL ? strlen(c->config) : 0);
		status = emb_import_tokenizer(folder, &mem, NULL, &spec, &err);
		if (status == EMB_OK)
			status = tok_from_spec(&spec, &t, &err);
		CHECKF(status == c->status, "%s: status %d, %s", c->what, status, err.message);
		if (status == EMB_OK)
		{
			json_t	   *want = json_loads(c->ids, 0, NULL);
			int32_t		ids[32];
			EmbTokResult r;

			CHECKF(emb_tok_encode(t.tok, &(EmbText) {c->text, strlen(c->text), true, NULL}, &(EmbReading) {.ids = ids, .max_ids = 32},
					&r, &err) == EMB_OK &&
				   ids_equal(ids, r.n_ids, want), "%s: %d ids, %d %d %d %d", c->what, r.n_ids, ids[1], ids[2], ids[3], ids[4]);
			json_decref(want);
			tok_close(&t);
		}
		else
			CHECKF(strstr(err.message, c->text) != NULL, "%s: \"%s\"", c->what, err.message);
	}
	/* A tokenizer.json is preferred. */
	put("tokenizer_config.json", NULL, 0);
	put("tokenizer.json", "{}", 2);
	{
		EmbAllocator mem = emb_malloc_allocator();
		EmbTokSpec	spec;
		EmbError	err;

		CHECK(emb_import_tokenizer(folder, &mem, NULL, &spec, &err) == EMB_ERR_UNSUPPORTED && strstr(err.message, "tokenizer.json") != NULL);
	}
	put("tokenizer.json", NULL, 0);
	put("sentencepiece.bpe.model", NULL, 0);
	rmdir(folder);
}

int
main(void)
{
	test_wire();
	test_cases();
	test_folders();
	return done_testing();
}
