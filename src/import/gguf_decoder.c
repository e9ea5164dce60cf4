/*
 * gguf_decoder.c
 *		What a GGUF file says of a decoder beyond an encoder: the answers and
 *		the template of a reranker, and the token after a text.
 */
#include "import/gguf_model.h"

#include <stdio.h>
#include <string.h>

#include "formats/json.h"
#include "import/hf_family.h"
#include "import/hf_prompts.h"
#include "import/hf_tokenizer_readers.h"

#define TEMPLATE_KEY	"tokenizer.chat_template.rerank"

bool
emb_gguf_is_decoder(const EmbGgufModel *m)
{
	return strcmp(m->family->arch, "qwen3") == 0;
}

/* ---------------------------------------------------------------- answers */

/*
 * The labels of cls.output's rows. Without them the first row is "yes", as
 * llama.cpp takes it.
 */
static EmbStatus
read_labels(EmbGgufModel *m, EmbError *err)
{
	static const char *const answers[2] = {"yes", "no"};
	const EmbGgufKey *labels;
	const uint8_t *at = NULL;
	char		key[EMB_GGUF_MAX_NAME + 1];
	EmbStatus	status = emb_gguf_get_array(&m->gguf, emb_gguf_own_key(m, "classifier.output_labels", key, sizeof(key)), EMB_GGUF_STRING, &labels, err);
	int			n_known = 0;

	m->answer_rows[1] = 1;
	if (status != EMB_OK || labels == NULL)
		return status;
	for (int32_t row = 0; row < 2 && labels->n == 2; row++)
	{
		size_t		len;
		const char *label = emb_gguf_next_string(labels, &at, &len);

		for (int i = 0; i < 2; i++)
		{
			if (strcmp(label, answers[i]) != 0)
				continue;
			m->answer_rows[i] = row;
			n_known += 1 << i;
		}
	}
	if (n_known != 3)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "file \"%s\": key \"%s\" is not the two labels yes and no", emb_gguf_path(m), key);
	return EMB_OK;
}

/* A matrix of one or two rows; without it, rows of the output matrix. */
EmbStatus
emb_gguf_read_answers(EmbGgufModel *m, EmbArch *arch, EmbError *err)
{
	const EmbGgufTensor *t = emb_gguf_find_tensor(&m->gguf, "cls.output.weight");
	int64_t		n_rows = t != NULL ? emb_gguf_rows(t) : 2;

	m->has_answers = t != NULL;
	if (n_rows > 2)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "file \"%s\" is a classifier with %lld labels; only rerankers can be imported", emb_gguf_path(m),
						 (long long) n_rows);
	emb_hf_add_answer_head(arch, (int32_t) n_rows);
	return t != NULL && n_rows == 2 ? read_labels(m, err) : EMB_OK;
}

/* --------------------------------------------------------------- template */

/* Whether text begins with part; then steps over it. */
static bool
skip(const char **text, const char *part)
{
	size_t		n = strlen(part);

	if (strncmp(*text, part, n) != 0)
		return false;
	*text += n;
	return true;
}

/*
 * Compares the file's template with the known one. It may have another
 * instruction, which becomes the default: [*begin, *end) of text.
 */
static bool
is_same_template(const EmbPairTemplate *pair, const char *text, const char **begin, const char **end)
{
	if (!skip(&text, pair->texts[EMB_TEMPLATE_PREFIX]) || !skip(&text, pair->texts[EMB_TEMPLATE_BEFORE_INSTRUCTION]))
		return false;
	*begin = text;
	*end = strstr(text, pair->texts[EMB_TEMPLATE_BEFORE_QUERY]);
	if (*end == NULL)
		return false;
	text = *end;
	return skip(&text, pair->texts[EMB_TEMPLATE_BEFORE_QUERY]) && skip(&text, "{query}") &&
		skip(&text, pair->texts[EMB_TEMPLATE_BEFORE_DOCUMENT]) && skip(&text, "{document}") &&
		strcmp(text, pair->texts[EMB_TEMPLATE_SUFFIX]) == 0;
}

