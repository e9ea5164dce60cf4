/*
 * test_tokenizer_class.c
 *		Tokenizers whose tokenizer.json and companions contradict each other:
 *		ids of AutoTokenizer of transformers 5 (data/tokenizer/classes.jsonl, by
 *		tools/compare_auto_tokenizer.py), and a note exactly where they are not
 *		those of tokenizer.json alone.
 */
#include "import/checkpoint.h"
#include "model_util.h"
#include "tok_util.h"

static EmbAllocator mem;
static int	n_followed;

static void
write_json(const char *name, const json_t *json)
{
	char	   *text = json_dumps(json, JSON_COMPACT);

	write_text(temp_root, name, text);
	free(text);
}

/* The directory of a line. */
static void
write_dir(const json_t *line)
{
	char		path[PATH_MAX];
	const char *file;
	const json_t *content;
	json_t	   *base;

	fresh_dir();
	snprintf(path, sizeof(path), "%s/tiny/%s/model/tokenizer.json", data_dir(), json_string_value(json_object_get(line, "base")));
	base = json_load_file(path, 0, NULL);
	if (!CHECKF(base != NULL, "%s", path))
		exit(1);
	json_object_update(base, json_object_get(line, "json"));
	write_json("tokenizer.json", base);
	json_decref(base);
	json_object_foreach(json_object_get(line, "files"), file, content)
		write_json(file, content);
}

static void
check_ids(const char *what, const EmbTokenizer *tok, const json_t *line, int64_t n_rows)
{
	const json_t *texts = json_object_get(line, "texts");

	for (size_t i = 0; i < json_array_size(texts); i++)
	{
		const json_t *text = json_array_get(texts, i);
		const json_t *want = json_array_get(json_object_get(line, "ids"), i);
		static int32_t ids[IDS_MAX];
		bool		has_row = true;
		EmbTokResult r = {0};
		EmbError	err = {0};

		/* transformers adds tokens that the model has no row for, and fails there */
		for (size_t k = 0; k < json_array_size(want); k++)
			has_row &= json_integer_value(json_array_get(want, k)) < n_rows;
		if (!has_row)
			continue;
		CHECKF(emb_tok_encode(tok, &(EmbText) {json_string_value(text), json_string_length(text), true, NULL},
				&(EmbReading) {.ids = ids, .max_ids = IDS_MAX}, &r, &err) == EMB_OK && ids_equal(ids, r.n_ids, want),
			   "%s, text %zu: %d ids, %s", what, i, r.n_ids, err.message);
	}
}

/* Notes but that on tokens without a row, which both ways leave out. */
static int
count_differences(const EmbCheckpoint *c)
{
	int			n = 0;

	for (int i = 0; i < c->n_notes; i++)
		n += strstr(c->notes[i].message, "for which the model has no row") == NULL;
	return n;
}

static void
check_line(const json_t *line, void *ctx)
{
	EmbCheckpoint c = {0};
	EmbTokSpec	spec;
	Tok			followed = {0};
	Tok			alone = {0};
	char		what[128];
	int64_t		n_rows = json_integer_value(json_object_get(json_object_get(json_object_get(line, "files"), "config.json"), "vocab_size"));
	EmbError	err = {0};

	(void) ctx;
	snprintf(what, sizeof(what), "%s, %s", json_string_value(json_object_get(line, "base")), json_string_value(json_object_get(line, "variant")));
	write_dir(line);
	if (emb_import_auto_tokenizer(temp_root, &mem, NULL, &c, &spec, &err) != EMB_OK)
	{
		CHECKF(strstr(err.message, "add_prefix_space") != NULL || strstr(err.message, "\"post_processor\" adds id") != NULL, "%s: %s", what, err.message);
		return;
	}
	if (!CHECKF(tok_from_spec(&spec, &followed, &err) == EMB_OK, "%s: %s", what, err.message))
		return;
	check_ids(what, followed.tok, line, n_rows);
	if (emb_import_tokenizer(temp_root, &mem, NULL, &spec, &err) == EMB_OK && tok_from_spec(&spec, &alone, &err) == EMB_OK)
	{
		bool		same = followed.size == alone.size && memcmp(followed.block, alone.block, alone.size) == 0;

		CHECKF(same == (count_differences(&c) == 0), "%s: %d notes, %s", what, c.n_notes, c.notes[0].message);
		n_followed += !same;
	}
	tok_close(&followed);
	if (alone.tok != NULL)
		tok_close(&alone);
}

