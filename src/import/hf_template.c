/*
 * hf_template.c
 *		Templates of decoders that rerank.
 */
#include "import/hf_template.h"

#include <string.h>

#include "formats/json.h"

#define INSTRUCTION	"{instruction}"
#define QUERY		"{query}"
#define DOCUMENT	"{document}"

/* ------------------------------------------------------------ the known */

/* By the cards of the models, byte for byte. */
EmbAnswerTemplate
emb_template_built_in(EmbBuiltInTemplate which)
{
	static const EmbAnswerTemplate qwen3 = {
		.pair = {
			.texts = {
				[EMB_TEMPLATE_PREFIX] = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the "
				"Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n",
				[EMB_TEMPLATE_BEFORE_INSTRUCTION] = "<Instruct>: ",
				[EMB_TEMPLATE_BEFORE_QUERY] = "\n<Query>: ",
				[EMB_TEMPLATE_PLAIN] = "<Instruct>: \n<Query>: ",
				[EMB_TEMPLATE_BEFORE_DOCUMENT] = "\n<Document>: ",
				[EMB_TEMPLATE_SUFFIX] = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
				[EMB_TEMPLATE_INSTRUCTION] = EMB_DEFAULT_INSTRUCTION,
			},
			.takes_instruction = true,
			.seam = EMB_TEMPLATE_NO_SEAM,
		},
		.answers = {"yes", "no"},
		.model = "Qwen3-Reranker",
		.known_as = "qwen3-reranker-",
	};
	static const EmbAnswerTemplate mxbai = {
		.pair = {
			.texts = {
				[EMB_TEMPLATE_PREFIX] = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
				"<|im_start|>user\n",
				[EMB_TEMPLATE_BEFORE_INSTRUCTION] = "instruction: ",
				[EMB_TEMPLATE_BEFORE_QUERY] = "\nquery: ",
				[EMB_TEMPLATE_PLAIN] = "query: ",
				[EMB_TEMPLATE_BEFORE_DOCUMENT] = "\ndocument: ",
				[EMB_TEMPLATE_SUFFIX] = "\nYou are a search relevance expert who evaluates how well documents match search queries. For each "
				"query-document pair, carefully analyze the semantic relationship between them, then provide your binary relevance judgment "
				"(0 for not relevant, 1 for relevant).\nRelevance:<|im_end|>\n<|im_start|>assistant\n",
				[EMB_TEMPLATE_INSTRUCTION] = "",
			},
			.takes_instruction = true,
			.is_apart = true,
			.seam = 0,
		},
		.answers = {"1", "0"},
		.model = "mxbai-rerank-v2",
		.known_as = "mxbai-rerank-",
	};

	return which == EMB_BUILT_IN_MXBAI ? mxbai : qwen3;
}

/* ----------------------------------------------------------- the option */

/* The strings of the option, in the document. */
typedef struct Texts
{
	const char *prefix;
	const char *middle;			/* up to {document}, or, if in two parts, up to {query} */
	const char *document;		/* the second part, or NULL */
	const char *plain;			/* or NULL */
	const char *suffix;
	const char *answers[2];
} Texts;

static EmbStatus
invalid(EmbError *err, const char *what)
{
	emb_error(err, EMB_ERR_INVALID_ARGUMENT, "option \"template\": %s", what);
	return emb_error_hint(err, EMB_ERR_INVALID_ARGUMENT, "Example: {\"prefix\": \"..\", \"middle\": \"<Instruct>: {instruction}\\n<Query>: "
						  "{query}\\n<Document>: {document}\", \"suffix\": \"..\"}.");
}

static EmbStatus
check_keys(const EmbJson *doc, EmbError *err)
{
	static const char *const known[] = {"prefix", "middle", "plain", "suffix", "yes", "no"};
	const char *key;
	json_t	   *value;

	if (!json_is_object(doc->root))
		return invalid(err, "it is not an object");
	json_object_foreach(doc->root, key, value)
	{
		size_t		i = 0;

		while (i < sizeof(known) / sizeof(known[0]) && strcmp(known[i], key) != 0)
			i++;
		if (i == sizeof(known) / sizeof(known[0]))
		{
			emb_error(err, EMB_ERR_INVALID_ARGUMENT, "option \"template\" has no key \"%.*s\"", emb_json_clip(key, 80), key);
			return emb_error_hint(err, EMB_ERR_INVALID_ARGUMENT, "Its keys are prefix, middle, suffix, plain, yes and no.");
		}
	}
	return EMB_OK;
}

