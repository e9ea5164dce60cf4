/*
 * test_template.c
 *		Pairs that a decoder reads by a template: the ids of the model card's
 *		code, however the pair is read and wherever it is cut; what kind of
 *		model a decoder is; the option "template".
 */
#include "convert/answers.h"
#include "import/checkpoint.h"
#include "import/hf_template.h"
#include "model/model.h"
#include "model_util.h"

#include <jansson.h>

#define TINY		"test/data/tiny/qwen3-rerank/model"
#define MAX_IDS		4096
#define INSTRUCTION	"Given a web search query, retrieve relevant passages that answer the query"

static EmbAllocator mem;

/* ------------------------------------------------------- a model that reads */

/* A model of which only the reading is open. */
typedef struct Reader
{
	EmbCheckpoint checkpoint;
	void	   *block;
	EmbModel	model;
} Reader;

static bool
open_reader(const char *dir, const EmbCheckpointOptions *options, Reader *r)
{
	EmbError	err = {0};
	size_t		size;
	EmbModel   *m = &r->model;

	memset(r, 0, sizeof(*r));
	if (!CHECKF(emb_checkpoint_open_dir(dir, options, &mem, NULL, &r->checkpoint, &err) == EMB_OK, "%s: %s", dir, err.message) ||
		!CHECK(emb_tok_build(&r->checkpoint.tokenizer, &mem, &r->block, &size, &err) == EMB_OK) ||
		!CHECKF(emb_tok_open(r->block, size, true, &mem, &m->tok, &err) == EMB_OK, "%s", err.message))
		return false;
	m->mem = mem;
	if (!CHECKF(emb_answers_look_up(m->tok, &r->checkpoint, NULL, &err) == EMB_OK, "%s", err.message) ||
		!CHECKF(emb_answers_find_seam(m->tok, &r->checkpoint.pair_template, &mem, NULL, &err) == EMB_OK, "%s", err.message))
		return false;
	m->template.pair = r->checkpoint.pair_template;
	for (int i = 0; i < EMB_TEMPLATE_TEXTS; i++)
		m->template.bytes[i] = strlen(m->template.pair.texts[i]);
	m->info.has_template = true;
	m->info.kind = EMB_KIND_RERANKER;
	m->info.max_tokens = MAX_IDS;
	return CHECKF(emb_template_open(m, &err) == EMB_OK, "%s", err.message);
}

static void
close_reader(Reader *r)
{
	emb_tok_close(r->model.tok);
	emb_release(&mem, r->model.template.ids);
	emb_release(&mem, r->block);
	emb_checkpoint_close(&r->checkpoint);
}

/* A reader that returns no more than it is asked for. */
typedef struct Slow
{
	const char *text;
	size_t		len;
	int			n_reads;
} Slow;

static EmbStatus
read_slowly(void *ctx, size_t want, EmbText *text, EmbError *err)
{
	Slow	   *slow = ctx;

	(void) err;
	slow->n_reads++;
	*text = (EmbText) {slow->text, emb_text_clip(slow->text, slow->len, want), want >= slow->len, NULL};
	return EMB_OK;
}

typedef struct Pair
{
	const char *instruction;	/* NULL: the model's own */
	const char *query;
	const char *document;
} Pair;

static EmbReading
reading(const Pair *pair, int32_t *ids, int32_t max_ids)
{
	return (EmbReading) {.ids = ids, .max_ids = max_ids, .mem = &mem, .instruction = pair->instruction,
		.instruction_bytes = pair->instruction != NULL ? strlen(pair->instruction) : 0};
}

/* At once, from memory. */
static EmbEncoded
read_whole_pair(const Reader *r, const Pair *pair, int32_t *ids, int32_t max_ids)
{
	EmbText		a = {pair->query, strlen(pair->query), true, NULL};
	EmbText		b = {pair->document, strlen(pair->document), true, NULL};
	EmbReading	to = reading(pair, ids, max_ids);
	EmbEncoded	result = {0};
	EmbError	err = {0};

	CHECKF(emb_model_encode_pair(&r->model, &a, &b, &to, &result, &err) == EMB_OK, "%s", err.message);
	return result;
}

/* The query first, as for many documents; both from slow readers. */
static EmbEncoded
read_query_first(const Reader *r, const Pair *pair, int32_t *ids, int32_t max_ids)
{
	static int32_t query_ids[MAX_IDS];
	Slow		query = {pair->query, strlen(pair->query), 0};
	Slow		document = {pair->document, strlen(pair->document), 0};
	EmbTextReader a = {&query, read_slowly};
	EmbTextReader b = {&document, read_slowly};
	EmbReading	first = reading(pair, query_ids, max_ids);
	EmbReading	to = reading(pair, ids, max_ids);
	EmbTextIds	known;
	EmbText		with_known = {pair->query, strlen(pair->query), true, &known};
	EmbTextReader again = emb_text_reader(&with_known);
	EmbEncoded	result = {0};
	EmbError	err = {0};

	CHECKF(emb_model_read_first(&r->model, &a, &first, &known, &err) == EMB_OK, "%s", err.message);
	CHECKF(emb_model_read_pair(&r->model, &again, &b, &to, &result, &err) == EMB_OK, "%s", err.message);
	return result;
}

static bool
same_ids(const int32_t *a, int32_t n_a, const int32_t *b, int32_t n_b)
{
	return n_a == n_b && memcmp(a, b, n_a * sizeof(int32_t)) == 0;
}

/* ------------------------------------------------------------ golden ids */

