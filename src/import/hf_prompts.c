/*
 * hf_prompts.c
 *		Prompts: config_sentence_transformers.json, and the table of models
 *		whose files have none.
 */
#include "import/hf_prompts.h"

#include <string.h>

#include "import/checkpoint.h"
#include "import/hf_family.h"

/* ---------------------------------------------------------- the model's own */

static EmbStatus
copy_prompt(const EmbJson *doc, const json_t *value, const EmbAllocator *mem, char **prompt, EmbError *err)
{
	const char *text = value == NULL || json_is_null(value) ? "" : json_string_value(value);

	if (text == NULL)
		return emb_error(err, EMB_ERR_FORMAT, "%s: a prompt is not a string", doc->file);
	if (strlen(text) > EMB_HF_MAX_PROMPT_BYTES)
		return emb_error(err, EMB_ERR_LIMIT, "%s: a prompt has %zu bytes, more than %d", doc->file,
						 strlen(text), EMB_HF_MAX_PROMPT_BYTES);
	*prompt = emb_alloc(mem, strlen(text) + 1);
	if (*prompt == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory reading %s", doc->file);
	strcpy(*prompt, text);
	return EMB_OK;
}

/* The names of documents' prompts; encode_document of sentence-transformers 6 knows only the first. */
static const char *const document_names[] = {"document", "passage", "corpus"};

/* The prompt of documents; NULL: none. */
static const json_t *
find_document_prompt(const json_t *prompts, const EmbHfConfig *config)
{
	for (size_t i = 0; i < sizeof(document_names) / sizeof(document_names[0]); i++)
	{
		const json_t *found = json_object_get(prompts, document_names[i]);
		const char *text = json_string_value(found);

		if (found == NULL)
			continue;
		if (i > 0 && text != NULL && text[0] != '\0')
			emb_note(config->checkpoint, "The option document_prompt sets another; \"\" is none.",
					 "the prompt \"%s\" (\"%.*s\") goes before documents; encode_document of sentence-transformers 6 puts nothing there, "
					 "because no prompt is named \"document\"", document_names[i], emb_json_clip(text, 80), text);
		return found;
	}
	return NULL;
}

/*
 * encode() puts the default prompt before every text, encode_query and
 * encode_document never do. Returns whether there is one.
 */
static bool
note_default_prompt(const json_t *prompts, const char *name, const EmbHfConfig *config)
{
	const char *text = name != NULL ? json_string_value(json_object_get(prompts, name)) : NULL;

	if (text == NULL || text[0] == '\0')
		return false;
	if (strcmp(text, config->query_prompt) == 0 || strcmp(text, config->document_prompt) == 0)
		return true;
	emb_note(config->checkpoint, "The options query_prompt and document_prompt set the prompts.",
			 "the default prompt \"%.*s\" (\"%.*s\") is not used: like encode_query and encode_document of sentence-transformers, "
			 "queries take only the prompt \"query\", and documents the prompt \"document\"",
			 emb_json_clip(name, 80), name, emb_json_clip(text, 80), text);
	return true;
}

/*
 * Chooses like SentenceTransformer.encode_query and encode_document, except
 * for the names of documents' prompts. Two empty prompts and no others count
 * as absent: sentence-transformers writes them for every model it saves.
 */
EmbStatus
emb_hf_parse_prompts(const EmbJson *doc, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	const json_t *prompts = json_object_get(doc->root, "prompts");
	const json_t *query = json_object_get(prompts, "query");
	const json_t *document;
	const char *default_name = NULL;
	EmbStatus	status = EMB_OK;

	if (doc->root != NULL)
		status = emb_hf_check_object(doc, err);
	if (status == EMB_OK)
		status = emb_json_get_string(doc, doc->root, "default_prompt_name", &default_name, err);
	if (status != EMB_OK)
		return status;
	if (prompts != NULL && !json_is_null(prompts) && !json_is_object(prompts))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"prompts\" is not an object", doc->file);
	/* the two that sentence-transformers has in any case */
	if (default_name != NULL && json_object_get(prompts, default_name) == NULL &&
		strcmp(default_name, "query") != 0 && strcmp(default_name, "document") != 0)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"default_prompt_name\" is \"%.*s\", which is not among the prompts",
						 doc->file, emb_json_clip(default_name, 80), default_name);
	document = find_document_prompt(prompts, config);
	status = copy_prompt(doc, query, mem, &config->query_prompt, err);
	if (status == EMB_OK)
		status = copy_prompt(doc, document, mem, &config->document_prompt, err);
	if (status != EMB_OK)
		return status;
	config->has_prompts = note_default_prompt(prompts, default_name, config) || config->query_prompt[0] != '\0' || config->document_prompt[0] != '\0' ||
		((query != NULL || document != NULL) && json_object_size(prompts) != 2);
	return EMB_OK;
}