/* One string, or a list of two. */
static EmbStatus
read_middle(const EmbJson *doc, Texts *texts, EmbError *err)
{
	const json_t *value = json_object_get(doc->root, "middle");

	if (json_is_array(value) && json_array_size(value) == 2)
	{
		texts->middle = json_string_value(json_array_get(value, 0));
		texts->document = json_string_value(json_array_get(value, 1));
		if (texts->document == NULL)
			texts->middle = NULL;
	}
	else
		texts->middle = json_string_value(value);
	return texts->middle != NULL ? EMB_OK : invalid(err, "\"middle\" must be a string or a list of two strings");
}

static EmbStatus
read_texts(const EmbJson *doc, Texts *texts, EmbError *err)
{
	EmbStatus	status;

	*texts = (Texts) {.prefix = "", .suffix = "", .answers = {"yes", "no"}};
	if ((status = check_keys(doc, err)) != EMB_OK ||
		(status = read_middle(doc, texts, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "prefix", &texts->prefix, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "suffix", &texts->suffix, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "plain", &texts->plain, err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "yes", &texts->answers[0], err)) != EMB_OK ||
		(status = emb_json_get_string(doc, doc->root, "no", &texts->answers[1], err)) != EMB_OK)
		return status == EMB_ERR_FORMAT ? EMB_ERR_INVALID_ARGUMENT : status;
	if (texts->answers[0][0] == '\0' || texts->answers[1][0] == '\0' || strcmp(texts->answers[0], texts->answers[1]) == 0)
		return invalid(err, "\"yes\" and \"no\" must be two different words");
	return EMB_OK;
}

/* Where a placeholder stands that the text has exactly once; NULL: it is not there, or more often. */
static const char *
find_once(const char *text, const char *placeholder)
{
	const char *at = strstr(text, placeholder);

	return at != NULL && strstr(at + 1, placeholder) == NULL ? at : NULL;
}

/* Takes texts into one block, one after another. */
typedef struct Store
{
	char	   *block;
	size_t		used;
	bool		too_long;
} Store;

static const char *
put(Store *store, const char *text, size_t len)
{
	char	   *to = store->block + store->used;

	if (len > EMB_TEMPLATE_MAX_BYTES)
	{
		store->too_long = true;
		len = 0;
	}
	memcpy(to, text, len);
	to[len] = '\0';
	store->used += len + 1;
	return to;
}