/* The ids of inputs.jsonl, three ways of reading. */
static void
check_line(Reader *r, json_t *line)
{
	static int32_t want[MAX_IDS];
	static int32_t got[MAX_IDS];
	Pair		pair = {json_string_value(json_object_get(line, "instruct")), json_string_value(json_object_get(line, "query")),
	json_string_value(json_object_get(line, "doc"))};
	json_t	   *list = json_object_get(line, "ids");
	int32_t		n = (int32_t) json_array_size(list);
	int32_t		seam = r->model.template.pair.seam;
	EmbEncoded	e;

	for (int32_t i = 0; i < n && i < MAX_IDS; i++)
		want[i] = (int32_t) json_integer_value(json_array_get(list, i));
	e = read_whole_pair(r, &pair, got, MAX_IDS);
	CHECKF(same_ids(got, e.n_ids, want, n) && !e.truncated && e.n_shared > r->model.template.n_prefix, "\"%.40s\": %d ids, %d", pair.document, e.n_ids, n);
	e = read_query_first(r, &pair, got, MAX_IDS);
	CHECKF(same_ids(got, e.n_ids, want, n), "\"%.40s\" with a known query", pair.document);
	if (r->model.template.pair.is_apart)
		return;
	r->model.template.pair.seam = EMB_TEMPLATE_NO_SEAM;
	e = read_query_first(r, &pair, got, MAX_IDS);
	CHECKF(same_ids(got, e.n_ids, want, n) && e.n_shared == r->model.template.n_prefix, "\"%.40s\" as one text", pair.document);
	r->model.template.pair.seam = seam;
}

static void
check_golden(const char *dir, const char *name, const char *seam, int32_t yes, int32_t no)
{
	EmbCheckpointOptions options = {.name = name};
	char		model[PATH_MAX];
	size_t		size;
	char	   *lines = read_file(dir, "inputs.jsonl", &size);
	Reader		r;
	int			n = 0;

	snprintf(model, sizeof(model), "%.4000s/model", dir);
	if (!CHECKF(lines != NULL, "%s", dir) || !open_reader(model, &options, &r))
		return;
	CHECKF(r.checkpoint.answer_ids[0] == yes && r.checkpoint.answer_ids[1] == no, "%s: answers %d, %d", name,
		   r.checkpoint.answer_ids[0], r.checkpoint.answer_ids[1]);
	CHECKF(r.model.template.pair.seam == (int32_t) strlen(seam), "%s: seam %d", name, r.model.template.pair.seam);
	for (char *line = strtok(lines, "\n"); line != NULL; line = strtok(NULL, "\n"), n++)
	{
		json_t	   *root = json_loads(line, 0, NULL);

		check_line(&r, root);
		json_decref(root);
	}
	CHECKF(n >= 9, "%s: %d lines", name, n);
	close_reader(&r);
	free(lines);
}

static void
test_golden(void)
{
	static const struct
	{
		const char *name;
		int32_t		yes,
					no;
	}			others[] =
	{
		{"qwen3-rerank-untied", 258, 257}, {"qwen3-rerank-k", 258, 257}, {"qwen3-rerank-logitscore", 258, 257}, {"qwen3-rerank-seqcls", -1, -1},
	};

	check_golden("test/data/tiny/qwen3-rerank", "qwen3-rerank", "\n<Document>:", 258, 257);
	check_golden("test/data/tiny/qwen2-rerank", "qwen2-rerank", "", 16, 15);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
	{
		char		dir[PATH_MAX];

		if (shared_dir() == NULL)
			skip("the other decoders that rerank need the reference data");
		else
		{
			snprintf(dir, sizeof(dir), "%.3000s/goldens/tiny/%s", shared_dir(), others[i].name);
			check_golden(dir, others[i].name, "\n<Document>:", others[i].yes, others[i].no);
		}
	}
}

/* ------------------------------------------------------- cutting, oddities */

/* Cut to max ids: the ids of the whole without its suffix, from the left, then the suffix. */
static void
check_cut(Reader *r, const Pair *pair, int32_t max)
{
	static int32_t whole[MAX_IDS];
	static int32_t got[MAX_IDS];
	int32_t		n_suffix = r->model.template.n_suffix;
	EmbEncoded	all = read_whole_pair(r, pair, whole, MAX_IDS);
	EmbEncoded	e;

	for (int way = 0; way < 2; way++)
	{
		e = way == 0 ? read_whole_pair(r, pair, got, max) : read_query_first(r, pair, got, max);
		if (all.n_ids <= max)
			CHECKF(same_ids(got, e.n_ids, whole, all.n_ids) && !e.truncated, "%d ids fit %d", all.n_ids, max);
		else
			CHECKF(e.n_ids == max && e.truncated && memcmp(got, whole, (max - n_suffix) * sizeof(int32_t)) == 0 &&
				   memcmp(got + max - n_suffix, whole + all.n_ids - n_suffix, n_suffix * sizeof(int32_t)) == 0 && e.n_shared <= max - n_suffix,
				   "\"%.20s\", \"%.20s\" cut to %d, way %d: %d ids", pair->query, pair->document, max, way, e.n_ids);
	}
}

