/*
 * answers.c
 *		The template of a decoder that reranks, on its way into an image.
 */
#include "convert/answers.h"

#include <string.h>

#include "formats/json.h"

EmbStatus
emb_answers_set_instruction(EmbPairTemplate *pair, const char *instruction, EmbError *err)
{
	if (!pair->takes_instruction)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model's template has no place for an instruction");
	if (strlen(instruction) > EMB_TEMPLATE_MAX_BYTES)
		return emb_error(err, EMB_ERR_LIMIT, "the instruction has %zu bytes, more than %d", strlen(instruction), EMB_TEMPLATE_MAX_BYTES);
	pair->texts[EMB_TEMPLATE_INSTRUCTION] = instruction;
	return EMB_OK;
}

void
emb_answers_describe(const EmbPairTemplate *pair, EmbImageConfig *config)
{
	config->has_template = 1;
	config->takes_instruction = pair->takes_instruction;
	config->seam = (uint32_t) (pair->seam + 1);
	for (int i = 0; i < EMB_TEMPLATE_TEXTS; i++)
		config->template_bytes[i] = (uint32_t) strlen(pair->texts[i]);
}

/* ------------------------------------------------------------- one token */

/* The id of a text that is one token of the vocabulary; -1: it is none, or several. */
static EmbStatus
find_token(const EmbTokenizer *tok, const char *word, size_t len, const EmbStop *stop, int32_t *id, EmbError *err)
{
	EmbText		text = {word, len, true, NULL};
	EmbTokResult r;
	int32_t		found;
	EmbStatus	status = emb_tok_encode(tok, &text, &(EmbReading) {.ids = &found, .max_ids = 1, .stop = stop}, &r, err);

	*id = status == EMB_OK && r.n_ids == 1 && !r.truncated ? found : -1;
	return status;
}

static EmbStatus
check_marks_of(const EmbTokenizer *tok, const char *text, const EmbStop *stop, EmbError *err)
{
	for (const char *end; (text = strstr(text, "<|")) != NULL && (end = strstr(text, "|>")) != NULL; text = end)
	{
		int32_t		id;
		EmbStatus	status;

		end += 2;
		status = find_token(tok, text, (size_t) (end - text), stop, &id, err);
		if (status != EMB_OK)
			return status;
		if (id >= 0)
			continue;
		emb_error(err, EMB_ERR_UNSUPPORTED, "\"%.*s\" of the template is not one token of the model's vocabulary", (int) (end - text), text);
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Download tokenizer.json too, or set the option template to what the model was trained with.");
	}
	return EMB_OK;
}

EmbStatus
emb_answers_check_marks(const EmbTokenizer *tok, const EmbCheckpoint *c, const EmbStop *stop, EmbError *err)
{
	EmbStatus	status = EMB_OK;

	if (c->template_storage != NULL)
		return EMB_OK;
	for (int i = 0; status == EMB_OK && i < EMB_TEMPLATE_TEXTS; i++)
	{
		if (i != EMB_TEMPLATE_INSTRUCTION)
			status = check_marks_of(tok, c->pair_template.texts[i], stop, err);
	}
	return status;
}

/* ---------------------------------------------------------------- answers */

EmbStatus
emb_answers_look_up(const EmbTokenizer *tok, EmbCheckpoint *c, const EmbStop *stop, EmbError *err)
{
	for (int i = 0; i < 2; i++)
	{
		const char *word = c->answers[i];
		int32_t		id;
		EmbStatus	status;

		if (word == NULL)
			continue;
		status = find_token(tok, word, strlen(word), stop, &id, err);
		if (status != EMB_OK)
			return status;
		if (id < 0)
		{
			emb_error(err, EMB_ERR_UNSUPPORTED, "the answer \"%.*s\" is not one token of the model's vocabulary", emb_json_clip(word, 80), word);
			return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "The option template names other answers, as \"yes\" and \"no\".");
		}
		c->answer_ids[i] = id;
	}
	return EMB_OK;
}