/* Takes the instruction of the file's template; any other difference is refused. */
static EmbStatus
use_own_template(EmbCheckpoint *c, const EmbGgufModel *m, const char *text, EmbError *err)
{
	const char *begin;
	const char *end;

	if (!is_same_template(&c->pair_template, text, &begin, &end))
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "file \"%s\": key \"" TEMPLATE_KEY "\" is another template than Qwen3-Reranker's", emb_gguf_path(m));
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Write it as the option template: {\"prefix\": .., \"middle\": .., \"suffix\": ..}.");
	}
	c->instruction = emb_alloc(c->mem, (size_t) (end - begin) + 1);
	if (c->instruction == NULL)
		return emb_error(err, EMB_ERR_NOMEM, "out of memory for a model's instruction");
	memcpy(c->instruction, begin, (size_t) (end - begin));
	c->instruction[end - begin] = '\0';
	c->pair_template.texts[EMB_TEMPLATE_INSTRUCTION] = c->instruction;
	return EMB_OK;
}

static void
note_template(EmbCheckpoint *c, const EmbGgufModel *m, const char *model)
{
	static const char hint[] = "The option template sets another one; the option kind says what the model is.";

	if (m->names.kind_found_in != NULL)
		emb_note(c, hint, "the model is a reranker by its name; it gets the template of %s", model);
	else
		emb_note(c, hint, "the file names no template for pairs; the model gets that of %s", model);
}

EmbStatus
emb_gguf_choose_template(EmbCheckpoint *c, EmbGgufModel *m, const EmbCheckpointOptions *options, EmbError *err)
{
	EmbAnswerTemplate template = emb_template_built_in(EMB_BUILT_IN_QWEN3);
	const char *own = NULL;
	EmbStatus	status;

	if (c->arch.head != EMB_HEAD_ANSWER)
		return options->template == NULL ? EMB_OK
			: emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model is no decoder that reranks, which alone takes a template");
	if ((status = emb_gguf_get_string(&m->gguf, TEMPLATE_KEY, &own, err)) != EMB_OK ||
		(options->template != NULL && (status = emb_template_parse(options->template, c->mem, &template, err)) != EMB_OK))
		return status;
	c->template_storage = template.storage;
	c->pair_template = template.pair;
	if (!m->has_answers)
	{
		c->answers[0] = template.answers[0];
		c->answers[1] = template.answers[1];
	}
	if (options->template != NULL)
		return EMB_OK;
	if (own != NULL)
		return use_own_template(c, m, own, err);
	if (emb_hf_find_word(&m->names, m->path, options->name, template.known_as) == NULL)
		note_template(c, m, template.model);
	return EMB_OK;
}

/* ------------------------------------------------------------- tokenizer */

/*
 * A template has its special tokens in its texts. A last row that is pooled is
 * that of <|endoftext|>: Qwen3-Embedding was trained so, and early files do not
 * say it, or name another token. Any other model has what the file says.
 */
EmbStatus
emb_gguf_decoder_templates(const EmbGgufModel *m, const EmbArch *arch, EmbTokSpec *spec, EmbError *err)
{
	static const char end[] = "<|endoftext|>";
	bool		adds_end = false;
	int64_t		id = -1;
	EmbStatus	status;

	spec->single = (EmbTokTemplate) {.n_slots = 1, .slots[0] = {.kind = EMB_TOK_SLOT_A}};
	spec->pair.n_slots = 0;
	if (arch->head == EMB_HEAD_ANSWER)
		return EMB_OK;
	if ((status = emb_gguf_get_bool(&m->gguf, "tokenizer.ggml.add_eos_token", &adds_end, err)) != EMB_OK ||
		(status = emb_gguf_get_int(&m->gguf, "tokenizer.ggml.eos_token_id", 0, spec->n_vocab - 1, &id, err)) != EMB_OK)
		return status;
	if (arch->pooling == EMB_POOL_LAST)
		id = emb_tok_spec_find(spec, end);
	else if (!adds_end)
		return EMB_OK;
	if (id < 0)
		return emb_error(err, EMB_ERR_FORMAT, "file \"%s\" has no token \"%s\", whose row is pooled", emb_gguf_path(m), end);
	spec->single.slots[spec->single.n_slots++] = (EmbTokSlot) {EMB_TOK_SLOT_SPECIAL, (int32_t) id, 0};
	return EMB_OK;
}
