/*
 * read_text.c
 *		Texts to token ids, with the model's prompt in front.
 */
#include "model/model.h"

#include <string.h>

/* First guess at the text that fills max_ids: bytes a token, and some more. */
#define BYTES_PER_TOKEN		8
#define BYTES_AT_LEAST		4096

const char *
emb_model_prompt(const EmbModel *model, EmbPrompt prompt, size_t *bytes)
{
	*bytes = prompt == EMB_PROMPT_QUERY ? model->query_prompt_bytes
		: prompt == EMB_PROMPT_DOCUMENT ? model->document_prompt_bytes : 0;
	return prompt == EMB_PROMPT_QUERY ? model->info.query_prompt : model->info.document_prompt;
}

/* Bytes of the text's first n_chars characters; all of them where there are no more. */
static size_t
char_bytes(const char *text, size_t len, int32_t n_chars)
{
	for (size_t i = 0; i < len; i++)
	{
		if (((unsigned char) text[i] & 0xC0) != 0x80 && n_chars-- == 0)
			return i;
	}
	return len;
}

static int32_t
drop_id(int32_t *ids, int32_t n_ids, int32_t id)
{
	int32_t		n = 0;

	for (int32_t i = 0; i < n_ids; i++)
	{
		ids[n] = ids[i];
		n += ids[i] != id;
	}
	return n;
}

/* A static model's text is cut before it is tokenized, what the unknown token stands for left out behind: as model2vec does. */
static EmbStatus
encode(const EmbModel *model, const char *text, size_t len, bool complete, int32_t *ids, int32_t max_ids,
	   const EmbStop *stop, EmbEncoded *result, EmbError *err)
{
	size_t		n = model->info.max_chars > 0 ? char_bytes(text, len, model->info.max_chars) : len;
	EmbTokResult r;
	EmbStatus	status = emb_tok_encode(model->tok, text, n, complete || n < len, ids, max_ids, stop, &r, err);

	if (status != EMB_OK)
		return status;
	if (model->dropped_id >= 0 && !r.need_more)
		r.n_ids = drop_id(ids, r.n_ids, model->dropped_id);
	*result = (EmbEncoded) {.n_ids = r.n_ids, .truncated = r.truncated || n < len, .need_more = r.need_more};
	return EMB_OK;
}

/* At most len bytes of text, not ending inside a character. */
static size_t
clip_text(const char *text, size_t len, size_t want)
{
	size_t		n = want;

	if (want >= len)
		return len;
	while (n > 0 && want - n < 3 && ((unsigned char) text[n] & 0xC0) == 0x80)
		n--;
	return n;
}

/*
 * The tokenizer sees one string, prompt and text: a word may well span the
 * seam. Only as much of the text is copied behind the prompt as the ids need:
 * a growing piece of it, until the tokenizer is certain.
 */
static EmbStatus
encode_behind(const EmbModel *model, const char *prompt, size_t prompt_bytes,
			  const char *text, size_t len, bool complete, int32_t *ids, int32_t max_ids,
			  const EmbAllocator *mem, const EmbStop *stop, EmbEncoded *result, EmbError *err)
{
	size_t		want = (size_t) max_ids * BYTES_PER_TOKEN + BYTES_AT_LEAST;
	EmbStatus	status;

	for (;;)
	{
		size_t		n = clip_text(text, len, want);
		bool		whole = n == len && complete;
		char	   *joined;

		if (n > SIZE_MAX - prompt_bytes || (joined = emb_alloc(mem, prompt_bytes + n)) == NULL)
			return emb_error(err, EMB_ERR_NOMEM, "out of memory for a prompt and %zu bytes of text", n);
		memcpy(joined, prompt, prompt_bytes);
		memcpy(joined + prompt_bytes, text, n);
		status = encode(model, joined, prompt_bytes + n, whole, ids, max_ids, stop, result, err);
		emb_release(mem, joined);
		if (status != EMB_OK || !result->need_more || n == len)
			return status;
		want = n > SIZE_MAX / 4 ? len : n * 4;
	}
}