/*
 * A prompt that is not requested is not used; a default prompt would be part
 * of every pair. That of a decoder is the instruction in its template.
 */
EmbStatus
emb_hf_parse_cross_encoder(const EmbJson *doc, const EmbAllocator *mem, EmbHfConfig *config, EmbError *err)
{
	const json_t *prompts = json_object_get(doc->root, "prompts");
	const char *default_name = NULL;
	EmbStatus	status = emb_hf_check_object(doc, err);

	if (status == EMB_OK)
		status = emb_hf_check_score_activation(doc, doc->root, "activation_fn", err);
	if (status == EMB_OK)
		status = emb_json_get_string(doc, doc->root, "default_prompt_name", &default_name, err);
	if (status != EMB_OK || default_name == NULL)
		return status;
	if (config->arch.head != EMB_HEAD_ANSWER)
		return emb_hf_unsupported(doc, "default_prompt_name", default_name, "rerankers are imported without prompts", err);
	if (json_object_get(prompts, default_name) == NULL)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"default_prompt_name\" is \"%.*s\", which is not among the prompts",
						 doc->file, emb_json_clip(default_name, 80), default_name);
	return copy_prompt(doc, json_object_get(prompts, default_name), mem, &config->instruction, err);
}

/* ------------------------------------------------------------ the well-known */

#define SEARCH_QUERY	EMB_DEFAULT_INSTRUCTION

/*
 * From the models' cards. Names are matched as wholes: the author of
 * "my-e5-small-v2" may have used other prompts. Models without prompts are
 * listed so that another name does not assign them one. Models that are often
 * fine-tuned but rarely used directly (e5-large-unsupervised) are not listed.
 */
static const struct
{
	const char *names;			/* between spaces */
	const char *query;
	const char *document;
}			families[] =
{
	{" bge-small-en bge-base-en bge-large-en bge-small-en-v1.5 bge-base-en-v1.5 bge-large-en-v1.5"
		" snowflake-arctic-embed-xs snowflake-arctic-embed-s snowflake-arctic-embed-m snowflake-arctic-embed-m-long"
		" snowflake-arctic-embed-l snowflake-arctic-embed-m-v1.5 mxbai-embed-large-v1 mxbai-embed-2d-large-v1 UAE-Large-V1 ",
	"Represent this sentence for searching relevant passages: ", ""},
	{" bge-small-zh bge-base-zh bge-large-zh bge-small-zh-v1.5 bge-base-zh-v1.5 bge-large-zh-v1.5 ",
	"为这个句子生成表示以用于检索相关文章：", ""},
	{" e5-small e5-base e5-large e5-small-v2 e5-base-v2 e5-large-v2 multilingual-e5-small multilingual-e5-base multilingual-e5-large ",
	"query: ", "passage: "},
	{" multilingual-e5-large-instruct e5-mistral-7b-instruct gte-Qwen1.5-7B-instruct gte-Qwen2-1.5B-instruct gte-Qwen2-7B-instruct"
		" harrier-oss-v1-0.6b ",
	"Instruct: " SEARCH_QUERY "\nQuery: ", ""},
	{" Qwen3-Embedding-0.6B Qwen3-Embedding-4B Qwen3-Embedding-8B ",
	"Instruct: " SEARCH_QUERY "\nQuery:", ""},
	{" embeddinggemma-300m embeddinggemma-300m-qat-q4_0-unquantized embeddinggemma-300m-qat-q8_0-unquantized ",
	"task: search result | query: ", "title: none | text: "},
	{" nomic-embed-text-v1 nomic-embed-text-v1.5 nomic-embed-text-v2-moe modernbert-embed-base ",
	"search_query: ", "search_document: "},
	{" snowflake-arctic-embed-m-v2.0 snowflake-arctic-embed-l-v2.0 ", "query: ", ""},
	{" bge-m3 bge-m3-unsupervised bge-m3-retromae bge-small-zh-noinstruct bge-large-zh-noinstruct gte-small gte-base gte-large"
		" gte-small-zh gte-base-zh gte-large-zh gte-base-en-v1.5 gte-large-en-v1.5 gte-multilingual-base gte-modernbert-base"
		" all-MiniLM-L6-v2 all-MiniLM-L12-v2 all-mpnet-base-v2 LaBSE ",
	"", ""},
};