static void
test_cut(Reader *r)
{
	static char long_text[4000];
	const Pair	pairs[] =
	{
		{NULL, "what is postgresql?", "A database. It stores rows, and answers questions about them."},
		{NULL, "", ""},
		{"", "q", "d"},
		{"An instruction of its own", long_text, "never read"},
		{long_text, "q", "never read"},
		{NULL, "q", long_text},
	};
	int32_t		n_fixed = r->model.template.n_prefix + r->model.template.n_suffix;
	static int32_t ids[MAX_IDS];
	EmbText		text = {"q", 1, true, NULL};
	EmbReading	to = {.ids = ids, .max_ids = n_fixed, .mem = &mem};
	EmbEncoded	e;
	EmbError	err;

	for (size_t i = 0; i + 1 < sizeof(long_text); i++)
		long_text[i] = " abc defg."[i % 10];
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
	{
		int32_t		n = read_whole_pair(r, &pairs[i], ids, MAX_IDS).n_ids;

		for (int32_t max = n_fixed + 1; max < n_fixed + 70; max++)
			check_cut(r, &pairs[i], max);
		for (int32_t max = n - 2; max <= n + 2 && max <= MAX_IDS; max++)
			if (max > n_fixed)
				check_cut(r, &pairs[i], max);
	}
	CHECK(emb_model_encode_pair(&r->model, &text, &text, &to, &e, &err) == EMB_ERR_INVALID_ARGUMENT);
	to.max_ids = 0;
	CHECK(emb_model_encode_pair(&r->model, &text, &text, &to, &e, &err) == EMB_ERR_INVALID_ARGUMENT);
}

/* Texts that would join what is before them: the seam changes no id. */
static void
test_seam(Reader *r)
{
	static const char *const texts[] = {
		"", " ", "\n", "\n\n", " \n", ":x", "::", "\314\201a", "\xc2\xa0", "'s", "'\xc5\xbf", "123", "<|im_end|>", "<|im_start|>user\n", "\t", "\r\n", "  x",
		"\xe4\xb8\xad\xe6\x96\x87", "\xe3\x80\x80x", "\xe2\x80\x8b", "\xf0\x9f\x98\x80", ".", "<Document>: x", "a\n<Document>: b",
	};
	static const int n_texts = sizeof(texts) / sizeof(texts[0]);
	static int32_t ids[2][MAX_IDS];
	int32_t		seam = r->model.template.pair.seam;

	for (int i = 0; i < n_texts; i++)
	{
		for (int k = 0; k < n_texts; k++)
		{
			Pair		pair = {i % 3 == 0 ? NULL : i % 3 == 1 ? "" : texts[k], texts[i], texts[k]};
			EmbEncoded	parts = read_query_first(r, &pair, ids[0], MAX_IDS);
			EmbEncoded	whole;

			r->model.template.pair.seam = EMB_TEMPLATE_NO_SEAM;
			whole = read_whole_pair(r, &pair, ids[1], MAX_IDS);
			r->model.template.pair.seam = seam;
			if (!same_ids(ids[0], parts.n_ids, ids[1], whole.n_ids))
				CHECKF(false, "query %d, document %d: %d and %d ids", i, k, parts.n_ids, whole.n_ids);
		}
	}
	CHECK(true);
}

/* A document of megabytes is read as far as its ids need; an incomplete one asks for more. */
static void
test_long_document(Reader *r)
{
	size_t		len = 4 << 20;
	char	   *text = malloc(len);
	static int32_t ids[MAX_IDS];
	Slow		query = {"q", 1, 0};
	Slow		document = {text, len, 0};
	EmbTextReader a = {&query, read_slowly};
	EmbTextReader b = {&document, read_slowly};
	EmbText		prefix = {"an unfinished tex", 17, false, NULL};
	EmbText		first = {"q", 1, true, NULL};
	EmbReading	to = {.ids = ids, .max_ids = 1024, .mem = &mem};
	EmbEncoded	e = {0};
	EmbError	err;

	for (size_t i = 0; i < len; i++)
		text[i] = "word "[i % 5];
	CHECK(emb_model_read_pair(&r->model, &a, &b, &to, &e, &err) == EMB_OK);
	CHECKF(e.n_ids == 1024 && e.truncated && document.n_reads < 4, "%d ids, %d reads", e.n_ids, document.n_reads);
	CHECK(emb_model_encode_pair(&r->model, &first, &prefix, &to, &e, &err) == EMB_OK && e.need_more);
	first.complete = false;
	CHECK(emb_model_encode_pair(&r->model, &first, &prefix, &to, &e, &err) == EMB_ERR_INVALID_ARGUMENT);
	free(text);
}

/* Every allocation that fails, and a reader that fails: an error, and nothing left. */
static EmbStatus
read_nothing(void *ctx, size_t want, EmbText *text, EmbError *err)
{
	(void) ctx;
	(void) want;
	(void) text;
	return emb_error(err, EMB_ERR_CANCELLED, "cancelled");
}

static void
test_failures(Reader *r)
{
	Count		count = {.fail_after = -1};
	EmbAllocator counting = counting_allocator(&count);
	static int32_t ids[MAX_IDS];
	EmbText		text = {"text", 4, true, NULL};
	EmbTextReader good = emb_text_reader(&text);
	EmbTextReader bad = {NULL, read_nothing};
	EmbReading	to = {.ids = ids, .max_ids = MAX_IDS, .mem = &counting};
	EmbEncoded	e;
	EmbError	err;
	EmbStatus	status = EMB_ERR_NOMEM;

	for (int n = 0; status == EMB_ERR_NOMEM && n < 100; n++)
	{
		count.fail_after = n;
		status = emb_model_read_pair(&r->model, &good, &good, &to, &e, &err);
		CHECKF(count.n_live == 0 && (status == EMB_OK || status == EMB_ERR_NOMEM), "%d allocations: %s", n, err.message);
	}
	CHECK(status == EMB_OK);
	count.fail_after = -1;
	CHECK(emb_model_read_pair(&r->model, &good, &bad, &to, &e, &err) == EMB_ERR_CANCELLED && count.n_live == 0);
	CHECK(emb_model_read_pair(&r->model, &bad, &good, &to, &e, &err) == EMB_ERR_CANCELLED && count.n_live == 0);
	text = (EmbText) {"\xff", 1, true, NULL};
	CHECK(emb_model_read_pair(&r->model, &good, &good, &to, &e, &err) == EMB_ERR_TEXT && count.n_live == 0);
}