/* max_ids clamped to the model's, or an error where not even the special tokens fit. */
static EmbStatus
clamp_ids(const EmbModel *model, bool pair, int32_t *max_ids, EmbError *err)
{
	int			n_special = emb_tok_n_special(model->tok, pair);

	if (*max_ids > model->info.max_tokens)
		*max_ids = model->info.max_tokens;
	if (*max_ids < n_special || *max_ids < 1)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "%d tokens have no room for the model's %d special tokens",
						 *max_ids, n_special);
	return EMB_OK;
}

EmbStatus
emb_model_encode(const EmbModel *model, EmbPrompt prompt, const char *text, size_t len, bool complete,
				 int32_t *ids, int32_t max_ids, const EmbAllocator *mem, const EmbStop *stop,
				 EmbEncoded *result, EmbError *err)
{
	size_t		prompt_bytes;
	const char *prefix = emb_model_prompt(model, prompt, &prompt_bytes);
	EmbStatus	status = clamp_ids(model, false, &max_ids, err);

	if (status != EMB_OK)
		return status;
	if (prompt_bytes == 0)
		return encode(model, text, len, complete, ids, max_ids, stop, result, err);
	return encode_behind(model, prefix, prompt_bytes, text, len, complete, ids, max_ids, mem, stop, result, err);
}

/* max_ids clamped to the model's, of a model that takes pairs. */
static EmbStatus
clamp_pair_ids(const EmbModel *model, int32_t *max_ids, EmbError *err)
{
	if (!emb_tok_has_pair(model->tok))
		return emb_error(err, EMB_ERR_UNSUPPORTED, "the model's tokenizer takes no pairs of texts");
	return clamp_ids(model, true, max_ids, err);
}

EmbStatus
emb_model_encode_first(const EmbModel *model, const EmbText *a, int32_t *ids, int32_t max_ids,
					   const EmbStop *stop, EmbTextIds *known, bool *need_more, EmbError *err)
{
	EmbStatus	status = clamp_pair_ids(model, &max_ids, err);

	return status == EMB_OK ? emb_tok_encode_first(model->tok, a, ids, max_ids, stop, known, need_more, err) : status;
}

EmbStatus
emb_model_encode_pair(const EmbModel *model, const EmbText *a, const EmbText *b,
					  int32_t *ids, int32_t *type_ids, int32_t max_ids, const EmbStop *stop,
					  EmbEncoded *result, EmbError *err)
{
	EmbTokResult r;
	EmbStatus	status = clamp_pair_ids(model, &max_ids, err);

	if (status == EMB_OK)
		status = emb_tok_encode_pair(model->tok, a, b, EMB_TOK_LONGEST_FIRST, ids, type_ids, max_ids, stop, &r, err);
	if (status == EMB_OK)
		*result = (EmbEncoded) {.n_ids = r.n_ids, .truncated = r.truncated, .need_more = r.need_more};
	return status;
}

bool
emb_model_reads_all(const EmbModel *model, EmbPrompt prompt, const char *text, size_t len, int64_t n_tokens)
{
	size_t		prompt_bytes;
	const char *prefix = emb_model_prompt(model, prompt, &prompt_bytes);
	int32_t		n_chars = model->info.max_chars;

	if (n_tokens > model->info.max_tokens)
		return false;
	if (n_chars == 0)
		return true;
	for (size_t i = 0; i < prompt_bytes; i++)
		n_chars -= ((unsigned char) prefix[i] & 0xC0) != 0x80;
	return n_chars >= 0 && char_bytes(text, len, n_chars) == len;
}

EmbStatus
emb_model_count_tokens(const EmbModel *model, EmbPrompt prompt, const char *text, size_t len,
					   const EmbAllocator *mem, const EmbStop *stop, int64_t *n_tokens, EmbError *err)
{
	size_t		prompt_bytes;
	const char *prefix = emb_model_prompt(model, prompt, &prompt_bytes);
	char	   *joined;
	EmbStatus	status;

	if (prompt_bytes == 0)
		return emb_tok_count(model->tok, text, len, stop, n_tokens, err);
	if (len > SIZE_MAX - prompt_bytes || (joined = emb_alloc(mem, prompt_bytes + len)) == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a prompt and %zu bytes of text", len);
	memcpy(joined, prefix, prompt_bytes);
	memcpy(joined + prompt_bytes, text, len);
	status = emb_tok_count(model->tok, joined, prompt_bytes + len, stop, n_tokens, err);
	emb_release(mem, joined);
	return status;
}
