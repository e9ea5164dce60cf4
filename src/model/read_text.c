/*
 * read_text.c
 *		Texts to token ids, with the model's prompt in front.
 */
#include "model/model.h"

#include <string.h>

#include "common/utf8.h"

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
		if (!emb_utf8_is_inside((uint8_t) text[i]) && n_chars-- == 0)
			return i;
	}
	return len;
}

/* Copies prompt and text into one string; NULL: out of memory. */
static char *
join(const char *prompt, size_t prompt_bytes, const char *text, size_t len, const EmbAllocator *mem)
{
	char	   *joined = len > SIZE_MAX - prompt_bytes ? NULL : emb_alloc(mem, prompt_bytes + len);

	if (joined == NULL)
		return NULL;
	memcpy(joined, prompt, prompt_bytes);
	if (len > 0)
		memcpy(joined + prompt_bytes, text, len);
	return joined;
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

/*
 * The first characters of a text: for a static model the text is cut before it
 * is tokenized, like in model2vec.
 */
typedef struct FirstChars
{
	const EmbTextReader *text;
	int32_t		n_chars;
	bool		is_cut;			/* the last read left text out */
} FirstChars;

static EmbStatus
read_first_chars(void *ctx, size_t want, EmbText *text, EmbError *err)
{
	FirstChars *first = ctx;
	EmbStatus	status = first->text->read(first->text->ctx, want, text, err);
	size_t		n;

	if (status != EMB_OK)
		return status;
	n = char_bytes(text->text, text->len, first->n_chars);
	first->is_cut = n < text->len;
	text->complete |= first->is_cut;
	text->len = n;
	return EMB_OK;
}

/*
 * What a model with layers reads where a text has no token, and its tokenizer
 * adds none: decoders without an end token.
 */
static EmbStatus
encode_nothing(const EmbModel *model, const EmbReading *to, EmbTokResult *r, EmbError *err)
{
	static const EmbText space = {" ", 1, true, NULL};
	EmbStatus	status = emb_tok_encode(model->tok, &space, to, r, err);

	if (status == EMB_OK && r->n_ids == 0)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the text has no tokens");
	return status;
}

/* For a static model, drops the ids of unknown tokens. */
static EmbStatus
encode(const EmbModel *model, const EmbTextReader *text, const EmbReading *to, EmbEncoded *result, EmbError *err)
{
	FirstChars	first = {.text = text, .n_chars = model->info.max_chars};
	EmbTextReader cut = {&first, read_first_chars};
	EmbTokResult r;
	EmbStatus	status = emb_tok_read(model->tok, model->info.max_chars > 0 ? &cut : text, to, &r, err);

	if (status == EMB_OK && r.n_ids == 0 && !r.need_more && model->info.n_layers > 0)
		status = encode_nothing(model, to, &r, err);
	if (status != EMB_OK)
		return status;
	if (model->dropped_id >= 0 && !r.need_more)
		r.n_ids = drop_id(to->ids, r.n_ids, model->dropped_id);
	*result = (EmbEncoded) {.n_ids = r.n_ids, .truncated = r.truncated || first.is_cut, .need_more = r.need_more};
	return EMB_OK;
}

/* Copies to and limits max_ids to the model's; an error if not even the special tokens fit. */
static EmbStatus
clamp_ids(const EmbModel *model, EmbPrompt prompt, bool pair, const EmbReading *to, EmbReading *clamped, EmbError *err)
{
	bool		has_template = model->info.has_template;
	int32_t		max = prompt == EMB_PROMPT_QUERY ? model->info.max_query_tokens : model->info.max_tokens;
	int			n_special;

	if (pair && !has_template && !emb_tok_has_pair(model->tok))
		return emb_error(err, EMB_ERR_UNSUPPORTED, "the model's tokenizer takes no pairs of texts");
	n_special = pair && has_template ? model->template.n_prefix + model->template.n_suffix + 1 : emb_tok_n_special(model->tok, pair);
	*clamped = *to;
	if (to->max_ids > max)
		clamped->max_ids = max;
	if (clamped->max_ids < n_special || clamped->max_ids < 1)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "%d tokens have no room for the model's %d special tokens",
						 clamped->max_ids, n_special);
	return EMB_OK;
}

/* The model takes no instruction, or not here. */
static EmbStatus
refuse_instruction(const EmbModel *model, EmbError *err)
{
	emb_error(err, EMB_ERR_INVALID_ARGUMENT, model->info.instruction != NULL ? "an instruction belongs to a query"
			  : "the model takes no instruction");
	return emb_error_hint(err, EMB_ERR_INVALID_ARGUMENT,
						  model->info.kind == EMB_KIND_RERANKER ? "Rerankers that take one are decoders, such as Qwen3-Reranker."
						  : "Embedding models that take one have it in their query prompt: \"Instruct: ..\\nQuery:\".");
}

/* The prompt, with another instruction in the place of its own, as pieces. */
static EmbStatus
add_prompt(const EmbModel *model, EmbPrompt prompt, const EmbReading *to, EmbJoined *joined, EmbError *err)
{
	size_t		bytes;
	const char *text = emb_model_prompt(model, prompt, &bytes);
	EmbPromptInstruction own;

	if (to->instruction == NULL)
	{
		joined->pieces[joined->n++] = (EmbPiece) {.text = text, .bytes = bytes};
		return EMB_OK;
	}
	if (prompt != EMB_PROMPT_QUERY || !emb_prompt_find_instruction(text, &own))
		return refuse_instruction(model, err);
	joined->pieces[joined->n++] = (EmbPiece) {.text = text, .bytes = own.begin};
	joined->pieces[joined->n++] = (EmbPiece) {.text = to->instruction, .bytes = to->instruction_bytes};
	joined->pieces[joined->n++] = (EmbPiece) {.text = text + own.begin + own.bytes, .bytes = bytes - own.begin - own.bytes};
	return EMB_OK;
}

