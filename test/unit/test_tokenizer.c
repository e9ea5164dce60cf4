/*
 * test_tokenizer.c
 *		Ids equal to the reference library's, on the extract in test/data and,
 *		where it is there, on all of the shared goldens.
 */
#include "tok_util.h"

typedef struct Run
{
	const json_t *variants;		/* of the extract: which tokenizer a line is for */
	const char *name;
	Tok			tok;
	int			n_lines;
	int			n_wrong;
} Run;

static int32_t ids[IDS_MAX];
static int32_t type_ids[IDS_MAX];

/* Every cut of a text as an incomplete prefix: "more", or what the whole text gives. */
static bool
prefixes_agree(const Tok *t, const char *text, size_t len, int32_t max_ids)
{
	static int32_t whole[IDS_MAX];
	static int32_t part[IDS_MAX];
	EmbTokResult want,
				got;
	size_t		step = len > 200 ? 37 : 1;

	if (emb_tok_encode(t->tok, &(EmbText) {text, len, true, NULL}, &(EmbReading) {.ids = whole, .max_ids = max_ids},
			&want, NULL) != EMB_OK)
		return false;
	for (size_t cut = 0; cut <= len; cut += step)
	{
		/* An exact block, so that a sanitizer sees any read beyond the prefix. */
		char	   *prefix;
		bool		ok;

		while (cut < len && ((unsigned char) text[cut] & 0xC0) == 0x80)
			cut++;
		prefix = malloc(cut > 0 ? cut : 1);
		memcpy(prefix, text, cut);
		ok = emb_tok_encode(t->tok, &(EmbText) {prefix, cut, false, NULL}, &(EmbReading) {.ids = part, .max_ids = max_ids},
				&got, NULL) == EMB_OK;
		free(prefix);
		if (!ok)
			return false;
		if (!got.need_more && (got.n_ids != want.n_ids || got.truncated != want.truncated ||
							   memcmp(part, whole, want.n_ids * sizeof(int32_t)) != 0))
			return false;
		if (got.need_more && got.truncated)
			return false;
	}
	return true;
}

static bool
single_is_right(const Run *run, const json_t *line)
{
	const char *text = json_string_value(json_object_get(line, "text"));
	size_t		len = json_string_length(json_object_get(line, "text"));
	const json_t *max = json_object_get(line, "max_length");
	EmbTokResult r;
	int64_t		count;

	if (emb_tok_encode(run->tok.tok, &(EmbText) {text, len, true, NULL}, &(EmbReading) {.ids = ids, .max_ids = max ? json_integer_value(max) : IDS_MAX},
			&r, NULL) != EMB_OK ||
		!ids_equal(ids, r.n_ids, json_object_get(line, "ids")) || r.need_more)
		return false;
	if (emb_tok_count(run->tok.tok, text, len, NULL, &count, NULL) != EMB_OK ||
		(count != r.n_ids) != r.truncated || count < r.n_ids)
		return false;
	return prefixes_agree(&run->tok, text, len, 12) && prefixes_agree(&run->tok, text, len, IDS_MAX);
}

/* With the first text read before, and no longer there where it need not be. */
static bool
known_is_equal(const Tok *tok, EmbText first, const EmbText *second, EmbTokTruncation truncation, int32_t max_ids,
			   const EmbTokResult *want)
{
	static int32_t known_ids[IDS_MAX],
				again_ids[IDS_MAX],
				again_types[IDS_MAX];
	EmbTextIds	known;
	EmbTokResult r;
	bool		need_more;

	if (emb_tok_encode_first(tok->tok, &first, &(EmbReading) {.ids = known_ids, .max_ids = max_ids},
			&known, &need_more, NULL) != EMB_OK || need_more)
		return false;
	if (!known.longer)
		first.text = NULL;
	first.known = &known;
	return emb_tok_encode_pair(tok->tok, &first, second, truncation,
			&(EmbReading) {.ids = again_ids, .type_ids = again_types, .max_ids = max_ids}, &r, NULL) == EMB_OK &&
		r.n_ids == want->n_ids && r.truncated == want->truncated && !r.need_more &&
		memcmp(again_ids, ids, r.n_ids * sizeof(int32_t)) == 0 && memcmp(again_types, type_ids, r.n_ids * sizeof(int32_t)) == 0;
}