EmbStatus
emb_answers_find(EmbCheckpoint *c, const EmbStop *stop, EmbError *err)
{
	void	   *block = NULL;
	size_t		size_bytes;
	EmbTokenizer *tok;
	EmbStatus	status;

	if (c->answers[0] == NULL && c->answers[1] == NULL)
		return EMB_OK;
	status = emb_tok_build(&c->tokenizer, c->mem, &block, &size_bytes, err);
	if (status != EMB_OK)
		return status;
	status = emb_tok_open(block, size_bytes, true, c->mem, &tok, err);
	if (status == EMB_OK)
	{
		status = emb_answers_look_up(tok, c, stop, err);
		emb_tok_close(tok);
	}
	emb_release(c->mem, block);
	return status;
}

/* ------------------------------------------------------------------- seam */

/* Texts whose first characters join what is before them, where anything does. */
static const char *const documents[] = {
	"", " ", "\n", "\r\n", "  two", "\t\ttab", "a", "A word", ":x", "::", ">", "'s", "'ll be", "123", "0", "<|im_end|>", "<|endoftext|>", "<Document>:",
	"\314\201a", "\xc2\xa0", "\xc2\xa0x", "\xe2\x80\x8b", "\xe3\x80\x80", "\xe4\xb8\xad\xe6\x96\x87", "\xf0\x9f\x98\x80", "\xd9\x90", ".", ", and", "-1",
};

static const char *const queries[] = {
	"q", "", "?", "a\n", " ", ":", "\xe4\xb8\xad",
};

#define N_TEXTS(texts)	((int) (sizeof(texts) / sizeof((texts)[0])))

/* Longest of the texts above. */
#define TEXT_MAX		16

typedef struct Proof
{
	const EmbTokenizer *tok;
	const EmbPairTemplate *pair;
	const EmbStop *stop;
	char	   *text;			/* [room] */
	int32_t    *ids[2];			/* [room]: of the whole, of the parts */
	int32_t		room;
} Proof;

static EmbStatus
encode(const Proof *p, const char *text, size_t len, int32_t *ids, int32_t *n_ids, EmbError *err)
{
	EmbText		t = {text, len, true, NULL};
	EmbTokResult r = {0};
	EmbStatus	status = emb_tok_encode(p->tok, &t, &(EmbReading) {.ids = ids, .max_ids = p->room, .stop = p->stop}, &r, err);

	*n_ids += r.n_ids;
	return status;
}

/* Whether a query and a document give the same ids whole and in two parts. */
static EmbStatus
try_pair(const Proof *p, const char *query, const char *document, int32_t seam, bool *same, EmbError *err)
{
	const char *const *texts = p->pair->texts;
	bool		is_plain = texts[EMB_TEMPLATE_INSTRUCTION][0] == '\0';
	const char *parts[] = {
		is_plain ? texts[EMB_TEMPLATE_PLAIN] : texts[EMB_TEMPLATE_BEFORE_INSTRUCTION],
		texts[EMB_TEMPLATE_INSTRUCTION],
		is_plain ? "" : texts[EMB_TEMPLATE_BEFORE_QUERY],
		query,
		texts[EMB_TEMPLATE_BEFORE_DOCUMENT],
		document,
	};
	int32_t		n_ids[2] = {0, 0};
	size_t		len = 0;
	size_t		at = 0;
	EmbStatus	status;

	for (int i = 0; i < N_TEXTS(parts); i++)
	{
		at = i == 4 ? len + seam : at;
		memcpy(p->text + len, parts[i], strlen(parts[i]));
		len += strlen(parts[i]);
	}
	if ((status = encode(p, p->text, len, p->ids[0], &n_ids[0], err)) != EMB_OK ||
		(status = encode(p, p->text, at, p->ids[1], &n_ids[1], err)) != EMB_OK ||
		(status = encode(p, p->text + at, len - at, p->ids[1] + n_ids[1], &n_ids[1], err)) != EMB_OK)
		return status;
	*same = n_ids[0] == n_ids[1] && memcmp(p->ids[0], p->ids[1], n_ids[0] * sizeof(int32_t)) == 0;
	return EMB_OK;
}