/* The tokenizer sees prompt and text as one string, because a word may span the seam. */
EmbStatus
emb_model_read(const EmbModel *model, EmbPrompt prompt, const EmbTextReader *text,
			   const EmbReading *to, EmbEncoded *result, EmbError *err)
{
	EmbJoined	joined = {.mem = to->mem};
	EmbTextReader reader = {&joined, emb_read_joined};
	EmbReading	clamped;
	size_t		prompt_bytes;
	EmbStatus	status = clamp_ids(model, prompt, false, to, &clamped, err);

	if (status != EMB_OK)
		return status;
	emb_model_prompt(model, prompt, &prompt_bytes);
	if (model->view.config->excludes_prompt != 0 && to->instruction != NULL)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model leaves its prompt out of the pooling, and takes no other instruction for a call");
	if (prompt_bytes == 0 && to->instruction == NULL)
		return encode(model, text, &clamped, result, err);
	status = add_prompt(model, prompt, to, &joined, err);
	if (status != EMB_OK)
		return status;
	joined.pieces[joined.n++] = (EmbPiece) {.reader = text};
	status = encode(model, &reader, &clamped, result, err);
	emb_release(to->mem, joined.buffer);
	return status;
}

EmbStatus
emb_model_encode(const EmbModel *model, EmbPrompt prompt, const EmbText *text,
				 const EmbReading *to, EmbEncoded *result, EmbError *err)
{
	EmbTextReader reader = emb_text_reader(text);

	return emb_model_read(model, prompt, &reader, to, result, err);
}

EmbStatus
emb_model_read_first(const EmbModel *model, const EmbTextReader *query, const EmbReading *to,
					 EmbTextIds *known, EmbError *err)
{
	EmbReading	clamped;
	bool		need_more = false;
	EmbStatus	status = clamp_ids(model, EMB_PROMPT_NONE, true, to, &clamped, err);

	if (status == EMB_OK && model->info.has_template)
		return emb_template_read_first(model, query, &clamped, known, err);
	if (status == EMB_OK && to->instruction != NULL)
		return refuse_instruction(model, err);
	if (status == EMB_OK)
		status = emb_tok_read_first(model->tok, query, &clamped, known, &need_more, err);
	if (status == EMB_OK && need_more)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the query is not complete");
	return status;
}

EmbStatus
emb_model_read_pair(const EmbModel *model, const EmbTextReader *a, const EmbTextReader *b,
					const EmbReading *to, EmbEncoded *result, EmbError *err)
{
	EmbReading	clamped;
	EmbTokResult r;
	EmbStatus	status = clamp_ids(model, EMB_PROMPT_NONE, true, to, &clamped, err);

	if (status == EMB_OK && model->info.has_template)
		return emb_template_read_pair(model, a, b, &clamped, result, err);
	if (status == EMB_OK && to->instruction != NULL)
		return refuse_instruction(model, err);
	if (status == EMB_OK)
		status = emb_tok_read_pair(model->tok, a, b, EMB_TOK_LONGEST_FIRST, &clamped, &r, err);
	if (status == EMB_OK)
		*result = (EmbEncoded) {.n_ids = r.n_ids, .truncated = r.truncated, .need_more = r.need_more};
	return status;
}

EmbStatus
emb_model_encode_pair(const EmbModel *model, const EmbText *a, const EmbText *b,
					  const EmbReading *to, EmbEncoded *result, EmbError *err)
{
	EmbTextReader first = emb_text_reader(a);
	EmbTextReader second = emb_text_reader(b);

	return emb_model_read_pair(model, &first, &second, to, result, err);
}

int32_t
emb_model_expand(const EmbModel *model, int32_t *ids, int32_t n_ids)
{
	int32_t		floor = model->info.query_floor;

	for (int32_t i = n_ids; i < floor; i++)
		ids[i] = model->view.arch->expansion_id;
	return n_ids < floor ? floor - n_ids : 0;
}

bool
emb_model_reads_all(const EmbModel *model, EmbPrompt prompt, const char *text, size_t len, int64_t n_tokens)
{
	size_t		prompt_bytes;
	const char *prefix = emb_model_prompt(model, prompt, &prompt_bytes);
	int32_t		n_chars = model->info.max_chars;

	if (n_tokens > (prompt == EMB_PROMPT_QUERY ? model->info.max_query_tokens : model->info.max_tokens))
		return false;
	if (n_chars == 0)
		return true;
	for (size_t i = 0; i < prompt_bytes; i++)
		n_chars -= !emb_utf8_is_inside((uint8_t) prefix[i]);
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
	{
		status = emb_tok_count(model->tok, text, len, stop, n_tokens, err);
		/* see encode_nothing */
		if (status == EMB_OK && *n_tokens == 0 && model->info.n_layers > 0)
			*n_tokens = 1;
		return status;
	}
	joined = join(prefix, prompt_bytes, text, len, mem);
	if (joined == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a prompt and %zu bytes of text", len);
	status = emb_tok_count(model->tok, joined, prompt_bytes + len, stop, n_tokens, err);
	emb_release(mem, joined);
	return status;
}