static bool
pair_is_right(const Run *run, const json_t *line)
{
	const char *strategy = json_string_value(json_object_get(line, "strategy"));
	EmbTokTruncation truncation = strcmp(strategy, "longest_first") == 0 ? EMB_TOK_LONGEST_FIRST
		: strcmp(strategy, "only_first") == 0 ? EMB_TOK_ONLY_FIRST : EMB_TOK_ONLY_SECOND;
	const json_t *a = json_object_get(line, "a");
	const json_t *b = json_object_get(line, "b");
	EmbText		first = {json_string_value(a), json_string_length(a), true, NULL};
	EmbText		second = {json_string_value(b), json_string_length(b), true, NULL};
	int32_t		max_ids = (int32_t) json_integer_value(json_object_get(line, "max_length"));
	EmbTokResult r;
	EmbStatus	status = emb_tok_encode_pair(run->tok.tok, &first, &second, truncation,
			&(EmbReading) {.ids = ids, .type_ids = type_ids, .max_ids = max_ids}, &r, NULL);

	if (json_object_get(line, "error") != NULL)
		return status == EMB_ERR_INVALID_ARGUMENT;
	return status == EMB_OK && ids_equal(ids, r.n_ids, json_object_get(line, "ids")) &&
		ids_equal(type_ids, r.n_ids, json_object_get(line, "type_ids")) &&
		known_is_equal(&run->tok, first, &second, truncation, max_ids, &r);
}

static void
check_line(const json_t *line, void *ctx)
{
	Run		   *run = ctx;
	const char *name = json_string_value(json_object_get(line, "tok"));
	bool		right;

	if (run->variants != NULL && (run->name == NULL || strcmp(name, run->name) != 0))
	{
		EmbError	err;

		tok_close(&run->tok);
		if (!CHECKF(tok_from_variant(run->variants, name, &run->tok, &err) == EMB_OK, "%s: %s", name, err.message))
			exit(1);
		free((char *) run->name);
		run->name = strdup(name);
	}
	right = json_object_get(line, "a") != NULL ? pair_is_right(run, line) : single_is_right(run, line);
	run->n_lines++;
	if (!right && run->n_wrong++ < 5)
	{
		char	   *dump = json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII);

		printf("# wrong: %.600s\n", dump);
		free(dump);
	}
}

static void
test_extract(void)
{
	json_t	   *variants = json_from_data("variants.json");
	char		path[512];
	FILE	   *file;
	Run			run = {.variants = variants};

	snprintf(path, sizeof(path), "%s/tokenizer/golden.jsonl", data_dir());
	file = fopen(path, "r");
	if (!CHECK(file != NULL && variants != NULL))
		exit(1);
	for_each_line(file, check_line, &run);
	fclose(file);
	CHECKF(run.n_lines > 1000 && run.n_wrong == 0, "%d of %d lines of the extract differ", run.n_wrong, run.n_lines);
	tok_close(&run.tok);
	free((char *) run.name);
	json_decref(variants);
}

static void
test_golden_file(const char *shared, const char *name, const char *suffix, const Tok *tok)
{
	char		path[512];
	char		command[600];
	FILE	   *pipe;
	Run			run = {.tok = *tok};

	snprintf(path, sizeof(path), "%s/goldens/tokenizers/%s%s.jsonl.gz", shared, name, suffix);
	if (access(path, R_OK) != 0)
		return;
	snprintf(command, sizeof(command), "gzip -dc '%s'", path);
	pipe = popen(command, "r");
	for_each_line(pipe, check_line, &run);
	pclose(pipe);
	CHECKF(run.n_lines > 50 && run.n_wrong == 0, "%s%s: %d of %d lines differ", name, suffix, run.n_wrong, run.n_lines);
	printf("# %s%s: %d lines, %d differ\n", name, suffix, run.n_lines, run.n_wrong);
}

static void
test_shared(const char *name, const char *base, bool variant)
{
	const char *shared = shared_dir();
	char		command[600];
	json_t	   *json;
	Tok			tok;
	EmbError	err;

	snprintf(command, sizeof(command), "xz -dc '%s/tokenizers/%s/tokenizer.json.xz'", shared, base);
	json = json_from_command(command);
	if (!CHECKF(json != NULL, "%s", command))
		return;
	if (variant)
	{
		json_t	   *changes;

		snprintf(command, sizeof(command), "%s/tokenizers/%s/variants/%s.json", shared, base, name);
		changes = json_load_file(command, 0, NULL);
		if (CHECKF(changes != NULL, "%s", command))
			apply_changes(json, changes);
		json_decref(changes);
	}
	if (CHECKF(tok_from_json(json, &tok, &err) == EMB_OK, "%s: %s", name, err.message))
	{
		test_golden_file(shared, name, "", &tok);
		test_golden_file(shared, name, ".pairs", &tok);
		test_golden_file(shared, name, ".trunc", &tok);
	}
	tok_close(&tok);
	json_decref(json);
}

int
main(void)
{
	test_extract();
	if (shared_dir() != NULL)
	{
		test_shared("bert-uncased", "bert-uncased", false);
		test_shared("bert-chinese", "bert-chinese", false);
		test_shared("bert-chinese-lower", "bert-chinese", true);
		test_shared("xlm-roberta", "xlm-roberta", false);
		test_shared("xlm-roberta-base", "xlm-roberta", true);
		test_shared("xlm-roberta-new", "xlm-roberta", true);
		test_shared("qwen3", "qwen3", false);
		test_shared("qwen3-embedding", "qwen3", true);
	}
	else
		skip("no shared goldens beside the checkout: only the extract in test/data was compared");
	return done_testing();
}
