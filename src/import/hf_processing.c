/*
 * hf_processing.c
 *		"processing_kwargs" of sentence_bert_config.json: how newer versions of
 *		sentence-transformers call the tokenizer.
 *
 * Most keys say how texts are padded, which changes no row here. A length is
 * read. All others could change ids, and are refused by name.
 */
#include "import/hf_config.h"

#include <string.h>

/* Part of the object, key, and the values that change nothing; NULL: any. */
static const struct
{
	const char *part;
	const char *key;
	const char *value;			/* as JSON has it */
}			harmless[] =
{
	{"text", "padding", NULL}, {"text", "padding_side", NULL}, {"text", "pad_to_multiple_of", NULL}, {"text", "return_tensors", NULL},
	{"text", "return_attention_mask", NULL}, {"text", "truncation", "true"}, {"text", "truncation", "\"longest_first\""},
	{"text", "add_special_tokens", "true"}, {"text", "logits_to_keep", NULL},
	{"common", "padding", NULL}, {"common", "padding_side", NULL}, {"common", "pad_to_multiple_of", NULL}, {"common", "return_tensors", NULL},
	{"common", "return_attention_mask", NULL}, {"common", "truncation", "true"}, {"common", "add_special_tokens", "true"},
	/* pairs of a decoder have a template of their own, which ends where the answer begins */
	{"chat_template", "add_generation_prompt", "true"}, {"chat_template", "restore_suffix", "true"}, {"chat_template", "enable_thinking", "false"},
};

static bool
is_harmless(const char *part, const char *key, const char *value)
{
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
	{
		if (strcmp(harmless[i].part, part) == 0 && strcmp(harmless[i].key, key) == 0 &&
			(harmless[i].value == NULL || strcmp(harmless[i].value, value) == 0))
			return true;
	}
	return false;
}

/* Only the values of harmless need to be told apart. */
static const char *
shown(const json_t *value)
{
	switch (json_typeof(value))
	{
		case JSON_TRUE:
			return "true";
		case JSON_FALSE:
			return "false";
		case JSON_STRING:
			return strcmp(json_string_value(value), "longest_first") == 0 ? "\"longest_first\"" : "a text";
		case JSON_INTEGER:
		case JSON_REAL:
			return "a number";
		case JSON_NULL:
			return "null";
		default:
			return "a list or an object";
	}
}

static EmbStatus
check_part(const EmbJson *doc, const char *part, const json_t *object, int64_t *max_tokens, EmbError *err)
{
	bool		is_of_text = strcmp(part, "text") == 0 || strcmp(part, "common") == 0;
	const char *key;
	json_t	   *value;

	if (!json_is_object(object))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"processing_kwargs.%s\" is not an object", doc->file, part);
	json_object_foreach((json_t *) object, key, value)
	{
		if (json_is_null(value) || is_harmless(part, key, shown(value)))
			continue;
		if (is_of_text && strcmp(key, "max_length") == 0)
		{
			int64_t		n = 0;
			EmbStatus	status = emb_json_get_int(doc, object, key, 1, INT32_MAX, &n, err);

			if (status != EMB_OK)
				return status;
			*max_tokens = n;
			continue;
		}
		emb_error(err, EMB_ERR_UNSUPPORTED, "%s: \"processing_kwargs.%s.%.*s\" is %s, which could change the tokens of a text and cannot be imported",
				  doc->file, part, emb_json_clip(key, 80), key, shown(value));
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "If the model's tokens are right without it, take it out of the file.");
	}
	return EMB_OK;
}

/* Other kinds of input are of no interest. */
EmbStatus
emb_hf_parse_processing(const EmbJson *doc, int64_t *max_tokens, EmbError *err)
{
	static const char *const parts[] = {"common", "text", "chat_template"};
	const json_t *kwargs = json_object_get(doc->root, "processing_kwargs");

	if (kwargs == NULL || json_is_null(kwargs))
		return EMB_OK;
	if (!json_is_object(kwargs))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"processing_kwargs\" is not an object", doc->file);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
	{
		const json_t *object = json_object_get(kwargs, parts[i]);
		EmbStatus	status = object == NULL || json_is_null(object) ? EMB_OK : check_part(doc, parts[i], object, max_tokens, err);

		if (status != EMB_OK)
			return status;
	}
	return EMB_OK;
}