/* ------------------------------------------------------------ the option */

static void
test_option(void)
{
	static const struct
	{
		const char *option;
		const char *error;		/* NULL: it is good */
	}			options[] =
	{
		{"{\"middle\": \"{query}\\n{document}\"}", NULL},
		{"{\"prefix\": \"a\", \"middle\": \"{instruction} {query} {document}\", \"suffix\": \"b\", \"yes\": \"1\", \"no\": \"0\"}", NULL},
		{"{\"middle\": [\"q: {query}\", \"d: {document}\"]}", NULL},
		{"{\"middle\": \"i: {instruction}\\nq: {query} {document}\", \"plain\": \"q: {query} {document}\"}", NULL},
		{"{", "not valid JSON"},
		{"[]", "not an object"},
		{"{}", "\"middle\" must be"},
		{"{\"middle\": 1}", "\"middle\" must be"},
		{"{\"middle\": [\"{query}\"]}", "\"middle\" must be"},
		{"{\"middle\": \"{query}\"}", "must have {query} and then {document}"},
		{"{\"middle\": \"{document}{query}\"}", "must have {query} and then {document}"},
		{"{\"middle\": \"{query}{query}{document}\"}", "must have {query} and then {document}"},
		{"{\"middle\": \"{query}{instruction}{document}\"}", "must have {query} and then {document}"},
		{"{\"middle\": \"{instruction}{instruction}{query}{document}\"}", "must have {query} and then {document}"},
		{"{\"middle\": \"{query}{document}.\"}", "nothing may follow"},
		{"{\"middle\": [\"{query}.\", \"{document}\"]}", "must end with {query}"},
		{"{\"middle\": \"{query}{document}\", \"plain\": \"{query}{document}\"}", "\"plain\" must be"},
		{"{\"middle\": \"{instruction}{query}{document}\", \"plain\": \"{query} {document}\"}", "\"plain\" must be"},
		{"{\"middle\": \"{query}{document}\", \"suffix\": 1}", "suffix"},
		{"{\"middle\": \"{query}{document}\", \"yes\": \"no\"}", "two different words"},
		{"{\"middle\": \"{query}{document}\", \"yes\": \"\"}", "two different words"},
		{"{\"midle\": \"{query}{document}\"}", "no key \"midle\""},
	};
	Count		count = {.fail_after = -1};
	EmbAllocator counting = counting_allocator(&count);

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
	{
		EmbAnswerTemplate t;
		EmbError	err = {0};
		EmbStatus	status = emb_template_parse(options[i].option, &counting, &t, &err);

		CHECKF(options[i].error == NULL ? status == EMB_OK : status == EMB_ERR_INVALID_ARGUMENT && strstr(err.message, options[i].error) != NULL,
			   "%s: %s", options[i].option, err.message);
		if (status == EMB_OK)
			emb_template_free(&t, &counting);
		CHECKF(count.n_live == 0, "%s", options[i].option);
	}
}

/* A template spelled out gives the ids of the known one. */
static void
test_spelled_out(Reader *known)
{
	EmbCheckpointOptions options = {.kind = "reranker", .template =
		"{\"prefix\": \"<|im_start|>system\\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. "
		"Note that the answer can only be \\\"yes\\\" or \\\"no\\\".<|im_end|>\\n<|im_start|>user\\n\","
		"\"middle\": \"<Instruct>: {instruction}\\n<Query>: {query}\\n<Document>: {document}\","
		"\"suffix\": \"<|im_end|>\\n<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n\"}"};
	static const Pair pairs[] = {
		{NULL, "q", "d"}, {"", "q", "d"}, {"i", "q", "d"},
	};
	static int32_t ids[2][MAX_IDS];
	Reader		r;

	if (!open_reader(TINY, &options, &r))
		return;
	CHECK(r.checkpoint.n_notes == 0);
	for (int i = 0; i < 3; i++)
	{
		EmbEncoded	a = read_query_first(known, &pairs[i], ids[0], MAX_IDS);
		EmbEncoded	b = read_query_first(&r, &pairs[i], ids[1], MAX_IDS);

		CHECK(same_ids(ids[0], a.n_ids, ids[1], b.n_ids));
	}
	close_reader(&r);
}

/* Marks of a template that is not the caller's are tokens, or nothing is imported. */
static void
test_marks(const Reader *r)
{
	EmbCheckpoint c = r->checkpoint;
	char		own = '\0';
	EmbError	err;

	CHECK(emb_answers_check_marks(r->model.tok, &c, NULL, &err) == EMB_OK);
	c.pair_template.texts[EMB_TEMPLATE_SUFFIX] = "<|im_end|>\n<|im_begin|>assistant\n";
	CHECK(emb_answers_check_marks(r->model.tok, &c, NULL, &err) == EMB_ERR_UNSUPPORTED && strstr(err.message, "\"<|im_begin|>\"") != NULL && err.hint[0] != '\0');
	c.pair_template.texts[EMB_TEMPLATE_SUFFIX] = "a < b | c |> <| d";
	CHECK(emb_answers_check_marks(r->model.tok, &c, NULL, &err) == EMB_OK);
	c.pair_template.texts[EMB_TEMPLATE_PREFIX] = "<|>";
	CHECK(emb_answers_check_marks(r->model.tok, &c, NULL, &err) == EMB_ERR_UNSUPPORTED);
	c.template_storage = &own;
	CHECK(emb_answers_check_marks(r->model.tok, &c, NULL, &err) == EMB_OK);
}

static EmbStatus
count_bytes(void *ctx, const void *data, size_t size, EmbError *err)
{
	(void) data;
	(void) err;
	*(size_t *) ctx += size;
	return EMB_OK;
}