/* Splits the middle at its placeholders. */
static EmbStatus
split(const Texts *texts, Store *store, EmbPairTemplate *pair, EmbError *err)
{
	const char *document_text = texts->document != NULL ? texts->document : texts->middle;
	const char *instruction = find_once(texts->middle, INSTRUCTION);
	const char *query = find_once(texts->middle, QUERY);
	const char *document = find_once(document_text, DOCUMENT);
	const char *after_query;
	const char *plain = NULL;
	const char *begin = texts->middle;

	if (query == NULL || document == NULL || (texts->document == NULL && document < query) || (instruction != NULL && instruction > query) ||
		(instruction == NULL && strstr(texts->middle, INSTRUCTION) != NULL))
		return invalid(err, "\"middle\" must have {query} and then {document}, each once, and may have {instruction} before them");
	if (document[strlen(DOCUMENT)] != '\0')
		return invalid(err, "nothing may follow {document}; what does belongs in \"suffix\"");
	after_query = query + strlen(QUERY);
	if (texts->document != NULL && *after_query != '\0')
		return invalid(err, "in a list, the first string of \"middle\" must end with {query}");
	if (texts->plain != NULL)
	{
		plain = find_once(texts->plain, QUERY);
		if (instruction == NULL || plain == NULL || strcmp(plain + strlen(QUERY), texts->document != NULL ? "" : after_query) != 0)
			return invalid(err, "\"plain\" must be \"middle\" with other text before {query}, and \"middle\" must have {instruction}");
	}
	pair->takes_instruction = instruction != NULL;
	pair->texts[EMB_TEMPLATE_BEFORE_INSTRUCTION] = put(store, begin, instruction != NULL ? (size_t) (instruction - begin) : 0);
	if (instruction != NULL)
		begin = instruction + strlen(INSTRUCTION);
	pair->texts[EMB_TEMPLATE_BEFORE_QUERY] = put(store, begin, instruction != NULL ? (size_t) (query - begin) : 0);
	if (plain != NULL)
		pair->texts[EMB_TEMPLATE_PLAIN] = put(store, texts->plain, plain - texts->plain);
	else
	{
		/* what is before {query}, without the placeholder of the instruction */
		char	   *joined = store->block + store->used;
		size_t		n_before = instruction != NULL ? (size_t) (instruction - texts->middle) : 0;
		size_t		n_after = query - begin;

		if (n_before + n_after > EMB_TEMPLATE_MAX_BYTES)
		{
			store->too_long = true;
			n_before = n_after = 0;
		}
		memcpy(joined, texts->middle, n_before);
		memcpy(joined + n_before, begin, n_after);
		joined[n_before + n_after] = '\0';
		store->used += n_before + n_after + 1;
		pair->texts[EMB_TEMPLATE_PLAIN] = joined;
	}
	begin = texts->document != NULL ? texts->document : after_query;
	pair->texts[EMB_TEMPLATE_BEFORE_DOCUMENT] = put(store, begin, document - begin);
	pair->is_apart = texts->document != NULL;
	pair->seam = pair->is_apart ? 0 : EMB_TEMPLATE_NO_SEAM;
	return EMB_OK;
}

static EmbStatus
take_texts(const Texts *texts, size_t option_bytes, const EmbAllocator *mem, EmbAnswerTemplate *template, EmbError *err)
{
	/* the texts are the option's, the middle's beginning twice; zero bytes and default answers take less than 64 */
	Store		store = {.block = emb_alloc(mem, 2 * option_bytes + 64)};
	EmbStatus	status;

	if (store.block == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a template");
	*template = (EmbAnswerTemplate) {.storage = store.block};
	status = split(texts, &store, &template->pair, err);
	if (status == EMB_OK)
	{
		template->pair.texts[EMB_TEMPLATE_PREFIX] = put(&store, texts->prefix, strlen(texts->prefix));
		template->pair.texts[EMB_TEMPLATE_SUFFIX] = put(&store, texts->suffix, strlen(texts->suffix));
		template->pair.texts[EMB_TEMPLATE_INSTRUCTION] = template->pair.takes_instruction ? EMB_DEFAULT_INSTRUCTION : "";
		for (int i = 0; i < 2; i++)
			template->answers[i] = put(&store, texts->answers[i], strlen(texts->answers[i]));
		if (store.too_long)
			status = emb_error(err, EMB_ERR_LIMIT, "option \"template\": a text has more than %d bytes", EMB_TEMPLATE_MAX_BYTES);
	}
	if (status != EMB_OK)
		emb_template_free(template, mem);
	return status;
}

EmbStatus
emb_template_parse(const char *option, const EmbAllocator *mem, EmbAnswerTemplate *template, EmbError *err)
{
	size_t		size = strlen(option);
	EmbJson		doc;
	Texts		texts;
	EmbStatus	status = emb_json_parse("option \"template\"", option, size, &doc, err);

	*template = (EmbAnswerTemplate) {.storage = NULL};
	if (status == EMB_OK)
		status = read_texts(&doc, &texts, err);
	else if (status == EMB_ERR_FORMAT)
		status = EMB_ERR_INVALID_ARGUMENT;
	if (status == EMB_OK)
		status = take_texts(&texts, size, mem, template, err);
	emb_json_free(&doc);
	if (status == EMB_ERR_INVALID_ARGUMENT && err != NULL)
		err->code = status;
	return status;
}

void
emb_template_free(EmbAnswerTemplate *template, const EmbAllocator *mem)
{
	emb_release(mem, template->storage);
	*template = (EmbAnswerTemplate) {.storage = NULL};
}