static EmbStatus
try_seam(const Proof *p, int32_t seam, bool *holds, EmbError *err)
{
	EmbStatus	status = EMB_OK;

	*holds = true;
	for (int i = 0; status == EMB_OK && *holds && i < N_TEXTS(queries); i++)
	{
		for (int k = 0; status == EMB_OK && *holds && k < N_TEXTS(documents); k++)
			status = try_pair(p, queries[i], documents[k], seam, holds, err);
		if (emb_should_stop(p->stop))
			return emb_error(err, EMB_ERR_CANCELLED, "the import was cancelled");
	}
	return status;
}

/* Before the last spaces, because a space begins a word; or right before the document. */
static EmbStatus
try_seams(const Proof *p, int32_t *seam, EmbError *err)
{
	const char *before = p->pair->texts[EMB_TEMPLATE_BEFORE_DOCUMENT];
	int32_t		end = (int32_t) strlen(before);
	int32_t		places[2] = {end, end};

	while (places[0] > 0 && strchr(" \t\r\n", before[places[0] - 1]) != NULL)
		places[0]--;
	for (int i = 0; i < 2; i++)
	{
		bool		holds;
		EmbStatus	status = try_seam(p, places[i], &holds, err);

		if (status != EMB_OK)
			return status;
		if (holds)
		{
			*seam = places[i];
			return EMB_OK;
		}
	}
	return EMB_OK;
}

EmbStatus
emb_answers_find_seam(const EmbTokenizer *tok, EmbPairTemplate *pair, const EmbAllocator *mem,
					  const EmbStop *stop, EmbError *err)
{
	Proof		proof = {.tok = tok, .pair = pair, .stop = stop};
	EmbStatus	status = EMB_OK;

	if (pair->is_apart)
		return EMB_OK;
	/* no text has more tokens than bytes, but for one that normalization makes longer: 4 times is ample */
	proof.room = 4 * (5 * EMB_TEMPLATE_MAX_BYTES + 2 * TEXT_MAX);
	proof.text = emb_alloc(mem, proof.room);
	for (int i = 0; i < 2; i++)
		proof.ids[i] = emb_alloc_array(mem, 2 * (size_t) proof.room, sizeof(int32_t));
	if (proof.text == NULL || proof.ids[0] == NULL || proof.ids[1] == NULL)
		status = emb_error(err, EMB_ERR_NOMEM, "out of memory for a model's template");
	else
		status = try_seams(&proof, &pair->seam, err);
	emb_release(mem, proof.text);
	emb_release(mem, proof.ids[0]);
	emb_release(mem, proof.ids[1]);
	return status;
}

/* ------------------------------------------------------------------- room */

EmbStatus
emb_answers_check_room(const EmbTokenizer *tok, const EmbPairTemplate *pair, int32_t max_tokens,
					   const EmbStop *stop, EmbError *err)
{
	int64_t		n_tokens = 0;

	for (int i = 0; i < EMB_TEMPLATE_TEXTS; i++)
	{
		int64_t		n;
		EmbStatus	status = emb_tok_count(tok, pair->texts[i], strlen(pair->texts[i]), stop, &n, err);

		if (status == EMB_ERR_TEXT)
			return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "%s is not UTF-8",
							 i == EMB_TEMPLATE_INSTRUCTION ? "the instruction" : "a text of the template");
		if (status != EMB_OK)
			return status;
		n_tokens += i != EMB_TEMPLATE_PLAIN || !pair->takes_instruction ? n : 0;
	}
	if (n_tokens >= max_tokens)
		return emb_error(err, EMB_ERR_INVALID_ARGUMENT, "max_tokens %d leaves no room after the %lld tokens of the template",
						 max_tokens, (long long) n_tokens);
	return EMB_OK;
}