/* The same by an import: a tokenizer without one of the tokens. */
static void
test_missing_mark(void)
{
	static const char *const links[] = {"model.safetensors", "config.json", "tokenizer_config.json"};
	size_t		size;
	size_t		n_written = 0;
	char	   *tokenizer = read_file(TINY, "tokenizer.json", &size);
	char	   *at = strstr(tokenizer, "<|im_start|>");
	char		cwd[PATH_MAX / 2];
	char		path[PATH_MAX];
	char		target[PATH_MAX];
	const char *dir = fresh_dir();
	EmbImportOptions options = {.precision = "fp32", .kind = "reranker"};
	EmbSink		sink = {.ctx = &n_written, .write = count_bytes};
	EmbError	err = {0};

	CHECK(at != NULL && getcwd(cwd, sizeof(cwd)) != NULL);
	memcpy(at, "<|im_begin|>", strlen("<|im_begin|>"));
	write_text(dir, "tokenizer.json", tokenizer);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
	{
		snprintf(path, sizeof(path), "%.3000s/%s", dir, links[i]);
		snprintf(target, sizeof(target), "%s/%s/%s", cwd, TINY, links[i]);
		CHECK(symlink(target, path) == 0);
	}
	CHECKF(emb_import_dir(dir, &options, &mem, NULL, &sink, &err) == EMB_ERR_UNSUPPORTED && strstr(err.message, "\"<|im_start|>\" of the template") != NULL &&
		   n_written == 0, "%s", err.message);
	options.template = "{\"middle\": \"{query}<|im_start|>{document}\"}";
	CHECKF(emb_import_dir(dir, &options, &mem, NULL, &sink, &err) == EMB_OK && n_written > 0, "%s", err.message);
	free(tokenizer);
}

/* A template in two parts is tokenized in two parts; one that would join its parts has no seam. */
static void
test_apart(void)
{
	static const struct
	{
		const char *option;
		int32_t		seam;
	}			templates[] =
	{
		{"{\"middle\": [\"{query}\", \"{document}\"]}", 0},
		{"{\"middle\": \"{query}{document}\"}", EMB_TEMPLATE_NO_SEAM},
		{"{\"middle\": \"{query}<|im_end|>{document}\"}", 10},
		{"{\"middle\": \"{query} |: {document}\"}", 3},
	};

	for (size_t i = 0; i < sizeof(templates) / sizeof(templates[0]); i++)
	{
		EmbCheckpointOptions options = {.kind = "reranker", .template = templates[i].option};
		static int32_t ids[MAX_IDS];
		Pair		pair = {"an instruction", "q", "d"};
		EmbText		text = {"q", 1, true, NULL};
		EmbReading	to = reading(&pair, ids, MAX_IDS);
		EmbEncoded	e;
		EmbError	err;
		Reader		r;

		if (!open_reader(TINY, &options, &r))
			continue;
		CHECKF(r.model.template.pair.seam == templates[i].seam, "%s: %d", templates[i].option, r.model.template.pair.seam);
		CHECK(emb_model_encode_pair(&r.model, &text, &text, &to, &e, &err) == EMB_ERR_INVALID_ARGUMENT && err.hint[0] != '\0');
		pair.instruction = NULL;
		e = read_query_first(&r, &pair, ids, MAX_IDS);
		CHECKF(i > 0 || (e.n_ids == 2 && e.n_shared == 1), "%s: %d ids, %d shared", templates[i].option, e.n_ids, e.n_shared);
		close_reader(&r);
	}
}

/* ------------------------------------------------------------- decisions */

typedef struct Decision
{
	const char *what;
	const char *dir_name;
	const char *from,			/* replaced in config.json */
			   *to;
	const char *modules;		/* NULL: none */
	const char *pooling;
	const char *logit_score;
	EmbCheckpointOptions options;
	EmbStatus	status;
	const char *message;		/* in the error, or in the note; NULL: no note */
	int			head;			/* EmbHead */
	int			pool;			/* EmbPooling */
	const char *model;			/* another directory than TINY */
	int			n_dense;
	const char *processing;		/* "processing_kwargs" */
	int32_t		max_tokens;		/* 0: any */
} Decision;

/* Ends with a matrix of 40 outputs, "linear.weight". */
#define BOTH_WAYS	"test/data/tiny/qwen3-both-ways/model"

#define LABEL(i) "\"" #i "\": \"LABEL_" #i "\""
#define TEN_LABELS(t) LABEL(t##0) "," LABEL(t##1) "," LABEL(t##2) "," LABEL(t##3) "," LABEL(t##4) "," LABEL(t##5) "," LABEL(t##6) "," LABEL(t##7) "," LABEL(t##8) "," LABEL(t##9)
#define FORTY_LABELS "\"id2label\": {" TEN_LABELS(1) "," TEN_LABELS(2) "," TEN_LABELS(3) "," TEN_LABELS(4) "}"

#define TRANSFORMER "{\"idx\": 0, \"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"}"
#define WITH_POOLING "[" TRANSFORMER ", {\"idx\": 1, \"path\": \"1_Pooling\", \"type\": \"sentence_transformers.models.Pooling\"}]"
#define WITH_LOGITS "[" TRANSFORMER ", {\"idx\": 1, \"path\": \"1_LogitScore\", \"type\": \"sentence_transformers.cross_encoder.modules.logit_score.LogitScore\"}]"
#define LAST_TOKEN "{\"pooling_mode_lasttoken\": true, \"pooling_mode_mean_tokens\": false}"