/* The model whose card takes a layer norm before it cuts vectors. */
#define CENTERED	"nomic-embed-text-v1.5"

/*
 * Independent of the locale: strncasecmp with Turkish rules would build
 * another image from the same files.
 */
static bool
is_same_name(const char *a, const char *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		char		x = a[i] >= 'A' && a[i] <= 'Z' ? a[i] + ('a' - 'A') : a[i];
		char		y = b[i] >= 'A' && b[i] <= 'Z' ? b[i] + ('a' - 'A') : b[i];

		if (x != y || x == '\0')
			return false;
	}
	return true;
}

/* The entry with this name, whatever the case of its letters; -1: none. */
static int
find_family(const char *name, size_t len)
{
	if (len == 0 || memchr(name, ' ', len) != NULL)
		return -1;
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
	{
		for (const char *at = families[i].names; (at = strchr(at, ' ')) != NULL; at++)
		{
			if (is_same_name(at + 1, name, len) && at[1 + len] == ' ')
				return (int) i;
		}
	}
	return -1;
}

/* The last component of a path and its size, without trailing slashes. */
static const char *
last_part(const char *path, size_t path_bytes, size_t *len)
{
	size_t		end = path_bytes;
	size_t		begin;

	while (end > 0 && path[end - 1] == '/')
		end--;
	for (begin = end; begin > 0 && path[begin - 1] != '/'; begin--)
		;
	*len = end - begin;
	return path + begin;
}

/* The directory's name; in the hub's cache the name of the snapshot's model. */
static const char *
directory_name(const char *dir, size_t *len)
{
	size_t		n;
	const char *last = last_part(dir, strlen(dir), &n);
	const char *above = last_part(dir, last - dir, len);

	if (*len == 9 && strncmp(above, "snapshots", 9) == 0)
		return last_part(dir, above - dir, len);
	*len = n;
	return last;
}

/*
 * Whether it is a known model's name, as a whole or after its owner's name, in
 * the spelling of the hub's cache (models--BAAI--bge-small-en) or the older
 * one (BAAI_bge-small-en).
 */
static bool
try_name(const char *name, size_t len, const char *found_in, EmbKnownPrompts *known)
{
	int			i = find_family(name, len);

	for (size_t at = 1; i < 0 && at < len; at++)
	{
		if (name[at - 1] == '_' || (at > 1 && name[at - 1] == '-' && name[at - 2] == '-'))
		{
			i = find_family(name + at, len - at);
			if (i >= 0)
			{
				name += at;
				len -= at;
			}
		}
	}
	if (i < 0 || len >= sizeof(known->name))
		return false;
	known->query = families[i].query;
	known->document = families[i].document;
	known->centers_cut = len == strlen(CENTERED) && is_same_name(name, CENTERED, len);
	memcpy(known->name, name, len);
	known->name[len] = '\0';
	known->found_in = found_in;
	return true;
}

bool
emb_hf_find_prompts(const EmbHfConfig *config, const char *dir, const char *name, EmbKnownPrompts *known)
{
	size_t		len;
	const char *part = directory_name(dir, &len);

	if (try_name(part, len, "the directory", known))
		return true;
	part = last_part(config->name_or_path, strlen(config->name_or_path), &len);
	if (try_name(part, len, "\"_name_or_path\" of config.json", known))
		return true;
	if (name == NULL)
		return false;
	part = last_part(name, strlen(name), &len);
	return try_name(part, len, "the model", known);
}

/* ------------------------------------------------------------ words of names */

static bool
has_word(const char *name, size_t len, const char *word)
{
	size_t		n = strlen(word);

	for (size_t i = 0; i + n <= len; i++)
	{
		if (is_same_name(name + i, word, n))
			return true;
	}
	return false;
}

const char *
emb_hf_find_word(const EmbHfConfig *config, const char *dir, const char *name, const char *word)
{
	size_t		len;
	const char *part = directory_name(dir, &len);

	if (has_word(part, len, word))
		return "the directory";
	part = last_part(config->name_or_path, strlen(config->name_or_path), &len);
	if (has_word(part, len, word))
		return "\"_name_or_path\" of config.json";
	if (name == NULL)
		return NULL;
	part = last_part(name, strlen(name), &len);
	return has_word(part, len, word) ? "the model" : NULL;
}