/* What a note says, and that a class for another kind of vocabulary is not followed. */
static void
test_notes(void)
{
	static const struct
	{
		const char *base;
		const char *config;
		const char *note;
	}			notes[] =
	{
		{"bert-cls", "{\"tokenizer_class\": \"BertTokenizer\", \"do_lower_case\": false}", "class BertTokenizer: texts are not lowercased"},
		{"bert-cls", "{\"tokenizer_class\": \"BertTokenizer\", \"strip_accents\": false}", "accents stay (\"strip_accents\")"},
		{"bert-cls", "{\"tokenizer_class\": \"BertTokenizer\", \"tokenize_chinese_chars\": false}", "tokenize_chinese_chars"},
		{"bge-m3", "{\"tokenizer_class\": \"XLMRobertaTokenizerFast\"}", "at the ends of a text as none"},
		{"bge-m3", "{\"tokenizer_class\": \"BertTokenizer\"}", "no vocabulary for a BertTokenizer"},
		{"bert-cls", "{\"added_tokens_decoder\": {\"7\": {\"content\": \"a\", \"normalized\": true}}}", "\"a\" the first, comes from its companions"},
	};

	for (size_t i = 0; i < sizeof(notes) / sizeof(notes[0]); i++)
	{
		EmbCheckpoint c = {0};
		EmbTokSpec	spec;
		EmbError	err = {0};
		json_t	   *line = json_pack("{s:s}", "base", notes[i].base);

		write_dir(line);
		json_decref(line);
		write_text(temp_root, "tokenizer_config.json", notes[i].config);
		if (CHECKF(emb_import_auto_tokenizer(temp_root, &mem, NULL, &c, &spec, &err) == EMB_OK, "%s", err.message))
			emb_tok_spec_free(&spec, &mem);
		CHECKF(c.n_notes == 1 && strstr(c.notes[0].message, notes[i].note) != NULL && c.notes[0].hint[0] != '\0', "%d: %s", c.n_notes, c.notes[0].message);
	}
}

/* Without tokenizer_config.json the file is taken as it is, other than transformers does. */
static void
test_missing_config(void)
{
	static const struct
	{
		const char *base;
		const char *model_type;
		const char *note;		/* NULL: transformers' defaults are the file's */
	}			missing[] =
	{
		{"bert-mean-36", "bert", "lowercases texts"},
		{"bert-cls", "bert", NULL},
		{"bge-m3", "xlm-roberta", "drops white space"},
		{"bge-m3", "new", NULL},
	};

	for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++)
	{
		EmbCheckpoint c = {0};
		EmbTokSpec	spec;
		Tok			followed,
					alone;
		EmbError	err = {0};
		json_t	   *line = json_pack("{s:s, s:{s:{s:s}}}", "base", missing[i].base, "files", "config.json", "model_type", missing[i].model_type);

		write_dir(line);
		json_decref(line);
		if (!CHECK(emb_import_auto_tokenizer(temp_root, &mem, NULL, &c, &spec, &err) == EMB_OK && tok_from_spec(&spec, &followed, &err) == EMB_OK) ||
			!CHECK(emb_import_tokenizer(temp_root, &mem, NULL, &spec, &err) == EMB_OK && tok_from_spec(&spec, &alone, &err) == EMB_OK))
			continue;
		CHECK(followed.size == alone.size && memcmp(followed.block, alone.block, alone.size) == 0);
		CHECKF(c.n_notes == (missing[i].note != NULL) && (missing[i].note == NULL || strstr(c.notes[0].message, missing[i].note) != NULL),
			   "%s: %d notes, %s", missing[i].base, c.n_notes, c.notes[0].message);
		tok_close(&followed);
		tok_close(&alone);
	}
}

static void
test_refusals(void)
{
	static const struct
	{
		const char *file;
		const char *content;
		const char *message;
	}			wrong[] =
	{
		{"tokenizer_config.json", "{\"tokenizer_class\": \"BertTokenizer\", \"do_lower_case\": \"no\"}", "do_lower_case"},
		{"tokenizer_config.json", "{\"tokenizer_class\": 1}", "tokenizer_class"},
		{"tokenizer_config.json", "{\"added_tokens_decoder\": []}", "added_tokens_decoder"},
		{"tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": {\"content\": \"a\"}}}", "not an id"},
		{"tokenizer_config.json", "{\"added_tokens_decoder\": {\"99999999999999999999\": {\"content\": \"a\"}}}", "not an id"},
		{"tokenizer_config.json", "{\"added_tokens_decoder\": {\"5\": {}}}", "content"},
		{"tokenizer_config.json", "{\"cls_token\": 5}", "cls_token"},
		{"tokenizer_config.json", "{\"additional_special_tokens\": [5]}", "additional_special_tokens"},
		{"special_tokens_map.json", "{\"mask_token\": []}", "mask_token"},
		{"added_tokens.json", "[\"a\"]", "added_tokens.json"},
		{"added_tokens.json", "{\"a\": \"b\"}", "id of \"a\""},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		Count		count;
		EmbAllocator counting = counting_allocator(&count);
		EmbTokSpec	spec;
		EmbError	err = {0};
		json_t	   *line = json_pack("{s:s}", "base", "bert-cls");
		EmbStatus	status;

		write_dir(line);
		json_decref(line);
		write_text(temp_root, wrong[i].file, wrong[i].content);
		status = emb_import_auto_tokenizer(temp_root, &counting, NULL, NULL, &spec, &err);
		CHECKF(status == EMB_ERR_FORMAT && strstr(err.message, wrong[i].message) != NULL && count.n_live == 0,
			   "%s: %d, \"%s\", %ld", wrong[i].content, status, err.message, count.n_live);
	}
}

int
main(void)
{
	char		path[PATH_MAX];
	FILE	   *file;

	mem = emb_malloc_allocator();
	snprintf(path, sizeof(path), "%s/tokenizer/classes.jsonl", data_dir());
	file = fopen(path, "r");
	if (CHECKF(file != NULL, "%s", path))
	{
		CHECK(for_each_line(file, check_line, NULL) > 60);
		fclose(file);
	}
	CHECKF(n_followed > 20, "%d tokenizers are not as tokenizer.json says", n_followed);
	test_notes();
	test_missing_config();
	test_refusals();
	return done_testing();
}