static const Decision decisions[] =
{
	{"no word", "model", .status = EMB_ERR_UNSUPPORTED, .message = "neither the files nor the name"},
	{"a directory that reranks", "My-ReRanker-1", .message = "reranker by the name of the directory", .head = EMB_HEAD_ANSWER, .pool = EMB_POOL_LAST},
	{"a known one", "Qwen3-Reranker-0.6B", .head = EMB_HEAD_ANSWER, .pool = EMB_POOL_LAST},
	{"in the hub's cache", "models--Qwen--Qwen3-Reranker-0.6B/snapshots/abc", .head = EMB_HEAD_ANSWER, .pool = EMB_POOL_LAST},
	{"the name to be", "model", .options = {.name = "a/rerank"}, .message = "by the name of the model", .head = EMB_HEAD_ANSWER, .pool = EMB_POOL_LAST},
	{"a directory that embeds", "Qwen3-Embedding-x", .message = "takes the last row", .pool = EMB_POOL_LAST},
	{"both words", "embed-and-rerank", .status = EMB_ERR_UNSUPPORTED, .message = "neither"},
	{"the option", "model", .options = {.kind = "reranker"}, .message = "name no template", .head = EMB_HEAD_ANSWER, .pool = EMB_POOL_LAST},
	{"the option against the name", "x-reranker", .options = {.kind = "embedding"}, .message = "last row", .pool = EMB_POOL_LAST},
	{"pooling by option", "model", .options = {.kind = "embedding", .pooling = "mean"}, .pool = EMB_POOL_MEAN},
	{"no such pooling", "model", .options = {.kind = "embedding", .pooling = "sum"}, .status = EMB_ERR_UNSUPPORTED, .message = "\"sum\""},
	{"pooling of a reranker", "model", .options = {.kind = "reranker", .pooling = "mean"}, .status = EMB_ERR_INVALID_ARGUMENT, .message = "pooling cannot be set"},
	{"another kind", "model", .options = {.kind = "decoder"}, .status = EMB_ERR_INVALID_ARGUMENT, .message = "\"decoder\" is unknown"},
	{"a Pooling", "x-reranker", .modules = WITH_POOLING, .pooling = LAST_TOKEN, .pool = EMB_POOL_LAST},
	{"a Pooling, by its new key", "model", .modules = WITH_POOLING, .pooling = "{\"pooling_mode\": \"lasttoken\"}", .pool = EMB_POOL_LAST},
	{"a Pooling against the option", "model", .modules = WITH_POOLING, .pooling = LAST_TOKEN, .options = {.kind = "reranker"},
	.status = EMB_ERR_INVALID_ARGUMENT, .message = "files say that it is of kind \"embedding\""},
	{"a LogitScore", "model", .modules = WITH_LOGITS, .logit_score = "{\"true_token_id\": 3, \"false_token_id\": 4}", .message = "template of Qwen3", .head = EMB_HEAD_ANSWER, .pool = EMB_POOL_LAST},
	{"a LogitScore of one answer", "model", .modules = WITH_LOGITS, .logit_score = "{\"true_token_id\": 3, \"false_token_id\": null}", .message = "template of Qwen3", .head = EMB_HEAD_ANSWER, .pool = EMB_POOL_LAST},
	{"a LogitScore without a file", "model", .modules = WITH_LOGITS, .status = EMB_ERR_NOT_FOUND, .message = "1_LogitScore"},
	{"a LogitScore without ids", "model", .modules = WITH_LOGITS, .logit_score = "{}", .status = EMB_ERR_FORMAT, .message = "true_token_id"},
	{"a LogitScore of its logits", "model", .modules = WITH_LOGITS, .logit_score = "{\"true_token_id\": 3, \"false_token_id\": 4, \"module_input_name\": \"causal_logits\"}",
	.message = "template of Qwen3", .head = EMB_HEAD_ANSWER, .pool = EMB_POOL_LAST},
	{"a LogitScore of something else", "model", .modules = WITH_LOGITS, .logit_score = "{\"true_token_id\": 3, \"module_input_name\": \"scores\"}",
	.status = EMB_ERR_UNSUPPORTED, .message = "\"module_input_name\" is \"scores\""},
	{"how the tokenizer is called", "x-reranker", .processing = "{\"text\": {\"padding\": \"longest\", \"padding_side\": \"left\", \"truncation\": true, \"max_length\": 77}, "
	"\"chat_template\": {\"add_generation_prompt\": true}, \"image\": {\"size\": 3}, \"common\": null}", .message = "by the name of", .head = EMB_HEAD_ANSWER, .pool = EMB_POOL_LAST, .max_tokens = 77},
	{"called without special tokens", "x-reranker", .processing = "{\"text\": {\"add_special_tokens\": false}}", .status = EMB_ERR_UNSUPPORTED,
	.message = "\"processing_kwargs.text.add_special_tokens\" is false"},
	{"called with an unknown key", "x-reranker", .processing = "{\"chat_template\": {\"tools\": []}}", .status = EMB_ERR_UNSUPPORTED,
	.message = "\"processing_kwargs.chat_template.tools\" is a list"},
	{"no way to call it", "x-reranker", .processing = "[]", .status = EMB_ERR_FORMAT, .message = "\"processing_kwargs\" is not an object"},
	{"no length", "x-reranker", .processing = "{\"common\": {\"max_length\": 0}}", .status = EMB_ERR_FORMAT, .message = "max_length"},
	{"an id beyond the vocabulary", "model", .modules = WITH_LOGITS, .logit_score = "{\"true_token_id\": 999, \"false_token_id\": 4}", .status = EMB_ERR_FORMAT, .message = "true_token_id"},
	{"a template for an embedding model", "model", .options = {.kind = "embedding", .template = "{\"middle\": \"{query}{document}\"}"},
	.status = EMB_ERR_INVALID_ARGUMENT, .message = "alone takes a template"},
	{"the plain model", "model", "Qwen3ForCausalLM", "Qwen3Model", .message = "last row", .pool = EMB_POOL_LAST},
	{"in both directions", "an-embedder", "\"use_cache\"", "\"is_causal\": false, \"use_cache\"", .message = "mean of all rows", .pool = EMB_POOL_MEAN},
	{"in both directions, another key", "an-embedder", "\"use_cache\"", "\"use_bidirectional_attention\": true, \"use_cache\"", .message = "mean of all rows", .pool = EMB_POOL_MEAN},
	{"in both directions, by its class", "model", "Qwen3ForCausalLM", "Qwen3BidirectionalModel", .message = "mean of all rows", .pool = EMB_POOL_MEAN},
	{"outputs of a last matrix", "model", .model = BOTH_WAYS, .message = "mean of all rows", .pool = EMB_POOL_MEAN, .n_dense = 1},
	{"... by names", "model", "\"num_labels\": 40", FORTY_LABELS, .model = BOTH_WAYS, .message = "mean of all rows", .pool = EMB_POOL_MEAN, .n_dense = 1},
	{"... of which no key tells", "model", "\"num_labels\": 40", "\"id2label\": {" LABEL(0) "," LABEL(1) "}", .model = BOTH_WAYS, .status = EMB_ERR_FORMAT, .message = "linear.weight"},
	{"a pooling by the hidden size", "model", .model = BOTH_WAYS, .modules = WITH_POOLING, .pooling = "{\"word_embedding_dimension\": 32}", .pool = EMB_POOL_MEAN, .n_dense = 1},
	{"a pooling by the outputs", "model", .model = BOTH_WAYS, .modules = WITH_POOLING, .pooling = "{\"word_embedding_dimension\": 40}", .pool = EMB_POOL_MEAN, .n_dense = 1},
	{"a pooling of another size", "model", .model = BOTH_WAYS, .modules = WITH_POOLING, .pooling = "{\"word_embedding_dimension\": 33}", .status = EMB_ERR_FORMAT, .message = "33"},
	{"biases", "an-embedder", "\"attention_bias\": false", "\"attention_bias\": true", .status = EMB_ERR_UNSUPPORTED, .message = "attention_bias"},
	{"a window", "an-embedder", "\"use_sliding_window\": false", "\"use_sliding_window\": true", .status = EMB_ERR_UNSUPPORTED, .message = "use_sliding_window"},
	{"layers with a window", "an-embedder", "\"full_attention\"", "\"sliding_attention\"", .status = EMB_ERR_UNSUPPORTED, .message = "layer_types"},
	{"yarn", "an-embedder", "\"use_cache\"", "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4}, \"use_cache\"", .status = EMB_ERR_UNSUPPORTED, .message = "\"rope_scaling\" is \"yarn\""},
	{"yarn, another key", "an-embedder", "\"rope_type\": \"default\"", "\"rope_type\": \"yarn\"", .status = EMB_ERR_UNSUPPORTED, .message = "\"rope_type\" is \"yarn\""},
	{"no scaling", "an-embedder", "\"use_cache\"", "\"rope_scaling\": null, \"use_cache\"", .message = "last row", .pool = EMB_POOL_LAST},
	{"another activation", "an-embedder", "\"silu\"", "\"gelu\"", .status = EMB_ERR_UNSUPPORTED, .message = "hidden_act"},
	{"an odd number of heads", "an-embedder", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", .status = EMB_ERR_FORMAT, .message = "num_key_value_heads"},
	{"heads that are too wide", "an-embedder", "\"num_attention_heads\": 4", "\"num_attention_heads\": 4096", .status = EMB_ERR_LIMIT, .message = "4096 heads of 32 elements are wider"},
	{"an odd head", "an-embedder", "\"head_dim\": 32", "\"head_dim\": 31", .status = EMB_ERR_FORMAT, .message = "odd number"},
	{"two labels", "model", "Qwen3ForCausalLM", "Qwen3ForSequenceClassification", .status = EMB_ERR_UNSUPPORTED, .message = "2 labels"},
	{"a class for another task", "model", "Qwen3ForCausalLM", "Qwen3ForTokenClassification", .status = EMB_ERR_UNSUPPORTED, .message = "Qwen3ForTokenClassification"},
};

/* A tiny model's directory with another config.json and modules. */
static void
write_dir(const char *dir, const Decision *d)
{
	const char *model = d->model != NULL ? d->model : TINY;
	static const char *const links[] = {"model.safetensors", "tokenizer.json", "tokenizer_config.json"};
	char		cwd[PATH_MAX / 2];
	size_t		size;
	char	   *config = read_file(model, "config.json", &size);
	char	   *changed = malloc(size + 4096);
	char	   *at = d->from != NULL ? strstr(config, d->from) : NULL;
	char		path[PATH_MAX];
	char		target[PATH_MAX];

	CHECKF(d->from == NULL || at != NULL, "%s", d->what);
	snprintf(changed, size + 4096, "%.*s%s%s", at != NULL ? (int) (at - config) : 0, config, at != NULL ? d->to : "",
			 at != NULL ? at + strlen(d->from) : config);
	write_text(dir, "config.json", changed);
	CHECK(getcwd(cwd, sizeof(cwd)) != NULL);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
	{
		snprintf(path, sizeof(path), "%.3000s/%s", dir, links[i]);
		snprintf(target, sizeof(target), "%s/%s/%s", cwd, model, links[i]);
		if (access(target, F_OK) == 0)
			CHECK(symlink(target, path) == 0);
	}
	if (d->modules != NULL)
		write_text(dir, "modules.json", d->modules);
	if (d->pooling != NULL)
	{
		snprintf(path, sizeof(path), "%.3000s/1_Pooling", dir);
		mkdir(path, 0700);
		write_text(path, "config.json", d->pooling);
	}
	if (d->processing != NULL)
	{
		char		text[1024];

		snprintf(text, sizeof(text), "{\"processing_kwargs\": %s}", d->processing);
		write_text(dir, "sentence_bert_config.json", text);
	}
	if (d->logit_score != NULL)
	{
		snprintf(path, sizeof(path), "%.3000s/1_LogitScore", dir);
		mkdir(path, 0700);
		write_text(path, "config.json", d->logit_score);
	}
	free(config);
	free(changed);
}

static void
make_dirs(char *path)
{
	for (char *p = path + 1; (p = strchr(p, '/')) != NULL; p++)
	{
		*p = '\0';
		mkdir(path, 0700);
		*p = '/';
	}
	mkdir(path, 0700);
}

static void
test_decisions(void)
{
	for (size_t i = 0; i < sizeof(decisions) / sizeof(decisions[0]); i++)
	{
		const Decision *d = &decisions[i];
		Count		count = {.fail_after = -1};
		EmbAllocator counting = counting_allocator(&count);
		EmbCheckpoint c;
		EmbError	err = {0};
		char		dir[PATH_MAX - 256];
		EmbStatus	status;

		snprintf(dir, sizeof(dir), "%.3000s/%s", fresh_dir(), d->dir_name);
		make_dirs(dir);
		write_dir(dir, d);
		status = emb_checkpoint_open_dir(dir, &d->options, &counting, NULL, &c, &err);
		if (d->status != EMB_OK)
			CHECKF(status == d->status && strstr(err.message, d->message) != NULL, "%s: %s", d->what, err.message);
		else if (CHECKF(status == EMB_OK, "%s: %s", d->what, err.message))
		{
			CHECKF(c.arch.head == d->head && c.arch.pooling == d->pool && c.arch.n_dense == d->n_dense, "%s: head %d, pooling %d, %d dense", d->what,
				   c.arch.head, c.arch.pooling, c.arch.n_dense);
			CHECKF(d->max_tokens == 0 || c.max_tokens == d->max_tokens, "%s: %d tokens", d->what, c.max_tokens);
			CHECKF(c.n_notes == (d->message != NULL) && (d->message == NULL || strstr(c.notes[0].message, d->message) != NULL), "%s: %s", d->what, c.notes[0].message);
			emb_checkpoint_close(&c);
		}
		CHECKF(count.n_live == 0, "%s: %ld blocks left", d->what, count.n_live);
	}
}

/* What the files of the tiny model say of its architecture. */
static void
test_arch(const Reader *r)
{
	const EmbArch *a = &r->checkpoint.arch;

	CHECKF(strcmp(a->family, "qwen3") == 0 && a->hidden == 64 && a->n_layers == 2 && a->n_heads == 4 && a->n_kv_heads == 2 && a->head_size == 32 &&
		   a->intermediate == 96 && a->n_vocab == 999 && a->n_positions == 4096 && a->n_types == 0, "%s, %d, %d", a->family, a->hidden, a->head_size);
	CHECK(a->norm_kind == EMB_NORM_RMS && a->norm_place == EMB_NORM_PRE && a->has_first_norm && !a->has_embedding_norm && a->has_qk_norm && a->is_causal);
	CHECK(a->positions == EMB_POSITIONS_ROTARY && a->rotary_base == 1e6 && a->rotary_scale == 1 && a->is_gated && a->activation == EMB_ACT_SILU);
	CHECK(a->norm_eps == 1e-6f && a->n_labels == 2 && a->head == EMB_HEAD_ANSWER && a->pooling == EMB_POOL_LAST && !a->normalize);
	CHECK(r->checkpoint.max_tokens == 4096 && strcmp(r->checkpoint.pair_template.texts[EMB_TEMPLATE_INSTRUCTION], INSTRUCTION) == 0);
}

/* The rows of the answers: of the tied embeddings. */
static void
test_answers(const Reader *r)
{
	EmbTensorKey answers = {EMB_NO_LAYER, EMB_PART_ANSWERS, EMB_TENSOR_WEIGHT};
	EmbTensorKey words = {EMB_NO_LAYER, EMB_PART_WORDS, EMB_TENSOR_TABLE};
	const EmbCheckpoint *c = &r->checkpoint;
	float		rows[2][64];
	float		row[64];
	EmbError	err = {0};

	if (!CHECKF(emb_checkpoint_check(c, answers, 2, 64, &err) == EMB_OK, "%s", err.message) ||
		!CHECKF(emb_checkpoint_read(c, answers, 0, 2, 64, rows[0], &err) == EMB_OK, "%s", err.message))
		return;
	for (int i = 0; i < 2; i++)
		CHECK(emb_checkpoint_read(c, words, c->answer_ids[i], 1, 64, row, &err) == EMB_OK && memcmp(row, rows[i], sizeof(row)) == 0);
	CHECK(emb_checkpoint_check(c, answers, 2, 65, &err) == EMB_ERR_FORMAT);
}

int
main(void)
{
	EmbCheckpointOptions options = {.kind = "reranker"};
	Reader		r;

	mem = emb_malloc_allocator();
	test_golden();
	if (open_reader(TINY, &options, &r))
	{
		test_arch(&r);
		test_answers(&r);
		test_marks(&r);
		test_cut(&r);
		test_seam(&r);
		test_long_document(&r);
		test_failures(&r);
		test_spelled_out(&r);
		close_reader(&r);
	}
	test_option();
	test_apart();
	test_missing_mark();
	test_decisions();
	return done_testing();
}
